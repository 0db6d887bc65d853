//! What the recorder counts. Many threads write, any number read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The recorder's counters. All grow only, except where said.
#[derive(Debug, Default)]
pub struct RecordCounters {
    /// Recordings in progress, or being closed, now (a level, not a count).
    pub live: AtomicU64,
    /// Recordings begun.
    pub begun: AtomicU64,
    /// Recordings completed, recovered ones included.
    pub completed: AtomicU64,
    /// Completed ones that a crash had left.
    pub recovered: AtomicU64,
    /// Recordings thrown away by command.
    pub discarded: AtomicU64,
    /// Recordings that could not be written, completed or recovered.
    pub failed: AtomicU64,
    /// Recordings refused because of a limit.
    pub refused: AtomicU64,
    /// Commands that did not fit, for somebody commanded more in a moment than anybody does.
    pub commands_dropped: AtomicU64,
    /// Octets written to recordings.
    pub bytes: AtomicU64,
    /// Samples of each channel for which silence stands, for the disk did not take them.
    pub samples_lost: AtomicU64,
    /// Octets of journals that the disk did not take.
    pub journal_lost: AtomicU64,
    /// Failures to write, each retry that fails included.
    pub write_errors: AtomicU64,
    /// Longest time that one write took, in milliseconds (a maximum).
    pub stall_max_ms: AtomicU64,
}

pub(in crate::record) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl RecordCounters {
    pub(in crate::record) fn stalled(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.stall_max_ms.fetch_max(ms, Ordering::Relaxed);
    }

    pub(in crate::record) fn ended(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}
