//! The vocabulary between the engine and its callers: names, changes, verdicts and reports.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::digits::{
    DIGITS_MAX, DialReport, DigitsConfig, EventType, Mask, MaskError, Press, SendDigits,
};
use super::gather::{GatherConfig, GatherError, GatherId, Gathered, Keys};
use super::playout::PlayoutStats;
use super::record::{RECORDERS_MAX, RecorderId, Side, TRACKS_OF_STREAM_MAX, TapeWriter, TrackIx};
use super::voice::{
    BRIDGES_MAX, BridgeConfig, BridgeIx, EDGES_MAX, EarlyMedia, Idle, Listener, Play, PlayId,
    PlayReport, SEQUENCE_MAX, Via, Voice,
};
use crate::audio::progress::Progress;
use crate::wire::event::Digit;

/// Most streams (one per `m=` line and party) a call may hold: a caller and 32 branches with
/// several media each.
pub const STREAMS_MAX: usize = 1_024;

/// Most payload types of one stream; more are refused by the negotiation with a clear error.
pub const PAYLOAD_TYPES_MAX: usize = 64;

/// Most listeners of one stream; one more is refused.
pub const TAPS_MAX: usize = 8;

/// Names a call inside its worker: an index and the generation that tells a reused one apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// Index into the worker's table of calls, below 2^24.
    pub slot: u32,
    /// Grows by one each time the slot is reused, so that a late command finds nothing.
    pub generation: u16,
}

/// Index of a stream inside its call, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamIx(pub u16);

impl StreamIx {
    /// The stream `by` places further on.
    #[must_use]
    pub fn after(self, by: u16) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Index of a leg (a party, or one branch of a fork) inside its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegIx(pub u16);

/// Which of a stream's two local ports: RTP, or RTCP where it is not multiplexed (RFC 5761).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// The even port; also RTCP when multiplexed.
    Rtp = 0,
    /// The odd port.
    Rtcp = 1,
}

/// A driver's own index of an open port; opaque to the engine, which hands it back in verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortHandle(pub u32);

/// What a party is allowed to learn of the others (the design's "nothing leaks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// The first source's SSRC, numbers, CSRC and extensions pass as they are.
    Transparent,
    /// Fresh SSRC, sequence and timestamp; no CSRC, no header extension; RTCP ends here and is
    /// replaced by our own reports under a random CNAME.
    Masked,
}

/// What travels on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// RTP and RTCP, parsed and audited.
    Rtp,
    /// Anything else (UDPTL, unknown transports): datagrams pass untouched once the source holds.
    Opaque,
}

/// How a call begins.
#[derive(Clone, Debug)]
pub struct CallConfig {
    /// Its name in the worker.
    pub key: CallKey,
    /// Seed of every random number this call uses (masked SSRCs, CNAME, report jitter).
    pub seed: u64,
    /// When it ends by itself.
    pub timers: Timers,
}

/// When a call ends by itself; `None` switches a timer off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// From creation to the first media packet accepted.
    pub setup: Option<Duration>,
    /// Without any accepted RTP on any stream, once there was some.
    pub silence: Option<Duration>,
    /// From creation, whatever happens.
    pub limit: Option<Duration>,
}

/// How a stream begins. It has no peer until [`Change::Remote`] and no route until
/// [`Change::Link`].
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// The leg it belongs to.
    pub leg: LegIx,
    /// Zero-based index of its `m=` line.
    pub media: u8,
    /// What it carries.
    pub payload: Payload,
    /// What its party may learn of others: applies to what we *send* on this stream.
    pub privacy: Privacy,
    /// Send our own SR/RR on this stream (ng `generate-RTCP`; always so when masked).
    pub own_rtcp: bool,
}

/// Where a party said it is, and who else may turn out to be it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The RTP address of its SDP; `None` while unusable (hold by 0.0.0.0, refused target).
    pub rtp: Option<SocketAddr>,
    /// The RTCP address: `a=rtcp`, or RTP's port + 1. Ignored when `mux`.
    pub rtcp: Option<SocketAddr>,
    /// RTCP travels on the RTP port with this party.
    pub mux: bool,
    /// Who else may be learned as the source.
    pub learn: Learn,
}

