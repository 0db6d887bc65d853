//! The limits of the standards, one by one, on tones made here.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals within their ranges"
)]

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;
use crate::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crate::audio::conceal::Concealer;
use crate::audio::g711;

/// Amplitude of a sine of 0 dBm0.
const ZERO_DBM0: f64 = 22_830.0;

/// A press as a sender makes it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    digit: usize,
    at_ms: f64,
    length_ms: f64,
    /// Level of the stronger tone.
    dbm0: f64,
    /// High minus low.
    twist_db: f64,
    /// Of both frequencies.
    deviation: [f64; 2],
}

impl Sent {
    fn new(digit: usize, at_ms: f64, length_ms: f64) -> Self {
        Self {
            digit,
            at_ms,
            length_ms,
            dbm0: -10.0,
            twist_db: 0.0,
            deviation: [0.0; 2],
        }
    }

    fn frequencies(&self) -> [f64; 2] {
        let pairs = (0..16).map(|ix| Pair {
            low: ix / 4,
            high: ix % 4,
        });
        let pair = pairs
            .clone()
            .find(|pair| pair.digit().index() == self.digit)
            .expect("16 pairs for 16 keys");
        let hz = tables::FREQUENCIES_HZ;
        [
            hz[pair.low] * (1.0 + self.deviation[0]),
            hz[pair.high + 4] * (1.0 + self.deviation[1]),
        ]
    }

    fn add(&self, sound: &mut [f64], rate_hz: u32) {
        let [low, high] = self.frequencies();
        let level = |db: f64| ZERO_DBM0 * 10f64.powf(db / 20.0);
        let (a, b) = (
            level(self.dbm0 - self.twist_db.max(0.0)),
            level(self.dbm0 + self.twist_db.min(0.0)),
        );
        let rate = f64::from(rate_hz);
        let first = (self.at_ms * rate / 1e3).round() as usize;
        let count = (self.length_ms * rate / 1e3).round() as usize;
        for (n, x) in sound.iter_mut().skip(first).take(count).enumerate() {
            let t = n as f64 / rate;
            *x += a * (TAU * low * t + 0.7).sin() + b * (TAU * high * t + 2.1).sin();
        }
    }
}

fn sound(ms: usize, rate_hz: u32) -> Vec<f64> {
    vec![0.0; ms * rate_hz as usize / 1_000]
}

fn pcm(sound: &[f64]) -> Vec<i16> {
    sound.iter().map(|x| x.round() as i16).collect()
}

/// White noise of a level.
fn add_noise(sound: &mut [f64], dbm0: f64, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let rms = ZERO_DBM0 / 2f64.sqrt() * 10f64.powf(dbm0 / 20.0);
    for x in sound {
        // The sum of twelve is nearly Gaussian.
        *x += rms * ((0..12).map(|_| rng.f64()).sum::<f64>() - 6.0);
    }
}

fn hear(pcm: &[i16], rate_hz: u32) -> Vec<Heard> {
    let mut detector = Detector::new(rate_hz).expect("a rate of telephony");
    let mut heard = Vec::new();
    for frame in pcm.chunks(rate_hz as usize / 50) {
        detector.feed(frame, &mut |edge| heard.push(edge));
    }
    heard
}

fn presses(pcm: &[i16], rate_hz: u32) -> Vec<Tone> {
    let edges = hear(pcm, rate_hz).into_iter();
    edges
        .filter_map(|edge| match edge {
            Heard::Ended(tone) => Some(tone),
            Heard::Began(_) => None,
        })
        .collect()
}

