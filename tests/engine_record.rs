//! What recordings of a call hold: what parties say and are sent, and nothing that they may not.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]

#[path = "engine_record/ends.rs"]
mod ends;
mod engine_support;
#[path = "engine_record/keys.rs"]
mod keys;
#[path = "engine_record/limits.rs"]
mod limits;
#[path = "engine_record/sent.rs"]
mod sent;

use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::engine::*;
use engine_support::tapes::*;
use engine_support::*;

const C: StreamIx = StreamIx(2);
const EVENT_PT: u8 = 101;

/// A payload type of 8 kHz that passes as it is.
fn kind(pt: u8) -> PayloadType {
    PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: [(0, 0xff), (8, 0xd5)]
            .into_iter()
            .find_map(|(law, octet)| (law == pt).then_some(octet)),
        event: pt == EVENT_PT,
        via: Via::Relay,
    }
}

fn types(ix: StreamIx, pts: &[u8]) -> Change {
    Change::PayloadTypes(ix, pts.iter().copied().map(kind).collect())
}

fn link(from: StreamIx, to: Option<StreamIx>) -> Change {
    Change::Link { from, to }
}

fn voice() -> Box<Voice> {
    let (pt, codec) = (0, CodecConfig::new(CodecKind::Pcmu));
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

/// So many parties of G.711 with telephone-events, none of them linked.
fn parties(count: u16, privacy: Privacy) -> World {
    let mut world = World::new(Timers::default());
    for n in 0..count {
        let ix = world.add(n, Payload::Rtp, privacy);
        world.apply(Change::Remote(ix, remote(ix)));
        world.apply(Change::Voice(ix, voice()));
        world.apply(types(ix, &[0, 8, EVENT_PT]));
    }
    world
}

/// Two that hear each other.
fn pair(privacy: Privacy) -> World {
    let mut world = parties(2, privacy);
    world.apply(link(A, Some(B)));
    world.apply(link(B, Some(A)));
    world
}

/// A packet of `ix` with this number.
fn numbered(ix: StreamIx, pt: u8, n: u16, payload: &[u8]) -> Vec<u8> {
    rtp(pt, n, u32::from(n) * 160, 700 + u32::from(ix.0), payload)
}

/// Speech of `ix` with this number.
fn speech(ix: StreamIx, n: u16) -> Vec<u8> {
    numbered(ix, 0, n, &[0x80 | n as u8; 160])
}

/// Packets of a telephone-event whose payload has an octet that is nowhere else.
fn pressed(ix: StreamIx, n: u16) -> Vec<u8> {
    numbered(ix, EVENT_PT, n, &[5, 10, 0, 160])
}

fn rtps(packets: &[Copied]) -> Vec<Vec<u8>> {
    packets.iter().map(|copied| copied.rtp.clone()).collect()
}

#[test]
fn a_relayed_packet_is_on_the_tape_as_it_came_and_as_it_went() {
    for privacy in [Privacy::Transparent, Privacy::Masked] {
        let mut world = pair(privacy);
        let mut tape = record(&mut world, 1, &[(A, Side::In), (B, Side::Out)]);
        let mut expected = [Vec::new(), Vec::new()];
        for n in 0..10 {
            world.wait(17);
            let mut packet = speech(A, n);
            if n == 3 {
                packet[0] |= 0x11; // an extension and one CSRC
                packet.splice(12..12, [0, 0, 0, 99, 0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
            }
            let sent = world.rtp(A, &packet).expect("relayed").bytes;
            let at_ms = world.ms();
            for (track, rtp) in [packet, sent].into_iter().enumerate() {
                expected[track].push(Copied {
                    at_ms,
                    track: track as u8,
                    event: false,
                    veiled: false,
                    silenced: false,
                    rtp,
                });
            }
        }
        world.talk(B, 88, 900, 5);
        let all = read(&mut tape);
        assert_eq!([0, 1].map(|track| packets(&all, track)), expected);
        assert_eq!(all.len(), 20, "and nothing else: {all:?}");
        let stripped = expected[1][3].rtp.len() == 172;
        assert_eq!(stripped, privacy == Privacy::Masked);
    }
}

#[test]
fn what_a_party_may_not_say_is_not_recorded_and_who_hears_it_does_not_matter() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    let hold = |stream, sends, receives| Change::Direction {
        stream,
        sends,
        receives,
    };
    let (whole, silence, nothing) = (Some((172, false)), Some((12, true)), None);
    let changes = [
        (Change::Block(A, true), nothing),
        (Change::Block(A, false), whole),
        (Change::Silence(A, true), silence),
        (Change::Silence(A, false), whole),
        (hold(A, false, true), nothing),
        (hold(A, true, true), whole),
        (hold(B, true, false), whole),
        (Change::Close(B), whole),
        (link(A, None), whole),
        (link(A, Some(A)), whole),
    ];
    for (n, (change, expected)) in changes.into_iter().enumerate() {
        let name = format!("{change:?}");
        world.apply(change);
        let packet = speech(A, n as u16);
        let _wherever = world.hear(A, &packet);
        world.wait(20);
        let all = packets(&read(&mut tape), 0);
        let got = all.first().map(|one| (one.rtp.len(), one.silenced));
        assert_eq!(got, expected, "{name}");
        for one in &all {
            assert_eq!(one.rtp, packet[..one.rtp.len()], "{name}");
        }
    }
}

#[test]
fn strangers_stragglers_and_candidates_are_not_recorded() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    world.talk(A, 77, 500, 3);
    let stranger = addr("203.0.113.5:9000");
    for n in 503..520 {
        let packet = rtp(0, n, 0, 66, &[0; 160]);
        let _refused = world.receive(A, Component::Rtp, stranger, &packet);
    }
    let _suspect = world.rtp(A, &rtp(0, 40_000, 0, 77, &[0; 160]));
    let _noise = world.rtp(A, &[0x80; 5]);
    assert_eq!(packets(&read(&mut tape), 0).len(), 3);
}

#[test]
fn a_telephone_event_leaves_its_header_alone_masked_or_not() {
    let mask = |mode| {
        Some(Box::new(Mask {
            in_band: false,
            ..Mask::of(mode)
        }))
    };
    for mask in [None, mask(MaskMode::Absorb), mask(MaskMode::ZeroDigit)] {
        let mut world = pair(Privacy::Transparent);
        world.apply(Change::Mask(A, mask));
        let mut tape = record(&mut world, 1, &[(A, Side::In), (B, Side::Out)]);
        let plain = pressed(A, 7);
        let mut long = pressed(A, 8);
        long[0] |= 0x30; // an extension and padding
        long.splice(12..12, [0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
        long.extend([0, 0, 0, 4]);
        for packet in [&plain, &long] {
            let _dropped_or_not = world.hear(A, packet);
        }
        let mut header = long[..20].to_vec();
        header[0] &= !0x20;
        let all = read(&mut tape);
        let said = packets(&all, 0);
        assert_eq!(rtps(&said), [plain[..12].to_vec(), header]);
        assert!(said.iter().all(|one| one.event && !one.silenced));
        let sent = packets(&all, 1);
        assert_eq!(sent.len(), world.received(B).len());
        assert!(sent.iter().all(|one| one.event && one.rtp.len() <= 20));
    }
}

#[test]
fn sound_in_which_keys_are_hidden_says_so() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    let mask = |mode| Change::Mask(A, Some(Box::new(Mask::of(mode))));
    let events_alone = Mask {
        in_band: false,
        ..Mask::of(MaskMode::Absorb)
    };
    let changes = [
        (mask(MaskMode::Absorb), true),
        (mask(MaskMode::Pass), false),
        (mask(MaskMode::Silence), true),
        // Who only listens hears what was said.
        (mask(MaskMode::Convert), false),
        (mask(MaskMode::RandomDigit), true),
        (Change::Mask(A, Some(Box::new(events_alone))), false),
        (mask(MaskMode::ZeroDigit), true),
        (Change::Mask(A, None), false),
    ];
    for (n, (change, veiled)) in changes.into_iter().enumerate() {
        let n = n as u16 * 4;
        let name = format!("{change:?}");
        world.apply(change);
        // Of G.711, of a type that nobody negotiated, and of a telephone-event.
        let said = [speech(A, n), numbered(A, 9, n + 1, &[7; 160])];
        for packet in said.iter().chain([&pressed(A, n + 2)]) {
            let _taken_or_not = world.hear(A, packet);
        }
        world.wait(80);
        let all = packets(&read(&mut tape), 0);
        let all = all.iter().map(|one| (one.rtp.clone(), one.veiled));
        let sound: Vec<_> = all.filter(|(rtp, _)| rtp.len() > 12).collect();
        let [plain, unlisted] = said.map(|packet| (packet, veiled));
        let expected = match veiled {
            true => vec![plain],
            false => vec![plain, unlisted],
        };
        assert_eq!(sound, expected, "{name}");
    }
}

#[test]
fn every_branch_of_a_fork_is_recorded_whichever_is_heard() {
    let mut world = parties(4, Privacy::Masked);
    let branches = [B, C, StreamIx(3)];
    for branch in branches {
        world.apply(link(branch, Some(A)));
    }
    let mut tape = record(&mut world, 1, &branches.map(|ix| (ix, Side::In)));
    for n in 0..20 {
        for branch in branches {
            let _heard_or_not = world.hear(branch, &speech(branch, n));
        }
        world.wait(20);
    }
    let all = read(&mut tape);
    for (track, ix) in branches.into_iter().enumerate() {
        let expected: Vec<_> = (0..20).map(|n| speech(ix, n)).collect();
        assert_eq!(rtps(&packets(&all, track as u8)), expected);
    }
    assert_eq!(world.received(A).len(), 20, "the caller hears one");
}

#[test]
fn times_are_since_the_origin_wherever_that_is() {
    for (before_ms, expected_ms) in [(-3_000, 3_500), (200, 300), (900, 0)] {
        let mut world = World::at(
            std::time::Instant::now() + Duration::from_secs(10),
            Timers::default(),
        );
        world.add(0, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(A, remote(A)));
        let origin = match u64::try_from(before_ms) {
            Ok(after) => world.start + Duration::from_millis(after),
            Err(_) => world.start - Duration::from_secs(3),
        };
        let (writer, mut tape) = tape(1, origin);
        assert_eq!(tape.origin(), origin);
        world.apply(begin(1, Keys::NONE, writer));
        world.apply(on_track(1, 0, Some((A, Side::In))));
        world.wait(500);
        let _no_sink = world.hear(A, &speech(A, 1));
        assert_eq!(packets(&read(&mut tape), 0)[0].at_ms, expected_ms);
    }
}
