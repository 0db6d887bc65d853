//! A call: streams that belong together, and what happens to their packets.

use std::net::SocketAddr;
use std::time::Instant;

use super::api::*;
use super::egress::{Incoming, Origin, Outgoing};
use super::events::EventLog;
use super::gather::{
    GATHER_PROMPT, GATHER_PROMPT_MAX, GatherConfig, GatherEnd, GatherId, Gathered,
};
use super::latch::{Judgement, Proof};
use super::stats::{Arrival, Continuity};
use super::stream::{Flags, Stream, Types, count, is_timed, middle};
use super::time::{Micros, micros};
use super::voice::{Bridge, Outbox, Pressed};
use crate::wire::demux::Datagram;
use crate::wire::rtcp::{Compound, PacketType, Report, SenderInfo};
use crate::wire::rtp::RtpPacket;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

mod absorb;
mod admit;
mod arrive;
mod behind;
mod change;
mod convert;
mod dial;
mod digits;
mod echo;
mod fork;
mod gather;
mod inband;
mod mask;
mod opaque;
mod pair;
mod play;
mod record;
mod rtcp;
mod tap;
mod timers;
mod voice;

pub use absorb::AbsorbError;
pub(super) use convert::Repressing;
pub use fork::HAND_BACK_US_MAX;
pub(super) use gather::Gathering;
pub(super) use record::Recorded;
pub use voice::{CATCH_UP_FRAMES_MAX, RECODE_REST_US};

/// Longest datagram that is relayed: a jumbo frame.
pub const DATAGRAM_LEN_MAX: usize = 9_000;

/// A stream that had RTP has stalled after this long without any.
pub const STALL_US: u64 = 2_000_000;

/// How long after the latch settled the port may be pinned: until then the driver still sees
/// strangers, so that a rival is noticed.
pub const PIN_DELAY_US: u64 = 1_000_000;

/// Mean interval of our own RTCP (RFC 3550 §6.2); each one is drawn from [0.5, 1.5) of it.
pub const REPORT_INTERVAL_US: u64 = 5_000_000;

/// Length of the CNAMEs we make: 95 random bits (RFC 7022 §4.2 asks for 96 in base64).
const CNAME_LEN: usize = 16;

/// One call. See the [module](super) for the contract by which it is driven.
#[derive(Debug)]
pub struct Call {
    streams: Vec<Stream>,
    /// When [`Micros`] begin: earlier than the call where calls may be merged, so that all of them
    /// count from the same.
    epoch: Instant,
    created: Micros,
    /// The latest instant seen.
    now: Micros,
    next_timeout: Micros,
    /// Before this no stream has a timeout, and none outside the bridges a frame to make: a call
    /// of hundreds of streams is not searched at every frame. May be early.
    streams_at: Micros,
    mouths_at: Micros,
    /// Before this no key of our own is to be told of, nor one of theirs over.
    keys_at: Micros,
    /// Before this nothing that is gathered wants anything done.
    gathers_at: Micros,
    /// Where the search for outputs goes on.
    output_from: usize,
    last_media: Option<Micros>,
    ended: Option<EndReason>,
    end_told: bool,
    outputs: bool,
    config: CallConfig,
    random: fastrand::Rng,
    log: EventLog,
    bridges: Vec<Option<Box<Bridge>>>,
    recordings: record::Recordings,
    outbox: Outbox,
    space: voice::Workspace,
    /// Samples before their rate is converted.
    raw_pcm: Vec<i16>,
    /// What was heard in the latest frames of keys that are pressed anew, and of whom.
    pressed: Vec<(StreamIx, Pressed)>,
    /// Some leg or bridge makes frames.
    frames: bool,
    /// How late the latest frames were.
    late_us: Option<u64>,
    /// Presses that were too many to be told, and not yet counted by the owner.
    presses_ignored: u64,
}

impl Call {
    /// A call without streams, created at `now`.
    #[must_use]
    pub fn new(config: CallConfig, now: Instant) -> Self {
        Self::since(config, now, now)
    }

    /// As [`Call::new`], with a clock that began at `epoch`. Only calls of one epoch can be merged
    /// ([`Call::absorb`]).
    #[must_use]
    pub fn since(config: CallConfig, epoch: Instant, now: Instant) -> Self {
        let created = Micros::of(epoch, now);
        let mut call = Self {
            streams: Vec::new(),
            epoch,
            created,
            now: created,
            next_timeout: Micros::NEVER,
            streams_at: Micros::NEVER,
            mouths_at: Micros::NEVER,
            keys_at: Micros::NEVER,
            gathers_at: Micros::NEVER,
            output_from: 0,
            last_media: None,
            ended: None,
            end_told: false,
            outputs: false,
            random: fastrand::Rng::with_seed(config.seed),
            config,
            log: EventLog::new(),
            bridges: Vec::new(),
            recordings: record::Recordings::default(),
            outbox: Outbox::default(),
            space: voice::Workspace::default(),
            raw_pcm: Vec::new(),
            pressed: Vec::new(),
            frames: false,
            late_us: None,
            presses_ignored: 0,
        };
        call.schedule();
        call
    }

    /// Its name in the worker.
    #[must_use]
    pub fn key(&self) -> CallKey {
        self.config.key
    }

