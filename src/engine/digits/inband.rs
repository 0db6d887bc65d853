//! A key in a party's audio that is pressed anew for those who hear the party.
//!
//! A party may say one press twice, as tones and as a telephone-event. Whichever comes first is
//! the press; what comes of the other one is not pressed again.

use crate::engine::api::StreamIx;
use crate::engine::time::Micros;
use crate::wire::event::{EventCode, TelephoneEvent};

/// A tone whose frames are not made any more has ended: longer than any frame, with the frames that
/// a stalled worker makes up for.
pub const TONE_REST_US: u64 = 300_000;

/// A tone is no press of its own this long after a telephone-event of its key: what waits of it in
/// a playout buffer and in the look-back of a mask.
pub const EVENT_CLAIM_US: u64 = 400_000;

/// The key of one party.
#[derive(Debug, Default)]
pub(in crate::engine) struct InBand {
    key: Option<Key>,
    /// For whom it is down.
    pub(in crate::engine) down: Vec<StreamIx>,
    /// The latest telephone-event that passed, and when.
    event: Option<(EventCode, Micros)>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    code: EventCode,
    /// When its latest frame was made.
    held_at: Micros,
    /// It went on in another ear, so nobody knows its length.
    goes_on: bool,
}

/// What a tone that begins is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Tone {
    /// A press.
    Begins,
    /// The press that is told already.
    Known,
}

impl InBand {
    /// A telephone-event packet that passes.
    pub(in crate::engine) fn told(&mut self, now: Micros, payload: &[u8]) {
        let keys = TelephoneEvent::parse_all(payload).map(|event| event.code);
        if let Some(code) = keys.into_iter().find(|code| code.digit().is_some()) {
            self.event = Some((code, now));
        }
    }

    /// A tone begins to be heard; another one has ended before.
    pub(in crate::engine) fn begins(&mut self, now: Micros, code: EventCode) -> Tone {
        if let Some(key) = self.key.as_mut().filter(|key| key.code == code) {
            (key.held_at, key.goes_on) = (now, true);
            return Tone::Known;
        }
        self.key = Some(Key {
            code,
            held_at: now,
            goes_on: false,
        });
        let event = self.event.filter(|(event, _)| *event == code);
        match event {
            Some((_, at)) if now.since(at) <= EVENT_CLAIM_US => Tone::Known,
            _ => Tone::Begins,
        }
    }

    /// It is still heard.
    pub(in crate::engine) fn held(&mut self, now: Micros) {
        if let Some(key) = &mut self.key {
            key.held_at = now;
        }
    }

    /// It has ended, after so long as its ear says. Returns how long the key was down, if that is
    /// known.
    pub(in crate::engine) fn ends(&mut self, duration_us: Option<u64>) -> Option<u64> {
        let goes_on = self.key.take().is_some_and(|key| key.goes_on);
        duration_us.filter(|_| !goes_on)
    }

    /// Whether a telephone-event of this key is a press that is told already.
    pub(in crate::engine) fn presses(&self, code: EventCode) -> bool {
        !self.down.is_empty() && self.key.is_some_and(|key| key.code == code)
    }

    /// When it has ended if nothing is heard of it until then.
    pub(in crate::engine) fn rests_at(&self) -> Micros {
        let key = self.key.filter(|_| !self.down.is_empty());
        key.map_or(Micros::NEVER, |key| key.held_at.plus(TONE_REST_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: EventCode = EventCode(5);
    const SIX: EventCode = EventCode(6);
    const LISTENER: StreamIx = StreamIx(1);

    fn event(code: u8) -> [u8; 4] {
        [code, 10, 0, 160]
    }

    #[test]
    fn one_press_is_told_once() {
        let mut keys = InBand::default();
        keys.told(Micros(0), &event(5));
        assert_eq!(keys.begins(Micros(EVENT_CLAIM_US), FIVE), Tone::Known);
        keys.ends(Some(1));
        assert_eq!(keys.begins(Micros(EVENT_CLAIM_US + 1), FIVE), Tone::Begins);
        keys.ends(Some(1));
        assert_eq!(keys.begins(Micros(0), SIX), Tone::Begins, "another key");
        keys.down.push(LISTENER);
        assert!(keys.presses(SIX) && !keys.presses(FIVE));
        assert_eq!(keys.begins(Micros(10), SIX), Tone::Known, "in another ear");
        assert_eq!(keys.ends(Some(7)), None);
        assert!(!keys.presses(SIX));
    }

    #[test]
    fn a_line_event_claims_nothing() {
        let mut keys = InBand::default();
        keys.told(Micros(0), &event(16));
        keys.told(Micros(0), &[5]);
        assert_eq!(keys.begins(Micros(0), FIVE), Tone::Begins);
        assert_eq!(keys.rests_at(), Micros::NEVER, "it is down for nobody");
        keys.down.push(LISTENER);
        keys.held(Micros(5));
        assert_eq!(keys.rests_at(), Micros(TONE_REST_US + 5));
        assert_eq!(keys.ends(Some(7)), Some(7));
        assert_eq!(keys.rests_at(), Micros::NEVER);
    }
}
