//! Keys in a party's audio.
//!
//! Driven by the packets alone: there is no playout delay and no tick. Packets are put in order
//! over a short window, lost ones are concealed by their timestamps, and what comes out goes to the
//! detector at 8 kHz where the codec can be decoded so. This is beside what others hear: no ear, no
//! mouth and no packet is touched.
//!
//! The sender's clock is mapped to ours by the packets that came fastest, so that jitter moves no
//! press. Where packets stop, for a hold, silence that is not sent, or an event, the detector hears
//! silence, which ends a key that is down.

use super::window::Window;
use crate::audio::codec::{CodecConfig, CodecKind, Decoder, PAYLOAD_MS_MAX};
use crate::audio::conceal::Concealer;
use crate::audio::dtmf::{Detector, Heard, Wary};
use crate::audio::opus::OpusConfig;
use crate::engine::gather::Beat;
use crate::engine::time::ticks_us;
use crate::engine::voice::EAR_LIFE_US_MIN;
use crate::wire::event::EventCode;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Longer losses are silence: what is made up for longer could be taken for a key.
const CONCEAL_MS_MAX: u32 = 60;

/// A pause of the sender's clock that is longer is a new start.
const PAUSE_MS_MAX: u32 = 200;

/// While a key is down, packets that stop for so long end it; as long as the worst jitter.
pub const TONE_SILENCE_US: u64 = 250_000;

/// Packets that wait for one before them wait at most this long.
pub const TONE_REORDER_US: u64 = 60_000;

/// Silence that ends whatever the detector hears.
const FLUSH_MS: u32 = 100;

/// A sender's clock that jumps by more is mapped anew.
const JUMP_US_MAX: u64 = 1_000_000;

/// The mapping of clocks follows a sender that is slower by so much: 1 ms per second.
const DRIFT_PER_MILLE: i64 = 1;

/// A packet of the party.
pub(in crate::engine) struct Audio<'a> {
    pub(in crate::engine) ssrc: u32,
    pub(in crate::engine) seq: u16,
    pub(in crate::engine) timestamp: u32,
    /// How to decode it; `None`: it is no audio that we know, but it has a sequence number.
    pub(in crate::engine) codec: Option<CodecConfig>,
    pub(in crate::engine) payload: &'a [u8],
}

/// A key that begins or ends, in microseconds of the call's time.
pub(in crate::engine) enum ToneEdge {
    Began {
        code: EventCode,
        began_us: u64,
        level_dbm0: f32,
        confidence: u8,
    },
    Ended {
        code: EventCode,
        ended_us: u64,
    },
    /// What was just heard may become a key.
    Suspected,
}

/// Listens to a party's audio.
pub(in crate::engine) struct Hearing {
    ssrc: u32,
    window: Window,
    line: Option<Box<Line>>,
    /// When the latest packet of audio came.
    heard_us: u64,
    /// What may become a key is told of, too.
    is_wary: bool,
}

/// What decodes one codec, and hears keys in it.
struct Line {
    codec: CodecConfig,
    made_us: u64,
    decoder: Decoder,
    concealer: Option<Concealer>,
    detector: Detector,
    /// Made when it is first wanted, and kept.
    wary: Option<Box<Wary>>,
    is_wary: bool,
    rate_hz: u32,
    /// Room for a concealed loss and a payload.
    pcm: Vec<i16>,
    /// Samples the detector heard.
    fed: u64,
    /// Of the latest payload.
    payload: usize,
    /// The timestamp that comes after them.
    next: Option<RtpTimestamp>,
    /// What to add to the time of a sample since the first one; `None`: its clock began anew.
    offset_us: Option<i64>,
    /// A key is down.
    down: bool,
    /// Nothing was heard since silence was.
    flushed: bool,
}

/// Does not hold audio up for logs.
impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let codec = self.line.as_ref().map(|line| line.codec.kind);
        let mut hearing = f.debug_struct("Hearing");
        hearing.field("codec", &codec).finish_non_exhaustive()
    }
}

impl Hearing {
    pub(in crate::engine) fn new() -> Self {
        Self {
            ssrc: 0,
            window: Window::new(),
            line: None,
            heard_us: 0,
            is_wary: false,
        }
    }

    /// Whether what may become a key is told of; allocates.
    pub(in crate::engine) fn set_wary(&mut self, wary: bool) {
        if std::mem::replace(&mut self.is_wary, wary) != wary
            && let Some(line) = &mut self.line
        {
            line.set_wary(wary);
        }
    }

