//! A description that we write ourselves: an offer of nobody else's.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::codec::Codec;
use super::description::Direction;
use super::write::RtcpAttribute;

/// A description of our own (RFC 8866), an offer to one party.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Session id of `o=`, the same for the life of the leg.
    pub session_id: u64,
    /// Version of `o=`.
    pub version: u64,
    /// Our address in `o=`.
    pub address: IpAddr,
    /// The `m=` lines.
    pub medias: Vec<ComposedMedia>,
}

/// One `m=` line with what belongs to it. Texts come from a parsed description or from us: they
/// cannot open a new line.
#[derive(Clone, Debug)]
pub struct ComposedMedia {
    /// `audio`, `video` …
    pub kind: Box<str>,
    /// `RTP/AVP` …
    pub transport: Box<str>,
    /// Our address.
    pub address: IpAddr,
    /// Our port; 0: the line is not in use.
    pub port: u16,
    /// Its codecs, best first; one without a name is not written.
    pub codecs: Vec<Codec>,
    /// Who sends, seen from us.
    pub direction: Direction,
    /// Whether and how `a=rtcp` is written.
    pub rtcp: RtcpAttribute,
    /// Offer `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=label` (RFC 4574).
    pub label: Option<u16>,
}

impl Composed {
    /// The text, lines ending in CRLF.
    #[must_use]
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(256 + 256 * self.medias.len());
        let (id, version) = (self.session_id, self.version);
        let address = Address(self.address);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "v=0\r\no=- {id} {version} {address}\r\ns=-\r\nt=0 0\r\n"
        );
        for media in &self.medias {
            media.write(&mut out);
        }
        out
    }
}

impl ComposedMedia {
    fn write(&self, out: &mut String) {
        let (kind, transport) = (&self.kind, &self.transport);
        let codecs = || self.codecs.iter().filter(|codec| !codec.name.is_empty());
        let _ = write!(out, "m={kind} {} {transport}", self.port);
        for codec in codecs() {
            let _ = write!(out, " {}", codec.pt);
        }
        if codecs().next().is_none() {
            out.push_str(" 0"); // a line has at least one format
        }
        let _ = write!(out, "\r\nc={}\r\n", Address(self.address));
        if self.port == 0 {
            return;
        }
        if let Some(label) = self.label {
            let _ = write!(out, "a=label:{label}\r\n");
        }
        for codec in codecs() {
            write_codec(codec, out);
        }
        let _ = write!(out, "a={}\r\n", self.direction.as_str());
        let _ = match self.rtcp {
            RtcpAttribute::None => Ok(()),
            RtcpAttribute::Port(port) => write!(out, "a=rtcp:{port}\r\n"),
            RtcpAttribute::Full(port, ip) => write!(out, "a=rtcp:{port} {}\r\n", Address(ip)),
        };
        if self.rtcp_mux {
            out.push_str("a=rtcp-mux\r\n");
        }
    }
}

fn write_codec(codec: &Codec, out: &mut String) {
    let (pt, name, clock_hz) = (codec.pt, &codec.name, codec.clock_hz);
    let _ = write!(out, "a=rtpmap:{pt} {name}/{clock_hz}");
    if codec.channels > 1 {
        let _ = write!(out, "/{}", codec.channels);
    }
    out.push_str("\r\n");
    if let Some(fmtp) = &codec.fmtp {
        let _ = write!(out, "a=fmtp:{pt} {fmtp}\r\n");
    }
}

/// `IN IP4 192.0.2.1`.
struct Address(IpAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.0.is_ipv4() { "IP4" } else { "IP6" };
        write!(f, "IN {family} {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sdp::Description;

    fn line(port: u16, codecs: Vec<Codec>) -> ComposedMedia {
        let address: IpAddr = "192.0.2.9".parse().unwrap();
        ComposedMedia {
            kind: "audio".into(),
            transport: "RTP/AVP".into(),
            address,
            port,
            codecs,
            direction: Direction::SendOnly,
            rtcp: RtcpAttribute::Full(port + 1, "2001:db8::1".parse().unwrap()),
            rtcp_mux: true,
            label: Some(3),
        }
    }

    #[test]
    fn what_is_written_is_what_a_parser_reads() {
        let opus = Codec {
            pt: 96,
            name: "opus".into(),
            clock_hz: 48_000,
            channels: 2,
            fmtp: Some("useinbandfec=1".to_owned()),
            feedback: Vec::new(),
        };
        let nameless = Codec::of_static(120);
        let medias = vec![
            line(4_000, vec![Codec::of_static(0), nameless, opus.clone()]),
            line(0, Vec::new()),
        ];
        let composed = Composed {
            session_id: 7,
            version: 2,
            address: "192.0.2.9".parse().unwrap(),
            medias,
        };
        let text = composed.write();
        assert_eq!(
            text,
            "v=0\r\no=- 7 2 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0 96\r\nc=IN IP4 192.0.2.9\r\na=label:3\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n\
             a=sendonly\r\na=rtcp:4001 IN IP6 2001:db8::1\r\na=rtcp-mux\r\n\
             m=audio 0 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n"
        );
        let read = Description::parse(text.as_bytes()).unwrap();
        let [first, second] = read.medias() else {
            panic!("two lines");
        };
        assert_eq!(first.codecs[1], opus);
        assert_eq!(
            (first.direction, first.rtcp_mux),
            (Direction::SendOnly, true)
        );
        assert!(second.rejected());
    }
}
