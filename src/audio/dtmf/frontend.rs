//! From frames of any length at any rate to looks at the last 80 ms at 8 kHz, one every 5 ms.

use super::super::resample::Resampler;
use super::{HOP, RATES_HZ, RateError};

/// Samples that a look sees: 80 ms.
pub(super) const SEEN: usize = 640;
/// The last samples, the newest at the end.
pub(super) type Window = [i16; SEEN];

/// Samples kept; when it is full the last [`SEEN`] move to its start.
const KEPT: usize = SEEN + 16 * HOP;
/// Samples that are brought to 8 kHz at once.
const BLOCK: usize = 480;

/// Collects samples and hands them out in looks.
#[derive(Debug, Clone)]
pub(super) struct Frontend {
    resampler: Resampler,
    clock: Clock,
    kept: Box<[i16; KEPT]>,
    filled: usize,
    /// Samples at 8 kHz so far.
    count: u64,
}

/// Turns positions at 8 kHz into positions at the caller's rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Samples of the caller per sample at 8 kHz.
    ratio: f64,
    /// Delay of the conversion, in samples at 8 kHz.
    delay: f64,
}

impl Clock {
    /// Nearest sample; before the first one there is nothing.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates, and it is 0 at least"
    )]
    pub(super) fn position(self, at: f64) -> u64 {
        ((at - self.delay) * self.ratio).max(0.0).round() as u64
    }
}

impl Frontend {
    pub(super) fn new(rate_hz: u32) -> Result<Self, RateError> {
        let known = RATES_HZ.contains(&rate_hz);
        let resampler = Resampler::new(rate_hz, 8_000).filter(|_| known);
        let resampler = resampler.ok_or(RateError(rate_hz))?;
        let clock = Clock {
            ratio: f64::from(rate_hz) / 8_000.0,
            delay: resampler.delay_samples() as f64,
        };
        super::tables::tables();
        Ok(Self {
            resampler,
            clock,
            kept: Box::new([0; KEPT]),
            filled: SEEN,
            count: 0,
        })
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes all samples; `look` sees the last 80 ms every 5 ms, and how many came so far.
    pub(super) fn feed(&mut self, pcm: &[i16], mut look: impl FnMut(&Window, u64)) {
        if self.clock.ratio <= 1.0 {
            return self.take(pcm, &mut look);
        }
        let mut narrow = [0; BLOCK];
        for block in pcm.chunks(BLOCK) {
            let length = self.resampler.process(block, &mut narrow);
            self.take(&narrow[..length], &mut look);
        }
    }

    fn take(&mut self, mut pcm: &[i16], look: &mut impl FnMut(&Window, u64)) {
        while !pcm.is_empty() {
            let until_hop = HOP - self.filled % HOP;
            let (now, later) = pcm.split_at(until_hop.min(pcm.len()));
            self.kept[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            self.count += now.len() as u64;
            pcm = later;
            if self.filled.is_multiple_of(HOP) {
                if let Some(window) = self.kept[..self.filled].last_chunk() {
                    look(window, self.count);
                }
                if self.filled == KEPT {
                    self.kept.copy_within(KEPT - SEEN.., 0);
                    self.filled = SEEN;
                }
            }
        }
    }
}
