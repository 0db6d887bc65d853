//! Reception quality of a stream's sources (RFC 3550 appendix A.1, A.3, A.8), in integers.

use super::api::SourceReport;
use super::time::{Micros, low32, ticks, ticks_us};
use crate::wire::rtcp::ReportBlock;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Sources that are remembered per stream, the current one included.
pub(super) const SOURCES_MAX: usize = 4;

/// A larger step forward is a restart, not loss (RFC 3550 appendix A.1).
pub(super) const DROPOUT_MAX: u16 = 3_000;

/// A larger step backward is a restart, not reordering (RFC 3550 appendix A.1).
pub(super) const MISORDER_MAX: u16 = 100;

/// A reordered packet that is this late misses its playout.
pub(super) const LATE_US: u64 = 100_000;

/// For this long after an SSRC change, packets of the SSRC before are stragglers.
pub(super) const STRAGGLER_US: u64 = 200_000;

/// One accepted packet, as the statistics see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
    pub(super) clock_hz: u32,
    /// Its timestamp follows the arrival: false for telephone-event and comfort noise, which
    /// would be taken for jitter.
    pub(super) timed: bool,
    pub(super) len: usize,
}

/// How a packet continues what was received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// The very first packet.
    First,
    /// In or near the sequence: new, reordered or a copy.
    Flows,
    /// From an SSRC that was not the current one; it is now.
    NewSsrc,
    /// The same SSRC started new numbers.
    Restarted,
    /// A number out of any sequence: not trusted until the next one confirms it.
    Suspect,
    /// A late packet of the SSRC before the current one.
    Straggler,
}

/// The current source of a stream and those before.
#[derive(Debug, Default)]
pub(super) struct Sources {
    current: Option<Source>,
    changed_at: Option<Micros>,
    /// Oldest first; the latest of them is the one before `current`.
    past: Vec<Source>,
    pub(super) ssrc_changes: u32,
}

impl Sources {
    /// Accounts for a packet.
    #[inline]
    pub(super) fn update(&mut self, now: Micros, arrival: &Arrival) -> Continuity {
        match &mut self.current {
            Some(source) if source.ssrc == arrival.ssrc => source.update(now, arrival),
            Some(_) => self.change(now, arrival),
            None => {
                self.current = Some(Source::new(now, arrival));
                Continuity::First
            }
        }
    }

    /// The source heard now.
    pub(super) fn current(&self) -> Option<&Source> {
        self.current.as_ref()
    }

    /// The reception report block about the current source; starts a new report interval.
    pub(super) fn report_block(&mut self, now: Micros) -> Option<ReportBlock> {
        self.current.as_mut().map(|source| source.report_block(now))
    }

    /// Remembers an SR of the current source: `middle` 32 bits of its NTP time.
    pub(super) fn sender_report(&mut self, now: Micros, ssrc: u32, middle: u32) {
        if let Some(source) = self.current.as_mut().filter(|source| source.ssrc == ssrc) {
            source.last_sr = Some((middle, now));
        }
    }

    pub(super) fn report(&self) -> Vec<SourceReport> {
        self.past
            .iter()
            .chain(&self.current)
            .map(Source::report)
            .collect()
    }

    #[cold]
    fn change(&mut self, now: Micros, arrival: &Arrival) -> Continuity {
        let known = self
            .past
            .iter()
            .position(|source| source.ssrc == arrival.ssrc);
        if let Some(i) = known {
            let fresh = self
                .changed_at
                .is_some_and(|at| now.since(at) < STRAGGLER_US);
            let latest = i + 1 == self.past.len();
            let source = &mut self.past[i];
            let ahead = arrival.seq.is_after(SequenceNumber::of(source.highest));
            if (fresh && latest) || !ahead && source.is_near(arrival.seq) {
                source.update(now, arrival);
                return Continuity::Straggler;
            }
        }
        let next = match known {
            Some(i) => self.past.remove(i).resumed(now, arrival),
            None => Source::new(now, arrival),
        };
        self.past.extend(self.current.replace(next));
        if self.past.len() == SOURCES_MAX {
            self.past.remove(0);
        }
        self.changed_at = Some(now);
        self.ssrc_changes = self.ssrc_changes.saturating_add(1);
        Continuity::NewSsrc
    }
}

/// One SSRC.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) ssrc: u32,
    /// Extended highest sequence number.
    highest: u32,
    base: u32,
    /// Bit i: `highest` − i was received.
    window: u64,
    last_timestamp: RtpTimestamp,
    highest_at: Micros,
    clock_hz: u32,
    transit: u32,
    /// Whether `transit` can be compared with.
    timed: bool,
    /// Jitter in ticks, scaled by 16 (RFC 3550 appendix A.8).
    jitter_q4: u32,
    /// The number that would confirm a restart.
    suspect_next: Option<SequenceNumber>,
    packets: u64,
    bytes: u64,
    /// Since `base`: all packets, and those that were copies.
    received: u32,
    copies: u32,
    /// Lost before the last restart.
    lost_before: u64,
    reordered: u32,
    duplicate: u32,
    late: u32,
    expected_prior: u32,
    received_prior: u32,
    last_sr: Option<(u32, Micros)>,
}

