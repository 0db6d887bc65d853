//! A bridge of two whose packets pass as they are, and how it changes to mixing and back.
//!
//! To the egress each change is one more switch of sources, so the listener's stream goes on. What
//! still waits in an ear when mixing may end is played faster than it comes until nothing waits;
//! then packets pass, and nobody has missed a frame.

use smallvec::SmallVec;

use super::arrive::{Departure, Routed, incoming, renumber};
use super::fork::HAND_BACK_US_MAX;
use super::voice::{RECODE_REST_US, pass_over};
use super::*;
use crate::engine::digits::EventType;
use crate::engine::egress::Egress;
use crate::engine::voice::{BridgeConfig, BridgeIx, Idle, Pair, Spoken};

/// Changes between passing and mixing.
impl Call {
    /// After a command or a tick: whether the packets of a bridge may pass as they are.
    pub(super) fn settle_pair(&mut self, now: Micros, ix: BridgeIx) {
        let Some(Some(bridge)) = self.bridges.get(usize::from(ix.0)) else {
            return;
        };
        let legs = bridge.plain_pair().filter(|_| now >= bridge.mixes_until);
        let legs = legs.filter(|legs| self.are_alike(*legs));
        match (bridge.pair, legs) {
            (Pair::Relays, None) => self.mix_pair(now, ix),
            (Pair::Empties(_), None) => self.refill_pair(ix),
            (Pair::Mixes, Some(legs)) => {
                self.hurry(legs);
                self.empty_pair(now, ix, legs, now.plus(HAND_BACK_US_MAX));
            }
            (Pair::Empties(until), Some(legs)) => self.empty_pair(now, ix, legs, until),
            (Pair::Relays, Some(_)) | (Pair::Mixes, None) => {}
        }
    }

