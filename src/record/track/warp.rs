//! Sound that gets later or earlier without a step: how a recording follows a clock that is not
//! its own.
//!
//! Nothing is cut or doubled: for a while the sound is read a little slower or faster, through a
//! windowed sinc of 16 taps, until it has moved by some whole samples. Otherwise it passes as it
//! is, to the bit.

use std::f64::consts::PI;
use std::sync::OnceLock;

/// Taps of the interpolation; half of them on either side.
const TAPS: usize = 16;
const HALF: usize = TAPS / 2;

/// Places between two samples that are told apart.
const PHASES: usize = 512;

/// A sample, in the unit of places: 32 bits are its fraction.
const ONE: u64 = 1 << 32;

/// Fraction bits that [`PHASES`] leaves.
const PHASE_SHIFT: u32 = 32 - 9;

/// Moves the sound of one track.
#[derive(Debug, Default)]
pub(super) struct Warp {
    /// What came in and is needed still; empty while nothing moves.
    held: Vec<i16>,
    /// Place in it of the next sample that goes out.
    at: u64,
    /// From one place to the next.
    step: u64,
    /// Places to be moved still.
    left: u64,
}

impl Warp {
    /// Whether sound is being moved.
    pub(super) fn is_moving(&self) -> bool {
        self.left > 0
    }

    /// Moves what comes next by so many samples, later or (negative) earlier, at so much of its
    /// length; `share` is well below 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of 2^32"
    )]
    pub(super) fn shift(&mut self, samples: i32, share: f64) {
        let change = ((share.clamp(0.0, 0.1) * ONE as f64) as u64).max(1);
        self.step = if samples > 0 {
            ONE - change
        } else {
            ONE + change
        };
        self.left = u64::from(samples.unsigned_abs()) * ONE;
    }

    /// Samples that are to go out of what came in.
    pub(super) fn owed(&self) -> f64 {
        float(self.held.len()) - self.at as f64 / ONE as f64
    }

    /// Takes sound in, and appends what can go out.
    pub(super) fn append(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        if self.left == 0 {
            out.extend_from_slice(pcm);
            return;
        }
        self.held.extend_from_slice(pcm);
        self.begin(out);
        let change = self.step.abs_diff(ONE);
        if whole(self.at) < HALF - 1 {
            return;
        }
        while let Some(taps) = self.taps() {
            let phase = (self.at & (ONE - 1)) >> PHASE_SHIFT;
            out.push(interpolated(taps, whole(phase << 32)));
            if self.left <= change {
                // The last step is as long as it takes to stand on a sample again.
                self.at += if self.step < ONE {
                    ONE - self.left
                } else {
                    ONE + self.left
                };
                return self.end(out);
            }
            self.left -= change;
            self.at += self.step;
        }
        let gone = (whole(self.at) + 1)
            .saturating_sub(HALF)
            .min(self.held.len());
        self.held.drain(..gone);
        self.at -= gone as u64 * ONE;
    }

    /// What came in goes out, and nothing moves any more.
    pub(super) fn end(&mut self, out: &mut Vec<i16>) {
        let at = whole(self.at + ONE / 2).min(self.held.len());
        out.extend_from_slice(&self.held[at..]);
        self.held.clear();
        (self.at, self.left) = (0, 0);
    }

    /// What is around the next place.
    fn taps(&self) -> Option<&[i16]> {
        let from = whole(self.at) + 1 - HALF;
        self.held.get(from..from + TAPS)
    }

    /// The first samples have none before them, and are not moved yet.
    fn begin(&mut self, out: &mut Vec<i16>) {
        let at = whole(self.at);
        if at < HALF - 1 {
            let until = (HALF - 1).min(self.held.len());
            out.extend_from_slice(&self.held[at.min(until)..until]);
            self.at = until as u64 * ONE;
        }
    }
}

/// The sample at or before a place.
fn whole(place: u64) -> usize {
    usize::try_from(place >> 32).unwrap_or(usize::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "some samples")]
fn float(samples: usize) -> f64 {
    samples as f64
}

/// The sound a phase behind the middle of its taps: between the eighth and the ninth.
#[allow(clippy::cast_possible_truncation, reason = "saturates by definition")]
fn interpolated(samples: &[i16], phase: usize) -> i16 {
    let taps = &table()[phase];
    let sum: f32 = samples
        .iter()
        .zip(taps)
        .map(|(sample, tap)| f32::from(*sample) * tap)
        .sum();
    sum.round() as i16
}

