//! Keys that begin and end masking: the party itself presses them.
//!
//! Masking begins as the last key of the start string goes down. That key, like those before it,
//! was on its way to the others by then: as a telephone-event it passes whole, as a tone so much of
//! it as was said until it was known. Masking ends after the last key that is masked has come up,
//! so that nothing of the end string is heard; where tones are masked it lasts [`HOLD_US`] longer,
//! as what is heard comes out of a playout buffer.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use smallvec::SmallVec;

use super::MaskMode;
use crate::engine::time::{Micros, micros};
use crate::wire::event::Digit;

/// Most keys of a [`TriggerKeys`].
pub const TRIGGER_KEYS_MAX: usize = 32;

/// Shortest and longest [`Triggers::end_time`] in milliseconds: a day.
pub const TRIGGER_TIME_MS: RangeInclusive<u64> = 1..=86_400_000;

/// Fewest and most [`Triggers::end_count`].
pub const TRIGGER_COUNT: RangeInclusive<u16> = 1..=1_000;

/// Tones are masked so long after the last key came up: the longest playout delay, behind which
/// that key is still to be said.
pub(in crate::engine) const HOLD_US: u64 = 400_000;

/// Keys in a row, 1 to [`TRIGGER_KEYS_MAX`].
#[derive(Clone, PartialEq, Eq)]
pub struct TriggerKeys(SmallVec<[Digit; 8]>);

/// Says how many there are, not which: logs do not hold what people dial.
impl fmt::Debug for TriggerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TriggerKeys({})", self.0.len())
    }
}

/// What of a [`Triggers`] cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// A string of no keys.
    #[error("no digits")]
    Empty,
    /// One of more than [`TRIGGER_KEYS_MAX`].
    #[error("more than {TRIGGER_KEYS_MAX} digits")]
    TooMany,
    /// Not one of `0`–`9`, `*`, `#` and `A`–`D`.
    #[error("character {0} is no key: 0-9, *, # and A-D are")]
    Character(usize),
    /// Outside [`TRIGGER_TIME_MS`].
    #[error("{0} ms: 1 ms to a day are possible")]
    Time(u64),
    /// Outside [`TRIGGER_COUNT`].
    #[error("{0} digits: 1 to 1000 are possible")]
    Count(u16),
}

impl TriggerKeys {
    /// Reads `0`–`9`, `*`, `#` and `A`–`D` in either case.
    ///
    /// # Errors
    /// [`TriggerError`], which says where, not what.
    pub fn parse(text: &str) -> Result<Self, TriggerError> {
        if text.is_empty() {
            return Err(TriggerError::Empty);
        }
        if text.chars().nth(TRIGGER_KEYS_MAX).is_some() {
            return Err(TriggerError::TooMany);
        }
        let key = |(at, c)| Digit::from_char(c).ok_or(TriggerError::Character(at));
        let keys: Result<_, _> = text.chars().enumerate().map(key).collect();
        keys.map(Self)
    }
}

/// When masking begins and ends by itself. It may do so many times.
#[derive(Clone, Debug, PartialEq)]
pub struct Triggers {
    /// Names the command: a mask that comes again with equal triggers is the same one, and what has
    /// begun goes on.
    pub id: u64,
    /// Begins it; `None`: it has begun, and once it has ended it does not begin again.
    pub start: Option<TriggerKeys>,
    /// What stands in the place of a press from then on; until then the mask's own mode does.
    pub mode: MaskMode,
    /// Ends it.
    pub end: Option<TriggerKeys>,
    /// So long after its beginning it ends, within [`TRIGGER_TIME_MS`].
    pub end_time: Option<Duration>,
    /// After so many keys it ends, within [`TRIGGER_COUNT`].
    pub end_count: Option<u16>,
    /// What stands in the place of a press once it has ended.
    pub after: MaskMode,
}

impl Triggers {
    /// # Errors
    /// Something of it is out of range.
    pub fn check(&self) -> Result<(), TriggerError> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if let Some(ms) = self.end_time.map(ms)
            && !TRIGGER_TIME_MS.contains(&ms)
        {
            return Err(TriggerError::Time(ms));
        }
        match self.end_count.filter(|keys| !TRIGGER_COUNT.contains(keys)) {
            Some(keys) => Err(TriggerError::Count(keys)),
            None => Ok(()),
        }
    }
}