/// The rule of latching for sources that are not the SDP's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learn {
    /// How fast a candidate may become the source.
    pub pace: LearnPace,
    /// An address that is likely to be the party (the signalling source): same rules as the SDP's
    /// own IP with another port.
    pub likely: Option<IpAddr>,
    /// Any address at all may be learned: the SDP's address is private and cannot be reached.
    pub anyone: bool,
    /// After latching, another candidate may take over once the latched source fell silent
    /// (ng `media-handover`).
    pub handover: bool,
    /// Keep sending to the SDP's address even if the party sends from elsewhere
    /// (ng `asymmetric`).
    pub asymmetric: bool,
}

/// How fast a candidate may become the source (ng `endpoint-learning`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnPace {
    /// Only the SDP's address is ever accepted.
    Off,
    /// After three in-sequence packets.
    Immediate,
    /// After eight in-sequence packets, or one second with at least three. The default.
    Heuristic,
    /// After three seconds with at least three in-sequence packets.
    Delayed,
}

/// What we know of one payload type that a party sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadType {
    /// As the party sends it, 0–127.
    pub pt: u8,
    /// As the other side of the route expects it.
    pub out: u8,
    /// RTP clock rate in Hz.
    pub clock_hz: u32,
    /// A byte that, repeated, is silence in this codec (0xFF for PCMU, 0xD5 for PCMA).
    pub silence: Option<u8>,
    /// telephone-event (RFC 4733): its timestamps stand still while sequence numbers grow.
    pub event: bool,
    /// How it gets to the listener.
    pub via: Via,
}

