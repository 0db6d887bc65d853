//! Clips: recorded audio, decoded once into mono PCM that any number of legs play.
//!
//! A file is hostile input like any packet: everything here is bounded, sizes in headers are
//! never believed, and what a truncated file still holds is played. What a file is, its content
//! says, not its name.
//!
//! Decoding costs milliseconds to seconds and allocates: never call it on a packet path. Playing
//! costs nothing but reading, once [`Clip::at_rate`] has brought the clip to the engine's rate.

mod convert;
mod mp3;
#[cfg(feature = "opus")]
mod ogg;
pub(crate) mod wav;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::g711::{alaw_to_linear, ulaw_to_linear};
use super::ogg as page;

/// Largest file or download that is decoded, in bytes: twelve minutes of 44.1 kHz stereo WAV.
pub const INPUT_BYTES_MAX: usize = 128 << 20;
/// Longest clip, in seconds.
pub const CLIP_SECONDS_MAX: usize = 3600;
/// Largest decoded clip, in bytes of 16-bit samples: 23 minutes at 48 kHz, more than the hour of
/// [`CLIP_SECONDS_MAX`] at 16 kHz.
pub const CLIP_BYTES_MAX: usize = 128 << 20;
/// Lowest sampling rate of a clip, in Hz.
pub const CLIP_RATE_MIN_HZ: u32 = 4000;
/// Highest sampling rate of a clip, in Hz.
pub const CLIP_RATE_MAX_HZ: u32 = 192_000;
/// Most channels of a file; they are mixed down to one.
pub const CLIP_CHANNELS_MAX: usize = 32;

/// Mono 16-bit PCM with its sampling rate. Immutable; cloning shares the samples.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    rate_hz: u32,
    samples: Arc<[i16]>,
}

/// Raw audio, which no header describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RawEncoding {
    /// G.711 µ-law, one octet per sample.
    Pcmu,
    /// G.711 A-law, one octet per sample.
    Pcma,
    /// RFC 3551 §4.5.11: 16-bit two's complement in network byte order.
    L16,
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// RIFF/WAVE, RF64 or BW64.
    Wav,
    /// MPEG-1, 2 or 2.5 audio, with or without an ID3v2 tag before it.
    Mp3,
    /// An Ogg stream; only Opus in it is decoded.
    Ogg,
}

/// Why bytes do not become a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// More than [`INPUT_BYTES_MAX`].
    #[error("{bytes} bytes are too many, the limit is {INPUT_BYTES_MAX}")]
    TooLarge {
        /// How many there are.
        bytes: u64,
    },
    /// Longer than [`CLIP_SECONDS_MAX`] or decoded larger than [`CLIP_BYTES_MAX`].
    #[error("too long: at {rate_hz} Hz a clip may last {} s", seconds_max(*rate_hz))]
    TooLong {
        /// The rate it has.
        rate_hz: u32,
    },
    /// Nothing that is known here begins so.
    #[error("not WAV, MP3 or Ogg Opus (begins with \"{}\")", starts.escape_ascii())]
    Unknown {
        /// The first bytes, zeros if there are fewer.
        starts: [u8; 8],
    },
    /// There is no sample in it.
    #[error("{container}: holds no audio")]
    Empty {
        /// What it is.
        container: Container,
    },
    /// It ends before the audio begins.
    #[error("{container}: ends at byte {at}, inside of {what}")]
    Truncated {
        /// What it is.
        container: Container,
        /// What was being read.
        what: &'static str,
        /// Offset of the end.
        at: usize,
    },
    /// A rule of the format is broken where nothing can be guessed.
    #[error("{container}: {rule} (byte {at})")]
    Malformed {
        /// What it is.
        container: Container,
        /// The rule.
        rule: &'static str,
        /// Offset of what breaks it.
        at: usize,
    },
    /// A sampling rate outside of [`CLIP_RATE_MIN_HZ`] to [`CLIP_RATE_MAX_HZ`].
    #[error("a sampling rate of {hz} Hz is not {CLIP_RATE_MIN_HZ} to {CLIP_RATE_MAX_HZ}")]
    Rate {
        /// The rate.
        hz: u32,
    },
    /// No channel, or more than [`CLIP_CHANNELS_MAX`].
    #[error("{count} channels are not 1 to {CLIP_CHANNELS_MAX}")]
    Channels {
        /// How many.
        count: usize,
    },
    /// A WAV file in an encoding that is not decoded here.
    #[error("WAV: format tag {tag:#06x} with {bits} bits is not supported")]
    WavEncoding {
        /// `wFormatTag`, of the sub-format in an extensible header.
        tag: u16,
        /// `wBitsPerSample`.
        bits: u16,
    },
    /// An Ogg stream of another codec, or Opus with more than two channels.
    #[error("Ogg: {what} is not supported")]
    OggStream {
        /// What it holds.
        what: &'static str,
    },
    /// This build has no Opus decoder (feature `opus`).
    #[error("Ogg Opus: this build has no Opus decoder")]
    NoOpus,
}

