//! The close look at one pair: envelopes and phases of both tones every 2.5 ms.
//!
//! Under a window of 10 ms an envelope rises and falls around each edge of a tone symmetrically, so
//! that it crosses the half where the edge is, whatever the window's length.

use std::f32::consts::{PI, TAU};

use super::frontend::Window;
use super::screen::Pair;
use super::tables::{FREQUENCIES_HZ, Phasor, SHORT, tables};
use crate::audio::tone::FULL_SCALE_DBM0;

/// Samples between two windows: 2.5 ms.
const STEP: usize = 20;
/// Windows of a look, the newest first: they reach back 72.5 ms.
const STEPS: usize = 26;
/// Windows that must be inside the tone: the last 27.5 ms.
const INSIDE: usize = 8;

/// Shortest tone in samples that is a key: 30 ms. A tone of 24 ms is over by then.
const LENGTH_MIN: f32 = 240.0;
/// Both tones start within 7.5 ms.
const SKEW_MAX: f32 = 60.0;
/// Largest deviation of a frequency, between 1.8 and 3 %.
const DEVIATION_MAX: f32 = 0.024;
/// Each tone is at least this strong, in dBm0.
const LEVEL_DBM0_MIN: f32 = -42.0;
/// High minus low, in dB.
const TWIST_DB: std::ops::RangeInclusive<f32> = -10.0..=8.0;
/// Share of the power that the two tones have.
const SHARE_MIN: f32 = 0.90;
/// The envelope inside stays between these, relative to its median.
const STEADY: std::ops::RangeInclusive<f32> = 0.72..=1.35;
/// How well the steps of the phase agree.
const COHERENCE_MIN: f32 = 0.97;

/// Both tones of a pair in the last windows.
#[derive(Debug)]
pub(super) struct Close {
    pair: Pair,
    low: Track,
    high: Track,
    /// Mean power under each window.
    powers: [f32; STEPS],
}

/// One tone in the last windows.
#[derive(Debug)]
struct Track {
    nominal_hz: f32,
    phasors: [Phasor; STEPS],
}

/// What was measured of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) pair: Pair,
    /// Samples since it began.
    pub(super) length: f32,
    /// Amplitudes of the low and the high tone.
    low: f32,
    high: f32,
    share: f32,
}

impl Seen {
    pub(super) fn level_dbm0(&self) -> f32 {
        dbm0((self.low * self.low + self.high * self.high).sqrt())
    }

    pub(super) fn twist_db(&self) -> f32 {
        20.0 * (self.high / self.low).log10()
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 to 100"
    )]
    pub(super) fn confidence(&self) -> u8 {
        (50.0 + 50.0 * (self.share - SHARE_MIN) / (1.0 - SHARE_MIN)).clamp(0.0, 100.0) as u8
    }
}

/// Level of a sine of an amplitude.
fn dbm0(amplitude: f32) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "a constant")]
    const FULL: f32 = FULL_SCALE_DBM0 as f32;
    20.0 * (amplitude.max(1e-3) / 32_768.0).log10() + FULL
}

impl Close {
    pub(super) fn look(window: &Window, pair: Pair) -> Self {
        let mut close = Self {
            pair,
            low: Track::new(pair.low),
            high: Track::new(pair.high + 4),
            powers: [0.0; STEPS],
        };
        let tables = tables();
        for step in 0..STEPS {
            let Some(samples) = short(window, step) else {
                break;
            };
            close.low.phasors[step] = tables.short[pair.low].apply(samples);
            close.high.phasors[step] = tables.short[pair.high + 4].apply(samples);
            close.powers[step] = weighted_power(samples);
        }
        close
    }

    /// The key, if it is one.
    pub(super) fn judge(&self) -> Option<Seen> {
        let (low, high) = (self.low.amplitude(), self.high.amplitude());
        let length = self.length(low, high)?;
        let deviations = [self.low.deviation_hz(), self.high.deviation_hz()];
        let near = deviations[0].abs() <= DEVIATION_MAX * self.low.nominal_hz
            && deviations[1].abs() <= DEVIATION_MAX * self.high.nominal_hz;
        // A tone beside its nominal frequency is measured too weak.
        let (low, high) = (
            low / response(deviations[0]),
            high / response(deviations[1]),
        );
        let power: f32 = self.powers[..INSIDE].iter().sum();
        let tones = self.low.power() / response(deviations[0]).powi(2)
            + self.high.power() / response(deviations[1]).powi(2);
        let seen = Seen {
            pair: self.pair,
            length,
            low,
            high,
            share: tones / power,
        };
        let good = near
            && seen.share >= SHARE_MIN
            && dbm0(low.min(high)) >= LEVEL_DBM0_MIN
            && TWIST_DB.contains(&seen.twist_db())
            && self.low.is_steady()
            && self.high.is_steady();
        good.then_some(seen)
    }

