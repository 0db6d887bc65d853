//! Calls through the user agent: against a phone that says what it is told, octet for octet, and
//! against another user agent.

mod sip_support;

use std::time::Duration;

use crosspoint::sip::{Cause, EndedBy, Incoming, LegError, LegEvent};
use sip_support::*;
use tokio::time::timeout;

#[tokio::test]
async fn a_call_is_answered_and_either_end_hangs_up() {
    let (agent, mut calls, address) = agent().await;
    for caller_hangs_up in [true, false] {
        let mut phone = Phone::new(address, "1000").await;
        let headers = "X-Exotel-CallSid: abc\r\nX-Other: no\r\n";
        phone.invite_with(headers, &sdp("phone")).await;
        assert_eq!(phone.next().await.code(), 100, "at once");
        let mut call = incoming(&mut calls).await;
        assert_eq!((call.to.as_str(), call.from.as_str()), ("1000", "200"));
        assert_eq!(call.display.as_deref(), Some("A Caller"));
        assert_eq!((call.by.as_ref(), call.is_own), (None, false));
        assert_eq!(call.source, phone.own());
        assert_eq!(
            call.headers,
            [("X-Exotel-CallSid".to_owned(), "abc".to_owned())]
        );
        assert_eq!(call.sdp, Some(sdp("phone")));
        assert_eq!(call.sip_call_id, phone.call_id);

        call.leg.ring(None).await.expect("it rings");
        assert_eq!(phone.response().await.code(), 180);
        call.leg
            .ring(Some(&sdp("early")))
            .await
            .expect("early media");
        let progress = phone.response().await;
        assert_eq!(
            (progress.code(), progress.body()),
            (183, text("early").as_str())
        );
        call.leg.answer(&sdp("agent")).await.expect("answered");
        let answer = phone.response().await;
        assert_eq!(
            (answer.code(), answer.body()),
            (200, text("agent").as_str())
        );
        assert!(
            answer.contact().contains(&address.to_string()),
            "{answer:?}"
        );
        assert!(answer.header("Allow").contains("UPDATE"));
        phone.confirm(&answer, b"").await;
        assert!(call.leg.answer(&sdp("again")).await.is_err(), "once");
        if caller_hangs_up {
            phone.bye().await;
            assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));
        } else {
            call.leg.hang_up(Cause::HANG_UP).await;
            assert_eq!(ending(&mut call.events).await, (200, EndedBy::Us));
            let bye = phone.asked("BYE").await;
            phone.reply(&bye, 200, "", b"").await;
        }
        call.leg.hang_up(Cause::HANG_UP).await;
        assert!(matches!(call.leg.ring(None).await, Err(LegError::Ended)));
    }
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_call_is_refused_with_any_code() {
    let (agent, mut calls, address) = agent().await;
    for (cause, code) in [
        (486, 486),
        (404, 404),
        (503, 503),
        (302, 302),
        (200, 603),
        (487, 603),
    ] {
        let mut phone = Phone::new(address, "1000").await;
        phone.invite().await;
        let mut call = incoming(&mut calls).await;
        call.leg.hang_up(Cause(cause)).await;
        let refused = phone.response().await;
        assert_eq!(refused.code(), code);
        phone.take(&refused).await;
        assert_eq!(ending(&mut call.events).await, (code, EndedBy::Us));
    }
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_caller_cancels_before_and_after_it_rings() {
    let (agent, mut calls, address) = agent().await;
    for rings in [false, true] {
        let mut phone = Phone::new(address, "1000").await;
        phone.invite().await;
        let mut call = incoming(&mut calls).await;
        if rings {
            call.leg.ring(None).await.expect("it rings");
            assert_eq!(phone.response().await.code(), 180);
        }
        let cancel = phone.same("CANCEL", "", b"");
        phone.say(&cancel).await;
        phone.response_to("CANCEL", 200).await;
        let terminated = phone.response_to("INVITE", 487).await;
        phone.take(&terminated).await;
        assert_eq!(ending(&mut call.events).await, (487, EndedBy::Party));
        let late = call.leg.answer(&sdp("late")).await;
        assert!(matches!(late, Err(LegError::Ended)), "{late:?}");
    }
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn two_user_agents_talk() {
    let (near, _calls) = agent_with("").await;
    let (far, mut calls, there) = agent().await;
    for caller_hangs_up in [true, false] {
        let mut out = call(format!("sip:1000@{there}"));
        out.display = Some("A \"B\"\r\nX: y".into());
        out.headers = vec![
            ("X-Exotel-CallSid".into(), "42".into()),
            ("Via".into(), "evil".into()),
            ("X-Exotel-LegSid".into(), "7\r\nEvil: yes".into()),
        ];
        let (leg, mut events) = near.dial(out).await.expect("dialled");
        let mut call = incoming(&mut calls).await;
        assert_eq!((call.to.as_str(), call.from.as_str()), ("1000", "100"));
        assert_eq!(call.display.as_deref(), Some("A BX: y"));
        let passed = [
            ("X-Exotel-CallSid", "42"),
            ("X-Exotel-LegSid", "7Evil: yes"),
        ];
        assert_eq!(
            call.headers,
            passed.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        call.leg.ring(None).await.expect("it rings");
        assert!(matches!(event(&mut events).await, LegEvent::Ringing));
        call.leg
            .ring(Some(&sdp("early")))
            .await
            .expect("early media");
        let LegEvent::Progress(early) = event(&mut events).await else {
            panic!("no early media");
        };
        assert_eq!(early, sdp("early"));
        call.leg.answer(&sdp("callee")).await.expect("answered");
        assert_eq!(answered(&mut events).await, sdp("callee"));
        let (one, other) = match caller_hangs_up {
            true => (&leg, &call.leg),
            false => (&call.leg, &leg),
        };
        one.hang_up(Cause::HANG_UP).await;
        let (ours, theirs) = match caller_hangs_up {
            true => (&mut events, &mut call.events),
            false => (&mut call.events, &mut events),
        };
        assert_eq!(ending(ours).await, (200, EndedBy::Us));
        assert_eq!(ending(theirs).await, (200, EndedBy::Party));
        other.hang_up(Cause::HANG_UP).await;
    }
    nothing_is_left(&near).await;
    nothing_is_left(&far).await;
}

#[tokio::test]
async fn a_callee_refuses_and_the_reason_is_told() {
    let (near, _calls) = agent_with("").await;
    let (_far, mut calls, there) = agent().await;
    for (code, status) in [
        (486, "busy"),
        (603, "busy"),
        (404, "failed"),
        (480, "no-answer"),
    ] {
        let dialled = near.dial(call(format!("sip:1000@{there}"))).await;
        let (_leg, mut events) = dialled.expect("dialled");
        incoming(&mut calls).await.leg.hang_up(Cause(code)).await;
        let (cause, by) = ending(&mut events).await;
        assert_eq!((cause, by), (code, EndedBy::Party));
        assert_eq!(Cause(cause).status(false).label(), status);
    }
    nothing_is_left(&near).await;
}

#[tokio::test]
async fn a_call_of_ours_is_cancelled_by_us_and_by_its_ring_timeout() {
    let (near, _calls) = agent_with("").await;
    let (far, mut calls, there) = agent().await;
    for by_timeout in [false, true] {
        let mut out = call(format!("sip:1000@{there}"));
        if by_timeout {
            out.ring_timeout = Duration::from_millis(300);
        }
        let (leg, mut events) = near.dial(out).await.expect("dialled");
        let mut call = incoming(&mut calls).await;
        call.leg.ring(None).await.expect("it rings");
        assert!(matches!(event(&mut events).await, LegEvent::Ringing));
        if !by_timeout {
            leg.hang_up(Cause::HANG_UP).await;
        }
        let wanted = match by_timeout {
            true => (408, EndedBy::Nobody),
            false => (487, EndedBy::Us),
        };
        assert_eq!(ending(&mut events).await, wanted);
        assert_eq!(ending(&mut call.events).await, (487, EndedBy::Party));
    }
    nothing_is_left(&near).await;
    nothing_is_left(&far).await;
}

#[tokio::test]
async fn options_tell_what_is_understood_and_the_unknown_is_refused() {
    let (_agent, _calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let mut ask = async |method: &str| {
        let request = phone.request(method, "", b"");
        phone.say(&request).await;
        phone.response().await
    };
    let able = ask("OPTIONS").await;
    assert_eq!(able.code(), 200);
    assert!(able.header("Allow").contains("INVITE"), "{able:?}");
    assert_eq!(able.header("Accept"), "application/sdp, multipart/mixed");
    assert!(able.header("Supported").contains("timer"), "{able:?}");
    for method in ["SUBSCRIBE", "PUBLISH", "MESSAGE", "NOTIFY", "REFER"] {
        let refused = ask(method).await;
        assert_eq!(refused.code(), 405, "{method}");
        assert!(refused.header("Allow").contains("INVITE"), "{refused:?}");
    }
    phone.to_tag = "nobody".into();
    for method in ["BYE", "INVITE", "INFO", "UPDATE", "PRACK", "OPTIONS"] {
        let request = phone.request(method, "", b"");
        phone.say(&request).await;
        assert_eq!(phone.response().await.code(), 481, "{method}");
    }
}

#[tokio::test]
async fn an_endpoint_that_stops_ends_its_legs() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut talks) = phone.connected(&mut calls).await;
    let offer = tokio::spawn(async move { leg.reoffer(&sdp("unanswered")).await });
    phone.asked("INVITE").await;
    let mut referring = Phone::new(address, "1000").await;
    let (_leg, mut refers) = referring.connected(&mut calls).await;
    let refer = referring.request("REFER", "Refer-To: <tel:1>\r\n", b"");
    referring.say(&refer).await;
    let LegEvent::Transfer(asked) = event(&mut refers).await else {
        panic!("no transfer");
    };
    let progress = asked.reply.accept();
    referring.asked("NOTIFY").await;
    let mut ringing = Phone::new(address, "1000").await;
    ringing.invite().await;
    let mut rings = incoming(&mut calls).await;
    let nobody = Phone::new(address, "1000").await;
    let dialled = agent.dial(call(format!("sip:1@{}", nobody.own()))).await;
    let (_leg, mut dials) = dialled.expect("dialled");
    nobody.asked("INVITE").await;
    drop(agent);
    for events in [&mut talks, &mut refers, &mut rings.events, &mut dials] {
        assert_eq!(ending(events).await, (503, EndedBy::Us));
    }
    let none = timeout(PATIENCE, calls.recv()).await.expect("the end");
    assert!(none.is_none(), "no more calls");
    let unanswered = offer.await.expect("no panic");
    assert!(matches!(unanswered, Err(LegError::Ended)), "{unanswered:?}");
    drop((progress, rings));
    let gone = async {
        while tasks() > before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = timeout(PATIENCE, gone).await;
    assert!(done.is_ok(), "{} tasks are left", tasks() - before);
}

#[tokio::test]
async fn the_offer_may_be_a_part_of_the_body() {
    let (_agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let body = format!(
        "--x\r\nContent-Type: application/isup\r\n\r\n?\r\n\
         --x\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--x--\r\n",
        text("phone")
    );
    phone
        .invite_with(
            "Content-Type: multipart/mixed;boundary=x\r\n",
            body.as_bytes(),
        )
        .await;
    let call = incoming(&mut calls).await;
    assert_eq!(call.sdp, Some(sdp("phone")));
    call.leg.answer(&sdp("agent")).await.expect("answered");
    let answer = phone.response_to("INVITE", 200).await;
    // The offer was there: the ACK brings nothing.
    phone.confirm(&answer, b"").await;
    phone.bye().await;
}

#[tokio::test]
async fn what_is_escaped_in_a_contact_stays_as_it_is() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let own = phone.own();
    let contact = format!("Contact: <sip:20%230@{own}>");
    let invite = phone.request("INVITE", "", &sdp("phone"));
    let usual = format!("Contact: <sip:200@{own}>");
    phone.say(&invite.replace(&usual, &contact)).await;
    let asked = incoming(&mut calls).await;
    asked.leg.answer(&sdp("agent")).await.expect("answered");
    let answer = phone.response_to("INVITE", 200).await;
    phone.confirm(&answer, b"").await;
    drop(asked);
    let bye = phone.asked("BYE").await;
    let line = format!("BYE sip:20%230@{own} SIP/2.0\r\n");
    assert!(bye.0.starts_with(&line), "{bye:?}");
    phone.reply(&bye, 200, "", b"").await;

    let dialled = agent.dial(call(format!("sip:20%230@{own}"))).await;
    let (_leg, mut events) = dialled.expect("dialled");
    let invite = phone.asked("INVITE").await;
    let line = format!("INVITE sip:20%230@{own} SIP/2.0\r\n");
    assert!(invite.0.starts_with(&line), "{invite:?}");
    phone
        .reply(&invite, 200, &format!("{contact}\r\n"), &sdp("phone"))
        .await;
    answered(&mut events).await;
    drop(events);
    let bye = phone.asked("BYE").await;
    let line = format!("BYE sip:20%230@{own} SIP/2.0\r\n");
    assert!(bye.0.starts_with(&line), "{bye:?}");
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn dropping_the_events_hangs_up() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    phone.invite().await;
    let Incoming { leg, events, .. } = incoming(&mut calls).await;
    drop(events);
    let refused = phone.response().await;
    assert_eq!(refused.code(), 480);
    phone.take(&refused).await;
    drop(leg);
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, events) = phone.connected(&mut calls).await;
    drop(events);
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}
