//! Sample-rate conversion: fixed ratios between the four telephony rates.
//!
//! The converters are linear-phase FIR filters made with a Kaiser window (J. F. Kaiser, 1974) and
//! run in integers, so the output depends only on the samples, never on how they were cut into
//! frames nor on the processor.
//!
//! | | pass band (0.2 dB) | aliases and images | delay |
//! |---|---|---|---|
//! | between 8 kHz and any other | 3.4 kHz | below −60 dB | 3 ms |
//! | 16 kHz and more | 7 kHz | below −60 dB | 2 ms |
//! | 24 kHz and 48 kHz | 10.5 kHz | below −60 dB | 1.3 ms |
//!
//! A tone just above half the lower rate is already gone: nothing folds back, not even into the
//! band above the pass band.

use std::f64::consts::PI;
use std::sync::OnceLock;

/// The rates between which [`Resampler`] converts, in Hz.
pub const RATES_HZ: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// Input samples that are worked on at once: 20 ms at 48 kHz.
const BLOCK: usize = 960;

/// Stop-band attenuation the filters are designed for, in dB; the margin over 60 pays for the
/// coefficients' 16 bits.
const STOP_DB: f64 = 66.0;

/// Converts a stream of samples from one rate to another.
///
/// Holds what it needs of earlier frames, so frames of any length may be fed; the coefficients
/// are made once per process and shared.
#[derive(Debug, Clone)]
pub struct Resampler {
    /// `None` where both rates are the same: samples are copied.
    kernel: Option<&'static Kernel>,
    /// The last `taps - 1` samples, then room for a block.
    window: Box<[i16]>,
    /// Where the next output lies after the next input, in steps of the common multiple rate.
    ahead: usize,
}

impl Resampler {
    /// A converter that has heard silence so far; `None` unless both rates are in [`RATES_HZ`].
    /// Allocates once (about 2 kB); the first converter of a ratio also makes its filter.
    #[must_use]
    pub fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let kernel = Kernel::shared(from_hz, to_hz)?;
        let kernel = (from_hz != to_hz).then_some(kernel);
        let window = kernel.map_or_else(Vec::new, |kernel| vec![0; kernel.taps - 1 + BLOCK]);
        Some(Self {
            kernel,
            window: window.into_boxed_slice(),
            ahead: 0,
        })
    }

    /// Samples that [`process`](Self::process) will write for so many in: `n × to / from` wherever
    /// that is a whole number and all earlier calls were so too.
    #[must_use]
    pub fn output_len(&self, input_len: usize) -> usize {
        self.kernel.map_or(input_len, |kernel| {
            (input_len * kernel.up)
                .saturating_sub(self.ahead)
                .div_ceil(kernel.down)
        })
    }

    /// Delay of the signal in output samples; 0 where the rates are equal.
    #[must_use]
    pub fn delay_samples(&self) -> usize {
        self.kernel.map_or(0, |kernel| kernel.delay / kernel.down)
    }

    /// Converts all of `input`, returns how many samples were written at the start of `output`.
    ///
    /// # Panics
    /// If `output` is shorter than [`output_len`](Self::output_len) says.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let total = self.output_len(input.len());
        assert!(total <= output.len(), "resampler: output is too short");
        let Some(kernel) = self.kernel else {
            output[..total].copy_from_slice(input);
            return total;
        };
        let mut written = 0;
        for block in input.chunks(BLOCK) {
            let history = kernel.taps - 1;
            self.window[history..history + block.len()].copy_from_slice(block);
            written += kernel.run(
                &self.window[..history + block.len()],
                &mut self.ahead,
                &mut output[written..],
            );
            self.window
                .copy_within(block.len()..block.len() + history, 0);
        }
        written
    }

    /// Forgets what was heard, as after a change of source.
    pub fn reset(&mut self) {
        self.window.fill(0);
        self.ahead = 0;
    }
}

/// One polyphase filter: `up` phases of `taps` coefficients each, latest sample last.
#[derive(Debug)]
struct Kernel {
    up: usize,
    down: usize,
    taps: usize,
    /// Fraction bits of the coefficients.
    shift: u32,
    /// Of the prototype, at the common multiple rate; divides by `up` and by `down`.
    delay: usize,
    coefficients: Vec<i16>,
}

