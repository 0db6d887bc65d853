//! One recording, without a clock, a thread or a file: what comes on a tape becomes octets.
//!
//! Two positions are counted in samples. The **clock** has every sample since the tape's origin,
//! whatever becomes of it. The **file** has those that are in it, or will be: a pause that skips
//! does not move it. Tracks are read on the clock; spans, presses and segments are told on the
//! file.

mod control;
mod copying;
mod give;
mod mixer;
mod notes;
mod outage;
mod places;
mod presses;
mod sink;
mod trim;

use std::time::{Duration, Instant};

pub use self::control::Command;
use self::control::Stop;
use self::mixer::Mixer;
use self::notes::Notes;
#[cfg(test)]
pub(super) use self::outage::END_LEN;
use self::outage::Outage;
use self::places::{Places, Skips};
use self::presses::Presses;
use self::sink::Sink;
use self::trim::Trim;
use super::config::RecordingConfig;
use super::event::{RecordingEventKind, StopReason};
use super::file::Patch;
use super::sidecar::{Note, SEGMENT, Sidecar};
use super::span::{Span, SpanKind};
use super::track::{SETTLE, Track};
use crate::audio::codec::CodecError;
use crate::audio::level::SpeechDetector;
use crate::engine::{Entry, Side, TRACKS_MAX, TapeReader, TrackIx};

/// How often octets are given out.
pub const FLUSH: Duration = Duration::from_millis(160);

/// Read, mixed and judged at a time.
const BLOCK: Duration = Duration::from_millis(20);

/// With [`trim`](RecordingConfig::trim), so much before the key that ended it is left out too: a
/// tone is known to be a key only after a while.
const FINISH_TONE: Duration = Duration::from_millis(100);

/// How the disk is, as far as a session must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskState {
    /// Octets that may be given out.
    pub room: usize,
    /// Octets that may be given out to a disk that is never slow.
    pub capacity: usize,
    /// What the disk said last, if it is in trouble.
    pub error: Option<Box<str>>,
}

/// What a session gives out. Octets first, then the patch, then the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// To be appended to the file.
    pub bytes: Vec<u8>,
    /// To be written over the file's beginning after that.
    pub patch: Option<Patch>,
    /// To be appended to the journal after that.
    pub journal: Vec<u8>,
    /// What happened.
    pub events: Vec<RecordingEventKind>,
    /// Samples of each channel that silence stands for.
    pub samples_lost: u64,
    /// It is time to hand this on, and to take a new one.
    pub due: bool,
    /// So many of the octets are in the chain, or before it.
    pub(in crate::record) summed: usize,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Running,
    /// All is given out.
    Ended {
        /// Nothing is to be kept.
        discard: bool,
    },
}

/// A track, and since which sample of the clock it is there.
#[derive(Debug)]
struct Slot {
    track: Track,
    since: u64,
    channel: usize,
}

/// One recording.
#[derive(Debug)]
pub struct Session {
    config: RecordingConfig,
    tape: TapeReader,
    /// By track, up to the last there is.
    slots: Vec<Option<Box<Slot>>>,
    /// Whose payload types they know: leg and side.
    owners: [Option<(Box<str>, Side)>; TRACKS_MAX],
    mixer: Mixer,
    detector: SpeechDetector,
    sink: Sink,
    outage: Outage,
    trim: Option<Trim>,
    notes: Notes,
    /// Pauses (`true`) and their ends, by sample of the clock, in order.
    turns: Vec<(u64, bool)>,
    skips: Skips,
    presses: Presses,
    /// Paused since this sample of the clock.
    paused: Option<u64>,
    stop: Option<Stop>,
    clock: u64,
    file: u64,
    /// Samples in which nobody spoke until now.
    quiet: u64,
    segment_until: u64,
    flushed: Instant,
    ended: bool,
}

impl Session {
    /// A recording of what comes on the tape. `started`: the wall clock at the tape's origin, in
    /// RFC 3339. `serial`: for Ogg.
    ///
    /// # Errors
    /// [`CodecError`] if the format cannot be written.
    pub fn new(
        config: RecordingConfig,
        tape: TapeReader,
        started: &str,
        serial: u32,
        out: &mut Output,
    ) -> Result<Self, CodecError> {
        let (rate_hz, channels) = (config.rate_hz, config.layout.channels());
        let comments = [
            format!("DATE={started}"),
            format!("TITLE={}", config.path),
            format!("CALL_ID={}", config.call_id),
        ];
        let mut sink = Sink::new(&config, serial, &comments)?;
        let header_len = sink.header_len();
        sink.begin(&mut out.bytes);
        out.patch = sink.patch();
        let sidecar = Sidecar::new(&config, started, header_len);
        // Packets are not judged by their sound.
        let trims = config.trim && sink.copying().is_none();
        let mut session = Self {
            slots: Vec::new(),
            owners: Default::default(),
            mixer: Mixer::new(channels),
            detector: SpeechDetector::new(rate_hz),
            sink,
            outage: Outage::new(rate_hz, channels),
            trim: trims.then(|| Trim::new(rate_hz, channels)),
            notes: Notes::new(sidecar, rate_hz, &mut out.journal),
            turns: Vec::new(),
            skips: Skips::default(),
            presses: Presses::default(),
            paused: None,
            stop: None,
            clock: 0,
            file: 0,
            quiet: 0,
            segment_until: 0,
            flushed: tape.origin(),
            ended: false,
            config,
            tape,
        };
        session.segment_until = session.samples(SEGMENT);
        let tracks = std::mem::take(&mut session.config.tracks);
        for (track, config) in (0..).map(TrackIx).zip(tracks) {
            session.set_track(track, &config, 0, out);
        }
        session.notes.sum(out);
        out.due = true;
        Ok(session)
    }

