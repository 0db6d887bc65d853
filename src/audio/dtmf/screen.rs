//! The cheap look at every 5 ms: is one frequency of each group most of the sound?

use super::frontend::Window;
use super::tables::{LONG, energy, tables};
use crate::wire::event::Digit;

/// Two tones, 0.5 to 1 of the sound's power: at the start the window is not yet full of them.
const SHARE_MIN: f32 = 0.55;
/// Square of the amplitude of the weaker tone: −46 dBm0.
const SQUARE_MIN: f32 = 1.2e4;
/// The stronger tone is no more than 13 dB above the weaker one.
const TWIST_MAX: f32 = 20.0;

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

/// The pair that the last 20 ms may hold.
pub(super) fn look(window: &Window) -> Option<Pair> {
    let last: &[i16; LONG] = window.last_chunk()?;
    let power = energy(last) / LONG as f32;
    if power < SQUARE_MIN {
        return None;
    }
    let squares: [f32; 8] = std::array::from_fn(|ix| tables().long[ix].apply(last).square());
    let (low, high) = squares.split_at(4);
    let pair = Pair {
        low: strongest(low),
        high: strongest(high),
    };
    let (low, high) = (low[pair.low], high[pair.high]);
    let enough = low.min(high) >= SQUARE_MIN && (low + high) / 2.0 >= SHARE_MIN * power;
    let even = low.max(high) <= TWIST_MAX * low.min(high);
    (enough && even).then_some(pair)
}

fn strongest(squares: &[f32]) -> usize {
    let mut best = 0;
    for (ix, square) in squares.iter().enumerate() {
        if *square > squares[best] {
            best = ix;
        }
    }
    best
}
