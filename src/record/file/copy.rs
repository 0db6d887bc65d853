//! One Opus leg into Ogg, packet by packet as it came.
//!
//! A packet stands where its timestamp says, counted from the arrival of the first one. The
//! sender's clock is held to ours by whole frames: one of silence more, or one of sound less, once
//! they are [`DRIFT_MAX`] apart; beyond [`JUMP_MAX`], and with another source, counting begins
//! anew. Where nothing came, frames without sound stand, which a decoder conceals and lets fade, as
//! it would have done live.

use std::collections::VecDeque;
use std::time::Duration;

use super::ogg::{PageWriter, TOC_20_MS, head, tags};
use crate::audio::opus::{self, CLOCK_HZ};
use crate::engine::TAPED_LEN_MAX;
use crate::record::span::{Span, SpanKind};
use crate::record::track::SETTLE;

/// Most packets that wait for their moment: 200 ms of the shortest ones, and some.
pub const COPY_PENDING_MAX: usize = 128;

/// How far the sender's clock may be from ours before a frame is put in or left out.
pub const DRIFT_MAX: Duration = Duration::from_millis(20);

/// How far they may be apart before counting begins anew.
pub const JUMP_MAX: Duration = Duration::from_millis(100);

/// Longest gap after a loss that counts as concealed.
pub const CONCEALED_MAX: Duration = Duration::from_millis(120);

/// Samples of the shortest frame, 2.5 ms.
const UNIT: u64 = 120;
/// What is skipped at the beginning: one frame without sound. Where a stream begins in the middle
/// of speech, RFC 7845 section 4.2 would have 80 ms left out while the decoder finds its feet; here
/// they are better than nothing, and to skip nothing at all is "implausible" to opusinfo.
const PRE_SKIP: u16 = 120;
/// Samples of the frames that fill gaps.
const FRAME: u64 = 960;
/// How much earlier than the end of what was written a packet may begin, and still be written.
const SLACK: u64 = 480;
/// How long lateness is observed before the clock is corrected.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewest packets in that time.
const WINDOW_PACKETS_MIN: u32 = 10;
/// A larger step of sequence numbers is no loss but another beginning.
const LOST_MAX: u16 = 3_000;
/// A larger step back is no reordering but another beginning (RFC 3550 A.1), which was confirmed
/// before the packet came here.
const MISORDER_MAX: i16 = 100;

/// What came, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Packets in the file.
    pub packets: u64,
    /// Packets that never came, or came later than [`SETTLE`].
    pub lost: u64,
    /// Of those, the ones that came too late, or of whom too many waited.
    pub late: u64,
    /// Packets left out because the sender's clock is too fast, or the sound before was longer.
    pub left_out: u64,
    /// Packets that are no Opus.
    pub undecoded: u64,
    /// Sources (SSRC) after the first.
    pub ssrc_changes: u32,
}

/// Writes the file. Sees neither file nor clock: times are since the recording's beginning; those
/// of packets have all of it, all others only what is in the file.
#[derive(Debug)]
pub struct CopyWriter {
    pages: PageWriter,
    headers: [Vec<u8>; 2],
    source: Option<Source>,
    pending: VecDeque<Pending>,
    /// Samples written since the recording's beginning, in units of 2.5 ms.
    written: u64,
    /// First octet of the last packet.
    toc: u8,
    /// Source and number of the last packet.
    last: Option<(u32, u16)>,
    /// Where the gap began that is being filled.
    gap_from: Option<u64>,
    /// Packets that came, but are not to be stored, since the last one that is.
    absent: u32,
    stats: CopyStats,
}

/// A packet that waits for its moment.
#[derive(Debug)]
struct Pending {
    position: u64,
    samples: u64,
    ssrc: u32,
    seq: u16,
    /// Packets before it that came, but are not stored.
    absent: u32,
    payload: Vec<u8>,
}

impl CopyWriter {
    /// A file whose players decode to `channels`, 1 or 2 (others are taken as the nearest),
    /// whatever the packets hold. `comments` as of [`FileWriter`](super::FileWriter).
    #[must_use]
    pub fn new(channels: u8, serial: u32, comments: &[String]) -> Self {
        let head = head(channels.clamp(1, 2), true, PRE_SKIP, CLOCK_HZ);
        Self {
            pages: PageWriter::new(serial),
            headers: [head, tags(comments)],
            source: None,
            pending: VecDeque::with_capacity(COPY_PENDING_MAX),
            written: 0,
            toc: TOC_20_MS,
            last: None,
            gap_from: None,
            absent: 0,
            stats: CopyStats::default(),
        }
    }

