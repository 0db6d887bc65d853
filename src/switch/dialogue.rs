//! Who talks with whom, and what they offered each other and agreed on (RFC 3264).

use std::net::SocketAddr;
use std::sync::Arc;

use super::SwitchError;
use super::bridges::Bridges;
use super::listener::Listener;
use super::mesh::Mesh;
use super::party::{Gates, Party};
use super::request::{CodecPolicy, Mux, Participants};
use crate::engine::{Mask, Payload, Privacy, Remote, StreamIx};
use crate::wire::sdp::{Codec, CodecFilter, Media, PtMap};

/// Most parties of a call, those that hunting has tried and deleted included.
pub(super) const PARTIES_MAX: usize = 127;

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
    /// What others are to get of the keys of parties that are yet to come.
    pub mask: Option<Arc<Mask>>,
    /// Parties that only listen, in order of their coming.
    pub listeners: Vec<Listener>,
    /// Where completed presses of keys are reported to (ng `dtmf-log-dest`).
    pub digits_to: Option<SocketAddr>,
    /// Who is mixed with whom.
    pub bridges: Bridges,
    /// Who hears whom by subscription; the bridges without a name follow from it.
    pub mesh: Arc<Mesh>,
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

    /// The published party that a `delete` by this From-tag is about, while others live on;
    /// `None`: the whole call. `Some(None)`: it is gone already.
    pub fn lone_publisher(&self, from_tag: Option<&str>) -> Option<Option<usize>> {
        let tag = from_tag?;
        let others = |leaver: usize| self.open_parties().any(|(ix, _)| ix != leaver);
        if let Some(open) = self.party_by_tag(tag) {
            let leaves = self.parties[open].published && others(open);
            return leaves.then_some(Some(open));
        }
        let mut gone = self
            .parties
            .iter()
            .filter(|p| p.published && p.has_tag(tag));
        gone.next().map(|_| None)
    }

    /// A branch is gone: its offerer talks with the latest one left.
    pub fn forget(&mut self, branch: usize) {
        self.parties[branch].closed = true;
        let streams: Vec<StreamIx> = self.parties[branch].streams().collect();
        self.bridges.take_out(&streams);
        Arc::make_mut(&mut self.mesh).forget(&streams);
        self.offers
            .retain(|o| o.offerer != branch && o.answerer != branch);
        self.agreements.retain(|a| !a.is_of(branch));
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

/// An offer that was sent on. It may be answered more than once (183, then 200).
#[derive(Clone, Debug)]
pub struct Offer {
    /// Who offered.
    pub offerer: usize,
    /// To whom.
    pub answerer: usize,
    /// Its lines.
    pub lines: Vec<OfferedLine>,
    /// Which codecs were offered on of lines that are not audio we read.
    pub filter: CodecFilter,
    /// What the command said of codecs.
    pub policy: CodecPolicy,
    /// What it said about multiplexing, which holds for its answer too.
    pub mux: Mux,
    /// Milliseconds per packet that the answerer is sent, if the command said so.
    pub ptime: Option<u16>,
    /// Milliseconds per packet that the offerer is sent, written into the answer.
    pub ptime_reverse: Option<u16>,
    /// How often its offerer had chosen one of those it calls by then.
    pub choices: u32,
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
    /// Its codecs as they were sent on, where it is audio that we read.
    pub codecs: Option<SentOn>,
    /// It was offered on with RTCP multiplexed.
    pub mux: bool,
    /// Where the offerer is by this offer, which holds once it is answered.
    pub remote: Option<Remote>,
}

/// Which codecs of an audio line were sent on. Sets of payload types have a bit for each.
#[derive(Clone, Debug, Default)]
pub struct SentOn {
    /// What the answerer was told, in its numbering and in this order.
    pub told: Vec<Codec>,
    /// Of `told`, what the offerer did not offer, by the answerer's numbers.
    pub added: u128,
    /// What was sent on as it was, by the offerer's numbers.
    pub passing: u128,
    /// What the offerer may use whatever the answerer chooses, by the offerer's numbers.
    pub spare: u128,
    /// It may send telephone-events whatever the answerer accepts.
    pub events: bool,
    /// Where one of the two accepts telephone-events and the other does not, tones in what the
    /// latter says become events.
    pub converts: bool,
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
    /// Only the first codec of the answer counts.
    pub single: bool,
    /// The offerer hears this answerer and nobody else.
    pub chosen: bool,
}

impl Agreement {
    /// Whether these two, in either role, agreed on it.
    pub fn is_between(&self, a: usize, b: usize) -> bool {
        let of = (self.offer.offerer, self.offer.answerer);
        of == (a, b) || of == (b, a)
    }

    /// Whether this party is one of the two.
    pub fn is_of(&self, party: usize) -> bool {
        self.offer.offerer == party || self.offer.answerer == party
    }
}
