//! What the others get of a party's keys: everything, nothing, or something else in their place.

use std::fmt;

use smallvec::SmallVec;

use super::inband::InBand;
use super::{EventName, HOLD_US, Press, Trigger, TriggerError, Triggers};
use crate::engine::time::Micros;
use crate::wire::event::{EVENT_LEN, EventCode, TelephoneEvent};

/// Frequencies of one [`MaskMode::Tone`]; the keys of a party take turns.
pub const MASK_TONES_MAX: usize = 8;

/// Frequencies in Hz that a [`MaskMode::Tone`] may have: what G.711 carries.
pub const MASK_TONE_HZ: std::ops::RangeInclusive<u16> = 50..=3_800;

/// Levels in dBm0 that a [`MaskMode::Tone`] may have.
pub const MASK_LEVEL_DBM0: std::ops::RangeInclusive<i8> = -63..=0;

/// Look-back in milliseconds: below the least a tone would be heard before it is known.
pub const LOOK_BACK_MS: std::ops::RangeInclusive<u16> = 50..=500;

/// What becomes of the keys that a party presses, for everybody who hears it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// From now on.
    pub mode: MaskMode,
    /// Tones in its audio, too: what it says is decoded, and heard [`Mask::look_back_ms`] later.
    /// Without this only telephone-events are masked, and audio passes untouched.
    pub in_band: bool,
    /// How much later it is heard, within [`LOOK_BACK_MS`].
    pub look_back_ms: u16,
    /// Keys of the party that begin and end it; its presses are listened to for that.
    pub triggers: Option<Box<Triggers>>,
}

impl Mask {
    /// This mode for tones and telephone-events, with the least look-back.
    #[must_use]
    pub fn of(mode: MaskMode) -> Self {
        Self {
            mode,
            in_band: true,
            look_back_ms: *LOOK_BACK_MS.start(),
            triggers: None,
        }
    }
}

/// What stands in the place of a press.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MaskMode {
    /// The press itself.
    #[default]
    Pass,
    /// Nothing: silence in audio, no telephone-event.
    Absorb,
    /// Silence for as long as the key is down, however it is signalled; no telephone-event.
    Silence,
    /// A tone for as long as the key is down; no telephone-event.
    Tone {
        /// Hz, 1 to [`MASK_TONES_MAX`] within [`MASK_TONE_HZ`]: one for each press in turn.
        hz: SmallVec<[u16; MASK_TONES_MAX]>,
        /// dBm0, within [`MASK_LEVEL_DBM0`].
        level: i8,
    },
    /// Another key, 0 to 9, by the call's seed: the same for the whole press.
    RandomDigit,
    /// The key 0.
    ZeroDigit,
    /// The key itself, pressed anew by us: silence in audio, and a telephone-event in its place, or
    /// a tone of our own for a listener that accepts none. Telephone-events pass, and who only
    /// listens hears what was said.
    Convert,
}

impl MaskMode {
    /// Whether telephone-events are not relayed as they came.
    #[must_use]
    pub fn hides(&self) -> bool {
        !matches!(self, Self::Pass | Self::Convert)
    }

    /// Whether tones are not heard as they are.
    #[must_use]
    pub fn hides_tones(&self) -> bool {
        *self != Self::Pass
    }

    /// Its name on the command line and in `why`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Absorb => "absorb",
            Self::Silence => "silence",
            Self::Tone { .. } => "tone",
            Self::RandomDigit => "random",
            Self::ZeroDigit => "zero",
            Self::Convert => "convert",
        }
    }
}

/// Why a [`Mask`] was refused.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaskError {
    /// No frequency, or more than [`MASK_TONES_MAX`].
    #[error("{0} frequencies: 1 to {MASK_TONES_MAX} are possible")]
    Tones(usize),
    /// Outside [`MASK_TONE_HZ`].
    #[error("a tone of {0} Hz: 50 to 3800 Hz are possible")]
    Frequency(u16),
    /// Outside [`MASK_LEVEL_DBM0`].
    #[error("a tone at {0} dBm0: -63 to 0 are possible")]
    Level(i8),
    /// Outside [`LOOK_BACK_MS`].
    #[error("a look-back of {0} ms: 50 to 500 ms are possible")]
    LookBack(u16),
    /// Of [`Mask::triggers`].
    #[error("a trigger of {0}")]
    Trigger(#[from] TriggerError),
}

