//! What the signal maths costs per frame of 20 ms (10 ms for the classifier's blocks inside).
//!
//! `mix` is a conference of 8 who all talk, one frame of 160 samples. `8 sources, one listener`:
//! their sum, limited once. `8 talkers`: one sum, and for each of the 8 listeners the sum without
//! his own voice. `mix, G.711` decodes the 8 payloads before and
//! encodes the 8 results behind it, one octet at a time through `audio::g711`.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use crosspoint::audio::level::{SpeakerScore, SpeechDetector, choose_loudest};
use crosspoint::audio::mix::{self, Gain, GainRamp};
use crosspoint::audio::progress::ProgressDetector;
use crosspoint::audio::resample::Resampler;
use crosspoint::audio::tone::{ToneGenerator, TonePlan};
use crosspoint::audio::{g711, level};

const TALKERS: usize = 8;
const FRAME: usize = 160;

/// Noise of an amplitude, the same in every run.
fn talker(seed: u64, amplitude: i16, len: usize) -> Vec<i16> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.i16(-amplitude..=amplitude)).collect()
}

fn conference(amplitude: i16) -> [[i16; FRAME]; TALKERS] {
    std::array::from_fn(|ix| {
        let samples = talker(ix as u64, amplitude, FRAME);
        samples.try_into().expect("the length of a frame")
    })
}

/// Sum, and sum without each.
fn mixed(frames: &[[i16; FRAME]; TALKERS], out: &mut [[i16; FRAME]; TALKERS]) {
    let mut sum = [0; FRAME];
    mix::total(&mut sum, &frames.each_ref().map(<[i16; FRAME]>::as_slice));
    for (own, out) in frames.iter().zip(out) {
        mix::minus(&sum, own, out);
    }
}

fn mixing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mix");
    let (frames, loud) = (conference(3_000), conference(i16::MAX));
    let mut out = [[0; FRAME]; TALKERS];
    group.bench_function("8 sources, one listener", |bench| {
        let sources = frames.each_ref().map(<[i16; FRAME]>::as_slice);
        let (mut sum, mut out) = ([0; FRAME], [0; FRAME]);
        bench.iter(|| {
            mix::total(&mut sum, black_box(&sources));
            mix::all(&sum, black_box(&mut out));
        });
    });
    let heard = frames.map(|frame| frame.map(g711::linear_to_ulaw));
    group.bench_function("8 sources, one listener, G.711", |bench| {
        let (mut pcm, mut sum, mut out) = ([[0; FRAME]; TALKERS], [0; FRAME], [0; FRAME]);
        let mut sent = [0; FRAME];
        bench.iter(|| {
            for (heard, pcm) in black_box(&heard).iter().zip(&mut pcm) {
                g711::decode_ulaw(heard, pcm);
            }
            mix::total(&mut sum, &pcm.each_ref().map(<[i16; FRAME]>::as_slice));
            mix::all(&sum, &mut out);
            g711::encode_ulaw(&out, black_box(&mut sent))
        });
    });
    group.bench_function("8 talkers", |bench| {
        bench.iter(|| mixed(black_box(&frames), black_box(&mut out)));
    });
    group.bench_function("8 talkers, all limited", |bench| {
        bench.iter(|| mixed(black_box(&loud), black_box(&mut out)));
    });
    group.bench_function("8 talkers, one by one", |bench| {
        bench.iter(|| {
            let mut sum = [0; FRAME];
            black_box(&frames)
                .iter()
                .for_each(|frame| mix::add(&mut sum, frame));
            for (own, out) in frames.iter().zip(black_box(&mut out)) {
                mix::minus(&sum, own, out);
            }
        });
    });
    let gain = Gain::from_db(-3.0);
    group.bench_function("8 talkers with gain", |bench| {
        bench.iter(|| {
            let mut sum = [0; FRAME];
            for frame in black_box(&frames) {
                mix::add_gain(&mut sum, frame, gain);
            }
            for (own, out) in frames.iter().zip(black_box(&mut out)) {
                mix::minus_gain(&sum, own, gain, out);
            }
        });
    });
    let payloads = frames.map(|frame| frame.map(g711::linear_to_ulaw));
    let mut sent = [[0; FRAME]; TALKERS];
    group.bench_function("8 talkers, G.711", |bench| {
        bench.iter(|| {
            let heard = black_box(&payloads).map(|payload| payload.map(g711::ulaw_to_linear));
            mixed(&heard, &mut out);
            for (sent, out) in black_box(&mut sent).iter_mut().zip(&out) {
                *sent = out.map(g711::linear_to_ulaw);
            }
        });
    });
    group.bench_function("G.711 decode, 8 frames", |bench| {
        bench.iter(|| black_box(&payloads).map(|payload| payload.map(g711::ulaw_to_linear)));
    });
    group.bench_function("ramp, one frame", |bench| {
        let mut frame = frames[0];
        bench.iter(|| {
            let mut ramp = GainRamp::new(Gain::UNITY);
            ramp.start(Gain::from_db(-12.0), 320);
            ramp.apply(black_box(&mut frame));
        });
    });
    group.finish();
}

fn resampling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resample 20 ms");
    for (from, to) in [
        (8_000, 16_000),
        (8_000, 48_000),
        (16_000, 8_000),
        (16_000, 24_000),
        (48_000, 8_000),
        (48_000, 16_000),
    ] {
        let mut resampler = Resampler::new(from, to).expect("a rate of the list");
        let input = talker(1, 9_000, from as usize / 50);
        let mut output = vec![0; to as usize / 50];
        group.bench_function(format!("{from} to {to}"), |bench| {
            bench.iter(|| resampler.process(black_box(&input), &mut output));
        });
    }
    group.finish();
}

fn signals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signal 20 ms");
    let frame = talker(3, 4_000, FRAME);
    group.bench_function("level", |bench| {
        bench.iter(|| level::level_dbov(black_box(&frame)))
    });
    let mut detector = SpeechDetector::new(8_000);
    group.bench_function("speech detector", |bench| {
        bench.iter(|| detector.update(black_box(&frame)));
    });
    let mut scores = [SpeakerScore::SILENT; 50];
    for (ix, score) in scores.iter_mut().enumerate() {
        let level_db = -20.0 - ix as f32;
        let speech = true;
        score.update(level::Activity { level_db, speech }, 60);
    }
    let mut chosen = [false; 50];
    group.bench_function("4 loudest of 50", |bench| {
        bench.iter(|| choose_loudest(black_box(&scores), &mut chosen, 4));
    });
    for (name, plan) in [("two tones", "us-ringback"), ("modulated tone", "400*25")] {
        let plan = TonePlan::parse(plan).expect("a plan of the table");
        let mut generator = ToneGenerator::new(plan, 8_000).expect("a rate of the list");
        let mut out = [0; FRAME];
        group.bench_function(name, |bench| {
            bench.iter(|| {
                generator.seek_ms(100);
                generator.fill(black_box(&mut out));
            });
        });
    }
    let plan = TonePlan::parse("440+480").expect("a plan");
    let mut tone = [0; 8_000];
    ToneGenerator::new(plan, 8_000)
        .expect("a rate of the list")
        .fill(&mut tone);
    let mut progress = ProgressDetector::new(8_000).expect("a rate of the list");
    let mut frames = tone.chunks_exact(FRAME).cycle();
    group.bench_function("progress detector", |bench| {
        bench.iter(|| progress.update(frames.next().expect("an endless cycle")));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = mixing, resampling, signals
}
criterion_main!(benches);
