//! The one typed API: commands in, answers and events out.
//!
//! Every door (ng today) turns its messages into calls of [`Switch`]. It keeps the registry of
//! calls, negotiates SDP, opens and frees ports, places calls onto workers and talks to them by
//! bounded queues, so that a slow command can never delay a packet.

mod alone;
mod bridges;
mod call;
mod connect;
mod dialing;
mod dialogue;
mod error;
mod events;
mod gather;
mod hold;
mod lifecycle;
mod listener;
mod masking;
mod merge;
mod mesh;
mod negotiate;
mod party;
mod playing;
pub mod prompts;
mod pushing;
mod recording;
mod registry;
mod request;
mod site;
mod snapshot;
mod subscribe;
pub mod why;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Semaphore;

pub use bridges::{BridgeEdge, BridgeMember, BridgeRequest, Bridges};
pub use call::{CallState, Signal};
pub use connect::Connection;
pub use dialing::{Dialing, PendingDigits};
pub use dialogue::{Agreement, Dialogue, Offer, OfferedLine, SentOn};
pub use error::SwitchError;
pub use events::{CallEvent, EVENTS_KEPT_MAX, EventStream};
pub use gather::{GATHERS_WAITING_MAX, Gather, Gathering};
pub use hold::{Hold, HoldMusic, MusicSource};
pub use listener::{LISTENERS_MAX, Listener, Subscription};
pub use mesh::{Mesh, MeshRequest, MeshTalker};
pub use party::{EchoSide, Gates, LegMedia, MaskedOrigin, Party};
pub use recording::{
    FinishKeys, LegSides, RECORDING_NAME_MAX, RECORDINGS_BEGINNING_MAX, RecordLayout, RecordPath,
    RecordRequest, Recorded, Recorders, RecordingDefaults, RecordingState, Recordings, Started,
};
pub use registry::WorkerPort;
pub use request::{
    CALL_ID_MAX, CodecPolicy, Echo, Family, IdleChoice, MediaGate, Mux, Negotiated, Negotiation,
    Options, Participants, Playback, Pushing, RtcpAttributeStyle, Subscribe, Subscribed,
    SubscribedMedia, SubscribedParty, TAG_MAX, Track,
};
pub use site::{Site, SiteConfig, SiteError, Usage};
pub use snapshot::{Sketch, Snapshot};

use crate::engine::{CallKey, Change, EndReason, Privacy, Timers};
use crate::plane::counters::WorkerCounters;
use events::Hub;
use lifecycle::FromWorker;
use negotiate::{Desk, Plan};
use prompts::{Prompts, PromptsConfig};
use registry::Registry;

/// What the switch is told at start.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Most calls at a time.
    pub max_calls: usize,
    /// Timers of every call.
    pub timers: Timers,
    /// What parties may learn of each other when a command does not say.
    pub privacy: Privacy,
    /// Where prompts come from.
    pub prompts: PromptsConfig,
    /// How calls are recorded, if they are.
    pub recording: RecordingDefaults,
}

/// Counters of the control side; each only grows.
#[derive(Debug, Default)]
pub struct SwitchCounters {
    /// Calls created.
    pub created: AtomicU64,
    /// Calls removed by `delete`.
    pub deleted: AtomicU64,
    /// Calls that a timer ended: setup, silence, limit.
    pub ended: [AtomicU64; 3],
    /// Offers and answers handled.
    pub negotiated: AtomicU64,
    /// Commands refused.
    pub refused: AtomicU64,
    /// Commands refused because of a limit (sessions, ports, queue).
    pub refused_limit: AtomicU64,
    /// Commands a worker refused: a defect, or a race that was cleaned up.
    pub refused_by_worker: AtomicU64,
    /// Events that a subscriber was too slow to take.
    pub events_lagged: AtomicU64,
    /// Sounds begun by command, one for each party that hears one.
    pub played: AtomicU64,
    /// Recordings begun.
    pub recordings: AtomicU64,
}

/// The switch. Cheap to share: put it into an `Arc`.
#[derive(Debug)]
pub struct Switch {
    config: SwitchConfig,
    site: Site,
    registry: Registry,
    prompts: Prompts,
    draining: AtomicBool,
    /// Recordings that wait for the disk to begin.
    beginning: Arc<Semaphore>,
    /// The recorder's events are listened to.
    watched: AtomicBool,
    events: Hub,
    counters: SwitchCounters,
    started: Instant,
}

