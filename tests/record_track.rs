//! Tracks of recordings are true to the clock: whatever networks and senders do, a sample stands
//! at the moment at which it belongs.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test data is far inside every range"
)]

mod record_support;

use std::f64::consts::TAU;
use std::time::Duration;

use crosspoint::audio::g711;
use crosspoint::engine::{Taped, TrackIx};
use crosspoint::record::span::{Span, SpanKind};
use crosspoint::record::track::{CONCEALED_MS_MAX, SETTLE, Track};
use proptest::prelude::*;
use record_support::*;

/// Markers stand within a millisecond of where they were sent.
const NEAR_S: f64 = 1e-3;

/// Jitter, loss and drift all the time.
fn drifts(rate_hz: u32, ppm: f64, length_s: f64) {
    let mut talker = Talker::new(PCMU, ppm, ROUGH, 1);
    talker.say(length_s, markers);
    let recorded = record(rate_hz, length_s, talker.sent);
    assert_eq!(recorded.pcm.len(), length_s as usize * rate_hz as usize);
    let worst = recorded.worst_marker(0.0, length_s as usize / 15);
    let stats = recorded.track.stats();
    println!("{rate_hz} Hz, {ppm} ppm: {:.3} ms, {stats:?}", worst * 1e3);
    assert!(worst < NEAR_S, "{rate_hz} Hz, {ppm} ppm: {worst} s");
    assert!((f64::from(stats.drift_ppm) - ppm).abs() < 30.0, "{stats:?}");
    let lost = stats.lost as f64 / (length_s / FRAME_S);
    assert!((0.04..0.06).contains(&lost), "{stats:?}");
    assert_eq!(stats.late, 0);
}

#[test]
fn markers_stand_in_their_place_through_jitter_loss_and_a_slow_clock() {
    drifts(8_000, -100.0, 600.0);
}

#[test]
fn markers_stand_in_their_place_through_jitter_loss_and_a_fast_clock() {
    drifts(16_000, 100.0, 200.0);
    drifts(48_000, 100.0, 60.0);
}

#[test]
fn markers_stand_in_their_place_where_a_clock_is_a_thousandth_off() {
    drifts(8_000, 1_000.0, 200.0);
    drifts(8_000, -1_000.0, 200.0);
}

#[test]
#[ignore = "a minute: cargo test --release --test record_track -- --ignored"]
fn markers_stand_in_their_place_for_four_hours() {
    for ppm in [100.0, -100.0] {
        drifts(8_000, ppm, 14_400.0);
    }
    drifts(48_000, 100.0, 1_800.0);
    drifts(16_000, -100.0, 1_800.0);
}

/// Holds, another source, silence of two kinds, restarts of numbers: marker by marker.
#[test]
fn markers_stand_in_their_place_whatever_the_sender_does() {
    for (rate_hz, jitter_s) in [(8_000, 0.0), (8_000, 0.04), (16_000, 0.04), (48_000, 0.02)] {
        let network = Network {
            jitter_s,
            loss: 0.01,
            delay_s: 0.03,
        };
        let mut talker = Talker::new(PCMU, 60.0, network, 2);
        // It comes late, and in the middle of nothing.
        talker.pass(3.21);
        talker.say(15.0, markers);
        // A hold in which its clock goes on.
        talker.pass(11.0);
        talker.say(34.0, markers);
        // One in which it stands.
        talker.stop(9.37);
        talker.say(54.0, markers);
        // Another source, at once.
        talker.ssrc = 77;
        (talker.seq, talker.timestamp) = (9, 12_345);
        talker.say(64.0, markers);
        // The same source with other timestamps, forward and backward.
        talker.timestamp = talker.timestamp.wrapping_add(5_000_000);
        talker.say(74.0, markers);
        talker.timestamp = talker.timestamp.wrapping_sub(900_000);
        talker.say(84.0, markers);
        // The same source with other sequence numbers.
        talker.seq = talker.seq.wrapping_add(20_000);
        talker.say(94.0, markers);
        // Silence between words, with and without the bit that says so.
        for word in 0..40 {
            talker.pass(0.26);
            talker.marker = word % 2 == 0;
            let until_s = talker.now_s + 1.0;
            talker.say(until_s, markers);
        }
        talker.say(175.0, markers);
        let recorded = record(rate_hz, 180.0, talker.sent);
        let errors = recorded.marker_errors(|_| 0.03);
        for (at_s, error) in &errors {
            assert!(
                error.abs() < NEAR_S,
                "{rate_hz} {jitter_s}: {error} s at {at_s} s"
            );
        }
        println!("{rate_hz} Hz, jitter {jitter_s}: {} markers", errors.len());
        assert!(errors.len() >= 10, "{errors:?}");
        let stats = recorded.track.stats();
        // Other sequence numbers are another source, too.
        assert_eq!(stats.ssrc_changes, 2, "{stats:?}");
        let held = recorded.seconds_of(SpanKind::Silent, 15.2, 26.0);
        assert!((held - 10.8).abs() < 0.1, "{held}");
    }
}

