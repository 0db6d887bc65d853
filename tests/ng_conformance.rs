//! What ng clients rely on, asked of the whole process over UDP. Each fact was first measured on
//! rtpengine (10.5, userspace); `CROSSPOINT_TEST_PEER=rtpengine` runs these tests against it.

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::ng::{Ng, bencode, unbencode};
use support::party::{Call, Party, answer, offer, target};
use support::rtp::{self, Digit, Packet};
use support::switch::{self, Switch};
use support::{audio, every_20_ms, wait_until};

/// The audio target of a reply's SDP.
fn audio_at(reply: &Value) -> SocketAddr {
    target(reply["sdp"].as_str().expect("an SDP in the reply"))
}

fn error_of(ng: &mut Ng, request: &Value) -> String {
    let reply = ng.request(request);
    assert_eq!(reply["result"], "error", "{request} was answered {reply}");
    reply["error-reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn ping_is_answered_pong_in_both_encodings() {
    let switch = Switch::start();
    let mut ng = switch.client();
    assert_eq!(
        ng.exchange("4c1e9", b"d7:command4:pinge"),
        b"d6:result4:ponge"
    );
    assert_eq!(
        ng.request(&json!({"command": "ping"})),
        json!({"result": "pong"})
    );
    assert_eq!(
        ng.request_json(&json!({"command": "ping"})),
        json!({"result": "pong"})
    );
}

#[test]
fn a_repeated_cookie_gets_the_identical_bytes_and_runs_nothing() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    let request = offer("replayed", "tag-a", &a.sdp());
    let cookie = ng.cookie();
    let first = ng.exchange(&cookie, &bencode(&request));
    assert_eq!(unbencode(&first)["result"], "ok");
    assert_eq!(ng.exchange(&cookie, &bencode(&request)), first);
    // The cookie decides, not the body and not the sender.
    assert_eq!(
        switch.client().exchange(&cookie, b"d7:command4:pinge"),
        first
    );

    // A delete whose reply was lost: the second one must not say "unknown".
    let delete = bencode(&json!({"command": "delete", "call-id": "replayed"}));
    let cookie = ng.cookie();
    let first = ng.exchange(&cookie, &delete);
    assert_eq!(unbencode(&first).get("warning"), None);
    assert_eq!(ng.exchange(&cookie, &delete), first);

    // Errors are kept as well.
    let cookie = ng.cookie();
    let first = ng.exchange(&cookie, b"d7:command10:frobnicatee");
    assert_eq!(unbencode(&first)["result"], "error");
    assert_eq!(ng.exchange(&cookie, b"d7:command4:pinge"), first);
}

#[test]
fn errors_are_worded_as_clients_know_them() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let sdp = Party::new("127.0.0.1", 600.0).sdp();
    let cases = [
        (json!({"command": "frobnicate"}), "Unrecognized command"),
        (
            json!({"no": "command"}),
            "Dictionary contains no key \"command\"",
        ),
        (
            json!({"command": "offer", "from-tag": "a", "sdp": sdp}),
            "No call-id in message",
        ),
        (
            json!({"command": "offer", "call-id": "c", "sdp": sdp}),
            "No from-tag in message",
        ),
        (
            json!({"command": "offer", "call-id": "c", "from-tag": "a"}),
            "No SDP body in message",
        ),
        (
            json!({"command": "answer", "call-id": "c", "from-tag": "a", "sdp": sdp}),
            "No to-tag in message",
        ),
        (answer("unknown", "a", "b", &sdp), "Unknown call-id"),
        (
            json!({"command": "query", "call-id": "unknown"}),
            "Unknown call-id",
        ),
        (json!({"command": "delete"}), "No call-id in message"),
    ];
    for (request, reason) in cases {
        assert_eq!(error_of(&mut ng, &request), reason, "{request}");
    }
    let cookie = ng.cookie();
    let reply = ng.exchange(&cookie, b"xyz");
    assert!(String::from_utf8_lossy(&reply).contains("Invalid NG data format"));
    let cookie = ng.cookie();
    let reply = ng.exchange(&cookie, b"d7:command");
    assert_eq!(
        unbencode(&reply)["error-reason"],
        "Could not decode bencode dictionary"
    );
    let cookie = ng.cookie();
    let reply = ng.exchange(&cookie, b"{\"command\":");
    let reply: Value = serde_json::from_slice(&reply).expect("JSON in, JSON out");
    assert_eq!(reply["error-reason"], "Failed to parse JSON document");
    assert!(ng.calls().is_empty(), "a refused offer leaves no call");
}

