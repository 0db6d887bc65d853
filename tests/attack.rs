//! What an attacker can send to the whole process, and what must not happen then: nothing of
//! his reaches a party, nothing of theirs reaches him, and the switch goes on as if he were not
//! there. A third address, 127.0.0.66, stands for any host of the Internet.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::ng::Ng;
use support::party::{self, Call, Party, answer, offer, target};
use support::ports::OneAtATime;
use support::rtp::Packet;
use support::switch::{self, Switch};
use support::{PATIENCE, PTIME, every_20_ms, wait_until};

const ATTACKER: &str = "127.0.0.66";

/// The attacker's tone: nobody else has it.
const ATTACKER_HZ: f32 = 2000.0;

/// His SSRC, so that what he injected is recognized.
const ATTACKER_SSRC: u32 = 0xBAD0_BAD0;

fn start() -> (Switch, Ng) {
    let switch = Switch::start();
    let ng = switch.client();
    (switch, ng)
}

/// A and B, before there is a call.
fn parties() -> (Party, Party) {
    let at = |hz| Party::new("127.0.0.1", hz);
    (at(600.0), at(1000.0))
}

/// Where a reply's SDP wants its audio.
fn told(reply: &Value) -> SocketAddr {
    target(reply["sdp"].as_str().expect("an SDP"))
}

fn attacker() -> Party {
    let mut attacker = Party::new(ATTACKER, ATTACKER_HZ);
    attacker.ssrc = ATTACKER_SSRC;
    attacker
}

/// Fails if either party got a packet whose SSRC is not the other's.
fn assert_nothing_injected(call: &Call, at_a: &[Packet], at_b: &[Packet]) {
    let foreign = |packets: &[Packet], of: u32| packets.iter().filter(|p| p.ssrc != of).count();
    assert_eq!(foreign(at_a, call.b.ssrc), 0, "packets injected towards A");
    assert_eq!(foreign(at_b, call.a.ssrc), 0, "packets injected towards B");
}

/// Both talk for `count` packets while the attacker sends three for each of theirs at both ports,
/// RTP and RTCP, in sequence and at random. Returns what they heard.
fn talk_under_spray(
    call: &mut Call,
    attacker: &mut Party,
    count: u32,
) -> (Vec<Packet>, Vec<Packet>) {
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    every_20_ms(count, |_| {
        spray(attacker, call.a_to);
        spray(attacker, call.b_to);
        call.a.speak(call.a_to);
        call.b.speak(call.b_to);
        spray(attacker, call.a_to);
        at_a.extend(call.a.heard());
        at_b.extend(call.b.heard());
    });
    // What is under way still arrives; what is missing is the caller's to judge.
    for _ in 0..200 {
        if at_a.len() >= count as usize && at_b.len() >= count as usize {
            break;
        }
        std::thread::sleep(PTIME / 2);
        at_a.extend(call.a.heard());
        at_b.extend(call.b.heard());
    }
    (at_a, at_b)
}

fn spray(attacker: &mut Party, port: SocketAddr) {
    attacker.speak(port);
    let seq = std::mem::replace(&mut attacker.seq, fastrand::u16(..));
    attacker.send(port, fastrand::u8(..128), vec![0x55; 160]);
    attacker.seq = seq;
    let mut rtcp_port = port;
    rtcp_port.set_port(port.port() + 1);
    let _ = attacker.rtcp.send_to(&rtcp_bye(ATTACKER_SSRC), rtcp_port);
}

/// An empty receiver report and a BYE (RFC 3550 sections 6.4.2 and 6.6).
fn rtcp_bye(ssrc: u32) -> Vec<u8> {
    let ssrc = ssrc.to_be_bytes();
    [&[0x80, 201, 0, 1], &ssrc[..], &[0x81, 203, 0, 1], &ssrc[..]].concat()
}

/// Everything the attacker's two sockets received.
fn bled(attacker: &Party) -> usize {
    attacker.datagrams().len() + party::drain(&attacker.rtcp).len()
}

