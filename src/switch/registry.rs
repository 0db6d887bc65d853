//! Which calls exist, and the lines to the workers that own their media.
//!
//! The index of calls is the one shared map of the house, and only the control side touches it.
//! No guard of it leaves this module.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::multiple::RefMulti;
use tokio::sync::{Notify, oneshot};

use super::SwitchError;
use super::call::CallState;
use super::dialing::PendingDigits;
use super::dialogue::Dialogue;
use super::gather::Gathers;
use super::recording::Recordings;
use crate::engine::{CallKey, CallReport, Change, EndReason, Event, StreamIx};
use crate::plane::counters::WorkerCounters;
use crate::plane::worker::{
    Absorption, Command, Refusal, Report, Reports, SubmitError, WorkerHandle,
};

/// How long a command waits for its worker before the client is told to try elsewhere.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a removal asks again while the worker's queue is full.
const REMOVE_RETRY: Duration = Duration::from_millis(2);

/// A call, shared between commands; never locked across an await.
pub(super) type SharedCall = Arc<Mutex<CallState>>;

#[derive(Debug)]
pub(super) struct Registry {
    calls: DashMap<Box<str>, SharedCall>,
    count: AtomicUsize,
    max_calls: usize,
    workers: Vec<WorkerPort>,
}

/// One worker as the control side sees it.
#[derive(Debug)]
pub struct WorkerPort {
    handle: WorkerHandle,
    waiting_commands: Notify,
    reports: Mutex<Option<Reports>>,
    waiting: Mutex<Waiting>,
    next_ticket: AtomicU64,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Waiting {
    queries: HashMap<u64, oneshot::Sender<Option<Box<CallReport>>>>,
    removals: HashMap<u64, oneshot::Sender<Removed>>,
}

/// What is left of a call.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) report: CallReport,
    pub(super) sockets: Vec<UdpSocket>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Call id and generation by slot.
    used: Vec<(Option<Box<str>>, u16)>,
    free: Vec<u32>,
}

impl WorkerPort {
    /// Wraps a running worker; `reports` is its line back.
    pub fn new(handle: WorkerHandle, reports: Reports) -> Self {
        Self {
            handle,
            waiting_commands: Notify::new(),
            reports: Mutex::new(Some(reports)),
            waiting: Mutex::default(),
            next_ticket: AtomicU64::new(1),
            slots: Mutex::default(),
        }
    }

    /// Hands a command over; the worker wakes once the control side has done what it has at hand,
    /// so that a burst of commands costs one switch of threads.
    pub(super) fn submit(&self, command: Command) -> Result<(), SubmitError> {
        self.handle.enqueue(command)?;
        self.waiting_commands.notify_one();
        Ok(())
    }

    /// Wakes the worker for what was submitted, for ever.
    async fn wake_worker(&self) {
        loop {
            self.waiting_commands.notified().await;
            tokio::task::yield_now().await; // behind everything that is ready to run now
            self.handle.wake();
        }
    }

    pub(super) fn query(
        &self,
        key: CallKey,
    ) -> Result<oneshot::Receiver<Option<Box<CallReport>>>, SwitchError> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        locked(&self.waiting).queries.insert(ticket, tx);
        self.submit(Command::Query { key, ticket }).map_err(|_| {
            locked(&self.waiting).queries.remove(&ticket);
            SwitchError::Overloaded
        })?;
        Ok(rx)
    }

    /// Removes a call for certain: while the queue is full it asks again.
    pub(super) async fn remove(&self, key: CallKey) -> Removed {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        locked(&self.waiting).removals.insert(ticket, tx);
        loop {
            match self.submit(Command::Remove { key, ticket }) {
                Ok(()) => return rx.await.unwrap_or_else(|_| Removed::nothing()),
                Err(SubmitError::Stopped(_)) => return Removed::nothing(),
                Err(SubmitError::Full(_)) => tokio::time::sleep(REMOVE_RETRY).await,
            }
        }
    }

    fn take(&self, report: Report, events: &impl Events) {
        match report {
            Report::Query { ticket, report } => {
                if let Some(tx) = locked(&self.waiting).queries.remove(&ticket) {
                    let _client_gave_up = tx.send(report);
                }
            }
            Report::Removed {
                ticket,
                report,
                remains,
            } => {
                let sockets = remains.map(|r| r.sockets).unwrap_or_default();
                let report = report.map_or_else(|| CallReport::empty(Instant::now()), |r| *r);
                let removed = Removed { report, sockets };
                if let Some(tx) = locked(&self.waiting).removals.remove(&ticket) {
                    let _client_gave_up = tx.send(removed);
                }
            }
            Report::Closed { key, sockets } => {
                drop(sockets);
                events.closed(key);
            }
            Report::Surrendered { key, remains } => {
                drop(remains);
                events.surrendered(key);
            }
            Report::Absorbed { remains, .. } => drop(remains),
            Report::Ended { key, reason } => events.ended(key, Some(reason)),
            Report::Event { key, event } => events.event(key, event),
            Report::Broken { key } => events.ended(key, None),
            Report::Refused {
                key,
                refusal,
                remains,
            } => {
                tracing::error!(?key, %refusal, "a worker refused a command");
                // Or what was to come into it is lost.
                let never_was = remains.call.is_some()
                    || matches!(refusal, Refusal::UnknownCall | Refusal::NotHandedOver);
                drop(remains);
                events.refused(key);
                if never_was {
                    events.ended(key, None);
                }
            }
        }
    }

    /// The worker is gone: nobody may wait for it.
    fn give_up_waiting(&self) {
        let mut waiting = locked(&self.waiting);
        waiting.queries.clear();
        waiting.removals.clear();
    }
}

