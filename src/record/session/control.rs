//! What somebody wants of a recording, and when it pauses and ends.

use std::time::Instant;

use super::{Output, Places, Session, Slot};
use crate::engine::{TrackIx, TrackType};
use crate::record::config::{PauseMode, TrackConfig};
use crate::record::event::StopReason;
use crate::record::sidecar::{Note, SpanInfo, leg};
use crate::record::span::SpanKind;
use crate::record::track::Track;

/// What somebody wants of a recording in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Somebody is on a track from now on.
    Track(TrackIx, TrackConfig),
    /// What a track's payload types mean from now on; numbers that are not among them keep their
    /// meaning.
    Types(TrackIx, Vec<TrackType>),
    /// From this moment on nothing is recorded.
    Pause(Instant),
    /// From this moment on it is again.
    Resume(Instant),
    /// The recording ends at this moment.
    Stop {
        /// When.
        at: Instant,
        /// Nothing is kept.
        discard: bool,
    },
}

/// When and why a recording ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    pub(super) at: u64,
    pub(super) reason: StopReason,
    pub(super) discard: bool,
}

impl Session {
    /// Carries out a command; one for a moment to come is for `now`.
    pub fn command(&mut self, command: Command, now: Instant, out: &mut Output) {
        match command {
            Command::Track(track, config) => {
                let since = self.sample_at(now);
                self.set_track(track, &config, since, out);
            }
            Command::Types(track, types) => self.set_types(track, &types),
            Command::Pause(at) => self.turn(at.min(now), true),
            Command::Resume(at) => self.turn(at.min(now), false),
            Command::Stop { at, discard } => {
                let at = self.sample_at(at.min(now));
                self.stop_at(at, StopReason::Commanded, discard);
            }
        }
    }

    /// `since`: when somebody came on it, by sample of the clock.
    pub(super) fn set_track(
        &mut self,
        track: TrackIx,
        config: &TrackConfig,
        since: u64,
        out: &mut Output,
    ) {
        let channel = self.config.layout.channel_of(track, config.channel);
        let place = usize::from(track.0);
        let Some(owner) = self.owners.get_mut(place) else {
            return;
        };
        if channel >= self.config.layout.channels() {
            return;
        }
        if place >= self.slots.len() {
            self.slots.resize_with(place + 1, || None);
        }
        let (clock, rate_hz) = (self.clock, self.config.rate_hz);
        let now = Some((config.leg.clone(), config.side));
        let is_other = std::mem::replace(owner, now.clone()) != now;
        let copying = self.sink.copying();
        if copying.is_none() || self.config.silence_max.is_some() {
            let slot = self.slots[place].get_or_insert_with(|| {
                Box::new(Slot {
                    track: Track::new(rate_hz),
                    since: clock,
                    channel: 0,
                })
            });
            slot.channel = usize::from(channel);
            if is_other {
                slot.track.forget_types();
            }
            slot.track.set_types(&config.types);
        }
        if let Some(copying) = copying {
            if is_other {
                copying.forget_types();
            }
            copying.set_types(&config.types);
        }
        let note = Note::Track {
            track: track.0,
            channel,
            leg: leg(config, self.notes.us(self.places().place(since))),
        };
        self.notes.note(note, &mut out.journal);
    }

    pub(super) fn set_types(&mut self, track: TrackIx, types: &[TrackType]) {
        let slot = self.slots.get_mut(usize::from(track.0));
        if let Some(Some(slot)) = slot {
            slot.track.set_types(types);
        }
        if let (Some(copying), TrackIx(0)) = (self.sink.copying(), track) {
            copying.set_types(types);
        }
    }

    pub(super) fn turn(&mut self, at: Instant, pause: bool) {
        let at = self.sample_at(at).max(self.clock);
        let behind = self.turns.partition_point(|(before, _)| *before <= at);
        self.turns.insert(behind, (at, pause));
    }

    /// The earliest end counts; that it was commanded, or for nothing, counts whenever said.
    pub(super) fn stop_at(&mut self, at: u64, reason: StopReason, discard: bool) {
        let at = at.max(self.clock);
        let stop = self.stop.get_or_insert(Stop {
            at,
            reason,
            discard,
        });
        if at < stop.at || reason == StopReason::Commanded {
            stop.reason = reason;
        }
        stop.at = stop.at.min(at);
        stop.discard |= discard;
    }

    /// Pauses and goes on where it is time.
    pub(super) fn take_turns(&mut self, out: &mut Output) {
        while let Some((at, pause)) = self.turns.first().copied()
            && at <= self.clock
        {
            self.turns.remove(0);
            let at_us = self.notes.us(self.file);
            match self.paused {
                None if pause => {
                    self.tell_gap(out);
                    self.paused = Some(self.clock);
                    self.notes.note(Note::Pause { at_us }, &mut out.journal);
                }
                Some(since) if !pause => {
                    self.end_pause(since, out);
                    self.notes.note(Note::Resume { at_us }, &mut out.journal);
                }
                _ => {}
            }
        }
    }

    /// Tells a pause that left nothing in the file; others are told while they last.
    pub(super) fn end_pause(&mut self, since: u64, out: &mut Output) {
        self.paused = None;
        // What was silent because of the pause is told with it.
        if let Some(copying) = self.sink.copying() {
            copying.writer().end_gap(&mut Vec::new());
        }
        if self.config.pause == PauseMode::Skip {
            self.skips.push(since, self.clock);
            let at_us = self.notes.us(self.file);
            let span = SpanInfo {
                track: None,
                kind: SpanKind::Paused,
                from_us: at_us,
                until_us: at_us,
                skipped_us: self.notes.us(self.clock - since),
            };
            self.notes.note(Note::Span(span), &mut out.journal);
        }
    }

    pub(super) fn skips(&self) -> bool {
        self.paused.is_some() && self.config.pause == PauseMode::Skip
    }

    /// Where moments of the clock are in the file.
    pub(super) fn places(&self) -> Places<'_> {
        let skips = self.config.pause == PauseMode::Skip;
        Places {
            clock: self.clock,
            file: self.file,
            since: self.paused.filter(|_| skips),
            skips: &self.skips,
            turns: if skips { &self.turns } else { &[] },
        }
    }

    /// The sample of the clock up to which nothing changes.
    pub(super) fn boundary(&self) -> u64 {
        let turn = self.turns.first().map(|(at, _)| *at);
        let stop = self.stop.map(|stop| stop.at);
        let length = self.config.length_max.filter(|_| !self.skips());
        let length = length.map(|max| self.clock + self.samples(max).saturating_sub(self.file));
        let all = [turn, stop, length];
        let nearest = all.into_iter().flatten().min();
        nearest.unwrap_or(u64::MAX).max(self.clock)
    }
}
