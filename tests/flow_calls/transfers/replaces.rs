//! Calls that come in for another one's place.

use crosspoint::sip::LegStatus;

use super::*;

/// Somebody who calls for the place of a dialog.
async fn comes(scene: &Scene, dialog: &str, hz: f32, with_offer: bool) -> Caller {
    let mut caller = Caller::new(&scene.house, "9", hz).await;
    let headers = format!("Require: replaces\r\nReplaces: {dialog}\r\n");
    let offer = match with_offer {
        true => caller.voice.sdp(),
        false => Vec::new(),
    };
    caller.sip.invite_with(&headers, &offer).await;
    caller
}

/// It is answered, if need be with our offer.
async fn sits_down(caller: &mut Caller, with_offer: bool) {
    if with_offer {
        caller.is_answered().await;
        return;
    }
    let offer = caller.sip.response_to("INVITE", 200).await;
    let answer = caller.voice.sdp();
    caller.sip.confirm(&offer, &answer).await;
    caller.voice.speaks_to(offer.body());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_the_place_of_the_caller() {
    for with_offer in [true, false] {
        let scene = Scene::talking().await;
        let dialog = dialog_of(&scene.caller.sip).0;
        let mut other = comes(&scene, &dialog, 600.0, with_offer).await;
        sits_down(&mut other, with_offer).await;
        scene.caller.is_hung_up().await;
        other.voice.hears(AGENT_HZ).await;
        scene.agent.voice.hears(600.0).await;
        let inbound = scene.house.book.legs(true);
        assert_eq!(scene.instead_of(), Some(inbound[0].clone()));
        scene.agent.hangs_up().await;
        other.voice.hears(BRANCHES_HZ[0]).await;
        other.hangs_up().await;
        scene.agent.voice.heard_one_stream();
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_the_place_of_the_agent() {
    for with_offer in [true, false] {
        let mut scene = Scene::talking().await;
        let dialog = dialog_at(&scene.agent).0;
        let mut other = comes(&scene, &dialog, 600.0, with_offer).await;
        sits_down(&mut other, with_offer).await;
        scene.agent.is_hung_up().await;
        other.voice.hears(CALLER_HZ).await;
        scene.caller.voice.hears(600.0).await;
        let agent = scene.house.book.legs(false)[0].clone();
        assert_eq!(scene.instead_of(), Some(agent));
        // Hold and so on of whoever sits there now.
        other.reoffers("sendonly").await;
        other.reoffers("sendrecv").await;
        other.voice.hears(CALLER_HZ).await;
        other.hangs_up().await;
        scene.caller.voice.hears(BRANCHES_HZ[0]).await;
        scene.caller.hangs_up().await;
        scene.caller.voice.heard_one_stream();
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_not_taken_where_that_is_not_wanted_or_not_possible() {
    // Nobody may.
    let mut scene = Scene::new(|_| {}).await;
    *scene.house.transfer.lock().expect("a word") = Transfers::Nobody;
    let flow = connected(connect(&[scene.agent.uri()]));
    scene.house.flow("1000", flow);
    let offer = scene.caller.voice.sdp();
    scene.caller.sip.invite_with("", &offer).await;
    scene.agent.rings().await;
    // It rings only.
    let invite = scene.agent.invite.clone().expect("a call");
    let ringing = dialog_at(&scene.agent).0;
    let mut other = comes(&scene, &ringing, 600.0, true).await;
    assert_eq!(other.is_refused().await, 481);
    scene.agent.answers().await;
    scene.caller.is_answered().await;
    scene.they_hear_each_other().await;
    assert!(!invite.header("Call-ID").is_empty());
    for dialog in [dialog_of(&scene.caller.sip).0, dialog_at(&scene.agent).0] {
        let mut other = comes(&scene, &dialog, 600.0, true).await;
        assert_eq!(other.is_refused().await, 403);
    }
    scene.they_hear_each_other().await;
    scene.caller.hangs_up().await;
    scene.agent.is_hung_up().await;
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_cannot_be_leaves_all_as_it_was() {
    let scene = Scene::talking().await;
    for dialog in [dialog_of(&scene.caller.sip).0, dialog_at(&scene.agent).0] {
        for sdp in ["v=0\r\n", "hello"] {
            let mut other = Caller::new(&scene.house, "9", 600.0).await;
            let headers = format!("Replaces: {dialog}\r\n");
            other.sip.invite_with(&headers, sdp.as_bytes()).await;
            assert_eq!(other.is_refused().await, 488, "{sdp}");
        }
    }
    scene.they_hear_each_other().await;
    let Scene {
        house,
        mut caller,
        agent,
        ..
    } = scene;
    caller.hangs_up().await;
    agent.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_a_call_that_has_ended_meanwhile_is_not_taken() {
    for by_caller in [false, true] {
        let mut scene = Scene::talking().await;
        let dialog = match by_caller {
            true => dialog_of(&scene.caller.sip).0,
            false => dialog_at(&scene.agent).0,
        };
        let mut other = comes(&scene, &dialog, 600.0, false).await;
        let offer = other.sip.response_to("INVITE", 200).await;
        scene.caller.hangs_up().await;
        scene.agent.is_hung_up().await;
        let caller = scene.house.book.legs(true)[0].clone();
        scene.house.book.status(&caller).await;
        let answer = other.voice.sdp();
        other.sip.confirm(&offer, &answer).await;
        other.is_hung_up().await;
        for inbound in [true, false] {
            for leg in scene.house.book.legs(inbound) {
                assert_eq!(scene.house.book.status(&leg).await, LegStatus::Completed);
            }
        }
        scene.house.leave_empty().await;
    }
}
