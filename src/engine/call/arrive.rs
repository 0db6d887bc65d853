//! RTP that arrives: judged, counted, renumbered for its listener.

use super::*;

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
    pub(super) fn route(
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
    pub(super) fn forward(&mut self, packet: RtpPacket<'_>, routed: Routed) -> Verdict {
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
