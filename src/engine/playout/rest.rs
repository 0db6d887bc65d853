//! The last of what waits, where nothing is to wait any more.

use super::{Playout, Voice, room_len};

/// Less than this is left out where nothing is to wait any more, in microseconds: it is less than
/// the shortest pitch period and a half, so that nothing could shorten it.
const REST_US: i64 = 4_000;

/// Pulls that wait for sound in which that is not heard: half a second.
const REST_PULLS_MAX: u8 = 25;

impl<V: Voice> Playout<V> {
    /// In a hurry: where a pull would leave less than [`REST_US`], and nothing comes behind it,
    /// that is left out within the pull. So whoever hears what comes next hears no step.
    pub(super) fn drop_rest(&mut self, pull: usize) {
        let longest = room_len(self.timeline.samples(REST_US));
        while self.ahead.len() < pull + longest && self.continues() {
            self.decode_front();
        }
        let rest = self.ahead.len().saturating_sub(pull);
        if !(1..longest).contains(&rest) || self.buffer.front().is_some() {
            return;
        }
        let urgent = self.rested >= REST_PULLS_MAX;
        self.rested = self.rested.saturating_add(1);
        if self.stretcher.splice(&mut self.ahead, rest, urgent) {
            self.rested = 0;
            self.counts.accelerated += rest as u64;
        }
    }
}