    /// Appends what stands before the sound.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let [head, tags] = &self.headers;
        self.pages.headers(head, tags, out);
        let skipped = u64::from(PRE_SKIP);
        let packet = [empty_toc(TOC_20_MS, skipped)];
        self.pages.packet(&packet, skipped, out);
    }

    /// Length of what stands before the sound, in bytes.
    #[must_use]
    pub fn header_len(&self) -> u64 {
        let [head, tags] = &self.headers;
        let mut out = Vec::new();
        PageWriter::new(0).headers(head, tags, &mut out);
        out.len() as u64
    }

    /// A payload that came at `at`, with what its RTP header says; `skipped` of the time until then
    /// is not in the file. It is written by [`advance`](Self::advance).
    pub fn packet(
        &mut self,
        at: Duration,
        skipped: Duration,
        timestamp: u32,
        seq: u16,
        ssrc: u32,
        payload: &[u8],
    ) {
        let samples = opus::samples(payload, CLOCK_HZ).ok();
        let Some(samples) = samples.filter(|_| payload.len() <= TAPED_LEN_MAX) else {
            self.stats.undecoded += 1;
            self.absent();
            return;
        };
        let position = self.place(at, timestamp, seq, ssrc);
        let Some(position) = position.and_then(|at| at.checked_sub(samples_in(skipped))) else {
            self.stats.late += 1;
            return;
        };
        if self.pending.iter().any(|p| (p.ssrc, p.seq) == (ssrc, seq)) {
            return;
        }
        if position + SLACK < self.written || self.pending.len() == COPY_PENDING_MAX {
            self.stats.late += 1;
            return;
        }
        let after = self.pending.iter().rposition(|p| p.position <= position);
        let packet = Pending {
            position,
            samples: samples as u64,
            ssrc,
            seq,
            absent: std::mem::take(&mut self.absent),
            payload: payload.to_vec(),
        };
        self.pending.insert(after.map_or(0, |ix| ix + 1), packet);
    }

    /// A packet came that is not to be stored: it is missing, but it is not lost.
    pub fn absent(&mut self) {
        self.absent = self.absent.saturating_add(1);
    }

    /// Appends all until this moment, which is [`SETTLE`] ago, or nothing more will come. Spans are
    /// told once they are over, without a track.
    pub fn advance(&mut self, until: Duration, out: &mut Vec<u8>, spans: &mut Vec<Span>) {
        let until = samples_in(until);
        while let Some(packet) = self.pending.pop_front_if(|p| p.position < until) {
            self.write(&packet, out, spans);
        }
        if let Some(silent) = until.checked_sub(self.written) {
            self.fill(silent / FRAME * FRAME, out);
        }
    }

    /// Appends what it kept back.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.pages.flush(out);
    }

    /// Appends the rest until this moment, and the end.
    pub fn finish(&mut self, until: Duration, out: &mut Vec<u8>, spans: &mut Vec<Span>) {
        self.advance(until, out, spans);
        let end = samples_in(until);
        if end > self.written {
            self.fill((end - self.written).next_multiple_of(UNIT), out);
        }
        if self.pages.is_empty() {
            self.frame(FRAME, out);
        }
        self.gap_ends(SpanKind::Silent, spans);
        let granule = end + u64::from(PRE_SKIP);
        self.pages.finish(granule.max(self.pages.closed()), out);
    }

    /// Time in the file.
    #[must_use]
    pub fn length(&self) -> Duration {
        time_of(self.written)
    }

    /// What came until now.
    #[must_use]
    pub fn stats(&self) -> &CopyStats {
        &self.stats
    }

    /// When a packet is to be heard; `None` if that cannot be.
    fn place(&mut self, at: Duration, timestamp: u32, seq: u16, ssrc: u32) -> Option<u64> {
        let came = samples_in(at).cast_signed();
        match &mut self.source {
            Some(source) if source.ssrc == ssrc => source.place(came, timestamp, seq),
            other => {
                self.stats.ssrc_changes += u32::from(other.is_some());
                let source = other.insert(Source::new(came, timestamp, seq, ssrc));
                u64::try_from(source.position).ok()
            }
        }
    }

    fn write(&mut self, packet: &Pending, out: &mut Vec<u8>, spans: &mut Vec<Span>) {
        let lost = match self.last.replace((packet.ssrc, packet.seq)) {
            Some((ssrc, seq)) if ssrc == packet.ssrc => {
                let step = packet.seq.wrapping_sub(seq);
                let missing = if step <= LOST_MAX {
                    u32::from(step).saturating_sub(1)
                } else {
                    0
                };
                missing.saturating_sub(packet.absent)
            }
            _ => 0,
        };
        self.stats.lost += u64::from(lost);
        if packet.position + SLACK < self.written {
            self.stats.left_out += 1;
            return;
        }
        let gap = packet.position.saturating_sub(self.written) + UNIT / 2;
        self.fill(gap / UNIT * UNIT, out);
        let gap = self.gap_from.map_or(0, |from| self.written - from);
        let kind = match lost {
            0 => SpanKind::Silent,
            _ if gap <= samples_in(CONCEALED_MAX) => SpanKind::Concealed,
            _ => SpanKind::Lost,
        };
        self.gap_ends(kind, spans);
        self.written += packet.samples;
        let granule = self.written + u64::from(PRE_SKIP);
        self.pages.packet(&packet.payload, granule, out);
        self.toc = packet.payload[0];
        self.stats.packets += 1;
    }

    /// What is silent until now is told; what follows is another matter.
    pub fn end_gap(&mut self, spans: &mut Vec<Span>) {
        self.gap_ends(SpanKind::Silent, spans);
    }

    fn gap_ends(&mut self, kind: SpanKind, spans: &mut Vec<Span>) {
        if let Some(from) = self.gap_from.take() {
            spans.push(Span {
                track: None,
                kind,
                from: time_of(from),
                until: time_of(self.written),
            });
        }
    }

    /// Frames without sound, `samples` in all, a multiple of [`UNIT`].
    fn fill(&mut self, mut samples: u64, out: &mut Vec<u8>) {
        if samples > 0 {
            self.gap_from.get_or_insert(self.written);
        }
        for frame in [FRAME, FRAME / 2, FRAME / 4, UNIT] {
            while samples >= frame {
                self.frame(frame, out);
                samples -= frame;
            }
        }
    }

    fn frame(&mut self, samples: u64, out: &mut Vec<u8>) {
        self.written += samples;
        let packet = [empty_toc(self.toc, samples)];
        let granule = self.written + u64::from(PRE_SKIP);
        self.pages.packet(&packet, granule, out);
    }
}

