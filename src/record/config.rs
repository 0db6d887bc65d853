//! What a recording is to be.

use std::time::Duration;

use crate::audio::codec::CodecKind;
use crate::engine::{Side, TRACKS_MAX, TrackIx, TrackKind, TrackType};

/// Sampling rates of recordings in Hz.
pub const RECORDING_RATES_HZ: [u32; 3] = [8_000, 16_000, 48_000];

/// Longest metadata of a recording in octets.
pub const METADATA_MAX: usize = 4_096;

/// Bit rates of Opus recordings in bits per second and channel.
pub const OPUS_BITRATES: std::ops::RangeInclusive<u32> = 6_000..=256_000;

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// WAV, linear PCM of 16 bits.
    Wav,
    /// WAV, G.711 A-law; 8,000 Hz only.
    WavAlaw,
    /// WAV, G.711 µ-law; 8,000 Hz only.
    WavUlaw,
    /// Ogg Opus (RFC 7845).
    Opus {
        /// Bits per second and channel, in [`OPUS_BITRATES`].
        bitrate_bps: u32,
    },
    /// Ogg Opus with the very packets of the one track, which must be Opus.
    OpusCopy,
}

impl Format {
    /// The usual ending of the file's name, without a dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav | Self::WavAlaw | Self::WavUlaw => "wav",
            Self::Opus { .. } | Self::OpusCopy => "opus",
        }
    }
}

/// Which channels the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One: all tracks added.
    Mono,
    /// Two: each track is on the [`channel`](TrackConfig::channel) it says, 0 left, 1 right.
    Stereo,
    /// One for each track; this many are kept, 1 to [`TRACKS_MAX`].
    PerTrack(u8),
}

impl Layout {
    /// Number of channels.
    #[must_use]
    pub fn channels(self) -> u8 {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
            Self::PerTrack(tracks) => tracks,
        }
    }

    /// The channel of a track.
    #[must_use]
    pub fn channel_of(self, track: TrackIx, wanted: u8) -> u8 {
        match self {
            Self::Mono => 0,
            Self::Stereo => wanted.min(1),
            Self::PerTrack(_) => track.0,
        }
    }
}

/// What a pause leaves in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PauseMode {
    /// Silence as long as the pause: positions go on telling the time.
    #[default]
    Silence,
    /// Nothing: the file is that much shorter, and the sidecar says where.
    Skip,
}

/// Who is on a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackConfig {
    /// Name of the leg, for the sidecar: the party's tag.
    pub leg: Box<str>,
    /// Its label, if it has one.
    pub label: Option<Box<str>>,
    /// What it says or what it hears.
    pub side: Side,
    /// With [`Layout::Stereo`]: 0 is left, 1 right.
    pub channel: u8,
    /// What its payload types mean.
    pub types: Vec<TrackType>,
}

/// A recording as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// Id of the call, for the sidecar.
    pub call_id: Box<str>,
    /// Path of the file in the recordings' directory, made safe by the vault.
    pub path: Box<str>,
    /// How the file is written.
    pub format: Format,
    /// Sampling rate in Hz, one of [`RECORDING_RATES_HZ`].
    pub rate_hz: u32,
    /// Its channels.
    pub layout: Layout,
    /// The tracks at the beginning; more may come, up to [`TRACKS_MAX`].
    pub tracks: Vec<TrackConfig>,
    /// What pauses leave.
    pub pause: PauseMode,
    /// It ends after so much time in the file.
    pub length_max: Option<Duration>,
    /// It ends when nobody spoke for so long.
    pub silence_max: Option<Duration>,
    /// The silence at its end, and the key that ended it, are left out.
    pub trim: bool,
    /// What the application wants to find again, up to [`METADATA_MAX`] octets.
    pub metadata: Box<str>,
}

/// Why a recording cannot be as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A rate that is none of [`RECORDING_RATES_HZ`].
    #[error("recordings at {0} Hz: 8000, 16000 and 48000 are possible")]
    Rate(u32),
    /// G.711 at another rate than 8,000 Hz.
    #[error("A-law and \u{b5}-law recordings are at 8000 Hz, not {0}")]
    LawRate(u32),
    /// A bit rate outside of [`OPUS_BITRATES`].
    #[error("Opus recordings at {0} bit/s: 6000 to 256000 per channel are possible")]
    Bitrate(u32),
    /// No track, or more than [`TRACKS_MAX`].
    #[error("{0} tracks in a recording: 1 to {TRACKS_MAX} are possible")]
    Tracks(usize),
    /// More than one track, or one that is not Opus, for [`Format::OpusCopy`].
    #[error("only a single Opus leg can be stored as it came")]
    Copy,
    /// Longer than [`METADATA_MAX`].
    #[error("metadata of {0} octets: at most {METADATA_MAX}")]
    Metadata(usize),
}

impl RecordingConfig {
    /// Whether it can be done.
    ///
    /// # Errors
    /// [`ConfigError`] says what cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !RECORDING_RATES_HZ.contains(&self.rate_hz) {
            return Err(ConfigError::Rate(self.rate_hz));
        }
        let tracks = self.tracks.len();
        let channels = usize::from(self.layout.channels());
        if !(1..=TRACKS_MAX).contains(&tracks) || !(1..=TRACKS_MAX).contains(&channels) {
            return Err(ConfigError::Tracks(tracks.max(channels)));
        }
        if self.metadata.len() > METADATA_MAX {
            return Err(ConfigError::Metadata(self.metadata.len()));
        }
        match self.format {
            Format::WavAlaw | Format::WavUlaw if self.rate_hz != 8_000 => {
                Err(ConfigError::LawRate(self.rate_hz))
            }
            Format::Opus { bitrate_bps } if !OPUS_BITRATES.contains(&bitrate_bps) => {
                Err(ConfigError::Bitrate(bitrate_bps))
            }
            Format::OpusCopy if tracks != 1 || self.layout.channels() != 1 => {
                Err(ConfigError::Copy)
            }
            Format::OpusCopy if self.tracks[0].speaks_otherwise() => Err(ConfigError::Copy),
            _ => Ok(()),
        }
    }
}

impl TrackConfig {
    /// Its codecs are known, and Opus is none of them.
    fn speaks_otherwise(&self) -> bool {
        let is_opus = |kind| kind == TrackKind::Sound(CodecKind::Opus);
        !self.types.is_empty() && !self.types.iter().any(|known| is_opus(known.kind))
    }
}
