//! Calls that an agent hands on: blind and attended.

use super::*;

const TARGET_HZ: f32 = 1200.0;

/// 200 calls an agent, 300 a target; whoever takes part may transfer.
const FLOWS: [(&str, &str); 2] = [
    (
        "agent",
        r#"
numbers = ["200"]
start = "agent"
transfer = "all"
[applet.agent]
applet = "connect"
to = "sip:agent@127.0.0.1:@0@"
"#,
    ),
    (
        "target",
        r#"
numbers = ["300"]
start = "target"
transfer = "all"
[applet.target]
applet = "connect"
to = "sip:target@127.0.0.1:@1@"
"#,
    ),
];

impl Stage {
    /// The agent: asks after a second for a transfer to `to`, and is told that it ended so.
    fn agent(&mut self, to: &str, status: u16, voice: Script) -> Sipp {
        let media_port = self.ports.next_range(sipp::media_ports(1)).0;
        Sipp::start(&Plan {
            scenario: "refer-callee",
            calls: 1,
            calls_per_second: 0,
            proxy: None,
            sip_port: self.callees[0],
            media_port,
            user: to,
            talk: Duration::from_secs(1),
            status,
            voices: &[("callee", voice)],
        })
    }

    fn legs(&self, call: &Value) -> Vec<Value> {
        let call = self.ask(&[call["sid"].as_str().expect("a SID")]).remove(0);
        call["legs"].as_array().expect("legs").clone()
    }
}

fn target_voice(packets: u32) -> Script {
    Script::new(0x7A4637).tone(TARGET_HZ, packets)
}

#[test]
fn a_caller_is_handed_on_blind() {
    let mut stage = Stage::set(&FLOWS, 2, 1);
    let to = format!("300@127.0.0.1:{}", stage.sip);
    let agent = stage.agent(&to, 200, callee_voice(40));
    let target = stage.callee(1, "callee", 1, target_voice(SHORT));
    let caller = stage.caller("caller", 1, "200", caller_voice(200));
    let heard = caller.finish().remove(0);
    let at_agent = agent.finish().remove(0);
    let at_target = target.finish().remove(0);
    assert!(packets_of(&heard, CALLEE_HZ) > 30, "the agent");
    assert_hears("the caller", &heard, TARGET_HZ, SHORT as usize);
    assert!(packets_of(&at_agent, CALLER_HZ) > 30);
    assert!(packets_of(&at_target, CALLER_HZ) > 60);
    // The target is called by a flow of its own: a call of the switch itself.
    let calls = stage.finish(2);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "caller"));
    let legs = stage.legs(&calls[0]);
    assert_eq!(legs.len(), 3);
    assert_eq!(outcome(&legs[1]), ("completed", 200, "switch"));
    assert_eq!(legs[1]["instead_of"], Value::Null);
    assert_eq!(legs[2]["instead_of"], legs[1]["sid"]);
    assert_eq!(legs[2]["to"], "local:300");
}

#[test]
fn a_call_goes_on_after_a_blind_transfer_to_somebody_busy() {
    let mut stage = Stage::set(&FLOWS, 2, 1);
    let to = format!("300@127.0.0.1:{}", stage.sip);
    let agent = stage.agent(&to, 486, callee_voice(150));
    let target = stage.callee_with(1, "refusing-callee", 1, hush(), 486);
    let caller = stage.caller("caller", 1, "200", caller_voice(150));
    let heard = caller.finish().remove(0);
    let at_agent = agent.finish().remove(0);
    target.finish();
    // Three seconds of each, of which the attempt takes next to nothing.
    assert!(packets_of(&heard, CALLEE_HZ) > 135, "the agent");
    assert!(packets_of(&at_agent, CALLER_HZ) > 135, "the caller");
    let calls = stage.finish(2);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "caller"));
    let legs = stage.legs(&calls[0]);
    assert_eq!(outcome(&legs[1]), ("completed", 200, "switch"));
    assert_eq!(outcome(&legs[2]), ("busy", 486, "party"));
    assert_eq!(legs[2]["instead_of"], legs[1]["sid"]);
}

/// Call-ID and tags of the call that a caller has, as they stand in Replaces within a URI.
fn dialog_of(caller: &Sipp) -> String {
    let mut dialog = None;
    wait_until("the second call is answered", || {
        let messages = caller.messages();
        let answer = messages.split("SIP/2.0 200 ").nth(1);
        dialog = answer.and_then(|answer| {
            let field = |name: &str| {
                let line = answer.lines().find_map(|line| line.strip_prefix(name));
                line.map(str::trim)
            };
            let tag = |name| field(name).and_then(|value| value.split(";tag=").nth(1));
            let (call, ours, own) = (field("Call-ID:")?, tag("To:")?, tag("From:")?);
            Some(format!("{call}%3Bto-tag%3D{ours}%3Bfrom-tag%3D{own}"))
        });
        dialog.is_some()
    });
    dialog.expect("it is answered")
}

#[test]
fn a_caller_is_handed_on_after_the_target_was_asked() {
    let mut stage = Stage::set(&FLOWS, 2, 1);
    let target = stage.callee(1, "callee", 1, target_voice(250));
    let second = stage.caller("ended-caller", 1, "300", hush());
    let replaces = dialog_of(&second);
    let to = format!("300@127.0.0.1:{}?Replaces={replaces}", stage.sip);
    let agent = stage.agent(&to, 200, callee_voice(40));
    let caller = stage.caller("moved-caller", 1, "200", caller_voice(SHORT));
    let heard = caller.finish().remove(0);
    let at_target = target.finish().remove(0);
    agent.finish();
    second.finish();
    assert!(packets_of(&heard, CALLEE_HZ) > 30, "the agent");
    assert!(packets_of(&heard, TARGET_HZ) > 50, "the target");
    assert!(packets_of(&at_target, CALLER_HZ) > 50);
    let calls = stage.finish(2);
    let (second, first) = (&calls[0], &calls[1]);
    assert_eq!(outcome(first), ("completed", 200, "switch"));
    assert_eq!(outcome(second), ("completed", 200, "caller"));
    let legs = stage.legs(second);
    assert_eq!(legs.len(), 3);
    assert_eq!(outcome(&legs[0]), ("completed", 200, "switch"));
    assert_eq!(legs[2]["instead_of"], legs[0]["sid"]);
    assert_eq!(legs[2]["direction"], "inbound");
    assert_eq!(outcome(&legs[2]), ("completed", 200, "party"));
}
