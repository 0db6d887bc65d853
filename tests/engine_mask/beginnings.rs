//! Where masking begins in the middle of a loud sound.

use std::f32::consts::TAU;
use std::ops::Range;

use crosspoint::audio::g711;
use crosspoint::engine::*;

use super::engine_support::{A, B, World, rtp};
use super::presses::{
    Scene, bridged, detected, detected_in_blocks, hearers, masked, received, world,
};

/// Packets before masking begins.
const BEFORE: usize = 150;

/// Samples of 4 ms: the longest fade.
const FADE: usize = 32;

/// 250 Hz: a packet ends, and the next one begins, where it is loudest.
fn hum(at: usize) -> f32 {
    12_000.0 * (TAU * at as f32 / 32.0).cos()
}

/// As the hum, with a pause that fades in and out.
fn with_a_pause(at: usize) -> f32 {
    let (from, to) = (160 * 20, 160 * 45);
    let away = from.max(at) - from;
    let back = to.max(at) - to;
    let loud = 1.0 - (away as f32 / 800.0).min(1.0) + (back as f32 / 800.0).min(1.0);
    loud * hum(at)
}

/// The key 5.
fn key(at: usize) -> f32 {
    let turns = TAU * at as f32 / 8_000.0;
    7_000.0 * ((turns * 770.0).cos() + (turns * 1_336.0).cos())
}

/// A hums, and is masked for a while where masking is to begin `again`; then masking begins, and it
/// says something else. Packets that are named are lost.
fn say(
    world: &mut World,
    pt: u8,
    (mode, again): (&MaskMode, bool),
    then: fn(usize) -> f32,
    lost: &[usize],
) {
    let until = if again { 30 } else { 10 };
    let spans = [10..until, BEFORE..usize::MAX];
    say_masked(world, pt, mode, &spans, [hum, then], lost);
}

/// As [`say`], masked in these packets.
fn say_masked(
    world: &mut World,
    pt: u8,
    mode: &MaskMode,
    spans: &[Range<usize>],
    [before, then]: [fn(usize) -> f32; 2],
    lost: &[usize],
) {
    for n in 0..BEFORE + 40 {
        for span in spans.iter().filter(|span| !span.is_empty()) {
            if n == span.end {
                world.apply(Change::Mask(A, None));
            }
            if n == span.start {
                world.apply(masked(mode.clone()));
            }
        }
        let said = if n < BEFORE { before } else { then };
        let pcm: [i16; 160] = std::array::from_fn(|at| said(160 * n + at) as i16);
        let mut payload = [0; 160];
        match pt {
            0 => g711::encode_ulaw(&pcm, &mut payload),
            _ => g711::encode_alaw(&pcm, &mut payload),
        };
        let packet = rtp(pt, n as u16, 160 * n as u32, 77, &payload);
        if !lost.contains(&n) {
            let _taken_or_not = world.hear(A, &packet);
        }
        world.wait(20);
    }
}

/// Modes that let sound pass, by what stands in the place of keys.
fn modes() -> [MaskMode; 5] {
    let tone = MaskMode::Tone {
        hz: [400].into_iter().collect(),
        level: -10,
    };
    [
        MaskMode::Absorb,
        MaskMode::Silence,
        tone,
        MaskMode::ZeroDigit,
        MaskMode::RandomDigit,
    ]
}

