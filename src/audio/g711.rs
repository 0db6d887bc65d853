//! G.711 µ-law and A-law, bit exact to the ITU-T software tool library (G.191).
//!
//! Linear samples are 16 bit. Encoders truncate as G.191 does; other libraries round at some
//! decision boundaries, which is inaudible but makes outputs differ.
//!
//! Between the laws there are direct tables of codes (G.711 tables 3 and 4), not a way through
//! linear samples: only they make a tandem of conversions settle after the first. µ → A → µ gives
//! back every code but sixteen, the eight of each sign next to zero whose steps A-law cannot tell
//! from their neighbours'.

/// The µ-law octet that repeated is silence (0 on the linear scale).
pub const ULAW_SILENCE: u8 = 0xff;

/// The A-law octet that repeated is silence (+8, the smallest positive value).
pub const ALAW_SILENCE: u8 = 0xd5;

/// Added before µ-law segmentation, G.711 table 2.
const ULAW_BIAS: u16 = 33;

/// Largest biased 14-bit magnitude in µ-law.
const ULAW_CLIP: u16 = 0x1fff;

/// Bits that A-law inverts on the line, G.711 §3.
const ALAW_TOGGLE: u8 = 0x55;

/// What [`segmented`] says of the first µ-law segment, which starts at 2⁵ (and its bias).
const ULAW_SEGMENT_ZERO: u16 = (127 + 5) << 4;

/// What [`segmented`] would say of A-law's segment 0, were it like the others; segment 1 starts
/// at 2⁴.
const ALAW_SEGMENT_ZERO: u16 = (127 + 3) << 4;

static ULAW_TO_LINEAR: [i16; 256] = table(Law::Mu);
static ALAW_TO_LINEAR: [i16; 256] = table(Law::A);

/// µ-law inverts its magnitude on the line, A-law every second bit; both mark positive by a one.
static ULAW_TO_ALAW: [u8; 256] = tandem(&ULAW_ALAW_MAGNITUDES, 0x7f, ALAW_TOGGLE, 1);
static ALAW_TO_ULAW: [u8; 256] = tandem(&ALAW_ULAW_MAGNITUDES, ALAW_TOGGLE, 0x7f, 0);

/// The linear value of a µ-law octet, −32 124 to 32 124.
#[must_use]
pub fn ulaw_to_linear(octet: u8) -> i16 {
    ULAW_TO_LINEAR[usize::from(octet)]
}

/// The linear value of an A-law octet, −32 256 to 32 256.
#[must_use]
pub fn alaw_to_linear(octet: u8) -> i16 {
    ALAW_TO_LINEAR[usize::from(octet)]
}

/// The µ-law octet of a linear sample.
#[must_use]
pub fn linear_to_ulaw(sample: i16) -> u8 {
    let magnitude = ((ones_magnitude(sample) >> 2) + ULAW_BIAS).min(ULAW_CLIP);
    // 33 to 8,191: exponent 5 is segment 0.
    let code = !low_octet(segmented(magnitude).wrapping_sub(ULAW_SEGMENT_ZERO));
    (code & 0x7f) | sign(sample)
}

/// The A-law octet of a linear sample.
#[must_use]
pub fn linear_to_alaw(sample: i16) -> u8 {
    let magnitude = ones_magnitude(sample) >> 4;
    // 16 to 2,047: exponent 4 is segment 1. Below, in segment 0, the code is the magnitude.
    let code = match magnitude {
        0..16 => magnitude,
        _ => segmented(magnitude).wrapping_sub(ALAW_SEGMENT_ZERO),
    };
    (low_octet(code) | sign(sample)) ^ ALAW_TOGGLE
}

/// Exponent and first four bits after the leading one, as a float has them: what both laws want,
/// and, other than counting zeros, something that compilers turn into vector instructions
/// (40 ns for 160 samples).
fn segmented(magnitude: u16) -> u16 {
    low_half(f32::from(magnitude).to_bits() >> (f32::MANTISSA_DIGITS - 1 - 4))
}

/// Bit 8, set for positive samples.
fn sign(sample: i16) -> u8 {
    if sample < 0 { 0 } else { 0x80 }
}

/// The A-law octet of a µ-law octet, G.711 table 3.
#[must_use]
pub fn ulaw_to_alaw_octet(octet: u8) -> u8 {
    ULAW_TO_ALAW[usize::from(octet)]
}

