//! The one place that calls libopus, with [`multistream`] for files.
//!
//! Whatever libopus answers becomes a [`CodecError`]. It allocates when an encoder or a decoder is
//! made and not after.

mod multistream;

use opus2::{Application, Bandwidth, Bitrate, Channels};

pub use multistream::{MultistreamDecoder, MultistreamEncoder};

use super::super::codec::CodecError;
use super::{
    BITRATES, FEC_BITRATE_MIN, FEC_OFF_PERMILLE, FEC_ON_PERMILLE, FRAME_OCTETS_MAX,
    OUTPUT_OCTETS_MIN, OpusConfig, PACKET_MS_MAX, Toc, has_fec, samples,
};

/// Encoder of one stream, for speech (libopus' application "VoIP").
#[derive(Debug)]
pub struct Encoder {
    libopus: opus2::Encoder,
    config: OpusConfig,
    loss_percent: i32,
    sends_fec: bool,
}

impl Encoder {
    /// An encoder that expects no loss.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] for a rate Opus has not; [`CodecError::Library`] if libopus refuses.
    pub fn new(config: &OpusConfig) -> Result<Self, CodecError> {
        config.check()?;
        let bitrate_bps = config.bitrate_bps.clamp(BITRATES[0], BITRATES[1]);
        let libopus = encoder(config, bitrate_bps).map_err(|_| CodecError::Library)?;
        let config = OpusConfig {
            bitrate_bps,
            ..*config
        };
        Ok(Self {
            libopus,
            config,
            loss_percent: 0,
            sends_fec: false,
        })
    }

    /// Rate of the PCM in Hz.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        self.config.pcm_hz
    }

    /// Encodes a frame of 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms into at most
    /// [`FRAME_OCTETS_MAX`] octets and returns how many; 0 means that nothing is to be sent (only
    /// with discontinuous transmission).
    ///
    /// # Errors
    ///
    /// [`CodecError::FrameLength`] for other lengths; [`CodecError::OutputTooSmall`] below
    /// [`OUTPUT_OCTETS_MIN`]; [`CodecError::Library`] if libopus fails.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let unit = shortest(self.config.pcm_hz);
        match pcm.len() / unit {
            1 | 2 | 4 | 8 | 16 | 24 | 32 | 40 | 48 if pcm.len().is_multiple_of(unit) => {}
            _ => return Err(CodecError::FrameLength),
        }
        if out.len() < OUTPUT_OCTETS_MIN {
            let need = OUTPUT_OCTETS_MIN;
            return Err(CodecError::OutputTooSmall { need });
        }
        let room = out.len().min(FRAME_OCTETS_MAX);
        let encoded = self.libopus.encode(pcm, &mut out[..room]);
        let length = encoded.map_err(|_| CodecError::Library)?;
        // libopus: "2 bytes or less" need not be sent.
        let silent = self.config.dtx && length <= 2;
        Ok(if silent { 0 } else { length })
    }

    /// Takes the loss that the peer reports, in permille. Redundancy is sent from
    /// [`FEC_ON_PERMILLE`] to below [`FEC_OFF_PERMILLE`], if the configuration allows it and the
    /// bit rate is at least [`FEC_BITRATE_MIN`].
    pub fn set_loss(&mut self, permille: u16) {
        let at_least = if self.sends_fec {
            FEC_OFF_PERMILLE
        } else {
            FEC_ON_PERMILLE
        };
        let allowed = self.config.fec && self.config.bitrate_bps >= FEC_BITRATE_MIN;
        let wanted = allowed && permille >= at_least;
        let percent = i32::from(permille.div_ceil(10).min(100));
        // libopus refuses neither: both values are in range.
        if wanted != self.sends_fec && self.libopus.set_inband_fec(wanted).is_ok() {
            self.sends_fec = wanted;
            // At lower complexities libopus 1.3 finds no bits for redundancy at 24 kbit/s, however
            // much is lost.
            let complexity = if wanted {
                10
            } else {
                i32::from(self.config.complexity.min(10))
            };
            let _ = self.libopus.set_complexity(complexity);
        }
        if percent != self.loss_percent && self.libopus.set_packet_loss_perc(percent).is_ok() {
            self.loss_percent = percent;
        }
    }

    /// Whether redundancy is being sent. Music and very low rates get none all the same.
    #[must_use]
    pub fn sends_fec(&self) -> bool {
        self.sends_fec
    }

    /// Forgets the sound it heard; settings stay.
    pub fn reset(&mut self) {
        // Fails only for a null pointer.
        let _ = self.libopus.reset_state();
    }
}

