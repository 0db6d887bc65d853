//! Call-progress tones: plans by country (facts of ITU-T E.180 Supplement 2), free-form plans, and
//! a generator.
//!
//! A plan in text is a name or a list of steps, then options:
//!
//! ```text
//! plan   = (name / steps) ["@" level] ["!"]
//! name   = "silence" / "beep" / "sit" / [country "-"] kind     ; in-ringback, us-busy, dial
//! kind   = "dial" / "ringback" / "busy" / "congestion"         ; without a country: India's
//! steps  = step *("," step)
//! step   = sound *("/" ms)         ; on, off, on, off, ...; without times: for ever
//! sound  = "0" / hz *("+" hz) / hz "*" hz                      ; silence, sum, modulation
//! level  = -60 to 0, dBm0 of the whole sound                   ; default -13
//! "!"    = once; else the steps repeat for ever
//! ```
//!
//! `400*25/400/200/400/2000` is the Indian (and British) double ring, `950/330,1400/330,1800/330!`
//! the special information tone once.

use std::f64::consts::PI;
use std::sync::{Arc, OnceLock};

use super::resample::RATES_HZ;
use crate::wire::event::Digit;

/// Longest plan in text, in octets.
pub const PLAN_TEXT_MAX: usize = 256;
/// Most pieces of sound and silence in a plan.
pub const STEPS_MAX: usize = 32;
/// Most frequencies that sound at once.
pub const FREQUENCIES_MAX: usize = 4;
/// Lowest frequency in Hz; below it nothing passes a telephone, but modulation needs it.
pub const FREQUENCY_HZ_MIN: u32 = 10;
/// Highest frequency in Hz, below half of the lowest rate.
pub const FREQUENCY_HZ_MAX: u32 = 3_800;
/// Shortest step, in milliseconds: a rise and a fall.
pub const STEP_MS_MIN: u32 = 10;
/// Longest step that is not endless, in milliseconds.
pub const STEP_MS_MAX: u32 = 600_000;
/// Weakest level of a plan, in dBm0.
pub const LEVEL_DBM0_MIN: i32 = -60;
/// Level of a plan that does not say, in dBm0: inside the −10 ± 5 dBm0 of E.180, and two of them
/// do not overload.
pub const LEVEL_DBM0_DEFAULT: i32 = -13;

/// Level of a full-scale sine in dBm0, G.711 §4 (A-law; µ-law has 3.17).
#[allow(clippy::approx_constant, reason = "a level, not the number pi")]
pub const FULL_SCALE_DBM0: f64 = 3.14;
/// Rise and fall of every sound: long enough not to click, short beside any cadence.
const RAMP_US: u32 = 4_000;
/// Depth of modulation; networks differ between 0.8 and 1.
const MODULATION: f32 = 0.9;
/// Country of a kind without one.
const COUNTRY_DEFAULT: &str = "in";

/// What a tone tells the caller, ITU-T E.180 §1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToneKind {
    /// "Dial now."
    Dial,
    /// The called phone rings.
    Ringback,
    /// The called party is busy.
    Busy,
    /// The network cannot complete the call (fast busy, reorder).
    Congestion,
}

impl ToneKind {
    /// In the order of the standard.
    pub const ALL: [Self; 4] = [Self::Dial, Self::Ringback, Self::Busy, Self::Congestion];

    /// As plans in text spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dial => "dial",
            Self::Ringback => "ringback",
            Self::Busy => "busy",
            Self::Congestion => "congestion",
        }
    }
}

/// Countries with plans of their own, ISO 3166-1 codes in lower case.
pub fn countries() -> impl Iterator<Item = &'static str> {
    COUNTRIES.iter().map(|(country, _)| *country)
}

/// Which sounds, how long, how loud. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct TonePlan {
    steps: Arc<[Step]>,
    level_dbm0: f32,
    once: bool,
}

