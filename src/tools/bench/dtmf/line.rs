//! What a line does to a signal: noise, dial tone, echo, codecs, lost packets.

use anyhow::{Context as _, Result};
use fastrand::Rng;

use super::sound::{self, Burst, Colour, Sine, float, noise, samples, to_pcm};
use crate::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crate::audio::conceal::Concealer;
use crate::audio::opus::OpusConfig;
use crate::audio::resample::Resampler;

/// Silence before the first and after the last signal of a stream.
const MARGIN_MS: f64 = 300.0;

/// Packets of 20 ms, as they are coded and lost.
const FRAME_MS: usize = 20;

/// Samples at 8 kHz of a packet.
const FRAME: usize = 8 * FRAME_MS;

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Level in dBm0.
    pub(super) noise: Option<(Colour, f64)>,
    /// Tones that never pause.
    pub(super) steady: Vec<Sine>,
    /// Delay in ms and gain of the talker's echo (negative: inverted).
    pub(super) echo: Option<(f64, f64)>,
    /// Offset, full scale = 1.
    pub(super) dc: f64,
    /// Gain of the third-order distortion product relative to a lone full-scale sine's.
    pub(super) cubic: f64,
    /// Gain slope towards high frequencies: `s[n] + tilt * s[n - 1]`.
    pub(super) tilt: f64,
    /// The sender's clock by the receiver's.
    pub(super) pace: f64,
    /// A sample is dropped and repeated in turn, so often.
    pub(super) slip_ms: Option<f64>,
    pub(super) codec: Option<Codec>,
    /// Packets lost of a thousand.
    pub(super) lost_permille: u16,
}

/// What the signal is coded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Pcmu,
    Pcma,
    G722,
    /// Wide band at 16 kbit/s.
    Opus16k,
}

impl Line {
    /// Digital silence around the signal.
    pub(super) const fn clean() -> Self {
        Self {
            noise: None,
            steady: Vec::new(),
            echo: None,
            dc: 0.0,
            cubic: 0.0,
            tilt: 0.0,
            pace: 1.0,
            slip_ms: None,
            codec: None,
            lost_permille: 0,
        }
    }

    /// With white noise of so many dBm0.
    pub(super) const fn noisy(dbm0: f64) -> Self {
        let mut line = Self::clean();
        line.noise = Some((Colour::White, dbm0));
        line
    }

    /// Through a codec.
    pub(super) const fn coded(codec: Codec) -> Self {
        let mut line = Self::clean();
        line.codec = Some(codec);
        line
    }

    /// All of the bursts as the far end hears them.
    pub(super) fn carry(&self, bursts: &[Burst], rng: &mut Rng) -> Result<Carried> {
        let mut signal = Vec::new();
        let mut spans = Vec::with_capacity(bursts.len());
        // Starts between two samples, and anywhere in a packet.
        let mut at = MARGIN_MS * 8.0 + rng.f64() * float(FRAME);
        for burst in bursts {
            let end = burst.add_to(&mut signal, at, self.pace, rng);
            spans.push((at, end));
            at = end + burst.off_ms * sound::RATE_HZ / 1_000.0 / self.pace;
        }
        let length = (samples(at / 8.0 + MARGIN_MS) / FRAME + 1) * FRAME;
        signal.resize(length, 0.0);
        self.distort(&mut signal);
        if let Some((colour, dbm0)) = self.noise {
            let noise = noise(colour, dbm0, signal.len(), rng);
            signal.iter_mut().zip(noise).for_each(|(s, n)| *s += n);
        }
        sound::add_steady(&self.steady, &mut signal, rng);
        let mut pcm: Vec<i16> = signal.iter().map(|s| to_pcm(*s + self.dc)).collect();
        if let Some(every_ms) = self.slip_ms {
            slip(&mut pcm, samples(every_ms));
        }
        let (pcm, lost) = self.transmit(pcm, rng)?;
        Ok(Carried { pcm, spans, lost })
    }

