//! What a listener is to be told of a stream that it cannot compare with what was sent: an audit by
//! sequence numbers, timestamps and times of arrival.
//!
//! Packets are counted twice over: by their numbers (a gap is a packet that left the switch and
//! never came, or one that was dropped after it was numbered) and by the clock (a switch that is
//! behind sends fewer than it gets, with no gap to see).

use std::time::Duration;

use hdrhistogram::Histogram;

use super::generator::nanos;
use super::sound::LOOP_FRAMES;
use crate::audio::codec::CodecKind;
use crate::wire::seq::RtpTimestamp;

/// A packet that comes out this much later than the constant pace asks is missing: it is more than
/// the jitter buffer of a phone usually forgives.
pub(super) const GRACE: Duration = Duration::from_millis(60);

/// A timestamp that is less than this many frames ahead has left them out.
const SKIP_FRAMES_MAX: u64 = 500;

/// Packets kept of a stream that is listened to: a second for the decoder to settle, a second to
/// judge.
pub(super) const KEPT_PACKETS: usize = 2 * LOOP_FRAMES;

/// Which numbers have come, one bit for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Vec<u64>);

impl Numbers {
    /// Notes a number; whether it had not come before.
    pub(super) fn is_first(&mut self, number: u64) -> bool {
        let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
        let bit = 1_u64 << (number % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let first = self.0[word] & bit == 0;
        self.0[word] |= bit;
        first
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// When the window opened and closed, in nanoseconds of Unix time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) opened: Option<u64>,
    pub(super) closed: Option<u64>,
}

/// Where an arrival lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    Before,
    Within,
    /// Within [`GRACE`] after the window.
    Soon,
    Late,
}

impl Window {
    pub(super) fn place(&self, at_ns: u64) -> When {
        if self.opened.is_none_or(|opened| at_ns < opened) {
            return When::Before;
        }
        match self.closed {
            Some(closed) if at_ns >= closed.saturating_add(nanos(GRACE)) => When::Late,
            Some(closed) if at_ns >= closed => When::Soon,
            _ => When::Within,
        }
    }
}

/// What the header of a packet of the right codec says, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived<'p> {
    pub(super) ssrc: u32,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) at_ns: u64,
    pub(super) payload: &'p [u8],
}

/// A kept packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) at_ns: u64,
    pub(super) payload: Vec<u8>,
}

/// What one party hears.
#[derive(Clone, Debug, Default)]
pub(super) struct Listener {
    pub(super) ssrc: Option<u32>,
    /// The highest sequence number, extended so that it neither wraps nor falls below zero.
    highest: u64,
    /// The first number that counts.
    from: Option<u64>,
    /// Those since `from`.
    seen: Numbers,
    /// Different numbers since `from`.
    distinct: u64,
    /// Arrived inside the window.
    pub(super) within: u64,
    /// Arrived inside the window or [`GRACE`] after it.
    pub(super) in_time: u64,
    pub(super) gaps: u64,
    pub(super) duplicate: u64,
    pub(super) reordered: u64,
    pub(super) discontinuous: u64,
    pub(super) skipped: u64,
    pub(super) malformed: u64,
    pub(super) octets: u64,
    /// The timestamp that number 0 would have.
    origin: Option<u32>,
    /// Arrival and timestamp of the packet before.
    before: Option<(u64, u32)>,
    pub(super) keeps: bool,
    pub(super) kept: Vec<Kept>,
}

impl Listener {
    /// Counts one arrival. `jitter_ns` takes by how much the time since the packet before differs
    /// from what their timestamps say (the D of RFC 3550 section 6.4.1).
    pub(super) fn hear(
        &mut self,
        packet: &Arrived<'_>,
        when: When,
        codec: (CodecKind, u32),
        jitter_ns: &mut Histogram<u64>,
    ) {
        let newcomer = self.ssrc != Some(packet.ssrc);
        if newcomer {
            self.start_over(packet, when);
        }
        let number = self.extend(packet.seq);
        // The number before the first packet of a source was never sent.
        let highest = if newcomer { number - 1 } else { self.highest };
        self.highest = highest.max(number);
        if when == When::Before {
            self.before = Some((packet.at_ns, packet.timestamp));
            self.origin = Some(origin(packet, number, codec.1));
            return;
        }
        let from = *self.from.get_or_insert(highest + 1);
        // Before it there are stragglers of the warm-up.
        let Some(index) = number.checked_sub(from) else {
            return;
        };
        if !self.seen.is_first(index) {
            self.duplicate += 1;
            return;
        }
        self.distinct += 1;
        self.in_time += u64::from(when <= When::Soon);
        self.reordered += u64::from(number < highest);
        if when == When::Within {
            self.within += 1;
            self.octets += packet.payload.len() as u64;
            self.check_clock(packet, number, codec, jitter_ns);
            self.keep(packet, number);
        }
    }

