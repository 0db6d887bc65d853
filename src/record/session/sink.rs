//! What a session writes: a file of samples, or one of packets.

use std::time::Duration;

use super::copying::Copying;
use crate::audio::codec::CodecError;
use crate::record::config::{Format, RecordingConfig};
use crate::record::file::copy::CopyWriter;
use crate::record::file::{FileWriter, Patch};
use crate::record::span::Span;

/// The file.
#[derive(Debug)]
pub(super) enum Sink {
    Samples(Box<FileWriter>),
    Packets(Box<Copying>),
}

impl Sink {
    pub(super) fn new(
        config: &RecordingConfig,
        serial: u32,
        comments: &[String],
    ) -> Result<Self, CodecError> {
        let (rate_hz, channels) = (config.rate_hz, config.layout.channels());
        if config.format == Format::OpusCopy {
            let writer = CopyWriter::new(channels, serial, comments);
            return Ok(Self::Packets(Box::new(Copying::new(writer))));
        }
        let writer = FileWriter::new(config.format, rate_hz, channels, serial, comments)?;
        Ok(Self::Samples(Box::new(writer)))
    }

    /// If packets are stored: who stores them.
    pub(super) fn copying(&mut self) -> Option<&mut Copying> {
        match self {
            Self::Samples(_) => None,
            Self::Packets(copying) => Some(copying),
        }
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Samples(file) => file.begin(out),
            Self::Packets(copying) => copying.writer().begin(out),
        }
    }

    pub(super) fn header_len(&mut self) -> u64 {
        match self {
            Self::Samples(file) => file.header_len(),
            Self::Packets(copying) => copying.writer().header_len(),
        }
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Samples(file) => file.flush(out),
            Self::Packets(copying) => copying.writer().flush(out),
        }
    }

    pub(super) fn patch(&self) -> Option<Patch> {
        match self {
            Self::Samples(file) => file.patch(),
            Self::Packets(_) => None,
        }
    }

    /// The end of a file of so much time.
    pub(super) fn finish(&mut self, length: Duration, out: &mut Vec<u8>, spans: &mut Vec<Span>) {
        match self {
            Self::Samples(file) => file.finish(out),
            Self::Packets(copying) => copying.writer().finish(length, out, spans),
        }
    }
}
