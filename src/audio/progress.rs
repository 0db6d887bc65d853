//! What a ringing branch sends before it answers: nothing, a tone, or speech and music.
//!
//! A tone is energy that lies almost all between 275 and 675 Hz (where networks have their
//! ringback, busy and congestion tones: one or two frequencies or a modulated one) and whose
//! centre of gravity stands still while it sounds; what a tone means is told by its cadence:
//!
//! | verdict | cadence (ms on / off) | known after |
//! |---|---|---|
//! | ringing | one sound of 700 to 2500 or two of 300 to 600, then a long pause | the first ring |
//! | busy | on = off, 320 to 850 | two cycles |
//! | congestion | on = off up to 320; 400/350/225/525; (200/200/)200/200/200/600 | two cycles |
//! | other tone | endless (dial tone), or a rhythm that none of these is | 2.5 s of tone |
//!
//! Meaning is not the same everywhere: Spain's busy tone is as fast as others' congestion tone,
//! Japan, Australia and China have congestion as slow as others' busy. Both mean that the call
//! failed.
//!
//! One state of fixed size, all decisions on 10 ms blocks at 8 kHz: the verdict does not depend
//! on how samples are cut into frames.

use std::f64::consts::PI;
use std::sync::OnceLock;

use super::resample::Resampler;

/// Samples judged at once: 10 ms at 8 kHz.
const BLOCK: usize = 80;
const BLOCK_MS: u32 = 10;
/// Samples of one spectrum: 40 ms, so bins are 25 Hz apart.
const WINDOW: usize = 320;
const BIN_HZ: f32 = 25.0;
/// Bins 11 to 27: 275 to 675 Hz, 25 Hz beyond the tones' 300 to 640 for sidebands.
const BIN_FIRST: u16 = 11;
const BINS: usize = 17;
/// Blocks of a window.
const SPAN: u32 = 4;

/// Share of the energy that a tone has in the bins. At 30 dB over noise a tone has 0.999; vowels
/// seldom reach it for long.
const SHARE_MIN: f32 = 0.94;
/// A tone's centre moves no more than this (standard deviation).
const WANDER_HZ_MAX: f32 = 8.0;
/// Two sounds of one tone differ no more.
const SAME_HZ: f32 = 15.0;
const SAME_DB: f32 = 4.0;
/// Of the windows inside one sound, so many per cent must be a tone.
const TONE_PERCENT: u32 = 90;

/// Weaker than this is silence, in dBov (−49 dBm0).
const SILENCE_DB: f32 = -55.0;
/// A pause is this far below what was loudest,
const PAUSE_DB: f32 = 12.0;
/// which is forgotten so fast: slower than noise 30 dB below a tone needs to count as sound in a
/// pause of 5 s.
const FORGET_DB: f32 = 0.03;
/// Correlation of neighbouring samples that voices and music have and noise has not.
const VOICED: f32 = 0.3;

/// By sliding windows a sound looks longer, and a pause shorter, by this.
const BLUR_MS: u32 = 30;
/// Tolerance of cadences: networks hold 10 %, measuring adds 10 ms.
const CADENCE_MS: u32 = 45;

/// Voice or music needed for a verdict, and to change one.
const VOICE_MS: u32 = 250;
const VOICE_CHANGE_MS: u32 = 400;
/// Tone without a known rhythm until it is an other tone.
const OTHER_MS: u32 = 2_500;
/// Silence from the start, after speech, after ringing (pauses are up to 5 s), after other tones.
const SILENT_START_MS: u32 = 1_000;
const SILENT_SPEECH_MS: u32 = 3_000;
const SILENT_RINGING_MS: u32 = 7_000;
const SILENT_TONE_MS: u32 = 3_000;

