//! `bench transcode`: calls between parties who speak different codecs.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::generator::{PACKET_INTERVAL, Parties, Plan};
use super::load::{self, Languages, Load};
use super::process::{Division, Subject};
use super::report::{Bar, Row};
use super::spoken::{Outcome, Spoken};
use super::{CalleeCodec, Experiment, TranscodeArgs, percentiles, rounded, shown};
use crate::audio::codec::CodecKind;

/// Packets a switch sends in a second for every call.
const PACKETS_PER_CALL_S: f64 = 100.0;

/// A switch carries a number of calls when 99 of 100 packets come within this of the pace their
/// timestamps promise: what a phone's jitter buffer takes without being heard.
const JITTER_P99_US_MAX: f64 = 20_000.0;

/// The search ends when it is this close, relative to what it found.
const FIND_PRECISION: f64 = 0.05;

/// As long as everything is carried, the next load is at most so many times the last.
const FIND_STRIDE: u32 = 4;

/// Most loads one search tries.
const FIND_TRIES_MAX: usize = 10;

/// Most calls a search tries: four files each are within the usual hard limit of 20,000.
const FIND_CALLS_MAX: u32 = 4_800;

const ROWS_BEFORE: [Row; 10] = [
    Row::new("packets missing", "/missing", "", 0).bar(Bar::Zero),
    Row::new("sequence gaps", "/gaps", "", 0).bar(Bar::Zero),
    Row::new("frames left out", "/skipped", "", 0).bar(Bar::Zero),
    Row::new("duplicated", "/duplicate", "", 0).bar(Bar::Zero),
    Row::new("reordered", "/reordered", "", 0).bar(Bar::Zero),
    Row::new("misrouted", "/misrouted", "", 0).bar(Bar::Zero),
    Row::new("malformed", "/malformed", "", 0).bar(Bar::Zero),
    Row::new("RTP clock broken", "/discontinuous", "", 0).bar(Bar::Zero),
    Row::new("CPU per packet", "/switch_us_per_packet", "us", 2),
    Row::new("share of a core", "/switch_core_pct", "%", 1),
];

const ROWS_AFTER: [Row; 12] = [
    Row::new("packets in", "/sent", "", 0),
    Row::new("packets out", "/arrived", "", 0),
    Row::new("jitter p50", "/jitter_us/p50", "us", 0),
    Row::new("jitter p99", "/jitter_us/p99", "us", 0),
    Row::new("sound under way, mean", "/delay_us/mean", "us", 0),
    Row::new("sound under way, max", "/delay_us/max", "us", 0),
    Row::new("likeness at callers", "/likeness/callers", "", 3).bar(Bar::AtLeast(LIKENESS_MIN)),
    Row::new("likeness at callees", "/likeness/callees", "", 3).bar(Bar::AtLeast(LIKENESS_MIN)),
    Row::new("octets to callees", "/octets/callees", "", 1),
    Row::new("memory per call", "/rss_kb_per_call", "kB", 1),
    Row::new("generator's share of a core", "/generator_core_pct", "%", 1),
    Row::new("generator lag max", "/generator_lag_max_us", "us", 0),
];

/// A switch that saves work by sending something else than the sound is no match.
const LIKENESS_MIN: f64 = 0.95;

/// What is shown, where it stands in a run's result, and what is asked of it.
fn rows(codec: CalleeCodec, find: bool) -> Vec<Row> {
    let bar = Bar::RatioAtLeast(match codec {
        CalleeCodec::Pcma | CalleeCodec::G722 => 2.0,
        CalleeCodec::Opus => 1.8,
    });
    let by_cpu = Row::new("calls per core, by CPU", "/calls_per_core", "", 0);
    let mut rows = ROWS_BEFORE.to_vec();
    if find {
        rows.push(by_cpu);
        rows.push(Row::new("calls per core, in order", "/calls_found", "", 0).bar(bar));
    } else {
        rows.push(by_cpu.bar(bar));
    }
    rows.extend(ROWS_AFTER);
    rows
}

/// Half of what a core of rtpengine carries on the machine where the bars were set.
fn usual_calls(codec: CalleeCodec) -> u32 {
    match codec {
        CalleeCodec::Pcma => 200,
        CalleeCodec::G722 => 120,
        CalleeCodec::Opus => 40,
    }
}

impl CalleeCodec {
    fn kind(self) -> CodecKind {
        match self {
            Self::Pcma => CodecKind::Pcma,
            Self::G722 => CodecKind::G722,
            Self::Opus => CodecKind::Opus,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::G722 => "G.722",
            Self::Opus => "Opus",
        }
    }
}

