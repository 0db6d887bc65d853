//! The files of a directory of flows.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::flow::script::SCRIPT_BYTES_MAX;

/// Most flows of a directory.
pub const FILES_MAX: usize = 1_000;
/// What their names end with.
pub(super) const EXTENSION: &str = ".toml";
/// Most entries of a directory that are looked at.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// A file as it was at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    bytes: u64,
    /// Device, inode, and when it was changed in seconds and nanoseconds.
    state: (u64, u64, i64, i64),
}

impl Stamp {
    /// As messages name the file.
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// All flows of a directory by their files' names.
///
/// # Errors
/// It cannot be read, or has too many.
pub(super) fn stamps(directory: &Path) -> io::Result<BTreeMap<String, Stamp>> {
    let mut stamps = BTreeMap::new();
    for (seen, entry) in std::fs::read_dir(directory)?.enumerate() {
        if seen >= ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') || !name.ends_with(EXTENSION) {
            continue;
        }
        let path = directory.join(name);
        // It may be gone meanwhile, or a link to nothing.
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            continue;
        }
        if stamps.len() >= FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} flows")));
        }
        let stamp = Stamp {
            path,
            bytes: metadata.len(),
            state: (
                metadata.dev(),
                metadata.ino(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ),
        };
        stamps.insert(name.to_owned(), stamp);
    }
    Ok(stamps)
}

/// The text of a flow; why it cannot be read.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let read = || {
        // Opening a FIFO must not wait for its writer.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        let limit = SCRIPT_BYTES_MAX as u64 + 1;
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| error.to_string())?;
    if bytes.len() > SCRIPT_BYTES_MAX {
        return Err(format!("larger than {SCRIPT_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
