//! The vault's thread: what is complete now, what was left, what is too old.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, oneshot};
use tokio::task::JoinSet;

use crate::record::event::{RecordingEvent, RecordingEventKind};

use super::{Files, Keeper, Known, SWEEP, UPLOADS_MAX, remove};

/// Deepest directory in which recordings are found.
const DEPTH_MAX: usize = 16;

/// Works until it is over.
pub(super) async fn keep(
    keeper: Arc<Keeper>,
    mut complete: broadcast::Receiver<RecordingEvent>,
    mut over: oneshot::Receiver<()>,
) {
    let mut sweeps = tokio::time::interval(SWEEP);
    let mut working = JoinSet::new();
    let mut busy = HashSet::new();
    let free = Arc::new(Semaphore::new(UPLOADS_MAX));
    loop {
        let found = tokio::select! {
            _ = &mut over => return,
            event = complete.recv() => match event {
                Ok(event) => match event.kind {
                    RecordingEventKind::Completed { .. } => vec![event.path],
                    _ => continue,
                },
                // Whatever was missed lies there.
                Err(RecvError::Lagged(_)) => keeper.sweep(),
                // The sender lives in the keeper.
                Err(RecvError::Closed) => return,
            },
            _ = sweeps.tick() => keeper.sweep(),
            Some(done) = working.join_next() => {
                if let Ok(path) = done {
                    busy.remove(&path);
                }
                continue;
            }
        };
        if keeper.config.is_idle() {
            continue;
        }
        for path in found {
            if !busy.insert(path.clone()) {
                continue;
            }
            let (keeper, free) = (Arc::clone(&keeper), Arc::clone(&free));
            working.spawn(async move {
                keeper.bring_away(&path, &free).await;
                path
            });
        }
    }
}

impl Keeper {
    /// Deletes what is too old; the recordings for which something is left to be done.
    fn sweep(&self) -> Vec<Box<str>> {
        let mut found = Vec::new();
        self.walk(&self.dir, 0, &mut found);
        found
    }

    fn walk(&self, dir: &Path, depth: usize, found: &mut Vec<Box<str>>) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => {
                    self.walk(&path, depth + 1, found);
                }
                Ok(kind) if kind.is_file() => found.extend(self.look(&path)),
                _ => {} // a link leads elsewhere
            }
        }
    }

    /// The recording to which a file belongs that says that something is left to be done.
    fn look(&self, file: &Path) -> Option<Box<str>> {
        let name = file.file_name()?.to_str()?;
        let recording: PathBuf = match name.strip_suffix(".json") {
            Some(recording) if !name.starts_with('.') => file.with_file_name(recording),
            // Its file is stored and gone, and who wants to know was not told yet.
            _ => file.with_file_name(name.strip_prefix('.')?.strip_suffix(".stored")?),
        };
        let path = recording.strip_prefix(&self.dir).ok()?.to_str()?;
        let files = Files::of(&self.dir, path);
        let stored = files.stored();
        // What a store is to have stays until it is there, and verified. Whatever else lies here
        // is not ours to delete.
        let is_needed = self.config.store.is_some() && !matches!(stored, Ok(Some(_)));
        if !is_needed && self.is_expired(&files.sidecar) && Known::read(&files).is_ok() {
            self.expire(path, &files);
            return None;
        }
        match stored {
            Ok(Some(stored)) if stored.told => None,
            _ => Some(path.into()),
        }
    }

    fn is_expired(&self, sidecar: &Path) -> bool {
        let Some(retention) = self.config.retention else {
            return false;
        };
        let written = std::fs::metadata(sidecar).and_then(|meta| meta.modified());
        let age = written.map(|at| SystemTime::now().duration_since(at));
        matches!(age, Ok(Ok(age)) if age > retention)
    }

    fn expire(&self, path: &str, files: &Files) {
        for file in files.all() {
            if let Err(error) = remove(file) {
                tracing::warn!(recording = path, %error, "not deleted");
                return;
            }
        }
        tracing::info!(recording = path, "deleted because of its age");
        self.counters.expired.fetch_add(1, Ordering::Relaxed);
    }
}