    fn length(&self, low: f32, high: f32) -> Option<f32> {
        let (low, high) = (self.low.age(low / 2.0), self.high.age(high / 2.0));
        let length = low.min(high);
        ((low - high).abs() <= SKEW_MAX && length >= LENGTH_MIN).then_some(length)
    }
}

impl Track {
    fn new(ix: usize) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "a table of whole numbers")]
        let nominal_hz = FREQUENCIES_HZ[ix] as f32;
        Self {
            nominal_hz,
            phasors: [Phasor::default(); STEPS],
        }
    }

    fn inside(&self) -> [f32; INSIDE] {
        std::array::from_fn(|step| self.phasors[step].square().sqrt())
    }

    /// Median of the amplitudes inside.
    fn amplitude(&self) -> f32 {
        let mut sorted = self.inside();
        sorted.sort_unstable_by(f32::total_cmp);
        (sorted[INSIDE / 2 - 1] + sorted[INSIDE / 2]) / 2.0
    }

    /// Sum of the powers inside.
    fn power(&self) -> f32 {
        let squares = self.phasors[..INSIDE].iter().map(|p| p.square());
        squares.sum::<f32>() / 2.0
    }

    /// Samples since the envelope crossed `half` upwards.
    fn age(&self, half: f32) -> f32 {
        let amplitude = |step: usize| self.phasors[step].square().sqrt();
        for step in 1..STEPS {
            let (inner, outer) = (amplitude(step - 1), amplitude(step));
            if outer < half {
                let part = ((inner - half) / (inner - outer).max(1e-3)).clamp(0.0, 1.0);
                return (step as f32 - 1.0 + part) * STEP as f32 + (SHORT / 2) as f32;
            }
        }
        (STEPS * STEP) as f32
    }

    /// Sum of the steps of the phase, each turned back by what the nominal frequency makes, and
    /// the sum of their magnitudes.
    fn turn(&self) -> (Phasor, f32) {
        let (mut sum, mut magnitudes) = (Phasor::default(), 0.0);
        for pair in self.phasors[..INSIDE].windows(2) {
            let step = pair[0].over(pair[1]);
            sum.re += step.re;
            sum.im += step.im;
            magnitudes += step.square().sqrt();
        }
        let (sin, cos) = (TAU * self.nominal_hz * STEP as f32 / 8_000.0).sin_cos();
        let back = Phasor { re: cos, im: sin };
        (sum.over(back), magnitudes)
    }

    fn deviation_hz(&self) -> f32 {
        let (turn, _) = self.turn();
        turn.im.atan2(turn.re) * 8_000.0 / (TAU * STEP as f32)
    }

    fn is_steady(&self) -> bool {
        let (turn, magnitudes) = self.turn();
        let median = self.amplitude();
        let even = |amplitude: f32| STEADY.contains(&(amplitude / median));
        turn.square().sqrt() >= COHERENCE_MIN * magnitudes && self.inside().into_iter().all(even)
    }
}

/// The window that ends `step` steps before the end.
fn short(window: &Window, step: usize) -> Option<&[i16; SHORT]> {
    window[..window.len() - step * STEP].last_chunk()
}

/// Power under the window, relative to the power of a steady sound under it.
fn weighted_power(samples: &[i16; SHORT]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0f32; LANES];
    let weights = tables().weight.chunks_exact(LANES);
    for (chunk, weights) in samples.chunks_exact(LANES).zip(weights) {
        for ((sum, x), weight) in sums.iter_mut().zip(chunk).zip(weights) {
            let x = f32::from(*x);
            *sum += x * x * weight;
        }
    }
    sums.iter().sum::<f32>() / SHORT as f32
}

/// What a short window leaves of a tone so many Hz beside the one it looks for.
fn response(deviation_hz: f32) -> f32 {
    let bins = (deviation_hz * SHORT as f32 / 8_000.0)
        .abs()
        .clamp(1e-3, 0.5);
    (PI * bins).sin() / (PI * bins * (1.0 - bins * bins))
}

/// How many samples ago both tones of a key were at half of their level or more, if within the last
/// two windows; follows their level.
pub(super) fn present(window: &Window, seen: &mut Seen) -> Option<f32> {
    let tables = tables();
    let (low, high) = (
        &tables.short[seen.pair.low],
        &tables.short[seen.pair.high + 4],
    );
    let weaker = |step: usize| {
        let samples = short(window, step)?;
        let low = low.apply(samples).square().sqrt();
        let high = high.apply(samples).square().sqrt();
        Some((low / seen.low).min(high / seen.high))
    };
    let ratios = [weaker(0)?, weaker(1)?, weaker(2)?];
    let newest = ratios.iter().position(|ratio| *ratio >= 0.5)?;
    let centre = (newest * STEP + SHORT / 2) as f32;
    if newest == 0 {
        return Some(centre);
    }
    let (inner, outer) = (ratios[newest], ratios[newest - 1]);
    Some(centre - STEP as f32 * (inner - 0.5) / (inner - outer).max(1e-3))
}
