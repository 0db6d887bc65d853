//! Concealment of lost packets in decoded audio, for codecs that have none of their own.
//!
//! A loss is filled with the continuation of what was heard: the last pitch period's excitation
//! repeated through the spectral envelope (`conceal/extend.rs`), fading into the line's own
//! background noise. Nothing is delayed: joints need no look-back, and the first good packet is
//! cross-faded in place.
//!
//! When the packet *after* the loss is there already, as it mostly is in a playout buffer,
//! [`Concealer::bridge`] also continues that packet backwards and fades from one to the other.
//! That costs no delay either and hears much better: `docs/quality.md` has both measured, and
//! `make quality` measures again.
//!
//! Design notes. G.711 Appendix I repeats waveforms and therefore delays everything by 3.75 ms;
//! its search over 20 ms of pitch prefers how the sound was to how it is. WebRTC's NetEQ shifts
//! the good packet in time to fit the concealed one, which only its owner, the playout buffer,
//! may do; see [`stretch`](super::stretch) for that.

mod extend;
mod noise;
mod predict;

use extend::{Extension, Shape};
use noise::Background;
pub(super) use predict::dot;

/// Sample rates that are understood.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Fade of speech and of noise-like sound per second, in nepers: 2.2 and 3.9 dB per 10 ms. Speech
/// rarely stays as loud, and what is added where nothing was disturbs more than what lacks.
const FADE_PERIODIC: f32 = 25.0;
const FADE_NOISY: f32 = 45.0;

/// Fade while bridging, where the other end's level is known.
const FADE_BRIDGE: f32 = 15.0;

/// Everything fades out fully between this and twice this; only a tone is held until then.
const HELD_MS: usize = 60;

/// Share of the last periods' decay that goes on.
const TREND: f32 = 0.2;

/// Cross-fade into the first good packet after a concealment.
const MERGE_US: usize = 5_000;

/// Longest gap that is bridged, counted from the first bridged sample.
const BRIDGE_MS_MAX: usize = 60;

/// Least sound after the gap that says enough to be continued backwards.
const BRIDGE_MS_MIN: usize = 10;

/// Samples worked on at once.
const BLOCK: usize = 64;

/// Samples by which a packet is known to be the one bridged to.
const FINGERPRINT: usize = 16;

/// Fills gaps in one direction of one stream of mono 16-bit sound.
///
/// ```
/// use crosspoint::audio::conceal::Concealer;
///
/// let mut concealer = Concealer::new(8_000);
/// let mut packet = [0; 160];
/// concealer.heard(&mut packet); // decoded; now to be played
/// concealer.conceal(&mut packet); // the next one is lost: this is played in its place
/// assert!(concealer.is_concealing());
/// ```
#[derive(Debug)]
pub struct Concealer {
    shape: Shape,
    /// The last [`Shape::past`] samples given out.
    history: Vec<i16>,
    past: Vec<f32>,
    forward: Extension,
    backward: Extension,
    /// The other end continued backwards: the sample just before it comes first.
    behind: Vec<f32>,
    background: Background,
    gap: Option<Gap>,
}

/// What has been filled in since the last good packet.
#[derive(Debug, Clone, Copy)]
struct Gap {
    /// Samples filled in.
    filled: usize,
    /// Amplitude of the forward extension.
    gain: f32,
    /// Where in `filled` bridging began.
    bridged_from: Option<usize>,
    /// The first samples of the packet bridged to, once the gap is closed.
    closed_before: Option<[i16; FINGERPRINT]>,
}

impl Gap {
    /// What is left of a sound that is held for so many samples and fades within as many more.
    fn left(&self, held: usize) -> f32 {
        let left = (2 * held).saturating_sub(self.filled.max(held));
        float(left) / float(held)
    }
}

impl Concealer {
    /// For sound of `rate_hz`, 8000 to 48 000. Allocates all it will ever need, about 12 kB at
    /// 8 kHz and 60 kB at 48 kHz.
    ///
    /// # Panics
    /// When the rate is outside 8 to 48 kHz.
    #[must_use]
    pub fn new(rate_hz: u32) -> Self {
        assert!(
            RATES_HZ.contains(&rate_hz),
            "cannot conceal at {rate_hz} Hz"
        );
        let shape = Shape::new(rate_hz as usize);
        let past = shape.past();
        Self {
            history: vec![0; past],
            past: vec![0.0; past],
            forward: Extension::new(&shape),
            backward: Extension::new(&shape),
            behind: vec![0.0; BRIDGE_MS_MAX * shape.rate_hz / 1_000],
            background: Background::new(shape.rate_hz),
            shape,
            gap: None,
        }
    }

