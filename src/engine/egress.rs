//! One clock per leg: what a listener receives is one RTP stream for the life of its leg.
//!
//! Every packet that is forwarded goes through one mapping, `out = in + offset`, for sequence
//! numbers and timestamps. Where the source changes, the mapping is chosen anew so that the
//! listener's numbers go on: sequence +1, timestamp by the elapsed time. Packets from before
//! such a point are not sent any more: their numbers may already have been used.

use super::api::StreamIx;
use super::time::{Micros, ticks, ticks_us};
use crate::wire::rtcp::{ReportedMap, SenderMap};
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// After this many numbers, nothing from before a switch can be mistaken for new.
const FLOOR_SPAN: i16 = 0x4000;

/// Packets per second that are assumed of a source of which only one came: 20 ms (RFC 3551 §4.2).
const USUAL_PER_SECOND: u32 = 50;

/// A listener's own numbers at the start of a masked stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
}

/// One packet as its sender numbered it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub(super) source: StreamIx,
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
    pub(super) clock_hz: u32,
    pub(super) marker: bool,
}

/// The same packet as the listener sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
    pub(super) marker: bool,
}

/// The stream a listener receives.
#[derive(Debug)]
pub(super) struct Egress {
    started: bool,
    /// The source's numbers started anew: the next packet is a switch.
    broken: bool,
    /// Set the marker on the next packet.
    gap: bool,
    /// Whether `floor` still matters.
    floored: bool,
    source: StreamIx,
    source_ssrc: u32,
    /// Timestamp of the next frame of our own, while we make what the listener hears.
    own: Option<RtpTimestamp>,
    /// A telephone-event passing between our own frames: its timestamp there, and here.
    event: Option<(u32, RtpTimestamp, RtpTimestamp)>,
    pub(super) ssrc: u32,
    sequence_offset: u16,
    timestamp_offset: u32,
    /// Highest number used; a withheld packet moves the offset instead.
    highest: SequenceNumber,
    /// The first incoming number of the current mapping.
    floor: SequenceNumber,
    /// The newest timestamp, and when it was first sent.
    newest: RtpTimestamp,
    newest_at: Micros,
    /// Ticks between the latest two packets.
    step: u32,
    /// Ticks by which timestamps were ahead of the wall clock after switches; given back at the
    /// next one that leaves time, and in the next pause.
    lead: u32,
    /// What pauses gave back of it since `newest`, in the timestamp of the next frame of our own.
    given_back: u32,
    clock_hz: u32,
    /// Packets and payload bytes for sender reports, modulo 2^32.
    packets: u32,
    octets: u32,
    /// Sent since the last sender report.
    active: bool,
}

impl Egress {
    pub(super) fn new() -> Self {
        Self {
            started: false,
            broken: false,
            gap: false,
            floored: false,
            source: StreamIx(0),
            source_ssrc: 0,
            own: None,
            event: None,
            ssrc: 0,
            sequence_offset: 0,
            timestamp_offset: 0,
            highest: SequenceNumber(0),
            floor: SequenceNumber(0),
            newest: RtpTimestamp(0),
            newest_at: Micros::ZERO,
            step: 0,
            lead: 0,
            given_back: 0,
            clock_hz: 0,
            packets: 0,
            octets: 0,
            active: false,
        }
    }

    /// Whether anything was ever sent.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// The clock of its timestamps in Hz, once there were some.
    pub(super) fn clock_hz(&self) -> Option<u32> {
        self.started.then_some(self.clock_hz)
    }

    /// Whose packets are mapped now, once there were some.
    pub(super) fn source(&self) -> Option<StreamIx> {
        self.started.then_some(self.source)
    }

