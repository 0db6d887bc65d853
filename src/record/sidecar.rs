//! What lies beside a recording: what it holds, with sums.
//!
//! The sidecar of `NAME` is `NAME.json`: one JSON object in UTF-8. All times in it are positions
//! in the file, in microseconds. Which keys were pressed is never said.
//!
//! # Sums
//!
//! Tampering shows by three kinds of SHA-256, all of them 64 hexadecimal digits in lower case:
//!
//! - `sha256` is that of the whole file.
//! - `segments` tile the file behind its header (`header_len` octets, which are written again and
//!   again while the file grows). Each has a link of a chain: link 0 is the SHA-256 of the text
//!   `crosspoint recording 1`; link *n* is `SHA-256(link n−1 ‖ SHA-256(octets of segment n))`,
//!   where ‖ joins 32 octets and 32 octets. A segment takes about [`SEGMENT`] of sound.
//! - `chain`, the last member, is the chain's head, with the sidecar itself bound in:
//!   `SHA-256(last link ‖ SHA-256(body))`. The body is the text of the sidecar up to where
//!   [`tail`](Sidecar::write) begins, which is `,⏎  "chain": "<digits>"⏎}⏎`, with line feeds for
//!   ⏎, to the octet.
//!
//! Whoever can write both files can make them agree again. The head is therefore told to the
//! application when the recording is complete
//! ([`Completed`](super::event::RecordingEventKind::Completed)): one that still has that head is
//! what was recorded then, file and sidecar.

mod chain;
mod settle;
mod verify;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use chain::{Chain, SEGMENTS_MAX, Segment, Sum, Sums, sum};
pub(super) use verify::sidecar_path;
pub use verify::{Problem, Report, verify};

use super::config::{Format, RecordingConfig, TrackConfig};
use super::event::StopReason;
use super::span::SpanKind;
use super::track::TrackStats;
use crate::engine::Side;

/// Sound in a segment.
pub const SEGMENT: Duration = Duration::from_secs(10);

/// Most spans of a recording that are listed; more are counted.
pub const SPANS_MAX: usize = 4_096;

/// Most presses of keys that are listed; more are counted.
pub const PRESSES_MAX: usize = 1_024;

/// Most parties that one track had, one after the other, that are listed.
pub const LEGS_MAX: usize = 32;

/// Longest sidecar that is read, in octets.
pub const SIDECAR_LEN_MAX: u64 = 16 << 20;

/// The version of the form.
const VERSION: u32 = 1;

/// Spans with less than this between them are one, in microseconds.
const TOUCH_US: u64 = 1_000;

/// Between the sidecar's body and the chain's head.
const TAIL_BEGIN: &str = ",\n  \"chain\": \"";
const TAIL_END: &str = "\"\n}\n";

/// What a recording holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Of this form: 1.
    pub version: u32,
    /// Its path in the recordings' directory.
    pub path: String,
    /// The call.
    pub call_id: String,
    /// Wall clock at the first sample, RFC 3339 in UTC.
    pub started: String,
    /// Why it ended.
    pub reason: StopReason,
    /// Sound in the file, in microseconds.
    pub length_us: u64,
    /// `wav`, `wav-alaw`, `wav-ulaw`, `opus` or `opus-copy`.
    pub format: String,
    /// Sampling rate in Hz.
    pub rate_hz: u32,
    /// Number of channels.
    pub channels: u8,
    /// Who is on it.
    pub tracks: Vec<TrackInfo>,
    /// What the application wanted to find again.
    pub metadata: String,
    /// What is not simply the sound that was sent.
    pub spans: Vec<SpanInfo>,
    /// Spans beyond [`SPANS_MAX`].
    pub spans_dropped: u64,
    /// When keys were down.
    pub presses: Vec<PressInfo>,
    /// Presses beyond [`PRESSES_MAX`].
    pub presses_dropped: u64,
    /// Notes that a slow disk did not take before a crash, spans and presses among them; 0 unless
    /// a crash left the recording.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub notes_lost: u64,
    /// Length of the file in octets.
    pub bytes: u64,
    /// Octets before the first segment.
    pub header_len: u64,
    /// The chain.
    pub segments: Vec<Segment>,
    /// Of the whole file.
    pub sha256: Sum,
}