/// What a branch sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Progress {
    /// Not known yet.
    #[default]
    Nothing,
    /// Nothing that one could hear.
    Silence,
    /// The called phone rings.
    RingingTone,
    /// The called party is busy.
    BusyTone,
    /// The network is busy, or the number does not exist (fast busy, reorder).
    CongestionTone,
    /// A dial tone, or a tone in an unknown rhythm.
    OtherTone,
    /// An announcement, a caller tune, an answering voice.
    SpeechOrMusic,
}

/// Listens to one branch.
#[derive(Debug, Clone)]
pub struct ProgressDetector {
    /// For branches at 16 kHz.
    halver: Option<Resampler>,
    pending: [i16; BLOCK],
    pending_len: usize,
    /// The last 40 ms, and the energy of each block of them.
    window: [f32; WINDOW],
    energies: [f32; SPAN as usize],
    loudest_db: f32,
    cadence: Cadence,
}

impl ProgressDetector {
    /// A detector that has heard nothing; `None` unless the rate is 8000 or 16 000 Hz. About
    /// 3 kB, and 21 kB once per process.
    #[must_use]
    pub fn new(rate_hz: u32) -> Option<Self> {
        let halver = match rate_hz {
            8_000 => None,
            16_000 => Some(Resampler::new(rate_hz, 8_000)?),
            _ => return None,
        };
        Spectrum::shared();
        Some(Self {
            halver,
            pending: [0; BLOCK],
            pending_len: 0,
            window: [0.0; WINDOW],
            energies: [0.0; SPAN as usize],
            loudest_db: -127.0,
            cadence: Cadence::default(),
        })
    }

    /// Hears the next samples, any number of them. Lost frames should come as silence or
    /// concealed, as time is counted in samples.
    pub fn update(&mut self, pcm: &[i16]) -> Progress {
        match self.halver.take() {
            None => self.feed(pcm),
            Some(mut halver) => {
                for piece in pcm.chunks(2 * BLOCK) {
                    let mut half = [0; BLOCK + 1];
                    let len = halver.process(piece, &mut half);
                    self.feed(&half[..len]);
                }
                self.halver = Some(halver);
            }
        }
        self.progress()
    }

    /// The verdict so far.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.cadence.verdict
    }

    fn feed(&mut self, mut pcm: &[i16]) {
        while !pcm.is_empty() {
            let (now, later) = pcm.split_at(pcm.len().min(BLOCK - self.pending_len));
            self.pending[self.pending_len..self.pending_len + now.len()].copy_from_slice(now);
            self.pending_len += now.len();
            pcm = later;
            if self.pending_len == BLOCK {
                self.pending_len = 0;
                self.block();
            }
        }
    }

    fn block(&mut self) {
        self.window.copy_within(BLOCK.., 0);
        let tail = &mut self.window[WINDOW - BLOCK..];
        for (sample, pcm) in tail.iter_mut().zip(&self.pending) {
            *sample = f32::from(*pcm) / 32_768.0;
        }
        self.energies.rotate_left(1);
        self.energies[SPAN as usize - 1] = dot(tail, tail) / BLOCK as f32;
        let power = self.energies.iter().sum::<f32>() / SPAN as f32;
        let level_db = 10.0 * power.max(1e-12).log10();
        if level_db > self.loudest_db + PAUSE_DB {
            // What was a sound until now (line noise) is a pause beside this.
            self.cadence.forget_sound();
        }
        self.loudest_db = level_db.max(self.loudest_db - FORGET_DB);
        if level_db > SILENCE_DB.max(self.loudest_db - PAUSE_DB) {
            let look = Spectrum::shared().look(&self.window, level_db);
            self.cadence.sound(look);
        } else {
            self.cadence.pause();
        }
    }
}

/// What one window looks like.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    level_db: f32,
    /// Centre of gravity of the energy in the bins; `None` unless it is a tone.
    tone_hz: Option<f32>,
    voiced: bool,
}

