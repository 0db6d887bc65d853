//! Loudness of frames, whether somebody speaks, and who is loudest.

use std::f32::consts::LOG2_10;

/// Level of digital silence, and the floor of the scale (RFC 6464 §3).
pub const SILENCE_DBOV: u8 = 127;

/// Speech is at least this far above the background noise.
const MARGIN_DB: f32 = 8.0;
/// Nothing below this is taken for speech: lines are no quieter when somebody talks.
const SPEECH_DB_MIN: f32 = -56.0;
/// Noise is not thought to be weaker, so that a digital pause does not make a whisper of noise
/// speech.
const NOISE_DB_MIN: f32 = -70.0;
/// The noise floor is the minimum over so many spans: 1.6 s, in which every talker takes a breath.
const SPANS: usize = 8;
const SPAN_MS: u32 = 200;
/// Speech goes on so long behind its last loud frame; after a mere click, the short time.
const HANGOVER_MS: u32 = 240;
const HANGOVER_CLICK_MS: u32 = 40;
/// A burst that lasts so long is speech, not a click.
const CLICK_MS: u32 = 50;

/// Advantage of a chosen talker over the others, so that the choice does not flicker.
pub const CHOSEN_BONUS_DB: f32 = 6.0;
/// Score of who is silent.
const SCORE_MIN: f32 = -127.0;
/// Loudness counts with this time constant while it rises, and falls by so much per second.
const ATTACK_MS: f32 = 60.0;
const RELEASE_DB_PER_MS: f32 = 0.025;

/// Mean square of samples relative to full scale, 0 to 1 (0 for no samples). Exact sums: the
/// result does not depend on the processor.
#[must_use]
pub fn mean_square(pcm: &[i16]) -> f32 {
    if pcm.is_empty() {
        return 0.0;
    }
    let sum: u64 = pcm
        .iter()
        .map(|sample| u64::from((i32::from(*sample) * i32::from(*sample)).unsigned_abs()))
        .sum();
    sum as f32 / (pcm.len() as f32 * 32_768.0 * 32_768.0)
}

/// Level of samples in dBov, −127 to 0: a square wave at full scale has 0, a sine −3.
#[must_use]
pub fn level_db(pcm: &[i16]) -> f32 {
    const MIN: f32 = 2e-13;
    // log2 is one of the cheap ones.
    (mean_square(pcm).max(MIN).log2() * (10.0 / LOG2_10)).max(-f32::from(SILENCE_DBOV))
}

/// Level of samples as RFC 6464 sends it: −dBov, 0 (loudest) to 127 (digital silence).
#[must_use]
pub fn level_dbov(pcm: &[i16]) -> u8 {
    rfc6464(level_db(pcm))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 to 127"
)]
fn rfc6464(db: f32) -> u8 {
    (-db).round().clamp(0.0, f32::from(SILENCE_DBOV)) as u8
}

/// What [`SpeechDetector`] says of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activity {
    /// In dBov, −127 to 0.
    pub level_db: f32,
    /// Somebody speaks (the `V` bit of RFC 6464).
    pub speech: bool,
}

impl Activity {
    /// −dBov as RFC 6464 sends it.
    #[must_use]
    pub fn level_dbov(self) -> u8 {
        rfc6464(self.level_db)
    }
}

/// Speech activity by energy over a noise floor that follows the quietest moments of 1.6 s.
///
/// Steady sounds become background after that time; who wants tones uses
/// [`progress`](super::progress).
#[derive(Debug, Clone)]
pub struct SpeechDetector {
    samples_per_ms: u32,
    /// Quietest frame of each span, the running one first.
    minima_db: [f32; SPANS],
    span_ms: u32,
    burst_ms: u32,
    hangover_ms: u32,
}

impl SpeechDetector {
    /// A detector that has heard nothing. Rates below 1 kHz count as 1 kHz.
    #[must_use]
    pub fn new(rate_hz: u32) -> Self {
        Self {
            samples_per_ms: (rate_hz / 1_000).max(1),
            minima_db: [0.0; SPANS],
            span_ms: 0,
            burst_ms: 0,
            hangover_ms: 0,
        }
    }

    /// Hears the next frame (10 to 60 ms; longer ones count as one piece).
    pub fn update(&mut self, pcm: &[i16]) -> Activity {
        let level_db = level_db(pcm);
        let ms = u32::try_from(pcm.len()).unwrap_or(u32::MAX) / self.samples_per_ms;
        self.follow_noise(level_db, ms);
        let loud = level_db > (self.noise_db() + MARGIN_DB).max(SPEECH_DB_MIN);
        if loud {
            self.burst_ms = self.burst_ms.saturating_add(ms);
            let click = self.burst_ms < CLICK_MS;
            let hangover = if click {
                HANGOVER_CLICK_MS
            } else {
                HANGOVER_MS
            };
            self.hangover_ms = self.hangover_ms.max(hangover);
        } else {
            self.burst_ms = 0;
            self.hangover_ms = self.hangover_ms.saturating_sub(ms);
        }
        let speech = loud || self.hangover_ms > 0;
        Activity { level_db, speech }
    }

