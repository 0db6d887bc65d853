#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of tests are small"
)]

use proptest::prelude::*;

use super::trace::{self, Dice, Fixed60, NetEqLike, PACKETS, PTIME_US, Schedule, Score, Trace};
use super::*;
#[cfg(feature = "opus")]
use crate::audio::codec::Encoder;
use crate::audio::codec::{CodecConfig, CodecKind};
use crate::audio::g711;

mod follow;

const FRAME: usize = 160;

/// A voice of 125 Hz that speaks for 1.2 s of 1.8 s, by sample number.
fn speech(at: usize) -> i16 {
    if at % 14_400 >= 9_600 {
        return (at % 7) as i16;
    }
    let turn = at as f32 / 64.0 * std::f32::consts::TAU;
    (5_000.0 * turn.sin() + 2_500.0 * (3.0 * turn).sin()) as i16
}

fn packet(n: usize) -> Vec<u8> {
    (n * FRAME..(n + 1) * FRAME)
        .map(|at| g711::linear_to_ulaw(speech(at)))
        .collect()
}

fn info(n: usize) -> PacketInfo {
    PacketInfo {
        ssrc: 7,
        seq: SequenceNumber((n as u16).wrapping_add(0xfff0)),
        timestamp: RtpTimestamp((n as u32 * FRAME as u32).wrapping_sub(3_000)),
        pt: 0,
        marker: n == 0,
    }
}

fn playout(config: PlayoutConfig) -> Playout {
    let mut playout = Playout::new(config).unwrap();
    playout.set_decoder(0, 8_000, pcmu()).unwrap();
    playout.set_comfort_noise(13, 8_000).unwrap();
    playout
}

fn pcmu() -> Decoder {
    Decoder::new(&CodecConfig::new(CodecKind::Pcmu)).unwrap()
}

fn at_ms(ms: u64) -> Micros {
    Micros(ms * 1_000)
}

/// Every sample that was pulled is accounted for: decoded, invented, lengthened or a pause.
fn assert_balanced(playout: &Playout, pulled: u64) {
    let c = &playout.counts;
    let made = c.decoded + c.concealed + c.pause + c.idle + c.expanded;
    let gone = c.accelerated + playout.ahead.len() as u64;
    assert_eq!(pulled + gone, made + playout.stalled as u64, "{c:?}");
}

/// Plays a trace through the real thing, `pull` samples at a time.
fn play(trace: &Trace, pull: usize, config: PlayoutConfig) -> (Score, PlayoutStats) {
    let mut playout = playout(config);
    let arrivals = trace.arrivals();
    let pull_us = pull as i64 * 125;
    let (mut next, mut sum, mut pulls) = (0, 0.0, 0);
    let mut out = [0; FRAME];
    for tick in 0..PACKETS as i64 * PTIME_US / pull_us {
        let now_us = tick * pull_us + 7_000;
        while next < arrivals.len() && arrivals[next].0 <= now_us {
            let (at, n) = arrivals[next];
            playout.insert(Micros(at as u64), &info(n), &packet(n));
            next += 1;
        }
        playout.pull(Micros(now_us as u64), &mut out[..pull]);
        if playout.started {
            // The line of media begins with the first packet's arrival.
            let sent_us = playout.position_us() - arrivals[0].0 + arrivals[0].1 as i64 * PTIME_US;
            sum += (now_us + pull_us - sent_us - trace.fastest_us()) as f64;
            pulls += 1;
        }
    }
    let stats = playout.stats();
    let (packets, minutes) = (PACKETS as f64, PACKETS as f64 / 3_000.0);
    let score = Score {
        delay_ms: sum / f64::from(pulls) / 1e3,
        late_percent: 100.0 * (stats.late + stats.waited + stats.discarded) as f64 / packets,
        dry_percent: 100.0 * stats.concealed_ms as f64 / (packets * 20.0),
        changes: stats.stretches as f64 / minutes,
    };
    (score, stats)
}