    /// The numbers under which a packet goes out; `None` if they would collide with what was
    /// already sent. `origin` gives the first numbers of a masked stream.
    #[inline]
    pub(super) fn pass(
        &mut self,
        now: Micros,
        packet: &Incoming,
        origin: impl FnOnce() -> Option<Origin>,
    ) -> Option<Outgoing> {
        let flows = self.source == packet.source && self.source_ssrc == packet.ssrc;
        if !self.started {
            self.start(now, packet, origin());
        } else if !flows || self.broken {
            self.switch(now, packet);
        }
        let seq = packet.seq.plus(self.sequence_offset);
        let timestamp = packet.timestamp.plus(self.timestamp_offset);
        let step = seq.ahead_of(self.highest);
        let mut marker = packet.marker;
        if step > 0 {
            marker |= std::mem::take(&mut self.gap);
            self.advance(now, packet, timestamp, step);
            self.highest = seq;
        } else if self.floored && self.floor.is_after(packet.seq) {
            return None;
        }
        Some(Outgoing {
            ssrc: self.ssrc,
            seq,
            timestamp,
            marker,
        })
    }

    /// Whether a packet follows the latest one that was sent directly: nothing was lost between
    /// them, and no time passed.
    pub(super) fn is_next(&self, packet: &Incoming) -> bool {
        let flows = self.source == packet.source && self.source_ssrc == packet.ssrc;
        let relays = self.started && !self.broken && self.own.is_none();
        let seq = packet.seq.plus(self.sequence_offset);
        let timestamp = packet.timestamp.plus(self.timestamp_offset);
        flows && relays && seq == self.highest.next() && timestamp == self.newest.plus(self.step)
    }

    /// The numbers of a frame of our own that lasts `ticks` of `clock_hz`. The first after relayed
    /// packets goes on where they stopped; what is relayed afterwards is a switch of sources.
    pub(super) fn frame(
        &mut self,
        now: Micros,
        ticks: u32,
        clock_hz: u32,
        origin: impl FnOnce() -> Origin,
    ) -> Outgoing {
        let timestamp = self.own_timestamp(now, ticks, clock_hz, origin);
        self.own = Some(timestamp.plus(ticks));
        self.given_back = 0;
        self.newest = timestamp;
        self.newest_at = now;
        self.step = ticks;
        let marker = std::mem::take(&mut self.gap);
        self.next_own(timestamp, marker)
    }

    /// The numbers of a description of noise in the place of a frame: it is no speech, so the next
    /// frame is the first of a talkspurt (RFC 3551 §4.1).
    pub(super) fn noise(
        &mut self,
        now: Micros,
        ticks: u32,
        clock_hz: u32,
        origin: impl FnOnce() -> Origin,
    ) -> Outgoing {
        let numbers = self.frame(now, ticks, clock_hz, origin);
        self.gap = true;
        Outgoing {
            marker: false,
            ..numbers
        }
    }

    /// A frame of our own was due and nothing was said: time passes, the next one is marked. What
    /// switches were ahead is given back.
    pub(super) fn pause(&mut self, ticks: u32) {
        self.gap = true;
        if let Some(own) = &mut self.own {
            let back = self.lead.min(ticks);
            self.lead -= back;
            self.given_back = self.given_back.saturating_add(back);
            *own = own.plus(ticks - back);
        }
    }

    /// The next frame of our own is not to come: what its timestamp gave back was not.
    fn take_back(&mut self) {
        let back = std::mem::take(&mut self.given_back);
        self.lead = self.lead.saturating_add(back);
    }

    /// When the next packet is due, so that timestamps are ahead of the wall clock by no more than
    /// a packet's worth.
    pub(super) fn due(&self) -> Micros {
        let ahead = self.step.max(self.lead);
        let ahead_us = ticks_us(ahead, self.clock_hz);
        self.newest_at.plus(if self.started { ahead_us } else { 0 })
    }

    /// A frame of our own is said before it is due, by so much.
    pub(super) fn said_early(&mut self, ticks: u32) {
        if self.own.is_some() {
            self.lead = self.lead.saturating_add(ticks);
        }
    }

    /// Frames of our own end, even if none was sent: packets were taken in for them, whose numbers
    /// nobody is to miss. Whatever comes next, and whenever, goes by the wall clock.
    pub(super) fn rest(&mut self) {
        self.take_back();
        self.own = None;
        self.broken |= self.started;
    }

