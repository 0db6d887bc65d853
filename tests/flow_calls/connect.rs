//! The applet `connect` with one party.

use crosspoint::flow::script::{Connect, Early, Step};
use crosspoint::sip::{EndedBy, LegStatus};

use crate::flow_support::*;

/// A house whose number calls one party, that party, and a caller of 500 Hz.
async fn calling(hz: f32, change: impl FnOnce(&mut Connect)) -> (House, Callee, Caller) {
    let house = House::new("").await;
    let callee = Callee::new(&house, hz).await;
    let mut step = connect(&[callee.uri()]);
    change(&mut step);
    house.flow("1000", connected(step));
    let caller = Caller::calls(&house, "1000", 500.0).await;
    (house, callee, caller)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_hear_each_other_until_the_caller_hangs_up() {
    let (house, mut callee, mut caller) = calling(800.0, |_| {}).await;
    callee.rings().await;
    assert_eq!(caller.sip.response().await.code(), 180);
    assert!(
        !house
            .book
            .all()
            .contains(&Told::Answered(house.book.legs(true)[0].clone()))
    );
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    caller.hangs_up().await;
    let bye = callee.is_hung_up().await;
    assert_eq!(bye.header("Reason"), "");
    caller.voice.heard_one_stream();
    callee.voice.heard_one_stream();
    assert_eq!(house.book.called().await, [LegStatus::Completed]);
    let leg = &house.book.legs(false)[0];
    let (ending, _) = house.book.ending(leg).expect("ended");
    assert_eq!(ending.by, EndedBy::Us);
    assert_eq!(house.book.call().await.0, 200);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_goes_on_when_the_callee_hangs_up() {
    let (house, mut callee, mut caller) = calling(800.0, |_| {}).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.hangs_up().await;
    caller.voice.hears(BRANCHES_HZ[0]).await;
    caller.hangs_up().await;
    caller.voice.heard_one_stream();
    let leg = &house.book.legs(false)[0];
    let (ending, _) = house.book.ending(leg).expect("ended");
    assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Party));
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_lead_to_their_branches() {
    for (code, branch, status) in [
        (486, 1, LegStatus::Busy),
        (603, 1, LegStatus::Busy),
        (480, 2, LegStatus::NoAnswer),
        (404, 3, LegStatus::Failed),
        (503, 3, LegStatus::Failed),
    ] {
        let (house, mut callee, mut caller) = calling(800.0, |_| {}).await;
        callee.is_called().await;
        callee.refuses(code).await;
        caller.is_answered().await;
        caller.voice.hears(BRANCHES_HZ[branch]).await;
        caller.hangs_up().await;
        assert_eq!(house.book.called().await, [status], "{code}");
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_goes_on_nowhere_refuses_as_the_callee_did() {
    for code in [486, 404, 480, 603] {
        let nowhere = |step: &mut Connect| {
            (step.busy, step.no_answer, step.failed) = (END, END, END);
        };
        let (house, mut callee, mut caller) = calling(800.0, nowhere).await;
        callee.is_called().await;
        callee.refuses(code).await;
        assert_eq!(caller.is_refused().await, code);
        assert_eq!(house.book.call().await.0, code);
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_a_failure() {
    let house = House::new("").await;
    for to in ["nobody", "12@nowhere", "sip:", "local:"] {
        house.flow("1000", connected(connect(&[to.to_owned()])));
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        caller.is_answered().await;
        caller.voice.hears(BRANCHES_HZ[3]).await;
        caller.hangs_up().await;
    }
    assert_eq!(house.book.called().await, [LegStatus::Failed; 4]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_in_time_is_cancelled_and_did_not_answer() {
    let (house, mut callee, mut caller) = calling(800.0, |step| step.ring_timeout = ms(300)).await;
    callee.rings().await;
    callee.is_cancelled().await;
    caller.is_answered().await;
    caller.voice.hears(BRANCHES_HZ[2]).await;
    caller.hangs_up().await;
    assert_eq!(house.book.called().await, [LegStatus::NoAnswer]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_cancels_takes_the_callee_along() {
    let (house, mut callee, mut caller) = calling(800.0, |_| {}).await;
    callee.rings().await;
    assert_eq!(caller.sip.response().await.code(), 180);
    caller.cancels().await;
    callee.is_cancelled().await;
    assert_eq!(house.book.called().await, [LegStatus::Canceled]);
    let caller_leg = &house.book.legs(true)[0];
    assert_eq!(house.book.status(caller_leg).await, LegStatus::Canceled);
    assert_eq!(house.book.call().await.0, 487);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_after_another_rings_for_its_own_time() {
    let house = House::new("").await;
    let mut first = Callee::new(&house, 700.0).await;
    let mut second = Callee::new(&house, 800.0).await;
    let mut step = connect(&[first.uri(), second.uri()]);
    (step.parallel, step.ring_timeout) = (false, ms(400));
    house.flow("1000", connected(step));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    first.rings().await;
    first.is_cancelled().await;
    second.rings().await;
    second.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    caller.hangs_up().await;
    second.is_hung_up().await;
    let legs = house.book.called().await;
    assert_eq!(legs, [LegStatus::NoAnswer, LegStatus::Completed]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_media_is_heard_where_it_is_wanted() {
    let (house, mut callee, mut caller) = calling(800.0, |step| step.early = Early::First).await;
    callee.is_called().await;
    callee.speaks_early().await;
    let progress = caller.sip.response_to("INVITE", 183).await;
    caller.voice.speaks_to(progress.body());
    caller.voice.hears(800.0).await;
    callee.answers().await;
    let answer = caller.is_answered().await;
    assert_eq!(answer.body(), progress.body());
    callee.voice.hears(500.0).await;
    caller.voice.heard_one_stream();
    caller.hangs_up().await;
    callee.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whispered_to_the_callee_is_not_heard_by_the_caller() {
    let (house, mut callee, mut caller) =
        calling(800.0, |step| step.whisper = Some(prompt(1_000.0, 800))).await;
    callee.rings().await;
    callee.answers().await;
    callee.voice.hears(1_000.0).await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    let (whispered, _) = callee.voice.windows_of(0, 1_000.0);
    assert!((7..=10).contains(&whispered), "{whispered} windows");
    assert_eq!(caller.voice.windows_of(0, 1_000.0).0, 0);
    caller.voice.heard_one_stream();
    callee.voice.heard_one_stream();
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_while_it_is_whispered_to_is_no_partner() {
    let (house, mut callee, mut caller) =
        calling(800.0, |step| step.whisper = Some(prompt(1_000.0, 5_000))).await;
    callee.rings().await;
    callee.answers().await;
    callee.voice.hears(1_000.0).await;
    callee.hangs_up().await;
    caller.is_answered().await;
    caller.voice.hears(BRANCHES_HZ[3]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn music_is_heard_while_it_rings() {
    let (house, mut callee, mut caller) =
        calling(800.0, |step| step.music = Some(prompt(1_100.0, 300))).await;
    caller.is_answered().await;
    caller.voice.hears(1_100.0).await;
    callee.rings().await;
    let mark = caller.voice.mark();
    caller.voice.next(40).await;
    let (with, all) = caller.voice.windows_of(mark, 1_100.0);
    assert_eq!(with, all, "over and over, and no ringing tone");
    callee.answers().await;
    caller.voice.hears(800.0).await;
    assert!(caller.voice.share_now(1_100.0) < 0.01);
    caller.hangs_up().await;
    callee.is_hung_up().await;
    caller.voice.heard_one_stream();
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_ends_at_its_limit() {
    let (house, mut callee, mut caller) = calling(800.0, |step| step.time_limit = ms(500)).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.is_hung_up().await;
    caller.voice.hears(BRANCHES_HZ[0]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_recorded_and_the_caller_is_left() {
    let (house, mut callee, mut caller) = calling(800.0, |step| step.record = true).await;
    callee.rings().await;
    callee.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    callee.voice.hears(500.0).await;
    caller.voice.next(25).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    let (_, told) = house.book.call().await;
    let Told::CallEnded { recordings, .. } = &told else {
        unreachable!("it has ended");
    };
    let path = house.recordings.join(&recordings[0]);
    until("the recording is a file", || path.is_file()).await;
    let [left, right] = house.channels_of(&recordings[0]);
    for (sound, hz) in [(left, 500.0), (right, 800.0)] {
        let share = tone_in(&sound, hz);
        assert!(share > 0.6, "{share} of {hz} Hz");
    }
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_caller_is_known_by_the_mask_alone() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    let mask = Step::Mask {
        number: "4420".to_owned(),
        next: Some(1),
    };
    let steps = [
        mask,
        Step::Connect(Box::new(connect(&[callee.uri()]))),
        Step::Hangup { cause: None },
    ];
    house.flow("1000", steps);
    let mut caller = Caller::new(&house, "1000", 500.0).await;
    let offer = caller.voice.sdp();
    let told = "X-Exotel-CallSid: of-the-carrier\r\n";
    caller.sip.invite_with(told, &offer).await;
    let invite = callee.is_called().await.clone();
    assert!(invite.header("From").contains("<sip:4420@"), "{invite:?}");
    let own = caller.sip.own().to_string();
    let media = format!(" {} ", caller.voice.address.port());
    for secret in [
        "A Caller",
        "200@",
        "of-the-carrier",
        "secret",
        &own,
        &media,
        &caller.sip.call_id,
    ] {
        assert!(!invite.0.contains(secret), "{secret} in {invite:?}");
    }
    callee.answers().await;
    let answer = caller.is_answered().await;
    for secret in ["callee", "secret", &callee.sip.own().to_string()] {
        assert!(!answer.0.contains(secret), "{secret} in {answer:?}");
    }
    callee.voice.hears(500.0).await;
    caller.hangs_up().await;
    let bye = callee.is_hung_up().await;
    assert!(!bye.0.contains(&own), "{bye:?}");
    house.leave_empty().await;
}
