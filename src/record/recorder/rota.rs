//! Who is looked at when: all of many in a time, but never all at once.
//!
//! Five hundred recordings are several milliseconds of work. Done in one piece, they would be in
//! the way of packets where the recorder shares a CPU with a worker.

use std::time::{Duration, Instant};

/// Turns into which a round is divided.
const TURNS: usize = 16;

/// Things that each get their turn once in a round.
#[derive(Debug)]
pub(super) struct Rota<T> {
    turns: [Vec<T>; TURNS],
    round: Duration,
    next: usize,
    due: Instant,
}

impl<T> Rota<T> {
    /// Nobody, in rounds of this length.
    pub(super) fn new(round: Duration) -> Self {
        Self {
            turns: Default::default(),
            round,
            next: 0,
            due: Instant::now(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.iter().all(Vec::is_empty)
    }

    /// When the next turn is.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// One more, where there are fewest: its first turn is within a round.
    pub(super) fn add(&mut self, one: T) {
        if let Some(fewest) = self.turns.iter_mut().min_by_key(|turn| turn.len()) {
            fewest.push(one);
        }
    }

    /// The turn of some; those for whom `keep` is false leave. A turn that comes late makes the
    /// later ones late, too: nothing is made up for.
    pub(super) fn turn(&mut self, now: Instant, keep: impl FnMut(&mut T) -> bool) {
        self.turns[self.next].retain_mut(keep);
        // Nobody is woken for turns that nobody has.
        let mut steps = 1;
        while steps < TURNS && self.turns[(self.next + steps) % TURNS].is_empty() {
            steps += 1;
        }
        self.next = (self.next + steps) % TURNS;
        let [steps, turns] = [steps, TURNS].map(|n| u32::try_from(n).unwrap_or(1));
        let wait = self.round * steps / turns;
        self.due = (self.due + wait).max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(32);

    /// Who had a turn until `until`.
    fn seen(rota: &mut Rota<u32>, until: Instant) -> (Vec<u32>, usize) {
        let (mut seen, mut turns) = (Vec::new(), 0);
        while rota.due() < until {
            let before = seen.len();
            rota.turn(rota.due(), |one| {
                seen.push(*one);
                true
            });
            assert!(seen.len() - before <= 2, "all at once");
            turns += 1;
        }
        (seen, turns)
    }

    #[test]
    fn each_has_one_turn_in_a_round_and_they_are_spread_over_it() {
        let mut rota = Rota::new(ROUND);
        (0..20).for_each(|one| rota.add(one));
        let begin = rota.due();
        let (mut first, turns) = seen(&mut rota, begin + ROUND);
        assert_eq!(turns, TURNS);
        let (mut second, _) = seen(&mut rota, begin + 2 * ROUND);
        assert_eq!(first, second);
        for round in [&mut first, &mut second] {
            round.sort_unstable();
            assert_eq!(*round, (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn turns_of_nobody_are_left_out() {
        let mut rota = Rota::new(ROUND);
        let begin = rota.due();
        assert_eq!(seen(&mut rota, begin + 10 * ROUND), (vec![], 10));
        let begin = rota.due();
        rota.add(1);
        rota.add(2);
        let (seen, turns) = seen(&mut rota, begin + 10 * ROUND);
        assert_eq!(seen.len(), 20);
        assert!((20..=21).contains(&turns), "{turns}");
        // One that is over leaves.
        let mut left = 0;
        for _ in 0..4 {
            rota.turn(rota.due(), |one| {
                left += 1;
                *one != 1
            });
        }
        assert!(!rota.is_empty() && left >= 3);
        // What is late stays late.
        let late = rota.due() + 5 * ROUND;
        rota.turn(late, |_| true);
        assert!(rota.due() >= late);
    }
}