impl Kernel {
    /// The one kernel of the process for a pair of rates.
    fn shared(from_hz: u32, to_hz: u32) -> Option<&'static Self> {
        static KERNELS: [OnceLock<Kernel>; 16] = [const { OnceLock::new() }; 16];
        let position = |hz| RATES_HZ.iter().position(|rate| *rate == hz);
        let slot = position(from_hz)? * RATES_HZ.len() + position(to_hz)?;
        Some(KERNELS[slot].get_or_init(|| Self::design(from_hz, to_hz)))
    }

    fn design(from_hz: u32, to_hz: u32) -> Self {
        let unit = gcd(from_hz, to_hz);
        let (up, down) = ((to_hz / unit) as usize, (from_hz / unit) as usize);
        let low_hz = f64::from(from_hz.min(to_hz));
        let common_hz = f64::from(from_hz) * up as f64;
        // The response is flat a little beyond the lower edge and still within 0.2 dB at 3.4 of
        // 8 kHz and 7 of 16 kHz; counting on that saves a fifth of the delay.
        let edge_hz = low_hz * if low_hz < 10_000.0 { 0.415 } else { 0.429 };
        let (cutoff_hz, width_hz) = ((low_hz / 2.0 + edge_hz) / 2.0, low_hz / 2.0 - edge_hz);
        let half = (STOP_DB - 7.95) / (14.36 * width_hz / common_hz) / 2.0;
        let delay = whole(half).next_multiple_of(up * down);
        let prototype: Vec<f64> = (0..=2 * delay)
            .map(|ix| {
                let at = ix as f64 - delay as f64;
                let cutoff = 2.0 * cutoff_hz / common_hz;
                cutoff * sinc(cutoff * at) * kaiser(at / delay as f64) * up as f64
            })
            .collect();
        let taps = prototype.len().div_ceil(up).next_multiple_of(8);
        let phases: Vec<Vec<f64>> = (0..up)
            .map(|phase| {
                let tap = |age: usize| prototype.get(age * up + phase).copied().unwrap_or(0.0);
                normalised((0..taps).rev().map(tap).collect())
            })
            .collect();
        let shift = fraction_bits(&phases);
        let coefficients = phases
            .iter()
            .flat_map(|phase| quantised(phase, shift))
            .collect();
        Self {
            up,
            down,
            taps,
            shift,
            delay,
            coefficients,
        }
    }

    /// Writes all outputs whose latest sample is in `window` behind its first `taps - 1`.
    fn run(&self, window: &[i16], ahead: &mut usize, output: &mut [i16]) -> usize {
        let fresh = window.len() + 1 - self.taps;
        let (mut at, mut phase) = (*ahead / self.up, *ahead % self.up);
        let (whole_step, phase_step) = (self.down / self.up, self.down % self.up);
        let mut written = 0;
        while at < fresh {
            let coefficients = &self.coefficients[phase * self.taps..][..self.taps];
            let sum = dot_halves(&window[at..at + self.taps], coefficients);
            output[written] = saturate((sum + (1 << (self.shift - 1))) >> self.shift);
            written += 1;
            at += whole_step;
            phase += phase_step;
            if phase >= self.up {
                phase -= self.up;
                at += 1;
            }
        }
        *ahead = (at - fresh) * self.up + phase;
        written
    }
}

/// Sum of products. Multiplying 16 bits into 32 is what every vector unit does best.
fn dot(samples: &[i16], coefficients: &[i16]) -> i32 {
    samples
        .iter()
        .zip(coefficients)
        .map(|(sample, coefficient)| i32::from(*sample) * i32::from(*coefficient))
        .sum()
}

