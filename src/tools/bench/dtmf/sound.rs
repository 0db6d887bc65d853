//! Key presses and other line signals, computed sample by sample in `f64` at 8 kHz.
//!
//! Shares nothing with the switch's own tone generator: a fault of that must not hide a fault of
//! the detector.

use std::f64::consts::TAU;

use fastrand::Rng;

use crate::wire::event::Digit;

/// Samples per second of the corpus.
pub(super) const RATE_HZ: f64 = 8_000.0;

/// Full scale of 16 bit is a sine of +3.14 dBm0 (A-law, ITU-T G.711).
#[allow(clippy::approx_constant, reason = "decibels, not half a turn")]
const FULL_SCALE_DBM0: f64 = 3.14;

/// Low group by row, high group by column (ITU-T Q.23).
const LOW_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// The keypad by rows.
const KEYPAD: &str = "123A456B789C*0#D";

/// The two frequencies of a key, low and high.
pub(super) fn frequencies_hz(digit: Digit) -> (f64, f64) {
    let key = digit.as_char();
    let at = KEYPAD.find(key).expect("all sixteen keys are on the pad");
    (LOW_HZ[at / 4], HIGH_HZ[at % 4])
}

/// Amplitude of a sine, full scale = 1.
pub(super) fn amplitude(dbm0: f64) -> f64 {
    10.0_f64.powf((dbm0 - FULL_SCALE_DBM0) / 20.0)
}

/// Root mean square of a signal of this level, full scale = 1.
pub(super) fn rms(dbm0: f64) -> f64 {
    amplitude(dbm0) / std::f64::consts::SQRT_2
}

/// Whole samples of a time; negative times are none.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float saturates, and hours of samples fit"
)]
pub(super) fn samples(ms: f64) -> usize {
    (ms * RATE_HZ / 1_000.0).round() as usize
}

/// One sample of 16 bit, saturated.
#[allow(
    clippy::cast_possible_truncation,
    reason = "saturates as a converter does"
)]
pub(super) fn to_pcm(value: f64) -> i16 {
    (value * 32_768.0).round() as i16
}

/// A steady sine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sine {
    pub(super) hz: f64,
    pub(super) dbm0: f64,
}

impl Sine {
    pub(super) const fn new(hz: f64, dbm0: f64) -> Self {
        Self { hz, dbm0 }
    }

    /// Its value so many seconds after a moment at which it had this phase (in turns).
    fn at(self, seconds: f64, phase: f64) -> f64 {
        amplitude(self.dbm0) * (TAU * (self.hz * seconds + phase)).sin()
    }
}

/// Spectrum of a noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Flat to 4 kHz.
    White,
    /// -3 dB per octave.
    Pink,
}

/// What sounds during a burst.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Sines, each with a random phase.
    Sines(Vec<Sine>),
    /// Noise of this level in dBm0.
    Noise(Colour, f64),
    /// Random bits by continuous-phase FSK.
    Fsk {
        /// Frequencies of 0 and 1.
        hz: [f64; 2],
        /// Bits per second.
        baud: f64,
        /// Level.
        dbm0: f64,
    },
}

/// A short loss of the signal within a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dropout {
    /// From the start of the burst.
    pub(super) at_ms: f64,
    pub(super) ms: f64,
    /// The tones come back with other phases, as from a splice.
    pub(super) new_phase: bool,
}

/// A signal and the silence after it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Burst {
    /// The key it stands for; `None`: for none.
    pub(super) digit: Option<Digit>,
    pub(super) content: Content,
    pub(super) on_ms: f64,
    pub(super) off_ms: f64,
    pub(super) dropout: Option<Dropout>,
}

/// What a press deviates in from nominal, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Press {
    pub(super) low_dbm0: f64,
    pub(super) high_dbm0: f64,
    /// Deviation of the two frequencies, in parts of them.
    pub(super) low_off: f64,
    pub(super) high_off: f64,
    /// Further deviation of both in Hz, away from nominal.
    pub(super) off_hz: f64,
    pub(super) on_ms: f64,
    pub(super) off_ms: f64,
    pub(super) dropout: Option<Dropout>,
}