    /// Everybody of a bridge is decoded from now on, if packets passed until now.
    pub(super) fn mix_pair(&mut self, now: Micros, ix: BridgeIx) {
        let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) else {
            return;
        };
        if bridge.pair != Pair::Relays {
            return;
        }
        let legs: SmallVec<[StreamIx; 2]> = bridge.seats.iter().map(|s| s.member.stream).collect();
        // Packets passed without the delay that mixing has: what timestamps are ahead since then,
        // beyond a packet's worth, is waited for.
        let egresses = legs
            .iter()
            .map(|leg| &self.streams[usize::from(leg.0)].egress);
        let due = egresses.map(Egress::due).max().unwrap_or(now);
        let latest = now.plus(bridge.period_us());
        (bridge.pair, bridge.next_at) = (Pair::Mixes, due.clamp(now, latest));
        for leg in legs {
            self.perk_up(now, leg);
            match self.open_mouth(now, leg) {
                Ok(mouth) => mouth.enter_bridge(),
                // It speaks nothing that we could make any more.
                Err(_) => self.close_mouth(now, usize::from(leg.0)),
            }
        }
        self.reshape(ix);
    }

    /// Makes an ear for a leg whose packets passed until now.
    fn perk_up(&mut self, now: Micros, leg: StreamIx) {
        let Some(pt) = self.streams[usize::from(leg.0)].pt else {
            return;
        };
        self.make_ear(now, leg, pt);
        let voice = self.streams[usize::from(leg.0)].voice.as_deref_mut();
        if let Some(voice) = voice
            && let Some(ear) = &mut voice.ear
        {
            ear.begin_at_once(voice.config.playout);
        }
    }

    /// As [`Self::mix_pair`], for the bridge of a leg that something is made for.
    pub(super) fn mix_pair_of(&mut self, now: Micros, leg: StreamIx) {
        let voice = self.streams.get(usize::from(leg.0));
        let voice = voice.and_then(|stream| stream.voice.as_ref());
        if let Some(ix) = voice.and_then(|voice| voice.bridge) {
            self.mix_pair(now, ix);
        }
    }

    /// Whether the packets of a bridge pass as they are: it has no mouths.
    pub(super) fn passes_packets(&self, ix: BridgeIx) -> bool {
        let bridge = self.bridges.get(usize::from(ix.0));
        let bridge = bridge.and_then(|bridge| bridge.as_ref());
        bridge.is_some_and(|bridge| bridge.pair == Pair::Relays)
    }

    /// Declares a bridge anew whose packets pass, and shall go on to; `false`: it is another one.
    pub(super) fn keeps_passing(&mut self, ix: BridgeIx, config: &BridgeConfig) -> bool {
        let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) else {
            return false;
        };
        if bridge.pair != Pair::Relays || !config.edges.is_empty() {
            return false;
        }
        let members = bridge.seats.iter().map(|seat| seat.member);
        let same = members.eq(config.members.iter().copied());
        same && config.loudest != 1
    }

    /// A stream that is closed is no member any more.
    pub(super) fn quit_bridge(&mut self, now: Micros, leg: StreamIx) {
        let voice = self.streams[usize::from(leg.0)].voice.as_ref();
        let Some(ix) = voice.and_then(|voice| voice.bridge) else {
            return;
        };
        self.mix_pair(now, ix);
        self.leave(now, ix, usize::from(leg.0));
        let slot = usize::from(ix.0);
        let Some(Some(bridge)) = self.bridges.get_mut(slot) else {
            return;
        };
        let config = bridge.without(leg);
        if config.members.is_empty() {
            self.stop_all(now, ix.into());
            self.bridges[slot] = None;
            return;
        }
        bridge.configure(config);
        self.reshape(ix);
        self.settle_pair(now, ix);
    }

    /// Whether two legs can be sent what the other one sends, and nothing else is made for them.
    fn are_alike(&self, legs: [StreamIx; 2]) -> bool {
        let [Some(a), Some(b)] = legs.map(|leg| self.passes(leg)) else {
            return false;
        };
        a.codec.kind == b.codec.kind && a.ptime_ms == b.ptime_ms
    }

    /// What a leg speaks, if it can be sent packets of others and nothing is played to it.
    fn passes(&self, leg: StreamIx) -> Option<Spoken> {
        let stream = &self.streams[usize::from(leg.0)];
        let voice = stream.voice.as_ref().filter(|_| !stream.flags.veiled)?;
        let spoken = voice.config.speaks?;
        let mut hears = voice.config.hears.iter();
        let both_ways = hears.any(|heard| heard.codec.kind == spoken.codec.kind);
        let mouth = voice.mouth.as_ref();
        let bare = mouth.is_none_or(|mouth| mouth.is_bare());
        (both_ways && bare && voice.config.idle == Idle::Nothing).then_some(spoken)
    }

    fn hurry(&mut self, legs: [StreamIx; 2]) {
        for leg in legs {
            let voice = self.streams[usize::from(leg.0)].voice.as_mut();
            if let Some(ear) = voice.and_then(|voice| voice.ear.as_mut()) {
                ear.hurry();
            }
        }
    }

    /// Mixing goes on after all: the ears wait again as they have to.
    fn refill_pair(&mut self, ix: BridgeIx) {
        let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) else {
            return;
        };
        bridge.pair = Pair::Mixes;
        for seat in &bridge.seats {
            let voice = self.streams[usize::from(seat.member.stream.0)]
                .voice
                .as_mut();
            let Some(voice) = voice else { continue };
            if let Some(ear) = &mut voice.ear {
                ear.take_time(&voice.config.playout);
            }
        }
    }

    /// Once nothing waits in the two ears, packets pass.
    fn empty_pair(&mut self, now: Micros, ix: BridgeIx, legs: [StreamIx; 2], until: Micros) {
        let waits = legs.iter().any(|leg| {
            let voice = self.streams[usize::from(leg.0)].voice.as_ref();
            let ear = voice.and_then(|voice| voice.ear.as_ref());
            ear.is_some_and(|ear| ear.pending_us() > 0)
        });
        if waits && now < until {
            if let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) {
                bridge.pair = Pair::Empties(until);
            }
            return;
        }
        for leg in legs {
            self.be_still(ix, leg);
        }
        if let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) {
            (bridge.pair, bridge.next_at) = (Pair::Relays, Micros::NEVER);
        }
    }

    /// Nothing is made for a leg, nor heard of it by us. It still [`speaks`](Flags): what is
    /// linked to it is not for it, and its reports are ours.
    ///
    /// [`Flags`]: crate::engine::stream::Flags
    fn be_still(&mut self, ix: BridgeIx, leg: StreamIx) {
        let stream = &mut self.streams[usize::from(leg.0)];
        let bridge = self.bridges.get_mut(usize::from(ix.0));
        let bridge = bridge.and_then(|bridge| bridge.as_deref_mut());
        let (Some(voice), Some(bridge)) = (&mut stream.voice, bridge) else {
            return;
        };
        if let Some(mut mouth) = voice.mouth.take() {
            bridge.dismiss(leg, &mut mouth);
            pass_over(&mut stream.egress, mouth.drop_pending());
        }
        (voice.ear, voice.converter, voice.catches_up) = (None, None, None);
        stream.egress.rest();
    }
}

/// Packets.
impl Call {
    /// Who hears a party's packets as they are, by its bridge.
    #[inline]
    pub(super) fn partner(&self, ix: StreamIx) -> Option<StreamIx> {
        let voice = self.streams[usize::from(ix.0)].voice.as_ref()?;
        let bridge = self.bridges.get(usize::from(voice.bridge?.0))?.as_ref()?;
        bridge.partner(ix)
    }

    /// Passes a packet on to the other one of a bridge. `None`: it has to be decoded, and the
    /// bridge mixes now.
    pub(super) fn pass_on(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        packet: &mut RtpPacket<'_>,
    ) -> Option<Result<Routed, DropReason>> {
        let kind = self.streams[usize::from(ix.0)]
            .types
            .describe(packet.header().pt);
        if kind.event {
            return Some(self.pass_event_on(now, ix, to, packet, kind.clock_hz));
        }
        let (out, clock_hz) = match self.said_in(ix, to, packet.header().pt) {
            Said::Alike { pt, clock_hz } => (Some(pt), clock_hz),
            Said::Unlike => {
                self.mix_for_a_while(now, ix);
                return None;
            }
            Said::Nothing => (None, kind.clock_hz),
        };
        Some(self.hand_over(now, ix, to, packet, out, clock_hz))
    }

