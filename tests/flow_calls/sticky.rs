//! The applet `sticky`.

use crosspoint::flow::script::{Connect, Step, Sticky};

use crate::flow_support::*;

/// What is heard of a caller whom no agent knows.
const NONE_HZ: f32 = 1_700.0;

/// A sticky of these agents; its branches lead as those of [`connected`], and `none` to a tone.
fn sticky(agents: &[String], change: impl FnOnce(&mut Connect)) -> Vec<Step> {
    let mut call = connect(&[]);
    change(&mut call);
    let branches = BRANCHES_HZ.into_iter().chain([NONE_HZ]);
    let branches = branches.map(|hz| greeting(hz.into(), 10_000, END));
    let first = Step::Sticky(Box::new(Sticky {
        agents: agents.to_vec(),
        call,
        none: Some(5),
    }));
    std::iter::once(first).chain(branches).collect()
}

/// A house with two agents, of whom the second talked last with callers.
async fn acquainted() -> (House, Callee, Callee) {
    let house = House::new("").await;
    let first = Callee::new(&house, 700.0).await;
    let second = Callee::new(&house, 800.0).await;
    house.book.talked_last("200", &second.uri());
    (house, first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_that_talked_last_with_the_caller_is_called_alone() {
    let (house, first, mut second) = acquainted().await;
    house.flow("1000", sticky(&[first.uri(), second.uri()], |_| {}));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    second.rings().await;
    second.answers().await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    second.voice.hears(500.0).await;
    second.hangs_up().await;
    caller.voice.hears(BRANCHES_HZ[0]).await;
    caller.hangs_up().await;
    assert_eq!(house.book.legs(false).len(), 1);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_agent_of_the_applet_is_not_called() {
    let (house, first, _second) = acquainted().await;
    house.flow("1000", sticky(&[first.uri()], |_| {}));
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(NONE_HZ).await;
    caller.hangs_up().await;
    assert_eq!(house.book.legs(false).len(), 0);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_busy_or_does_not_answer_leads_elsewhere() {
    for (refusal, branch) in [(Some(486), 1), (None, 2), (Some(503), 3)] {
        let (house, first, mut second) = acquainted().await;
        let brief = |call: &mut Connect| call.ring_timeout = ms(300);
        house.flow("1000", sticky(&[first.uri(), second.uri()], brief));
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        second.is_called().await;
        match refusal {
            Some(code) => second.refuses(code).await,
            None => second.is_cancelled().await,
        }
        caller.is_answered().await;
        caller.voice.hears(BRANCHES_HZ[branch]).await;
        caller.hangs_up().await;
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_name_have_no_agent() {
    for nobody in ["anonymous", "Anonymous"] {
        let house = House::new("").await;
        let agent = Callee::new(&house, 800.0).await;
        house.book.talked_last(nobody, &agent.uri());
        house.flow("1000", sticky(&[agent.uri()], |_| {}));
        let mut caller = Caller::new(&house, "1000", 500.0).await;
        caller.sip.user = nobody.to_owned();
        let offer = caller.voice.sdp();
        caller.sip.invite_with("", &offer).await;
        caller.is_answered().await;
        caller.voice.hears(NONE_HZ).await;
        caller.hangs_up().await;
        house.leave_empty().await;
    }
}
