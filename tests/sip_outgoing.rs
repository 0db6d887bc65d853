//! Calls that we make: to phones that registered, over trunks, to addresses; and what may come
//! back.

mod sip_support;

use std::time::Duration;

use crosspoint::sip::{Cause, EndedBy, LegError, LegEvent, Transport};
use sip_support::*;

const ANNA: &str = "[[user]]\nname = \"anna\"\npassword = \"s3cret\"\n";

/// A phone that is called at its own address.
async fn callee(near: &crosspoint::sip::UserAgent) -> Phone {
    Phone::new(address(near, Transport::Udp), "100").await
}

fn to(phone: &Phone) -> String {
    format!("sip:300@{}", phone.own())
}

/// Registers `phone` as anna; gives the response.
async fn register(phone: &mut Phone, headers: &str) -> Message {
    phone.user = "anna".into();
    phone.number = "anna".into();
    phone.target = format!("sip:{}", phone.peer);
    let request = phone.request("REGISTER", headers, b"");
    phone.say(&request).await;
    let asked = phone.response().await;
    assert_eq!(asked.code(), 401, "{asked:?}");
    let proof = digest(&asked, "anna", "s3cret", "REGISTER", &phone.target);
    let request = phone.request("REGISTER", &format!("{proof}{headers}"), b"");
    phone.say(&request).await;
    phone.response().await
}

