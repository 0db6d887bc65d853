//! WAV: RIFF, and RF64 (EBU Tech 3306) once it is too long for that.
//!
//! ```text
//! "RIFF" size "WAVE" | "JUNK" 28 … | "fmt " … | "fact" 4 frames | "data" size | sound
//! "RF64"   -1 "WAVE" | "ds64" 28 sizes …                 -1            -1
//! ```

use crate::audio::clip::wav::{
    HEADER_LEN, SUB_FORMAT_TAIL, TAG_ALAW, TAG_EXTENSIBLE, TAG_PCM, TAG_ULAW, UNKNOWN_SIZE,
};
use crate::audio::g711;

/// Largest size that RIFF says: the next one means "unknown".
pub(super) const RIFF_SIZE_MAX: u64 = UNKNOWN_SIZE as u64 - 1;

/// Octets of `ds64` without its table: sizes of file and sound, frames, length of the table.
pub(super) const DS64_LEN: u32 = 28;

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Pcm,
    Alaw,
    Ulaw,
}

/// The sizes in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Of the file, without its first eight octets.
    pub(super) riff: u64,
    /// Of the sound.
    pub(super) data: u64,
    /// Samples of each channel.
    pub(super) frames: u64,
}

impl Sizes {
    /// With so much sound after a header of `header_len`; the pad of odd sound counts.
    pub(super) fn of(header_len: u64, data: u64, block: u64) -> Self {
        Self {
            riff: header_len - 8 + data + data % 2,
            data,
            frames: data / block,
        }
    }

    /// Whether they are too large for RIFF.
    pub(super) fn is_long(self) -> bool {
        self.riff > RIFF_SIZE_MAX
    }

    /// As a field of 32 bits says it.
    pub(super) fn field(self, size: u64) -> [u8; 4] {
        let short = u32::try_from(size).ok().filter(|_| !self.is_long());
        short.unwrap_or(UNKNOWN_SIZE).to_le_bytes()
    }

    /// The four letters at the beginning.
    pub(super) fn id(self) -> &'static [u8; 4] {
        if self.is_long() { b"RF64" } else { b"RIFF" }
    }

    /// The chunk at [`HEADER_LEN`]: room for the sizes, or the sizes.
    pub(super) fn reserved(self) -> Vec<u8> {
        let mut chunk = if self.is_long() { *b"ds64" } else { *b"JUNK" }.to_vec();
        chunk.extend(DS64_LEN.to_le_bytes());
        for size in [self.riff, self.data, self.frames] {
            chunk.extend(if self.is_long() { size } else { 0 }.to_le_bytes());
        }
        chunk.extend([0; 4]);
        chunk
    }
}

#[derive(Debug)]
pub(super) struct WavWriter {
    encoding: Encoding,
    rate_hz: u32,
    channels: u8,
    header_len: u64,
    data_len: u64,
}

