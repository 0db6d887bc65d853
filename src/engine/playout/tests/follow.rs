//! Decoders that are told what was played in place of what they lost.

use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::playout::follow::FOLLOWED_MAX;

/// Samples beyond a loss that the voice asks for.
const BEYOND: usize = 22;

/// G.711 that says it needs to follow, and keeps what it is told.
struct Follower(Decoder, Arc<Mutex<Vec<Vec<i16>>>>);

impl Voice for Follower {
    fn pcm_hz(&self) -> u32 {
        self.0.pcm_hz()
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        self.0.samples(payload).ok()
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Option<usize> {
        self.0.decode(payload, out).ok()
    }

    fn conceals(&self) -> bool {
        false
    }

    fn conceal(&mut self, _: &mut [i16]) -> bool {
        false
    }

    fn decode_fec(&mut self, _: &[u8], _: &mut [i16]) -> bool {
        false
    }

    fn mends_before(&self, _: &[u8]) -> bool {
        false
    }

    fn follows(&self) -> Option<usize> {
        Some(BEYOND)
    }

    fn follow(&mut self, played: &[i16]) {
        self.1.lock().unwrap().push(played.to_vec());
    }

    fn reset(&mut self) {}
}

/// Packets arrive when `arrival_ms` says, by number; what was pulled, and what the voice was told.
fn heard(arrival_ms: impl Fn(usize) -> Option<u64>, packets: usize) -> (Vec<i16>, Vec<Vec<i16>>) {
    let told = Arc::default();
    let mut playout = Playout::new(PlayoutConfig {
        fixed_ms: Some(0),
        ..PlayoutConfig::default()
    })
    .unwrap();
    let voice = Follower(pcmu(), Arc::clone(&told));
    playout.set_decoder(0, 8_000, voice).unwrap();
    let mut all = Vec::new();
    for tick in 0..packets as u64 + 5 {
        for n in (0..packets).filter(|n| arrival_ms(*n).map(|ms| ms / 20) == Some(tick)) {
            playout.insert(at_ms(arrival_ms(n).unwrap()), &info(n), &packet(n));
        }
        let mut out = [0; FRAME];
        playout.pull(at_ms(20 * tick + 19), &mut out);
        all.extend(out);
    }
    let told = told.lock().unwrap().clone();
    (all, told)
}

#[test]
fn nothing_is_told_without_a_loss() {
    let (_, told) = heard(|n| Some(20 * n as u64), 60);
    assert!(told.is_empty());
    // Late, and played after a wait: the decoder stands where its packet begins.
    let late = |n: usize| Some(20 * n as u64 + if n == 30 { 20 } else { 0 });
    let (_, told) = heard(late, 60);
    assert!(told.is_empty(), "{}", told.len());
}

#[test]
fn a_wait_that_was_a_loss_is_told_as_it_was_played() {
    let (all, told) = heard(|n| (n != 30).then_some(20 * n as u64), 60);
    let [told] = &told[..] else {
        panic!("told {} times", told.len());
    };
    assert_eq!(told.len(), FRAME + BEYOND);
    assert!(all.windows(FRAME).any(|played| *played == told[..FRAME]));
    assert!(told[FRAME..].iter().any(|sample| sample.abs() > 100));
}

#[test]
fn a_loss_whose_successor_is_there_is_told_before_it_is_filled() {
    // The successor of the lost packet comes together with the packet before.
    let (_, told) = heard(
        |n| match n {
            30 => None,
            31 => Some(20 * 29),
            _ => Some(20 * n as u64),
        },
        60,
    );
    let [told] = &told[..] else {
        panic!("told {} times", told.len());
    };
    assert_eq!(told.len(), FRAME + BEYOND);
    // It goes on with what was heard.
    for (n, sample) in told.iter().take(20).enumerate() {
        let off = i32::from(*sample) - i32::from(speech(30 * FRAME + n));
        assert!(off.abs() < 800, "sample {n} is {off} off");
    }
}

#[test]
fn of_a_long_loss_the_end_is_told() {
    let (_, told) = heard(|n| (!(25..35).contains(&n)).then_some(20 * n as u64), 60);
    let [told] = &told[..] else {
        panic!("told {} times", told.len());
    };
    assert!((FRAME + BEYOND..FOLLOWED_MAX).contains(&told.len()));
}
