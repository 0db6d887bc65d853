//! Parties that are called: one, several at once, one after another; held, masked, recorded.

use super::*;

/// Calls one, and hangs up when it does.
pub(crate) const BOB: &str = r#"
numbers = ["200"]
start = "bob"

[applet.bob]
applet = "connect"
to = "sip:bob@127.0.0.1:@0@"
"#;

#[test]
fn fifty_calls_are_bridged_and_every_party_hears_the_other() {
    const CALLS: u16 = 50;
    let mut stage = Stage::set(&[("bob", BOB)], 1, CALLS);
    let callee = stage.callee(0, "callee", CALLS, callee_voice(SHORT));
    let caller = stage.caller("caller", CALLS, "200", caller_voice(SHORT));
    let at_callers = caller.finish();
    let at_callees = callee.finish();
    for (who, heard, hz) in [
        ("caller", at_callers, CALLEE_HZ),
        ("callee", at_callees, CALLER_HZ),
    ] {
        assert_eq!(heard.len(), usize::from(CALLS));
        for (call, packets) in heard.iter().enumerate() {
            let count = packets_of(packets, hz);
            assert!(count >= SHORT as usize * 8 / 10, "{who} {call}: {count}");
        }
    }
    for call in stage.finish(CALLS.into()) {
        assert_eq!(outcome(&call), ("completed", 200, "caller"), "{call}");
        let callee = &stage.callees(&call)[0];
        assert_eq!(outcome(callee), ("completed", 200, "switch"), "{call}");
        assert_eq!(callee["lost"], 0, "{call}");
        assert_eq!(callee["silent"], false, "{call}");
    }
}

#[test]
fn a_callee_that_hangs_up_leaves_the_caller_to_the_flow() {
    let flow = format!(
        "{BOB}answered = \"bye\"\n[applet.bye]\napplet = \"greeting\"\nprompt = \"b.wav\"\n"
    );
    let mut stage = Stage::set(&[("bob", &flow)], 1, 1);
    let callee = stage.callee_with(0, "hangs-up-callee", 1, callee_voice(SHORT), 2_000);
    let caller = stage.caller("ended-caller", 1, "200", caller_voice(200));
    let heard = caller.finish().remove(0);
    callee.finish();
    assert_hears("the caller", &heard, CALLEE_HZ, SHORT as usize);
    assert_hears("the caller", &heard, PROMPT_B_HZ, PROMPT);
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "switch"));
    assert_eq!(
        outcome(&stage.callees(&calls[0])[0]),
        ("completed", 200, "party")
    );
}

#[test]
fn a_callee_that_answers_and_says_nothing_is_told_as_silent() {
    let mut stage = Stage::set(&[("bob", BOB)], 1, 1);
    let callee = stage.callee(0, "silent-callee", 1, hush());
    let caller = stage.caller("caller", 1, "200", caller_voice(200));
    caller.finish();
    callee.finish();
    let calls = stage.finish(1);
    let quality = &stage.callees(&calls[0])[0];
    assert_eq!(
        (&quality["received"], &quality["silent"]),
        (&0.into(), &true.into())
    );
}

#[test]
fn of_three_that_ring_at_once_the_one_that_answers_is_joined() {
    let flow = r#"
        numbers = ["200"]
        start = "all"
        [applet.all]
        applet = "connect"
        to = ["sip:a@127.0.0.1:@0@", "sip:b@127.0.0.1:@1@", "sip:c@127.0.0.1:@2@"]
        early-media = "first"
    "#;
    let mut stage = Stage::set(&[("all", flow)], 3, 1);
    let ringing = stage.callee(0, "ringing-callee", 1, hush());
    let early = Script::new(0xEA51).tone(1500.0, 40);
    let early = stage.callee(1, "early-callee", 1, early);
    let winner = stage.callee(2, "fork-winner", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(SHORT * 3));
    let heard = caller.finish().remove(0);
    assert_eq!(packets_of(&ringing.finish()[0], CALLER_HZ), 0);
    assert_eq!(packets_of(&early.finish()[0], CALLER_HZ), 0);
    let at_winner = winner.finish().remove(0);
    assert!(packets_of(&at_winner, CALLER_HZ) > SHORT as usize);
    assert!(packets_of(&heard, 1500.0) > 20, "early media was heard");
    assert_hears("the caller", &heard, CALLEE_HZ, SHORT as usize);
    let calls = stage.finish(1);
    let legs = stage.callees(&calls[0]);
    let told: Vec<&str> = legs.iter().map(|leg| outcome(leg).0).collect();
    assert_eq!(told, ["canceled", "canceled", "completed"]);
}

#[test]
fn of_two_in_a_row_the_second_is_called_when_the_first_does_not_answer() {
    let flow = r#"
        numbers = ["200"]
        start = "row"
        [applet.row]
        applet = "connect"
        to = ["sip:a@127.0.0.1:@0@", "sip:b@127.0.0.1:@1@"]
        ring = "sequential"
        ring-timeout = 1
    "#;
    let mut stage = Stage::set(&[("row", flow)], 2, 1);
    let ringing = stage.callee(0, "ringing-callee", 1, hush());
    let second = stage.callee(1, "callee", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(SHORT));
    caller.finish();
    ringing.finish();
    second.finish();
    let calls = stage.finish(1);
    let legs = stage.callees(&calls[0]);
    let told: Vec<&str> = legs.iter().map(|leg| outcome(leg).0).collect();
    assert_eq!(told, ["no-answer", "completed"]);
}

#[test]
fn a_caller_holds_and_comes_back() {
    let mut stage = Stage::set(&[("bob", BOB)], 1, 1);
    let callee = stage.callee(0, "callee", 1, callee_voice(9 * 50));
    let caller = stage.caller("hold-caller", 1, "200", caller_voice(SHORT));
    let at_caller = caller.finish().remove(0);
    let at_callee = callee.finish().remove(0);
    // The callee hears the voice, the music of the hold, and the voice again.
    let voice = packets_of(&at_callee, CALLER_HZ);
    let music = packets_of(&at_callee, 800.0);
    assert!((100..=125).contains(&voice), "{voice}");
    assert!((50..=65).contains(&music), "{music}");
    // And is not heard for the three seconds in between.
    let heard = packets_of(&at_caller, CALLEE_HZ);
    assert!((270..=330).contains(&heard), "{heard}");
    stage.finish(1);
}

#[test]
fn a_recorded_conversation_has_the_caller_left_and_the_callee_right() {
    let flow = format!("{BOB}record = true\n");
    let mut stage = Stage::set(&[("bob", &flow)], 1, 1);
    let callee = stage.callee(0, "callee", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(SHORT));
    caller.finish();
    callee.finish();
    let calls = stage.finish(1);
    let channels = stage.recording(&calls[0]);
    let [left, right] = &channels[..] else {
        panic!("{} channels", channels.len())
    };
    for (channel, hz, other) in [(left, CALLER_HZ, CALLEE_HZ), (right, CALLEE_HZ, CALLER_HZ)] {
        assert!(
            seconds_of(channel, hz) > 0.9,
            "{hz}: {}",
            seconds_of(channel, hz)
        );
        assert!(seconds_of(channel, other) < 0.1);
    }
}
