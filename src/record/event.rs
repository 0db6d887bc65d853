//! What happens to recordings, for whoever asked for them.

use std::time::Duration;

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was told to.
    Commanded,
    /// Its call, or all its legs, went.
    CallEnded,
    /// [`length_max`](super::config::RecordingConfig::length_max).
    LengthMax,
    /// [`silence_max`](super::config::RecordingConfig::silence_max).
    Silence,
    /// The key that ends it was pressed.
    FinishKey,
    /// The process was killed; it was closed at the next start.
    Recovered,
}

/// Something happened to a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingEvent {
    /// The call.
    pub call_id: Box<str>,
    /// Path of the recording in the recordings' directory: its name everywhere.
    pub path: Box<str>,
    /// What.
    pub kind: RecordingEventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordingEventKind {
    /// The file was begun.
    Started,
    /// Sound was lost to a slow, full or dead disk, or to a slow recorder, over this time of the
    /// recording; silence stands there.
    Lost {
        /// Since the recording's beginning.
        from: Duration,
        /// Since the recording's beginning.
        until: Duration,
        /// Why, in words.
        error: Box<str>,
    },
    /// The file is closed and has its name.
    Completed {
        /// Why it ended.
        reason: StopReason,
        /// Time in the file.
        length: Duration,
        /// Octets.
        bytes: u64,
        /// SHA-256 of the whole file, in hexadecimal.
        sha256: Box<str>,
        /// Head of the chain of segments, in hexadecimal.
        chain: Box<str>,
    },
    /// It was thrown away by command.
    Discarded,
    /// It is where it was to be kept, and verified there.
    Available {
        /// Where.
        url: Box<str>,
    },
    /// It could not be written, or not be brought where it is to be kept. What there is stays.
    Failed {
        /// Why, in words.
        error: Box<str>,
    },
}