    /// Estimate of the background noise in dBov. Until a first span is over it is what was
    /// quietest so far, but at most −45.
    #[must_use]
    pub fn noise_db(&self) -> f32 {
        let quietest = self.minima_db.iter().copied().fold(0.0, f32::min);
        let known = self.minima_db[SPANS - 1] < 0.0;
        let ceiling = if known { 0.0 } else { -45.0 };
        quietest.clamp(NOISE_DB_MIN, ceiling)
    }

    fn follow_noise(&mut self, level_db: f32, ms: u32) {
        self.minima_db[0] = self.minima_db[0].min(level_db);
        self.span_ms = self.span_ms.saturating_add(ms);
        if self.span_ms >= SPAN_MS {
            self.span_ms = 0;
            self.minima_db.rotate_right(1);
            self.minima_db[0] = level_db;
        }
    }
}

/// How much one source deserves to be heard, in dB: fast up, slowly down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpeakerScore(f32);

impl SpeakerScore {
    /// Of a source that was silent.
    pub const SILENT: Self = Self(SCORE_MIN);

    /// Takes one frame of so many milliseconds into account.
    pub fn update(&mut self, activity: Activity, ms: u32) {
        let ms = ms as f32;
        let heard = if activity.speech {
            activity.level_db
        } else {
            SCORE_MIN
        };
        if heard > self.0 {
            // From far below one frame is enough to enter the race, not to win it.
            let from = self.0.max(heard - 12.0);
            self.0 = from + (heard - from) * (ms / ATTACK_MS).min(1.0);
        } else {
            self.0 = (self.0 - ms * RELEASE_DB_PER_MS).max(heard);
        }
    }

    /// In dB, −127 to 0.
    #[must_use]
    pub const fn db(self) -> f32 {
        self.0
    }
}

