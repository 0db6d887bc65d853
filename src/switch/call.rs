//! What the control side remembers of a call: parties, their SDP, and its signalling history.
//!
//! Media state lives with the worker; this is who is who. One mutex per call guards it and is
//! never held across an await.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::engine::{CallKey, LegIx, Payload, Privacy, Remote, StreamIx};
use crate::plane::interface::PortLease;
use crate::wire::sdp::{Codec, CodecFilter, Direction, Media, PtMap};

use super::SwitchError;
use super::request::{Family, MediaGate, Mux, Participants};

/// Most parties of a call, those that hunting has tried and deleted included.
pub(super) const PARTIES_MAX: usize = 127;
/// Most signalling entries a call remembers for `why`.
pub(super) const HISTORY_MAX: usize = 12;
/// Most SDP bytes kept per entry.
pub(super) const HISTORY_SDP_MAX: usize = 2048;
/// Most tags of one party: several answerers behind one branch (RFC 3261 section 12.1).
pub(super) const TAGS_MAX: usize = 8;

/// A call, seen from the control side.
#[derive(Debug)]
pub struct CallState {
    /// Its name in its worker.
    pub key: CallKey,
    /// Which worker owns it.
    pub worker: usize,
    /// Wall time of creation.
    pub created: SystemTime,
    /// Monotonic time of creation.
    pub created_at: Instant,
    /// Wall time of the latest offer or answer.
    pub last_signal: SystemTime,
    /// Removed from the registry: a command that waited for the lock finds nothing.
    pub dead: bool,
    /// The worker has it.
    pub inserted: bool,
    /// Who talks with whom.
    pub dialogue: Dialogue,
    /// Its ports; they outlive the sockets, which the worker has.
    pub leases: Vec<(StreamIx, PortLease)>,
    /// What was signalled.
    pub history: Vec<Signal>,
    /// Signalling entries that no longer fitted.
    pub history_dropped: u32,
}

/// Who talks with whom: drafted by a copy, so that a refused command leaves no trace.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    /// Streams opened so far, closed ones included.
    pub streams: usize,
    /// The offerer first, then branches in order of appearance.
    pub parties: Vec<Party>,
    /// The latest offer from each party to each other one, as answers refer to them; at most
    /// `PARTIES_MAX`, the latest last.
    pub offers: Vec<Arc<Offer>>,
    /// What each two parties agreed on last; at most `PARTIES_MAX`.
    pub agreements: Vec<Agreement>,
    /// What parties may learn of each other, once a command said so; it holds for the whole call.
    pub privacy: Option<Privacy>,
    /// What parties that are yet to come may send.
    pub gates: Gates,
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
    /// What it may send.
    pub gates: Gates,
    /// Its `m=` lines.
    pub medias: Vec<LegMedia>,
    /// Name of the interface that faces it.
    pub interface: Box<str>,
    /// Identity in `o=` when masked.
    pub origin: MaskedOrigin,
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
    /// Direction by its own SDP.
    pub direction: Direction,
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

    fn remote_ip(&self) -> Option<IpAddr> {
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

/// An offer that was sent on. It may be answered more than once (183, then 200).
#[derive(Clone, Debug)]
pub struct Offer {
    /// Who offered.
    pub offerer: usize,
    /// To whom.
    pub answerer: usize,
    /// Its lines.
    pub lines: Vec<OfferedLine>,
    /// Which codecs were offered on.
    pub filter: CodecFilter,
    /// What it said about multiplexing, which holds for its answer too.
    pub mux: Mux,
    /// Packet time to write into the answer.
    pub ptime_reverse: Option<u16>,
}

/// One line of an offer, and how it was sent on.
#[derive(Clone, Debug)]
pub struct OfferedLine {
    /// In the offerer's numbering, without the text that only passes through.
    pub media: Media,
    /// What travels on it.
    pub payload: Payload,
    /// Its payload types as the answerer saw them.
    pub sent: PtMap,
    /// It was offered on with RTCP multiplexed.
    pub mux: bool,
    /// Where the offerer is by this offer, which holds once it is answered.
    pub remote: Option<Remote>,
}

/// An offer and its latest answer.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The offer.
    pub offer: Arc<Offer>,
    /// The answer's lines, without the text that only passes through.
    pub answer: Arc<[Media]>,
    /// How multiplexing was settled per line, with the offerer and with the answerer.
    pub mux: Arc<[(bool, bool)]>,
}

/// One line of a call's signalling history.
#[derive(Clone, Debug)]
pub struct Signal {
    /// When.
    pub at: Instant,
    /// `offer`, `answer`, `block media`, …
    pub what: &'static str,
    /// Tag of the party it came from.
    pub tag: Box<str>,
    /// The SDP as received, cut at `HISTORY_SDP_MAX` bytes.
    pub sdp: Option<Box<str>>,
    /// What its sender was warned of.
    pub warnings: Vec<String>,
}

