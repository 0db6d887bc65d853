//! Three phones ring, each with a tone of its own before it answers; what the caller hears of
//! them is said by the policy in Kamailio's script. The third answers, with another tone, while
//! the other two speak on.
//!
//! The test is the conductor: every SIPp waits for a MESSAGE of its Call-ID before it goes on, and
//! every cue waits for what was heard before. Nothing depends on how long anything takes.

use std::net::UdpSocket;

use serde_json::json;

use super::sipp::{self, Plan, Sipp};
use super::support::ng::Ng;
use super::support::rtp::{Packet, Script};
use super::support::{party, wait_until};
use super::tones::{
    HEARD_DB, assert_one_clock, assert_only, cadence_ms, carried, levels, payloads, runs,
};
use super::{CALLER_HZ, Stage};

/// Early media of the branches. With such frequencies the noise of G.711 spreads over all of the
/// band, and does not gather where the others are looked for.
const EARLY_HZ: [f32; 3] = [A, B, C];
const A: f32 = 503.0;
const B: f32 = 797.0;
const C: f32 = 1201.0;

/// What the third says once it has answered.
const ANSWER_HZ: f32 = 1709.0;

/// Indian ringback: 400 Hz, modulated with 25 Hz.
const RINGBACK_HZ: f32 = 400.0;

/// What a single packet is asked for. Ringback is too close to the first tone for that, and is
/// looked for in longer windows.
const ALL_HZ: [f32; 4] = [A, B, C, ANSWER_HZ];

/// Level of everything that is sent: an amplitude of 8000.
const SENT_DB: f32 = -12.25;

/// Packets of a voice: 60 s, longer than any of these calls.
const LONG: u32 = 3000;

/// One second of packets.
const SECOND: usize = 50;
const HALF_SECOND: usize = 25;

/// A call to three phones.
struct Fork {
    // In the order they are to be dropped.
    caller: Sipp,
    branches: [Sipp; 3],
    stage: Stage,
    ng: Ng,
    call_id: String,
    cues: UdpSocket,
    next_cue: u32,
}

/// What was heard until the end.
struct Heard {
    at_caller: Vec<Packet>,
    at_winner: Vec<Packet>,
    /// How much of the caller's had arrived before the third branch was told to answer,
    cued: usize,
    /// and how much when the caller had its 200 OK.
    answered: usize,
}

impl Fork {
    /// All three ring, and nobody speaks yet.
    fn ring(policy: &str) -> Self {
        let mut stage = Stage::set(1);
        let losers = [0, 1].map(|n| Self::branch(&mut stage, n, "fork-loser"));
        let [first, second] = losers;
        let branches = [first, second, Self::branch(&mut stage, 2, "fork-answer")];
        let user = format!("fork-{policy}");
        let voice = Script::new(0xCA11).tone(CALLER_HZ, LONG);
        let caller = stage.caller("fork-caller", 1, &user, voice);
        for (n, branch) in branches.iter().enumerate() {
            wait_until(&format!("phone {n} rings"), || {
                branch.messages().contains("SIP/2.0 180 Ringing")
            });
        }
        let messages = caller.messages();
        let call_id = messages.lines().find_map(|l| l.strip_prefix("Call-ID: "));
        Self {
            call_id: call_id.expect("an INVITE").trim().to_owned(),
            caller,
            branches,
            ng: stage.switch.client(),
            stage,
            cues: UdpSocket::bind("127.0.0.1:0").expect("a loopback port"),
            next_cue: 1,
        }
    }

    fn branch(stage: &mut Stage, number: usize, scenario: &str) -> Sipp {
        let early = Script::new(0xEA51).tone(EARLY_HZ[number], LONG);
        let mut voices = vec![("early", early)];
        if scenario == "fork-answer" {
            voices.push(("callee", Script::new(0xCA11EE).tone(ANSWER_HZ, LONG)));
        }
        Sipp::start(&Plan {
            scenario,
            calls: 1,
            calls_per_second: 0,
            proxy: None,
            sip_port: stage.callees[number],
            media_port: stage.ports.next_range(sipp::media_ports(1)).0,
            user: "",
            talk: std::time::Duration::ZERO,
            status: 0,
            voices: &voices,
        })
    }

