//! Legs that are decoded, mixed and played to allocate nothing per frame once warm.

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;

use crate::CALLS;
use crate::engine_support::*;

/// A linked pair whose packets are recoded, a bridge of five, and a leg that is played to.
pub(crate) fn voices() -> World {
    let mut world = World::two_party(Privacy::Masked);
    let codec = CodecConfig::new(CodecKind::Pcmu);
    let voice = Voice {
        hears: [Heard { pt: 0, codec }].into_iter().collect(),
        speaks: Some(Spoken {
            pt: 0,
            codec,
            ptime_ms: 20,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    };
    let decoded = PayloadType {
        pt: 0,
        out: 0,
        clock_hz: 8_000,
        silence: Some(0xff),
        event: false,
        via: Via::Decode,
    };
    for n in 2..7 {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
    }
    for n in 0..7 {
        let ix = StreamIx(n);
        world.apply(Change::Voice(ix, Box::new(voice.clone())));
        world.apply(Change::PayloadTypes(ix, [decoded].into_iter().collect()));
    }
    let member = |n| Member {
        stream: StreamIx(n),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    let bridge = BridgeConfig {
        members: (2..7).map(member).collect(),
        edges: Vec::new(),
        loudest: 3,
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(bridge)));
    let music = Clip::new(vec![1_000; 8_000], 8_000).unwrap();
    world.apply(Change::Play(Box::new(Play {
        times: None,
        layer: Layer::Over,
        ..Play::new(PlayId(1), B, [Sound::Clip(Arc::new(music))])
    })));
    world
}

/// Everybody talks for `count` frames, with losses and jitter; frames that left.
pub(crate) fn converse(world: &mut World, first: u16, count: u16) -> u64 {
    let mut random = fastrand::Rng::with_seed(7);
    let mut packet = [0; 172];
    let mut left = 0;
    for n in first..first + count {
        for ix in (0..7).map(StreamIx) {
            packet.fill(0x9a ^ n.to_be_bytes()[1]);
            packet[..4].copy_from_slice(&[0x80, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
            packet[4..8].copy_from_slice(&(u32::from(n) * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&u32::from(ix.0).to_be_bytes());
            if random.u32(..100) >= 3 {
                let from = home(ix);
                world
                    .call
                    .handle_packet(world.now, ix, Component::Rtp, from, &mut packet);
            }
        }
        let until = world.now + Duration::from_millis(20);
        while let Some(at) = world.call.poll_timeout().filter(|at| *at <= until) {
            world.now = world.now.max(at);
            world.call.handle_timeout(world.now);
            while let Some(output) = world.call.poll_output() {
                left += u64::from(matches!(output, Output::Media { .. }));
            }
        }
        world.now = until;
    }
    left
}

#[test]
fn no_allocation_per_frame_after_warm_up() {
    let mut world = voices();
    converse(&mut world, 0, 500);
    let before = CALLS.get();
    let left = converse(&mut world, 500, 1_000);
    assert_eq!(CALLS.get() - before, 0);
    assert!(left >= 6_900, "seven legs hear {left} frames in 20 s");
}
