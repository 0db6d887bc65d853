//! An ng request with types: every key and flag we honour, and the names of those we do not.
//!
//! [`Request`] is the result; `reader` fills it key by key, with the conversions of `values`.

mod command;
mod error;
mod names;
mod parts;
mod reader;
mod values;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::engine::{EarlyMedia, LearnPace, Privacy};
use crate::switch::{Echo, HoldMusic};
use crate::wire::bencode;
use crate::wire::ng::{self, Encoding, JsonErrorKind, Value};

use super::block_dtmf::MaskKeys;
use super::mesh::MeshKeys;
use super::play_dtmf::KeyPress;
use super::recording::RecordingKeys;

use self::command::Need;
use self::names::Names;
use self::reader::Reader;

pub use self::command::Command;
pub use self::error::RequestError;
pub(super) use self::values::on_or_off;

pub use self::parts::{AddressFamily, Codecs, Flags, Replace, RtcpMux, SipMessageType};

/// Longest call-id in bytes.
pub const CALL_ID_MAX: usize = 512;

/// Longest tag, via-branch or label in bytes.
pub const TAG_MAX: usize = 256;

/// Most tags of `from-tags`.
pub const FROM_TAGS_MAX: usize = 64;

/// Longest name of an interface in bytes.
pub const INTERFACE_NAME_MAX: usize = 64;

/// Longest name of a file or URL to play, in bytes.
pub const FILE_NAME_MAX: usize = 4096;

/// Most codecs in each of the lists of [`Codecs`].
pub const CODECS_MAX: usize = 64;

/// Longest name of a codec with its parameters, in bytes.
pub const CODEC_NAME_MAX: usize = 256;

/// Most names a warning lists, of each kind; the others are counted.
pub const WARNING_NAMES_MAX: usize = 32;

/// Longest name in a warning in bytes; a longer one is cut.
pub const WARNING_NAME_MAX: usize = 64;

/// Longest time a call may be kept after its deletion, in seconds: a day.
pub const DELETE_DELAY_MAX_S: u32 = 86_400;

