//! Whatever anybody could take for a key, told early: for those who must not let one pass.

use std::ops::Range;

use super::frontend::{Clock, Frontend, Window};
use super::tables::{LONG, energy, tables};
use super::{HOP, RateError};

/// Power of what is worth hiding: −60 dBm0.
const POWER_MIN: f32 = 250.0;
/// Share of the power in one frequency of each group, in the 20 ms that a tone of 15 ms fills only
/// in part.
const SHARE_MIN: f32 = 0.5;
/// The stronger tone is no more than 15 dB above the weaker one.
const TWIST_MAX: f32 = 32.0;

/// Tells which stretches of sound may be part of a key's tone of 15 ms or more, for any decoder
/// there is; each within 40 ms of its start. Hears much that is no key.
#[derive(Debug, Clone)]
pub struct Wary {
    frontend: Frontend,
}

impl Wary {
    /// One that has heard silence so far.
    ///
    /// # Errors
    /// If the rate is none of [`RATES_HZ`](super::RATES_HZ).
    pub fn new(rate_hz: u32) -> Result<Self, RateError> {
        let frontend = Frontend::new(rate_hz)?;
        Ok(Self { frontend })
    }

    /// Hears the next samples, any number of them. Tells spans in samples since the first one; the
    /// spans of one tone overlap and grow with it.
    pub fn feed(&mut self, pcm: &[i16], tell: &mut impl FnMut(Range<u64>)) {
        let clock = self.frontend.clock();
        self.frontend.feed(pcm, |window, now| {
            if suspicious(window) {
                tell(span(clock, now as f64));
            }
        });
    }
}

/// The window, and a hop before and behind it: where its edges reach.
fn span(clock: Clock, now: f64) -> Range<u64> {
    clock.position(now - (LONG + HOP) as f64)..clock.position(now + HOP as f64)
}

fn suspicious(window: &Window) -> bool {
    let Some(last) = window.last_chunk::<LONG>() else {
        return false;
    };
    let power = energy(last) / LONG as f32;
    if power < POWER_MIN {
        return false;
    }
    let square = |ix: usize| tables().long[ix].apply(last).square();
    let low = (0..4).map(square).fold(0.0, f32::max);
    let high = (4..8).map(square).fold(0.0, f32::max);
    (low + high) / 2.0 >= SHARE_MIN * power && low.max(high) <= TWIST_MAX * low.min(high)
}
