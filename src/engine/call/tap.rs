//! Copies for those who only listen.
//!
//! A tap does not touch: it looks at a packet that was accepted, before that is edited for the one
//! it is for, and draws no number that anybody else would have got. What it makes goes out on the
//! listener's own egress, by way of the outbox.

use smallvec::SmallVec;

use super::arrive::{hush, incoming, renumber};
use super::voice::compand;
use super::*;
use crate::engine::digits::Rescaled;
use crate::engine::tap::{Listening, Taps};
use crate::engine::voice::{Via, rate_of};
use crate::wire::rtp::RtpPacket;

/// Octets of a telephone-event's payload that are counted in another clock for a listener: sixteen
/// packed events. What more a sender packs reaches it as it is.
const RESCALED_LEN_MAX: usize = 64;

/// Commands.
impl Call {
    pub(super) fn tap(&mut self, now: Micros, tap: Tap) -> Result<(), ChangeError> {
        let Tap { from, to, types } = tap;
        change::check_types(&types)?;
        self.check_tap(from, to)?;
        let listener = &mut self.streams[usize::from(to.0)];
        listener.flags.listens = true;
        let listening = listener.listens.get_or_insert_default();
        listening.types = Types::new(types);
        if listening.source != Some(from) {
            self.detach(to);
            let stream = &mut self.streams[usize::from(from.0)];
            stream.taps.get_or_insert_default().push(to);
            stream.flags.tapped = true;
            self.listening(to).source = Some(from);
            self.schedule_report(now, to);
        }
        Ok(())
    }

    pub(super) fn untap(&mut self, ix: StreamIx) -> Result<(), ChangeError> {
        if !self.may_listen(ix)? {
            return Err(ChangeError::Tap(ix, ix));
        }
        self.streams[usize::from(ix.0)].flags.listens = true;
        self.detach(ix);
        Ok(())
    }

    /// A stream is closed: nobody listens to it, and it listens to nobody.
    pub(super) fn dismiss(&mut self, ix: StreamIx) {
        self.detach(ix);
        let listeners = self.streams[usize::from(ix.0)].taps.take();
        for to in listeners.into_iter().flat_map(|taps| *taps) {
            self.detach(to);
        }
        self.streams[usize::from(ix.0)].flags.tapped = false;
    }

    fn check_tap(&mut self, from: StreamIx, to: StreamIx) -> Result<(), ChangeError> {
        let refused = Err(ChangeError::Tap(to, from));
        let stream = self.open_stream(from)?;
        let taps = stream.taps.as_ref().map_or(&[][..], |taps| taps);
        let is_new = !taps.contains(&to);
        if stream.flags.listens || stream.config.payload != Payload::Rtp || from == to {
            return refused;
        }
        if is_new && taps.len() >= TAPS_MAX {
            return Err(ChangeError::TooManyTaps(from));
        }
        match self.may_listen(to)? {
            true => Ok(()),
            false => refused,
        }
    }

    /// Whether a party talks with nobody, so that it may be one that only listens.
    fn may_listen(&mut self, ix: StreamIx) -> Result<bool, ChangeError> {
        let stream = self.open_stream(ix)?;
        let voice = stream.voice.as_ref();
        let talks = stream.to.is_some() || stream.flags.tapped;
        let bridged = voice.is_some_and(|voice| voice.bridge.is_some());
        let plain = stream.config.payload == Payload::Rtp;
        let heard = self.streams.iter().any(|other| other.to == Some(ix));
        Ok(plain && !talks && !bridged && !heard)
    }

    fn listening(&mut self, ix: StreamIx) -> &mut Listening {
        let stream = &mut self.streams[usize::from(ix.0)];
        stream.listens.get_or_insert_default()
    }

    /// A listener hears nobody any more; its stream stands still where it is.
    fn detach(&mut self, ix: StreamIx) {
        let listener = &mut self.streams[usize::from(ix.0)];
        let listening = listener.listens.as_mut();
        let Some(source) = listening.and_then(|listening| listening.source.take()) else {
            return;
        };
        self.abandon_keys(self.now, ix);
        let listener = &mut self.streams[usize::from(ix.0)];
        let mouth = match &mut listener.voice {
            Some(voice) => {
                voice.ear = None;
                voice.mouth.is_some()
            }
            None => false,
        };
        if mouth {
            self.close_mouth(self.now, usize::from(ix.0));
        }
        let stream = &mut self.streams[usize::from(source.0)];
        if let Some(taps) = &mut stream.taps {
            taps.retain(|listener| *listener != ix);
            stream.flags.tapped = !taps.is_empty();
        }
    }
}

/// Packets.
impl Call {
    /// Copies an accepted packet for everybody who listens to its sender; one that the sender may
    /// not say is made silent, or taken out of the listeners' sequences.
    #[cold]
    pub(super) fn copy_to_listeners(
        &mut self,
        now: Micros,
        ix: StreamIx,
        continuity: Continuity,
        masked: bool,
        packet: &mut RtpPacket<'_>,
    ) {
        let stream = &self.streams[usize::from(ix.0)];
        let Some(taps) = stream.taps.as_deref() else {
            return;
        };
        if matches!(continuity, Continuity::Suspect | Continuity::Straggler) {
            return;
        }
        let taps: Taps = taps.clone();
        let header = *packet.header();
        let said = match stream.flags {
            Flags { blocked: true, .. } => Err(DropReason::Blocked),
            Flags { sends: false, .. } => Err(DropReason::Held),
            _ if masked => Err(DropReason::Masked),
            Flags { silenced: true, .. } => {
                // Whoever else hears it hears silence, too.
                hush(packet, &stream.types.describe(header.pt))
            }
            _ => Ok(()),
        };
        for to in taps {
            let copied = said.and_then(|()| self.copy(now, ix, to, packet));
            if copied.is_err() {
                let egress = &mut self.streams[usize::from(to.0)].egress;
                egress.withhold(ix, header.ssrc, header.seq);
            }
        }
    }

