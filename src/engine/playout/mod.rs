//! From packets as they come to audio as it must be played: the jitter buffer.
//!
//! [`Playout::insert`] takes packets of one leg whenever they arrive, [`Playout::pull`] gives 10 or
//! 20 ms of audio whenever its tick comes. Between them: packets are ordered (`buffer`), their
//! numbers unwrapped (`timeline`), the delay worth having is learned (`delay`), and the delay
//! that is there is steered towards it by shortening and lengthening the sound
//! (`stretch`).
//!
//! At each moment one of these things happens, as in NetEQ:
//!
//! | what | when |
//! |---|---|
//! | normal | the packet whose turn it is is there |
//! | accelerate, expand | as above, and the delay is too long or too short |
//! | conceal, advancing | it is missing and a later one is there: it is lost. Opus may give it back from the next (in-band FEC), or guess by itself |
//! | conceal, waiting | nothing is there: the sound goes on, media time stands still. When the packet comes it is played, and the delay has grown by the wait; when a later one comes, the wait counts for the lost ones |
//! | noise, silence | the sender said it pauses (RFC 3389), or its timestamps jump without a loss: the next packet is played when it is due. A new talkspurt so begins with exactly the target delay, which costs nobody anything |
//!
//! Media time is counted in output samples (`timeline`); an RTP timestamp never is compared here.

pub mod buffer;
mod delay;
mod fifo;
mod follow;
mod rest;
mod stretch;
mod timeline;
mod unheard;
mod voice;

#[cfg(test)]
mod tests;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulated times are small"
)]
mod trace;

pub use voice::Voice;

use thiserror::Error;

use self::buffer::{Buffer, Packet, Stored};
use self::delay::DelayEstimator;
use self::fifo::Fifo;
use self::stretch::Stretcher;
use self::timeline::{Place, Stamp, Timeline};
use super::time::Micros;
use crate::audio::codec::Decoder;
use crate::audio::comfort;
use crate::audio::conceal::Concealer;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Most payload types with a decoder.
pub const VOICES_MAX: usize = 16;

/// Longest audio one pull may ask for, in milliseconds.
pub const PULL_MS_MAX: usize = 60;

/// Longest packet that is played whole, in milliseconds (RFC 6716: 120 ms).
pub const PACKET_MS_MAX: usize = 120;

/// Largest [`PlayoutConfig::max_ms`] and fixed delay.
pub const DELAY_MS_MAX: u16 = 500;

/// Audio is concealed in pieces of this length.
const PIECE_MS: i64 = 10;

/// Longest gap that is filled from both its ends.
const BRIDGE_MS_MAX: i64 = 60;

/// Longest packet whose successor is waited for when it is lost: a longer wait costs a conversation
/// more than a well mended loss gives it.
const LOOK_AHEAD_US_MAX: i64 = 40_000;

/// A wait this long is no more counted as concealment: the sender stopped.
const STALL_MS_MAX: i64 = 1_000;

/// The delay may miss its target by this share of a pull, but by no more than a quarter.
const SLACK_SHARE: i64 = 3;

/// The delay must be too long by this more than a pull before a pull is taken away.
const DEAD_ZONE_US: i64 = 4_000;

/// Beyond the maximum by this, packets are skipped.
const OVERRUN_US: i64 = 60_000;

/// Sound that must pass between two changes of length, when little is to change.
const PACE_MS: i64 = 60;

/// Sound that must pass before another try when this sound did not allow it, without urgency.
const PATIENCE_MS: i64 = 100;

/// Excess of delay per step of pace: twice this halves the pace, and so on.
const PACE_STEP_US: i64 = 15_000;

/// How a [`Playout`] begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutConfig {
    /// Least delay over the fastest packet, in milliseconds.
    pub min_ms: u16,
    /// Largest, at most [`DELAY_MS_MAX`].
    pub max_ms: u16,
    /// Always this delay, instead of a learned one.
    pub fixed_ms: Option<u16>,
    /// Rate of the audio that is pulled, in Hz: 8000, 16 000, 24 000 or 48 000.
    pub pcm_hz: u32,
}

impl Default for PlayoutConfig {
    fn default() -> Self {
        Self {
            min_ms: 0,
            max_ms: 400,
            fixed_ms: None,
            pcm_hz: 8_000,
        }
    }
}

