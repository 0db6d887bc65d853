//! `connect` asked of the whole process by ng: parties of one call and of two, joined without SDP.
//!
//! Every voice is a tone, found again by Goertzel in what the other party received and decoded.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test clocks are far inside every range"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crosspoint::audio::codec::CodecKind;
use serde_json::{Value, json};
use support::audio::wav;
use support::ng::Ng;
use support::party::{answer, offer, target};
use support::phone::{Heard, Phone};
use support::rtp::{self, Packet};
use support::switch::{Switch, scratch};
use support::{PTIME, every_20_ms, wait_until};

/// A phone in a call.
struct Leg {
    phone: Phone,
    to: SocketAddr,
    /// All it ever received.
    all: Vec<(Instant, Packet)>,
    spoke_at: Instant,
}

impl Leg {
    fn new(phone: Phone, told: &Value) -> Self {
        let to = target(told["sdp"].as_str().expect("an SDP"));
        Self {
            phone,
            to,
            all: Vec::new(),
            spoke_at: Instant::now(),
        }
    }

    /// Its clock went on while it was silent.
    fn resume(&mut self) {
        let silent = self.spoke_at.elapsed().saturating_sub(PTIME);
        let ticks = silent.as_millis() as u32 * (self.phone.kind.clock_hz() / 1_000);
        let timestamp = &mut self.phone.party.timestamp;
        *timestamp = timestamp.wrapping_add(ticks);
    }

    /// 20 ms of its tone.
    fn speak(&mut self) {
        self.spoke_at = Instant::now();
        self.phone.speak(self.to);
        self.phone.listen();
    }

    /// What it heard since it was asked last.
    fn take(&mut self) -> Heard {
        let heard = self.phone.take();
        self.all.extend(heard.packets.iter().cloned());
        heard
    }

    /// One stream from its first packet to its last, whatever happened: one SSRC, one number after
    /// the other, and a clock that never leaves the wall's by more than a busy machine does.
    #[track_caller]
    fn assert_one_clock(&mut self, who: &str) {
        self.take();
        let (first, last) = (&self.all[0], &self.all[self.all.len() - 1]);
        let packets: Vec<Packet> = self.all.iter().map(|(_, p)| p.clone()).collect();
        assert!(
            packets.iter().all(|p| p.ssrc == first.1.ssrc),
            "{who}: one source"
        );
        assert!(
            packets.iter().all(|p| p.pt == self.phone.pt),
            "{who}: its own codec"
        );
        assert_eq!(rtp::gaps(&packets), (0, true), "{who}: numbers");
        let clock_hz = self.phone.kind.clock_hz();
        let ticks = last.1.timestamp.wrapping_sub(first.1.timestamp);
        let media_ms = u64::from(ticks) * 1_000 / u64::from(clock_hz);
        let wall_ms = (last.0 - first.0).as_millis() as u64;
        let apart = media_ms.abs_diff(wall_ms);
        assert!(apart < 800, "{who}: {media_ms} ms of media in {wall_ms} ms");
    }
}

fn id() -> String {
    format!("connect-{:016x}", fastrand::u64(..))
}

/// Two phones in a call of their own.
fn call(ng: &mut Ng, id: &str, tags: [&str; 2], [a, b]: [Phone; 2]) -> [Leg; 2] {
    let told_b = ng.ok(&offer(id, tags[0], &a.sdp()));
    let told_a = ng.ok(&answer(id, tags[0], tags[1], &b.sdp()));
    [Leg::new(a, &told_a), Leg::new(b, &told_b)]
}

/// A further party that `from` calls.
fn branch(ng: &mut Ng, id: &str, from: &str, from_sdp: &str, tag: &str, phone: Phone) -> Leg {
    let mut offer = offer(id, from, from_sdp);
    offer["via-branch"] = json!(tag);
    let told = ng.ok(&offer);
    let mut answer = answer(id, from, tag, &phone.sdp());
    answer["via-branch"] = json!(tag);
    ng.ok(&answer);
    Leg::new(phone, &told)
}

fn connect(id: &str, from: &str, to: &str) -> Value {
    json!({"command": "connect", "call-id": id, "from-tag": from, "to-tag": to, "flags": []})
}

/// All speak for `count` packets of 20 ms.
fn talk(count: u32, legs: &mut [&mut Leg]) {
    legs.iter_mut().for_each(|leg| leg.resume());
    every_20_ms(count, |_| {
        for leg in &mut *legs {
            leg.speak();
        }
    });
    // What is under way arrives, on a busy machine too.
    std::thread::sleep(3 * PTIME);
    legs.iter_mut().for_each(|leg| leg.phone.listen());
}

