//! Keys that we press for a listener: by command, or for a key of another party that cannot get
//! there as it is.

use super::*;
use crate::engine::digits::{
    DIGITS_MAX, Due, EventType, KEY_VOLUME, KEY_VOLUME_MAX, Keys, SendDigits, Turn,
};
use crate::engine::voice::{Mouth, Outbox};
use crate::wire::event::EventCode;
use crate::wire::rtp::RtpPacket;

/// Packets of an event are so far apart where the listener's packet time is not known: what most
/// audio has (RFC 4733 §2.5.1.2).
const EVENT_INTERVAL_US: u64 = 20_000;

/// Commands.
impl Call {
    /// What a party accepts.
    pub(super) fn set_event_type(
        &mut self,
        ix: StreamIx,
        kind: Option<EventType>,
    ) -> Result<(), ChangeError> {
        if let Some(kind) = kind
            && (kind.pt > 127 || !(1..=CLOCK_HZ_MAX).contains(&kind.clock_hz))
        {
            return Err(ChangeError::PayloadType(kind.pt));
        }
        let stream = self.open_stream(ix)?;
        let keys = stream.keys.get_or_insert_default();
        (keys.kind, keys.is_told) = (kind, true);
        Ok(())
    }

    pub(super) fn send_digits(
        &mut self,
        now: Micros,
        digits: &SendDigits,
    ) -> Result<(), ChangeError> {
        let to = digits.to;
        if self.open_stream(to)?.flags.listens {
            return Err(ChangeError::Undialable(to));
        }
        let waiting = self.streams[usize::from(to.0)].keys.as_ref();
        let fits = waiting.map_or(digits.steps.len() <= DIGITS_MAX, |keys| {
            keys.dialer.has_room(digits.steps.len())
        });
        if !fits || !digits.is_sound() {
            return Err(ChangeError::Dial);
        }
        self.begin_keys(now, to)?.dialer.push(digits);
        self.press_on(now, to);
        Ok(())
    }

    pub(super) fn stop_digits(&mut self, now: Micros, ix: StreamIx) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if let Some(keys) = &mut stream.keys {
            keys.dialer.stop(now);
            self.settle_keys(now, usize::from(ix.0));
        }
        Ok(())
    }

    /// The listener goes.
    pub(super) fn abandon_keys(&mut self, now: Micros, ix: StreamIx) {
        self.end_repressing(now, ix);
        self.tone_ends(now, ix, None);
        self.drop_keys(now, ix);
    }

    /// It can be sent nothing, because it is gone or on hold: nothing more is pressed for it.
    pub(super) fn drop_keys(&mut self, now: Micros, ix: StreamIx) {
        let stream = self.streams.get_mut(usize::from(ix.0));
        if let Some(keys) = stream.and_then(|stream| stream.keys.as_mut()) {
            keys.dialer.abandon(now);
            self.settle_keys(now, usize::from(ix.0));
        }
    }

    /// It speaks nothing that we could make any more.
    pub(super) fn abandon_tones(&mut self, now: Micros, ix: StreamIx) {
        let keys = self.streams[usize::from(ix.0)].keys.as_ref();
        if keys.is_some_and(|keys| keys.dialer.needs_frames()) {
            self.abandon_keys(now, ix);
        }
    }
}

/// Presses of unknown length.
impl Call {
    /// A party's key goes down for a listener, until [`Call::key_up`], a minute at most: as a
    /// telephone-event where it accepts them, else as a tone in the place of its audio. It waits
    /// for keys that are being pressed. `level` is that of both tones together in dBm0. `false`:
    /// the listener cannot be sent it.
    pub(super) fn key_down(
        &mut self,
        now: Micros,
        (by, to): (StreamIx, StreamIx),
        code: EventCode,
        level: Option<i8>,
    ) -> bool {
        let volume = level.map_or(KEY_VOLUME, |dbm0| dbm0.min(0).unsigned_abs());
        let volume = volume.min(KEY_VOLUME_MAX);
        let Ok(keys) = self.begin_keys(now, to) else {
            return false;
        };
        let held = keys.dialer.hold(now, by, code, volume);
        self.press_on(now, to);
        held
    }

    /// It comes up, of several the one of this code if one is given; `duration_us` is how long it
    /// was down, if that is known better than by `now`.
    pub(super) fn key_up(
        &mut self,
        now: Micros,
        (by, to): (StreamIx, StreamIx),
        code: Option<EventCode>,
        duration_us: Option<u64>,
    ) {
        let stream = self.streams.get_mut(usize::from(to.0));
        if let Some(keys) = stream.and_then(|stream| stream.keys.as_mut()) {
            keys.dialer.release(now, (by, code), duration_us);
        }
    }
}

/// Pressing.
impl Call {
    /// The keys of a listener that can be pressed for it.
    fn begin_keys(&mut self, now: Micros, to: StreamIx) -> Result<&mut Keys, ChangeError> {
        let refused = ChangeError::Undialable(to);
        let stream = self.open_stream(to)?;
        if stream.config.payload != Payload::Rtp || !stream.flags.receives {
            return Err(refused);
        }
        if stream.keys.get_or_insert_default().dialer.is_idle() {
            let tones = self.event_kind(to).is_none();
            if tones {
                let spoken = self.voice_of(to).map(|voice| voice.config.speaks);
                spoken.ok().flatten().ok_or(refused)?;
                self.mix_pair_of(now, to);
                self.open_mouth(now, to).map_err(|_| refused)?.keyed = true;
            }
            let stream = &mut self.streams[usize::from(to.0)];
            stream.keys.get_or_insert_default().dialer.begin(now, tones);
        }
        let keys = self.streams[usize::from(to.0)].keys.as_deref_mut();
        keys.ok_or(refused)
    }

