//! Clients of a running switch, for its users' own machines: a load generator that compares the
//! switch with its peer ([`mod@bench`]), and a two-party call whose audio one can listen to
//! ([`call`]).
//!
//! They stand beside the floors and know the switch only as any stranger would: by its ng port and
//! its media ports. Nothing here is used by the switch itself.

pub mod bench;
pub mod call;
pub mod ctl;
pub mod ng_client;
mod sdp;
mod wav;
