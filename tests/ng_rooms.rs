//! Conferences, asked of the whole process by ng: every voice is a tone, found again by Goertzel
//! in what the others received.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test signals are far inside every range"
)]

mod support;

use std::f32::consts::TAU;
use std::net::SocketAddr;

use serde_json::{Value, json};
use support::audio::{self, RATE_HZ, ulaw_encode};
use support::ng::Ng;
use support::party::{Party, answer, offer, target};
use support::rtp::{self, Packet};
use support::switch::Switch;
use support::{every_20_ms, wait_until};

/// Peak of a voice: 32 of them stay below the limit.
const AMPLITUDE: f32 = 900.0;

/// Packets after which everybody's playout has settled.
const SETTLING: u32 = 25;

struct Guest {
    tag: String,
    party: Party,
    to: SocketAddr,
    speaks: bool,
    heard: Vec<Packet>,
}

impl Guest {
    fn speak(&mut self) {
        let timestamp = self.party.timestamp;
        let payload = (0..160).map(|n| {
            // Reduced to one second first: f32 loses the phase of large timestamps.
            let at = timestamp.wrapping_add(n) % 8_000;
            ulaw_encode((AMPLITUDE * (TAU * self.party.hz * at as f32 / RATE_HZ).sin()) as i16)
        });
        let payload = payload.collect();
        self.party.send(self.to, 0, payload);
        self.party.timestamp = timestamp.wrapping_add(160);
    }

    /// How much of what it heard lately is this tone.
    fn share(&self, hz: f32) -> f32 {
        audio::share_of_tone(&rtp::pcmu(&self.heard), hz)
    }

    /// All it ever received is one stream without a gap.
    #[track_caller]
    fn assert_one_clock(&self, received: &[Packet]) {
        let first = received.first().expect("something was received");
        assert!(
            received.iter().all(|p| p.ssrc == first.ssrc),
            "{}: one source",
            self.tag
        );
        assert_eq!(rtp::gaps(received), (0, true), "{}: numbers", self.tag);
    }
}

/// A call with many parties.
struct Room {
    ng: Ng,
    id: String,
    guests: Vec<Guest>,
    /// Everything each has received.
    received: Vec<Vec<Packet>>,
}

fn publish(id: &str, tag: &str, sdp: &str) -> Value {
    json!({"command": "publish", "call-id": id, "from-tag": tag, "sdp": sdp})
}

fn sdp_of(reply: &Value) -> &str {
    reply["sdp"].as_str().expect("an SDP")
}

impl Room {
    fn new(ng: Ng) -> Self {
        Self {
            ng,
            id: format!("room-{:016x}", fastrand::u64(..)),
            guests: Vec::new(),
            received: Vec::new(),
        }
    }

    fn enter(&mut self, tag: &str, hz: f32) {
        let mut party = Party::new("127.0.0.1", hz);
        let sdp = party.sdp();
        let reply = self.ng.ok(&publish(&self.id, tag, &sdp));
        let to = target(sdp_of(&reply));
        self.guests.push(Guest {
            tag: tag.to_owned(),
            party,
            to,
            speaks: true,
            heard: Vec::new(),
        });
        self.received.push(Vec::new());
    }

    fn mesh(&mut self, tags: Value, flags: &[&str]) {
        let calls = [&self.id];
        let request = json!({"command": "mesh", "calls": calls, "tags": tags, "flags": flags});
        self.ng.ok(&request);
    }

    /// Everybody who speaks does for so many packets; what came after the first few is kept.
    fn talk(&mut self, packets: u32) {
        let guests = &mut self.guests;
        let received = &mut self.received;
        guests.iter_mut().for_each(|guest| guest.heard.clear());
        every_20_ms(packets + SETTLING, |n| {
            for (guest, received) in guests.iter_mut().zip(received.iter_mut()) {
                if guest.speaks {
                    guest.speak();
                }
                let heard = guest.party.heard();
                received.extend(heard.iter().cloned());
                if n >= SETTLING {
                    guest.heard.extend(heard);
                }
            }
        });
    }