/// One mutation of a call.
#[derive(Debug)]
pub enum Change {
    /// Appends a stream; its index is the number of streams before.
    AddStream(StreamConfig),
    /// A party's SDP arrived: where it is. The latch reopens only if the address really changed.
    Remote(StreamIx, Remote),
    /// The payload types this stream's party may send, with their translation for its sink.
    PayloadTypes(StreamIx, SmallVec<[PayloadType; 4]>),
    /// Whether the party sends and receives (its SDP direction): both true for `sendrecv`.
    Direction {
        /// Of which stream.
        stream: StreamIx,
        /// It may send to others.
        sends: bool,
        /// It wants to receive.
        receives: bool,
    },
    /// What this stream's party sends goes to `to`; `None` unlinks. A stream of RTP that is linked
    /// to itself is an echo: its party hears itself, as another source than itself.
    Link {
        /// The stream media arrives on.
        from: StreamIx,
        /// The stream it leaves on.
        to: Option<StreamIx>,
    },
    /// The one stream that `listener` hears of all that are linked to it; `None`: the first that
    /// speaks (early media of a fork), until it is set.
    Source {
        /// The stream that hears.
        listener: StreamIx,
        /// The stream that is heard.
        source: Option<StreamIx>,
    },
    /// What `listener` hears of its branches while no source is set.
    EarlyMedia {
        /// The stream that hears.
        listener: StreamIx,
        /// What.
        policy: EarlyMedia,
    },
    /// Drop media arriving on this stream (ng `block media`).
    Block(StreamIx, bool),
    /// Replace audio arriving on this stream by silence (ng `silence media`).
    Silence(StreamIx, bool),
    /// A party listens to another one, besides those who talk with it.
    Tap(Box<Tap>),
    /// The party on this stream only listens, as after [`Change::Tap`], and to nobody for now.
    Untap(StreamIx),
    /// What the others get of the keys that this stream's party presses; `None`: all.
    Mask(StreamIx, Option<Box<Mask>>),
    /// What this stream's party may learn of others.
    Privacy(StreamIx, Privacy),
    /// Send our own SR/RR on this stream.
    OwnRtcp(StreamIx, bool),
    /// What a party speaks and hears, for legs that may be decoded, mixed or played to.
    Voice(StreamIx, Box<Voice>),
    /// What a party is sent while there is nothing to hear; what its [`Voice`] said is replaced.
    Idle(StreamIx, Idle),
    /// Starts to play to a leg or bridge; a player of the same name ends first.
    Play(Box<Play>),
    /// Stops one player of a leg or bridge, or all.
    StopPlay {
        /// Who hears it.
        listener: Listener,
        /// Which; `None`: all.
        id: Option<PlayId>,
    },
    /// The telephone-event type that a stream's party accepts, for legs that may be sent keys.
    EventType(StreamIx, Option<EventType>),
    /// Presses keys for a listener.
    SendDigits(Box<SendDigits>),
    /// Nothing more is pressed for a listener; a key that is down comes up.
    StopDigits(StreamIx),
    /// Declares who hears whom in a bridge.
    Bridge(BridgeIx, Box<BridgeConfig>),
    /// What to listen for of the keys that this stream's party presses; `None`: nothing.
    Digits(StreamIx, Option<DigitsConfig>),
    /// Plays a prompt and gathers keys; ends in [`EventKind::Gathered`], whatever happens.
    Gather(Box<GatherConfig>),
    /// Ends what is gathered of a party, as cancelled.
    StopGather {
        /// Whose keys.
        stream: StreamIx,
        /// Only the gathering of this name; `None`: any.
        id: Option<GatherId>,
    },
    /// Whether a party's keys are kept, while nothing is gathered, for the next time.
    TypeAhead(StreamIx, bool),
    /// A key of a party that did not come as media: it counts in what is gathered of it.
    Key(StreamIx, Digit),
    /// Begins a recording of this name; [`Change::RecordTrack`] says of what.
    Record {
        /// Its name, not used before in this call, nor in one that may be merged with it.
        recorder: RecorderId,
        /// Where it is written.
        tape: Box<TapeWriter>,
        /// Which key, pressed by a party on a track of [`Side::In`], is [`Entry::Finish`]; none:
        /// [`Keys::NONE`].
        ///
        /// [`Entry::Finish`]: super::Entry::Finish
        finish: Keys,
    },
    /// Records what a stream's party says or hears on a track; what was on the track before is
    /// not recorded there any more. A recording that nobody reads any more takes nothing, and the
    /// command is none the less accepted.
    RecordTrack {
        /// The recording.
        recorder: RecorderId,
        /// Which of its tracks.
        track: TrackIx,
        /// What goes on it; `None`: nothing more.
        from: Option<(StreamIx, Side)>,
    },
    /// Ends a recording: its tape says when. One that nobody reads any more is ended as well.
    StopRecord(RecorderId),
    /// Retires a stream for good (its branch lost, its `m=` line was rejected): nothing is
    /// accepted or sent on it again.
    Close(StreamIx),
    /// Replace the timers; they keep counting from the call's creation.
    Timers(Timers),
}

/// Who listens to whom. The listener gets a copy of every packet that the other party sends and
/// may send: one that is blocked, or held by its own SDP, says nothing, and one that is silenced
/// says silence. Who else hears it, or not, does not matter.
///
/// From here on the listener's stream only listens, for good: whatever its party sends is counted
/// and goes to nobody, it keeps no call alive, and RTCP towards it is ours. It listens to one
/// stream at a time; another one takes the place of the one before.
#[derive(Clone, Debug)]
pub struct Tap {
    /// Who is listened to; at most [`TAPS_MAX`] listen.
    pub from: StreamIx,
    /// Who listens. It talks with nobody, and nobody listens to it.
    pub to: StreamIx,
    /// What of `from` it hears, and how that gets to it: other payload types do not. With
    /// [`Via::Decode`] the listener's own [`Voice`] says how to decode what `from` sends.
    pub types: SmallVec<[PayloadType; 4]>,
}

