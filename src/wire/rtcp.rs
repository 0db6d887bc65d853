//! RTCP compound packets: validated once, walked, edited in place, and built (RFC 3550 §6).
//!
//! A [`Compound`] holds these rules, so that walking it needs no error path: 1 to
//! [`RTCP_PACKETS_MAX`] packets; every one is version 2; lengths add up to the datagram exactly;
//! the first is SR or RR (RFC 3550 appendix A.2), or transport or payload feedback (reduced-size
//! RTCP, RFC 5506 §3.4); padding only on the last and within it; the fixed parts, report blocks,
//! SDES chunks and XR blocks lie inside their packet.

use smallvec::SmallVec;
use thiserror::Error;

use super::seq::SequenceNumber;

/// Most packets in one compound; real ones have two to four.
pub const RTCP_PACKETS_MAX: usize = 32;

/// Most report blocks that one SR or RR can hold: its count has five bits.
pub const REPORT_BLOCKS_MAX: usize = 31;

/// Longest CNAME we write, in bytes; longer ones are cut.
pub const CNAME_LEN_MAX: usize = 32;

const HEADER_LEN: usize = 4;
const SENDER_INFO_LEN: usize = 20;
const REPORT_BLOCK_LEN: usize = 24;
const COUNT_MASK: u8 = 0b0001_1111;
const PADDING_BIT: u8 = 0b0010_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION_2: u8 = 0b1000_0000;

/// SDES item type CNAME, RFC 3550 §6.5.1.
const SDES_CNAME: u8 = 1;

/// Feedback message types, RFC 4585 §6.2.1, RFC 5104 §4.2 and §4.3.
const FMT_NACK: u8 = 1;
const FMT_TMMBR: u8 = 3;
const FMT_TMMBN: u8 = 4;
const FMT_FIR: u8 = 4;
const FMT_AFB: u8 = 15;

/// Which rule of RFC 3550 appendix A.2 a datagram broke.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtcpError {
    /// No room for a header where one must start.
    #[error("RTCP header at {at} is cut off")]
    Short {
        /// Its offset.
        at: usize,
    },
    /// The version is not 2.
    #[error("RTCP version at {at} is not 2")]
    Version {
        /// Offset of the packet.
        at: usize,
    },
    /// The first packet may not begin a compound.
    #[error("packet type {kind} may not come first")]
    First {
        /// Its packet type.
        kind: u8,
    },
    /// A packet's length runs past the datagram.
    #[error("RTCP packet at {at} runs past the end")]
    PastEnd {
        /// Its offset.
        at: usize,
    },
    /// Padding on a packet that is not the last, or more than the packet has.
    #[error("padding of the packet at {at} is not allowed or does not fit")]
    Padding {
        /// Its offset.
        at: usize,
    },
    /// What the packet's type and count promise does not fit its length.
    #[error("contents of the packet at {at} do not fit its length")]
    Contents {
        /// Its offset.
        at: usize,
    },
    /// More than [`RTCP_PACKETS_MAX`] packets.
    #[error("more than {RTCP_PACKETS_MAX} packets")]
    TooMany,
}

/// RTCP packet types, in order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    /// 200: sender report, RFC 3550 §6.4.1.
    SenderReport,
    /// 201: receiver report, RFC 3550 §6.4.2.
    ReceiverReport,
    /// 202: source description, RFC 3550 §6.5.
    SourceDescription,
    /// 203: goodbye, RFC 3550 §6.6.
    Bye,
    /// 204: application-defined, RFC 3550 §6.7.
    App,
    /// 205: transport feedback, RFC 4585 §6.2.
    TransportFeedback,
    /// 206: payload-specific feedback, RFC 4585 §6.3.
    PayloadFeedback,
    /// 207: extended report, RFC 3611.
    ExtendedReport,
    /// Anything else is skipped, as RFC 3550 §6.1 asks.
    Unknown(u8),
}

impl PacketType {
    fn of(byte: u8) -> Self {
        match byte {
            200 => Self::SenderReport,
            201 => Self::ReceiverReport,
            202 => Self::SourceDescription,
            203 => Self::Bye,
            204 => Self::App,
            205 => Self::TransportFeedback,
            206 => Self::PayloadFeedback,
            207 => Self::ExtendedReport,
            other => Self::Unknown(other),
        }
    }