/// Measures and prints.
pub(super) fn run(args: &TranscodeArgs) -> Result<()> {
    let subjects = super::subjects(&args.common)?;
    ensure!(
        !subjects.contains(&Subject::Direct),
        "without a switch nobody transcodes"
    );
    let calls = args.calls.unwrap_or_else(|| usual_calls(args.codec));
    let calls_max = if args.find {
        FIND_CALLS_MAX.max(calls)
    } else {
        calls
    };
    let load = if args.find {
        "as many calls as leave in order".to_owned()
    } else {
        let packets = u128::from(calls) * 2_000 / PACKET_INTERVAL.as_millis();
        format!("{calls} calls, {packets} packet/s")
    };
    let experiment = Experiment {
        kind: "transcode",
        title: format!(
            "transcode: PCMU to {}, {load}, {} s measured, median of {} runs (min-max)",
            args.codec.name(),
            args.secs,
            args.common.runs,
        ),
        rows: &rows(args.codec, args.find),
        parameters: json!({
            "codec": args.codec.kind().to_string(), "calls": calls, "find": args.find,
            "secs": args.secs, "warm": args.warm, "runs": args.common.runs,
        }),
        calls_max,
    };
    let mut parties = None;
    experiment.run(&args.common, &subjects, |subject, division| {
        // The same sockets in every run, opened once there may be that many.
        let parties = match &mut parties {
            Some(open) => open,
            none => none.insert(Parties::open(2 * calls_max as usize)?),
        };
        let measure = |calls| measure(args, calls, subject, division, parties);
        if args.find {
            find(calls, measure)
        } else {
            measure(calls)
        }
    })
}

/// One run of one subject, from its start to its end.
fn measure(
    args: &TranscodeArgs,
    calls: u32,
    subject: &Subject,
    division: &Division,
    parties: &Parties,
) -> Result<Value> {
    let kind = args.codec.kind();
    let load = Load {
        calls,
        languages: Languages::Different(kind),
        parties,
        plan: Plan {
            warm: Duration::from_secs(args.warm),
            window: Duration::from_secs(args.secs),
        },
        recording: None,
    };
    let seen = load.run(subject, division, |_, outlets| Spoken::new(kind, outlets))?;
    let outcome = seen.traffic.outcome()?;
    let mut result = load::merge(describe(&outcome, calls), seen.costs(outcome.arrived));
    let us = result["switch_us_per_packet"].as_f64();
    result["calls_per_core"] = json!(
        us.filter(|us| *us > 0.0)
            .map(|us| rounded(1e6 / PACKETS_PER_CALL_S / us))
    );
    result["carried"] = json!(is_carried(&result));
    result["brief"] = json!(brief(&result));
    Ok(result)
}

/// The most calls for which `measure` finds every packet in order and in time, starting with
/// `first`; the result is that of the last load that was carried, or of the lightest that was
/// tried when none was.
fn find(first: u32, mut measure: impl FnMut(u32) -> Result<Value>) -> Result<Value> {
    let (mut carried, mut refused) = (0, FIND_CALLS_MAX + 1);
    let mut best = Value::Null;
    let mut tries = Vec::new();
    let mut calls = first.min(FIND_CALLS_MAX);
    for _ in 0..FIND_TRIES_MAX {
        let mut result = measure(calls)?;
        if result["carried"] != true && result["generator_was_late"] == true {
            // That may have been the generator's fault: once more.
            result = measure(calls)?;
        }
        let is_carried = result["carried"] == true;
        eprint!(
            "[{calls}: {}] ",
            if is_carried { "carried" } else { "not carried" }
        );
        tries.push(json!({
            "calls": calls,
            "carried": is_carried,
            "switch_core_pct": result["switch_core_pct"],
            "reordered": result["reordered"],
            "missing": result["missing"],
            "skipped": result["skipped"],
            "jitter_p99_us": result["jitter_us"]["p99"],
        }));
        let by_cpu = result["calls_per_core"].as_f64();
        if is_carried {
            carried = calls;
        } else {
            refused = calls;
        }
        if is_carried || carried == 0 {
            best = result;
        }
        if f64::from(refused - carried) <= (f64::from(carried) * FIND_PRECISION).max(1.0) {
            break;
        }
        calls = next_try(carried, refused, by_cpu);
    }
    best["calls_found"] = json!(carried);
    best["tries"] = json!(tries);
    best["brief"] = json!(format!(
        "{carried} calls carried; with {}: {}",
        best["calls"],
        best["brief"].as_str().unwrap_or_default()
    ));
    Ok(best)
}

/// Between the two limits; as long as nothing was refused, what the CPU should carry, but at most
/// [`FIND_STRIDE`] times as many as were carried.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "brought between two limits"
)]
fn next_try(carried: u32, refused: u32, by_cpu: Option<f64>) -> u32 {
    let middle = carried + (refused - carried) / 2;
    let guess = match by_cpu {
        Some(by_cpu) if refused > FIND_CALLS_MAX => {
            (by_cpu as u32).min(carried.saturating_mul(FIND_STRIDE))
        }
        _ if refused > FIND_CALLS_MAX => carried.saturating_mul(FIND_STRIDE),
        _ => middle,
    };
    guess.clamp(carried + 1, refused - 1)
}

