//! What lies in the directory of recordings: to be listed, fetched and deleted.
//!
//! Everything here waits for the disk. Paths come from outside: they are
//! [checked](super::pattern::check), and nothing behind a symbolic link is opened or listed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Files;
use super::pattern::{COMPONENTS_MAX, PathError, check};
use super::seal::SUFFIX;

/// Most recordings in one list.
pub const LIST_MAX: usize = 1_000;

/// Most names that are looked at for one list; behind that it says that there is more.
pub const NAMES_MAX: usize = 200_000;

/// Longest sidecar that is read, in octets.
const SIDECAR_MAX: u64 = 16 << 20;

/// Why a recording cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShelfError {
    /// No recording can be called so.
    #[error("{0}")]
    Path(#[from] PathError),
    /// There is none of this name.
    #[error("no recording '{0}'")]
    None(String),
    /// It is being recorded.
    #[error("'{0}' is being recorded")]
    InProgress(String),
    /// The disk refuses.
    #[error("{path}: {error}")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What became of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShelfState {
    /// It is being recorded, or was when the switch was killed.
    Recording,
    /// It is complete.
    Complete,
    /// It has no sidecar that can be read.
    Unknown,
}

/// A recording in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shelved {
    /// Its path in the directory of recordings.
    pub path: String,
    /// What became of it.
    pub state: ShelfState,
    /// Length of the file in octets.
    pub bytes: u64,
    /// When it began, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Sound in it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_s: Option<f64>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// Recordings by their paths, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// At most [`LIST_MAX`].
    pub recordings: Vec<Shelved>,
    /// There may be more behind the last one.
    pub more: bool,
}

/// What of a sidecar a list says.
#[derive(Deserialize)]
struct Label {
    call_id: String,
    started: String,
    length_us: u64,
}

/// Recordings whose path begins with `prefix` and comes behind `after`, at most `limit`. A
/// directory that is not there has none.
///
/// # Errors
/// [`ShelfError::Disk`] if a directory cannot be read.
pub fn list(
    directory: &Path,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Listing, ShelfError> {
    let mut walk = Walk {
        directory,
        prefix,
        after,
        limit: limit.min(LIST_MAX),
        names: 0,
        listing: Listing::default(),
    };
    walk.folder("", 1)?;
    Ok(walk.listing)
}

/// The file of a recording, or its sidecar, and its length in octets.
///
/// # Errors
/// [`ShelfError`]
pub fn open(directory: &Path, path: &str, sidecar: bool) -> Result<(File, u64), ShelfError> {
    let named = if sidecar {
        sidecar_of(path)
    } else {
        path.to_owned()
    };
    let found = place(directory, path)?.with_file_name(file_name(&named));
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&found);
    let opened = opened.map_err(|error| missing(directory, path, &found, error))?;
    let about = opened.metadata().map_err(|error| disk(&found, error))?;
    match about.is_file() {
        true => Ok((opened, about.len())),
        false => Err(ShelfError::None(path.to_owned())),
    }
}

/// Deletes a complete recording and its sidecar.
///
/// # Errors
/// [`ShelfError`]; one that is being recorded is not deleted.
pub fn delete(directory: &Path, path: &str) -> Result<(), ShelfError> {
    let found = place(directory, path)?;
    let about = fs::symlink_metadata(&found);
    let about = about.map_err(|error| missing(directory, path, &found, error))?;
    if !about.is_file() {
        return Err(ShelfError::None(path.to_owned()));
    }
    fs::remove_file(&found).map_err(|error| missing(directory, path, &found, error))?;
    // And all that lies beside it.
    let files = Files::of(directory, path.strip_suffix(SUFFIX).unwrap_or(path));
    for beside in files.all() {
        match fs::remove_file(beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(disk(beside, error)),
            _ => {}
        }
    }
    Ok(())
}

struct Walk<'a> {
    directory: &'a Path,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    names: usize,
    listing: Listing,
}

