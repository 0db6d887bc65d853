//! What turns payloads into audio.

use crate::audio::codec::{CodecKind, Decoder};
use crate::audio::opus;

/// A decoder as playout needs it. [`Decoder`] is the one users meet.
pub trait Voice {
    /// Rate of its audio, in Hz.
    fn pcm_hz(&self) -> u32;

    /// How many samples a payload gives, without decoding it; `None` if it is none of this codec's.
    fn samples(&self, payload: &[u8]) -> Option<usize>;

    /// Decodes a payload to the front of `out`; returns how many samples that are. `None` if the
    /// payload is broken or does not fit.
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Option<usize>;

    /// Whether [`Voice::conceal`] does anything.
    fn conceals(&self) -> bool;

    /// The codec's own continuation of what it decoded last; false if it has none for this length.
    fn conceal(&mut self, out: &mut [i16]) -> bool;

    /// Restores the packet before the one with this payload into all of `out`; false if it cannot.
    fn decode_fec(&mut self, next_payload: &[u8], out: &mut [i16]) -> bool;

    /// Whether knowing this payload makes the loss of the packet before it easier to bear: it holds
    /// a copy of it, or there is no better way than to fill the gap from both its ends.
    fn mends_before(&self, next_payload: &[u8]) -> bool;

    /// Samples beyond the end of a loss that [`Voice::follow`] must be told; `None` if it does
    /// nothing.
    fn follows(&self) -> Option<usize> {
        None
    }

    /// Learns what is played in place of lost packets, and as much further as [`Voice::follows`]
    /// says, before the next packet is decoded.
    fn follow(&mut self, _played: &[i16]) {}

    /// Forgets the stream: another source begins.
    fn reset(&mut self);
}

impl Voice for Decoder {
    fn pcm_hz(&self) -> u32 {
        Self::pcm_hz(self)
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        Self::samples(self, payload).ok()
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Option<usize> {
        Self::decode(self, payload, out).ok()
    }

    fn conceals(&self) -> bool {
        self.kind() == CodecKind::Opus
    }

    fn conceal(&mut self, out: &mut [i16]) -> bool {
        Self::conceal(self, out)
    }

    fn decode_fec(&mut self, next_payload: &[u8], out: &mut [i16]) -> bool {
        Self::decode_fec(self, next_payload, out)
    }

    fn mends_before(&self, next_payload: &[u8]) -> bool {
        match self.kind() {
            CodecKind::Opus => opus::has_fec(next_payload),
            // What it decodes after a gap is off until its predictors have found their way back:
            // measured, that hides what a gap filled from both ends is better.
            CodecKind::G722 => false,
            _ => true,
        }
    }

    fn follows(&self) -> Option<usize> {
        Self::follows(self)
    }

    fn follow(&mut self, played: &[i16]) {
        Self::follow(self, played);
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}
