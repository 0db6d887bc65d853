//! Recordings: from tapes to files that can be trusted.
//!
//! A [`tape`](crate::engine::tape) brings copies of packets from the worker that has the call.
//! Nothing here can delay a packet: what flows downwards from the worker is a bounded ring, and
//! what does not fit is said to be lost.

pub mod config;
pub mod disk;
pub mod event;
pub mod file;
pub(crate) mod finish;
pub mod journal;
pub mod recorder;
pub mod session;
pub mod sidecar;
pub mod span;
pub mod track;
pub mod vault;