    /// Every pair by its place that is heard, of all that could be. Who must not be heard never is;
    /// who must may need some more time: on a machine under load voices come late, and what is made
    /// up for them is no tone.
    #[track_caller]
    fn assert_heard(&mut self, pairs: &[(usize, usize)], when: &str) {
        let mut missing = self.not_heard(pairs, when);
        for _ in 0..5 {
            if missing.is_none() {
                return;
            }
            self.talk(25);
            missing = self.not_heard(pairs, when);
        }
        assert_eq!(missing, None);
    }

    /// Somebody who is not heard well enough.
    #[track_caller]
    fn not_heard(&self, pairs: &[(usize, usize)], when: &str) -> Option<String> {
        let mut missing = None;
        for (listener, guest) in self.guests.iter().enumerate() {
            let talkers = pairs.iter().filter(|(_, l)| *l == listener).count();
            for (talker, other) in self.guests.iter().enumerate() {
                let share = guest.share(other.party.hz);
                let (who, whom) = (&guest.tag, &other.tag);
                if pairs.contains(&(talker, listener)) {
                    if share <= 0.8 / talkers as f32 {
                        missing = Some(format!("{when}: {share:.3} of what {who} hears is {whom}"));
                    }
                } else {
                    assert!(
                        share < 0.1 / (talkers.max(1) as f32),
                        "{when}: {who} hears {whom}: {share:.3}"
                    );
                }
            }
        }
        missing
    }

    fn assert_clocks(&self) {
        for (guest, received) in self.guests.iter().zip(&self.received) {
            guest.assert_one_clock(received);
        }
    }
}

fn everybody(n: usize) -> Vec<(usize, usize)> {
    let pairs = (0..n).flat_map(|a| (0..n).map(move |b| (a, b)));
    pairs.filter(|(a, b)| a != b).collect()
}

#[test]
fn three_hear_each_other_and_come_and_go() {
    let switch = Switch::start();
    let mut room = Room::new(switch.client());
    for (tag, hz) in [("anna", 400.0), ("bob", 700.0), ("eve", 1_100.0)] {
        room.enter(tag, hz);
    }
    room.talk(10);
    assert!(
        room.received.iter().all(Vec::is_empty),
        "nobody is heard before"
    );
    let all = json!([{"from": "anna", "to": ["bob", "eve"]}, {"from": "bob", "to": ["eve"]}]);
    room.mesh(all.clone(), &["bidirectional"]);
    room.talk(50);
    room.assert_heard(&everybody(3), "all");

    let id = room.id.clone();
    let gate = |verb: &str| {
        let flags = ["directional"];
        json!({"command": verb, "call-id": id, "from-tag": "eve", "flags": flags})
    };
    room.ng.ok(&gate("block media"));
    room.talk(50);
    room.assert_heard(&[(0, 1), (1, 0), (0, 2), (1, 2)], "eve is muted");
    room.ng.ok(&gate("unblock media"));

    room.mesh(
        json!([{"from": "eve", "to": ["anna", "bob"]}]),
        &["unsubscribe", "bidirectional"],
    );
    room.talk(50);
    room.assert_heard(&[(0, 1), (1, 0)], "eve has left");
    // Two are left, who are relayed: what is heard are the very octets.
    let said = (0..8_000)
        .map(|at| ulaw_encode((AMPLITUDE * (TAU * 700.0 * at as f32 / RATE_HZ).sin()) as i16));
    let said: Vec<u8> = said.collect();
    let last = &room.guests[0].heard.last().expect("a packet").payload;
    let twice = [said.clone(), said].concat();
    assert!(
        twice.windows(160).any(|window| window == last),
        "not what bob said"
    );

    room.mesh(all, &["bidirectional"]);
    room.talk(50);
    room.assert_heard(&everybody(3), "eve is back");
    room.mesh(json!([{"from": "eve", "to": ["anna"], "gain": "off"}]), &[]);
    room.talk(50);
    let pairs: Vec<_> = everybody(3)
        .into_iter()
        .filter(|pair| *pair != (2, 0))
        .collect();
    room.assert_heard(&pairs, "eve is not for anna");
    room.assert_clocks();
}

