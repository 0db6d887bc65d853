//! Sound made a little shorter or longer without changing its pitch, by whole pitch periods.
//!
//! A period at the front of what is about to be played is blended into the next one (shorter), or
//! played twice with the same blend (longer). At both ends of the blend the sound goes on exactly
//! as it did before, so there is never a step; where no two neighbours are alike enough nothing is
//! done.

use super::conceal::dot;

/// Pitch periods that are tried, in samples at 8 kHz: 2.5 to 15 ms.
const PERIOD_MIN: usize = 20;
const PERIOD_MAX: usize = 120;

/// How alike two periods must be, in calm and in haste: 1 is equal, 0 unrelated. 0.9 leaves a
/// difference 10 dB below the sound, for the length of one period.
const ALIKE: f32 = 0.9;
const ALIKE_URGENT: f32 = 0.6;

/// A place where samples are left out is faded over in 4 ms, in samples at 8 kHz.
const JOINT: usize = 32;

/// The highest rate is 48 kHz.
const FACTOR_MAX: usize = 6;

/// Root mean square below which anything may be blended with anything: nobody hears it.
const QUIET: f32 = 60.0;

/// Finds the pitch periods of sound at one rate. Allocates nothing.
#[derive(Debug)]
pub struct PeriodFinder {
    /// Samples per sample at 8 kHz.
    factor: usize,
    /// The sound at 8 kHz, and the energy of all before each sample.
    coarse: [f32; 2 * PERIOD_MAX],
    energy: [f32; 2 * PERIOD_MAX + 1],
}

impl PeriodFinder {
    /// For a rate of 8,000 Hz or a multiple of it.
    #[must_use]
    pub fn new(pcm_hz: u32) -> Self {
        Self {
            factor: (pcm_hz as usize / 8_000).clamp(1, FACTOR_MAX),
            coarse: [0.0; 2 * PERIOD_MAX],
            energy: [0.0; 2 * PERIOD_MAX + 1],
        }
    }

    /// Samples it looks at: two longest periods, 30 ms.
    #[must_use]
    pub fn window(&self) -> usize {
        2 * PERIOD_MAX * self.factor
    }

    /// The period at the front of `audio`, at most `most` samples long, that is most like the one
    /// after it; `None` where they are not alike enough to be blended unheard. In silence as much
    /// as there is. When it is `urgent`, being heard is the lesser evil.
    ///
    /// Costs about two microseconds, whatever the rate.
    pub fn find(&mut self, audio: &[i16], most: usize, urgent: bool) -> Option<usize> {
        let coarse = (audio.len() / self.factor).min(2 * PERIOD_MAX);
        let longest = (coarse / 2).min(PERIOD_MAX).min(most / self.factor);
        if longest < PERIOD_MIN {
            return None;
        }
        let heard = &mut self.coarse[..coarse];
        let mut energy = 0.0;
        for (at, from) in audio.chunks_exact(self.factor).take(coarse).enumerate() {
            let sum: i32 = from.iter().map(|&sample| i32::from(sample)).sum();
            heard[at] = small(sum) / float(self.factor);
            energy += heard[at] * heard[at];
            self.energy[at + 1] = energy;
        }
        if energy < QUIET * QUIET * float(coarse) {
            return Some(longest * self.factor);
        }
        let (alike, period) = most_alike(heard, &self.energy, longest);
        let enough = if urgent { ALIKE_URGENT } else { ALIKE };
        (alike >= enough).then_some(period * self.factor)
    }