impl TonePlan {
    /// Reads a plan from text, see the module.
    ///
    /// # Errors
    /// Which rule is broken, and at which octet.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        if text.len() > PLAN_TEXT_MAX {
            return Err(PlanRule::TooLong.at(PLAN_TEXT_MAX));
        }
        let end = text.find(['@', '!']).unwrap_or(text.len());
        let (body, options) = (&text[..end], end);
        let mut plan = if body.starts_with(|first: char| first.is_ascii_alphabetic()) {
            Self::by_name(body).ok_or(PlanRule::UnknownName.at(0))?
        } else {
            Self {
                steps: Cursor::new(body, 0).steps()?.into(),
                level_dbm0: level(LEVEL_DBM0_DEFAULT),
                once: false,
            }
        };
        Cursor::new(text, options).options(&mut plan)?;
        Ok(plan)
    }

    /// The plan of a country (ISO 3166-1, lower case); `None` for a country without one.
    #[must_use]
    pub fn named(country: &str, kind: ToneKind) -> Option<Self> {
        let (_, plans) = COUNTRIES.iter().find(|(name, _)| *name == country)?;
        let plan = plans[ToneKind::ALL.iter().position(|other| *other == kind)?];
        Some(Self::parse(plan).expect("every plan of the table is parsed by a test"))
    }

    /// The same plan at another level in dBm0, clamped to −60 to 0.
    #[must_use]
    pub fn with_level(mut self, dbm0: f32) -> Self {
        self.level_dbm0 = dbm0.max(level(LEVEL_DBM0_MIN)).min(0.0);
        self
    }

    /// Level of the whole sound while it sounds, in dBm0.
    #[must_use]
    pub const fn level_dbm0(&self) -> f32 {
        self.level_dbm0
    }

    /// Length of all steps in milliseconds; `None` if the last one is endless.
    #[must_use]
    pub fn cycle_ms(&self) -> Option<u64> {
        self.steps.iter().map(|step| step.ms.map(u64::from)).sum()
    }

    /// Whether the plan ends after one cycle.
    #[must_use]
    pub const fn is_once(&self) -> bool {
        self.once
    }

    fn by_name(name: &str) -> Option<Self> {
        match name {
            "silence" => return Self::parse("0").ok(),
            "beep" => return Self::parse("1000/200!").ok(),
            "sit" => return Self::parse("950/330,1400/330,1800/330,0/1000").ok(),
            _ => {}
        }
        let (country, kind) = name.split_once('-').unwrap_or((COUNTRY_DEFAULT, name));
        let kind = ToneKind::ALL
            .into_iter()
            .find(|known| known.name() == kind)?;
        Self::named(country, kind)
    }
}

/// One piece of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    sound: Sound,
    /// `None`: for ever.
    ms: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sound {
    Silence,
    /// Equal parts; unused places are 0.
    Sum([u32; FREQUENCIES_MAX]),
    Modulated {
        carrier_hz: u32,
        by_hz: u32,
    },
}

/// Why a plan in text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tone plan, octet {at}: {rule}")]
pub struct PlanError {
    /// Octet of the text, from 0.
    pub at: usize,
    /// What is wrong there.
    pub rule: PlanRule,
}

/// Rules of a plan in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanRule {
    /// See [`PLAN_TEXT_MAX`].
    #[error("longer than 256 octets")]
    TooLong,
    /// See [`STEPS_MAX`].
    #[error("more than 32 steps")]
    TooManySteps,
    /// See [`FREQUENCIES_MAX`].
    #[error("more than 4 frequencies at once")]
    TooManyFrequencies,
    /// Neither a kind, nor a country and a kind.
    #[error("no tone of this name")]
    UnknownName,
    /// Something else stands where digits must.
    #[error("a number is expected")]
    Number,
    /// See [`FREQUENCY_HZ_MIN`] and [`FREQUENCY_HZ_MAX`].
    #[error("a frequency must be 10 to 3800 Hz")]
    Frequency,
    /// See [`STEP_MS_MIN`] and [`STEP_MS_MAX`].
    #[error("a duration must be 10 to 600000 ms")]
    Duration,
    /// See [`LEVEL_DBM0_MIN`].
    #[error("a level must be -60 to 0 dBm0")]
    Level,
    /// A sound without durations lasts for ever, so nothing may follow it.
    #[error("what follows an endless sound is never heard")]
    AfterEndless,
    /// Something follows that the grammar does not have here.
    #[error("unexpected character")]
    Unexpected,
}

impl PlanRule {
    const fn at(self, at: usize) -> PlanError {
        PlanError { at, rule: self }
    }
}

