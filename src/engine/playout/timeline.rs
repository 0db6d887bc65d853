//! One line of packets and one line of time out of whatever senders number.
//!
//! Sequence numbers wrap, timestamps wrap, and both start anew with another SSRC, a restarted
//! sender or another clock rate. Here every packet gets an order key and a media time that never
//! wrap and never start anew: after a restart both go on where the previous numbers ended, as if
//! the first new packet had come with the usual delay.

use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Largest step forward of a sequence number that is loss and not a restart (RFC 3550 A.1).
pub(super) const DROPOUT_MAX: i16 = 3_000;

/// Largest step backward that is reordering and not a restart (RFC 3550 A.1).
pub(super) const MISORDER_MAX: i16 = 100;

/// So many old packets in a row, each after the other and none new, are a sender that started anew
/// a little way back.
const BEHIND_MAX: u8 = 8;

/// A packet this much later than the fastest is not late but stamped with another origin.
const LATE_MAX_US: i64 = 1_000_000;

/// The same for one that is earlier than the network can be.
const EARLY_MAX_US: i64 = 500_000;

/// Packets with a new origin that must agree, by so much and over so much time, before it is
/// believed. A burst that ends an outage looks similar, but comes all at once.
const AGREE_PACKETS: u8 = 3;
const AGREE_US: i64 = 40_000;
const AGREE_SPAN_US: i64 = 25_000;

/// What identifies a packet on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
    pub(super) clock_hz: u32,
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Here: its key and its media time in output samples.
    At {
        key: i64,
        media: i64,
        restarted: bool,
    },
    /// Nowhere: its numbers fit nothing, and no other packet agrees with them so far.
    Stray,
}

/// Unwraps the numbers of a stream.
#[derive(Debug)]
pub(super) struct Timeline {
    pcm_hz: u32,
    /// The packet with the highest key so far.
    newest: Option<Newest>,
    /// A sequence number that would confirm a jump.
    confirm: Option<SequenceNumber>,
    /// The old packet that would go on a row of them, and the row's length.
    behind: (SequenceNumber, u8),
    strangers: Strangers,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    stamp: Stamp,
    key: i64,
    media: i64,
}

/// Consecutive packets whose transit cannot be.
#[derive(Clone, Copy, Debug, Default)]
struct Strangers {
    count: u8,
    since_us: i64,
    transit_us: i64,
}

impl Timeline {
    pub(super) fn new(pcm_hz: u32) -> Self {
        Self {
            pcm_hz,
            newest: None,
            confirm: None,
            behind: (SequenceNumber(0), 0),
            strangers: Strangers::default(),
        }
    }

    /// Places a packet that arrived now, given the fastest transit of late.
    pub(super) fn place(&mut self, now_us: i64, stamp: Stamp, base_us: Option<i64>) -> Place {
        let Some(newest) = self.newest else {
            return self.settle(stamp, 0, self.samples(now_us), false);
        };
        let base_us = base_us.unwrap_or(0);
        if stamp.ssrc != newest.stamp.ssrc {
            return self.restart(now_us, stamp, base_us, newest.key + 1);
        }
        let step = stamp.seq.ahead_of(newest.stamp.seq);
        if !(-MISORDER_MAX..=DROPOUT_MAX).contains(&step) {
            if self.confirm.replace(stamp.seq.next()) == Some(stamp.seq) {
                return self.restart(now_us, stamp, base_us, newest.key + 1);
            }
            return Place::Stray;
        }
        self.confirm = None;
        if self.starts_anew_behind(stamp.seq, step) {
            return self.restart(now_us, stamp, base_us, newest.key + 1);
        }
        let key = newest.key + i64::from(step);
        if stamp.clock_hz != newest.stamp.clock_hz {
            // Timestamps of the two clocks have nothing in common, even in one sequence.
            return match step > 0 {
                true => self.restart(now_us, stamp, base_us, key),
                false => Place::Stray,
            };
        }
        let ticks = stamp.timestamp.ahead_of(newest.stamp.timestamp);
        let samples = i64::from(ticks) * i64::from(self.pcm_hz) / i64::from(stamp.clock_hz.max(1));
        let media = newest.media + samples;
        let transit_us = now_us - self.micros(media);
        if (base_us - EARLY_MAX_US..=base_us + LATE_MAX_US).contains(&transit_us) {
            self.strangers.count = 0;
            return self.settle(stamp, key, media, false);
        }
        if self.strangers.agree(now_us, transit_us) && step > 0 {
            return self.restart(now_us, stamp, base_us, key);
        }
        Place::Stray
    }

    fn starts_anew_behind(&mut self, seq: SequenceNumber, step: i16) -> bool {
        let row = if self.behind.0 == seq {
            self.behind.1
        } else {
            0
        };
        self.behind = (seq.next(), if step < 0 { row + 1 } else { 0 });
        self.behind.1 >= BEHIND_MAX
    }

    /// Media time as microseconds.
    pub(super) fn micros(&self, media: i64) -> i64 {
        media.saturating_mul(1_000_000) / i64::from(self.pcm_hz)
    }

    /// Microseconds as samples.
    pub(super) fn samples(&self, us: i64) -> i64 {
        us.saturating_mul(i64::from(self.pcm_hz)) / 1_000_000
    }

    /// New numbers begin, as if this packet had the usual transit.
    fn restart(&mut self, now_us: i64, stamp: Stamp, base_us: i64, key: i64) -> Place {
        self.strangers = Strangers::default();
        self.confirm = None;
        self.behind.1 = 0;
        let after = self.newest.map_or(i64::MIN, |newest| newest.media + 1);
        self.settle(stamp, key, self.samples(now_us - base_us).max(after), true)
    }

