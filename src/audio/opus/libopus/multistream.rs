//! Several channels in one packet (RFC 6716 appendix B, RFC 7845 section 5.1.1), for files.

use opus2::{Application, Bitrate, MSDecoder, MSEncoder};

use super::super::{BITRATES, CLOCK_HZ, OpusConfig};
use crate::audio::codec::CodecError;

/// Encoder of some channels that share nothing: each is a stream of its own, so that none is
/// heard on another. It is true to what it hears (libopus' application "audio"); what
/// [`Encoder`](super::Encoder) does for speech, such as taking its lowest tones out, is not done.
#[derive(Debug)]
pub struct MultistreamEncoder {
    libopus: MSEncoder,
    lookahead: u16,
}

impl MultistreamEncoder {
    /// An encoder of 1 to 255 channels. Of the configuration it takes rate, bit rate (of one
    /// channel), complexity and whether that rate is constant.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] for a rate Opus has not, and without channels;
    /// [`CodecError::Library`] if libopus refuses.
    pub fn new(config: &OpusConfig, channels: u8) -> Result<Self, CodecError> {
        config.check()?;
        if channels == 0 {
            return Err(CodecError::Rate);
        }
        let mut libopus = encoder(config, channels).map_err(|_| CodecError::Library)?;
        let ahead = libopus.get_lookahead().map_err(|_| CodecError::Library)?;
        let ahead = u32::try_from(ahead).map_err(|_| CodecError::Library)?;
        let ahead = ahead * (CLOCK_HZ / config.pcm_hz);
        Ok(Self {
            libopus,
            lookahead: u16::try_from(ahead).map_err(|_| CodecError::Library)?,
        })
    }

    /// Samples at [`CLOCK_HZ`] by which what is decoded comes later than what was encoded.
    #[must_use]
    pub fn lookahead(&self) -> u16 {
        self.lookahead
    }

    /// Encodes a frame of interleaved samples, as long as Opus has one, and returns its octets.
    ///
    /// # Errors
    ///
    /// [`CodecError::Library`] for other lengths, and if `out` is too small.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let encoded = self.libopus.encode(pcm, out);
        encoded.map_err(|_| CodecError::Library)
    }
}

fn encoder(config: &OpusConfig, channels: u8) -> opus2::Result<MSEncoder> {
    let mapping: Vec<u8> = (0..channels).collect();
    let mut libopus = MSEncoder::new(config.pcm_hz, channels, 0, &mapping, Application::Audio)?;
    let bitrate_bps = config.bitrate_bps.clamp(BITRATES[0], BITRATES[1]);
    // At most 255 times 510,000.
    let all_bps = bitrate_bps.cast_signed() * i32::from(channels);
    libopus.set_bitrate(Bitrate::Bits(all_bps))?;
    libopus.set_complexity(i32::from(config.complexity.min(10)))?;
    libopus.set_vbr(!config.cbr)?;
    Ok(libopus)
}

/// Decoder of some streams to some channels.
#[derive(Debug)]
pub struct MultistreamDecoder {
    libopus: MSDecoder,
    channels: usize,
}

impl MultistreamDecoder {
    /// A decoder at `pcm_hz` of as many channels as `mapping` has entries: each the number of
    /// a decoded channel, of which the first `coupled` streams have two and the others one; 255 is
    /// silence. `gain` in 1/256 dB is applied.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] for a rate Opus has not; [`CodecError::Malformed`] if streams and
    /// mapping do not fit.
    pub fn new(
        pcm_hz: u32,
        streams: u8,
        coupled: u8,
        mapping: &[u8],
        gain: i16,
    ) -> Result<Self, CodecError> {
        OpusConfig::at(pcm_hz).check()?;
        if coupled > streams || mapping.is_empty() {
            return Err(CodecError::Malformed);
        }
        let libopus = MSDecoder::new(pcm_hz, streams, coupled, mapping);
        let mut libopus = libopus.map_err(|_| CodecError::Malformed)?;
        let set = libopus.set_gain(i32::from(gain));
        set.map_err(|_| CodecError::Library)?;
        Ok(Self {
            libopus,
            channels: mapping.len(),
        })
    }

    /// Decodes a packet into interleaved samples, and returns how many frames of all channels.
    /// `out` has room for 120 ms.
    ///
    /// # Errors
    ///
    /// [`CodecError::Empty`]; [`CodecError::Malformed`] if libopus finds it so. The decoder can be
    /// used on.
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        if packet.is_empty() {
            return Err(CodecError::Empty);
        }
        let decoded = self.libopus.decode(packet, out, false);
        decoded.map_err(|_| CodecError::Malformed)
    }

    /// Fills `out`, a multiple of 2.5 ms up to 120 ms, with what may have been in a lost packet;
    /// with silence if libopus knows nothing.
    pub fn conceal(&mut self, out: &mut [i16]) {
        let frames = out.len() / self.channels;
        let concealed = self.libopus.decode(&[], out, false);
        if concealed.ok() != Some(frames) {
            out.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_and_rates_are_held_to_what_there_is() {
        let with = |hz, channels| MultistreamEncoder::new(&OpusConfig::at(hz), channels);
        for hz in [8_000, 16_000, 48_000] {
            // 6.5 ms.
            assert_eq!(with(hz, 1).unwrap().lookahead(), 312);
        }
        assert!(with(16_000, 255).is_ok());
        assert_eq!(with(16_000, 0).unwrap_err(), CodecError::Rate);
        assert_eq!(with(44_100, 1).unwrap_err(), CodecError::Rate);
        let decoder = |streams, coupled, mapping: &[u8]| {
            MultistreamDecoder::new(48_000, streams, coupled, mapping, 0).is_ok()
        };
        assert!(decoder(1, 1, &[0, 1]) && decoder(2, 0, &[0, 1, 255]));
        assert!(!decoder(1, 2, &[0, 1]) && !decoder(0, 0, &[255]) && !decoder(1, 0, &[]));
        assert!(!decoder(2, 0, &[0, 2]) && !decoder(255, 255, &[0]));
    }

    #[test]
    fn what_is_no_packet_is_refused_and_the_decoder_goes_on() {
        let mut encoder = MultistreamEncoder::new(&OpusConfig::at(8_000), 2).unwrap();
        let mut decoder = MultistreamDecoder::new(8_000, 2, 0, &[0, 1], 0).unwrap();
        let (mut packet, mut out) = ([0; 2_600], [0; 1_920]);
        let len = encoder.encode(&[1_000; 320], &mut packet).unwrap();
        assert_eq!(
            encoder.encode(&[0; 322], &mut packet),
            Err(CodecError::Library)
        );
        assert_eq!(decoder.decode(&[], &mut out), Err(CodecError::Empty));
        // The second stream is missing.
        assert_eq!(
            decoder.decode(&packet[..2], &mut out),
            Err(CodecError::Malformed)
        );
        assert_eq!(decoder.decode(&packet[..len], &mut out), Ok(160));
        out.fill(1);
        decoder.conceal(&mut out[..320]);
        // Not a multiple of 2.5 ms: silence.
        decoder.conceal(&mut out[320..330]);
        assert_eq!(out[320..331], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
