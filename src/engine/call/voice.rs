//! Legs that are decoded and mixed: which packets go to an ear, and what is said at each tick.

use std::net::SocketAddr;
use std::ops::Range;

use super::play::check_idle;
use super::{Call, origin};
use crate::audio::g711;
use crate::engine::api::*;
use crate::engine::egress::{Egress, Incoming};
use crate::engine::playout::{DELAY_MS_MAX, PacketInfo};
use crate::engine::stream::count;
use crate::engine::time::{Micros, gcd};
use crate::engine::voice::{
    BRIDGES_MAX, Bridge, BridgeConfig, BridgeIx, Companding, DECODERS_MAX, EDGES_MAX, Ear, Filler,
    Layers, Member, Mouth, Outbox, PTIME_MS, PlayoutBounds, Via, Voice, VoiceState, convert,
    is_noise, rate_of,
};
use crate::wire::rtp::RtpPacket;

/// Frames that are made up for after a stall; what is older is left out, so that a worker that
/// was stopped for a second does not flood its listeners.
pub const CATCH_UP_FRAMES_MAX: u64 = 5;

/// Packets are relayed again when none had to be decoded for this long: a party that mixes payload
/// types must not have an encoder made for each packet.
pub const RECODE_REST_US: u64 = 500_000;

/// A bridge nobody can size a frame for works with this.
const BRIDGE_FRAME_MS: u32 = 20;

/// Commands.
impl Call {
    pub(super) fn set_voice(
        &mut self,
        now: Micros,
        ix: StreamIx,
        voice: Voice,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        check_voice(&voice)?;
        let Some(state) = &mut stream.voice else {
            stream.voice = Some(Box::new(VoiceState::new(voice)));
            return Ok(());
        };
        if state.config == voice {
            return Ok(());
        }
        let bridge = state.bridge;
        let speechless = voice.speaks.is_none() && state.mouth.is_some();
        if let (Some(mouth), Some(spoken)) = (&mut state.mouth, &voice.speaks) {
            if state.config.speaks != voice.speaks {
                let sooner_us = mouth.drop_behind();
                stream.egress.said_early(mouth.ticks(sooner_us));
                let respelled = mouth.respell(spoken);
                let unsaid = respelled.map_err(|_| ChangeError::Codec(ix))?;
                pass_over(&mut stream.egress, unsaid);
            }
            mouth.idle.set(voice.idle);
        }
        if state.config.hears != voice.hears || state.config.playout != voice.playout {
            state.ear = None; // made anew, with the new decoders, by the next packet
        }
        state.config = voice;
        if speechless {
            // It accepts nothing that we could make: nothing is made for it any more.
            self.stop_all(now, ix.into());
            self.abandon_tones(now, ix);
            self.close_mouth(now, usize::from(ix.0));
        }
        if let Some(bridge) = bridge {
            self.recount_listeners(bridge);
            self.reshape(bridge);
            self.tell_ended(now, bridge.into());
            if self.voice_of(ix)?.config.speaks.is_some() && !self.passes_packets(bridge) {
                self.open_mouth(now, ix)?;
            }
            self.settle_pair(now, bridge);
        }
        self.tell_ended(now, ix.into());
        Ok(())
    }

    /// Declares a bridge.
    pub(super) fn bridge(
        &mut self,
        now: Micros,
        ix: BridgeIx,
        config: BridgeConfig,
    ) -> Result<(), ChangeError> {
        self.check_bridge(ix, &config)?;
        if self.keeps_passing(ix, &config) {
            return Ok(());
        }
        self.mix_pair(now, ix);
        for member in &config.members {
            self.open_mouth(now, member.stream)?.enter_bridge();
            let voice = self.voice_of(member.stream)?;
            if voice.bridge.replace(ix) != Some(ix) {
                voice.ear.iter_mut().for_each(|ear| ear.forget());
            }
        }
        for leg in 0..self.streams.len() {
            let stays = config
                .members
                .iter()
                .any(|m| usize::from(m.stream.0) == leg);
            let voice = self.streams[leg].voice.as_ref();
            if !stays && voice.is_some_and(|voice| voice.bridge == Some(ix)) {
                self.leave(now, ix, leg);
            }
        }
        let slot = usize::from(ix.0);
        if self.bridges.len() <= slot {
            self.bridges.resize_with(slot + 1, || None);
        }
        if config.members.is_empty() {
            self.stop_all(now, ix.into());
            self.bridges[slot] = None;
            return Ok(());
        }
        let bridge = self.bridges[slot].get_or_insert_with(|| Box::new(Bridge::new(now)));
        bridge.configure(config);
        self.reshape(ix);
        self.tell_ended(now, ix.into());
        self.settle_pair(now, ix);
        Ok(())
    }