    /// Leaves `samples` out of `audio` where that is heard least, however few they are: over 4 ms
    /// the sound fades to what comes so much later, where the two differ least. The first `samples`
    /// of `audio` may then be dropped; at both ends the sound goes on as it did before. `false`:
    /// they are nowhere alike enough, and nothing is done, unless it is `urgent`.
    ///
    /// Costs a multiplication for each sample of audio and of the fade at 8 kHz: some microseconds
    /// for 20 ms.
    pub fn splice(&self, audio: &mut [i16], samples: usize, urgent: bool) -> bool {
        let left = audio.len().saturating_sub(samples);
        let fade = (JOINT * self.factor).min(left);
        let pairs = |at: usize| {
            let (one, two) = (&audio[at..][..fade], &audio[at + samples..][..fade]);
            let pairs = one.iter().zip(two).step_by(self.factor);
            pairs.map(|(one, two)| (f32::from(*one), f32::from(*two)))
        };
        let differ = |at: usize| pairs(at).map(|(one, two)| (one - two).powi(2)).sum::<f32>();
        let places = (0..=left - fade).step_by(self.factor);
        let places = places.map(|at| (at, differ(at)));
        let best = places.min_by(|(_, one), (_, two)| one.total_cmp(two));
        let (at, least) = best.unwrap_or((0, 0.0));
        let energy: f32 = pairs(at).map(|(one, two)| one * one + two * two).sum();
        let quiet = 2.0 * QUIET * QUIET * float(fade / self.factor);
        if !urgent && least > (1.0 - ALIKE) * energy && energy > quiet {
            return false;
        }
        let mut joint = [0; JOINT * FACTOR_MAX];
        let joint = &mut joint[..fade];
        for (n, sample) in joint.iter_mut().enumerate() {
            *sample = between(audio[at + n], audio[at + samples + n], n, fade);
        }
        audio[at + samples..][..fade].copy_from_slice(joint);
        audio.copy_within(..at, samples);
        true
    }
}

/// Blends the first period of `audio` into the second: the first may then be left out.
///
/// # Panics
/// If there are no two periods.
pub fn leave_out(audio: &mut [i16], period: usize) {
    let (first, second) = audio.split_at_mut(period);
    for (at, next) in second[..period].iter_mut().enumerate() {
        *next = between(first[at], *next, at, period);
    }
}

/// Blends the second of three periods, the first of which was put in before `audio` as a copy of
/// the second: first, first, second become one sound.
///
/// # Panics
/// If there are no three periods.
pub fn put_in(audio: &mut [i16], period: usize) {
    // From what follows the first to what precedes the second, which is the first itself.
    let (blended, second) = audio[period..].split_at_mut(period);
    for (at, this) in blended.iter_mut().enumerate() {
        *this = between(second[at], *this, at, period);
    }
}

/// Likeness and length of the best period; `energy` is that of all before each sample.
fn most_alike(heard: &[f32], energy: &[f32], longest: usize) -> (f32, usize) {
    let mut best = (0.0, PERIOD_MIN);
    for period in PERIOD_MIN..=longest {
        let (this, next) = heard[..2 * period].split_at(period);
        // Unlike a normalised correlation it is less when one is louder, as at an onset.
        let alike = 2.0 * dot(this, next) / (energy[2 * period] + 1.0);
        if alike > best.0 {
            best = (alike, period);
        }
    }
    best
}

/// A sample of the fade from `one` to `two`, `at` of `length`.
fn between(one: i16, two: i16, at: usize, length: usize) -> i16 {
    let share = (float(at) + 0.5) / float(length);
    sample(f32::from(one) + (f32::from(two) - f32::from(one)) * share)
}

#[allow(clippy::cast_precision_loss, reason = "lengths of periods")]
fn float(samples: usize) -> f32 {
    samples as f32
}

#[allow(clippy::cast_precision_loss, reason = "sums of a few samples")]
fn small(sum: i32) -> f32 {
    sum as f32
}

#[allow(clippy::cast_possible_truncation, reason = "a float cast saturates")]
fn sample(value: f32) -> i16 {
    value.round() as i16
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "signals made for tests")]
mod tests {
    use super::*;

    fn sound(rate_hz: u32, samples: usize, at: impl Fn(f32) -> f32) -> Vec<i16> {
        let time = |n: usize| n as f32 / rate_hz as f32;
        (0..samples).map(|n| sample(at(time(n)))).collect()
    }

    fn voice(t: f32) -> f32 {
        let turn = t * 125.0 * std::f32::consts::TAU;
        6_000.0 * turn.sin() + 3_000.0 * (2.0 * turn).sin()
    }

    fn noise(t: f32) -> f32 {
        ((t * 8_000.0 * 12.9898).sin() * 43_758.547).fract() * 12_000.0
    }

    fn shorter(pcm: &[i16], period: usize) -> Vec<i16> {
        let mut pcm = pcm.to_vec();
        leave_out(&mut pcm, period);
        pcm.split_off(period)
    }

