//! The quadrature mirror filters: 24 taps between 16 kHz and two bands of 8 kHz.

use super::band::BLOCK;
use super::{saturate, short};

/// Table 11, even and odd taps in turn; symmetric.
const TAPS: [i16; 24] = [
    3, -11, -11, 53, 12, -156, 32, 362, -210, -805, 951, 3876, 3876, 951, -805, -210, 362, 32,
    -156, 12, 53, -11, -11, 3,
];

/// The taps that make the low and the high band, each of a window of the sound.
const LOW: [i16; 24] = TAPS;
const HIGH: [i16; 24] = {
    let (mut taps, mut at) = (TAPS, 0);
    while at < taps.len() {
        taps[at] = -taps[at];
        at += 2;
    }
    taps
};

/// The taps that make first and second samples, behind zeros that fill up vectors.
const FIRST: [i16; 16] = every_second(1);
const SECOND: [i16; 16] = every_second(0);

const fn every_second(from: usize) -> [i16; 16] {
    let (mut taps, mut at) = ([0; 16], 0);
    while at < TAPS.len() / 2 {
        taps[4 + at] = TAPS[2 * at + from];
        at += 1;
    }
    taps
}

/// Samples by which both filters together delay.
pub(super) const DELAY: usize = TAPS.len() - 2;

/// The transmit filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Analysis {
    /// The last samples, oldest first.
    past: [i16; DELAY],
}

impl Analysis {
    /// As it is after these samples.
    pub(super) fn after(past: [i16; DELAY]) -> Self {
        Self { past }
    }

    /// Splits at most [`BLOCK`] pairs of samples into as many of each band.
    pub(super) fn split(&mut self, pcm: &[i16], low: &mut [i16], high: &mut [i16]) {
        let mut all = [0; DELAY + 2 * BLOCK];
        let (past, now) = all.split_at_mut(self.past.len());
        past.copy_from_slice(&self.past);
        now[..pcm.len()].copy_from_slice(pcm);
        let pairs = pcm.len() / 2;
        let bands = low[..pairs].iter_mut().zip(&mut high[..pairs]);
        for (at, (low, high)) in bands.enumerate() {
            let window: &[i16; 24] = all[2 * at..][..24].as_array().expect("24");
            // At most 12,964 / 2^14 of full scale: 16 bits.
            *low = short(dot(window, &LOW) >> 14);
            *high = short(dot(window, &HIGH) >> 14);
        }
        let kept = self.past.len();
        self.past.copy_from_slice(&all[2 * pairs..][..kept]);
    }
}

/// The receive filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Synthesis {
    /// The last differences and sums of the bands, oldest first.
    differences: [i16; 15],
    sums: [i16; 15],
}

impl Synthesis {
    /// Joins at most [`BLOCK`] samples of each band into as many pairs of samples. The bands have
    /// 15 bits.
    pub(super) fn join(&mut self, low: &[i16], high: &[i16], out: &mut [i16]) {
        let (mut differences, mut sums) = ([0; 15 + BLOCK], [0; 15 + BLOCK]);
        differences[..15].copy_from_slice(&self.differences);
        sums[..15].copy_from_slice(&self.sums);
        let both = differences[15..].iter_mut().zip(&mut sums[15..]);
        for ((difference, sum), (low, high)) in both.zip(low.iter().zip(high)) {
            *difference = low - high;
            *sum = low + high;
        }
        let (pairs, _) = out.as_chunks_mut::<2>();
        for (at, pair) in pairs.iter_mut().enumerate() {
            let differences = differences[at..][..16].as_array().expect("16");
            let sums = sums[at..][..16].as_array().expect("16");
            let both = [dot(differences, &FIRST), dot(sums, &SECOND)];
            *pair = both.map(|sum| short(saturate(sum >> 11)));
        }
        let count = low.len();
        self.differences
            .copy_from_slice(&differences[count..][..15]);
        self.sums.copy_from_slice(&sums[count..][..15]);
    }
}

#[inline(always)]
fn dot<const LENGTH: usize>(window: &[i16; LENGTH], taps: &[i16; LENGTH]) -> i32 {
    let pairs = window.iter().zip(taps);
    pairs.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}
