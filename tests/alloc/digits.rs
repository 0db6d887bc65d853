//! A leg whose keys are listened to allocates nothing per packet once warm.

use std::time::Duration;

use crosspoint::engine::*;

use crate::CALLS;
use crate::engine_support::*;

pub(crate) const EVENT_PT: u8 = 101;

/// 20 ms of the key 5.
pub(crate) fn tones(at: u32) -> [u8; 160] {
    let mut payload = [0; 160];
    let pcm: [i16; 160] = std::array::from_fn(|n| {
        let t = f64::from(at + n as u32) / 8_000.0 * std::f64::consts::TAU;
        (6_000.0 * ((t * 770.0).sin() + (t * 1_336.0).sin())) as i16
    });
    crosspoint::audio::g711::encode_ulaw(&pcm, &mut payload);
    payload
}

/// A presses a key every 200 ms, by tones and by events in turn, and loses and reorders packets;
/// how many presses were told.
pub(crate) fn press(world: &mut World, said: &[[u8; 160]; 5], first: u16, count: u16) -> usize {
    let mut told = 0;
    let mut packet = [0; 172];
    for n in first..first + count {
        if n % 47 == 13 {
            continue; // lost
        }
        let seq = if n % 31 == 3 {
            n + 1
        } else {
            n - u16::from(n % 31 == 4)
        };
        let (round, place) = (seq / 10, seq % 10);
        let event = round % 2 == 1 && place < 5;
        packet[..4].copy_from_slice(&[0x80, 0, seq.to_be_bytes()[0], seq.to_be_bytes()[1]]);
        let at = if event { seq - place } else { seq };
        packet[4..8].copy_from_slice(&(u32::from(at) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
        let len = if event {
            packet[1] = EVENT_PT;
            let [high, low] = ((place + 1).min(4) * 160).to_be_bytes();
            packet[12..16].copy_from_slice(&[6, u8::from(place == 4) << 7 | 10, high, low]);
            16
        } else {
            let quiet = [0xff; 160];
            let tone = round % 2 == 0 && place < 5;
            packet[12..].copy_from_slice(if tone {
                &said[usize::from(place)]
            } else {
                &quiet
            });
            172
        };
        let (now, from) = (world.now, home(A));
        let call = &mut world.call;
        call.handle_packet(now, A, Component::Rtp, from, &mut packet[..len]);
        let mut drain = |call: &mut Call| {
            while let Some(output) = call.poll_output() {
                told += usize::from(matches!(output, Output::Event(_)));
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
    told
}

#[test]
fn no_allocation_per_packet_that_is_listened_to() {
    let mut world = World::two_party(Privacy::Transparent);
    let kind = |pt, event: bool| PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: (!event).then_some(0xff),
        event,
        via: Via::Relay,
    };
    let types = [kind(0, false), kind(EVENT_PT, true)].into_iter().collect();
    world.apply(Change::PayloadTypes(A, types));
    let config = DigitsConfig {
        telephone_events: true,
        in_band: true,
    };
    world.apply(Change::Digits(A, Some(config)));
    let said = std::array::from_fn(|n| tones(n as u32 * 160));
    press(&mut world, &said, 0, 1_000);
    let before = CALLS.get();
    let told = press(&mut world, &said, 1_000, 2_000);
    assert_eq!(CALLS.get() - before, 0);
    // 200 presses, each begins and ends; some of what was lost splits one in two.
    assert!((390..=440).contains(&told), "{told}");
}
