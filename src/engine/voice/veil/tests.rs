//! The veil alone: what goes in, and what comes out so much later.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test signals are far inside every range"
)]

use std::f32::consts::TAU;

use super::*;

const RATE_HZ: u32 = 8_000;
const FRAME: usize = 160;
const LOOK_BACK_MS: u16 = 50;
const LOOK_BACK: usize = LOOK_BACK_MS as usize * 8;
const RAMP: usize = RAMP_MS * 8;

fn cover(mode: MaskMode) -> Cover {
    Cover {
        mode,
        look_back_ms: LOOK_BACK_MS,
        seed: 3,
    }
}

fn veil(mode: MaskMode) -> Veil {
    Veil::new(RATE_HZ, &cover(mode), Some(0)).unwrap()
}

/// What no detector takes for a key, and in which every sample is another than its neighbours.
fn murmur(samples: usize) -> Vec<i16> {
    let mut random = fastrand::Rng::with_seed(11);
    (0..samples).map(|_| random.i16(-500..500)).collect()
}

fn key(samples: usize) -> Vec<i16> {
    let tones = |n: usize| {
        let at = n as f32 / 8_000.0 * TAU;
        5_000.0 * ((at * 770.0).sin() + (at * 1_336.0).sin())
    };
    (0..samples).map(|n| tones(n) as i16).collect()
}

/// What comes out of a veil for what goes in, in frames.
fn through(veil: &mut Veil, pcm: &[i16]) -> Vec<i16> {
    let mut out = pcm.to_vec();
    for frame in out.chunks_exact_mut(FRAME) {
        veil.pass(frame, true);
    }
    out
}

#[test]
fn what_is_no_key_comes_out_as_it_was_a_look_back_later() {
    let mut veil = veil(MaskMode::Absorb);
    let pcm = murmur(50 * FRAME);
    let out = through(&mut veil, &pcm);
    assert!(out[..LOOK_BACK].iter().all(|sample| *sample == 0));
    let same = pcm.len() - LOOK_BACK;
    assert_eq!(out[LOOK_BACK + RAMP..], pcm[RAMP..same]);
    assert_eq!(veil.waiting(), LOOK_BACK);
    assert!(!veil.is_gone());
}

#[test]
fn of_a_key_nothing_comes_out_and_of_what_is_around_it_all_but_its_edges() {
    for ms in [22, 25, 30, 40, 100, 300] {
        let mut veil = veil(MaskMode::Absorb);
        let (before, after) = (
            murmur(30 * FRAME + 77),
            murmur(30 * FRAME + 83 - 8 * (ms % 20)),
        );
        let pcm = [before.clone(), key(8 * ms), after].concat();
        let pcm = &pcm[..pcm.len() / FRAME * FRAME];
        let out = through(&mut veil, pcm);
        let (from, to) = (before.len() + LOOK_BACK, before.len() + LOOK_BACK + 8 * ms);
        let inside = &out[from..to.min(out.len())];
        assert!(inside.iter().all(|sample| *sample == 0), "{ms} ms");
        // Suspicions are wider than tones, by ten milliseconds at most.
        let early = from - 80;
        assert_eq!(
            out[early - FRAME..early],
            pcm[early - LOOK_BACK - FRAME..early - LOOK_BACK]
        );
        let late = to + 80 + RAMP;
        assert_eq!(
            out[late..],
            pcm[late - LOOK_BACK..pcm.len() - LOOK_BACK],
            "{ms} ms"
        );
    }
}

/// A low tone, louder than a key, that is none.
fn hum(samples: usize) -> Vec<i16> {
    let turns = |n: usize| n as f32 / 32.0 * TAU;
    (0..samples)
        .map(|n| (8_000.0 * turns(n).cos()) as i16)
        .collect()
}

/// The largest step between two samples.
fn step(pcm: &[i16]) -> Option<u16> {
    pcm.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max()
}

#[test]
fn where_a_veil_begins_what_was_heard_last_fades_out() {
    let pcm = hum(20 * FRAME);
    let fades = |mut veil: Veil| {
        let mut out = pcm.clone();
        let mut frames = out.chunks_exact_mut(FRAME);
        let sent = frames.next().is_some_and(|frame| veil.pass(frame, true));
        frames.for_each(|frame| {
            veil.pass(frame, true);
        });
        assert!(out[RAMP..LOOK_BACK].iter().all(|sample| *sample == 0));
        sent.then(|| out[..RAMP].to_vec())
    };
    let cover = cover(MaskMode::Absorb);
    let known = Veil::new(RATE_HZ, &cover, Some(-7_000)).unwrap();
    let faded = fades(known).unwrap();
    assert!(step(&faded) <= Some(7_000 / RAMP as u16 + 1) && faded[0] < -6_500);
    let mut goes_on = Veil::new(RATE_HZ, &cover, None).unwrap();
    goes_on.go_on(pcm[0]);
    let faded = fades(goes_on).unwrap();
    assert!(faded.is_sorted_by(|a, b| a >= b), "nothing else of it");
    assert!(faded[0] > 7_500 && step(&faded) <= Some(8_000 / RAMP as u16 + 1));
    // Silence in its place would be a step; a packet that is missing is not.
    let unknown = Veil::new(RATE_HZ, &cover, None).unwrap();
    assert_eq!(fades(unknown), None, "it is not sent");
}