fn table(seeds: std::ops::Range<u64>) -> Vec<[Score; 5]> {
    let mut rows = Vec::new();
    let names = [
        "fixed 60",
        "NetEQ-like",
        "NetEQ-like, each packet",
        "ours, 20 ms",
        "ours, 10 ms",
    ];
    println!("trace: {names:?}, each delay ms / late % / concealed % / changes per min");
    let count = (seeds.end - seeds.start) as f64;
    for which in 0..trace::all(0).len() {
        let mut sums = [Score::default(); 5];
        let mut name = "";
        for seed in seeds.clone() {
            let trace = &trace::all(seed)[which];
            name = trace.name;
            let schedules: [&mut dyn Schedule; 3] = [
                &mut Fixed60::default(),
                &mut NetEqLike::new(500_000),
                &mut NetEqLike::new(0),
            ];
            for (sum, schedule) in sums.iter_mut().zip(schedules) {
                sum.add(&trace::score(trace, schedule), count);
            }
            sums[3].add(&play(trace, FRAME, PlayoutConfig::default()).0, count);
            sums[4].add(&play(trace, FRAME / 2, PlayoutConfig::default()).0, count);
        }
        print!("{name:16}");
        for s in sums {
            print!(
                " | {:5.1} {:5.2} {:5.2} {:4.0}",
                s.delay_ms, s.late_percent, s.dry_percent, s.changes
            );
        }
        println!();
        rows.push(sums);
    }
    rows
}

/// Minutes of sound take long without optimisation, so the table is printed by the ignored test.
#[test]
#[ignore = "a table for people; takes a minute without optimisation"]
fn table_of_all_traces() {
    for row in table(1..4) {
        let [.., ours, _] = row;
        assert!(ours.late_percent <= 1.0, "{ours:?}");
    }
}

#[test]
fn under_one_percent_is_late_at_less_delay_than_neteq() {
    let traces = [trace::wifi, trace::route];
    for (n, make) in traces.into_iter().enumerate() {
        let trace = make(1);
        let neteq = trace::score(&trace, &mut NetEqLike::new(500_000));
        let (ours, stats) = play(&trace, FRAME, PlayoutConfig::default());
        assert!(ours.late_percent <= 1.0, "{}: {ours:?}", trace.name);
        assert!(ours.dry_percent <= 1.5, "{}: {ours:?}", trace.name);
        assert!(
            ours.delay_ms < neteq.delay_ms,
            "{}: {ours:?} {neteq:?}",
            trace.name
        );
        assert!(
            stats.lost == 0 && stats.stray == 0 && stats.restarts == 0,
            "{n} {stats:?}"
        );
    }
}

#[test]
fn two_hundred_ppm_of_drift_never_lose_a_packet_nor_grow_the_delay() {
    for ppm in [200.0, -200.0] {
        let trace = trace::drift(5, "drift", ppm);
        let neteq = trace::score(&trace, &mut NetEqLike::new(500_000));
        let (ours, stats) = play(&trace, FRAME, PlayoutConfig::default());
        assert!(
            ours.late_percent <= 1.0 && ours.delay_ms < neteq.delay_ms,
            "{ours:?}"
        );
        assert_eq!(stats.discarded + stats.lost, 0);
        assert!(stats.delay_ms <= stats.target_ms + 40, "{stats:?}");
        let [gone, added] = [stats.accelerated_ms, stats.expanded_ms + stats.concealed_ms];
        let drift = added as f64 - gone as f64;
        // 300 s × 200 ppm = 60 ms, and what the first and the last delay differ by.
        assert!((drift - ppm * 0.3).abs() < 50.0, "{ppm} ppm: {stats:?}");
    }
}

#[test]
fn a_fixed_delay_is_kept() {
    let trace = trace::lan(3);
    let config = PlayoutConfig {
        fixed_ms: Some(100),
        ..PlayoutConfig::default()
    };
    let (score, stats) = play(&trace, FRAME, config);
    assert!((90.0..=121.0).contains(&score.delay_ms), "{score:?}");
    assert_eq!(
        (stats.target_ms, stats.late, stats.stretches),
        (100, 0, stats.stretches.min(4))
    );
}

#[test]
fn a_lost_packet_is_filled_and_counted_once() {
    let mut playout = playout(PlayoutConfig::default());
    let mut heard = Vec::new();
    let mut out = [0; FRAME];
    for n in 0..200_usize {
        let now = at_ms(n as u64 * 20);
        if n % 50 != 30 {
            assert_eq!(playout.insert(now, &info(n), &packet(n)), Inserted::Kept);
        }
        playout.pull(now, &mut out);
        heard.extend_from_slice(&out);
    }
    let stats = playout.stats();
    assert_eq!(
        (stats.lost, stats.late, stats.waited),
        (4, 0, 0),
        "{stats:?}"
    );
    assert_eq!(stats.concealed_ms, 80, "{stats:?}");
    assert_balanced(&playout, heard.len() as u64);
}

