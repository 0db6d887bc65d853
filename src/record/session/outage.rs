//! Between a session and its disk: what does not fit becomes silence of the same length.

use std::time::Duration;

use super::{DiskState, Output, samples};

/// Octets that are kept free for the end of the file.
pub(in crate::record) const END_LEN: usize = 16 << 10;

/// Silence that is made at a time, so that other recordings get their turn.
const SILENCE_AT_ONCE: Duration = Duration::from_secs(4);

/// What was lost, in samples of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) error: Box<str>,
}

/// Counts what the file has got, and what is owed to it.
#[derive(Debug)]
pub(super) struct Outage {
    silence_at_once: u64,
    frame_len: usize,
    /// Samples of each channel that the file has got.
    given: u64,
    /// Samples of each channel that are to become silence.
    owed: u64,
    /// The outage that is: where it began, and what the disk said.
    since: Option<(u64, Option<Box<str>>)>,
    paying: bool,
}

impl Outage {
    pub(super) fn new(rate_hz: u32, channels: u8) -> Self {
        Self {
            silence_at_once: samples(SILENCE_AT_ONCE, rate_hz),
            frame_len: usize::from(channels.max(1)) * size_of::<i16>(),
            given: 0,
            owed: 0,
            since: None,
            paying: false,
        }
    }

    /// Nothing is owed.
    pub(super) fn is_over(&self) -> bool {
        self.since.is_none()
    }

    /// Samples of each channel that the file has got.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Whether the next samples can be given to the file. If not, they are owed.
    pub(super) fn admit(&mut self, len: u64, disk: &DiskState, out: &Output) -> bool {
        if self.since.is_none() && self.room(disk, out) < len {
            self.since = Some((self.given, disk.error.clone()));
            self.paying = false;
        }
        self.admit_held(len)
    }

    /// The same for samples that have their memory already.
    pub(super) fn admit_held(&mut self, len: u64) -> bool {
        let admitted = self.since.is_none();
        *(if admitted {
            &mut self.given
        } else {
            &mut self.owed
        }) += len;
        admitted
    }

    /// Samples of silence to be given now for what was lost, as far as there is room.
    pub(super) fn pay(&mut self, disk: &DiskState, out: &Output) -> u64 {
        let room = self.room(disk, out);
        let Some((_, error)) = &mut self.since else {
            return 0;
        };
        if let Some(now) = &disk.error {
            error.get_or_insert_with(|| now.clone());
        }
        // A disk that is always a little too slow makes few long outages, not many short ones.
        let half = disk.capacity / 2 / self.frame_len;
        self.paying |= room >= half as u64;
        if !self.paying {
            return 0;
        }
        let pays = self.owed.min(self.silence_at_once).min(room);
        self.owed -= pays;
        self.given += pays;
        pays
    }

    /// What was lost, once all of it is paid.
    pub(super) fn settled(&mut self) -> Option<Lost> {
        if !self.paying || self.owed > 0 {
            return None;
        }
        let (from, error) = self.since.take()?;
        Some(Lost {
            from,
            until: self.given,
            error: error.unwrap_or_else(|| "the disk is too slow".into()),
        })
    }

    /// Samples of each channel that may be given out now. Encoded sound is never longer than its
    /// samples.
    fn room(&self, disk: &DiskState, out: &Output) -> u64 {
        let octets = disk.room.saturating_sub(out.bytes.len() + END_LEN);
        (octets / self.frame_len) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To the octet: 20 ms of 16 channels fit, or are owed.
    #[test]
    fn what_fits_is_given_and_what_does_not_is_owed() {
        const SAMPLES: u64 = 960;
        let len = 960 * 16 * 2 + END_LEN;
        for (room, given) in [(len, SAMPLES), (len - 1, 0)] {
            let mut outage = Outage::new(48_000, 16);
            let disk = DiskState {
                room,
                ..DiskState::default()
            };
            outage.admit(SAMPLES, &disk, &Output::default());
            assert_eq!((outage.given(), outage.owed), (given, SAMPLES - given));
            assert_eq!(outage.is_over(), given > 0);
        }
    }
}
