//! Every call and leg: what became of them, in an embedded SQLite database.
//!
//! | part | what it does |
//! |---|---|
//! | `schema` | the tables; opens the database, and closes what a crash left open |
//! | `event` | what calls tell, and how it is written |
//! | `keeper` | the one thread that owns the connection: batches, errors, what is too old |
//! | `outbox` | what is yet to be told by HTTP, in the transaction of what it tells |
//! | [`read`] | calls as they are listed |
//!
//! Calls never wait for it: what they tell goes into a bounded queue, and what that has no room for
//! is counted and lost. What was told is in the database about 50 ms later, and survives the death
//! of the process from then on. A power failure may take the last moments, and leaves the rest
//! whole (WAL with `synchronous = NORMAL`).

mod event;
pub(crate) mod keeper;
pub(crate) mod outbox;
pub mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{Notify, oneshot};

pub use event::{RECORDINGS_MAX, TEXT_MAX};
pub use keeper::{QUEUE_MAX, READS_MAX, SWEEP_MAX};

use crate::flow::callback::{Retry, Secret, send};
use crate::flow::run::ledger::{CallEnded, CallStarted, Ledger, LegStarted, Quality};
use crate::sip::Ending;
use event::Event;
use keeper::{Inbox, Keeper, Question};
use outbox::Outbox;

/// Where the records are by default, in the working directory.
pub const FILE: &str = "calls.sqlite";

/// How long calls are kept by default.
pub const KEEP: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Most calls that are kept by default; the oldest go first.
pub const CALLS_MAX: u64 = 10_000_000;

/// Most callbacks that wait by default. Each takes about a kilobyte on disk.
pub const OUTBOX_MAX: u64 = 500_000;

/// How long a question to the store may take.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// What time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock that gives milliseconds since 1970, UTC.
    pub fn new(ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(ms))
    }

    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
        })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How records are kept, and callbacks are sent.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls that began longer ago are deleted.
    pub keep: Duration,
    /// Most calls that are kept.
    pub calls_max: u64,
    /// Most callbacks that wait.
    pub outbox_max: u64,
    /// Most pages of 4,096 octets that the database may have; `None`: as the disk has room.
    pub pages_max: Option<u32>,
    /// Callbacks are signed with it.
    pub secret: Option<Secret>,
    /// When callbacks that were not taken are sent again.
    pub retry: Retry,
    /// The time of what is told.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep: KEEP,
            calls_max: CALLS_MAX,
            outbox_max: OUTBOX_MAX,
            pages_max: None,
            secret: None,
            retry: Retry::default(),
            clock: Clock::system(),
        }
    }
}

/// What the store did. Each only grows, but for [`callbacks_waiting`](Self::callbacks_waiting).
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that were written.
    pub written: AtomicU64,
    /// Events that were lost: more than [`QUEUE_MAX`] waited.
    pub dropped: AtomicU64,
    /// Events of calls or legs that are not known, or were over; and those the database refused.
    pub skipped: AtomicU64,
    /// Transactions.
    pub commits: AtomicU64,
    /// Transactions that failed, and were tried again.
    pub failed: AtomicU64,
    /// Calls that a crash had left open.
    pub crashed: AtomicU64,
    /// Calls deleted because of their age or number.
    pub expired: AtomicU64,
    /// Callbacks that were queued.
    pub callbacks_queued: AtomicU64,
    /// Callbacks for which there was no room, or whose URL cannot be used.
    pub callbacks_refused: AtomicU64,
    /// Callbacks that were taken.
    pub callbacks_delivered: AtomicU64,
    /// Attempts that were not taken.
    pub callbacks_failed: AtomicU64,
    /// Attempts that were not taken, and are made again.
    pub callbacks_retried: AtomicU64,
    /// Callbacks that were never taken.
    pub callbacks_given_up: AtomicU64,
    /// Callbacks that wait now.
    pub callbacks_waiting: AtomicU64,
}

/// Why records cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database, or its directory.
    #[error("{}: {}", .path.display(), said(.source))]
    Database {
        /// Where it is.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Its lock file.
    #[error("{}.lock: {source}", .path.display())]
    Lock {
        /// Where the database is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has one writer.
    #[error("{}: another switch keeps its records there", .0.display())]
    InUse(PathBuf),
    /// A version that this program does not know wrote it.
    #[error(
        "{}: written by a newer crosspoint (version {found} of its tables, this one knows {})",
        .path.display(), schema::VERSION
    )]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
    },
    /// The folder that it is to be in is not there.
    #[error("{}: there is no folder {}", .0.display(), folder_of(.0).display())]
    NoFolder(PathBuf),
    /// It is a folder itself.
    #[error("{}: is a folder, and not the file of call records", .0.display())]
    IsFolder(PathBuf),
    /// There is none.
    #[error("{}: there is no such file; a switch writes it when it carries calls", .0.display())]
    Missing(PathBuf),
    /// A database of something else, or an empty one.
    #[error("{}: holds no call records", .0.display())]
    Foreign(PathBuf),
    /// There can be no thread.
    #[error("cannot start the thread of the call records: {0}")]
    Thread(io::Error),
}

