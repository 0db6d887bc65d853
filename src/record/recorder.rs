//! The recorder: its threads, and who commands them.

mod live;
mod path;
mod recover;
mod rota;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast;

use self::live::{Inbox, Live};
use self::rota::Rota;
use super::config::{ConfigError, Format, RecordingConfig, TrackConfig};
use super::disk::storage::{Files, Paths, Storage};
use super::disk::{
    Item, PENDING, PENDING_BYTES_MAX, PENDING_BYTES_MIN, RecordCounters, Reporter, SyncPolicy,
    Writers, add, lock, spawn,
};
use super::event::RecordingEvent;
use super::session::{Command, Output, Session};
use super::vault::pattern::YEAR_9999;
use super::vault::{Vault, VaultConfig};
use crate::audio::codec::CodecError;
use crate::engine::{TapeReader, TrackIx, TrackType};

pub use self::path::PATH_LEN_MAX;

/// Most recordings in progress, or being closed, of a recorder; one more is refused.
pub const RECORDINGS_MAX: usize = 10_000;

/// Most threads that read tapes.
pub const THREADS_MAX: usize = 64;

/// Most commands that wait for a recording; more are dropped and counted. Stopping is none of
/// them: it never waits.
pub const COMMANDS_MAX: usize = 256;

/// Most events that wait for a listener; a slower one misses the oldest.
const EVENTS_MAX: usize = 4_096;

/// How often each tape is read.
const POLL: Duration = Duration::from_millis(40);

/// How long [`Recorder::begin`] waits for the disk to say that the file can be written. On a
/// slower one the recording has begun, and fails later if it must.
const BEGIN_WAIT: Duration = Duration::from_millis(250);

/// What the recorder is told at start.
#[derive(Clone, Debug)]
pub struct RecorderConfig {
    /// Where recordings are written.
    pub dir: PathBuf,
    /// Threads that read tapes, 1 to [`THREADS_MAX`]; others are taken as the nearest.
    pub threads: usize,
    /// When what was written is to outlive a failure of power.
    pub sync: SyncPolicy,
    /// Most recordings at a time, at most [`RECORDINGS_MAX`].
    pub recordings_max: usize,
    /// What is done with those that are complete.
    pub vault: VaultConfig,
}

impl RecorderConfig {
    /// One thread, sync on completion, [`RECORDINGS_MAX`].
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            threads: 1,
            sync: SyncPolicy::default(),
            recordings_max: RECORDINGS_MAX,
            vault: VaultConfig::default(),
        }
    }
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be as it was asked for.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such encoder.
    #[error("cannot record in this format: {0}")]
    Codec(#[from] CodecError),
    /// The path leads out of the directory, or is no name for a recording.
    #[error("{path:?} is no path for a recording: {why}")]
    Path {
        /// The path.
        path: Box<str>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A recording of that path is in progress.
    #[error("{0:?} is being recorded already")]
    Busy(Box<str>),
    /// As many as there may be.
    #[error("{0} recordings are in progress, which is the limit")]
    TooMany(usize),
    /// The recorder is being shut down.
    #[error("the recorder is being shut down")]
    Over,
    /// The directory or the file cannot be written.
    #[error("{path} cannot be written: {error}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// What all its threads share.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    writers: Arc<Writers>,
    counters: Arc<RecordCounters>,
    events: broadcast::Sender<RecordingEvent>,
    /// Paths in use.
    names: Mutex<HashSet<Box<str>>>,
    over: AtomicBool,
}

/// The recorder. Share it in an `Arc`. Dropping it ends its recordings as
/// [`shutdown`](Self::shutdown) does, without waiting.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    recordings_max: usize,
    threads: Vec<Sender<Box<Live>>>,
    next: AtomicUsize,
    vault: Option<Vault>,
    /// For whoever listens first: nothing that happened since the start is missed.
    first: Mutex<Option<broadcast::Receiver<RecordingEvent>>>,
}

impl Recorder {
    /// Starts the recorder's threads, and closes in the background what a crash left.
    ///
    /// # Errors
    /// [`RecordError::File`] if the directory cannot be written.
    pub fn start(config: RecorderConfig) -> Result<Arc<Self>, RecordError> {
        Self::start_on(config, Arc::new(Files))
    }

