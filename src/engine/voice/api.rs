//! The vocabulary of audio: what legs speak, whom they hear, what is played to them.

use smallvec::SmallVec;

use super::super::api::StreamIx;
use crate::audio::codec::CodecConfig;
use crate::audio::mix::Gain;
use crate::audio::tone::TonePlan;

/// Most decoders of one party: what it may send that we can decode.
pub const DECODERS_MAX: usize = 8;

/// Most bridges of one call.
pub const BRIDGES_MAX: usize = 16;

/// Most exceptions in the matrix of one bridge.
pub const EDGES_MAX: usize = 1_024;

/// Shortest and longest packet time in milliseconds that we send.
pub const PTIME_MS: std::ops::RangeInclusive<u8> = 10..=60;

/// How packets of one payload type get to the listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// As they are.
    #[default]
    Relay,
    /// Octet by octet through G.711's direct tables, otherwise as they are.
    Companding(Companding),
    /// Decoded, and encoded anew on the listener's clock.
    Decode,
    /// A telephone-event whose durations are counted in another clock.
    Rescaled {
        /// The listener's, in Hz.
        to_hz: u32,
    },
    /// A telephone-event whose listener accepts none: its keys sound in the place of the audio.
    Tones,
}

/// A direct conversion between the two laws of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companding {
    /// µ-law to A-law, G.711 table 3.
    UlawToAlaw,
    /// A-law to µ-law, G.711 table 4.
    AlawToUlaw,
}

/// What a party sends and wants to be sent, as far as we can decode and encode it.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    /// What it may send; at most [`DECODERS_MAX`].
    pub hears: SmallVec<[Heard; 2]>,
    /// What it is sent when we make its audio; `None`: nothing we know.
    pub speaks: Option<Spoken>,
    /// Bounds of its playout delay.
    pub playout: PlayoutBounds,
    /// What it is sent while there is nothing to hear.
    pub idle: Idle,
}

/// One codec a party may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Its payload type, 0–127.
    pub pt: u8,
    /// How to decode it.
    pub codec: CodecConfig,
}

/// The codec a party is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spoken {
    /// Its payload type, 0–127.
    pub pt: u8,
    /// How to encode it.
    pub codec: CodecConfig,
    /// Milliseconds per packet, a multiple of ten within [`PTIME_MS`].
    pub ptime_ms: u8,
}

/// Bounds of a playout delay in milliseconds, at most [`DELAY_MS_MAX`].
///
/// [`DELAY_MS_MAX`]: crate::engine::playout::DELAY_MS_MAX
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutBounds {
    /// Never less.
    pub min_ms: u16,
    /// Never more.
    pub max_ms: u16,
    /// Always this.
    pub fixed_ms: Option<u16>,
}

impl Default for PlayoutBounds {
    fn default() -> Self {
        Self {
            min_ms: 0,
            max_ms: 400,
            fixed_ms: None,
        }
    }
}

/// What a party is sent while there is nothing to hear, from the first frame that is made for it
/// (played, mixed or decoded) until packets are relayed to it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// No packets; the clock goes on.
    #[default]
    Nothing,
    /// Encoded silence.
    Silence,
    /// Encoded white noise, for parties that do not know RFC 3389.
    Noise {
        /// In −dBov, 0–127: 60 is a quiet line.
        level: u8,
    },
    /// Comfort noise of RFC 3389: one packet when silence begins, when the level changes, and
    /// every [`NOISE_UPDATE_US`](super::NOISE_UPDATE_US).
    ComfortNoise {
        /// The payload type under which the party accepts it, at the clock rate of what it is
        /// sent: 13 beside the codecs of 8 kHz.
        pt: u8,
        /// In −dBov, 0–127.
        level: u8,
    },
}

/// Index of a bridge inside its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BridgeIx(pub u8);

impl BridgeIx {
    /// The bridge `by` places further on.
    #[must_use]
    pub fn after(self, by: u8) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Who hears whom. Declares the whole bridge: the same again changes nothing, one without members
/// ends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BridgeConfig {
    /// The legs, each at most once.
    pub members: Vec<Member>,
    /// Exceptions; at most [`EDGES_MAX`].
    pub edges: Vec<Edge>,
    /// Only this many, the loudest, are mixed; 0: all.
    pub loudest: u8,
}

/// A leg in a bridge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its audio stream.
    pub stream: StreamIx,
    /// The others hear it.
    pub talks: bool,
    /// It hears the others.
    pub listens: bool,
    /// How loud the others hear it.
    pub gain: Gain,
}

/// One listener hears one talker otherwise than the members' own settings say: a whisper to one,
/// or not at all with [`Gain::MUTE`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Who hears.
    pub listener: StreamIx,
    /// Who is heard.
    pub talker: StreamIx,
    /// How loud.
    pub gain: Gain,
}

/// What a listener hears of several branches before one of them is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum EarlyMedia {
    /// The branch that spoke first, until it falls silent for a second.
    #[default]
    First,
    /// The branch that began to speak last.
    Latest,
    /// All branches together.
    Mix,
    /// None of them, but this tone.
    Ringback(TonePlan),
}