#[tokio::test]
async fn a_registered_phone_is_called_and_calls() {
    let (agent, mut calls) = agent_with(ANNA).await;
    let there = address(&agent, Transport::Udp);
    let unregistered = agent.dial(call("anna")).await;
    let error = unregistered.expect_err("nobody is there").to_string();
    assert_eq!(error, "'anna' is not registered");

    let mut phone = Phone::new(there, "anna").await;
    let registered = register(&mut phone, "Expires: 120\r\n").await;
    assert_eq!(registered.code(), 200, "{registered:?}");
    let own = format!("<sip:anna@{}>;expires=120", phone.own());
    assert_eq!(registered.header("Contact"), own);

    let (_leg, mut events) = agent.dial(call("anna")).await.expect("dialled");
    let invite = phone.asked("INVITE").await;
    assert!(
        invite
            .0
            .starts_with(&format!("INVITE sip:anna@{} ", phone.own())),
        "{invite:?}"
    );
    assert_eq!(invite.body(), text("caller"));
    phone.reply(&invite, 180, "", b"").await;
    assert!(matches!(event(&mut events).await, LegEvent::Ringing));
    phone.reply(&invite, 200, "", &sdp("anna")).await;
    assert_eq!(answered(&mut events).await, sdp("anna"));
    let ack = phone.asked("ACK").await;
    assert_eq!(
        ack.header("CSeq").split(' ').next(),
        invite.header("CSeq").split(' ').next()
    );
    phone.hang_up(&invite).await;
    phone.response_to("BYE", 200).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));

    // It calls, and is known by its digest.
    let mut phone_call = Phone::new(there, "1000").await;
    phone_call.user = "anna".into();
    phone_call.invite().await;
    let asked = phone_call.response().await;
    assert_eq!(asked.code(), 401);
    phone_call.take(&asked).await;
    let proof = digest(&asked, "anna", "s3cret", "INVITE", &phone_call.target);
    phone_call.invite_with(&proof, &sdp("phone")).await;
    let call_in = incoming(&mut calls).await;
    assert_eq!(call_in.by.as_deref(), Some("anna"));
    drop(call_in);
    phone_call.response_to("INVITE", 480).await;

    let gone = register(&mut phone, "Expires: 0\r\n").await;
    assert_eq!((gone.code(), gone.header("Contact")), (200, ""));
    assert!(agent.dial(call("anna")).await.is_err());
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_users_phones_are_tried_one_after_another() {
    let (agent, _calls) = agent_with(ANNA).await;
    let there = address(&agent, Transport::Udp);
    let mut older = Phone::new(there, "anna").await;
    let mut newer = Phone::new(there, "anna").await;
    assert_eq!(register(&mut older, "").await.code(), 200);
    assert_eq!(register(&mut newer, "").await.code(), 200);
    // One that is out of order leads to the other; one whose user refuses does not.
    let (_leg, mut events) = agent.dial(call("anna")).await.expect("dialled");
    let invite = newer.asked("INVITE").await;
    newer.reply(&invite, 500, "", b"").await;
    let invite = older.asked("INVITE").await;
    older.reply(&invite, 200, "", &sdp("older")).await;
    assert_eq!(answered(&mut events).await, sdp("older"));
    drop(events);
    let bye = older.asked("BYE").await;
    older.reply(&bye, 200, "", b"").await;
    let (_leg, mut events) = agent.dial(call("anna")).await.expect("dialled");
    let invite = newer.asked("INVITE").await;
    newer.reply(&invite, 486, "", b"").await;
    assert_eq!(ending(&mut events).await, (486, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_trunk_that_asks_for_a_digest_gets_it() {
    let (probe, _calls, anywhere) = agent().await;
    let carrier = Phone::new(anywhere, "1").await;
    drop(probe);
    let settings = format!(
        "[[trunk]]\nname = \"carrier\"\naddress = \"sip:{}\"\nusername = \"us\"\n\
         password = \"hush\"\n",
        carrier.own()
    );
    let (agent, _calls) = agent_with(&settings).await;
    let mut carrier = carrier;
    carrier.peer = address(&agent, Transport::Udp);
    let (_leg, mut events) = agent.dial(call("+4930@carrier")).await.expect("dialled");
    let invite = carrier.asked("INVITE").await;
    assert!(
        invite
            .0
            .starts_with(&format!("INVITE sip:+4930@{} ", carrier.own())),
        "{invite:?}"
    );
    assert!(
        invite
            .header("From")
            .contains(&format!("sip:100@{}", carrier.own())),
        "{invite:?}"
    );
    // As it comes from exchanges in the field: more than the stack can read.
    let challenge = "Proxy-Authenticate: Digest realm=\"x\", nonce=\"n\", algorithm=SHA-256\r\n\
         Proxy-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth,auth-int\"\r\n";
    carrier.reply(&invite, 407, challenge, b"").await;
    carrier.asked("ACK").await;
    let invite = carrier.asked("INVITE").await;
    let proof = invite.header("Proxy-Authorization");
    assert!(
        proof.contains("username=\"us\"") && proof.contains("nonce=\"n\""),
        "{proof}"
    );
    assert!(!invite.0.contains("hush"), "{invite:?}");
    carrier.reply(&invite, 200, "", &sdp("far")).await;
    assert_eq!(answered(&mut events).await, sdp("far"));
    drop(events);
    let bye = carrier.asked("BYE").await;
    carrier.reply(&bye, 200, "", b"").await;
    // A digest that is not taken is the end.
    let (_leg, mut events) = agent.dial(call("1@carrier")).await.expect("dialled");
    for _ in 0..2 {
        let invite = carrier.asked("INVITE").await;
        carrier.reply(&invite, 407, challenge, b"").await;
    }
    assert_eq!(ending(&mut events).await, (407, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn we_register_at_a_trunk_and_refresh_it() {
    let (probe, _calls, anywhere) = agent().await;
    let mut carrier = Phone::new(anywhere, "1").await;
    drop(probe);
    let settings = format!(
        "[[trunk]]\nname = \"carrier\"\naddress = \"sip:{}\"\nusername = \"us\"\n\
         password = \"hush\"\nregister = true\n",
        carrier.own()
    );
    let (agent, _calls) = agent_with(&settings).await;
    carrier.peer = address(&agent, Transport::Udp);
    let request = carrier.asked("REGISTER").await;
    assert!(request.header("To").contains("sip:us@"), "{request:?}");
    let challenge = "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth\"\r\n";
    carrier.reply(&request, 401, challenge, b"").await;
    let request = carrier.asked("REGISTER").await;
    assert!(
        request.header("Authorization").contains("username=\"us\""),
        "{request:?}"
    );
    let granted = format!("Contact: {};expires=2\r\n", request.header("Contact"));
    carrier.reply(&request, 200, &granted, b"").await;
    carrier.asked("REGISTER").await;
}

#[tokio::test]
async fn redirections_are_followed_as_far_as_the_limit() {
    let (agent, _calls) = agent_with("").await;
    let first = callee(&agent).await;
    let second = callee(&agent).await;
    let third = callee(&agent).await;
    let (_leg, mut events) = agent.dial(call(to(&first))).await.expect("dialled");
    let invite = first.asked("INVITE").await;
    let contacts = format!(
        "Contact: <sip:3@{}>;q=0.2, <sip:2@{}>;q=0.9, <mailto:x@y>\r\n",
        third.own(),
        second.own()
    );
    first.reply(&invite, 302, &contacts, b"").await;
    let invite = second.asked("INVITE").await;
    assert!(
        invite
            .0
            .starts_with(&format!("INVITE sip:2@{}", second.own())),
        "{invite:?}"
    );
    second.reply(&invite, 404, "", b"").await;
    let invite = third.asked("INVITE").await;
    third.reply(&invite, 200, "", &sdp("third")).await;
    assert_eq!(answered(&mut events).await, sdp("third"));
    drop(events);
    let bye = third.asked("BYE").await;
    third.reply(&bye, 200, "", b"").await;

    // A loop of redirections comes to its end.
    let (_leg, mut events) = agent.dial(call(to(&first))).await.expect("dialled");
    let mut hops = 0;
    loop {
        tokio::select! {
            invite = first.asked("INVITE") => {
                hops += 1;
                let contact = format!("Contact: <sip:hop{hops}@{}>\r\n", first.own());
                first.reply(&invite, 302, &contact, b"").await;
            }
            over = ending(&mut events) => {
                assert_eq!(over, (302, EndedBy::Party));
                break;
            }
        }
    }
    assert_eq!(hops, 6, "the first and five redirections");
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn redirections_lead_to_users_of_ours_and_to_no_trunk_but_their_own() {
    let (probe, _calls, anywhere) = agent().await;
    let mut carrier = Phone::new(anywhere, "1").await;
    drop(probe);
    let users = ANNA.to_owned() + &ANNA.replace("anna", "ben");
    let trunk = format!(
        "[[trunk]]\nname = \"carrier\"\naddress = \"sip:{}\"\n",
        carrier.own()
    );
    let (agent, _calls) = agent_with(&(users + &trunk)).await;
    let there = address(&agent, Transport::Udp);
    carrier.peer = there;
    let mut anna = Phone::new(there, "anna").await;
    assert_eq!(register(&mut anna, "").await.code(), 200);
    // Ben's phone is not there, a number is no user, and a trunk is not for whoever we call.
    let ben = format!("sip:ben@{there}");
    let odd = [
        ben.clone(),
        format!("sip:1000@{there}"),
        format!("sip:+1900@{}", carrier.own()),
        format!("sip:+1900%40carrier@{there}"),
        format!("sip:+1900@example.invalid;maddr={}", carrier.own().ip()),
        "tel:+1900".to_owned(),
    ];
    for contact in odd {
        let (_leg, mut events) = agent.dial(call("anna")).await.expect("dialled");
        let invite = anna.asked("INVITE").await;
        let contact = format!("Contact: <{contact}>\r\n");
        anna.reply(&invite, 302, &contact, b"").await;
        assert_eq!(
            ending(&mut events).await,
            (302, EndedBy::Party),
            "{contact}"
        );
    }
    // A proxy is no other address.
    let (_leg, mut events) = agent.dial(call("anna")).await.expect("dialled");
    let invite = anna.asked("INVITE").await;
    let contact = format!("Contact: <{ben}>\r\n");
    anna.reply(&invite, 305, &contact, b"").await;
    assert_eq!(ending(&mut events).await, (305, EndedBy::Party));

    // A trunk has other numbers, and its INVITEs are still those of its trunk.
    let (_leg, mut events) = agent.dial(call("1@carrier")).await.expect("dialled");
    let invite = carrier.asked("INVITE").await;
    assert!(invite.0.starts_with("INVITE sip:1@"), "{invite:?}");
    let contact = format!("Contact: <sip:2@{}>\r\n", carrier.own());
    carrier.reply(&invite, 301, &contact, b"").await;
    let invite = carrier.asked("INVITE").await;
    assert!(invite.0.starts_with("INVITE sip:2@"), "{invite:?}");
    let contact = format!("Contact: <sip:anna@{there}>\r\n");
    carrier.reply(&invite, 302, &contact, b"").await;
    let invite = anna.asked("INVITE").await;
    anna.reply(&invite, 486, "", b"").await;
    assert_eq!(ending(&mut events).await, (486, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn of_forked_answers_one_is_kept() {
    let (agent, _calls) = agent_with("").await;
    let phone = callee(&agent).await;
    let (_leg, mut events) = agent.dial(call(to(&phone))).await.expect("dialled");
    let invite = phone.asked("INVITE").await;
    phone.reply(&invite, 200, "", &sdp("one")).await;
    assert_eq!(answered(&mut events).await, sdp("one"));
    let mut fork = invite.clone();
    let to = invite.header("To").to_owned();
    fork.0 = fork
        .0
        .replace(&format!("To: {to}"), &format!("To: {to};tag=fork"));
    phone.reply(&fork, 200, "", &sdp("two")).await;
    let bye = phone.asked("BYE").await;
    assert!(bye.header("To").ends_with(";tag=fork"), "{bye:?}");
    phone.reply(&bye, 200, "", b"").await;
    drop(events);
    let bye = phone.asked("BYE").await;
    assert!(!bye.header("To").ends_with(";tag=fork"), "{bye:?}");
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_callee_that_hangs_up_at_once_is_heard() {
    let (agent, _calls) = agent_with("").await;
    for waits_for_ack in [true, false] {
        for _ in 0..20 {
            let phone = callee(&agent).await;
            let (_leg, mut events) = agent.dial(call(to(&phone))).await.expect("dialled");
            let invite = phone.asked("INVITE").await;
            phone.reply(&invite, 200, "", &sdp("callee")).await;
            if waits_for_ack {
                phone.asked("ACK").await;
            }
            phone.hang_up(&invite).await;
            phone.response_to("BYE", 200).await;
            assert_eq!(answered(&mut events).await, sdp("callee"));
            assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
        }
    }
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_answer_that_crosses_our_cancel_is_hung_up() {
    let (agent, _calls) = agent_with("").await;
    let phone = callee(&agent).await;
    let (leg, mut events) = agent.dial(call(to(&phone))).await.expect("dialled");
    let invite = phone.asked("INVITE").await;
    phone.reply(&invite, 180, "", b"").await;
    assert!(matches!(event(&mut events).await, LegEvent::Ringing));
    leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut events).await, (487, EndedBy::Us));
    let cancel = phone.asked("CANCEL").await;
    phone.reply(&invite, 200, "", &sdp("late")).await;
    phone.reply(&cancel, 200, "", b"").await;
    phone.asked("ACK").await;
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_answer_without_a_description_is_hung_up() {
    let (agent, _calls) = agent_with("").await;
    let phone = callee(&agent).await;
    let (_leg, mut events) = agent.dial(call(to(&phone))).await.expect("dialled");
    let invite = phone.asked("INVITE").await;
    phone.reply(&invite, 200, "", b"").await;
    assert_eq!(ending(&mut events).await, (488, EndedBy::Nobody));
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_callee_that_says_nothing_is_given_up() {
    let (agent, _calls) = agent_with("").await;
    let phone = callee(&agent).await;
    let mut out = call(to(&phone));
    out.ring_timeout = Duration::from_secs(60);
    let (_leg, mut events) = agent.dial(out).await.expect("dialled");
    let first = phone.asked("INVITE").await;
    let again = phone.asked("INVITE").await;
    assert_eq!(first.0, again.0);
    // 64 T1, long before it would have rung enough.
    assert_eq!(ending(&mut events).await, (408, EndedBy::Nobody));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn where_there_is_nowhere_to_go_it_is_said() {
    let (agent, _calls) = agent_with(ANNA).await;
    let long = format!("sip:{}@127.0.0.1", "1".repeat(300));
    let cases = [
        ("nobody", "there is no user 'nobody'"),
        ("1@nowhere", "there is no trunk 'nowhere'"),
        ("sip:", "'sip:': "),
        (long.as_str(), "an address of more than 256 octets"),
    ];
    for (to, wanted) in cases {
        match agent.dial(call(to)).await {
            Err(LegError::Nowhere(why)) => assert!(why.starts_with(wanted), "{to}: {why}"),
            other => panic!("{to}: {other:?}"),
        }
    }
}

/// Whatever a user's name or the rules for strangers say: nobody has to prove to itself who it is.
#[tokio::test]
async fn an_agent_calls_itself() {
    let free = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a port");
        socket.local_addr().expect("bound").port()
    };
    // Nobody can be reached at what is advertised here.
    let far = "advertise = \"192.0.2.77\"\n";
    for (listen, more) in [
        ("127.0.0.1:0".to_owned(), ""),
        ("0.0.0.0:0".to_owned(), ""),
        (format!("127.0.0.1:{}", free()), far),
        (format!("0.0.0.0:{}", free()), far),
    ] {
        let users = "[[user]]\nname = \"100\"\npassword = \"s3cret\"\n";
        let settings = format!("listen = [\"udp:{listen}\"]\nstrangers = false\n{more}{users}");
        let (agent, mut calls) = agent_with(&settings).await;
        let mut own = address(&agent, Transport::Udp);
        if own.ip().is_unspecified() {
            own.set_ip([127, 0, 0, 1].into());
        }
        for caller_hangs_up in [true, false] {
            let mut out = call(format!("sip:1000@{own}"));
            out.max_forwards = Some(7);
            let (leg, mut events) = agent.dial(out).await.expect("dialled");
            let mut call = incoming(&mut calls).await;
            assert_eq!(
                (call.by.as_deref(), call.is_own, call.max_forwards),
                (None, true, 7)
            );
            assert_eq!((call.from.as_str(), call.to.as_str()), ("100", "1000"));
            call.leg.ring(None).await.expect("it rings");
            assert!(matches!(event(&mut events).await, LegEvent::Ringing));
            call.leg.answer(&sdp("itself")).await.expect("answered");
            assert_eq!(answered(&mut events).await, sdp("itself"));
            let (ours, theirs) = match caller_hangs_up {
                true => (&mut events, &mut call.events),
                false => (&mut call.events, &mut events),
            };
            match caller_hangs_up {
                true => leg.hang_up(Cause::HANG_UP).await,
                false => call.leg.hang_up(Cause::HANG_UP).await,
            }
            assert_eq!(ending(ours).await, (200, EndedBy::Us));
            assert_eq!(ending(theirs).await, (200, EndedBy::Party));
        }
        // Refused, and cancelled.
        let dialled = agent.dial(call(format!("sip:1000@{own}"))).await;
        let (_leg, mut events) = dialled.expect("dialled");
        let busy = incoming(&mut calls).await;
        assert_eq!(busy.max_forwards, 70);
        busy.leg.hang_up(Cause(486)).await;
        assert_eq!(ending(&mut events).await, (486, EndedBy::Party));
        let dialled = agent.dial(call(format!("sip:1000@{own}"))).await;
        let (leg, mut events) = dialled.expect("dialled");
        let mut call = incoming(&mut calls).await;
        call.leg.ring(None).await.expect("it rings");
        assert!(matches!(event(&mut events).await, LegEvent::Ringing));
        leg.hang_up(Cause::HANG_UP).await;
        assert_eq!(ending(&mut events).await, (487, EndedBy::Us));
        assert_eq!(ending(&mut call.events).await, (487, EndedBy::Party));
        nothing_is_left(&agent).await;
    }
}
