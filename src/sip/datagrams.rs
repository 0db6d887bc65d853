//! The socket for datagrams.
//!
//! The stack drops requests of methods that it does not know, so that whoever sent one says it
//! again for half a minute. Such a request is answered here with 501 (RFC 3261 section 8.2.1), and
//! so is one whose first line it cannot read (400, 505). And it takes a message that does not say
//! how long its body is for one without: a datagram ends where it ends (section 18.3).

use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::platform::net::UdpSocket;
use rsipstack::sip::Method;
use rsipstack::transaction::make_tag;

use super::shared::Counters;

/// What a response repeats of its request, with the short forms.
const COPIED: [(&str, &str); 5] = [
    ("Via", "v"),
    ("From", "f"),
    ("To", "t"),
    ("Call-ID", "i"),
    ("CSeq", ""),
];

/// A socket that answers what the stack cannot.
pub(super) struct Datagrams {
    socket: tokio::net::UdpSocket,
    counters: Arc<Counters>,
}

impl Datagrams {
    pub(super) async fn bind(
        address: SocketAddr,
        counters: Arc<Counters>,
    ) -> std::io::Result<Self> {
        let socket = tokio::net::UdpSocket::bind(address).await?;
        Ok(Self { socket, counters })
    }
}

#[async_trait::async_trait]
impl UdpSocket for Datagrams {
    async fn recv_from(&self, room: &mut [u8]) -> rsipstack::Result<(usize, SocketAddr)> {
        loop {
            let (length, from) = self.socket.recv_from(room).await?;
            let Some(refusal) = refusal(&room[..length]) else {
                return Ok((measured(room, length), from));
            };
            self.counters.malformed();
            // An error is an address that cannot be reached.
            let _unreachable = self.socket.send_to(refusal.as_bytes(), from).await;
        }
    }

    async fn send_to(&self, octets: &[u8], to: SocketAddr) -> rsipstack::Result<usize> {
        Ok(self.socket.send_to(octets, to).await?)
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}

/// Says how long the body of the message is, where it does not say that itself; its length then.
pub(super) fn measured(room: &mut [u8], length: usize) -> usize {
    let end = room[..length].windows(4).position(|w| w == b"\r\n\r\n");
    let Some(end) = end else {
        return length;
    };
    let is_said = |line: &[u8]| {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        let name = name.trim_ascii();
        name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l")
    };
    let (head, body) = (end + 2, length - end - 4);
    if body == 0 || room[..head].split(|b| *b == b'\n').any(is_said) {
        return length;
    }
    let said = format!("Content-Length: {body}\r\n");
    let whole = length + said.len();
    if whole > room.len() {
        return length;
    }
    room.copy_within(head..length, head + said.len());
    room[head..head + said.len()].copy_from_slice(said.as_bytes());
    whole
}

/// What a request is refused with by its first line alone (RFC 3261 section 7.1).
fn code_of(line: &str) -> Option<&'static str> {
    let line = line.trim_end();
    let (request, version) = line.rsplit_once(' ')?;
    let digits = version.strip_prefix("SIP/")?;
    let (method, uri) = request.split_once(' ')?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if method.is_empty() || !method.chars().all(is_token) {
        return None;
    }
    match (digits, method.parse::<Method>()) {
        ("2.0", _) if uri.is_empty() || uri.contains([' ', '\t']) => Some("400 Bad Request"),
        ("2.0", Ok(_)) => None,
        ("2.0", Err(_)) => Some("501 Not Implemented"),
        _ => Some("505 Version Not Supported"),
    }
}