#[test]
fn thirty_two_hear_each_other() {
    let switch = Switch::start();
    let mut room = Room::new(switch.client());
    for n in 0..32_u8 {
        room.enter(&format!("guest {n}"), 300.0 + 90.0 * f32::from(n));
    }
    let id = room.id.clone();
    room.ng
        .ok(&json!({"command": "mesh", "call-id": id, "flags": ["all"]}));
    room.talk(100);
    room.assert_heard(&everybody(32), "all");
    room.assert_clocks();

    // Only the two loudest of those who speak, who are the only ones.
    room.ng
        .ok(&json!({"command": "mesh", "call-id": id, "loudest": 2}));
    for guest in &mut room.guests[2..] {
        guest.speaks = false;
    }
    room.talk(50);
    let pairs: Vec<_> = everybody(32)
        .into_iter()
        .filter(|(talker, _)| *talker < 2)
        .collect();
    room.assert_heard(&pairs, "two speak");
}

#[test]
fn a_party_that_is_deleted_leaves_the_room_to_the_others() {
    let switch = Switch::start();
    let mut room = Room::new(switch.client());
    for (tag, hz) in [("a", 400.0), ("b", 700.0), ("c", 1_100.0)] {
        room.enter(tag, hz);
    }
    let id = room.id.clone();
    room.ng
        .ok(&json!({"command": "mesh", "call-id": id, "flags": ["all"]}));
    let delete = json!({"command": "delete", "call-id": id, "from-tag": "c"});
    for _ in 0..2 {
        room.ng.ok(&delete); // the second time it is gone already
    }
    room.talk(50);
    room.assert_heard(&[(0, 1), (1, 0)], "two are left");
    room.assert_clocks_of(&[0, 1]);
    room.enter("d", 1_500.0);
    room.mesh(json!([{"from": "d"}]), &["bidirectional"]);
    room.guests[2].speaks = false;
    room.talk(50);
    let pairs: Vec<_> = everybody(4)
        .into_iter()
        .filter(|(a, b)| *a != 2 && *b != 2)
        .collect();
    room.assert_heard(&pairs, "another one came");
    room.ng.ok(&json!({"command": "delete", "call-id": id}));
    wait_until("the call is gone", || room.ng.calls().is_empty());
}

impl Room {
    fn assert_clocks_of(&self, guests: &[usize]) {
        for guest in guests {
            self.guests[*guest].assert_one_clock(&self.received[*guest]);
        }
    }
}

#[test]
fn publishing_answers_with_what_can_be_heard() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut party = Party::new("127.0.0.1", 400.0);
    let offer = party.sdp().replace("a=sendrecv", "a=sendonly");
    let reply = ng.ok(&json!({"command": "publish", "sdp": offer}));
    for key in ["call-id", "from-tag"] {
        let name = reply[key].as_str().expect("a name");
        assert_eq!(name.len(), 64, "{key}");
        assert!(name.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    }
    let sdp = sdp_of(&reply).to_owned();
    assert!(sdp.contains("a=recvonly\r\n"), "{sdp}");
    assert!(sdp.contains("a=rtpmap:0 PCMU/8000\r\n"), "{sdp}");
    assert!(
        sdp.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"),
        "{sdp}"
    );
    // The same party again keeps its port; its session has a new version.
    let (id, tag) = (
        reply["call-id"].as_str().unwrap(),
        reply["from-tag"].as_str().unwrap(),
    );
    let again = ng.ok(&publish(id, tag, &party.sdp()));
    assert_eq!(target(sdp_of(&again)), target(&sdp));
    assert!(sdp_of(&again).contains("a=sendrecv\r\n"), "{again}");
    let origin = |sdp: &str| -> Vec<String> {
        let line = sdp
            .lines()
            .find(|line| line.starts_with("o="))
            .expect("an origin");
        line.split(' ').skip(1).take(2).map(str::to_owned).collect()
    };
    let (before, after) = (origin(&sdp), origin(sdp_of(&again)));
    assert_eq!(before[0], after[0]);
    assert_eq!((before[1].as_str(), after[1].as_str()), ("1", "2"));
    // What cannot be decoded is rejected, and said so.
    let g729 = party.sdp().replace("RTP/AVP 0 101", "RTP/AVP 18 101");
    let reply = ng.ok(&publish(id, "other", &g729));
    assert!(sdp_of(&reply).contains("m=audio 0 RTP/AVP 18"), "{reply}");
    let warning = reply["warning"].as_str().expect("a warning");
    assert!(warning.contains("media 0: rejected"), "{warning}");
    let mesh = json!({"command": "mesh", "call-id": id, "tags": [{"from": tag, "to": ["other"]}]});
    let reason = ng.request(&mesh)["error-reason"].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .starts_with("Party 'other' cannot be mixed"),
        "{reason}"
    );
}

