//! What a crash left is closed, checked and reported.
//!
//! A journal says that there was a recording. Whoever records holds a lock on it, so those of
//! another switch on the same directory are left alone. What cannot be closed stays as it is: it
//! is reported at each start until somebody takes it away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::Shared;
use crate::record::disk::storage::{JOURNAL, Paths};
use crate::record::disk::{Reporter, SyncPolicy, add, complete};
use crate::record::event::{RecordingEventKind, StopReason};
use crate::record::file::repair::repair;
use crate::record::journal::{self, JOURNAL_LEN_MAX};
use crate::record::sidecar::{Chain, Segment, Sidecar, sum};

/// Deepest folder below the recordings' directory that is looked into.
pub(super) const DEPTH_MAX: usize = 16;

/// Closes all that a crash left in the directory.
pub(super) fn all(shared: &Shared) {
    let mut folders = vec![(shared.dir.clone(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            tracing::warn!(folder = %folder.display(), "cannot look for unfinished recordings");
            continue;
        };
        for entry in entries.flatten() {
            if shared.over.load(Ordering::Relaxed) {
                return;
            }
            // Links are not followed.
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_ok_and(|kind| kind.is_file()) {
                one(shared, &entry.path());
            }
        }
    }
}

/// The file whose journal this is.
fn file_of(journal: &Path) -> Option<PathBuf> {
    let name = journal.file_name()?.to_str()?;
    let name = name.strip_prefix('.')?.strip_suffix(JOURNAL)?;
    (!name.is_empty()).then(|| journal.with_file_name(name))
}

fn one(shared: &Shared, journal: &Path) {
    let Some(file) = file_of(journal) else { return };
    let path = file.strip_prefix(&shared.dir).unwrap_or(&file);
    let mut reporter = Reporter {
        events: shared.events.clone(),
        call_id: "".into(),
        path: path.to_string_lossy().into(),
    };
    let result = recover(shared, &Paths::new(file.clone()), &mut reporter);
    let path = &*reporter.path;
    match result {
        Ok(None) => {}
        Ok(Some(event)) => {
            add(&shared.counters.completed, 1);
            add(&shared.counters.recovered, 1);
            tracing::info!(path, "closed a recording that a crash left");
            reporter.tell(event);
        }
        Err(error) => {
            add(&shared.counters.failed, 1);
            tracing::error!(path, %error, "cannot close a recording that a crash left");
            let error = format!("left by a crash, and not closed: {error}").into();
            reporter.tell(RecordingEventKind::Failed { error });
        }
    }
}

/// `None`: there was nothing to do.
fn recover(
    shared: &Shared,
    paths: &Paths,
    reporter: &mut Reporter,
) -> io::Result<Option<RecordingEventKind>> {
    let journal = match OpenOptions::new()
        .read(true)
        .write(true)
        .open(&paths.journal)
    {
        // It was closed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match journal.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // On a file system without locks nobody can know better.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let storage = &*shared.writers.storage;
    let len = match fs::metadata(&paths.part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        part => part?.len(),
    };
    // It was closed but for this, or had not begun.
    if len == 0 {
        storage.remove(&paths.sidecar_part)?;
        storage.remove(&paths.part)?;
        storage.remove(&paths.journal)?;
        return Ok(None);
    }
    let mut sidecar = read_journal(&journal)?;
    reporter.call_id = sidecar.call_id.as_str().into();
    check(&paths.part, &sidecar)?;
    close(paths, &mut sidecar)?;
    let sync = shared.writers.sync != SyncPolicy::Never;
    let completion = complete(storage, paths, &sidecar, &mut None, sync)?;
    Ok(Some(completion.into_event()))
}

fn read_journal(file: &File) -> io::Result<Sidecar> {
    let mut text = Vec::new();
    file.take(JOURNAL_LEN_MAX).read_to_end(&mut text)?;
    let journal = journal::read(&text).ok_or_else(|| invalid("its journal does not begin"))?;
    Ok(journal.sidecar)
}

/// All that the journal knows of is there, and as it was.
fn check(part: &Path, sidecar: &Sidecar) -> io::Result<()> {
    let sums = sum(File::open(part)?, sidecar.header_len, &sidecar.segments)?;
    match sums.wrong.first() {
        None => Ok(()),
        Some(index) => {
            let Segment { from, until, .. } = sidecar.segments[*index];
            let what = format!("bytes {from} to {until} are not those that were written");
            Err(invalid(&what))
        }
    }
}

/// Makes the file whole, and the sidecar tell of all of it.
fn close(paths: &Paths, sidecar: &mut Sidecar) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&paths.part)?;
    let repaired = repair(&mut file).map_err(|error| invalid(&error.to_string()))?;
    sidecar.reason = StopReason::Recovered;
    let length_us = u64::try_from(repaired.length().as_micros()).unwrap_or(u64::MAX);
    sidecar.length_us = length_us;
    let ends = std::mem::take(&mut sidecar.segments).into_iter();
    let mut ends: Vec<(u64, u64)> = ends
        .map(|segment| (segment.until, segment.until_us))
        .filter(|(until, _)| *until < repaired.bytes)
        .collect();
    ends.push((repaired.bytes, length_us));
    sidecar.segments = chain(&paths.part, sidecar.header_len, &ends)?;
    Ok(())
}

/// Segments that end there: a repair may have changed the last page of the last one.
fn chain(part: &Path, header_len: u64, ends: &[(u64, u64)]) -> io::Result<Vec<Segment>> {
    let mut file = File::open(part)?;
    io::copy(
        &mut Read::by_ref(&mut file).take(header_len),
        &mut io::sink(),
    )?;
    let (mut chain, mut at) = (Chain::new(header_len), header_len);
    let mut segments = Vec::new();
    for (until, until_us) in ends {
        let mut piece = Read::by_ref(&mut file).take(until.saturating_sub(at));
        io::copy(&mut piece, &mut chain)?;
        segments.extend(chain.cut(*until_us));
        at = (*until).max(at);
    }
    Ok(segments)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
