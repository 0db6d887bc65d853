//! The receiving end of telephone-events: every press told once as it begins and once as it ends,
//! whatever the network and the sender did to its packets (RFC 4733 §2.5.2).
//!
//! An event is known by source, timestamp and code. Any of its packets opens it, because the first
//! ones may be lost; it ends with its E bit, another event, later media of the same source, or
//! silence. What has ended is remembered for some seconds, so that nothing late opens it again.
//! Senders break most rules of the RFC; [`Track::claims`] says which packets are taken for the same
//! press all the same. All of it is serial arithmetic: sequence numbers and timestamps wrap.
//!
//! One event is open at a time, as a sender has one keypad. A packet that is older than the newest
//! one and of a press nobody heard of tells that press's beginning and end in one go.

mod track;

use std::fmt;

use self::track::{Report, Track};
use crate::wire::event::{EVENT_LEN, EventCode, TelephoneEvent};
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Presses that ended and are remembered. At the fastest dialling the standards know, 65 ms a
/// digit, that is two seconds.
pub const EVENTS_REMEMBERED_MAX: usize = 32;

/// How long a press that ended is remembered after its last packet.
pub const EVENT_REMEMBERED_US: u64 = 4_000_000;

/// A press whose packets stop has ended after this and three of their intervals.
pub const EVENT_SILENCE_US: u64 = 150_000;

/// Events of one payload that are read; the rest is ignored (RFC 4733 §2.5.1.5 names no limit).
pub const EVENTS_PER_PACKET_MAX: usize = 16;

/// How far behind the newest packet, in sequence numbers, one is late and not from a sender that
/// began anew.
const LATE_PACKETS_MAX: i16 = 100;

/// How long after the newest packet another can be late.
const LATE_US_MAX: u64 = 2_000_000;

/// Media beside the event ends it after three packet intervals, which are at least this long.
const MEDIA_INTERVAL_US_MIN: u64 = 20_000;

/// One RTP packet of a telephone-event payload type.
#[derive(Clone, Copy)]
pub struct EventPacket<'a> {
    /// Its source.
    pub ssrc: u32,
    /// Its sequence number.
    pub seq: u16,
    /// Its timestamp: when the event began.
    pub timestamp: u32,
    /// Its marker bit: the first packet of an event, if the sender is right about it.
    pub marker: bool,
    /// The clock its payload type was negotiated with, in Hz.
    pub clock_hz: u32,
    /// What follows the RTP header.
    pub payload: &'a [u8],
}

/// Does not show the payload: logs do not hold what people dial.
impl fmt::Debug for EventPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPacket")
            .field("ssrc", &self.ssrc)
            .field("seq", &self.seq)
            .field("timestamp", &self.timestamp)
            .field("len", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// What became known of a press.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EventEdge {
    /// It began.
    Began {
        /// Which key, or line event.
        code: EventCode,
        /// Power below 0 dBm0 in dB, 0–63; 0 may also mean "not known".
        volume: u8,
        /// When, by the clock of `now_us`: before its first packet by the duration that one told.
        began_us: u64,
    },
    /// It ended.
    Ended {
        /// As at its beginning.
        code: EventCode,
        /// Of its last packet.
        volume: u8,
        /// As at its beginning.
        began_us: u64,
        /// The longest duration that any packet told; over all segments of a long press.
        duration_us: u64,
    },
}

/// Does not say which key: logs do not hold what people dial.
impl fmt::Debug for EventEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { began_us, .. } => f
                .debug_struct("Began")
                .field("began_us", began_us)
                .finish_non_exhaustive(),
            Self::Ended {
                began_us,
                duration_us,
                ..
            } => f
                .debug_struct("Ended")
                .field("began_us", began_us)
                .field("duration_us", duration_us)
                .finish_non_exhaustive(),
        }
    }
}

/// The receiver of one party's telephone-events. Memory is bounded and taken once.
pub struct EventReceiver {
    open: Option<Track>,
    /// The last presses that ended, a ring.
    closed: [Option<Track>; EVENTS_REMEMBERED_MAX],
    next_closed: usize,
    newest: Option<Newest>,
    /// The source sends media while its keys are down.
    interleaves: bool,
    malformed: u64,
}

/// The latest event packet by sequence number.
#[derive(Clone, Copy)]
struct Newest {
    ssrc: u32,
    seq: SequenceNumber,
    at_us: u64,
}

/// Does not say which keys.
impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReceiver")
            .field("open", &self.open.is_some())
            .field("malformed", &self.malformed)
            .finish_non_exhaustive()
    }
}

