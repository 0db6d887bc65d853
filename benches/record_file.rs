//! Writing recordings: 20 ms of stereo into each format, and what a second of reading costs.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, criterion_group, criterion_main};
use crosspoint::record::config::Format;
use crosspoint::record::file::FileWriter;
use crosspoint::record::file::read::RecordingReader;

const CHANNELS: u8 = 2;

/// Two voices: buzzes that come and go.
fn voices(rate_hz: u32, frames: usize) -> Vec<i16> {
    let sample = |n: usize, f0: f64| {
        let t = n as f64 / f64::from(rate_hz) * std::f64::consts::TAU;
        let buzz: f64 = (1..=12)
            .map(|h| (t * f0 * f64::from(h)).sin() / f64::from(h))
            .sum();
        #[allow(clippy::cast_possible_truncation, reason = "within range")]
        let sample = (buzz * (t * 3.0).sin() * 4_000.0) as i16;
        sample
    };
    let frame = |n| [sample(n, 120.0), sample(n, 210.0)];
    (0..frames).flat_map(frame).collect()
}

fn formats() -> Vec<(String, Format, u32)> {
    let mut formats = vec![
        ("A-law at 8000".to_owned(), Format::WavAlaw, 8_000),
        ("\u{b5}-law at 8000".to_owned(), Format::WavUlaw, 8_000),
    ];
    for rate_hz in [8_000, 16_000, 48_000] {
        formats.push((format!("PCM at {rate_hz}"), Format::Wav, rate_hz));
        if cfg!(feature = "opus") {
            let bitrate_bps = 24_000;
            let name = format!("Opus at {rate_hz}");
            formats.push((name, Format::Opus { bitrate_bps }, rate_hz));
        }
    }
    formats
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("record 20 ms of stereo");
    for (name, format, rate_hz) in formats() {
        let writer = FileWriter::new(format, rate_hz, CHANNELS, 7, &[]);
        let mut writer = writer.expect("a file of this format");
        let pcm = voices(rate_hz, rate_hz as usize * 2);
        let mut frames = pcm.chunks_exact((rate_hz / 25) as usize).cycle();
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let frame = frames.next().expect("an endless cycle");
                writer.push(black_box(frame), &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read a second of stereo");
    for (name, format, rate_hz) in formats() {
        let writer = FileWriter::new(format, rate_hz, CHANNELS, 7, &[]);
        let mut writer = writer.expect("a file of this format");
        let mut file = Vec::new();
        writer.begin(&mut file);
        writer.push(&voices(rate_hz, rate_hz as usize), &mut file);
        writer.finish(&mut file);
        if let Some(patch) = writer.patch() {
            file[..patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        let mut out = vec![0; rate_hz as usize * 2];
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut reader = RecordingReader::open(Cursor::new(&file)).expect("a recording");
                assert_eq!(reader.read(&mut out).expect("bytes in memory"), out.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, write, read);
criterion_main!(benches);