#[test]
fn a_packet_that_comes_after_its_turn_is_late_and_no_longer_lost() {
    let mut playout = playout(PlayoutConfig {
        fixed_ms: Some(20),
        ..PlayoutConfig::default()
    });
    let mut out = [0; FRAME];
    for n in 0..100_usize {
        let now = at_ms(n as u64 * 20);
        if n != 50 {
            playout.insert(now, &info(n), &packet(n));
        }
        if n == 60 {
            assert_eq!(playout.stats().lost, 1);
            assert_eq!(playout.insert(now, &info(50), &packet(50)), Inserted::Late);
            assert_eq!(
                playout.insert(now, &info(50), &packet(50)),
                Inserted::Duplicate
            );
        }
        playout.pull(now, &mut out);
    }
    let stats = playout.stats();
    assert_eq!(
        (stats.lost, stats.late, stats.duplicate, stats.reordered),
        (0, 1, 1, 1)
    );
}

#[test]
fn comfort_noise_plays_until_speech_is_due() {
    let mut playout = playout(PlayoutConfig::default());
    let mut out = [0; FRAME];
    let mut kinds = Vec::new();
    for n in 0..150_usize {
        let now = at_ms(n as u64 * 20);
        match n {
            50 => {
                let info = PacketInfo { pt: 13, ..info(50) };
                playout.insert(now, &info, &[40]);
            }
            51..100 => {}
            _ => {
                // The sequence has no hole: 51 to 99 were never sent.
                let seq = info(if n < 50 { n } else { n - 49 }).seq;
                playout.insert(now, &PacketInfo { seq, ..info(n) }, &packet(n));
            }
        }
        kinds.push(playout.pull(now, &mut out));
        if (60..95).contains(&n) {
            let power = out.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / 160.0;
            assert!(
                (power.sqrt() - 327.67).abs() < 120.0,
                "pull {n}: {}",
                power.sqrt()
            );
        }
    }
    assert!(
        kinds[60..98].iter().all(|&kind| kind == Pulled::Pause),
        "{kinds:?}"
    );
    let stats = playout.stats();
    assert_eq!(
        (stats.concealed_ms, stats.lost, stats.waited),
        (0, 0, 0),
        "{stats:?}"
    );
    assert!((940..=1_020).contains(&stats.pause_ms), "{stats:?}");
}

#[test]
fn after_an_outage_sound_is_back_with_the_usual_delay() {
    for lost in [40, 52, 58, 70, 500] {
        let mut playout = playout(PlayoutConfig::default());
        let mut out = [0; FRAME];
        let loud = [g711::linear_to_ulaw(8_000); FRAME];
        let mut back = None;
        for n in 0..100 + lost {
            let now = at_ms(n as u64 * 20);
            if !(50..50 + lost).contains(&n) {
                let payload = if n < 50 { [0xff; FRAME] } else { loud };
                playout.insert(now, &info(n), &payload);
            }
            playout.pull(now, &mut out);
            if n >= 50 && out[FRAME - 1] > 4_000 {
                back = back.or(Some(n - 50 - lost));
            }
        }
        let packets = back.expect("it comes back");
        assert!(packets <= 3, "{packets} packets after {lost} lost ones");
        assert!(playout.stats().delay_ms <= 60, "{:?}", playout.stats());
    }
}

#[test]
fn another_source_is_heard_without_a_hole() {
    let mut playout = playout(PlayoutConfig::default());
    let mut out = [0; FRAME];
    for n in 0..200_usize {
        let now = at_ms(n as u64 * 20);
        let mut info = info(n);
        if n >= 100 {
            info.ssrc = 8;
            info.seq = info.seq.plus(30_000);
            info.timestamp = info.timestamp.plus(0x8000_0000);
        }
        playout.insert(now, &info, &packet(n));
        playout.pull(now, &mut out);
        if n == 130 {
            assert_eq!(playout.stats().restarts, 1);
        }
    }
    let stats = playout.stats();
    assert!(
        stats.played >= 195 && stats.lost + stats.late + stats.discarded == 0,
        "{stats:?}"
    );
    assert!(stats.concealed_ms + stats.pause_ms <= 20, "{stats:?}");
}

