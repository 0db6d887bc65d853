//! Reads recordings, a piece at a time.

mod ogg;
mod wav;

use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use crate::audio::clip::{ClipError, Container, sniff};
use crate::audio::codec::CodecError;
use crate::engine::TRACKS_MAX;

use super::repair::HEAD_LEN_MAX;

/// What a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingInfo {
    /// WAV or Ogg.
    pub container: Container,
    /// Samples per second. An Opus file is read at the rate it was recorded at, or at 48,000.
    pub rate_hz: u32,
    /// 1 to [`TRACKS_MAX`].
    pub channels: u8,
    /// Samples of each channel, as far as the file says it.
    pub frames: u64,
}

impl RecordingInfo {
    /// Its length in time.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.frames as f64 / f64::from(self.rate_hz))
    }
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither WAV nor Ogg Opus, or it ends before its sound begins.
    #[error("not a recording: neither WAV nor Ogg Opus")]
    Unknown,
    /// A WAV header that says nothing that can be followed.
    #[error(transparent)]
    Header(ClipError),
    /// A WAV file that is not linear with 16 bits, A-law or µ-law.
    #[error("WAV: format tag {tag:#06x} with {octets} octets is not one of recordings")]
    Encoding {
        /// `wFormatTag`, of the sub-format in an extensible header.
        tag: u16,
        /// Octets of a sample.
        octets: usize,
    },
    /// No sampling rate.
    #[error("a sampling rate of {0} Hz")]
    Rate(u32),
    /// None, or more than [`TRACKS_MAX`].
    #[error("{0} channels: 1 to {TRACKS_MAX} are possible")]
    Channels(usize),
    /// There is no decoder for its streams.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Reads samples, one after the other. Keeps a page of the file and its sound at most.
#[derive(Debug)]
pub struct RecordingReader<R> {
    info: RecordingInfo,
    kind: Kind<R>,
}

#[derive(Debug)]
enum Kind<R> {
    Wav(wav::WavReader<R>),
    Ogg(Box<ogg::OggReader<R>>),
}

impl<R: Read + Seek> RecordingReader<R> {
    /// Opens a file. It need not have been closed: what is there is read.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(mut file: R) -> Result<Self, ReadError> {
        let len = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut head = Vec::new();
        file.by_ref().take(HEAD_LEN_MAX).read_to_end(&mut head)?;
        let (info, kind) = match sniff(&head) {
            Some(Container::Wav) => {
                let (info, reader) = wav::WavReader::open(file, len, &head)?;
                (info, Kind::Wav(reader))
            }
            Some(Container::Ogg) => {
                let (info, reader) = ogg::OggReader::open(file, len)?;
                (info, Kind::Ogg(Box::new(reader)))
            }
            _ => return Err(ReadError::Unknown),
        };
        Ok(Self { info, kind })
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> RecordingInfo {
        self.info
    }

    /// The next samples, interleaved; how many of `out`, always whole frames. 0: there are no
    /// more, or no frame fits. Pages that are missing in an Ogg file are silence.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read(&mut self, out: &mut [i16]) -> io::Result<usize> {
        let whole = out.len() - out.len() % usize::from(self.info.channels);
        match &mut self.kind {
            Kind::Wav(wav) => wav.read(&mut out[..whole]),
            Kind::Ogg(ogg) => ogg.read(&mut out[..whole]),
        }
    }
}

/// Refuses what recordings do not have.
fn channels(count: usize) -> Result<u8, ReadError> {
    match u8::try_from(count) {
        Ok(channels) if (1..=TRACKS_MAX).contains(&count) => Ok(channels),
        _ => Err(ReadError::Channels(count)),
    }
}