    fn distort(&self, signal: &mut [f64]) {
        if self.tilt != 0.0 {
            let mut before = 0.0;
            for sample in signal.iter_mut() {
                let now = *sample;
                *sample = (now + self.tilt * before) / (1.0 + self.tilt.abs());
                before = now;
            }
        }
        if self.cubic != 0.0 {
            for sample in signal.iter_mut() {
                *sample -= self.cubic * sample.powi(3);
            }
        }
        if let Some((delay_ms, gain)) = self.echo {
            let delay = samples(delay_ms);
            let dry = signal.to_vec();
            for (sample, echo) in signal.iter_mut().skip(delay).zip(dry) {
                *sample += gain * echo;
            }
        }
    }

    /// Through packets; also tells which were lost.
    fn transmit(&self, pcm: Vec<i16>, rng: &mut Rng) -> Result<(Vec<i16>, Vec<usize>)> {
        match self.codec {
            None if self.lost_permille == 0 => Ok((pcm, Vec::new())),
            None => Packets::new(CodecKind::Pcmu, 8_000)?.carry(&pcm, self.lost_permille, rng),
            Some(codec) => {
                let (kind, pcm_hz) = match codec {
                    Codec::Pcmu => (CodecKind::Pcmu, 8_000),
                    Codec::Pcma => (CodecKind::Pcma, 8_000),
                    Codec::G722 => (CodecKind::G722, 16_000),
                    Codec::Opus16k => (CodecKind::Opus, 16_000),
                };
                let wide = resample(&pcm, 8_000, pcm_hz)?;
                let (played, lost) =
                    Packets::new(kind, pcm_hz)?.carry(&wide, self.lost_permille, rng)?;
                Ok((resample(&played, pcm_hz, 8_000)?, lost))
            }
        }
    }
}

/// What the far end hears.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Carried {
    pub(super) pcm: Vec<i16>,
    /// Start and end of each burst, in samples as they were sent.
    pub(super) spans: Vec<(f64, f64)>,
    /// Packets lost, in order.
    lost: Vec<usize>,
}

/// What a codec and two changes of the rate delay a signal by at most, in samples: 8 ms.
const DELAY_MAX: f64 = 64.0;

impl Carried {
    /// The longest stretch of a burst that no lost packet touches, in ms.
    pub(super) fn whole_ms(&self, (start, end): (f64, f64)) -> f64 {
        let (mut from, mut longest) = (start, 0.0_f64);
        for packet in &self.lost {
            let torn = float(packet * FRAME) - DELAY_MAX;
            longest = longest.max(torn.min(end) - from);
            from = from.max(float((packet + 1) * FRAME));
        }
        longest.max(end - from) / 8.0
    }
}

/// A sender and a receiver.
struct Packets {
    encoder: Encoder,
    decoder: Decoder,
    concealer: Concealer,
    frame: usize,
}

impl Packets {
    fn new(kind: CodecKind, pcm_hz: u32) -> Result<Self> {
        let mut config = CodecConfig::new(kind);
        config.opus = OpusConfig {
            bitrate_bps: 16_000,
            ..OpusConfig::at(pcm_hz)
        };
        Ok(Self {
            encoder: Encoder::new(&config)?,
            decoder: Decoder::new(&config)?,
            concealer: Concealer::new(pcm_hz),
            frame: pcm_hz as usize / 1_000 * FRAME_MS,
        })
    }

    fn carry(
        &mut self,
        pcm: &[i16],
        lost_permille: u16,
        rng: &mut Rng,
    ) -> Result<(Vec<i16>, Vec<usize>)> {
        let (mut out, mut lost) = (Vec::with_capacity(pcm.len()), Vec::new());
        let mut payload = [0; 2_000];
        let mut heard = vec![0; self.frame];
        for (n, frame) in pcm.chunks_exact(self.frame).enumerate() {
            let octets = self.encoder.encode(frame, &mut payload)?;
            if rng.u16(..1_000) < lost_permille {
                lost.push(n);
                // Opus has a concealment of its own.
                if !self.decoder.conceal(&mut heard) {
                    self.concealer.conceal(&mut heard);
                }
            } else {
                let decoded = self.decoder.decode(&payload[..octets], &mut heard)?;
                self.concealer.heard(&mut heard[..decoded]);
            }
            out.extend_from_slice(&heard);
        }
        Ok((out, lost))
    }
}

