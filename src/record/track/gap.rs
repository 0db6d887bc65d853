//! What stands between two packets: sound made up for what is lost, or nothing, or its noise.

use super::super::span::SpanKind;
use super::queue::What;
use super::render::{Renderer, length};
use super::voice::Voice;

/// How long what a decoder plays of itself is asked for; then there is silence.
const HUM_MS_MAX: i64 = 1_000;

/// Unit of what Opus plays of itself, in microseconds.
const HUM_US: i64 = 2_500;

/// A stretch without sound before the next packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) from: i64,
    /// Up to here it was filled when nobody knew what comes next.
    pub(super) blind_until: i64,
}

impl Gap {
    fn at(from: i64) -> Self {
        Self {
            from,
            blind_until: from,
        }
    }

    /// Whether some of it was filled so.
    pub(super) fn was_blind(&self) -> bool {
        self.blind_until > self.from
    }
}

impl Renderer {
    /// Nothing is there that comes next.
    pub(super) fn wait(&mut self, goal: i64) {
        let from = self.run_end();
        let gap = self.gap.get_or_insert_with(|| Gap::at(from));
        gap.blind_until = goal;
        let kind = self.overrun_or(SpanKind::Silent, from, goal);
        self.quiet(goal, kind);
    }

    /// Fills some of what is between the sound so far and the next packet, which begins at `start`.
    pub(super) fn fill(&mut self, start: i64, goal: i64) {
        let from = self.run_end();
        let gap = *self.gap.get_or_insert_with(|| Gap::at(from));
        let (missing, frame) = (self.missing(), self.frame());
        let mut lost_until = gap
            .from
            .saturating_add(missing.saturating_mul(frame))
            .min(start);
        if missing > 0 && start - lost_until < frame / 2 {
            lost_until = start;
        }
        if from >= lost_until {
            return self.quiet(start.min(goal.max(from + 1)), SpanKind::Silent);
        }
        let kind = self.overrun_or(SpanKind::Lost, gap.from, start);
        if kind == SpanKind::Lost && !gap.was_blind() && self.conceal(lost_until, start) {
            return;
        }
        self.quiet(lost_until.min(goal.max(from + 1)), kind);
    }

    /// Makes up a packet of those lost up to `lost_until`.
    fn conceal(&mut self, lost_until: i64, start: i64) -> bool {
        let (from, frame) = (self.run_end(), self.frame());
        let left = lost_until - from;
        let piece = if left < frame + frame / 2 {
            left
        } else {
            frame
        };
        let Some(kind) = self.running else {
            return false;
        };
        let Some(voice) = self.voices.iter_mut().find(|voice| voice.kind() == kind) else {
            return false;
        };
        let next = self.queue.front();
        let next = next.filter(|next| next.what == What::Sound(kind) && lost_until == start);
        let next = next.map(|next| next.payload.as_slice());
        if !voice.conceal(length(piece), length(left - piece), next) {
            return false;
        }
        self.ready.sound(voice.sound());
        let end = self.run_end();
        self.ready.mark(SpanKind::Concealed, from, end);
        true
    }

    /// Nothing is heard up to a sample, or what stands for nothing.
    pub(super) fn quiet(&mut self, until: i64, kind: SpanKind) {
        let from = self.run_end();
        let hummed = self.gap.map_or(0, |gap| from - gap.from);
        let hums = self.running().is_some_and(Voice::hums) && kind == SpanKind::Silent;
        if hums && hummed < HUM_MS_MAX * self.per_ms && self.hum(until) {
            self.ready.mark(kind, from, self.run_end());
            return;
        }
        self.end_run();
        let more = length(until - self.ready.made());
        match &mut self.hush {
            Some(hush) if self.hushes && kind == SpanKind::Silent => {
                hush.fill(more, self.ready.samples());
            }
            _ => self.ready.silence(until),
        }
        self.ready.mark(kind, from, self.ready.made());
    }

    /// What the decoder plays where nothing is sent.
    fn hum(&mut self, until: i64) -> bool {
        let unit = (HUM_US * self.per_ms / 1_000).max(1);
        while self.run_end() < until {
            let left = until - self.run_end();
            let piece = (left.min(20 * self.per_ms) + unit - 1) / unit * unit;
            let running = self.running;
            let voice = self.voices.iter_mut();
            let Some(voice) = voice.into_iter().find(|v| Some(v.kind()) == running) else {
                return false;
            };
            if !voice.hum(length(piece)) {
                return false;
            }
            self.ready.sound(voice.sound());
        }
        true
    }

    /// The sound so far is followed by something else.
    pub(super) fn end_run(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if let Some(voice) = self.voices.iter_mut().find(|v| v.kind() == running) {
            self.ready.sound(voice.end());
        }
        self.ready.end();
    }
}
