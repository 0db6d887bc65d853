//! Sending a description on, with the relay's addresses in it.
//!
//! The order of lines is the one rtpengine answers with, so that users who move over can compare:
//! session lines, then per media `m= i= c= b=`, the attributes that pass, `mid`, each codec with
//! `rtpmap`, `fmtp` and `rtcp-fb`, the direction, `rtcp`, `rtcp-mux`, `ptime`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sdp_types::{Attribute, Bandwidth};

use super::attributes::{Fate, begins_with_pt, fate};
use super::codec::{Codec, CodecFilter};
use super::description::{Description, Direction, Media, payload_type};
use super::negotiate::PtMap;

/// How to send a description on.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// What becomes of `o=`, and whether the sender's identity is masked.
    pub origin: OriginPolicy,
    /// Replaces the address of the session's `c=` if there is one; `None` drops that line, so that
    /// every media has its own. All media on hold by zero address make it zero.
    pub session_address: Option<IpAddr>,
    /// One per `m=` line. A line without an entry is sent as rejected, further entries are ignored:
    /// the number of `m=` lines never changes (RFC 3264 section 6).
    pub medias: Vec<MediaRewrite>,
}

/// What becomes of `o=` and of everything else that tells who the sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginPolicy {
    /// `o=` stays as it is.
    Keep,
    /// Only its address is replaced.
    Address(IpAddr),
    /// Constant `o=`, `s=` and `t=`; no `i= u= e= p=`, and of the attributes only those known to
    /// be harmless: no `ssrc`, `msid`, `tool`, header extensions, nor any value that contains an
    /// address of the sender.
    Masked {
        /// Our session id, the same for the life of the leg.
        session_id: u64,
        /// Our version, greater by one each time the text changes (RFC 3264 section 8).
        version: u64,
        /// Our address.
        address: IpAddr,
    },
}

impl OriginPolicy {
    fn is_masked(self) -> bool {
        matches!(self, Self::Masked { .. })
    }
}

/// How to send one `m=` line on.
#[derive(Clone, Debug)]
pub struct MediaRewrite {
    /// Our address.
    pub address: IpAddr,
    /// Our port; 0 rejects the media.
    pub port: u16,
    /// Whether and how `a=rtcp` is written; only for RTP.
    pub rtcp: RtcpAttribute,
    /// Write `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// Write 0.0.0.0 or `::` instead of the address (hold as RFC 2543 wrote it).
    pub hold_zero: bool,
    /// New payload types, also in `fmtp` references.
    pub pts: PtMap,
    /// Milliseconds per packet to announce.
    pub ptime: Option<u16>,
    /// The direction to announce.
    pub direction: Direction,
    /// Which codecs are sent on; if none would be left, all are.
    pub codecs: CodecFilter,
    /// Codecs to write in the place of the media's own, in this order and under these numbers,
    /// unless there is none; `pts` then holds only for references in what is sent on.
    pub listed: Vec<Codec>,
    /// Another transport, as `RTP/SAVP`; characters that do not belong in one are left out.
    pub transport: Option<String>,
}

impl MediaRewrite {
    /// Sends `media` on as it is, but for our address and port; RTP with `a=rtcp` for the next port
    /// unless multiplexed.
    pub fn keep(media: &Media, address: IpAddr, port: u16) -> Self {
        let rtcp_port = if media.rtcp_mux {
            port
        } else {
            port.saturating_add(1)
        };
        Self {
            address,
            port,
            rtcp: RtcpAttribute::Port(rtcp_port),
            rtcp_mux: media.rtcp_mux,
            hold_zero: media.zero_address,
            pts: PtMap::default(),
            ptime: media.ptime,
            direction: media.direction,
            codecs: CodecFilter::All,
            listed: Vec::new(),
            transport: None,
        }
    }
}

/// Whether and how `a=rtcp` (RFC 3605) is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpAttribute {
    /// Not at all.
    None,
    /// `a=rtcp:<port>`.
    Port(u16),
    /// `a=rtcp:<port> IN IP4 <address>`.
    Full(u16, IpAddr),
}

impl Description {
    /// Appends the description as `rewrite` wants it: lines end in CRLF, in the order above. `s=`
    /// and `t=` are added if the sender forgot them.
    pub fn write(&self, rewrite: &Rewrite, out: &mut String) {
        let masked = rewrite.origin.is_masked();
        let hidden = if masked { self.addresses() } else { Vec::new() };
        let mut writer = Writer {
            out,
            masked,
            hidden: &hidden,
        };
        let session_address = self.session_address(rewrite);
        writer.session(self, rewrite, session_address);
        for (index, media) in self.medias.iter().enumerate() {
            match rewrite.medias.get(index) {
                Some(how) => writer.media(media, how, session_address),
                None => {
                    let address = rewrite
                        .session_address
                        .unwrap_or_else(|| Ipv4Addr::UNSPECIFIED.into());
                    let how = MediaRewrite::keep(media, address, 0);
                    writer.rejected(media, &how, session_address);
                }
            }
        }
    }

