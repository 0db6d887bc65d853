//! Keys that are pressed for a listener, in virtual time: packet by packet, and sample by sample.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::dtmf::{Detector, Heard as Tone};
use crosspoint::audio::g711;
use crosspoint::engine::*;
use crosspoint::wire::event::{Digit, EventCode, TelephoneEvent};
use engine_support::*;
use proptest::prelude::*;

/// The listener's telephone-event type.
const EVENT: u8 = 101;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn voice(ptime_ms: u8) -> Box<Voice> {
    let codec = CodecConfig::new(CodecKind::Pcmu);
    voice_of(0, codec, ptime_ms)
}

/// Two parties with µ-law; B accepts telephone-events, or none.
fn world(clock_hz: Option<u32>) -> World {
    let mut world = World::two_party(Privacy::Transparent);
    for ix in [A, B] {
        world.apply(Change::Voice(ix, voice(20)));
    }
    let kind = clock_hz.map(|clock_hz| EventType {
        pt: EVENT,
        clock_hz,
    });
    world.apply(Change::EventType(B, kind));
    world
}

fn digits(text: &str, key_ms: u64, pause_ms: u64) -> SendDigits {
    SendDigits {
        id: DialId(7),
        to: B,
        steps: DialStep::parse(text, ms(key_ms)).unwrap(),
        pause: ms(pause_ms),
        volume: 8,
    }
}

fn send(world: &mut World, digits: SendDigits) {
    world.apply(Change::SendDigits(Box::new(digits)));
}

fn event(sent: &Sent) -> TelephoneEvent {
    TelephoneEvent::parse(&sent.bytes[12..]).unwrap()
}

fn is_event(sent: &Sent) -> bool {
    sent.pt() == EVENT
}

/// The n-th 20 ms of A's audio.
fn audio(n: u32) -> Vec<u8> {
    rtp(0, n as u16, n * 160, 0xa, &[0x55; 160])
}

/// A talks, 20 ms per packet.
fn talk(world: &mut World, packets: std::ops::Range<u32>) {
    for n in packets {
        world.hear(A, &audio(n));
        world.wait(20);
    }
}