    /// A leg is no member of a bridge any more.
    pub(super) fn leave(&mut self, now: Micros, ix: BridgeIx, leg: usize) {
        let bridge = self.bridges.get_mut(usize::from(ix.0));
        let mut bridge = bridge.and_then(|bridge| bridge.as_deref_mut());
        let left = self.streams[leg].ix;
        for listener in &mut self.streams {
            // Nobody outside is to miss the numbers of what was said inside.
            listener.egress.broke(left);
        }
        let stream = &mut self.streams[leg];
        let Some(voice) = &mut stream.voice else {
            return;
        };
        voice.bridge = None;
        voice.ear.iter_mut().for_each(|ear| ear.forget());
        let Some(mouth) = &mut voice.mouth else {
            stream.flags.speaks = false;
            return;
        };
        if let Some(bridge) = &mut bridge {
            bridge.dismiss(stream.ix, mouth);
        }
        let due = bridge.map_or(now, |bridge| bridge.next_at);
        let sooner_us = mouth.drop_behind();
        stream.egress.said_early(mouth.ticks(sooner_us));
        pass_over(&mut stream.egress, mouth.leave_bridge(due));
    }

    /// A member speaks another codec: it has left its common encoder.
    pub(super) fn recount_listeners(&mut self, ix: BridgeIx) {
        let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) else {
            return;
        };
        let streams = &self.streams;
        bridge.recount(|stream| {
            let voice = streams[usize::from(stream.0)].voice.as_ref()?;
            voice.mouth.as_ref()?.common
        });
    }

    fn check_bridge(&mut self, ix: BridgeIx, config: &BridgeConfig) -> Result<(), ChangeError> {
        if usize::from(ix.0) >= BRIDGES_MAX {
            return Err(ChangeError::TooManyBridges);
        }
        if config.edges.len() > EDGES_MAX {
            return Err(ChangeError::TooManyEdges);
        }
        let mut seen = vec![false; self.streams.len()];
        for member in &config.members {
            let stream = self.open_stream(member.stream)?;
            let voice = stream.voice.as_ref();
            let elsewhere = voice
                .and_then(|v| v.bridge)
                .is_some_and(|other| other != ix);
            let speaks = voice.is_some_and(|v| v.config.speaks.is_some());
            if stream.flags.listens {
                return Err(ChangeError::Listens(member.stream));
            }
            if !speaks {
                return Err(ChangeError::Codec(member.stream));
            }
            let twice = std::mem::replace(&mut seen[usize::from(member.stream.0)], true);
            if elsewhere || twice {
                return Err(ChangeError::Bridged(member.stream));
            }
        }
        Ok(())
    }

    /// Rate and frame of a bridge follow its members: the highest rate anyone speaks or hears,
    /// the longest frame that divides everybody's packets.
    pub(super) fn reshape(&mut self, ix: BridgeIx) {
        let Some(Some(bridge)) = self.bridges.get_mut(usize::from(ix.0)) else {
            return;
        };
        let (mut rate_hz, mut frame_ms) = (8_000, 0);
        for seat in &bridge.seats {
            let Some(voice) = &self.streams[usize::from(seat.member.stream.0)].voice else {
                continue;
            };
            if let Some(mouth) = &voice.mouth {
                rate_hz = rate_hz.max(mouth.rate_hz());
                let ptime_ms = u32::try_from(mouth.period_us() / 1_000).unwrap_or(0);
                frame_ms = gcd(frame_ms, ptime_ms);
            }
        }
        bridge.shape(
            rate_hz,
            if frame_ms == 0 {
                BRIDGE_FRAME_MS
            } else {
                frame_ms
            },
        );
    }

    pub(super) fn voice_of(&mut self, ix: StreamIx) -> Result<&mut VoiceState, ChangeError> {
        let voice = self.open_stream(ix)?.voice.as_deref_mut();
        voice.ok_or(ChangeError::Codec(ix))
    }

    /// The mouth of a leg, which from now on makes what its party hears.
    pub(super) fn open_mouth(
        &mut self,
        now: Micros,
        ix: StreamIx,
    ) -> Result<&mut Mouth, ChangeError> {
        let stream = self.open_stream(ix)?;
        let voice = stream.voice.as_deref_mut().ok_or(ChangeError::Codec(ix))?;
        if voice.mouth.is_none() {
            let spoken = voice.config.speaks.ok_or(ChangeError::Codec(ix))?;
            let mouth = Mouth::new(&spoken, voice.config.idle, now);
            let mut mouth = Box::new(mouth.map_err(|_| ChangeError::Codec(ix))?);
            let bridge = voice.bridge;
            if bridge.is_some() {
                mouth.enter_bridge(); // a member that found its codec again
            }
            voice.mouth = Some(mouth);
            stream.flags.speaks = true;
            bridge.into_iter().for_each(|bridge| self.reshape(bridge));
            self.schedule_report(now, ix);
            self.arm(now);
            self.mouths_at = self.mouths_at.min(now);
            self.frames = true;
            self.outputs = true; // so that the owner asks when it wants to be called next
        }
        let voice = self.streams[usize::from(ix.0)].voice.as_deref_mut();
        let mouth = voice.and_then(|voice| voice.mouth.as_deref_mut());
        mouth.ok_or(ChangeError::Codec(ix))
    }

    /// Nothing is left to be made for a leg: packets are relayed to it again.
    pub(super) fn close_mouth(&mut self, now: Micros, ix: usize) {
        let stream = &mut self.streams[ix];
        stream.flags.speaks = false;
        let mouth = stream.voice.as_ref().and_then(|voice| voice.mouth.as_ref());
        if let Some(source) = mouth.and_then(|mouth| mouth.source) {
            let heard = self.streams[usize::from(source.0)].voice.as_mut();
            let ear = heard.and_then(|voice| voice.ear.as_mut());
            ear.into_iter().for_each(|ear| ear.lose_track());
        }
        let stream = &mut self.streams[ix];
        if let Some(voice) = &mut stream.voice {
            voice.mouth = None;
            voice.converter = None;
            voice.catches_up = None;
            // A member of a bridge is sent nothing else, even while it cannot be sent that.
            stream.flags.speaks = voice.bridge.is_some();
        }
        stream.egress.rest();
        let ix = stream.ix;
        self.schedule_report(now, ix);
    }
}