impl WavWriter {
    pub(super) fn new(encoding: Encoding, rate_hz: u32, channels: u8) -> Self {
        let mut writer = Self {
            encoding,
            rate_hz,
            channels,
            header_len: HEADER_LEN as u64,
            data_len: 0,
        };
        writer.header_len = writer.header().len() as u64;
        writer
    }

    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        out.extend(self.header());
    }

    pub(super) fn push(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        assert!(pcm.len().is_multiple_of(usize::from(self.channels)));
        let at = out.len();
        out.resize(at + pcm.len() * usize::from(self.sample_len()), 0);
        let sound = &mut out[at..];
        match self.encoding {
            Encoding::Pcm => {
                for (octets, sample) in sound.as_chunks_mut().0.iter_mut().zip(pcm) {
                    *octets = sample.to_le_bytes();
                }
            }
            Encoding::Alaw => drop(g711::encode_alaw(pcm, sound)),
            Encoding::Ulaw => drop(g711::encode_ulaw(pcm, sound)),
        }
        self.data_len += sound.len() as u64;
    }

    /// Chunks are padded to an even length.
    pub(super) fn finish(&self, out: &mut Vec<u8>) {
        if !self.data_len.is_multiple_of(2) {
            out.push(0);
        }
    }

    /// The header as of now.
    pub(super) fn header(&self) -> Vec<u8> {
        let block = self.sample_len() * u16::from(self.channels);
        let sizes = Sizes::of(self.header_len, self.data_len, u64::from(block));
        let mut header = sizes.id().to_vec();
        header.extend(sizes.field(sizes.riff));
        header.extend(b"WAVE");
        header.extend(sizes.reserved());
        self.format(&mut header);
        if self.encoding != Encoding::Pcm {
            header.extend(b"fact");
            header.extend(4_u32.to_le_bytes());
            header.extend(sizes.field(sizes.frames));
        }
        header.extend(b"data");
        header.extend(sizes.field(sizes.data));
        header
    }

    /// The `fmt ` chunk: extensible for more than two channels, so that no player guesses where
    /// their loudspeakers stand.
    fn format(&self, header: &mut Vec<u8>) {
        let tag = match self.encoding {
            Encoding::Pcm => TAG_PCM,
            Encoding::Alaw => TAG_ALAW,
            Encoding::Ulaw => TAG_ULAW,
        };
        let extensible = self.channels > 2;
        let (len, first) = match (extensible, self.encoding) {
            (true, _) => (40_u32, TAG_EXTENSIBLE),
            (false, Encoding::Pcm) => (16, tag),
            (false, _) => (18, tag),
        };
        let (channels, sample_len) = (u16::from(self.channels), self.sample_len());
        let block = channels * sample_len;
        header.extend(b"fmt ");
        header.extend(len.to_le_bytes());
        header.extend(first.to_le_bytes());
        header.extend(channels.to_le_bytes());
        header.extend(self.rate_hz.to_le_bytes());
        header.extend((self.rate_hz * u32::from(block)).to_le_bytes());
        header.extend(block.to_le_bytes());
        header.extend((sample_len * 8).to_le_bytes());
        if extensible {
            // cbSize, valid bits, no loudspeakers, sub-format.
            header.extend(22_u16.to_le_bytes());
            header.extend((sample_len * 8).to_le_bytes());
            header.extend([0; 4]);
            header.extend(tag.to_le_bytes());
            header.extend(SUB_FORMAT_TAIL);
        } else if len == 18 {
            header.extend([0; 2]);
        }
    }

    fn sample_len(&self) -> u16 {
        match self.encoding {
            Encoding::Pcm => 2,
            Encoding::Alaw | Encoding::Ulaw => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(data_len: u64) -> Vec<u8> {
        let mut writer = WavWriter::new(Encoding::Pcm, 8_000, 2);
        writer.data_len = data_len;
        writer.header()
    }

    /// No four gigabytes are written: only the header knows of them.
    #[test]
    fn beyond_its_limit_riff_becomes_rf64() {
        let header_len = at(0).len() as u64;
        let most = RIFF_SIZE_MAX + 8 - header_len;
        assert_eq!((header_len, most % 4), (80, 2));
        let (limit, above) = (at(most), at(most + 1));
        assert_eq!(limit.len(), above.len());
        assert_eq!(&limit[..20], b"RIFF\xfe\xff\xff\xffWAVEJUNK\x1c\0\0\0");
        assert_eq!(&limit[20..48], [0; 28]);
        assert_eq!(limit[76..], u32::try_from(most).unwrap().to_le_bytes());
        assert_eq!(&above[..20], b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0");
        // An odd length is padded.
        assert_eq!(above[20..28], (RIFF_SIZE_MAX + 2).to_le_bytes());
        assert_eq!(above[28..36], (most + 1).to_le_bytes());
        assert_eq!(above[36..44], ((most + 1) / 4).to_le_bytes());
        assert_eq!(&above[44..48], [0; 4]);
        assert_eq!(above[48..76], limit[48..76]);
        assert_eq!(&above[76..], [0xff; 4]);
    }
}
