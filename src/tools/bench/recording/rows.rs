//! The table of recorded calls beside calls that are not.

use super::super::report::{Bar, Row};
use super::Recorded;

/// What is shown, where it stands in a run's result, and what is asked of it.
pub(super) fn rows(what: Recorded) -> Vec<Row> {
    let mut rows = vec![
        Row::new("packets lost", "/recorded/lost", "", 0).bar(Bar::Zero),
        Row::new("packets lost, not recording", "/plain/lost", "", 0),
        Row::new("recordings", "/recorded/kept/files", "", 0),
        Row::new("wrong sums, or no file", "/recorded/kept/unverified", "", 0).bar(Bar::Zero),
        Row::new(
            "packets lost to recordings",
            "/recorded/kept/packets_lost",
            "",
            0,
        )
        .bar(Bar::Zero),
        Row::new(
            "not written in time",
            "/recorded/kept/unwritten_ms",
            "ms",
            0,
        )
        .bar(Bar::Zero),
        Row::new(
            "length off by, max",
            "/recorded/kept/length_off_ms",
            "ms",
            1,
        )
        .bar(Bar::AtMost(20.0)),
    ];
    if what == Recorded::Relay {
        rows.extend([
            Row::new(
                "packets not in the files",
                "/recorded/kept/packets_missing",
                "",
                0,
            )
            .bar(Bar::Zero),
            Row::new("packets slid", "/recorded/kept/packets_slid", "", 0),
            Row::new("packets off by, max", "/recorded/kept/moved_ms", "ms", 3),
        ]);
    }
    let cost = Row::new(
        "CPU per recorded call",
        "/recorded/us_per_call_s",
        "us/s",
        0,
    );
    rows.extend([
        match what {
            Recorded::Relay => cost.bar(Bar::RatioAtMost(0.60)),
            _ => cost,
        },
        Row::new(
            "CPU per call, not recording",
            "/plain/us_per_call_s",
            "us/s",
            0,
        ),
        Row::new("recording alone", "/recording_us_per_call_s", "us/s", 0),
        Row::new("share of a core", "/recorded/switch_core_pct", "%", 1),
        Row::new("recorded calls per core", "/recorded/calls_per_core", "", 0),
        Row::new("CPU to end a call", "/recorded/ending_us_per_call", "us", 0),
        Row::new(
            "CPU to end a call, not recording",
            "/plain/ending_us_per_call",
            "us",
            0,
        ),
    ]);
    if what == Recorded::Opus {
        rows.extend([
            Row::new("libopus alone", "/libopus_us_per_call_s", "us/s", 0),
            Row::new("recordings per core", "/recordings_per_core", "", 0),
            Row::new("libopus' own limit", "/libopus_per_core", "", 0),
            Row::new("of that limit", "/of_libopus_pct", "%", 0),
        ]);
    }
    rows.extend(match what {
        Recorded::Relay => [
            Row::new("latency p50", "/recorded/latency_us/p50", "us", 0),
            Row::new(
                "latency p50, not recording",
                "/plain/latency_us/p50",
                "us",
                0,
            ),
            Row::new("latency p99", "/recorded/latency_us/p99", "us", 0),
            Row::new(
                "latency p99, not recording",
                "/plain/latency_us/p99",
                "us",
                0,
            ),
            Row::new("latency p99.9", "/recorded/latency_us/p99_9", "us", 0),
            Row::new(
                "latency p99.9, not recording",
                "/plain/latency_us/p99_9",
                "us",
                0,
            ),
        ],
        Recorded::Opus | Recorded::Frames => [
            Row::new("jitter p50", "/recorded/jitter_us/p50", "us", 0),
            Row::new("jitter p50, not recording", "/plain/jitter_us/p50", "us", 0),
            Row::new("jitter p99", "/recorded/jitter_us/p99", "us", 0),
            Row::new("jitter p99, not recording", "/plain/jitter_us/p99", "us", 0),
            Row::new("jitter p99.9", "/recorded/jitter_us/p99_9", "us", 0),
            Row::new(
                "jitter p99.9, not recording",
                "/plain/jitter_us/p99_9",
                "us",
                0,
            ),
        ],
    });
    if what == Recorded::Frames {
        rows.extend([
            Row::new(
                "lateness p99.9, at most",
                "/recorded/late_p99_9_us",
                "us",
                0,
            ),
            Row::new(
                "lateness p99.9, not recording",
                "/plain/late_p99_9_us",
                "us",
                0,
            ),
            Row::new("by recording, times", "/later", "", 2).bar(Bar::AtMost(1.0)),
        ]);
    }
    rows.extend([
        Row::new("memory per call", "/recorded/rss_kb_per_call", "kB", 1),
        Row::new(
            "memory per call, not recording",
            "/plain/rss_kb_per_call",
            "kB",
            1,
        ),
        Row::new("written per call", "/written_kb_per_s", "kB/s", 1),
        Row::new(
            "generator's share of a core",
            "/recorded/generator_core_pct",
            "%",
            1,
        ),
        Row::new(
            "generator lag max",
            "/recorded/generator_lag_max_us",
            "us",
            0,
        ),
    ]);
    rows
}