/// Packets.
impl Call {
    /// Takes an accepted audio packet into its party's ear.
    pub(super) fn listen(&mut self, now: Micros, ix: StreamIx, packet: &RtpPacket<'_>) {
        let header = *packet.header();
        let Some(voice) = &mut self.streams[usize::from(ix.0)].voice else {
            return;
        };
        let Some(rate_hz) = rate_of(&voice.config, header.pt) else {
            // Comfort noise is heard by the ear that heard the speech before it.
            if let Some(ear) = voice.ear.as_mut().filter(|_| is_noise(header.pt)) {
                ear.insert(now, &info_of(packet), packet.payload());
            }
            return;
        };
        let ear = voice.ear.as_ref();
        if ear.is_none_or(|ear| ear.rate_hz() != rate_hz) {
            if !ear.is_none_or(|ear| ear.may_go(now)) {
                return;
            }
            self.make_ear(now, ix, header.pt);
        }
        let goes_on = self.goes_on_with(ix, packet);
        let voice = self.streams[usize::from(ix.0)].voice.as_mut();
        if let Some(ear) = voice.and_then(|voice| voice.ear.as_mut()) {
            goes_on.into_iter().for_each(|first| ear.go_on(first));
            ear.insert(now, &info_of(packet), packet.payload());
        }
    }

    /// Makes an ear for what a party says, or for what the one says whom it listens to.
    pub(super) fn make_ear(&mut self, now: Micros, ix: StreamIx, pt: u8) {
        let (cover, awaited) = (self.cover_of(now, ix), self.awaited_of(ix));
        let Some(voice) = &mut self.streams[usize::from(ix.0)].voice else {
            return;
        };
        voice.ear = Ear::new(&voice.config, pt, now).map(Box::new);
        if let Some(ear) = &mut voice.ear {
            cover.iter().for_each(|cover| ear.veil(cover));
            ear.stand_by(awaited);
        }
    }

