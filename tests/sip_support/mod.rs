//! A phone that says SIP as it is told, octet for octet, and endpoints to call.

#![allow(
    dead_code,
    reason = "each test file uses what it needs of a shared support module"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crosspoint::sip::{
    Incoming, Leg, LegEvent, LegEvents, Outgoing, SipConfig, SipSettings, Transport, UserAgent,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Longest that anything is waited for: only what is broken takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A description, of whom it comes from.
pub(crate) fn sdp(of: &str) -> Vec<u8> {
    let text = format!(
        "v=0\r\no={of} 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 8\r\n"
    );
    text.into_bytes()
}

/// An endpoint with these settings (beside its listeners and a short T1).
pub(crate) async fn agent_with(settings: &str) -> (Arc<UserAgent>, Receiver<Incoming>) {
    agent_of(settings, 100).await
}

/// The same, with so many calls at a time.
pub(crate) async fn agent_of(settings: &str, calls: usize) -> (Arc<UserAgent>, Receiver<Incoming>) {
    let listen = match settings.contains("listen =") {
        true => "",
        false => "listen = [\"udp:127.0.0.1:0\"]",
    };
    let t1 = match settings.contains("t1 =") {
        true => "",
        false => "t1 = 50",
    };
    let text = format!("{t1}\n{listen}\n{settings}");
    let settings: SipSettings = toml::from_str(&text).expect("settings");
    let config = SipConfig::new(settings).expect("settings in order");
    UserAgent::start(config, calls).await.expect("it listens")
}

/// An endpoint, the calls that come in, and where it is.
pub(crate) async fn agent() -> (Arc<UserAgent>, Receiver<Incoming>, SocketAddr) {
    let (agent, calls) = agent_with("").await;
    let address = address(&agent, Transport::Udp);
    (agent, calls, address)
}

pub(crate) fn address(agent: &UserAgent, transport: Transport) -> SocketAddr {
    let mut listens = agent.listens().iter();
    listens
        .find(|l| l.transport == transport)
        .expect("such a listener")
        .address
}

/// A call to `to`, from 100.
pub(crate) fn call(to: impl Into<String>) -> Outgoing {
    Outgoing {
        to: to.into(),
        from: "100".into(),
        display: None,
        headers: Vec::new(),
        sdp: sdp("caller"),
        ring_timeout: PATIENCE,
        max_forwards: None,
    }
}

pub(crate) async fn incoming(calls: &mut Receiver<Incoming>) -> Incoming {
    let next = timeout(PATIENCE, calls.recv()).await;
    next.expect("a call in time").expect("a call")
}

pub(crate) async fn event(events: &mut LegEvents) -> LegEvent {
    let next = timeout(PATIENCE, events.next()).await;
    next.expect("an event in time").expect("an event")
}

/// The last event; others before it are a mistake.
pub(crate) async fn ending(events: &mut LegEvents) -> (u16, crosspoint::sip::EndedBy) {
    match event(events).await {
        LegEvent::Ended(ending) => {
            let none = timeout(PATIENCE, events.next()).await.expect("the end");
            assert!(none.is_none(), "{none:?} after the end");
            (ending.cause.0, ending.by)
        }
        other => panic!("{other:?} and not the end"),
    }
}

pub(crate) async fn answered(events: &mut LegEvents) -> Vec<u8> {
    match event(events).await {
        LegEvent::Answered(sdp) => sdp,
        other => panic!("{other:?} and not the answer"),
    }
}

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Message(pub(crate) String);

impl Message {
    pub(crate) fn code(&self) -> u16 {
        let line = self.0.lines().next().unwrap_or_default();
        let code = line.strip_prefix("SIP/2.0 ").and_then(|l| l.get(..3));
        code.and_then(|c| c.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn method(&self) -> &str {
        let line = self.0.lines().next().unwrap_or_default();
        line.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.0.split("\r\n\r\n").next().unwrap_or_default().lines();
        let named = lines.filter_map(|l| l.split_once(':'));
        let named = named.filter(|(n, _)| n.trim().eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers(name).first().copied().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(crate) fn to_tag(&self) -> &str {
        self.header("To")
            .split_once(";tag=")
            .map_or("", |(_, tag)| tag)
    }

    /// The address in Contact.
    pub(crate) fn contact(&self) -> String {
        let contact = self.header("Contact");
        let address = contact.split_once('<').map_or("", |(_, rest)| rest);
        address.split('>').next().unwrap_or_default().to_owned()
    }
}

/// A phone with a call.
pub(crate) struct Phone {
    pub(crate) socket: UdpSocket,
    pub(crate) peer: SocketAddr,
    pub(crate) user: String,
    pub(crate) number: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    /// Of the other end, once it is known.
    pub(crate) to_tag: String,
    /// Where requests within the call go.
    pub(crate) target: String,
    pub(crate) branch: u64,
}

impl Phone {
    /// A phone that will call `number` at `peer`.
    pub(crate) async fn new(peer: SocketAddr, number: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let own = socket.local_addr().expect("bound").port();
        Self {
            socket,
            peer,
            user: "200".into(),
            number: number.into(),
            call_id: format!("{own}-{}", fastrand::u64(..)),
            cseq: 0,
            to_tag: String::new(),
            target: format!("sip:{number}@{peer}"),
            branch: 0,
        }
    }

    pub(crate) fn own(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    pub(crate) async fn say(&self, text: &str) {
        let sent = self.socket.send_to(text.as_bytes(), self.peer).await;
        sent.expect("it goes out");
    }

    /// A request of the next CSeq and a new branch.
    pub(crate) fn request(&mut self, method: &str, headers: &str, body: &[u8]) -> String {
        self.cseq += 1;
        self.branch += 1;
        self.same(method, headers, body)
    }

    /// A request of the same CSeq and branch: CANCEL, and what is said again.
    pub(crate) fn same(&self, method: &str, headers: &str, body: &[u8]) -> String {
        let own = self.own();
        let to = match self.to_tag.as_str() {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let (branch, call_id, cseq) = (self.branch, &self.call_id, self.cseq);
        let (user, number, peer, target) = (&self.user, &self.number, self.peer, &self.target);
        let kind = match body.is_empty() || headers.contains("Content-Type") {
            true => "",
            false => "Content-Type: application/sdp\r\n",
        };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{call_id}{branch}\
             \r\nMax-Forwards: 70\r\nFrom: \"A Caller\" <sip:{user}@{own}>;tag=c{branch_tag}\r\n\
             To: <sip:{number}@{peer}>{to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{own}>\r\n{headers}{kind}Content-Length: {}\r\n\r\n{}",
            body.len(),
            String::from_utf8_lossy(body),
            branch_tag = call_id.len(),
        )
    }

    pub(crate) async fn next(&self) -> Message {
        let mut room = vec![0; 65_536];
        let heard = timeout(PATIENCE, self.socket.recv(&mut room)).await;
        let octets = heard.expect("a message in time").expect("a message");
        Message(String::from_utf8_lossy(&room[..octets]).into_owned())
    }

    /// The next response to the present request that is not 100; others are passed over.
    pub(crate) async fn response(&self) -> Message {
        loop {
            let message = self.next().await;
            let is_ours = message
                .header("CSeq")
                .starts_with(&format!("{} ", self.cseq));
            if message.code() > 100 && is_ours {
                return message;
            }
        }
    }

    /// A response of this code to that method, others passed over.
    pub(crate) async fn response_to(&self, method: &str, code: u16) -> Message {
        loop {
            let message = self.next().await;
            if message.code() == code && message.header("CSeq").ends_with(method) {
                return message;
            }
        }
    }

    /// The next request of that method, all else passed over.
    pub(crate) async fn asked(&self, method: &str) -> Message {
        loop {
            let message = self.next().await;
            if message.method() == method {
                return message;
            }
        }
    }

    /// Calls, with an offer.
    pub(crate) async fn invite(&mut self) {
        self.invite_with("", &sdp("phone")).await;
    }

    pub(crate) async fn invite_with(&mut self, headers: &str, body: &[u8]) {
        let invite = self.request("INVITE", headers, body);
        self.say(&invite).await;
    }

    /// Takes a 2xx, and acknowledges it.
    pub(crate) async fn confirm(&mut self, response: &Message, body: &[u8]) {
        self.to_tag = response.to_tag().to_owned();
        self.target = response.contact();
        self.branch += 1;
        let ack = self.same("ACK", "", body);
        self.say(&ack).await;
    }

    /// Acknowledges a final response that is no 2xx: by the same transaction.
    pub(crate) async fn take(&mut self, response: &Message) {
        let tag = std::mem::replace(&mut self.to_tag, response.to_tag().to_owned());
        let ack = self.same("ACK", "", b"");
        self.say(&ack).await;
        self.to_tag = tag;
    }

    /// Calls, and is answered by `leg`'s owner with the SDP of "agent".
    pub(crate) async fn connected(&mut self, calls: &mut Receiver<Incoming>) -> (Leg, LegEvents) {
        self.invite().await;
        let Incoming { leg, events, .. } = incoming(calls).await;
        leg.answer(&sdp("agent")).await.expect("answered");
        let answer = self.response_to("INVITE", 200).await;
        self.confirm(&answer, b"").await;
        (leg, events)
    }

    /// Hangs up a call that came in as `invite`, and was answered by [`Self::reply`].
    pub(crate) async fn hang_up(&self, invite: &Message) {
        self.say(&self.within(invite, "BYE", 1_000, b"")).await;
    }

    /// A request within a call that came in as `invite`, and was answered by [`Self::reply`].
    pub(crate) fn within(&self, invite: &Message, method: &str, cseq: u32, body: &[u8]) -> String {
        let own = self.own();
        let (_, tag) = invite.header("From").split_once(";tag=").expect("a tag");
        let kind = match body.is_empty() {
            true => "",
            false => "Content-Type: application/sdp\r\n",
        };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{method}{cseq}{tag}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:phone@{own}>;tag=p{}\r\n\
             To: <sip:100@{own}>;tag={tag}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:phone@{own}>\r\n{kind}Content-Length: {}\r\n\r\n{}",
            invite.contact(),
            own.port(),
            invite.header("Call-ID"),
            body.len(),
            String::from_utf8_lossy(body),
        )
    }

    /// Hangs up.
    pub(crate) async fn bye(&mut self) {
        let bye = self.request("BYE", "", b"");
        self.say(&bye).await;
        self.response_to("BYE", 200).await;
    }

    /// Answers a request of the other end.
    pub(crate) async fn reply(&self, request: &Message, code: u16, headers: &str, body: &[u8]) {
        let mut lines = vec![format!("SIP/2.0 {code} As told")];
        for name in ["Via", "From", "Call-ID", "CSeq", "Record-Route"] {
            let values = request.headers(name).into_iter();
            lines.extend(values.map(|value| format!("{name}: {value}")));
        }
        let to = request.header("To");
        let tagged = match to.contains(";tag=") || code == 100 {
            true => to.to_owned(),
            false => format!("{to};tag=p{}", self.own().port()),
        };
        lines.push(format!("To: {tagged}"));
        if !headers.contains("Contact:") {
            lines.push(format!("Contact: <sip:phone@{}>", self.own()));
        }
        let kind = match body.is_empty() {
            true => "",
            false => "Content-Type: application/sdp\r\n",
        };
        let head = lines.join("\r\n");
        let body = String::from_utf8_lossy(body);
        let length = body.len();
        self.say(&format!(
            "{head}\r\n{headers}{kind}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    }
}

/// The same as text.
pub(crate) fn text(of: &str) -> String {
    String::from_utf8(sdp(of)).expect("text")
}

/// Waits until the endpoint holds no call and no dialog.
pub(crate) async fn nothing_is_left(agent: &UserAgent) {
    let empty = async {
        while agent.load().dialogs != 0 || agent.load().calls != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = timeout(PATIENCE, empty).await;
    assert!(done.is_ok(), "{:?}", agent.load());
}

/// Answers the digest that `asked` asks for.
pub(crate) fn digest(
    asked: &Message,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> String {
    use rsipstack::dialog::authenticate::compute_digest;
    use rsipstack::sip::Method;
    use rsipstack::sip::headers::auth::Algorithm;
    let challenge = asked.header("WWW-Authenticate");
    let param = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\"")).expect(name);
        rest.split('"').next().expect("its end").to_owned()
    };
    let (realm, nonce) = (param("realm"), param("nonce"));
    let sealed = format!("{nonce}:00000001:abc:auth");
    let method: Method = method.parse().expect("a method");
    let response = compute_digest(
        user,
        password,
        &realm,
        &sealed,
        &method,
        uri,
        Algorithm::Md5,
        None,
    );
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
         uri=\"{uri}\", response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, \
         cnonce=\"abc\"\r\n"
    )
}
