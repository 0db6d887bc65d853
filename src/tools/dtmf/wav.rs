//! WAV files of any length, read as a stream, channel by channel: `crate::audio::clip` decodes
//! whole files into one channel, and here keys on two sides of a call must stay apart.

use std::io::{ErrorKind, Read};

use anyhow::{Context as _, Result, bail, ensure};

use crate::audio::clip::{CLIP_CHANNELS_MAX, CLIP_RATE_MAX_HZ, CLIP_RATE_MIN_HZ};
use crate::audio::g711::{alaw_to_linear, ulaw_to_linear};

/// Most chunks before the audio.
const CHUNKS_MAX: usize = 1024;

/// Longest `fmt ` chunk that is read; the largest in use has 40 bytes.
const FORMAT_LEN_MAX: u32 = 4_096;

/// A size that is not known, or is in `ds64`.
const UNKNOWN_SIZE: u32 = u32::MAX;

/// Samples, read as they come.
pub(super) struct Wav<R> {
    input: R,
    encoding: Encoding,
    channels: usize,
    rate_hz: u32,
    /// Bytes of audio that follow; `None`: up to the end of the input.
    left: Option<u64>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Unsigned, 8 bit.
    Linear8,
    Linear16,
    Linear24,
    Linear32,
    Float32,
    Alaw,
    Ulaw,
}

/// Whether a file begins as WAV files do.
pub(super) fn is_wav(magic: &[u8]) -> bool {
    let id = magic.get(..4).unwrap_or_default();
    [&b"RIFF"[..], b"RF64", b"BW64"].contains(&id) && magic.get(8..12) == Some(b"WAVE")
}

impl<R: Read> Wav<R> {
    /// Samples without a header: 16 bit, little-endian, one channel.
    pub(super) fn raw(input: R, rate_hz: u32) -> Self {
        Self {
            input,
            encoding: Encoding::Linear16,
            channels: 1,
            rate_hz,
            left: None,
            buffer: Vec::new(),
        }
    }

    /// Reads up to the first sample.
    ///
    /// # Errors
    /// When it is no WAV file, ends before its audio, or has an encoding that is not known here.
    pub(super) fn open(mut input: R) -> Result<Self> {
        let riff: [u8; 12] = bytes(&mut input, "the RIFF header")?;
        ensure!(is_wav(&riff), "not a WAV file");
        let riff_size = u32_at(&riff, 4);
        let unfinished = riff_size == 0 || riff_size == UNKNOWN_SIZE;
        let (mut format, mut long_size) = (None, None);
        for _ in 0..CHUNKS_MAX {
            let what = if format.is_none() {
                "a format"
            } else {
                "samples"
            };
            let head: [u8; 8] = bytes(&mut input, what)?;
            let size = u32_at(&head, 4);
            match &head[..4] {
                b"data" => {
                    let (encoding, channels, rate_hz) =
                        format.context("samples before a format")?;
                    let left = match size {
                        UNKNOWN_SIZE => long_size,
                        0 if unfinished => None,
                        size => Some(u64::from(size)),
                    };
                    return Ok(Self {
                        input,
                        encoding,
                        channels,
                        rate_hz,
                        left,
                        buffer: Vec::new(),
                    });
                }
                b"fmt " => {
                    ensure!(size <= FORMAT_LEN_MAX, "a format chunk of {size} bytes");
                    let chunk = chunk(&mut input, size, "the format")?;
                    format = Some(parse_format(&chunk)?);
                }
                b"ds64" if size <= FORMAT_LEN_MAX => {
                    let chunk = chunk(&mut input, size, "the sizes")?;
                    let long = chunk.get(8..16).and_then(|b| b.try_into().ok());
                    long_size = long.map(u64::from_le_bytes);
                }
                // Chunks begin at even offsets.
                _ => skip(&mut input, u64::from(size) + u64::from(size % 2))?,
            }
        }
        bail!("more than {CHUNKS_MAX} chunks before the samples")
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Puts up to `frames` samples of each channel into its place of `out`, which is emptied
    /// before; returns how many. Fewer than asked for are the last.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) fn read(&mut self, frames: usize, out: &mut [Vec<i16>]) -> Result<usize> {
        let block = self.encoding.len() * self.channels;
        let most = self.left.unwrap_or(u64::MAX).min((frames * block) as u64);
        self.buffer.resize(usize::try_from(most)?, 0);
        let read = fill(&mut self.input, &mut self.buffer)?;
        if let Some(left) = &mut self.left {
            *left -= read as u64;
        }
        for channel in out.iter_mut() {
            channel.clear();
        }
        let whole = self.buffer[..read].chunks_exact(block);
        let frames = whole.len();
        for frame in whole {
            for (sample, channel) in frame.chunks_exact(self.encoding.len()).zip(out.iter_mut()) {
                channel.push(self.encoding.linear(sample));
            }
        }
        Ok(frames)
    }
}

