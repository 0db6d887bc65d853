//! Keys that the others are not to get.

use smallvec::SmallVec;

use super::arrive::incoming;
use super::fork::HAND_BACK_US_MAX;
use super::*;
use crate::audio::codec::CodecKind;
use crate::audio::g711;
use crate::engine::digits::{Mask, MaskMode, Masked, Press, names_key};
use crate::engine::voice::{BridgeIx, Cover, Ear, Said, Via};
use crate::wire::event::{EVENT_LEN, TelephoneEvent};
use crate::wire::rtp::RtpPacket;

/// Digits that stand for a key at random: 0 to 9.
const RANDOM_DIGITS: u8 = 10;

/// Commands.
impl Call {
    pub(super) fn set_mask(
        &mut self,
        now: Micros,
        ix: StreamIx,
        mask: Option<Box<Mask>>,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if let Some(mask) = &mask {
            mask.check().map_err(|why| ChangeError::Mask(ix, why))?;
            if stream.config.payload != Payload::Rtp {
                return Err(ChangeError::Codec(ix));
            }
        }
        match (mask, &mut stream.mask) {
            (Some(mask), Some(masked)) => masked.set(now, *mask),
            (Some(mask), none) => *none = Some(Box::new(Masked::new(now, *mask))),
            // What of a press is still to come is masked as its beginning was.
            (None, Some(masked)) => masked.set(now, Mask::of(MaskMode::Pass)),
            (None, None) => return Ok(()),
        }
        self.remask(now, ix);
        self.arm(mask_at(&self.streams[usize::from(ix.0)]));
        self.hear_keys(now, ix)
    }

    /// What is masked of a party follows its mask, for all who hear it.
    pub(super) fn remask(&mut self, now: Micros, ix: StreamIx) {
        let stream = &mut self.streams[usize::from(ix.0)];
        stream.flags.masks = stream.mask.is_some();
        let cover = cover(stream, now);
        let before = std::mem::replace(&mut stream.flags.veiled, cover.is_some());
        let copied = cover.as_ref().filter(|cover| cover.hides_from_all());
        let awaited = stream.mask.as_ref().and_then(|masked| masked.awaits());
        self.each_ear(ix, |ear, is_own| {
            match if is_own { cover.as_ref() } else { copied } {
                Some(cover) => ear.veil(cover),
                None => ear.unveil(),
            }
            ear.stand_by(awaited);
        });
        match (before, &cover) {
            (false, Some(_)) => self.mix_pair_of(now, ix),
            (true, None) => self.hand_over_to_relay(now, ix),
            _ => {}
        }
    }

    /// All ears that hear what a party says: its own, and those of who listens to it. `each` is
    /// told which.
    fn each_ear(&mut self, ix: StreamIx, mut each: impl FnMut(&mut Ear, bool)) {
        let stream = &mut self.streams[usize::from(ix.0)];
        let taps = stream.taps.as_deref().cloned().unwrap_or_default();
        let own = (!stream.flags.listens).then_some(ix);
        for hearer in own.into_iter().chain(taps) {
            let voice = self.streams[usize::from(hearer.0)].voice.as_mut();
            if let Some(ear) = voice.and_then(|voice| voice.ear.as_mut()) {
                each(ear, hearer == ix);
            }
        }
    }