#[test]
fn every_key_is_heard_at_every_rate_with_its_level_and_its_edges() {
    for rate_hz in RATES_HZ {
        for digit in 0..16 {
            let mut sound = sound(400, rate_hz);
            let sent = Sent {
                twist_db: 3.0,
                ..Sent::new(digit, 103.0, 80.0)
            };
            sent.add(&mut sound, rate_hz);
            let heard = hear(&pcm(&sound), rate_hz);
            let [Heard::Began(began), Heard::Ended(ended)] = heard[..] else {
                panic!("{rate_hz} Hz, key {digit}: {heard:?}");
            };
            let ms = |samples: u64| samples as f64 * 1e3 / f64::from(rate_hz);
            assert_eq!(ended.digit.index(), digit);
            assert_eq!(began.digit, ended.digit);
            assert_eq!(began.start, ended.start);
            assert!((ms(ended.start) - 103.0).abs() < 2.0, "{heard:?}");
            assert!((ms(ended.end) - 183.0).abs() < 2.0, "{heard:?}");
            assert!((133.0..=139.0).contains(&ms(began.end)), "{heard:?}");
            assert!((ended.twist_db - 3.0).abs() < 0.3, "{heard:?}");
            assert!((ended.level_dbm0 + 8.24).abs() < 0.3, "{heard:?}");
            assert!(ended.confidence > 90, "{heard:?}");
        }
    }
}

#[test]
fn other_rates_are_refused() {
    for rate_hz in [0, 7_999, 11_025, 44_100, 96_000] {
        assert_eq!(Detector::new(rate_hz).err(), Some(RateError(rate_hz)));
        assert_eq!(Wary::new(rate_hz).err(), Some(RateError(rate_hz)));
    }
}

#[test]
fn an_interruption_splits_nothing_and_a_pause_separates() {
    for tenth_ms in 0..50 {
        let at = 100.0 + f64::from(tenth_ms) / 10.0;
        for (gap, expected) in [(2.0, 1), (6.0, 1), (10.0, 1), (30.0, 2), (40.0, 2)] {
            let mut sound = sound(500, 8_000);
            Sent::new(5, at, 60.0).add(&mut sound, 8_000);
            Sent::new(5, at + 60.0 + gap, 60.0).add(&mut sound, 8_000);
            let count = presses(&pcm(&sound), 8_000).len();
            assert_eq!(count, expected, "{gap} ms at {at} ms");
        }
    }
}

/// Every key once, 60 ms each, 200 ms apart from 100 ms on.
fn keypad(rate_hz: u32) -> Vec<f64> {
    let mut sound = sound(100 + 16 * 200, rate_hz);
    for digit in 0..16 {
        let mut sent = Sent::new(digit, 100.0 + 200.0 * digit as f64, 60.0);
        sent.twist_db = [-4.0, 0.0, 2.0][digit % 3];
        sent.add(&mut sound, rate_hz);
    }
    sound
}

/// All sixteen keys are heard, each once, in their order.
fn assert_keypad(pcm: &[i16], rate_hz: u32, why: &str) {
    let keys: Vec<usize> = presses(pcm, rate_hz)
        .iter()
        .map(|t| t.digit.index())
        .collect();
    assert_eq!(keys, (0..16).collect::<Vec<_>>(), "{why}");
}

fn sine(sound: &mut [f64], hz: f64, dbm0: f64) {
    let amplitude = ZERO_DBM0 * 10f64.powf(dbm0 / 20.0);
    for (n, x) in sound.iter_mut().enumerate() {
        *x += amplitude * (TAU * hz * n as f64 / 8e3 + 0.4).sin();
    }
}

#[test]
fn a_dial_tone_ten_decibels_above_the_key_is_borne() {
    for tones in [
        &[425.0][..],
        &[350.0, 440.0],
        &[400.0, 450.0],
        &[50.0],
        &[0.0],
    ] {
        for above_db in [-10.0, -3.0, 0.0, 3.0, 6.0, 10.0] {
            let mut sound: Vec<f64> = keypad(8_000).iter().map(|x| x / 4.0).collect();
            for hz in tones {
                sine(&mut sound, *hz, -22.0 + above_db);
            }
            assert_keypad(&pcm(&sound), 8_000, &format!("{tones:?} {above_db} dB"));
        }
    }
}

