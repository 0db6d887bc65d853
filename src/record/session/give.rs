//! What a session gives to its file.

use std::time::Duration;

use super::copying::HOLD;
use super::places::Places;
use super::sink::Sink;
use super::trim::Trim;
use super::{DiskState, Output, Session, samples, time};
use crate::engine::TrackIx;
use crate::record::config::PauseMode;
use crate::record::event::RecordingEventKind;
use crate::record::span::{Span, SpanKind};

impl Session {
    /// Gives the block to the file, or holds it back while it may be the silence at the end.
    pub(super) fn keep(&mut self, len: u64, disk: &DiskState, out: &mut Output) {
        let file = match &mut self.sink {
            Sink::Samples(file) => file,
            Sink::Packets(_) => {
                let admitted = self.outage.admit(len, disk, out);
                self.store(admitted);
                self.advance(out);
                return;
            }
        };
        let channels = usize::from(self.config.layout.channels());
        let pcm = self.mixer.interleaved();
        let (held, pcm) = self
            .trim
            .as_mut()
            .map_or((&[][..], pcm), |trim| trim.put(pcm));
        if self.outage.admit_held((held.len() / channels) as u64) {
            file.push(held, &mut out.bytes);
        }
        if self.outage.admit((pcm.len() / channels) as u64, disk, out) {
            file.push(pcm, &mut out.bytes);
        }
        self.trim.iter_mut().for_each(Trim::done);
    }

    /// Places the packets that came until now, and some more, in the file; or forgets those that
    /// came until now.
    pub(super) fn store(&mut self, keeps: bool) {
        let rate_hz = self.config.rate_hz;
        let skips = self.config.pause == PauseMode::Skip;
        let (paused, turns) = (self.paused.is_some(), &self.turns);
        let places = Places {
            clock: self.clock,
            file: self.outage.given(),
            since: self.paused.filter(|_| skips),
            skips: &self.skips,
            turns: if skips { turns } else { &[] },
        };
        let Some(copying) = self.sink.copying() else {
            return;
        };
        let ahead = if keeps { HOLD } else { Duration::ZERO };
        copying.store(time(self.clock, rate_hz) + ahead, |at| {
            let at = samples(at, rate_hz);
            let turn = turns.iter().take_while(|(turn, _)| *turn <= at).last();
            let paused = turn.map_or(paused, |(_, pause)| *pause);
            let skipped = at.saturating_sub(places.place(at));
            (keeps && !paused).then(|| time(skipped, rate_hz))
        });
    }

    /// What was silent until now is told.
    pub(super) fn tell_gap(&mut self, out: &mut Output) {
        let mut spans = Vec::new();
        if let Some(copying) = self.sink.copying() {
            copying.writer().end_gap(&mut spans);
        }
        self.tell_copied(&spans, out);
    }

    /// Appends packets until where the file stands.
    pub(super) fn advance(&mut self, out: &mut Output) {
        let until = time(self.outage.given(), self.config.rate_hz);
        let mut spans = Vec::new();
        if let Some(copying) = self.sink.copying() {
            copying.advance(until, &mut out.bytes, &mut spans);
        }
        self.tell_copied(&spans, out);
    }

    pub(super) fn tell_copied(&mut self, spans: &[Span], out: &mut Output) {
        let rate_hz = self.config.rate_hz;
        for span in spans.iter().filter(|_| self.paused.is_none()) {
            let (from, until) = (samples(span.from, rate_hz), samples(span.until, rate_hz));
            let track = Some(TrackIx(0));
            self.notes
                .span(track, span.kind, from, until, &mut out.journal);
        }
    }

    /// Silence for what was lost, as far as there is room now.
    pub(super) fn pay(&mut self, disk: &DiskState, out: &mut Output) {
        let pays = self.outage.pay(disk, out);
        match &mut self.sink {
            _ if pays == 0 => {}
            Sink::Samples(file) => {
                let len = usize::try_from(pays).unwrap_or(0);
                let silence = vec![0; len * usize::from(self.config.layout.channels())];
                file.push(&silence, &mut out.bytes);
            }
            Sink::Packets(_) => self.advance(out),
        }
        if let Some(lost) = self.outage.settled() {
            let (from, until) = (lost.from, lost.until);
            self.notes
                .span(None, SpanKind::Unwritten, from, until, &mut out.journal);
            let rate_hz = self.config.rate_hz;
            out.samples_lost += until - from;
            out.events.push(RecordingEventKind::Lost {
                from: time(from, rate_hz),
                until: time(until, rate_hz),
                error: lost.error,
            });
        }
    }
}
