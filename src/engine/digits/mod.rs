//! Keys that parties press, however that arrives.

mod dial;
mod dialer;
mod hearing;
mod inband;
mod listener;
mod mask;
mod merge;
mod party;
mod receiver;
mod rescale;
mod sender;
mod trigger;
mod window;

use std::time::Duration;

pub use dial::*;
pub(super) use dialer::{Dialer, Due};
pub(super) use hearing::Audio;
pub use hearing::{TONE_REORDER_US, TONE_SILENCE_US};
pub(super) use inband::Tone;
pub use inband::{EVENT_CLAIM_US, TONE_REST_US};
pub(super) use listener::{EventName, Keys, Turn};
pub use mask::{
    LOOK_BACK_MS, MASK_LEVEL_DBM0, MASK_TONE_HZ, MASK_TONES_MAX, Mask, MaskError, MaskMode,
};
pub(super) use mask::{Masked, names_key};
pub(super) use merge::Told;
pub use merge::{CLAIM_US, PRESS_EVERY_US, PRESSES_AT_ONCE_MAX, RESIDUE_LATE_US, RESIDUE_US};
pub(super) use party::Digits;
pub use receiver::*;
pub(super) use rescale::{Rescaled, Rescaler};
pub(super) use trigger::{HOLD_US, Trigger};
pub use trigger::{
    TRIGGER_COUNT, TRIGGER_KEYS_MAX, TRIGGER_TIME_MS, TriggerError, TriggerKeys, Triggers,
};
pub use window::{REORDER_PACKETS_MAX, REORDER_PAYLOAD_LEN_MAX};

use crate::wire::event::EventCode;

/// What to listen for on one party. What one of them says, both say: one press is told once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigitsConfig {
    /// Telephone-event packets (RFC 4733), whatever payload type the party has for them.
    pub telephone_events: bool,
    /// Pairs of tones in the audio: every packet is decoded for it.
    pub in_band: bool,
}

impl DigitsConfig {
    /// Whatever either of two wants to hear.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            telephone_events: self.telephone_events || other.telephone_events,
            in_band: self.in_band || other.in_band,
        }
    }

    /// Whether there is anything to listen for.
    #[must_use]
    pub fn listens(self) -> bool {
        self.telephone_events || self.in_band
    }
}

/// How a press was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigitSource {
    /// As telephone-event packets (RFC 4733).
    TelephoneEvent,
    /// As a pair of tones in the audio.
    InBand,
}

impl DigitSource {
    /// Its name in events and on the command line.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TelephoneEvent => "telephone-event",
            Self::InBand => "in-band",
        }
    }
}

/// One press of a key: reported once as it begins, and once as it ends.
#[derive(Clone, Copy, PartialEq)]
pub struct Press {
    /// Which press of its party this is, from 0; its beginning and its end have the same.
    pub number: u32,
    /// Which key, or line event.
    pub code: EventCode,
    /// How it was heard first.
    pub source: DigitSource,
    /// Power of both tones together in dBm0, −63 to 3; `None`: the sender did not say.
    pub level: Option<i8>,
    /// How sure it is, in percent: 100 for a telephone-event.
    pub confidence: u8,
    /// How long before the report it began: what the detector, or a lost start, took.
    pub began_before: Duration,
    /// From its beginning to its end; zero while it lasts.
    pub duration: Duration,
}

/// Does not say which key: logs do not hold what people dial.
impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Press")
            .field("number", &self.number)
            .field("source", &self.source)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}
