//! Nothing on the packet path allocates once it is warm, and a call is small.
#![allow(
    unsafe_code,
    clippy::cast_possible_truncation,
    reason = "a counting global allocator is unsafe by its trait; test data is built from counts"
)]

mod codec;
mod converting;
mod dialing;
mod digits;
#[path = "../engine_support/mod.rs"]
mod engine_support;
mod fork;
mod gather;
mod masking;
mod playing;
mod playout;
mod recording;
mod tap;
mod voice;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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