#[track_caller]
fn refused(ng: &mut Ng, request: &Value, why: &str) {
    let reply = ng.request(request);
    assert_eq!(reply["result"], "error", "{reply}");
    assert_eq!(reply["error-reason"], why);
}

/// A talks with B and then with C, who has another codec; then B and C are joined.
fn joins_in_one_call(kind: CodecKind, pt: u8) {
    let switch = Switch::start();
    let mut ng = switch.client();
    let id = id();
    let a = Phone::new(CodecKind::Pcmu, 0, 600.0);
    let sdp_a = a.sdp();
    let b = Phone::new(CodecKind::Pcmu, 0, 1_000.0);
    let [mut a, mut b] = call(&mut ng, &id, ["a", "b"], [a, b]);
    talk(50, &mut [&mut a, &mut b]);
    a.take().assert_tone(1_000.0, "A");
    b.take().assert_tone(600.0, "B");
    let c = Phone::new(kind, pt, 1_400.0);
    // A is told that C speaks its codec: what A sent as PCMU is made into C's.
    let transcode = format!("{}/{}", kind, kind.clock_hz());
    let mut request = offer(&id, "a", &sdp_a);
    request["via-branch"] = json!("c");
    request["codec"] = json!({"transcode": [transcode.split('/').next()], "mask": ["PCMU"]});
    let told = ng.ok(&request);
    let mut request = answer(&id, "a", "c", &c.sdp());
    request["via-branch"] = json!("c");
    ng.ok(&request);
    let mut c = Leg::new(c, &told);
    talk(50, &mut [&mut a, &mut b, &mut c]);
    a.take().assert_tone(1_400.0, "A");
    c.take().assert_tone(600.0, "C");
    b.take();

    ng.ok(&connect(&id, "b", "c"));
    // What is under way to A arrives.
    talk(3, &mut [&mut a, &mut b, &mut c]);
    a.take();
    talk(60, &mut [&mut a, &mut b, &mut c]);
    b.take().assert_tone(1_400.0, "B, joined with C");
    c.take().assert_tone(1_000.0, "C, joined with B");
    assert_eq!(a.take().packets.len(), 0, "A talks with nobody any more");
    for (leg, who) in [(&mut b, "B"), (&mut c, "C")] {
        leg.assert_one_clock(who);
    }
    let reply = ng.ok(&json!({"command": "query", "call-id": id}));
    assert_eq!(reply["tags"].as_object().expect("tags").len(), 3, "{reply}");
}

#[test]
fn parties_of_one_call_are_joined_where_one_law_is_exchanged_for_the_other() {
    joins_in_one_call(CodecKind::Pcma, 8);
}

#[test]
fn parties_of_one_call_are_joined_where_one_has_to_be_recoded() {
    joins_in_one_call(CodecKind::G722, 9);
}

#[test]
fn what_cannot_be_joined_is_refused_and_changes_nothing() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let id = id();
    let phones = [600.0, 1_000.0].map(|hz| Phone::new(CodecKind::Pcmu, 0, hz));
    let sdp = phones[0].sdp();
    let [mut a, mut b] = call(&mut ng, &id, ["a", "b"], phones);
    refused(&mut ng, &connect("nowhere", "a", "b"), "Unknown call-ID");
    refused(
        &mut ng,
        &connect(&id, "x", "b"),
        "From-tag given, but no such tag exists",
    );
    refused(&mut ng, &connect(&id, "a", "x"), "To-tag not found");
    refused(
        &mut ng,
        &connect(&id, "a", "a"),
        "A party cannot be connected to itself",
    );
    let mut directional = connect(&id, "a", "b");
    directional["flags"] = json!(["directional"]);
    refused(&mut ng, &directional, "Not supported: connect directional");
    // A party whose branch was deleted is no party any more.
    let gone = branch(
        &mut ng,
        &id,
        "a",
        &sdp,
        "gone",
        Phone::new(CodecKind::Pcmu, 0, 1_400.0),
    );
    drop(gone);
    ng.ok(&json!({
        "command": "delete", "call-id": id, "from-tag": "a", "via-branch": "gone",
    }));
    refused(&mut ng, &connect(&id, "b", "gone"), "To-tag not found");
    talk(50, &mut [&mut a, &mut b]);
    a.take().assert_tone(1_000.0, "A");
    b.take().assert_tone(600.0, "B");
    // Joined again with whom it talks with anyway: nothing is heard of that.
    for leg in [&mut a, &mut b] {
        leg.resume();
    }
    every_20_ms(50, |_| {
        for leg in [&mut a, &mut b] {
            leg.speak();
        }
        ng.ok(&connect(&id, "a", "b"));
    });
    a.take().assert_tone(1_000.0, "A");
    b.take().assert_tone(600.0, "B");
    a.assert_one_clock("A");
    b.assert_one_clock("B");
}

