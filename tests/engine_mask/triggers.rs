//! Masks that keys of the party itself begin and end.

use std::f32::consts::TAU;
use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::dtmf::{Detector, Heard};
use crosspoint::audio::g711;
use crosspoint::engine::*;
use crosspoint::wire::event::{Digit, EventCode};

use super::engine_support::{A, B, World, rtp};
use super::{EVENT_PT, codes, kind, tapped};

fn keys(text: &str) -> Option<TriggerKeys> {
    Some(TriggerKeys::parse(text).expect("keys"))
}

/// Absorbs from `*1` on.
fn triggers() -> Triggers {
    Triggers {
        id: 1,
        start: keys("*1"),
        mode: MaskMode::Absorb,
        end: None,
        end_time: None,
        end_count: None,
        after: MaskMode::Pass,
    }
}

fn mask(in_band: bool, triggers: Triggers) -> Change {
    Change::Mask(
        A,
        Some(Box::new(Mask {
            in_band,
            triggers: Some(Box::new(triggers)),
            ..Mask::of(MaskMode::Pass)
        })),
    )
}

/// What A says.
struct Talker {
    seq: u16,
    clock: u32,
    /// All of its events have this timestamp.
    stands_at: Option<u32>,
}

impl Talker {
    fn new() -> Self {
        Self {
            seq: 0,
            clock: 0,
            stands_at: None,
        }
    }

    fn say(&mut self, world: &mut World, pt: u8, timestamp: u32, payload: &[u8]) {
        self.seq += 1;
        let packet = rtp(pt, self.seq, timestamp, 77, payload);
        let _taken_or_not = world.hear(A, &packet);
        world.wait(20);
        self.clock += 160;
    }

    fn silence(&mut self, world: &mut World, packets: usize) {
        for _ in 0..packets {
            let clock = self.clock;
            self.say(world, 0, clock, &[0xff; 160]);
        }
    }

    /// Each key as six packets of one event, with silence of 60 ms behind it.
    fn tell(&mut self, world: &mut World, text: &str) {
        for c in text.chars() {
            let code = Digit::from_char(c).expect("a key").code().0;
            let began = self.stands_at.unwrap_or(self.clock);
            for n in 1..=6_u8 {
                let end = u8::from(n > 3) << 7;
                let event = [code, end | 10, 0, 50 * n.min(3)];
                self.say(world, EVENT_PT, began, &event);
            }
            self.silence(world, 3);
        }
    }

    /// Each key as a tone of 80 ms, with as much silence behind it.
    fn sound(&mut self, world: &mut World, text: &str) {
        const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
        const HIGH_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
        for c in text.chars() {
            let at = "123A456B789C*0#D".find(c).expect("a key");
            let (low_hz, high_hz) = (LOW_HZ[at / 4], HIGH_HZ[at % 4]);
            for packet in 0..4_u16 {
                let sample = |n: u16| {
                    let seconds = f32::from(160 * packet + n) / 8_000.0;
                    let sum = (TAU * low_hz * seconds).sin() + (TAU * high_hz * seconds).sin();
                    g711::linear_to_ulaw((6_000.0 * sum) as i16)
                };
                let payload: Vec<u8> = (0..160).map(sample).collect();
                let clock = self.clock;
                self.say(world, 0, clock, &payload);
            }
            self.silence(world, 4);
        }
    }
}

/// The keys of the events that a party was sent, each once.
fn told(world: &World, ix: StreamIx) -> String {
    let presses = codes(world, ix);
    let presses = presses.chunks(6).map(|press| {
        assert!(press.iter().all(|code| *code == press[0]), "a whole press");
        EventCode(press[0]).digit().expect("a key").as_char()
    });
    presses.collect()
}

/// The keys in what a party heard.
fn sounded(world: &World, ix: StreamIx) -> String {
    let mut found = String::new();
    let mut detector = Detector::new(8_000).expect("a rate");
    let mut pcm = Vec::new();
    let sent = world.received(ix);
    let first = sent.first().map_or(0, |(_, sent)| sent.timestamp());
    for (_, packet) in &sent {
        let at = packet.timestamp().wrapping_sub(first) as usize;
        pcm.resize(pcm.len().max(at + 160), 0);
        for (out, octet) in pcm[at..].iter_mut().zip(&packet.bytes[12..]) {
            *out = g711::ulaw_to_linear(*octet);
        }
    }
    detector.feed(&pcm, &mut |heard| {
        if let Heard::Began(tone) = heard {
            found.push(tone.digit.as_char());
        }
    });
    found
}

/// What the timeline says of masking.
fn timeline(world: &World) -> Vec<(u64, EventKind)> {
    let report = world.call.report(world.now);
    let masking = |event: &Event| {
        matches!(
            event.kind,
            EventKind::MaskingBegan | EventKind::MaskingEnded
        )
    };
    let events = report.events.into_iter().filter(masking);
    let ms = |event: &Event| event.at.duration_since(report.created).as_millis() as u64;
    events.map(|event| (ms(&event), event.kind)).collect()
}

