//! A party that is latched sends what it likes, and commands come in any order.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::g711;
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use engine_support::*;
use proptest::prelude::*;

const C: StreamIx = StreamIx(2);

/// Loud enough to be told from concealment and silence, per party.
const LEVEL: i16 = 8_000;

fn known(kind: CodecKind, pt: u8, via: Via) -> PayloadType {
    PayloadType {
        pt,
        out: pt,
        clock_hz: kind.clock_hz(),
        silence: None,
        event: false,
        via,
    }
}

fn voice(ptime_ms: u8) -> Box<Voice> {
    let (pt, codec) = (0, CodecConfig::new(CodecKind::Pcmu));
    voice_of(pt, codec, ptime_ms)
}

fn member(stream: StreamIx) -> Member {
    Member {
        stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    }
}

/// A room that mixes: of two, one hears the other by an exception, or their packets would pass.
fn seat(world: &mut World, members: &[StreamIx]) {
    let exception = |pair: &[StreamIx]| Edge {
        listener: pair[0],
        talker: pair[1],
        gain: Gain::UNITY,
    };
    let config = BridgeConfig {
        members: members.iter().copied().map(member).collect(),
        edges: members.windows(2).map(exception).collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

/// A room without exceptions: packets of two pass.
fn seat_plainly(world: &mut World, members: &[StreamIx]) {
    let config = BridgeConfig {
        members: members.iter().copied().map(member).collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

/// Parties of PCMU; A and B hear each other decoded and encoded anew.
fn world(count: u16) -> World {
    let types = [known(CodecKind::Pcmu, 0, Via::Decode)];
    let mut world = parties(count, &voice(20), &types);
    for (from, to) in [(A, B), (B, A)] {
        let to = Some(to);
        world.apply(Change::Link { from, to });
    }
    world
}

/// One packet of 20 ms in which each sample is `value`.
fn packet(ix: StreamIx, n: u32, value: i16) -> Vec<u8> {
    let octets = [g711::linear_to_ulaw(value); 160];
    rtp(0, n as u16, n * 160, 1_000 + u32::from(ix.0), &octets)
}

/// Each says its value for so many frames.
fn say(world: &mut World, values: &[(StreamIx, i16)], from: u32, frames: u32) {
    for n in from..from + frames {
        for &(ix, value) in values {
            world.hear(ix, &packet(ix, n, value));
        }
        world.wait(20);
    }
}

fn peak(sent: &Sent) -> i16 {
    let mut pcm = [0; 960];
    let n = g711::decode_ulaw(&sent.bytes[12..], &mut pcm);
    let peak = pcm[..n].iter().map(|s| s.unsigned_abs()).max();
    peak.unwrap_or(0) as i16
}

/// The loudest sample that a party received from a moment on.
fn loudest(world: &World, ix: StreamIx, from_ms: u64) -> i16 {
    let received = world.received(ix);
    let late = received.iter().filter(|(ms, _)| *ms >= from_ms);
    late.map(|(_, sent)| peak(sent)).max().unwrap_or(0)
}

fn clip(ms: usize) -> Sound {
    Sound::Clip(Arc::new(Clip::new(vec![LEVEL; ms * 8], 8_000).unwrap()))
}

fn play(listener: StreamIx, sound: Sound) -> Change {
    Change::Play(Box::new(Play::new(PlayId(1), listener, [sound])))
}

/// Numbers without gap, and a clock that keeps step with the wall.
#[track_caller]
fn assert_one_clock(received: &[(u64, Sent)]) {
    for pair in received.windows(2) {
        let ((before_ms, before), (after_ms, after)) = (&pair[0], &pair[1]);
        assert_eq!(after.ssrc(), before.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let media_ms = i64::from(after.timestamp().wrapping_sub(before.timestamp()) as i32) / 8;
        let wall_ms = (after_ms - before_ms) as i64;
        assert!(media_ms > 0, "the clock stood still at {after_ms} ms");
        assert!(
            media_ms <= wall_ms + 120,
            "{media_ms} ms of media in {wall_ms} ms at {after_ms} ms"
        );
    }
}

#[test]
fn a_closed_leg_in_a_bridge_is_sent_nothing() {
    let mut world = world(3);
    seat(&mut world, &[A, B, C]);
    say(&mut world, &[(A, LEVEL)], 0, 50);
    assert!(!world.received(C).is_empty());
    world.apply(Change::Close(C));
    let before = world.received(C).len();
    say(&mut world, &[(A, LEVEL)], 50, 50);
    assert_eq!(world.received(C).len(), before);
    assert!(loudest(&world, B, 1_500) > LEVEL / 2, "the others go on");
}

#[test]
fn a_closed_leg_tells_that_its_prompt_ended() {
    let mut world = world(3);
    world.apply(play(C, clip(10_000)));
    world.wait(1_000);
    world.apply(Change::Close(C));
    let ended = |event: &EventKind| matches!(event, EventKind::PlayInterrupted(_));
    assert!(world.events().iter().any(ended), "{:?}", world.events());
    assert_eq!(world.stream(C).playing, []);
}

#[test]
fn who_is_put_into_a_room_is_not_heard_outside_of_it() {
    let mut world = world(3);
    say(&mut world, &[(A, LEVEL)], 0, 50);
    assert!(loudest(&world, B, 500) > LEVEL / 2);
    seat(&mut world, &[A, C]);
    say(&mut world, &[(A, LEVEL)], 50, 50);
    assert_eq!(loudest(&world, B, 1_200), 0, "B is not in the room");
    assert!(loudest(&world, C, 1_500) > LEVEL / 2);
    let concealed = world.stream(A).playout.unwrap().concealed_ms;
    assert!(
        concealed < 100,
        "{concealed} ms concealed: two pull one ear"
    );
}

#[test]
fn a_branch_in_a_room_is_not_in_the_mix_of_its_caller() {
    let mut world = world(3);
    let to = Some(A);
    world.apply(Change::Link { from: C, to });
    world.apply(Change::EarlyMedia {
        listener: A,
        policy: EarlyMedia::Mix,
    });
    say(&mut world, &[(B, 0), (C, LEVEL)], 0, 50);
    assert!(loudest(&world, A, 500) > LEVEL / 4);
    seat(&mut world, &[C]);
    say(&mut world, &[(B, 0), (C, LEVEL)], 50, 50);
    assert!(loudest(&world, A, 1_200) < LEVEL / 8);
}

#[test]
fn a_member_that_found_its_codec_again_is_sent_one_stream() {
    let mut world = world(3);
    seat(&mut world, &[A, B, C]);
    say(&mut world, &[(A, LEVEL)], 0, 50);
    let speechless = Voice {
        speaks: None,
        ..*voice(20)
    };
    world.apply(Change::Voice(C, Box::new(speechless)));
    say(&mut world, &[(A, LEVEL)], 50, 25);
    world.apply(Change::Voice(C, voice(10)));
    say(&mut world, &[(A, LEVEL)], 75, 25);
    world.apply(play(C, clip(600)));
    say(&mut world, &[(A, LEVEL)], 100, 50);
    assert_one_clock(&world.received(C));
    assert!(loudest(&world, C, 2_500) > LEVEL / 2, "it hears the room");
}

#[test]
fn a_worker_that_stands_still_as_a_room_begins_moves_no_clock_twice() {
    let mut world = world(3);
    say(&mut world, &[(A, LEVEL), (B, LEVEL)], 0, 50);
    world.wait(5);
    seat(&mut world, &[A, B, C]);
    world.now += Duration::from_secs(3);
    say(&mut world, &[(A, LEVEL), (C, LEVEL)], 200, 50);
    for ix in [A, B] {
        assert_one_clock(&world.received(ix));
    }
}

#[test]
fn what_was_said_while_muted_is_never_heard() {
    for muted_frames in [3, 10, 18, 100] {
        let mut world = world(2);
        let talks = |on| {
            let a = Member {
                talks: on,
                ..member(A)
            };
            let members = vec![a, member(B)];
            let config = BridgeConfig {
                members,
                ..BridgeConfig::default()
            };
            Change::Bridge(BridgeIx(0), Box::new(config))
        };
        world.apply(talks(true));
        say(&mut world, &[(A, 0)], 0, 50);
        world.apply(talks(false));
        say(&mut world, &[(A, LEVEL)], 50, muted_frames);
        world.apply(talks(true));
        let from_ms = world.ms();
        say(&mut world, &[(A, 0)], 50 + muted_frames, 50);
        let received = world.received(B);
        let heard = received
            .iter()
            .filter(|(ms, sent)| *ms >= from_ms && peak(sent) > LEVEL / 4);
        let heard = heard.count();
        assert_eq!(heard, 0, "frames after {muted_frames} muted ones");
    }
}

#[test]
fn what_was_said_in_a_room_is_not_heard_after_it() {
    for away_frames in [0, 5, 100] {
        let mut world = world(3);
        seat(&mut world, &[A, C]);
        say(&mut world, &[(A, LEVEL)], 0, 50);
        seat(&mut world, &[C]);
        let to = None;
        world.apply(Change::Link { from: A, to });
        say(&mut world, &[(A, LEVEL)], 50, away_frames);
        let from_ms = world.ms();
        let to = Some(B);
        world.apply(Change::Link { from: A, to });
        say(&mut world, &[(A, 0)], 50 + away_frames, 50);
        assert_eq!(loudest(&world, B, from_ms), 0, "left to a party");
        let from_ms = world.ms();
        say(&mut world, &[(A, LEVEL)], 100 + away_frames, 50);
        seat(&mut world, &[A, C]);
        assert!(loudest(&world, B, from_ms) > LEVEL / 2);
        let from_ms = world.ms();
        say(&mut world, &[(A, 0)], 150 + away_frames, 50);
        assert_eq!(loudest(&world, C, from_ms), 0, "brought from a party");
    }
}

fn member_without_a_codec(seat: fn(&mut World, &[StreamIx])) {
    let mut world = world(3);
    let types = [known(CodecKind::Pcmu, 0, Via::Relay)];
    world.apply(Change::PayloadTypes(A, types.into_iter().collect()));
    seat(&mut world, &[B, C]);
    say(&mut world, &[(A, LEVEL), (C, 0)], 0, 25);
    let speechless = Voice {
        speaks: None,
        ..*voice(20)
    };
    world.apply(Change::Voice(B, Box::new(speechless)));
    let from_ms = world.ms();
    say(&mut world, &[(A, LEVEL), (C, 0)], 25, 25);
    assert_eq!(loudest(&world, B, from_ms), 0);
    seat(&mut world, &[C]);
    say(&mut world, &[(A, LEVEL), (C, 0)], 50, 25);
    assert!(loudest(&world, B, from_ms) > LEVEL / 2, "it has left");
}

#[test]
fn a_member_without_a_codec_is_sent_nothing_from_outside() {
    member_without_a_codec(seat);
    member_without_a_codec(seat_plainly);
}

#[test]
fn numbers_of_what_was_said_in_a_room_are_missed_by_nobody() {
    let mut world = world(3);
    let types = [known(CodecKind::Pcmu, 0, Via::Relay)];
    world.apply(Change::PayloadTypes(A, types.into_iter().collect()));
    say(&mut world, &[(A, 0)], 0, 25);
    seat(&mut world, &[A, C]);
    say(&mut world, &[(A, LEVEL)], 25, 25);
    seat(&mut world, &[C]);
    say(&mut world, &[(A, 0)], 50, 25);
    let received = world.received(B);
    assert_eq!(received.len(), 50);
    assert_one_clock(&received);
}

#[test]
fn numbers_of_what_was_said_to_another_are_missed_by_nobody() {
    let mut world = world(3);
    let types = [known(CodecKind::Pcmu, 0, Via::Relay)];
    world.apply(Change::PayloadTypes(A, types.into_iter().collect()));
    for (to, from) in [(B, 0), (C, 25), (B, 50)] {
        let to = Some(to);
        world.apply(Change::Link { from: A, to });
        say(&mut world, &[(A, 0)], from, 25);
    }
    assert_eq!(world.received(B).len(), 50);
    assert_one_clock(&world.received(B));
}

#[test]
fn comfort_noise_of_a_party_is_heard_as_noise() {
    let mut world = world(2);
    let types = [
        known(CodecKind::Pcmu, 0, Via::Decode),
        known(CodecKind::Pcmu, 13, Via::Decode),
    ];
    world.apply(Change::PayloadTypes(A, types.into_iter().collect()));
    say(&mut world, &[(A, LEVEL)], 0, 50);
    // It pauses for two seconds: one packet of comfort noise at −40 dBov every 200 ms.
    for n in 50..60 {
        let noise = rtp(13, n as u16, 8_000 + (n - 50) * 1_600, 1_000, &[40]);
        world.hear(A, &noise);
        world.wait(200);
    }
    let received = world.received(B);
    let pause = received
        .iter()
        .filter(|(ms, _)| (1_500..2_900).contains(ms));
    let levels: Vec<i16> = pause.map(|(_, sent)| peak(sent)).collect();
    let noisy = levels.iter().filter(|level| (100..2_000).contains(*level));
    assert!(noisy.count() > 60, "{levels:?}");
    let stats = world.stream(A).playout.unwrap();
    assert!(stats.lost == 0 && stats.pause_ms > 1_500, "{stats:?}");
}

#[test]
fn frames_of_a_prompt_count_when_they_are_sent() {
    let mut world = world(2);
    world.apply(Change::Direction {
        stream: B,
        sends: true,
        receives: false,
    });
    world.apply(play(B, clip(400)));
    world.wait(1_000);
    let frames = world.events().into_iter().find_map(|event| match event {
        EventKind::PlayCompleted(report) => Some(report.frames),
        _ => None,
    });
    assert_eq!((frames, world.received(B).len()), (Some(0), 0));
}

#[test]
fn a_prompt_that_begins_behind_all_ends_is_no_trouble() {
    let mut world = world(2);
    let plan = crosspoint::audio::tone::TonePlan::parse("425/1000,0/4000");
    let tone = plan.map(Sound::Tone).unwrap_or_else(|_| clip(100));
    for sound in [tone, clip(100)] {
        let Change::Play(mut order) = play(B, sound) else {
            unreachable!()
        };
        (order.start, order.limit) = (Duration::MAX, Some(Duration::MAX));
        (order.times, order.id) = (Some(u32::MAX), PlayId(9));
        world.apply(Change::Play(order));
        world.wait(500);
        world.stream(B);
        world.apply(Change::Voice(B, voice(30)));
        world.wait(500);
    }
}

/// A model of who may hear the one party that speaks, beside the engine.
#[derive(Clone, Copy, Debug)]
struct Rules {
    to: Option<StreamIx>,
    chosen: Option<StreamIx>,
    bridge: Option<(u8, bool, bool)>,
    sends: bool,
    receives: bool,
    blocked: bool,
    silenced: bool,
    closed: bool,
}

const PARTIES: u16 = 5;

struct Run {
    world: World,
    random: fastrand::Rng,
    rules: [Rules; PARTIES as usize],
    speaker: StreamIx,
    /// When each was last allowed to hear the speaker.
    allowed_ms: [Option<u64>; PARTIES as usize],
    seq: [u32; PARTIES as usize],
    checked: usize,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = parties(
            PARTIES,
            &voice(20),
            &[known(CodecKind::Pcmu, 0, Via::Relay)],
        );
        let rules = Rules {
            to: None,
            chosen: None,
            bridge: None,
            sends: true,
            receives: true,
            blocked: false,
            silenced: false,
            closed: false,
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let speaker = StreamIx(random.u16(..PARTIES));
        Self {
            world,
            random,
            rules: [rules; PARTIES as usize],
            speaker,
            allowed_ms: [None; PARTIES as usize],
            seq: [0; PARTIES as usize],
            checked: 0,
            log: vec![format!("seed {seed}, {speaker:?} speaks")],
        }
    }

    fn party(&mut self) -> StreamIx {
        StreamIx(self.random.u16(..PARTIES))
    }

    fn change(&mut self) -> Change {
        let ix = self.party();
        let (on, other) = (self.random.bool(), self.party());
        match self.random.u8(..16) {
            0..3 => Change::Link {
                from: ix,
                to: Some(other).filter(|_| self.random.u8(..4) > 0),
            },
            3 => Change::Source {
                listener: ix,
                source: on.then_some(other),
            },
            4..7 => self.room(),
            7 => Change::Block(ix, on),
            8 => Change::Silence(ix, on),
            9 => Change::Direction {
                stream: ix,
                sends: self.random.u8(..4) > 0,
                receives: self.random.u8(..4) > 0,
            },
            10 => {
                let via = if on { Via::Decode } else { Via::Relay };
                let mut kind = known(CodecKind::Pcmu, 0, via);
                kind.silence = Some(0xff);
                Change::PayloadTypes(ix, [kind].into_iter().collect())
            }
            11 => {
                let mut changed = voice([10, 20, 30, 60][self.random.usize(..4)]);
                if self.random.u8(..4) == 0 {
                    changed.speaks = None;
                }
                if self.random.u8(..4) == 0 {
                    changed.playout.fixed_ms = Some(40);
                }
                Change::Voice(ix, changed)
            }
            12 => {
                let policies = [EarlyMedia::First, EarlyMedia::Latest, EarlyMedia::Mix];
                Change::EarlyMedia {
                    listener: ix,
                    policy: policies[self.random.usize(..3)].clone(),
                }
            }
            13 => {
                let sound = Sound::Clip(Arc::new(Clip::new(vec![5; 4_000], 8_000).unwrap()));
                Change::Play(Box::new(Play {
                    layer: [Layer::Alone, Layer::Over][usize::from(on)],
                    ..Play::new(PlayId(self.random.u32(..6)), ix, [sound])
                }))
            }
            14 => Change::StopPlay {
                listener: ix.into(),
                id: None,
            },
            _ => match self.random.u8(..6) {
                0 => Change::Close(ix),
                1 => Change::Privacy(ix, Privacy::Masked),
                2 => {
                    let mut home = remote(ix);
                    home.rtp = home.rtp.filter(|_| on);
                    Change::Remote(ix, home)
                }
                _ => Change::OwnRtcp(ix, on),
            },
        }
    }

    fn room(&mut self) -> Change {
        let mut config = BridgeConfig::default();
        for n in 0..PARTIES {
            if self.random.bool() {
                config.members.push(Member {
                    talks: self.random.u8(..4) > 0,
                    listens: self.random.u8(..4) > 0,
                    ..member(StreamIx(n))
                });
            }
        }
        config.loudest = self.random.u8(..3);
        Change::Bridge(BridgeIx(self.random.u8(..2)), Box::new(config))
    }

    /// Applies a change to the call, and to the rules if it was taken.
    fn command(&mut self) {
        let change = self.change();
        let (name, rules) = (format!("{change:?}"), self.ruled_by(&change));
        let taken = self.world.call.apply(self.world.now, change);
        self.world.drain();
        self.log
            .push(format!("{} {name} {taken:?}", self.world.ms()));
        if taken.is_ok() {
            self.rules = rules;
        }
    }

    /// The rules if this change is taken.
    fn ruled_by(&self, change: &Change) -> [Rules; PARTIES as usize] {
        let mut rules = self.rules;
        let at = |ix: &StreamIx| usize::from(ix.0);
        match change {
            Change::Link { from, to } => rules[at(from)].to = *to,
            Change::Source { listener, source } => rules[at(listener)].chosen = *source,
            Change::Block(ix, on) => rules[at(ix)].blocked = *on,
            Change::Silence(ix, on) => rules[at(ix)].silenced = *on,
            Change::Direction {
                stream,
                sends,
                receives,
            } => {
                (rules[at(stream)].sends, rules[at(stream)].receives) = (*sends, *receives);
            }
            Change::Bridge(ix, config) => {
                for rules in &mut rules {
                    rules.bridge = rules.bridge.filter(|(other, ..)| *other != ix.0);
                }
                for member in &config.members {
                    let seat = (ix.0, member.talks, member.listens);
                    rules[at(&member.stream)].bridge = Some(seat);
                }
            }
            Change::Close(ix) => rules[at(ix)].closed = true,
            _ => {}
        }
        rules
    }

    fn may_hear(&self, listener: StreamIx) -> bool {
        let (from, to) = (
            &self.rules[usize::from(self.speaker.0)],
            &self.rules[usize::from(listener.0)],
        );
        if from.closed || to.closed || !from.sends || !to.receives || from.blocked || from.silenced
        {
            return false;
        }
        match (from.bridge, to.bridge) {
            (Some((a, talks, _)), Some((b, _, listens))) => {
                a == b && talks && listens && self.speaker != listener
            }
            (None, None) => {
                // Who hears itself does so whomever else it has chosen.
                let chosen = to.chosen.is_none_or(|chosen| chosen == self.speaker);
                from.to == Some(listener) && (chosen || self.speaker == listener)
            }
            _ => false,
        }
    }

    fn shares_room(&self, listener: StreamIx) -> bool {
        let room = |ix: StreamIx| self.rules[usize::from(ix.0)].bridge;
        let closed = self.rules[usize::from(listener.0)].closed;
        let pair = room(self.speaker).zip(room(listener));
        pair.is_some_and(|(from, to)| from.0 == to.0 && from.1 && to.2)
            && !closed
            && listener != self.speaker
    }

    fn frame(&mut self) {
        for n in 0..PARTIES {
            let ix = StreamIx(n);
            if self.may_hear(ix) {
                self.allowed_ms[usize::from(n)] = Some(self.world.ms());
            } else if self.shares_room(ix) {
                // Who enters hears what is on its way to the others.
                self.allowed_ms[usize::from(n)] = self.allowed_ms.iter().copied().max().flatten();
            }
        }
        for n in 0..PARTIES {
            let ix = StreamIx(n);
            if ix != self.speaker && self.random.u8(..8) == 0 {
                continue;
            }
            let seq = &mut self.seq[usize::from(n)];
            let value = if ix == self.speaker { LEVEL } else { 0 };
            let bytes = packet(ix, *seq, value);
            *seq += 1;
            self.world.hear(ix, &bytes);
        }
        self.world.wait(20);
        self.check();
    }

    /// How long what was said may still be on its way to who was allowed to hear it.
    const ON_ITS_WAY_MS: u64 = 250;

    fn check(&mut self) {
        for (ms, sent) in &self.world.heard[self.checked..] {
            let ix = (sent.port.0 / 2) as usize;
            let allowed = self.allowed_ms[ix];
            let log = || self.log.join("\n");
            assert!(
                !self.rules[ix].closed || allowed.is_some_and(|at| ms - at <= 20),
                "{ix} is closed at {ms}\n{}",
                log()
            );
            if sent.bytes[1] & 0x7f != 0 || peak(sent) < LEVEL / 2 {
                continue;
            }
            assert!(
                allowed.is_some_and(|at| ms - at <= Self::ON_ITS_WAY_MS),
                "{ix} hears {:?} at {ms}, allowed {allowed:?}\n{}",
                self.speaker,
                log()
            );
        }
        self.checked = self.world.heard.len();
    }
}

fn live(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..60 {
        for _ in 0..run.random.u8(..5) {
            run.command();
        }
        for _ in 0..run.random.u8(..25) {
            run.frame();
        }
    }
    for n in 0..PARTIES {
        assert_one_clock(&run.world.received(StreamIx(n)));
    }
}

/// What was collected for a packet while its listener was on hold is not heard after it.
#[test]
fn who_was_on_hold_hears_nothing_of_that_time() {
    live(16_680_713_770_506_690_070);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 0, // a seed has no smaller one
        ..ProptestConfig::default()
    })]

    /// Whatever is commanded, several commands at one instant too: who speaks is heard by nobody
    /// who may not hear him, himself included, and each listener has one clock.
    #[test]
    fn nobody_is_heard_by_whom_he_is_not_meant_for(seed: u64) {
        live(seed);
    }

    /// Any payload types, lengths, numbers and times, packet by packet, from all parties of a room
    /// and of a call between codecs: nothing panics, and what is made for a listener is one stream.
    #[test]
    fn whatever_latched_parties_send_their_listeners_have_one_clock(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = codecs();
        for ix in 0..6 {
            world.hear(StreamIx(ix), &rtp(KINDS[usize::from(ix)].0, 1, 0, 1, &[0; 160]));
        }
        let mut numbers = [(1_u16, 0_u32, 1_u32); 6];
        for _ in 0..150 {
            match random.u8(..100) {
                0 => world.now += Duration::from_millis(random.u64(..20_000)),
                1 if random.u8(..4) == 0 => world.now += Duration::from_secs(3_600),
                2..60 => world.wait(random.u64(..25)),
                _ => {}
            }
            for _ in 0..random.u8(..4) {
                let ix = random.usize(..6);
                let bytes = hostile(&mut random, ix, &mut numbers[ix]);
                world.hear(StreamIx(ix as u16), &bytes);
            }
        }
        for n in 0..6 {
            let received = world.received(StreamIx(n));
            // What is not made here may be numbered as its sender likes.
            let is_made = |sent: &Sent| sent.pt() != 13;
            let pairs = received.windows(2);
            let pairs = pairs.filter(|pair| pair.iter().all(|(_, sent)| is_made(sent)));
            for pair in pairs {
                let ((_, before), (ms, after)) = (&pair[0], &pair[1]);
                prop_assert_eq!(after.ssrc(), before.ssrc());
                prop_assert_eq!(after.seq(), before.seq().wrapping_add(1), "{} at {}", n, ms);
                let ticks = after.timestamp().wrapping_sub(before.timestamp()) as i32;
                prop_assert!(ticks > 0, "{} at {}: {}", n, ms, ticks);
            }
        }
    }
}

/// What the parties of [`codecs`] speak.
const KINDS: [(u8, CodecKind); 6] = [
    (0, CodecKind::Pcmu),
    (9, CodecKind::G722),
    (111, CodecKind::Opus),
    (96, L16_48),
    (8, CodecKind::Pcma),
    (97, L16_8),
];

const L16_48: CodecKind = CodecKind::L16 {
    rate_hz: 48_000,
    channels: 2,
};

const L16_8: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

/// A room of four parties, and a call of two, each of which may send every codec there is.
fn codecs() -> World {
    let mut world = World::new(Timers::default());
    for n in 0..6 {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        let all = KINDS.iter().filter(|(_, kind)| has(*kind));
        let hears = all.clone().map(|(pt, kind)| Heard {
            pt: *pt,
            codec: CodecConfig::new(*kind),
        });
        let (mut pt, mut kind) = KINDS[usize::from(n)];
        if !has(kind) {
            (pt, kind) = KINDS[0];
        }
        let spoken = Spoken {
            pt,
            codec: CodecConfig::new(kind),
            ptime_ms: [20, 10, 60, 30, 20, 40][usize::from(n)],
        };
        let voice = Voice {
            hears: hears.collect(),
            speaks: Some(spoken),
            playout: PlayoutBounds::default(),
            idle: Idle::Nothing,
        };
        world.apply(Change::Voice(ix, Box::new(voice)));
        let types = all.map(|(pt, kind)| known(*kind, *pt, Via::Decode));
        world.apply(Change::PayloadTypes(ix, types.collect()));
    }
    seat(&mut world, &[0, 1, 2, 3].map(StreamIx));
    for (from, to) in [(4, 5), (5, 4)] {
        let (from, to) = (StreamIx(from), Some(StreamIx(to)));
        world.apply(Change::Link { from, to });
    }
    world
}

fn has(kind: CodecKind) -> bool {
    kind != CodecKind::Opus || cfg!(feature = "opus")
}

/// A packet that goes on, or does not.
fn hostile(random: &mut fastrand::Rng, ix: usize, at: &mut (u16, u32, u32)) -> Vec<u8> {
    let (seq, timestamp, ssrc) = at;
    *seq = seq.wrapping_add(1);
    *timestamp = timestamp.wrapping_add([160, 160, 960, 960, 160, 160][ix]);
    match random.u8(..24) {
        0 => *seq = random.u16(..),
        1 => *timestamp = random.u32(..),
        2 => *ssrc = random.u32(..3),
        3 => *seq = seq.wrapping_add(random.u16(..3_100)),
        4 => *timestamp = timestamp.wrapping_add(random.u32(..400_000)),
        5 => *timestamp = timestamp.wrapping_sub(random.u32(..4_000)),
        6 => *seq = seq.wrapping_sub(random.u16(..120)),
        _ => {}
    }
    let pt = match random.u8(..8) {
        0 => 13,
        1 => KINDS[random.usize(..6)].0,
        2 => random.u8(98..128),
        _ => KINDS[ix].0,
    };
    let len = match random.u8(..8) {
        0 => 0,
        1 => random.usize(1..4),
        2 => 1_472,
        3 => random.usize(..1_472),
        _ => [160, 160, 60, 1_440, 160, 320][ix],
    };
    let mut payload = vec![0; len];
    match random.u8(..4) {
        0 => payload.fill(random.u8(..)),
        _ => payload.iter_mut().for_each(|octet| *octet = random.u8(..)),
    }
    rtp(pt, *seq, *timestamp, *ssrc, &payload)
}