fn connect_calls(from: (&str, &str), to: (&str, &str)) -> Value {
    let mut request = connect(from.0, from.1, to.1);
    request["to-call-id"] = json!(to.0);
    request
}

fn query(ng: &mut Ng, id: &str) -> Value {
    ng.request(&json!({"command": "query", "call-id": id}))
}

fn delete(ng: &mut Ng, id: &str) -> Value {
    ng.request(&json!({
        "command": "delete", "call-id": id, "from-tag": "", "flags": ["fatal"], "delete-delay": 0,
    }))
}

/// The value of a metric, all its labels added up.
fn metric(switch: &Switch, name: &str) -> f64 {
    let mut stream = TcpStream::connect(switch.http).expect("the HTTP port");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("loopback");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    let lines = page.lines().filter_map(|line| line.split_once(' '));
    let named = lines.filter(|(key, _)| key.split('{').next() == Some(name));
    named
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}

/// A talks with B, C with D, each call on a worker of its own if there are several; then B and C
/// are joined.
fn joins_two_calls(workers: &str) {
    let prompts = scratch("prompts");
    std::fs::write(prompts.join("prompt.wav"), wav(2_000.0, 800)).expect("a scratch file");
    let shown = prompts.to_str().expect("UTF-8");
    let arguments = ["--workers", workers, "--prompt-dir", shown];
    let switch = Switch::start_with("127.0.0.1", 64, &arguments);
    let mut ng = switch.client();
    let (one, two) = (id(), id());
    let [a, b, d] = [600.0, 1_000.0, 1_800.0].map(|hz| Phone::new(CodecKind::Pcmu, 0, hz));
    let c = Phone::new(CodecKind::Pcma, 8, 1_400.0);
    let [mut a, mut b] = call(&mut ng, &one, ["a", "b"], [a, b]);
    let mut to_c = offer(&two, "d", &d.sdp());
    to_c["codec"] = json!({"transcode": ["PCMA"], "mask": ["PCMU"]});
    let told_c = ng.ok(&to_c);
    let told_d = ng.ok(&answer(&two, "d", "c", &c.sdp()));
    let [mut c, mut d] = [Leg::new(c, &told_c), Leg::new(d, &told_d)];
    talk(50, &mut [&mut a, &mut b, &mut c, &mut d]);
    for (leg, hz) in [
        (&mut a, 1_000.0),
        (&mut b, 600.0),
        (&mut c, 1_800.0),
        (&mut d, 1_400.0),
    ] {
        leg.take().assert_tone(hz, "before");
    }
    for leg in [&mut a, &mut b, &mut c, &mut d] {
        leg.resume();
    }
    every_20_ms(100, |n| {
        for leg in [&mut a, &mut b, &mut c, &mut d] {
            leg.speak();
        }
        match n {
            40 => drop(ng.ok(&connect_calls((&one, "b"), (&two, "c")))),
            50 => {
                a.take();
                d.take();
                b.take();
                c.take();
            }
            _ => {}
        }
    });
    b.take().assert_tone(1_400.0, "B, joined with C");
    c.take().assert_tone(1_000.0, "C, joined with B");
    assert_eq!(
        a.take().packets.len() + d.take().packets.len(),
        0,
        "they talk with nobody"
    );
    // Every packet that was sent is counted: none was lost on the way.
    let counted = |report: &Value, tag: &str| {
        report["tags"][tag]["medias"][0]["streams"][0]["stats"]["packets"].clone()
    };
    wait_until("what is under way has come", || {
        counted(&query(&mut ng, &one), "d") == 150
    });
    for id in [&one, &two] {
        let report = query(&mut ng, id);
        assert_eq!(
            report["tags"].as_object().expect("tags").len(),
            4,
            "{report}"
        );
        for tag in ["a", "b", "c", "d"] {
            assert_eq!(counted(&report, tag), 150, "{tag}");
        }
    }
    let mut listed = ng.calls();
    listed.sort();
    let mut expected = vec![one.clone(), two.clone()];
    expected.sort();
    assert_eq!(listed, expected);
    assert_eq!(metric(&switch, "crosspoint_calls"), 1.0);
    // A command under either id reaches a party of the other call.
    for (id, tag) in [(&one, "c"), (&two, "b")] {
        let play = json!({
            "command": "play media", "call-id": id, "from-tag": tag, "file": "prompt.wav",
        });
        ng.ok(&play);
    }
    talk(30, &mut [&mut b, &mut c]);
    b.take().assert_tone(2_000.0, "B hears the prompt");
    c.take().assert_tone(2_000.0, "C hears the prompt");
    talk(40, &mut [&mut b, &mut c]);
    b.assert_one_clock("B");
    c.assert_one_clock("C");
    // A re-offer by the second id is one within the call.
    let mut hold = offer(&two, "c", &c.phone.sdp());
    hold["to-tag"] = json!("b");
    ng.ok(&hold);
    assert_eq!(delete(&mut ng, &two)["result"], "ok");
    for id in [&one, &two] {
        assert_eq!(query(&mut ng, id)["error-reason"], "Unknown call-id");
        assert_eq!(delete(&mut ng, id)["result"], "error");
    }
    assert_eq!(ng.calls(), Vec::<String>::new());
    assert_eq!(metric(&switch, "crosspoint_calls"), 0.0);
    let _ = std::fs::remove_dir_all(prompts);
}

