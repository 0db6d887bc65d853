//! A thousand presses at random, in speech, and two detectors that look for them in what others
//! received.
//!
//! `CROSSPOINT_PRESSES` sets their number; it is less by default, as a debug build is slow.
//! `CROSSPOINT_SPEECH` names a folder of WAV files (8 kHz, 16 bits, mono), as Debian's
//! asterisk-core-sounds-en-wav has them, to speak with instead of the voice made here.

use std::f32::consts::TAU;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::dtmf::{Detector, Heard};
use crosspoint::audio::g711;
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use crosspoint::wire::event::Digit;

use super::engine_support::{self, A, B, Sent, World, rtp};

pub(crate) const C: StreamIx = StreamIx(2);
pub(crate) const EAR: StreamIx = StreamIx(3);
pub(crate) const EVENT_PT: u8 = 101;
pub(crate) const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
pub(crate) const HIGH_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [u8; 16] = *b"123A456B789C*0#D";

/// Samples around a press within which nothing is said of the speech: a ramp, and what a suspicion
/// is wider than the tone.
const MARGIN: usize = 280;

/// Samples that are looked for in what was heard.
const PIECE: usize = 400;

fn presses() -> usize {
    let set = std::env::var("CROSSPOINT_PRESSES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// What A says, where its presses are, and which of them are telephone-events.
struct Script {
    pcm: Vec<i16>,
    presses: Vec<Press>,
}

struct Press {
    at: std::ops::Range<usize>,
    key: u8,
    event: bool,
}

impl Script {
    fn new(seed: u64, count: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pcm = Vec::new();
        let mut presses = Vec::new();
        let mut voice = Speaker::new(seed);
        voice.say(&mut pcm, 16_000);
        for n in 0..count {
            voice.say(&mut pcm, random.usize(1_600..4_800));
            let ms = random.usize(40..=300);
            let (row, column) = (random.usize(..4), random.usize(..4));
            let event = n % 2 == 1;
            let level = 8_000.0 * random.f32().mul_add(0.9, 0.1);
            let start = pcm.len();
            if event {
                // Whole packets, as telephone-events come.
                pcm.resize(pcm.len().next_multiple_of(160), 0);
                let start = pcm.len();
                pcm.resize(start + (8 * ms).next_multiple_of(160), 0);
                presses.push(Press {
                    at: start..pcm.len(),
                    key: KEYS[4 * row + column],
                    event,
                });
                continue;
            }
            pcm.extend((0..8 * ms).map(|n| {
                let at = n as f32 / 8_000.0;
                let tones = (TAU * LOW_HZ[row] * at).sin() + (TAU * HIGH_HZ[column] * at).sin();
                (level * tones) as i16
            }));
            presses.push(Press {
                at: start..pcm.len(),
                key: KEYS[4 * row + column],
                event,
            });
        }
        voice.say(&mut pcm, 16_000);
        pcm.truncate(pcm.len() / 160 * 160);
        Self { pcm, presses }
    }
}

fn recorded() -> Option<String> {
    std::env::var("CROSSPOINT_SPEECH").ok()
}

/// Speech: recorded, or a buzz through three formants that move, in syllables.
struct Speaker {
    recorded: Vec<i16>,
    at: usize,
    random: fastrand::Rng,
}

impl Speaker {
    fn new(seed: u64) -> Self {
        let folder = recorded();
        let mut recorded = Vec::new();
        let mut files: Vec<_> = folder
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).expect("a folder"))
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ext| ext == "wav"))
            .collect();
        files.sort();
        for file in files {
            let bytes = std::fs::read(file).expect("a file");
            let samples = bytes[44.min(bytes.len())..].chunks_exact(2);
            recorded.extend(samples.map(|s| i16::from_le_bytes([s[0], s[1]])));
        }
        Self {
            recorded,
            at: 0,
            random: fastrand::Rng::with_seed(seed ^ 1),
        }
    }

    fn say(&mut self, pcm: &mut Vec<i16>, samples: usize) {
        if !self.recorded.is_empty() {
            let endless = self.recorded.iter().cycle().skip(self.at);
            pcm.extend(endless.take(samples));
            self.at = (self.at + samples) % self.recorded.len();
            return;
        }
        let end = pcm.len() + samples;
        while pcm.len() < end {
            self.syllable(pcm);
        }
        pcm.truncate(end);
    }

    fn syllable(&mut self, pcm: &mut Vec<i16>) {
        let random = &mut self.random;
        let len = random.usize(800..2_400);
        let pitch_hz = random.f32().mul_add(120.0, 90.0);
        let formants = [
            (random.f32().mul_add(500.0, 300.0), 60.0),
            (random.f32().mul_add(1_300.0, 900.0), 90.0),
            (random.f32().mul_add(600.0, 2_300.0), 120.0),
        ];
        let mut state = [[0.0_f32; 2]; 3];
        let mut phase = 0.0_f32;
        for n in 0..len {
            let at = n as f32 / len as f32;
            phase += pitch_hz * (1.2 - 0.4 * at + 0.1 * (random.f32() - 0.5)) / 8_000.0;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            let breath = random.f32() - 0.5;
            let mut sum = 0.0;
            for ((hz, wide), [one, two]) in formants.iter().zip(&mut state) {
                let hz = hz * (0.8 + 0.4 * at);
                let r = (-TAU / 2.0 * wide / 8_000.0).exp();
                let next = 2.0 * r * (TAU * hz / 8_000.0).cos() * *one - r * r * *two;
                let next = next + 1_500.0 * pulse + 20.0 * breath;
                (*two, *one) = (*one, next);
                sum += next;
            }
            pcm.push((sum * (TAU / 2.0 * at).sin()) as i16);
        }
    }
}

