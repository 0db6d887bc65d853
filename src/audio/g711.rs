//! G.711 µ-law and A-law, bit exact to the ITU-T software tool library (G.191).
//!
//! Linear samples are 16 bit. Encoders truncate as G.191 does; other libraries round at some
//! decision boundaries, which is inaudible but makes outputs differ.

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

static ULAW_TO_LINEAR: [i16; 256] = table(Law::Mu);
static ALAW_TO_LINEAR: [i16; 256] = table(Law::A);

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
    // Segments double in width from 64 on; leading zeros give the segment without a loop.
    let segment = 11 - (magnitude.leading_zeros() + 1);
    let interval = low_nibble(magnitude >> (segment + 1));
    let code = (nibble(7 - segment) << 4) | (0xf - interval);
    if sample < 0 { code } else { code | 0x80 }
}

/// The A-law octet of a linear sample.
#[must_use]
pub fn linear_to_alaw(sample: i16) -> u8 {
    let magnitude = ones_magnitude(sample) >> 4;
    let code = if magnitude < 32 {
        low_octet(magnitude)
    } else {
        let shift = 11 - magnitude.leading_zeros();
        (nibble(shift + 1) << 4) | low_nibble(magnitude >> shift)
    };
    let signed = if sample < 0 { code } else { code | 0x80 };
    signed ^ ALAW_TOGGLE
}

/// Magnitude in ones' complement, 0 to 32 767: what G.191 uses so that −32 768 needs no clipping.
fn ones_magnitude(sample: i16) -> u16 {
    if sample < 0 {
        (!sample).cast_unsigned()
    } else {
        sample.cast_unsigned()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "masked to four bits")]
fn low_nibble(value: u16) -> u8 {
    (value & 0xf) as u8
}

#[allow(clippy::cast_possible_truncation, reason = "masked to eight bits")]
fn low_octet(value: u16) -> u8 {
    (value & 0xff) as u8
}

#[allow(clippy::cast_possible_truncation, reason = "masked to four bits")]
fn nibble(value: u32) -> u8 {
    (value & 0xf) as u8
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
}