    /// Takes a packet; allocates where its codec is not the one before.
    pub(in crate::engine) fn packet(
        &mut self,
        now_us: u64,
        packet: &Audio<'_>,
        tell: &mut impl FnMut(ToneEdge),
    ) {
        if self.ssrc != packet.ssrc {
            self.close(now_us, tell);
            self.ssrc = packet.ssrc;
        }
        let seq = SequenceNumber(packet.seq);
        if !self.window.is_near(seq) {
            self.close(now_us, tell);
        }
        if packet.codec.is_some() {
            self.heard_us = now_us;
        }
        let timestamp = RtpTimestamp(packet.timestamp);
        let (codec, payload) = (packet.codec, packet.payload);
        if self.window.is_next(seq) {
            self.hear(now_us, 0, codec, timestamp, payload, tell);
        } else {
            self.window.keep(now_us, seq, timestamp, codec, payload);
        }
        self.hear_waiting(now_us, false, tell);
    }

    /// What is due by now.
    pub(in crate::engine) fn timeout(&mut self, now_us: u64, tell: &mut impl FnMut(ToneEdge)) {
        let waited = |since: u64| since.saturating_add(TONE_REORDER_US) <= now_us;
        if self.window.waits_since_us().is_some_and(waited) {
            self.hear_waiting(now_us, true, tell);
        }
        let is_down = self.line.as_ref().is_some_and(|line| line.down);
        if is_down && self.heard_us.saturating_add(TONE_SILENCE_US) <= now_us {
            self.flush(now_us, tell);
        }
    }

    /// When [`Hearing::timeout`] is due; `None`: no key is down, and nothing waits.
    pub(in crate::engine) fn next_timeout_us(&self) -> Option<u64> {
        let down = self.line.as_ref().filter(|line| line.down);
        let down = down.map(|_| self.heard_us.saturating_add(TONE_SILENCE_US));
        let waits = self.window.waits_since_us();
        let waits = waits.map(|since| since.saturating_add(TONE_REORDER_US));
        [down, waits].into_iter().flatten().min()
    }

    /// The sender begins anew, or is gone: hears what waits, and ends what is down.
    pub(in crate::engine) fn close(&mut self, now_us: u64, tell: &mut impl FnMut(ToneEdge)) {
        self.hear_waiting(now_us, true, tell);
        if let Some(line) = &mut self.line {
            line.begin_anew(now_us, tell);
        }
        self.window.clear();
    }

    /// When something was that the party's clock dates so; `None` if it has another clock, or
    /// nothing was heard of it since a pause.
    pub(in crate::engine) fn time_of(
        &self,
        ssrc: u32,
        timestamp: u32,
        clock_hz: u32,
    ) -> Option<u64> {
        let line = self.line.as_ref()?;
        if self.ssrc != ssrc || line.codec.kind.clock_hz() != clock_hz {
            return None;
        }
        let ahead = RtpTimestamp(timestamp).ahead_of(line.next?);
        let ahead_us = ticks_us(ahead.unsigned_abs(), clock_hz);
        let next_us = line.time_us(line.fed)?;
        Some(match ahead < 0 {
            true => next_us.saturating_sub(ahead_us),
            false => next_us.saturating_add(ahead_us),
        })
    }

    /// When the party's audio comes; `None` where nothing was heard of it since a pause.
    pub(in crate::engine) fn beat(&self) -> Option<Beat> {
        let line = self.line.as_ref().filter(|line| !line.flushed)?;
        Some(Beat {
            at_us: line.time_us(line.fed)?,
            every_us: u32::try_from(span_us(line.payload as u64, line.rate_hz)).unwrap_or(0),
        })
    }

    /// Hears packets that waited and have their turn, or all.
    fn hear_waiting(&mut self, now_us: u64, all: bool, tell: &mut impl FnMut(ToneEdge)) {
        while let Some((lost, slot)) = self.window.next_waiting(all) {
            let (codec, timestamp) = (slot.codec, slot.timestamp);
            self.hear(now_us, lost, codec, timestamp, &slot.payload, tell);
            self.window.give_back(slot);
        }
    }

    /// Hears the next packet in order, before which so many are lost.
    fn hear(
        &mut self,
        now_us: u64,
        lost: u16,
        codec: Option<CodecConfig>,
        timestamp: RtpTimestamp,
        payload: &[u8],
        tell: &mut impl FnMut(ToneEdge),
    ) {
        let Some(codec) = codec.map(narrow) else {
            return;
        };
        if self.line.as_ref().is_none_or(|line| line.codec != codec) {
            // A party that changes codecs with every packet must not have a line made for each.
            let stays = |line: &Line| now_us.saturating_sub(line.made_us) < EAR_LIFE_US_MIN;
            if self.line.as_deref().is_some_and(stays) {
                return;
            }
            self.flush(now_us, tell);
            self.line = Line::new(codec, now_us).map(Box::new);
            let line = self.line.iter_mut().filter(|_| self.is_wary);
            line.for_each(|line| line.set_wary(true));
        }
        if let Some(line) = &mut self.line {
            line.hear(now_us, lost, timestamp, payload, tell);
        }
    }