impl Mask {
    /// # Errors
    /// Something of it is out of range.
    pub(in crate::engine) fn check(&self) -> Result<(), MaskError> {
        self.mode.check()?;
        if !LOOK_BACK_MS.contains(&self.look_back_ms) {
            return Err(MaskError::LookBack(self.look_back_ms));
        }
        if let Some(triggers) = &self.triggers {
            triggers.check()?;
            triggers.mode.check()?;
            triggers.after.check()?;
        }
        Ok(())
    }
}

impl MaskMode {
    fn check(&self) -> Result<(), MaskError> {
        let Self::Tone { hz, level } = self else {
            return Ok(());
        };
        if !(1..=MASK_TONES_MAX).contains(&hz.len()) {
            return Err(MaskError::Tones(hz.len()));
        }
        if let Some(hz) = hz.iter().find(|hz| !MASK_TONE_HZ.contains(hz)) {
            return Err(MaskError::Frequency(*hz));
        }
        match MASK_LEVEL_DBM0.contains(level) {
            true => Ok(()),
            false => Err(MaskError::Level(*level)),
        }
    }
}

/// A mask at work.
#[derive(Debug)]
pub(in crate::engine) struct Masked {
    /// Tones are masked, too, with this look-back.
    pub(in crate::engine) in_band: bool,
    pub(in crate::engine) look_back_ms: u16,
    /// As of now.
    pub(in crate::engine) mode: MaskMode,
    /// As long as nothing has triggered another one.
    before: MaskMode,
    trigger: Option<Box<Trigger>>,
    pub(in crate::engine) puts: Substitutes,
    /// What is pressed anew of its tones.
    pub(in crate::engine) inband: InBand,
    /// The latest events, and whether they were masked: what began in one way goes on so.
    seen: [Option<Seen>; REMEMBERED],
    latest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    press: EventName,
    code: EventCode,
    ended: bool,
    masked: bool,
}

impl Masked {
    pub(in crate::engine) fn new(now: Micros, config: Mask) -> Self {
        let triggers = config.triggers;
        let mut masked = Self {
            in_band: config.in_band,
            look_back_ms: config.look_back_ms,
            mode: MaskMode::Pass,
            before: config.mode,
            trigger: triggers.map(|triggers| Box::new(Trigger::new(now, *triggers))),
            puts: Substitutes::default(),
            inband: InBand::default(),
            seen: [None; REMEMBERED],
            latest: 0,
        };
        masked.follow();
        masked
    }

    /// Another mask takes its place; a press that is going on is dealt with as it was, and triggers
    /// that are the same go on.
    pub(in crate::engine) fn set(&mut self, now: Micros, config: Mask) {
        let known = self.trigger.as_ref().map(|trigger| &trigger.config);
        let same = known == config.triggers.as_deref();
        let trigger = self.trigger.take().filter(|_| same);
        let new = Self::new(now, config);
        *self = Self {
            puts: std::mem::take(&mut self.puts),
            inband: std::mem::take(&mut self.inband),
            seen: self.seen,
            latest: self.latest,
            trigger: trigger.or(new.trigger),
            ..new
        };
        self.follow();
    }

    /// The mode follows the triggers.
    fn follow(&mut self) {
        let trigger = self.trigger.as_ref();
        let mode = trigger.map_or(&self.before, |trigger| trigger.mode(&self.before));
        if *mode != self.mode {
            self.mode = mode.clone();
        }
    }

    /// The look-back of tones that a key may begin to hide at any time.
    pub(in crate::engine) fn awaits(&self) -> Option<u16> {
        let trigger = self.trigger.as_ref().filter(|_| self.in_band)?;
        let hides = trigger.config.mode.hides_tones();
        hides.then_some(self.look_back_ms)
    }

    /// What has to be listened to, because it may trigger something.
    pub(in crate::engine) fn wants_keys(&self) -> bool {
        self.trigger.is_some()
    }

