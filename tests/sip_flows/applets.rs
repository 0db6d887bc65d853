//! Applets that a caller meets alone: menus, gathering, voicemail, echo, hours, tones, and what
//! applications are asked.

use super::*;

/// A menu whose `1` says `a`, whose `2` says `b`, and that says nothing itself.
const MENU: &str = r#"
numbers = ["400"]
start = "menu"

[applet.menu]
applet = "menu"
prompt = "menu.wav"
timeout = 1
retries = 1
on-timeout = "a"
on-invalid = "b"
[applet.menu.keys]
1 = "a"
2 = "b"

[applet.a]
applet = "greeting"
prompt = "a.wav"

[applet.b]
applet = "greeting"
prompt = "b.wav"
"#;

/// Who presses these keys in a menu hears this.
fn menu(keys: &[u8], hz: f32, other: f32, digits: u64) {
    let mut stage = Stage::set(&[("menu", MENU)], 0, 1);
    let voice = caller_voice(30).digits(101, keys).tone(CALLER_HZ, 150);
    let caller = stage.caller("ended-caller", 1, "400", voice);
    let heard = caller.finish().remove(0);
    assert_hears("the caller", &heard, hz, PROMPT);
    assert_eq!(packets_of(&heard, other), 0);
    assert_eq!(stage.finish(1)[0]["digits"], digits);
}

#[test]
fn a_key_leads_on_in_a_menu() {
    menu(&[2], PROMPT_B_HZ, PROMPT_A_HZ, 1);
}

#[test]
fn a_wrong_key_is_asked_again_and_then_leads_where_wrong_keys_lead() {
    // None of them was gathered.
    menu(&[7, 7], PROMPT_B_HZ, PROMPT_A_HZ, 0);
}

#[test]
fn no_key_leads_where_silence_leads() {
    menu(&[], PROMPT_A_HZ, PROMPT_B_HZ, 0);
}

#[test]
fn a_voicemail_is_recorded_and_played_back() {
    let flow = r#"
        numbers = ["500"]
        start = "leave"
        [applet.leave]
        applet = "voicemail"
        prompt = "a.wav"
        silence = 1
        max-seconds = 20
        next = "again"
        [applet.again]
        applet = "playback"
        recording = "leave"
    "#;
    let mut stage = Stage::set(&[("mail", flow)], 0, 1);
    // It speaks from 2 s to 4 s: behind the prompt and the beep.
    let voice = Script::new(0xCA11)
        .sound(&[0xFF; 160 * 100])
        .tone(CALLER_HZ, 100)
        .sound(&[0xFF; 160 * 300]);
    let caller = stage.caller("ended-caller", 1, "500", voice);
    let heard = caller.finish().remove(0);
    assert_hears("the caller", &heard, PROMPT_A_HZ, PROMPT);
    let again = packets_of(&heard, CALLER_HZ);
    assert!((90..=103).contains(&again), "{again} packets of itself");
    let calls = stage.finish(1);
    let channels = stage.recording(&calls[0]);
    let said = seconds_of(&channels[0], CALLER_HZ);
    assert!((1.9..=2.1).contains(&said), "{said} s of the caller");
}

#[test]
fn an_echo_is_the_caller_itself() {
    let flow = r#"
        numbers = ["600"]
        start = "echo"
        [applet.echo]
        applet = "echo"
        seconds = 2
    "#;
    let mut stage = Stage::set(&[("echo", flow)], 0, 1);
    let caller = stage.caller("ended-caller", 1, "600", caller_voice(SHORT));
    let heard = caller.finish().remove(0);
    let count = packets_of(&heard, CALLER_HZ);
    assert!((50..=61).contains(&count), "{count} packets of itself");
    stage.finish(1);
}

#[test]
fn a_missed_call_rings_and_is_never_answered() {
    let flow = r#"
        numbers = ["700"]
        start = "miss"
        [applet.miss]
        applet = "missed-call"
        rings = 1
    "#;
    let mut stage = Stage::set(&[("miss", flow)], 0, 1);
    stage.refused("700", 480).finish();
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("no-answer", 480, "switch"));
}

#[test]
fn a_place_that_is_never_open_is_closed() {
    let flow = r#"
        numbers = ["800"]
        start = "door"
        [applet.door]
        applet = "hours"
        zone = "Asia/Kolkata"
        open = "a"
        closed = "b"
        [applet.door.week]
        [applet.a]
        applet = "greeting"
        prompt = "a.wav"
        [applet.b]
        applet = "greeting"
        prompt = "b.wav"
    "#;
    let mut stage = Stage::set(&[("door", flow)], 0, 1);
    let caller = stage.caller("ended-caller", 1, "800", hush());
    assert_hears("the caller", &caller.finish()[0], PROMPT_B_HZ, PROMPT);
    stage.finish(1);
}

