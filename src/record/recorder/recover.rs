//! What a crash left is closed, checked and reported.
//!
//! What cannot be closed stays as it is: it is reported at each start until somebody takes it
//! away. If it is the disk that does not let it be closed, it is tried again until the disk does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use crate::record::disk::storage::Paths;
use crate::record::disk::{Reporter, SyncPolicy, add, is_final};
use crate::record::event::RecordingEventKind;
use crate::record::finish::{Outcome, file_of, finish};

/// Deepest folder below the recordings' directory that is looked into.
pub(super) const DEPTH_MAX: usize = 16;

/// What the disk did not let be closed is tried again so much later, then after twice that, and in
/// the end this often: each time it is read from its beginning.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(80);

/// How soon it is seen that the recorder ends.
const LOOK: Duration = Duration::from_millis(100);

/// What became of one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Settled,
    /// It may be closed later.
    Open,
}

/// Closes all that a crash left in the directory.
pub(super) fn all(shared: &Shared) {
    let (mut open, mut wait) = (sweep(shared), RETRY_MIN);
    while !open.is_empty() {
        let until = Instant::now() + wait;
        wait = RETRY_MAX.min(2 * wait);
        while Instant::now() < until {
            if shared.over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        open.retain(|journal| one(shared, journal, true) == Fate::Open);
    }
}

/// Closes what can be closed now; the journals of those that may be later.
fn sweep(shared: &Shared) -> Vec<PathBuf> {
    let (mut folders, mut open) = (vec![(shared.dir.clone(), 0)], Vec::new());
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            tracing::warn!(folder = %folder.display(), "cannot look for unfinished recordings");
            continue;
        };
        for entry in entries.flatten() {
            if shared.over.load(Ordering::Relaxed) {
                return Vec::new();
            }
            // Links are not followed.
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_ok_and(|kind| kind.is_file())
                && one(shared, &entry.path(), false) == Fate::Open
            {
                open.push(entry.path());
            }
        }
    }
    open
}

/// Closes one; that it could not be is `told` once.
fn one(shared: &Shared, journal: &Path, told: bool) -> Fate {
    let Some(file) = file_of(journal) else {
        return Fate::Settled;
    };
    let path = file.strip_prefix(&shared.dir).unwrap_or(&file);
    let mut reporter = Reporter {
        events: shared.events.clone(),
        call_id: "".into(),
        path: path.to_string_lossy().into(),
    };
    let paths = Paths::new(shared.dir.clone(), file);
    let storage = &*shared.writers.storage;
    let sync = shared.writers.sync != SyncPolicy::Never;
    let result = finish(storage, &paths, sync, &mut reporter.call_id);
    let path = &*reporter.path;
    let (error, fate) = match result {
        Ok(Outcome::Nothing) => return Fate::Settled,
        Ok(Outcome::Complete(completion)) => {
            add(&shared.counters.completed, 1);
            add(&shared.counters.recovered, 1);
            tracing::info!(path, "closed a recording that a crash left");
            reporter.tell(completion.into_event());
            return Fate::Settled;
        }
        Ok(Outcome::Empty) => {
            let error = "left by a crash before its sound began: nothing is there";
            (error.into(), Fate::Settled)
        }
        Err(error) => {
            let fate = if is_final(&error) {
                Fate::Settled
            } else {
                Fate::Open
            };
            let error = format!("left by a crash, and not closed: {error}");
            (error.into(), fate)
        }
    };
    if told && fate == Fate::Open {
        return fate;
    }
    add(&shared.counters.failed, 1);
    tracing::error!(path, error, "cannot close a recording that a crash left");
    reporter.tell(RecordingEventKind::Failed { error });
    fate
}
