//! Registrations come, are refreshed, and go.

use std::net::SocketAddr;

use super::*;

fn request(call_id: &str, cseq: u32, headers: &str) -> Request {
    let text = format!(
        "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bKa\r\n\
         From: <sip:anna@r>;tag=1\r\nTo: <sip:anna@r>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Request::try_from(text.as_str()).expect("a request")
}

fn flow(port: u16) -> SipAddr {
    SocketAddr::from(([192, 0, 2, 1], port)).into()
}

struct Desk {
    registrar: Registrar,
    now: Instant,
    cseq: u32,
}

impl Desk {
    fn new() -> Self {
        Self {
            registrar: Registrar::default(),
            now: Instant::now(),
            cseq: 0,
        }
    }

    /// The code, and the Contacts that are told.
    fn asks(&mut self, user: &str, headers: &str) -> (u16, Vec<String>) {
        self.cseq += 1;
        let request = request("one", self.cseq, headers);
        self.told(user, &request)
    }

    fn told(&mut self, user: &str, request: &Request) -> (u16, Vec<String>) {
        match self.registrar.register(self.now, user, request, &flow(7)) {
            Ok(bound) => (200, bound.iter().map(|h| h.value().to_owned()).collect()),
            Err(refusal) => (refusal.code, Vec::new()),
        }
    }

    fn count(&self, user: &str) -> usize {
        self.registrar.contacts(user).len()
    }
}

#[test]
fn phones_register_are_found_and_leave() {
    let mut desk = Desk::new();
    let (code, told) = desk.asks(
        "anna",
        "Contact: <sip:anna@10.0.0.1:5060>\r\nExpires: 120\r\n",
    );
    assert_eq!(
        (code, told),
        (200, vec!["<sip:anna@10.0.0.1:5060>;expires=120".to_owned()])
    );
    let (code, told) = desk.asks("anna", "m: <sip:anna@10.0.0.2>;expires=90\r\n");
    assert_eq!((code, told.len()), (200, 2));
    let found = desk.registrar.contacts("anna");
    assert_eq!(
        found[0].0.to_string(),
        "sip:anna@10.0.0.2",
        "the latest first"
    );
    assert_eq!(found[0].1, flow(7));
    assert_eq!(desk.registrar.flow(&found[0].0), Some(flow(7)));
    let (code, told) = desk.asks("anna", "");
    assert_eq!((code, told.len()), (200, 2), "a query");
    let (code, told) = desk.asks("anna", "Contact: <sip:anna@10.0.0.2>;expires=0\r\n");
    assert_eq!((code, told.len()), (200, 1));
    assert_eq!(desk.registrar.flow(&found[0].0), None);
    let (code, told) = desk.asks("anna", "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((code, told.len()), (200, 0));
    assert!(desk.registrar.users.is_empty() && desk.registrar.flows.is_empty());
}

#[test]
fn contacts_with_escapes_are_told_and_found_as_they_are() {
    let mut desk = Desk::new();
    let (code, contacts) = desk.asks("anna", "Contact: <sip:a%23%2541@h>\r\n");
    assert_eq!(code, 200);
    assert!(contacts[0].starts_with("<sip:a%23%2541@h>"), "{contacts:?}");
    let found = desk.registrar.contacts("anna");
    assert_eq!(found[0].0.to_string(), "sip:a%23%2541@h");
    assert_eq!(desk.registrar.flow(&found[0].0), Some(flow(7)));
}

#[test]
fn registrations_expire() {
    let mut desk = Desk::new();
    desk.asks("anna", "Contact: <sip:anna@h>;expires=60\r\n");
    desk.now += Duration::from_secs(60);
    let (code, told) = desk.asks("anna", "");
    assert_eq!((code, told.len()), (200, 0));
    assert!(desk.registrar.users.is_empty() && desk.registrar.flows.is_empty());
}

#[test]
fn times_are_within_their_limits() {
    let mut desk = Desk::new();
    let mut lasts = |expires: &str| {
        let contact = format!("Contact: <sip:anna@h>{expires}\r\n");
        desk.asks("anna", &contact)
    };
    assert_eq!(lasts(";expires=59").0, 423);
    assert_eq!(lasts(";expires=60").1, ["<sip:anna@h>;expires=60"]);
    assert_eq!(lasts(";expires=7200").1, ["<sip:anna@h>;expires=7200"]);
    assert_eq!(lasts(";expires=7201").1, ["<sip:anna@h>;expires=7200"]);
    assert_eq!(lasts("").1, ["<sip:anna@h>;expires=3600"]);
    assert_eq!(lasts(";expires=soon").1, ["<sip:anna@h>;expires=3600"]);
}

#[test]
fn phones_of_a_user_are_bounded() {
    let mut desk = Desk::new();
    for n in 0..CONTACTS_MAX {
        assert_eq!(
            desk.asks("anna", &format!("Contact: <sip:anna@h{n}>\r\n"))
                .0,
            200
        );
    }
    assert_eq!(desk.asks("anna", "Contact: <sip:anna@one-more>\r\n").0, 403);
    assert_eq!(desk.count("anna"), CONTACTS_MAX);
    let many: String = (0..=CONTACTS_MAX)
        .map(|n| format!("Contact: <sip:b@i{n}>\r\n"))
        .collect();
    assert_eq!(desk.asks("bert", &many).0, 403);
    assert_eq!(desk.count("bert"), 0);
}

#[test]
fn what_is_wrong_changes_nothing() {
    let mut desk = Desk::new();
    desk.asks("anna", "Contact: <sip:anna@h>\r\n");
    for bad in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *\r\nContact: <sip:x@y>\r\nExpires: 0\r\n",
        "Contact: <tel:123>\r\n",
        "Contact: <mailto:a@b>\r\n",
        "Contact: <sip:unclosed\r\n",
    ] {
        assert_eq!(desk.asks("anna", bad).0, 400, "{bad}");
    }
    let old = request("one", 1, "Contact: <sip:anna@h>;expires=0\r\n");
    assert_eq!(desk.told("anna", &old).0, 500, "older than the latest");
    let old = request("one", 1, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(desk.told("anna", &old).0, 500);
    let (code, told) = desk.asks("bert", "Contact: <sip:anna@h>\r\n");
    assert_eq!((code, told.len()), (403, 0), "an address of anna's");
    assert_eq!(desk.count("anna"), 1);
}