impl Source {
    fn new(now: Micros, arrival: &Arrival) -> Self {
        // One cycle up, so that a packet reordered before the first does not go below zero.
        let highest = 0x1_0000 | u32::from(arrival.seq.0);
        let mut source = Self {
            ssrc: arrival.ssrc,
            highest,
            base: highest,
            window: 1,
            last_timestamp: arrival.timestamp,
            highest_at: now,
            clock_hz: arrival.clock_hz,
            transit: 0,
            timed: false,
            jitter_q4: 0,
            suspect_next: None,
            packets: 1,
            bytes: arrival.len as u64,
            received: 1,
            copies: 0,
            lost_before: 0,
            reordered: 0,
            duplicate: 0,
            late: 0,
            expected_prior: 0,
            received_prior: 0,
            last_sr: None,
        };
        source.jitter(now, arrival);
        source
    }

    #[inline]
    fn update(&mut self, now: Micros, arrival: &Arrival) -> Continuity {
        let step = arrival.seq.ahead_of(SequenceNumber::of(self.highest));
        if step == 1 {
            self.advance(now, arrival, 1);
            return Continuity::Flows;
        }
        self.update_uneven(now, arrival, step)
    }

    /// Anything but the next number.
    fn update_uneven(&mut self, now: Micros, arrival: &Arrival, step: i16) -> Continuity {
        let distance = step.unsigned_abs();
        if step > 0 && distance < DROPOUT_MAX {
            self.advance(now, arrival, distance);
        } else if step <= 0 && distance < MISORDER_MAX {
            self.overtaken(now, arrival, distance);
        } else if self.suspect_next == Some(arrival.seq) {
            self.restart(now, arrival);
            return Continuity::Restarted;
        } else {
            self.suspect_next = Some(arrival.seq.next());
            return Continuity::Suspect;
        }
        Continuity::Flows
    }

    #[inline]
    fn count(&mut self, arrival: &Arrival) {
        self.packets += 1;
        self.bytes += arrival.len as u64;
        self.received = self.received.wrapping_add(1);
    }

    #[inline]
    fn advance(&mut self, now: Micros, arrival: &Arrival, step: u16) {
        self.count(arrival);
        self.highest = self.highest.wrapping_add(u32::from(step));
        self.window = self.window.checked_shl(u32::from(step)).unwrap_or(0) | 1;
        self.last_timestamp = arrival.timestamp;
        self.highest_at = now;
        self.suspect_next = None;
        self.jitter(now, arrival);
    }

    /// A number at or below the highest: a copy, or overtaken on the way.
    fn overtaken(&mut self, now: Micros, arrival: &Arrival, distance: u16) {
        self.count(arrival);
        let bit = 1u64.checked_shl(u32::from(distance)).unwrap_or(0);
        if self.window & bit != 0 {
            self.duplicate = self.duplicate.saturating_add(1);
            self.copies = self.copies.wrapping_add(1);
            return;
        }
        self.window |= bit;
        let number = self.highest.wrapping_sub(u32::from(distance));
        if number.wrapping_sub(self.base).cast_signed() < 0 {
            self.base = number;
        }
        self.reordered = self.reordered.saturating_add(1);
        // It was due as long before the highest packet as its timestamp is older.
        let older = self
            .last_timestamp
            .ahead_of(arrival.timestamp)
            .max(0)
            .cast_unsigned();
        let late_us = now.since(self.highest_at) + ticks_us(older, self.clock_hz);
        if late_us > LATE_US {
            self.late = self.late.saturating_add(1);
        }
        self.jitter(now, arrival);
    }

    fn restart(&mut self, now: Micros, arrival: &Arrival) {
        let fresh = Self::new(now, arrival);
        *self = Self {
            packets: self.packets + 1,
            bytes: self.bytes + arrival.len as u64,
            lost_before: self.lost(),
            reordered: self.reordered,
            duplicate: self.duplicate,
            late: self.late,
            jitter_q4: self.jitter_q4,
            last_sr: self.last_sr,
            ..fresh
        };
    }

    /// A source heard before speaks again: its numbers may have gone anywhere meanwhile.
    fn resumed(mut self, now: Micros, arrival: &Arrival) -> Self {
        self.timed = false;
        if self.is_near(arrival.seq) {
            self.update(now, arrival);
        } else {
            self.restart(now, arrival);
        }
        self
    }

