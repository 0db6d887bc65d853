//! G.722 at 64 kbit/s: 7 kHz audio in two ADPCM sub-bands, written from ITU-T Rec. G.722 (09/2012).
//!
//! PCM is 16 bit at 16 kHz. One octet holds two samples: the high band's two bits in the most
//! significant places, then six bits of the low band.
//!
//! The RTP clock is 8 kHz although the audio is sampled at 16 kHz: RFC 3551 section 4.5.2 keeps
//! the mistake of RFC 1890, so 20 ms are 160 octets, 160 timestamp units and 320 samples. RFC 3551
//! knows no other mode than 64 kbit/s; the 56 and 48 kbit/s modes, which are the same stream with
//! data bits stolen from the low band, do not occur in RTP.
//!
//! Names in capitals in the comments are the blocks of section 6.2.1 of the Recommendation. The
//! quadrature mirror filters work on 16 bits where the Recommendation has 14, the two low ones
//! taken as further fraction, as is usual for 16-bit audio.

/// Sampling rate of the audio in Hz.
pub const PCM_HZ: u32 = 16_000;

/// RTP clock rate in Hz (RFC 3551 section 4.5.2).
pub const CLOCK_HZ: u32 = 8_000;

/// Encoder: its state starts as the Recommendation's reset does.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
    /// Transmit filter history: even and odd samples, oldest first.
    history: [[i32; TAPS]; 2],
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            low: Band::new(LOW_STEP_MIN),
            high: Band::new(HIGH_STEP_MIN),
            history: [[0; TAPS]; 2],
        }
    }
}

impl Encoder {
    /// As after a reset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all it heard.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Encodes pairs of samples into octets, as many as both slices hold; returns the octets.
    /// A last single sample is left out.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        let (pairs, _) = pcm.as_chunks();
        for (pair, octet) in pairs.iter().zip(&mut *out) {
            *octet = self.pair(*pair);
        }
        pairs.len().min(out.len())
    }

    fn pair(&mut self, [first, second]: [i16; 2]) -> u8 {
        let [even, odd] = &mut self.history;
        push(even, i32::from(first));
        push(odd, i32::from(second));
        let mut sums = [0i32; 2];
        for (ix, tap) in QMF.iter().enumerate() {
            sums[0] += even[ix] * tap;
            sums[1] += odd[ix] * QMF[TAPS - 1 - ix];
        }
        let low = saturate((sums[0] + sums[1]) >> 14);
        let high = saturate((sums[1] - sums[0]) >> 14);
        let low_code = self.encode_low(low);
        let high_code = self.encode_high(high);
        octet((high_code << 6) | low_code)
    }

    /// SUBTRA, QUANTL, and the adaptation that the decoder repeats; six bits.
    fn encode_low(&mut self, sample: i32) -> usize {
        let error = saturate(sample - self.low.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let step = self.low.step;
        // Decision levels rise, so counting those not above the magnitude finds the interval.
        // All thirty are compared: without a branch that is faster than to stop early.
        let interval = LOW_DECISIONS
            .iter()
            .map(|level| usize::from(magnitude >= (level * step) >> 12))
            .sum::<usize>();
        let code = match (error < 0, interval) {
            (true, 0) => 63,
            (true, 1) => 62,
            (true, n) => 33 - n,
            (false, n) => 61 - n,
        };
        self.low.adapt_low(code >> 2);
        code
    }

    /// SUBTRA, QUANTH, and the adaptation that the decoder repeats; two bits.
    fn encode_high(&mut self, sample: i32) -> usize {
        let error = saturate(sample - self.high.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let outer = magnitude >= (HIGH_DECISION * self.high.step) >> 12;
        let code = match (error < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.adapt_high(code);
        code
    }
}

/// Decoder: its state starts as the Recommendation's reset does. Any octets are valid.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
    /// Receive filter history: differences and sums of the bands, oldest first.
    history: [[i32; TAPS]; 2],
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            low: Band::new(LOW_STEP_MIN),
            high: Band::new(HIGH_STEP_MIN),
            history: [[0; TAPS]; 2],
        }
    }
}

impl Decoder {
    /// As after a reset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all it heard.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Decodes each octet into two samples, as many as both slices hold; returns the samples.
    pub fn decode(&mut self, octets: &[u8], out: &mut [i16]) -> usize {
        let (pairs, _) = out.as_chunks_mut();
        for (octet, pair) in octets.iter().zip(&mut *pairs) {
            *pair = self.octet(*octet);
        }
        2 * octets.len().min(pairs.len())
    }