pub(crate) fn voice(pt: u8) -> Box<Voice> {
    let kind = if pt == 0 {
        CodecKind::Pcmu
    } else {
        CodecKind::Pcma
    };
    let codec = CodecConfig::new(kind);
    Box::new(Voice {
        hears: [crosspoint::engine::Heard { pt, codec }]
            .into_iter()
            .collect(),
        speaks: Some(Spoken {
            pt,
            codec,
            ptime_ms: 20,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    })
}

/// Who hears A besides the one who listens.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scene {
    Relay,
    Bridge,
}

pub(crate) fn world(scene: Scene, pt: u8) -> World {
    let mut world = World::two_party(Privacy::Transparent);
    let types = [super::kind(pt, false), super::kind(EVENT_PT, true)];
    for ix in [C, EAR] {
        world.add(ix.0, Payload::Rtp, Privacy::Transparent);
        world.apply(Change::Remote(ix, engine_support::remote(ix)));
    }
    for ix in [A, B, C, EAR] {
        world.apply(Change::PayloadTypes(ix, types.into_iter().collect()));
        world.apply(Change::Voice(ix, voice(pt)));
    }
    world.apply(Change::Tap(Box::new(Tap {
        from: A,
        to: EAR,
        types: types.into_iter().collect(),
    })));
    if scene == Scene::Bridge {
        bridged(&mut world, &[A, B, C]);
    }
    world
}

/// Puts these into one bridge, and nobody else.
pub(crate) fn bridged(world: &mut World, members: &[StreamIx]) {
    let member = |stream: &StreamIx| Member {
        stream: *stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    let config = BridgeConfig {
        members: members.iter().map(member).collect(),
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

/// A says its script; one packet in `loses` is lost.
fn play(world: &mut World, script: &Script, pt: u8, loses: Option<u8>) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut encoded = [0; 160];
    for (n, pcm) in script.pcm.chunks_exact(160).enumerate() {
        let clock = 160 * n;
        let mut events = script.presses.iter().filter(|press| press.event);
        let packet = match events.find(|press| press.at.contains(&clock)) {
            Some(press) => {
                let ticks = (clock + 160 - press.at.start) as u16;
                let end = u8::from(clock + 160 >= press.at.end) << 7;
                let key = Digit::from_char(char::from(press.key)).expect("a key");
                let [high, low] = ticks.to_be_bytes();
                let payload = [key.code().0, end | 10, high, low];
                rtp(EVENT_PT, n as u16, press.at.start as u32, 77, &payload)
            }
            None => {
                match pt {
                    0 => g711::encode_ulaw(pcm, &mut encoded),
                    _ => g711::encode_alaw(pcm, &mut encoded),
                };
                rtp(pt, n as u16, clock as u32, 77, &encoded)
            }
        };
        if loses.is_none_or(|percent| random.u8(..100) >= percent) {
            let _taken_or_not = world.hear(A, &packet);
        }
        world.wait(20);
    }
}

/// What a party received, decoded, each sample where its timestamp says; and the events in it.
fn received(world: &World, ix: StreamIx, pt: u8) -> (Vec<i16>, Vec<u8>) {
    let sent = world.received(ix);
    assert_numbers(&sent);
    let mut pcm = Vec::new();
    let mut events = Vec::new();
    let first = sent.first().map_or(0, |(_, sent)| sent.timestamp());
    for (_, packet) in &sent {
        if packet.pt() != pt {
            events.push(packet.bytes[12]);
            continue;
        }
        let at = packet.timestamp().wrapping_sub(first) as usize;
        pcm.resize(pcm.len().max(at + 160), 0);
        for (out, octet) in pcm[at..].iter_mut().zip(&packet.bytes[12..]) {
            *out = decoded(pt, *octet);
        }
    }
    (pcm, events)
}

fn decoded(pt: u8, octet: u8) -> i16 {
    match pt {
        0 => g711::ulaw_to_linear(octet),
        _ => g711::alaw_to_linear(octet),
    }
}

fn encoded(pt: u8, sample: i16) -> u8 {
    match pt {
        0 => g711::linear_to_ulaw(sample),
        _ => g711::linear_to_alaw(sample),
    }
}

fn assert_numbers(sent: &[(u64, Sent)]) {
    for pair in sent.windows(2) {
        let [(_, a), (_, b)] = pair else {
            unreachable!()
        };
        assert_eq!(b.seq(), a.seq().wrapping_add(1), "no number is missing");
        let step = b.timestamp().wrapping_sub(a.timestamp());
        assert!(step < 8_000, "a step of {step}");
        assert_eq!(a.ssrc(), b.ssrc());
    }
}

/// Keys by our detector.
pub(crate) fn detected(pcm: &[i16]) -> Vec<u8> {
    let mut keys = Vec::new();
    let mut detector = Detector::new(8_000).expect("a rate");
    detector.feed(pcm, &mut |heard| {
        if let Heard::Began(tone) = heard {
            keys.push(tone.digit.as_char() as u8);
        }
    });
    keys
}

/// Keys as most detectors in the field find them: the energy at eight frequencies in blocks of 102
/// samples, the strongest of each group, two blocks that agree.
pub(crate) fn detected_in_blocks(pcm: &[i16]) -> Vec<u8> {
    let (mut keys, mut last, mut reported) = (Vec::new(), None, None);
    for block in pcm.chunks_exact(102) {
        let energy: f32 = block.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
        let low = LOW_HZ.map(|hz| goertzel(block, hz));
        let high = HIGH_HZ.map(|hz| goertzel(block, hz));
        let (row, column) = (strongest(&low), strongest(&high));
        let (l, h) = (low[row], high[column]);
        let alone = |group: &[f32; 4], best: usize| {
            let mut others = group.iter().enumerate().filter(|(ix, _)| *ix != best);
            others.all(|(_, other)| other * 6.3 < group[best])
        };
        let hit = l.min(h) > 102.0 * 102.0 / 4.0 * 100.0
            && h < l * 2.51
            && l < h * 6.31
            && alone(&low, row)
            && alone(&high, column)
            && l + h > 42.0 * energy;
        let hit = hit.then(|| KEYS[4 * row + column]);
        if hit == last && hit != reported {
            keys.extend(hit);
            reported = hit;
        }
        last = hit;
    }
    keys
}

/// Squared magnitude of the block's correlation with a frequency.
fn goertzel(block: &[i16], hz: f32) -> f32 {
    let coefficient = 2.0 * (TAU * hz / 8_000.0).cos();
    let (one, two) = block.iter().fold((0.0_f32, 0.0_f32), |(one, two), s| {
        (f32::from(*s) + coefficient * one - two, one)
    });
    one * one + two * two - coefficient * one * two
}

fn strongest(group: &[f32; 4]) -> usize {
    let by = |a: &usize, b: &usize| group[*a].total_cmp(&group[*b]);
    (0..4).max_by(by).expect("four")
}

/// Samples of speech away from presses, and how many of them were received just as they were sent.
/// Each piece of it has its own delay, as the playout's may change.
fn speech_that_survived(script: &Script, heard: &[i16], pt: u8) -> (usize, usize) {
    let sent: Vec<i16> = script
        .pcm
        .iter()
        .map(|s| decoded(pt, encoded(pt, *s)))
        .collect();
    let (mut all, mut same, mut last) = (0, 0, 0);
    let mut from = 8_000;
    for press in &script.presses {
        let until = press.at.start.saturating_sub(MARGIN);
        while from + PIECE <= until {
            let piece = from..from + PIECE;
            let alike = |delay: &isize| alike(&sent, heard, piece.clone(), *delay);
            if alike(&last) < PIECE {
                last = (0..1_600).max_by_key(alike).unwrap_or(last);
            }
            (all, same) = (all + PIECE, same + alike(&last));
            from += PIECE;
        }
        from = press.at.end + MARGIN;
    }
    (all, same)
}

/// How many samples are the same, so much later.
fn alike(sent: &[i16], heard: &[i16], range: std::ops::Range<usize>, delay: isize) -> usize {
    let Some(there) = range.start.checked_add_signed(delay) else {
        return 0;
    };
    let heard = heard.get(there..).unwrap_or(&[]);
    let pairs = sent[range].iter().zip(heard);
    pairs.filter(|(a, b)| a == b).count()
}

pub(crate) fn masked(mode: MaskMode) -> Change {
    Change::Mask(A, Some(Box::new(Mask::of(mode))))
}

#[test]
fn the_two_detectors_find_the_keys_where_nothing_is_masked() {
    let script = Script::new(1, 40);
    let mut world = world(Scene::Relay, 0);
    play(&mut world, &script, 0, None);
    let (pcm, events) = received(&world, B, 0);
    let tones = script.presses.iter().filter(|press| !press.event);
    let tones: Vec<u8> = tones.map(|press| press.key).collect();
    for found in [detected(&pcm), detected_in_blocks(&pcm)] {
        let known = found.iter().filter(|key| tones.contains(key)).count();
        assert!(known * 10 >= tones.len() * 9, "{known} of {}", tones.len());
    }
    assert!(events.len() > 40);
}

#[test]
fn nobody_finds_a_key_of_a_masked_party() {
    for (scene, pt, loses) in [
        (Scene::Relay, 0, None),
        (Scene::Bridge, 8, None),
        (Scene::Relay, 8, Some(5)),
        (Scene::Bridge, 0, Some(5)),
    ] {
        let script = Script::new(u64::from(pt) + 11, presses() / 4);
        let mut world = world(scene, pt);
        world.apply(masked(MaskMode::Absorb));
        play(&mut world, &script, pt, loses);
        let hearers: &[StreamIx] = match scene {
            Scene::Relay => &[B, EAR],
            Scene::Bridge => &[B, C, EAR],
        };
        for &hearer in hearers {
            let (pcm, events) = received(&world, hearer, pt);
            assert!(pcm.len() * 10 > script.pcm.len() * 9, "it is heard at all");
            let what = format!("{hearer:?} of law {pt}, loss {loses:?}");
            assert_eq!(events.len(), 0, "events to {what}");
            assert_eq!(detected(&pcm).len(), 0, "keys to {what}");
            assert_eq!(detected_in_blocks(&pcm).len(), 0, "keys to {what}");
            if loses.is_none() {
                let (all, same) = speech_that_survived(&script, &pcm, pt);
                println!("{what}: {same} of {all} samples of speech as they were");
                // A voice made of formants that stand still is more like a key than any person's.
                let least = if recorded().is_some() { 98 } else { 93 };
                assert!(
                    same * 100 >= all * least,
                    "speech to {what}: {same} of {all}"
                );
            }
        }
    }
}