/// What the switch does about a worker's reports that answer no command.
pub(super) trait Events {
    /// A timer ended the call, or (`None`) a defect of ours did.
    fn ended(&self, key: CallKey, reason: Option<EndReason>);
    /// Something happened in the call that others wait for.
    fn event(&self, key: CallKey, event: Event);
    /// The sockets of closed streams are closed.
    fn closed(&self, key: CallKey);
    /// The worker has given the call to another one.
    fn surrendered(&self, key: CallKey);
    /// A command was refused.
    fn refused(&self, key: CallKey);
}

impl Removed {
    fn nothing() -> Self {
        Self {
            report: CallReport::empty(Instant::now()),
            sockets: Vec::new(),
        }
    }
}

impl Registry {
    pub(super) fn new(workers: Vec<WorkerPort>, max_calls: usize) -> Self {
        assert!(!workers.is_empty(), "a switch has at least one worker");
        Self {
            calls: DashMap::new(),
            count: AtomicUsize::new(0),
            max_calls,
            workers,
        }
    }

    pub(super) fn worker(&self, ix: usize) -> &WorkerPort {
        &self.workers[ix]
    }

    pub(super) fn worker_counters(&self) -> impl Iterator<Item = &WorkerCounters> {
        self.workers.iter().map(|w| w.handle.counters().as_ref())
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn ids(&self, limit: usize) -> Vec<Box<str>> {
        self.calls
            .iter()
            .take(limit)
            .map(|e| e.key().clone())
            .collect()
    }

    /// The calls that are wanted by their ids, at most `limit`.
    pub(super) fn some(
        &self,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(Box<str>, SharedCall)> {
        let wanted = self.calls.iter().filter(|e| wanted(e.key()));
        let one = |e: RefMulti<'_, Box<str>, SharedCall>| (e.key().clone(), Arc::clone(e.value()));
        wanted.take(limit).map(one).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<SharedCall> {
        self.calls.get(id).map(|e| Arc::clone(e.value()))
    }

    /// Whether `id` still names this very call.
    pub(super) fn is(&self, id: &str, call: &SharedCall) -> bool {
        self.calls
            .get(id)
            .is_some_and(|e| Arc::ptr_eq(e.value(), call))
    }

    /// From now on `id` names this call.
    pub(super) fn rename(&self, id: &str, call: &SharedCall) {
        self.calls.insert(id.into(), Arc::clone(call));
    }

    /// Has the media of one call taken into another one, on whichever workers they are; then
    /// applies `changes`. Both workers are told, or neither.
    pub(super) fn hand_over(
        &self,
        given: (usize, CallKey),
        into: (usize, CallKey),
        (first, legs): (StreamIx, u16),
        changes: Vec<Change>,
    ) -> Result<(), SwitchError> {
        let [from, to] = [given.0, into.0].map(|worker| &self.workers[worker]);
        WorkerHandle::submit_handover(&from.handle, given.1, &to.handle, |call| Absorption {
            key: into.1,
            from: call,
            first,
            legs,
            changes,
        })
        .map_err(|_| SwitchError::Overloaded)?;
        from.waiting_commands.notify_one();
        to.waiting_commands.notify_one();
        Ok(())
    }

    /// Takes this very call out; another one may have its id by now.
    pub(super) fn forget(&self, id: &str, call: &SharedCall) {
        self.calls
            .remove_if(id, |_, other| Arc::ptr_eq(other, call));
    }

    /// The call of that id, new unless somebody else was faster.
    pub(super) fn create(&self, id: &str) -> Result<SharedCall, SwitchError> {
        match self.calls.entry(id.into()) {
            Entry::Occupied(e) => Ok(Arc::clone(e.get())),
            Entry::Vacant(e) => {
                if self.count.fetch_add(1, Ordering::Relaxed) >= self.max_calls {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return Err(SwitchError::SessionLimit);
                }
                let worker = self.least_loaded();
                let key = locked(&self.workers[worker].slots).assign(id);
                let call = Arc::new(Mutex::new(new_call(worker, key)));
                e.insert(Arc::clone(&call));
                Ok(call)
            }
        }
    }

    pub(super) fn id_of(&self, worker: usize, key: CallKey) -> Option<Box<str>> {
        locked(&self.workers[worker].slots).id_of(key)
    }

    /// The call's slot may be used again: from here on it no longer counts.
    pub(super) fn release(&self, worker: usize, key: CallKey) {
        if locked(&self.workers[worker].slots).release(key) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Serves one worker's reports until it stops.
    pub(super) async fn pump(&self, worker: usize, events: &impl Events) {
        let port = &self.workers[worker];
        let Some(reports) = locked(&port.reports).take() else {
            return;
        };
        let mut reports = match reports.into_async() {
            Ok(reports) => reports,
            Err(error) => {
                tracing::error!(%error, worker, "cannot watch a worker's reports");
                return;
            }
        };
        let read = async {
            while let Some(report) = reports.next().await {
                port.take(report, events);
            }
        };
        tokio::select! {
            () = read => {}
            () = port.wake_worker() => {}
        }
        port.give_up_waiting();
    }

    fn least_loaded(&self) -> usize {
        let load = |w: &WorkerPort| locked(&w.slots).live();
        (0..self.workers.len())
            .min_by_key(|&ix| load(&self.workers[ix]))
            .unwrap_or(0)
    }
}

impl Slots {
    fn live(&self) -> usize {
        self.used.len() - self.free.len()
    }

    fn assign(&mut self, id: &str) -> CallKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used.push((None, 0));
            u32::try_from(self.used.len() - 1).expect("calls are limited far below 2^24")
        });
        let entry = &mut self.used[slot as usize];
        entry.0 = Some(id.into());
        CallKey {
            slot,
            generation: entry.1,
        }
    }

    fn id_of(&self, key: CallKey) -> Option<Box<str>> {
        let (id, generation) = self.used.get(key.slot as usize)?;
        id.clone().filter(|_| *generation == key.generation)
    }

    fn release(&mut self, key: CallKey) -> bool {
        let entry = &mut self.used[key.slot as usize];
        let held = entry.1 == key.generation && entry.0.take().is_some();
        if held {
            entry.1 = entry.1.wrapping_add(1);
            self.free.push(key.slot);
        }
        held
    }
}

pub(super) fn new_call(worker: usize, key: CallKey) -> CallState {
    let wall = SystemTime::now();
    CallState {
        key,
        worker,
        created: wall,
        created_at: Instant::now(),
        last_signal: wall,
        dead: false,
        inserted: false,
        dialogue: Dialogue::default(),
        leases: Vec::new(),
        aliases: Vec::new(),
        history: Vec::new(),
        history_dropped: 0,
        gathers: Gathers::default(),
        digits: PendingDigits::default(),
        recordings: Recordings::default(),
        orders: Default::default(),
    }
}

pub(super) async fn reply_in_time<T>(reply: oneshot::Receiver<T>) -> Result<T, SwitchError> {
    match tokio::time::timeout(REPLY_TIMEOUT, reply).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => Err(SwitchError::Overloaded),
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of these locks panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_another_call() {
        let mut slots = Slots::default();
        let first = slots.assign("a");
        assert!(slots.release(first));
        assert!(!slots.release(first));
        let second = slots.assign("b");
        assert_eq!((first.slot, slots.live()), (second.slot, 1));
        assert_eq!(slots.id_of(first), None);
        assert_eq!(slots.id_of(second).as_deref(), Some("b"));
    }
}
