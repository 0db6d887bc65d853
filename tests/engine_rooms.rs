//! Rooms whose members differ in rate and packet time, and change while they talk.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::f64::consts::TAU;

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder};
use crosspoint::engine::*;
use engine_support::rooms::*;
use engine_support::*;

#[test]
fn members_of_all_packet_times_are_served_at_their_own() {
    let ptimes = [10, 20, 30, 40, 60, 20];
    let party = |ptime_ms| Party {
        kind: L16,
        ptime_ms,
    };
    let mut world = room(&ptimes.map(party));
    seat(&mut world, &[0, 1, 2, 3, 4, 5]);
    for n in 0..150 {
        (0..6).for_each(|ix| say(&mut world, ix, L16, n, |_| 100 << ix));
        world.wait(20);
    }
    for (ix, ptime_ms) in (0..6).zip(ptimes) {
        let received = world.received(StreamIx(ix));
        let all: Vec<_> = received.iter().skip(10).cloned().collect();
        assert_one_clock(&all, 8_000, 0);
        assert_eq!(longest_gap_ms(&all), u64::from(ptime_ms));
        for (_, sent) in &all[600 / usize::from(ptime_ms)..] {
            let heard = &sent.bytes[12..];
            assert_eq!(heard.len(), 16 * usize::from(ptime_ms), "{ptime_ms} ms");
            let expected = 6_300_i16 - (100 << ix);
            assert_eq!(heard, expected.to_be_bytes().repeat(heard.len() / 2));
        }
    }
}

#[test]
fn a_room_that_is_reshaped_drops_no_frame_and_no_tick() {
    let party = |ptime_ms| Party {
        kind: L16,
        ptime_ms,
    };
    let mut world = room(&[party(20), party(40), party(60), party(30)]);
    let mut n = 0;
    // 20 ms frames, then 10, then 20 again: at moments that divide nobody's packets.
    for members in [&[0, 1, 2][..], &[0, 1, 2, 3], &[0, 1, 2], &[0, 1, 2, 3]].repeat(4) {
        seat(&mut world, members);
        for _ in 0..29 {
            (0..4).for_each(|ix| say(&mut world, ix, L16, n, |_| 1_000));
            n += 1;
            world.wait(20);
        }
    }
    for (ix, ptime_ms) in [(0, 20), (1, 40), (2, 60)] {
        let received = world.received(StreamIx(ix));
        // What is collected for a packet may wait for a frame of the other length.
        assert_one_clock(&received[5..], 8_000, 20);
        let gap_ms = longest_gap_ms(&received[5..]);
        assert!(gap_ms <= ptime_ms + 20, "{gap_ms} ms without a packet");
    }
    // The one that comes and goes has no other clock than the wall.
    let guest = world.received(StreamIx(3));
    let start = guest[0].0;
    let (last_ms, last) = guest.last().unwrap();
    let ticks = i64::from(last.timestamp().wrapping_sub(guest[0].1.timestamp()));
    let off_ms = (last_ms - start) as i64 - ticks / 8;
    assert!(off_ms.abs() <= 60, "{off_ms} ms off after eight visits");
}

#[test]
fn a_wideband_member_joins_and_leaves_and_nobody_misses_a_frame() {
    let narrow = Party {
        kind: L16,
        ptime_ms: 20,
    };
    let wide = Party {
        kind: L16_WIDE,
        ptime_ms: 20,
    };
    // The last one never speaks: without it two would be left, who are not mixed.
    let mut world = room(&[narrow, narrow, wide, narrow]);
    let mut n = 0;
    for members in [&[0, 1, 3][..], &[0, 1, 2, 3], &[0, 1, 3], &[0, 1, 2, 3]] {
        seat(&mut world, members);
        for _ in 0..50 {
            say(&mut world, 0, L16, n, |_| 3_000);
            say(&mut world, 1, L16, n, |_| 500);
            say(&mut world, 2, L16_WIDE, n, |_| 40);
            n += 1;
            world.wait(20);
        }
    }
    for ix in [0, 1] {
        let received = world.received(StreamIx(ix));
        assert_one_clock(&received, 8_000, 0);
        assert_eq!(longest_gap_ms(&received), 20);
    }
    let heard = world.received(StreamIx(2));
    let (_, last) = heard.last().unwrap();
    assert_eq!(last.bytes[12..].len(), 640, "20 ms at 16 kHz");
    let sample = i16::from_be_bytes([last.bytes[650], last.bytes[651]]);
    assert!((3_499..=3_501).contains(&sample), "{sample}");
}

