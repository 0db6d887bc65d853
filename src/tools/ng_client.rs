//! A client of the ng control protocol over UDP: bencoded requests behind a cookie, sent again
//! with the same cookie until answered, one at a time or many in flight.
//!
//! Retries follow what SIP proxies do (one second, five tries), so that the switch sees the
//! traffic it will see in the field.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::wire::{bencode, ng};

/// How long a reply is waited for before the request is sent again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often a request is sent before it is given up.
pub const TRIES_MAX: u32 = 5;

/// Largest reply that fits a UDP datagram.
const REPLY_BYTES_MAX: usize = 65_536;

/// One request being written: a bencoded dictionary that starts with its `command`.
#[derive(Clone, Debug)]
pub struct Request(ng::Value<'static>);

impl Request {
    /// A request with nothing but its command.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self(ng::Value::dict()).text("command", command)
    }

    /// Adds a string under `key`.
    #[must_use]
    pub fn text(self, key: &'static str, value: &str) -> Self {
        Self(self.0.with(key, value.to_owned()))
    }

    /// Adds a list of strings under `key`.
    #[must_use]
    pub fn list(self, key: &'static str, values: &[&str]) -> Self {
        let owned = |value: &&str| ng::Value::from((*value).to_owned());
        let values: Vec<_> = values.iter().map(owned).collect();
        Self(self.0.with(key, values))
    }

    /// Adds a dictionary of lists of strings under `key`, such as `codec`.
    #[must_use]
    pub fn lists(self, key: &'static str, lists: &[(&'static str, &[&str])]) -> Self {
        let mut entries = Self(ng::Value::dict());
        for (name, values) in lists {
            entries = entries.list(name, values);
        }
        Self(self.0.with(key, entries.0))
    }

    /// The finished dictionary, without a cookie.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bencode::encode(&self.0, &mut bytes);
        bytes
    }
}

/// Reads one bencoded value that fills `bytes` entirely, as JSON: a reply is looked into by path.
/// Strings that are not UTF-8 get replacement characters; of a key given twice the last one counts.
fn read_reply(bytes: &[u8]) -> Result<Value> {
    let (value, used) = bencode::decode(bytes)?;
    ensure!(used == bytes.len(), "bytes after the value, at {used}");
    Ok(to_json(&value))
}

/// Recurses no deeper than the reader let the value be.
fn to_json(value: &ng::Value<'_>) -> Value {
    match value {
        ng::Value::Str(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        ng::Value::Int(n) => Value::from(*n),
        ng::Value::List(items) => items.iter().map(to_json).collect(),
        ng::Value::Dict(entries) => entries
            .iter()
            .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), to_json(value)))
            .collect(),
    }
}

/// The reply itself, or an error that carries the switch's reason when `result` is not a success.
///
/// # Errors
/// When the reply says `error`, `load limit` or nothing about its result.
pub fn accepted(reply: &Value) -> Result<&Value> {
    match reply["result"].as_str() {
        Some("ok" | "pong") => Ok(reply),
        Some(other) => {
            let reason = reply["error-reason"]
                .as_str()
                .or_else(|| reply["message"].as_str());
            bail!(
                "the switch answered {other}: {}",
                reason.unwrap_or("no reason given")
            )
        }
        None => bail!("a reply without a result: {reply}"),
    }
}

/// A connection-less conversation with one switch.
#[derive(Debug)]
pub struct NgClient {
    socket: UdpSocket,
    prefix: String,
    next: u64,
    buffer: Vec<u8>,
    retry_after: Duration,
    tries_max: u32,
}

/// A request that has no reply yet.
struct Pending {
    lane: usize,
    datagram: Vec<u8>,
    first_sent: Instant,
    retry_at: Instant,
    tries: u32,
}

