//! ADPCM of one sub-band: what encoder and decoder keep in step.
//!
//! Two facts make it cheap without changing a bit. Steps are at most 16,384, so quantised
//! differences keep within ±10,228 and most of the Recommendation's saturations cannot happen. And
//! the differences follow from the codes alone, so a decoder has all of them before it predicts.

use std::hint::select_unpredictable;

use super::tables::{
    BAND_MAX, HIGH_DECISION, HIGH_LOG_MAX, HIGH_OUTPUTS, HIGH_STEPS, HIGH_WEIGHTS, INVERSE_BITS,
    LOW_ADAPTING, LOW_CODES, LOW_INVERSES, LOW_LOG_MAX, LOW_OUTPUTS, LOW_QUOTIENTS, LOW_STEPS,
    LOW_WEIGHTS,
};
use super::{saturate, short};

/// Samples of a band that are worked on at once.
pub(super) const BLOCK: usize = 160;

/// Taps of the zero section, filled up to what one vector holds.
const LANES: usize = 8;

/// Differences of a block behind those before it, oldest first.
pub(super) type Differences = [i16; LANES + BLOCK];

/// As long as differences keep below this, six of them times coefficients below two cannot
/// saturate a sum of 16 bits.
const LOUD: u16 = 2_730;

/// What a band remembers.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// Logarithmic step, NBL or NBH.
    log_step: i32,
    poles: Poles,
    zeros: Zeros,
    /// Quantised differences, oldest first.
    differences: [i16; LANES],
}

impl Band {
    /// As after a reset.
    pub(super) const fn new() -> Self {
        Self {
            log_step: 0,
            poles: Poles::new(),
            zeros: Zeros::new(),
            differences: [0; LANES],
        }
    }

    /// The differences before a block, and room for it.
    pub(super) fn open(&self) -> Differences {
        let mut differences = [0; LANES + BLOCK];
        differences[..LANES].copy_from_slice(&self.differences);
        differences
    }

    /// Keeps the last differences of a block of `count` samples.
    pub(super) fn close(&mut self, differences: &Differences, count: usize) {
        self.differences
            .copy_from_slice(&differences[count..count + LANES]);
    }

    /// SUBTRA, QUANTL, and the adaptation that the decoder repeats, for sample `at` of a block; six
    /// bits.
    #[inline(always)]
    pub(super) fn encode_low(&mut self, sample: i16, all: &mut Differences, at: usize) -> u8 {
        let error = saturate(i32::from(sample) - self.poles.predicted);
        let magnitude = error ^ (error >> 31);
        let quotient = quotient(magnitude, place(self.log_step));
        let code = LOW_CODES[usize::from(error < 0)][quotient];
        let difference = self.adapt_low(usize::from(code >> 2));
        self.predict(difference, all, at);
        code
    }

    /// Encodes samples of the low band to the start of `out`, at most [`BLOCK`].
    pub(super) fn encode_all(&mut self, samples: impl Iterator<Item = i16>, out: &mut [u8]) {
        let mut differences = self.open();
        for (at, (sample, code)) in samples.zip(&mut *out).enumerate() {
            *code = self.encode_low(sample, &mut differences, at);
        }
        self.close(&differences, out.len());
    }

    /// As [`encode_low`](Self::encode_low), SUBTRA and QUANTH; two bits.
    #[inline(always)]
    pub(super) fn encode_high(&mut self, sample: i16, all: &mut Differences, at: usize) -> u8 {
        let error = saturate(i32::from(sample) - self.poles.predicted);
        let magnitude = error ^ (error >> 31);
        let step = i32::from(HIGH_STEPS[place(self.log_step)]);
        let outer = magnitude >= (HIGH_DECISION * step) >> 12;
        let code = (u8::from(error >= 0) << 1) | u8::from(!outer);
        let difference = self.adapt_high(usize::from(code));
        self.predict(difference, all, at);
        code
    }

    /// Decodes the low band of at most [`BLOCK`] octets to `out`, as long.
    pub(super) fn decode_low(&mut self, octets: &[u8], out: &mut [i16]) {
        let mut all = self.open();
        for ((octet, all), out) in octets.iter().zip(&mut all[LANES..]).zip(&mut *out) {
            let code = usize::from(octet & 0x3f);
            let step = i32::from(LOW_STEPS[place(self.log_step)]);
            // INVQBL: all six bits for the output, four of them for adaptation.
            *out = short((step * i32::from(LOW_OUTPUTS[code])) >> 15);
            *all = self.adapt_low(code >> 2);
        }
        self.reconstruct(&all, out);
    }

