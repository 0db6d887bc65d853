//! What a party hears when we make it: frames on its own clock, encoded.

mod behind;

pub(in crate::engine) use self::behind::Behind;

use super::api::{Idle, Spoken};
use super::idle::{Filler, IdleSound};
use super::players::{Layers, Players};
use crate::audio::codec::{CodecConfig, CodecError, CodecKind, Encoder};
use crate::engine::api::StreamIx;
use crate::engine::time::{Micros, ticks};

/// Most samples of a frame: 60 ms at 48 kHz.
pub(in crate::engine) const FRAME_SAMPLES_MAX: usize = 2_880;

/// Most bytes an encoded frame takes: 60 ms of L16 at 48 kHz.
const ENCODED_MAX: usize = 2 * FRAME_SAMPLES_MAX;

/// Most bytes a frame of so many samples takes in a codec.
pub(in crate::engine) fn encoded_max(codec: &CodecConfig, samples: usize) -> usize {
    match codec.kind {
        CodecKind::Pcmu | CodecKind::Pcma | CodecKind::G722 => samples,
        CodecKind::L16 { channels, .. } => ENCODED_MAX.min(2 * samples * usize::from(channels)),
        CodecKind::Opus => ENCODED_MAX,
    }
}

/// After a telephone-event packet no audio is sent for this long: the event takes the audio's
/// place (RFC 4733 §2.1), and its next packet is at most this far away.
const HUSH_US: u64 = 60_000;

/// The frame clock, the encoder and the players of one leg.
#[derive(Debug)]
pub(in crate::engine) struct Mouth {
    encoder: Encoder,
    pub(in crate::engine) pt: u8,
    clock_hz: u32,
    rate_hz: u32,
    ptime_ms: u8,
    pub(in crate::engine) idle: IdleSound,
    /// When the next frame is due; [`Micros::NEVER`] while frames leave with those of a bridge.
    pub(in crate::engine) next_at: Micros,
    /// In a bridge: when its own next frame would have been due, until the bridge has reached it.
    joins_at: Option<Micros>,
    /// In a bridge: how long its packets wait, complete, before they leave; `None`: they leave with
    /// the bridge's frame.
    behind_us: Option<u64>,
    /// The linked stream that is heard.
    pub(in crate::engine) source: Option<StreamIx>,
    /// What is linked to this leg has to be decoded for it: it is not only a player.
    pub(in crate::engine) recodes: bool,
    /// When a packet last had to be decoded because of its payload type.
    pub(in crate::engine) recoded_at: Option<Micros>,
    pub(in crate::engine) players: Players,
    /// Tones of keys may take the place of what is heard otherwise.
    pub(in crate::engine) keyed: bool,
    hushed_until: Micros,
    /// In a bridge whose frames are shorter than this leg's packets: what was mixed so far.
    pending: Vec<i16>,
    pending_speaks: bool,
    codec: CodecConfig,
    /// Its encoder was never used.
    fresh: bool,
    /// What its party says it loses, in permille.
    loss: u16,
    /// In a bridge: which of its common encoders the party hears instead of this one.
    pub(in crate::engine) common: Option<u8>,
    /// Frames it has waited for a common encoder.
    waited: u16,
}

impl Mouth {
    /// # Errors
    /// The codec cannot be encoded.
    pub(in crate::engine) fn new(
        spoken: &Spoken,
        idle: Idle,
        next_at: Micros,
    ) -> Result<Self, CodecError> {
        let encoder = Encoder::new(&spoken.codec)?;
        Ok(Self {
            rate_hz: encoder.pcm_hz(),
            encoder,
            pt: spoken.pt,
            clock_hz: spoken.codec.kind.clock_hz(),
            ptime_ms: spoken.ptime_ms,
            idle: IdleSound::new(idle),
            next_at,
            joins_at: None,
            behind_us: None,
            source: None,
            recodes: false,
            recoded_at: None,
            players: Players::new(),
            keyed: false,
            hushed_until: Micros::ZERO,
            pending: Vec::new(),
            pending_speaks: false,
            codec: spoken.codec,
            fresh: true,
            loss: 0,
            common: None,
            waited: 0,
        })
    }

