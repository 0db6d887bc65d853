//! telephone-events by their look, where nothing says what a payload type means.

use std::collections::HashMap;

use super::{Flow, Packet};
use crate::tools::dtmf::sdp::Meaning;
use crate::wire::event::{EVENT_LEN, EventCode, TelephoneEvent};

/// Longest payload that may be events: four of them in one packet.
const LEN_MAX: usize = 4 * EVENT_LEN;

/// Clocks that telephone-events have.
const CLOCKS_HZ: [u32; 4] = [8_000, 16_000, 32_000, 48_000];

/// Gives a meaning to the payload types of a flow that have none, where all of their payloads are
/// telephone-events by their look, and one of them grows or ends as events do.
pub(super) fn recognise(flow: &mut Flow<'_>) {
    for pt in 0..128 {
        let unknown = |packet: &&Packet<'_>| packet.header.pt == pt && packet.meaning.is_none();
        let of_type: Vec<_> = flow.packets.iter().filter(unknown).collect();
        if of_type.is_empty() || !of_type.iter().all(|packet| is_event(packet.payload)) {
            continue;
        }
        if !behaves(&of_type) {
            continue;
        }
        let told = of_type.iter().filter_map(|packet| {
            let key = (packet.header.ssrc, packet.header.timestamp.0);
            let event = TelephoneEvent::parse(packet.payload)?;
            (!event.end).then_some((key, packet.at_us, event.duration))
        });
        let clock_hz = clock_of(told);
        for packet in &mut flow.packets {
            if packet.header.pt == pt && packet.meaning.is_none() {
                packet.meaning = Some(Meaning::Event(clock_hz));
            }
        }
    }
}

/// Keys or the flash only. The reserved bit says nothing: SIPp sets it in some packets.
fn is_event(payload: &[u8]) -> bool {
    let whole = payload.len().is_multiple_of(EVENT_LEN);
    whole
        && (EVENT_LEN..=LEN_MAX).contains(&payload.len())
        && payload
            .chunks_exact(EVENT_LEN)
            .all(|event| event[0] <= EventCode::FLASH.0)
}

/// Whether an event ends after some time, or lasts longer from one packet to the next. What SIPp
/// sends between keys looks like a key as well, but has no length.
fn behaves(packets: &[&Packet<'_>]) -> bool {
    let mut longest = HashMap::new();
    packets.iter().any(|packet| {
        let key = (packet.header.ssrc, packet.header.timestamp.0);
        TelephoneEvent::parse(packet.payload).is_some_and(|event| {
            let before = longest.insert(key, event.duration);
            event.duration > 0
                && (event.end || before.is_some_and(|before| before < event.duration))
        })
    })
}

/// The clock by which durations grow as time passes; 8 kHz where nothing grows.
fn clock_of(told: impl Iterator<Item = ((u32, u32), u64, u16)>) -> u32 {
    let mut last = HashMap::new();
    let mut votes = [0_u32; CLOCKS_HZ.len()];
    for (key, at_us, duration) in told {
        let Some((before_us, before)) = last.insert(key, (at_us, duration)) else {
            continue;
        };
        let (passed_us, grown) = (
            at_us.saturating_sub(before_us),
            duration.saturating_sub(before),
        );
        if passed_us == 0 || grown == 0 {
            continue;
        }
        let measured_hz = u64::from(grown) * 1_000_000 / passed_us;
        let nearest =
            (0..CLOCKS_HZ.len()).min_by_key(|ix| u64::from(CLOCKS_HZ[*ix]).abs_diff(measured_hz));
        if let Some(ix) = nearest {
            votes[ix] += 1;
        }
    }
    // The lowest of those with as many votes.
    let most = votes.iter().copied().max().unwrap_or(0);
    let ix = votes.iter().position(|count| *count == most).unwrap_or(0);
    CLOCKS_HZ[ix]
}
