//! Whatever anybody could take for a key, told early: for those who must not let one pass.

use std::f32::consts::TAU;
use std::ops::Range;

use super::frontend::{Clock, Frontend, Window};
use super::screen::{Pair, strongest};
use super::tables::{FREQUENCIES_HZ, Folded, Phasor, SHORT, tables};
use super::{HOP, Hearing, RateError};

/// Power of what is worth hiding: −60 dBm0.
const POWER_MIN: f32 = 250.0;
/// Share of the power in one frequency of each group: in noise 5 dB below.
const SHARE_MIN: f32 = 0.75;
/// The stronger tone is no more than 12 dB above the weaker one.
const TWIST_MAX: f32 = 16.0;
/// Largest deviation of a frequency: no decoder takes more.
const DEVIATION_MAX: f32 = 0.035;
/// Samples told beyond what was heard, at both ends: tones have edges.
const MARGIN: u64 = 40;

/// Tells which stretches of sound may be part of a key's tone of 15 ms or more, for any decoder
/// there is; each within 40 ms of its start. Hears more than keys: about one thousandth of speech.
///
/// Two looks at 10 ms, 5 ms apart, must find the same pair of tones at frequencies that a decoder
/// could take. What [`Detector`](super::Detector) hears is told, too, for it hears keys in more
/// noise and beside a dial tone.
#[derive(Debug, Clone)]
pub struct Wary {
    frontend: Frontend,
    hearing: Hearing,
    last: Option<Glimpse>,
}

/// The strongest pair of 10 ms.
#[derive(Debug, Clone, Copy)]
struct Glimpse {
    pair: Pair,
    low: Phasor,
    high: Phasor,
}

impl Wary {
    /// One that has heard silence so far.
    ///
    /// # Errors
    /// If the rate is none of [`RATES_HZ`](super::RATES_HZ).
    pub fn new(rate_hz: u32) -> Result<Self, RateError> {
        Ok(Self {
            frontend: Frontend::new(rate_hz)?,
            hearing: Hearing::default(),
            last: None,
        })
    }

    /// Hears the next samples, any number of them. Tells spans in samples since the first one; the
    /// spans of one tone overlap and grow with it.
    pub fn feed(&mut self, pcm: &[i16], tell: &mut impl FnMut(Range<u64>)) {
        let clock = self.frontend.clock();
        let (hearing, last) = (&mut self.hearing, &mut self.last);
        self.frontend.feed(pcm, |window, now| {
            let glimpse = glimpse(window);
            if let (Some(earlier), Some(glimpse)) = (*last, glimpse)
                && glimpse.follows(earlier)
            {
                tell(span(clock, now - (SHORT + HOP) as u64, now));
            }
            *last = glimpse;
            hearing.hop(window, now, &mut |_| ());
            if let Some((start, end)) = hearing.held() {
                tell(span(clock, start, end));
            }
        });
    }
}

fn span(clock: Clock, start: u64, end: u64) -> Range<u64> {
    let at = |position: u64| clock.position(position as f64);
    at(start.saturating_sub(MARGIN))..at(end + MARGIN)
}

/// What the last 10 ms hold, if they are two tones.
fn glimpse(window: &Window) -> Option<Glimpse> {
    let last: &[i16; SHORT] = window.last_chunk()?;
    let power = tables().short_power(last);
    if power < POWER_MIN {
        return None;
    }
    let phasors = tables().brief.apply(&Folded::new(last));
    let squares: [f32; 8] = phasors.map(Phasor::square);
    let (low, low_square) = strongest(squares.first_chunk()?);
    let (high, high_square) = strongest(squares.last_chunk()?);
    let even = low_square.max(high_square) <= TWIST_MAX * low_square.min(high_square);
    let most = (low_square + high_square) / 2.0 >= SHARE_MIN * power;
    (even && most).then_some(Glimpse {
        pair: Pair { low, high },
        low: phasors[low],
        high: phasors[high + 4],
    })
}

impl Glimpse {
    /// Whether both tones turned since then as a key's do.
    fn follows(&self, earlier: Self) -> bool {
        let near = |now: Phasor, then: Phasor, ix: usize| {
            #[allow(clippy::cast_possible_truncation, reason = "a table of whole numbers")]
            let hz = FREQUENCIES_HZ[ix] as f32;
            let turn = now.over(then).back(TAU * hz * HOP as f32 / 8_000.0);
            let deviation_hz = turn.angle() * 8_000.0 / (TAU * HOP as f32);
            deviation_hz.abs() <= DEVIATION_MAX * hz
        };
        self.pair == earlier.pair
            && near(self.low, earlier.low, self.pair.low)
            && near(self.high, earlier.high, self.pair.high + 4)
    }
}