#[test]
fn delete_of_an_unknown_call_is_ok_with_a_warning_unless_fatal() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let request = json!({"command": "delete", "call-id": "nope", "from-tag": "x"});
    let reply = ng.ok(&request);
    assert_eq!(reply["warning"], "Call-ID not found or tags didn't match");
    let mut request = request;
    request["flags"] = json!(["fatal"]);
    assert_eq!(
        error_of(&mut ng, &request),
        "Call-ID not found or tags didn't match"
    );
}

#[test]
fn a_whole_call_in_json() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    let reply = ng.request_json(&offer("json", "tag-a", &a.sdp()));
    assert_eq!(reply["result"], "ok", "{reply}");
    let b_to = audio_at(&reply);
    let reply = ng.request_json(&answer("json", "tag-a", "tag-b", &b.sdp()));
    assert_eq!(reply["result"], "ok", "{reply}");
    let a_to = audio_at(&reply);
    let mut call = Call {
        id: "json".into(),
        a,
        b,
        a_to,
        b_to,
    };
    call.connect();
    call.assert_works("a call in JSON");
    let reply = ng.request_json(&json!({"command": "delete", "call-id": "json"}));
    assert_eq!(reply["result"], "ok", "{reply}");
    assert!(ng.calls().is_empty());
}

#[test]
fn keys_are_taken_in_every_spelling_and_unknown_ones_ignored() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let sdp = Party::new("127.0.0.1", 600.0).sdp();
    for (n, key) in ["call-id", "call-ID", "call id"].iter().enumerate() {
        let mut request = json!({
            "command": "offer", "from-tag": "a", "sdp": sdp, "made-up": ["x", {"y": 1}],
            "flags": ["trust address", "no-such-flag", "SDES-no-such"],
        });
        request[*key] = json!(format!("spelling-{n}"));
        ng.ok(&request);
    }
    let mut calls = ng.calls();
    calls.sort();
    assert_eq!(calls, ["spelling-0", "spelling-1", "spelling-2"]);
}

#[test]
fn list_names_the_calls_up_to_the_limit() {
    let switch = Switch::start();
    let mut ng = switch.client();
    assert!(ng.calls().is_empty());
    for n in 0..40 {
        let sdp = Party::new("127.0.0.1", 600.0).sdp();
        ng.ok(&offer(&format!("listed-{n}"), "a", &sdp));
    }
    assert_eq!(ng.calls().len(), 40);
    let mut count = |request: Value| ng.ok(&request)["calls"].as_array().expect("a list").len();
    assert_eq!(count(json!({"command": "list"})), 32, "the default limit");
    assert_eq!(count(json!({"command": "list", "limit": 7})), 7);
    let reason = error_of(&mut ng, &json!({"command": "list", "limit": -1}));
    assert_eq!(reason, "invalid limit, must be >= 0");
    for n in 0..40 {
        ng.ok(&json!({"command": "delete", "call-id": format!("listed-{n}")}));
    }
    assert!(ng.calls().is_empty());
}

#[test]
fn query_and_delete_tell_tags_streams_and_totals() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let before = unix_now();
    let mut call = Call::new(&mut ng);
    call.connect();
    call.assert_works("before the query");
    let sent = 50;

    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    check_body(&query, &call, sent, before);
    let deleted = call.delete(&mut ng);
    check_body(&deleted, &call, sent, before);
    assert_eq!(
        error_of(&mut ng, &json!({"command": "query", "call-id": call.id})),
        UNKNOWN
    );
}

const UNKNOWN: &str = "Unknown call-id";

fn unix_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs().cast_signed()
}

