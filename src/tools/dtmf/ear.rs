//! A detector for sound of any rate, which says when in the stream it heard what.

use anyhow::Result;

use super::line::Line;
use super::rate::ToTelephony;
use crate::audio::dtmf::{Detector, Heard, RATES_HZ, Tone};
use crate::engine::DigitSource;

/// Rate of the detector where it does not know that of the sound.
const TELEPHONY_HZ: u32 = 8_000;

/// Silence that is heard after the end, in milliseconds: a press up to there ends in it.
const TAIL_MS: u32 = 100;

/// Listens to one stream of samples.
pub(super) struct Ear {
    rate_hz: u32,
    /// Where in its stream this sound begins.
    offset_us: u64,
    convert: Option<ToTelephony>,
    detector: Detector,
    detector_hz: u32,
    heard_samples: u64,
    /// What the detector told with the position at which it did.
    open: Option<(Tone, u64)>,
    lines: Vec<Line>,
    scratch: Vec<i16>,
}

impl Ear {
    /// # Errors
    /// When no detector can be had for the rate.
    pub(super) fn new(rate_hz: u32, offset_us: u64) -> Result<Self> {
        let is_known = RATES_HZ.contains(&rate_hz);
        let detector_hz = if is_known { rate_hz } else { TELEPHONY_HZ };
        Ok(Self {
            rate_hz,
            offset_us,
            convert: (!is_known).then(|| ToTelephony::new(rate_hz, TELEPHONY_HZ)),
            detector: Detector::new(detector_hz)?,
            detector_hz,
            heard_samples: 0,
            open: None,
            lines: Vec::new(),
            scratch: Vec::new(),
        })
    }

    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Where in the stream the next sample is.
    pub(super) fn position_us(&self) -> u64 {
        self.offset_us + time_us(self.heard_samples, self.rate_hz)
    }

    /// Hears the next samples; what it declares it does at their end.
    pub(super) fn hear(&mut self, pcm: &[i16]) {
        self.heard_samples += pcm.len() as u64;
        let report_us = self.position_us();
        self.feed(pcm, report_us);
    }

    /// The sound ends here, and a press that lasts with it.
    pub(super) fn finish(&mut self) {
        let end_us = self.position_us();
        let before = self.lines.len();
        let tail = self.rate_hz as usize * TAIL_MS as usize / 1_000;
        self.feed(&vec![0; tail], end_us);
        if let Some((tone, report_us)) = self.open.take() {
            let line = self.line(&tone, report_us);
            self.lines.push(Line { end_us, ..line });
        }
        for line in &mut self.lines[before..] {
            line.end_us = line.end_us.min(end_us);
        }
    }

    /// The presses that ended since the last call.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Line> {
        std::mem::take(&mut self.lines).into_iter()
    }

    fn feed(&mut self, pcm: &[i16], report_us: u64) {
        let pcm = match &mut self.convert {
            Some(convert) => {
                self.scratch.clear();
                convert.push(pcm, &mut self.scratch);
                &self.scratch[..]
            }
            None => pcm,
        };
        let open = &mut self.open;
        let mut ended = Vec::new();
        self.detector.feed(pcm, &mut |heard| match heard {
            Heard::Began(tone) => *open = Some((tone, report_us)),
            Heard::Ended(tone) => {
                let began_us = open.take().map_or(report_us, |(_, began_us)| began_us);
                ended.push((tone, began_us));
            }
        });
        for (tone, began_us) in ended {
            let line = self.line(&tone, began_us);
            self.lines.push(line);
        }
    }

    fn line(&self, tone: &Tone, report_us: u64) -> Line {
        let at_us = |sample| self.offset_us + time_us(sample, self.detector_hz);
        Line {
            code: tone.digit.code(),
            source: DigitSource::InBand,
            start_us: at_us(tone.start),
            end_us: at_us(tone.end),
            report_us,
            level_dbm0: Some(tone.level_dbm0),
            twist_db: Some(tone.twist_db),
            confidence: tone.confidence,
            channel: None,
            stream: None,
            also_in_band: false,
        }
    }
}

fn time_us(samples: u64, rate_hz: u32) -> u64 {
    let rate = u64::from(rate_hz.max(1));
    samples / rate * 1_000_000 + samples % rate * 1_000_000 / rate
}
