//! The sans-IO engine: calls, legs and what happens to their packets.
//!
//! Nothing here sees a socket, a file or a clock. Time is the `now` argument, randomness a seed in
//! [`CallConfig`]. One worker owns a [`Call`] for its life and drives it by one contract: mutate
//! once ([`Call::apply`], [`Call::handle_packet`], [`Call::handle_timeout`]), then drain
//! [`Call::poll_output`] until it is empty, then sleep until [`Call::poll_timeout`].

mod api;

pub use api::*;