impl Clip {
    /// A clip of samples.
    ///
    /// # Errors
    /// [`ClipError::Rate`], [`ClipError::TooLong`].
    pub fn new(samples: impl Into<Arc<[i16]>>, rate_hz: u32) -> Result<Self, ClipError> {
        let samples = samples.into();
        if samples.len() > samples_max(rate_hz)? {
            return Err(ClipError::TooLong { rate_hz });
        }
        Ok(Self { rate_hz, samples })
    }

    /// Decodes a WAV, MP3 or Ogg Opus file. What a truncated file holds is kept.
    ///
    /// An hour of WAV takes a second, of MP3 five, of Opus twenty.
    ///
    /// # Errors
    /// Any [`ClipError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ClipError> {
        checked_len(bytes)?;
        match sniff(bytes) {
            Some(Container::Wav) => wav::decode(bytes),
            Some(Container::Mp3) => mp3::decode(bytes),
            #[cfg(feature = "opus")]
            Some(Container::Ogg) => ogg::decode(bytes),
            #[cfg(not(feature = "opus"))]
            Some(Container::Ogg) => Err(ClipError::NoOpus),
            None => {
                let mut starts = [0; 8];
                let n = bytes.len().min(starts.len());
                starts[..n].copy_from_slice(&bytes[..n]);
                Err(ClipError::Unknown { starts })
            }
        }
    }

    /// Decodes audio without a header: interleaved `channels` at `rate_hz`.
    ///
    /// # Errors
    /// [`ClipError::TooLarge`], [`ClipError::Rate`], [`ClipError::Channels`],
    /// [`ClipError::TooLong`].
    pub fn raw(
        bytes: &[u8],
        encoding: RawEncoding,
        rate_hz: u32,
        channels: usize,
    ) -> Result<Self, ClipError> {
        checked_len(bytes)?;
        let samples = match encoding {
            RawEncoding::Pcmu => mixed_down(bytes, rate_hz, channels, |[octet]: [u8; 1]| {
                ulaw_to_linear(octet)
            }),
            RawEncoding::Pcma => mixed_down(bytes, rate_hz, channels, |[octet]: [u8; 1]| {
                alaw_to_linear(octet)
            }),
            RawEncoding::L16 => mixed_down(bytes, rate_hz, channels, i16::from_be_bytes),
        };
        Self::new(samples?, rate_hz)
    }

    /// The sampling rate in Hz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// All samples.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// How long it plays.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate_hz))
    }

    /// Bytes its samples take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.samples)
    }

    /// Whether `other` shares its samples.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.samples, &other.samples)
    }

    /// The same audio at another rate, by a windowed sinc: flat to 0.89 of the lower rate's
    /// Nyquist frequency, images and aliases more than 80 dB down. Shares the samples where the
    /// rate is the same already.
    ///
    /// Takes about 0.1 s per minute of audio.
    ///
    /// # Errors
    /// [`ClipError::Rate`], [`ClipError::TooLong`].
    pub fn at_rate(&self, rate_hz: u32) -> Result<Self, ClipError> {
        if rate_hz == self.rate_hz {
            return Ok(self.clone());
        }
        let len = convert::converted_len(self.samples.len(), self.rate_hz, rate_hz);
        if len > samples_max(rate_hz)? {
            return Err(ClipError::TooLong { rate_hz });
        }
        Self::new(
            convert::convert(&self.samples, self.rate_hz, rate_hz),
            rate_hz,
        )
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clip")
            .field("rate_hz", &self.rate_hz)
            .field("samples", &self.samples.len())
            .finish()
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wav => "WAV",
            Self::Mp3 => "MP3",
            Self::Ogg => "Ogg",
        })
    }
}

