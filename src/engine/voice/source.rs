//! The samples of one sound at its listener's rate.

use std::sync::Arc;
use std::time::Duration;

use super::play::Sound;
use super::push::Pushed;
use crate::audio::clip::Clip;
use crate::audio::resample::Resampler;
use crate::audio::tone::{ToneGenerator, TonePlan};

/// Samples that are converted at once.
const BLOCK: usize = 160;

/// What a block gives at most: from 8 kHz to 48 kHz.
const CONVERTED_MAX: usize = 6 * BLOCK;

/// A sound on its way to a listener.
#[derive(Debug)]
pub(super) struct Source {
    feed: Feed,
    /// Where its samples are of another rate than the listener's.
    converter: Option<Box<Converter>>,
}

/// Where samples come from, at their own rate.
#[derive(Debug)]
enum Feed {
    Clip {
        clip: Arc<Clip>,
        /// Next sample.
        position: usize,
        /// How often in all, and after this round; `None`: no end.
        times: Option<u32>,
        rounds_left: Option<u32>,
    },
    Tone(Box<Tone>),
    Pushed {
        pushed: Pushed,
        /// Samples heard.
        heard: u64,
    },
}

/// A tone plan, which is played at the listener's own rate.
#[derive(Debug)]
struct Tone {
    plan: TonePlan,
    generator: ToneGenerator,
    rate_hz: u32,
    /// Samples played, its start included.
    played: u64,
}

impl Tone {
    fn new(plan: TonePlan, rate_hz: u32) -> Option<Self> {
        Some(Self {
            generator: ToneGenerator::new(plan.clone(), rate_hz)?,
            plan,
            rate_hz,
            played: 0,
        })
    }

    fn seek(&mut self, ms: u64) {
        self.generator.seek_ms(ms);
        self.played = ms.saturating_mul(u64::from(self.rate_hz)) / 1_000;
    }
}

impl Source {
    /// `None` if the sound's rate is none that we convert.
    pub(super) fn new(sound: Sound, times: Option<u32>, rate_hz: u32) -> Option<Self> {
        let feed = match sound {
            Sound::Clip(clip) => Feed::Clip {
                clip,
                position: 0,
                times,
                rounds_left: times.map(|times| times.saturating_sub(1)),
            },
            Sound::Tone(plan) => Feed::Tone(Box::new(Tone::new(plan, rate_hz)?)),
            Sound::Pushed(pushed) => Feed::Pushed { pushed, heard: 0 },
        };
        let converter = Converter::between(&feed, rate_hz).ok()?;
        Some(Self { feed, converter })
    }

    /// Goes on at another rate. `false` if that cannot be.
    pub(super) fn set_rate(&mut self, to_hz: u32) -> bool {
        if let Feed::Tone(tone) = &mut self.feed {
            let Some(again) = Tone::new(tone.plan.clone(), to_hz) else {
                return false;
            };
            let ms = tone.played.saturating_mul(1_000) / u64::from(tone.rate_hz.max(1));
            **tone = again;
            tone.seek(ms);
        }
        let converter = Converter::between(&self.feed, to_hz);
        let converts = converter.is_ok();
        self.converter = converter.unwrap_or(None);
        converts
    }

    /// Back to where a round of the sequence begins, `start` after the beginning. What was pushed
    /// is gone.
    pub(super) fn rewind(&mut self, start: Duration) {
        match &mut self.feed {
            Feed::Clip {
                clip,
                position,
                times,
                rounds_left,
            } => {
                let from = usize::try_from(samples(start, clip.rate_hz())).unwrap_or(usize::MAX);
                *position = from.min(clip.samples().len());
                *rounds_left = times.map(|times| times.saturating_sub(1));
            }
            Feed::Tone(tone) => tone.seek(u64::try_from(start.as_millis()).unwrap_or(u64::MAX)),
            Feed::Pushed { .. } => {}
        }
        if let Some(converter) = &mut self.converter {
            converter.reset();
        }
    }

    /// Writes the next samples and returns how many there were; fewer than asked: it is over.
    pub(super) fn fill(&mut self, out: &mut [i16]) -> usize {
        match &mut self.converter {
            None => self.feed.read(out),
            Some(converter) => converter.fill(&mut self.feed, out),
        }
    }

    /// Nothing is left to play.
    pub(super) fn is_over(&self) -> bool {
        self.feed.is_over() && self.converter.as_ref().is_none_or(|c| c.is_empty())
    }

