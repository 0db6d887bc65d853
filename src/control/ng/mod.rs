//! The ng protocol: one request in one message, one reply to it, over UDP with a cookie.
//!
//! ```text
//! COOKIE SP d7:command4:pinge        COOKIE SP {"command":"ping"}
//! ```
//!
//! Nothing here does I/O. [`split_datagram`] takes the framing off, [`cookie::CookieCache`] tells
//! a retransmission from a new request, [`request::Request`] is the message with types, and
//! [`join_datagram`] frames the reply, in the encoding of the request.

mod block_dtmf;
mod connect;
pub mod cookie;
pub mod doors;
pub mod dtmf_log;
pub mod flags;
pub mod mask_triggers;
pub mod mesh;
mod moh;
pub mod play_dtmf;
pub mod recording;
mod reply;
pub mod request;
mod service;
mod subscribe;

pub use block_dtmf::{MaskKeys, Security};
pub use service::{DATAGRAM_REPLY_MAX, DELAYED_DELETES_MAX, NOTICES_MAX, NgService};

use crate::wire::ng::{Encoding, Value};

use self::cookie::COOKIE_LEN_MAX;

/// Takes a datagram apart at its first space: the cookie, and the payload, which may be empty.
///
/// `None` is to be dropped without a reply: no cookie, no space, or a cookie longer than
/// [`COOKIE_LEN_MAX`].
pub fn split_datagram(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = datagram
        .iter()
        .take(COOKIE_LEN_MAX + 1)
        .position(|byte| *byte == b' ')?;
    let (cookie, rest) = datagram.split_at(space);
    (!cookie.is_empty()).then(|| (cookie, &rest[1..]))
}

/// Frames a reply under the cookie of its request.
pub fn join_datagram(cookie: &[u8], encoding: Encoding, reply: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(REPLY_LEN_TYPICAL);
    out.extend_from_slice(cookie);
    out.push(b' ');
    reply.encode(encoding, &mut out);
    out
}

/// A reply that a request was carried out, to be extended.
pub fn ok<'a>() -> Value<'a> {
    Value::dict().with("result", "ok")
}

/// A reply that a request was refused, with the text clients look at.
pub fn error<'a>(reason: impl Into<Value<'a>>) -> Value<'a> {
    Value::dict()
        .with("result", "error")
        .with("error-reason", reason)
}

/// A reply to an offer with two streams fits.
const REPLY_LEN_TYPICAL: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_split_at_the_first_space() {
        assert_eq!(
            split_datagram(b"4c1e9 d e"),
            Some((&b"4c1e9"[..], &b"d e"[..]))
        );
        assert_eq!(split_datagram(b"4c1e9 "), Some((&b"4c1e9"[..], &b""[..])));
        assert_eq!(split_datagram(b"4c1e9"), None);
        assert_eq!(split_datagram(b" d7:command4:pinge"), None);
        assert_eq!(split_datagram(b""), None);
    }

    #[test]
    fn cookies_are_bounded() {
        let datagram = |len: usize| [vec![b'c'; len], b" de".to_vec()].concat();
        let fits = datagram(COOKIE_LEN_MAX);
        let (cookie, payload) = split_datagram(&fits).unwrap();
        assert_eq!((cookie.len(), payload), (COOKIE_LEN_MAX, &b"de"[..]));
        assert_eq!(split_datagram(&datagram(COOKIE_LEN_MAX + 1)), None);
    }

    #[test]
    fn replies_carry_the_cookie_and_the_encoding() {
        let pong = Value::dict().with("result", "pong");
        assert_eq!(
            join_datagram(b"4c1e9", Encoding::Bencode, &pong),
            b"4c1e9 d6:result4:ponge"
        );
        assert_eq!(
            join_datagram(b"k82", Encoding::Json, &error("Unrecognized command")),
            br#"k82 {"result":"error","error-reason":"Unrecognized command"}"#
        );
    }
}
