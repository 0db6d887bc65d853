//! Keys that begin and end masking: what that takes was made when they were named.

use crosspoint::engine::*;
use crosspoint::wire::event::{EventCode, TelephoneEvent};

use crate::CALLS;
use crate::dialing::{pass, world};
use crate::engine_support::*;

const EVENT_PT: u8 = 101;

/// A presses a key for 100 ms, and talks for 400; packets that left.
fn press(world: &mut World, seq: &mut u16, code: u8) -> u64 {
    let (mut left, began) = (0, u32::from(*seq) * 160);
    for n in 0..25_u16 {
        let event = TelephoneEvent {
            code: EventCode(code),
            end: n >= 4,
            volume: 10,
            duration: 160 * (n + 1).min(5),
        };
        let mut packet = [0x55; 172];
        let (pt, len, timestamp) = match n {
            0..7 => (EVENT_PT, 16, began),
            _ => (0, 172, u32::from(*seq) * 160),
        };
        packet[..2].copy_from_slice(&[0x80, pt]);
        packet[2..4].copy_from_slice(&seq.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
        if pt == EVENT_PT {
            packet[12..16].copy_from_slice(&event.to_bytes());
        }
        let (now, from) = (world.now, home(A));
        let call = &mut world.call;
        let _sent = call.handle_packet(now, A, Component::Rtp, from, &mut packet[..len]);
        left += pass(world, 20);
        *seq = seq.wrapping_add(1);
    }
    left
}

/// What A says is decoded for B; 4 begins to mask its keys, and two keys later it ends.
fn triggered() -> World {
    let mut world = world(None, Via::Relay);
    let kind = |pt: u8, event: bool, via: Via| PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: (!event).then_some(0xff),
        event,
        via,
    };
    let types = [
        kind(0, false, Via::Decode),
        kind(EVENT_PT, true, Via::Relay),
    ];
    world.apply(Change::PayloadTypes(A, types.into_iter().collect()));
    let tone = MaskMode::Tone {
        hz: (1..=MASK_TONES_MAX as u16).map(|n| 300 * n).collect(),
        level: -10,
    };
    let triggers = Triggers {
        id: 1,
        start: Some(TriggerKeys::parse("4").expect("a key")),
        mode: tone,
        end: None,
        end_time: None,
        end_count: Some(2),
        after: MaskMode::Pass,
    };
    let mask = Mask {
        triggers: Some(Box::new(triggers)),
        ..Mask::of(MaskMode::Pass)
    };
    world.apply(Change::Mask(A, Some(Box::new(mask))));
    world
}

#[test]
fn no_allocation_where_a_key_begins_or_ends_masking() {
    let (mut world, mut seq) = (triggered(), 0);
    for _ in 0..10 {
        press(&mut world, &mut seq, 7);
    }
    let masked = |world: &World| {
        let drops = &world.call.report(world.now).streams[0].drops;
        drops[DropReason::Masked as usize]
    };
    let (hidden, before) = (masked(&world), CALLS.get());
    let mut left = 0;
    for code in [4, 1, 2, 7, 7, 4, 3, 4, 7] {
        left += press(&mut world, &mut seq, code);
    }
    assert_eq!(CALLS.get() - before, 0);
    // Two keys each time, of seven packets.
    assert_eq!(masked(&world) - hidden, 28);
    assert!(left > 100, "{left}");
}
