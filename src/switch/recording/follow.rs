//! Who is on which track of a recording, while parties come, answer, change their codecs and go.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::engine::{
    Change, Payload, RecorderId, Side, StreamIx, TRACKS_MAX, TrackIx, TrackKind, TrackType,
};
use crate::record::config::{Layout, TrackConfig};
use crate::record::recorder::Recording;
use crate::switch::dialogue::Dialogue;
use crate::switch::merge::Offset;
use crate::switch::negotiate::{codecs_of, kind_of};
use crate::wire::sdp::{Codec, Encoding};

/// Clock of what has none in its SDP: audio's usual one.
const CLOCK_HZ: u32 = 8_000;

/// Who is recorded, in places of the call's parties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// What each party says.
    Call,
    /// These.
    Legs(Vec<(usize, Side)>),
    /// What each member of the bridge of this name says.
    Bridge(Box<str>),
}

/// Where what goes on a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    party: usize,
    side: Side,
    stream: StreamIx,
    line: usize,
    /// Already now; otherwise the track is kept for it.
    now: bool,
}

/// A track, as the recorder and the engine were told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slot {
    /// Whose it is; `None`: nobody's now.
    owner: Option<(usize, Side)>,
    /// What goes on it.
    stream: Option<StreamIx>,
    /// What the recorder knows of it; `None`: it was never used.
    told: Option<TrackConfig>,
}

/// A recording of a call.
#[derive(Clone, Debug)]
pub(in crate::switch) struct Tracked {
    pub(super) id: RecorderId,
    pub(super) name: Box<str>,
    pub(super) path: Box<str>,
    pub(super) subject: Subject,
    pub(super) layout: Layout,
    /// Who is left of all others.
    pub(super) left: Option<usize>,
    pub(super) early: bool,
    pub(super) slots: Vec<Slot>,
    /// `None`: it is being begun.
    pub(super) recording: Option<Arc<Recording>>,
    pub(super) paused: bool,
    pub(super) since: SystemTime,
    pub(super) metadata: Box<str>,
}

impl Tracked {
    /// Who should be on its tracks, in order. Without `early_media` a party is recorded once it
    /// has answered or was answered, and goes on to be until it is gone or another branch is
    /// chosen.
    fn origins(&self, talk: &Dialogue) -> Vec<Origin> {
        let on_it = |party: usize, side: Side| {
            let mut owners = self.slots.iter().filter(|slot| slot.stream.is_some());
            owners.any(|slot| slot.owner == Some((party, side)))
        };
        let origin = |party: usize, side: Side, anyhow: bool| {
            let own = talk.parties.get(party)?;
            let (line, stream) = audio_of(talk, party)?;
            let here = !own.closed && !own.unrecorded && !has_lost(talk, party);
            let talks = anyhow || self.early || on_it(party, side) || is_answered(talk, party);
            let now = here && talks;
            here.then_some(Origin {
                party,
                side,
                stream,
                line,
                now,
            })
        };
        match &self.subject {
            Subject::Call => {
                let parties = 0..talk.parties.len();
                let all = parties.filter_map(|party| origin(party, Side::In, false));
                // Whoever called first has the first track, though it is not yet recorded.
                let kept = |(n, origin): &(usize, Origin)| origin.now || *n == 0;
                all.enumerate().filter(kept).map(|(_, o)| o).collect()
            }
            Subject::Legs(legs) => {
                let legs = legs.iter();
                legs.filter_map(|(party, side)| origin(*party, *side, false))
                    .collect()
            }
            Subject::Bridge(name) => {
                let members = talk.bridges.members_of(name);
                let party = |stream: StreamIx| {
                    let mut parties = talk.parties.iter();
                    parties.position(|party| party.streams().any(|own| own == stream))
                };
                let parties = members.filter_map(party);
                let all = parties.filter_map(|party| origin(party, Side::In, true));
                all.collect()
            }
        }
    }

    /// What is to be told the recorder of a track.
    fn config_of(&self, talk: &Dialogue, origin: Origin) -> TrackConfig {
        let party = &talk.parties[origin.party];
        let tag = Some(party.tag()).filter(|tag| !tag.is_empty());
        let channel = match &self.subject {
            Subject::Legs(legs) if legs.iter().all(|(party, _)| *party == legs[0].0) => {
                u8::from(origin.side == Side::Out)
            }
            _ => u8::from(self.left.is_some_and(|left| left != origin.party)),
        };
        TrackConfig {
            leg: tag
                .or(party.via_branch.as_deref())
                .unwrap_or_default()
                .into(),
            label: party.label.clone(),
            side: origin.side,
            channel,
            types: types_of(codecs_of(talk, (origin.party, origin.line))),
        }
    }

