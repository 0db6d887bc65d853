//! Whether a pair of tones is a key.
//!
//! Some properties have hard limits: level, length, how far a frequency or the twist may be. What
//! passes them is still heard in speech, a few times an hour. But a sender's tone that is impaired
//! has one flaw, or two: noise takes from its share, a slip from its phase, an echo from its
//! steadiness. A voice has a little of all. So each flaw is measured against what is the most in
//! use, and their squares add up.
//!
//! One property tells more than all others: a sender's frequencies come from a crystal, a voice has
//! none. So a deviation counts long before it is too much, and what hits both frequencies exactly
//! may be bent in all that a codec of speech bends: its steadiness, its start.

use super::close::{Close, INSIDE_MAX, STEP, present, response, split, squares};
use super::frontend::Window;
use super::screen::{Found, Pair};
use super::tables::{LONG, SHORT};
use crate::audio::tone::FULL_SCALE_DBM0;

type Range = std::ops::RangeInclusive<f32>;

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
}

/// A pure tone after 29.5 ms, when one of 24 ms is over; one in noise at 8 dB has more to show.
const BARS: [Bar; 2] = [
    Bar {
        length_min: 236.0,
        inside: 8,
        share_min: [0.90, 0.94],
        lack: 0.12,
    },
    Bar {
        length_min: 320.0,
        inside: INSIDE_MAX,
        share_min: SHARES_LEAST,
        lack: 0.24,
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
const TWIST_DB: Range = -9.6..=7.6;
/// Amplitudes inside, relative to their median.
const STEADY: Range = 0.60..=1.50;
/// How well the steps of the phase agree.
const AGREEMENT_MIN: f32 = 0.965;
/// What is behind the tones has changed its power by no more than this since before them.
const BEFORE_MAX: f32 = 1.5;

/// What is exact, and has nothing behind it: deviation, agreement of the phases, share of the power
/// and length in samples;
const EXACT_DEVIATION: f32 = 0.007;
const EXACT_AGREEMENT_MIN: f32 = 0.975;
const EXACT_SHARE_MIN: f32 = 0.90;
const EXACT_LENGTH_MIN: f32 = 248.0;
/// and what it may be: Opus at 16 kbit/s lets an envelope swing and one tone start after the other.
const EXACT_STEADY: Range = 0.40..=1.5;

/// The most that the squares of all flaws sum up to. What counts as one flaw each:
const FLAWS_MAX: f32 = 1.0;
/// share that is lacking beside a dial tone,
const FLAW_LACK_BEHIND: f32 = 0.06;
/// samples of rise beyond a window's own 3 ms,
const FLAW_RISE: f32 = 56.0;
const RISE: f32 = 24.0;
/// disagreement of the phases,
const FLAW_DISAGREEMENT: f32 = 0.03;
/// amplitudes apart, relative to their median,
const FLAW_SPREAD: f32 = 0.8;
/// deviation beyond 0.6 %: at the 1.8 % that must be taken two thirds of all are left to others,
const FLAW_DEVIATION: f32 = 0.015;
const DEVIATION: f32 = 0.006;
/// decibels of twist beyond what must be taken and half a decibel of noise,
const FLAW_TWIST_DB: f32 = 1.0;
const TWIST_USUAL_DB: Range = -8.3..=6.3;
/// samples between the starts,
const FLAW_SKEW: f32 = 40.0;
/// and a start that is out of sight.
const FLAW_UNSEEN: f32 = 0.6;

/// What is not tones has at most this part of the power that the tones had, or a voice has begun
/// and is what is heard at their frequencies. Noise at 8 dB has a sixth, a tone's edge a quarter.
const REST_MAX: f32 = 0.5;

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
    /// A dial tone or hum is behind it.
    behind: bool,
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
        let tones = (self.low * self.low + self.high * self.high) / 2.0;
        let rest_max = if self.behind {
            f32::INFINITY
        } else {
            REST_MAX * tones
        };
        present(window, self.pair, [self.low, self.high], rest_max)
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
    let tones = Tones::of(close, bar.inside);
    if tones.length() < bar.length_min
        || tones.deviation > DEVIATION_MAX
        || tones.agreement < AGREEMENT_MIN
    {
        return None;
    }
    let share = if found.behind {
        share_behind(window, found.pair, tones.length(), tones.deviations_hz)?
    } else {
        close.share(bar.inside, tones.deviations_hz)
    };
    let seen = tones.seen(found, share);
    if dbm0(seen.low.min(seen.high)) < LEVEL_DBM0_MIN || !TWIST_DB.contains(&seen.twist_db()) {
        return None;
    }
    let exact = !found.behind && tones.are_exact(share);
    let kept = share >= bar.share_min[usize::from(found.behind)];
    let lack = if found.behind {
        FLAW_LACK_BEHIND
    } else {
        bar.lack
    };
    (exact || kept && tones.flaws(&seen, lack) <= FLAWS_MAX).then_some(seen)
}

/// Both tones in some of the last windows, the low one first.
#[derive(Debug)]
struct Tones {
    amplitudes: [f32; 2],
    /// Samples since each began.
    ages: [f32; 2],
    /// Samples since one of them was more than twice as loud: this may be the echo of that.
    after_louder: f32,
    /// Least and largest amplitudes of both, relative to their medians.
    extremes: [[f32; 2]; 2],
    /// Samples in which the slower one rose.
    rise: Option<f32>,
    deviations_hz: [f32; 2],
    /// The larger one, relative to the frequency.
    deviation: f32,
    /// How well the steps of the phase agree, of the worse one.
    agreement: f32,
}

impl Tones {
    fn of(close: &Close, inside: usize) -> Self {
        let tracks = [&close.low, &close.high];
        let amplitudes = tracks.map(|track| track.amplitude(inside));
        let rises = [0, 1].map(|ix: usize| tracks[ix].rise(amplitudes[ix]));
        let [(low_hz, low_agreement), (high_hz, high_agreement)] =
            tracks.map(|track| track.deviation(inside));
        let deviation =
            (low_hz.abs() / close.low.nominal_hz()).max(high_hz.abs() / close.high.nominal_hz());
        let after_louder = [0, 1].map(|ix: usize| tracks[ix].since_above(2.0 * amplitudes[ix]));
        Self {
            amplitudes,
            after_louder: after_louder[0].min(after_louder[1]),
            ages: [0, 1].map(|ix: usize| tracks[ix].age(amplitudes[ix] / 2.0)),
            extremes: [0, 1].map(|ix: usize| {
                let median = amplitudes[ix].max(f32::MIN_POSITIVE);
                tracks[ix]
                    .extremes(inside)
                    .map(|amplitude| amplitude / median)
            }),
            rise: rises[0].zip(rises[1]).map(|(low, high)| low.max(high)),
            deviations_hz: [low_hz, high_hz],
            deviation,
            agreement: low_agreement.min(high_agreement),
        }
    }

    fn length(&self) -> f32 {
        self.ages[0].min(self.ages[1])
    }

    fn skew(&self) -> f32 {
        (self.ages[0] - self.ages[1]).abs()
    }

    fn stay_within(&self, range: &Range) -> bool {
        self.extremes
            .as_flattened()
            .iter()
            .all(|part| range.contains(part))
    }

    /// As a key; a tone beside its nominal frequency was measured too weak.
    fn seen(&self, found: Found, share: f32) -> Seen {
        let [low, high] = self.deviations_hz.map(|hz| response(hz, SHORT));
        Seen {
            pair: found.pair,
            behind: found.behind,
            length: self.length(),
            low: self.amplitudes[0] / low,
            high: self.amplitudes[1] / high,
            share,
        }
    }

    /// Whether both frequencies are so exact that it is a key, whatever bends their envelopes.
    fn are_exact(&self, share: f32) -> bool {
        self.deviation <= EXACT_DEVIATION
            && self.agreement >= EXACT_AGREEMENT_MIN
            && share >= EXACT_SHARE_MIN
            && self.length().min(self.after_louder) >= EXACT_LENGTH_MIN
            && self.stay_within(&EXACT_STEADY)
    }

    /// Sum of the squares of all flaws, infinite for what is beyond a hard limit.
    fn flaws(&self, seen: &Seen, lack: f32) -> f32 {
        if self.skew() > SKEW_MAX || !self.stay_within(&STEADY) {
            return f32::INFINITY;
        }
        let spread = self.extremes.map(|[least, most]| most - least);
        let twist_db = seen.twist_db();
        let beyond = (TWIST_USUAL_DB.start() - twist_db).max(twist_db - TWIST_USUAL_DB.end());
        let flaws = [
            (1.0 - seen.share) / lack,
            // A key's tone is switched on, a voice swells.
            self.rise
                .map_or(FLAW_UNSEEN, |rise| (rise - RISE) / FLAW_RISE),
            (1.0 - self.agreement) / FLAW_DISAGREEMENT,
            spread[0].max(spread[1]) / FLAW_SPREAD,
            (self.deviation - DEVIATION) / FLAW_DEVIATION,
            beyond / FLAW_TWIST_DB,
            self.skew() / FLAW_SKEW,
        ];
        flaws.map(|flaw| flaw.max(0.0).powi(2)).iter().sum()
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