    /// Whether the last samples given out were filled in.
    #[must_use]
    pub fn is_concealing(&self) -> bool {
        self.gap.is_some_and(|gap| gap.filled > 0)
    }

    /// Takes decoded sound of any length that is played next. After a concealment its first 5 ms
    /// are cross-faded in place, so that nothing clicks; otherwise it is not changed.
    pub fn heard(&mut self, pcm: &mut [i16]) {
        if pcm.is_empty() {
            return;
        }
        if let Some(gap) = self.gap.take()
            && gap.filled > 0
            && !gap
                .closed_before
                .is_some_and(|start| pcm.starts_with(&start))
        {
            self.merge(gap, pcm);
        }
        self.background.hear(pcm);
        self.remember(pcm);
    }

    /// Fills `out`, of any length, with a continuation of what was heard: speech fades within
    /// 120 ms to the line's background noise; a tone is held for the first 60 ms of them.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if out.is_empty() {
            return;
        }
        let mut gap = self.gap_so_far();
        gap.bridged_from = None;
        gap.closed_before = None;
        for block in out.chunks_mut(BLOCK) {
            self.continue_into(block, &mut gap);
        }
        self.gap = Some(gap);
        self.remember(out);
    }

    /// Fills `out` like [`conceal`](Self::conceal), knowing that after it and `later` more lost
    /// samples the decoded sound `next` follows. A gap may be filled in several calls; when `next`
    /// is what is then given to [`heard`](Self::heard), it is not changed.
    ///
    /// At least 10 ms of `next` must be there, and 20 ms or more serve best; gaps over 60 ms are
    /// concealed without it.
    pub fn bridge(&mut self, out: &mut [i16], later: usize, next: &[i16]) {
        let remaining = out.len().saturating_add(later);
        let least = BRIDGE_MS_MIN * self.shape.rate_hz / 1_000;
        if out.is_empty() || remaining > self.behind.len() || next.len() < least {
            return self.conceal(out);
        }
        let mut gap = self.gap_so_far();
        self.look_back_from(next, remaining);
        let from = *gap.bridged_from.get_or_insert(gap.filled);
        let whole = float(gap.filled - from + remaining);
        let fade = (-FADE_BRIDGE * (1.0 - self.forward.steady) / float(self.shape.rate_hz)).exp();
        let fade_back =
            (-FADE_BRIDGE * (1.0 - self.backward.steady) / float(self.shape.rate_hz)).exp();
        let mut behind = fade_back.powi(i32::try_from(later).unwrap_or(i32::MAX));
        for back in &mut self.behind[later..remaining] {
            *back *= behind;
            behind *= fade_back;
        }
        let held = self.held();
        let mut ahead = [0.0; BLOCK];
        let behind = self.behind[later..remaining].rchunks(BLOCK);
        for (block, behind) in out.chunks_mut(BLOCK).zip(behind) {
            let ahead = &mut ahead[..block.len()];
            self.forward.go_on(ahead);
            let sources = ahead.iter().zip(behind.iter().rev());
            for (out, (ahead, behind)) in block.iter_mut().zip(sources) {
                let share = (float(gap.filled - from) + 0.5) / whole;
                let gain = gap.gain * gap.left(held);
                *out = sample(ahead * gain * (1.0 - share) + behind * share);
                gap.gain *= fade;
                gap.filled += 1;
            }
        }
        gap.closed_before = (later == 0).then(|| next.first_chunk().copied()).flatten();
        self.gap = Some(gap);
        self.remember(out);
    }

    /// Tells what was filled in and what would be: to the start of `out` come the last `before`
    /// samples of the gap so far, as many as are remembered, and then the next `ahead` ones of
    /// [`conceal`](Self::conceal), without the background. Returns how many samples that are;
    /// what is filled in afterwards is not changed by it.
    pub fn foresee(&mut self, before: usize, ahead: usize, out: &mut [i16]) -> usize {
        let mut gap = self.gap_so_far();
        self.gap = Some(gap);
        let before = before
            .min(gap.filled)
            .min(self.history.len())
            .min(out.len());
        let ahead = ahead.min(out.len() - before);
        out[..before].copy_from_slice(&self.history[self.history.len() - before..]);
        let fade = self.fade_per_sample();
        self.backward.take_over(&self.forward);
        let mut block = [0.0; BLOCK];
        for out in out[before..][..ahead].chunks_mut(BLOCK) {
            let block = &mut block[..out.len()];
            self.backward.go_on(block);
            for (out, ahead) in out.iter_mut().zip(block) {
                *out = sample(*ahead * gap.gain);
                gap.gain *= fade;
            }
        }
        before + ahead
    }

    /// The gap that is open, or a new one with what was heard before it learned.
    fn gap_so_far(&mut self) -> Gap {
        if let Some(gap) = self.gap {
            return gap;
        }
        for (past, sample) in self.past.iter_mut().zip(&self.history) {
            *past = f32::from(*sample);
        }
        self.forward.learn(&self.shape, &self.past, self.past.len());
        self.background.learn();
        Gap {
            filled: 0,
            gain: 1.0,
            bridged_from: None,
            closed_before: None,
        }
    }

    /// Fills `behind` with `next` continued backwards.
    fn look_back_from(&mut self, next: &[i16], length: usize) {
        let known = next.len().min(self.past.len());
        let (unknown, past) = self.past.split_at_mut(self.history.len() - known);
        unknown.fill(0.0);
        for (past, sample) in past.iter_mut().rev().zip(next) {
            *past = f32::from(*sample);
        }
        self.backward.learn(&self.shape, &self.past, known);
        self.backward.go_on(&mut self.behind[..length]);
    }

    /// Fills a block from what was heard alone.
    fn continue_into(&mut self, block: &mut [i16], gap: &mut Gap) {
        let (mut speech, mut noise) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (speech, noise) = (&mut speech[..block.len()], &mut noise[..block.len()]);
        let fade = self.fade_per_sample();
        let held = self.held();
        self.forward.go_on(speech);
        self.background.go_on(noise);
        for (out, (speech, noise)) in block.iter_mut().zip(speech.iter().zip(noise)) {
            let gain = gap.gain * gap.left(held);
            *out = sample(speech * gain + *noise * (1.0 - gain * gain).sqrt());
            gap.gain *= fade;
            gap.filled += 1;
        }
    }

    /// Samples for which even a tone is held.
    fn held(&self) -> usize {
        HELD_MS * self.shape.rate_hz / 1_000
    }

    /// The factor by which the forward extension gets quieter with each sample.
    fn fade_per_sample(&self) -> f32 {
        let sound = &self.forward;
        let rate = FADE_PERIODIC + (FADE_NOISY - FADE_PERIODIC) * (1.0 - sound.periodic);
        let fade = (-rate / float(self.shape.rate_hz)).exp();
        let trend = sound.trend.powf(TREND / float(sound.lag()));
        fade * trend + sound.steady * (1.0 - fade * trend)
    }

    /// Fades from the extension to the start of good sound.
    fn merge(&mut self, mut gap: Gap, pcm: &mut [i16]) {
        let length = (MERGE_US * self.shape.rate_hz / 1_000_000).min(pcm.len());
        let whole = float(length + 1);
        let mut share = 0.0;
        let mut block = [0; BLOCK];
        for good in pcm[..length].chunks_mut(BLOCK) {
            let block = &mut block[..good.len()];
            self.continue_into(block, &mut gap);
            for (good, filled) in good.iter_mut().zip(block) {
                share += 1.0 / whole;
                *good = sample(f32::from(*good) * share + f32::from(*filled) * (1.0 - share));
            }
        }
    }

    /// Makes `pcm` the newest of the history.
    fn remember(&mut self, pcm: &[i16]) {
        let kept = self.history.len();
        let new = &pcm[pcm.len().saturating_sub(kept)..];
        self.history.copy_within(new.len().., 0);
        self.history[kept - new.len()..].copy_from_slice(new);
    }
}

#[allow(clippy::cast_precision_loss, reason = "lengths below 2^24")]
fn float(samples: usize) -> f32 {
    samples as f32
}

/// Rounds; the cast saturates.
#[allow(clippy::cast_possible_truncation, reason = "saturates by definition")]
fn sample(value: f32) -> i16 {
    value.round() as i16
}

#[cfg(test)]
mod tests;
