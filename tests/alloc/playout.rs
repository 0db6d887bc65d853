//! A jitter buffer allocates when it is made and while its packets first pile up, and never after.

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder};
use crosspoint::engine::Micros;
use crosspoint::engine::playout::{PacketInfo, Playout, PlayoutConfig};
use crosspoint::wire::seq::{RtpTimestamp, SequenceNumber};

use crate::CALLS;

/// A second of 20 ms packets, some lost, some in a burst, with a pause and comfort noise.
fn second(playout: &mut Playout, second: u32) {
    let mut out = [0; 160];
    for n in second * 50..(second + 1) * 50 {
        let arrived = match n % 50 {
            7 | 30..36 => 0..0,
            36 => n - 6..n + 1,
            _ => n..n + 1,
        };
        for n in arrived {
            let info = PacketInfo {
                ssrc: 1,
                seq: SequenceNumber::of(n),
                timestamp: RtpTimestamp(n * 160),
                pt: if n % 50 == 45 { 13 } else { 0 },
                marker: false,
            };
            let payload = [0x9a; 160];
            let len = if info.pt == 13 { 1 } else { 160 };
            playout.insert(at(n), &info, &payload[..len]);
        }
        playout.pull(at(n), &mut out);
    }
}

fn at(n: u32) -> Micros {
    Micros(u64::from(n) * 20_000)
}

#[test]
fn packets_allocate_nothing_once_as_many_waited_before() {
    let before = CALLS.get();
    let mut playout = Playout::new(PlayoutConfig::default()).expect("a usual configuration");
    let decoder = Decoder::new(&CodecConfig::new(CodecKind::Pcmu)).expect("PCMU");
    playout.set_decoder(0, 8_000, decoder).expect("8 kHz");
    playout.set_comfort_noise(13, 8_000).expect("in range");
    assert!(CALLS.get() > before, "the counter counts");
    (0..10).for_each(|n| second(&mut playout, n));
    let before = CALLS.get();
    (10..60).for_each(|n| second(&mut playout, n));
    assert_eq!(CALLS.get(), before);
    let stats = playout.stats();
    assert!(stats.concealed_ms > 0 && stats.lost >= 50, "{stats:?}");
}