    /// Position within the current round.
    pub(super) fn position(&self) -> Duration {
        let (samples, rate_hz) = match &self.feed {
            Feed::Clip { clip, position, .. } => (*position as u64, clip.rate_hz()),
            Feed::Tone(tone) => (tone.played, tone.rate_hz),
            Feed::Pushed { pushed, heard } => (*heard, pushed.rate_hz()),
        };
        Duration::from_micros(samples.saturating_mul(1_000_000) / u64::from(rate_hz.max(1)))
    }

    /// Samples of silence in the place of pushed ones that came too late.
    pub(super) fn missing(&self) -> u32 {
        match &self.feed {
            Feed::Pushed { pushed, .. } => pushed.missing(),
            Feed::Clip { .. } | Feed::Tone(_) => 0,
        }
    }
}

impl Feed {
    fn rate_hz(&self) -> u32 {
        match self {
            Self::Clip { clip, .. } => clip.rate_hz(),
            Self::Tone(tone) => tone.rate_hz,
            Self::Pushed { pushed, .. } => pushed.rate_hz(),
        }
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        match self {
            Self::Clip {
                clip,
                position,
                rounds_left,
                ..
            } => read_rounds(clip.samples(), position, rounds_left, out),
            // A plan that ended within a frame filled the rest of it with silence.
            Self::Tone(tone) if tone.generator.is_finished() => 0,
            Self::Tone(tone) => {
                tone.generator.fill(out);
                tone.played = tone.played.saturating_add(out.len() as u64);
                out.len()
            }
            Self::Pushed { pushed, heard } => {
                let (written, taken) = pushed.read(out);
                *heard += taken as u64;
                written
            }
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Clip {
                clip,
                position,
                rounds_left,
                ..
            } => *position == clip.samples().len() && *rounds_left == Some(0),
            Self::Tone(tone) => tone.generator.is_finished(),
            Self::Pushed { pushed, .. } => pushed.is_over(),
        }
    }
}

/// Reads round after round until `out` is full or no round is left.
fn read_rounds(
    sound: &[i16],
    position: &mut usize,
    rounds_left: &mut Option<u32>,
    out: &mut [i16],
) -> usize {
    let mut filled = 0;
    while filled < out.len() && !sound.is_empty() {
        if *position == sound.len() {
            match rounds_left {
                Some(0) => break,
                Some(rounds) => *rounds -= 1,
                None => {}
            }
            *position = 0;
        }
        let n = (sound.len() - *position).min(out.len() - filled);
        out[filled..filled + n].copy_from_slice(&sound[*position..*position + n]);
        *position += n;
        filled += n;
    }
    filled
}

/// From a feed's rate to the listener's. What a clip or a push of `n` samples gives is, to the
/// sample, `n` times the ratio: the converter's delay is taken off a clip's beginning, and what is
/// left in it at the end is let out.
#[derive(Debug)]
struct Converter {
    resampler: Resampler,
    from_hz: u32,
    to_hz: u32,
    /// Converted and not yet played: these of `converted`.
    waiting: std::ops::Range<usize>,
    converted: [i16; CONVERTED_MAX],
    /// Samples still to be left out at the beginning.
    skip: usize,
    /// Samples in, and out at most, until the feed's end.
    fed: u64,
    given: u64,
    /// The feed has ended.
    ended: bool,
    /// Live samples are not to be waited for, so their beginning is not cut off.
    live: bool,
}

impl Converter {
    /// `Ok(None)`: the rates are the same. `Err`: they are none that we convert.
    fn between(feed: &Feed, to_hz: u32) -> Result<Option<Box<Self>>, ()> {
        let from_hz = feed.rate_hz();
        if from_hz == to_hz {
            return Ok(None);
        }
        let mut made = Box::new(Self {
            resampler: Resampler::new(from_hz, to_hz).ok_or(())?,
            from_hz,
            to_hz,
            waiting: 0..0,
            converted: [0; CONVERTED_MAX],
            skip: 0,
            fed: 0,
            given: 0,
            ended: false,
            live: matches!(feed, Feed::Pushed { .. }),
        });
        made.reset();
        Ok(Some(made))
    }

    fn reset(&mut self) {
        self.resampler.reset();
        self.waiting = 0..0;
        self.skip = match self.live {
            true => 0,
            false => self.resampler.delay_samples(),
        };
        (self.fed, self.given, self.ended) = (0, 0, false);
    }