/// One SSRC, numbers without a gap; timestamps that never go back.
fn assert_one_clock(heard: &[(u64, Sent)]) {
    for (before, after) in heard.iter().zip(heard.iter().skip(1)) {
        let (before, after) = (&before.1, &after.1);
        assert_eq!(before.ssrc(), after.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let ahead = after.timestamp().wrapping_sub(before.timestamp());
        assert!(ahead < 1 << 31, "{before:?} {after:?}");
    }
}

fn reports(world: &mut World) -> Vec<DialReport> {
    let told = world.outputs.drain(..).filter_map(|output| match output {
        Output::Event(Event {
            kind: EventKind::DigitsSent(report),
            ..
        }) => Some(report),
        _ => None,
    });
    told.collect()
}

fn report(keys: u16, completed: bool) -> DialReport {
    let id = DialId(7);
    DialReport {
        id,
        keys,
        completed,
    }
}

#[test]
fn a_press_takes_the_place_of_the_audio_and_one_clock_goes_on() {
    let mut world = world(Some(8_000));
    talk(&mut world, 0..10);
    send(&mut world, digits("5", 200, 100));
    talk(&mut world, 10..40);
    let heard = world.received(B);
    assert_one_clock(&heard);
    let (first, last) = (&heard[0].1, &heard.last().unwrap().1);
    let first_event = heard.iter().position(|(_, sent)| is_event(sent)).unwrap();
    let events = &heard[first_event..first_event + 12];
    assert_eq!(first_event, 10);
    for (n, (at, sent)) in events.iter().enumerate() {
        assert_eq!(*at, 200 + 20 * n as u64, "one per packet interval");
        let expected = TelephoneEvent {
            code: EventCode(5),
            end: n >= 9,
            volume: 8,
            duration: 160 * (n as u16 + 1).min(10),
        };
        assert_eq!((event(sent), sent.marker()), (expected, n == 0));
        assert_eq!(sent.timestamp(), first.timestamp().wrapping_add(1_600));
    }
    assert!(
        !heard[first_event + 12..]
            .iter()
            .any(|(_, sent)| is_event(sent))
    );
    // Audio goes on an interval behind the third end, where the wall clock stands.
    let (at, after) = &heard[first_event + 12];
    assert_eq!((*at, after.marker()), (440, true));
    assert_eq!(after.timestamp().wrapping_sub(first.timestamp()), 440 * 8);
    assert_eq!(last.timestamp().wrapping_sub(first.timestamp()), 39 * 160);
    assert_eq!(reports(&mut world), [report(1, true)]);
}

#[test]
fn keys_are_sent_while_nothing_is_received_with_waits_and_pauses() {
    let mut world = world(Some(8_000));
    send(&mut world, digits("1w2#", 100, 60));
    world.wait(2_000);
    let heard = world.received(B);
    assert_one_clock(&heard);
    let begins: Vec<(u64, u8)> = heard
        .iter()
        .filter(|(_, sent)| sent.marker())
        .map(|(at, sent)| (*at, event(sent).code.0))
        .collect();
    // 100 ms and a pause, half a second, 100 ms and a pause.
    assert_eq!(begins, [(0, 1), (660, 2), (820, 11)]);
    let timestamps: Vec<u32> = begins
        .iter()
        .map(|(at, _)| heard.iter().find(|(t, _)| t == at).unwrap().1.timestamp())
        .collect();
    assert_eq!(timestamps[1].wrapping_sub(timestamps[0]), 660 * 8);
    assert_eq!(timestamps[2].wrapping_sub(timestamps[1]), 160 * 8);
    let ends: Vec<u16> = heard
        .iter()
        .filter(|(_, sent)| event(sent).end)
        .map(|(_, sent)| event(sent).duration)
        .collect();
    assert_eq!(ends, [800; 9]);
    assert_eq!(reports(&mut world), [report(3, true)]);
}

#[test]
fn audio_is_heard_while_it_waits_and_not_between_keys() {
    let mut world = world(Some(8_000));
    send(&mut world, digits("1w2", 100, 100));
    talk(&mut world, 0..60);
    let heard = world.received(B);
    assert_one_clock(&heard);
    let audio = heard.iter().filter(|(_, sent)| !is_event(sent));
    let audio: Vec<u64> = audio.map(|(at, _)| *at).collect();
    // The first key and its pause until 200 ms, the wait until 700, the second until 860.
    let expected: Vec<u64> = (0..60).map(|n| n * 20).collect();
    let expected: Vec<u64> = expected
        .into_iter()
        .filter(|at| (200..700).contains(at) || *at >= 860 - 20)
        .collect();
    assert_eq!(audio, expected);
}

#[test]
fn a_long_press_has_segments() {
    let mut world = world(Some(8_000));
    send(&mut world, digits("9", 10_000, 100));
    world.wait(11_000);
    let heard = world.received(B);
    assert_one_clock(&heard);
    let first = heard[0].1.timestamp();
    let offset = |sent: &Sent| sent.timestamp().wrapping_sub(first);
    let told = |sent: &Sent| (offset(sent), event(sent).duration, event(sent).end);
    let all: Vec<_> = heard.iter().map(|(_, sent)| told(sent)).collect();
    let closed = all.iter().filter(|(_, duration, _)| *duration == u16::MAX);
    assert_eq!(closed.count(), 3);
    assert_eq!(all[all.len() - 3..], [(65_535, 14_465, true); 3]);
    let markers = heard.iter().filter(|(_, sent)| sent.marker());
    assert_eq!(markers.count(), 1, "a segment is no press");
}

#[test]
fn an_event_clock_of_its_own_counts_durations_alone() {
    for clock_hz in [16_000, 48_000] {
        let mut world = world(Some(clock_hz));
        talk(&mut world, 0..5);
        send(&mut world, digits("0", 100, 100));
        talk(&mut world, 5..20);
        let heard = world.received(B);
        assert_one_clock(&heard);
        let ends: Vec<_> = heard
            .iter()
            .filter(|(_, s)| is_event(s) && event(s).end)
            .collect();
        assert_eq!(ends.len(), 3);
        assert_eq!(u32::from(event(&ends[0].1).duration), clock_hz / 10);
        let last = &heard.last().unwrap().1;
        let span = last.timestamp().wrapping_sub(heard[0].1.timestamp());
        assert_eq!(span, 19 * 160, "the audio's clock is the stream's");
    }
}

#[test]
fn what_is_stopped_ends_properly() {
    let mut world = world(Some(8_000));
    send(&mut world, digits("123", 400, 100));
    world.wait(100);
    world.apply(Change::StopDigits(B));
    world.wait(1_000);
    let heard = world.received(B);
    assert!(heard.iter().all(|(_, sent)| event(sent).code.0 == 1));
    let ends: Vec<_> = heard.iter().filter(|(_, sent)| event(sent).end).collect();
    assert_eq!(ends.len(), 3);
    assert_eq!(event(&ends[0].1).duration, 960, "told already: 120 ms");
    assert_eq!(reports(&mut world), [report(0, false)]);
    // And nothing is left behind.
    talk(&mut world, 0..3);
    assert_eq!(world.received(B).len(), heard.len() + 3);
}

#[test]
fn who_is_put_on_hold_is_pressed_nothing_more() {
    for clock_hz in [Some(8_000), None] {
        let mut world = world(clock_hz);
        let direction = |receives| Change::Direction {
            stream: B,
            sends: true,
            receives,
        };
        send(&mut world, digits("123", 100, 100));
        world.wait(150);
        world.apply(direction(false));
        assert_eq!(reports(&mut world), [report(1, false)]);
        let heard = world.received(B).len();
        world.wait(500);
        let more = Change::SendDigits(Box::new(digits("4", 100, 100)));
        let refused = world.call.apply(world.now, more);
        assert_eq!(refused, Err(ChangeError::Undialable(B)));
        assert_eq!(world.received(B).len(), heard);
        world.apply(direction(true));
        send(&mut world, digits("5", 100, 100));
        world.wait(500);
        assert_eq!(reports(&mut world), [report(1, true)]);
        let heard = &world.received(B)[heard..];
        match clock_hz {
            Some(_) => {
                assert!(!heard.is_empty() && heard.iter().all(|(_, s)| event(s).code.0 == 5))
            }
            None => assert_eq!(
                detected(heard).iter().map(|it| it.0).collect::<Vec<_>>(),
                ['5']
            ),
        }
    }
}

#[test]
fn two_commands_follow_each_other() {
    let mut world = world(Some(8_000));
    send(&mut world, digits("1", 100, 80));
    send(&mut world, digits("2", 100, 80));
    world.wait(1_000);
    let heard = world.received(B);
    let begins: Vec<_> = heard.iter().filter(|(_, sent)| sent.marker()).collect();
    let begins: Vec<_> = begins
        .iter()
        .map(|(at, s)| (*at, event(s).code.0))
        .collect();
    assert_eq!(begins, [(0, 1), (180, 2)]);
    assert_eq!(reports(&mut world), [report(1, true), report(1, true)]);
}

#[test]
fn limits_are_refused_with_their_reason() {
    let mut world = world(Some(8_000));
    let mut apply = |digits: SendDigits| {
        let change = Change::SendDigits(Box::new(digits));
        world.call.apply(world.now, change)
    };
    let keys = |count: usize| digits(&"1".repeat(count), 100, 100);
    assert_eq!(apply(keys(DIGITS_MAX - 1)), Ok(()));
    // One of them is down and waits no more, and each has its place.
    assert_eq!(apply(keys(3)), Err(ChangeError::Dial));
    assert_eq!(apply(keys(2)), Ok(()));
    let mut none = keys(1);
    none.steps.clear();
    assert_eq!(apply(none), Err(ChangeError::Dial));
    let loud = SendDigits {
        volume: KEY_VOLUME_MAX + 1,
        ..keys(1)
    };
    assert_eq!(apply(loud), Err(ChangeError::Dial));
    let nowhere = SendDigits {
        to: StreamIx(9),
        ..keys(1)
    };
    let unknown = ChangeError::UnknownStream(StreamIx(9));
    assert_eq!(apply(nowhere), Err(unknown));
    let mut mute = World::two_party(Privacy::Transparent);
    let change = Change::SendDigits(Box::new(keys(1)));
    let refused = mute.call.apply(mute.now, change);
    assert_eq!(refused, Err(ChangeError::Undialable(B)));
    for (pt, clock_hz) in [(128, 8_000), (101, 0), (101, CLOCK_HZ_MAX + 1)] {
        let change = Change::EventType(B, Some(EventType { pt, clock_hz }));
        let refused = mute.call.apply(mute.now, change);
        assert_eq!(refused, Err(ChangeError::PayloadType(pt)));
    }
}

/// Keys that a detector finds in what a party was sent, with beginning and end in milliseconds.
fn detected(heard: &[(u64, Sent)]) -> Vec<(char, u64, u64, f32)> {
    let mut detector = Detector::new(8_000).unwrap();
    let mut found = Vec::new();
    let mut tell = |tone: Tone| {
        if let Tone::Ended(tone) = tone {
            let key = tone.digit.as_char();
            found.push((key, tone.start / 8, tone.end / 8, tone.level_dbm0));
        }
    };
    for (_, sent) in heard.iter().filter(|(_, sent)| sent.pt() == 0) {
        let pcm: Vec<i16> = sent.bytes[12..]
            .iter()
            .map(|o| g711::ulaw_to_linear(*o))
            .collect();
        detector.feed(&pcm, &mut tell);
    }
    detector.feed(&[0; 1_600], &mut tell);
    found
}

#[test]
fn who_accepts_no_events_hears_tones_at_their_level() {
    let mut world = world(None);
    talk(&mut world, 0..10);
    let all: String = Digit::ALL.iter().map(|digit| digit.as_char()).collect();
    send(&mut world, digits(&all, 70, 65));
    talk(&mut world, 10..150);
    let heard = world.received(B);
    assert_one_clock(&heard);
    assert!(heard.iter().all(|(_, sent)| sent.pt() == 0));
    let found = detected(&heard);
    let keys: String = found.iter().map(|(key, ..)| *key).collect();
    assert_eq!(keys, all);
    for (n, (_, start, end, level)) in found.iter().enumerate() {
        let expected = 200 + 135 * n as u64;
        assert!(
            start.abs_diff(expected) <= 10,
            "{n}: {start} for {expected}"
        );
        assert!(end.abs_diff(expected + 70) <= 10, "{n}: {end}");
        assert!((level + 8.0).abs() < 1.0, "{n}: {level} dBm0");
    }
    assert_eq!(reports(&mut world), [report(16, true)]);
    // Packets are relayed again, untouched.
    let last = &heard.last().unwrap().1;
    assert_eq!(last.bytes[12..], [0x55; 160]);
}

#[test]
fn tones_need_nothing_that_is_received() {
    let mut world = world(None);
    send(&mut world, digits("4!2", 100, 100));
    world.wait(1_000);
    let found = detected(&world.received(B));
    let keys: String = found.iter().map(|(key, ..)| *key).collect();
    assert_eq!(keys, "42", "the hook flash has no tone");
}

/// Telephone-event packets of one press by A.
fn press(code: u8, began: u32, packets: u16, step: u16, ends: usize) -> Vec<(u32, TelephoneEvent)> {
    let told = |n: u16, end: bool| {
        let code = EventCode(code);
        let event = TelephoneEvent {
            code,
            end,
            volume: 10,
            duration: n * step,
        };
        (began, event)
    };
    let growing = (1..packets).map(|n| told(n, false));
    growing
        .chain((0..ends).map(|_| told(packets, true)))
        .collect()
}

/// A presses a key, packet by packet, in the place of its audio; `first` is its first number.
fn tell(world: &mut World, first: u16, events: &[(u32, TelephoneEvent)]) {
    for (n, (at, event)) in events.iter().enumerate() {
        let marker = if n == 0 { 0x80 } else { 0 };
        let packet = rtp(96 | marker, first + n as u16, *at, 0xa, &event.to_bytes());
        world.hear(A, &packet);
        world.wait(20);
    }
}

/// What A may send: µ-law as it is, and telephone-events of a clock in some way.
fn sends(world: &mut World, clock_hz: u32, via: Via) {
    let audio = PayloadType {
        pt: 0,
        out: 0,
        clock_hz: 8_000,
        silence: Some(0xff),
        event: false,
        via: Via::Relay,
    };
    let events = PayloadType {
        pt: 96,
        out: EVENT,
        clock_hz,
        silence: None,
        event: true,
        via,
    };
    let types = [audio, events].into_iter().collect();
    world.apply(Change::PayloadTypes(A, types));
}

#[test]
fn events_are_relayed_in_the_listeners_clock() {
    for (from_hz, to_hz) in [(48_000, 8_000), (8_000, 48_000), (16_000, 8_000)] {
        let mut world = world(Some(to_hz));
        sends(&mut world, from_hz, Via::Rescaled { to_hz });
        talk(&mut world, 0..5);
        let step = (from_hz / 50) as u16;
        tell(&mut world, 5, &press(3, 800, 10, step, 3));
        talk(&mut world, 17..20);
        let heard = world.received(B);
        assert_eq!(heard.len(), 20);
        assert_one_clock(&heard);
        let events: Vec<_> = heard.iter().filter(|(_, sent)| is_event(sent)).collect();
        for (n, (_, sent)) in events.iter().enumerate() {
            let duration = u32::from(event(sent).duration);
            assert_eq!(duration, to_hz / 50 * (n as u32 + 1).min(10));
            assert_eq!(sent.timestamp(), 800);
        }
        assert_eq!(events.len(), 12);
    }
}

#[test]
fn who_accepts_no_events_hears_the_other_ones_as_tones() {
    let mut world = world(None);
    sends(&mut world, 8_000, Via::Tones);
    talk(&mut world, 0..10);
    tell(&mut world, 10, &press(8, 1_600, 8, 160, 3));
    talk(&mut world, 20..40);
    let heard = world.received(B);
    assert_one_clock(&heard);
    let found = detected(&heard);
    assert_eq!(found.len(), 1, "{found:?}");
    let (key, start, end, level) = found[0];
    assert_eq!(key, '8');
    assert!((150..=175).contains(&(end - start)), "{start} to {end}");
    assert!((level + 10.0).abs() < 1.0, "{level}");
}

#[test]
fn an_end_that_is_lost_ends_the_tone_all_the_same() {
    let mut world = world(None);
    sends(&mut world, 8_000, Via::Tones);
    tell(&mut world, 0, &press(8, 0, 8, 160, 0));
    world.wait(2_000);
    let found = detected(&world.received(B));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].2 - found[0].1 < 500, "{found:?}");
}

