//! The sound the parties send when codecs are measured, and how it is recognised at the far end.
//!
//! One second that repeats without a seam: five harmonics of a voice, which swells and fades as
//! syllables do, without silence. Everything in it lies on whole hertz below the telephone band's
//! upper end, so a discrete Fourier transform over one second finds all of it, wherever that
//! second starts, and what it finds elsewhere is damage. Since the greatest common divisor of the
//! lines is 1 Hz, their phases tell at what place of the second a recording starts, and so how
//! long the sound was under way.

use std::f64::consts::TAU;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::generator::PACKET_INTERVAL;
use crate::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crate::audio::opus::OpusConfig;

/// Packets until the sound repeats.
pub(crate) const LOOP_FRAMES: usize = 50;

/// Harmonics of 200 Hz, and how strong they are.
const HARMONICS: [(f64, f64); 5] = [
    (200.0, 0.5),
    (400.0, 0.3),
    (600.0, 0.25),
    (1_200.0, 0.12),
    (2_200.0, 0.06),
];

/// How the voice swells: rates in hertz and depths, around [`SWELL_MEAN`].
pub(crate) const SWELLS: [(f64, f64); 2] = [(3.0, 0.25), (5.0, 0.2)];
pub(crate) const SWELL_MEAN: f64 = 0.55;

/// Peak amplitude: some 10 dB below the loudest, so that no codec clips.
const AMPLITUDE: f64 = 9_000.0;

/// Seconds that are encoded before the one that is used: predictors and rate control settle.
const SETTLING_LOOPS: usize = 2;

/// Octets no packet of 20 ms exceeds (RFC 6716 section 3.4: 1,275 for a frame of Opus).
const PAYLOAD_OCTETS_MAX: usize = 1_400;

/// Samples no packet decodes to: 120 ms at 48 kHz.
const SAMPLES_MAX: usize = 5_760;

/// How the parties run `kind`: Opus as a softphone with a good microphone does.
fn config(kind: CodecKind) -> CodecConfig {
    CodecConfig {
        opus: OpusConfig::at(48_000),
        ..CodecConfig::new(kind)
    }
}

/// A decoder of what the parties hear.
pub(crate) fn decoder(kind: CodecKind) -> Result<Decoder> {
    Decoder::new(&config(kind)).with_context(|| format!("no decoder for {kind}"))
}

/// One second of the sound.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the amplitude is far below the limit"
)]
pub(crate) fn pcm(rate_hz: u32) -> Vec<i16> {
    let sample = |n: u32| {
        let t = f64::from(n) / f64::from(rate_hz);
        let wave = |(hz, strength): &(f64, f64)| strength * (TAU * hz * t).sin();
        let swell = SWELL_MEAN + SWELLS.iter().map(wave).sum::<f64>();
        let voice: f64 = HARMONICS.iter().map(wave).sum();
        (AMPLITUDE * swell * voice).round() as i16
    };
    (0..rate_hz).map(sample).collect()
}

/// The payloads of one second of the sound, which can be sent again and again.
pub(crate) fn payloads(kind: CodecKind) -> Result<Vec<Vec<u8>>> {
    let mut encoder =
        Encoder::new(&config(kind)).with_context(|| format!("no encoder for {kind}"))?;
    let second = pcm(encoder.pcm_hz());
    let mut payload = [0; PAYLOAD_OCTETS_MAX];
    let mut payloads = Vec::with_capacity(LOOP_FRAMES);
    for _ in 0..=SETTLING_LOOPS {
        payloads.clear();
        for frame in second.chunks(second.len() / LOOP_FRAMES) {
            let octets = encoder.encode(frame, &mut payload)?;
            payloads.push(payload[..octets].to_vec());
        }
    }
    ensure!(
        payloads.len() == LOOP_FRAMES,
        "{kind} has no frames of 20 ms"
    );
    Ok(payloads)
}

