//! Prompts and the keys that are pressed upon them, in virtual time: what the party hears and when,
//! and what is told.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]

#[path = "engine_gather/bridge.rs"]
mod bridge;
mod engine_support;
#[path = "engine_gather/step.rs"]
mod step;

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use crosspoint::wire::event::{Digit, TelephoneEvent};
use engine_support::*;

const AUDIO_PT: u8 = 96;
const EVENT_PT: u8 = 101;
const ID: GatherId = GatherId(77);

const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

fn kind(pt: u8, event: bool) -> PayloadType {
    PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: None,
        event,
        via: Via::Relay,
    }
}

/// A party that speaks L16, in packets of so many milliseconds, and telephone-events.
fn join(world: &mut World, ptime_ms: u8) -> StreamIx {
    let ix = world.add(world.call.streams() as u16, Payload::Rtp, Privacy::Masked);
    let codec = CodecConfig::new(L16);
    let voice = voice_of(AUDIO_PT, codec, ptime_ms);
    world.apply(Change::Remote(ix, remote(ix)));
    world.apply(Change::Voice(ix, voice));
    let types = [kind(AUDIO_PT, false), kind(EVENT_PT, true)];
    world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
    ix
}

fn world() -> World {
    let mut world = World::new(Timers::default());
    join(&mut world, 20);
    world
}

fn clip(ms: usize, value: i16) -> Item {
    let samples = vec![value; ms * 8];
    Sound::Clip(Arc::new(Clip::new(samples, 8_000).unwrap())).into()
}

/// Up to four keys, `#` ends; two seconds for the first and one between them.
fn config<const N: usize>(prompts: [Option<Item>; N]) -> GatherConfig {
    GatherConfig {
        id: ID,
        stream: A,
        rules: GatherRules {
            digits_max: 4,
            first_digit: Duration::from_secs(2),
            inter_digit: Duration::from_secs(1),
            finish: Keys::from_text("#").unwrap(),
            ..GatherRules::default()
        },
        prompts: prompts
            .into_iter()
            .map(|prompt| prompt.into_iter().collect())
            .collect(),
        gain: Gain::UNITY,
        layer: Layer::Alone,
    }
}

fn gather(world: &mut World, config: GatherConfig) {
    world.apply(Change::Gather(Box::new(config)));
}

fn refusal(world: &mut World, config: GatherConfig) -> Option<ChangeError> {
    let change = Change::Gather(Box::new(config));
    world.call.apply(world.now, change).err()
}

/// What ended since this was last asked: when, whose, and how.
fn ended(world: &mut World) -> Vec<(u64, StreamIx, Gathered)> {
    let start = world.start;
    let outputs = std::mem::take(&mut world.outputs);
    let told = |output| match output {
        Output::Event(event) => match event.kind {
            EventKind::Gathered(gathered) => {
                let ms = (event.at - start).as_millis() as u64;
                Some((ms, event.stream, gathered))
            }
            _ => None,
        },
        _ => None,
    };
    outputs.into_iter().filter_map(told).collect()
}

