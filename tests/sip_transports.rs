//! Calls over streams: TCP, TLS and WebSocket.

mod sip_support;

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint::sip::{Cause, EndedBy, LegEvent, Transport};
use futures_util::{SinkExt as _, StreamExt as _};
use sip_support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, http::HeaderValue};

#[tokio::test]
async fn calls_go_over_tcp_as_well() {
    let both = "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]";
    let (near, _calls) = agent_with(both).await;
    let (far, mut calls) = agent_with(both).await;
    let there = address(&far, Transport::Tcp);
    let to = format!("sip:1000@{there};transport=tcp");
    let (_leg, mut events) = near.dial(call(to)).await.expect("dialled");
    let mut far_call = incoming(&mut calls).await;
    far_call.leg.answer(&sdp("callee")).await.expect("answered");
    assert_eq!(answered(&mut events).await, sdp("callee"));
    far_call.leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
    assert_eq!(ending(&mut far_call.events).await, (200, EndedBy::Us));
    // Where nobody listens, that is known long before the ring timeout.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = listener.local_addr().expect("bound");
    drop(listener);
    let to = format!("sip:1000@{closed};transport=tcp");
    let (_leg, mut events) = near.dial(call(to)).await.expect("dialled");
    assert_eq!(ending(&mut events).await, (503, EndedBy::Nobody));
}

/// Settings of one that shows the certificate of the tests, and trusts it.
fn sealed(trusts: bool) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/sip-tls");
    let authorities = match trusts {
        true => format!("authorities = \"{folder}/certificate.pem\"\n"),
        false => String::new(),
    };
    format!(
        "listen = [\"udp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\n\
         certificate = \"{folder}/certificate.pem\"\nprivate-key = \"{folder}/key.pem\"\n\
         {authorities}"
    )
}

#[tokio::test]
async fn calls_go_over_tls_to_those_that_are_trusted() {
    let (near, _calls) = agent_with(&sealed(true)).await;
    let (far, mut calls) = agent_with(&sealed(true)).await;
    let there = address(&far, Transport::Tls);
    let to = format!("sips:1000@{there}");
    let (_leg, mut events) = near.dial(call(to.clone())).await.expect("dialled");
    let mut far_call = incoming(&mut calls).await;
    far_call.leg.answer(&sdp("callee")).await.expect("answered");
    assert_eq!(answered(&mut events).await, sdp("callee"));
    far_call.leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
    assert_eq!(ending(&mut far_call.events).await, (200, EndedBy::Us));
    // By the system's authorities it is nobody.
    let (wary, _calls) = agent_with(&sealed(false)).await;
    let (_leg, mut events) = wary.dial(call(to)).await.expect("dialled");
    assert_eq!(ending(&mut events).await, (503, EndedBy::Nobody));
    nothing_is_left(&near).await;
    nothing_is_left(&far).await;
}

#[tokio::test]
async fn a_phone_in_a_browser_registers_and_is_called() {
    let user = "listen = [\"udp:127.0.0.1:0\", \"ws:127.0.0.1:0\"]\n\
                [[user]]\nname = \"anna\"\npassword = \"s3cret\"\n";
    let (agent, _calls) = agent_with(user).await;
    let there = address(&agent, Transport::Ws);
    let mut request = format!("ws://{there}/")
        .into_client_request()
        .expect("a request");
    let protocol = HeaderValue::from_static("sip");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let connected = tokio_tungstenite::connect_async(request).await;
    let (mut socket, response) = connected.expect("connected");
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    let mut next = async |said: Option<String>| {
        if let Some(said) = said {
            let sent = socket.send(tungstenite::Message::text(said)).await;
            sent.expect("it goes out");
        }
        loop {
            let heard = tokio::time::timeout(PATIENCE, socket.next()).await;
            let message = heard
                .expect("in time")
                .expect("a message")
                .expect("a message");
            if let Ok(text) = message.into_text()
                && !text.trim().is_empty()
            {
                return Message(text.to_string());
            }
        }
    };
    let register = |cseq: u32, headers: &str| {
        format!(
            "REGISTER sip:crosspoint SIP/2.0\r\n\
             Via: SIP/2.0/WS x.invalid;branch=z9hG4bK{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:anna@crosspoint>;tag=1\r\nTo: <sip:anna@crosspoint>\r\nCall-ID: ws\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:anna@x.invalid;transport=ws>\r\n{headers}\
             Content-Length: 0\r\n\r\n"
        )
    };
    let asked = next(Some(register(1, ""))).await;
    assert_eq!(asked.code(), 401, "{asked:?}");
    let proof = digest(&asked, "anna", "s3cret", "REGISTER", "sip:crosspoint");
    let registered = next(Some(register(2, &proof))).await;
    assert_eq!(registered.code(), 200, "{registered:?}");

    let (leg, mut events) = agent.dial(call("anna")).await.expect("dialled");
    let invite = next(None).await;
    assert_eq!(invite.method(), "INVITE", "{invite:?}");
    assert!(
        invite.header("Via").starts_with("SIP/2.0/WS "),
        "{invite:?}"
    );
    let reply = |request: &Message, code: u16, body: &str| {
        let to = request.header("To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=ws" };
        let copied = ["Via", "From", "Call-ID", "CSeq"].map(|n| (n, request.header(n)));
        let copied: String = copied
            .iter()
            .map(|(n, v)| format!("{n}: {v}\r\n"))
            .collect();
        format!(
            "SIP/2.0 {code} As told\r\n{copied}To: {to}{tag}\r\n\
             Contact: <sip:anna@x.invalid;transport=ws>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let ack = next(Some(reply(&invite, 200, &text("browser")))).await;
    assert_eq!(ack.method(), "ACK", "{ack:?}");
    let LegEvent::Answered(answer) = event(&mut events).await else {
        panic!("no answer");
    };
    assert_eq!(answer, sdp("browser"));
    leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Us));
    let bye = next(None).await;
    assert_eq!(bye.method(), "BYE", "{bye:?}");
}

