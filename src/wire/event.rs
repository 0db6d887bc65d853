//! telephone-event payloads: named keys and tones in RTP (RFC 4733 §2.3, RFC 2833 before it).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     event     |E|R| volume    |          duration             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

/// Octets of one event in a payload.
pub const EVENT_LEN: usize = 4;

/// What a key or line event is called on the wire, 0–255 (IANA "Telephone Event codes").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventCode(pub u8);

impl EventCode {
    /// The hook flash: DTMF in RFC 2833, a line event since (RFC 4733 §3.2).
    pub const FLASH: Self = Self(16);

    /// The key it stands for, if it is one of the sixteen.
    #[must_use]
    pub const fn digit(self) -> Option<Digit> {
        if self.0 < 16 {
            Some(Digit(self.0))
        } else {
            None
        }
    }
}

/// Says that there is a digit, not which: logs do not hold what people dial.
impl fmt::Debug for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digit() {
            Some(_) => f.write_str("EventCode(_)"),
            None => write!(f, "EventCode({})", self.0),
        }
    }
}

/// One of the sixteen keys, by its event code: 0–9, 10 `*`, 11 `#`, 12–15 A–D (RFC 4733 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digit(u8);

impl Digit {
    /// All sixteen, in the order of their codes.
    pub const ALL: [Self; 16] = {
        let mut all = [Self(0); 16];
        let mut code = 0;
        while code < 16 {
            all[code as usize] = Self(code);
            code += 1;
        }
        all
    };

    const KEYS: &[u8; 16] = b"0123456789*#ABCD";

    /// The key of a character; letters of either case.
    #[must_use]
    pub fn from_char(key: char) -> Option<Self> {
        let key = u8::try_from(key).ok()?.to_ascii_uppercase();
        let code = Self::KEYS.iter().position(|k| *k == key)?;
        u8::try_from(code).ok().map(Self)
    }

    /// As it stands on the key.
    #[must_use]
    pub const fn as_char(self) -> char {
        Self::KEYS[self.0 as usize] as char
    }

    /// Its event code, 0–15.
    #[must_use]
    pub const fn code(self) -> EventCode {
        EventCode(self.0)
    }

    /// Its place among the sixteen.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// Says that there is a digit, not which: logs do not hold what people dial.
impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digit(_)")
    }
}

/// One event of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Which.
    pub code: EventCode,
    /// This is its whole duration: the event has ended.
    pub end: bool,
    /// Power below 0 dBm0 in dB, 0–63; 0 may also mean "not known" (§2.3.4).
    pub volume: u8,
    /// Ticks of the payload type's clock since the packet's timestamp; 0 only for states (§2.3.5).
    pub duration: u16,
}

impl TelephoneEvent {
    /// The first event of a payload, whatever follows it; `None`: shorter than one. The reserved
    /// bit is ignored.
    #[inline]
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[code, second, high, low] = payload.first_chunk::<EVENT_LEN>()?;
        Some(Self {
            code: EventCode(code),
            end: second & 0b1000_0000 != 0,
            volume: second & 0b0011_1111,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// All whole events of a payload, which follow each other without a gap (§2.5.1.5).
    pub fn parse_all(payload: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let events = payload.chunks_exact(EVENT_LEN);
        events.filter_map(Self::parse)
    }

    /// Its octets; a volume above 63 is written as 63.
    #[must_use]
    pub fn to_bytes(self) -> [u8; EVENT_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        let second = u8::from(self.end) << 7 | self.volume.min(63);
        [self.code.0, second, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_codes_of_the_registry() {
        let keys: String = Digit::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(keys, "0123456789*#ABCD");
        for digit in Digit::ALL {
            assert_eq!(Digit::from_char(digit.as_char()), Some(digit));
            assert_eq!(digit.code().digit(), Some(digit));
        }
        assert_eq!(Digit::from_char('d'), Digit::from_char('D'));
        for none in ['E', ' ', '٣', 'w'] {
            assert_eq!(Digit::from_char(none), None);
        }
        assert_eq!(EventCode::FLASH.digit(), None);
        assert_eq!(format!("{:?}", Digit::ALL[7]), "Digit(_)");
        assert_eq!(format!("{:?}", EventCode(7)), "EventCode(_)");
        assert_eq!(format!("{:?}", EventCode::FLASH), "EventCode(16)");
    }

    #[test]
    fn payloads_are_read_and_written() {
        let event = TelephoneEvent::parse(&[11, 0x8a, 0x03, 0x20, 0xff]);
        let expected = TelephoneEvent {
            code: EventCode(11),
            end: true,
            volume: 10,
            duration: 800,
        };
        assert_eq!(event, Some(expected));
        assert_eq!(expected.to_bytes(), [11, 0x8a, 0x03, 0x20]);
        // The reserved bit.
        assert_eq!(TelephoneEvent::parse(&[11, 0xca, 3, 0x20]), Some(expected));
        for short in 0..EVENT_LEN {
            assert_eq!(TelephoneEvent::parse(&[0; EVENT_LEN][..short]), None);
        }
    }

    #[test]
    fn events_that_share_a_payload_are_all_read() {
        let payload = [1, 0x80, 1, 0x40, 2, 0x80, 1, 0x40, 3, 5];
        let codes: Vec<_> = TelephoneEvent::parse_all(&payload)
            .map(|event| event.code.0)
            .collect();
        assert_eq!(codes, [1, 2]);
    }
}
