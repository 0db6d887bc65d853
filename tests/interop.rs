//! Whole calls through the field's own tools: SIPp callers and callees, Kamailio between them
//! with its `rtpengine` module, and the switch as its media relay. What is proven is what the
//! parties hear.

#[path = "interop/ears.rs"]
mod ears;
#[path = "interop/forks.rs"]
mod forks;
#[path = "interop/kamailio.rs"]
mod kamailio;
#[path = "interop/keys.rs"]
mod keys;
#[path = "interop/sipp.rs"]
mod sipp;
mod support;
#[path = "interop/tones.rs"]
mod tones;

use std::fmt::Display;
use std::time::Duration;

use kamailio::Kamailio;
use sipp::{Plan, Sipp};
use support::ports::{OneAtATime, Ports};
use support::rtp::{Digit, Packet, Script};
use support::switch::Switch;
use support::{audio, rtp, wait_until};

const CALLER_HZ: f32 = 600.0;
const CALLEE_HZ: f32 = 1000.0;

/// Packets of the tones: 1.2 s.
const SHORT: u32 = 60;

/// How much longer than its voice a caller stays. SIPp hangs up by the clock, whether or not its
/// players were scheduled in time: on a loaded machine they come late.
const SLACK: Duration = Duration::from_millis(2500);

/// A missing tool fails the test: an interoperability test that did not run proves nothing.
fn missing(tool: &str, error: &dyn Display) -> ! {
    panic!(
        "{tool} cannot be used ({error}); this test needs: \
         apt-get install -y kamailio sip-tester"
    )
}

/// A switch, a proxy, and ports for the SIPps of one test.
struct Stage {
    // In the order they are to be dropped.
    kamailio: Kamailio,
    switch: Switch,
    ports: Ports,
    proxy: u16,
    callees: [u16; 3],
    _turn: OneAtATime,
}

impl Stage {
    /// Room for `calls` calls on each side.
    fn set(calls: u16) -> Self {
        let turn = OneAtATime::wait();
        let switch = Switch::start();
        let mut ports = Ports::reserve(5 + 4 * (sipp::media_ports(calls) + 1));
        let proxy = ports.next();
        let callees = [ports.next(), ports.next(), ports.next()];
        let kamailio = Kamailio::start(proxy, switch.ng.port(), callees);
        Self {
            kamailio,
            switch,
            ports,
            proxy,
            callees,
            _turn: turn,
        }
    }

    fn callee(&mut self, number: usize, scenario: &str, calls: u16, voice: Script) -> Sipp {
        let media_port = self.ports.next_range(sipp::media_ports(calls)).0;
        Sipp::start(&Plan {
            scenario,
            calls,
            calls_per_second: 0,
            proxy: None,
            sip_port: self.callees[number],
            media_port,
            user: "",
            talk: Duration::ZERO,
            status: 0,
            voices: &[("callee", voice.clone()), ("early", voice)],
        })
    }

    fn caller(&mut self, scenario: &str, calls: u16, user: &str, voice: Script) -> Sipp {
        let media_port = self.ports.next_range(sipp::media_ports(calls)).0;
        let talk = voice.length() + SLACK;
        Sipp::start(&Plan {
            scenario,
            calls,
            calls_per_second: 20,
            proxy: Some(self.proxy),
            sip_port: self.ports.next(),
            media_port,
            user,
            talk,
            status: 0,
            voices: &[
                ("caller", voice),
                ("caller-hold", Script::new(0xCA11).tone(800.0, SHORT)),
            ],
        })
    }

    /// The switch lives, has no call left, and Kamailio had nothing to complain of.
    fn assert_clean(&mut self) {
        self.switch.assert_alive();
        let mut ng = self.switch.client();
        wait_until("no call is left on the switch", || ng.calls().is_empty());
        let log = self.kamailio.log();
        assert!(
            !log.contains("rtpengine"),
            "kamailio complains of the switch:\n{log}"
        );
    }
}

fn caller_voice(packets: u32) -> Script {
    Script::new(0xCA11).tone(CALLER_HZ, packets)
}

fn callee_voice(packets: u32) -> Script {
    Script::new(0xCA11EE).tone(CALLEE_HZ, packets)
}

/// At least `packets` packets of a pure tone, in order, none missing between first and last.
fn assert_hears(who: &str, heard: &[Packet], hz: f32, packets: usize) {
    assert!(
        heard.len() >= packets,
        "{who} heard {} packets of {packets}",
        heard.len()
    );
    let share = audio::share_of_tone(&rtp::pcmu(heard), hz);
    assert!(
        share > 0.9,
        "only {share:.2} of what {who} heard is {hz} Hz"
    );
    assert_eq!(
        rtp::gaps(heard),
        (0, true),
        "{who}: packets missing, doubled or out of order"
    );
}

#[test]
fn two_hundred_calls_and_every_party_hears_the_other() {
    const CALLS: u16 = 200;
    let mut stage = Stage::set(CALLS);
    let callee = stage.callee(0, "callee", CALLS, callee_voice(SHORT));
    let caller = stage.caller("caller", CALLS, "bob", caller_voice(SHORT));
    let at_callers = caller.finish();
    let at_callees = callee.finish();
    assert_eq!(
        (at_callers.len(), at_callees.len()),
        (CALLS.into(), CALLS.into())
    );
    for (who, heard, hz) in [
        ("caller", at_callers, CALLEE_HZ),
        ("callee", at_callees, CALLER_HZ),
    ] {
        let counts: Vec<usize> = heard.iter().map(Vec::len).collect();
        for (call, packets) in heard.iter().enumerate() {
            let who = format!("{who} {call} (all: {counts:?})");
            assert_hears(&who, packets, hz, SHORT as usize * 9 / 10);
        }
    }
    stage.assert_clean();
}