    fn may_come_first(self) -> bool {
        matches!(
            self,
            Self::SenderReport
                | Self::ReceiverReport
                | Self::TransportFeedback
                | Self::PayloadFeedback
        )
    }
}

/// Where one packet of a compound lies. Offsets are inside the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its type.
    pub kind: PacketType,
    /// The five bits beside the version: report count, source count or feedback message type.
    pub count: u8,
    /// Offset of its header.
    pub start: usize,
    /// One past its last byte, padding excluded.
    pub body_end: usize,
    /// One past its last byte.
    pub end: usize,
}

impl Span {
    /// Decodes the packet at `at` and checks everything about it but its contents.
    fn at(bytes: &[u8], at: usize) -> Result<Self, RtcpError> {
        let head = bytes.get(at..).and_then(<[u8]>::first_chunk::<HEADER_LEN>);
        let Some(&[flags, kind, high, low]) = head else {
            return Err(RtcpError::Short { at });
        };
        if flags & VERSION_MASK != VERSION_2 {
            return Err(RtcpError::Version { at });
        }
        let end = at + HEADER_LEN + 4 * usize::from(u16::from_be_bytes([high, low]));
        if end > bytes.len() {
            return Err(RtcpError::PastEnd { at });
        }
        let mut body_end = end;
        if flags & PADDING_BIT != 0 {
            let len = usize::from(bytes[end - 1]);
            let fits = len > 0 && len % 4 == 0 && len <= end - at - HEADER_LEN;
            if end != bytes.len() || !fits {
                return Err(RtcpError::Padding { at });
            }
            body_end -= len;
        }
        let kind = PacketType::of(kind);
        Ok(Self {
            kind,
            count: flags & COUNT_MASK,
            start: at,
            body_end,
            end,
        })
    }

    fn body(self) -> std::ops::Range<usize> {
        self.start + HEADER_LEN..self.body_end
    }

    /// Offset of the first report block, where this type has any.
    fn report_blocks_at(self) -> Option<usize> {
        match self.kind {
            PacketType::SenderReport => Some(self.start + HEADER_LEN + 4 + SENDER_INFO_LEN),
            PacketType::ReceiverReport => Some(self.start + HEADER_LEN + 4),
            _ => None,
        }
    }
}

/// What an SR says about its sender's clock (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time, 32.32 fixed point.
    pub ntp: u64,
    /// The same instant on the RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// One reception report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost in total: 24 bits signed on the wire, saturated when written.
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest_seq: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the last SR's NTP time; 0 if there was none.
    pub last_sr: u32,
    /// Since that SR arrived, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let word = |i: usize| be32(bytes, 4 * i);
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // Shifting the fraction out at the top brings the sign down with the rest.
            cumulative_lost: (word(1) << 8).cast_signed() >> 8,
            highest_seq: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        }
    }

    fn words(&self) -> [u32; 6] {
        let lost = self
            .cumulative_lost
            .clamp(-0x80_0000, 0x7f_ffff)
            .cast_unsigned()
            & 0xff_ffff;
        [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_seq,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ]
    }
}

/// How a sender's own numbers become those of the stream a listener knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderMap {
    /// The SSRC the sender uses.
    pub from: u32,
    /// The SSRC the listener knows.
    pub to: u32,
    /// Added to SR RTP timestamps, wrapping.
    pub timestamp_offset: u32,
}

/// How a listener's reports about a stream become reports about its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedMap {
    /// The SSRC the listener knows.
    pub from: u32,
    /// The SSRC the source uses.
    pub to: u32,
    /// Subtracted from 16-bit sequence numbers, wrapping.
    pub sequence_offset: u16,
    /// The extended highest sequence number known of the source: cycles are counted from here.
    pub highest_seq: u32,
}

