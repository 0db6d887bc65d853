//! What happens within calls, and while they are set up: offers of either end, reliable responses,
//! keys, timers, and messages that are lost, late or said again.

mod sip_support;

use std::time::{Duration, Instant};

use crosspoint::sip::{Cause, EndedBy, Incoming, LEG_EVENTS_MAX, LegError, LegEvent, OfferMade};
use sip_support::*;

fn offer_of(event: LegEvent) -> OfferMade {
    match event {
        LegEvent::Offer(offer) => offer,
        other => panic!("{other:?} and not an offer"),
    }
}

#[tokio::test]
async fn a_caller_without_an_offer_gets_ours_and_answers_in_its_ack() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    phone.invite_with("", b"").await;
    let mut call = incoming(&mut calls).await;
    assert_eq!(call.sdp, None);
    call.leg.answer(&sdp("offer")).await.expect("answered");
    let answer = phone.response().await;
    assert_eq!(answer.body(), text("offer"));
    phone.confirm(&answer, &sdp("answer")).await;
    assert_eq!(answered(&mut call.events).await, sdp("answer"));
    phone.bye().await;
    assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));

    // One that leaves our offer unanswered has no session.
    let mut phone = Phone::new(address, "1000").await;
    phone.invite_with("", b"").await;
    let mut call = incoming(&mut calls).await;
    call.leg.answer(&sdp("offer")).await.expect("answered");
    let answer = phone.response().await;
    phone.confirm(&answer, b"").await;
    assert_eq!(ending(&mut call.events).await, (488, EndedBy::Nobody));
    let bye = phone.asked("BYE").await;
    assert_eq!(bye.header("Reason"), "SIP;cause=488");
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn offers_within_a_call_are_answered_refused_or_given_up() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut events) = phone.connected(&mut calls).await;
    for method in ["INVITE", "UPDATE"] {
        let request = phone.request(method, "", &sdp("hold"));
        phone.say(&request).await;
        let offer = offer_of(event(&mut events).await);
        assert_eq!(offer.sdp, Some(sdp("hold")));
        offer.reply.send(Ok(sdp("held"))).expect("it is waited for");
        let answer = phone.response().await;
        assert_eq!((answer.code(), answer.body()), (200, text("held").as_str()));
        if method == "INVITE" {
            phone.confirm(&answer, b"").await;
        }

        let request = phone.request(method, "", &sdp("odd"));
        phone.say(&request).await;
        let offer = offer_of(event(&mut events).await);
        offer.reply.send(Err(Cause(488))).expect("it is waited for");
        let refused = phone.response().await;
        assert_eq!(refused.code(), 488);
        if method == "INVITE" {
            phone.take(&refused).await;
        }
    }
    // Without an offer of its own it asks for ours; its answer is in the ACK.
    let request = phone.request("INVITE", "", b"");
    phone.say(&request).await;
    let offer = offer_of(event(&mut events).await);
    assert_eq!(offer.sdp, None);
    offer.reply.send(Ok(sdp("ours"))).expect("it is waited for");
    let answer = phone.response().await;
    phone.confirm(&answer, &sdp("theirs")).await;
    assert_eq!(answered(&mut events).await, sdp("theirs"));
    // An UPDATE without an offer is a sign of life.
    let request = phone.request("UPDATE", "", b"");
    phone.say(&request).await;
    assert_eq!(phone.response().await.code(), 200);
    // Nobody answers it.
    let request = phone.request("INVITE", "", &sdp("lost"));
    phone.say(&request).await;
    drop(offer_of(event(&mut events).await));
    let failed = phone.response().await;
    assert_eq!(failed.code(), 500);
    phone.take(&failed).await;
    // It is no SDP.
    let request = phone.request("UPDATE", "Content-Type: text/plain\r\n", b"hello");
    phone.say(&request).await;
    assert_eq!(phone.response().await.code(), 415);
    leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Us));
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

