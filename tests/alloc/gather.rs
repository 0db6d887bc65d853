//! Keys that are gathered, or kept for later, cost no allocation.

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
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

/// So many packets of one party, with the frames in between.
fn talk(world: &mut World, first: u16, count: u16) {
    for seq in first..first + count {
        let mut bytes = [0xff; 172];
        bytes[..2].copy_from_slice(&[0x80, 0]);
        bytes[2..4].copy_from_slice(&seq.to_be_bytes());
        bytes[4..8].copy_from_slice(&(u32::from(seq) * 160).to_be_bytes());
        bytes[8..12].copy_from_slice(&7_u32.to_be_bytes());
        let (until, from) = (world.now + Duration::from_millis(20), home(A));
        let call = &mut world.call;
        call.handle_packet(world.now, A, Component::Rtp, from, &mut bytes);
        while let Some(at) = call.poll_timeout().filter(|at| *at <= until) {
            call.handle_timeout(at);
            while call.poll_output().is_some() {}
        }
        world.now = until;
    }
}

/// What is mixed for a member whose packets leave behind its bridge's waits in memory that was made
/// as its prompt began.
#[test]
fn a_prompt_in_step_allocates_nothing_in_a_bridge() {
    for phase_ms in [3, 11, 17] {
        let voice = voice_of(0, CodecConfig::new(CodecKind::Pcmu), 20);
        let audio = PayloadType {
            pt: 0,
            out: 0,
            clock_hz: 8_000,
            silence: None,
            event: false,
            via: Via::Relay,
        };
        let mut world = parties(3, &voice, &[audio]);
        let members = (0..3).map(|n| Member {
            stream: StreamIx(n),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        });
        let bridge = BridgeConfig {
            members: members.collect(),
            ..BridgeConfig::default()
        };
        world.apply(Change::TypeAhead(A, true));
        world.apply(Change::Bridge(BridgeIx(0), Box::new(bridge)));
        world.wait(phase_ms);
        let clip = Arc::new(Clip::new(vec![9_000; 8_000], 8_000).unwrap());
        let prompt = || [Item::from(Sound::Clip(Arc::clone(&clip)))];
        // It has heard something before.
        let play = Play::new(PlayId(1), A, prompt());
        world.apply(Change::Play(Box::new(play)));
        talk(&mut world, 0, 100);
        world.apply(Change::Gather(Box::new(GatherConfig {
            id: GatherId(1),
            stream: A,
            rules: GatherRules::default(),
            prompts: [prompt().into_iter().collect()].into_iter().collect(),
            gain: Gain::UNITY,
            layer: Layer::Alone,
        })));
        let before = CALLS.get();
        talk(&mut world, 100, 100);
        assert_eq!(CALLS.get() - before, 0, "{phase_ms} ms");
    }
}