/// Reads a plan from left to right.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn new(text: &'a str, at: usize) -> Self {
        Self {
            text: text.as_bytes(),
            at,
        }
    }

    fn steps(mut self) -> Result<Vec<Step>, PlanError> {
        let mut steps = Vec::new();
        loop {
            self.step(&mut steps)?;
            if self.at == self.text.len() {
                return Ok(steps);
            }
            let comma = self.at;
            if !self.take(b',') {
                return Err(PlanRule::Unexpected.at(self.at));
            }
            if steps.last().is_some_and(|step| step.ms.is_none()) {
                return Err(PlanRule::AfterEndless.at(comma));
            }
        }
    }

    fn step(&mut self, steps: &mut Vec<Step>) -> Result<(), PlanError> {
        let start = self.at;
        let sound = self.sound()?;
        let mut count = 0;
        while self.take(b'/') {
            let at = self.at;
            let ms = self.number(STEP_MS_MIN..=STEP_MS_MAX, PlanRule::Duration)?;
            let sound = if count % 2 == 0 {
                sound
            } else {
                Sound::Silence
            };
            push(
                steps,
                Step {
                    sound,
                    ms: Some(ms),
                },
                at,
            )?;
            count += 1;
        }
        if count == 0 {
            push(steps, Step { sound, ms: None }, start)?;
        }
        Ok(())
    }

    fn sound(&mut self) -> Result<Sound, PlanError> {
        if self.text.get(self.at) == Some(&b'0') && !self.digit_at(self.at + 1) {
            self.at += 1;
            return Ok(Sound::Silence);
        }
        let mut hz = [self.frequency()?, 0, 0, 0];
        if self.take(b'*') {
            let (carrier_hz, by_hz) = (hz[0], self.frequency()?);
            return Ok(Sound::Modulated { carrier_hz, by_hz });
        }
        let mut count = 1;
        while self.take(b'+') {
            let at = self.at;
            let next = self.frequency()?;
            *hz.get_mut(count)
                .ok_or_else(|| PlanRule::TooManyFrequencies.at(at))? = next;
            count += 1;
        }
        Ok(Sound::Sum(hz))
    }

    fn frequency(&mut self) -> Result<u32, PlanError> {
        self.number(FREQUENCY_HZ_MIN..=FREQUENCY_HZ_MAX, PlanRule::Frequency)
    }

    fn options(&mut self, plan: &mut TonePlan) -> Result<(), PlanError> {
        if self.take(b'@') {
            let at = self.at;
            let negative = self.take(b'-');
            let range = 0..=LEVEL_DBM0_MIN.unsigned_abs();
            let value = self.number(range, PlanRule::Level)?.cast_signed();
            if !negative && value != 0 {
                return Err(PlanRule::Level.at(at));
            }
            plan.level_dbm0 = level(-value);
        }
        if self.take(b'!') {
            plan.once = true;
        }
        if self.at < self.text.len() {
            return Err(PlanRule::Unexpected.at(self.at));
        }
        Ok(())
    }

    /// A decimal number in a range; `rule` is what another number breaks.
    fn number(
        &mut self,
        range: std::ops::RangeInclusive<u32>,
        rule: PlanRule,
    ) -> Result<u32, PlanError> {
        let start = self.at;
        let mut value = 0u32;
        while self.digit_at(self.at) {
            let digit = u32::from(self.text[self.at] - b'0');
            value = value.saturating_mul(10).saturating_add(digit);
            self.at += 1;
        }
        if start == self.at {
            return Err(PlanRule::Number.at(start));
        }
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(rule.at(start))
        }
    }

    fn digit_at(&self, at: usize) -> bool {
        self.text.get(at).is_some_and(u8::is_ascii_digit)
    }

    fn take(&mut self, octet: u8) -> bool {
        let found = self.text.get(self.at) == Some(&octet);
        self.at += usize::from(found);
        found
    }
}

fn push(steps: &mut Vec<Step>, step: Step, at: usize) -> Result<(), PlanError> {
    if steps.len() == STEPS_MAX {
        return Err(PlanRule::TooManySteps.at(at));
    }
    steps.push(step);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "two digits")]
const fn level(dbm0: i32) -> f32 {
    dbm0 as f32
}

/// Plays a plan. Phases run on through pauses and frame borders, sounds rise and fall in 4 ms.
#[derive(Debug, Clone)]
pub struct ToneGenerator {
    plan: TonePlan,
    rate_hz: u32,
    step: usize,
    /// Samples of the step already played.
    played: u64,
    /// All samples so far; only phases depend on it, so it may wrap.
    clock: u32,
    finished: bool,
}

impl ToneGenerator {
    /// At the start of the plan; `None` unless the rate is one of [`RATES_HZ`].
    #[must_use]
    pub fn new(plan: TonePlan, rate_hz: u32) -> Option<Self> {
        sine_table();
        RATES_HZ.contains(&rate_hz).then_some(Self {
            plan,
            rate_hz,
            step: 0,
            played: 0,
            clock: 0,
            finished: false,
        })
    }

