//! The SDP of one party, reduced to the line of audio that the switch accepted.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::wire::sdp::{Description, Direction, Media};

/// One party's audio, as it is told to others, and what else it offered.
#[derive(Clone, Debug)]
pub(super) struct Audio {
    /// The line, with accepted codecs alone.
    media: Media,
    /// Its place among the lines.
    ix: usize,
}

impl Audio {
    /// The first line of audio in `sdp` that `told`, which answered it, accepts, with those codecs
    /// that it accepts; `None`: it accepts none.
    pub(super) fn accepted(sdp: &[u8], told: &[u8]) -> Option<Self> {
        let (offered, told) = (
            Description::parse(sdp).ok()?,
            Description::parse(told).ok()?,
        );
        let lines = offered.medias().iter().zip(told.medias()).enumerate();
        let audio = |(_, (media, told)): &(usize, (&Media, &Media))| {
            media.kind.eq_ignore_ascii_case("audio") && !told.rejected()
        };
        let (ix, (media, told)) = lines.into_iter().find(audio)?;
        let mut media = media.clone();
        media.codecs.retain(|codec| told.codec(codec.pt).is_some());
        media.rtcp_mux = told.rtcp_mux;
        Some(Self { media, ix })
    }

    /// The first line of audio in `sdp`, with all its codecs.
    pub(super) fn of(sdp: &[u8]) -> Option<Self> {
        let description = Description::parse(sdp).ok()?;
        let mut lines = description.medias().iter().enumerate();
        let audio =
            |(_, m): &(usize, &Media)| m.kind.eq_ignore_ascii_case("audio") && !m.rejected();
        let (ix, media) = lines.find(audio)?;
        Some(Self {
            media: media.clone(),
            ix,
        })
    }

    /// As an offer.
    pub(super) fn offer(&self) -> String {
        self.write(self.media.direction)
    }

    /// As an offer of every codec to somebody else, who is to be where this one was: whatever was
    /// settled with that one is not the other's.
    pub(super) fn offer_anew(&self) -> String {
        let mut media = self.media.clone();
        "RTP/AVP".clone_into(&mut media.transport);
        media.codecs.clear();
        let line = Self { media, ix: 0 };
        let offer = offer_all(&line.write(Direction::new(true, true)));
        // A session of its own: another version of a known one would have to be a later one.
        let session = fastrand::u32(1..);
        offer.replacen("o=- 1 ", &format!("o=- {session} "), 1)
    }

    /// As an answer to somebody who offers `other`.
    pub(super) fn answer_to(&self, other: &Self) -> String {
        let (own, offered) = (self.media.direction, other.media.direction);
        self.write(Direction::new(
            own.sends() && offered.receives(),
            own.receives() && offered.sends(),
        ))
    }

    fn write(&self, direction: Direction) -> String {
        let media = &self.media;
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let address = media.address.filter(|_| !media.zero_address);
        let address = address.unwrap_or(nowhere);
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        let mut out = format!(
            "v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
        );
        for _ in 0..self.ix {
            out.push_str("m=audio 0 RTP/AVP 0\r\n");
        }
        let (kind, port, transport) = (&media.kind, media.port, &media.transport);
        let _infallible = write!(out, "m={kind} {port} {transport}");
        for codec in &media.codecs {
            let _infallible = write!(out, " {}", codec.pt);
        }
        out.push_str("\r\n");
        for codec in &media.codecs {
            let (pt, name, clock_hz) = (codec.pt, &codec.name, codec.clock_hz);
            if name.is_empty() {
                continue; // a number that nobody explained
            }
            let _infallible = match codec.channels {
                0 | 1 => write!(out, "a=rtpmap:{pt} {name}/{clock_hz}\r\n"),
                channels => write!(out, "a=rtpmap:{pt} {name}/{clock_hz}/{channels}\r\n"),
            };
            if let Some(fmtp) = &codec.fmtp {
                let _infallible = write!(out, "a=fmtp:{pt} {fmtp}\r\n");
            }
        }
        let _infallible = write!(out, "a={}\r\n", direction.as_str());
        if let Some(ptime) = media.ptime {
            let _infallible = write!(out, "a=ptime:{ptime}\r\n");
        }
        if let Some(rtcp) = media.rtcp {
            let _infallible = write!(out, "a=rtcp:{}\r\n", rtcp.port);
        }
        if media.rtcp_mux {
            out.push_str("a=rtcp-mux\r\n");
        }
        out
    }
}