/// The same bytes with the checksum of every Ogg page made right, for tests.
#[doc(hidden)]
#[must_use]
pub fn with_ogg_checksums(bytes: &[u8]) -> Vec<u8> {
    page::with_checksums(bytes)
}

/// What a file is, by its first bytes; looks at 16 KiB at most.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<Container> {
    if wav::is_wav(bytes) {
        Some(Container::Wav)
    } else if bytes.starts_with(page::CAPTURE) {
        Some(Container::Ogg)
    } else if mp3::is_mp3(bytes) {
        Some(Container::Mp3)
    } else {
        None
    }
}

fn checked_len(bytes: &[u8]) -> Result<(), ClipError> {
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(ClipError::TooLarge {
            bytes: bytes.len() as u64,
        });
    }
    Ok(())
}

/// Most samples of a clip at this rate.
fn samples_max(rate_hz: u32) -> Result<usize, ClipError> {
    if !(CLIP_RATE_MIN_HZ..=CLIP_RATE_MAX_HZ).contains(&rate_hz) {
        return Err(ClipError::Rate { hz: rate_hz });
    }
    let by_time = rate_hz as usize * CLIP_SECONDS_MAX;
    Ok(by_time.min(CLIP_BYTES_MAX / size_of::<i16>()))
}

fn seconds_max(rate_hz: u32) -> usize {
    samples_max(rate_hz).map_or(0, |samples| samples / rate_hz as usize)
}

/// Decodes interleaved samples of `N` bytes each and averages every frame's channels. An
/// incomplete last frame is left out.
fn mixed_down<const N: usize>(
    bytes: &[u8],
    rate_hz: u32,
    channels: usize,
    linear: impl Fn([u8; N]) -> i16,
) -> Result<Vec<i16>, ClipError> {
    if !(1..=CLIP_CHANNELS_MAX).contains(&channels) {
        return Err(ClipError::Channels { count: channels });
    }
    let frames = bytes.len() / (N * channels);
    if frames > samples_max(rate_hz)? {
        return Err(ClipError::TooLong { rate_hz });
    }
    let (samples, _) = bytes.as_chunks::<N>();
    if channels == 1 {
        return Ok(samples.iter().map(|s| linear(*s)).collect());
    }
    let frames = samples.chunks_exact(channels);
    Ok(frames
        .map(|frame| average(frame.iter().map(|s| linear(*s)), channels))
        .collect())
}

/// The mean of one frame's channels: as loud as one of them where they agree, and never clipped.
fn average(frame: impl Iterator<Item = i16>, channels: usize) -> i16 {
    let count = i32::try_from(channels).unwrap_or(i32::MAX).max(1);
    let mean = frame.map(i32::from).sum::<i32>().div_euclid(count);
    i16::try_from(mean).unwrap_or(if mean < 0 { i16::MIN } else { i16::MAX })
}

/// Collects decoded PCM up to the limit of its rate.
struct Collector {
    rate_hz: u32,
    samples_max: usize,
    samples: Vec<i16>,
}

impl Collector {
    fn new(rate_hz: u32) -> Result<Self, ClipError> {
        Ok(Self {
            rate_hz,
            samples_max: samples_max(rate_hz)?,
            samples: Vec::new(),
        })
    }

    /// Appends interleaved frames of one or two channels.
    fn append(&mut self, pcm: &[i16], channels: usize) -> Result<(), ClipError> {
        let channels = channels.max(1);
        if self.samples.len() + pcm.len() / channels > self.samples_max {
            return Err(ClipError::TooLong {
                rate_hz: self.rate_hz,
            });
        }
        if channels == 1 {
            self.samples.extend_from_slice(pcm);
        } else {
            let frames = pcm.chunks_exact(channels);
            self.samples
                .extend(frames.map(|frame| average(frame.iter().copied(), channels)));
        }
        Ok(())
    }

    /// Leaves out the first `start` samples from `from` on, and what comes after `end` of them.
    fn trim(&mut self, from: usize, start: usize, end: usize) {
        let from = from.min(self.samples.len());
        let end = from.saturating_add(end).min(self.samples.len());
        self.samples.truncate(end);
        self.samples
            .drain(from..from.saturating_add(start).min(end));
    }

