//! WAV: RIFF, RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088) with linear, float, G.711 or MPEG
//! audio.
//!
//! Sizes are upper bounds only: the file's end is the end. A size of 0xFFFFFFFF, or of zero in a
//! RIFF that was never finished, is that of a writer which could not seek back; such audio goes
//! on to the end of the file.

use super::{Clip, ClipError, Container, mixed_down, mp3};
use crate::audio::g711::{alaw_to_linear, ulaw_to_linear};

/// Most chunks looked at before the audio.
pub(super) const WAV_CHUNKS_MAX: usize = 1024;

/// `RIFF`, its size and `WAVE`.
pub(crate) const HEADER_LEN: usize = 12;
/// `PCMWAVEFORMAT`, the shortest `fmt ` chunk.
const FORMAT_LEN: usize = 16;
/// What a size says that is not known, or is in `ds64`.
pub(crate) const UNKNOWN_SIZE: u32 = u32::MAX;

pub(crate) const TAG_PCM: u16 = 0x0001;
const TAG_FLOAT: u16 = 0x0003;
pub(crate) const TAG_ALAW: u16 = 0x0006;
pub(crate) const TAG_ULAW: u16 = 0x0007;
const TAG_MPEG: u16 = 0x0050;
const TAG_MP3: u16 = 0x0055;
pub(crate) const TAG_EXTENSIBLE: u16 = 0xfffe;
/// The GUID of a sub-format is its tag followed by this.
pub(crate) const SUB_FORMAT_TAIL: [u8; 14] =
    [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// `fmt `, checked for nothing but its length.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// `TAG_…`, of the sub-format in an extensible header.
    pub(crate) tag: u16,
    /// As the file says.
    pub(crate) channels: u16,
    /// As the file says.
    pub(crate) rate_hz: u32,
    block_align: u16,
    bits: u16,
}

/// What stands before the audio.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// How the audio is written.
    pub(crate) format: Format,
    /// Where the audio begins.
    pub(crate) data_at: usize,
    /// Octets of audio, if the file says it; the file may be shorter.
    pub(crate) data_len: Option<u64>,
    /// Where the `fact` chunk has its sample count.
    pub(crate) fact_at: Option<usize>,
}

/// Whether these bytes begin as a WAV file does.
pub(crate) fn is_wav(bytes: &[u8]) -> bool {
    let id = bytes.get(..4).unwrap_or_default();
    let known = [&b"RIFF"[..], b"RF64", b"BW64"].contains(&id);
    known && bytes.get(8..HEADER_LEN) == Some(b"WAVE")
}

/// Decodes a WAV file.
pub(super) fn decode(bytes: &[u8]) -> Result<Clip, ClipError> {
    let (format, data) = find_audio(bytes)?;
    let clip = linear(format, data)?;
    if clip.samples().is_empty() {
        return Err(ClipError::Empty {
            container: Container::Wav,
        });
    }
    Ok(clip)
}

/// The audio, as far as it is there.
fn find_audio(bytes: &[u8]) -> Result<(Format, &[u8]), ClipError> {
    let head = Head::parse(bytes)?;
    let rest = &bytes[head.data_at..];
    let known = head.data_len.and_then(|len| usize::try_from(len).ok());
    let len = known.unwrap_or(rest.len()).min(rest.len());
    Ok((head.format, &rest[..len]))
}

impl Head {
    /// Walks the chunks up to the audio; `bytes` may end there.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ClipError> {
        let riff_size = u32_at(bytes, 4).unwrap_or(0);
        let unfinished = riff_size == 0 || riff_size == UNKNOWN_SIZE;
        let (mut format, mut long_size, mut fact_at) = (None, None, None);
        let mut at = HEADER_LEN;
        for _ in 0..WAV_CHUNKS_MAX {
            let Some((id, size)) = chunk_header(bytes, at) else {
                let what = if format.is_some() {
                    "the chunks before the audio"
                } else {
                    "the chunks before the format"
                };
                return Err(truncated(what, bytes.len()));
            };
            let body = at + 8;
            let rest = &bytes[body..];
            match &id {
                b"data" => {
                    let data_len = match size {
                        UNKNOWN_SIZE => long_size,
                        0 if unfinished => None,
                        size => Some(u64::from(size)),
                    };
                    return Ok(Self {
                        format: format.ok_or_else(|| malformed("audio before its format", at))?,
                        data_at: body,
                        data_len,
                        fact_at,
                    });
                }
                b"fmt " => {
                    let len = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
                    format = Some(Format::parse(&rest[..len], body)?);
                }
                // riffSize, dataSize, sampleCount: 64 bits each.
                b"ds64" => long_size = u64_at(rest, 8),
                b"fact" if size >= 4 => fact_at = Some(body),
                _ => {}
            }
            // Chunks begin at even offsets.
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            at = body.saturating_add(size).saturating_add(size & 1);
        }
        Err(malformed("more than 1024 chunks before the audio", at))
    }
}

