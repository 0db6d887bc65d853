//! The codecs behind one door: what SDP names becomes an [`Encoder`] and a [`Decoder`] between
//! RTP payloads and mono PCM of 16 bits.
//!
//! Both allocate when they are made and never after. Payloads are hostile: any octets decode or
//! are refused with a [`CodecError`], and state stays usable.

use std::fmt;

use super::opus::{self, OpusConfig};
use super::{g711, g722, l16};

/// Longest payload of G.711, G.722 and L16 in milliseconds; Opus has its own,
/// [`opus::PACKET_MS_MAX`].
pub const PAYLOAD_MS_MAX: u32 = 240;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A payload without octets.
    #[error("empty payload")]
    Empty,
    /// PCM that is no whole frame of the codec, or a frame it does not have.
    #[error("length of frame does not fit the codec")]
    FrameLength,
    /// libopus failed or refused a setting.
    #[error("libopus failed")]
    Library,
    /// A payload against the rules of its codec.
    #[error("malformed payload")]
    Malformed,
    /// Opus was left out of this build.
    #[error("built without Opus (cargo feature `opus`)")]
    OpusNotBuilt,
    /// The output has no room for what would be written.
    #[error("output too small, {need} needed")]
    OutputTooSmall {
        /// Its least length, in samples or octets.
        need: usize,
    },
    /// A sampling rate or number of channels that the codec does not have.
    #[error("rate or channels not supported")]
    Rate,
    /// A payload of more than [`PAYLOAD_MS_MAX`] or [`opus::PACKET_MS_MAX`].
    #[error("payload too long")]
    TooLong,
}

/// A codec as SDP names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// G.711 µ-law, payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s, payload type 9.
    G722,
    /// Linear PCM.
    L16 {
        /// Sampling and RTP clock rate in Hz: 8,000, 16,000, 24,000 or 48,000.
        rate_hz: u32,
        /// 1 or 2.
        channels: u8,
    },
    /// Opus.
    Opus,
}

impl CodecKind {
    /// The codec of an `rtpmap`'s encoding name (in any case), clock rate in Hz and number of
    /// channels. `None` if it is another, or not to be had in this form.
    #[must_use]
    pub fn from_sdp(name: &str, clock_hz: u32, channels: u8) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match (clock_hz, channels) {
            (8_000, 1) if is("PCMU") => Some(Self::Pcmu),
            (8_000, 1) if is("PCMA") => Some(Self::Pcma),
            (g722::CLOCK_HZ, 1) if is("G722") => Some(Self::G722),
            // One channel contradicts RFC 7587 section 7, but nothing else can be meant.
            (opus::CLOCK_HZ, 1 | 2) if is("opus") => Some(Self::Opus),
            // The rates that can be resampled: not 44,100, payload types 10 and 11.
            (8_000 | 16_000 | 24_000 | 48_000, 1..=l16::CHANNELS_MAX) if is("L16") => {
                let rate_hz = clock_hz;
                Some(Self::L16 { rate_hz, channels })
            }
            _ => None,
        }
    }

    /// The codec of an `rtpmap` value without its payload type, such as `opus/48000/2`.
    #[must_use]
    pub fn from_rtpmap(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let (name, clock) = (parts.next()?, parts.next()?);
        let channels = parts.next().map_or(Ok(1), str::parse).ok()?;
        if parts.next().is_some() {
            return None;
        }
        Self::from_sdp(name, clock.parse().ok()?, channels)
    }

    /// RTP clock rate in Hz.
    #[must_use]
    pub fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
            Self::G722 => g722::CLOCK_HZ,
            Self::L16 { rate_hz, .. } => rate_hz,
            Self::Opus => opus::CLOCK_HZ,
        }
    }

    /// Sampling rate in Hz of the audio the codec is made for.
    #[must_use]
    pub fn pcm_hz(self) -> u32 {
        match self {
            Self::G722 => g722::PCM_HZ,
            _ => self.clock_hz(),
        }
    }
}

