//! An ng request with types: every key and flag we honour, and the names of those we do not.
//!
//! Longer than most files because it is one thing: the types, then one reader that fills them key
//! by key, then the small conversions of values.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::audio::tone::{ToneKind, TonePlan};
use crate::engine::{EarlyMedia, LearnPace, Privacy, SEQUENCE_MAX};
use crate::switch::{Echo, HoldMusic};
use crate::wire::bencode::{self, BencodeError};
use crate::wire::ng::{self, Encoding, JsonError, JsonErrorKind, Value};

use super::block_dtmf::MaskKeys;
use super::dtmf_log::destination;
use super::flags::{self, Flag, Key, Name, RtppFlags, Word};
use super::mask_triggers::TriggerRefused;
use super::mesh::MeshKeys;
use super::play_dtmf::KeyPress;

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

/// A verb of ng.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "the verbs are the protocol's; Command::name spells them"
)]
#[non_exhaustive]
pub enum Command {
    Ping,
    Offer,
    Answer,
    Delete,
    Query,
    List,
    StartRecording,
    StopRecording,
    PauseRecording,
    StartForwarding,
    StopForwarding,
    BlockDtmf,
    UnblockDtmf,
    BlockMedia,
    UnblockMedia,
    SilenceMedia,
    UnsilenceMedia,
    PlayMedia,
    StopMedia,
    PlayDtmf,
    Statistics,
    Publish,
    SubscribeRequest,
    SubscribeAnswer,
    Unsubscribe,
    InjectStart,
    InjectStop,
    Connect,
    Mesh,
    Create,
    CreateAnswer,
    Transform,
    Cli,
}

/// What a request cannot do without, in the order in which the lack is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Sdp,
    CallId,
    FromTag,
    ToTag,
}

impl Command {
    /// The verb of a name, in any spelling.
    pub fn find(name: &[u8]) -> Option<Self> {
        let name = Name::new(name)?;
        COMMANDS
            .iter()
            .find(|(_, spelled, _)| {
                Name::new(spelled.as_bytes()).is_some_and(|n| n.bytes() == name.bytes())
            })
            .map(|(command, _, _)| *command)
    }

    /// The protocol's own spelling.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    fn needs(self) -> &'static [Need] {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, &'static [Need]) {
        COMMANDS
            .iter()
            .find(|(command, _, _)| *command == self)
            .expect("a test finds every command in the table")
    }
}

/// The frequent ones come first.
const COMMANDS: &[(Command, &str, &[Need])] = &[
    (
        Command::Offer,
        "offer",
        &[Need::Sdp, Need::CallId, Need::FromTag],
    ),
    (
        Command::Answer,
        "answer",
        &[Need::Sdp, Need::CallId, Need::FromTag, Need::ToTag],
    ),
    (Command::Delete, "delete", &[Need::CallId]),
    (Command::Ping, "ping", &[]),
    (Command::Query, "query", &[Need::CallId]),
    (Command::List, "list", &[]),
    (Command::StartRecording, "start recording", &[Need::CallId]),
    (Command::StopRecording, "stop recording", &[Need::CallId]),
    (Command::PauseRecording, "pause recording", &[Need::CallId]),
    (
        Command::StartForwarding,
        "start forwarding",
        &[Need::CallId],
    ),
    (Command::StopForwarding, "stop forwarding", &[Need::CallId]),
    (Command::BlockDtmf, "block DTMF", &[Need::CallId]),
    (Command::UnblockDtmf, "unblock DTMF", &[Need::CallId]),
    (Command::BlockMedia, "block media", &[Need::CallId]),
    (Command::UnblockMedia, "unblock media", &[Need::CallId]),
    (Command::SilenceMedia, "silence media", &[Need::CallId]),
    (Command::UnsilenceMedia, "unsilence media", &[Need::CallId]),
    (Command::PlayMedia, "play media", &[Need::CallId]),
    (Command::StopMedia, "stop media", &[Need::CallId]),
    (Command::PlayDtmf, "play DTMF", &[Need::CallId]),
    (Command::Statistics, "statistics", &[]),
    (Command::Publish, "publish", &[Need::Sdp]),
    (
        Command::SubscribeRequest,
        "subscribe request",
        &[Need::CallId],
    ),
    (
        Command::SubscribeAnswer,
        "subscribe answer",
        &[Need::Sdp, Need::CallId, Need::ToTag],
    ),
    (
        Command::Unsubscribe,
        "unsubscribe",
        &[Need::CallId, Need::ToTag],
    ),
    (
        Command::InjectStart,
        "inject start",
        &[Need::CallId, Need::ToTag],
    ),
    (
        Command::InjectStop,
        "inject stop",
        &[Need::CallId, Need::ToTag],
    ),
    (
        Command::Connect,
        "connect",
        &[Need::CallId, Need::FromTag, Need::ToTag],
    ),
    (Command::Mesh, "mesh", &[]),
    (Command::Create, "create", &[]),
    (
        Command::CreateAnswer,
        "create answer",
        &[Need::Sdp, Need::CallId, Need::FromTag],
    ),
    (Command::Transform, "transform", &[]),
    (Command::Cli, "cli", &[]),
];