/// What to do with a packet that was handed to [`Call::handle_packet`](super::Call).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is sent; the reason is counted.
    Drop(DropReason),
    /// Nothing is sent now: it was taken in to be decoded.
    Taken,
    /// Send `packet[start..end]` (edited in place) out of `port` to `to`.
    Forward {
        /// The sink's open port.
        port: PortHandle,
        /// Its destination.
        to: SocketAddr,
        /// First byte to send.
        start: u16,
        /// One past the last byte to send.
        end: u16,
    },
}

/// Why a packet was dropped. Each is a counter, with this name as its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Shorter than its header says, or not a valid RTP packet.
    MalformedRtp,
    /// Fails the compound rules of RFC 3550 appendix A.2 or its lengths.
    MalformedRtcp,
    /// Longer than a datagram we relay.
    Oversize,
    /// Neither RTP, RTCP nor anything this stream carries (STUN, DTLS, noise).
    NotMedia,
    /// The source is a candidate that has not been latched.
    Candidate,
    /// The source is not the latched one.
    LatchRejected,
    /// A payload type that was not negotiated and may mean something else to the listener.
    UnknownPayloadType,
    /// No party is linked to this stream.
    NoSink,
    /// The sink's party has no usable address yet.
    NoTarget,
    /// The party's SDP says it does not send, or the listener's that it does not receive.
    Held,
    /// Media is blocked by command.
    Blocked,
    /// A key that the others are not to get ([`Change::Mask`]).
    Masked,
    /// Another branch of the fork is heard, or the packet is from before a switch of sources or
    /// out of any sequence, so that its number could collide with what the listener already has.
    NotHeard,
    /// RTCP of a masked leg ends here.
    RtcpTerminated,
    /// The stream is closed or the call is gone.
    Closed,
}

impl DropReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::MalformedRtp,
        Self::MalformedRtcp,
        Self::Oversize,
        Self::NotMedia,
        Self::Candidate,
        Self::LatchRejected,
        Self::UnknownPayloadType,
        Self::NoSink,
        Self::NoTarget,
        Self::Held,
        Self::Blocked,
        Self::Masked,
        Self::NotHeard,
        Self::RtcpTerminated,
        Self::Closed,
    ];

    /// The label in metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::MalformedRtp => "rtp.malformed",
            Self::MalformedRtcp => "rtcp.malformed",
            Self::Oversize => "oversize",
            Self::NotMedia => "not_media",
            Self::Candidate => "latch.candidate",
            Self::LatchRejected => "latch.rejected",
            Self::UnknownPayloadType => "payload_type.unknown",
            Self::NoSink => "no_sink",
            Self::NoTarget => "no_target",
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Masked => "masked",
            Self::NotHeard => "not_heard",
            Self::RtcpTerminated => "rtcp.terminated",
            Self::Closed => "closed",
        }
    }
}

/// What a call wants done besides forwarding.
#[derive(Debug)]
pub enum Output {
    /// Send a packet the call made itself (RTCP).
    Transmit {
        /// The open port to send from.
        port: PortHandle,
        /// The destination.
        to: SocketAddr,
        /// The packet.
        packet: SmallVec<[u8; 128]>,
    },
    /// Send a frame the call made; [`Call::media`](super::Call::media) has its bytes until the
    /// output is drained.
    Media {
        /// The open port to send from.
        port: PortHandle,
        /// The destination.
        to: SocketAddr,
        /// Where its bytes lie.
        bytes: Range<usize>,
    },
    /// Only `peer` is of interest on this port any more (`Some`), or anybody again (`None`):
    /// a driver may connect the socket, or put the flow into the kernel.
    Pin {
        /// The port.
        port: PortHandle,
        /// The only source and destination.
        peer: Option<SocketAddr>,
    },
    /// Something happened that others wait for. At most [`EVENTS_MAX`] and [`EVENTS_UNTOLD_MAX`]
    /// come of one mutation; what is more is missing in [`Event::seq`].
    Event(Event),
    /// A timer ended the call; the owner removes it.
    Ended(EndReason),
}

/// Which timer ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// [`Timers::setup`].
    Setup,
    /// [`Timers::silence`].
    Silence,
    /// [`Timers::limit`].
    Limit,
}

