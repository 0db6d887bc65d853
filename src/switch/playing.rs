//! Sounds for parties of a call: loaded by whoever asks, played by the worker.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::call::CallState;
use super::hold::MUSIC;
use super::negotiate::wake;
use super::registry::reply_in_time;
use super::request::{Participants, Playback, Track};
use super::{Switch, SwitchError};
use crate::audio::clip::Clip;
use crate::engine::{
    Change, ChangeError, Item, Payload, Play, PlayId, PlayReport, SEQUENCE_MAX, Sound, StreamIx,
};

/// What ng plays to a leg: one sound at a time, a new one in the place of the one before.
pub(super) const PLAYER: PlayId = PlayId(0);

impl Switch {
    /// Plays to the selected parties; returns how long one round of all sounds takes. Who cannot
    /// be played to is passed over while there are others.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, [`SwitchError::NoVoice`],
    /// [`SwitchError::Prompt`], [`SwitchError::Media`] for no sound or more than [`SEQUENCE_MAX`],
    /// an overloaded worker, or [`SwitchError::NotPlaying`] where all were told something else
    /// while the sound was loaded.
    pub async fn play(
        &self,
        call_id: &str,
        who: Participants<'_>,
        playback: &Playback,
    ) -> Result<Duration, SwitchError> {
        if !(1..=SEQUENCE_MAX).contains(&playback.sounds.len()) {
            let sounds = playback.sounds.len();
            return Err(SwitchError::Media(ChangeError::Sequence(sounds)));
        }
        let chosen = |call: &CallState| call.dialogue.select(who);
        let note = ("play media", tag_of(who));
        self.play_to(call_id, chosen, PLAYER, playback, note).await
    }

    /// As [`Self::play`], to the parties that `chosen` names, before the sound is loaded and again
    /// after it. Prompts and music on hold end each other.
    pub(super) async fn play_to(
        &self,
        call_id: &str,
        chosen: impl Fn(&CallState) -> Result<Vec<usize>, SwitchError>,
        id: PlayId,
        playback: &Playback,
        (what, tag): (&'static str, &str),
    ) -> Result<Duration, SwitchError> {
        let (key, order, rates) = self.with_call(call_id, |call| {
            let rates = listeners(call, chosen(call)?)?;
            let order = call.order(rates.iter().map(|(stream, _)| *stream));
            Ok(((call.worker, call.key), order, rates))
        })?;
        let mut loaded: HashMap<u32, Vec<Arc<Clip>>> = HashMap::new();
        for (_, rate_hz) in rates {
            if let Entry::Vacant(place) = loaded.entry(rate_hz) {
                let mut clips = Vec::with_capacity(playback.sounds.len());
                for track in &playback.sounds {
                    clips.push(self.prompts.clip_at(&track.source, rate_hz).await?);
                }
                place.insert(clips);
            }
        }
        // Meanwhile the call went on: who is there now, in whatever codec, hears it.
        self.with_call(call_id, |call| {
            if (call.worker, call.key) != key {
                return Err(SwitchError::UnknownCall); // it ended, and this is another one
            }
            let any = loaded.values().next();
            let mut draft = call.dialogue.clone();
            let mut changes = Vec::new();
            let parties = chosen(call)?;
            for party in &parties {
                changes.extend(wake(&mut draft.parties[*party]));
            }
            let mut listeners = listeners(call, parties)?;
            listeners.retain(|(stream, _)| !call.is_overtaken(order, *stream));
            if listeners.is_empty() {
                return Err(SwitchError::NotPlaying);
            }
            let mut begun = 0;
            for (listener, rate_hz) in listeners {
                let Some(clips) = loaded.get(&rate_hz).or(any) else {
                    continue;
                };
                let other = if id == PLAYER { MUSIC } else { PLAYER };
                changes.push(Change::StopPlay {
                    listener: listener.into(),
                    id: Some(other),
                });
                let sound = play(id, listener, clips, playback);
                changes.push(Change::Play(Box::new(sound)));
                begun += 1;
            }
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            self.counters.played.fetch_add(begun, Ordering::Relaxed);
            call.note(Instant::now(), what, tag, None);
            Ok(any.map_or(Duration::ZERO, |clips| round(clips, playback)))
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
        let stopped = self.interrupt_playing(call_id, who).await;
        stopped.map(|report| report.position)
    }

    /// As [`Self::stop_playing`]; returns which sound of several it was, too, so that it can go on
    /// there.
    ///
    /// # Errors
    /// Those of [`Self::stop_playing`].
    pub async fn interrupt_playing(
        &self,
        call_id: &str,
        who: Participants<'_>,
    ) -> Result<PlayReport, SwitchError> {
        let (reply, streams) = self.with_call(call_id, |call| {
            let listeners = match listeners(call, call.dialogue.select(who)?) {
                Err(SwitchError::NoVoice) => Err(SwitchError::NotPlaying),
                other => other,
            };
            let streams: Vec<StreamIx> = listeners?.into_iter().map(|(ix, _)| ix).collect();
            call.order(streams.iter().copied());
            // The worker takes commands in order, so nothing lies between the two.
            let reply = self.registry.worker(call.worker).query(call.key)?;
            let stop = |stream: &StreamIx| Change::StopPlay {
                listener: (*stream).into(),
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
        stopped.next().copied().ok_or(SwitchError::NotPlaying)
    }
}

/// The streams of these parties that can be played to, and the rate of what each is sent.
pub(super) fn listeners(
    call: &CallState,
    parties: Vec<usize>,
) -> Result<Vec<(StreamIx, u32)>, SwitchError> {
    let talk = &call.dialogue;
    let lines = parties.into_iter();
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

fn play(id: PlayId, listener: StreamIx, clips: &[Arc<Clip>], playback: &Playback) -> Play {
    let once = (playback.limit.is_none() && id == PLAYER).then_some(1);
    let sounds = playback.sounds.iter().zip(clips).map(|(track, clip)| Item {
        sound: Sound::Clip(Arc::clone(clip)),
        times: track.times,
        limit: track.limit,
    });
    Play {
        times: playback.times.or(once),
        limit: playback.limit,
        start: playback.start,
        gain: playback.gain,
        layer: playback.layer,
        ..Play::new(id, listener, sounds)
    }
}

/// How long all sounds take once.
fn round(clips: &[Arc<Clip>], playback: &Playback) -> Duration {
    let tracks = playback.sounds.iter().zip(clips);
    let length = |(track, clip): (&Track, &Arc<Clip>)| {
        let rounds = track.times.map(|times| times.max(1));
        let whole = rounds.map(|rounds| clip.duration().saturating_mul(rounds));
        let whole = whole.unwrap_or(Duration::MAX);
        whole.min(track.limit.unwrap_or(Duration::MAX))
    };
    tracks
        .map(length)
        .fold(Duration::ZERO, Duration::saturating_add)
}

pub(super) fn tag_of(who: Participants<'_>) -> &str {
    match who {
        Participants::Tag(tag) => tag,
        Participants::Label(label) => label,
        Participants::All | Participants::Address(_) => "",
    }
}
