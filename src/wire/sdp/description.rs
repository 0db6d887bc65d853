//! The typed view of a description.

use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Session};

use super::attributes::{Fate, Typed, fate};
use super::codec::Codec;
use super::connection::{address_of, check_addresses};
use super::error::SdpError;
use super::repair::repair;
use super::{SDP_BYTES_MAX, SDP_FORMATS_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX};

/// A parsed session description, within the bounds of this module's constants.
#[derive(Clone, Debug)]
pub struct Description {
    /// Session level, without its media and without the attributes that are typed or stripped.
    pub(super) session: Session,
    pub(super) medias: Vec<Media>,
}

/// The fields of `o=` (RFC 8866 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// User name; `-` if there is none.
    pub username: &'a str,
    /// Session id: a number by the RFC, any word in the field.
    pub session_id: &'a str,
    /// Session version.
    pub version: u64,
    /// The address, unless it is a name.
    pub address: Option<IpAddr>,
}

/// One `m=` line and what belongs to it.
#[derive(Clone, Debug)]
pub struct Media {
    /// `audio`, `video`, `image`, `application` …
    pub kind: String,
    /// Port; 0 rejects the media.
    pub port: u16,
    /// Ports by the `/number` notation, at least 1.
    pub port_count: u16,
    /// `RTP/AVP`, `udptl` …, as the sender spells it.
    pub transport: String,
    /// From its own `c=`, else the session's; `None` if there is none or it is a name.
    pub address: Option<IpAddr>,
    /// Its `c=` is a host name, which we do not resolve.
    pub address_is_name: bool,
    /// It has a `c=` of its own.
    pub own_connection: bool,
    /// The address is 0.0.0.0 or `::`: hold as RFC 2543 wrote it.
    pub zero_address: bool,
    /// `a=rtcp` (RFC 3605).
    pub rtcp: Option<RtcpTarget>,
    /// `a=rtcp-mux` (RFC 5761) or `a=rtcp-mux-only` (RFC 8858).
    pub rtcp_mux: bool,
    /// Its direction, else the session's, else `sendrecv`.
    pub direction: Direction,
    /// Milliseconds of media per packet; never 0.
    pub ptime: Option<u16>,
    /// The payload types of an RTP media, in the sender's order of preference, each once.
    pub codecs: Vec<Codec>,
    /// `a=mid` (RFC 5888).
    pub mid: Option<String>,
    /// `a=bundle-only` (RFC 9143): port 0 does not reject it.
    pub bundle_only: bool,
    /// `a=rtcp-mux-only`.
    pub(super) rtcp_mux_only: bool,
    /// The direction was written, here or at session level.
    pub(super) direction_given: bool,
    /// The text of its own `c=`.
    pub(super) connection_text: Option<String>,
    pub(super) format_list: String,
    pub(super) title: Option<String>,
    pub(super) bandwidths: Vec<sdp_types::Bandwidth>,
    /// What is neither typed nor stripped, in the sender's order.
    pub(super) attributes: Vec<Attribute>,
}

/// Where a party wants RTCP (RFC 3605).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpTarget {
    /// The port.
    pub port: u16,
    /// The address, if it is not the media's.
    pub address: Option<IpAddr>,
}

/// Who sends, from the point of view of the party whose description it is (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It sends and receives.
    #[default]
    SendRecv,
    /// It only sends.
    SendOnly,
    /// It only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// From its two halves.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The party sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The party receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same from the other party's point of view.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

