//! A masked party that does all it can to be heard: whatever it sends, and whatever happens to the
//! call meanwhile, nobody gets a key.

use std::f32::consts::TAU;

use crosspoint::audio::g711;
use crosspoint::engine::*;

use super::engine_support::{A, B, World, rtp};
use super::presses::{
    C, EAR, EVENT_PT, HIGH_HZ, LOW_HZ, Scene, bridged, detected, detected_in_blocks, masked, world,
};

/// A's two codecs; others are sent PCMU.
const LAWS: [u8; 2] = [0, 8];

/// Keys without an end: 40 to 300 ms each, 40 to 120 ms apart.
struct Presser {
    random: fastrand::Rng,
    key: [f32; 2],
    at: usize,
    down: usize,
    up: usize,
}

impl Presser {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            key: [0.0; 2],
            at: 0,
            down: 0,
            up: 0,
        }
    }

    fn next(&mut self) -> i16 {
        if self.at >= self.down + self.up {
            let random = &mut self.random;
            self.key = [LOW_HZ[random.usize(..4)], HIGH_HZ[random.usize(..4)]];
            (self.at, self.down) = (0, 8 * random.usize(40..300));
            self.up = 8 * random.usize(40..120);
        }
        self.at += 1;
        if self.at > self.down {
            return 0;
        }
        let turns = self
            .key
            .map(|hz| (TAU * hz * self.at as f32 / 8_000.0).sin());
        (7_000.0 * (turns[0] + turns[1])) as i16
    }

    fn packet(&mut self, law: u8) -> [u8; 160] {
        let pcm: [i16; 160] = std::array::from_fn(|_| self.next());
        let mut payload = [0; 160];
        match law {
            8 => g711::encode_alaw(&pcm, &mut payload),
            _ => g711::encode_ulaw(&pcm, &mut payload),
        };
        payload
    }
}

/// A call of four with A masked, and what A does.
struct Attack {
    world: World,
    presser: Presser,
    random: fastrand::Rng,
    ssrc: u32,
    seq: u16,
    clock: u32,
    pt: u8,
    /// Packets that come late, all at once.
    kept: Vec<Vec<u8>>,
    keeps: bool,
    bridged: bool,
}

impl Attack {
    fn new(seed: u64) -> Self {
        let mut world = world(Scene::Relay, 0);
        let mut random = fastrand::Rng::with_seed(seed);
        let both = LAWS.map(|pt| PayloadType {
            out: 0,
            via: match pt {
                0 => Via::Relay,
                _ => Via::Companding(Companding::AlawToUlaw),
            },
            ..super::kind(pt, false)
        });
        let types = both.into_iter().chain([super::kind(EVENT_PT, true)]);
        world.apply(Change::PayloadTypes(A, types.clone().collect()));
        world.apply(Change::Voice(A, hears_both(120)));
        world.apply(masked(MaskMode::Absorb));
        Self {
            world,
            presser: Presser::new(random.u64(..)),
            random,
            ssrc: 77,
            seq: 0,
            clock: 0,
            pt: 0,
            kept: Vec::new(),
            keeps: false,
            bridged: false,
        }
    }

    /// 20 ms of it.
    fn step(&mut self) {
        if self.random.u8(..8) == 0 {
            self.change();
        }
        let payload = self.presser.packet(self.pt);
        let packet = rtp(self.pt, self.seq, self.clock, self.ssrc, &payload);
        self.send(packet);
        if self.random.u8(..6) == 0 {
            let event = [self.random.u8(..16), 10, 0, 160];
            self.seq = self.seq.wrapping_add(1);
            let packet = rtp(EVENT_PT, self.seq, self.clock, self.ssrc, &event);
            self.send(packet);
        }
        self.seq = self.seq.wrapping_add(1);
        self.clock = self.clock.wrapping_add(160);
        self.world.wait(20);
    }

    fn send(&mut self, packet: Vec<u8>) {
        if self.keeps {
            return self.kept.push(packet);
        }
        for packet in self.kept.drain(..).chain([packet]) {
            let _taken_or_not = self.world.hear(A, &packet);
        }
    }

    fn change(&mut self) {
        let (world, random) = (&mut self.world, &mut self.random);
        match random.u8(..14) {
            0 => self.pt = LAWS[random.usize(..2)],
            // Types that nobody negotiated, with sound that anybody can guess.
            1 => self.pt = [0, 3, 4, 8, 9, 10, 13, 15, 18, 77, 96, 100][random.usize(..12)],
            2 => self.ssrc = random.u32(..),
            3 => self.seq = self.seq.wrapping_add(random.u16(..300)),
            4 => self.clock = self.clock.wrapping_add(random.u32(..4_000)),
            5 => self.keeps = true,
            6 => self.keeps = false,
            7 | 8 => {
                let (sends, receives) = (random.bool(), random.bool());
                for (stream, sends, receives) in [(A, sends, true), (B, true, receives)] {
                    world.apply(Change::Direction {
                        stream,
                        sends,
                        receives,
                    });
                }
            }
            9 => {
                self.bridged = !self.bridged;
                bridged(world, if self.bridged { &[A, B, C] } else { &[] });
            }
            10 => {
                self.bridged = true;
                bridged(world, &[A, B]); // a pair may pass packets
            }
            11 => world.apply(Change::Voice(A, hears_both(random.u16(60..200)))),
            12 => world.apply(Change::Silence(A, random.bool())),
            _ => {
                let mut mask = Mask::of(MaskMode::Absorb);
                mask.look_back_ms = random.u16(50..120);
                world.apply(Change::Mask(A, Some(Box::new(mask))));
            }
        }
    }
}

/// What A may say, decoded; another playout makes another ear.
fn hears_both(max_ms: u16) -> Box<Voice> {
    let [mut both, other] = LAWS.map(super::presses::voice);
    both.hears.extend(other.hears);
    both.playout.max_ms = max_ms;
    both
}

/// What a party could hear of what it was sent, by type, a change of type being no pause.
fn heard(world: &World, ix: StreamIx) -> Vec<i16> {
    let mut pcm = Vec::new();
    let mut due = None;
    for (_, packet) in world.received(ix) {
        assert_ne!(packet.pt(), EVENT_PT, "an event to {ix:?}");
        let gap = due.map_or(0, |due: u32| packet.timestamp().wrapping_sub(due));
        pcm.resize(pcm.len() + gap.min(1_600) as usize, 0);
        let decode = match packet.pt() {
            8 => g711::alaw_to_linear,
            _ => g711::ulaw_to_linear,
        };
        pcm.extend(packet.bytes[12..].iter().map(|octet| decode(*octet)));
        let ticks = packet.bytes.len() as u32 - 12;
        due = Some(packet.timestamp().wrapping_add(ticks));
    }
    pcm
}

#[test]
fn a_party_that_tries_everything_is_heard_with_no_key() {
    let mut said = 0;
    for seed in 0..12 {
        let mut attack = Attack::new(seed);
        for _ in 0..1_000 {
            attack.step();
        }
        for hearer in [B, C, EAR] {
            let pcm = heard(&attack.world, hearer);
            said += pcm.len();
            let found = [detected(&pcm), detected_in_blocks(&pcm)];
            let none = found.iter().all(Vec::is_empty);
            assert!(none, "{found:?} to {hearer:?}, seed {seed}");
        }
    }
    assert!(said > 8_000 * 60, "nobody is sent anything: {said}");
}