/// Why a playout or a voice was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayoutError {
    /// [`PlayoutConfig::pcm_hz`] is none of the four.
    #[error("audio cannot be pulled at {0} Hz")]
    Rate(u32),
    /// The bounds of the delay are crossed or too large.
    #[error("delay from {min_ms} to {max_ms} ms is not within 0 to {DELAY_MS_MAX}")]
    Bounds {
        /// The least.
        min_ms: u16,
        /// The largest.
        max_ms: u16,
    },
    /// The voice gives audio of another rate than is pulled.
    #[error("the voice speaks at {voice_hz} Hz, {pcm_hz} Hz are pulled")]
    VoiceRate {
        /// The voice's.
        voice_hz: u32,
        /// The playout's.
        pcm_hz: u32,
    },
    /// A payload type above 127, or a clock rate of 0 or above 1 MHz.
    #[error("payload type {0} or its clock rate is out of range")]
    PayloadType(u8),
    /// More than [`VOICES_MAX`].
    #[error("a playout has at most {VOICES_MAX} voices")]
    TooManyVoices,
}

/// What a packet's header says that playout needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// Synchronization source.
    pub ssrc: u32,
    /// Sequence number.
    pub seq: SequenceNumber,
    /// Timestamp, in ticks of the payload type's clock.
    pub timestamp: RtpTimestamp,
    /// Payload type.
    pub pt: u8,
    /// The marker: first packet after a pause. Timestamps say the same more reliably; it is kept
    /// for reports.
    pub marker: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It waits for its turn.
    Kept,
    /// Its turn has passed.
    Late,
    /// It was there before.
    Duplicate,
    /// Its payload type has no voice.
    UnknownPayloadType,
    /// Its numbers fit nothing that came before; see [`PlayoutStats::stray`].
    Stray,
    /// Its payload is too long.
    TooLong,
}

/// What a pull mostly gave. The order is that of precedence where one pull holds several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pulled {
    /// Nothing was ever received, or the sender stopped.
    Idle,
    /// A pause of the sender: its comfort noise, or quiet.
    Pause,
    /// Audio as it was sent.
    Normal,
    /// Audio, shortened.
    Accelerated,
    /// Audio, lengthened.
    Expanded,
    /// Some of it was restored from the next packet (Opus in-band FEC).
    Restored,
    /// Some of it was invented.
    Concealed,
}

/// Counts since the beginning. Packets unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// Offered to [`Playout::insert`], whatever became of them.
    pub received: u64,
    /// Decoded.
    pub played: u64,
    /// Never came, or not yet: numbers passed over, less those that came late. Exact, but for
    /// packets more than 250 numbers behind.
    pub lost: u64,
    /// Came after their turn had passed, and were dropped.
    pub late: u64,
    /// Were not there when their turn came, and were played nevertheless, because nothing newer
    /// was there either. The listener heard concealment before them.
    pub waited: u64,
    /// Came a second time.
    pub duplicate: u64,
    /// Came after one with a higher number.
    pub reordered: u64,
    /// Dropped unheard to shorten a delay beyond all bounds, because too many waited, or because
    /// nobody listened.
    pub discarded: u64,
    /// Fit into no sequence (see [`Inserted::Stray`]).
    pub stray: u64,
    /// Without a voice.
    pub unknown_pt: u64,
    /// Could not be decoded, or were too long.
    pub undecodable: u64,
    /// Restored from their successor.
    pub restored: u64,
    /// Times that numbers or clocks started anew: another SSRC, a jump.
    pub restarts: u64,
    /// Invented audio, in milliseconds.
    pub concealed_ms: u64,
    /// Comfort noise or silence in pauses of the sender, in milliseconds.
    pub pause_ms: u64,
    /// Audio taken away by shortening, in milliseconds.
    pub accelerated_ms: u64,
    /// Audio added by lengthening, in milliseconds.
    pub expanded_ms: u64,
    /// Times that the length was changed.
    pub stretches: u64,
    /// Delay over the fastest recent packet at the latest pull, in milliseconds.
    pub delay_ms: u32,
    /// What it should be, in milliseconds.
    pub target_ms: u32,
    /// Packets that wait.
    pub waiting: u32,
}

/// Counts in samples, and packets.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    packets: PlayoutStats,
    skipped: u64,
    concealed: u64,
    pause: u64,
    accelerated: u64,
    expanded: u64,
    /// Decoded, and given out as silence before the first packet or after the last: with the others
    /// they account for every sample that was pulled.
    decoded: u64,
    idle: u64,
}

/// A voice and what it speaks for.
#[derive(Debug)]
struct Speaker<V> {
    pt: u8,
    clock_hz: u32,
    /// `None`: comfort noise.
    voice: Option<V>,
}