#[test]
fn refusals_name_what_is_wrong() {
    let switch = Switch::start();
    let mut room = Room::new(switch.client());
    room.enter("a", 400.0);
    room.enter("b", 700.0);
    let id = room.id.clone();
    let many: Vec<Value> = (0..2).map(|n| json!(format!("call {n}"))).collect();
    let cases = [
        (
            json!({"calls": [id], "tags": [{"to": ["b"]}]}),
            "Empty/missing from-tag",
        ),
        (
            json!({"calls": [id], "tags": [{"from": "", "to": ["b"]}]}),
            "Empty/missing from-tag",
        ),
        (
            json!({"calls": many, "tags": [{"from": "a"}]}),
            "mesh: only parties of one call",
        ),
        (json!({"tags": [{"from": "a"}]}), "No call-id in message"),
        (json!({"calls": [id]}), "mesh: no tags are given"),
        (
            json!({"calls": ["nobody"], "flags": ["all"]}),
            "Unknown call-id",
        ),
        (
            json!({"calls": [id], "tags": [{"from": "x", "to": ["b"]}]}),
            "No party of the call has the tag 'x'",
        ),
        (
            json!({"calls": [id], "tags": [{"from": "a", "to": ["y"]}]}),
            "No party of the call has the tag 'y'",
        ),
        (
            json!({"calls": [id], "tags": [{"from": "a", "to": ["a"]}]}),
            "Party 'a' cannot hear itself",
        ),
        (
            json!({"calls": [id], "tags": [{"from": "a", "gain": 40}]}),
            "mesh: gain is",
        ),
        (json!({"calls": [id], "loudest": 256}), "mesh: loudest is"),
    ];
    for (mut request, reason) in cases {
        request["command"] = json!("mesh");
        let reply = room.ng.request(&request);
        let said = reply["error-reason"].as_str().unwrap_or_default();
        assert!(said.starts_with(reason), "{request}: {reply}");
    }
    let reply = room
        .ng
        .request(&json!({"command": "publish", "call-id": id}));
    assert_eq!(reply["error-reason"], "No SDP body in message");
    room.talk(10);
    assert!(
        room.received.iter().all(Vec::is_empty),
        "nothing came of it"
    );
}

/// B leaves the room of A, B and C for Y, in whose call it was not; X is left alone.
#[test]
fn who_is_connected_leaves_the_room() {
    let switch = Switch::start_with("127.0.0.1", 64, &["--workers", "2"]);
    let mut room = Room::new(switch.client());
    for (tag, hz) in [("a", 500.0), ("b", 700.0), ("c", 1_100.0)] {
        room.enter(tag, hz);
    }
    room.mesh(json!([]), &["all"]);
    let other = format!("{}-other", room.id);
    let [mut x, mut y] = [1_600.0, 2_300.0].map(|hz| Party::new("127.0.0.1", hz));
    let told_y = room.ng.ok(&offer(&other, "x", &x.sdp()));
    let told_x = room.ng.ok(&answer(&other, "x", "y", &y.sdp()));
    for (tag, party, told) in [("x", x, &told_x), ("y", y, &told_y)] {
        room.guests.push(Guest {
            tag: tag.to_owned(),
            party,
            to: target(sdp_of(told)),
            speaks: true,
            heard: Vec::new(),
        });
        room.received.push(Vec::new());
    }
    let in_room = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    room.talk(25);
    room.assert_heard(&[&in_room[..], &[(3, 4), (4, 3)]].concat(), "before");
    let why = switch.why(&room.id);
    let verdict = "in a room with 2 others, 2 of whom hear it";
    assert_eq!(why.matches(verdict).count(), 3, "{why}");
    assert!(!why.contains("no peer yet"), "{why}");
    room.ng.ok(&json!({
        "command": "connect", "call-id": room.id, "from-tag": "b",
        "to-call-id": other, "to-tag": "y",
    }));
    room.talk(25);
    room.assert_heard(&[(0, 2), (2, 0), (1, 4), (4, 1)], "after");
    for guest in [0, 1, 2] {
        room.guests[guest].assert_one_clock(&room.received[guest]);
    }
}
