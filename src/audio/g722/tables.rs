//! Tables of the Recommendation's section 6.2, and what is computed from them once.

/// LIMIT: sub-bands are 15 bits wide.
pub(super) const BAND_MAX: i32 = 16_384;

/// Low band: NBL is limited to this.
pub(super) const LOW_LOG_MAX: i32 = 18_432;
/// High band: NBH is limited to this.
pub(super) const HIGH_LOG_MAX: i32 = 22_528;

/// SCALEL: the quantiser step of a logarithmic one in units of 64, 32 to 16,384.
pub(super) const LOW_STEPS: [i16; LOW_STEPS_LEN] = steps(8);
/// SCALEH: as [`LOW_STEPS`], 8 to 16,384.
pub(super) const HIGH_STEPS: [i16; HIGH_STEPS_LEN] = steps(10);

const LOW_STEPS_LEN: usize = (LOW_LOG_MAX as usize >> 6) + 1;
const HIGH_STEPS_LEN: usize = (HIGH_LOG_MAX as usize >> 6) + 1;

/// Q2: the one decision level of the high band, for a step of one, in units of 2⁻¹².
pub(super) const HIGH_DECISION: i32 = 564;

/// QM4: the low band's difference of four bits.
pub(super) const LOW_ADAPTING: [i16; 16] = [
    0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288,
    4_240, 2_584, 1_200, 0,
];

/// QM6: the low band's difference of six bits.
pub(super) const LOW_OUTPUTS: [i16; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192,
    -10_232, -9_360, -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008,
    -3_576, -3_168, -2_776, -2_400, -2_032, -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008,
    16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9_360, 8_576, 7_856, 7_192, 6_576, 6_000,
    5_456, 4_944, 4_464, 4_008, 3_576, 3_168, 2_776, 2_400, 2_032, 1_688, 1_360, 1_040, 728, 432,
    136, -432, -136,
];

/// QM2: the high band's difference.
pub(super) const HIGH_OUTPUTS: [i16; 4] = [-7_408, -1_616, 7_408, 1_616];

/// WL through RL42: how four bits of the low band move the logarithmic step.
pub(super) const LOW_WEIGHTS: [i16; 16] = [
    -60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60,
];

/// WH through RH2.
pub(super) const HIGH_WEIGHTS: [i16; 4] = [798, -214, 798, -214];

/// Q6: decision levels of the low band for a step of one, in units of 2⁻¹², without the zero.
pub(super) const LOW_DECISIONS: [u16; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// Quotients of magnitude and step that are told apart: the last means all above.
pub(super) const LOW_QUOTIENTS: usize = 2_920;

/// QUANTL: the six bits for a quotient of magnitude and step, not negative and negative. The
/// quotient is in units of 2⁻¹² and rounded up to the next whole less one.
pub(super) static LOW_CODES: [[u8; LOW_QUOTIENTS]; 2] = [low_codes(false), low_codes(true)];

/// For each of [`LOW_STEPS`], 2⁴² divided by it and rounded up: a multiplication then divides what
/// has 27 bits exactly, as the steps have 14.
pub(super) static LOW_INVERSES: [u64; LOW_STEPS_LEN] = inverses();

pub(super) const INVERSE_BITS: u32 = 42;

/// ILB: 2048 times the 32nd roots of two.
const ROOTS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

#[allow(clippy::cast_possible_truncation, reason = "at most 16,384")]
const fn steps<const LENGTH: usize>(shift: usize) -> [i16; LENGTH] {
    let (mut steps, mut at) = ([0; LENGTH], 0);
    while at < LENGTH {
        let (root, exponent) = (ROOTS[at % 32], at / 32);
        let scaled = if exponent > shift {
            root << (exponent - shift)
        } else {
            root >> (shift - exponent)
        };
        steps[at] = (scaled << 2) as i16;
        at += 1;
    }
    steps
}

#[allow(clippy::cast_possible_truncation, reason = "six bits")]
const fn low_codes(negative: bool) -> [u8; LOW_QUOTIENTS] {
    let (mut codes, mut quotient, mut interval) = ([0; LOW_QUOTIENTS], 0, 0);
    while quotient < LOW_QUOTIENTS {
        if interval < LOW_DECISIONS.len() && LOW_DECISIONS[interval] as usize <= quotient {
            interval += 1;
        }
        codes[quotient] = match (negative, interval) {
            (true, 0) => 63,
            (true, 1) => 62,
            (true, n) => 33 - n as u8,
            (false, n) => 61 - n as u8,
        };
        quotient += 1;
    }
    codes
}

#[allow(clippy::cast_sign_loss, reason = "steps are positive")]
const fn inverses() -> [u64; LOW_STEPS_LEN] {
    let (mut inverses, mut at) = ([0; LOW_STEPS_LEN], 0);
    while at < LOW_STEPS_LEN {
        inverses[at] = (1u64 << INVERSE_BITS).div_ceil(LOW_STEPS[at] as u64);
        at += 1;
    }
    inverses
}
