//! What must never be a digit.

use anyhow::Result;

use super::corpus::{Class, Corpus, Extent, Label, Maker};
use super::sound::{Burst, Colour, Content, Press, Sine};

type Fill = fn(&mut Maker<'_>) -> Result<()>;

const CLASSES: &[(&str, &str, Fill)] = &[
    ("off frequency", "Q.24 NTT: from 3.0 %", frequency),
    ("too weak", "Q.24 AT&T: up to -55 dBm0", level),
    ("too short", "Q.24 AT&T: up to 23 ms", duration),
    ("one tone", "Q.24: two tones make a digit", single),
    ("call progress", "E.180, T.30, V.25, SIT", progress),
    (
        "other signalling",
        "R1, R2, V.21, V.23, Bell 103",
        signalling,
    ),
    ("noise bursts", "Bellcore: no digits in noise", noise),
];

/// Adds all classes that must not be detected.
pub(super) fn add(corpus: &mut Corpus, extent: Extent) -> Result<()> {
    for (name, clause, fill) in CLASSES {
        let class = Class {
            name,
            label: Label::Reject,
            clause,
            point: None,
            timed: false,
        };
        fill(&mut corpus.class(class, extent))?;
    }
    Ok(())
}

fn frequency(maker: &mut Maker<'_>) -> Result<()> {
    for off in [3.0, 3.5, 4.0, 5.0] {
        for (low, high) in [
            (1, 0),
            (-1, 0),
            (0, 1),
            (0, -1),
            (1, 1),
            (1, -1),
            (-1, 1),
            (-1, -1),
        ] {
            for on_ms in [50.0, 100.0, 200.0] {
                for dbm0 in [-6.0, -14.0] {
                    let line = maker.quiet();
                    let press = Press::new(dbm0, on_ms, 70.0);
                    maker.all_keys(
                        &line,
                        &press.off(off * f64::from(low), off * f64::from(high)),
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn level(maker: &mut Maker<'_>) -> Result<()> {
    for dbm0 in [-55, -57, -60, -65] {
        for on_ms in [50.0, 100.0, 200.0, 500.0] {
            for _ in 0..2 {
                let line = super::line::Line::clean();
                maker.all_keys(&line, &Press::new(dbm0.into(), on_ms, 70.0))?;
            }
        }
    }
    Ok(())
}

fn duration(maker: &mut Maker<'_>) -> Result<()> {
    for on_ms in [5, 8, 10, 12, 15, 17, 19, 20, 21, 22, 23] {
        for dbm0 in [0, -3, -6, -9, -12, -15, -18, -21] {
            let line = maker.quiet();
            let press = Press::new(dbm0.into(), on_ms.into(), 80.0);
            maker.all_keys(&line, &press)?;
        }
    }
    Ok(())
}

/// Sixteen bursts of the same sines.
fn sines(maker: &mut Maker<'_>, tones: &[(f64, f64)], on_ms: f64, off_ms: f64) -> Result<()> {
    let sines = tones.iter().map(|(hz, dbm0)| Sine::new(*hz, *dbm0));
    repeat(maker, Content::Sines(sines.collect()), on_ms, off_ms)
}

fn repeat(maker: &mut Maker<'_>, content: Content, on_ms: f64, off_ms: f64) -> Result<()> {
    let burst = Burst {
        digit: None,
        content,
        on_ms,
        off_ms,
        dropout: None,
    };
    let line = maker.quiet();
    maker.stream(&line, &vec![burst; 16])
}

fn single(maker: &mut Maker<'_>) -> Result<()> {
    let low = [697.0, 770.0, 852.0, 941.0];
    let high = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
    for hz in low.into_iter().chain(high) {
        for dbm0 in [0.0, -12.0] {
            sines(maker, &[(hz, dbm0)], 100.0, 60.0)?;
        }
    }
    for group in [low, high] {
        for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
            sines(maker, &[(group[a], -9.0), (group[b], -9.0)], 100.0, 60.0)?;
        }
    }
    Ok(())
}

fn progress(maker: &mut Maker<'_>) -> Result<()> {
    let kinds: [&[f64]; 12] = [
        &[350.0, 440.0],
        &[425.0],
        &[440.0, 480.0],
        &[480.0, 620.0],
        &[400.0, 450.0],
        // SIT, its three tones.
        &[950.0],
        &[1_400.0],
        &[1_800.0],
        // Fax calling and answering, modem answering, zip tone.
        &[1_100.0],
        &[2_100.0],
        &[2_225.0],
        &[480.0],
    ];
    for tones in kinds {
        for dbm0 in [-3.0, -13.0] {
            let tones: Vec<_> = tones.iter().map(|hz| (*hz, dbm0)).collect();
            sines(maker, &tones, 330.0, 100.0)?;
        }
    }
    Ok(())
}

fn signalling(maker: &mut Maker<'_>) -> Result<()> {
    // R1 pairs, but for 700 + 1300 and 700 + 1500 Hz, which are within the tolerance of keys.
    let r1 = [700.0, 900.0, 1_100.0, 1_300.0, 1_500.0, 1_700.0];
    let forward = [1_380.0, 1_500.0, 1_620.0, 1_740.0, 1_860.0, 1_980.0];
    let backward = [1_140.0, 1_020.0, 900.0, 780.0, 660.0, 540.0];
    for set in [r1, forward, backward] {
        for (n, a) in set.iter().enumerate() {
            for b in &set[n + 1..] {
                if *a == 700.0 && [1_300.0, 1_500.0].contains(b) {
                    continue;
                }
                sines(maker, &[(*a, -8.0), (*b, -8.0)], 70.0, 60.0)?;
            }
        }
    }
    let modems = [
        ([1_180.0, 980.0], 300.0),
        ([1_850.0, 1_650.0], 300.0),
        ([2_100.0, 1_300.0], 1_200.0),
        ([1_070.0, 1_270.0], 300.0),
        ([2_025.0, 2_225.0], 300.0),
        ([1_700.0, 1_300.0], 600.0),
    ];
    for (hz, baud) in modems {
        for dbm0 in [-6.0, -15.0] {
            repeat(maker, Content::Fsk { hz, baud, dbm0 }, 500.0, 100.0)?;
        }
    }
    Ok(())
}

fn noise(maker: &mut Maker<'_>) -> Result<()> {
    for colour in [Colour::White, Colour::Pink] {
        for dbm0 in [-5.0, -15.0, -25.0, -35.0] {
            for on_ms in [60.0, 250.0, 1_000.0] {
                repeat(maker, Content::Noise(colour, dbm0), on_ms, 80.0)?;
            }
        }
    }
    Ok(())
}