impl Dialogue {
    /// Index of the party with `tag`.
    pub fn party_by_tag(&self, tag: &str) -> Option<usize> {
        self.open_parties()
            .find(|(_, p)| p.has_tag(tag))
            .map(|(i, _)| i)
    }

    /// Whether any party, even one that was closed, has or had `tag`.
    pub fn ever_had_tag(&self, tag: &str) -> bool {
        self.parties.iter().any(|p| p.has_tag(tag))
    }

    /// Whether `branch` names only a party that was closed.
    pub fn branch_was_closed(&self, branch: Option<&str>) -> bool {
        let on_it = |p: &&Party| branch.is_some() && p.on_branch(branch);
        let mut on_it = self.parties.iter().filter(on_it).peekable();
        on_it.peek().is_some() && on_it.all(|p| p.closed)
    }

    /// Parties that were not closed, with their index.
    pub fn open_parties(&self) -> impl Iterator<Item = (usize, &Party)> {
        self.parties.iter().enumerate().filter(|(_, p)| !p.closed)
    }

    /// Branches and peers of `offerer`, latest first.
    pub fn peers_of(&self, offerer: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.parties.len())
            .rev()
            .filter(move |&i| self.parties[i].peer == Some(offerer) && !self.parties[i].closed)
    }

    /// The party an offer from `offerer` goes to, if it exists already.
    ///
    /// A known To-tag decides; else the branch; an offer without either goes to the party the
    /// offerer talks with.
    pub fn answerer_of_offer(
        &self,
        offerer: usize,
        to_tag: Option<&str>,
        branch: Option<&str>,
    ) -> Option<usize> {
        if let Some(tag) = to_tag {
            if let Some(known) = self.party_by_tag(tag) {
                return (known != offerer).then_some(known);
            }
            return self.untagged_peer(offerer, branch);
        }
        match branch {
            Some(_) => self
                .peers_of(offerer)
                .find(|&i| self.parties[i].on_branch(branch)),
            None => self.parties[offerer]
                .peer
                .filter(|&i| !self.parties[i].closed)
                .or_else(|| self.peers_of(offerer).next()),
        }
    }

    /// The party an answer to `offerer` comes from.
    pub fn answerer_of_answer(
        &self,
        offerer: usize,
        to_tag: &str,
        branch: Option<&str>,
    ) -> Option<usize> {
        if let Some(known) = self.party_by_tag(to_tag) {
            return (known != offerer).then_some(known);
        }
        self.untagged_peer(offerer, branch)
            .or_else(|| {
                self.peers_of(offerer)
                    .find(|&i| self.parties[i].on_branch(branch))
            })
            .or_else(|| self.waiting(offerer))
    }

    fn untagged_peer(&self, offerer: usize, branch: Option<&str>) -> Option<usize> {
        let untagged = |&i: &usize| self.parties[i].tags.is_empty();
        self.peers_of(offerer)
            .filter(untagged)
            .find(|&i| branch.is_some() && self.parties[i].on_branch(branch))
            .or_else(|| {
                self.peers_of(offerer)
                    .find(untagged)
                    .filter(|_| branch.is_none())
            })
    }

    /// The party that `from` must be, though it has no tag yet: who writes to `to_tag` within its
    /// dialog is the one that `to_tag` rang and that did not answer.
    pub fn offerer_of_offer(&self, to_tag: Option<&str>, branch: Option<&str>) -> Option<usize> {
        let other = self.party_by_tag(to_tag?)?;
        self.untagged_peer(other, branch)
    }

    /// Keeps an offer in the place of an earlier one between the same two.
    pub fn keep_offer(&mut self, offer: Arc<Offer>) {
        let same = |o: &Arc<Offer>| (o.offerer, o.answerer) == (offer.offerer, offer.answerer);
        self.offers.retain(|o| !same(o));
        if self.offers.len() >= PARTIES_MAX {
            self.offers.remove(0);
        }
        self.offers.push(offer);
    }

    /// Keeps what two parties agreed on in the place of what they had agreed on before.
    pub fn keep_agreement(&mut self, agreement: Agreement) {
        let (a, b) = (agreement.offer.offerer, agreement.offer.answerer);
        self.agreements.retain(|old| !old.is_between(a, b));
        if self.agreements.len() >= PARTIES_MAX {
            self.agreements.remove(0);
        }
        self.agreements.push(agreement);
    }

    fn waiting(&self, offerer: usize) -> Option<usize> {
        self.offers
            .iter()
            .rev()
            .find(|p| p.offerer == offerer)
            .map(|p| p.answerer)
    }

    /// The one branch a `delete` is about, while other branches live on; `None`: the whole call.
    ///
    /// A branch is named by `via-branch`, or by the To-tag of a branch the offerer does not talk
    /// with: a BYE of the answered branch ends the call, though losers were never deleted.
    pub fn lone_branch(&self, to_tag: Option<&str>, via_branch: Option<&str>) -> Option<usize> {
        let by_branch = via_branch.and_then(|_| {
            self.open_parties()
                .find(|(_, p)| p.on_branch(via_branch))
                .map(|(i, _)| i)
        });
        let by_tag = || {
            to_tag
                .and_then(|t| self.party_by_tag(t))
                .filter(|&i| self.parties[i].via_branch.is_some())
                .filter(|&i| {
                    self.parties[i]
                        .peer
                        .is_some_and(|o| self.parties[o].peer != Some(i))
                })
        };
        let branch = by_branch.or_else(by_tag)?;
        let offerer = self.parties[branch].peer?;
        let others = self.peers_of(offerer).filter(|&i| i != branch).count();
        (others > 0).then_some(branch)
    }

    /// A branch is gone: its offerer talks with the latest one left.
    pub fn forget(&mut self, branch: usize) {
        self.parties[branch].closed = true;
        self.offers
            .retain(|o| o.offerer != branch && o.answerer != branch);
        self.agreements.retain(|a| !a.offer_is_of(branch));
        let Some(offerer) = self.parties[branch].peer else {
            return;
        };
        if self.parties[offerer].peer == Some(branch) {
            let left = self.peers_of(offerer).next();
            self.parties[offerer].peer = left;
        }
    }

    /// Which parties a media command is about.
    pub fn select(&self, who: Participants<'_>) -> Result<Vec<usize>, SwitchError> {
        let matching = |f: &dyn Fn(&Party) -> bool| -> Vec<usize> {
            self.open_parties()
                .filter(|(_, p)| f(p))
                .map(|(i, _)| i)
                .collect()
        };
        let (found, none) = match who {
            Participants::All => return Ok(matching(&|_| true)),
            Participants::Tag(tag) => (matching(&|p| p.has_tag(tag)), SwitchError::UnknownTag),
            Participants::Label(label) => (
                matching(&|p| p.label.as_deref() == Some(label)),
                SwitchError::UnknownLabel,
            ),
            Participants::Address(ip) => (
                matching(&|p| p.medias.iter().any(|m| m.remote_ip() == Some(ip))),
                SwitchError::UnknownAddress,
            ),
        };
        if found.is_empty() {
            Err(none)
        } else {
            Ok(found)
        }
    }
}

