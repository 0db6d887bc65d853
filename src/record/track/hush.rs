//! What stands where nothing was sent: silence, or the noise the sender described.

use crate::audio::comfort::{Generator, Noise};
use crate::audio::resample::Resampler;

/// Noise is made for this long at a time.
const STEP_MS: u32 = 10;

/// Comfort noise at the rate of a recording (RFC 3389).
#[derive(Debug)]
pub(super) struct Hush {
    rate_hz: u32,
    clock_hz: u32,
    generator: Generator,
    resampler: Resampler,
    /// What was made and not used.
    spare: Vec<i16>,
}

impl Hush {
    /// For payloads of a clock. `None`: it is none of the rates that can be resampled.
    pub(super) fn new(clock_hz: u32, rate_hz: u32) -> Option<Self> {
        Some(Self {
            rate_hz,
            clock_hz,
            generator: Generator::new(clock_hz, 1),
            resampler: Resampler::new(clock_hz, rate_hz)?,
            spare: Vec::new(),
        })
    }

    pub(super) fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// What is played from now on, by a payload. An empty one changes nothing.
    pub(super) fn set(&mut self, payload: &[u8]) {
        if let Some(noise) = Noise::parse(payload) {
            self.generator.set(&noise);
        }
    }

    /// Appends so many samples.
    pub(super) fn fill(&mut self, mut samples: usize, out: &mut Vec<i16>) {
        while samples > 0 {
            if self.spare.is_empty() {
                let mut pcm = vec![0; (self.clock_hz * STEP_MS / 1_000) as usize];
                self.generator.fill(&mut pcm);
                let step = (self.rate_hz * STEP_MS / 1_000) as usize;
                self.spare
                    .resize(self.resampler.output_len(pcm.len()).max(step), 0);
                self.resampler.process(&pcm, &mut self.spare);
            }
            let count = samples.min(self.spare.len());
            out.extend(self.spare.drain(..count));
            samples -= count;
        }
    }
}
