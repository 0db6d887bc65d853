//! Keys heard in sound: DTMF as ITU-T Q.23 sends it, received within the limits of Q.24 and
//! ETSI ES 201 235-3.
//!
//! | limit | taken | refused | clause |
//! |---|---|---|---|
//! | frequency, each tone | 1.8 % and 1.5 % + 2 Hz | 3 % | Q.24 table A-1, ES 201 235-3 §4.2.2 |
//! | level, each tone | 0 to −36 dBm0 | −55 dBm0 | Q.24 |
//! | high minus low tone | +6 to −8 dB | | Q.24 (AT&T, CEPT) |
//! | duration | 40 ms | 24 ms | Q.24, ES 201 235-3 §4.2.2 |
//! | interruption within a press | 10 ms | | Q.24 |
//! | pause between presses | 30 ms | | Q.24 |
//!
//! The work is done in two steps. The *screen* (`dtmf/screen.rs`) measures the eight frequencies
//! over 20 ms, every 10 ms, and every 5 ms once there is something; it is cheap and lets little
//! else than keys pass. What passes twice in a row is looked at *closely* (`dtmf/close.rs`): both
//! tones in windows of 10 ms, one every 2.5 ms, whose envelopes cross the half exactly where a tone
//! starts and stops, so that durations, interruptions and pauses are measured and not counted in
//! blocks. What a key is and what a voice, `dtmf/judge.rs` says.

mod close;
mod frontend;
mod judge;
mod screen;
mod tables;
mod wary;

use crate::wire::event::Digit;

use frontend::{Frontend, Window};
use judge::Seen;
use screen::Pair;
pub use wary::Wary;

/// Rates that are understood, in Hz.
pub const RATES_HZ: [u32; 4] = super::resample::RATES_HZ;

/// Samples at 8 kHz between two looks: 5 ms.
const HOP: usize = 40;

/// A rate that is none of [`RATES_HZ`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("DTMF detection at {0} Hz; 8000, 16000, 24000 and 48000 are possible")]
pub struct RateError(pub u32);

/// A key in the sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// Which key.
    pub digit: Digit,
    /// First sample of the tone, at the detector's rate, counted from its first sample.
    pub start: u64,
    /// One past the last sample; in [`Heard::Began`] the sample at which it was declared.
    pub end: u64,
    /// Level of both tones together, in dBm0.
    pub level_dbm0: f32,
    /// Level of the high tone minus that of the low one, in dB ("reverse twist" is positive).
    pub twist_db: f32,
    /// How sure it is, 0 to 100: 100 is a pure tone, 50 the most noise that is borne.
    pub confidence: u8,
}

/// What a detector tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heard {
    /// A key is down, told 30 to 35 ms after its start.
    Began(Tone),
    /// It is up, told some 30 ms after its end. Every `Began` has one, unless the sound ends first.
    Ended(Tone),
}

/// Hears keys in one direction of one call. No allocation after `new`; what it tells depends on the
/// samples only, not on how they are cut into frames.
///
/// ```
/// use crosspoint::audio::dtmf::{Detector, Heard};
///
/// let mut detector = Detector::new(8_000)?;
/// let mut keys = String::new();
/// detector.feed(&[0; 160], &mut |heard| {
///     if let Heard::Began(tone) = heard {
///         keys.push(tone.digit.as_char());
///     }
/// });
/// assert!(keys.is_empty());
/// # Ok::<(), crosspoint::audio::dtmf::RateError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Detector {
    frontend: Frontend,
    hearing: Hearing,
}

impl Detector {
    /// A detector that has heard silence so far.
    ///
    /// # Errors
    /// If the rate is none of [`RATES_HZ`].
    pub fn new(rate_hz: u32) -> Result<Self, RateError> {
        Ok(Self {
            frontend: Frontend::new(rate_hz)?,
            hearing: Hearing::default(),
        })
    }

    /// Hears the next samples, any number of them.
    pub fn feed(&mut self, pcm: &[i16], tell: &mut impl FnMut(Heard)) {
        let (frontend, hearing) = (&mut self.frontend, &mut self.hearing);
        let clock = frontend.clock();
        frontend.feed(pcm, |window, now| {
            hearing.hop(window, now, &mut |edge: Edge| {
                tell(edge.heard(|at| clock.position(at)));
            });
        });
    }
}

/// A press in samples at 8 kHz, fractions included.
#[derive(Debug, Clone, Copy)]
struct Edge {
    began: bool,
    start: f64,
    end: f64,
    seen: Seen,
}

impl Edge {
    fn heard(self, position: impl Fn(f64) -> u64) -> Heard {
        let tone = Tone {
            digit: self.seen.pair.digit(),
            start: position(self.start),
            end: position(self.end),
            level_dbm0: self.seen.level_dbm0(),
            twist_db: self.seen.twist_db(),
            confidence: self.seen.confidence(),
        };
        if self.began {
            Heard::Began(tone)
        } else {
            Heard::Ended(tone)
        }
    }
}

/// The state between two looks.
#[derive(Debug, Clone, Default)]
struct Hearing {
    /// What the last look found.
    last: Option<Pair>,
    /// The last look was left out.
    rested: bool,
    press: Option<Press>,
}

/// A key that is down.
#[derive(Debug, Clone, Copy)]
struct Press {
    seen: Seen,
    start: f64,
    /// Where both tones were last at half of their level or more.
    present: f64,
}

/// A tone that is away for longer has ended: 24 ms, which a lost packet of 20 ms does not take and
/// the 30 ms that must split two presses do; the 10 ms that must not split one are far below.
const GONE: f64 = 192.0;

impl Hearing {
    /// One look at the last samples, `now` is the position behind them.
    fn hop(&mut self, window: &Window, now: u64, tell: &mut impl FnMut(Edge)) {
        self.follow(window, now as f64, tell);
        // While there is nothing, every other look is enough: a tone is found within 25 ms.
        self.rested = !self.rested && self.last.is_none();
        if self.rested {
            return;
        }
        let found = screen::look(window);
        let again = found.is_some_and(|found| self.last == Some(found.pair));
        self.last = found.map(|found| found.pair);
        let Some(found) = found.filter(|_| again) else {
            return;
        };
        if self
            .press
            .is_some_and(|press| press.seen.pair == found.pair)
        {
            return;
        }
        if let Some(seen) = judge::judge(window, found) {
            self.end(tell);
            let start = now as f64 - f64::from(seen.length);
            self.press = Some(Press {
                seen,
                start,
                present: now as f64,
            });
            tell(Edge {
                began: true,
                start,
                end: now as f64,
                seen,
            });
        }
    }

    /// Whether the key that is down still is.
    fn follow(&mut self, window: &Window, now: f64, tell: &mut impl FnMut(Edge)) {
        let Some(press) = &mut self.press else {
            return;
        };
        if let Some(behind) = press.seen.present(window) {
            press.present = press.present.max(now - f64::from(behind));
        }
        if now - press.present > GONE {
            self.end(tell);
        }
    }

    /// Samples of the key that is down, from its start to where it was last heard.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positions, 0 at least"
    )]
    fn held(&self) -> Option<(u64, u64)> {
        let press = self.press?;
        Some((press.start.max(0.0) as u64, press.present.max(0.0) as u64))
    }

    fn end(&mut self, tell: &mut impl FnMut(Edge)) {
        if let Some(press) = self.press.take() {
            tell(Edge {
                began: false,
                start: press.start,
                end: press.present,
                seen: press.seen,
            });
        }
    }
}

#[cfg(test)]
mod tests;
