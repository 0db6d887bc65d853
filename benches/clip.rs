//! Decoding a minute of audio, and bringing it to the engine's rate. Not per packet: once per
//! prompt.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use crosspoint::audio::clip::Clip;

const SECONDS: usize = 60;
const TONE_MP3: &[u8] = include_bytes!("../testdata/clips/tone-44100-stereo.mp3");
const TONE_OPUS: &[u8] = include_bytes!("../testdata/clips/tone-stereo.opus");

/// A minute of noise, 44.1 kHz, stereo, 16 bits.
fn wav() -> Vec<u8> {
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    bytes.extend(44_100u32.to_le_bytes());
    bytes.extend(176_400u32.to_le_bytes());
    bytes.extend(b"\x04\0\x10\0data\xff\xff\xff\xff");
    let mut noise = vec![0; SECONDS * 176_400];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    bytes.extend(noise);
    bytes
}

/// The file again and again, until it is a minute or somewhat more; without its first frame, which
/// says how long it is.
fn mp3() -> Vec<u8> {
    let frames: Vec<_> = nanomp3::frames(TONE_MP3).skip(1).map(|f| f.data).collect();
    frames.concat().repeat(SECONDS * 10 / 3)
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode a minute");
    group.sample_size(10);
    let mut files = vec![("wav", wav()), ("mp3", mp3())];
    if cfg!(feature = "opus") {
        files.push(("ogg opus", TONE_OPUS.repeat(SECONDS * 10 / 3)));
    }
    for (name, bytes) in files {
        let clip = Clip::decode(&bytes).expect("a clip");
        assert!(clip.duration().as_secs() >= SECONDS as u64 - 1);
        group.bench_function(name, |b| b.iter(|| Clip::decode(black_box(&bytes))));
    }
    group.finish();
}

fn convert(c: &mut Criterion) {
    let mut group = c.benchmark_group("convert a minute");
    group.sample_size(10);
    let clip = Clip::decode(&wav()).expect("a clip");
    for rate_hz in [8000, 16_000, 48_000] {
        group.bench_function(format!("44100 to {rate_hz}"), |b| {
            b.iter(|| black_box(&clip).at_rate(rate_hz));
        });
    }
    group.finish();
}

criterion_group!(benches, decode, convert);
criterion_main!(benches);
