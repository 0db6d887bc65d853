//! How sound is moved to where it should stand: a little with each packet, or at once.

use super::warp::Warp;

/// Sound is moved when it is this far off: nobody hears it, and noise of arrivals is less.
const OFF_US: f64 = 100.0;

/// Share of its length by which sound is slower or faster meanwhile, beyond what drift asks for:
/// for each second that it is off, and within bounds: 0.7 cents of a semitone, and 9.
const SHARE_PER_S: f64 = 2.5;
const SHARE_MIN: f64 = 4e-4;
const SHARE_MAX: f64 = 5e-3;

/// Most that it is moved before its place is looked at again, in seconds.
const MOVE_S_MAX: f64 = 5e-4;

/// Farther than this in seconds it is not moved slowly, but at the next gap, or after some seconds.
const SLIDE_S_MAX: f64 = 0.04;
const JUMP_AFTER_S: f64 = 2.0;

/// What moves sound.
#[derive(Debug)]
pub(super) struct Slide {
    rate_hz: f64,
    /// Since when it is too far to slide.
    far_since: Option<f64>,
}

impl Slide {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz: f64::from(rate_hz),
            far_since: None,
        }
    }

    /// Whether sound that is off by so many samples is to be moved at all.
    pub(super) fn is_off(&self, error: f64) -> bool {
        error.abs() >= (self.rate_hz * OFF_US * 1e-6).max(1.0)
    }

    /// Whether it is too far for sliding.
    pub(super) fn is_far(&self, error: f64) -> bool {
        error.abs() > SLIDE_S_MAX * self.rate_hz
    }

    /// Whether sound is to jump by `error` samples at a packet that came `at_s`.
    pub(super) fn jumps(&mut self, error: f64, at_s: f64) -> bool {
        if !self.is_far(error) {
            self.far_since = None;
            return false;
        }
        let since = *self.far_since.get_or_insert(at_s);
        let jumps = at_s - since >= JUMP_AFTER_S;
        if jumps {
            self.far_since = None;
        }
        jumps
    }

    /// Moves sound that is off by so many samples, where the sender's clock has a share of drift.
    pub(super) fn slide(&self, warp: &mut Warp, error: f64, drift: f64) {
        if warp.is_moving() || !self.is_off(error) {
            return;
        }
        let share = error.abs() / self.rate_hz * SHARE_PER_S;
        let share = share.clamp(SHARE_MIN, SHARE_MAX) + drift.abs();
        let most = (MOVE_S_MAX * self.rate_hz).max(1.0);
        warp.shift(samples(error.clamp(-most, most)), share);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "within half a millisecond")]
fn samples(error: f64) -> i32 {
    error as i32
}
