//! What a signalling layer asks for: every door (ng, and later HTTP and SIP) fills these in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::hold::HoldMusic;
use super::prompts::Source;
use crate::audio::mix::Gain;
use crate::engine::{EarlyMedia, Idle, Layer, LearnPace, Privacy};
use crate::wire::sdp::Direction;

/// Longest call id, in bytes.
pub const CALL_ID_MAX: usize = 512;
/// Longest tag, branch or label, in bytes.
pub const TAG_MAX: usize = 256;

/// An offer or an answer (RFC 3264) of one party, to be rewritten for the other.
///
/// In an answer `from_tag` still names the offerer and `to_tag` the party whose SDP this is, as SIP
/// and ng have it.
#[derive(Clone, Debug)]
pub struct Negotiation<'a> {
    /// The signalling layer's name of the call; at most [`CALL_ID_MAX`] bytes.
    pub call_id: &'a str,
    /// The offerer's tag.
    pub from_tag: &'a str,
    /// The answerer's tag, once known.
    pub to_tag: Option<&'a str>,
    /// Which branch of a forked offer this is.
    pub via_branch: Option<&'a str>,
    /// The SDP body.
    pub sdp: &'a [u8],
    /// How to treat it.
    pub options: Options,
}

/// A listener is to be offered what others of its call send.
#[derive(Clone, Debug)]
pub struct Subscribe<'a> {
    /// The call.
    pub call_id: &'a str,
    /// Whom it listens to, in this order.
    pub sources: Vec<Participants<'a>>,
    /// The listener's tag: one that listens already is offered anew what it hears; `None`, or a
    /// tag of somebody who talks: a fresh one is made.
    pub to_tag: Option<&'a str>,
    /// Offer lines that send nothing yet (ng `inactive`).
    pub inactive: bool,
    /// Label the lines (RFC 4574), as recording servers need it (RFC 7866; ng `SIPREC`).
    pub siprec: bool,
    /// How to offer it. Towards the listener are the second interface, else the first; the label
    /// is the listener's.
    pub options: Options,
}

/// What comes of a [`Subscribe`].
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// The offer for the listener.
    pub sdp: String,
    /// The listener's tag.
    pub to_tag: String,
    /// Whom it listens to.
    pub sources: Vec<SubscribedParty>,
    /// As of [`Negotiated::warnings`].
    pub warnings: Vec<String>,
}

/// A party that is listened to.
#[derive(Clone, Debug)]
pub struct SubscribedParty {
    /// Its tag.
    pub tag: String,
    /// Its label.
    pub label: Option<String>,
    /// Its lines.
    pub medias: Vec<SubscribedMedia>,
}

/// A line that is listened to.
#[derive(Clone, Debug)]
pub struct SubscribedMedia {
    /// The zero-based line of the offer to the listener, which is its label there.
    pub line: usize,
    /// The zero-based line of the party.
    pub index: usize,
    /// Who sends on it, by the party's own SDP.
    pub direction: Direction,
    /// `audio`, `video` …
    pub kind: String,
}

/// What comes of a [`Negotiation`].
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// The SDP for the other party.
    pub sdp: String,
    /// What the client should know though the command was carried out, a sentence each; at most
    /// seven per `m=` line.
    pub warnings: Vec<String>,
}

