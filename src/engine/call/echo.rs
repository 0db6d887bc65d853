//! A party that hears itself.

use super::arrive::{Departure, Routed, hush, incoming, renumber};
use super::*;
use crate::engine::voice::Via;
use crate::wire::rtp::RtpPacket;

impl Call {
    /// Sends an accepted packet back to the party it came from, as a packet of another source: a
    /// party that meets its own SSRC would take it for a loop or a collision (RFC 3550 section
    /// 8.2). By the same rule what comes back to us under the number we send with goes no further.
    #[cold]
    pub(super) fn echo(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &mut RtpPacket<'_>,
    ) -> Result<Routed, DropReason> {
        let stream = &self.streams[usize::from(ix.0)];
        let header = *packet.header();
        match stream.flags {
            Flags { blocked: true, .. } => return Err(DropReason::Blocked),
            Flags { sends: false, .. }
            | Flags {
                receives: false, ..
            } => {
                return Err(DropReason::Held);
            }
            _ if stream.egress.started() && stream.egress.ssrc == header.ssrc => {
                return Err(DropReason::NotHeard);
            }
            _ => {}
        }
        let kind = stream.types.translate(header.pt);
        let kind = kind.ok_or(DropReason::UnknownPayloadType)?;
        let (port, target) = stream.rtp_target().ok_or(DropReason::NoTarget)?;
        if stream.flags.silenced {
            hush(packet, &kind)?;
        }
        let made = stream.flags.speaks || kind.via == Via::Decode;
        if made
            && !kind.event
            && let Some(taken) = self.recode(now, ix, ix, kind.via, packet)
        {
            return taken.map(|()| Routed::Taken);
        }
        let numbers = self.number_echo(now, ix, &incoming(ix, packet, kind.clock_hz), kind.event);
        renumber(packet, &numbers.ok_or(DropReason::NotHeard)?, kind.out);
        Ok(Routed::Send(Departure {
            to: ix,
            port,
            target,
            strip: self.streams[usize::from(ix.0)].is_masked(),
        }))
    }

    fn number_echo(
        &mut self,
        now: Micros,
        ix: StreamIx,
        incoming: &Incoming,
        event: bool,
    ) -> Option<Outgoing> {
        let stream = &mut self.streams[usize::from(ix.0)];
        if stream.flags.speaks && event {
            return Some(self.pass_event(now, ix, incoming));
        }
        let before = stream.egress.source();
        let random = &mut self.random;
        let fresh = || Some(origin(random));
        let numbers = stream.egress.pass(now, incoming, fresh)?;
        if before.is_some_and(|before| before != ix) {
            self.log.push(now, ix, EventKind::SourceChanged(ix));
        }
        Some(numbers)
    }
}
