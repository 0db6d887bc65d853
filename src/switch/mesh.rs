//! Subscriptions of parties of one call to each other, made of bridges.
//!
//! Who hears whom is kept for each talker. Parties that are connected, over others if need be,
//! share a bridge. In it who is heard by most listeners talks to all, with exceptions for those
//! who are not to hear it; who is heard by few talks to nobody, with exceptions for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bridges::{Bridges, named, voice_of};
use super::dialogue::Dialogue;
use super::{Switch, SwitchError};
use crate::audio::mix::Gain;
use crate::engine::{BridgeConfig, EDGES_MAX, Edge, Member, STREAMS_MAX, StreamIx};

/// Who is to hear whom from now on, besides those who do already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshRequest {
    /// Who is heard, and by whom.
    pub heard: Vec<MeshTalker>,
    /// Every party of the call is heard by every other one.
    pub all: bool,
    /// Whom a party hears hears it, too.
    pub both_ways: bool,
    /// They hear them no more, instead.
    pub ends: bool,
    /// Only this many, the loudest, are mixed; 0: all; `None`: as it was.
    pub loudest: Option<u8>,
}

/// One party and who is to hear it.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshTalker {
    /// Its tag.
    pub from: String,
    /// Tags of its listeners; `None`: all other parties of the call.
    pub to: Option<Vec<String>>,
    /// How loud they hear it; `None`: as before, or as it is.
    pub gain: Option<Gain>,
}

/// Who hears whom by command.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    talkers: BTreeMap<StreamIx, Audience>,
    loudest: u8,
}

/// Who hears one talker.
#[derive(Clone, Debug)]
struct Audience {
    listeners: Streams,
    gain: Gain,
    /// How loud those hear it for whom that is not `gain`.
    gains: BTreeMap<StreamIx, Gain>,
}

impl Switch {
    /// Lets parties of one call hear each other, or ends that.
    ///
    /// # Errors
    /// As [`Switch::bridge`], and [`SwitchError::HearsItself`].
    pub fn mesh(&self, call_id: &str, request: &MeshRequest) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let mut mesh = std::mem::take(&mut draft.mesh);
            Arc::make_mut(&mut mesh).take(&draft, request)?;
            let mut wanted = draft.bridges.clone();
            let before = wanted.take_meshed();
            place(&mut wanted, before, mesh.rooms()?)?;
            draft.mesh = mesh;
            self.reseat(call, draft, wanted, "mesh")
        })
    }
}

/// Puts rooms into slots: those where most of their members are already, and free ones.
fn place(
    bridges: &mut Bridges,
    mut before: Vec<(usize, BridgeConfig)>,
    rooms: Vec<BridgeConfig>,
) -> Result<(), SwitchError> {
    for room in &rooms {
        let members: Vec<StreamIx> = room.members.iter().map(|member| member.stream).collect();
        bridges.take_out(&members);
    }
    let mut fresh = Vec::new();
    for room in rooms {
        let known = |config: &BridgeConfig| {
            let is_in = |m: &&Member| config.members.iter().any(|other| other.stream == m.stream);
            room.members.iter().filter(is_in).count()
        };
        let best = (0..before.len()).max_by_key(|at| known(&before[*at].1));
        match best.filter(|at| known(&before[*at].1) > 0) {
            Some(at) => bridges.put(before.swap_remove(at).0, None, room),
            None => fresh.push(room),
        }
    }
    for room in fresh {
        let slot = bridges.slot_of(None)?;
        bridges.put(slot, None, room);
    }
    Ok(())
}

impl Mesh {
    /// These streams hear nobody by a mesh any more, and nobody hears them.
    pub(super) fn forget(&mut self, streams: &[StreamIx]) {
        self.talkers.retain(|talker, _| !streams.contains(talker));
        for audience in self.talkers.values_mut() {
            for stream in streams {
                audience.remove(*stream);
            }
        }
        self.talkers
            .retain(|_, audience| !audience.listeners.is_empty());
    }