    /// Another source has numbers of its own.
    fn start_over(&mut self, packet: &Arrived<'_>, when: When) {
        self.gaps += self.open_gaps();
        // A switch that changes its source in the middle makes every phone start over.
        self.discontinuous += u64::from(self.ssrc.is_some() && when == When::Within);
        self.ssrc = Some(packet.ssrc);
        self.highest = (1 << 32) + u64::from(packet.seq);
        self.from = None;
        self.seen.clear();
        self.distinct = 0;
        self.origin = None;
        self.before = None;
        self.kept.clear();
    }

    /// The number with these low 16 bits that is nearest to the highest.
    fn extend(&self, seq: u16) -> u64 {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let low = self.highest as u16;
        let ahead = i64::from(seq.wrapping_sub(low).cast_signed());
        self.highest.saturating_add_signed(ahead)
    }

    fn check_clock(
        &mut self,
        packet: &Arrived<'_>,
        number: u64,
        codec: (CodecKind, u32),
        jitter_ns: &mut Histogram<u64>,
    ) {
        let origin = Some(origin(packet, number, codec.1));
        if let Some((now, before)) = origin.zip(self.origin)
            && now != before
        {
            self.discontinuous += 1;
            let ahead = RtpTimestamp(now).ahead_of(RtpTimestamp(before));
            let frames = u64::try_from(ahead).unwrap_or(0) / u64::from(codec.1);
            // A leap is another beginning, not sound left out.
            self.skipped += if frames < SKIP_FRAMES_MAX { frames } else { 0 };
        }
        self.origin = origin;
        if let Some((at_ns, timestamp)) = self.before {
            let ticks = RtpTimestamp(packet.timestamp).ahead_of(RtpTimestamp(timestamp));
            let meant_ns = i64::from(ticks) * 1_000_000_000 / i64::from(codec.0.clock_hz());
            let took_ns = packet.at_ns.cast_signed() - at_ns.cast_signed();
            jitter_ns.saturating_record(took_ns.abs_diff(meant_ns).max(1));
        }
        self.before = Some((packet.at_ns, packet.timestamp));
    }

    fn keep(&mut self, packet: &Arrived<'_>, number: u64) {
        if self.keeps && self.kept.len() < KEPT_PACKETS {
            self.kept.push(Kept {
                number,
                at_ns: packet.at_ns,
                payload: packet.payload.to_vec(),
            });
        }
    }

    /// Numbers between the first and the highest that never came, of the current source.
    pub(super) fn open_gaps(&self) -> u64 {
        self.from
            .map_or(0, |from| (self.highest + 1).saturating_sub(from))
            .saturating_sub(self.distinct)
    }
}

/// The timestamp of number 0, going by this packet.
pub(super) fn origin(packet: &Arrived<'_>, number: u64, ticks: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "RTP timestamps wrap")]
    let passed = number.wrapping_mul(u64::from(ticks)) as u32;
    packet.timestamp.wrapping_sub(passed)
}