    /// The numbers of a telephone-event packet that passes between our own frames: all packets of
    /// one event keep one timestamp (RFC 4733 §2.2), that of the moment it began.
    pub(super) fn event(
        &mut self,
        now: Micros,
        packet: &Incoming,
        origin: impl FnOnce() -> Origin,
    ) -> Outgoing {
        let timestamp = match self.event {
            Some((ssrc, theirs, ours)) if ssrc == packet.ssrc && theirs == packet.timestamp => ours,
            _ => self.own_timestamp(now, 0, packet.clock_hz, origin),
        };
        self.event = Some((packet.ssrc, packet.timestamp, timestamp));
        self.own = self.own.or(Some(timestamp));
        self.next_own(timestamp, packet.marker)
    }

    /// The timestamp of an event of our own that begins now; frames of our own need not be made.
    pub(super) fn press(
        &mut self,
        now: Micros,
        clock_hz: u32,
        origin: impl FnOnce() -> Origin,
    ) -> RtpTimestamp {
        // Timestamps go on in the clock of the audio, whatever the event's durations are in.
        let clock_hz = if self.started {
            self.clock_hz
        } else {
            clock_hz
        };
        let framed = self.own.is_some();
        let timestamp = self.own_timestamp(now, 0, clock_hz, origin);
        if !framed {
            (self.newest, self.newest_at, self.own) = (timestamp, now, None);
        }
        timestamp
    }

    /// The numbers of one packet of it.
    pub(super) fn press_packet(&mut self, timestamp: RtpTimestamp, marker: bool) -> Outgoing {
        self.gap = true;
        self.next_own(timestamp, marker)
    }

    /// Frames of our own begin, or go on.
    fn own_timestamp(
        &mut self,
        now: Micros,
        ticks: u32,
        clock_hz: u32,
        origin: impl FnOnce() -> Origin,
    ) -> RtpTimestamp {
        if !self.started {
            let origin = origin();
            self.started = true;
            self.ssrc = origin.ssrc;
            self.highest = SequenceNumber(origin.seq.0.wrapping_sub(1));
            self.newest = origin.timestamp;
            self.newest_at = now;
            self.own = Some(origin.timestamp);
            self.gap = true;
        }
        self.keep_time_in(clock_hz);
        if let Some(own) = self.own {
            return own;
        }
        self.gap = true;
        let elapsed = super::time::ticks(now.since(self.newest_at), clock_hz);
        let step = self.step.max(ticks);
        self.newest.plus(self.leap(elapsed, step))
    }

    /// How far a switch takes the timestamp: as long as it took, and a packet's worth at least,
    /// as two packets must not claim the same playout time. What that is too far is made up for,
    /// so that the clock does not run away where sources take turns for ever.
    fn leap(&mut self, elapsed: u32, least: u32) -> u32 {
        let Some(spare) = elapsed.checked_sub(least) else {
            self.lead = self.lead.saturating_add(least - elapsed);
            return least;
        };
        let back = self.lead.min(spare);
        self.lead -= back;
        elapsed - back
    }

    fn next_own(&mut self, timestamp: RtpTimestamp, marker: bool) -> Outgoing {
        self.broken = true;
        self.highest = self.highest.next();
        Outgoing {
            ssrc: self.ssrc,
            seq: self.highest,
            timestamp,
            marker,
        }
    }

    /// A packet of the current source was not sent: closes the gap its number would leave.
    pub(super) fn withhold(&mut self, source: StreamIx, ssrc: u32, seq: SequenceNumber) {
        if !self.started || self.broken || self.source != source || self.source_ssrc != ssrc {
            return;
        }
        let step = seq.plus(self.sequence_offset).ahead_of(self.highest);
        if step > 0 {
            self.sequence_offset = self.sequence_offset.wrapping_sub(step.unsigned_abs());
            self.floor = seq.next();
            self.floored = true;
            self.gap = true;
        }
    }

    /// The streams of the call count from `by` on from now on.
    pub(super) fn renumber_source(&mut self, by: u16) {
        self.source = self.source.after(by);
    }

    /// The source's numbers started anew.
    pub(super) fn broke(&mut self, source: StreamIx) {
        self.broken |= self.started && self.source == source;
    }

    /// Counts a packet that really goes out.
    #[inline]
    pub(super) fn sent(&mut self, payload_len: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self
            .octets
            .wrapping_add(u32::try_from(payload_len).unwrap_or(0));
        self.active = true;
    }

