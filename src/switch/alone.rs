//! What a party alone may be told: that it hears itself or a tone, that a key was pressed for it
//! elsewhere; and how one party leaves while the call lives on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::call::CallState;
use super::hold::MUSIC;
use super::negotiate::wake;
use super::playing::{PLAYER, listeners, tag_of};
use super::registry::reply_in_time;
use super::request::Participants;
use super::{Party, Switch, SwitchError};
use crate::audio::tone::TonePlan;
use crate::engine::{Change, Play, Sound, StreamIx, StreamReport};
use crate::wire::event::Digit;

impl Switch {
    /// Takes one party out of a call, which lives on even if nobody talks with anybody then;
    /// returns what the worker counted of its audio, if there was any and it answers in time.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; [`SwitchError::UnknownTag`] if neither a tag nor a branch of
    /// an open party is `name`; or an overloaded worker.
    pub async fn leave(
        &self,
        call_id: &str,
        name: &str,
    ) -> Result<Option<StreamReport>, SwitchError> {
        let (reply, stream) = self.with_call(call_id, |call| {
            let named =
                |party: &Party| party.has_tag(name) || party.via_branch.as_deref() == Some(name);
            let found = call.dialogue.open_parties().find(|(_, p)| named(p));
            let (leaver, party) = found.ok_or(SwitchError::UnknownTag)?;
            let stream = party.audio().and_then(|line| line.stream);
            // The worker takes commands in order: it counts up to here.
            let reply = self.registry.worker(call.worker).query(call.key).ok();
            self.close_branch(call, leaver)?;
            call.note(Instant::now(), "leave", name, None);
            Ok((reply, stream))
        })?;
        let (Some(reply), Some(StreamIx(ix))) = (reply, stream) else {
            return Ok(None);
        };
        let report = reply_in_time(reply).await.ok().flatten();
        Ok(report.and_then(|report| report.streams.into_iter().nth(ix.into())))
    }

    /// Has the selected parties hear themselves, or nobody again; only of parties that talk with
    /// nobody.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn echo(&self, call_id: &str, who: Participants<'_>, on: bool) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut changes = Vec::new();
            for stream in audio_of(call, who)? {
                let itself = on.then_some(stream);
                changes.push(Change::Link {
                    from: stream,
                    to: itself,
                });
                changes.push(Change::Source {
                    listener: stream,
                    source: itself,
                });
            }
            self.submit_change(call, changes, Vec::new())?;
            call.note(Instant::now(), "echo", tag_of(who), None);
            Ok(())
        })
    }

    /// Plays a tone to the selected parties, in the place of what they hear and of what was played
    /// to them; for so long, or as long as its plan says.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::NoVoice`], or an
    /// overloaded worker.
    pub fn play_tone(
        &self,
        call_id: &str,
        who: Participants<'_>,
        tone: &TonePlan,
        limit: Option<Duration>,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let parties = draft.select(who)?;
            let mut changes = Vec::new();
            for party in &parties {
                changes.extend(wake(&mut draft.parties[*party]));
            }
            let streams: Vec<StreamIx> = listeners(call, parties)?
                .into_iter()
                .map(|(stream, _)| stream)
                .collect();
            call.order(streams.iter().copied());
            for stream in &streams {
                changes.push(Change::StopPlay {
                    listener: (*stream).into(),
                    id: Some(MUSIC),
                });
                changes.push(Change::Play(Box::new(Play {
                    limit,
                    ..Play::new(PLAYER, *stream, [Sound::Tone(tone.clone())])
                })));
            }
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            let begun = u64::try_from(streams.len()).unwrap_or(u64::MAX);
            self.counters.played.fetch_add(begun, Ordering::Relaxed);
            call.note(Instant::now(), "play tone", tag_of(who), None);
            Ok(())
        })
    }

    /// A key of the selected parties that came by signalling (RFC 6086 INFO): it counts in what is
    /// gathered of them as if it had been heard.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn key_pressed(
        &self,
        call_id: &str,
        who: Participants<'_>,
        key: Digit,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let streams = audio_of(call, who)?.into_iter();
            let changes = streams.map(|stream| Change::Key(stream, key)).collect();
            self.submit_change(call, changes, Vec::new())
        })
    }
}

/// The first stream of audio of each selected party.
fn audio_of(call: &CallState, who: Participants<'_>) -> Result<Vec<StreamIx>, SwitchError> {
    let parties = call.dialogue.select(who)?.into_iter();
    let lines = parties.filter_map(|party| call.dialogue.parties[party].audio());
    Ok(lines.filter_map(|line| line.stream).collect())
}