/// Packets, bytes (of UDP payload) and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams.
    pub packets: u64,
    /// Their bytes, UDP payload only.
    pub bytes: u64,
    /// Datagrams that were refused after their source was accepted.
    pub errors: u64,
}

/// A call as it stands, for `query`, `delete` and `why`.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// When it was created.
    pub created: Instant,
    /// When this was taken.
    pub taken: Instant,
    /// In order of [`StreamIx`].
    pub streams: Vec<StreamReport>,
    /// What is being played to bridges.
    pub playing: Vec<PlayReport>,
    /// The latest events, oldest first; at most [`EVENTS_MAX`].
    pub events: Vec<Event>,
    /// Events that no longer fitted.
    pub events_dropped: u32,
}

impl CallReport {
    /// Of a call that has no media: no streams, no events.
    #[must_use]
    pub fn empty(created: Instant) -> Self {
        Self {
            created,
            taken: created,
            streams: Vec::new(),
            playing: Vec::new(),
            events: Vec::new(),
            events_dropped: 0,
        }
    }
}

/// One stream as it stands.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// Its leg.
    pub leg: LegIx,
    /// Its `m=` line.
    pub media: u8,
    /// RTP received and accepted.
    pub rtp_in: Traffic,
    /// RTCP received and accepted.
    pub rtcp_in: Traffic,
    /// RTP sent to the party.
    pub rtp_out: Traffic,
    /// RTCP sent to the party.
    pub rtcp_out: Traffic,
    /// Datagrams refused because of their source.
    pub rejected: u64,
    /// Where the party really sends from, once latched.
    pub latched: Option<SocketAddr>,
    /// Whether [`StreamReport::latched`] is the SDP's own address.
    pub latched_by_sdp: bool,
    /// The address of its SDP.
    pub remote: Option<SocketAddr>,
    /// First and last accepted RTP packet.
    pub first_packet: Option<Instant>,
    /// Last accepted RTP packet.
    pub last_packet: Option<Instant>,
    /// Last accepted RTCP packet.
    pub last_rtcp: Option<Instant>,
    /// SSRC changes after the first.
    pub ssrc_changes: u32,
    /// Payload type changes, telephone-event and comfort noise not counted.
    pub pt_changes: u32,
    /// Payload type of the latest audio packet.
    pub pt: Option<u8>,
    /// The sources heard, latest last; at most four are kept.
    pub sources: Vec<SourceReport>,
    /// SSRC we send with, once we sent.
    pub ssrc_out: Option<u32>,
    /// Round-trip time between us and the party, from RTCP LSR/DLSR.
    pub rtt: Option<Duration>,
    /// Blocked by command.
    pub blocked: bool,
    /// Silenced by command.
    pub silenced: bool,
    /// Its party sends, by its SDP.
    pub sends: bool,
    /// Its party receives, by its SDP.
    pub receives: bool,
    /// Closed.
    pub closed: bool,
    /// Refused datagrams by [`DropReason`] (index is the discriminant).
    pub drops: [u32; DropReason::ALL.len()],
    /// Its playout buffer, while what it sends is decoded.
    pub playout: Option<PlayoutStats>,
    /// What is being played to its party, in the order in which it began.
    pub playing: Vec<PlayReport>,
    /// Key presses of its party that were too many to be told ([`PRESSES_AT_ONCE_MAX`]).
    ///
    /// [`PRESSES_AT_ONCE_MAX`]: super::PRESSES_AT_ONCE_MAX
    pub presses_ignored: u32,
    /// What it sent as a branch of a fork that had chosen none; the last verdict stays. `None`: it
    /// never was one, or nothing was heard of it.
    pub progress: Option<Progress>,
    /// The one stream that its party hears: the chosen one, the branch that has the floor, or the
    /// one it listens to.
    pub hears: Option<StreamIx>,
}