#[test]
fn two_calls_on_two_workers_become_one() {
    joins_two_calls("2");
}

#[test]
fn two_calls_on_one_worker_become_one() {
    joins_two_calls("1");
}

/// A monitor of C's call hears on when that call becomes part of another, and ends with it.
#[test]
fn who_listens_to_a_call_moves_with_it() {
    let switch = Switch::start_with("127.0.0.1", 64, &["--workers", "2"]);
    let mut ng = switch.client();
    let (one, two) = (id(), id());
    let phone = |hz| Phone::new(CodecKind::Pcmu, 0, hz);
    let [mut a, mut b] = call(&mut ng, &one, ["a", "b"], [phone(600.0), phone(1_000.0)]);
    let [mut c, mut d] = call(&mut ng, &two, ["c", "d"], [phone(1_400.0), phone(1_800.0)]);
    ng.ok(&json!({
        "command": "subscribe request", "call-id": two, "from-tag": "c", "to-tag": "m",
    }));
    let ear = phone(300.0);
    ng.ok(&json!({
        "command": "subscribe answer", "call-id": two, "to-tag": "m", "sdp": ear.sdp(),
    }));
    let mut ear = Leg::new(
        ear,
        &json!({"sdp": "c=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n"}),
    );
    talk(30, &mut [&mut a, &mut b, &mut c, &mut d]);
    ear.take().assert_tone(1_400.0, "the monitor, before");
    ng.ok(&connect_calls((&one, "b"), (&two, "c")));
    talk(30, &mut [&mut a, &mut b, &mut c, &mut d]);
    ear.take().assert_tone(1_400.0, "the monitor, after");
    ear.assert_one_clock("the monitor");
    let report = query(&mut ng, &one);
    let subscribers = &report["tags"]["c"]["subscribers"];
    assert!(subscribers.to_string().contains("\"m\""), "{report}");
    ng.ok(&json!({"command": "unsubscribe", "call-id": one, "to-tag": "m"}));
    talk(10, &mut [&mut b, &mut c]);
    assert_eq!(ear.take().packets.len(), 0, "unsubscribed");
    assert_eq!(delete(&mut ng, &one)["result"], "ok");
}

#[test]
fn two_calls_that_cannot_be_one_stay_two() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (one, two, three) = (id(), id(), id());
    let phones = || [600.0, 1_000.0].map(|hz| Phone::new(CodecKind::Pcmu, 0, hz));
    let [mut a, mut b] = call(&mut ng, &one, ["a", "b"], phones());
    let [mut c, mut d] = call(&mut ng, &two, ["c", "d"], phones());
    let [mut e, mut f] = call(&mut ng, &three, ["a", "f"], phones());
    let collision = connect_calls((&one, "b"), (&three, "f"));
    let why = "Failed to merge two calls into one (tag collision)";
    refused(&mut ng, &collision, why);
    let nowhere = connect_calls((&one, "b"), ("nowhere", "c"));
    refused(&mut ng, &nowhere, "Unknown call-ID");
    let tag = connect_calls((&one, "b"), (&two, "a"));
    refused(&mut ng, &tag, "To-tag not found");
    let tag = connect_calls((&one, "c"), (&two, "d"));
    refused(&mut ng, &tag, "From-tag given, but no such tag exists");
    let itself = connect_calls((&one, "a"), (&one, "a"));
    refused(&mut ng, &itself, "A party cannot be connected to itself");
    let mut endless = connect_calls((&one, "b"), (&two, "c"));
    endless["to-call-id"] = json!("x".repeat(513));
    refused(&mut ng, &endless, "The to-call-id is longer than 512 bytes");
    talk(30, &mut [&mut a, &mut b, &mut c, &mut d, &mut e, &mut f]);
    for (first, second) in [(&mut a, &mut b), (&mut c, &mut d), (&mut e, &mut f)] {
        first.take().assert_tone(1_000.0, "the first");
        second.take().assert_tone(600.0, "the second");
    }
    // The same call by both keys is one call.
    ng.ok(&connect_calls((&one, "a"), (&one, "b")));
    for id in [&one, &two, &three] {
        assert_eq!(delete(&mut ng, id)["result"], "ok");
    }
}

