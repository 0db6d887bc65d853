//! Listeners and echoes, asked of the whole process by ng, with real sockets.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint::audio::dtmf::{Detector, Heard};
use crosspoint::audio::g711;
use serde_json::{Value, json};
use support::ng::Ng;
use support::party::{Call, Party, answer, offer, target};
use support::rtp::{self, Packet};
use support::switch::Switch;
use support::{audio, every_20_ms, wait_until};

/// One who listens: a party for each line of the offer that it got.
struct Listener {
    tag: String,
    lines: Vec<Party>,
    /// Our address on each line; port 0 where the line is not in use.
    offered: Vec<SocketAddr>,
    reply: Value,
}

fn request(call: &Call, more: &Value) -> Value {
    let mut request = json!({"command": "subscribe request", "call-id": call.id});
    let more = more.as_object().expect("a dictionary").clone();
    let request_map = request.as_object_mut().expect("a dictionary");
    request_map.extend(more);
    request
}

fn subscribe_answer(call: &Call, tag: &str, sdp: &str) -> Value {
    let mut answer = json!({"command": "subscribe answer", "call-id": call.id});
    answer["to-tag"] = json!(tag);
    answer["sdp"] = json!(sdp);
    answer
}

impl Listener {
    fn request(ng: &mut Ng, call: &Call, more: &Value) -> Self {
        let reply = ng.ok(&request(call, more));
        let offered = targets(text(&reply, "sdp"));
        let lines = offered.iter().map(|_| Party::new("127.0.0.1", 300.0));
        Self {
            tag: text(&reply, "to-tag").to_owned(),
            lines: lines.collect(),
            offered,
            reply,
        }
    }

    /// Its answer, with these formats and this direction on every line.
    fn answer(&self, call: &Call, formats: &str, direction: &str) -> Value {
        let mut sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
        for line in &self.lines {
            let port = line.address().port();
            sdp += &format!(
                "m=audio {port} RTP/AVP {formats}\r\nc=IN IP4 127.0.0.1\r\n\
                 a=rtpmap:97 telephone-event/8000\r\na={direction}\r\n"
            );
        }
        self.answer_with(call, &sdp)
    }

    fn answer_with(&self, call: &Call, sdp: &str) -> Value {
        subscribe_answer(call, &self.tag, sdp)
    }

    /// It listens to all that `more` selects.
    fn listening(ng: &mut Ng, call: &Call, more: &Value) -> Self {
        let listener = Self::request(ng, call, more);
        let reply = ng.ok(&listener.answer(call, "0", "recvonly"));
        assert_eq!(reply.get("warning"), None, "{reply}");
        listener
    }

    fn unsubscribe(&self, call: &Call) -> Value {
        json!({"command": "unsubscribe", "call-id": call.id, "to-tag": self.tag})
    }

    /// What came on each line, once there are `count` packets on all of them.
    fn hear(&self, count: usize) -> Vec<Vec<Packet>> {
        let mut heard = vec![Vec::new(); self.lines.len()];
        wait_until("a listener hears enough", || {
            for (line, heard) in self.lines.iter().zip(&mut heard) {
                heard.extend(line.heard());
            }
            heard.iter().all(|heard| heard.len() >= count)
        });
        heard
    }

    fn hears_nothing(&self) -> bool {
        std::thread::sleep(Duration::from_millis(300));
        self.lines.iter().all(|line| line.heard().is_empty())
    }
}

fn text<'a>(reply: &'a Value, key: &str) -> &'a str {
    let value = reply[key].as_str();
    value.unwrap_or_else(|| panic!("no {key} in {reply}"))
}

/// Where an SDP wants each of its lines.
fn targets(sdp: &str) -> Vec<SocketAddr> {
    let medias = sdp.split("\r\nm=").skip(1);
    let target = |media: &str| {
        let port = media.split(' ').nth(1).expect("a port");
        let ip = media.split("c=IN IP4 ").nth(1).expect("a c= of its own");
        let ip = ip.split("\r\n").next().expect("an address");
        SocketAddr::new(ip.parse().expect("IPv4"), port.parse().expect("a port"))
    };
    medias.map(target).collect()
}

