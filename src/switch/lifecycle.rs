//! How calls come, change and go: in the registry, with their worker, and with their ports.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::call::CallState;
use super::dialogue::Dialogue;
use super::negotiate::Plan;
use super::registry::{Events, SharedCall};
use super::{Snapshot, Switch, SwitchError, negotiate};
use crate::engine::{
    Call, CallConfig, CallKey, Change, Component, EndReason, Event, EventKind, StreamIx,
};
use crate::plane::worker::Command;

impl Switch {
    /// Hands a plan to the call's worker; once its queue has taken it, the draft is the call.
    pub(super) fn carry_out(
        &self,
        call: &mut CallState,
        draft: Dialogue,
        mut plan: Plan,
        now: Instant,
    ) -> Result<(), SwitchError> {
        let recordings = call.recordings.followed(&draft, &mut plan.changes);
        let (mut sockets, mut leases) = (Vec::new(), Vec::new());
        for (stream, ports) in plan.opened {
            sockets.push((stream, Component::Rtp, ports.rtp));
            sockets.extend(ports.rtcp.map(|rtcp| (stream, Component::Rtcp, rtcp)));
            leases.push((stream, ports.lease));
        }
        if call.inserted {
            self.submit_change(call, plan.changes, sockets)
                .inspect_err(|_| call.recordings.tell_again())?;
        } else {
            self.submit_insert(call, plan.changes, sockets, now)?;
            call.inserted = true;
            self.counters.created.fetch_add(1, Ordering::Relaxed);
        }
        for (_, lease) in &mut leases {
            lease.tell();
        }
        call.leases.append(&mut leases);
        call.dialogue = draft;
        call.recordings = recordings;
        Ok(())
    }

    pub(super) fn submit_insert(
        &self,
        call: &CallState,
        changes: Vec<Change>,
        sockets: Vec<(StreamIx, Component, std::net::UdpSocket)>,
        now: Instant,
    ) -> Result<(), SwitchError> {
        let config = CallConfig {
            key: call.key,
            seed: self.site.random(),
            timers: self.config.timers,
        };
        // One epoch for all, so that they can be merged.
        let mut media = Box::new(Call::since(config, self.started, now));
        for change in changes {
            media.apply(now, change).map_err(SwitchError::Media)?;
        }
        let insert = Command::Insert {
            key: call.key,
            call: media,
            sockets,
        };
        self.submit(call, insert)
    }

    pub(super) fn submit_change(
        &self,
        call: &CallState,
        changes: Vec<Change>,
        sockets: Vec<(StreamIx, Component, std::net::UdpSocket)>,
    ) -> Result<(), SwitchError> {
        self.submit(
            call,
            Command::Change {
                key: call.key,
                changes,
                sockets,
            },
        )
    }

    pub(super) fn submit(&self, call: &CallState, command: Command) -> Result<(), SwitchError> {
        self.registry
            .worker(call.worker)
            .submit(command)
            .map_err(|_| SwitchError::Overloaded)
    }

    pub(super) fn close_branch(
        &self,
        call: &mut CallState,
        branch: usize,
    ) -> Result<(), SwitchError> {
        let mut draft = call.dialogue.clone();
        draft.forget(branch);
        let mut changes = negotiate::end_hold(&mut draft, branch);
        changes.extend(draft.parties[branch].streams().map(Change::Close));
        let offerer = draft.parties[branch].peer;
        changes.extend(negotiate::reroute(&mut draft, offerer));
        let mut plan = Plan {
            changes,
            ..Plan::default()
        };
        negotiate::listeners::refresh(&mut draft, &mut plan);
        self.carry_out(call, draft, plan, Instant::now())
    }

