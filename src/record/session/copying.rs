//! A single Opus leg stored as it comes: packets instead of samples.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::codec::CodecKind;
use crate::engine::{Taped, TrackKind, TrackType};
use crate::record::file::copy::CopyWriter;
use crate::record::sidecar::StatsInfo;
use crate::record::span::Span;
use crate::record::track::Types;
use crate::wire::rtp::RtpHeader;

/// A packet waits so long before it is stored: a pause that is told so late leaves it out all the
/// same. One that is later than the rest of the settling time is lost to the recording.
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// Most packets that wait; the oldest ones make room. 100 ms of the shortest ones, and some.
const HELD_MAX: usize = 128;

/// Copies packets.
#[derive(Debug)]
pub(super) struct Copying {
    writer: CopyWriter,
    types: Types,
    held: VecDeque<Held>,
    undecoded: u64,
}

#[derive(Debug)]
struct Held {
    at: Duration,
    timestamp: u32,
    seq: u16,
    ssrc: u32,
    /// `None`: it is not to be stored.
    payload: Option<Vec<u8>>,
}

impl Copying {
    pub(super) fn new(writer: CopyWriter) -> Self {
        Self {
            writer,
            types: Types::default(),
            held: VecDeque::new(),
            undecoded: 0,
        }
    }

    pub(super) fn writer(&mut self) -> &mut CopyWriter {
        &mut self.writer
    }

    pub(super) fn set_types(&mut self, types: &[TrackType]) {
        self.types.agree(types);
    }

    /// Somebody else is recorded from now on.
    pub(super) fn forget_types(&mut self) {
        self.types.forget();
    }

    /// A packet of the tape. What is not to be heard is not stored: keys that are to be taken out
    /// of the sound cannot be taken out of packets.
    pub(super) fn packet(&mut self, taped: &Taped<'_>) {
        let Ok(header) = RtpHeader::parse(taped.rtp) else {
            self.undecoded += 1;
            return;
        };
        let opus = TrackKind::Sound(CodecKind::Opus);
        let is_secret = taped.event || taped.silenced || taped.veiled;
        let is_stored = !is_secret && self.types.kind(header.pt) == Some(opus);
        self.undecoded += u64::from(!is_secret && !is_stored);
        let payload = &taped.rtp[header.payload_start..header.payload_end];
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back(Held {
            at: taped.at,
            timestamp: header.timestamp.0,
            seq: header.seq.0,
            ssrc: header.ssrc,
            payload: is_stored.then(|| payload.to_vec()),
        });
    }

    /// Stores what came until now; `skipped` says how much of the time until then is not in the
    /// file, `None`: neither is what came then.
    pub(super) fn store(
        &mut self,
        until: Duration,
        skipped: impl Fn(Duration) -> Option<Duration>,
    ) {
        while let Some(held) = self.held.pop_front_if(|held| held.at <= until) {
            match (skipped(held.at), held.payload) {
                (Some(skipped), Some(payload)) => {
                    let (timestamp, seq, ssrc) = (held.timestamp, held.seq, held.ssrc);
                    self.writer
                        .packet(held.at, skipped, timestamp, seq, ssrc, &payload);
                }
                _ => self.writer.absent(),
            }
        }
    }

    /// Appends all until this time in the file.
    pub(super) fn advance(&mut self, until: Duration, out: &mut Vec<u8>, spans: &mut Vec<Span>) {
        self.writer.advance(until, out, spans);
    }

    pub(super) fn stats(&self) -> StatsInfo {
        let stats = self.writer.stats();
        StatsInfo {
            packets: stats.packets,
            lost: stats.lost,
            late: stats.late,
            undecoded: stats.undecoded + self.undecoded,
            ssrc_changes: stats.ssrc_changes,
            drift_ppm: 0.0,
            codecs: vec![CodecKind::Opus.to_string()],
        }
    }
}