/// The jitter buffer of one leg.
#[derive(Debug)]
pub struct Playout<V: Voice = Decoder> {
    config: PlayoutConfig,
    speakers: Vec<Speaker<V>>,
    timeline: Timeline,
    estimator: DelayEstimator,
    buffer: Buffer,
    /// Decoded and not yet played.
    ahead: Fifo,
    stretcher: Stretcher,
    concealer: Concealer,
    noise: comfort::Generator,
    /// Which of the latest 256 keys came, by their low bits.
    seen: [u64; 4],
    newest_key: i64,
    /// The key whose turn it is, and where its first sample belongs: the end of `ahead`.
    next_key: i64,
    end_media: i64,
    /// A packet was played.
    started: bool,
    /// Index of the speaker heard last.
    speaking: Option<usize>,
    /// The sender said that it pauses.
    pausing: bool,
    /// The last packet could not be decoded, so that what it should have said is missing.
    garbled: bool,
    /// A hole in `ahead` that is filled as soon as what follows it is decoded.
    bridged: Option<std::ops::Range<usize>>,
    /// Samples invented while waiting; they do not advance media time.
    stalled: i64,
    /// Samples played since the last change of length.
    since_stretch: i64,
    /// Nothing is to wait any more.
    hurries: bool,
    /// Pulls in which the last of it could not be left out.
    rested: u8,
    /// Samples of the latest packet.
    frame: i64,
    counts: Counts,
}

impl<V: Voice> Playout<V> {
    /// Without voices. Allocates what it needs for audio; packets are allocated as they come,
    /// until as many came as ever wait at once.
    ///
    /// # Errors
    ///
    /// When the rate or the bounds are none.
    pub fn new(config: PlayoutConfig) -> Result<Self, PlayoutError> {
        let PlayoutConfig {
            min_ms,
            max_ms,
            fixed_ms,
            pcm_hz,
        } = config;
        if ![8_000, 16_000, 24_000, 48_000].contains(&pcm_hz) {
            return Err(PlayoutError::Rate(pcm_hz));
        }
        if min_ms > max_ms || max_ms.max(fixed_ms.unwrap_or(0)) > DELAY_MS_MAX {
            return Err(PlayoutError::Bounds { min_ms, max_ms });
        }
        Ok(Self {
            config,
            speakers: Vec::new(),
            timeline: Timeline::new(pcm_hz),
            estimator: DelayEstimator::new(),
            buffer: Buffer::default(),
            ahead: Fifo::new(pcm_hz),
            stretcher: Stretcher::new(pcm_hz),
            concealer: Concealer::new(pcm_hz),
            noise: comfort::Generator::new(pcm_hz, NOISE_SEED),
            seen: [0; 4],
            newest_key: 0,
            next_key: 0,
            end_media: 0,
            started: false,
            speaking: None,
            pausing: false,
            garbled: false,
            bridged: None,
            stalled: 0,
            since_stretch: 0,
            hurries: false,
            rested: 0,
            frame: 0,
            counts: Counts::default(),
        })
    }

    /// Gives a payload type its decoder, or another one.
    ///
    /// # Errors
    ///
    /// When the rate differs from [`PlayoutConfig::pcm_hz`], a number is out of range, or there
    /// are too many.
    pub fn set_decoder(&mut self, pt: u8, clock_hz: u32, voice: V) -> Result<(), PlayoutError> {
        let (voice_hz, pcm_hz) = (voice.pcm_hz(), self.config.pcm_hz);
        if voice_hz != pcm_hz {
            return Err(PlayoutError::VoiceRate { voice_hz, pcm_hz });
        }
        self.set_speaker(Speaker {
            pt,
            clock_hz,
            voice: Some(voice),
        })
    }

    /// Makes a payload type comfort noise (RFC 3389); 13 at 8000 Hz by its static assignment.
    ///
    /// # Errors
    ///
    /// When a number is out of range, or there are too many.
    pub fn set_comfort_noise(&mut self, pt: u8, clock_hz: u32) -> Result<(), PlayoutError> {
        self.set_speaker(Speaker {
            pt,
            clock_hz,
            voice: None,
        })
    }