/// Weights of the bins, folded: the window is symmetric, so samples are added and subtracted in
/// pairs first.
#[derive(Debug)]
struct Spectrum {
    hann: [f32; WINDOW / 2],
    cosines: [[f32; WINDOW / 2]; BINS],
    sines: [[f32; WINDOW / 2]; BINS],
}

impl Spectrum {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "24 bits are all that is wanted"
    )]
    fn shared() -> &'static Self {
        static SPECTRUM: OnceLock<Box<Spectrum>> = OnceLock::new();
        SPECTRUM.get_or_init(|| {
            let turn = |at: usize| 2.0 * PI * (at + 1) as f64 / WINDOW as f64;
            let bin = |ix: usize| ix as f64 + f64::from(BIN_FIRST);
            let weights = |wave: fn(f64) -> f64| -> [[f32; WINDOW / 2]; BINS] {
                std::array::from_fn(|ix| std::array::from_fn(|at| wave(bin(ix) * turn(at)) as f32))
            };
            Box::new(Self {
                hann: std::array::from_fn(|at| (0.5 - 0.5 * turn(at).cos()) as f32),
                cosines: weights(f64::cos),
                sines: weights(f64::sin),
            })
        })
    }

    fn look(&self, window: &[f32; WINDOW], level_db: f32) -> Look {
        const HALF: usize = WINDOW / 2;
        // The window is 0 at sample 0; samples 1 to 159 pair with 319 to 161, 160 stands alone.
        let (mut even, mut odd) = ([0.0; HALF], [0.0; HALF]);
        for at in 0..HALF - 1 {
            let (front, back) = (window[at + 1], window[WINDOW - 1 - at]);
            even[at] = (front + back) * self.hann[at];
            odd[at] = (front - back) * self.hann[at];
        }
        even[HALF - 1] = window[HALF];
        // (a+b)² + (a−b)² counts each pair twice; the sample that stands alone is one of 320.
        let total = (dot(&even, &even) + dot(&odd, &odd)) / 2.0;
        let (mut power, mut moment) = (0.0, 0.0);
        for (ix, (cosines, sines)) in (BIN_FIRST..).zip(self.cosines.iter().zip(&self.sines)) {
            let (re, im) = (dot(&even, cosines), dot(&odd, sines));
            let bin = re * re + im * im;
            power += bin;
            moment += bin * f32::from(ix) * BIN_HZ;
        }
        // Parseval: all 320 bins together have 320 times the energy; half of them mirror.
        let share = 2.0 * power / (WINDOW as f32 * total.max(1e-12));
        let lagged = dot(&window[1..], &window[..WINDOW - 1]);
        Look {
            level_db,
            tone_hz: (share > SHARE_MIN).then(|| moment / power),
            voiced: lagged > VOICED * dot(window, window),
        }
    }
}

/// Sum of products in eight lanes, always in the same order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// A sound that is over.
#[derive(Debug, Clone, Copy, Default)]
struct Sound {
    ms: u32,
    /// Of the pause behind it; 0 until that is over.
    pause_ms: u32,
    tone: bool,
    hz: f32,
    level_db: f32,
}

impl Sound {
    fn same_tone(&self, other: &Self) -> bool {
        self.tone
            && other.tone
            && (self.hz - other.hz).abs() < SAME_HZ
            && (self.level_db - other.level_db).abs() < SAME_DB
    }
}

/// The sound that is going on.
#[derive(Debug, Clone, Copy, Default)]
struct Running {
    blocks: u32,
    /// The last looks: the newest may have a part of the pause behind, so they count later.
    looks: [Look; SPAN as usize],
    tones: u32,
    others: u32,
    level_db: f32,
    /// Mean and sum of squared deviations of the centre (Welford).
    hz: f32,
    deviation: f32,
}