impl Description {
    /// Reads an offer or answer. Line ends may be CRLF, LF or CR; `o=`, `s=` and `t=` may be
    /// missing; lines may come in any order after `v=0`; blanks and NUL bytes around the text are
    /// ignored. What strict parsing refuses is mended where its meaning is plain.
    ///
    /// # Errors
    ///
    /// [`SdpError`] names the line and the field, or the limit that is exceeded.
    pub fn parse(data: &[u8]) -> Result<Self, SdpError> {
        if data.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong { bytes: data.len() });
        }
        let text = trim(data);
        let lines = line_count(text);
        if lines > SDP_LINES_MAX {
            return Err(SdpError::TooManyLines { lines });
        }
        match Session::parse(text) {
            Ok(session) if session.medias.iter().all(is_complete) => Self::new(session, text),
            _ => {
                let mended = repair(text);
                Self::new(Session::parse(mended.as_bytes())?, mended.as_bytes())
            }
        }
    }

    fn new(mut session: Session, text: &[u8]) -> Result<Self, SdpError> {
        let medias = std::mem::take(&mut session.medias);
        if medias.len() > SDP_MEDIA_MAX {
            return Err(SdpError::TooManyMedia {
                line: media_line_number(text, SDP_MEDIA_MAX),
            });
        }
        check_addresses(&session, &medias, text)?;
        let mut direction = None;
        session.attributes.retain_mut(|attribute| {
            normalize(attribute);
            match fate(&attribute.attribute) {
                Fate::Stripped => false,
                Fate::Typed(Typed::Direction(found)) => {
                    direction = Some(found);
                    false
                }
                // RTCP is agreed per media; at this level it would speak for ports of ours.
                Fate::Typed(Typed::Rtcp | Typed::RtcpMux | Typed::RtcpMuxOnly) => false,
                _ => !is_bundle(attribute),
            }
        });
        let inherited = Inherited {
            connection: session.connection.as_ref(),
            direction,
        };
        let medias = medias
            .into_iter()
            .enumerate()
            .map(|(index, media)| {
                Media::new(media, &inherited).ok_or_else(|| SdpError::TooManyFormats {
                    line: media_line_number(text, index),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { session, medias })
    }

    /// One per `m=` line, in their order.
    pub fn medias(&self) -> &[Media] {
        &self.medias
    }

    /// The `o=` line; a missing one reads as zeros.
    pub fn origin(&self) -> Origin<'_> {
        let origin = &self.session.origin;
        Origin {
            username: origin.username.as_deref().unwrap_or("-"),
            session_id: &origin.sess_id,
            version: origin.sess_version,
            address: origin.unicast_address.parse().ok(),
        }
    }

    /// There is a `c=` at session level.
    pub fn has_session_connection(&self) -> bool {
        self.session.connection.is_some()
    }
}

/// What a media takes from the session unless it says otherwise.
struct Inherited<'a> {
    connection: Option<&'a Connection>,
    direction: Option<Direction>,
}

impl Media {
    /// `None` if it has too many formats.
    fn new(mut media: sdp_types::Media, inherited: &Inherited<'_>) -> Option<Self> {
        if media.fmt.split_ascii_whitespace().count() > SDP_FORMATS_MAX {
            return None;
        }
        let own = media.connections.first();
        let connection = own.or(inherited.connection);
        let address = connection.and_then(address_of);
        let mut attributes = std::mem::take(&mut media.attributes);
        let mut typed = Self {
            codecs: codecs(&media),
            port: media.port,
            port_count: media.num_ports.unwrap_or(1).max(1),
            address,
            address_is_name: connection.is_some() && address.is_none(),
            own_connection: own.is_some(),
            zero_address: address.is_some_and(|address| address.is_unspecified()),
            rtcp: None,
            rtcp_mux: false,
            direction: inherited.direction.unwrap_or_default(),
            ptime: None,
            mid: None,
            bundle_only: false,
            rtcp_mux_only: false,
            direction_given: inherited.direction.is_some(),
            connection_text: own.map(|own| own.connection_address.clone()),
            format_list: media.fmt,
            kind: media.media,
            transport: media.proto,
            title: media.media_title,
            bandwidths: media.bandwidths,
            attributes: Vec::new(),
        };
        attributes.retain_mut(|attribute| {
            normalize(attribute);
            match fate(&attribute.attribute) {
                Fate::Stripped => false,
                Fate::Typed(kind) => !typed.take(kind, attribute),
                Fate::Harmless | Fate::Revealing => true,
            }
        });
        typed.attributes = attributes;
        Some(typed)
    }