    /// What the session's `c=` will say, if it is written.
    fn session_address(&self, rewrite: &Rewrite) -> Option<IpAddr> {
        let address = rewrite
            .session_address
            .filter(|_| self.session.connection.is_some())?;
        let medias = self.medias.iter().zip(&rewrite.medias);
        let mut inheriting = medias
            .filter(|(media, how)| !media.own_connection && how.port != 0)
            .map(|(_, how)| how.hold_zero)
            .peekable();
        let hold = inheriting.peek().is_some() && inheriting.all(|hold| hold);
        Some(if hold { zero(address) } else { address })
    }

    /// Every address (or name) of the sender that a masked description must not contain.
    fn addresses(&self) -> Vec<String> {
        let mut addresses = vec![self.session.origin.unicast_address.clone()];
        let connection = self.session.connection.iter();
        addresses.extend(connection.map(|connection| connection.connection_address.clone()));
        for media in &self.medias {
            addresses.extend(media.address.map(|address| address.to_string()));
            addresses.extend(media.connection_text.clone());
            let rtcp = media.rtcp.and_then(|target| target.address);
            addresses.extend(rtcp.map(|address| address.to_string()));
        }
        // `/ttl` is not part of the address, and "0" or "-" would be found everywhere.
        for address in &mut addresses {
            address.truncate(address.find(['/', '%']).unwrap_or(address.len()));
        }
        addresses.retain(|address| address.len() > 2);
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

struct Writer<'a> {
    out: &'a mut String,
    masked: bool,
    hidden: &'a [String],
}

impl Writer<'_> {
    fn session(&mut self, description: &Description, rewrite: &Rewrite, address: Option<IpAddr>) {
        let session = &description.session;
        self.out.push_str("v=0\r\n");
        self.origin(description, rewrite.origin);
        match session.session_name.as_str() {
            name if !self.masked && !name.is_empty() => self.line("s=", &[name]),
            _ => self.line("s=", &["-"]),
        }
        if !self.masked {
            if let Some(title) = &session.session_description {
                self.line("i=", &[title]);
            }
            if let Some(uri) = &session.uri {
                self.line("u=", &[uri]);
            }
            for email in &session.emails {
                self.line("e=", &[email]);
            }
            for phone in &session.phones {
                self.line("p=", &[phone]);
            }
        }
        if let Some(address) = address {
            self.connection(address);
        }
        self.bandwidths(&session.bandwidths);
        self.times(&session.times);
        for attribute in &session.attributes {
            self.attribute(attribute, &PtMap::default());
        }
    }

    fn origin(&mut self, description: &Description, policy: OriginPolicy) {
        let origin = &description.session.origin;
        let username = origin
            .username
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("-");
        let kept = [username, " ", &origin.sess_id, " "];
        self.out.push_str("o=");
        match policy {
            OriginPolicy::Keep => {
                kept.into_iter().for_each(|part| self.out.push_str(part));
                self.number(origin.sess_version);
                let (net, kind) = (origin.nettype.as_str(), origin.addrtype.as_str());
                return self.line(" ", &[net, " ", kind, " ", &origin.unicast_address]);
            }
            OriginPolicy::Address(address) => {
                kept.into_iter().for_each(|part| self.out.push_str(part));
                self.number(origin.sess_version);
                self.out.push(' ');
                self.address(address);
            }
            OriginPolicy::Masked {
                session_id,
                version,
                address,
            } => {
                self.out.push_str("- ");
                self.number(session_id);
                self.out.push(' ');
                self.number(version);
                self.out.push(' ');
                self.address(address);
            }
        }
        self.end();
    }

    /// Calls start now and end by BYE; a masked one says nothing else. Repeats are not sent on.
    fn times(&mut self, times: &[sdp_types::Time]) {
        if self.masked || times.is_empty() {
            self.out.push_str("t=0 0\r\n");
            return;
        }
        for time in times {
            self.out.push_str("t=");
            self.number(time.start_time);
            self.out.push(' ');
            self.number(time.stop_time);
            self.end();
        }
    }

