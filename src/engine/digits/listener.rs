//! Keys on their way to one listener.

use super::{Dialer, EventType};

/// What there is to know of a listener's keys; it exists where there is any.
#[derive(Debug, Default)]
pub(in crate::engine) struct Keys {
    /// What it accepts.
    pub(in crate::engine) kind: Option<EventType>,
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
