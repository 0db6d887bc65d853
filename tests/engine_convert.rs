//! Keys in the audio of one party that reach another one as telephone-events, or as tones of ours,
//! once each; in virtual time.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;
#[path = "engine_convert/talk.rs"]
mod talk;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use engine_support::{A, B, World, voice_of};
use talk::{By, EVENT_PT, Press, Received, Talker, assert_keys, presses, pt_of, talk};

const C: StreamIx = StreamIx(2);
const ALL: [CodecKind; 3] = [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722];

/// Most milliseconds of a tone that may be heard.
const LEAK_MS: usize = 20;

/// Most milliseconds that a press may be longer or shorter than it was.
const LENGTH_MS: f32 = 20.0;

fn voice(kind: CodecKind) -> Box<Voice> {
    let (pt, codec) = (pt_of(kind), CodecConfig::new(kind));
    voice_of(pt, codec, 20)
}

/// How audio of one codec gets to a party of another.
fn way(from: CodecKind, to: CodecKind) -> PayloadType {
    let via = match (from, to) {
        _ if from == to => Via::Relay,
        (CodecKind::Pcmu, CodecKind::Pcma) => Via::Companding(Companding::UlawToAlaw),
        (CodecKind::Pcma, CodecKind::Pcmu) => Via::Companding(Companding::AlawToUlaw),
        _ => Via::Decode,
    };
    PayloadType {
        pt: pt_of(from),
        out: pt_of(to),
        clock_hz: from.clock_hz(),
        silence: None,
        event: false,
        via,
    }
}

fn event_way(via: Via) -> PayloadType {
    PayloadType {
        pt: EVENT_PT,
        out: EVENT_PT,
        clock_hz: 8_000,
        silence: None,
        event: true,
        via,
    }
}

/// Two parties of these codecs: A's keys are converted for B, who accepts telephone-events or not.
fn world(kinds: [CodecKind; 2], accepts: bool) -> World {
    let mut world = World::two_party(Privacy::Transparent);
    let [a, b] = kinds;
    let events = if accepts { Via::Relay } else { Via::Tones };
    let out = |kind: PayloadType, out| PayloadType { out, ..kind };
    let tones = out(event_way(Via::Tones), pt_of(a));
    let to_b = match accepts {
        true => event_way(events),
        false => out(event_way(events), pt_of(b)),
    };
    world.apply(Change::PayloadTypes(
        A,
        [way(a, b), to_b].into_iter().collect(),
    ));
    world.apply(Change::PayloadTypes(
        B,
        [way(b, a), tones].into_iter().collect(),
    ));
    for (ix, kind) in [(A, a), (B, b)] {
        world.apply(Change::Voice(ix, voice(kind)));
    }
    let kind = EventType {
        pt: EVENT_PT,
        clock_hz: 8_000,
    };
    world.apply(Change::EventType(A, None));
    world.apply(Change::EventType(B, accepts.then_some(kind)));
    world.apply(convert(A));
    world
}

fn convert(ix: StreamIx) -> Change {
    Change::Mask(ix, Some(Box::new(Mask::of(MaskMode::Convert))))
}

fn pass(ix: StreamIx) -> Change {
    Change::Mask(ix, None)
}

/// Packets until all of it was said and heard.
fn packets(presses: &[Press]) -> usize {
    presses
        .last()
        .map_or(100, |last| ((last.at_ms + last.ms) / 20.0) as usize + 50)
}