#[test]
fn a_tone_beside_the_event_is_not_heard_twice() {
    let mut world = world(None);
    sends(&mut world, 8_000, Via::Tones);
    // The talker's gateway lets 60 ms of the tone pass before it tells of it, and goes on with it.
    let mut tone = crosspoint::audio::tone::KeyTone::new(
        Digit::from_char('5').unwrap(),
        -10.0,
        8_000,
        Some(8_000 / 5),
    )
    .unwrap();
    let mut frame = || {
        let mut pcm = [0; 160];
        let played = tone.fill(&mut pcm);
        pcm[played..].fill(0);
        pcm.map(g711::linear_to_ulaw)
    };
    let events = press(5, 800, 10, 160, 3);
    let mut seq = 0;
    for n in 0..60_u32 {
        let payload = if n >= 5 { frame() } else { [0xff; 160] };
        world.hear(A, &rtp(0, seq, n * 160, 0xa, &payload));
        seq += 1;
        if let Some((at, event)) = (n as usize).checked_sub(8).and_then(|n| events.get(n)) {
            world.hear(A, &rtp(96, seq, *at, 0xa, &event.to_bytes()));
            seq += 1;
        }
        world.wait(20);
    }
    let heard = world.received(B);
    assert_one_clock(&heard);
    let found = detected(&heard);
    assert_eq!(found.len(), 1, "{found:?}");
}