    /// Moves an attribute into its field; false leaves it among the others.
    fn take(&mut self, kind: Typed, attribute: &mut Attribute) -> bool {
        let value = attribute.value.as_mut();
        match kind {
            Typed::BundleOnly => self.bundle_only = true,
            Typed::Direction(direction) => {
                self.direction = direction;
                self.direction_given = true;
            }
            Typed::Mid => self.mid = value.map(std::mem::take).filter(|mid| !mid.is_empty()),
            Typed::Ptime => self.ptime = value.and_then(|text| leading_number(text)),
            Typed::Rtcp => self.rtcp = value.and_then(|text| rtcp_target(text)),
            Typed::RtcpMux => self.rtcp_mux = true,
            Typed::RtcpMuxOnly => {
                self.rtcp_mux = true;
                self.rtcp_mux_only = true;
            }
            Typed::Rtpmap | Typed::Fmtp | Typed::RtcpFb if !self.is_rtp() => return false,
            Typed::Rtpmap | Typed::Fmtp => {
                if let Some(value) = value {
                    self.take_format(kind, value);
                }
            }
            Typed::RtcpFb => {
                let Some(value) = value.filter(|value| !value.starts_with('*')) else {
                    return false;
                };
                self.take_format(kind, value);
            }
        }
        true
    }

    /// `<payload type> <value>`; for a payload type that is not listed there is nothing to say.
    fn take_format(&mut self, kind: Typed, text: &mut String) {
        let trimmed = text.trim_start();
        let start = text.len() - trimmed.len();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (pt, rest) = trimmed.split_at(digits);
        let Ok(pt) = pt.parse::<u8>() else { return };
        let Some(codec) = self.codecs.iter_mut().find(|codec| codec.pt == pt) else {
            return;
        };
        if kind == Typed::Rtpmap {
            codec.set_rtpmap(rest);
            return;
        }
        let blanks = rest.len() - rest.trim_start().len();
        text.drain(..start + digits + blanks);
        if text.is_empty() {
            return;
        }
        let value = std::mem::take(text);
        match (&mut codec.fmtp, kind) {
            (_, Typed::RtcpFb) => codec.feedback.push(value),
            (Some(fmtp), _) => {
                fmtp.push(';');
                fmtp.push_str(&value);
            }
            (none, _) => *none = Some(value),
        }
    }

    /// The formats of the `m=` line as they stand there.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.format_list.split_ascii_whitespace()
    }

    /// It speaks RTP: `RTP/AVP`, `RTP/SAVPF`, `UDP/TLS/RTP/SAVP` …
    pub fn is_rtp(&self) -> bool {
        is_rtp(&self.transport)
    }

    /// It is T.38 over UDPTL.
    pub fn is_udptl(&self) -> bool {
        self.transport.eq_ignore_ascii_case("udptl")
    }

    /// Port 0 and not only waiting for a bundle.
    pub fn rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// Several RTP sources share its stream: retransmission or repair by SSRC (RFC 4588, RFC 8627),
    /// simulcast (RFC 8853), or more than one SSRC that is named (RFC 5576).
    pub fn has_many_sources(&self) -> bool {
        let repairs = |codec: &Codec| {
            let is = |name: &str| {
                let start = codec.name.get(..name.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(name))
            };
            is("rtx") || is("flexfec")
        };
        let is = |attribute: &Attribute, name| attribute.attribute.eq_ignore_ascii_case(name);
        let ssrc = |a: &Attribute| {
            let id = a.value.as_deref().unwrap_or_default().split(' ').next();
            id.and_then(|id| id.parse::<u32>().ok())
        };
        let named = |a: &&Attribute| is(a, "ssrc");
        let mut ssrcs = self.attributes.iter().filter(named).filter_map(ssrc);
        let first = ssrcs.next();
        self.codecs.iter().any(repairs)
            || ssrcs.any(|ssrc| Some(ssrc) != first)
            || self
                .attributes
                .iter()
                .any(|a| is(a, "ssrc-group") || is(a, "simulcast") || is(a, "rid"))
    }

    /// What an answer is compared with: everything but the text that only passes through.
    #[must_use]
    pub fn without_text(&self) -> Self {
        Self {
            kind: String::new(),
            mid: None,
            connection_text: None,
            format_list: String::new(),
            title: None,
            bandwidths: Vec::new(),
            attributes: Vec::new(),
            transport: self.transport.clone(),
            codecs: self.codecs.clone(),
            ..*self
        }
    }

    /// The codec with payload type `pt`.
    pub fn codec(&self, pt: u8) -> Option<&Codec> {
        self.codecs.iter().find(|codec| codec.pt == pt)
    }
}

