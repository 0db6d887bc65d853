//! What concealment and stretching cost per 20 ms packet (stretching: per 30 ms).
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use crosspoint::audio::conceal::Concealer;
use crosspoint::audio::stretch::PeriodFinder;

/// Milliseconds of sound that are heard before anything is measured.
const LEAD_MS: u32 = 100;

/// A voice-like sound: pitch pulses of 120 Hz with a decay, over some noise.
fn voice(rate_hz: u32, ms: u32) -> Vec<i16> {
    let mut rng = fastrand::Rng::with_seed(1);
    let period = rate_hz / 120;
    let mut pulse = 0.0_f32;
    (0..rate_hz * ms / 1_000)
        .map(|n| {
            pulse = if n % period == 0 {
                8_000.0
            } else {
                pulse * -0.93
            };
            rng.i16(-200..200).saturating_add(to_i16(pulse))
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation, reason = "saturates by definition")]
fn to_i16(value: f32) -> i16 {
    value as i16
}

fn concealment(c: &mut Criterion) {
    for rate_hz in [8_000, 16_000, 48_000] {
        let khz = rate_hz / 1_000;
        let lead = voice(rate_hz, LEAD_MS);
        let packet = voice(rate_hz, 20);
        let after_lead = || {
            let mut concealer = Concealer::new(rate_hz);
            concealer.heard(&mut lead.clone());
            (concealer, packet.clone())
        };
        c.bench_function(&format!("heard, {khz} kHz"), |b| {
            let (mut concealer, mut pcm) = after_lead();
            b.iter(|| concealer.heard(black_box(&mut pcm)));
        });
        c.bench_function(&format!("conceal the first, {khz} kHz"), |b| {
            b.iter_batched_ref(after_lead, |(c, pcm)| c.conceal(pcm), BatchSize::SmallInput);
        });
        c.bench_function(&format!("conceal and merge, {khz} kHz"), |b| {
            let both = |(c, pcm): &mut (Concealer, Vec<i16>)| {
                c.conceal(pcm);
                c.heard(pcm);
            };
            b.iter_batched_ref(after_lead, both, BatchSize::SmallInput);
        });
        c.bench_function(&format!("bridge, {khz} kHz"), |b| {
            let bridge = |(c, pcm): &mut (Concealer, Vec<i16>)| c.bridge(pcm, 0, &packet);
            b.iter_batched_ref(after_lead, bridge, BatchSize::SmallInput);
        });
    }
}

/// A voice, and noise, in which every period is tried in vain.
fn stretching(c: &mut Criterion) {
    for rate_hz in [8_000, 48_000] {
        let khz = rate_hz / 1_000;
        let mut finder = PeriodFinder::new(rate_hz);
        let voice = voice(rate_hz, 30);
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: Vec<i16> = voice.iter().map(|_| rng.i16(-9_000..9_000)).collect();
        for (name, pcm) in [("voice", &voice), ("noise", &noise)] {
            c.bench_function(&format!("pitch period of {name}, {khz} kHz"), |b| {
                b.iter(|| finder.find(black_box(pcm), usize::MAX, false));
            });
        }
    }
}

criterion_group!(benches, concealment, stretching);
criterion_main!(benches);