    fn flush(&mut self, now_us: u64, tell: &mut impl FnMut(ToneEdge)) {
        if let Some(line) = &mut self.line {
            line.flush(now_us, tell);
        }
    }
}

/// The same codec, decoded to no more than a telephone's band.
fn narrow(codec: CodecConfig) -> CodecConfig {
    CodecConfig {
        kind: codec.kind,
        opus: OpusConfig::at(8_000),
        g722_hz: 8_000,
    }
}

impl Line {
    /// `None`: it cannot be decoded.
    fn new(codec: CodecConfig, now_us: u64) -> Option<Self> {
        let decoder = Decoder::new(&codec).ok()?;
        let rate_hz = decoder.pcm_hz();
        let room = samples(rate_hz, PAYLOAD_MS_MAX + PAUSE_MS_MAX);
        let conceals = codec.kind != CodecKind::Opus;
        Some(Self {
            codec,
            made_us: now_us,
            decoder,
            concealer: conceals.then(|| Concealer::new(rate_hz)),
            detector: Detector::new(rate_hz).ok()?,
            wary: None,
            is_wary: false,
            rate_hz,
            pcm: vec![0; room],
            fed: 0,
            payload: 0,
            next: None,
            offset_us: None,
            down: false,
            flushed: false,
        })
    }

    fn hear(
        &mut self,
        now_us: u64,
        lost: u16,
        timestamp: RtpTimestamp,
        payload: &[u8],
        tell: &mut impl FnMut(ToneEdge),
    ) {
        let Ok(length) = self.decoder.samples(payload) else {
            return;
        };
        let gap = self.gap_before(now_us, timestamp, tell);
        let conceals = lost > 0 && gap <= samples(self.rate_hz, CONCEAL_MS_MAX);
        let filled = if conceals { gap } else { 0 };
        let mut pcm = std::mem::take(&mut self.pcm);
        let (before, after) = pcm.split_at_mut(gap);
        let (made_up, silence) = before.split_at_mut(filled);
        silence.fill(0);
        let own = self.concealer.is_none() && self.conceal(payload, made_up);
        let decoded = self.decoder.decode(payload, after).is_ok();
        let after = &mut after[..length];
        if !decoded {
            after.fill(0);
        }
        match &mut self.concealer {
            Some(concealer) => {
                concealer.bridge(made_up, silence.len(), after);
                concealer.heard(silence);
                concealer.heard(after);
            }
            None if !own => made_up.fill(0),
            None => {}
        }
        let ticks = length as u64 * u64::from(self.codec.kind.clock_hz());
        let ticks = u32::try_from(ticks / u64::from(self.rate_hz)).unwrap_or(u32::MAX);
        self.next = Some(timestamp.plus(ticks));
        (self.flushed, self.payload) = (false, length);
        self.observe(now_us, gap + length);
        self.feed(now_us, &pcm[..gap + length], tell);
        self.pcm = pcm;
    }

    /// Samples that the sender's clock skipped, after a long pause none.
    fn gap_before(
        &mut self,
        now_us: u64,
        timestamp: RtpTimestamp,
        tell: &mut impl FnMut(ToneEdge),
    ) -> usize {
        let clock_hz = self.codec.kind.clock_hz();
        let Some(next) = self.next else { return 0 };
        let mut ahead = timestamp.ahead_of(next);
        let far = ticks_us(ahead.unsigned_abs(), clock_hz) > u64::from(PAUSE_MS_MAX) * 1_000;
        if far && ahead < 0 {
            self.begin_anew(now_us, tell);
            return 0;
        }
        if far {
            self.flush(now_us, tell);
            ahead = self.next.map_or(0, |next| timestamp.ahead_of(next));
        }
        if far || self.flushed && ahead < 0 {
            // The detector did not hear all of the pause, or heard more than there was.
            let skipped_us = i64::from(ahead) * 1_000_000 / i64::from(clock_hz);
            self.offset_us = self.offset_us.map(|at| at.saturating_add(skipped_us));
            return 0;
        }
        // A clock that stands still, or goes back a little, is one that the sender has not right.
        let ahead = u64::from(ahead.max(0).unsigned_abs());
        usize::try_from(ahead * u64::from(self.rate_hz) / u64::from(clock_hz)).unwrap_or(0)
    }

