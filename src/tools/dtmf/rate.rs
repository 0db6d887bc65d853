//! Sound of any rate to that of telephony, as it streams in: a Kaiser-windowed sinc whose first
//! output sample is at the time of the first input sample.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side of its middle, at the lower rate. Keys are below
/// 1.7 kHz, so the transition band may be wide.
const ZERO_CROSSINGS: f64 = 16.0;

/// Shape of the Kaiser window: 70 dB.
const KAISER_BETA: f64 = 6.8;

/// Middle of the transition band, as a share of the lower rate's half.
const CUTOFF: f64 = 0.85;

/// Positions between two input samples for which there is a filter; where the rates need more,
/// the nearest is taken, with an error 60 dB down.
const PHASES_MAX: u64 = 640;

/// Converts a stream.
pub(super) struct ToTelephony {
    /// In lowest terms, input samples per output sample.
    from: u64,
    to: u64,
    phases: u64,
    taps: usize,
    /// A filter per phase.
    rows: Vec<f32>,
    /// Input that is still needed, its first sample at input number `first`, which is behind the
    /// true beginning by the silence before it.
    window: Vec<i16>,
    first: u64,
    /// The next output sample.
    next: u64,
}

impl ToTelephony {
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Self {
        let common = greatest_common_divisor(from_hz, to_hz).max(1);
        let (from, to) = (u64::from(from_hz / common), u64::from(to_hz / common));
        let phases = to.min(PHASES_MAX);
        let band = (f64::from(to_hz) / f64::from(from_hz)).min(1.0);
        let half_width = ZERO_CROSSINGS / band;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few hundred"
        )]
        let half = half_width.ceil() as usize;
        let taps = 2 * half;
        let mut rows = Vec::new();
        for phase in 0..phases {
            rows.extend(filter(phase, phases, half, half_width, band));
        }
        Self {
            from,
            to,
            phases,
            taps,
            rows,
            // The filter's first half, less the sample it is centred on.
            window: vec![0; half - 1],
            first: 0,
            next: 0,
        }
    }

    /// Takes input and appends what output it makes.
    pub(super) fn push(&mut self, input: &[i16], out: &mut Vec<i16>) {
        self.window.extend_from_slice(input);
        loop {
            // Of input sample `at` and the part to the next one, `rest / to`.
            let (at, rest) = (
                self.next * self.from / self.to,
                self.next * self.from % self.to,
            );
            let phase = rest * self.phases / self.to;
            let Ok(start) = usize::try_from(at - self.first) else {
                return;
            };
            let Some(samples) = self.window.get(start..start + self.taps) else {
                break;
            };
            out.push(self.dot(phase, samples));
            self.next += 1;
        }
        let at = self.next * self.from / self.to;
        let unused = usize::try_from(at - self.first).unwrap_or(usize::MAX);
        let unused = unused.min(self.window.len());
        self.window.drain(..unused);
        self.first += unused as u64;
    }

    fn dot(&self, phase: u64, samples: &[i16]) -> i16 {
        let from = usize::try_from(phase).unwrap_or(0) * self.taps;
        let row = &self.rows[from..from + self.taps];
        let sum: f32 = row
            .iter()
            .zip(samples)
            .map(|(c, s)| c * f32::from(*s))
            .sum();
        #[allow(clippy::cast_possible_truncation, reason = "float casts saturate")]
        let sample = sum.round() as i16;
        sample
    }
}

/// Coefficients for an output sample `phase / phases` behind the input sample that is tap
/// `half - 1`.
fn filter(phase: u64, phases: u64, half: usize, half_width: f64, band: f64) -> Vec<f32> {
    #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
    let distance = |tap: usize| tap as f64 - (half as f64 - 1.0) - phase as f64 / phases as f64;
    let raw: Vec<f64> = (0..2 * half)
        .map(|tap| {
            let x = distance(tap);
            let share = x / half_width;
            let window = bessel(KAISER_BETA * (1.0 - share * share).max(0.0).sqrt());
            let t = PI * x * band * CUTOFF;
            let sinc = if t.abs() < 1e-9 { 1.0 } else { t.sin() / t };
            if share.abs() > 1.0 {
                0.0
            } else {
                sinc * window
            }
        })
        .collect();
    // Whatever the phase, what does not change is not changed.
    let sum: f64 = raw.iter().sum();
    #[allow(clippy::cast_possible_truncation, reason = "coefficients below one")]
    let scale = |c: &f64| (c / sum) as f32;
    raw.iter().map(scale).collect()
}

/// The modified Bessel function of order zero.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= (x / (2.0 * k)) * (x / (2.0 * k));
        sum += term;
        k += 1.0;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test signals are far inside every range"
)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate_hz: u32, samples: usize) -> Vec<i16> {
        let at = |n: usize| (2.0 * PI * hz * n as f64 / f64::from(rate_hz)).sin() * 10_000.0;
        (0..samples).map(|n| at(n).round() as i16).collect()
    }

    #[test]
    fn tones_keep_time_and_level_from_every_rate_and_in_any_pieces() {
        for rate_hz in [
            4_000, 6_000, 11_025, 22_050, 32_000, 44_100, 44_056, 96_000, 192_000,
        ] {
            let input = tone(1_209.0, rate_hz, rate_hz as usize / 4);
            let mut whole = Vec::new();
            ToTelephony::new(rate_hz, 8_000).push(&input, &mut whole);
            let mut pieces = Vec::new();
            let mut convert = ToTelephony::new(rate_hz, 8_000);
            for piece in input.chunks(37) {
                convert.push(piece, &mut pieces);
            }
            assert_eq!(whole, pieces, "{rate_hz} Hz");
            let expected = tone(1_209.0, 8_000, 2_000);
            assert!(
                (1_950..=2_000).contains(&whole.len()),
                "{rate_hz} Hz: {}",
                whole.len()
            );
            let error = (100..1_900)
                .map(|n| (i32::from(whole[n]) - i32::from(expected[n])).abs())
                .max();
            assert!(error < Some(60), "{rate_hz} Hz: {error:?}");
        }
    }

    #[test]
    fn what_would_fold_back_is_gone() {
        let mut out = Vec::new();
        let input = tone(8_000.0 - 1_209.0, 44_100, 22_050);
        ToTelephony::new(44_100, 8_000).push(&input, &mut out);
        let most = out[100..3_900].iter().map(|s| s.unsigned_abs()).max();
        assert!(most < Some(10), "{most:?}");
    }
}
