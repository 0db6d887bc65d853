//! What is being pressed for the listeners of a call, as far as the control side knows.
//!
//! A worker has no way back to refuse a command whose answer is given already. So commands are
//! counted here from when they are given until the worker says that they are over, and one that
//! does not fit is refused where its client hears of it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Dialing;
use crate::engine::{DIGITS_MAX, DialStep, StreamIx};

/// A command is taken for over so long after it should have been, if nobody said so: events may be
/// lost. Keys that its listener's talker holds, for a minute each at most, come in between.
const UNTOLD: Duration = Duration::from_secs(120);

/// Commands that are not over, of each listener the oldest first.
#[derive(Debug, Default)]
pub struct PendingDigits {
    of: HashMap<StreamIx, VecDeque<Pending>>,
}

/// A command.
#[derive(Clone, Copy, Debug)]
struct Pending {
    steps: usize,
    /// When it is over if nothing comes in between.
    over: Instant,
}

impl PendingDigits {
    /// Whether so many keys and waits more fit for a listener: [`DIGITS_MAX`] in all.
    pub(super) fn have_room(&mut self, now: Instant, to: StreamIx, steps: usize) -> bool {
        let Some(commands) = self.of.get_mut(&to) else {
            return steps <= DIGITS_MAX;
        };
        while commands
            .pop_front_if(|it| it.over + UNTOLD <= now)
            .is_some()
        {}
        let waiting: usize = commands.iter().map(|it| it.steps).sum();
        waiting + steps <= DIGITS_MAX
    }

    /// A command was given for a listener.
    pub(super) fn push(&mut self, now: Instant, to: StreamIx, dialing: &Dialing) {
        let commands = self.of.entry(to).or_default();
        let from = commands.back().map_or(now, |it| it.over.max(now));
        let span = |step: &DialStep| match step {
            DialStep::Key { duration, .. } => *duration + dialing.pause,
            DialStep::Wait(span) => *span,
        };
        commands.push_back(Pending {
            steps: dialing.steps.len(),
            over: from + dialing.steps.iter().map(span).sum::<Duration>(),
        });
    }

    /// The oldest command of a listener is over.
    pub(in crate::switch) fn ended(&mut self, to: StreamIx) {
        if let Some(commands) = self.of.get_mut(&to) {
            commands.pop_front();
            if commands.is_empty() {
                self.of.remove(&to);
            }
        }
    }

    /// Takes over those of a call that has become part of this one, its streams so much further on.
    pub(in crate::switch) fn append(&mut self, other: &mut Self, by: u16) {
        let moved = other.of.drain().map(|(to, all)| (to.after(by), all));
        self.of.extend(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: StreamIx = StreamIx(1);

    fn dialing(count: usize) -> Dialing {
        Dialing::parse(&"1".repeat(count)).expect("digits")
    }

    #[test]
    fn so_many_keys_fit_until_a_command_is_over() {
        let (mut pending, now) = (PendingDigits::default(), Instant::now());
        assert!(pending.have_room(now, TO, DIGITS_MAX));
        assert!(!pending.have_room(now, TO, DIGITS_MAX + 1));
        pending.push(now, TO, &dialing(2));
        pending.push(now, TO, &dialing(DIGITS_MAX - 2));
        assert!(!pending.have_room(now, TO, 1));
        assert!(pending.have_room(now, StreamIx(2), DIGITS_MAX), "another");
        pending.ended(TO);
        assert!(pending.have_room(now, TO, 2) && !pending.have_room(now, TO, 3));
        pending.ended(TO);
        pending.ended(TO);
        assert!(pending.of.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_command_whose_end_nobody_told_is_over_in_time() {
        let (mut pending, now) = (PendingDigits::default(), Instant::now());
        // 200 ms for each key.
        pending.push(now, TO, &dialing(DIGITS_MAX / 2));
        pending.push(now, TO, &dialing(DIGITS_MAX / 2));
        let half = Duration::from_millis(100) * u32::try_from(DIGITS_MAX).expect("few");
        let early = now + half + UNTOLD - Duration::from_millis(1);
        assert!(!pending.have_room(early, TO, 1));
        assert!(pending.have_room(now + half + UNTOLD, TO, DIGITS_MAX / 2));
        assert!(!pending.have_room(now + half + UNTOLD, TO, DIGITS_MAX / 2 + 1));
        let mut other = PendingDigits::default();
        other.append(&mut pending, 3);
        assert!(other.have_room(now, TO, DIGITS_MAX));
        assert!(!other.have_room(now, TO.after(3), DIGITS_MAX));
    }
}
