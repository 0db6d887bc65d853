//! Legs that speak PCM: what a party says is decoded ([`Ear`]), what it hears is made here and
//! encoded on its own clock ([`Mouth`]), and bridges mix the one into the other.

mod api;
mod bridge;
mod common;
mod ear;
mod idle;
mod mouth;
mod outbox;
mod play;
mod player;
mod players;
mod push;
mod put;
mod source;
mod veil;

pub use api::*;
pub(super) use bridge::{Bridge, Pair, convert};
pub use ear::EAR_LIFE_US_MIN;
pub(super) use ear::{Ear, is_noise, rate_of};
pub(super) use idle::Filler;
pub use idle::NOISE_UPDATE_US;
pub(super) use mouth::{Behind, FRAME_SAMPLES_MAX, Mouth};
pub(super) use outbox::Outbox;
pub use outbox::WAITING_BYTES_MAX;
pub use play::*;
pub(super) use player::Player;
pub(super) use players::{Layers, Players};
pub use push::{PUSH_AHEAD_MAX, PUSH_AHEAD_MIN, PushError, Pushed, Pusher, pushed};
pub(super) use veil::{Cover, Pressed, Said};

use super::time::Micros;
use crate::audio::resample::Resampler;

/// The audio side of a stream.
#[derive(Debug)]
pub(super) struct VoiceState {
    pub(super) config: Voice,
    pub(super) ear: Option<Box<Ear>>,
    pub(super) mouth: Option<Box<Mouth>>,
    pub(super) bridge: Option<BridgeIx>,
    /// While what a chosen branch said before the choice is played to it: until when at most.
    pub(super) catches_up: Option<Micros>,
    /// From its ear's rate to that of whom it is linked to.
    pub(super) converter: Option<(u32, Box<Resampler>)>,
}

impl VoiceState {
    pub(super) fn new(config: Voice) -> Self {
        Self {
            config,
            ear: None,
            mouth: None,
            bridge: None,
            catches_up: None,
            converter: None,
        }
    }
}