    /// Copies a packet for one listener, or takes it to be decoded for it.
    fn copy(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        packet: &RtpPacket<'_>,
    ) -> Result<(), DropReason> {
        let listener = &self.streams[usize::from(to.0)];
        let listening = listener.listens.as_ref().ok_or(DropReason::NoSink)?;
        let kind = listening.types.listed(packet.header().pt);
        let mut kind = kind.ok_or(DropReason::UnknownPayloadType)?;
        if self.streams[usize::from(ix.0)].veils_copies(kind.pt) {
            // One who cannot be sent it without the keys in it is sent nothing.
            let voice = listener.voice.as_ref();
            let hears = voice.and_then(|voice| rate_of(&voice.config, kind.pt));
            hears.ok_or(DropReason::Masked)?;
            kind.via = Via::Decode;
        }
        if !listener.flags.receives {
            return Err(DropReason::Held);
        }
        let (port, target) = listener.rtp_target().ok_or(DropReason::NoTarget)?;
        let made = listener.flags.speaks || kind.via == Via::Decode;
        if listener.represses.is_some() && !kind.event {
            self.repress_media(now, to, packet);
        }
        // Nobody hears what a listener says, so its ear is free for what it hears.
        if made
            && !kind.event
            && let Some(taken) = self.recode(now, to, to, kind.via, packet)
        {
            return taken;
        }
        if kind.event && kind.via == Via::Tones {
            let header = packet.header();
            let egress = &mut self.streams[usize::from(to.0)].egress;
            egress.withhold(ix, header.ssrc, header.seq);
            // Nobody hears what a listener presses, so its keys are free for those it hears.
            self.repress(now, to, packet, kind.clock_hz);
            return Ok(());
        }
        let mut incoming = incoming(ix, packet, kind.clock_hz);
        let scaled = self.rescale_copy(to, &kind, packet);
        if let Some((_, scaled)) = &scaled {
            let listener = &self.streams[usize::from(to.0)];
            incoming.clock_hz = listener.egress.clock_hz().unwrap_or(kind.clock_hz);
            if listener.flags.speaks {
                incoming.timestamp = scaled.first; // all segments of one event are of one moment
            }
        }
        let mut numbers = self.number_copy(now, to, &incoming, kind.event)?;
        if let Some((_, scaled)) = &scaled {
            numbers = Self::place(*scaled, incoming.timestamp, numbers);
        }
        let listener = &mut self.streams[usize::from(to.0)];
        let strip = listener.is_masked();
        let payload_len = packet.header().payload_len();
        let edit = |mut copy: RtpPacket<'_>| {
            if let Via::Companding(laws) = kind.via {
                compand(laws, copy.payload_mut());
            }
            if let Some((payload, _)) = &scaled
                && let Some(octets) = copy.payload_mut().get_mut(..payload.len())
            {
                octets.copy_from_slice(payload);
            }
            renumber(&mut copy, &numbers, kind.out);
            if strip { copy.strip() } else { 0 }
        };
        match self.outbox.copy(port, target, packet, edit) {
            Some(len) => {
                listener.egress.sent(payload_len);
                count(&mut listener.rtp_out, len);
                if listener.flags.sent_taped {
                    let recorded = listener.recorded.as_deref();
                    let sent = self.outbox.latest();
                    self.recordings.sent(now, recorded, kind.event, sent);
                }
            }
            None => listener.rtp_out.errors += 1,
        }
        Ok(())
    }

    /// The beginning of a telephone-event's payload in the listener's clock, and where it stands,
    /// if that is another clock than the sender's.
    fn rescale_copy(
        &mut self,
        to: StreamIx,
        kind: &PayloadType,
        packet: &RtpPacket<'_>,
    ) -> Option<(SmallVec<[u8; RESCALED_LEN_MAX]>, Rescaled)> {
        let Via::Rescaled { to_hz } = kind.via else {
            return None;
        };
        let header = packet.header();
        let octets = packet.payload();
        let mut payload = SmallVec::from_slice(octets.get(..RESCALED_LEN_MAX).unwrap_or(octets));
        let keys = self.streams[usize::from(to.0)].keys.get_or_insert_default();
        let name = (header.ssrc, header.timestamp);
        let clocks_hz = [kind.clock_hz, to_hz];
        let scaled = keys.rescaler.rescale(name, clocks_hz, &mut payload)?;
        Some((payload, scaled))
    }

    /// The listener's numbers for a copy.
    fn number_copy(
        &mut self,
        now: Micros,
        to: StreamIx,
        incoming: &Incoming,
        event: bool,
    ) -> Result<Outgoing, DropReason> {
        let listener = &mut self.streams[usize::from(to.0)];
        if listener.flags.speaks && event {
            return Ok(self.pass_event(now, to, incoming));
        }
        let masked = listener.is_masked();
        let mut lot = listener.lot(now);
        let fresh = || masked.then(|| origin(&mut lot));
        let numbers = listener.egress.pass(now, incoming, fresh);
        numbers.ok_or(DropReason::NotHeard)
    }
}