/// The next one may be there before our end knows that its answer to the one before has gone out.
#[tokio::test(flavor = "multi_thread")]
async fn offers_within_a_call_may_follow_at_once() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, mut events) = phone.connected(&mut calls).await;
    let answering = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let LegEvent::Offer(offer) = event {
                offer.reply.send(Ok(sdp("held"))).expect("it is waited for");
            }
        }
    });
    // The ACK of the call itself has come.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for n in 0..100 {
        let request = phone.request("INVITE", "", &sdp("hold"));
        phone.say(&request).await;
        let answer = phone.response().await;
        assert_eq!(answer.code(), 200, "offer {n}: {answer:?}");
        phone.confirm(&answer, b"").await;
    }
    phone.bye().await;
    answering.await.expect("it ends");
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_party_that_moves_is_followed() {
    let (_agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut events) = phone.connected(&mut calls).await;
    let moved = Phone::new(address, "1000").await;
    let request = phone.request("UPDATE", "", &sdp("moved"));
    let (old, new) = (phone.own(), moved.own());
    let contact = |at| format!("Contact: <sip:200@{at}>");
    phone
        .say(&request.replace(&contact(old), &contact(new)))
        .await;
    let offer = offer_of(event(&mut events).await);
    offer
        .reply
        .send(Ok(sdp("agent")))
        .expect("it is waited for");
    assert_eq!(phone.response().await.code(), 200);
    leg.hang_up(Cause::HANG_UP).await;
    let bye = moved.asked("BYE").await;
    moved.reply(&bye, 200, "", b"").await;
}

#[tokio::test]
async fn offers_of_ours_are_answered_refused_and_meet_others() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut events) = phone.connected(&mut calls).await;
    let offering = |leg: &crosspoint::sip::Leg| {
        let leg = leg.clone();
        tokio::spawn(async move { leg.reoffer(&sdp("anew")).await })
    };
    let offer = offering(&leg);
    let request = phone.asked("INVITE").await;
    assert_eq!(request.body(), text("anew"));
    // Meanwhile neither end may offer.
    let other = leg.reoffer(&sdp("other")).await;
    assert!(matches!(other, Err(LegError::Refused(491))), "{other:?}");
    let update = phone.request("UPDATE", "", &sdp("hold"));
    phone.say(&update).await;
    assert_eq!(phone.response_to("UPDATE", 491).await.code(), 491);
    phone.reply(&request, 200, "", &sdp("anew too")).await;
    let answer = offer.await.expect("no panic").expect("answered");
    assert_eq!(answer, sdp("anew too"));
    assert_eq!(
        phone.asked("ACK").await.header("CSeq"),
        request.header("CSeq").replace("INVITE", "ACK")
    );

    let offer = offering(&leg);
    let request = phone.asked("INVITE").await;
    phone.reply(&request, 488, "", b"").await;
    let refused = offer.await.expect("no panic");
    assert!(
        matches!(refused, Err(LegError::Refused(488))),
        "{refused:?}"
    );

    // Ours meets another of theirs and is tried again.
    let offer = offering(&leg);
    let request = phone.asked("INVITE").await;
    phone.reply(&request, 491, "", b"").await;
    phone.asked("ACK").await;
    let request = phone.asked("INVITE").await;
    phone.reply(&request, 200, "", &sdp("at last")).await;
    assert_eq!(
        offer.await.expect("no panic").expect("answered"),
        sdp("at last")
    );

    // The other end has lost the call.
    let offer = offering(&leg);
    let request = phone.asked("INVITE").await;
    phone.reply(&request, 481, "", b"").await;
    assert!(matches!(
        offer.await.expect("no panic"),
        Err(LegError::Refused(481))
    ));
    assert_eq!(ending(&mut events).await, (481, EndedBy::Nobody));
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 481, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn keys_and_questions_come_within_a_call() {
    let (_agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, mut events) = phone.connected(&mut calls).await;
    let kinds = [
        (
            "application/dtmf-relay",
            "Signal=5\r\nDuration=250\r\n",
            '5',
            250,
        ),
        ("application/dtmf", "#", '#', 160),
    ];
    for (kind, body, key, length) in kinds {
        let headers = format!("Content-Type: {kind}\r\n");
        let info = phone.request("INFO", &headers, body.as_bytes());
        phone.say(&info).await;
        assert_eq!(phone.response().await.code(), 200);
        let LegEvent::Digit(digit, pressed) = event(&mut events).await else {
            panic!("no key");
        };
        assert_eq!(
            (digit.as_char(), pressed),
            (key, Duration::from_millis(length))
        );
    }
    let mut ask = async |method: &str, headers: &str, body: &[u8]| {
        let request = phone.request(method, headers, body);
        phone.say(&request).await;
        phone.response().await.code()
    };
    assert_eq!(ask("INFO", "Content-Type: text/plain\r\n", b"5").await, 415);
    assert_eq!(ask("INFO", "", b"").await, 200);
    assert_eq!(ask("OPTIONS", "", b"").await, 200);
    for method in ["MESSAGE", "NOTIFY", "SUBSCRIBE", "PUBLISH"] {
        assert_eq!(ask(method, "", b"").await, 405, "{method}");
    }
    assert_eq!(ask("PRACK", "RAck: 1 1 INVITE\r\n", b"").await, 481);
    assert_eq!(ask("PRACK", "", b"").await, 400);
    phone.cseq = 0;
    let old = phone.request("INFO", "", b"");
    phone.say(&old).await;
    assert_eq!(phone.response().await.code(), 500, "older than the latest");
    phone.cseq = 100;
    phone.bye().await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Party));
}