fn encoder(config: &OpusConfig, bitrate_bps: u32) -> opus2::Result<opus2::Encoder> {
    let mut libopus = opus2::Encoder::new(config.pcm_hz, Channels::Mono, Application::Voip)?;
    // At most 510,000.
    libopus.set_bitrate(Bitrate::Bits(bitrate_bps.cast_signed()))?;
    libopus.set_complexity(i32::from(config.complexity.min(10)))?;
    libopus.set_vbr(!config.cbr)?;
    libopus.set_dtx(config.dtx)?;
    libopus.set_max_bandwidth(match config.max_playback_rate_hz {
        0..=8_000 => Bandwidth::Narrowband,
        8_001..=12_000 => Bandwidth::Mediumband,
        12_001..=16_000 => Bandwidth::Wideband,
        16_001..=24_000 => Bandwidth::Superwideband,
        _ => Bandwidth::Fullband,
    })?;
    Ok(libopus)
}

/// Decoder of one stream.
#[derive(Debug)]
pub struct Decoder {
    libopus: opus2::Decoder,
    pcm_hz: u32,
}

impl Decoder {
    /// A decoder to mono at the configured rate.
    ///
    /// # Errors
    ///
    /// As [`Encoder::new`].
    pub fn new(config: &OpusConfig) -> Result<Self, CodecError> {
        config.check()?;
        let libopus = opus2::Decoder::new(config.pcm_hz, Channels::Mono);
        Ok(Self {
            libopus: libopus.map_err(|_| CodecError::Library)?,
            pcm_hz: config.pcm_hz,
        })
    }

    /// Rate of the PCM in Hz.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        self.pcm_hz
    }

    /// Decodes a packet and returns its samples. A packet whose frames are empty, as some send in
    /// silence, is valid and is concealed.
    ///
    /// # Errors
    ///
    /// As [`samples`]; [`CodecError::OutputTooSmall`]; [`CodecError::Malformed`] if libopus finds
    /// it so, for example with a frame over [`FRAME_OCTETS_MAX`]. The decoder can be used on.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let need = samples(payload, self.pcm_hz)?;
        let out = out.get_mut(..need);
        let out = out.ok_or(CodecError::OutputTooSmall { need })?;
        let decoded = self.libopus.decode(payload, out, false);
        decoded.map_err(|_| CodecError::Malformed)
    }

    /// Fills `out` with the lost packet before `next_payload`, from the copy that carries; what
    /// is longer than the copy is concealed before it. `false`, and nothing done, if there is
    /// none, or `out` is no multiple of 2.5 ms or shorter than a frame of `next_payload`. Decode
    /// `next_payload` itself afterwards.
    pub fn decode_fec(&mut self, next_payload: &[u8], out: &mut [i16]) -> bool {
        if !has_fec(next_payload) || !self.can_fill(out.len()) {
            return false;
        }
        let ratio = super::CLOCK_HZ / self.pcm_hz;
        let frame = next_payload
            .first()
            .map_or(0, |toc| Toc(*toc).frame() / ratio);
        if out.len() < frame as usize {
            return false;
        }
        let decoded = self.libopus.decode(next_payload, out, true);
        decoded.is_ok_and(|samples| samples == out.len())
    }

    /// Fills `out` with what may have been in a lost packet. `false`, and nothing done, if it is
    /// no multiple of 2.5 ms or longer than [`PACKET_MS_MAX`].
    pub fn conceal(&mut self, out: &mut [i16]) -> bool {
        if !self.can_fill(out.len()) {
            return false;
        }
        let concealed = self.libopus.decode(&[], out, false);
        concealed.is_ok_and(|samples| samples == out.len())
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        // Fails only for a null pointer.
        let _ = self.libopus.reset_state();
    }

    fn can_fill(&self, length: usize) -> bool {
        let longest = (self.pcm_hz / 1_000 * PACKET_MS_MAX) as usize;
        (1..=longest).contains(&length) && length.is_multiple_of(shortest(self.pcm_hz))
    }
}

/// Samples in 2.5 ms, the unit of all lengths.
fn shortest(pcm_hz: u32) -> usize {
    (pcm_hz / 400) as usize
}

#[cfg(test)]
mod tests;
