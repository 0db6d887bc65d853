//! Audio that is decoded and not yet played.

/// Room before the audio, for lengthening it: the longest pitch period, 20 ms.
const BEFORE_MS: usize = 20;

/// Room for audio: a longest packet, and what stretching looks at.
const ROOM_MS: usize = 320;

/// Kept free behind it: a longest packet.
const BEHIND_MS: usize = 120;

/// A queue of samples in one piece of memory that is never allocated again.
#[derive(Debug)]
pub(super) struct Fifo {
    samples: Vec<i16>,
    start: usize,
    end: usize,
    before: usize,
    behind: usize,
}

impl Fifo {
    pub(super) fn new(pcm_hz: u32) -> Self {
        let per_ms = pcm_hz as usize / 1_000;
        let before = BEFORE_MS * per_ms;
        Self {
            samples: vec![0; before + ROOM_MS * per_ms],
            start: before,
            end: before,
            before,
            behind: BEHIND_MS * per_ms,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether a longest packet fits.
    pub(super) fn has_room(&self) -> bool {
        self.before + self.len() + self.behind <= self.samples.len()
    }

    /// Takes the oldest samples out; returns how many there were for `out`.
    pub(super) fn take(&mut self, out: &mut [i16]) -> usize {
        let taken = self.len().min(out.len());
        out[..taken].copy_from_slice(&self.samples[self.start..][..taken]);
        self.start += taken;
        taken
    }

    /// Room behind the newest sample, `samples` or what there is; what is put there counts after
    /// [`Fifo::keep`].
    pub(super) fn tail(&mut self, samples: usize) -> &mut [i16] {
        if self.end + samples > self.samples.len() {
            self.samples.copy_within(self.start..self.end, self.before);
            self.end = self.before + self.len();
            self.start = self.before;
        }
        let room = samples.min(self.samples.len() - self.end);
        &mut self.samples[self.end..][..room]
    }

    /// Keeps samples that were put into [`Fifo::tail`].
    pub(super) fn keep(&mut self, samples: usize) {
        self.end = (self.end + samples).min(self.samples.len());
    }

    /// What waits.
    pub(super) fn audio(&mut self) -> &mut [i16] {
        &mut self.samples[self.start..self.end]
    }

    /// Drops the oldest samples.
    pub(super) fn drop_front(&mut self, samples: usize) {
        self.start = (self.start + samples).min(self.end);
    }

    /// Puts a copy of the oldest samples before them; false if there is no room for it.
    pub(super) fn repeat_front(&mut self, samples: usize) -> bool {
        if samples > self.start || samples > self.len() {
            return false;
        }
        self.samples
            .copy_within(self.start..self.start + samples, self.start - samples);
        self.start -= samples;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in_for_ever() {
        let mut fifo = Fifo::new(8_000);
        let (mut written, mut read) = (0_i16, 0_i16);
        for round in 0..500_usize {
            if fifo.has_room() {
                let samples = 1 + round * 37 % 960;
                for slot in &mut fifo.tail(960)[..samples] {
                    *slot = written;
                    written = written.wrapping_add(1);
                }
                fifo.keep(samples);
            }
            let mut out = [0; 480];
            let taken = fifo.take(&mut out);
            for sample in &out[..taken] {
                assert_eq!(*sample, read);
                read = read.wrapping_add(1);
            }
        }
        assert!(read != 0 && written.wrapping_sub(read) >= 0);
    }

    #[test]
    fn repeats_as_much_as_there_is_room_for() {
        let mut fifo = Fifo::new(8_000);
        let len = fifo.tail(400).len();
        fifo.tail(400)
            .copy_from_slice(&(0..400).collect::<Vec<i16>>());
        fifo.keep(len);
        assert!(fifo.repeat_front(160) && !fifo.repeat_front(1));
        assert_eq!(fifo.len(), 560);
        assert_eq!(fifo.audio()[..2], [0, 1]);
        assert_eq!(fifo.audio()[160..162], [0, 1]);
        fifo.drop_front(9_999);
        assert_eq!(fifo.len(), 0);
    }
}