fn resample(pcm: &[i16], from_hz: u32, to_hz: u32) -> Result<Vec<i16>> {
    let mut resampler = Resampler::new(from_hz, to_hz).context("rates of telephony")?;
    let mut out = vec![0; resampler.output_len(pcm.len())];
    resampler.process(pcm, &mut out);
    Ok(out)
}

/// Drops and repeats a sample in turn, every so many samples.
fn slip(pcm: &mut Vec<i16>, every: usize) {
    let mut out = Vec::with_capacity(pcm.len() + 1);
    for (n, chunk) in pcm.chunks(every).enumerate() {
        match chunk.split_last() {
            Some((_, rest)) if n % 2 == 0 => out.extend_from_slice(rest),
            Some((last, _)) => {
                out.extend_from_slice(chunk);
                out.push(*last);
            }
            None => {}
        }
    }
    *pcm = out;
}

#[cfg(test)]
mod tests {
    use super::super::sound::Press;
    use super::*;
    use crate::wire::event::Digit;

    fn carried(line: &Line) -> Carried {
        let bursts: Vec<_> = Digit::ALL[..4]
            .iter()
            .map(|digit| Press::new(-12.0, 50.0, 50.0).of(*digit))
            .collect();
        line.carry(&bursts, &mut Rng::with_seed(3)).unwrap()
    }

    #[test]
    fn signals_lie_where_the_spans_say() {
        let Carried { pcm, spans, .. } = carried(&Line::clean());
        assert_eq!(spans.len(), 4);
        let within = |n: usize| spans.iter().any(|(a, b)| (*a..*b).contains(&float(n)));
        for (n, sample) in pcm.iter().enumerate() {
            assert!(within(n) || *sample == 0, "sample {n} is not silent");
        }
        let heard = (0..pcm.len()).filter(|n| within(*n)).count();
        assert!(heard.abs_diff(4 * 400) <= 4, "{heard} samples");
    }

    #[test]
    fn a_line_is_the_same_every_time() {
        let mut line = Line::coded(Codec::Pcma);
        line.noise = Some((Colour::Pink, -40.0));
        line.lost_permille = 100;
        assert_eq!(carried(&line), carried(&line));
        assert_ne!(carried(&line), carried(&Line::coded(Codec::Pcma)));
    }

    #[test]
    fn a_faster_sender_is_shorter() {
        let mut line = Line::clean();
        line.pace = 1.01;
        let (start, end) = carried(&line).spans[0];
        assert!((end - start - 400.0 / 1.01).abs() < 1e-6);
    }

    #[test]
    fn lost_packets_leave_part_of_a_burst() {
        let whole_ms = |lost: &[usize]| {
            let carried = Carried {
                pcm: Vec::new(),
                spans: Vec::new(),
                lost: lost.to_vec(),
            };
            // From 100 to 200 ms; a packet of 20 ms is heard up to 8 ms late.
            carried.whole_ms((800.0, 1_600.0))
        };
        assert_eq!(whole_ms(&[]), 100.0);
        assert_eq!(whole_ms(&[0, 4, 11, 50]), 100.0);
        assert_eq!(whole_ms(&[5]), 80.0);
        assert_eq!(whole_ms(&[7]), 40.0);
        assert_eq!(whole_ms(&[10]), 92.0);
        assert_eq!(whole_ms(&[5, 6, 8, 9]), 12.0);
    }

    #[test]
    fn slips_leave_the_length() {
        let mut pcm: Vec<i16> = (0..800).collect();
        slip(&mut pcm, 100);
        assert_eq!(pcm.len(), 800);
        assert_eq!(pcm[98..100], [98, 100]);
        assert_eq!(pcm[198..201], [199, 199, 200]);
    }
}
