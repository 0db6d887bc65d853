//! Sound made a little shorter or longer without changing its pitch, as a playout buffer wants
//! that has too much or too little in store.
//!
//! One pitch period is taken out or put in by fading between two neighbouring periods that are
//! nearly alike. At both ends of the fade the sound goes on exactly as it did before, so there is
//! never a step; where no two neighbours are alike enough the answer is `None` and nothing is done.

use super::conceal::dot;

/// Shortest and longest period that is taken out or put in: 400 and 67 Hz.
const LAG_US_MIN: usize = 2_500;
const LAG_US_MAX: usize = 15_000;

/// Most sound looked at; of longer pieces, the middle.
const WINDOW_MS: usize = 30;

/// Highest sample rate.
const RATE_HZ_MAX: u32 = 48_000;

const WINDOW_MAX: usize = WINDOW_MS * RATE_HZ_MAX as usize / 1_000;

/// The search runs at about this rate first.
const SEARCH_HZ: usize = 8_000;

const COARSE_MAX: usize = WINDOW_MS * 2 * SEARCH_HZ / 1_000;

/// How alike two neighbours must be: 1 is equal, 0 unrelated. 0.9 leaves a difference 10 dB below
/// the sound, for the length of one period.
const ALIKE_MIN: f32 = 0.9;

/// Sound below this mean square (−50 dBov) is stretched anywhere.
const QUIET_POWER: f32 = 10_737.0;

/// Takes one period out of `pcm`, in place. Gives how many samples were removed: the first
/// `pcm.len()` less that many are the result. 20 ms are enough for high voices, 30 ms for all.
///
/// `None`, and nothing is changed, where the sound does not allow it, for less than 5 ms of it and
/// for rates outside 8 to 48 kHz.
#[must_use]
pub fn accelerate(pcm: &mut [i16], rate_hz: u32) -> Option<usize> {
    let Joint { start, lag } = find_joint(pcm, rate_hz)?;
    for at in start..start + lag {
        pcm[at] = faded(pcm[at], pcm[at + lag], at - start, lag);
    }
    pcm.copy_within(start + 2 * lag.., start + lag);
    Some(lag)
}

/// Puts one period into `pcm`, written to `out`. Gives how many samples were inserted: `out` then
/// starts with `pcm.len()` and that many.
///
/// `None` as for [`accelerate`], and when `out` has not room for [`expanded_max`] samples.
#[must_use]
pub fn expand(pcm: &[i16], out: &mut [i16], rate_hz: u32) -> Option<usize> {
    if out.len() < expanded_max(pcm.len(), rate_hz) {
        return None;
    }
    let Joint { start, lag } = find_joint(pcm, rate_hz)?;
    let second = start + lag;
    out[..second].copy_from_slice(&pcm[..second]);
    for at in 0..lag {
        out[second + at] = faded(pcm[second + at], pcm[start + at], at, lag);
    }
    out[second + lag..pcm.len() + lag].copy_from_slice(&pcm[second..]);
    Some(lag)
}

/// Room that [`expand`] wants for a piece of `samples`.
#[must_use]
pub fn expanded_max(samples: usize, rate_hz: u32) -> usize {
    samples.saturating_add(LAG_US_MAX * rate_hz.min(RATE_HZ_MAX) as usize / 1_000_000)
}

/// Two neighbouring periods: `start..start + lag`, and as much again after it.
struct Joint {
    start: usize,
    lag: usize,
}

