//! Did one hear the other? Samples decide.

use super::{FRAME, Party};
use crate::tools::bench::histogram;

/// Samples per envelope step: 10 ms.
const STEP: usize = 80;

/// Largest offset between what was said and what was heard that is looked for: two seconds.
const STEPS_MAX: isize = 200;

/// At least this correlated with the other's speech.
const HEARD_MIN: f64 = 0.9;

/// At most this correlated with one's own.
const ECHO_MAX: f64 = 0.5;

/// Quieter than this is silence (dBFS).
const SILENCE_DBFS: f64 = -60.0;

/// What a listener heard, compared with what was said.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// Pearson correlation with what the other said, at the best offset.
    pub(super) likeness: f64,
    /// The same with what the listener said itself.
    pub(super) echo: f64,
    /// Frames that were heard bit by bit as they were said.
    pub(super) exact_pct: f64,
    /// Level of what was said and of what was heard.
    pub(super) said_dbfs: f64,
    pub(super) heard_dbfs: f64,
    /// From send to arrival in microseconds: p50, p99, highest.
    pub(super) latency_us: [f64; 3],
}

impl Verdict {
    pub(super) fn new(hearer: &Party, speaker: &Party) -> Self {
        let heard = hearer.ear.samples();
        let (offset, likeness) = best_offset(heard, &speaker.said);
        Self {
            likeness,
            echo: best_offset(heard, &hearer.said).1,
            exact_pct: exact_pct(heard, &speaker.said, offset),
            said_dbfs: level_dbfs(&speaker.said),
            heard_dbfs: level_dbfs(heard),
            latency_us: latency_us(hearer, speaker, offset),
        }
    }

    /// The listener heard the other, and not itself.
    pub(super) fn heard(&self) -> bool {
        self.likeness >= HEARD_MIN && self.echo <= ECHO_MAX && self.heard_dbfs > SILENCE_DBFS
    }
}

/// Root mean square level; a full-scale square wave is 0 dBFS.
#[allow(clippy::cast_precision_loss, reason = "sample counts")]
pub(super) fn level_dbfs(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return -99.0;
    }
    let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    let rms = (power / samples.len() as f64).sqrt() / 32_768.0;
    (20.0 * rms.log10()).max(-99.0)
}

/// How many samples into what was said the first heard sample lies, and how alike they then are.
/// Loudness envelopes find the place within 10 ms, samples then exactly.
fn best_offset(heard: &[i16], said: &[i16]) -> (isize, f64) {
    let envelope = |samples: &[i16]| -> Vec<f64> { samples.chunks(STEP).map(loudness).collect() };
    let (a, b) = (envelope(heard), envelope(said));
    let coarse = (-STEPS_MAX..=STEPS_MAX).map(|offset| (offset, pearson(&a, &b, offset)));
    let (steps, _) = best(coarse);
    let real = |samples: &[i16]| -> Vec<f64> { samples.iter().map(|s| f64::from(*s)).collect() };
    let (a, b) = (real(heard), real(said));
    let reach = STEP.cast_signed();
    let around = (steps * reach - reach)..=(steps * reach + reach);
    best(around.map(|offset| (offset, pearson(&a, &b, offset))))
}

fn loudness(samples: &[i16]) -> f64 {
    samples.iter().map(|s| f64::from(*s).abs()).sum()
}

/// The pair with the highest second; of equals the one nearest to no offset at all.
fn best(pairs: impl Iterator<Item = (isize, f64)>) -> (isize, f64) {
    pairs.fold((0, -1.0), |found, next| {
        let nearer = next.1 == found.1 && next.0.abs() < found.0.abs();
        if next.1 > found.1 || nearer {
            next
        } else {
            found
        }
    })
}

