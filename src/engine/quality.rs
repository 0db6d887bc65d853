//! How somebody sounded, estimated from what was received of them.

use super::api::StreamReport;

impl StreamReport {
    /// Estimated mean opinion score, 1 to 4.5, of so many packets received and lost with this
    /// interarrival jitter, at the round-trip time of this stream: the E-model (ITU-T G.107,
    /// simplified for G.711 as in Cole and Rosenbluth, "Voice over IP performance monitoring",
    /// 2001).
    #[must_use]
    pub fn mos(&self, received: u64, lost: u64, jitter_ms: f32) -> f64 {
        let expected = received.saturating_add(lost).max(1);
        let loss = lost as f64 / expected as f64;
        let rtt_ms = self.rtt.map_or(0.0, |rtt| rtt.as_secs_f64() * 1e3);
        mos(loss, f64::from(jitter_ms), rtt_ms)
    }
}

fn mos(loss: f64, jitter_ms: f64, rtt_ms: f64) -> f64 {
    let delay = rtt_ms / 2.0 + 2.0 * jitter_ms + 20.0;
    let late = if delay > 177.3 {
        0.11 * (delay - 177.3)
    } else {
        0.0
    };
    let r = 94.2 - 0.024 * delay - late - 30.0 * (1.0 + 15.0 * loss).ln();
    let r = r.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + 7.0e-6 * r * (r - 60.0) * (100.0 - r)).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mos_is_good_on_a_clean_line_and_falls_with_loss_and_delay() {
        let clean = mos(0.0, 1.0, 20.0);
        assert!((4.3..=4.5).contains(&clean), "{clean}");
        assert!(mos(0.05, 1.0, 20.0) < clean - 0.3);
        assert!(mos(0.0, 1.0, 800.0) < clean - 0.5);
        assert!(mos(1.0, 500.0, 9000.0) >= 1.0);
    }
}
