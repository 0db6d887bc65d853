//! The sans-IO engine: calls, legs and what happens to their packets.
//!
//! Nothing here sees a socket, a file or a clock. Time is the `now` argument, randomness a seed in
//! [`CallConfig`]. One worker owns a [`Call`] for its life and drives it by one contract: mutate
//! once ([`Call::apply`], [`Call::handle_packet`], [`Call::handle_timeout`]), then drain
//! [`Call::poll_output`] until it is empty, then sleep until [`Call::poll_timeout`].

mod api;
mod call;
mod digits;
mod egress;
mod events;
mod fork;
mod gather;
mod latch;
pub mod playout;
mod quality;
mod record;
mod stats;
mod stream;
mod tap;
mod time;
mod voice;

pub use api::*;
pub use call::{
    AbsorbError, CATCH_UP_FRAMES_MAX, Call, DATAGRAM_LEN_MAX, HAND_BACK_US_MAX, PIN_DELAY_US,
    RECODE_REST_US, REPORT_INTERVAL_US, STALL_US,
};
pub use digits::*;
pub use fork::{HELD_BYTES_MAX, HELD_PACKETS_MAX, HELD_US_MAX};
pub use gather::{
    AtPrompt, Digits, GATHER_ATTEMPTS_MAX, GATHER_DIGITS_MAX, GATHER_HELD_MAX, GATHER_PROMPT,
    GATHER_PROMPT_MAX, GATHER_WAIT_MAX, GatherConfig, GatherEnd, GatherError, GatherId,
    GatherRules, Gathered, Keys, OtherKeys, TYPE_AHEAD_MAX,
};
pub use record::*;
pub use time::Micros;
pub use voice::*;
