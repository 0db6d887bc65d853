//! Calls as they are in the field: other codecs, odd answers, offers at odd times, changes
//! meanwhile.

use crosspoint::flow::script::Step;
use crosspoint::sip::{EndedBy, LegStatus};

use crate::flow_support::*;

#[tokio::test(flavor = "multi_thread")]
async fn parties_of_other_codecs_hear_each_other() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    callee.voice = Voice::of_alaw(800.0);
    house.flow("1000", connected(connect(&[callee.uri()])));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    // Silence while one of them holds, and the other way round.
    caller.reoffers("inactive").await;
    caller.reoffers("sendrecv").await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    caller.voice.heard_one_stream();
    callee.voice.heard_one_stream();
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_that_nobody_has_is_refused() {
    let house = House::with([greeting(700.0, 300, END)]).await;
    let mut caller = Caller::new(&house, "1000", 500.0).await;
    let offer = String::from_utf8(caller.voice.sdp()).expect("text");
    let offer = offer.replace("RTP/AVP 0 101", "RTP/AVP 18");
    caller.sip.invite_with("", offer.as_bytes()).await;
    assert_eq!(caller.is_refused().await, 488);
    assert_eq!(house.book.call().await.0, 488);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_is_a_failure() {
    for sdp in ["", "v=0\r\n", "hello"] {
        let house = House::new("").await;
        let mut callee = Callee::new(&house, 800.0).await;
        house.flow("1000", connected(connect(&[callee.uri()])));
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        callee.is_called().await;
        callee.answers_with(sdp).await;
        callee.is_hung_up().await;
        caller.is_answered().await;
        caller.voice.hears(BRANCHES_HZ[3]).await;
        caller.hangs_up().await;
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_during_a_whisper_is_answered() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    let mut step = connect(&[callee.uri()]);
    step.whisper = Some(prompt(1_000.0, 1_500));
    house.flow("1000", connected(step));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    callee.voice.hears(1_000.0).await;
    let answer = callee.reoffers("sendrecv").await;
    assert!(answer.body().contains("a=sendrecv"), "{answer:?}");
    callee.voice.hears(1_000.0).await;
    assert!(callee.voice.share_now(500.0) < 0.05, "not yet");
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    assert_eq!(caller.voice.windows_of(0, 1_000.0).0, 0);
    callee.voice.heard_one_stream();
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whisper_that_cannot_be_played_joins_them_at_once() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    let mut step = connect(&[callee.uri()]);
    let gone = crosspoint::switch::prompts::Source::File("no-such-file.wav".into());
    step.whisper = Some(vec![gone]);
    house.flow("1000", connected(step));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_keeps_the_flow_it_began_with() {
    let house = House::with([greeting(700.0, 800, Some(1)), greeting(800.0, 10_000, END)]).await;
    let mut first = Caller::talks(&house, "1000", 500.0).await;
    first.voice.hears(700.0).await;
    house.flow("1000", [greeting(900.0, 10_000, END)]);
    let mut second = Caller::talks(&house, "1000", 500.0).await;
    second.voice.hears(900.0).await;
    first.voice.hears(800.0).await;
    first.hangs_up().await;
    second.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_hangs_everybody_up() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    let mut other = Callee::new(&house, 900.0).await;
    house.flow("1000", connected(connect(&[callee.uri()])));
    house.flow("1001", connected(connect(&[other.uri()])));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    let mut ringing = Caller::calls(&house, "1001", 500.0).await;
    other.rings().await;
    let runner = house.runner.clone();
    let down = tokio::spawn(async move { runner.shutdown(ms(10_000)).await });
    caller.is_hung_up().await;
    callee.is_hung_up().await;
    other.is_cancelled().await;
    assert_eq!(ringing.is_refused().await, 503);
    assert!(down.await.expect("it ends"), "all are gone");
    let mut late = Caller::calls(&house, "1000", 500.0).await;
    assert_eq!(late.is_refused().await, 503);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_end_with_what_was_received_of_them() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    house.flow("1000", connected(connect(&[callee.uri()])));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    caller.voice.next(50).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    for leg in [house.book.legs(true), house.book.legs(false)].concat() {
        assert_eq!(house.book.status(&leg).await, LegStatus::Completed);
        let (_, quality) = house.book.ending(&leg).expect("ended");
        let quality = quality.expect("it had media");
        assert!((50..500).contains(&quality.received), "{quality:?}");
        assert_eq!(quality.lost, 0, "{quality:?}");
        assert!(quality.jitter_us < 20_000, "{quality:?}");
        assert!(quality.mos.is_some_and(|mos| mos > 4.0), "{quality:?}");
    }
    house.leave_empty().await;
}

/// Each of them in its own words, and none of them twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_callee_is_told_of_the_call_it_belongs_to() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    house.flow("1000", connected(connect(&[callee.uri()])));
    let mut caller = Caller::new(&house, "1000", 500.0).await;
    let offer = caller.voice.sdp();
    let headers = "X-Exotel-CallSid: of-the-carrier\r\nX-Exotel-LegSid: its-leg\r\n";
    caller.sip.invite_with(headers, &offer).await;
    let invite = callee.is_called().await;
    assert_eq!(invite.headers("X-Exotel-CallSid"), ["of-the-carrier"]);
    let leg = house.book.legs(false).remove(0);
    assert_eq!(invite.headers("X-Exotel-LegSid"), [leg]);
    assert_eq!(invite.header("Max-Forwards"), "69");
    caller.cancels().await;
    callee.is_cancelled().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bye_that_crosses_another_one_is_the_end() {
    let house = House::new("").await;
    for _ in 0..5 {
        let mut callee = Callee::new(&house, 800.0).await;
        house.flow("1000", connected(connect(&[callee.uri()])));
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        callee.rings().await;
        callee.answers().await;
        caller.is_answered().await;
        caller.voice.hears(800.0).await;
        tokio::join!(caller.hangs_up(), callee.hangs_up());
    }
    for leg in house.book.legs(true) {
        house.book.status(&leg).await;
        let (ending, _) = house.book.ending(&leg).expect("ended");
        assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Party));
    }
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_without_an_end_is_ended() {
    let mask = |next| Step::Mask {
        number: "1".to_owned(),
        next: Some(next),
    };
    let house = House::with([mask(1), mask(0)]).await;
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    assert_eq!(caller.is_refused().await, 500);
    house.leave_empty().await;
}
