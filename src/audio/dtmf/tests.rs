//! The limits of the standards, one by one, on tones made here.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals within their ranges"
)]

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

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
        Wary::new(rate_hz).expect("a rate").feed(&noise, &mut |span| assert!(span.start < span.end));
    }
}
