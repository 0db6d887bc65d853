//! Every call and leg that lives, for those who watch: a ledger that remembers what is going on,
//! tells the next ledger, and forgets a call when it is over.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::run::CALLER;
use super::run::ledger::{CallEnded, CallStarted, Ledger, LegStarted, Quality};
use crate::sip::{Cause, Ending, LegStatus};

/// Longest text that is shown of what others say (numbers, names of flows), in octets.
pub const TEXT_MAX: usize = 128;

/// Most legs of a call that are shown. Beyond that the oldest that has ended gives way, and if none
/// has, the new one is only counted.
pub const LEGS_MAX: usize = 64;

/// Calls ended, by what became of them. The order is that of [`Board::ended`].
pub const ENDINGS: [LegStatus; 5] = [
    LegStatus::Completed,
    LegStatus::Busy,
    LegStatus::NoAnswer,
    LegStatus::Failed,
    LegStatus::Canceled,
];

/// The calls that flows carry now. As many as the user agent lets in.
pub struct Board {
    next: Arc<dyn Ledger>,
    calls: Mutex<HashMap<Box<str>, Arc<LiveCall>>>,
    started: AtomicU64,
    ended: [AtomicU64; ENDINGS.len()],
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

/// A call.
#[derive(Debug)]
pub struct LiveCall {
    /// Its SID.
    pub sid: Box<str>,
    /// Who calls.
    pub from: Box<str>,
    /// What was called.
    pub to: Box<str>,
    /// Name of its flow.
    pub flow: Box<str>,
    /// When it came in.
    pub started: Instant,
    now: Mutex<Now>,
}

/// What it has come to.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// The applet its flow is at; empty before the first.
    pub applet: Box<str>,
    /// When its caller was answered.
    pub answered: Option<Instant>,
    /// Its legs, in the order in which they began; at most [`LEGS_MAX`].
    pub legs: Vec<LiveLeg>,
    /// Legs that are not shown for want of room.
    pub legs_left_out: u32,
}

/// A leg of a call.
#[derive(Clone, Debug)]
pub struct LiveLeg {
    /// Its SID.
    pub sid: Box<str>,
    /// It called us.
    pub inbound: bool,
    place: Place,
    /// Who calls.
    pub from: Box<str>,
    /// Who is called.
    pub to: Box<str>,
    /// When it began.
    pub started: Instant,
    /// When it was answered.
    pub answered: Option<Instant>,
    /// How it ended, and when.
    pub ended: Option<(Cause, Instant)>,
}

/// Where a leg is in its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the caller's place: it called, or took that place by a transfer.
    Caller,
    /// There once it is answered.
    Promised,
    Other,
}

impl LiveLeg {
    /// Its state.
    #[must_use]
    pub fn status(&self) -> LegStatus {
        match (self.ended, self.answered) {
            (Some((cause, _)), answered) => cause.status(answered.is_some()),
            (None, Some(_)) => LegStatus::InProgress,
            (None, None) => LegStatus::Ringing,
        }
    }

    /// Its tag on the switch; until it answers, its branch there.
    #[must_use]
    pub fn tag(&self) -> &str {
        match self.place {
            Place::Caller => CALLER,
            Place::Promised | Place::Other => &self.sid,
        }
    }
}

impl LiveCall {
    /// What it has come to, locked: the call waits for whoever holds it, and so does he himself if
    /// he asks again.
    pub fn now(&self) -> MutexGuard<'_, Now> {
        locked(&self.now)
    }
}

impl Now {
    /// The call's state.
    #[must_use]
    pub fn status(&self) -> LegStatus {
        match self.answered {
            Some(_) => LegStatus::InProgress,
            None => LegStatus::Ringing,
        }
    }

    fn leg(&mut self, sid: &str) -> Option<&mut LiveLeg> {
        self.legs.iter_mut().rev().find(|leg| *leg.sid == *sid)
    }

    fn add(&mut self, leg: LiveLeg) {
        if self.legs.len() >= LEGS_MAX {
            self.legs_left_out = self.legs_left_out.saturating_add(1);
            match self.legs.iter().position(|leg| leg.ended.is_some()) {
                Some(oldest) => drop(self.legs.remove(oldest)),
                None => return,
            }
        }
        self.legs.push(leg);
    }
}

