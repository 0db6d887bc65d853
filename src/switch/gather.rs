//! Prompts and the keys that are pressed upon them: asked for here, decided by the worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::call::CallState;
use super::hold::MUSIC;
use super::lifecycle::locked;
use super::negotiate::wake;
use super::playing::{PLAYER, listeners, tag_of};
use super::request::{Participants, Track};
use super::{Switch, SwitchError};
use crate::audio::clip::Clip;
use crate::audio::mix::Gain;
use crate::engine::{
    CallKey, Change, GATHER_ATTEMPTS_MAX, GatherConfig, GatherEnd, GatherError, GatherId,
    GatherRules, Gathered, Item, Layer, Payload, SEQUENCE_MAX, Sound, StreamIx,
};

/// Most gatherings of one call whose result is waited for; one more is refused.
pub const GATHERS_WAITING_MAX: usize = 256;

/// What to gather of a party.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Which keys, and when there are enough.
    pub rules: GatherRules,
    /// What is played to the party at each attempt, 1 to [`GATHER_ATTEMPTS_MAX`] of them; nothing
    /// at an empty one. At most [`SEQUENCE_MAX`] sounds each.
    pub prompts: Vec<Vec<Track>>,
    /// How loud prompts are.
    pub gain: Gain,
    /// What becomes meanwhile of what the party hears otherwise.
    pub layer: Layer,
}

impl Gather {
    /// By these rules, with one prompt at each attempt, in the place of what the party hears.
    pub fn of(rules: GatherRules, prompts: impl IntoIterator<Item = Track>) -> Self {
        Self {
            rules,
            prompts: prompts.into_iter().map(|prompt| vec![prompt]).collect(),
            gain: Gain::UNITY,
            layer: Layer::Alone,
        }
    }

    fn check(&self) -> Result<(), GatherError> {
        self.rules.check()?;
        if !(1..=GATHER_ATTEMPTS_MAX).contains(&self.prompts.len()) {
            return Err(GatherError::Attempts(self.prompts.len()));
        }
        let most = self.prompts.iter().map(Vec::len).max().unwrap_or(0);
        match most > SEQUENCE_MAX {
            true => Err(GatherError::Sounds(most)),
            false => Ok(()),
        }
    }
}

/// A gathering that has begun. Dropping it stops nothing: the result is then nobody's.
#[derive(Debug)]
pub struct Gathering {
    id: GatherId,
    began: Instant,
    result: oneshot::Receiver<Gathered>,
}

impl Gathering {
    /// Its name, by which [`Switch::cancel_gather`] knows it.
    #[must_use]
    pub fn id(&self) -> GatherId {
        self.id
    }

    /// What it came to; [`GatherEnd::Gone`] without any key if its call was deleted meanwhile.
    pub async fn result(self) -> Gathered {
        let Self { id, began, result } = self;
        result.await.unwrap_or_else(|_| Gathered {
            lasted_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            ..Gathered::nothing(id, GatherEnd::Gone)
        })
    }
}

/// Who waits for what is gathered in a call.
#[derive(Debug, Default)]
pub struct Gathers {
    waiting: Vec<(GatherId, oneshot::Sender<Gathered>)>,
}

impl Gathers {
    /// Takes over who waits in a call that has become part of this one.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.waiting.append(&mut other.waiting);
    }

    fn have_room(&mut self) -> Result<(), SwitchError> {
        self.waiting.retain(|(_, waiting)| !waiting.is_closed());
        match self.waiting.len() < GATHERS_WAITING_MAX {
            true => Ok(()),
            false => Err(SwitchError::TooManyGathers {
                max: GATHERS_WAITING_MAX,
            }),
        }
    }

    fn tell(&mut self, gathered: Gathered) {
        let found = self.waiting.iter().position(|(id, _)| *id == gathered.id);
        if let Some(found) = found {
            let (_, waiting) = self.waiting.swap_remove(found);
            let _nobody_waits = waiting.send(gathered);
        }
    }
}

impl Switch {
    /// Begins to gather keys of the selected party: plays the prompt of the first attempt, takes
    /// keys, and so on, all in the media plane. What was being gathered of the party ends as
    /// cancelled, and a prompt or music that it is played ends too.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`]; a selection that fits nobody, or
    /// [`SwitchError::NotOneToGather`]; [`SwitchError::Gather`] for what is beyond a limit;
    /// [`SwitchError::NoVoice`] where a prompt cannot be played; [`SwitchError::Prompt`];
    /// [`SwitchError::TooManyGathers`]; an overloaded worker; or [`SwitchError::NotPlaying`] if the
    /// party was told something else while the prompts were loaded.
    pub async fn gather(
        &self,
        call_id: &str,
        who: Participants<'_>,
        wanted: &Gather,
    ) -> Result<Gathering, SwitchError> {
        wanted.check()?;
        let silent = wanted.prompts.iter().all(Vec::is_empty);
        let (key, order, rate_hz) = self.with_call(call_id, |call| {
            let (stream, rate_hz) = asked(call, who, silent)?;
            let order = call.order(std::iter::once(stream));
            Ok(((call.worker, call.key), order, rate_hz))
        })?;
        let mut prompts = Vec::with_capacity(wanted.prompts.len());
        for prompt in &wanted.prompts {
            let mut clips = Vec::with_capacity(prompt.len());
            for track in prompt {
                clips.push(self.prompts.clip_at(&track.source, rate_hz).await?);
            }
            prompts.push(clips);
        }
        // Meanwhile the call went on.
        self.with_call(call_id, |call| {
            if (call.worker, call.key) != key {
                return Err(SwitchError::UnknownCall); // it ended, and this is another one
            }
            let (stream, _) = asked(call, who, silent)?;
            if call.is_overtaken(order, stream) {
                return Err(SwitchError::NotPlaying);
            }
            self.begin_gather(call, who, stream, config(wanted, stream, &prompts))
        })
    }

