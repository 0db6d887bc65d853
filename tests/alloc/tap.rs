//! Listeners allocate nothing per packet once warm: copies as they are, masked, and decoded.

use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::engine::*;

use crate::CALLS;
use crate::engine_support::*;

pub(crate) fn listened_to() -> World {
    let mut world = World::two_party(Privacy::Transparent);
    let codec = CodecConfig::new;
    for (n, via) in [(2, Via::Relay), (3, Via::Relay), (4, Via::Decode)] {
        let privacy = [Privacy::Transparent, Privacy::Masked][usize::from(n == 3)];
        let to = world.add(n, Payload::Rtp, privacy);
        world.apply(Change::Remote(to, remote(to)));
        let pcmu = Heard {
            pt: 0,
            codec: codec(CodecKind::Pcmu),
        };
        let g722 = Spoken {
            pt: 9,
            codec: codec(CodecKind::G722),
            ptime_ms: 20,
        };
        let voice = Voice {
            hears: [pcmu].into_iter().collect(),
            speaks: Some(g722),
            playout: PlayoutBounds::default(),
            idle: Idle::Nothing,
        };
        world.apply(Change::Voice(to, Box::new(voice)));
        let kind = PayloadType {
            pt: 0,
            out: if via == Via::Decode { 9 } else { 0 },
            clock_hz: 8_000,
            silence: Some(0xff),
            event: false,
            via,
        };
        let types = [kind].into_iter().collect();
        world.apply(Change::Tap(Box::new(Tap { from: A, to, types })));
    }
    world
}

/// A speaks for `count` frames; how many packets were made for listeners.
pub(crate) fn speak(world: &mut World, first: u16, count: u16) -> usize {
    let mut packet = [0x9a; 172];
    let mut made = 0;
    for n in first..first + count {
        packet[..4].copy_from_slice(&[0x80, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        packet[4..8].copy_from_slice(&(u32::from(n) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
        let (now, from) = (world.now, home(A));
        let call = &mut world.call;
        call.handle_packet(now, A, Component::Rtp, from, &mut packet);
        let mut drain = |call: &mut Call| {
            while let Some(output) = call.poll_output() {
                made += usize::from(matches!(output, Output::Media { .. }));
            }
        };
        drain(call);
        let until = now + Duration::from_millis(20);
        while let Some(at) = call.poll_timeout().filter(|at| *at <= until) {
            call.handle_timeout(at.max(now));
            drain(call);
        }
        world.now = until;
    }
    made
}

#[test]
fn no_allocation_per_copy_after_warm_up() {
    let mut world = listened_to();
    speak(&mut world, 0, 500);
    let before = CALLS.get();
    let made = speak(&mut world, 500, 1_000);
    assert_eq!(CALLS.get() - before, 0);
    assert!((2_990..3_010).contains(&made), "{made}");
}