    fn media(&mut self, media: &Media, how: &MediaRewrite, session: Option<IpAddr>) {
        if how.port == 0 && !media.bundle_only {
            return self.rejected(media, how, session);
        }
        let rtp = media.is_rtp();
        let filter = how.codecs.for_media(&media.codecs);
        let kept = Kept { media, filter };
        self.media_head(&kept, how, session);
        for codec in &how.listed {
            self.codec(codec, codec.pt, &how.pts);
        }
        if how.listed.is_empty() {
            for codec in media.codecs.iter().filter(|codec| kept.has(codec)) {
                self.codec(codec, how.pts.get(codec.pt), &how.pts);
            }
        }
        if rtp || media.is_udptl() || media.direction_given {
            self.line("a=", &[how.direction.as_str()]);
        }
        if rtp {
            self.rtcp(how);
            if how.rtcp_mux && media.rtcp_mux_only {
                self.line("a=", &["rtcp-mux-only"]);
            }
        }
        if let Some(ptime) = how.ptime {
            self.out.push_str("a=ptime:");
            self.number(ptime.into());
            self.end();
        }
    }

    /// A rejected line keeps its formats and little else.
    fn rejected(&mut self, media: &Media, how: &MediaRewrite, session: Option<IpAddr>) {
        let kept = Kept {
            media,
            filter: &CodecFilter::All,
        };
        self.media_head(
            &kept,
            &MediaRewrite {
                port: 0,
                listed: Vec::new(),
                ..how.clone()
            },
            session,
        );
    }

    /// `m= i= c= b=`, the attributes that pass, and `mid`.
    fn media_head(&mut self, kept: &Kept<'_>, how: &MediaRewrite, session: Option<IpAddr>) {
        let media = kept.media;
        self.out.push_str("m=");
        self.out.push_str(&media.kind);
        self.out.push(' ');
        self.number(how.port.into());
        self.out.push(' ');
        match &how.transport {
            Some(transport) => self.transport(transport),
            None => self.out.push_str(&media.transport),
        }
        match how.listed.is_empty() {
            true => self.formats(kept, &how.pts),
            false => {
                for codec in &how.listed {
                    self.out.push(' ');
                    self.number(codec.pt.into());
                }
            }
        }
        self.end();
        if let Some(title) = media.title.as_deref().filter(|_| !self.masked) {
            self.line("i=", &[title]);
        }
        let address = if how.hold_zero {
            zero(how.address)
        } else {
            how.address
        };
        let inherits = session.is_some_and(|session| session == address || how.port == 0);
        if media.own_connection || !inherits {
            self.connection(address);
        }
        self.bandwidths(&media.bandwidths);
        for attribute in &media.attributes {
            self.attribute(attribute, &how.pts);
        }
        if media.bundle_only && how.port == 0 {
            self.line("a=", &["bundle-only"]);
        }
        if let Some(mid) = media.mid.as_deref().filter(|mid| self.may_show(mid)) {
            self.line("a=mid:", &[mid]);
        }
    }

    fn formats(&mut self, kept: &Kept<'_>, pts: &PtMap) {
        let mut seen = 0_u128;
        for format in kept.media.formats() {
            match payload_type(format).and_then(|pt| kept.media.codec(pt)) {
                Some(codec) => {
                    let bit = 1_u128 << codec.pt;
                    if kept.has(codec) && seen & bit == 0 {
                        self.out.push(' ');
                        self.number(pts.get(codec.pt).into());
                    }
                    seen |= bit;
                }
                None => {
                    self.out.push(' ');
                    self.out.push_str(format);
                }
            }
        }
    }

    fn codec(&mut self, codec: &Codec, pt: u8, pts: &PtMap) {
        let pt = u64::from(pt);
        if !codec.name.is_empty() {
            self.out.push_str("a=rtpmap:");
            self.number(pt);
            self.out.push(' ');
            self.out.push_str(&codec.name);
            self.out.push('/');
            self.number(codec.clock_hz.into());
            if codec.channels > 1 {
                self.out.push('/');
                self.number(codec.channels.into());
            }
            self.end();
        }
        if let Some(fmtp) = codec.fmtp.as_deref().filter(|fmtp| self.may_show(fmtp)) {
            self.out.push_str("a=fmtp:");
            self.number(pt);
            self.out.push(' ');
            self.fmtp(codec, fmtp, pts);
            self.end();
        }
        for feedback in &codec.feedback {
            if !self.may_show(feedback) {
                continue;
            }
            self.out.push_str("a=rtcp-fb:");
            self.number(pt);
            self.line(" ", &[feedback]);
        }
    }

