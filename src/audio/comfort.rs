//! Comfort noise: the payload of RFC 3389, a generator that plays it, and an analyser that makes
//! it from background sound.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! +-+-+-+-+-+-+-+-+---------+---------+-- ...
//! |0|    level    |   N1    |   N2    |       level: −dBov; Ni: reflection coefficients
//! +-+-+-+-+-+-+-+-+---------+---------+-- ...
//! ```
//!
//! 0 dBov is a square wave of full scale, so a full-scale sine is −3 dBov. RFC 3389 does not say
//! which sign a reflection coefficient has. Here, as in the implementation that browsers share,
//! the first is −R(1)/R(0): negative for noise with more bass than treble.

use std::f32::consts::TAU;

/// Most reflection coefficients kept of a payload, and most that are sent. RFC 3389 section 3
/// allows to ignore the higher ones; G.711 appendix II uses ten.
pub const ORDER_MAX: usize = 12;

/// Longest payload written: the level and [`ORDER_MAX`] coefficients.
pub const PAYLOAD_MAX: usize = 1 + ORDER_MAX;

/// The quietest level there is, in −dBov.
pub const LEVEL_MAX: u8 = 127;

/// The loudest sample, and the root mean square of 0 dBov.
const FULL_SCALE: f32 = 32_768.0;

/// What a coefficient of 0 is sent as (RFC 3389 section 3.2).
const CENTRE: i16 = 127;

/// Coefficients beyond this would ring for longer than the noise lasts, and N reaches 1.
const COEFFICIENT_MAX: f32 = 0.97;

/// Level and spectrum of background noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Level in −dBov, 0–127.
    level: u8,
    order: usize,
    /// The first `order` are in use; the others are zero. All lie within ±0.97.
    reflection: [f32; ORDER_MAX],
}

impl Noise {
    /// White noise of a level in −dBov; more than 127 is taken as 127.
    #[must_use]
    pub fn white(level: u8) -> Self {
        let (level, reflection) = (level.min(LEVEL_MAX), [0.0; ORDER_MAX]);
        Self {
            level,
            order: 0,
            reflection,
        }
    }

    /// Reads a payload: `None` if it is empty. The reserved bit of the level is ignored, and so
    /// are coefficients beyond [`ORDER_MAX`].
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (level, coefficients) = payload.split_first()?;
        let mut noise = Self::white(level & 0x7f);
        noise.order = coefficients.len().min(ORDER_MAX);
        for (to, from) in noise.reflection.iter_mut().zip(coefficients) {
            // 255 is not in use (section 3.2); it would be just above 1.
            let value = f32::from(i16::from(*from) - CENTRE) * (258.0 / FULL_SCALE);
            *to = value.clamp(-COEFFICIENT_MAX, COEFFICIENT_MAX);
        }
        Some(noise)
    }

    /// Writes the payload as far as `out` holds it; returns its length, at most [`PAYLOAD_MAX`].
    pub fn write(&self, out: &mut [u8]) -> usize {
        let octets = self.reflection[..self.order].iter().map(|k| quantised(*k));
        let all = std::iter::once(self.level).chain(octets);
        out.iter_mut()
            .zip(all)
            .map(|(to, octet)| *to = octet)
            .count()
    }

    /// Level in −dBov, 0–127.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Reflection coefficients, within ±0.97.
    #[must_use]
    pub fn reflection(&self) -> &[f32] {
        &self.reflection[..self.order]
    }
}

/// Root mean square of a level in −dBov, on the scale of samples.
#[must_use]
pub fn amplitude(level: u8) -> f32 {
    FULL_SCALE * 10f32.powf(f32::from(level) / -20.0)
}

/// Level in −dBov of a root mean square on the scale of samples, rounded, 0–127.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0–127; silence is infinitely quiet, which clamps as well"
)]
pub fn level(amplitude: f32) -> u8 {
    let below = -20.0 * (amplitude / FULL_SCALE).log10();
    below.round().clamp(0.0, f32::from(LEVEL_MAX)) as u8
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0–254"
)]
fn quantised(reflection: f32) -> u8 {
    let steps = (reflection * (FULL_SCALE / 258.0)).round() + f32::from(CENTRE);
    steps.clamp(0.0, 254.0) as u8
}

/// Plays noise, and glides from what it played to what it was told last.
#[derive(Clone, Debug)]
pub struct Generator {
    random: u32,
    rate_hz: u32,
    target: Option<Noise>,
    /// Root mean square of what drives the filter, and what it glides to.
    drive: f32,
    drive_target: f32,
    reflection: [f32; ORDER_MAX],
    /// Backward prediction errors of the lattice.
    lattice: [f32; ORDER_MAX + 1],
}