impl Switch {
    /// A switch over `workers`, opening its ports at `site`.
    pub fn new(config: SwitchConfig, site: Site, workers: Vec<WorkerPort>) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(workers, config.max_calls),
            prompts: Prompts::new(config.prompts.clone()),
            config,
            site,
            draining: AtomicBool::new(false),
            beginning: Arc::new(Semaphore::new(RECORDINGS_BEGINNING_MAX)),
            watched: AtomicBool::new(false),
            events: Hub::new(),
            counters: SwitchCounters::default(),
            started: Instant::now(),
        })
    }

    /// Rewrites an offer for the answerer; creates the call if it is new.
    ///
    /// # Errors
    /// Any [`SwitchError`]; a refused offer leaves an existing call as it was, and no new one.
    pub fn offer(self: &Arc<Self>, n: &Negotiation<'_>) -> Result<Negotiated, SwitchError> {
        let result = self.with_call_or_new(n.call_id, |call| {
            self.negotiate(call, n, "offer", negotiate::offer)
        });
        self.counted(result)
    }

    /// Rewrites an answer for the offerer and joins the two.
    ///
    /// # Errors
    /// Any [`SwitchError`]; a refused answer changes nothing.
    pub fn answer(self: &Arc<Self>, n: &Negotiation<'_>) -> Result<Negotiated, SwitchError> {
        let result = self.with_call(n.call_id, |call| {
            self.negotiate(call, n, "answer", negotiate::answer)
        });
        self.counted(result)
    }

    /// Answers the offer of a party that comes alone (`from_tag`); creates the call if it is new.
    /// It hears nobody until it is played to, bridged or meshed.
    ///
    /// # Errors
    /// Any [`SwitchError`]; a refused offer leaves an existing call as it was, and no new one.
    pub fn publish(self: &Arc<Self>, n: &Negotiation<'_>) -> Result<Negotiated, SwitchError> {
        let result = self.with_call_or_new(n.call_id, |call| {
            self.negotiate(call, n, "publish", negotiate::publish)
        });
        self.counted(result)
    }

    /// Blocks, silences or frees what the selected parties send.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn gate_media(
        &self,
        call_id: &str,
        who: Participants<'_>,
        gate: MediaGate,
    ) -> Result<(), SwitchError> {
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            let chosen = draft.select(who)?;
            if who == Participants::All {
                draft.gates.set(gate);
            }
            let mut changes = Vec::new();
            for party in chosen {
                draft.parties[party].gates.set(gate);
                changes.extend(draft.parties[party].streams().map(|stream| match gate {
                    MediaGate::Block(on) => Change::Block(stream, on),
                    MediaGate::Silence(on) => Change::Silence(stream, on),
                }));
            }
            let what = match gate {
                MediaGate::Block(true) => "block media",
                MediaGate::Block(false) => "unblock media",
                MediaGate::Silence(true) => "silence media",
                MediaGate::Silence(false) => "unsilence media",
            };
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            call.note(Instant::now(), what, "", None);
            Ok(())
        })
    }

    /// The call as it stands.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], or [`SwitchError::Overloaded`] when the worker does not
    /// answer in time.
    pub async fn query(&self, call_id: &str) -> Result<Snapshot, SwitchError> {
        let (reply, snapshot) = self.with_call(call_id, |call| {
            let reply = self.registry.worker(call.worker).query(call.key)?;
            Ok((reply, Snapshot::of(call_id, call)))
        })?;
        let report = registry::reply_in_time(reply)
            .await?
            .ok_or(SwitchError::UnknownCall)?;
        Ok(snapshot.with(*report))
    }

    /// Ends the call, or only the branch the tags or `via_branch` name while others live on.
    ///
    /// `Ok(None)`: a branch ended, the call lives. `Ok(Some(_))`: the call is over.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`] also when no tag matches.
    pub async fn delete(
        self: &Arc<Self>,
        call_id: &str,
        from_tag: Option<&str>,
        to_tag: Option<&str>,
        via_branch: Option<&str>,
    ) -> Result<Option<Snapshot>, SwitchError> {
        let known = |talk: &Dialogue, tag: Option<&str>| {
            tag.is_none_or(|t| t.is_empty() || talk.ever_had_tag(t))
        };
        let branch_only = self.with_call(call_id, |call| {
            let talk = &call.dialogue;
            let listens = |tag: Option<&str>| talk.listener_by_tag(tag?);
            if let Some(listener) = listens(to_tag).or_else(|| listens(from_tag)) {
                self.close_listener(call, listener)?;
                return Ok(true);
            }
            let to_known = via_branch.is_some() || known(talk, to_tag);
            if !known(talk, from_tag) || !to_known {
                return Err(SwitchError::UnknownCall);
            }
            if talk.branch_was_closed(via_branch) {
                return Ok(true); // asked again
            }
            let publisher = talk.lone_publisher(from_tag);
            let branch = talk.lone_branch(to_tag, via_branch).map(Some);
            match branch.or(publisher) {
                None => Ok(false),
                Some(None) => Ok(true), // asked again
                Some(Some(leaver)) => self.close_branch(call, leaver).map(|()| true),
            }
        })?;
        if branch_only {
            return Ok(None);
        }
        let snapshot = self.remove(call_id, None).await?;
        self.counters.deleted.fetch_add(1, Ordering::Relaxed);
        Ok(Some(snapshot))
    }

    /// Call ids, at most `limit`, in no particular order.
    pub fn list(&self, limit: usize) -> Vec<Box<str>> {
        self.registry.ids(limit)
    }

    /// What is to be seen of calls without asking their workers: of those that are wanted by their
    /// ids, at most `limit`, in no particular order; O(calls).
    pub fn sketches(&self, limit: usize, wanted: impl Fn(&str) -> bool) -> Vec<Sketch> {
        let calls = self.registry.some(limit, wanted);
        let sketch =
            |(id, call): (_, registry::SharedCall)| Sketch::of(id, &registry::locked(&call));
        calls.into_iter().filter_map(sketch).collect()
    }

    /// Whether there is such a call.
    pub fn has_call(&self, call_id: &str) -> bool {
        self.registry.find(call_id).is_some()
    }

    /// Calls at the moment.
    pub fn calls(&self) -> usize {
        self.registry.len()
    }

    /// Most calls at a time.
    pub fn max_calls(&self) -> usize {
        self.config.max_calls
    }

    /// Time since start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counters of the control side.
    pub fn counters(&self) -> &SwitchCounters {
        &self.counters
    }

    /// Counters of each worker.
    pub fn worker_counters(&self) -> impl Iterator<Item = &WorkerCounters> {
        self.registry.worker_counters()
    }

    /// The interfaces and their ports.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The prompts it plays.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// Takes no new calls from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether [`Switch::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Ends every call. The workers stop when the switch is dropped.
    pub async fn shutdown(self: &Arc<Self>) {
        self.drain();
        for id in self.list(usize::MAX) {
            let _gone_already = self.remove(&id, None).await;
        }
    }

    /// Serves what workers report, for ever: run one such task per worker.
    pub async fn pump(self: Arc<Self>, worker: usize) {
        let events = FromWorker {
            switch: Arc::clone(&self),
            worker,
        };
        self.registry.pump(worker, &events).await;
    }

    async fn ended(self: &Arc<Self>, worker: usize, key: CallKey, reason: Option<EndReason>) {
        let Some(id) = self.registry.id_of(worker, key) else {
            return;
        };
        match reason {
            Some(reason) => {
                let ix = match reason {
                    EndReason::Setup => 0,
                    EndReason::Silence => 1,
                    EndReason::Limit => 2,
                };
                self.counters.ended[ix].fetch_add(1, Ordering::Relaxed);
                tracing::info!(call_id = %id, ?reason, "call ended by timer");
            }
            None => tracing::error!(call_id = %id, "call lost to a defect of the switch"),
        }
        let _gone_already = self.remove(&id, Some((worker, key))).await;
    }

    fn negotiate(
        self: &Arc<Self>,
        call: &mut CallState,
        n: &Negotiation<'_>,
        what: &'static str,
        step: fn(
            &Desk<'_>,
            &mut Dialogue,
            &mut Plan,
            &Negotiation<'_>,
        ) -> Result<String, SwitchError>,
    ) -> Result<Negotiated, SwitchError> {
        let desk = Desk {
            site: &self.site,
            now: Instant::now(),
            wall: SystemTime::now(),
            privacy: self.config.privacy,
        };
        let mut draft = call.dialogue.clone();
        let mut plan = Plan::default();
        let sdp = step(&desk, &mut draft, &mut plan, n)?;
        draft.digits_to = n.options.digits_to.or(draft.digits_to);
        negotiate::listeners::refresh(&mut draft, &mut plan);
        negotiate::listen(&mut draft, &mut plan, self.events.is_wanted());
        let masked = masking::follow(&mut draft, &mut plan.changes);
        // An offer is not known to be decoded before it is answered.
        let masked = masked.into_iter().filter(|_| what != "offer");
        plan.warnings.extend(masked);
        let warnings = std::mem::take(&mut plan.warnings);
        let music = plan.music.take();
        self.carry_out(call, draft, plan, desk.now)?;
        call.last_signal = desk.wall;
        let tag = if what == "answer" {
            n.to_tag.unwrap_or("")
        } else {
            n.from_tag
        };
        call.note_with(desk.now, what, tag, Some(n.sdp), warnings.clone());
        self.counters.negotiated.fetch_add(1, Ordering::Relaxed);
        if let Some(wish) = music {
            // Whatever it takes to load: the offer is answered now.
            tokio::spawn(Arc::clone(self).play_music(n.call_id.into(), wish));
        }
        Ok(Negotiated { sdp, warnings })
    }
}