impl Press {
    /// Nominal frequencies, both tones at one level.
    pub(super) const fn new(dbm0: f64, on_ms: f64, off_ms: f64) -> Self {
        Self {
            low_dbm0: dbm0,
            high_dbm0: dbm0,
            low_off: 0.0,
            high_off: 0.0,
            off_hz: 0.0,
            on_ms,
            off_ms,
            dropout: None,
        }
    }

    /// Frequencies off by so many per cent.
    pub(super) fn off(mut self, low_percent: f64, high_percent: f64) -> Self {
        self.low_off = low_percent / 100.0;
        self.high_off = high_percent / 100.0;
        self
    }

    /// The stronger tone at `dbm0`, high minus low = `twist_db`.
    pub(super) fn twisted_from(mut self, dbm0: f64, twist_db: f64) -> Self {
        self.low_dbm0 = dbm0 - twist_db.max(0.0);
        self.high_dbm0 = dbm0 - (-twist_db).max(0.0);
        self
    }

    /// The weaker tone at `dbm0`, high minus low = `twist_db`.
    pub(super) fn twisted_to(self, dbm0: f64, twist_db: f64) -> Self {
        self.twisted_from(dbm0 + twist_db.abs(), twist_db)
    }

    /// Power of both tones together.
    pub(super) fn dbm0(&self) -> f64 {
        let power = |dbm0: f64| 10.0_f64.powf(dbm0 / 10.0);
        10.0 * (power(self.low_dbm0) + power(self.high_dbm0)).log10()
    }

    /// The press of this key.
    pub(super) fn of(&self, digit: Digit) -> Burst {
        let (low, high) = frequencies_hz(digit);
        let off = |hz: f64, part: f64| hz * (1.0 + part) + self.off_hz * part.signum();
        Burst {
            digit: Some(digit),
            content: Content::Sines(vec![
                Sine::new(off(low, self.low_off), self.low_dbm0),
                Sine::new(off(high, self.high_off), self.high_dbm0),
            ]),
            on_ms: self.on_ms,
            off_ms: self.off_ms,
            dropout: self.dropout,
        }
    }
}

impl Burst {
    /// Adds its signal to `out`, beginning `start` samples (and a part of one) into it. `pace`
    /// makes everything faster by that factor. Returns its end in samples.
    pub(super) fn add_to(&self, out: &mut Vec<f64>, start: f64, pace: f64, rng: &mut Rng) -> f64 {
        let length = self.on_ms * RATE_HZ / 1_000.0 / pace;
        let end = start + length;
        let (first, beyond) = (ceil(start), ceil(end));
        if out.len() < beyond {
            out.resize(beyond, 0.0);
        }
        let seconds = move |n: usize| (float(n) - start) * pace / RATE_HZ;
        let out = &mut out[first..beyond];
        match &self.content {
            Content::Sines(sines) => {
                for sine in sines {
                    self.add_sine(*sine, out, |n| seconds(n + first), rng);
                }
            }
            Content::Noise(colour, dbm0) => {
                for (sample, noise) in out.iter_mut().zip(noise(*colour, *dbm0, beyond, rng)) {
                    *sample += noise;
                }
            }
            Content::Fsk { hz, baud, dbm0 } => {
                let (mut phase, mut bits_left, mut now_hz) = (0.0, 0.0, hz[0]);
                for sample in out {
                    if bits_left <= 0.0 {
                        bits_left += RATE_HZ / baud;
                        now_hz = hz[usize::from(rng.bool())];
                    }
                    bits_left -= 1.0;
                    phase += now_hz / RATE_HZ;
                    *sample += Sine::new(0.0, *dbm0).at(0.0, phase);
                }
            }
        }
        end
    }

    fn add_sine(&self, sine: Sine, out: &mut [f64], seconds: impl Fn(usize) -> f64, rng: &mut Rng) {
        let (before, after) = (rng.f64(), rng.f64());
        for (n, sample) in out.iter_mut().enumerate() {
            let now = seconds(n);
            let phase = match self.dropout {
                Some(gap) if now * 1_000.0 >= gap.at_ms + gap.ms && gap.new_phase => after,
                Some(gap) if (gap.at_ms..gap.at_ms + gap.ms).contains(&(now * 1_000.0)) => continue,
                _ => before,
            };
            *sample += sine.at(now, phase);
        }
    }
}

