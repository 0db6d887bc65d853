//! Keys in the audio of a party, alone and beside telephone-events.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test clocks are far inside every range"
)]

use crosspoint::audio::codec::{CodecConfig, CodecKind, Encoder};
use crosspoint::audio::mix::Gain;
use crosspoint::audio::opus::OpusConfig;

use super::*;

pub(crate) const BOTH: DigitsConfig = DigitsConfig {
    telephone_events: true,
    in_band: true,
};
pub(crate) const TONES: DigitsConfig = DigitsConfig {
    telephone_events: false,
    in_band: true,
};

/// A key at 8 kHz, each tone at −10 dBm0 or so.
pub(crate) fn tone(key: u8, samples: usize) -> Vec<i16> {
    let hz = key_tones::hz_of(key);
    let said = (0..samples).map(|n| key_tones::sample(hz, 7_000.0, 8_000.0, n));
    said.collect()
}

/// What a party says, as samples, sent as 20 ms packets of a codec.
pub(crate) struct Speech {
    ix: StreamIx,
    pt: u8,
    kind: CodecKind,
    encoder: Encoder,
    pcm: Vec<i16>,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
}

impl Speech {
    pub(crate) fn new(ix: StreamIx, pt: u8, kind: CodecKind) -> Self {
        let config = CodecConfig {
            opus: OpusConfig::at(16_000),
            ..CodecConfig::new(kind)
        };
        Self {
            ix,
            pt,
            kind,
            encoder: Encoder::new(&config).unwrap(),
            pcm: Vec::new(),
            ssrc: 7,
            seq: 65_500,
            timestamp: u32::MAX - 20_000,
        }
    }

    fn samples(&self, ms: f64) -> usize {
        (f64::from(self.encoder.pcm_hz()) * ms / 1_000.0) as usize
    }

    /// Noise of −60 dBm0 or so.
    pub(crate) fn quiet(mut self, ms: f64) -> Self {
        let mut random = fastrand::Rng::with_seed(self.pcm.len() as u64);
        let quiet = (0..self.samples(ms)).map(|_| random.i16(-20..20));
        self.pcm.extend(quiet);
        self
    }

    /// A key, each tone at −10 dBm0 or so.
    pub(crate) fn key(mut self, key: u8, ms: f64) -> Self {
        let (hz, rate_hz) = (key_tones::hz_of(key), f64::from(self.encoder.pcm_hz()));
        let said = (0..self.samples(ms)).map(|n| key_tones::sample(hz, 7_000.0, rate_hz, n));
        self.pcm.extend(said.collect::<Vec<_>>());
        self
    }

    /// Milliseconds so far.
    pub(crate) fn said_ms(&self) -> f64 {
        self.pcm.len() as f64 * 1_000.0 / f64::from(self.encoder.pcm_hz())
    }

    /// All of it as packets.
    pub(crate) fn packets(&mut self) -> Vec<Vec<u8>> {
        let frame = self.encoder.pcm_hz() as usize / 50;
        let pcm = std::mem::take(&mut self.pcm);
        let mut packets = Vec::new();
        for said in pcm.chunks_exact(frame) {
            let mut payload = vec![0; 1_500];
            let len = self.encoder.encode(said, &mut payload).unwrap();
            packets.push(self.packet(&payload[..len]));
        }
        packets
    }

    fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let packet = rtp(self.pt, self.seq, self.timestamp, self.ssrc, payload);
        self.seq = self.seq.wrapping_add(1);
        let ticks = self.kind.clock_hz() / 50;
        self.timestamp = self.timestamp.wrapping_add(ticks);
        packet
    }

    /// Says it, one packet every 20 ms.
    fn say(&mut self, world: &mut World) {
        for packet in self.packets() {
            arrive(world, self.ix, &packet);
            world.wait(20);
        }
    }
}

pub(crate) fn arrive(world: &mut World, ix: StreamIx, packet: &[u8]) {
    let mut packet = packet.to_vec();
    let at = world.now;
    world
        .call
        .handle_packet(at, ix, Component::Rtp, home(ix), &mut packet);
    world.drain();
}