fn connected(switch: &Switch) -> (Ng, Call) {
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    (ng, call)
}

fn error(ng: &mut Ng, request: &Value) -> String {
    let reply = ng.request(request);
    assert_eq!(reply["result"], "error", "{request} was answered {reply}");
    text(&reply, "error-reason").to_owned()
}

fn assert_tone(packets: &[Packet], hz: f32) {
    let share = audio::share_of_tone(&rtp::pcmu(packets), hz);
    assert!(share > 0.95, "only {share:.2} of it is {hz} Hz");
    assert_eq!(rtp::gaps(packets), (0, true));
}

#[test]
fn a_recording_server_hears_both_parties_and_nobody_notices() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let wanted = json!({"from-tags": ["tag-a", "tag-b"], "flags": ["siprec"]});
    let server = Listener::request(&mut ng, &call, &wanted);
    let reply = &server.reply;
    assert_eq!(reply["from-tags"], json!(["tag-a", "tag-b"]));
    assert_eq!(reply.get("from-tag"), None);
    let media =
        |label: &str| json!({"index": 1, "type": "audio", "label": label, "mode": "sendrecv"});
    let medias = json!([
        {"tag": "tag-a", "medias": [media("0")]},
        {"tag": "tag-b", "medias": [media("1")]},
    ]);
    assert_eq!(reply["tag-medias"], medias);
    let label = |tag: &str| json!({"index": 1, "type": "audio", "tag": tag, "mode": "sendrecv"});
    let labels = json!({"0": label("tag-a"), "1": label("tag-b")});
    assert_eq!(reply["media-labels"], labels);
    let sdp = text(reply, "sdp");
    assert_eq!(sdp.matches("a=sendonly\r\n").count(), 2, "{sdp}");
    assert!(
        sdp.contains("a=label:0\r\n") && sdp.contains("a=label:1\r\n"),
        "{sdp}"
    );
    assert!(sdp.contains("a=rtpmap:0 PCMU/8000\r\n"), "{sdp}");
    // Nothing before its answer.
    call.assert_works("before the answer");
    assert!(server.hears_nothing());
    ng.ok(&server.answer(&call, "0 97", "recvonly"));
    call.assert_works("with a listener");
    let heard = server.hear(50);
    for (heard, (hz, ssrc)) in heard
        .iter()
        .zip([(call.a.hz, call.a.ssrc), (call.b.hz, call.b.ssrc)])
    {
        assert_eq!(heard.len(), 50);
        assert_tone(heard, hz);
        assert!(
            heard.iter().all(|packet| packet.ssrc == ssrc),
            "as it was sent"
        );
    }
    let why = json!({"command": "cli", "body": format!("why {}", call.id)});
    let why = ng.ok(&why);
    for verdict in ["hears party 0 tag-a media 0", "hears party 1 tag-b media 0"] {
        assert!(text(&why, "response").contains(verdict), "{why}");
    }
    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    let pub_sub = |tag: &str| json!({"tag": tag, "type": "pub/sub"});
    let tags = &query["tags"];
    let subscribers = tags["tag-a"]["subscribers"].as_array().expect("a list");
    assert!(
        subscribers.contains(&pub_sub(&server.tag)),
        "{subscribers:?}"
    );
    let own = &tags[server.tag.as_str()];
    let expected = json!([pub_sub("tag-a"), pub_sub("tag-b")]);
    assert_eq!(own["subscriptions"], expected);
    assert_eq!(own["medias"].as_array().map(Vec::len), Some(2));
    ng.ok(&server.unsubscribe(&call));
    call.assert_works("without it again");
    assert!(server.hears_nothing());
    let again = error(&mut ng, &server.unsubscribe(&call));
    assert_eq!(again, "To-tag not found");
    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    assert_eq!(query["tags"].get(&server.tag), None);
}

