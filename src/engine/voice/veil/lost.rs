//! Keys beside lost packets.
//!
//! What is made up for a loss has the tones of what was heard before it, and of what comes after
//! it: of the first milliseconds of a key, concealment makes 20 more that sound like it and that
//! nothing takes for it. And of a key that a loss cut, too little may be left for a suspicion to be
//! confirmed.

use super::{JOIN_MS, LOOKS, Veil};

impl Veil {
    /// A suspicion beside what was made up counts at once, and what was made up there is hidden
    /// with it.
    pub(super) fn suspect_losses(&mut self) {
        let gap = (JOIN_MS * self.per_ms) as u64;
        for span in &mut self.spans {
            // The latest first, so that a span reaches over several losses to their beginning.
            for (from, to) in self.made_up.iter().rev().copied() {
                if from <= span.end + gap && span.start <= to + gap {
                    span.looks = span.looks.max(LOOKS);
                    span.start = span.start.min(from);
                    span.end = span.end.max(to);
                }
            }
        }
    }
}