/// Who hears it, in a call, a bridge of two, and a room.
fn worlds(pt: u8) -> [(World, &'static [StreamIx]); 3] {
    let mut pair = world(Scene::Relay, pt);
    bridged(&mut pair, &[A, B]);
    [
        (world(Scene::Relay, pt), hearers(Scene::Relay)),
        (pair, hearers(Scene::Relay)),
        (world(Scene::Bridge, pt), hearers(Scene::Bridge)),
    ]
}

/// The largest step between two samples, and where it is.
fn step(pcm: &[i16]) -> (u16, usize) {
    let steps = pcm.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
    steps.zip(1..).max().expect("samples")
}

/// The hum's own largest step, and the coarsest of G.711, by half of which each sample is off.
fn most() -> u16 {
    let own: Vec<i16> = (0..160).map(|at| hum(at) as i16).collect();
    step(&own).0 + 512
}

#[test]
fn masking_begins_in_a_loud_sound_without_a_step() {
    for pt in [0, 8] {
        for (mode, again) in modes()
            .into_iter()
            .flat_map(|mode| [(mode.clone(), false), (mode, true)])
        {
            for (ix, (mut world, hearers)) in worlds(pt).into_iter().enumerate() {
                say(&mut world, pt, (&mode, again), hum, &[]);
                for hearer in hearers {
                    let (pcm, _) = received(&world, *hearer, pt);
                    let what = format!("{} {again} {ix} law {pt} {hearer:?}", mode.label());
                    assert!(step(&pcm).0 <= most(), "{what}: {:?}", step(&pcm));
                    let loud = pcm.iter().filter(|sample| sample.abs() > 9_000).count();
                    assert!(loud > pcm.len() / 3, "{what}: {loud} of {}", pcm.len());
                }
            }
        }
    }
}

/// Masking ends and begins anew before its look-back was caught up with, as it is, or after.
#[test]
fn masking_that_comes_and_goes_makes_no_step() {
    for pt in [0, 8] {
        for pause in 0..30 {
            let again = 30 + pause..90;
            for (ix, (mut world, hearers)) in worlds(pt).into_iter().enumerate() {
                let spans = [10..30, again.clone()];
                say_masked(
                    &mut world,
                    pt,
                    &MaskMode::Absorb,
                    &spans,
                    [with_a_pause; 2],
                    &[],
                );
                for hearer in hearers {
                    let (pcm, _) = received(&world, *hearer, pt);
                    let what = format!("{pause} {ix} law {pt} {hearer:?}");
                    assert!(step(&pcm).0 <= most(), "{what}: {:?}", step(&pcm));
                }
            }
        }
    }
}

/// A packet that was lost just before masking begins, or as it does: what its listeners would have
/// heard is not known, and nothing may go on from it.
#[test]
fn masking_that_begins_with_a_loss_begins_without_a_step() {
    for lost in [&[BEFORE - 1][..], &[BEFORE], &[BEFORE - 1, BEFORE]] {
        for (pt, again) in [(0, false), (8, false), (0, true), (8, true)] {
            for (ix, (mut world, hearers)) in worlds(pt).into_iter().enumerate() {
                say(&mut world, pt, (&MaskMode::Absorb, again), hum, lost);
                for hearer in hearers {
                    let (pcm, _) = received(&world, *hearer, pt);
                    assert!(step(&pcm).0 <= most(), "{lost:?} {ix}: {:?}", step(&pcm));
                }
            }
        }
    }
}

/// What is said as masking begins is a key: what fades is not that, but what was said before. In a
/// bridge of two the first packet is made longer, and as much as a period of it may pass, faded.
#[test]
fn of_a_key_that_begins_with_masking_nothing_is_found() {
    for pt in [0, 8] {
        for mode in [MaskMode::Absorb, MaskMode::Silence] {
            for (ix, (mut world, hearers)) in worlds(pt).into_iter().enumerate() {
                say(&mut world, pt, (&mode, false), key, &[]);
                for hearer in hearers {
                    let (pcm, _) = received(&world, *hearer, pt);
                    let what = format!("{} {ix} law {pt} {hearer:?}", mode.label());
                    assert_eq!(detected(&pcm).len(), 0, "{what}");
                    assert_eq!(detected_in_blocks(&pcm).len(), 0, "{what}");
                    let last = pcm.iter().rposition(|sample| sample.abs() > 9_000);
                    let after = &pcm[last.expect("it hummed") + 1..];
                    let (fade, rest) = after.split_at(FADE.min(after.len()));
                    // In a room some of the hum waited, and fades itself.
                    let fades = fade.is_sorted_by(|a, b| a >= b) || ix == 2;
                    assert!(fades, "{what}: {fade:?}");
                    let heard = rest.iter().filter(|sample| sample.abs() > 8).count();
                    assert!(heard <= 80, "{what}: {heard} samples");
                }
            }
        }
    }
}