/// A valid compound packet.
#[derive(Debug)]
pub struct Compound<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Compound<'a> {
    /// Validates a whole datagram.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, see [`RtcpError`] and the module's head.
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, RtcpError> {
        let mut at = 0;
        let mut packets = 0;
        while at < bytes.len() || packets == 0 {
            if packets == RTCP_PACKETS_MAX {
                return Err(RtcpError::TooMany);
            }
            let span = Span::at(bytes, at)?;
            if packets == 0 && !span.kind.may_come_first() {
                return Err(RtcpError::First { kind: bytes[1] });
            }
            if !contents_fit(bytes, span) {
                return Err(RtcpError::Contents { at });
            }
            packets += 1;
            at = span.end;
        }
        Ok(Self { bytes })
    }

    /// The packets in order.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        spans(self.bytes).map(|span| Packet {
            bytes: self.bytes,
            span,
        })
    }

    /// Rewrites the SSRCs, SR timestamps and sequence numbers that `sender` and `reported`
    /// cover; what they do not mention stays. Covers SR, RR, SDES, BYE, APP, feedback (with the
    /// entries of NACK, TMMBR, TMMBN, FIR and REMB) and XR blocks 1, 2, 3, 5, 6 and 7.
    pub fn rewrite(&mut self, sender: Option<SenderMap>, reported: Option<ReportedMap>) {
        let mut at = 0;
        while let Ok(span) = Span::at(self.bytes, at) {
            let mut edit = Edit {
                bytes: self.bytes,
                span,
                sender,
                reported,
            };
            match span.kind {
                PacketType::SenderReport | PacketType::ReceiverReport => edit.report(),
                PacketType::SourceDescription => edit.source_description(),
                PacketType::Bye => edit.bye(),
                PacketType::App => edit.sender_at(span.start + HEADER_LEN),
                PacketType::TransportFeedback | PacketType::PayloadFeedback => edit.feedback(),
                PacketType::ExtendedReport => edit.extended_report(),
                PacketType::Unknown(_) => {}
            }
            at = span.end;
        }
    }
}

/// One packet of a valid compound.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    span: Span,
}

impl<'a> Packet<'a> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> PacketType {
        self.span.kind
    }

    /// Where it lies.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// The SSRC after the header; `None` where the packet has no words.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        let at = self.span.start + HEADER_LEN;
        (at + 4 <= self.span.body_end).then(|| be32(self.bytes, at))
    }

    /// An SR's sender information; `None` for other types.
    #[must_use]
    pub fn sender_info(&self) -> Option<SenderInfo> {
        if self.span.kind != PacketType::SenderReport {
            return None;
        }
        let word = |i: usize| be32(self.bytes, self.span.start + 8 + 4 * i);
        Some(SenderInfo {
            ntp: u64::from(word(0)) << 32 | u64::from(word(1)),
            rtp_timestamp: word(2),
            packets: word(3),
            octets: word(4),
        })
    }

    /// The report blocks of an SR or RR; none for other types.
    pub fn report_blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        let at = self.span.report_blocks_at();
        let len = REPORT_BLOCK_LEN * usize::from(self.span.count);
        let blocks = at
            .and_then(|at| self.bytes.get(at..at + len))
            .unwrap_or_default();
        blocks
            .as_chunks::<REPORT_BLOCK_LEN>()
            .0
            .iter()
            .map(ReportBlock::read)
    }
}

/// A report that we make ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our SSRC.
    pub ssrc: u32,
    /// Makes it an SR; an RR without.
    pub sender: Option<SenderInfo>,
    /// About the source we hear, if any.
    pub block: Option<ReportBlock>,
    /// Our CNAME, at most [`CNAME_LEN_MAX`] bytes of it are written.
    pub cname: &'a str,
}

impl Report<'_> {
    /// The compound packet: SR or RR, then SDES with the CNAME.
    #[must_use]
    pub fn write(&self) -> SmallVec<[u8; 128]> {
        let mut out = SmallVec::new();
        let blocks = u8::from(self.block.is_some());
        let kind = if self.sender.is_some() { 200 } else { 201 };
        out.extend([VERSION_2 | blocks, kind, 0, 0]);
        put(&mut out, self.ssrc);
        if let Some(sender) = self.sender {
            out.extend(sender.ntp.to_be_bytes());
            [sender.rtp_timestamp, sender.packets, sender.octets]
                .iter()
                .for_each(|&word| put(&mut out, word));
        }
        if let Some(block) = self.block {
            block.words().iter().for_each(|&word| put(&mut out, word));
        }
        close(&mut out, 0);
        let start = out.len();
        out.extend([VERSION_2 | 1, 202, 0, 0]);
        put(&mut out, self.ssrc);
        let cname = self.cname.as_bytes();
        let cname = &cname[..cname.len().min(CNAME_LEN_MAX)];
        out.extend([SDES_CNAME, u8::try_from(cname.len()).unwrap_or(0)]);
        out.extend_from_slice(cname);
        // One to four zero bytes end the chunk at a word boundary, RFC 3550 §6.5.
        out.push(0);
        while !out.len().is_multiple_of(4) {
            out.push(0);
        }
        close(&mut out, start);
        out
    }
}