/// A track and what came on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackInfo {
    /// Its index, 0 to 15.
    pub track: u8,
    /// Its channel in the file, from 0: left is 0, right 1.
    pub channel: u8,
    /// Who was on it, one after the other.
    pub legs: Vec<LegInfo>,
    /// What came.
    #[serde(flatten)]
    pub stats: StatsInfo,
}

/// Who is on a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegInfo {
    /// Since when.
    pub from_us: u64,
    /// The party's tag.
    pub leg: String,
    /// Its label.
    pub label: Option<String>,
    /// `in`: what it says; `out`: what it hears.
    pub side: String,
}

/// [`TrackStats`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatsInfo {
    /// Packets of sound that were decoded.
    pub packets: u64,
    /// Packets that never came, or came too late.
    pub lost: u64,
    /// Of those, the ones that came too late.
    pub late: u64,
    /// Packets that nobody could decode.
    pub undecoded: u64,
    /// Sources after the first.
    pub ssrc_changes: u32,
    /// The sender's clock against ours in parts per million.
    pub drift_ppm: f32,
    /// The codecs that were heard.
    pub codecs: Vec<String>,
}

impl From<&TrackStats> for StatsInfo {
    fn from(stats: &TrackStats) -> Self {
        Self {
            packets: stats.packets,
            lost: stats.lost,
            late: stats.late,
            undecoded: stats.undecoded,
            ssrc_changes: stats.ssrc_changes,
            // Adding zero makes a zero of no sign.
            drift_ppm: stats.drift_ppm + 0.0,
            codecs: stats.codecs.clone(),
        }
    }
}

/// A [`Span`](super::span::Span) of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanInfo {
    /// Of which track; `null`: of all.
    pub track: Option<u8>,
    /// Why.
    pub kind: SpanKind,
    /// Where it begins.
    pub from_us: u64,
    /// Where it ends.
    pub until_us: u64,
    /// Time that is not in the file: that of a pause that left nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_us: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// When a key was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressInfo {
    /// Whose.
    pub track: u8,
    /// When it went down.
    pub from_us: u64,
    /// When it came up; `null`: it did not before the end.
    pub until_us: Option<u64>,
}

/// Something a sidecar learns while a recording goes on; a line of the
/// [`journal`](super::journal).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// The recording began; no list has anything in it yet.
    Begin(Box<Sidecar>),
    /// Somebody is on a track from now on.
    Track {
        /// Its index.
        track: u8,
        /// Its channel.
        channel: u8,
        /// Who.
        leg: LegInfo,
    },
    /// What came on a track until now.
    Stats {
        /// Its index.
        track: u8,
        /// What came.
        stats: StatsInfo,
    },
    /// A span, or the next piece of one.
    Span(SpanInfo),
    /// A key.
    Press(PressInfo),
    /// The recording was paused; its span comes when it goes on.
    Pause {
        /// Where.
        at_us: u64,
    },
    /// It went on.
    Resume {
        /// Where.
        at_us: u64,
    },
    /// A segment was written.
    Segment(Segment),
    /// So many notes before this one are missing here.
    Lost {
        /// How many.
        notes: u64,
    },
    /// All is written.
    End {
        /// Why.
        reason: StopReason,
        /// Sound in the file.
        length_us: u64,
    },
}

impl Sidecar {
    /// Of a recording that begins.
    #[must_use]
    pub fn new(config: &RecordingConfig, started: &str, header_len: u64) -> Self {
        Self {
            version: VERSION,
            path: config.path.to_string(),
            call_id: config.call_id.to_string(),
            started: started.into(),
            // Until it is said otherwise.
            reason: StopReason::Recovered,
            length_us: 0,
            format: format_name(config.format).into(),
            rate_hz: config.rate_hz,
            channels: config.layout.channels(),
            tracks: Vec::new(),
            metadata: config.metadata.to_string(),
            spans: Vec::new(),
            spans_dropped: 0,
            presses: Vec::new(),
            presses_dropped: 0,
            notes_lost: 0,
            bytes: 0,
            header_len,
            segments: Vec::new(),
            sha256: Sum::of(b""),
        }
    }