impl Format {
    fn parse(chunk: &[u8], at: usize) -> Result<Self, ClipError> {
        if chunk.len() < FORMAT_LEN {
            return Err(truncated("the format", at + chunk.len()));
        }
        let u16_at = |at| u16_at(chunk, at).unwrap_or(0);
        let mut format = Self {
            tag: u16_at(0),
            channels: u16_at(2),
            rate_hz: u32_at(chunk, 4).unwrap_or(0),
            block_align: u16_at(12),
            bits: u16_at(14),
        };
        if format.tag == TAG_EXTENSIBLE {
            // cbSize, wValidBitsPerSample, dwChannelMask, SubFormat.
            let Some(guid) = chunk.get(24..40) else {
                return Err(truncated("the extensible format", at + chunk.len()));
            };
            if guid[2..] != SUB_FORMAT_TAIL {
                return Err(malformed("a sub-format that is no format tag", at + 24));
            }
            format.tag = u16_at(24);
        }
        Ok(format)
    }

    /// Bytes of one sample. 20 bits may be kept in three bytes or in four: the block says it.
    pub(crate) fn sample_bytes(self) -> usize {
        let by_bits = usize::from(self.bits).div_ceil(8);
        let (block, channels) = (usize::from(self.block_align), usize::from(self.channels));
        match block.checked_div(channels) {
            Some(by_block) if by_block * channels == block && by_block >= by_bits => by_block,
            _ => by_bits,
        }
    }
}

/// Decodes the audio itself.
fn linear(format: Format, data: &[u8]) -> Result<Clip, ClipError> {
    let (rate_hz, channels) = (format.rate_hz, usize::from(format.channels));
    let samples = match (format.tag, format.sample_bytes()) {
        // Linear samples are left-justified in their container.
        (TAG_PCM, 1) => mixed_down(data, rate_hz, channels, |[octet]: [u8; 1]| {
            (i16::from(octet) - 128) << 8
        }),
        (TAG_PCM, 2) => mixed_down(data, rate_hz, channels, i16::from_le_bytes),
        (TAG_PCM, 3) => mixed_down(data, rate_hz, channels, |[low, middle, high]: [u8; 3]| {
            upper_half(i32::from_le_bytes([0, low, middle, high]))
        }),
        (TAG_PCM, 4) => mixed_down(data, rate_hz, channels, |bytes| {
            upper_half(i32::from_le_bytes(bytes))
        }),
        (TAG_FLOAT, 4) => mixed_down(data, rate_hz, channels, |bytes| {
            from_float(f32::from_le_bytes(bytes))
        }),
        (TAG_FLOAT, 8) => mixed_down(data, rate_hz, channels, |bytes| {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "24 bits are more than the 16 that are kept"
            )]
            let sample = f64::from_le_bytes(bytes) as f32;
            from_float(sample)
        }),
        (TAG_ALAW, 1) => mixed_down(data, rate_hz, channels, |[octet]: [u8; 1]| {
            alaw_to_linear(octet)
        }),
        (TAG_ULAW, 1) => mixed_down(data, rate_hz, channels, |[octet]: [u8; 1]| {
            ulaw_to_linear(octet)
        }),
        (TAG_MPEG | TAG_MP3, _) => return mp3::decode(data),
        (tag, _) => {
            let bits = format.bits;
            return Err(ClipError::WavEncoding { tag, bits });
        }
    };
    Clip::new(samples?, rate_hz)
}

/// The upper 16 bits, rounded.
fn upper_half(sample: i32) -> i16 {
    let [_, _, low, high] = sample.saturating_add(1 << 15).to_le_bytes();
    i16::from_le_bytes([low, high])
}