    /// A key goes down; whether masking begins with it.
    pub(in crate::engine) fn key_down(&mut self, now: Micros, press: &Press) -> bool {
        let trigger = self.trigger.as_mut().zip(press.code.digit());
        let begins = trigger.is_some_and(|(it, key)| it.key_down(now, press.number, key));
        self.follow();
        begins
    }

    /// It comes up.
    pub(in crate::engine) fn key_up(&mut self, now: Micros, press: &Press) {
        let hold_us = if self.in_band { HOLD_US } else { 0 };
        let trigger = self.trigger.iter_mut();
        trigger.for_each(|it| it.key_up(now, press.number, hold_us));
    }

    /// What is due by now; whether masking has ended.
    pub(in crate::engine) fn timeout(&mut self, now: Micros) -> bool {
        let ended = self.trigger.as_mut().is_some_and(|it| it.timeout(now));
        self.follow();
        ended
    }

    /// When [`Masked::timeout`] is due.
    pub(in crate::engine) fn next_timeout(&self) -> Micros {
        let trigger = self.trigger.as_ref();
        trigger.map_or(Micros::NEVER, |it| it.next_timeout())
    }

    /// Whether a payload of telephone-events of this source and timestamp is masked: if any of its
    /// keys is, or if it is too short to name one.
    pub(in crate::engine) fn hides(&mut self, press: EventName, payload: &[u8]) -> bool {
        let mut hides = payload.len() < EVENT_LEN && self.mode.hides();
        let keys = TelephoneEvent::parse_all(payload);
        for key in keys.filter(|event| event.code.digit().is_some()) {
            hides |= self.hides_key(press, key);
        }
        hides
    }

    /// A key is masked as it was by its first packet. The timestamp of some senders stands still
    /// from key to key: what follows the end of a key that passed is another press.
    fn hides_key(&mut self, press: EventName, said: TelephoneEvent) -> bool {
        let is_this = |seen: &&mut Seen| (seen.press, seen.code) == (press, said.code);
        let masked = self.mode.hides();
        if let Some(seen) = self.seen.iter_mut().flatten().find(is_this) {
            let is_new = seen.ended && !said.end;
            seen.masked |= is_new && masked;
            seen.ended = said.end || seen.ended && !is_new;
            return seen.masked;
        }
        self.latest = (self.latest + 1) % REMEMBERED;
        self.seen[self.latest] = Some(Seen {
            press,
            code: said.code,
            ended: said.end,
            masked,
        });
        masked
    }
}

/// Presses that are remembered by their timestamps, so that a late packet of the one before is
/// dealt with as the others of it were.
const REMEMBERED: usize = 4;

/// Whether a telephone-event payload names a key; line events and fax tones are none. What is too
/// short to be an event may be one to a careless reader.
pub(in crate::engine) fn names_key(payload: &[u8]) -> bool {
    payload.len() < EVENT_LEN
        || TelephoneEvent::parse_all(payload).any(|event| event.code.digit().is_some())
}

/// Other keys in the place of those that were pressed.
#[derive(Debug, Default)]
pub(in crate::engine) struct Substitutes {
    known: [Option<Substitute>; REMEMBERED],
    latest: usize,
}

#[derive(Clone, Copy)]
struct Substitute {
    ssrc: u32,
    timestamp: u32,
    pressed: u8,
    put: u8,
    ended: bool,
}

/// Does not say which keys.
impl fmt::Debug for Substitute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substitute").finish_non_exhaustive()
    }
}

impl Substitutes {
    /// Whether something was put in the place of the event of this source and timestamp.
    pub(in crate::engine) fn knows(&self, ssrc: u32, timestamp: u32) -> bool {
        let mut known = self.known.iter().flatten();
        known.any(|known| (known.ssrc, known.timestamp) == (ssrc, timestamp))
    }

    /// Replaces the keys of a telephone-event payload in place. All packets of a press get the same
    /// key, drawn at its first, even where a sender moves the timestamp within it (segments of RFC
    /// 4733 §2.5.1.3, and senders that may not).
    pub(in crate::engine) fn replace(
        &mut self,
        (ssrc, timestamp): (u32, u32),
        payload: &mut [u8],
        mut draw: impl FnMut() -> u8,
    ) {
        for event in payload.chunks_exact_mut(EVENT_LEN) {
            let Some(said) = TelephoneEvent::parse(event) else {
                continue;
            };
            if said.code.digit().is_some() {
                event[0] = self.substitute((ssrc, timestamp), said, &mut draw);
            }
        }
    }