    /// Tells a SIPp to go on.
    fn cue(&mut self, sip_port: u16) {
        let (id, cue) = (&self.call_id, self.next_cue);
        let own = self.cues.local_addr().expect("bound").port();
        let message = format!(
            "MESSAGE sip:127.0.0.1:{sip_port} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK-cue-{cue}\r\n\
             From: <sip:cue@127.0.0.1>;tag=cue\r\nTo: <sip:127.0.0.1>\r\n\
             Call-ID: {id}\r\nCSeq: {cue} MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        self.next_cue += 1;
        let sent = self
            .cues
            .send_to(message.as_bytes(), ("127.0.0.1", sip_port));
        sent.expect("loopback");
    }

    /// Packets of a branch that the switch has taken, heard or not.
    fn taken(&mut self, branch: usize) -> u64 {
        let reply = self
            .ng
            .ok(&json!({"command": "query", "call-id": self.call_id}));
        let tags = reply["tags"].as_object().expect("parties");
        let name = format!("branch-{branch}");
        let party = tags.values().find(|party| party["via-branch"] == *name);
        let party = party.unwrap_or_else(|| panic!("no {name} in {reply}"));
        let sources = party["medias"][0]["ingress SSRCs"].as_array();
        let packets = |source: &serde_json::Value| source["packets"].as_u64();
        sources.into_iter().flatten().filter_map(packets).sum()
    }

    fn wait_taken(&mut self, branch: usize, packets: u64) {
        let enough = self.taken(branch) + packets;
        let what = format!("{packets} more packets of phone {branch}");
        wait_until(&what, || self.taken(branch) >= enough);
    }

    fn at_caller(&self) -> Vec<Packet> {
        self.caller.heard().remove(0)
    }

    /// Branch `n` begins its early media; returns when a second of it has come to the switch.
    fn early(&mut self, n: usize) {
        self.cue(self.stage.callees[n]);
        self.wait_taken(n, SECOND as u64);
    }

    /// Waits until the caller has heard `packets` more, and the latest of them carry these tones
    /// and no other.
    fn wait_heard(&self, tones: &[f32], packets: usize) {
        let what = format!("{tones:?} Hz");
        self.wait_latest(&what, packets, |packet| carried(packet, &ALL_HZ) == tones);
    }

    fn wait_latest(&self, what: &str, packets: usize, is_it: impl Fn(&Packet) -> bool) {
        let before = self.at_caller().len();
        wait_until(
            &format!("{packets} packets of {what} at the caller"),
            || {
                let heard = self.at_caller().split_off(before);
                heard.len() >= packets && heard.iter().rev().take(packets).all(&is_it)
            },
        );
    }

    /// Another policy while the phones ring: the first branch is offered once more, with it.
    fn change_policy(&mut self, policy: &str) {
        let messages = self.caller.messages();
        let between = |start: &str, end: &str| {
            let from = messages.find(start).expect("an INVITE");
            let len = messages[from..].find(end).expect("an INVITE");
            messages[from..from + len].to_owned()
        };
        let tag = between("tag=", "\r\n").split_off("tag=".len());
        let sdp = between("v=0", "a=sendrecv") + "a=sendrecv\r\n";
        let mut request = party::offer(&self.call_id, &tag, &sdp);
        request["via-branch"] = json!("branch-0");
        request["early-media-policy"] = json!(policy);
        self.ng.ok(&request);
    }

    /// The third branch answers, and for a second the losers speak on; all hang up then.
    fn answer(mut self) -> Heard {
        let cued = self.at_caller().len();
        self.cue(self.stage.callees[2]);
        wait_until("the caller has the answer", || {
            self.caller.messages().contains("SIP/2.0 200 OK")
        });
        let answered = self.at_caller().len();
        for n in [0, 1] {
            let canceled = || self.branches[n].messages().contains("CANCEL sip:");
            wait_until(&format!("phone {n} is canceled"), canceled);
            self.wait_taken(n, SECOND as u64);
        }
        let sent = payloads(ANSWER_HZ);
        self.wait_latest("the winner's packets as they are", SECOND, |packet| {
            sent.contains(&packet.payload)
        });
        wait_until("the winner hears the caller", || {
            self.branches[2].heard()[0].len() >= 2 * SECOND
        });
        for n in [0, 1] {
            self.cue(self.stage.callees[n]);
        }
        self.cue(self.caller.sip_port());
        let at_caller = self.caller.finish().remove(0);
        let [first, second, winner] = self.branches;
        for loser in [first, second] {
            assert_eq!(loser.finish(), [[]], "a loser hears nothing");
        }
        let at_winner = winner.finish().remove(0);
        self.stage.assert_clean();
        Heard {
            at_caller,
            at_winner,
            cued,
            answered,
        }
    }
}

impl Heard {
    /// What holds under every policy.
    fn check(&self) {
        // One clock, from the first packet to the last.
        assert_one_clock("caller", &self.at_caller);
        let loser = |packet: &Packet| !carried(packet, &[A, B]).is_empty();
        let early = self
            .at_caller
            .iter()
            .rposition(loser)
            .map_or(0, |ix| ix + 1);
        assert!(early <= self.answered, "a loser is heard after the answer");
        // What the winner said just before is heard for the first time after the answer.
        let answers = |packet: &Packet| carried(packet, &ALL_HZ) == [ANSWER_HZ];
        let answer = self.at_caller.iter().position(answers);
        let answer = answer.expect("the winner at the caller");
        let rest = &self.at_caller[answer..];
        let foreign = rest.iter().position(|packet| !answers(packet));
        assert_eq!(foreign, None, "something else after the answer");
        // Until what was held has been caught up with, pitch periods are left out, and every such
        // seam spreads over all of the band. After that, packets pass as they are.
        let sent = payloads(ANSWER_HZ);
        let relayed = rest.iter().rposition(|p| !sent.contains(&p.payload));
        let relayed = &rest[relayed.map_or(0, |ix| ix + 1)..];
        let others = [A, B, C, RINGBACK_HZ];
        assert_only("caller", relayed, ANSWER_HZ, &others);

        let others = [A, B, C, ANSWER_HZ, RINGBACK_HZ];
        assert_only("winner", &self.at_winner, CALLER_HZ, &others);
        assert_one_clock("winner", &self.at_winner);
    }