    /// The same on another file system.
    ///
    /// # Errors
    /// [`RecordError::File`] if the directory cannot be written.
    pub fn start_on(
        config: RecorderConfig,
        storage: Arc<dyn Storage>,
    ) -> Result<Arc<Self>, RecordError> {
        let dir = config.dir;
        let file_error = |error| RecordError::File {
            path: dir.clone(),
            error,
        };
        path::check_dir(&dir).map_err(file_error)?;
        let counters = Arc::new(RecordCounters::default());
        let (events, first) = broadcast::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            writers: Writers::new(storage, config.sync, Arc::clone(&counters)),
            counters,
            events,
            names: Mutex::default(),
            over: AtomicBool::new(false),
            dir: dir.clone(),
        });
        let mut threads = Vec::new();
        for index in 0..config.threads.clamp(1, THREADS_MAX) {
            let (sender, receiver) = mpsc::channel();
            let shared = Arc::clone(&shared);
            spawn(format!("record-{index}"), move || run(&shared, &receiver))
                .map_err(file_error)?;
            threads.push(sender);
        }
        let vault = match config.vault.is_empty() {
            true => None,
            false => {
                let events = shared.events.clone();
                let vault = Vault::start(dir.clone(), config.vault, events);
                Some(vault.map_err(file_error)?)
            }
        };
        let left = Arc::clone(&shared);
        spawn("record-recover".into(), move || recover::all(&left)).map_err(file_error)?;
        Ok(Arc::new(Self {
            shared,
            recordings_max: config.recordings_max.min(RECORDINGS_MAX),
            threads,
            next: AtomicUsize::new(0),
            vault,
            first: Mutex::new(Some(first)),
        }))
    }

    /// Begins a recording of what comes on the tape, from the tape's origin on. Waits for the disk,
    /// a quarter of a second at most.
    ///
    /// # Errors
    /// [`RecordError`]; nothing was begun.
    pub fn begin(
        &self,
        config: RecordingConfig,
        tape: TapeReader,
    ) -> Result<Recording, RecordError> {
        config.check()?;
        let file = path::in_dir(&self.shared.dir, &config.path)?;
        let path = config.path.clone();
        let mut output = Output::default();
        let started = wall(tape.origin());
        let (call_id, capacity) = (config.call_id.clone(), capacity(&config));
        let serial = fastrand::u32(..);
        let session = Session::new(config, tape, &started, serial, &mut output)?;
        self.take_name(&path)?;
        let reporter = Reporter {
            events: self.shared.events.clone(),
            call_id,
            path: path.clone(),
        };
        let paths = Paths::new(self.shared.dir.clone(), file.clone());
        let item = Item::new(paths, reporter, capacity);
        item.give(output, None, &self.shared.writers);
        if let Some(Err(error)) = item.wait_open(BEGIN_WAIT) {
            self.shared.free_name(&path);
            return Err(RecordError::File { path: file, error });
        }
        add(&self.shared.counters.begun, 1);
        let inbox = Arc::new(Inbox::default());
        let live = Live::new(session, Arc::clone(&inbox), item);
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        // The thread lives as long as this.
        let _taken = self.threads[index].send(Box::new(live));
        let counters = Arc::clone(&self.shared.counters);
        Ok(Recording {
            path,
            inbox,
            counters,
        })
    }

    /// What happens to recordings from now on; to who asks first, since the start.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<RecordingEvent> {
        let first = lock(&self.first).take();
        first.unwrap_or_else(|| self.shared.events.subscribe())
    }

    /// What is done with complete recordings, where there is anything to be done.
    #[must_use]
    pub fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<RecordCounters> {
        &self.shared.counters
    }

    /// Ends all recordings now and waits until they are closed, at most so long. Those that are
    /// not by then are closed at the next start. Blocks. `true`: all are closed.
    pub fn shutdown(&self, within: Duration) -> bool {
        {
            // Whoever begins now has its name already, and is counted, or comes too late.
            let _names = lock(&self.shared.names);
            self.shared.over.store(true, Ordering::Relaxed);
        }
        let until = Instant::now() + within;
        while self.shared.counters.live.load(Ordering::Relaxed) > 0 {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(POLL / 4);
        }
        true
    }

    fn take_name(&self, path: &str) -> Result<(), RecordError> {
        let mut names = lock(&self.shared.names);
        if self.shared.over.load(Ordering::Relaxed) {
            return Err(RecordError::Over);
        }
        if names.len() >= self.recordings_max {
            add(&self.shared.counters.refused, 1);
            return Err(RecordError::TooMany(self.recordings_max));
        }
        if !names.insert(path.into()) {
            return Err(RecordError::Busy(path.into()));
        }
        add(&self.shared.counters.live, 1);
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn free_name(&self, path: &str) {
        lock(&self.names).remove(path);
    }
}