/// The same where the whole sum may pass 32 bits, but no half of it does.
fn dot_halves(samples: &[i16], coefficients: &[i16]) -> i64 {
    let half = samples.len() / 2;
    let older = dot(&samples[..half], &coefficients[..half]);
    let newer = dot(&samples[half..], &coefficients[half..]);
    i64::from(older) + i64::from(newer)
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to the range")]
fn saturate(sample: i64) -> i16 {
    sample.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

/// Scales a phase so that a constant passes unchanged, whatever the phase.
fn normalised(phase: Vec<f64>) -> Vec<f64> {
    let sum: f64 = phase.iter().sum();
    phase.into_iter().map(|tap| tap / sum).collect()
}

/// Most fraction bits (14 or 15) with which the coefficients fit 16 bits and no half of a sum of
/// products overflows 32.
fn fraction_bits(phases: &[Vec<f64>]) -> u32 {
    let peak = phases
        .iter()
        .flatten()
        .fold(0f64, |peak, tap| peak.max(tap.abs()));
    let worst = phases
        .iter()
        .flat_map(|phase| phase.chunks(phase.len() / 2))
        .map(|half| half.iter().map(|tap| tap.abs()).sum::<f64>())
        .fold(0.0, f64::max);
    if peak < 0.99 && worst < 1.98 { 15 } else { 14 }
}

/// Rounds coefficients to the nearest, but makes their sum exactly 1 by rounding the other way
/// those that were least sure.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "peaks are at most 1, and 1 has 14 fraction bits only"
)]
fn quantised(phase: &[f64], shift: u32) -> Vec<i16> {
    let one = f64::from(1u32 << shift);
    let mut rounded: Vec<f64> = phase.iter().map(|tap| (tap * one).round()).collect();
    let missing = one - rounded.iter().sum::<f64>();
    let error = |ix: &usize| (phase[*ix] * one - (phase[*ix] * one).round()) * missing.signum();
    let mut order: Vec<usize> = (0..phase.len()).collect();
    order.sort_by(|a, b| error(b).total_cmp(&error(a)));
    let unsure = order.into_iter().cycle();
    (0..missing.abs() as u32)
        .zip(unsure)
        .for_each(|(_, ix)| rounded[ix] += missing.signum());
    rounded.into_iter().map(|tap| tap as i16).collect()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The Kaiser window for [`STOP_DB`], −1 to 1.
fn kaiser(x: f64) -> f64 {
    let beta = 0.1102 * (STOP_DB - 8.7);
    let inside = 1.0 - x * x;
    if inside < 0.0 {
        0.0
    } else {
        bessel(beta * inside.sqrt()) / bessel(beta)
    }
}

/// Modified Bessel function of order 0, by its power series (converges in 30 terms here).
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..32 {
        let factor = x / (2.0 * f64::from(n));
        term *= factor * factor;
        sum += term;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a filter length: positive, some hundreds"
)]
fn whole(x: f64) -> usize {
    x.ceil() as usize
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals within their ranges"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AMPLITUDE: f64 = 29_000.0;

    fn pairs() -> impl Iterator<Item = (u32, u32)> {
        RATES_HZ
            .into_iter()
            .flat_map(|from| RATES_HZ.into_iter().map(move |to| (from, to)))
    }

    fn tone(hz: f64, rate_hz: u32, len: usize) -> Vec<i16> {
        let step = 2.0 * PI * hz / f64::from(rate_hz);
        (0..len)
            .map(|n| (AMPLITUDE * (step * n as f64).sin()).round() as i16)
            .collect()
    }

    fn convert(resampler: &mut Resampler, input: &[i16]) -> Vec<i16> {
        let mut output = vec![0; resampler.output_len(input.len())];
        let written = resampler.process(input, &mut output);
        assert_eq!(written, output.len());
        output
    }

    fn db(power: f64) -> f64 {
        10.0 * (power.max(1e-9) / (AMPLITUDE * AMPLITUDE / 2.0)).log10()
    }

    /// Level of a tone, and of all that is left when the best fit of that tone is taken away: every
    /// alias, image and rounding error together. Both relative to the tone that went in.
    fn fit(samples: &[i16], cycles_per_sample: f64) -> (f64, f64) {
        let angle = |n: usize| 2.0 * PI * cycles_per_sample * n as f64;
        let (mut cc, mut ss, mut cs, mut xc, mut xs) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, x) in samples.iter().enumerate() {
            let ((s, c), x) = (angle(n).sin_cos(), f64::from(*x));
            (cc, ss, cs) = (cc + c * c, ss + s * s, cs + c * s);
            (xc, xs) = (xc + x * c, xs + x * s);
        }
        let det = cc * ss - cs * cs;
        let (a, b) = ((xc * ss - xs * cs) / det, (xs * cc - xc * cs) / det);
        let left: f64 = samples
            .iter()
            .enumerate()
            .map(|(n, x)| (f64::from(*x) - a * angle(n).cos() - b * angle(n).sin()).powi(2))
            .sum();
        (db((a * a + b * b) / 2.0), db(left / samples.len() as f64))
    }

    fn power(samples: &[i16]) -> f64 {
        samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn rates_other_than_the_four_are_refused() {
        assert!(Resampler::new(8_000, 44_100).is_none());
        assert!(Resampler::new(11_025, 8_000).is_none());
        assert!(Resampler::new(0, 0).is_none());
        assert_eq!(
            pairs()
                .filter(|p| Resampler::new(p.0, p.1).is_some())
                .count(),
            16
        );
    }

    #[test]
    fn a_sweep_is_flat_in_the_pass_band_and_clean_everywhere() {
        for (from, to) in pairs().filter(|(from, to)| from != to) {
            let low = f64::from(from.min(to));
            let pass = if low < 10_000.0 {
                0.425 * low
            } else {
                0.4375 * low
            };
            let mut hz = 53.0;
            while hz < f64::from(from) / 2.0 {
                let mut resampler = Resampler::new(from, to).unwrap();
                let input = tone(hz, from, from as usize / 8);
                let output = &convert(&mut resampler, &input)[600..];
                if hz > low / 2.0 {
                    let alias = db(power(output));
                    assert!(alias < -60.0, "{from}->{to} {hz}: alias {alias:.1} dB");
                } else {
                    let (gain, rest) = fit(output, hz / f64::from(to));
                    assert!(rest < -60.0, "{from}->{to} {hz}: image {rest:.1} dB");
                    let flat = hz > pass || gain.abs() < 0.2;
                    assert!(flat, "{from}->{to} {hz}: gain {gain:.2} dB");
                }
                hz += 211.0;
            }
        }
    }

    #[test]
    fn delay_is_what_it_says_and_at_most_three_milliseconds() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            let delay = resampler.delay_samples();
            let mut input = vec![0; 960];
            input[240] = 30_000;
            let output = convert(&mut resampler, &input);
            let at = (0..output.len()).max_by_key(|ix| output[*ix]).unwrap();
            assert_eq!(
                at,
                240 * to as usize / from as usize + delay,
                "{from}->{to}"
            );
            let us = delay * 1_000_000 / to as usize;
            assert!(us <= 3_000, "{from}->{to}: {us} us");
        }
    }

    #[test]
    fn a_constant_passes_unchanged_and_overload_saturates() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            let output = convert(&mut resampler, &[12_345; 2_400]);
            assert!(
                output[output.len() - 100..].iter().all(|x| *x == 12_345),
                "{from}->{to}"
            );
            for edge in [i16::MIN, i16::MAX] {
                let square: Vec<i16> = (0..2_400)
                    .map(|n| if n / 40 % 2 == 0 { edge } else { !edge })
                    .collect();
                let output = convert(&mut Resampler::new(from, to).unwrap(), &square);
                assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
            }
        }
    }

    #[test]
    fn ten_milliseconds_in_are_ten_out() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            for _ in 0..7 {
                let frame = vec![1; from as usize / 100];
                assert_eq!(convert(&mut resampler, &frame).len(), to as usize / 100);
            }
        }
    }

    proptest! {
        #[test]
        fn frame_borders_leave_no_trace(
            pair in (0..4usize, 0..4usize),
            input in prop::collection::vec(any::<i16>(), 0..3_000),
            cuts in prop::collection::vec(0..400usize, 0..20),
        ) {
            let (from, to) = (RATES_HZ[pair.0], RATES_HZ[pair.1]);
            let whole = convert(&mut Resampler::new(from, to).unwrap(), &input);
            let mut resampler = Resampler::new(from, to).unwrap();
            let (mut rest, mut pieces) = (&input[..], Vec::new());
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.extend(convert(&mut resampler, piece));
                rest = behind;
            }
            pieces.extend(convert(&mut resampler, rest));
            prop_assert_eq!(whole, pieces);
        }
    }
}
