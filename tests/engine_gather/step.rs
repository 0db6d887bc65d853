//! Prompts that are stopped by tones of G.711 in packets of 20 ms: how long they go on.

use std::f64::consts::TAU;

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;

use crate::engine_support::*;
use crate::{EVENT_PT, clip, config, kind, only};

const PCMU_PT: u8 = 0;
const LOW_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// Most milliseconds from a tone's start to the prompt's last sample.
const STOPS_MS: f64 = 40.0;

fn world() -> World {
    let mut world = World::new(Timers::default());
    join(&mut world);
    world
}

/// A party that hears and speaks PCMU.
fn join(world: &mut World) -> StreamIx {
    let ix = world.add(world.call.streams() as u16, Payload::Rtp, Privacy::Masked);
    let codec = CodecConfig::new(CodecKind::Pcmu);
    let pt = PCMU_PT;
    let voice = Voice {
        hears: [Heard { pt, codec }].into_iter().collect(),
        speaks: Some(Spoken {
            pt,
            codec,
            ptime_ms: 20,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    };
    world.apply(Change::Remote(ix, remote(ix)));
    world.apply(Change::Voice(ix, Box::new(voice)));
    let types = [kind(PCMU_PT, false), kind(EVENT_PT, true)];
    world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
    ix
}

/// The party in a bridge with so many others.
fn enter_bridge(world: &mut World, others: usize) {
    let parties = [A].into_iter().chain((0..others).map(|_| join(world)));
    let members = parties.map(|stream| Member {
        stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    });
    let bridge = BridgeConfig {
        members: members.collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(bridge)));
}

/// Who is asked for keys.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// With so many others in a bridge: with one, packets pass until the prompt.
    others: usize,
    /// Its keys were listened to before.
    known: bool,
}

/// Who says soft noise, and a key from one sample on for 100 ms.
struct Caller {
    encoder: Encoder,
    random: fastrand::Rng,
    said: u64,
    began_ms: u64,
    key: [f64; 2],
    amplitude: f64,
    from: u64,
}

impl Caller {
    fn new(world: &World, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            encoder: Encoder::new(&CodecConfig::new(CodecKind::Pcmu)).unwrap(),
            said: 0,
            began_ms: world.ms(),
            key: [LOW_HZ, HIGH_HZ].map(|hz| hz[random.usize(..4)]),
            amplitude: f64::from(random.u32(1_500..7_000)),
            from: u64::MAX,
            random,
        }
    }

    /// Presses its key `ms` and a random part of a packet from now on; when that is.
    fn press_in(&mut self, ms: u64) -> f64 {
        self.from = self.said + ms * 8 + self.random.u64(..160);
        self.began_ms as f64 + self.from as f64 / 8.0
    }

    /// What is said in 20 ms leaves when they are over.
    fn say(&mut self, world: &mut World) {
        let sample = |n: u64| {
            let at = n as f64 / 8_000.0 * TAU;
            let tone: f64 = self.key.iter().map(|hz| (at * hz).sin()).sum();
            let sounds = n >= self.from && n - self.from < 800;
            let noise = f64::from(self.random.i16(-20..20));
            (noise + if sounds { self.amplitude * tone } else { 0.0 }) as i16
        };
        let pcm: Vec<i16> = (self.said..self.said + 160).map(sample).collect();
        let mut payload = [0; 160];
        let len = self.encoder.encode(&pcm, &mut payload).unwrap();
        let (seq, timestamp) = ((self.said / 160) as u16, self.said as u32);
        world.hear(A, &rtp(PCMU_PT, seq, timestamp, 0x5150, &payload[..len]));
        self.said += 160;
    }

    fn talk(&mut self, world: &mut World, packets: u64) {
        for _ in 0..packets {
            world.wait(20);
            self.say(world);
        }
    }
}

/// Which samples of the prompt were heard, in milliseconds, by a listener without a buffer.
fn heard(world: &World) -> Vec<(f64, i16)> {
    let mut decoder = Decoder::new(&CodecConfig::new(CodecKind::Pcmu)).unwrap();
    let mut heard = Vec::new();
    for (ms, sent) in world.received(A) {
        let mut pcm = [0; 160];
        decoder.decode(&sent.bytes[12..], &mut pcm).unwrap();
        let at = |n| ms as f64 + n as f64 / 8.0;
        heard.extend(pcm.iter().enumerate().map(|(n, sample)| (at(n), *sample)));
    }
    heard
}

