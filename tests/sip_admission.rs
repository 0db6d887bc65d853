//! Who is let in, how many, and what is done with what is malformed, too much or not understood.

mod sip_support;

use std::time::Duration;

use crosspoint::sip::{Cause, EndedBy, LegError, Transport};
use sip_support::*;

const ANNA: &str = "[[user]]\nname = \"anna\"\npassword = \"s3cret\"\n";

#[tokio::test]
async fn as_many_calls_as_may_be_and_one_more() {
    let (agent, mut calls) = agent_of("", 2).await;
    let there = address(&agent, Transport::Udp);
    let mut first = Phone::new(there, "1000").await;
    let (_leg, mut first_events) = first.connected(&mut calls).await;
    let mut second = Phone::new(there, "1000").await;
    let (_leg, _events) = second.connected(&mut calls).await;
    let mut third = Phone::new(there, "1000").await;
    third.invite().await;
    let refused = third.response().await;
    assert_eq!((refused.code(), refused.header("Retry-After")), (503, "2"));
    third.take(&refused).await;
    assert_eq!(agent.counters().refused_busy, 1);
    // Those that run are undisturbed, and one that ends makes room.
    first.bye().await;
    assert_eq!(ending(&mut first_events).await, (200, EndedBy::Party));
    let mut third = Phone::new(there, "1000").await;
    let (_leg, _events) = third.connected(&mut calls).await;
    agent.drain();
    let mut late = Phone::new(there, "1000").await;
    late.invite().await;
    assert_eq!(late.response().await.code(), 503);
    let options = late.request("OPTIONS", "", b"");
    late.say(&options).await;
    assert_eq!(late.response().await.code(), 503);
}

#[tokio::test]
async fn a_flood_of_calls_is_let_in_at_its_rate() {
    let (agent, mut calls) = agent_with("calls-per-second = 5").await;
    let there = address(&agent, Transport::Udp);
    let mut codes = Vec::new();
    for _ in 0..12 {
        let mut phone = Phone::new(there, "1000").await;
        phone.invite().await;
        let code = tokio::select! {
            call = incoming(&mut calls) => {
                call.leg.hang_up(Cause(486)).await;
                486
            }
            refused = phone.response() => refused.code(),
        };
        codes.push(code);
    }
    assert!(codes[..5].iter().all(|c| *c == 486), "{codes:?}");
    assert!(codes.contains(&503), "{codes:?}");
    assert!(agent.counters().floods > 0);
    // Nothing is kept of what was refused.
    let refused = u64::try_from(codes.iter().filter(|c| **c == 503).count()).expect("few");
    assert_eq!(agent.counters().let_in + refused, 12);
    assert_eq!(agent.counters().floods, refused);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut phone = Phone::new(there, "1000").await;
    phone.invite().await;
    incoming(&mut calls).await;
}

#[tokio::test]
async fn strangers_are_refused_where_they_are_not_wanted() {
    let (agent, _calls) = agent_with("strangers = false").await;
    let mut phone = Phone::new(address(&agent, Transport::Udp), "1000").await;
    phone.invite().await;
    assert_eq!(phone.response().await.code(), 403);
    assert_eq!(agent.counters().refused_unknown, 1);
    // Where there are users they are asked who they are.
    let (agent, _calls) = agent_with(&format!("strangers = false\n{ANNA}")).await;
    let mut phone = Phone::new(address(&agent, Transport::Udp), "1000").await;
    phone.invite().await;
    let asked = phone.response().await;
    assert_eq!(asked.code(), 401);
    let challenge = asked.header("WWW-Authenticate");
    assert!(
        challenge.starts_with("Digest realm=\"crosspoint\", nonce="),
        "{challenge}"
    );
}

#[tokio::test]
async fn a_trunk_is_known_by_its_address() {
    let trunk = "strangers = false\n[[trunk]]\nname = \"carrier\"\naddress = \"sip:192.0.2.1\"\n\
                 from = [\"127.0.0.0/8\"]\n";
    let (agent, mut calls) = agent_with(trunk).await;
    let mut phone = Phone::new(address(&agent, Transport::Udp), "1000").await;
    phone.invite().await;
    assert_eq!(incoming(&mut calls).await.by.as_deref(), Some("carrier"));
}

