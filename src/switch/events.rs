//! What happens in calls, for whoever subscribes: key presses, each as it begins and as it ends.
//!
//! A worker's report becomes a [`CallEvent`] with the names that the control side knows, and goes
//! to every subscriber by one bounded queue. A subscriber that is too slow misses the oldest, which
//! is counted; the presses of a party are numbered without gaps, so that it can see what it missed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Switch;
use super::lifecycle::locked;
use super::party::Party;
use crate::engine::{CallKey, Event, LegIx};

/// Events that wait for the slowest subscriber; the oldest go first.
pub const EVENTS_KEPT_MAX: usize = 1_024;

/// Something that happened in a call's media.
#[derive(Clone, Debug)]
pub struct CallEvent {
    /// The call.
    pub call_id: Box<str>,
    /// Tag of the party it happened to; empty before it answered.
    pub tag: Box<str>,
    /// Its label.
    pub label: Option<Box<str>>,
    /// Its leg.
    pub leg: LegIx,
    /// Where its SDP says that it is, or where it is found to be.
    pub source: Option<IpAddr>,
    /// The tags of all parties that are in the call, in order of their coming.
    pub tags: Vec<Box<str>>,
    /// Where this call's presses are to be reported to, if a command said so.
    pub digits_to: Option<SocketAddr>,
    /// What happened, when, on which stream.
    pub event: Event,
}

/// Where events come together, and go to all who subscribed.
#[derive(Debug)]
pub(super) struct Hub {
    events: broadcast::Sender<Arc<CallEvent>>,
    /// Somebody subscribed to the events of all calls.
    wanted: AtomicBool,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            events: broadcast::Sender::new(EVENTS_KEPT_MAX),
            wanted: AtomicBool::new(false),
        }
    }

    /// Whether every call is listened to.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }
}

/// A subscription to the events of all calls, from the moment it was made.
#[derive(Debug)]
pub struct EventStream {
    switch: Arc<Switch>,
    events: broadcast::Receiver<Arc<CallEvent>>,
}

impl EventStream {
    /// The next event. What was missed because it was not asked for in time is counted in
    /// [`SwitchCounters::events_lagged`](super::SwitchCounters::events_lagged).
    pub async fn next(&mut self) -> Arc<CallEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) => return event,
                Err(RecvError::Lagged(missed)) => {
                    let lagged = &self.switch.counters.events_lagged;
                    lagged.fetch_add(missed, Ordering::Relaxed);
                }
                // The sender lives in the switch, which is held here.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Switch {
    /// Subscribes to what happens in all calls, and has telephone-events listened to in every call
    /// that is negotiated from now on. At most [`EVENTS_KEPT_MAX`] events wait.
    #[must_use]
    pub fn events(self: &Arc<Self>) -> EventStream {
        self.events.wanted.store(true, Ordering::Relaxed);
        self.events_listened_to()
    }

    /// As [`Switch::events`], without a wish of its own: events of those parties that are listened
    /// to for another reason.
    #[must_use]
    pub fn events_listened_to(self: &Arc<Self>) -> EventStream {
        EventStream {
            switch: Arc::clone(self),
            events: self.events.events.subscribe(),
        }
    }

    /// A worker's event, for all who subscribed.
    pub(super) fn tell(&self, place: (usize, CallKey), event: Event) {
        if self.events.events.receiver_count() == 0 {
            return;
        }
        let Some(call_id) = self.registry.id_of(place.0, place.1) else {
            return;
        };
        let Some(call) = self.registry.find(&call_id) else {
            return;
        };
        let call = locked(&call);
        let Some(stream) = call.stream_of(place, event.stream) else {
            return;
        };
        let event = Event { stream, ..event };
        let talk = &call.dialogue;
        let listeners = talk.listeners.iter().map(|listener| &listener.party);
        let mut parties = talk.parties.iter().chain(listeners);
        let on_stream = |party: &&Party| party.streams().any(|stream| stream == event.stream);
        let Some(party) = parties.find(on_stream) else {
            return;
        };
        let line = party.medias.iter();
        let line = line.filter(|line| line.stream == Some(event.stream));
        let told = CallEvent {
            tag: party.tag().into(),
            label: party.label.clone(),
            leg: party.leg,
            source: line.filter_map(|line| line.remote_ip()).next(),
            tags: talk.open_parties().map(|(_, p)| p.tag().into()).collect(),
            digits_to: talk.digits_to,
            call_id,
            event,
        };
        drop(call);
        let _nobody_left = self.events.events.send(Arc::new(told));
    }
}