#[test]
fn a_listener_has_its_own_numbers_and_hears_digits() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let listener = Listener::request(&mut ng, &call, &json!({"from-tag": "tag-a"}));
    assert_eq!(text(&listener.reply, "from-tag"), "tag-a");
    assert_eq!(listener.reply.get("media-labels"), None);
    let sdp = text(&listener.reply, "sdp");
    assert!(
        !sdp.contains("a=label") && sdp.contains("telephone-event"),
        "{sdp}"
    );
    ng.ok(&listener.answer(&call, "0 97", "recvonly"));
    call.a.speak(call.a_to);
    call.a.send(call.a_to, 101, vec![5, 10, 0, 160]);
    call.b.speak(call.b_to);
    let heard = listener.hear(2).remove(0);
    let pts: Vec<u8> = heard.iter().map(|packet| packet.pt).collect();
    assert_eq!(pts, [0, 97]);
    assert_eq!(heard[1].payload, [5, 10, 0, 160]);
}

#[test]
fn what_a_listener_sends_is_heard_by_nobody() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let wanted = json!({"flags": ["all"], "to-tag": "monitor"});
    let mut listener = Listener::listening(&mut ng, &call, &wanted);
    assert_eq!(listener.tag, "monitor", "the tag that was asked for");
    let [to_a, to_b] = listener.offered[..] else {
        panic!("two lines");
    };
    every_20_ms(30, |_| {
        listener.lines[0].speak(to_a);
        listener.lines[1].speak(to_b);
        let _ = listener.lines[0].rtp.send_to(b"rubbish", to_a);
    });
    call.quiet_or(|a, b| assert_eq!((a.len(), b.len()), (0, 0)));
    call.assert_works("while a listener talks");
}

#[test]
fn selections_and_tags_that_fit_nothing_are_refused_in_the_clients_words() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let request = |more: &Value| request(&call, more);
    let nowhere = json!({"command": "subscribe request", "call-id": "x", "from-tag": "tag-a"});
    let answer = |tag: &str, sdp: &str| subscribe_answer(&call, tag, sdp);
    let none = "No medias found (no monologues matched)";
    let cases = [
        (nowhere, "Unknown call-id"),
        (request(&json!({})), "No participant party specified"),
        (request(&json!({"from-tag": "nobody"})), none),
        (request(&json!({"from-tags": ["x", "y"]})), none),
        (request(&json!({"label": "x"})), none),
        (answer("x", "v=0"), "To-tag not found"),
        (
            answer("tag-b", "v=0"),
            "No eligible media subscriptions found",
        ),
        (answer("", "v=0"), "No to-tag in message"),
        (answer("x", ""), "No SDP body in message"),
        (
            json!({"command": "unsubscribe", "call-id": call.id, "to-tag": "tag-a"}),
            "No eligible media subscriptions found",
        ),
        (
            json!({"command": "unsubscribe", "call-id": "x", "to-tag": "y"}),
            "Unknown call-id",
        ),
    ];
    for (request, reason) in cases {
        assert_eq!(error(&mut ng, &request), reason, "{request}");
    }
    let interface = json!({"from-tag": "tag-a", "interface": "moon"});
    assert_eq!(
        error(&mut ng, &request(&interface)),
        "Failed to request subscription: Unknown interface 'moon'"
    );
    call.assert_works("after all that");
}