/// A windowed sinc for each phase; those of a phase add to one.
#[allow(
    clippy::cast_possible_truncation,
    reason = "taps of 24 bits are enough"
)]
fn table() -> &'static [[f32; TAPS]; PHASES] {
    static TABLE: OnceLock<Box<[[f32; TAPS]; PHASES]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Box::new([[0.0; TAPS]; PHASES]);
        for (phase, row) in table.iter_mut().enumerate() {
            let behind = phase as f64 / PHASES as f64;
            let taps: [f64; TAPS] = std::array::from_fn(|tap| {
                let at = tap as f64 - (HALF - 1) as f64 - behind;
                sinc(at) * window(at / HALF as f64)
            });
            let sum: f64 = taps.iter().sum();
            *row = taps.map(|tap| (tap / sum) as f32);
        }
        table
    })
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// Between Hann's and Blackman's: flat to 3.2 of 8 kHz.
fn window(x: f64) -> f64 {
    if x.abs() >= 1.0 {
        return 0.0;
    }
    0.46 + 0.5 * (PI * x).cos() + 0.04 * (2.0 * PI * x).cos()
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test signals in range")]
mod tests {
    use super::*;

    fn tone(cycles: f64, len: usize) -> Vec<i16> {
        let at = |n: usize| 20_000.0 * (2.0 * PI * cycles * n as f64).sin();
        (0..len).map(|n| at(n).round() as i16).collect()
    }

    /// Passes sound in packets of so many samples.
    fn pass(warp: &mut Warp, pcm: &[i16], packet: usize) -> Vec<i16> {
        let mut out = Vec::new();
        for piece in pcm.chunks(packet) {
            let before = out.len() as f64 + warp.owed();
            warp.append(piece, &mut out);
            let grown = out.len() as f64 + warp.owed() - before;
            assert!((grown - piece.len() as f64).abs() <= 0.02 * piece.len() as f64 + 1e-6);
            assert!(warp.held.len() <= piece.len() + TAPS);
        }
        warp.end(&mut out);
        out
    }

    #[test]
    fn it_moves_by_whole_samples_and_then_passes_all_as_it_is() {
        for (samples, packet) in [(1, 160), (-1, 160), (4, 20), (-4, 20), (2, 3), (-2, 1)] {
            let pcm = tone(0.04, 3_200);
            let mut warp = Warp::default();
            warp.shift(samples, 0.01);
            let out = pass(&mut warp, &pcm, packet);
            let moved = out.len().cast_signed() - pcm.len().cast_signed();
            assert_eq!(moved, samples as isize, "{samples} in packets of {packet}");
            assert_eq!(out[out.len() - 1_000..], pcm[pcm.len() - 1_000..]);
            assert_eq!(out[..7], pcm[..7]);
            assert_eq!(pass(&mut warp, &pcm, packet), pcm);
        }
    }

    #[test]
    fn a_tone_is_as_loud_and_as_clean_at_any_place_between_samples() {
        for (cycles, limit_db) in [(0.05, -60.0), (0.125, -60.0), (0.25, -54.0), (0.375, -40.0)] {
            for (samples, share) in [(1, 0.001), (-1, 0.001), (2, 0.005), (-2, 0.005)] {
                let mut warp = Warp::default();
                warp.shift(samples, share);
                let moving = f64::from(samples.abs()) / share;
                let out = pass(&mut warp, &tone(cycles, 2_000), 160);
                let (mut error, mut power) = (0.0, 0.0);
                for (n, sample) in out.iter().enumerate() {
                    let moved = (n as f64 - 7.0).clamp(0.0, moving) * share;
                    let at = n as f64 - moved * f64::from(samples.signum());
                    let ideal = 20_000.0 * (2.0 * PI * cycles * at).sin();
                    error += (ideal - f64::from(*sample)).powi(2);
                    power += ideal * ideal;
                }
                let db = 10.0 * (error / power).log10();
                assert!(db < limit_db, "{cycles} {samples}: {db} dB");
            }
        }
    }

    #[test]
    fn a_run_may_end_while_it_moves() {
        let mut warp = Warp::default();
        warp.shift(3, 0.001);
        let pcm = tone(0.1, 500);
        let out = pass(&mut warp, &pcm, 160);
        assert!((500..=501).contains(&out.len()), "{}", out.len());
        assert!(!warp.is_moving() && warp.owed() == 0.0);
    }
}
