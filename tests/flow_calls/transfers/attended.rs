//! Attended transfers.

use crosspoint::sip::{EndedBy, LegStatus};

use super::*;

/// A second call of somebody, to the target; they talk.
async fn consults(scene: &mut Scene, hz: f32) -> Caller {
    let mut second = Caller::calls(&scene.house, "2001", hz).await;
    scene.target.rings().await;
    scene.target.answers().await;
    second.is_answered().await;
    second.voice.hears(TARGET_HZ).await;
    second
}

/// The address of the target, by the dialog that is to be replaced.
fn replacing(scene: &Scene, escaped: &str) -> String {
    format!("<sip:2001@{}?Replaces={escaped}>", scene.house.address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_joins_the_caller_with_whom_it_has_asked() {
    let mut scene = Scene::talking().await;
    scene.agent.reoffers("sendonly").await;
    let second = consults(&mut scene, 850.0).await;
    let to = replacing(&scene, &dialog_of(&second.sip).1);
    let refers = agent_refers(&mut scene.agent, &to);
    let (code, ()) = tokio::join!(refers, follows(&scene.caller.sip, &scene.caller.voice));
    assert_eq!(code, 202);
    assert_eq!(notified_to_the_end(&scene.agent.sip).await, 200);
    scene.agent.is_hung_up().await;
    second.is_hung_up().await;
    scene.caller.voice.hears(TARGET_HZ).await;
    scene.target.voice.hears(CALLER_HZ).await;
    // The first call is over, and the caller is a leg of the second one.
    let book = &scene.house.book;
    let inbound = book.legs(true);
    assert_eq!(inbound.len(), 3);
    assert_eq!(scene.instead_of(), Some(inbound[1].clone()));
    for leg in &inbound[..2] {
        assert_eq!(book.status(leg).await, LegStatus::Completed);
        let (ending, _) = book.ending(leg).expect("ended");
        assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Us));
    }
    assert!(book.ending(&inbound[2]).is_none());
    scene.caller.voice.next(25).await;
    scene.caller.hangs_up().await;
    scene.target.is_hung_up().await;
    assert_eq!(book.status(&inbound[2]).await, LegStatus::Completed);
    let (ending, quality) = book.ending(&inbound[2]).expect("ended");
    assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Party));
    assert!(quality.expect("media").received > 10);
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_joins_the_agent_with_another_one() {
    let mut scene = Scene::talking().await;
    let second = consults(&mut scene, 550.0).await;
    let to = replacing(&scene, &dialog_of(&second.sip).1);
    let refers = caller_refers(&mut scene.caller, &to);
    let (code, ()) = tokio::join!(refers, follows(&scene.agent.sip, &scene.agent.voice));
    assert_eq!(code, 202);
    assert_eq!(notified_to_the_end(&scene.caller.sip).await, 200);
    scene.caller.is_hung_up().await;
    second.is_hung_up().await;
    scene.agent.voice.hears(TARGET_HZ).await;
    scene.target.voice.hears(AGENT_HZ).await;
    scene.agent.hangs_up().await;
    scene.target.is_hung_up().await;
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_joins_two_who_called_it() {
    let mut scene = Scene::talking().await;
    // Another phone of the same agent.
    let mut again = Callee::new(&scene.house, 850.0).await;
    scene.house.flow("1000", connected(connect(&[again.uri()])));
    let mut second = Caller::calls(&scene.house, "1000", 550.0).await;
    again.rings().await;
    again.answers().await;
    second.is_answered().await;
    again.voice.hears(550.0).await;
    let to = replacing(&scene, &dialog_at(&again).1);
    let refers = agent_refers(&mut scene.agent, &to);
    let (code, ()) = tokio::join!(refers, follows(&scene.caller.sip, &scene.caller.voice));
    assert_eq!(code, 202);
    assert_eq!(notified_to_the_end(&scene.agent.sip).await, 200);
    scene.agent.is_hung_up().await;
    again.is_hung_up().await;
    scene.caller.voice.hears(550.0).await;
    second.voice.hears(CALLER_HZ).await;
    second.voice.heard_one_stream();
    // What it takes the place of goes on where the callee's would.
    scene.caller.hangs_up().await;
    second.voice.hears(BRANCHES_HZ[0]).await;
    second.hangs_up().await;
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_brought_into_a_flow() {
    let mut scene = Scene::talking().await;
    scene.house.flow("3000", [greeting(1_000.0, 20_000, END)]);
    let second = Caller::talks(&scene.house, "3000", 850.0).await;
    second.voice.hears(1_000.0).await;
    let to = replacing(&scene, &dialog_of(&second.sip).1);
    let refers = agent_refers(&mut scene.agent, &to);
    let (code, ()) = tokio::join!(refers, follows(&scene.caller.sip, &scene.caller.voice));
    assert_eq!(code, 202);
    assert_eq!(notified_to_the_end(&scene.agent.sip).await, 200);
    scene.agent.is_hung_up().await;
    second.is_hung_up().await;
    scene.caller.voice.hears(1_000.0).await;
    scene.caller.hangs_up().await;
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_calls_go_on_when_whoever_stays_refuses() {
    let mut scene = Scene::talking().await;
    let mut second = consults(&mut scene, 850.0).await;
    let to = replacing(&scene, &dialog_of(&second.sip).1);
    let refuses = async {
        let offer = scene.caller.sip.asked("INVITE").await;
        scene.caller.sip.reply(&offer, 488, "", b"").await;
        scene.caller.sip.asked("ACK").await;
    };
    let (code, ()) = tokio::join!(agent_refers(&mut scene.agent, &to), refuses);
    assert_eq!(code, 202);
    assert_eq!(notified_to_the_end(&scene.agent.sip).await, 488);
    scene.they_hear_each_other().await;
    second.voice.hears(TARGET_HZ).await;
    scene.target.voice.hears(850.0).await;
    second.hangs_up().await;
    scene.target.is_hung_up().await;
    scene.caller.hangs_up().await;
    scene.agent.is_hung_up().await;
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_that_is_none_of_ours_is_not_replaced() {
    let mut scene = Scene::talking().await;
    let own = dialog_at(&scene.agent).1;
    let of_peer = dialog_of(&scene.caller.sip).1;
    let unknown = named("a", "b", "c").1;
    for (dialog, code) in [(unknown, 481), (own, 603), (of_peer, 603)] {
        let to = replacing(&scene, &dialog);
        assert_eq!(agent_refers(&mut scene.agent, &to).await, code);
    }
    scene.they_hear_each_other().await;
    scene.caller.hangs_up().await;
    scene.agent.is_hung_up().await;
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_the_other_one_ends_meanwhile() {
    for by_caller in [false, true] {
        let mut scene = Scene::talking().await;
        let mut second = consults(&mut scene, 850.0).await;
        let to = replacing(&scene, &dialog_of(&second.sip).1);
        let code = match by_caller {
            true => caller_refers(&mut scene.caller, &to).await,
            false => agent_refers(&mut scene.agent, &to).await,
        };
        assert_eq!(code, 202);
        let (phone, voice) = match by_caller {
            true => (&scene.agent.sip, &scene.agent.voice),
            false => (&scene.caller.sip, &scene.caller.voice),
        };
        let offer = phone.asked("INVITE").await;
        second.hangs_up().await;
        scene.target.is_hung_up().await;
        let left = scene.house.book.legs(true)[1].clone();
        scene.house.book.status(&left).await;
        phone.reply(&offer, 200, "", &voice.sdp()).await;
        phone.asked("ACK").await;
        // It is offered its own call again.
        follows(phone, voice).await;
        let asked = match by_caller {
            true => &scene.caller.sip,
            false => &scene.agent.sip,
        };
        assert_eq!(notified_to_the_end(asked).await, 481, "{by_caller}");
        scene.they_hear_each_other().await;
        scene.caller.hangs_up().await;
        scene.agent.is_hung_up().await;
        for leg in scene.house.book.legs(true) {
            assert_eq!(scene.house.book.status(&leg).await, LegStatus::Completed);
        }
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_not_joined_with_itself() {
    let mut scene = Scene::new(|_| {}).await;
    let house = &scene.house;
    house.flow("1000", connected(connect(&["local:1001".to_owned()])));
    house.flow("1001", connected(connect(&[scene.agent.uri()])));
    let offer = scene.caller.voice.sdp();
    scene.caller.sip.invite_with("", &offer).await;
    scene.agent.rings().await;
    scene.agent.answers().await;
    scene.caller.is_answered().await;
    scene.they_hear_each_other().await;
    // Both its ends are lines of one phone.
    let to = replacing(&scene, &dialog_at(&scene.agent).1);
    assert_eq!(caller_refers(&mut scene.caller, &to).await, 603);
    let to = replacing(&scene, &dialog_of(&scene.caller.sip).1);
    assert_eq!(agent_refers(&mut scene.agent, &to).await, 603);
    scene.they_hear_each_other().await;
    scene.caller.hangs_up().await;
    scene.agent.is_hung_up().await;
    scene.house.leave_empty().await;
}