/// The µ-law octet of an A-law octet, G.711 table 4.
#[must_use]
pub fn alaw_to_ulaw_octet(octet: u8) -> u8 {
    ALAW_TO_ULAW[usize::from(octet)]
}

/// Decodes µ-law, as many samples as both slices hold; returns how many.
pub fn decode_ulaw(octets: &[u8], out: &mut [i16]) -> usize {
    each(octets, out, ulaw_to_linear)
}

/// Decodes A-law, as many samples as both slices hold; returns how many.
pub fn decode_alaw(octets: &[u8], out: &mut [i16]) -> usize {
    each(octets, out, alaw_to_linear)
}

/// Encodes µ-law, as many samples as both slices hold; returns how many.
pub fn encode_ulaw(samples: &[i16], out: &mut [u8]) -> usize {
    each(samples, out, linear_to_ulaw)
}

/// Encodes A-law, as many samples as both slices hold; returns how many.
pub fn encode_alaw(samples: &[i16], out: &mut [u8]) -> usize {
    each(samples, out, linear_to_alaw)
}

/// Turns µ-law into A-law in place.
pub fn ulaw_to_alaw(octets: &mut [u8]) {
    octets.iter_mut().for_each(|o| *o = ulaw_to_alaw_octet(*o));
}

/// Turns A-law into µ-law in place.
pub fn alaw_to_ulaw(octets: &mut [u8]) {
    octets.iter_mut().for_each(|o| *o = alaw_to_ulaw_octet(*o));
}

fn each<A: Copy, B>(from: &[A], to: &mut [B], convert: impl Fn(A) -> B) -> usize {
    let count = from.len().min(to.len());
    for (to, from) in to[..count].iter_mut().zip(&from[..count]) {
        *to = convert(*from);
    }
    count
}

/// Magnitude in ones' complement, 0 to 32 767: what G.191 uses so that −32 768 needs no clipping.
fn ones_magnitude(sample: i16) -> u16 {
    if sample < 0 {
        (!sample).cast_unsigned()
    } else {
        sample.cast_unsigned()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "masked to eight bits")]
fn low_octet(value: u16) -> u8 {
    (value & 0xff) as u8
}

#[allow(clippy::cast_possible_truncation, reason = "masked to 16 bits")]
fn low_half(value: u32) -> u16 {
    (value & 0xffff) as u16
}

const fn expand_ulaw(octet: u8) -> i16 {
    let inverted = !octet;
    let exponent = (inverted >> 4) & 7;
    let mantissa = (inverted & 0xf) as i16;
    let step = 8i16 << exponent;
    let magnitude = (0x80 << exponent) + step * mantissa + step / 2 - 132;
    if octet < 0x80 { -magnitude } else { magnitude }
}

const fn expand_alaw(octet: u8) -> i16 {
    let code = octet ^ ALAW_TOGGLE;
    let exponent = (code & 0x7f) >> 4;
    let mantissa = (code & 0xf) as i16;
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => (((mantissa + 16) << 4) + 8) << (exponent - 1),
    };
    if octet > 0x7f { magnitude } else { -magnitude }
}

/// Evaluates one of the two expanders for all octets at compile time.
const fn table(law: Law) -> [i16; 256] {
    let mut out = [0; 256];
    let mut octet = 0u8;
    loop {
        out[octet as usize] = match law {
            Law::A => expand_alaw(octet),
            Law::Mu => expand_ulaw(octet),
        };
        if octet == u8::MAX {
            return out;
        }
        octet += 1;
    }
}

/// A conversion of 128 magnitudes, for both signs, between codes as they are on the line.
const fn tandem(magnitudes: &[u8; 128], from_toggle: u8, to_toggle: u8, first: u8) -> [u8; 256] {
    let mut out = [0; 256];
    let mut octet = 0u8;
    loop {
        let code = octet ^ from_toggle;
        let magnitude = magnitudes[(code & 0x7f) as usize] - first;
        out[octet as usize] = (magnitude | (code & 0x80)) ^ to_toggle;
        if octet == u8::MAX {
            return out;
        }
        octet += 1;
    }
}