#[test]
fn spray_from_a_third_address_neither_bleeds_nor_injects() {
    let _turn = OneAtATime::wait();
    let (_switch, mut ng) = start();
    let mut attacker = attacker();
    let mut call = Call::new(&mut ng);

    // Before anybody is latched: alone, and in good RTP order.
    spray_into_silence(&mut attacker, &call);

    // While they latch, and long after.
    let (at_a, at_b) = talk_under_spray(&mut call, &mut attacker, 150);
    assert_nothing_injected(&call, &at_a, &at_b);
    assert_eq!(
        (at_a.len(), at_b.len()),
        (150, 150),
        "and the parties lose nothing"
    );

    // While they are silent, which must not make room for anybody.
    spray_into_silence(&mut attacker, &call);
    call.assert_works("after the spray");
    assert_eq!(bled(&attacker), 0, "packets bled to the attacker");
}

/// A second and a half of spray while nobody speaks, of which nobody hears anything.
fn spray_into_silence(attacker: &mut Party, call: &Call) {
    every_20_ms(75, |_| {
        spray(attacker, call.a_to);
        spray(attacker, call.b_to);
    });
    call.quiet_or(assert_silence);
}

fn assert_silence(at_a: &[Packet], at_b: &[Packet]) {
    assert_eq!(
        (at_a.len(), at_b.len()),
        (0, 0),
        "packets injected while nobody speaks"
    );
}

#[test]
fn who_sprays_before_the_answer_has_won_nothing_after_it() {
    let _turn = OneAtATime::wait();
    let (_switch, mut ng) = start();
    let mut attacker = attacker();
    let (mut a, mut b) = parties();
    let reply = ng.ok(&offer("unanswered", "tag-a", &a.sdp()));
    let b_to = told(&reply);
    // Before the answer the callee's address is unknown, and early media may be anybody's: he may
    // be heard, but the answer names who the callee is.
    every_20_ms(75, |_| {
        spray(&mut attacker, b_to);
        a.heard();
    });
    let reply = ng.ok(&answer("unanswered", "tag-a", "tag-b", &b.sdp()));
    let a_to = told(&reply);
    let mut call = Call {
        id: "unanswered".into(),
        a,
        b,
        a_to,
        b_to,
    };
    call.quiet_or(|_, _| ());
    bled(&attacker);
    let (at_a, at_b) = talk_under_spray(&mut call, &mut attacker, 50);
    assert_nothing_injected(&call, &at_a, &at_b);
    assert_eq!(
        (at_a.len(), at_b.len()),
        (50, 50),
        "and the parties lose nothing"
    );
    assert_eq!(bled(&attacker), 0, "packets bled to the attacker");
}

#[test]
fn a_party_behind_nat_is_learned_and_then_nobody_else() {
    let _turn = OneAtATime::wait();
    let (_switch, mut ng) = start();
    let mut attacker = attacker();
    let (mut a, b) = parties();
    let sdp = a.sdp_at("10.9.8.7:40000".parse().expect("an address"), "sendrecv");
    let mut call = Call::with_offer(&mut ng, a, b, &sdp);
    // The window: A speaks until B hears it and it hears B.
    call.connect();
    // One second of A's voice closes any window.
    call.talk(60);
    let (at_a, at_b) = talk_under_spray(&mut call, &mut attacker, 150);
    assert_nothing_injected(&call, &at_a, &at_b);
    spray_into_silence(&mut attacker, &call);
    call.assert_works("after the spray");
    assert_eq!(bled(&attacker), 0, "packets bled to the attacker");
}

#[test]
fn a_spoofed_bye_ends_nothing() {
    let (_switch, mut ng) = start();
    let attacker = attacker();
    let mut call = Call::new(&mut ng);
    call.connect();
    for (port, ssrc) in [(call.a_to, call.a.ssrc), (call.b_to, call.b.ssrc)] {
        let mut rtcp_port = port;
        rtcp_port.set_port(port.port() + 1);
        for _ in 0..20 {
            let _ = attacker.rtcp.send_to(&rtcp_bye(ssrc), rtcp_port);
            let _ = attacker.rtp.send_to(&rtcp_bye(ssrc), port);
        }
    }
    call.assert_works("after the BYE of somebody else");
    assert_eq!(ng.calls(), [call.id.as_str()]);
    for party in [&call.a, &call.b] {
        let byes = party::drain(&party.rtcp);
        assert!(
            !byes.iter().any(|(_, b)| b[..] == rtcp_bye(call.a.ssrc)),
            "BYE passed to B"
        );
        assert!(
            !byes.iter().any(|(_, b)| b[..] == rtcp_bye(call.b.ssrc)),
            "BYE passed to A"
        );
    }
    assert_eq!(bled(&attacker), 0, "packets bled to the attacker");
}

