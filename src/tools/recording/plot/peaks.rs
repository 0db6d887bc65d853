//! A recording's sound, a column of pixels at a time.

use std::io::{Read, Seek};

use anyhow::Result;

use crate::record::file::read::RecordingReader;

/// Samples of each channel that are read at once.
const PIECE: usize = 16_384;

/// What a column shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Column {
    /// Lowest and highest sample.
    pub(super) ends: (i16, i16),
    squares: f64,
    count: u64,
}

impl Column {
    fn add(&mut self, sample: i16) {
        let (low, high) = &mut self.ends;
        *low = (*low).min(sample);
        *high = (*high).max(sample);
        self.squares += f64::from(sample).powi(2);
        self.count += 1;
    }

    /// As far as it reaches on the average, below and above the middle: its root mean square.
    pub(super) fn loud(&self) -> (i16, i16) {
        #[expect(clippy::cast_possible_truncation, reason = "a mean of samples is one")]
        let mean = (self.squares / self.count.max(1) as f64).sqrt() as i16;
        ((-mean).max(self.ends.0), mean.min(self.ends.1))
    }
}

/// So many columns of each channel.
pub(super) fn of<R: Read + Seek>(
    recording: &mut RecordingReader<R>,
    across: usize,
) -> Result<Vec<Vec<Column>>> {
    let info = recording.info();
    let channels = usize::from(info.channels);
    let mut lanes = vec![vec![Column::default(); across]; channels];
    let mut piece = vec![0; PIECE * channels];
    let mut frame = 0_u64;
    loop {
        let read = recording.read(&mut piece)?;
        if read == 0 {
            return Ok(lanes);
        }
        for samples in piece[..read].chunks_exact(channels) {
            let [from, until] = [frame, frame + 1].map(|frame| column(frame, info.frames, across));
            for (lane, &sample) in lanes.iter_mut().zip(samples) {
                // Where there are fewer samples than columns, each fills several.
                for column in &mut lane[from..until.max(from + 1)] {
                    column.add(sample);
                }
            }
            frame += 1;
        }
    }
}

/// The column of a frame; a file may hold more frames than it says.
fn column(frame: u64, frames: u64, across: usize) -> usize {
    let column = u128::from(frame) * across as u128 / u128::from(frames.max(1));
    usize::try_from(column).map_or(across - 1, |at| at.min(across - 1))
}
