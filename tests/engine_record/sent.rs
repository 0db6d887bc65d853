//! Everything that a party is sent is on the tape, however it was made, and nothing else.

use std::sync::Arc;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::mix::Gain;

use super::*;

/// What a party received is on the tape, in order, at its moment; keys have their header alone.
#[track_caller]
fn assert_sent(world: &mut World, ix: StreamIx, tape: &mut TapeReader) -> Vec<Copied> {
    let read = packets(&read(tape), 0);
    let received = world.received(ix);
    let on_tape = |(at_ms, sent): (u64, Sent)| {
        let event = sent.pt() == EVENT_PT;
        let len = if event { 12 } else { sent.bytes.len() };
        Copied {
            at_ms,
            track: 0,
            event,
            veiled: false,
            silenced: false,
            rtp: sent.bytes[..len].to_vec(),
        }
    };
    let expected: Vec<_> = received.into_iter().map(on_tape).collect();
    assert_eq!(read.len(), expected.len());
    assert_eq!(read, expected);
    assert!(!expected.is_empty());
    world.heard.clear();
    read
}

fn talk(world: &mut World, who: &[StreamIx], first: u16, count: u16) {
    for n in first..first + count {
        for ix in who {
            let _relayed_or_taken = world.hear(*ix, &speech(*ix, n));
        }
        world.wait(20);
    }
}

fn clip(ms: usize) -> Sound {
    Sound::Clip(Arc::new(Clip::new(vec![3_000; ms * 8], 8_000).unwrap()))
}

fn bridge(members: &[StreamIx]) -> Change {
    let member = |stream: &StreamIx| Member {
        stream: *stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    let config = BridgeConfig {
        members: members.iter().map(member).collect(),
        ..BridgeConfig::default()
    };
    Change::Bridge(BridgeIx(0), Box::new(config))
}

#[test]
fn relayed_decoded_played_and_echoed() {
    let mut world = pair(Privacy::Masked);
    let mut tape = record(&mut world, 1, &[(B, Side::Out)]);
    talk(&mut world, &[A], 0, 10);
    assert_sent(&mut world, B, &mut tape);
    let decoded = PayloadType {
        via: Via::Decode,
        ..kind(0)
    };
    let both = [decoded, kind(EVENT_PT)].into_iter().collect();
    world.apply(Change::PayloadTypes(A, both));
    talk(&mut world, &[A], 10, 20);
    assert_sent(&mut world, B, &mut tape);
    world.apply(Change::Play(Box::new(Play::new(PlayId(1), B, [clip(300)]))));
    talk(&mut world, &[A], 30, 30);
    assert_sent(&mut world, B, &mut tape);
    world.apply(link(A, None));
    world.apply(link(B, Some(B)));
    talk(&mut world, &[B], 60, 10);
    assert_sent(&mut world, B, &mut tape);
}

#[test]
fn keys_of_others_and_our_own_without_saying_which() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(B, Side::Out)]);
    for n in 0..6 {
        let _relayed = world.hear(A, &pressed(A, n));
        world.wait(20);
    }
    let read = assert_sent(&mut world, B, &mut tape);
    assert!(read.iter().all(|one| one.event));
    let steps = DialStep::parse("12#", Duration::from_millis(100)).unwrap();
    world.apply(Change::SendDigits(Box::new(SendDigits {
        id: DialId(1),
        to: B,
        steps,
        pause: Duration::from_millis(60),
        volume: 8,
    })));
    world.wait(1_000);
    let read = assert_sent(&mut world, B, &mut tape);
    assert!(read.len() > 15 && read.iter().all(|one| one.event));
}

#[test]
fn noise_that_is_described() {
    let mut world = pair(Privacy::Masked);
    let noise = Idle::ComfortNoise { pt: 13, level: 60 };
    world.apply(Change::Voice(
        B,
        Box::new(Voice {
            idle: noise,
            ..*voice()
        }),
    ));
    let mut tape = record(&mut world, 1, &[(B, Side::Out)]);
    world.apply(Change::Play(Box::new(Play::new(PlayId(1), B, [clip(100)]))));
    world.wait(500);
    let read = assert_sent(&mut world, B, &mut tape);
    assert!(read.iter().any(|one| one.rtp[1] & 0x7f == 13));
}

#[test]
fn mixes_and_what_passes_in_a_bridge() {
    let mut world = parties(3, Privacy::Masked);
    let all = [A, B, C];
    let mut tapes = all.map(|ix| record(&mut world, ix.0.into(), &[(ix, Side::Out)]));
    for (first, members) in [(0, &all[..]), (50, &all[..2]), (150, &all[..])] {
        world.apply(bridge(members));
        world.heard.clear();
        for tape in &mut tapes {
            read(tape);
        }
        for part in 0..4 {
            // A tape holds more than a second for each of its tracks.
            talk(&mut world, &all, first + part * 12, 12);
            let heard = world.heard.clone();
            for ix in members {
                world.heard.clone_from(&heard);
                assert_sent(&mut world, *ix, &mut tapes[usize::from(ix.0)]);
            }
        }
    }
}

#[test]
fn copies_for_a_listener() {
    for via in [Via::Relay, Via::Decode] {
        let mut world = pair(Privacy::Transparent);
        let ear = world.add(2, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ear, remote(ear)));
        world.apply(Change::Voice(ear, voice()));
        let sound = PayloadType { via, ..kind(0) };
        world.apply(Change::Tap(Box::new(Tap {
            from: A,
            to: ear,
            types: [sound, kind(EVENT_PT)].into_iter().collect(),
        })));
        let mut tape = record(&mut world, 1, &[(ear, Side::Out)]);
        talk(&mut world, &[A, B], 0, 10);
        for n in 10..16 {
            let mut packet = pressed(A, n);
            packet[0] |= 0x01; // one CSRC, which a masked copy has not
            packet.splice(12..12, [0, 0, 0, 99]);
            let _relayed = world.hear(A, &packet);
            world.wait(20);
        }
        talk(&mut world, &[A, B], 16, 10);
        let read = assert_sent(&mut world, ear, &mut tape);
        assert_eq!(read.iter().filter(|one| one.event).count(), 6);
    }
}