/// Sets the length of the packet that starts at `start` and ends with `out`.
fn close(out: &mut SmallVec<[u8; 128]>, start: usize) {
    let words = u16::try_from((out.len() - start) / 4 - 1).unwrap_or(u16::MAX);
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn put(out: &mut SmallVec<[u8; 128]>, word: u32) {
    out.extend(word.to_be_bytes());
}

/// The packets of a validated compound.
fn spans(bytes: &[u8]) -> impl Iterator<Item = Span> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let span = Span::at(bytes, at).ok()?;
        at = span.end;
        Some(span)
    })
}

/// Whether what type and count promise lies inside the packet.
fn contents_fit(bytes: &[u8], span: Span) -> bool {
    let len = span.body_end - span.start;
    let count = usize::from(span.count);
    match span.kind {
        PacketType::SenderReport | PacketType::ReceiverReport => {
            let blocks = span.report_blocks_at().unwrap_or(span.end) - span.start;
            len >= blocks + count * REPORT_BLOCK_LEN
        }
        PacketType::SourceDescription => {
            chunks(bytes, span)
                .map(|chunk| chunk.is_some())
                .fold((0, true), |(n, ok), fits| (n + 1, ok && fits))
                == (count, true)
        }
        PacketType::Bye => bye_fits(bytes, span),
        PacketType::App | PacketType::TransportFeedback | PacketType::PayloadFeedback => len >= 12,
        PacketType::ExtendedReport => {
            len >= 8 && blocks_fit(&bytes[..span.body_end], span.start + 8)
        }
        PacketType::Unknown(_) => true,
    }
}

fn bye_fits(bytes: &[u8], span: Span) -> bool {
    let reason = span.start + HEADER_LEN + 4 * usize::from(span.count);
    if reason >= span.body_end {
        return reason == span.body_end;
    }
    reason + 1 + usize::from(bytes[reason]) <= span.body_end
}

/// Offsets of SDES chunks; one `None` at the end where a chunk runs past the packet.
fn chunks(bytes: &[u8], span: Span) -> impl Iterator<Item = Option<usize>> {
    let mut at = span.start + HEADER_LEN;
    let mut left = span.count;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let start = at;
        match chunk_end(&bytes[..span.body_end], start) {
            Some(end) => at = end,
            None => left = 0,
        }
        Some((at > start).then_some(start))
    })
}

/// End of the SDES chunk that starts at `start`, rounded up to a word.
fn chunk_end(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 4;
    while *body.get(at)? != 0 {
        at += 2 + usize::from(*body.get(at + 1)?);
    }
    let end = start + (at + 1 - start).next_multiple_of(4);
    (end <= body.len()).then_some(end)
}

/// Whether XR blocks fill the packet from `at` on.
fn blocks_fit(body: &[u8], mut at: usize) -> bool {
    while at < body.len() {
        match block_end(body, at) {
            Some(end) => at = end,
            None => return false,
        }
    }
    true
}

/// End of the XR block that starts at `at`, RFC 3611 §3; `None` if it is not all inside.
fn block_end(body: &[u8], at: usize) -> Option<usize> {
    let &[_, _, high, low] = body.get(at..)?.first_chunk::<4>()?;
    let end = at + 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    (end <= body.len()).then_some(end)
}

/// Edits one packet of a validated compound.
struct Edit<'a> {
    bytes: &'a mut [u8],
    span: Span,
    sender: Option<SenderMap>,
    reported: Option<ReportedMap>,
}