    /// Speaks another codec from the next frame on; players go on. Returns the ticks of what was
    /// collected for a packet and is not said any more.
    ///
    /// # Errors
    /// The codec cannot be encoded; the mouth is as it was.
    pub(in crate::engine) fn respell(&mut self, spoken: &Spoken) -> Result<u32, CodecError> {
        let encoder = Encoder::new(&spoken.codec)?;
        let unsaid = self.drop_pending();
        self.rate_hz = encoder.pcm_hz();
        self.encoder = encoder;
        self.pt = spoken.pt;
        (self.codec, self.fresh, self.common) = (spoken.codec, true, None);
        self.clock_hz = spoken.codec.kind.clock_hz();
        self.ptime_ms = spoken.ptime_ms;
        self.players.set_rate(self.rate_hz);
        Ok(unsaid)
    }

    pub(in crate::engine) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    pub(in crate::engine) fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// Microseconds from frame to frame.
    pub(in crate::engine) fn period_us(&self) -> u64 {
        u64::from(self.ptime_ms) * 1_000
    }

    /// Samples of one frame.
    pub(in crate::engine) fn frame_samples(&self) -> usize {
        self.frame_samples_at(self.rate_hz)
    }

    /// Samples of one frame at another rate.
    pub(in crate::engine) fn frame_samples_at(&self, rate_hz: u32) -> usize {
        usize::from(self.ptime_ms) * rate_hz as usize / 1_000
    }

    /// RTP clock ticks of one frame.
    pub(in crate::engine) fn frame_ticks(&self) -> u32 {
        u32::from(self.ptime_ms) * self.clock_hz / 1_000
    }

    /// RTP clock ticks of a time span.
    pub(in crate::engine) fn ticks(&self, span_us: u64) -> u32 {
        ticks(span_us, self.clock_hz)
    }

    /// From now on frames come from a bridge, if they did not.
    pub(in crate::engine) fn enter_bridge(&mut self) {
        if self.is_behind() {
            return;
        }
        let due = std::mem::replace(&mut self.next_at, Micros::NEVER);
        if due != Micros::NEVER {
            self.joins_at = Some(due);
        }
    }

    /// From now on it makes frames by itself: the next one when the bridge's was due. Returns the
    /// ticks of what was collected for a packet and is not said any more.
    pub(in crate::engine) fn leave_bridge(&mut self, due: Micros) -> u32 {
        self.next_at = self.joins_at.take().unwrap_or(due);
        self.drop_pending()
    }

    /// What was collected for a packet is not for its party: silence takes its time.
    pub(in crate::engine) fn silence_pending(&mut self) {
        self.pending.fill(0);
        self.pending_speaks = false;
    }

    /// Forgets what was collected for a packet; its ticks.
    pub(in crate::engine) fn drop_pending(&mut self) -> u32 {
        let waiting_us = self.pending.len() as u64 * 1_000_000 / u64::from(self.rate_hz.max(1));
        self.pending.clear();
        self.pending_speaks = false;
        self.ticks(waiting_us)
    }

    /// Whether it follows its bridge's clock: [`Mouth::joins`] brought it there.
    pub(in crate::engine) fn has_joined(&self) -> bool {
        self.joins_at.is_none()
    }

    /// Whether the bridge's frame of `due` is for this mouth, too: not if the mouth still has to
    /// wait for the end of what it said last. With the ticks in between when it is the first.
    pub(in crate::engine) fn joins(&mut self, due: Micros) -> Option<u32> {
        match self.joins_at {
            None => Some(0),
            Some(at) if due < at => None,
            Some(at) => {
                self.joins_at = None;
                Some(self.ticks(due.since(at)))
            }
        }
    }

    /// Collects a bridge's frame, the first `len` of `pcm`; `Some` when a packet is full: whether
    /// anything in it is audible. The packet is then at the front of `pcm`, which must have room
    /// for it.
    pub(in crate::engine) fn collect(
        &mut self,
        pcm: &mut [i16],
        len: usize,
        speaks: bool,
    ) -> Option<bool> {
        if !self.is_behind() && len == self.frame_samples() && self.pending.is_empty() {
            return Some(speaks);
        }
        if !speaks {
            pcm[..len].fill(0);
        }
        self.pending.extend_from_slice(&pcm[..len]);
        self.pending_speaks |= speaks;
        match self.is_behind() || self.missing() > 0 {
            true => None,
            // The bridge's frames may have become longer meanwhile: then something is left over.
            false => Some(self.take_packet(pcm, speaks)),
        }
    }

