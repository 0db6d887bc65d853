//! The cheap look at every 5 ms: is one frequency of each group most of the sound?

use super::frontend::Window;
use super::tables::{Folded, LONG, Phasor, energy, tables};
use crate::wire::event::Digit;

/// Two tones, 0.5 to 1 of the sound's power: at the start the window is not yet full of them.
const SHARE_MIN: f32 = 0.55;
/// From this share on nothing of note is behind them.
const ALONE_MIN: f32 = 0.9;
/// Square of the amplitude of the weaker tone: −46 dBm0.
const SQUARE_MIN: f32 = 1.2e4;
/// The stronger tone is no more than 13 dB above the weaker one.
const TWIST_MAX: f32 = 20.0;
/// Square of the high tone's amplitude relative to the power, at least: a dial tone 18 dB above it.
const HIGH_MIN: f32 = 0.015;
/// The power below 575 Hz is at least this share, or it is not what hides the tones.
const BEHIND_MIN: f32 = 0.15;
/// Squares of the other three of a group, relative to the strongest: neighbours hear it, too.
const CLEAR_MAX: f32 = 0.5;

/// One frequency of each group, 0 to 3 both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) low: usize,
    pub(super) high: usize,
}

impl Pair {
    /// The key (Q.23 §5).
    pub(super) fn digit(self) -> Digit {
        const KEYS: [[usize; 4]; 4] =
            [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];
        Digit::ALL[KEYS[self.low & 3][self.high & 3]]
    }
}

/// What the last 20 ms may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pair: Pair,
    /// Most of the power is below 575 Hz: a dial tone, hum or a direct current behind the tones.
    pub(super) behind: bool,
}

/// The pair that the last 20 ms may hold.
pub(super) fn look(window: &Window) -> Option<Found> {
    let last: &[i16; LONG] = window.last_chunk()?;
    let power = energy(last) / LONG as f32;
    if power < SQUARE_MIN {
        return None;
    }
    let folded = Folded::new(last);
    let squares = |group: usize| {
        let phasors: [Phasor; 4] = tables().long[group].apply(&folded);
        phasors.map(Phasor::square)
    };
    // Most of speech ends here, for vowels have little so high.
    let highs = squares(1);
    let (high_ix, high) = strongest(&highs);
    if high < SQUARE_MIN || high < HIGH_MIN * power {
        return None;
    }
    let lows = squares(0);
    let (low_ix, low) = strongest(&lows);
    if low < SQUARE_MIN || low.max(high) > TWIST_MAX * low.min(high) {
        return None;
    }
    let pair = Pair {
        low: low_ix,
        high: high_ix,
    };
    let tones = (low + high) / 2.0;
    let alone = tones >= SHARE_MIN * power;
    let behind = tones < ALONE_MIN * power && clear(&lows, low) && clear(&highs, high) && {
        let split = tables().split(last, &folded);
        split.below >= BEHIND_MIN * power && tones >= SHARE_MIN * split.above
    };
    (alone || behind).then_some(Found { pair, behind })
}

/// The strongest of four, and which it is.
pub(super) fn strongest(squares: &[f32; 4]) -> (usize, f32) {
    let mut best = 0;
    for (ix, square) in squares.iter().enumerate() {
        if *square > squares[best] {
            best = ix;
        }
    }
    (best, squares[best])
}

/// Whether the strongest is far above the three others.
fn clear(squares: &[f32; 4], strongest: f32) -> bool {
    squares.iter().sum::<f32>() <= (1.0 + CLEAR_MAX) * strongest
}
