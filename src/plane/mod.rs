//! Workers, sockets and ports: all system calls live here.
//!
//! | module | what it is |
//! |---|---|
//! | [`driver`] | the narrow trait every way of moving a packet fits behind |
//! | [`sockets`] | the driver that runs everywhere: one UDP socket per port, epoll |
//! | [`worker`] | a pinned thread that owns calls and a driver, commanded by bounded queues |
//! | [`counters`] | what a worker counts, read by the metrics scrape |
//! | [`ports`] | which local ports are free, in quarantine, or ours |
//! | [`interface`] | named local addresses, and the opening of socket pairs on them |
//! | [`limits`] | how many calls the process's open-file limit allows |
//! | [`probe`] | receive times, readiness and scheduling, for the measuring clients in `tools` |
//! | [`notify`] | an eventfd: how one thread wakes another without blocking |
//! | [`background`] | threads that may come later than those of media |
//!
//! Control code (may block, may allocate) opens and closes sockets and takes ports; workers only
//! move packets. Nothing below [`worker`] takes a lock.
#![allow(
    unsafe_code,
    reason = "system calls; here and nowhere else, tests/tidy.rs sees to it"
)]

pub mod background;
pub mod counters;
pub mod driver;
pub mod interface;
pub mod limits;
pub mod notify;
pub mod ports;
pub mod probe;
pub mod sockets;
pub mod worker;

mod sys;
mod wheel;
