//! L16: linear samples of 16 bits in network order, interleaved (RFC 3551 section 4.5.11).
//!
//! Inside there is one channel only: two are mixed to their mean, and one is sent twice.

/// Most channels understood.
pub const CHANNELS_MAX: u8 = 2;

/// Samples per channel in a payload; `None` if it does not end with a whole one.
#[must_use]
pub fn samples(payload: &[u8], channels: u8) -> Option<usize> {
    let size = 2 * usize::from(channels);
    (size > 0 && payload.len().is_multiple_of(size)).then(|| payload.len() / size)
}

/// Decodes one or two channels into one, as many samples as both slices hold; returns how many.
pub fn decode(payload: &[u8], channels: u8, out: &mut [i16]) -> usize {
    if channels == 2 {
        let (frames, _) = payload.as_chunks::<4>();
        for (frame, sample) in frames.iter().zip(&mut *out) {
            let [a, b, c, d] = *frame;
            *sample = mean(i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]));
        }
        return frames.len().min(out.len());
    }
    let (frames, _) = payload.as_chunks::<2>();
    for (frame, sample) in frames.iter().zip(&mut *out) {
        *sample = i16::from_be_bytes(*frame);
    }
    frames.len().min(out.len())
}

/// Encodes into one channel or into two equal ones; returns the octets written: whole samples
/// only, as many as fit.
pub fn encode(pcm: &[i16], channels: u8, out: &mut [u8]) -> usize {
    if channels == 2 {
        let (frames, _) = out.as_chunks_mut::<4>();
        for (frame, sample) in frames.iter_mut().zip(pcm) {
            let [a, b] = sample.to_be_bytes();
            *frame = [a, b, a, b];
        }
        return 4 * frames.len().min(pcm.len());
    }
    let (frames, _) = out.as_chunks_mut::<2>();
    for (frame, sample) in frames.iter_mut().zip(pcm) {
        *frame = sample.to_be_bytes();
    }
    2 * frames.len().min(pcm.len())
}

/// Rounds down; never overflows.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the mean of two is between them"
)]
fn mean(a: i16, b: i16) -> i16 {
    ((i32::from(a) + i32::from(b)) >> 1) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_in_network_order() {
        let mut out = [0; 8];
        assert_eq!(encode(&[0x0102, -2], 1, &mut out), 4);
        assert_eq!(out[..4], [1, 2, 0xff, 0xfe]);
        assert_eq!(encode(&[0x0102, -2], 2, &mut out), 8);
        assert_eq!(out, [1, 2, 1, 2, 0xff, 0xfe, 0xff, 0xfe]);
        let mut pcm = [0; 4];
        assert_eq!(decode(&out, 2, &mut pcm), 2);
        assert_eq!(pcm[..2], [0x0102, -2]);
    }

    #[test]
    fn two_channels_become_their_mean_without_overflow() {
        for (a, b, mean) in [
            (i16::MAX, i16::MAX, i16::MAX),
            (i16::MIN, i16::MIN, i16::MIN),
            (i16::MAX, i16::MIN, -1),
            (100, 201, 150),
        ] {
            let payload = [a.to_be_bytes(), b.to_be_bytes()].concat();
            let mut out = [0];
            assert_eq!(decode(&payload, 2, &mut out), 1);
            assert_eq!(out, [mean]);
        }
    }

    #[test]
    fn broken_samples_are_noticed_and_short_slices_kept() {
        assert_eq!(samples(&[0; 6], 1), Some(3));
        assert_eq!(samples(&[0; 7], 1), None);
        assert_eq!(samples(&[0; 6], 2), None);
        assert_eq!(samples(&[0; 6], 0), None);
        assert_eq!(decode(&[0; 7], 1, &mut [0; 9]), 3);
        assert_eq!(decode(&[0; 8], 1, &mut [0; 2]), 2);
        assert_eq!(encode(&[1, 2, 3], 2, &mut [0; 7]), 4);
    }
}
