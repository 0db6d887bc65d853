//! What is told of calls over HTTP, as JSON.

use serde::{Deserialize, Serialize};

/// Calls, and what the switch does besides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// What all of it comes to.
    pub totals: Totals,
    /// Calls that the filter lets through.
    pub matched: usize,
    /// There are more calls than [`SCAN_MAX`](super::SCAN_MAX): some were not looked at.
    pub partial: bool,
    /// Those asked for.
    pub calls: Vec<Row>,
}

/// What a switch does and did. What is not of now only grows, from the switch's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Calls now, by ng and by SIP.
    pub calls: u64,
    /// Most calls at a time.
    pub calls_max: u64,
    /// No new calls are taken.
    pub draining: bool,
    /// Media ports in use.
    pub ports_used: u64,
    /// Media ports that are free.
    pub ports_free: u64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Calls whose media began, by ng and by SIP.
    pub created: u64,
    /// Calls of flows that were completed: answered, and hung up.
    pub completed: u64,
    /// Calls of flows that ended as busy.
    pub busy: u64,
    /// Calls of flows that nobody answered.
    pub no_answer: u64,
    /// Calls of flows that failed.
    pub failed: u64,
    /// Calls of flows whose caller hung up first.
    pub canceled: u64,
    /// Datagrams of media received.
    pub packets_in: u64,
    /// Datagrams of media sent.
    pub packets_out: u64,
    /// Datagrams of media dropped.
    pub packets_dropped: u64,
}

/// A call in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its SID, or ng's `call-id`.
    pub sid: String,
    /// `ringing` or `in-progress`.
    pub status: String,
    /// Who calls; empty where only a proxy knows.
    pub from: String,
    /// What was called; likewise.
    pub to: String,
    /// Its flow; empty: ng controls it.
    pub flow: String,
    /// Where in its flow it is.
    pub applet: String,
    /// Milliseconds since it began.
    pub age_ms: u64,
    /// Milliseconds since its caller was answered.
    pub talk_ms: Option<u64>,
    /// Legs that live.
    pub legs: usize,
}

/// A call with its legs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// The call.
    #[serde(flatten)]
    pub call: Row,
    /// Its legs.
    pub parties: Vec<Leg>,
    /// Legs that are not shown for want of room.
    pub legs_left_out: u32,
    /// What is recorded of it now.
    pub recordings: Vec<Recording>,
}

/// A leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Its SID, or its tag.
    pub sid: String,
    /// `inbound` or `outbound-dial`; empty: by ng.
    pub direction: String,
    /// Who it is; empty where only a proxy knows.
    pub number: String,
    /// Its state.
    pub status: String,
    /// SIP status code of its end.
    pub cause: Option<u16>,
    /// Milliseconds since it began.
    pub age_ms: u64,
    /// Milliseconds from its answer to now or its end.
    pub talk_ms: Option<u64>,
    /// Its media, while it has any.
    pub media: Option<Media>,
}

/// What is received of a leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The codec it speaks, as `PCMU/8000`.
    pub codec: String,
    /// RTP packets received.
    pub received: u64,
    /// Those that never came.
    pub lost: u64,
    /// Jitter in microseconds.
    pub jitter_us: u32,
    /// Estimated mean opinion score; `None`: too little came.
    pub mos: Option<f32>,
    /// RTP packets sent to it.
    pub sent: u64,
    /// Milliseconds since its last packet; `None`: none came.
    pub quiet_ms: Option<u64>,
}

/// Something that is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Path in the directory of recordings.
    pub path: String,
    /// It is paused.
    pub paused: bool,
}
