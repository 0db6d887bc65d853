//! Who hears whom, and when: ten agents of SIPp ring at once, each with a tone of its own.

use super::ears::Heard;
use super::*;

/// Whose early media is heard, who answers, and whose answer crosses its CANCEL.
const FIRST: usize = 3;
const WINNER: usize = 7;
const CROSSING: usize = 9;

const AGENTS: usize = 10;

/// How long after its INVITE the winner answers: 150 ms of its scenario, and so much more.
const RINGS_MS: u16 = 1_000;

const CALLER_HZ: f32 = 2_300.0;

/// Packets are 20 ms apart: what begins or ends between two of them is heard with the next.
const PACKET_US: i64 = 20_000;

/// How exact it is to be.
const TRUE_US: i64 = 20_000;

/// None of them is near a multiple of another.
fn agent_hz(agent: usize) -> f32 {
    490.0 + 130.0 * agent as f32
}

/// Who is heard in a packet: 0 is the caller.
fn speaker(heard: &Heard) -> Option<usize> {
    let is_it = |who: &usize| {
        let hz = if *who == 0 { CALLER_HZ } else { agent_hz(*who) };
        audio::goertzel(&heard.packet.payload, hz) > 0.5
    };
    (0..=AGENTS).find(is_it)
}

/// From when to when somebody was heard without a break, in microseconds from the answer on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spell {
    who: Option<usize>,
    from: i64,
    until: i64,
}

fn spells(heard: &[Heard], answered: u64) -> Vec<Spell> {
    let mut spells: Vec<Spell> = Vec::new();
    for heard in heard {
        let (who, at) = (
            speaker(heard),
            heard.at_us.cast_signed() - answered.cast_signed(),
        );
        match spells.last_mut() {
            Some(last) if last.who == who => last.until = at,
            // The seam of two sounds.
            Some(_) if who.is_none() => {}
            _ => spells.push(Spell {
                who,
                from: at,
                until: at,
            }),
        }
    }
    spells
}

/// What such a call was; times are microseconds from the winner's answer on.
#[derive(Debug)]
struct Measured {
    /// Who heard whom, by agent, the caller first.
    heard: Vec<Vec<Spell>>,
    /// When the first one's early media began.
    rang: i64,
    /// When the other one answered.
    crossed_us: i64,
    /// By how much the caller spoke too late.
    late: Duration,
}

fn measure() -> Measured {
    let uris: Vec<String> = (0..AGENTS)
        .map(|n| format!("\"sip:agent@127.0.0.1:@{n}@\""))
        .collect();
    let flow = format!(
        "numbers = [\"200\"]\nstart = \"all\"\n[applet.all]\napplet = \"connect\"\n\
         to = [{}]\nearly-media = \"first\"\n",
        uris.join(", ")
    );
    let mut stage = Stage::set(&[("all", &flow)], AGENTS, 1);
    let agents: Vec<Sipp> = (1..=AGENTS)
        .map(|agent| {
            let (scenario, told) = match agent {
                FIRST => ("early-callee", 0),
                WINNER => ("early-winner", RINGS_MS),
                CROSSING => ("crossing-callee", 0),
                _ => ("early-callee", 150),
            };
            let ssrc = 0xA0 + u32::try_from(agent).expect("few");
            let voice = Script::new(ssrc).tone(agent_hz(agent), 150);
            stage.callee_with(agent - 1, scenario, 1, voice, told)
        })
        .collect();
    let talk = Duration::from_secs(1);
    let mut caller = stage.caller_with("quiet-caller", 1, "200", hush(), talk, 0);
    // From the early media on: nobody hears it yet but who is heard.
    let voice = caller.speak(&Script::new(0xCA11).tone(CALLER_HZ, 110));
    caller.succeeds();
    let late = voice.late();
    let when = |agent: usize, what| agents[agent - 1].when(true, what, "INVITE");
    let answer = when(WINNER, "SIP/2.0 200");
    let since = |at: u64| at.cast_signed() - answer.cast_signed();
    let rang = since(when(FIRST, "SIP/2.0 183"));
    let crossed_us = since(when(CROSSING, "SIP/2.0 200"));
    let mut heard = caller.finish_stamped();
    for agent in agents {
        heard.extend(agent.finish_stamped());
    }
    assert_legs(&mut stage);
    Measured {
        heard: heard.iter().map(|heard| spells(heard, answer)).collect(),
        rang,
        crossed_us,
        late,
    }
}

/// One was talked to; the others were cancelled, the one that answered too late as well.
fn assert_legs(stage: &mut Stage) {
    let calls = stage.finish(1);
    assert_eq!(outcome(&calls[0]), ("completed", 200, "caller"));
    for (ix, leg) in stage.callees(&calls[0]).iter().enumerate() {
        let status = if ix + 1 == WINNER {
            "completed"
        } else {
            "canceled"
        };
        assert_eq!(outcome(leg).0, status, "agent {}", ix + 1);
    }
}

#[test]
fn of_ten_that_ring_at_once_each_is_heard_when_it_is_to_be() {
    in_time(|| {
        let measured = measure();
        let mut wrong: Vec<String> = measured.wrong().into_iter().map(str::to_owned).collect();
        if !wrong.is_empty() {
            wrong.push(format!("{measured:#?}"));
        }
        (wrong, measured.late)
    });
}

impl Measured {
    /// What is not as it should be.
    fn wrong(&self) -> Vec<&'static str> {
        let [first, winner] = &self.heard[0][..] else {
            return vec!["the caller hears one, and then another one"];
        };
        let begins = |spell: &Spell, at: i64| (at..at + TRUE_US + PACKET_US).contains(&spell.from);
        let ends = |spell: &Spell| (-PACKET_US..TRUE_US).contains(&spell.until);
        let mut all = vec![
            (
                self.crossed_us > 0,
                "the second answer comes behind the first",
            ),
            (first.who == Some(FIRST), "the caller hears the first"),
            (begins(first, self.rang), "from its early media on"),
            (ends(first), "until the answer"),
            (
                winner.who == Some(WINNER),
                "then the caller hears the winner",
            ),
            (begins(winner, 0), "from its answer on"),
            (winner.from - first.until <= 2 * PACKET_US, "without a gap"),
        ];
        for (agent, spells) in self.heard.iter().enumerate().skip(1) {
            let right = match (agent, &spells[..]) {
                (FIRST, [spell]) => spell.who == Some(0) && ends(spell),
                (WINNER, [spell]) => spell.who == Some(0) && begins(spell, 0),
                (FIRST | WINNER, _) => false,
                (_, spells) => spells.is_empty(),
            };
            all.push((
                right,
                "whoever is heard hears the caller, and nobody else does",
            ));
        }
        let wrong = all.into_iter().filter(|(right, _)| !right);
        wrong.map(|(_, what)| what).collect()
    }
}
