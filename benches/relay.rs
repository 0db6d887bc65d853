//! What a packet costs in the engine, stage by stage. One element is one packet.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::engine::*;
use crosspoint::wire::rtp::{RtpHeader, RtpPacket};
use crosspoint::wire::seq::{RtpTimestamp, SequenceNumber};

/// A G.711 packet of 20 ms.
fn packet() -> [u8; 172] {
    let mut packet = [0xff; 172];
    packet[..12].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4]);
    packet
}

fn home(ix: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, ix.to_be_bytes()[1]], 4_000))
}

fn call(privacy: Privacy, now: Instant) -> Call {
    let key = CallKey {
        slot: 0,
        generation: 0,
    };
    let mut call = Call::new(
        CallConfig {
            key,
            seed: 1,
            timers: Timers::default(),
        },
        now,
    );
    let learn = Learn {
        pace: LearnPace::Heuristic,
        likely: None,
        anyone: false,
        handover: false,
        asymmetric: false,
    };
    let mut changes = Vec::new();
    for ix in [0, 1] {
        let (leg, payload) = (LegIx(ix), Payload::Rtp);
        let config = StreamConfig {
            leg,
            media: 0,
            payload,
            privacy,
            own_rtcp: false,
        };
        changes.push(Change::AddStream(config));
        let remote = Remote {
            rtp: Some(home(ix)),
            rtcp: None,
            mux: true,
            learn,
        };
        changes.push(Change::Remote(StreamIx(ix), remote));
        let pcmu = PayloadType {
            pt: 0,
            out: 0,
            clock_hz: 8_000,
            silence: Some(0xff),
            event: false,
            via: Via::Relay,
        };
        changes.push(Change::PayloadTypes(
            StreamIx(ix),
            [pcmu].into_iter().collect(),
        ));
    }
    changes.push(Change::Link {
        from: StreamIx(0),
        to: Some(StreamIx(1)),
    });
    changes.push(Change::Link {
        from: StreamIx(1),
        to: Some(StreamIx(0)),
    });
    for change in changes {
        call.apply(now, change).expect("a plain call");
    }
    for ix in [0, 1] {
        let port = PortHandle(u32::from(ix));
        call.set_port(StreamIx(ix), Component::Rtp, port)
            .expect("the stream exists");
    }
    call
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    let mut bytes = packet();
    group.bench_function("parse", |bench| {
        bench.iter(|| RtpHeader::parse(black_box(&bytes)));
    });
    group.bench_function("rewrite", |bench| {
        bench.iter(|| {
            let mut packet = RtpPacket::parse(black_box(&mut bytes)).expect("a valid packet");
            packet.set_ssrc(7);
            packet.set_seq(SequenceNumber(8));
            packet.set_timestamp(RtpTimestamp(9));
            packet.set_pt(8);
        });
    });
    group.finish();
}

/// Records what both parties of a call say.
fn record(call: &mut Call, now: Instant) -> TapeReader {
    let (writer, reader) = tape(2, now);
    let recorder = RecorderId(1);
    let begin = Change::Record {
        recorder,
        tape: Box::new(writer),
        finish: Keys::NONE,
    };
    call.apply(now, begin).expect("the first");
    for ix in [0, 1] {
        let track = Change::RecordTrack {
            recorder,
            track: TrackIx(ix),
            from: Some((StreamIx(ix.into()), Side::In)),
        };
        call.apply(now, track).expect("a stream of RTP");
    }
    reader
}

/// Packets of stream 0 through the whole call while both sides are recorded: what the worker pays
/// for it, and apart from that what the reader does to take them off the tape.
fn relay_recorded(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    let mut now = Instant::now();
    let mut call = call(Privacy::Transparent, now);
    let mut tape = record(&mut call, now);
    let (mut seq, mut bytes) = (0u16, packet());
    let mut pass = |call: &mut Call| {
        seq = seq.wrapping_add(1);
        now += Duration::from_millis(20);
        bytes[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 160, 1, 2, 3, 4]);
        bytes[2..4].copy_from_slice(&seq.to_be_bytes());
        let packet = black_box(&mut bytes);
        call.handle_packet(now, StreamIx(0), Component::Rtp, home(0), packet)
    };
    let mut timed = |reads: bool, rounds: u64| {
        let mut spent = Duration::ZERO;
        for _ in 0..rounds {
            let start = Instant::now();
            for _ in 0..RECORDED_AT_ONCE {
                black_box(pass(&mut call));
            }
            let written = start.elapsed();
            while black_box(tape.next()).is_some() {}
            spent += if reads {
                start.elapsed() - written
            } else {
                written
            };
        }
        spent / RECORDED_AT_ONCE
    };
    for (name, reads) in [("relay, recorded", false), ("reading a tape", true)] {
        group.bench_function(name, |bench| {
            bench.iter_custom(|rounds| timed(reads, rounds));
        });
    }
    group.finish();
}

/// Packets between two looks at a tape.
const RECORDED_AT_ONCE: u32 = 100;

/// Packets of stream 0 through the whole call; `from` decides whether they are let in.
fn relay(criterion: &mut Criterion, name: &str, privacy: Privacy, from: SocketAddr) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    let mut now = Instant::now();
    let mut call = call(privacy, now);
    let mut bytes = packet();
    call.handle_packet(now, StreamIx(0), Component::Rtp, home(0), &mut bytes);
    let mut seq = 1u16;
    group.bench_function(name, |bench| {
        bench.iter(|| {
            seq = seq.wrapping_add(1);
            now += Duration::from_millis(20);
            bytes[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 160, 1, 2, 3, 4]);
            bytes[2..4].copy_from_slice(&seq.to_be_bytes());
            let packet = black_box(&mut bytes);
            call.handle_packet(now, StreamIx(0), Component::Rtp, from, packet)
        });
    });
    group.finish();
}

fn engine(criterion: &mut Criterion) {
    relay(criterion, "relay", Privacy::Transparent, home(0));
    relay(criterion, "relay, masked", Privacy::Masked, home(0));
    relay_recorded(criterion);
    relay(
        criterion,
        "latch refuses",
        Privacy::Transparent,
        SocketAddr::from(([9, 9, 9, 9], 9)),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = wire, engine
}
criterion_main!(benches);