/// The keys that are told, each with the durations of its ends.
fn told(heard: &[(u64, Sent)]) -> Vec<(u8, Vec<u16>)> {
    let mut presses: Vec<(u32, u8, Vec<u16>)> = Vec::new();
    for (_, sent) in heard.iter().filter(|(_, sent)| is_event(sent)) {
        let (at, event) = (sent.timestamp(), event(sent));
        if presses.last().is_none_or(|(began, ..)| *began != at) {
            presses.push((at, event.code.0, Vec::new()));
        }
        let (_, code, ends) = presses.last_mut().unwrap();
        assert_eq!(*code, event.code.0);
        ends.extend(event.end.then_some(event.duration));
    }
    let presses = presses.into_iter();
    presses.map(|(_, code, ends)| (code, ends)).collect()
}

#[test]
fn a_key_of_the_talker_is_pressed_behind_ours() {
    let in_bridge = || bridged(Some(8_000));
    for mut world in [world(Some(8_000)), in_bridge()] {
        sends(&mut world, 8_000, Via::Relay);
        talk(&mut world, 0..20);
        send(&mut world, digits("1", 200, 100));
        // Three presses of the talker: one inside ours, one that outlasts it, and one behind.
        tell(&mut world, 20, &press(2, 20 * 160, 3, 160, 3));
        talk(&mut world, 25..28);
        tell(&mut world, 28, &press(3, 28 * 160, 20, 160, 3));
        talk(&mut world, 50..53);
        tell(&mut world, 53, &press(4, 53 * 160, 5, 160, 3));
        talk(&mut world, 60..120);
        let heard = world.received(B);
        assert_one_clock(&heard);
        let expected = [(1, 1_600), (2, 480), (3, 3_200), (4, 800)];
        let expected = expected.map(|(code, ticks)| (code, vec![ticks; 3]));
        assert_eq!(told(&heard), expected);
    }
}

