//! The keys of a party, as they arrive in a call: every press is told once.

mod doubles;
#[path = "../engine_support/mod.rs"]
mod engine_support;
#[path = "../support/key_tones.rs"]
mod key_tones;
mod times;
mod tones;

use std::net::SocketAddr;

use crosspoint::engine::*;
use crosspoint::wire::event::{EventCode, TelephoneEvent};
use engine_support::*;

const EVENTS: DigitsConfig = DigitsConfig {
    telephone_events: true,
    in_band: false,
};
const EVENT_PT: u8 = 101;

/// A press as a listener was told of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Heard {
    at_ms: u64,
    stream: StreamIx,
    began: bool,
    number: u32,
    key: u8,
    source: DigitSource,
    ms: u64,
}

/// What was told since the last time this was asked.
fn told(world: &mut World) -> Vec<Heard> {
    let outputs = std::mem::take(&mut world.outputs);
    let start = world.start;
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap();
    let event = |output| match output {
        Output::Event(event) => Some(event),
        _ => None,
    };
    let heard = |event: Event| {
        let (began, press) = match event.kind {
            EventKind::DigitBegan(press) => (true, press),
            EventKind::DigitEnded(press) => (false, press),
            _ => panic!("not a press"),
        };
        Heard {
            at_ms: ms(event.at - start),
            stream: event.stream,
            began,
            number: press.number,
            key: press.code.0,
            source: press.source,
            ms: ms(press.duration),
        }
    };
    outputs.into_iter().filter_map(event).map(heard).collect()
}

/// The keys of complete presses: each began once and ended once, numbered without gaps.
fn keys(told: &[Heard], stream: StreamIx, first: u32) -> Vec<u8> {
    let of = |began| {
        let mine = told.iter().filter(move |heard| heard.stream == stream);
        mine.filter(move |heard| heard.began == began)
    };
    let began: Vec<_> = of(true).map(|heard| (heard.number, heard.key)).collect();
    let mut ended: Vec<_> = of(false).map(|heard| (heard.number, heard.key)).collect();
    ended.sort_unstable();
    assert_eq!(began, ended, "{told:?}");
    assert!(
        began
            .iter()
            .zip(first..)
            .all(|((number, _), n)| *number == n)
    );
    began.into_iter().map(|(_, key)| key).collect()
}

/// A phone that talks and presses keys, on one clock.
struct Phone {
    ix: StreamIx,
    from: SocketAddr,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    event_pt: u8,
    event_hz: u32,
}

impl Phone {
    fn new(ix: StreamIx) -> Self {
        Self {
            ix,
            from: home(ix),
            ssrc: 0x1000 + u32::from(ix.0),
            seq: 500,
            timestamp: 160_000,
            event_pt: EVENT_PT,
            event_hz: 8_000,
        }
    }

    fn send(&mut self, world: &mut World, pt: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let pt = pt | u8::from(marker) << 7;
        let mut packet = rtp(pt, self.seq, timestamp, self.ssrc, payload);
        self.seq = self.seq.wrapping_add(1);
        let at = world.now;
        world
            .call
            .handle_packet(at, self.ix, Component::Rtp, self.from, &mut packet);
        world.drain();
    }

    /// Audio for so many packets of 20 ms.
    fn talk(&mut self, world: &mut World, packets: u32) {
        for _ in 0..packets {
            self.send(world, 0, false, self.timestamp, &[0xff; 160]);
            self.timestamp = self.timestamp.wrapping_add(160);
            world.wait(20);
        }
    }

    /// One key for so many packets of 20 ms, and its end three times.
    fn press(&mut self, world: &mut World, key: u8, packets: u16) {
        let began = self.timestamp;
        let tick = u16::try_from(self.event_hz / 50).unwrap();
        for n in 1..=packets {
            self.event(world, began, key, n * tick, false, n == 1);
            world.wait(20);
        }
        for _ in 0..3 {
            self.event(world, began, key, packets * tick, true, false);
        }
        let ticks = u32::from(packets) * u32::from(tick);
        self.timestamp = began.wrapping_add(ticks);
    }

    fn event(
        &mut self,
        world: &mut World,
        began: u32,
        key: u8,
        duration: u16,
        end: bool,
        marker: bool,
    ) {
        let event = TelephoneEvent {
            code: EventCode(key),
            end,
            volume: 10,
            duration,
        };
        self.send(world, self.event_pt, marker, began, &event.to_bytes());
    }
}

fn types(event_pt: u8, event_hz: u32) -> smallvec::SmallVec<[PayloadType; 4]> {
    let kind = |pt, clock_hz, event: bool| PayloadType {
        pt,
        out: pt,
        clock_hz,
        silence: (!event).then_some(0xff),
        event,
        via: Via::Relay,
    };
    smallvec::smallvec![kind(0, 8_000, false), kind(event_pt, event_hz, true)]
}

