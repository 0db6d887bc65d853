//! Bridges of a call by name: which parties hear each other, and how loud.

use std::sync::Arc;
use std::time::Instant;

use super::call::CallState;
use super::dialogue::Dialogue;
use super::negotiate::wake;
use super::{Switch, SwitchError, masking};
use crate::audio::mix::Gain;
use crate::engine::{
    BRIDGES_MAX, BridgeConfig, BridgeIx, Change, EDGES_MAX, Edge, Member, Payload, StreamIx,
};

/// Who hears whom in a bridge. Declares the whole bridge: the same again changes nothing, one
/// without members ends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BridgeRequest {
    /// The parties, each at most once. Who is in another bridge of the call leaves that one.
    pub members: Vec<BridgeMember>,
    /// Exceptions; at most [`EDGES_MAX`].
    pub edges: Vec<BridgeEdge>,
    /// Only this many, the loudest, are mixed; 0: all.
    pub loudest: u8,
}

/// A party in a bridge.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeMember {
    /// One of its tags.
    pub tag: String,
    /// The others hear it.
    pub talks: bool,
    /// It hears the others.
    pub listens: bool,
    /// How loud the others hear it.
    pub gain: Gain,
}

/// One member hears another otherwise than the members' own settings say.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeEdge {
    /// Tag of who hears.
    pub listener: String,
    /// Tag of who is heard.
    pub talker: String,
    /// How loud; [`Gain::MUTE`]: not at all.
    pub gain: Gain,
}

/// The bridges of a call, as the engine was told; a slot of this list is a bridge's index there.
#[derive(Clone, Debug, Default)]
pub struct Bridges {
    slots: Vec<Option<Bridged>>,
}

/// A bridge as the engine was told.
#[derive(Clone, Debug, PartialEq)]
struct Bridged {
    /// Its name; `None`: made by a mesh.
    name: Option<Box<str>>,
    config: BridgeConfig,
}

impl Switch {
    /// Declares a bridge of a call: parties join, leave, or move to it from another one.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; a tag that names no party ([`SwitchError::UnknownMember`]),
    /// none that can be mixed ([`SwitchError::NoVoiceOf`]), one twice
    /// ([`SwitchError::MemberTwice`]), or an edge to one that is no member
    /// ([`SwitchError::NotMember`]); more than
    /// [`BRIDGES_MAX`] bridges or [`EDGES_MAX`] edges; an overloaded worker. Nothing has changed
    /// then.
    pub fn bridge(
        &self,
        call_id: &str,
        name: &str,
        request: &BridgeRequest,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let config = config_of(&draft, request)?;
            let members: Vec<StreamIx> = config.members.iter().map(|m| m.stream).collect();
            Arc::make_mut(&mut draft.mesh).forget(&members);
            let mut wanted = draft.bridges.clone();
            wanted.take_out(&members);
            let slot = wanted.slot_of(Some(name))?;
            wanted.put(slot, Some(name), config);
            self.reseat(call, draft, wanted, "bridge")
        })
    }

    /// Brings the engine from the bridges it has to those that are wanted.
    pub(super) fn reseat(
        &self,
        call: &mut CallState,
        mut draft: Dialogue,
        wanted: Bridges,
        what: &'static str,
    ) -> Result<(), SwitchError> {
        let members: Vec<StreamIx> = wanted.members().map(|member| member.stream).collect();
        let mut changes = Vec::new();
        for party in draft.parties.iter_mut().filter(|party| !party.closed) {
            if party.streams().any(|stream| members.contains(&stream)) {
                changes.extend(wake(party));
            }
        }
        changes.extend(draft.bridges.changes_to(&wanted));
        draft.bridges = wanted;
        let warnings = masking::follow(&mut draft, &mut changes);
        let recordings = call.recordings.followed(&draft, &mut changes);
        if !changes.is_empty() {
            self.submit_change(call, changes, Vec::new())
                .inspect_err(|_| call.recordings.tell_again())?;
        }
        call.dialogue = draft;
        call.recordings = recordings;
        call.note_with(Instant::now(), what, "", None, warnings);
        Ok(())
    }
}