#[tokio::test]
async fn guessing_passwords_is_locked_out() {
    let (agent, _calls) = agent_with(&format!("lock-out-after = 3\n{ANNA}")).await;
    let mut phone = Phone::new(address(&agent, Transport::Udp), "anna").await;
    let mut codes = Vec::new();
    for _ in 0..5 {
        let ask = phone.request("REGISTER", "", b"");
        phone.say(&ask).await;
        let asked = phone.response().await;
        codes.push(asked.code());
        let (_, rest) = asked
            .header("WWW-Authenticate")
            .split_once("nonce=\"")
            .unwrap_or_default();
        let nonce = rest.split('"').next().unwrap_or_default();
        let guess = format!(
            "Authorization: Digest username=\"anna\", realm=\"crosspoint\", nonce=\"{nonce}\", \
             uri=\"sip:x\", response=\"00000000000000000000000000000000\"\r\n"
        );
        let guess = phone.request("REGISTER", &guess, b"");
        phone.say(&guess).await;
        codes.push(phone.response().await.code());
    }
    assert_eq!(codes, [401, 401, 401, 401, 401, 401, 403, 403, 403, 403]);
    let counters = agent.counters();
    assert_eq!((counters.digests_wrong, counters.locked_out), (3, 4));
}

#[tokio::test]
async fn what_cannot_be_met_is_refused_with_its_code() {
    let (_agent, _calls, there) = agent().await;
    let cases: [(&str, &[u8], u16, &str); 4] = [
        ("Require: gruu\r\n", b"v=0\r\n", 420, "Unsupported"),
        ("Content-Type: text/plain\r\n", b"hello", 415, "Accept"),
        ("Content-Encoding: gzip\r\n", b"x", 415, "Accept-Encoding"),
        ("Session-Expires: 89\r\n", b"v=0\r\n", 422, "Min-SE"),
    ];
    for (headers, body, code, said) in cases {
        let mut phone = Phone::new(there, "1000").await;
        phone.invite_with(headers, body).await;
        let refused = phone.response().await;
        assert_eq!(refused.code(), code, "{headers}");
        assert!(!refused.header(said).is_empty(), "{refused:?}");
        phone.take(&refused).await;
    }
    let mut phone = Phone::new(there, "1000").await;
    phone.target = "tel:+123".into();
    phone.invite().await;
    assert_eq!(phone.response().await.code(), 416);
    let mut phone = Phone::new(there, "1000").await;
    let invite = phone.request("INVITE", "", &sdp("phone"));
    let kept = |line: &&str| !line.starts_with("Contact:");
    let without: Vec<&str> = invite.split("\r\n").filter(kept).collect();
    phone.say(&without.join("\r\n")).await;
    assert_eq!(phone.response().await.code(), 400, "no Contact");
}

