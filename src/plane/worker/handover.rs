//! A call on its way from one worker to another.
//!
//! A hand-over has two ends, made together. The one worker gives: it takes the call out of its
//! table, with its sockets, and puts both into a place for one. The other takes: while the place is
//! empty it takes no further command, but goes on moving packets. Both commands are queued in one
//! step ([`WorkerHandle::submit_handover`]), the giving one first, so that two workers never wait
//! for each other: of all takings the one that was queued first has its giving before it.
//!
//! What arrives meanwhile waits in the kernel's socket buffers.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Command, Placed, SubmitError, WorkerHandle};
use crate::engine::{Call, CallKey, Change, StreamIx};
use crate::plane::notify::Notify;

/// How long a worker waits for a call that another one was told to hand over. It takes as long as
/// the other needs for the commands before; only a worker that has died takes longer than this.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(2);

/// The end that gives. Dropping it without giving is a refusal.
#[derive(Debug)]
pub struct Giver {
    place: Option<rtrb::Producer<Moved>>,
    taker: Arc<Notify>,
}

/// The end that takes.
#[derive(Debug)]
pub struct Taker {
    place: rtrb::Consumer<Moved>,
}

/// A call with its sockets.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) call: Box<Call>,
    pub(super) sockets: Vec<Placed>,
}

/// What [`Taker::take`] found.
#[derive(Debug)]
pub(super) enum Taken {
    Here(Moved),
    NotYet,
    Never,
}

/// A call to be taken in, and what to do with it.
#[derive(Debug)]
pub struct Absorption {
    /// The call that takes it in.
    pub key: CallKey,
    /// Where it comes from.
    pub from: Taker,
    /// What its first stream becomes.
    pub first: StreamIx,
    /// By how much the numbers of its legs grow.
    pub legs: u16,
    /// Applied afterwards, as by [`Command::Change`].
    pub changes: Vec<Change>,
}

/// An absorption that waits for its call.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) absorption: Absorption,
    pub(super) since: Instant,
}

impl Giver {
    /// Gives; `Err` gives back what nobody waits for any more.
    pub(super) fn give(mut self, moved: Moved) -> Result<(), Moved> {
        let Some(place) = self.place.as_mut().filter(|place| !place.is_abandoned()) else {
            return Err(moved);
        };
        place
            .push(moved)
            .map_err(|rtrb::PushError::Full(moved)| moved)
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        drop(self.place.take());
        self.taker.notify();
    }
}

impl Taker {
    pub(super) fn take(&mut self) -> Taken {
        // Asked first: what was given before the other end went is still there.
        let never = self.place.is_abandoned();
        match self.place.pop() {
            Ok(moved) => Taken::Here(moved),
            Err(_) if never => Taken::Never,
            Err(_) => Taken::NotYet,
        }
    }
}

impl Moved {
    /// The sockets alone.
    pub(super) fn apart(self) -> (Box<Call>, Vec<UdpSocket>) {
        let sockets = self.sockets.into_iter().map(|(_, _, socket)| socket);
        (self.call, sockets.collect())
    }
}

impl WorkerHandle {
    /// The two ends of a hand-over to this worker.
    #[must_use]
    pub fn handover(&self) -> (Giver, Taker) {
        let (place, taken) = rtrb::RingBuffer::new(1);
        let giver = Giver {
            place: Some(place),
            taker: self.shared.wake.clone(),
        };
        (giver, Taker { place: taken })
    }

    /// Tells one worker to give up call `given`, and another one, or the same, to take it in: both
    /// or neither. Wake both afterwards.
    ///
    /// # Errors
    /// One of the queues is full or one of the workers is gone.
    pub fn submit_handover(
        from: &Self,
        given: CallKey,
        into: &Self,
        absorption: impl FnOnce(Taker) -> Absorption,
    ) -> Result<(), SubmitError> {
        let (giver, taker) = into.handover();
        let surrender = Command::Surrender {
            key: given,
            to: giver,
        };
        let absorb = Command::Absorb(absorption(taker));
        if std::ptr::eq(from, into) {
            return from.push_all([surrender, absorb]);
        }
        // Always in one order, as another thread may hand over the other way round.
        let swap = std::ptr::from_ref(from) > std::ptr::from_ref(into);
        let (first, second) = if swap { (into, from) } else { (from, into) };
        let (mut first, mut second) = (first.queue(), second.queue());
        let (giving, taking) = if swap {
            (&mut second, &mut first)
        } else {
            (&mut first, &mut second)
        };
        from.has_room(giving, 1, surrender).and_then(|surrender| {
            let absorb = into.has_room(taking, 1, absorb)?;
            push(giving, surrender)?;
            push(taking, absorb)
        })
    }

    fn push_all(&self, [a, b]: [Command; 2]) -> Result<(), SubmitError> {
        let mut queue = self.queue();
        let a = self.has_room(&queue, 2, a)?;
        push(&mut queue, a)?;
        push(&mut queue, b)
    }

    /// Gives the command back if there is room for `slots` more, as an error if not. Only the
    /// holder of the queue can take that room away.
    fn has_room(
        &self,
        queue: &rtrb::Producer<Command>,
        slots: usize,
        command: Command,
    ) -> Result<Command, SubmitError> {
        if queue.is_abandoned() || self.shared.stopping.load(Ordering::Relaxed) {
            return Err(SubmitError::Stopped(command));
        }
        if queue.slots() < slots {
            self.shared.counters.submit.refused.increment();
            return Err(SubmitError::Full(command));
        }
        Ok(command)
    }
}

fn push(queue: &mut rtrb::Producer<Command>, command: Command) -> Result<(), SubmitError> {
    queue
        .push(command)
        .map_err(|rtrb::PushError::Full(command)| SubmitError::Full(command))
}
