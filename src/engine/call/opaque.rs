//! Datagrams that are not RTP.

use super::*;
use crate::engine::stream::Claim;

impl Call {
    pub(super) fn on_opaque(
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

    pub(super) fn route_opaque(
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
            sink.hears(now, ix, Claim::default())
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
}