    /// Goes to where the plan is so many milliseconds after its start.
    pub fn seek_ms(&mut self, ms: u64) {
        (self.step, self.played, self.finished) = (0, 0, false);
        self.clock = low_word(ms.wrapping_mul(u64::from(self.rate_hz / 1_000)));
        let mut left = match self.plan.cycle_ms() {
            Some(cycle) if self.plan.once && ms >= cycle => {
                self.finished = true;
                return;
            }
            Some(cycle) => ms % cycle,
            None => ms,
        };
        while let Some(ms) = self.plan.steps[self.step].ms.map(u64::from) {
            if left < ms {
                break;
            }
            left -= ms;
            self.step += 1;
        }
        self.played = left.saturating_mul(u64::from(self.rate_hz / 1_000));
    }

    /// Whether a plan that plays once is over; the rest is silence.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Writes the next samples. Allocates nothing; about 10 ns per sample of two frequencies.
    pub fn fill(&mut self, mut out: &mut [i16]) {
        while !out.is_empty() {
            if self.finished {
                out.fill(0);
                return;
            }
            let step = self.plan.steps[self.step];
            let len = step
                .ms
                .map(|ms| u64::from(ms) * u64::from(self.rate_hz / 1_000));
            let left = len.map_or(u64::MAX, |len| len - self.played);
            let count = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
            let (now, later) = out.split_at_mut(count);
            self.render(step.sound, len, now);
            self.clock = self.clock.wrapping_add(low_word(count as u64));
            self.played = self.played.saturating_add(count as u64);
            if Some(self.played) == len {
                self.advance();
            }
            out = later;
        }
    }

    fn advance(&mut self) {
        self.played = 0;
        self.step += 1;
        if self.step == self.plan.steps.len() {
            self.step = 0;
            self.finished = self.plan.once;
        }
    }

    fn render(&self, sound: Sound, len: Option<u64>, out: &mut [i16]) {
        let level = self.plan.level_dbm0;
        match sound {
            Sound::Silence => out.fill(0),
            Sound::Sum(hz) => {
                let steps = hz.map(|hz| self.phase_step(hz));
                let count = hz.iter().filter(|hz| **hz != 0).count();
                let steps = &steps[..count];
                let amplitude = amplitude(level, 1.0 / count as f64);
                self.shape(len, out, |clock| {
                    let sum: f32 = steps
                        .iter()
                        .map(|step| sine(clock.wrapping_mul(*step)))
                        .sum();
                    amplitude * sum
                });
            }
            Sound::Modulated { carrier_hz, by_hz } => {
                let (carrier, by) = (self.phase_step(carrier_hz), self.phase_step(by_hz));
                let depth = f64::from(MODULATION);
                let amplitude = amplitude(level, 1.0 / (1.0 + depth * depth / 2.0));
                self.shape(len, out, |clock| {
                    let envelope = 1.0 + MODULATION * sine(clock.wrapping_mul(by));
                    amplitude * envelope * sine(clock.wrapping_mul(carrier))
                });
            }
        }
    }

    fn shape(&self, len: Option<u64>, out: &mut [i16], wave: impl Fn(u32) -> f32) {
        let edges = Edges {
            ramp: ramp_samples(self.rate_hz),
            len,
            played: self.played,
        };
        edges.shape(self.clock, out, wave);
    }

    /// Advance of a phase per sample, in 2⁻³² turns.
    fn phase_step(&self, hz: u32) -> u32 {
        phase_step(hz, self.rate_hz)
    }
}

/// Frequencies of the rows of keys in Hz (ITU-T Q.23): 123A, 456B, 789C, *0#D.
pub const KEY_ROWS_HZ: [u32; 4] = [697, 770, 852, 941];

/// Frequencies of their columns in Hz: 147*, 2580, 369#, ABCD.
pub const KEY_COLUMNS_HZ: [u32; 4] = [1_209, 1_336, 1_477, 1_633];

/// Row and column of the keys in the order of their codes, as on the pad.
const KEY_PLACES: [(usize, usize); 16] = {
    let mut places = [(0, 0); 16];
    let pad = *b"123A456B789C*0#D";
    let codes = *b"0123456789*#ABCD";
    let mut code = 0;
    while code < 16 {
        let mut at = 0;
        while pad[at] != codes[code] {
            at += 1;
        }
        places[code] = (at / 4, at % 4);
        code += 1;
    }
    places
};

