//! Samples that an application pushes while they are played: a bounded ring between the two.
//!
//! The ring has one end each for the application and for the leg or bridge that hears it, and no
//! lock: the listener's clock takes what is there, and never waits. Samples never pass through the
//! command queue; only the listener's end does, once, inside of a [`Play`](super::Play).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::audio::resample::RATES_HZ;

/// Longest time of audio that a ring holds.
pub const PUSH_AHEAD_MAX: Duration = Duration::from_secs(10);

/// Shortest time of audio that a ring holds: the longest frame.
pub const PUSH_AHEAD_MIN: Duration = Duration::from_millis(60);

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// A sampling rate that is none of [`RATES_HZ`].
    #[error("samples at {0} Hz: 8000, 16000, 24000 and 48000 are possible")]
    Rate(u32),
    /// A ring shorter than [`PUSH_AHEAD_MIN`] or longer than [`PUSH_AHEAD_MAX`].
    #[error("{} ms of samples ahead: 60 ms to 10 s are possible", .0.as_millis())]
    Ahead(Duration),
}

/// A ring for samples at `rate_hz` (one of [`RATES_HZ`]) that holds `ahead` of audio
/// ([`PUSH_AHEAD_MIN`] to [`PUSH_AHEAD_MAX`]): the end that pushes, and what is played.
///
/// # Errors
/// [`PushError`], for any other rate or length.
pub fn pushed(rate_hz: u32, ahead: Duration) -> Result<(Pusher, Pushed), PushError> {
    if !RATES_HZ.contains(&rate_hz) {
        return Err(PushError::Rate(rate_hz));
    }
    if !(PUSH_AHEAD_MIN..=PUSH_AHEAD_MAX).contains(&ahead) {
        return Err(PushError::Ahead(ahead));
    }
    let samples = ahead.as_micros() * u128::from(rate_hz) / 1_000_000;
    let samples = usize::try_from(samples).map_err(|_| PushError::Ahead(ahead))?;
    let (ring, heard) = rtrb::RingBuffer::new(samples);
    let missing = Arc::new(AtomicU64::new(0));
    let pusher = Pusher {
        ring,
        missing: Arc::clone(&missing),
        overrun: 0,
    };
    let pushed = Pushed {
        ring: heard,
        rate_hz,
        begun: false,
        missing,
    };
    Ok((pusher, pushed))
}

/// The application's end: pushes samples and, when dropped, says that there are no more. What lies
/// in the ring by then is still played.
#[derive(Debug)]
pub struct Pusher {
    ring: rtrb::Producer<i16>,
    missing: Arc<AtomicU64>,
    overrun: u64,
}

impl Pusher {
    /// Pushes samples; returns how many there was room for. The others are dropped and counted, so
    /// that who is too fast is cut rather than delayed. Never waits and never allocates.
    pub fn push(&mut self, samples: &[i16]) -> usize {
        let (taken, dropped) = self.ring.push_partial_slice(samples);
        self.overrun += dropped.len() as u64;
        taken.len()
    }

    /// Samples that there is room for now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.ring.slots()
    }

    /// No more samples will come: what is in the ring is played, and then the sound is over.
    pub fn finish(self) {
        drop(self);
    }

    /// Whether the player has ended, so that nobody will hear what is pushed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Samples that were dropped because the ring was full.
    #[must_use]
    pub fn overrun_samples(&self) -> u64 {
        self.overrun
    }

    /// Samples of silence that were heard, since the first sample, because the ring was empty.
    #[must_use]
    pub fn underrun_samples(&self) -> u64 {
        self.missing.load(Ordering::Relaxed)
    }
}

/// The listener's end. Silent until the first sample is pushed.
#[derive(Debug)]
pub struct Pushed {
    ring: rtrb::Consumer<i16>,
    rate_hz: u32,
    /// The first sample was there.
    begun: bool,
    /// Silence in the place of samples; shared with the pusher.
    missing: Arc<AtomicU64>,
}

impl Pushed {
    pub(in crate::engine) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Fills `out` with samples, and with silence where there are none yet; fewer than asked: there
    /// are no more. Returns how many were written and how many of them were pushed.
    pub(in crate::engine) fn read(&mut self, out: &mut [i16]) -> (usize, usize) {
        // In this order: what was pushed before the pusher went is then seen.
        let finished = self.ring.is_abandoned();
        let (taken, rest) = self.ring.pop_partial_slice(out);
        let (taken, lacking) = (taken.len(), rest.len());
        self.begun |= taken > 0;
        if finished || lacking == 0 {
            return (taken, taken);
        }
        rest.fill(0);
        if self.begun {
            self.missing.fetch_add(lacking as u64, Ordering::Relaxed);
        }
        (taken + lacking, taken)
    }

    /// Everything that will ever be pushed was read.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.ring.is_abandoned() && self.ring.is_empty()
    }

    /// Samples of silence in the place of those that came too late.
    pub(in crate::engine) fn missing(&self) -> u32 {
        u32::try_from(self.missing.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_have_telephone_rates_and_bounded_lengths() {
        let made = |rate_hz, ahead| pushed(rate_hz, ahead).map(|(pusher, _)| pusher.room());
        assert_eq!(made(8_000, PUSH_AHEAD_MIN), Ok(480));
        assert_eq!(made(48_000, PUSH_AHEAD_MAX), Ok(480_000));
        assert_eq!(made(44_100, PUSH_AHEAD_MIN), Err(PushError::Rate(44_100)));
        let ms = Duration::from_millis(1);
        for ahead in [PUSH_AHEAD_MIN - ms, PUSH_AHEAD_MAX + ms] {
            assert_eq!(made(8_000, ahead), Err(PushError::Ahead(ahead)));
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_what_is_late_is_silence() {
        let (mut pusher, mut heard) = pushed(8_000, PUSH_AHEAD_MIN).unwrap();
        let mut out = [1; 160];
        assert_eq!(heard.read(&mut out), (160, 0), "before the first sample");
        assert_eq!((out, pusher.underrun_samples()), ([0; 160], 0));
        assert_eq!(pusher.push(&[7; 480]), 480, "at the limit");
        assert_eq!(pusher.push(&[7]), 0, "one more");
        assert_eq!(pusher.overrun_samples(), 1);
        for _ in 0..3 {
            assert_eq!(heard.read(&mut out), (160, 160));
            assert_eq!(out, [7; 160]);
        }
        pusher.push(&[8; 100]);
        assert_eq!(heard.read(&mut out), (160, 100));
        assert_eq!((out[99], out[100]), (8, 0));
        assert_eq!((pusher.underrun_samples(), heard.missing()), (60, 60));
        pusher.push(&[9; 30]);
        pusher.finish();
        assert!(!heard.is_over(), "it is drained first");
        assert_eq!(heard.read(&mut out), (30, 30));
        assert_eq!(heard.read(&mut out), (0, 0));
        assert!(heard.is_over());
    }

    #[test]
    fn a_pusher_learns_that_nobody_hears_it() {
        let (mut pusher, heard) = pushed(16_000, PUSH_AHEAD_MIN).unwrap();
        assert!(!pusher.is_over());
        drop(heard);
        assert!(pusher.is_over());
        pusher.push(&[0; 10]);
    }
}
