//! Tracks added up to channels.

use crate::audio::mix;

/// Adds tracks to channels, block by block.
#[derive(Debug)]
pub(super) struct Mixer {
    len: usize,
    input: Vec<i16>,
    lanes: Vec<Lane>,
    total: Vec<i32>,
    all: Vec<i16>,
    interleaved: Vec<i16>,
}

#[derive(Debug, Default)]
struct Lane {
    sources: usize,
    sum: Vec<i32>,
    pcm: Vec<i16>,
}

impl Mixer {
    pub(super) fn new(channels: u8) -> Self {
        let mut lanes = Vec::new();
        lanes.resize_with(usize::from(channels.max(1)), Lane::default);
        Self {
            len: 0,
            input: Vec::new(),
            lanes,
            total: Vec::new(),
            all: Vec::new(),
            interleaved: Vec::new(),
        }
    }

    /// Begins a block of so many samples of each channel.
    pub(super) fn begin(&mut self, len: u64) {
        self.len = usize::try_from(len).unwrap_or(0);
        self.input.resize(self.len, 0);
        for lane in &mut self.lanes {
            lane.sources = 0;
            lane.sum.clear();
            lane.sum.resize(self.len, 0);
        }
    }

    /// Where the next track is read to.
    pub(super) fn input(&mut self) -> &mut [i16] {
        &mut self.input
    }

    /// Adds that track to a channel, one of those there are.
    pub(super) fn add(&mut self, channel: usize) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            mix::add(&mut lane.sum, &self.input);
            lane.sources += 1;
        }
    }

    /// Ends the block. A track alone on its channel stays as it is; what several ones add up to is
    /// limited without wrapping round.
    pub(super) fn end(&mut self) {
        for lane in &mut self.lanes {
            lane.pcm.resize(self.len, 0);
            match lane.sources {
                0 | 1 => exact(&lane.sum, &mut lane.pcm),
                _ => mix::all(&lane.sum, &mut lane.pcm),
            }
        }
        self.interleaved.resize(self.len * self.lanes.len(), 0);
        interleave(&self.lanes, &mut self.interleaved);
    }

    /// The block becomes silence.
    pub(super) fn silence(&mut self) {
        self.interleaved.fill(0);
        self.lanes.iter_mut().for_each(|lane| lane.pcm.fill(0));
    }

    /// The block's samples, one of each channel in turn.
    pub(super) fn interleaved(&self) -> &[i16] {
        &self.interleaved
    }

    /// All channels added up.
    pub(super) fn all(&mut self) -> &[i16] {
        if let [only] = &self.lanes[..] {
            return &only.pcm;
        }
        self.total.clear();
        self.total.resize(self.len, 0);
        for lane in &self.lanes {
            mix::add(&mut self.total, &lane.pcm);
        }
        self.all.resize(self.len, 0);
        mix::all(&self.total, &mut self.all);
        &self.all
    }
}

/// One sample of each channel in turn.
fn interleave(lanes: &[Lane], out: &mut [i16]) {
    if let [left, right] = lanes {
        // The usual case, in a form of which the compiler makes vectors.
        let pairs = out.as_chunks_mut::<2>().0.iter_mut();
        for ((pair, left), right) in pairs.zip(&left.pcm).zip(&right.pcm) {
            *pair = [*left, *right];
        }
        return;
    }
    for (channel, lane) in lanes.iter().enumerate() {
        let places = out[channel..].iter_mut().step_by(lanes.len());
        for (place, sample) in places.zip(&lane.pcm) {
            *place = *sample;
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the sum of at most one track"
)]
fn exact(sum: &[i32], pcm: &mut [i16]) {
    for (sum, pcm) in sum.iter().zip(pcm) {
        *pcm = *sum as i16;
    }
}
