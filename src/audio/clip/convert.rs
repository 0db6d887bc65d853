//! Any sampling rate to any other, once and offline: a Kaiser-windowed sinc.
//!
//! The filter is as long as [`ZERO_CROSSINGS`] on each side ask for, at the lower of the two
//! rates. Its stop band begins at that rate's Nyquist frequency, so what would alias is more than
//! 80 dB down; its pass band ends at 0.89 of it (3560 Hz at 8 kHz).

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side of its middle.
const ZERO_CROSSINGS: f64 = 48.0;
/// Shape of the Kaiser window: 84 dB.
const KAISER_BETA: f64 = 8.3;
/// Middle of the transition band, as a share of the lower rate's Nyquist frequency. The band is
/// 0.11 wide with this window.
const CUTOFF: f64 = 0.945;
/// Most positions between two input samples for which the filter is computed exactly: enough for
/// every pair of rates in use, 11 025 to 48 000 Hz needing the most. Other pairs interpolate
/// linearly between [`PHASES_APPROXIMATE`], 90 dB above the error of that.
const PHASES_EXACT_MAX: usize = 640;
const PHASES_APPROXIMATE: usize = 256;
/// Taps are summed up in so many lanes, for the compiler to use vectors.
const LANES: usize = 8;

/// How many samples the conversion of `len` samples makes.
pub(super) fn converted_len(len: usize, from_hz: u32, to_hz: u32) -> usize {
    (len * to_hz as usize).div_ceil(from_hz.max(1) as usize)
}

/// Converts all of `input`; the first output sample is at the time of the first input sample.
pub(super) fn convert(input: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    let bank = Bank::new(from_hz, to_hz);
    let mut edge = vec![0; bank.taps];
    (0..converted_len(input.len(), from_hz, to_hz))
        .map(|n| bank.sample(input, n, &mut edge))
        .collect()
}

/// The filter for each position of an output sample between two input samples.
struct Bank {
    /// `from_hz / to_hz` in lowest terms.
    step: usize,
    per_step: usize,
    phases: usize,
    exact: bool,
    taps: usize,
    /// `phases + 1` rows of `taps`, the last for a whole sample further.
    rows: Vec<f32>,
}

impl Bank {
    fn new(from_hz: u32, to_hz: u32) -> Self {
        let common = greatest_common_divisor(from_hz, to_hz).max(1);
        let (step, per_step) = ((from_hz / common) as usize, (to_hz / common) as usize);
        let exact = per_step <= PHASES_EXACT_MAX;
        let phases = if exact { per_step } else { PHASES_APPROXIMATE };
        let band = (f64::from(to_hz) / f64::from(from_hz)).min(1.0);
        let half_width = ZERO_CROSSINGS / band;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "48 to 2304, as rates are 4 to 192 kHz"
        )]
        let half = (half_width.ceil() as usize).next_multiple_of(LANES / 2);
        let taps = 2 * half;
        let mut rows = Vec::with_capacity((phases + 1) * taps);
        for phase in 0..=phases {
            let position = (half - 1) as f64 + phase as f64 / phases as f64;
            let row = (0..taps).map(|tap| tap as f64 - position);
            push_row(&mut rows, row, band * CUTOFF, half_width);
        }
        Self {
            step,
            per_step,
            phases,
            exact,
            taps,
            rows,
        }
    }

    /// Output sample `n`. `edge` is room for `taps` samples.
    fn sample(&self, input: &[i16], n: usize, edge: &mut [i16]) -> i16 {
        let (whole, part) = (n * self.step / self.per_step, n * self.step % self.per_step);
        let before = self.taps / 2 - 1;
        let around = match whole.checked_sub(before) {
            Some(start) if start + self.taps <= input.len() => &input[start..start + self.taps],
            _ => {
                // Silence before the beginning and after the end.
                for (sample, at) in edge.iter_mut().zip(whole..) {
                    let at = at.checked_sub(before);
                    *sample = at.and_then(|at| input.get(at)).map_or(0, |s| *s);
                }
                edge
            }
        };
        if self.exact {
            return rounded(dot(around, self.row(part)));
        }
        let fine = part * self.phases;
        let (row, rest) = (fine / self.per_step, fine % self.per_step);
        let weight = rest as f32 / self.per_step as f32;
        let (low, high) = (dot(around, self.row(row)), dot(around, self.row(row + 1)));
        rounded(low + (high - low) * weight)
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.taps..][..self.taps]
    }
}

/// Appends the taps at these distances from the middle, with a gain of one at 0 Hz.
fn push_row(
    rows: &mut Vec<f32>,
    distances: impl Iterator<Item = f64>,
    cutoff: f64,
    half_width: f64,
) {
    // The window's own scale goes with the sum.
    let taps: Vec<f64> = distances
        .map(|x| sinc(cutoff * x) * kaiser(x / half_width))
        .collect();
    let sum: f64 = taps.iter().sum();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "24 bits are enough for 16-bit samples"
    )]
    rows.extend(taps.iter().map(|tap| (tap / sum) as f32));
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 {
        return 1.0;
    }
    (PI * x).sin() / (PI * x)
}

/// The Kaiser window at −1 to 1, not scaled.
fn kaiser(x: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside <= 0.0 {
        return 0.0;
    }
    bessel_i0(KAISER_BETA * inside.sqrt())
}

/// Modified Bessel function of the first kind and order zero, by its series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40u32 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

