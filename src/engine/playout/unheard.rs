//! Time in which nobody listens.

use super::{Playout, Voice};

impl<V: Voice> Playout<V> {
    /// Whoever listens from now on hears nothing of what came before; what comes next begins anew,
    /// with the delay that was learned. Decodes nothing; O(packets that wait).
    pub fn forget(&mut self) {
        while let Some(packet) = self.buffer.pop() {
            self.buffer.recycle(packet);
            self.counts.packets.discarded += 1;
        }
        self.ahead.drop_front(self.ahead.len());
        (self.started, self.pausing, self.garbled) = (false, false, false);
        self.stalled = 0;
    }
}