    fn begin_gather(
        &self,
        call: &mut CallState,
        who: Participants<'_>,
        stream: StreamIx,
        config: GatherConfig,
    ) -> Result<Gathering, SwitchError> {
        call.gathers.have_room()?;
        let mut draft = call.dialogue.clone();
        let mut changes = Vec::new();
        for party in draft.select(who)? {
            // Its prompts are encoded for it, and its keys are decoded.
            changes.extend(wake(&mut draft.parties[party]));
        }
        for other in [MUSIC, PLAYER] {
            changes.push(Change::StopPlay {
                listener: stream.into(),
                id: Some(other),
            });
        }
        let id = config.id;
        changes.push(Change::Gather(Box::new(config)));
        self.submit_change(call, changes, Vec::new())?;
        call.dialogue = draft;
        let (waiting, result) = oneshot::channel();
        call.gathers.waiting.push((id, waiting));
        let began = Instant::now();
        call.note(began, "gather keys", tag_of(who), None);
        Ok(Gathering { id, began, result })
    }

    /// Ends what is gathered of the selected parties, or only the gathering of this name; it has
    /// then the result [`GatherEnd::Cancelled`]. One whose prompts are still being loaded does not
    /// begin.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn cancel_gather(
        &self,
        call_id: &str,
        who: Participants<'_>,
        id: Option<GatherId>,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let streams = talking(call, &call.dialogue.select(who)?);
            call.order(streams.iter().copied());
            let stop = |stream: &StreamIx| Change::StopGather {
                stream: *stream,
                id,
            };
            let changes = streams.iter().map(stop).collect();
            self.submit_change(call, changes, Vec::new())?;
            call.note(Instant::now(), "stop gathering keys", tag_of(who), None);
            Ok(())
        })
    }

    /// Whether what the selected parties press is kept for their next gathering: the latest
    /// [`TYPE_AHEAD_MAX`](crate::engine::TYPE_AHEAD_MAX) keys since the last one.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn set_type_ahead(
        &self,
        call_id: &str,
        who: Participants<'_>,
        keeps: bool,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let mut changes = Vec::new();
            let parties = draft.select(who)?;
            for party in &parties {
                changes.extend(wake(&mut draft.parties[*party]));
            }
            let streams = talking(call, &parties).into_iter();
            changes.extend(streams.map(|stream| Change::TypeAhead(stream, keeps)));
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            Ok(())
        })
    }

    /// A worker tells how a gathering ended.
    pub(super) fn gathered(&self, place: (usize, CallKey), gathered: Gathered) {
        let id = self.registry.id_of(place.0, place.1);
        let Some(call) = id.and_then(|id| self.registry.find(&id)) else {
            return;
        };
        let mut call = locked(&call);
        if call.is(place) {
            call.gathers.tell(gathered);
        }
    }

    /// A name that no other gathering has.
    fn gather_id() -> GatherId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        GatherId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The stream of the one selected party, and the rate of its prompts. Whoever is played nothing
/// needs no codec that we know.
fn asked(
    call: &CallState,
    who: Participants<'_>,
    silent: bool,
) -> Result<(StreamIx, u32), SwitchError> {
    let parties = call.dialogue.select(who)?;
    if parties.len() > 1 {
        return Err(SwitchError::NotOneToGather);
    }
    let first = talking(call, &parties).into_iter().next();
    let spoken = listeners(call, parties).map(|listeners| listeners.into_iter().next());
    match (spoken, first) {
        (Ok(Some(listener)), _) => Ok(listener),
        (_, Some(stream)) if silent => Ok((stream, 0)),
        _ => Err(SwitchError::NoVoice),
    }
}

/// The streams of these parties that carry audio as RTP.
fn talking(call: &CallState, parties: &[usize]) -> Vec<StreamIx> {
    let parties = parties.iter().map(|party| &call.dialogue.parties[*party]);
    let lines = parties.flat_map(|party| &party.medias);
    lines
        .filter(|line| line.payload == Payload::Rtp && *line.kind == *"audio")
        .filter_map(|line| line.stream)
        .collect()
}

fn config(wanted: &Gather, stream: StreamIx, prompts: &[Vec<Arc<Clip>>]) -> GatherConfig {
    let item = |(track, clip): (&Track, &Arc<Clip>)| Item {
        sound: Sound::Clip(Arc::clone(clip)),
        times: track.times,
        limit: track.limit,
    };
    let prompts = wanted.prompts.iter().zip(prompts);
    let prompts = prompts.map(|(tracks, clips)| tracks.iter().zip(clips).map(item).collect());
    GatherConfig {
        id: Switch::gather_id(),
        stream,
        rules: wanted.rules,
        prompts: prompts.collect::<SmallVec<_>>(),
        gain: wanted.gain,
        layer: wanted.layer,
    }
}
