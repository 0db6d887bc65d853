//! Stretches of a line that are to be hidden.

use smallvec::SmallVec;

/// Suspicions and keys that are in the line at a time; more are one. A look-back of 500 ms has not
/// more, as each is longer than its distance to the next.
pub(super) const SPANS_MAX: usize = 16;

/// A suspicion counts once this many looks confirmed it, 5 ms apart. A tone of 22 ms gives so many
/// whatever is said before and after it, one of 20 ms nearly always, one of 16 ms every other time;
/// three in four of those that speech gives have fewer. They are known before the first sample
/// leaves: [`LOOK_BACK_MS`](crate::engine::LOOK_BACK_MS) is chosen so.
pub(super) const LOOKS: u8 = 2;

/// A suspicion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// First sample, and the one behind the last.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Looks that confirmed it.
    pub(super) looks: u8,
}

pub(super) type Spans = SmallVec<[Span; SPANS_MAX]>;

/// Adds a span behind others, or to the last one where they are close.
pub(super) fn join(spans: &mut Spans, span: Span, gap: u64) {
    let full = spans.len() == SPANS_MAX;
    match spans.last_mut() {
        Some(last) if full || span.start <= last.end.saturating_add(gap) => {
            last.start = last.start.min(span.start);
            last.end = last.end.max(span.end);
            last.looks = last.looks.saturating_add(span.looks);
        }
        _ => spans.push(span),
    }
}

/// Samples between a place and what is silent of a span: all of it but a ramp at its beginning,
/// where a suspicion is wider than its tone.
pub(super) fn distance(at: u64, span: Span, ramp: u64) -> u64 {
    let start = (span.start + ramp).min(span.end);
    start
        .saturating_sub(at)
        .max((at + 1).saturating_sub(span.end))
}
