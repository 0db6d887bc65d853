//! The close look at one pair: envelopes and phases of both tones every 2.5 ms.
//!
//! Under a window of 10 ms an envelope rises and falls around each edge of a tone symmetrically, so
//! that it crosses the half where the edge is, whatever the window's length.

use std::f32::consts::{PI, TAU};

use super::frontend::Window;
use super::screen::{Found, Pair};
use super::tables::{FREQUENCIES_HZ, Folded, LONG, Phasor, SHORT, tables};
use crate::audio::tone::FULL_SCALE_DBM0;

/// Samples between two windows: 2.5 ms.
const STEP: usize = 20;
/// Windows of a look, the newest first: they reach back 72.5 ms.
const STEPS: usize = 26;
/// Most windows that must be inside the tone.
const INSIDE_MAX: usize = 12;

/// What is asked of a tone at some age.
#[derive(Debug, Clone, Copy)]
struct Bar {
    /// Samples since it began.
    length_min: f32,
    /// Windows that must be inside of it.
    inside: usize,
    /// Share of the power that its two tones have.
    share_min: f32,
}

/// A pure tone after 29.5 ms, when one of 24 ms is over; one in noise at 8 dB has more to show.
const BARS: [Bar; 2] = [
    Bar {
        length_min: 236.0,
        inside: 8,
        share_min: 0.90,
    },
    Bar {
        length_min: 320.0,
        inside: INSIDE_MAX,
        share_min: 0.82,
    },
];
/// Both tones start within 7.5 ms.
const SKEW_MAX: f32 = 60.0;
/// Largest deviation of a frequency, between 1.8 and 3 %.
const DEVIATION_MAX: f32 = 0.024;
/// Each tone is at least this strong, in dBm0.
const LEVEL_DBM0_MIN: f32 = -42.0;
/// High minus low, in dB.
const TWIST_DB: std::ops::RangeInclusive<f32> = -10.0..=8.0;
/// What is behind the tones has changed its power by no more than this since before them.
const BEFORE_MAX: f32 = 1.6;
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
    behind: bool,
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
        (100.0 - 50.0 * (1.0 - self.share) / (1.0 - BARS[1].share_min)).clamp(0.0, 100.0) as u8
    }
}

/// Level of a sine of an amplitude.
fn dbm0(amplitude: f32) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "a constant")]
    const FULL: f32 = FULL_SCALE_DBM0 as f32;
    20.0 * (amplitude.max(1e-3) / 32_768.0).log10() + FULL
}

impl Close {
    pub(super) fn look(window: &Window, found: Found) -> Self {
        let pair = found.pair;
        let mut close = Self {
            pair,
            low: Track::new(pair.low),
            high: Track::new(pair.high + 4),
            powers: [0.0; STEPS],
            behind: found.behind,
        };
        let probes = &tables().short[pair.low][pair.high];
        for step in 0..STEPS {
            let Some(samples) = short(window, step) else {
                break;
            };
            [close.low.phasors[step], close.high.phasors[step]] =
                probes.apply(&Folded::new(samples));
            close.powers[step] = tables().short_power(samples);
        }
        close
    }

    /// The key, if it is one.
    pub(super) fn judge(&self, window: &Window) -> Option<Seen> {
        BARS.iter().find_map(|bar| self.passes(*bar, window))
    }

    fn passes(&self, bar: Bar, window: &Window) -> Option<Seen> {
        let tracks = [&self.low, &self.high];
        let [low, high] = tracks.map(|track| track.amplitude(bar.inside));
        let length = self.length(low, high)?;
        if length < bar.length_min || !tracks.iter().all(|track| track.is_steady(bar.inside)) {
            return None;
        }
        let deviations = tracks.map(|track| track.deviation_hz(bar.inside));
        let near = deviations[0].abs() <= DEVIATION_MAX * self.low.nominal_hz
            && deviations[1].abs() <= DEVIATION_MAX * self.high.nominal_hz;
        // A tone beside its nominal frequency is measured too weak.
        let [low_response, high_response] = deviations.map(|hz| response(hz, SHORT));
        let share = if self.behind {
            self.share_behind(window, length, deviations)?
        } else {
            let power: f32 = self.powers[..bar.inside].iter().sum();
            let tones = self.low.power(bar.inside) / low_response.powi(2)
                + self.high.power(bar.inside) / high_response.powi(2);
            tones / power
        };
        let seen = Seen {
            pair: self.pair,
            length,
            low: low / low_response,
            high: high / high_response,
            share,
        };
        let good = near
            && seen.share >= bar.share_min
            && dbm0(seen.low.min(seen.high)) >= LEVEL_DBM0_MIN
            && TWIST_DB.contains(&seen.twist_db());
        good.then_some(seen)
    }

