//! Sound into Ogg Opus.

use super::ogg::{PageWriter, head, silence, tags};
use crate::audio::codec::CodecError;
use crate::audio::opus::{CLOCK_HZ, FRAME_OCTETS_MAX, MultistreamEncoder, OpusConfig};

/// Length of a frame.
const FRAMES_PER_SECOND: u32 = 50;
/// The same in samples at 48 kHz.
const FRAME_SAMPLES: u64 = CLOCK_HZ as u64 / FRAMES_PER_SECOND as u64;

#[derive(Debug)]
pub(super) struct OpusWriter {
    encoder: MultistreamEncoder,
    channels: u8,
    /// Samples of a frame, of all channels.
    frame_len: usize,
    /// Samples at 48 kHz for each of ours.
    ratio: u64,
    /// Sound that is no whole frame yet.
    rest: Vec<i16>,
    /// Samples at 48 kHz that came, of each channel.
    came: u64,
    /// Those that were encoded.
    encoded: u64,
    pages: PageWriter,
    headers: [Vec<u8>; 2],
    packet: Vec<u8>,
}

impl OpusWriter {
    pub(super) fn new(
        rate_hz: u32,
        bitrate_bps: u32,
        channels: u8,
        serial: u32,
        comments: &[String],
    ) -> Result<Self, CodecError> {
        let config = OpusConfig {
            bitrate_bps,
            ..OpusConfig::at(rate_hz)
        };
        let encoder = MultistreamEncoder::new(&config, channels)?;
        let headers = [
            head(channels, false, encoder.lookahead(), rate_hz),
            tags(comments),
        ];
        Ok(Self {
            encoder,
            channels,
            frame_len: (rate_hz / FRAMES_PER_SECOND) as usize * usize::from(channels),
            ratio: u64::from(CLOCK_HZ / rate_hz),
            rest: Vec::new(),
            came: 0,
            encoded: 0,
            pages: PageWriter::new(serial),
            headers,
            // A frame, its TOC and its length of each stream.
            packet: vec![0; (FRAME_OCTETS_MAX + 3) * usize::from(channels)],
        })
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        let [head, tags] = &self.headers;
        self.pages.headers(head, tags, out);
    }

    pub(super) fn header_len(&self) -> u64 {
        let [head, tags] = &self.headers;
        let mut out = Vec::new();
        PageWriter::new(0).headers(head, tags, &mut out);
        out.len() as u64
    }

    pub(super) fn push(&mut self, mut pcm: &[i16], out: &mut Vec<u8>) {
        let channels = usize::from(self.channels);
        assert!(pcm.len().is_multiple_of(channels));
        self.came += (pcm.len() / channels) as u64 * self.ratio;
        if !self.rest.is_empty() {
            let missing = (self.frame_len - self.rest.len()).min(pcm.len());
            self.rest.extend_from_slice(&pcm[..missing]);
            pcm = &pcm[missing..];
            if self.rest.len() < self.frame_len {
                return;
            }
            let frame = std::mem::take(&mut self.rest);
            self.encode(&frame, out);
            self.rest = frame;
            self.rest.clear();
        }
        let frames = pcm.chunks_exact(self.frame_len);
        self.rest.extend_from_slice(frames.remainder());
        for frame in frames {
            self.encode(frame, out);
        }
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.pages.flush(out);
    }

    /// Silence follows until all that came has gone through the encoder; the granule position says
    /// what was not silence.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let end = self.came + u64::from(self.encoder.lookahead());
        let mut frame = std::mem::take(&mut self.rest);
        frame.resize(self.frame_len, 0);
        while self.encoded < end {
            self.encode(&frame, out);
            frame.fill(0);
        }
        self.pages.finish(end, out);
    }

    fn encode(&mut self, frame: &[i16], out: &mut Vec<u8>) {
        self.encoded += FRAME_SAMPLES;
        // libopus has no reason to fail; if it finds one, a packet is as good as lost.
        let len = self.encoder.encode(frame, &mut self.packet);
        match len.ok().and_then(|len| self.packet.get(..len)) {
            Some(packet) => self.pages.packet(packet, self.encoded, out),
            None => self
                .pages
                .packet(&silence(self.channels), self.encoded, out),
        }
    }
}