#[test]
fn positions_do_not_move_when_the_codec_changes() {
    for rate_hz in [8_000, 16_000, 48_000] {
        let mut talker = Talker::new(PCMU, 50.0, CLEAN, 3);
        let mut expected = Vec::new();
        for (n, pt) in [PCMU, G722, OPUS, PCMU, OPUS, G722].into_iter().enumerate() {
            talker.codec(pt);
            let until_s = (n + 1) as f64 * 10.0 + 5.0;
            talker.say(until_s, markers);
            expected.push(codec_delay_s(pt, rate_hz));
        }
        let recorded = record(rate_hz, 66.0, talker.sent);
        let errors = recorded.marker_errors(|_| 0.0);
        assert_eq!(errors.len(), expected.len());
        for ((at_s, error), codec_s) in errors.iter().zip(expected) {
            println!(
                "{rate_hz} Hz at {at_s} s: {:.3} ms",
                (error - codec_s) * 1e3
            );
            assert!(
                (error - codec_s).abs() < 0.5e-3,
                "{rate_hz} Hz at {at_s} s: {error}"
            );
        }
        let names = ["PCMU/8000", "G722/8000", "opus/48000/2"];
        assert_eq!(recorded.track.stats().codecs, names);
        let filled = recorded.seconds_of(SpanKind::Concealed, 0.0, 66.0);
        assert!(filled == 0.0, "{filled}");
    }
}

#[test]
fn packets_that_overtake_each_other_where_the_codec_changes_are_all_heard() {
    let mut talker = Talker::new(PCMU, 50.0, CLEAN, 14);
    talker.network.jitter_s = 0.08;
    for n in 1..60 {
        talker.codec([PCMU, OPUS][n % 2]);
        talker.say(n as f64 * 0.5, tone(400.0));
    }
    let recorded = record(8_000, 29.5, talker.sent);
    let filled = recorded.seconds_of(SpanKind::Concealed, 0.2, 29.5);
    let lost = recorded.seconds_of(SpanKind::Lost, 0.2, 29.5);
    let stats = recorded.track.stats();
    assert_eq!((stats.lost, stats.undecoded), (0, 0), "{stats:?}");
    assert!(filled + lost == 0.0, "{filled} {lost}");
}

#[test]
fn a_codec_that_changes_in_a_pause_begins_in_its_place() {
    for (pause_s, jitter_s) in [(0.14, 0.0), (0.3, 0.02), (0.44, 0.02), (0.7, 0.02)] {
        let mut talker = Talker::new(PCMU, 50.0, CLEAN, 15);
        talker.network.jitter_s = jitter_s;
        let mut expected = Vec::new();
        for (n, pt) in [OPUS, PCMU, OPUS, PCMU].into_iter().enumerate() {
            // It goes on some time before a marker.
            let until_s = (n + 1) as f64 * 10.0 - 0.2;
            talker.say(until_s - pause_s, markers);
            talker.pass(pause_s);
            talker.codec(pt);
            expected.push(codec_delay_s(pt, 8_000));
        }
        talker.say(45.0, markers);
        let recorded = record(8_000, 44.0, talker.sent);
        assert_eq!(recorded.track.stats().lost, 0);
        let errors = recorded.marker_errors(|_| 0.0);
        assert_eq!(errors.len(), expected.len(), "{pause_s}: {errors:?}");
        for ((at_s, error), codec_s) in errors.iter().zip(expected) {
            let off_s = error - codec_s;
            println!("pause of {pause_s} s, at {at_s} s: {:.3} ms", off_s * 1e3);
            // Of the packets until then the fastest one is what is known of the network.
            let known_s = 0.5e-3 + 0.3 * jitter_s;
            assert!(off_s.abs() < known_s, "{pause_s}, at {at_s} s: {off_s}");
        }
    }
}

