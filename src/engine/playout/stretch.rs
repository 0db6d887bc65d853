//! Shorter and longer sound, by whole pitch periods.
//!
//! A period at the front of what is about to be played is blended into the next one (shorter), or
//! played twice with the same blend (longer). Both happen inside the queue, without a copy.

use super::fifo::Fifo;

/// Pitch periods that are tried, in samples at 8 kHz: 2.5 to 15 ms.
const PERIOD_MIN: usize = 20;
const PERIOD_MAX: usize = 120;

/// How alike two periods must be (normalised correlation), in calm and in haste.
const ALIKE: f32 = 0.9;
const ALIKE_URGENT: f32 = 0.6;

/// Root mean square below which anything may be blended with anything: nobody hears it.
const QUIET: f32 = 60.0;

/// Finds periods at one rate.
#[derive(Debug)]
pub(super) struct Stretcher {
    /// Samples per sample at 8 kHz.
    factor: usize,
    /// The front of the queue at 8 kHz.
    coarse: [f32; 2 * PERIOD_MAX],
}

impl Stretcher {
    pub(super) fn new(pcm_hz: u32) -> Self {
        Self {
            factor: pcm_hz as usize / 8_000,
            coarse: [0.0; 2 * PERIOD_MAX],
        }
    }

    /// Samples it wants to look at: two longest periods.
    pub(super) fn window(&self) -> usize {
        2 * PERIOD_MAX * self.factor
    }

    /// Takes one period, `most` samples or shorter, out of the front. Returns how much; `None` if
    /// the sound does not allow it.
    pub(super) fn shorten(&mut self, queue: &mut Fifo, most: usize, urgent: bool) -> Option<usize> {
        let period = self.period(queue.audio(), most, urgent)?;
        blend(queue.audio(), period, |fade, this, next| {
            this + (next - this) * fade
        });
        queue.drop_front(period);
        Some(period)
    }

    /// Plays one period at the front twice. Returns how long it is.
    pub(super) fn lengthen(&mut self, queue: &mut Fifo, most: usize) -> Option<usize> {
        let period = self.period(queue.audio(), most, false)?;
        if !queue.repeat_front(period) {
            return None;
        }
        // Now first, first, second …: the second of the three goes from what follows the first to
        // what precedes the second, which is the first itself.
        let audio = &mut queue.audio()[period..];
        for at in 0..period {
            let (this, next) = (f32::from(audio[at]), f32::from(audio[period + at]));
            audio[at] = sample(next + (this - next) * fade(at, period));
        }
        Some(period)
    }

    /// The period, at most `most` long, whose repetition is most alike.
    fn period(&mut self, audio: &[i16], most: usize, urgent: bool) -> Option<usize> {
        let coarse = (audio.len() / self.factor).min(2 * PERIOD_MAX);
        let longest = (coarse / 2).min(PERIOD_MAX).min(most / self.factor);
        if longest < PERIOD_MIN {
            return None;
        }
        let heard = &mut self.coarse[..coarse];
        for (to, from) in heard.iter_mut().zip(audio.chunks_exact(self.factor)) {
            let sum: i32 = from.iter().map(|&sample| i32::from(sample)).sum();
            *to = small(sum) / small(i32::try_from(self.factor).unwrap_or(1));
        }
        let (alike, period) = most_alike(heard, longest);
        let power = heard.iter().map(|s| s * s).sum::<f32>() / float(coarse);
        if power < QUIET * QUIET {
            return Some(longest * self.factor);
        }
        let enough = if urgent { ALIKE_URGENT } else { ALIKE };
        (alike >= enough).then_some(period * self.factor)
    }
}

/// Likeness and length of the best period.
fn most_alike(heard: &[f32], longest: usize) -> (f32, usize) {
    let mut best = (0.0, PERIOD_MIN);
    for period in PERIOD_MIN..=longest {
        let (this, next) = heard[..2 * period].split_at(period);
        let (mut both, mut one, mut other) = (0.0_f32, 1.0_f32, 1.0_f32);
        for (a, b) in this.iter().zip(next) {
            both += a * b;
            one += a * a;
            other += b * b;
        }
        let alike = both / (one * other).sqrt();
        if alike > best.0 {
            best = (alike, period);
        }
    }
    best
}