#[test]
fn digits_arrive_whole_and_in_order() {
    // 1 2 3 4 5 6 7 8 9 0 * # A B C D, as RFC 4733 numbers them.
    const CODES: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 10, 11, 12, 13, 14, 15];
    let mut stage = Stage::set(1);
    let callee = stage.callee(0, "callee", 1, callee_voice(SHORT));
    let voice = caller_voice(10).digits(101, &CODES).tone(CALLER_HZ, 10);
    let caller = stage.caller("caller", 1, "ivr", voice);
    let at_caller = caller.finish().remove(0);
    let at_callee = callee.finish().remove(0);
    let expected = CODES.map(|code| Digit {
        code,
        pt: 101,
        ends: 3,
        duration: 8 * 160,
    });
    assert_eq!(rtp::digits(&at_callee), expected);
    assert_eq!(rtp::gaps(&at_callee), (0, true));
    assert_eq!(rtp::digits(&at_caller), [], "digits only go one way");
    stage.assert_clean();
}

#[test]
fn hold_and_unhold_keep_the_ports_and_the_voices() {
    let mut stage = Stage::set(1);
    let mut callee = stage.callee(0, "hold-callee", 1, callee_voice(SHORT));
    let caller = stage.caller("hold-caller", 1, "bob", caller_voice(SHORT));
    let at_caller = caller.finish().remove(0);
    callee.wait();
    let invites = sdp_lines(&callee.messages(), "INVITE ");
    let at_callee = callee.finish().remove(0);

    let [first, hold, unhold] = &invites[..] else {
        panic!("three INVITEs, not {invites:?}")
    };
    assert_eq!(
        (&hold.0, &unhold.0),
        (&first.0, &first.0),
        "a re-INVITE moves no port"
    );
    let directions = [&first.1, &hold.1, &unhold.1];
    assert_eq!(directions, ["a=sendrecv", "a=sendonly", "a=sendrecv"]);

    // The callee heard voice, music on hold, voice: each as long as it was sent.
    let audio = rtp::pcmu(&at_callee);
    assert_eq!(
        audio.len(),
        SHORT as usize * 3 * 160,
        "the callee heard all that was sent"
    );
    for (part, hz) in audio
        .chunks(SHORT as usize * 160)
        .zip([CALLER_HZ, 800.0, CALLER_HZ])
    {
        let share = audio::share_of_tone(part, hz);
        assert!(share > 0.9, "only {share:.2} of this part is {hz} Hz");
    }
    // The callee's player starts its numbers anew after the hold, so gaps are not asked for.
    assert_eq!(at_caller.len(), SHORT as usize * 2);
    let share = audio::share_of_tone(&rtp::pcmu(&at_caller), CALLEE_HZ);
    assert!(
        share > 0.9,
        "only {share:.2} of what the caller heard is the callee"
    );
    stage.assert_clean();
}

/// `m=audio` line and direction of every message received that starts with `method`.
fn sdp_lines(messages: &str, method: &str) -> Vec<(String, String)> {
    let bodies = messages.split("message received").filter_map(|message| {
        let start = message.lines().position(|line| line.starts_with(method))?;
        let lines: Vec<&str> = message.lines().skip(start).collect();
        let find = |prefixes: &[&str]| {
            let hit = lines
                .iter()
                .find(|l| prefixes.iter().any(|prefix| l.starts_with(prefix)));
            hit.map(|line| line.trim().to_owned())
        };
        Some((
            find(&["m=audio "])?,
            find(&["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"])?,
        ))
    });
    bodies.collect()
}

#[test]
fn a_caller_who_gives_up_leaves_nothing_behind() {
    const CALLS: u16 = 10;
    let mut stage = Stage::set(CALLS);
    let callee = stage.callee(0, "cancel-callee", CALLS, callee_voice(1));
    let caller = stage.caller("cancel-caller", CALLS, "bob", caller_voice(1));
    caller.finish();
    callee.finish();
    stage.assert_clean();
}

#[test]
fn a_busy_callee_leaves_nothing_behind() {
    const CALLS: u16 = 10;
    let mut stage = Stage::set(CALLS);
    let callee = stage.callee(0, "busy-callee", CALLS, callee_voice(1));
    let caller = stage.caller("busy-caller", CALLS, "bob", caller_voice(1));
    caller.finish();
    callee.finish();
    stage.assert_clean();
}

#[test]
fn of_three_ringing_callees_the_one_that_answers_is_heard() {
    let mut stage = Stage::set(1);
    let early = Script::new(0xEA51).tone(1500.0, 40);
    let ringing = stage.callee(0, "cancel-callee", 1, callee_voice(1));
    let early = stage.callee(1, "fork-early", 1, early);
    let winner = stage.callee(2, "fork-winner", 1, callee_voice(SHORT));
    let caller = stage.caller("caller", 1, "fork", caller_voice(SHORT));
    let at_caller = caller.finish().remove(0);
    assert_eq!(ringing.finish(), [[]], "who only rang hears nothing");
    assert_eq!(early.finish(), [[]], "who was canceled hears nothing");
    let at_winner = winner.finish().remove(0);
    assert_hears("the winner", &at_winner, CALLER_HZ, SHORT as usize * 8 / 10);

    let audio = rtp::pcmu(&at_caller);
    let (before, after) = audio.split_at(audio.len().saturating_sub(50 * 160));
    let share = audio::share_of_tone(after, CALLEE_HZ);
    assert!(
        share > 0.9,
        "only {share:.2} of what the caller heard at last is the winner"
    );
    let share = audio::share_of_tone(&before[..before.len().min(20 * 160)], 1500.0);
    assert!(
        share > 0.9,
        "only {share:.2} of what the caller heard at first is early media"
    );
    stage.assert_clean();
}