/// Why a message is not a request. Its text is the `error-reason` of the reply, where clients
/// look for these very words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is nothing after the cookie.
    #[error("Invalid data (no payload)")]
    NoPayload,
    /// Neither bencode nor JSON.
    #[error("Invalid NG data format")]
    Format,
    /// Begins like bencode, and is not, or is beyond a limit.
    #[error("Could not decode bencode dictionary")]
    Bencode(#[source] BencodeError),
    /// Begins like JSON, and is not.
    #[error("Failed to parse JSON document")]
    Json(#[source] JsonError),
    /// JSON, but beyond a limit.
    #[error("Could not decode JSON dictionary")]
    JsonDictionary(#[source] JsonError),
    /// No verb.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// Not a verb of [`Command`].
    #[error("Unrecognized command")]
    UnknownCommand,
    /// The verb needs an SDP. An empty one is none.
    #[error("No SDP body in message")]
    NoSdp,
    /// The verb needs a call-id. An empty one is none.
    #[error("No call-id in message")]
    NoCallId,
    /// The verb needs a from-tag. An empty one is none.
    #[error("No from-tag in message")]
    NoFromTag,
    /// The verb needs a to-tag. An empty one is none.
    #[error("No to-tag in message")]
    NoToTag,
    /// `dtmf-log-dest` is no address of one receiver.
    #[error("dtmf-log-dest is not an address and a port, as 192.0.2.1:9999")]
    LogDestination,
    /// A key of a trigger that cannot be.
    #[error("{key}: {why}")]
    Trigger {
        /// Its name.
        key: &'static str,
        /// What is wrong with it.
        why: TriggerRefused,
    },
    /// An identifier is longer than [`CALL_ID_MAX`] or [`TAG_MAX`].
    #[error("The {key} is longer than {max} bytes")]
    TooLong {
        /// Its key.
        key: &'static str,
        /// How many bytes it may have.
        max: usize,
    },
}

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
    /// to [`SEQUENCE_MAX`] one after another.
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
    /// Keys of `mesh`.
    pub mesh: MeshKeys<'a>,
    /// Flags without a value.
    pub flags: Flags,
    ignored: Names,
    unknown: Names,
}

/// Flags without a value that we honour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `all`: every participant.
    pub all: bool,
    /// `allow-transcoding`: a listener may answer with other codecs than it was offered.
    pub allow_transcoding: bool,
    /// `always-transcode`: whatever the offerer offered is accepted from it.
    pub always_transcode: bool,
    /// `asymmetric`: the party does not receive where it sends from.
    pub asymmetric: bool,
    /// `block-DTMF`: others do not get the keys of the party whose SDP this is.
    pub block_dtmf: bool,
    /// `detect-DTMF`: keys are listened for in the audio of the party whose SDP this is.
    pub detect_dtmf: bool,
    /// `directional`: only the selected participant, not the whole call.
    pub directional: bool,
    /// `early-media`.
    pub early_media: bool,
    /// `fast`: no statistics in the reply to `delete`.
    pub fast: bool,
    /// `fatal`: an unknown call is an error.
    pub fatal: bool,
    /// `force-transcoding`: decode and encode even the same codec.
    pub force_transcoding: bool,
    /// `full-rtcp-attribute`: `a=rtcp` with an address.
    pub full_rtcp_attribute: bool,
    /// `inactive`: a listener is offered nothing yet.
    pub inactive: bool,
    /// `media-handover`: a latched source may be taken over.
    pub media_handover: bool,
    /// `no-rtcp-attribute`: no `a=rtcp`.
    pub no_rtcp_attribute: bool,
    /// `original-sendrecv`: directions in the SDP stay as the client wrote them.
    pub original_sendrecv: bool,
    /// `provisional`: the answer does not choose its party yet.
    pub provisional: bool,
    /// `reset`: forget what was learned.
    pub reset: bool,
    /// `single-codec`: the answer names one codec.
    pub single_codec: bool,
    /// `SIPREC`: a listener's lines have labels.
    pub siprec: bool,
    /// `SIP-source-address`: trust `received-from` and not the SDP.
    pub sip_source_address: bool,
    /// `strict-source`: drop what does not come from the latched source.
    pub strict_source: bool,
    /// `to-tag`: the to-tag of `delete` counts.
    pub to_tag: bool,
    /// `trust-address`: the address of the SDP is right.
    pub trust_address: bool,
}