impl Running {
    /// Takes a look and gives back that which is surely inside the sound.
    fn push(&mut self, look: Look) -> Option<Look> {
        self.blocks = self.blocks.saturating_add(1);
        // The oldest goes out, the newest takes its place at the end.
        self.looks.rotate_left(1);
        let inside = std::mem::replace(&mut self.looks[SPAN as usize - 1], look);
        (self.blocks >= 2 * SPAN).then_some(inside)
    }

    fn count(&mut self, look: Look) {
        let Some(hz) = look.tone_hz else {
            self.others = self.others.saturating_add(1);
            return;
        };
        self.tones = self.tones.saturating_add(1);
        let off = hz - self.hz;
        self.hz += off / self.tones as f32;
        self.deviation += off * (hz - self.hz);
        self.level_db += (look.level_db - self.level_db) / self.tones as f32;
    }

    fn is_tone(&self) -> bool {
        let all = self.tones.saturating_add(self.others);
        let wander = self.deviation / self.tones.max(1) as f32;
        self.tones > 0
            && u64::from(self.tones) * 100 >= u64::from(all) * u64::from(TONE_PERCENT)
            && wander < WANDER_HZ_MAX * WANDER_HZ_MAX
    }

    fn ms(&self) -> u32 {
        self.blocks.saturating_mul(BLOCK_MS).saturating_sub(BLUR_MS)
    }
}

/// Sounds and pauses, and what they mean.
#[derive(Debug, Clone, Default)]
struct Cadence {
    verdict: Progress,
    running: Running,
    pause_blocks: u32,
    /// The last two sounds, the latest first.
    last: [Sound; 2],
    voice_ms: u32,
    /// Tone since one was last understood.
    unknown_ms: u32,
}

impl Cadence {
    fn sound(&mut self, look: Look) {
        if self.pause_blocks > 0 {
            self.last[0].pause_ms = self.pause_ms();
            self.pause_blocks = 0;
            self.running = Running::default();
            self.repeat();
        }
        if let Some(look) = self.running.push(look) {
            self.running.count(look);
            self.hear_voice(look);
        }
        if self.running.ms() == OTHER_MS + 2 * CADENCE_MS && self.running.is_tone() {
            self.understand(Progress::OtherTone);
        }
    }

    fn pause(&mut self) {
        if self.pause_blocks == 0 {
            self.end_sound();
        }
        self.pause_blocks = self.pause_blocks.saturating_add(1);
        if self.pause_blocks.is_multiple_of(10) {
            self.voice_ms = self.voice_ms.saturating_sub(BLOCK_MS);
        }
        match self.pause_ms() {
            100 => self.ring(false),
            700 => self.ring_twice(),
            900 => self.ring(true),
            _ => {}
        }
        if self.pause_ms() >= self.silent_ms() {
            self.verdict = Progress::Silence;
            self.voice_ms = 0;
        }
    }

    fn forget_sound(&mut self) {
        self.running = Running::default();
    }

    fn pause_ms(&self) -> u32 {
        self.pause_blocks
            .saturating_mul(BLOCK_MS)
            .saturating_add(BLUR_MS)
    }

    const fn silent_ms(&self) -> u32 {
        match self.verdict {
            // A tone whose rhythm is not known yet.
            Progress::Nothing if self.unknown_ms > 0 => SILENT_TONE_MS,
            Progress::Nothing | Progress::Silence => SILENT_START_MS,
            Progress::SpeechOrMusic => SILENT_SPEECH_MS,
            Progress::RingingTone => SILENT_RINGING_MS,
            Progress::BusyTone | Progress::CongestionTone | Progress::OtherTone => SILENT_TONE_MS,
        }
    }

    fn end_sound(&mut self) {
        let running = std::mem::take(&mut self.running);
        if running.blocks == 0 {
            return;
        }
        let sound = Sound {
            ms: running.ms(),
            pause_ms: 0,
            tone: running.is_tone(),
            hz: running.hz,
            level_db: running.level_db,
        };
        self.last = [sound, self.last[0]];
        if !sound.tone {
            self.unknown_ms = 0;
            return;
        }
        self.unknown_ms = self.unknown_ms.saturating_add(sound.ms);
        // One long sound is understood at its end, by `ring`.
        if self.unknown_ms > OTHER_MS && sound.ms < 700 {
            self.understand(Progress::OtherTone);
        }
    }