    /// Whether this party's packets are mixed rather than relayed.
    #[inline]
    pub(super) fn is_bridged(&self, ix: StreamIx) -> bool {
        let voice = self.streams[usize::from(ix.0)].voice.as_ref();
        voice.is_some_and(|voice| voice.bridge.is_some())
    }

    /// A packet for a leg that we make frames for, or must make them for. `None`: relay it.
    #[cold]
    pub(super) fn recode(
        &mut self,
        now: Micros,
        ix: StreamIx,
        to: StreamIx,
        via: Via,
        packet: &RtpPacket<'_>,
    ) -> Option<Result<(), DropReason>> {
        if self.is_bridged(to) {
            return Some(Err(DropReason::NotHeard)); // it hears its bridge
        }
        let listener = &self.streams[usize::from(to.0)];
        let (mixes, keyed) = (listener.mixes_branches(), listener.flags.keyed);
        if via == Via::Decode || mixes {
            match self.open_mouth(now, to) {
                Ok(mouth) => {
                    mouth.recodes = true;
                    mouth.recoded_at = (via == Via::Decode).then_some(now).or(mouth.recoded_at);
                }
                Err(_) => return Some(Err(DropReason::UnknownPayloadType)),
            }
        }
        let voice = self.streams[usize::from(to.0)].voice.as_deref_mut()?;
        let mouth = voice.mouth.as_deref_mut()?;
        let recoded = mouth.recoded_at;
        let rests = recoded.is_none_or(|at| now.since(at) >= RECODE_REST_US);
        let needed = via == Via::Decode || mixes || keyed;
        if !needed && voice.catches_up.is_none() && rests {
            mouth.recodes = false;
            if mouth.plays_nothing() {
                self.close_mouth(now, usize::from(to.0));
                return None;
            }
        }
        let before = mouth.source.replace(ix);
        let wanted = mouth.wants_source();
        if before != Some(ix) && ix != to && !mixes {
            self.log.push(now, to, EventKind::SourceChanged(ix));
        }
        if wanted {
            self.listen(now, ix, packet);
        }
        Some(Ok(()))
    }

    /// Numbers of a telephone-event packet between frames of our own.
    pub(super) fn pass_event(
        &mut self,
        now: Micros,
        to: StreamIx,
        incoming: &Incoming,
    ) -> crate::engine::egress::Outgoing {
        let stream = &mut self.streams[usize::from(to.0)];
        let mut apart = stream.lot(now);
        let random = match stream.flags.listens {
            true => &mut apart,
            false => &mut self.random,
        };
        let voice = stream.voice.as_deref_mut();
        if let Some(mouth) = voice.and_then(|voice| voice.mouth.as_deref_mut()) {
            mouth.hush(now);
        }
        stream.egress.event(now, incoming, || origin(random))
    }
}

/// Ticks.
impl Call {
    /// When the next frame is due.
    pub(super) fn next_frame(&self) -> Micros {
        let bridges = self.bridges.iter().flatten().map(|bridge| bridge.next_at);
        bridges.fold(self.mouths_at, Micros::min)
    }

    /// When the next frame is due outside the bridges. O(streams).
    pub(super) fn next_mouth(&self) -> Micros {
        let mouths = self.streams.iter().filter_map(|stream| {
            let mouth = stream.voice.as_ref()?.mouth.as_ref()?;
            (!stream.flags.closed).then_some(mouth.next_at)
        });
        mouths.min().unwrap_or(Micros::NEVER)
    }

    /// Makes the frames that are due.
    pub(super) fn speak_due(&mut self, now: Micros) {
        if self.mouths_at <= now {
            for ix in 0..self.streams.len() {
                while let Some(at) = self.mouth_due(now, ix) {
                    self.late_us = self.late_us.max(Some(now.since(at)));
                    self.speak(now, ix);
                }
            }
        }
        for ix in 0..self.bridges.len() {
            self.speak_behind(now, ix);
            while let Some(at) = self.bridge_due(now, ix) {
                self.late_us = self.late_us.max(Some(now.since(at)));
                self.mix(now, at, ix);
                self.speak_behind(now, ix);
            }
        }
        if self.mouths_at <= now {
            self.mouths_at = self.next_mouth();
        }
    }