/// The answer to a request that the stack would drop; `None`: it is anything else.
pub(super) fn refusal(datagram: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(datagram).ok()?;
    let head = text.split_once("\r\n\r\n").map(|(head, _)| head)?;
    let mut lines = head.split("\r\n");
    let code = code_of(lines.next()?)?;
    if datagram.starts_with(b"ACK ") {
        return None;
    }
    let mut answer = format!("SIP/2.0 {code}\r\n");
    let mut found = 0;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let is = |long: &str, short: &str| {
            let name = name.trim();
            name.eq_ignore_ascii_case(long) || (!short.is_empty() && name == short)
        };
        let tag = match (is("To", "t"), value.contains(";tag=")) {
            (true, false) => format!(";tag={}", make_tag()),
            _ => String::new(),
        };
        if COPIED.iter().any(|(long, short)| is(long, short)) {
            found += 1;
            answer += &format!("{line}{tag}\r\n");
        }
    }
    // Without these it is no request, and there is nobody to answer.
    (found >= COPIED.len()).then(|| answer + "Content-Length: 0\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINK: &str = "WINK sip:x SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z\r\nFrom: <sip:a>;tag=1\r\n\
        To: <sip:b>\r\nCall-ID: i\r\nX: y\r\nCSeq: 1 WINK\r\n\r\nbody";

    #[test]
    fn an_unknown_method_is_answered_as_any_request_is() {
        let answer = refusal(WINK.as_bytes()).expect("an answer");
        assert!(answer.starts_with("SIP/2.0 501 "), "{answer}");
        assert!(answer.contains("\r\nTo: <sip:b>;tag="), "{answer}");
        assert!(
            answer.contains("\r\nv: SIP/2.0/UDP h;branch=z\r\n"),
            "{answer}"
        );
        assert!(
            !answer.contains("X: y") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
    }

    #[test]
    fn anything_else_is_left_to_the_stack() {
        let others = [
            WINK.replacen("WINK", "INVITE", 1),
            WINK.replacen("WINK", "WI\"NK", 1),
            WINK.replacen("WINK", "ACK", 1)
                .replace("SIP/2.0\r\nv", "SIP/3.0\r\nv"),
            WINK.replace("SIP/2.0\r\nv", "HTTP/2.0\r\nv"),
            WINK.replace("Call-ID", "Call"),
            WINK.replace("\r\n\r\n", "\r\n"),
            "SIP/2.0 200 OK\r\n\r\n".to_owned(),
            String::new(),
        ];
        for text in others {
            assert_eq!(refusal(text.as_bytes()), None, "{text}");
        }
        assert_eq!(refusal(b"\xff\xfe sip:x SIP/2.0\r\n\r\n"), None);
    }

    #[test]
    fn first_lines_that_cannot_be_read_are_refused() {
        let cases = [
            ("INVITE sip:x; lr SIP/2.0", "SIP/2.0 400 "),
            ("INVITE  sip:x SIP/2.0", "SIP/2.0 400 "),
            ("INVITE sip:x  SIP/2.0", "SIP/2.0 400 "),
            ("INVITE sip:x SIP/7.0", "SIP/2.0 505 "),
            ("WINK sip:x SIP/1.0", "SIP/2.0 505 "),
        ];
        for (line, code) in cases {
            let text = WINK.replace("WINK sip:x SIP/2.0", line);
            let answer = refusal(text.as_bytes()).expect(line);
            assert!(answer.starts_with(code), "{line}: {answer}");
        }
    }

    #[test]
    fn a_datagram_without_a_length_ends_where_it_ends() {
        let of = |text: &str, room: usize| {
            let mut octets = vec![0; room];
            octets[..text.len()].copy_from_slice(text.as_bytes());
            let length = measured(&mut octets, text.len());
            String::from_utf8(octets[..length].to_vec()).expect("text")
        };
        let whole = WINK.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n");
        assert_eq!(of(WINK, whole.len()), whole);
        assert_eq!(of(WINK, whole.len() - 1), WINK, "no room to say it");
        for said in ["L : 1", "content-length:9"] {
            let text = WINK.replace("X: y", said);
            assert_eq!(of(&text, 1_000), text);
        }
        for text in ["", "\r\n\r\n", "a\r\n\r\n", "a"] {
            assert_eq!(of(text, 1_000), text);
        }
    }
}
