//! Crosspoint: a SIP/RTP media-plane switch.
//!
//! The house has floors, and arrows between them only point downwards:
//!
//! | floor | what lives there |
//! |---|---|
//! | [`flow`] | call flows of applets: greeting, menu, connect, queue, voicemail … |
//! | [`sip`] | the embedded signalling layer: a back-to-back user agent |
//! | [`control`] | how others command the switch: ng (bencode, JSON), HTTP, WebSocket, metrics, configuration |
//! | [`switch`] | the one typed API: offer/answer negotiation, call registry, placement, admission |
//! | [`record`] | what is recorded: tracks true to the clock, WAV and Ogg Opus, sums, upload; the one floor that may block |
//! | [`plane`] | pinned worker threads, sockets, ports; all system calls and all `unsafe` |
//! | [`engine`] | sans-IO calls and legs: latch, routes, egress clock, playout, bridges, players, statistics |
//! | [`audio`] | signal maths: codecs, concealment, resampling, mixing, tones, files of sound |
//! | [`wire`] | formats: RTP, RTCP, SDP, bencode, JSON; no I/O, no clock, no allocation per packet |
//!
//! Beside the house stands [`tools`]: clients of a running switch (load generator, call
//! driver), and the replay of captures. `seldom` is for all floors that log.
//!
//! Start reading at [`engine`] for what happens to a packet, and at [`switch`] for what happens to
//! a call. The invariants the tests name are in `docs/architecture.md`.

pub mod audio;
pub mod control;
pub mod engine;
pub mod flow;
#[doc(hidden)]
pub mod fuzzing;
pub mod plane;
pub mod record;
mod seldom;
pub mod sip;
pub mod switch;
pub mod tools;
pub mod wire;