    fn set_speaker(&mut self, speaker: Speaker<V>) -> Result<(), PlayoutError> {
        if speaker.pt > 127 || !(1..=super::CLOCK_HZ_MAX).contains(&speaker.clock_hz) {
            return Err(PlayoutError::PayloadType(speaker.pt));
        }
        if let Some(old) = self.speakers.iter_mut().find(|old| old.pt == speaker.pt) {
            *old = speaker;
        } else if self.speakers.len() < VOICES_MAX {
            self.speakers.push(speaker);
        } else {
            return Err(PlayoutError::TooManyVoices);
        }
        Ok(())
    }

    /// Takes a packet. Telephone-events must not come here: they are no audio.
    pub fn insert(&mut self, now: Micros, info: &PacketInfo, payload: &[u8]) -> Inserted {
        self.counts.packets.received += 1;
        let Some(speaker) = self.speakers.iter().find(|speaker| speaker.pt == info.pt) else {
            self.counts.packets.unknown_pt += 1;
            return Inserted::UnknownPayloadType;
        };
        let (clock_hz, now_us) = (speaker.clock_hz, signed(now.0));
        let stamp = Stamp {
            ssrc: info.ssrc,
            seq: info.seq,
            timestamp: info.timestamp,
            clock_hz,
        };
        let base_us = self.estimator.base_us();
        let Place::At {
            key,
            media,
            restarted,
        } = self.timeline.place(now_us, stamp, base_us)
        else {
            self.counts.packets.stray += 1;
            return Inserted::Stray;
        };
        self.counts.packets.restarts += u64::from(restarted);
        let voice = speaker.voice.as_ref();
        let samples = voice.and_then(|voice| voice.samples(payload)).unwrap_or(0);
        if self.note_seen(key) {
            self.counts.packets.duplicate += 1;
            return Inserted::Duplicate;
        }
        let transit_us = now_us - self.timeline.micros(media);
        let media_us = self.timeline.micros(signed_len(samples));
        self.estimator.arrived(now_us, transit_us, media_us);
        if self.started && key < self.next_key {
            self.counts.packets.late += 1;
            return Inserted::Late;
        }
        match self
            .buffer
            .insert(key, media, (info.pt, restarted), payload)
        {
            Stored::Kept { evicted } => {
                self.counts.packets.discarded += u64::from(evicted);
                Inserted::Kept
            }
            Stored::Duplicate => {
                self.counts.packets.duplicate += 1;
                Inserted::Duplicate
            }
            Stored::TooLong => {
                self.counts.packets.undecodable += 1;
                Inserted::TooLong
            }
        }
    }

    /// Fills `out` with the audio of now: 10 or 20 ms, or any length up to [`PULL_MS_MAX`].
    ///
    /// # Panics
    ///
    /// When `out` is longer.
    pub fn pull(&mut self, now: Micros, out: &mut [i16]) -> Pulled {
        let now_us = signed(now.0);
        assert!(
            out.len() <= PULL_MS_MAX * self.config.pcm_hz as usize / 1_000,
            "a pull is at most {PULL_MS_MAX} ms"
        );
        let mut pulled = self.steer(now_us, signed_len(out.len()));
        if self.hurries {
            self.drop_rest(out.len());
        }
        let mut filled = 0;
        while filled < out.len() {
            let taken = self.ahead.take(&mut out[filled..]);
            if taken > 0 {
                pulled = pulled.max(Pulled::Normal);
                self.since_stretch += signed_len(taken);
                filled += taken;
                continue;
            }
            let at_us = now_us + self.timeline.micros(signed_len(filled));
            let (made, what) = self.advance(at_us, &mut out[filled..]);
            pulled = pulled.max(what);
            filled += made;
        }
        pulled
    }

    /// From now on no delay is wanted: what waits is shortened until nothing does.
    pub fn hurry(&mut self) {
        self.config.fixed_ms = Some(0);
        self.hurries = true;
        // What waits is to be heard, however long it waited.
        self.config.max_ms = DELAY_MS_MAX;
    }

    /// Bounds of the delay from now on, in milliseconds; the lower one stays.
    pub fn bound(&mut self, max_ms: u16, fixed_ms: Option<u16>) {
        (self.config.max_ms, self.config.fixed_ms) = (max_ms, fixed_ms);
        self.hurries = false;
    }

    /// Audio that waits, in microseconds; packets not decoded yet count as long as the last one.
    #[must_use]
    pub fn pending_us(&self) -> u64 {
        let packets = signed_len(self.buffer.len()).saturating_mul(self.frame);
        let samples = signed_len(self.ahead.len()).saturating_add(packets);
        self.timeline.micros(samples).unsigned_abs()
    }