fn find_joint(pcm: &[i16], rate_hz: u32) -> Option<Joint> {
    let rate = rate_hz as usize;
    if !(8_000..=RATE_HZ_MAX).contains(&rate_hz) {
        return None;
    }
    let lag_min = LAG_US_MIN * rate / 1_000_000;
    let length = pcm.len().min(WINDOW_MS * rate / 1_000);
    let lag_max = (LAG_US_MAX * rate / 1_000_000).min(length / 2);
    if lag_max < lag_min {
        return None;
    }
    let first = (pcm.len() - length) / 2;
    let mut window = [0.0; WINDOW_MAX];
    let window = &mut window[..length];
    for (out, sample) in window.iter_mut().zip(&pcm[first..]) {
        *out = f32::from(*sample);
    }
    let centred = |lag: usize| (length - 2 * lag) / 2;
    let quiet = QUIET_POWER * float(length);
    let lag = if dot(window, window) <= quiet {
        lag_max
    } else {
        let lag = find_lag(window, lag_min, lag_max, (rate / SEARCH_HZ).max(1));
        let start = centred(lag);
        let (one, two) = window[start..start + 2 * lag].split_at(lag);
        if likeness(one, two) < ALIKE_MIN {
            return None;
        }
        lag
    };
    Some(Joint {
        start: first + centred(lag),
        lag,
    })
}

/// The lag of the two most alike neighbours, searched coarsely first.
fn find_lag(window: &[f32], lag_min: usize, lag_max: usize, factor: usize) -> usize {
    if factor == 1 {
        return best_lag(window, lag_min, lag_max);
    }
    let mut coarse = [0.0; COARSE_MAX];
    let coarse = &mut coarse[..window.len() / factor];
    for (out, chunk) in coarse.iter_mut().zip(window.chunks_exact(factor)) {
        *out = chunk.iter().sum();
    }
    let near = best_lag(coarse, lag_min / factor, lag_max / factor) * factor;
    let low = near.saturating_sub(factor).max(lag_min);
    best_lag(window, low, (near + factor).min(lag_max))
}

fn best_lag(window: &[f32], lag_min: usize, lag_max: usize) -> usize {
    let mut best = (f32::MIN, lag_max);
    for lag in lag_min..=lag_max.min(window.len() / 2) {
        let start = (window.len() - 2 * lag) / 2;
        let (one, two) = window[start..start + 2 * lag].split_at(lag);
        let likeness = likeness(one, two);
        if likeness > best.0 {
            best = (likeness, lag);
        }
    }
    best.1
}

/// 1 for equal pieces; unlike a normalised correlation less when one is louder.
fn likeness(one: &[f32], two: &[f32]) -> f32 {
    2.0 * dot(one, two) / (dot(one, one) + dot(two, two) + 1.0)
}

/// A sample of the fade from `one` to `two`, `at` of `length`.
#[allow(clippy::cast_possible_truncation, reason = "between two samples")]
fn faded(one: i16, two: i16, at: usize, length: usize) -> i16 {
    let share = (float(at) + 0.5) / float(length);
    (f32::from(one) + (f32::from(two) - f32::from(one)) * share).round() as i16
}

#[allow(clippy::cast_precision_loss, reason = "lengths below 2^24")]
fn float(samples: usize) -> f32 {
    samples as f32
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "signals made for tests"
)]
mod tests {
    use super::*;

    fn tone(hz: f32, amplitude: f32, rate_hz: u32, samples: usize) -> Vec<i16> {
        let step = std::f32::consts::TAU * hz / rate_hz as f32;
        (0..samples)
            .map(|n| ((n as f32 * step).sin() * amplitude).round() as i16)
            .collect()
    }