/// A request, typed; it borrows from the message.
///
/// The daemon's liberality holds: no unknown key, flag or value is an error. A key that is there
/// twice, or in two spellings, counts as it stands last; flags and lists of values add up. What
/// we know but do not honour, and what we do not know, is kept by name for [`Request::warning`].
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// What to do.
    pub command: Command,
    /// `call-id`, 1 to [`CALL_ID_MAX`] bytes.
    pub call_id: Option<Cow<'a, [u8]>>,
    /// `from-tag`, 1 to [`TAG_MAX`] bytes: of an offer, whose SDP it is; of an answer, the offerer.
    pub from_tag: Option<Cow<'a, [u8]>>,
    /// `from-tags`: several participants, at most [`FROM_TAGS_MAX`].
    pub from_tags: Vec<Cow<'a, [u8]>>,
    /// `to-tag`, 1 to [`TAG_MAX`] bytes: of an answer, whose SDP it is.
    pub to_tag: Option<Cow<'a, [u8]>>,
    /// `to-call-id` of `connect`, 1 to [`CALL_ID_MAX`] bytes: the call of `to-tag`.
    pub to_call_id: Option<Cow<'a, [u8]>>,
    /// `via-branch`, 1 to [`TAG_MAX`] bytes: tells the branches of a fork apart.
    pub via_branch: Option<Cow<'a, [u8]>>,
    /// `sdp`, at least one byte; bounded by the message only.
    pub sdp: Option<Cow<'a, [u8]>>,
    /// `received-from`: where the signalling came from.
    pub received_from: Option<IpAddr>,
    /// `from-interface`, or the first name of `direction`: towards the sender of the SDP.
    pub from_interface: Option<Cow<'a, str>>,
    /// `to-interface`, or the second name of `direction`: towards the other party.
    pub to_interface: Option<Cow<'a, str>>,
    /// `address family` of the SDP that goes out.
    pub address_family: Option<AddressFamily>,
    /// `media-address`: to be written into the SDP in place of our own.
    pub media_address: Option<IpAddr>,
    /// `transport-protocol` as asked for. [`Request::ignore`] it if it would need a conversion.
    pub transport_protocol: Option<Cow<'a, str>>,
    /// `ICE=remove`.
    pub ice_remove: bool,
    /// `rtcp-mux`.
    pub rtcp_mux: RtcpMux,
    /// `replace`.
    pub replace: Replace,
    /// `codec`.
    pub codecs: Codecs<'a>,
    /// `ptime` towards the other party, in milliseconds.
    pub ptime_ms: Option<u16>,
    /// `ptime-reverse`, towards the sender of the SDP, in milliseconds.
    pub ptime_reverse_ms: Option<u16>,
    /// `endpoint-learning`.
    pub endpoint_learning: Option<LearnPace>,
    /// `port-latching` or `no-port-latching`.
    pub port_latching: Option<bool>,
    /// `generate-RTCP`.
    pub generate_rtcp: Option<bool>,
    /// `privacy`, or a flag of its name (ours, not rtpengine's).
    pub privacy: Option<Privacy>,
    /// `TOS` of packets sent: the whole octet, DSCP and ECN.
    pub tos: Option<u8>,
    /// `delete-delay` in seconds, at most [`DELETE_DELAY_MAX_S`].
    pub delete_delay_s: Option<u32>,
    /// `limit` of `list`. A negative one is the command's to refuse.
    pub limit: Option<i64>,
    /// `set-label`: how the sender of the SDP is called from now on.
    pub set_label: Option<Cow<'a, [u8]>>,
    /// `label` or `from-label`: selects the participant of that label.
    pub label: Option<Cow<'a, [u8]>>,
    /// `to-label`: selects the other participant.
    pub to_label: Option<Cow<'a, [u8]>>,
    /// `address`: selects the participant who receives media there.
    pub address: Option<IpAddr>,
    /// `sip-message-type`.
    pub sip_message_type: Option<SipMessageType>,
    /// `sip-code` of a reply, 100 to 699.
    pub sip_code: Option<u16>,
    /// `early-media-policy` (ours, not rtpengine's): what the offerer hears before one of those it
    /// calls is chosen.
    pub early_media_policy: Option<EarlyMedia>,
    /// `media-echo`: who hears itself, and who is heard by nobody.
    pub media_echo: Option<Echo>,
    /// `file` to play: a path, or an `http` or `https` URL; in a list (ours, not rtpengine's) up
    /// to [`SEQUENCE_MAX`](crate::engine::SEQUENCE_MAX) one after another.
    pub files: Option<Vec<Cow<'a, str>>>,
    /// `blob`, or `blob64` decoded: a file to play, in the message.
    pub blob: Option<Cow<'a, [u8]>>,
    /// `repeat-times`: how often to play in all.
    pub repeat_times: Option<u32>,
    /// `repeat-duration` in milliseconds: how long to play at most.
    pub repeat_duration_ms: Option<u32>,
    /// `code`, `duration`, `pause` and `volume` of a key to press.
    pub key_press: KeyPress,
    /// `start-pos` in milliseconds: where to begin to play.
    pub start_pos_ms: Option<u32>,
    /// `DTMF-security` and what belongs to it.
    pub mask: MaskKeys,
    /// `dtmf-log-dest`: where this call's presses of keys are told.
    pub dtmf_log_dest: Option<SocketAddr>,
    /// `moh`: the music that the sender of the SDP has for whom it puts on hold.
    pub moh: Option<HoldMusic>,
    /// `supports: load limit`: the client knows that result.
    pub supports_load_limit: bool,
    /// `record-call`, and how to record.
    pub recording: RecordingKeys,
    /// Keys of `mesh`.
    pub mesh: MeshKeys<'a>,
    /// Flags without a value.
    pub flags: Flags,
    ignored: Names,
    unknown: Names,
}

impl<'a> Request<'a> {
    /// Reads the payload of a message: everything after the cookie. What follows a bencoded
    /// dictionary is not looked at.
    ///
    /// The encoding is the one to reply in, whether or not there is a request.
    pub fn decode(payload: &'a [u8]) -> (Encoding, Result<Self, RequestError>) {
        let Some(encoding) = Encoding::detect(payload) else {
            let error = if payload.is_empty() {
                RequestError::NoPayload
            } else {
                RequestError::Format
            };
            return (Encoding::default(), Err(error));
        };
        let value = match encoding {
            Encoding::Bencode => bencode::decode(payload)
                .map(|(value, _)| value)
                .map_err(RequestError::Bencode),
            Encoding::Json => ng::decode_json(payload).map_err(|error| match error.kind {
                JsonErrorKind::Malformed => RequestError::Json(error),
                _ => RequestError::JsonDictionary(error),
            }),
        };
        (encoding, value.and_then(Self::from_value))
    }

