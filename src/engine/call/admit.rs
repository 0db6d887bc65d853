//! Who may speak: the latch, asked for every packet that is not from the settled source.

use super::*;

impl Call {
    /// Puts a packet to the latch; `Some` is the refusal.
    pub(super) fn admit(
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
    pub(super) fn on_noise(
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
    pub(super) fn trusts(
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
    pub(super) fn reject(&mut self, now: Micros, ix: StreamIx, from: SocketAddr) -> Verdict {
        let stream = &mut self.streams[usize::from(ix.0)];
        if stream.latch.is_new_stranger(from) {
            self.log.push(now, ix, EventKind::LatchRejected(from));
        }
        stream.refuse(DropReason::LatchRejected)
    }
}