    /// Format parameters, with references to other payload types renumbered: `apt=` of
    /// retransmission (RFC 4588) and the list of redundant audio (RFC 2198).
    fn fmtp(&mut self, codec: &Codec, fmtp: &str, pts: &PtMap) {
        if pts.is_empty() {
            self.out.push_str(fmtp);
        } else if codec.name.eq_ignore_ascii_case("red") {
            for (index, reference) in fmtp.split('/').enumerate() {
                self.out.push_str(if index == 0 { "" } else { "/" });
                self.reference(reference, pts);
            }
        } else {
            for (index, parameter) in fmtp.split(';').enumerate() {
                self.out.push_str(if index == 0 { "" } else { ";" });
                match parameter.split_once('=') {
                    Some((key, value)) if key.trim().eq_ignore_ascii_case("apt") => {
                        self.out.push_str(key);
                        self.out.push('=');
                        self.reference(value, pts);
                    }
                    _ => self.out.push_str(parameter),
                }
            }
        }
    }

    fn reference(&mut self, text: &str, pts: &PtMap) {
        match payload_type(text.trim()) {
            Some(pt) => self.number(pts.get(pt).into()),
            None => self.out.push_str(text),
        }
    }

    fn rtcp(&mut self, how: &MediaRewrite) {
        match how.rtcp {
            RtcpAttribute::None => {}
            RtcpAttribute::Port(port) => {
                self.out.push_str("a=rtcp:");
                self.number(port.into());
                self.end();
            }
            RtcpAttribute::Full(port, address) => {
                self.out.push_str("a=rtcp:");
                self.number(port.into());
                self.out.push(' ');
                self.address(address);
                self.end();
            }
        }
        if how.rtcp_mux {
            self.line("a=", &["rtcp-mux"]);
        }
    }

    fn attribute(&mut self, attribute: &Attribute, pts: &PtMap) {
        let name = attribute.attribute.as_str();
        if self.masked && fate(name) == Fate::Revealing {
            return;
        }
        let Some(value) = attribute.value.as_deref() else {
            return self.line("a=", &[name]);
        };
        if !self.may_show(value) {
            return;
        }
        match value.split_once(' ') {
            Some((pt, rest)) if !pts.is_empty() && begins_with_pt(name) => {
                self.out.push_str("a=");
                self.out.push_str(name);
                self.out.push(':');
                self.reference(pt, pts);
                self.line(" ", &[rest]);
            }
            _ => self.line("a=", &[name, ":", value]),
        }
    }

    /// A masked description contains no address of the sender, wherever it hides.
    fn may_show(&self, value: &str) -> bool {
        !self
            .hidden
            .iter()
            .any(|address| value.contains(address.as_str()))
    }

    fn bandwidths(&mut self, bandwidths: &[Bandwidth]) {
        for bandwidth in bandwidths {
            self.out.push_str("b=");
            self.out.push_str(&bandwidth.bwtype);
            self.out.push(':');
            self.number(bandwidth.bandwidth);
            self.end();
        }
    }

    fn connection(&mut self, address: IpAddr) {
        self.out.push_str("c=");
        self.address(address);
        self.end();
    }

    fn address(&mut self, address: IpAddr) {
        let kind = if address.is_ipv4() { "IP4" } else { "IP6" };
        let _ = write!(self.out, "IN {kind} {address}");
    }

    /// Comes from a command, not from the parser: whatever could end the field is left out.
    fn transport(&mut self, transport: &str) {
        let allowed = |character: &char| character.is_ascii_graphic();
        self.out.extend(transport.chars().filter(allowed));
    }

    fn line(&mut self, start: &str, parts: &[&str]) {
        self.out.push_str(start);
        for part in parts {
            self.out.push_str(part);
        }
        self.end();
    }

    /// Decimal, without the machinery of `format!`: a description has dozens.
    fn number(&mut self, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            // Below 10, so it fits.
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
            start -= 1;
            if number == 0 {
                break;
            }
        }
        let digits = digits.get(start..).unwrap_or_default();
        self.out
            .push_str(std::str::from_utf8(digits).unwrap_or_default());
    }

    fn end(&mut self) {
        self.out.push_str("\r\n");
    }
}

/// A media and the codecs of it that are sent on.
struct Kept<'a> {
    media: &'a Media,
    filter: &'a CodecFilter,
}

impl Kept<'_> {
    /// A codec goes with the filter, and a retransmission with the codec it repeats.
    fn has(&self, codec: &Codec) -> bool {
        self.filter.passes(codec)
            && codec
                .repeats()
                .and_then(|pt| self.media.codec(pt))
                .is_none_or(|repeated| self.filter.passes(repeated))
    }
}

/// The zero address of the same family.
fn zero(address: IpAddr) -> IpAddr {
    if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}