/// Time in which a change is nearly (by 1 − 1/e) complete.
const GLIDE_MS: f32 = 40.0;

/// Samples between two steps of the spectrum.
const STEP: usize = 40;

impl Generator {
    /// Silent until [`set`](Self::set). Noise repeats for the same `seed`.
    ///
    /// `rate_hz` is the sampling rate of what it fills, 8,000 to 48,000. Coefficients describe
    /// noise at the clock rate they were sent for, 8 kHz for payload type 13: fill at that rate
    /// and resample.
    #[must_use]
    pub fn new(rate_hz: u32, seed: u32) -> Self {
        Self {
            // The generator of random numbers must not start at zero.
            random: seed | 1,
            rate_hz,
            target: None,
            drive: 0.0,
            drive_target: 0.0,
            reflection: [0.0; ORDER_MAX],
            lattice: [0.0; ORDER_MAX + 1],
        }
    }

    /// What to play from now on: at once if nothing was played since the start or
    /// [`reset`](Self::reset), else by a glide.
    pub fn set(&mut self, noise: &Noise) {
        // A lattice raises the power of its drive by 1 / Π(1 − k²).
        let lost: f32 = noise.reflection.iter().map(|k| 1.0 - k * k).product();
        self.drive_target = amplitude(noise.level) * lost.sqrt();
        if self.target.replace(*noise).is_none() {
            self.drive = self.drive_target;
            self.reflection = noise.reflection;
        }
    }

    /// Whether there is anything to play.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.target.is_some()
    }

    /// Silent again; the next noise starts at once.
    pub fn reset(&mut self) {
        self.target = None;
        (self.drive, self.drive_target) = (0.0, 0.0);
        self.lattice = [0.0; ORDER_MAX + 1];
    }

    /// Fills `out`, with silence if nothing is set.
    pub fn fill(&mut self, out: &mut [i16]) {
        let Some(target) = self.target else {
            out.fill(0);
            return;
        };
        for block in out.chunks_mut(STEP) {
            self.glide(&target, block.len());
            for sample in block {
                *sample = self.sample();
            }
        }
    }

    /// Between stable lattices every mixture of coefficients is stable.
    #[allow(clippy::cast_precision_loss, reason = "rates and blocks are small")]
    fn glide(&mut self, target: &Noise, samples: usize) {
        let ms = samples as f32 * 1_000.0 / self.rate_hz.max(1) as f32;
        let share = 1.0 - (-ms / GLIDE_MS).exp();
        self.drive += share * (self.drive_target - self.drive);
        for (now, target) in self.reflection.iter_mut().zip(&target.reflection) {
            *now += share * (target - *now);
        }
    }

    fn sample(&mut self) -> i16 {
        let mut forward = self.drive * self.uniform();
        for ix in (0..ORDER_MAX).rev() {
            forward -= self.reflection[ix] * self.lattice[ix];
            self.lattice[ix + 1] = self.lattice[ix] + self.reflection[ix] * forward;
        }
        self.lattice[0] = forward;
        to_sample(forward)
    }

    /// Uniform noise with a root mean square of one (xorshift: audible noise needs no more).
    #[allow(clippy::cast_precision_loss, reason = "24 bits are noise enough")]
    fn uniform(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let centred = (self.random >> 8) as f32 / 8_388_608.0 - 1.0;
        centred * 3f32.sqrt()
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "casts from float saturate, and clip what is too loud"
)]
fn to_sample(value: f32) -> i16 {
    value.round() as i16
}

/// Describes background sound. Hand it only what is background: a voice activity detector decides.
#[derive(Clone, Debug)]
pub struct Analyser {
    order: usize,
    /// Smoothed autocorrelation per sample; the first is the power. `None` before any sound.
    correlation: Option<[f32; ORDER_MAX + 1]>,
}

/// How much the latest frame weighs in what is described.
const LATEST: f32 = 0.15;

/// Sound is analysed in blocks of this many samples, or what is left.
const BLOCK: usize = 160;

/// White noise added before the spectrum is taken, −40 dB: keeps it from modelling what the level
/// is too low to have, and the arithmetic sound.
const WHITENING: f32 = 1.0001;

impl Analyser {
    /// For payloads with `order` coefficients, at most [`ORDER_MAX`]; 0 sends the level only.
    #[must_use]
    pub fn new(order: usize) -> Self {
        Self {
            order: order.min(ORDER_MAX),
            correlation: None,
        }
    }