#[test]
fn a_flow_that_changes_is_taken_by_the_next_call() {
    let mut stage = Stage::set(&[("hello", super::signals::GREETING)], 0, 1);
    let caller = stage.caller("ended-caller", 1, "100", hush());
    assert_hears("the first", &caller.finish()[0], PROMPT_A_HZ, PROMPT);
    let path = stage.home.join("flows/hello.toml");
    let changed = super::signals::GREETING.replace("a.wav", "b.wav");
    // Half a file is no flow: the one before stays.
    std::fs::write(&path, &changed[..changed.len() / 2]).expect("a flow");
    std::thread::sleep(Duration::from_millis(1_500));
    let caller = stage.caller("ended-caller", 1, "100", hush());
    assert_hears("the second", &caller.finish()[0], PROMPT_A_HZ, PROMPT);
    std::fs::write(&path, changed).expect("a flow");
    std::thread::sleep(Duration::from_millis(1_500));
    let caller = stage.caller("ended-caller", 1, "100", hush());
    assert_hears("the third", &caller.finish()[0], PROMPT_B_HZ, PROMPT);
    stage.finish(3);
}

#[test]
fn keys_are_gathered_and_stand_for_a_number() {
    let flow = r#"
        numbers = ["900"]
        start = "which"
        [applet.which]
        applet = "gather"
        prompt = "a.wav"
        digits = 8
        next = "bob"
        [applet.bob]
        applet = "connect"
        to = "sip:{digits}@127.0.0.1:@0@"
    "#;
    let mut stage = Stage::set(&[("which", flow)], 1, 1);
    let callee = stage.callee(0, "callee", 1, callee_voice(SHORT));
    let voice = caller_voice(10).digits(101, &[4, 0, 2, 11]);
    let talk = voice.length() + Duration::from_millis(1_500);
    let caller = stage.caller_with("caller", 1, "900", voice.tone(CALLER_HZ, 75), talk, 0);
    caller.finish();
    assert!(callee.messages().contains("INVITE sip:402@127.0.0.1"));
    let heard = callee.finish().remove(0);
    assert!(packets_of(&heard, CALLER_HZ) > 40);
    let calls = stage.finish(1);
    assert_eq!(calls[0]["digits"], 3);
}

#[test]
fn a_call_is_recorded_from_one_applet_to_another() {
    let flow = r#"
        numbers = ["900"]
        start = "on"
        [applet.on]
        applet = "record"
        next = "a"
        [applet.a]
        applet = "greeting"
        prompt = "a.wav"
        next = "off"
        [applet.off]
        applet = "record"
        on = false
        next = "b"
        [applet.b]
        applet = "greeting"
        prompt = "b.wav"
    "#;
    let mut stage = Stage::set(&[("tape", flow)], 0, 1);
    let caller = stage.caller("ended-caller", 1, "900", caller_voice(150));
    let heard = caller.finish().remove(0);
    assert_hears("the caller", &heard, PROMPT_B_HZ, PROMPT);
    let calls = stage.finish(1);
    let channels = stage.recording(&calls[0]);
    let seconds = |hz| channels.iter().map(|c| seconds_of(c, hz)).sum::<f32>();
    let (said, told, later) = (
        seconds(CALLER_HZ),
        seconds(PROMPT_A_HZ),
        seconds(PROMPT_B_HZ),
    );
    assert!(said > 0.9 && told > 1.0, "{said} s and {told} s");
    assert!(later < 0.05, "{later} s of what came after it");
}

#[test]
fn sounds_are_played_twice_and_then_a_tone() {
    let flow = r#"
        numbers = ["900"]
        start = "twice"
        [applet.twice]
        applet = "play"
        prompt = "a.wav"
        times = 2
        next = "tone"
        [applet.tone]
        applet = "tone"
        tone = "500/1000/200"
        seconds = 2
    "#;
    let mut stage = Stage::set(&[("twice", flow)], 0, 1);
    let caller = stage.caller("ended-caller", 1, "900", hush());
    let heard = caller.finish().remove(0);
    assert_hears("the caller", &heard, PROMPT_A_HZ, 2 * PROMPT);
    let tone = packets_of(&heard, 500.0);
    assert!((80..=92).contains(&tone), "{tone} packets of the tone");
    stage.finish(1);
}

#[test]
fn what_becomes_of_a_forwarded_call_becomes_of_the_call() {
    let flow = r#"
        numbers = ["900"]
        start = "bob"
        [applet.bob]
        applet = "forward"
        to = "sip:bob@127.0.0.1:@0@"
        ring-timeout = 5
    "#;
    let mut stage = Stage::set(&[("forward", flow)], 2, 1);
    let callee = stage.callee_with(0, "refusing-callee", 1, hush(), 486);
    stage.refused("900", 486).finish();
    callee.finish();
    let callee = stage.callee_with(0, "hangs-up-callee", 1, callee_voice(SHORT), 1_500);
    let caller = stage.caller("ended-caller", 1, "900", caller_voice(100));
    let heard = caller.finish().remove(0);
    callee.finish();
    assert_hears("the caller", &heard, CALLEE_HZ, SHORT as usize);
    let calls = stage.finish(2);
    assert_eq!(outcome(&calls[0]).0, "busy");
    assert_eq!(outcome(&calls[1]).0, "completed");
}
