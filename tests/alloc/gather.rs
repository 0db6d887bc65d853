//! Keys that are gathered, or kept for later, cost no allocation.

use std::time::Duration;

use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use crosspoint::wire::event::{EventCode, TelephoneEvent};

use crate::CALLS;
use crate::engine_support::*;

/// Presses keys of two packets each, and looks at nothing that is told.
fn press(world: &mut World, first: u16, keys: u16) {
    for key in first..first + keys {
        for packet in 0..2 {
            let event = TelephoneEvent {
                code: EventCode((key % 10) as u8),
                end: packet == 1,
                volume: 10,
                duration: 160 * (packet + 1),
            };
            let timestamp = u32::from(key) * 1_600;
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&[0x80, 101]);
            bytes[2..4].copy_from_slice(&(2 * key + packet).to_be_bytes());
            bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
            bytes[8..12].copy_from_slice(&7_u32.to_be_bytes());
            bytes[12..].copy_from_slice(&event.to_bytes());
            let (now, from) = (world.now, home(A));
            let call = &mut world.call;
            call.handle_packet(now, A, Component::Rtp, from, &mut bytes);
            while call.poll_output().is_some() {}
            world.now += Duration::from_millis(100);
            if call.poll_timeout().is_some_and(|at| at <= world.now) {
                call.handle_timeout(world.now);
            }
        }
    }
}

#[test]
fn keys_are_gathered_without_an_allocation() {
    let mut world = World::new(Timers::default());
    world.add(0, Payload::Rtp, Privacy::Masked);
    world.apply(Change::Remote(A, remote(A)));
    let event = PayloadType {
        pt: 101,
        out: 101,
        clock_hz: 8_000,
        silence: None,
        event: true,
        via: Via::Relay,
    };
    world.apply(Change::PayloadTypes(A, [event].into_iter().collect()));
    world.apply(Change::TypeAhead(A, true));
    press(&mut world, 0, 100);
    let before = CALLS.get();
    press(&mut world, 100, 100);
    assert_eq!(CALLS.get() - before, 0, "kept for later");
    let rules = GatherRules {
        first_digit: GATHER_WAIT_MAX,
        accepted: Keys::NONE,
        ..GatherRules::default()
    };
    world.apply(Change::Gather(Box::new(GatherConfig {
        id: GatherId(1),
        stream: A,
        rules,
        prompts: [Default::default()].into_iter().collect(),
        gain: Gain::UNITY,
        layer: Layer::Alone,
    })));
    let before = CALLS.get();
    press(&mut world, 200, 100);
    assert_eq!(CALLS.get() - before, 0, "gathered");
}
