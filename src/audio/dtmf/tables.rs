//! Windowed cosines and sines, and how samples are correlated with them.
//!
//! Windows are symmetric, and phases count from their middle: a cosine is then even and a sine odd,
//! so that samples are folded once and every product serves two of them. Sums run in lanes of fixed
//! order, which the compiler makes vectors of: the same numbers on every processor.

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

/// Numbers added side by side.
const LANES: usize = 4;

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

    /// Turned back by an angle.
    pub(super) fn back(self, angle: f32) -> Self {
        let (im, re) = angle.sin_cos();
        self.over(Self { re, im })
    }

    /// From −π to π.
    pub(super) fn angle(self) -> f32 {
        self.im.atan2(self.re)
    }
}

/// Samples of a window, folded in its middle.
#[derive(Debug)]
pub(super) struct Folded<const HALF: usize> {
    even: [f32; HALF],
    odd: [f32; HALF],
}

impl<const HALF: usize> Folded<HALF> {
    /// Folds `2 × HALF` samples.
    #[inline]
    pub(super) fn new(samples: &[i16]) -> Self {
        let (first, second) = samples.split_at(HALF);
        let mut folded = Self {
            even: [0.0; HALF],
            odd: [0.0; HALF],
        };
        let ends = second.iter().zip(first.iter().rev());
        let sums = folded.even.iter_mut().zip(&mut folded.odd);
        for ((later, earlier), (even, odd)) in ends.zip(sums) {
            let (later, earlier) = (f32::from(*later), f32::from(*earlier));
            (*even, *odd) = (later + earlier, later - earlier);
        }
        folded
    }
}

/// Frequencies under a Hann window of `2 × HALF` samples, the later half of it.
#[derive(Debug)]
pub(super) struct Probes<const HALF: usize, const COUNT: usize> {
    cosines: [[f32; HALF]; COUNT],
    sines: [[f32; HALF]; COUNT],
}

impl<const HALF: usize, const COUNT: usize> Probes<HALF, COUNT> {
    #[allow(clippy::cast_possible_truncation, reason = "below 1")]
    fn new(hz: [f64; COUNT]) -> Self {
        let middle = |n: usize| n as f64 + 0.5;
        // The mean of the window is a half, and a sine has half its amplitude at each sign.
        let weight = |n: usize| {
            let window = 0.5 + 0.5 * (TAU * middle(n) / (2 * HALF) as f64).cos();
            4.0 * window / (2 * HALF) as f64
        };
        let angle = |hz: f64, n: usize| TAU * hz / 8_000.0 * middle(n);
        Self {
            cosines: hz.map(|hz| std::array::from_fn(|n| (weight(n) * angle(hz, n).cos()) as f32)),
            sines: hz.map(|hz| std::array::from_fn(|n| (-weight(n) * angle(hz, n).sin()) as f32)),
        }
    }

    /// Amplitudes and phases of all frequencies.
    #[inline]
    pub(super) fn apply(&self, folded: &Folded<HALF>) -> [Phasor; COUNT] {
        let (re, im) = (
            correlate(&folded.even, &self.cosines),
            correlate(&folded.odd, &self.sines),
        );
        std::array::from_fn(|ix| Phasor {
            re: re[ix],
            im: im[ix],
        })
    }
}

/// Sums of products of some samples with each of the rows.
#[inline]
fn correlate<const N: usize, const ROWS: usize>(
    samples: &[f32; N],
    rows: &[[f32; N]; ROWS],
) -> [f32; ROWS] {
    let mut sums = [[0f32; LANES]; ROWS];
    let mut at = 0;
    while at + LANES <= N {
        for (sums, row) in sums.iter_mut().zip(rows) {
            for lane in 0..LANES {
                sums[lane] += samples[at + lane] * row[at + lane];
            }
        }
        at += LANES;
    }
    sums.map(|[a, b, c, d]| (a + b) + (c + d))
}

/// Sum of squares.
#[inline]
pub(super) fn energy(samples: &[i16]) -> f32 {
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
    /// The low group and the high one over 20 ms.
    pub(super) long: [Probes<{ LONG / 2 }, 4>; 2],
    /// Each pair of a low and a high frequency over 10 ms.
    pub(super) short: [[Probes<{ SHORT / 2 }, 2>; 4]; 4],
    /// The eight frequencies over 10 ms.
    pub(super) brief: Probes<{ SHORT / 2 }, 8>,
    /// 0, 50, … 550 Hz over 20 ms: every bin of dial tones, hum and a direct current.
    floor: Probes<{ LONG / 2 }, 12>,
    /// Squares of the windows, their mean is 1.
    short_weight: [f32; SHORT],
    long_weight: [f32; LONG],
}

