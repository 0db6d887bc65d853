//! `bench relay`: forwarding.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::generator::{Generator, Outcome, PACKET_INTERVAL, Parties, Plan};
use super::process::{self, Division, Subject, Switch, Usage};
use super::report::{Bar, Row};
use super::{Experiment, RelayArgs, calls, percentiles, rounded, shown};
use crate::tools::ng_client::{NgClient, accepted};

/// Requests in flight while calls are set up; not measured here.
const SETUP_LANES: usize = 32;

/// Beyond this the generator itself was too late for its latencies to be believed.
const LAG_MAX_US: f64 = 5_000.0;

/// Beyond this share of a core, processes that are neither switch nor generator disturb a run.
const OTHERS_MAX_PCT: f64 = 15.0;

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
    let switch = Switch::start(subject, division)?;
    let pid = switch.as_ref().and_then(|s| s.pid);
    let names = Names::new(args.calls);
    let mut client = switch
        .as_ref()
        .map(|s| NgClient::connect(s.ng))
        .transpose()?;
    if let Some(client) = &mut client {
        // The first call creates what is created once; it must not be billed to the thousand.
        let one = Names {
            count: 1,
            ..Names::new(1)
        };
        set_up(client, &one, parties)?;
        tear_down(client, &one)?;
    }
    let rss_idle = pid.and_then(process::rss_kb);
    let destinations = match &mut client {
        Some(client) => set_up(client, &names, parties)?,
        None => (0..2 * names.count)
            .map(|i| parties.address(i ^ 1))
            .collect(),
    };
    let rss_set_up = pid.and_then(process::rss_kb);

    let plan = Plan {
        warm: Duration::from_secs(args.warm),
        window: Duration::from_secs(args.secs),
    };
    let mut usage = Vec::with_capacity(2);
    let outcome =
        Generator::new(parties, &destinations)?.run(plan, || usage.push(Usage::now(pid)))?;
    let rss_loaded = pid.and_then(process::rss_kb);
    let confined = switch
        .as_ref()
        .and_then(|s| s.is_confined_to(division.switch));
    if let Some(client) = &mut client {
        tear_down(client, &names)?;
    }
    ensure!(outcome.sent > 0 && usage.len() == 2, "nothing was sent");
    let mut result = describe(&outcome, &usage[1].since(&usage[0]));
    let per_call = |rss: Option<u64>| Some(grown(rss?, rss_idle?) / f64::from(args.calls));
    // After the load: a switch that touches memory only when media flows must not look smaller.
    result["rss_kb_per_call"] = json!(per_call(rss_loaded).map(rounded));
    result["rss_kb_per_call_before_media"] = json!(per_call(rss_set_up).map(rounded));
    result["rss_idle_kb"] = json!(rss_idle);
    result["confined_to_one_cpu"] = json!(confined);
    result["brief"] = json!(brief(&result));
    Ok(result)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "kilobytes of a process are far below 2^52"
)]
fn grown(now: u64, before: u64) -> f64 {
    now.saturating_sub(before) as f64
}

/// The call ids of one run.
struct Names {
    prefix: String,
    count: usize,
}

impl Names {
    fn new(calls: u32) -> Self {
        let prefix = format!("bench-{:x}-{:x}", std::process::id(), fastrand::u32(..));
        Self {
            prefix,
            count: calls as usize,
        }
    }

    fn call_id(&self, call: usize) -> String {
        format!("{}-{call}", self.prefix)
    }
}

/// Sets up all calls; returns where each party has to send.
fn set_up(client: &mut NgClient, names: &Names, parties: &Parties) -> Result<Vec<SocketAddrV4>> {
    let mut destinations: Vec<Option<SocketAddrV4>> = vec![None; 2 * names.count];
    let mut fresh = 0..names.count;
    let mut at: Vec<Option<(usize, bool)>> = vec![None; SETUP_LANES];
    client.lanes(SETUP_LANES, |lane, reply| {
        if let (Some((call, answering)), Some((reply, _))) = (at[lane], reply) {
            let media = calls::media_address(accepted(reply)?)?;
            // The offer's reply is what the callee will see, so it says where the callee sends.
            destinations[2 * call + usize::from(!answering)] = Some(media);
            if !answering {
                at[lane] = Some((call, true));
                let answer = calls::answer(&names.call_id(call), parties.address(2 * call + 1));
                return Ok(Some(answer.encode()));
            }
        }
        at[lane] = fresh.next().map(|call| (call, false));
        Ok(at[lane].map(|(call, _)| {
            calls::offer(&names.call_id(call), parties.address(2 * call)).encode()
        }))
    })?;
    destinations
        .into_iter()
        .collect::<Option<_>>()
        .context("a call was left half set up")
}

