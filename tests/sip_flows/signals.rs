//! What SIP says: answers, refusals, giving up, retransmissions, and what is lost.

use super::*;

/// Says `a`, and hangs up.
pub(crate) const GREETING: &str = r#"
numbers = ["100"]
start = "hello"

[applet.hello]
applet = "greeting"
prompt = "a.wav"
"#;

/// Rings one, and says by its cause which way it took.
const ONE: &str = r#"
numbers = ["200"]
start = "one"

[applet.one]
applet = "connect"
to = "sip:bob@127.0.0.1:@0@"
ring-timeout = 2
busy = "busy"
no-answer = "no-answer"
failed = "failed"

[applet.busy]
applet = "hangup"
cause = 486

[applet.no-answer]
applet = "hangup"
cause = 480

[applet.failed]
applet = "hangup"
cause = 503
"#;

#[test]
fn a_greeting_is_heard_and_the_caller_hung_up() {
    let mut stage = Stage::set(&[("hello", GREETING)], 0, 5);
    let caller = stage.caller("ended-caller", 5, "100", caller_voice(SHORT));
    for heard in caller.finish() {
        assert_hears("the caller", &heard, PROMPT_A_HZ, PROMPT);
    }
    for call in stage.finish(5) {
        assert_eq!(outcome(&call), ("completed", 200, "switch"), "{call}");
        let parties = (&call["from"], &call["to"]);
        assert_eq!(parties, (&"caller".into(), &"100".into()));
    }
}

#[test]
fn a_caller_that_hangs_up_in_the_middle_has_completed_its_call() {
    let mut stage = Stage::set(&[("hello", GREETING)], 0, 1);
    let talk = Duration::from_millis(400);
    let caller = stage.caller_with("caller", 1, "100", hush(), talk, 0);
    let count = packets_of(&caller.finish()[0], PROMPT_A_HZ);
    assert!((15..40).contains(&count), "{count} packets in 400 ms");
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "caller"));
}

#[test]
fn a_number_that_nobody_has_is_not_found() {
    let mut stage = Stage::set(&[("hello", GREETING)], 0, 1);
    stage.refused("101", 404).finish();
    stage.finish(0);
}

#[test]
fn an_invite_that_comes_twice_is_one_call() {
    let mut stage = Stage::set(&[("hello", GREETING)], 0, 1);
    let caller = stage.caller("twice-caller", 1, "100", hush());
    let _heard = caller.finish();
    stage.finish(1);
}

#[test]
fn a_caller_that_never_acknowledges_is_hung_up() {
    // After 64 T1.
    let mut stage = Stage::configured("[sip]\nt1 = 100\n", &[("hello", GREETING)], 0, 1);
    let caller = stage.caller("no-ack-caller", 1, "100", hush());
    caller.finish();
    stage.finish(1);
}

#[test]
fn an_offer_may_come_with_our_answer() {
    let mut stage = Stage::set(&[("hello", GREETING)], 0, 1);
    let caller = stage.caller("delayed-caller", 1, "100", hush());
    // It hangs up before the end.
    let count = packets_of(&caller.finish()[0], PROMPT_A_HZ);
    assert!((25..PROMPT).contains(&count), "{count} packets");
    stage.finish(1);
}

/// What a caller is told when whom it calls refuses, and what becomes of both legs.
#[test]
fn refusals_lead_where_the_flow_says_and_are_written_down() {
    let ways = [
        (486, 486, "busy"),
        (600, 486, "busy"),
        (603, 486, "busy"),
        (404, 503, "failed"),
        (500, 503, "failed"),
        (408, 480, "no-answer"),
        (480, 480, "no-answer"),
    ];
    for (refusal, told, status) in ways {
        let mut stage = Stage::set(&[("one", ONE)], 1, 1);
        let callee = stage.callee_with(0, "refusing-callee", 1, hush(), refusal);
        stage.refused("200", told).finish();
        callee.finish();
        let calls = stage.finish(1);
        let (said, cause, _) = outcome(&calls[0]);
        assert_eq!((said, cause), (status, told.into()), "{refusal}");
        let legs = stage.callees(&calls[0]);
        let (said, cause, by) = outcome(&legs[0]);
        // Who says that it did not answer in time speaks for a network.
        let who = if refusal == 408 { "network" } else { "party" };
        assert_eq!((said, cause, by), (status, refusal.into(), who));
    }
}

#[test]
fn who_does_not_answer_in_time_is_cancelled() {
    let mut stage = Stage::set(&[("one", ONE)], 1, 1);
    let callee = stage.callee(0, "ringing-callee", 1, hush());
    stage.refused("200", 480).finish();
    callee.finish();
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]).0, "no-answer");
    assert_eq!(outcome(&stage.callees(&calls[0])[0]).0, "no-answer");
}

#[test]
fn a_caller_that_gives_up_takes_the_callee_with_it() {
    let mut stage = Stage::set(&[("one", ONE)], 1, 5);
    let callee = stage.callee(0, "ringing-callee", 5, hush());
    let caller = stage.caller("cancel-caller", 5, "200", hush());
    caller.finish();
    callee.finish();
    for call in stage.finish(5) {
        assert_eq!(outcome(&call), ("canceled", 487, "caller"), "{call}");
        assert_eq!(outcome(&stage.callees(&call)[0]).0, "canceled", "{call}");
    }
}

#[test]
fn a_caller_that_gives_up_before_anything_rings_is_let_go() {
    let flow = r#"
        numbers = ["300"]
        start = "quiet"
        [applet.quiet]
        applet = "connect"
        to = "sip:bob@127.0.0.1:@0@"
        ring-timeout = 5
    "#;
    let mut stage = Stage::set(&[("quiet", flow)], 1, 1);
    // Nobody is there: the caller has heard nothing but 100 when it gives up.
    let caller = stage.caller("cancel-early-caller", 1, "300", hush());
    caller.finish();
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("canceled", 487, "caller"));
}
