//! What a listener heard, as tones on the listener's own clock.

use std::collections::HashSet;

use super::support::audio;
use super::support::rtp::Packet;

/// Samples of a packet,
const SAMPLES: usize = 160;
/// and what they add to the timestamp.
const STEP: u32 = 160;

/// Samples of a window in which tones are told from traces of tones: 100 ms.
const WINDOW: usize = 800;

/// A tone of at least this level is heard; those of the tests are sent at −12 dB.
pub(crate) const HEARD_DB: f32 = -30.0;

/// Which of `tones` a packet carries.
pub(crate) fn carried(packet: &Packet, tones: &[f32]) -> Vec<f32> {
    let loud = |hz: &f32| audio::level_db(&packet.payload, *hz) > HEARD_DB;
    tones.iter().copied().filter(loud).collect()
}

/// The payloads of a voice of this tone: those of a second, for tones of whole hertz begin anew
/// with each.
pub(crate) fn payloads(hz: f32) -> HashSet<Vec<u8>> {
    let starts = (0..8000).step_by(SAMPLES);
    starts.map(|at| audio::tone(hz, at)).collect()
}

/// The packets as runs that carry the same tones.
pub(crate) fn runs(packets: &[Packet], tones: &[f32]) -> Vec<(Vec<f32>, usize)> {
    let mut runs: Vec<(Vec<f32>, usize)> = Vec::new();
    for packet in packets {
        let carried = carried(packet, tones);
        match runs.last_mut() {
            Some((same, count)) if *same == carried => *count += 1,
            _ => runs.push((carried, 1)),
        }
    }
    runs
}

/// Levels of a tone in windows of 100 ms, lowest first.
pub(crate) fn levels(packets: &[Packet], hz: f32) -> Vec<f32> {
    let audio: Vec<u8> = packets.iter().flat_map(|p| p.payload.clone()).collect();
    assert!(audio.len() >= WINDOW, "{} packets only", packets.len());
    let windows = audio.chunks_exact(WINDOW);
    let mut levels: Vec<f32> = windows.map(|w| audio::level_db(w, hz)).collect();
    levels.sort_by(f32::total_cmp);
    levels
}

/// Fails unless every window carries `hz`, and each of `others` at least 50 dB below it.
pub(crate) fn assert_only(who: &str, packets: &[Packet], hz: f32, others: &[f32]) {
    let own = levels(packets, hz)[0];
    assert!(own > HEARD_DB, "{who}: {hz} Hz falls to {own:.0} dB");
    for &other in others {
        let traces = levels(packets, other);
        let trace = traces[traces.len() - 1];
        assert!(
            trace < own - 50.0,
            "{who}: {other} Hz reaches {trace:.0} dB beside {hz} Hz at {own:.0} dB"
        );
    }
}

/// One clock: one SSRC, each number one more than the last, time that only goes on, by the
/// packet's length where there is no marker.
pub(crate) fn assert_one_clock(who: &str, packets: &[Packet]) {
    for (ix, pair) in packets.windows(2).enumerate() {
        let [before, after] = pair else {
            unreachable!("windows of two")
        };
        assert_eq!(after.ssrc, before.ssrc, "{who}: SSRC after packet {ix}");
        assert_eq!(
            after.seq,
            before.seq.wrapping_add(1),
            "{who}: number after packet {ix}"
        );
        let passed = after.timestamp.wrapping_sub(before.timestamp);
        assert!(
            passed == STEP || after.marker && (1..80_000).contains(&passed),
            "{who}: {passed} samples passed after packet {ix}, marker {}",
            after.marker
        );
    }
}

/// How long sounds and pauses last, in milliseconds, by the timestamps: sound first. The last
/// one, which may go on, is left out.
pub(crate) fn cadence_ms(packets: &[Packet]) -> Vec<usize> {
    const BLOCK: usize = 80;
    let start = packets.first().map_or(0, |packet| packet.timestamp);
    let mut audio = Vec::new();
    for packet in packets {
        audio.resize(packet.timestamp.wrapping_sub(start) as usize, 0xFF);
        audio.extend(&packet.payload);
    }
    let sounds = |block: &[u8]| {
        block
            .iter()
            .any(|byte| audio::ulaw_decode(*byte).abs() > 200)
    };
    let mut spans: Vec<(bool, usize)> = Vec::new();
    for block in audio.chunks(BLOCK).map(sounds) {
        match spans.last_mut() {
            Some((same, blocks)) if *same == block => *blocks += 1,
            _ => spans.push((block, 1)),
        }
    }
    spans.pop();
    let spans = spans.iter().skip_while(|(sound, _)| !sound);
    spans.map(|(_, blocks)| blocks * 10).collect()
}