impl Board {
    /// A board before a ledger, which is told all that this one is.
    #[must_use]
    pub fn before(next: Arc<dyn Ledger>) -> Self {
        Self {
            next,
            calls: Mutex::default(),
            started: AtomicU64::new(0),
            ended: Default::default(),
        }
    }

    /// The calls, at most `limit`, in no particular order; O(calls).
    #[must_use]
    pub fn calls(&self, limit: usize) -> Vec<Arc<LiveCall>> {
        let calls = locked(&self.calls);
        calls.values().take(limit).map(Arc::clone).collect()
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.calls).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The call of this SID.
    #[must_use]
    pub fn call(&self, sid: &str) -> Option<Arc<LiveCall>> {
        locked(&self.calls).get(sid).map(Arc::clone)
    }

    /// Calls that came in since the start.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Calls that ended since the start, in the order of [`ENDINGS`].
    #[must_use]
    pub fn ended(&self) -> [u64; ENDINGS.len()] {
        self.ended.each_ref().map(|n| n.load(Ordering::Relaxed))
    }
}

impl Ledger for Board {
    fn call_started(&self, call: &CallStarted<'_>) {
        let live = LiveCall {
            sid: call.call.into(),
            from: shown(call.from),
            to: shown(call.to),
            flow: shown(call.flow),
            started: Instant::now(),
            now: Mutex::default(),
        };
        locked(&self.calls).insert(call.call.into(), Arc::new(live));
        self.started.fetch_add(1, Ordering::Relaxed);
        self.next.call_started(call);
    }

    fn leg_started(&self, leg: &LegStarted<'_>) {
        if let Some(call) = self.call(leg.call) {
            let mut now = call.now();
            let place = match leg.instead_of.map(|before| now.leg(before)) {
                Some(Some(before)) if before.place == Place::Caller => Place::Promised,
                None if leg.inbound => Place::Caller,
                _ => Place::Other,
            };
            now.add(LiveLeg {
                sid: leg.leg.into(),
                inbound: leg.inbound,
                place,
                from: shown(leg.from),
                to: shown(leg.to),
                started: Instant::now(),
                answered: None,
                ended: None,
            });
        }
        self.next.leg_started(leg);
    }

    fn applet_begun(&self, call: &str, applet: &str) {
        if let Some(call) = self.call(call) {
            call.now().applet = shown(applet);
        }
        self.next.applet_begun(call, applet);
    }

    fn ringing(&self, call: &str, leg: &str) {
        self.next.ringing(call, leg);
    }

    fn answered(&self, call: &str, leg: &str) {
        if let Some(call) = self.call(call) {
            let (mut now, at) = (call.now(), Some(Instant::now()));
            if let Some(leg) = now.leg(leg) {
                leg.answered = leg.answered.or(at);
                if leg.place != Place::Other {
                    leg.place = Place::Caller;
                    now.answered = now.answered.or(at);
                }
            }
        }
        self.next.answered(call, leg);
    }

    fn leg_ended(&self, call: &str, leg: &str, ending: Ending, quality: Option<&Quality>) {
        if let Some(call) = self.call(call)
            && let Some(leg) = call.now().leg(leg)
        {
            leg.ended
                .get_or_insert_with(|| (ending.cause, Instant::now()));
        }
        self.next.leg_ended(call, leg, ending, quality);
    }

    fn call_ended(&self, call: &CallEnded<'_>) {
        locked(&self.calls).remove(call.call);
        let status = call.ending.cause.status(call.answered);
        let counted = ENDINGS.iter().zip(&self.ended);
        for (_, count) in counted.filter(|(ending, _)| **ending == status) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.next.call_ended(call);
    }

    fn last_agent<'a>(
        &'a self,
        caller: &'a str,
        agents: Vec<String>,
    ) -> BoxFuture<'a, Option<String>> {
        self.next.last_agent(caller, agents)
    }
}

/// What was said, cut where it is too long.
fn shown(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(TEXT_MAX)].into()
}

/// Every step under the lock leaves what it guards whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