impl NgClient {
    /// Opens a socket towards `switch`. Nothing is sent yet.
    ///
    /// # Errors
    /// When no local socket can be bound.
    pub fn connect(switch: SocketAddr) -> Result<Self> {
        let any = if switch.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).context("no socket for ng")?;
        socket
            .connect(switch)
            .with_context(|| format!("no way to {switch}"))?;
        let prefix = format!("{:x}_{:x}", std::process::id(), fastrand::u32(..));
        Ok(Self {
            socket,
            prefix,
            next: 0,
            buffer: vec![0; REPLY_BYTES_MAX],
            retry_after: RETRY_AFTER,
            tries_max: TRIES_MAX,
        })
    }

    /// Whether the switch answers a ping, sent once, within `patience`.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn is_answered(&mut self, patience: Duration) -> Result<bool> {
        let (retry_after, tries_max) = (self.retry_after, self.tries_max);
        (self.retry_after, self.tries_max) = (patience, 1);
        let reply = self.request(Request::new("ping"));
        (self.retry_after, self.tries_max) = (retry_after, tries_max);
        Ok(reply.is_ok_and(|reply| reply["result"] == "pong"))
    }

    /// Sends one request and waits for its reply, whatever that says (see [`accepted`]).
    ///
    /// # Errors
    /// When no reply came after [`TRIES_MAX`] tries, or it is not bencode.
    pub fn request(&mut self, request: Request) -> Result<Value> {
        let mut request = Some(request.encode());
        let mut reply = None;
        self.lanes(1, |_, answer| {
            if let Some((value, _)) = answer {
                reply = Some(value.clone());
            }
            Ok(request.take())
        })?;
        reply.context("no reply")
    }

    /// Keeps up to `lanes` requests in flight. `next` is asked for a lane's first request with
    /// `None`, then each time its reply is there (with the time since it was first sent); the
    /// lane rests once it returns `None`. Returns the number of retransmissions.
    ///
    /// # Errors
    /// Those of `next`, of the socket, and when a request stays unanswered.
    pub fn lanes<F>(&mut self, lanes: usize, mut next: F) -> Result<u64>
    where
        F: FnMut(usize, Option<(&Value, Duration)>) -> Result<Option<Vec<u8>>>,
    {
        let mut pending: HashMap<u64, Pending> = HashMap::with_capacity(lanes);
        let mut retransmissions = 0;
        for lane in 0..lanes {
            if let Some(body) = next(lane, None)? {
                self.send(lane, &body, &mut pending)?;
            }
        }
        self.socket.set_read_timeout(Some(self.retry_after / 10))?;
        let mut check_at = Instant::now() + self.retry_after;
        while !pending.is_empty() {
            if let Some((cookie, value)) = self.receive()?
                && let Some(done) = pending.remove(&cookie)
                && let Some(body) = next(done.lane, Some((&value, done.first_sent.elapsed())))?
            {
                self.send(done.lane, &body, &mut pending)?;
            }
            if Instant::now() >= check_at {
                retransmissions += self.retry(&mut pending)?;
                check_at = Instant::now() + self.retry_after / 10;
            }
        }
        Ok(retransmissions)
    }

    fn send(&mut self, lane: usize, body: &[u8], to: &mut HashMap<u64, Pending>) -> Result<()> {
        let cookie = self.next;
        self.next += 1;
        let mut datagram = format!("{}_{cookie} ", self.prefix).into_bytes();
        datagram.extend_from_slice(body);
        let now = Instant::now();
        // A refused connection is a switch that is not there yet: the retry will tell.
        let _ = self.socket.send(&datagram);
        let retry_at = now + self.retry_after;
        to.insert(
            cookie,
            Pending {
                lane,
                datagram,
                first_sent: now,
                retry_at,
                tries: 1,
            },
        );
        Ok(())
    }

    /// The next reply to one of our cookies; `None` when nothing came or it was not ours.
    fn receive(&mut self) -> Result<Option<(u64, Value)>> {
        let length = match self.socket.recv(&mut self.buffer) {
            Ok(length) => length,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                // The ICMP error comes at once; without a pause the tries would be over in no time.
                std::thread::sleep(Duration::from_millis(20));
                return Ok(None);
            }
            Err(e) => return Err(e).context("ng socket"),
        };
        let datagram = &self.buffer[..length];
        let Some(space) = datagram.iter().position(|b| *b == b' ') else {
            return Ok(None);
        };
        let ours = std::str::from_utf8(&datagram[..space])
            .ok()
            .and_then(|cookie| {
                cookie
                    .strip_prefix(&self.prefix)?
                    .strip_prefix('_')?
                    .parse()
                    .ok()
            });
        let Some(cookie) = ours else { return Ok(None) };
        Ok(Some((
            cookie,
            read_reply(&datagram[space + 1..]).context("reply is not bencode")?,
        )))
    }

    fn retry(&self, pending: &mut HashMap<u64, Pending>) -> Result<u64> {
        let now = Instant::now();
        let mut sent = 0;
        for request in pending.values_mut().filter(|p| p.retry_at <= now) {
            ensure!(
                request.tries < self.tries_max,
                "no reply from {} after {} tries",
                self.socket.peer_addr()?,
                self.tries_max,
            );
            let _ = self.socket.send(&request.datagram);
            request.tries += 1;
            request.retry_at = now + self.retry_after;
            sent += 1;
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_are_bencode() {
        let bytes = Request::new("ping")
            .text("call-id", "ä")
            .list("flags", &["a", "bc"])
            .encode();
        assert_eq!(
            bytes,
            "d7:command4:ping7:call-id2:ä5:flagsl1:a2:bcee".as_bytes()
        );
    }

    #[test]
    fn replies_are_read_whole_as_json() {
        let reply = b"d1:ai-12e1:bl3:xyzd1:k0:eee";
        let value = json!({"a": -12, "b": ["xyz", {"k": ""}]});
        assert_eq!(read_reply(reply).unwrap(), value);
        assert_eq!(read_reply(b"2:\xFFx").unwrap(), "\u{FFFD}x");
        assert_eq!(read_reply(b"d1:ai1e1:ai2ee").unwrap(), json!({"a": 2}));
        for end in 0..reply.len() {
            assert!(read_reply(&reply[..end]).is_err(), "{end} bytes were read");
        }
        assert!(read_reply(b"i1ei2e").is_err());
    }

    #[test]
    fn a_lost_reply_is_asked_for_again_with_the_same_cookie() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut client = NgClient::connect(server.local_addr().unwrap()).unwrap();
        let serving = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            let (first, _) = server.recv_from(&mut buffer).unwrap();
            let lost = buffer[..first].to_vec();
            let (second, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(lost, &buffer[..second]);
            let space = lost.iter().position(|b| *b == b' ').unwrap();
            // Another's reply comes first and must not be taken.
            server.send_to(b"other_0 d6:result5:errore", from).unwrap();
            let reply = [&lost[..=space], b"d6:result4:ponge"].concat();
            server.send_to(&reply, from).unwrap();
        });
        let reply = client.request(Request::new("ping")).unwrap();
        assert_eq!(accepted(&reply).unwrap()["result"], "pong");
        serving.join().unwrap();
    }

    #[test]
    fn lanes_keep_their_order_and_their_number_in_flight() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut client = NgClient::connect(server.local_addr().unwrap()).unwrap();
        let serving = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            for _ in 0..12 {
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                let space = buffer[..length].iter().position(|b| *b == b' ').unwrap();
                let reply = [&buffer[..=space], b"d6:result2:oke"].concat();
                server.send_to(&reply, from).unwrap();
            }
        });
        let mut answered = [0; 4];
        let retransmissions = client.lanes(4, |lane, reply| {
            answered[lane] += usize::from(reply.is_some());
            Ok((answered[lane] < 3).then(|| Request::new("ping").encode()))
        });
        assert_eq!(retransmissions.unwrap(), 0);
        assert_eq!(answered, [3; 4]);
        serving.join().unwrap();
    }

    #[test]
    fn a_refusal_carries_its_reason() {
        let reply = json!({"result": "error", "error-reason": "Unknown call-id"});
        assert!(
            accepted(&reply)
                .unwrap_err()
                .to_string()
                .contains("Unknown call-id")
        );
        assert!(accepted(&json!({})).is_err());
    }
}