    fn octet(&mut self, octet: u8) -> [i16; 2] {
        let (low_code, high_code) = (usize::from(octet & 0x3f), usize::from(octet >> 6));
        // INVQBL, RECONS and LIMIT: all six bits for the output, four of them for adaptation.
        let low = self.low.predicted + ((self.low.step * LOW_OUTPUTS[low_code]) >> 15);
        let low = low.clamp(-BAND_MAX, BAND_MAX - 1);
        self.low.adapt_low(low_code >> 2);
        let high = self.high.predicted + ((self.high.step * HIGH_OUTPUTS[high_code]) >> 15);
        let high = high.clamp(-BAND_MAX, BAND_MAX - 1);
        self.high.adapt_high(high_code);
        let [differences, sums] = &mut self.history;
        push(differences, low - high);
        push(sums, low + high);
        let mut out = [0i32; 2];
        for (ix, tap) in QMF.iter().enumerate() {
            out[0] += differences[ix] * QMF[TAPS - 1 - ix];
            out[1] += sums[ix] * tap;
        }
        out.map(|sum| clip(sum >> 11))
    }
}

/// ADPCM of one sub-band: what encoder and decoder keep in step.
#[derive(Clone, Debug)]
struct Band {
    /// Predicted signal, SL or SH.
    predicted: i32,
    /// What the zero section adds to it, SZL or SZH.
    predicted_zero: i32,
    /// Quantiser step, DETL or DETH.
    step: i32,
    /// Logarithmic step, NBL or NBH.
    log_step: i32,
    /// Pole coefficients.
    poles: [i32; 2],
    /// Reconstructed signal, last first.
    reconstructed: [i32; 2],
    /// Partially reconstructed signal (without the pole section), last first.
    partial: [i32; 2],
    /// Zero coefficients.
    zeros: [i32; 6],
    /// Quantised differences, last first.
    differences: [i32; 6],
}

impl Band {
    const fn new(step: i32) -> Self {
        Self {
            predicted: 0,
            predicted_zero: 0,
            step,
            log_step: 0,
            poles: [0; 2],
            reconstructed: [0; 2],
            partial: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
        }
    }

    /// INVQAL, LOGSCL, SCALEL and the predictor, for the four bits that adaptation uses.
    fn adapt_low(&mut self, code: usize) {
        let difference = (self.step * LOW_ADAPTING[code]) >> 15;
        let log_step = ((self.log_step * 127) >> 7) + LOW_WEIGHTS[code];
        self.log_step = log_step.clamp(0, LOW_LOG_MAX);
        self.step = linear_step(self.log_step, 8);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH and the predictor.
    fn adapt_high(&mut self, code: usize) {
        let difference = (self.step * HIGH_OUTPUTS[code]) >> 15;
        let log_step = ((self.log_step * 127) >> 7) + HIGH_WEIGHTS[code];
        self.log_step = log_step.clamp(0, HIGH_LOG_MAX);
        self.step = linear_step(self.log_step, 10);
        self.predict(difference);
    }

    /// PARREC, RECONS, UPPOL2, UPPOL1, UPZERO, DELAYA, FILTEP, FILTEZ and PREDIC.
    fn predict(&mut self, difference: i32) {
        let reconstructed = saturate(self.predicted + difference);
        let partial = saturate(self.predicted_zero + difference);
        self.adapt_poles(partial);
        self.adapt_zeros(difference);
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];
        let pole = |ix: usize| (saturate(2 * self.reconstructed[ix]) * self.poles[ix]) >> 15;
        let from_poles = saturate(pole(0) + pole(1));
        // FILTEZ adds from the oldest on and saturates at each step.
        let zeros = self.zeros.iter().zip(&self.differences).rev();
        self.predicted_zero = zeros.fold(0, |sum, (coefficient, difference)| {
            saturate(sum + ((saturate(2 * difference) * coefficient) >> 15))
        });
        self.predicted = saturate(from_poles + self.predicted_zero);
    }