#[test]
fn a_key_that_ours_comes_into_is_not_told_twice() {
    let mut world = world(Some(8_000));
    sends(&mut world, 8_000, Via::Relay);
    talk(&mut world, 0..5);
    let whole = press(2, 800, 20, 160, 3);
    tell(&mut world, 5, &whole[..5]);
    send(&mut world, digits("1", 100, 100));
    tell(&mut world, 10, &whole[5..]);
    talk(&mut world, 28..32);
    let heard = world.received(B);
    assert_one_clock(&heard);
    let codes: Vec<u8> = told(&heard).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [2, 1]);
}

#[test]
fn keys_that_wait_behind_ours_are_bounded() {
    let mut world = world(Some(8_000));
    sends(&mut world, 8_000, Via::Relay);
    talk(&mut world, 0..5);
    send(&mut world, digits("1", 60_000, 100));
    for n in 0..1_000_u16 {
        let event = press(2, 800 + u32::from(n) * 320, 1, 160, 1);
        tell(&mut world, 5 + n, &event);
    }
    let waited = world.received(B);
    assert!(told(&waited).iter().all(|(code, _)| *code == 1));
    for _ in 0..4_000 {
        world.wait(20);
    }
    let told = told(&world.received(B)).into_iter();
    // A key and its pause are two of three pieces for each step; the end of ours is one more.
    let expected = 3 * DIGITS_MAX / 2 - 1;
    assert_eq!(told.filter(|(code, _)| *code == 2).count(), expected);
}