/// Two parties with telephone-events, whose keys are listened to.
fn world(config: DigitsConfig) -> World {
    let mut world = World::two_party(Privacy::Transparent);
    for ix in [A, B] {
        world.apply(Change::PayloadTypes(ix, types(EVENT_PT, 8_000)));
        world.apply(Change::Digits(ix, Some(config)));
    }
    world
}

#[test]
fn every_press_of_both_parties_is_told_once() {
    let mut world = world(EVENTS);
    let (mut a, mut b) = (Phone::new(A), Phone::new(B));
    a.talk(&mut world, 5);
    b.talk(&mut world, 5);
    for key in [1, 1, 10, 15] {
        a.press(&mut world, key, 3);
        a.talk(&mut world, 2);
    }
    b.press(&mut world, 16, 5);
    world.wait(1_000);
    let told = told(&mut world);
    assert_eq!(keys(&told, A, 0), [1, 1, 10, 15]);
    assert_eq!(keys(&told, B, 0), [16]);
    assert!(told.iter().all(|t| t.source == DigitSource::TelephoneEvent));
    let durations: Vec<_> = told.iter().filter(|t| !t.began).map(|t| t.ms).collect();
    assert_eq!(durations, [60, 60, 60, 60, 100]);
}

#[test]
fn nobody_is_told_where_nobody_listens() {
    let mut world = world(EVENTS);
    world.apply(Change::Digits(A, None));
    world.apply(Change::Digits(B, Some(DigitsConfig::default())));
    for ix in [A, B] {
        let mut phone = Phone::new(ix);
        phone.talk(&mut world, 3);
        phone.press(&mut world, 5, 3);
    }
    world.wait(1_000);
    assert_eq!(told(&mut world), []);
}

#[test]
fn strangers_and_blocked_parties_press_nothing() {
    let mut world = world(EVENTS);
    let mut a = Phone::new(A);
    a.talk(&mut world, 5);
    let mut stranger = Phone::new(A);
    stranger.from = addr("203.0.113.9:9");
    stranger.press(&mut world, 9, 3);
    world.apply(Change::Block(A, true));
    a.press(&mut world, 1, 3);
    world.apply(Change::Block(A, false));
    let held = |sends| Change::Direction {
        stream: A,
        sends,
        receives: true,
    };
    world.apply(held(false));
    a.press(&mut world, 2, 3);
    world.apply(held(true));
    world.apply(Change::Silence(A, true));
    a.talk(&mut world, 5);
    a.press(&mut world, 3, 3);
    world.wait(1_000);
    // Who is silenced may still press a key to be heard again.
    assert_eq!(keys(&told(&mut world), A, 0), [3]);
}

#[test]
fn a_key_that_never_comes_up_ends_by_itself_or_with_its_leg() {
    let mut world = world(EVENTS);
    let mut a = Phone::new(A);
    a.talk(&mut world, 2);
    let began = a.timestamp;
    a.event(&mut world, began, 4, 160, false, true);
    world.wait(20);
    a.event(&mut world, began, 4, 320, false, false);
    world.wait(5_000);
    let first = told(&mut world);
    assert_eq!(keys(&first, A, 0), [4]);
    assert!((20..=100).contains(&first[1].ms), "{first:?}");
    for (number, end) in [(1, Change::Digits(A, None)), (2, Change::Close(A))] {
        let again = Change::Digits(A, Some(EVENTS));
        if number == 2 {
            world.apply(again);
        }
        let began = a.timestamp + 8_000 * number;
        a.event(&mut world, began, 5, 160, false, true);
        world.wait(20);
        world.apply(end);
        let told = told(&mut world);
        assert_eq!(told.iter().map(|t| t.key).collect::<Vec<_>>(), [5, 5]);
        assert_eq!((told[0].began, told[1].began), (true, false));
    }
}

#[test]
fn a_new_source_and_another_payload_type_change_nothing() {
    let mut world = world(EVENTS);
    let mut a = Phone::new(A);
    a.talk(&mut world, 3);
    a.press(&mut world, 1, 3);
    (a.ssrc, a.seq) = (0xbeef, 40_000);
    a.press(&mut world, 2, 3);
    // A re-offer names them anew, and another clock.
    world.apply(Change::PayloadTypes(A, types(96, 48_000)));
    (a.event_pt, a.event_hz) = (96, 48_000);
    a.talk(&mut world, 3);
    a.press(&mut world, 3, 3);
    // What was asked again is the same.
    world.apply(Change::Digits(A, Some(EVENTS)));
    a.talk(&mut world, 3);
    a.press(&mut world, 3, 3);
    world.wait(1_000);
    let told = told(&mut world);
    assert_eq!(keys(&told, A, 0), [1, 2, 3, 3]);
    assert!(told.iter().filter(|t| !t.began).all(|t| t.ms == 60));
}

