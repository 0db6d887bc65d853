//! What must be detected exactly once: each limit of the recommendations alone, then together.
//!
//! Columns of ITU-T Q.24 Table A-1, ETSI ES 201 235-3 and the Bellcore practice. Exactly at a
//! limit counts as within it. A press that is off in one thing is nominal in all others.

use anyhow::Result;

use super::corpus::{Class, Corpus, Extent, Label, Maker};
use super::line::{Codec, Line};
use super::sound::{Colour, Dropout, Press, Sine, amplitude};

/// Fills a class, see [`add`].
type Fill = fn(&mut Maker<'_>) -> Result<()>;

/// A class, the text that demands it, whether its positions can be compared, and its streams.
const CLASSES: &[(&str, &str, bool, Fill)] = &[
    ("nominal", "Q.23, Q.24", true, nominal),
    ("level", "Q.24 AT&T: 0 to -25 dBm0 per tone", true, level),
    (
        "twist",
        "Q.24 AT&T: high minus low +4 to -8 dB",
        true,
        twist,
    ),
    ("frequency", "Q.24 AT&T: 1.5 %", true, frequency),
    ("duration", "Q.24: from 40 ms", true, duration),
    ("pause", "Q.24 NTT: from 30 ms, the same key", true, pause),
    ("interruption", "Q.24: up to 10 ms", true, interruption),
    ("rate", "Q.24 AT&T: from 93 ms per digit", true, rate),
    ("ntt", "Q.24 NTT: 1.8 %; 5 dB; -3 to -24 dBm0", true, ntt),
    ("cept", "ES 201 235-3, CEPT: 1.5 % + 2 Hz; 6 dB", true, cept),
    ("corner", "Q.24 AT&T: all limits at once", true, corner),
    (
        "corner ntt",
        "Q.24 NTT: all limits at once",
        true,
        corner_ntt,
    ),
    ("echo", "Q.24 AT&T: 20 ms late, 10 dB down", false, echo),
    (
        "line",
        "Q.23: hum, offset, distortion 20 dB down, slope",
        true,
        line,
    ),
    ("white noise", "Bellcore: 15 dB and more", true, white_noise),
    ("pink noise", "Bellcore: 15 dB and more", true, pink_noise),
    ("noise 12 dB", "aim: 50 ms at 12 dB", true, noise_12_db),
    (
        "dial tone",
        "aim: each of its tones up to 10 dB above the digit's",
        true,
        dial_tone,
    ),
    ("µ-law", "G.711", true, |maker| coded(maker, Codec::Pcmu)),
    ("A-law", "G.711", true, |maker| coded(maker, Codec::Pcma)),
    ("G.722", "aim: 64 kbit/s", false, |maker| {
        coded(maker, Codec::G722)
    }),
    ("drift", "sender's clock off by up to 1 %", false, drift),
    ("slip", "a sample slipped each 50 ms", false, slip),
    (
        "loss",
        "aim: 3 % of packets lost, concealed",
        false,
        |maker| lossy(maker, Codec::Pcmu),
    ),
    (
        "G.722 loss",
        "aim: 64 kbit/s, 3 % of packets lost",
        false,
        |maker| lossy(maker, Codec::G722),
    ),
];

/// What needs libopus.
const OPUS_CLASSES: &[(&str, &str, bool, Fill)] = &[
    ("Opus", "aim: 16 kbit/s", false, |maker| {
        coded(maker, Codec::Opus16k)
    }),
    (
        "Opus loss",
        "aim, Q.24: 16 kbit/s, 3 % of packets lost; 40 ms whole",
        false,
        opus_lossy,
    ),
];

/// Adds all classes that must be detected.
pub(super) fn add(corpus: &mut Corpus, extent: Extent) -> Result<()> {
    let opus = if cfg!(feature = "opus") {
        OPUS_CLASSES
    } else {
        &[]
    };
    for (name, clause, timed, fill) in CLASSES.iter().chain(opus) {
        let class = Class {
            name,
            label: Label::Detect,
            clause,
            point: None,
            timed: *timed,
        };
        fill(&mut corpus.class(class, extent))?;
    }
    Ok(())
}

/// On and off of presses that are nominal in time, ms.
const TIMINGS_MS: [(f64, f64); 3] = [(50.0, 50.0), (70.0, 70.0), (100.0, 60.0)];

/// Both signs of two things.
const SIGNS: [(f64, f64); 4] = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)];