/// G.711 table 3: A-law decision values, counted from 1, of the µ-law ones, counted from 0.
const ULAW_ALAW_MAGNITUDES: [u8; 128] = [
    1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
    21, 22, 23, 24, 25, 27, 29, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 48, 49, 50,
    51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75,
    76, 77, 78, 79, 80, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99,
    100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118,
    119, 120, 121, 122, 123, 124, 125, 126, 127, 128,
];

/// G.711 table 4: µ-law decision values of the A-law ones, both counted from 0.
const ALAW_ULAW_MAGNITUDES: [u8; 128] = [
    1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
    32, 33, 33, 34, 34, 35, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49, 49, 50,
    51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73,
    74, 75, 76, 77, 78, 79, 80, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96,
    97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115,
    116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
];

#[derive(Clone, Copy)]
enum Law {
    A,
    Mu,
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the fractions of roots are positive and below 2^32"
)]
mod tests {
    use super::*;

    /// SHA-256 (FIPS 180-4), here only to compare whole tables with published checksums.
    fn sha256(message: &[u8]) -> String {
        let primes = (2u64..).filter(|n| (2..*n).all(|d| d * d > *n || n % d != 0));
        let fraction = |root: f64| ((root.fract() * 2f64.powi(32)).floor()) as u32;
        let primes: Vec<f64> = primes.take(64).map(|n| n as f64).collect();
        let rounds: Vec<u32> = primes.iter().map(|p| fraction(p.cbrt())).collect();
        let mut state: Vec<u32> = primes[..8].iter().map(|p| fraction(p.sqrt())).collect();
        let mut padded = message.to_vec();
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(64), 0);
        if padded.len() - message.len() < 9 {
            padded.resize(padded.len() + 64, 0);
        }
        let at = padded.len() - 8;
        padded[at..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
        for block in padded.chunks_exact(64) {
            let mut w: Vec<u32> = block
                .chunks_exact(4)
                .map(|b| u32::from_be_bytes(b.try_into().unwrap()))
                .collect();
            for i in 16..64 {
                let (a, b) = (w[i - 15], w[i - 2]);
                let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
                let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
                w.push(
                    w[i - 16]
                        .wrapping_add(s0)
                        .wrapping_add(w[i - 7])
                        .wrapping_add(s1),
                );
            }
            let mut v = state.clone();
            for i in 0..64 {
                let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
                let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
                let t1 = v[7].wrapping_add(s1).wrapping_add(choice);
                let t1 = t1.wrapping_add(rounds[i]).wrapping_add(w[i]);
                let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
                let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
                v.rotate_right(1);
                v[4] = v[4].wrapping_add(t1);
                v[0] = t1.wrapping_add(s0).wrapping_add(majority);
            }
            state
                .iter_mut()
                .zip(v)
                .for_each(|(s, v)| *s = s.wrapping_add(v));
        }
        state.iter().map(|word| format!("{word:08x}")).collect()
    }

    fn encoded(law: fn(i16) -> u8) -> String {
        sha256(&(i16::MIN..=i16::MAX).map(law).collect::<Vec<_>>())
    }

