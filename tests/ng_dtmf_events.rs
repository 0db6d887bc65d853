//! Key presses of both parties of a running switch: each is told once, to the datagram log and to
//! the connections of the TCP door, whether it came as telephone-event or as tones.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test signals are far inside every range"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::ng::unbencode;
use support::party::{Party, answer, offer, target};
use support::ports::Ports;
use support::switch::Switch;
use support::{every_20_ms, key_tones, wait_until};

/// 20 ms of a key's tones from sample `at` on, each at −11 dBm0.
fn tones(key: u8, at: usize) -> Vec<u8> {
    let hz = key_tones::hz_of(key);
    let sample = |n| support::audio::ulaw_encode(key_tones::sample(hz, 6_300.0, 8_000.0, at + n));
    (0..160).map(sample).collect()
}

/// Where a switch sends its log of presses.
struct Log(UdpSocket);

impl Log {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("a socket");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    /// All datagrams that came.
    fn take(&self, into: &mut Vec<Value>) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.0.recv(&mut buffer) {
            into.push(serde_json::from_slice(&buffer[..len]).expect("JSON"));
        }
    }
}

/// Two parties on a switch.
struct Call {
    a: Party,
    b: Party,
    a_to: SocketAddr,
    b_to: SocketAddr,
}

fn sdp(party: &Party) -> String {
    let port = party.address().port();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

impl Call {
    /// Offer and answer carry `extra`.
    fn new(switch: &Switch, id: &str, tags: [&str; 2], extra: &Value) -> Self {
        let mut ng = switch.client();
        let (a, b) = (Party::new("127.0.0.1", 0.0), Party::new("127.0.0.1", 0.0));
        let with = |mut request: Value| {
            for (key, value) in extra.as_object().expect("keys") {
                request[key] = value.clone();
            }
            request
        };
        let told = ng.ok(&with(offer(id, tags[0], &sdp(&a))));
        let b_to = target(told["sdp"].as_str().expect("an SDP"));
        let told = ng.ok(&with(answer(id, tags[0], tags[1], &sdp(&b))));
        assert_eq!(told.get("warning"), None, "{told}");
        let a_to = target(told["sdp"].as_str().expect("an SDP"));
        Self { a, b, a_to, b_to }
    }

    /// Silence of both parties for so many packets.
    fn quiet(&mut self, packets: u32) {
        every_20_ms(packets, |_| {
            for (party, to) in [(&mut self.a, self.a_to), (&mut self.b, self.b_to)] {
                send_audio(party, to, vec![0xff; 160]);
            }
        });
    }

    /// A presses a key for so many packets of telephone-events, and B another by its tones.
    fn press(&mut self, by_a: u8, by_b: Option<u8>, packets: u16) {
        let began = self.a.timestamp;
        every_20_ms(u32::from(packets) + 3, |n| {
            let n = u16::try_from(n).expect("few");
            let ends = n >= packets;
            let ticks = (n + 1).min(packets) * 160;
            let [high, low] = ticks.to_be_bytes();
            let payload = vec![by_a, u8::from(ends) << 7 | 10, high, low];
            self.a.timestamp = began;
            self.a.send(self.a_to, 101, payload);
            self.a.timestamp = began.wrapping_add(160 * (u32::from(n) + 1));
            let said = match by_b {
                Some(key) if !ends => tones(key, usize::from(n) * 160),
                _ => vec![0xff; 160],
            };
            send_audio(&mut self.b, self.b_to, said);
        });
    }
}

fn send_audio(party: &mut Party, to: SocketAddr, payload: Vec<u8>) {
    party.send(to, 0, payload);
    party.timestamp = party.timestamp.wrapping_add(160);
}

/// What a connection of the TCP door is told, all of it.
struct Told {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Told {
    /// A connection that has had a reply: it is told from now on.
    fn connect(to: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(to).expect("the TCP door");
        stream.write_all(b"c1 d7:command4:pinge").expect("written");
        let mut reply = [0; 19];
        stream.read_exact(&mut reply).expect("a pong");
        assert_eq!(&reply, b"c1 d6:result4:ponge");
        stream.set_nonblocking(true).expect("a socket");
        Self {
            stream,
            bytes: Vec::new(),
        }
    }

    /// Messages so far: after a cookie of 16 hexadecimal digits, one dictionary each.
    fn take(&mut self) -> Vec<Value> {
        let mut buffer = [0; 65_536];
        while let Ok(len @ 1..) = self.stream.read(&mut buffer) {
            self.bytes.extend_from_slice(&buffer[..len]);
        }
        let mut scanner = crosspoint::wire::bencode::Scanner::default();
        let mut all = Vec::new();
        while self.bytes.len() > 17 {
            assert_eq!(self.bytes[16], b' ');
            assert!(self.bytes[..16].iter().all(u8::is_ascii_hexdigit));
            let scanned = scanner.advance(&self.bytes[17..]).expect("bencode");
            let Some(len) = scanned else { break };
            all.push(unbencode(&self.bytes[17..17 + len]));
            self.bytes.drain(..17 + len);
            scanner = crosspoint::wire::bencode::Scanner::default();
        }
        all
    }
}

#[test]
fn presses_of_both_parties_are_told_once_to_all_who_asked() {
    let mut ports = Ports::reserve(1);
    let tcp = SocketAddr::from(([127, 0, 0, 1], ports.next()));
    let door = tcp.to_string();
    let arguments = ["--ng-tcp", &door, "--dtmf-log-ng-tcp"];
    let mut switch = Switch::start_with("127.0.0.1", 32, &arguments);
    let (log, mut client) = (Log::new(), Told::connect(tcp));
    // Names that would break out of JSON that is put together by hand.
    let (id, tags) = ("dtmf\"},{\\", ["ann\"\n", "bob\\\u{1}"]);
    let extra = json!({
        "dtmf-log-dest": log.address().to_string(),
        "flags": ["detect-DTMF"],
        "set-label": "desk \"7\"",
    });
    let began = Instant::now();
    let mut call = Call::new(&switch, id, tags, &extra);
    call.quiet(10);
    call.press(5, Some(9), 6);
    call.quiet(5);
    call.press(5, None, 4);
    call.quiet(5);
    call.press(11, Some(9), 4);
    call.quiet(30);
    let (mut logged, mut notified) = (Vec::new(), Vec::new());
    wait_until("five presses are told", || {
        log.take(&mut logged);
        notified.extend(client.take());
        logged.len() >= 5 && notified.len() >= 5
    });
    // Nothing comes twice, and nothing after.
    std::thread::sleep(Duration::from_millis(500));
    log.take(&mut logged);
    notified.extend(client.take());
    let presses = |all: &[Value], tag: &str| -> Vec<(i64, i64)> {
        let of_tag = all.iter().filter(|press| press["source_tag"] == tag);
        of_tag
            .map(|press| {
                let number = |key: &str| press[key].as_i64().expect("a number");
                (number("event"), number("duration"))
            })
            .collect()
    };
    let data: Vec<Value> = notified.iter().map(|n| n["data"].clone()).collect();
    for all in [&logged, &data] {
        assert_eq!(presses(all, tags[0]), [(5, 120), (5, 80), (11, 80)]);
        let by_tones = presses(all, tags[1]);
        assert_eq!(by_tones.iter().map(|p| p.0).collect::<Vec<_>>(), [9, 9]);
        for ((_, ms), expected) in by_tones.iter().zip([120, 80]) {
            assert!((ms - expected).abs() <= 10, "{ms} ms, not {expected}");
        }
        for press in all {
            assert_eq!(press["callid"], id);
            assert_eq!(press["tags"], json!(tags));
            assert_eq!(press["type"], "DTMF");
            assert_eq!(press["source_label"], "desk \"7\"");
            assert_eq!(press["source_ip"], "127.0.0.1");
            assert!(
                (5..=15).contains(&press["volume"].as_i64().expect("a level")),
                "{press}"
            );
            assert!(press["timestamp"].as_i64().expect("a time") > 1_700_000_000);
        }
    }
    assert!(notified.iter().all(|notice| notice["notify"] == "onDTMF"));
    assert!(began.elapsed() > Duration::from_secs(1));
    // What was pressed is in no other place.
    let why = switch.why("dtmf%22%7D,%7B%5C");
    assert!(
        why.contains("200 OK") && !why.contains("EventCode("),
        "{why}"
    );
    switch.assert_alive();
}

#[test]
fn who_comes_by_connect_is_told_of_like_the_others() {
    let (switch, log) = (Switch::start(), Log::new());
    let extra = json!({"dtmf-log-dest": log.address().to_string()});
    let mut told = Call::new(&switch, "told", ["a", "b"], &extra);
    let mut other = Call::new(&switch, "other", ["c", "d"], &json!({}));
    told.quiet(5);
    other.quiet(5);
    switch.client().ok(&json!({
        "command": "connect", "call-id": "told", "from-tag": "a",
        "to-call-id": "other", "to-tag": "c",
    }));
    let mut logged = Vec::new();
    for (call, key) in [(&mut told, 3), (&mut other, 4)] {
        call.press(key, None, 5);
        call.quiet(20);
    }
    wait_until("both are told", || {
        log.take(&mut logged);
        logged.len() >= 2
    });
    let event = |press: &Value| (press["source_tag"].clone(), press["event"].clone());
    let events: Vec<_> = logged.iter().map(event).collect();
    assert_eq!(events, [(json!("a"), json!(3)), (json!("c"), json!(4))]);
    assert!(logged.iter().all(|press| press["callid"] == "told"));
}

#[test]
fn a_log_of_the_server_is_for_calls_without_their_own() {
    let (server, own) = (Log::new(), Log::new());
    let address = server.address().to_string();
    let mut switch = Switch::start_with("127.0.0.1", 32, &["--dtmf-log-dest", &address]);
    let (mut at_server, mut at_own) = (Vec::new(), Vec::new());
    let mut plain = Call::new(&switch, "plain", ["a", "b"], &json!({}));
    let extra = json!({"dtmf-log-dest": own.address().to_string()});
    let mut logged = Call::new(&switch, "own", ["c", "d"], &extra);
    for call in [&mut plain, &mut logged] {
        call.quiet(5);
        // Tones are not listened for: nobody asked.
        call.press(3, Some(4), 5);
        call.quiet(20);
    }
    wait_until("both are told", || {
        server.take(&mut at_server);
        own.take(&mut at_own);
        !at_server.is_empty() && !at_own.is_empty()
    });
    std::thread::sleep(Duration::from_millis(300));
    server.take(&mut at_server);
    own.take(&mut at_own);
    let events = |all: &[Value]| -> Vec<_> {
        let event = |press: &Value| (press["callid"].clone(), press["event"].clone());
        all.iter().map(event).collect()
    };
    assert_eq!(events(&at_server), [(json!("plain"), json!(3))]);
    assert_eq!(events(&at_own), [(json!("own"), json!(3))]);
    assert_eq!(at_own[0]["source_label"], "");
    // An address that is none is refused, and leaves no call.
    let mut ng = switch.client();
    for bad in [
        "127.0.0.1",
        "localhost:9",
        "127.0.0.1:0",
        "0.0.0.0:9",
        "239.0.0.1:9",
    ] {
        let mut request = offer("bad", "a", &sdp(&plain.a));
        request["dtmf-log-dest"] = json!(bad);
        let reply = ng.request(&request);
        assert_eq!(reply["result"], "error", "{bad}: {reply}");
        let reason = reply["error-reason"].as_str().expect("a reason");
        assert!(reason.starts_with("dtmf-log-dest is not"), "{reason}");
    }
    assert!(!ng.calls().contains(&"bad".to_owned()));
    switch.assert_alive();
}
