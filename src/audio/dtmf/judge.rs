//! Whether a pair of tones is a key.
//!
//! Some properties have hard limits: level, length, how far a frequency or the twist may be. What
//! passes them is still heard in speech, a few times an hour. But a sender's tone that is impaired
//! has one flaw, or two: noise takes from its share, a slip from its phase, an echo from its
//! steadiness. A voice has a little of all. So each flaw is measured against what is the most in
//! use, and their squares add up.

use super::close::{Close, INSIDE_MAX, STEP, Track, present, response, split, squares};
use super::frontend::Window;
use super::screen::{Found, Pair};
use super::tables::LONG;
use crate::audio::tone::FULL_SCALE_DBM0;

/// What is asked of a tone at some age.
#[derive(Debug, Clone, Copy)]
struct Bar {
    /// Samples since it began.
    length_min: f32,
    /// Windows that must be inside of it.
    inside: usize,
    /// Share of the power that its two tones have; alone, and beside a dial tone.
    share_min: [f32; 2],
    /// Share that they lack, which counts as one flaw.
    lack: f32,
    flaw_max: f32,
}

/// A pure tone after 29.5 ms, when one of 24 ms is over; one in noise at 8 dB has more to show.
const BARS: [Bar; 2] = [
    Bar {
        length_min: 236.0,
        inside: 8,
        share_min: [0.90, 0.94],
        lack: 0.12,
        flaw_max: 1.2,
    },
    Bar {
        length_min: 320.0,
        inside: INSIDE_MAX,
        share_min: SHARES_LEAST,
        lack: 0.24,
        flaw_max: 1.0,
    },
];
/// The least shares that are ever accepted.
const SHARES_LEAST: [f32; 2] = [0.82, 0.90];

/// Both tones start within 6 ms.
const SKEW_MAX: f32 = 50.0;
/// Largest deviation of a frequency, between 1.8 and 3 %.
const DEVIATION_MAX: f32 = 0.0235;
/// Each tone is at least this strong, in dBm0.
const LEVEL_DBM0_MIN: f32 = -42.0;
/// High minus low, in dB.
const TWIST_DB: std::ops::RangeInclusive<f32> = -9.6..=7.6;
/// Amplitudes inside, relative to their median.
const STEADY: std::ops::RangeInclusive<f32> = 0.60..=1.50;
/// How well the steps of the phase agree.
const AGREEMENT_MIN: f32 = 0.965;
/// What is behind the tones has changed its power by no more than this since before them.
const BEFORE_MAX: f32 = 1.5;

/// What counts as one flaw each:
/// share that is lacking beside a dial tone,
const FLAW_LACK_BEHIND: f32 = 0.06;
/// samples of rise beyond a window's own 3 ms,
const FLAW_RISE: f32 = 56.0;
const RISE: f32 = 24.0;
/// disagreement of the phases,
const FLAW_DISAGREEMENT: f32 = 0.03;
/// amplitudes apart, relative to their median,
const FLAW_SPREAD: f32 = 0.8;
/// deviation beyond 1.8 %,
const FLAW_DEVIATION: f32 = 0.005;
const DEVIATION: f32 = 0.018;
/// decibels of twist beyond what must be taken and half a decibel of noise,
const FLAW_TWIST_DB: f32 = 1.0;
const TWIST_USUAL_DB: std::ops::RangeInclusive<f32> = -8.3..=6.3;
/// samples between the starts,
const FLAW_SKEW: f32 = 40.0;
/// and a start that is out of sight.
const FLAW_UNSEEN: f32 = 0.6;

/// What was measured of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) pair: Pair,
    /// Samples since it began.
    pub(super) length: f32,
    /// Amplitudes of the low and the high tone.
    low: f32,
    high: f32,
    share: f32,
}

impl Seen {
    pub(super) fn level_dbm0(&self) -> f32 {
        dbm0((self.low * self.low + self.high * self.high).sqrt())
    }

    pub(super) fn twist_db(&self) -> f32 {
        20.0 * (self.high / self.low).log10()
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 to 100"
    )]
    pub(super) fn confidence(&self) -> u8 {
        let lack = (1.0 - self.share) / (1.0 - SHARES_LEAST[0]);
        (100.0 - 50.0 * lack).clamp(0.0, 100.0) as u8
    }

    /// How many samples ago both tones were last there, if just now.
    pub(super) fn present(&self, window: &Window) -> Option<f32> {
        present(window, self.pair, [self.low, self.high])
    }
}

/// Level of a sine of an amplitude.
fn dbm0(amplitude: f32) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "a constant")]
    const FULL: f32 = FULL_SCALE_DBM0 as f32;
    20.0 * (amplitude.max(1e-3) / 32_768.0).log10() + FULL
}