    /// How the RTCP of `source` must be renumbered for this listener; `None`: not at all.
    pub(super) fn sender_map(&self, source: StreamIx) -> Option<SenderMap> {
        let mapped = self.source() == Some(source)
            && (self.source_ssrc != self.ssrc || self.timestamp_offset != 0);
        mapped.then_some(SenderMap {
            from: self.source_ssrc,
            to: self.ssrc,
            timestamp_offset: self.timestamp_offset,
        })
    }

    /// How this listener's reports must be renumbered for `source`, of which `highest_seq` is
    /// known; `None`: not at all.
    pub(super) fn reported_map(&self, source: StreamIx, highest_seq: u32) -> Option<ReportedMap> {
        let mapped = self.source() == Some(source)
            && (self.source_ssrc != self.ssrc || self.sequence_offset != 0);
        mapped.then_some(ReportedMap {
            from: self.ssrc,
            to: self.source_ssrc,
            sequence_offset: self.sequence_offset,
            highest_seq,
        })
    }

    /// Timestamp of this moment, packets and payload bytes so far, if anything was sent since
    /// the last call.
    pub(super) fn sender_report(&mut self, now: Micros) -> Option<(RtpTimestamp, u32, u32)> {
        let active = std::mem::take(&mut self.active);
        active.then(|| (self.timestamp_at(now), self.packets, self.octets))
    }

    fn timestamp_at(&self, now: Micros) -> RtpTimestamp {
        self.newest
            .plus(ticks(now.since(self.newest_at), self.clock_hz))
    }

    #[cold]
    fn start(&mut self, now: Micros, packet: &Incoming, origin: Option<Origin>) {
        let origin = origin.unwrap_or(Origin {
            ssrc: packet.ssrc,
            seq: packet.seq,
            timestamp: packet.timestamp,
        });
        self.started = true;
        self.ssrc = origin.ssrc;
        self.highest = SequenceNumber(origin.seq.0.wrapping_sub(1));
        self.newest = origin.timestamp;
        self.newest_at = now;
        // Until a second packet tells how long the first one is.
        self.step = packet.clock_hz / USUAL_PER_SECOND;
        self.map(packet, origin.timestamp);
        // Nothing was sent yet, so a packet from before the first cannot collide.
        self.floored = false;
        self.gap = false;
    }

    #[cold]
    fn switch(&mut self, now: Micros, packet: &Incoming) {
        self.take_back();
        let elapsed = ticks(now.since(self.newest_at), self.clock_hz);
        let leap = self.leap(elapsed, self.step);
        self.map(packet, self.newest.plus(leap));
    }

    /// Maps `packet` to the next number and to `timestamp`.
    fn map(&mut self, packet: &Incoming, timestamp: RtpTimestamp) {
        self.source = packet.source;
        self.source_ssrc = packet.ssrc;
        self.sequence_offset = self.highest.next().0.wrapping_sub(packet.seq.0);
        self.timestamp_offset = timestamp.0.wrapping_sub(packet.timestamp.0);
        self.floor = packet.seq;
        self.floored = true;
        self.gap = true;
        self.broken = false;
        self.own = None;
        self.event = None;
        self.keep_time_in(packet.clock_hz);
    }

    /// Another clock: ticks of the one before say nothing any more.
    fn keep_time_in(&mut self, clock_hz: u32) {
        if std::mem::replace(&mut self.clock_hz, clock_hz) != clock_hz {
            (self.lead, self.given_back) = (0, 0);
        }
    }