impl CallState {
    /// The ports of closed parties, whose sockets are closed now.
    pub fn free_closed(&mut self) {
        let closed: Vec<StreamIx> = self
            .dialogue
            .parties
            .iter()
            .filter(|p| p.closed)
            .flat_map(Party::streams)
            .collect();
        self.leases.retain(|(stream, _)| !closed.contains(stream));
    }

    /// Remembers what was signalled, for `why`.
    pub fn note(&mut self, at: Instant, what: &'static str, tag: &str, sdp: Option<&[u8]>) {
        self.note_with(at, what, tag, sdp, Vec::new());
    }

    /// As [`Self::note`], with what the sender was warned of.
    pub fn note_with(
        &mut self,
        at: Instant,
        what: &'static str,
        tag: &str,
        sdp: Option<&[u8]>,
        warnings: Vec<String>,
    ) {
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
            self.history_dropped += 1;
        }
        let sdp = sdp.map(|s| {
            let cut = &s[..s.len().min(HISTORY_SDP_MAX)];
            String::from_utf8_lossy(cut).into_owned().into_boxed_str()
        });
        self.history.push(Signal {
            at,
            what,
            tag: tag.into(),
            sdp,
            warnings,
        });
    }
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
            medias: Vec::new(),
            interface: interface.into(),
            origin: MaskedOrigin::default(),
            gates: Gates::default(),
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

    fn on_branch(&self, branch: Option<&str>) -> bool {
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

impl Agreement {
    /// Whether these two, in either role, agreed on it.
    pub fn is_between(&self, a: usize, b: usize) -> bool {
        let of = (self.offer.offerer, self.offer.answerer);
        of == (a, b) || of == (b, a)
    }

    fn offer_is_of(&self, party: usize) -> bool {
        self.offer.offerer == party || self.offer.answerer == party
    }
}

impl LegMedia {
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
            remote: None,
            direction: media.direction,
            privacy,
            other: None,
        }
    }
}