    /// As [`decode_low`](Self::decode_low), the high band.
    pub(super) fn decode_high(&mut self, octets: &[u8], out: &mut [i16]) {
        let mut all = self.open();
        for ((octet, all), out) in octets.iter().zip(&mut all[LANES..]).zip(&mut *out) {
            *all = self.adapt_high(usize::from(octet >> 6));
            *out = *all;
        }
        self.reconstruct(&all, out);
    }

    /// RECONS and LIMIT: adds to the output differences in `out` what is predicted.
    fn reconstruct(&mut self, all: &Differences, out: &mut [i16]) {
        let (mut poles, mut zeros) = (self.poles, self.zeros);
        for (window, out) in all.windows(LANES + 1).zip(&mut *out) {
            let window: &Window = window.as_array().expect("nine");
            let difference = window[LANES];
            let sum = poles.predicted + i32::from(*out);
            *out = short(sum.clamp(-BAND_MAX, BAND_MAX - 1));
            poles.filter(difference, zeros.filter(window, difference));
        }
        (self.poles, self.zeros) = (poles, zeros);
        self.close(all, out.len());
    }

    /// INVQAL, LOGSCL and SCALEL, for the four bits that adaptation uses; the difference.
    #[inline(always)]
    fn adapt_low(&mut self, code: usize) -> i16 {
        let step = i32::from(LOW_STEPS[place(self.log_step)]);
        let log_step = ((self.log_step * 127) >> 7) + i32::from(LOW_WEIGHTS[code]);
        self.log_step = log_step.clamp(0, LOW_LOG_MAX);
        short((step * i32::from(LOW_ADAPTING[code])) >> 15)
    }

    /// INVQAH, LOGSCH and SCALEH; the difference.
    #[inline(always)]
    fn adapt_high(&mut self, code: usize) -> i16 {
        let step = i32::from(HIGH_STEPS[place(self.log_step)]);
        let log_step = ((self.log_step * 127) >> 7) + i32::from(HIGH_WEIGHTS[code]);
        self.log_step = log_step.clamp(0, HIGH_LOG_MAX);
        short((step * i32::from(HIGH_OUTPUTS[code])) >> 15)
    }

    /// The predictor after sample `at` of a block.
    #[inline(always)]
    fn predict(&mut self, difference: i16, all: &mut Differences, at: usize) {
        all[LANES + at] = difference;
        let window = all[at..][..=LANES].as_array().expect("nine");
        let from_zeros = self.zeros.filter(window, difference);
        self.poles.filter(difference, from_zeros);
    }
}

/// A difference and those before it, oldest first.
type Window = [i16; LANES + 1];

/// The zero section of a predictor.
#[derive(Clone, Copy, Debug)]
struct Zeros {
    /// Coefficients, that of the oldest difference first; the first two lanes stay zero.
    coefficients: [i16; LANES],
    /// So many differences more one of [`LOUD`] takes part.
    loud: u8,
}

impl Zeros {
    const fn new() -> Self {
        Self {
            coefficients: [0; LANES],
            loud: 0,
        }
    }

    /// UPZERO and FILTEZ, after a difference, the last of the window.
    #[inline(always)]
    fn filter(&mut self, window: &Window, difference: i16) -> i32 {
        self.adapt(window, difference);
        if difference.unsigned_abs() >= LOUD {
            self.loud = 6;
        } else if self.loud == 0 {
            return self.sum(window);
        } else {
            self.loud -= 1;
        }
        sum_saturated(self.coefficients, *window)
    }

    /// UPZERO. The coefficients cannot leave 16 bits, so nothing saturates.
    #[inline(always)]
    fn adapt(&mut self, before: &Window, difference: i16) {
        let gains = &GAINS[usize::from(difference < 0) | usize::from(difference > 0) << 1];
        let mut next = [0; LANES];
        for lane in 0..LANES {
            let (now, sign) = (self.coefficients[lane], before[lane] >> 15);
            let toward = (gains[lane] ^ sign).wrapping_sub(sign);
            // A 256th less, rounded as the Recommendation's product with 255/256 is.
            let decay = short((i32::from(now) * -256) >> 16);
            next[lane] = now.wrapping_add(decay).wrapping_add(toward);
        }
        self.coefficients = next;
    }

