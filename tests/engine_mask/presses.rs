//! A thousand presses at random, in speech, and two detectors that look for them in what others
//! received.
//!
//! `CROSSPOINT_PRESSES` sets their number in each scene; it is less by default, as a debug build is
//! slow. `CROSSPOINT_SPEECH` names a folder of WAV files (8 kHz, 16 bits, mono), as Debian's
//! asterisk-core-sounds-en-wav has them, to speak with instead of the voice made here.
//! `CROSSPOINT_HEARD` names a folder for what each listener received, as raw 16-bit samples of
//! 8 kHz, for other people's detectors: scripts/dtmf/masking.sh has libspandsp look.

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
pub(crate) const MARGIN: usize = 280;

/// Samples that are looked for in what was heard.
const PIECE: usize = 480;

/// Samples of 20 ms.
const FRAME: usize = 160;

/// Power of a frame in which somebody speaks: −50 dBov.
const ACTIVE: f64 = 10_737.0;

pub(crate) fn presses() -> usize {
    let set = std::env::var("CROSSPOINT_PRESSES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// Keeps what a listener received for others to look at.
pub(crate) fn keep(name: &str, pcm: &[i16]) {
    if let Some(folder) = std::env::var_os("CROSSPOINT_HEARD") {
        let bytes: Vec<u8> = pcm.iter().flat_map(|s| s.to_le_bytes()).collect();
        let path = std::path::Path::new(&folder).join(format!("{name}.s16"));
        std::fs::write(path, bytes).expect("a folder to write to");
    }
}

/// What A says, where its presses are, and which of them are telephone-events.
pub(crate) struct Script {
    pub(crate) pcm: Vec<i16>,
    pub(crate) presses: Vec<Press>,
}

pub(crate) struct Press {
    pub(crate) at: std::ops::Range<usize>,
    key: u8,
    pub(crate) event: bool,
}

impl Script {
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        Self::of(seed, count, &KEYS)
    }

    /// Presses of some keys only.
    pub(crate) fn of(seed: u64, count: usize, keys: &[u8]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pcm = Vec::new();
        let mut presses = Vec::new();
        let mut voice = Speaker::new(seed);
        voice.say(&mut pcm, 16_000);
        for n in 0..count {
            voice.say(&mut pcm, random.usize(1_600..4_800));
            let ms = random.usize(40..=300);
            let key = keys[random.usize(..keys.len())];
            let place = KEYS.iter().position(|k| *k == key).expect("a key");
            let (row, column) = (place / 4, place % 4);
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
                    key,
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
                key,
                event,
            });
        }
        voice.say(&mut pcm, 16_000);
        pcm.truncate(pcm.len() / 160 * 160);
        Self { pcm, presses }
    }
}

impl Script {
    /// So many samples more are said.
    fn longer(mut self, samples: usize) -> Self {
        Speaker::new(1).say(&mut self.pcm, samples);
        self.pcm.truncate(self.pcm.len() / 160 * 160);
        self
    }
}

/// Prompts that are tones are no speech; they are told by their names.
fn is_speech(path: &std::path::Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    !TONES.iter().any(|tone| name.starts_with(tone))
}

const TONES: [&str; 5] = [
    "ascending-",
    "beep",
    "descending-",
    "confbridge-join",
    "confbridge-leave",
];

fn recorded() -> Option<String> {
    std::env::var("CROSSPOINT_SPEECH").ok()
}