#[test]
fn answers_that_cannot_be_are_refused_and_change_nothing() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let listener = Listener::request(&mut ng, &call, &json!({"from-tag": "tag-a"}));
    let own_port = call.a_to;
    let line = |ip: &str, port: u16| {
        format!("v=0\r\nm=audio {port} RTP/AVP 0\r\nc=IN IP4 {ip}\r\na=recvonly\r\n")
    };
    let two = line("127.0.0.1", 4_000) + "m=audio 4002 RTP/AVP 0\r\n";
    let failed = "Failed to process subscription answer: ";
    let cases = [
        (two, "Incomplete SDP specification: 2 media lines answer 1"),
        ("rubbish".to_owned(), "Failed to parse SDP"),
        (
            line("224.0.0.1", 4_000),
            "Refused media address 224.0.0.1:4000",
        ),
        (
            line("127.0.0.1", own_port.port()),
            "Refused media address 127.0.0.1",
        ),
    ];
    for (sdp, reason) in cases {
        let refused = error(&mut ng, &listener.answer_with(&call, &sdp));
        assert!(
            refused.starts_with(&format!("{failed}{reason}")),
            "{refused}"
        );
    }
    let refused = error(&mut ng, &listener.answer(&call, "8", "recvonly"));
    let tag = &listener.tag;
    let why = format!(
        "{failed}no codec in common: listener {tag} media 0: accepts no codec of the party it \
         listens to, and hears nothing"
    );
    assert_eq!(refused, why);
    call.assert_works("after refused answers");
    assert!(listener.hears_nothing());
    ng.ok(&listener.answer(&call, "0", "recvonly"));
    call.assert_works("after a good one");
    assert_tone(&listener.hear(50)[0], call.a.hz);
}

#[test]
fn a_listener_may_turn_a_line_down_and_take_it_later() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let wanted = json!({"from-tags": ["tag-a"], "flags": ["inactive"]});
    let mut listener = Listener::request(&mut ng, &call, &wanted);
    assert!(text(&listener.reply, "sdp").contains("a=inactive\r\n"));
    ng.ok(&listener.answer(&call, "0", "recvonly"));
    call.assert_works("with a listener that was offered nothing yet");
    assert!(listener.hears_nothing());
    // The same one again: another offer, the same ports, a newer version.
    let again = json!({"from-tags": ["tag-a", "tag-b"], "to-tag": listener.tag});
    let reply = ng.ok(&request(&call, &again));
    assert_eq!(text(&reply, "to-tag"), listener.tag);
    let offered = targets(text(&reply, "sdp"));
    assert_eq!((offered.len(), offered[0]), (2, listener.offered[0]));
    let version = |sdp: &str| sdp.split(' ').nth(2).map(str::to_owned);
    let versions = [&listener.reply, &reply].map(|reply| version(text(reply, "sdp")));
    assert_eq!(versions, [Some("1".to_owned()), Some("2".to_owned())]);
    listener.lines.push(Party::new("127.0.0.1", 0.0));
    let mut sdp = text(&listener.answer(&call, "0", "recvonly"), "sdp").to_owned();
    let second = listener.lines[1].address().port();
    sdp = sdp.replace(&format!("m=audio {second} "), "m=audio 0 ");
    ng.ok(&listener.answer_with(&call, &sdp));
    call.assert_works("with a listener to one of two");
    listener.lines.truncate(1);
    assert_tone(&listener.hear(50)[0], call.a.hz);
    ng.ok(&listener.answer_with(&call, &sdp.replace("recvonly", "inactive")));
    call.assert_works("with a listener on hold");
    assert!(listener.hears_nothing());
    // Less than before: the line stays, unused.
    let one = json!({"from-tags": ["tag-b"], "to-tag": listener.tag});
    let reply = ng.ok(&request(&call, &one));
    let offered = targets(text(&reply, "sdp"));
    assert_eq!((offered[0], offered[1].port()), (listener.offered[0], 0));
    ng.ok(&listener.answer_with(&call, &sdp));
    call.assert_works("with a listener to the other one");
    assert_tone(&listener.hear(50)[0], call.b.hz);
}

