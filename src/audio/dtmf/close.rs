//! The close look at one pair: envelopes and phases of both tones every 2.5 ms.
//!
//! Under a window of 10 ms an envelope rises and falls around each edge of a tone symmetrically, so
//! that it crosses the half where the edge is, whatever the window's length.

use std::f32::consts::{PI, TAU};

use super::frontend::Window;
use super::screen::Pair;
use super::tables::{FREQUENCIES_HZ, Folded, LONG, Phasor, SHORT, Split, tables};

/// Samples between two windows: 2.5 ms.
pub(super) const STEP: usize = 20;
/// Windows of a look, the newest first: they reach back 72.5 ms.
const STEPS: usize = 26;
/// Age of a tone that is older than all of the look.
const AGE_MAX: f32 = (STEPS * STEP) as f32;
/// Most windows over which a median is taken.
pub(super) const INSIDE_MAX: usize = 12;

/// Both tones of a pair in the last windows.
#[derive(Debug)]
pub(super) struct Close {
    pub(super) low: Track,
    pub(super) high: Track,
    /// Mean power under each window.
    powers: [f32; STEPS],
}

/// One tone in the last windows.
#[derive(Debug)]
pub(super) struct Track {
    nominal_hz: f32,
    phasors: [Phasor; STEPS],
    amplitudes: [f32; STEPS],
}

impl Close {
    pub(super) fn look(window: &Window, pair: Pair) -> Self {
        let mut close = Self {
            low: Track::new(pair.low),
            high: Track::new(pair.high + 4),
            powers: [0.0; STEPS],
        };
        let probes = &tables().short[pair.low][pair.high];
        for step in 0..STEPS {
            let Some(samples) = short(window, step) else {
                break;
            };
            let [low, high] = probes.apply(&Folded::new(samples));
            close.low.set(step, low);
            close.high.set(step, high);
            close.powers[step] = tables().short_power(samples);
        }
        close
    }

    /// Share of the power that both tones have in the last windows, each tone corrected for its
    /// deviation in Hz.
    pub(super) fn share(&self, inside: usize, deviations_hz: [f32; 2]) -> f32 {
        let [low, high] = deviations_hz.map(|hz| response(hz, SHORT).powi(2));
        let power: f32 = self.powers[..inside].iter().sum();
        let tones = self.low.power(inside) / low + self.high.power(inside) / high;
        tones / power.max(f32::MIN_POSITIVE)
    }
}

