//! Bridges of two who need no mixing: packets pass as they are, until something has to be mixed.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::collections::HashSet;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::audio::tone::TonePlan;
use crosspoint::engine::*;
use engine_support::rooms::*;
use engine_support::*;
use proptest::prelude::*;

/// The number of the second codec of every party here.
const OTHER_PT: u8 = 8;
const EVENT_PT: u8 = 101;

const PARTY: Party = Party {
    kind: L16,
    ptime_ms: 20,
};

/// Parties that also may send PCMA and digits.
fn pair(parties: usize) -> World {
    let mut world = room(&vec![PARTY; parties]);
    for ix in (0..parties as u16).map(StreamIx) {
        let heard = |pt, kind| Heard {
            pt,
            codec: CodecConfig::new(kind),
        };
        let speaks = Spoken {
            pt: 96,
            codec: CodecConfig::new(L16),
            ptime_ms: 20,
        };
        world.apply(Change::Voice(
            ix,
            Box::new(Voice {
                hears: [heard(96, L16), heard(OTHER_PT, CodecKind::Pcma)]
                    .into_iter()
                    .collect(),
                speaks: Some(speaks),
                playout: PlayoutBounds::default(),
                idle: Idle::Nothing,
            }),
        ));
        let kind = |pt, event| PayloadType {
            pt,
            out: pt,
            clock_hz: 8_000,
            silence: None,
            event,
            via: Via::Relay,
        };
        let types = [kind(96, false), kind(OTHER_PT, false), kind(EVENT_PT, true)];
        world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
    }
    world
}