/// Structure and units of a query or delete reply (bytes are UDP payload of the RTP packets).
fn check_body(body: &Value, call: &Call, sent: i64, before: i64) {
    let created = body["created"].as_i64().expect("created");
    assert!(
        (before - 1..=unix_now() + 1).contains(&created),
        "created is in unix seconds"
    );
    assert!(body["last signal"].as_i64().expect("last signal") >= created);

    let total = &body["totals"]["RTP"];
    let packets = total["packets"].as_i64().expect("packets");
    assert!(packets >= 2 * sent, "totals count both directions: {total}");
    let bytes = total["bytes"].as_i64().expect("bytes");
    assert_eq!(bytes % packets, 0, "all packets have one size");
    assert!(
        [160, 172].contains(&(bytes / packets)),
        "bytes of 20 ms of G.711: {total}"
    );
    assert_eq!(total["errors"], 0);
    assert!(body["totals"]["RTCP"]["packets"].is_i64());

    for (tag, own, other) in [("tag-a", &call.a, "tag-b"), ("tag-b", &call.b, "tag-a")] {
        let party = &body["tags"][tag];
        assert_eq!(party["tag"], tag, "{body}");
        assert!(party["created"].as_i64().expect("created") >= created);
        let sinks = party["subscriptions"].as_array().expect("subscriptions");
        assert!(
            sinks.iter().any(|s| s["tag"] == other),
            "{tag} hears {other}: {party}"
        );
        let media = &party["medias"][0];
        assert_eq!(media["index"], 1);
        assert_eq!(media["type"], "audio");
        assert_eq!(media["protocol"], "RTP/AVP");
        let stream = &media["streams"][0];
        let local = if tag == "tag-a" { call.a_to } else { call.b_to };
        assert_eq!(stream["local port"], local.port());
        assert_eq!(stream["endpoint"]["address"], "127.0.0.1");
        assert_eq!(stream["endpoint"]["port"], own.address().port());
        assert_eq!(stream["endpoint"]["family"], "IPv4");
        assert_eq!(stream["SSRC"], own.ssrc);
        assert!(stream["last packet"].as_i64().expect("last packet") >= created);
        assert!(stream["stats"]["packets"].as_i64().expect("packets") >= sent);
        let flags = stream["flags"].as_array().expect("flags");
        assert!(flags.contains(&json!("RTP")), "{flags:?}");
        let rtcp = &media["streams"][1];
        assert_eq!(rtcp["local port"], local.port() + 1);
    }
    // Without RTCP rtpengine knows no sources; who lists them, lists them right.
    for (ssrc, source) in body["SSRC"].as_object().expect("SSRC") {
        assert!(
            [call.a.ssrc, call.b.ssrc]
                .map(|own| own.to_string())
                .contains(ssrc)
        );
        assert!(
            source["packets"].as_i64().expect("packets of a source") >= sent,
            "{source}"
        );
    }
}

#[test]
fn two_parties_of_one_ssrc_are_one_key_of_the_query() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    b.ssrc = a.ssrc;
    let mut call = Call::between(&mut ng, a, b);
    call.connect();
    call.assert_works("with one SSRC");
    // The reader of replies accepts no key twice.
    let body = ng.ok(&json!({"command": "query", "call-id": call.id}));
    assert_eq!(
        body["tags"].as_object().map(serde_json::Map::len),
        Some(2),
        "{body}"
    );
}

#[test]
fn a_reoffer_from_either_side_keeps_all_ports() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();

    // From the caller.
    let mut request = offer(&call.id, "tag-a", &call.a.sdp());
    request["to-tag"] = json!("tag-b");
    assert_eq!(audio_at(&ng.ok(&request)), call.b_to);
    let request = answer(&call.id, "tag-a", "tag-b", &call.b.sdp());
    assert_eq!(audio_at(&ng.ok(&request)), call.a_to);
    call.assert_works("after the caller's re-offer");

    // From the callee: its tag is the from-tag now.
    let mut request = offer(&call.id, "tag-b", &call.b.sdp());
    request["to-tag"] = json!("tag-a");
    assert_eq!(audio_at(&ng.ok(&request)), call.a_to);
    let request = answer(&call.id, "tag-b", "tag-a", &call.a.sdp());
    assert_eq!(audio_at(&ng.ok(&request)), call.b_to);
    call.assert_works("after the callee's re-offer");
}

#[test]
fn a_new_address_in_a_reoffer_is_used_at_once() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();

    let mut moved = Party::new("127.0.0.1", 700.0);
    let mut request = offer(&call.id, "tag-a", &moved.sdp());
    request["to-tag"] = json!("tag-b");
    ng.ok(&request);
    let reply = ng.ok(&answer(&call.id, "tag-a", "tag-b", &call.b.sdp()));
    assert_eq!(audio_at(&reply), call.a_to);
    // The callee speaks first: nothing has come from the new address yet.
    every_20_ms(25, |_| call.b.speak(call.b_to));
    let mut heard = 0;
    wait_until("the new address hears the callee", || {
        heard += moved.heard().len();
        heard == 25
    });
    assert_eq!(call.a.heard(), [], "the old address hears nothing any more");
    every_20_ms(25, |_| moved.speak(call.a_to));
    let mut heard = Vec::new();
    wait_until("the callee hears the new address", || {
        heard.extend(call.b.heard());
        heard.len() == 25
    });
    assert!(audio::share_of_tone(&rtp::pcmu(&heard), 700.0) > 0.9);
}