    /// FILTEZ, where nothing saturates.
    #[inline(always)]
    fn sum(&self, window: &Window) -> i32 {
        let mut sum = 0;
        for (difference, coefficient) in window[1..].iter().zip(&self.coefficients) {
            // Four times a difference has 16 bits here, and the product's upper half is it.
            let product = (i32::from(difference << 2) * i32::from(*coefficient)) >> 16;
            sum += i32::from(short(product));
        }
        sum
    }
}

/// FILTEZ adds from the oldest on and saturates at each step.
#[cold]
#[inline(never)]
fn sum_saturated(coefficients: [i16; LANES], window: Window) -> i32 {
    let pairs = coefficients.iter().zip(&window[1..]);
    pairs.fold(0, |sum, (coefficient, difference)| {
        saturate(sum + ((i32::from(*difference) * i32::from(*coefficient)) >> 14))
    })
}

/// The pole section of a predictor, and what both sections predict.
#[derive(Clone, Copy, Debug)]
struct Poles {
    /// Predicted signal, SL or SH.
    predicted: i32,
    /// What the zero section adds to it, SZL or SZH.
    from_zeros: i32,
    coefficients: [i32; 2],
    /// Reconstructed signal, doubled and saturated, last first.
    reconstructed: [i32; 2],
    /// Signs of the partially reconstructed signal (without the pole section), last first: 0 or −1.
    partial: [i32; 2],
}

impl Poles {
    const fn new() -> Self {
        Self {
            predicted: 0,
            from_zeros: 0,
            coefficients: [0; 2],
            reconstructed: [0; 2],
            partial: [0; 2],
        }
    }

    /// PARREC, RECONS, UPPOL2, UPPOL1, DELAYA, FILTEP and PREDIC.
    #[inline(always)]
    fn filter(&mut self, difference: i16, from_zeros: i32) {
        let difference = i32::from(difference);
        let partial = (self.from_zeros + difference) >> 31;
        self.adapt(partial);
        self.partial = [partial, self.partial[0]];
        let reconstructed = saturate(2 * (self.predicted + difference));
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        let pole = |ix: usize| (self.reconstructed[ix] * self.coefficients[ix]) >> 15;
        let from_poles = saturate(pole(0) + pole(1));
        self.from_zeros = from_zeros;
        self.predicted = saturate(from_poles + from_zeros);
    }

    /// UPPOL2 and UPPOL1; `partial` is −1 if the partially reconstructed signal is negative.
    #[inline(always)]
    fn adapt(&mut self, partial: i32) {
        let [first, second] = self.coefficients;
        // 0 where the sign is the same, −1 where it is another.
        let turned = self.partial.map(|before| before ^ partial);
        let signed = |value: i32, turned: i32| (value ^ turned) - turned;
        // Saturation of four times the first, and of that negated, is this limit after the shift.
        let shifted = limit(signed(first, !turned[0]) >> 5, -256, 255);
        let second = shifted + signed(128, turned[1]) + ((second * 127) >> 7);
        let second = limit(second, -12_288, 12_288);
        // Stability bounds the first by the second.
        let first = signed(192, turned[0]) + ((first * 255) >> 8);
        let bound = 15_360 - second;
        self.coefficients = [limit(first, -bound, bound), second];
    }
}

/// Where a logarithmic step is in the tables.
#[inline(always)]
#[allow(clippy::cast_sign_loss, reason = "limited from 0 to 22,528")]
fn place(log_step: i32) -> usize {
    (log_step >> 6) as usize
}

/// Where a magnitude of 15 bits is in [`LOW_CODES`], over the step that is at this place in the
/// tables. A decision level is reached if its product with the step, shifted down by twelve, is not
/// above the magnitude: if the level is not above this quotient.
#[inline(always)]
pub(super) fn quotient(magnitude: i32, place: usize) -> usize {
    let above = (u64::from(magnitude.unsigned_abs()) << 12) + 0xfff;
    let quotient = (above * LOW_INVERSES[place]) >> INVERSE_BITS;
    let most = LOW_QUOTIENTS - 1;
    usize::try_from(quotient).map_or(most, |quotient| quotient.min(most))
}

/// Limits what is as often beyond as within.
#[inline(always)]
fn limit(value: i32, least: i32, most: i32) -> i32 {
    let value = select_unpredictable(value < least, least, value);
    select_unpredictable(value > most, most, value)
}

/// UPZERO's gain in each lane that is a tap, after a difference of zero, a negative and a positive
/// one.
static GAINS: [[i16; LANES]; 4] = [
    [0; LANES],
    [0, 0, -128, -128, -128, -128, -128, -128],
    [0, 0, 128, 128, 128, 128, 128, 128],
    [0; LANES],
];