/// What to do about RTP and RTCP on one port (RFC 5761).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcpMux {
    /// Offer it, even if the client did not.
    pub offer: bool,
    /// Offer nothing else.
    pub require: bool,
    /// Do not offer it to the other party.
    pub demux: bool,
    /// Accept it where it is offered.
    pub accept: bool,
    /// Refuse it where it is offered.
    pub reject: bool,
}

/// Which parts of an SDP to replace by our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replace {
    /// The address of `o=`.
    pub origin: bool,
    /// The address of the session's `c=`; obsolete, since it is always replaced.
    pub session_connection: bool,
    /// The version of `o=`.
    pub sdp_version: bool,
    /// The user name of `o=`.
    pub username: bool,
    /// `s=`.
    pub session_name: bool,
    /// `0.0.0.0`, which asks for hold.
    pub zero_address: bool,
}

/// Codecs to take away, to add and to prefer; names as `PCMA`, `opus/48000/2`, `all` or `full`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codecs<'a> {
    /// Take these away (`strip`, `ignore`).
    pub strip: Vec<Cow<'a, str>>,
    /// But not these.
    pub except: Vec<Cow<'a, str>>,
    /// Nor these, and they come first.
    pub offer: Vec<Cow<'a, str>>,
    /// Take these as accepted.
    pub accept: Vec<Cow<'a, str>>,
    /// Hide these from the other party, and decode them (`mask`, `consume`).
    pub mask: Vec<Cow<'a, str>>,
    /// Add these.
    pub transcode: Vec<Cow<'a, str>>,
    /// Options of those that the sender of the SDP is sent.
    pub set: Vec<Cow<'a, str>>,
}

/// Family of an address in SDP (RFC 8866 section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// `IP4`
    Ip4,
    /// `IP6`
    Ip6,
}

/// What SIP message made the client ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipMessageType {
    /// A request.
    Request,
    /// A reply, with [`Request::sip_code`].
    Reply,
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

/// Fills a request, key by key.
struct Reader<'a> {
    request: Request<'a>,
    /// Inside a string of flags, which cannot hold another one.
    rtpp: bool,
}

