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

/// An audio SDP at `party` with these formats and attributes.
fn sdp_with(party: &Party, formats: &str, attributes: &[&str]) -> String {
    let port = party.address().port();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}\r\n"
    );
    for attribute in attributes {
        sdp += &format!("a={attribute}\r\n");
    }
    sdp
}

fn two() -> (Party, Party) {
    (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    )
}

fn sdp_of(reply: &Value) -> &str {
    reply["sdp"].as_str().expect("an SDP in the reply")
}

#[test]
fn the_branch_that_is_left_speaks_as_it_agreed() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut early) = two();
    let late = Party::new("127.0.0.1", 700.0);
    let offered = sdp_with(&a, "0 8", &[]);
    let ring = |ng: &mut Ng, branch: &str, tag: &str, sdp: &str| {
        let mut request = offer("serial", "tag-a", &offered);
        request["via-branch"] = json!(branch);
        let to = audio_at(&ng.ok(&request));
        let mut reply = answer("serial", "tag-a", tag, sdp);
        reply["via-branch"] = json!(branch);
        (to, audio_at(&ng.ok(&reply)))
    };
    let (early_to, a_to) = ring(&mut ng, "z1", "tag-b", &sdp_with(&early, "0", &[]));
    let none = sdp_with(&late, "8", &[]);
    let none = none.replace(&format!("audio {}", late.address().port()), "audio 0");
    ring(&mut ng, "z2", "tag-c", &none);
    ng.ok(&json!({
        "command": "delete", "call-id": "serial", "from-tag": "tag-a", "via-branch": "z2",
    }));
    every_20_ms(20, |_| {
        a.speak(a_to);
        early.speak(early_to);
    });
    let (mut at_a, mut at_early) = (0, 0);
    wait_until("both hear each other", || {
        at_a += a.heard().len();
        at_early += early.heard().len();
        at_a >= 20 && at_early >= 20
    });
}

#[test]
fn a_hold_that_was_refused_holds_nothing() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    let hold = sdp_with(&call.a, "0 101", &[]).replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    let mut request = offer(&call.id, "tag-a", &hold);
    request["to-tag"] = json!("tag-b");
    ng.ok(&request);
    // The answer never comes: the far side said 491.
    call.assert_works("after the refused hold");
}

#[test]
fn a_fax_that_was_accepted_ends_the_voices() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    let fax = |port: u16| {
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=image {port} udptl t38\r\n"
        )
    };
    let renegotiate = |ng: &mut Ng, a: &str, b: &str| {
        let mut request = offer(&call.id, "tag-a", a);
        request["to-tag"] = json!("tag-b");
        ng.ok(&request);
        ng.ok(&answer(&call.id, "tag-a", "tag-b", b));
    };
    renegotiate(&mut ng, &fax(47_010), &fax(47_012));
    every_20_ms(10, |_| {
        call.a.speak(call.a_to);
        call.b.speak(call.b_to);
    });
    call.quiet_or(|at_a, at_b| assert!(at_a.is_empty() && at_b.is_empty()));
    let why = switch.why(&call.id);
    assert!(why.contains("set aside"), "{why}");
    let (a, b) = (call.a.sdp(), call.b.sdp());
    renegotiate(&mut ng, &a, &b);
    call.assert_works("after the fax");
}

#[test]
fn an_answer_finds_its_voices_though_another_branch_is_offered_a_fax() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = two();
    let voice = a.sdp();
    let with_branch = |mut request: Value, branch: &str| {
        request["via-branch"] = json!(branch);
        request
    };
    let b_to = audio_at(&ng.ok(&with_branch(offer("mixed", "tag-a", &voice), "z1")));
    let fax = voice
        .replace("m=audio", "m=image")
        .replace("RTP/AVP 0 101", "udptl t38");
    ng.ok(&with_branch(offer("mixed", "tag-a", &fax), "z2"));
    let reply = answer("mixed", "tag-a", "tag-b", &b.sdp());
    let a_to = audio_at(&ng.ok(&with_branch(reply, "z1")));
    let (mut at_a, mut at_b) = (0, 0);
    wait_until("both hear each other", || {
        a.speak(a_to);
        b.speak(b_to);
        std::thread::sleep(support::PTIME);
        at_a += a.heard().len();
        at_b += b.heard().len();
        at_a > 3 && at_b > 3
    });
}

#[test]
fn what_was_offered_as_rejected_stays_rejected() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    let off = sdp_with(&call.a, "0", &[]);
    let off = off.replace(&format!("m=audio {}", call.a.address().port()), "m=audio 0");
    let mut request = offer(&call.id, "tag-a", &off);
    request["to-tag"] = json!("tag-b");
    ng.ok(&request);
    // RFC 3264 section 6: the answerer must not do this.
    let told = ng.ok(&answer(&call.id, "tag-a", "tag-b", &call.b.sdp()));
    assert!(sdp_of(&told).contains("m=audio 0 RTP/AVP 0"), "{told}");
}

#[test]
fn what_an_offer_says_about_multiplexing_holds_for_its_answer() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = two();
    let muxed = sdp_with(&a, "0", &["rtcp-mux"]);
    for (id, rule, offered_on, accepted) in [
        ("demux", "demux", false, true),
        ("accept", "accept", true, true),
        ("reject", "reject", false, false),
    ] {
        let mut request = offer(id, "tag-a", &muxed);
        request["rtcp-mux"] = json!([rule]);
        let told_b = ng.ok(&request);
        assert_eq!(sdp_of(&told_b).contains("a=rtcp-mux"), offered_on, "{rule}");
        let told_a = ng.ok(&answer(id, "tag-a", "tag-b", &sdp_with(&b, "0", &[])));
        assert_eq!(sdp_of(&told_a).contains("a=rtcp-mux"), accepted, "{rule}");
    }
}

