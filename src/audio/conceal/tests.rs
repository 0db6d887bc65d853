#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "signals made for tests"
)]

use std::f32::consts::TAU;

use super::*;

const RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// Milliseconds heard before a loss.
const LEAD_MS: usize = 200;

fn samples(rate_hz: u32, ms: usize) -> usize {
    rate_hz as usize * ms / 1_000
}

fn tones(hz: &[f32], amplitude: f32, rate_hz: u32, samples: usize) -> Vec<i16> {
    let at = |n: usize| {
        let sum: f32 = hz
            .iter()
            .map(|hz| (TAU * hz * n as f32 / rate_hz as f32).sin())
            .sum();
        (sum * amplitude).round() as i16
    };
    (0..samples).map(at).collect()
}

fn noise(amplitude: f32, samples: usize) -> Vec<i16> {
    let mut rng = fastrand::Rng::with_seed(3);
    (0..samples)
        .map(|_| ((rng.f32() - 0.5) * 2.0 * amplitude) as i16)
        .collect()
}

fn rms(pcm: &[i16]) -> f32 {
    (pcm.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / pcm.len() as f32).sqrt()
}

/// Largest second difference: what a click makes large.
fn sharpest(pcm: &[i16]) -> i32 {
    let bend = |w: &[i16]| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs();
    pcm.windows(3).map(bend).max().unwrap_or(0)
}

/// Plays `pcm` in packets of 20 ms, those in `lost` concealed (or bridged), and gives all of it.
fn played(pcm: &[i16], rate_hz: u32, lost: std::ops::Range<usize>, bridge: bool) -> Vec<i16> {
    let packet = samples(rate_hz, 20);
    let mut concealer = Concealer::new(rate_hz);
    let mut out = pcm.to_vec();
    for n in 0..pcm.len() / packet {
        let now = &mut out[n * packet..(n + 1) * packet];
        if !lost.contains(&n) {
            concealer.heard(now);
        } else if bridge {
            let later = (lost.end - n - 1) * packet;
            concealer.bridge(now, later, &pcm[lost.end * packet..(lost.end + 1) * packet]);
        } else {
            concealer.conceal(now);
        }
    }
    out
}

/// Decibels by which what came out differs from the tone that went in, relative to it.
fn error_db(was: &[i16], is: &[i16]) -> f32 {
    let difference: Vec<i16> = was
        .iter()
        .zip(is)
        .map(|(a, b)| a.saturating_sub(*b))
        .collect();
    20.0 * (rms(&difference) / rms(was)).log10()
}

#[test]
fn without_loss_nothing_is_changed() {
    for rate_hz in RATES {
        let pcm = noise(20_000.0, samples(rate_hz, 400));
        assert_eq!(played(&pcm, rate_hz, 0..0, false), pcm);
    }
}

#[test]
fn a_tone_through_a_loss_stays_the_tone() {
    for rate_hz in RATES {
        for hz in [
            70.0, 100.0, 425.0, 697.0, 1_004.0, 1_477.0, 2_100.0, 3_300.0,
        ] {
            let pcm = tones(&[hz], 9_000.0, rate_hz, samples(rate_hz, LEAD_MS + 100));
            let lost = samples(rate_hz, LEAD_MS)..samples(rate_hz, LEAD_MS + 20);
            for bridge in [false, true] {
                let out = played(&pcm, rate_hz, 10..11, bridge);
                let error = error_db(&pcm[lost.clone()], &out[lost.clone()]);
                assert!(
                    error < -10.0,
                    "{hz} Hz at {rate_hz}, bridge {bridge}: {error} dB"
                );
                let level = 20.0 * (rms(&out[lost.clone()]) / rms(&pcm[lost.clone()])).log10();
                assert!(
                    level.abs() < 1.0,
                    "{hz} Hz at {rate_hz}, bridge {bridge}: {level} dB"
                );
            }
        }
    }
}

