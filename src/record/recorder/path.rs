//! Where a recording may lie.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::RecordError;
use crate::record::disk::storage::{JOURNAL, PART};

/// Longest path of a recording in the recordings' directory, in octets.
pub const PATH_LEN_MAX: usize = 1_024;

/// Longest name in such a path: with what is put before and behind it, it fits any file system.
const NAME_LEN_MAX: usize = 240;

/// The file of a recording.
pub(super) fn in_dir(dir: &Path, path: &str) -> Result<PathBuf, RecordError> {
    match check(path) {
        None => Ok(dir.join(path)),
        Some(why) => Err(RecordError::Path {
            path: path.into(),
            why,
        }),
    }
}

/// What is wrong with a path.
fn check(path: &str) -> Option<&'static str> {
    if path.len() > PATH_LEN_MAX {
        return Some("it is too long");
    }
    for name in path.split('/') {
        if name.is_empty() {
            return Some("it has an empty name in it");
        }
        if name.len() > NAME_LEN_MAX {
            return Some("a name in it is too long");
        }
        // `.` and `..` too, and what recordings in progress are called.
        if name.starts_with('.') {
            return Some("a name in it begins with a dot");
        }
        if name.contains(['\0', '\n', '\r', '\\']) {
            return Some("a name in it has characters that names must not have");
        }
    }
    let ours = [".json", PART, JOURNAL];
    ours.iter()
        .any(|ending| path.ends_with(ending))
        .then_some("its ending is that of what lies beside recordings")
}

/// Makes the directory, and a file in it for a moment.
pub(super) fn check_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let probe = dir.join(format!(
        ".probe-{}-{:x}",
        std::process::id(),
        fastrand::u32(..)
    ));
    fs::write(&probe, [])?;
    fs::remove_file(&probe)
}