/// A bridge of these, who all hear each other.
fn bridge(world: &mut World, members: &[StreamIx]) {
    let members = members.iter().map(|stream| Member {
        stream: *stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    });
    let config = BridgeConfig {
        members: members.collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

fn press(key: char, at_ms: f32, ms: f32, by: By) -> Press {
    Press { key, at_ms, ms, by }
}

#[test]
fn tones_that_pass_are_heard_and_found() {
    let mut world = world([CodecKind::Pcmu; 2], true);
    world.apply(pass(A));
    let pressed = presses(1, 10, 60..=300);
    talk(
        &mut world,
        &mut [Talker::new(A, CodecKind::Pcmu, pressed.clone())],
        packets(&pressed),
    );
    let heard = Received::of(&world, B, CodecKind::Pcmu);
    assert_keys(&heard.tones(), &pressed, LENGTH_MS, "what passes");
    assert!(heard.leaks_ms() >= 60, "{} ms", heard.leaks_ms());
    assert_eq!(heard.events(), []);
}

#[test]
fn tones_are_heard_as_events_alone_once_each() {
    for from in ALL {
        for to in ALL {
            let mut world = world([from, to], true);
            let pressed = presses(u64::from(pt_of(from)), 15, 40..=300);
            let keys = pressed.clone();
            let mut talkers = [Talker::new(A, from, keys), Talker::new(B, to, Vec::new())];
            talk(&mut world, &mut talkers, packets(&pressed));
            let heard = Received::of(&world, B, to);
            let what = format!("{from} to {to}");
            println!("{what}: {} ms of tone", heard.leaks_ms());
            assert_keys(&heard.events(), &pressed, LENGTH_MS, &what);
            assert_eq!(heard.tones(), [], "{what}");
            assert!(heard.leaks_ms() <= LEAK_MS, "{what}: {}", heard.leaks_ms());
            assert!(heard.pcm.len() * 2 > packets(&pressed) * 160, "{what}");
            heard.assert_one_clock();
        }
    }
}

#[test]
fn a_listener_without_events_hears_tones_of_ours() {
    for kind in ALL {
        let mut world = world([kind, CodecKind::Pcmu], false);
        let pressed = presses(9, 20, 60..=300);
        let mut talkers = [Talker::new(A, kind, pressed.clone())];
        talk(&mut world, &mut talkers, packets(&pressed));
        let heard = Received::of(&world, B, CodecKind::Pcmu);
        assert_keys(&heard.tones(), &pressed, LENGTH_MS, &format!("{kind}"));
        assert_eq!(heard.events(), []);
        heard.assert_one_clock();
    }
}

#[test]
fn both_sides_press_keys_at_a_time() {
    for kinds in [[CodecKind::Pcmu; 2], [CodecKind::Pcma, CodecKind::Pcmu]] {
        let mut world = world(kinds, true);
        // Both say tones, and both accept telephone-events.
        let kind = EventType {
            pt: EVENT_PT,
            clock_hz: 8_000,
        };
        world.apply(Change::EventType(A, Some(kind)));
        world.apply(convert(B));
        let pressed = [3, 4].map(|seed| presses(seed, 25, 40..=300));
        let talkers = [(A, 0), (B, 1)].map(|(ix, n)| Talker::new(ix, kinds[n], pressed[n].clone()));
        let count = packets(&pressed[0]).max(packets(&pressed[1]));
        talk(&mut world, &mut { talkers }, count);
        for (ix, n) in [(A, 1), (B, 0)] {
            let heard = Received::of(&world, ix, kinds[1 - n]);
            assert_keys(&heard.events(), &pressed[n], LENGTH_MS, "events");
            assert_eq!(heard.tones(), []);
            assert!(heard.leaks_ms() <= LEAK_MS, "{} ms", heard.leaks_ms());
            heard.assert_one_clock();
        }
    }
}

#[test]
fn the_members_of_a_bridge_get_events() {
    for members in [&[A, B][..], &[A, B, C][..]] {
        let mut world = world([CodecKind::Pcmu; 2], true);
        world.add(C.0, Payload::Rtp, Privacy::Transparent);
        world.apply(Change::Remote(C, engine_support::remote(C)));
        world.apply(Change::Voice(C, voice(CodecKind::Pcmu)));
        bridge(&mut world, members);
        let pressed = presses(6, 25, 40..=300);
        let keys = pressed.clone();
        let mut talkers = [
            Talker::new(A, CodecKind::Pcmu, keys),
            Talker::new(B, CodecKind::Pcmu, Vec::new()),
        ];
        talk(&mut world, &mut talkers, packets(&pressed));
        let heard = Received::of(&world, B, CodecKind::Pcmu);
        assert_keys(&heard.events(), &pressed, LENGTH_MS, "in a bridge");
        for member in &members[1..] {
            let heard = Received::of(&world, *member, CodecKind::Pcmu);
            assert_eq!(heard.tones(), [], "{member:?}");
            assert!(
                heard.leaks_ms() <= LEAK_MS,
                "{member:?} {}",
                heard.leaks_ms()
            );
            heard.assert_one_clock();
        }
        // A room hears no tones of ours: who accepts no events is told nothing.
        let heard = Received::of(&world, C, CodecKind::Pcmu);
        assert_eq!(heard.events(), []);
    }
}

#[test]
fn a_press_said_in_two_ways_is_one() {
    let ways = [
        By::Both,
        By::Event,
        By::Late(30),
        By::Late(60),
        By::Late(100),
        By::Tone,
    ];
    for accepts in [true, false] {
        let mut world = world([CodecKind::Pcmu; 2], accepts);
        let mut pressed = presses(8, 24, 150..=300);
        for (n, press) in pressed.iter_mut().enumerate() {
            press.by = ways[n % ways.len()];
        }
        let mut talkers = [Talker::new(A, CodecKind::Pcmu, pressed.clone())];
        talk(&mut world, &mut talkers, packets(&pressed));
        let heard = Received::of(&world, B, CodecKind::Pcmu);
        let found = [heard.events(), heard.tones()];
        let [told, silent] = if accepts { [0, 1] } else { [1, 0] };
        // A press that came in two pieces is as long as one of them.
        assert_keys(&found[told], &pressed, 300.0, &format!("{accepts}"));
        assert_eq!(found[silent], []);
        heard.assert_one_clock();
    }
}

#[test]
fn keys_get_through_loss() {
    let mut world = world([CodecKind::Pcmu; 2], true);
    let pressed = presses(12, 60, 100..=300);
    let mut talkers = [Talker::new(A, CodecKind::Pcmu, pressed.clone()).losing(5)];
    talk(&mut world, &mut talkers, packets(&pressed));
    let heard = Received::of(&world, B, CodecKind::Pcmu);
    let events = heard.events();
    println!(
        "{} of {} keys, {} ms",
        events.len(),
        pressed.len(),
        heard.leaks_ms()
    );
    assert_keys(&events, &pressed, 60.0, "with loss");
    assert_eq!(heard.tones(), []);
    assert!(heard.leaks_ms() <= LEAK_MS, "{} ms", heard.leaks_ms());
    heard.assert_one_clock();
}

/// A thousand presses of 40 ms and more, of which one packet in twenty is lost: a few of the
/// shortest may go with them, and of none is more to be heard than where nothing is lost.
#[test]
fn little_of_a_tone_is_heard_through_loss() {
    let (ulaw, alaw) = (CodecKind::Pcmu, CodecKind::Pcma);
    let ways = [
        ([ulaw, ulaw], 320, 41),
        ([alaw, ulaw], 320, 42),
        ([alaw, alaw], 320, 43),
        ([CodecKind::G722, ulaw], 40, 44),
    ];
    let heard_through = |(kinds, count, seed): ([CodecKind; 2], usize, u64)| {
        let mut world = world(kinds, true);
        let pressed = presses(seed, count, 40..=300);
        let mut talkers = [Talker::new(A, kinds[0], pressed.clone()).losing(5)];
        talk(&mut world, &mut talkers, packets(&pressed));
        let heard = Received::of(&world, B, kinds[1]);
        let (events, leaks_ms) = (heard.events().len(), heard.leaks_ms());
        println!("{kinds:?}: {events} of {count} keys, {leaks_ms} ms of tone");
        assert_eq!(heard.tones(), [], "{kinds:?}");
        assert!(leaks_ms <= LEAK_MS, "{kinds:?}: {leaks_ms} ms");
        assert!(events * 100 >= count * 98 && events <= count, "{events}");
    };
    std::thread::scope(|scope| {
        for way in ways {
            scope.spawn(move || heard_through(way));
        }
    });
}

/// A key that is down while something happens to it comes up.
fn comes_up_after(what: &str, happens: impl FnOnce(&mut World)) {
    let mut world = world([CodecKind::Pcmu; 2], true);
    let keys = vec![press('5', 1_000.0, 1_000.0, By::Tone)];
    let mut talkers = [
        Talker::new(A, CodecKind::Pcmu, keys),
        Talker::new(B, CodecKind::Pcmu, Vec::new()),
    ];
    talk(&mut world, &mut talkers, 75);
    happens(&mut world);
    talk(&mut world, &mut talkers, 120);
    let heard = Received::of(&world, B, CodecKind::Pcmu);
    let events = heard.events();
    let found: Vec<_> = events.iter().map(|(key, _)| *key).collect();
    assert_eq!(found, ['5'], "{what}");
    assert!(
        (300.0..1_020.0).contains(&events[0].1),
        "{what}: {events:?}"
    );
    let ends = |(_, sent): &&(u64, engine_support::Sent)| {
        sent.pt() == EVENT_PT && sent.bytes[13] & 0x80 != 0
    };
    assert_eq!(heard.sent.iter().filter(ends).count(), 3, "{what}");
    assert_eq!(heard.tones(), [], "{what}");
    let at = |(ms, _): &&(u64, engine_support::Sent)| *ms > 3_000;
    let after = heard.sent.iter().filter(at).count();
    assert!(after >= 30, "{what}: {after} packets of audio follow");
    heard.assert_one_clock();
}

#[test]
fn a_key_comes_up_whatever_happens() {
    comes_up_after("unmasked", |world| world.apply(pass(A)));
    comes_up_after("masked otherwise", |world| {
        world.apply(Change::Mask(A, Some(Box::new(Mask::of(MaskMode::Absorb)))));
    });
    comes_up_after("into a bridge", |world| bridge(world, &[A, B]));
    comes_up_after("a voice that changes", |world| {
        let mut other = voice(CodecKind::Pcmu);
        other.playout.max_ms += 10;
        world.apply(Change::Voice(A, other));
    });
    comes_up_after("nothing", |_| {});
}

#[test]
fn a_key_that_is_down_as_its_party_goes_comes_up() {
    for gone in [
        Change::Close(A),
        Change::Direction {
            stream: A,
            sends: false,
            receives: true,
        },
        Change::Block(A, true),
        Change::Link { from: A, to: None },
    ] {
        let what = format!("{gone:?}");
        let mut world = world([CodecKind::Pcmu; 2], true);
        let keys = vec![press('5', 1_000.0, 3_000.0, By::Tone)];
        let mut talkers = [Talker::new(A, CodecKind::Pcmu, keys)];
        talk(&mut world, &mut talkers, 75);
        world.apply(gone);
        talk(&mut world, &mut talkers, 100);
        let heard = Received::of(&world, B, CodecKind::Pcmu);
        let events = heard.events();
        assert_eq!(events.len(), 1, "{what}: {events:?}");
        assert!(events[0].1 < 1_000.0, "{what}: {events:?}");
        let told = heard
            .sent
            .iter()
            .filter(|(ms, sent)| *ms > 2_600 && sent.pt() == EVENT_PT);
        assert_eq!(told.count(), 0, "{what}");
    }
}

#[test]
fn a_key_that_is_down_in_a_call_that_becomes_part_of_another_comes_up() {
    let mut world = world([CodecKind::Pcmu; 2], true);
    let keys = vec![press('5', 1_000.0, 3_000.0, By::Tone)];
    talk(&mut world, &mut [Talker::new(A, CodecKind::Pcmu, keys)], 75);
    let mut stays = World::at(world.start, Timers::default());
    stays.now = world.now;
    for leg in 0..2 {
        stays.add(leg, Payload::Rtp, Privacy::Transparent);
    }
    let first = StreamIx(2);
    let absorbed = stays.call.absorb(stays.now, &mut world.call, first, 2);
    assert_eq!(absorbed, Ok(()));
    for component in [Component::Rtp, Component::Rtcp] {
        for ix in [A, B] {
            let port = engine_support::port(StreamIx(100 + ix.0), component);
            let ix = StreamIx(first.0 + ix.0);
            stays.call.set_port(ix, component, port).unwrap();
        }
    }
    stays.drain();
    stays.wait(1_000);
    let heard = stays.received(StreamIx(101));
    let ends = heard.iter().filter(|(_, sent)| sent.bytes[13] & 0x80 != 0);
    let told = heard.iter().filter(|(_, sent)| sent.pt() == EVENT_PT);
    assert_eq!(
        told.clone().next_back().map(|(ms, _)| *ms < 2_000),
        Some(true)
    );
    assert_eq!(ends.filter(|(_, sent)| sent.pt() == EVENT_PT).count(), 3);
}

#[test]
fn who_only_listens_hears_what_was_said() {
    let mut world = world([CodecKind::Pcmu; 2], true);
    let ear = world.add(2, Payload::Rtp, Privacy::Transparent);
    world.apply(Change::Remote(ear, engine_support::remote(ear)));
    let types = [way(CodecKind::Pcmu, CodecKind::Pcmu), event_way(Via::Relay)];
    world.apply(Change::Tap(Box::new(Tap {
        from: A,
        to: ear,
        types: types.into_iter().collect(),
    })));
    let pressed = presses(31, 10, 60..=300);
    let mut talkers = [Talker::new(A, CodecKind::Pcmu, pressed.clone())];
    talk(&mut world, &mut talkers, packets(&pressed));
    let heard = Received::of(&world, ear, CodecKind::Pcmu);
    assert_keys(&heard.tones(), &pressed, LENGTH_MS, "a copy");
    assert_eq!(heard.events(), []);
    let heard = Received::of(&world, B, CodecKind::Pcmu);
    assert_keys(&heard.events(), &pressed, LENGTH_MS, "its peer");
}

#[test]
fn keys_go_on_through_hold_and_a_new_answer() {
    let mut world = world([CodecKind::Pcmu; 2], true);
    let pressed: Vec<Press> = (0..20)
        .map(|n| press('7', 1_000.0 + 250.0 * n as f32, 100.0, By::Tone))
        .collect();
    let mut talkers = [Talker::new(A, CodecKind::Pcmu, pressed)];
    let direct = |world: &mut World, receives| {
        world.apply(Change::Direction {
            stream: B,
            sends: true,
            receives,
        });
    };
    talk(&mut world, &mut talkers, 115); // five presses
    direct(&mut world, false);
    talk(&mut world, &mut talkers, 125); // ten, which nobody hears
    direct(&mut world, true);
    world.apply(Change::Voice(A, voice(CodecKind::Pcmu)));
    world.apply(convert(A));
    talk(&mut world, &mut talkers, 150); // the rest
    let heard = Received::of(&world, B, CodecKind::Pcmu);
    assert_eq!(heard.events().len(), 10);
    assert_eq!(heard.tones(), []);
    assert!(heard.leaks_ms() <= LEAK_MS, "{} ms", heard.leaks_ms());
    heard.assert_one_clock();
}