/// A recording compared with the sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Likeness {
    /// Share of the recording's power that belongs to the sound: 1 when nothing else is in it.
    pub(crate) share: f64,
    /// The place in the sound where the recording starts, below one second.
    pub(crate) place: Duration,
}

/// Recognises the sound in what a listener received.
#[derive(Debug)]
pub(crate) struct Ear {
    kind: CodecKind,
    rate_hz: u32,
    /// Frequency and complex amplitude of every line of the sound.
    lines: Vec<(f64, Complex)>,
}

pub(crate) type Complex = (f64, f64);

impl Ear {
    /// For listeners who hear `kind`.
    pub(crate) fn new(kind: CodecKind) -> Result<Self> {
        let rate_hz = decoder(kind)?.pcm_hz();
        let sound = pcm(rate_hz);
        let lines = line_frequencies()
            .map(|hz| (hz, line(&sound, rate_hz, hz)))
            .collect();
        Ok(Self {
            kind,
            rate_hz,
            lines,
        })
    }

    /// Decodes consecutive packets, the missing ones `None`, and compares the last second of them
    /// with the sound. `None` when there is no second, or nothing but silence in it.
    pub(crate) fn listen(&self, packets: &[Option<&[u8]>]) -> Result<Option<Likeness>> {
        let mut decoder = decoder(self.kind)?;
        let frame = self.rate_hz as usize / LOOP_FRAMES;
        let mut heard = Vec::with_capacity(packets.len() * frame);
        let mut pcm = [0; SAMPLES_MAX];
        for packet in packets {
            let samples = packet.map_or(Ok(0), |payload| decoder.decode(payload, &mut pcm));
            // What is missing or cannot be decoded is silence: nobody is to sound better by it.
            let samples = samples.unwrap_or(0).min(frame);
            pcm[samples..].fill(0);
            heard.extend_from_slice(&pcm[..frame]);
        }
        let second = heard.len().checked_sub(self.rate_hz as usize);
        Ok(second.and_then(|from| self.compare(&heard[from..])))
    }

    /// One second of samples.
    fn compare(&self, second: &[i16]) -> Option<Likeness> {
        let power: f64 = second.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let power = power / f64::from(self.rate_hz);
        if power == 0.0 {
            return None;
        }
        let found: Vec<(f64, Complex)> = self
            .lines
            .iter()
            .map(|(hz, _)| (*hz, line(second, self.rate_hz, *hz)))
            .collect();
        // A line of amplitude a has the power a²/2.
        let of_sound: f64 = found
            .iter()
            .map(|(_, (re, im))| (re * re + im * im) / 2.0)
            .sum();
        Some(Likeness {
            share: of_sound / power,
            place: self.place(&found),
        })
    }

    /// The delay under which the phases of all lines agree best, to 0.05 ms: a quarter of the
    /// period of the highest line would be too coarse already at 0.12 ms.
    fn place(&self, found: &[(f64, Complex)]) -> Duration {
        const STEPS: u32 = 20_000;
        let agreement = |step: u32| -> f64 {
            let t = f64::from(step) / f64::from(STEPS);
            let lines = self.lines.iter().zip(found);
            lines
                .map(|((hz, (a, b)), (_, (c, d)))| {
                    // Re(conj(sound) * found * e^(-j 2 pi f t))
                    let (re, im) = (a * c + b * d, a * d - b * c);
                    let (sin, cos) = (TAU * hz * t).sin_cos();
                    re * cos + im * sin
                })
                .sum()
        };
        let best = (0..STEPS).max_by(|x, y| agreement(*x).total_cmp(&agreement(*y)));
        Duration::from_secs(1) * best.unwrap_or(0) / STEPS
    }
}

/// Every harmonic, and beside it what the swelling makes of it.
fn line_frequencies() -> impl Iterator<Item = f64> {
    let beside = |hz: f64| {
        SWELLS
            .iter()
            .flat_map(move |(rate, _)| [hz - rate, hz + rate])
    };
    HARMONICS
        .iter()
        .flat_map(move |(hz, _)| std::iter::once(*hz).chain(beside(*hz)))
}

