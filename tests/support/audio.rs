//! G.711 µ-law, tone markers and the Goertzel detector that finds them again.

use std::f32::consts::TAU;

/// Samples per second of everything here.
pub const RATE_HZ: f32 = 8000.0;

/// One µ-law byte of a linear sample (ITU-T G.711).
pub fn ulaw_encode(sample: i16) -> u8 {
    const BIAS: i32 = 132;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = 24 - (magnitude as u32).leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    !(sign | ((exponent as u8) << 4) | mantissa as u8)
}

/// The linear sample of one µ-law byte.
pub fn ulaw_decode(byte: u8) -> i16 {
    let bits = !byte;
    let magnitude = ((i32::from(bits & 0x0F) << 3) + 132) << ((bits >> 4) & 7);
    let value = magnitude - 132;
    (if bits & 0x80 == 0 { value } else { -value }) as i16
}

/// 160 µ-law bytes of a sine, in phase with the stream's timestamp.
pub fn tone(hz: f32, timestamp: u32) -> Vec<u8> {
    (0..160u32)
        .map(|n| {
            // Reduced to one second first: f32 loses the phase of large timestamps.
            let at = timestamp.wrapping_add(n) % 8000;
            ulaw_encode((8000.0 * (TAU * hz * at as f32 / RATE_HZ).sin()) as i16)
        })
        .collect()
}

/// How much of the energy of µ-law `bytes` is at `hz`: 1.0 is a pure sine, 0.0 none of it.
/// In windows of 100 ms, so that a phase jump costs one window and not the whole.
pub fn share_of_tone(bytes: &[u8], hz: f32) -> f32 {
    let shares: Vec<f32> = bytes
        .chunks_exact(800)
        .map(|window| goertzel(window, hz))
        .collect();
    if shares.is_empty() {
        0.0
    } else {
        shares.iter().sum::<f32>() / shares.len() as f32
    }
}

/// The same of a single window of any length.
pub fn goertzel(window: &[u8], hz: f32) -> f32 {
    let coefficient = 2.0 * (TAU * hz / RATE_HZ).cos();
    let (mut one, mut two, mut energy) = (0.0f32, 0.0f32, 0.0f32);
    for &byte in window {
        let sample = f32::from(ulaw_decode(byte)) / 32768.0;
        energy += sample * sample;
        (one, two) = (sample + coefficient * one - two, one);
    }
    let power = one * one + two * two - coefficient * one * two;
    if energy < 1e-6 {
        0.0
    } else {
        2.0 * power / (energy * window.len() as f32)
    }
}

/// A WAV file of a tone: 8 kHz, 16 bits, mono.
pub fn wav(hz: f64, ms: usize) -> Vec<u8> {
    wav_of(&sine(hz, ms))
}

/// A quarter of full scale, at 8 kHz.
pub fn sine(hz: f64, ms: usize) -> Vec<i16> {
    let turn = std::f64::consts::TAU * hz / 8e3;
    (0..8 * ms)
        .map(|n| (8_000.0 * (turn * n as f64).sin()) as i16)
        .collect()
}

/// A WAV file of these samples: 8 kHz, 16 bits, mono.
pub fn wav_of(samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// Channels of a WAV file of 16 bits.
pub fn channels(file: &[u8]) -> Vec<Vec<i16>> {
    assert_eq!((&file[..4], &file[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4")) as usize;
    let (mut at, mut count) = (12, 0);
    loop {
        let len = word(at + 4);
        match &file[at..at + 4] {
            b"fmt " => count = usize::from(file[at + 10]),
            b"data" => {
                let data = &file[at + 8..at + 8 + len];
                let samples = data.chunks_exact(2);
                let samples = samples.map(|two| i16::from_le_bytes([two[0], two[1]]));
                let samples: Vec<i16> = samples.collect();
                let of = |channel: usize| samples.iter().copied().skip(channel).step_by(count);
                return (0..count).map(|channel| of(channel).collect()).collect();
            }
            _ => {}
        }
        at += 8 + len + len % 2;
    }
}

/// Base 64 (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, n| {
            bits << 8 | u32::from(*group.get(n).unwrap_or(&0))
        });
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// Level of a tone in µ-law `bytes`, in dB of a full-scale sine, under a Hann window: what lies two
/// widths of the window (2 / its length) or further away does not show. At least −120.
pub fn level_db(bytes: &[u8], hz: f32) -> f32 {
    let count = bytes.len() as f32;
    let (mut re, mut im) = (0.0f32, 0.0f32);
    for (n, &byte) in bytes.iter().enumerate() {
        let turn = TAU * n as f32;
        let window = 1.0 - (turn / count).cos();
        let sample = window * f32::from(ulaw_decode(byte)) / 32768.0;
        re += sample * (turn * hz / RATE_HZ).cos();
        im += sample * (turn * hz / RATE_HZ).sin();
    }
    let peak = 2.0 * re.hypot(im) / count.max(1.0);
    20.0 * peak.max(1e-6).log10()
}

#[test]
fn ulaw_survives_a_round_trip_and_a_tone_is_found() {
    for byte in 0..=255u8 {
        // 0x7F is negative zero, whose linear value encodes as 0xFF.
        if byte != 0x7F {
            assert_eq!(ulaw_encode(ulaw_decode(byte)), byte);
        }
    }
    let bytes: Vec<u8> = (0..10).flat_map(|n| tone(600.0, n * 160)).collect();
    assert!(share_of_tone(&bytes, 600.0) > 0.98);
    assert!(share_of_tone(&bytes, 1000.0) < 0.02);
    assert!(share_of_tone(&[0xFF; 1600], 600.0) < 0.01);
    let level = level_db(&bytes[..800], 600.0);
    assert!((level - 20.0 * (8000.0f32 / 32768.0).log10()).abs() < 0.1);
    assert!(level_db(&bytes[..800], 750.0) < level - 60.0);
    assert!(level_db(&[0xFF; 800], 600.0) < -110.0);
}
