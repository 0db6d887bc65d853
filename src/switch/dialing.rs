//! Keys that are pressed for parties of a call.

mod pending;

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::call::CallState;
use super::dialogue::Dialogue;
use super::lifecycle::locked;
use super::negotiate::wake;
use super::playing::tag_of;
use super::request::Participants;
use super::{Switch, SwitchError};
use crate::engine::{
    CallKey, Change, ChangeError, DIGITS_MAX, DialError, DialId, DialStep, EventType, KEY_VOLUME,
    Payload, SendDigits, StreamIx,
};

pub use pending::PendingDigits;

/// Keys to press, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialing {
    /// Named in the event that tells of their end.
    pub id: DialId,
    /// What to do.
    pub steps: SmallVec<[DialStep; 2]>,
    /// Between two keys.
    pub pause: Duration,
    /// Power of both tones together, in −dBm0.
    pub volume: u8,
}

impl Dialing {
    /// Digits in text, as [`DialStep::parse`] reads them: 100 ms each, 100 ms apart, at −8 dBm0.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn parse(text: &str) -> Result<Self, DialError> {
        let usual = Duration::from_millis(100);
        Ok(Self {
            id: DialId(0),
            steps: DialStep::parse(text, usual)?,
            pause: usual,
            volume: KEY_VOLUME,
        })
    }
}

impl Switch {
    /// Presses keys for the selected parties, behind those that are being pressed: as
    /// telephone-events for who accepts them, else as tones in the place of their audio. Who can be
    /// sent neither, or is on hold, is passed over while there are others.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::NoKeySink`],
    /// [`SwitchError::TooManyDigits`] with those that wait, [`SwitchError::Media`] for no keys or
    /// times or levels out of range, or an overloaded worker.
    pub fn send_digits(
        &self,
        call_id: &str,
        who: Participants<'_>,
        dialing: &Dialing,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let parties = call.dialogue.select(who)?;
            let parties = parties.into_iter().map(|ix| &call.dialogue.parties[ix]);
            let lines = parties.flat_map(|party| &party.medias);
            let streams = lines.filter(|line| is_audio(line)).filter_map(|l| l.stream);
            let streams = streams.collect();
            self.press(call, streams, dialing, ("send digits", tag_of(who)))
        })
    }

    /// Presses keys as if the selected parties did: whoever hears them gets the keys, as by
    /// [`Self::send_digits`], in the place of their audio.
    ///
    /// # Errors
    /// As there, and [`SwitchError::NoKeySource`] where none of them has audio.
    pub fn press_keys(
        &self,
        call_id: &str,
        who: Participants<'_>,
        dialing: &Dialing,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut hearers = Vec::new();
            let mut sources = 0;
            for party in call.dialogue.select(who)? {
                let medias = call.dialogue.parties[party].medias.iter().enumerate();
                for (ix, line) in medias.filter(|(_, line)| is_audio(line)) {
                    sources += 1;
                    hearers_of(&call.dialogue, party, ix, line.stream, &mut hearers);
                }
            }
            if sources == 0 {
                return Err(SwitchError::NoKeySource);
            }
            hearers.sort_unstable();
            hearers.dedup();
            self.press(call, hearers, dialing, ("play DTMF", tag_of(who)))
        })
    }

    /// Stops what is being pressed for the selected parties.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn stop_digits(&self, call_id: &str, who: Participants<'_>) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let parties = call.dialogue.select(who)?.into_iter();
            let lines = parties.flat_map(|ix| &call.dialogue.parties[ix].medias);
            let streams = lines.filter(|line| is_audio(line)).filter_map(|l| l.stream);
            let changes = streams.map(Change::StopDigits).collect();
            self.submit_change(call, changes, Vec::new())?;
            call.note(Instant::now(), "stop digits", tag_of(who), None);
            Ok(())
        })
    }

    fn press(
        &self,
        call: &mut CallState,
        streams: Vec<StreamIx>,
        dialing: &Dialing,
        (what, tag): (&'static str, &str),
    ) -> Result<(), SwitchError> {
        let mut draft = call.dialogue.clone();
        let mut changes = Vec::new();
        let mut found: SmallVec<[StreamIx; 2]> = SmallVec::new();
        for party in &mut draft.parties {
            let able = |line: &&super::LegMedia| {
                let listed = line.stream.is_some_and(|stream| streams.contains(&stream));
                // One that was only offered something is not there yet, or it is on hold.
                let is_there = line.receives && line.remote_address().is_some();
                listed && is_there && (line.event.is_some() || line.speaks.is_some())
            };
            let lines: Vec<(StreamIx, Option<EventType>)> = party
                .medias
                .iter()
                .filter(able)
                .filter_map(|line| Some((line.stream?, line.event)))
                .collect();
            if lines.is_empty() {
                continue;
            }
            changes.extend(wake(party));
            for (to, kind) in lines {
                changes.push(Change::EventType(to, kind));
                changes.push(Change::SendDigits(Box::new(SendDigits {
                    id: dialing.id,
                    to,
                    steps: dialing.steps.clone(),
                    pause: dialing.pause,
                    volume: dialing.volume,
                })));
                found.push(to);
            }
        }
        if found.is_empty() {
            return Err(SwitchError::NoKeySink);
        }
        if !dialing.is_sound() {
            return Err(SwitchError::Media(ChangeError::Dial));
        }
        let (now, steps) = (Instant::now(), dialing.steps.len());
        let fits = |to: &StreamIx| call.digits.have_room(now, *to, steps);
        if !found.iter().all(fits) {
            return Err(SwitchError::TooManyDigits { max: DIGITS_MAX });
        }
        self.submit_change(call, changes, Vec::new())?;
        found
            .iter()
            .for_each(|to| call.digits.push(now, *to, dialing));
        call.dialogue = draft;
        call.note(now, what, tag, None);
        Ok(())
    }

    /// A worker tells that a command's keys were pressed, or will not be.
    pub(super) fn dialled(&self, place: (usize, CallKey), to: StreamIx) {
        let id = self.registry.id_of(place.0, place.1);
        let Some(call) = id.and_then(|id| self.registry.find(&id)) else {
            return;
        };
        let mut call = locked(&call);
        if let Some(to) = call.stream_of(place, to) {
            call.digits.ended(to);
        }
    }
}

impl Dialing {
    /// Whether the engine takes it, as far as can be said here: it has no way back to say so.
    fn is_sound(&self) -> bool {
        let digits = SendDigits {
            id: self.id,
            to: StreamIx(0),
            steps: self.steps.clone(),
            pause: self.pause,
            volume: self.volume,
        };
        digits.is_sound()
    }
}

fn is_audio(line: &super::LegMedia) -> bool {
    line.payload == Payload::Rtp && *line.kind == *"audio" && line.stream.is_some()
}

/// Who hears a line of a party: the members of its bridge, or the party it talks with.
pub(super) fn hearers_of(
    talk: &Dialogue,
    party: usize,
    ix: usize,
    stream: Option<StreamIx>,
    found: &mut Vec<StreamIx>,
) {
    if let Some(others) = stream.and_then(|stream| talk.bridges.beside(stream)) {
        found.extend(others);
        return;
    }
    let peer = talk.parties[party]
        .peer
        .and_then(|peer| talk.parties.get(peer));
    let line = peer.and_then(|peer| {
        let same = peer.medias.get(ix).filter(|line| is_audio(line));
        same.or_else(|| peer.medias.iter().find(|line| is_audio(line)))
    });
    found.extend(line.and_then(|line| line.stream));
}
