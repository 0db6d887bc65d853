//! The files of recordings: WAV and Ogg Opus, written so that they are whole at every moment.

pub mod copy;
mod ogg;
mod opus;
mod pages;
pub mod read;
pub mod repair;
mod wav;

use super::config::Format;
use crate::audio::codec::CodecError;
use crate::engine::TRACKS_MAX;

pub use ogg::COMMENTS_LEN_MAX;

/// Bytes that take the place of others in what was written before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where, from the file's beginning.
    pub offset: u64,
    /// What stands there now.
    pub bytes: Vec<u8>,
}

/// Turns samples into the bytes of a file. Appends to what it is given; sees no file.
///
/// Opus has a stream for each channel, none coupled with another: what joint stereo saves it pays
/// for with one party heard on the other's channel. Two channels are family 1 of RFC 7845, which
/// every player knows; more are family 255, "no defined meaning", which some players refuse: as
/// family 1 they would be a centre and a subwoofer to them.
#[derive(Debug)]
pub struct FileWriter(Kind);

#[derive(Debug)]
enum Kind {
    Wav(wav::WavWriter),
    Opus(Box<opus::OpusWriter>),
}

impl FileWriter {
    /// A file in this format (not [`Format::OpusCopy`], which [`copy::CopyWriter`] writes) of
    /// interleaved `channels`. `serial` and `comments` (`NAME=value`) are for Ogg; comments beyond
    /// [`COMMENTS_LEN_MAX`] octets are left out.
    ///
    /// # Errors
    /// [`CodecError::Rate`] for no channel, more than [`TRACKS_MAX`], a rate that the format has
    /// not, or a copy; others if there is no Opus encoder.
    pub fn new(
        format: Format,
        rate_hz: u32,
        channels: u8,
        serial: u32,
        comments: &[String],
    ) -> Result<Self, CodecError> {
        if !(1..=TRACKS_MAX).contains(&usize::from(channels)) {
            return Err(CodecError::Rate);
        }
        let wav = |encoding| Ok(Kind::Wav(wav::WavWriter::new(encoding, rate_hz, channels)));
        let kind = match format {
            Format::Wav => wav(wav::Encoding::Pcm),
            Format::WavAlaw => wav(wav::Encoding::Alaw),
            Format::WavUlaw => wav(wav::Encoding::Ulaw),
            Format::Opus { bitrate_bps } => {
                opus::OpusWriter::new(rate_hz, bitrate_bps, channels, serial, comments)
                    .map(|opus| Kind::Opus(Box::new(opus)))
            }
            Format::OpusCopy => Err(CodecError::Rate),
        };
        kind.map(Self)
    }

    /// Appends what stands before the sound.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Wav(wav) => wav.begin(out),
            Kind::Opus(opus) => opus.begin(out),
        }
    }

    /// Appends sound: interleaved, whole frames of all channels, any number of them.
    ///
    /// # Panics
    /// If a frame is not whole.
    pub fn push(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Wav(wav) => wav.push(pcm, out),
            Kind::Opus(opus) => opus.push(pcm, out),
        }
    }

    /// Appends what it kept back, as far as it can: a player then hears all but what no whole
    /// codec frame was made of.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Wav(_) => {}
            Kind::Opus(opus) => opus.flush(out),
        }
    }

    /// What must be written over the file's beginning so that it is whole with all bytes given out
    /// until now.
    #[must_use]
    pub fn patch(&self) -> Option<Patch> {
        match &self.0 {
            Kind::Wav(wav) => Some(Patch {
                offset: 0,
                bytes: wav.header(),
            }),
            Kind::Opus(_) => None,
        }
    }

    /// Appends the end: the rest, padded to a whole codec frame and trimmed by the granule position
    /// in Ogg. [`patch`](Self::patch) afterwards; then nothing more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Wav(wav) => wav.finish(out),
            Kind::Opus(opus) => opus.finish(out),
        }
    }

    /// Length of what stands before the sound, in bytes: sums of segments begin behind it.
    #[must_use]
    pub fn header_len(&self) -> u64 {
        match &self.0 {
            Kind::Wav(wav) => wav.header().len() as u64,
            Kind::Opus(opus) => opus.header_len(),
        }
    }
}

#[cfg(test)]
mod tests;
