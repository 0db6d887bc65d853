//! The SDP of a message: its body, or a part of it (RFC 2046 section 5.1, RFC 5621).

use rsipstack::sip::{Header, HeadersExt};

use super::{Body, accept};

/// Parts of a body that are looked at.
const PARTS_MAX: usize = 16;
/// Longest boundary between parts (RFC 2046 section 5.1.1).
const BOUNDARY_MAX: usize = 70;

/// The SDP of a message, if it has a body: the whole of it, or its first part that is SDP. A body
/// of another type that may be left aside (RFC 3261 section 20.11) is none.
///
/// # Errors
/// Its body is something else, or encoded: what it may be (415).
pub(in crate::sip) fn sdp(message: &impl Body) -> Result<Option<Vec<u8>>, Vec<Header>> {
    if message.octets().is_empty() {
        return Ok(None);
    }
    if let Some(encoding) = message.header_value("Content-Encoding")
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(vec![Header::AcceptEncoding("identity".into())]);
    }
    let kind = content_type(message);
    let found = match kind.strip_prefix("multipart/") {
        _ if kind == "application/sdp" => Some(message.octets()),
        Some(_) => {
            let whole = message.header_value("Content-Type").unwrap_or_default();
            boundary(&whole).and_then(|b| sdp_part(message.octets(), b))
        }
        None => None,
    };
    match found {
        Some(sdp) => Ok(Some(sdp.to_vec())),
        None if is_optional(message) => Ok(None),
        None => Err(vec![accept()]),
    }
}

/// `Content-Type` without its parameters, in lower case.
pub(super) fn content_type(message: &impl HeadersExt) -> String {
    kind(&message.header_value("Content-Type").unwrap_or_default())
}

fn kind(value: &str) -> String {
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// The value of a parameter, without its quotes.
fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let mut params = value.split(';').skip(1).filter_map(|p| p.split_once('='));
    let found = params.find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"'))
}

fn boundary(content_type: &str) -> Option<&str> {
    let boundary = param(content_type, "boundary")?;
    (1..=BOUNDARY_MAX)
        .contains(&boundary.len())
        .then_some(boundary)
}

fn is_optional(message: &impl HeadersExt) -> bool {
    let disposition = message.header_value("Content-Disposition");
    let handling = disposition.as_deref().and_then(|d| param(d, "handling"));
    handling.is_some_and(|h| h.eq_ignore_ascii_case("optional"))
}

/// The first part that is SDP as it stands there.
fn sdp_part<'a>(body: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let line = format!("\r\n--{boundary}");
    // Before the first boundary there may be nothing, not even the end of a line.
    let mut rest = match body.strip_prefix(&line.as_bytes()[2..]) {
        Some(rest) => rest,
        None => split(body, line.as_bytes())?.1,
    };
    for _ in 0..PARTS_MAX {
        // Two dashes say that it was the last; blanks may follow.
        let (_, part) = split(rest, b"\n").filter(|(end, _)| end.trim_ascii().is_empty())?;
        let (part, after) = split(part, line.as_bytes())?;
        rest = after;
        let (head, content) = match part.strip_prefix(b"\r\n") {
            Some(content) => (&[][..], content),
            None => split(part, b"\r\n\r\n").unwrap_or((part, &[])),
        };
        if is_sdp(head) {
            return Some(content);
        }
    }
    None
}

fn is_sdp(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|l| l.split_once(':'));
        let found = fields.find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| kind(value))
    };
    let encoding = field("Content-Transfer-Encoding").unwrap_or_default();
    field("Content-Type").as_deref() == Some("application/sdp")
        && ["", "7bit", "8bit", "binary"].contains(&encoding.as_str())
}

/// What is before and after the first `what`.
fn split<'a>(octets: &'a [u8], what: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = octets.windows(what.len()).position(|w| w == what)?;
    Some((&octets[..at], &octets[at + what.len()..]))
}
