//! A codec of a track: payloads in, samples at the recording's rate out, where they belong.
//!
//! Sound comes in runs, stretches without a gap. A resampler is late by its delay; that much is
//! left out at the beginning of a run, and asked for at its end, so that positions stay exact.

use crate::audio::codec::{CodecConfig, CodecError, CodecKind, Decoder};
use crate::audio::conceal::Concealer;
use crate::audio::opus::OpusConfig;
use crate::audio::resample::Resampler;

/// Longest stretch of lost packets that is filled.
pub const CONCEALED_MS_MAX: usize = 120;

/// What a concealer is told of the past, when it is needed: more than it looks at.
const PAST_MS: usize = 60;

/// Most samples of a loss that a decoder is told: of a longer one what it remembers is gone.
const FOLLOWED_MAX: usize = 1_024;

/// A payload of Opus that says only that nothing is said (RFC 6716 section 3.4).
const DTX_OCTETS_MAX: usize = 2;

/// One codec.
#[derive(Debug)]
pub(super) struct Voice {
    decoder: Decoder,
    pcm_hz: usize,
    rate_hz: usize,
    resampler: Option<Resampler>,
    /// Samples of the recording by which what went in is ahead of what came out.
    owed: usize,
    /// Of the next ones, how many are to be left out.
    skip: usize,
    /// The latest sound, twice [`PAST_MS`] at most.
    past: Vec<i16>,
    concealer: Option<Box<Concealer>>,
    /// Samples filled since the latest packet.
    filled: usize,
    /// The decoded packet, and what is made of it.
    pcm: Vec<i16>,
    resampled: Vec<i16>,
    /// The latest payload said that nothing is said.
    is_dtx: bool,
}

impl Voice {
    /// A decoder as good as a recording of `rate_hz` can use.
    pub(super) fn new(kind: CodecKind, rate_hz: u32) -> Result<Self, CodecError> {
        let config = CodecConfig {
            kind,
            opus: OpusConfig::at(rate_hz),
            g722_hz: rate_hz.min(16_000),
        };
        let decoder = Decoder::new(&config)?;
        let pcm_hz = decoder.pcm_hz();
        let resampler = match pcm_hz == rate_hz {
            true => None,
            false => Some(Resampler::new(pcm_hz, rate_hz).ok_or(CodecError::Rate)?),
        };
        Ok(Self {
            decoder,
            pcm_hz: pcm_hz as usize,
            rate_hz: rate_hz as usize,
            resampler,
            owed: 0,
            skip: 0,
            past: Vec::new(),
            concealer: None,
            filled: 0,
            pcm: Vec::new(),
            resampled: Vec::new(),
            is_dtx: false,
        })
    }

    pub(super) fn kind(&self) -> CodecKind {
        self.decoder.kind()
    }

    /// Samples of the recording that are owed.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    /// Samples of the recording that a payload gives.
    pub(super) fn samples(&self, payload: &[u8]) -> Result<usize, CodecError> {
        let samples = self.decoder.samples(payload)?;
        Ok(samples * self.rate_hz / self.pcm_hz)
    }

    /// Whether silence after the latest packet has a sound that only the decoder knows.
    pub(super) fn hums(&self) -> bool {
        self.is_dtx
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        self.skip = self.resampler.as_ref().map_or(0, Resampler::delay_samples);
        self.owed = 0;
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }

    /// A run ends: gives what is owed.
    pub(super) fn end(&mut self) -> &[i16] {
        self.filled = 0;
        self.past.clear();
        let owed = std::mem::take(&mut self.owed);
        self.resampled.clear();
        if let Some(resampler) = &mut self.resampler {
            let zeros = vec![0; owed * self.pcm_hz / self.rate_hz + 1];
            self.resampled.resize(resampler.output_len(zeros.len()), 0);
            resampler.process(&zeros, &mut self.resampled);
            self.resampled.resize(owed, 0);
        }
        &self.resampled
    }

    /// Another sender.
    pub(super) fn reset(&mut self) {
        self.decoder.reset();
        self.is_dtx = false;
    }

