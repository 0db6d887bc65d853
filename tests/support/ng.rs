//! An ng client: requests as JSON values, sent as bencode or JSON over UDP.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// As Kamailio does it: one second, five tries, always the same cookie.
const TRY: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

#[derive(Debug)]
pub struct Ng {
    socket: UdpSocket,
    cookies: u32,
}

impl Ng {
    pub fn new(switch: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
        socket.connect(switch).expect("loopback");
        Self {
            socket,
            cookies: fastrand::u32(..),
        }
    }

    /// Sends a request in bencode and returns the reply. Panics when none comes.
    pub fn request(&mut self, request: &Value) -> Value {
        let cookie = self.cookie();
        let reply = self.exchange(&cookie, &bencode(request));
        unbencode(&reply)
    }

    /// The same in JSON.
    pub fn request_json(&mut self, request: &Value) -> Value {
        let cookie = self.cookie();
        let reply = self.exchange(&cookie, request.to_string().as_bytes());
        serde_json::from_slice(&reply).expect("a JSON reply to a JSON request")
    }

    /// As [`Self::request`], and the result must be `ok`.
    pub fn ok(&mut self, request: &Value) -> Value {
        let reply = self.request(request);
        assert_eq!(reply["result"], "ok", "{request} was answered {reply}");
        reply
    }

    pub fn cookie(&mut self) -> String {
        self.cookies = self.cookies.wrapping_add(1);
        format!("t{:x}_{:x}", std::process::id(), self.cookies)
    }

    /// Sends `cookie SP body` until its reply comes; returns the reply's body.
    pub fn exchange(&mut self, cookie: &str, body: &[u8]) -> Vec<u8> {
        let datagram = [cookie.as_bytes(), b" ", body].concat();
        for _ in 0..TRIES {
            let _ = self.socket.send(&datagram);
            if let Some(reply) = self.reply_to(cookie, TRY) {
                return reply;
            }
        }
        panic!(
            "no reply to {}",
            String::from_utf8_lossy(&datagram[..datagram.len().min(400)])
        );
    }

    /// Waits for the reply that carries `cookie`; drops all others.
    pub fn reply_to(&mut self, cookie: &str, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end
                .checked_duration_since(Instant::now())
                .filter(|d| !d.is_zero())?;
            self.socket
                .set_read_timeout(Some(left))
                .expect("a non-zero timeout");
            // A refused send of the past shows up here as an error: keep waiting.
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let reply = buffer[..length].strip_prefix(cookie.as_bytes());
            if let Some(body) = reply.and_then(|rest| rest.strip_prefix(b" ")) {
                return Some(body.to_vec());
            }
        }
    }

    /// Sends bytes as they are and waits for nothing.
    pub fn send_raw(&self, bytes: &[u8]) {
        let _ = self.socket.send(bytes);
    }

    /// One ping, one second: whether the switch still answers at once.
    pub fn answers_ping(&mut self) -> bool {
        let cookie = self.cookie();
        self.send_raw(format!("{cookie} d7:command4:pinge").as_bytes());
        self.reply_to(&cookie, TRY)
            .is_some_and(|body| body == b"d6:result4:ponge")
    }

    /// The calls the switch has now.
    pub fn calls(&mut self) -> Vec<String> {
        let reply = self.ok(&serde_json::json!({"command": "list", "limit": 1000}));
        let calls = reply["calls"].as_array().expect("a list of calls");
        calls
            .iter()
            .map(|id| id.as_str().expect("a call-id").to_owned())
            .collect()
    }
}

/// Bencode of a JSON value. Booleans, null and fractions do not exist there.
pub fn bencode(value: &Value) -> Vec<u8> {
    let text = |s: &str| [s.len().to_string().as_bytes(), b":", s.as_bytes()].concat();
    match value {
        Value::Number(number) => format!("i{number}e").into_bytes(),
        Value::String(string) => text(string),
        Value::Array(list) => [
            b"l".to_vec(),
            list.iter().flat_map(bencode).collect(),
            b"e".to_vec(),
        ]
        .concat(),
        Value::Object(dictionary) => {
            let body = dictionary
                .iter()
                .flat_map(|(k, v)| [text(k), bencode(v)].concat());
            [b"d".to_vec(), body.collect(), b"e".to_vec()].concat()
        }
        Value::Bool(_) | Value::Null => panic!("bencode has no {value}"),
    }
}

/// The JSON value of bencoded bytes; panics unless they are exactly one value.
pub fn unbencode(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = take_value(&mut rest);
    assert!(
        rest.is_empty(),
        "bytes after the reply: {}",
        String::from_utf8_lossy(rest)
    );
    value
}

fn take_value(rest: &mut &[u8]) -> Value {
    match rest.first().expect("a value") {
        b'i' => {
            *rest = &rest[1..];
            Value::from(take_number(rest, b'e'))
        }
        b'l' => {
            *rest = &rest[1..];
            let mut list = Vec::new();
            while !at_end(rest) {
                list.push(take_value(rest));
            }
            Value::Array(list)
        }
        b'd' => {
            *rest = &rest[1..];
            let mut dictionary = Map::new();
            while !at_end(rest) {
                let key = take_text(rest);
                let value = take_value(rest);
                assert!(
                    dictionary.insert(key.clone(), value).is_none(),
                    "two keys {key}"
                );
            }
            Value::Object(dictionary)
        }
        _ => Value::String(take_text(rest)),
    }
}

fn at_end(rest: &mut &[u8]) -> bool {
    let end = rest.first() == Some(&b'e');
    if end {
        *rest = &rest[1..];
    }
    end
}

fn take_number(rest: &mut &[u8], stop: u8) -> i64 {
    let length = rest
        .iter()
        .position(|b| *b == stop)
        .expect("the end of a number");
    let number = std::str::from_utf8(&rest[..length])
        .expect("digits")
        .parse()
        .expect("a number");
    *rest = &rest[length + 1..];
    number
}

fn take_text(rest: &mut &[u8]) -> String {
    let length = usize::try_from(take_number(rest, b':')).expect("a length");
    let (text, after) = rest.split_at(length);
    *rest = after;
    String::from_utf8(text.to_vec()).expect("UTF-8 in replies")
}

#[test]
fn bencode_there_and_back() {
    let value = serde_json::json!({"a": 1, "b": ["x", {"y": -3}], "": "ü"});
    assert_eq!(unbencode(&bencode(&value)), value);
}
