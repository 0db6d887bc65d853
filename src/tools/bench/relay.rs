//! `bench relay`: forwarding.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::generator::{PACKET_INTERVAL, Parties, Plan};
use super::load::{self, Languages, Load};
use super::marked::{Marked, Outcome};
use super::process::{Division, Subject};
use super::report::{Bar, Row};
use super::{Experiment, RelayArgs, percentiles, shown};

/// What is shown, where it stands in a run's result, and what is asked of it.
const ROWS: [Row; 15] = [
    Row::new("packets lost", "/lost", "", 0).bar(Bar::Zero),
    Row::new("duplicated", "/duplicate", "", 0).bar(Bar::Zero),
    Row::new("reordered", "/reordered", "", 0).bar(Bar::Zero),
    Row::new("misrouted", "/misrouted", "", 0).bar(Bar::Zero),
    Row::new("RTP clock broken", "/discontinuous", "", 0).bar(Bar::Zero),
    Row::new("CPU per packet", "/switch_us_per_packet", "us", 2).bar(Bar::RatioAtMost(0.60)),
    Row::new("share of a core", "/switch_core_pct", "%", 1),
    Row::new(
        "whole machine per packet",
        "/machine_us_per_packet",
        "us",
        2,
    ),
    Row::new("latency p50", "/latency_us/p50", "us", 0),
    Row::new("latency p99", "/latency_us/p99", "us", 0).bar(Bar::RatioAtMost(1.0)),
    Row::new("latency p99.9", "/latency_us/p99_9", "us", 0),
    Row::new("latency max", "/latency_us/max", "us", 0),
    Row::new("memory per call", "/rss_kb_per_call", "kB", 1).bar(Bar::AtMost(16.0)),
    Row::new("generator's share of a core", "/generator_core_pct", "%", 1),
    Row::new("generator lag max", "/generator_lag_max_us", "us", 0),
];

/// Measures and prints.
pub(super) fn run(args: &RelayArgs) -> Result<()> {
    let subjects = super::subjects(&args.common)?;
    let experiment = Experiment {
        kind: "relay",
        title: format!(
            "relay: {} two-party calls, {} packet/s, {} s measured, median of {} runs (min-max)",
            args.calls,
            u128::from(args.calls) * 2_000 / PACKET_INTERVAL.as_millis(),
            args.secs,
            args.common.runs,
        ),
        rows: &ROWS,
        parameters: json!({
            "calls": args.calls, "secs": args.secs, "warm": args.warm, "runs": args.common.runs,
        }),
        calls_max: args.calls,
    };
    let mut parties = None;
    experiment.run(&args.common, &subjects, |subject, division| {
        // The same sockets in every run, opened once there may be that many.
        let parties = match &mut parties {
            Some(open) => open,
            none => none.insert(Parties::open(2 * args.calls as usize)?),
        };
        measure(args, subject, division, parties)
    })
}

/// One run of one subject, from its start to its end.
fn measure(
    args: &RelayArgs,
    subject: &Subject,
    division: &Division,
    parties: &Parties,
) -> Result<Value> {
    let load = Load {
        calls: args.calls,
        languages: Languages::Same,
        parties,
        plan: Plan {
            warm: Duration::from_secs(args.warm),
            window: Duration::from_secs(args.secs),
        },
        recording: None,
    };
    let seen = load.run(subject, division, |to, _| {
        Marked::new(parties.addresses(), to)
    })?;
    let outcome = seen.traffic.outcome();
    let costs = seen.costs(outcome.arrived);
    let mut result = load::merge(describe(&outcome, seen.paced.sent), costs);
    result["brief"] = json!(brief(&result));
    Ok(result)
}

fn describe(outcome: &Outcome, sent: u64) -> Value {
    json!({
        "arrived": outcome.arrived,
        "lost": sent - outcome.arrived,
        "duplicate": outcome.duplicate,
        "reordered": outcome.reordered,
        "misrouted": outcome.misrouted,
        "discontinuous": outcome.discontinuous,
        "foreign": outcome.foreign,
        "unstamped": outcome.unstamped,
        "latency_us": percentiles(&outcome.latency_ns),
    })
}

fn brief(result: &Value) -> String {
    let latency = &result["latency_us"];
    format!(
        "lost {} of {}, {} us/packet, p50 {} p99 {} us, {} kB/call{}",
        result["lost"],
        result["sent"],
        shown(&result["switch_us_per_packet"], 2),
        shown(&latency["p50"], 0),
        shown(&latency["p99"], 0),
        shown(&result["rss_kb_per_call"], 1),
        load::doubts(result),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report;
    use super::*;

    #[test]
    fn every_row_points_at_something() {
        let mut ns = crate::tools::bench::histogram().unwrap();
        ns.record(5_000).unwrap();
        let outcome = Outcome {
            arrived: 8,
            duplicate: 1,
            reordered: 2,
            misrouted: 3,
            discontinuous: 4,
            foreign: 5,
            latency_ns: ns,
            unstamped: 7,
        };
        let seen = load::tests::seen(());
        let result = load::merge(describe(&outcome, seen.paced.sent), seen.costs(8));
        assert_eq!(result["lost"], 2);
        // Three significant digits.
        assert_eq!(
            result["latency_us"]["p99"].as_f64().map(f64::round),
            Some(5.0)
        );
        report::assert_every_row_points_at_a_number(&ROWS, &result);
    }
}