    fn adapt_poles(&mut self, partial: i32) {
        let [first, second] = self.poles;
        let same = self.partial.map(|before| (before < 0) == (partial < 0));
        // UPPOL2. Minus −32768 is why the shifted value saturates once more.
        let shifted = saturate(4 * first);
        let shifted = if same[0] { saturate(-shifted) } else { shifted };
        let toward = if same[1] { 128 } else { -128 };
        let second = saturate((shifted >> 7) + toward) + ((second * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        // UPPOL1: stability bounds the first by the second.
        let toward = if same[0] { 192 } else { -192 };
        let bound = saturate(15_360 - second);
        let first = saturate(toward + ((first * 32_640) >> 15)).clamp(-bound, bound);
        self.poles = [first, second];
    }

    /// UPZERO, before the differences move on.
    fn adapt_zeros(&mut self, difference: i32) {
        let gain = if difference == 0 { 0 } else { 128 };
        for (coefficient, before) in self.zeros.iter_mut().zip(&self.differences) {
            let same = (*before < 0) == (difference < 0);
            let toward = if same { gain } else { -gain };
            *coefficient = saturate(toward + ((*coefficient * 32_640) >> 15));
        }
    }
}

/// SCALEL and SCALEH: the step of a logarithmic one, by the table of 32 roots of two.
fn linear_step(log_step: i32, shift: i32) -> i32 {
    // Limited to 22,528, so the index is below 32 and the exponent below 12.
    let root = ROOTS[usize::try_from((log_step >> 6) & 31).unwrap_or_default()];
    let exponent = shift - (log_step >> 11);
    let scaled = if exponent < 0 {
        root << -exponent
    } else {
        root >> exponent
    };
    scaled << 2
}

/// Moves the history on by one.
fn push(history: &mut [i32; TAPS], sample: i32) {
    history.copy_within(1.., 0);
    history[TAPS - 1] = sample;
}

/// Saturation to 16 bits, as the Recommendation's operators do.
fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

#[allow(clippy::cast_possible_truncation, reason = "saturated to 16 bits")]
fn clip(value: i32) -> i16 {
    saturate(value) as i16
}

#[allow(clippy::cast_possible_truncation, reason = "two bits above six")]
fn octet(code: usize) -> u8 {
    (code & 0xff) as u8
}

/// Half the taps of the quadrature mirror filters.
const TAPS: usize = 12;

/// Every second tap of the 24 (table 11), oldest sample first; the others are these reversed.
const QMF: [i32; TAPS] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// LIMIT: sub-bands are 15 bits wide.
const BAND_MAX: i32 = 16_384;

/// DETL after a reset.
const LOW_STEP_MIN: i32 = 32;

/// DETH after a reset.
const HIGH_STEP_MIN: i32 = 8;

const LOW_LOG_MAX: i32 = 18_432;
const HIGH_LOG_MAX: i32 = 22_528;

/// Q6: decision levels of the low band for a step of one (in units of 2⁻¹²), without the zero.
const LOW_DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// Q2: the one decision level of the high band.
const HIGH_DECISION: i32 = 564;

/// QM4: the low band's difference of four bits.
const LOW_ADAPTING: [i32; 16] = [
    0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288,
    4_240, 2_584, 1_200, 0,
];

/// QM6: the low band's difference of six bits.
const LOW_OUTPUTS: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192,
    -10_232, -9_360, -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008,
    -3_576, -3_168, -2_776, -2_400, -2_032, -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008,
    16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9_360, 8_576, 7_856, 7_192, 6_576, 6_000,
    5_456, 4_944, 4_464, 4_008, 3_576, 3_168, 2_776, 2_400, 2_032, 1_688, 1_360, 1_040, 728, 432,
    136, -432, -136,
];

/// QM2: the high band's difference.
const HIGH_OUTPUTS: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];

/// WL through RL42: how four bits of the low band move the logarithmic step.
const LOW_WEIGHTS: [i32; 16] = [
    -60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60,
];

/// WH through RH2.
const HIGH_WEIGHTS: [i32; 4] = [798, -214, 798, -214];

/// ILB: 2048 times the 32nd roots of two.
const ROOTS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test signals are small"
)]
mod tests {
    use super::*;