#[test]
fn a_worker_that_stood_still_leaves_the_clock_of_a_room_right() {
    let party = Party {
        kind: L16,
        ptime_ms: 20,
    };
    let mut world = room(&[party, party, party]);
    seat(&mut world, &[0, 1, 2]);
    for n in 0..200 {
        (0..2).for_each(|ix| say(&mut world, ix, L16, n, |_| 900));
        if n == 100 {
            world.now += std::time::Duration::from_secs(1);
            world.call.handle_timeout(world.now);
            world.drain();
        }
        world.wait(20);
    }
    let received = world.received(StreamIx(0));
    assert_one_clock(&received[received.len() - 50..], 8_000, 0);
    let ((start_ms, first), (end_ms, last)) = (&received[0], received.last().unwrap());
    let ticks = i64::from(last.timestamp().wrapping_sub(first.timestamp()));
    let off_ms = (end_ms - start_ms) as i64 - ticks / 8;
    assert!(off_ms.abs() <= 20, "{off_ms} ms off");
}

/// Listeners of one talker in a codec that remembers get the same octets; one of them says a word
/// and is silent again, and what it hears meanwhile and afterwards goes on without a click.
#[test]
fn silent_listeners_share_an_encoder_and_leave_it_unheard() {
    let talker = Party {
        kind: L16_WIDE,
        ptime_ms: 20,
    };
    let listener = Party {
        kind: CodecKind::G722,
        ptime_ms: 20,
    };
    let mut world = room(&[talker, listener, listener, listener, talker]);
    seat(&mut world, &[0, 1, 2, 3, 4]);
    // 400 Hz in bursts of half a second with pauses between them.
    let tone = |at: u32| {
        let envelope = (f64::from(at % 16_000) / 8_000.0 * TAU / 2.0)
            .sin()
            .max(0.0);
        (6_000.0 * envelope * (f64::from(at) * TAU * 400.0 / 16_000.0).sin()) as i16
    };
    let silence = CodecKind::G722;
    let mut encoder = crosspoint::audio::codec::Encoder::new(&CodecConfig::new(silence)).unwrap();
    for n in 0..400_u32 {
        say(&mut world, 0, L16_WIDE, n, tone);
        if (60..90).contains(&n) {
            let mut payload = vec![0; 160];
            encoder.encode(&[0; 320], &mut payload).unwrap();
            let packet = rtp(96, n as u16, n * 160, 2, &payload);
            world.hear(StreamIx(1), &packet);
        }
        world.wait(20);
    }
    let heard: Vec<_> = (1..4).map(|ix| world.received(StreamIx(ix))).collect();
    let payload = |sent: &(u64, Sent)| sent.1.bytes[12..].to_vec();
    let same = |a: usize, b: usize, from: usize| {
        let pairs = heard[a][from..].iter().zip(&heard[b][from..]);
        pairs.filter(|(x, y)| payload(x) == payload(y)).count()
    };
    let all = heard[1].len();
    assert!(all > 380, "{all}");
    assert_eq!(same(1, 2, 0), all, "two who never talk");
    let last = heard[0].len() - 50;
    assert_eq!(same(0, 1, last), 50, "one who has talked is back");
    let mut decoder = Decoder::new(&CodecConfig::new(CodecKind::G722)).unwrap();
    let mut steady = Decoder::new(&CodecConfig::new(CodecKind::G722)).unwrap();
    let mut worst = 0;
    for (own, other) in heard[0].iter().zip(&heard[1]) {
        let (mut a, mut b) = ([0_i16; 320], [0_i16; 320]);
        decoder.decode(&payload(own), &mut a).unwrap();
        steady.decode(&payload(other), &mut b).unwrap();
        let apart = a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max();
        worst = worst.max(apart.unwrap_or(0));
    }
    assert!(
        worst < 200,
        "decoders are {worst} apart: -44 dB would be heard"
    );
}
