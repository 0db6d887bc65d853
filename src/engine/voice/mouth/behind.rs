//! A member of a bridge whose packets leave a little behind the bridge's frames.
//!
//! What the bridge mixes for it is collected at the bridge's ticks as ever, and what is played is
//! laid over it as it leaves.

use super::Mouth;
use crate::engine::time::Micros;

/// What becomes of a packet behind a bridge when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Behind {
    /// It leaves later.
    Waits,
    /// It leaves, and the next one so much sooner than a period after it.
    Leaves { sooner_us: u64 },
}

impl Mouth {
    /// Whether its packets leave at their own moments, though they come from a bridge.
    pub(in crate::engine) fn is_behind(&self) -> bool {
        self.behind_us.is_some()
    }

    /// Makes room for what waits behind a bridge: a packet, and what comes until it leaves.
    pub(in crate::engine) fn make_room(&mut self) {
        let most = 3 * self.frame_samples();
        let waiting = self.pending.len();
        self.pending.reserve(most.saturating_sub(waiting));
    }

    /// Whether a bridge's frame of `len` samples completes a packet that leaves with it.
    pub(in crate::engine) fn completes(&self, len: usize) -> bool {
        !self.is_behind() && self.missing() <= len
    }

    /// Falls behind: the packet that is completed at `due` leaves `wait_us` later.
    pub(in crate::engine) fn fall_behind(&mut self, due: Micros, wait_us: u64) {
        (self.behind_us, self.next_at) = (Some(wait_us), due.plus(wait_us));
    }

    /// Catches up with its bridge, if it is behind and its next packet is completed at `due`. By
    /// how much sooner that one leaves, in microseconds.
    pub(in crate::engine) fn catch_up(&mut self, due: Micros) -> u64 {
        match self.behind_us {
            Some(us) if self.next_at == due.plus(us) => self.drop_behind(),
            _ => 0,
        }
    }

    /// Is not behind any more, whatever waits. By how much sooner its next packet leaves, in
    /// microseconds.
    pub(in crate::engine) fn drop_behind(&mut self) -> u64 {
        let behind_us = self.behind_us.take();
        behind_us.map_or(0, |us| {
            self.next_at = Micros::NEVER;
            us
        })
    }

    /// The bridge leaves out time for which it is too late.
    pub(in crate::engine) fn skip(&mut self, skipped_us: u64) {
        if self.is_behind() {
            self.next_at = self.next_at.plus(skipped_us);
        }
    }

    /// Its packet is due, and should leave `wait_us` later, which is less than a packet.
    pub(in crate::engine) fn due_behind(&mut self, wait_us: u64) -> Behind {
        let period_us = self.period_us();
        let behind_us = self.behind_us.unwrap_or(0).saturating_add(wait_us);
        let (behind_us, behind) = match behind_us.checked_sub(period_us) {
            None if wait_us > 0 => (behind_us, Behind::Waits),
            None => (behind_us, Behind::Leaves { sooner_us: 0 }),
            // So late the packet after it is complete: that one leaves then, and this one now.
            Some(behind_us) => {
                let sooner_us = period_us.saturating_sub(wait_us);
                (behind_us, Behind::Leaves { sooner_us })
            }
        };
        let wait_us = if wait_us > 0 { wait_us } else { period_us };
        (self.behind_us, self.next_at) = (Some(behind_us), self.next_at.plus(wait_us));
        behind
    }

    /// Until its packet is complete, in microseconds: bridges' frames become shorter where somebody
    /// comes. It is due again then.
    pub(in crate::engine) fn awaits(&mut self) -> u64 {
        let missing = self.missing() as u64;
        let missing_us = (missing * 1_000_000).div_ceil(u64::from(self.rate_hz.max(1)));
        self.next_at = self.next_at.plus(missing_us);
        missing_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::codec::{CodecConfig, CodecKind};
    use crate::engine::voice::{Idle, Spoken};

    const PERIOD_US: u64 = 20_000;

    /// Its packets are complete at whole periods, and the one of 100 ms leaves so much later.
    fn behind(wait_us: u64) -> Mouth {
        let spoken = Spoken {
            pt: 0,
            codec: CodecConfig::new(CodecKind::Pcmu),
            ptime_ms: 20,
        };
        let mut mouth = Mouth::new(&spoken, Idle::Nothing, Micros::ZERO).expect("a codec");
        mouth.enter_bridge();
        mouth.joins(Micros(100_000)).expect("it is due");
        mouth.fall_behind(Micros(100_000), wait_us);
        mouth
    }

    #[test]
    fn packets_leave_where_they_shall_and_no_packet_behind() {
        for before_us in (0..PERIOD_US).step_by(1_000) {
            for wait_us in (0..PERIOD_US).step_by(1_000) {
                let mut mouth = behind(before_us);
                let what = mouth.due_behind(wait_us);
                let sum_us = before_us + wait_us;
                let behind_us = sum_us % PERIOD_US;
                let (next_us, expected) = match (wait_us, sum_us < PERIOD_US) {
                    (0, _) => (120_000, Behind::Leaves { sooner_us: 0 }),
                    (_, true) => (100_000, Behind::Waits),
                    (_, false) => {
                        let sooner_us = before_us - behind_us;
                        (120_000, Behind::Leaves { sooner_us })
                    }
                };
                assert_eq!(what, expected, "{before_us} + {wait_us}");
                assert_eq!(mouth.next_at, Micros(next_us + behind_us));
                // It catches up at the frame that completes that packet, and at no other.
                assert_eq!(mouth.catch_up(Micros(next_us - 10_000)), 0);
                assert!(mouth.is_behind());
                assert_eq!(mouth.catch_up(Micros(next_us)), behind_us);
                assert!(!mouth.is_behind() && mouth.next_at == Micros::NEVER);
            }
        }
    }

    #[test]
    fn a_packet_that_is_not_complete_is_awaited() {
        let mut mouth = behind(5_000);
        let mut pcm = [7; 160];
        assert_eq!(mouth.collect(&mut pcm, 80, true), None);
        assert_eq!(mouth.awaits(), 10_000);
        assert_eq!(mouth.next_at, Micros(115_000));
        assert_eq!(
            mouth.collect(&mut pcm, 80, false),
            None,
            "complete, and behind"
        );
        assert_eq!(mouth.awaits(), 0);
        assert!(mouth.take_packet(&mut pcm, true));
        assert_eq!((pcm[79], pcm[80]), (7, 0));
    }

    #[test]
    fn who_leaves_its_bridge_is_not_behind_it() {
        let mut mouth = behind(5_000);
        mouth.collect(&mut [7; 160], 160, true);
        mouth.enter_bridge();
        assert!(mouth.is_behind(), "it is in it");
        mouth.skip(40_000);
        assert_eq!(mouth.next_at, Micros(145_000));
        assert_eq!(mouth.drop_behind(), 5_000);
        assert_eq!(mouth.leave_bridge(Micros(160_000)), 160, "it is not said");
        assert!(!mouth.is_behind() && mouth.next_at == Micros(160_000));
    }
}
