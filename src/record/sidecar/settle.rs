//! Spans as they are listed: in order, and each moment of a track for one reason.
//!
//! That packets were lost is known when the next one comes: until then the party seems to be
//! silent, and is noted to be. Its silence is taken back here, as is that of a party which sent no
//! sound because it sent a key.

use super::{SPANS_MAX, SpanInfo, touches};
use crate::record::span::SpanKind;

/// Puts the spans of a recording that is over in order; returns how many were too many.
/// O(spans²) for those of one track.
pub(super) fn settle(spans: &mut Vec<SpanInfo>) -> usize {
    let explains = |kind| {
        use SpanKind::{Concealed, Lost, Overrun, Pressed};
        [Lost, Concealed, Overrun, Pressed].contains(&kind)
    };
    let known: Vec<SpanInfo> = spans
        .iter()
        .filter(|span| explains(span.kind))
        .copied()
        .collect();
    let mut all = Vec::with_capacity(spans.len());
    for span in spans.drain(..) {
        match span.kind {
            SpanKind::Silent => all.extend(without(span, &known)),
            _ => all.push(span),
        }
    }
    all.sort_by_key(|span| (span.from_us, span.track, span.kind as u8));
    for next in all {
        let mut before = spans.iter_mut().rev();
        let same = before.find(|span| (span.track, span.kind) == (next.track, next.kind));
        match same.filter(|span| touches(span, &next)) {
            Some(span) => span.until_us = span.until_us.max(next.until_us),
            None => spans.push(next),
        }
    }
    let too_many = spans.len().saturating_sub(SPANS_MAX);
    spans.truncate(SPANS_MAX);
    too_many
}

/// What is left of a span beside others of its track.
fn without(span: SpanInfo, others: &[SpanInfo]) -> Vec<SpanInfo> {
    let mut left = vec![span];
    for other in others.iter().filter(|other| other.track == span.track) {
        left = left
            .into_iter()
            .flat_map(|piece| {
                let before = SpanInfo {
                    until_us: piece.until_us.min(other.from_us),
                    ..piece
                };
                let behind = SpanInfo {
                    from_us: piece.from_us.max(other.until_us),
                    ..piece
                };
                [before, behind]
            })
            .filter(|piece| piece.from_us < piece.until_us)
            .collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(track: u8, kind: SpanKind, from_us: u64, until_us: u64) -> SpanInfo {
        SpanInfo {
            track: Some(track),
            kind,
            from_us,
            until_us,
            skipped_us: 0,
        }
    }

    #[test]
    fn what_seemed_silence_and_was_a_loss_is_a_loss() {
        use SpanKind::{Lost, Pressed, Silent};
        let mut spans = vec![
            span(1, Silent, 7_033_000, 7_100_000),
            span(0, Silent, 7_000_000, 7_500_000),
            span(1, Lost, 7_100_000, 7_333_000),
            span(1, Lost, 7_033_000, 7_100_000),
            span(1, Silent, 2_000_000, 2_300_000),
            span(1, Pressed, 2_050_000, 2_250_000),
        ];
        assert_eq!(settle(&mut spans), 0);
        let wanted = [
            span(1, Silent, 2_000_000, 2_050_000),
            span(1, Pressed, 2_050_000, 2_250_000),
            span(1, Silent, 2_250_000, 2_300_000),
            span(0, Silent, 7_000_000, 7_500_000),
            span(1, Lost, 7_033_000, 7_333_000),
        ];
        assert_eq!(spans, wanted);
        assert_eq!(settle(&mut spans), 0, "once more");
        assert_eq!(spans, wanted);
    }

    #[test]
    fn pieces_are_not_more_than_are_listed() {
        let keys = |n: u64| span(0, SpanKind::Pressed, n * 10_000, n * 10_000 + 5_000);
        let silence = span(0, SpanKind::Silent, 0, u64::MAX);
        let mut spans: Vec<SpanInfo> = (1..SPANS_MAX as u64 / 2).map(keys).collect();
        spans.push(silence);
        assert_eq!(settle(&mut spans), 0);
        assert_eq!(spans.len(), SPANS_MAX - 1);
        let mut spans: Vec<SpanInfo> = (1..=SPANS_MAX as u64 / 2).map(keys).collect();
        spans.push(silence);
        assert_eq!(settle(&mut spans), 1);
        assert_eq!(spans.len(), SPANS_MAX);
    }
}
