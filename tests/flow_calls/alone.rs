//! What a caller meets who talks with nobody but the flow.

use std::collections::BTreeMap;

use crosspoint::flow::script::{Menu, Step};
use crosspoint::sip::Cause;

use crate::flow_support::*;

fn menu(keys: &[(char, usize)]) -> Menu {
    let keys: BTreeMap<_, _> = keys.iter().map(|(key, to)| (*key, Some(*to))).collect();
    Menu {
        prompt: prompt(700.0, 3_000),
        retry: None,
        keys,
        timeout: ms(300),
        retries: 0,
        on_timeout: END,
        on_invalid: END,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_is_heard_whole_and_then_it_hangs_up() {
    let house = House::with([greeting(700.0, 600, END)]).await;
    let caller = Caller::talks(&house, "1000", 500.0).await;
    caller.is_hung_up().await;
    let (with, _) = caller.voice.windows_of(0, 700.0);
    assert!((5..=8).contains(&with), "{with} windows of 100 ms");
    caller.voice.heard_one_stream();
    assert_eq!(house.book.call().await.0, Cause::HANG_UP.0);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_leads_on_from_a_menu() {
    let step = Step::Menu(menu(&[('5', 1)]));
    let house = House::with([step, greeting(900.0, 5_000, END)]).await;
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(700.0).await;
    caller.voice.presses(5);
    caller.voice.hears(900.0).await;
    caller.hangs_up().await;
    caller.voice.heard_one_stream();
    let (_, told) = house.book.call().await;
    assert!(
        matches!(
            told,
            Told::CallEnded {
                digits: 1,
                answered: true,
                ..
            }
        ),
        "{told:?}"
    );
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_there_where_no_flow_leads() {
    let house = House::new("").await;
    let mut caller = Caller::calls(&house, "1001", 500.0).await;
    assert_eq!(caller.is_refused().await, 404);
    assert!(house.book.all().is_empty());
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_media_the_switch_has_ended_is_hung_up() {
    let house = House::with([greeting(700.0, 60_000, END)]).await;
    let caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(700.0).await;
    let ids = house.switch.list(2);
    // As its timers do, with which a test would take a minute.
    let gone = house.switch.delete(&ids[0], None, None, None).await;
    gone.expect("it was there");
    caller.is_hung_up().await;
    assert_eq!(house.book.call().await.0, Cause::TIMEOUT.0);
    house.leave_empty().await;
}
