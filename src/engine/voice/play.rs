//! The vocabulary of playing: what, to whom, how often, how loud, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use super::api::BridgeIx;
use super::push::Pushed;
use crate::audio::clip::Clip;
use crate::audio::mix::Gain;
use crate::audio::tone::TonePlan;
use crate::engine::api::StreamIx;

/// Most players that sound at once on one leg or bridge; one more is refused.
pub const PLAYERS_MAX: usize = 4;

/// Most sounds that one player plays one after another.
pub const SEQUENCE_MAX: usize = 32;

/// Name of a player, chosen by who starts it; unique within its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlayId(pub u32);

/// The player of [`EarlyMedia::Ringback`](super::EarlyMedia::Ringback).
pub const RINGBACK: PlayId = PlayId(u32::MAX);

/// Who hears what is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The party of a stream.
    Leg(StreamIx),
    /// All members of a bridge that listen.
    Bridge(BridgeIx),
}

impl Listener {
    /// The same in a call that has so many streams and bridges before it.
    pub(in crate::engine) fn after(self, streams: u16, bridges: u8) -> Self {
        match self {
            Self::Leg(stream) => Self::Leg(stream.after(streams)),
            Self::Bridge(bridge) => Self::Bridge(bridge.after(bridges)),
        }
    }
}

impl From<StreamIx> for Listener {
    fn from(stream: StreamIx) -> Self {
        Self::Leg(stream)
    }
}

impl From<BridgeIx> for Listener {
    fn from(bridge: BridgeIx) -> Self {
        Self::Bridge(bridge)
    }
}

/// How what is played goes together with what its listener hears otherwise: with its peer, or
/// with everybody who talks in the bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// In its place: a prompt, an announcement that everybody has to hear.
    #[default]
    Alone,
    /// Over it, which is lowered by 12 dB meanwhile.
    Over,
    /// Beside it, which stays as loud as it is: music under a conference, with a gain.
    Beside,
}

/// Something to play to one leg or bridge.
#[derive(Debug)]
pub struct Play {
    /// Its name. A player that the listener hears under the same name ends.
    pub id: PlayId,
    /// Who hears it.
    pub listener: Listener,
    /// What: one sound, or up to [`SEQUENCE_MAX`] one after another without a gap.
    pub sounds: SmallVec<[Item; 1]>,
    /// How often in all, at least once; `None`: until stopped.
    pub times: Option<u32>,
    /// Longest time in all.
    pub limit: Option<Duration>,
    /// Where within the first sound the first round starts.
    pub start: Duration,
    /// How loud.
    pub gain: Gain,
    /// What becomes of what the listener hears otherwise.
    pub layer: Layer,
}

impl Play {
    /// Plays `sounds` once, from the beginning, as loud as they are and in the place of what the
    /// listener hears.
    pub fn new<I>(
        id: PlayId,
        listener: impl Into<Listener>,
        sounds: impl IntoIterator<Item = I>,
    ) -> Self
    where
        I: Into<Item>,
    {
        Self {
            id,
            listener: listener.into(),
            sounds: sounds.into_iter().map(Into::into).collect(),
            times: Some(1),
            limit: None,
            start: Duration::ZERO,
            gain: Gain::UNITY,
            layer: Layer::Alone,
        }
    }

    /// The tone of [`EarlyMedia::Ringback`](super::EarlyMedia::Ringback).
    pub(in crate::engine) fn ringback(listener: StreamIx, plan: TonePlan) -> Self {
        Self {
            times: None,
            sounds: smallvec![Sound::Tone(plan).into()],
            ..Self::new(RINGBACK, listener, [] as [Item; 0])
        }
    }
}

/// One sound of a sequence.
#[derive(Debug)]
pub struct Item {
    /// What.
    pub sound: Sound,
    /// How often a clip is played before the next sound, at least once; `None`: until its limit.
    /// A tone lasts as long as its plan, pushed samples until the pusher has finished.
    pub times: Option<u32>,
    /// Longest time of all its rounds.
    pub limit: Option<Duration>,
}

impl From<Sound> for Item {
    fn from(sound: Sound) -> Self {
        Self {
            sound,
            times: Some(1),
            limit: None,
        }
    }
}

/// What a player plays.
#[derive(Debug)]
pub enum Sound {
    /// Decoded audio, shared with everybody who plays it.
    Clip(Arc<Clip>),
    /// A tone plan.
    Tone(TonePlan),
    /// Samples that an application pushes meanwhile; see [`pushed`](super::pushed).
    Pushed(Pushed),
}

/// A player as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayReport {
    /// Its name.
    pub id: PlayId,
    /// Who hears it.
    pub listener: Listener,
    /// Which sound of the sequence, from 0.
    pub item: u16,
    /// Position within that sound.
    pub position: Duration,
    /// Frames that were really sent; of a bridge, to at least one of its members.
    pub frames: u32,
    /// Samples of silence, at the rate pushed, in the place of samples that came too late.
    pub missing: u32,
}

/// How a player ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayEnd {
    /// It played to its end.
    Completed,
    /// A command, or the end of its leg or bridge, stopped it.
    Interrupted,
    /// It cannot go on: the leg now has a rate to which its sound cannot be converted.
    Failed,
}