#[test]
fn media_before_the_answer_is_relayed_when_asked_for() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    // Without SDP of the callee anybody could be it: the flag says that early media matters more.
    let mut request = offer("early", "tag-a", &a.sdp());
    request["flags"] = json!(["trust-address", "early-media"]);
    let reply = ng.ok(&request);
    let b_to = audio_at(&reply);
    let mut heard = Vec::new();
    wait_until("the caller hears early media", || {
        b.speak(b_to);
        std::thread::sleep(support::PTIME);
        heard.extend(a.heard());
        heard.len() > 30
    });
    assert!(audio::share_of_tone(&rtp::pcmu(&heard), 1000.0) > 0.9);
}

/// One branch of a fork: its callee and where it sends.
fn ring(ng: &mut Ng, id: &str, branch: &str, caller: &mut Party) -> SocketAddr {
    let mut request = offer(id, "tag-a", &caller.sdp());
    request["via-branch"] = json!(branch);
    audio_at(&ng.ok(&request))
}

#[test]
fn branches_get_ports_of_their_own_and_the_answered_one_is_bridged() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let id = "forked";
    let mut a = Party::new("127.0.0.1", 600.0);
    let mut one = Party::new("127.0.0.1", 1000.0);
    let mut two = Party::new("127.0.0.1", 1400.0);
    let one_to = ring(&mut ng, id, "z9hG4bK-one", &mut a);
    let two_to = ring(&mut ng, id, "z9hG4bK-two", &mut a);
    assert_ne!(one_to, two_to, "each branch has its own port");
    // Asked again, a branch keeps what it has.
    assert_eq!(ring(&mut ng, id, "z9hG4bK-one", &mut a), one_to);

    // Early media of one, then two answers for good.
    let mut request = answer(id, "tag-a", "tag-1", &one.sdp());
    request["via-branch"] = json!("z9hG4bK-one");
    request["flags"] = json!(["trust-address", "provisional"]);
    ng.ok(&request);
    let mut heard = 0;
    wait_until("the caller hears the first branch ring", || {
        one.speak(one_to);
        std::thread::sleep(support::PTIME);
        heard += a.heard().len();
        heard > 10
    });
    let mut request = answer(id, "tag-a", "tag-2", &two.sdp());
    request["via-branch"] = json!("z9hG4bK-two");
    let a_to = audio_at(&ng.ok(&request));
    ng.ok(&json!({
        "command": "delete", "call-id": id, "from-tag": "tag-a", "via-branch": "z9hG4bK-one",
    }));
    assert_eq!(
        ng.calls(),
        [id],
        "the other branch's end does not end the call"
    );

    let mut call = Call {
        id: id.into(),
        a,
        b: two,
        a_to,
        b_to: two_to,
    };
    call.connect();
    one.datagrams();
    call.assert_works("with the answered branch");
    assert_eq!(one.datagrams(), [], "the lost branch hears nothing");
    ng.ok(&json!({"command": "delete", "call-id": id, "from-tag": "tag-a"}));
    assert!(ng.calls().is_empty());
}

#[test]
fn telephone_events_are_relayed_with_the_number_each_party_gave() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    a.event_pt = 96;
    b.event_pt = 101;
    let mut call = Call::between(&mut ng, a, b);
    call.connect();
    for code in [5, 6] {
        for update in 1..=10u8 {
            let end = update >= 8;
            let [high, low] = (u16::from(update.min(8)) * 160).to_be_bytes();
            call.a.send(
                call.a_to,
                96,
                vec![code, 10 | u8::from(end) << 7, high, low],
            );
            std::thread::sleep(support::PTIME);
        }
        call.a.timestamp = call.a.timestamp.wrapping_add(1600);
    }
    let mut heard: Vec<Packet> = Vec::new();
    wait_until("all event packets arrive", || {
        heard.extend(call.b.heard());
        heard.len() == 20
    });
    let pt = heard[0].pt;
    let digit = |code| Digit {
        code,
        pt,
        ends: 3,
        duration: 1280,
    };
    assert_eq!(rtp::digits(&heard), [digit(5), digit(6)]);
    assert_eq!(rtp::gaps(&heard), (0, true));
    // rtpengine without transcoding leaves the caller's number, which the callee never named.
    let expected = if switch::peer_is_rtpengine() { 96 } else { 101 };
    assert_eq!(pt, expected, "the callee's own payload type");
    call.delete(&mut ng);
}