pub(super) fn is_rtp(transport: &str) -> bool {
    transport
        .split('/')
        .any(|part| part.eq_ignore_ascii_case("RTP"))
}

/// One codec per payload type in the `m=` line; formats that are none are left to the writer.
fn codecs(media: &sdp_types::Media) -> Vec<Codec> {
    if !is_rtp(&media.proto) {
        return Vec::new();
    }
    let mut codecs: Vec<Codec> = Vec::with_capacity(4);
    for pt in media.fmt.split_ascii_whitespace().filter_map(payload_type) {
        if codecs.iter().all(|codec| codec.pt != pt) {
            codecs.push(Codec::of_static(pt));
        }
    }
    codecs
}

/// A format that is a payload type.
pub(super) fn payload_type(format: &str) -> Option<u8> {
    format.parse().ok().filter(|pt| *pt < 128)
}

/// `<port> [<nettype> <addrtype> <address>]` (RFC 3605 section 2.1).
fn rtcp_target(text: &str) -> Option<RtcpTarget> {
    let mut fields = text.split_ascii_whitespace();
    let port = fields.next()?.parse().ok()?;
    Some(RtcpTarget {
        port,
        address: fields.nth(2).and_then(|address| address.parse().ok()),
    })
}

fn leading_number(text: &str) -> Option<u16> {
    let text = text.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..digits)?
        .parse()
        .ok()
        .filter(|number| *number > 0)
}

/// Drops blanks around name and value, which mean nothing and confuse comparisons.
fn normalize(attribute: &mut Attribute) {
    let blank = [' ', '\t'];
    trim_end(&mut attribute.attribute);
    if attribute.attribute.starts_with(blank) {
        attribute.attribute = attribute.attribute.trim_start_matches(blank).to_owned();
    }
    if let Some(value) = &mut attribute.value {
        trim_end(value);
        if value.starts_with(blank) {
            *value = value.trim_start_matches(blank).to_owned();
        }
    }
}

fn trim_end(text: &mut String) {
    text.truncate(text.trim_end_matches([' ', '\t']).len());
}

/// A bundle (RFC 9143) shares one port, and a relay gives each media its own.
fn is_bundle(attribute: &Attribute) -> bool {
    attribute.attribute.eq_ignore_ascii_case("group")
        && attribute.value.as_deref().is_some_and(|value| {
            value
                .get(..6)
                .is_some_and(|kind| kind.eq_ignore_ascii_case("BUNDLE"))
        })
}

/// The parser takes an `m=` line with two blanks in a row for one with empty fields.
fn is_complete(media: &sdp_types::Media) -> bool {
    !media.media.is_empty() && !media.proto.is_empty() && !media.fmt.trim().is_empty()
}

/// Without the blanks, line ends and NUL bytes some senders put around the text.
fn trim(data: &[u8]) -> &[u8] {
    let outside = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n');
    let start = data
        .iter()
        .position(|byte| !outside(byte))
        .unwrap_or(data.len());
    let end = data
        .iter()
        .rposition(|byte| !outside(byte))
        .map_or(start, |last| last + 1);
    data.get(start..end).unwrap_or_default()
}

/// Lines by LF, or by CR where there is no LF.
fn line_count(text: &[u8]) -> usize {
    let count = |end: u8| text.iter().filter(|byte| **byte == end).count();
    let breaks = count(b'\n');
    1 + if breaks == 0 { count(b'\r') } else { breaks }
}

/// The line number of the `index`-th `m=` line; only for error messages.
pub(super) fn media_line_number(text: &[u8], index: usize) -> usize {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let mut media_lines = lines.filter(|(_, line)| line.starts_with(b"m="));
    media_lines.nth(index).map_or(0, |(number, _)| number + 1)
}
