//! What everybody hears who does not talk: converted and encoded once for all of them.
//!
//! A codec that remembers (G.722, Opus) makes a listener's decoder follow the encoder it hears, so
//! changing from one encoder to another is heard unless it is done with care. Who begins to talk
//! takes the common encoder's state along, which is exact (Opus cannot, and starts anew). Who stops
//! keeps its own encoder until a frame is so quiet that both encoders remember next to nothing.

use crate::audio::codec::{CodecConfig, CodecError, CodecKind, Encoder};
use crate::audio::resample::Resampler;

use super::bridge::convert;
use super::mouth::{FRAME_SAMPLES_MAX, Mouth, encoded_max};

/// Most codecs of one bridge that are encoded in common; who speaks another encodes by itself.
pub(in crate::engine) const COMMONS_MAX: usize = 8;

/// A frame with no sample above this is quiet (−48 dB of full scale).
const QUIET_PEAK: u16 = 128;

/// Who waits so long for a quiet frame is content with twice as loud a one, and so on, until any
/// will do: a room with noise on its lines is never quiet.
const PATIENCE_FRAMES: u16 = 200;

/// One codec of a bridge and what its listeners are sent.
#[derive(Debug)]
pub(in crate::engine) struct Common {
    codec: CodecConfig,
    encoder: Encoder,
    /// From the bridge's rate to the codec's.
    outward: Option<(u32, Box<Resampler>)>,
    /// This frame's samples at the codec's rate, where that is not the bridge's.
    converted: Vec<i16>,
    /// This frame encoded, if `made`: the first `len` octets.
    payload: Vec<u8>,
    len: usize,
    made: bool,
    /// The encoder was used before this frame.
    used: bool,
    /// Mouths whose listeners' decoders are in step with this encoder.
    listeners: usize,
    /// The most that any listener reported lost, in permille; `told` is what the encoder knows.
    loss: u16,
    told: u16,
}

impl Common {
    /// # Errors
    /// The codec cannot be encoded.
    pub(in crate::engine) fn new(codec: CodecConfig) -> Result<Self, CodecError> {
        Ok(Self {
            encoder: Encoder::new(&codec)?,
            codec,
            outward: None,
            converted: Vec::new(),
            payload: Vec::new(),
            len: 0,
            made: false,
            used: false,
            listeners: 0,
            loss: 0,
            told: 0,
        })
    }

    pub(in crate::engine) fn codec(&self) -> CodecConfig {
        self.codec
    }

    /// A frame begins.
    pub(in crate::engine) fn begin(&mut self) {
        self.used |= self.made;
        self.made = false;
        // What the listeners of the last frame lose.
        let loss = std::mem::take(&mut self.loss);
        if loss != std::mem::replace(&mut self.told, loss) {
            self.encoder.set_loss(loss);
        }
    }

    /// Lets a mouth hear what the others hear, if its listener will not notice the change. `peak`
    /// is the loudest sample of this frame.
    pub(in crate::engine) fn join(&mut self, mouth: &mut Mouth, peak: u16) -> bool {
        let remembers = matches!(self.codec.kind, CodecKind::G722 | CodecKind::Opus);
        let fits = !remembers
            || self.is_unheard_by(mouth)
            || peak >> mouth.patience(PATIENCE_FRAMES) <= QUIET_PEAK;
        self.listeners += usize::from(fits);
        fits
    }

    /// Whether the encoder can be, or is, in the state the mouth's own is in.
    fn is_unheard_by(&mut self, mouth: &Mouth) -> bool {
        if self.listeners == 0 && !self.made {
            self.used = !mouth.is_fresh();
            return self.encoder.follow(mouth.encoder()) || mouth.is_fresh();
        }
        !self.used && mouth.is_fresh()
    }

    /// A mouth goes its own way again, from where the common encoder stands. Before the frame is
    /// encoded.
    pub(in crate::engine) fn part(&mut self, mouth: &mut Mouth) {
        self.listeners = self.listeners.saturating_sub(1);
        mouth.follow(&self.encoder);
    }

    /// So many mouths are in step with it.
    pub(in crate::engine) fn set_listeners(&mut self, listeners: usize) {
        self.listeners = listeners;
    }

    /// Notes a listener's loss.
    pub(in crate::engine) fn note_loss(&mut self, permille: u16) {
        self.loss = self.loss.max(permille);
    }

    /// This frame's payload, made of the bridge's common samples unless it is there already.
    pub(in crate::engine) fn payload(&mut self, from_hz: u32, pcm: &[i16]) -> &[u8] {
        if !std::mem::replace(&mut self.made, true) {
            self.len = self.encode(from_hz, pcm);
        }
        &self.payload[..self.len]
    }

    fn encode(&mut self, from_hz: u32, pcm: &[i16]) -> usize {
        let to_hz = self.encoder.pcm_hz();
        let len = pcm.len() * to_hz as usize / from_hz.max(1) as usize;
        let most = encoded_max(&self.codec, len);
        if self.payload.len() < most {
            self.payload.resize(most, 0);
        }
        if from_hz == to_hz {
            return self.encoder.encode(pcm, &mut self.payload).unwrap_or(0);
        }
        self.converted.resize(len.min(FRAME_SAMPLES_MAX), 0);
        if !convert(&mut self.outward, from_hz, to_hz, pcm, &mut self.converted) {
            return 0;
        }
        let payload = &mut self.payload;
        self.encoder.encode(&self.converted, payload).unwrap_or(0)
    }
}