#[test]
fn packets_of_any_length_play_whole() {
    for samples in [20_usize, 80, 160, 240, 480, 960] {
        let mut playout = playout(PlayoutConfig::default());
        let mut out = [0; FRAME];
        let (mut sent, mut seq) = (0, 0_u16);
        for tick in 0..300_usize {
            while sent + samples <= (tick + 1) * FRAME {
                let info = PacketInfo {
                    seq: SequenceNumber(seq),
                    timestamp: RtpTimestamp(sent as u32),
                    ..info(0)
                };
                let pcm = (sent..sent + samples).map(|at| g711::linear_to_ulaw(speech(at)));
                playout.insert(at_ms(tick as u64 * 20), &info, &pcm.collect::<Vec<u8>>());
                (sent, seq) = (sent + samples, seq + 1);
            }
            playout.pull(at_ms(tick as u64 * 20), &mut out);
        }
        let stats = playout.stats();
        assert_eq!(
            (stats.lost, stats.late, stats.discarded, stats.undecodable),
            (0, 0, 0, 0)
        );
        assert!(stats.concealed_ms <= 120, "{samples} samples: {stats:?}");
        assert!(stats.delay_ms <= 200, "{samples} samples: {stats:?}");
    }
    let mut playout = playout(PlayoutConfig::default());
    playout.insert(at_ms(0), &info(0), &[0xff; 961]);
    let mut out = [0; FRAME];
    for n in 0..10 {
        playout.pull(at_ms(n * 20), &mut out);
    }
    assert_eq!(playout.stats().undecodable, 1, "longer than 120 ms");
}

#[test]
fn refuses_what_it_cannot_do() {
    let new = |config| <Playout>::new(config).map(|_| ()).unwrap_err();
    let good = PlayoutConfig::default();
    assert_eq!(
        new(PlayoutConfig {
            pcm_hz: 44_100,
            ..good
        }),
        PlayoutError::Rate(44_100)
    );
    for (min_ms, max_ms) in [(2, 1), (0, DELAY_MS_MAX + 1)] {
        let error = new(PlayoutConfig {
            min_ms,
            max_ms,
            ..good
        });
        assert_eq!(error, PlayoutError::Bounds { min_ms, max_ms });
    }
    let mut playout = Playout::new(PlayoutConfig {
        pcm_hz: 16_000,
        ..good
    })
    .unwrap();
    let error = PlayoutError::VoiceRate {
        voice_hz: 8_000,
        pcm_hz: 16_000,
    };
    assert_eq!(playout.set_decoder(0, 8_000, pcmu()), Err(error));
    for (pt, clock_hz) in [(128, 8_000), (0, 0)] {
        let error = playout.set_comfort_noise(pt, clock_hz).unwrap_err();
        assert_eq!(error, PlayoutError::PayloadType(pt));
    }
    for pt in 0..VOICES_MAX as u8 {
        assert_eq!(playout.set_comfort_noise(pt, 8_000), Ok(()));
    }
    assert_eq!(
        playout.set_comfort_noise(0, 8_000),
        Ok(()),
        "again is no more"
    );
    assert_eq!(
        playout.set_comfort_noise(99, 8_000),
        Err(PlayoutError::TooManyVoices)
    );
}

/// A random network and a random listener.
fn random_life(seed: u64, pulls: usize) {
    let mut dice = Dice(seed);
    let mut playout = playout(PlayoutConfig::default());
    let (mut now, mut n, mut pulled, mut next_key) = (1_000_000_u64, 0_usize, 0, 0);
    let mut out = [0; PULL_MS_MAX * 8];
    for _ in 0..pulls {
        for _ in 0..dice.bits() % 4 {
            n = n.wrapping_add(1);
            let shift = (dice.bits() % 8) as usize;
            let mut info = info(if dice.bits().is_multiple_of(3) {
                n.saturating_sub(shift)
            } else {
                n
            });
            let len = [160, 160, 160, 160, 20, 80, 0, 960, 961, 1][(dice.bits() % 10) as usize];
            match dice.bits() % 400 {
                0 => info.timestamp = info.timestamp.plus(dice.bits() as u32),
                1 => info.seq = info.seq.plus(dice.bits() as u16),
                2 => info.ssrc = dice.bits() as u32 % 3,
                3..9 => info.pt = 13,
                9 => info.pt = 99,
                10 => n += 50_000,
                _ => {}
            }
            playout.insert(Micros(now), &info, &packet(n % 1_000).repeat(7)[..len]);
        }
        let ms = [10, 20, 20, 20, 60][(dice.bits() % 5) as usize];
        if !dice.bits().is_multiple_of(50) {
            now += ms as u64 * 1_000 + dice.bits() % 300;
        }
        playout.pull(Micros(now), &mut out[..ms * 8]);
        pulled += ms as u64 * 8;
        assert_balanced(&playout, pulled);
        let before = std::mem::replace(&mut next_key, playout.next_key);
        assert!(
            next_key >= before || before == 0,
            "an older packet after a newer one"
        );
        assert!(playout.buffer.len() <= buffer::PACKETS_MAX);
        assert!(playout.buffer.bytes() <= buffer::BYTES_MAX);
    }
    let s = playout.stats();
    let dropped = s.duplicate + s.late + s.stray + s.unknown_pt + s.discarded + s.undecodable;
    assert!(
        s.played + dropped + u64::from(s.waiting) <= s.received,
        "{s:?}"
    );
}