    /// Takes the call out of the registry, ends its media, and frees its ports; with `only`, not
    /// another call that has the same id by now. Once begun it is finished, even if the caller
    /// goes away.
    pub(super) async fn remove(
        self: &Arc<Self>,
        call_id: &str,
        only: Option<(usize, CallKey)>,
    ) -> Result<Snapshot, SwitchError> {
        let (shared, (worker, key, leases, aliases, snapshot)) = loop {
            let shared = self
                .registry
                .find(call_id)
                .ok_or(SwitchError::UnknownCall)?;
            let mut call = locked(&shared);
            if call.dead && !self.registry.is(call_id, &shared) {
                continue; // merged into another one meanwhile
            }
            let other = only.is_some_and(|only| only != (call.worker, call.key));
            if other || std::mem::replace(&mut call.dead, true) {
                return Err(SwitchError::UnknownCall);
            }
            let leases = std::mem::take(&mut call.leases);
            let aliases = std::mem::take(&mut call.aliases);
            let snapshot = Snapshot::of(call_id, &call);
            std::mem::take(&mut call.recordings).end();
            let found = (call.worker, call.key, leases, aliases, snapshot);
            drop(call);
            break (shared, found);
        };
        let own = self.registry.id_of(worker, key);
        for id in own.iter().chain(aliases.iter().map(|alias| &alias.id)) {
            self.registry.forget(id, &shared);
        }
        let switch = Arc::clone(self);
        let finish = tokio::spawn(async move {
            let removed = switch.registry.worker(worker).remove(key).await;
            // Sockets first: a port begins to rest once nothing is bound to it.
            drop(removed.sockets);
            drop(leases);
            switch.registry.release(worker, key);
            snapshot.with(removed.report)
        });
        finish.await.map_err(|_| SwitchError::UnknownCall)
    }

    pub(super) fn with_call<T>(
        &self,
        call_id: &str,
        f: impl FnOnce(&mut CallState) -> Result<T, SwitchError>,
    ) -> Result<T, SwitchError> {
        loop {
            let shared = self
                .registry
                .find(call_id)
                .ok_or(SwitchError::UnknownCall)?;
            let mut call = locked(&shared);
            if !call.dead {
                return f(&mut call);
            }
            // Somebody is taking it out right now, or it has been merged into another one.
            if self.registry.is(call_id, &shared) {
                return Err(SwitchError::UnknownCall);
            }
        }
    }

    pub(super) fn with_call_or_new<T>(
        &self,
        call_id: &str,
        f: impl FnOnce(&mut CallState) -> Result<T, SwitchError>,
    ) -> Result<T, SwitchError> {
        loop {
            let shared = match self.registry.find(call_id) {
                Some(known) => known,
                None if self.is_draining() => return Err(SwitchError::Draining),
                None => self.registry.create(call_id)?,
            };
            let mut call = locked(&shared);
            if call.dead {
                // Somebody is taking it out of the registry right now; ours will be a new one.
                self.registry.forget(call_id, &shared);
                continue;
            }
            let result = f(&mut call);
            if !call.inserted {
                call.dead = true;
                self.registry.forget(call_id, &shared);
                self.registry.release(call.worker, call.key);
            }
            return result;
        }
    }

    pub(super) fn counted<T>(&self, result: Result<T, SwitchError>) -> Result<T, SwitchError> {
        if let Err(error) = &result {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            if error.is_load_limit() {
                self.counters.refused_limit.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }
}

/// A worker's reports, for the call they are about.
pub(super) struct FromWorker {
    pub(super) switch: Arc<Switch>,
    pub(super) worker: usize,
}

impl Events for FromWorker {
    fn ended(&self, key: CallKey, reason: Option<EndReason>) {
        let (switch, worker) = (Arc::clone(&self.switch), self.worker);
        tokio::spawn(async move { switch.ended(worker, key, reason).await });
    }

    fn event(&self, key: CallKey, event: Event) {
        if let EventKind::Gathered(gathered) = event.kind {
            self.switch.gathered((self.worker, key), gathered);
        }
        if let EventKind::DigitsSent(_) = event.kind {
            self.switch.dialled((self.worker, key), event.stream);
        }
        self.switch.tell((self.worker, key), event);
    }

    fn closed(&self, key: CallKey) {
        let registry = &self.switch.registry;
        let call = registry
            .id_of(self.worker, key)
            .and_then(|id| registry.find(&id));
        if let Some(call) = call {
            let mut call = locked(&call);
            if call.is((self.worker, key)) {
                call.free_closed();
            }
        }
    }

    fn surrendered(&self, key: CallKey) {
        self.switch.registry.release(self.worker, key);
    }

    fn refused(&self, _key: CallKey) {
        self.switch
            .counters
            .refused_by_worker
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// A call is whole after every step under its lock, so a panic of a holder spoils nothing.
pub(super) fn locked(call: &SharedCall) -> std::sync::MutexGuard<'_, CallState> {
    call.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