    fn press_on(&mut self, now: Micros, to: StreamIx) {
        self.keys_of(now, usize::from(to.0));
        self.keys_at = self.next_key();
        self.schedule_frames();
        self.outputs = true; // so that the owner asks when it wants to be called next
    }

    /// When a key is due next. O(streams).
    pub(super) fn next_key(&self) -> Micros {
        let streams = self.streams.iter().filter(|stream| !stream.flags.closed);
        let keys = streams.map(|stream| {
            let keys = stream.keys.as_ref();
            let due = keys.map_or(Micros::NEVER, |keys| keys.dialer.due());
            due.min(Self::next_repressed(stream))
                .min(Self::next_rested(stream))
        });
        keys.min().unwrap_or(Micros::NEVER)
    }

    /// Sends what is due of all keys.
    pub(super) fn keys_due(&mut self, now: Micros) {
        if self.keys_at <= now {
            for ix in 0..self.streams.len() {
                self.repress_due(now, ix);
                self.rest_due(now, ix);
                self.keys_of(now, ix);
            }
            self.keys_at = self.next_key();
        }
    }

    /// Sends what is due of one listener's keys.
    fn keys_of(&mut self, now: Micros, ix: usize) {
        let kind = self.event_kind(self.streams[ix].ix);
        let stream = &mut self.streams[ix];
        let spoken = stream.voice.as_ref().and_then(|voice| voice.config.speaks);
        let clock_hz = spoken.map(|spoken| spoken.codec.kind.clock_hz());
        let interval_us = spoken.map_or(EVENT_INTERVAL_US, |s| u64::from(s.ptime_ms) * 1_000);
        let may = stream.flags.receives && !stream.flags.closed;
        let target = stream.rtp_target().filter(|_| may);
        let Some(keys) = &mut stream.keys else {
            return;
        };
        while keys.dialer.due() <= now {
            let due = keys.dialer.tick(now, kind, interval_us);
            let (Some(due), Some((port, to))) = (due, target) else {
                continue;
            };
            let Due {
                packet,
                pt,
                timestamp,
            } = due;
            let clock_hz = clock_hz
                .or_else(|| kind.map(|kind| kind.clock_hz))
                .unwrap_or(8_000);
            let random = &mut self.random;
            let began = match *timestamp {
                Some(began) => began,
                None => {
                    let fresh = || origin(random);
                    *timestamp.insert(stream.egress.press(now, clock_hz, fresh))
                }
            };
            let at = began.plus(packet.offset_ticks);
            let numbers = stream.egress.press_packet(at, packet.marker);
            stream.egress.sent(packet.payload.len());
            count(
                &mut stream.rtp_out,
                Outbox::packet_len(packet.payload.len()),
            );
            self.outbox.push(port, to, pt, &numbers, &packet.payload);
            if stream.flags.sent_taped {
                let (recorded, sent) = (stream.recorded.as_deref(), self.outbox.latest());
                self.recordings.sent(now, recorded, true, sent);
            }
        }
        self.settle_keys(now, ix);
    }

    /// After anything that changed a listener's keys.
    fn settle_keys(&mut self, now: Micros, ix: usize) {
        let stream = &mut self.streams[ix];
        let Some(keys) = &mut stream.keys else {
            return;
        };
        stream.flags.keyed = keys.dialer.hushes();
        let voice = stream.voice.as_deref_mut();
        if let Some(mouth) = voice.and_then(|voice| voice.mouth.as_deref_mut()) {
            mouth.keyed = keys.dialer.needs_frames();
        }
        while let Some(report) = keys.dialer.next_ended() {
            self.log.push(now, stream.ix, EventKind::DigitsSent(report));
            self.outputs = true;
        }
    }

    /// Puts the tones of a listener's keys into its frame. Returns whether any are there.
    pub(super) fn sound_keys(
        &mut self,
        now: Micros,
        ix: usize,
        mouth: &mut Mouth,
        pcm: &mut [i16],
    ) -> bool {
        if !mouth.keyed {
            return false;
        }
        let Some(keys) = &mut self.streams[ix].keys else {
            mouth.keyed = false;
            return false;
        };
        let sounds = keys.dialer.sound(pcm, mouth.rate_hz());
        mouth.keyed = keys.dialer.needs_frames();
        self.settle_keys(now, ix);
        sounds
    }
}

impl Stream {
    /// While keys of our own are told to it, nothing else is. Returns whether a telephone-event is
    /// to be pressed anew behind them, so that no key is missing.
    pub(super) fn yield_to_keys(
        &mut self,
        packet: &RtpPacket<'_>,
        event: bool,
    ) -> Result<bool, DropReason> {
        let presses = self.flags.keyed;
        if !event {
            return match presses {
                true => Err(DropReason::NotHeard),
                false => Ok(false),
            };
        }
        let header = packet.header();
        let name = (header.ssrc, header.timestamp.0);
        let passed = self.event_passed;
        let keys = self.keys.as_mut();
        match keys.map_or(Turn::Passes, |keys| keys.turn(name, presses, passed)) {
            Turn::Passes => {
                self.event_passed = Some(name);
                Ok(false)
            }
            Turn::Waits => Ok(true),
            Turn::Over => Err(DropReason::NotHeard),
        }
    }
}