/// Full scale is 1.0; beyond it is clipped, what is no number is silence.
fn from_float(sample: f32) -> i16 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "float casts saturate, and make 0 of what is no number"
    )]
    let sample = (sample * 32_768.0).round() as i16;
    sample
}

fn chunk_header(bytes: &[u8], at: usize) -> Option<([u8; 4], u32)> {
    let id = *bytes.get(at..)?.first_chunk()?;
    Some((id, u32_at(bytes, at.checked_add(4)?)?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn truncated(what: &'static str, at: usize) -> ClipError {
    ClipError::Truncated {
        container: Container::Wav,
        what,
        at,
    }
}

fn malformed(rule: &'static str, at: usize) -> ClipError {
    ClipError::Malformed {
        container: Container::Wav,
        rule,
        at,
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "sizes of small test files")]
mod tests {
    use super::*;

    fn chunk(id: &[u8; 4], size: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.extend(size.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    fn format(tag: u16, channels: u16, rate_hz: u32, bits: u16) -> Vec<u8> {
        let block = channels * bits.div_ceil(8);
        let mut body = Vec::new();
        body.extend(tag.to_le_bytes());
        body.extend(channels.to_le_bytes());
        body.extend(rate_hz.to_le_bytes());
        body.extend((rate_hz * u32::from(block)).to_le_bytes());
        body.extend(block.to_le_bytes());
        body.extend(bits.to_le_bytes());
        chunk(b"fmt ", 16, &body)
    }

    fn riff(chunks: &[&[u8]]) -> Vec<u8> {
        let body = [b"WAVE", &chunks.concat()[..]].concat();
        chunk(b"RIFF", body.len() as u32, &body)
    }

    fn wav(tag: u16, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
        let format = format(tag, channels, 8000, bits);
        riff(&[&format, &chunk(b"data", data.len() as u32, data)])
    }

    fn samples(bytes: &[u8]) -> Vec<i16> {
        Clip::decode(bytes).unwrap().samples().to_vec()
    }

    #[test]
    fn every_encoding_is_brought_to_sixteen_bits() {
        let floats: Vec<u8> = [0.0f32, 0.5, -1.0, 7.0, f32::NAN, f32::NEG_INFINITY]
            .iter()
            .flat_map(|f| f.to_le_bytes())
            .collect();
        assert_eq!(samples(&wav(1, 1, 8, &[0, 128, 255])), [-32_768, 0, 32_512]);
        assert_eq!(samples(&wav(1, 1, 16, &[1, 2, 0, 0x80])), [0x201, -32_768]);
        let three = [0x80, 1, 0, 0xff, 0xff, 0x7f, 0, 0, 0x80, 0x7f, 1, 0];
        assert_eq!(samples(&wav(1, 1, 24, &three)), [2, 32_767, -32_768, 1]);
        let four = [0, 0x80, 1, 0, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(samples(&wav(1, 1, 32, &four)), [2, 32_767]);
        assert_eq!(
            samples(&wav(3, 1, 32, &floats)),
            [0, 16_384, -32_768, 32_767, 0, -32_768]
        );
        assert_eq!(samples(&wav(3, 1, 64, &0.25f64.to_le_bytes())), [8192]);
        assert_eq!(samples(&wav(6, 1, 8, &[0xd5, 0x55])), [8, -8]);
        assert_eq!(samples(&wav(7, 1, 8, &[0xff, 0x80])), [0, 32_124]);
        assert_eq!(samples(&wav(1, 2, 16, &[10, 0, 20, 0, 9])), [15]);
    }

    #[test]
    fn other_encodings_are_named() {
        let error = Clip::decode(&wav(0x11, 1, 4, &[0; 64])).unwrap_err();
        assert_eq!(error, ClipError::WavEncoding { tag: 0x11, bits: 4 });
        assert_eq!(
            error.to_string(),
            "WAV: format tag 0x0011 with 4 bits is not supported"
        );
        assert!(Clip::decode(&wav(1, 0, 16, &[0; 4])).is_err());
        assert!(Clip::decode(&wav(1, 1, 0, &[0; 4])).is_err());
        assert!(Clip::decode(&wav(1, 1, 40, &[0; 10])).is_err());
    }

    #[test]
    fn an_extensible_header_names_its_sub_format() {
        let extensible = |guid_tail: &[u8]| {
            let mut body = format(TAG_EXTENSIBLE, 1, 8000, 16)[8..].to_vec();
            body.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
            body.extend(guid_tail);
            let fmt = chunk(b"fmt ", body.len() as u32, &body);
            Clip::decode(&riff(&[&fmt, &chunk(b"data", 2, &[7, 0])]))
        };
        assert_eq!(extensible(&SUB_FORMAT_TAIL).unwrap().samples(), [7]);
        assert!(extensible(&[0; 14]).is_err());
        assert!(extensible(&SUB_FORMAT_TAIL[..13]).is_err());
    }

    #[test]
    fn sizes_that_lie_end_with_the_file() {
        let fmt = format(1, 1, 8000, 16);
        let pcm = [1, 0, 2, 0, 3];
        for size in [5, 6, 0x7fff_ffff, UNKNOWN_SIZE] {
            assert_eq!(samples(&riff(&[&fmt, &chunk(b"data", size, &pcm)])), [1, 2]);
        }
        // Never finished: RIFF and data sizes are as the writer began them.
        for riff_size in [0u32, UNKNOWN_SIZE] {
            let mut bytes = riff(&[&fmt, &chunk(b"data", 0, &pcm)]);
            bytes[4..8].copy_from_slice(&riff_size.to_le_bytes());
            assert_eq!(samples(&bytes), [1, 2]);
        }
        let finished = riff(&[&fmt, &chunk(b"data", 0, &[])]);
        let container = Container::Wav;
        assert_eq!(Clip::decode(&finished), Err(ClipError::Empty { container }));
        let huge = riff(&[&chunk(b"LIST", 0xffff_fff0, &[0; 100]), &fmt]);
        assert!(matches!(
            Clip::decode(&huge),
            Err(ClipError::Truncated { .. })
        ));
    }

    #[test]
    fn long_files_have_their_size_in_ds64() {
        let fmt = format(1, 1, 8000, 16);
        let mut sizes = vec![0; 8];
        sizes.extend(4u64.to_le_bytes());
        sizes.extend([0; 12]);
        let ds64 = chunk(b"ds64", 28, &sizes);
        let data = chunk(b"data", UNKNOWN_SIZE, &[1, 0, 2, 0, 3, 0]);
        for id in [b"RF64", b"BW64"] {
            let mut bytes = riff(&[&ds64, &fmt, &data]);
            bytes[..4].copy_from_slice(id);
            assert_eq!(samples(&bytes), [1, 2]);
        }
    }

    #[test]
    fn chunks_are_skipped_up_to_their_limit() {
        let junk = chunk(b"junk", 3, &[0; 4]);
        let file = |chunks: usize| {
            let fmt = format(1, 1, 8000, 16);
            let data = chunk(b"data", 2, &[9, 0]);
            riff(&[&junk.repeat(chunks - 2), &fmt, &data])
        };
        assert_eq!(samples(&file(WAV_CHUNKS_MAX)), [9]);
        assert!(matches!(
            Clip::decode(&file(WAV_CHUNKS_MAX + 1)),
            Err(ClipError::Malformed { .. })
        ));
    }

    #[test]
    fn a_header_cut_anywhere_is_an_error_and_audio_cut_anywhere_plays() {
        let pcm: Vec<u8> = (0..200).collect();
        let whole = wav(1, 1, 16, &pcm);
        for cut in 0..whole.len() {
            let clip = Clip::decode(&whole[..cut]);
            match cut.saturating_sub(44) / 2 {
                0 => assert!(clip.is_err(), "{cut}"),
                n => assert_eq!(clip.unwrap().samples().len(), n),
            }
        }
    }

    #[test]
    fn rates_are_kept_within_limits() {
        let at = |rate| {
            let data = chunk(b"data", 2, &[1, 0]);
            Clip::decode(&riff(&[&format(1, 1, rate, 16), &data])).map(|clip| clip.rate_hz())
        };
        for rate in [4000, 11_025, 44_100, 192_000] {
            assert_eq!(at(rate), Ok(rate));
        }
        for hz in [0, 3999, 192_001, u32::MAX / 4] {
            assert_eq!(at(hz), Err(ClipError::Rate { hz }));
        }
    }
}