impl Track {
    fn new(ix: usize) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "a table of whole numbers")]
        let nominal_hz = FREQUENCIES_HZ[ix] as f32;
        Self {
            nominal_hz,
            phasors: [Phasor::default(); STEPS],
            amplitudes: [0.0; STEPS],
        }
    }

    fn set(&mut self, step: usize, phasor: Phasor) {
        self.phasors[step] = phasor;
        self.amplitudes[step] = phasor.square().sqrt();
    }

    /// Median of the amplitudes in the last windows.
    pub(super) fn amplitude(&self, inside: usize) -> f32 {
        let mut sorted = [0.0; INSIDE_MAX];
        let sorted = &mut sorted[..inside];
        sorted.copy_from_slice(&self.amplitudes[..inside]);
        sorted.sort_unstable_by(f32::total_cmp);
        f32::midpoint(sorted[inside / 2 - 1], sorted[inside / 2])
    }

    /// Least and largest amplitude in the last windows.
    pub(super) fn extremes(&self, inside: usize) -> [f32; 2] {
        let amplitudes = &self.amplitudes[..inside];
        [
            amplitudes.iter().copied().fold(f32::MAX, f32::min),
            amplitudes.iter().copied().fold(0.0, f32::max),
        ]
    }

    fn power(&self, inside: usize) -> f32 {
        let squares = self.phasors[..inside].iter().map(|phasor| phasor.square());
        squares.sum::<f32>() / 2.0
    }

    /// Samples since the envelope rose above a level to stay, [`AGE_MAX`] at most.
    pub(super) fn age(&self, level: f32) -> f32 {
        for step in 1..STEPS {
            let (inner, outer) = (self.amplitudes[step - 1], self.amplitudes[step]);
            if outer < level {
                let part = ((inner - level) / (inner - outer).max(1e-3)).clamp(0.0, 1.0);
                return (step as f32 - 1.0 + part) * STEP as f32 + (SHORT / 2) as f32;
            }
        }
        AGE_MAX
    }

    /// Samples since the envelope was last above a level, [`AGE_MAX`] at most.
    pub(super) fn since_above(&self, level: f32) -> f32 {
        let above = self
            .amplitudes
            .iter()
            .position(|amplitude| *amplitude > level);
        above.map_or(AGE_MAX, |step| (step * STEP) as f32)
    }

    /// Samples in which the envelope rose to half of its full height, if that is still in sight.
    pub(super) fn rise(&self, full: f32) -> Option<f32> {
        let foot = self.age(0.3 * full);
        (foot < AGE_MAX).then(|| foot - self.age(0.5 * full))
    }

    /// How far the frequency is from the nominal one in Hz, and how well the steps of the phase
    /// agree on that, 0 to 1.
    pub(super) fn deviation(&self, inside: usize) -> (f32, f32) {
        let (mut sum, mut magnitudes) = (Phasor::default(), 0.0);
        for pair in self.phasors[..inside].windows(2) {
            let step = pair[0].over(pair[1]);
            sum.re += step.re;
            sum.im += step.im;
            magnitudes += step.square().sqrt();
        }
        let step_s = STEP as f32 / 8_000.0;
        let turn = sum.back(TAU * self.nominal_hz * step_s);
        let agreement = turn.square().sqrt() / magnitudes.max(f32::MIN_POSITIVE);
        (turn.angle() / (TAU * step_s), agreement)
    }

    pub(super) fn nominal_hz(&self) -> f32 {
        self.nominal_hz
    }
}

/// The short window that ends `step` steps before the end.
fn short(window: &Window, step: usize) -> Option<&[i16; SHORT]> {
    window[..window.len() - step * STEP].last_chunk()
}

/// What a window of so many samples leaves of a tone so many Hz beside the one it looks for.
pub(super) fn response(deviation_hz: f32, length: usize) -> f32 {
    let bins = (deviation_hz * length as f32 / 8_000.0).abs();
    let bins = bins.clamp(1e-3, 0.9);
    (PI * bins).sin() / (PI * bins * (1.0 - bins * bins))
}

/// Powers in the 20 ms that end so many samples before the end.
pub(super) fn split(window: &Window, back: usize) -> Option<Split> {
    let samples = ending(window, back)?;
    Some(tables().split(samples, &Folded::new(samples)))
}

/// Squares of the amplitudes of a pair in the 20 ms that end so many samples before the end.
pub(super) fn squares(window: &Window, back: usize, pair: Pair) -> Option<[f32; 2]> {
    let folded = Folded::new(ending(window, back)?);
    let [low, high] = &tables().long;
    let (low, high) = (low.apply(&folded), high.apply(&folded));
    Some([low[pair.low].square(), high[pair.high].square()])
}

fn ending(window: &Window, back: usize) -> Option<&[i16; LONG]> {
    window[..window.len().checked_sub(back)?].last_chunk()
}

/// What is so much louder than a tone was is not that tone: somebody speaks.
const LOUDER_MAX: f32 = 2.0;

/// How many samples ago both tones of a pair were at half of these amplitudes or more, if within
/// the last three windows; with no more power beside them than `rest_max`.
pub(super) fn present(
    window: &Window,
    pair: Pair,
    amplitudes: [f32; 2],
    rest_max: f32,
) -> Option<f32> {
    let probes = &tables().short[pair.low][pair.high];
    let weaker = |step: usize| {
        let samples = short(window, step)?;
        let squares = probes.apply(&Folded::new(samples)).map(Phasor::square);
        let rest = tables().short_power(samples) - (squares[0] + squares[1]) / 2.0;
        let [low, high] = squares.map(f32::sqrt);
        let (low, high) = (low / amplitudes[0], high / amplitudes[1]);
        Some(if rest > rest_max || low.max(high) > LOUDER_MAX {
            0.0
        } else {
            low.min(high)
        })
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
