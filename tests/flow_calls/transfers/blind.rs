//! Blind transfers.

use crosspoint::flow::script::{Queue, Step};
use crosspoint::sip::{EndedBy, LegStatus};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_hands_the_caller_on() {
    let mut scene = Scene::talking().await;
    let to = scene.at("2001");
    assert_eq!(agent_refers(&mut scene.agent, &to).await, 202);
    assert_eq!(notified(&scene.agent.sip).await, 100);
    scene.target.rings().await;
    assert_eq!(notified(&scene.agent.sip).await, 180);
    hears_ringing(&scene.caller.voice).await;
    scene.target.answers().await;
    assert_eq!(notified(&scene.agent.sip).await, 200);
    scene.agent.is_hung_up().await;
    scene.caller.voice.hears(TARGET_HZ).await;
    scene.target.voice.hears(CALLER_HZ).await;
    let agent = scene.house.book.legs(false)[0].clone();
    assert_eq!(scene.house.book.status(&agent).await, LegStatus::Completed);
    let (ending, quality) = scene.house.book.ending(&agent).expect("ended");
    assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Us));
    assert!(quality.expect("media").received > 4);
    assert_eq!(scene.instead_of(), Some(agent));
    scene.target.hangs_up().await;
    scene.caller.voice.hears(BRANCHES_HZ[0]).await;
    scene.caller.hangs_up().await;
    scene.caller.voice.heard_one_stream();
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_hands_the_agent_on() {
    let mut scene = Scene::talking().await;
    let to = scene.at("2001");
    assert_eq!(caller_refers(&mut scene.caller, &to).await, 202);
    assert_eq!(notified(&scene.caller.sip).await, 100);
    scene.target.rings().await;
    assert_eq!(notified(&scene.caller.sip).await, 180);
    hears_ringing(&scene.agent.voice).await;
    scene.target.answers().await;
    assert_eq!(notified(&scene.caller.sip).await, 200);
    scene.caller.is_hung_up().await;
    scene.agent.voice.hears(TARGET_HZ).await;
    scene.target.voice.hears(AGENT_HZ).await;
    let caller = scene.house.book.legs(true)[0].clone();
    let (ending, quality) = scene.house.book.ending(&caller).expect("ended");
    assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Us));
    assert!(quality.expect("media").received > 4);
    assert_eq!(scene.instead_of(), Some(caller));
    // Who sits in the caller's place goes on as the caller would.
    scene.agent.hangs_up().await;
    scene.target.voice.hears(BRANCHES_HZ[0]).await;
    scene.target.hangs_up().await;
    scene.agent.voice.heard_one_stream();
    scene.house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_the_target_refuses() {
    for code in [486, 404, 603] {
        for by_caller in [false, true] {
            let mut scene = Scene::talking().await;
            // Straight to it: a flow that calls it would answer for it.
            scene.house.flow("2001", [refusing(&scene.target)]);
            let to = scene.at("2001");
            let phone = match by_caller {
                true => {
                    assert_eq!(caller_refers(&mut scene.caller, &to).await, 202);
                    &scene.caller.sip
                }
                false => {
                    assert_eq!(agent_refers(&mut scene.agent, &to).await, 202);
                    &scene.agent.sip
                }
            };
            scene.target.rings().await;
            scene.target.refuses(code).await;
            assert_eq!(notified_to_the_end(phone).await, code);
            scene.they_hear_each_other().await;
            scene.caller.hangs_up().await;
            scene.agent.is_hung_up().await;
            scene.house.leave_empty().await;
        }
    }
}