/// How an offer or answer is treated. `Default` is what ng does without any flag.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Interface names facing the offerer and the answerer; empty picks the first configured.
    pub interfaces: [Option<String>; 2],
    /// Address family of what is sent on; `None` keeps that of the SDP where possible.
    pub family: Option<Family>,
    /// Address to write into the SDP instead of the interface's advertised one.
    pub media_address: Option<IpAddr>,
    /// Where the signalling message came from.
    pub received_from: Option<IpAddr>,
    /// Ignore the SDP's addresses and use `received_from` (ng `SIP-source-address`).
    pub sip_source_address: bool,
    /// What the *other* parties may learn of this call.
    pub privacy: Option<Privacy>,
    /// How fast a source that is not the SDP's may be learned; `None`: heuristic.
    pub learn_pace: Option<LearnPace>,
    /// A silent party may continue from another address (ng `media-handover`).
    pub handover: bool,
    /// Keep sending to the SDP's address whatever the source (ng `asymmetric`).
    pub asymmetric: bool,
    /// The SDP is that of another call of this very switch: its address may be one of ours.
    /// Whoever sets it sees to it that calls do not go round in circles.
    pub own_ports: bool,
    /// Media before the answer may be heard (ng `early-media`).
    pub early_media: bool,
    /// Send our own RTCP reports (ng `generate-RTCP`).
    pub own_rtcp: Option<bool>,
    /// RTCP multiplexing (RFC 5761).
    pub mux: Mux,
    /// Write the address into `o=` as well (ng `replace: origin`).
    pub replace_origin: bool,
    /// `a=rtcp` in what is sent on.
    pub rtcp_attribute: RtcpAttributeStyle,
    /// Packet time in ms for the party that receives this SDP.
    pub ptime: Option<u16>,
    /// Packet time in ms for the party that sent this SDP, written into the answer.
    pub ptime_reverse: Option<u16>,
    /// What to do about codecs.
    pub codecs: CodecPolicy,
    /// What the offerer hears before one of the called parties is chosen; `None`: as before, or
    /// the first that speaks.
    pub early_policy: Option<EarlyMedia>,
    /// An answer that does not choose its party yet (a reply 1xx). It matters only with another
    /// policy than the first: without one any answer chooses.
    pub provisional: bool,
    /// A label for the party whose SDP this is.
    pub label: Option<String>,
    /// Type of service octet for this call's sockets.
    pub tos: Option<u8>,
    /// What the party whose SDP this is has for whom it puts on hold.
    pub music: Option<HoldMusic>,
    /// Listen for keys in the audio of the party whose SDP this is (ng `detect-DTMF`).
    pub detects: bool,
    /// Leave the party whose SDP this is out of recordings (ng `exclude-recording`).
    pub unrecorded: bool,
    /// Where completed presses of keys in this call are reported to; `None`: as before.
    pub digits_to: Option<SocketAddr>,
    /// Send media back where it came from, or nowhere (ng `media-echo`); `None`: as before.
    pub echo: Option<Echo>,
}

/// What the sender and the receiver of a message hear, where that is not each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Each other.
    Off,
    /// Nothing: what both send is dropped.
    Blackhole,
    /// The receiver hears itself; what the sender sends is dropped.
    Forward,
    /// The sender hears itself; what the receiver sends is dropped.
    Backward,
    /// Each hears itself.
    Both,
}

/// What to do about the codecs of an offer, as ng's `codec` dictionary says it. Codecs are written
/// as [`CodecSpec`](crate::wire::sdp::CodecSpec) has them, names in any case; a payload type may
/// stand for a name, and `all` or `full` for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecPolicy {
    /// As if the offer did not have them. Another word for it is `ignore`.
    pub strip: Vec<String>,
    /// Not sent on, but accepted from the offerer and decoded (`mask` and `consume`).
    pub mask: Vec<String>,
    /// Spared by `strip` and `mask`.
    pub except: Vec<String>,
    /// Spared likewise, and first in the offer sent on, in this order.
    pub offer: Vec<String>,
    /// Sent on, and accepted from the offerer and decoded even if the answerer does not want them.
    pub accept: Vec<String>,
    /// Offered although the offerer does not have them.
    pub transcode: Vec<String>,
    /// Options of codecs that the offerer is sent, by name, clock and channels.
    pub set: Vec<String>,
    /// Decode and encode even where both sides have the same codec.
    pub force: bool,
    /// Of an answer, only the first codec (and what goes with it).
    pub single: bool,
}