/// The `rtpmap` value without its payload type.
impl fmt::Display for CodecKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pcmu => f.write_str("PCMU/8000"),
            Self::Pcma => f.write_str("PCMA/8000"),
            Self::G722 => f.write_str("G722/8000"),
            Self::L16 {
                rate_hz,
                channels: 1,
            } => write!(f, "L16/{rate_hz}"),
            Self::L16 { rate_hz, channels } => write!(f, "L16/{rate_hz}/{channels}"),
            Self::Opus => f.write_str("opus/48000/2"),
        }
    }
}

/// A codec and how it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecConfig {
    /// Which it is.
    pub kind: CodecKind,
    /// How Opus runs; without meaning for the others.
    pub opus: OpusConfig,
    /// Rate in Hz of G.722's PCM, without meaning for the others: 16,000, or 8,000 for telephone
    /// quality, which costs half as much. The payloads are the same ones.
    pub g722_hz: u32,
}

impl CodecConfig {
    /// With the defaults of Opus, and all of G.722's band.
    #[must_use]
    pub fn new(kind: CodecKind) -> Self {
        Self {
            kind,
            opus: OpusConfig::default(),
            g722_hz: g722::PCM_HZ,
        }
    }

    /// Rate in Hz of the PCM of encoder and decoder.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        match self.kind {
            CodecKind::Opus => self.opus.pcm_hz,
            CodecKind::G722 => self.g722_hz,
            kind => kind.pcm_hz(),
        }
    }

    /// Microseconds by which decoded audio is behind what was coded: the look-ahead of libopus, as
    /// it is unless its delay is restricted, and the filters of G.722. 0: what is decoded depends
    /// on nothing that came before.
    #[must_use]
    pub fn delay_us(&self) -> u32 {
        match self.kind {
            CodecKind::Opus => opus::DELAY_US,
            CodecKind::G722 if self.g722_hz == g722::PCM_HZ => g722::DELAY_US,
            CodecKind::G722 => g722::NARROW_DELAY_US,
            CodecKind::Pcmu | CodecKind::Pcma | CodecKind::L16 { .. } => 0,
        }
    }

    /// L16 may have been put together by hand.
    fn check(&self) -> Result<(), CodecError> {
        match self.kind {
            CodecKind::L16 { rate_hz, channels } => CodecKind::from_sdp("L16", rate_hz, channels)
                .map_or(Err(CodecError::Rate), |_| Ok(())),
            CodecKind::G722 if ![8_000, g722::PCM_HZ].contains(&self.g722_hz) => {
                Err(CodecError::Rate)
            }
            _ => Ok(()),
        }
    }
}

/// How payloads and PCM correspond, other than in Opus.
#[derive(Clone, Copy, Debug)]
struct Layout {
    pcm_hz: u32,
    /// Octets and samples that belong together.
    octets: usize,
    samples: usize,
}

impl Layout {
    fn of(config: &CodecConfig) -> Self {
        let pcm_hz = config.pcm_hz();
        let (octets, samples) = match config.kind {
            CodecKind::Pcmu | CodecKind::Pcma | CodecKind::Opus => (1, 1),
            CodecKind::G722 => (1, (pcm_hz / g722::CLOCK_HZ) as usize),
            CodecKind::L16 { channels, .. } => (2 * usize::from(channels), 1),
        };
        Self {
            pcm_hz,
            octets,
            samples,
        }
    }

    /// Most samples of a payload.
    fn samples_max(self) -> usize {
        (self.pcm_hz / 1_000 * PAYLOAD_MS_MAX) as usize
    }

    /// Samples in a payload.
    fn samples_in(self, payload: &[u8]) -> Result<usize, CodecError> {
        match payload.len() {
            0 => Err(CodecError::Empty),
            length if !length.is_multiple_of(self.octets) => Err(CodecError::Malformed),
            length => match length / self.octets * self.samples {
                all if all > self.samples_max() => Err(CodecError::TooLong),
                all => Ok(all),
            },
        }
    }