/// Reception quality of one SSRC (RFC 3550 appendix A.3 and A.8).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SourceReport {
    /// Its SSRC.
    pub ssrc: u32,
    /// Accepted packets.
    pub packets: u64,
    /// Their UDP payload bytes.
    pub bytes: u64,
    /// Extended highest sequence number.
    pub highest_seq: u32,
    /// Timestamp of that packet.
    pub last_timestamp: u32,
    /// Expected minus received, never negative here.
    pub lost: u64,
    /// Arrived after a higher number, within the window.
    pub reordered: u64,
    /// Same number twice.
    pub duplicate: u64,
    /// Reordered by more than a playout buffer would wait (100 ms).
    pub late: u64,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f32,
}

/// Most events a call keeps for `why`.
pub const EVENTS_MAX: usize = 32;

/// Most events that others wait for and that wait to be told besides those: one for each stream,
/// as a gathering of each may end at once.
pub const EVENTS_UNTOLD_MAX: usize = STREAMS_MAX;

/// Something that happened to a call's media, for its timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Gap-free number within the call, from 0.
    pub seq: u32,
    /// When.
    pub at: Instant,
    /// Where.
    pub stream: StreamIx,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind {
    /// First packet of a source that is not (yet) accepted.
    Candidate(SocketAddr),
    /// The source is settled.
    Latched {
        /// From where.
        from: SocketAddr,
        /// It is the SDP's address.
        by_sdp: bool,
    },
    /// The first packet of a source that was refused because another one holds the latch.
    LatchRejected(SocketAddr),
    /// First accepted RTP packet.
    FirstPacket {
        /// Its SSRC.
        ssrc: u32,
        /// Its payload type.
        pt: u8,
    },
    /// The party started a new SSRC.
    SsrcChanged(u32),
    /// The listener on this stream now hears another stream.
    SourceChanged(StreamIx),
    /// What this branch of a fork sends is now this.
    Progress(Progress),
    /// Something is played to this stream's party, or to the bridge of which it is the first
    /// member.
    PlayStarted(PlayId, Listener),
    /// It was played to its end.
    PlayCompleted(PlayReport),
    /// It was stopped before its end.
    PlayInterrupted(PlayReport),
    /// It was refused, or could not go on after its leg changed codecs.
    PlayFailed(PlayReport),
    /// A key goes down on this stream's party.
    DigitBegan(Press),
    /// It comes up.
    DigitEnded(Press),
    /// The keys of a command were pressed for this stream's party, or will not be any more.
    DigitsSent(DialReport),
    /// A gathering of keys has ended.
    Gathered(Gathered),
    /// Keys that this stream's party pressed have begun a mask ([`Triggers`](super::Triggers)).
    MaskingBegan,
    /// It has ended: by keys, their number, or time.
    MaskingEnded,
    /// RTCP BYE passed (it ends nothing).
    Bye,
    /// No RTP for two seconds on a stream that had some.
    Stalled,
    /// A timer ended the call.
    Ended(EndReason),
}

impl EventKind {
    /// Whether somebody outside may wait for it: it is an [`Output::Event`].
    #[must_use]
    pub fn is_told(&self) -> bool {
        matches!(
            self,
            Self::DigitBegan(_) | Self::DigitEnded(_) | Self::DigitsSent(_) | Self::Gathered(_)
        )
    }
}