    /// Fills the tracks for the first time; the recording has to know them before it begins.
    pub(super) fn first_tracks(&mut self, talk: &Dialogue) -> Vec<TrackConfig> {
        let mut origins = self.origins(talk);
        let left = || origins.iter().map(|origin| origin.party).min();
        self.left = self.left.or_else(left);
        origins.truncate(self.slots.len());
        let configs: Vec<TrackConfig> = origins
            .iter()
            .map(|origin| self.config_of(talk, *origin))
            .collect();
        for (slot, (origin, config)) in self.slots.iter_mut().zip(origins.iter().zip(&configs)) {
            slot.owner = Some((origin.party, origin.side));
            slot.told = Some(config.clone());
        }
        configs
    }

    /// The recording as it should be now. The recorder is told at once, so that it knows what
    /// packets mean before they come; the engine is to be told by `changes`. Returns how many did
    /// not find a track.
    fn follow(&mut self, talk: &Dialogue, changes: &mut Vec<Change>) -> usize {
        let Some(recording) = self.recording.clone() else {
            return 0;
        };
        let origins = self.origins(talk);
        let wanted = |owner: (usize, Side)| {
            let mut origins = origins.iter();
            origins.any(|origin| (origin.party, origin.side) == owner)
        };
        for slot in &mut self.slots {
            slot.owner = slot.owner.filter(|owner| wanted(*owner));
        }
        let before: Vec<Option<StreamIx>> = self.slots.iter().map(|slot| slot.stream).collect();
        let mut left_out = 0;
        for origin in &origins {
            let Some(ix) = self.slot_for(*origin) else {
                left_out += 1;
                continue;
            };
            let config = self.config_of(talk, *origin);
            let slot = &mut self.slots[ix];
            slot.owner = Some((origin.party, origin.side));
            slot.stream = origin.now.then_some(origin.stream);
            tell(&recording, track(ix), slot.told.as_ref(), &config);
            slot.told = Some(config);
        }
        for (ix, (slot, before)) in self.slots.iter_mut().zip(before).enumerate() {
            if slot.owner.is_none() {
                slot.stream = None;
            }
            if slot.stream != before {
                let side = slot.owner.map(|(_, side)| side);
                changes.push(Change::RecordTrack {
                    recorder: self.id,
                    track: track(ix),
                    from: slot.stream.zip(side),
                });
            }
        }
        left_out
    }

    /// Its own track, else one that nobody ever had, else one whose owner is gone.
    fn slot_for(&self, origin: Origin) -> Option<usize> {
        let owner = Some((origin.party, origin.side));
        let place = |fits: &dyn Fn(&Slot) -> bool| self.slots.iter().position(fits);
        place(&|slot| slot.owner == owner)
            .or_else(|| place(&|slot| slot.told.is_none()))
            .or_else(|| place(&|slot| slot.owner.is_none()))
    }

    /// The recorder knows again what the engine still does.
    fn tell_again(&self) {
        let Some(recording) = &self.recording else {
            return;
        };
        for (ix, slot) in self.slots.iter().enumerate() {
            if let Some(told) = slot.told.clone() {
                recording.set_track(track(ix), told);
            }
        }
    }

    /// In a call that took this one in, its parties and streams are further on.
    fn moved(mut self, by: Offset) -> Self {
        let further = |party: &mut usize| *party += usize::from(by.parties);
        if let Subject::Legs(legs) = &mut self.subject {
            legs.iter_mut().for_each(|(party, _)| further(party));
        }
        self.left.iter_mut().for_each(further);
        for slot in &mut self.slots {
            slot.owner.iter_mut().for_each(|(party, _)| further(party));
            slot.stream = slot.stream.map(|stream| stream.after(by.streams.0));
        }
        self
    }

    /// Tags of those on its tracks now.
    pub(super) fn legs(&self) -> Vec<Box<str>> {
        let used = self.slots.iter().filter(|slot| slot.stream.is_some());
        used.filter_map(|slot| Some(slot.told.as_ref()?.leg.clone()))
            .collect()
    }

    /// Streams of those on its tracks now.
    pub(super) fn streams(&self) -> impl Iterator<Item = StreamIx> {
        self.slots.iter().filter_map(|slot| slot.stream)
    }
}

/// Tells what is new of a track.
fn tell(recording: &Recording, track: TrackIx, before: Option<&TrackConfig>, now: &TrackConfig) {
    let Some(before) = before else {
        return recording.set_track(track, now.clone());
    };
    let same_party = TrackConfig {
        types: now.types.clone(),
        ..before.clone()
    };
    if same_party != *now {
        recording.set_track(track, now.clone());
    } else if before.types != now.types {
        recording.set_types(track, now.types.clone());
    }
}

/// The recordings of a call.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    pub(super) all: Vec<Tracked>,
    /// They are thrown away when the call ends.
    pub(super) discard: bool,
}