/// How long after the start of a tone the prompt's last sample was over.
fn stops_after(seed: u64, asked: Asked) -> f64 {
    let mut world = world();
    let mut caller = Caller::new(&world, seed);
    world.apply(Change::TypeAhead(A, asked.known));
    caller.talk(&mut world, 10);
    let phase = caller.random.u64(..20);
    world.wait(phase);
    if asked.others > 0 {
        enter_bridge(&mut world, asked.others);
    }
    let mut any = config([Some(clip(5_000, 9_000))]);
    any.rules.finish = Keys::NONE;
    crate::gather(&mut world, any);
    world.wait(20 - phase);
    caller.say(&mut world);
    // Where its packets were not known the prompt has been put in step after half a second.
    let began = caller.press_in(if asked.known { 60 } else { 560 });
    caller.talk(&mut world, 45);
    world.wait(2_000);
    let (_, gathered) = only(&mut world);
    assert_eq!(gathered.digits.len(), 1, "{seed}");
    crate::assert_one_clock(&world);
    let heard = heard(&world);
    let loud = heard.iter().rfind(|(_, sample)| *sample != 0);
    let (last, _) = loud.expect("a prompt");
    assert!(*last > began - 20.0, "{seed}: it was played");
    last + 1.0 / 8.0 - began
}

/// Wherever in its packet a tone begins and wherever between packets the prompt did.
#[track_caller]
fn assert_stops(asked: Asked, runs: u64) {
    let stops = (0..runs).map(|seed| stops_after(seed, asked));
    let worst = stops.fold(0.0, f64::max);
    println!("{asked:?}: the prompt's last sample {worst:.2} ms after the tone's start");
    assert!(worst <= STOPS_MS, "{asked:?}: {worst} ms");
}

#[test]
fn a_tone_of_any_phase_stops_the_prompt_in_40_ms() {
    for known in [true, false] {
        assert_stops(Asked { others: 0, known }, 250);
    }
}

/// Each member's frames leave in step with its own packets.
#[test]
fn in_a_bridge_a_tone_stops_the_prompt_in_40_ms() {
    let known = true;
    assert_stops(Asked { others: 2, known }, 500);
}

#[test]
fn in_a_bridge_the_tone_of_one_unheard_before_stops_the_prompt_in_40_ms() {
    let known = false;
    assert_stops(Asked { others: 2, known }, 500);
}

#[test]
fn in_a_bridge_of_two_a_tone_stops_the_prompt_in_40_ms() {
    for known in [true, false] {
        assert_stops(Asked { others: 1, known }, 250);
    }
}

/// What is silent of a prompt while its party speaks so, in milliseconds of each of its pauses.
fn pauses_of(world: &World) -> Vec<u64> {
    let sent = world.received(A);
    let pauses = sent.windows(2).map(|pair| pair[1].0 - pair[0].0 - 20);
    pauses.filter(|ms| *ms > 0).collect()
}

/// The price: less than a packet, once, and nothing of the prompt is lost.
#[test]
fn a_prompt_without_a_pause_is_late_once() {
    let mut worst = 0;
    for phase in 0..20 {
        let mut world = world();
        let mut caller = Caller::new(&world, phase);
        caller.talk(&mut world, 10);
        world.wait(phase);
        crate::gather(&mut world, config([Some(clip(1_500, 9_000))]));
        world.wait(20 - phase);
        caller.say(&mut world);
        caller.talk(&mut world, 100);
        let pauses = pauses_of(&world);
        assert!(pauses.len() <= 1, "{phase}: {pauses:?}");
        worst = worst.max(pauses.first().copied().unwrap_or(0));
        let loud = heard(&world).into_iter().filter(|(_, sample)| *sample != 0);
        assert_eq!(loud.count(), 1_500 * 8, "{phase}");
    }
    assert!((1..20).contains(&worst), "{worst} ms");
}

/// The fastest packets say when a frame is in step, so that those which are late move none.
#[test]
fn packets_that_are_late_disturb_no_prompt() {
    for seed in 0..10 {
        let mut world = world();
        let mut caller = Caller::new(&world, seed);
        crate::gather(&mut world, config([Some(clip(30_000, 9_000))]));
        let start = world.ms();
        for packet in 1..=1_500 {
            let late = caller.random.u64(..16);
            let at = start + packet * 20 + late;
            world.wait(at - world.ms());
            caller.say(&mut world);
        }
        let pauses = pauses_of(&world);
        assert!(pauses.len() <= 1, "{seed}: {pauses:?}");
        assert!(pauses.iter().all(|ms| *ms < 20), "{seed}: {pauses:?}");
    }
}
