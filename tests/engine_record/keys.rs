//! Keys on tapes: when they were pressed, and never which.

use std::f32::consts::TAU;

use crosspoint::audio::g711;

use super::*;

/// A packet comes when what it tells of is over.
const PACKET_MS: u64 = 20;

/// What a party presses, and says between.
struct Presser {
    ix: StreamIx,
    seq: u16,
}

impl Presser {
    fn new(ix: StreamIx) -> Self {
        Self { ix, seq: 0 }
    }

    fn quiet(&mut self, world: &mut World, count: u16) {
        for _ in 0..count {
            self.seq += 1;
            let _taken_or_not = world.hear(self.ix, &numbered(self.ix, 0, self.seq, &[0xff; 160]));
            world.wait(20);
        }
    }

    /// A telephone-event of 100 ms.
    fn tell(&mut self, world: &mut World, code: u8) {
        let began = self.seq + 1;
        for n in 1..=6_u16 {
            self.seq += 1;
            let duration = (160 * n.min(5)).to_be_bytes();
            let end = u8::from(n > 5) << 7;
            let mut packet = numbered(
                self.ix,
                EVENT_PT,
                self.seq,
                &[code, end | 10, duration[0], duration[1]],
            );
            packet[4..8].copy_from_slice(&(u32::from(began) * 160).to_be_bytes());
            let _relayed_or_not = world.hear(self.ix, &packet);
            world.wait(20);
        }
        self.quiet(world, 10);
    }

    /// The key 5, or #, in its sound for 100 ms.
    fn sound(&mut self, world: &mut World, hz: [f32; 2]) {
        for packet in 0..5_u16 {
            let sample = |n: u16| {
                let seconds = f32::from(160 * packet + n) / 8_000.0;
                let sum: f32 = hz.iter().map(|hz| (TAU * hz * seconds).sin()).sum();
                g711::linear_to_ulaw((6_000.0 * sum) as i16)
            };
            let payload: Vec<u8> = (0..160).map(sample).collect();
            self.seq += 1;
            let _taken_or_not = world.hear(self.ix, &numbered(self.ix, 0, self.seq, &payload));
            world.wait(20);
        }
        self.quiet(world, 20);
    }
}

const FIVE_HZ: [f32; 2] = [770.0, 1_336.0];
const HASH_HZ: [f32; 2] = [941.0, 1_477.0];

/// What is on the tape besides packets.
fn keys(tape: &mut TapeReader) -> Vec<Read> {
    let all = read(tape).into_iter();
    all.filter(|read| !matches!(read, Read::Packet(_)))
        .collect()
}

fn hash() -> Keys {
    Keys::from_text("#").unwrap()
}

fn digits_told(world: &World) -> usize {
    let told = |kind: &&EventKind| matches!(kind, EventKind::DigitBegan(_));
    world.events().iter().filter(told).count()
}

#[test]
fn presses_are_told_by_their_times_and_the_last_key_as_the_end() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record_until(&mut world, 1, &[(B, Side::In), (A, Side::In)], hash());
    let mut presser = Presser::new(A);
    presser.quiet(&mut world, 5);
    presser.tell(&mut world, 5);
    let (down, up) = (Read::Press(80, 1, None), Read::Press(200, 1, Some(100)));
    assert_eq!(keys(&mut tape), [down, up]);
    let at = world.ms() - PACKET_MS;
    presser.tell(&mut world, 11); // #
    let ended = [
        Read::Press(at, 1, None),
        Read::Finish(at, 1),
        Read::Press(at + 120, 1, Some(100)),
    ];
    assert_eq!(keys(&mut tape), ended);
    // A flash is no key.
    presser.tell(&mut world, 16);
    assert_eq!(keys(&mut tape), []);
}

#[test]
fn only_a_recording_that_a_key_ends_listens_to_tones() {
    let mut world = pair(Privacy::Transparent);
    let mut plain = record(&mut world, 1, &[(A, Side::In)]);
    let mut presser = Presser::new(A);
    presser.quiet(&mut world, 5);
    presser.sound(&mut world, FIVE_HZ);
    assert_eq!(keys(&mut plain), []);
    assert_eq!(digits_told(&world), 0, "nothing is decoded for it");
    let mut ends = record_until(&mut world, 2, &[(A, Side::In)], hash());
    presser.quiet(&mut world, 5);
    let began = world.ms() - PACKET_MS;
    presser.sound(&mut world, HASH_HZ);
    let told = keys(&mut ends);
    let [
        Read::Press(down, 0, None),
        Read::Finish(at, 0),
        Read::Press(_, 0, Some(lasted)),
    ] = told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(down, at);
    assert!(down.abs_diff(began) <= 10, "{down} for {began}");
    assert!(lasted.abs_diff(100) <= 15, "{lasted}");
    world.apply(Change::StopRecord(RecorderId(2)));
    let before = digits_told(&world);
    presser.sound(&mut world, FIVE_HZ);
    assert_eq!(digits_told(&world), before, "and none listens any more");
    world.apply(Change::StopRecord(RecorderId(1)));
    presser.tell(&mut world, 5);
    assert_eq!(digits_told(&world), before, "nor to events");
}