#[test]
fn a_payload_type_means_the_same_in_a_later_offer_of_the_other_party() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = two();
    let opus = |pt: u8| format!("rtpmap:{pt} opus/48000/2");
    let event = |pt: u8| format!("rtpmap:{pt} telephone-event/8000");
    let of_a = sdp_with(&a, "0 96 101", &[&opus(96), &event(101)]);
    let of_b = sdp_with(&b, "0 101 96", &[&opus(101), &event(96)]);
    let b_to = audio_at(&ng.ok(&offer("numbers", "tag-a", &of_a)));
    let a_to = audio_at(&ng.ok(&answer("numbers", "tag-a", "tag-b", &of_b)));
    // The callee's re-INVITE in its own numbers reaches the caller in the caller's.
    let mut request = offer("numbers", "tag-b", &of_b);
    request["to-tag"] = json!("tag-a");
    let told_a = ng.ok(&request);
    for line in ["m=audio", &opus(96), &event(101)] {
        assert!(sdp_of(&told_a).contains(line), "{line} in {told_a}");
    }
    assert!(sdp_of(&told_a).contains("RTP/AVP 0 96 101"), "{told_a}");
    let mut reply = answer("numbers", "tag-b", "tag-a", &of_a);
    reply["via-branch"] = Value::String(String::new());
    let told_b = ng.ok(&reply);
    assert!(sdp_of(&told_b).contains("RTP/AVP 0 101 96"), "{told_b}");
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    every_20_ms(10, |_| {
        a.send(a_to, 96, vec![1; 40]);
        b.send(b_to, 101, vec![2; 40]);
    });
    wait_until("opus passes both ways", || {
        at_a.extend(a.heard());
        at_b.extend(b.heard());
        at_a.len() >= 10 && at_b.len() >= 10
    });
    assert!(at_a.iter().all(|p| p.pt == 96) && at_b.iter().all(|p| p.pt == 101));
}

#[test]
fn several_sources_on_a_line_pass_as_they_are() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, b) = two();
    let attributes = [
        "rtpmap:96 VP8/90000",
        "rtpmap:97 rtx/90000",
        "fmtp:97 apt=96",
    ];
    let video = |party: &Party| sdp_with(party, "96 97", &attributes).replace("audio", "video");
    let video_at = |reply: &Value| target(&sdp_of(reply).replace("m=video", "m=audio"));
    ng.ok(&offer("many", "tag-a", &video(&a)));
    let a_to = video_at(&ng.ok(&answer("many", "tag-a", "tag-b", &video(&b))));
    let (first, second) = (0x1111, 0x2222);
    let (mut sent, mut heard) = (Vec::new(), Vec::new());
    every_20_ms(20, |n| {
        a.ssrc = if n % 2 == 0 { first } else { second };
        let pt = if n % 2 == 0 { 96 } else { 97 };
        sent.push((a.ssrc, pt, a.seq));
        a.send(a_to, pt, vec![7; 50]);
    });
    wait_until("all packets arrive", || {
        heard.extend(b.heard().iter().map(|p| (p.ssrc, p.pt, p.seq)));
        heard.len() >= sent.len()
    });
    assert_eq!(heard, sent);
    let masked = ng.ok(&with_flag(offer("hidden", "tag-a", &video(&a)), "masked"));
    let warning = masked["warning"].as_str().expect("a warning");
    assert!(warning.contains("several sources"), "{warning}");
}

#[test]
fn an_address_that_gives_no_media_is_warned_of() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, _) = two();
    let named = sdp_with(&a, "0", &[]).replace("c=IN IP4 127.0.0.1", "c=IN IP4 phone.example");
    let mut no_source = offer("no-source", "tag-a", &sdp_with(&a, "0", &[]));
    no_source["flags"] = json!(["SIP-source-address"]);
    for (id, request, why) in [
        ("named", offer("named", "tag-a", &named), "host name"),
        ("no-source", no_source.clone(), "received-from"),
    ] {
        let reply = ng.ok(&request);
        let warning = reply["warning"].as_str().expect("a warning");
        assert!(
            warning.contains(why) && warning.contains("no media"),
            "{warning}"
        );
        assert!(switch.why(id).contains(why));
    }
    no_source["received-from"] = json!(["IP4", "127.0.0.1"]);
    assert_eq!(ng.ok(&no_source)["warning"], Value::Null);
}

#[test]
fn ports_of_an_offer_that_failed_are_free_at_once() {
    let switch = Switch::start_on("127.0.0.1", 4);
    let mut ng = switch.client();
    let (a, b) = two();
    let one = sdp_with(&a, "0", &[]);
    let line = one.lines().last().expect("an m= line").to_owned();
    let refused = ng.request(&offer("wide", "tag-a", &format!("{one}{line}\r\n")));
    assert_eq!(refused["message"], "Ran out of ports", "{refused}");
    ng.ok(&offer("narrow", "tag-a", &one));
    ng.ok(&answer("narrow", "tag-a", "tag-b", &sdp_with(&b, "0", &[])));
}

#[test]
fn a_callee_that_writes_before_it_answered_is_the_one_that_was_rung() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = two();
    ng.ok(&offer("update", "tag-a", &a.sdp()));
    let mut request = offer("update", "tag-b", &b.sdp());
    request["to-tag"] = json!("tag-a");
    ng.ok(&request);
    ng.ok(&answer("update", "tag-a", "tag-b", &b.sdp()));
    assert_eq!(ports_used(&mut ng), 4, "two parties, not three");
}
