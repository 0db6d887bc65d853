//! Presses of keys: the one place where all who care learn of them.

use super::*;
use crate::engine::digits::Press;

impl Call {
    /// A party's key goes down.
    pub(super) fn press_began(&mut self, now: Micros, ix: StreamIx, press: Press) {
        self.log.push(now, ix, EventKind::DigitBegan(press));
        self.outputs = true;
    }

    /// It comes up: the same press, with its duration.
    pub(super) fn press_ended(&mut self, now: Micros, ix: StreamIx, press: Press) {
        self.log.push(now, ix, EventKind::DigitEnded(press));
        self.outputs = true;
    }
}
