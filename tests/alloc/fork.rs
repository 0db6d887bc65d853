//! A caller and its ringing branches allocate nothing per packet once warm.

use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::engine::*;

use crate::engine_support::*;
use crate::{CALLS, LIVE};

/// A caller and four branches, of which one is lost by a tenth and one is silent.
fn branches(policy: EarlyMedia) -> World {
    let mut world = World::new(Timers::default());
    let codec = CodecConfig::new(CodecKind::Pcmu);
    for n in 0..5 {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
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
        world.apply(Change::Voice(ix, Box::new(voice)));
        if n > 0 {
            let to = Some(A);
            world.apply(Change::Link { from: ix, to });
        }
    }
    let listener = A;
    world.apply(Change::EarlyMedia { listener, policy });
    world
}

/// All branches send for `count` frames.
fn ring(world: &mut World, first: u16, count: u16) {
    let mut packet = [0; 172];
    for n in first..first + count {
        for ix in (1..5).map(StreamIx) {
            packet.fill(if ix.0 == 1 { 0xff } else { 0x9a });
            packet[..4].copy_from_slice(&[0x80, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
            packet[4..8].copy_from_slice(&(u32::from(n) * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&u32::from(ix.0).to_be_bytes());
            if ix.0 != 2 || n % 10 > 0 {
                let from = home(ix);
                let call = &mut world.call;
                call.handle_packet(world.now, ix, Component::Rtp, from, &mut packet);
            }
        }
        let until = world.now + Duration::from_millis(20);
        while let Some(at) = world.call.poll_timeout().filter(|at| *at <= until) {
            world.now = world.now.max(at);
            world.call.handle_timeout(world.now);
            while world.call.poll_output().is_some() {}
        }
        world.now = until;
    }
}

#[test]
fn no_allocation_per_packet_of_a_fork_after_warm_up() {
    let tone = crosspoint::audio::tone::TonePlan::parse("400").unwrap();
    for policy in [
        EarlyMedia::First,
        EarlyMedia::Latest,
        EarlyMedia::Mix,
        EarlyMedia::Ringback(tone),
    ] {
        let mut world = branches(policy.clone());
        ring(&mut world, 0, 500);
        let before = CALLS.get();
        ring(&mut world, 500, 1_000);
        assert_eq!(CALLS.get() - before, 0, "{policy:?}");
    }
}

#[test]
fn a_branch_takes_less_than_twelve_kilobytes() {
    let tone = crosspoint::audio::tone::TonePlan::parse("400").unwrap();
    let mut world = branches(EarlyMedia::Ringback(tone));
    let before = LIVE.get();
    ring(&mut world, 0, 100);
    let taken = (LIVE.get() - before) / 4;
    assert!(taken < 12 * 1_024, "{taken} bytes per branch");
}
