//! The call's timeline: the latest events, bounded, without an allocation until the first.
//!
//! What somebody outside waits for is told even where one mutation makes more events than are kept:
//! those that were not looked at yet wait apart, bounded as well.

use std::collections::VecDeque;
use std::time::Instant;

use super::api::{EVENTS_MAX, EVENTS_UNTOLD_MAX, Event, EventKind, StreamIx};
use super::time::Micros;
use super::voice::PlayReport;

/// The latest [`EVENTS_MAX`] events.
#[derive(Debug)]
pub(super) struct EventLog {
    kept: VecDeque<(Micros, StreamIx, EventKind)>,
    next: u32,
    /// The first that was not looked at by [`EventLog::tell`].
    untold: u32,
    /// What had to go before it was told, oldest first.
    late: VecDeque<(u32, Micros, StreamIx, EventKind)>,
}

impl EventLog {
    pub(super) fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            next: 0,
            untold: 0,
            late: VecDeque::new(),
        }
    }

    /// Appends an event; the oldest goes where there is no room.
    #[cold]
    pub(super) fn push(&mut self, at: Micros, stream: StreamIx, kind: EventKind) {
        if self.kept.len() == EVENTS_MAX {
            self.drop_oldest();
        }
        self.kept.push_back((at, stream, kind));
        self.next = self.next.wrapping_add(1);
    }

    /// The oldest goes; if it is still to be told, to where it waits for that.
    fn drop_oldest(&mut self) {
        let seq = self.dropped();
        let Some((at, stream, kind)) = self.kept.pop_front() else {
            return;
        };
        let ahead = self.untold.wrapping_sub(seq);
        let is_untold = ahead == 0 || ahead > self.next.wrapping_sub(seq);
        if is_untold && kind.is_told() && self.late.len() < EVENTS_UNTOLD_MAX {
            self.late.push_back((seq, at, stream, kind));
        }
    }

    /// Takes another log in, whose streams are now `by` further on. The latest events of both are
    /// kept, in the order of their times, and numbered anew without gaps.
    pub(super) fn absorb(&mut self, other: Self, by: u16, bridges: u8) {
        let moved = other.kept.into_iter().map(|(at, stream, kind)| {
            let report = |report: PlayReport| PlayReport {
                listener: report.listener.after(by, bridges),
                ..report
            };
            let kind = match kind {
                EventKind::SourceChanged(source) => EventKind::SourceChanged(source.after(by)),
                EventKind::PlayStarted(id, listener) => {
                    EventKind::PlayStarted(id, listener.after(by, bridges))
                }
                EventKind::PlayCompleted(played) => EventKind::PlayCompleted(report(played)),
                EventKind::PlayInterrupted(played) => EventKind::PlayInterrupted(report(played)),
                EventKind::PlayFailed(played) => EventKind::PlayFailed(report(played)),
                other => other,
            };
            (at, stream.after(by), kind)
        });
        self.kept.extend(moved);
        self.kept.make_contiguous().sort_by_key(|(at, ..)| *at);
        let excess = self.kept.len().saturating_sub(EVENTS_MAX);
        self.kept.drain(..excess);
        self.next = self.next.wrapping_add(other.next);
        self.untold = self.next; // both were drained
    }

    /// The next event that somebody outside waits for; each is given once.
    pub(super) fn tell(&mut self, epoch: Instant) -> Option<Event> {
        if let Some((seq, at, stream, kind)) = self.late.pop_front() {
            let at = at.instant(epoch);
            return Some(Event {
                seq,
                at,
                stream,
                kind,
            });
        }
        let dropped = self.dropped();
        let seen = self.untold.wrapping_sub(dropped);
        let seen = if seen > self.next.wrapping_sub(dropped) {
            0 // what was next is dropped itself
        } else {
            seen
        };
        let kept = self.kept.iter().zip(dropped..).skip(seen as usize);
        let told = kept.into_iter().find(|((.., kind), _)| kind.is_told());
        self.untold = told.map_or(self.next, |(_, seq)| seq.wrapping_add(1));
        told.map(|(&(at, stream, kind), seq)| Event {
            seq,
            at: at.instant(epoch),
            stream,
            kind,
        })
    }

    /// Events that no longer fitted.
    pub(super) fn dropped(&self) -> u32 {
        self.next
            .wrapping_sub(u32::try_from(self.kept.len()).unwrap_or(0))
    }

    /// What is kept, oldest first.
    pub(super) fn report(&self, epoch: Instant) -> Vec<Event> {
        let number = self.dropped()..;
        let events = self.kept.iter().zip(number);
        events
            .map(|(&(at, stream, kind), seq)| Event {
                seq,
                at: at.instant(epoch),
                stream,
                kind,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gather::{GatherEnd, GatherId, Gathered};

    #[test]
    fn keeps_the_latest_and_numbers_them_without_gaps() {
        let mut log = EventLog::new();
        let stream = StreamIx(0);
        for _ in 0..EVENTS_MAX {
            log.push(Micros::ZERO, stream, EventKind::Bye);
        }
        assert_eq!(log.dropped(), 0);
        log.push(Micros(5), stream, EventKind::Stalled);
        assert_eq!(log.dropped(), 1);
        let events = log.report(Instant::now());
        assert_eq!(events.len(), EVENTS_MAX);
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
        assert_eq!(events.last().unwrap().kind, EventKind::Stalled);
    }

    #[test]
    fn what_is_waited_for_is_told_however_much_comes_at_once() {
        let gathered = |n: usize| {
            let id = GatherId(n as u64);
            EventKind::Gathered(Gathered::nothing(id, GatherEnd::Cancelled))
        };
        let epoch = Instant::now();
        for count in [EVENTS_MAX, EVENTS_MAX + 1, EVENTS_UNTOLD_MAX + EVENTS_MAX] {
            let mut log = EventLog::new();
            // What was told once is not told again, and what nobody waits for is not told.
            log.push(Micros::ZERO, StreamIx(0), gathered(9));
            assert_eq!(log.tell(epoch).map(|event| event.seq), Some(0));
            log.push(Micros::ZERO, StreamIx(0), EventKind::Bye);
            for n in 0..count {
                log.push(Micros::ZERO, StreamIx(0), gathered(n));
            }
            let told: Vec<_> = std::iter::from_fn(|| log.tell(epoch)).collect();
            let numbers: Vec<_> = told.iter().map(|event| event.seq as usize).collect();
            assert_eq!(numbers, (2..count + 2).collect::<Vec<_>>());
            assert!(
                told.iter()
                    .zip(0..)
                    .all(|(event, n)| event.kind == gathered(n))
            );
            assert_eq!(log.report(epoch).len(), EVENTS_MAX);
        }
        // Beyond the bound the newest of those that had to go are missing, and their numbers.
        let mut log = EventLog::new();
        let count = EVENTS_UNTOLD_MAX + EVENTS_MAX + 1;
        (0..count).for_each(|n| log.push(Micros::ZERO, StreamIx(0), gathered(n)));
        let told: Vec<_> = std::iter::from_fn(|| log.tell(epoch)).collect();
        assert_eq!(told.len(), count - 1);
        assert!(
            told.iter()
                .all(|event| event.seq as usize != EVENTS_UNTOLD_MAX)
        );
    }

    #[test]
    fn two_logs_become_one_in_the_order_of_time() {
        let (mut a, mut b) = (EventLog::new(), EventLog::new());
        a.push(Micros(1), StreamIx(0), EventKind::Bye);
        a.push(Micros(5), StreamIx(1), EventKind::Bye);
        b.push(
            Micros(3),
            StreamIx(0),
            EventKind::SourceChanged(StreamIx(1)),
        );
        a.absorb(b, 2, 0);
        let events = a.report(Instant::now());
        let seen: Vec<_> = events.iter().map(|e| (e.seq, e.stream.0, e.kind)).collect();
        let changed = EventKind::SourceChanged(StreamIx(3));
        let bye = EventKind::Bye;
        assert_eq!(seen, [(0, 0, bye), (1, 2, changed), (2, 1, bye)]);
        let mut full = EventLog::new();
        for _ in 0..=EVENTS_MAX {
            full.push(Micros(9), StreamIx(0), EventKind::Bye);
        }
        a.absorb(full, 3, 0);
        assert_eq!((a.kept.len(), a.dropped()), (EVENTS_MAX, 4));
    }
}