/// The clock of one source.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// Of the newest packet.
    timestamp: u32,
    seq: u16,
    position: i64,
    /// When observing began, how late the earliest was since, and how many there were.
    window_from: i64,
    window_least: i64,
    window_packets: u32,
}

impl Source {
    fn new(came: i64, timestamp: u32, seq: u16, ssrc: u32) -> Self {
        Self {
            ssrc,
            timestamp,
            seq,
            position: on_grid(came),
            window_from: came,
            window_least: 0,
            window_packets: 0,
        }
    }

    fn place(&mut self, came: i64, timestamp: u32, seq: u16) -> Option<u64> {
        let step = timestamp.wrapping_sub(self.timestamp).cast_signed();
        let position = self.position + i64::from(step);
        let late = came - position;
        let jump = samples_in(JUMP_MAX).cast_signed();
        let ahead = seq.wrapping_sub(self.seq).cast_signed();
        if (-MISORDER_MAX..=0).contains(&ahead) {
            // From before the newest: it changes nothing.
            return u64::try_from(position).ok().filter(|_| late >= -jump);
        }
        if ahead < 0 || late < -jump || late > samples_in(SETTLE).cast_signed() {
            *self = Self::new(came, timestamp, seq, self.ssrc);
        } else {
            self.timestamp = timestamp;
            self.seq = seq;
            self.position = position + self.correction(came, late);
        }
        u64::try_from(self.position).ok()
    }

    /// What is to be added to positions from now on.
    fn correction(&mut self, came: i64, late: i64) -> i64 {
        self.window_least = match self.window_packets {
            0 => late,
            _ => self.window_least.min(late),
        };
        self.window_packets += 1;
        let over = came - self.window_from >= samples_in(WINDOW).cast_signed();
        if !over || self.window_packets < WINDOW_PACKETS_MIN {
            return 0;
        }
        self.window_from = came;
        self.window_packets = 0;
        let [drift, jump] = [DRIFT_MAX, JUMP_MAX].map(|max| samples_in(max).cast_signed());
        match self.window_least {
            least if least > jump => on_grid(least),
            least if least > drift => FRAME.cast_signed(),
            least if least < -drift => -FRAME.cast_signed(),
            _ => 0,
        }
    }
}

/// First octet of a packet with one empty frame of so many samples: of the mode of `last`, where
/// that has such frames, so that decoders need not change theirs.
fn empty_toc(last: u8, samples: u64) -> u8 {
    let stereo = last & 4;
    let config = last >> 3;
    let config = match (config, samples) {
        (0..12, FRAME) => config & !3 | 1,
        (0..12, 480) => config & !3,
        (12..16, FRAME) => config | 1,
        (12..16, 480) => config & !1,
        (0..16, UNIT) => 28,
        (0..16, _) => 29,
        (_, UNIT) => config & !3,
        (_, 240) => config & !3 | 1,
        (_, 480) => config & !3 | 2,
        _ => config | 3,
    };
    config << 3 | stereo
}

/// Samples at 48 kHz in so much time.
fn samples_in(time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(6) / 125
}

fn time_of(samples: u64) -> Duration {
    Duration::from_micros(samples.saturating_mul(125) / 6)
}

/// The nearest multiple of 2.5 ms.
fn on_grid(samples: i64) -> i64 {
    let unit = UNIT.cast_signed();
    (samples + unit / 2).div_euclid(unit) * unit
}

#[cfg(test)]
mod tests;
