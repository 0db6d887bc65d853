//! What was received of a leg, as the worker counted it.

use std::collections::HashMap;

use super::ledger::Quality;
use crate::engine::StreamReport;
use crate::switch::Snapshot;

/// Fewer packets than this (half a second) say nothing of how somebody sounded.
const SCORED_MIN: u64 = 25;

/// Of every party of a call, by tag.
pub(super) fn of_all(call: &Snapshot) -> HashMap<String, Quality> {
    let mut received = HashMap::new();
    for party in &call.parties {
        let report = party.audio().and_then(|line| call.stream(line));
        let Some(report) = report else { continue };
        let tags = party.tags.iter().map(|tag| (tag.to_string(), of(report)));
        received.extend(tags);
    }
    received
}

/// Over all sources that it sent under; the jitter is that of the last one.
pub(crate) fn of(report: &StreamReport) -> Quality {
    let sum = |count: fn(&crate::engine::SourceReport) -> u64| {
        let counts = report.sources.iter().map(count);
        counts.fold(0_u64, u64::saturating_add)
    };
    let (received, lost) = (sum(|source| source.packets), sum(|source| source.lost));
    let jitter_ms = report.sources.last().map_or(0.0, |source| source.jitter_ms);
    let jitter_us = (f64::from(jitter_ms) * 1e3)
        .round()
        .clamp(0.0, f64::from(u32::MAX));
    let scored = received >= SCORED_MIN;
    Quality {
        received,
        lost,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range of u32"
        )]
        jitter_us: jitter_us as u32,
        #[expect(clippy::cast_possible_truncation, reason = "1 to 4.5")]
        mos: scored.then(|| report.mos(received, lost, jitter_ms) as f32),
    }
}