    fn decoded(law: fn(u8) -> i16) -> String {
        sha256(
            &(0..=255)
                .flat_map(|octet| law(octet).to_le_bytes())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn sha256_of_abc_is_the_standards() {
        assert!(sha256(b"abc").starts_with("ba7816bf8f01cfea414140de5dae2223"));
    }

    #[test]
    fn encoders_are_bit_exact_to_g191() {
        let ulaw = "90c29de505fb68e766118303bd552a16005dcf810873698bee1d8f3b247ce28c";
        let alaw = "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b";
        assert_eq!(encoded(linear_to_ulaw), ulaw);
        assert_eq!(encoded(linear_to_alaw), alaw);
    }

    #[test]
    fn decoders_are_bit_exact_to_g191() {
        let ulaw = "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827";
        let alaw = "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174";
        assert_eq!(decoded(ulaw_to_linear), ulaw);
        assert_eq!(decoded(alaw_to_linear), alaw);
    }

    #[test]
    fn every_octet_survives_a_round_trip() {
        for octet in 0..=255u8 {
            // µ-law has two zeros; the negative one comes back as the positive one.
            let expected = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(linear_to_ulaw(ulaw_to_linear(octet)), expected);
            assert_eq!(linear_to_alaw(alaw_to_linear(octet)), octet);
        }
        assert_eq!(linear_to_ulaw(0), ULAW_SILENCE);
        assert_eq!(linear_to_alaw(0), ALAW_SILENCE);
    }

    #[test]
    fn tandem_from_ulaw_settles_at_once() {
        let (mut changed, mut settled) = (Vec::new(), 0);
        for ulaw in 0..=255u8 {
            let alaw = ulaw_to_alaw_octet(ulaw);
            let again = alaw_to_ulaw_octet(alaw);
            settled += i32::from(ulaw_to_alaw_octet(again) == alaw);
            assert!(ulaw.abs_diff(again) <= 1);
            if again != ulaw {
                changed.push(ulaw);
            }
        }
        assert_eq!(settled, 256, "a second conversion changes nothing more");
        // Every second of the sixteen smallest magnitudes, zero among them.
        let expected: Vec<u8> = (0..16).step_by(2).map(|n| 0x7f - n).collect();
        let positive = expected.iter().map(|code| code | 0x80);
        let expected: std::collections::BTreeSet<u8> =
            expected.iter().copied().chain(positive).collect();
        assert_eq!(
            changed
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>(),
            expected
        );
    }

    #[test]
    fn tandem_from_alaw_settles_at_once() {
        let mut changed = Vec::new();
        for alaw in 0..=255u8 {
            let ulaw = alaw_to_ulaw_octet(alaw);
            let again = ulaw_to_alaw_octet(ulaw);
            assert_eq!(alaw_to_ulaw_octet(again), ulaw);
            if again != alaw {
                changed.push(alaw ^ ALAW_TOGGLE);
            }
        }
        let positive = [25, 27, 29, 31, 44, 46, 62, 80].map(|code| code | 0x80);
        changed.sort_unstable();
        assert_eq!(changed[..8], positive.map(|code| code & 0x7f));
        assert_eq!(changed[8..], positive);
    }

    /// The direct tables may choose another code only where it is as near, within µ-law's
    /// smallest step: at most one code away.
    #[test]
    fn tables_agree_with_the_linear_way_within_a_step() {
        for octet in 0..=255u8 {
            let direct = alaw_to_linear(ulaw_to_alaw_octet(octet));
            let linear = ulaw_to_linear(octet);
            let over = linear_to_alaw(linear);
            let (direct_code, over_code) = (ulaw_to_alaw_octet(octet) ^ 0x55, over ^ 0x55);
            // Zero has two signs, and the linear way loses the negative one.
            if linear != 0 {
                assert!(direct_code.abs_diff(over_code) <= 1, "{octet}");
            }
            let (d, o) = (i32::from(direct), i32::from(alaw_to_linear(over)));
            let linear = i32::from(linear);
            assert!(
                (d - linear).abs() <= (o - linear).abs() + 8,
                "{octet}: {d} {o} {linear}"
            );

            let direct = alaw_to_ulaw_octet(octet);
            let over = linear_to_ulaw(alaw_to_linear(octet));
            assert!(direct.abs_diff(over) <= 1, "{octet}");
        }
    }

    #[test]
    fn slices_convert_as_far_as_both_reach() {
        let all: Vec<u8> = (0..=255).collect();
        let mut pcm = [0i16; 200];
        assert_eq!(decode_ulaw(&all, &mut pcm), 200);
        assert!(
            pcm.iter()
                .zip(&all)
                .all(|(pcm, octet)| *pcm == ulaw_to_linear(*octet))
        );
        let mut octets = [0; 300];
        assert_eq!(encode_ulaw(&pcm, &mut octets), 200);
        // 0x7f is minus zero.
        assert!(
            octets
                .iter()
                .zip(&all[..200])
                .all(|(a, b)| a == b || *b == 0x7f)
        );
        assert_eq!(decode_alaw(&all, &mut pcm), 200);
        assert_eq!(encode_alaw(&pcm, &mut octets[..150]), 150);
        assert_eq!(octets[..150], all[..150]);
        let mut both = all.clone();
        ulaw_to_alaw(&mut both);
        assert!(
            both.iter()
                .zip(&all)
                .all(|(a, u)| *a == ulaw_to_alaw_octet(*u))
        );
        both.copy_from_slice(&all);
        alaw_to_ulaw(&mut both);
        assert!(
            both.iter()
                .zip(&all)
                .all(|(u, a)| *u == alaw_to_ulaw_octet(*a))
        );
    }
}
