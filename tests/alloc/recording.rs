//! Recording allocates nothing, per packet or per frame, whether somebody reads or nobody does.

use crosspoint::engine::*;

use crate::digits::{EVENT_PT, press, tones};
use crate::engine_support::tapes::record_until;
use crate::engine_support::*;
use crate::tap::{listened_to, speak};
use crate::voice::{converse, voices};
use crate::{CALLS, feed};

/// Both sides of these streams, each on a track of its own, until a key is pressed.
fn record_all(world: &mut World, streams: u16) -> TapeReader {
    let sides = (0..streams).flat_map(|n| [Side::In, Side::Out].map(|side| (StreamIx(n), side)));
    let tracks: Vec<_> = sides.collect();
    record_until(world, 1, &tracks, Keys::ALL)
}

/// Packets that waited.
fn read(tape: &mut TapeReader) -> usize {
    let mut packets = 0;
    while let Some(entry) = tape.next() {
        packets += usize::from(matches!(entry, Entry::Packet(_)));
    }
    packets
}

#[test]
fn no_allocation_per_packet_that_is_recorded() {
    for privacy in [Privacy::Transparent, Privacy::Masked] {
        let mut world = World::two_party(privacy);
        let mut tape = record_all(&mut world, 2);
        feed(&mut world, 0, 200, home(A));
        read(&mut tape);
        let before = CALLS.get();
        let mut packets = 0;
        for part in 0..50 {
            feed(&mut world, 200 + part * 20, 20, home(A));
            packets += read(&mut tape);
        }
        assert_eq!(CALLS.get() - before, 0, "{privacy:?}");
        assert_eq!(packets, 4_000);
        // More than a tape holds, of which the rest is lost.
        feed(&mut world, 1_200, 5_000, home(A));
        assert_eq!(CALLS.get() - before, 0, "{privacy:?}");
        let packets = read(&mut tape);
        assert!((1_000..2_000).contains(&packets), "{packets}");
    }
}

#[test]
fn no_allocation_per_frame_that_is_recorded() {
    let mut world = voices();
    let mut tape = record_all(&mut world, 7);
    converse(&mut world, 0, 500);
    read(&mut tape);
    let before = CALLS.get();
    let mut packets = 0;
    for part in 0..20 {
        converse(&mut world, 500 + part * 50, 50);
        packets += read(&mut tape);
    }
    assert_eq!(CALLS.get() - before, 0);
    assert!(packets >= 13_500, "{packets} both ways, with 3 % loss");
}

#[test]
fn no_allocation_per_copy_that_is_recorded() {
    let mut world = listened_to();
    let mut tape = record_all(&mut world, 5);
    speak(&mut world, 0, 500);
    read(&mut tape);
    let before = CALLS.get();
    let mut packets = 0;
    for part in 0..10 {
        speak(&mut world, 500 + part * 50, 50);
        packets += read(&mut tape);
    }
    assert_eq!(CALLS.get() - before, 0);
    // What A says, what B is sent, and three listeners.
    assert!((2_490..2_510).contains(&packets), "{packets}");
}

#[test]
fn no_allocation_per_key_that_is_recorded() {
    let mut world = World::two_party(Privacy::Transparent);
    let kind = |pt, event: bool| PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: (!event).then_some(0xff),
        event,
        via: Via::Relay,
    };
    let types = [kind(0, false), kind(EVENT_PT, true)].into_iter().collect();
    world.apply(Change::PayloadTypes(A, types));
    let mut tape = record_all(&mut world, 2);
    let said = std::array::from_fn(|n| tones(n as u32 * 160));
    press(&mut world, &said, 0, 1_000);
    read(&mut tape);
    let before = CALLS.get();
    let mut ends = 0;
    for part in 0..20 {
        press(&mut world, &said, 1_000 + part * 50, 50);
        while let Some(entry) = tape.next() {
            ends += usize::from(matches!(entry, Entry::Finish { .. }));
        }
    }
    assert_eq!(CALLS.get() - before, 0);
    assert!((95..=110).contains(&ends), "{ends}");
}
