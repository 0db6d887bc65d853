//! Calls while they live: what `crosspoint top` and `GET /calls` show of them.

use crosspoint::control::live::view::{List, Row, Whole};

use super::*;

/// Calls one, after a greeting, and records.
const BOB: &str = r#"
numbers = ["200"]
start = "tape"

[applet.tape]
applet = "record"
next = "hello"

[applet.hello]
applet = "greeting"
prompt = "a.wav"
next = "bob"

[applet.bob]
applet = "connect"
to = "sip:bob@127.0.0.1:@0@"
"#;

fn get<T: serde::de::DeserializeOwned>(stage: &Stage, path: &str) -> Option<T> {
    let (status, body) = stage.switch.http("GET", path);
    let read = || serde_json::from_slice(&body).expect("the JSON of a call");
    (status == 200).then(read)
}

/// The one call there is, once it has come to this applet.
fn call_at(stage: &Stage, applet: &str) -> Row {
    let mut found = None;
    wait_until("the call comes there", || {
        let list: List = get(stage, "/calls").expect("a list");
        found = list.calls.into_iter().find(|call| call.applet == applet);
        found.is_some()
    });
    found.expect("waited for")
}

fn top_once(stage: &Stage) -> String {
    let http = stage.switch.http.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_crosspoint"));
    let output = command.args(["top", "--once", "--http", &http]).output();
    let output = output.expect("our binary");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_call_is_seen_from_its_greeting_to_its_end_with_its_legs() {
    let mut stage = Stage::set(&[("bob", BOB)], 1, 1);
    let callee = stage.callee(0, "callee", 1, callee_voice(400));
    let caller = stage.caller("caller", 1, "200", caller_voice(400));
    call_at(&stage, "hello");
    let call = call_at(&stage, "bob");
    assert_eq!(
        (&*call.to, &*call.flow, &*call.status),
        ("200", "bob", "in-progress")
    );
    let mut whole = Whole::default();
    wait_until("both are heard", || {
        whole = get(&stage, &format!("/calls/{}", call.sid)).expect("the call");
        let media = whole.parties.iter().filter_map(|leg| leg.media.as_ref());
        media.filter(|media| media.mos.is_some()).count() == 2
    });
    let legs = &whole.parties;
    let ways: Vec<_> = legs.iter().map(|leg| leg.direction.as_str()).collect();
    assert_eq!(ways, ["inbound", "outbound-dial"]);
    assert!(legs[1].number.starts_with("sip:bob@127.0.0.1"), "{legs:?}");
    for leg in legs {
        let media = leg.media.as_ref().expect("media");
        assert_eq!(
            (&*leg.status, &*media.codec, media.lost),
            ("in-progress", "PCMU/8000", 0)
        );
        assert!(media.mos.is_some_and(|mos| mos > 4.0), "{leg:?}");
        assert!(leg.talk_ms.is_some_and(|ms| ms <= leg.age_ms), "{leg:?}");
    }
    assert_eq!(whole.recordings.len(), 1);
    let table = top_once(&stage);
    let line = table.lines().find(|line| line.contains(&call.sid));
    let line = line.unwrap_or_else(|| panic!("{table}"));
    for text in ["in-progress", " 200 ", "bob/bob", "   2  "] {
        assert!(line.contains(text), "{text}: {line}");
    }
    caller.finish();
    callee.finish();
    let records = stage.finish(1);
    assert_eq!(records[0]["sid"], call.sid.as_str());
    let list: List = get(&stage, "/calls").expect("a list");
    assert!(list.calls.is_empty(), "{list:?}");
    assert_eq!((list.totals.calls, list.totals.completed), (0, 1));
    assert!(get::<Whole>(&stage, &format!("/calls/{}", call.sid)).is_none());
    let (_, metrics) = stage.switch.http("GET", "/metrics");
    let metrics = String::from_utf8(metrics).expect("UTF-8");
    for line in [
        "crosspoint_flow_calls 0",
        "crosspoint_flow_calls_started_total 1",
        "crosspoint_flow_calls_ended_total{status=\"completed\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn what_a_caller_hides_in_its_name_does_not_reach_a_terminal() {
    let flow = "numbers = [\"200\"]\nstart = \"ring\"\n[applet.ring]\napplet = \"missed-call\"\n";
    let stage = Stage::set(&[("ring", flow)], 0, 1);
    let phone = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let own = phone.local_addr().expect("bound");
    let to = format!("127.0.0.1:{}", stage.sip);
    let invite = format!(
        "INVITE sip:200@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKhostile\r\n\
         From: \"x\u{1b}[31m\" <sip:evil%1B%5B2J%0D%0A%C2%9B31mann%E2%80%AE@{own}>;tag=h\r\n\
         To: <sip:200@{to}>\r\nCall-ID: hostile@{own}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:ann@{own}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    phone.send_to(invite.as_bytes(), &to).expect("sent");
    let call = call_at(&stage, "ring");
    assert!(call.from.contains("evil"), "{call:?}");
    assert_eq!(call.status, "ringing");
    let table = top_once(&stage);
    assert!(
        table.contains("evil") && table.contains(&call.sid),
        "{table}"
    );
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!table.contains(harmful), "{table:?}");
}
