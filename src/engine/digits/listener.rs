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
    /// A telephone-event that arrived while we pressed, and is pressed behind our keys.
    waits: Option<EventName>,
    /// One that ours came into the middle of.
    over: Option<EventName>,
}

/// SSRC and timestamp of a telephone-event: the name of a press.
pub(in crate::engine) type EventName = (u32, u32);

/// What becomes of a telephone-event for a party that we press keys for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Turn {
    /// It passes.
    Passes,
    /// It is pressed anew, behind ours.
    Waits,
    /// The party knows of it: ours has come into its middle, and what follows of it would be
    /// another press.
    Over,
}

impl Keys {
    /// Whether a telephone-event passes. `presses`: keys of ours are being pressed; `passed`: the
    /// latest event that passed.
    pub(in crate::engine) fn turn(
        &mut self,
        event: EventName,
        presses: bool,
        passed: Option<EventName>,
    ) -> Turn {
        match () {
            () if self.waits == Some(event) => Turn::Waits,
            () if self.over == Some(event) => Turn::Over,
            () if !presses => Turn::Passes,
            () if passed == Some(event) => {
                self.over = passed;
                Turn::Over
            }
            () => {
                self.waits = Some(event);
                Turn::Waits
            }
        }
    }
}