impl Edit<'_> {
    fn report(&mut self) {
        let at = self.span.start + HEADER_LEN;
        let ours = self.sender.filter(|map| map.from == be32(self.bytes, at));
        if let (Some(map), PacketType::SenderReport) = (ours, self.span.kind) {
            let timestamp = be32(self.bytes, at + 12).wrapping_add(map.timestamp_offset);
            set32(self.bytes, at + 12, timestamp);
        }
        self.sender_at(at);
        let Some(first) = self.span.report_blocks_at() else {
            return;
        };
        for i in 0..usize::from(self.span.count) {
            let at = first + i * REPORT_BLOCK_LEN;
            if let Some(map) = self.reported_at(at) {
                let highest = SequenceNumber::of(be32(self.bytes, at + 8));
                let source = SequenceNumber(highest.0.wrapping_sub(map.sequence_offset));
                set32(self.bytes, at + 8, source.extend(map.highest_seq));
            }
        }
    }

    fn source_description(&mut self) {
        let mut starts = SmallVec::<[usize; REPORT_BLOCKS_MAX]>::new();
        starts.extend(chunks(self.bytes, self.span).flatten());
        starts.iter().for_each(|&at| self.sender_at(at));
    }

    fn bye(&mut self) {
        for i in 0..usize::from(self.span.count) {
            self.sender_at(self.span.start + HEADER_LEN + 4 * i);
        }
    }

    fn feedback(&mut self) {
        let at = self.span.start + HEADER_LEN;
        self.sender_at(at);
        let media = self.reported_at(at + 4);
        let entries = at + 8;
        match (self.span.kind, self.span.count) {
            (PacketType::TransportFeedback, FMT_NACK) => {
                if let Some(map) = media {
                    self.each(entries, 4, |edit, at| edit.sequence_at(at, map));
                }
            }
            (PacketType::TransportFeedback, FMT_TMMBR | FMT_TMMBN)
            | (PacketType::PayloadFeedback, FMT_FIR) => {
                self.each(entries, 8, |edit, at| {
                    edit.reported_at(at);
                });
            }
            (PacketType::PayloadFeedback, FMT_AFB) => self.remb(entries),
            _ => {}
        }
    }

    /// The SSRC list of a "REMB" message (draft-alvestrand-rmcat-remb).
    fn remb(&mut self, at: usize) {
        if self.bytes.get(at..at + 4) == Some(b"REMB") {
            self.each(at + 8, 4, |edit, at| {
                edit.reported_at(at);
            });
        }
    }

    fn extended_report(&mut self) {
        self.sender_at(self.span.start + HEADER_LEN);
        let mut at = self.span.start + HEADER_LEN + 4;
        while let Some(end) = block_end(&self.bytes[..self.span.body_end], at) {
            self.extended_block(at, end);
            at = end;
        }
    }

    /// One XR block, RFC 3611 §4.
    fn extended_block(&mut self, start: usize, end: usize) {
        let words = (end - start) / 4;
        match self.bytes[start] {
            // Loss RLE, duplicate RLE, receipt times, statistics summary: begin and end numbers.
            1 | 2 | 3 | 6 if words >= 3 => {
                if let Some(map) = self.reported_at(start + 4) {
                    self.sequence_at(start + 8, map);
                    self.sequence_at(start + 10, map);
                }
            }
            // DLRR: sub-blocks of SSRC, LRR, DLRR.
            5 => (start + 4..end.saturating_sub(11))
                .step_by(12)
                .for_each(|at| {
                    self.reported_at(at);
                }),
            // VoIP metrics.
            7 if words >= 2 => {
                self.reported_at(start + 4);
            }
            _ => {}
        }
    }

    /// Calls `edit` with the offset of each whole entry of `len` bytes from `at` on.
    fn each(&mut self, at: usize, len: usize, mut edit: impl FnMut(&mut Self, usize)) {
        let mut at = at;
        while at + len <= self.span.body().end {
            edit(self, at);
            at += len;
        }
    }

    fn sender_at(&mut self, at: usize) {
        if let Some(map) = self.sender
            && be32(self.bytes, at) == map.from
        {
            set32(self.bytes, at, map.to);
        }
    }

    /// Maps the SSRC at `at` if it is the reported one; the map then applies to what follows.
    fn reported_at(&mut self, at: usize) -> Option<ReportedMap> {
        let map = self
            .reported
            .filter(|map| be32(self.bytes, at) == map.from)?;
        set32(self.bytes, at, map.to);
        Some(map)
    }

    fn sequence_at(&mut self, at: usize, map: ReportedMap) {
        let seq = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        let seq = seq.wrapping_sub(map.sequence_offset);
        self.bytes[at..at + 2].copy_from_slice(&seq.to_be_bytes());
    }
}

/// The word at `at`, which validation has proven to lie inside.
fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |word| u32::from_be_bytes(*word))
}

