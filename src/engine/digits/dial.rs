//! Digits that a party is sent: what a command asks for, and how it went.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use smallvec::SmallVec;

use crate::engine::api::StreamIx;
use crate::wire::event::{Digit, EventCode};

/// Most keys and waits that may wait for one listener; a command that brings more is refused.
pub const DIGITS_MAX: usize = 128;

/// Shortest and longest press of a command, in milliseconds.
pub const KEY_MS: RangeInclusive<u64> = 20..=60_000;

/// Shortest and longest pause between two keys, in milliseconds.
pub const KEY_PAUSE_MS: RangeInclusive<u64> = 20..=10_000;

/// Longest of the waits in a command, in milliseconds.
pub const KEY_WAIT_MS_MAX: u64 = 60_000;

/// What a `w` among digits waits, in milliseconds.
pub const KEY_WAIT_MS: u64 = 500;

/// Weakest level of a key, in −dBm0 (RFC 4733 §2.3.4).
pub const KEY_VOLUME_MAX: u8 = 63;

/// Level of a key where nobody says, in −dBm0 of both tones together.
pub const KEY_VOLUME: u8 = 8;

/// The telephone-event type a party accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its payload type, 0–127.
    pub pt: u8,
    /// Of the clock in which its durations are counted, in Hz.
    pub clock_hz: u32,
}

/// Names what a command sends, in its event. Two commands may have the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DialId(pub u32);

/// One thing to do for a listener.
#[derive(Clone, Copy, PartialEq)]
pub enum DialStep {
    /// Press a key.
    Key {
        /// Which; one that is no digit is passed over where it cannot be told as an event.
        code: EventCode,
        /// How long, within [`KEY_MS`].
        duration: Duration,
    },
    /// Let time pass, at most [`KEY_WAIT_MS_MAX`]; what the listener hears otherwise is heard.
    Wait(Duration),
}

/// Does not say which key: logs do not hold what people dial.
impl fmt::Debug for DialStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { duration, .. } => f.debug_tuple("Key").field(duration).finish(),
            Self::Wait(span) => f.debug_tuple("Wait").field(span).finish(),
        }
    }
}

/// Keys that one listener is sent, one after the other, behind those that wait already: as
/// telephone-events where it accepts them, else as tones in the place of its audio.
#[derive(Clone, Debug, PartialEq)]
pub struct SendDigits {
    /// Its name in the event that tells of its end.
    pub id: DialId,
    /// Who gets them.
    pub to: StreamIx,
    /// What to do; at least one thing, and no more than [`DIGITS_MAX`] in all for one listener.
    pub steps: SmallVec<[DialStep; 2]>,
    /// From the end of a key to the beginning of the next, within [`KEY_PAUSE_MS`].
    pub pause: Duration,
    /// Power of both tones together in −dBm0, at most [`KEY_VOLUME_MAX`].
    pub volume: u8,
}

/// How a command's digits went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialReport {
    /// What was sent.
    pub id: DialId,
    /// Keys that were pressed to their end.
    pub keys: u16,
    /// All were; else it was stopped, or the listener could not be sent any more.
    pub completed: bool,
}

/// Why digits in text were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing to do.
    #[error("no digits")]
    Empty,
    /// More than [`DIGITS_MAX`].
    #[error("more than {DIGITS_MAX} digits and waits")]
    TooMany,
    /// Not one of `0`–`9`, `*`, `#`, `A`–`D`, `!` (flash) and `w`.
    #[error("character {0} is no key: 0-9, *, #, A-D, ! and w are")]
    Character(usize),
}

impl DialStep {
    /// Reads keys from text: `0`–`9`, `*`, `#`, `A`–`D` (either case), `!` for the hook flash, and
    /// `w` for a wait of [`KEY_WAIT_MS`].
    ///
    /// # Errors
    /// [`DialError`], which says where, not what.
    pub fn parse(text: &str, duration: Duration) -> Result<SmallVec<[Self; 2]>, DialError> {
        let key = |code| Self::Key { code, duration };
        let step = |(at, c)| match c {
            'w' | 'W' => Ok(Self::Wait(Duration::from_millis(KEY_WAIT_MS))),
            '!' => Ok(key(EventCode::FLASH)),
            c => match Digit::from_char(c) {
                Some(digit) => Ok(key(digit.code())),
                None => Err(DialError::Character(at)),
            },
        };
        if text.is_empty() {
            return Err(DialError::Empty);
        }
        if text.chars().nth(DIGITS_MAX).is_some() {
            return Err(DialError::TooMany);
        }
        text.chars().enumerate().map(step).collect()
    }

    pub(in crate::engine) fn is_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// Whether its time is within the limits.
    pub(in crate::engine) fn is_sound(&self) -> bool {
        match self {
            Self::Key { duration, .. } => is_within(*duration, KEY_MS),
            Self::Wait(span) => is_within(*span, 0..=KEY_WAIT_MS_MAX),
        }
    }
}

impl SendDigits {
    /// Whether there is anything to do, and all times and the level are within the limits.
    pub(crate) fn is_sound(&self) -> bool {
        !self.steps.is_empty()
            && self.steps.iter().all(DialStep::is_sound)
            && is_within(self.pause, KEY_PAUSE_MS)
            && self.volume <= KEY_VOLUME_MAX
    }
}

fn is_within(span: Duration, ms: RangeInclusive<u64>) -> bool {
    let least = Duration::from_millis(*ms.start());
    (least..=Duration::from_millis(*ms.end())).contains(&span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_from_text() {
        let long = Duration::from_millis(70);
        let steps = DialStep::parse("1w#d!", long).unwrap();
        let key = |code| DialStep::Key {
            code: EventCode(code),
            duration: long,
        };
        let wait = DialStep::Wait(Duration::from_millis(500));
        assert_eq!(steps[..], [key(1), wait, key(11), key(15), key(16)]);
        let logged = format!("{steps:?}");
        assert!(
            !logged.contains("11") && logged.contains("70ms"),
            "{logged}"
        );
    }

    #[test]
    fn text_is_refused_with_its_place() {
        let parse = |text: &str| DialStep::parse(text, Duration::ZERO).map(|steps| steps.len());
        assert_eq!(parse(""), Err(DialError::Empty));
        assert_eq!(parse("12x"), Err(DialError::Character(2)));
        assert_eq!(parse(&"5".repeat(DIGITS_MAX)), Ok(DIGITS_MAX));
        assert_eq!(parse(&"5".repeat(DIGITS_MAX + 1)), Err(DialError::TooMany));
    }

    #[test]
    fn times_and_levels_are_bounded() {
        let ms = Duration::from_millis;
        let digits = |key, pause, volume| SendDigits {
            id: DialId(0),
            to: StreamIx(0),
            steps: DialStep::parse("1", ms(key)).unwrap(),
            pause: ms(pause),
            volume,
        };
        for (key, pause, volume, sound) in [
            (20, 20, 0, true),
            (60_000, 10_000, 63, true),
            (19, 20, 0, false),
            (60_001, 20, 0, false),
            (20, 19, 0, false),
            (20, 10_001, 0, false),
            (20, 20, 64, false),
        ] {
            assert_eq!(
                digits(key, pause, volume).is_sound(),
                sound,
                "{key} {pause} {volume}"
            );
        }
        assert!(DialStep::Wait(ms(KEY_WAIT_MS_MAX)).is_sound());
        assert!(!DialStep::Wait(ms(KEY_WAIT_MS_MAX + 1)).is_sound());
    }
}
