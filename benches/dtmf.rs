//! What hearing keys costs per frame of 20 ms at 8 kHz; 20 ms divided by it are the channels that
//! one core hears in real time.
//!
//! `voice` is a gliding pitch with harmonics in syllables, which is what lines carry most; `keys`
//! has a key of 100 ms every 200 ms, `noise` is white, `silence` is digital. `wary` hears what
//! could be a key for any decoder, and keys, too.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::f64::consts::{PI, TAU};
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::audio::dtmf::{Detector, Wary};

const RATE: f64 = 8_000.0;
const FRAME: usize = 160;
const SAMPLES: usize = 8_000 * 4;

fn sound(at: impl FnMut(f64) -> f64) -> Vec<i16> {
    #[allow(clippy::cast_possible_truncation, reason = "peaks are below 20,000")]
    (0..SAMPLES)
        .map(|n| n as f64 / RATE)
        .map(at)
        .map(|x| x.round() as i16)
        .collect()
}

fn voice() -> Vec<i16> {
    let (mut phase, mut random) = (0f64, fastrand::Rng::with_seed(1));
    sound(|t| {
        phase += TAU * (140.0 + 30.0 * (2.0 * t).sin()) / RATE;
        let harmonics = (1..=20).map(|h| (f64::from(h) * phase).sin() / f64::from(h));
        let syllable = (PI * 4.0 * t).sin().abs();
        6_000.0 * harmonics.sum::<f64>() * syllable + 100.0 * random.f64()
    })
}

fn keys() -> Vec<i16> {
    sound(|t| {
        let pressed = t % 0.2 < 0.1;
        let tones = (TAU * 770.0 * t).sin() + (TAU * 1_336.0 * t).sin();
        if pressed { 6_000.0 * tones } else { 0.0 }
    })
}

fn noise() -> Vec<i16> {
    let mut random = fastrand::Rng::with_seed(2);
    sound(|_| 6_000.0 * (random.f64() - 0.5))
}

fn detect(c: &mut Criterion) {
    let mut group = c.benchmark_group("dtmf, a frame of 20 ms");
    group.throughput(Throughput::Elements(1));
    let sounds = [
        ("silence", vec![0; SAMPLES]),
        ("voice", voice()),
        ("noise", noise()),
        ("keys", keys()),
    ];
    for (name, sound) in &sounds {
        let mut detector = Detector::new(8_000).expect("a rate of telephony");
        let mut frames = sound.chunks_exact(FRAME).cycle();
        group.bench_function(*name, |b| {
            b.iter(|| {
                let frame = frames.next().unwrap_or_default();
                detector.feed(black_box(frame), &mut |heard| {
                    black_box(heard);
                });
            });
        });
    }
    let mut wary = Wary::new(8_000).expect("a rate of telephony");
    let mut frames = sounds[1].1.chunks_exact(FRAME).cycle();
    group.bench_function("wary, voice", |b| {
        b.iter(|| {
            let frame = frames.next().unwrap_or_default();
            wary.feed(black_box(frame), &mut |span| {
                black_box(span);
            });
        });
    });
    group.finish();
}

criterion_group!(benches, detect);
criterion_main!(benches);