    /// One long sound has ended: at once it is ringing, unless a melody may go on.
    fn ring(&mut self, sure: bool) {
        let [now, before] = self.last;
        let long = (700..=OTHER_MS).contains(&now.ms) && now.tone;
        let melody = matches!(self.verdict, Progress::SpeechOrMusic);
        // The last of some busy tones is followed by silence.
        let failed = matches!(self.verdict, Progress::BusyTone | Progress::CongestionTone);
        let last_busy = failed && now.same_tone(&before) && near(now.ms, before.ms);
        if long && !last_busy && (sure || (now.ms >= 900 && !melody)) {
            self.understand(Progress::RingingTone);
        }
    }

    fn ring_twice(&mut self) {
        let [now, before] = self.last;
        let both = [now.ms, before.ms]
            .iter()
            .all(|ms| (300..=600).contains(ms));
        if both && now.same_tone(&before) && (120..=320).contains(&before.pause_ms) {
            self.understand(Progress::RingingTone);
        }
    }

    /// A third sound begins: two cycles are known.
    fn repeat(&mut self) {
        let [now, before] = self.last;
        if !now.same_tone(&before) {
            return;
        }
        let on = (now.ms + before.ms) / 2;
        let off = (now.pause_ms / 2).saturating_add(before.pause_ms / 2);
        let even = near(now.ms, before.ms) && near(now.pause_ms, before.pause_ms);
        let cycle = [before.ms, before.pause_ms, now.ms, now.pause_ms];
        let like = |pattern: [u32; 4]| {
            let turned = [pattern[2], pattern[3], pattern[0], pattern[1]];
            let fits = |pattern: [u32; 4]| cycle.iter().zip(pattern).all(|(a, b)| near(*a, b));
            fits(pattern) || fits(turned)
        };
        if even && near(on, off) && (120..=850).contains(&on) {
            let fast = on <= 320;
            self.understand(if fast {
                Progress::CongestionTone
            } else {
                Progress::BusyTone
            });
        } else if like([400, 350, 225, 525]) || like([200, 200, 200, 600]) {
            self.understand(Progress::CongestionTone);
        }
    }

    fn understand(&mut self, verdict: Progress) {
        self.verdict = verdict;
        self.unknown_ms = 0;
        self.voice_ms = 0;
    }

    fn hear_voice(&mut self, look: Look) {
        if look.tone_hz.is_some() {
            self.voice_ms = self.voice_ms.saturating_sub(2 * BLOCK_MS);
        } else if look.voiced {
            self.voice_ms = (self.voice_ms + BLOCK_MS).min(VOICE_CHANGE_MS);
        }
        let needed = match self.verdict {
            Progress::Nothing | Progress::Silence => VOICE_MS,
            _ => VOICE_CHANGE_MS,
        };
        if self.voice_ms >= needed {
            self.verdict = Progress::SpeechOrMusic;
        }
    }
}

