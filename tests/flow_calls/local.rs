//! Numbers of the switch itself as parties to call.

use crosspoint::flow::run::LOCAL_HOPS_MAX;
use crosspoint::flow::script::Step;
use crosspoint::sip::LegStatus;

use crate::flow_support::*;

/// Rings for a while, and says a tone.
fn agent(ring: u64, hz: f64) -> Step {
    Step::Greeting {
        prompt: prompt(hz, 10_000),
        ring: ms(ring),
        next: END,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_answers_another_one() {
    let house = House::new("").await;
    house.flow("1000", connected(connect(&["local:2001".to_owned()])));
    house.flow("2001", [agent(300, 800.0)]);
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    assert_eq!(caller.sip.response().await.code(), 180);
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    caller.hangs_up().await;
    caller.voice.heard_one_stream();
    assert_eq!(house.book.called().await, [LegStatus::Completed]);
    let inbound = house.book.legs(true);
    assert_eq!(inbound.len(), 2, "both calls are in the book");
    assert_eq!(house.book.status(&inbound[1]).await, LegStatus::Completed);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_several_flows_answers() {
    let house = House::new("").await;
    let agents = ["local:2001", "local:2002", "local:2003"].map(str::to_owned);
    house.flow("1000", connected(connect(&agents)));
    house.flow("2001", [agent(5_000, 700.0)]);
    house.flow("2002", [agent(300, 800.0)]);
    house.flow("2003", [agent(5_000, 900.0)]);
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    caller.is_answered().await;
    caller.voice.hears(800.0).await;
    caller.hangs_up().await;
    let lost = LegStatus::Canceled;
    let legs = house.book.called().await;
    assert_eq!(legs, [lost, LegStatus::Completed, lost]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_the_number() {
    let house = House::new("").await;
    house.flow("1000", connected(connect(&["local:2009".to_owned()])));
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    caller.is_answered().await;
    caller.voice.hears(BRANCHES_HZ[3]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_calls_itself_comes_to_an_end() {
    let house = House::new("").await;
    let mut itself = connect(&["local:1000".to_owned()]);
    (itself.busy, itself.no_answer, itself.failed) = (END, END, END);
    house.flow("1000", [Step::Connect(Box::new(itself))]);
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    assert_eq!(caller.is_refused().await, 482);
    // One comes in from elsewhere.
    let counted = house.agent.counters();
    let inner = u64::from(LOCAL_HOPS_MAX);
    assert_eq!((counted.let_in, counted.inner), (1, inner));
    let calls = usize::from(LOCAL_HOPS_MAX) + 1;
    assert_eq!(house.book.legs(true).len(), calls);
    assert_eq!(house.book.called().await, vec![LegStatus::Failed; calls]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_sends_the_switch_to_its_own_ports() {
    let house = House::with([greeting(700.0, 200, END)]).await;
    let mut talks = Caller::calls(&house, "1000", 500.0).await;
    let own = crate::support::party::target(talks.is_answered().await.body());
    let mut caller = Caller::new(&house, "1000", 500.0).await;
    let offer = String::from_utf8(caller.voice.sdp()).expect("text");
    let offer = offer.replace(
        &format!("m=audio {} ", caller.voice.address.port()),
        &format!("m=audio {} ", own.port()),
    );
    caller.sip.invite_with("", offer.as_bytes()).await;
    assert_eq!(caller.is_refused().await, 488);
    talks.is_hung_up().await;
    house.leave_empty().await;
}