    /// Nothing has to be hidden of a party any more: what waits of it is played to who was sent
    /// made frames for that reason alone, and then packets are relayed again.
    fn hand_over_to_relay(&mut self, now: Micros, ix: StreamIx) {
        let stream = &self.streams[usize::from(ix.0)];
        let to = stream.to;
        let bridge = stream.voice.as_ref().and_then(|voice| voice.bridge);
        let pt = stream.pt.unwrap_or(u8::MAX);
        // A member's packets are relayed by its bridge, but copied to who listens by itself.
        let own = bridge.is_none().then_some((ix, &stream.types));
        let types = own.into_iter();
        let taps = stream.taps.as_deref().cloned().unwrap_or_default();
        let listening = taps.iter().filter_map(|tap| {
            let listening = self.streams[usize::from(tap.0)].listens.as_ref();
            Some((*tap, &listening?.types))
        });
        let relayed = types
            .chain(listening)
            .filter(|(_, types)| types.describe(pt).via != Via::Decode);
        let relayed: SmallVec<[StreamIx; 4]> = relayed.map(|(hearer, _)| hearer).collect();
        if let Some(bridge) = bridge {
            self.settle_pair(now, bridge);
        }
        for hearer in relayed {
            // Whose mouth says what this ear hears.
            let listener = if hearer == ix { to } else { Some(hearer) };
            let listener = listener.map(|to| usize::from(to.0));
            let voice = listener.and_then(|to| self.streams.get_mut(to)?.voice.as_mut());
            let Some(voice) = voice.filter(|voice| voice.bridge.is_none()) else {
                continue;
            };
            let says = voice.mouth.as_ref();
            if says.is_some_and(|mouth| mouth.source == Some(hearer)) {
                voice.catches_up = Some(now.plus(HAND_BACK_US_MAX));
                let heard = self.streams[usize::from(hearer.0)].voice.as_mut();
                if let Some(ear) = heard.and_then(|voice| voice.ear.as_mut()) {
                    ear.hurry();
                }
            }
        }
    }

    /// What is hidden of what an ear of this stream hears.
    pub(super) fn cover_of(&self, now: Micros, ix: StreamIx) -> Option<Cover> {
        let source = self.heard_by_ear(ix)?;
        let is_own = source.ix == ix;
        cover(source, now).filter(|cover| is_own || cover.hides_from_all())
    }

    /// The look-back of what a key may begin to hide at any time of what an ear of this stream
    /// hears.
    pub(super) fn awaited_of(&self, ix: StreamIx) -> Option<u16> {
        let masked = self.heard_by_ear(ix)?.mask.as_ref();
        masked.and_then(|masked| masked.awaits())
    }

    /// The first sample of a packet that an ear of this stream hears, where it is the neighbour of
    /// the last one that the ear's listener was sent, in the packet before.
    pub(super) fn goes_on_with(&self, ix: StreamIx, packet: &RtpPacket<'_>) -> Option<i16> {
        let stream = &self.streams[usize::from(ix.0)];
        let voice = stream.voice.as_ref()?;
        let pt = packet.header().pt;
        let heard = voice.config.hears.iter().find(|heard| heard.pt == pt)?;
        let first = first_sample(heard.codec.kind, packet.payload())?;
        let source = self.heard_by_ear(ix)?;
        let incoming = incoming(source.ix, packet, source.types.describe(pt).clock_hz);
        let bridge = |bridge: BridgeIx| self.bridges.get(usize::from(bridge.0))?.as_ref();
        let listeners = match voice.bridge {
            Some(ix) => bridge(ix).and_then(|bridge| bridge.plain_pair()),
            None if stream.flags.listens => Some([ix; 2]),
            None => stream.to.map(|to| [to; 2]),
        };
        let listeners = listeners.into_iter().flatten();
        let mut egresses = listeners.map(|to| &self.streams[usize::from(to.0)].egress);
        egresses.any(|it| it.is_next(&incoming)).then_some(first)
    }

    /// Whose party an ear of this stream hears.
    fn heard_by_ear(&self, ix: StreamIx) -> Option<&Stream> {
        let stream = &self.streams[usize::from(ix.0)];
        let listens = stream.listens.as_ref().filter(|_| stream.flags.listens);
        match listens {
            None => Some(stream),
            Some(listening) => self.streams.get(usize::from(listening.source?.0)),
        }
    }
}

/// Triggers.
impl Call {
    pub(super) fn mask_key_down(&mut self, now: Micros, ix: StreamIx, press: &Press) {
        let masked = self.streams[usize::from(ix.0)].mask.as_mut();
        if masked.is_some_and(|masked| masked.key_down(now, press)) {
            self.log.push(now, ix, EventKind::MaskingBegan);
            self.remask(now, ix);
        }
        self.arm(mask_at(&self.streams[usize::from(ix.0)]));
    }