#[test]
fn another_codec_is_made_for_a_listener_where_that_is_allowed() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let listener = Listener::request(&mut ng, &call, &json!({"from-tag": "tag-b"}));
    let mut answer = listener.answer(&call, "9", "recvonly");
    answer["flags"] = json!(["allow-transcoding"]);
    ng.ok(&answer);
    call.assert_works("with a listener of another codec");
    let heard = listener.hear(45).remove(0);
    assert!(
        heard
            .iter()
            .all(|packet| packet.pt == 9 && packet.payload.len() == 160)
    );
    assert_eq!(rtp::gaps(&heard), (0, true));
}

#[test]
fn a_subscription_outlives_another_codec_of_who_is_listened_to() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let listener = Listener::listening(&mut ng, &call, &json!({"from-tag": "tag-a"}));
    let alaw = |sdp: String| sdp.replace("0 101", "8 101").replace("0 PCMU", "8 PCMA");
    let (sdp_a, sdp_b) = (alaw(call.a.sdp()), alaw(call.b.sdp()));
    ng.ok(&offer(&call.id, "tag-a", &sdp_a));
    let reply = ng.ok(&answer(&call.id, "tag-a", "tag-b", &sdp_b));
    let warning = text(&reply, "warning");
    assert!(
        warning.contains("accepts no codec of the party it listens to"),
        "{warning}"
    );
    let before = listener.hear(0);
    assert!(before[0].is_empty());
    every_20_ms(20, |_| call.a.send(call.a_to, 8, vec![0xd5; 160]));
    assert!(listener.hears_nothing(), "what it did not accept");
    let (sdp_a, sdp_b) = (call.a.sdp(), call.b.sdp());
    ng.ok(&offer(&call.id, "tag-a", &sdp_a));
    ng.ok(&answer(&call.id, "tag-a", "tag-b", &sdp_b));
    call.b.datagrams();
    call.assert_works("with the first codec again");
    assert_tone(&listener.hear(50)[0], call.a.hz);
}

#[test]
fn a_listener_to_a_fax_hears_nothing_until_it_is_a_call_again() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let listener = Listener::listening(&mut ng, &call, &json!({"flags": ["all"]}));
    let fax = |sdp: String| {
        let start = sdp
            .split("m=audio")
            .next()
            .expect("session lines")
            .to_owned();
        let port = sdp
            .split("m=audio ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        start + &format!("m=image {} udptl t38\r\n", port.expect("a port"))
    };
    let (sdp_a, sdp_b) = (fax(call.a.sdp()), fax(call.b.sdp()));
    let reply = ng.ok(&offer(&call.id, "tag-a", &sdp_a));
    let warning = text(&reply, "warning");
    assert!(
        warning.contains("hears nothing once this line"),
        "{warning}"
    );
    call.assert_works("while a fax is offered");
    assert_eq!(listener.hear(50).len(), 2);
    ng.ok(&answer(&call.id, "tag-a", "tag-b", &sdp_b));
    every_20_ms(10, |_| call.a.speak(call.a_to));
    assert!(listener.hears_nothing());
    let refused = error(&mut ng, &request(&call, &json!({"flags": ["all"]})));
    assert_eq!(refused, "No eligible media subscriptions found");
    let (sdp_a, sdp_b) = (call.a.sdp(), call.b.sdp());
    ng.ok(&offer(&call.id, "tag-a", &sdp_a));
    ng.ok(&answer(&call.id, "tag-a", "tag-b", &sdp_b));
    call.assert_works("after the fax");
    for (heard, hz) in listener.hear(50).iter().zip([call.a.hz, call.b.hz]) {
        assert_tone(heard, hz);
    }
}