#[track_caller]
fn only(world: &mut World) -> (u64, Gathered) {
    match ended(world)[..] {
        [(ms, A, gathered)] => (ms, gathered),
        ref other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_gathered(gathered: &Gathered, end: GatherEnd, digits: &str) {
    assert_eq!(gathered.id, ID);
    assert_eq!(
        (gathered.end, gathered.digits.to_string()),
        (end, digits.to_owned())
    );
}

/// A phone that only presses keys, on one clock.
#[derive(Default)]
struct Phone {
    seq: u16,
}

impl Phone {
    fn event(&mut self, world: &mut World, timestamp: u32, event: TelephoneEvent, marker: bool) {
        let pt = EVENT_PT | u8::from(marker) << 7;
        let packet = rtp(pt, self.seq, timestamp, 0x5150, &event.to_bytes());
        self.seq += 1;
        world.hear(A, &packet);
    }

    /// Presses a key for so many packets of 20 ms, the first of them now, and ends it three times.
    fn press(&mut self, world: &mut World, key: char, packets: u16) {
        let code = Digit::from_char(key).unwrap().code();
        let timestamp = world.ms() as u32 * 8;
        for n in 1..=packets {
            let event = TelephoneEvent {
                code,
                end: false,
                volume: 10,
                duration: n * 160,
            };
            self.event(world, timestamp, event, n == 1);
            world.wait(20);
        }
        let event = TelephoneEvent {
            code,
            end: true,
            volume: 10,
            duration: (packets + 1) * 160,
        };
        (0..3).for_each(|_| self.event(world, timestamp, event, false));
    }

    /// Keys of 60 ms with pauses of 60 ms.
    fn dial(&mut self, world: &mut World, keys: &str) {
        for key in keys.chars() {
            self.press(world, key, 3);
            world.wait(60);
        }
    }
}

fn l16(sent: &Sent) -> Vec<i16> {
    let octets = sent.bytes[12..].chunks_exact(2);
    octets.map(|o| i16::from_be_bytes([o[0], o[1]])).collect()
}

/// When the last sample that can be heard was, in milliseconds after the frame of its packet left:
/// a listener without a buffer.
fn last_heard_ms(world: &World) -> f64 {
    let heard = world.received(A).into_iter().flat_map(|(ms, sent)| {
        let samples = l16(&sent).into_iter().enumerate();
        let loud = samples.filter(|(_, sample)| *sample != 0);
        loud.map(|(n, _)| ms as f64 + n as f64 / 8.0)
            .collect::<Vec<_>>()
    });
    heard.fold(0.0, f64::max)
}

/// The loudest sample of what was heard from one moment to another.
fn level(world: &World, from_ms: u64, until_ms: u64) -> i16 {
    let heard = world.received(A).into_iter();
    let frames = heard.filter(|(ms, _)| (from_ms..until_ms).contains(ms));
    frames
        .flat_map(|(_, sent)| l16(&sent))
        .max()
        .unwrap_or_default()
}

/// One SSRC, numbers without a gap, and a clock that moved by 8 ticks per millisecond.
#[track_caller]
fn assert_one_clock(world: &World) {
    for pair in world.received(A).windows(2) {
        let [(before_ms, before), (after_ms, after)] = pair else {
            unreachable!()
        };
        assert_eq!(after.ssrc(), before.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let ticks = after.timestamp().wrapping_sub(before.timestamp());
        assert_eq!(u64::from(ticks), (after_ms - before_ms) * 8);
    }
}

/// Wherever in a frame the key goes down, the prompt is over with the frame that is on its way.
#[test]
fn a_telephone_event_stops_the_prompt_at_once() {
    for (ptime_ms, bar_ms) in [(10, 10.0), (20, 20.0), (30, 30.0)] {
        let mut worst: f64 = 0.0;
        for phase in 0..u64::from(ptime_ms) {
            let mut world = World::new(Timers::default());
            join(&mut world, ptime_ms);
            gather(&mut world, config([Some(clip(5_000, 9_000))]));
            world.wait(600 + phase);
            let began = world.ms();
            assert!(last_heard_ms(&world) > began as f64 - f64::from(ptime_ms));
            Phone::default().press(&mut world, '7', 5);
            world.wait(3_000);
            worst = worst.max(last_heard_ms(&world) - began as f64);
            let (_, gathered) = only(&mut world);
            assert_gathered(&gathered, GatherEnd::InterDigitTimeout, "7");
            let stopped = world.events().into_iter().find_map(|kind| match kind {
                EventKind::PlayInterrupted(report) => Some(report.id),
                _ => None,
            });
            assert_eq!(stopped, Some(GATHER_PROMPT));
            assert_eq!(gathered.prompt_ended_ms, Some(began as u32));
            // Its first packet says that it has lasted 20 ms.
            assert_eq!(gathered.first_digit_ms, Some(began as u32 - 20));
            assert_one_clock(&world);
        }
        println!("{ptime_ms} ms: the last sample of the prompt {worst:.1} ms after the key");
        assert!(worst <= bar_ms, "{worst} ms in packets of {ptime_ms} ms");
    }
}

/// Says the key 8 from the 400th millisecond and a phase on, for so long, in packets of 20 ms, and
/// then nothing; returns when the tone began.
fn say_eight(world: &mut World, phase: u64, lasts_ms: u64) -> u64 {
    let talks = world.ms();
    // Samples of the party's own line.
    let (from, until) = ((400 + phase) * 8, (400 + phase + lasts_ms) * 8);
    let sample = |n: u64| {
        let wave = |hz: f64| (n as f64 / 8_000.0 * hz * std::f64::consts::TAU).sin();
        // −12 dBm0 each.
        let tone = (wave(852.0) + wave(1_336.0)) * 5_730.0;
        let sounds = (from..until).contains(&n);
        if sounds { tone as i16 } else { 0 }
    };
    for packet in 0..60_u64 {
        // What is said in 20 ms leaves when they are over.
        world.wait(20);
        let pcm = (packet * 160..(packet + 1) * 160).map(sample);
        let payload: Vec<u8> = pcm.flat_map(i16::to_be_bytes).collect();
        let (seq, timestamp) = (packet as u16, packet as u32 * 160);
        world.hear(A, &rtp(AUDIO_PT, seq, timestamp, 0x5150, &payload));
    }
    talks + 400 + phase
}

/// Wherever in a packet of 20 ms the tone begins: the prompt is held back once it may be a key,
/// 15 to 20 ms into it, and stopped when it is one.
#[test]
fn tones_stop_the_prompt_before_they_are_a_key() {
    let (mut worst, mut worst_sent) = (0.0_f64, 0);
    for phase in 0..20_u64 {
        for skew in [0, 7, 13, 19] {
            let mut world = world();
            gather(&mut world, config([Some(clip(5_000, 9_000))]));
            world.wait(100 + skew);
            let began = say_eight(&mut world, phase, 80);
            world.wait(3_000);
            worst = worst.max(last_heard_ms(&world) - began as f64);
            let loud = |sent: &Sent| l16(sent).iter().any(|sample| *sample != 0);
            let sent = world.received(A).into_iter().rfind(|(_, sent)| loud(sent));
            worst_sent = worst_sent.max(sent.unwrap().0.saturating_sub(began));
            let (_, gathered) = only(&mut world);
            assert_gathered(&gathered, GatherEnd::InterDigitTimeout, "8");
            let first = u64::from(gathered.first_digit_ms.unwrap());
            assert!(first.abs_diff(began) <= 10, "{first}");
        }
    }
    println!("in-band: the prompt's last sample {worst:.1} ms after the tone's start");
    println!("in-band: its last packet {worst_sent} ms after the tone's start");
    assert!(worst <= 40.0, "{worst} ms");
    assert!(worst_sent <= 20, "{worst_sent} ms");
}

/// What could have become a key and did not: the prompt is silent for 40 ms, and nothing of it is
/// lost.
#[test]
fn a_suspicion_holds_the_prompt_and_loses_nothing_of_it() {
    let said: Vec<i16> = (0..16_000).map(|n| 1_000 + n as i16).collect();
    let prompt = Arc::new(Clip::new(said.clone(), 8_000).unwrap());
    for (lasts_ms, silent) in [(0, 0), (16, 320)] {
        let mut world = world();
        gather(
            &mut world,
            config([Some(Sound::Clip(Arc::clone(&prompt)).into())]),
        );
        say_eight(&mut world, 0, lasts_ms);
        world.wait(6_000);
        let heard: Vec<i16> = world.received(A).iter().flat_map(|(_, s)| l16(s)).collect();
        let until = heard.iter().rposition(|sample| *sample != 0).unwrap() + 1;
        let (sounds, held): (Vec<i16>, Vec<i16>) =
            heard[..until].iter().partition(|sample| **sample != 0);
        assert_eq!((held.len(), sounds == said), (silent, true));
        let (_, gathered) = only(&mut world);
        assert_gathered(&gathered, GatherEnd::FirstDigitTimeout, "");
        assert_one_clock(&world);
    }
}

/// Who whistles like a key all the time does not stop the prompt by it: it is held once a second.
#[test]
fn a_prompt_that_was_held_goes_on_for_a_second() {
    let mut world = world();
    gather(&mut world, config([Some(clip(5_000, 9_000))]));
    let mut seq = 0_u16;
    for _ in 0..40 {
        // 16 ms of a key in each 100 ms.
        for part in 0..5_u64 {
            let sample = |n: u64| {
                let wave = |hz: f64| (n as f64 / 8_000.0 * hz * std::f64::consts::TAU).sin();
                let tone = (wave(852.0) + wave(1_336.0)) * 5_730.0;
                if part == 0 && n < 128 { tone as i16 } else { 0 }
            };
            let payload: Vec<u8> = (0..160).map(sample).flat_map(i16::to_be_bytes).collect();
            let timestamp = u32::from(seq) * 160;
            world.hear(A, &rtp(AUDIO_PT, seq, timestamp, 0x5150, &payload));
            seq += 1;
            world.wait(20);
        }
    }
    let heard: Vec<i16> = world.received(A).iter().flat_map(|(_, s)| l16(s)).collect();
    let silent = heard.iter().filter(|sample| **sample == 0).count();
    assert_eq!(silent, 4 * 320, "held four times in four seconds");
}

#[test]
fn what_is_pressed_is_gathered_with_its_times() {
    let mut world = world();
    gather(&mut world, config([Some(clip(200, 9_000))]));
    world.wait(1_000);
    Phone::default().dial(&mut world, "80#");
    let (ms, gathered) = only(&mut world);
    assert_gathered(&gathered, GatherEnd::FinishKey, "80");
    // Its first packet says that it went down 20 ms before.
    let times = (
        gathered.prompt_ended_ms,
        gathered.first_digit_ms,
        gathered.last_digit_ms,
    );
    assert_eq!(ms, 1_240);
    assert_eq!(times.0, Some(180));
    assert!((980..=1_000).contains(&times.1.unwrap()), "{times:?}");
    assert!((1_100..=1_120).contains(&times.2.unwrap()), "{times:?}");
    assert!(format!("{gathered:?}").contains("digits: Digits(2)"));
}

#[test]
fn each_attempt_is_asked_for_in_its_own_words() {
    let mut world = world();
    let prompts = [300, 200, 100].map(|ms| Some(clip(ms, 1_000 + ms as i16)));
    gather(&mut world, config(prompts));
    world.wait(10_000);
    // 300 ms of the first, two seconds without a key, and so on. A prompt is over when its last
    // frame was made, and the next begins with the next frame or the timer.
    let starts = [0, 2_280, 4_460];
    for (start, ms) in starts.into_iter().zip([300, 200, 100]) {
        assert_eq!(level(&world, start, start + ms), 1_000 + ms as i16);
        assert_eq!(level(&world, start + ms, start + ms + 1_900), 0);
    }
    let (ms, gathered) = only(&mut world);
    assert_gathered(&gathered, GatherEnd::FirstDigitTimeout, "");
    assert_eq!((gathered.attempts, ms), (3, 6_540));
    assert_one_clock(&world);

    // A wrong key: the next prompt is heard in the place of the one that it interrupts.
    let mut wrong = config([Some(clip(5_000, 3_000)), Some(clip(100, 4_000))]);
    wrong.rules.accepted = Keys::from_text("12").unwrap();
    wrong.rules.others = OtherKeys::Invalid;
    gather(&mut world, wrong);
    world.wait(500);
    let pressed = world.ms();
    Phone::default().dial(&mut world, "9");
    world.wait(200);
    assert_eq!(level(&world, pressed + 1, pressed + 21), 4_000);
    let mut phone = Phone { seq: 100 };
    phone.dial(&mut world, "1#");
    let (_, gathered) = only(&mut world);
    assert_gathered(&gathered, GatherEnd::FinishKey, "1");
    assert_eq!(gathered.attempts, 2);
    assert_one_clock(&world);
}

#[test]
fn keys_are_typed_ahead_where_that_was_asked() {
    for keeps in [true, false] {
        let mut world = world();
        world.apply(Change::TypeAhead(A, keeps));
        let mut phone = Phone::default();
        phone.dial(&mut world, "12#34");
        let mut ahead = config([Some(clip(300, 9_000))]);
        ahead.rules.type_ahead = true;
        gather(&mut world, ahead);
        if !keeps {
            world.wait(5_000);
            assert_gathered(&only(&mut world).1, GatherEnd::FirstDigitTimeout, "");
            continue;
        }
        let (ms, gathered) = only(&mut world);
        assert_eq!(ms, world.ms(), "at once");
        assert_gathered(&gathered, GatherEnd::FinishKey, "12");
        // The next takes what is left, and what comes.
        let mut rest = config([None]);
        rest.rules.type_ahead = true;
        gather(&mut world, rest);
        phone.dial(&mut world, "5#");
        assert_gathered(&only(&mut world).1, GatherEnd::FinishKey, "345");
        assert_eq!(last_heard_ms(&world), 0.0, "no prompt was needed");
    }
}

#[test]
fn prompts_that_are_not_to_be_stopped_are_heard_to_their_end() {
    for (at_prompt, digits) in [(AtPrompt::Keep, "1"), (AtPrompt::Discard, "2")] {
        let mut world = world();
        let mut whole = config([Some(clip(1_000, 9_000))]);
        whole.rules.at_prompt = at_prompt;
        whole.rules.digits_max = 1;
        gather(&mut world, whole);
        world.wait(400);
        let mut phone = Phone::default();
        phone.dial(&mut world, "1");
        world.wait(1_000);
        phone.dial(&mut world, "2");
        assert_gathered(&only(&mut world).1, GatherEnd::DigitsMax, digits);
        assert!(last_heard_ms(&world) > 999.0);
    }
}

#[test]
fn it_ends_when_the_party_is_held_or_leaves_or_the_call_does() {
    let mut held = world();
    gather(&mut held, config([Some(clip(5_000, 9_000))]));
    held.wait(100);
    held.apply(Change::Direction {
        stream: A,
        sends: true,
        receives: false,
    });
    assert_gathered(&only(&mut held).1, GatherEnd::Cancelled, "");

    let mut left = world();
    gather(&mut left, config([Some(clip(5_000, 9_000))]));
    left.wait(100);
    left.apply(Change::Close(A));
    assert_gathered(&only(&mut left).1, GatherEnd::Gone, "");
    let refused = Some(ChangeError::StreamClosed(A));
    assert_eq!(refusal(&mut left, config([None])), refused);

    let limit = Some(Duration::from_secs(1));
    let mut over = World::new(Timers {
        limit,
        ..Timers::default()
    });
    join(&mut over, 20);
    gather(&mut over, config([Some(clip(5_000, 9_000))]));
    over.wait(2_000);
    let (ms, gathered) = only(&mut over);
    assert_gathered(&gathered, GatherEnd::Gone, "");
    assert_eq!(ms, 1_000);
}

#[test]
fn it_is_cancelled_by_name_by_another_one_and_by_a_merge() {
    let mut first = world();
    let mut second = World::at(first.start, Timers::default());
    join(&mut second, 20);
    gather(&mut second, config([Some(clip(5_000, 9_000))]));
    gather(&mut first, config([Some(clip(5_000, 9_000))]));
    let other = Some(GatherId(1));
    first.apply(Change::StopGather {
        stream: A,
        id: other,
    });
    assert_eq!(ended(&mut first), []);
    gather(&mut first, config([Some(clip(5_000, 8_000))]));
    assert_gathered(&only(&mut first).1, GatherEnd::Cancelled, "");

    first.wait(100);
    second.wait(100);
    first
        .call
        .absorb(first.now, &mut second.call, StreamIx(1), 1)
        .unwrap();
    first.drain();
    let [(_, StreamIx(1), gathered)] = ended(&mut first)[..] else {
        panic!("of the call that came, and not of the one that was there");
    };
    assert_gathered(&gathered, GatherEnd::Cancelled, "");
    first.apply(Change::StopGather {
        stream: A,
        id: Some(ID),
    });
    assert_gathered(&only(&mut first).1, GatherEnd::Cancelled, "");
    first.wait(60);
    assert_eq!(level(&first, 130, 200), 0, "nor is its prompt heard");
}

#[test]
fn a_merge_that_cancels_more_gatherings_than_events_are_kept_loses_no_result() {
    let mut first = world();
    let mut second = World::at(first.start, Timers::default());
    let parties = EVENTS_MAX as u16 + 1;
    for n in 0..parties {
        let asked = GatherConfig {
            id: GatherId(n.into()),
            stream: join(&mut second, 20),
            ..config([None])
        };
        gather(&mut second, asked);
    }
    let (now, call) = (first.now, &mut first.call);
    call.absorb(now, &mut second.call, StreamIx(1), 1).unwrap();
    first.drain();
    let told = ended(&mut first);
    let told = told
        .iter()
        .map(|(_, ix, gathered)| (ix.0, gathered.id, gathered.end));
    let all = (0..parties).map(|n| (n + 1, GatherId(n.into()), GatherEnd::Cancelled));
    assert!(told.eq(all), "each of {parties} once, in order");
}

#[test]
fn a_prompt_that_others_stop_is_over() {
    let mut world = world();
    gather(&mut world, config([Some(clip(5_000, 9_000))]));
    world.wait(500);
    world.apply(Change::StopPlay {
        listener: A.into(),
        id: None,
    });
    world.wait(3_000);
    let (ms, gathered) = only(&mut world);
    assert_gathered(&gathered, GatherEnd::FirstDigitTimeout, "");
    assert_eq!((ms, gathered.prompt_ended_ms), (2_500, Some(500)));
}

#[test]
fn in_a_room_only_the_party_that_is_asked_hears_the_prompt() {
    let mut world = World::new(Timers::default());
    let parties: Vec<_> = (0..3).map(|_| join(&mut world, 20)).collect();
    let member = |stream: &StreamIx| Member {
        stream: *stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    let room = BridgeConfig {
        members: parties.iter().map(member).collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(room)));
    world.wait(100);
    gather(
        &mut world,
        config([Some(clip(300, 9_000)), Some(clip(300, 8_000))]),
    );
    world.wait(200);
    let mut phone = Phone::default();
    phone.dial(&mut world, "#");
    world.wait(1_000);
    phone.dial(&mut world, "1#");
    let (_, gathered) = only(&mut world);
    assert_gathered(&gathered, GatherEnd::FinishKey, "1");
    assert_eq!(gathered.attempts, 2);
    assert_eq!(level(&world, 0, 5_000), 9_000);
    assert_one_clock(&world);
    for other in &parties[1..] {
        // They may be told of the key, but hear nothing of the prompt.
        let heard = world.received(*other).into_iter();
        let mut heard = heard.filter(|(_, sent)| sent.pt() == AUDIO_PT);
        assert!(heard.all(|(_, sent)| l16(&sent).iter().all(|sample| *sample == 0)));
    }
}

/// A key that is still down when one gathering ends is not the first of the next, and its packets
/// that come after its end are none either.
#[test]
fn a_key_counts_once_across_gatherings() {
    let mut world = world();
    let one = || {
        let mut one = config([None]);
        one.rules.digits_max = 1;
        one
    };
    gather(&mut world, one());
    let mut phone = Phone::default();
    let code = Digit::from_char('4').unwrap().code();
    for n in 1..=30_u16 {
        let event = TelephoneEvent {
            code,
            end: n >= 28,
            volume: 10,
            duration: n.min(28) * 160,
        };
        phone.event(&mut world, 0, event, n == 1);
        if n == 1 {
            assert_gathered(&only(&mut world).1, GatherEnd::DigitsMax, "4");
        }
        if n == 5 || n == 28 {
            gather(&mut world, one());
        }
        world.wait(20);
    }
    let _cancelled = ended(&mut world);
    phone.dial(&mut world, "6");
    assert_gathered(&only(&mut world).1, GatherEnd::DigitsMax, "6");
}

/// Nobody listens to keys any more once they are of no use.
#[test]
fn keys_are_heard_only_while_they_are_gathered() {
    let mut world = world();
    let mut phone = Phone::default();
    let told = |world: &mut World| {
        let outputs = std::mem::take(&mut world.outputs);
        let presses = outputs.into_iter().filter(|output| match output {
            Output::Event(event) => matches!(event.kind, EventKind::DigitBegan(_)),
            _ => false,
        });
        presses.count()
    };
    phone.dial(&mut world, "1");
    assert_eq!(told(&mut world), 0);
    gather(&mut world, config([None]));
    phone.dial(&mut world, "12#");
    assert_eq!(told(&mut world), 3);
    world.wait(6_000);
    phone.dial(&mut world, "3");
    assert_eq!(told(&mut world), 0);
    // Who asked for keys himself goes on hearing them.
    let events = DigitsConfig {
        telephone_events: true,
        in_band: false,
    };
    world.apply(Change::Digits(A, Some(events)));
    gather(&mut world, config([None]));
    phone.dial(&mut world, "1#");
    world.wait(6_000);
    phone.dial(&mut world, "2");
    assert_eq!(told(&mut world), 3);
    world.apply(Change::Digits(A, None));
    phone.dial(&mut world, "2");
    assert_eq!(told(&mut world), 0);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut world = world();
    let opaque = world.add(1, Payload::Opaque, Privacy::Masked);
    let mute = world.add(2, Payload::Rtp, Privacy::Masked);
    gather(&mut world, config([Some(clip(5_000, 9_000))]));
    let of = |stream, prompt| GatherConfig {
        stream,
        ..config([prompt])
    };
    let sound = || Some(clip(100, 9_000));
    for (config, error) in [
        (
            of(StreamIx(9), None),
            ChangeError::UnknownStream(StreamIx(9)),
        ),
        (of(opaque, None), ChangeError::Digits(opaque)),
        (of(mute, sound()), ChangeError::Codec(mute)),
        (config([]), ChangeError::Gather(GatherError::Attempts(0))),
    ] {
        let known = usize::from(config.stream.0) < world.call.streams();
        assert_eq!(refusal(&mut world, config), Some(error));
        world.drain();
        let told = ended(&mut world).pop();
        let end = told.map(|(_, _, gathered)| gathered.end);
        assert_eq!(end, known.then_some(GatherEnd::Refused));
    }
    for n in 0..PLAYERS_MAX as u32 - 1 {
        let over = Play {
            times: None,
            layer: Layer::Over,
            ..Play::new(PlayId(n), A, [clip(1_000, 1)])
        };
        world.apply(Change::Play(Box::new(over)));
    }
    assert_eq!(ended(&mut world), [], "what was gathered goes on");
    // Its prompt's place is for its successor's.
    gather(&mut world, config([sound()]));
    assert_gathered(&only(&mut world).1, GatherEnd::Cancelled, "");
    world.apply(Change::StopGather {
        stream: A,
        id: None,
    });
    world.wait(100);
    let last = Play {
        times: None,
        ..Play::new(PlayId(9), A, [clip(1_000, 1)])
    };
    world.apply(Change::Play(Box::new(last)));
    assert_eq!(
        refusal(&mut world, config([sound()])),
        Some(ChangeError::Play(A.into()))
    );
    // Who has nothing that could be played can be listened to all the same.
    gather(&mut world, of(mute, None));
}