    /// Takes a note into account; a second [`Note::Begin`] is not.
    pub fn note(&mut self, note: Note) {
        match note {
            Note::Begin(_) | Note::Pause { .. } | Note::Resume { .. } => {}
            Note::Track {
                track,
                channel,
                leg,
            } => {
                let info = self.track(track);
                info.channel = channel;
                if info.legs.len() < LEGS_MAX {
                    info.legs.push(leg);
                }
            }
            Note::Stats { track, stats } => self.track(track).stats = stats,
            Note::Span(span) => self.span(span),
            Note::Press(press) if self.presses.len() < PRESSES_MAX => self.presses.push(press),
            Note::Press(_) => self.presses_dropped += 1,
            Note::Segment(segment) if self.segments.len() < SEGMENTS_MAX => {
                self.length_us = segment.until_us;
                self.segments.push(segment);
            }
            Note::Segment(_) => {}
            Note::Lost { notes } => self.notes_lost = self.notes_lost.saturating_add(notes),
            Note::End { reason, length_us } => {
                self.reason = reason;
                self.length_us = length_us;
            }
        }
    }

    fn track(&mut self, track: u8) -> &mut TrackInfo {
        let at = self.tracks.binary_search_by_key(&track, |info| info.track);
        let at = at.unwrap_or_else(|at| {
            let info = TrackInfo {
                track,
                channel: 0,
                legs: Vec::new(),
                stats: StatsInfo::default(),
            };
            self.tracks.insert(at, info);
            at
        });
        &mut self.tracks[at]
    }

    /// Lengthens the latest span of its kind, or adds one.
    fn span(&mut self, next: SpanInfo) {
        /// Spans of other kinds that may lie between pieces of one.
        const BACK: usize = 64;
        let mut latest = self.spans.iter_mut().rev().take(BACK);
        let same = latest.find(|span| (span.track, span.kind) == (next.track, next.kind));
        if let Some(span) = same.filter(|span| touches(span, &next)) {
            span.until_us = span.until_us.max(next.until_us);
        } else if self.spans.len() < SPANS_MAX {
            self.spans.push(next);
        } else {
            self.spans_dropped += 1;
        }
    }

    /// Nothing in it lies behind its end, and its spans are in order.
    pub(super) fn clip(&mut self) {
        let end_us = self.length_us;
        self.spans.retain_mut(|span| {
            span.until_us = span.until_us.min(end_us);
            span.from_us < span.until_us || (span.skipped_us > 0 && span.from_us <= end_us)
        });
        self.presses.retain_mut(|press| {
            press.until_us = press.until_us.map(|until_us| until_us.min(end_us));
            press.from_us <= end_us
        });
        self.spans_dropped += settle::settle(&mut self.spans) as u64;
    }

    /// Its text, and the chain's head that is in it.
    #[must_use]
    pub fn write(&self) -> (String, Sum) {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let body = text.strip_suffix("\n}").unwrap_or(&text);
        let head = self.last_link().link(Sum::of(body.as_bytes()));
        (format!("{body}{TAIL_BEGIN}{head}{TAIL_END}"), head)
    }

    fn last_link(&self) -> Sum {
        let none = || Chain::new(self.header_len).head();
        self.segments.last().map_or_else(none, |last| last.chain)
    }
}

/// Whether `next` goes on where `span` ends.
pub(super) fn touches(span: &SpanInfo, next: &SpanInfo) -> bool {
    let gap_us = next.from_us.saturating_sub(span.until_us);
    next.from_us >= span.from_us && gap_us < TOUCH_US && span.skipped_us + next.skipped_us == 0
}

/// Who is on a track since then.
pub(super) fn leg(config: &TrackConfig, from_us: u64) -> LegInfo {
    let side = match config.side {
        Side::In => "in",
        Side::Out => "out",
    };
    LegInfo {
        from_us,
        leg: config.leg.to_string(),
        label: config.label.as_deref().map(str::to_owned),
        side: side.into(),
    }
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Wav => "wav",
        Format::WavAlaw => "wav-alaw",
        Format::WavUlaw => "wav-ulaw",
        Format::Opus { .. } => "opus",
        Format::OpusCopy => "opus-copy",
    }
}

#[cfg(test)]
mod tests;
