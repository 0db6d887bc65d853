//! Whether a prompt can be played, before anybody wants to hear it.

use std::path::PathBuf;

use super::files::Directories;
use super::{PromptError, Source, fetch, url_error};
use crate::audio::clip::Clip;

impl Source {
    /// Reads and decodes a file that is below one of these directories, or bytes; looks at the text
    /// of a URL alone. Blocks for as long as that takes, and keeps nothing.
    ///
    /// # Errors
    /// Any [`PromptError`] of a load.
    pub fn check(&self, directories: &[PathBuf]) -> Result<(), PromptError> {
        let decoded = |bytes: &[u8]| match Clip::decode(bytes) {
            Ok(_clip) => Ok(()),
            Err(error) => Err(PromptError::Clip {
                source_name: self.name(),
                error,
            }),
        };
        match self {
            Self::File(path) => {
                let read = Directories::new(directories.to_vec()).read(path, None)?;
                read.map_or(Ok(()), |(bytes, _)| decoded(&bytes))
            }
            Self::Url(url) => fetch::check_url(url).map_err(|error| url_error(url, error)),
            Self::Bytes(bytes) => decoded(bytes),
        }
    }
}