pub(crate) fn voice(pt: u8, kind: CodecKind) -> Box<Voice> {
    let codec = CodecConfig::new(kind);
    Box::new(Voice {
        hears: smallvec::smallvec![crosspoint::engine::Heard { pt, codec }],
        speaks: Some(Spoken {
            pt,
            codec,
            ptime_ms: 20,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    })
}

/// Presses that ended: key and milliseconds.
fn ended(told: &[Heard]) -> Vec<(u8, u64)> {
    let ended = told.iter().filter(|heard| !heard.began);
    ended.map(|heard| (heard.key, heard.ms)).collect()
}

fn assert_near(told: &[Heard], expected: &[(u8, u64)], tolerance_ms: u64) {
    let ended = ended(told);
    let near = |(a, b): (&(u8, u64), &(u8, u64))| a.0 == b.0 && a.1.abs_diff(b.1) <= tolerance_ms;
    let all = ended.len() == expected.len() && ended.iter().zip(expected).all(near);
    assert!(all, "{ended:?}, not {expected:?}");
}

#[test]
fn all_keys_are_heard_in_the_audio() {
    let mut world = world(TONES);
    let mut speech = Speech::new(A, 0, CodecKind::Pcmu).quiet(200.0);
    for key in 0..16 {
        speech = speech.key(key, 40.0 + f64::from(key) * 7.0).quiet(45.0);
    }
    // Twice the same, 40 ms apart.
    let mut speech = speech.key(5, 50.0).quiet(40.0).key(5, 50.0).quiet(300.0);
    speech.say(&mut world);
    world.wait(1_000);
    let told = told(&mut world);
    let mut expected: Vec<_> = (0..16).map(|key| (key, 40 + u64::from(key) * 7)).collect();
    expected.extend([(5, 50), (5, 50)]);
    assert_near(&told, &expected, 10);
    assert_eq!(keys(&told, A, 0).len(), 18);
    assert!(told.iter().all(|heard| heard.source == DigitSource::InBand));
    // The first began at 200 ms. Packets arrive here as they begin: 20 ms early.
    assert!((210..=240).contains(&told[0].at_ms), "{}", told[0].at_ms);
}

#[test]
fn every_codec_is_heard() {
    let codecs = [
        (9, CodecKind::G722),
        (8, CodecKind::Pcma),
        #[cfg(feature = "opus")]
        (111, CodecKind::Opus),
    ];
    for (pt, kind) in codecs {
        let mut world = world(TONES);
        world.apply(Change::Voice(A, voice(pt, kind)));
        let mut speech = Speech::new(A, pt, kind).quiet(200.0);
        for key in [1, 6, 11, 12] {
            speech = speech.key(key, 80.0).quiet(80.0);
        }
        speech.quiet(200.0).say(&mut world);
        world.wait(1_000);
        assert_near(
            &told(&mut world),
            &[(1, 80), (6, 80), (11, 80), (12, 80)],
            12,
        );
    }
}

#[test]
fn a_lossy_network_neither_splits_nor_joins_presses() {
    let mut missed = 0;
    for seed in 0..20 {
        let mut world = world(TONES);
        let mut speech = Speech::new(A, 0, CodecKind::Pcmu).quiet(300.0);
        let dialled: Vec<u8> = (0..10).map(|n| (n * 7 + seed) % 16).collect();
        for key in &dialled {
            speech = speech.key(*key, 80.0).quiet(80.0);
        }
        let mut speech = speech.quiet(300.0);
        let mut network = Network::new(u64::from(seed), 3, 2, 30);
        let mut due = Vec::new();
        for (n, packet) in speech.packets().into_iter().enumerate() {
            let arrivals = network.arrivals(n as u64 * 20);
            due.extend(arrivals.into_iter().map(|at| (at, packet.clone())));
        }
        due.sort_by_key(|(at, _)| *at);
        for (at, packet) in due {
            world.wait(at - world.ms());
            arrive(&mut world, A, &packet);
        }
        world.wait(1_000);
        let heard = keys(&told(&mut world), A, 0);
        // Never another key, or one twice; what is missed is counted.
        let mut rest = dialled.iter();
        assert!(
            heard.iter().all(|key| rest.any(|k| k == key)),
            "{seed}: {heard:?}"
        );
        missed += dialled.len() - heard.len();
    }
    assert!(missed <= 2, "{missed} of 200 presses were missed");
}

#[test]
fn packets_that_stop_end_a_press() {
    let mut world = world(TONES);
    let mut speech = Speech::new(A, 0, CodecKind::Pcmu)
        .quiet(100.0)
        .key(4, 100.0);
    speech.say(&mut world);
    assert_eq!(told(&mut world).len(), 1);
    world.wait(1_000);
    let end = told(&mut world);
    assert_near(&end, &[(4, 100)], 10);
    assert!(end[0].at_ms <= 200 + 260, "{}", end[0].at_ms);
    // After the pause the same numbers go on, much later.
    speech.timestamp = speech.timestamp.wrapping_add(8_000);
    let mut speech = Speech {
        pcm: Vec::new(),
        ..speech
    };
    speech = speech.key(4, 100.0).quiet(100.0);
    speech.say(&mut world);
    world.wait(500);
    assert_near(&told(&mut world), &[(4, 100)], 12);
}

/// A gateway: so much of the tone leaks before the event begins, and some after it ended. From the
/// event on packets arrive late by `late_ms`.
fn leaky_press(world: &mut World, speech: &mut Speech, key: u8, leak_ms: f64, late_ms: u64) {
    let began = speech.timestamp.wrapping_add(8 * leak_ms as u32);
    let mut due: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut leak = Speech::new(A, 0, CodecKind::Pcmu).key(key, leak_ms);
    (leak.seq, leak.timestamp, leak.ssrc) = (speech.seq, speech.timestamp, speech.ssrc);
    let before = leak_ms as u64;
    for (n, packet) in leak.packets().into_iter().enumerate() {
        due.push((n as u64 * 20, packet));
    }
    for n in 1..=6u16 {
        let event = TelephoneEvent {
            code: EventCode(key),
            end: n > 5,
            volume: 10,
            duration: n.min(5) * 160,
        };
        let packet = rtp(EVENT_PT, leak.seq, began, leak.ssrc, &event.to_bytes());
        leak.seq = leak.seq.wrapping_add(1);
        due.push((before + u64::from(n - 1) * 20 + late_ms, packet));
    }
    leak.timestamp = began.wrapping_add(5 * 160);
    // A residue of the tone comes behind it.
    let mut after = Speech {
        pcm: Vec::new(),
        ..leak
    }
    .key(key, 40.0)
    .quiet(160.0);
    for (n, packet) in after.packets().into_iter().enumerate() {
        due.push((before + 100 + n as u64 * 20 + late_ms, packet));
    }
    (speech.seq, speech.timestamp) = (after.seq, after.timestamp);
    due.sort_by_key(|(at, _)| *at);
    let start = world.ms();
    for (at, packet) in due {
        world.wait((start + at).saturating_sub(world.ms()));
        arrive(world, A, &packet);
    }
    world.wait((start + before + 300 + late_ms).saturating_sub(world.ms()));
}

#[test]
fn a_press_that_is_heard_both_ways_is_told_once() {
    for late_ms in [0, 60, 150, 300] {
        for leak_ms in [20.0, 40.0, 60.0, 100.0] {
            let mut world = world(BOTH);
            let mut speech = Speech::new(A, 0, CodecKind::Pcmu).quiet(300.0);
            speech.say(&mut world);
            for key in [5, 5, 9] {
                leaky_press(&mut world, &mut speech, key, leak_ms, late_ms);
            }
            world.wait(1_000);
            let told = told(&mut world);
            let heard = keys(&told, A, 0);
            assert_eq!(
                heard,
                [5, 5, 9],
                "{leak_ms} ms of tone, {late_ms} ms late: {told:?}"
            );
            let source = match leak_ms > 35.0 {
                true => DigitSource::InBand,
                false => DigitSource::TelephoneEvent,
            };
            let first = told.iter().filter(|heard| heard.began);
            let known = first.filter(|heard| heard.source == source).count();
            assert!(late_ms > 0 || known == 3, "{leak_ms} ms of tone: {told:?}");
            for (_, ms) in ended(&told).into_iter().filter(|_| late_ms == 0) {
                let whole = if leak_ms > 35.0 {
                    100 + leak_ms as u64
                } else {
                    100
                };
                assert!(ms.abs_diff(whole) <= 10, "{ms} ms, not {whole}");
            }
        }
    }
}

#[test]
fn listening_may_begin_and_end_at_any_moment() {
    let mut world = world(BOTH);
    let mut speech = Speech::new(A, 0, CodecKind::Pcmu)
        .quiet(100.0)
        .key(1, 100.0);
    speech.say(&mut world);
    world.apply(Change::Digits(A, Some(EVENTS)));
    let first = told(&mut world);
    assert_eq!(keys(&first, A, 0), [1]);
    let mut speech = speech.quiet(200.0).key(2, 100.0).quiet(200.0);
    speech.say(&mut world);
    assert_eq!(told(&mut world), []);
    world.apply(Change::Digits(A, Some(TONES)));
    let mut speech = speech.quiet(200.0).key(3, 100.0).quiet(200.0);
    speech.say(&mut world);
    world.wait(500);
    let again = told(&mut world);
    assert_eq!((keys(&again, A, 1), again[0].number), (vec![3], 1));
}

#[test]
fn members_of_a_bridge_are_heard() {
    let mut world = world(BOTH);
    for ix in [A, B] {
        world.apply(Change::Voice(ix, voice(0, CodecKind::Pcmu)));
    }
    let member = |stream| Member {
        stream,
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    let room = BridgeConfig {
        members: vec![member(A), member(B)],
        ..BridgeConfig::default()
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(room)));
    let mut speech = Speech::new(A, 0, CodecKind::Pcmu).quiet(200.0);
    speech = speech.key(7, 100.0).quiet(200.0);
    let mut phone = Phone::new(B);
    for (n, packet) in speech.packets().into_iter().enumerate() {
        arrive(&mut world, A, &packet);
        if n == 12 {
            phone.press(&mut world, 8, 3);
        }
        world.wait(20);
    }
    world.wait(1_000);
    let told = told(&mut world);
    assert_eq!((keys(&told, A, 0), keys(&told, B, 0)), (vec![7], vec![8]));
}
