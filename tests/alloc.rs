//! The packet path allocates nothing once a call is warm, and a call is small.
#![allow(
    unsafe_code,
    clippy::cast_possible_truncation,
    reason = "a counting global allocator is unsafe by its trait; test data is built from counts"
)]

mod engine_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use engine_support::*;

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every method hands its arguments unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        let _ = LIVE.try_with(|live| live.set(live.get() + layout.size() as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - layout.size() as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Feeds `count` packets each way and some RTCP, without the harness in between.
fn feed(world: &mut World, first: u16, count: u16, from_a: std::net::SocketAddr) -> u64 {
    let mut template = [0xff; 172];
    template[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    // A sender report with one block.
    let mut report = [0; 52];
    report[..8].copy_from_slice(&[0x81, 200, 0, 12, 0, 0, 0, 1]);
    let (mut packet, mut rtcp_packet) = (template, report);
    let mut forwarded = 0;
    for n in 0..count {
        for (ix, from) in [(A, from_a), (B, home(B))] {
            packet.copy_from_slice(&template);
            packet[2..4].copy_from_slice(&first.wrapping_add(n).to_be_bytes());
            packet[11] = ix.0 as u8;
            let verdict =
                world
                    .call
                    .handle_packet(world.now, ix, Component::Rtp, from, &mut packet);
            forwarded += u64::from(matches!(verdict, Verdict::Forward { .. }));
            rtcp_packet.copy_from_slice(&report);
            let component = Component::Rtcp;
            world
                .call
                .handle_packet(world.now, ix, component, rtcp_home(ix), &mut rtcp_packet);
        }
        world.now += std::time::Duration::from_millis(20);
        world.call.handle_timeout(world.now);
        while let Some(output) = world.call.poll_output() {
            drop(output);
        }
    }
    forwarded
}

#[test]
fn no_allocation_per_packet_after_warm_up() {
    for privacy in [Privacy::Transparent, Privacy::Masked] {
        let mut world = World::two_party(privacy);
        feed(&mut world, 0, 200, home(A));
        let before = CALLS.get();
        let forwarded = feed(&mut world, 200, 5_000, home(A));
        assert_eq!(CALLS.get() - before, 0, "{privacy:?}");
        assert_eq!(forwarded, 10_000);
    }
}

#[test]
fn refused_packets_do_not_allocate_either() {
    let mut world = World::two_party(Privacy::Transparent);
    feed(&mut world, 0, 50, home(A));
    let stranger = addr("203.0.113.1:1");
    feed(&mut world, 50, 50, stranger);
    let before = CALLS.get();
    feed(&mut world, 100, 1_000, stranger);
    assert_eq!(CALLS.get() - before, 0);
}

#[test]
fn a_two_party_call_takes_less_than_four_kilobytes() {
    let before = LIVE.get();
    let mut world = World::two_party(Privacy::Transparent);
    feed(&mut world, 0, 500, home(A));
    let taken = LIVE.get() - before + size_of::<Call>() as i64;
    assert!(taken < 4_096, "{taken} bytes");
}

/// A linked pair whose packets are recoded, a bridge of five, and a leg that is played to.
fn voices() -> World {
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
        id: PlayId(1),
        listener: B,
        sound: Sound::Clip(Arc::new(music)),
        times: None,
        limit: None,
        start: Duration::ZERO,
        gain: Gain::UNITY,
        overlay: true,
    })));
    world
}

/// Everybody talks for `count` frames, with losses and jitter; frames that left.
fn converse(world: &mut World, first: u16, count: u16) -> u64 {
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