#[test]
fn a_party_of_a_dead_call_is_not_heard_in_the_next_one() {
    // Two calls' worth: the ports come round soon.
    let switch = Switch::start_on("127.0.0.1", 8);
    let mut ng = switch.client();
    let mut old = Call::between(
        &mut ng,
        Party::new("127.0.0.5", 600.0),
        Party::new("127.0.0.6", 1000.0),
    );
    old.connect();
    old.delete(&mut ng);
    let old_ports = [old.a_to.port(), old.b_to.port()];

    // Both old parties never stop, and calls come until one has an old port.
    let end = Instant::now() + Duration::from_secs(60);
    let (mut reuses, mut calls) = (0, 0);
    while reuses < 3 {
        assert!(Instant::now() < end, "{reuses} re-uses in {calls} calls");
        old.a.speak(old.a_to);
        old.b.speak(old.b_to);
        let (mut a, mut b) = parties();
        let id = format!("next-{calls}");
        calls += 1;
        let reply = ng.request(&offer(&id, "tag-a", &a.sdp()));
        if reply["result"] != "ok" {
            // The ports rest for a while before they are used again.
            std::thread::sleep(PTIME);
            continue;
        }
        let b_to = told(&reply);
        let reply = ng.ok(&answer(&id, "tag-a", "tag-b", &b.sdp()));
        let a_to = told(&reply);
        let reused = old_ports.contains(&a_to.port()) || old_ports.contains(&b_to.port());
        let mut call = Call {
            id,
            a,
            b,
            a_to,
            b_to,
        };
        if reused {
            reuses += 1;
            stale_packets_do_not_cross(&mut old, &mut call);
        }
        call.delete(&mut ng);
    }
    assert_eq!(
        (old.a.heard(), old.b.heard()),
        (Vec::new(), Vec::new()),
        "bled to the old call"
    );
}

/// The old parties speak alone, then all four do.
fn stale_packets_do_not_cross(old: &mut Call, call: &mut Call) {
    every_20_ms(60, |_| {
        old.a.speak(old.a_to);
        old.b.speak(old.b_to);
    });
    let (mut at_a, mut at_b) = (call.a.heard(), call.b.heard());
    every_20_ms(50, |_| {
        old.a.speak(old.a_to);
        old.b.speak(old.b_to);
        call.a.speak(call.a_to);
        call.b.speak(call.b_to);
    });
    wait_until("the new call's parties hear each other", || {
        at_a.extend(call.a.heard());
        at_b.extend(call.b.heard());
        at_a.len() >= 50 && at_b.len() >= 50
    });
    assert_nothing_injected(call, &at_a, &at_b);
}

