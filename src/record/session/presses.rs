//! Keys that wait for their place in the file: a pause may still be told of that moves it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Output, Session, samples};
use crate::engine::{TRACKS_MAX, TrackIx};

/// Keys that wait; one more is told too early.
const WAITING_MAX: usize = 256;

/// A key went down, or came up after so long, at a sample of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Press {
    at: u64,
    track: TrackIx,
    lasted: Option<Duration>,
}

/// Those that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Presses {
    waiting: VecDeque<Press>,
    /// Where the key of a track that is down went down, by sample of the clock.
    down: [Option<u64>; TRACKS_MAX],
}

impl Presses {
    /// One more; the oldest, if there is no room for both.
    pub(super) fn push(
        &mut self,
        at: u64,
        track: TrackIx,
        lasted: Option<Duration>,
    ) -> Option<Press> {
        let full = self.waiting.len() == WAITING_MAX;
        let oldest = full.then(|| self.waiting.pop_front());
        self.waiting.push_back(Press { at, track, lasted });
        oldest.flatten()
    }

    /// The next one that was before this sample of the clock.
    pub(super) fn before(&mut self, clock: u64) -> Option<Press> {
        self.waiting.pop_front_if(|press| press.at < clock)
    }

    /// From when to when a key was down that lasted so long and was known at `at` to have come up,
    /// which is later than it did. When it went down was told as it was.
    fn stretch(&mut self, at: u64, track: TrackIx, lasted: u64) -> (u64, u64) {
        let down = self.down.get_mut(usize::from(track.0));
        let from = down.and_then(Option::take);
        let from = from.unwrap_or_else(|| at.saturating_sub(lasted));
        (from, at.min(from.saturating_add(lasted)))
    }
}

impl Session {
    /// Tells when a key was down, as far as the file has that time.
    pub(super) fn tell_press(&mut self, press: Press, out: &mut Output) {
        let Press { at, track, lasted } = press;
        let Some(lasted) = lasted.map(|lasted| samples(lasted, self.config.rate_hz)) else {
            if let Some(down) = self.presses.down.get_mut(usize::from(track.0)) {
                *down = Some(at);
            }
            let at = self.places().place(at);
            self.notes.press(track, at, None, false, &mut out.journal);
            return;
        };
        let (from, until) = self.presses.stretch(at, track, lasted);
        let places = self.places();
        let (from, until) = (places.place(from), places.place(until));
        let skipped = lasted > 0 && from == until;
        self.notes
            .press(track, until, Some(from), skipped, &mut out.journal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_one_more_makes_the_oldest_go() {
        let mut presses = Presses::default();
        for at in 0..WAITING_MAX as u64 {
            assert_eq!(presses.push(at, TrackIx(0), None), None);
        }
        let oldest = presses.push(9_999, TrackIx(0), None);
        assert_eq!(oldest.map(|press| press.at), Some(0));
        assert_eq!(presses.before(1), None);
        assert_eq!(presses.before(2).map(|press| press.at), Some(1));
    }
}
