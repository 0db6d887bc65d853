//! One press, as far as its packets told, and which packets are its own.

use super::EventEdge;
use crate::engine::time::{ticks, ticks_us};
use crate::wire::event::TelephoneEvent;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Largest duration that a packet can tell; a longer press has segments (RFC 4733 §2.5.1.3).
const SEGMENT_TICKS: u16 = u16::MAX;

/// Packets of one press follow each other this closely, where it takes that to know them: a press
/// without its end has three packets more, so what is this near cannot be the next one.
const NEAR_PACKETS_MAX: i16 = 3;

/// The end of a press is sent again within so many packets, audio between them included; so are
/// two packets of one press with others lost between them.
const END_PACKETS_MAX: i16 = 8;

/// A timestamp that moved by as much as the duration grew is the same press within so many: the
/// next press would need that its first four packets are lost besides the end of this one.
const EVEN_PACKETS_MAX: i16 = 6;

/// As [`NEAR_PACKETS_MAX`], once a sender was seen to move the timestamp within a press.
const STEPPING_PACKETS_MAX: i16 = 64;

/// An end that comes again does so within this time of the one before.
const END_AGAIN_US: u64 = 150_000;

/// An end with a timestamp beyond the press is the same end only within this time.
const END_STAMPED_NOW_US: u64 = 50_000;

/// A press can change its source for this long after its last packet.
const MOVES_WITHIN_US: u64 = 1_000_000;

/// Jitter that a duration which wrapped may show.
const WRAP_JITTER_US: u64 = 100_000;

/// Update interval until one is seen: the largest that is usual (RFC 4733 §2.5.1.2).
const INTERVAL_US: u64 = 50_000;

/// Bounds of what counts as an update interval.
const INTERVALS_US: std::ops::RangeInclusive<u64> = 5_000..=100_000;

/// One event of one packet.
#[derive(Clone, Copy)]
pub(super) struct Report {
    pub(super) now_us: u64,
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
    pub(super) marker: bool,
    /// Not 0.
    pub(super) clock_hz: u32,
    pub(super) event: TelephoneEvent,
    /// No other event shares its packet: sequence numbers tell something.
    pub(super) is_alone: bool,
}

impl Report {
    fn duration_us(&self) -> u64 {
        ticks_us(self.event.duration.into(), self.clock_hz)
    }
}

/// One press.
#[derive(Clone)]
pub(super) struct Track {
    ssrc: u32,
    clock_hz: u32,
    /// What its first packet told; its timestamp may be moved back by late ones.
    first_seq: SequenceNumber,
    first_timestamp: RtpTimestamp,
    first_duration: u16,
    /// What its latest packet told, by sequence number. The timestamp is that of the segment.
    seq: SequenceNumber,
    timestamp: RtpTimestamp,
    event: TelephoneEvent,
    /// Ticks of the press before what `event.duration` counts: earlier segments, and wraps.
    base_ticks: u64,
    began_us: u64,
    /// When its latest packet came.
    heard_us: u64,
    /// When it was last known to be down, or ended.
    down_us: u64,
    /// When the duration came to its largest value, which then tells nothing any more.
    saturated_us: Option<u64>,
    interval_us: Option<u64>,
    /// Its timestamp was seen to move with its packets.
    steps: bool,
    /// Two of its packets had sequence numbers next to each other.
    is_solid: bool,
}