#[tokio::test]
async fn fields_that_are_too_long_are_refused() {
    let (agent, mut calls, there) = agent().await;
    let mut phone = Phone::new(there, "1000").await;
    phone.call_id = "x".repeat(512);
    phone.invite().await;
    incoming(&mut calls).await;
    assert_eq!(
        phone.response().await.code(),
        480,
        "at the limit it is a call"
    );
    let mut phone = Phone::new(there, "1000").await;
    phone.call_id = "x".repeat(513);
    phone.invite().await;
    assert_eq!(phone.response().await.code(), 400);
    assert_eq!(agent.counters().malformed, 1);
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_answered() {
    let (agent, _calls, there) = agent().await;
    let mut phone = Phone::new(there, "1000").await;
    let wink = phone.request("WINK", "", b"");
    phone.say(&wink).await;
    assert_eq!(phone.response().await.code(), 501);
    assert_eq!(agent.counters().malformed, 1);
}

/// Sound, however it looks: what RFC 4475 sections 3.1.1.1 to 3.1.1.6 are about, as far as the
/// stack reads it.
#[tokio::test]
async fn odd_but_sound_messages_are_understood() {
    let (_agent, mut calls, there) = agent().await;
    let phone = Phone::new(there, "1000").await;
    let own = phone.own();
    let branch = "z9hG4bK.-!%*_+`'~odd";
    let odd = format!(
        "INVITE sip:%31000;par=x@{there};lr;unknown=\"?\" SIP/2.0\r\n\
         TO :\r\n <sip:1000@{there}>  ;\tnewparam\r\n\
         f: \"J Rosenberg, <x>\" <sip:jdrosen@example.com> ; tag = 98asjd8\r\n\
         MaX-fOrWaRdS: 0068\r\n\
         i: -.!%*_+`'~()<>:\\/\"[]?{{}}odd\r\n\
         l: 22\r\n\
         cseq: 0009\r\n  INVITE\r\n\
         v: SIP/2.0/UDP {own};branch={branch}\r\n\
         s:\r\n\
         NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n\
         UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n\
         c: application/SDP ; a=b\r\n\
         m: \"Quoted, string\" <sip:jdrosen@{own}> ; newparam = newvalue ; q = 0.33\r\n\
         \r\nv=0\r\no=x 1 1 IN IP4 1\r\n"
    );
    phone.say(&odd).await;
    let call = incoming(&mut calls).await;
    assert_eq!((call.to.as_str(), call.from.as_str()), ("1000", "jdrosen"));
    assert_eq!(call.sip_call_id, "-.!%*_+`'~()<>:\\/\"[]?{}odd");
    call.leg.hang_up(Cause(486)).await;
    let refused = phone.response_to("INVITE", 486).await;
    assert!(refused.header("Via").contains(branch), "{refused:?}");
}

/// What stands in a sound INVITE, and what it is made to be.
const DAMAGES: [(&str, &str); 22] = [
    ("INVITE sip:", "INVITE "),
    ("INVITE sip:1000@", "INVITE sip:"),
    (" SIP/2.0\r\nVia", " SIP/7.0\r\nVia"),
    (" SIP/2.0\r\nVia", "\r\nVia"),
    ("Via: SIP/2.0/UDP ", "Via: "),
    ("Via: ", "Via: ,,,;;;"),
    ("branch=", "branch"),
    ("From: ", "From: <<<"),
    ("From: ", "Fr\u{0}om: "),
    (";tag=", ";tig="),
    ("To: <", "To: \"<"),
    ("Call-ID: ", "Call-ID"),
    ("CSeq: 1 ", "CSeq: 99999999999999999999 "),
    ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
    ("CSeq: 1 INVITE", "CSeq: -1"),
    ("Contact: <sip:200@", "Contact: <sip:[::1"),
    ("Contact: ", "Contact: *, "),
    ("Content-Length: ", "Content-Length: -"),
    ("Content-Length: ", "Content-Length: 18446744073709551615"),
    ("Max-Forwards: 70", "Max-Forwards: \u{fffd}\u{202e}"),
    ("\r\n\r\n", "\r\n"),
    ("\r\n", "\n"),
];

#[tokio::test]
async fn damaged_messages_do_no_harm() {
    let both = "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]";
    let (agent, mut calls) = agent_with(both).await;
    let there = address(&agent, Transport::Udp);
    let stream = address(&agent, Transport::Tcp);
    let say_by_tcp = async |text: &[u8]| {
        use tokio::io::AsyncWriteExt as _;
        let mut tcp = tokio::net::TcpStream::connect(stream)
            .await
            .expect("connected");
        tcp.write_all(text).await.expect("it goes out");
    };
    for (found, put) in DAMAGES {
        let mut phone = Phone::new(there, "1000").await;
        let sound = phone.request("INVITE", "", &sdp("phone"));
        let damaged = sound.replacen(found, put, 1);
        assert_ne!(damaged, sound, "{found} is in it");
        phone.say(&damaged).await;
        phone.say(&sound.replace(found, put)).await;
        say_by_tcp(damaged.as_bytes()).await;
        for length in [0, 1, 2, 20, sound.len() / 2] {
            phone.say(&sound[..length]).await;
        }
    }
    let mut random = fastrand::Rng::with_seed(4475);
    for _ in 0..2_000 {
        let mut phone = Phone::new(there, "1000").await;
        let mut octets = phone.request("INVITE", "", &sdp("phone")).into_bytes();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..octets.len());
            match random.u8(..3) {
                0 => octets[at] = random.u8(..),
                1 => drop(octets.remove(at)),
                _ => octets.insert(at, random.u8(..)),
            }
        }
        let sent = phone.socket.send_to(&octets, there).await;
        sent.expect("it goes out");
        while let Ok(call) = calls.try_recv() {
            call.leg.hang_up(Cause(486)).await;
        }
        tokio::task::yield_now().await;
    }
    // It goes on, by either.
    while let Ok(call) = calls.try_recv() {
        drop(call);
    }
    let caller = agent_with(both).await.0;
    for to in [
        format!("sip:1@{there}"),
        format!("sip:1@{stream};transport=tcp"),
    ] {
        let (_leg, mut events) = caller.dial(call(to)).await.expect("dialled");
        let code = loop {
            tokio::select! {
                call = incoming(&mut calls) => call.leg.hang_up(Cause(486)).await,
                over = ending(&mut events) => break over.0,
            }
        };
        assert!([486, 503].contains(&code), "{code}");
    }
}

