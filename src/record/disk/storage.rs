//! What recordings need of a file system.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

/// A file system. Every call may take as long as a disk takes.
pub trait Storage: Debug + Send + Sync {
    /// Makes the directories of a file below `root`. Links in between are not followed.
    ///
    /// # Errors
    /// Any; [`io::ErrorKind::NotADirectory`] if one of them is a link, or a file.
    fn create_dirs(&self, root: &Path, path: &Path) -> io::Result<()>;

    /// Makes a file that is not there yet. It is locked: nobody else takes it for one that a crash
    /// left.
    ///
    /// # Errors
    /// Any; [`io::ErrorKind::AlreadyExists`] if it is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Writes a small file anew. A link that has its name goes.
    ///
    /// # Errors
    /// Any.
    fn write(&self, path: &Path, text: &[u8], sync: bool) -> io::Result<()>;

    /// Reads a file from its beginning.
    ///
    /// # Errors
    /// Any; [`io::ErrorKind::InvalidInput`] if it is no file, but a link, say.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;

    /// Gives a file a second name, which is not taken by another file. That it has it already is
    /// no error.
    ///
    /// # Errors
    /// Any; [`io::ErrorKind::AlreadyExists`] if another file has that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a name away. That there is none is no error.
    ///
    /// # Errors
    /// Any.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Whether there is something of this name.
    ///
    /// # Errors
    /// Any.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes the names in a directory outlive a failure of power.
    ///
    /// # Errors
    /// Any.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file that is written.
pub trait StoredFile: Debug + Send {
    /// Writes some of the octets, at least one, to this place.
    ///
    /// # Errors
    /// Any; nothing is known of what was written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes what was written outlive a failure of power.
    ///
    /// # Errors
    /// Any.
    fn sync(&self) -> io::Result<()>;

    /// On which disk it is.
    fn disk(&self) -> u64;
}

/// The machine's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

#[derive(Debug)]
struct OpenFile {
    file: File,
    disk: u64,
}

impl Storage for Files {
    fn create_dirs(&self, root: &Path, path: &Path) -> io::Result<()> {
        fs::create_dir_all(root)?;
        let below = parent(path).strip_prefix(root);
        let below = below.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut dir = root.to_owned();
        for name in below.components() {
            let Component::Normal(name) = name else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            dir.push(name);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !fs::symlink_metadata(&dir)?.is_dir() {
                        return Err(io::ErrorKind::NotADirectory.into());
                    }
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(path)?;
        // There are file systems without locks; recordings are worth more.
        if is_locked(&file) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let disk = file.metadata()?.dev();
        Ok(Box::new(OpenFile { file, disk }))
    }

    fn write(&self, path: &Path, text: &[u8], sync: bool) -> io::Result<()> {
        // A file keeps its other name, and what leads elsewhere goes.
        if fs::symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
            fs::remove_file(path)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        file.write_all_at(text, 0)?;
        if sync { file.sync_all() } else { Ok(()) }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(open_file(path, false)?))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let result = fs::hard_link(from, to);
        match result {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if same_file(from, to)? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            // A file system without hard links.
            Err(error) if lacks_links(&error) => match fs::exists(to)? {
                true => Err(io::ErrorKind::AlreadyExists.into()),
                false => fs::rename(from, to),
            },
            other => other,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl StoredFile for OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn disk(&self) -> u64 {
        self.disk
    }
}

/// Whether these are two names of one file.
///
/// # Errors
/// Any.
pub(in crate::record) fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (fs::symlink_metadata(one)?, fs::symlink_metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn lacks_links(error: &io::Error) -> bool {
    let unsupported = [libc::EPERM, libc::EOPNOTSUPP, libc::ENOSYS, libc::EMLINK];
    error
        .raw_os_error()
        .is_some_and(|code| unsupported.contains(&code))
}

/// Opens a file that is there, for reading and perhaps writing; nothing that a link leads to, and
/// no pipe or device, which could wait for ever.
///
/// # Errors
/// Any; [`io::ErrorKind::InvalidInput`] if it is no file.
pub(in crate::record) fn open_file(path: &Path, writes: bool) -> io::Result<File> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "not a file, but a link or so");
    let mut options = OpenOptions::new();
    options.read(true).write(writes);
    let file = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => no_file(),
            _ => error,
        })?;
    let is_file = file.metadata()?.is_file();
    is_file.then_some(file).ok_or_else(no_file)
}

/// Whether somebody else holds the lock of a file in progress. Where nobody does, this file does
/// until it is closed. On a file system without locks nobody can know.
pub(crate) fn is_locked(file: &File) -> bool {
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// The directory a file is in.
pub(in crate::record) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

/// Where the parts of a recording lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::record) struct Paths {
    /// The recordings' directory, in which they are.
    pub(in crate::record) root: PathBuf,
    /// When it is complete.
    pub(in crate::record) file: PathBuf,
    /// Its sidecar.
    pub(in crate::record) sidecar: PathBuf,
    /// While it is in progress.
    pub(in crate::record) part: PathBuf,
    /// The sidecar before it has its name.
    pub(in crate::record) sidecar_part: PathBuf,
    /// The journal.
    pub(in crate::record) journal: PathBuf,
}

/// Ending of the name of a file in progress.
pub(in crate::record) const PART: &str = ".part";
/// Ending of the name of a journal.
pub(in crate::record) const JOURNAL: &str = ".journal";

impl Paths {
    /// Of a recording that will have this path below `root`, which must have a name at its end.
    pub(in crate::record) fn new(root: PathBuf, file: PathBuf) -> Self {
        let name = file.file_name().unwrap_or_default().to_owned();
        let hidden = |ending: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(&name);
            hidden.push(ending);
            file.with_file_name(hidden)
        };
        Self {
            sidecar: super::super::sidecar::sidecar_path(&file),
            part: hidden(PART),
            sidecar_part: hidden(".json.part"),
            journal: hidden(JOURNAL),
            root,
            file,
        }
    }
}
