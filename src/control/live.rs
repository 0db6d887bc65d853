//! Calls that live now, as they are shown over HTTP: a part of a sorted list, and one with its legs
//! and their quality. Those that flows carry are known with their numbers; of those that a proxy
//! controls by ng, there are ids and parties.

mod one;
#[cfg(test)]
mod tests;
pub mod view;

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::flow::board::{Board, ENDINGS, LiveCall};
use crate::sip::LegStatus;
use crate::switch::{Sketch, Switch};
pub use one::whole;
use view::{List, Row, Totals};

/// Most calls of one answer.
pub const LIST_MAX: usize = 500;

/// Calls of an answer to a request that names no `limit`.
pub const LIST_DEFAULT: usize = 100;

/// Most calls of each kind that are looked at for one answer.
pub const SCAN_MAX: usize = 50_000;

/// Longest filter, in octets.
pub const FILTER_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Only calls with this in their SID, numbers, flow, applet or status, in any case; at most
    /// [`FILTER_MAX`] octets.
    pub filter: String,
    /// Which come first.
    pub sort: Sort,
    /// So many are left out first.
    pub offset: usize,
    /// Most calls of the answer, at most [`LIST_MAX`].
    pub limit: Option<usize>,
}

/// Which calls come first; where it is the same, the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Those that began last.
    #[default]
    Newest,
    /// Those that began first.
    Oldest,
    /// By who calls.
    From,
    /// By what was called.
    To,
    /// By flow and applet.
    Flow,
    /// Those that ring, then those in progress.
    Status,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Newest,
        Self::Oldest,
        Self::From,
        Self::To,
        Self::Flow,
        Self::Status,
    ];

    /// As it is spelt in a query.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::From => "from",
            Self::To => "to",
            Self::Flow => "flow",
            Self::Status => "status",
        }
    }
}

/// A call of either kind, before anybody knows whether it is shown.
enum Found {
    Flow(Arc<LiveCall>),
    Ng(Sketch),
}

impl Found {
    fn began(&self) -> Instant {
        match self {
            Self::Flow(call) => call.started,
            Self::Ng(call) => call.created_at,
        }
    }

    fn status(&self) -> LegStatus {
        match self {
            Self::Flow(call) => call.now().status(),
            Self::Ng(Sketch { answered: true, .. }) => LegStatus::InProgress,
            Self::Ng(_) => LegStatus::Ringing,
        }
    }

    /// Whether `part`, in lower case, is in what is shown of it.
    fn has(&self, part: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(part);
        has(self.status().label())
            || match self {
                Self::Flow(call) => {
                    let texts = [&call.sid, &call.from, &call.to, &call.flow];
                    texts.into_iter().any(|text| has(text)) || has(&call.now().applet)
                }
                Self::Ng(call) => has(&call.call_id),
            }
    }

    /// What it is sorted by, if that is a text.
    fn key(&self, sort: Sort) -> (Box<str>, Box<str>) {
        let none = Box::<str>::default;
        match (sort, self) {
            (Sort::Newest | Sort::Oldest, _) => (none(), none()),
            (Sort::Status, found) if found.status() == LegStatus::Ringing => (none(), none()),
            (Sort::Status, _) => ("1".into(), none()),
            (Sort::From, Self::Flow(call)) => (call.from.clone(), none()),
            (Sort::To, Self::Flow(call)) => (call.to.clone(), none()),
            (Sort::Flow, Self::Flow(call)) => (call.flow.clone(), call.now().applet.clone()),
            (_, Self::Ng(call)) => (none(), call.call_id.clone()),
        }
    }

    fn row(&self, now: Instant) -> Row {
        match self {
            Self::Flow(call) => of_flow(call, now),
            Self::Ng(call) => of_ng(call, now),
        }
    }
}

fn of_flow(call: &LiveCall, now: Instant) -> Row {
    let state = call.now();
    Row {
        sid: call.sid.to_string(),
        status: state.status().label().to_owned(),
        from: call.from.to_string(),
        to: call.to.to_string(),
        flow: call.flow.to_string(),
        applet: state.applet.to_string(),
        age_ms: ms_between(call.started, now),
        talk_ms: state.answered.map(|at| ms_between(at, now)),
        legs: state.legs.iter().filter(|leg| leg.ended.is_none()).count(),
    }
}