/// Replaces the second period by a mixture of the first and itself.
fn blend(audio: &mut [i16], period: usize, mix: impl Fn(f32, f32, f32) -> f32) {
    let (first, second) = audio.split_at_mut(period);
    for (at, (this, next)) in first.iter().zip(second.iter_mut()).enumerate() {
        *next = sample(mix(fade(at, period), f32::from(*this), f32::from(*next)));
    }
}

/// From nearly 0 to nearly 1 over a period.
fn fade(at: usize, period: usize) -> f32 {
    (float(at) + 0.5) / float(period)
}

#[allow(clippy::cast_precision_loss, reason = "lengths of periods")]
fn float(samples: usize) -> f32 {
    samples as f32
}

#[allow(clippy::cast_precision_loss, reason = "sums of a few samples")]
fn small(sum: i32) -> f32 {
    sum as f32
}

#[allow(clippy::cast_possible_truncation, reason = "a float cast saturates")]
fn sample(value: f32) -> i16 {
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(rate_hz: u32, samples: usize, sound: impl Fn(f32) -> f32) -> Fifo {
        let mut queue = Fifo::new(rate_hz);
        let tail = queue.tail(samples);
        for (at, slot) in tail.iter_mut().enumerate() {
            *slot = sample(sound(at as f32 / rate_hz as f32));
        }
        queue.keep(samples);
        queue
    }

    /// Largest difference between the queue and a voice of 125 Hz that goes on without a break.
    fn break_in_voice(queue: &mut Fifo, rate_hz: u32) -> f32 {
        let audio = queue.audio();
        let difference =
            |(at, &s): (usize, &i16)| (f32::from(s) - voice(at as f32 / rate_hz as f32)).abs();
        audio.iter().enumerate().map(difference).fold(0.0, f32::max)
    }

    fn voice(t: f32) -> f32 {
        let turn = t * 125.0 * std::f32::consts::TAU;
        6_000.0 * turn.sin() + 3_000.0 * (2.0 * turn).sin()
    }

    #[test]
    fn a_voice_loses_and_gains_whole_periods_and_nothing_breaks() {
        for rate_hz in [8_000, 16_000, 48_000] {
            let period = rate_hz as usize / 125;
            let samples = rate_hz as usize / 25;
            let mut stretcher = Stretcher::new(rate_hz);
            let mut shorter = queue(rate_hz, samples, voice);
            assert_eq!(stretcher.shorten(&mut shorter, 9_999, false), Some(period));
            assert_eq!(shorter.len(), samples - period);
            assert!(break_in_voice(&mut shorter, rate_hz) < 3.0);
            let mut longer = queue(rate_hz, samples, voice);
            assert_eq!(stretcher.lengthen(&mut longer, 9_999), Some(period));
            assert_eq!(longer.len(), samples + period);
            assert!(break_in_voice(&mut longer, rate_hz) < 3.0);
        }
    }

    #[test]
    fn loud_noise_is_left_alone_and_silence_is_not() {
        let mut stretcher = Stretcher::new(8_000);
        let noise = |t: f32| ((t * 8_000.0 * 12.9898).sin() * 43_758.547).fract() * 12_000.0;
        let mut loud = queue(8_000, 320, noise);
        assert_eq!(stretcher.shorten(&mut loud, 9_999, false), None);
        assert_eq!(stretcher.lengthen(&mut loud, 9_999), None);
        let mut quiet = queue(8_000, 320, |t| noise(t) / 1_000.0);
        assert_eq!(stretcher.shorten(&mut quiet, 9_999, false), Some(120));
        assert_eq!(stretcher.shorten(&mut quiet, 30, false), Some(30));
        assert_eq!(stretcher.shorten(&mut quiet, PERIOD_MIN - 1, false), None);
        let mut short = queue(8_000, 2 * PERIOD_MIN - 1, |_| 0.0);
        assert_eq!(stretcher.lengthen(&mut short, 9_999), None);
    }
}