#[test]
fn who_is_blocked_or_on_hold_is_not_heard_and_others_do_not_matter() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let listener = Listener::listening(&mut ng, &call, &json!({"from-tag": "tag-a"}));
    let gate = |command: &str| {
        json!({
            "command": command, "call-id": call.id, "from-tag": "tag-a", "flags": ["directional"],
        })
    };
    let (block, unblock) = (gate("block media"), gate("unblock media"));
    let silence = gate("silence media");
    ng.ok(&block);
    every_20_ms(20, |_| call.a.speak(call.a_to));
    assert!(listener.hears_nothing());
    ng.ok(&unblock);
    ng.ok(&silence);
    every_20_ms(20, |_| call.a.speak(call.a_to));
    let heard = listener.hear(20).remove(0);
    assert!(heard.iter().all(|packet| packet.payload == [0xff; 160]));
    ng.ok(&gate("unsilence media"));
    // The other party does not want to hear anything; the listener does.
    let held = call.b.sdp_at(call.b.address(), "inactive");
    ng.ok(&offer(&call.id, "tag-b", &held));
    let sdp = call.a.sdp();
    ng.ok(&answer(&call.id, "tag-b", "tag-a", &sdp));
    call.b.datagrams();
    every_20_ms(20, |_| call.a.speak(call.a_to));
    assert_eq!(listener.hear(20)[0].len(), 20);
    assert!(call.b.heard().is_empty());
}

#[test]
fn a_delete_ends_the_listener_it_names_or_the_call_with_its_listeners() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let [first, second] =
        [0, 1].map(|_| Listener::listening(&mut ng, &call, &json!({"flags": ["all"]})));
    ng.ok(&json!({
        "command": "delete", "call-id": call.id, "from-tag": "tag-a", "to-tag": first.tag,
        "flags": ["to-tag"],
    }));
    call.assert_works("after one listener was deleted");
    assert!(first.hears_nothing());
    assert_eq!(second.hear(50).len(), 2);
    call.delete(&mut ng);
    assert!(ng.calls().is_empty());
    let gone = error(&mut ng, &second.unsubscribe(&call));
    assert_eq!(gone, "Unknown call-id");
}

#[test]
fn a_line_has_eight_listeners_and_a_call_sixteen() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    // A third party, on another branch, which the first one does not talk with.
    let mut c = Party::new("127.0.0.1", 0.0);
    let (sdp_a, sdp_b) = (call.a.sdp(), call.b.sdp());
    for (branch, tag, sdp) in [("c", "tag-c", c.sdp()), ("b", "tag-b", sdp_b)] {
        let mut forked = offer(&call.id, "tag-a", &sdp_a);
        if branch == "c" {
            forked["via-branch"] = json!(branch);
        }
        ng.ok(&forked);
        let mut answered = answer(&call.id, "tag-a", tag, &sdp);
        answered["via-branch"] = forked["via-branch"].clone();
        if branch != "c" {
            answered
                .as_object_mut()
                .expect("a dictionary")
                .remove("via-branch");
        }
        ng.ok(&answered);
    }
    let mut listeners = Vec::new();
    for tag in ["tag-a", "tag-b"] {
        let wanted = json!({"from-tag": tag});
        for _ in 0..8 {
            listeners.push(Listener::listening(&mut ng, &call, &wanted));
        }
        let refused = error(&mut ng, &request(&call, &wanted));
        let reason = "Failed to request subscription: too many subscriptions (at most 8)";
        assert_eq!(refused, reason);
    }
    let third = json!({"from-tag": "tag-c"});
    let refused = error(&mut ng, &request(&call, &third));
    let reason = "Failed to request subscription: too many listeners in one call (at most 16)";
    assert_eq!(refused, reason);
    call.assert_works("with sixteen listeners");
    assert!(
        listeners
            .iter()
            .all(|listener| listener.hear(50).len() == 1)
    );
    ng.ok(&listeners[0].unsubscribe(&call));
    Listener::listening(&mut ng, &call, &third);
}