#[test]
fn keys_are_heard_in_noise_twelve_decibels_below_them() {
    for seed in 0..10 {
        let mut sound = keypad(8_000);
        add_noise(&mut sound, -7.0 - 12.0 - 3.0, seed);
        assert_keypad(&pcm(&sound), 8_000, &format!("seed {seed}"));
    }
}

#[test]
fn an_echo_of_twenty_milliseconds_is_borne() {
    for (delay_ms, gain) in [
        (1, 0.316),
        (5, -0.316),
        (11, 0.316),
        (20, -0.316),
        (20, 0.316),
    ] {
        let mut sound = keypad(8_000);
        for n in (delay_ms * 8..sound.len()).rev() {
            sound[n] += gain * sound[n - delay_ms * 8];
        }
        assert_keypad(&pcm(&sound), 8_000, &format!("{delay_ms} ms, {gain}"));
    }
}

#[test]
fn clocks_that_slip_or_drift_are_borne() {
    let sound = pcm(&keypad(8_000));
    for phase in [0, 110, 250, 333] {
        let slipped: Vec<i16> = sound
            .iter()
            .enumerate()
            .filter(|(n, _)| n % 400 != phase)
            .map(|(_, x)| *x)
            .collect();
        assert_keypad(&slipped, 8_000, "a sample is lost every 50 ms");
        let repeated: Vec<i16> = sound
            .iter()
            .enumerate()
            .flat_map(|(n, x)| std::iter::repeat_n(*x, 1 + usize::from(n % 400 == phase)))
            .collect();
        assert_keypad(&repeated, 8_000, "a sample is doubled every 50 ms");
    }
    for ratio in [0.99, 1.01] {
        let drifted: Vec<i16> = (0..sound.len() - 100)
            .map(|n| {
                let at = (n as f64 * ratio).min((sound.len() - 2) as f64);
                let (ix, part) = (at as usize, at.fract());
                let (a, b) = (f64::from(sound[ix]), f64::from(sound[ix + 1]));
                (a + part * (b - a)).round() as i16
            })
            .collect();
        assert_keypad(&drifted, 8_000, "a clock is one per cent off");
    }
}

#[test]
fn overload_is_borne() {
    let louder: Vec<i16> = keypad(8_000)
        .iter()
        .map(|x| (x * 3.0).clamp(-32_768.0, 32_767.0) as i16)
        .collect();
    assert_keypad(&louder, 8_000, "clipped");
}

fn coded(config: &CodecConfig, seed: u64) -> Option<(Vec<i16>, u32)> {
    let mut encoder = Encoder::new(config).ok()?;
    let mut decoder = Decoder::new(config).ok()?;
    let rate_hz = encoder.pcm_hz();
    let mut sound = keypad(rate_hz);
    add_noise(&mut sound, -62.0, seed);
    let (mut payload, mut heard) = ([0; 1_500], [0; 960]);
    let mut out = Vec::new();
    for frame in pcm(&sound).chunks_exact(rate_hz as usize / 50) {
        let length = encoder.encode(frame, &mut payload).expect("a frame");
        let length = decoder.decode(&payload[..length], &mut heard);
        out.extend_from_slice(&heard[..length.expect("what was encoded")]);
    }
    Some((out, rate_hz))
}

#[test]
fn codecs_of_waveforms_carry_keys() {
    for kind in [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722] {
        let coded = coded(&CodecConfig::new(kind), 1);
        let (heard, rate_hz) = coded.expect("it is always built in");
        assert_keypad(&heard, rate_hz, &format!("{kind}"));
    }
}