    /// Octets of PCM of a length.
    fn octets_of(self, pcm: &[i16]) -> Result<usize, CodecError> {
        match pcm.len() {
            length
                if length.is_multiple_of(self.samples)
                    && (1..=self.samples_max()).contains(&length) =>
            {
                Ok(length / self.samples * self.octets)
            }
            _ => Err(CodecError::FrameLength),
        }
    }
}

/// From payloads to PCM.
#[derive(Debug)]
pub struct Decoder {
    kind: CodecKind,
    layout: Layout,
    state: DecoderState,
}

#[derive(Debug)]
enum DecoderState {
    /// G.711 and L16 remember nothing.
    None,
    G722(Box<g722::Decoder>),
    Opus(opus::Decoder),
}

impl Decoder {
    /// A decoder at the start of a stream.
    ///
    /// # Errors
    ///
    /// [`CodecError::Rate`], [`CodecError::OpusNotBuilt`], [`CodecError::Library`].
    pub fn new(config: &CodecConfig) -> Result<Self, CodecError> {
        config.check()?;
        let state = match config.kind {
            CodecKind::G722 => DecoderState::G722(Box::default()),
            CodecKind::Opus => DecoderState::Opus(opus::Decoder::new(&config.opus)?),
            _ => DecoderState::None,
        };
        Ok(Self {
            kind: config.kind,
            layout: Layout::of(config),
            state,
        })
    }

    /// Which codec it is.
    #[must_use]
    pub fn kind(&self) -> CodecKind {
        self.kind
    }

    /// Rate of the PCM in Hz.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        match &self.state {
            DecoderState::Opus(opus) => opus.pcm_hz(),
            _ => self.layout.pcm_hz,
        }
    }

    /// Samples in a payload, without decoding it: one that [`decode`](Self::decode) takes has as
    /// many.
    ///
    /// # Errors
    ///
    /// [`CodecError::Empty`], [`CodecError::Malformed`], [`CodecError::TooLong`].
    pub fn samples(&self, payload: &[u8]) -> Result<usize, CodecError> {
        match &self.state {
            DecoderState::Opus(opus) => opus::samples(payload, opus.pcm_hz()),
            _ => self.layout.samples_in(payload),
        }
    }

    /// Decodes a payload to the start of `out`; returns the samples.
    ///
    /// # Errors
    ///
    /// As [`samples`](Self::samples), and [`CodecError::OutputTooSmall`].
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        if let DecoderState::Opus(opus) = &mut self.state {
            return opus.decode(payload, out);
        }
        let need = self.layout.samples_in(payload)?;
        if out.len() < need {
            return Err(CodecError::OutputTooSmall { need });
        }
        Ok(match (&mut self.state, self.kind) {
            (DecoderState::G722(g722), _) if self.layout.samples == 1 => {
                g722.decode_narrow(payload, out)
            }
            (DecoderState::G722(g722), _) => g722.decode(payload, out),
            (_, CodecKind::L16 { channels, .. }) => l16::decode(payload, channels, out),
            (_, CodecKind::Pcma) => g711::decode_alaw(payload, out),
            _ => g711::decode_ulaw(payload, out),
        })
    }

    /// Fills `out` by the codec's own concealment, which only Opus has; `false`, and nothing done,
    /// if it has none or cannot do this length (see [`opus::Decoder::conceal`]).
    pub fn conceal(&mut self, out: &mut [i16]) -> bool {
        match &mut self.state {
            DecoderState::Opus(opus) => opus.conceal(out),
            _ => false,
        }
    }

    /// Fills `out` with the lost packet before `next_payload`, from what that carries of it;
    /// `false`, and nothing done, if it carries nothing (see [`opus::Decoder::decode_fec`]).
    pub fn decode_fec(&mut self, next_payload: &[u8], out: &mut [i16]) -> bool {
        match &mut self.state {
            DecoderState::Opus(opus) => opus.decode_fec(next_payload, out),
            _ => false,
        }
    }

    /// Samples beyond the end of a loss that [`follow`](Self::follow) must be told; `None` if it
    /// does nothing.
    #[must_use]
    pub fn follows(&self) -> Option<usize> {
        match &self.state {
            DecoderState::G722(_) if self.layout.samples == 1 => Some(0),
            DecoderState::G722(_) => Some(g722::FOLLOW_AHEAD),
            _ => None,
        }
    }

    /// Learns what was played in place of lost payloads, and as much further as
    /// [`follows`](Self::follows) says, so that what comes next fits it. Only G.722 does: its
    /// decoder is made to follow an encoder sample by sample.
    pub fn follow(&mut self, played: &[i16]) {
        match &mut self.state {
            DecoderState::G722(g722) if self.layout.samples == 1 => g722.follow_narrow(played),
            DecoderState::G722(g722) => g722.follow(played),
            _ => {}
        }
    }

    /// Forgets the stream: for a new source.
    pub fn reset(&mut self) {
        match &mut self.state {
            DecoderState::None => {}
            DecoderState::G722(g722) => g722.reset(),
            DecoderState::Opus(opus) => opus.reset(),
        }
    }
}