/// The kept packets in the order of their numbers, missing ones `None`, and when the one arrived
/// with which the last second starts. `None` when that or a second is missing.
pub(super) fn consecutive(kept: &[Kept]) -> Option<(Vec<Option<&[u8]>>, u64)> {
    let first = kept.iter().map(|packet| packet.number).min()?;
    let mut packets: Vec<Option<&[u8]>> = vec![None; KEPT_PACKETS];
    let mut start_ns = None;
    for packet in kept {
        let index = usize::try_from(packet.number - first).ok()?;
        // The last ones have none when others are missing.
        if let Some(place) = packets.get_mut(index) {
            *place = Some(&packet.payload);
        }
        if index == KEPT_PACKETS - LOOP_FRAMES {
            start_ns = Some(packet.at_ns);
        }
    }
    Some((packets, start_ns?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// An audit of PCMU that counts from the first packet, whose number is `first`.
    struct Bench {
        listener: Listener,
        jitter_ns: Histogram<u64>,
        first: u16,
    }

    impl Bench {
        fn new(first: u16) -> Self {
            let jitter_ns = crate::tools::bench::histogram().unwrap();
            let listener = Listener::default();
            Self {
                listener,
                jitter_ns,
                first,
            }
        }

        /// The packet `n` after the first one arrives, late by so many milliseconds.
        fn hear(&mut self, n: u16, late_ms: u64, when: When) {
            self.hear_with(n, late_ms, when, 0, 7);
        }

        fn hear_with(&mut self, n: u16, late_ms: u64, when: When, ticks: u32, ssrc: u32) {
            let packet = Arrived {
                ssrc,
                seq: self.first.wrapping_add(n),
                timestamp: (u32::MAX - 1_000).wrapping_add(160 * u32::from(n) + ticks),
                at_ns: (1_000 + 20 * u64::from(n) + late_ms) * MS,
                payload: &[0xFF; 160],
            };
            let codec = (CodecKind::Pcmu, 160);
            self.listener
                .hear(&packet, when, codec, &mut self.jitter_ns);
        }

        fn gaps(&self) -> u64 {
            self.listener.gaps + self.listener.open_gaps()
        }
    }

    #[test]
    fn gaps_repetitions_and_disorder_are_told_apart() {
        let mut bench = Bench::new(65_530);
        // Warm-up ends with 2, of which 1 comes too late; 4 is lost; 6 comes twice; 9 before 8;
        // the numbers wrap meanwhile.
        for n in [0, 2] {
            bench.hear(n, 0, When::Before);
        }
        for n in [1, 3, 5, 6, 6, 7, 9, 8, 10] {
            bench.hear(n, 0, When::Within);
        }
        let listener = &bench.listener;
        assert_eq!(listener.within, 7);
        assert_eq!((listener.duplicate, listener.reordered), (1, 1));
        assert_eq!(bench.gaps(), 1);
        assert_eq!(listener.discontinuous, 0);
    }

    #[test]
    fn a_gap_at_the_edge_of_the_window_counts() {
        let mut bench = Bench::new(10);
        bench.hear(0, 0, When::Before);
        bench.hear(2, 0, When::Within);
        assert_eq!(bench.gaps(), 1);
    }

    #[test]
    fn stragglers_fill_gaps_but_are_not_in_time() {
        let mut bench = Bench::new(0);
        bench.hear(0, 0, When::Within);
        bench.hear(2, 0, When::Within);
        assert_eq!(bench.gaps(), 1);
        bench.hear(3, 0, When::Soon);
        bench.hear(1, 0, When::Late);
        assert_eq!(bench.gaps(), 0);
        assert_eq!((bench.listener.within, bench.listener.in_time), (2, 3));
        assert_eq!(bench.listener.reordered, 1);
    }

    #[test]
    fn timestamps_must_follow_the_numbers() {
        let mut bench = Bench::new(0);
        bench.hear(0, 0, When::Within);
        bench.hear(1, 0, When::Within);
        bench.hear_with(2, 0, When::Within, 1, 7);
        bench.hear_with(3, 0, When::Within, 1, 7);
        assert_eq!(bench.listener.discontinuous, 1);
        bench.hear(4, 0, When::Within);
        assert_eq!(bench.listener.discontinuous, 2);
        assert_eq!(bench.listener.skipped, 0);
        // Two frames left out, none of which had a number.
        bench.hear_with(5, 40, When::Within, 320, 7);
        bench.hear_with(6, 40, When::Within, 320, 7);
        assert_eq!(bench.listener.discontinuous, 3);
        assert_eq!(bench.listener.skipped, 2);
        let leap = 320 + 160 * u32::try_from(SKIP_FRAMES_MAX).unwrap();
        bench.hear_with(7, 40, When::Within, leap, 7);
        assert_eq!(bench.listener.skipped, 2);
        bench.hear_with(8, 40, When::Within, leap + 160 * 499, 7);
        assert_eq!(bench.listener.skipped, 501);
    }

    #[test]
    fn another_source_is_a_break_and_what_was_lost_before_stays_lost() {
        let mut bench = Bench::new(0);
        for n in [0, 1, 3] {
            bench.hear(n, 0, When::Within);
        }
        bench.hear_with(40_000, 0, When::Within, 0, 8);
        bench.hear_with(40_001, 0, When::Within, 0, 8);
        assert_eq!(bench.gaps(), 1);
        assert_eq!(
            (bench.listener.within, bench.listener.discontinuous),
            (5, 1)
        );
    }

    #[test]
    fn jitter_is_the_deviation_from_the_timestamps() {
        let mut bench = Bench::new(0);
        for (n, late_ms) in [(0, 0), (1, 0), (2, 30), (3, 10)] {
            bench.hear(n, late_ms, When::Within);
        }
        let mut found: Vec<u64> = bench
            .jitter_ns
            .iter_recorded()
            .map(|v| v.value_iterated_to())
            .collect();
        found.iter_mut().for_each(|ns| *ns = (*ns + MS / 2) / MS);
        assert_eq!(found, [0, 20, 30]);
    }

    #[test]
    fn the_window_has_a_time_of_grace() {
        let window = Window {
            opened: Some(100 * MS),
            closed: Some(200 * MS),
        };
        assert_eq!(Window::default().place(1), When::Before);
        assert_eq!(window.place(100 * MS - 1), When::Before);
        assert_eq!(window.place(100 * MS), When::Within);
        assert_eq!(window.place(200 * MS), When::Soon);
        assert_eq!(window.place(260 * MS - 1), When::Soon);
        assert_eq!(window.place(260 * MS), When::Late);
    }
}