    pub(super) fn mask_key_up(&mut self, now: Micros, ix: StreamIx, press: &Press) {
        let stream = &mut self.streams[usize::from(ix.0)];
        if let Some(masked) = &mut stream.mask {
            masked.key_up(now, press);
            let at = masked.next_timeout();
            self.arm(at);
        }
    }

    /// What is due of a party's triggers.
    pub(super) fn mask_timeout(&mut self, now: Micros, ix: StreamIx) {
        let masked = self.streams[usize::from(ix.0)].mask.as_mut();
        if masked.is_some_and(|masked| masked.timeout(now)) {
            self.log.push(now, ix, EventKind::MaskingEnded);
            self.remask(now, ix);
            self.outputs = true;
        }
    }
}

/// When something is due on a party's triggers.
pub(super) fn mask_at(stream: &Stream) -> Micros {
    let masked = stream.mask.as_ref();
    masked.map_or(Micros::NEVER, |masked| masked.next_timeout())
}

/// What is hidden in what a party says.
fn cover(stream: &Stream, now: Micros) -> Option<Cover> {
    let masked = stream.mask.as_deref()?;
    let hides = masked.in_band && masked.mode.hides_tones();
    hides.then(|| Cover {
        mode: masked.mode.clone(),
        look_back_ms: masked.look_back_ms,
        seed: stream.lot(now).u64(..),
    })
}

/// The first sample of a payload of a codec without a memory.
fn first_sample(codec: CodecKind, payload: &[u8]) -> Option<i16> {
    match codec {
        CodecKind::Pcmu => payload.first().map(|octet| g711::ulaw_to_linear(*octet)),
        CodecKind::Pcma => payload.first().map(|octet| g711::alaw_to_linear(*octet)),
        CodecKind::L16 { .. } => payload.first_chunk().copied().map(i16::from_be_bytes),
        CodecKind::G722 | CodecKind::Opus => None,
    }
}

/// What a packet says of an event.
fn said(id: (u32, u32), payload: &[u8], clock_hz: u32) -> Said {
    let (mut ticks, mut ended) = (0, false);
    for event in TelephoneEvent::parse_all(payload) {
        ticks += u64::from(event.duration);
        ended |= event.end;
    }
    Said {
        id,
        duration_us: ticks * 1_000_000 / u64::from(clock_hz.max(1)),
        ended,
    }
}

/// Packets.
impl Call {
    /// A telephone-event of a party whose keys are masked: whether it goes to nobody. If not, it is
    /// edited for all who hear it.
    #[cold]
    pub(super) fn mask_event(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &mut RtpPacket<'_>,
    ) -> bool {
        let stream = &mut self.streams[usize::from(ix.0)];
        let mut lot = stream.lot(now);
        let Some(masked) = stream.mask.as_deref_mut() else {
            return false;
        };
        let header = *packet.header();
        let key = (header.ssrc, header.timestamp.0);
        let clock_hz = stream.types.describe(header.pt).clock_hz;
        let payload = packet.payload_mut();
        let said = said(key, payload, clock_hz);
        masked.inband.told(now, payload);
        if !names_key(payload) || !masked.hides(key, payload) {
            return false;
        }
        let Masked { mode, puts, .. } = masked;
        let replaces = matches!(mode, MaskMode::ZeroDigit | MaskMode::RandomDigit);
        if payload.len() >= EVENT_LEN && (replaces || puts.knows(key.0, key.1)) {
            puts.replace(key, payload, || match mode {
                MaskMode::RandomDigit => lot.u8(..RANDOM_DIGITS),
                _ => 0,
            });
            return false;
        }
        if matches!(mode, MaskMode::Silence | MaskMode::Tone { .. }) {
            self.each_ear(ix, |ear, _| ear.key_event(&said));
        }
        true
    }
}