    fn substitute(
        &mut self,
        (ssrc, timestamp): (u32, u32),
        said: TelephoneEvent,
        draw: &mut impl FnMut() -> u8,
    ) -> u8 {
        let is_this = |known: &&mut Substitute| {
            (known.ssrc, known.timestamp, known.pressed) == (ssrc, timestamp, said.code.0)
        };
        if let Some(known) = self.known.iter_mut().flatten().find(is_this) {
            known.ended |= said.end;
            return known.put;
        }
        // The timestamp moved within a press, or the end is repeated under another one.
        let goes_on = self.known[self.latest].filter(|latest| {
            let same = (latest.ssrc, latest.pressed) == (ssrc, said.code.0);
            same && (!latest.ended || said.end)
        });
        let put = goes_on.map_or_else(draw, |latest| latest.put);
        self.latest = (self.latest + 1) % REMEMBERED;
        self.known[self.latest] = Some(Substitute {
            ssrc,
            timestamp,
            pressed: said.code.0,
            put,
            ended: said.end,
        });
        put
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u8, end: bool) -> [u8; EVENT_LEN] {
        let event = TelephoneEvent {
            code: EventCode(code),
            end,
            volume: 10,
            duration: 160,
        };
        event.to_bytes()
    }

    #[test]
    fn all_packets_of_a_press_get_one_substitute() {
        let mut substitutes = Substitutes::default();
        let mut next = 0;
        let mut put = |timestamp: u32, code: u8, end: bool| {
            let mut payload = event(code, end);
            substitutes.replace((7, timestamp), &mut payload, || {
                next += 1;
                next
            });
            assert_eq!(payload[1..], event(code, end)[1..], "all else stays");
            payload[0]
        };
        assert_eq!(
            [put(0, 5, false), put(0, 5, false), put(0, 5, true)],
            [1; 3]
        );
        assert_eq!(put(0, 5, true), 1, "the end again");
        assert_eq!(
            put(160, 5, true),
            1,
            "the end again, with a moved timestamp"
        );
        assert_eq!(put(800, 5, false), 2, "the same key once more");
        assert_eq!(put(66_335, 5, false), 2, "its second segment");
        assert_eq!(put(0, 5, true), 1, "late, of the first press");
        assert_eq!(put(70_000, 6, false), 3);
    }

    #[test]
    fn line_events_are_no_keys() {
        assert!(names_key(&event(0, false)) && names_key(&event(15, true)));
        assert!(!names_key(&event(16, false)) && !names_key(&event(36, false)));
        assert!(names_key(&[5, 0]), "not even an event");
        let packed = [event(16, true), event(3, true)].concat();
        assert!(names_key(&packed));
        let mut payload = event(16, false);
        Substitutes::default().replace((1, 1), &mut payload, || 9);
        assert_eq!(payload, event(16, false));
    }

    #[test]
    fn limits_are_checked() {
        let tone = |hz: &[u16], level| {
            let hz = hz.iter().copied().collect();
            Mask::of(MaskMode::Tone { hz, level }).check()
        };
        assert_eq!(tone(&[400; MASK_TONES_MAX], -10), Ok(()));
        let many = [400; MASK_TONES_MAX + 1];
        assert_eq!(tone(&many, -10), Err(MaskError::Tones(9)));
        assert_eq!(tone(&[], -10), Err(MaskError::Tones(0)));
        assert_eq!(tone(&[50, 3_800], 0), Ok(()));
        assert_eq!(tone(&[50, 3_801], 0), Err(MaskError::Frequency(3_801)));
        assert_eq!(tone(&[400], 1), Err(MaskError::Level(1)));
        let look_back = |look_back_ms| {
            let mask = Mask {
                look_back_ms,
                ..Mask::of(MaskMode::Absorb)
            };
            mask.check()
        };
        assert_eq!((look_back(50), look_back(500)), (Ok(()), Ok(())));
        assert_eq!(look_back(49), Err(MaskError::LookBack(49)));
        assert_eq!(look_back(501), Err(MaskError::LookBack(501)));
    }
}
