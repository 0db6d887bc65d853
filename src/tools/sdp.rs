//! The few lines of SDP (RFC 8866) a test phone has to write and read.

use std::net::{Ipv4Addr, SocketAddrV4};

/// A session with one audio stream: PCMU first, with `extra` media lines after the usual ones.
pub(crate) fn audio(at: SocketAddrV4, payload_types: &[(u8, &str)], extra: &str) -> String {
    let ip = at.ip();
    let list: String = payload_types
        .iter()
        .map(|(pt, _)| format!(" {pt}"))
        .collect();
    let maps: String = payload_types
        .iter()
        .map(|(pt, name)| format!("a=rtpmap:{pt} {name}\r\n"))
        .collect();
    format!(
        "v=0\r\no=- {port} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP{list}\r\n{maps}a=sendrecv\r\n{extra}",
        port = at.port(),
    )
}

/// Where the first audio stream of `sdp` wants its RTP: the port of its `m=` line with its own
/// `c=` line, or the session's. `None` when either is missing or not IPv4.
pub(crate) fn media_address(sdp: &str) -> Option<SocketAddrV4> {
    let mut session: Option<Ipv4Addr> = None;
    let mut own: Option<Ipv4Addr> = None;
    let mut port: Option<u16> = None;
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            if port.is_some() {
                break;
            }
            if let Some(audio) = media.strip_prefix("audio ") {
                port = audio.split([' ', '/']).next()?.parse().ok();
            }
        } else if let Some(address) = line.strip_prefix("c=IN IP4 ") {
            let ip = address.split('/').next()?.parse().ok();
            if port.is_some() {
                own = ip
            } else {
                session = ip
            }
        }
    }
    Some(SocketAddrV4::new(
        own.or(session)?,
        port.filter(|p| *p != 0)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let at = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 30_004);
        let text = audio(at, &[(0, "PCMU/8000"), (8, "PCMA/8000")], "a=ptime:20\r\n");
        assert!(text.contains("m=audio 30004 RTP/AVP 0 8\r\n"));
        assert_eq!(media_address(&text), Some(at));
    }

    #[test]
    fn the_media_line_wins_over_the_session() {
        let text = "c=IN IP4 192.0.2.1\nm=audio 9 RTP/AVP 0\nc=IN IP4 192.0.2.2\nm=video 7 X 1\n";
        assert_eq!(media_address(text).unwrap().to_string(), "192.0.2.2:9");
    }

    #[test]
    fn a_rejected_or_missing_stream_has_no_address() {
        for text in [
            "",
            "c=IN IP4 192.0.2.1\n",
            "c=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 0\n",
            "m=\n",
        ] {
            assert_eq!(media_address(text), None, "{text:?}");
        }
    }
}
