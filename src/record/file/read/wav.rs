//! Samples of a WAV file.

use std::io::{self, Read, Seek, SeekFrom};

use super::{ReadError, RecordingInfo, channels};
use crate::audio::clip::Container;
use crate::audio::clip::wav::{Head, TAG_ALAW, TAG_PCM, TAG_ULAW};
use crate::audio::g711;

/// Octets read at a time.
const CHUNK_LEN: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct WavReader<R> {
    file: R,
    tag: u16,
    sample_len: usize,
    /// Octets of sound that were not read.
    left: u64,
    octets: Vec<u8>,
}

impl<R: Read + Seek> WavReader<R> {
    pub(super) fn open(
        mut file: R,
        len: u64,
        head: &[u8],
    ) -> Result<(RecordingInfo, Self), ReadError> {
        let head = Head::parse(head).map_err(ReadError::Header)?;
        let (format, octets) = (head.format, head.format.sample_bytes());
        let sample_len = match (format.tag, octets) {
            (TAG_PCM, 2) | (TAG_ALAW | TAG_ULAW, 1) => octets,
            (tag, octets) => return Err(ReadError::Encoding { tag, octets }),
        };
        let channels = channels(usize::from(format.channels))?;
        if format.rate_hz == 0 {
            return Err(ReadError::Rate(0));
        }
        let block = sample_len as u64 * u64::from(channels);
        let there = len.saturating_sub(head.data_at as u64);
        let frames = head.data_len.unwrap_or(there).min(there) / block;
        file.seek(SeekFrom::Start(head.data_at as u64))?;
        let info = RecordingInfo {
            container: Container::Wav,
            rate_hz: format.rate_hz,
            channels,
            frames,
        };
        let reader = Self {
            file,
            tag: format.tag,
            sample_len,
            left: frames * block,
            octets: Vec::new(),
        };
        Ok((info, reader))
    }

    pub(super) fn read(&mut self, out: &mut [i16]) -> io::Result<usize> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = (out.len() * self.sample_len).min(left);
        let mut samples = 0;
        while samples * self.sample_len < wanted {
            let chunk = (wanted - samples * self.sample_len).min(CHUNK_LEN);
            self.octets.resize(chunk, 0);
            self.file.read_exact(&mut self.octets)?;
            self.left -= chunk as u64;
            samples += self.decode(&mut out[samples..]);
        }
        Ok(samples)
    }

    fn decode(&self, out: &mut [i16]) -> usize {
        match self.tag {
            TAG_ALAW => g711::decode_alaw(&self.octets, out),
            TAG_ULAW => g711::decode_ulaw(&self.octets, out),
            _ => {
                let samples = self.octets.chunks_exact(2);
                for (sample, octets) in out.iter_mut().zip(samples) {
                    *sample = i16::from_le_bytes([octets[0], octets[1]]);
                }
                self.octets.len() / 2
            }
        }
    }
}