impl<'a> Reader<'a> {
    /// One key with its value, from the message or from `rtpp-flags`.
    fn pair(&mut self, name: Cow<'a, [u8]>, value: Value<'a>) -> Result<(), RequestError> {
        let key = Name::new(&name).and_then(|name| Key::find(&name));
        match key {
            None => self.request.unknown.add(&name),
            // The message has these; a string of flags has no business with them.
            Some(Key::Command | Key::Sdp | Key::RtppFlags) if self.rtpp => {
                self.request.unknown.add(&name);
            }
            Some(Key::Flags) => self.flags(&name, value)?,
            Some(Key::RtppFlags) => self.rtpp_flags(&name, value)?,
            Some(Key::Codec) => self.codec(&name, value),
            Some(key) => {
                if !self.set(key, &name, value)? {
                    self.request.ignored.add(&name);
                }
            }
        }
        Ok(())
    }

    /// Carries out a key; `false` if it, or its value, is of no effect here.
    fn set(&mut self, key: Key, name: &[u8], value: Value<'a>) -> Result<bool, RequestError> {
        let request = &mut self.request;
        Ok(match key {
            Key::CallId => identifier(&mut request.call_id, value, "call-id", CALL_ID_MAX)?,
            Key::FromTag => identifier(&mut request.from_tag, value, "from-tag", TAG_MAX)?,
            Key::FromTags => from_tags(&mut request.from_tags, value)?,
            Key::MediaEcho => put(&mut request.media_echo, media_echo(value)),
            Key::ToTag => identifier(&mut request.to_tag, value, "to-tag", TAG_MAX)?,
            Key::ToCallId => identifier(&mut request.to_call_id, value, "to-call-id", CALL_ID_MAX)?,
            Key::ViaBranch => identifier(&mut request.via_branch, value, "via-branch", TAG_MAX)?,
            Key::SetLabel => identifier(&mut request.set_label, value, "set-label", TAG_MAX)?,
            Key::Label => identifier(&mut request.label, value, "label", TAG_MAX)?,
            Key::ToLabel => identifier(&mut request.to_label, value, "to-label", TAG_MAX)?,
            Key::Sdp => identifier(&mut request.sdp, value, "sdp", usize::MAX)?,
            Key::ReceivedFrom => is_empty(&value) || put(&mut request.received_from, ip(&value)),
            Key::MediaAddress => put(&mut request.media_address, ip(&value)),
            Key::Address => put(&mut request.address, ip(&value)),
            Key::AddressFamily => put(&mut request.address_family, address_family(value)),
            Key::TransportProtocol => put(&mut request.transport_protocol, text(value)),
            Key::Direction => self.direction(value),
            Key::FromInterface => put(&mut request.from_interface, interface(value)),
            Key::ToInterface => put(&mut request.to_interface, interface(value)),
            Key::Interface => {
                let interface = interface(value);
                put(&mut request.to_interface, interface.clone())
                    && put(&mut request.from_interface, interface)
            }
            Key::Ptime => put(&mut request.ptime_ms, positive(&value)),
            Key::PtimeReverse => put(&mut request.ptime_reverse_ms, positive(&value)),
            Key::Tos => put(&mut request.tos, number(&value)),
            Key::SipCode => put(
                &mut request.sip_code,
                number(&value).filter(|code| (100..700).contains(code)),
            ),
            Key::DeleteDelay => put(
                &mut request.delete_delay_s,
                number(&value).map(|delay_s: u32| delay_s.min(DELETE_DELAY_MAX_S)),
            ),
            Key::Limit => put(&mut request.limit, value.int()),
            Key::GenerateRtcp => put(&mut request.generate_rtcp, on_or_off(value)),
            Key::Privacy => put(&mut request.privacy, privacy(value)),
            Key::SipMessageType => put(&mut request.sip_message_type, sip_message_type(value)),
            Key::EndpointLearning => put(&mut request.endpoint_learning, learning(value)),
            Key::All => self.all(value),
            Key::Supports => self.supports(value),
            Key::Ice => self.each(name, value, |request, item| match item.bytes() {
                b"remove" => {
                    request.ice_remove = true;
                    true
                }
                _ => item.find(flags::OFF).is_some(),
            }),
            Key::Replace => self.each(name, value, |request, item| {
                item.find(flags::REPLACE).map(|set| set(request)).is_some()
            }),
            Key::RtcpMux => self.each(name, value, |request, item| {
                item.find(flags::RTCP_MUX).map(|set| set(request)).is_some()
            }),
            Key::CodecStrip
            | Key::CodecExcept
            | Key::CodecOffer
            | Key::CodecAccept
            | Key::CodecMask
            | Key::CodecTranscode
            | Key::CodecSet => self.codecs(key, value),
            Key::EarlyMediaPolicy => put(&mut request.early_media_policy, early_media(&value)),
            Key::File => put(&mut request.files, files(value)),
            Key::Blob => {
                let blob = match value {
                    Value::Str(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
                    _ => None,
                };
                put(&mut request.blob, blob)
            }
            Key::Blob64 => {
                let blob = value
                    .bytes()
                    .and_then(base64)
                    .filter(|bytes| !bytes.is_empty());
                put(&mut request.blob, blob.map(Cow::Owned))
            }
            Key::RepeatTimes => put(&mut request.repeat_times, number(&value)),
            Key::RepeatDuration => put(&mut request.repeat_duration_ms, number(&value)),
            Key::StartPos => put(&mut request.start_pos_ms, number(&value)),
            Key::DtmfSecurity => request.mask.security(&value),
            Key::DtmfSecurityTrigger
            | Key::DtmfSecurityTriggerEnd
            | Key::Trigger
            | Key::TriggerEnd
            | Key::TriggerEndDigits
            | Key::TriggerEndTime => request.mask.triggers.read(key, &value)?,
            Key::DtmfDelay => request.mask.delay(&value),
            Key::Frequency => request.mask.frequency(&value),
            Key::DtmfLogDest if is_empty(&value) => true,
            Key::DtmfLogDest => {
                let to = value.str().and_then(destination);
                request.dtmf_log_dest = Some(to.ok_or(RequestError::LogDestination)?);
                true
            }
            Key::Moh => super::moh::read(request, &value),
            Key::Calls | Key::Tags | Key::Loudest if request.command != Command::Mesh => false,
            Key::Calls => put(&mut request.mesh.calls, Some(value)),
            Key::Tags => put(&mut request.mesh.tags, Some(value)),
            Key::Loudest => put(&mut request.mesh.loudest, Some(value)),
            Key::Volume if request.command != Command::PlayDtmf => {
                put(&mut request.mask.volume, number(&value))
            }
            Key::Code | Key::Duration | Key::Pause if request.command != Command::PlayDtmf => false,
            Key::Code => {
                request.key_press.code = super::play_dtmf::read_code(&value);
                matches!(value, Value::Str(_) | Value::Int(_))
            }
            Key::Duration => put(&mut request.key_press.duration_ms, value.int()),
            Key::Pause => put(&mut request.key_press.pause_ms, value.int()),
            Key::Volume => put(&mut request.key_press.volume, value.int()),
            Key::NoOp | Key::Command => true,
            Key::IgnoredUnlessOff => is_off(value),
            Key::Ignored | Key::Flags | Key::RtppFlags | Key::Codec => false,
        })
    }

    /// One or two names: towards the sender, towards the other party. Repeated in a string of
    /// flags, each is the next one.
    fn direction(&mut self, value: Value<'a>) -> bool {
        let repeated = self.rtpp && matches!(value, Value::Str(_));
        let request = &mut self.request;
        if repeated && request.from_interface.is_some() {
            return put(&mut request.to_interface, interface(value));
        }
        let mut names = each(value);
        let from = names
            .next()
            .map(|name| put(&mut request.from_interface, interface(name)));
        let to = names
            .next()
            .map(|name| put(&mut request.to_interface, interface(name)));
        from.unwrap_or(true) && to.unwrap_or(true) && names.next().is_none()
    }

    fn all(&mut self, value: Value<'a>) -> bool {
        let all = match name_of(&value) {
            Some(name) if name.bytes() == b"all" => Some(true),
            _ => on_or_off(value),
        };
        all.map(|all| self.request.flags.all = all).is_some()
    }

    /// Whatever else a client supports takes nothing from us.
    fn supports(&mut self, value: Value<'a>) -> bool {
        self.request.supports_load_limit = each(value)
            .any(|item| name_of(&item).is_some_and(|name| name.bytes() == b"load-limit"));
        true
    }

    /// Carries out each value of a key, and notes those without effect as `key=value`.
    fn each(
        &mut self,
        key: &[u8],
        value: Value<'a>,
        set: impl Fn(&mut Request<'a>, &Name) -> bool,
    ) -> bool {
        for item in each(value) {
            let honoured = name_of(&item).is_some_and(|name| set(&mut self.request, &name));
            if !honoured {
                self.ignore_value(key, &item);
            }
        }
        true
    }

    fn ignore_value(&mut self, key: &[u8], item: &Value<'_>) {
        let value = item.bytes().unwrap_or(b"?");
        self.request.ignored.add(&[key, b"=", value].concat());
    }

    /// The dictionary of codec lists.
    fn codec(&mut self, name: &[u8], value: Value<'a>) {
        let Value::Dict(lists) = value else {
            if !is_empty(&value) {
                self.request.ignored.add(name);
            }
            return;
        };
        for (list, codecs) in lists {
            let key = Name::new(&list).and_then(|name| name.find(flags::CODEC_LISTS));
            if key.is_none() && is_empty(&codecs) {
                continue;
            }
            if !key.is_some_and(|key| self.codecs(key, codecs)) {
                self.request
                    .ignored
                    .add(&[b"codec-", list.as_ref()].concat());
            }
        }
    }

    /// Adds codecs to a list; `false` if any did not fit or is not text.
    fn codecs(&mut self, key: Key, value: Value<'a>) -> bool {
        let codecs = &mut self.request.codecs;
        let list = match key {
            Key::CodecAccept => &mut codecs.accept,
            Key::CodecExcept => &mut codecs.except,
            Key::CodecMask => &mut codecs.mask,
            Key::CodecOffer => &mut codecs.offer,
            Key::CodecSet => &mut codecs.set,
            Key::CodecTranscode => &mut codecs.transcode,
            _ => &mut codecs.strip,
        };
        let mut all = true;
        for item in each(value) {
            match text(item).filter(|codec| codec.len() <= CODEC_NAME_MAX) {
                Some(codec) if list.len() < CODECS_MAX => {
                    let has_options = matches!(key, Key::CodecSet | Key::CodecTranscode);
                    list.push(if self.rtpp || has_options {
                        flags::unescape(codec)
                    } else {
                        codec
                    });
                }
                _ => all = false,
            }
        }
        all
    }

    /// A list of flags; a single string is read like `rtpp-flags`.
    fn flags(&mut self, name: &[u8], value: Value<'a>) -> Result<(), RequestError> {
        match value {
            Value::Str(_) if !self.rtpp => self.rtpp_flags(name, value),
            value => each(value).try_for_each(|item| match item {
                Value::Str(word) => self.flag(word),
                _ => {
                    self.request.ignored.add(name);
                    Ok(())
                }
            }),
        }
    }

    fn rtpp_flags(&mut self, name: &[u8], value: Value<'a>) -> Result<(), RequestError> {
        let Value::Str(text) = value else {
            self.request.ignored.add(name);
            return Ok(());
        };
        let mut words = RtppFlags::new(text);
        self.rtpp = true;
        for word in words.by_ref() {
            match word {
                Word::Flag(word) => self.flag(word)?,
                Word::Pair(name, value) => self.pair(name, value)?,
            }
        }
        self.rtpp = false;
        if words.truncated() {
            self.request.ignored.add(b"the rest of rtpp-flags");
        }
        Ok(())
    }

    fn flag(&mut self, word: Cow<'a, [u8]>) -> Result<(), RequestError> {
        let Some(name) = Name::new(&word) else {
            self.request.unknown.add(&word);
            return Ok(());
        };
        if let Some(flag) = Flag::find(&name) {
            match flag {
                Flag::Set(set) => set(&mut self.request),
                Flag::Ignored => self.request.ignored.add(&word),
                Flag::NoOp => {}
            }
        } else if let Some((key, at)) = Key::of_prefixed_flag(&name) {
            let value = Value::Str(flags::slice(&word, at, word.len()));
            if !self.set(key, &word[..at - 1], value)? {
                self.request.ignored.add(&word);
            }
        } else if name.find(flags::TRANSPORTS).is_some() {
            self.request.transport_protocol = text(Value::Str(word));
        } else if !word.is_empty() {
            self.request.unknown.add(&word);
        }
        Ok(())
    }
}

/// A bounded list of names for a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    names: Vec<String>,
    /// How many did not fit.
    more: usize,
}

impl Names {
    fn add(&mut self, name: &[u8]) {
        let printable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        };
        let name: String = name.iter().take(WARNING_NAME_MAX).map(printable).collect();
        if self.names.contains(&name) {
            return;
        }
        if self.names.len() == WARNING_NAMES_MAX {
            self.more += 1;
            return;
        }
        self.names.push(name);
    }
}

