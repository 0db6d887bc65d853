//! Samples that an application pushes to a party, and what a party hears while nothing is played.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::hold::MUSIC;
use super::negotiate::wake;
use super::playing::{PLAYER, listeners, tag_of};
use super::request::{IdleChoice, Participants, Pushing};
use super::{Switch, SwitchError};
use crate::audio::comfort::LEVEL_MAX;
use crate::engine::{Change, ChangeError, Payload, Play, Pusher, Sound, pushed};

impl Switch {
    /// Plays samples to the selected party that are pushed meanwhile, by the handle this returns,
    /// from any thread and without waiting. Dropping the handle ends the sound once what was pushed
    /// has been heard; [`Switch::stop_playing`] ends it at once.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::NotOne`],
    /// [`SwitchError::NoVoice`], [`SwitchError::Push`], or an overloaded worker.
    pub fn push(
        &self,
        call_id: &str,
        who: Participants<'_>,
        pushing: &Pushing,
    ) -> Result<Pusher, SwitchError> {
        let (pusher, samples) = pushed(pushing.rate_hz, pushing.ahead)?;
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let parties = draft.select(who)?;
            if parties.len() > 1 {
                return Err(SwitchError::NotOne);
            }
            let mut changes = Vec::new();
            for party in &parties {
                changes.extend(wake(&mut draft.parties[*party]));
            }
            // Of several lines of audio the first: samples go to one listener.
            let line = listeners(call, parties)?.into_iter().next();
            let (listener, _) = line.ok_or(SwitchError::NoVoice)?;
            call.order(std::iter::once(listener));
            let play = Play {
                gain: pushing.gain,
                layer: pushing.layer,
                ..Play::new(PLAYER, listener, [Sound::Pushed(samples)])
            };
            changes.push(Change::StopPlay {
                listener: listener.into(),
                id: Some(MUSIC),
            });
            changes.push(Change::Play(Box::new(play)));
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            self.counters.played.fetch_add(1, Ordering::Relaxed);
            call.note(Instant::now(), "push media", tag_of(who), None);
            Ok(pusher)
        })
    }

    /// What the selected parties are sent from now on while there is nothing to hear; see
    /// [`IdleChoice`]. It stays so through new offers.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::Media`] for a
    /// level above 127, or an overloaded worker.
    pub fn set_idle(
        &self,
        call_id: &str,
        who: Participants<'_>,
        idle: IdleChoice,
    ) -> Result<(), SwitchError> {
        if let IdleChoice::Noise { level } = idle
            && level > LEVEL_MAX
        {
            return Err(SwitchError::Media(ChangeError::NoiseLevel(level)));
        }
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let mut changes = Vec::new();
            for party in draft.select(who)? {
                let party = &mut draft.parties[party];
                if party.published {
                    // Whoever comes alone is sent it from now on, whatever was played before.
                    changes.extend(wake(party));
                }
                party.idle = idle;
                for line in &mut party.medias {
                    line.idle = idle;
                    // Whose voice the engine does not know is told with that.
                    let told = line.stream.filter(|_| line.voiced && line.speaks.is_some());
                    if let Some(stream) = told.filter(|_| line.payload == Payload::Rtp) {
                        changes.push(Change::Idle(stream, idle.for_party(line.noise)));
                    }
                }
            }
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            call.note(Instant::now(), "idle sound", tag_of(who), None);
            Ok(())
        })
    }
}
