//! Prompts in step with the packets of who hears them.
//!
//! Of a tone's beginning nothing is known until the packet it is in has come, and a frame of a
//! prompt that has left cannot be taken back. Between a frame that leaves just before such a packet
//! and the next one the prompt goes on for 20 ms more than it must. So its frames leave a little
//! behind the packets of its listener.

use crate::engine::time::{Micros, gcd};

/// A frame is in step where it leaves so long behind a packet: late enough for one that the network
/// held up a little, and early enough to be over 40 ms into a tone of which that packet held less
/// than what is suspected, 13 ms.
const BEHIND_US: std::ops::RangeInclusive<u64> = 2_000..=6_000;

/// Where it is put if it is not.
const BEHIND_US_AIM: u64 = 4_000;

/// Frames are not kept in step with packets that have no more than this in common with them.
const STEP_US_MIN: u64 = 10_000;

/// When the packets of a party come, those that come fastest.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Beat {
    /// When one came or should have.
    pub(in crate::engine) at_us: u64,
    pub(in crate::engine) every_us: u32,
}

impl Beat {
    /// How much later a frame should leave that is due; 0: it is in step, or cannot be.
    pub(in crate::engine) fn wait_us(self, due: Micros, period_us: u64) -> u64 {
        let period_us = u32::try_from(period_us).unwrap_or(0);
        let step_us = u64::from(gcd(period_us, self.every_us));
        if self.every_us == 0 || step_us < STEP_US_MIN {
            return 0;
        }
        let ahead_us = (step_us - self.at_us % step_us) % step_us;
        let behind_us = (due.0 % step_us + ahead_us) % step_us;
        match BEHIND_US.contains(&behind_us) {
            true => 0,
            false => (step_us - behind_us + BEHIND_US_AIM) % step_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_brought_into_step_by_less_than_a_packet() {
        for (period_us, every_us, step_us) in [
            (20_000, 20_000, 20_000),
            (20_000, 10_000, 10_000),
            (20_000, 30_000, 10_000),
        ] {
            for due in (1_000_000..1_060_000).step_by(250) {
                let beat = Beat {
                    at_us: 777_777,
                    every_us,
                };
                let wait_us = beat.wait_us(Micros(due), period_us);
                assert!(wait_us < step_us, "{wait_us} of {step_us}");
                let behind_us = (due + wait_us - beat.at_us) % step_us;
                assert!(BEHIND_US.contains(&behind_us), "{behind_us}");
                assert_eq!(beat.wait_us(Micros(due + wait_us), period_us), 0);
            }
        }
    }

    #[test]
    fn packets_that_have_no_step_in_common_with_frames_move_none() {
        for every_us in [0, 2_500, 5_000, 22_500] {
            let beat = Beat { at_us: 3, every_us };
            let mut waits = (0..20_000).map(|due| beat.wait_us(Micros(due), 20_000));
            assert!(waits.all(|wait_us| wait_us == 0), "{every_us}");
        }
    }
}