/// Stores a value that makes sense; otherwise leaves what is there, and tells.
fn put<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let makes_sense = value.is_some();
    if makes_sense {
        *slot = value;
    }
    makes_sense
}

/// Stores an identifier. An empty one is as good as none.
fn identifier<'a>(
    slot: &mut Option<Cow<'a, [u8]>>,
    value: Value<'a>,
    key: &'static str,
    max: usize,
) -> Result<bool, RequestError> {
    let bytes = match value {
        Value::Str(bytes) => bytes,
        // A client that takes digits for a number means the digits.
        Value::Int(n) => Cow::Owned(n.to_string().into_bytes()),
        Value::List(_) | Value::Dict(_) => return Ok(false),
    };
    if bytes.len() > max {
        return Err(RequestError::TooLong { key, max });
    }
    *slot = (!bytes.is_empty()).then_some(bytes);
    Ok(true)
}

/// Adds tags to a list; `false` if any did not fit or is none.
fn from_tags<'a>(tags: &mut Vec<Cow<'a, [u8]>>, value: Value<'a>) -> Result<bool, RequestError> {
    let mut all = true;
    for item in each(value) {
        let mut tag = None;
        identifier(&mut tag, item, "from-tags", TAG_MAX)?;
        match tag.filter(|_| tags.len() < FROM_TAGS_MAX) {
            Some(tag) => tags.push(tag),
            None => all = false,
        }
    }
    Ok(all)
}