#[cfg(feature = "opus")]
#[test]
fn opus_restores_a_lost_packet_from_the_next() {
    let mut config = CodecConfig::new(CodecKind::Opus);
    config.opus.pcm_hz = 16_000;
    config.opus.bitrate_bps = 32_000;
    let mut encoder = Encoder::new(&config).unwrap();
    encoder.set_loss(100);
    let pcm_hz = 16_000;
    let mut playout = Playout::new(PlayoutConfig {
        pcm_hz,
        ..PlayoutConfig::default()
    })
    .unwrap();
    playout
        .set_decoder(111, 48_000, Decoder::new(&config).unwrap())
        .unwrap();
    let mut out = [0; 320];
    for n in 0..300_usize {
        let now = at_ms(n as u64 * 20);
        let pcm: Vec<i16> = (n * 320..(n + 1) * 320).map(|at| speech(at / 2)).collect();
        let mut payload = [0; 1_500];
        let len = encoder.encode(&pcm, &mut payload).unwrap();
        let timestamp = RtpTimestamp(n as u32 * 960);
        let info = PacketInfo {
            pt: 111,
            timestamp,
            ..info(n)
        };
        // Two lost in a row at times: of those, the first is guessed.
        if n % 40 != 30 && n % 120 != 31 {
            playout.insert(now, &info, &payload[..len]);
        }
        playout.pull(now, &mut out);
    }
    let stats = playout.stats();
    assert_eq!(stats.lost, 10, "{stats:?}");
    // Encoders add no redundancy in pauses of speech, which a third of the losses fall into.
    assert!(stats.restored >= 4, "{stats:?}");
    assert_eq!(stats.restored * 20 + stats.concealed_ms, 200, "{stats:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_random_life_keeps_its_books(seed: u64) {
        random_life(seed, 150);
    }

    #[test]
    fn what_was_lost_is_counted_exactly(
        lost in proptest::collection::btree_set(5_usize..190, 0..40),
        jitter in proptest::collection::vec(0_u64..15, 200),
    ) {
        let mut playout = playout(PlayoutConfig { fixed_ms: Some(60), ..PlayoutConfig::default() });
        let mut arrivals: Vec<(u64, usize)> = (0..200)
            .filter(|n| !lost.contains(n))
            .map(|n| (n as u64 * 20 + jitter[n], n))
            .collect();
        arrivals.sort_unstable();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut out = [0; FRAME];
        for tick in 0..210_u64 {
            while let Some((at, n)) = arrivals.next_if(|a| a.0 <= tick * 20) {
                playout.insert(at_ms(at), &info(n), &packet(n));
            }
            playout.pull(at_ms(tick * 20), &mut out);
        }
        let stats = playout.stats();
        prop_assert_eq!(stats.lost + stats.late, lost.len() as u64);
        prop_assert_eq!(stats.played, 200 - lost.len() as u64);
    }
}

/// Every `spacing`th packet is lost, and the first pull comes just after a packet. The delay at the
/// end in milliseconds.
fn delay_with_loss(spacing: usize) -> u32 {
    let mut playout = playout(PlayoutConfig::default());
    let mut out = [0; FRAME];
    for n in 0..2_000_usize {
        let now = Micros(n as u64 * 20_000);
        if n % spacing != spacing - 1 {
            playout.insert(now, &info(n), &packet(n));
        }
        playout.pull(Micros(now.0 + 6_000), &mut out);
    }
    playout.stats().delay_ms
}

#[test]
fn frequent_loss_is_worth_a_packet_of_look_ahead_and_rare_loss_is_not() {
    let clean = delay_with_loss(usize::MAX);
    assert!(clean < 20, "{clean} ms");
    for (spacing, extra) in [
        (1_000, false),
        (300, false),
        (100, true),
        (20, true),
        (5, true),
    ] {
        let delay = delay_with_loss(spacing);
        assert_eq!(delay >= 20, extra, "one of {spacing} lost: {delay} ms");
        assert!(delay <= 46, "one of {spacing} lost: {delay} ms");
    }
}
