//! What legs cost that are decoded, mixed and played to: the whole engine, packet in to packet
//! out, in virtual time, without sockets.
//!
//! One element is one participant's frame of 20 ms. After each case stands how many participants
//! one core carries at that cost. Receiving and sending its packets comes on top of it.
#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    reason = "criterion's macros make undocumented functions; sounds are computed within range"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind, Encoder};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;

const FRAME: Duration = Duration::from_millis(20);

/// Different payloads of one talker, said in turn.
const PHRASES: usize = 8;

/// Frames before anything is measured: delays are learned and memory is grown.
const WARM_FRAMES: u32 = 100;

const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

fn pt_of(kind: CodecKind) -> u8 {
    match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        CodecKind::G722 => 9,
        CodecKind::L16 { .. } => 96,
        CodecKind::Opus => 111,
    }
}

fn home(ix: u16) -> SocketAddr {
    let [high, low] = ix.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 4_000))
}

/// A stream of a call and what its party says.
struct Party {
    ix: StreamIx,
    kind: CodecKind,
    phrases: Vec<Vec<u8>>,
}

/// A call and its clock.
struct World {
    call: Call,
    now: Instant,
    talkers: Vec<Party>,
    packet: Vec<u8>,
    frame: u32,
}

impl World {
    fn new(now: Instant, seed: u64) -> Self {
        let key = CallKey {
            slot: 0,
            generation: 0,
        };
        let timers = Timers::default();
        let config = CallConfig { key, seed, timers };
        Self {
            call: Call::new(config, now),
            now,
            talkers: Vec::new(),
            packet: Vec::new(),
            frame: 0,
        }
    }

    fn apply(&mut self, change: Change) {
        self.call.apply(self.now, change).expect("a good change");
    }

    /// One more party of a codec, that hears and speaks.
    fn add(&mut self, kind: CodecKind, via: Via, out: CodecKind) -> StreamIx {
        let number = u16::try_from(self.call.streams()).expect("few streams");
        let ix = StreamIx(number);
        self.apply(Change::AddStream(StreamConfig {
            leg: LegIx(number),
            media: 0,
            payload: Payload::Rtp,
            privacy: Privacy::Masked,
            own_rtcp: false,
        }));
        let port = PortHandle(u32::from(number));
        let set = self.call.set_port(ix, Component::Rtp, port);
        set.expect("the stream exists");
        self.apply(Change::Remote(
            ix,
            Remote {
                rtp: Some(home(number)),
                rtcp: None,
                mux: true,
                learn: Learn {
                    pace: LearnPace::Heuristic,
                    likely: None,
                    anyone: false,
                    handover: false,
                    asymmetric: false,
                },
            },
        ));
        let (pt, codec) = (pt_of(kind), CodecConfig::new(kind));
        let known = PayloadType {
            pt,
            out: pt_of(out),
            clock_hz: kind.clock_hz(),
            silence: None,
            event: false,
            via,
        };
        self.apply(Change::PayloadTypes(ix, [known].into_iter().collect()));
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
        self.apply(Change::Voice(ix, Box::new(voice)));
        ix
    }

    /// From now on this party talks.
    fn talks(&mut self, ix: StreamIx, kind: CodecKind) {
        let phrases = phrases(kind, u64::from(ix.0));
        self.talkers.push(Party { ix, kind, phrases });
    }

    fn bridge(&mut self, loudest: u8) {
        let streams = u16::try_from(self.call.streams()).expect("few streams");
        let member = |n| Member {
            stream: StreamIx(n),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        };
        let config = BridgeConfig {
            members: (0..streams).map(member).collect(),
            edges: Vec::new(),
            loudest,
        };
        self.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
    }

    /// Everybody says a frame, and 20 ms pass; packets that left.
    fn frame(&mut self) -> u64 {
        let n = self.frame;
        self.frame += 1;
        for talker in &self.talkers {
            let phrase = &talker.phrases[(n as usize) % PHRASES];
            let [_, _, high, low] = n.to_be_bytes();
            let ticks = n.wrapping_mul(talker.kind.clock_hz() / 50);
            self.packet.clear();
            let start = [0x80, pt_of(talker.kind), high, low];
            self.packet.extend_from_slice(&start);
            self.packet.extend_from_slice(&ticks.to_be_bytes());
            let ssrc = u32::from(talker.ix.0) + 1;
            self.packet.extend_from_slice(&ssrc.to_be_bytes());
            self.packet.extend_from_slice(phrase);
            let from = home(talker.ix.0);
            let packet = &mut self.packet;
            self.call
                .handle_packet(self.now, talker.ix, Component::Rtp, from, packet);
        }
        let until = self.now + FRAME;
        let mut left = 0;
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            while let Some(output) = self.call.poll_output() {
                left += u64::from(matches!(output, Output::Media { .. }));
            }
        }
        self.now = until;
        left
    }
}