/// The items of a list, or the value itself.
fn each<'a>(value: Value<'a>) -> impl Iterator<Item = Value<'a>> {
    let (one, many) = match value {
        Value::List(list) => (None, list),
        other => (Some(other), Vec::new()),
    };
    one.into_iter().chain(many)
}

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Str(bytes) => bytes.is_empty(),
        Value::Int(_) => false,
        Value::List(list) => list.is_empty(),
        Value::Dict(entries) => entries.is_empty(),
    }
}

/// One name of a file, or a list of them.
fn files(value: Value<'_>) -> Option<Vec<Cow<'_, str>>> {
    let names = match value {
        Value::List(names) => names,
        one => vec![one],
    };
    let whole = (1..=SEQUENCE_MAX).contains(&names.len());
    let good = |name: &Cow<'_, str>| (1..=FILE_NAME_MAX).contains(&name.len());
    let names = names.into_iter().map(|name| text(name).filter(good));
    names.collect::<Option<Vec<_>>>().filter(|_| whole)
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Str(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Value::Str(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        Value::Int(n) => Some(Cow::Owned(n.to_string())),
        Value::List(_) | Value::Dict(_) => None,
    }
}

fn name_of(value: &Value<'_>) -> Option<Name> {
    match value {
        Value::Int(n) => Name::new(n.to_string().as_bytes()),
        other => Name::new(other.bytes()?),
    }
}

fn on_or_off(value: Value<'_>) -> Option<bool> {
    let name = name_of(&value)?;
    match (name.find(flags::ON), name.find(flags::OFF)) {
        (Some(()), _) => Some(true),
        (_, Some(())) => Some(false),
        _ => None,
    }
}

/// Every item says no, or there is none.
fn is_off(value: Value<'_>) -> bool {
    each(value).all(|item| {
        is_empty(&item) || name_of(&item).is_some_and(|name| name.find(flags::OFF).is_some())
    })
}

fn number<T: TryFrom<i64>>(value: &Value<'_>) -> Option<T> {
    T::try_from(value.int()?).ok()
}

fn positive(value: &Value<'_>) -> Option<u16> {
    number(value).filter(|n| *n > 0)
}

fn interface(value: Value<'_>) -> Option<Cow<'_, str>> {
    text(value).filter(|name| (1..=INTERFACE_NAME_MAX).contains(&name.len()))
}

/// An address as `192.0.2.1`, `[2001:db8::1]`, `IP4 192.0.2.1` or `["IP4", "192.0.2.1"]`.
fn ip(value: &Value<'_>) -> Option<IpAddr> {
    let text = match value {
        Value::List(list) => list.last()?.str()?,
        other => other.str()?,
    };
    let text = text.split_ascii_whitespace().next_back()?;
    let text = text.trim_start_matches('[').trim_end_matches(']');
    text.parse().ok()
}

fn address_family(value: Value<'_>) -> Option<AddressFamily> {
    match name_of(&value)?.bytes() {
        b"ip4" => Some(AddressFamily::Ip4),
        b"ip6" => Some(AddressFamily::Ip6),
        _ => None,
    }
}

fn privacy(value: Value<'_>) -> Option<Privacy> {
    match name_of(&value)?.bytes() {
        b"masked" => Some(Privacy::Masked),
        b"transparent" => Some(Privacy::Transparent),
        _ => None,
    }
}

fn media_echo(value: Value<'_>) -> Option<Echo> {
    let name = name_of(&value)?;
    let off = || name.find(flags::OFF).map(|()| Echo::Off);
    name.find(flags::MEDIA_ECHO).or_else(off)
}

fn learning(value: Value<'_>) -> Option<LearnPace> {
    name_of(&value)?.find(flags::LEARNING)
}

/// `first`, `latest`, `mix`, or `ringback`, with a tone plan or a country behind a `=` or `-`.
fn early_media(value: &Value<'_>) -> Option<EarlyMedia> {
    let text = value.str()?.trim().to_ascii_lowercase();
    match text.as_str() {
        "first" => Some(EarlyMedia::First),
        "latest" => Some(EarlyMedia::Latest),
        "mix" => Some(EarlyMedia::Mix),
        "ringback" => TonePlan::parse("ringback").ok().map(EarlyMedia::Ringback),
        other => {
            let plan = other
                .strip_prefix("ringback")?
                .strip_prefix(['=', '-', ':'])?;
            let country = || TonePlan::named(plan, ToneKind::Ringback);
            let plan = country().or_else(|| TonePlan::parse(plan).ok())?;
            Some(EarlyMedia::Ringback(plan))
        }
    }
}

/// Base64 (RFC 4648 section 4 or 5), with or without padding and line breaks; `None` if it is not.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut held, mut bits) = (0_u32, 0);
    let mut rest = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    for byte in rest.by_ref() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => return None,
        };
        held = (held << 6 | u32::from(six)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xFF) as u8);
        }
    }
    // What is left over of the last octet must be padding: a sixth of one is none.
    (bits < 6 && rest.all(|byte| *byte == b'=')).then_some(out)
}

fn sip_message_type(value: Value<'_>) -> Option<SipMessageType> {
    match name_of(&value)?.bytes() {
        b"request" | b"sip-request" => Some(SipMessageType::Request),
        b"reply" | b"sip-reply" => Some(SipMessageType::Reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
