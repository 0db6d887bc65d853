//! The call's timeline: the latest events, bounded, without an allocation until the first.

use std::collections::VecDeque;
use std::time::Instant;

use super::api::{EVENTS_MAX, Event, EventKind, StreamIx};
use super::time::Micros;

/// The latest [`EVENTS_MAX`] events.
#[derive(Debug)]
pub(super) struct EventLog {
    kept: VecDeque<(Micros, StreamIx, EventKind)>,
    next: u32,
}

impl EventLog {
    pub(super) fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            next: 0,
        }
    }

    /// Appends an event; the oldest goes where there is no room.
    #[cold]
    pub(super) fn push(&mut self, at: Micros, stream: StreamIx, kind: EventKind) {
        if self.kept.len() == EVENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((at, stream, kind));
        self.next = self.next.wrapping_add(1);
    }

    /// Events that no longer fitted.
    pub(super) fn dropped(&self) -> u32 {
        self.next
            .wrapping_sub(u32::try_from(self.kept.len()).unwrap_or(0))
    }

    /// What is kept, oldest first.
    pub(super) fn report(&self, created: Instant) -> Vec<Event> {
        let number = self.dropped()..;
        let events = self.kept.iter().zip(number);
        events
            .map(|(&(at, stream, kind), seq)| Event {
                seq,
                at: at.instant(created),
                stream,
                kind,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