#[tokio::test]
async fn reliable_responses_wait_for_their_prack() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    phone
        .invite_with("Require: 100rel\r\n", &sdp("phone"))
        .await;
    let mut call = incoming(&mut calls).await;
    call.leg
        .ring(Some(&sdp("early")))
        .await
        .expect("early media");
    let progress = phone.response().await;
    assert_eq!(
        (progress.code(), progress.header("Require")),
        (183, "100rel")
    );
    let rseq: u32 = progress.header("RSeq").parse().expect("an RSeq");
    // It is said again until it is acknowledged; what comes after it waits.
    call.leg.ring(None).await.expect("it waits");
    let leg = call.leg.clone();
    let answer = tokio::spawn(async move { leg.answer(&sdp("agent")).await });
    let again = phone.response().await;
    assert_eq!(again.0, progress.0);
    phone.to_tag = progress.to_tag().to_owned();
    let invite = phone.cseq;
    for (rack, code) in [
        (format!("{} {invite}", rseq + 1), 481),
        (format!("{rseq} {invite}"), 200),
    ] {
        let prack = phone.request("PRACK", &format!("RAck: {rack} INVITE\r\n"), b"");
        phone.say(&prack).await;
        phone.response_to("PRACK", code).await;
    }
    let ringing = phone.response_to("INVITE", 180).await;
    assert_eq!(ringing.header("RSeq"), (rseq + 1).to_string());
    let rack = format!("RAck: {} {invite} INVITE\r\n", rseq + 1);
    let prack = phone.request("PRACK", &rack, b"");
    phone.say(&prack).await;
    phone.response_to("PRACK", 200).await;
    let answered = phone.response_to("INVITE", 200).await;
    answer.await.expect("no panic").expect("answered");
    phone.cseq = invite;
    phone.confirm(&answered, b"").await;
    phone.cseq += 10;
    phone.bye().await;
    assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));

    // A caller that requires it and does not do it (64 T1).
    let mut phone = Phone::new(address, "1000").await;
    phone
        .invite_with("Require: 100rel\r\n", &sdp("phone"))
        .await;
    let mut call = incoming(&mut calls).await;
    call.leg.ring(None).await.expect("it rings");
    assert_eq!(ending(&mut call.events).await, (504, EndedBy::Nobody));
    let refused = phone.response_to("INVITE", 504).await;
    phone.take(&refused).await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn sessions_are_refreshed_or_end() {
    let (agent, mut calls) = agent_with("session-min = 2").await;
    let address = address(&agent, crosspoint::sip::Transport::Udp);
    let mut phone = Phone::new(address, "1000").await;
    phone
        .invite_with("Session-Expires: 1\r\nSupported: timer\r\n", &sdp("phone"))
        .await;
    let refused = phone.response().await;
    assert_eq!((refused.code(), refused.header("Min-SE")), (422, "2"));
    phone.take(&refused).await;

    phone
        .invite_with("Session-Expires: 3\r\nSupported: timer\r\n", &sdp("phone"))
        .await;
    let mut call = incoming(&mut calls).await;
    call.leg.answer(&sdp("agent")).await.expect("answered");
    let begun = Instant::now();
    let answer = phone.response().await;
    assert_eq!(answer.header("Session-Expires"), "3;refresher=uac");
    assert_eq!(answer.header("Require"), "timer");
    phone.confirm(&answer, b"").await;
    let refresh = "Session-Expires: 3;refresher=uac\r\nSupported: timer\r\n";
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let update = phone.request("UPDATE", refresh, b"");
    phone.say(&update).await;
    let refreshed = phone.response().await;
    assert_eq!(refreshed.header("Session-Expires"), "3;refresher=uac");
    // No more of them: two thirds after the last one it is over.
    assert_eq!(ending(&mut call.events).await, (408, EndedBy::Nobody));
    assert!(
        begun.elapsed() >= Duration::from_millis(3400),
        "{:?}",
        begun.elapsed()
    );
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;

    // One that leaves it to us, by UPDATE where it knows that, else by what we said last.
    for (allow, method) in [("Allow: INVITE, UPDATE\r\n", "UPDATE"), ("", "INVITE")] {
        let mut phone = Phone::new(address, "1000").await;
        let headers = format!("Session-Expires: 2;refresher=uas\r\nSupported: timer\r\n{allow}");
        phone.invite_with(&headers, &sdp("phone")).await;
        let mut call = incoming(&mut calls).await;
        call.leg.answer(&sdp("agent")).await.expect("answered");
        let answer = phone.response().await;
        assert_eq!(answer.header("Session-Expires"), "2;refresher=uas");
        phone.confirm(&answer, b"").await;
        for _ in 0..2 {
            let request = phone.asked(method).await;
            assert_eq!(request.header("Session-Expires"), "2;refresher=uac");
            let (mine, theirs) = match method {
                "INVITE" => (sdp("phone"), text("agent")),
                _ => (Vec::new(), String::new()),
            };
            assert_eq!(request.body(), theirs);
            phone
                .reply(&request, 200, "Session-Expires: 2;refresher=uac\r\n", &mine)
                .await;
        }
        phone.bye().await;
        assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));
    }
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_answer_whose_ack_is_lost_is_repeated_and_given_up() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    phone.invite().await;
    let mut call = incoming(&mut calls).await;
    call.leg.answer(&sdp("agent")).await.expect("answered");
    let first = phone.response().await;
    let again = phone.response().await;
    assert_eq!(first.0, again.0);
    assert_eq!(ending(&mut call.events).await, (408, EndedBy::Nobody));
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_hang_up_before_the_ack_waits_for_it() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    phone.invite().await;
    let mut call = incoming(&mut calls).await;
    call.leg.answer(&sdp("agent")).await.expect("answered");
    call.leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut call.events).await, (200, EndedBy::Us));
    let answer = phone.response().await;
    let again = phone.response().await;
    assert_eq!(again.code(), 200, "and no BYE: {again:?}");
    phone.confirm(&answer, b"").await;
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn an_offer_of_ours_before_the_ack_waits_for_it() {
    let (_agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    phone.invite().await;
    let Incoming { leg, events, .. } = incoming(&mut calls).await;
    leg.answer(&sdp("agent")).await.expect("answered");
    let offer = tokio::spawn(async move { leg.reoffer(&sdp("anew")).await });
    let answer = phone.response().await;
    phone.confirm(&answer, b"").await;
    let request = phone.asked("INVITE").await;
    phone.reply(&request, 200, "", &sdp("phone")).await;
    assert_eq!(
        offer.await.expect("no panic").expect("answered"),
        sdp("phone")
    );
    drop(events);
}

#[tokio::test]
async fn byes_cross_and_come_early() {
    let (agent, mut calls, address) = agent().await;
    // Both ends at a time.
    let mut phone = Phone::new(address, "1000").await;
    let (leg, mut events) = phone.connected(&mut calls).await;
    leg.hang_up(Cause::HANG_UP).await;
    assert_eq!(ending(&mut events).await, (200, EndedBy::Us));
    let theirs = phone.asked("BYE").await;
    let ours = phone.request("BYE", "", b"");
    phone.say(&ours).await;
    let code = phone.response().await.code();
    assert!([200, 481].contains(&code), "{code}");
    phone.reply(&theirs, 200, "", b"").await;
    // Before the answer (RFC 3261 section 15.1.2: the INVITE is refused with 487).
    let mut phone = Phone::new(address, "1000").await;
    phone.invite().await;
    let mut call = incoming(&mut calls).await;
    call.leg.ring(None).await.expect("it rings");
    let ringing = phone.response().await;
    let invite = phone.cseq;
    phone.to_tag = ringing.to_tag().to_owned();
    phone.bye().await;
    phone.response_to("INVITE", 487).await;
    assert_eq!(ending(&mut call.events).await, (487, EndedBy::Party));
    assert_eq!(invite, 1);
    // Before the ACK.
    let mut phone = Phone::new(address, "1000").await;
    phone.invite().await;
    let mut call = incoming(&mut calls).await;
    call.leg.answer(&sdp("agent")).await.expect("answered");
    let answer = phone.response().await;
    phone.to_tag = answer.to_tag().to_owned();
    phone.bye().await;
    assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn what_is_said_again_is_heard_once() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let invite = phone.request("INVITE", "", &sdp("phone"));
    for _ in 0..3 {
        phone.say(&invite).await;
    }
    let mut call = incoming(&mut calls).await;
    call.leg.answer(&sdp("agent")).await.expect("answered");
    let answer = phone.response_to("INVITE", 200).await;
    for _ in 0..3 {
        phone.confirm(&answer, b"").await;
        phone.say(&invite).await;
    }
    let bye = phone.request("BYE", "", b"");
    for _ in 0..3 {
        phone.say(&bye).await;
        assert_eq!(phone.response_to("BYE", 200).await.code(), 200);
    }
    assert_eq!(ending(&mut call.events).await, (200, EndedBy::Party));
    assert!(calls.try_recv().is_err(), "one call");
    assert_eq!(agent.counters().let_in, 1);
    nothing_is_left(&agent).await;
}

#[tokio::test]
async fn a_leg_whose_events_nobody_takes_is_ended_at_the_limit() {
    let (agent, mut calls, address) = agent().await;
    let mut phone = Phone::new(address, "1000").await;
    let (_leg, mut events) = phone.connected(&mut calls).await;
    for n in 0..=LEG_EVENTS_MAX {
        let info = phone.request("INFO", "Content-Type: application/dtmf\r\n", b"1");
        phone.say(&info).await;
        assert_eq!(phone.response_to("INFO", 200).await.code(), 200, "{n}");
        if n < LEG_EVENTS_MAX {
            assert_eq!(agent.counters().events_lost, 0, "as many as fit");
        }
    }
    let bye = phone.asked("BYE").await;
    phone.reply(&bye, 200, "", b"").await;
    assert_eq!(agent.counters().events_lost, 1);
    for _ in 0..LEG_EVENTS_MAX {
        assert!(matches!(event(&mut events).await, LegEvent::Digit(..)));
    }
    assert_eq!(ending(&mut events).await, (500, EndedBy::Us));
}
