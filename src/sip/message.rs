//! What is read from SIP messages, and what is said of ourselves in them.

mod body;
#[cfg(test)]
mod tests;

use std::time::Duration;

use body::content_type;
pub(super) use body::sdp;
use rsipstack::sip::{Header, HeadersExt, Method, Request, Uri};

use crate::wire::event::Digit;

/// Methods that we take.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, REGISTER";
/// Those of them that need no dialog.
const ALLOW_OUTSIDE: &str = "INVITE, ACK, CANCEL, OPTIONS, REGISTER";
/// Extensions that we know.
const SUPPORTED: [&str; 3] = ["100rel", "replaces", "timer"];
/// How many hops a request may take of which nothing is said.
pub(super) const MAX_FORWARDS: u8 = 70;
/// Longest that a key of an INFO is said to be pressed.
const DIGIT_MAX: Duration = Duration::from_secs(10);
/// How long one is taken to be pressed that says nothing of it.
const DIGIT_USUAL: Duration = Duration::from_millis(160);

/// `Allow`.
pub(super) fn allow() -> Header {
    Header::Allow(ALLOW.into())
}

/// `Allow` for who asks for no dialog of ours.
pub(super) fn allow_outside() -> Header {
    Header::Allow(ALLOW_OUTSIDE.into())
}

/// `Supported`.
pub(super) fn supported() -> Header {
    Header::Supported(SUPPORTED.join(", ").into())
}

/// `Accept`.
pub(super) fn accept() -> Header {
    Header::Accept("application/sdp, multipart/mixed".into())
}

/// Whether whoever calls takes an answer in SDP: it says so, or nothing (RFC 3261 section 20.1).
pub(super) fn accepts_sdp(request: &Request) -> bool {
    let lists = request.headers.iter().filter_map(|h| match h {
        Header::Accept(list) => Some(list.value()),
        _ => None,
    });
    let mut is_said = false;
    let is_sdp = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let sdp = ["application/sdp", "application/*", "*/*"];
        sdp.iter().any(|s| s.eq_ignore_ascii_case(kind))
    };
    for list in lists {
        is_said = true;
        if list.split(',').any(is_sdp) {
            return true;
        }
    }
    !is_said
}

/// What an OPTIONS asks for.
pub(super) fn capabilities() -> Vec<Header> {
    vec![allow(), accept(), supported()]
}

/// Whether the other end says that it takes this method.
pub(super) fn allows(message: &impl HeadersExt, method: Method) -> bool {
    let headers = message.headers().iter();
    let lists = headers.filter_map(|h| match h {
        Header::Allow(list) => Some(list.value()),
        _ => None,
    });
    let mut methods = lists.flat_map(|l| l.split(','));
    methods.any(|m| m.trim().eq_ignore_ascii_case(&method.to_string()))
}

/// The number of CSeq.
pub(super) fn cseq(message: &impl HeadersExt) -> Option<u32> {
    message.cseq_header().ok()?.seq().ok()
}

/// How many hops may follow (Max-Forwards); [`MAX_FORWARDS`] where it is not said, as in RFC 2543.
///
/// # Errors
/// It is no number of 0–255 (RFC 3261 section 20.22).
pub(super) fn max_forwards(request: &Request) -> Result<u8, ()> {
    let Ok(header) = request.max_forwards_header() else {
        return Ok(MAX_FORWARDS);
    };
    let digits = header.value().trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().ok_or(())
}

/// The first Contact, as the stack is to have it.
pub(super) fn contact(message: &impl HeadersExt) -> Option<Uri> {
    let contacts = message.typed_contact_headers().ok()?;
    contacts.into_iter().next().map(|c| readable(c.uri))
}

/// A message with a body.
pub(super) trait Body: HeadersExt {
    fn octets(&self) -> &[u8];
}

