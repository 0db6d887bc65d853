//! What is heard in the place of a key: nothing, a tone, or another key.

use std::f32::consts::TAU;

use crate::audio::tone::{FULL_SCALE_DBM0, key_hz};
use crate::wire::event::Digit;

/// Loudest and softest key that is put in the place of another, both tones together.
const KEY_DBM0: std::ops::RangeInclusive<f32> = -25.0..=-3.0;

/// Up to two tones of one level; none: silence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sound {
    hz: [f32; 2],
    /// Of each tone, in samples.
    amplitude: f32,
}

impl Sound {
    /// One tone.
    pub(super) fn tone(hz: u16, dbm0: f32) -> Self {
        Self {
            hz: [f32::from(hz), 0.0],
            amplitude: amplitude(dbm0),
        }
    }

    /// A key, as loud as another one was, both tones together.
    #[allow(clippy::cast_precision_loss, reason = "at most 1,633")]
    pub(super) fn key(digit: Digit, dbm0: f32) -> Self {
        let dbm0 = dbm0.clamp(*KEY_DBM0.start(), *KEY_DBM0.end());
        Self {
            hz: key_hz(digit).map(|hz| hz as f32),
            amplitude: amplitude(dbm0 - 10.0 * 2_f32.log10()),
        }
    }
}

/// Plays sounds with soft edges.
#[derive(Debug)]
pub(super) struct Put {
    rate_hz: f32,
    ramp: usize,
    sound: Sound,
    /// In turns, 0 to 1.
    phase: [f32; 2],
    /// How much of it is heard, of `ramp`.
    level: usize,
    rises: bool,
}

impl Put {
    /// At a sample rate; edges take `ramp` samples.
    #[allow(clippy::cast_precision_loss, reason = "at most 48,000")]
    pub(super) fn new(rate_hz: u32, ramp: usize) -> Self {
        Self {
            rate_hz: rate_hz as f32,
            ramp,
            sound: Sound::default(),
            phase: [0.0; 2],
            level: 0,
            rises: false,
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.level == 0 && !self.rises
    }

    /// What is wanted from the next sample on. Another sound waits until the one before has faded.
    #[inline]
    pub(super) fn turn(&mut self, sound: Option<Sound>) {
        let sound = sound.filter(|sound| sound.amplitude > 0.0);
        self.rises = sound.is_some_and(|sound| self.level == 0 || self.sound == sound);
        if let Some(sound) = sound.filter(|sound| self.level == 0 && *sound != self.sound) {
            (self.sound, self.phase) = (sound, [0.0; 2]);
        }
    }

    /// The next sample.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "samples; casts of floats saturate"
    )]
    pub(super) fn next(&mut self) -> i16 {
        self.level = match self.rises {
            true => (self.level + 1).min(self.ramp),
            false => self.level.saturating_sub(1),
        };
        let mut sum = 0.0;
        for (phase, hz) in self.phase.iter_mut().zip(self.sound.hz) {
            if hz > 0.0 {
                sum += (TAU * *phase).sin();
                *phase = (*phase + hz / self.rate_hz).fract();
            }
        }
        let gain = self.level as f32 / self.ramp.max(1) as f32;
        (self.sound.amplitude * gain * sum).round() as i16
    }
}

/// Amplitude of a sine of this level, in samples.
#[allow(clippy::cast_possible_truncation, reason = "a constant of two places")]
fn amplitude(dbm0: f32) -> f32 {
    32_767.0 * 10_f32.powf((dbm0 - FULL_SCALE_DBM0 as f32) / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::dtmf::{Detector, Heard};

    #[test]
    fn keys_are_heard_as_they_are_at_every_rate() {
        for rate_hz in [8_000_u32, 16_000, 48_000] {
            for digit in Digit::ALL {
                let mut put = Put::new(rate_hz, rate_hz as usize / 250);
                put.turn(Some(Sound::key(digit, -10.0)));
                let tone: Vec<i16> = (0..rate_hz / 10).map(|_| put.next()).collect();
                put.turn(None);
                let rest: Vec<i16> = (0..rate_hz / 10).map(|_| put.next()).collect();
                assert!(put.is_silent());
                let mut heard = Vec::new();
                let mut detector = Detector::new(rate_hz).expect("a rate");
                for pcm in [tone, rest] {
                    detector.feed(&pcm, &mut |edge| heard.push(edge));
                }
                let [Heard::Began(tone), Heard::Ended(_)] = heard[..] else {
                    panic!("{} edges", heard.len());
                };
                assert!(tone.digit == digit && (tone.level_dbm0 + 10.0).abs() < 0.5);
            }
        }
    }
}