    /// When a leg's frame was due, if it was; what is too late to make up for is passed over.
    fn mouth_due(&mut self, now: Micros, ix: usize) -> Option<Micros> {
        let stream = &mut self.streams[ix];
        if stream.flags.closed {
            return None;
        }
        let beat = Self::gather_beat(stream);
        let mouth = stream.voice.as_mut()?.mouth.as_mut()?;
        if mouth.next_at > now || mouth.is_behind() {
            return None;
        }
        let period_us = mouth.period_us();
        let behind = now.since(mouth.next_at) / period_us;
        for _ in CATCH_UP_FRAMES_MAX..behind {
            stream.egress.pause(mouth.frame_ticks());
            mouth.next_at = mouth.next_at.plus(period_us);
        }
        let due = mouth.next_at;
        let waits_us = Self::gather_waits_us(beat, mouth, due);
        if waits_us > 0 {
            mouth.next_at = due.plus(waits_us);
            stream.egress.pause(mouth.ticks(waits_us));
            return None;
        }
        mouth.next_at = due.plus(period_us);
        Some(due)
    }

    fn bridge_due(&mut self, now: Micros, ix: usize) -> Option<Micros> {
        let bridge = self.bridges.get_mut(ix)?.as_mut()?;
        if bridge.next_at > now {
            return None;
        }
        let period_us = bridge.period_us();
        let behind = now.since(bridge.next_at) / period_us;
        let skipped_us = behind.saturating_sub(CATCH_UP_FRAMES_MAX) * period_us;
        if skipped_us > 0 {
            for seat in &bridge.seats {
                let stream = &mut self.streams[usize::from(seat.member.stream.0)];
                let mouth = stream.voice.as_mut().and_then(|voice| voice.mouth.as_mut());
                let mouth = mouth.filter(|mouth| mouth.has_joined());
                let ticks = mouth.map_or(0, |mouth| {
                    mouth.skip(skipped_us);
                    mouth.ticks(skipped_us)
                });
                pass_over(&mut stream.egress, ticks);
            }
            bridge.next_at = bridge.next_at.plus(skipped_us);
        }
        let due = bridge.next_at;
        bridge.next_at = due.plus(period_us);
        Some(due)
    }

    /// One frame for a leg outside any bridge: whom it is linked to, and what is played.
    fn speak(&mut self, now: Micros, ix: usize) {
        let Some(mut mouth) = self.take_mouth(ix) else {
            return;
        };
        let mut space = std::mem::take(&mut self.space);
        let pcm = room(&mut space.pcm, mouth.frame_samples());
        let speaks = mouth.wants_source()
            && match mouth.source {
                _ if self.streams[ix].mixes_branches() => self.pull_branches(now, ix, &mouth, pcm),
                Some(from) => self.pull(now, from, &mouth, pcm),
                None => false,
            };
        self.say(now, ix, &mut mouth, speaks, &mut space);
        self.hand_back(now, ix, &mut mouth, &mut space);
        self.space = space;
        let rests = mouth.plays_nothing() && !mouth.recodes && !mouth.idle.sounds();
        self.give_mouth(ix, mouth);
        self.tell_ended(now, self.streams[ix].ix.into());
        if rests && !self.gather_waits(now, ix) {
            self.close_mouth(now, ix);
        }
    }

    pub(super) fn take_mouth(&mut self, ix: usize) -> Option<Box<Mouth>> {
        self.streams[ix].voice.as_mut()?.mouth.take()
    }

    pub(super) fn give_mouth(&mut self, ix: usize, mouth: Box<Mouth>) {
        if let Some(voice) = &mut self.streams[ix].voice {
            voice.mouth = Some(mouth);
        }
    }

    /// One frame of what `from` says, at a mouth's rate; nothing of a member of a bridge, whom only
    /// the bridge hears.
    pub(super) fn pull(
        &mut self,
        now: Micros,
        from: StreamIx,
        mouth: &Mouth,
        pcm: &mut [i16],
    ) -> bool {
        let voice = self.streams[usize::from(from.0)].voice.as_mut();
        let Some(voice) = voice.filter(|voice| voice.bridge.is_none()) else {
            return false;
        };
        let Some(ear) = &mut voice.ear else {
            return false;
        };
        let (ear_hz, rate_hz) = (ear.rate_hz(), mouth.rate_hz());
        let pressed = &mut self.pressed;
        let mut tell = |what| pressed.push((from, what));
        if ear_hz == rate_hz {
            let spoke = ear.pull(now, pcm);
            ear.tell(&mut tell);
            return spoke;
        }
        let raw = room(&mut self.raw_pcm, mouth.frame_samples_at(ear_hz));
        let spoke = ear.pull(now, raw);
        ear.tell(&mut tell);
        convert(&mut voice.converter, ear_hz, rate_hz, raw, pcm) && spoke
    }

