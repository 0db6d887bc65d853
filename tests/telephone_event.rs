//! telephone-events arrive in many ways, and every press is told exactly once: the rules of
//! RFC 4733, what networks do to packets, and what senders in the field do instead of the rules.
#![allow(
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "test data is built from small counts; pub means: for this test"
)]

#[path = "telephone_event/network.rs"]
mod network;
#[path = "telephone_event/quirks.rs"]
mod quirks;
#[path = "telephone_event/rules.rs"]
mod rules;
#[path = "telephone_event/sender.rs"]
mod sender;
