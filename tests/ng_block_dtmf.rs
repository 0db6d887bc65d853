//! Keys masked by ng on a running switch: events and tones, off and on, and through a re-offer.

mod support;

use std::f32::consts::TAU;

use crosspoint::audio::dtmf::{Detector, Heard};
use crosspoint::audio::g711;
use serde_json::json;
use support::every_20_ms;
use support::party::{Call, Party, answer, offer, target};
use support::rtp::{self, Packet};
use support::switch::Switch;

const EVENT_PT: u8 = 101;

/// A presses 5 as a tone of 100 ms, and 7 as an event, with pauses; what B heard.
fn press(call: &mut Call) -> Vec<Packet> {
    let mut heard = Vec::new();
    let mut at = 0_u16;
    every_20_ms(50, |n| {
        match n {
            10..15 => {
                let tone: Vec<u8> = (0..160).map(|_| tone(&mut at)).collect();
                call.a.send(call.a_to, 0, tone);
                call.a.timestamp = call.a.timestamp.wrapping_add(160);
            }
            30..36 => {
                let end = u8::from(n >= 33) << 7;
                call.a.send(call.a_to, EVENT_PT, vec![7, end | 10, 0, 200]);
                if n == 35 {
                    call.a.timestamp = call.a.timestamp.wrapping_add(6 * 160);
                }
            }
            _ => call.a.speak_fast(call.a_to),
        }
        call.b.speak_fast(call.b_to);
        heard.extend(call.b.heard());
    });
    std::thread::sleep(std::time::Duration::from_millis(400));
    heard.extend(call.b.heard());
    call.a.datagrams();
    heard
}

/// One sample more of the key 5: 770 and 1336 Hz.
fn tone(at: &mut u16) -> u8 {
    let seconds = f32::from(*at) / 8_000.0;
    *at += 1;
    let sum = (TAU * 770.0 * seconds).sin() + (TAU * 1_336.0 * seconds).sin();
    #[allow(clippy::cast_possible_truncation, reason = "far inside the range")]
    let sample = (6_000.0 * sum) as i16;
    g711::linear_to_ulaw(sample)
}

/// Keys in the audio, and codes of events.
fn keys(heard: &[Packet]) -> (String, Vec<u8>) {
    assert_eq!(rtp::gaps(heard), (0, true), "numbers at B");
    let (events, audio): (Vec<_>, Vec<_>) = heard
        .iter()
        .cloned()
        .partition(|packet| packet.pt == EVENT_PT);
    let pcm: Vec<i16> = rtp::pcmu(&audio)
        .iter()
        .map(|octet| g711::ulaw_to_linear(*octet))
        .collect();
    let mut found = String::new();
    let mut detector = Detector::new(8_000).expect("a rate");
    detector.feed(&pcm, &mut |heard| {
        if let Heard::Began(tone) = heard {
            found.push(tone.digit.as_char());
        }
    });
    let mut codes: Vec<u8> = events.iter().map(|packet| packet.payload[0]).collect();
    codes.dedup();
    (found, codes)
}

#[test]
fn keys_are_masked_by_command_and_through_a_re_offer() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    let all = ("5".to_owned(), vec![7]);
    assert_eq!(keys(&press(&mut call)), all);
    let block = |more: serde_json::Value| {
        let mut request = json!({"command": "block DTMF", "call-id": call.id});
        let (own, more) = (request.as_object_mut(), more.as_object().cloned());
        own.expect("a dictionary")
            .extend(more.expect("a dictionary"));
        request
    };
    let plain = block(json!({}));
    let drop = block(json!({"from-tag": "tag-a", "DTMF-security": "drop"}));
    let zero = block(json!({"DTMF-security": "zero"}));
    let other = block(json!({"from-tag": "tag-b", "DTMF-security": "drop"}));
    let off = json!({"command": "unblock DTMF", "call-id": call.id});
    ng.ok(&plain);
    assert_eq!(keys(&press(&mut call)), ("5".to_owned(), vec![]), "plain");
    let reply = ng.ok(&drop);
    assert_eq!(reply.get("warning"), None);
    assert_eq!(keys(&press(&mut call)), (String::new(), vec![]), "drop");
    // The same call, offered anew.
    let (id, sdp_a, sdp_b) = (call.id.clone(), call.a.sdp(), call.b.sdp());
    ng.ok(&offer(&id, "tag-a", &sdp_a));
    ng.ok(&answer(&id, "tag-a", "tag-b", &sdp_b));
    assert_eq!(keys(&press(&mut call)), (String::new(), vec![]), "re-offer");
    ng.ok(&zero);
    assert_eq!(keys(&press(&mut call)), ("0".to_owned(), vec![0]), "zero");
    ng.ok(&off);
    press(&mut call);
    assert_eq!(keys(&press(&mut call)), all, "unblocked");
    ng.ok(&other);
    assert_eq!(keys(&press(&mut call)), all, "the other party's");
    let nobody = ng.request(&json!({
        "command": "block DTMF", "call-id": call.id, "from-tag": "tag-x",
    }));
    assert_eq!(nobody["result"], "error");
}

