//! What SIP says besides: reliable responses, session timers, offers and keys within a call,
//! redirections, messages that are lost, doubled or cross each other.

use super::connects::BOB;
use super::signals::GREETING;
use super::*;

#[test]
fn a_caller_may_require_reliable_responses() {
    let rings = format!("{GREETING}ring-seconds = 1\n");
    let mut stage = Stage::set(&[("hello", &rings)], 0, 1);
    let caller = stage.caller("prack-caller", 1, "100", hush());
    assert_hears("the caller", &caller.finish()[0], PROMPT_A_HZ, PROMPT);
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "switch"));
}

#[test]
fn a_reliable_response_of_a_callee_is_acknowledged() {
    let mut stage = Stage::set(&[("bob", BOB)], 1, 1);
    let callee = stage.callee(0, "prack-callee", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(SHORT));
    let heard = caller.finish().remove(0);
    callee.finish();
    assert_hears("the caller", &heard, CALLEE_HZ, SHORT as usize);
    stage.finish(1);
}

#[test]
fn a_session_that_nobody_refreshes_is_hung_up() {
    let flow = r#"
        numbers = ["100"]
        start = "again"
        [applet.again]
        applet = "play"
        prompt = "a.wav"
        times = 100
    "#;
    let mut stage = Stage::configured("[sip]\nsession-min = 2\n", &[("again", flow)], 0, 1);
    let caller = stage.caller("expiring-caller", 1, "100", hush());
    // A third of the session before its end.
    let heard = packets_of(&caller.finish()[0], PROMPT_A_HZ);
    assert!((90..=155).contains(&heard), "{heard} packets");
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("completed", 408, "network"));
}

#[test]
fn a_caller_holds_by_update() {
    let mut stage = Stage::set(&[("bob", BOB)], 1, 1);
    let callee = stage.callee(0, "callee", 1, callee_voice(300));
    let caller = stage.caller("update-caller", 1, "200", caller_voice(200));
    let at_caller = caller.finish().remove(0);
    let at_callee = callee.finish().remove(0);
    // For a second, not for one and a half, and for a second again.
    for (who, heard, hz) in [
        ("caller", at_caller, CALLEE_HZ),
        ("callee", at_callee, CALLER_HZ),
    ] {
        let heard = packets_of(&heard, hz);
        assert!((85..=115).contains(&heard), "{who}: {heard} packets");
    }
    stage.finish(1);
}

#[test]
fn a_key_by_info_is_a_key() {
    let flow = r#"
        numbers = ["400"]
        start = "menu"
        [applet.menu]
        applet = "menu"
        prompt = "a.wav"
        keys = { 2 = "b" }
        [applet.b]
        applet = "greeting"
        prompt = "b.wav"
    "#;
    let mut stage = Stage::set(&[("menu", flow)], 0, 1);
    let talk = Duration::from_millis(400);
    let caller = stage.caller_with("info-caller", 1, "400", hush(), talk, 0);
    let heard = caller.finish().remove(0);
    assert_hears("the caller", &heard, PROMPT_B_HZ, PROMPT);
    let before = packets_of(&heard, PROMPT_A_HZ);
    assert!((10..40).contains(&before), "{before} packets of the prompt");
    assert_eq!(stage.finish(1)[0]["digits"], 1);
}

#[test]
fn an_answer_is_repeated_until_it_is_acknowledged() {
    // It lasts longer than the ACK takes.
    let flow = GREETING.replace("\"a.wav\"", "[\"a.wav\", \"a.wav\", \"a.wav\"]");
    let mut stage = Stage::set(&[("hello", &flow)], 0, 1);
    let mut caller = stage.caller("late-ack-caller", 1, "100", hush());
    caller.succeeds();
    let answers = caller.told().into_iter();
    let answers = answers
        .filter(|told| !told.sent && told.text.starts_with("SIP/2.0 200"))
        .count();
    // After T1 and after twice that: none of them is another call, nor the end of it.
    assert!(answers >= 3, "{answers} answers");
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "switch"));
}

#[test]
fn an_answer_that_comes_twice_is_one_answer() {
    let mut stage = Stage::set(&[("bob", BOB)], 1, 1);
    let callee = stage.callee(0, "repeating-callee", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(SHORT));
    let heard = caller.finish().remove(0);
    callee.finish();
    assert_hears("the caller", &heard, CALLEE_HZ, SHORT as usize);
    let calls = stage.finish(1);
    assert_eq!(stage.callees(&calls[0]).len(), 1);
}

#[test]
fn byes_that_cross_are_both_answered() {
    let mut stage = Stage::set(&[("hello", GREETING)], 0, 5);
    let caller = stage.caller("crossing-bye-caller", 5, "100", hush());
    caller.finish();
    for call in stage.finish(5) {
        assert_eq!(outcome(&call), ("completed", 200, "switch"), "{call}");
    }
}

#[test]
fn a_redirection_is_followed() {
    let mut stage = Stage::set(&[("bob", BOB)], 2, 1);
    let other = stage.callees[1];
    let gone = stage.callee_with(0, "redirecting-callee", 1, hush(), other);
    let callee = stage.callee(1, "callee", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(SHORT));
    let heard = caller.finish().remove(0);
    gone.finish();
    assert!(callee.messages().contains("INVITE sip:elsewhere@127.0.0.1"));
    callee.finish();
    assert_hears("the caller", &heard, CALLEE_HZ, SHORT as usize);
    let calls = stage.finish(1);
    assert_eq!(outcome(&stage.callees(&calls[0])[0]).0, "completed");
}