    fn settle(&mut self, stamp: Stamp, key: i64, media: i64, restarted: bool) -> Place {
        if self.newest.is_none_or(|newest| key > newest.key) {
            self.newest = Some(Newest { stamp, key, media });
        }
        Place::At {
            key,
            media,
            restarted,
        }
    }
}

impl Strangers {
    /// Counts one more; whether enough of them agree.
    fn agree(&mut self, now_us: i64, transit_us: i64) -> bool {
        let near = (transit_us - self.transit_us).abs() <= AGREE_US;
        if self.count == 0 || !near {
            *self = Self {
                count: 1,
                since_us: now_us,
                transit_us,
            };
            return false;
        }
        self.count = self.count.saturating_add(1);
        self.count >= AGREE_PACKETS && now_us - self.since_us >= AGREE_SPAN_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ssrc: u32, seq: u16, timestamp: u32) -> Stamp {
        let (seq, timestamp) = (SequenceNumber(seq), RtpTimestamp(timestamp));
        Stamp {
            ssrc,
            seq,
            timestamp,
            clock_hz: 8_000,
        }
    }

    fn at(place: Place) -> (i64, i64, bool) {
        match place {
            Place::At {
                key,
                media,
                restarted,
            } => (key, media, restarted),
            Place::Stray => panic!("a stray"),
        }
    }

    #[test]
    fn numbers_go_on_across_wraps_and_reordering() {
        let mut line = Timeline::new(16_000);
        let first = at(line.place(0, stamp(1, 0xfffe, 0xffff_ff60), None));
        let later = at(line.place(40_000, stamp(1, 0, 160), Some(0)));
        assert_eq!(later, (first.0 + 2, first.1 + 2 * 320, false));
        let between = at(line.place(41_000, stamp(1, 0xffff, 0), Some(0)));
        assert_eq!(between, (first.0 + 1, first.1 + 320, false));
    }

    #[test]
    fn another_source_goes_on_where_the_first_was() {
        let mut line = Timeline::new(8_000);
        let first = at(line.place(1_000_000, stamp(1, 7, 0), None));
        let base = 1_000_000 - line.micros(first.1);
        let other = at(line.place(1_020_000, stamp(2, 9_999, 0x8000_0000), Some(base)));
        assert_eq!(other, (first.0 + 1, first.1 + 160, true));
    }

    #[test]
    fn a_jump_of_numbers_needs_two_witnesses() {
        for jump in [DROPOUT_MAX + 1, -MISORDER_MAX - 1] {
            let mut line = Timeline::new(8_000);
            line.place(0, stamp(1, 10_000, 0), None);
            // Backwards, the second witness must be as far away.
            let far = 10_000_u16.wrapping_add_signed(jump + jump.signum());
            assert_eq!(
                line.place(20_000, stamp(1, far, 160), Some(0)),
                Place::Stray
            );
            assert_eq!(
                line.place(40_000, stamp(1, far, 160), Some(0)),
                Place::Stray
            );
            assert!(at(line.place(60_000, stamp(1, far + 1, 480), Some(0))).2);
        }
        let mut line = Timeline::new(8_000);
        line.place(0, stamp(1, 10_000, 0), None);
        let far = 10_000 + DROPOUT_MAX.cast_unsigned();
        assert!(!at(line.place(20_000, stamp(1, far, 160), Some(0))).2);
    }

    #[test]
    fn a_sender_that_starts_anew_just_behind_is_heard_again() {
        let mut line = Timeline::new(8_000);
        line.place(0, stamp(1, 50, 8_000), None);
        for n in 1..=BEHIND_MAX {
            let now_us = i64::from(n) * 20_000;
            let seq = 9 + u16::from(n);
            let place = line.place(now_us, stamp(1, seq, 8_000 + u32::from(n) * 160), Some(0));
            assert_eq!(at(place).2, n == BEHIND_MAX, "packet {n}");
        }
    }

    #[test]
    fn a_timestamp_jump_is_believed_when_it_lasts_and_not_in_a_burst() {
        for jump in [0x8000_0000_u32, 80_000, 0_u32.wrapping_sub(80_000)] {
            let mut line = Timeline::new(8_000);
            let (_, first, _) = at(line.place(0, stamp(1, 0, 0), None));
            let mut restarted_at = None;
            for n in 1..10_u16 {
                let now_us = i64::from(n) * 20_000;
                let stamp = stamp(1, n, u32::from(n).wrapping_mul(160).wrapping_add(jump));
                if let Place::At {
                    media, restarted, ..
                } = line.place(now_us, stamp, Some(0))
                {
                    assert!(media > first);
                    restarted_at = restarted_at.or_else(|| restarted.then_some(n));
                }
            }
            assert_eq!(restarted_at, Some(3), "jump {jump:#x}");
        }
        // Three seconds of outage, then everything at once.
        let mut line = Timeline::new(8_000);
        line.place(0, stamp(1, 0, 0), None);
        for n in 1..150_u16 {
            let now_us = 3_000_000 + i64::from(n) * 100;
            match line.place(now_us, stamp(1, n, u32::from(n) * 160), Some(0)) {
                Place::At { restarted, .. } => assert!(!restarted && n > 95),
                Place::Stray => assert!(n < 105),
            }
        }
    }

    #[test]
    fn another_clock_starts_anew() {
        let mut line = Timeline::new(16_000);
        line.place(0, stamp(1, 0, 0), None);
        let mut wide = stamp(1, 1, 960);
        wide.clock_hz = 48_000;
        assert!(at(line.place(20_000, wide, Some(0))).2);
        let narrow = stamp(1, 0, 0);
        assert_eq!(line.place(21_000, narrow, Some(0)), Place::Stray);
    }
}