    /// Forgets all it heard.
    pub fn reset(&mut self) {
        self.correlation = None;
    }

    /// Takes in background sound. Pieces below 20 samples are too short to say anything, and are
    /// left out.
    pub fn hear(&mut self, pcm: &[i16]) {
        for block in pcm.chunks(BLOCK).filter(|b| b.len() >= ORDER_MAX + 8) {
            let latest = correlation(block);
            let known = self.correlation.get_or_insert(latest);
            for (known, latest) in known.iter_mut().zip(&latest) {
                *known += LATEST * (latest - *known);
            }
        }
    }

    /// What was heard, weighted towards the latest; `None` before any sound.
    #[must_use]
    pub fn noise(&self) -> Option<Noise> {
        let correlation = self.correlation.as_ref()?;
        let mut noise = Noise::white(level(correlation[0].max(0.0).sqrt()));
        noise.order = self.order;
        levinson(correlation, &mut noise.reflection[..self.order]);
        Some(noise)
    }
}

/// Autocorrelation per sample of a block under a Hann window, scaled so that its first value is
/// the power of the block itself.
#[allow(clippy::cast_precision_loss, reason = "a block is short")]
fn correlation(block: &[i16]) -> [f32; ORDER_MAX + 1] {
    let mut windowed = [0f32; BLOCK];
    let (step, mut power) = (TAU / block.len() as f32, 0f32);
    for (ix, (to, sample)) in windowed.iter_mut().zip(block).enumerate() {
        let sample = f32::from(*sample);
        power += sample * sample;
        *to = sample * (0.5 - 0.5 * ((ix as f32 + 0.5) * step).cos());
    }
    let windowed = &windowed[..block.len()];
    let lagged = |lag: usize| -> f32 {
        windowed
            .iter()
            .zip(&windowed[lag..])
            .map(|(a, b)| a * b)
            .sum()
    };
    let (power, first) = (power / block.len() as f32, lagged(0));
    let scale = if first > 0.0 { power / first } else { 0.0 };
    std::array::from_fn(|lag| scale * lagged(lag))
}