impl Dialogue {
    /// These parties are in no bridge any more, and hear nobody by a mesh; what the engine has to
    /// be told of it.
    pub(super) fn leave_bridges(&mut self, parties: [usize; 2]) -> Vec<Change> {
        let of = |party: usize| self.parties[party].streams();
        let streams: Vec<StreamIx> = parties.into_iter().flat_map(of).collect();
        Arc::make_mut(&mut self.mesh).forget(&streams);
        let mut wanted = self.bridges.clone();
        wanted.take_out(&streams);
        let changes = self.bridges.changes_to(&wanted);
        self.bridges = wanted;
        changes
    }
}

impl Bridges {
    /// How many others are in the bridge of a stream, and how many of them hear it; `None`: it is
    /// in none. O(members × exceptions).
    pub(super) fn audience(&self, talker: StreamIx) -> Option<(usize, usize)> {
        let config = self.of(talker)?;
        let others = config.members.iter().filter(|m| m.stream != talker);
        Some((others.count(), hearers(config, talker).count()))
    }

    /// Who hears what a stream's party says in its bridge; `None`: it is in none. O(members ×
    /// exceptions).
    pub(super) fn beside(&self, talker: StreamIx) -> Option<impl Iterator<Item = StreamIx>> {
        Some(hearers(self.of(talker)?, talker))
    }

    /// The bridge that a stream is in.
    fn of(&self, stream: StreamIx) -> Option<&BridgeConfig> {
        let has = |config: &&BridgeConfig| config.members.iter().any(|m| m.stream == stream);
        self.slots.iter().flatten().map(|b| &b.config).find(has)
    }

    /// Streams of the members of the bridge of this name.
    pub(super) fn members_of(&self, name: &str) -> impl Iterator<Item = StreamIx> {
        let named = |bridged: &&Bridged| bridged.name.as_deref() == Some(name);
        let bridged = self.slots.iter().flatten().find(named);
        let members = bridged.into_iter().flat_map(|b| &b.config.members);
        members.map(|member| member.stream)
    }

    /// Whether there is a bridge, or ever was one.
    pub(super) fn were_used(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Every member of every bridge.
    fn members(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().flatten().flat_map(|b| &b.config.members)
    }

    /// These are in no bridge any more.
    pub(super) fn take_out(&mut self, streams: &[StreamIx]) {
        for slot in &mut self.slots {
            if let Some(bridged) = slot {
                bridged.config.retain(|stream| !streams.contains(&stream));
            }
            slot.take_if(|bridged| bridged.config.members.is_empty());
        }
    }

    /// Takes out all bridges that a mesh made, and returns them with their slots.
    pub(super) fn take_meshed(&mut self) -> Vec<(usize, BridgeConfig)> {
        let slots = self.slots.iter_mut().enumerate();
        slots
            .filter_map(|(ix, slot)| {
                let bridged = slot.take_if(|bridged| bridged.name.is_none())?;
                Some((ix, bridged.config))
            })
            .collect()
    }

    /// The slot of a name, or a free one.
    pub(super) fn slot_of(&self, name: Option<&str>) -> Result<usize, SwitchError> {
        let named = |slot: &Option<Bridged>| {
            let bridged = slot.as_ref();
            name.is_some() && bridged.is_some_and(|b| b.name.as_deref() == name)
        };
        let known = self.slots.iter().position(named);
        let free = || self.slots.iter().position(Option::is_none);
        let slot = known.or_else(free).unwrap_or(self.slots.len());
        match slot < BRIDGES_MAX {
            true => Ok(slot),
            false => Err(SwitchError::TooManyBridges { max: BRIDGES_MAX }),
        }
    }

    /// Puts a bridge into a slot; one without members leaves it free.
    pub(super) fn put(&mut self, slot: usize, name: Option<&str>, config: BridgeConfig) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = (!config.members.is_empty()).then(|| Bridged {
            name: name.map(Into::into),
            config,
        });
    }

