//! Linear prediction: the spectral envelope of a piece of sound, and what it does not explain.

/// Highest order of a predictor.
pub(super) const ORDER_MAX: usize = 32;

/// Samples an all-pole filter makes between moves of its memory.
const BLOCK: usize = 64;

/// Share of the energy added as white noise before solving, −30 dB: keeps poles off the unit
/// circle for pure tones and digital silence alike.
const WHITE: f64 = 1e-3;

/// Sum of products; eight running sums, so that the compiler may use vector registers.
pub(in crate::audio) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (left_chunks, right_chunks) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest = left_chunks.remainder().iter().zip(right_chunks.remainder());
    let tail: f32 = rest.map(|(l, r)| l * r).sum();
    for (l, r) in left_chunks.zip(right_chunks) {
        for (sum, (l, r)) in sums.iter_mut().zip(l.iter().zip(r)) {
            *sum += l * r;
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// A predictor with the memory of its synthesis filter 1/A(z).
///
/// Coefficients are kept last first: the newest sample's comes last, as samples lie in memory.
#[derive(Debug, Clone)]
pub(super) struct Predictor {
    order: usize,
    weights: [f32; ORDER_MAX],
    /// The last `order` samples of the output, then room for a block.
    memory: [f32; ORDER_MAX + BLOCK],
}

impl Predictor {
    /// One that predicts nothing. `order` is at most [`ORDER_MAX`].
    pub(super) fn new(order: usize) -> Self {
        assert!(order <= ORDER_MAX, "a predictor of order {order}");
        Self {
            order,
            weights: [0.0; ORDER_MAX],
            memory: [0.0; ORDER_MAX + BLOCK],
        }
    }

    /// Fits the predictor to a windowed piece by the autocorrelation method, which always gives a
    /// stable filter, and clears its memory. Gives the energy that is left unexplained.
    pub(super) fn fit(&mut self, windowed: &[f32]) -> f32 {
        let order = self.order;
        let mut correlation = [0.0_f64; ORDER_MAX + 1];
        for (lag, value) in correlation[..=order].iter_mut().enumerate() {
            let overlap = windowed.len().saturating_sub(lag);
            *value = f64::from(dot(
                &windowed[windowed.len() - overlap..],
                &windowed[..overlap],
            ));
        }
        // A constant too: digital silence has no envelope to divide by.
        correlation[0] = correlation[0] * (1.0 + WHITE) + 1.0;
        let mut solution = [0.0; ORDER_MAX];
        let left = levinson(&correlation[..=order], &mut solution[..order]);
        for (weight, value) in self.weights[..order]
            .iter_mut()
            .zip(solution[..order].iter().rev())
        {
            *weight = narrow(*value);
        }
        self.memory = [0.0; ORDER_MAX + BLOCK];
        narrow(left)
    }

    /// What the predictor does not explain of the last `residual.len()` samples of `sound`, which
    /// must have `order` samples more. The memory then holds the end of `sound`, so that synthesis
    /// goes on where it stopped.
    pub(super) fn analyse(&mut self, sound: &[f32], residual: &mut [f32]) {
        let order = self.order;
        let start = sound.len() - residual.len();
        for (at, value) in (start..).zip(residual.iter_mut()) {
            *value = sound[at] - dot(&sound[at - order..at], &self.weights[..order]);
        }
        self.memory[..order].copy_from_slice(&sound[sound.len() - order..]);
    }

    /// Turns an excitation into sound, in place.
    pub(super) fn synthesise(&mut self, excitation: &mut [f32]) {
        let order = self.order;
        for block in excitation.chunks_mut(BLOCK) {
            for (at, value) in block.iter_mut().enumerate() {
                *value += dot(&self.memory[at..at + order], &self.weights[..order]);
                self.memory[at + order] = *value;
            }
            let end = block.len();
            self.memory.copy_within(end..end + order, 0);
        }
    }
}

/// Levinson–Durbin: `solution[k]` is the weight of the sample `k + 1` ago. Gives the energy left.
fn levinson(correlation: &[f64], solution: &mut [f64]) -> f64 {
    let mut left = correlation[0];
    for now in 0..solution.len() {
        let mut sum = correlation[now + 1];
        for (weight, value) in solution[..now]
            .iter()
            .zip(correlation[1..=now].iter().rev())
        {
            sum -= weight * value;
        }
        let reflection = sum / left;
        solution[now] = reflection;
        let (mut low, mut high) = (0, now);
        while low < high {
            high -= 1;
            let (first, last) = (solution[low], solution[high]);
            solution[low] = first - reflection * last;
            if low != high {
                solution[high] = last - reflection * first;
            }
            low += 1;
        }
        left *= 1.0 - reflection * reflection;
    }
    left
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "audio needs no more than 24 bits"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_found_again_from_its_sound() {
        let mut seed = 1_u32;
        let mut sound = vec![0.0_f32; 4096];
        for at in 2..sound.len() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f32::from((seed >> 16) as u16) - 32_768.0;
            sound[at] = 1.2 * sound[at - 1] - 0.6 * sound[at - 2] + 0.1 * noise;
        }
        let mut predictor = Predictor::new(2);
        predictor.fit(&sound);
        let [two_ago, one_ago] = [predictor.weights[0], predictor.weights[1]];
        assert!((one_ago - 1.2).abs() < 0.05, "{one_ago}");
        assert!((two_ago + 0.6).abs() < 0.05, "{two_ago}");
    }

    #[test]
    fn analysis_and_synthesis_undo_each_other() {
        let sound: Vec<f32> = (0..300_u16)
            .map(|n| (f32::from(n) * 0.7).sin() * 900.0)
            .collect();
        let mut predictor = Predictor::new(16);
        predictor.fit(&sound);
        let mut residual = [0.0; 200];
        predictor.analyse(&sound, &mut residual);
        predictor.memory[..16].copy_from_slice(&sound[84..100]);
        predictor.synthesise(&mut residual);
        for (made, was) in residual.iter().zip(&sound[100..]) {
            assert!((made - was).abs() < 1.0, "{made} {was}");
        }
    }

    #[test]
    fn silence_predicts_silence() {
        let mut predictor = Predictor::new(16);
        predictor.fit(&[0.0; 160]);
        let mut sound = [0.0; 100];
        predictor.synthesise(&mut sound);
        assert_eq!(sound, [0.0; 100]);
    }
}