#[test]
fn a_masked_listener_is_told_nothing_of_the_parties() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let wanted = json!({"from-tag": "tag-a", "flags": ["masked"]});
    let listener = Listener::listening(&mut ng, &call, &wanted);
    for when in ["with a masked listener", "after another offer"] {
        call.assert_works(when);
        let heard = listener.hear(50).remove(0);
        assert_tone(&heard, call.a.hz);
        assert!(heard.iter().all(|packet| packet.ssrc != call.a.ssrc));
        let (sdp_a, sdp_b) = (call.a.sdp(), call.b.sdp());
        ng.ok(&offer(&call.id, "tag-a", &sdp_a));
        ng.ok(&answer(&call.id, "tag-a", "tag-b", &sdp_b));
    }
}

#[test]
fn ports_of_listeners_come_back() {
    // Four for the call, four for its listener.
    let switch = Switch::start_with("127.0.0.1", 8, &["--port-quarantine", "0"]);
    let (mut ng, mut call) = connected(&switch);
    for _ in 0..10 {
        let mut listener = None;
        wait_until("ports are free", || {
            let reply = ng.request(&request(&call, &json!({"flags": ["all"]})));
            listener = reply["to-tag"].as_str().map(str::to_owned);
            let full = reply["error-reason"] == "Ran out of ports";
            assert!(full || listener.is_some(), "{reply}");
            listener.is_some()
        });
        let refused = error(&mut ng, &request(&call, &json!({"flags": ["all"]})));
        assert_eq!(refused, "Ran out of ports");
        ng.ok(&json!({"command": "unsubscribe", "call-id": call.id, "to-tag": listener}));
    }
    call.assert_works("after ten listeners");
}

#[test]
fn hostile_subscriptions_end_in_replies() {
    let mut switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let tags: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let long = "x".repeat(300);
    let odd = [
        json!({"from-tags": tags}),
        json!({"from-tags": [["tag-a"], {"a": 1}, 5, ""]}),
        json!({"from-tags": {"tag-a": "tag-b"}}),
        json!({"from-tags": [long]}),
        json!({"from-tag": "tag-a", "to-tag": long}),
        json!({"from-tag": "tag-a", "to-tag": "tag-b"}),
        json!({"from-tags": ["tag-a", "tag-a", "tag-b", "tag-a"]}),
        json!({"flags": "all siprec from-tags-tag-a inactive"}),
        json!({"from-tag": "tag-a", "flags": ["siprec"], "media-address": "nonsense"}),
    ];
    for more in odd {
        let reply = ng.request(&request(&call, &more));
        let result = text(&reply, "result");
        assert!(["ok", "error"].contains(&result), "{more}: {reply}");
        if result == "ok" {
            let tag = text(&reply, "to-tag");
            assert!(
                !["tag-a", "tag-b"].contains(&tag),
                "a party's tag is its own"
            );
            let sdp = text(&reply, "sdp").replace("a=sendonly", "a=recvonly");
            let sdp = sdp.replace("m=audio", "m=video");
            let answer = subscribe_answer(&call, tag, &sdp);
            // Our own ports, which nobody may be sent to.
            let refused = error(&mut ng, &answer);
            assert!(refused.contains("Refused media address"), "{refused}");
        }
    }
    call.assert_works("after hostile subscriptions");
    switch.assert_alive();
}

/// A call with `media-echo` in its offer.
fn echoing(ng: &mut Ng, mode: &str) -> Call {
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1000.0),
    );
    let id = format!("echo-{:016x}", fastrand::u64(..));
    let mut request = offer(&id, "tag-a", &a.sdp());
    request["media-echo"] = json!(mode);
    let reply = ng.ok(&request);
    assert_eq!(reply.get("warning"), None, "{reply}");
    let b_to = target(text(&reply, "sdp"));
    let reply = ng.ok(&answer(&id, "tag-a", "tag-b", &b.sdp()));
    let a_to = target(text(&reply, "sdp"));
    Call {
        id,
        a,
        b,
        a_to,
        b_to,
    }
}

