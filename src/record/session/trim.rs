//! Silence that may be the end: held back until somebody speaks again.

use std::time::Duration;

use crate::audio::level::Activity;

/// Most sound that is held back; what is older is no silence at the end any more.
pub(super) const HELD_MAX: Duration = Duration::from_secs(30);

/// The same in octets of samples, whichever is less.
pub(super) const HELD_BYTES_MAX: usize = 2 << 20;

/// What is louder is kept although nobody speaks.
const QUIET_DB: f32 = -48.0;

/// Holds back silence.
#[derive(Debug)]
pub(super) struct Trim {
    channels: usize,
    most: usize,
    held: Vec<i16>,
    give: usize,
    silent: bool,
}

impl Trim {
    pub(super) fn new(rate_hz: u32, channels: u8) -> Self {
        let channels = usize::from(channels.max(1));
        let samples = usize::try_from(super::samples(HELD_MAX, rate_hz)).unwrap_or(usize::MAX);
        let most = samples.min(HELD_BYTES_MAX / size_of::<i16>() / channels);
        Self {
            channels,
            most: most * channels,
            held: Vec::new(),
            give: 0,
            silent: false,
        }
    }

    /// How the next block sounds.
    pub(super) fn heard(&mut self, activity: Activity) {
        self.silent = !activity.speech && activity.level_db < QUIET_DB;
    }

    /// Takes the next block: what was held back and is not the end, and then what is new of what
    /// goes on. [`done`](Self::done) afterwards.
    pub(super) fn put<'a>(&'a mut self, pcm: &'a [i16]) -> (&'a [i16], &'a [i16]) {
        if !self.silent {
            self.give = self.held.len();
            return (&self.held, pcm);
        }
        self.held.extend_from_slice(pcm);
        self.give = self.held.len().saturating_sub(self.most);
        (&[], &self.held[..self.give])
    }

    pub(super) fn done(&mut self) {
        self.held.drain(..self.give);
        self.give = 0;
    }

    /// Samples of each channel that are held back.
    pub(super) fn held(&self) -> u64 {
        (self.held.len() / self.channels) as u64
    }
}