    /// What the whole feed gives in all, once its end is known.
    fn total(&self) -> u64 {
        let lag = match self.live {
            true => self.resampler.delay_samples() as u64,
            false => 0,
        };
        self.fed * u64::from(self.to_hz) / u64::from(self.from_hz.max(1)) + lag
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && (self.fed == 0 || self.given >= self.total())
    }

    fn fill(&mut self, feed: &mut Feed, out: &mut [i16]) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            let n = self.waiting.len().min(out.len() - filled);
            let from = self.waiting.start;
            out[filled..filled + n].copy_from_slice(&self.converted[from..from + n]);
            self.waiting.start += n;
            filled += n;
            if filled < out.len() && !self.convert(feed, out.len() - filled) {
                break;
            }
        }
        filled
    }

    /// Converts as much as gives about `wanted` samples; `false`: there is no more.
    fn convert(&mut self, feed: &mut Feed, wanted: usize) -> bool {
        let mut block = [0; BLOCK];
        let wanted = (wanted + self.skip) as u64 * u64::from(self.from_hz);
        let wanted = usize::try_from(wanted / u64::from(self.to_hz.max(1))).unwrap_or(BLOCK);
        let wanted = wanted.clamp(1, BLOCK);
        if !self.ended {
            let read = feed.read(&mut block[..wanted]);
            self.fed += read as u64;
            self.ended = read < wanted;
        }
        let total = self.total();
        if self.ended && self.given >= total {
            return false;
        }
        let made = self
            .resampler
            .process(&block[..wanted], &mut self.converted);
        let skipped = self.skip.min(made);
        self.skip -= skipped;
        self.waiting = skipped..made;
        if self.ended {
            // Behind the end silence goes in, and no more of it comes out than the feed is long.
            let left = usize::try_from(total - self.given).unwrap_or(usize::MAX);
            self.waiting.end = self.waiting.end.min(skipped.saturating_add(left));
        }
        self.given += self.waiting.len() as u64;
        true
    }
}

/// Samples of a time span.
pub(super) fn samples(span: Duration, rate_hz: u32) -> u64 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(u64::from(rate_hz)) / 1_000_000
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]
mod tests {
    use super::*;
    use crate::audio::resample::RATES_HZ;
    use crate::engine::voice::push::{PUSH_AHEAD_MAX, pushed};

    fn clip(samples: usize, rate_hz: u32) -> Sound {
        let samples: Vec<i16> = (0..samples).map(|n| (n % 50 * 100) as i16).collect();
        Sound::Clip(Arc::new(Clip::new(samples, rate_hz).unwrap()))
    }

    /// All of a source, in pieces of odd lengths.
    fn drained(source: &mut Source) -> Vec<i16> {
        let mut all = Vec::new();
        for n in (1..).step_by(7) {
            let mut piece = vec![0; n % 331 + 1];
            let filled = source.fill(&mut piece);
            all.extend_from_slice(&piece[..filled]);
            if filled < piece.len() {
                break;
            }
        }
        all
    }

    #[test]
    fn a_clip_is_as_long_at_every_rate_however_it_is_cut() {
        for from_hz in RATES_HZ {
            for to_hz in RATES_HZ {
                let len = from_hz as usize / 10;
                let mut source = Source::new(clip(len, from_hz), Some(2), to_hz).unwrap();
                let played = drained(&mut source).len();
                assert_eq!(played, to_hz as usize / 5, "{from_hz} Hz at {to_hz} Hz");
                assert!(source.is_over());
                source.rewind(Duration::from_millis(50));
                assert!(!source.is_over());
                let again = drained(&mut source).len();
                assert_eq!(again, to_hz as usize * 3 / 20, "{from_hz} Hz at {to_hz} Hz");
            }
        }
    }

    #[test]
    fn what_was_pushed_is_let_out_whole_at_every_rate() {
        for from_hz in RATES_HZ {
            for to_hz in RATES_HZ {
                let (mut pusher, heard) = pushed(from_hz, PUSH_AHEAD_MAX).unwrap();
                pusher.push(&vec![900; from_hz as usize / 10]);
                pusher.finish();
                let mut source = Source::new(Sound::Pushed(heard), None, to_hz).unwrap();
                let all = drained(&mut source);
                let delay = all.len() - to_hz as usize / 10;
                assert!(delay <= to_hz as usize / 250, "{delay} at {to_hz} Hz");
                let middle = all[all.len() / 2];
                assert!((895..=905).contains(&middle), "{middle}");
                assert!(source.is_over());
            }
        }
    }
}