#[test]
fn two_tracks_of_a_call_stay_together() {
    let errors = |ppm, seed| {
        let mut talker = Talker::new(PCMU, ppm, ROUGH, seed);
        talker.network.loss = 0.0;
        talker.network.delay_s = 0.01;
        talker.say(900.0, markers);
        record(8_000, 900.0, talker.sent).marker_errors(|_| 0.01)
    };
    let (one, other) = (errors(120.0, 4), errors(-80.0, 5));
    assert_eq!(one.len(), 89);
    let apart = one
        .iter()
        .zip(&other)
        .map(|(one, other)| (one.1 - other.1).abs());
    let apart = apart.fold(0.0, f64::max);
    println!("apart by {:.3} ms at most", apart * 1e3);
    assert!(apart < NEAR_S, "{apart}");
}

#[test]
fn sound_that_lost_nothing_is_the_very_sound_that_was_sent() {
    let mut random = fastrand::Rng::with_seed(6);
    let mut talker = Talker::new(PCMU, 0.0, CLEAN, 6);
    // At any place between two samples.
    talker.pass(0.04);
    talker.now_s += 0.000_043;
    let mut expected = vec![0; 320];
    for _ in 0..500 {
        let octets: Vec<u8> = (0..160).map(|_| random.u8(..)).collect();
        let mut pcm = [0; 160];
        g711::decode_ulaw(&octets, &mut pcm);
        expected.extend(pcm);
        talker.send(PCMU, &octets, false);
        talker.pass(FRAME_S);
    }
    let recorded = record(8_000, 10.04, talker.sent);
    assert_eq!(recorded.pcm, expected);
    let [first] = recorded.spans[..] else {
        panic!("{:?}", recorded.spans);
    };
    assert_eq!(
        (first.kind, first.until),
        (SpanKind::Silent, Duration::from_millis(40))
    );
}

#[test]
fn a_clock_is_followed_without_a_change_of_level_and_without_a_sound() {
    // Linear PCM, as G.711 has a noise of its own at -40 dB.
    for (rate_hz, ppm, hz, noise_max_db) in [
        (8_000, 0.0, 1_004.0, -60.0),
        (8_000, 100.0, 1_004.0, -50.0),
        (8_000, -100.0, 1_004.0, -50.0),
        (8_000, 100.0, 440.0, -50.0),
        (8_000, -100.0, 2_500.0, -50.0),
        (8_000, -500.0, 1_004.0, -50.0),
        (16_000, 100.0, 1_004.0, -50.0),
        (48_000, -100.0, 1_004.0, -50.0),
    ] {
        let mut talker = Talker::new(L16, ppm, CLEAN, 7);
        let length_s = if rate_hz == 8_000 { 60.0 } else { 20.0 };
        talker.say(length_s, tone(hz));
        let recorded = record(rate_hz, length_s, talker.sent);
        let settled = recorded.piece(5.0, length_s - 0.5);
        let level_db = 20.0 * (rms(settled) / (8_000.0 / 2f64.sqrt())).log10();
        let noise_db = noise_db(settled, rate_hz, hz);
        let name = format!("{rate_hz} Hz, {ppm} ppm, {hz} Hz: {level_db:.3} dB, {noise_db:.1} dB");
        println!("{name}");
        assert!(level_db.abs() < 0.1, "{name}");
        assert!(noise_db < noise_max_db, "{name}");
    }
}

#[test]
fn what_is_lost_is_filled_or_said_to_be_lost() {
    for (pt, packets, concealed_s) in [
        (PCMU, 1, 0.02),
        (PCMU, 3, 0.06),
        (PCMU, 6, 0.12),
        (PCMU, 8, 0.12),
        (PCMU, 30, 0.0),
        (G722, 2, 0.04),
        (OPUS, 1, 0.02),
        (OPUS, 4, 0.08),
    ] {
        let mut talker = Talker::new(pt, 0.0, CLEAN, 8);
        talker.say(2.0, tone(400.0));
        let harmed = talker.sent.len();
        talker.say(2.0 + f64::from(packets) * FRAME_S, tone(400.0));
        talker.sent.truncate(harmed);
        talker.say(4.0, tone(400.0));
        let recorded = record(16_000, 4.0, talker.sent);
        let lost_s = f64::from(packets) * FRAME_S - concealed_s;
        let told = |kind| recorded.seconds_of(kind, 1.9, 3.0);
        let name = format!("{pt}, {packets} packets: {:?}", recorded.spans);
        assert!(
            (told(SpanKind::Concealed) - concealed_s).abs() < 1e-6,
            "{name}"
        );
        assert!((told(SpanKind::Lost) - lost_s).abs() < 1e-6, "{name}");
        let stats = recorded.track.stats();
        assert_eq!((stats.lost, stats.late), (packets as u64, 0), "{name}");
        if (1..=3).contains(&packets) {
            // The tone's is 5,657. libopus fades from the start.
            let least = if pt == OPUS { 1_500.0 } else { 2_500.0 };
            let gap = recorded.piece(2.0, 2.0 + concealed_s);
            assert!(rms(gap) > least, "{name}: {}", rms(gap));
        }
        assert!(concealed_s <= CONCEALED_MS_MAX as f64 * 1e-3);
    }
}

