//! What a datagram on a media port is, decided once by its first two bytes.
//!
//! The first byte tells the protocols apart (RFC 7983 §7, figure 3); between RTP and RTCP on one
//! port the second byte decides (RFC 5761 §4): RTCP packet types 192–223 are RTP payload types
//! 64–95 with the marker bit, which is why those are not used for RTP.

/// A datagram's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// First byte 0–3 (RFC 8489).
    Stun,
    /// First byte 16–19 (RFC 6189).
    Zrtp,
    /// First byte 20–63 (RFC 9147).
    Dtls,
    /// First byte 64–79: TURN channel data (RFC 8656).
    TurnChannel,
    /// First byte 128–191, second byte not 192–223 (RFC 3550 §5.1).
    Rtp,
    /// First byte 128–191, second byte 192–223 (RFC 3550 §6.1).
    Rtcp,
    /// Anything else, and datagrams shorter than two bytes.
    Unknown,
}

impl Datagram {
    /// Tells what `bytes` claim to be; nothing past the second byte is looked at.
    #[must_use]
    pub fn classify(bytes: &[u8]) -> Self {
        let [first, second, ..] = bytes else {
            return Self::Unknown;
        };
        match first {
            128..=191 if matches!(second, 192..=223) => Self::Rtcp,
            128..=191 => Self::Rtp,
            0..=3 => Self::Stun,
            16..=19 => Self::Zrtp,
            20..=63 => Self::Dtls,
            64..=79 => Self::TurnChannel,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_protocol() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Datagram::Stun,
                16..=19 => Datagram::Zrtp,
                20..=63 => Datagram::Dtls,
                64..=79 => Datagram::TurnChannel,
                128..=191 => Datagram::Rtp,
                _ => Datagram::Unknown,
            };
            assert_eq!(
                Datagram::classify(&[first, 0]),
                expected,
                "first byte {first}"
            );
        }
    }

    #[test]
    fn second_byte_tells_rtcp() {
        for second in 0..=255u8 {
            let rtcp = (192..=223).contains(&second);
            assert_eq!(
                Datagram::classify(&[0x80, second]) == Datagram::Rtcp,
                rtcp,
                "{second}"
            );
        }
    }

    #[test]
    fn too_short_is_unknown() {
        assert_eq!(Datagram::classify(&[]), Datagram::Unknown);
        assert_eq!(Datagram::classify(&[0x80]), Datagram::Unknown);
    }
}
