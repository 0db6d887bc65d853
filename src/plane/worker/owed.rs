//! What a worker has to say and nobody has taken yet.
//!
//! Answers to commands are never lost: while one waits, no command is taken. Events come as the
//! network pleases, a key press for each packet of who wants it so; they wait in a queue of their
//! own that ends somewhere, stop no command, and leave half of the line to the answers.

use std::collections::VecDeque;

use super::Report;
use crate::engine::EventKind;

/// Most events that wait for the control side; one more is lost and counted. Who reads them finds
/// the gap in the numbers of the presses.
pub const EVENTS_WAITING_MAX: usize = 1_024;

/// Whether a report may be lost. The result of a gathering is the answer to a command.
fn is_event(report: &Report) -> bool {
    match report {
        Report::Event { event, .. } => !matches!(event.kind, EventKind::Gathered(_)),
        _ => false,
    }
}

/// Reports of both kinds.
#[derive(Debug, Default)]
pub(super) struct Owed {
    answers: VecDeque<Report>,
    events: VecDeque<Report>,
    /// Events that no longer fitted.
    pub(super) lost: u64,
    /// Key presses that were too many to become events.
    pub(super) presses_ignored: u64,
}

impl Owed {
    /// No answer waits: commands may be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Nothing waits.
    pub(super) fn is_all_told(&self) -> bool {
        self.answers.is_empty() && self.events.is_empty()
    }

    /// Takes a report.
    pub(super) fn push_back(&mut self, report: Report) {
        if !is_event(&report) {
            self.answers.push_back(report);
        } else if self.events.len() < EVENTS_WAITING_MAX {
            self.events.push_back(report);
        } else {
            self.lost += 1;
        }
    }

    /// Moves what fits into the queue: events while half of it is free, then answers. `sent` sees
    /// each that goes.
    pub(super) fn deliver(
        &mut self,
        queue: &mut rtrb::Producer<Report>,
        mut sent: impl FnMut(&Report),
    ) {
        let reserve = queue.buffer().capacity() / 2;
        while queue.slots() > reserve
            && let Some(report) = self.events.pop_front()
        {
            sent(&report);
            let pushed = queue.push(report);
            debug_assert!(pushed.is_ok(), "there was room");
        }
        while !queue.is_full()
            && let Some(report) = self.answers.pop_front()
        {
            sent(&report);
            let pushed = queue.push(report);
            debug_assert!(pushed.is_ok(), "there was room");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::engine::{CallKey, Event, EventKind, StreamIx};

    const KEY: CallKey = CallKey {
        slot: 1,
        generation: 1,
    };

    fn event(seq: u32) -> Report {
        let event = Event {
            seq,
            at: Instant::now(),
            stream: StreamIx(0),
            kind: EventKind::Bye,
        };
        Report::Event { key: KEY, event }
    }

    #[test]
    fn events_are_bounded_and_answers_are_not_held_up_by_them() {
        let (mut queue, mut reader) = rtrb::RingBuffer::new(8);
        let mut owed = Owed::default();
        for seq in 0..=EVENTS_WAITING_MAX {
            assert_eq!(owed.lost, 0);
            owed.push_back(event(u32::try_from(seq).unwrap()));
        }
        assert_eq!(owed.lost, 1);
        assert!(owed.is_empty() && !owed.is_all_told());
        for _ in 0..5 {
            owed.push_back(Report::Broken { key: KEY });
        }
        let mut sent = 0;
        owed.deliver(&mut queue, |_| sent += 1);
        assert_eq!((sent, owed.answers.len()), (8, 1));
        // Half of the line was left to answers; the next of both come in order.
        let seen: Vec<_> = std::iter::from_fn(|| reader.pop().ok()).collect();
        let is_event = |report: &Report| matches!(report, Report::Event { .. });
        assert_eq!(seen.iter().filter(|r| is_event(r)).count(), 4);
        owed.deliver(&mut queue, |_| {});
        assert!(owed.is_empty());
        let Ok(Report::Event { event, .. }) = reader.pop() else {
            panic!("the next event");
        };
        assert_eq!(event.seq, 4);
    }
}