/// Both frequencies of a key in Hz, the low one first.
#[must_use]
pub const fn key_hz(digit: Digit) -> [u32; 2] {
    let (row, column) = KEY_PLACES[digit.index()];
    [KEY_ROWS_HZ[row], KEY_COLUMNS_HZ[column]]
}

/// The two tones of a key (ITU-T Q.23): equally strong, in the middle of the twist that receivers
/// accept. They rise and fall as the sounds of a plan do, within the duration.
#[derive(Debug, Clone)]
pub struct KeyTone {
    digit: Digit,
    steps: [u32; 2],
    /// Peak of each.
    amplitude: f32,
    rate_hz: u32,
    /// Samples so far.
    played: u64,
    /// Samples in all, once that is known.
    len: Option<u64>,
}

impl KeyTone {
    /// A key that goes down, at a level in dBm0 of both tones together (clamped to −63 to 0), for
    /// so many samples if that is known. `None` unless the rate is one of [`RATES_HZ`].
    #[must_use]
    pub fn new(digit: Digit, level_dbm0: f32, rate_hz: u32, samples: Option<u64>) -> Option<Self> {
        sine_table();
        RATES_HZ.contains(&rate_hz).then(|| Self {
            digit,
            steps: key_hz(digit).map(|hz| phase_step(hz, rate_hz)),
            amplitude: amplitude(level_dbm0.clamp(-63.0, 0.0), 0.5),
            rate_hz,
            played: 0,
            len: samples,
        })
    }

    /// Samples that were played.
    #[must_use]
    pub const fn played(&self) -> u64 {
        self.played
    }

    /// Goes on at another of [`RATES_HZ`].
    pub fn set_rate(&mut self, rate_hz: u32) {
        let from_hz = std::mem::replace(&mut self.rate_hz, rate_hz);
        let scale = |samples: u64| samples * u64::from(rate_hz) / u64::from(from_hz.max(1));
        (self.played, self.len) = (scale(self.played), self.len.map(scale));
        self.steps = key_hz(self.digit).map(|hz| phase_step(hz, rate_hz));
    }

    /// Its length was not known: it is so many samples, or as many more as it takes to fall.
    pub fn release(&mut self, samples: u64) {
        if self.len.is_none() {
            self.len = Some(samples.max(self.played + ramp_samples(self.rate_hz)));
        }
    }

    /// It ends now, whatever was intended, but for its fall.
    pub fn cut(&mut self) {
        let least = self.played + ramp_samples(self.rate_hz);
        self.len = Some(self.len.map_or(least, |len| len.min(least)));
    }

    /// Writes the next samples and returns how many there were; fewer than asked: it has ended.
    /// Allocates nothing.
    pub fn fill(&mut self, out: &mut [i16]) -> usize {
        let left = self.len.map_or(u64::MAX, |len| len - self.played);
        let count = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
        let ([low, high], amplitude) = (self.steps, self.amplitude);
        let edges = Edges {
            ramp: ramp_samples(self.rate_hz),
            len: self.len,
            played: self.played,
        };
        edges.shape(low_word(self.played), &mut out[..count], |clock| {
            amplitude * (sine(clock.wrapping_mul(low)) + sine(clock.wrapping_mul(high)))
        });
        self.played += count as u64;
        count
    }
}

/// Samples of a rise or a fall.
const fn ramp_samples(rate_hz: u32) -> u64 {
    (RAMP_US / 1_000 * (rate_hz / 1_000)) as u64
}

/// Where in a sound samples are, and how its ends are bent.
struct Edges {
    ramp: u64,
    len: Option<u64>,
    played: u64,
}

impl Edges {
    /// Evaluates a wave and bends its ends.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "float to integer casts saturate"
    )]
    fn shape(&self, mut clock: u32, out: &mut [i16], wave: impl Fn(u32) -> f32) {
        let ramp = self.len.map_or(self.ramp, |len| self.ramp.min(len / 2));
        let mut at = self.played;
        for out in out {
            let to_end = self.len.map_or(u64::MAX, |len| len - 1 - at);
            let edge = at.min(to_end);
            let mut value = wave(clock);
            if edge < ramp {
                value *= rise(edge, ramp);
            }
            *out = value.round() as i16;
            clock = clock.wrapping_add(1);
            at = at.saturating_add(1);
        }
    }
}

/// Advance of a phase per sample, in 2⁻³² turns.
fn phase_step(hz: u32, rate_hz: u32) -> u32 {
    let (hz, rate) = (u64::from(hz), u64::from(rate_hz));
    low_word(((hz << 32) + rate / 2) / rate)
}