#[test]
fn joints_do_not_click() {
    for rate_hz in RATES {
        let pcm = tones(
            &[130.0, 260.0, 390.0],
            4_000.0,
            rate_hz,
            samples(rate_hz, LEAD_MS + 200),
        );
        let before = sharpest(&pcm);
        for lost in [10..11, 10..12, 10..15] {
            for bridge in [false, true] {
                let bend = sharpest(&played(&pcm, rate_hz, lost.clone(), bridge));
                assert!(
                    bend <= 2 * before + 200,
                    "{lost:?} at {rate_hz}: {bend} over {before}"
                );
            }
        }
    }
}

#[test]
fn long_losses_of_speech_end_in_the_background() {
    for rate_hz in RATES {
        // A room, 0.4 s; a voice with decaying pitch pulses over it, 0.2 s; then nothing arrives.
        let mut pcm = noise(60.0, samples(rate_hz, 800));
        let room = rms(&pcm);
        let period = rate_hz as usize / 120;
        let mut pulse = 0.0;
        for (n, sample) in pcm.iter_mut().enumerate().skip(samples(rate_hz, 400)) {
            pulse = if n % period == 0 {
                9_000.0
            } else {
                pulse * 0.95
            };
            *sample = sample.saturating_add((pulse * if n % 7 < 3 { 1.0 } else { -0.8 }) as i16);
        }
        let out = played(&pcm, rate_hz, 30..40, false);
        let first = rms(&out[samples(rate_hz, 600)..samples(rate_hz, 620)]);
        let last = rms(&out[samples(rate_hz, 740)..samples(rate_hz, 800)]);
        assert!(
            first > 5.0 * room,
            "at {rate_hz}: {first} is not the voice going on"
        );
        assert!(
            (0.5..2.0).contains(&(last / room)),
            "at {rate_hz}: {last} for a room of {room}"
        );
    }
}

#[test]
fn a_tone_that_has_faded_does_not_come_back_at_the_far_end() {
    for rate_hz in RATES {
        let mut concealer = Concealer::new(rate_hz);
        let mut tone = tones(&[425.0], 8_000.0, rate_hz, samples(rate_hz, LEAD_MS));
        concealer.heard(&mut tone);
        let mut outage = vec![0; samples(rate_hz, 1_000)];
        concealer.conceal(&mut outage);
        let mut end = vec![0; samples(rate_hz, 40)];
        concealer.bridge(&mut end, 0, &vec![0; samples(rate_hz, 20)]);
        assert!(rms(&end) < 10.0, "{} at {rate_hz} Hz", rms(&end));
    }
}

#[test]
fn silence_stays_silence() {
    for rate_hz in RATES {
        let pcm = vec![0; samples(rate_hz, 600)];
        for bridge in [false, true] {
            assert_eq!(played(&pcm, rate_hz, 10..12, bridge), pcm);
        }
        let mut fresh = Concealer::new(rate_hz);
        let mut out = vec![1; 1_000];
        fresh.conceal(&mut out);
        assert_eq!(out, vec![0; 1_000], "nothing was heard yet");
    }
}