    /// What the engine has to be told. Who moves leaves first.
    fn changes_to(&self, wanted: &Self) -> Vec<Change> {
        let none = BridgeConfig::default();
        let of = |bridges: &Self, slot: usize| {
            let bridged = bridges.slots.get(slot).and_then(Option::as_ref);
            bridged.map_or_else(|| none.clone(), |bridged| bridged.config.clone())
        };
        let mut now: Vec<_> = (0..BRIDGES_MAX).map(|slot| of(self, slot)).collect();
        let wanted: Vec<_> = (0..BRIDGES_MAX).map(|slot| of(wanted, slot)).collect();
        let mut changes = Vec::new();
        let declare = |slot: usize, config: &BridgeConfig| {
            let ix = BridgeIx(u8::try_from(slot).expect("BRIDGES_MAX fits"));
            Change::Bridge(ix, Box::new(config.clone()))
        };
        for (slot, (now, wanted)) in now.iter_mut().zip(&wanted).enumerate() {
            let stays = |stream| wanted.members.iter().any(|member| member.stream == stream);
            let before = now.members.len();
            now.retain(stays);
            if now.members.len() < before && *now != *wanted {
                changes.push(declare(slot, now));
            } else if now.members.len() < before {
                changes.push(declare(slot, wanted));
            }
        }
        for (slot, (now, wanted)) in now.iter().zip(&wanted).enumerate() {
            if now != wanted {
                changes.push(declare(slot, wanted));
            }
        }
        changes
    }
}

impl BridgeConfig {
    /// Leaves only these streams.
    fn retain(&mut self, stays: impl Fn(StreamIx) -> bool) {
        self.members.retain(|member| stays(member.stream));
        self.edges
            .retain(|edge| stays(edge.listener) && stays(edge.talker));
    }
}

/// A request in streams instead of tags.
fn config_of(talk: &Dialogue, request: &BridgeRequest) -> Result<BridgeConfig, SwitchError> {
    if request.edges.len() > EDGES_MAX {
        return Err(SwitchError::TooManyEdges { max: EDGES_MAX });
    }
    let mut members: Vec<Member> = Vec::with_capacity(request.members.len());
    for member in &request.members {
        let stream = voice_of(talk, &member.tag)?;
        if members.iter().any(|before| before.stream == stream) {
            return Err(SwitchError::MemberTwice(named(&member.tag)));
        }
        members.push(Member {
            stream,
            talks: member.talks,
            listens: member.listens,
            gain: member.gain,
        });
    }
    let seated = |tag: &str| {
        let stream = voice_of(talk, tag)?;
        let is_member = members.iter().any(|member| member.stream == stream);
        let stranger = || SwitchError::NotMember(named(tag));
        is_member.then_some(stream).ok_or_else(stranger)
    };
    let edges: Result<Vec<Edge>, SwitchError> = request
        .edges
        .iter()
        .map(|edge| {
            Ok(Edge {
                listener: seated(&edge.listener)?,
                talker: seated(&edge.talker)?,
                gain: edge.gain,
            })
        })
        .collect();
    Ok(BridgeConfig {
        edges: edges?,
        loudest: request.loudest,
        members,
    })
}

/// The stream of a party by which it hears and is heard: its first line of audio.
pub(super) fn voice_of(talk: &Dialogue, tag: &str) -> Result<StreamIx, SwitchError> {
    let party = talk
        .party_by_tag(tag)
        .ok_or_else(|| SwitchError::UnknownMember(named(tag)))?;
    let mut lines = talk.parties[party].medias.iter();
    let voice = lines.find_map(|line| {
        let audio = line.payload == Payload::Rtp && *line.kind == *"audio";
        line.stream.filter(|_| audio && line.speaks.is_some())
    });
    voice.ok_or_else(|| SwitchError::NoVoiceOf(named(tag)))
}