    /// Takes a packet that is complete to the front of `pcm`, as [`Mouth::collect`] does; whether
    /// there is something in it. There may be in what is left over if `speaks`.
    pub(in crate::engine) fn take_packet(&mut self, pcm: &mut [i16], speaks: bool) -> bool {
        let full = self.frame_samples();
        pcm[..full].copy_from_slice(&self.pending[..full]);
        self.pending.drain(..full);
        let left = speaks && self.pending_speaks && !self.pending.is_empty();
        std::mem::replace(&mut self.pending_speaks, left)
    }

    /// Samples that the next packet still lacks.
    fn missing(&self) -> usize {
        self.frame_samples().saturating_sub(self.pending.len())
    }

    /// Whether the bridge's frame is just what is to be sent, with nothing before or over it.
    pub(in crate::engine) fn takes_whole(&self, frame_ms: u32) -> bool {
        u32::from(self.ptime_ms) == frame_ms && self.pending.is_empty() && self.is_bare()
    }

    /// Whether nothing is played, no key sounds, nor is what was ducked still rising, and nothing
    /// waits that is complete.
    pub(in crate::engine) fn is_bare(&self) -> bool {
        self.players.are_at_rest() && !self.keyed && !self.is_behind()
    }

    /// Whether neither a player nor a key needs frames.
    pub(in crate::engine) fn plays_nothing(&self) -> bool {
        self.players.is_empty() && !self.keyed
    }

    pub(in crate::engine) fn codec(&self) -> CodecConfig {
        self.codec
    }

    /// Most bytes of an encoded frame.
    pub(in crate::engine) fn encoded_max(&self) -> usize {
        encoded_max(&self.codec, self.frame_samples())
    }

    pub(in crate::engine) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Whether its party has heard nothing of its encoder yet.
    pub(in crate::engine) fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(in crate::engine) fn loss(&self) -> u16 {
        self.loss
    }

    /// Goes on from where another encoder stands.
    pub(in crate::engine) fn follow(&mut self, other: &Encoder) {
        self.encoder.follow(other);
        (self.fresh, self.waited) = (false, 0);
    }

    /// One frame more of waiting for a common encoder; how often `step` frames were waited.
    pub(in crate::engine) fn patience(&mut self, step: u16) -> u32 {
        self.waited = self.waited.saturating_add(1);
        u32::from(self.waited / step.max(1)).min(u16::BITS - 1)
    }

    /// A telephone-event passes: no audio beside it.
    pub(in crate::engine) fn hush(&mut self, now: Micros) {
        self.hushed_until = now.plus(HUSH_US);
    }

    pub(in crate::engine) fn is_hushed(&self, now: Micros) -> bool {
        now < self.hushed_until
    }

    /// Whether the leg's own audio is wanted: it is recoded, or lies under what is played.
    pub(in crate::engine) fn wants_source(&self) -> bool {
        !self.players.replace() && (self.recodes || !self.plays_nothing())
    }

    /// Lays what is played over (or in the place of) `pcm`, one frame of the leg's own audio if
    /// `speaks`. Returns whether there is anything to hear.
    pub(in crate::engine) fn voice_over(
        &mut self,
        pcm: &mut [i16],
        speaks: bool,
        memory: &mut Layers,
    ) -> bool {
        self.players.duck(self.rate_hz);
        self.players.lay_over(pcm, speaks, memory)
    }

    /// What stands for a frame in which there is nothing to hear.
    pub(in crate::engine) fn fill_silence(&mut self, pcm: &mut [i16]) -> Filler {
        let period_us = self.period_us();
        self.idle.fill(pcm, self.rate_hz, period_us)
    }

    /// Encodes one frame; 0 bytes: the codec has nothing to send (DTX).
    pub(in crate::engine) fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        self.fresh = false;
        self.encoder.encode(pcm, out).unwrap_or(0)
    }

    /// Tells the encoder how much of it is lost on its way, in thousandths.
    pub(in crate::engine) fn set_loss(&mut self, permille: u16) {
        self.loss = permille;
        self.encoder.set_loss(permille);
    }
}
