//! Who may transfer where, and how often.

use crosspoint::flow::run::TRANSFERS_MAX;

use super::*;
use crate::sip_support::digest;

const USERS: &str = "
    [[user]]
    name = \"anna\"
    password = \"secret of anna\"
    [[user]]
    name = \"ben\"
    password = \"secret of ben\"
    [[trunk]]
    name = \"carrier\"
    address = \"sip:carrier.example\"
";

/// The phone of a user, registered.
async fn registered(house: &House, user: &str, hz: f32) -> Callee {
    let mut callee = Callee::new(house, hz).await;
    let phone = &mut callee.sip;
    let uri = format!("sip:{}", house.address);
    (phone.user, phone.number) = (user.to_owned(), user.to_owned());
    phone.target.clone_from(&uri);
    let request = phone.request("REGISTER", "", b"");
    phone.say(&request).await;
    let asked = phone.response().await;
    let password = format!("secret of {user}");
    let headers = digest(&asked, user, &password, "REGISTER", &uri);
    let request = phone.request("REGISTER", &headers, b"");
    phone.say(&request).await;
    assert_eq!(phone.response().await.code(), 200);
    callee
}

/// A stranger talks with anna, who is registered; 2001 calls ben, and `*` a number of the carrier.
async fn with_anna() -> (House, Caller, Callee, Callee) {
    let house = House::new(USERS).await;
    let mut anna = registered(&house, "anna", AGENT_HZ).await;
    let ben = registered(&house, "ben", TARGET_HZ).await;
    house.flow("1000", connected(connect(&["anna".to_owned()])));
    house.flow("2001", connected(connect(&["ben".to_owned()])));
    let mut caller = Caller::calls(&house, "1000", CALLER_HZ).await;
    anna.rings().await;
    anna.answers().await;
    caller.is_answered().await;
    caller.voice.hears(AGENT_HZ).await;
    (house, caller, anna, ben)
}

#[tokio::test(flavor = "multi_thread")]
async fn users_transfer_to_users_and_numbers_and_strangers_do_not() {
    for to in ["ben", "2001"] {
        let (house, mut caller, mut anna, mut ben) = with_anna().await;
        let at = format!("<sip:{to}@{}>", house.address);
        assert_eq!(caller_refers(&mut caller, &at).await, 403);
        assert_eq!(agent_refers(&mut anna, &at).await, 202);
        ben.rings().await;
        ben.answers().await;
        anna.is_hung_up().await;
        caller.voice.hears(TARGET_HZ).await;
        caller.hangs_up().await;
        ben.is_hung_up().await;
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trunks_and_addresses_elsewhere_are_no_targets() {
    let (house, mut caller, mut anna, _ben) = with_anna().await;
    for (to, code) in [
        ("<sip:0041791234567@carrier.example>", 403),
        ("<sip:mallory@192.0.2.66>", 403),
        ("<sip:nobody@crosspoint>", 404),
        ("<tel:+41791234567>", 404),
    ] {
        assert_eq!(agent_refers(&mut anna, to).await, code, "{to}");
    }
    caller.hangs_up().await;
    anna.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_flow_takes_of_any_number_is_for_users_alone() {
    let (house, mut caller, mut anna, _ben) = with_anna().await;
    let any = crosspoint::flow::script::ANY_NUMBER;
    house.flow(any, [greeting(1_000.0, 20_000, END)]);
    let at = format!("<sip:4711@{}>", house.address);
    *house.transfer.lock().expect("a word") = Transfers::All;
    assert_eq!(agent_refers(&mut anna, &at).await, 202);
    anna.is_hung_up().await;
    caller.voice.hears(1_000.0).await;
    caller.hangs_up().await;
    // The same for a stranger, where all may transfer.
    house.flow("1000", connected(connect(&["anna".to_owned()])));
    let mut caller = Caller::calls(&house, "1000", CALLER_HZ).await;
    anna.rings().await;
    anna.answers().await;
    caller.is_answered().await;
    caller.voice.hears(AGENT_HZ).await;
    assert_eq!(caller_refers(&mut caller, &at).await, 404);
    // Nor by the name of that flow's number.
    let any = format!("<sip:{any}@{}>", house.address);
    assert_eq!(caller_refers(&mut caller, &any).await, 404);
    caller.hangs_up().await;
    anna.is_hung_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_transferred_who_talks_with_nobody() {
    let house = House::with([greeting(1_000.0, 20_000, END)]).await;
    *house.transfer.lock().expect("a word") = Transfers::All;
    house.flow("1000", [greeting(1_000.0, 20_000, END)]);
    let mut caller = Caller::talks(&house, "1000", CALLER_HZ).await;
    caller.voice.hears(1_000.0).await;
    let at = format!("<sip:1000@{}>", house.address);
    assert_eq!(caller_refers(&mut caller, &at).await, 603);
    caller.voice.hears(1_000.0).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_transfers_of_a_call_and_no_more() {
    let mut scene = Scene::talking().await;
    let busy = crosspoint::flow::script::Step::Hangup {
        cause: Some(crosspoint::sip::Cause(486)),
    };
    scene.house.flow("2001", [busy]);
    let to = scene.at("2001");
    for _ in 0..TRANSFERS_MAX / 2 {
        assert_eq!(agent_refers(&mut scene.agent, &to).await, 202);
        assert_eq!(notified_to_the_end(&scene.agent.sip).await, 486);
        assert_eq!(caller_refers(&mut scene.caller, &to).await, 202);
        assert_eq!(notified_to_the_end(&scene.caller.sip).await, 486);
    }
    assert_eq!(agent_refers(&mut scene.agent, &to).await, 603);
    assert_eq!(caller_refers(&mut scene.caller, &to).await, 603);
    let dialog = dialog_of(&scene.caller.sip).0;
    let mut other = Caller::new(&scene.house, "9", 600.0).await;
    let offer = other.voice.sdp();
    let headers = format!("Replaces: {dialog}\r\n");
    other.sip.invite_with(&headers, &offer).await;
    assert_eq!(other.is_refused().await, 603);
    scene.they_hear_each_other().await;
    scene.caller.hangs_up().await;
    scene.agent.is_hung_up().await;
    scene.house.leave_empty().await;
}
