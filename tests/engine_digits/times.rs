//! When keys in the audio began and ended, as is told, by what was said.
//!
//! `CROSSPOINT_PRESSES` sets how many are pressed for each codec; by default there are less than
//! for docs/dtmf.md, as a debug build is slow.

use super::tones::{Speech, TONES, arrive, voice};
use super::*;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::opus::OpusConfig;

/// A press is of so many milliseconds and a random part of a packet, and so is the pause.
const PRESS_MS: f64 = 80.0;

/// Milliseconds of a packet.
const PACKET_MS: f64 = 20.0;

/// Times are to be told within so many milliseconds.
const BAR_MS: f64 = 10.0;

/// How far off the truth edges were told.
#[derive(Debug, Default)]
struct Off {
    /// Of edges that came.
    outside: Vec<f64>,
    /// Of those inside a lost packet.
    inside: Vec<f64>,
}

impl Off {
    fn add(&mut self, told_ms: f64, true_ms: f64, lost: bool) {
        let off = told_ms - true_ms;
        match lost {
            true => self.inside.push(off),
            false => self.outside.push(off),
        }
    }
}

/// Number, those off by more than [`BAR_MS`], the middle one, and the one that is off most.
fn figures(off: &[f64]) -> (usize, usize, f64, f64) {
    let mut sorted = off.to_vec();
    sorted.sort_by(f64::total_cmp);
    let beyond = off.iter().filter(|off| off.abs() > BAR_MS).count();
    let middle = sorted.get(off.len() / 2).copied().unwrap_or(0.0);
    let worst = off.iter().fold(0.0, |worst: f64, off| worst.max(off.abs()));
    (off.len(), beyond, middle, worst)
}

fn presses() -> usize {
    let set = std::env::var("CROSSPOINT_PRESSES").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(60)
}

/// Presses that have ended: when each began and ended, in milliseconds since the beginning.
fn spans(world: &mut World) -> Vec<(f64, f64)> {
    let outputs = std::mem::take(&mut world.outputs);
    let start = world.start;
    let ended = outputs.into_iter().filter_map(|output| match output {
        Output::Event(event) => match event.kind {
            EventKind::DigitEnded(press) => {
                let at = event.at - start;
                let began = at.checked_sub(press.began_before)?;
                let ms = |span: std::time::Duration| span.as_secs_f64() * 1_000.0;
                Some((ms(began), ms(began + press.duration)))
            }
            _ => None,
        },
        _ => None,
    });
    ended.collect()
}

/// Starts and ends of presses through a codec; of a hundred packets `loses` are lost.
fn measured(pt: u8, kind: CodecKind, loses: u8) -> (Off, Off) {
    let late_ms = f64::from(
        CodecConfig {
            opus: OpusConfig::at(8_000),
            g722_hz: 8_000,
            ..CodecConfig::new(kind)
        }
        .delay_us(),
    ) / 1_000.0;
    let (mut starts, mut ends) = (Off::default(), Off::default());
    for seed in 0..presses().div_ceil(20) as u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = world(TONES);
        world.apply(Change::Voice(A, voice(pt, kind)));
        let mut speech = Speech::new(A, pt, kind).quiet(200.0);
        let mut truth = Vec::new();
        for _ in 0..20 {
            let spread = |random: &mut fastrand::Rng| PRESS_MS + PACKET_MS * random.f64();
            speech = speech.quiet(spread(&mut random));
            let start = speech.said_ms();
            speech = speech.key(random.u8(..16), spread(&mut random));
            truth.push((start, speech.said_ms()));
        }
        let mut speech = speech.quiet(300.0);
        let mut lost = Vec::new();
        for (n, packet) in speech.packets().into_iter().enumerate() {
            if random.u8(..100) < loses {
                lost.push(n as f64 * PACKET_MS);
            } else {
                arrive(&mut world, A, &packet);
            }
            world.wait(20);
        }
        world.wait(1_000);
        // A packet comes here as it begins, and is taken to come when it is over.
        let told: Vec<_> = spans(&mut world)
            .into_iter()
            .map(|(began, ended)| (began + PACKET_MS, ended + PACKET_MS))
            .collect();
        // What a packet is decoded to is what was said a little before it as well.
        let is_lost = |at: f64| {
            let mut lost = lost.iter();
            lost.any(|from| (from - late_ms..from + PACKET_MS).contains(&at))
        };
        for (start, end) in truth {
            let mut near = told
                .iter()
                .filter(|(began, ended)| *began < end && start < *ended);
            // One that was missed, or torn, has no times to be told of.
            let (Some((began, ended)), None) = (near.next(), near.next()) else {
                continue;
            };
            starts.add(*began, start, is_lost(start));
            ends.add(*ended, end, is_lost(end));
        }
    }
    (starts, ends)
}

/// Always where nothing is lost, whatever the codec; with losses nearly always, where the packet of
/// the edge came.
#[test]
fn starts_and_ends_are_told_within_10_ms() {
    let codecs = [
        (0, CodecKind::Pcmu),
        (9, CodecKind::G722),
        #[cfg(feature = "opus")]
        (111, CodecKind::Opus),
    ];
    println!("| codec | lost, % | edges | within 10 ms, off by p50 / most | in a lost packet |");
    for (pt, kind) in codecs {
        for loses in [0, 3] {
            let (starts, ends) = measured(pt, kind, loses);
            for (what, off) in [("starts", &starts), ("ends", &ends)] {
                let (all, beyond, middle, worst) = figures(&off.outside);
                let (torn, torn_beyond, _, torn_worst) = figures(&off.inside);
                let within = all - beyond;
                println!(
                    "| {kind} | {loses} | {what} | {within} of {all}, {middle:.1} / {worst:.1} \
                     | {} of {torn}, most {torn_worst:.1} |",
                    torn - torn_beyond
                );
                assert!(all * 10 > presses() * 8, "{kind} {loses}: {all} {what}");
                // A loss beside an edge hides what a detector needs to place it.
                let allowed = if loses == 0 { 0 } else { all / 10 };
                assert!(
                    beyond <= allowed,
                    "{kind} {loses}: {beyond} of {all} {what}"
                );
            }
        }
    }
}