#[test]
fn malformed_media_of_every_length_is_survived_and_not_passed_on() {
    let (mut switch, mut ng) = start();
    let mut call = Call::new(&mut ng);
    call.connect();
    let mut rtcp_to = call.a_to;
    rtcp_to.set_port(call.a_to.port() + 1);

    // The party itself sends it: the source is the right one.
    let whole = Packet {
        marker: false,
        pt: 0,
        seq: call.a.seq,
        timestamp: call.a.timestamp,
        ssrc: call.a.ssrc,
        payload: vec![0xFF; 160],
    };
    let whole = whole.write();
    for length in 0..=40 {
        let mut cut = whole[..length].to_vec();
        let _ = call.a.rtp.send_to(&cut, call.a_to);
        if length > 0 {
            // CSRCs, extension and padding that the packet has no room for.
            cut[0] = 0xBF;
            let _ = call.a.rtp.send_to(&cut, call.a_to);
        }
        for kind in 192..=213u8 {
            let mut report = [&[0x9F, kind, 0xFF, 0xFF], &whole[8..]].concat();
            report.truncate(length);
            let _ = call.a.rtcp.send_to(&report, rtcp_to);
            let _ = call.a.rtp.send_to(&report, call.a_to);
        }
    }
    for _ in 0..2000 {
        let noise: Vec<u8> = (0..fastrand::usize(..200))
            .map(|_| fastrand::u8(..))
            .collect();
        let _ = call.a.rtp.send_to(&noise, call.a_to);
        let _ = call.a.rtcp.send_to(&noise, rtcp_to);
    }
    // The largest datagram IPv4 has, as RTP, RTCP and nothing.
    for first in [0x80u8, 0x81, 0xBF, 0x00] {
        let mut huge = vec![0xFF; 65_507];
        huge[..12].copy_from_slice(&whole[..12]);
        huge[0] = first;
        let _ = call.a.rtp.send_to(&huge, call.a_to);
        huge[1] = 200;
        let _ = call.a.rtcp.send_to(&huge, rtcp_to);
    }
    wait_until("the control port answers", || ng.answers_ping());
    std::thread::sleep(Duration::from_millis(200));
    switch.assert_alive();
    for (_, bytes) in call.b.datagrams() {
        assert!(
            bytes.len() >= 12 && bytes[0] >> 6 == 2,
            "this is no RTP: {bytes:?}"
        );
        assert!(bytes.len() < 20_000, "{} bytes passed on", bytes.len());
    }
    call.quiet();
    // The noise may have moved statistics, not the path.
    call.connect();
    call.assert_works("after malformed media");
}

#[test]
fn a_burst_into_one_port_does_not_mute_it() {
    let _turn = OneAtATime::wait();
    let (mut switch, mut ng) = start();
    let mut call = Call::new(&mut ng);
    call.connect();
    for sender in ["the party", "an attacker"] {
        let mut attacker = attacker();
        for _ in 0..20_000 {
            if sender == "the party" {
                call.a.speak_fast(call.a_to);
            } else {
                attacker.speak_fast(call.a_to);
            }
        }
        call.quiet();
        switch.assert_alive();
        call.assert_works(&format!("after 20000 packets from {sender}"));
        assert_eq!(bled(&attacker), 0, "packets bled to the attacker");
    }
}

#[test]
fn sdp_that_points_at_the_switch_itself_makes_no_loop() {
    let (mut switch, mut ng) = start();
    let mut victim = Call::new(&mut ng);
    victim.connect();

    // A second call whose caller claims to be at a port of the first, or of the first's RTCP, or
    // at the control port.
    let (rtp, ng_port) = (victim.a_to, switch.ng);
    let mut rtcp = rtp;
    rtcp.set_port(rtp.port() + 1);
    for (n, claimed) in [rtp, rtcp, victim.b_to, ng_port].into_iter().enumerate() {
        let mut a = Party::new("127.0.0.1", ATTACKER_HZ);
        let id = format!("loop-{n}");
        let reply = ng.request(&offer(&id, "tag-a", &a.sdp_at(claimed, "sendrecv")));
        if reply["result"] != "ok" {
            continue;
        }
        let mut b = Party::new("127.0.0.1", ATTACKER_HZ);
        let b_to = told(&reply);
        ng.ok(&answer(&id, "tag-a", "tag-b", &b.sdp()));
        every_20_ms(25, |_| b.speak(b_to));
    }
    assert_eq!(
        victim.a.heard().len() + victim.b.heard().len(),
        0,
        "injected into the first call"
    );

    // A call whose two parties are each other's ports would go round for ever.
    let reply = ng.request(&offer("mirror", "a", &Party::new("127.0.0.1", 600.0).sdp()));
    let b_to = told(&reply);
    let mut mirror = Party::new("127.0.0.1", 600.0);
    let sdp = mirror.sdp_at(b_to, "sendrecv");
    let _ = ng.request(&answer("mirror", "a", "b", &sdp));
    every_20_ms(25, |_| mirror.speak(b_to));
    std::thread::sleep(Duration::from_millis(500));
    let query = ng.request(&json!({"command": "query", "call-id": "mirror"}));
    let packets = query["totals"]["RTP"]["packets"].as_i64().unwrap_or(0);
    assert!(packets <= 200, "{packets} packets go round in a loop");
    victim.assert_works("beside calls that point at the switch");
    switch.assert_alive();
}

