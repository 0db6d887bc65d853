//! Windowed cosines and sines in 16 bits, so that a correlation is a chain of multiply-adds of
//! integers: exact, the same on every processor, and eight products per SSE2 instruction.

use std::f64::consts::TAU;
use std::sync::OnceLock;

/// The low group of Q.23 and the high one, in Hz.
pub(super) const FREQUENCIES_HZ: [f64; 8] = [
    697.0, 770.0, 852.0, 941.0, 1_209.0, 1_336.0, 1_477.0, 1_633.0,
];

/// Samples of a long window: 20 ms.
pub(super) const LONG: usize = 160;
/// Samples of a short window: 10 ms.
pub(super) const SHORT: usize = 80;

/// Peak of the coefficients: the most with which no samples overflow 32 bits, for the sum of their
/// magnitudes is below a third of `length × peak`.
const LONG_PEAK: f64 = 1_200.0;
const SHORT_PEAK: f64 = 2_400.0;

/// One frequency under a Hann window.
#[derive(Debug)]
pub(super) struct Probe<const N: usize> {
    cosine: [i16; N],
    sine: [i16; N],
    /// Makes the amplitude of a sine of what it correlates to.
    scale: f32,
}

/// A complex amplitude.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Phasor {
    pub(super) re: f32,
    pub(super) im: f32,
}

impl Phasor {
    /// Square of the amplitude.
    pub(super) fn square(self) -> f32 {
        self.re * self.re + self.im * self.im
    }

    /// `self × conj(other)`.
    pub(super) fn over(self, other: Self) -> Self {
        Self {
            re: self.re * other.re + self.im * other.im,
            im: self.im * other.re - self.re * other.im,
        }
    }
}

impl<const N: usize> Probe<N> {
    #[allow(clippy::cast_possible_truncation, reason = "a few thousand at most")]
    fn new(hz: f64, peak: f64) -> Self {
        let window = |n: usize| 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / N as f64).cos();
        let angle = |n: usize| TAU * hz / 8_000.0 * n as f64;
        let whole = |x: f64| (peak * x).round() as i16;
        Self {
            cosine: std::array::from_fn(|n| whole(window(n) * angle(n).cos())),
            sine: std::array::from_fn(|n| whole(-window(n) * angle(n).sin())),
            // The mean of the window is a half, and a sine has half its amplitude at each sign.
            scale: (4.0 / (peak * N as f64)) as f32,
        }
    }

    /// Amplitude and phase of this frequency in the samples.
    #[inline]
    pub(super) fn apply(&self, samples: &[i16; N]) -> Phasor {
        Phasor {
            re: dot(samples, &self.cosine) as f32 * self.scale,
            im: dot(samples, &self.sine) as f32 * self.scale,
        }
    }
}

/// Sum of products; the tables are made so that it cannot overflow.
#[inline]
fn dot<const N: usize>(a: &[i16; N], b: &[i16; N]) -> i32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| i32::from(*a) * i32::from(*b))
        .fold(0, i32::wrapping_add)
}

/// Sum of squares.
#[inline]
pub(super) fn energy(samples: &[i16]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0f32; LANES];
    for chunk in samples.chunks_exact(LANES) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            let x = f32::from(*x);
            *sum += x * x;
        }
    }
    sums.iter().sum()
}

/// All tables of the process.
#[derive(Debug)]
pub(super) struct Tables {
    /// The eight frequencies over 20 ms.
    pub(super) long: [Probe<LONG>; 8],
    /// The eight frequencies over 10 ms.
    pub(super) short: [Probe<SHORT>; 8],
    /// Square of the short window, its mean is 1.
    pub(super) weight: [f32; SHORT],
}

/// Makes them at the first call.
pub(super) fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| Tables {
        long: FREQUENCIES_HZ.map(|hz| Probe::new(hz, LONG_PEAK)),
        short: FREQUENCIES_HZ.map(|hz| Probe::new(hz, SHORT_PEAK)),
        weight: weight(),
    })
}

#[allow(clippy::cast_possible_truncation, reason = "below 3")]
fn weight() -> [f32; SHORT] {
    std::array::from_fn(|n| {
        let w = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / SHORT as f64).cos();
        (w * w / 0.375) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(a: &[i16], b: &[i16]) -> i64 {
        let mut sum = 0;
        for (a, b) in a.iter().zip(b) {
            sum += i64::from(*a) * i64::from(*b);
        }
        sum
    }

    #[test]
    fn no_samples_overflow_and_the_sum_is_that_of_one_at_a_time() {
        let tables = tables();
        for probe in &tables.long {
            for table in [&probe.cosine, &probe.sine] {
                // The worst there is: full scale, with the sign of each coefficient.
                for sign in [1, -1] {
                    let worst = table.map(|c| if c * sign < 0 { i16::MIN } else { i16::MAX });
                    assert_eq!(i64::from(dot(&worst, table)), scalar(&worst, table));
                }
            }
        }
        for probe in &tables.short {
            for table in [&probe.cosine, &probe.sine] {
                let worst = table.map(|c| if c < 0 { i16::MIN } else { i16::MAX });
                assert_eq!(i64::from(dot(&worst, table)), scalar(&worst, table));
            }
        }
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let noise: [i16; LONG] = std::array::from_fn(|_| rng.i16(..));
            for probe in &tables.long {
                let (re, im) = (scalar(&noise, &probe.cosine), scalar(&noise, &probe.sine));
                assert_eq!(i64::from(dot(&noise, &probe.cosine)), re);
                assert_eq!(i64::from(dot(&noise, &probe.sine)), im);
            }
            let squares: f64 = noise.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((f64::from(energy(&noise)) / squares - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "10,000 at most")]
    fn a_sine_is_measured_exactly() {
        for (ix, hz) in FREQUENCIES_HZ.iter().enumerate() {
            let sine: [i16; LONG] =
                std::array::from_fn(|n| (1e4 * (TAU * hz / 8e3 * n as f64).sin()).round() as i16);
            let long = tables().long[ix].apply(&sine).square().sqrt();
            let short = tables().short[ix].apply(sine.first_chunk().expect("shorter"));
            assert!((long - 1e4).abs() < 10.0, "{hz}: {long}");
            assert!((short.square().sqrt() - 1e4).abs() < 30.0, "{hz}");
        }
    }
}