fn declare(world: &mut World, members: &[Member], edges: &[Edge], loudest: u8) {
    let config = BridgeConfig {
        members: members.to_vec(),
        edges: edges.to_vec(),
        loudest,
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

fn member(ix: u16) -> Member {
    Member {
        stream: StreamIx(ix),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    }
}

fn tone(listener: u16) -> Change {
    let tone = Sound::Tone(TonePlan::parse("ringback").unwrap());
    Change::Play(Box::new(Play {
        times: None,
        layer: Layer::Over,
        ..Play::new(PlayId(1), StreamIx(listener), [tone])
    }))
}

fn hush(listener: u16) -> Change {
    Change::StopPlay {
        listener: StreamIx(listener).into(),
        id: None,
    }
}

/// Whether a packet of the first passes to the second just as it is, now.
fn passes(world: &mut World, n: u32) -> bool {
    let before = world.received(StreamIx(1)).len();
    say(world, 0, L16, n, |at| (at * 37) as i16);
    let received = world.received(StreamIx(1));
    received.len() == before + 1
}

#[test]
fn two_legs_of_one_codec_are_relayed() {
    let mut world = pair(2);
    seat(&mut world, &[0, 1]);
    for n in 0..20 {
        say(&mut world, 0, L16, n, |at| (at * 37) as i16);
        say(&mut world, 1, L16, n, |at| (at * 41) as i16);
        world.wait(20);
    }
    for (ix, factor) in [(0_u16, 41_u32), (1, 37)] {
        let received = world.received(StreamIx(ix));
        assert_eq!(received.len(), 20);
        for (n, (ms, sent)) in received.iter().enumerate() {
            assert_eq!(*ms, 20 * n as u64, "at once");
            let samples = n as u32 * 160..(n as u32 + 1) * 160;
            let said: Vec<u8> = samples
                .flat_map(|at| ((at * factor) as i16).to_be_bytes())
                .collect();
            assert_eq!(sent.bytes[12..], said, "bit by bit");
        }
        assert_one_clock(&received, 8_000, 0);
        assert_eq!(
            world.stream(StreamIx(ix)).playout,
            None,
            "nothing is decoded"
        );
    }
    assert!(!world.call.makes_frames(), "nothing ticks");
}

#[test]
fn who_is_not_to_hear_the_other_as_it_is_is_mixed() {
    let quiet = Gain::from_db(-6.0);
    let with = |change: fn(&mut Member)| {
        let mut second = member(1);
        change(&mut second);
        [member(0), second]
    };
    let plain = [member(0), member(1)];
    let edge = Edge {
        listener: StreamIx(1),
        talker: StreamIx(0),
        gain: quiet,
    };
    let cases: [(&[Member], &[Edge], u8, bool); 8] = [
        (&plain, &[], 0, true),
        (&plain, &[], 2, true),
        (&plain, &[], 1, false),
        (&plain, &[edge], 0, false),
        (&with(|m| m.talks = false), &[], 0, false),
        (&with(|m| m.listens = false), &[], 0, false),
        (&with(|m| m.gain = Gain::from_db(3.0)), &[], 0, false),
        (&[member(0), member(1), member(2)], &[], 0, false),
    ];
    for (n, (members, edges, loudest, relays)) in (0..).zip(cases) {
        let mut world = pair(3);
        declare(&mut world, members, edges, loudest);
        assert_eq!(passes(&mut world, 0), relays, "case {n}");
    }
}

#[test]
fn digits_pass_and_other_codecs_are_decoded_for_a_while() {
    let mut world = pair(2);
    seat(&mut world, &[0, 1]);
    assert!(passes(&mut world, 0));
    world.wait(20);
    world.hear(A, &rtp(EVENT_PT, 1, 160, 1, &[5, 10, 0, 160]));
    let (_, digit) = world.received(B).pop().unwrap();
    assert_eq!(
        (digit.pt(), &digit.bytes[12..]),
        (EVENT_PT, &[5, 10, 0, 160][..])
    );
    world.wait(20);
    let verdict = world.hear(A, &rtp(OTHER_PT, 2, 320, 1, &[0xD5; 160]));
    assert_eq!(verdict, Verdict::Taken);
    let mut changed_at = None;
    for n in 3..60 {
        world.wait(20);
        if passes(&mut world, n) && changed_at.is_none() {
            changed_at = Some(n);
        }
    }
    // Half a second, and until the ear is empty.
    assert!((25..45).contains(&changed_at.unwrap()), "{changed_at:?}");
    let received = world.received(B);
    assert_one_clock(&received, 8_000, 40);
}

/// A frame with a level of its own, which is found again in what is heard, mixed or not.
fn level(n: u32) -> i16 {
    (n % 300 * 100) as i16
}

#[test]
fn a_change_costs_the_listener_one_frame_at_most() {
    for phase_ms in [0, 3, 10, 17] {
        let mut world = pair(3);
        seat(&mut world, &[0, 1]);
        let mut changes = 0;
        for n in 0..300 {
            say(&mut world, 0, L16, n, |_| level(n));
            world.wait(phase_ms);
            if n % 50 == 25 {
                changes += 1;
                match changes {
                    1 => seat(&mut world, &[0, 1, 2]),
                    3 => world.apply(tone(0)),
                    4 => world.apply(hush(0)),
                    5 => declare(
                        &mut world,
                        &[
                            member(0),
                            Member {
                                talks: false,
                                ..member(1)
                            },
                        ],
                        &[],
                        0,
                    ),
                    _ => seat(&mut world, &[0, 1]),
                }
            }
            world.wait(20 - phase_ms);
        }
        let received = world.received(B);
        assert_one_clock(&received, 8_000, 40);
        let gaps: Vec<_> = received
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0)
            .collect();
        let longest = gaps.iter().max();
        assert!(longest <= Some(&40), "{phase_ms}: {gaps:?}");
        let samples = received
            .iter()
            .flat_map(|(_, sent)| sent.bytes[12..].chunks_exact(2));
        let heard: HashSet<i16> = samples.map(|s| i16::from_be_bytes([s[0], s[1]])).collect();
        let lost = (0..290).filter(|n| !heard.contains(&level(*n))).count();
        assert!(
            lost <= changes,
            "{lost} frames lost in {changes} changes, {phase_ms} ms"
        );
    }
}

#[test]
fn who_is_closed_leaves_its_bridge() {
    let mut world = pair(3);
    seat(&mut world, &[0, 1, 2]);
    say(&mut world, 0, L16, 0, |_| 900);
    world.wait(20);
    world.apply(Change::Close(StreamIx(2)));
    for n in 1..30 {
        say(&mut world, 0, L16, n, |_| 900);
        world.wait(20);
    }
    assert!(passes(&mut world, 30), "two are left");
    world.apply(Change::Close(StreamIx(0)));
    let before = world.received(B).len();
    say(&mut world, 0, L16, 31, |_| 900);
    world.wait(100);
    assert_eq!(world.received(B).len(), before);
}

/// What may happen to a room of two.
#[derive(Clone, Copy, Debug)]
enum Step {
    Third(bool),
    Mute(bool),
    Quiet(bool),
    Play(u16, bool),
    Other(u8),
    Hold(bool),
    Block(bool),
    Leave(bool),
    Wait(u8),
    Talk(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<bool>().prop_map(Step::Third),
        any::<bool>().prop_map(Step::Mute),
        any::<bool>().prop_map(Step::Quiet),
        (0u16..2, any::<bool>()).prop_map(|(ix, on)| Step::Play(ix, on)),
        (1u8..4).prop_map(Step::Other),
        any::<bool>().prop_map(Step::Hold),
        any::<bool>().prop_map(Step::Block),
        any::<bool>().prop_map(Step::Leave),
        (1u8..20).prop_map(Step::Wait),
        (1u8..60).prop_map(Step::Talk),
        (1u8..60).prop_map(Step::Talk),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A history of a room, heard by the second party.
struct Run {
    world: World,
    n: u32,
    second: Member,
    third: bool,
    absent: bool,
}

impl Run {
    fn declare(&mut self) {
        let mut members = vec![member(0), self.second];
        if self.third {
            members.push(member(2));
        }
        if self.absent {
            members.remove(1);
        }
        declare(&mut self.world, &members, &[], 0);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Third(on) => self.third = on,
            Step::Mute(on) => self.second.talks = !on,
            Step::Quiet(on) => {
                self.second.gain = if on { Gain::from_db(-6.0) } else { Gain::UNITY }
            }
            Step::Leave(on) => self.absent = on,
            Step::Play(ix, true) => return self.world.apply(tone(ix)),
            Step::Play(ix, false) => return self.world.apply(hush(ix)),
            Step::Hold(held) => {
                return self.world.apply(Change::Direction {
                    stream: B,
                    sends: !held,
                    receives: !held,
                });
            }
            Step::Block(on) => return self.world.apply(Change::Block(A, on)),
            Step::Wait(ms) => return self.world.wait(ms.into()),
            Step::Other(packets) => return (0..packets).for_each(|_| self.frame(OTHER_PT)),
            Step::Talk(frames) => return (0..frames).for_each(|_| self.frame(96)),
        }
        self.declare();
    }

    /// Everybody sends 20 ms, which are numbered by the wall clock: silence was sent as nothing.
    fn frame(&mut self, pt: u8) {
        let (seq, timestamp) = (self.n as u16, self.world.ms() as u32 * 8);
        for ix in 0..3_u16 {
            let bytes = if pt == 96 { 320 } else { 160 };
            let packet = rtp(pt, seq, timestamp, u32::from(ix) + 1, &vec![5; bytes]);
            self.world.hear(StreamIx(ix), &packet);
        }
        self.n += 1;
        self.world.wait(20);
    }
}

fn run(steps: &[Step]) -> Run {
    let mut run = Run {
        world: pair(3),
        n: 0,
        second: member(1),
        third: false,
        absent: false,
    };
    run.declare();
    steps.iter().for_each(|step| run.step(step));
    run
}

/// How far timestamps are ahead of the wall clock in the end.
fn off_ms(received: &[(u64, Sent)]) -> i64 {
    let ends = received.first().zip(received.last());
    ends.map_or(0, |((start_ms, first), (end_ms, last))| {
        let ticks = i64::from(last.timestamp().wrapping_sub(first.timestamp()));
        ticks / 8 - (end_ms - start_ms) as i64
    })
}

#[test]
fn changes_without_a_pause_do_not_let_the_clock_run() {
    let steps = [Step::Other(1), Step::Talk(39)].repeat(25);
    let received = run(&steps).world.received(B);
    assert_one_clock(&received, 8_000, 40);
    let off_ms = off_ms(&received);
    assert!((-40..=40).contains(&off_ms), "{off_ms} ms off");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is declared, played, held and sent: one SSRC, no number left out or used twice,
    /// timestamps that follow the wall clock, and frames of which none overlap.
    #[test]
    fn one_clock_per_leg_in_rooms_of_two(steps in steps()) {
        let received = run(&steps).world.received(B);
        for pair in received.windows(2) {
            let ((from_ms, before), (to_ms, after)) = (&pair[0], &pair[1]);
            prop_assert_eq!(after.ssrc(), before.ssrc());
            prop_assert_eq!(after.seq(), before.seq().wrapping_add(1));
            let ticks = i64::from(after.timestamp().wrapping_sub(before.timestamp()));
            prop_assert!(ticks >= 160, "frames overlap: {}", ticks);
            let late_ms = ticks / 8 - (to_ms - from_ms) as i64;
            prop_assert!((-40..=40).contains(&late_ms), "{} ms off the wall clock", late_ms);
        }
        let off_ms = off_ms(&received);
        prop_assert!((-60..=60).contains(&off_ms), "{} ms off after all", off_ms);
    }
}