/// Correlation of `a[n]` with `b[n + offset]` where both exist; 0 when that is less than half of
/// the shorter one, or one of them does not move.
#[allow(clippy::cast_precision_loss, reason = "sample counts")]
fn pearson(a: &[f64], b: &[f64], offset: isize) -> f64 {
    let shorter = a.len().min(b.len());
    let (a, b) = if offset < 0 {
        (a.get(offset.unsigned_abs()..).unwrap_or_default(), b)
    } else {
        (a, b.get(offset.unsigned_abs()..).unwrap_or_default())
    };
    let n = a.len().min(b.len());
    if n == 0 || 2 * n < shorter {
        return 0.0;
    }
    let (a, b) = (&a[..n], &b[..n]);
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 || bb == 0.0 {
        0.0
    } else {
        ab / (aa * bb).sqrt()
    }
}

#[allow(clippy::cast_precision_loss, reason = "frame counts")]
fn exact_pct(heard: &[i16], said: &[i16], offset: isize) -> f64 {
    let frames = said.chunks_exact(FRAME).enumerate();
    let exact = frames.filter(|(n, frame)| {
        let start = (n * FRAME).checked_add_signed(-offset);
        start.and_then(|start| heard.get(start..start + FRAME)) == Some(frame)
    });
    100.0 * exact.count() as f64 / (said.len() / FRAME).max(1) as f64
}

/// p50, p99 and maximum; zeros when nothing arrived.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds below a minute")]
fn latency_us(hearer: &Party, speaker: &Party, offset: isize) -> [f64; 3] {
    let Ok(mut ns) = histogram() else {
        return [0.0; 3];
    };
    for (start, at_ns) in &hearer.ear.arrivals {
        let frame = start
            .checked_add_signed(offset)
            .map(|sample| sample / FRAME);
        if let Some(sent_ns) = frame.and_then(|frame| speaker.sent_ns.get(frame)) {
            ns.saturating_record(at_ns.saturating_sub(*sent_ns));
        }
    }
    [0.5, 0.99, 1.0].map(|quantile| ns.value_at_quantile(quantile) as f64 / 1e3)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tone that swells, so that its envelope has a place in time.
    #[allow(clippy::cast_possible_truncation, reason = "bounded by the amplitude")]
    pub(in crate::tools::call) fn tone_sample(hz: f64, n: u32) -> i16 {
        let t = f64::from(n) / 8_000.0;
        let swell = (t * t * 3.0).sin().abs() + 0.1;
        (8_000.0 * swell * (t * hz * std::f64::consts::TAU).sin()) as i16
    }

    fn speech(hz: f64, samples: u32) -> Vec<i16> {
        (0..samples).map(|n| tone_sample(hz, n)).collect()
    }

    #[test]
    fn the_offset_is_found_to_the_sample() {
        let said = speech(310.0, 16_000);
        for cut in [0_usize, 1, 79, 160, 4_003] {
            let (offset, likeness) = best_offset(&said[cut..], &said);
            assert_eq!(offset, cut.cast_signed());
            assert!(likeness > 0.999_999);
        }
        let late = [vec![0; 333], said.clone()].concat();
        assert_eq!(best_offset(&late, &said).0, -333);
    }

    #[test]
    fn another_voice_and_silence_are_not_like_it() {
        let said = speech(310.0, 16_000);
        assert!(best_offset(&speech(777.0, 16_000), &said).1 < ECHO_MAX);
        assert!(best_offset(&vec![0; 16_000], &said).1 < ECHO_MAX);
        assert!(best_offset(&[], &said).1 < ECHO_MAX);
    }

    #[test]
    fn levels_are_known_values() {
        assert!(level_dbfs(&[i16::MIN; 100]).abs() < 1e-9);
        assert!((level_dbfs(&[-16_384, 16_384]) + 6.0206).abs() < 1e-3);
        assert_eq!(level_dbfs(&[0; 9]), -99.0);
        assert_eq!(level_dbfs(&[]), -99.0);
    }

    #[test]
    fn a_changed_sample_makes_a_frame_inexact() {
        let said = speech(310.0, 1_600);
        let mut heard = said.clone();
        heard[200] ^= 1;
        assert_eq!(exact_pct(&heard, &said, 0), 90.0);
        assert_eq!(exact_pct(&said[160..], &said, 160), 90.0);
    }
}
