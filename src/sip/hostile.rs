//! Reads anything as if it had come in: what the fuzz target `sip` runs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rsipstack::sip::{HeadersExt, Request, SipMessage};
use rsipstack::transaction::endpoint::MessageInspector as _;
use rsipstack::transaction::key::{TransactionKey, TransactionRole};

use super::config::Secret;
use super::digest::{Digests, Verdict};
use super::message;
use super::repair::{self, Repair};
use super::session::SessionTimer;
use super::transfer;
use super::{datagrams, sound};

/// Room for a datagram.
const ROOM: usize = 65_535;

/// Takes a datagram through everything that reads it before a call is made of it.
///
/// # Panics
/// A promise of a reader is broken.
pub(crate) fn read(datagram: &[u8]) {
    if let Some(refusal) = datagrams::refusal(datagram) {
        assert!(refusal.starts_with("SIP/2.0 ") && refusal.ends_with("\r\n\r\n"));
    }
    let length = datagram.len().min(ROOM);
    let mut room = vec![0; ROOM];
    room[..length].copy_from_slice(&datagram[..length]);
    let length = datagrams::measured(&mut room, length);
    let Ok(mut message) = SipMessage::try_from(&room[..length]) else {
        return;
    };
    repair::addresses(&mut message);
    match Repair.after_received(message, None) {
        SipMessage::Request(request) => {
            let key = TransactionKey::from_request(&request, TransactionRole::Server);
            if key.is_ok() && sound::is_within_dialog(&request).is_ok() {
                sound_request(&request);
            }
            anything(&request);
        }
        SipMessage::Response(response) => {
            let _key = TransactionKey::from_response(&response, TransactionRole::Client);
            anything(&response);
            let _timer = SessionTimer::agreed(&response);
        }
    }
}

fn anything(message: &impl message::Body) {
    let _cseq = message::cseq(message);
    if let Some(uri) = message::contact(message) {
        let user = message::user(&uri);
        assert!(!user.chars().any(char::is_control), "{user:?}");
        let _written = message::readable(uri).to_string();
    }
    if let Ok(Some(sdp)) = message::sdp(message) {
        assert!(sdp.len() <= message.octets().len());
    }
}

fn sound_request(request: &Request) {
    let from = request.from_header().expect("it is sound");
    assert!(from.value().len() <= sound::ADDRESS_FIELD_MAX);
    let _reliable = message::requires_reliable(request).expect("it is sound");
    let _accepts = message::accepts_sdp(request);
    let _timer = SessionTimer::asked(request, Duration::from_secs(90));
    if let Ok(Some((_, pressed))) = message::digit(request) {
        assert!(pressed <= Duration::from_secs(10), "{pressed:?}");
    }
    transfer::read(request);
    digest(request);
}

/// Nobody gets in who does not know the password.
fn digest(request: &Request) {
    let now = Instant::now();
    let secret = "a secret that no message knows";
    let mut digests = Digests::new(
        "example.com",
        secret.into(),
        10,
        Duration::from_secs(1),
        now,
    );
    let header = request.authorization_header().map(|h| h.value());
    let password = |_: &str| Some(Secret::from(secret));
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let verdict = digests.judge(now, source, request.method, header, password);
    assert!(!matches!(verdict, Verdict::Right(_)), "let in");
}
