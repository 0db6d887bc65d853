//! One decode feeds any number of legs, and no way of playing allocates per frame.

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;

use crate::engine_support::*;
use crate::{CALLS, LIVE};

/// Legs in one call here; a call holds more streams, but not 2,000.
const LEGS: u16 = 500;

fn voice(kind: CodecKind, pt: u8) -> Box<Voice> {
    let codec = CodecConfig::new(kind);
    Box::new(Voice {
        hears: [Heard { pt, codec }].into_iter().collect(),
        speaks: Some(Spoken {
            pt,
            codec,
            ptime_ms: 20,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    })
}

fn legs(count: u16, kind: CodecKind) -> World {
    let mut world = World::new(Timers::default());
    for n in 0..count {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        let rtp = Some(([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]], 4_000).into());
        let remote = Remote {
            rtp,
            rtcp: None,
            mux: true,
            learn: learn(),
        };
        world.apply(Change::Remote(ix, remote));
        world.apply(Change::Voice(ix, voice(kind, 96)));
    }
    world
}

/// Lets `ms` pass without looking at what leaves; packets that left.
fn pass(world: &mut World, ms: u64) -> u64 {
    let (until, mut left) = (world.now + Duration::from_millis(ms), 0);
    while let Some(at) = world.call.poll_timeout().filter(|at| *at <= until) {
        world.now = world.now.max(at);
        world.call.handle_timeout(world.now);
        while let Some(output) = world.call.poll_output() {
            left += u64::from(matches!(output, Output::Media { .. }));
        }
    }
    world.now = until;
    left
}

#[test]
fn two_thousand_legs_hear_one_hold_music_each_from_its_own_place() {
    // A minute whose every sample tells where it is.

    let music: Vec<i16> = (0..60 * 8_000)
        .map(|n: i64| (n * 48_271 % 65_521 - 32_760) as i16)
        .collect();
    let bytes = music.len() * size_of::<i16>();
    let clip = Arc::new(Clip::new(music, 8_000).unwrap());
    let kind = CodecKind::L16 {
        rate_hz: 8_000,
        channels: 1,
    };
    let mut worlds: Vec<World> = (0..4).map(|_| legs(LEGS, kind)).collect();
    let start = |leg: usize| Duration::from_millis(leg as u64 * 29);
    let before = LIVE.get();
    let mut leg = 0;
    for world in &mut worlds {
        for listener in (0..LEGS).map(StreamIx) {
            let play = Play {
                times: None,
                start: start(leg),
                ..Play::new(PlayId(1), listener, [Sound::Clip(Arc::clone(&clip))])
            };
            world.apply(Change::Play(Box::new(play)));
            leg += 1;
        }
    }
    assert_eq!(leg, 2_000);
    assert_eq!(Arc::strong_count(&clip), 2_001, "all play the one clip");
    let per_leg = (LIVE.get() - before) / 2_000;
    assert!(
        per_leg < 4_096,
        "{per_leg} bytes per leg, the clip has {bytes}"
    );
    for (first, world) in (0..).step_by(usize::from(LEGS)).zip(&mut worlds) {
        world.wait(30);
        for n in 0..LEGS {
            let received = world.received(StreamIx(n));
            assert_eq!(received.len(), 2);
            let from = start(first + usize::from(n)).as_millis() as usize * 8;
            let heard: Vec<u8> = received
                .iter()
                .flat_map(|(_, s)| s.bytes[12..].to_vec())
                .collect();
            let samples = clip.samples().iter().cycle().skip(from).take(320);
            let expected: Vec<u8> = samples.flat_map(|s| s.to_be_bytes()).collect();
            assert!(heard == expected, "leg {n} from sample {from}");
        }
    }
    // All of them once around the end of the clip, and no allocation.
    let world = &mut worlds[0];
    pass(world, 1_000);
    let before = CALLS.get();
    let left = pass(world, 2_000);
    assert_eq!(CALLS.get() - before, 0);
    assert_eq!(left, 100 * u64::from(LEGS));
}

/// A sequence to one leg, samples pushed to another, music to a bridge of three, of whom one hears
/// comfort noise, and a leg that hears encoded noise.
fn all_kinds(pushed: Pushed) -> World {
    let mut world = legs(6, CodecKind::Pcmu);
    let sound = |rate_hz: u32, samples: usize| {
        Sound::Clip(Arc::new(Clip::new(vec![900; samples], rate_hz).unwrap()))
    };
    let forever = |id, to: Listener, sounds: Vec<Sound>, layer| {
        let times = None;
        let play = Play::new(PlayId(id), to, sounds);
        let play = Play {
            times,
            layer,
            ..play
        };
        Change::Play(Box::new(play))
    };
    let sequence = vec![sound(8_000, 333), sound(16_000, 777), sound(48_000, 9_999)];
    world.apply(forever(1, A.into(), sequence, Layer::Alone));
    world.apply(forever(
        2,
        B.into(),
        vec![Sound::Pushed(pushed)],
        Layer::Alone,
    ));
    let member = |n| Member {
        stream: StreamIx(n),
        talks: true,
        listens: n != 4,
        gain: Gain::UNITY,
    };
    let bridge = BridgeConfig {
        members: (2..5).map(member).collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(bridge)));
    let room = BridgeIx(0).into();
    world.apply(forever(3, room, vec![sound(16_000, 5_000)], Layer::Beside));
    world.apply(forever(4, room, vec![sound(8_000, 5_000)], Layer::Over));
    let comfort = Idle::ComfortNoise { pt: 13, level: 60 };
    world.apply(Change::Idle(StreamIx(4), comfort));
    world.apply(Change::Idle(StreamIx(5), Idle::Noise { level: 60 }));
    let short = Play::new(PlayId(5), StreamIx(5), [sound(8_000, 800)]);
    world.apply(Change::Play(Box::new(short)));
    world
}

#[test]
fn no_way_of_playing_allocates_per_frame() {
    let (mut pusher, pushed) = pushed(16_000, PUSH_AHEAD_MAX).unwrap();
    let mut world = all_kinds(pushed);
    pusher.push(&[100; 3_000]);
    pass(&mut world, 1_000);
    let (samples, mut left) = ([100; 317], 0);
    let before = CALLS.get();
    for _ in 0..100 {
        // One push in 20 ms is one sample late in a hundred: 317 for 320.
        pusher.push(&samples);
        left += pass(&mut world, 20);
    }
    assert_eq!(CALLS.get() - before, 0);
    // Five that hear something in each frame, and descriptions of noise.
    assert!((505..=508).contains(&left), "{left}");
    assert!(pusher.underrun_samples() > 0);
}
