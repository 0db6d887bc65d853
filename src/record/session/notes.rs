//! What a session notes: in memory for the sidecar, and on the journal, the same in both.

use std::time::Duration;

use super::{Output, time};
use crate::engine::{TRACKS_MAX, TrackIx};
use crate::record::journal;
use crate::record::sidecar::{Chain, Note, PressInfo, SEGMENTS_MAX, Sidecar, SpanInfo, touches};
use crate::record::span::SpanKind;

/// The notes of one recording.
#[derive(Debug)]
pub(super) struct Notes {
    sidecar: Sidecar,
    rate_hz: u32,
    chain: Chain,
    /// Octets of the header that are still to come.
    header_left: u64,
    /// Spans that may go on; at most one of each kind for each track.
    open: Vec<SpanInfo>,
    /// Keys that are down, by track: since when.
    down: [Option<u64>; TRACKS_MAX],
}

impl Notes {
    pub(super) fn new(sidecar: Sidecar, rate_hz: u32, out: &mut Vec<u8>) -> Self {
        journal::append(&Note::Begin(Box::new(sidecar.clone())), out);
        Self {
            rate_hz,
            chain: Chain::new(sidecar.header_len),
            header_left: sidecar.header_len,
            open: Vec::new(),
            down: [None; TRACKS_MAX],
            sidecar,
        }
    }

    pub(super) fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// Microseconds of so many samples.
    pub(super) fn us(&self, samples: u64) -> u64 {
        micros(time(samples, self.rate_hz))
    }

    pub(super) fn note(&mut self, note: Note, out: &mut Vec<u8>) {
        journal::append(&note, out);
        self.sidecar.note(note);
    }

    /// A piece of a span, in samples of the file. It is noted when it is over.
    pub(super) fn span(
        &mut self,
        track: Option<TrackIx>,
        kind: SpanKind,
        from: u64,
        until: u64,
        out: &mut Vec<u8>,
    ) {
        let next = SpanInfo {
            track: track.map(|track| track.0),
            kind,
            from_us: self.us(from),
            until_us: self.us(until),
            skipped_us: 0,
        };
        let same = |span: &SpanInfo| (span.track, span.kind) == (next.track, next.kind);
        let Some(open) = self.open.iter_mut().find(|span| same(span)) else {
            self.open.push(next);
            return;
        };
        if touches(open, &next) {
            open.until_us = open.until_us.max(next.until_us);
        } else {
            let over = std::mem::replace(open, next);
            self.note(Note::Span(over), out);
        }
    }

    /// Notes what goes on, as far as it got: a crash loses no more of it.
    pub(super) fn tell_open(&mut self, out: &mut Vec<u8>) {
        for index in 0..self.open.len() {
            let span = self.open[index];
            if span.from_us < span.until_us {
                self.note(Note::Span(span), out);
            }
            self.open[index].from_us = span.until_us;
        }
    }

    /// A key went down, or came up (`from`: it had gone down there), at this sample of the file.
    /// `skipped`: nothing of it is in the file.
    pub(super) fn press(
        &mut self,
        track: TrackIx,
        at: u64,
        from: Option<u64>,
        skipped: bool,
        out: &mut Vec<u8>,
    ) {
        let at_us = self.us(at);
        let from_us = from.map(|from| self.us(from));
        let Some(down) = self.down.get_mut(usize::from(track.0)) else {
            return;
        };
        let Some(from_us) = from_us else {
            *down = Some(at_us);
            return;
        };
        *down = None;
        if skipped {
            return;
        }
        let press = PressInfo {
            track: track.0,
            from_us,
            until_us: Some(at_us),
        };
        self.note(Note::Press(press), out);
        let span = SpanInfo {
            track: Some(track.0),
            kind: SpanKind::Pressed,
            from_us,
            until_us: at_us,
            skipped_us: 0,
        };
        self.note(Note::Span(span), out);
    }

    /// Nothing goes on any more.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.tell_open(out);
        self.open.clear();
        for (track, down) in (0..).zip(std::mem::take(&mut self.down)) {
            if let Some(from_us) = down {
                let until_us = None;
                let press = PressInfo {
                    track,
                    from_us,
                    until_us,
                };
                self.note(Note::Press(press), out);
            }
        }
    }

    /// Takes what is new of the output into the chain.
    pub(super) fn sum(&mut self, out: &mut Output) {
        let new = out.bytes.get(out.summed..).unwrap_or_default();
        let header = usize::try_from(self.header_left).unwrap_or(usize::MAX);
        let header = header.min(new.len());
        self.chain.push(&new[header..]);
        self.header_left -= header as u64;
        out.summed = out.bytes.len();
    }

    /// Ends a segment with what is given out until now, which is sound up to this sample. Of a
    /// recording's last segments only the very last one is.
    pub(super) fn segment(&mut self, until: u64, last: bool, out: &mut Output) {
        self.sum(out);
        if !last && self.sidecar.segments.len() + 1 >= SEGMENTS_MAX {
            return;
        }
        if let Some(segment) = self.chain.cut(self.us(until)) {
            self.note(Note::Segment(segment), &mut out.journal);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
