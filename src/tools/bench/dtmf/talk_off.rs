//! Digits heard where nobody pressed a key: in speech, which talks a receiver off, and in music.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::score::Report;
use super::sound::float;
use crate::audio::level::level_db;

/// What a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Speech,
    Music,
}

/// Recordings on disk: hours of them, so that only one is in memory at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Recordings {
    files: Vec<(Kind, PathBuf)>,
}

/// What a receiver made of one recording.
#[derive(Clone, Debug)]
pub(super) struct Count {
    pub(super) kind: Kind,
    /// Its file's name, without extension.
    pub(super) name: String,
    /// Hours in which there is something to hear.
    pub(super) active_hours: f64,
    /// Digits declared: all of them false.
    pub(super) digits: Vec<Report>,
}

impl Count {
    /// What follows the last `-` of the name: `1.1` was played so much faster.
    pub(super) fn speed(&self) -> &str {
        self.name.rsplit_once('-').map_or("1.0", |(_, speed)| speed)
    }
}

/// Samples of 20 ms.
const FRAME: usize = 160;

/// A frame below this level (dBov) does not count as active: 30 dB below usual speech.
const ACTIVE_DBOV: f32 = -50.0;

impl Recordings {
    /// Finds the files.
    ///
    /// # Errors
    /// When a path does not exist.
    pub(super) fn find(speech: Option<&Path>, music: Option<&Path>) -> Result<Self> {
        let mut files = Vec::new();
        for (kind, path) in [(Kind::Speech, speech), (Kind::Music, music)] {
            let Some(path) = path else { continue };
            let found = of_path(path).with_context(|| format!("no {}", path.display()))?;
            ensure!(!found.is_empty(), "nothing in {}", path.display());
            files.extend(found.into_iter().map(|file| (kind, file)));
        }
        Ok(Self { files })
    }

    /// Lets a receiver listen to all of them.
    pub(super) fn count(
        &self,
        listen: impl Fn(&[i16]) -> Result<Vec<Report>>,
    ) -> Result<Vec<Count>> {
        let mut counts = Vec::new();
        for (kind, path) in &self.files {
            let octets =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let (pairs, _) = octets.as_chunks::<2>();
            let pcm: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
            counts.push(Count {
                kind: *kind,
                name: path
                    .file_stem()
                    .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
                active_hours: active_hours(&pcm),
                digits: listen(&pcm)?,
            });
        }
        Ok(counts)
    }
}

/// A file, or all `.raw` files of a folder by name.
fn of_path(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        std::fs::metadata(path)?;
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "raw") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn active_hours(pcm: &[i16]) -> f64 {
    let frames = pcm.chunks_exact(FRAME);
    let active = frames.filter(|frame| level_db(frame) > ACTIVE_DBOV).count();
    float(active) * 0.02 / 3_600.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_heard_is_active() {
        let mut pcm = vec![0; 8_000];
        pcm.extend((0..8_000).map(|n: i16| if n % 2 == 0 { 800 } else { -800 }));
        assert!((active_hours(&pcm) - 1.0 / 3_600.0).abs() < 1e-9);
    }
}