    fn take(&mut self, talk: &Dialogue, request: &MeshRequest) -> Result<(), SwitchError> {
        self.loudest = request.loudest.unwrap_or(self.loudest);
        let everybody = if request.all || request.heard.iter().any(|heard| heard.to.is_none()) {
            voices(talk)
        } else {
            Vec::new()
        };
        if request.all {
            for talker in &everybody {
                self.hear(*talker, &everybody, None, request);
            }
        }
        for heard in &request.heard {
            let talker = voice_of(talk, &heard.from)?;
            let Some(to) = &heard.to else {
                self.hear(talker, &everybody, heard.gain, request);
                if let (Some(gain), Some(audience)) = (heard.gain, self.talkers.get_mut(&talker)) {
                    (audience.gain, audience.gains) = (gain, BTreeMap::new());
                }
                continue;
            };
            let listeners: Result<Vec<StreamIx>, SwitchError> = to
                .iter()
                .map(|tag| match voice_of(talk, tag)? {
                    same if same == talker => Err(SwitchError::HearsItself(named(tag))),
                    other => Ok(other),
                })
                .collect();
            self.hear(talker, &listeners?, heard.gain, request);
        }
        self.talkers
            .retain(|_, audience| !audience.listeners.is_empty());
        Ok(())
    }

    fn hear(
        &mut self,
        talker: StreamIx,
        listeners: &[StreamIx],
        gain: Option<Gain>,
        request: &MeshRequest,
    ) {
        for listener in listeners.iter().filter(|listener| **listener != talker) {
            self.set(talker, *listener, gain, !request.ends);
            if request.both_ways {
                self.set(*listener, talker, None, !request.ends);
            }
        }
    }

    fn set(&mut self, talker: StreamIx, listener: StreamIx, gain: Option<Gain>, hears: bool) {
        let audience = self.talkers.entry(talker).or_default();
        if !hears {
            return audience.remove(listener);
        }
        audience.listeners.insert(listener);
        if let Some(gain) = gain {
            audience.gains.insert(listener, gain);
            audience.gains.retain(|_, other| *other != audience.gain);
        }
    }

    /// The bridges that this takes.
    fn rooms(&self) -> Result<Vec<BridgeConfig>, SwitchError> {
        let mut parts: Vec<Streams> = Vec::new();
        for (talker, audience) in &self.talkers {
            let mut part = audience.listeners;
            part.insert(*talker);
            parts.retain(|other| {
                let apart = !part.meets(other);
                if !apart {
                    part.add(other);
                }
                apart
            });
            parts.push(part);
        }
        parts.iter().map(|part| self.room(part)).collect()
    }

    fn room(&self, part: &Streams) -> Result<BridgeConfig, SwitchError> {
        let heard = |stream| self.talkers.get(&stream);
        let mut listeners = Streams::default();
        for audience in part.iter().filter_map(heard) {
            listeners.add(&audience.listeners);
        }
        let mut room = BridgeConfig {
            loudest: self.loudest,
            ..BridgeConfig::default()
        };
        for stream in part.iter() {
            let audience = heard(stream);
            let others = listeners.len() - usize::from(listeners.contains(stream));
            let talks = audience.is_some_and(|a| 2 * a.listeners.len() >= others);
            room.members.push(Member {
                stream,
                talks,
                listens: listeners.contains(stream),
                gain: audience.map_or(Gain::UNITY, |a| a.gain),
            });
            let exceptions = audience.map(|audience| audience.exceptions(talks, &listeners));
            room.edges.extend(
                exceptions
                    .into_iter()
                    .flatten()
                    .filter_map(|(listener, gain)| {
                        (listener != stream).then_some(Edge {
                            listener,
                            talker: stream,
                            gain,
                        })
                    }),
            );
        }
        match room.edges.len() <= EDGES_MAX {
            true => Ok(room),
            false => Err(SwitchError::TooManyEdges { max: EDGES_MAX }),
        }
    }
}

impl Default for Audience {
    fn default() -> Self {
        Self {
            listeners: Streams::default(),
            gain: Gain::UNITY,
            gains: BTreeMap::new(),
        }
    }
}

impl Audience {
    fn remove(&mut self, listener: StreamIx) {
        self.listeners.remove(listener);
        self.gains.remove(&listener);
    }

    /// Who of a bridge's listeners hears it otherwise than its member settings say.
    fn exceptions(&self, talks: bool, listeners: &Streams) -> Vec<(StreamIx, Gain)> {
        let gain_of = |listener| self.gains.get(&listener).copied();
        let of = |listener: StreamIx| match (self.listeners.contains(listener), talks) {
            (true, true) => gain_of(listener).map(|gain| (listener, gain)),
            (true, false) => Some((listener, gain_of(listener).unwrap_or(self.gain))),
            (false, true) => Some((listener, Gain::MUTE)),
            (false, false) => None,
        };
        listeners.iter().filter_map(of).collect()
    }
}

/// Every party that can hear and be heard.
fn voices(talk: &Dialogue) -> Vec<StreamIx> {
    let tags = talk
        .open_parties()
        .filter_map(|(_, party)| party.tags.last());
    tags.filter_map(|tag| voice_of(talk, tag).ok()).collect()
}

