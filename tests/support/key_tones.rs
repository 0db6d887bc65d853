//! The two tones of each key (ITU-T Q.23), written a second time beside the crate.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "shared by test programs that each use a part; tones are far inside every range"
)]

use std::f64::consts::TAU;

const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

/// The keys as they stand, row by row, and in the order of their event codes.
const PLACES: &str = "123A456B789C*0#D";
const CODES: &str = "0123456789*#ABCD";

/// Row and column frequency of a key by its event code.
pub fn hz_of(code: u8) -> [f64; 2] {
    let key = CODES.as_bytes()[usize::from(code)];
    let place = PLACES.bytes().position(|other| other == key).unwrap();
    [ROWS_HZ[place / 4], COLUMNS_HZ[place % 4]]
}

/// The same of its character.
pub fn hz_of_char(key: char) -> [f64; 2] {
    hz_of(CODES.find(key).unwrap() as u8)
}

/// Sample `n` at a rate in Hz of two tones of this amplitude each.
pub fn sample(hz: [f64; 2], amplitude: f64, rate_hz: f64, n: usize) -> i16 {
    let t = n as f64 / rate_hz * TAU;
    (amplitude * hz.map(|hz| (t * hz).sin()).iter().sum::<f64>()) as i16
}
