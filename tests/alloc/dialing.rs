//! Keys allocate nothing, per packet or per frame, once one has been pressed.

use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::engine::*;
use crosspoint::wire::event::{EventCode, TelephoneEvent};
use smallvec::smallvec;

use crate::CALLS;
use crate::engine_support::*;

pub(crate) fn world(kind: Option<EventType>, via: Via) -> World {
    let mut world = World::two_party(Privacy::Transparent);
    let codec = CodecConfig::new(CodecKind::Pcmu);
    for ix in [A, B] {
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
    }
    let events = PayloadType {
        pt: 101,
        out: 101,
        clock_hz: 8_000,
        silence: None,
        event: true,
        via,
    };
    world.apply(Change::PayloadTypes(A, smallvec![events]));
    world.apply(Change::EventType(B, kind));
    world
}

/// Lets `ms` pass; packets that left.
pub(crate) fn pass(world: &mut World, ms: u64) -> u64 {
    let (until, mut left) = (world.now + Duration::from_millis(ms), 0);
    loop {
        while let Some(output) = world.call.poll_output() {
            left += u64::from(matches!(output, Output::Media { .. }));
        }
        let Some(at) = world.call.poll_timeout().filter(|at| *at <= until) else {
            break;
        };
        world.now = world.now.max(at);
        world.call.handle_timeout(world.now);
    }
    world.now = until;
    left
}

/// A presses a key for 200 ms and talks for another 300; packets that B was sent.
fn press(world: &mut World, seq: &mut u16, at: &mut u32) -> u64 {
    let mut left = 0;
    for n in 0..25_u16 {
        let event = TelephoneEvent {
            code: EventCode(4),
            end: n >= 10,
            volume: 10,
            duration: 160 * (n + 1).min(10),
        };
        let mut packet = [0x55; 172];
        let payload = event.to_bytes();
        let (pt, len, timestamp) = match n {
            0..12 => (101, 16, *at),
            _ => (0, 172, *at + u32::from(n) * 160),
        };
        packet[..2].copy_from_slice(&[0x80, pt]);
        packet[2..4].copy_from_slice(&seq.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
        if pt == 101 {
            packet[12..16].copy_from_slice(&payload);
        }
        let (now, from) = (world.now, home(A));
        let call = &mut world.call;
        let verdict = call.handle_packet(now, A, Component::Rtp, from, &mut packet[..len]);
        left += u64::from(matches!(verdict, Verdict::Forward { .. }));
        left += pass(world, 20);
        *seq = seq.wrapping_add(1);
    }
    *at += 25 * 160;
    left
}

#[test]
fn no_allocation_per_key_after_warm_up() {
    let accepts = |clock_hz| {
        let pt = 101;
        Some(EventType { pt, clock_hz })
    };
    for (kind, via) in [
        (accepts(8_000), Via::Relay),
        (accepts(48_000), Via::Rescaled { to_hz: 48_000 }),
        (None, Via::Tones),
    ] {
        let mut world = world(kind, via);
        let (mut seq, mut at) = (0, 0);
        for _ in 0..10 {
            press(&mut world, &mut seq, &mut at);
        }
        // What is made for a press is given back behind it: a mouth, with its encoder.
        let before = CALLS.get();
        let left: u64 = (0..40).map(|_| press(&mut world, &mut seq, &mut at)).sum();
        let per_press = (CALLS.get() - before) / 40;
        let most = if via == Via::Tones { MOUTH } else { 0 };
        assert!(per_press <= most, "{via:?}: {per_press} per press");
        assert!(left >= 900, "{via:?}: {left}");
    }
}

/// Allocations of a mouth that is opened: itself, its encoder, its listener's ear and decoder.
const MOUTH: u64 = 12;

#[test]
fn no_allocation_per_packet_of_a_string_of_digits() {
    for kind in [
        None,
        Some(EventType {
            pt: 101,
            clock_hz: 8_000,
        }),
    ] {
        let mut world = world(kind, Via::Relay);
        let usual = Duration::from_millis(100);
        for warm in [true, false] {
            let digits = SendDigits {
                id: DialId(1),
                to: B,
                steps: DialStep::parse("0123456789*#ABCDw12", usual).unwrap(),
                pause: usual,
                volume: 8,
            };
            world.apply(Change::SendDigits(Box::new(digits)));
            pass(&mut world, 150);
            let before = CALLS.get();
            let left = pass(&mut world, 3_000);
            assert!(warm || CALLS.get() == before, "{kind:?}");
            assert!(left > 100, "{left}");
            pass(&mut world, 3_000);
        }
    }
}
