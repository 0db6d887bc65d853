//! Where a receiver's limits lie: one thing varied, everything else nominal. Never judged.

use anyhow::Result;

use super::corpus::{Class, Corpus, Extent, Label, Maker};
use super::line::{Codec, Line};
use super::sound::{Colour, Dropout, Press, Sine};

/// Fills one point.
type Fill = fn(&mut Maker<'_>, f64) -> Result<()>;

/// A sweep: name, unit, its points and what lies at each.
const SWEEPS: &[(&str, &str, &[i32], Fill)] = &[
    ("tone length", "ms", &LENGTHS_MS, tone_length),
    ("twist, high above low", "dB", &DECIBELS, |m, db| {
        plain(m, tilted(db))
    }),
    ("twist, low above high", "dB", &DECIBELS, |m, db| {
        plain(m, tilted(-db))
    }),
    ("both tones off", "%/10", &DEVIATIONS, |m, off| {
        signs(m, |low, high| (low * off / 10.0, high * off / 10.0))
    }),
    ("low tone off", "%/10", &DEVIATIONS, |m, off| {
        signs(m, |low, _| (low * off / 10.0, 0.0))
    }),
    ("high tone off", "%/10", &DEVIATIONS, |m, off| {
        signs(m, |_, high| (0.0, high * off / 10.0))
    }),
    ("level per tone", "dBm0", &LEVELS, |m, dbm0| {
        plain(m, Press::new(dbm0, 60.0, 60.0))
    }),
    ("white noise, 50 ms", "dB", &SNRS, |m, snr| {
        noisy(m, snr, 50.0, Colour::White)
    }),
    ("white noise, 100 ms", "dB", &SNRS, |m, snr| {
        noisy(m, snr, 100.0, Colour::White)
    }),
    ("pink noise, 50 ms", "dB", &SNRS, |m, snr| {
        noisy(m, snr, 50.0, Colour::Pink)
    }),
    ("dial tone 350 + 440 Hz", "dB", &DIAL_DB, |m, db| {
        dial_tone(m, db, &[350.0, 440.0])
    }),
    ("dial tone 425 Hz", "dB", &DIAL_DB, |m, db| {
        dial_tone(m, db, &[425.0])
    }),
    ("dropout", "ms", &[2, 5, 8, 10, 12, 15, 20, 25], dropout),
    ("pause", "ms", &[10, 15, 20, 25, 28, 30, 35, 40], pause),
    ("lost packets, 100 ms", "%", &[0, 1, 3, 5, 10, 20], lost),
    (
        "lost packets, 100 ms, Opus",
        "%",
        &[0, 1, 3, 5, 10, 20],
        lost_opus,
    ),
];

const LENGTHS_MS: [i32; 20] = [
    14, 16, 18, 20, 22, 23, 24, 25, 26, 28, 30, 31, 32, 33, 34, 35, 36, 38, 40, 42,
];
const DECIBELS: [i32; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const DEVIATIONS: [i32; 13] = [0, 5, 10, 13, 15, 18, 20, 23, 25, 28, 30, 35, 40];
const LEVELS: [i32; 14] = [
    -3, -15, -25, -27, -29, -31, -33, -36, -39, -42, -45, -48, -52, -55,
];
const SNRS: [i32; 12] = [24, 20, 18, 15, 13, 12, 11, 10, 8, 6, 3, 0];
const DIAL_DB: [i32; 13] = [-13, -10, -6, -3, 0, 3, 6, 8, 10, 12, 15, 18, 22];

/// Per cent of the packets.
const LOSSES: [u8; 6] = [0, 1, 3, 5, 10, 20];

/// Adds all sweeps.
pub(super) fn add(corpus: &mut Corpus) -> Result<()> {
    for (name, clause, points, fill) in SWEEPS {
        for point in *points {
            let class = Class {
                name,
                label: Label::Grey,
                clause,
                point: Some(f64::from(*point)),
                timed: false,
            };
            fill(&mut corpus.class(class, Extent::Full), f64::from(*point))?;
        }
    }
    Ok(())
}

/// Streams of sixteen keys at each point of a sweep.
const STREAMS: usize = 6;

fn plain(maker: &mut Maker<'_>, press: Press) -> Result<()> {
    for _ in 0..STREAMS {
        maker.all_keys(&Line::clean(), &press)?;
    }
    Ok(())
}

fn tilted(twist_db: f64) -> Press {
    Press::new(0.0, 60.0, 60.0).twisted_from(-6.0, twist_db)
}

fn tone_length(maker: &mut Maker<'_>, ms: f64) -> Result<()> {
    plain(maker, Press::new(-10.0, ms, 70.0))
}

/// Each combination of signs.
fn signs(maker: &mut Maker<'_>, off: impl Fn(f64, f64) -> (f64, f64)) -> Result<()> {
    for (low, high) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
        let (low, high) = off(low, high);
        for _ in 0..2 {
            maker.all_keys(
                &Line::clean(),
                &Press::new(-10.0, 60.0, 60.0).off(low, high),
            )?;
        }
    }
    Ok(())
}

fn noisy(maker: &mut Maker<'_>, snr_db: f64, on_ms: f64, colour: Colour) -> Result<()> {
    let press = Press::new(-12.0, on_ms, on_ms);
    let mut line = Line::clean();
    line.noise = Some((colour, press.dbm0() - snr_db));
    for _ in 0..STREAMS {
        maker.all_keys(&line, &press)?;
    }
    Ok(())
}

fn dial_tone(maker: &mut Maker<'_>, over_db: f64, tones: &[f64]) -> Result<()> {
    let mut line = Line::clean();
    let dbm0 = -25.0;
    line.steady = tones
        .iter()
        .map(|hz| Sine::new(*hz, dbm0 + over_db))
        .collect();
    for _ in 0..STREAMS {
        maker.all_keys(&line, &Press::new(dbm0, 70.0, 70.0))?;
    }
    Ok(())
}

fn dropout(maker: &mut Maker<'_>, ms: f64) -> Result<()> {
    for _ in 0..2 * STREAMS {
        let mut press = Press::new(-10.0, 150.0, 80.0);
        press.dropout = Some(Dropout {
            at_ms: 45.0 + 20.0 * maker.rng.f64(),
            ms,
            new_phase: false,
        });
        maker.all_keys(&Line::clean(), &press)?;
    }
    Ok(())
}

fn pause(maker: &mut Maker<'_>, ms: f64) -> Result<()> {
    for _ in 0..2 * STREAMS {
        maker.one_key(&Line::clean(), &Press::new(-10.0, 80.0, ms))?;
    }
    Ok(())
}

fn lost(maker: &mut Maker<'_>, percent: f64) -> Result<()> {
    packets(maker, percent, Codec::Pcmu)
}

/// Nothing where libopus is not built in.
fn lost_opus(maker: &mut Maker<'_>, percent: f64) -> Result<()> {
    if cfg!(feature = "opus") {
        packets(maker, percent, Codec::Opus16k)
    } else {
        Ok(())
    }
}

fn packets(maker: &mut Maker<'_>, percent: f64, codec: Codec) -> Result<()> {
    let mut line = Line::coded(codec);
    let permille = LOSSES.iter().find(|loss| f64::from(**loss) == percent);
    line.lost_permille = permille.map_or(0, |loss| 10 * u16::from(*loss));
    for _ in 0..2 * STREAMS {
        maker.all_keys(&line, &Press::new(-10.0, 100.0, 80.0))?;
    }
    Ok(())
}