#[test]
fn opus_at_16_kilobits_carries_keys() {
    let (mut found, mut sent) = (0, 0);
    for seed in 0..12 {
        let mut config = CodecConfig::new(CodecKind::Opus);
        config.opus.bitrate_bps = 16_000;
        config.opus.pcm_hz = [8_000, 16_000, 48_000][seed as usize % 3];
        // It is there only where it is built in.
        let Some((heard, rate_hz)) = coded(&config, seed) else {
            return;
        };
        let heard = presses(&heard, rate_hz);
        let keys: Vec<usize> = heard.iter().map(|tone| tone.digit.index()).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        found += keys.len();
        sent += 16;
    }
    assert!(found * 1_000 >= sent * 970, "{found} of {sent}");
}

#[test]
fn three_per_cent_of_concealed_loss_cost_nothing() {
    let (mut found, mut wrong) = (0, 0);
    for seed in 0..8 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut heard = pcm(&keypad(8_000));
        for x in &mut heard {
            *x = g711::ulaw_to_linear(g711::linear_to_ulaw(*x));
        }
        let mut concealer = Concealer::new(8_000);
        for frame in heard.chunks_mut(160) {
            if rng.f32() < 0.03 {
                concealer.conceal(frame);
            } else {
                concealer.heard(frame);
            }
        }
        let keys: Vec<usize> = presses(&heard, 8_000)
            .iter()
            .map(|t| t.digit.index())
            .collect();
        found += (0..16).filter(|key| keys.contains(key)).count();
        wrong += keys.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    }
    assert!(found >= 126, "{found} of 128");
    assert_eq!(wrong, 0);
}

/// A voice's vowel: partials of a pitch, the strongest at its two lowest formants.
fn add_vowel(sound: &mut [f64], dbm0: f64) {
    for hz in (1..28).map(|n| 120.0 * f64::from(n)) {
        let away = [(hz - 500.0) / 150.0, (hz - 1_500.0) / 150.0];
        let level: f64 = away.iter().map(|away| 1.0 / (1.0 + away * away)).sum();
        sine(sound, hz, dbm0 + 20.0 * level.log10());
    }
}

#[test]
fn a_voice_behind_a_key_is_not_its_end_however_loud() {
    for louder_db in [0.0, 6.0, 12.0, 20.0] {
        for digit in 0..16 {
            let mut sound = sound(500, 8_000);
            let sent = Sent {
                dbm0: -24.0,
                ..Sent::new(digit, 100.0, 80.0)
            };
            sent.add(&mut sound, 8_000);
            add_vowel(&mut sound[8 * 180..8 * 400], -24.0 + louder_db);
            let heard = presses(&pcm(&sound), 8_000);
            let [tone] = heard[..] else {
                panic!("{louder_db} dB louder, key {digit}: {heard:?}");
            };
            let end_ms = tone.end as f64 / 8.0;
            assert!(
                (176.0..=184.0).contains(&end_ms),
                "{louder_db} dB louder, key {digit}: {end_ms}"
            );
        }
    }
}

