//! Mixing for many listeners: one exact sum, and for each listener that sum without its own voice.
//!
//! The sum is 32 bits wide and nothing is cut before the one [`soft`] limit per listener. Cutting
//! earlier would make "sum minus own" leave a trace of the listener's own voice (an echo) whenever
//! several talk. Plain functions over slices, so that compilers make vector code of them.
//!
//! Slices that belong together should have one length; where they differ, the shortest counts.

/// Most sources that fit a sum at any gain: 2¹⁵ per sample times 8 (gain) times 8192 is 2³¹.
pub const SOURCES_MAX: usize = 8_191;

/// Sums up to this magnitude pass unchanged: −3 dB of full scale.
pub const KNEE: i16 = 23_197;

/// Samples judged together as loud or not; divides every 10 ms frame.
const BLOCK: usize = 80;

/// Samples whose sum is kept in registers while all sources are added.
const LANES: usize = 16;

/// Bits behind the point of a [`Gain`].
const GAIN_BITS: u32 = 12;

/// An amplification from 0 to 7.9998 (+18.06 dB) in steps of 2⁻¹².
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gain(i16);

impl Gain {
    /// Silence.
    pub const MUTE: Self = Self(0);
    /// Unchanged, bit exact.
    pub const UNITY: Self = Self(1 << GAIN_BITS);
    /// The largest one.
    pub const MAX: Self = Self(i16::MAX);

    /// From decibels, rounded to the nearest step; beyond the ends (and for not a number: mute) the
    /// nearest end. Below −78 dB it is mute.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "clamped to the range of i16"
    )]
    pub fn from_db(db: f32) -> Self {
        let steps = (db / 20.0 * std::f32::consts::LOG2_10).exp2() * f32::from(Self::UNITY.0);
        Self(steps.round().clamp(0.0, f32::from(i16::MAX)) as i16)
    }

    /// What a sample becomes, rounded to the nearest, not yet limited.
    fn of(self, sample: i16) -> i32 {
        (i32::from(sample) * i32::from(self.0) + (1 << (GAIN_BITS - 1))) >> GAIN_BITS
    }
}

/// Starts a sum.
pub fn silence(sum: &mut [i32]) {
    sum.fill(0);
}

/// Adds a source to a sum of at most [`SOURCES_MAX`].
pub fn add(sum: &mut [i32], pcm: &[i16]) {
    for (sum, sample) in sum.iter_mut().zip(pcm) {
        *sum += i32::from(*sample);
    }
}

/// Adds a source at another level. Who is subtracted later must be so with the same gain.
pub fn add_gain(sum: &mut [i32], pcm: &[i16], gain: Gain) {
    for (sum, sample) in sum.iter_mut().zip(pcm) {
        *sum += gain.of(*sample);
    }
}

/// Takes a source out of a sum again that was added at this gain.
pub fn take_gain(sum: &mut [i32], pcm: &[i16], gain: Gain) {
    for (sum, sample) in sum.iter_mut().zip(pcm) {
        *sum -= gain.of(*sample);
    }
}

/// Sets a sum to that of all sources: [`silence`], then [`add_all`].
pub fn total(sum: &mut [i32], sources: &[&[i16]]) {
    silence(sum);
    add_all(sum, sources);
}

/// Adds all sources, as [`add`] does one after the other, with one pass over the sum.
pub fn add_all(sum: &mut [i32], sources: &[&[i16]]) {
    let shortest = sources.iter().map(|source| source.len()).min().unwrap_or(0);
    let whole = shortest.min(sum.len()) / LANES * LANES;
    let (head, tail) = sum.split_at_mut(whole);
    for (head, at) in head.chunks_exact_mut(LANES).zip((0..).step_by(LANES)) {
        let mut lanes = [0; LANES];
        lanes.copy_from_slice(head);
        for source in sources {
            if let Some(piece) = source[at..].first_chunk::<LANES>() {
                add(&mut lanes, piece);
            }
        }
        head.copy_from_slice(&lanes);
    }
    sources
        .iter()
        .for_each(|source| add(tail, &source[whole..]));
}

/// What a listener hears who also talks: the sum without its own samples, limited once.
pub fn minus(sum: &[i32], own: &[i16], out: &mut [i16]) {
    minus_by(sum, own, out, |sum, own| sum - i32::from(own));
}

