//! Packets become samples: sound, what stands in the place of what is missing, and silence.

use std::time::Duration;

use super::super::span::{Span, SpanKind};
use super::gap::Gap;
use super::hush::Hush;
use super::mask::{AHEAD_MS, Mask};
use super::queue::{Queue, Waiting, What};
use super::ready::Ready;
use super::slide::Slide;
use super::source::Source;
use super::voice::Voice;
use super::{SETTLE, TrackStats};
use crate::audio::codec::CodecKind;

/// Decoders of a track; one more replaces the one that was made first.
pub(super) const VOICES_MAX: usize = 4;

/// Names of codecs that are kept.
const CODECS_MAX: usize = 16;

/// Stretches of overrun that are remembered; more are one.
pub(super) const OVERRUNS_MAX: usize = 16;

/// A silence of this length has room for sound to be moved.
const ROOM_MS: i64 = 10;

/// The packet that was put in its place last.
#[derive(Clone, Copy, Debug)]
struct Last {
    key: i64,
    source: u32,
    /// Which of the 64 packets before it were put in their places; bit 0 is itself.
    played: u64,
}

/// Makes the samples of a track.
#[derive(Debug)]
pub(super) struct Renderer {
    rate_hz: u32,
    pub(super) per_ms: i64,
    pub(super) stats: TrackStats,
    pub(super) source: Source,
    pub(super) queue: Queue,
    pub(super) ready: Ready,
    slide: Slide,
    pub(super) voices: Vec<Voice>,
    /// The voice that has a run.
    pub(super) running: Option<CodecKind>,
    last: Option<Last>,
    pub(super) gap: Option<Gap>,
    pub(super) hush: Option<Hush>,
    /// What is not sent is comfort noise.
    pub(super) hushes: bool,
    mask: Option<Mask>,
    pub(super) overruns: Vec<(i64, i64)>,
}

