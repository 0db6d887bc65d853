//! The doors of the control side, asked of the whole process: who is let in, for how long, and
//! what is told at the start.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crosspoint::control::http::{HTTP_BODY_MAX, HTTP_CONNECTIONS_MAX, WEBSOCKETS_MAX};
use serde_json::json;
use support::party::{Call, Party, offer};
use support::ports::Ports;
use support::switch::Switch;
use support::{PATIENCE, wait_until};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest as _};

fn http(at: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("the HTTP port");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("{head}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .arg("serve")
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("our binary")
}

fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = start(arguments, variables);
    assert!(!output.status.success(), "{arguments:?} {variables:?}");
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned()
}

/// A connection on which the switch has answered once, and keeps open.
fn kept_alive(at: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(at).expect("the HTTP port");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(pong(&mut stream), "the switch answers");
    stream
}

/// Whether a ping is answered within the stream's timeout.
fn pong(stream: &mut TcpStream) -> bool {
    let sent = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n");
    sent.expect("a request");
    answered(stream)
}

fn answered(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"pong\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
        }
    }
    true
}

#[test]
fn one_http_connection_too_many_waits_for_its_turn() {
    let switch = Switch::start();
    let mut held: Vec<_> = (0..HTTP_CONNECTIONS_MAX)
        .map(|_| kept_alive(switch.http))
        .collect();
    let mut waits = TcpStream::connect(switch.http).expect("the kernel's backlog");
    let short = Some(Duration::from_millis(500));
    waits.set_read_timeout(short).expect("a timeout");
    assert!(!pong(&mut waits), "answered beyond the limit");
    held.pop();
    waits.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(answered(&mut waits), "its turn has come");
}