/// The same for a listener whose voice was added with [`add_gain`].
pub fn minus_gain(sum: &[i32], own: &[i16], gain: Gain, out: &mut [i16]) {
    minus_by(sum, own, out, |sum, own| sum - gain.of(own));
}

/// What a listener hears who does not talk: the whole sum, limited once.
pub fn all(sum: &[i32], out: &mut [i16]) {
    for (sum, out) in sum.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let mut reach = Reach::default();
        for (sum, out) in sum.iter().zip(&mut *out) {
            *out = cut(*sum);
            reach.over(*out);
        }
        if reach.beyond_knee() {
            sum.iter().zip(out).for_each(|(sum, out)| *out = soft(*sum));
        }
    }
}

/// Changes the level of samples in place, limited as sums are.
pub fn gain(pcm: &mut [i16], gain: Gain) {
    if gain != Gain::UNITY {
        pcm.iter_mut()
            .for_each(|sample| *sample = soft(gain.of(*sample)));
    }
}

/// Block by block, as limiting (a division per sample) is seldom needed: a saturated sample is
/// beyond the knee too, so the cheap cut shows whether it is.
#[inline(always)]
fn minus_by(sum: &[i32], own: &[i16], out: &mut [i16], rest: impl Fn(i32, i16) -> i32) {
    let blocks = sum
        .chunks(BLOCK)
        .zip(own.chunks(BLOCK))
        .zip(out.chunks_mut(BLOCK));
    for ((sum, own), out) in blocks {
        let mut reach = Reach::default();
        for ((sum, own), out) in sum.iter().zip(own).zip(&mut *out) {
            *out = cut(rest(*sum, *own));
            reach.over(*out);
        }
        if reach.beyond_knee() {
            for ((sum, own), out) in sum.iter().zip(own).zip(out) {
                *out = soft(rest(*sum, *own));
            }
        }
    }
}