    /// Sends the frame at the front of `space.pcm`, or lets its time pass.
    pub(super) fn say(
        &mut self,
        now: Micros,
        ix: usize,
        mouth: &mut Mouth,
        speaks: bool,
        space: &mut Workspace,
    ) {
        let n = mouth.frame_samples();
        let pcm = room(&mut space.pcm, n);
        let audible = mouth.voice_over(pcm, speaks, &mut space.layers);
        let audible = self.sound_keys(now, ix, mouth, pcm) || audible;
        let Some(to) = self.target(now, ix, mouth) else {
            mouth.idle.interrupt();
            self.streams[ix].egress.pause(mouth.frame_ticks());
            return;
        };
        let filler = match audible {
            true => None,
            false => Some(mouth.fill_silence(pcm)),
        };
        match filler {
            None | Some(Filler::Samples) => {
                let encoded = room(&mut space.encoded, mouth.encoded_max());
                let len = mouth.encode(pcm, encoded);
                self.post(now, ix, mouth, to, &encoded[..len]);
            }
            Some(Filler::Nothing) => self.streams[ix].egress.pause(mouth.frame_ticks()),
            Some(Filler::Described { pt, payload, len }) => {
                self.describe_noise(now, ix, mouth, to, (pt, &payload[..len]));
            }
        }
        if audible {
            mouth.idle.interrupt();
        }
    }

    /// Where a leg's frames go, if it may be sent any now.
    fn target(&self, now: Micros, ix: usize, mouth: &Mouth) -> Option<(PortHandle, SocketAddr)> {
        let stream = &self.streams[ix];
        let may = stream.flags.receives && !stream.flags.keyed && !mouth.is_hushed(now);
        stream.rtp_target().filter(|_| may)
    }

    /// Queues an encoded frame under the stream's next numbers. An empty one is not sent: its
    /// codec says that nothing is to be (DTX).
    fn post(
        &mut self,
        now: Micros,
        ix: usize,
        mouth: &mut Mouth,
        (port, to): (PortHandle, SocketAddr),
        payload: &[u8],
    ) {
        let stream = &mut self.streams[ix];
        let mut apart = stream.lot(now);
        let random = match stream.flags.listens {
            true => &mut apart,
            false => &mut self.random,
        };
        if payload.is_empty() {
            stream.egress.pause(mouth.frame_ticks());
            return;
        }
        let numbers = stream
            .egress
            .frame(now, mouth.frame_ticks(), mouth.clock_hz(), || {
                origin(random)
            });
        stream.egress.sent(payload.len());
        count(&mut stream.rtp_out, Outbox::packet_len(payload.len()));
        self.outbox.push(port, to, mouth.pt, &numbers, payload);
        if stream.flags.sent_taped {
            let (recorded, sent) = (stream.recorded.as_deref(), self.outbox.latest());
            self.recordings.sent(now, recorded, false, sent);
        }
        mouth.players.sent();
    }

    /// Queues a description of noise in the place of a frame (RFC 3389): no speech, so it has no
    /// marker, and the first frame behind it has one.
    fn describe_noise(
        &mut self,
        now: Micros,
        ix: usize,
        mouth: &Mouth,
        (port, to): (PortHandle, SocketAddr),
        (pt, payload): (u8, &[u8]),
    ) {
        let random = &mut self.random;
        let stream = &mut self.streams[ix];
        let ticks = mouth.frame_ticks();
        let numbers = stream
            .egress
            .noise(now, ticks, mouth.clock_hz(), || origin(random));
        stream.egress.sent(payload.len());
        count(&mut stream.rtp_out, Outbox::packet_len(payload.len()));
        self.outbox.push(port, to, pt, &numbers, payload);
        if stream.flags.sent_taped {
            let (recorded, sent) = (stream.recorded.as_deref(), self.outbox.latest());
            self.recordings.sent(now, recorded, false, sent);
        }
    }