#[test]
fn loopback_is_no_target_for_a_leg_on_another_interface() {
    let ip = own_address();
    let switch = Switch::start_on(&ip.to_string(), 64);
    let mut ng = switch.client();
    // What listens on loopback only is not meant for the network.
    let inside = Party::new("127.0.0.1", 600.0);
    let mut outside = Party::new(&ip.to_string(), 600.0);
    for (claimed, allowed) in [(inside.address(), false), (outside.address(), true)] {
        let id = format!("to-{claimed}");
        let reply = ng.request(&offer(&id, "tag-a", &outside.sdp_at(claimed, "sendrecv")));
        if reply["result"] != "ok" {
            assert!(!allowed, "an honest offer is refused: {reply}");
            continue;
        }
        let mut b = Party::new(&ip.to_string(), 1000.0);
        let b_to = told(&reply);
        ng.ok(&answer(&id, "tag-a", "tag-b", &b.sdp()));
        every_20_ms(25, |_| b.speak(b_to));
        if allowed {
            let mut heard = 0;
            wait_until("the honest party hears the other", || {
                heard += outside.heard().len();
                heard == 25
            });
        }
    }
    assert_eq!(
        inside.datagrams(),
        [],
        "a loopback service was reached through the switch"
    );
}

/// An IPv4 address of this machine that is not loopback. Nothing is sent to find it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let own = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    let own = own
        .expect("this test needs an IPv4 address besides loopback, with a route")
        .ip();
    assert!(
        !own.is_loopback(),
        "this test needs an IPv4 address besides loopback"
    );
    own
}

/// After each hostile input the switch must answer a ping, at once and the same process.
fn assert_unimpressed(switch: &mut Switch, ng: &mut Ng, by: &str) {
    let started = Instant::now();
    let answered = ng.answers_ping() || ng.answers_ping();
    switch.assert_alive();
    assert!(answered, "no pong after {by} ({:?})", started.elapsed());
}

#[test]
fn hostile_control_messages_are_survived() {
    let (mut switch, mut ng) = start();
    for (name, body) in hostile_bodies() {
        let cookie = ng.cookie();
        let mut datagram = format!("{cookie} ").into_bytes();
        datagram.extend(body);
        datagram.truncate(65_507);
        ng.send_raw(&datagram);
        assert_unimpressed(&mut switch, &mut ng, name);
    }
    // No cookie, no space, nothing at all.
    for datagram in [&b""[..], b" ", b"cookie", b"cookie ", b" d7:command4:pinge"] {
        ng.send_raw(datagram);
        assert_unimpressed(&mut switch, &mut ng, &format!("{datagram:?}"));
    }
    assert!(ng.calls().is_empty());
}

