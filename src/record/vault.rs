//! Where complete recordings go: sealed, uploaded, verified, told about, and in the end deleted.
//!
//! All state lies beside the recordings, so that a crash loses nothing: what is to be done for a
//! recording is found by looking. Of `NAME` there are
//!
//! | file | what |
//! |---|---|
//! | `NAME`, `NAME.json` | the recording and its sidecar; both have their names when complete |
//! | `NAME.age` | the recording, sealed; it takes the place of `NAME` |
//! | `.NAME.upload` | how far its upload is |
//! | `.NAME.stored` | it was stored, verified, and told: nothing is left to be done |
//!
//! One thread does all of this. It looks when a recording is complete, when something is to be
//! tried again, and once an hour.

mod notify;
pub mod pattern;
mod seal;
pub mod shelf;
mod store;
mod sweep;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast, oneshot};

pub use notify::CALLBACK_LEN_MAX;
pub(crate) use notify::http_client;
pub use seal::{Key, KeyError, RECIPIENTS_MAX};
pub use store::{Store, StoreError};
pub use upload::PART_LEN;

use super::event::{RecordingEvent, RecordingEventKind};

/// Recordings that are brought away at the same time.
pub const UPLOADS_MAX: usize = 4;

/// From one sweep of the directory to the next.
const SWEEP: Duration = Duration::from_secs(3_600);

/// Between the first failure and the next attempt; each is twice as long as the one before.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest time between attempts.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Attempts before the failure is told. Attempts go on.
const ATTEMPTS_TOLD: u32 = 5;

/// What is done with complete recordings.
#[derive(Clone, Debug, Default)]
pub struct VaultConfig {
    /// Where they are brought; `None`: they stay.
    pub store: Option<Store>,
    /// To whom they are sealed.
    pub key: Option<Key>,
    /// Whom to tell over HTTP when one is available.
    pub callback: Option<String>,
    /// A recording that was stored stays in the directory, too.
    pub keep: bool,
    /// What is older is deleted from the directory, once it is in the store where there is one.
    pub retention: Option<Duration>,
}

impl VaultConfig {
    /// Whether anything is to be done with a complete recording.
    fn is_idle(&self) -> bool {
        self.store.is_none() && self.key.is_none() && self.callback.is_none()
    }

    /// Whether there is anything to do at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_idle() && self.retention.is_none()
    }
}

/// What the vault did; each only grows.
#[derive(Debug, Default)]
pub struct VaultCounters {
    /// Recordings stored and verified.
    pub stored: AtomicU64,
    /// Attempts that failed, and are made again.
    pub failed: AtomicU64,
    /// Callbacks that were taken.
    pub told: AtomicU64,
    /// Recordings deleted because of their age.
    pub expired: AtomicU64,
}

/// The vault. Dropping it ends its thread: what is left to be done is done after the next start.
#[derive(Debug)]
pub struct Vault {
    _over: oneshot::Sender<()>,
    counters: Arc<VaultCounters>,
}

