//! What the SDPs inside a capture say about payload types: per address at which a party wants its
//! media, which numbers mean what, and since when.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::audio::codec::CodecKind;
use crate::wire::sdp::{Codec, Description, Encoding};

/// Addresses that are remembered; the SDPs of further ones are left out.
const ADDRESSES_MAX: usize = 16_384;

/// Changes of payload types that are remembered per address.
const CHANGES_MAX: usize = 1_024;

/// What a payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Audio(CodecKind),
    /// telephone-event with a clock in Hz.
    Event(u32),
    /// Known, and nothing with keys in it.
    Other,
}

/// All that the SDPs said.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    by_address: HashMap<SocketAddr, Vec<Change>>,
}

#[derive(Debug)]
struct Change {
    at_us: u64,
    pt: u8,
    meaning: Meaning,
}

impl Agreed {
    /// Learns from a datagram that may be a SIP message with an SDP in it, alone or in a body of
    /// several parts.
    pub(super) fn learn(&mut self, at_us: u64, datagram: &[u8]) {
        let Some(sdp) = find_sdp(datagram) else {
            return;
        };
        let Ok(description) = Description::parse(sdp) else {
            return;
        };
        for media in description.medias() {
            let Some(address) = media.address else {
                continue;
            };
            if media.port == 0 || !media.is_rtp() {
                continue;
            }
            for codec in &media.codecs {
                self.note((address, media.port), at_us, codec);
            }
        }
    }

    fn note(&mut self, address: (IpAddr, u16), at_us: u64, codec: &Codec) {
        let address = SocketAddr::from(address);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            return;
        }
        let changes = self.by_address.entry(address).or_default();
        let meaning = meaning_of(codec);
        let (pt, last) = (
            codec.pt,
            changes.iter().rfind(|change| change.pt == codec.pt),
        );
        if changes.len() < CHANGES_MAX && last.is_none_or(|last| last.meaning != meaning) {
            changes.push(Change { at_us, pt, meaning });
        }
    }

    /// What a payload type meant in a packet. The receiver's SDP names what is sent to it; that of
    /// the sender counts where the receiver's is not in the capture.
    pub(super) fn meaning(
        &self,
        at_us: u64,
        from: SocketAddr,
        to: SocketAddr,
        pt: u8,
    ) -> Option<Meaning> {
        let find = |address| {
            let changes = self.by_address.get(&address)?;
            let mut of_type = changes.iter().filter(|change| change.pt == pt);
            // Media may come before the answer that explains it.
            let before = of_type.clone().rfind(|change| change.at_us <= at_us);
            before
                .or_else(|| of_type.next())
                .map(|change| change.meaning)
        };
        find(to).or_else(|| find(from))
    }
}

fn meaning_of(codec: &Codec) -> Meaning {
    if codec.encoding() == Encoding::TelephoneEvent {
        return Meaning::Event(codec.clock_hz.max(1));
    }
    CodecKind::from_sdp(&codec.name, codec.clock_hz, codec.channels)
        .map_or(Meaning::Other, Meaning::Audio)
}

/// The SDP in a datagram: from a line `v=0` on. Other parts of its body end it.
fn find_sdp(datagram: &[u8]) -> Option<&[u8]> {
    // Requests and responses of SIP begin with a letter.
    datagram
        .first()
        .filter(|octet| octet.is_ascii_alphabetic())?;
    let at = datagram.windows(4).position(|w| w == b"\nv=0")? + 1;
    let sdp = &datagram[at..];
    let end = sdp
        .windows(3)
        .position(|w| w == b"\n--")
        .map_or(sdp.len(), |end| end + 1);
    Some(&sdp[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "INVITE sip:b@192.0.2.1 SIP/2.0\r\nVia: x\r\n\r\n\
        v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0 111 101 102 3\r\na=rtpmap:111 opus/48000/2\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\n";

    #[test]
    fn what_is_sent_to_a_party_is_numbered_by_its_sdp() {
        let mut agreed = Agreed::default();
        agreed.learn(1_000, MESSAGE.as_bytes());
        let party: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let other: SocketAddr = "192.0.2.8:5000".parse().unwrap();
        let of = |pt| agreed.meaning(0, other, party, pt);
        assert_eq!(of(0), Some(Meaning::Audio(CodecKind::Pcmu)));
        assert_eq!(of(111), Some(Meaning::Audio(CodecKind::Opus)));
        assert_eq!(of(101), Some(Meaning::Event(8_000)));
        assert_eq!(of(102), Some(Meaning::Event(48_000)));
        assert_eq!(of(3), Some(Meaning::Other));
        assert_eq!(of(99), None);
        assert_eq!(
            agreed.meaning(0, party, other, 101),
            Some(Meaning::Event(8_000))
        );
        assert_eq!(agreed.meaning(0, other, other, 101), None);
        // Another offer takes the number for something else.
        agreed.learn(
            2_000,
            MESSAGE
                .replace("101 telephone-event", "101 iLBC")
                .as_bytes(),
        );
        assert_eq!(
            agreed.meaning(1_500, other, party, 101),
            Some(Meaning::Event(8_000))
        );
        assert_eq!(
            agreed.meaning(2_000, other, party, 101),
            Some(Meaning::Other)
        );
    }

    #[test]
    fn a_body_of_several_parts_holds_it_too() {
        let sdp = MESSAGE.split_once("\r\n\r\n").unwrap().1;
        let message =
            format!("SIP/2.0 200 OK\r\n\r\n--b\r\nX: y\r\n\r\n{sdp}--b\r\nv=0 other\r\n--b--");
        assert_eq!(find_sdp(message.as_bytes()), Some(sdp.as_bytes()));
        assert_eq!(find_sdp(b"\x80\nv=0"), None);
        assert_eq!(find_sdp(b"SIP/2.0 100 Trying\r\n\r\n"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut agreed = Agreed::default();
        let codec = Codec::of_static(0);
        let host = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..=ADDRESSES_MAX {
            agreed.note((host(n), 9), 0, &codec);
        }
        assert_eq!(agreed.by_address.len(), ADDRESSES_MAX);
        for n in 0..=CHANGES_MAX {
            let codec = Codec {
                pt: 99,
                ..Codec::of_static([0, 8][n % 2])
            };
            agreed.note((host(0), 9), 0, &codec);
        }
        assert_eq!(agreed.by_address[&(host(0), 9).into()].len(), CHANGES_MAX);
    }
}