impl Default for EventReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl EventReceiver {
    /// One that heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            open: None,
            closed: [const { None }; EVENTS_REMEMBERED_MAX],
            next_closed: 0,
            newest: None,
            interleaves: false,
            malformed: 0,
        }
    }

    /// Takes a packet of a telephone-event type; `tell` learns what it changes, in order.
    pub fn packet(
        &mut self,
        now_us: u64,
        packet: &EventPacket<'_>,
        tell: &mut impl FnMut(EventEdge),
    ) {
        self.timeout(now_us, tell);
        let payload = without_shift(packet.payload);
        let events = payload.len() / EVENT_LEN;
        if events == 0 {
            self.malformed += 1;
            return;
        }
        let mut timestamp = RtpTimestamp(packet.timestamp);
        let seen = events.min(EVENTS_PER_PACKET_MAX);
        for (ix, event) in TelephoneEvent::parse_all(payload).take(seen).enumerate() {
            // Padding of zeros behind an event looks like a key of no duration; §2.3.5 lets a
            // receiver ignore those.
            if ix > 0 && event.duration == 0 {
                continue;
            }
            self.report(
                &Report {
                    now_us,
                    ssrc: packet.ssrc,
                    seq: SequenceNumber(packet.seq),
                    timestamp,
                    marker: packet.marker,
                    clock_hz: packet.clock_hz.max(1),
                    // What another follows has ended (§2.5.1.5).
                    event: TelephoneEvent {
                        end: event.end || is_followed(payload, ix),
                        ..event
                    },
                    is_alone: events == 1,
                },
                tell,
            );
            timestamp = timestamp.plus(u32::from(event.duration));
        }
        self.see(packet, now_us);
    }

    /// Takes note of a packet of other media of the party: a press whose end was lost has ended
    /// when its source goes on with audio (§2.5.2.2).
    pub fn media(
        &mut self,
        now_us: u64,
        ssrc: u32,
        seq: u16,
        timestamp: u32,
        tell: &mut impl FnMut(EventEdge),
    ) {
        let Some(open) = &self.open else {
            return;
        };
        if open.ssrc() != ssrc {
            return;
        }
        if !open.is_before(SequenceNumber(seq)) {
            self.interleaves |= open.spans(SequenceNumber(seq));
            return;
        }
        let beside = open.covers(RtpTimestamp(timestamp));
        self.interleaves |= beside;
        let waits = self.interleaves || !open.is_solid();
        let interval_us = open.interval_us().max(MEDIA_INTERVAL_US_MIN);
        if !waits || now_us.saturating_sub(open.heard_us()) >= 3 * interval_us {
            self.close(tell);
        }
    }

    /// Ends a press whose packets have stopped.
    pub fn timeout(&mut self, now_us: u64, tell: &mut impl FnMut(EventEdge)) {
        if self.next_timeout_us().is_some_and(|due| due <= now_us) {
            self.close(tell);
        }
    }

    /// When [`EventReceiver::timeout`] has something to do; `None`: no key is down.
    #[must_use]
    pub fn next_timeout_us(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        let silence_us = EVENT_SILENCE_US + 3 * open.interval_us();
        Some(open.heard_us().saturating_add(silence_us))
    }

    /// Whether a key is down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.open.is_some()
    }

    /// Packets that were shorter than one event.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    fn report(&mut self, report: &Report, tell: &mut impl FnMut(EventEdge)) {
        if let Some(open) = &mut self.open
            && open.claims(report)
        {
            let left = (open.ssrc() != report.ssrc).then(|| open.clone());
            let has_ended = open.update(report);
            if let Some(left) = left {
                // What comes late from the source it had before.
                self.remember(left);
            }
            if has_ended {
                self.close(tell);
            }
            return;
        }
        if self.is_finished(report) {
            return;
        }
        let track = Track::open(report);
        if self.is_late(report) {
            tell(track.began());
            tell(track.ended());
            self.remember(track);
            return;
        }
        self.close(tell);
        tell(track.began());
        let has_ended = report.event.end;
        self.open = Some(track);
        if has_ended {
            self.close(tell);
        }
    }

    /// Whether the report belongs to a press that ended: it MUST be ignored (§2.5.2.2).
    fn is_finished(&mut self, report: &Report) -> bool {
        for slot in &mut self.closed {
            let Some(track) = slot else {
                continue;
            };
            if track.heard_us().saturating_add(EVENT_REMEMBERED_US) < report.now_us {
                *slot = None;
            } else if track.claims(report) {
                track.update(report);
                return true;
            }
        }
        false
    }

    /// Whether the report is older than the newest packet, and not of a sender that began anew.
    fn is_late(&self, report: &Report) -> bool {
        self.newest.is_some_and(|newest| {
            let behind = newest.seq.ahead_of(report.seq);
            newest.ssrc == report.ssrc
                && (1..=LATE_PACKETS_MAX).contains(&behind)
                && report.now_us.saturating_sub(newest.at_us) < LATE_US_MAX
        })
    }

    fn see(&mut self, packet: &EventPacket<'_>, at_us: u64) {
        let seq = SequenceNumber(packet.seq);
        let is_older = self.newest.is_some_and(|newest| {
            let behind = newest.seq.ahead_of(seq);
            newest.ssrc == packet.ssrc && (1..=LATE_PACKETS_MAX).contains(&behind)
        });
        if !is_older {
            self.newest = Some(Newest {
                ssrc: packet.ssrc,
                seq,
                at_us,
            });
        }
    }

    fn close(&mut self, tell: &mut impl FnMut(EventEdge)) {
        if let Some(track) = self.open.take() {
            tell(track.ended());
            self.remember(track);
        }
    }

    fn remember(&mut self, track: Track) {
        self.closed[self.next_closed] = Some(track);
        self.next_closed = (self.next_closed + 1) % EVENTS_REMEMBERED_MAX;
    }
}

/// The payload without the four zero octets that some senders put before the event. A real event of
/// those octets would be a key of no duration that another follows, which says nothing.
fn without_shift(payload: &[u8]) -> &[u8] {
    match payload.strip_prefix(&[0; EVENT_LEN]) {
        Some(rest) if rest.len() >= EVENT_LEN && rest[..EVENT_LEN] != [0; EVENT_LEN] => rest,
        _ => payload,
    }
}

/// Whether another event of any duration follows the one at `ix`.
fn is_followed(payload: &[u8], ix: usize) -> bool {
    let rest = payload.get((ix + 1) * EVENT_LEN..).unwrap_or_default();
    TelephoneEvent::parse_all(rest).any(|next| next.duration > 0)
}