    fn hand_over(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        packet: &mut RtpPacket<'_>,
        out: Option<u8>,
        clock_hz: u32,
    ) -> Result<Routed, DropReason> {
        let sink = &self.streams[usize::from(to.0)];
        if !sink.flags.receives {
            return Err(DropReason::Held);
        }
        if sink.flags.keyed {
            return Err(DropReason::NotHeard); // keys of our own are in its place
        }
        let out = out.ok_or(DropReason::NotHeard)?;
        let (port, target) = sink.rtp_target().ok_or(DropReason::NoTarget)?;
        let strip = sink.is_masked();
        let numbers = self.number(now, to, &incoming(ix, packet, clock_hz));
        renumber(packet, &numbers.ok_or(DropReason::NotHeard)?, out);
        Ok(Routed::Send(Departure {
            to,
            port,
            target,
            strip,
        }))
    }

    /// As [`Self::pass_on`], a telephone-event: counted in the listener's clock, or pressed anew
    /// for one who accepts none.
    fn pass_event_on(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        packet: &mut RtpPacket<'_>,
        clock_hz: u32,
    ) -> Result<Routed, DropReason> {
        let own = self.streams[usize::from(to.0)].types.event(clock_hz);
        let same = own.map(|pt| EventType { pt, clock_hz });
        let kind = same.or_else(|| self.event_kind(to));
        let sink = &mut self.streams[usize::from(to.0)];
        if kind.is_some() && !sink.flags.receives {
            return Err(DropReason::Held);
        }
        let waits = kind.is_some() && sink.yield_to_keys(packet, true)?;
        let Some(kind) = kind.filter(|_| !waits) else {
            let header = *packet.header();
            sink.egress.withhold(ix, header.ssrc, header.seq);
            self.repress(now, ix, packet, clock_hz);
            return Ok(Routed::Taken);
        };
        let scaled = match kind.clock_hz == clock_hz {
            true => None,
            false => self.rescale(to, packet, [clock_hz, kind.clock_hz]),
        };
        let egress = &self.streams[usize::from(to.0)].egress;
        let audio_hz = egress.clock_hz().unwrap_or(clock_hz);
        let at = packet.header().timestamp;
        let numbers = self.number(now, to, &incoming(ix, packet, audio_hz));
        let numbers = numbers.ok_or(DropReason::NotHeard)?;
        let placed = scaled.map_or(numbers, |scaled| Self::place(scaled, at, numbers));
        renumber(packet, &placed, kind.pt);
        self.depart(to)
    }

    fn said_in(&self, ix: StreamIx, to: StreamIx, pt: u8) -> Said {
        let config = |ix: StreamIx| Some(&self.streams[usize::from(ix.0)].voice.as_ref()?.config);
        let said = config(ix).and_then(|voice| voice.hears.iter().find(|heard| heard.pt == pt));
        let spoken = config(to).and_then(|voice| voice.speaks);
        match (said, spoken) {
            (Some(said), Some(spoken)) if said.codec.kind == spoken.codec.kind => Said::Alike {
                pt: spoken.pt,
                clock_hz: said.codec.kind.clock_hz(),
            },
            (Some(_), _) => Said::Unlike,
            (None, _) => Said::Nothing,
        }
    }

    /// A party sends what the other cannot be sent as it is: it is decoded, and so is what follows
    /// within the next half second, so that a party that changes codecs with every packet does not
    /// have encoders made for each.
    fn mix_for_a_while(&mut self, now: Micros, leg: StreamIx) {
        let voice = self.streams[usize::from(leg.0)].voice.as_ref();
        let Some(ix) = voice.and_then(|voice| voice.bridge) else {
            return;
        };
        if let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) {
            bridge.mixes_until = now.plus(RECODE_REST_US);
        }
        self.mix_pair(now, ix);
    }

    /// A packet of a bridge of two that mixes: whether it could have passed.
    pub(super) fn note_unlike(&mut self, now: Micros, leg: StreamIx, pt: u8) {
        let voice = self.streams[usize::from(leg.0)].voice.as_ref();
        let Some(ix) = voice.and_then(|voice| voice.bridge) else {
            return;
        };
        let bridge = self.bridges.get(usize::from(ix.0));
        let pair = bridge.and_then(|bridge| bridge.as_ref()?.plain_pair());
        let other = pair.and_then(|pair| pair.into_iter().find(|other| *other != leg));
        if let Some(other) = other
            && matches!(self.said_in(leg, other, pt), Said::Unlike)
        {
            self.mix_for_a_while(now, leg);
        }
    }
}

/// What a packet's payload is to its listener.
enum Said {
    /// Just what it is sent, under this number.
    Alike { pt: u8, clock_hz: u32 },
    /// Something that is decoded and encoded anew.
    Unlike,
    /// Nothing that can be decoded.
    Nothing,
}
