//! Parties that only listen: to whom, and what they accepted.

use smallvec::SmallVec;

use super::dialogue::Dialogue;
use super::party::{LegMedia, Party};
use crate::engine::{Payload, PayloadType, Privacy, StreamIx};
use crate::wire::sdp::{Codec, Direction};

/// Most parties that listen at a time in one call; one more is refused.
pub const LISTENERS_MAX: usize = 16;

/// The leg of the first listener's first stream: behind those of all parties.
pub(super) const LISTENER_LEGS: u16 = 2_048;

/// A party that gets copies of what others of its call send, and is heard by nobody.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its tag, ports and addresses. It has no peer.
    pub party: Party,
    /// One per `m=` line of it.
    pub lines: Vec<Subscription>,
    /// What it may learn of others, if that was said of it; else as all of its call.
    pub privacy: Option<Privacy>,
    /// What it does not accept may be decoded and encoded anew for it.
    pub transcodes: bool,
}

/// What a listener hears on one of its lines.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Index of the party, and of its line, that is listened to; `None`: the line is not in use.
    pub source: Option<(usize, usize)>,
    /// What the listener was offered.
    pub direction: Direction,
    /// It was offered RTCP on the port of RTP.
    pub mux: bool,
    /// The codecs of its answer; none before that, or if it rejected the line.
    pub accepted: Vec<Codec>,
    /// Its source is not plain RTP any more, or will not be once that is answered.
    pub(super) turned: bool,
    /// What the engine was told last: the stream listened to, and its types.
    pub(super) told: Option<(StreamIx, SmallVec<[PayloadType; 4]>)>,
}

impl Listener {
    /// The parties it listens to, in order of its lines, each once.
    pub fn sources(&self) -> Vec<usize> {
        let mut sources = Vec::new();
        for (party, _) in self.lines.iter().filter_map(|line| line.source) {
            if !sources.contains(&party) {
                sources.push(party);
            }
        }
        sources
    }
}

impl Dialogue {
    /// Index of the listener with this tag.
    pub fn listener_by_tag(&self, tag: &str) -> Option<usize> {
        self.open_listeners()
            .find(|(_, listener)| listener.party.has_tag(tag))
            .map(|(ix, _)| ix)
    }

    /// Listeners that were not closed, with their index.
    pub fn open_listeners(&self) -> impl Iterator<Item = (usize, &Listener)> {
        let listeners = self.listeners.iter().enumerate();
        listeners.filter(|(_, listener)| !listener.party.closed)
    }

    /// How many listen to a line of a party, the listener `but` aside.
    pub(super) fn listeners_of(&self, source: (usize, usize), but: Option<usize>) -> usize {
        self.open_listeners()
            .filter(|(ix, _)| Some(*ix) != but)
            .flat_map(|(_, listener)| &listener.lines)
            .filter(|line| line.source == Some(source))
            .count()
    }

    /// The line of a party as it can be listened to, plain RTP; what is another kind of media now,
    /// or is offered to become one, has it besides ([`LegMedia::other`]).
    pub(super) fn audible(&self, (party, media): (usize, usize)) -> Option<&LegMedia> {
        let party = self.parties.get(party).filter(|party| !party.closed)?;
        let line = party.medias.get(media)?;
        let both = std::iter::once(line).chain(line.other.as_deref());
        let plain = |line: &&LegMedia| line.stream.is_some() && line.payload == Payload::Rtp;
        both.into_iter().find(plain)
    }

    /// Whether a line carries plain RTP now, as far as is known.
    pub(super) fn is_audible(&self, (party, media): (usize, usize)) -> bool {
        let line = self.parties[party].medias.get(media);
        line.is_some_and(|line| line.stream.is_some() && line.payload == Payload::Rtp)
    }
}
