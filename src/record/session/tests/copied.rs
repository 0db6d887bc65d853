//! Packets of one Opus leg, stored as they come.

use super::super::*;
use super::rig::*;
use crate::audio::codec::CodecKind;
use crate::audio::ogg::Page;
use crate::engine::{Taped, TrackKind};
use crate::record::config::{Format, Layout, PauseMode};

/// Frames of 20 ms for 3 s; each may be marked, or have commands told with it.
fn copied(pause: PauseMode, mut each: impl FnMut(&mut Rig, u16, &mut Taped<'_>)) -> Recorded {
    let mut config = config(Layout::Mono, 1);
    config.format = Format::OpusCopy;
    config.rate_hz = 48_000;
    config.pause = pause;
    config.tracks[0].types[0].kind = TrackKind::Sound(CodecKind::Opus);
    let mut rig = Rig::new(config);
    rig.speaks.clear();
    for frame in 0..150_u16 {
        let mut rtp = vec![0x80, 0];
        rtp.extend(frame.to_be_bytes());
        rtp.extend((u32::from(frame) * 960).to_be_bytes());
        rtp.extend(7_u32.to_be_bytes());
        // A frame of 20 ms that says where it is from.
        rtp.push(31 << 3);
        rtp.extend_from_slice(format!("frame {frame:03}").as_bytes());
        let mut taped = Taped {
            at: rig.now,
            track: TrackIx(0),
            event: false,
            veiled: false,
            silenced: false,
            rtp: &mut rtp,
        };
        each(&mut rig, frame, &mut taped);
        rig.tape.as_mut().expect("the tape").packet(&taped, 12);
        rig.now += FRAME;
        rig.work();
    }
    rig.stop(3_000);
    rig.finish()
}

/// Tells a pause some time later than it is for, and its end.
fn paused(pause: PauseMode, from: u64, until: u64) -> Recorded {
    copied(pause, |rig, frame, _| {
        let now = u64::from(frame) * 20;
        if now == from.next_multiple_of(20) + 40 {
            let at = rig.at(from);
            rig.command(Command::Pause(at));
        }
        if now == until.next_multiple_of(20) + 40 {
            let at = rig.at(until);
            rig.command(Command::Resume(at));
        }
    })
}

/// Which frames are in the file, and at which of its milliseconds.
fn places(recorded: &Recorded) -> Vec<(usize, usize)> {
    let (mut bytes, mut at, mut places) = (&recorded.file[..], 0, Vec::new());
    let mut pages = 0;
    while !bytes.is_empty() {
        let (page, len) = Page::parse(bytes).expect("whole pages");
        bytes = &bytes[len..];
        pages += 1;
        let mut body = page.body;
        for len in page.lacing.iter().filter(|_| pages > 2) {
            let (packet, rest) = body.split_at(usize::from(*len));
            body = rest;
            let text = std::str::from_utf8(packet.get(1..).unwrap_or_default());
            if let Some(frame) = text.ok().and_then(|text| text.strip_prefix("frame ")) {
                // Behind the 2.5 ms that are skipped.
                places.push((frame.parse().expect("a number"), (at - 120) / 48));
            }
            at += crate::audio::opus::samples(packet, 48_000).expect("an Opus packet");
        }
    }
    places
}

#[test]
fn opus_is_stored_as_it_came_and_pauses_hold_nothing_of_it() {
    let recorded = paused(PauseMode::Silence, 1_000, 2_000);
    let stored = (0..150).filter(|frame| !(50..100).contains(frame));
    let expected: Vec<_> = stored.map(|frame| (frame, frame * 20)).collect();
    assert_eq!(places(&recorded), expected);
    assert_eq!(recorded.sidecar.length_us, 3_000_000);
    assert_eq!(recorded.spans(SpanKind::Paused), [(1_000_000, 2_000_000)]);
    assert_eq!(recorded.sidecar.spans.len(), 1);
    let stats = &recorded.sidecar.tracks[0].stats;
    assert_eq!((stats.packets, stats.lost, stats.late), (100, 0, 0));
}

#[test]
fn opus_goes_on_where_a_pause_that_skips_was() {
    for (from, until) in [(1_000, 2_000), (1_000, 1_060), (1_000, 1_000), (0, 500)] {
        let recorded = paused(PauseMode::Skip, from, until);
        let frame = |ms: u64| usize::try_from(ms / 20).expect("short");
        let (first, behind) = (frame(from), frame(until));
        let before = (0..first).map(|frame| (frame, frame * 20));
        let after = (behind..150).map(|frame| (frame, (frame - behind + first) * 20));
        let expected: Vec<_> = before.chain(after).collect();
        assert_eq!(places(&recorded), expected, "{from} to {until}");
        let stats = &recorded.sidecar.tracks[0].stats;
        let stored = expected.len() as u64;
        assert_eq!((stats.packets, stats.lost, stats.late), (stored, 0, 0));
        assert_eq!(recorded.sidecar.length_us, (3_000 - until + from) * 1_000);
    }
}

#[test]
fn what_may_not_be_stored_of_opus_is_silent_and_not_lost() {
    let recorded = copied(PauseMode::Silence, |_, frame, taped| {
        taped.event = (20..30).contains(&frame);
        taped.silenced = (50..70).contains(&frame);
        taped.veiled = (90..95).contains(&frame);
    });
    let stats = &recorded.sidecar.tracks[0].stats;
    assert_eq!((stats.packets, stats.lost, stats.undecoded), (115, 0, 0));
    let silent = [
        (400_000, 600_000),
        (1_000_000, 1_400_000),
        (1_800_000, 1_900_000),
    ];
    assert_eq!(recorded.spans(SpanKind::Silent), silent);
    assert_eq!(recorded.sidecar.spans.len(), silent.len());
}

#[test]
fn of_another_party_no_packet_is_stored_before_its_types_are_known() {
    let recorded = copied(PauseMode::Silence, |rig, frame, _| {
        if frame == 50 {
            let mut other = party("another", 0);
            other.types.clear();
            rig.command(Command::Track(TrackIx(0), other));
        }
    });
    let stats = &recorded.sidecar.tracks[0].stats;
    assert_eq!((stats.packets, stats.undecoded), (50, 100));
}

#[test]
fn what_the_disk_had_no_room_for_is_not_lost_on_the_way() {
    let recorded = copied(PauseMode::Silence, |rig, frame, _| {
        rig.disk.room = match frame {
            50..100 => 0,
            _ => rig.disk.capacity,
        };
    });
    let unwritten = recorded.spans(SpanKind::Unwritten);
    let [(from_us, until_us)] = unwritten[..] else {
        panic!("{unwritten:?}");
    };
    for (frame, at) in places(&recorded) {
        assert_eq!(at, frame * 20);
        let at_us = at as u64 * 1_000;
        // What waited for its place already has it.
        assert!(at_us <= from_us + 100_000 || at_us >= until_us, "{at_us}");
    }
    let stats = &recorded.sidecar.tracks[0].stats;
    assert_eq!((stats.lost, stats.late), (0, 0));
    assert!((90..=110).contains(&stats.packets), "{}", stats.packets);
    assert_eq!(recorded.sidecar.length_us, 3_000_000);
}