    fn noise(amplitude: f32, samples: usize) -> Vec<i16> {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..samples)
            .map(|_| ((rng.f32() - 0.5) * 2.0 * amplitude) as i16)
            .collect()
    }

    /// Largest second difference: what a click makes large.
    fn sharpest(pcm: &[i16]) -> i32 {
        let bend = |w: &[i16]| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs();
        pcm.windows(3).map(bend).max().unwrap_or(0)
    }

    /// Hertz from the first to the last upward crossing of zero.
    fn pitch(pcm: &[i16], rate_hz: u32) -> f32 {
        let ups: Vec<f32> = pcm
            .windows(2)
            .enumerate()
            .filter(|(_, w)| w[0] < 0 && w[1] >= 0)
            .map(|(n, w)| n as f32 + f32::from(-w[0]) / (f32::from(w[1]) - f32::from(w[0])))
            .collect();
        (ups.len() - 1) as f32 * rate_hz as f32 / (ups[ups.len() - 1] - ups[0])
    }

    fn shortened(pcm: &[i16], rate_hz: u32) -> Option<Vec<i16>> {
        let mut pcm = pcm.to_vec();
        let removed = accelerate(&mut pcm, rate_hz)?;
        pcm.truncate(pcm.len() - removed);
        Some(pcm)
    }

    fn lengthened(pcm: &[i16], rate_hz: u32) -> Option<Vec<i16>> {
        let mut out = vec![0; expanded_max(pcm.len(), rate_hz)];
        let inserted = expand(pcm, &mut out, rate_hz)?;
        out.truncate(pcm.len() + inserted);
        Some(out)
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_does_not_click() {
        for rate_hz in [8_000, 16_000, 24_000, 48_000] {
            for hz in [90.0, 217.0, 425.0, 1_004.0] {
                let pcm = tone(hz, 8_000.0, rate_hz, rate_hz as usize / 10);
                let step = std::f32::consts::TAU * hz / rate_hz as f32;
                for out in [shortened(&pcm, rate_hz), lengthened(&pcm, rate_hz)] {
                    let out = out.unwrap_or_else(|| panic!("{hz} Hz at {rate_hz} refused"));
                    assert_ne!(out.len(), pcm.len());
                    let found = pitch(&out, rate_hz);
                    assert!(
                        (found / hz - 1.0).abs() < 0.02,
                        "{hz} Hz at {rate_hz}: {found}"
                    );
                    let bend = 1.5 * 8_000.0 * step * step + 60.0;
                    assert!(sharpest(&out) as f32 <= bend, "{hz} Hz at {rate_hz} clicks");
                }
            }
        }
    }

    #[test]
    fn both_ends_stay_as_they_were() {
        let pcm = tone(200.0, 8_000.0, 8_000, 240);
        for out in [shortened(&pcm, 8_000), lengthened(&pcm, 8_000)] {
            let out = out.expect("a tone");
            assert_eq!(out[..20], pcm[..20]);
            assert_eq!(out[out.len() - 20..], pcm[220..]);
        }
    }

    #[test]
    fn loud_noise_is_left_alone_and_quiet_noise_is_not() {
        let loud = noise(8_000.0, 240);
        assert!(shortened(&loud, 8_000).is_none());
        assert!(lengthened(&loud, 8_000).is_none());
        let quiet = noise(100.0, 240);
        assert_eq!(shortened(&quiet, 8_000).expect("quiet").len(), 120);
        assert_eq!(lengthened(&quiet, 8_000).expect("quiet").len(), 360);
    }

    #[test]
    fn an_onset_is_left_alone() {
        let mut pcm = tone(200.0, 9_000.0, 8_000, 240);
        for (n, sample) in pcm.iter_mut().enumerate() {
            *sample = (f32::from(*sample) * (n as f32 / 240.0).powi(6)) as i16;
        }
        assert!(shortened(&pcm, 8_000).is_none());
    }

    #[test]
    fn refuses_what_is_too_short_or_at_no_known_rate() {
        let pcm = tone(400.0, 8_000.0, 8_000, 4_000);
        assert!(shortened(&pcm[..39], 8_000).is_none());
        assert!(shortened(&pcm[..40], 8_000).is_some());
        assert!(shortened(&[], 8_000).is_none());
        for rate_hz in [0, 7_999, 48_001, u32::MAX] {
            assert!(shortened(&pcm, rate_hz).is_none());
            assert_eq!(expand(&pcm, &mut vec![0; 10_000], rate_hz), None);
        }
        let mut small = vec![0; expanded_max(240, 8_000) - 1];
        assert_eq!(expand(&pcm[..240], &mut small, 8_000), None);
    }

    #[test]
    fn full_scale_stays_within_scale() {
        for rate_hz in [8_000, 48_000] {
            let square: Vec<i16> = (0..rate_hz as usize / 10)
                .map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
                .collect();
            let out = lengthened(&square, rate_hz).expect("periodic");
            assert!(out.iter().all(|s| s.unsigned_abs() >= i16::MAX as u16));
        }
    }
}