#[test]
fn nothing_gets_louder_than_it_was() {
    for rate_hz in RATES {
        let length = samples(rate_hz, 600);
        let square: Vec<i16> = (0..length)
            .map(|n| if n / 31 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let mut impulse = vec![0; length];
        impulse[samples(rate_hz, 199)] = i16::MIN;
        let cases = [
            square,
            vec![12_000; length],
            vec![i16::MIN; length],
            noise(32_767.0, length),
            impulse,
        ];
        for pcm in cases {
            let loudest = |pcm: &[i16]| pcm.iter().map(|s| s.unsigned_abs()).max();
            for bridge in [false, true] {
                let out = played(&pcm, rate_hz, 10..13, bridge);
                assert!(loudest(&out) <= loudest(&pcm));
            }
        }
    }
}

#[test]
fn a_gap_filled_in_pieces_is_the_gap_filled_at_once() {
    let pcm = tones(&[150.0, 450.0], 6_000.0, 8_000, 2_400);
    let next = &pcm[1_760..1_920];
    let filled = |pieces: &[usize], bridge: bool| {
        let mut concealer = Concealer::new(8_000);
        concealer.heard(&mut pcm[..1_600].to_vec());
        let mut out = vec![0; 160];
        let mut done = 0;
        for piece in pieces {
            let (now, later) = (&mut out[done..done + piece], 160 - done - piece);
            if bridge {
                concealer.bridge(now, later, next);
            } else {
                concealer.conceal(now);
            }
            done += piece;
        }
        out
    };
    for bridge in [false, true] {
        let whole = filled(&[160], bridge);
        for pieces in [&[80, 80][..], &[1, 64, 0, 95], &[159, 1]] {
            let parts = filled(pieces, bridge);
            let off = whole.iter().zip(&parts).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(
                off <= Some(1),
                "{pieces:?}, bridge {bridge}: off by {off:?}"
            );
        }
    }
}

#[test]
fn what_was_bridged_to_is_not_changed_and_what_was_not_is_faded_into() {
    let pcm = tones(&[150.0, 450.0], 6_000.0, 8_000, 2_400);
    let other = tones(&[310.0], 6_000.0, 8_000, 160);
    let mut concealer = Concealer::new(8_000);
    concealer.heard(&mut pcm[..1_600].to_vec());
    let mut gap = [0; 160];
    concealer.bridge(&mut gap, 0, &pcm[1_760..1_920]);
    assert!(concealer.is_concealing());
    let mut next = pcm[1_760..1_920].to_vec();
    concealer.heard(&mut next);
    assert_eq!(next, pcm[1_760..1_920]);
    assert!(!concealer.is_concealing());

    concealer.bridge(&mut gap, 0, &pcm[2_080..2_240]);
    let mut next = other.clone();
    concealer.heard(&mut next);
    assert_ne!(next[..40], other[..40]);
    assert_eq!(next[40..], other[40..], "the fade is 5 ms long");
}

#[test]
fn bridges_are_bounded() {
    let pcm = tones(&[200.0], 6_000.0, 8_000, 4_000);
    let fill = |length: usize, later: usize, next: usize| {
        let mut bridged = Concealer::new(8_000);
        bridged.heard(&mut pcm[..1_600].to_vec());
        let mut plain = Concealer::new(8_000);
        plain.heard(&mut pcm[..1_600].to_vec());
        let (mut out, mut like) = (vec![0; length], vec![0; length]);
        // Not what would go on by itself, so that bridging shows.
        let louder: Vec<i16> = pcm[..next].iter().map(|s| s * 3).collect();
        bridged.bridge(&mut out, later, &louder);
        plain.conceal(&mut like);
        out != like
    };
    assert!(fill(480, 0, 160), "60 ms");
    assert!(!fill(481, 0, 160), "more than 60 ms");
    assert!(fill(160, 320, 160));
    assert!(!fill(160, 321, 160));
    assert!(!fill(160, usize::MAX, 160));
    assert!(fill(160, 0, 80), "10 ms");
    assert!(!fill(160, 0, 79), "less than 10 ms");
    assert!(fill(160, 0, 4_000), "more than it remembers");
}

#[test]
fn lengths_of_any_kind_are_taken() {
    let mut rng = fastrand::Rng::with_seed(11);
    for rate_hz in [8_000, 11_025, 44_100, 48_000] {
        let mut concealer = Concealer::new(rate_hz);
        for _ in 0..400 {
            let mut pcm: Vec<i16> = (0..rng.usize(..3_000)).map(|_| rng.i16(..)).collect();
            match rng.u8(..3) {
                0 => concealer.heard(&mut pcm),
                1 => concealer.conceal(&mut pcm),
                _ => concealer.bridge(
                    &mut pcm,
                    rng.usize(..300),
                    &noise(9_000.0, rng.usize(..3_000)),
                ),
            }
        }
    }
}

#[test]
fn the_same_input_gives_the_same_output() {
    let pcm = noise(9_000.0, 16_000);
    assert_eq!(
        played(&pcm, 8_000, 20..26, false),
        played(&pcm, 8_000, 20..26, false)
    );
}

#[test]
#[should_panic(expected = "cannot conceal at 7999 Hz")]
fn rates_below_telephony_are_a_mistake() {
    let _ = Concealer::new(7_999);
}