#[test]
fn the_session_limit_counts_what_is_left_of_merged_calls() {
    let switch = Switch::start_with("127.0.0.1", 64, &["--max-calls", "2"]);
    let mut ng = switch.client();
    let ids = [id(), id(), id(), id()];
    let phones = || [600.0, 1_000.0].map(|hz| Phone::new(CodecKind::Pcmu, 0, hz));
    let mut legs = Vec::new();
    for (id, tags) in ids.iter().zip([["a", "b"], ["c", "d"]]) {
        legs.push(call(&mut ng, id, tags, phones()));
    }
    let third = offer(&ids[2], "e", &phones()[0].sdp());
    assert_ne!(ng.request(&third)["result"], "ok");
    ng.ok(&connect_calls((&ids[0], "a"), (&ids[1], "c")));
    wait_until("there is room for one more", || {
        ng.request(&third)["result"] == "ok"
    });
    let fourth = offer(&ids[3], "g", &phones()[0].sdp());
    assert_ne!(ng.request(&fourth)["result"], "ok");
    assert_eq!(delete(&mut ng, &ids[1])["result"], "ok");
    ng.ok(&fourth);
}

/// Thirty-three calls joined, queried and deleted at random by several clients at once.
#[test]
fn a_storm_of_connects_leaves_nothing_behind() {
    const CALLS: usize = 33;
    let mut switch = Switch::start_with("127.0.0.1", 512, &["--workers", "3"]);
    let mut ng = switch.client();
    let ids: Vec<String> = (0..CALLS).map(|_| id()).collect();
    let mut legs = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let phones = [600.0, 1_000.0].map(|hz| Phone::new(CodecKind::Pcmu, 0, hz));
        let tags = [format!("a{n}"), format!("b{n}")];
        legs.push(call(&mut ng, id, [&tags[0], &tags[1]], phones));
    }
    std::thread::scope(|scope| {
        for client in 0..4_u64 {
            let (mut ng, ids) = (switch.client(), &ids);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client);
                for round in 0..120 {
                    let [x, y] = [(); 2].map(|()| random.usize(..CALLS));
                    let [p, q] = [x, y].map(|n| {
                        let side = if random.bool() { "a" } else { "b" };
                        format!("{side}{n}")
                    });
                    let request = match random.u8(..10) {
                        0 => json!({"command": "query", "call-id": ids[x]}),
                        1 if round > 60 => json!({
                            "command": "delete", "call-id": ids[x], "from-tag": p,
                            "delete-delay": 0,
                        }),
                        2 => connect(&ids[x], &p, &q),
                        _ => connect_calls((&ids[x], &p), (&ids[y], &q)),
                    };
                    let reply = ng.request(&request);
                    let known = [
                        "Unknown call-ID",
                        "Unknown call-id",
                        "To-tag not found",
                        "From-tag given, but no such tag exists",
                        "A party cannot be connected to itself",
                        "Reply too large for a datagram",
                    ];
                    let why = reply["error-reason"].as_str();
                    assert!(
                        why.is_none_or(|why| known.contains(&why)),
                        "{request}: {reply}"
                    );
                }
            });
        }
    });
    switch.assert_alive();
    for id in &ids {
        let flags = ["fast"];
        ng.request(&json!({"command": "delete", "call-id": id, "flags": flags}));
        assert_eq!(query(&mut ng, id)["error-reason"], "Unknown call-id");
    }
    assert_eq!(ng.calls(), Vec::<String>::new());
    wait_until("nothing of the calls is left", || {
        metric(&switch, "crosspoint_calls") == 0.0
    });
    assert_eq!(metric(&switch, "crosspoint_calls_broken_total"), 0.0);
    assert_eq!(metric(&switch, "crosspoint_ports_used"), 0.0);
    // Whoever is still there talks.
    let phones = [600.0, 1_000.0].map(|hz| Phone::new(CodecKind::Pcmu, 0, hz));
    let [mut a, mut b] = call(&mut ng, &id(), ["a", "b"], phones);
    talk(30, &mut [&mut a, &mut b]);
    a.take().assert_tone(1_000.0, "A");
}
