//! The switch's own receiver, fed as a leg feeds it.

use anyhow::{Result, anyhow};

use super::score::Report;
use super::sound::float;
use crate::audio::dtmf::{Detector, Heard, Tone};

/// Has it listen to a recording of 8 kHz, fed in pieces of so many samples.
pub(super) fn listen(pcm: &[i16], piece: usize) -> Result<Vec<Report>> {
    let mut detector = Detector::new(8_000).map_err(|e| anyhow!("no detector: {e}"))?;
    let mut reports = Vec::new();
    let mut fed = 0;
    for piece in pcm.chunks(piece) {
        fed += piece.len();
        detector.feed(piece, &mut |heard| match heard {
            Heard::Began(tone) => reports.push(Report {
                digit: tone.digit,
                at_ms: float(fed) / 8.0,
                span_ms: None,
            }),
            Heard::Ended(tone) => {
                if let Some(last) = reports.last_mut() {
                    last.span_ms = Some(span_ms(&tone));
                }
            }
        });
    }
    Ok(reports)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "positions in a recording of hours"
)]
fn span_ms(tone: &Tone) -> (f64, f64) {
    (tone.start as f64 / 8.0, tone.end as f64 / 8.0)
}