fn hostile_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, times: usize| open.repeat(times).into_bytes();
    vec![
        ("a list 65,000 deep", deep("l", 65_000)),
        (
            "a dictionary of lists 65,000 deep",
            [b"d1:x".to_vec(), deep("l", 65_000)].concat(),
        ),
        ("dictionaries 20,000 deep", deep("d1:", 20_000)),
        (
            "a closed list 32,000 deep",
            [deep("l", 32_000), deep("e", 32_000)].concat(),
        ),
        (
            "a JSON list 65,000 deep",
            [b"{\"a\":".to_vec(), deep("[", 65_000)].concat(),
        ),
        ("JSON objects 10,000 deep", deep("{\"a\":", 10_000)),
        ("a negative length", b"d7:command-4:pinge".to_vec()),
        (
            "a negative length of a value",
            b"d7:commandi-99999999999999999999999ee".to_vec(),
        ),
        ("a length past the end", b"d99999999999999999999:x".to_vec()),
        (
            "a length that is 2^64 - 1",
            b"d18446744073709551615:command4:pinge".to_vec(),
        ),
        (
            "a length that is 2^31",
            b"d7:command2147483648:pinge".to_vec(),
        ),
        (
            "zeros before a length",
            [deep("0", 60_000), b"4:ping".to_vec()].concat(),
        ),
        (
            "a number without end",
            [b"d7:commandi".to_vec(), deep("9", 60_000)].concat(),
        ),
        ("60 kB of zeros", vec![0; 60_000]),
        (
            "60 kB of noise",
            (0..60_000).map(|_| fastrand::u8(..)).collect(),
        ),
        ("60 kB of noise in a dictionary", {
            let noise = (0..60_000).map(|_| fastrand::u8(..));
            std::iter::once(b'd').chain(noise).collect()
        }),
        (
            "20,000 keys",
            [b"d".to_vec(), deep("1:x", 20_000), b"e".to_vec()].concat(),
        ),
        ("20,000 flags", {
            let list = [b"d5:flagsl".to_vec(), deep("1:x", 20_000), b"ee".to_vec()];
            list.concat()
        }),
        ("an SDP of 15,000 media lines", {
            let sdp = format!("v=0\r\n{}", "m=a\n".repeat(15_000));
            support::ng::bencode(&offer("hostile", "a", &sdp))
        }),
        ("an SDP of 2,000 honest media lines", {
            let media = "m=audio 4000 RTP/AVP 0\r\n".repeat(2000);
            let sdp = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{media}");
            support::ng::bencode(&offer("hostile", "a", &sdp))
        }),
    ]
}

#[test]
fn three_hundred_damaged_offers_are_survived() {
    let (mut switch, mut ng) = start();
    let sdp = Party::new("127.0.0.1", 600.0).sdp();
    let good = support::ng::bencode(&offer("damaged", "tag-a", &sdp));
    let json = offer("damaged", "tag-a", &sdp).to_string().into_bytes();
    for n in 0..300 {
        let mut body = if n % 3 == 0 {
            json.clone()
        } else {
            good.clone()
        };
        for _ in 0..=n % 8 {
            let at = fastrand::usize(..body.len());
            body[at] ^= 1 << fastrand::u8(..8);
        }
        let datagram = [format!("{} ", ng.cookie()).into_bytes(), body.clone()].concat();
        ng.send_raw(&datagram);
        assert_unimpressed(&mut switch, &mut ng, &String::from_utf8_lossy(&body));
    }
    // And the real one still works.
    let mut call = Call::new(&mut ng);
    call.connect();
    call.assert_works("after damaged offers");
}

#[test]
fn deep_and_large_control_streams_are_survived() {
    let (mut switch, mut ng) = start();
    let deep = "l".repeat(100_000);
    let deep_json = format!("{{\"a\":{}", "[".repeat(100_000));
    for body in [
        format!("cookie d1:x{deep}"),
        format!("cookie {deep}"),
        deep_json,
    ] {
        // ng over TCP, where there is such a listener.
        if let Ok(mut stream) = TcpStream::connect(switch.ng) {
            let _ = stream.write_all(body.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            read_to_end(stream);
        }
        assert_unimpressed(&mut switch, &mut ng, "100,000 levels over TCP");
        if switch::peer_is_rtpengine() {
            continue;
        }
        for path in ["/ng", "/ng-plain", "/v1/calls"] {
            let answer = post(switch.http, path, body.as_bytes());
            assert!(
                answer.starts_with("HTTP/1.1 "),
                "{path} is answered {answer:?}"
            );
            assert_unimpressed(&mut switch, &mut ng, "100,000 levels over HTTP");
        }
    }
    if !switch::peer_is_rtpengine() {
        // Half a request, and a body that never ends, from many at once: held open, not waited for.
        let mut held = Vec::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(switch.http).expect("the HTTP port");
            let head =
                "POST /ng HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000000\r\n\r\nd";
            stream.write_all(head.as_bytes()).expect("a request");
            held.push(stream);
        }
        assert_unimpressed(&mut switch, &mut ng, "fifty unfinished requests");
        assert!(post(switch.http, "/ping", b"").starts_with("HTTP/1.1 "));
    }
}

fn post(http: SocketAddr, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(http).expect("the HTTP port");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    // It may refuse and close before all is sent.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    read_to_end(stream)
}

fn read_to_end(mut stream: TcpStream) -> String {
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a non-zero timeout");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        answer.extend(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