#[test]
fn packets_out_of_order_and_twice_are_put_right_until_they_are_late() {
    let recorded = |by_s: f64| {
        let mut talker = Talker::new(PCMU, 0.0, CLEAN, 9);
        talker.say(3.0, tone(300.0));
        let mut twice = talker.sent[60].clone();
        twice.at_s += 0.07;
        talker.sent[50].at_s += by_s;
        talker.sent.push(twice);
        record(8_000, 3.0, talker.sent)
    };
    let (plain, moved) = (recorded(0.0), recorded(0.15));
    assert_eq!(plain.pcm, moved.pcm);
    assert_eq!((moved.track.stats().lost, moved.track.stats().late), (0, 0));
    let late = recorded(0.3);
    assert_eq!((late.track.stats().lost, late.track.stats().late), (1, 1));
    assert!((late.seconds_of(SpanKind::Concealed, 0.0, 3.0) - 0.02).abs() < 1e-9);
}

#[test]
fn silence_has_its_reason_and_its_length() {
    let mut talker = Talker::new(PCMU, 0.0, CLEAN, 10);
    talker.say(1.0, tone(300.0));
    // A key: its packets have one timestamp, and sequence numbers of their own.
    let begun = talker.timestamp;
    for _ in 0..10 {
        let now = talker.timestamp;
        talker.timestamp = begun;
        talker.send(101, &[], true);
        talker.timestamp = now;
        talker.pass(FRAME_S);
    }
    talker.say(2.0, tone(300.0));
    // Somebody silences it, then it sends what nobody can decode.
    talker.silenced = true;
    talker.say(3.0, tone(300.0));
    talker.silenced = false;
    talker.say(4.0, tone(300.0));
    for _ in 0..50 {
        talker.send(OTHER, &[1; 33], false);
        talker.pass(FRAME_S);
    }
    talker.say(6.0, tone(300.0));
    // Comfort noise at -40 dBov.
    talker.send(NOISE, &[40], false);
    talker.pass(1.0);
    talker.say(8.0, tone(300.0));
    let recorded = record(8_000, 8.0, talker.sent);
    let told = |kind, from_s, until_s| recorded.seconds_of(kind, from_s, until_s);
    assert!(
        (told(SpanKind::Silent, 0.5, 1.5) - 0.2).abs() < 1e-6,
        "{:?}",
        recorded.spans
    );
    assert!(
        (told(SpanKind::Silent, 1.5, 3.5) - 1.0).abs() < 1e-6,
        "{:?}",
        recorded.spans
    );
    assert!(
        (told(SpanKind::Lost, 0.0, 8.0) - 1.0).abs() < 1e-6,
        "{:?}",
        recorded.spans
    );
    assert!(
        (told(SpanKind::Silent, 5.5, 8.0) - 1.0).abs() < 1e-6,
        "{:?}",
        recorded.spans
    );
    assert!(told(SpanKind::Concealed, 0.0, 8.0) == 0.0);
    for (from_s, until_s) in [(1.0, 1.2), (2.0, 3.0), (4.0, 5.0)] {
        assert!(rms(recorded.piece(from_s, until_s)) == 0.0, "{from_s}");
    }
    let noise = rms(recorded.piece(6.2, 6.9));
    assert!((200.0..500.0).contains(&noise), "{noise}");
    let stats = recorded.track.stats();
    assert_eq!((stats.lost, stats.undecoded), (0, 50), "{stats:?}");
}

