//! Moments of the clock as samples of the file: a pause that skips has none.

use std::collections::VecDeque;

/// Pauses that are remembered. What is told of a moment before them is as far off as they were
/// long.
const SKIPS_MAX: usize = 32;

/// The latest pauses that left nothing in the file, by samples of the clock, in order.
#[derive(Debug, Default)]
pub(super) struct Skips(VecDeque<(u64, u64)>);

impl Skips {
    /// One is over.
    pub(super) fn push(&mut self, from: u64, until: u64) {
        if self.0.len() == SKIPS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((from, until));
    }
}

/// Where clock and file stand now, and where they differed and will differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) clock: u64,
    /// The sample of the file that comes next.
    pub(super) file: u64,
    /// Skipping since this sample of the clock.
    pub(super) since: Option<u64>,
    /// Skips that are over.
    pub(super) skips: &'a Skips,
    /// Beginnings (`true`) and ends of skips that are to come.
    pub(super) turns: &'a [(u64, bool)],
}

impl Places<'_> {
    /// The sample of the file at a sample of the clock; where that was or will be skipped, the one
    /// that comes after it.
    pub(super) fn place(&self, at: u64) -> u64 {
        if at < self.clock {
            let now = self.since.map(|since| (since, self.clock));
            let skips = self.skips.0.iter().copied().chain(now);
            let skipped = skips.map(|(from, until)| until.saturating_sub(from.max(at)));
            let back = (self.clock - at).saturating_sub(skipped.sum());
            return self.file.saturating_sub(back);
        }
        let (mut clock, mut file, mut skips) = (self.clock, self.file, self.since.is_some());
        let end = (at, skips);
        let turns = self
            .turns
            .iter()
            .copied()
            .take_while(|(turn, _)| *turn <= at);
        for (turn, pause) in turns.chain([end]) {
            let passed = turn.saturating_sub(clock);
            file += if skips { 0 } else { passed };
            clock = clock.max(turn);
            skips = pause;
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_has_its_place_before_and_after_skips() {
        // Skipped: 100 to 150, 200 to 260, 300 to 320 and 400 to 440.
        let skipped = |at: u64| {
            let all = [(100, 150), (200, 260), (300, 320), (400, 440)];
            all.iter()
                .any(|(from, until)| (*from..*until).contains(&at))
        };
        let file_at = |at: u64| (0..at).filter(|at| !skipped(*at)).count() as u64;
        for clock in [260, 300, 310, 320] {
            let mut skips = Skips::default();
            let mut turns = vec![(400, true), (400, true), (440, false)];
            skips.push(100, 150);
            skips.push(200, 260);
            let since = (300..320).contains(&clock).then_some(300);
            if clock == 320 {
                skips.push(300, 320);
            } else {
                turns.insert(0, (320, false));
            }
            if clock < 300 {
                turns.insert(0, (300, true));
            }
            let places = Places {
                clock,
                file: file_at(clock),
                since,
                skips: &skips,
                turns: &turns,
            };
            for at in 0..500 {
                assert_eq!(places.place(at), file_at(at), "{at} at {clock}");
            }
        }
    }

    #[test]
    fn skips_are_remembered_up_to_their_limit() {
        let place = |count: usize| {
            let mut skips = Skips::default();
            for n in 0..count as u64 {
                skips.push(100 * n + 50, 100 * n + 60);
            }
            let clock = 100 * count as u64;
            let places = Places {
                clock,
                file: 90 * count as u64,
                since: None,
                skips: &skips,
                turns: &[],
            };
            places.place(10)
        };
        assert_eq!((place(SKIPS_MAX), place(SKIPS_MAX + 1)), (10, 0));
    }
}
