//! A call as a report.

use std::time::{Instant, SystemTime};

use smallvec::SmallVec;

use super::bridges::Bridges;
use super::call::{CallState, Signal};
use super::listener::Listener;
use super::party::{LegMedia, Party};
use super::recording::RecordingState;
use crate::engine::{CallReport, StreamIx, StreamReport};

/// A call as it stands or stood: who is who, and what the worker measured.
#[derive(Debug)]
pub struct Snapshot {
    /// The call's id.
    pub call_id: Box<str>,
    /// Wall time of creation.
    pub created: SystemTime,
    /// Monotonic time of creation.
    pub created_at: Instant,
    /// Wall time of the latest offer or answer.
    pub last_signal: SystemTime,
    /// Its parties.
    pub parties: Vec<Party>,
    /// Who is mixed with whom.
    pub bridges: Bridges,
    /// Those that only listen.
    pub listeners: Vec<Listener>,
    /// What is recorded of it.
    pub recordings: Vec<RecordingState>,
    /// What was signalled.
    pub history: Vec<Signal>,
    /// Signalling entries that no longer fitted.
    pub history_dropped: u32,
    /// The worker's side.
    pub report: CallReport,
    /// Pairs wall and monotonic time.
    pub taken: (SystemTime, Instant),
}

/// What is to be seen of a call without asking its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// The call's id.
    pub call_id: Box<str>,
    /// When it was created.
    pub created_at: Instant,
    /// Its parties, but for those that were closed.
    pub parties: usize,
    /// The SDP of two of them is known, or one came alone.
    pub answered: bool,
}

impl Sketch {
    /// `None`: it is over, or `id` is another name of it.
    pub(super) fn of(id: Box<str>, call: &CallState) -> Option<Self> {
        if call.dead || call.aliases.iter().any(|alias| alias.id == id) {
            return None;
        }
        let parties = &call.dialogue.parties;
        Some(Self::new(id, call.created_at, parties))
    }

    fn new(call_id: Box<str>, created_at: Instant, all: &[Party]) -> Self {
        let (mut parties, mut known, mut alone) = (0, 0, false);
        for party in all.iter().filter(|party| !party.closed) {
            parties += 1;
            known += usize::from(party.has_sdp);
            alone |= party.published;
        }
        Self {
            call_id,
            created_at,
            parties,
            answered: known >= 2 || alone,
        }
    }
}

impl Snapshot {
    /// Wall time of a monotonic one.
    pub fn wall(&self, at: Instant) -> SystemTime {
        let (wall, mono) = self.taken;
        mono.checked_duration_since(at)
            .map_or(wall, |ago| wall - ago)
    }
}

impl Snapshot {
    pub(super) fn of(call_id: &str, call: &CallState) -> Self {
        let now = Instant::now();
        let talk = &call.dialogue;
        Self {
            call_id: call_id.into(),
            created: call.created,
            created_at: call.created_at,
            last_signal: call.last_signal,
            parties: talk.parties.clone(),
            bridges: talk.bridges.clone(),
            listeners: talk
                .open_listeners()
                .map(|(_, listener)| listener.clone())
                .collect(),
            recordings: call.recordings.states(),
            history: call.history.clone(),
            history_dropped: call.history_dropped,
            report: CallReport::empty(call.created_at),
            taken: (SystemTime::now(), now),
        }
    }

    pub(super) fn with(mut self, report: CallReport) -> Self {
        self.report = report;
        self
    }

    /// The call without what its worker knows.
    pub fn sketch(&self) -> Sketch {
        Sketch::new(self.call_id.clone(), self.created_at, &self.parties)
    }

    /// The worker's view of one line of a party.
    pub fn stream(&self, line: &LegMedia) -> Option<&StreamReport> {
        line.stream
            .and_then(|StreamIx(ix)| self.report.streams.get(usize::from(ix)))
    }

    /// Streams of all parties, for callers that only count.
    pub fn lines(&self) -> SmallVec<[&LegMedia; 4]> {
        self.parties.iter().flat_map(|p| p.medias.iter()).collect()
    }
}
