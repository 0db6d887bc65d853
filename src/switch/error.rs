//! Why the switch refused a command. The texts are those ng clients test for.

use std::net::SocketAddr;

use crate::wire::sdp::SdpError;

/// A refused command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// `max-calls` calls exist; a client may try another node.
    #[error("Parallel session limit reached")]
    SessionLimit,
    /// The interface's port range is exhausted, or the process has no descriptors left.
    #[error("Ran out of ports")]
    OutOfPorts,
    /// A worker's command queue is full; a client may try another node.
    #[error("Load limit exceeded")]
    Overloaded,
    /// The process is shutting down and takes no new calls.
    #[error("Parallel session limit reached")]
    Draining,
    /// No such call.
    #[error("Unknown call-id")]
    UnknownCall,
    /// The tags fit no party of the call.
    #[error("Invalid dialogue association")]
    UnknownDialogue,
    /// An answer without an offer.
    #[error("Invalid dialogue association: no offer is waiting for this answer")]
    NoOffer,
    /// No party is selected by this tag.
    #[error("From-tag given, but no such tag exists")]
    UnknownTag,
    /// No party that a `connect` could join has this tag.
    #[error("To-tag not found")]
    UnknownToTag,
    /// Both tags of a `connect` are the same party's.
    #[error("A party cannot be connected to itself")]
    ConnectToSelf,
    /// A tag is in both of two calls that should become one.
    #[error("Failed to merge two calls into one (tag collision)")]
    TagCollision,
    /// The second of two calls that should become one has, or had, bridges of its own.
    #[error("Not supported: a call with bridges cannot become part of another")]
    MergesBridges,
    /// No `m=` line of the one party goes with one of the other.
    #[error("No media of the two parties can be connected")]
    NothingToConnect,
    /// No party has this label.
    #[error("No monologue matching the given label")]
    UnknownLabel,
    /// No party has this address.
    #[error("Failed to match address to any tag")]
    UnknownAddress,
    /// Nobody was found to listen to.
    #[error("No medias found (no monologues matched)")]
    NothingToHear,
    /// None of the media that was asked for can be listened to, or the tag is not a listener's.
    #[error("No eligible media subscriptions found")]
    NotEligible,
    /// No listener has this tag.
    #[error("To-tag not found")]
    UnknownListener,
    /// A subscription could not be offered.
    #[error("Failed to request subscription: {0}")]
    Subscribe(#[source] Box<Self>),
    /// A subscription could not be begun as it was answered.
    #[error("Failed to process subscription answer: {0}")]
    SubscribeAnswer(#[source] Box<Self>),
    /// A subscription could not be ended.
    #[error("Failed to unsubscribe: {0}")]
    Unsubscribe(#[source] Box<Self>),
    /// A listener would have more lines than SDP may, or a line more listeners than the engine.
    #[error("too many subscriptions (at most {max})")]
    TooManySubscriptions {
        /// `SDP_MEDIA_MAX`, or [`TAPS_MAX`](crate::engine::TAPS_MAX).
        max: usize,
    },
    /// The call has as many listeners as a call may have.
    #[error("too many listeners in one call (at most {max})")]
    TooManyListeners {
        /// `LISTENERS_MAX`.
        max: usize,
    },
    /// A listener accepts nothing that it could be sent.
    #[error("no codec in common: {warnings}")]
    NoCommonCodec {
        /// Line by line.
        warnings: String,
    },
    /// The body is not SDP.
    #[error("Failed to parse SDP: {0}")]
    Sdp(#[from] SdpError),
    /// An answer with another number of `m=` lines than its offer (RFC 3264 section 6).
    #[error("Incomplete SDP specification: {got} media lines answer {want}")]
    MediaCount {
        /// In the answer.
        got: usize,
        /// In the offer.
        want: usize,
    },
    /// The SDP points where we must not send.
    #[error("Refused media address {address} in media {media}: {why}")]
    RefusedTarget {
        /// What the SDP said.
        address: SocketAddr,
        /// Zero-based `m=` line.
        media: usize,
        /// Loopback, link-local, multicast or our own port.
        why: &'static str,
    },
    /// `direction` names an interface that is not configured.
    #[error("Unknown interface '{0}'")]
    UnknownInterface(String),
    /// The interface has no address of the family asked for.
    #[error("Interface '{0}' has no address of this family")]
    NoSuchFamily(String),
    /// The call has as many streams as a call may have.
    #[error("Too many media streams in one call (at most {max})")]
    TooManyStreams {
        /// [`STREAMS_MAX`](crate::engine::STREAMS_MAX).
        max: usize,
    },
    /// The call has as many parties as a call may have.
    #[error("Too many parties in one call (at most {max})")]
    TooManyParties {
        /// `PARTIES_MAX`.
        max: usize,
    },
    /// A line lists more payload types than we keep.
    #[error("Too many payload types in media {media} (at most {max})")]
    TooManyPayloadTypes {
        /// Zero-based `m=` line.
        media: usize,
        /// [`PAYLOAD_TYPES_MAX`](crate::engine::PAYLOAD_TYPES_MAX).
        max: usize,
    },
    /// The engine did not take what the SDP asks for.
    #[error("Cannot set up this media: {0}")]
    Media(#[source] crate::engine::ChangeError),
    /// No open party has this tag.
    #[error("No party of the call has the tag '{0}'")]
    UnknownMember(Box<str>),
    /// A party whose audio cannot be mixed.
    #[error(
        "Party '{0}' cannot be mixed: plain RTP audio and a codec that can be encoded are needed"
    )]
    NoVoiceOf(Box<str>),
    /// A party is named twice in one bridge.
    #[error("Party '{0}' is twice in this bridge")]
    MemberTwice(Box<str>),
    /// An edge is between others than members of its bridge.
    #[error("Party '{0}' is not in this bridge")]
    NotMember(Box<str>),
    /// A party cannot hear itself.
    #[error("Party '{0}' cannot hear itself")]
    HearsItself(Box<str>),
    /// The call has as many bridges as a call may have.
    #[error("Too many bridges in one call (at most {max})")]
    TooManyBridges {
        /// [`BRIDGES_MAX`](crate::engine::BRIDGES_MAX).
        max: usize,
    },
    /// A bridge has as many exceptions as a bridge may have.
    #[error("Too many exceptions from who hears whom in one bridge (at most {max})")]
    TooManyEdges {
        /// [`EDGES_MAX`](crate::engine::EDGES_MAX).
        max: usize,
    },
    /// Nobody who was selected can be played to.
    #[error("No audio that can be played to: plain RTP and a codec that can be encoded are needed")]
    NoVoice,
    /// Those who were selected have no audio in whose place keys could sound.
    #[error("Monologue has no media capable of DTMF injection")]
    NoKeySource,
    /// Nobody accepts telephone-events, or can be played to.
    #[error("There is no sink media capable of DTMF playback")]
    NoKeySink,
    /// A listener has so many keys to be pressed already that these do not fit.
    #[error("Too many keys wait to be pressed (at most {max} for one listener)")]
    TooManyDigits {
        /// `DIGITS_MAX`.
        max: usize,
    },
    /// Nothing is being played to those who were selected.
    #[error("Not currently playing media")]
    NotPlaying,
    /// Samples are pushed to one party, and the selection fits several.
    #[error("Several parties are selected, and samples can be pushed to one")]
    NotOne,
    /// Keys are gathered of one party, and the selection fits several.
    #[error("Several parties are selected, and keys are gathered of one")]
    NotOneToGather,
    /// Keys cannot be gathered so.
    #[error("Cannot gather: {0}")]
    Gather(#[from] crate::engine::GatherError),
    /// Too many gatherings of one call have not told their result yet.
    #[error("Too many gatherings in one call (at most {max})")]
    TooManyGathers {
        /// `GATHERS_WAITING_MAX`.
        max: usize,
    },
    /// No recorder was configured.
    #[error("recording is switched off")]
    RecordingOff,
    /// Nothing of the call, or nothing of this name, is being recorded.
    #[error("Call is not being recorded")]
    NotRecording,
    /// Nobody who was selected has audio that is read.
    #[error("No media to record: plain RTP audio is needed")]
    NothingToRecord,
    /// The call has as many recordings as a call may have.
    #[error("Too many recordings of one call (at most {max})")]
    TooManyRecordings {
        /// [`RECORDERS_MAX`](crate::engine::RECORDERS_MAX).
        max: usize,
    },
    /// A recording's name in its call is too long.
    #[error("The name of a recording is longer than {max} bytes")]
    RecordingName {
        /// `RECORDING_NAME_MAX`.
        max: usize,
    },
    /// A recording cannot be called so.
    #[error("Cannot record: {0}")]
    RecordingPath(#[from] crate::record::vault::pattern::PathError),
    /// There are recordings of this name, with as many numbers as there may be.
    #[error("Cannot record: '{0}' exists")]
    RecordingExists(Box<str>),
    /// The disk takes too long, or too many recordings wait for it.
    #[error("Cannot record: the disk of recordings is too slow")]
    RecorderSlow,
    /// A recording cannot be as it was asked for, or cannot be written.
    #[error("Cannot record: {0}")]
    Record(#[from] crate::record::recorder::RecordError),
    /// Samples cannot be pushed so.
    #[error("Cannot push: {0}")]
    Push(#[from] crate::engine::PushError),
    /// There is no such prompt.
    #[error("Cannot play: {0}")]
    Prompt(#[from] super::prompts::PromptError),
    /// An open socket could not be prepared.
    #[error("Cannot open a media socket: {0}")]
    Socket(#[source] std::io::Error),
}

impl SwitchError {
    /// Whether another node may well take the call: ng's `load limit` when the client supports it.
    pub fn is_load_limit(&self) -> bool {
        matches!(
            self,
            Self::SessionLimit | Self::OutOfPorts | Self::Overloaded | Self::Draining
        )
    }
}