impl Renderer {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz,
            per_ms: i64::from(rate_hz / 1_000),
            stats: TrackStats::default(),
            source: Source::new(rate_hz),
            queue: Queue::default(),
            ready: Ready::new(rate_hz),
            slide: Slide::new(rate_hz),
            voices: Vec::new(),
            running: None,
            last: None,
            gap: None,
            hush: None,
            hushes: false,
            mask: None,
            overruns: Vec::new(),
        }
    }

    /// Keeps decoders of some codecs.
    pub(super) fn keep(&mut self, is_kept: impl Fn(CodecKind) -> bool) {
        let running = self.running;
        let kept = |kind| running == Some(kind) || is_kept(kind);
        self.voices.retain(|voice| kept(voice.kind()));
    }

    /// A packet that has its place; `ended` is a relation that ended before it, and its shift.
    pub(super) fn packet(&mut self, packet: Waiting, payload: &[u8], ended: Option<(u32, f64)>) {
        if let Some((relation, by)) = ended {
            self.queue.shift(relation, by);
        }
        self.stats.ssrc_changes = self.source.changes();
        self.stats.drift_ppm = single(self.source.drift_ppm());
        if let Some(last) = &mut self.last
            && packet.key <= last.key
        {
            let age = last.key - packet.key;
            let bit = if age < 64 { 1 << age } else { 0 };
            if last.played & bit == 0 {
                self.stats.late += 1;
                last.played |= bit;
            }
            return;
        }
        self.queue.insert(packet, payload);
    }

    pub(super) fn overrun(&mut self, from: Duration, until: Duration) {
        let sample = |time: Duration| rounded(time.as_secs_f64() * f64::from(self.rate_hz));
        let (from, until) = (sample(from), sample(until) + self.frame());
        let read = self.ready.read() - 1_000 * self.per_ms;
        self.overruns.retain(|known| known.1 >= read);
        let full = self.overruns.len() == OVERRUNS_MAX;
        match self.overruns.last_mut() {
            Some(last) if full || from <= last.1 => {
                last.1 = last.1.max(until);
            }
            _ => self.overruns.push((from, until)),
        }
    }

    pub(super) fn read(&mut self, out: &mut [i16], spans: &mut Vec<Span>) {
        let until = self.ready.read() + out.len().cast_signed() as i64;
        self.make(until);
        if let Some(mask) = &mut self.mask {
            mask.cover(&mut self.ready, until);
            if mask.is_over(until) {
                self.mask = None;
            }
        }
        self.ready.take(out, spans);
    }

    /// Makes samples up to one, or further where sound goes on.
    fn make(&mut self, until: i64) {
        let ahead = AHEAD_MS * self.per_ms;
        loop {
            let goal = until + self.mask.as_ref().map_or(0, |_| ahead);
            if self.ready.made() >= goal {
                return;
            }
            let Some(start) = self.start_of_next() else {
                self.wait(goal);
                continue;
            };
            // A sample between two packets is an error of rounding.
            if start > self.run_end() + 1 {
                self.fill(start, goal);
            } else {
                self.next();
            }
            if let Some(mask) = &mut self.mask {
                mask.hear(&mut self.ready);
            }
        }
    }

    /// One past the last sample of what was decoded.
    pub(super) fn run_end(&self) -> i64 {
        rounded(self.exact_end())
    }

    /// The same, where sound is being moved.
    fn exact_end(&self) -> f64 {
        let owed = self.running().map_or(0, Voice::owed);
        float(self.ready.made()) + length_of(owed) + self.ready.owed()
    }

    pub(super) fn running(&self) -> Option<&Voice> {
        let running = self.running?;
        self.voices.iter().find(|voice| voice.kind() == running)
    }

    /// Length of a packet.
    pub(super) fn frame(&self) -> i64 {
        rounded(self.source.frame()).max(1)
    }

    /// Packets missing before the next.
    pub(super) fn missing(&self) -> i64 {
        match (self.queue.front(), self.last) {
            (Some(next), Some(last)) if next.source == last.source => next.key - last.key - 1,
            _ => 0,
        }
    }

    /// Where the next packet belongs; moves it if it has to jump.
    fn start_of_next(&mut self) -> Option<i64> {
        let next = self.queue.front()?;
        let (relation, media, at_s) = (next.relation, next.media, next.at_s);
        let is_timed = next.what != What::Nothing;
        let position = self.source.position(relation, media);
        let error = self.source.error(relation, at_s);
        let end = self.run_end();
        if !is_timed || !self.slide.is_off(error) {
            return Some(rounded(position));
        }
        let room = rounded(position) - end;
        let is_gap = room > 1;
        let is_silence = self.missing() == 0 && room >= ROOM_MS * self.per_ms;
        let moves =
            is_silence || (is_gap && self.slide.is_far(error)) || self.slide.jumps(error, at_s);
        if !moves {
            return Some(rounded(position));
        }
        let moved = match is_gap {
            true => (position + error).max(float(end)),
            false => position + error,
        };
        self.source.settle(relation, media, moved);
        Some(rounded(moved))
    }

    /// Puts the next packet in its place.
    fn next(&mut self) {
        let missing = self.missing();
        let Some(packet) = self.queue.pop() else {
            return;
        };
        let is_other = self.last.is_some_and(|last| last.source != packet.source);
        self.account(&packet, missing);
        match packet.what {
            What::Nothing => {}
            What::Noise(clock_hz) => self.take_noise(clock_hz, &packet.payload),
            What::Silence => self.pass(&packet, SpanKind::Silent),
            What::Opaque => self.undecoded(&packet),
            What::Sound(kind) => self.sound(&packet, kind, is_other),
        }
        self.queue.recycle(packet);
    }

    /// Notes which packets came, and which are missing.
    fn account(&mut self, packet: &Waiting, missing: i64) {
        if missing > 0 {
            self.account_missing(missing);
        }
        let step = self.last.map_or(0, |last| packet.key - last.key);
        let played = self.last.map_or(0, |last| last.played);
        let step = u32::try_from(step).unwrap_or(64);
        self.last = Some(Last {
            key: packet.key,
            source: packet.source,
            played: played.checked_shl(step).unwrap_or(0) | 1,
        });
    }

    fn account_missing(&mut self, missing: i64) {
        let until = self.run_end();
        let from = self.gap.map_or(until, |gap| gap.from);
        let kind = self.overrun_or(SpanKind::Lost, from, until);
        if kind == SpanKind::Lost {
            self.stats.lost += missing.cast_unsigned();
        }
        if let Some(gap) = self.gap.filter(Gap::was_blind) {
            let lost = missing.saturating_mul(self.frame());
            let lost_until = from.saturating_add(lost).min(gap.blind_until);
            self.ready.mark(kind, from, lost_until);
        }
    }

    fn take_noise(&mut self, clock_hz: u32, payload: &[u8]) {
        self.end_run();
        if self
            .hush
            .as_ref()
            .is_none_or(|hush| hush.clock_hz() != clock_hz)
        {
            self.hush = Hush::new(clock_hz, self.rate_hz);
        }
        if let Some(hush) = &mut self.hush {
            hush.set(payload);
            self.hushes = true;
        }
    }

    fn undecoded(&mut self, packet: &Waiting) {
        self.stats.undecoded += 1;
        self.pass(packet, SpanKind::Lost);
    }

    /// Silence for as long as a packet.
    fn pass(&mut self, packet: &Waiting, kind: SpanKind) {
        let frame = self.frame();
        let start = rounded(self.source.position(packet.relation, packet.media));
        let until = start.max(self.run_end() - frame) + frame;
        self.hushes = false;
        if until > self.run_end() {
            self.gap = None;
            self.end_run();
            self.quiet(until, kind);
            let end = self.run_end();
            let media = packet.media + float(frame);
            self.source.settle(packet.relation, media, float(end));
        }
    }

    fn sound(&mut self, packet: &Waiting, kind: CodecKind, is_other: bool) {
        let end = self.run_end();
        let samples = match self.voice(kind).map(|voice| voice.samples(&packet.payload)) {
            Some(Ok(samples)) => samples,
            _ => return self.undecoded(packet),
        };
        let position = self.source.position(packet.relation, packet.media);
        let before = (end - rounded(position)).max(0);
        let fits = !self.source.is_settled(packet.relation) && !self.slide.is_far(float(before));
        let skip = if fits { 0 } else { length(before) };
        if skip >= samples {
            return self.missed(rounded(position), end);
        }
        if skip > 0 {
            self.cut(rounded(position), end);
        }
        if self.running != Some(kind) {
            self.end_run();
        }
        let error = self.source.error(packet.relation, packet.at_s);
        let starts = self.running.replace(kind) != Some(kind);
        let Some(voice) = self.voices.iter_mut().find(|voice| voice.kind() == kind) else {
            return;
        };
        if starts {
            voice.begin();
        }
        if is_other {
            voice.reset();
        }
        if voice.decode(&packet.payload, skip).is_err() {
            return self.undecoded(packet);
        }
        let from = self.ready.made();
        let drift = self.source.drift_ppm() * 1e-6;
        self.slide.slide(self.ready.warp(), error, drift);
        self.ready.sound(voice.sound());
        (self.gap, self.hushes) = (None, false);
        self.stats.packets += 1;
        self.mask(packet, from, self.run_end());
        let media = packet.media + length_of(samples);
        self.source.settle(packet.relation, media, self.exact_end());
    }

    /// A packet whose time has passed.
    fn missed(&mut self, start: i64, end: i64) {
        if self.cut(start, end) {
            self.stats.lost += 1;
            self.stats.late += 1;
        }
    }

    /// What of a packet came too late was taken for silence; whether it was.
    fn cut(&mut self, start: i64, end: i64) -> bool {
        let blind = self.gap.filter(Gap::was_blind);
        if let Some(gap) = blind {
            self.ready.mark(SpanKind::Lost, gap.from.max(start), end);
        }
        blind.is_some()
    }

    /// Keys are heard in what is to be masked, and a while longer.
    fn mask(&mut self, packet: &Waiting, from: i64, end: i64) {
        if packet.veiled && self.mask.is_none() {
            self.mask = Mask::new(self.rate_hz, from);
        }
        if packet.veiled
            && let Some(mask) = &mut self.mask
        {
            mask.extend(end);
        }
    }

    fn voice(&mut self, kind: CodecKind) -> Option<&mut Voice> {
        if let Some(at) = self.voices.iter().position(|voice| voice.kind() == kind) {
            return self.voices.get_mut(at);
        }
        let voice = Voice::new(kind, self.rate_hz).ok()?;
        if self.voices.len() == VOICES_MAX {
            self.end_run();
            self.voices.remove(0);
        }
        let name = kind.to_string();
        if self.stats.codecs.len() < CODECS_MAX && !self.stats.codecs.contains(&name) {
            self.stats.codecs.push(name);
        }
        self.voices.push(voice);
        self.voices.last_mut()
    }

    /// What a stretch is, if the tape had no room for some of it.
    pub(super) fn overrun_or(&self, kind: SpanKind, from: i64, until: i64) -> SpanKind {
        let settle = i64::try_from(SETTLE.as_millis()).unwrap_or(0) * self.per_ms;
        let over = |over: &(i64, i64)| over.0 - settle < until && from < over.1;
        match self.overruns.iter().any(over) {
            true => SpanKind::Overrun,
            false => kind,
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "saturates; years of samples fit"
)]
fn rounded(samples: f64) -> i64 {
    samples.round() as i64
}

#[allow(clippy::cast_precision_loss, reason = "years of samples fit 52 bits")]
fn float(samples: i64) -> f64 {
    samples as f64
}

#[allow(clippy::cast_possible_truncation, reason = "a statistic")]
fn single(ppm: f64) -> f32 {
    ppm as f32
}

#[allow(clippy::cast_precision_loss, reason = "a packet's samples")]
fn length_of(samples: usize) -> f64 {
    samples as f64
}

/// A length that is not negative.
pub(super) fn length(samples: i64) -> usize {
    usize::try_from(samples).unwrap_or(0)
}
