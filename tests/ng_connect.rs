//! `connect` asked of the whole process by ng: parties of one call and of two, joined without SDP.
//!
//! Every voice is a tone, found again by Goertzel in what the other party received and decoded.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test clocks are far inside every range"
)]

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use crosspoint::audio::codec::CodecKind;
use serde_json::{Value, json};
use support::ng::Ng;
use support::party::{answer, offer, target};
use support::phone::{Heard, Phone};
use support::rtp::Packet;
use support::switch::Switch;
use support::{PTIME, every_20_ms};

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

    /// 20 ms of its tone. Its clock went on while it was silent.
    fn speak(&mut self) {
        let now = Instant::now();
        let silent = now.duration_since(self.spoke_at);
        if silent > 2 * PTIME {
            let ms = (silent - PTIME).as_millis() as u32;
            let ticks = ms * (self.phone.kind.clock_hz() / 1_000);
            let timestamp = &mut self.phone.party.timestamp;
            *timestamp = timestamp.wrapping_add(ticks);
        }
        self.spoke_at = now;
        self.phone.speak(self.to);
        self.phone.listen();
    }

    /// What it heard since it was asked last.
    fn take(&mut self) -> Heard {
        let heard = self.phone.take();
        self.all.extend(heard.packets.iter().cloned());
        heard
    }

    /// One stream from its first packet to its last, whatever happened.
    #[track_caller]
    fn assert_one_clock(&mut self, who: &str) {
        let rest = self.take();
        let packets = std::mem::take(&mut self.all);
        Heard { packets, ..rest }.assert_one_clock(who);
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
    every_20_ms(count, |_| {
        for leg in &mut *legs {
            leg.speak();
        }
    });
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
