//! Stands where libopus is when it was built in: nothing here can be made.

use super::super::codec::CodecError;
use super::OpusConfig;

/// Cannot be made.
#[derive(Debug)]
pub enum Encoder {}

impl Encoder {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] as where it can be made, else [`CodecError::OpusNotBuilt`].
    pub fn new(config: &OpusConfig) -> Result<Self, CodecError> {
        config.check()?;
        Err(CodecError::OpusNotBuilt)
    }

    /// Never called.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn encode(&mut self, _pcm: &[i16], _out: &mut [u8]) -> Result<usize, CodecError> {
        match *self {}
    }

    /// Never called.
    pub fn set_loss(&mut self, _permille: u16) {
        match *self {}
    }

    /// Never called.
    #[must_use]
    pub fn sends_fec(&self) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn reset(&mut self) {
        match *self {}
    }
}

/// Cannot be made.
#[derive(Debug)]
pub enum Decoder {}

impl Decoder {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] as where it can be made, else [`CodecError::OpusNotBuilt`].
    pub fn new(config: &OpusConfig) -> Result<Self, CodecError> {
        config.check()?;
        Err(CodecError::OpusNotBuilt)
    }

    /// Never called.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn decode(&mut self, _payload: &[u8], _out: &mut [i16]) -> Result<usize, CodecError> {
        match *self {}
    }

    /// Never called.
    pub fn decode_fec(&mut self, _next_payload: &[u8], _out: &mut [i16]) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn conceal(&mut self, _out: &mut [i16]) -> bool {
        match *self {}
    }

    /// Never called.
    pub fn reset(&mut self) {
        match *self {}
    }
}

/// Cannot be made.
#[derive(Debug)]
pub enum MultistreamEncoder {}

impl MultistreamEncoder {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] as where it can be made, else [`CodecError::OpusNotBuilt`].
    pub fn new(config: &OpusConfig, _channels: u8) -> Result<Self, CodecError> {
        config.check()?;
        Err(CodecError::OpusNotBuilt)
    }

    /// Never called.
    #[must_use]
    pub fn lookahead(&self) -> u16 {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn encode(&mut self, _pcm: &[i16], _out: &mut [u8]) -> Result<usize, CodecError> {
        match *self {}
    }
}

/// Cannot be made.
#[derive(Debug)]
pub enum MultistreamDecoder {}

impl MultistreamDecoder {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`] as where it can be made, else [`CodecError::OpusNotBuilt`].
    pub fn new(
        pcm_hz: u32,
        _streams: u8,
        _coupled: u8,
        _mapping: &[u8],
        _gain: i16,
    ) -> Result<Self, CodecError> {
        OpusConfig::at(pcm_hz).check()?;
        Err(CodecError::OpusNotBuilt)
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn decode(&mut self, _packet: &[u8], _out: &mut [i16]) -> Result<usize, CodecError> {
        match *self {}
    }

    /// Never called.
    pub fn conceal(&mut self, _out: &mut [i16]) {
        match *self {}
    }
}