    fn longer(pcm: &[i16], period: usize) -> Vec<i16> {
        let mut out = pcm[..period].to_vec();
        out.extend_from_slice(pcm);
        put_in(&mut out, period);
        out
    }

    #[test]
    fn a_voice_loses_and_gains_whole_periods_and_nothing_breaks() {
        for rate_hz in [8_000, 16_000, 48_000] {
            let pcm = sound(rate_hz, rate_hz as usize / 25, voice);
            let found = PeriodFinder::new(rate_hz).find(&pcm, 9_999, false);
            let period = rate_hz as usize / 125;
            assert_eq!(found, Some(period));
            for out in [shorter(&pcm, period), longer(&pcm, period)] {
                assert_ne!(out.len(), pcm.len());
                let same = sound(rate_hz, out.len(), voice);
                let differ = |(a, b): (&i16, &i16)| a.abs_diff(*b);
                let worst = out.iter().zip(&same).map(differ).max();
                assert!(worst < Some(3), "{worst:?} at {rate_hz}");
            }
        }
    }

    #[test]
    fn loud_noise_and_onsets_are_left_alone_and_silence_is_not() {
        let mut finder = PeriodFinder::new(8_000);
        let loud = sound(8_000, 320, noise);
        assert_eq!(finder.find(&loud, 9_999, false), None);
        let onset = sound(8_000, 240, |t| voice(t) * (t / 0.03).powi(6));
        assert_eq!(finder.find(&onset, 9_999, false), None);
        let quiet = sound(8_000, 320, |t| noise(t) / 1_000.0);
        assert_eq!(finder.find(&quiet, 9_999, false), Some(PERIOD_MAX));
        assert_eq!(finder.find(&quiet, 30, false), Some(30));
        assert_eq!(finder.find(&quiet, PERIOD_MIN - 1, false), None);
        assert_eq!(
            finder.find(&quiet[..2 * PERIOD_MIN - 1], 9_999, false),
            None
        );
        assert_eq!(
            finder.find(&quiet[..2 * PERIOD_MIN], 9_999, false),
            Some(PERIOD_MIN)
        );
    }

    /// Samples left out of a voice: no step is larger than the voice's own, and all else is as it
    /// was.
    #[test]
    fn a_few_samples_are_left_out_without_a_step() {
        for rate_hz in [8_000, 16_000, 48_000] {
            let per_ms = rate_hz as usize / 1_000;
            let pcm = sound(rate_hz, 40 * per_ms, voice);
            let step = |pcm: &[i16]| pcm.windows(2).map(|w| w[0].abs_diff(w[1])).max();
            let most = step(&pcm).unwrap() * 5 / 4;
            for samples in [1, per_ms, 3 * per_ms, 4 * per_ms - 1] {
                let mut out = pcm[..20 * per_ms + samples].to_vec();
                PeriodFinder::new(rate_hz).splice(&mut out, samples, true);
                let mut out = out.split_off(samples);
                assert_eq!(
                    (out.len(), out[0].abs_diff(pcm[0]) < 200),
                    (20 * per_ms, true)
                );
                out.extend(&pcm[20 * per_ms + samples..]);
                assert!(step(&out) <= Some(most), "{samples} at {rate_hz}");
            }
        }
        let finder = PeriodFinder::new(8_000);
        for len in [0, 1, 5, 40] {
            for samples in [0, 1, 5, 40] {
                let mut pcm = sound(8_000, len.max(samples), noise);
                finder.splice(&mut pcm, samples, true);
            }
        }
        let mut loud = sound(8_000, 190, noise);
        let before = loud.clone();
        assert!(!finder.splice(&mut loud, 30, false) && loud == before);
        assert!(finder.splice(&mut sound(8_000, 190, |t| noise(t) / 1_000.0), 30, false));
    }

    #[test]
    fn full_scale_stays_within_scale() {
        let square: Vec<i16> = (0..480)
            .map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let found = PeriodFinder::new(8_000).find(&square, 9_999, false);
        let out = longer(&square, found.expect("periodic"));
        assert!(out.iter().all(|s| s.unsigned_abs() >= i16::MAX as u16));
    }
}