impl CodecPolicy {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something to play to parties of a call.
#[derive(Clone, Debug)]
pub struct Playback {
    /// What: one sound, or up to [`SEQUENCE_MAX`](crate::engine::SEQUENCE_MAX) one after another
    /// without a gap.
    pub sounds: Vec<Track>,
    /// How often in all, at least once; `None`: once, or over and over where `limit` says how long.
    pub times: Option<u32>,
    /// Longest time in all.
    pub limit: Option<Duration>,
    /// Where within the first sound the first round starts.
    pub start: Duration,
    /// How loud.
    pub gain: Gain,
    /// What becomes of what the parties hear otherwise.
    pub layer: Layer,
}

impl Playback {
    /// Plays `sources` once, in the place of what the parties hear.
    pub fn of(sources: impl IntoIterator<Item = Source>) -> Self {
        let sounds = sources.into_iter().map(Track::from).collect();
        Self {
            sounds,
            times: None,
            limit: None,
            start: Duration::ZERO,
            gain: Gain::UNITY,
            layer: Layer::Alone,
        }
    }
}

/// One sound of a [`Playback`].
#[derive(Clone, Debug)]
pub struct Track {
    /// Where it comes from.
    pub source: Source,
    /// How often before the next one, at least once; `None`: until its limit.
    pub times: Option<u32>,
    /// Longest time of all its rounds.
    pub limit: Option<Duration>,
}

impl From<Source> for Track {
    fn from(source: Source) -> Self {
        Self {
            source,
            times: Some(1),
            limit: None,
        }
    }
}

/// Samples that an application pushes to a party while they are played.
#[derive(Clone, Copy, Debug)]
pub struct Pushing {
    /// Their sampling rate in Hz: 8,000, 16,000, 24,000 or 48,000.
    pub rate_hz: u32,
    /// How much may be pushed ahead: 60 ms to 10 s. What lies there is the reserve against a late
    /// push, and the delay of what is pushed.
    pub ahead: Duration,
    /// How loud.
    pub gain: Gain,
    /// What becomes of what the party hears otherwise.
    pub layer: Layer,
}

/// What a party is to be sent while there is nothing to hear, once something was played, mixed or
/// decoded for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleChoice {
    /// No packets.
    #[default]
    Nothing,
    /// Encoded silence.
    Silence,
    /// Noise: as RFC 3389 describes it to a party that accepts that (`CN` in its SDP), encoded to
    /// others.
    Noise {
        /// In −dBov, 0–127: 60 is a quiet line.
        level: u8,
    },
}

impl IdleChoice {
    /// For a party that accepts comfort noise under the payload type `noise`.
    pub(super) fn for_party(self, noise: Option<u8>) -> Idle {
        match (self, noise) {
            (Self::Nothing, _) => Idle::Nothing,
            (Self::Silence, _) => Idle::Silence,
            (Self::Noise { level }, Some(pt)) => Idle::ComfortNoise { pt, level },
            (Self::Noise { level }, None) => Idle::Noise { level },
        }
    }
}

/// How `a=rtcp` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcpAttributeStyle {
    /// `a=rtcp:PORT`.
    #[default]
    Port,
    /// `a=rtcp:PORT IN IP4 ADDRESS`.
    Full,
    /// Not at all.
    Omit,
}

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::Ip4
        } else {
            Self::Ip6
        }
    }
}

/// What to do about RTCP multiplexing, as ng's `rtcp-mux` list says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mux {
    /// Offer it to the answerer although the offerer did not.
    pub offer: bool,
    /// Accept it from the offerer, and do not offer it on.
    pub demux: bool,
    /// Accept it from the offerer even if the answerer does not.
    pub accept: bool,
    /// Refuse it to the offerer.
    pub reject: bool,
}

impl Mux {
    /// Whether the offer sent on proposes multiplexing.
    pub fn offered_on(self, offerer_mux: bool) -> bool {
        self.offer || (offerer_mux && !self.demux && !self.reject)
    }

    /// What was said with the offer, and then with its answer.
    #[must_use]
    pub fn and_then(self, later: Self) -> Self {
        Self {
            offer: self.offer || later.offer,
            demux: self.demux || later.demux,
            accept: self.accept || later.accept,
            reject: self.reject || later.reject,
        }
    }

    /// Whether the offerer is told yes.
    pub fn accepted(self, offerer_mux: bool, answerer_mux: bool) -> bool {
        offerer_mux && !self.reject && (self.accept || self.demux || answerer_mux)
    }
}

/// Which parties of a call a media command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Participants<'a> {
    /// All of them.
    All,
    /// The one with this tag.
    Tag(&'a str),
    /// The one with this label.
    Label(&'a str),
    /// The one whose media address this is.
    Address(IpAddr),
}

/// A command about what parties may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaGate {
    /// Drop it, or stop dropping it.
    Block(bool),
    /// Replace it by silence, or stop that.
    Silence(bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mux_follows_both_parties_unless_told_otherwise() {
        let plain = Mux::default();
        assert!(plain.offered_on(true) && !plain.offered_on(false));
        assert!(plain.accepted(true, true) && !plain.accepted(true, false));
        let demux = Mux {
            demux: true,
            ..plain
        };
        assert!(!demux.offered_on(true) && demux.accepted(true, false));
        let offer = Mux {
            offer: true,
            ..plain
        };
        assert!(offer.offered_on(false) && !offer.accepted(false, true));
        let reject = Mux {
            reject: true,
            ..plain
        };
        assert!(!reject.offered_on(true) && !reject.accepted(true, true));
    }
}