/// Whether everything left in order, nothing is missing, and the pace was kept.
fn is_carried(result: &Value) -> bool {
    let nothing = ["missing", "gaps", "skipped", "reordered"];
    nothing.iter().all(|figure| result[*figure] == 0)
        && result["jitter_us"]["p99"]
            .as_f64()
            .is_some_and(|p99| p99 < JITTER_P99_US_MAX)
}

fn describe(outcome: &Outcome, calls: u32) -> Value {
    let [to_callers, to_callees] = outcome.octets.map(rounded);
    let [callers, callees] = outcome.likeness.map(rounded);
    json!({
        "calls": calls,
        "arrived": outcome.arrived,
        "missing": outcome.missing,
        "gaps": outcome.gaps,
        "duplicate": outcome.duplicate,
        "reordered": outcome.reordered,
        "discontinuous": outcome.discontinuous,
        "skipped": outcome.skipped,
        "malformed": outcome.malformed,
        "misrouted": outcome.misrouted,
        "unstamped": outcome.unstamped,
        "octets": {"callers": to_callers, "callees": to_callees},
        "jitter_us": percentiles(&outcome.jitter_ns),
        "likeness": {"callers": callers, "callees": callees},
        "delay_us": percentiles(&outcome.delay_ns),
        "listened_to": outcome.delay_ns.len(),
    })
}

fn brief(result: &Value) -> String {
    format!(
        "{} in, {} out, {} missing, {} left out, {} reordered, {} us/packet, {} % of a core, \
         jitter p99 {} us, likeness {} {}, {} kB/call{}",
        result["sent"],
        result["arrived"],
        result["missing"],
        result["skipped"],
        result["reordered"],
        shown(&result["switch_us_per_packet"], 2),
        shown(&result["switch_core_pct"], 0),
        shown(&result["jitter_us"]["p99"], 0),
        shown(&result["likeness"]["callers"], 3),
        shown(&result["likeness"]["callees"], 3),
        shown(&result["rss_kb_per_call"], 0),
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
            missing: 0,
            gaps: 0,
            duplicate: 1,
            reordered: 0,
            discontinuous: 4,
            skipped: 0,
            malformed: 5,
            misrouted: 3,
            unstamped: 7,
            octets: [160.0, 80.5],
            jitter_ns: ns.clone(),
            likeness: [0.9, 0.8],
            delay_ns: ns,
        };
        let seen = load::tests::seen(());
        let mut result = load::merge(describe(&outcome, 1), seen.costs(8));
        result["calls_per_core"] = json!(1);
        result["calls_found"] = json!(1);
        assert!(is_carried(&result));
        for codec in [CalleeCodec::Pcma, CalleeCodec::G722, CalleeCodec::Opus] {
            for find in [false, true] {
                report::assert_every_row_points_at_a_number(&rows(codec, find), &result);
            }
        }
        for figure in ["missing", "gaps", "skipped", "reordered"] {
            let mut worse = result.clone();
            worse[figure] = json!(1);
            assert!(!is_carried(&worse), "{figure}");
        }
        result["jitter_us"]["p99"] = json!(JITTER_P99_US_MAX);
        assert!(!is_carried(&result));
    }

    /// A switch that carries up to `most` calls, and uses its core for more.
    fn found(first: u32, most: u32) -> (u64, usize) {
        let result = find(first, |calls| {
            let by_cpu = 1.2 * f64::from(most);
            Ok(json!({"calls": calls, "carried": calls <= most, "calls_per_core": by_cpu}))
        })
        .unwrap();
        let tries = result["tries"].as_array().unwrap().len();
        let found = result["calls_found"].as_u64().unwrap();
        if found > 0 {
            assert_eq!(result["calls"], found);
        }
        (found, tries)
    }

    #[test]
    fn a_load_is_tried_again_when_the_generator_was_late() {
        let mut measured = Vec::new();
        let result = find(FIND_CALLS_MAX, |calls| {
            measured.push(calls);
            let first = measured.len() == 1;
            Ok(json!({"calls": calls, "carried": !first, "generator_was_late": first}))
        });
        assert_eq!(measured, [FIND_CALLS_MAX; 2]);
        assert_eq!(result.unwrap()["calls_found"], FIND_CALLS_MAX);
    }

    #[test]
    fn the_search_comes_close_and_ends() {
        for (first, most) in [
            (40, 30),
            (40, 75),
            (40, 140),
            (200, 400),
            (10, 1_000),
            (40, 1),
        ] {
            let (found, tries) = found(first, most);
            assert!(found <= most.into());
            assert!(
                found * 100 + 100 >= u64::from(most) * 95,
                "{found} of {most}"
            );
            assert!(tries <= FIND_TRIES_MAX, "{tries}");
        }
        assert_eq!(found(40, 0).0, 0);
        assert_eq!(found(4_000, 9_999).0, u64::from(FIND_CALLS_MAX));
    }
}