fn nominal(maker: &mut Maker<'_>) -> Result<()> {
    for dbm0 in [-4.0, -7.0, -10.0, -15.0, -20.0] {
        for (on_ms, off_ms) in TIMINGS_MS.into_iter().chain([(65.0, 45.0), (200.0, 100.0)]) {
            for _ in 0..3 {
                let line = maker.quiet();
                maker.all_keys(&line, &Press::new(dbm0, on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}

fn level(maker: &mut Maker<'_>) -> Result<()> {
    for dbm0 in [0, -1, -3, -6, -9, -12, -15, -18, -21, -24, -25] {
        for (on_ms, off_ms) in TIMINGS_MS {
            for _ in 0..2 {
                let line = maker.quiet();
                maker.all_keys(&line, &Press::new(dbm0.into(), on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}

fn twist(maker: &mut Maker<'_>) -> Result<()> {
    for twist_db in [-8, -7, -6, -4, -2, 2, 3, 4] {
        for (on_ms, off_ms) in TIMINGS_MS {
            for dbm0 in [-3.0, -8.0, -14.0] {
                let line = maker.quiet();
                let press = Press::new(0.0, on_ms, off_ms);
                maker.all_keys(&line, &press.twisted_from(dbm0, twist_db.into()))?;
            }
        }
    }
    Ok(())
}

fn frequency(maker: &mut Maker<'_>) -> Result<()> {
    let parts = [-1.5, -1.0, -0.5, 0.5, 1.0, 1.5];
    let both = parts.iter().flat_map(|low| parts.map(|high| (*low, high)));
    let one = [(1.5, 0.0), (-1.5, 0.0), (0.0, 1.5), (0.0, -1.5)];
    for (low, high) in both.chain(one) {
        for (on_ms, off_ms) in TIMINGS_MS {
            let line = maker.quiet();
            maker.all_keys(&line, &Press::new(-10.0, on_ms, off_ms).off(low, high))?;
        }
    }
    Ok(())
}

fn duration(maker: &mut Maker<'_>) -> Result<()> {
    let lengths_ms = [
        40, 41, 42, 43, 44, 46, 48, 50, 55, 60, 70, 80, 100, 150, 300, 1_000,
    ];
    for on_ms in lengths_ms {
        for n in 0..6 {
            let line = maker.quiet();
            let off_ms = 60.0 + f64::from(n) * 7.0;
            maker.all_keys(&line, &Press::new(-10.0, on_ms.into(), off_ms))?;
        }
    }
    Ok(())
}

fn pause(maker: &mut Maker<'_>) -> Result<()> {
    for off_ms in [30, 31, 33, 35, 40, 45, 60] {
        for on_ms in [60.0, 90.0, 150.0] {
            for n in 0..5 {
                let line = maker.quiet();
                let press = Press::new(-8.0 - 2.0 * f64::from(n), on_ms, off_ms.into());
                maker.one_key(&line, &press)?;
            }
        }
    }
    Ok(())
}

fn interruption(maker: &mut Maker<'_>) -> Result<()> {
    for ms in 1..=10 {
        for on_ms in [100.0, 160.0, 250.0] {
            for new_phase in [false, true] {
                let mut press = Press::new(-10.0, on_ms, 70.0);
                let ms = f64::from(ms);
                // Long enough before it to be heard, and still a signal behind it.
                let at_ms = 42.0 + maker.rng.f64() * (on_ms - 42.0 - ms - 30.0);
                press.dropout = Some(Dropout {
                    at_ms,
                    ms,
                    new_phase,
                });
                let line = maker.quiet();
                maker.all_keys(&line, &press)?;
            }
        }
    }
    Ok(())
}

fn rate(maker: &mut Maker<'_>) -> Result<()> {
    let timings = [
        (40.0, 53.0),
        (43.0, 50.0),
        (45.0, 48.0),
        (48.0, 45.0),
        (50.0, 43.0),
        (53.0, 40.0),
        (50.0, 50.0),
    ];
    for (on_ms, off_ms) in timings {
        for dbm0 in [-5.0, -9.0, -13.0, -17.0, -21.0, -24.0] {
            for _ in 0..2 {
                let line = maker.quiet();
                maker.all_keys(&line, &Press::new(dbm0, on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}

fn ntt(maker: &mut Maker<'_>) -> Result<()> {
    for (on_ms, off_ms) in TIMINGS_MS {
        for (low, high) in SIGNS {
            for dbm0 in [-6.0, -12.0, -18.0] {
                let line = maker.quiet();
                let press = Press::new(dbm0, on_ms, off_ms);
                maker.all_keys(&line, &press.off(1.8 * low, 1.8 * high))?;
            }
        }
        for twist_db in [-5.0, 5.0] {
            for dbm0 in [-3.0, -6.0, -12.0, -18.0] {
                let line = maker.quiet();
                let press = Press::new(0.0, on_ms, off_ms);
                maker.all_keys(&line, &press.twisted_from(dbm0, twist_db))?;
            }
        }
    }
    Ok(())
}

fn cept(maker: &mut Maker<'_>) -> Result<()> {
    for (on_ms, off_ms) in TIMINGS_MS {
        for (low, high) in SIGNS {
            for dbm0 in [-6.0, -12.0, -18.0] {
                let line = maker.quiet();
                let mut press = Press::new(dbm0, on_ms, off_ms).off(1.5 * low, 1.5 * high);
                press.off_hz = 2.0;
                maker.all_keys(&line, &press)?;
            }
        }
        for twist_db in [-6.0, 6.0] {
            for dbm0 in [-3.0, -6.0, -12.0, -18.0] {
                let line = maker.quiet();
                let press = Press::new(0.0, on_ms, off_ms);
                maker.all_keys(&line, &press.twisted_from(dbm0, twist_db))?;
            }
        }
    }
    Ok(())
}

fn corner(maker: &mut Maker<'_>) -> Result<()> {
    for (low, high) in SIGNS {
        for twist_db in [4.0, -8.0] {
            for weak in [true, false] {
                for _ in 0..4 {
                    let press = Press::new(0.0, 40.0, 53.0).off(1.5 * low, 1.5 * high);
                    let press = if weak {
                        press.twisted_to(-25.0, twist_db)
                    } else {
                        press.twisted_from(0.0, twist_db)
                    };
                    let line = maker.quiet();
                    maker.all_keys(&line, &press)?;
                }
            }
        }
    }
    Ok(())
}

fn corner_ntt(maker: &mut Maker<'_>) -> Result<()> {
    for (low, high) in SIGNS {
        for twist_db in [5.0, -5.0] {
            for weak in [true, false] {
                for (on_ms, off_ms) in [(40.0, 80.0), (90.0, 30.0)] {
                    let press = Press::new(0.0, on_ms, off_ms).off(1.8 * low, 1.8 * high);
                    let press = if weak {
                        press.twisted_to(-24.0, twist_db)
                    } else {
                        press.twisted_from(-3.0, twist_db)
                    };
                    let line = maker.quiet();
                    maker.all_keys(&line, &press)?;
                }
            }
        }
    }
    Ok(())
}

fn echo(maker: &mut Maker<'_>) -> Result<()> {
    for delay_ms in [5.0, 10.0, 15.0, 20.0] {
        for down_db in [10.0, 13.0, 16.0] {
            for (on_ms, off_ms) in TIMINGS_MS {
                for sign in [1.0, -1.0] {
                    let mut line = maker.quiet();
                    let gain = 10.0_f64.powf(-down_db / 20.0);
                    line.echo = Some((delay_ms, sign * gain));
                    maker.all_keys(&line, &Press::new(-10.0, on_ms, off_ms))?;
                }
            }
        }
    }
    Ok(())
}

fn line(maker: &mut Maker<'_>) -> Result<()> {
    for dbm0 in [-6.0, -10.0, -16.0] {
        for (on_ms, off_ms) in TIMINGS_MS {
            let press = Press::new(dbm0, on_ms, off_ms);
            for hz in [50.0, 60.0] {
                let mut hum = maker.quiet();
                hum.steady = vec![Sine::new(hz, -30.0), Sine::new(3.0 * hz, -40.0)];
                maker.all_keys(&hum, &press)?;
            }
            for dc in [0.01, -0.02] {
                let mut offset = maker.quiet();
                offset.dc = dc;
                maker.all_keys(&offset, &press)?;
            }
            let mut bent = maker.quiet();
            // Four products of the third order, each 26 dB below a tone: together 23 below both.
            let peak = amplitude(dbm0);
            bent.cubic = 0.05 / (0.75 * peak * peak);
            maker.all_keys(&bent, &press)?;
            for tilt in [0.25, -0.25] {
                let mut sloped = maker.quiet();
                sloped.tilt = tilt;
                maker.all_keys(&sloped, &press)?;
            }
        }
    }
    Ok(())
}

fn white_noise(maker: &mut Maker<'_>) -> Result<()> {
    noisy(maker, Colour::White)
}

fn pink_noise(maker: &mut Maker<'_>) -> Result<()> {
    noisy(maker, Colour::Pink)
}

/// SNR: power of both tones by that of the noise, from 0 to 4 kHz.
fn noisy(maker: &mut Maker<'_>, colour: Colour) -> Result<()> {
    for snr_db in [15.0, 17.0, 20.0, 24.0] {
        for (on_ms, off_ms) in TIMINGS_MS {
            for dbm0 in [-7.0, -12.0, -17.0, -22.0] {
                for _ in 0..2 {
                    let press = Press::new(dbm0, on_ms, off_ms);
                    let mut line = Line::clean();
                    line.noise = Some((colour, press.dbm0() - snr_db));
                    maker.all_keys(&line, &press)?;
                }
            }
        }
    }
    Ok(())
}

fn noise_12_db(maker: &mut Maker<'_>) -> Result<()> {
    for dbm0 in [-8.0, -12.0, -16.0, -20.0] {
        for _ in 0..8 {
            let press = Press::new(dbm0, 50.0, 50.0);
            maker.all_keys(&Line::noisy(press.dbm0() - 12.0), &press)?;
        }
    }
    Ok(())
}

/// Dial tones: United States, most of Europe, United Kingdom.
pub(super) const DIAL_TONES_HZ: [&[f64]; 3] = [&[350.0, 440.0], &[425.0], &[350.0, 450.0]];

fn dial_tone(maker: &mut Maker<'_>) -> Result<()> {
    for tones in DIAL_TONES_HZ {
        for over_db in [-10.0, 0.0, 5.0, 10.0] {
            for (on_ms, off_ms) in TIMINGS_MS {
                for dbm0 in [-16.0, -22.0] {
                    let mut line = maker.quiet();
                    let dial = |hz: &f64| Sine::new(*hz, dbm0 + over_db);
                    line.steady = tones.iter().map(dial).collect();
                    maker.all_keys(&line, &Press::new(dbm0, on_ms, off_ms))?;
                }
            }
        }
    }
    Ok(())
}

fn coded(maker: &mut Maker<'_>, codec: Codec) -> Result<()> {
    for dbm0 in [-4.0, -10.0, -17.0, -24.0] {
        for (on_ms, off_ms) in TIMINGS_MS {
            for _ in 0..3 {
                maker.all_keys(&Line::coded(codec), &Press::new(dbm0, on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}

fn drift(maker: &mut Maker<'_>) -> Result<()> {
    for pace in [0.99, 0.995, 0.999, 1.001, 1.005, 1.01] {
        for (on_ms, off_ms) in TIMINGS_MS {
            for _ in 0..2 {
                let mut line = maker.quiet();
                line.pace = pace;
                maker.all_keys(&line, &Press::new(-10.0, on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}

fn slip(maker: &mut Maker<'_>) -> Result<()> {
    for dbm0 in [-6.0, -12.0, -18.0, -24.0] {
        for (on_ms, off_ms) in TIMINGS_MS {
            for _ in 0..2 {
                let mut line = maker.quiet();
                line.slip_ms = Some(50.0);
                maker.all_keys(&line, &Press::new(dbm0, on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}

/// Opus plays what is neither tone nor silence for a packet lost. So 20 ms are gone, and only of
/// what still has the 40 ms of Q.24 in one piece can anything be demanded.
fn opus_lossy(maker: &mut Maker<'_>) -> Result<()> {
    maker.spare_torn();
    lossy(maker, Codec::Opus16k)
}

/// Long enough that what a lost packet leaves can be heard.
fn lossy(maker: &mut Maker<'_>, codec: Codec) -> Result<()> {
    for dbm0 in [-6.0, -12.0, -18.0] {
        for (on_ms, off_ms) in [(80.0, 80.0), (100.0, 100.0), (160.0, 100.0)] {
            for _ in 0..6 {
                let mut line = Line::coded(codec);
                line.lost_permille = 30;
                maker.all_keys(&line, &Press::new(dbm0, on_ms, off_ms))?;
            }
        }
    }
    Ok(())
}
