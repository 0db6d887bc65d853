//! Gathering keys: a prompt, and the keys that its party presses upon it.
//!
//! The decisions are made here and not by an application, so that a key stops the prompt with the
//! next frame. [`Collector`] is the machine of one party: time, keys and the ends of prompts go in,
//! what to do comes out. It knows of no player and no packet.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use super::api::StreamIx;
use super::voice::{Item, Layer, PlayId, SEQUENCE_MAX};
use crate::audio::mix::Gain;
use crate::wire::event::{Digit, EventCode};

mod beat;
mod collector;
#[cfg(test)]
mod tests;

pub(super) use beat::Beat;
pub(super) use collector::{Collector, Step};

/// Most keys that one gathering collects.
pub const GATHER_DIGITS_MAX: usize = 64;

/// Most attempts of one gathering, each with a prompt of its own.
pub const GATHER_ATTEMPTS_MAX: usize = 8;

/// Longest that a gathering waits for a key.
pub const GATHER_WAIT_MAX: Duration = Duration::from_secs(600);

/// Longest that one attempt's prompt is played.
pub const GATHER_PROMPT_MAX: Duration = Duration::from_secs(600);

/// A key that is held down stops the clock between keys for so long, and no longer.
pub const GATHER_HELD_MAX: Duration = Duration::from_secs(10);

/// Most keys of a party that are kept for its next gathering: the latest.
pub const TYPE_AHEAD_MAX: usize = 64;

/// The player of a gathering's prompt.
pub const GATHER_PROMPT: PlayId = PlayId(u32::MAX - 1);

/// Name of a gathering, chosen by who begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherId(pub u64);

/// What to gather, and from whom.
#[derive(Debug)]
pub struct GatherConfig {
    /// Its name, which comes back with the result.
    pub id: GatherId,
    /// Whose keys. What was being gathered of it ends as cancelled.
    pub stream: StreamIx,
    /// When it is enough.
    pub rules: GatherRules,
    /// What is played to the party at each attempt, 1 to [`GATHER_ATTEMPTS_MAX`] of them; nothing
    /// at an empty one. At most [`SEQUENCE_MAX`] sounds each, and [`GATHER_PROMPT_MAX`] in all.
    pub prompts: SmallVec<[SmallVec<[Item; 1]>; 1]>,
    /// How loud prompts are.
    pub gain: Gain,
    /// What becomes meanwhile of what the party hears otherwise.
    pub layer: Layer,
}

/// Which keys count, and when there are enough of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherRules {
    /// Enough keys, 1 to [`GATHER_DIGITS_MAX`].
    pub digits_max: u8,
    /// Fewer are an invalid entry, at most `digits_max`.
    pub digits_min: u8,
    /// How long the first key may take, from the end of the prompt; at most [`GATHER_WAIT_MAX`].
    pub first_digit: Duration,
    /// How long each further key may take, from the moment the one before comes up; at most
    /// [`GATHER_WAIT_MAX`].
    pub inter_digit: Duration,
    /// Keys that end the entry.
    pub finish: Keys,
    /// The key that ended the entry belongs to it.
    pub keeps_finish: bool,
    /// Keys that may be pressed besides.
    pub accepted: Keys,
    /// What other keys do.
    pub others: OtherKeys,
    /// What was pressed before, since the last gathering, counts as pressed now.
    pub type_ahead: bool,
    /// What keys do while the prompt is played.
    pub at_prompt: AtPrompt,
}

/// One key, five seconds for it, and it stops the prompt.
impl Default for GatherRules {
    fn default() -> Self {
        Self {
            digits_max: 1,
            digits_min: 1,
            first_digit: Duration::from_secs(5),
            inter_digit: Duration::from_secs(3),
            finish: Keys::NONE,
            keeps_finish: false,
            accepted: Keys::ALL,
            others: OtherKeys::Ignored,
            type_ahead: false,
            at_prompt: AtPrompt::Stop,
        }
    }
}

/// What a key does that is neither accepted nor ends the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherKeys {
    /// Nothing.
    #[default]
    Ignored,
    /// It makes the entry invalid.
    Invalid,
}

/// What a key does while the prompt is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtPrompt {
    /// It stops the prompt, and counts (barge-in).
    #[default]
    Stop,
    /// The prompt goes on, and the key counts when it has ended.
    Keep,
    /// Nothing.
    Discard,
}

/// A set of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys(u16);

impl Keys {
    /// No key.
    pub const NONE: Self = Self(0);
    /// All sixteen.
    pub const ALL: Self = Self(u16::MAX);

    /// The keys of a text such as `0123456789*`; `None`: something in it is no key.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        text.chars().map(Digit::from_char).collect()
    }

    /// Whether a key is one of them.
    #[must_use]
    pub fn contains(self, digit: Digit) -> bool {
        self.0 & 1 << digit.index() != 0
    }
}

impl FromIterator<Digit> for Keys {
    fn from_iter<I: IntoIterator<Item = Digit>>(digits: I) -> Self {
        let digits = digits.into_iter();
        Self(digits.fold(0, |keys, digit| keys | 1 << digit.index()))
    }
}