/// Triggers at work.
#[derive(Debug)]
pub(in crate::engine) struct Trigger {
    pub(in crate::engine) config: Triggers,
    phase: Phase,
    /// It has ended at least once.
    ended: bool,
    /// The latest keys of this phase, at most [`TRIGGER_KEYS_MAX`].
    latest: Latest,
    /// Keys since it began.
    keys: u16,
    /// When it ends.
    until: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For the start string.
    Waits,
    Runs,
    /// Its last key, of this number, is down.
    Ends(u32),
    /// It came up.
    Holds,
    /// It will not begin again.
    Over,
}

impl Trigger {
    pub(in crate::engine) fn new(now: Micros, config: Triggers) -> Self {
        let runs = config.start.is_none();
        let mut trigger = Self {
            config,
            phase: Phase::Waits,
            ended: false,
            latest: Latest::default(),
            keys: 0,
            until: Micros::NEVER,
        };
        if runs {
            trigger.begin(now);
        }
        trigger
    }

    /// What stands in the place of a press; `before` is what did at first.
    pub(in crate::engine) fn mode<'a>(&'a self, before: &'a MaskMode) -> &'a MaskMode {
        match self.phase {
            Phase::Runs | Phase::Ends(_) | Phase::Holds => &self.config.mode,
            Phase::Waits | Phase::Over if self.ended => &self.config.after,
            Phase::Waits | Phase::Over => before,
        }
    }

    /// A key goes down. Returns whether masking begins.
    pub(in crate::engine) fn key_down(&mut self, now: Micros, press: u32, digit: Digit) -> bool {
        self.latest.push(digit);
        match self.phase {
            Phase::Waits | Phase::Holds => {
                let begins = self.latest.end_with(self.config.start.as_ref());
                let waits = self.phase == Phase::Waits;
                if begins {
                    self.begin(now);
                }
                begins && waits
            }
            Phase::Runs => {
                self.keys = self.keys.saturating_add(1);
                let enough = self.config.end_count.is_some_and(|most| self.keys >= most);
                if enough || self.latest.end_with(self.config.end.as_ref()) {
                    self.phase = Phase::Ends(press);
                    self.latest = Latest::default();
                }
                false
            }
            Phase::Ends(_) | Phase::Over => false,
        }
    }

    /// It comes up; if it was the last one, masking ends after `hold_us`.
    pub(in crate::engine) fn key_up(&mut self, now: Micros, press: u32, hold_us: u64) {
        if self.phase == Phase::Ends(press) {
            self.phase = Phase::Holds;
            self.until = now.plus(hold_us);
        }
    }

    /// Returns whether masking has ended.
    pub(in crate::engine) fn timeout(&mut self, now: Micros) -> bool {
        if self.until > now {
            return false;
        }
        self.until = Micros::NEVER;
        self.ended = true;
        if self.phase == Phase::Runs {
            self.latest = Latest::default();
        }
        self.phase = match self.config.start {
            Some(_) => Phase::Waits,
            None => Phase::Over,
        };
        true
    }

    pub(in crate::engine) fn next_timeout(&self) -> Micros {
        self.until
    }

    fn begin(&mut self, now: Micros) {
        self.phase = Phase::Runs;
        self.keys = 0;
        self.latest = Latest::default();
        let time = self.config.end_time;
        self.until = time.map_or(Micros::NEVER, |time| now.plus(micros(time)));
    }
}

/// Keys by their codes, the newest last.
#[derive(Clone, Copy, Default)]
struct Latest {
    codes: [u8; TRIGGER_KEYS_MAX],
    len: usize,
}

/// Does not say which keys.
impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latest({})", self.len)
    }
}

impl Latest {
    fn push(&mut self, digit: Digit) {
        if self.len == TRIGGER_KEYS_MAX {
            self.codes.rotate_left(1);
            self.len -= 1;
        }
        self.codes[self.len] = digit.code().0;
        self.len += 1;
    }