impl Walk<'_> {
    fn folder(&mut self, inside: &str, depth: usize) -> Result<(), ShelfError> {
        let path = self.directory.join(inside);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(disk(&path, error)),
        };
        let (mut folders, mut files) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            self.names += 1;
            if self.names > NAMES_MAX {
                self.listing.more = true;
                break;
            }
            let entry = entry.map_err(|error| disk(&path, error))?;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if kind.is_dir() && !name.starts_with('.') && depth < COMPONENTS_MAX {
                folders.insert(name);
            } else if kind.is_file() {
                files.insert(name);
            }
        }
        // As paths are ordered: what follows a folder's name is a `/`.
        let mut all: Vec<(String, ShelfState)> = Vec::new();
        all.extend(
            folders
                .iter()
                .map(|n| (format!("{n}/"), ShelfState::Unknown)),
        );
        for name in &files {
            let part = name.strip_prefix('.').and_then(|n| n.strip_suffix(".part"));
            if let Some(part) = part {
                all.push((part.to_owned(), ShelfState::Recording));
            } else if !name.starts_with('.') && !name.ends_with(".json") {
                let known = files.contains(&sidecar_of(name));
                let state = if known {
                    ShelfState::Complete
                } else {
                    ShelfState::Unknown
                };
                all.push((name.clone(), state));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, state) in all {
            let path = format!("{inside}{name}");
            if name.ends_with('/') {
                if self.may_hold(&path) && !self.is_full() {
                    self.folder(&path, depth + 1)?;
                }
            } else if self.is_wanted(&path) {
                if self.is_full() {
                    self.listing.more = true;
                    return Ok(());
                }
                self.listing.recordings.push(self.label(path, state));
            }
        }
        Ok(())
    }

    fn is_full(&mut self) -> bool {
        let full = self.listing.recordings.len() >= self.limit;
        self.listing.more |= full;
        full
    }

    fn may_hold(&self, folder: &str) -> bool {
        let prefix = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        // All of it comes before what comes after.
        let after = self
            .after
            .is_none_or(|after| after < folder || after.starts_with(folder));
        prefix && after
    }

    fn is_wanted(&self, path: &str) -> bool {
        path.starts_with(self.prefix)
            && self.after.is_none_or(|after| path > after)
            && check(path).is_ok()
    }

    fn label(&self, path: String, state: ShelfState) -> Shelved {
        let file = self.directory.join(&path);
        let (file, sidecar) = match state {
            ShelfState::Recording => {
                let name = format!(".{}.part", file_name(&path));
                (file.with_file_name(name), None)
            }
            _ => (file, self.sidecar(&path)),
        };
        Shelved {
            bytes: fs::symlink_metadata(&file).map_or(0, |about| about.len()),
            state: match (state, &sidecar) {
                (ShelfState::Complete, None) => ShelfState::Unknown,
                (state, _) => state,
            },
            length_s: sidecar.as_ref().map(|label| label.length_us as f64 / 1e6),
            started: sidecar.as_ref().map(|label| label.started.clone()),
            call_id: sidecar.map(|label| label.call_id),
            path,
        }
    }

    fn sidecar(&self, path: &str) -> Option<Label> {
        let (file, len) = open(self.directory, path, true).ok()?;
        let mut text = String::new();
        let fits = len <= SIDECAR_MAX;
        let read = file.take(SIDECAR_MAX).read_to_string(&mut text);
        read.ok().filter(|_| fits)?;
        serde_json::from_str(&text).ok()
    }
}

/// Where a path is, unless a symbolic link is on the way.
fn place(directory: &Path, path: &str) -> Result<PathBuf, ShelfError> {
    check(path)?;
    let none = || ShelfError::None(path.to_owned());
    let whole = directory.join(path);
    let parent = whole.parent().unwrap_or(directory);
    let home = directory.canonicalize().map_err(|_| none())?;
    let inside = parent.canonicalize().map_err(|_| none())?;
    let wanted = path
        .rsplit_once('/')
        .map_or_else(|| home.clone(), |(folders, _)| home.join(folders));
    if inside != wanted {
        return Err(none());
    }
    Ok(inside.join(file_name(path)))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A sealed recording has the sidecar that it had before.
fn sidecar_of(path: &str) -> String {
    format!("{}.json", path.strip_suffix(SUFFIX).unwrap_or(path))
}

fn missing(directory: &Path, path: &str, found: &Path, error: io::Error) -> ShelfError {
    let part = format!(".{}.part", file_name(path));
    match error.kind() {
        ErrorKind::NotFound if directory.join(path).with_file_name(part).exists() => {
            ShelfError::InProgress(path.to_owned())
        }
        ErrorKind::NotFound => ShelfError::None(path.to_owned()),
        // A symbolic link in its place.
        _ if error.raw_os_error() == Some(libc::ELOOP) => ShelfError::None(path.to_owned()),
        _ => disk(found, error),
    }
}

fn disk(path: &Path, error: io::Error) -> ShelfError {
    ShelfError::Disk {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;