#[test]
fn an_offer_masks_the_keys_of_its_party() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    let (id, sdp_a, sdp_b) = (call.id.clone(), call.a.sdp(), call.b.sdp());
    let mut request = offer(&id, "tag-a", &sdp_a);
    request["DTMF-security"] = json!("drop");
    ng.ok(&request);
    ng.ok(&answer(&id, "tag-a", "tag-b", &sdp_b));
    call.connect();
    assert_eq!(keys(&press(&mut call)), (String::new(), vec![]));
}

#[test]
fn a_codec_that_cannot_be_decoded_beside_one_that_can_is_told() {
    let switch = Switch::start();
    let mut ng = switch.client();
    for (numbers, map, told) in [
        ("0 18 101", "a=rtpmap:18 G729/8000\r\n", true),
        ("0 8 13 101", "a=rtpmap:13 CN/8000\r\n", false),
    ] {
        let mut call = Call::new(&mut ng);
        let id = format!("{}-{told}", call.id);
        let listed = format!("RTP/AVP {numbers}\r\n{map}");
        let sdp =
            |party: &mut support::party::Party| party.sdp().replace("RTP/AVP 0 101\r\n", &listed);
        let (sdp_a, sdp_b) = (sdp(&mut call.a), sdp(&mut call.b));
        ng.ok(&offer(&id, "tag-a", &sdp_a));
        ng.ok(&answer(&id, "tag-a", "tag-b", &sdp_b));
        let mask = json!({"command": "block DTMF", "call-id": id, "from-tag": "tag-a",
            "DTMF-security": "drop"});
        let reply = ng.ok(&mask);
        assert_eq!(reply.get("warning").is_some(), told, "{numbers}: {reply}");
    }
}

#[test]
fn keys_of_the_party_begin_and_end_it() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    let all = ("5".to_owned(), vec![7]);
    let id = call.id.clone();
    let mut block = |keys: serde_json::Value| {
        let mut request = json!({"command": "block DTMF", "call-id": id});
        let (own, keys) = (request.as_object_mut(), keys.as_object().cloned());
        own.expect("keys").extend(keys.expect("keys"));
        let reply = ng.ok(&request);
        assert_eq!(reply.get("warning"), None, "{reply}");
    };
    block(json!({"trigger": 7, "trigger-end-digits": 1}));
    assert_eq!(keys(&press(&mut call)), all, "until it is triggered");
    assert_eq!(keys(&press(&mut call)), ("5".to_owned(), vec![]));
    assert_eq!(keys(&press(&mut call)), all, "one key ends it");
    block(json!({"trigger": "57", "DTMF-security": "drop", "trigger-end": "7"}));
    assert_eq!(keys(&press(&mut call)), all, "a tone, then an event");
    assert_eq!(keys(&press(&mut call)), (String::new(), vec![]));
    press(&mut call);
    assert_eq!(keys(&press(&mut call)), (String::new(), vec![]), "again");
    block(json!({"trigger-end-time": 60_000}));
    assert_eq!(keys(&press(&mut call)), ("5".to_owned(), vec![]), "at once");
}

#[test]
fn an_offer_has_triggers_and_one_that_repeats_them_changes_nothing() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    let (id, sdp_a, sdp_b) = (call.id.clone(), call.a.sdp(), call.b.sdp());
    let mut request = offer(&id, "tag-a", &sdp_a);
    request["trigger"] = json!("7");
    request["DTMF-security-trigger"] = json!("zero");
    ng.ok(&request);
    ng.ok(&answer(&id, "tag-a", "tag-b", &sdp_b));
    call.connect();
    assert_eq!(keys(&press(&mut call)), ("5".to_owned(), vec![7]));
    assert_eq!(keys(&press(&mut call)), ("0".to_owned(), vec![0]));
    ng.ok(&request);
    ng.ok(&answer(&id, "tag-a", "tag-b", &sdp_b));
    assert_eq!(keys(&press(&mut call)), ("0".to_owned(), vec![0]));
}

