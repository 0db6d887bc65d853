//! Several parties that ring at once.

use crosspoint::flow::script::{Connect, Early};
use crosspoint::sip::LegStatus;

use crate::flow_support::*;

/// A house whose number calls three, those three of 700, 800 and 900 Hz, and a caller of 500 Hz.
async fn calling(change: impl FnOnce(&mut Connect)) -> (House, [Callee; 3], Caller) {
    let house = House::new("").await;
    let callees = [
        Callee::new(&house, 700.0).await,
        Callee::new(&house, 800.0).await,
        Callee::new(&house, 900.0).await,
    ];
    let mut step = connect(&callees.each_ref().map(Callee::uri));
    change(&mut step);
    house.flow("1000", connected(step));
    let caller = Caller::calls(&house, "1000", 500.0).await;
    (house, callees, caller)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answers_and_the_others_are_cancelled() {
    let (house, [mut one, mut two, mut three], mut caller) = calling(|_| {}).await;
    for callee in [&mut one, &mut two, &mut three] {
        callee.rings().await;
    }
    two.answers().await;
    one.is_cancelled().await;
    three.is_cancelled().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    two.voice.hears(500.0).await;
    caller.hangs_up().await;
    two.is_hung_up().await;
    assert!(
        one.voice.mark() == 0 && three.voice.mark() == 0,
        "they hear nothing"
    );
    let mut legs = house.book.called().await;
    assert_eq!(legs.remove(1), LegStatus::Completed);
    assert_eq!(legs, [LegStatus::Canceled; 2]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_is_taken_and_ended() {
    let (house, [mut one, mut two, mut three], mut caller) = calling(|_| {}).await;
    for callee in [&mut one, &mut two, &mut three] {
        callee.rings().await;
    }
    // Whichever is first; the other's 200 crosses our CANCEL.
    tokio::join!(two.answers(), three.answers());
    caller.is_answered().await;
    until("one of them is heard", || {
        [800.0, 900.0]
            .iter()
            .any(|hz| caller.voice.share_now(*hz) > 0.8)
    })
    .await;
    let (winner, loser) = match caller.voice.share_now(800.0) > 0.8 {
        true => (&two, &three),
        false => (&three, &two),
    };
    loser.is_hung_up().await;
    one.is_cancelled().await;
    winner.voice.hears(500.0).await;
    assert_eq!(caller.voice.windows_of(0, loser.voice.hz).0, 0);
    assert_eq!(loser.voice.windows_of(0, 500.0).0, 0);
    caller.hangs_up().await;
    winner.is_hung_up().await;
    let mut legs = house.book.called().await;
    legs.sort_by_key(|status| status.label());
    let lost = LegStatus::Canceled;
    assert_eq!(legs, [lost, lost, LegStatus::Completed]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_hears_once_that_several_ring() {
    let (house, [mut one, mut two, mut three], mut caller) = calling(|_| {}).await;
    for callee in [&mut one, &mut two, &mut three] {
        callee.rings().await;
    }
    let rings = house.book.legs(false);
    until("all ring", || {
        let all = house.book.all();
        rings
            .iter()
            .all(|leg| all.contains(&Told::Ringing(leg.clone())))
    })
    .await;
    assert_eq!(caller.sip.response().await.code(), 180);
    one.answers().await;
    let next = caller.sip.response().await;
    assert_eq!(next.code(), 200, "and no second 180");
    caller.sip.confirm(&next, b"").await;
    two.is_cancelled().await;
    three.is_cancelled().await;
    caller.hangs_up().await;
    one.is_hung_up().await;
    let caller_leg = house.book.legs(true).remove(0);
    let mut all = house.book.all();
    all.retain(|told| *told == Told::Ringing(caller_leg.clone()));
    assert_eq!(all.len(), 1);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_early_media_of_who_speaks_first_is_heard_until_another_answers() {
    let (house, [mut one, mut two, mut three], mut caller) =
        calling(|step| step.early = Early::First).await;
    for callee in [&mut one, &mut two, &mut three] {
        callee.is_called().await;
    }
    two.rings_now().await;
    three.speaks_early().await;
    let progress = caller.sip.response_to("INVITE", 183).await;
    caller.voice.speaks_to(progress.body());
    caller.voice.hears(900.0).await;
    one.speaks_early().await;
    let mark = caller.voice.mark();
    caller.voice.next(25).await;
    let (with, all) = caller.voice.windows_of(mark, 900.0);
    assert_eq!(with, all, "the first one goes on");
    assert_eq!(caller.voice.windows_of(mark, 700.0).0, 0);
    two.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    one.is_cancelled().await;
    three.is_cancelled().await;
    two.voice.hears(500.0).await;
    caller.voice.heard_one_stream();
    caller.hangs_up().await;
    two.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_outcome_leads_on_when_nobody_answers() {
    let (house, [mut one, mut two, mut three], mut caller) = calling(|_| {}).await;
    for (callee, code) in [(&mut one, 404), (&mut two, 480), (&mut three, 486)] {
        callee.is_called().await;
        callee.refuses(code).await;
        let leg = &house.book.legs(false);
        until("it has ended", || {
            leg.iter().any(|leg| {
                house
                    .book
                    .ending(leg)
                    .is_some_and(|(ending, _)| ending.cause.0 == code)
            })
        })
        .await;
    }
    caller.is_answered().await;
    caller.voice.hears(BRANCHES_HZ[1]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_cancelled_when_the_caller_cancels() {
    let (house, [mut one, mut two, mut three], mut caller) = calling(|_| {}).await;
    for callee in [&mut one, &mut two, &mut three] {
        callee.rings().await;
    }
    caller.cancels().await;
    for callee in [&mut one, &mut two, &mut three] {
        callee.is_cancelled().await;
    }
    assert_eq!(house.book.called().await, [LegStatus::Canceled; 3]);
    house.leave_empty().await;
}