    /// Counts so far, and the delay as it is.
    #[must_use]
    pub fn stats(&self) -> PlayoutStats {
        let ms = |samples: u64| samples * 1_000 / u64::from(self.config.pcm_hz);
        let counts = &self.counts;
        PlayoutStats {
            lost: counts.skipped.saturating_sub(counts.packets.late),
            concealed_ms: ms(counts.concealed),
            pause_ms: ms(counts.pause),
            accelerated_ms: ms(counts.accelerated),
            expanded_ms: ms(counts.expanded),
            waiting: u32::try_from(self.buffer.len()).unwrap_or(u32::MAX),
            ..counts.packets
        }
    }

    /// The next sample that is played, counted in output samples on the playout's own line, whose
    /// zero is the zero of `now`: the first packet that came begins at its arrival. `None` before
    /// that packet is played.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        let next = self.end_media - signed_len(self.ahead.len());
        self.started.then_some(next)
    }

    /// Media time of the next sample that is played, in microseconds on the playout's own line.
    fn position_us(&self) -> i64 {
        self.timeline
            .micros(self.end_media - signed_len(self.ahead.len()))
    }

    /// Whether this key was seen before, and that it was now.
    fn note_seen(&mut self, key: i64) -> bool {
        for passed in (self.newest_key + 1..=key).take(256) {
            let (word, bit) = place_of(passed);
            self.seen[word] &= !bit;
        }
        if key > self.newest_key + 256 {
            self.seen = [0; 4];
        }
        let (word, bit) = place_of(key);
        let before = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        self.counts.packets.reordered += u64::from(key < self.newest_key && !before);
        self.newest_key = self.newest_key.max(key);
        before
    }

    /// The delay over the base that should be now.
    fn target_us(&self) -> i64 {
        let (min_us, max_us) = (ms_us(self.config.min_ms), ms_us(self.config.max_ms));
        if let Some(fixed_ms) = self.config.fixed_ms {
            return ms_us(fixed_ms);
        }
        let base_us = self.estimator.base_us().unwrap_or(0);
        let recent_us = self.estimator.recent_us().unwrap_or(base_us) - base_us;
        self.estimator
            .target_us()
            .max(recent_us)
            .clamp(min_us, max_us)
    }

    /// Once per pull: shortens or lengthens what is about to be played, if the delay is off.
    fn steer(&mut self, now_us: i64, pull: i64) -> Pulled {
        let Some(base_us) = self.estimator.base_us() else {
            return Pulled::Idle;
        };
        let target_us = self.target_us();
        self.counts.packets.target_ms = whole_ms(target_us);
        if !self.started {
            return Pulled::Idle;
        }
        let delay_us = now_us - self.position_us() - base_us;
        self.counts.packets.delay_ms = whole_ms(delay_us);
        if self.stalled > 0 || self.pausing {
            return Pulled::Idle;
        }
        if delay_us > ms_us(self.config.max_ms).max(target_us) + OVERRUN_US {
            self.skip_to(now_us - base_us - target_us);
            return Pulled::Normal;
        }
        let excess_us = self.excess_us(delay_us, target_us, pull);
        let pace = PACE_MS / (1 + excess_us.abs() / PACE_STEP_US);
        if excess_us == 0 || self.since_stretch < self.timeline.samples(pace * 1_000) {
            return Pulled::Idle;
        }
        self.stretch(excess_us)
    }

    /// By how much the delay is too long or (negative) too short.
    ///
    /// Packets are asked for at pulls only, so a packet whose first sample lies `lead` behind the
    /// beginning of a pull must be there `lead` before it is heard: of the delay, only what is
    /// beyond `lead` helps against jitter, and the rest helps nobody. Good delays therefore are a
    /// pull apart, each with the packets' first samples at the beginning of pulls.
    fn excess_us(&self, delay_us: i64, target_us: i64, pull: i64) -> i64 {
        let pull_us = self.timeline.micros(pull).max(1);
        let lead = signed_len(self.ahead.len()) % pull.max(1);
        let lead_us = self.timeline.micros(lead);
        // Packets shorter than a pull: the last one that begins in it must be there, too.
        let last_us = self.timeline.micros((pull - self.frame).max(0));
        let slack_us = delay_us - lead_us - last_us;
        // A little less than the target will do: a whole pull more is much.
        let least_us = target_us - (pull_us / SLACK_SHARE).min(target_us / 4);
        if slack_us < least_us {
            let pulls = (least_us - slack_us + pull_us - 1) / pull_us;
            return lead_us - pulls * pull_us;
        }
        let pulls = (slack_us - least_us - DEAD_ZONE_US).max(0) / pull_us;
        lead_us + pulls * pull_us
    }

    fn stretch(&mut self, excess_us: i64) -> Pulled {
        while self.ahead.len() < self.stretcher.window() && self.continues() {
            self.decode_front();
        }
        let most = usize::try_from(self.timeline.samples(excess_us.abs())).unwrap_or(0);
        let urgent = excess_us.abs() > 4 * PACE_STEP_US;
        let changed = if excess_us > 0 {
            self.stretcher.shorten(&mut self.ahead, most, urgent)
        } else {
            self.stretcher.lengthen(&mut self.ahead, most)
        };
        let Some(changed) = changed else {
            // Other sound may be there soon; a search that finds nothing costs more than a decode.
            let patience_ms = if urgent { PIECE_MS } else { PATIENCE_MS };
            self.since_stretch -= self.timeline.samples(patience_ms * 1_000);
            return Pulled::Idle;
        };
        self.since_stretch = 0;
        self.counts.packets.stretches += 1;
        if excess_us > 0 {
            self.counts.accelerated += changed as u64;
            Pulled::Accelerated
        } else {
            self.counts.expanded += changed as u64;
            Pulled::Expanded
        }
    }

    /// Whether the next packet is there and joins the last without a gap.
    fn continues(&self) -> bool {
        let front = self.buffer.front();
        front.is_some_and(|p| p.key == self.next_key && p.media == self.end_media)
            && self.ahead.has_room()
            && !self.pausing
    }

    /// Drops packets that belong before this media time.
    fn skip_to(&mut self, media_us: i64) {
        let mut skipped = false;
        while let Some(front) = self.buffer.front() {
            if self.timeline.micros(front.media) >= media_us {
                break;
            }
            let Some(packet) = self.buffer.pop() else {
                break;
            };
            self.pass(packet.key);
            self.end_media = packet.media;
            self.buffer.recycle(packet);
            self.counts.packets.discarded += 1;
            skipped = true;
        }
        if skipped {
            // The sound before and after have nothing in common: a piece between them, which the
            // next packet is faded into.
            let fresh = self.buffer.front().map(|p| p.media);
            let piece = self.timeline.samples(PIECE_MS * 1_000);
            self.conceal_ahead(piece);
            self.end_media = fresh.unwrap_or(self.end_media);
        }
    }

    /// The turn of this key has come; those before it that did not come are lost.
    fn pass(&mut self, key: i64) {
        if self.started {
            self.counts.skipped += u64::try_from(key - self.next_key).unwrap_or(0);
        }
        self.started = true;
        self.next_key = key + 1;
    }

    /// One step, when nothing decoded is left: puts audio into `out` (how much is returned), or
    /// decodes more.
    fn advance(&mut self, at_us: i64, out: &mut [i16]) -> (usize, Pulled) {
        let Some(front) = self.buffer.front() else {
            return self.wait(out);
        };
        let (key, media, pt) = (front.key, front.media, front.pt);
        if !self.started {
            if at_us < self.due_us(media) {
                self.counts.idle += out.len() as u64;
                out.fill(0);
                return (out.len(), Pulled::Idle);
            }
            self.end_media = media;
            self.decode_front();
            return (0, Pulled::Normal);
        }
        let missing = key - self.next_key + i64::from(self.garbled);
        let gap = media - self.end_media - self.stalled;
        // What is missing for a reason: at most a longest packet for each lost number.
        let longest = signed_len(PACKET_MS_MAX) * i64::from(self.config.pcm_hz) / 1_000;
        let lost_gap = gap > 0 && missing > 0 && gap <= missing.saturating_mul(longest);
        // Who was away for so long begins anew: nothing is gained by a longer hole.
        let away = self.pausing || self.has_stopped();
        if lost_gap && !away {
            return self.fill_loss(gap, pt);
        }
        if gap > 0 && (away || missing == 0 || !lost_gap) {
            // It begins with a pull, the nearest one to when it is due: see `excess_us`.
            let near_us = self.timeline.micros(signed_len(out.len())) / SLACK_SHARE;
            if at_us + near_us < self.due_us(media) {
                return self.pause(out);
            }
            // A pause it was, and the wait was part of it.
            self.counts.pause += self.stalled.unsigned_abs();
        } else {
            self.counts.concealed += self.stalled.unsigned_abs();
            self.counts.packets.waited += u64::from(self.stalled > 0 && missing == 0);
        }
        self.stalled = 0;
        self.end_media = media;
        self.decode_front();
        (0, Pulled::Idle)
    }

    /// The wait was so long that the sender stopped.
    fn has_stopped(&self) -> bool {
        self.stalled >= self.timeline.samples(STALL_MS_MAX * 1_000)
    }

    /// When media is due by the target delay.
    fn due_us(&self, media: i64) -> i64 {
        let base_us = self.estimator.base_us().unwrap_or(0);
        base_us + self.target_us() + self.timeline.micros(media)
    }

    /// Nothing is there: the sound goes on and media time stands still.
    fn wait(&mut self, out: &mut [i16]) -> (usize, Pulled) {
        if !self.started {
            self.counts.idle += out.len() as u64;
            out.fill(0);
            return (out.len(), Pulled::Idle);
        }
        if self.pausing {
            return self.pause(out);
        }
        let piece = self.piece(out.len());
        if self.has_stopped() {
            // Not concealment any more; what there was of it has been counted once.
            self.counts.pause += piece as u64;
            self.conceal(&mut out[..piece]);
            return (piece, Pulled::Idle);
        }
        self.stalled += signed_len(piece);
        self.conceal(&mut out[..piece]);
        (piece, Pulled::Concealed)
    }

    /// Noise or quiet in a pause of the sender.
    fn pause(&mut self, out: &mut [i16]) -> (usize, Pulled) {
        let piece = out.len();
        self.counts.pause += piece as u64;
        if self.pausing {
            self.noise.fill(out);
        } else {
            self.conceal_long(out);
        }
        (piece, Pulled::Pause)
    }

    /// A later packet is there: what lies before it is restored or invented.
    fn fill_loss(&mut self, gap: i64, pt: u8) -> (usize, Pulled) {
        // Invented audio of a wait now counts as this loss.
        self.counts.concealed += self.stalled.unsigned_abs();
        self.end_media += self.stalled;
        self.stalled = 0;
        let Some(front) = self.buffer.front() else {
            return (0, Pulled::Idle);
        };
        let at = self.speakers.iter().position(|speaker| speaker.pt == pt);
        let voice = at.and_then(|at| self.speakers[at].voice.as_mut());
        let frame = voice
            .as_ref()
            .and_then(|voice| voice.samples(&front.payload));
        let frame = signed_len(frame.unwrap_or(0));
        let near = gap <= self.timeline.samples(BRIDGE_MS_MAX * 1_000);
        if let Some(voice) = voice
            && self.ahead.has_room()
        {
            if !voice.conceals() && near && self.speaking == at {
                self.bridge(room_len(gap));
                return (0, Pulled::Concealed);
            }
            let room = self.ahead.tail(room_len(gap));
            if gap <= frame && voice.decode_fec(&front.payload, room) {
                self.ahead.keep(room_len(gap));
                self.end_media += gap;
                self.counts.packets.restored += 1;
                self.counts.decoded += gap.unsigned_abs();
                return (0, Pulled::Restored);
            }
        }
        // Up to where the next packet could restore, and no more than a piece.
        let before_fec = if gap > frame { gap - frame } else { gap };
        let piece = before_fec
            .min(self.timeline.samples(PIECE_MS * 1_000))
            .max(1);
        self.conceal_ahead(piece);
        self.end_media += piece;
        (0, Pulled::Concealed)
    }

    /// Decodes the next packet behind a gap, and fills the gap knowing both of its ends.
    fn bridge(&mut self, gap: usize) {
        let before = self.ahead.len();
        self.ahead.tail(gap).fill(0);
        self.ahead.keep(gap);
        self.end_media += signed_len(gap);
        self.bridged = Some(before..before + gap);
        self.decode_front();
        if let Some(hole) = self.bridged.take() {
            // The packet was no use after all.
            self.concealer.conceal(&mut self.ahead.audio()[hole]);
        }
        self.counts.concealed += gap as u64;
    }

    /// Invents audio behind what is decoded.
    fn conceal_ahead(&mut self, samples: i64) {
        let len = room_len(samples);
        let mut piece = [0; PIECE_SAMPLES_MAX];
        let piece = &mut piece[..len.min(PIECE_SAMPLES_MAX)];
        self.conceal(piece);
        self.ahead.tail(piece.len()).copy_from_slice(piece);
        self.ahead.keep(piece.len());
        self.counts.concealed += piece.len() as u64;
    }

    /// Invents audio in pieces, as decoders' own concealment wants it.
    fn conceal_long(&mut self, out: &mut [i16]) {
        let piece = self.piece(usize::MAX);
        out.chunks_mut(piece).for_each(|out| self.conceal(out));
    }

    /// The decoder's own concealment, or ours.
    fn conceal(&mut self, out: &mut [i16]) {
        let speaker = self.speaking.and_then(|at| self.speakers.get_mut(at));
        let own = speaker
            .and_then(|speaker| speaker.voice.as_mut())
            .is_some_and(|voice| voice.conceal(out));
        if !own {
            self.concealer.conceal(out);
        }
    }

    fn piece(&self, most: usize) -> usize {
        most.min(room_len(self.timeline.samples(PIECE_MS * 1_000)))
    }

    /// Decodes the packet at the front, whose turn it is.
    fn decode_front(&mut self) {
        let Some(packet) = self.buffer.pop() else {
            return;
        };
        self.look_ahead(&packet);
        self.catch_up(&packet);
        self.pass(packet.key);
        self.garbled = false;
        let at = self
            .speakers
            .iter()
            .position(|speaker| speaker.pt == packet.pt);
        if let Some(at) = at {
            self.speak(at, &packet);
        }
        self.buffer.recycle(packet);
    }

    /// Where this packet would have mended the loss before it, the delay estimator learns what
    /// waiting for it is worth: whether it was there in time this once is chance.
    fn look_ahead(&mut self, packet: &Packet) {
        if !self.started || packet.fresh || packet.key <= self.next_key {
            return;
        }
        let speaker = self.speakers.iter().find(|other| other.pt == packet.pt);
        let Some(voice) = speaker.and_then(|speaker| speaker.voice.as_ref()) else {
            return;
        };
        let frame_us = self.timeline.micros(self.frame);
        if voice.mends_before(&packet.payload) && frame_us <= LOOK_AHEAD_US_MAX {
            self.estimator.missed(frame_us);
        }
    }

    fn speak(&mut self, at: usize, packet: &Packet) {
        let Some(voice) = self.speakers[at].voice.as_mut() else {
            // An empty one describes nothing, not even silence: what was known stays.
            if let Some(noise) = comfort::Noise::parse(&packet.payload) {
                self.noise.set(&noise);
            }
            self.pausing = true;
            self.counts.packets.played += 1;
            return;
        };
        self.pausing = false;
        if packet.fresh {
            voice.reset();
        }
        // An empty payload is a keep-alive: its number counts, and there is nothing to hear.
        if packet.payload.is_empty() {
            return;
        }
        let longest = PACKET_MS_MAX * self.config.pcm_hz as usize / 1_000;
        let fits = voice
            .samples(&packet.payload)
            .is_some_and(|samples| samples <= longest);
        let decoded = match fits {
            true => voice.decode(&packet.payload, self.ahead.tail(longest)),
            false => None,
        };
        let Some(samples) = decoded else {
            self.counts.packets.undecodable += 1;
            self.garbled = true;
            return;
        };
        self.speaking = Some(at);
        let conceals = voice.conceals();
        let samples = samples.min(longest);
        self.ahead.keep(samples);
        self.counts.decoded += samples as u64;
        self.frame = signed_len(samples);
        if !conceals {
            let audio = self.ahead.audio();
            let behind = audio.len() - samples;
            if let Some(hole) = self.bridged.take() {
                let (before, next) = audio.split_at_mut(behind);
                self.concealer.bridge(&mut before[hole], 0, next);
            }
            self.concealer.heard(&mut audio[behind..]);
        }
        self.end_media += signed_len(samples);
        self.counts.packets.played += 1;
    }
}

/// Comfort noise is the same in every call; it need not be unpredictable.
const NOISE_SEED: u32 = 0x6b43_a9b5;

/// A piece at the highest rate.
const PIECE_SAMPLES_MAX: usize = 480;

/// Word and bit of a key in [`Playout::seen`].
fn place_of(key: i64) -> (usize, u64) {
    let low = key.rem_euclid(256).unsigned_abs();
    (usize::try_from(low / 64).unwrap_or(0), 1 << (low % 64))
}

fn ms_us(ms: u16) -> i64 {
    i64::from(ms) * 1_000
}

fn whole_ms(us: i64) -> u32 {
    u32::try_from(us.max(0) / 1_000).unwrap_or(u32::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX / 4)
}

fn signed_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX / 4)
}

fn room_len(samples: i64) -> usize {
    usize::try_from(samples).unwrap_or(0)
}
