//! What the control side remembers of a call: who is who, its ports, and its signalling history.
//!
//! Media state lives with the worker. One mutex per call guards this and is never held across an
//! await.

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

use super::dialing::PendingDigits;
use super::dialogue::Dialogue;
use super::gather::Gathers;
use super::party::Party;
use super::recording::Recordings;
use crate::engine::{CallKey, StreamIx};
use crate::plane::interface::PortLease;

/// Most signalling entries a call remembers for `why`.
pub(super) const HISTORY_MAX: usize = 12;
/// Most SDP bytes kept per entry.
pub(super) const HISTORY_SDP_MAX: usize = 2048;

/// A call, seen from the control side.
#[derive(Debug)]
pub struct CallState {
    /// Its name in its worker.
    pub key: CallKey,
    /// Which worker owns it.
    pub worker: usize,
    /// Wall time of creation.
    pub created: SystemTime,
    /// Monotonic time of creation.
    pub created_at: Instant,
    /// Wall time of the latest offer or answer.
    pub last_signal: SystemTime,
    /// Removed from the registry, or merged into another call: a command that waited for the lock
    /// has to look again.
    pub dead: bool,
    /// The worker has it.
    pub inserted: bool,
    /// Who talks with whom.
    pub dialogue: Dialogue,
    /// Its ports; they outlive the sockets, which the worker has.
    pub leases: Vec<(StreamIx, PortLease)>,
    /// The calls that were merged into it; their names are its names.
    pub aliases: Vec<Alias>,
    /// What was signalled.
    pub history: Vec<Signal>,
    /// Signalling entries that no longer fitted.
    pub history_dropped: u32,
    /// Who waits for what is gathered.
    pub gathers: Gathers,
    /// What is being pressed for whom.
    pub digits: PendingDigits,
    /// What is recorded of it.
    pub recordings: Recordings,
    /// What was ordered to be played or stopped, in order: the number of the latest order, and that
    /// of each stream.
    pub orders: (u64, HashMap<StreamIx, u64>),
}

/// A call that is now part of another one.
#[derive(Clone, Debug)]
pub struct Alias {
    /// Its id, by which the other is known too.
    pub id: Box<str>,
    /// Its worker and its name there, before.
    pub place: (usize, CallKey),
    /// How much further on its streams are now.
    pub by: u16,
}

impl CallState {
    /// Whether a worker means this call, or a part of it, by a name.
    pub fn is(&self, place: (usize, CallKey)) -> bool {
        (self.worker, self.key) == place || self.aliases.iter().any(|alias| alias.place == place)
    }

    /// What a stream is now that a worker means by a name of this call, or of a part of it: what a
    /// worker said before a call was merged is read after it. `None`: another call is meant.
    pub fn stream_of(&self, place: (usize, CallKey), stream: StreamIx) -> Option<StreamIx> {
        if (self.worker, self.key) == place {
            return Some(stream);
        }
        let alias = self.aliases.iter().find(|alias| alias.place == place)?;
        Some(stream.after(alias.by))
    }

    /// The ports of closed parties, whose sockets are closed now.
    pub fn free_closed(&mut self) {
        let talk = &mut self.dialogue;
        let listeners = talk.listeners.iter().map(|listener| &listener.party);
        let parties = talk.parties.iter().chain(listeners);
        let closed = parties.filter(|p| p.closed).flat_map(Party::streams);
        let closed: Vec<StreamIx> = closed.collect();
        self.leases.retain(|(stream, _)| !closed.contains(stream));
        talk.listeners.retain(|listener| !listener.party.closed);
    }

    /// Numbers an order to play or to stop, which overtakes all before it on these streams.
    pub fn order(&mut self, streams: impl Iterator<Item = StreamIx>) -> u64 {
        let (latest, of_stream) = &mut self.orders;
        *latest += 1;
        of_stream.extend(streams.map(|stream| (stream, *latest)));
        *latest
    }

    /// Whether a later order came for a stream.
    pub fn is_overtaken(&self, order: u64, stream: StreamIx) -> bool {
        self.orders.1.get(&stream).is_some_and(|at| *at > order)
    }

    /// Remembers what was signalled, for `why`.
    pub fn note(&mut self, at: Instant, what: &'static str, tag: &str, sdp: Option<&[u8]>) {
        self.note_with(at, what, tag, sdp, Vec::new());
    }

    /// As [`Self::note`], with what the sender was warned of.
    pub fn note_with(
        &mut self,
        at: Instant,
        what: &'static str,
        tag: &str,
        sdp: Option<&[u8]>,
        warnings: Vec<String>,
    ) {
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
            self.history_dropped += 1;
        }
        let sdp = sdp.map(|s| {
            let cut = &s[..s.len().min(HISTORY_SDP_MAX)];
            String::from_utf8_lossy(cut).into_owned().into_boxed_str()
        });
        self.history.push(Signal {
            at,
            what,
            tag: tag.into(),
            sdp,
            warnings,
        });
    }
}

/// One line of a call's signalling history.
#[derive(Clone, Debug)]
pub struct Signal {
    /// When.
    pub at: Instant,
    /// `offer`, `answer`, `block media`, …
    pub what: &'static str,
    /// Tag of the party it came from.
    pub tag: Box<str>,
    /// The SDP as received, cut at `HISTORY_SDP_MAX` bytes.
    pub sdp: Option<Box<str>>,
    /// What its sender was warned of.
    pub warnings: Vec<String>,
}