fn tear_down(client: &mut NgClient, names: &Names) -> Result<()> {
    let mut fresh = 0..names.count;
    client.lanes(SETUP_LANES, |_, reply| {
        if let Some((reply, _)) = reply {
            accepted(reply)?;
        }
        Ok(fresh
            .next()
            .map(|call| calls::delete(&names.call_id(call)).encode()))
    })?;
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds of a run are far below 2^52"
)]
fn describe(outcome: &Outcome, used: &Usage) -> Value {
    let float = |ns: Option<u64>| ns.map(|ns| ns as f64);
    let window_ns = outcome.window.as_nanos() as f64;
    let packets = outcome.arrived.max(1) as f64;
    let per_packet = |ns: Option<f64>| ns.map(|ns| rounded(ns / 1e3 / packets));
    let of_core = |ns: Option<f64>| ns.map(|ns| rounded(100.0 * ns / window_ns));
    let switch = float(used.switch_ns);
    let machine = float(used.machine_ns.map(|m| m.0));
    let generator = float(used.generator_ns);
    let others = machine
        .zip(generator)
        .map(|(m, g)| (m - g - switch.unwrap_or(0.0)).max(0.0));
    let lag_max_us = outcome.lag_ns.max() as f64 / 1e3;
    json!({
        "window_s": rounded(outcome.window.as_secs_f64()),
        "sent": outcome.sent,
        "arrived": outcome.arrived,
        "lost": outcome.sent - outcome.arrived,
        "duplicate": outcome.duplicate,
        "reordered": outcome.reordered,
        "misrouted": outcome.misrouted,
        "discontinuous": outcome.discontinuous,
        "foreign": outcome.foreign,
        "send_errors": outcome.send_errors,
        "unstamped": outcome.unstamped,
        "latency_us": percentiles(&outcome.latency_ns),
        "switch_us_per_packet": per_packet(switch),
        "switch_core_pct": of_core(switch),
        "machine_us_per_packet": per_packet(machine),
        "generator_us_per_packet": per_packet(generator),
        "generator_core_pct": of_core(generator),
        "generator_lag_max_us": rounded(lag_max_us),
        "generator_lag_p99_us": rounded(outcome.lag_ns.value_at_quantile(0.99) as f64 / 1e3),
        "generator_was_late": lag_max_us > LAG_MAX_US,
        "others_core_pct": of_core(others),
        "stolen_pct": of_core(float(used.machine_ns.map(|m| m.1))),
    })
}

fn brief(result: &Value) -> String {
    let latency = &result["latency_us"];
    let mut line = format!(
        "lost {} of {}, {} us/packet, p50 {} p99 {} us, {} kB/call, other processes {} %",
        result["lost"],
        result["sent"],
        shown(&result["switch_us_per_packet"], 2),
        shown(&latency["p50"], 0),
        shown(&latency["p99"], 0),
        shown(&result["rss_kb_per_call"], 1),
        shown(&result["others_core_pct"], 0),
    );
    if result["generator_was_late"] == true {
        line += " (the generator was late: latencies are too high)";
    }
    if result["others_core_pct"]
        .as_f64()
        .is_some_and(|pct| pct > OTHERS_MAX_PCT)
    {
        line += " (the machine was busy with something else: do not trust this run)";
    }
    line
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
            window: Duration::from_secs(2),
            sent: 10,
            arrived: 8,
            duplicate: 1,
            reordered: 2,
            misrouted: 3,
            discontinuous: 4,
            foreign: 5,
            send_errors: 6,
            latency_ns: ns.clone(),
            lag_ns: ns,
            unstamped: 7,
        };
        let used = Usage {
            switch_ns: Some(16_000),
            generator_ns: Some(32_000),
            machine_ns: Some((64_000, 16_000)),
        };
        let mut result = describe(&outcome, &used);
        assert_eq!(result["lost"], 2);
        assert_eq!(result["switch_us_per_packet"], 2.0);
        // Three significant digits.
        assert_eq!(
            result["latency_us"]["p99"].as_f64().map(f64::round),
            Some(5.0)
        );
        result["rss_kb_per_call"] = json!(1);
        report::assert_every_row_points_at_a_number(&ROWS, &result);
    }
}