/// A recorder thread's life: ends with its recordings, once there will be no more.
fn run(shared: &Arc<Shared>, new: &Receiver<Box<Live>>) {
    let mut all = Rota::new(POLL);
    let mut more = true;
    while more || !all.is_empty() {
        more = more && take_new(&mut all, new);
        if !more {
            std::thread::sleep(all.due().saturating_duration_since(Instant::now()));
        }
        let over = shared.over.load(Ordering::Relaxed);
        all.turn(Instant::now(), |live| {
            let goes_on = live.poll(Instant::now(), over, &shared.writers);
            if !goes_on {
                shared.free_name(live.path());
            }
            goes_on
        });
    }
    shared.writers.end();
}

/// Takes new recordings in until the next turn is due. `false`: there will be no more.
fn take_new(all: &mut Rota<Box<Live>>, new: &Receiver<Box<Live>>) -> bool {
    loop {
        let wait = all.due().saturating_duration_since(Instant::now());
        match new.recv_timeout(wait) {
            Ok(live) => all.add(live),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// The wall clock at a moment, RFC 3339 in UTC with milliseconds.
fn wall(at: Instant) -> String {
    let (wall, now) = (SystemTime::now(), Instant::now());
    let at = match now.checked_duration_since(at) {
        Some(before) => wall.checked_sub(before),
        None => wall.checked_add(at - now),
    };
    written(at.unwrap_or(wall))
}

/// A clock that is set to before 1970, or to after 9999, is taken as the nearest that RFC 3339 has.
fn written(at: SystemTime) -> String {
    let at = at.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + YEAR_9999);
    humantime::format_rfc3339_millis(at).to_string()
}

/// Octets of a recording's buffer.
fn capacity(config: &RecordingConfig) -> usize {
    let sample = match config.format {
        Format::Wav => 2,
        Format::WavAlaw | Format::WavUlaw | Format::Opus { .. } | Format::OpusCopy => 1,
    };
    let channels = usize::from(config.layout.channels());
    let rate = usize::try_from(config.rate_hz).unwrap_or(usize::MAX);
    let seconds = usize::try_from(PENDING.as_secs()).unwrap_or(usize::MAX);
    let bytes = rate
        .saturating_mul(sample * channels)
        .saturating_mul(seconds);
    bytes.clamp(PENDING_BYTES_MIN, PENDING_BYTES_MAX)
}

/// A recording in progress. Dropping it stops nothing: it ends with its tape.
#[derive(Debug)]
pub struct Recording {
    path: Box<str>,
    inbox: Arc<Inbox>,
    counters: Arc<RecordCounters>,
}

impl Recording {
    /// Its path in the recordings' directory: its name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Says who is on a track from now on; or that its types have changed. What comes on a track
    /// before anybody said who it is, is not recorded.
    pub fn set_track(&self, track: TrackIx, config: TrackConfig) {
        self.command(Command::Track(track, config));
    }

    /// What a track's payload types mean from now on; numbers that are not among them keep their
    /// meaning.
    pub fn set_types(&self, track: TrackIx, types: Vec<TrackType>) {
        self.command(Command::Types(track, types));
    }

    /// Nothing is recorded from this moment on; a second pause changes nothing.
    pub fn pause(&self, at: Instant) {
        self.command(Command::Pause(at));
    }

    /// Recording goes on from this moment on.
    pub fn resume(&self, at: Instant) {
        self.command(Command::Resume(at));
    }

    /// It ends at this moment: the file is closed and kept, or thrown away. Once it has ended this
    /// changes nothing.
    pub fn stop(&self, at: Instant, discard: bool) {
        self.inbox.stop(at, discard);
    }

    fn command(&self, command: Command) {
        if !self.inbox.push(command) {
            add(&self.counters.commands_dropped, 1);
        }
    }
}

#[cfg(test)]
mod tests;
