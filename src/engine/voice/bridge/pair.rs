//! A bridge of two who need no mixing: what the one sends is what the other hears.

use super::{Bridge, BridgeConfig, Edge, Member};
use crate::audio::mix::Gain;
use crate::engine::api::StreamIx;
use crate::engine::time::Micros;

/// Whether packets of a bridge pass as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) enum Pair {
    /// Everybody is decoded, and what each hears is made.
    #[default]
    Mixes,
    /// Still so, but only until nothing waits in the two ears, or this moment.
    Empties(Micros),
    /// Packets pass: there is no ear, no mouth and no tick.
    Relays,
}

impl Bridge {
    /// The only two members, if each is to hear the other just as it is.
    pub(in crate::engine) fn plain_pair(&self) -> Option<[StreamIx; 2]> {
        let [a, b] = self.seats.as_slice() else {
            return None;
        };
        let plain = [a, b].iter().all(|seat| {
            let member = seat.member;
            let heard = member.talks && member.listens && member.gain == Gain::UNITY;
            heard && seat.exceptions.is_empty()
        });
        // Of two talkers, one would be left out.
        let plain = plain && self.loudest != 1 && self.players.are_at_rest();
        plain.then_some([a.member.stream, b.member.stream])
    }

    /// The same bridge with one member less.
    pub(in crate::engine) fn without(&self, stream: StreamIx) -> BridgeConfig {
        let members = self.seats.iter().map(|seat| seat.member);
        let members = members.filter(|member| member.stream != stream);
        let at = |seat: usize| self.seats[seat].member.stream;
        let edges = self.seats.iter().flat_map(|seat| {
            let listener = seat.member.stream;
            let exceptions = seat.exceptions.iter();
            exceptions.map(move |(talker, gain)| (listener, at(*talker), *gain))
        });
        let edges = edges.map(|(listener, talker, gain)| Edge {
            listener,
            talker,
            gain,
        });
        BridgeConfig {
            members: members.collect::<Vec<Member>>(),
            edges: edges
                .filter(|edge| edge.listener != stream && edge.talker != stream)
                .collect(),
            loudest: self.loudest,
        }
    }

    /// Whom `stream` is heard by, while packets pass as they are.
    #[inline]
    pub(in crate::engine) fn partner(&self, stream: StreamIx) -> Option<StreamIx> {
        let [a, b] = self.seats.as_slice() else {
            return None;
        };
        let (a, b) = (a.member.stream, b.member.stream);
        match self.pair {
            Pair::Relays if stream == a => Some(b),
            Pair::Relays if stream == b => Some(a),
            _ => None,
        }
    }
}
