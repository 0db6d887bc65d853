//! What 20 ms of sound cost in each codec, each way. One element is one frame.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::comfort::{Generator, Noise};
use crosspoint::audio::g711;
use crosspoint::audio::opus::OpusConfig;

/// Frames that are encoded in turn, so that no predictor learns them by heart.
const FRAMES: usize = 50;

/// A gliding pitch with six harmonics and some noise.
#[allow(clippy::cast_possible_truncation, reason = "its peak is 20,000")]
fn voice(pcm_hz: u32) -> Vec<i16> {
    let (mut phase, rate) = (0f64, f64::from(pcm_hz));
    let mut random = fastrand::Rng::with_seed(1);
    (0..pcm_hz)
        .map(|n| {
            let t = f64::from(n) / rate;
            phase += std::f64::consts::TAU * (140.0 + 30.0 * (2.0 * t).sin()) / rate;
            let sum: f64 = (1..=6)
                .map(|h| (f64::from(h) * phase).sin() / f64::from(h))
                .sum();
            let syllable = (std::f64::consts::PI * 4.0 * t).sin().abs();
            (6_000.0 * sum * syllable + 100.0 * random.f64()) as i16
        })
        .collect()
}

fn coded(c: &mut Criterion, name: &str, config: CodecConfig) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    let (Ok(mut encoder), Ok(mut decoder)) = (Encoder::new(&config), Decoder::new(&config)) else {
        return;
    };
    let pcm = voice(encoder.pcm_hz());
    let frames: Vec<&[i16]> = pcm.chunks_exact(pcm.len() / FRAMES).collect();
    let mut out = [0; 4_000];
    let payloads: Vec<Vec<u8>> = frames
        .iter()
        .map(|frame| {
            let length = encoder.encode(frame, &mut out).expect("a frame");
            out[..length].to_vec()
        })
        .collect();
    let mut turn = (0..FRAMES).cycle();
    group.bench_function("encode", |b| {
        b.iter(|| {
            let frame = frames[turn.next().unwrap_or_default()];
            encoder.encode(black_box(frame), black_box(&mut out))
        });
    });
    let mut heard = [0; 960];
    group.bench_function("decode", |b| {
        b.iter(|| {
            let payload = &payloads[turn.next().unwrap_or_default()];
            decoder.decode(black_box(payload), black_box(&mut heard))
        });
    });
}

fn codecs(c: &mut Criterion) {
    for (name, kind) in [
        ("pcmu", CodecKind::Pcmu),
        ("pcma", CodecKind::Pcma),
        ("g722", CodecKind::G722),
        (
            "l16-16000",
            CodecKind::L16 {
                rate_hz: 16_000,
                channels: 1,
            },
        ),
    ] {
        coded(c, name, CodecConfig::new(kind));
    }
    let narrow = CodecConfig {
        g722_hz: 8_000,
        ..CodecConfig::new(CodecKind::G722)
    };
    coded(c, "g722-8000", narrow);
    for pcm_hz in [8_000, 16_000, 48_000] {
        let kind = CodecKind::Opus;
        for complexity in [0, 5, 9] {
            let opus = OpusConfig {
                complexity,
                ..OpusConfig::at(pcm_hz)
            };
            let name = format!("opus-{pcm_hz}-complexity-{complexity}");
            let config = CodecConfig {
                opus,
                ..CodecConfig::new(kind)
            };
            coded(c, &name, config);
        }
    }
}

fn others(c: &mut Criterion) {
    let mut octets: [u8; 160] = std::array::from_fn(|n| n.to_le_bytes()[0]);
    c.bench_function("pcmu-to-pcma", |b| {
        b.iter(|| g711::ulaw_to_alaw(black_box(&mut octets)));
    });
    let mut generator = Generator::new(8_000, 1);
    generator.set(&Noise::parse(&[50, 20, 160, 127, 100]).expect("not empty"));
    let mut out = [0; 160];
    c.bench_function("comfort-noise", |b| {
        b.iter(|| generator.fill(black_box(&mut out)));
    });
}

criterion_group!(benches, codecs, others);
criterion_main!(benches);