    /// The call.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.config.call_id
    }

    /// Its path in the recordings' directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.config.path
    }

    /// What the sidecar says until now.
    #[must_use]
    pub fn sidecar(&self) -> &Sidecar {
        self.notes.sidecar()
    }

    /// Does what can be done by now.
    pub fn work(&mut self, now: Instant, disk: &DiskState, out: &mut Output) -> Progress {
        let progress = self.try_work(now, disk, out);
        self.notes.sum(out);
        progress
    }

    fn try_work(&mut self, now: Instant, disk: &DiskState, out: &mut Output) -> Progress {
        self.drain(now, out);
        self.pay(disk, out);
        let mut horizon = self.sample_at(now.checked_sub(SETTLE).unwrap_or(now));
        let block = self.samples(BLOCK);
        while !self.ended {
            if let Some(stop) = self.stop {
                horizon = horizon.min(stop.at.max(self.clock));
                if self.clock >= stop.at {
                    break;
                }
            }
            self.take_turns(out);
            let until = self.boundary().min(self.clock + block);
            if until > horizon {
                break;
            }
            self.block(until - self.clock, disk, out);
        }
        while let Some(press) = self.presses.before(self.clock) {
            self.tell_press(press, out);
        }
        let stop = self.stop.filter(|stop| self.clock >= stop.at);
        match stop {
            Some(stop) if self.ended || self.outage.is_over() => {
                if !self.ended {
                    self.finish(stop.reason, out);
                }
                Progress::Ended {
                    discard: stop.discard,
                }
            }
            _ => {
                self.flush(now, out);
                Progress::Running
            }
        }
    }

    fn samples(&self, time: Duration) -> u64 {
        samples(time, self.config.rate_hz)
    }

    fn sample_at(&self, at: Instant) -> u64 {
        self.samples(at.saturating_duration_since(self.tape.origin()))
    }

    /// Takes what is on the tape.
    fn drain(&mut self, now: Instant, out: &mut Output) {
        let rate_hz = self.config.rate_hz;
        while let Some(entry) = self.tape.next() {
            match entry {
                Entry::Packet(mut taped) => {
                    if let (Some(copying), TrackIx(0)) = (self.sink.copying(), taped.track) {
                        copying.packet(&taped);
                    }
                    let slot = self.slots.get_mut(usize::from(taped.track.0));
                    if let Some(Some(slot)) = slot {
                        taped.at = taped.at.saturating_sub(time(slot.since, rate_hz));
                        slot.track.packet(taped);
                    }
                }
                Entry::Press { at, track, lasted } => {
                    let at = samples(at, rate_hz);
                    if let Some(oldest) = self.presses.push(at, track, lasted) {
                        self.tell_press(oldest, out);
                    }
                }
                Entry::Finish { at, .. } => {
                    let early = self.trim.as_ref().map_or(Duration::ZERO, |_| FINISH_TONE);
                    let at = self.samples(at.saturating_sub(early));
                    self.stop_at(at, StopReason::FinishKey, false);
                }
                Entry::Lost { from, until, .. } => self.overrun(from, until, out),
                Entry::End { at } => {
                    let at = self.samples(at);
                    self.stop_at(at, StopReason::CallEnded, false);
                }
            }
        }
        // It was dropped without a word.
        if self.tape.is_over() && self.stop.is_none() {
            let at = self.sample_at(now);
            self.stop_at(at, StopReason::CallEnded, false);
        }
    }

    /// The tape was full.
    fn overrun(&mut self, from: Duration, until: Duration, out: &mut Output) {
        let rate_hz = self.config.rate_hz;
        for slot in self.slots.iter_mut().flatten() {
            let since = time(slot.since, rate_hz);
            let (from, until) = (from.saturating_sub(since), until.saturating_sub(since));
            slot.track.overrun(from, until);
        }
        let places = self.places();
        let place = |at| time(places.place(samples(at, rate_hz)), rate_hz);
        out.events.push(RecordingEventKind::Lost {
            from: place(from),
            until: place(until),
            error: "the recorder was too slow".into(),
        });
    }

    /// The next samples of the clock.
    fn block(&mut self, len: u64, disk: &DiskState, out: &mut Output) {
        self.read(len, out);
        let skips = self.skips();
        self.clock += len;
        if !skips {
            if self.paused.is_some() {
                self.mixer.silence();
                let (from, until) = (self.file, self.file + len);
                self.notes
                    .span(None, SpanKind::Paused, from, until, &mut out.journal);
            }
            self.listen(len);
            self.keep(len, disk, out);
            self.file += len;
            self.cut_segment(out);
        } else {
            self.store(self.outage.is_over());
        }
        let over =
            |max: Option<Duration>, len: u64| max.is_some_and(|max| len >= self.samples(max));
        if over(self.config.length_max, self.file) {
            self.stop_at(self.clock, StopReason::LengthMax, false);
        } else if over(self.config.silence_max, self.quiet) {
            self.stop_at(self.clock, StopReason::Silence, false);
        }
    }

    /// Reads and adds up all tracks. What they tell of a pause is not told.
    fn read(&mut self, len: u64, out: &mut Output) {
        self.mixer.begin(len);
        let mut spans: Vec<Span> = Vec::new();
        // What packets that are stored tell is told where they are.
        let is_told = self.paused.is_none() && self.sink.copying().is_none();
        for (index, slot) in (0..).zip(&mut self.slots) {
            let Some(slot) = slot else { continue };
            spans.clear();
            slot.track.read(self.mixer.input(), &mut spans);
            self.mixer.add(slot.channel);
            if !is_told {
                continue;
            }
            for span in &spans {
                let place = |at| {
                    let at = samples(at, self.config.rate_hz) + slot.since;
                    in_file(at, self.clock, self.file)
                };
                let (from, until) = (place(span.from), place(span.until));
                let track = Some(TrackIx(index));
                self.notes
                    .span(track, span.kind, from, until, &mut out.journal);
            }
        }
        self.mixer.end();
    }

    /// How long nobody spoke. A pause is no silence.
    fn listen(&mut self, len: u64) {
        if self.config.silence_max.is_none() && self.trim.is_none() {
            return;
        }
        let activity = self.detector.update(self.mixer.all());
        if let Some(trim) = &mut self.trim {
            trim.heard(activity);
        }
        if activity.speech {
            self.quiet = 0;
        } else if self.paused.is_none() {
            self.quiet += len;
        }
    }

    fn cut_segment(&mut self, out: &mut Output) {
        if self.file < self.segment_until {
            return;
        }
        self.segment_until += self.samples(SEGMENT);
        self.tell_stats(out);
        self.notes.tell_open(&mut out.journal);
        self.notes.segment(self.outage.given(), false, out);
    }

    fn tell_stats(&mut self, out: &mut Output) {
        for (track, slot) in (0..).zip(&self.slots) {
            if let Some(slot) = slot {
                let stats = slot.track.stats().into();
                self.notes
                    .note(Note::Stats { track, stats }, &mut out.journal);
            }
        }
        if let Some(copying) = self.sink.copying() {
            let (track, stats) = (0, copying.stats());
            self.notes
                .note(Note::Stats { track, stats }, &mut out.journal);
        }
    }

    fn flush(&mut self, now: Instant, out: &mut Output) {
        if now.saturating_duration_since(self.flushed) < FLUSH {
            return;
        }
        self.flushed = now;
        self.sink.flush(&mut out.bytes);
        out.patch = self.sink.patch();
        out.due = true;
    }

    fn finish(&mut self, reason: StopReason, out: &mut Output) {
        while let Some(press) = self.presses.before(u64::MAX) {
            self.tell_press(press, out);
        }
        if let Some(since) = self.paused {
            self.end_pause(since, out);
        }
        let held = self.trim.as_ref().map_or(0, Trim::held);
        self.file -= held;
        let (length, mut spans) = (time(self.file, self.config.rate_hz), Vec::new());
        self.sink.finish(length, &mut out.bytes, &mut spans);
        self.tell_copied(&spans, out);
        out.patch = self.sink.patch();
        self.tell_stats(out);
        self.notes.end(&mut out.journal);
        self.notes.segment(self.file, true, out);
        let length_us = self.notes.us(self.file);
        let note = Note::End { reason, length_us };
        self.notes.note(note, &mut out.journal);
        self.ended = true;
        out.due = true;
    }
}

/// Samples in a time.
#[allow(
    clippy::cast_possible_truncation,
    reason = "below 2^64 for 500,000 years"
)]
fn samples(time: Duration, rate_hz: u32) -> u64 {
    (time.as_nanos() * u128::from(rate_hz) / 1_000_000_000) as u64
}

/// Time of so many samples.
fn time(samples: u64, rate_hz: u32) -> Duration {
    let rate_hz = u64::from(rate_hz);
    let whole = Duration::from_secs(samples / rate_hz);
    whole + Duration::from_nanos((samples % rate_hz) * 1_000_000_000 / rate_hz)
}

/// Where a sample of the clock is in the file, near the place where both stand now.
fn in_file(at: u64, clock: u64, file: u64) -> u64 {
    (at + file).saturating_sub(clock)
}

#[cfg(test)]
pub(super) mod tests;
