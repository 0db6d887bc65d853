//! Presses of keys: the one place where all who care learn of them.
//!
//! A leg listens by command ([`Change::Digits`]). Only what its party may say counts: packets that
//! are not of the accepted source, those out of any sequence, and those of a party that is blocked
//! or held by its own SDP are not heard. One that is silenced is: others do not hear it, but it may
//! press a key to be heard again. Nothing here changes a packet, or what anybody is sent.

use super::*;
use crate::audio::codec::{CodecConfig, CodecKind};
use crate::engine::digits::{Audio, Digits, DigitsConfig, EventPacket, Press, Told, names_key};
use crate::engine::fork::Law;

impl Call {
    /// What to listen for on a party; nothing ends what lasts.
    pub(super) fn set_digits(
        &mut self,
        now: Micros,
        ix: StreamIx,
        config: Option<DigitsConfig>,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if stream.config.payload != Payload::Rtp {
            return Err(ChangeError::Digits(ix));
        }
        match (config.filter(|config| config.listens()), &mut stream.digits) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return self.end_digits(now, ix),
            (Some(config), Some(digits)) => digits.configure(now, config),
            (Some(config), none) => {
                *none = Some(Box::new(Digits::new(config)));
                stream.flags.digits = true;
            }
        }
        self.tell_digits(now, ix);
        Ok(())
    }

    /// Nobody listens any more: what lasts has ended.
    pub(super) fn end_digits(&mut self, now: Micros, ix: StreamIx) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        stream.flags.digits = false;
        let Some(mut digits) = stream.digits.take() else {
            return Ok(());
        };
        digits.close(now);
        while let Some(told) = digits.next_told() {
            self.tell_digit(now, ix, told);
        }
        Ok(())
    }

    /// The call ends.
    pub(super) fn end_all_digits(&mut self, now: Micros) {
        for at in 0..self.streams.len() {
            let stream = &self.streams[at];
            if stream.flags.digits && !stream.flags.closed {
                let ended = self.end_digits(now, stream.ix);
                debug_assert!(ended.is_ok(), "the stream is open");
            }
        }
    }

    /// A packet of a party whose keys are listened to.
    #[cold]
    pub(super) fn hear_digits(
        &mut self,
        now: Micros,
        ix: StreamIx,
        continuity: Continuity,
        packet: &RtpPacket<'_>,
    ) {
        let stream = &mut self.streams[usize::from(ix.0)];
        let heard = stream.flags.sends && !stream.flags.blocked;
        if !heard || matches!(continuity, Continuity::Suspect | Continuity::Straggler) {
            return;
        }
        let codec = stream.heard_codec(packet.header().pt);
        if let Some(masked) = &mut stream.mask
            && names_key(packet.payload())
            && stream.types.describe(packet.header().pt).event
        {
            // A press that triggers something is itself dealt with as it was before.
            let name = (packet.header().ssrc, packet.header().timestamp.0);
            masked.hides(name, packet.payload());
        }
        let Some(digits) = &mut stream.digits else {
            return;
        };
        let header = packet.header();
        let kind = stream.types.describe(header.pt);
        let (ssrc, seq, timestamp) = (header.ssrc, header.seq.0, header.timestamp.0);
        if kind.event {
            let event = EventPacket {
                ssrc,
                seq,
                timestamp,
                marker: header.marker,
                clock_hz: kind.clock_hz,
                payload: packet.payload(),
            };
            digits.event(now, &event);
        } else {
            let audio = Audio {
                ssrc,
                seq,
                timestamp,
                codec,
                payload: packet.payload(),
            };
            digits.media(now, &audio, stream.types.has_events());
        }
        self.tell_digits(now, ix);
    }

    /// What is due on a party's keys.
    pub(super) fn digits_timeout(&mut self, now: Micros, ix: StreamIx) {
        if let Some(digits) = &mut self.streams[usize::from(ix.0)].digits {
            digits.timeout(now);
            self.tell_digits(now, ix);
        }
    }

    /// Tells what was heard, and arms for what is due next. Whoever is told may stop listening.
    fn tell_digits(&mut self, now: Micros, ix: StreamIx) {
        let at = usize::from(ix.0);
        self.count_ignored(at);
        while let Some(digits) = &mut self.streams[at].digits {
            let Some(told) = digits.next_told() else {
                let next = digits.next_timeout();
                return self.arm(next);
            };
            self.tell_digit(now, ix, told);
        }
    }

    /// Presses that were too many count for their party, and for the worker.
    fn count_ignored(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        let ignored = stream.digits.as_mut().map_or(0, |it| it.take_ignored());
        if ignored > 0 {
            stream.presses_ignored = stream.presses_ignored.saturating_add(ignored);
            self.presses_ignored += u64::from(ignored);
            self.outputs = true;
        }
    }

    /// Presses that were too many to be told, since this was last asked.
    pub fn take_presses_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.presses_ignored)
    }

    fn tell_digit(&mut self, now: Micros, ix: StreamIx, told: Told) {
        match told {
            Told::Began(press) => self.press_began(now, ix, press),
            Told::Ended(press) => self.press_ended(now, ix, press),
            Told::Suspected => self.gather_suspects(ix),
        }
    }

    /// A party's key goes down.
    pub(super) fn press_began(&mut self, now: Micros, ix: StreamIx, press: Press) {
        self.log.push(now, ix, EventKind::DigitBegan(press));
        self.gather_key_down(now, ix, &press);
        self.mask_key_down(now, ix, &press);
        self.record_key_down(now, ix, &press);
        self.outputs = true;
    }

    /// It comes up: the same press, with its duration.
    pub(super) fn press_ended(&mut self, now: Micros, ix: StreamIx, press: Press) {
        self.log.push(now, ix, EventKind::DigitEnded(press));
        self.gather_key_up(now, ix, &press);
        self.mask_key_up(now, ix, &press);
        self.record_key_up(now, ix, &press);
        self.outputs = true;
    }
}

impl Stream {
    /// How to decode a payload type for its party's keys: as its voice says, or as it is known
    /// without one. `None`: it is no audio that can be decoded, or nobody listens to audio.
    fn heard_codec(&self, pt: u8) -> Option<CodecConfig> {
        self.digits.as_ref().filter(|digits| digits.hears_tones())?;
        let hears = self.voice.as_ref().map(|voice| &voice.config.hears);
        if let Some(heard) = hears.into_iter().flatten().find(|heard| heard.pt == pt) {
            return Some(heard.codec);
        }
        let kind = match self.law(&self.types.describe(pt))? {
            Law::Ulaw => CodecKind::Pcmu,
            Law::Alaw => CodecKind::Pcma,
            Law::Linear(_) => return None,
        };
        Some(CodecConfig::new(kind))
    }
}
