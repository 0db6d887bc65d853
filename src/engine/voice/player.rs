//! One sound on its way to one leg: position, rounds, loudness.

use std::time::Duration;

use super::api::{Play, PlayId, PlayReport, Sound};
use crate::audio::clip::Clip;
use crate::audio::mix::{Gain, gain};
use crate::audio::resample::Resampler;
use crate::audio::tone::ToneGenerator;

/// A player on a leg whose frames are at `rate_hz`.
#[derive(Debug)]
pub(in crate::engine) struct Player {
    pub(in crate::engine) id: PlayId,
    source: Source,
    /// The sound as ordered, for a leg that changes its rate.
    sound: Sound,
    rate_hz: u32,
    gain: Gain,
    pub(in crate::engine) overlay: bool,
    /// Rounds that are left after this one; `None`: no end.
    rounds_left: Option<u32>,
    /// Samples that may still be played.
    samples_left: u64,
    /// Samples played at `rate_hz`, the start offset included.
    samples_played: u64,
    /// Frames that were really sent.
    pub(in crate::engine) frames: u32,
}

#[derive(Debug)]
enum Source {
    Clip {
        /// Next sample, at the clip's own rate.
        position: usize,
        converter: Option<Box<Converter>>,
    },
    Tone(Box<ToneGenerator>),
}

/// From a clip's rate to the leg's.
#[derive(Debug)]
struct Converter {
    resampler: Resampler,
    from_hz: u32,
    to_hz: u32,
}

impl Converter {
    fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        Some(Self {
            resampler: Resampler::new(from_hz, to_hz)?,
            from_hz,
            to_hz,
        })
    }
}

impl Player {
    /// `None` if the clip's rate is none that we convert.
    pub(in crate::engine) fn new(play: Play, rate_hz: u32) -> Option<Self> {
        let samples_left = play.limit.map_or(u64::MAX, |limit| samples(limit, rate_hz));
        let source = Source::new(&play.sound, play.start, rate_hz)?;
        Some(Self {
            id: play.id,
            source,
            sound: play.sound,
            rate_hz,
            gain: play.gain,
            overlay: play.overlay,
            rounds_left: play.times.map(|times| times.saturating_sub(1)),
            samples_left,
            samples_played: samples(play.start, rate_hz),
            frames: 0,
        })
    }

    /// Goes on at another rate, after the leg changed its codec. `false` if that cannot be.
    pub(in crate::engine) fn set_rate(&mut self, rate_hz: u32) -> bool {
        if rate_hz == self.rate_hz {
            return true;
        }
        let Some(source) = Source::new(&self.sound, self.position(), rate_hz) else {
            return false;
        };
        if self.samples_left != u64::MAX {
            self.samples_left =
                self.samples_left * u64::from(rate_hz) / u64::from(self.rate_hz.max(1));
        }
        self.samples_played =
            self.samples_played * u64::from(rate_hz) / u64::from(self.rate_hz.max(1));
        (self.source, self.rate_hz) = (source, rate_hz);
        true
    }

    /// Writes the next samples and returns how many there were; fewer than asked: it has ended.
    pub(in crate::engine) fn fill(&mut self, out: &mut [i16]) -> usize {
        let most = usize::try_from(self.samples_left).unwrap_or(usize::MAX);
        let wanted = out.len().min(most);
        let out = &mut out[..wanted];
        let filled = match &mut self.source {
            // A plan that ended within a frame filled the rest of it with silence.
            Source::Tone(tone) if tone.is_finished() => 0,
            Source::Tone(tone) => {
                tone.fill(out);
                out.len()
            }
            Source::Clip {
                position,
                converter,
            } => {
                let Sound::Clip(clip) = &self.sound else {
                    return 0;
                };
                fill_rounds(clip, position, converter, &mut self.rounds_left, out)
            }
        };
        gain(&mut out[..filled], self.gain);
        self.samples_left = self.samples_left.saturating_sub(filled as u64);
        self.samples_played += filled as u64;
        filled
    }

    /// Nothing is left to play: a sound of whole frames ends with its last one, and not with a
    /// silent one after it.
    pub(in crate::engine) fn is_over(&self) -> bool {
        let played = match (&self.source, &self.sound) {
            (Source::Tone(tone), _) => tone.is_finished(),
            (Source::Clip { position, .. }, Sound::Clip(clip)) => {
                *position == clip.samples().len() && self.rounds_left == Some(0)
            }
            (Source::Clip { .. }, Sound::Tone(_)) => false,
        };
        played || self.samples_left == 0
    }

    pub(in crate::engine) fn report(&self) -> PlayReport {
        PlayReport {
            id: self.id,
            position: self.position(),
            frames: self.frames,
        }
    }

    /// Position within the current round.
    fn position(&self) -> Duration {
        match (&self.source, &self.sound) {
            (Source::Clip { position, .. }, Sound::Clip(clip)) => {
                let us = *position as u64 * 1_000_000 / u64::from(clip.rate_hz().max(1));
                Duration::from_micros(us)
            }
            _ => Duration::from_micros(
                self.samples_played * 1_000_000 / u64::from(self.rate_hz.max(1)),
            ),
        }
    }
}

impl Source {
    fn new(sound: &Sound, start: Duration, rate_hz: u32) -> Option<Self> {
        match sound {
            Sound::Tone(plan) => {
                let mut tone = ToneGenerator::new(plan.clone(), rate_hz)?;
                tone.seek_ms(u64::try_from(start.as_millis()).unwrap_or(u64::MAX));
                Some(Self::Tone(Box::new(tone)))
            }
            Sound::Clip(clip) => {
                let converter = if clip.rate_hz() == rate_hz {
                    None
                } else {
                    Some(Box::new(Converter::new(clip.rate_hz(), rate_hz)?))
                };
                let position = usize::try_from(samples(start, clip.rate_hz())).ok()?;
                Some(Self::Clip {
                    position: position.min(clip.samples().len()),
                    converter,
                })
            }
        }
    }
}

/// Samples of a time span.
fn samples(span: Duration, rate_hz: u32) -> u64 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(u64::from(rate_hz)) / 1_000_000
}

/// Plays round after round until `out` is full or no round is left.
fn fill_rounds(
    clip: &Clip,
    position: &mut usize,
    converter: &mut Option<Box<Converter>>,
    rounds_left: &mut Option<u32>,
    out: &mut [i16],
) -> usize {
    let sound = clip.samples();
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
        let (taken, written) = match converter {
            None => copy(&sound[*position..], &mut out[filled..]),
            Some(converter) => convert(converter, &sound[*position..], &mut out[filled..]),
        };
        *position += taken;
        filled += written;
        if taken == 0 && written == 0 {
            break;
        }
    }
    filled
}

fn copy(sound: &[i16], out: &mut [i16]) -> (usize, usize) {
    let n = sound.len().min(out.len());
    out[..n].copy_from_slice(&sound[..n]);
    (n, n)
}

/// Converts as much of the sound as gives what fits into `out`.
fn convert(converter: &mut Converter, sound: &[i16], out: &mut [i16]) -> (usize, usize) {
    let fits = out.len() * converter.from_hz as usize / converter.to_hz as usize;
    let mut taken = sound.len().min(fits.max(1));
    while taken > 0 && converter.resampler.output_len(taken) > out.len() {
        taken -= 1;
    }
    let written = converter.resampler.process(&sound[..taken], out);
    (taken, written)
}