/// The key, if what was found at the end of a window is one.
pub(super) fn judge(window: &Window, found: Found) -> Option<Seen> {
    let close = Close::look(window, found.pair);
    BARS.iter()
        .find_map(|bar| passes(bar, &close, window, found))
}

fn passes(bar: &Bar, close: &Close, window: &Window, found: Found) -> Option<Seen> {
    let tracks = [&close.low, &close.high];
    let amplitudes = tracks.map(|track| track.amplitude(bar.inside));
    let ages = [0, 1].map(|ix: usize| tracks[ix].age(amplitudes[ix] / 2.0));
    let (length, skew) = (ages[0].min(ages[1]), (ages[0] - ages[1]).abs());
    if length < bar.length_min || skew > SKEW_MAX {
        return None;
    }
    let spread = spread(tracks[0], bar.inside)?.max(spread(tracks[1], bar.inside)?);
    let [(low_hz, low_agreement), (high_hz, high_agreement)] =
        tracks.map(|track| track.deviation(bar.inside));
    let deviation =
        (low_hz.abs() / close.low.nominal_hz()).max(high_hz.abs() / close.high.nominal_hz());
    let agreement = low_agreement.min(high_agreement);
    if deviation > DEVIATION_MAX || agreement < AGREEMENT_MIN {
        return None;
    }
    let share = if found.behind {
        share_behind(window, found.pair, length, [low_hz, high_hz])?
    } else {
        close.share(bar.inside, [low_hz, high_hz])
    };
    // A tone beside its nominal frequency is measured too weak.
    let seen = Seen {
        pair: found.pair,
        length,
        low: amplitudes[0] / response(low_hz, super::tables::SHORT),
        high: amplitudes[1] / response(high_hz, super::tables::SHORT),
        share,
    };
    let twist_db = seen.twist_db();
    if share < bar.share_min[usize::from(found.behind)]
        || dbm0(seen.low.min(seen.high)) < LEVEL_DBM0_MIN
        || !TWIST_DB.contains(&twist_db)
    {
        return None;
    }
    let lack = if found.behind {
        FLAW_LACK_BEHIND
    } else {
        bar.lack
    };
    let beyond = (TWIST_USUAL_DB.start() - twist_db).max(twist_db - TWIST_USUAL_DB.end());
    let flaws = [
        (1.0 - share) / lack,
        rise(tracks, amplitudes),
        (1.0 - agreement) / FLAW_DISAGREEMENT,
        spread / FLAW_SPREAD,
        (deviation - DEVIATION) / FLAW_DEVIATION,
        beyond / FLAW_TWIST_DB,
        skew / FLAW_SKEW,
    ];
    let sum: f32 = flaws.map(|flaw| flaw.max(0.0).powi(2)).iter().sum();
    (sum <= bar.flaw_max.powi(2)).then_some(seen)
}

/// How far apart the amplitudes inside are, relative to their median; `None`: too far from it.
fn spread(track: &Track, inside: usize) -> Option<f32> {
    let median = track.amplitude(inside).max(f32::MIN_POSITIVE);
    let [least, most] = track.extremes(inside).map(|amplitude| amplitude / median);
    (STEADY.contains(&least) && STEADY.contains(&most)).then_some(most - least)
}

/// The flaw of a slow start: a key's tone is switched on, a voice swells.
fn rise(tracks: [&Track; 2], amplitudes: [f32; 2]) -> f32 {
    let rises = [0, 1].map(|ix: usize| tracks[ix].rise(amplitudes[ix]));
    match rises {
        [Some(low), Some(high)] => (low.max(high) - RISE) / FLAW_RISE,
        _ => FLAW_UNSEEN,
    }
}

/// The tones' share of the power above 575 Hz, if what is below was there before them. Windows of
/// 20 ms, as shorter ones do not separate the lowest tone from a dial tone.
fn share_behind(window: &Window, pair: Pair, length: f32, deviations_hz: [f32; 2]) -> Option<f32> {
    const LOOKS: usize = 5;
    let responses = deviations_hz.map(|hz| response(hz, LONG).powi(2));
    let (mut tones, mut above, mut below) = (0.0, 0.0, 0.0);
    for look in 0..LOOKS {
        let [low, high] = squares(window, look * STEP, pair)?;
        let split = split(window, look * STEP)?;
        tones += (low / responses[0] + high / responses[1]) / 2.0;
        above += split.above;
        below += split.below / LOOKS as f32;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some hundred samples"
    )]
    let before = split(window, length as usize + STEP)?.below;
    let stayed = before >= below / BEFORE_MAX && before <= below * BEFORE_MAX;
    stayed.then_some(tones / above.max(f32::MIN_POSITIVE))
}
