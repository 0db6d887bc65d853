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
    Box::new(Voice {
        hears: [Heard { pt, codec }].into_iter().collect(),
        speaks: Some(Spoken {
            pt,
            codec,
            ptime_ms,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    })
}

fn member(stream: StreamIx) -> Member {
    Member {
        stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    }
}

fn seat(world: &mut World, members: &[StreamIx]) {
    let config = BridgeConfig {
        members: members.iter().copied().map(member).collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

/// Parties of PCMU; A and B hear each other decoded and encoded anew.
fn world(parties: u16) -> World {
    let mut world = World::new(Timers::default());
    for n in 0..parties {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        world.apply(Change::Voice(ix, voice(20)));
        let types = [known(CodecKind::Pcmu, 0, Via::Decode)];
        world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
    }
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
    Change::Play(Box::new(Play {
        id: PlayId(1),
        listener,
        sound,
        times: Some(1),
        limit: None,
        start: Duration::ZERO,
        gain: Gain::UNITY,
        overlay: false,
    }))
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

#[test]
fn a_member_without_a_codec_is_sent_nothing_from_outside() {
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
