//! Time in which nobody listens.

use super::{Playout, Voice, signed};
use crate::engine::time::Micros;

impl<V: Voice> Playout<V> {
    /// Nobody listens now: what would have been heard by now never will be, and what comes next
    /// begins anew, with the delay that was learned. Decodes nothing; O(packets that go).
    pub fn pass_unheard(&mut self, now: Micros) {
        let base_us = self.estimator.base_us().unwrap_or(0);
        self.pass_until(signed(now.0) - base_us - self.target_us());
    }

    /// Whoever listens from now on hears nothing of what came before: as
    /// [`Playout::pass_unheard`], with all that waits.
    pub fn forget(&mut self) {
        self.pass_until(i64::MAX);
    }

    fn pass_until(&mut self, until_us: i64) {
        while let Some(front) = self.buffer.front()
            && self.timeline.micros(front.media) < until_us
        {
            let Some(packet) = self.buffer.pop() else {
                break;
            };
            self.buffer.recycle(packet);
            self.counts.packets.discarded += 1;
        }
        self.ahead.drop_front(self.ahead.len());
        (self.started, self.pausing, self.garbled) = (false, false, false);
        self.stalled = 0;
    }
}