    fn is_near(&self, seq: SequenceNumber) -> bool {
        let step = seq.ahead_of(SequenceNumber::of(self.highest));
        let limit = if step > 0 { DROPOUT_MAX } else { MISORDER_MAX };
        step.unsigned_abs() < limit
    }

    /// RFC 3550 appendix A.8, on the clock of the payload.
    #[inline]
    fn jitter(&mut self, now: Micros, arrival: &Arrival) {
        if !arrival.timed {
            return;
        }
        let comparable = self.timed && self.clock_hz == arrival.clock_hz;
        let transit = ticks(now.0, arrival.clock_hz).wrapping_sub(arrival.timestamp.0);
        if comparable {
            let change = transit
                .wrapping_sub(self.transit)
                .cast_signed()
                .unsigned_abs();
            // A talkspurt that starts on new timestamps says nothing about the network.
            if change < arrival.clock_hz.saturating_mul(10) {
                let decay = (self.jitter_q4 + 8) >> 4;
                self.jitter_q4 = self.jitter_q4.saturating_add(change) - decay;
            }
        }
        self.clock_hz = arrival.clock_hz;
        self.transit = transit;
        self.timed = true;
    }

    /// The extended highest number with cycles counted from zero, as reports carry it.
    pub(super) fn highest_on_wire(&self) -> u32 {
        self.highest.wrapping_sub(0x1_0000)
    }

    fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }

    fn lost(&self) -> u64 {
        let unique = self.received.wrapping_sub(self.copies);
        self.lost_before + u64::from(self.expected().saturating_sub(unique))
    }

    /// RFC 3550 appendix A.3: copies count as received, so the loss may be negative.
    fn report_block(&mut self, now: Micros) -> ReportBlock {
        let expected = self.expected();
        let expected_interval = expected.wrapping_sub(self.expected_prior);
        let received_interval = self.received.wrapping_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (u64::from(lost_interval) << 8)
            .checked_div(u64::from(expected_interval))
            .unwrap_or(0);
        let (last_sr, delay) = self.last_sr.map_or((0, 0), |(middle, at)| {
            (middle, low32((now.since(at) << 16) / 1_000_000))
        });
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: expected.wrapping_sub(self.received).cast_signed(),
            // Cycles on the wire start at zero; ours start one up.
            highest_seq: self.highest_on_wire(),
            jitter: self.jitter_q4 >> 4,
            last_sr,
            delay_since_last_sr: delay,
        }
    }

    fn report(&self) -> SourceReport {
        let jitter_us = ticks_us(self.jitter_q4 >> 4, self.clock_hz);
        SourceReport {
            ssrc: self.ssrc,
            packets: self.packets,
            bytes: self.bytes,
            highest_seq: self.highest_on_wire(),
            last_timestamp: self.last_timestamp.0,
            lost: self.lost(),
            reordered: self.reordered.into(),
            duplicate: self.duplicate.into(),
            late: self.late.into(),
            jitter_ms: low32(jitter_us.min(u32::MAX.into())) as f32 / 1_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    struct Feed {
        sources: Sources,
        ssrc: u32,
    }

    impl Feed {
        fn new() -> Self {
            Self {
                sources: Sources::default(),
                ssrc: 1,
            }
        }

        /// A packet whose timestamp fits its number, at a time in milliseconds.
        fn at(&mut self, ms: u64, seq: u16) -> Continuity {
            let arrival = Arrival {
                ssrc: self.ssrc,
                seq: SequenceNumber(seq),
                timestamp: RtpTimestamp(u32::from(seq).wrapping_mul(160)),
                clock_hz: 8_000,
                timed: true,
                len: 172,
            };
            self.sources.update(Micros(ms * MS), &arrival)
        }

        fn report(&self) -> SourceReport {
            *self.sources.report().last().unwrap()
        }
    }

    #[test]
    fn loss_duplicates_and_reordering_across_the_wrap() {
        let mut feed = Feed::new();
        let order = [
            65_530, 65_531, 65_533, 65_532, 65_532, 65_535, 0, 1, 5, 3, 3,
        ];
        for (n, seq) in (0..).zip(order) {
            feed.at(n * 20, seq);
        }
        let report = feed.report();
        assert_eq!(report.packets, 11);
        assert_eq!(report.duplicate, 2);
        assert_eq!(report.reordered, 2);
        // 65 530 to 5 are twelve numbers; 65 534, 2 and 4 are missing.
        assert_eq!(report.lost, 3);
        assert_eq!(report.highest_seq, 0x1_0005);
    }

    #[test]
    fn packets_before_the_first_move_the_base() {
        let mut feed = Feed::new();
        [2, 0, 1, 65_535].iter().for_each(|&seq| {
            feed.at(0, seq);
        });
        assert_eq!(feed.report().lost, 0);
        assert_eq!(feed.report().reordered, 3);
    }

    #[test]
    fn late_means_later_than_a_playout_buffer_waits() {
        let mut feed = Feed::new();
        for n in 0..20u16 {
            if n != 7 && n != 12 {
                feed.at(u64::from(n) * 20, n);
            }
        }
        // 12 was due at 240 ms, the highest (19) came at 380.
        feed.at(381, 12);
        assert_eq!((feed.report().late, feed.report().reordered), (1, 1));
        feed.at(400, 20);
        feed.at(420, 22);
        feed.at(421, 21);
        assert_eq!((feed.report().late, feed.report().reordered), (1, 2));
    }

    #[test]
    fn jumps_need_a_second_packet_to_be_believed() {
        for (jump, suspect) in [(DROPOUT_MAX - 1, false), (DROPOUT_MAX, true)] {
            let mut feed = Feed::new();
            feed.at(0, 10);
            let continuity = feed.at(20, 10 + jump);
            assert_eq!(continuity == Continuity::Suspect, suspect, "{jump}");
        }
        for (back, suspect) in [(MISORDER_MAX - 1, false), (MISORDER_MAX, true)] {
            let mut feed = Feed::new();
            feed.at(0, 1_000);
            let continuity = feed.at(20, 1_000 - back);
            assert_eq!(continuity == Continuity::Suspect, suspect, "{back}");
        }
        let mut feed = Feed::new();
        feed.at(0, 10);
        assert_eq!(feed.at(20, 30_000), Continuity::Suspect);
        assert_eq!(feed.at(40, 11), Continuity::Flows);
        assert_eq!(
            feed.at(60, 30_001),
            Continuity::Suspect,
            "the sequence went on between"
        );
        assert_eq!(feed.at(80, 30_002), Continuity::Restarted);
        assert_eq!(feed.at(100, 30_003), Continuity::Flows);
        assert_eq!(feed.report().lost, 0);
    }

    #[test]
    fn jitter_of_even_packets_is_zero_and_of_uneven_ones_converges() {
        let mut feed = Feed::new();
        (0..100u16).for_each(|n| {
            feed.at(u64::from(n) * 20, n);
        });
        assert_eq!(feed.report().jitter_ms, 0.0);
        // Alternating by 8 ms: the mean deviation is 8 ms.
        (100..1_000u16).for_each(|n| {
            feed.at(u64::from(n) * 20 + 8 * u64::from(n % 2), n);
        });
        assert!(
            (feed.report().jitter_ms - 8.0).abs() < 0.6,
            "{}",
            feed.report().jitter_ms
        );
    }

    #[test]
    fn ssrc_change_keeps_history_and_tolerates_stragglers() {
        let mut feed = Feed::new();
        feed.at(0, 1);
        feed.ssrc = 2;
        assert_eq!(feed.at(20, 5_000), Continuity::NewSsrc);
        feed.ssrc = 1;
        assert_eq!(feed.at(30, 2), Continuity::Straggler);
        assert_eq!(feed.at(220, 3), Continuity::NewSsrc, "it really is back");
        feed.ssrc = 2;
        assert_eq!(
            feed.at(500, 4_999),
            Continuity::Straggler,
            "an old number proves nothing"
        );
        for ssrc in 3..10 {
            feed.ssrc = ssrc;
            feed.at(1_000, 1);
        }
        let ssrcs: Vec<_> = feed
            .sources
            .report()
            .iter()
            .map(|source| source.ssrc)
            .collect();
        assert_eq!(ssrcs, [6, 7, 8, 9]);
        assert_eq!(feed.sources.ssrc_changes, 9);
    }

    #[test]
    fn report_block_follows_appendix_a3() {
        let mut feed = Feed::new();
        (0..100u16).filter(|n| n % 4 != 3).for_each(|n| {
            feed.at(u64::from(n) * 20, n);
        });
        feed.at(2_000, 100);
        feed.sources
            .sender_report(Micros(2_000 * MS), 1, 0xabcd_ef01);
        let block = feed.sources.report_block(Micros(2_500 * MS)).unwrap();
        assert_eq!(block.cumulative_lost, 25);
        assert_eq!(block.fraction_lost, 63, "25 of 101 in 1/256");
        assert_eq!(block.highest_seq, 100);
        assert_eq!(
            (block.last_sr, block.delay_since_last_sr),
            (0xabcd_ef01, 0x8000)
        );
        let again = feed.sources.report_block(Micros(3_000 * MS)).unwrap();
        assert_eq!((again.fraction_lost, again.cumulative_lost), (0, 25));
    }
}