/// Peak of each component, given the total level and the component's share of its power.
#[allow(
    clippy::cast_possible_truncation,
    reason = "16 bits are all that is wanted"
)]
fn amplitude(level_dbm0: f32, share: f64) -> f32 {
    let full = 10f64.powf((f64::from(level_dbm0) - FULL_SCALE_DBM0) / 20.0);
    (32_768.0 * full * share.sqrt()) as f32
}

/// Half a cosine from 0 to 1 over `ramp` samples.
fn rise(at: u64, ramp: u64) -> f32 {
    let turn = ((at * 2 + 1) << 30) / ramp;
    let sine = sine(low_word(turn / 2));
    sine * sine
}

/// Sine of a phase in 2⁻³² turns, from a table with a line between entries: distortion −105 dB.
fn sine(phase: u32) -> f32 {
    const FRACTION_BITS: u32 = 22;
    let table = sine_table();
    let at = (phase >> FRACTION_BITS) as usize;
    let fraction = (phase & ((1 << FRACTION_BITS) - 1)) as f32 / (1u32 << FRACTION_BITS) as f32;
    table[at] + (table[at + 1] - table[at]) * fraction
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "24 bits are all that is wanted"
)]
fn sine_table() -> &'static [f32; 1_025] {
    static TABLE: OnceLock<[f32; 1_025]> = OnceLock::new();
    TABLE.get_or_init(|| std::array::from_fn(|ix| (2.0 * PI * ix as f64 / 1_024.0).sin() as f32))
}

#[allow(clippy::cast_possible_truncation, reason = "phases wrap at 32 bits")]
const fn low_word(x: u64) -> u32 {
    x as u32
}

