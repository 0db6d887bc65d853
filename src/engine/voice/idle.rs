//! What a listener is sent while there is nothing to hear: nothing, silence, noise, or a
//! description of noise (RFC 3389).

use super::api::Idle;
use crate::audio::comfort::{Generator, Noise, PAYLOAD_MAX};

/// How often noise is described anew while nothing else is said. RFC 3389 leaves it open; a
/// receiver that lost a description hears silence for no longer than this.
pub const NOISE_UPDATE_US: u64 = 320_000;

/// Every listener hears the same noise, but nobody hears two of them.
const SEED: u32 = 0x2f6e_2b1d;

/// What stands for a frame in which there is nothing to hear.
#[derive(Debug)]
pub(in crate::engine) enum Filler {
    /// No packet.
    Nothing,
    /// The samples are there, to be encoded like any other.
    Samples,
    /// A packet of comfort noise under this payload type.
    Described {
        pt: u8,
        payload: [u8; PAYLOAD_MAX],
        len: usize,
    },
}

/// The idle sound of one leg.
#[derive(Debug)]
pub(in crate::engine) struct IdleSound {
    idle: Idle,
    /// Of noise that is encoded; at the rate it was made for.
    generator: Option<(u32, Box<Generator>)>,
    /// Until the noise is described again; `None`: at once.
    wait_us: Option<u64>,
}

impl IdleSound {
    pub(in crate::engine) fn new(idle: Idle) -> Self {
        Self {
            idle,
            generator: None,
            wait_us: None,
        }
    }

    /// Something else from the next frame on. O(1).
    pub(in crate::engine) fn set(&mut self, idle: Idle) {
        if self.idle != idle {
            *self = Self::new(idle);
        }
    }

    /// Whether anything is sent in silence, so that frames go on being made.
    pub(in crate::engine) fn sounds(&self) -> bool {
        self.idle != Idle::Nothing
    }

    /// Whether frames of silence are encoded.
    pub(in crate::engine) fn is_encoded(&self) -> bool {
        matches!(self.idle, Idle::Silence | Idle::Noise { .. })
    }

    /// There was something to hear, or no packet could be sent: the next silence begins anew.
    pub(in crate::engine) fn interrupt(&mut self) {
        self.wait_us = None;
    }

    /// What stands for a silent frame of `period_us` at `rate_hz`. Allocates when noise is made
    /// for the first time at a rate.
    pub(in crate::engine) fn fill(
        &mut self,
        pcm: &mut [i16],
        rate_hz: u32,
        period_us: u64,
    ) -> Filler {
        match self.idle {
            Idle::Nothing => Filler::Nothing,
            Idle::Silence => {
                pcm.fill(0);
                Filler::Samples
            }
            Idle::Noise { level } => {
                self.generator(level, rate_hz).fill(pcm);
                Filler::Samples
            }
            Idle::ComfortNoise { pt, level } => self.describe(pt, level, period_us),
        }
    }

    fn generator(&mut self, level: u8, rate_hz: u32) -> &mut Generator {
        let kept = self.generator.take().filter(|(hz, _)| *hz == rate_hz);
        let (_, generator) = self.generator.insert(kept.unwrap_or_else(|| {
            let mut made = Box::new(Generator::new(rate_hz, SEED));
            made.set(&Noise::white(level));
            (rate_hz, made)
        }));
        generator
    }

    fn describe(&mut self, pt: u8, level: u8, period_us: u64) -> Filler {
        if let Some(wait_us) = self.wait_us.filter(|wait_us| *wait_us > period_us) {
            self.wait_us = Some(wait_us - period_us);
            return Filler::Nothing;
        }
        self.wait_us = Some(NOISE_UPDATE_US);
        let mut payload = [0; PAYLOAD_MAX];
        let len = Noise::white(level).write(&mut payload);
        Filler::Described { pt, payload, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent_frames(sound: &mut IdleSound, frames: usize, ms: u64) -> Vec<usize> {
        let mut pcm = [1; 160];
        let described = |n: &usize| match sound.fill(&mut pcm, 8_000, ms * 1_000) {
            Filler::Described { pt, payload, len } => {
                assert_eq!((pt, &payload[..len]), (13, &[60][..]), "frame {n}");
                true
            }
            Filler::Samples | Filler::Nothing => false,
        };
        (0..frames).filter(described).collect()
    }

    #[test]
    fn noise_is_described_at_once_and_then_seldom() {
        let idle = Idle::ComfortNoise { pt: 13, level: 60 };
        let mut sound = IdleSound::new(idle);
        assert_eq!(silent_frames(&mut sound, 40, 20), [0, 16, 32]);
        sound.set(idle);
        let told = silent_frames(&mut sound, 8, 20);
        assert!(told.is_empty(), "nothing has changed");
        sound.interrupt();
        assert_eq!(silent_frames(&mut sound, 12, 60), [0, 6]);
        sound.set(Idle::ComfortNoise { pt: 13, level: 50 });
        sound.set(idle);
        assert_eq!(silent_frames(&mut sound, 2, 20), [0], "another level");
    }

    #[test]
    fn noise_has_its_level_at_every_rate() {
        for rate_hz in [8_000, 16_000, 48_000] {
            let mut sound = IdleSound::new(Idle::Noise { level: 40 });
            let mut pcm = vec![0; 48_000];
            assert!(matches!(
                sound.fill(&mut pcm, rate_hz, 20_000),
                Filler::Samples
            ));
            let power: f64 = pcm.iter().map(|s| f64::from(*s).powi(2)).sum();
            let rms = (power / 48_000.0).sqrt();
            assert!((310.0..345.0).contains(&rms), "{rms} for 328");
        }
    }

    #[test]
    fn silence_is_silent_and_nothing_is_nothing() {
        let mut pcm = [7; 160];
        let nothing = IdleSound::new(Idle::Nothing).fill(&mut pcm, 8_000, 20_000);
        assert!(matches!(nothing, Filler::Nothing));
        let mut silence = IdleSound::new(Idle::Silence);
        let silent = silence.fill(&mut pcm, 8_000, 20_000);
        assert!(matches!(silent, Filler::Samples) && pcm == [0; 160]);
        assert!(silence.is_encoded() && silence.sounds());
    }
}