impl Encoding {
    fn len(self) -> usize {
        match self {
            Self::Linear8 | Self::Alaw | Self::Ulaw => 1,
            Self::Linear16 => 2,
            Self::Linear24 => 3,
            Self::Linear32 | Self::Float32 => 4,
        }
    }

    /// The upper 16 bits of a sample.
    fn linear(self, sample: &[u8]) -> i16 {
        match (self, sample) {
            (Self::Linear8, &[octet]) => (i16::from(octet) - 128) << 8,
            (Self::Alaw, &[octet]) => alaw_to_linear(octet),
            (Self::Ulaw, &[octet]) => ulaw_to_linear(octet),
            (Self::Linear16, &[low, high])
            | (Self::Linear24, &[_, low, high])
            | (Self::Linear32, &[_, _, low, high]) => i16::from_le_bytes([low, high]),
            (Self::Float32, &[a, b, c, d]) => {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "float casts saturate, and make 0 of what is no number"
                )]
                let sample = (f32::from_le_bytes([a, b, c, d]) * 32_768.0).round() as i16;
                sample
            }
            _ => 0,
        }
    }
}

fn parse_format(chunk: &[u8]) -> Result<(Encoding, usize, u32)> {
    ensure!(chunk.len() >= 16, "ends inside the format");
    let (mut tag, channels) = (u16_at(chunk, 0), usize::from(u16_at(chunk, 2)));
    let (rate_hz, bits) = (u32_at(chunk, 4), u16_at(chunk, 14));
    if tag == 0xfffe {
        // The sub-format's GUID begins with a tag.
        ensure!(chunk.len() >= 40, "ends inside the extensible format");
        tag = u16_at(chunk, 24);
    }
    let encoding = match (tag, bits) {
        (1, 8) => Encoding::Linear8,
        (1, 16) => Encoding::Linear16,
        (1, 24) => Encoding::Linear24,
        (1, 32) => Encoding::Linear32,
        (3, 32) => Encoding::Float32,
        (6, 8) => Encoding::Alaw,
        (7, 8) => Encoding::Ulaw,
        _ => bail!(
            "WAV format tag {tag:#06x} with {bits} bits is not known; linear, float, A-law and \
             µ-law are: convert it with `sox FILE -e signed -b 16 other.wav`"
        ),
    };
    ensure!(
        (1..=CLIP_CHANNELS_MAX).contains(&channels),
        "{channels} channels are not 1 to {CLIP_CHANNELS_MAX}"
    );
    ensure!(
        (CLIP_RATE_MIN_HZ..=CLIP_RATE_MAX_HZ).contains(&rate_hz),
        "a sampling rate of {rate_hz} Hz is not {CLIP_RATE_MIN_HZ} to {CLIP_RATE_MAX_HZ}"
    );
    Ok((encoding, channels, rate_hz))
}

/// Fills the buffer as far as the input goes.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut at = 0;
    while at < buffer.len() {
        match input.read(&mut buffer[at..]) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(at)
}

fn bytes<const N: usize>(input: &mut impl Read, what: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = fill(input, &mut bytes)?;
    ensure!(read == N, "the WAV file ends before {what}");
    Ok(bytes)
}

/// The body of a chunk and its padding.
fn chunk(input: &mut impl Read, size: u32, what: &str) -> Result<Vec<u8>> {
    let mut body = vec![0; size as usize];
    let read = fill(input, &mut body)?;
    ensure!(read == body.len(), "the WAV file ends inside {what}");
    skip(input, u64::from(size % 2))?;
    Ok(body)
}

/// Reads past bytes. Where the input ends before them, the next read says so.
fn skip(input: &mut impl Read, bytes: u64) -> Result<()> {
    std::io::copy(&mut input.take(bytes), &mut std::io::sink())?;
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
