//! What a track holds is bounded. That it is true to the clock is in `tests/record_track.rs`.

use super::*;
use crate::audio::codec::CodecKind;
use crate::engine::TrackIx;

fn packet(track: &mut Track, at_ms: u64, pt: u8, seq: u16, payload: &[u8]) {
    let mut rtp = vec![0x80, pt];
    rtp.extend(seq.to_be_bytes());
    rtp.extend((u32::from(seq) * 160).to_be_bytes());
    rtp.extend([0; 4]);
    rtp.extend(payload);
    track.packet(Taped {
        at: Duration::from_millis(at_ms),
        track: TrackIx(0),
        event: false,
        veiled: false,
        silenced: false,
        rtp: &mut rtp,
    });
}

fn sound(pt: u8, kind: CodecKind) -> TrackType {
    TrackType {
        pt,
        kind: TrackKind::Sound(kind),
    }
}

#[test]
fn so_many_decoders_are_kept_and_all_codecs_are_heard() {
    let l16 = |rate_hz, channels| CodecKind::L16 { rate_hz, channels };
    let kinds = [
        CodecKind::Pcmu,
        CodecKind::Pcma,
        CodecKind::G722,
        l16(8_000, 1),
        l16(16_000, 1),
        l16(8_000, 2),
    ];
    let types: Vec<TrackType> = (10..)
        .zip(kinds)
        .map(|(pt, kind)| sound(pt, kind))
        .collect();
    let mut track = Track::new(8_000);
    track.set_types(&types);
    let mut out = [0; 160];
    for n in 0..600_u16 {
        let pt = 10 + u8::try_from(n / 20 % 6).unwrap();
        packet(&mut track, u64::from(n) * 20, pt, n, &[0x55; 160]);
        if n >= 10 {
            track.read(&mut out, &mut Vec::new());
        }
        assert!(track.renderer.voices.len() <= render::VOICES_MAX);
    }
    assert_eq!(track.renderer.voices.len(), render::VOICES_MAX);
    assert_eq!(track.stats().codecs.len(), kinds.len());
    assert_eq!(track.stats().undecoded, 0);
    // What is agreed on still stays, and the others go.
    track.set_types(&types[4..]);
    assert_eq!(track.renderer.voices.len(), 2);
}

#[test]
fn so_many_overruns_are_remembered_and_more_are_one() {
    let mut track = Track::new(8_000);
    for n in 0..render::OVERRUNS_MAX as u64 + 1 {
        let from = Duration::from_secs(n);
        track.overrun(from, from);
    }
    let overruns = &track.renderer.overruns;
    assert_eq!(overruns.len(), render::OVERRUNS_MAX);
    let last = overruns.last().unwrap();
    let at = (render::OVERRUNS_MAX as i64 - 1) * 8_000;
    assert_eq!(*last, (at, at + 8_000 + 160));
}

#[test]
fn more_packets_than_can_wait_are_lost_and_the_others_are_heard() {
    let mut track = Track::new(8_000);
    track.set_types(&[sound(0, CodecKind::Pcmu)]);
    let all = u16::try_from(WAITING_MAX).unwrap() + 5;
    for n in 0..all {
        packet(&mut track, u64::from(n) * 20, 0, n, &[0x55; 160]);
    }
    let mut out = vec![0; usize::from(all + 3) * 160];
    track.read(&mut out, &mut Vec::new());
    let at = u64::from(all + 3) * 20;
    packet(&mut track, at, 0, all + 3, &[0x55; 160]);
    track.read(&mut [0; 1_600], &mut Vec::new());
    assert_eq!(track.stats().packets, WAITING_MAX as u64 + 1);
    assert_eq!(track.stats().lost, 8);
}

#[test]
fn what_waits_to_be_read_is_little_however_long_it_is_not_read() {
    let mut track = Track::new(8_000);
    track.set_types(&[sound(0, CodecKind::Pcmu)]);
    for n in 0..500_u16 {
        packet(&mut track, u64::from(n) * 20, 0, n, &[0x55; 160]);
    }
    track.read(&mut [0; 8], &mut Vec::new());
    let ready = &track.renderer.ready;
    assert!(ready.made() - ready.read() <= 160);
}