/// A set of streams of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streams([u64; STREAMS_MAX / 64]);

impl Streams {
    fn place(stream: StreamIx) -> (usize, u64) {
        (
            usize::from(stream.0) / 64 % (STREAMS_MAX / 64),
            1 << (stream.0 % 64),
        )
    }

    fn insert(&mut self, stream: StreamIx) {
        let (word, bit) = Self::place(stream);
        self.0[word] |= bit;
    }

    fn remove(&mut self, stream: StreamIx) {
        let (word, bit) = Self::place(stream);
        self.0[word] &= !bit;
    }

    fn contains(&self, stream: StreamIx) -> bool {
        let (word, bit) = Self::place(stream);
        self.0[word] & bit != 0
    }

    fn add(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(word, other)| *word |= other);
    }

    fn meets(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .any(|(word, other)| word & other != 0)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn iter(&self) -> impl Iterator<Item = StreamIx> + '_ {
        (0..)
            .map(StreamIx)
            .take(STREAMS_MAX)
            .filter(|stream| self.contains(*stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(pairs: &[(u16, u16)]) -> Mesh {
        let mut mesh = Mesh::default();
        for (talker, listener) in pairs {
            mesh.set(StreamIx(*talker), StreamIx(*listener), None, true);
        }
        mesh
    }

    /// Who hears whom in a bridge, by the rules of the engine.
    fn heard(room: &BridgeConfig) -> Vec<(u16, u16)> {
        let mut pairs = Vec::new();
        for talker in &room.members {
            for listener in room.members.iter().filter(|l| l.stream != talker.stream) {
                let edge = |e: &&Edge| e.listener == listener.stream && e.talker == talker.stream;
                let hears = match room.edges.iter().find(edge) {
                    Some(edge) => edge.gain != Gain::MUTE,
                    None => talker.talks,
                };
                if hears && listener.listens {
                    pairs.push((talker.stream.0, listener.stream.0));
                }
            }
        }
        pairs
    }

    #[test]
    fn bridges_let_hear_exactly_who_is_subscribed() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let parties = random.u16(2..9);
            let density = random.f32();
            let all = (0..parties).flat_map(|a| (0..parties).map(move |b| (a, b)));
            let pairs: Vec<_> = all
                .filter(|(a, b)| a != b && random.f32() < density)
                .collect();
            let rooms = mesh(&pairs).rooms().unwrap();
            let mut found: Vec<_> = rooms.iter().flat_map(heard).collect();
            found.sort_unstable();
            assert_eq!(found, pairs);
            let members: usize = rooms.iter().map(|room| room.members.len()).sum();
            assert!(members <= usize::from(parties), "nobody is in two");
        }
    }

    #[test]
    fn a_full_room_has_no_exceptions_and_two_rooms_are_two_bridges() {
        let triple = |first: u16| {
            let ix = move |n: u16| first + n;
            [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)].map(|(a, b)| (ix(a), ix(b)))
        };
        let rooms = mesh(&[triple(0), triple(500)].concat()).rooms().unwrap();
        assert_eq!(rooms.len(), 2);
        assert!(
            rooms
                .iter()
                .all(|room| room.edges.is_empty() && room.members.len() == 3)
        );
    }

    #[test]
    fn gains_and_whispers_are_exceptions_and_bounded() {
        let quiet = Gain::from_db(-6.0);
        let mut whisper = mesh(&[(0, 1), (1, 0), (0, 2), (1, 2)]);
        whisper.set(StreamIx(2), StreamIx(1), Some(quiet), true);
        let rooms = whisper.rooms().unwrap();
        let edge = |listener, talker, gain| Edge {
            listener: StreamIx(listener),
            talker: StreamIx(talker),
            gain,
        };
        assert_eq!(rooms[0].edges, [edge(0, 2, Gain::MUTE), edge(1, 2, quiet)]);
        // A chain of so many: each is heard by one of them only.
        for (links, fits) in [(EDGES_MAX / 2, true), (EDGES_MAX, false)] {
            let ring = u16::try_from(links).unwrap();
            let pairs: Vec<_> = (0..ring).map(|n| (n, (n + 1) % ring)).collect();
            let pairs: Vec<_> = pairs
                .iter()
                .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
                .collect();
            assert_eq!(mesh(&pairs).rooms().is_ok(), fits, "{links}");
        }
    }

    #[test]
    fn who_is_forgotten_is_in_no_room() {
        let mut mesh = mesh(&[(0, 1), (1, 0), (1, 2), (2, 1)]);
        mesh.forget(&[StreamIx(1)]);
        assert!(mesh.rooms().unwrap().is_empty());
    }
}
