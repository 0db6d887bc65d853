//! Who listens without being heard: copies for listeners, a party that hears itself, and that
//! nobody else notices.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]

mod copies;
mod do_not_touch;
mod echo;
#[path = "../engine_support/mod.rs"]
mod engine_support;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::engine::*;

use engine_support::*;

/// A payload type of 8 kHz audio.
fn kind(pt: u8, out: u8, via: Via) -> PayloadType {
    PayloadType {
        pt,
        out,
        clock_hz: 8_000,
        silence: match pt {
            0 => Some(0xff),
            8 => Some(0xd5),
            _ => None,
        },
        event: pt == 101,
        via,
    }
}

fn voice(hears: &[(u8, CodecKind)], speaks: (u8, CodecKind)) -> Box<Voice> {
    let heard = |&(pt, kind): &(u8, CodecKind)| Heard {
        pt,
        codec: CodecConfig::new(kind),
    };
    Box::new(Voice {
        hears: hears.iter().map(heard).collect(),
        speaks: Some(Spoken {
            pt: speaks.0,
            codec: CodecConfig::new(speaks.1),
            ptime_ms: 20,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    })
}

fn tap(from: StreamIx, to: StreamIx, types: &[PayloadType]) -> Change {
    Change::Tap(Box::new(Tap {
        from,
        to,
        types: types.iter().copied().collect(),
    }))
}

fn link(from: StreamIx, to: Option<StreamIx>) -> Change {
    Change::Link { from, to }
}

/// One more stream, whose party is at home.
fn listener(world: &mut World, privacy: Privacy) -> StreamIx {
    let leg = world.call.streams() as u16;
    let ix = world.add(leg, Payload::Rtp, privacy);
    world.apply(Change::Remote(ix, remote(ix)));
    ix
}