/// Dial, ringback, busy and congestion tone by country. Cadences and frequencies after ITU-T
/// E.180 Supplement 2 ("Various tones used in national networks", 2003), as it is quoted by the
/// tone zones that PBXs ship; those of `ae` are in none of them and unchecked. North American
/// levels after its precise tone plan (−13, −19, −24 dBm0 each).
const COUNTRIES: [(&str, [&str; 4]); 17] = [
    (
        "in",
        [
            "400*25",
            "400*25/400/200/400/2000",
            "400/750/750",
            "400/250/250",
        ],
    ),
    (
        "us",
        [
            "350+440@-10",
            "440+480/2000/4000@-16",
            "480+620/500/500@-21",
            "480+620/250/250@-21",
        ],
    ),
    (
        "ca",
        [
            "350+440@-10",
            "440+480/2000/4000@-16",
            "480+620/500/500@-21",
            "480+620/250/250@-21",
        ],
    ),
    (
        "gb",
        [
            "350+440",
            "400+450/400/200/400/2000",
            "400/375/375",
            "400/400/350/225/525",
        ],
    ),
    ("de", ["425", "425/1000/4000", "425/480/480", "425/240/240"]),
    ("fr", ["440", "440/1500/3500", "440/500/500", "440/250/250"]),
    (
        "au",
        [
            "413+438",
            "413+438/400/200/400/2000",
            "425/375/375",
            "425/375/375",
        ],
    ),
    (
        "jp",
        ["400", "400*16/1000/2000", "400/500/500", "400/500/500"],
    ),
    (
        "sg",
        [
            "425",
            "425*24/400/200/400/2000",
            "425/750/750",
            "425/250/250",
        ],
    ),
    (
        "ae",
        [
            "350+440",
            "400+450/400/200/400/2000",
            "400/375/375",
            "400/400/350/225/525",
        ],
    ),
    (
        "it",
        [
            "425/200/200/600/1000",
            "425/1000/4000",
            "425/500/500",
            "425/200/200",
        ],
    ),
    (
        "es",
        [
            "425",
            "425/1500/3000",
            "425/200/200",
            "425/200/200/200/200/200/600",
        ],
    ),
    ("nl", ["425", "425/1000/4000", "425/500/500", "425/250/250"]),
    (
        "nz",
        [
            "400",
            "400+450/400/200/400/2000",
            "400/500/500",
            "400/250/250",
        ],
    ),
    (
        "hk",
        [
            "350+440",
            "440+480/400/200/400/3000",
            "480+620/500/500",
            "480+620/250/250",
        ],
    ),
    (
        "za",
        [
            "400*33",
            "400*33/400/200/400/2000",
            "400/500/500",
            "400/250/250",
        ],
    ),
    ("cn", ["450", "450/1000/4000", "450/350/350", "450/700/700"]),
];

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test values within their ranges"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> TonePlan {
        TonePlan::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> (usize, PlanRule) {
        let error = TonePlan::parse(text).expect_err(text);
        (error.at, error.rule)
    }

    fn play(text: &str, rate_hz: u32, ms: usize) -> Vec<i16> {
        let mut out = vec![77; ms * rate_hz as usize / 1_000];
        ToneGenerator::new(parse(text), rate_hz)
            .unwrap()
            .fill(&mut out);
        out
    }

    fn dbm0(pcm: &[i16]) -> f64 {
        let power: f64 = pcm.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / pcm.len() as f64;
        10.0 * (power * 2.0 / 32_768f64.powi(2)).log10() + FULL_SCALE_DBM0
    }

    /// Level in dBm0 of one frequency.
    fn at_hz(pcm: &[i16], rate_hz: u32, hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, x) in pcm.iter().enumerate() {
            let angle = 2.0 * PI * hz * n as f64 / f64::from(rate_hz);
            re += f64::from(*x) * angle.cos();
            im += f64::from(*x) * angle.sin();
        }
        let peak = (re * re + im * im).sqrt() * 2.0 / pcm.len() as f64;
        20.0 * (peak / 32_768.0).log10() + FULL_SCALE_DBM0
    }

    #[test]
    fn every_plan_of_the_table_is_well_formed_and_found_by_its_name() {
        assert_eq!(countries().next(), Some("in"));
        for country in countries() {
            for kind in ToneKind::ALL {
                let named = TonePlan::named(country, kind).unwrap();
                assert_eq!(parse(&format!("{country}-{}", kind.name())), named);
            }
        }
        assert_eq!(
            Some(parse("ringback")),
            TonePlan::named("in", ToneKind::Ringback)
        );
        assert_eq!(parse("in-ringback"), parse("400*25/400/200/400/2000"));
        assert_eq!(parse("us-ringback"), parse("440+480/2000/4000@-16"));
        assert_eq!(TonePlan::named("xx", ToneKind::Busy), None);
    }

    #[test]
    fn errors_say_what_and_where() {
        use PlanRule::*;
        for (text, at, rule) in [
            ("", 0, Number),
            ("nowhere-busy", 0, UnknownName),
            ("in-", 0, UnknownName),
            ("beeps", 0, UnknownName),
            ("9", 0, Frequency),
            ("400+3801", 4, Frequency),
            ("400*", 4, Number),
            ("400*25*3", 6, Unexpected),
            ("400/9", 4, Duration),
            ("400/600001", 4, Duration),
            ("400/250/", 8, Number),
            ("400/99999999999999999999", 4, Duration),
            ("400,500", 3, AfterEndless),
            ("400/100,", 8, Number),
            ("400/100 ", 7, Unexpected),
            ("400@-61", 5, Level),
            ("400@3", 4, Level),
            ("400@-", 5, Number),
            ("400!@-3", 4, Unexpected),
            ("1+2", 0, Frequency),
            ("400+é", 4, Number),
            ("100+200+300+400+500", 16, TooManyFrequencies),
        ] {
            assert_eq!(refused(text), (at, rule), "{text:?}");
        }
        let error = TonePlan::parse("400/9").unwrap_err().to_string();
        assert_eq!(
            error,
            "tone plan, octet 4: a duration must be 10 to 600000 ms"
        );
    }

    #[test]
    fn limits_hold_and_one_more_is_refused() {
        let steps = |count| format!("400{}", "/10".repeat(count));
        assert_eq!(parse(&steps(STEPS_MAX)).steps.len(), STEPS_MAX);
        assert_eq!(
            refused(&steps(STEPS_MAX + 1)),
            (100, PlanRule::TooManySteps)
        );
        let long = |len: usize| format!("400/{}10", "0".repeat(len - 6));
        assert_eq!(parse(&long(PLAN_TEXT_MAX)).cycle_ms(), Some(10));
        assert_eq!(refused(&long(PLAN_TEXT_MAX + 1)).1, PlanRule::TooLong);
        assert_eq!(parse("10+3800/10/600000@-60").steps.len(), 2);
        assert_eq!(parse("100+200+300+400").steps.len(), 1);
    }

    #[test]
    fn levels_and_frequencies_are_those_of_the_plan() {
        for rate in RATES_HZ {
            let sum = play("400+450@-13", rate, 1_100);
            let steady = &sum[rate as usize / 10..];
            assert!((dbm0(steady) + 13.0).abs() < 0.02);
            for hz in [400.0, 450.0] {
                assert!((at_hz(steady, rate, hz) + 16.01).abs() < 0.02);
            }
            let ring = play("400*25", rate, 1_100);
            let steady = &ring[rate as usize / 10..];
            assert!((dbm0(steady) + 13.0).abs() < 0.02);
            let (carrier, side) = (at_hz(steady, rate, 400.0), at_hz(steady, rate, 425.0));
            assert!((carrier - side - 6.94).abs() < 0.05, "{carrier} {side}");
            assert!(at_hz(steady, rate, 475.0) < -85.0);
        }
        let quiet = ToneGenerator::new(parse("1000").with_level(-99.0), 8_000).unwrap();
        let mut out = [0; 8_000];
        quiet.clone().fill(&mut out);
        assert!((dbm0(&out) + 60.0).abs() < 0.3);
    }

    #[test]
    fn cadence_is_exact_and_phase_runs_on_through_pauses() {
        let rate = 8_000;
        let out = play("in-ringback", rate, 6_000);
        for (n, x) in out.iter().enumerate() {
            let ms = n / 8 % 3_000;
            if (400..600).contains(&ms) || ms >= 1_000 {
                assert_eq!(*x, 0, "{n}");
            }
        }
        let loud = |from: usize, to: usize| dbm0(&out[from * 8..to * 8]) > -14.5;
        assert!(loud(0, 400) && loud(600, 1_000) && loud(3_000, 3_400) && loud(3_600, 4_000));
        // The same instant of an endless tone has the same sample.
        let (burst, endless) = (play("440/100/101", rate, 800), play("440", rate, 800));
        for n in [250 * 8, 260 * 8, 450 * 8, 660 * 8] {
            assert_eq!(burst[n], endless[n]);
        }
    }

    #[test]
    fn edges_do_not_click() {
        for (text, rate) in [("1000/50/50@0", 8_000), ("425/50/50@0", 48_000)] {
            let out = play(text, rate, 1_000);
            let ms = rate as usize / 1_000;
            let most = |part: &[i16]| {
                let steps = part
                    .windows(2)
                    .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs());
                steps.max().unwrap()
            };
            let usual = most(&out[20 * ms..30 * ms]);
            assert!(most(&out[49 * ms..51 * ms]) * 2 < usual, "{text}");
            assert!(most(&out[99 * ms..101 * ms]) * 2 < usual, "{text}");
            assert!(out[0].abs() < 400 && out[50 * ms - 1].abs() < 400);
        }
    }

    #[test]
    fn once_ends_and_the_rest_is_silence() {
        let mut beep = ToneGenerator::new(parse("beep"), 16_000).unwrap();
        let mut out = [1; 3_200];
        beep.fill(&mut out);
        assert!(beep.is_finished());
        out.fill(9);
        beep.fill(&mut out);
        assert_eq!(out, [0; 3_200]);
        assert!(play("silence", 8_000, 50).iter().all(|x| *x == 0));
        assert!(ToneGenerator::new(parse("beep"), 44_100).is_none());
    }

    proptest! {
        #[test]
        fn frame_borders_and_start_offsets_leave_no_trace(
            plan in prop::sample::select(vec![
                "in-ringback",
                "gb-congestion",
                "sit",
                "480+620/30/20,400*25/45/10,0/15!",
                "us-dial",
            ]),
            rate in prop::sample::select(RATES_HZ.to_vec()),
            start_ms in 0..7_000u64,
            cuts in prop::collection::vec(1..900usize, 1..20),
        ) {
            let per_ms = rate as usize / 1_000;
            let skip = start_ms as usize * per_ms;
            let len: usize = cuts.iter().sum();
            let mut whole = vec![0; skip + len];
            ToneGenerator::new(parse(plan), rate).unwrap().fill(&mut whole);
            let mut generator = ToneGenerator::new(parse(plan), rate).unwrap();
            generator.seek_ms(start_ms);
            let mut pieces = vec![0; len];
            let mut rest = &mut pieces[..];
            for cut in cuts {
                let (now, later) = rest.split_at_mut(cut);
                generator.fill(now);
                rest = later;
            }
            prop_assert_eq!(&whole[skip..], &pieces[..]);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9+*/,@!a-z-]{0,40}|.{0,40}") {
            if let Ok(plan) = TonePlan::parse(&text) {
                let mut generator = ToneGenerator::new(plan, 8_000).unwrap();
                generator.seek_ms(123_456_789);
                generator.fill(&mut [0; 500]);
            }
        }
    }
}
