//! `bench setup`: how many calls a second can be set up and deleted.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::process::{Division, Subject, Switch, Usage};
use super::report::{Bar, Row};
use super::{Experiment, SetupArgs, calls, percentiles, rounded, shown};
use crate::tools::ng_client::{NgClient, accepted};

/// Numbers of calls that are being worked on at the same time.
const IN_FLIGHT: [usize; 2] = [1, 64];

/// Calls before anything is counted.
const WARM_UP_CALLS: u32 = 200;

/// offer, answer, delete.
const STEPS: [&str; 3] = ["offer", "answer", "delete"];

const ROWS: [Row; 13] = [
    Row::new(
        "1 in flight: calls per second",
        "/in_flight_1/calls_per_s",
        "",
        0,
    ),
    Row::new("  offer p50", "/in_flight_1/offer_us/p50", "us", 0),
    Row::new("  offer p99", "/in_flight_1/offer_us/p99", "us", 0),
    Row::new("  any request p50", "/in_flight_1/request_us/p50", "us", 0),
    Row::new("  any request p99", "/in_flight_1/request_us/p99", "us", 0),
    Row::new("  CPU per call", "/in_flight_1/switch_us_per_call", "us", 0),
    Row::new(
        "64 in flight: calls per second",
        "/in_flight_64/calls_per_s",
        "",
        0,
    )
    .bar(Bar::RatioAtLeast(2.0)),
    Row::new("  offer p50", "/in_flight_64/offer_us/p50", "us", 0),
    Row::new("  offer p99", "/in_flight_64/offer_us/p99", "us", 0),
    Row::new("  any request p50", "/in_flight_64/request_us/p50", "us", 0),
    Row::new("  any request p99", "/in_flight_64/request_us/p99", "us", 0),
    Row::new(
        "  CPU per call",
        "/in_flight_64/switch_us_per_call",
        "us",
        0,
    ),
    Row::new(
        "  generator's share of a core",
        "/in_flight_64/generator_core_pct",
        "%",
        1,
    ),
];

/// Measures and prints.
pub(super) fn run(args: &SetupArgs) -> Result<()> {
    let subjects = super::subjects(&args.common)?;
    ensure!(
        !subjects.contains(&Subject::Direct),
        "without a switch there is nothing to set up"
    );
    let experiment = Experiment {
        kind: "setup",
        title: format!(
            "setup: {} calls of offer + answer + delete, switch on one core, \
             median of {} runs (min-max)",
            args.calls, args.common.runs,
        ),
        rows: &ROWS,
        parameters: json!({"calls": args.calls, "runs": args.common.runs}),
        calls_max: IN_FLIGHT[1].try_into().unwrap_or(u32::MAX),
    };
    experiment.run(&args.common, &subjects, |subject, division| {
        measure(args, subject, division)
    })
}

fn measure(args: &SetupArgs, subject: &Subject, division: &Division) -> Result<Value> {
    let switch = Switch::start(subject, division, None)?.context("no switch")?;
    let mut client = NgClient::connect(switch.ng)?;
    go_through(&mut client, IN_FLIGHT[1], WARM_UP_CALLS)?;
    let mut result = json!({});
    for in_flight in IN_FLIGHT {
        let before = Usage::now(switch.pid);
        let times = go_through(&mut client, in_flight, args.calls)?;
        let used = Usage::now(switch.pid).since(&before);
        result[format!("in_flight_{in_flight}")] = describe(&times, args.calls, &used);
    }
    result["confined_to_one_cpu"] = json!(switch.is_confined_to(division.switch));
    result["brief"] = json!(brief(&result));
    Ok(result)
}

/// What a pass over all calls took.
struct Times {
    elapsed: Duration,
    of_step: [Histogram<u64>; 3],
    retransmissions: u64,
}

