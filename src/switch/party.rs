//! The parties of a call, their `m=` lines, and what they may send.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;

use super::hold::{Hold, HoldMusic};
use super::request::{Family, IdleChoice, MediaGate};
use crate::engine::{
    DigitsConfig, EarlyMedia, EventType, LegIx, Mask, Payload, PayloadType, Privacy, Remote,
    Spoken, StreamIx, Via,
};
use crate::wire::sdp::{Codec, Direction, Media};

/// Most tags of one party: several answerers behind one branch (RFC 3261 section 12.1).
pub(super) const TAGS_MAX: usize = 8;

/// One party (ng: monologue), or one branch of a fork.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its leg in the engine.
    pub leg: LegIx,
    /// Its tags; the first is its own, the others answered behind the same branch. Empty until it
    /// answers.
    pub tags: Vec<Box<str>>,
    /// The branch it rings on.
    pub via_branch: Option<Box<str>>,
    /// Its label.
    pub label: Option<Box<str>>,
    /// Wall time of its first appearance.
    pub created: SystemTime,
    /// Index of the party it talks with.
    pub peer: Option<usize>,
    /// It answered or offered: its SDP is known.
    pub has_sdp: bool,
    /// Closed by a `delete` of its branch.
    pub closed: bool,
    /// It came alone: its offer was answered by the switch.
    pub published: bool,
    /// What it may send.
    pub gates: Gates,
    /// Its keys are listened to in its audio, too, by command.
    pub detects: bool,
    /// It is left out of recordings, by command.
    pub unrecorded: bool,
    /// Its `m=` lines.
    pub medias: Vec<LegMedia>,
    /// Name of the interface that faces it.
    pub interface: Box<str>,
    /// Identity in `o=` when masked.
    pub origin: MaskedOrigin,
    /// What it hears of those it calls while none is chosen, once a command said so.
    pub early: Option<EarlyMedia>,
    /// How often one of those it calls was chosen.
    pub choices: u32,
    /// What it is sent while there is nothing to hear, by command.
    pub idle: IdleChoice,
    /// What it has for whom it puts on hold.
    pub music: Option<Arc<HoldMusic>>,
    /// Whom it holds with music now.
    pub hold: Option<Hold>,
    /// What the others are to get of its keys, by command.
    pub mask: Option<Arc<Mask>>,
    /// Where what it sends goes, if not to whom it talks with.
    pub echo: EchoSide,
}

/// What becomes of what a party sends, once it is joined with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EchoSide {
    /// The other one hears it.
    #[default]
    Off,
    /// It hears itself.
    Echoed,
    /// Nobody hears it.
    Dropped,
}

impl Party {
    /// A party that has just appeared.
    pub fn new(leg: LegIx, interface: &str, now: SystemTime) -> Self {
        Self {
            leg,
            tags: Vec::new(),
            via_branch: None,
            label: None,
            created: now,
            peer: None,
            has_sdp: false,
            closed: false,
            published: false,
            medias: Vec::new(),
            interface: interface.into(),
            origin: MaskedOrigin::default(),
            gates: Gates::default(),
            detects: false,
            unrecorded: false,
            early: None,
            choices: 0,
            idle: IdleChoice::default(),
            music: None,
            hold: None,
            mask: None,
            echo: EchoSide::Off,
        }
    }

    /// Its own tag, or an empty text before it answered.
    pub fn tag(&self) -> &str {
        self.tags.last().map_or("", |t| t)
    }

    /// Whether `tag` is one of its tags.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| **t == *tag)
    }

    /// Its first line of audio in plain RTP.
    #[must_use]
    pub fn audio(&self) -> Option<&LegMedia> {
        let mut lines = self.medias.iter();
        lines.find(|line| line.payload == Payload::Rtp && *line.kind == *"audio")
    }

    /// Its streams, those of lines that changed their kind included.
    pub fn streams(&self) -> impl Iterator<Item = StreamIx> + '_ {
        let others = self.medias.iter().filter_map(|m| m.other.as_deref());
        self.medias.iter().chain(others).filter_map(|m| m.stream)
    }

    /// Takes `tag` as its newest.
    pub fn add_tag(&mut self, tag: &str) {
        if !self.has_tag(tag) {
            if self.tags.len() >= TAGS_MAX {
                self.tags.remove(0);
            }
            self.tags.push(tag.into());
        }
    }

    pub(super) fn on_branch(&self, branch: Option<&str>) -> bool {
        self.via_branch.as_deref() == branch
    }

    /// Family of the address that faces it.
    pub fn family(&self) -> Option<Family> {
        self.medias
            .iter()
            .find(|m| m.stream.is_some())
            .map(|m| Family::of(m.local.ip()))
    }
}

/// What a party may send, by command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Nothing.
    pub blocked: bool,
    /// Only silence.
    pub silenced: bool,
}

impl Gates {
    /// Takes a command.
    pub fn set(&mut self, gate: MediaGate) {
        match gate {
            MediaGate::Block(on) => self.blocked = on,
            MediaGate::Silence(on) => self.silenced = on,
        }
    }
}

/// Our own `o=` towards one party, whose version grows when the text changes (RFC 3264 section 8).
#[derive(Clone, Copy, Debug, Default)]
pub struct MaskedOrigin {
    /// Random, and the same for the life of the leg; 0 before the first text.
    pub session_id: u64,
    /// Of the latest text.
    pub version: u64,
    /// Hash of the latest text.
    pub text: u64,
}