impl Vault {
    /// Starts the vault's thread over a directory of recordings. It first looks for what was left
    /// to be done, and then listens to `events` for what is complete, where it tells as well what
    /// became of it.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(
        dir: PathBuf,
        config: VaultConfig,
        events: broadcast::Sender<RecordingEvent>,
    ) -> std::io::Result<Self> {
        let (over, when_over) = oneshot::channel();
        let complete = events.subscribe();
        let counters = Arc::new(VaultCounters::default());
        let keeper = Arc::new(Keeper {
            dir,
            config,
            events,
            counters: Arc::clone(&counters),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("vault".into())
            .spawn(move || runtime.block_on(sweep::keep(keeper, complete, when_over)))?;
        Ok(Self {
            _over: over,
            counters,
        })
    }

    /// What was done until now.
    #[must_use]
    pub fn counters(&self) -> &VaultCounters {
        &self.counters
    }
}

/// What the vault's tasks share.
#[derive(Debug)]
struct Keeper {
    /// Where recordings are.
    dir: PathBuf,
    config: VaultConfig,
    events: broadcast::Sender<RecordingEvent>,
    counters: Arc<VaultCounters>,
}

impl Keeper {
    fn tell(&self, call_id: &str, path: &str, kind: RecordingEventKind) {
        let _nobody_listens = self.events.send(RecordingEvent {
            call_id: call_id.into(),
            path: path.into(),
            kind,
        });
    }

    /// Does what is left to be done for a recording; again and again until it is done. `free`: who
    /// may try now. Those that wait for their next attempt keep nobody from theirs.
    async fn bring_away(&self, path: &str, free: &Semaphore) {
        let files = Files::of(&self.dir, path);
        let mut wait = RETRY_MIN;
        for attempt in 1_u32.. {
            let turn = free.acquire().await;
            let error = match self.attempt(path, &files).await {
                Ok(()) => return,
                Err(error) => error,
            };
            drop(turn);
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(recording = path, attempt, %error, "not stored yet");
            if attempt == ATTEMPTS_TOLD {
                let call_id = Known::read(&files).map_or_else(|_| String::new(), |k| k.call_id);
                let error = error.to_string().into();
                self.tell(&call_id, path, RecordingEventKind::Failed { error });
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(RETRY_MAX);
        }
    }

    async fn attempt(&self, path: &str, files: &Files) -> Result<(), VaultError> {
        let mut stored = match files.stored()? {
            Some(stored) if stored.told => return Ok(()),
            Some(stored) => stored,
            None => match self.store(path, files).await? {
                Some(stored) => stored,
                None => return Ok(()), // it was deleted meanwhile
            },
        };
        if let Some(url) = &self.config.callback {
            notify::call(url, path, &stored).await?;
            self.counters.told.fetch_add(1, Ordering::Relaxed);
        }
        stored.told = true;
        match files.file.exists() || files.sealed.exists() {
            true => files.set_stored(&stored)?,
            false => remove(&files.stored)?,
        }
        Ok(())
    }

    /// Seals, uploads, verifies, and deletes the local copy, as far as that is asked for.
    async fn store(&self, path: &str, files: &Files) -> Result<Option<Stored>, VaultError> {
        let known = match Known::read(files) {
            Ok(known) => known,
            Err(VaultError::File { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Some(key) = &self.config.key
            && files.file.exists()
        {
            seal::seal(key, &files.file, &files.sealing, &files.sealed)?;
        }
        let (local, suffix) = match files.file.exists() {
            true => (&files.file, ""),
            false => (&files.sealed, seal::SUFFIX),
        };
        let mut stored = Stored {
            call_id: known.call_id,
            sha256: known.sha256,
            chain: known.chain,
            url: String::new(),
            told: false,
        };
        if let Some(store) = &self.config.store {
            let name = format!("{path}{suffix}");
            upload::upload(store, local, &name, &files.upload).await?;
            let sidecar = format!("{path}.json");
            upload::upload(store, &files.sidecar, &sidecar, &files.upload).await?;
            stored.url = store.url_of(&name);
            self.counters.stored.fetch_add(1, Ordering::Relaxed);
        } else {
            stored.url = format!("{path}{suffix}");
        }
        files.set_stored(&stored)?;
        if self.config.store.is_some() && !self.config.keep {
            // Both are verified where they are now. The sidecar goes last: it is what is found.
            remove(local)?;
            remove(&files.sidecar)?;
        }
        let url = stored.url.as_str().into();
        self.tell(&stored.call_id, path, RecordingEventKind::Available { url });
        Ok(Some(stored))
    }
}

/// What is to be known of a sidecar.
#[derive(Debug, Deserialize)]
struct Known {
    call_id: String,
    sha256: String,
    #[serde(default)]
    chain: String,
}

impl Known {
    fn read(files: &Files) -> Result<Self, VaultError> {
        let text = std::fs::read(&files.sidecar).map_err(at(&files.sidecar))?;
        serde_json::from_slice(&text).map_err(|error| VaultError::Sidecar {
            path: files.sidecar.clone(),
            error,
        })
    }
}

/// A recording that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    call_id: String,
    /// Of the recording before it was sealed.
    sha256: String,
    /// Head of its chain of segments.
    #[serde(default)]
    chain: String,
    /// Where it is: a URL of the store, or its path in the directory.
    url: String,
    /// Who wants to know was told.
    told: bool,
}

/// The files of a recording.
#[derive(Clone, Debug)]
struct Files {
    file: PathBuf,
    sidecar: PathBuf,
    sealed: PathBuf,
    sealing: PathBuf,
    upload: PathBuf,
    stored: PathBuf,
}

impl Files {
    fn of(dir: &Path, path: &str) -> Self {
        let file = dir.join(path);
        let name = file.file_name().unwrap_or_default().to_owned();
        let name = name.to_string_lossy();
        let hidden = |what: &str| file.with_file_name(format!(".{name}.{what}"));
        let beside = |what: &str| file.with_file_name(format!("{name}{what}"));
        Self {
            sidecar: beside(".json"),
            sealed: beside(seal::SUFFIX),
            sealing: hidden("sealing"),
            upload: hidden("upload"),
            stored: hidden("stored"),
            file,
        }
    }

    fn stored(&self) -> Result<Option<Stored>, VaultError> {
        match std::fs::read(&self.stored) {
            // One that cannot be read was being written in a crash: it is made again.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&self.stored)(error)),
        }
    }

    fn set_stored(&self, stored: &Stored) -> Result<(), VaultError> {
        let text = serde_json::to_vec(stored).unwrap_or_default();
        std::fs::write(&self.stored, text).map_err(at(&self.stored))
    }

    /// All there may be, the sidecar last: it is by which the others are found.
    fn all(&self) -> [&Path; 6] {
        [
            &self.file,
            &self.sealed,
            &self.sealing,
            &self.upload,
            &self.stored,
            &self.sidecar,
        ]
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), VaultError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Why something could not be done yet.
#[derive(Debug, thiserror::Error)]
enum VaultError {
    #[error("{path}: {error}", path = path.display())]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{path} is no sidecar: {error}", path = path.display())]
    Sidecar {
        path: PathBuf,
        error: serde_json::Error,
    },
    #[error("{object} in the store is something else than was uploaded ({what})")]
    Unverified { object: String, what: &'static str },
    #[error("{object}: something else of this name is in the store already")]
    Taken { object: String },
    #[error("the store failed: {0}")]
    Store(#[from] object_store::Error),
    #[error("sealing failed: {0}")]
    Seal(String),
    #[error("the callback failed: {0}")]
    Callback(String),
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> VaultError {
    let path = path.to_owned();
    move |error| VaultError::File { path, error }
}