    /// Number of streams, closed ones included.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Names the open port of a stream's component; a stream sends nothing before it has one.
    ///
    /// # Errors
    ///
    /// [`ChangeError::UnknownStream`], [`ChangeError::StreamClosed`].
    pub fn set_port(
        &mut self,
        stream: StreamIx,
        component: Component,
        port: PortHandle,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(stream)?;
        stream.ports[component as usize] = Some(port);
        if component == Component::Rtp {
            // A fresh socket is not pinned.
            stream.flags.pinned = false;
        }
        Ok(())
    }

    /// Judges a datagram that arrived on a stream's port, and edits it in place for its sink.
    #[inline]
    pub fn handle_packet(
        &mut self,
        now: Instant,
        stream: StreamIx,
        component: Component,
        from: SocketAddr,
        packet: &mut [u8],
    ) -> Verdict {
        let now = self.tick(now);
        let Some(arrived) = self.streams.get_mut(usize::from(stream.0)) else {
            return Verdict::Drop(DropReason::Closed);
        };
        if self.ended.is_some() || arrived.flags.closed {
            return arrived.refuse(DropReason::Closed);
        }
        if packet.len() > DATAGRAM_LEN_MAX {
            return arrived.refuse(DropReason::Oversize);
        }
        if arrived.config.payload == Payload::Opaque {
            return self.on_opaque(now, stream, component, from, packet);
        }
        match (Datagram::classify(packet), component) {
            (Datagram::Rtp, Component::Rtp) => self.on_rtp(now, stream, from, packet),
            (Datagram::Rtcp, _) => self.on_rtcp(now, stream, component, from, packet),
            _ => self.on_noise(now, stream, component, from, DropReason::NotMedia),
        }
    }

    /// Whether [`Call::poll_output`] has something; one comparison, for the packet path.
    #[inline]
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.outputs || !self.outbox.is_empty()
    }

    /// The next thing the call wants done; `None` when there is no more.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(packet) = self.outbox.pop() {
            return Some(Output::Media {
                port: packet.port,
                to: packet.to,
                bytes: packet.range,
            });
        }
        if !self.outputs {
            return None;
        }
        // The last round begins at the first stream: one before may have got something meanwhile.
        for from in [std::mem::take(&mut self.output_from), 0] {
            for ix in from..self.streams.len() {
                if let Some(output) = self.stream_output(ix) {
                    self.output_from = ix;
                    return Some(output);
                }
            }
            if from == 0 {
                break;
            }
        }
        if let Some(event) = self.log.tell(self.epoch) {
            return Some(Output::Event(event));
        }
        if let Some(reason) = self.ended
            && !std::mem::replace(&mut self.end_told, true)
        {
            return Some(Output::Ended(reason));
        }
        self.outputs = false;
        None
    }

    /// When [`Call::handle_timeout`] wants to be called next. May be early, never late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.next_timeout != Micros::NEVER).then(|| self.next_timeout.instant(self.epoch))
    }

    /// Lets time pass: ends, stalls, pins and reports that are due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.tick(now);
        if now < self.next_timeout {
            return;
        }
        let streams_are_due = self.streams_at <= now;
        if streams_are_due {
            for ix in 0..self.streams.len() {
                self.stream_timeout(now, ix);
            }
        }
        if self.ended.is_none() {
            self.keys_due(now);
            self.gather_due(now);
            self.speak_due(now);
            self.press_heard(now);
            self.gather_due(now);
        }
        if self.ended.is_none()
            && let Some((_, reason)) = self.call_timers().find(|(at, _)| *at <= now)
        {
            self.end_all_digits(now);
            self.end_gathers(now, 0, GatherEnd::Gone);
            self.end_all_recordings(now);
            self.ended = Some(reason);
            self.log.push(now, StreamIx(0), EventKind::Ended(reason));
            self.outputs = true;
        }
        self.drop_met(now);
        if streams_are_due || self.streams_at <= now {
            self.schedule();
        } else {
            self.schedule_frames();
        }
    }

    /// The call as it stands. Allocates; not for the packet path.
    #[must_use]
    pub fn report(&self, now: Instant) -> CallReport {
        CallReport {
            created: self.created.instant(self.epoch),
            taken: now,
            streams: self
                .streams
                .iter()
                .map(|stream| stream.report(self.epoch))
                .collect(),
            playing: self.played_to_bridges(),
            events: self.log.report(self.epoch),
            events_dropped: self.log.dropped(),
        }
    }
}

fn forward(port: PortHandle, to: SocketAddr, start: usize, end: usize) -> Verdict {
    // Both are at most DATAGRAM_LEN_MAX.
    let bound = |offset: usize| u16::try_from(offset).unwrap_or(u16::MAX);
    Verdict::Forward {
        port,
        to,
        start: bound(start),
        end: bound(end),
    }
}

/// Random first numbers of a masked stream (RFC 3550 §5.1).
fn origin(random: &mut fastrand::Rng) -> Origin {
    Origin {
        ssrc: random.u32(..),
        seq: SequenceNumber(random.u16(..)),
        timestamp: RtpTimestamp(random.u32(..)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_two_party_call_fits_in_four_kilobytes() {
        let heap = 2 * size_of::<Stream>() + 8 * size_of::<(Micros, StreamIx, EventKind)>();
        let whole = size_of::<Call>() + heap;
        assert!(
            whole < 4_096,
            "{whole} B, of which {} per stream",
            size_of::<Stream>()
        );
    }
}