    /// Integers only, so that every machine makes the same: two triangles of gliding frequency
    /// and noise, each second at another loudness, up to clipping.
    fn synthetic(samples: usize) -> Vec<i16> {
        let (mut random, mut phases) = (1u32, [0u32; 2]);
        let triangle = |phase: u32| {
            let folded = i64::from(phase.cast_signed()).abs();
            (folded - (1 << 30)) >> 15
        };
        (0..samples)
            .map(|n| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let glide = (n as u32 % 40_000) * 40_000;
                phases[0] = phases[0].wrapping_add(50_000_000 + glide / 16);
                phases[1] = phases[1].wrapping_add(900_000_000 + glide);
                let noise = i64::from((random >> 16) as u16) - 32_768;
                let all = 2 * triangle(phases[0]) + triangle(phases[1]) / 2 + noise / 16;
                let loudness = [1, 60, 300, 1_000, 3][n / 16_000 % 5];
                clip((all * loudness / 1_000) as i32)
            })
            .collect()
    }

    fn tone(hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / f64::from(PCM_HZ);
        (0..samples)
            .map(|n| (amplitude * (step * n as f64).sin()) as i16)
            .collect()
    }

    fn encoded(pcm: &[i16]) -> Vec<u8> {
        let mut out = vec![0; pcm.len() / 2];
        assert_eq!(Encoder::new().encode(pcm, &mut out), out.len());
        out
    }

    fn decoded(octets: &[u8]) -> Vec<i16> {
        let mut out = vec![0; octets.len() * 2];
        assert_eq!(Decoder::new().decode(octets, &mut out), out.len());
        out
    }

    /// Both filters together delay by 22 samples (section 6.2).
    const DELAY: usize = 22;

    fn snr_db(original: &[i16], heard: &[i16]) -> f64 {
        let pairs = || original[1_600..].iter().zip(&heard[1_600 + DELAY..]);
        let signal: f64 = pairs().map(|(a, _)| f64::from(*a).powi(2)).sum();
        let noise: f64 = pairs()
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum();
        10.0 * (signal / noise.max(1e-9)).log10()
    }

    /// FNV-1a.
    fn checksum(octets: impl IntoIterator<Item = u8>) -> u64 {
        octets
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325, |sum, octet| {
                (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
            })
    }

    fn octets(pcm: &[i16]) -> impl Iterator<Item = u8> {
        pcm.iter().flat_map(|sample| sample.to_le_bytes())
    }

    /// Ten seconds, compared with FFmpeg 5.1.9 in both directions and found equal octet by octet:
    /// `ffmpeg -f s16le -ar 16000 -ac 1 -i in.s16 -f g722 out.g722`, and back. The same holds for
    /// random octets, which no encoder sends.
    #[test]
    fn output_is_that_of_an_independent_implementation() {
        let encoded = encoded(&synthetic(160_000));
        assert_eq!(checksum(encoded.iter().copied()), 0xd8f4_acc4_845a_a2a1);
        assert_eq!(checksum(octets(&decoded(&encoded))), 0x89b8_658b_a217_7670);
        let mut random = fastrand::Rng::with_seed(722);
        let random: Vec<u8> = (0..80_000).map(|_| random.u8(..)).collect();
        assert_eq!(checksum(octets(&decoded(&random))), 0x05eb_d98a_f940_b3df);
    }

    #[test]
    fn tones_come_back() {
        // Measured 62, 47, 41, 27 and 36 dB: the high band has two bits.
        for (hz, amplitude, least_db) in [
            (300.0, 10_000.0, 60.0),
            (1_000.0, 10_000.0, 45.0),
            (3_000.0, 10_000.0, 39.0),
            (6_000.0, 10_000.0, 25.0),
            (1_000.0, 300.0, 34.0),
        ] {
            let pcm = tone(hz, amplitude, 32_000);
            let snr_db = snr_db(&pcm, &decoded(&encoded(&pcm)));
            assert!(snr_db > least_db, "{hz} Hz at {amplitude}: {snr_db} dB");
        }
    }

    #[test]
    fn silence_stays_silent_and_the_loudest_clips() {
        let silence = decoded(&encoded(&[0; 3_200]));
        assert!(silence.iter().all(|sample| sample.abs() <= 8));
        let square: Vec<i16> = (0..3_200)
            .map(|n| [i16::MAX, i16::MIN][n / 20 % 2])
            .collect();
        let heard = decoded(&encoded(&square));
        assert!(heard.iter().any(|sample| *sample > 32_000));
    }

    #[test]
    fn frames_join_without_a_seam_and_a_reset_starts_anew() {
        let pcm = synthetic(3_200);
        let whole = encoded(&pcm);
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut pieces, mut heard) = (Vec::new(), Vec::new());
        for frame in pcm.chunks(320) {
            let (mut octets, mut out) = ([0; 160], [0; 320]);
            assert_eq!(encoder.encode(frame, &mut octets), 160);
            assert_eq!(decoder.decode(&octets, &mut out), 320);
            pieces.extend(octets);
            heard.extend(out);
        }
        assert_eq!(pieces, whole);
        assert_eq!(heard, decoded(&whole));
        encoder.reset();
        decoder.reset();
        let (mut octets, mut out) = ([0; 1_600], [0; 3_200]);
        assert_eq!(encoder.encode(&pcm, &mut octets), 1_600);
        assert_eq!(octets[..], whole[..]);
        assert_eq!(decoder.decode(&whole, &mut out), 3_200);
        assert_eq!(out[..], heard[..]);
    }

    #[test]
    fn slices_are_kept_to() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        assert_eq!(encoder.encode(&[1; 5], &mut [0; 9]), 2);
        assert_eq!(encoder.encode(&[1; 6], &mut [0; 2]), 2);
        assert_eq!(encoder.encode(&[1], &mut [0; 2]), 0);
        assert_eq!(decoder.decode(&[1; 5], &mut [0; 9]), 8);
        assert_eq!(decoder.decode(&[1; 5], &mut [0; 1]), 0);
        assert_eq!(decoder.decode(&[1; 2], &mut [0; 9]), 4);
    }
}