/// A gathering that cannot be.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatherError {
    /// [`GatherRules::digits_max`].
    #[error("{0} keys at most: 1 to {GATHER_DIGITS_MAX} are possible")]
    DigitsMax(u8),
    /// [`GatherRules::digits_min`] is above [`GatherRules::digits_max`].
    #[error("at least {min} and at most {max} keys are not possible")]
    DigitsMin {
        /// At least.
        min: u8,
        /// At most.
        max: u8,
    },
    /// A wait above [`GATHER_WAIT_MAX`].
    #[error("waiting {0:?} for a key: at most {GATHER_WAIT_MAX:?} are possible")]
    Wait(Duration),
    /// No attempt, or more than [`GATHER_ATTEMPTS_MAX`].
    #[error("{0} attempts: 1 to {GATHER_ATTEMPTS_MAX} are possible")]
    Attempts(usize),
    /// A prompt of more than [`SEQUENCE_MAX`] sounds.
    #[error("a prompt of {0} sounds: at most {SEQUENCE_MAX} are possible")]
    Sounds(usize),
}

impl GatherConfig {
    /// # Errors
    /// What is beyond a limit.
    pub(super) fn check(&self) -> Result<(), GatherError> {
        self.rules.check()?;
        if !(1..=GATHER_ATTEMPTS_MAX).contains(&self.prompts.len()) {
            return Err(GatherError::Attempts(self.prompts.len()));
        }
        let sounds = self.prompts.iter().map(SmallVec::len);
        match sounds.max().filter(|most| *most > SEQUENCE_MAX) {
            Some(sounds) => Err(GatherError::Sounds(sounds)),
            None => Ok(()),
        }
    }
}

impl GatherRules {
    /// Whether such a gathering can be.
    ///
    /// # Errors
    /// What is beyond a limit.
    pub fn check(&self) -> Result<(), GatherError> {
        let (min, max) = (self.digits_min, self.digits_max);
        if !(1..=GATHER_DIGITS_MAX).contains(&usize::from(max)) {
            return Err(GatherError::DigitsMax(max));
        }
        if min > max {
            return Err(GatherError::DigitsMin { min, max });
        }
        let waits = [self.first_digit, self.inter_digit];
        match waits.into_iter().find(|wait| *wait > GATHER_WAIT_MAX) {
            Some(wait) => Err(GatherError::Wait(wait)),
            None => Ok(()),
        }
    }
}

/// How a gathering ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatherEnd {
    /// There were [`GatherRules::digits_max`] keys.
    DigitsMax,
    /// By a key of [`GatherRules::finish`].
    FinishKey,
    /// No key came in time, at the last attempt either.
    FirstDigitTimeout,
    /// No further key came in time: an entry that is complete if it has
    /// [`GatherRules::digits_min`] keys, and else the last attempt.
    InterDigitTimeout,
    /// The last attempt had too few keys before the one that ended it, or one that is not
    /// accepted.
    Invalid,
    /// By command: another gathering of the party, its being put on hold, or its call becoming
    /// part of another one.
    Cancelled,
    /// Its party left, or its call ended.
    Gone,
    /// It never began: its prompt cannot be played now, or its party has left.
    Refused,
}

impl GatherEnd {
    /// Its name in results and in `why`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::DigitsMax => "max-digits",
            Self::FinishKey => "finish-key",
            Self::FirstDigitTimeout => "first-digit-timeout",
            Self::InterDigitTimeout => "inter-digit-timeout",
            Self::Invalid => "invalid",
            Self::Cancelled => "cancelled",
            Self::Gone => "gone",
            Self::Refused => "refused",
        }
    }
}

/// What a gathering came to. Its times count from its beginning, in milliseconds, and are those of
/// the last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Its name.
    pub id: GatherId,
    /// How it ended.
    pub end: GatherEnd,
    /// Attempts that were begun; 0 where it never began.
    pub attempts: u8,
    /// The keys of the last attempt.
    pub digits: Digits,
    /// How long it took in all.
    pub lasted_ms: u32,
    /// When the prompt ended, or was stopped; `None`: none was, or none was played.
    pub prompt_ended_ms: Option<u32>,
    /// When the first key went down: 0 for one that was pressed before.
    pub first_digit_ms: Option<u32>,
    /// When the last key went down.
    pub last_digit_ms: Option<u32>,
}

impl Gathered {
    /// Of a gathering of which nothing is known but its end.
    pub(crate) fn nothing(id: GatherId, end: GatherEnd) -> Self {
        Self {
            id,
            end,
            attempts: 0,
            digits: Digits::default(),
            lasted_ms: 0,
            prompt_ended_ms: None,
            first_digit_ms: None,
            last_digit_ms: None,
        }
    }
}

/// Keys in the order in which they were pressed, at most [`GATHER_DIGITS_MAX`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digits {
    /// Two codes to an octet, the earlier one low.
    codes: [u8; GATHER_DIGITS_MAX / 2],
    len: u8,
}

impl Digits {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// From the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = Digit> + '_ {
        let codes = self.codes.iter().flat_map(|two| [two & 0xf, two >> 4]);
        let digits = codes.filter_map(|code| EventCode(code).digit());
        digits.take(self.len())
    }

    /// Appends a key, if there is room.
    fn push(&mut self, digit: Digit) {
        let at = self.len() / 2;
        if let Some(two) = self.codes.get_mut(at) {
            *two |= digit.code().0 << (4 * (self.len % 2));
            self.len += 1;
        }
    }
}

/// As they stand on the keys.
impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|digit| write!(f, "{digit}"))
    }
}

/// Says how many there are, not which: logs do not hold what people dial.
impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digits({})", self.len)
    }
}
