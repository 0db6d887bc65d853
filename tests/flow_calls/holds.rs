//! Offers within a conversation: hold, resume, and a party without an offer.

use crate::flow_support::*;

/// Two who talk: the caller of 500 Hz, the callee of 800 Hz.
async fn talking() -> (House, Callee, Caller) {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    house.flow("1000", connected(connect(&[callee.uri()])));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    (house, callee, caller)
}

async fn end(house: House, callee: Callee, mut caller: Caller) {
    caller.voice.heard_one_stream();
    callee.voice.heard_one_stream();
    caller.hangs_up().await;
    callee.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_holds_and_resumes() {
    let (house, callee, mut caller) = talking().await;
    for _ in 0..2 {
        let answer = caller.reoffers("sendonly").await;
        assert!(answer.body().contains("a=recvonly"), "{answer:?}");
        until("the caller is sent nothing", || {
            caller.voice.is_silent_for(ms(200))
        })
        .await;
        callee.voice.hears(500.0).await;
        let answer = caller.reoffers("inactive").await;
        assert!(answer.body().contains("a=inactive"), "{answer:?}");
        until("the callee is sent nothing", || {
            callee.voice.is_silent_for(ms(200))
        })
        .await;
        let answer = caller.reoffers("sendrecv").await;
        assert!(answer.body().contains("a=sendrecv"), "{answer:?}");
        caller.voice.hears(800.0).await;
        callee.voice.hears(500.0).await;
    }
    end(house, callee, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_holds_and_resumes() {
    let (house, mut callee, caller) = talking().await;
    for _ in 0..2 {
        let answer = callee.reoffers("sendonly").await;
        assert!(answer.body().contains("a=recvonly"), "{answer:?}");
        until("the callee is sent nothing", || {
            callee.voice.is_silent_for(ms(200))
        })
        .await;
        caller.voice.hears(800.0).await;
        let answer = callee.reoffers("inactive").await;
        assert!(answer.body().contains("a=inactive"), "{answer:?}");
        until("the caller is sent nothing", || {
            caller.voice.is_silent_for(ms(200))
        })
        .await;
        let answer = callee.reoffers("sendrecv").await;
        assert!(answer.body().contains("a=sendrecv"), "{answer:?}");
        caller.voice.hears(800.0).await;
        callee.voice.hears(500.0).await;
    }
    end(house, callee, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_hold_and_resume_across_each_other() {
    let (house, mut callee, mut caller) = talking().await;
    caller.reoffers("sendonly").await;
    callee.reoffers("sendonly").await;
    caller.reoffers("sendrecv").await;
    callee.reoffers("sendrecv").await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    end(house, callee, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_asks_for_an_offer_within_the_call() {
    let (house, callee, mut caller) = talking().await;
    let invite = caller.sip.request("INVITE", "", b"");
    caller.sip.say(&invite).await;
    let offer = caller.sip.response_to("INVITE", 200).await;
    assert!(offer.body().contains("m=audio"), "{offer:?}");
    let answer = caller.voice.sdp();
    caller.sip.confirm(&offer, &answer).await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    end(house, callee, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_an_offer_is_offered_every_codec() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    house.flow("1000", connected(connect(&[callee.uri()])));
    let mut caller = Caller::new(&house, "1000", 500.0).await;
    caller.sip.invite_with("", b"").await;
    // Nobody can be called before the caller's media is known.
    let offer = caller.sip.response_to("INVITE", 200).await;
    for codec in [
        "PCMU/8000",
        "PCMA/8000",
        "G722/8000",
        "opus/48000/2",
        "telephone-event/8000",
    ] {
        assert!(offer.body().contains(codec), "{codec} in {}", offer.body());
    }
    let answer = caller.voice.sdp();
    caller.sip.confirm(&offer, &answer).await;
    caller.voice.speaks_to(offer.body());
    callee.rings().await;
    callee.answers().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    end(house, callee, caller).await;
}
