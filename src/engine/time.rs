//! Time inside a call: microseconds since its epoch, so that a packet costs one subtraction of
//! instants and everything after is 64-bit integer arithmetic.

use std::time::{Duration, Instant};

/// Microseconds since the call's epoch: its creation, or an earlier instant that all calls share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// Later than any instant a call sees: an unset timer.
    pub(super) const NEVER: Self = Self(u64::MAX);
    /// The epoch.
    pub(super) const ZERO: Self = Self(0);

    /// `now` as seen from `epoch`; a clock that ran backwards reads as zero.
    #[inline]
    pub(super) fn of(epoch: Instant, now: Instant) -> Self {
        Self(micros(now.saturating_duration_since(epoch)))
    }

    /// Microseconds from `earlier` to here; 0 if it is not earlier.
    #[inline]
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `duration_us` later.
    #[inline]
    pub(super) fn plus(self, duration_us: u64) -> Self {
        Self(self.0.saturating_add(duration_us))
    }

    /// As an instant.
    pub(super) fn instant(self, epoch: Instant) -> Instant {
        epoch + Duration::from_micros(self.0)
    }
}

/// Whole microseconds of a duration without 128-bit arithmetic, saturating.
#[inline]
pub(super) fn micros(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(u64::from(duration.subsec_micros()))
}

/// Ticks of an RTP clock in a time span, modulo 2^32 as RTP timestamps are.
#[inline]
pub(super) fn ticks(span_us: u64, clock_hz: u32) -> u32 {
    low32(span_us.wrapping_mul(u64::from(clock_hz)) / 1_000_000)
}

/// Microseconds that some ticks of an RTP clock take.
#[inline]
pub(super) fn ticks_us(ticks: u32, clock_hz: u32) -> u64 {
    u64::from(ticks) * 1_000_000 / u64::from(clock_hz.max(1))
}

/// The longest span that two spans are whole multiples of.
pub(super) fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The low 32 bits.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "wrapping at 2^32 is what is asked for"
)]
pub(super) fn low32(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_clock() {
        assert_eq!(ticks(20_000, 8_000), 160);
        assert_eq!(ticks(20_000, 48_000), 960);
        assert_eq!(ticks_us(160, 8_000), 20_000);
        // Five years into a call the arithmetic still fits.
        let five_years_us = 5 * 365 * 86_400 * 1_000_000;
        assert_eq!(
            ticks(five_years_us + 20_000, 90_000).wrapping_sub(ticks(five_years_us, 90_000)),
            1_800
        );
    }

    #[test]
    fn a_clock_that_runs_backwards_stands_still() {
        let now = Instant::now();
        assert_eq!(Micros::of(now + Duration::from_secs(1), now), Micros::ZERO);
        assert_eq!(Micros(5).since(Micros(7)), 0);
    }
}
