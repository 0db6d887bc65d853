//! What a crash left is closed, checked and reported.
//!
//! What cannot be closed stays as it is: it is reported at each start until somebody takes it
//! away.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::Shared;
use crate::record::disk::storage::Paths;
use crate::record::disk::{Reporter, SyncPolicy, add};
use crate::record::event::RecordingEventKind;
use crate::record::finish::{Outcome, file_of, finish};

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

fn one(shared: &Shared, journal: &Path) {
    let Some(file) = file_of(journal) else { return };
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
    let error = match result {
        Ok(Outcome::Nothing) => return,
        Ok(Outcome::Complete(completion)) => {
            add(&shared.counters.completed, 1);
            add(&shared.counters.recovered, 1);
            tracing::info!(path, "closed a recording that a crash left");
            reporter.tell(completion.into_event());
            return;
        }
        Ok(Outcome::Empty) => "left by a crash before its sound began: nothing is there".into(),
        Err(error) => format!("left by a crash, and not closed: {error}").into(),
    };
    add(&shared.counters.failed, 1);
    tracing::error!(path, error, "cannot close a recording that a crash left");
    reporter.tell(RecordingEventKind::Failed { error });
}