/// Why a [`Change`] was refused; the call is as it was.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// The call has no such stream.
    #[error("the call has no stream {0:?}")]
    UnknownStream(StreamIx),
    /// The stream was closed.
    #[error("stream {0:?} is closed")]
    StreamClosed(StreamIx),
    /// The call holds [`STREAMS_MAX`] streams.
    #[error("a call holds at most {STREAMS_MAX} streams")]
    TooManyStreams,
    /// More than [`PAYLOAD_TYPES_MAX`] payload types.
    #[error("a stream has at most {PAYLOAD_TYPES_MAX} payload types")]
    TooManyPayloadTypes,
    /// A payload type above 127, or a clock rate of 0 or above [`CLOCK_HZ_MAX`].
    #[error("payload type {0} or its clock rate is out of range")]
    PayloadType(u8),
    /// A codec that we cannot decode or encode, or a leg that has none.
    #[error("stream {0:?} speaks no codec that can be decoded and encoded")]
    Codec(StreamIx),
    /// Not a multiple of ten within [`PTIME_MS`](super::PTIME_MS).
    #[error("packets of {0} ms: 10 to 60 ms in steps of 10 are possible")]
    Ptime(u8),
    /// The bounds of a playout delay are crossed, or beyond
    /// [`DELAY_MS_MAX`](super::playout::DELAY_MS_MAX).
    #[error("a playout delay from {0} to {1} ms is not possible")]
    Playout(u16, u16),
    /// [`PLAYERS_MAX`](super::PLAYERS_MAX) sounds are played already, or the sound's rate cannot be
    /// converted.
    #[error("{0:?} cannot be played one more sound, or not this one")]
    Play(Listener),
    /// No sound, or more than [`SEQUENCE_MAX`].
    #[error("a sequence of {0} sounds: 1 to {SEQUENCE_MAX} are possible")]
    Sequence(usize),
    /// The call has no such bridge.
    #[error("the call has no bridge {0:?}")]
    UnknownBridge(BridgeIx),
    /// A level of noise is 0 to 127 −dBov.
    #[error("noise at -{0} dBov: 0 to 127 are possible")]
    NoiseLevel(u8),
    /// In another bridge, or twice in this one.
    #[error("stream {0:?} is in another bridge, or twice in this one")]
    Bridged(StreamIx),
    /// The index of a bridge is at most [`BRIDGES_MAX`] − 1.
    #[error("a call holds at most {BRIDGES_MAX} bridges")]
    TooManyBridges,
    /// More than [`EDGES_MAX`] exceptions.
    #[error("a bridge has at most {EDGES_MAX} exceptions")]
    TooManyEdges,
    /// It accepts no telephone-event, and speaks no codec that we can encode; or it only listens,
    /// or receives nothing now.
    #[error("stream {0:?} cannot be sent digits")]
    Undialable(StreamIx),
    /// No digits, more than [`DIGITS_MAX`] with those that wait, or times or a level out of range.
    #[error("no digits, more than {DIGITS_MAX}, or their times or level are out of range")]
    Dial,
    /// What is not read cannot be sent back under other numbers.
    #[error("stream {0:?} cannot hear itself: it does not carry plain RTP")]
    LinkToSelf(StreamIx),
    /// It only listens, and cannot talk with anybody.
    #[error("stream {0:?} only listens")]
    Listens(StreamIx),
    /// It is linked, bridged, listened to, does not carry plain RTP, or is the one to listen to.
    #[error("stream {0:?} cannot listen to stream {1:?}")]
    Tap(StreamIx, StreamIx),
    /// A mask that cannot be, and why.
    #[error("the keys of stream {0:?} cannot be masked: {1}")]
    Mask(StreamIx, MaskError),
    /// [`TAPS_MAX`] listen already.
    #[error("a stream has at most {TAPS_MAX} listeners: no more for stream {0:?}")]
    TooManyTaps(StreamIx),
    /// It does not carry plain RTP.
    #[error("the keys of stream {0:?} cannot be heard: it does not carry plain RTP")]
    Digits(StreamIx),
    /// [`RECORDERS_MAX`] record already, or one of this name does.
    #[error("a call has at most {RECORDERS_MAX} recordings, each with its own name")]
    TooManyRecorders,
    /// The call has no such recording, or it has no such track.
    #[error("the call has no recording {0:?} with such a track")]
    UnknownRecorder(RecorderId),
    /// It does not carry plain RTP, or [`TRACKS_OF_STREAM_MAX`] tracks record it already.
    #[error("stream {0:?} carries no plain RTP, or is on {TRACKS_OF_STREAM_MAX} tracks already")]
    Record(StreamIx),
    /// A limit of gathering.
    #[error("cannot gather: {0}")]
    Gather(#[from] GatherError),
}

/// Highest RTP clock rate of a payload type, in Hz.
pub const CLOCK_HZ_MAX: u32 = 1_000_000;