#[test]
fn what_is_sent_to_a_party_is_not_listened_to() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record_until(&mut world, 1, &[(A, Side::Out), (B, Side::Out)], hash());
    let mut presser = Presser::new(A);
    presser.tell(&mut world, 11);
    presser.sound(&mut world, HASH_HZ);
    assert_eq!((keys(&mut tape), digits_told(&world)), (Vec::new(), 0));
}

#[test]
fn who_listens_by_command_goes_on_after_a_recording() {
    let mut world = pair(Privacy::Transparent);
    let events = DigitsConfig {
        telephone_events: true,
        in_band: false,
    };
    world.apply(Change::Digits(A, Some(events)));
    let _tape = record_until(&mut world, 1, &[(A, Side::In)], hash());
    world.apply(Change::StopRecord(RecorderId(1)));
    let mut presser = Presser::new(A);
    presser.tell(&mut world, 5);
    presser.sound(&mut world, FIVE_HZ);
    assert_eq!(digits_told(&world), 1);
}

#[test]
fn a_blocked_party_ends_nothing_and_a_silenced_one_may() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record_until(&mut world, 1, &[(A, Side::In)], hash());
    let mut presser = Presser::new(A);
    presser.quiet(&mut world, 5);
    world.apply(Change::Block(A, true));
    presser.tell(&mut world, 11);
    assert_eq!(keys(&mut tape), []);
    world.apply(Change::Block(A, false));
    world.apply(Change::Silence(A, true));
    presser.tell(&mut world, 11);
    let told = keys(&mut tape);
    assert!(matches!(told[1], Read::Finish(..)), "{told:?}");
}

#[test]
fn a_full_tape_still_says_that_the_key_was_pressed() {
    let mut world = pair(Privacy::Transparent);
    let (writer, mut reader) = tape(1, world.start);
    world.apply(begin(1, hash(), writer));
    world.apply(on_track(1, 0, Some((A, Side::In))));
    let mut presser = Presser::new(A);
    presser.quiet(&mut world, 200);
    let at = world.ms() - PACKET_MS;
    presser.tell(&mut world, 11);
    presser.tell(&mut world, 11);
    world.apply(Change::StopRecord(RecorderId(1)));
    let told = keys(&mut reader);
    let finish = Read::Finish(at, 0);
    assert_eq!(told.iter().filter(|read| **read == finish).count(), 1);
    assert_eq!(told.last(), Some(&Read::End(world.ms())));
}

/// Keys in its sound must not begin a mask that listens to telephone-events alone.
#[test]
fn a_recording_lets_a_mask_see_no_more_keys_than_before() {
    let mut sent = Vec::new();
    for recorded in [false, true] {
        let mut world = pair(Privacy::Transparent);
        let triggers = Triggers {
            id: 1,
            start: Some(TriggerKeys::parse("5").unwrap()),
            mode: MaskMode::Absorb,
            end: None,
            end_time: None,
            end_count: None,
            after: MaskMode::Pass,
        };
        let mask = Mask {
            in_band: false,
            triggers: Some(Box::new(triggers)),
            ..Mask::of(MaskMode::Pass)
        };
        world.apply(Change::Mask(A, Some(Box::new(mask))));
        let tape = recorded.then(|| record_until(&mut world, 1, &[(A, Side::In)], hash()));
        let mut presser = Presser::new(A);
        presser.sound(&mut world, FIVE_HZ);
        presser.tell(&mut world, 5);
        presser.tell(&mut world, 11);
        if let Some(mut tape) = tape {
            let told = keys(&mut tape);
            assert!(told.iter().any(|read| matches!(read, Read::Finish(..))));
        }
        sent.push(world.received(B));
    }
    assert_eq!(sent[0], sent[1]);
}