#[test]
fn something_else_stands_in_the_place_of_a_key() {
    let tone = MaskMode::Tone {
        hz: [1_000].into_iter().collect(),
        level: -10,
    };
    for (mode, expected) in [
        (MaskMode::Silence, None),
        (tone, None),
        (MaskMode::ZeroDigit, Some(Digit::ALL[0])),
    ] {
        let sounds = !matches!(mode, MaskMode::Silence);
        let mut veil = veil(mode);
        let quiet = vec![0; 20 * FRAME];
        let out = through(&mut veil, &[quiet.clone(), key(5 * FRAME), quiet].concat());
        let (mut digits, mut detector) = (Vec::new(), Detector::new(RATE_HZ).unwrap());
        detector.feed(&out, &mut |heard| {
            if let Heard::Began(tone) = heard {
                digits.push(tone.digit);
            }
        });
        assert_eq!(digits, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(out.iter().any(|sample| *sample != 0), sounds);
    }
}

#[test]
fn what_waits_is_played_out_when_masking_ends() {
    let mut veil = veil(MaskMode::Absorb);
    through(&mut veil, &murmur(20 * FRAME));
    veil.leave();
    let mut frames = 0;
    while !veil.is_gone() {
        through(&mut veil, &murmur(FRAME));
        frames += 1;
        assert!(frames * 20 <= LEAVE_MS_MAX + 100, "it never goes");
    }
    // And comes again as it was.
    veil.set(&cover(MaskMode::Absorb));
    through(&mut veil, &murmur(5 * FRAME));
    assert_eq!(veil.waiting(), LOOK_BACK);
}

#[test]
fn a_key_that_is_down_when_masking_ends_stays_hidden_until_it_is_up() {
    let mut veil = veil(MaskMode::Absorb);
    through(&mut veil, &vec![0; 20 * FRAME]);
    through(&mut veil, &key(10 * FRAME));
    veil.leave();
    let out = through(&mut veil, &key(100 * FRAME)[10 * FRAME..]);
    assert!(out.iter().all(|sample| *sample == 0));
    assert!(!veil.is_gone());
    through(&mut veil, &vec![0; 100 * FRAME]);
    assert!(veil.is_gone());
}

#[test]
fn a_key_that_never_comes_up_is_let_go_in_the_end() {
    let mut veil = veil(MaskMode::Absorb);
    through(&mut veil, &key(10 * FRAME));
    veil.leave();
    through(&mut veil, &key(8 * (HOLD_MS_MAX + 1_000)));
    assert!(veil.waiting() < LOOK_BACK, "{} wait", veil.waiting());
}

/// A packet of an event that has lasted for so many frames.
fn event(frames: usize, ended: bool) -> Said {
    Said {
        id: (77, 4_000),
        duration_us: 20_000 * frames as u64,
        ended,
    }
}

/// What comes out when an event's packets come at these frames; audio waits 40 ms before them.
fn through_event(mode: MaskMode, packets: &[(usize, Said)]) -> (Vec<i16>, Vec<i16>) {
    let mut veil = veil(mode);
    let pcm = murmur(60 * FRAME);
    let mut out = pcm.clone();
    for (n, frame) in out.chunks_exact_mut(FRAME).enumerate() {
        for (_, said) in packets.iter().filter(|(at, _)| *at == n) {
            veil.key_event(said, 40_000);
        }
        veil.pass(frame, true);
    }
    (pcm, out)
}

#[test]
fn an_event_is_a_key_in_its_place_and_for_its_duration() {
    let mut packets: Vec<_> = (1..=10).map(|n| (19 + n, event(n, n == 10))).collect();
    // The end is said three times.
    packets.extend([(30, event(10, true)), (31, event(10, true))]);
    let (pcm, out) = through_event(MaskMode::Silence, &packets);
    let (from, to) = (22 * FRAME + LOOK_BACK, 32 * FRAME + LOOK_BACK);
    assert_eq!(out[LOOK_BACK + RAMP..from], pcm[RAMP..from - LOOK_BACK]);
    assert!(out[from + RAMP..to].iter().all(|sample| *sample == 0));
    assert_eq!(
        out[to + RAMP..],
        pcm[to + RAMP - LOOK_BACK..pcm.len() - LOOK_BACK]
    );
}

#[test]
fn an_event_whose_end_is_lost_ends_soon_and_one_that_comes_late_hides_nothing() {
    let mut packets: Vec<_> = (1..=9).map(|n| (19 + n, event(n, false))).collect();
    packets.push((50, event(10, true)));
    let (pcm, out) = through_event(MaskMode::Silence, &packets);
    let (from, to) = (22 * FRAME + LOOK_BACK, 31 * FRAME + 8 * 40 + LOOK_BACK);
    assert!(out[from + RAMP..to].iter().all(|sample| *sample == 0));
    let later = to + 8 * 20 + RAMP;
    assert_eq!(out[later..], pcm[later - LOOK_BACK..pcm.len() - LOOK_BACK]);
}

#[test]
fn an_event_that_says_it_lasts_long_is_believed_for_no_more_than_its_packets_come() {
    let (pcm, out) = through_event(MaskMode::Silence, &[(20, event(400, true))]);
    let to = 22 * FRAME + 8 * EVENT_MS + LOOK_BACK + RAMP;
    assert_eq!(out[to..], pcm[to - LOOK_BACK..pcm.len() - LOOK_BACK]);
}

#[test]
fn the_silence_that_the_line_begins_with_is_nothing_to_hear() {
    let mut veil = veil(MaskMode::Absorb);
    let mut frame = murmur(FRAME);
    let speaks = [0; 4].map(|_| veil.pass(&mut frame, true));
    assert_eq!(speaks, [true, false, true, true]);
}

#[test]
fn a_line_that_grows_by_little_does_not_click() {
    let hum = |n: usize| (16_000.0 * (n as f32 * TAU * 90.0 / 8_000.0).sin()) as i16;
    for more_ms in [1, 3, 10] {
        let mut veil = veil(MaskMode::Absorb);
        let pcm: Vec<i16> = (0..60 * FRAME).map(hum).collect();
        let mut out = through(&mut veil, &pcm[..23 * FRAME]);
        veil.set(&Cover {
            look_back_ms: LOOK_BACK_MS + more_ms,
            ..cover(MaskMode::Absorb)
        });
        out.extend(through(&mut veil, &pcm[23 * FRAME..]));
        let step = |pair: &[i16]| pair[0].abs_diff(pair[1]);
        let largest = |pcm: &[i16]| pcm.windows(2).map(step).max().unwrap();
        let (was, allowed) = (largest(&out), largest(&pcm) + (16_000 / RAMP + 1) as u16);
        assert!(was <= allowed, "{more_ms} ms more: {was} above {allowed}");
    }
}

#[test]
fn what_was_forgotten_is_heard_by_nobody() {
    let mut veil = veil(MaskMode::Absorb);
    through(&mut veil, &murmur(20 * FRAME));
    veil.forget();
    let mut silent = vec![0; 3 * FRAME];
    for frame in silent.chunks_exact_mut(FRAME) {
        assert!(!veil.pass(frame, false), "there is nothing to hear");
    }
    assert!(silent.iter().all(|sample| *sample == 0));
}

#[test]
fn no_more_suspicions_are_kept_than_there_is_room_for() {
    let mut spans = Spans::new();
    for n in 0..=SPANS_MAX as u64 {
        let span = Span {
            start: 1_000 * n,
            end: 1_000 * n + 10,
            looks: LOOKS,
        };
        join(&mut spans, span, 80);
        let kept = (n as usize + 1).min(SPANS_MAX);
        assert_eq!(spans.len(), kept);
        assert!(!spans.spilled());
    }
    // The last two are one, and what lies between them is hidden with them.
    let last = spans.last().unwrap();
    let from = 1_000 * (SPANS_MAX as u64 - 1);
    assert_eq!((last.start, last.end), (from, from + 1_010));
}

#[test]
fn what_was_made_up_beside_a_key_goes_with_it_and_what_was_not_stays() {
    // Of a key 3 ms came, 20 ms were made up, and then so much came that it is none by itself.
    for (rest_ms, hides) in [(0, false), (17, true), (60, true)] {
        let mut veil = veil(MaskMode::Absorb);
        let start = 30 * FRAME - 24;
        let mut pcm = [murmur(start), key(24), murmur(FRAME), key(8 * rest_ms)].concat();
        pcm.resize(50 * FRAME, 0);
        let mut out = pcm.clone();
        for (n, frame) in out.chunks_exact_mut(FRAME).enumerate() {
            if n == 30 {
                veil.make_up(FRAME);
            }
            veil.pass(frame, true);
        }
        let made_up = 30 * FRAME..31 * FRAME;
        let later = |range: std::ops::Range<usize>| range.start + LOOK_BACK..range.end + LOOK_BACK;
        if !hides {
            assert_eq!(out[later(made_up.clone())], pcm[made_up]);
            continue;
        }
        let inside = made_up.start + RAMP..made_up.end + 8 * rest_ms;
        let heard = out[later(inside)].iter().filter(|sample| **sample != 0);
        assert_eq!(heard.count(), 0, "{rest_ms} ms");
    }
}