#[test]
fn a_key_that_was_overtaken_does_not_stay_down() {
    let mut world = world(None);
    sends(&mut world, 8_000, Via::Tones);
    talk(&mut world, 0..10);
    // One packet of a press comes after the first ones of the next press.
    let (late, next) = (press(1, 1_600, 3, 160, 1), press(2, 2_400, 10, 160, 3));
    tell(&mut world, 15, &next[..4]);
    tell(&mut world, 12, &late[2..]);
    tell(&mut world, 19, &next[4..]);
    talk(&mut world, 30..200);
    let found = detected(&world.received(B));
    let keys: Vec<(char, u64)> = found.iter().map(|it| (it.0, it.2 - it.1)).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(
        keys[0].0 == '2' && (190..=240).contains(&keys[0].1),
        "{keys:?}"
    );
    assert!(
        keys[1].0 == '1' && (50..=80).contains(&keys[1].1),
        "{keys:?}"
    );
}

/// Both in one bridge.
fn bridged(clock_hz: Option<u32>) -> World {
    let mut world = world(clock_hz);
    let member = |stream| Member {
        stream,
        talks: true,
        listens: true,
        gain: crosspoint::audio::mix::Gain::UNITY,
    };
    let members = [A, B].map(member).into();
    let config = BridgeConfig {
        members,
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
    world
}

#[test]
fn keys_are_pressed_for_members_of_a_bridge() {
    for clock_hz in [Some(8_000), None] {
        let mut world = bridged(clock_hz);
        talk(&mut world, 0..20);
        send(&mut world, digits("6", 100, 100));
        talk(&mut world, 20..60);
        let heard = world.received(B);
        assert_one_clock(&heard);
        let events = heard.iter().filter(|(_, sent)| is_event(sent)).count();
        let tones = detected(&heard).len();
        match clock_hz {
            Some(_) => assert_eq!((events, tones), (7, 0)),
            None => assert_eq!((events, tones), (0, 1)),
        }
    }
}

#[test]
fn members_of_a_bridge_hear_keys_in_their_clock_or_as_tones() {
    for clock_hz in [Some(8_000), Some(48_000), None] {
        let mut world = bridged(clock_hz);
        sends(&mut world, 8_000, Via::Relay);
        talk(&mut world, 0..20);
        tell(&mut world, 20, &press(6, 20 * 160, 5, 160, 3));
        talk(&mut world, 27..60);
        let heard = world.received(B);
        assert_one_clock(&heard);
        let ends = heard.iter().filter(|(_, sent)| is_event(sent));
        let ends: Vec<u16> = ends.map(|(_, sent)| event(sent).duration).collect();
        match clock_hz {
            Some(clock_hz) => {
                assert_eq!(ends.len(), 7);
                assert_eq!(u32::from(ends[6]), clock_hz / 10);
            }
            None => assert_eq!((ends.len(), detected(&heard).len()), (0, 1)),
        }
    }
}

/// Something that happens between two packets of A.
#[derive(Clone, Debug)]
enum Step {
    Talk(u8),
    Press(u8, u8),
    Send(u64, u64, bool),
    Stop,
    Accept(Option<u32>),
    Hold(bool),
    Bridge(bool),
    Recode(bool),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clock = prop_oneof![Just(8_000), Just(4_000)];
    let step = prop_oneof![
        4 => (1u8..30).prop_map(Step::Talk),
        2 => (0u8..16, 2u8..20).prop_map(|(code, packets)| Step::Press(code, packets)),
        3 => (20u64..300, 20u64..200, any::<bool>())
            .prop_map(|(key, pause, wait)| Step::Send(key, pause, wait)),
        1 => Just(Step::Stop),
        1 => proptest::option::of(clock).prop_map(Step::Accept),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => any::<bool>().prop_map(Step::Bridge),
        1 => any::<bool>().prop_map(Step::Recode),
        1 => (1u64..500).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..30)
}

struct Run {
    world: World,
    seq: u16,
    timestamp: u32,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Talk(packets) => (0..packets).for_each(|_| {
                let packet = rtp(0, self.seq, self.timestamp, 0xa, &[0x55; 160]);
                self.world.hear(A, &packet);
                self.pass(160);
            }),
            Step::Press(code, packets) => {
                let began = self.timestamp;
                for (_, event) in press(code, began, packets.into(), 160, 3) {
                    let packet = rtp(96, self.seq, began, 0xa, &event.to_bytes());
                    self.world.hear(A, &packet);
                    self.pass(160);
                }
            }
            Step::Send(key, pause, waits) => {
                let text = if waits { "1w2" } else { "34" };
                let digits = Change::SendDigits(Box::new(digits(text, key, pause)));
                // Too many at once are refused.
                let _ = self.world.call.apply(self.world.now, digits);
                self.world.drain();
            }
            Step::Stop => self.world.apply(Change::StopDigits(B)),
            Step::Accept(clock_hz) => {
                let kind = clock_hz.map(|clock_hz| EventType {
                    pt: EVENT,
                    clock_hz,
                });
                self.world.apply(Change::EventType(B, kind));
                let via = match clock_hz {
                    None => Via::Tones,
                    Some(8_000) => Via::Relay,
                    Some(to_hz) => Via::Rescaled { to_hz },
                };
                sends(&mut self.world, 8_000, via);
            }
            Step::Hold(held) => self.world.apply(Change::Direction {
                stream: B,
                sends: true,
                receives: !held,
            }),
            Step::Bridge(on) => {
                let member = |stream| Member {
                    stream,
                    talks: true,
                    listens: true,
                    gain: crosspoint::audio::mix::Gain::UNITY,
                };
                let config = BridgeConfig {
                    members: if on {
                        [A, B].map(member).into()
                    } else {
                        Vec::new()
                    },
                    ..BridgeConfig::default()
                };
                let change = Change::Bridge(BridgeIx(0), Box::new(config));
                self.world.apply(change);
            }
            Step::Recode(on) => {
                let audio = PayloadType {
                    pt: 0,
                    out: 0,
                    clock_hz: 8_000,
                    silence: None,
                    event: false,
                    via: if on { Via::Decode } else { Via::Relay },
                };
                let types = [audio].into_iter().collect();
                self.world.apply(Change::PayloadTypes(A, types));
            }
            Step::Wait(ms) => {
                self.world.wait(ms);
                self.timestamp = self.timestamp.wrapping_add(ms as u32 * 8);
            }
        }
    }

    fn pass(&mut self, ticks: u32) {
        self.world.wait(20);
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
    }
}

