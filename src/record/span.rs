//! What is not simply the sound that was sent: where, and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::TrackIx;

/// Why a stretch of a recording is not what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Packets were lost on the way, and the gap was filled by concealment.
    Concealed,
    /// Packets were lost on the way, or could not be decoded, and silence stands there.
    Lost,
    /// The recorder was too slow, and silence stands for what came meanwhile.
    Overrun,
    /// The disk was full, dead or slow, and silence stands there.
    Unwritten,
    /// The party sent nothing (discontinuous transmission, hold), and silence or comfort noise
    /// stands there.
    Silent,
    /// The recording was paused.
    Paused,
    /// Keys were taken out of the sound.
    Masked,
    /// A key was down. Which one is not said.
    Pressed,
}

/// One stretch of time, since the recording's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of which track; `None`: of all.
    pub track: Option<TrackIx>,
    /// Why.
    pub kind: SpanKind,
    /// Where it begins.
    pub from: Duration,
    /// Where it ends.
    pub until: Duration,
}
