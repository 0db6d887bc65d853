//! RTP that arrives: judged, counted, renumbered for its listener.

use std::ops::Range;

use super::fork::{hold, observe};
use super::voice::compand;
use super::*;
use crate::engine::stream::{Claim, HEARD_HOLD_US};
use crate::engine::voice::Via;

impl Call {
    pub(super) fn on_rtp(
        &mut self,
        now: Micros,
        ix: StreamIx,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Verdict {
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
        let silent_us = now.since(stream.last_packet);
        stream.last_packet = now;
        if !stream.flags.listens {
            self.last_media = Some(now);
        }
        if continuity != Continuity::Flows {
            self.note_continuity(now, ix, continuity, header.ssrc, header.pt);
        }
        if self.streams[usize::from(ix.0)].flags.stalled {
            self.streams[usize::from(ix.0)].flags.stalled = false;
            self.arm(now.plus(STALL_US));
        }
        if self.streams[usize::from(ix.0)].flags.digits {
            self.hear_digits(now, ix, continuity, &packet);
            self.gather_due(now);
        }
        let flags = self.streams[usize::from(ix.0)].flags;
        let masked = kind.event && flags.masks && self.mask_event(now, ix, &mut packet);
        if flags.said_taped {
            self.record_said(now, ix, continuity, kind.event, &packet);
        }
        if flags.tapped {
            self.copy_to_listeners(now, ix, continuity, masked, &mut packet);
        }
        let represses = self.streams[usize::from(ix.0)].represses.is_some();
        if represses && !kind.event && !flags.listens {
            self.repress_media(now, ix, &packet);
        }
        let routed = match continuity {
            Continuity::Suspect | Continuity::Straggler => Err(DropReason::NotHeard),
            _ if masked => Err(DropReason::Masked),
            _ if self.is_bridged(ix) => self.seat(now, ix, &mut packet),
            _ => {
                let begins = continuity == Continuity::First || silent_us >= HEARD_HOLD_US;
                self.route(now, ix, &mut packet, begins)
            }
        };
        match routed {
            Ok(Routed::Send(departure)) => {
                let to = departure.to;
                let (verdict, sent) = self.forward(packet, departure);
                if self.streams[usize::from(to.0)].flags.sent_taped {
                    self.record_forwarded(now, to, kind.event, &bytes[sent]);
                }
                verdict
            }
            Ok(Routed::Taken) => Verdict::Taken,
            Err(reason) => self.withhold(ix, continuity, header.ssrc, header.seq, reason),
        }
    }

    /// Whether and where an accepted packet goes; edits it for its listener.
    #[inline]
    fn route(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &mut RtpPacket<'_>,
        begins: bool,
    ) -> Result<Routed, DropReason> {
        let to = self.streams[usize::from(ix.0)]
            .to
            .ok_or(DropReason::NoSink)?;
        if to == ix {
            return self.echo(now, ix, packet);
        }
        let (kind, made) = self.gate(now, ix, to, packet, begins)?;
        if made
            && !kind.event
            && let Some(taken) = self.recode(now, ix, to, kind.via, packet)
        {
            return taken.map(|()| Routed::Taken);
        }
        if kind.event {
            return self.route_event(now, ix, to, packet, &kind);
        }
        let numbers = self.number(now, to, &incoming(ix, packet, kind.clock_hz));
        if let Via::Companding(laws) = kind.via {
            compand(laws, packet.payload_mut());
        }
        renumber(packet, &numbers.ok_or(DropReason::NotHeard)?, kind.out);
        self.depart(to)
    }

    /// Where a telephone-event goes, as it is or otherwise.
    fn route_event(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        packet: &mut RtpPacket<'_>,
        kind: &PayloadType,
    ) -> Result<Routed, DropReason> {
        let mut incoming = incoming(ix, packet, kind.clock_hz);
        let scaled = match kind.via {
            Via::Tones => {
                let egress = &mut self.streams[usize::from(to.0)].egress;
                egress.withhold(ix, incoming.ssrc, incoming.seq);
                self.repress(now, ix, packet, kind.clock_hz);
                return Ok(Routed::Taken);
            }
            Via::Rescaled { to_hz } => self.rescale(to, packet, [kind.clock_hz, to_hz]),
            Via::Relay | Via::Companding(_) | Via::Decode => None,
        };
        let sink = &self.streams[usize::from(to.0)];
        let (speaks, at) = (sink.flags.speaks, incoming.timestamp);
        incoming.clock_hz = sink.egress.clock_hz().unwrap_or(kind.clock_hz);
        let numbers = match speaks {
            true => {
                // All segments of one event are of one moment.
                incoming.timestamp = scaled.map_or(at, |scaled| scaled.first);
                Some(self.pass_event(now, to, &incoming))
            }
            false => self.number(now, to, &incoming),
        };
        let numbers = numbers.ok_or(DropReason::NotHeard)?;
        let at = incoming.timestamp;
        let placed = scaled.map_or(numbers, |scaled| Self::place(scaled, at, numbers));
        renumber(packet, &placed, kind.out);
        self.depart(to)
    }

    pub(super) fn depart(&self, to: StreamIx) -> Result<Routed, DropReason> {
        let sink = &self.streams[usize::from(to.0)];
        let (port, target) = sink.rtp_target().ok_or(DropReason::NoTarget)?;
        Ok(Routed::Send(Departure {
            to,
            port,
            target,
            strip: sink.is_masked(),
        }))
    }

    /// Whether a packet may pass from one party to the other, by direction, commands and payload
    /// type; makes it silent where that is asked. Also whether we make what the listener hears.
    #[inline]
    fn gate(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        packet: &mut RtpPacket<'_>,
        begins: bool,
    ) -> Result<(PayloadType, bool), DropReason> {
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
        let forks = sink.flags.forks && !stream.flags.silenced;
        let mut claim = Claim {
            begins,
            silent: false,
        };
        if forks {
            observe(&mut self.log, now, stream, packet, &mut claim);
        }
        let hears = sink.hears(now, ix, claim);
        if forks {
            hold(now, stream, packet, hears);
        }
        if !hears {
            return Err(DropReason::NotHeard);
        }
        let mut kind = stream
            .types
            .translate(packet.header().pt)
            .ok_or(DropReason::UnknownPayloadType)?;
        if stream.flags.veiled {
            if stream.veils(kind.pt) {
                kind.via = Via::Decode;
            } else if stream.types.listed(kind.pt).is_none() {
                // What nobody negotiated could hold any key, and a listener may guess how.
                return Err(DropReason::Masked);
            }
        }
        let made = sink.flags.speaks || kind.via == Via::Decode || sink.mixes_branches();
        // What frames are made of goes on being heard: none of them is sent meanwhile.
        let in_place = kind.event || (sink.flags.keyed && !made);
        if in_place && sink.yield_to_keys(packet, kind.event)? {
            kind.via = Via::Tones; // pressed anew, as it is where no event may pass
        }
        if sink.rtp_target().is_none() {
            return Err(DropReason::NoTarget);
        }
        if stream.flags.silenced {
            hush(packet, &kind)?;
        }
        Ok((kind, made))
    }

    /// The listener's numbers for a relayed packet; `None` if they would collide.
    #[inline]
    pub(super) fn number(
        &mut self,
        now: Micros,
        to: StreamIx,
        incoming: &Incoming,
    ) -> Option<Outgoing> {
        let random = &mut self.random;
        let sink = &mut self.streams[usize::from(to.0)];
        let masked = sink.is_masked();
        let before = sink.egress.source();
        let numbers = sink
            .egress
            .pass(now, incoming, || masked.then(|| origin(random)))?;
        let told = before.is_some() || sink.flags.early_media;
        if told && before != Some(incoming.source) {
            let kind = EventKind::SourceChanged(incoming.source);
            self.log.push(now, to, kind);
        }
        Some(numbers)
    }

    /// A packet of a party whose voice is mixed.
    fn seat(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &mut RtpPacket<'_>,
    ) -> Result<Routed, DropReason> {
        let stream = &self.streams[usize::from(ix.0)];
        if stream.flags.blocked {
            return Err(DropReason::Blocked);
        }
        if !stream.flags.sends {
            return Err(DropReason::Held);
        }
        let kind = stream.types.describe(packet.header().pt);
        if stream.flags.silenced {
            hush(packet, &kind)?;
        }
        if let Some(to) = self.partner(ix) {
            if let Some(passed) = self.pass_on(now, ix, to, packet) {
                return passed;
            }
        } else {
            self.note_unlike(now, ix, packet.header().pt);
        }
        if kind.event {
            self.repress(now, ix, packet, kind.clock_hz);
            return Ok(Routed::Taken);
        }
        self.listen(now, ix, packet);
        Ok(Routed::Taken)
    }

    #[inline]
    fn forward(&mut self, packet: RtpPacket<'_>, routed: Departure) -> (Verdict, Range<usize>) {
        let len = packet.len();
        let payload_len = packet.header().payload_len();
        let start = if routed.strip { packet.strip() } else { 0 };
        let sink = &mut self.streams[usize::from(routed.to.0)];
        sink.egress.sent(payload_len);
        count(&mut sink.rtp_out, len - start);
        (forward(routed.port, routed.target, start, len), start..len)
    }

    /// An accepted packet that is not sent: counted, and its number taken out of the sequence.
    #[cold]
    pub(super) fn withhold(
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
        let linked = stream.to;
        if let Some(to) = self.partner(ix).or(linked)
            && in_sequence
        {
            self.streams[usize::from(to.0)]
                .egress
                .withhold(ix, ssrc, seq);
        }
        verdict
    }

    #[cold]
    pub(super) fn note_continuity(
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
}

/// Where an accepted RTP packet goes.
pub(super) enum Routed {
    /// To its listener, as it now is.
    Send(Departure),
    /// Nowhere by itself: it was decoded, or will be.
    Taken,
}

pub(super) struct Departure {
    pub(super) to: StreamIx,
    pub(super) port: PortHandle,
    pub(super) target: SocketAddr,
    pub(super) strip: bool,
}

#[inline]
pub(super) fn incoming(source: StreamIx, packet: &RtpPacket<'_>, clock_hz: u32) -> Incoming {
    let header = packet.header();
    Incoming {
        source,
        ssrc: header.ssrc,
        seq: header.seq,
        timestamp: header.timestamp,
        clock_hz,
        marker: header.marker,
    }
}

/// Replaces the payload by its codec's silence.
pub(super) fn hush(packet: &mut RtpPacket<'_>, kind: &PayloadType) -> Result<(), DropReason> {
    let silence = kind.silence.filter(|_| !kind.event);
    packet
        .payload_mut()
        .fill(silence.ok_or(DropReason::Blocked)?);
    Ok(())
}

/// Writes what changes, and nothing else.
#[inline]
pub(super) fn renumber(packet: &mut RtpPacket<'_>, numbers: &Outgoing, pt: u8) {
    let header = *packet.header();
    if numbers.ssrc != header.ssrc {
        packet.set_ssrc(numbers.ssrc);
    }
    if numbers.seq != header.seq {
        packet.set_seq(numbers.seq);
    }
    if numbers.timestamp != header.timestamp {
        packet.set_timestamp(numbers.timestamp);
    }
    if numbers.marker != header.marker {
        packet.set_marker(numbers.marker);
    }
    if pt != header.pt {
        packet.set_pt(pt);
    }
}
