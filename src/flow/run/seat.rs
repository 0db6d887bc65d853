//! Who sits where: which leg is in which call, and what the tasks that watch legs are told when
//! somebody else takes a place.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot};

use super::live::{Branch, Live};
use crate::sip::{Cause, EndedBy, Ending, LegEvents, LegId};

/// Commands that wait for the task of a leg; more are refused.
pub(super) const COMMANDS_MAX: usize = 4;

/// A place in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Callee,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// Somebody who sits in a place now.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) branch: Branch,
    pub(super) events: LegEvents,
    unwatched: Unwatched,
}

impl Newcomer {
    /// Its leg is written down as begun.
    pub(super) fn new(live: &Arc<Live>, branch: Branch, events: LegEvents) -> Self {
        let unwatched = Unwatched {
            live: Arc::clone(live),
            leg: branch.leg.clone(),
            cause: Some(Cause::HANG_UP),
        };
        Self {
            branch,
            events,
            unwatched,
        }
    }

    /// For whoever tells from now on how its leg ends.
    pub(super) fn watched(mut self) -> (Branch, LegEvents) {
        self.unwatched.cause = None;
        (self.branch, self.events)
    }

    /// It does not sit there after all.
    pub(super) fn ends(mut self, cause: Cause) {
        self.unwatched.cause = Some(cause);
    }
}

/// A leg that began and that nobody watches yet: dropping it tells that the leg has ended.
struct Unwatched {
    live: Arc<Live>,
    leg: String,
    /// `None`: it is watched.
    cause: Option<Cause>,
}

impl fmt::Debug for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unwatched").finish_non_exhaustive()
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(cause) = self.cause {
            let by = EndedBy::Us;
            let ledger = &self.live.desk.ledger;
            ledger.leg_ended(&self.live.sid, &self.leg, Ending { cause, by }, None);
        }
    }
}

/// What the task that watches a leg is told.
#[derive(Debug)]
pub(super) enum Command {
    /// The leg goes to another call: its events are given away. Then it is waited for what came of
    /// it, for the call of the leg ends with that.
    Release {
        to: oneshot::Sender<LegEvents>,
        done: oneshot::Receiver<()>,
    },
    /// Another one sits here.
    Adopt(Box<Newcomer>),
}

/// All legs of a runner, and the calls that they are in.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<LegId, (Weak<Live>, String)>>);

impl Places {
    fn all(&self) -> MutexGuard<'_, HashMap<LegId, (Weak<Live>, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call that a leg is in, and its SID there.
    pub(super) fn find(&self, leg: LegId) -> Option<(Arc<Live>, String)> {
        let all = self.all();
        let (live, sid) = all.get(&leg)?;
        Some((live.upgrade()?, sid.clone()))
    }
}

/// A leg is in a call. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Placed {
    places: Arc<Places>,
    leg: LegId,
    sid: String,
}

impl Placed {
    pub(super) fn new(live: &Arc<Live>, leg: LegId, sid: &str) -> Self {
        let places = Arc::clone(&live.desk.places);
        let place = (Arc::downgrade(live), sid.to_owned());
        places.all().insert(leg, place);
        let sid = sid.to_owned();
        Self { places, leg, sid }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let mut all = self.places.all();
        // It may be in another call by now.
        if all.get(&self.leg).is_some_and(|(_, sid)| *sid == self.sid) {
            all.remove(&self.leg);
        }
    }
}

/// What the task that watches the caller hears.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) events: LegEvents,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) placed: Placed,
}

impl Inbox {
    pub(super) fn new(
        live: &Arc<Live>,
        events: LegEvents,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let (leg, sid) = live.caller();
        Self {
            events,
            commands,
            placed: Placed::new(live, leg.id(), &sid),
        }
    }
}