fn near(a_ms: u32, b_ms: u32) -> bool {
    a_ms.abs_diff(b_ms) <= CADENCE_MS
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals within their ranges"
)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::audio::g711;
    use crate::audio::tone::{FULL_SCALE_DBM0, ToneGenerator, ToneKind, TonePlan, countries};
    use proptest::prelude::*;

    const RATE: usize = 8_000;

    fn play(plan: TonePlan, rate_hz: usize, ms: usize) -> Vec<i16> {
        let mut pcm = vec![0; ms * rate_hz / 1_000];
        ToneGenerator::new(plan, rate_hz as u32)
            .unwrap()
            .fill(&mut pcm);
        pcm
    }

    fn tone(text: &str, ms: usize) -> Vec<i16> {
        play(TonePlan::parse(text).unwrap(), RATE, ms)
    }

    fn add_noise(pcm: &mut [i16], dbm0: f64, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rms = 32_768.0 / 2f64.sqrt() * 10f64.powf((dbm0 - FULL_SCALE_DBM0) / 20.0);
        for sample in pcm {
            // Twelve uniform numbers make a good enough normal one.
            let normal: f64 = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
            *sample = (f64::from(*sample) + rms * normal).round() as i16;
        }
    }

    fn through_g711(pcm: &mut [i16], mu: bool) {
        for sample in pcm {
            *sample = if mu {
                g711::ulaw_to_linear(g711::linear_to_ulaw(*sample))
            } else {
                g711::alaw_to_linear(g711::linear_to_alaw(*sample))
            };
        }
    }

    /// Verdicts in the order they were given, with the time each began.
    fn listen(pcm: &[i16], rate_hz: usize) -> Vec<(usize, Progress)> {
        let mut detector = ProgressDetector::new(rate_hz as u32).unwrap();
        let mut verdicts = vec![(0, Progress::Nothing)];
        for (n, frame) in pcm.chunks(rate_hz / 50).enumerate() {
            let now = detector.update(frame);
            if verdicts.last().unwrap().1 != now {
                verdicts.push(((n + 1) * 20, now));
            }
        }
        verdicts
    }

    fn only(pcm: &[i16]) -> Vec<Progress> {
        listen(pcm, RATE)
            .into_iter()
            .map(|(_, verdict)| verdict)
            .collect()
    }

    /// What a plan sounds like to somebody who does not know the country.
    fn meaning(country: &str, kind: ToneKind) -> Progress {
        match (country, kind) {
            (_, ToneKind::Dial) => Progress::OtherTone,
            (_, ToneKind::Ringback) => Progress::RingingTone,
            ("es", ToneKind::Busy) => Progress::CongestionTone,
            ("au" | "jp" | "cn", ToneKind::Congestion) => Progress::BusyTone,
            (_, ToneKind::Busy) => Progress::BusyTone,
            (_, ToneKind::Congestion) => Progress::CongestionTone,
        }
    }

    /// Each distinct plan once.
    fn plans() -> Vec<(String, TonePlan, Progress)> {
        let mut plans = BTreeMap::new();
        for country in countries() {
            for kind in ToneKind::ALL {
                let plan = TonePlan::named(country, kind).unwrap();
                let key = format!("{:?}", plan.clone().with_level(0.0));
                let name = format!("{country}-{}", kind.name());
                plans
                    .entry(key)
                    .or_insert_with(|| (name, plan, meaning(country, kind)));
            }
        }
        plans.into_values().collect()
    }

    fn every_plan_is_recognised(mu: bool, dbm0: f32, snr_db: Option<f64>, rate_hz: usize) {
        for (seed, (name, plan, expected)) in plans().into_iter().enumerate() {
            let mut pcm = vec![0; 300 * rate_hz / 1_000];
            pcm.extend(play(plan.with_level(dbm0), rate_hz, 7_700));
            if let Some(snr_db) = snr_db {
                add_noise(&mut pcm, f64::from(dbm0) - snr_db, seed as u64);
            }
            through_g711(&mut pcm, mu);
            let verdicts = listen(&pcm, rate_hz);
            let (at, last) = *verdicts.last().unwrap();
            assert_eq!(last, expected, "{name}: {verdicts:?}");
            assert_eq!(verdicts.len(), 2, "{name}: {verdicts:?}");
            let limit = match expected {
                Progress::RingingTone => 2_500,
                Progress::OtherTone => 8_000,
                _ => 3_600,
            };
            assert!(at <= limit, "{name}: {verdicts:?}");
        }
    }

    #[test]
    fn every_plan_through_mu_law_loud_in_noise() {
        every_plan_is_recognised(true, -10.0, Some(30.0), RATE);
    }

    #[test]
    fn every_plan_through_a_law_weak() {
        every_plan_is_recognised(false, -35.0, None, RATE);
    }

    #[test]
    fn every_plan_through_mu_law_weak_in_noise() {
        every_plan_is_recognised(true, -35.0, Some(30.0), RATE);
    }

    #[test]
    fn every_plan_at_sixteen_kilohertz() {
        every_plan_is_recognised(false, -20.0, Some(30.0), 2 * RATE);
    }

    /// A voice: a pulse train of wandering pitch through three resonators whose vowels change.
    fn voice(seed: u64, ms: usize, pitch_hz: f64) -> Vec<i16> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let vowels = [
            [730.0, 1_090.0, 2_440.0],
            [270.0, 2_290.0, 3_010.0],
            [300.0, 870.0, 2_240.0],
            [530.0, 1_840.0, 2_480.0],
        ];
        let (mut state, mut phase, mut pcm) = ([[0.0; 2]; 3], 0.0, Vec::new());
        while pcm.len() < ms * RATE / 1_000 {
            let vowel = vowels[rng.usize(0..4)];
            let (len, pause) = (rng.usize(900..2_400), rng.usize(100..1_600));
            let (from, to) = (0.85 + 0.3 * rng.f64(), 0.8 + 0.3 * rng.f64());
            for n in 0..len + pause {
                let part = n as f64 / len as f64;
                phase += pitch_hz * (from + (to - from) * part) / RATE as f64;
                let open = if n < len { (PI * part).sin() } else { 0.0 };
                let mut x = if phase >= 1.0 { open } else { 0.0 };
                phase = phase.fract();
                for (y, hz) in state.iter_mut().zip(vowel) {
                    let (r, w) = (0.97, 2.0 * PI * hz / RATE as f64);
                    let out = x + 2.0 * r * w.cos() * y[0] - r * r * y[1];
                    *y = [out, y[0]];
                    x = out;
                }
                pcm.push(x);
            }
        }
        let peak = pcm.iter().fold(0f64, |peak, x| peak.max(x.abs()));
        pcm.iter().map(|x| (x / peak * 16_000.0) as i16).collect()
    }

    /// Struck strings: a melody with chords, six harmonics each.
    fn music(ms: usize) -> Vec<i16> {
        let melody = [262.0, 330.0, 392.0, 523.0, 440.0, 349.0, 294.0, 392.0];
        (0..ms * RATE / 1_000)
            .map(|n| {
                let (note, t) = (n / 2_400, (n % 2_400) as f64 / RATE as f64);
                let chord = [melody[note % 8], melody[(note / 4) % 8] / 2.0];
                let sum: f64 = chord
                    .iter()
                    .flat_map(|hz| (1..=6).map(move |k| (hz * f64::from(k), f64::from(k))))
                    .map(|(hz, k)| (2.0 * PI * hz * t).sin() / k * (-3.0 * t * k.sqrt()).exp())
                    .sum();
                (sum * 5_000.0) as i16
            })
            .collect()
    }

    #[test]
    fn voices_and_music_are_neither_tone_nor_silence() {
        for (seed, pitch_hz) in [(1, 95.0), (2, 130.0), (3, 190.0), (4, 230.0), (5, 300.0)] {
            let mut pcm = voice(seed, 20_000, pitch_hz);
            through_g711(&mut pcm, seed % 2 == 0);
            let verdicts = listen(&pcm, RATE);
            assert_eq!(verdicts.len(), 2, "{pitch_hz} Hz: {verdicts:?}");
            assert_eq!(verdicts[1].1, Progress::SpeechOrMusic);
            assert!(verdicts[1].0 < 3_000, "{pitch_hz} Hz: {verdicts:?}");
        }
        assert_eq!(
            only(&music(20_000)),
            [Progress::Nothing, Progress::SpeechOrMusic]
        );
    }

    #[test]
    fn silence_and_line_noise_are_not_speech() {
        assert_eq!(only(&[0; 5 * RATE]), [Progress::Nothing, Progress::Silence]);
        assert_eq!(only(&[0; 900 * RATE / 1_000]), [Progress::Nothing]);
        for dbm0 in [-60.0, -45.0, -30.0] {
            let mut pcm = vec![0; 10 * RATE];
            add_noise(&mut pcm, dbm0, 3);
            assert!(!only(&pcm).contains(&Progress::SpeechOrMusic), "{dbm0}");
        }
    }

    #[test]
    fn what_changes_is_followed() {
        let quiet = vec![0; RATE];
        let ring = tone("in-ringback@-15", 8_000);
        let answer = voice(9, 4_000, 120.0);
        let pcm = [&ring[..], &answer, &quiet, &tone("in-busy", 6_000)].concat();
        let verdicts = listen(&pcm, RATE);
        let order: Vec<_> = verdicts.iter().map(|v| v.1).collect();
        use Progress::*;
        assert_eq!(
            order,
            [Nothing, RingingTone, SpeechOrMusic, BusyTone],
            "{verdicts:?}"
        );
        assert!((8_000..9_500).contains(&verdicts[2].0), "{verdicts:?}");
        let pcm = [&tone("de-busy", 4_000)[..], &[0; 5 * RATE]].concat();
        assert_eq!(only(&pcm), [Nothing, BusyTone, Silence]);
        let pcm = [&tone("in-busy", 4_000)[..], &[0; 5 * RATE]].concat();
        assert_eq!(only(&pcm), [Nothing, BusyTone, Silence]);
        let pcm = [&tone("us-ringback", 5_000)[..], &[0; 10 * RATE]].concat();
        assert_eq!(only(&pcm), [Nothing, RingingTone, Silence]);
    }

    #[test]
    fn a_tone_is_recognised_wherever_one_comes_in() {
        for offset_ms in (0..3_000).step_by(250) {
            for (name, expected) in [
                ("in-ringback", Progress::RingingTone),
                ("in-busy", Progress::BusyTone),
                ("gb-congestion", Progress::CongestionTone),
            ] {
                let mut generator =
                    ToneGenerator::new(TonePlan::parse(name).unwrap(), RATE as u32).unwrap();
                generator.seek_ms(offset_ms);
                let mut pcm = vec![0; 7 * RATE];
                generator.fill(&mut pcm);
                let verdicts = only(&pcm);
                assert_eq!(
                    verdicts.last(),
                    Some(&expected),
                    "{name} {offset_ms}: {verdicts:?}"
                );
                let tones = verdicts
                    .iter()
                    .filter(|v| !matches!(v, Progress::Silence))
                    .count();
                assert_eq!(tones, 2, "{name} {offset_ms}: {verdicts:?}");
            }
        }
    }

    #[test]
    fn other_rates_are_refused() {
        assert!(ProgressDetector::new(48_000).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn frame_borders_change_nothing(cuts in prop::collection::vec(0..700usize, 1..60)) {
            for rate in [RATE, 2 * RATE] {
                let plan = TonePlan::parse("us-congestion").unwrap();
                let pcm = play(plan, rate, 1_800);
                let mut whole = ProgressDetector::new(rate as u32).unwrap();
                whole.update(&pcm);
                let mut cut = ProgressDetector::new(rate as u32).unwrap();
                let mut rest = &pcm[..];
                for len in &cuts {
                    let (now, later) = rest.split_at((*len).min(rest.len()));
                    cut.update(now);
                    rest = later;
                }
                cut.update(rest);
                prop_assert_eq!(whole.progress(), Progress::CongestionTone);
                prop_assert_eq!(format!("{:?}", whole.cadence), format!("{:?}", cut.cadence));
            }
        }
    }
}
