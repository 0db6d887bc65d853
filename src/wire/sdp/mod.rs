//! Session descriptions (SDP, RFC 8866) as a relay sees them: offers and answers (RFC 3264).
//!
//! [`Description::parse`] reads what real devices send and gives a typed view per `m=` line;
//! [`Description::write`] sends it on with our addresses, in a strict form. Between the two,
//! [`pt_maps`] works out how the payload types of the two parties translate.
//!
//! The line syntax is the `sdp-types` crate's; the meaning, the bounds, the tolerance for sloppy
//! senders and the rewriting are ours. Text that passes through cannot open a new line: neither CR
//! nor LF nor NUL survives the parser inside a value.

mod attributes;
mod codec;
mod compose;
mod connection;
mod description;
mod error;
mod negotiate;
mod repair;
mod write;

pub use codec::{Codec, CodecFilter, CodecSpec, Encoding};
pub use compose::{Composed, ComposedMedia};
pub use description::{Description, Direction, Media, Origin, RtcpTarget};
pub use error::{Fault, SdpError};
pub use negotiate::{PtEntry, PtMap, PtMaps, numbers_for, pt_maps, unused_number};
pub use write::{MediaRewrite, OriginPolicy, Rewrite, RtcpAttribute};

/// Longest session description in bytes. Browsers with several video tracks reach 10 kB.
pub const SDP_BYTES_MAX: usize = 32 * 1024;

/// Most lines of one description.
pub const SDP_LINES_MAX: usize = 1024;

/// Most `m=` lines of one description.
pub const SDP_MEDIA_MAX: usize = 16;

/// Most formats (payload types) of one `m=` line.
pub const SDP_FORMATS_MAX: usize = 64;
