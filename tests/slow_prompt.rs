//! A prompt whose server is slow, and what happens to its call meanwhile.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use support::ng::Ng;
use support::party::{Call, answer, offer};
use support::switch::Switch;

/// A server of one prompt; it answers when it is told.
struct Server(TcpListener);

impl Server {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn url(&self) -> String {
        format!("http://{}/prompt.wav", self.0.local_addr().expect("bound"))
    }

    /// Waits until it is asked.
    fn asked(&self) -> TcpStream {
        let (mut client, _) = self.0.accept().expect("a client");
        let (mut request, mut octet) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut octet).expect("a request");
            request.extend(octet);
        }
        client
    }

    /// Ten seconds of something loud.
    fn reply(mut client: TcpStream) {
        let pcm = [0x00, 0x20].repeat(80_000);
        let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(8_000_u32.to_le_bytes());
        wav.extend(16_000_u32.to_le_bytes());
        wav.extend(b"\x02\0\x10\0data");
        wav.extend(u32::try_from(pcm.len()).expect("short").to_le_bytes());
        wav.extend(pcm);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", wav.len());
        client.write_all(head.as_bytes()).expect("sent");
        client.write_all(&wav).expect("sent");
    }
}

/// Sends a request that is not answered soon.
fn later(at: SocketAddr, request: Value) -> JoinHandle<Value> {
    std::thread::spawn(move || Ng::new(at).request(&request))
}

fn switch() -> Switch {
    Switch::start_with("127.0.0.1", 64, &["--prompt-private-urls=true"])
}

fn play(call: &Call, url: &str) -> Value {
    json!({"command": "play media", "call-id": call.id, "from-tag": "tag-a", "file": url})
}

fn playing(ng: &mut Ng, call: &Call) -> Value {
    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    query["tags"]["tag-a"]["medias"][0]["playing"].clone()
}

#[test]
fn a_prompt_that_is_stopped_while_it_loads_never_begins() {
    let (switch, server) = (switch(), Server::new());
    let mut ng = switch.client();
    let call = Call::new(&mut ng);
    let pending = later(switch.ng, play(&call, &server.url()));
    let client = server.asked();
    ng.request(&json!({"command": "stop media", "call-id": call.id, "from-tag": "tag-a"}));
    Server::reply(client);
    let reply = pending.join().expect("a reply");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(playing(&mut ng, &call), json!([]), "{reply}");
    assert_eq!(reply["error-reason"], "Not currently playing media");
}

#[test]
fn a_prompt_that_loads_slowly_does_not_replace_a_later_one() {
    let (switch, slow, fast) = (switch(), Server::new(), Server::new());
    let mut ng = switch.client();
    let call = Call::new(&mut ng);
    let first = later(switch.ng, play(&call, &slow.url()));
    let client = slow.asked();
    let second = later(switch.ng, play(&call, &fast.url()));
    Server::reply(fast.asked());
    assert_eq!(second.join().expect("a reply")["result"], "ok");
    std::thread::sleep(Duration::from_millis(500));
    Server::reply(client);
    first.join().expect("a reply");
    std::thread::sleep(Duration::from_millis(100));
    let playing = playing(&mut ng, &call);
    let position = playing[0]["position"].as_i64().expect("a player");
    assert!(position >= 500, "the later one began anew: {playing}");
}

#[test]
fn a_prompt_of_a_call_that_ended_is_not_heard_by_the_next_of_its_name() {
    let (switch, server) = (switch(), Server::new());
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    let pending = later(switch.ng, play(&call, &server.url()));
    let client = server.asked();
    call.delete(&mut ng);
    let (a, b) = (call.a.sdp(), call.b.sdp());
    ng.ok(&offer(&call.id, "tag-a", &a));
    ng.ok(&answer(&call.id, "tag-a", "tag-b", &b));
    Server::reply(client);
    let reply = pending.join().expect("a reply");
    assert_eq!(reply["result"], "error", "{reply}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(playing(&mut ng, &call), json!([]));
}