impl Tables {
    /// Power under a short window, the same as of a steady sound without it.
    #[inline]
    pub(super) fn short_power(&self, samples: &[i16; SHORT]) -> f32 {
        weighted(samples, &self.short_weight)
    }

    /// Power under a long window of all below 575 Hz, and of all above. By Parseval's theorem the
    /// power is the sum over the bins, of which a dial tone has none above.
    pub(super) fn split(&self, samples: &[i16; LONG], folded: &Folded<{ LONG / 2 }>) -> Split {
        let squares = self.floor.apply(folded).map(Phasor::square);
        // All but the first bin stand for the negative frequency, too.
        let below = (2.0 * squares.iter().sum::<f32>() - squares[0]) / 6.0;
        let above = weighted(samples, &self.long_weight) - below;
        Split { below, above }
    }
}

/// Powers below and above 575 Hz.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Split {
    pub(super) below: f32,
    pub(super) above: f32,
}

#[inline]
fn weighted<const N: usize>(samples: &[i16; N], weights: &[f32; N]) -> f32 {
    let mut sums = [0f32; LANES];
    let weights = weights.chunks_exact(LANES);
    for (chunk, weights) in samples.chunks_exact(LANES).zip(weights) {
        for ((sum, x), weight) in sums.iter_mut().zip(chunk).zip(weights) {
            let x = f32::from(*x);
            *sum += x * x * weight;
        }
    }
    sums.iter().sum::<f32>() / N as f32
}

/// Makes them at the first call.
pub(super) fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let [a, b, c, d, e, f, g, h] = FREQUENCIES_HZ;
        let (low, high) = ([a, b, c, d], [e, f, g, h]);
        Tables {
            long: [Probes::new(low), Probes::new(high)],
            short: low.map(|low| high.map(|high| Probes::new([low, high]))),
            brief: Probes::new(FREQUENCIES_HZ),
            floor: Probes::new(std::array::from_fn(|bin| 50.0 * bin as f64)),
            short_weight: weights(),
            long_weight: weights(),
        }
    })
}

#[allow(clippy::cast_possible_truncation, reason = "below 3")]
fn weights<const N: usize>() -> [f32; N] {
    std::array::from_fn(|n| {
        let window = 0.5 - 0.5 * (TAU * (n as f64 + 0.5) / N as f64).cos();
        (window * window / 0.375) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One product after the other, in double precision, unfolded.
    fn scalar(samples: &[i16], hz: f64) -> (f64, f64) {
        let (count, mut re, mut im) = (samples.len() as f64, 0.0, 0.0);
        for (n, x) in samples.iter().enumerate() {
            let middle = n as f64 + 0.5 - count / 2.0;
            let window = 0.5 + 0.5 * (TAU * middle / count).cos();
            let (sin, cos) = (TAU * hz / 8_000.0 * middle).sin_cos();
            re += window * cos * f64::from(*x) * 4.0 / count;
            im -= window * sin * f64::from(*x) * 4.0 / count;
        }
        (re, im)
    }

    fn same(phasor: Phasor, (re, im): (f64, f64)) {
        let error = (f64::from(phasor.re) - re).hypot(f64::from(phasor.im) - im);
        assert!(error < 0.02, "{phasor:?} {re} {im}");
    }

    #[test]
    fn lanes_and_folds_give_what_one_product_at_a_time_gives() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..100 {
            let noise: [i16; LONG] = match round {
                0 => [i16::MIN; LONG],
                1 => std::array::from_fn(|n| if n % 11 < 6 { i16::MIN } else { i16::MAX }),
                _ => std::array::from_fn(|_| rng.i16(..)),
            };
            let folded = Folded::new(&noise);
            for (probes, hz) in tables().long.iter().zip(FREQUENCIES_HZ.chunks_exact(4)) {
                for (phasor, hz) in probes.apply(&folded).into_iter().zip(hz) {
                    same(phasor, scalar(&noise, *hz));
                }
            }
            let folded = Folded::new(&noise[..SHORT]);
            for (low, row) in tables().short.iter().enumerate() {
                for (high, probes) in row.iter().enumerate() {
                    let phasors = probes.apply(&folded);
                    same(phasors[0], scalar(&noise[..SHORT], FREQUENCIES_HZ[low]));
                    same(
                        phasors[1],
                        scalar(&noise[..SHORT], FREQUENCIES_HZ[4 + high]),
                    );
                }
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
            let phasor = tables().long[ix / 4].apply(&Folded::new(&sine))[ix % 4];
            let amplitude = phasor.square().sqrt();
            assert!((amplitude - 1e4).abs() < 10.0, "{hz}: {amplitude}");
        }
    }
}
