//! Rooms in virtual time: legs that speak linear samples, whose bridge is declared by a list.

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;

use super::{Sent, World, remote, rtp, voice_of};

pub const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};
pub const L16_WIDE: CodecKind = CodecKind::L16 {
    rate_hz: 16_000,
    channels: 1,
};

/// One member's stream and what it says.
#[derive(Clone, Copy)]
pub struct Party {
    pub kind: CodecKind,
    pub ptime_ms: u8,
}

pub fn room(parties: &[Party]) -> World {
    let mut world = World::new(Timers::default());
    for (n, party) in parties.iter().enumerate() {
        let ix = world.add(n as u16, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        let codec = CodecConfig::new(party.kind);
        world.apply(Change::Voice(ix, voice_of(96, codec, party.ptime_ms)));
        let known = PayloadType {
            pt: 96,
            out: 96,
            clock_hz: party.kind.clock_hz(),
            silence: None,
            event: false,
            via: Via::Relay,
        };
        world.apply(Change::PayloadTypes(ix, [known].into_iter().collect()));
    }
    world
}

pub fn seat(world: &mut World, members: &[u16]) {
    let member = |n: &u16| Member {
        stream: StreamIx(*n),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    let config = BridgeConfig {
        members: members.iter().map(member).collect(),
        edges: Vec::new(),
        loudest: 0,
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
}

/// 20 ms of linear samples.
pub fn say(world: &mut World, ix: u16, kind: CodecKind, n: u32, sample: impl Fn(u32) -> i16) {
    let samples = kind.clock_hz() / 50;
    let payload: Vec<u8> = (n * samples..(n + 1) * samples)
        .flat_map(|at| sample(at).to_be_bytes())
        .collect();
    let packet = rtp(96, n as u16, n * samples, u32::from(ix) + 1, &payload);
    world.hear(StreamIx(ix), &packet);
}

/// One SSRC, no number left out, each timestamp where the wall clock was within `slack_ms`.
#[track_caller]
pub fn assert_one_clock(received: &[(u64, Sent)], clock_hz: i64, slack_ms: i64) {
    let (start_ms, first) = received.first().expect("something was received");
    for (n, (ms, sent)) in received.iter().enumerate() {
        assert_eq!(sent.ssrc(), first.ssrc());
        assert_eq!(sent.seq(), first.seq().wrapping_add(n as u16));
        let ticks = i64::from(sent.timestamp().wrapping_sub(first.timestamp()));
        let behind_ms = (ms - start_ms) as i64 - ticks * 1_000 / clock_hz;
        assert!(behind_ms.abs() <= slack_ms, "{behind_ms} ms off at {ms} ms");
    }
}

/// The longest time between two packets.
pub fn longest_gap_ms(received: &[(u64, Sent)]) -> u64 {
    let gaps = received.windows(2).map(|pair| pair[1].0 - pair[0].0);
    gaps.max().unwrap_or(u64::MAX)
}