#[test]
fn keys_are_taken_out_where_the_call_hides_them() {
    // 697 and 1209 Hz for 100 ms at each whole second, over a voice-like hum.
    let said = |t: f64| {
        let hum = 1_500.0 * (TAU * 150.0 * t).sin();
        match t.rem_euclid(1.0) < 0.1 && t > 0.5 {
            true => 5_000.0 * ((TAU * 697.0 * t).sin() + (TAU * 1_209.0 * t).sin()),
            false => hum,
        }
    };
    for rate_hz in [8_000, 16_000] {
        let mut talker = Talker::new(PCMU, 0.0, ROUGH, 11);
        talker.network.loss = 0.0;
        talker.veiled = true;
        talker.say(6.0, said);
        talker.veiled = false;
        talker.say(9.0, said);
        let recorded = record(rate_hz, 9.0, talker.sent);
        for second in 1..6 {
            let at_s = f64::from(second) - 0.02;
            let loudest = recorded
                .piece(at_s, at_s + 0.16)
                .iter()
                .map(|x| x.unsigned_abs())
                .max();
            assert!(
                loudest < Some(2_600),
                "{rate_hz}, second {second}: {loudest:?}"
            );
            let masked = recorded.seconds_of(SpanKind::Masked, at_s - 0.1, at_s + 0.3);
            assert!((0.09..0.16).contains(&masked), "{masked}");
        }
        assert!(
            rms(recorded.piece(7.02, 7.08)) > 4_000.0,
            "not hidden any more"
        );
        assert!(rms(recorded.piece(2.3, 2.8)) > 900.0, "its voice is heard");
    }
}

#[test]
fn what_the_tape_had_no_room_for_is_overrun_and_not_lost() {
    let mut talker = Talker::new(PCMU, 0.0, CLEAN, 12);
    talker.say(4.0, tone(300.0));
    let missing = |arrival: &Arrival| !(2.0..2.5).contains(&(arrival.at_s + 1e-9));
    talker.sent.retain(missing);
    let mut told = false;
    let recorded = record_with(8_000, 4.0, talker.sent, |now_s, track| {
        if now_s > 2.51 && !std::mem::replace(&mut told, true) {
            track.overrun(Duration::from_secs(2), Duration::from_millis(2_480));
        }
    });
    let over = recorded.seconds_of(SpanKind::Overrun, 0.0, 4.0);
    assert!((over - 0.5).abs() < 0.25, "{:?}", recorded.spans);
    assert_eq!(recorded.track.stats().lost, 0);
}

#[test]
fn another_way_through_the_network_is_followed() {
    let mut talker = Talker::new(PCMU, 0.0, CLEAN, 13);
    talker.network.jitter_s = 0.01;
    // 8 s before a marker: it takes 4 s to be sure, and some to slide.
    let ways = [
        (32.0, 0.02),
        (62.0, 0.035),
        (92.0, 0.12),
        (122.0, 0.45),
        (152.0, 0.02),
    ];
    for (until_s, delay_s) in ways {
        talker.network.delay_s = delay_s;
        talker.say(until_s, markers);
    }
    let recorded = record(8_000, 153.0, talker.sent);
    let way = |at_s: f64| ways.into_iter().find(|(until_s, _)| at_s < *until_s);
    for (at_s, error) in recorded.marker_errors(|at_s| way(at_s).unwrap().1) {
        println!("{at_s} s: {:.3} ms", error * 1e3);
        assert!(error.abs() < NEAR_S, "{at_s} s: {error}");
    }
    assert!(
        recorded.track.stats().late < 75,
        "{:?}",
        recorded.track.stats()
    );
}

/// Some of each packet comes when its time has passed: what is not heard is lost, not silent.
#[test]
fn what_comes_too_late_in_part_is_lost_in_part() {
    let mut talker = Talker::new(PCMU, 0.0, CLEAN, 6);
    talker.network.delay_s = 0.0044;
    talker.say(10.0, |_| 4_000.0);
    // Each second packet is read for 4 ms before it comes.
    talker.network.delay_s = 0.2264;
    talker.say(10.9, |_| 4_000.0);
    let recorded = record(8_000, 11.0, talker.sent);
    let (from_s, until_s) = (10.1, 10.8);
    let piece = recorded.piece(from_s, until_s);
    let unheard_s = piece.iter().filter(|s| **s == 0).count() as f64 / 8_000.0;
    let lost_s = recorded.seconds_of(SpanKind::Lost, from_s, until_s);
    println!("{unheard_s:.3} s are not heard, {lost_s:.3} s are said to be lost");
    assert!(unheard_s > 0.1, "{unheard_s}");
    assert!((lost_s - unheard_s).abs() < 0.02, "{lost_s} of {unheard_s}");
}