impl Body for Request {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

impl Body for rsipstack::sip::Response {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

/// The key of an INFO and how long it was pressed; `None`: it has no body.
///
/// # Errors
/// It is about something else: what it may be about (415).
pub(super) fn digit(request: &Request) -> Result<Option<(Digit, Duration)>, Vec<Header>> {
    if request.body.is_empty() {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&request.body);
    let pressed = match content_type(request).as_str() {
        "application/dtmf-relay" => relayed(&body),
        "application/dtmf" => key(body.trim()).map(|k| (k, DIGIT_USUAL)),
        _ => None,
    };
    let accept = || {
        vec![Header::Accept(
            "application/dtmf-relay, application/dtmf".into(),
        )]
    };
    pressed.map(Some).ok_or_else(accept)
}

/// `Signal=5` and `Duration=160`, a line each.
fn relayed(body: &str) -> Option<(Digit, Duration)> {
    let field = |name: &str| {
        let mut fields = body.lines().filter_map(|l| l.split_once('='));
        let found = fields.find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let key = key(field("Signal")?)?;
    let length = field("Duration").and_then(|d| d.parse().ok());
    let length = length.map_or(DIGIT_USUAL, Duration::from_millis);
    Some((key, length.min(DIGIT_MAX)))
}

/// A key by its sign, or by its code of RFC 4733 where that is longer than one digit.
fn key(text: &str) -> Option<Digit> {
    match text {
        "10" => Digit::from_char('*'),
        "11" => Digit::from_char('#'),
        _ => {
            let mut signs = text.chars();
            let sign = signs.next()?;
            signs.next().is_none().then(|| Digit::from_char(sign))?
        }
    }
}

/// Whether the caller requires reliable provisional responses.
///
/// # Errors
/// It requires what we do not know (420).
pub(super) fn requires_reliable(request: &Request) -> Result<bool, Vec<Header>> {
    let mut required = Vec::new();
    for header in request.headers.iter() {
        if let Header::Require(list) = header {
            required.extend(list.value().split(',').map(str::trim));
        }
    }
    let is_known = |o: &&str| SUPPORTED.iter().any(|s| s.eq_ignore_ascii_case(o));
    let unknown: Vec<&str> = required.iter().filter(|o| !is_known(o)).copied().collect();
    match unknown.is_empty() {
        true => Ok(required.iter().any(|o| o.eq_ignore_ascii_case("100rel"))),
        false => Err(vec![Header::Unsupported(unknown.join(", ").into())]),
    }
}

/// The user part of an address, its escapes undone, without parameters of its own (RFC 3966).
pub(super) fn user(uri: &Uri) -> String {
    let user = match &uri.auth {
        Some(auth) => auth.user.clone(),
        // The stack ends `sip:+4930;phone-context=de@host` at its first semicolon: what it takes
        // for the host is the user, and the host is in a parameter.
        None if uri.params.iter().any(|p| p.to_string().contains('@')) => {
            uri.host_with_port.host.to_string()
        }
        None => String::new(),
    };
    unescaped(user.split(';').next().unwrap_or_default())
}

/// An address as the stack is to have it: it escapes the user when it writes an address, and does
/// not undo that when it reads one.
pub(super) fn readable(mut uri: Uri) -> Uri {
    if let Some(auth) = &mut uri.auth {
        auth.user = unescaped(&auth.user);
    }
    uri
}

/// The text without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// `%41` is `A`. What is no UTF-8 is replaced, and control characters are dropped.
pub(super) fn unescaped(text: &str) -> String {
    let octets = text.as_bytes();
    let mut plain = Vec::with_capacity(octets.len());
    let mut at = 0;
    while let Some(octet) = octets.get(at) {
        let code = (*octet == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(code.unwrap_or(*octet));
        at += if code.is_some() { 3 } else { 1 };
    }
    self::plain(&String::from_utf8_lossy(&plain))
}

/// Text that may stand between quotes: no line ends, no quotes, and no angle brackets, which many
/// take for those of a URI.
pub(super) fn printable(text: &str) -> String {
    let fits = |c: &char| !c.is_control() && !"\"\\<>".contains(*c);
    text.chars().filter(fits).collect()
}