/// Reflection coefficients of an autocorrelation (Levinson and Durbin's recursion).
fn levinson(correlation: &[f32; ORDER_MAX + 1], reflection: &mut [f32]) {
    let mut predictor = [0f32; ORDER_MAX + 1];
    let mut error = correlation[0] * WHITENING;
    for ix in 1..=reflection.len() {
        if error <= f32::MIN_POSITIVE {
            reflection[ix - 1..].fill(0.0);
            return;
        }
        let known: f32 = (1..ix).map(|j| predictor[j] * correlation[ix - j]).sum();
        let k = (-(correlation[ix] + known) / error).clamp(-COEFFICIENT_MAX, COEFFICIENT_MAX);
        let before = predictor;
        for j in 1..ix {
            predictor[j] = before[j] + k * before[ix - j];
        }
        predictor[ix] = k;
        reflection[ix - 1] = k;
        error *= 1.0 - k * k;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power(pcm: &[i16]) -> f32 {
        let sum: f64 = pcm.iter().map(|s| f64::from(*s).powi(2)).sum();
        #[allow(clippy::cast_possible_truncation, reason = "a test's figure")]
        let mean = (sum / pcm.len() as f64) as f32;
        mean
    }

    fn played(generator: &mut Generator, samples: usize) -> Vec<i16> {
        let mut out = vec![0; samples];
        // Frames of 20 ms at 8 kHz, whose length no step divides.
        out.chunks_mut(160).for_each(|frame| generator.fill(frame));
        out
    }

    #[test]
    fn levels_are_relative_to_a_full_square_wave() {
        assert_eq!(level(32_768.0), 0);
        assert_eq!(level(32_768.0 / 2f32.sqrt()), 3, "a full sine");
        assert_eq!(level(32.768), 60);
        assert_eq!(level(0.0), 127);
        assert_eq!(level(1e9), 0);
        assert_eq!(level(f32::NAN), 0, "a cast of NaN is 0, and no panic");
        for quiet in 0..=127 {
            assert_eq!(level(amplitude(quiet)), quiet);
        }
    }

    #[test]
    fn payloads_parse_and_write_the_same() {
        // N = 127 is zero; neighbours are 258/32768 apart (RFC 3389 section 3.2).
        let noise = Noise::parse(&[62, 127, 128, 5, 126]).expect("not empty");
        assert_eq!(noise.level(), 62);
        let step = 258.0 / 32_768.0;
        assert_eq!(noise.reflection(), [0.0, step, -122.0 * step, -step]);
        let mut out = [0; PAYLOAD_MAX];
        assert_eq!(noise.write(&mut out), 5);
        assert_eq!(out[..5], [62, 127, 128, 5, 126]);
        assert_eq!(noise.write(&mut out[..2]), 2);
        for n in 4..=250 {
            assert_eq!(Noise::parse(&[0, n]).expect("not empty").write(&mut out), 2);
            assert_eq!(out[1], n);
        }
    }

    #[test]
    fn hostile_payloads_are_bounded() {
        assert_eq!(Noise::parse(&[]), None);
        assert_eq!(Noise::parse(&[0xff]).map(|n| n.level()), Some(127));
        let at_limit = [10; 1 + ORDER_MAX];
        let above = [10; 2 + ORDER_MAX];
        let order = |p: &[u8]| Noise::parse(p).expect("not empty").reflection().len();
        assert_eq!((order(&at_limit), order(&above)), (ORDER_MAX, ORDER_MAX));
        // The loudest and most resonant there can be: clipped, but it goes on.
        for extreme in [0, 255] {
            let mut generator = Generator::new(8_000, 1);
            generator
                .set(&Noise::parse(&[[0].as_slice(), &[extreme; 4_000]].concat()).expect("some"));
            played(&mut generator, 80_000);
            generator.set(&Noise::white(60));
            played(&mut generator, 8_000);
            let level = level(power(&played(&mut generator, 8_000)).sqrt());
            assert!((59..=61).contains(&level), "{level}");
        }
    }

    #[test]
    fn noise_has_the_level_it_was_told_whatever_its_shape() {
        for payload in [
            &[50u8][..],
            &[50, 20, 160, 127, 100],
            &[30, 220],
            &[70, 10, 200],
        ] {
            for rate_hz in [8_000, 16_000] {
                let mut generator = Generator::new(rate_hz, 7);
                generator.set(&Noise::parse(payload).expect("not empty"));
                let level = level(power(&played(&mut generator, 40_000)).sqrt());
                assert!(level.abs_diff(payload[0]) <= 1, "{payload:?}: {level}");
            }
        }
    }

    #[test]
    fn what_was_played_is_analysed_as_what_was_told() {
        let told = Noise::parse(&[45, 40, 150, 110, 140]).expect("not empty");
        let mut generator = Generator::new(8_000, 3);
        generator.set(&told);
        let mut analyser = Analyser::new(4);
        analyser.hear(&played(&mut generator, 16_000));
        let found = analyser.noise().expect("heard");
        assert!(found.level().abs_diff(45) <= 1, "{found:?}");
        for (found, told) in found.reflection().iter().zip(told.reflection()) {
            assert!((found - told).abs() < 0.15, "{found} for {told}");
        }
    }

    #[test]
    fn bass_gives_a_negative_first_coefficient_and_silence_none() {
        let bass: Vec<i16> = (0..1_600).map(|n| [900, -900][n / 40 % 2]).collect();
        let mut analyser = Analyser::new(10);
        assert_eq!(analyser.noise(), None);
        analyser.hear(&bass);
        assert!(analyser.noise().expect("heard").reflection()[0] < -0.8);
        analyser.reset();
        analyser.hear(&[0; 320]);
        let silence = analyser.noise().expect("heard");
        assert_eq!(silence.level(), 127);
        assert!(silence.reflection().iter().all(|k| *k == 0.0));
        let mut out = [0; 64];
        assert_eq!(silence.write(&mut out), 11);
        assert_eq!(Analyser::new(99).order, ORDER_MAX);
        // Too short to say anything.
        analyser.reset();
        analyser.hear(&[5; 19]);
        assert_eq!(analyser.noise(), None);
    }

    #[test]
    fn levels_change_smoothly_and_noise_repeats() {
        let mut generator = Generator::new(8_000, 99);
        assert!(played(&mut generator, 160).iter().all(|s| *s == 0));
        generator.set(&Noise::white(70));
        let first = played(&mut generator, 1_600);
        let quiet = power(&first).sqrt();
        generator.set(&Noise::white(40));
        let rising: Vec<f32> = (0..20)
            .map(|_| power(&played(&mut generator, 80)).sqrt())
            .collect();
        assert!(rising[0] < 0.35 * amplitude(40), "{rising:?}");
        assert!(rising[0] > quiet, "{rising:?}");
        assert!(rising[19] > 0.8 * amplitude(40), "{rising:?}");
        generator.reset();
        assert!(!generator.is_set());
        let mut again = Generator::new(8_000, 99);
        again.set(&Noise::white(70));
        assert_eq!(played(&mut again, 1_600), first);
    }
}