#[tokio::test]
async fn a_thousand_calls_leave_nothing() {
    let (far, mut calls) = agent_of("calls-per-second = 100000", 50).await;
    let near = agent_with("").await.0;
    let there = address(&far, Transport::Udp);
    tokio::spawn(async move {
        while let Some(mut call) = calls.recv().await {
            tokio::spawn(async move {
                call.leg.answer(&sdp("callee")).await.expect("answered");
                assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));
            });
        }
    });
    for _ in 0..50 {
        let twenty = (0..20).map(|_| {
            let near = near.clone();
            tokio::spawn(async move {
                let dialled = near.dial(call(format!("sip:1@{there}"))).await;
                let (leg, mut events) = dialled.expect("dialled");
                assert_eq!(answered(&mut events).await, sdp("callee"));
                leg.hang_up(Cause::HANG_UP).await;
                assert_eq!(ending(&mut events).await, (200, EndedBy::Us));
            })
        });
        for one in twenty.collect::<Vec<_>>() {
            one.await.expect("a call");
        }
    }
    assert_eq!(
        (near.counters().answered, far.counters().answered),
        (1_000, 1_000)
    );
    nothing_is_left(&near).await;
    nothing_is_left(&far).await;
    // Transactions last 64 T1 (3.2 s) after what ended them.
    let empty = async {
        while near.load().transactions + far.load().transactions > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, empty).await;
    assert!(done.is_ok(), "{:?} {:?}", near.load(), far.load());
}

#[tokio::test]
async fn what_came_by_another_path_is_no_call_of_its_own() {
    let (agent, mut calls, there) = agent().await;
    let mut phone = Phone::new(there, "1000").await;
    phone.invite().await;
    let call = incoming(&mut calls).await;
    let call_id = phone.call_id.clone();
    let other_path = async |branch| {
        let mut copy = Phone::new(there, "1000").await;
        copy.call_id.clone_from(&call_id);
        copy.branch = branch;
        copy.invite().await;
        let refused = copy.response().await;
        copy.take(&refused).await;
        refused.code()
    };
    assert_eq!(other_path(10).await, 482, "while it rings");
    call.leg.answer(&sdp("agent")).await.expect("answered");
    let answer = phone.response_to("INVITE", 200).await;
    phone.confirm(&answer, b"").await;
    assert_eq!(other_path(20).await, 482, "while it lasts");
    phone.bye().await;
    drop(call);
    nothing_is_left(&agent).await;
    // It is a call of its own then, as far as anybody can tell.
    let mut again = Phone::new(there, "1000").await;
    again.call_id.clone_from(&phone.call_id);
    again.branch = 30;
    again.invite().await;
    incoming(&mut calls).await;
}

#[tokio::test]
async fn hops_are_counted() {
    let (agent, mut calls, there) = agent().await;
    let cases = [
        ("Max-Forwards: 0", 483),
        ("Max-Forwards: 00", 483),
        ("Max-Forwards: 256", 400),
        ("Max-Forwards: -1", 400),
        ("Max-Forwards: +1", 400),
        ("Max-Forwards: ", 400),
    ];
    for (hops, code) in cases {
        let mut phone = Phone::new(there, "1000").await;
        let invite = phone.request("INVITE", "", &sdp("phone"));
        phone.say(&invite.replace("Max-Forwards: 70", hops)).await;
        let refused = phone.response().await;
        assert_eq!(refused.code(), code, "{hops}");
        phone.take(&refused).await;
    }
    for (hops, told) in [
        ("Max-Forwards: 0255", 255),
        ("Max-Forwards: 1", 1),
        ("X: y", 70),
    ] {
        let mut phone = Phone::new(there, "1000").await;
        let invite = phone.request("INVITE", "", &sdp("phone"));
        phone.say(&invite.replace("Max-Forwards: 70", hops)).await;
        assert_eq!(incoming(&mut calls).await.max_forwards, told, "{hops}");
    }
    // OPTIONS goes no further than here anyway.
    let mut phone = Phone::new(there, "1000").await;
    let options = phone.request("OPTIONS", "", b"");
    phone
        .say(&options.replace("Max-Forwards: 70", "Max-Forwards: 0"))
        .await;
    assert_eq!(phone.response().await.code(), 200);
    for (hops, said) in [(None, "70"), (Some(1), "1"), (Some(255), "255")] {
        let mut out = call(format!("sip:1@{}", phone.own()));
        out.max_forwards = hops;
        let (_leg, _events) = agent.dial(out).await.expect("dialled");
        let invite = phone.asked("INVITE").await;
        assert_eq!(invite.headers("Max-Forwards"), [said]);
        phone.reply(&invite, 486, "", b"").await;
    }
    let mut out = call(format!("sip:1@{}", phone.own()));
    out.max_forwards = Some(0);
    let refused = agent.dial(out).await;
    assert!(
        matches!(refused, Err(LegError::Refused(483))),
        "{refused:?}"
    );
}