/// Answers what `offer` has besides the lines of `answer` with port 0 (RFC 3264 section 6).
pub(super) fn reject_rest(offer: &[u8], mut answer: String) -> String {
    let lines = |sdp: &[u8]| Description::parse(sdp).map(|d| d.medias().to_vec());
    if let (Ok(offered), Ok(answered)) = (lines(offer), lines(answer.as_bytes())) {
        for media in offered.iter().skip(answered.len()) {
            let format = media.formats().next().unwrap_or("0");
            let (kind, transport) = (&media.kind, &media.transport);
            let _infallible = write!(answer, "m={kind} 0 {transport} {format}\r\n");
        }
    }
    answer
}

/// What a party is offered of which nothing is known: every codec that we have, by payload type.
const ALL: [(u8, &str); 6] = [
    (0, "PCMU/8000"),
    (8, "PCMA/8000"),
    (9, "G722/8000"),
    (96, "opus/48000/2"),
    (101, "telephone-event/8000"),
    (102, "telephone-event/48000"),
];

/// Makes an offer of every codec out of what the switch answered to [`OF_NOBODY`].
pub(super) fn offer_all(told: &str) -> String {
    let mut out = String::new();
    for line in told.lines() {
        if line.starts_with("a=rtpmap:") || line.starts_with("a=fmtp:") {
            continue;
        }
        let Some(media) = line.strip_prefix("m=") else {
            let _infallible = write!(out, "{line}\r\n");
            continue;
        };
        let head: Vec<&str> = media.split(' ').take(3).collect();
        let _infallible = write!(out, "m={}", head.join(" "));
        for (pt, _) in ALL {
            let _infallible = write!(out, " {pt}");
        }
        out.push_str("\r\n");
    }
    for (pt, name) in ALL {
        let _infallible = write!(out, "a=rtpmap:{pt} {name}\r\n");
        if name.starts_with("telephone-event") {
            let _infallible = write!(out, "a=fmtp:{pt} 0-15\r\n");
        }
    }
    out
}

/// An offer of a party of which nothing is known, as the switch is to answer it: what we then offer
/// it ourselves (RFC 3261 section 13.2.1).
pub(super) const OF_NOBODY: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\n\
    t=0 0\r\nm=audio 9 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=anna 7 7 IN IP4 192.0.2.1\r\ns=secret\r\nc=IN IP4 192.0.2.1\r\n\
        t=0 0\r\nm=audio 4000 RTP/AVP 18 0 101\r\na=rtpmap:18 G729/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:30\r\na=sendonly\r\n\
        a=x-own:1\r\nm=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    const TOLD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 5000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
        m=video 0 RTP/AVP 96\r\n";

    #[test]
    fn what_was_not_accepted_is_not_told_on() {
        let audio = Audio::accepted(OFFER.as_bytes(), TOLD.as_bytes()).unwrap();
        let offer = audio.offer();
        for part in ["m=audio 4000 RTP/AVP 0 101\r\n", "a=ptime:30", "a=sendonly"] {
            assert!(offer.contains(part), "{part} in {offer}");
        }
        for part in ["G729", "secret", "anna", "video", "x-own"] {
            assert!(!offer.contains(part), "{part} in {offer}");
        }
        let other = Audio::of(TOLD.as_bytes()).unwrap();
        assert!(other.answer_to(&audio).contains("a=recvonly"));
        assert!(Description::parse(offer.as_bytes()).is_ok());
    }

    #[test]
    fn somebody_else_is_offered_what_was_settled_with_nobody() {
        let told = TOLD
            .replace("RTP/AVP 0 101", "RTP/SAVP 0 101")
            .replace("m=video", "a=recvonly\r\nm=video");
        let offer = Audio::of(told.as_bytes()).unwrap().offer_anew();
        let part = "m=audio 5000 RTP/AVP 0 8 9 96 101 102\r\n";
        assert!(offer.contains(part), "{offer}");
        assert!(offer.contains("a=sendrecv") && !offer.contains("video"));
        let again = Audio::of(told.as_bytes()).unwrap().offer_anew();
        assert_ne!(offer, again, "each is a session of its own");
        assert!(Description::parse(offer.as_bytes()).is_ok());
    }

    #[test]
    fn every_line_of_an_offer_is_answered() {
        let one = Audio::of(TOLD.as_bytes()).unwrap().offer();
        let whole = reject_rest(OFFER.as_bytes(), one);
        assert!(whole.ends_with("m=video 0 RTP/AVP 96\r\n"), "{whole}");
        assert!(Audio::accepted(OFFER.as_bytes(), b"v=0").is_none());
    }
}
