//! Shorter and longer sound in the queue, without a copy.

use super::fifo::Fifo;
use crate::audio::stretch::{PeriodFinder, leave_out, put_in};

/// Takes periods out of a queue and puts them in.
#[derive(Debug)]
pub(super) struct Stretcher {
    finder: PeriodFinder,
}

impl Stretcher {
    pub(super) fn new(pcm_hz: u32) -> Self {
        Self {
            finder: PeriodFinder::new(pcm_hz),
        }
    }

    /// Samples it wants to look at: two longest periods.
    pub(super) fn window(&self) -> usize {
        self.finder.window()
    }

    /// Takes one period, `most` samples or shorter, out of the front. Returns how much; `None` if
    /// the sound does not allow it.
    pub(super) fn shorten(&mut self, queue: &mut Fifo, most: usize, urgent: bool) -> Option<usize> {
        let period = self.finder.find(queue.audio(), most, urgent)?;
        leave_out(queue.audio(), period);
        queue.drop_front(period);
        Some(period)
    }

    /// Leaves so many samples out, fewer than any period has, where that is heard least; `false` if
    /// the sound does not allow it.
    pub(super) fn splice(&self, queue: &mut Fifo, samples: usize, urgent: bool) -> bool {
        let done = self.finder.splice(queue.audio(), samples, urgent);
        if done {
            queue.drop_front(samples);
        }
        done
    }

    /// Plays one period at the front twice. Returns how long it is.
    pub(super) fn lengthen(&mut self, queue: &mut Fifo, most: usize) -> Option<usize> {
        let period = self.finder.find(queue.audio(), most, false)?;
        if !queue.repeat_front(period) {
            return None;
        }
        put_in(queue.audio(), period);
        Some(period)
    }
}
