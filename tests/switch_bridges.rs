//! Bridges by name, asked of the switch itself: who may be in them, and what is refused.

mod support;

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::mix::Gain;
use crosspoint::engine::{BRIDGES_MAX, EDGES_MAX};
use crosspoint::switch::{
    BridgeEdge, BridgeMember, BridgeRequest, Negotiation, Options, Switch, SwitchError,
};
use support::inside;
use support::ports::Ports;

const CALL: &str = "room";

/// A switch with a call of so many published parties, `p0`, `p1`, …
struct Desk {
    switch: Arc<Switch>,
    runtime: tokio::runtime::Runtime,
    _ports: Ports,
}

impl Desk {
    fn new(parties: u16) -> Self {
        let (switch, runtime, ports) = inside::switch_alone(2 * parties + 2);
        let desk = Self {
            switch,
            runtime,
            _ports: ports,
        };
        (0..parties).for_each(|n| desk.publish(&format!("p{n}"), 40_000 + 2 * n, "0"));
        desk
    }

    fn publish(&self, tag: &str, port: u16, format: &str) {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {format}\r\n"
        );
        let done = self.switch.publish(&Negotiation {
            call_id: CALL,
            from_tag: tag,
            to_tag: None,
            via_branch: None,
            sdp: sdp.as_bytes(),
            options: Options::default(),
        });
        done.expect("an answer");
    }

    fn bridge(&self, name: &str, request: &BridgeRequest) -> Result<(), SwitchError> {
        self.switch.bridge(CALL, name, request)
    }

    /// What the worker made of all that, once it has done it.
    fn refused_by_worker(&self) -> u64 {
        let report = self.runtime.block_on(self.switch.query(CALL));
        report.expect("a report");
        // Refusals are reported before the answer to a later query.
        std::thread::sleep(Duration::from_millis(50));
        let counters = self.switch.counters();
        counters
            .refused_by_worker
            .load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn of(tags: &[&str]) -> BridgeRequest {
    let member = |tag: &&str| BridgeMember {
        tag: (*tag).to_owned(),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    BridgeRequest {
        members: tags.iter().map(member).collect(),
        ..BridgeRequest::default()
    }
}

fn edge(listener: &str, talker: &str) -> BridgeEdge {
    BridgeEdge {
        listener: listener.to_owned(),
        talker: talker.to_owned(),
        gain: Gain::MUTE,
    }
}

#[track_caller]
fn reason(result: Result<(), SwitchError>) -> String {
    result.expect_err("a refusal").to_string()
}

#[test]
fn legs_join_leave_and_move() {
    let desk = Desk::new(5);
    let steps: [(&str, &[&str]); 8] = [
        ("a", &["p0", "p1", "p2"]),
        ("b", &["p3", "p4"]),
        ("a", &["p0", "p1", "p2"]),
        ("b", &["p3", "p4", "p0"]),
        ("a", &["p3", "p4"]),
        ("b", &["p1", "p2"]),
        ("a", &[]),
        ("c", &["p0", "p1", "p2", "p3", "p4"]),
    ];
    for (name, members) in steps {
        desk.bridge(name, &of(members)).expect("a bridge");
    }
    assert_eq!(desk.refused_by_worker(), 0);
    // The name of a party that is gone is free, and it is in no bridge any more.
    let gone = desk.switch.delete(CALL, Some("p4"), None, None);
    assert!(desk.runtime.block_on(gone).expect("it leaves").is_none());
    assert_eq!(
        reason(desk.bridge("c", &of(&["p4"]))),
        "No party of the call has the tag 'p4'"
    );
    desk.bridge("c", &of(&["p0", "p1"])).expect("the others");
    assert_eq!(desk.refused_by_worker(), 0);
}

#[test]
fn refusals_name_the_party_and_change_nothing() {
    let desk = Desk::new(3);
    desk.publish("mute", 41_000, "18");
    desk.bridge("a", &of(&["p0", "p1"])).expect("a bridge");
    let with = |tags: &[&str], edges: Vec<BridgeEdge>| BridgeRequest { edges, ..of(tags) };
    let cases = [
        (of(&["p0", "x"]), "No party of the call has the tag 'x'"),
        (of(&["p0", "mute"]), "Party 'mute' cannot be mixed"),
        (
            of(&["p0", "p1", "p0"]),
            "Party 'p0' is twice in this bridge",
        ),
        (
            with(&["p0"], vec![edge("p0", "p1")]),
            "Party 'p1' is not in this bridge",
        ),
        (
            with(&["p0"], vec![edge("y", "p0")]),
            "No party of the call has the tag 'y'",
        ),
    ];
    for (request, expected) in cases {
        let said = reason(desk.bridge("a", &request));
        assert!(said.starts_with(expected), "{said}");
    }
    let unknown = desk.switch.bridge("nowhere", "a", &of(&[]));
    assert_eq!(reason(unknown), "Unknown call-id");
    assert_eq!(desk.refused_by_worker(), 0);
}

#[test]
fn bridges_and_edges_are_bounded() {
    let parties = u16::try_from(BRIDGES_MAX).expect("few") + 1;
    let desk = Desk::new(parties);
    for n in 0..BRIDGES_MAX {
        let tag = format!("p{n}");
        desk.bridge(&format!("b{n}"), &of(&[&tag]))
            .expect("a bridge");
    }
    let last = format!("p{BRIDGES_MAX}");
    assert_eq!(
        reason(desk.bridge("one more", &of(&[&last]))),
        "Too many bridges in one call (at most 16)"
    );
    desk.bridge("b0", &of(&["p0", &last]))
        .expect("its name is known");
    for (count, fits) in [(EDGES_MAX, true), (EDGES_MAX + 1, false)] {
        let request = BridgeRequest {
            edges: vec![edge("p0", "p1"); count],
            ..of(&["p0", "p1"])
        };
        assert_eq!(desk.bridge("b0", &request).is_ok(), fits, "{count}");
    }
    assert_eq!(desk.refused_by_worker(), 0);
}