#[test]
fn who_stops_accepting_events_in_a_key_of_ours_misses_no_number() {
    let mut run = Run {
        world: world(Some(8_000)),
        seq: 0,
        timestamp: 0,
    };
    sends(&mut run.world, 8_000, Via::Relay);
    let (send, bridge) = (Step::Send(20, 20, true), Step::Bridge(true));
    let (talk, press) = (Step::Talk(4), Step::Press(0, 2));
    for step in [send, bridge, talk, Step::Accept(None), press, Step::Talk(1)] {
        run.step(&step);
    }
    run.world.wait(3_000);
    assert_one_clock(&run.world.received(B));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is commanded and pressed: one SSRC, numbers without a gap, timestamps that never go
    /// back and stay with the wall clock.
    #[test]
    fn one_clock_per_leg_whatever_is_pressed(
        steps in steps(),
        seq in any::<u16>(),
        at in any::<u32>(),
    ) {
        let mut run = Run { world: world(Some(8_000)), seq, timestamp: at };
        sends(&mut run.world, 8_000, Via::Relay);
        for step in &steps {
            run.step(step);
        }
        run.world.wait(3_000);
        let heard = run.world.received(B);
        assert_one_clock(&heard);
        if let Some(((first_at, first), (last_at, last))) = heard.first().zip(heard.last()) {
            let ticks = last.timestamp().wrapping_sub(first.timestamp());
            let wall = (last_at - first_at) * 8;
            // An event keeps the timestamp of its beginning.
            let lasting = if is_event(last) { 60_000 * 8 } else { 0 };
            let off = i64::from(ticks) - wall as i64;
            prop_assert!((-2_400 - lasting..=1_600).contains(&off), "{off} ticks off");
        }
    }
}