impl StoreError {
    fn open(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        Self::Database { path, source }
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// SQLite's errors in words that say what to do.
fn said(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly,
        SystemIoFailure,
    };
    let what = match error.sqlite_error_code() {
        // Its own words are these.
        Some(NotADatabase) => return "is not a database".to_owned(),
        Some(DatabaseCorrupt) => "is damaged; move it away, or restore it",
        Some(DiskFull) => return "the disk is full".to_owned(),
        Some(ReadOnly) => "cannot be written",
        Some(CannotOpen) => "cannot be opened; is its directory there, and may it be written?",
        Some(DatabaseBusy) => "is locked by another program",
        Some(SystemIoFailure) => "the disk fails",
        _ => return error.to_string(),
    };
    format!("{what} ({error})")
}

/// The records of all calls, and whoever tells of them by HTTP.
///
/// Dropping it writes what waits, ends its threads and waits for them; callbacks that were not
/// delivered are sent after the next start.
#[derive(Debug)]
pub struct Store {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    clock: Clock,
    sender: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    keeper: Option<JoinHandle<()>>,
    _lock: File,
}

impl Store {
    /// Opens the database at `path`, makes it if it is not there, closes as `failed` the calls that
    /// were open when the last switch died, and begins to send what waits in its outbox.
    ///
    /// # Errors
    /// If it cannot be opened and written, is damaged, in use, or of a newer version.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let lock = schema::lock(path)?;
        let counters = Arc::new(Counters::default());
        let mut outbox = Outbox::new(&options, Arc::clone(&counters));
        let (db, crashed) = schema::open(path, &options, &mut outbox)?;
        outbox.committed();
        counters
            .crashed
            .store(crashed as u64, std::sync::atomic::Ordering::Relaxed);
        if crashed > 0 {
            tracing::warn!(crashed, "calls that a crash left open are closed as failed");
        }
        let inbox = Arc::new(Inbox::new(Arc::clone(&counters)));
        let clock = options.clock.clone();
        let bell = Arc::<Notify>::default();
        let sender = send::Sender::new(&options, Arc::clone(&inbox), Arc::clone(&bell));
        let keeper = Keeper::new(db, Arc::clone(&inbox), outbox, bell, options);
        let keeper = std::thread::Builder::new()
            .name("call-records".into())
            .spawn(move || keeper.run())
            .map_err(StoreError::Thread)?;
        let mut store = Self {
            inbox,
            counters,
            clock,
            sender: None,
            keeper: Some(keeper),
            _lock: lock,
        };
        store.sender = Some(sender.start().map_err(StoreError::Thread)?);
        Ok(store)
    }

    /// What was done until now.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Waits until all that was told before is on disk; blocks the thread, for tests and tools.
    pub fn flush(&self) {
        let (written, when_written) = std::sync::mpsc::channel();
        self.inbox.flush(written);
        // An error: the store has ended, and wrote what it could.
        let _written = when_written.recv();
    }

    fn tell(&self, event: Event) {
        self.inbox.tell(event);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some((over, sender)) = self.sender.take() {
            drop(over);
            let _ended = sender.join();
        }
        self.inbox.close();
        if let Some(keeper) = self.keeper.take() {
            let _ended = keeper.join();
        }
    }
}

impl Ledger for Store {
    fn call_started(&self, call: &CallStarted<'_>) {
        self.tell(Event::call_started(self.clock.now_ms(), call));
    }

    fn leg_started(&self, leg: &LegStarted<'_>) {
        self.tell(Event::leg_started(self.clock.now_ms(), leg));
    }

    fn ringing(&self, call: &str, leg: &str) {
        self.tell(Event::ringing(self.clock.now_ms(), call, leg));
    }

    fn answered(&self, call: &str, leg: &str) {
        self.tell(Event::answered(self.clock.now_ms(), call, leg));
    }

    fn leg_ended(&self, call: &str, leg: &str, ending: Ending, quality: Option<&Quality>) {
        let now = self.clock.now_ms();
        self.tell(Event::leg_ended(now, (call, leg), ending, quality));
    }

    fn call_ended(&self, call: &CallEnded<'_>) {
        self.tell(Event::call_ended(self.clock.now_ms(), call));
    }

    fn last_agent<'a>(
        &'a self,
        caller: &'a str,
        agents: Vec<String>,
    ) -> BoxFuture<'a, Option<String>> {
        async move {
            let (reply, answer) = oneshot::channel();
            let question = Question::LastAgent {
                caller: caller.to_owned(),
                agents,
                reply,
            };
            if !self.inbox.ask(question) {
                return None;
            }
            let answer = tokio::time::timeout(ANSWER_MAX, answer).await;
            answer.ok()?.ok()?
        }
        .boxed()
    }
}