fn dot(samples: &[i16], row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (samples, _) = samples.as_chunks::<LANES>();
    let (row, _) = row.as_chunks::<LANES>();
    for (samples, taps) in samples.iter().zip(row) {
        for lane in 0..LANES {
            lanes[lane] += f32::from(samples[lane]) * taps[lane];
        }
    }
    lanes.iter().sum()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "float casts saturate, which is what is wanted"
)]
fn rounded(sample: f32) -> i16 {
    sample.round() as i16
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "samples of test tones")]
mod tests {
    use super::*;

    const FILE_RATES: [u32; 9] = [
        8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
    ];
    const ENGINE_RATES: [u32; 3] = [8000, 16_000, 48_000];

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|n| (16_000.0 * (2.0 * PI * hz * n as f64 / f64::from(rate)).sin()).round() as i16)
            .collect()
    }

    /// Amplitudes of the tone at `hz` and of all else, away from the ends.
    fn tone_and_rest(pcm: &[i16], hz: f64, rate: u32) -> (f64, f64) {
        let pcm = &pcm[pcm.len() / 4..pcm.len() * 3 / 4];
        let phase = |n: usize| 2.0 * PI * hz * n as f64 / f64::from(rate);
        // Least squares of a sine and a cosine, which need not fit the window.
        let (mut ss, mut cc, mut sc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, y) in pcm.iter().enumerate() {
            let (s, c) = phase(n).sin_cos();
            let y = f64::from(*y);
            (ss, cc, sc) = (ss + s * s, cc + c * c, sc + s * c);
            (ys, yc) = (ys + y * s, yc + y * c);
        }
        let det = ss * cc - sc * sc;
        let (a, b) = ((ys * cc - yc * sc) / det, (yc * ss - ys * sc) / det);
        let rest: f64 = pcm
            .iter()
            .enumerate()
            .map(|(n, y)| {
                let (s, c) = phase(n).sin_cos();
                (f64::from(*y) - a * s - b * c).powi(2)
            })
            .sum();
        (a.hypot(b), (2.0 * rest / pcm.len() as f64).sqrt())
    }

    fn decibels(a: f64, b: f64) -> f64 {
        20.0 * (a / b).log10()
    }

    #[test]
    fn tones_in_the_band_pass_unchanged() {
        for from in FILE_RATES {
            for to in ENGINE_RATES {
                let band = f64::from(from.min(to)) / 2.0;
                for share in [0.02, 0.25, 0.5, 0.8, 0.88] {
                    let hz = band * share;
                    let out = convert(&tone(hz, from, from as usize / 2), from, to);
                    let (level, rest) = tone_and_rest(&out, hz, to);
                    let gain = decibels(level, 16_000.0);
                    assert!(gain.abs() < 0.05, "{from} to {to}, {hz} Hz: {gain} dB");
                    // Rounding to 16 bits alone is 89 dB below this tone.
                    let clean = decibels(level, rest);
                    assert!(clean > 80.0, "{from} to {to}, {hz} Hz: {clean} dB");
                }
            }
        }
    }

    #[test]
    fn nothing_aliases() {
        for from in FILE_RATES {
            for to in ENGINE_RATES.into_iter().filter(|to| *to < from) {
                let (low, high) = (f64::from(to) / 2.0, f64::from(from) / 2.0);
                for share in [0.0, 0.05, 0.3, 0.9] {
                    let hz = low * 1.001 + (high - low) * share;
                    if hz >= high * 0.999 {
                        continue;
                    }
                    let out = convert(&tone(hz, from, from as usize / 2), from, to);
                    let middle = &out[out.len() / 4..out.len() * 3 / 4];
                    let peak = middle.iter().map(|s| s.unsigned_abs()).max().unwrap();
                    // 60 dB below 16 000 would be 16.
                    assert!(peak <= 2, "{from} to {to}, {hz} Hz: {peak}");
                }
            }
        }
    }

    #[test]
    fn uncommon_rates_are_as_clean() {
        for (from, to) in [
            (44_099, 8000),
            (37_800, 48_000),
            (4001, 16_000),
            (191_999, 8000),
        ] {
            let hz = f64::from(from.min(to)) * 0.2;
            let out = convert(&tone(hz, from, from as usize), from, to);
            let (level, rest) = tone_and_rest(&out, hz, to);
            assert!(decibels(level, 16_000.0).abs() < 0.05, "{from} to {to}");
            assert!(decibels(level, rest) > 80.0, "{from} to {to}");
        }
    }

    #[test]
    fn lengths_and_places_are_kept() {
        for (from, to) in [
            (44_100, 8000),
            (8000, 48_000),
            (48_000, 16_000),
            (11_025, 8000),
        ] {
            for len in [0usize, 1, 2, 100, 44_100] {
                let out = convert(&vec![1000; len], from, to);
                assert_eq!(out.len(), (len * to as usize).div_ceil(from as usize));
                // 0 Hz has a gain of one whatever the position between the samples.
                if len == 44_100 {
                    let middle = &out[out.len() / 3..out.len() / 2];
                    assert!(middle.iter().all(|s| *s == 1000), "{from} to {to}");
                }
            }
            let mut click = vec![0; from as usize];
            click[from as usize / 2] = 30_000;
            let out = convert(&click, from, to);
            let top = (0..out.len()).max_by_key(|at| out[*at]).unwrap();
            assert!(top.abs_diff(to as usize / 2) <= 1, "{from} to {to}: {top}");
        }
    }

    #[test]
    fn full_scale_saturates() {
        let square: Vec<i16> = (0..8000)
            .map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let out = convert(&square, 8000, 48_000);
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }
}
