//! What a recording is asked to be.

use std::time::{Duration, SystemTime};

use crate::engine::{Keys, RecorderId};
use crate::record::config::{Format, PauseMode};
use crate::record::vault::pattern::Pattern;
use crate::switch::request::{Participants, Playback};

/// Longest name of a recording in its call, in octets.
pub const RECORDING_NAME_MAX: usize = 64;

/// A recording of a call, as a command asks for it. `Default` is the whole call, as the switch's
/// settings have it.
#[derive(Clone, Debug, Default)]
pub struct RecordRequest<'a> {
    /// How the recording is called in its call, at most [`RECORDING_NAME_MAX`] octets. While there
    /// is one of this name, another one is not begun.
    pub name: &'a str,
    /// Who is recorded.
    pub what: Recorded<'a>,
    /// On which channels.
    pub layout: RecordLayout,
    /// Who is on the left channel; all others are on the right one. `None`: the first party of the
    /// call, or what a single leg says.
    pub left: Option<Participants<'a>>,
    /// `None`: as the switch's settings have it.
    pub format: Option<Format>,
    /// Sampling rate in Hz; `None`: as the switch's settings have it.
    pub rate_hz: Option<u32>,
    /// How the file is called.
    pub path: RecordPath<'a>,
    /// A directory in the directory of recordings.
    pub directory: Option<&'a str>,
    /// What stands for `{account}`.
    pub account: Option<&'a str>,
    /// What the application wants to find again, up to
    /// [`METADATA_MAX`](crate::record::config::METADATA_MAX) octets.
    pub metadata: &'a str,
    /// What pauses leave in the file.
    pub pause: PauseMode,
    /// Those who are recorded hear a short tone as it begins.
    pub beep: bool,
    /// Record before the answer, too. Otherwise there is silence until somebody has answered.
    pub early_media: bool,
    /// It ends after so much time in the file.
    pub length_max: Option<Duration>,
    /// It ends when nobody spoke for so long.
    pub silence_max: Option<Duration>,
    /// It ends when a recorded party presses one of these.
    pub finish: FinishKeys,
    /// The silence at its end is left out, and the key that ended it.
    pub trim: bool,
    /// What all parties hear as it begins.
    pub announcement: Option<Playback>,
}

/// Who is recorded.
#[derive(Clone, Debug, Default)]
pub enum Recorded<'a> {
    /// What each party of the call says; of those who ring, the one that answers.
    #[default]
    Call,
    /// These, at most [`TRACKS_MAX`](crate::engine::TRACKS_MAX) in all.
    Legs(Vec<(Participants<'a>, LegSides)>),
    /// What each member of this bridge says, whoever they are at the moment.
    Bridge(&'a str),
}

/// What is recorded of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegSides {
    /// What its party says.
    #[default]
    In,
    /// What its party hears.
    Out,
    /// Both, each on a track of its own.
    Both,
}

/// Channels of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordLayout {
    /// One, with everybody.
    #[default]
    Mono,
    /// Two.
    Stereo,
    /// One for each leg and side; this many, or as many as there are at the beginning, and at
    /// least two for a call or a bridge.
    PerLeg(Option<u8>),
}

/// How the file of a recording is called. The ending is the format's.
#[derive(Clone, Debug, Default)]
pub enum RecordPath<'a> {
    /// By the pattern of the switch's settings.
    #[default]
    Usual,
    /// By this pattern; a number is put behind a name that is taken.
    Pattern(Pattern),
    /// So, and not at all if there is one of that name.
    File(&'a str),
}

/// Keys that end a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishKeys(pub Keys);

impl Default for FinishKeys {
    fn default() -> Self {
        Self(Keys::NONE)
    }
}

/// A recording has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its name among all recordings of the switch.
    pub id: RecorderId,
    /// Path of its file in the directory of recordings.
    pub path: Box<str>,
    /// It was begun by this command; otherwise one of this name went on, or was paused until now.
    pub is_new: bool,
    /// What the client should know.
    pub warnings: Vec<String>,
}

/// A recording in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingState {
    /// Its name in its call.
    pub name: Box<str>,
    /// Its name among all recordings of the switch.
    pub id: RecorderId,
    /// Path of its file in the directory of recordings.
    pub path: Box<str>,
    /// It is paused.
    pub paused: bool,
    /// When it was begun.
    pub since: SystemTime,
    /// What the application wants to find again.
    pub metadata: Box<str>,
    /// Tags of those on its tracks at the moment.
    pub legs: Vec<Box<str>>,
}
