//! Whether a request is sound, before anything is done for it: what the stack reads over is looked
//! for here (the torture messages of RFC 4475 name most of it).

use rsipstack::sip::{Header, HeadersExt, Method, Request, Scheme, Version};

use super::message;
use super::requests::Refusal;

/// Longest Call-ID, Replaces, Refer-To and header that is passed on.
pub(super) const FIELD_MAX: usize = 512;
/// Longest From, To and request URI.
pub(super) const ADDRESS_FIELD_MAX: usize = 1_024;

/// Whether it names a dialog, by a tag of To.
///
/// # Errors
/// It is malformed (400), of another version (505), or about what we do not know (416, 420).
pub(super) fn is_within_dialog(request: &Request) -> Result<bool, Refusal> {
    let bad = |_| Refusal::bare(400);
    if request.version != Version::V2 {
        return Err(Refusal::bare(505));
    }
    let from = request.from_header().map_err(bad)?;
    let to = request.to_header().map_err(bad)?;
    let call_id = request.call_id_header().map_err(bad)?;
    let is_long = [from.value(), to.value(), &request.uri.to_string()]
        .iter()
        .any(|field| field.len() > ADDRESS_FIELD_MAX);
    let is_odd = is_repeated(request)
        || !is_whole(request)
        || !request.headers.iter().all(is_readable)
        || message::max_forwards(request).is_err();
    if is_long || call_id.value().len() > FIELD_MAX || is_odd {
        return Err(Refusal::bare(400));
    }
    let cseq = request.cseq_header().map_err(bad)?;
    if cseq.method().map_err(bad)? != request.method || cseq.seq().is_err() {
        return Err(Refusal::bare(400));
    }
    let replaces = |h: &Header| matches!(h, Header::Replaces(_));
    if request.method != Method::Invite && request.headers.iter().any(replaces) {
        // RFC 3891 section 3.
        return Err(Refusal::bare(400));
    }
    from.tag().map_err(bad)?.ok_or_else(|| Refusal::bare(400))?;
    let is_within = to.tag().map_err(bad)?.is_some();
    if request.method == Method::Ack {
        return Ok(is_within);
    }
    if !matches!(request.uri.scheme, Some(Scheme::Sip | Scheme::Sips)) {
        return Err(Refusal::bare(416));
    }
    message::requires_reliable(request).map_err(|unknown| Refusal::of(420, unknown))?;
    Ok(is_within)
}

/// Whether something stands there twice that may be there once: whom it is for would be anybody's
/// guess.
fn is_repeated(request: &Request) -> bool {
    let mut seen = [0_u8; 7];
    for header in request.headers.iter() {
        let place = match header {
            Header::CallId(_) => 0,
            Header::ContentLength(_) => 1,
            Header::ContentType(_) => 2,
            Header::CSeq(_) => 3,
            Header::From(_) => 4,
            Header::MaxForwards(_) => 5,
            Header::To(_) => 6,
            _ => continue,
        };
        seen[place] = seen[place].saturating_add(1);
    }
    seen.iter().any(|times| *times > 1)
}

/// Whether its body is as long as it says (RFC 3261 section 18.3). The stack takes what is there.
fn is_whole(request: &Request) -> bool {
    request.headers.iter().all(|header| match header {
        Header::ContentLength(length) => {
            let digits = length.value().trim();
            let is_number = digits.bytes().all(|b| b.is_ascii_digit());
            is_number && digits.parse() == Ok(request.body.len())
        }
        _ => true,
    })
}

/// Whether its quotes are closed, and its lists have no empty places.
fn is_readable(header: &Header) -> bool {
    let (value, is_via) = match header {
        Header::From(h) => (h.value(), false),
        Header::To(h) => (h.value(), false),
        Header::Contact(h) => (h.value(), false),
        Header::ReferTo(h) => (h.value(), false),
        Header::Via(h) => (h.value(), true),
        _ => return true,
    };
    let (mut is_quoted, mut is_escaped) = (false, false);
    for sign in value.chars() {
        match sign {
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = is_quoted && !is_escaped && sign == '\\';
    }
    let is_hop = |hop: &str| {
        hop.trim()
            .get(..3)
            .is_some_and(|v| v.eq_ignore_ascii_case("SIP"))
    };
    !is_quoted && (!is_via || value.split(',').all(is_hop))
}

#[cfg(test)]
mod tests {
    use rsipstack::sip::SipMessage;

    use super::*;

    const SOUND: &str = "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
        From: \"A \\\"\" <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\n\
        Content-Length: 2\r\n\r\nhi";

    fn judged(text: &str) -> Result<bool, u16> {
        match SipMessage::try_from(text).expect("readable") {
            SipMessage::Request(request) => is_within_dialog(&request).map_err(|r| r.code),
            SipMessage::Response(_) => panic!("a response"),
        }
    }

    #[test]
    fn what_is_sound_is_within_a_dialog_or_not() {
        assert_eq!(judged(SOUND), Ok(false));
        assert_eq!(
            judged(&SOUND.replace("To: <sip:b@h>", "To: <sip:b@h>;tag=x")),
            Ok(true)
        );
        assert_eq!(
            judged(&SOUND.replace("h;branch=z9hG4bK1", "h;branch=1 , SIP/2.0/TCP g")),
            Ok(false)
        );
        assert_eq!(
            judged(&SOUND.replace("Length: 2", "Length:  002 ")),
            Ok(false)
        );
    }

    #[test]
    fn what_is_not_is_refused() {
        let cases = [
            ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", 505),
            ("INVITE sip:b@h", "INVITE urn:x", 416),
            ("Call-ID: i", "Call-ID: i\r\nRequire: nothing, timer", 420),
            ("Call-ID: i", "Call-ID: i\r\ni: j", 400),
            ("Call-ID: i\r\n", "", 400),
            ("To: ", "To: <sip:c@h>\r\nt: ", 400),
            ("CSeq: 1", "CSeq: 2 INVITE\r\nCSeq: 1", 400),
            ("CSeq: 1 INVITE", "CSeq: 1 OPTIONS", 400),
            ("CSeq: 1", "CSeq: 4294967296", 400),
            ("Length: 2", "Length: 3", 400),
            ("Length: 2", "Length: -2", 400),
            ("Length: 2", "Length: +2", 400),
            ("Length: 2", "Length: ", 400),
            ("Length: 2", "Length: 2\r\nl: 2", 400),
            ("\"A \\\"\"", "\"A \\\"", 400),
            ("h;branch=z9hG4bK1", "h;branch=1,;", 400),
            (";tag=1", "", 400),
        ];
        for (sound, odd, code) in cases {
            assert_eq!(judged(&SOUND.replace(sound, odd)), Err(code), "{odd}");
        }
        let long =
            |n: usize| SOUND.replace("b@h>", &format!("{}@h>", "b".repeat(n - "<sip:@h>".len())));
        assert_eq!(judged(&long(ADDRESS_FIELD_MAX)), Ok(false));
        assert_eq!(judged(&long(ADDRESS_FIELD_MAX + 1)), Err(400));
    }
}
