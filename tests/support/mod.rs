//! What the whole-process tests share: the switch as a child process, an ng client, RTP parties
//! with tone markers, and ports that no other test uses.
//!
//! Nothing here but [`phone`], [`keys`] and [`inside`] calls into the crate: bencode, RTP, G.711
//! and SDP are written a second time, so that a mistake in the product cannot hide behind the same
//! mistake in its test.
//!
//! `CROSSPOINT_TEST_PEER=rtpengine` runs the same tests against Debian's rtpengine, which proves
//! that what they ask is what the field's clients really get.
#![allow(
    dead_code,
    reason = "each test binary uses its own part of the shared support"
)]
#![allow(
    unreachable_pub,
    reason = "pub here means: for the test binary that includes this"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test clocks are far inside every range"
)]

pub mod audio;
pub mod inside;
pub mod key_tones;
pub mod keys;
pub mod ng;
pub mod party;
pub mod phone;
pub mod ports;
pub mod rtp;
pub mod switch;

use std::time::{Duration, Instant};

/// One G.711 packet every so often.
pub const PTIME: Duration = Duration::from_millis(20);

/// Generous: a loaded machine may take long, a broken switch takes for ever.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls `condition` until it holds; panics with `what` after [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < end,
            "still not so after {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Calls `tick` `count` times, 20 ms apart on an absolute schedule: a late tick does not delay
/// the ones after it.
pub fn every_20_ms(count: u32, mut tick: impl FnMut(u32)) {
    let start = Instant::now();
    for number in 0..count {
        let due = start + PTIME * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        tick(number);
    }
}
