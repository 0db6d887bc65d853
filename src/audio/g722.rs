//! G.722 at 64 kbit/s: 7 kHz audio in two ADPCM sub-bands, written from ITU-T Rec. G.722 (09/2012).
//!
//! PCM is 16 bit at 16 kHz. One octet holds two samples: the high band's two bits in the most
//! significant places, then six bits of the low band.
//!
//! The RTP clock is 8 kHz although the audio is sampled at 16 kHz: RFC 3551 section 4.5.2 keeps
//! the mistake of RFC 1890, so 20 ms are 160 octets, 160 timestamp units and 320 samples. RFC 3551
//! knows no other mode than 64 kbit/s; the 56 and 48 kbit/s modes, which are the same stream with
//! data bits stolen from the low band, do not occur in RTP.
//!
//! Names in capitals in the comments are the blocks of section 6.2.1 of the Recommendation. The
//! quadrature mirror filters work on 16 bits where the Recommendation has 14, the two low ones
//! taken as further fraction, as is usual for 16-bit audio.

mod band;
mod qmf;
mod tables;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test signals are small"
)]
mod tests;

use band::{BLOCK, Band};
use qmf::{Analysis, Synthesis};

/// Sampling rate of the audio in Hz.
pub const PCM_HZ: u32 = 16_000;

/// Samples by which [`Decoder::follow`] must know what comes after a loss: the delay of both
/// filters.
pub const FOLLOW_AHEAD: usize = qmf::DELAY;

/// RTP clock rate in Hz (RFC 3551 section 4.5.2).
pub const CLOCK_HZ: u32 = 8_000;

/// Microseconds by which decoded audio is behind what was coded: the delay of both filters.
pub const DELAY_US: u32 = 1_375;

/// The same of audio decoded at 8 kHz, for which there is no second filter.
pub const NARROW_DELAY_US: u32 = 687;

/// Encoder: its state starts as the Recommendation's reset does.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
    filter: Analysis,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            low: Band::new(),
            high: Band::new(),
            filter: Analysis::default(),
        }
    }
}

impl Encoder {
    /// As after a reset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all it heard.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Encodes pairs of samples into octets, as many as both slices hold; returns the octets.
    /// A last single sample is left out.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        let octets = (pcm.len() / 2).min(out.len());
        let pcm = pcm[..2 * octets].chunks(2 * BLOCK);
        for (pcm, out) in pcm.zip(out[..octets].chunks_mut(BLOCK)) {
            self.block(pcm, out);
        }
        octets
    }

    fn block(&mut self, pcm: &[i16], out: &mut [u8]) {
        let (mut low, mut high) = ([0; BLOCK], [0; BLOCK]);
        self.filter.split(pcm, &mut low, &mut high);
        let mut differences = [self.low.open(), self.high.open()];
        let [of_low, of_high] = &mut differences;
        for (at, ((low, high), octet)) in low.iter().zip(&high).zip(&mut *out).enumerate() {
            let low_code = self.low.encode_low(*low, of_low, at);
            let high_code = self.high.encode_high(*high, of_high, at);
            *octet = (high_code << 6) | low_code;
        }
        self.low.close(of_low, out.len());
        self.high.close(of_high, out.len());
    }

    /// As [`encode`](Self::encode), from telephone quality: each sample of 8 kHz becomes an octet,
    /// and what a decoder puts above 4 kHz is silence.
    ///
    /// The low band is fed without the filter, which would have let pass what is in it anyway.
    pub fn encode_narrow(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        let octets = pcm.len().min(out.len());
        let pcm = pcm[..octets].chunks(BLOCK);
        for (pcm, out) in pcm.zip(out[..octets].chunks_mut(BLOCK)) {
            // The band has 15 bits.
            self.low
                .encode_all(pcm.iter().map(|sample| sample >> 1), out);
            out.iter_mut().for_each(|octet| *octet |= SILENT_HIGH);
        }
        octets
    }
}

/// The high band's code of no signal after a reset: a difference of the smallest step, which is
/// rounded to none, so that the step stays the smallest and the prediction zero.
const SILENT_HIGH: u8 = 0b1100_0000;

/// Decoder: its state starts as the Recommendation's reset does. Any octets are valid.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
    filter: Synthesis,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            low: Band::new(),
            high: Band::new(),
            filter: Synthesis::default(),
        }
    }
}

impl Decoder {
    /// As after a reset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all it heard.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Decodes each octet into two samples, as many as both slices hold; returns the samples.
    pub fn decode(&mut self, octets: &[u8], out: &mut [i16]) -> usize {
        let count = octets.len().min(out.len() / 2);
        let octets = octets[..count].chunks(BLOCK);
        for (octets, out) in octets.zip(out[..2 * count].chunks_mut(2 * BLOCK)) {
            let (mut low, mut high) = ([0; BLOCK], [0; BLOCK]);
            let (low, high) = (&mut low[..octets.len()], &mut high[..octets.len()]);
            self.low.decode_low(octets, low);
            self.high.decode_high(octets, high);
            self.filter.join(low, high, out);
        }
        2 * count
    }

    /// Learns what was played in place of octets that were lost, as if its encoder had sent it:
    /// steps and predictors follow, so that what comes next fits. `pcm` begins where the loss did
    /// and goes on [`FOLLOW_AHEAD`] samples beyond its end: so much later than it was coded is a
    /// sound heard.
    pub fn follow(&mut self, pcm: &[i16]) {
        let Some((past, pcm)) = pcm.split_first_chunk() else {
            return;
        };
        let mut encoder = Encoder {
            low: self.low.clone(),
            high: self.high.clone(),
            filter: Analysis::after(*past),
        };
        for pcm in pcm.chunks(2 * BLOCK) {
            let mut octets = [0; BLOCK];
            let count = encoder.encode(pcm, &mut octets);
            self.decode(&octets[..count], &mut [0; 2 * BLOCK]);
        }
    }

    /// As [`follow`](Self::follow), of 8 kHz and without anything beyond the end of the loss.
    pub fn follow_narrow(&mut self, pcm: &[i16]) {
        let mut low = self.low.clone();
        for pcm in pcm.chunks(BLOCK) {
            let mut octets = [0; BLOCK];
            let octets = &mut octets[..pcm.len()];
            low.encode_all(pcm.iter().map(|sample| sample >> 1), octets);
            self.low.decode_low(octets, &mut [0; BLOCK][..pcm.len()]);
        }
    }

    /// As [`decode`](Self::decode), to telephone quality: each octet becomes a sample of 8 kHz,
    /// what the sender's filter let pass below 4 kHz.
    pub fn decode_narrow(&mut self, octets: &[u8], out: &mut [i16]) -> usize {
        let count = octets.len().min(out.len());
        let octets = octets[..count].chunks(BLOCK);
        for (octets, out) in octets.zip(out[..count].chunks_mut(BLOCK)) {
            self.low.decode_low(octets, out);
            out.iter_mut().for_each(|sample| *sample <<= 1);
        }
        count
    }
}

/// Saturation to 16 bits, as the Recommendation's operators do.
#[inline(always)]
fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// What is known to have 16 bits, or saturated to them.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "as said")]
fn short(value: i32) -> i16 {
    value as i16
}