/// The one limit: unchanged up to [`KNEE`], above it bent towards full scale, which it never
/// passes. Monotone, odd, and without a corner at the knee: `32767 − r² / (r + x − KNEE)` with
/// `r = 32767 − KNEE`, whose slope starts at 1.
///
/// Each step in floating point keeps order, so rounding cannot make it fall.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the result is at most full scale; a magnitude of 2³¹ may lose its low bits"
)]
pub fn soft(sum: i32) -> i16 {
    const ROOM: f32 = (i16::MAX - KNEE) as f32;
    let magnitude = sum
        .unsigned_abs()
        .min(i32::MAX.unsigned_abs())
        .cast_signed();
    let over = (magnitude - i32::from(KNEE)).max(0);
    let bent = f32::from(i16::MAX) - ROOM * ROOM / (ROOM + over as f32);
    // Rounded by adding 2²³, which leaves the integer in the mantissa: vector units do that.
    let bent = ((bent + 8_388_608.0).to_bits() & 0x7f_ffff).cast_signed();
    let limited = if over == 0 { magnitude } else { bent };
    let signed = if sum < 0 { -limited } else { limited };
    signed as i16
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to the range")]
fn cut(sum: i32) -> i16 {
    sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// The lowest and the highest sample of a block: two vector instructions for eight samples.
#[derive(Default)]
struct Reach {
    low: i16,
    high: i16,
}

impl Reach {
    #[inline(always)]
    fn over(&mut self, sample: i16) {
        (self.low, self.high) = (self.low.min(sample), self.high.max(sample));
    }

    fn beyond_knee(&self) -> bool {
        self.low < -KNEE || self.high > KNEE
    }
}

/// A gain that moves without clicks, for ducking one source under another.
///
/// Apply it to the source before mixing, so that what is subtracted is what was added.
#[derive(Debug, Clone)]
pub struct GainRamp {
    /// In 2⁻²⁴.
    now: i32,
    target: Gain,
    /// Per sample, in 2⁻²⁴.
    step: i32,
}

/// Bits that a ramp has beyond those of a [`Gain`]: it moves in steps of −144 dB.
const RAMP_BITS: u32 = 12;

impl GainRamp {
    /// Starts at a gain, at rest.
    #[must_use]
    pub fn new(gain: Gain) -> Self {
        Self {
            now: i32::from(gain.0) << RAMP_BITS,
            target: gain,
            step: 0,
        }
    }

    /// Moves in a straight line from where it is now to `gain`, within so many samples (5 ms and
    /// more are not heard as a click; 0 counts as 1).
    pub fn start(&mut self, gain: Gain, samples: u32) {
        let distance = (i32::from(gain.0) << RAMP_BITS) - self.now;
        let samples = i32::try_from(samples.max(1)).unwrap_or(i32::MAX);
        // Away from zero: it arrives at the latest in time, never stops short.
        self.step = distance / samples + (distance % samples).signum();
        self.target = gain;
    }

    /// Whether the target is reached.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.now == i32::from(self.target.0) << RAMP_BITS
    }

    /// Changes the samples in place and advances by their number.
    pub fn apply(&mut self, pcm: &mut [i16]) {
        let mut samples = pcm.iter_mut();
        while !self.is_settled() {
            let Some(sample) = samples.next() else {
                return;
            };
            self.advance();
            let product = i64::from(*sample) * i64::from(self.now);
            let half = 1 << (GAIN_BITS + RAMP_BITS - 1);
            let scaled = (product + half) >> (GAIN_BITS + RAMP_BITS);
            *sample = soft(i32::try_from(scaled).unwrap_or(i32::MAX));
        }
        gain(samples.into_slice(), self.target);
    }

    fn advance(&mut self) {
        let target = i32::from(self.target.0) << RAMP_BITS;
        let next = self.now.saturating_add(self.step);
        let passed = if self.step > 0 {
            next >= target
        } else {
            next <= target
        };
        self.now = if passed { target } else { next };
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test values within their ranges"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Vec<Vec<i16>>> {
        (1..12usize, 1..200usize).prop_flat_map(|(sources, len)| {
            prop::collection::vec(prop::collection::vec(any::<i16>(), len), sources)
        })
    }

    /// The limit in 64-bit floating point, from its definition.
    fn reference(sum: i64) -> f64 {
        let (knee, full) = (f64::from(KNEE), 32_767.0);
        let (room, x) = (full - knee, sum.unsigned_abs() as f64);
        let y = if x <= knee {
            x
        } else {
            full - room * room / (room + x - knee)
        };
        if sum < 0 { -y } else { y }
    }

    #[test]
    fn limit_is_exact_below_the_knee_monotone_and_never_above_full_scale() {
        let mut last = soft(i32::MIN);
        assert_eq!(last, -i16::MAX);
        for sum in (i32::MIN..i32::MAX - 9_973)
            .step_by(9_973)
            .chain([i32::MAX])
        {
            assert!(soft(sum) >= last);
            last = soft(sum);
        }
        assert_eq!(soft(i32::MAX), i16::MAX);
        last = soft(-300_001);
        for sum in -300_000..=300_000 {
            let limited = soft(sum);
            assert!(limited >= last && limited == -soft(-sum));
            // Slope at most 1, and no step at the knee.
            assert!(limited - last <= 1);
            assert!(
                (f64::from(limited) - reference(i64::from(sum))).abs() <= 0.51,
                "{sum}"
            );
            if sum.abs() <= i32::from(KNEE) {
                assert_eq!(i32::from(limited), sum);
            }
            last = limited;
        }
    }

    #[test]
    fn slope_is_continuous_at_the_knee() {
        let at = f64::from(KNEE);
        let slope = (reference(i64::from(KNEE) + 100) - at) / 100.0;
        assert!((0.98..1.0).contains(&slope), "{slope}");
    }

    #[test]
    fn gains_in_decibels() {
        assert_eq!(Gain::from_db(0.0), Gain::UNITY);
        assert_eq!(Gain::from_db(-6.0206), Gain(2_048));
        assert_eq!(Gain::from_db(18.07), Gain::MAX);
        assert_eq!(Gain::from_db(f32::NEG_INFINITY), Gain::MUTE);
        assert_eq!(Gain::from_db(f32::INFINITY), Gain::MAX);
        assert_eq!(Gain::from_db(f32::NAN), Gain::MUTE);
    }

    #[test]
    fn a_sum_of_most_sources_at_most_gain_fits() {
        let mut sum = [0];
        for _ in 0..SOURCES_MAX {
            add_gain(&mut sum, &[i16::MIN], Gain::MAX);
        }
        let exact = (i64::from(i16::MIN) * i64::from(i16::MAX) + 2_048) >> 12;
        assert_eq!(i64::from(sum[0]), exact * SOURCES_MAX as i64);
        // One source more than a sum has room for at gains of 8 could overflow.
        assert!(i64::from(i16::MIN) * 8 * (SOURCES_MAX as i64 + 2) < i64::from(i32::MIN));
    }

    proptest! {
        #[test]
        fn mix_minus_is_the_sum_of_the_others(frames in frames(), gain in 0..=i16::MAX) {
            let len = frames[0].len();
            let mut sum = vec![1; len];
            silence(&mut sum);
            frames.iter().for_each(|frame| add(&mut sum, frame));
            let slices: Vec<&[i16]> = frames.iter().map(Vec::as_slice).collect();
            let mut at_once = vec![7; len];
            total(&mut at_once, &slices);
            prop_assert_eq!(&at_once, &sum);
            let mut backwards = vec![0; len];
            frames.iter().rev().for_each(|frame| add(&mut backwards, frame));
            prop_assert_eq!(&backwards, &sum);

            let (mut out, gain) = (vec![0; len], Gain(gain));
            all(&sum, &mut out);
            for n in 0..len {
                let exact: i64 = frames.iter().map(|frame| i64::from(frame[n])).sum();
                prop_assert_eq!(out[n], soft(exact as i32));
            }
            for (own, frame) in frames.iter().enumerate() {
                minus(&sum, frame, &mut out);
                for n in 0..len {
                    let others = frames.iter().enumerate().filter(|(ix, _)| *ix != own);
                    let exact: i64 = others.map(|(_, frame)| i64::from(frame[n])).sum();
                    prop_assert_eq!(out[n], soft(exact as i32));
                }
            }
            let mut louder = sum.clone();
            add_gain(&mut louder, &frames[0], gain);
            minus_gain(&louder, &frames[0], gain, &mut out);
            let mut expected = vec![0; len];
            all(&sum, &mut expected);
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn one_talker_below_the_knee_passes_bit_exact(
            talker in prop::collection::vec(-KNEE..=KNEE, 160),
            listener in prop::collection::vec(any::<i16>(), 160),
        ) {
            let mut sum = [0; 160];
            total(&mut sum, &[&talker, &listener]);
            let mut out = [0; 160];
            minus(&sum, &listener, &mut out);
            prop_assert_eq!(&out[..], &talker[..]);
        }

        #[test]
        fn ramps_arrive_in_time_and_never_jump(
            from in 0..=8_192i16, to in 0..=8_192i16, samples in 1..2_000u32,
        ) {
            let mut ramp = GainRamp::new(Gain(from));
            ramp.start(Gain(to), samples);
            let mut pcm = vec![8_000i16; 2_000];
            let (head, tail) = pcm.split_at_mut(samples as usize);
            // Two calls: a frame border must not show.
            let (first, second) = head.split_at_mut(samples as usize / 3);
            ramp.apply(first);
            ramp.apply(second);
            prop_assert!(ramp.is_settled());
            ramp.apply(tail);
            let start = i32::from(soft(Gain(from).of(8_000)));
            let most = i32::from(to.abs_diff(from)) * 8_000 / 4_096 / samples as i32 + 2;
            let mut last = start;
            for sample in &pcm {
                prop_assert!((i32::from(*sample) - last).abs() <= most);
                last = i32::from(*sample);
            }
            prop_assert_eq!(last, i32::from(soft(Gain(to).of(8_000))));
        }
    }

    #[test]
    fn a_ramp_at_unity_leaves_samples_alone() {
        let mut pcm = [i16::MIN, i16::MAX, -30_000, 1];
        GainRamp::new(Gain::UNITY).apply(&mut pcm);
        assert_eq!(pcm, [i16::MIN, i16::MAX, -30_000, 1]);
    }

    #[test]
    fn lengths_that_differ_count_as_the_shortest() {
        let mut sum = [0; 100];
        total(&mut sum, &[&[5; 40], &[1; 100]]);
        assert_eq!((sum[39], sum[40], sum[99]), (6, 1, 1));
        let mut out = [9; 50];
        minus(&sum, &[5; 40], &mut out);
        assert_eq!((out[39], out[40]), (1, 9));
    }
}