/// A connection from this address of loopback.
async fn connect(there: SocketAddr, from: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let own = SocketAddr::from(([127, 0, 0, from], 0));
    socket.bind(own).expect("loopback");
    socket.connect(there).await.expect("connected")
}

/// Waits until the other end has closed it.
async fn is_closed(connection: &mut TcpStream) {
    let read = timeout(PATIENCE, connection.read(&mut [0])).await;
    let read = read.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

/// Whether it is open, and stays so.
async fn is_open(connection: &mut TcpStream, pause: Duration) -> bool {
    timeout(pause, connection.read(&mut [0])).await.is_err()
}

const SHORTLY: Duration = Duration::from_millis(50);

#[tokio::test]
async fn as_many_connections_as_may_be_and_one_more() {
    // A long T1: none is closed for its silence.
    let (agent, _calls) = agent_with("t1 = 5000\nlisten = [\"tcp:127.0.0.1:0\"]").await;
    let there = address(&agent, Transport::Tcp);
    let mut connections = Vec::new();
    for _ in 0..256 {
        connections.push(connect(there, 1).await);
    }
    is_closed(&mut connect(there, 1).await).await;
    assert_eq!(agent.counters().floods, 1, "the 257th of one address");
    for from in 2..5 {
        for _ in 0..256 {
            connections.push(connect(there, from).await);
        }
    }
    is_closed(&mut connect(there, 5).await).await;
    assert_eq!(agent.counters().floods, 2, "the 1,025th of all");
    for connection in &mut connections[..4] {
        assert!(is_open(connection, SHORTLY).await, "the others stay");
    }
    drop(connections);
    // Those that have gone make room, for all and for the one address.
    let kept = async { while !is_open(&mut connect(there, 1).await, SHORTLY).await {} };
    timeout(PATIENCE, kept).await.expect("there is room again");
}

#[tokio::test]
async fn a_connection_that_says_no_whole_message_is_closed_early() {
    let (agent, _calls) = agent_with("listen = [\"tcp:127.0.0.1:0\"]").await;
    let there = address(&agent, Transport::Tcp);
    let options = |length: usize| {
        format!(
            "OPTIONS sip:x@{there} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: i\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    let whole = options(0);
    let mut speaks = connect(there, 1).await;
    speaks.write_all(whole.as_bytes()).await.expect("said");
    let mut room = [0; 2_048];
    let heard = timeout(PATIENCE, speaks.read(&mut room)).await;
    let octets = heard.expect("an answer in time").expect("an answer");
    assert!(room[..octets].starts_with(b"SIP/2.0 200 "));
    // Nothing, half a head, a body that does not come, and lines that are no message.
    let begun = [
        String::new(),
        whole[..60].to_owned(),
        options(9),
        "\r\n\r\n".repeat(9),
    ];
    let mut silent = Vec::new();
    for text in &begun {
        let mut connection = connect(there, 2).await;
        connection.write_all(text.as_bytes()).await.expect("said");
        silent.push(connection);
    }
    // 20 T1 are a second here.
    let began = tokio::time::Instant::now();
    for connection in &mut silent {
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, connection.read_to_end(&mut rest)).await;
        let _closed_or_reset = ended.expect("closed in time");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{began:?}");
    assert_eq!(agent.counters().silent, 4);
    assert!(is_open(&mut speaks, SHORTLY).await, "it has said something");
}