#[test]
fn triggers_that_cannot_be_are_refused() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    let id = call.id.clone();
    let mut reason = |key: &str, value: serde_json::Value| {
        let mut request = json!({"command": "block DTMF", "call-id": id});
        request[key] = value;
        let reply = ng.request(&request);
        assert_eq!(reply["result"], "error", "{reply}");
        reply["error-reason"].as_str().expect("a reason").to_owned()
    };
    let long = "1".repeat(33);
    assert_eq!(
        reason("trigger", json!(long)),
        "trigger: more than 32 digits"
    );
    let no_key = "trigger-end: character 1 is no key: 0-9, *, # and A-D are";
    assert_eq!(reason("trigger-end", json!("1x")), no_key);
    let alone = reason("DTMF-security-trigger", json!("drop"));
    assert_eq!(alone, "DTMF-security-trigger without trigger");
    let mut request = offer("bad-trigger", "tag-a", &call.a.sdp());
    request["trigger"] = json!("");
    assert_eq!(ng.request(&request)["error-reason"], "trigger: no digits");
    let query = ng.request(&json!({"command": "query", "call-id": "bad-trigger"}));
    assert_eq!(query["result"], "error", "the offer was not taken");
}

#[test]
fn who_comes_later_is_masked_by_what_was_said_of_the_call() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut first = Call::new(&mut ng);
    first.connect();
    let id = first.id.clone();
    let block = |on: &str| json!({"command": on, "call-id": id, "DTMF-security": "drop"});
    ng.ok(&block("block DTMF"));
    let mut later = branch(&mut ng, first.a, &id, "c");
    later.connect();
    assert_eq!(keys(&press(&mut later)), (String::new(), vec![]));
    ng.ok(&block("unblock DTMF"));
    let mut last = branch(&mut ng, later.b, &id, "d");
    last.connect();
    assert_eq!(keys(&press(&mut last)), ("5".to_owned(), vec![7]));
}

/// A third party answers an offer of A; it presses, and A hears.
fn branch(ng: &mut support::ng::Ng, mut a: Party, id: &str, tag: &str) -> Call {
    let mut c = Party::new("127.0.0.1", 1_300.0);
    let mut request = offer(id, "tag-a", &a.sdp());
    request["via-branch"] = json!(tag);
    let c_to = target(ng.ok(&request)["sdp"].as_str().expect("an SDP"));
    let mut request = answer(id, "tag-a", tag, &c.sdp());
    request["via-branch"] = json!(tag);
    let a_to = target(ng.ok(&request)["sdp"].as_str().expect("an SDP"));
    Call {
        id: id.to_owned(),
        a: c,
        b: a,
        a_to: c_to,
        b_to: a_to,
    }
}

#[test]
fn a_line_that_cannot_be_decoded_leaves_the_others_masked() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1_000.0),
    );
    let more = "m=audio 40000 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n";
    let id = "two-lines".to_owned();
    let request = offer(&id, "tag-a", &format!("{}{more}", a.sdp()));
    let b_to = target(ng.ok(&request)["sdp"].as_str().expect("an SDP"));
    let request = answer(&id, "tag-a", "tag-b", &format!("{}{more}", b.sdp()));
    let a_to = target(ng.ok(&request)["sdp"].as_str().expect("an SDP"));
    let mut call = Call {
        id,
        a,
        b,
        a_to,
        b_to,
    };
    call.connect();
    let reply = ng.ok(&json!({
        "command": "block DTMF", "call-id": call.id, "from-tag": "tag-a", "DTMF-security": "drop",
    }));
    let warning = reply["warning"].as_str().expect("a warning");
    assert!(warning.contains("tag-a media 1") && !warning.contains("media 0"));
    assert_eq!(keys(&press(&mut call)), (String::new(), vec![]));
}

#[test]
fn who_only_listens_hears_a_masked_party_without_its_keys() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    let listens = |ng: &mut support::ng::Ng, id: &str| {
        let reply = ng.ok(&json!({
            "command": "subscribe request", "call-id": id, "from-tag": "tag-a",
        }));
        let mut party = Party::new("127.0.0.1", 300.0);
        let request = json!({
            "command": "subscribe answer", "call-id": id, "to-tag": reply["to-tag"],
            "sdp": party.sdp(),
        });
        ng.ok(&request);
        party
    };
    let before = listens(&mut ng, &call.id);
    ng.ok(&json!({
        "command": "block DTMF", "call-id": call.id, "DTMF-security": "zero",
    }));
    let after = listens(&mut ng, &call.id);
    assert_eq!(keys(&press(&mut call)), ("0".to_owned(), vec![0]));
    for listener in [before, after] {
        let heard = listener.heard();
        assert!(heard.len() > 40, "{} packets", heard.len());
        assert_eq!(keys(&heard), ("0".to_owned(), vec![0]));
    }
}