#[test]
fn an_echo_is_for_whom_it_was_asked_and_silence_for_the_other() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let modes = [
        ("forward", false, true),
        ("backward", true, false),
        ("both", true, true),
        ("blackhole", false, false),
    ];
    for (mode, a_hears, b_hears) in modes {
        let mut call = echoing(&mut ng, mode);
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        every_20_ms(60, |_| {
            call.a.speak(call.a_to);
            call.b.speak(call.b_to);
            at_a.extend(call.a.heard());
            at_b.extend(call.b.heard());
        });
        std::thread::sleep(Duration::from_millis(300));
        at_a.extend(call.a.heard());
        at_b.extend(call.b.heard());
        for (hears, heard, party) in [(a_hears, &at_a, &call.a), (b_hears, &at_b, &call.b)] {
            assert_eq!(heard.len(), if hears { 60 } else { 0 }, "{mode}");
            if hears {
                assert_tone(heard, party.hz);
                assert!(heard.iter().all(|packet| packet.ssrc != party.ssrc));
            }
        }
    }
}

#[test]
fn an_echo_that_is_switched_off_is_a_call() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = echoing(&mut ng, "both");
    every_20_ms(20, |_| {
        call.a.speak(call.a_to);
        call.b.speak(call.b_to);
    });
    let mut request = offer(&call.id, "tag-a", &call.a.sdp());
    request["media-echo"] = json!("off");
    ng.ok(&request);
    let sdp = call.b.sdp();
    ng.ok(&answer(&call.id, "tag-a", "tag-b", &sdp));
    call.connect();
    call.assert_works("after an echo");
}

#[test]
fn keys_reach_a_listener_in_its_clock_or_as_tones() {
    let switch = Switch::start();
    let (mut ng, mut call) = connected(&switch);
    let from_a = json!({"from-tag": "tag-a"});
    let clocked = Listener::request(&mut ng, &call, &from_a);
    let sdp = |listener: &Listener, formats: &str, more: &str| {
        let port = listener.lines[0].address().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {formats}\r\n{more}a=recvonly\r\n"
        )
    };
    let events = sdp(&clocked, "0 97", "a=rtpmap:97 telephone-event/48000\r\n");
    ng.ok(&clocked.answer_with(&call, &events));
    let plain = Listener::request(&mut ng, &call, &from_a);
    let mut answer = plain.answer_with(&call, &sdp(&plain, "0", ""));
    answer["flags"] = json!(["allow-transcoding"]);
    ng.ok(&answer);
    every_20_ms(40, |n| match n {
        15..21 => {
            let end = u8::from(n >= 18) << 7;
            let told = u8::try_from(40 * (n - 14).min(4)).expect("few ticks");
            let began = call.a.timestamp;
            call.a.send(call.a_to, 101, vec![5, end | 10, 0, told]);
            call.a.timestamp = if n == 20 { began + 960 } else { began };
        }
        _ => call.a.speak_fast(call.a_to),
    });
    let (clocked, plain) = (clocked.hear(30).remove(0), plain.hear(30).remove(0));
    let ticks = clocked.iter().filter(|packet| packet.pt == 97);
    let ticks = ticks.map(|packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]]));
    assert_eq!(ticks.collect::<Vec<_>>(), [240, 480, 720, 960, 960, 960]);
    assert!(plain.iter().all(|packet| packet.pt == 0));
    assert_eq!(rtp::gaps(&plain), (0, true));
    let mut keys = String::new();
    let mut detector = Detector::new(8_000).expect("a rate");
    let octets = rtp::pcmu(&plain);
    let pcm: Vec<i16> = octets
        .iter()
        .map(|octet| g711::ulaw_to_linear(*octet))
        .collect();
    detector.feed(&pcm, &mut |tone| {
        if let Heard::Began(tone) = tone {
            keys.push(tone.digit.as_char());
        }
    });
    assert_eq!(keys, "5");
}