/// `calls` times offer, answer and delete, `in_flight` calls at a time.
fn go_through(client: &mut NgClient, in_flight: usize, calls: u32) -> Result<Times> {
    let prefix = format!("setup-{:x}-{:x}", std::process::id(), fastrand::u32(..));
    let mut fresh = 0..calls;
    let mut at: Vec<(u32, usize)> = vec![(0, STEPS.len() - 1); in_flight];
    let empty = super::histogram()?;
    let mut of_step = [empty.clone(), empty.clone(), empty];
    let started = Instant::now();
    let retransmissions = client.lanes(in_flight, |lane, reply| {
        let (call, step) = at[lane];
        if let Some((reply, took)) = reply {
            accepted(reply).with_context(|| STEPS[step])?;
            let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            of_step[step].saturating_record(took_ns);
        }
        // A lane begins as if it had just deleted a call.
        at[lane] = if step + 1 < STEPS.len() {
            (call, step + 1)
        } else {
            let Some(call) = fresh.next() else {
                return Ok(None);
            };
            (call, 0)
        };
        Ok(Some(request(&prefix, at[lane].0, at[lane].1)))
    })?;
    Ok(Times {
        elapsed: started.elapsed(),
        of_step,
        retransmissions,
    })
}

fn request(prefix: &str, call: u32, step: usize) -> Vec<u8> {
    let call_id = format!("{prefix}-{call}");
    let port = 20_000 + 2 * u16::try_from(call % 10_000).unwrap_or(0);
    let at = |host: u8| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), port);
    match step {
        0 => calls::offer(&call_id, at(11)),
        1 => calls::answer(&call_id, at(12)),
        _ => calls::delete(&call_id),
    }
    .encode()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds of a run are far below 2^52"
)]
fn describe(times: &Times, calls: u32, used: &Usage) -> Value {
    let seconds = times.elapsed.as_secs_f64();
    let mut any = times.of_step[0].clone();
    for step in &times.of_step[1..] {
        // Cannot fail: the bounds are the same.
        let _ = any.add(step);
    }
    let mut result = json!({
        "calls": calls,
        "seconds": rounded(seconds),
        "calls_per_s": rounded(f64::from(calls) / seconds),
        "requests_per_s": rounded(3.0 * f64::from(calls) / seconds),
        "retransmissions": times.retransmissions,
        "request_us": percentiles(&any),
        "switch_us_per_call": used.switch_ns.map(|ns| rounded(ns as f64 / 1e3 / f64::from(calls))),
        "switch_core_pct": used.switch_ns.map(|ns| rounded(ns as f64 / 1e7 / seconds)),
        "generator_core_pct": used.generator_ns.map(|ns| rounded(ns as f64 / 1e7 / seconds)),
    });
    for (name, ns) in STEPS.iter().zip(&times.of_step) {
        result[format!("{name}_us")] = percentiles(ns);
    }
    result
}

fn brief(result: &Value) -> String {
    let parts = IN_FLIGHT.map(|n| {
        let of = &result[format!("in_flight_{n}")];
        format!(
            "{n} in flight: {} calls/s, p99 {} us, {} us/call",
            shown(&of["calls_per_s"], 0),
            shown(&of["request_us"]["p99"], 0),
            shown(&of["switch_us_per_call"], 0),
        )
    });
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::report;
    use super::*;

    #[test]
    fn every_row_points_at_something() {
        let mut ns = crate::tools::bench::histogram().unwrap();
        ns.record(2_000).unwrap();
        let of_step = [ns.clone(), ns.clone(), ns];
        let times = Times {
            elapsed: Duration::from_secs(2),
            of_step,
            retransmissions: 0,
        };
        let used = Usage {
            switch_ns: Some(1_000_000),
            generator_ns: Some(1_000_000_000),
            machine_ns: None,
        };
        let one = describe(&times, 100, &used);
        assert_eq!(one["calls_per_s"], 50.0);
        assert_eq!(one["request_us"]["p50"].as_f64().map(f64::round), Some(2.0));
        assert_eq!(one["switch_us_per_call"], 10.0);
        assert_eq!(one["generator_core_pct"], 50.0);
        let result = json!({"in_flight_1": one, "in_flight_64": one});
        report::assert_every_row_points_at_a_number(&ROWS, &result);
    }
}