    /// Gives a dictionary its types.
    ///
    /// # Errors
    ///
    /// Any [`RequestError`] from [`RequestError::NoCommand`] on.
    pub fn from_value(value: Value<'a>) -> Result<Self, RequestError> {
        let Value::Dict(entries) = value else {
            return Err(RequestError::NoCommand);
        };
        let command = entries
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(b"command"))
            .and_then(|(_, value)| value.bytes())
            .ok_or(RequestError::NoCommand)?;
        let command = Command::find(command).ok_or(RequestError::UnknownCommand)?;
        let mut reader = Reader {
            request: Self::new(command),
            rtpp: false,
        };
        for (key, value) in entries {
            reader.pair(key, value)?;
        }
        reader.request.require(command.needs())?;
        Ok(reader.request)
    }

    /// Notes that something of the request was not honoured after all.
    pub fn ignore(&mut self, name: &str) {
        self.ignored.add(name.as_bytes());
    }

    /// A flag of `mesh`, which other verbs do not honour.
    pub(super) fn mesh_flag(&mut self, name: &str, set: impl FnOnce(&mut MeshKeys<'a>)) {
        match self.command {
            Command::Mesh => set(&mut self.mesh),
            _ => self.ignore(name),
        }
    }

    /// Names of keys, flags and values we know and do not honour: printable ASCII, at most
    /// [`WARNING_NAMES_MAX`] of [`WARNING_NAME_MAX`] bytes.
    pub fn ignored(&self) -> &[String] {
        &self.ignored.names
    }

    /// Names of keys and flags we do not know, bounded like [`Request::ignored`].
    pub fn unknown(&self) -> &[String] {
        &self.unknown.names
    }

    /// The `warning` of the reply, such as `ignored: ICE=force; unknown: frob`.
    pub fn warning(&self) -> Option<String> {
        let parts = [("ignored", &self.ignored), ("unknown", &self.unknown)];
        let text: Vec<String> = parts
            .iter()
            .filter(|(_, names)| !names.names.is_empty())
            .map(|(kind, names)| {
                let more = match names.more {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{kind}: {}{more}", names.names.join(", "))
            })
            .collect();
        (!text.is_empty()).then(|| text.join("; "))
    }

    fn new(command: Command) -> Self {
        Self {
            command,
            call_id: None,
            from_tag: None,
            from_tags: Vec::new(),
            to_tag: None,
            to_call_id: None,
            via_branch: None,
            sdp: None,
            received_from: None,
            from_interface: None,
            to_interface: None,
            address_family: None,
            media_address: None,
            transport_protocol: None,
            ice_remove: false,
            rtcp_mux: RtcpMux::default(),
            replace: Replace::default(),
            codecs: Codecs::default(),
            ptime_ms: None,
            ptime_reverse_ms: None,
            endpoint_learning: None,
            port_latching: None,
            generate_rtcp: None,
            privacy: None,
            tos: None,
            delete_delay_s: None,
            limit: None,
            set_label: None,
            label: None,
            to_label: None,
            address: None,
            sip_message_type: None,
            sip_code: None,
            early_media_policy: None,
            media_echo: None,
            files: None,
            blob: None,
            repeat_times: None,
            repeat_duration_ms: None,
            key_press: KeyPress::default(),
            start_pos_ms: None,
            mask: MaskKeys::default(),
            dtmf_log_dest: None,
            moh: None,
            supports_load_limit: false,
            recording: RecordingKeys::default(),
            mesh: MeshKeys::default(),
            flags: Flags::default(),
            ignored: Names::default(),
            unknown: Names::default(),
        }
    }

    fn require(&self, needs: &[Need]) -> Result<(), RequestError> {
        for need in needs {
            let (there, error) = match need {
                Need::Sdp => (self.sdp.is_some(), RequestError::NoSdp),
                Need::CallId => (self.call_id.is_some(), RequestError::NoCallId),
                Need::FromTag => (self.from_tag.is_some(), RequestError::NoFromTag),
                Need::ToTag => (self.to_tag.is_some(), RequestError::NoToTag),
            };
            if !there {
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
