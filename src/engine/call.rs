//! A call: streams that belong together, and what happens to their packets.

use std::net::SocketAddr;
use std::time::Instant;

use super::api::*;
use super::egress::{Incoming, Origin};
use super::events::EventLog;
use super::latch::{Judgement, Proof};
use super::stats::{Arrival, Continuity};
use super::stream::{Stream, Types, count, is_timed, middle};
use super::time::{Micros, micros};
use crate::wire::demux::Datagram;
use crate::wire::rtcp::{Compound, PacketType, Report, SenderInfo};
use crate::wire::rtp::RtpPacket;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

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
    created: Instant,
    /// The latest instant seen.
    now: Micros,
    next_timeout: Micros,
    last_media: Option<Micros>,
    ended: Option<EndReason>,
    end_told: bool,
    outputs: bool,
    config: CallConfig,
    random: fastrand::Rng,
    log: EventLog,
}

impl Call {
    /// A call without streams, created at `now`.
    #[must_use]
    pub fn new(config: CallConfig, now: Instant) -> Self {
        let mut call = Self {
            streams: Vec::new(),
            created: now,
            now: Micros::ZERO,
            next_timeout: Micros::NEVER,
            last_media: None,
            ended: None,
            end_told: false,
            outputs: false,
            random: fastrand::Rng::with_seed(config.seed),
            config,
            log: EventLog::new(),
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

    /// Applies one mutation. Drain [`Call::poll_output`] afterwards.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the call is then as it was.
    pub fn apply(&mut self, now: Instant, change: Change) -> Result<(), ChangeError> {
        let now = self.tick(now);
        match change {
            Change::AddStream(config) => self.add_stream(now, config)?,
            Change::Remote(ix, remote) => self.set_remote(now, ix, remote)?,
            Change::PayloadTypes(ix, types) => {
                check_types(&types)?;
                self.open_stream(ix)?.types = Types::new(types);
            }
            Change::Direction {
                stream,
                sends,
                receives,
            } => {
                let flags = &mut self.open_stream(stream)?.flags;
                flags.sends = sends;
                flags.receives = receives;
            }
            Change::Link { from, to } => self.link(from, to)?,
            Change::Source { listener, source } => {
                if let Some(source) = source {
                    self.open_stream(source)?;
                }
                let listener = self.open_stream(listener)?;
                listener.chosen = source;
                listener.heard = None;
            }
            Change::Block(ix, on) => self.open_stream(ix)?.flags.blocked = on,
            Change::Silence(ix, on) => self.open_stream(ix)?.flags.silenced = on,
            Change::Privacy(ix, privacy) => {
                self.open_stream(ix)?.config.privacy = privacy;
                self.schedule_report(now, ix);
            }
            Change::OwnRtcp(ix, on) => {
                self.open_stream(ix)?.config.own_rtcp = on;
                self.schedule_report(now, ix);
            }
            Change::Close(ix) => self.close(ix)?,
            Change::Timers(timers) => self.config.timers = timers,
        }
        self.schedule();
        Ok(())
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
        self.outputs
    }

    /// The next thing the call wants done; `None` when there is no more.
    pub fn poll_output(&mut self) -> Option<Output> {
        if !self.outputs {
            return None;
        }
        for ix in 0..self.streams.len() {
            if let Some(output) = self.stream_output(ix) {
                return Some(output);
            }
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
        (self.next_timeout != Micros::NEVER).then(|| self.next_timeout.instant(self.created))
    }

    /// Lets time pass: ends, stalls, pins and reports that are due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.tick(now);
        if now < self.next_timeout {
            return;
        }
        for ix in 0..self.streams.len() {
            self.stream_timeout(now, ix);
        }
        if self.ended.is_none()
            && let Some((_, reason)) = self.call_timers().find(|(at, _)| *at <= now)
        {
            self.ended = Some(reason);
            self.log.push(now, StreamIx(0), EventKind::Ended(reason));
            self.outputs = true;
        }
        self.schedule();
    }

    /// The call as it stands. Allocates; not for the packet path.
    #[must_use]
    pub fn report(&self, now: Instant) -> CallReport {
        CallReport {
            created: self.created,
            taken: now,
            streams: self
                .streams
                .iter()
                .map(|stream| stream.report(self.created))
                .collect(),
            events: self.log.report(self.created),
            events_dropped: self.log.dropped(),
        }
    }
}

/// What arrives.
impl Call {
    fn on_rtp(&mut self, now: Micros, ix: StreamIx, from: SocketAddr, bytes: &mut [u8]) -> Verdict {
        let len = bytes.len();
        let Ok(mut packet) = RtpPacket::parse(bytes) else {
            return self.on_noise(now, ix, Component::Rtp, from, DropReason::MalformedRtp);
        };
        let header = *packet.header();
        let stream = &mut self.streams[usize::from(ix.0)];
        if stream.latch.source() != Some(from) {
            let negotiated = stream.types.negotiated(header.pt);
            let proof = Proof::Rtp {
                ssrc: header.ssrc,
                seq: header.seq,
                negotiated,
            };
            if let Some(verdict) = self.admit(now, ix, from, proof) {
                return verdict;
            }
        } else {
            stream
                .latch
                .judge(now, stream.remote.as_ref(), from, Proof::Opaque);
        }
        let stream = &mut self.streams[usize::from(ix.0)];
        let kind = stream.types.describe(header.pt);
        let arrival = Arrival {
            ssrc: header.ssrc,
            seq: header.seq,
            timestamp: header.timestamp,
            clock_hz: kind.clock_hz,
            timed: is_timed(&kind),
            len,
        };
        let continuity = stream.sources.update(now, &arrival);
        stream.observe_pt(header.pt, kind.event);
        count(&mut stream.rtp_in, len);
        stream.last_packet = now;
        self.last_media = Some(now);
        if continuity != Continuity::Flows {
            self.note_continuity(now, ix, continuity, header.ssrc, header.pt);
        }
        if self.streams[usize::from(ix.0)].flags.stalled {
            self.streams[usize::from(ix.0)].flags.stalled = false;
            self.arm(now.plus(STALL_US));
        }
        let routed = match continuity {
            Continuity::Suspect | Continuity::Straggler => Err(DropReason::NotHeard),
            _ => self.route(now, ix, &mut packet),
        };
        match routed {
            Ok(outgoing) => self.forward(packet, outgoing),
            Err(reason) => self.withhold(ix, continuity, header.ssrc, header.seq, reason),
        }
    }

    /// Whether and where an accepted packet goes; edits its payload where it must be silent.
    #[inline]
    fn route(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &mut RtpPacket<'_>,
    ) -> Result<Routed, DropReason> {
        let to = self.streams[usize::from(ix.0)]
            .to
            .ok_or(DropReason::NoSink)?;
        let pair = [usize::from(ix.0), usize::from(to.0)];
        let Ok([stream, sink]) = self.streams.get_disjoint_mut(pair) else {
            return Err(DropReason::NoSink);
        };
        if stream.flags.blocked {
            return Err(DropReason::Blocked);
        }
        if sink.flags.closed {
            return Err(DropReason::NoSink);
        }
        if !stream.flags.sends || !sink.flags.receives {
            return Err(DropReason::Held);
        }
        if !sink.hears(now, ix) {
            return Err(DropReason::NotHeard);
        }
        let header = *packet.header();
        let kind = stream
            .types
            .translate(header.pt)
            .ok_or(DropReason::UnknownPayloadType)?;
        let (port, target) = sink.rtp_target().ok_or(DropReason::NoTarget)?;
        if stream.flags.silenced {
            let silence = kind
                .silence
                .filter(|_| !kind.event)
                .ok_or(DropReason::Blocked)?;
            packet.payload_mut().fill(silence);
        }
        let incoming = Incoming {
            source: ix,
            ssrc: header.ssrc,
            seq: header.seq,
            timestamp: header.timestamp,
            clock_hz: kind.clock_hz,
            marker: header.marker,
        };
        let masked = sink.is_masked();
        let random = &mut self.random;
        let before = sink.egress.source();
        let outgoing = sink
            .egress
            .pass(now, &incoming, || masked.then(|| origin(random)));
        let outgoing = outgoing.ok_or(DropReason::NotHeard)?;
        if before != Some(ix) && before.is_some() {
            self.log.push(now, to, EventKind::SourceChanged(ix));
        }
        if outgoing.ssrc != header.ssrc {
            packet.set_ssrc(outgoing.ssrc);
        }
        if outgoing.seq != header.seq {
            packet.set_seq(outgoing.seq);
        }
        if outgoing.timestamp != header.timestamp {
            packet.set_timestamp(outgoing.timestamp);
        }
        if outgoing.marker != header.marker {
            packet.set_marker(outgoing.marker);
        }
        if kind.out != header.pt {
            packet.set_pt(kind.out);
        }
        Ok(Routed {
            to,
            port,
            target,
            strip: masked,
        })
    }

    #[inline]
    fn forward(&mut self, packet: RtpPacket<'_>, routed: Routed) -> Verdict {
        let len = packet.len();
        let payload_len = packet.header().payload_len();
        let start = if routed.strip { packet.strip() } else { 0 };
        let sink = &mut self.streams[usize::from(routed.to.0)];
        sink.egress.sent(payload_len);
        count(&mut sink.rtp_out, len - start);
        forward(routed.port, routed.target, start, len)
    }

    /// An accepted packet that is not sent: counted, and its number taken out of the sequence.
    #[cold]
    fn withhold(
        &mut self,
        ix: StreamIx,
        continuity: Continuity,
        ssrc: u32,
        seq: SequenceNumber,
        reason: DropReason,
    ) -> Verdict {
        let stream = &mut self.streams[usize::from(ix.0)];
        if reason == DropReason::UnknownPayloadType {
            stream.rtp_in.errors += 1;
        }
        let verdict = stream.refuse(reason);
        let in_sequence = !matches!(continuity, Continuity::Suspect | Continuity::Straggler);
        if let Some(to) = stream.to
            && in_sequence
        {
            self.streams[usize::from(to.0)]
                .egress
                .withhold(ix, ssrc, seq);
        }
        verdict
    }

    #[cold]
    fn note_continuity(
        &mut self,
        now: Micros,
        ix: StreamIx,
        continuity: Continuity,
        ssrc: u32,
        pt: u8,
    ) {
        let stream = &mut self.streams[usize::from(ix.0)];
        match continuity {
            Continuity::First => {
                stream.first_packet = Some(now);
                self.log.push(now, ix, EventKind::FirstPacket { ssrc, pt });
                self.arm(now.plus(STALL_US));
                self.schedule();
            }
            Continuity::NewSsrc => {
                stream.flags.bye_logged = false;
                self.log.push(now, ix, EventKind::SsrcChanged(ssrc));
            }
            Continuity::Restarted => {
                for listener in &mut self.streams {
                    listener.egress.broke(ix);
                }
            }
            Continuity::Flows | Continuity::Suspect | Continuity::Straggler => {}
        }
    }

    fn on_rtcp(
        &mut self,
        now: Micros,
        ix: StreamIx,
        component: Component,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Verdict {
        let len = bytes.len();
        if !self.trusts(now, ix, component, from) {
            return self.reject(now, ix, from);
        }
        let stream = &mut self.streams[usize::from(ix.0)];
        let Ok(mut compound) = Compound::parse(bytes) else {
            stream.rtcp_in.errors += 1;
            return stream.refuse(DropReason::MalformedRtcp);
        };
        count(&mut stream.rtcp_in, len);
        stream.last_rtcp = Some(now);
        self.observe_rtcp(now, ix, &compound);
        match self.route_rtcp(now, ix, &mut compound) {
            Ok((sink, port, target)) => {
                count(&mut self.streams[usize::from(sink.0)].rtcp_out, len);
                forward(port, target, 0, len)
            }
            Err(reason) => self.streams[usize::from(ix.0)].refuse(reason),
        }
    }

    /// Takes what an accepted compound says about clocks, round trips and goodbyes.
    fn observe_rtcp(&mut self, now: Micros, ix: StreamIx, compound: &Compound<'_>) {
        let stream = &mut self.streams[usize::from(ix.0)];
        for packet in compound.packets() {
            if let (Some(info), Some(ssrc)) = (packet.sender_info(), packet.ssrc()) {
                stream.sources.sender_report(now, ssrc, middle(info.ntp));
            }
            for block in packet.report_blocks() {
                if block.ssrc == stream.egress.ssrc {
                    stream.observe_report(now, &block);
                }
            }
            if packet.kind() == PacketType::Bye
                && !std::mem::replace(&mut stream.flags.bye_logged, true)
            {
                self.log.push(now, ix, EventKind::Bye);
            }
        }
    }

    /// Where an accepted compound goes; renumbers it for the listener. RTCP flows on hold too
    /// (RFC 3264 §5.1).
    fn route_rtcp(
        &mut self,
        now: Micros,
        ix: StreamIx,
        compound: &mut Compound<'_>,
    ) -> Result<(StreamIx, PortHandle, SocketAddr), DropReason> {
        let to = self.streams[usize::from(ix.0)]
            .to
            .ok_or(DropReason::NoSink)?;
        let pair = [usize::from(ix.0), usize::from(to.0)];
        let Ok([stream, sink]) = self.streams.get_disjoint_mut(pair) else {
            return Err(DropReason::NoSink);
        };
        if sink.flags.closed {
            return Err(DropReason::NoSink);
        }
        if stream.flags.blocked {
            return Err(DropReason::Blocked);
        }
        if sink.makes_rtcp() {
            return Err(DropReason::RtcpTerminated);
        }
        if !sink.hears_reports(ix) {
            return Err(DropReason::NotHeard);
        }
        let (port, target) = sink.rtcp_target().ok_or(DropReason::NoTarget)?;
        let highest = sink
            .sources
            .current()
            .map_or(0, |source| source.highest_on_wire());
        for info in compound.packets().filter_map(|packet| packet.sender_info()) {
            sink.sent_sender_report(now, middle(info.ntp));
        }
        compound.rewrite(
            sink.egress.sender_map(ix),
            stream.egress.reported_map(to, highest),
        );
        Ok((to, port, target))
    }

    fn on_opaque(
        &mut self,
        now: Micros,
        ix: StreamIx,
        component: Component,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Verdict {
        let len = bytes.len();
        let admitted = match component {
            Component::Rtp => self.admit(now, ix, from, Proof::Opaque),
            Component::Rtcp if self.trusts(now, ix, component, from) => None,
            Component::Rtcp => Some(self.reject(now, ix, from)),
        };
        if let Some(verdict) = admitted {
            return verdict;
        }
        let is_rtp = component == Component::Rtp;
        let stream = &mut self.streams[usize::from(ix.0)];
        if is_rtp {
            count(&mut stream.rtp_in, len);
            stream.last_packet = now;
            self.last_media = Some(now);
            let resumes = std::mem::take(&mut stream.flags.stalled);
            if stream.first_packet.is_none() || resumes {
                stream.first_packet.get_or_insert(now);
                self.schedule();
            }
        } else {
            count(&mut stream.rtcp_in, len);
            stream.last_rtcp = Some(now);
        }
        match self.route_opaque(now, ix, is_rtp) {
            Ok((to, port, target)) => {
                let sink = &mut self.streams[usize::from(to.0)];
                count(
                    if is_rtp {
                        &mut sink.rtp_out
                    } else {
                        &mut sink.rtcp_out
                    },
                    len,
                );
                forward(port, target, 0, len)
            }
            Err(reason) => self.streams[usize::from(ix.0)].refuse(reason),
        }
    }

    fn route_opaque(
        &mut self,
        now: Micros,
        ix: StreamIx,
        is_rtp: bool,
    ) -> Result<(StreamIx, PortHandle, SocketAddr), DropReason> {
        let to = self.streams[usize::from(ix.0)]
            .to
            .ok_or(DropReason::NoSink)?;
        let pair = [usize::from(ix.0), usize::from(to.0)];
        let Ok([stream, sink]) = self.streams.get_disjoint_mut(pair) else {
            return Err(DropReason::NoSink);
        };
        // What cannot be parsed cannot be silenced either.
        if stream.flags.blocked || stream.flags.silenced {
            return Err(DropReason::Blocked);
        }
        if sink.flags.closed || sink.config.payload != Payload::Opaque {
            return Err(DropReason::NoSink);
        }
        if is_rtp && !(stream.flags.sends && sink.flags.receives) {
            return Err(DropReason::Held);
        }
        let heard = if is_rtp {
            sink.hears(now, ix)
        } else {
            sink.hears_reports(ix)
        };
        if !heard {
            return Err(DropReason::NotHeard);
        }
        let target = if is_rtp {
            sink.rtp_target()
        } else {
            sink.rtcp_target()
        };
        target
            .map(|(port, target)| (to, port, target))
            .ok_or(DropReason::NoTarget)
    }

    /// Puts a packet to the latch; `Some` is the refusal.
    fn admit(
        &mut self,
        now: Micros,
        ix: StreamIx,
        from: SocketAddr,
        proof: Proof,
    ) -> Option<Verdict> {
        let stream = &mut self.streams[usize::from(ix.0)];
        match stream.latch.judge(now, stream.remote.as_ref(), from, proof) {
            Judgement::Source => None,
            Judgement::Latched { by_sdp } => {
                if by_sdp {
                    stream.pin_at = now.plus(PIN_DELAY_US);
                }
                self.log.push(now, ix, EventKind::Latched { from, by_sdp });
                self.arm(now.plus(PIN_DELAY_US));
                None
            }
            Judgement::Candidate { new } => {
                if new {
                    self.log.push(now, ix, EventKind::Candidate(from));
                }
                Some(stream.refuse(DropReason::Candidate))
            }
            Judgement::Refused { new } => {
                if new {
                    self.log.push(now, ix, EventKind::LatchRejected(from));
                }
                Some(stream.refuse(DropReason::LatchRejected))
            }
        }
    }

    /// Neither RTP nor RTCP, or broken: an error of the party, or a stranger's probe.
    #[cold]
    fn on_noise(
        &mut self,
        now: Micros,
        ix: StreamIx,
        component: Component,
        from: SocketAddr,
        reason: DropReason,
    ) -> Verdict {
        if !self.trusts(now, ix, component, from) {
            return self.reject(now, ix, from);
        }
        let stream = &mut self.streams[usize::from(ix.0)];
        stream.rtp_in.errors += 1;
        stream.refuse(reason)
    }

    /// Whether a packet that can prove nothing is the party's.
    fn trusts(
        &mut self,
        now: Micros,
        ix: StreamIx,
        component: Component,
        from: SocketAddr,
    ) -> bool {
        let stream = &mut self.streams[usize::from(ix.0)];
        let remote = stream.remote.as_ref();
        match component {
            Component::Rtp => stream.latch.trusts(remote, from),
            Component::Rtcp => stream.latch.admits_rtcp(now, remote, from),
        }
    }

    #[cold]
    fn reject(&mut self, now: Micros, ix: StreamIx, from: SocketAddr) -> Verdict {
        let stream = &mut self.streams[usize::from(ix.0)];
        if stream.latch.is_new_stranger(from) {
            self.log.push(now, ix, EventKind::LatchRejected(from));
        }
        stream.refuse(DropReason::LatchRejected)
    }
}

/// What changes by command.
impl Call {
    fn add_stream(&mut self, now: Micros, config: StreamConfig) -> Result<(), ChangeError> {
        let ix = u8::try_from(self.streams.len())
            .ok()
            .filter(|&ix| usize::from(ix) < STREAMS_MAX);
        let ix = StreamIx(ix.ok_or(ChangeError::TooManyStreams)?);
        // Two streams are the usual call; more grow one by one, as they are large.
        self.streams
            .reserve_exact(if self.streams.is_empty() { 2 } else { 1 });
        self.streams.push(Stream::new(config));
        self.schedule_report(now, ix);
        Ok(())
    }

    fn set_remote(&mut self, now: Micros, ix: StreamIx, remote: Remote) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if stream.remote == Some(remote) {
            return Ok(());
        }
        stream.latch.remote_changed(stream.remote.as_ref(), &remote);
        stream.remote = Some(remote);
        stream.flags.pin_wanted = false;
        stream.pin_at = now.plus(PIN_DELAY_US);
        self.outputs = true;
        Ok(())
    }

    fn link(&mut self, from: StreamIx, to: Option<StreamIx>) -> Result<(), ChangeError> {
        if let Some(to) = to {
            if to == from {
                return Err(ChangeError::LinkToSelf(from));
            }
            self.open_stream(to)?;
        }
        self.open_stream(from)?.to = to;
        Ok(())
    }

    fn close(&mut self, ix: StreamIx) -> Result<(), ChangeError> {
        let flags = &mut self.open_stream(ix)?.flags;
        flags.closed = true;
        flags.pin_wanted = false;
        flags.report_due = false;
        for listener in &mut self.streams {
            // Whoever heard it must not wait for it to fall silent.
            listener.heard = listener.heard.filter(|(heard, _)| *heard != ix);
        }
        self.outputs = true;
        Ok(())
    }

    fn open_stream(&mut self, ix: StreamIx) -> Result<&mut Stream, ChangeError> {
        let stream = self.streams.get_mut(usize::from(ix.0));
        let stream = stream.ok_or(ChangeError::UnknownStream(ix))?;
        if stream.flags.closed {
            Err(ChangeError::StreamClosed(ix))
        } else {
            Ok(stream)
        }
    }
}

/// What happens by itself.
impl Call {
    /// Notes the time; it never runs backwards.
    #[inline]
    fn tick(&mut self, now: Instant) -> Micros {
        self.now = self.now.max(Micros::of(self.created, now));
        self.now
    }

    fn arm(&mut self, at: Micros) {
        self.next_timeout = self.next_timeout.min(at);
    }

    /// Finds the next timeout anew.
    fn schedule(&mut self) {
        let call = self.call_timers().map(|(at, _)| at);
        let next = call
            .filter(|_| self.ended.is_none())
            .min()
            .unwrap_or(Micros::NEVER);
        let streams = self
            .streams
            .iter()
            .map(next_of)
            .min()
            .unwrap_or(Micros::NEVER);
        self.next_timeout = next.min(streams);
    }

    /// The call's timers and when they end it.
    fn call_timers(&self) -> impl Iterator<Item = (Micros, EndReason)> + use<> {
        let timers = self.config.timers;
        let setup = timers.setup.filter(|_| self.last_media.is_none());
        let silence = self.last_media.zip(timers.silence);
        let silence = silence.map(|(last, span)| (last.plus(micros(span)), EndReason::Silence));
        let from_start = |span| Micros::ZERO.plus(micros(span));
        let setup = setup.map(|span| (from_start(span), EndReason::Setup));
        let limit = timers
            .limit
            .map(|span| (from_start(span), EndReason::Limit));
        [setup, silence, limit].into_iter().flatten()
    }

    /// Draws when the next own report is due.
    fn schedule_report(&mut self, now: Micros, ix: StreamIx) {
        let stream = &mut self.streams[usize::from(ix.0)];
        stream.report_at = match stream.makes_rtcp() {
            true => now.plus(REPORT_INTERVAL_US / 2 + self.random.u64(..REPORT_INTERVAL_US)),
            false => Micros::NEVER,
        };
    }

    fn stream_timeout(&mut self, now: Micros, ix: usize) {
        let stream = &mut self.streams[ix];
        if stream.flags.closed {
            return;
        }
        let ix = StreamIx(u8::try_from(ix).unwrap_or(u8::MAX));
        if stream.pin_at <= now {
            stream.pin_at = Micros::NEVER;
            stream.flags.pin_wanted = stream.may_pin();
            self.outputs |= stream.flags.pin_wanted != stream.flags.pinned;
        }
        if stall_at(stream) <= now {
            stream.flags.stalled = true;
            if stream.flags.sends {
                self.log.push(now, ix, EventKind::Stalled);
            }
        }
        if stream.report_at <= now {
            stream.flags.report_due = true;
            self.outputs = true;
            self.schedule_report(now, ix);
        }
    }

    fn stream_output(&mut self, ix: usize) -> Option<Output> {
        let stream = &mut self.streams[ix];
        let flags = &mut stream.flags;
        if flags.pinned != flags.pin_wanted
            && let Some(port) = stream.ports[Component::Rtp as usize]
        {
            flags.pinned = flags.pin_wanted;
            let peer = stream.latch.source().filter(|_| flags.pinned);
            return Some(Output::Pin { port, peer });
        }
        if std::mem::take(&mut flags.report_due) {
            self.own_report(ix)
        } else {
            None
        }
    }

    /// Our own SR or RR with a random CNAME; nothing where there is nothing to say.
    fn own_report(&mut self, ix: usize) -> Option<Output> {
        let now = self.now;
        let mut random = fastrand::Rng::with_seed(self.config.seed);
        let ntp_base = random.u64(..);
        let stream = &mut self.streams[ix];
        // One CNAME per leg: its audio and video belong together, other legs must not.
        let leg = u64::from(stream.config.leg.0) + 1;
        let mut random = fastrand::Rng::with_seed(ntp_base ^ leg.wrapping_mul(0x9e37_79b9));
        let own_ssrc = random.u32(..).wrapping_add(u32::from(stream.config.media));
        let cname: [u8; CNAME_LEN] =
            std::array::from_fn(|_| u8::try_from(random.alphanumeric()).unwrap_or(b'x'));
        let (port, to) = stream.rtcp_target()?;
        let block = stream.sources.report_block(now);
        if block.is_none() && !stream.egress.started() {
            return None;
        }
        let ntp = ntp_base.wrapping_add(ntp_of(now));
        let sender = stream
            .egress
            .sender_report(now)
            .map(|(timestamp, packets, octets)| SenderInfo {
                ntp,
                rtp_timestamp: timestamp.0,
                packets,
                octets,
            });
        let ssrc = if stream.egress.started() {
            stream.egress.ssrc
        } else {
            own_ssrc
        };
        let cname = std::str::from_utf8(&cname).unwrap_or("anonymous");
        let packet = Report {
            ssrc,
            sender,
            block,
            cname,
        }
        .write();
        if sender.is_some() {
            stream.sent_sender_report(now, middle(ntp));
        }
        count(&mut stream.rtcp_out, packet.len());
        Some(Output::Transmit { port, to, packet })
    }
}

/// Where an accepted RTP packet goes.
#[derive(Clone, Copy, Debug)]
struct Routed {
    to: StreamIx,
    port: PortHandle,
    target: SocketAddr,
    strip: bool,
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

/// When a stream counts as stalled.
fn stall_at(stream: &Stream) -> Micros {
    let runs = stream.first_packet.is_some() && !stream.flags.stalled;
    if runs {
        stream.last_packet.plus(STALL_US)
    } else {
        Micros::NEVER
    }
}

/// A stream's next timeout.
fn next_of(stream: &Stream) -> Micros {
    if stream.flags.closed {
        return Micros::NEVER;
    }
    stall_at(stream).min(stream.pin_at).min(stream.report_at)
}

/// A time span as NTP 32.32 fixed point.
fn ntp_of(span: Micros) -> u64 {
    let (whole, rest) = (span.0 / 1_000_000, span.0 % 1_000_000);
    (whole << 32) | ((rest << 32) / 1_000_000)
}

fn check_types(types: &[PayloadType]) -> Result<(), ChangeError> {
    if types.len() > PAYLOAD_TYPES_MAX {
        return Err(ChangeError::TooManyPayloadTypes);
    }
    let valid = |kind: &PayloadType| {
        kind.pt <= 127 && kind.out <= 127 && (1..=CLOCK_HZ_MAX).contains(&kind.clock_hz)
    };
    let broken = types.iter().find(|kind| !valid(kind));
    broken.map_or(Ok(()), |kind| Err(ChangeError::PayloadType(kind.pt)))
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