#[test]
fn only_rtp_has_keys() {
    let mut world = World::new(Timers::default());
    let ix = world.add(0, Payload::Opaque, Privacy::Transparent);
    let refused = world
        .call
        .apply(world.now, Change::Digits(ix, Some(EVENTS)));
    assert_eq!(refused, Err(ChangeError::Digits(ix)));
    let nobody = Change::Digits(StreamIx(7), Some(EVENTS));
    let refused = world.call.apply(world.now, nobody);
    assert_eq!(refused, Err(ChangeError::UnknownStream(StreamIx(7))));
}

#[test]
fn calls_that_become_one_keep_their_presses() {
    let mut world = world(EVENTS);
    let mut other = World::at(world.start, Timers::default());
    let leg = other.add(0, Payload::Rtp, Privacy::Transparent);
    other.apply(Change::Remote(leg, remote(leg)));
    other.apply(Change::PayloadTypes(leg, types(EVENT_PT, 8_000)));
    other.apply(Change::Digits(leg, Some(EVENTS)));
    let mut phone = Phone::new(leg);
    phone.talk(&mut other, 2);
    phone.press(&mut other, 7, 3);
    let began = phone.timestamp;
    phone.event(&mut other, began, 8, 160, false, true);
    assert_eq!(told(&mut other).len(), 3);
    world.now = other.now;
    let first = StreamIx(2);
    world
        .call
        .absorb(world.now, &mut other.call, first, 2)
        .unwrap();
    world.drain();
    phone.ix = first;
    phone.event(&mut world, began, 8, 160, true, false);
    let told = told(&mut world);
    assert_eq!(told.len(), 1, "{told:?}");
    let end = told[0];
    assert_eq!(
        (end.stream, end.number, end.key, end.began),
        (first, 1, 8, false)
    );
}

#[test]
fn every_branch_of_a_fork_is_heard_and_ends_with_its_leg() {
    let mut world = world(EVENTS);
    let other = world.add(2, Payload::Rtp, Privacy::Transparent);
    world.apply(Change::Remote(other, remote(other)));
    world.apply(Change::PayloadTypes(other, types(EVENT_PT, 8_000)));
    world.apply(Change::Digits(other, Some(EVENTS)));
    world.apply(Change::Link {
        from: other,
        to: Some(A),
    });
    let (mut b, mut c) = (Phone::new(B), Phone::new(other));
    for phone in [&mut b, &mut c] {
        phone.talk(&mut world, 3);
        phone.press(&mut world, 6, 3);
    }
    // B is chosen; what the loser presses is still its own, until it is gone.
    world.apply(Change::Source {
        listener: A,
        source: Some(B),
    });
    c.press(&mut world, 7, 3);
    let began = c.timestamp;
    c.event(&mut world, began, 8, 160, false, true);
    world.apply(Change::Close(other));
    c.event(&mut world, began, 8, 320, true, false);
    world.wait(1_000);
    let told = told(&mut world);
    assert_eq!(keys(&told, B, 0), [6]);
    assert_eq!(keys(&told, other, 0), [6, 7, 8]);
}

#[test]
fn a_call_that_ends_ends_its_presses() {
    let timers = Timers {
        limit: Some(std::time::Duration::from_secs(1)),
        ..Timers::default()
    };
    let mut world = World::new(timers);
    let ix = world.add(0, Payload::Rtp, Privacy::Transparent);
    world.apply(Change::Remote(ix, remote(ix)));
    world.apply(Change::PayloadTypes(ix, types(EVENT_PT, 8_000)));
    world.apply(Change::Digits(ix, Some(EVENTS)));
    let mut phone = Phone::new(ix);
    phone.talk(&mut world, 49);
    let began = phone.timestamp;
    phone.event(&mut world, began, 3, 160, false, true);
    world.wait(100);
    let told = told(&mut world);
    assert_eq!(keys(&told, ix, 0), [3]);
    assert_eq!(told[1].at_ms, 1_000);
}

#[test]
fn an_attacker_presses_no_more_keys_than_fingers_can() {
    let mut world = world(EVENTS);
    let mut a = Phone::new(A);
    a.talk(&mut world, 5);
    // A new event, with its end, in every millisecond of two seconds.
    for n in 0..2_000 {
        let key = u8::try_from(n % 16).unwrap();
        a.timestamp = a.timestamp.wrapping_add(8);
        a.event(&mut world, a.timestamp, key, 8, true, true);
        world.wait(1);
    }
    world.wait(1_000);
    let heard = keys(&told(&mut world), A, 0).len();
    // The last one within 1,999 ms of the first.
    assert_eq!(heard, 64 + 49);
    let ignored = world.stream(A).presses_ignored;
    assert_eq!(ignored as usize, 2_000 - heard);
    assert_eq!(world.call.take_presses_ignored(), u64::from(ignored));
    // Who presses keys as people do is heard again.
    a.talk(&mut world, 200);
    a.press(&mut world, 5, 4);
    world.wait(1_000);
    assert_eq!(keys(&told(&mut world), A, 113), [5]);
    world.apply(Change::Digits(A, None));
    let counted = world.stream(A).presses_ignored;
    assert_eq!(counted, ignored, "nobody listens any more");
}