/// A tag for an error: as long as one reads.
pub(super) fn named(tag: &str) -> Box<str> {
    const LONGEST: usize = 80;
    tag.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

/// Who of a bridge hears a member.
fn hearers(config: &BridgeConfig, talker: StreamIx) -> impl Iterator<Item = StreamIx> {
    let own = config.members.iter().find(|m| m.stream == talker);
    let hears = move |member: &&Member| {
        let mut edges = config.edges.iter();
        let edge = edges.find(|e| e.listener == member.stream && e.talker == talker);
        let usual = own.filter(|own| own.talks).map(|own| own.gain);
        let gain = edge.map(|edge| edge.gain).or(usual);
        member.listens && gain.is_some_and(|gain| gain != Gain::MUTE)
    };
    let others = config.members.iter().filter(move |m| m.stream != talker);
    others.filter(hears).map(|member| member.stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Edge;

    fn config(streams: &[u16]) -> BridgeConfig {
        let member = |stream: &u16| Member {
            stream: StreamIx(*stream),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        };
        BridgeConfig {
            members: streams.iter().map(member).collect(),
            ..BridgeConfig::default()
        }
    }

    fn bridges(named: &[(&str, &[u16])]) -> Bridges {
        let mut bridges = Bridges::default();
        for (name, streams) in named {
            let slot = bridges.slot_of(Some(name)).unwrap();
            bridges.put(slot, Some(name), config(streams));
        }
        bridges
    }

    /// Slots and members of what the engine is told.
    fn told(from: &Bridges, to: &Bridges) -> Vec<(u8, Vec<u16>)> {
        let changes = from.changes_to(to).into_iter();
        changes
            .map(|change| match change {
                Change::Bridge(ix, config) => {
                    (ix.0, config.members.iter().map(|m| m.stream.0).collect())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn who_moves_leaves_before_it_joins() {
        let before = bridges(&[("a", &[0, 1, 2]), ("b", &[3, 4])]);
        let after = bridges(&[("a", &[0, 1]), ("b", &[3, 4, 2])]);
        assert_eq!(told(&before, &after), [(0, vec![0, 1]), (1, vec![3, 4, 2])]);
        let swapped = bridges(&[("a", &[3, 4]), ("b", &[0, 1, 2])]);
        let told = told(&before, &swapped);
        assert_eq!(told[..2], [(0, vec![]), (1, vec![])]);
        assert_eq!(told[2..], [(0, vec![3, 4]), (1, vec![0, 1, 2])]);
    }

    #[test]
    fn the_same_again_is_not_told() {
        let now = bridges(&[("a", &[0, 1]), ("b", &[2, 3])]);
        assert!(now.changes_to(&now.clone()).is_empty());
        let mut less = now.clone();
        less.take_out(&[StreamIx(2), StreamIx(3)]);
        assert_eq!(told(&now, &less), [(1, vec![])]);
        assert_eq!(less.slot_of(Some("c")).unwrap(), 1, "its slot is free");
    }

    #[test]
    fn who_hears_a_member_is_by_its_gain_and_the_exceptions() {
        let mut config = config(&[0, 1, 2, 3]);
        config.members[1].listens = false;
        let edge = |talker, gain| Edge {
            listener: StreamIx(2),
            talker: StreamIx(talker),
            gain,
        };
        config.edges = [edge(0, Gain::MUTE), edge(3, Gain::UNITY)].into();
        config.members[3].talks = false;
        let mut room = Bridges::default();
        let slot = room.slot_of(Some("a")).unwrap();
        room.put(slot, Some("a"), config);
        let heard_by = |room: &Bridges, talker| {
            let hearers = room.beside(StreamIx(talker)).map(Iterator::collect);
            let hearers: Option<Vec<StreamIx>> = hearers;
            hearers.map(|all| all.iter().map(|stream| stream.0).collect::<Vec<u16>>())
        };
        assert_eq!(heard_by(&room, 0), Some(vec![3]), "2 has an exception");
        assert_eq!(heard_by(&room, 1), Some(vec![0, 2, 3]));
        assert_eq!(heard_by(&room, 3), Some(vec![2]), "by an exception alone");
        assert_eq!(heard_by(&room, 4), None);
        assert_eq!(room.audience(StreamIx(0)), Some((3, 1)));
    }

    #[test]
    fn bridges_of_a_call_are_bounded() {
        let mut full = Bridges::default();
        for n in 0..BRIDGES_MAX {
            let name = format!("b{n}");
            let slot = full.slot_of(Some(&name)).unwrap();
            full.put(slot, Some(&name), config(&[u16::try_from(n).unwrap()]));
        }
        assert!(full.slot_of(Some("b3")).is_ok());
        let refused = full.slot_of(Some("one more")).unwrap_err();
        assert!(matches!(refused, SwitchError::TooManyBridges { max: 16 }));
    }
}