impl Recordings {
    /// The recordings as they should be with these parties: the recorder is told, `changes` are
    /// for the engine.
    pub(in crate::switch) fn followed(&self, talk: &Dialogue, changes: &mut Vec<Change>) -> Self {
        let mut next = self.clone();
        for tracked in &mut next.all {
            let left_out = tracked.follow(talk, changes);
            if left_out > 0 {
                tracing::warn!(
                    path = %tracked.path, parties = left_out, max = TRACKS_MAX,
                    "no track is left for all parties of a recording"
                );
            }
        }
        next
    }

    /// The engine did not take what [`Self::followed`] said.
    pub(in crate::switch) fn tell_again(&self) {
        self.all.iter().for_each(Tracked::tell_again);
    }

    /// With those of a call that is taken in.
    pub(in crate::switch) fn united(&self, other: &Self, by: Offset) -> Self {
        let mut next = self.clone();
        let moved = other.all.iter().cloned();
        next.all.extend(moved.map(|tracked| tracked.moved(by)));
        next
    }

    /// The call ends, and its tapes with it.
    pub(in crate::switch) fn end(&self) {
        let recordings = self.all.iter().filter(|_| self.discard);
        for recording in recordings.filter_map(|tracked| tracked.recording.as_ref()) {
            recording.stop(Instant::now(), true);
        }
    }

    pub(in crate::switch) fn len(&self) -> usize {
        self.all.len()
    }
}

fn track(ix: usize) -> TrackIx {
    TrackIx(u8::try_from(ix).expect("TRACKS_MAX fits"))
}

/// The line by which a party is heard: its first one of audio that is read.
fn audio_of(talk: &Dialogue, party: usize) -> Option<(usize, StreamIx)> {
    let mut lines = talk.parties.get(party)?.medias.iter().enumerate();
    lines.find_map(|(ix, line)| {
        let audio = line.payload == Payload::Rtp && line.kind.eq_ignore_ascii_case("audio");
        Some((ix, line.stream.filter(|_| audio)?))
    })
}

/// Whether somebody it talks with was chosen, or the switch itself answered it.
fn is_answered(talk: &Dialogue, party: usize) -> bool {
    let own = &talk.parties[party];
    own.published || is_chosen(talk, party)
}

fn is_chosen(talk: &Dialogue, party: usize) -> bool {
    let mut agreements = talk.agreements.iter();
    agreements.any(|agreed| agreed.chosen && agreed.is_of(party))
}

/// Whether whom it was called by talks with another one now.
fn has_lost(talk: &Dialogue, party: usize) -> bool {
    let caller = talk.parties[party].peer;
    caller.is_some_and(|caller| {
        let theirs = talk.parties[caller].peer;
        theirs.is_some_and(|chosen| chosen != party) && is_chosen(talk, caller)
    })
}

/// What payload types of a party mean, the first of a number counts. Keys are known by the tape.
fn types_of(codecs: Vec<Codec>) -> Vec<TrackType> {
    let mut types: Vec<TrackType> = Vec::with_capacity(codecs.len());
    let sounds = codecs
        .iter()
        .filter(|codec| codec.encoding() != Encoding::TelephoneEvent);
    for codec in sounds {
        let clock_hz = if codec.clock_hz == 0 {
            CLOCK_HZ
        } else {
            codec.clock_hz
        };
        let kind = match (codec.encoding(), kind_of(codec)) {
            (Encoding::ComfortNoise, _) => TrackKind::Noise { clock_hz },
            (_, Some(kind)) => TrackKind::Sound(kind),
            (_, None) => TrackKind::Opaque { clock_hz },
        };
        if types.iter().all(|before| before.pt != codec.pt) {
            types.push(TrackType { pt: codec.pt, kind });
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::codec::CodecKind;

    #[test]
    fn payload_types_are_sound_noise_or_opaque() {
        let named = |pt, name: &'static str, clock_hz, channels| Codec {
            pt,
            name: name.into(),
            clock_hz,
            channels,
            fmtp: None,
            feedback: Vec::new(),
        };
        let types = types_of(vec![
            named(8, "PCMA", 8_000, 1),
            named(13, "CN", 8_000, 1),
            named(101, "telephone-event", 8_000, 1),
            named(118, "CN", 16_000, 1),
            named(96, "AMR", 8_000, 1),
            named(97, "", 0, 1),
            named(8, "PCMU", 8_000, 1),
        ]);
        let kinds = [
            (8, TrackKind::Sound(CodecKind::Pcma)),
            (13, TrackKind::Noise { clock_hz: 8_000 }),
            (118, TrackKind::Noise { clock_hz: 16_000 }),
            (96, TrackKind::Opaque { clock_hz: 8_000 }),
            (97, TrackKind::Opaque { clock_hz: 8_000 }),
        ];
        assert_eq!(types, kinds.map(|(pt, kind)| TrackType { pt, kind }));
    }
}
