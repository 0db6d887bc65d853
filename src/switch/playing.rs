//! Sounds for parties of a call: loaded by whoever asks, played by the worker.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::call::CallState;
use super::negotiate::wake;
use super::registry::reply_in_time;
use super::request::{Participants, Playback};
use super::{Switch, SwitchError};
use crate::audio::clip::Clip;
use crate::audio::mix::Gain;
use crate::engine::{Change, Payload, Play, PlayId, Sound, StreamIx};

/// What ng plays to a leg: one sound at a time, a new one in the place of the one before.
const PLAYER: PlayId = PlayId(0);

impl Switch {
    /// Plays to the selected parties, in the place of what each of them hears; returns how long
    /// one round takes. Who cannot be played to is passed over while there are others.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::NoVoice`],
    /// [`SwitchError::Prompt`], or an overloaded worker.
    pub async fn play(
        &self,
        call_id: &str,
        who: Participants<'_>,
        playback: &Playback,
    ) -> Result<Duration, SwitchError> {
        let rates = self.with_call(call_id, |call| listeners(call, who))?;
        let mut clips: HashMap<u32, Arc<Clip>> = HashMap::new();
        for (_, rate_hz) in rates {
            if let Entry::Vacant(place) = clips.entry(rate_hz) {
                place.insert(self.prompts.clip_at(&playback.source, rate_hz).await?);
            }
        }
        // Meanwhile the call went on: who is there now, in whatever codec, hears it.
        self.with_call(call_id, |call| {
            let any = clips.values().next();
            let mut draft = call.dialogue.clone();
            let mut changes = Vec::new();
            for party in draft.select(who)? {
                changes.extend(wake(&mut draft.parties[party]));
            }
            let woken = changes.len();
            for (listener, rate_hz) in listeners(call, who)? {
                let Some(clip) = clips.get(&rate_hz).or(any) else {
                    continue;
                };
                changes.push(Change::Play(Box::new(play(listener, clip, playback))));
            }
            let begun = (changes.len() - woken) as u64;
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            self.counters.played.fetch_add(begun, Ordering::Relaxed);
            call.note(Instant::now(), "play media", tag_of(who), None);
            Ok(any.map_or(Duration::ZERO, |clip| clip.duration()))
        })
    }

    /// Stops what is played to the selected parties; returns where in the sound the first of them
    /// was.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::NotPlaying`], or
    /// an overloaded worker.
    pub async fn stop_playing(
        &self,
        call_id: &str,
        who: Participants<'_>,
    ) -> Result<Duration, SwitchError> {
        let (reply, streams) = self.with_call(call_id, |call| {
            let listeners = match listeners(call, who) {
                Err(SwitchError::NoVoice) => Err(SwitchError::NotPlaying),
                other => other,
            };
            let streams: Vec<StreamIx> = listeners?.into_iter().map(|(ix, _)| ix).collect();
            // The worker takes commands in order, so nothing lies between the two.
            let reply = self.registry.worker(call.worker).query(call.key)?;
            let stop = |stream: &StreamIx| Change::StopPlay {
                listener: *stream,
                id: Some(PLAYER),
            };
            let changes = streams.iter().map(stop).collect();
            self.submit_change(call, changes, Vec::new())?;
            call.note(Instant::now(), "stop media", tag_of(who), None);
            Ok((reply, streams))
        })?;
        let report = reply_in_time(reply).await?;
        let report = report.ok_or(SwitchError::UnknownCall)?;
        let players = streams
            .iter()
            .filter_map(|stream| report.streams.get(usize::from(stream.0)))
            .flat_map(|stream| &stream.playing);
        let mut stopped = players.filter(|player| player.id == PLAYER);
        let first = stopped.next().ok_or(SwitchError::NotPlaying)?;
        Ok(first.position)
    }
}

/// The streams of the selected parties that can be played to, and the rate of what each is sent.
fn listeners(call: &CallState, who: Participants<'_>) -> Result<Vec<(StreamIx, u32)>, SwitchError> {
    let talk = &call.dialogue;
    let lines = talk.select(who)?.into_iter();
    let lines = lines.flat_map(|party| &talk.parties[party].medias);
    let found: Vec<(StreamIx, u32)> = lines
        .filter(|line| line.payload == Payload::Rtp)
        .filter_map(|line| Some((line.stream?, line.speaks?.codec.pcm_hz())))
        .collect();
    if found.is_empty() {
        Err(SwitchError::NoVoice)
    } else {
        Ok(found)
    }
}

fn play(listener: StreamIx, clip: &Arc<Clip>, playback: &Playback) -> Play {
    let once = playback.limit.is_none().then_some(1);
    Play {
        id: PLAYER,
        listener,
        sound: Sound::Clip(Arc::clone(clip)),
        times: playback.times.or(once),
        limit: playback.limit,
        start: playback.start,
        gain: Gain::UNITY,
        overlay: false,
    }
}

fn tag_of(who: Participants<'_>) -> &str {
    match who {
        Participants::Tag(tag) => tag,
        Participants::Label(label) => label,
        Participants::All | Participants::Address(_) => "",
    }
}
