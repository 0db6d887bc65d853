//! Parties joined by command, without offer and answer: of one call, or of two that become one.

use std::sync::{Arc, MutexGuard};
use std::time::{Instant, SystemTime};

use super::call::CallState;
use super::lifecycle::locked;
use super::negotiate::Plan;
use super::recording::Recordings;
use super::registry::SharedCall;
use super::{Switch, SwitchError, masking, negotiate};
use crate::engine::RECORDERS_MAX;

/// Which two parties to join.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Name of the first one's call.
    pub call_id: &'a str,
    /// A tag of the first.
    pub from_tag: &'a str,
    /// Name of the second one's call, if that is another one.
    pub to_call_id: Option<&'a str>,
    /// A tag of the second.
    pub to_tag: &'a str,
}

impl Switch {
    /// Joins two parties as an answer would, each in the codecs and numbers that it has. Whoever
    /// else they talked with is unlinked from them, and they leave the rooms they were in. Parties
    /// of two calls make one call of them, with the timers of the first, known by the ids of both.
    /// Returns what the client should know.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], [`SwitchError::UnknownTag`], [`SwitchError::UnknownToTag`],
    /// [`SwitchError::ConnectToSelf`], [`SwitchError::NothingToConnect`],
    /// [`SwitchError::TagCollision`], more parties or streams than a call may have, or an
    /// overloaded worker; nothing has changed then.
    pub fn connect(&self, c: &Connection<'_>) -> Result<Vec<String>, SwitchError> {
        let result = match c.to_call_id {
            None => self.with_call(c.call_id, |call| self.connect_within(call, c)),
            Some(other) => self.connect_across(c, other),
        };
        self.counted(result)
    }

    fn connect_within(
        &self,
        call: &mut CallState,
        c: &Connection<'_>,
    ) -> Result<Vec<String>, SwitchError> {
        let mut draft = call.dialogue.clone();
        let from = draft.party_by_tag(c.from_tag);
        let to = draft.party_by_tag(c.to_tag);
        let from = from.ok_or(SwitchError::UnknownTag)?;
        let to = to.ok_or(SwitchError::UnknownToTag)?;
        let mut changes = draft.leave_bridges([from, to]);
        let mut joined = negotiate::connect(&mut draft, [from, to])?;
        changes.extend(joined.changes);
        joined
            .warnings
            .extend(masking::follow(&mut draft, &mut changes));
        let recordings = call.recordings.followed(&draft, &mut changes);
        self.submit_change(call, changes, Vec::new())
            .inspect_err(|_| call.recordings.tell_again())?;
        call.dialogue = draft;
        call.recordings = recordings;
        Ok(note(call, c, joined.warnings))
    }

    fn connect_across(&self, c: &Connection<'_>, other: &str) -> Result<Vec<String>, SwitchError> {
        loop {
            let found = [c.call_id, other].map(|id| self.registry.find(id));
            let [Some(first), Some(second)] = found else {
                return Err(SwitchError::UnknownCall);
            };
            if Arc::ptr_eq(&first, &second) {
                return self.with_call(c.call_id, |call| self.connect_within(call, c));
            }
            let [mut into, mut from] = lock_both(&first, &second);
            if !into.dead && !from.dead {
                return self.merge(&first, &mut into, &mut from, c);
            }
            // Somebody is taking one of them out right now, or has merged it into another one.
            let leaves = |dead, id, call| dead && self.registry.is(id, call);
            if leaves(into.dead, c.call_id, &first) || leaves(from.dead, other, &second) {
                return Err(SwitchError::UnknownCall);
            }
        }
    }

    /// Makes one of two calls, and joins a party of each. Whoever waits for the lock of the second
    /// finds it dead, and by its id the first.
    fn merge(
        &self,
        shared: &SharedCall,
        into: &mut CallState,
        from: &mut CallState,
        c: &Connection<'_>,
    ) -> Result<Vec<String>, SwitchError> {
        let mut draft = into.dialogue.clone();
        let by = draft.absorb(&from.dialogue)?;
        let ours = usize::from(by.parties);
        let first = draft.party_by_tag(c.from_tag).filter(|ix| *ix < ours);
        let second = draft.party_by_tag(c.to_tag).filter(|ix| *ix >= ours);
        let first = first.ok_or(SwitchError::UnknownTag)?;
        let second = second.ok_or(SwitchError::UnknownToTag)?;
        let privacy = [&into.dialogue, &from.dialogue];
        let privacy = privacy.map(|talk| talk.privacy.unwrap_or(self.config.privacy));
        let mut changes = negotiate::unite_privacy(&mut draft, privacy);
        changes.extend(draft.leave_bridges([first, second]));
        let mut joined = negotiate::connect(&mut draft, [first, second])?;
        changes.extend(joined.changes);
        joined
            .warnings
            .extend(masking::follow(&mut draft, &mut changes));
        // Who was told of the presses of one of the two is told of all now.
        let mut plan = Plan::default();
        negotiate::listen(&mut draft, &mut plan, self.events.is_wanted());
        changes.extend(plan.changes);
        let recordings = into.recordings.united(&from.recordings, by);
        if recordings.len() > RECORDERS_MAX {
            return Err(SwitchError::TooManyRecordings { max: RECORDERS_MAX });
        }
        let recordings = recordings.followed(&draft, &mut changes);
        let given = (from.worker, from.key);
        let name = self.registry.id_of(given.0, given.1);
        let name = name.ok_or(SwitchError::UnknownCall)?;
        let taken = (into.worker, into.key);
        self.registry
            .hand_over(given, taken, (by.streams, by.parties), changes)
            .inspect_err(|_| {
                into.recordings.tell_again();
                from.recordings.tell_again();
            })?;
        into.dialogue = draft;
        into.recordings = recordings;
        from.recordings = Recordings::default();
        into.absorb(from, name, by);
        from.dead = true;
        for alias in &into.aliases {
            self.registry.rename(&alias.id, shared);
        }
        Ok(note(into, c, joined.warnings))
    }
}

/// The parties go on together: a delete that waits for its delay was about what they were before.
fn note(call: &mut CallState, c: &Connection<'_>, warnings: Vec<String>) -> Vec<String> {
    call.last_signal = SystemTime::now();
    call.note_with(
        Instant::now(),
        "connect",
        c.from_tag,
        None,
        warnings.clone(),
    );
    warnings
}

/// Locks two calls in one order, whichever is first: somebody may join them the other way round.
fn lock_both<'a>(first: &'a SharedCall, second: &'a SharedCall) -> [MutexGuard<'a, CallState>; 2] {
    if Arc::as_ptr(first) < Arc::as_ptr(second) {
        let first = locked(first);
        [first, locked(second)]
    } else {
        let second = locked(second);
        [locked(first), second]
    }
}
