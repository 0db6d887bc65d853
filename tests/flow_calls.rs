//! Calls through flows, as `serve` carries them: a switch with its workers, a user agent, a runner,
//! and people on loopback who call, are called, speak and listen.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test signals are far inside every range"
)]

#[path = "flow_calls/alone.rs"]
mod alone;
#[path = "flow_calls/applets.rs"]
mod applets;
#[path = "flow_calls/connect.rs"]
mod connect;
#[path = "flow_calls/demo.rs"]
mod demo;
#[path = "flow_calls/first_words.rs"]
mod first_words;
mod flow_support;
#[path = "flow_calls/holds.rs"]
mod holds;
#[path = "flow_calls/http.rs"]
mod http;
#[path = "flow_calls/local.rs"]
mod local;
#[path = "flow_calls/parallel.rs"]
mod parallel;
#[path = "flow_calls/queue.rs"]
mod queue;
mod sip_support;
#[path = "flow_calls/sticky.rs"]
mod sticky;
mod support;
#[path = "flow_calls/talks.rs"]
mod talks;
#[path = "flow_calls/transfers.rs"]
mod transfers;