proptest! {
    #[test]
    fn what_the_standards_say_must_be_taken_is(
        digit in 0..16usize,
        at_ms in 60.0..100.0,
        length_ms in 40.0..120.0,
        dbm0 in -27.0..-3.1,
        twist_db in -8.0..6.0,
        low in -0.0175..0.0175,
        high in -0.0162..0.0162,
    ) {
        let sent = Sent { digit, at_ms, length_ms, dbm0, twist_db, deviation: [low, high] };
        let mut sound = sound(300, 8_000);
        sent.add(&mut sound, 8_000);
        let heard = presses(&pcm(&sound), 8_000);
        prop_assert_eq!(heard.len(), 1);
        prop_assert_eq!(heard[0].digit.index(), digit);
        let ms = |samples: u64| samples as f64 / 8.0;
        prop_assert!((ms(heard[0].start) - at_ms).abs() < 5.0);
        prop_assert!((ms(heard[0].end) - at_ms - length_ms).abs() < 5.0);
    }

    #[test]
    fn what_the_standards_say_must_be_refused_is(
        digit in 0..16usize,
        at_ms in 60.0..100.0,
        dbm0 in -40.0..-3.1,
        kind in 0..4,
        sign in prop::sample::select(vec![-1.0, 1.0]),
        extent in 0.0..1.0,
    ) {
        let mut sent = Sent { dbm0, ..Sent::new(digit, at_ms, 100.0) };
        match kind {
            0 => sent.length_ms = 5.0 + 18.0 * extent,
            1 => sent.deviation = [sign * (0.03 + 0.01 * extent), 0.0],
            2 => sent.deviation = [0.0, sign * (0.03 + 0.005 * extent)],
            _ => sent.dbm0 = -55.0 - 20.0 * extent,
        }
        let mut sound = sound(300, 8_000);
        sent.add(&mut sound, 8_000);
        prop_assert!(presses(&pcm(&sound), 8_000).is_empty());
    }

    #[test]
    fn whatever_could_be_a_key_is_told_to_the_wary(
        digit in 0..16usize,
        at_ms in 60.0..100.0,
        length_ms in 15.0..90.0,
        dbm0 in -45.0..-3.1,
        twist_db in -10.0..8.0,
        low in -0.025..0.025,
        high in -0.025..0.025,
        noise_db in 12.0..60.0,
    ) {
        let sent = Sent { digit, at_ms, length_ms, dbm0, twist_db, deviation: [low, high] };
        let mut sound = sound(300, 8_000);
        sent.add(&mut sound, 8_000);
        add_noise(&mut sound, dbm0 - noise_db, digit as u64);
        let (mut told, mut first) = (vec![false; sound.len() + 400], None);
        let mut wary = Wary::new(8_000).expect("a rate");
        for (n, x) in pcm(&sound).iter().enumerate() {
            wary.feed(&[*x], &mut |span| {
                first = first.or(Some(n));
                told[span.start as usize..span.end as usize].fill(true);
            });
        }
        let (start, end) = ((at_ms * 8.0) as usize, ((at_ms + length_ms) * 8.0) as usize);
        let left = told[start..end].iter().filter(|told| !**told).count();
        prop_assert!(left <= 40, "{} samples are not told", left);
        let late = first.map_or(usize::MAX, |first| first.saturating_sub(start));
        prop_assert!(late <= 320, "told {} samples late", late);
    }

    #[test]
    fn frame_borders_leave_no_trace(
        digit in 0..16usize,
        rate_hz in prop::sample::select(RATES_HZ.to_vec()),
        cuts in prop::collection::vec(0..2_000usize, 0..20),
    ) {
        let mut sound = sound(300, rate_hz);
        Sent::new(digit, 70.0, 60.0).add(&mut sound, rate_hz);
        add_noise(&mut sound, -30.0, digit as u64);
        let pcm = pcm(&sound);
        let mut detector = Detector::new(rate_hz).expect("a rate of telephony");
        let (mut rest, mut heard) = (&pcm[..], Vec::new());
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            detector.feed(piece, &mut |edge| heard.push(edge));
            rest = behind;
        }
        detector.feed(rest, &mut |edge| heard.push(edge));
        prop_assert_eq!(hear(&pcm, rate_hz), heard);
    }

    #[test]
    fn no_samples_break_it(
        seed in any::<u64>(),
        rate_hz in prop::sample::select(RATES_HZ.to_vec()),
        extreme in any::<bool>(),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let noise: Vec<i16> = (0..rate_hz / 4)
            .map(|_| if !extreme { rng.i16(..) } else if rng.bool() { i16::MIN } else { i16::MAX })
            .collect();
        for edge in hear(&noise, rate_hz) {
            let (Heard::Began(tone) | Heard::Ended(tone)) = edge;
            prop_assert!(tone.start <= tone.end && tone.level_dbm0.is_finite());
        }
        let mut wary = Wary::new(rate_hz).expect("a rate");
        wary.feed(&noise, &mut |span| assert!(span.start < span.end));
    }
}