#[test]
fn events_are_masked_between_two_strings() {
    let (mut world, ear) = tapped();
    let mut talker = Talker::new();
    world.apply(mask(
        false,
        Triggers {
            end: keys("##"),
            ..triggers()
        },
    ));
    talker.tell(&mut world, "5*1234##67");
    let kinds: Vec<_> = timeline(&world).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [EventKind::MaskingBegan, EventKind::MaskingEnded]);
    talker.tell(&mut world, "*189##0");
    for hearer in [B, ear] {
        assert_eq!(told(&world, hearer), "5*167*10");
    }
    assert!(!format!("{:?}", mask(false, triggers())).contains('*'));
}

#[test]
fn a_sender_whose_timestamp_stands_still_is_masked_all_the_same() {
    let (mut world, ear) = tapped();
    let mut talker = Talker {
        stands_at: Some(160),
        ..Talker::new()
    };
    let end = keys("##");
    world.apply(mask(false, Triggers { end, ..triggers() }));
    talker.tell(&mut world, "*11235##67");
    for hearer in [B, ear] {
        let sent = world.received(hearer);
        let events = sent.iter().filter(|(_, sent)| sent.pt() == EVENT_PT);
        let codes: Vec<u8> = events.map(|(_, sent)| sent.bytes[12]).collect();
        // Six packets of each key that passes.
        let passed: Vec<u8> = [10, 1, 6, 7]
            .into_iter()
            .flat_map(|code| [code; 6])
            .collect();
        assert_eq!(codes, passed);
    }
}

#[test]
fn a_number_of_keys_or_a_time_ends_it() {
    let (mut world, _) = tapped();
    let mut talker = Talker::new();
    let counted = Triggers {
        end_count: Some(4),
        ..triggers()
    };
    world.apply(mask(false, counted.clone()));
    talker.tell(&mut world, "*1234567");
    assert_eq!(told(&world, B), "*167");
    // The same mask again changes nothing, half way through as little as before.
    talker.tell(&mut world, "*123");
    world.apply(mask(false, counted.clone()));
    talker.tell(&mut world, "4567");
    assert_eq!(told(&world, B), "*167*167");
    // One of another name begins anew.
    talker.tell(&mut world, "*123");
    world.apply(mask(false, Triggers { id: 2, ..counted }));
    talker.tell(&mut world, "45");
    assert_eq!(told(&world, B), "*167*167*145");
    let timed = Triggers {
        end_time: Some(Duration::from_millis(400)),
        ..triggers()
    };
    world.apply(mask(false, timed));
    let began = world.now;
    talker.tell(&mut world, "*12345");
    // 180 ms each: 1 goes down at 180 ms, and 4 at 720.
    assert_eq!(told(&world, B), "*167*167*145*145");
    let mut events = timeline(&world);
    let (ended, _) = events.pop().expect("an end");
    let (begun, _) = events.pop().expect("a beginning");
    assert_eq!(ended - begun, 400);
    assert!(world.now > began);
}

#[test]
fn without_a_start_it_masks_at_once_and_only_once() {
    let (mut world, _) = tapped();
    let mut talker = Talker::new();
    let mode = MaskMode::ZeroDigit;
    world.apply(mask(
        false,
        Triggers {
            start: None,
            end: keys("#"),
            mode,
            ..triggers()
        },
    ));
    talker.tell(&mut world, "42#42#42");
    assert_eq!(told(&world, B), "00042#42");
    // What a trigger began ends with the mask.
    world.apply(mask(false, triggers()));
    talker.tell(&mut world, "*19");
    world.apply(Change::Mask(A, None));
    talker.tell(&mut world, "9");
    assert_eq!(told(&world, B), "00042#42*19");
}

#[test]
fn tones_are_masked_between_two_strings() {
    let mut world = World::two_party(Privacy::Transparent);
    let codec = CodecConfig::new(CodecKind::Pcmu);
    for ix in [A, B] {
        let types = [kind(0, false)];
        world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
        world.apply(Change::Voice(
            ix,
            Box::new(Voice {
                hears: [crosspoint::engine::Heard { pt: 0, codec }]
                    .into_iter()
                    .collect(),
                speaks: Some(Spoken {
                    pt: 0,
                    codec,
                    ptime_ms: 20,
                }),
                playout: PlayoutBounds::default(),
                idle: Idle::Nothing,
            }),
        ));
    }
    let mut talker = Talker::new();
    world.apply(mask(
        true,
        Triggers {
            end: keys("##"),
            ..triggers()
        },
    ));
    talker.silence(&mut world, 10);
    talker.sound(&mut world, "7*12345##");
    talker.silence(&mut world, 40);
    talker.sound(&mut world, "68");
    talker.silence(&mut world, 40);
    // The key that begins it was being said when it was known.
    let heard = sounded(&world, B);
    assert!(["7*168", "7*68"].contains(&&*heard), "{heard}");
    assert_eq!(timeline(&world).len(), 2);
}

#[test]
fn triggers_that_cannot_be_are_refused() {
    let (mut world, _) = tapped();
    let broken = Triggers {
        end_count: Some(0),
        ..triggers()
    };
    let error = world.call.apply(world.now, mask(false, broken));
    let why = MaskError::Trigger(TriggerError::Count(0));
    assert_eq!(error, Err(ChangeError::Mask(A, why)));
    let hz = [1; 9].into_iter().collect();
    let broken = Triggers {
        after: MaskMode::Tone { hz, level: 0 },
        ..triggers()
    };
    let error = world.call.apply(world.now, mask(false, broken));
    assert_eq!(error, Err(ChangeError::Mask(A, MaskError::Tones(9))));
}