    /// What the caller heard before it heard nobody but the winner: its early tone, held for 200 ms
    /// or spoken until the ACK, and its answer.
    fn before_choice(&self) -> &[Packet] {
        let winners = |packet: &Packet| {
            let tones = carried(packet, &ALL_HZ);
            !tones.is_empty() && tones.iter().all(|hz| [C, ANSWER_HZ].contains(hz))
        };
        let last = self.at_caller.iter().rposition(|p| !winners(p));
        let end = last.map_or(0, |ix| ix + 1);
        assert!(end >= self.cued, "the winner alone, before it answered");
        &self.at_caller[..end]
    }
}

#[test]
fn first_is_the_branch_that_spoke_first() {
    let mut fork = Fork::ring("first");
    for n in 0..3 {
        fork.early(n);
        fork.wait_heard(&[A], SECOND);
    }
    let heard = fork.answer();
    heard.check();
    let others = [B, C, ANSWER_HZ, RINGBACK_HZ];
    assert_only("caller", heard.before_choice(), A, &others);
}

#[test]
fn latest_is_the_branch_that_spoke_last() {
    let mut fork = Fork::ring("latest");
    for (n, hz) in EARLY_HZ.into_iter().enumerate() {
        fork.early(n);
        fork.wait_heard(&[hz], SECOND);
    }
    let heard = fork.answer();
    heard.check();
    let mut runs = runs(&heard.at_caller, &ALL_HZ);
    let order: Vec<&[f32]> = runs.iter().map(|(tones, _)| &tones[..]).collect();
    assert_eq!(order, [[A], [B], [C], [ANSWER_HZ]]);
    runs.pop();
    let mut start = 0;
    for (n, (_, count)) in runs.iter().enumerate() {
        let part = &heard.at_caller[start..start + count];
        let mut others = ALL_HZ.to_vec();
        others.retain(|hz| *hz != EARLY_HZ[n]);
        assert_only("caller", part, EARLY_HZ[n], &others);
        start += count;
    }
}

#[test]
fn mix_is_all_of_them_together() {
    let mut fork = Fork::ring("mix");
    for n in 0..3 {
        fork.early(n);
        fork.wait_heard(&EARLY_HZ[..=n], HALF_SECOND);
    }
    let heard = fork.answer();
    heard.check();
    let mut rest = heard.before_choice();
    for foreign in [ANSWER_HZ, RINGBACK_HZ] {
        assert!(levels(rest, foreign).iter().all(|db| *db < HEARD_DB));
    }
    for (tones, count) in runs(rest, &ALL_HZ) {
        let (part, after) = rest.split_at(count);
        rest = after;
        if count >= HALF_SECOND {
            assert_levelled(&tones, &part[5..count - 5]);
        }
    }
}

/// All tones of a mix are as loud as each other: as they were sent, or 3 dB lower if they are
/// several. A window in which a late packet was made up for may be off; most are not.
fn assert_levelled(tones: &[f32], part: &[Packet]) {
    let expected = SENT_DB - if tones.len() > 1 { 3.0 } else { 0.0 };
    for &hz in tones {
        let levels = levels(part, hz);
        let (typical, most) = (levels[levels.len() / 2], levels[levels.len() - 1]);
        assert!(
            (typical - expected).abs() < 0.5 && most < expected + 0.5,
            "{hz} Hz of {tones:?}: {levels:.1?} dB, not {expected:.1}"
        );
    }
}

#[test]
fn ringback_is_ours_and_none_of_theirs() {
    let mut fork = Fork::ring("ringback");
    for n in 0..3 {
        fork.early(n);
    }
    wait_until("two rings", || cadence_ms(&fork.at_caller()).len() >= 8);
    let heard = fork.answer();
    heard.check();
    let ours = heard.before_choice();
    let runs = runs(ours, &ALL_HZ);
    assert!(runs.iter().all(|(tones, _)| tones.is_empty()), "{runs:?}");
    for (ix, ms) in cadence_ms(ours).iter().enumerate() {
        assert_eq!(*ms, [400, 200, 400, 2000][ix % 4], "span {ix}");
    }
    // The first sound of 400 ms.
    assert_only("caller", &ours[..20], RINGBACK_HZ, &ALL_HZ);
}

#[test]
fn the_policy_can_change_while_they_ring() {
    let mut fork = Fork::ring("first");
    for n in 0..3 {
        fork.early(n);
    }
    fork.wait_heard(&[A], SECOND);
    fork.change_policy("mix");
    fork.wait_heard(&EARLY_HZ, HALF_SECOND);
    fork.change_policy("ringback");
    let before = fork.at_caller().len();
    wait_until("a ring", || {
        cadence_ms(&fork.at_caller()[before..]).ends_with(&[400, 200, 400, 2000])
    });
    let ring = fork.at_caller().split_off(before);
    fork.change_policy("mix");
    fork.wait_heard(&EARLY_HZ, HALF_SECOND);
    fork.answer().check();

    // What was under way when the policy changed is over after a few packets.
    let runs = runs(&ring[10..], &EARLY_HZ);
    assert!(runs.iter().all(|(tones, _)| tones.is_empty()), "{runs:?}");
}