/// Sets the word at `at`, which validation has proven to lie inside.
fn set32(bytes: &mut [u8], at: usize, word: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *place = word.to_be_bytes();
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(count: u8, kind: u8, words: &[u32]) -> Vec<u8> {
        let mut out = vec![0x80 | count, kind];
        out.extend((words.len() as u16).to_be_bytes());
        words.iter().for_each(|word| out.extend(word.to_be_bytes()));
        out
    }

    fn parse(bytes: &[u8]) -> Result<(), RtcpError> {
        Compound::parse(&mut bytes.to_vec()).map(|_| ())
    }

    #[test]
    fn compound_rules_of_appendix_a2() {
        let rr = packet(0, 201, &[7]);
        assert_eq!(parse(&rr), Ok(()));
        assert_eq!(parse(&[]), Err(RtcpError::Short { at: 0 }));
        assert_eq!(parse(&rr[..7]), Err(RtcpError::PastEnd { at: 0 }));
        assert_eq!(
            parse(&packet(0, 203, &[])),
            Err(RtcpError::First { kind: 203 })
        );
        let cut = [&rr[..], &[0x80, 203]].concat();
        assert_eq!(parse(&cut), Err(RtcpError::Short { at: 8 }));
        let mut version = [&rr[..], &rr[..]].concat();
        version[8] = 0x40;
        assert_eq!(parse(&version), Err(RtcpError::Version { at: 8 }));
        let mut padded = packet(0, 201, &[7, 4]);
        padded[0] |= 0x20;
        assert_eq!(parse(&padded), Ok(()));
        assert_eq!(
            parse(&[&padded[..], &rr].concat()),
            Err(RtcpError::Padding { at: 0 })
        );
        for wrong in [0, 3, 12, 255] {
            let mut padded = packet(0, 201, &[7, wrong]);
            padded[0] |= 0x20;
            assert_eq!(parse(&padded), Err(RtcpError::Padding { at: 0 }), "{wrong}");
        }
    }

    #[test]
    fn packet_count_is_bounded() {
        let rr = packet(0, 201, &[7]);
        assert_eq!(parse(&rr.repeat(RTCP_PACKETS_MAX)), Ok(()));
        assert_eq!(
            parse(&rr.repeat(RTCP_PACKETS_MAX + 1)),
            Err(RtcpError::TooMany)
        );
    }

    #[test]
    fn contents_must_fit() {
        let rr = packet(0, 201, &[7]);
        let bad = |second: Vec<u8>| parse(&[rr.clone(), second].concat());
        let contents = Err(RtcpError::Contents { at: 8 });
        assert_eq!(bad(packet(1, 200, &[0; 11])), contents);
        assert_eq!(bad(packet(1, 200, &[0; 12])), Ok(()));
        assert_eq!(bad(packet(2, 203, &[1])), contents);
        assert_eq!(bad(packet(1, 203, &[1, 0x0361_6263])), Ok(()));
        assert_eq!(bad(packet(1, 203, &[1, 0x0461_6263])), contents);
        assert_eq!(bad(packet(1, 202, &[1])), contents);
        assert_eq!(
            bad(packet(1, 202, &[1, 0x0102_6161])),
            contents,
            "no end of the list"
        );
        assert_eq!(bad(packet(1, 202, &[1, 0x0102_6161, 0])), Ok(()));
        assert_eq!(bad(packet(0, 204, &[1])), contents);
        assert_eq!(bad(packet(1, 205, &[1])), contents);
        assert_eq!(bad(packet(0, 207, &[])), contents);
        assert_eq!(bad(packet(0, 207, &[1, 0x0700_0001])), contents);
        assert_eq!(bad(packet(0, 207, &[1, 0x0700_0001, 5])), Ok(()));
        assert_eq!(
            bad(packet(9, 250, &[])),
            Ok(()),
            "unknown types are skipped"
        );
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        let sender = SenderInfo {
            ntp: 0x0102_0304_0506_0708,
            rtp_timestamp: 9,
            packets: 10,
            octets: 11,
        };
        let block = ReportBlock {
            ssrc: 5,
            fraction_lost: 128,
            cumulative_lost: -3,
            highest_seq: 0x0001_0002,
            jitter: 17,
            last_sr: 0xdead_beef,
            delay_since_last_sr: 65_536,
        };
        let report = Report {
            ssrc: 0xa1,
            sender: Some(sender),
            block: Some(block),
            cname: "abcdefgh",
        };
        let mut bytes = report.write();
        assert!(!bytes.spilled(), "reports fit without allocation");
        let compound = Compound::parse(&mut bytes).unwrap();
        let packets: Vec<_> = compound.packets().collect();
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0].sender_info(), Some(sender));
        assert_eq!(packets[0].report_blocks().collect::<Vec<_>>(), [block]);
        assert_eq!(packets[1].kind(), PacketType::SourceDescription);
        assert_eq!(packets[1].ssrc(), Some(0xa1));
        let lost = ReportBlock {
            cumulative_lost: i32::MAX,
            ..block
        };
        let mut bytes = Report {
            sender: None,
            block: Some(lost),
            ..report
        }
        .write();
        let compound = Compound::parse(&mut bytes).unwrap();
        let written = compound
            .packets()
            .next()
            .unwrap()
            .report_blocks()
            .next()
            .unwrap();
        assert_eq!(written.cumulative_lost, 0x7f_ffff);
    }

    #[test]
    fn rewrites_every_ssrc_and_leaves_the_rest() {
        let (s, l) = (0x1111_1111, 0x2222_2222);
        let block = [l, 0, 0x0003_0005, 0, 0, 0];
        let sr = [
            &[s, 1, 2, 1000, 4, 5][..],
            &block,
            &[9, 0, 0x0003_0005, 0, 0, 0],
        ]
        .concat();
        let mut bytes = [
            packet(2, 200, &sr),
            packet(1, 202, &[s, 0x0102_6161, 0]),
            packet(1, 205, &[s, l, 0x0005_0000]),
            packet(4, 206, &[s, 0, l, 7]),
            packet(15, 206, &[s, 0, u32::from_be_bytes(*b"REMB"), 1, l]),
            packet(
                0,
                207,
                &[
                    s,
                    0x0700_0008,
                    l,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0x0100_0002,
                    l,
                    0x0005_0006,
                ],
            ),
            packet(0, 204, &[s, 0x6162_6364]),
            packet(1, 203, &[s]),
        ]
        .concat();
        let sender = SenderMap {
            from: s,
            to: 0xaaaa_aaaa,
            timestamp_offset: 24,
        };
        let reported = ReportedMap {
            from: l,
            to: 0xbbbb_bbbb,
            sequence_offset: 10,
            highest_seq: 0x0007_0002,
        };
        Compound::parse(&mut bytes)
            .unwrap()
            .rewrite(Some(sender), Some(reported));
        let (s, l) = (0xaaaa_aaaa, 0xbbbb_bbbb);
        // 5 - 10 is 0xfffb one cycle below the source's 0x0007_0002.
        let block = [l, 0, 0x0006_fffb, 0, 0, 0];
        let sr = [
            &[s, 1, 2, 1024, 4, 5][..],
            &block,
            &[9, 0, 0x0003_0005, 0, 0, 0],
        ]
        .concat();
        let expected = [
            packet(2, 200, &sr),
            packet(1, 202, &[s, 0x0102_6161, 0]),
            packet(1, 205, &[s, l, 0xfffb_0000]),
            packet(4, 206, &[s, 0, l, 7]),
            packet(15, 206, &[s, 0, u32::from_be_bytes(*b"REMB"), 1, l]),
            packet(
                0,
                207,
                &[
                    s,
                    0x0700_0008,
                    l,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0x0100_0002,
                    l,
                    0xfffb_fffc,
                ],
            ),
            packet(0, 204, &[s, 0x6162_6364]),
            packet(1, 203, &[s]),
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn any_bytes_walk_to_their_end(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..128),
            kind in 200u8..208,
            sender: u32,
        ) {
            if bytes.len() >= 8 {
                bytes[0] = 0x80 | bytes[0] & 0x03;
                bytes[1] = kind;
                bytes[2] = 0;
                bytes[3] = (bytes.len() / 4 - 1) as u8;
                let whole = bytes.len() / 4 * 4;
                bytes.truncate(whole);
            }
            let len = bytes.len();
            let copy = bytes.clone();
            if let Ok(mut compound) = Compound::parse(&mut bytes) {
                prop_assert_eq!(compound.packets().last().unwrap().span().end, len);
                compound.rewrite(None, None);
                let map = SenderMap { from: sender, to: sender, timestamp_offset: 0 };
                let same = ReportedMap {
                    from: sender,
                    to: sender,
                    sequence_offset: 0,
                    highest_seq: 0,
                };
                compound.rewrite(Some(map), Some(same));
                prop_assert!(Compound::parse(&mut bytes).is_ok());
            }
            prop_assert_eq!(bytes.len(), copy.len());
        }
    }
}