/// Whether people speak, or the voice made here.
pub(crate) fn people_speak() -> bool {
    recorded().is_some()
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
            .filter(|path| is_speech(path))
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
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// A says its script; of a hundred packets `loses` are lost.
fn play(world: &mut World, script: &Script, pt: u8, loses: Option<u8>) {
    play_and(world, script, pt, loses, |_, _| ());
}

/// The same, and something is done before each packet.
pub(crate) fn play_and(
    world: &mut World,
    script: &Script,
    pt: u8,
    loses: Option<u8>,
    mut before: impl FnMut(&mut World, usize),
) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut encoded = [0; 160];
    for (n, pcm) in script.pcm.chunks_exact(160).enumerate() {
        before(world, n);
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
pub(crate) fn received(world: &World, ix: StreamIx, pt: u8) -> (Vec<i16>, Vec<u8>) {
    let sent = world.received(ix);
    assert_clock(&sent, pt);
    let mut pcm = Vec::new();
    let mut events = Vec::new();
    let first = sent.first().map_or(0, |(_, sent)| sent.timestamp());
    for (_, packet) in &sent {
        if packet.pt() != pt {
            events.push(packet.bytes[12]);
            continue;
        }
        let at = packet.timestamp().wrapping_sub(first) as usize;
        if at > pcm.len() && !pcm.is_empty() {
            fade_to(&mut pcm);
        }
        pcm.resize(pcm.len().max(at + 160), 0);
        for (out, octet) in pcm[at..].iter_mut().zip(&packet.bytes[12..]) {
            *out = decoded(pt, *octet);
        }
    }
    (pcm, events)
}

/// Something is missing: what came before fades out in 5 ms, as a player's loss concealment has it.
fn fade_to(pcm: &mut Vec<i16>) {
    let last = pcm.last().copied().map_or(0, i32::from);
    pcm.extend((0..40).map(|n| (last * (39 - n) / 40) as i16));
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

/// One source, and a clock that goes on. Events have the time of their beginning, and what is lost
/// on the way to a listener whose packets pass is missing there, too.
fn assert_clock(sent: &[(u64, Sent)], pt: u8) {
    let audio = sent.iter().filter(|(_, sent)| sent.pt() == pt);
    let audio: Vec<_> = audio.map(|(_, sent)| sent).collect();
    for pair in audio.windows(2) {
        let [a, b] = pair else { unreachable!() };
        let step = b.timestamp().wrapping_sub(a.timestamp());
        assert!((1..8_000).contains(&step), "a step of {step}");
        assert!((1..100).contains(&b.seq().wrapping_sub(a.seq())));
        assert_eq!(a.ssrc(), b.ssrc());
    }
}

/// No number is missing.
fn assert_numbers(sent: &[(u64, Sent)]) {
    for pair in sent.windows(2) {
        let [(_, a), (_, b)] = pair else {
            unreachable!()
        };
        assert_eq!(b.seq(), a.seq().wrapping_add(1), "no number is missing");
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

/// What became of the speech away from presses.
#[derive(Debug, Default)]
struct Survived {
    /// Samples, and those that were received just as they were sent.
    samples: usize,
    same: usize,
    /// Frames of 20 ms in which somebody speaks, and those in which any sample is another.
    active: usize,
    altered: usize,
    /// Of those, frames that lost half of their power or more: what one may hear.
    damaged: usize,
}

/// Each piece of speech has its own delay, as the playout's may change.
fn speech_that_survived(script: &Script, heard: &[i16], pt: u8) -> Survived {
    let coded = |s: &i16| decoded(pt, encoded(pt, *s));
    let sent: Vec<i16> = script.pcm.iter().map(coded).collect();
    let (mut survived, mut last) = (Survived::default(), 0);
    let mut from = 8_000;
    for press in &script.presses {
        let until = press.at.start.saturating_sub(MARGIN);
        while from + PIECE <= until {
            let piece = from..from + PIECE;
            let alike = |delay: &isize| alike(&sent, heard, piece.clone(), *delay);
            if alike(&last) < PIECE {
                last = (0..1_600).max_by_key(alike).unwrap_or(last);
            }
            survived.samples += PIECE;
            survived.same += alike(&last);
            for at in piece.step_by(FRAME).filter(|at| at + FRAME <= from + PIECE) {
                let there = at.saturating_add_signed(last);
                let frame = heard.get(there..there + FRAME).unwrap_or(&[0; FRAME]);
                survived.frame(&sent[at..at + FRAME], frame);
            }
            from += PIECE;
        }
        from = press.at.end + MARGIN;
    }
    survived
}

impl Survived {
    fn frame(&mut self, sent: &[i16], heard: &[i16]) {
        let (before, after) = (power(sent), power(heard));
        if before < ACTIVE {
            return;
        }
        self.active += 1;
        self.altered += usize::from(sent != heard);
        self.damaged += usize::from(after < before / 2.0);
    }

    fn assert(&self, what: &str) {
        println!("{what}: {self:?}");
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        // A voice made of formants that stand still is more like a key than any person's.
        let (same, altered, damaged) = match recorded() {
            Some(_) => (0.99, 0.005, 0.005),
            None => (0.93, 0.10, 0.08),
        };
        assert!(share(self.same, self.samples) >= same, "{what}: {self:?}");
        assert!(
            share(self.altered, self.active) <= altered,
            "{what}: {self:?}"
        );
        assert!(
            share(self.damaged, self.active) <= damaged,
            "{what}: {self:?}"
        );
    }
}

fn power(pcm: &[i16]) -> f64 {
    let sum: f64 = pcm.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    sum / pcm.len().max(1) as f64
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

/// The scenes: who hears A besides its listener, its codec, and how much is lost.
pub(crate) const SCENES: [(Scene, u8, Option<u8>); 4] = [
    (Scene::Relay, 0, None),
    (Scene::Bridge, 8, None),
    (Scene::Relay, 8, Some(5)),
    (Scene::Bridge, 0, Some(5)),
];

pub(crate) fn hearers(scene: Scene) -> &'static [StreamIx] {
    match scene {
        Scene::Relay => &[B, EAR],
        Scene::Bridge => &[B, C, EAR],
    }
}

/// A scene's part of the names of what was heard in it.
pub(crate) fn place_of((scene, pt, loses): (Scene, u8, Option<u8>)) -> String {
    let scene = match scene {
        Scene::Relay => "call",
        Scene::Bridge => "room",
    };
    format!("{scene}-law{pt}-loss{}", loses.unwrap_or(0))
}

/// Plays a script to everybody in a scene, and gives what each received.
fn heard_in(
    (scene, pt, loses): (Scene, u8, Option<u8>),
    mode: &MaskMode,
    script: &Script,
) -> Vec<(String, Vec<i16>, Vec<u8>)> {
    let mut world = world(scene, pt);
    if *mode != MaskMode::Pass {
        world.apply(masked(mode.clone()));
    }
    play(&mut world, script, pt, loses);
    let each = hearers(scene).iter().map(|hearer| {
        let (pcm, events) = received(&world, *hearer, pt);
        if events.is_empty() {
            assert_numbers(&world.received(*hearer));
        }
        assert!(pcm.len() * 10 > script.pcm.len() * 9, "it is heard at all");
        let place = place_of((scene, pt, loses));
        let name = format!("{}-{place}-to{}", mode.label(), hearer.0);
        keep(&name, &pcm);
        (name, pcm, events)
    });
    each.collect()
}

#[test]
fn the_two_detectors_find_the_keys_where_nothing_is_masked() {
    let script = Script::new(1, presses().min(200));
    let tones = script.presses.iter().filter(|press| !press.event);
    let tones: Vec<u8> = tones.map(|press| press.key).collect();
    for (name, pcm, events) in heard_in(SCENES[0], &MaskMode::Pass, &script) {
        for found in [detected(&pcm), detected_in_blocks(&pcm)] {
            let known = found.iter().filter(|key| tones.contains(key)).count();
            println!("{name}: {known} of {}", tones.len());
            assert!(known * 10 >= tones.len() * 9, "{known} of {}", tones.len());
        }
        assert!(events.len() >= tones.len());
    }
}

#[test]
fn nobody_finds_a_key_of_a_masked_party() {
    let tone = MaskMode::Tone {
        hz: [400, 1_000].into_iter().collect(),
        level: -10,
    };
    for mode in [MaskMode::Absorb, MaskMode::Silence, tone] {
        for (at, scene) in SCENES.into_iter().enumerate() {
            let script = Script::new(at as u64 + 11, presses());
            for (name, pcm, events) in heard_in(scene, &mode, &script) {
                assert_eq!(events.len(), 0, "events to {name}");
                assert_eq!(detected(&pcm).len(), 0, "keys to {name}");
                assert_eq!(detected_in_blocks(&pcm).len(), 0, "keys to {name}");
                if scene.2.is_none() {
                    speech_that_survived(&script, &pcm, scene.1).assert(&name);
                }
            }
        }
    }
}

/// Of ten keys that are put in the place of others, all are found, and none of those pressed.
#[test]
fn who_is_told_other_keys_is_told_no_key_that_was_pressed() {
    let modes = [
        (MaskMode::ZeroDigit, "123456789*#ABCD", "0"),
        (MaskMode::RandomDigit, "*#ABCD", "0123456789"),
    ];
    for (mode, pressed, put) in modes {
        for (at, scene) in SCENES.into_iter().enumerate() {
            let script = Script::of(at as u64 + 21, presses(), pressed.as_bytes());
            let tones = script.presses.iter().filter(|press| !press.event);
            // As many as can be known to be keys: some are lost in what is said around them.
            let coded = script
                .pcm
                .iter()
                .map(|s| decoded(scene.1, encoded(scene.1, *s)));
            let known = detected(&coded.collect::<Vec<_>>()).len();
            let tones = tones.count();
            for (name, pcm, events) in heard_in(scene, &mode, &script) {
                let is_put = |key: &u8| put.as_bytes().contains(key);
                let found = detected(&pcm);
                assert!(found.iter().all(is_put), "keys to {name}");
                assert!(
                    detected_in_blocks(&pcm).iter().all(is_put),
                    "keys to {name}"
                );
                println!("{name}: {} keys for {tones} presses", found.len());
                if scene.2.is_none() {
                    assert_eq!(found.len(), known, "keys to {name}");
                    assert!(known * 10 >= tones * 9);
                }
                assert!(events.len() >= script.presses.len() - tones);
                assert!(events.iter().all(|code| usize::from(*code) < put.len()));
            }
        }
    }
}

/// What one may hear as a click: a step between samples that the speech around has not. Masking
/// goes on and off all the time, in the middle of what is said.
#[test]
fn masking_comes_and_goes_without_a_click() {
    for (scene, pt, loses) in SCENES {
        let script = Script::of(31, 0, &KEYS).longer(presses() * 4_000);
        let mut plain = world(scene, pt);
        play(&mut plain, &script, pt, loses);
        let mut toggled = world(scene, pt);
        let mut random = fastrand::Rng::with_seed(5);
        let (mut on, mut next) = (false, 50);
        play_and(&mut toggled, &script, pt, loses, |world, n| {
            if n >= next {
                (on, next) = (!on, n + random.usize(20..100));
                let mask = on.then(|| Box::new(Mask::of(MaskMode::Absorb)));
                world.apply(Change::Mask(A, mask));
            }
        });
        for &hearer in hearers(scene) {
            let (expected, _) = received(&plain, hearer, pt);
            let (pcm, _) = received(&toggled, hearer, pt);
            let (steps, allowed) = (steps(&pcm), steps(&expected));
            let clicks = steps.iter().enumerate().filter(|(at, step)| {
                // What waited is heard later, half a second at most.
                let near = at.saturating_sub(NEAR)..(at + NEAR).min(allowed.len());
                let most = allowed[near.start.min(near.end)..near.end].iter().max();
                **step > most.copied().unwrap_or(0) + CLICK
            });
            let clicks: Vec<_> = clicks.collect();
            println!(
                "{scene:?} {pt} {loses:?} {hearer:?}: {} clicks",
                clicks.len()
            );
            assert_eq!(clicks, [], "{hearer:?} of law {pt}, loss {loses:?}");
        }
    }
}

/// Frames around one that speech may be heard later by.
const NEAR: usize = 25;

/// A step that is no click beside speech that has smaller ones.
const CLICK: u16 = 400;

/// The largest step between two samples, in each 20 ms.
fn steps(pcm: &[i16]) -> Vec<u16> {
    let frames = pcm.windows(FRAME + 1).step_by(FRAME);
    let largest = frames.map(|frame| {
        let pairs = frame.windows(2);
        pairs.map(|pair| pair[0].abs_diff(pair[1])).max()
    });
    largest.map(Option::unwrap_or_default).collect()
}
