//! Closes what a crash left of one recording: checked, made whole, summed, and given its name.
//!
//! A journal says that there was a recording. Whoever records holds a lock on it and on the file,
//! so what another switch is writing is left alone.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::storage::{
    Files, JOURNAL, PART, Paths, Storage, is_locked, open_file, parent, same_file,
};
use super::disk::{Completion, complete, tidy};
use super::event::StopReason;
use super::file::repair::{RepairError, repair};
use super::journal::{self, JOURNAL_LEN_MAX};
use super::sidecar::{Chain, Segment, Sidecar, sum, verify};

/// What there was to be done.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing: somebody is recording it, or it was closed meanwhile.
    Nothing,
    /// It had begun, and its sound had not: its hidden files are gone.
    Empty,
    /// It is complete.
    Complete(Completion),
}

/// Closes it. Says whose it was as soon as that is known.
///
/// # Errors
/// What the disk says, and [`io::ErrorKind::InvalidData`] if what is there is not what was
/// written, or no recording: it stays as it is.
pub(super) fn finish(
    storage: &dyn Storage,
    paths: &Paths,
    sync: bool,
    call_id: &mut Box<str>,
) -> io::Result<Outcome> {
    let journal = match open_file(&paths.journal, true) {
        // It was closed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Nothing),
        other => other?,
    };
    if is_locked(&journal) || journal.metadata()?.nlink() == 0 {
        return Ok(Outcome::Nothing);
    }
    let sidecar = read_journal(&journal);
    if let Ok(sidecar) = &sidecar {
        *call_id = sidecar.call_id.as_str().into();
    }
    if let Some(completion) = has_its_names(paths)? {
        tidy(storage, paths)?;
        return Ok(Outcome::Complete(completion));
    }
    let mut part = match open_file(&paths.part, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tidy(storage, paths)?;
            return Ok(match paths.file.try_exists() {
                // Somebody's: it was there before, or came later.
                Ok(true) => Outcome::Nothing,
                _ => Outcome::Empty,
            });
        }
        other => other?,
    };
    let len = part.metadata()?.len();
    let header_len = sidecar.as_ref().map_or(0, |known| known.header_len);
    if len == 0 || (len < header_len && matches!(repair(&mut part), Err(RepairError::Empty))) {
        tidy(storage, paths)?;
        return Ok(Outcome::Empty);
    }
    let mut sidecar = sidecar?;
    check(&mut part, &sidecar)?;
    close(&mut part, &mut sidecar)?;
    if sync {
        part.sync_all()?;
    }
    complete(storage, paths, &sidecar, &mut None, sync).map(Outcome::Complete)
}

/// A recording that was complete but for names to be taken away.
fn has_its_names(paths: &Paths) -> io::Result<Option<Completion>> {
    let links_to = |one, other| match same_file(one, other) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    };
    let part_is_gone = !fs::exists(&paths.part)?;
    if !part_is_gone && !links_to(&paths.part, &paths.file)? {
        return Ok(None);
    }
    let is_file = fs::symlink_metadata(&paths.file).is_ok_and(|about| about.is_file());
    let report = match is_file {
        true => verify(&paths.file)?,
        false => return Ok(None),
    };
    let both = report.sidecar.as_ref().zip(report.chain);
    Ok(both.map(|(sidecar, chain)| Completion::of(sidecar, chain)))
}

fn read_journal(file: &File) -> io::Result<Sidecar> {
    let mut text = Vec::new();
    file.take(JOURNAL_LEN_MAX).read_to_end(&mut text)?;
    let journal = journal::read(&text).ok_or_else(|| invalid("its journal does not begin"))?;
    Ok(journal.sidecar)
}

/// All that the journal knows of is there, and as it was.
fn check(part: &mut File, sidecar: &Sidecar) -> io::Result<()> {
    part.rewind()?;
    let segments = &sidecar.segments;
    let sums = sum(part, sidecar.header_len, segments)?;
    // Behind a segment that the journal has lost, the next one's link is not known.
    let is_bound = |index: &&usize| {
        let before = index.checked_sub(1).map(|before| segments[before].until);
        segments[**index].from == before.unwrap_or(sidecar.header_len)
    };
    match sums.wrong.iter().find(is_bound) {
        None => Ok(()),
        Some(index) => {
            let Segment { from, until, .. } = segments[*index];
            let what = format!("bytes {from} to {until} are not those that were written");
            Err(invalid(&what))
        }
    }
}

/// Makes the file whole, and the sidecar tell of all of it.
fn close(part: &mut File, sidecar: &mut Sidecar) -> io::Result<()> {
    let repaired = repair(part).map_err(|error| invalid(&error.to_string()))?;
    sidecar.reason = StopReason::Recovered;
    let length_us = u64::try_from(repaired.length().as_micros()).unwrap_or(u64::MAX);
    sidecar.length_us = length_us;
    let ends = std::mem::take(&mut sidecar.segments).into_iter();
    let mut ends: Vec<(u64, u64)> = ends
        .map(|segment| (segment.until, segment.until_us))
        .filter(|(until, _)| *until < repaired.bytes)
        .collect();
    ends.push((repaired.bytes, length_us));
    sidecar.segments = chain(part, sidecar.header_len, &ends)?;
    Ok(())
}

/// Segments that end there: a repair may have changed the last page of the last one.
fn chain(part: &mut File, header_len: u64, ends: &[(u64, u64)]) -> io::Result<Vec<Segment>> {
    part.seek(io::SeekFrom::Start(header_len))?;
    let (mut chain, mut at) = (Chain::new(header_len), header_len);
    let mut segments = Vec::new();
    for (until, until_us) in ends {
        let mut piece = Read::by_ref(part).take(until.saturating_sub(at));
        io::copy(&mut piece, &mut chain)?;
        segments.extend(chain.cut(*until_us));
        at = (*until).max(at);
    }
    Ok(segments)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What became of a file in progress that a person wants closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It is here now, so long, with its sidecar beside it.
    Complete(PathBuf, Duration),
    /// Its sound had not begun: it is gone.
    Empty,
}

/// The same for one that a person names: the file in progress, `.NAME.part`. `None` if there is no
/// journal beside it, or it is not called so: it is a file like others.
///
/// # Errors
/// As before; [`io::ErrorKind::ResourceBusy`] if somebody is recording it.
pub(crate) fn finish_part(part: &Path) -> io::Result<Option<Finished>> {
    let paths = hidden(part, PART).map(|file| Paths::new(parent(part).to_owned(), file));
    let Some(paths) = paths.filter(|paths| paths.journal.exists()) else {
        return Ok(None);
    };
    match finish(&Files, &paths, true, &mut "".into())? {
        Outcome::Nothing => {
            let what = "it is being recorded";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
        }
        Outcome::Empty => Ok(Some(Finished::Empty)),
        Outcome::Complete(completion) => {
            let length = completion.length();
            Ok(Some(Finished::Complete(paths.file, length)))
        }
    }
}

/// The file whose journal this is.
pub(super) fn file_of(journal: &Path) -> Option<PathBuf> {
    hidden(journal, JOURNAL)
}

/// The file whose hidden name has this ending.
fn hidden(path: &Path, ending: &str) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_prefix('.')?.strip_suffix(ending)?;
    (!name.is_empty()).then(|| path.with_file_name(name))
}