/// Noise of a level, of any length.
pub(super) fn noise(colour: Colour, dbm0: f64, length: usize, rng: &mut Rng) -> Vec<f64> {
    // The sum of twelve even numbers is near enough to Gauss.
    let mut white = || (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
    // Poles at 1 kHz, 160 Hz and 20 Hz whose sum falls by 3 dB per octave within 1 dB.
    let mut poles = [0.0_f64; 3];
    let mut out: Vec<f64> = (0..length.max(1))
        .map(|_| {
            let fresh = white();
            if colour == Colour::White {
                return fresh;
            }
            for (pole, (keep, take)) in poles.iter_mut().zip(PINK) {
                *pole = keep * *pole + take * fresh;
            }
            poles.iter().sum::<f64>() + 0.1848 * fresh
        })
        .collect();
    let power = out.iter().map(|s| s * s).sum::<f64>() / float(out.len());
    let gain = rms(dbm0) / power.sqrt();
    out.iter_mut().for_each(|s| *s *= gain);
    out.truncate(length);
    out
}

/// What each pole of the pink filter keeps and takes.
const PINK: [(f64, f64); 3] = [
    (0.99765, 0.099_046),
    (0.963, 0.296_516_4),
    (0.57, 1.052_691_3),
];

/// Adds sines that never pause, such as a dial tone.
pub(super) fn add_steady(sines: &[Sine], out: &mut [f64], rng: &mut Rng) {
    for sine in sines {
        let phase = rng.f64();
        for (n, sample) in out.iter_mut().enumerate() {
            *sample += sine.at(float(n) / RATE_HZ, phase);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "hours of samples are exact")]
pub(super) const fn float(n: usize) -> f64 {
    n as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions in a stream"
)]
fn ceil(position: f64) -> usize {
    position.ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power_dbm0(signal: &[f64]) -> f64 {
        let mean = signal.iter().map(|s| s * s).sum::<f64>() / float(signal.len());
        10.0 * (2.0 * mean).log10() + FULL_SCALE_DBM0
    }

    #[test]
    fn keys_have_the_frequencies_of_the_recommendation() {
        let of = |key| frequencies_hz(Digit::from_char(key).unwrap());
        assert_eq!(of('1'), (697.0, 1_209.0));
        assert_eq!(of('6'), (770.0, 1_477.0));
        assert_eq!(of('0'), (941.0, 1_336.0));
        assert_eq!(of('D'), (941.0, 1_633.0));
        assert_eq!(of('#'), (941.0, 1_477.0));
        assert_eq!(of('*'), (941.0, 1_209.0));
    }

    #[test]
    fn levels_and_lengths_are_what_they_say() {
        let mut rng = Rng::with_seed(1);
        let press = Press::new(-10.0, 100.0, 50.0);
        let mut out = Vec::new();
        let end = press.of(Digit::ALL[5]).add_to(&mut out, 0.0, 1.0, &mut rng);
        assert_eq!((end, out.len()), (800.0, 800));
        assert!((power_dbm0(&out) - press.dbm0()).abs() < 0.2);
        assert!((press.dbm0() - -6.99).abs() < 0.01);
        for colour in [Colour::White, Colour::Pink] {
            let noise = noise(colour, -30.0, 8_000, &mut rng);
            assert!((power_dbm0(&noise) - -30.0).abs() < 0.01);
        }
        let twisted = Press::new(0.0, 1.0, 1.0).twisted_from(-3.0, 4.0);
        assert_eq!((twisted.low_dbm0, twisted.high_dbm0), (-7.0, -3.0));
        let twisted = Press::new(0.0, 1.0, 1.0).twisted_to(-25.0, -8.0);
        assert_eq!((twisted.low_dbm0, twisted.high_dbm0), (-17.0, -25.0));
    }

    #[test]
    fn a_dropout_is_silent_and_nothing_else_is() {
        let mut press = Press::new(-10.0, 100.0, 50.0);
        press.dropout = Some(Dropout {
            at_ms: 50.0,
            ms: 10.0,
            new_phase: true,
        });
        let mut out = Vec::new();
        let mut rng = Rng::with_seed(2);
        press.of(Digit::ALL[0]).add_to(&mut out, 0.0, 1.0, &mut rng);
        assert!(out[400..480].iter().all(|s| *s == 0.0));
        assert!(power_dbm0(&out[..400]) > -8.0 && power_dbm0(&out[480..]) > -8.0);
    }
}