/// From PCM to payloads.
#[derive(Debug)]
pub struct Encoder {
    kind: CodecKind,
    layout: Layout,
    state: EncoderState,
}

#[derive(Debug)]
enum EncoderState {
    /// G.711 and L16 remember nothing.
    None,
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
}

impl Encoder {
    /// An encoder at the start of a stream.
    ///
    /// # Errors
    ///
    /// As [`Decoder::new`].
    pub fn new(config: &CodecConfig) -> Result<Self, CodecError> {
        config.check()?;
        let state = match config.kind {
            CodecKind::G722 => EncoderState::G722(Box::default()),
            CodecKind::Opus => EncoderState::Opus(opus::Encoder::new(&config.opus)?),
            _ => EncoderState::None,
        };
        Ok(Self {
            kind: config.kind,
            layout: Layout::of(config),
            state,
        })
    }

    /// Which codec it is.
    #[must_use]
    pub fn kind(&self) -> CodecKind {
        self.kind
    }

    /// Rate of the PCM in Hz.
    #[must_use]
    pub fn pcm_hz(&self) -> u32 {
        match &self.state {
            EncoderState::Opus(opus) => opus.pcm_hz(),
            _ => self.layout.pcm_hz,
        }
    }

    /// Encodes a frame to the start of `out`; returns the octets, 0 if nothing is to be sent.
    ///
    /// # Errors
    ///
    /// [`CodecError::FrameLength`], [`CodecError::OutputTooSmall`], [`CodecError::Library`].
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        if let EncoderState::Opus(opus) = &mut self.state {
            return opus.encode(pcm, out);
        }
        let need = self.layout.octets_of(pcm)?;
        if out.len() < need {
            return Err(CodecError::OutputTooSmall { need });
        }
        Ok(match (&mut self.state, self.kind) {
            (EncoderState::G722(g722), _) if self.layout.samples == 1 => {
                g722.encode_narrow(pcm, out)
            }
            (EncoderState::G722(g722), _) => g722.encode(pcm, out),
            (_, CodecKind::L16 { channels, .. }) => l16::encode(pcm, channels, out),
            (_, CodecKind::Pcma) => g711::encode_alaw(pcm, out),
            _ => g711::encode_ulaw(pcm, out),
        })
    }

    /// Takes the loss that the peer reports, in permille (see [`opus::Encoder::set_loss`]).
    pub fn set_loss(&mut self, permille: u16) {
        if let EncoderState::Opus(opus) = &mut self.state {
            opus.set_loss(permille);
        }
    }

    /// Goes on where another encoder of the same codec stands, so that a decoder which followed
    /// that one follows this one. `false`, and [`reset`](Self::reset), if it cannot: only Opus.
    pub fn follow(&mut self, other: &Self) -> bool {
        match (&mut self.state, &other.state) {
            (EncoderState::None, EncoderState::None) => true,
            (EncoderState::G722(own), EncoderState::G722(other)) => {
                own.clone_from(other);
                true
            }
            _ => {
                self.reset();
                false
            }
        }
    }

    /// Forgets the stream; settings stay.
    pub fn reset(&mut self) {
        match &mut self.state {
            EncoderState::None => {}
            EncoderState::G722(g722) => g722.reset(),
            EncoderState::Opus(opus) => opus.reset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [CodecKind; 6] = [
        CodecKind::Pcmu,
        CodecKind::Pcma,
        CodecKind::G722,
        CodecKind::L16 {
            rate_hz: 16_000,
            channels: 1,
        },
        CodecKind::L16 {
            rate_hz: 48_000,
            channels: 2,
        },
        CodecKind::Opus,
    ];

    fn plain() -> impl Iterator<Item = CodecKind> {
        ALL.into_iter().filter(|kind| *kind != CodecKind::Opus)
    }

    #[test]
    fn names_of_sdp_are_known() {
        for kind in ALL {
            assert_eq!(CodecKind::from_rtpmap(&kind.to_string()), Some(kind));
            assert_eq!(
                CodecKind::from_rtpmap(&kind.to_string().to_lowercase()),
                Some(kind)
            );
        }
        assert_eq!(CodecKind::from_rtpmap("opus/48000"), Some(CodecKind::Opus));
        assert_eq!(CodecKind::from_rtpmap("PCMU/8000/1"), Some(CodecKind::Pcmu));
        for other in [
            "",
            "PCMU",
            "PCMU/16000",
            "PCMU/8000/2",
            "G722/16000",
            "opus/16000/2",
            "L16/44100",
            "L16/16000/3",
            "L16/16000/0",
            "L16/16000/x",
            "L16/16000/1/1",
            "G729/8000",
            "telephone-event/8000",
        ] {
            assert_eq!(CodecKind::from_rtpmap(other), None, "{other}");
        }
    }

    #[test]
    fn clocks_are_those_of_rfc_3551_and_7587() {
        let clocks = ALL.map(|kind| (kind.clock_hz(), kind.pcm_hz()));
        let expected = [
            (8_000, 8_000),
            (8_000, 8_000),
            (8_000, 16_000),
            (16_000, 16_000),
            (48_000, 48_000),
            (48_000, 48_000),
        ];
        assert_eq!(clocks, expected);
    }

    #[test]
    fn frames_come_back_with_their_length() {
        for kind in plain() {
            let config = CodecConfig::new(kind);
            let mut encoder = Encoder::new(&config).expect("known");
            let mut decoder = Decoder::new(&config).expect("known");
            let frame = (encoder.pcm_hz() / 50) as usize;
            let (pcm, mut payload) = (vec![1_000i16; frame], vec![0; 8 * frame]);
            let octets = encoder.encode(&pcm, &mut payload).expect("fits");
            let mut out = vec![0; frame];
            assert_eq!(decoder.samples(&payload[..octets]), Ok(frame));
            assert_eq!(decoder.decode(&payload[..octets], &mut out), Ok(frame));
            assert!(
                (950..1_050).contains(&out[frame - 1]),
                "{kind}: {}",
                out[frame - 1]
            );
            // One too short, for both.
            let need = CodecError::OutputTooSmall { need: frame };
            assert_eq!(decoder.decode(&payload[..octets], &mut out[1..]), Err(need));
            let need = CodecError::OutputTooSmall { need: octets };
            assert_eq!(encoder.encode(&pcm, &mut payload[..octets - 1]), Err(need));
            assert!(!decoder.conceal(&mut out) && !decoder.decode_fec(&payload, &mut out));
        }
    }

    #[test]
    fn lengths_are_limited() {
        for kind in plain() {
            let config = CodecConfig::new(kind);
            let mut encoder = Encoder::new(&config).expect("known");
            let mut decoder = Decoder::new(&config).expect("known");
            let most = (kind.pcm_hz() / 1_000 * PAYLOAD_MS_MAX) as usize;
            let (mut out, mut pcm) = (vec![0; 4 * most + 8], vec![0; most + 2]);
            let octets = encoder
                .encode(&pcm[..most], &mut out)
                .expect("at the limit");
            assert_eq!(encoder.encode(&pcm, &mut out), Err(CodecError::FrameLength));
            assert_eq!(encoder.encode(&[], &mut out), Err(CodecError::FrameLength));
            assert_eq!(decoder.decode(&out[..octets], &mut pcm), Ok(most));
            let above = &out[..octets + Layout::of(&config).octets];
            assert_eq!(decoder.decode(above, &mut pcm), Err(CodecError::TooLong));
            assert_eq!(decoder.decode(&[], &mut pcm), Err(CodecError::Empty));
        }
        let stereo = CodecConfig::new(ALL[4]);
        let mut decoder = Decoder::new(&stereo).expect("known");
        assert_eq!(
            decoder.decode(&[0; 6], &mut [0; 9]),
            Err(CodecError::Malformed)
        );
        let mut encoder = Encoder::new(&CodecConfig::new(CodecKind::G722)).expect("known");
        assert_eq!(
            encoder.encode(&[0; 3], &mut [0; 9]),
            Err(CodecError::FrameLength)
        );
    }

    #[test]
    fn impossible_settings_are_refused() {
        for (rate_hz, channels) in [(44_100, 1), (16_000, 0), (16_000, 3), (0, 1)] {
            let config = CodecConfig::new(CodecKind::L16 { rate_hz, channels });
            assert_eq!(Decoder::new(&config).err(), Some(CodecError::Rate));
            assert_eq!(Encoder::new(&config).err(), Some(CodecError::Rate));
        }
    }

    #[test]
    fn g722_runs_at_the_rate_of_a_telephone_too() {
        let config = CodecConfig {
            g722_hz: 8_000,
            ..CodecConfig::new(CodecKind::G722)
        };
        let mut encoder = Encoder::new(&config).expect("known");
        let mut decoder = Decoder::new(&config).expect("known");
        assert_eq!((encoder.pcm_hz(), decoder.pcm_hz()), (8_000, 8_000));
        let (mut payload, mut out) = ([0; 1_920], [0; 1_920]);
        assert_eq!(encoder.encode(&[1_000; 160], &mut payload), Ok(160));
        assert_eq!(decoder.samples(&payload[..160]), Ok(160));
        assert_eq!(decoder.decode(&payload[..160], &mut out), Ok(160));
        assert!((950..1_050).contains(&out[159]), "{}", out[159]);
        assert_eq!(encoder.encode(&[0; 1_920], &mut payload), Ok(1_920));
        let too_long = encoder.encode(&[0; 1_921], &mut payload);
        assert_eq!(too_long, Err(CodecError::FrameLength));
        let above = decoder.decode(&[0; 1_921], &mut out);
        assert_eq!(above, Err(CodecError::TooLong));
        let odd = CodecConfig {
            g722_hz: 24_000,
            ..config
        };
        assert_eq!(Decoder::new(&odd).err(), Some(CodecError::Rate));
        assert_eq!(Encoder::new(&odd).err(), Some(CodecError::Rate));
    }

    /// What is decoded is most like what was coded so much later as the codec says.
    #[test]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "test signals are far inside every range"
    )]
    fn what_is_decoded_comes_as_late_as_is_said() {
        let sound = |t: f64| {
            let tones = [(333.0, 0.1), (770.0, 1.9), (1_209.0, 4.0), (1_777.0, 2.6)];
            let turns =
                tones.map(|(hz, at): (f64, f64)| (std::f64::consts::TAU * hz * t + at).sin());
            3_000.0 * turns.iter().sum::<f64>()
        };
        let mut both: Vec<_> = ALL.map(|kind| [CodecConfig::new(kind); 2]).to_vec();
        for (kind, rates_hz) in [
            (CodecKind::G722, &[8_000][..]),
            (CodecKind::Opus, &[8_000, 16_000]),
        ] {
            both.extend(rates_hz.iter().map(|pcm_hz| {
                let narrow = CodecConfig {
                    opus: OpusConfig::at(*pcm_hz),
                    g722_hz: *pcm_hz,
                    ..CodecConfig::new(kind)
                };
                [CodecConfig::new(kind), narrow]
            }));
        }
        for [sender, receiver] in both {
            let Ok(mut encoder) = Encoder::new(&sender) else {
                assert_ne!(sender.kind, CodecKind::G722);
                continue; // Opus is not built
            };
            let mut decoder = Decoder::new(&receiver).expect("an encoder has a decoder");
            let (from_hz, to_hz) = (f64::from(sender.pcm_hz()), f64::from(receiver.pcm_hz()));
            let (mut decoded, mut payload, mut pcm) = (Vec::new(), [0; 4_000], [0; 5_760]);
            let frame: Vec<i16> = vec![0; sender.pcm_hz() as usize / 50];
            for n in 0..25 {
                let at = |k: usize| (n * frame.len() + k) as f64 / from_hz;
                let frame: Vec<i16> = (0..frame.len()).map(|k| sound(at(k)) as i16).collect();
                let len = encoder.encode(&frame, &mut payload).expect("fits");
                let n = decoder.decode(&payload[..len], &mut pcm).expect("fits");
                decoded.extend_from_slice(&pcm[..n]);
            }
            let channel = decoded.iter().zip(0_u32..).skip(decoded.len() / 2);
            let alike = |late_us: &u32| {
                let late = f64::from(*late_us) / 1e6;
                let pairs = channel
                    .clone()
                    .map(|(pcm, at)| f64::from(*pcm) * sound(f64::from(at) / to_hz - late));
                pairs.sum::<f64>() as i64
            };
            let late_us = (0..10_000).step_by(50).max_by_key(alike).expect("some");
            let said_us = receiver.delay_us();
            assert!(
                late_us.abs_diff(said_us) <= 100,
                "{} at {to_hz} Hz: {late_us}, not {said_us}",
                receiver.kind
            );
        }
    }

    #[test]
    fn opus_is_there_or_says_why_not() {
        let config = CodecConfig::new(CodecKind::Opus);
        let missing = (!cfg!(feature = "opus")).then_some(CodecError::OpusNotBuilt);
        assert_eq!(Decoder::new(&config).err(), missing);
        assert_eq!(Encoder::new(&config).err(), missing);
        assert!(CodecError::OpusNotBuilt.to_string().contains("`opus`"));
    }

    #[test]
    fn a_reset_is_a_new_start() {
        let config = CodecConfig::new(CodecKind::G722);
        let (mut used, mut new) = (
            Decoder::new(&config).expect("known"),
            Decoder::new(&config).expect("known"),
        );
        let (mut first, mut again) = ([0; 320], [0; 320]);
        used.decode(&[0x5a; 160], &mut first).expect("fits");
        used.reset();
        used.decode(&[0xa5; 160], &mut first).expect("fits");
        new.decode(&[0xa5; 160], &mut again).expect("fits");
        assert_eq!(first, again);
        let mut encoder = Encoder::new(&config).expect("known");
        let (mut one, mut two) = ([0; 160], [0; 160]);
        encoder.encode(&[900; 320], &mut one).expect("fits");
        encoder.reset();
        encoder.encode(&[900; 320], &mut two).expect("fits");
        assert_eq!(one, two);
    }
}