#[test]
fn a_track_without_packets_is_silence() {
    let mut track = Track::new(48_000);
    let (mut out, mut spans) = ([1; 4_800], Vec::new());
    track.read(&mut out, &mut spans);
    track.read(&mut out, &mut spans);
    assert_eq!(out, [0; 4_800]);
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].until, spans[1].from);
    assert_eq!(spans[1].until, Duration::from_millis(200));
}

/// Whatever comes, in whatever order.
#[derive(Clone, Debug)]
struct Anything {
    wait_ms: u64,
    pt: u8,
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
    flags: u8,
}

fn anything() -> impl Strategy<Value = Anything> {
    let pt = prop_oneof![
        Just(PCMU),
        Just(G722),
        Just(NOISE),
        Just(L16),
        Just(OPUS),
        Just(OTHER),
        0..128_u8
    ];
    let payload = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 160),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => proptest::collection::vec(any::<u8>(), 0..2_036),
    ];
    let wait_ms = prop_oneof![0..40_u64, Just(20_u64), Just(700_u64)];
    // Near each other, or anywhere.
    let seq = prop_oneof![0..20_u16, any::<u16>()];
    let timestamp = prop_oneof![0..4_000_u32, any::<u32>()];
    (wait_ms, pt, seq, timestamp, 0..3_u32, payload, any::<u8>()).prop_map(
        |(wait_ms, pt, seq, timestamp, ssrc, payload, flags)| Anything {
            wait_ms,
            pt,
            seq,
            timestamp,
            ssrc,
            payload,
            flags,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No packet is anywhere but at its own time: what was silence long before it came, and long
    /// after, is silence still. Spans lie within what was read.
    #[test]
    fn hostile_packets_stay_in_their_own_time(
        rate_ix in 0..3_usize,
        packets in proptest::collection::vec(anything(), 0..60),
        after in 0..4_u8,
    ) {
        let rate_hz = [8_000, 16_000, 48_000][rate_ix];
        let mut track = Track::new(rate_hz);
        track.set_types(&types());
        let (mut pcm, mut spans) = (Vec::new(), Vec::new());
        let mut now = Duration::from_secs(1);
        let read = |track: &mut Track, now: Duration, pcm: &mut Vec<i16>, spans: &mut Vec<_>| {
            let until_s = (now.saturating_sub(SETTLE)).as_secs_f64();
            let until = (until_s * f64::from(rate_hz)) as usize;
            let mut out = vec![0x5555; until.saturating_sub(pcm.len())];
            track.read(&mut out, spans);
            pcm.extend(out);
        };
        let noise = packets.iter().any(|packet| packet.pt == NOISE);
        for (n, packet) in packets.iter().enumerate() {
            now += Duration::from_millis(packet.wait_ms);
            let mut rtp = vec![0x80 | packet.flags & 0x20, packet.pt];
            rtp.extend(packet.seq.to_be_bytes());
            rtp.extend(packet.timestamp.to_be_bytes());
            rtp.extend(packet.ssrc.to_be_bytes());
            rtp.extend(&packet.payload);
            track.packet(Taped {
                at: now,
                track: TrackIx(0),
                event: packet.flags & 0xc0 == 0x40,
                veiled: packet.flags & 0x18 == 0x08,
                silenced: packet.flags & 0x07 == 0x01,
                rtp: &mut rtp,
            });
            if n as u8 % 4 == after {
                read(&mut track, now, &mut pcm, &mut spans);
            }
        }
        let last = now;
        for _ in 0..40 {
            now += Duration::from_millis(100);
            read(&mut track, now, &mut pcm, &mut spans);
        }
        let at = |time: Duration| (time.as_secs_f64() * f64::from(rate_hz)) as usize;
        // Nothing is earlier than the settling time and a concealment before the first packet.
        prop_assert!(pcm[..at(Duration::from_millis(700))].iter().all(|sample| *sample == 0));
        // The longest packet, what is concealed and what Opus plays of itself are over.
        let quiet_from = at(last + Duration::from_millis(2_000)).min(pcm.len());
        prop_assert!(noise || pcm[quiet_from..].iter().all(|sample| *sample == 0));
        let end = Duration::from_secs_f64(pcm.len() as f64 / f64::from(rate_hz));
        for span in &spans {
            let span: &Span = span;
            prop_assert!(span.from < span.until && span.until <= end + Duration::from_micros(1));
        }
    }
}