#[test]
fn a_body_may_have_its_length_and_no_byte_more() {
    let switch = Switch::start();
    let status = |len: usize| {
        let mut stream = TcpStream::connect(switch.http).expect("the HTTP port");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let head = "POST /ng-plain HTTP/1.1\r\nHost: localhost\r\nConnection: close";
        let request = format!("{head}\r\nContent-Length: {len}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a head");
        // It may be refused before all of it is sent.
        let _refused = stream.write_all(&vec![b'x'; len]);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("a status");
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(status(HTTP_BODY_MAX), "HTTP/1.1 200");
    assert_eq!(status(HTTP_BODY_MAX + 1), "HTTP/1.1 413");
}

type WebSocket = tungstenite::WebSocket<TcpStream>;

fn websocket(at: SocketAddr) -> Result<WebSocket, Box<tungstenite::Error>> {
    let stream = TcpStream::connect(at).expect("the HTTP port");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut request = format!("ws://{at}/ws")
        .into_client_request()
        .expect("a URL");
    let protocol = "echo.rtpengine.com".parse().expect("a header");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_websocket_message_may_have_its_length_and_no_byte_more() {
    let switch = Switch::start();
    let mut socket = websocket(switch.http).expect("a WebSocket");
    let longest = Message::binary(vec![7; HTTP_BODY_MAX]);
    socket.send(longest.clone()).expect("sent");
    assert_eq!(socket.read().expect("its echo"), longest);
    let _refused = socket.send(Message::binary(vec![7; HTTP_BODY_MAX + 1]));
    let end = socket.read();
    assert!(matches!(end, Err(_) | Ok(Message::Close(_))), "{end:?}");
}

#[test]
fn one_websocket_too_many_is_refused_until_another_leaves() {
    let switch = Switch::start();
    let mut held: Vec<_> = (0..WEBSOCKETS_MAX)
        .map(|_| websocket(switch.http).expect("a WebSocket"))
        .collect();
    match websocket(switch.http).map_err(|e| *e) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    assert!(http(switch.http, "GET /ping HTTP/1.1\r\nHost: localhost").contains("pong"));
    held.pop();
    wait_until("a place is free", || websocket(switch.http).is_ok());
}

#[test]
fn a_get_never_ends_a_call() {
    let switch = Switch::start();
    let mut ng = switch.client();
    ng.ok(&offer("kept", "a", &Party::new("127.0.0.1", 440.0).sdp()));
    for path in ["/cli/kill/kept", "/cli/%20kill/kept", "/cli/%09kill%20kept"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost");
        let answer = http(switch.http, &head);
        assert!(answer.starts_with("HTTP/1.1 405"), "{path}: {answer}");
    }
    assert_eq!(ng.calls(), ["kept"]);
    let answer = http(switch.http, "GET /cli/list HTTP/1.1\r\nHost: localhost");
    assert!(answer.contains("kept"), "{answer}");
}

#[test]
fn without_a_token_a_foreign_host_name_is_refused() {
    let switch = Switch::start();
    let ask = |host: &str| {
        let head = format!("GET /cli/list HTTP/1.1\r\nHost: {host}");
        http(switch.http, &head)[..12].to_owned()
    };
    assert_eq!(ask(&switch.http.to_string()), "HTTP/1.1 200");
    assert_eq!(ask("localhost:1"), "HTTP/1.1 200");
    assert_eq!(ask("evil.example"), "HTTP/1.1 403");
    let health = http(switch.http, "GET /healthz HTTP/1.1\r\nHost: evil.example");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
}

#[test]
fn a_client_that_leaves_does_not_leave_half_a_call() {
    let switch = Switch::start();
    let mut ng = switch.client();
    for round in 0..50 {
        let id = format!("left-{round}");
        let sdp = Party::new("127.0.0.1", 440.0).sdp();
        ng.ok(&offer(&id, "a", &sdp));
        let body = format!(r#"{{"command":"delete","call-id":"{id}","from-tag":"a"}}"#);
        let mut stream = TcpStream::connect(switch.http).expect("the HTTP port");
        let head = "POST /ng-plain HTTP/1.1\r\nHost: localhost";
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("a request");
        drop(stream);
        // It may have left before its request was read. Begun or not, the call can be ended.
        ng.ok(&json!({"command": "delete", "call-id": id, "from-tag": "a"}));
        wait_until("the call is gone", || ng.calls().is_empty());
    }
    // A call that was taken out and never finished would count for ever.
    for metric in ["crosspoint_calls ", "crosspoint_ports_used{"] {
        wait_until("nothing of the calls is left", || {
            let metrics = http(switch.http, "GET /metrics HTTP/1.1\r\nHost: localhost");
            let line = metrics.lines().find(|l| l.starts_with(metric));
            line.expect("the metric").ends_with(" 0")
        });
    }
}

#[test]
fn a_delayed_delete_needs_matching_tags_and_the_latest_counts() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let call = Call::new(&mut ng);
    let delete = |tag: &str, delay: u32| {
        let mut request = json!({"command": "delete", "call-id": call.id, "from-tag": tag});
        request["delete-delay"] = delay.into();
        request
    };
    let reply = ng.ok(&delete("nobody", 1));
    assert_eq!(reply["warning"], "Call-ID not found or tags didn't match");
    let begin = Instant::now();
    ng.ok(&delete("tag-a", 1));
    ng.ok(&delete("tag-a", 3));
    std::thread::sleep(Duration::from_millis(1_800));
    assert_eq!(ng.calls().len(), 1, "the second delete moved the first");
    wait_until("the call is gone", || ng.calls().is_empty());
    assert!(begin.elapsed() >= Duration::from_secs(3));
}

#[test]
fn what_cannot_start_says_why_once() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let http = "127.0.0.1:0";
    let error = refusal(&["--ng", &address, "--http", http, "--log", "off"], &[]);
    let why = "Address already in use (os error 98)";
    assert_eq!(
        error,
        format!("crosspoint: cannot listen on {address} for ng: {why}")
    );
    assert_eq!(
        refusal(&["--config", "/nowhere.toml"], &[]),
        "crosspoint: cannot read /nowhere.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_check_finds_what_would_stop_the_start() {
    assert_eq!(start(&["--check"], &[]).stdout, b"ok\n");
    for (arguments, why) in [
        (
            ["--check", "--interface", "a/127.0.0"],
            "interface: `127.0.0`",
        ),
        (["--check", "--ports", "2001-2004"], "ports: '2001-2004'"),
        (
            ["--check", "--log", "crosspoint=loud"],
            "log: 'crosspoint=loud'",
        ),
    ] {
        let error = refusal(&arguments, &[]);
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
    let error = refusal(&["--check"], &[("CROSSPOINT_WORKRS", "2")]);
    assert!(error.contains("CROSSPOINT_WORKRS"), "{error}");
    for known in ["CROSSPOINT_WORKERS", "CROSSPOINT_TEST_ANYTHING"] {
        assert!(start(&["--check"], &[(known, "2")]).status.success());
    }
}

#[test]
fn a_second_sigterm_ends_the_drain() {
    let mut ports = Ports::reserve(12);
    let (ng, web) = (ports.next(), ports.next());
    let media = ports.next_range(8);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut child = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .args(["serve", "--drain-timeout", "600", "--sip-listen", "off"])
        .args(["--ng", &at(ng).to_string(), "--http", &at(web).to_string()])
        .args(["--ports", &format!("{}-{}", media.0, media.1)])
        .stderr(Stdio::null())
        .spawn()
        .expect("our binary");
    let mut client = support::ng::Ng::new(at(ng));
    wait_until("it answers", || {
        TcpStream::connect(at(web)).is_ok() && client.answers_ping()
    });
    client.ok(&offer("kept", "a", &Party::new("127.0.0.1", 440.0).sdp()));
    let terminate = || {
        let status = Command::new("kill").arg(child.id().to_string()).status();
        assert!(status.expect("kill").success());
    };
    terminate();
    wait_until("it drains", || {
        http(at(web), "GET /healthz HTTP/1.1\r\nHost: localhost").contains("draining")
    });
    assert_eq!(client.calls(), ["kept"]);
    terminate();
    wait_until("it ended", || {
        child.try_wait().expect("our child").is_some()
    });
}