impl Track {
    /// From whichever packet of it came first.
    pub(super) fn open(report: &Report) -> Self {
        Self {
            ssrc: report.ssrc,
            clock_hz: report.clock_hz,
            first_seq: report.seq,
            first_timestamp: report.timestamp,
            first_duration: report.event.duration,
            seq: report.seq,
            timestamp: report.timestamp,
            event: report.event,
            base_ticks: 0,
            began_us: report.now_us.saturating_sub(report.duration_us()),
            heard_us: report.now_us,
            down_us: report.now_us,
            saturated_us: (report.event.duration == SEGMENT_TICKS).then_some(report.now_us),
            interval_us: None,
            steps: false,
            is_solid: false,
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// When its latest packet came.
    pub(super) fn heard_us(&self) -> u64 {
        self.heard_us
    }

    /// Time between its packets.
    pub(super) fn interval_us(&self) -> u64 {
        self.interval_us.unwrap_or(INTERVAL_US)
    }

    /// Two of its packets came right after each other.
    pub(super) fn is_solid(&self) -> bool {
        self.is_solid
    }

    /// A packet with this number was sent after its latest.
    pub(super) fn is_before(&self, seq: SequenceNumber) -> bool {
        seq.is_after(self.seq)
    }

    /// A packet with this number was sent between two of its own.
    pub(super) fn spans(&self, seq: SequenceNumber) -> bool {
        seq.is_after(self.first_seq) && self.seq.is_after(seq)
    }

    /// The instant of this timestamp lies within the press as far as it is known.
    pub(super) fn covers(&self, timestamp: RtpTimestamp) -> bool {
        let into = timestamp.ahead_of(self.timestamp);
        (0..i32::from(self.event.duration)).contains(&into)
    }

    pub(super) fn began(&self) -> EventEdge {
        EventEdge::Began {
            code: self.event.code,
            volume: self.event.volume,
            began_us: self.began_us,
        }
    }

    pub(super) fn ended(&self) -> EventEdge {
        let untold_us = self
            .saturated_us
            .map_or(0, |at_us| self.down_us.saturating_sub(at_us));
        EventEdge::Ended {
            code: self.event.code,
            volume: self.event.volume,
            began_us: self.began_us,
            duration_us: self.told_us().saturating_add(untold_us),
        }
    }

    /// How long its packets say that it lasted.
    fn told_us(&self) -> u64 {
        let ticks = self.base_ticks.saturating_add(self.event.duration.into());
        ticks.saturating_mul(1_000_000) / u64::from(self.clock_hz)
    }

    /// Whether this report is of this press: of the same source, timestamp and code; or of a
    /// sender that breaks the rules in a way that is known, where nothing else is possible.
    pub(super) fn claims(&self, report: &Report) -> bool {
        if report.event.code != self.event.code {
            return false;
        }
        if report.ssrc != self.ssrc {
            return report.is_alone && self.moves(report);
        }
        let step = report.seq.ahead_of(self.seq);
        if report.timestamp == self.timestamp {
            return step <= 0 || self.goes_on(report, step);
        }
        if step <= 0 {
            return report.is_alone && self.began_with(report);
        }
        self.is_next_segment(report)
            || report.is_alone && (self.steps_to(report, step) || self.ends_again(report, step))
    }

    /// A later packet with the same timestamp; `false` where it can only be another press of a
    /// sender whose timestamp stands still between keys.
    fn goes_on(&self, report: &Report, step: i16) -> bool {
        let grows = report.event.duration >= self.event.duration;
        match (self.event.end, report.event.end) {
            (true, true) => step <= END_PACKETS_MAX,
            (true, false) => grows && step <= NEAR_PACKETS_MAX,
            (false, true) => grows || step <= END_PACKETS_MAX || self.wraps_to(report),
            (false, false) => grows || self.wraps_to(report),
        }
    }

    /// The 16 bits of the duration ran over, where a segment should have begun.
    fn wraps_to(&self, report: &Report) -> bool {
        let grown = u64::from(report.event.duration.wrapping_sub(self.event.duration));
        let passed_us = report.now_us.saturating_sub(self.heard_us);
        grown <= u64::from(ticks(passed_us + WRAP_JITTER_US, self.clock_hz))
    }

    /// An earlier packet of a press whose timestamp moved: between those that came, or just before
    /// the first and moved back by as much as its duration is shorter.
    fn began_with(&self, report: &Report) -> bool {
        let since_first = report.seq.ahead_of(self.first_seq);
        let moved = report.timestamp.ahead_of(self.first_timestamp);
        if since_first >= 0 {
            return moved >= 0 && !report.timestamp.is_after(self.timestamp);
        }
        let shorter = i32::from(report.event.duration) - i32::from(self.first_duration);
        since_first >= -NEAR_PACKETS_MAX && moved < 0 && moved == shorter
    }

    /// A press longer than the duration can tell goes on in another segment (§2.5.1.3). One that
    /// told its largest duration goes on even if it said E.
    fn is_next_segment(&self, report: &Report) -> bool {
        let Ok(ahead) = u32::try_from(report.timestamp.ahead_of(self.timestamp)) else {
            return false;
        };
        let told = u32::from(self.event.duration);
        let full = u32::from(SEGMENT_TICKS);
        if ahead == full || ahead == full + 1 {
            return !self.event.end || self.event.duration == SEGMENT_TICKS;
        }
        // Cut a little earlier, at a whole number of packets.
        let slack = ticks(3 * self.interval_us(), self.clock_hz);
        let gap_free = (told..=told + slack).contains(&ahead);
        !self.event.end && told + slack >= full && gap_free
    }

    /// A sender that moves the timestamp with each packet of a press that is not over: the press
    /// that the packet tells overlaps, or touches, what is known.
    fn steps_to(&self, report: &Report, step: i16) -> bool {
        let ahead = report.timestamp.ahead_of(self.timestamp);
        let told = i32::from(self.event.duration);
        let tells = i32::from(report.event.duration);
        if self.event.end || ahead <= 0 {
            return false;
        }
        let interval = i32::try_from(ticks(self.interval_us(), self.clock_hz)).unwrap_or(i32::MAX);
        let unevenness = ahead.saturating_sub(tells - told).saturating_abs();
        if self.steps && step <= STEPPING_PACKETS_MAX && unevenness <= interval {
            return true;
        }
        let lost = i32::from(step - 1).saturating_mul(interval);
        let touches = ahead <= told.max(tells).saturating_add(lost);
        match step {
            ..=NEAR_PACKETS_MAX if touches => true,
            ..=EVEN_PACKETS_MAX if unevenness == 0 => true,
            // Inside what is known already: no press begins before the one before it ends.
            ..=END_PACKETS_MAX => tells >= told && (ahead < told || self.is_too_soon(report)),
            _ => false,
        }
    }

    /// An end that is sent again under another timestamp: inside the press that ended, or so soon
    /// that no second press of that duration fits between.
    fn ends_again(&self, report: &Report, step: i16) -> bool {
        let passed_us = report.now_us.saturating_sub(self.heard_us);
        let ahead = report.timestamp.ahead_of(self.timestamp);
        let both_end = self.event.end && report.event.end;
        if !both_end || ahead <= 0 || step > END_PACKETS_MAX || passed_us > END_AGAIN_US {
            return false;
        }
        if ahead < i32::from(self.event.duration) {
            return report.event.duration >= self.event.duration;
        }
        report.event.duration == self.event.duration && self.is_too_soon(report)
    }

    /// An end that comes before a press of its duration can have been made.
    fn is_too_soon(&self, report: &Report) -> bool {
        let passed_us = report.now_us.saturating_sub(self.heard_us);
        let most_us = self.told_us().max(report.duration_us()) / 2;
        report.event.end && passed_us < END_STAMPED_NOW_US.min(most_us)
    }

    /// The party changed its source during the press: the same timestamp, or a press that was
    /// down while this one was, or one that goes on where this one stopped.
    fn moves(&self, report: &Report) -> bool {
        let passed_us = report.now_us.saturating_sub(self.down_us);
        if passed_us > MOVES_WITHIN_US {
            return false;
        }
        let same =
            report.timestamp == self.timestamp && report.event.duration >= self.event.duration;
        let goes_on = !self.event.end && !report.marker && passed_us <= 2 * self.interval_us();
        same || passed_us < report.duration_us() / 2 || goes_on
    }

    /// Takes in a report that it claims; whether that ended the press.
    pub(super) fn update(&mut self, report: &Report) -> bool {
        let ends = report.event.end;
        if report.ssrc != self.ssrc {
            self.move_to(report);
            return ends;
        }
        let step = report.seq.ahead_of(self.seq);
        if step <= 0 {
            self.heard_us = self.heard_us.max(report.now_us);
            return ends && !self.put_before(report);
        }
        if report.timestamp != self.timestamp {
            self.advance(report);
        } else if self.wraps(report) {
            self.base_ticks = self.base_ticks.saturating_add(u64::from(u16::MAX) + 1);
        } else {
            self.pace(report, step);
        }
        self.is_solid |= step == 1;
        self.take(report);
        ends
    }

    /// Keeps where the press began, if the report is from before what was known; whether it is.
    /// An end is never that: it is late, and of a press with the same timestamp before this one.
    fn put_before(&mut self, report: &Report) -> bool {
        let is_before = self.first_seq.is_after(report.seq);
        if is_before && !report.event.end {
            self.first_seq = report.seq;
            self.first_timestamp = report.timestamp;
            self.first_duration = report.event.duration;
        }
        is_before
    }

    fn wraps(&self, report: &Report) -> bool {
        report.event.duration < self.event.duration && self.wraps_to(report)
    }

    /// To another timestamp. Where the duration goes on growing it counts from the beginning.
    fn advance(&mut self, report: &Report) {
        let is_segment = self.is_next_segment(report);
        self.steps |= !is_segment;
        if is_segment || report.event.duration <= self.event.duration {
            let ahead = report.timestamp.ahead_of(self.timestamp);
            self.base_ticks = self.base_ticks.saturating_add(ahead.unsigned_abs().into());
        }
        self.saturated_us = None;
    }

    /// To another source, which may have begun to count anew.
    fn move_to(&mut self, report: &Report) {
        if report.event.duration < self.event.duration {
            self.base_ticks = self.base_ticks.saturating_add(self.event.duration.into());
            self.event.duration = 0;
        }
        self.ssrc = report.ssrc;
        self.first_seq = report.seq;
        self.first_timestamp = report.timestamp;
        self.first_duration = report.event.duration;
        self.is_solid = false;
        self.take(report);
    }

    /// Learns the time between two packets from their durations, which no jitter changes.
    fn pace(&mut self, report: &Report, step: i16) {
        let grown = report.event.duration.saturating_sub(self.event.duration);
        if let Ok(step) = u64::try_from(step)
            && grown > 0
            && step > 0
        {
            let interval_us = ticks_us(grown.into(), report.clock_hz) / step;
            let (least, most) = (*INTERVALS_US.start(), *INTERVALS_US.end());
            self.interval_us = Some(interval_us.clamp(least, most));
        }
    }

    fn take(&mut self, report: &Report) {
        let starts_over = report.timestamp != self.timestamp || self.wraps(report);
        self.heard_us = self.heard_us.max(report.now_us);
        if report.clock_hz != self.clock_hz {
            let scaled = self.base_ticks.saturating_mul(report.clock_hz.into());
            self.base_ticks = scaled / u64::from(self.clock_hz);
            self.clock_hz = report.clock_hz;
        }
        let has_ended = self.event.end;
        if !has_ended {
            self.down_us = self.down_us.max(report.now_us);
        }
        let told = self.event.duration;
        self.event = TelephoneEvent {
            end: has_ended || report.event.end,
            ..report.event
        };
        if has_ended || !starts_over {
            self.event.duration = told.max(report.event.duration);
        }
        if self.event.duration == SEGMENT_TICKS && self.saturated_us.is_none() {
            self.saturated_us = Some(report.now_us);
        }
        self.seq = report.seq;
        self.timestamp = report.timestamp;
    }
}
