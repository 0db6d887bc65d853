//! Tones that become telephone-events allocate nothing, once one has.

use std::f32::consts::TAU;

use crosspoint::audio::g711;
use crosspoint::engine::*;

use crate::CALLS;
use crate::dialing::{pass, world};
use crate::engine_support::*;

/// Packets of one round: a key for 100 ms, and 400 ms of quiet.
const ROUND: u16 = 25;

/// A says a round; packets that B was sent.
fn say(world: &mut World, seq: &mut u16) -> u64 {
    let mut left = 0;
    for n in 0..ROUND {
        let mut packet = [0xff; 172];
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&seq.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(*seq) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
        for (at, octet) in packet[12..].iter_mut().enumerate().filter(|_| n < 5) {
            let at = f32::from(n * 160) + at as f32;
            let wave = |hz: f32| (TAU * hz * at / 8_000.0).sin();
            *octet = g711::linear_to_ulaw((5_000.0 * (wave(770.0) + wave(1_336.0))) as i16);
        }
        let (now, from) = (world.now, home(A));
        let verdict = world
            .call
            .handle_packet(now, A, Component::Rtp, from, &mut packet);
        left += u64::from(matches!(verdict, Verdict::Forward { .. }));
        left += pass(world, 20);
        *seq = seq.wrapping_add(1);
    }
    left
}

#[test]
fn no_allocation_per_tone_after_warm_up() {
    let kind = EventType {
        pt: 101,
        clock_hz: 8_000,
    };
    let mut world = world(Some(kind), Via::Relay);
    let audio = PayloadType {
        pt: 0,
        out: 0,
        clock_hz: 8_000,
        silence: Some(0xff),
        event: false,
        via: Via::Relay,
    };
    world.apply(Change::PayloadTypes(A, [audio].into_iter().collect()));
    let mask = Mask::of(MaskMode::Convert);
    world.apply(Change::Mask(A, Some(Box::new(mask))));
    let mut seq = 0;
    (0..10).for_each(|_| {
        say(&mut world, &mut seq);
    });
    let sent = |world: &World| world.call.report(world.now).streams[1].rtp_out.packets;
    let (events, before) = (sent(&world), CALLS.get());
    let left: u64 = (0..40).map(|_| say(&mut world, &mut seq)).sum();
    assert_eq!(CALLS.get() - before, 0);
    assert!(left >= 800, "{left}");
    assert!(sent(&world) > events);
}