    #[inline]
    fn advance(&mut self, now: Micros, packet: &Incoming, timestamp: RtpTimestamp, step: i16) {
        let ahead = timestamp.ahead_of(self.newest);
        if ahead > 0 {
            let ahead = ahead.unsigned_abs();
            // A fifth of a second is the longest packet anyone sends; more is a pause. The first
            // packet of a mapping is as far ahead as the switch took, not as it is long.
            let first = self.floored && packet.seq == self.floor;
            if step == 1 && !first && ahead <= packet.clock_hz / 5 {
                self.step = ahead;
            }
            self.newest = timestamp;
            self.newest_at = now;
        }
        self.clock_hz = packet.clock_hz;
        if self.floored && packet.seq.ahead_of(self.floor) >= FLOOR_SPAN {
            self.floored = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn packet(source: u16, ssrc: u32, seq: u16, timestamp: u32) -> Incoming {
        Incoming {
            source: StreamIx(source),
            ssrc,
            seq: SequenceNumber(seq),
            timestamp: RtpTimestamp(timestamp),
            clock_hz: 8_000,
            marker: false,
        }
    }

    fn pass(egress: &mut Egress, ms: u64, packet: Incoming) -> Option<(u32, u16, u32, bool)> {
        let out = egress.pass(Micros(ms * MS), &packet, || None)?;
        Some((out.ssrc, out.seq.0, out.timestamp.0, out.marker))
    }

    #[test]
    fn the_first_source_passes_unchanged() {
        let mut egress = Egress::new();
        assert_eq!(
            pass(&mut egress, 0, packet(0, 9, 100, 1_000)),
            Some((9, 100, 1_000, false))
        );
        assert_eq!(
            pass(&mut egress, 20, packet(0, 9, 99, 840)),
            Some((9, 99, 840, false))
        );
        assert_eq!(
            pass(&mut egress, 20, packet(0, 9, 103, 1_480)),
            Some((9, 103, 1_480, false))
        );
        assert_eq!(egress.sender_map(StreamIx(0)), None);
        assert_eq!(egress.reported_map(StreamIx(0), 0), None);
    }

    #[test]
    fn what_a_switch_took_is_not_the_length_of_a_packet() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 1, 1_000));
        pass(&mut egress, 20, packet(0, 9, 2, 1_160));
        // Another source 140 ms later, and the first again 20 ms after that.
        let out = pass(&mut egress, 160, packet(1, 7, 500, 77));
        assert_eq!(out.map(|out| out.2), Some(1_160 + 1_120));
        let out = pass(&mut egress, 180, packet(0, 9, 9, 2_440));
        assert_eq!(out.map(|out| out.2), Some(1_160 + 1_120 + 160));
    }

    #[test]
    fn a_new_source_goes_on_where_the_old_one_stopped() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 65_534, 1_000));
        pass(&mut egress, 20, packet(0, 9, 65_535, 1_160));
        let out = pass(&mut egress, 60, packet(1, 7, 500, 77));
        assert_eq!(out, Some((9, 0, 1_160 + 320, true)));
        assert_eq!(
            pass(&mut egress, 80, packet(1, 7, 501, 237)),
            Some((9, 1, 1_640, false))
        );
        assert_eq!(
            pass(&mut egress, 80, packet(1, 7, 499, 0)),
            None,
            "from before the switch"
        );
        let map = egress.sender_map(StreamIx(1)).unwrap();
        assert_eq!((map.from, map.to), (7, 9));
        assert_eq!(egress.sender_map(StreamIx(0)), None, "nobody hears it");
    }

    #[test]
    fn a_switch_within_a_packet_time_still_moves_the_clock() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 1, 0));
        pass(&mut egress, 20, packet(0, 9, 2, 160));
        assert_eq!(
            pass(&mut egress, 21, packet(0, 8, 1, 0)),
            Some((9, 3, 320, true))
        );
    }

    #[test]
    fn a_switch_after_a_single_packet_moves_the_clock_too() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 1, 0));
        assert_eq!(
            pass(&mut egress, 0, packet(1, 8, 1, 0)),
            Some((9, 2, 160, true))
        );
    }

    #[test]
    fn a_pause_gives_back_what_a_switch_was_ahead() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 1, 0));
        pass(&mut egress, 20, packet(0, 9, 2, 160));
        let mut frame = |ms: u64, pauses: bool| {
            if pauses {
                egress.pause(160);
            }
            let none = || unreachable!("it has numbers");
            let numbers = egress.frame(Micros(ms * MS), 160, 8_000, none);
            numbers.timestamp.0
        };
        // A packet's worth after 1 ms, and the wall clock again after a pause; but only once.
        assert_eq!(frame(21, false), 320);
        assert_eq!(frame(61, true), 160 + 41 * 8);
        assert_eq!(frame(101, true), 160 + 81 * 8);
    }

    #[test]
    fn a_frame_that_was_early_is_given_back_too() {
        let mut egress = Egress::new();
        let start = Origin {
            ssrc: 9,
            seq: SequenceNumber(1),
            timestamp: RtpTimestamp(0),
        };
        egress.frame(Micros(0), 160, 8_000, || start);
        let early = egress.frame(Micros(0), 160, 8_000, || start);
        egress.said_early(160);
        assert_eq!(early.timestamp.0, 160);
        egress.pause(160);
        // In its time again: 40 ms have passed.
        let next = egress.frame(Micros(40 * MS), 160, 8_000, || start);
        assert_eq!(next.timestamp.0, 320);
    }

    #[test]
    fn what_a_pause_gives_back_is_given_back_though_no_frame_follows() {
        let start = Origin {
            ssrc: 1,
            seq: SequenceNumber(0),
            timestamp: RtpTimestamp(0),
        };
        for rests in [true, false] {
            let mut egress = Egress::new();
            // Twenty times a frame that is 10 ms early, a pause, and one relayed packet.
            for n in 0..20_u16 {
                let at = u64::from(n) * 100;
                egress.frame(Micros(at * MS), 160, 8_000, || start);
                egress.said_early(80);
                egress.frame(Micros((at + 10) * MS), 160, 8_000, || start);
                egress.pause(160);
                if rests {
                    egress.rest();
                }
                let relayed = packet(0, 9, n, u32::from(n) * 800);
                let out = pass(&mut egress, at + 80, relayed);
                let (_, _, timestamp, _) = out.expect("it is sent");
                assert_eq!(u64::from(timestamp), (at + 80) * 8, "{n}, rests: {rests}");
            }
        }
    }

    #[test]
    fn events_stand_still_and_the_clock_does_not() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 1, 0));
        for n in 0..10 {
            pass(
                &mut egress,
                20 + 20 * u64::from(n),
                packet(0, 9, 2 + n, 160),
            );
        }
        let out = pass(&mut egress, 220, packet(1, 8, 1, 0));
        assert_eq!(out, Some((9, 12, 160 + 1_600, true)));
    }

    #[test]
    fn withheld_packets_leave_no_gap() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 10, 0));
        egress.withhold(StreamIx(0), 9, SequenceNumber(11));
        egress.withhold(StreamIx(0), 9, SequenceNumber(13));
        egress.withhold(StreamIx(0), 9, SequenceNumber(12));
        egress.withhold(StreamIx(1), 9, SequenceNumber(14));
        assert_eq!(
            pass(&mut egress, 80, packet(0, 9, 14, 640)),
            Some((9, 11, 640, true))
        );
        assert_eq!(pass(&mut egress, 80, packet(0, 9, 12, 320)), None);
        assert_eq!(
            pass(&mut egress, 80, packet(0, 9, 15, 800)),
            Some((9, 12, 800, false))
        );
        let map = egress.reported_map(StreamIx(0), 0).unwrap();
        assert_eq!(map.sequence_offset, 3u16.wrapping_neg());
    }

    #[test]
    fn a_hold_longer_than_the_circle_leaves_no_gap() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 0, 0));
        for n in 1..=100_000u32 {
            egress.withhold(StreamIx(0), 9, SequenceNumber::of(n));
        }
        let next = SequenceNumber::of(100_001);
        assert_eq!(
            pass(&mut egress, 9, packet(0, 9, next.0, 5)),
            Some((9, 1, 5, true))
        );
    }

    #[test]
    fn the_floor_is_lifted_before_numbers_come_round() {
        let mut egress = Egress::new();
        pass(&mut egress, 0, packet(0, 9, 0, 0));
        pass(&mut egress, 0, packet(1, 8, 0, 0));
        for n in 1..200_000u32 {
            let seq = SequenceNumber::of(n).0;
            assert!(pass(&mut egress, 0, packet(1, 8, seq, n)).is_some(), "{n}");
            assert!(
                pass(&mut egress, 0, packet(1, 8, seq, n)).is_some(),
                "a copy of {n}"
            );
        }
    }
}