impl MaskedOrigin {
    /// Id and version of what a party is told; `text` is all that it is told besides.
    pub fn next(&mut self, text: &str, random: impl FnOnce() -> u64) -> (u64, u64) {
        if self.session_id == 0 {
            self.session_id = random() >> 2;
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let text = hasher.finish();
        if self.version == 0 || self.text != text {
            (self.version, self.text) = (self.version + 1, text);
        }
        (self.session_id, self.version)
    }
}

/// One `m=` line of one party.
#[derive(Clone, Debug)]
pub struct LegMedia {
    /// Its stream in the engine; `None` for a line that was rejected from the start.
    pub stream: Option<StreamIx>,
    /// Our RTP address towards this party; RTCP is one port above.
    pub local: SocketAddr,
    /// The address we tell this party.
    pub advertised: IpAddr,
    /// What its stream carries.
    pub payload: Payload,
    /// `audio`, `video`, …
    pub kind: Box<str>,
    /// `RTP/AVP`, `udptl`, …
    pub transport: Box<str>,
    /// The first codec of its latest SDP, as `PCMU/8000`.
    pub codec: Box<str>,
    /// What payload types mean to this party: by its own SDP, or as it was told.
    pub numbers: Vec<Codec>,
    /// Where its SDP says it is, as the engine was told.
    pub remote: Option<Remote>,
    /// What it is sent when we make its audio; `None` if we cannot.
    pub speaks: Option<Spoken>,
    /// The engine knows what it speaks and hears: it is recoded, played to, mixed or forked.
    pub voiced: bool,
    /// What the engine listens for of its party's keys.
    pub digits: DigitsConfig,
    /// The payload type under which it accepts comfort noise beside that.
    pub noise: Option<u8>,
    /// The telephone-event type that it accepts.
    pub event: Option<EventType>,
    /// Tones in what its party says become telephone-events, unless a mask was commanded.
    pub converts: bool,
    /// Its latest offer asked for that, where it is of use.
    pub asks_conversion: bool,
    /// What it is sent while there is nothing to hear.
    pub idle: IdleChoice,
    /// What it may send, and how that gets to its peer.
    pub types: SmallVec<[PayloadType; 4]>,
    /// Direction by its own SDP.
    pub direction: Direction,
    /// It is sent something, as the engine was told: it is not on hold.
    pub receives: bool,
    /// What it may learn of others.
    pub privacy: Privacy,
    /// The stream of the other kind on this line (audio while it is T.38, or the other way round):
    /// it goes on until the new one is answered, and is taken again when the line turns back.
    pub other: Option<Box<Self>>,
}

impl LegMedia {
    /// Where its SDP says it receives RTP.
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.remote.and_then(|r| r.rtp)
    }

    /// Whether what it sends is decoded and encoded anew.
    pub fn is_transcoded(&self) -> bool {
        self.types.iter().any(|kind| kind.via == Via::Decode)
    }

    pub(super) fn remote_ip(&self) -> Option<IpAddr> {
        self.remote_address().map(|a| a.ip())
    }

    /// Makes the stream for `payload` the one of this line, where it is the other one now.
    pub fn turn(&mut self, payload: Payload) {
        if self.payload != payload
            && let Some(mut other) = self.other.take_if(|other| other.payload == payload)
        {
            std::mem::swap(self, &mut other);
            self.other = Some(other);
        }
    }

    /// Takes what numbers mean by an SDP from or to this party; the latest word counts.
    pub fn learn_numbers(&mut self, codecs: impl Iterator<Item = Codec>) {
        for codec in codecs {
            let codec = Codec {
                feedback: Vec::new(),
                ..codec
            };
            match self.numbers.iter_mut().find(|known| known.pt == codec.pt) {
                Some(known) => *known = codec,
                None => self.numbers.push(codec),
            }
        }
    }
}

impl LegMedia {
    /// A line of a party that only listens, at our address and the one it is told.
    pub(super) fn listening(
        stream: StreamIx,
        (local, advertised): (SocketAddr, IpAddr),
        (kind, transport): (Box<str>, Box<str>),
        privacy: Privacy,
    ) -> Self {
        Self {
            stream: Some(stream),
            local,
            advertised,
            payload: Payload::Rtp,
            kind,
            transport,
            codec: Box::default(),
            numbers: Vec::new(),
            speaks: None,
            noise: None,
            event: None,
            converts: false,
            asks_conversion: false,
            idle: IdleChoice::default(),
            voiced: false,
            digits: DigitsConfig::default(),
            types: SmallVec::new(),
            remote: None,
            direction: Direction::RecvOnly,
            receives: true,
            privacy,
            other: None,
        }
    }

    /// A line that came with port 0: it has no ports of ours.
    pub fn rejected(media: &Media, local: SocketAddr, privacy: Privacy) -> Self {
        Self {
            stream: None,
            local,
            advertised: local.ip(),
            payload: Payload::Rtp,
            kind: media.kind.as_str().into(),
            transport: media.transport.as_str().into(),
            codec: Box::default(),
            numbers: Vec::new(),
            speaks: None,
            voiced: false,
            digits: DigitsConfig::default(),
            noise: None,
            event: None,
            converts: false,
            asks_conversion: false,
            idle: IdleChoice::default(),
            types: SmallVec::new(),
            remote: None,
            direction: media.direction,
            receives: true,
            privacy,
            other: None,
        }
    }
}