/// A connect whose call ends with that of the target.
fn refusing(target: &Callee) -> Step {
    let mut step = connect(&[target.uri()]);
    (step.answered, step.busy, step.no_answer, step.failed) = (END, END, END, END);
    Step::Connect(Box::new(step))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_leaves_at_once_is_followed_by_the_target() {
    for by_caller in [false, true] {
        let mut scene = Scene::talking().await;
        let to = scene.at("2001");
        match by_caller {
            true => {
                caller_refers(&mut scene.caller, &to).await;
                scene.target.rings().await;
                scene.caller.hangs_up().await;
                scene.target.answers().await;
                scene.agent.voice.hears(TARGET_HZ).await;
                scene.target.voice.hears(AGENT_HZ).await;
                scene.target.hangs_up().await;
                scene.agent.is_hung_up().await;
            }
            false => {
                agent_refers(&mut scene.agent, &to).await;
                scene.target.rings().await;
                scene.agent.hangs_up().await;
                scene.target.answers().await;
                scene.caller.voice.hears(TARGET_HZ).await;
                scene.target.voice.hears(CALLER_HZ).await;
                scene.caller.hangs_up().await;
                scene.target.is_hung_up().await;
                scene.caller.voice.heard_one_stream();
            }
        }
        let legs = [scene.house.book.legs(true), scene.house.book.legs(false)];
        let leg = &legs[usize::from(!by_caller)][0];
        let (ending, _) = scene.house.book.ending(leg).expect("ended");
        assert_eq!((ending.cause.0, ending.by), (200, EndedBy::Party));
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_leaves_is_gone_when_the_target_refuses() {
    for by_caller in [false, true] {
        let mut scene = Scene::talking().await;
        scene.house.flow("2001", [refusing(&scene.target)]);
        let to = scene.at("2001");
        match by_caller {
            true => {
                caller_refers(&mut scene.caller, &to).await;
                scene.target.rings().await;
                scene.caller.hangs_up().await;
                scene.target.refuses(486).await;
                scene.agent.is_hung_up().await;
            }
            false => {
                agent_refers(&mut scene.agent, &to).await;
                scene.target.rings().await;
                scene.agent.hangs_up().await;
                scene.target.refuses(486).await;
                scene.caller.voice.hears(BRANCHES_HZ[0]).await;
                scene.caller.hangs_up().await;
            }
        }
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_stops_ringing_when_whoever_was_to_stay_leaves() {
    for by_caller in [false, true] {
        let mut scene = Scene::talking().await;
        let to = scene.at("2001");
        match by_caller {
            true => {
                caller_refers(&mut scene.caller, &to).await;
                scene.target.rings().await;
                scene.agent.hangs_up().await;
                scene.target.is_cancelled().await;
                assert_eq!(notified_to_the_end(&scene.caller.sip).await, 487);
                scene.caller.voice.hears(BRANCHES_HZ[0]).await;
                scene.caller.hangs_up().await;
            }
            false => {
                agent_refers(&mut scene.agent, &to).await;
                scene.target.rings().await;
                scene.caller.hangs_up().await;
                scene.target.is_cancelled().await;
                scene.agent.is_hung_up().await;
            }
        }
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_goes_on_with_whoever_comes() {
    for by_caller in [false, true] {
        let mut scene = Scene::talking_with(|step| step.record = true).await;
        scene.house.flow("2001", [refusing(&scene.target)]);
        let to = scene.at("2001");
        let (left, right) = match by_caller {
            true => {
                caller_refers(&mut scene.caller, &to).await;
                scene.target.rings().await;
                scene.target.answers().await;
                scene.caller.is_hung_up().await;
                scene.agent.voice.hears(TARGET_HZ).await;
                scene.target.voice.next(50).await;
                scene.target.hangs_up().await;
                scene.agent.is_hung_up().await;
                ([CALLER_HZ, TARGET_HZ], [AGENT_HZ; 2])
            }
            false => {
                agent_refers(&mut scene.agent, &to).await;
                scene.target.rings().await;
                scene.target.answers().await;
                scene.agent.is_hung_up().await;
                scene.caller.voice.hears(TARGET_HZ).await;
                scene.caller.voice.next(50).await;
                scene.caller.hangs_up().await;
                scene.target.is_hung_up().await;
                ([CALLER_HZ; 2], [AGENT_HZ, TARGET_HZ])
            }
        };
        let path = scene.house.recorded().await;
        let file = scene.house.recordings.join(&path);
        until("the recording is a file", || file.is_file()).await;
        let channels = scene.house.channels_of(&path);
        for (sound, [before, after]) in channels.iter().zip([left, right]) {
            let half = sound.len() / 2;
            let has = |part: &[i16], hz| part.chunks_exact(800).any(|w| tone_in(w, hz) > 0.6);
            assert!(
                has(&sound[..half], before),
                "{before} Hz at the beginning, {by_caller}"
            );
            assert!(
                has(&sound[half..], after),
                "{after} Hz at the end, {by_caller}"
            );
        }
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_one_who_asks_reaches_the_target() {
    for by_caller in [false, true] {
        let mut scene = Scene::new(|_| {}).await;
        let mask = Step::Mask {
            number: "4420".to_owned(),
            next: Some(1),
        };
        let call = Step::Connect(Box::new(connect(&[scene.agent.uri()])));
        let bye = || Step::Hangup { cause: None };
        scene.house.flow("1000", [mask, call, bye(), bye(), bye()]);
        let offer = scene.caller.voice.sdp();
        scene.caller.sip.invite_with("", &offer).await;
        scene.agent.rings().await;
        scene.agent.answers().await;
        scene.caller.is_answered().await;
        scene.they_hear_each_other().await;
        let to = scene.at("2001");
        match by_caller {
            true => caller_refers(&mut scene.caller, &to).await,
            false => agent_refers(&mut scene.agent, &to).await,
        };
        let invite = scene.target.is_called().await.clone();
        assert!(invite.header("From").contains("<sip:4420@"), "{invite:?}");
        let own = [&scene.caller.sip, &scene.agent.sip].map(|p| p.own().to_string());
        let media = [&scene.caller.voice, &scene.agent.voice];
        let media = media.map(|voice| format!(" {} ", voice.address.port()));
        let agents = scene.agent.invite.as_ref().expect("a call");
        let agents = agents.header("Call-ID").to_owned();
        let secrets = ["A Caller", "200@", "callee@", "secret", "Referred-By"];
        let call_ids = [scene.caller.sip.call_id.clone(), agents];
        // Its own address is one of the house's flow, which calls it by that.
        let target = format!("callee@{}", scene.target.sip.own());
        let text = invite.0.replace(&target, "");
        for secret in secrets
            .map(str::to_owned)
            .iter()
            .chain(&own)
            .chain(&media)
            .chain(&call_ids)
        {
            assert!(!text.contains(secret), "{secret} in {invite:?}");
        }
        scene.target.answers().await;
        match by_caller {
            true => {
                scene.caller.is_hung_up().await;
                scene.target.hangs_up().await;
                scene.agent.is_hung_up().await;
            }
            false => {
                scene.agent.is_hung_up().await;
                scene.target.hangs_up().await;
                scene.caller.is_hung_up().await;
            }
        }
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_sees_the_number_that_was_shown_to_whoever_asks() {
    for shown in [None, Some("4420")] {
        let mut scene = Scene::talking_with(|step| {
            step.caller_id = shown.map(str::to_owned);
        })
        .await;
        scene.house.flow("2001", [refusing(&scene.target)]);
        let to = scene.at("2001");
        agent_refers(&mut scene.agent, &to).await;
        let from = scene.target.is_called().await.header("From").to_owned();
        let number = format!("<sip:{}@", shown.unwrap_or("200"));
        assert!(from.contains(&number), "{from}");
        assert_eq!(from.contains("A Caller"), shown.is_none(), "{from}");
        scene.target.answers().await;
        scene.agent.is_hung_up().await;
        scene.caller.voice.hears(TARGET_HZ).await;
        scene.caller.hangs_up().await;
        scene.target.is_hung_up().await;
        scene.house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_a_queue_is_free_once_it_has_handed_its_caller_on() {
    let mut scene = Scene::new(|_| {}).await;
    let line = Step::Queue(Box::new(Queue {
        name: "line".to_owned(),
        agents: vec![scene.agent.uri()],
        music: vec![sound(600.0, 400)],
        announce: None,
        announce_every: ms(30_000),
        priority: 0,
        max_wait: ms(60_000),
        max_size: 10,
        leave_key: None,
        ring_timeout: ms(5_000),
        wrap_up: ms(100),
        answered: END,
        on_leave: END,
        on_timeout: END,
        on_full: END,
    }));
    scene.house.flow("1000", [line]);
    let offer = scene.caller.voice.sdp();
    scene.caller.sip.invite_with("", &offer).await;
    scene.caller.is_answered().await;
    scene.agent.rings().await;
    scene.agent.answers().await;
    scene.they_hear_each_other().await;
    let mut second = Caller::talks(&scene.house, "1000", 550.0).await;
    let to = scene.at("2001");
    agent_refers(&mut scene.agent, &to).await;
    scene.target.rings().await;
    scene.target.answers().await;
    scene.agent.is_hung_up().await;
    scene.caller.voice.hears(TARGET_HZ).await;
    // The first caller still talks.
    scene.agent.rings().await;
    scene.agent.answers().await;
    second.voice.hears(AGENT_HZ).await;
    second.hangs_up().await;
    scene.agent.is_hung_up().await;
    scene.caller.hangs_up().await;
    scene.target.is_hung_up().await;
    scene.house.leave_empty().await;
}