    /// One frame of a bridge, which was due at `due`: everybody is heard, then everybody hears.
    fn mix(&mut self, now: Micros, due: Micros, ix: usize) {
        let Some(mut bridge) = self.bridges[ix].take() else {
            return;
        };
        for seat in 0..bridge.seats.len() {
            let member = bridge.seats[seat].member;
            let stream = &mut self.streams[usize::from(member.stream.0)];
            let sends = stream.flags.sends && !stream.flags.blocked && !stream.flags.closed;
            let wanted = sends && bridge.is_wanted(seat);
            let ear = stream.voice.as_mut().and_then(|voice| voice.ear.as_mut());
            match ear {
                Some(ear) if wanted => {
                    bridge.take(seat, ear.rate_hz(), |pcm| ear.pull(now, pcm));
                    let pressed = &mut self.pressed;
                    ear.tell(&mut |what| pressed.push((member.stream, what)));
                }
                Some(ear) => {
                    // What is said while nobody may hear it is not kept for later.
                    ear.forget();
                    bridge.skip(seat);
                }
                None => bridge.skip(seat),
            }
        }
        bridge.sum_up();
        self.part_ways(&mut bridge);
        let mut space = std::mem::take(&mut self.space);
        let mut reached = false;
        for seat in 0..bridge.seats.len() {
            reached |= self.say_mixed(now, due, &mut bridge, seat, &mut space);
        }
        self.space = space;
        if reached {
            bridge.players.sent();
        }
        let pair = bridge.plain_pair().is_some();
        self.bridges[ix] = Some(bridge);
        if let Ok(ix) = u8::try_from(ix) {
            self.tell_ended(now, BridgeIx(ix).into());
            if pair {
                self.settle_pair(now, BridgeIx(ix));
            }
        }
    }

    /// Before anything common is encoded: who does not hear it in this frame leaves it.
    fn part_ways(&mut self, bridge: &mut Bridge) {
        for seat in 0..bridge.seats.len() {
            let Member {
                stream, listens, ..
            } = bridge.seats[seat].member;
            let voice = self.streams[usize::from(stream.0)].voice.as_mut();
            let Some(mouth) = voice.and_then(|voice| voice.mouth.as_mut()) else {
                continue;
            };
            let shared = bridge.hears_any(seat) || !mouth.idle.is_encoded();
            let stays = listens
                && shared
                && bridge.hears_common(seat)
                && mouth.takes_whole(bridge.frame_ms());
            if mouth.common.is_some() && !stays {
                bridge.part(seat, mouth);
            }
        }
    }

    /// What one seat of a bridge hears. Returns whether it is sent what it hears of the others.
    fn say_mixed(
        &mut self,
        now: Micros,
        due: Micros,
        bridge: &mut Bridge,
        seat: usize,
        space: &mut Workspace,
    ) -> bool {
        let Member {
            stream, listens, ..
        } = bridge.seats[seat].member;
        let ix = usize::from(stream.0);
        let Some(mut mouth) = self.take_mouth(ix) else {
            return false;
        };
        let reached = listens && self.target(now, ix, &mouth).is_some();
        if let Some(ticks) = mouth.joins(due) {
            pass_over(&mut self.streams[ix].egress, ticks);
            let len = mouth.rate_hz() as usize / 1_000 * bridge.frame_ms() as usize;
            self.keep_step(ix, due, len, &mut mouth);
            let speaks = listens && bridge.hears_any(seat);
            let shares =
                speaks && bridge.hears_common(seat) && mouth.takes_whole(bridge.frame_ms());
            if !shares || !self.say_common(now, ix, bridge, &mut mouth) {
                self.say_own(now, ix, bridge, seat, &mut mouth, speaks, space);
            }
        }
        if !reached {
            mouth.silence_pending();
        }
        self.give_mouth(ix, mouth);
        self.tell_ended(now, stream.into());
        reached
    }

    /// Sends what is encoded for all who hear the same; `false`: this mouth cannot have it.
    fn say_common(
        &mut self,
        now: Micros,
        ix: usize,
        bridge: &mut Bridge,
        mouth: &mut Mouth,
    ) -> bool {
        let target = self.target(now, ix, mouth);
        let Some(payload) = bridge.common_for(mouth) else {
            return false;
        };
        mouth.idle.interrupt();
        match target {
            Some(to) => self.post(now, ix, mouth, to, payload),
            None => self.streams[ix].egress.pause(mouth.frame_ticks()),
        }
        true
    }