    fn finish(self, container: Container) -> Result<Clip, ClipError> {
        if self.samples.is_empty() {
            return Err(ClipError::Empty { container });
        }
        Clip::new(self.samples, self.rate_hz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_says_what_a_file_is() {
        assert_eq!(sniff(b"RIFF\0\0\0\0WAVE"), Some(Container::Wav));
        assert_eq!(sniff(b"RF64\xff\xff\xff\xffWAVE"), Some(Container::Wav));
        assert_eq!(sniff(b"OggS\0\x02"), Some(Container::Ogg));
        assert_eq!(sniff(b"ID3\x04\0\0\0\0\0\0"), Some(Container::Mp3));
        for other in [&b"RIFF\0\0\0\0AVI "[..], b"<!DOCTYPE html>", b"", b"RIFF"] {
            assert_eq!(sniff(other), None);
        }
        let error = Clip::decode(b"<!DOCTYPE html>").unwrap_err().to_string();
        assert_eq!(error, "not WAV, MP3 or Ogg Opus (begins with \"<!DOCTYP\")");
    }

    #[test]
    fn input_is_taken_up_to_its_limit() {
        let bytes = vec![0xff; INPUT_BYTES_MAX + 1];
        let pcmu = |bytes: &[u8]| Clip::raw(bytes, RawEncoding::Pcmu, 48_000, 32);
        assert_eq!(
            pcmu(&bytes[1..]).unwrap().samples().len(),
            INPUT_BYTES_MAX / 32
        );
        let bytes_given = (INPUT_BYTES_MAX + 1) as u64;
        assert_eq!(
            pcmu(&bytes),
            Err(ClipError::TooLarge { bytes: bytes_given })
        );
    }

    #[test]
    fn a_clip_lasts_an_hour_or_what_fits() {
        let hour = vec![0; 8000 * CLIP_SECONDS_MAX + 1];
        assert!(Clip::new(&hour[1..], 8000).is_ok());
        let error = Clip::new(&hour[..], 8000).unwrap_err();
        assert_eq!(error, ClipError::TooLong { rate_hz: 8000 });
        assert!(error.to_string().ends_with("may last 3600 s"));
        // An hour at 8 kHz is one at 16 kHz, and too large at 48 kHz.
        let hour = Clip::new(&hour[1..], 8000).unwrap();
        assert_eq!(
            hour.at_rate(48_000),
            Err(ClipError::TooLong { rate_hz: 48_000 })
        );
        assert_eq!(samples_max(48_000), Ok(CLIP_BYTES_MAX / 2));
    }

    #[test]
    fn rates_and_channels_have_their_limits() {
        let raw = |rate, channels| Clip::raw(&[0; 64], RawEncoding::L16, rate, channels);
        assert!(raw(CLIP_RATE_MIN_HZ, 1).is_ok() && raw(CLIP_RATE_MAX_HZ, 1).is_ok());
        for hz in [0, CLIP_RATE_MIN_HZ - 1, CLIP_RATE_MAX_HZ + 1] {
            assert_eq!(raw(hz, 1), Err(ClipError::Rate { hz }));
        }
        assert_eq!(raw(8000, CLIP_CHANNELS_MAX).unwrap().samples().len(), 1);
        for count in [0, CLIP_CHANNELS_MAX + 1] {
            assert_eq!(raw(8000, count), Err(ClipError::Channels { count }));
        }
    }

    #[test]
    fn raw_audio_is_decoded_and_mixed_down() {
        let raw = |bytes: &[u8], encoding, channels| {
            let clip = Clip::raw(bytes, encoding, 8000, channels).unwrap();
            clip.samples().to_vec()
        };
        assert_eq!(
            raw(&[0xff, 0x80, 0x00], RawEncoding::Pcmu, 1),
            [0, 32_124, -32_124]
        );
        assert_eq!(raw(&[0xd5, 0x55], RawEncoding::Pcma, 1), [8, -8]);
        assert_eq!(
            raw(&[0x7f, 0xff, 0x80, 0x00, 9], RawEncoding::L16, 1),
            [32_767, -32_768]
        );
        assert_eq!(raw(&[0, 100, 0, 50, 1], RawEncoding::L16, 2), [75]);
        assert_eq!(raw(&[0x80, 0, 0x80, 0], RawEncoding::L16, 2), [-32_768]);
    }
}
