//! What the stack cannot read, made readable before it sees it.
//!
//! It takes the first `<` of an address for the beginning of its URI, also within the quotes of a
//! name, and finds no tag that has blanks about its `=` (RFC 3261 section 25.1 allows both).
//!
//! Of the challenges of one response it takes the first, and it knows neither a list of qualities
//! of protection (`qop="auth,auth-int"`) nor `SHA-256` by its name. So only challenges that it can
//! answer are left, with `auth` alone.

use rsipstack::sip::typed::tokenizers::AuthTokenizer;
use rsipstack::sip::{HasHeaders, Header, Response, SipMessage};
use rsipstack::transaction::endpoint::MessageInspector;
use rsipstack::transport::SipAddr;

/// Repairs what comes in.
#[derive(Debug)]
pub(super) struct Repair;

impl MessageInspector for Repair {
    fn before_send(&self, message: SipMessage, _to: Option<&SipAddr>) -> SipMessage {
        message
    }

    fn after_received(&self, message: SipMessage, _from: Option<&SipAddr>) -> SipMessage {
        match message {
            SipMessage::Response(mut response) => {
                if matches!(response.status_code.code(), 401 | 407) {
                    readable(&mut response);
                }
                SipMessage::Response(response)
            }
            request => request,
        }
    }
}

/// Makes the addresses of a message readable.
pub(super) fn addresses(message: &mut SipMessage) {
    for header in message.headers_mut().iter_mut() {
        match header {
            Header::From(h) => h.0 = address(&h.0),
            Header::To(h) => h.0 = address(&h.0),
            Header::Contact(h) => h.0 = address(&h.0),
            Header::ReferTo(h) => h.0 = address(&h.0),
            _ => {}
        }
    }
}

/// The same address without angle brackets in its name, and without blanks about `;` and `=`.
fn address(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let (mut is_quoted, mut is_uri, mut is_escaped) = (false, false, false);
    let mut blank = false;
    for sign in value.chars() {
        if is_quoted {
            plain.push(match sign {
                '<' => '(',
                '>' => ')',
                other => other,
            });
            is_quoted = is_escaped || sign != '"';
            is_escaped = !is_escaped && sign == '\\';
            continue;
        }
        if !is_uri && sign.is_whitespace() {
            blank = true;
            continue;
        }
        let is_tight = "=;".contains(sign) || plain.ends_with(['=', ';']) || plain.is_empty();
        if std::mem::take(&mut blank) && !is_tight {
            plain.push(' ');
        }
        match sign {
            '"' => is_quoted = !is_uri,
            '<' => is_uri = true,
            '>' => is_uri = false,
            _ => {}
        }
        plain.push(sign);
    }
    plain
}

fn readable(response: &mut Response) {
    let mut left = Vec::new();
    for header in response.headers.iter() {
        match header {
            Header::WwwAuthenticate(h) => {
                left.extend(challenge(h.value()).map(|c| Header::WwwAuthenticate(c.into())));
            }
            Header::ProxyAuthenticate(h) => {
                left.extend(challenge(h.value()).map(|c| Header::ProxyAuthenticate(c.into())));
            }
            other => left.push(other.clone()),
        }
    }
    response.headers = left.into();
}

/// The same challenge with `auth` as its only quality; `None`: of an algorithm that is not MD5.
fn challenge(value: &str) -> Option<String> {
    let read = AuthTokenizer::parse(value).ok()?;
    let mut params = Vec::new();
    for (name, value) in &read.params {
        match name.to_ascii_lowercase().as_str() {
            "algorithm" if !value.eq_ignore_ascii_case("MD5") => return None,
            "algorithm" => params.push("algorithm=MD5".to_owned()),
            "qop" => {
                let mut offered = value.split(',').map(str::trim);
                if !offered.any(|q| q.eq_ignore_ascii_case("auth")) {
                    return None;
                }
                params.push("qop=\"auth\"".to_owned());
            }
            _ => params.push(format!("{name}=\"{value}\"")),
        }
    }
    Some(format!("{} {}", read.scheme, params.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_that_can_be_answered_are_left() {
        let kept = challenge("Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", stale=TRUE");
        let wanted = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\", stale=\"TRUE\"";
        assert_eq!(kept.as_deref(), Some(wanted));
        let kept = challenge("Digest realm=\"r\",nonce=\"n\",algorithm=md5");
        assert_eq!(
            kept.as_deref(),
            Some("Digest realm=\"r\", nonce=\"n\", algorithm=MD5")
        );
        assert_eq!(
            challenge("Digest realm=\"r\",nonce=\"n\",algorithm=SHA-256"),
            None
        );
        assert_eq!(
            challenge("Digest realm=\"r\",nonce=\"n\",qop=\"auth-int\""),
            None
        );
        assert_eq!(challenge("Digest"), None);
    }

    #[test]
    fn addresses_are_made_readable_and_else_left_alone() {
        let cases = [
            ("<sip:a@b>;tag=1", "<sip:a@b>;tag=1"),
            (
                "\"J, <x>\"  <sip:a@b> ; tag = 1",
                "\"J, (x)\" <sip:a@b>;tag=1",
            ),
            (
                "\"a \\\" <b\" <sip:a@b;x = y>",
                "\"a \\\" (b\" <sip:a@b;x = y>",
            ),
            (" sip:a@b ;\t tag\t=1 , <sip:c> ", "sip:a@b;tag=1 , <sip:c>"),
            ("An Other <sip:a@b>", "An Other <sip:a@b>"),
            ("\"open <", "\"open ("),
            ("<open ; ", "<open ; "),
            ("", ""),
        ];
        for (given, wanted) in cases {
            assert_eq!(address(given), wanted);
        }
    }

    #[test]
    fn only_challenges_are_touched() {
        let text = "SIP/2.0 407 No\r\nProxy-Authenticate: Digest realm=\"a\",nonce=\"b\",\
                    algorithm=SHA-256\r\nProxy-Authenticate: Digest realm=\"a\",nonce=\"b\",\
                    qop=\"auth-int,auth\"\r\nX-Y: y\r\nContent-Length: 0\r\n\r\n";
        let message = SipMessage::try_from(text).expect("a response");
        let repaired = Repair.after_received(message, None).to_string();
        assert_eq!(
            repaired.matches("Proxy-Authenticate").count(),
            1,
            "{repaired}"
        );
        assert!(repaired.contains("qop=\"auth\""), "{repaired}");
        assert!(repaired.contains("X-Y: y"), "{repaired}");
    }
}