fn of_ng(call: &Sketch, now: Instant) -> Row {
    let status = match call.answered {
        true => LegStatus::InProgress,
        false => LegStatus::Ringing,
    };
    Row {
        sid: call.call_id.to_string(),
        status: status.label().to_owned(),
        age_ms: ms_between(call.created_at, now),
        legs: call.parties,
        ..Row::default()
    }
}

fn ms_between(from: Instant, to: Instant) -> u64 {
    ms(to.saturating_duration_since(from))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The calls that `query` asks for; O(calls), at most [`SCAN_MAX`] of each kind.
#[must_use]
pub fn list(switch: &Switch, board: Option<&Board>, query: &Query) -> List {
    let now = Instant::now();
    let of_flows = board.map_or_else(Vec::new, |board| board.calls(SCAN_MAX + 1));
    let known: HashSet<&str> = of_flows.iter().map(|call| &*call.sid).collect();
    let by_ng = switch.sketches(SCAN_MAX + 1, |id| !known.contains(id));
    let partial = of_flows.len() > SCAN_MAX || by_ng.len() > SCAN_MAX;
    let calls = match partial {
        true => switch.calls().max(of_flows.len()),
        false => of_flows.len() + by_ng.len(),
    };
    let of_flows = of_flows.iter().take(SCAN_MAX).cloned().map(Found::Flow);
    let found = of_flows.chain(by_ng.into_iter().take(SCAN_MAX).map(Found::Ng));
    let filter = query.filter.to_lowercase();
    let found: Vec<Found> = found
        .filter(|call| filter.is_empty() || call.has(&filter))
        .collect();
    let matched = found.len();
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    let part = part(found, query.sort, query.offset, limit);
    List {
        totals: totals(switch, board, calls as u64),
        matched,
        partial,
        calls: part.iter().map(|call| call.row(now)).collect(),
    }
}

/// Sorts no more than the part that is shown.
fn part(found: Vec<Found>, sort: Sort, offset: usize, limit: usize) -> Vec<Found> {
    let mut keyed: Vec<_> = found
        .into_iter()
        .map(|call| (call.key(sort), call))
        .collect();
    type Keyed = ((Box<str>, Box<str>), Found);
    let order = |(a, call): &Keyed, (b, other): &Keyed| -> Ordering {
        let (began, other) = (call.began(), other.began());
        a.cmp(b).then_with(|| match sort {
            Sort::Oldest => began.cmp(&other),
            _ => Reverse(began).cmp(&Reverse(other)),
        })
    };
    let end = offset.saturating_add(limit).min(keyed.len());
    let begin = offset.min(end);
    if end < keyed.len() {
        keyed.select_nth_unstable_by(end, order);
        keyed.truncate(end);
    }
    keyed.sort_by(order);
    keyed.drain(begin..).map(|(_, call)| call).collect()
}

fn totals(switch: &Switch, board: Option<&Board>, calls: u64) -> Totals {
    let workers = || switch.worker_counters();
    let usage = switch.site().usage();
    let ended = board.map_or([0; ENDINGS.len()], Board::ended);
    let [completed, busy, no_answer, failed, canceled] = ended;
    let dropped = workers().flat_map(|w| w.drops.iter());
    Totals {
        calls,
        calls_max: switch.max_calls() as u64,
        draining: switch.is_draining(),
        ports_used: usage.iter().map(|u| u.used as u64).sum(),
        ports_free: usage.iter().map(|u| u.free as u64).sum(),
        uptime_ms: ms(switch.uptime()),
        created: switch.counters().created.load(Relaxed),
        completed,
        busy,
        no_answer,
        failed,
        canceled,
        packets_in: workers().map(|w| w.packets_in.get()).sum(),
        packets_out: workers().map(|w| w.packets_out.get()).sum(),
        packets_dropped: dropped.map(|count| count.get()).sum(),
    }
}
