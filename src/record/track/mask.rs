//! Keys that are taken out of what a party says.
//!
//! Where the call hides a party's keys, its sound comes here with them in it. Whatever anybody
//! could take for a key ([`Wary`]) is silence in the recording. A key is known some time after it
//! began; so sound that is to be masked is made a little before it is read.

use super::super::span::SpanKind;
use super::ready::Ready;
use crate::audio::dtmf::Wary;

/// How long before it is read sound is heard: more than `Wary` takes to tell, and its fade.
pub(super) const AHEAD_MS: i64 = 60;

/// It goes on listening for so long after the last packet that is to be masked.
const HANG_MS: i64 = 200;

/// Fading out and in.
const RAMP_MS: i64 = 4;

/// Stretches at a time; more are one.
const HIDDEN_MAX: usize = 16;

/// Listens to one track.
#[derive(Debug)]
pub(super) struct Mask {
    wary: Box<Wary>,
    per_ms: i64,
    /// The number of the first sample it heard, and of the first that it did not.
    origin: i64,
    heard: i64,
    /// It listens up to here.
    until: i64,
    /// What is taken out: first sample, and the one behind the last.
    hidden: Vec<(i64, i64)>,
}

impl Mask {
    /// For sound from a sample on; `None`: keys cannot be heard at this rate.
    pub(super) fn new(rate_hz: u32, from: i64) -> Option<Self> {
        let per_ms = i64::from(rate_hz / 1_000);
        Some(Self {
            wary: Box::new(Wary::new(rate_hz).ok()?),
            per_ms,
            origin: from,
            heard: from,
            until: from,
            hidden: Vec::new(),
        })
    }

    /// A packet that is to be masked ends there.
    pub(super) fn extend(&mut self, until: i64) {
        self.until = self.until.max(until + HANG_MS * self.per_ms);
    }

    /// Whether all that it is for was read.
    pub(super) fn is_over(&self, read: i64) -> bool {
        read >= self.until
    }

    /// Hears what was made.
    pub(super) fn hear(&mut self, ready: &mut Ready) {
        let fresh = ready.from(self.heard);
        self.heard += fresh.len().cast_signed() as i64;
        let (origin, hidden) = (self.origin, &mut self.hidden);
        let near = 2 * RAMP_MS * self.per_ms;
        self.wary.feed(fresh, &mut |span| {
            let start = origin + span.start.cast_signed();
            let end = origin + span.end.cast_signed();
            let full = hidden.len() == HIDDEN_MAX;
            match hidden.last_mut() {
                Some(last) if full || start <= last.1 + near => {
                    *last = (last.0.min(start), last.1.max(end));
                }
                _ => hidden.push((start, end)),
            }
        });
    }

    /// Takes keys out of what is read next, up to a sample.
    pub(super) fn cover(&mut self, ready: &mut Ready, until: i64) {
        let (read, ramp) = (ready.read(), RAMP_MS * self.per_ms);
        for (start, end) in &self.hidden {
            let (from, to) = ((start - ramp).max(read), (end + ramp).min(until));
            if from >= to {
                continue;
            }
            for (number, sample) in (from..to).zip(ready.from(from)) {
                let away = (start - number).max(number + 1 - end).clamp(0, ramp);
                *sample = scaled(*sample, away, ramp);
            }
            ready.mark(SpanKind::Masked, (*start).max(read), (*end).min(until));
        }
        self.hidden.retain(|(_, end)| end + ramp > until);
    }
}

/// `sample × part / whole`.
fn scaled(sample: i16, part: i64, whole: i64) -> i16 {
    let scaled = i64::from(sample) * part / whole.max(1);
    i16::try_from(scaled).unwrap_or(sample)
}