    /// The tones' share of the power above 575 Hz, if what is below was there before them. Windows
    /// of 20 ms, as shorter ones do not separate the lowest tone from a dial tone.
    fn share_behind(&self, window: &Window, length: f32, deviations: [f32; 2]) -> Option<f32> {
        let responses = deviations.map(|hz| response(hz, LONG).powi(2));
        let (mut tones, mut above, mut below) = (0.0, 0.0, 0.0);
        for back in [0, STEP, 2 * STEP, 3 * STEP, 4 * STEP] {
            let samples = ending(window, back)?;
            let folded = Folded::new(samples);
            let low = tables().long[0].apply(&folded)[self.pair.low].square();
            let high = tables().long[1].apply(&folded)[self.pair.high].square();
            let split = tables().split(samples, &folded);
            tones += (low / responses[0] + high / responses[1]) / 2.0;
            above += split.above;
            below += split.below / 5.0;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some hundred samples"
        )]
        let before = ending(window, length as usize + STEP)?;
        let before = tables().split(before, &Folded::new(before)).below;
        (before >= below / BEFORE_MAX && before <= below * BEFORE_MAX).then_some(tones / above)
    }

    fn length(&self, low: f32, high: f32) -> Option<f32> {
        let (low, high) = (self.low.age(low / 2.0), self.high.age(high / 2.0));
        let length = low.min(high);
        ((low - high).abs() <= SKEW_MAX).then_some(length)
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

    /// Median of the amplitudes inside.
    fn amplitude(&self, inside: usize) -> f32 {
        let mut sorted = [0.0; INSIDE_MAX];
        let sorted = &mut sorted[..inside];
        for (amplitude, phasor) in sorted.iter_mut().zip(&self.phasors) {
            *amplitude = phasor.square().sqrt();
        }
        sorted.sort_unstable_by(f32::total_cmp);
        f32::midpoint(sorted[inside / 2 - 1], sorted[inside / 2])
    }

    /// Sum of the powers inside.
    fn power(&self, inside: usize) -> f32 {
        let squares = self.phasors[..inside].iter().map(|p| p.square());
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
    fn turn(&self, inside: usize) -> (Phasor, f32) {
        let (mut sum, mut magnitudes) = (Phasor::default(), 0.0);
        for pair in self.phasors[..inside].windows(2) {
            let step = pair[0].over(pair[1]);
            sum.re += step.re;
            sum.im += step.im;
            magnitudes += step.square().sqrt();
        }
        (
            sum.back(TAU * self.nominal_hz * STEP as f32 / 8_000.0),
            magnitudes,
        )
    }

    fn deviation_hz(&self, inside: usize) -> f32 {
        let (turn, _) = self.turn(inside);
        turn.angle() * 8_000.0 / (TAU * STEP as f32)
    }

    fn is_steady(&self, inside: usize) -> bool {
        let (turn, magnitudes) = self.turn(inside);
        let median = self.amplitude(inside);
        let even = |phasor: &Phasor| STEADY.contains(&(phasor.square().sqrt() / median));
        turn.square().sqrt() >= COHERENCE_MIN * magnitudes
            && self.phasors[..inside].iter().all(even)
    }
}

/// The window that ends `step` steps before the end.
fn short(window: &Window, step: usize) -> Option<&[i16; SHORT]> {
    window[..window.len() - step * STEP].last_chunk()
}

/// The long window that ends so many samples before the end.
fn ending(window: &Window, back: usize) -> Option<&[i16; LONG]> {
    window[..window.len().checked_sub(back)?].last_chunk()
}

/// What a window leaves of a tone so many Hz beside the one it looks for.
fn response(deviation_hz: f32, length: usize) -> f32 {
    let bins = (deviation_hz * length as f32 / 8_000.0)
        .abs()
        .clamp(1e-3, 0.9);
    (PI * bins).sin() / (PI * bins * (1.0 - bins * bins))
}

/// How many samples ago both tones of a key were at half of their level or more, if within the last
/// two windows; follows their level.
pub(super) fn present(window: &Window, seen: &mut Seen) -> Option<f32> {
    let probes = &tables().short[seen.pair.low][seen.pair.high];
    let weaker = |step: usize| {
        let samples = short(window, step)?;
        let [low, high] = probes.apply(&Folded::new(samples));
        Some((low.square().sqrt() / seen.low).min(high.square().sqrt() / seen.high))
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
