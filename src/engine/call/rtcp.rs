//! RTCP that arrives.

use super::*;

impl Call {
    pub(super) fn on_rtcp(
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
    pub(super) fn observe_rtcp(&mut self, now: Micros, ix: StreamIx, compound: &Compound<'_>) {
        let stream = &mut self.streams[usize::from(ix.0)];
        for packet in compound.packets() {
            if let (Some(info), Some(ssrc)) = (packet.sender_info(), packet.ssrc()) {
                stream.sources.sender_report(now, ssrc, middle(info.ntp));
            }
            for block in packet.report_blocks() {
                if block.ssrc == stream.egress.ssrc {
                    stream.observe_report(now, &block);
                    stream.observe_loss(block.fraction_lost);
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
    pub(super) fn route_rtcp(
        &mut self,
        now: Micros,
        ix: StreamIx,
        compound: &mut Compound<'_>,
    ) -> Result<(StreamIx, PortHandle, SocketAddr), DropReason> {
        let to = self.streams[usize::from(ix.0)]
            .to
            .ok_or(DropReason::NoSink)?;
        if to == ix {
            return Err(DropReason::RtcpTerminated); // its own reports tell it nothing
        }
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
}