    /// The codec's own concealment of a loss; `false`: it has none.
    fn conceal(&mut self, next_payload: &[u8], out: &mut [i16]) -> bool {
        if out.is_empty() {
            return true;
        }
        let last = samples(self.rate_hz, 20).min(out.len());
        let (first, last) = out.split_at_mut(out.len() - last);
        let first = first.is_empty() || self.decoder.conceal(first);
        first && (self.decoder.decode_fec(next_payload, last) || self.decoder.conceal(last))
    }

    /// Maps the sender's clock to ours: so many samples are all there at `now_us`.
    fn observe(&mut self, now_us: u64, samples: usize) {
        let after_us = span_us(self.fed + samples as u64, self.rate_hz);
        let seen = now_us.cast_signed().saturating_sub(after_us);
        let drift = span_us(samples as u64, self.rate_hz) * DRIFT_PER_MILLE / 1_000;
        let before = self.offset_us.map(|offset| offset.saturating_add(drift));
        let before = before.filter(|before| before.abs_diff(seen) <= JUMP_US_MAX);
        self.offset_us = Some(before.map_or(seen, |before| before.min(seen)));
    }

    /// When a sample was.
    fn time_us(&self, position: u64) -> Option<u64> {
        let at = span_us(position, self.rate_hz).saturating_add(self.offset_us?);
        Some(at.max(0).cast_unsigned())
    }

    fn feed(&mut self, now_us: u64, pcm: &[i16], tell: &mut impl FnMut(ToneEdge)) {
        let (offset_us, rate_hz) = (self.offset_us, self.rate_hz);
        let (down, mut suspects) = (&mut self.down, false);
        if let Some(wary) = self.wary.as_mut().filter(|_| self.is_wary && !*down) {
            wary.feed(pcm, &mut |_| suspects = true);
        }
        // The mapping is of packets: what a tone was coded as came so much earlier.
        let late_us = i64::from(self.codec.delay_us());
        let time_us = |position| {
            let at = span_us(position, rate_hz).saturating_sub(late_us);
            let at = offset_us.map(|offset| at.saturating_add(offset));
            at.map_or(now_us, |at| at.max(0).cast_unsigned())
                .min(now_us)
        };
        self.detector.feed(pcm, &mut |heard| match heard {
            Heard::Began(tone) => {
                *down = true;
                tell(ToneEdge::Began {
                    code: tone.digit.code(),
                    began_us: time_us(tone.start),
                    level_dbm0: tone.level_dbm0,
                    confidence: tone.confidence,
                });
            }
            Heard::Ended(tone) => {
                *down = false;
                tell(ToneEdge::Ended {
                    code: tone.digit.code(),
                    ended_us: time_us(tone.end),
                });
            }
        });
        if suspects && !*down {
            tell(ToneEdge::Suspected);
        }
        self.fed += pcm.len() as u64;
    }

    fn set_wary(&mut self, wary: bool) {
        self.is_wary = wary;
        if wary && self.wary.is_none() {
            self.wary = Wary::new(self.rate_hz).ok().map(Box::new);
        }
    }

    /// Ends what is down; the sender's clock may go on.
    fn flush(&mut self, now_us: u64, tell: &mut impl FnMut(ToneEdge)) {
        let Some(next) = self.next.filter(|_| !self.flushed) else {
            return;
        };
        let mut pcm = std::mem::take(&mut self.pcm);
        let silence = samples(self.rate_hz, FLUSH_MS);
        pcm[..silence].fill(0);
        self.feed(now_us, &pcm[..silence], tell);
        self.pcm = pcm;
        self.decoder.reset();
        self.next = Some(next.plus(self.codec.kind.clock_hz() / 1_000 * FLUSH_MS));
        self.flushed = true;
    }

    /// Ends what is down: the sender's clock begins anew.
    fn begin_anew(&mut self, now_us: u64, tell: &mut impl FnMut(ToneEdge)) {
        self.flush(now_us, tell);
        (self.next, self.offset_us, self.flushed) = (None, None, false);
    }
}

fn samples(rate_hz: u32, ms: u32) -> usize {
    (rate_hz / 1_000 * ms) as usize
}

/// How long so many samples last, in microseconds.
fn span_us(samples: u64, rate_hz: u32) -> i64 {
    let rate_hz = u64::from(rate_hz.max(1));
    let whole_us = (samples / rate_hz).saturating_mul(1_000_000);
    let us = whole_us.saturating_add(samples % rate_hz * 1_000_000 / rate_hz);
    i64::try_from(us).unwrap_or(i64::MAX)
}
