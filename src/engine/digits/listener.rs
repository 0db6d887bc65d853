//! Keys on their way to one listener.

use super::{Dialer, EventType, Rescaler};

/// What there is to know of a listener's keys; it exists where there is any.
#[derive(Debug, Default)]
pub(in crate::engine) struct Keys {
    /// What it accepts, where that was told.
    pub(in crate::engine) kind: Option<EventType>,
    pub(in crate::engine) is_told: bool,
    /// Their events, in its clock.
    pub(in crate::engine) rescaler: Rescaler,
    /// What we press for it.
    pub(in crate::engine) dialer: Dialer,
    /// SSRC and timestamp of a telephone-event that arrived while we pressed: the rest of it would
    /// be another press to the listener.
    swallowed: Option<(u32, u32)>,
}

impl Keys {
    /// A telephone-event must not pass, nor what follows of it.
    pub(in crate::engine) fn swallow(&mut self, event: (u32, u32)) {
        self.swallowed = Some(event);
    }

    /// Whether a telephone-event is one that must not pass.
    pub(in crate::engine) fn swallows(&self, event: (u32, u32)) -> bool {
        self.swallowed == Some(event)
    }
}
