//! Files below the prompt directories, and no others.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use super::PromptError;
use crate::audio::clip::{ClipError, INPUT_BYTES_MAX};

/// The configured directories.
#[derive(Debug)]
pub(super) struct Directories {
    roots: Vec<PathBuf>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileState {
    modified: Option<SystemTime>,
    len: u64,
    inode: (u64, u64),
}

impl Directories {
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots }
    }

    /// Reads a file; nothing if its state is still `known`.
    ///
    /// A path is refused before it is looked up where it is absolute and not below a directory,
    /// or has a `..`: so that nobody learns from the error what exists elsewhere. What it leads
    /// to is checked again once it is open, so no link and no exchange in between leads out.
    pub(super) fn read(
        &self,
        path: &Path,
        known: Option<&FileState>,
    ) -> Result<Option<(Vec<u8>, FileState)>, PromptError> {
        let shown = || path.display().to_string();
        let failed = |error: io::Error| PromptError::File {
            path: shown(),
            why: error.to_string(),
        };
        let outside = || PromptError::Outside { path: shown() };
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(outside());
        }
        let mut result = Err(outside());
        for root in &self.roots {
            if path.is_absolute() && !path.starts_with(root) {
                continue;
            }
            result = match open_below(root, &root.join(path)) {
                Ok(Some(file)) => return read_open(file, known).map_err(|e| e.at(&shown())),
                Ok(None) => Err(outside()),
                Err(error) => Err(failed(error)),
            };
        }
        result
    }
}

/// Opens a file; nothing if it is not below `root`.
fn open_below(root: &Path, path: &Path) -> io::Result<Option<File>> {
    let (root, path) = (root.canonicalize()?, path.canonicalize()?);
    if !path.starts_with(&root) {
        return Ok(None);
    }
    // Opening a FIFO must not wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)?;
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(opened.starts_with(&root).then_some(file))
}

/// Why an open file is not read.
enum ReadError {
    Io(io::Error),
    NotAFile,
    TooLarge(u64),
}

impl ReadError {
    fn at(self, path: &str) -> PromptError {
        let path = path.to_owned();
        match self {
            Self::Io(error) => PromptError::File {
                path,
                why: error.to_string(),
            },
            Self::NotAFile => PromptError::File {
                path,
                why: "not a regular file".to_owned(),
            },
            Self::TooLarge(bytes) => PromptError::Clip {
                source_name: path,
                error: ClipError::TooLarge { bytes },
            },
        }
    }
}

fn read_open(
    file: File,
    known: Option<&FileState>,
) -> Result<Option<(Vec<u8>, FileState)>, ReadError> {
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    let state = FileState {
        modified: metadata.modified().ok(),
        len: metadata.len(),
        inode: (metadata.dev(), metadata.ino()),
    };
    if known == Some(&state) {
        return Ok(None);
    }
    let limit = INPUT_BYTES_MAX as u64;
    if state.len > limit {
        return Err(ReadError::TooLarge(state.len));
    }
    // A file may grow while it is read.
    let mut bytes = Vec::with_capacity(usize::try_from(state.len).unwrap_or(0));
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    match read.map_err(ReadError::Io)? as u64 {
        read if read > limit => Err(ReadError::TooLarge(read)),
        _ => Ok(Some((bytes, state))),
    }
}