/// Marks the `most` loudest of all sources, preferring who is chosen already
/// ([`CHOSEN_BONUS_DB`]); silent ones are chosen only to stay. Costs `scores × most`.
///
/// `chosen` is both the last choice and the new one, in the order of `scores`.
pub fn choose_loudest(scores: &[SpeakerScore], chosen: &mut [bool], most: usize) {
    let count = scores.len().min(chosen.len());
    let value = |ix: usize, was: bool| {
        let bonus = if was { CHOSEN_BONUS_DB } else { 0.0 };
        scores[ix].0 + bonus
    };
    // The bar is the value of the last one taken; ties go to the earlier source.
    let (mut bar, mut bar_ix, mut taken) = (f32::INFINITY, 0, 0);
    while taken < most {
        let best = (0..count)
            .map(|ix| (value(ix, chosen[ix]), ix))
            .filter(|(value, ix)| *value < bar || (*value == bar && *ix > bar_ix && taken > 0))
            .filter(|(value, _)| *value > SCORE_MIN)
            .fold(None, |best: Option<(f32, usize)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            });
        let Some(best) = best else { break };
        (bar, bar_ix) = best;
        taken += 1;
    }
    for (ix, chosen) in chosen.iter_mut().enumerate() {
        let within = ix < count && taken > 0 && {
            let value = value(ix, *chosen);
            value > bar || (value == bar && ix <= bar_ix)
        };
        *chosen = within;
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test signals within their ranges"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sine(peak: f32, len: usize) -> Vec<i16> {
        (0..len)
            .map(|n| (peak * (n as f32 * 0.7).sin()) as i16)
            .collect()
    }

    fn noise(rng: &mut fastrand::Rng, rms: f32, len: usize) -> Vec<i16> {
        let peak = rms * 3f32.sqrt();
        (0..len)
            .map(|_| ((rng.f32() * 2.0 - 1.0) * peak) as i16)
            .collect()
    }

    #[test]
    fn levels_are_on_the_scale_of_rfc_6464() {
        assert_eq!(level_dbov(&[i16::MIN; 160]), 0);
        assert_eq!(level_dbov(&[i16::MAX; 160]), 0);
        assert_eq!(level_dbov(&sine(32_767.0, 8_000)), 3);
        assert_eq!(level_dbov(&sine(3_276.7, 8_000)), 23);
        assert_eq!(level_dbov(&[1; 160]), 90);
        assert_eq!(level_dbov(&[0; 160]), SILENCE_DBOV);
        assert_eq!(level_dbov(&[]), SILENCE_DBOV);
    }

    /// Syllables of 150 ms with pauses of 100 ms, a breath each second.
    fn speech(rng: &mut fastrand::Rng, ms: usize, peak: f32) -> Vec<i16> {
        let loud = |at: usize| at % 1_000 < 750 && at % 250 < 150;
        (0..ms / 10)
            .flat_map(|frame| {
                let rms = if loud(frame * 10) { peak } else { 20.0 };
                noise(rng, rms, 80)
            })
            .collect()
    }

    #[test]
    fn speech_is_found_in_noise_and_noise_is_not_speech() {
        let mut rng = fastrand::Rng::with_seed(7);
        for noise_rms in [3.0, 30.0, 200.0] {
            let mut detector = SpeechDetector::new(8_000);
            let quiet = noise(&mut rng, noise_rms, 8_000 * 4);
            let false_ones = quiet
                .chunks(160)
                .filter(|f| detector.update(f).speech)
                .count();
            assert!(false_ones <= 10, "noise {noise_rms}: {false_ones} of 200");
            let mut voice = speech(&mut rng, 5_000, noise_rms * 20.0 + 300.0);
            let background = noise(&mut rng, noise_rms, voice.len());
            voice
                .iter_mut()
                .zip(background)
                .for_each(|(v, n)| *v = v.saturating_add(n));
            let heard = voice
                .chunks(160)
                .filter(|f| detector.update(f).speech)
                .count();
            assert!(heard >= 215, "noise {noise_rms}: {heard} of 250");
            let tail = noise(&mut rng, noise_rms, 8_000);
            let late = tail
                .chunks(160)
                .skip(15)
                .filter(|f| detector.update(f).speech)
                .count();
            assert!(late <= 12, "{late}");
        }
    }

    #[test]
    fn noise_that_jumps_up_is_background_after_two_seconds() {
        let mut rng = fastrand::Rng::with_seed(8);
        let mut detector = SpeechDetector::new(16_000);
        noise(&mut rng, 10.0, 32_000).chunks(320).for_each(|f| {
            detector.update(f);
        });
        let louder = noise(&mut rng, 400.0, 64_000);
        let late = louder
            .chunks(320)
            .skip(105)
            .filter(|f| detector.update(f).speech)
            .count();
        assert!(detector.noise_db() > -42.0);
        let again = louder
            .chunks(320)
            .filter(|f| detector.update(f).speech)
            .count();
        assert_eq!(again, 0, "{late}");
    }

    #[test]
    fn a_click_does_not_hold_the_floor() {
        let mut detector = SpeechDetector::new(8_000);
        let quiet = [0; 160];
        (0..100).for_each(|_| {
            detector.update(&quiet);
        });
        assert!(detector.update(&sine(8_000.0, 160)).speech);
        let held = (0..20).filter(|_| detector.update(&quiet).speech).count();
        assert!(held <= 2, "{held}");
        let loud = sine(8_000.0, 160);
        (0..5).for_each(|_| assert!(detector.update(&loud).speech));
        let held = (0..20).filter(|_| detector.update(&quiet).speech).count();
        assert!((10..=12).contains(&held), "{held}");
    }

    #[test]
    fn an_interjection_does_not_take_the_floor_but_a_talker_does() {
        let talker = Activity {
            level_db: -26.0,
            speech: true,
        };
        let louder = Activity {
            level_db: -18.0,
            speech: true,
        };
        let silent = Activity {
            level_db: -80.0,
            speech: false,
        };
        let mut scores = [SpeakerScore::SILENT; 2];
        let mut chosen = [false; 2];
        (0..20).for_each(|_| scores[0].update(talker, 20));
        choose_loudest(&scores, &mut chosen, 1);
        assert_eq!(chosen, [true, false]);
        scores[1].update(talker, 20);
        choose_loudest(&scores, &mut chosen, 1);
        assert_eq!(chosen, [true, false]);
        // A short pause of the talker changes nothing, a louder talker takes over.
        (0..8).for_each(|_| scores[0].update(silent, 20));
        (0..8).for_each(|_| scores[1].update(talker, 20));
        choose_loudest(&scores, &mut chosen, 1);
        assert_eq!(chosen, [true, false]);
        (0..8).for_each(|_| scores[1].update(louder, 20));
        choose_loudest(&scores, &mut chosen, 1);
        assert_eq!(chosen, [false, true]);
    }

    proptest! {
        #[test]
        fn the_choice_is_the_loudest(
            levels in prop::collection::vec(-126i8..=0, 0..40),
            most in 0..10usize,
        ) {
            let scores: Vec<_> = levels.iter().map(|db| SpeakerScore(f32::from(*db))).collect();
            let mut chosen = vec![false; scores.len()];
            choose_loudest(&scores, &mut chosen, most);
            prop_assert_eq!(chosen.iter().filter(|c| **c).count(), most.min(scores.len()));
            for (a, was) in levels.iter().zip(&chosen) {
                for (b, other) in levels.iter().zip(&chosen) {
                    prop_assert!(!(*was && !*other && b > a));
                }
            }
            let first = chosen.clone();
            choose_loudest(&scores, &mut chosen, most);
            prop_assert_eq!(first, chosen);
        }
    }
}