/// Complex amplitude of a whole number of hertz in one second of samples.
pub(crate) fn line(second: &[i16], rate_hz: u32, hz: f64) -> Complex {
    let mut sum = (0.0, 0.0);
    let mut t = 0.0;
    for sample in second {
        let (sin, cos) = (TAU * hz * t / f64::from(rate_hz)).sin_cos();
        sum.0 += f64::from(*sample) * cos;
        sum.1 -= f64::from(*sample) * sin;
        t += 1.0;
    }
    let scale = 2.0 / f64::from(rate_hz);
    (sum.0 * scale, sum.1 * scale)
}

/// Time between two packets, as a part of the sound.
pub(crate) fn place_of(frame: usize) -> Duration {
    PACKET_INTERVAL * u32::try_from(frame % LOOP_FRAMES).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [CodecKind; 4] = [
        CodecKind::Pcmu,
        CodecKind::Pcma,
        CodecKind::G722,
        CodecKind::Opus,
    ];

    fn twice(payloads: &[Vec<u8>]) -> Vec<Option<&[u8]>> {
        payloads
            .iter()
            .chain(payloads)
            .map(|p| Some(&p[..]))
            .collect()
    }

    #[test]
    fn the_sound_survives_every_codec_and_is_placed() {
        for kind in ALL {
            let mut sent = payloads(kind).unwrap();
            sent.rotate_left(13);
            let heard = Ear::new(kind)
                .unwrap()
                .listen(&twice(&sent))
                .unwrap()
                .unwrap();
            assert!(heard.share > 0.98, "{kind}: {heard:?}");
            // What encoder and decoder look ahead and back shows: up to 10 ms with Opus.
            let late = place_of(13).saturating_sub(heard.place);
            assert!(late < Duration::from_millis(10), "{kind}: {heard:?}");
            assert!(
                heard.place <= place_of(13) + Duration::from_micros(50),
                "{kind}: {heard:?}"
            );
        }
    }

    #[test]
    fn damage_is_heard() {
        let sent = payloads(CodecKind::Pcmu).unwrap();
        let ear = Ear::new(CodecKind::Pcmu).unwrap();
        let mut holed = twice(&sent);
        for hole in holed.iter_mut().skip(50).step_by(10) {
            *hole = None;
        }
        let heard = ear.listen(&holed).unwrap().unwrap();
        assert!((0.7..0.95).contains(&heard.share), "{heard:?}");
        let mut swapped = twice(&sent);
        for pair in swapped.chunks_mut(2) {
            pair.swap(0, 1);
        }
        let heard = ear.listen(&swapped).unwrap().unwrap();
        assert!(heard.share < 0.98, "{heard:?}");
    }

    #[test]
    fn silence_noise_and_too_little_are_not_the_sound() {
        let ear = Ear::new(CodecKind::Pcmu).unwrap();
        assert_eq!(ear.listen(&vec![None; 100]).unwrap(), None);
        let sent = payloads(CodecKind::Pcmu).unwrap();
        assert_eq!(ear.listen(&twice(&sent)[..49]).unwrap(), None);
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<Vec<u8>> = (0..50)
            .map(|_| (0..160).map(|_| random.u8(..)).collect())
            .collect();
        let heard = ear.listen(&twice(&noise)).unwrap().unwrap();
        assert!(heard.share < 0.1, "{heard:?}");
    }

    #[test]
    fn payloads_have_the_length_of_twenty_milliseconds() {
        for kind in [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722] {
            assert!(payloads(kind).unwrap().iter().all(|p| p.len() == 160));
        }
        let opus = payloads(CodecKind::Opus).unwrap();
        let octets: usize = opus.iter().map(Vec::len).sum();
        // 32 kbit/s are 4,000 octets a second.
        assert!((1_500..6_000).contains(&octets), "{octets}");
    }
}