    /// Decodes a payload, from its sample `skip` of the recording on; the sound stays here until
    /// [`sound`](Self::sound).
    pub(super) fn decode(&mut self, payload: &[u8], skip: usize) -> Result<(), CodecError> {
        if self.filled > 0
            && let Some(beyond) = self.decoder.follows()
            && let Some(concealer) = &mut self.concealer
        {
            let mut played = [0; FOLLOWED_MAX];
            let count = concealer.foresee(self.filled, beyond, &mut played);
            self.decoder.follow(&played[..count]);
        }
        self.pcm.resize(self.decoder.samples(payload)?, 0);
        let samples = self.decoder.decode(payload, &mut self.pcm)?;
        self.is_dtx = self.kind() == CodecKind::Opus && payload.len() <= DTX_OCTETS_MAX;
        let skip = (skip * self.pcm_hz / self.rate_hz).min(samples);
        self.pcm.drain(..skip);
        if std::mem::take(&mut self.filled) > 0
            && let Some(concealer) = &mut self.concealer
        {
            concealer.heard(&mut self.pcm);
        }
        self.remember();
        Ok(())
    }

    /// Makes up lost sound of so many samples of the recording, before `later` more lost ones and
    /// the payload that follows, if that is known. `false`: too much is lost already.
    pub(super) fn conceal(&mut self, samples: usize, later: usize, next: Option<&[u8]>) -> bool {
        let (samples, later) = (self.pcm_of(samples), self.pcm_of(later));
        let most = CONCEALED_MS_MAX * self.pcm_hz / 1_000;
        if samples == 0 || self.past.is_empty() || self.filled + samples > most {
            return false;
        }
        self.pcm.clear();
        self.pcm.resize(samples, 0);
        if self.kind() == CodecKind::Opus {
            let mends = next.filter(|_| later == 0);
            let mended = mends.is_some_and(|next| self.decoder.decode_fec(next, &mut self.pcm));
            if !mended && !self.decoder.conceal(&mut self.pcm) {
                return false;
            }
        } else {
            self.bridge(later, next);
        }
        self.filled += samples;
        self.remember();
        true
    }

    /// Goes on with what the decoder plays where nothing was sent. `false`: it cannot.
    pub(super) fn hum(&mut self, samples: usize) -> bool {
        let samples = self.pcm_of(samples);
        self.pcm.clear();
        self.pcm.resize(samples, 0);
        self.decoder.conceal(&mut self.pcm)
    }

    /// What was decoded or made up last, at the recording's rate; less at the beginning of a run.
    pub(super) fn sound(&mut self) -> &[i16] {
        let Some(resampler) = &mut self.resampler else {
            return &self.pcm;
        };
        let len = resampler.output_len(self.pcm.len());
        self.resampled.resize(len, 0);
        resampler.process(&self.pcm, &mut self.resampled);
        let skip = self.skip.min(len);
        self.skip -= skip;
        self.owed += skip;
        &self.resampled[skip..]
    }

    fn bridge(&mut self, later: usize, next: Option<&[u8]>) {
        let pcm_hz = u32::try_from(self.pcm_hz).unwrap_or(8_000);
        let concealer = self
            .concealer
            .get_or_insert_with(|| Box::new(Concealer::new(pcm_hz)));
        if self.filled == 0 {
            let kept = self.past.len().min(PAST_MS * self.pcm_hz / 1_000);
            let from = self.past.len() - kept;
            concealer.heard(&mut self.past[from..]);
        }
        // Only a decoder without a memory can be asked what comes later.
        let is_plain = matches!(
            self.decoder.kind(),
            CodecKind::Pcmu | CodecKind::Pcma | CodecKind::L16 { .. }
        );
        let mut ahead = Vec::new();
        if let Some(next) = next.filter(|_| is_plain)
            && let Ok(samples) = self.decoder.samples(next)
        {
            ahead.resize(samples, 0);
            if self.decoder.decode(next, &mut ahead).is_err() {
                ahead.clear();
            }
        }
        concealer.bridge(&mut self.pcm, later, &ahead);
    }

    /// Samples of the decoder for so many of the recording.
    fn pcm_of(&self, samples: usize) -> usize {
        (samples * self.pcm_hz + self.rate_hz / 2) / self.rate_hz
    }

    fn remember(&mut self) {
        let most = PAST_MS * self.pcm_hz / 1_000;
        if self.past.len() + self.pcm.len() > 2 * most {
            let from = self.past.len().saturating_sub(most);
            self.past.drain(..from);
        }
        let from = self.pcm.len().saturating_sub(most);
        self.past.extend_from_slice(&self.pcm[from..]);
    }
}
