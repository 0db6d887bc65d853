//! Defects that were found by attacking the switch; each has its test.

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::ng::Ng;
use support::party::{Call, Party, answer, drain, offer, target};
use support::switch::Switch;
use support::{every_20_ms, wait_until};

fn audio_at(reply: &Value) -> SocketAddr {
    target(reply["sdp"].as_str().expect("an SDP in the reply"))
}

fn with_flag(mut request: Value, flag: &str) -> Value {
    request["flags"] = json!(["trust-address", flag]);
    request
}

/// Ports in use on all interfaces.
fn ports_used(ng: &mut Ng) -> i64 {
    let reply = ng.ok(&json!({"command": "statistics"}));
    let interfaces = reply["statistics"]["interfaces"]
        .as_array()
        .expect("a list")
        .clone();
    interfaces
        .iter()
        .map(|i| i["ports used"].as_i64().expect("a number"))
        .sum()
}

#[test]
fn a_payload_type_without_rtpmap_makes_a_call_like_any_other() {
    let mut switch = Switch::start();
    let mut ng = switch.client();
    for (ix, formats) in ["96", "0 101", "0 96\r\na=rtpmap:96 x/4000000000"]
        .iter()
        .enumerate()
    {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio 4700{ix} RTP/AVP {formats}\r\n"
        );
        let id = format!("unnamed-{ix}");
        ng.ok(&offer(&id, "tag-a", &sdp));
        ng.ok(&answer(&id, "tag-a", "tag-b", &sdp));
        ng.ok(&json!({"command": "query", "call-id": id}));
        ng.ok(&json!({"command": "delete", "call-id": id}));
    }
    assert_eq!(ng.calls(), Vec::<String>::new());
    switch.assert_alive();
}

#[test]
fn masked_holds_for_the_whole_call_once_said() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    let secret = |sdp: String| sdp.replace("o=- 4711", "o=secret 4711");
    ng.ok(&with_flag(
        offer("masked", "tag-a", &secret(a.sdp())),
        "masked",
    ));
    let told_a = ng.ok(&answer("masked", "tag-a", "tag-b", &secret(b.sdp())));
    let again = ng.ok(&json!({
        "command": "offer", "call-id": "masked", "from-tag": "tag-a", "to-tag": "tag-b",
        "sdp": secret(a.sdp()),
    }));
    for reply in [told_a, again] {
        let sdp = reply["sdp"].as_str().expect("an SDP");
        assert!(!sdp.contains("secret") && !sdp.contains("4711"), "{sdp}");
    }
}

#[test]
fn a_media_address_is_told_only_where_it_was_asked_for() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    let mut request = offer("advertised", "tag-a", &a.sdp());
    request["media-address"] = json!("203.0.113.9");
    let told_b = ng.ok(&request);
    assert!(
        told_b["sdp"]
            .as_str()
            .unwrap()
            .contains("c=IN IP4 203.0.113.9")
    );
    let told_a = ng.ok(&answer("advertised", "tag-a", "tag-b", &b.sdp()));
    assert!(!told_a["sdp"].as_str().unwrap().contains("203.0.113.9"));
}

#[test]
fn deleting_a_branch_twice_leaves_the_others() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    for branch in ["z1", "z2", "z3"] {
        let mut request = offer("branches", "tag-a", &a.sdp());
        request["via-branch"] = json!(branch);
        ng.ok(&request);
    }
    for _ in 0..2 {
        ng.ok(&json!({
            "command": "delete", "call-id": "branches", "from-tag": "tag-a", "via-branch": "z3",
        }));
        assert_eq!(ng.calls(), ["branches"]);
    }
    // Four streams with two ports each, less the branch's, once its sockets are closed.
    wait_until("the branch's ports are free", || ports_used(&mut ng) == 6);
}

#[test]
fn hunting_may_try_many_agents_one_after_the_other() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    let ring = |ng: &mut Ng, a: &mut Party, n: u32| {
        let mut request = offer("hunt", "tag-a", &a.sdp());
        request["via-branch"] = json!(format!("z{n}"));
        ng.ok(&request);
    };
    ring(&mut ng, &mut a, 0);
    for n in 1..60 {
        ring(&mut ng, &mut a, n);
        let before = format!("z{}", n - 1);
        ng.ok(&json!({
            "command": "delete", "call-id": "hunt", "from-tag": "tag-a", "via-branch": before,
        }));
    }
    wait_until("ports of agents tried before are free", || {
        ports_used(&mut ng) == 4
    });
}

#[test]
fn a_refused_switch_to_t38_leaves_the_voices() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    call.assert_works("before the fax");
    let id = ng.calls().remove(0);
    let fax = "v=0\r\no=- 4711 9 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
               m=image 47010 udptl t38\r\na=T38FaxVersion:0\r\n";
    let mut request = offer(&id, "tag-a", fax);
    request["to-tag"] = json!("tag-b");
    ng.ok(&request);
    // The answer never comes: the far side said 488.
    call.assert_works("after the refused fax");
}

#[test]
fn srtp_passes_untouched() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    let secure = |sdp: String| sdp.replace("RTP/AVP", "RTP/SAVP");
    let b_to = audio_at(&ng.ok(&offer("secure", "tag-a", &secure(a.sdp()))));
    let a_to = audio_at(&ng.ok(&answer("secure", "tag-a", "tag-b", &secure(b.sdp()))));
    // An SRTCP packet and a DTLS record: neither is plain RTP.
    let sealed: [&[u8]; 2] = [b"\x80\xc9\x00\x01abcdSEALED", b"\x16\xfe\xfdDTLS"];
    for bytes in sealed {
        a.rtp.send_to(bytes, a_to).expect("sent");
        b.rtp.send_to(bytes, b_to).expect("sent");
    }
    for (party, from) in [(&a, a_to), (&b, b_to)] {
        let mut heard = Vec::new();
        wait_until("sealed packets arrive", || {
            heard.extend(drain(&party.rtp));
            heard.len() >= 2
        });
        let expected: Vec<_> = sealed.iter().map(|bytes| (from, bytes.to_vec())).collect();
        assert_eq!(heard, expected);
    }
}

#[test]
fn what_is_blocked_stays_blocked_on_new_media() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    ng.ok(&offer("gated", "tag-a", &a.sdp()));
    ng.ok(&json!({"command": "block media", "call-id": "gated"}));
    let mut request = offer("gated", "tag-a", &a.sdp());
    request["via-branch"] = json!("late");
    let b_to = audio_at(&ng.ok(&request));
    let mut reply = answer("gated", "tag-a", "tag-b", &b.sdp());
    reply["via-branch"] = json!("late");
    ng.ok(&reply);
    every_20_ms(10, |_| b.speak(b_to));
    assert!(a.heard().is_empty(), "a blocked call is heard");
    ng.ok(&json!({"command": "unblock media", "call-id": "gated"}));
    let mut heard = 0;
    wait_until("the freed call is heard", || {
        b.speak(b_to);
        std::thread::sleep(support::PTIME);
        heard += a.heard().len();
        heard > 3
    });
}

#[test]
fn the_limit_of_calls_is_exact_and_leaves_no_ghosts() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    for round in 0..30 {
        let id = format!("ghost-{round}");
        ng.ok(&offer(&id, "tag-a", &a.sdp()));
        ng.ok(&json!({"command": "query", "call-id": id}));
        ng.ok(&json!({"command": "delete", "call-id": id}));
    }
    assert_eq!(ng.calls(), Vec::<String>::new());
    wait_until("all ports are free", || ports_used(&mut ng) == 0);
}