    /// Sends a mix that is encoded for this seat alone.
    #[allow(
        clippy::too_many_arguments,
        reason = "parts of one call that are borrowed apart"
    )]
    fn say_own(
        &mut self,
        now: Micros,
        ix: usize,
        bridge: &mut Bridge,
        seat: usize,
        mouth: &mut Mouth,
        speaks: bool,
        space: &mut Workspace,
    ) {
        let n = mouth.rate_hz() as usize / 1_000 * bridge.frame_ms() as usize;
        let pcm = room(&mut space.pcm, n.max(mouth.frame_samples()));
        if speaks {
            let mixed = room(&mut self.raw_pcm, bridge.frame_samples());
            mix_at_rate(bridge, seat, mouth.rate_hz(), mixed, &mut pcm[..n]);
        }
        if let Some(speaks) = mouth.collect(pcm, n, speaks) {
            self.say(now, ix, mouth, speaks, space);
        }
    }

    /// The bytes of a packet that [`Output::Media`] names.
    #[must_use]
    pub fn media(&self, range: Range<usize>) -> &[u8] {
        self.outbox.bytes(range)
    }

    /// Whether it makes frames, so that its timers must be exact.
    #[must_use]
    pub fn makes_frames(&self) -> bool {
        self.frames
    }

    /// How late the frames of this tick were made, in microseconds, if there were any; once.
    pub fn take_lateness_us(&mut self) -> Option<u64> {
        self.late_us.take()
    }
}

/// What playout needs to know of a packet.
pub(super) fn info_of(packet: &RtpPacket<'_>) -> PacketInfo {
    let header = packet.header();
    PacketInfo {
        ssrc: header.ssrc,
        seq: header.seq,
        timestamp: header.timestamp,
        pt: header.pt,
        marker: header.marker,
    }
}

/// Memory for one frame at work, used again for the next: of the longest that was made so far, so
/// that a call of narrow-band legs takes little.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) pcm: Vec<i16>,
    encoded: Vec<u8>,
    layers: Layers,
}

/// The first `len` of a memory that grows where it must, by no more than a longest frame.
pub(super) fn room<T: Copy + Default>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
    &mut memory[..len]
}

/// Time passes in which a leg is sent nothing of its own.
pub(super) fn pass_over(egress: &mut Egress, ticks: u32) {
    if ticks > 0 {
        egress.pause(ticks);
    }
}

/// Mixes for a seat, converted to its mouth's rate. `mixed` has room for a frame of the bridge.
fn mix_at_rate(bridge: &mut Bridge, seat: usize, rate_hz: u32, mixed: &mut [i16], pcm: &mut [i16]) {
    if bridge.rate_hz() == rate_hz {
        bridge.mix_for(seat, pcm);
        return;
    }
    bridge.mix_for(seat, mixed);
    let from_hz = bridge.rate_hz();
    if !bridge.seats[seat].outward(from_hz, rate_hz, mixed, pcm) {
        pcm.fill(0);
    }
}

/// Converts a payload between the laws of G.711, in place.
pub(super) fn compand(companding: Companding, payload: &mut [u8]) {
    match companding {
        Companding::UlawToAlaw => g711::ulaw_to_alaw(payload),
        Companding::AlawToUlaw => g711::alaw_to_ulaw(payload),
    }
}

fn check_voice(voice: &Voice) -> Result<(), ChangeError> {
    if voice.hears.len() > DECODERS_MAX {
        return Err(ChangeError::TooManyPayloadTypes);
    }
    let spoken = voice.speaks.iter();
    let pts = voice.hears.iter().map(|heard| heard.pt);
    if let Some(pt) = pts.chain(spoken.clone().map(|s| s.pt)).find(|pt| *pt > 127) {
        return Err(ChangeError::PayloadType(pt));
    }
    let PlayoutBounds {
        min_ms,
        max_ms,
        fixed_ms,
    } = voice.playout;
    if min_ms > max_ms || max_ms.max(fixed_ms.unwrap_or(0)) > DELAY_MS_MAX {
        return Err(ChangeError::Playout(min_ms, max_ms));
    }
    let good = |ptime: u8| PTIME_MS.contains(&ptime) && ptime.is_multiple_of(10);
    match spoken.map(|s| s.ptime_ms).find(|ptime| !good(*ptime)) {
        Some(ptime) => Err(ChangeError::Ptime(ptime)),
        None => check_idle(voice.idle),
    }
}