    fn end_with(&self, keys: Option<&TriggerKeys>) -> bool {
        let Some(TriggerKeys(keys)) = keys else {
            return false;
        };
        let pressed = &self.codes[..self.len];
        let tail = pressed.len().checked_sub(keys.len());
        let codes = || keys.iter().map(|key| key.code().0);
        tail.is_some_and(|from| pressed[from..].iter().copied().eq(codes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn keys(text: &str) -> Option<TriggerKeys> {
        Some(TriggerKeys::parse(text).unwrap())
    }

    fn triggers(start: Option<TriggerKeys>) -> Triggers {
        Triggers {
            id: 1,
            start,
            mode: MaskMode::Absorb,
            end: None,
            end_time: None,
            end_count: None,
            after: MaskMode::Pass,
        }
    }

    /// Presses keys 100 ms apart; for each whether keys are hidden once it is down.
    fn press(trigger: &mut Trigger, now: &mut u64, text: &str) -> Vec<bool> {
        let mut hidden = Vec::new();
        for c in text.chars() {
            let number = u32::try_from(*now / (100 * MS)).unwrap();
            trigger.timeout(Micros(*now));
            trigger.key_down(Micros(*now), number, Digit::from_char(c).unwrap());
            hidden.push(trigger.mode(&MaskMode::Pass).hides());
            trigger.key_up(Micros(*now + 50 * MS), number, 0);
            *now += 100 * MS;
        }
        hidden
    }

    #[test]
    fn strings_begin_and_end_it_time_and_again() {
        let mut trigger = Trigger::new(
            Micros(0),
            Triggers {
                end: keys("##"),
                ..triggers(keys("*1"))
            },
        );
        let mut now = 0;
        let hidden = press(&mut trigger, &mut now, "1**1234#5##9##*1##");
        let shown: String = hidden
            .iter()
            .map(|hidden| if *hidden { 'x' } else { '.' })
            .collect();
        assert_eq!(shown, "...xxxxxxxx....xxx");
    }

    #[test]
    fn so_many_keys_or_so_much_time_end_it() {
        let counted = Triggers {
            end_count: Some(3),
            ..triggers(keys("9"))
        };
        let (mut trigger, mut now) = (Trigger::new(Micros(0), counted), 0);
        let hidden = press(&mut trigger, &mut now, "9123459");
        assert_eq!(hidden, [true, true, true, true, false, false, true]);
        let timed = Triggers {
            end_time: Some(Duration::from_millis(250)),
            ..triggers(None)
        };
        let (mut trigger, mut now) = (Trigger::new(Micros(0), timed), 0);
        assert_eq!(trigger.next_timeout(), Micros(250 * MS));
        let hidden = press(&mut trigger, &mut now, "12345");
        assert_eq!(hidden, [true, true, true, false, false]);
        assert_eq!(trigger.next_timeout(), Micros::NEVER, "not again");
    }

    #[test]
    fn it_lasts_until_the_last_key_is_up_and_has_been_said() {
        let config = Triggers {
            end: keys("#"),
            ..triggers(None)
        };
        let mut trigger = Trigger::new(Micros(0), config);
        let hash = Digit::from_char('#').unwrap();
        assert!(!trigger.key_down(Micros(0), 7, hash));
        assert!(!trigger.timeout(Micros(5_000 * MS)), "it is down");
        trigger.key_up(Micros(6_000 * MS), 7, HOLD_US);
        let end = Micros(6_000 * MS + HOLD_US);
        assert_eq!(trigger.next_timeout(), end);
        assert!(!trigger.timeout(Micros(end.0 - 1)));
        assert!(trigger.timeout(end));
        assert_eq!(*trigger.mode(&MaskMode::Absorb), MaskMode::Pass);
    }

    #[test]
    fn strings_times_and_counts_have_limits() {
        let longest = "1".repeat(TRIGGER_KEYS_MAX);
        let trigger = &mut Trigger::new(Micros(0), triggers(keys(&longest)));
        let hidden = press(trigger, &mut 0, &longest);
        assert_eq!(hidden.iter().filter(|hidden| **hidden).count(), 1);
        let refused = |text: &str| TriggerKeys::parse(text).unwrap_err();
        assert_eq!(refused(&format!("{longest}1")), TriggerError::TooMany);
        assert_eq!(refused(""), TriggerError::Empty);
        assert_eq!(refused("12w"), TriggerError::Character(2));
        assert_eq!(refused("1!"), TriggerError::Character(1));
        let timed = |ms| Triggers {
            end_time: Some(Duration::from_millis(ms)),
            ..triggers(None)
        };
        let day = *TRIGGER_TIME_MS.end();
        assert_eq!(timed(day).check(), Ok(()));
        assert_eq!(timed(day + 1).check(), Err(TriggerError::Time(day + 1)));
        assert_eq!(timed(0).check(), Err(TriggerError::Time(0)));
        let counted = |keys| Triggers {
            end_count: Some(keys),
            ..triggers(None)
        };
        assert_eq!(counted(1_000).check(), Ok(()));
        assert_eq!(counted(1_001).check(), Err(TriggerError::Count(1_001)));
        assert_eq!(counted(0).check(), Err(TriggerError::Count(0)));
        assert!(!format!("{:?}", keys("42")).contains('4'));
    }
}