/// A voiced sound, encoded: harmonics that swell and fall, without a break where the phrases start
/// anew. Noise would not do: playout looks in vain for a pitch in it at every frame.
fn phrases(kind: CodecKind, seed: u64) -> Vec<Vec<u8>> {
    let config = CodecConfig::new(kind);
    let mut encoder = Encoder::new(&config).expect("a codec of this build");
    let mut random = fastrand::Rng::with_seed(seed);
    let loudness = random.f32() * 5_000.0 + 500.0;
    let samples = config.pcm_hz() as usize / 50;
    let turn = std::f32::consts::TAU / (samples * PHRASES) as f32;
    let pitch = random.usize(16..32); // 100 to 200 Hz
    let sample = |n: usize| {
        let swell = 1.0 + 0.5 * (n as f32 * turn).sin();
        let harmonics =
            (1..8).map(|k| (((n * pitch * k) % (samples * PHRASES)) as f32 * turn).sin());
        let sum: f32 = harmonics.zip(1..8).map(|(sine, k)| sine / k as f32).sum();
        (sum * swell * loudness) as i16
    };
    let phrase = |ix: usize| {
        let pcm: Vec<i16> = (ix * samples..(ix + 1) * samples).map(sample).collect();
        let mut payload = vec![0; 4_000];
        let len = encoder.encode(&pcm, &mut payload).expect("a whole frame");
        payload.truncate(len);
        payload
    };
    (0..PHRASES).map(phrase).collect()
}

/// Measures worlds of `each` participants side by side, as a worker has them: memory is cold.
fn measure(criterion: &mut Criterion, name: &str, each: u64, worlds: &mut [World]) {
    let participants = each * worlds.len() as u64;
    let (mut frames, mut spent, mut warm) = (0, Duration::ZERO, false);
    let mut group = criterion.benchmark_group("voice");
    group.throughput(Throughput::Elements(participants));
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            if !std::mem::replace(&mut warm, true) {
                for _ in 0..WARM_FRAMES {
                    worlds.iter_mut().for_each(|world| _ = world.frame());
                }
            }
            let before = Instant::now();
            let mut left = 0;
            for _ in 0..rounds {
                left += worlds.iter_mut().map(World::frame).sum::<u64>();
            }
            let took = before.elapsed();
            assert!(
                left * 10 >= participants * rounds * 9,
                "{left} packets left"
            );
            (frames, spent) = (frames + rounds * participants, spent + took);
            took
        });
    });
    group.finish();
    if frames > 0 {
        let cost_ns = spent.as_secs_f64() * 1e9 / frames as f64;
        let carried = FRAME.as_secs_f64() * 1e9 / cost_ns;
        println!("{name}: {cost_ns:.0} ns per participant's frame, {carried:.0} on one core");
    }
}

/// One leg hears another of another codec.
fn recoded(criterion: &mut Criterion) {
    let kinds = [("L16", L16), ("G.722", CodecKind::G722)];
    let opus = ("Opus", CodecKind::Opus);
    let opus = Encoder::new(&CodecConfig::new(opus.1)).ok().map(|_| opus);
    for (name, kind) in kinds.into_iter().chain(opus) {
        let now = Instant::now();
        let mut worlds: Vec<World> = (0..50)
            .map(|seed| {
                let mut world = World::new(now, seed);
                let from = world.add(CodecKind::Pcmu, Via::Decode, kind);
                let to = world.add(kind, Via::Decode, CodecKind::Pcmu);
                world.apply(Change::Link { from, to: Some(to) });
                world.talks(from, CodecKind::Pcmu);
                world
            })
            .collect();
        measure(criterion, &format!("PCMU to {name}"), 1, &mut worlds);
    }
}

fn room(now: Instant, seed: u64, parties: u16, kind: CodecKind, loudest: u8) -> World {
    let mut world = World::new(now, seed);
    for _ in 0..parties {
        let ix = world.add(kind, Via::Relay, kind);
        world.talks(ix, kind);
    }
    world.bridge(loudest);
    world
}

fn rooms(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut small: Vec<_> = (0..100)
        .map(|seed| room(now, seed, 3, CodecKind::Pcmu, 0))
        .collect();
    measure(criterion, "three-party rooms, G.711", 3, &mut small);
    let mut wide: Vec<_> = (0..20)
        .map(|seed| room(now, seed, 3, CodecKind::G722, 0))
        .collect();
    measure(criterion, "three-party rooms, G.722", 3, &mut wide);
    let kinds = [("G.711", CodecKind::Pcmu), ("G.722", CodecKind::G722)];
    for (name, kind) in kinds {
        let large = &mut [room(now, 1, 500, kind, 4)];
        let name = format!("500-party room, 4 loudest, {name}");
        measure(criterion, &name, 500, large);
    }
    let mut hall = room(now, 1, 500, CodecKind::Pcmu, 4);
    hall.talkers.truncate(4);
    let name = "500-party room, 4 talk, G.711";
    measure(criterion, name, 500, &mut [hall]);
}

/// Legs that hear the same music, each from another position on.
fn music(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut random = fastrand::Rng::with_seed(9);
    let samples: Vec<i16> = (0..8_000 * 60).map(|_| random.i16(-8_000..8_000)).collect();
    let clip = Arc::new(Clip::new(samples, 8_000).expect("a minute"));
    let mut worlds: Vec<World> = (0..2_000)
        .map(|seed| {
            let mut world = World::new(now, seed);
            let listener = world.add(CodecKind::Pcmu, Via::Relay, CodecKind::Pcmu);
            world.apply(Change::Play(Box::new(Play {
                times: None,
                start: Duration::from_millis(29 * seed),
                ..Play::new(PlayId(1), listener, [Sound::Clip(Arc::clone(&clip))])
            })));
            world
        })
        .collect();
    measure(criterion, "hold music, G.711", 1, &mut worlds);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = recoded, rooms, music
}
criterion_main!(benches);
