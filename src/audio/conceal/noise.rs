//! Background noise: what is heard of a room and a line when nobody speaks.

use super::predict::Predictor;

/// Quiet sound that is kept to learn from, in milliseconds.
const KEPT_MS: usize = 60;

/// Level is judged in pieces this long.
const PIECE_MS: usize = 10;

/// Louder sound than this mean square (−45 dBov) is never taken for background.
const POWER_MAX: f32 = 33_900.0;

/// The floor follows down at once and up by this factor per piece, about 2 dB per second.
const FLOOR_RISE: f32 = 1.005;

/// Pieces within this factor (6 dB) of the floor are background.
const FLOOR_NEAR: f32 = 4.0;

/// Order of the envelope: the colour of a noise, no formants.
const ORDER: usize = 8;

/// A fixed sequence without audible pattern: the same input always gives the same output.
#[derive(Debug, Clone)]
pub(super) struct Noise(u32);

impl Noise {
    pub(super) fn new() -> Self {
        Self(0x2545_f491)
    }

    fn next(&mut self) -> u16 {
        // Constants of Numerical Recipes; the high half is the good one.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as u16
    }

    /// Evenly from 0 to `count` − 1; `count` is at most 65 536.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (usize::from(self.next()) * count) >> 16
    }

    /// Evenly spread around 0 with a mean square of 1.
    fn unit(&mut self) -> f32 {
        (f32::from(self.next()) - 32_767.5) * (3.0_f32.sqrt() / 32_768.0)
    }
}

/// Learns the background of a sound and makes more of it.
#[derive(Debug)]
pub(super) struct Background {
    piece: usize,
    /// A ring of quiet pieces; a seam in it does not matter to a noise.
    quiet: Vec<f32>,
    at: usize,
    floor: f32,
    predictor: Predictor,
    amplitude: f32,
    noise: Noise,
}

impl Background {
    pub(super) fn new(rate_hz: usize) -> Self {
        Self {
            piece: PIECE_MS * rate_hz / 1_000,
            quiet: vec![0.0; KEPT_MS / PIECE_MS * (PIECE_MS * rate_hz / 1_000)],
            at: 0,
            floor: POWER_MAX,
            predictor: Predictor::new(ORDER),
            amplitude: 0.0,
            noise: Noise::new(),
        }
    }

    /// Looks whether sound is background and keeps it if so.
    pub(super) fn hear(&mut self, pcm: &[i16]) {
        for piece in pcm.chunks_exact(self.piece) {
            let power = mean_square(piece);
            self.floor = power.min((self.floor.max(1.0) * FLOOR_RISE).min(POWER_MAX));
            if power <= (self.floor * FLOOR_NEAR).min(POWER_MAX) {
                let kept = &mut self.quiet[self.at..self.at + piece.len()];
                for (kept, sample) in kept.iter_mut().zip(piece) {
                    *kept = f32::from(*sample);
                }
                self.at = (self.at + piece.len()) % self.quiet.len();
            }
        }
    }

    /// Takes the envelope and level of what was kept.
    pub(super) fn learn(&mut self) {
        let left = self.predictor.fit(&self.quiet);
        self.amplitude = (left / count(self.quiet.len())).sqrt();
        // The predictor's own floor of noise must not be heard on a silent line.
        if self.amplitude < 0.5 {
            self.amplitude = 0.0;
        }
    }

    /// More of the background.
    pub(super) fn go_on(&mut self, out: &mut [f32]) {
        for sample in out.iter_mut() {
            *sample = self.amplitude * self.noise.unit();
        }
        self.predictor.synthesise(out);
    }
}

/// In integers, which the compiler vectorises: this runs for every good packet.
#[allow(
    clippy::cast_precision_loss,
    reason = "a level needs no more than 24 bits"
)]
fn mean_square(piece: &[i16]) -> f32 {
    let square = |sample: &i16| u64::from(i32::from(*sample).pow(2).unsigned_abs());
    piece.iter().map(square).sum::<u64>() as f32 / count(piece.len())
}

#[allow(clippy::cast_precision_loss, reason = "lengths below 2^24")]
fn count(samples: usize) -> f32 {
    samples as f32
}
