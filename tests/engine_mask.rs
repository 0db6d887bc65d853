//! Keys that the others are not to get.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

#[path = "engine_mask/attacks.rs"]
mod attacks;
#[path = "engine_mask/beginnings.rs"]
mod beginnings;
mod engine_support;
#[path = "engine_mask/presses.rs"]
mod presses;
#[path = "engine_mask/recordings.rs"]
mod recordings;
#[path = "engine_mask/triggers.rs"]
mod triggers;

use crosspoint::engine::*;
use engine_support::{A, B, World, rtp};

const EVENT_PT: u8 = 101;

/// A payload type that passes as it is.
fn kind(pt: u8, event: bool) -> PayloadType {
    PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: (!event).then_some(0xff),
        event,
        via: Via::Relay,
    }
}

/// Two parties of G.711, and one who listens to the first.
fn tapped() -> (World, StreamIx) {
    let mut world = World::two_party(Privacy::Transparent);
    let types = [kind(0, false), kind(EVENT_PT, true)];
    for ix in [A, B] {
        world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
    }
    let ear = world.add(2, Payload::Rtp, Privacy::Transparent);
    world.apply(Change::Remote(ear, engine_support::remote(ear)));
    world.apply(Change::Tap(Box::new(Tap {
        from: A,
        to: ear,
        types: types.into_iter().collect(),
    })));
    (world, ear)
}

fn events_only(mode: MaskMode) -> Option<Box<Mask>> {
    Some(Box::new(Mask {
        in_band: false,
        ..Mask::of(mode)
    }))
}

/// Five packets of speech, a press of `code` in six packets, and five of speech.
fn press(world: &mut World, seq: &mut u16, clock: &mut u32, code: u8) {
    let mut say = |world: &mut World, pt: u8, timestamp: u32, payload: &[u8]| {
        *seq += 1;
        let packet = rtp(pt, *seq, timestamp, 77, payload);
        let _taken_or_not = world.hear(A, &packet);
        world.wait(20);
    };
    for _ in 0..5 {
        say(world, 0, *clock, &[0x55; 160]);
        *clock += 160;
    }
    let began = *clock;
    for n in 1..=6_u8 {
        let end = u8::from(n > 3) << 7;
        say(world, EVENT_PT, began, &[code, end | 10, 0, 50 * n.min(3)]);
        *clock += 160;
    }
    for _ in 0..5 {
        say(world, 0, *clock, &[0x55; 160]);
        *clock += 160;
    }
}

/// Codes of the events that a stream's party was sent, one per packet, after its numbers were
/// looked at: sequence +1 each, timestamps that do not run backwards.
fn codes(world: &World, ix: StreamIx) -> Vec<u8> {
    let sent = world.received(ix);
    for pair in sent.windows(2) {
        let [(_, a), (_, b)] = pair else {
            unreachable!()
        };
        assert_eq!(b.seq(), a.seq().wrapping_add(1), "no number is missing");
        assert!(b.timestamp().wrapping_sub(a.timestamp()) < 1 << 31);
        assert_eq!(a.ssrc(), b.ssrc());
    }
    let events = sent.iter().filter(|(_, sent)| sent.pt() == EVENT_PT);
    events.map(|(_, sent)| sent.bytes[12]).collect()
}

#[test]
fn nothing_of_an_event_reaches_the_others() {
    let tone = MaskMode::Tone {
        hz: [400].into_iter().collect(),
        level: -10,
    };
    for mode in [MaskMode::Absorb, MaskMode::Silence, tone] {
        let (mut world, ear) = tapped();
        let (mut seq, mut clock) = (0, 0);
        press(&mut world, &mut seq, &mut clock, 1);
        world.apply(Change::Mask(A, events_only(mode.clone())));
        press(&mut world, &mut seq, &mut clock, 2);
        world.apply(Change::Mask(A, events_only(MaskMode::Pass)));
        press(&mut world, &mut seq, &mut clock, 3);
        world.apply(Change::Mask(A, events_only(mode)));
        press(&mut world, &mut seq, &mut clock, 4);
        world.apply(Change::Mask(A, None));
        press(&mut world, &mut seq, &mut clock, 5);
        let expected = [[1; 6], [3; 6], [5; 6]].concat();
        assert_eq!(codes(&world, B), expected);
        assert_eq!(codes(&world, ear), expected);
        let dropped = world.stream(A).drops[DropReason::Masked as usize];
        assert_eq!(dropped, 12);
    }
}

#[test]
fn what_stands_for_a_key_is_the_same_in_all_its_packets() {
    let (mut world, ear) = tapped();
    let (mut seq, mut clock) = (0, 0);
    world.apply(Change::Mask(A, events_only(MaskMode::ZeroDigit)));
    for code in [7, 11] {
        press(&mut world, &mut seq, &mut clock, code);
    }
    assert_eq!(codes(&world, B), [0; 12]);
    world.apply(Change::Mask(A, events_only(MaskMode::RandomDigit)));
    for _ in 0..40 {
        press(&mut world, &mut seq, &mut clock, 7);
    }
    let heard = codes(&world, B).split_off(12);
    assert_eq!(heard, codes(&world, ear).split_off(12), "all hear the same");
    let mut drawn = Vec::new();
    for press in heard.chunks(6) {
        assert!(press.iter().all(|code| *code == press[0] && *code < 10));
        drawn.push(press[0]);
    }
    drawn.sort_unstable();
    drawn.dedup();
    assert!(drawn.len() > 6, "forty presses of one key: {drawn:?}");
}

#[test]
fn what_is_no_key_passes_and_other_parties_are_not_masked() {
    let (mut world, _) = tapped();
    let (mut seq, mut clock) = (0, 0);
    world.apply(Change::Mask(B, events_only(MaskMode::Absorb)));
    press(&mut world, &mut seq, &mut clock, 9);
    world.apply(Change::Mask(A, events_only(MaskMode::Absorb)));
    press(&mut world, &mut seq, &mut clock, 16); // a hook flash
    assert_eq!(codes(&world, B), [[9; 6], [16; 6]].concat());
}

#[test]
fn a_mask_that_cannot_be_is_refused_and_changes_nothing() {
    let (mut world, _) = tapped();
    let mut mask = Mask::of(MaskMode::Absorb);
    mask.look_back_ms = 10;
    let refused = Change::Mask(A, Some(Box::new(mask)));
    let why = MaskError::LookBack(10);
    let error = world.call.apply(world.now, refused);
    assert_eq!(error, Err(ChangeError::Mask(A, why)));
    let (mut seq, mut clock) = (0, 0);
    press(&mut world, &mut seq, &mut clock, 9);
    assert_eq!(codes(&world, B), [9; 6]);
}
