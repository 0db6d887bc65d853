//! What a 20 ms frame costs in the jitter buffer: one packet in, 20 ms out. One element is a frame.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder};
use crosspoint::engine::Micros;
use crosspoint::engine::playout::{PacketInfo, Playout, PlayoutConfig};
use crosspoint::wire::seq::{RtpTimestamp, SequenceNumber};

const FRAME: usize = 160;

/// A leg whose packets are late, in bursts, or lost by a rule of their number.
struct Leg {
    playout: Playout,
    payload: [u8; FRAME],
    n: u32,
}

impl Leg {
    fn new() -> Self {
        let mut playout = Playout::new(PlayoutConfig::default()).expect("a usual configuration");
        let decoder = Decoder::new(&CodecConfig::new(CodecKind::Pcmu)).expect("a usual decoder");
        playout
            .set_decoder(0, 8_000, decoder)
            .expect("the rates agree");
        let mut payload = [0; FRAME];
        let octets = (0_u8..64).chain((0..64).rev()).map(|octet| octet | 0x80);
        for (slot, octet) in payload.iter_mut().zip(octets.cycle()) {
            *slot = octet;
        }
        Self {
            playout,
            payload,
            n: 0,
        }
    }

    fn insert(&mut self, n: u32) {
        let info = PacketInfo {
            ssrc: 1,
            seq: SequenceNumber::of(n),
            timestamp: RtpTimestamp(n.wrapping_mul(160)),
            pt: 0,
            marker: false,
        };
        let now = Micros(u64::from(self.n) * 20_000);
        self.playout.insert(now, &info, black_box(&self.payload));
    }

    fn pull(&mut self) {
        let mut out = [0; FRAME];
        let now = Micros(u64::from(self.n) * 20_000 + 5_000);
        self.playout.pull(now, &mut out);
        black_box(&out);
        self.n += 1;
    }
}

fn playout(c: &mut Criterion) {
    let mut group = c.benchmark_group("playout");
    group.throughput(Throughput::Elements(1));
    group.bench_function("G.711, 20 ms, in order", |b| {
        let mut leg = Leg::new();
        b.iter(|| {
            leg.insert(leg.n);
            leg.pull();
        });
    });
    group.bench_function("G.711, 20 ms, 2 % lost", |b| {
        let mut leg = Leg::new();
        b.iter(|| {
            if !leg.n.is_multiple_of(50) {
                leg.insert(leg.n);
            }
            leg.pull();
        });
    });
    group.bench_function("G.711, 20 ms, a burst of 100 ms each second", |b| {
        let mut leg = Leg::new();
        b.iter(|| {
            match leg.n % 50 {
                0..5 => {}
                5 => (0..6).rev().for_each(|back| leg.insert(leg.n - back)),
                _ => leg.insert(leg.n),
            }
            leg.pull();
        });
    });
    group.finish();
}

criterion_group!(benches, playout);
criterion_main!(benches);
