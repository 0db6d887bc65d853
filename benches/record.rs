//! What a track of a recording costs per 20 ms packet: put on its place, decoded and read.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::audio::codec::{CodecConfig, CodecKind, Encoder};
use crosspoint::engine::{Taped, TrackIx, TrackKind, TrackType};
use crosspoint::record::track::Track;

/// Packets of a measured second, twice: the recorder reads each 40 ms.
const PACKETS: u64 = 50;

/// A sender: its packets come every 20 ms by a clock that is off by `ppm`, and each `lost`th never.
struct Sender {
    track: Track,
    payload: Vec<u8>,
    clock_hz: u32,
    ppm: i64,
    lost: u64,
    sent: u64,
    out: Vec<i16>,
}

impl Sender {
    fn new(kind: CodecKind, rate_hz: u32, ppm: i64, lost: u64) -> Self {
        let mut track = Track::new(rate_hz);
        track.set_types(&[TrackType {
            pt: 100,
            kind: TrackKind::Sound(kind),
        }]);
        let mut encoder = Encoder::new(&CodecConfig::new(kind)).expect("a codec");
        let mut random = fastrand::Rng::with_seed(1);
        let len = encoder.pcm_hz() as usize / 50;
        let pcm: Vec<i16> = (0..len).map(|_| random.i16(-3_000..3_000)).collect();
        let mut payload = vec![0; 1_500];
        let count = encoder.encode(&pcm, &mut payload).expect("a packet");
        payload.truncate(count);
        Self {
            track,
            payload,
            clock_hz: kind.clock_hz(),
            ppm,
            lost,
            sent: 0,
            out: vec![0; rate_hz as usize / 25],
        }
    }

    fn second(&mut self) {
        for _ in 0..PACKETS {
            let n = self.sent;
            self.sent += 1;
            let us = 20_000 * n;
            let drift_us = us.cast_signed() * self.ppm / 1_000_000;
            if n % self.lost != self.lost - 1 {
                self.packet(n, us.saturating_add_signed(-drift_us));
            }
            if n % 2 == 1 && n > 11 {
                let mut spans = Vec::new();
                self.track.read(black_box(&mut self.out), &mut spans);
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "numbers of packets wrap")]
    fn packet(&mut self, n: u64, at_us: u64) {
        let mut rtp = [0; 1_600];
        let len = 12 + self.payload.len();
        let timestamp = n as u32 * (self.clock_hz / 50);
        rtp[..2].copy_from_slice(&[0x80, 100]);
        rtp[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        rtp[4..8].copy_from_slice(&timestamp.to_be_bytes());
        rtp[12..len].copy_from_slice(&self.payload);
        self.track.packet(Taped {
            at: Duration::from_micros(at_us),
            track: TrackIx(0),
            event: false,
            veiled: false,
            silenced: false,
            rtp: &mut rtp[..len],
        });
    }
}

/// One of so many packets is lost: none, and 5 %.
const NONE: u64 = u64::MAX;
const MANY: u64 = 20;

fn record_track(c: &mut Criterion) {
    let mut group = c.benchmark_group("record_track");
    group.throughput(Throughput::Elements(PACKETS));
    for (name, kind, rate_hz, ppm, lost) in [
        ("PCMU to 8 kHz", CodecKind::Pcmu, 8_000, 0, NONE),
        ("PCMU to 8 kHz, 50 ppm", CodecKind::Pcmu, 8_000, 50, NONE),
        ("PCMU to 8 kHz, 500 ppm", CodecKind::Pcmu, 8_000, 500, NONE),
        ("PCMU to 8 kHz, 5 % lost", CodecKind::Pcmu, 8_000, 0, MANY),
        ("PCMU to 16 kHz", CodecKind::Pcmu, 16_000, 0, NONE),
        ("PCMU to 48 kHz", CodecKind::Pcmu, 48_000, 0, NONE),
        ("G.722 to 16 kHz", CodecKind::G722, 16_000, 0, NONE),
        ("Opus to 8 kHz", CodecKind::Opus, 8_000, 0, NONE),
        ("Opus to 48 kHz", CodecKind::Opus, 48_000, 0, NONE),
    ] {
        let mut sender = Sender::new(kind, rate_hz, ppm, lost);
        group.bench_function(name, |b| b.iter(|| sender.second()));
    }
    group.finish();
}

criterion_group!(benches, record_track);
criterion_main!(benches);
