//! Samples that stand where they belong and wait to be read, and what is not simply sound in them.

use std::time::Duration;

use super::super::span::{Span, SpanKind};
use super::warp::Warp;

/// Most stretches that are kept until they are read; more are one.
pub const MARKS_MAX: usize = 64;

/// A stretch, in samples since the recording's beginning.
#[derive(Clone, Copy, Debug)]
struct Mark {
    kind: SpanKind,
    from: i64,
    until: i64,
}

/// Samples behind those that were read.
#[derive(Debug)]
pub(super) struct Ready {
    rate_hz: u32,
    samples: Vec<i16>,
    warp: Warp,
    /// Number of the first of them.
    read: i64,
    marks: Vec<Mark>,
}

impl Ready {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz,
            samples: Vec::new(),
            warp: Warp::default(),
            read: 0,
            marks: Vec::new(),
        }
    }

    /// One past the last sample.
    pub(super) fn made(&self) -> i64 {
        self.read + self.samples.len().cast_signed() as i64
    }

    /// The first that was not read.
    pub(super) fn read(&self) -> i64 {
        self.read
    }

    /// The samples from a number on, as far as they are here.
    pub(super) fn from(&mut self, number: i64) -> &mut [i16] {
        let at = usize::try_from(number - self.read).unwrap_or(0);
        let at = at.min(self.samples.len());
        &mut self.samples[at..]
    }

    /// Where what is no sound may append, when sound has [ended](Self::end).
    pub(super) fn samples(&mut self) -> &mut Vec<i16> {
        &mut self.samples
    }

    /// Appends sound, as it is moved now.
    pub(super) fn sound(&mut self, pcm: &[i16]) {
        self.warp.append(pcm, &mut self.samples);
    }

    /// Samples of sound that will be made, once more comes.
    pub(super) fn owed(&self) -> f64 {
        self.warp.owed()
    }

    /// What moves the sound.
    pub(super) fn warp(&mut self) -> &mut Warp {
        &mut self.warp
    }

    /// No more sound comes for now.
    pub(super) fn end(&mut self) {
        self.warp.end(&mut self.samples);
    }

    /// Appends silence up to a sample.
    pub(super) fn silence(&mut self, until: i64) {
        let more = usize::try_from(until - self.made()).unwrap_or(0);
        self.samples.resize(self.samples.len() + more, 0);
    }

    /// Says that a stretch is not simply sound.
    pub(super) fn mark(&mut self, kind: SpanKind, from: i64, until: i64) {
        let from = from.max(0);
        if from >= until {
            return;
        }
        let full = self.marks.len() >= MARKS_MAX;
        let same = self.marks.iter_mut().rev().find(|mark| mark.kind == kind);
        match same {
            Some(mark) if full || (from <= mark.until && mark.from <= until) => {
                mark.from = mark.from.min(from);
                mark.until = mark.until.max(until);
            }
            _ if full => {}
            _ => self.marks.push(Mark { kind, from, until }),
        }
    }

    /// Reads as many samples as there must be.
    pub(super) fn take(&mut self, out: &mut [i16], spans: &mut Vec<Span>) {
        let there = out.len().min(self.samples.len());
        let (known, missing) = out.split_at_mut(there);
        known.copy_from_slice(&self.samples[..there]);
        missing.fill(0);
        self.samples.drain(..there);
        self.read += out.len().cast_signed() as i64;
        let (read, rate_hz) = (self.read, self.rate_hz);
        for mark in &mut self.marks {
            let until = mark.until.min(read);
            if mark.from < until {
                spans.push(Span {
                    track: None,
                    kind: mark.kind,
                    from: moment(mark.from, rate_hz),
                    until: moment(until, rate_hz),
                });
                mark.from = until;
            }
        }
        self.marks.retain(|mark| mark.from < mark.until);
    }
}

/// When a sample is, since the recording's beginning.
fn moment(sample: i64, rate_hz: u32) -> Duration {
    let (sample, rate) = (sample.max(0).cast_unsigned(), u64::from(rate_hz.max(1)));
    let rest_ns = sample % rate * 1_000_000_000 / rate;
    Duration::from_secs(sample / rate) + Duration::from_nanos(rest_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_told_in_pieces_that_touch_and_end_where_they_end() {
        let mut ready = Ready::new(8_000);
        ready.silence(400);
        ready.mark(SpanKind::Silent, 0, 100);
        ready.mark(SpanKind::Silent, 100, 250);
        ready.mark(SpanKind::Lost, 250, 400);
        let mut spans = Vec::new();
        ready.take(&mut [0; 200], &mut spans);
        ready.take(&mut [0; 200], &mut spans);
        let told: Vec<_> = spans
            .iter()
            .map(|s| (s.kind, s.from.as_micros(), s.until.as_micros()))
            .collect();
        let expected = [
            (SpanKind::Silent, 0, 25_000),
            (SpanKind::Silent, 25_000, 31_250),
            (SpanKind::Lost, 31_250, 50_000),
        ];
        assert_eq!(told, expected);
        assert!(ready.marks.is_empty());
    }

    #[test]
    fn so_many_stretches_are_kept_and_more_are_one() {
        let mut ready = Ready::new(8_000);
        for n in 0..MARKS_MAX as i64 {
            ready.mark(SpanKind::Lost, 10 * n, 10 * n + 5);
        }
        assert_eq!(ready.marks.len(), MARKS_MAX);
        ready.mark(SpanKind::Lost, 9_000, 9_005);
        assert_eq!(ready.marks.len(), MARKS_MAX);
        let last = ready.marks.last().unwrap();
        assert_eq!(
            (last.from, last.until),
            (10 * (MARKS_MAX as i64 - 1), 9_005)
        );
    }
}
