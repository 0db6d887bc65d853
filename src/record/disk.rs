//! Writer threads: the only ones that wait for a disk.
//!
//! Each recording has a bounded buffer that its session fills and a writer empties, one
//! at a time, so that octets, header and journal keep their order. Writers take whatever recording
//! has something to write; one that the disk holds up holds up that recording alone. As a dead
//! disk would hold up all writers one by one, at most [`WRITERS_PER_DISK`] wait for the same disk,
//! and further writers are started when all wait, up to [`WRITERS_MAX`].
//!
//! What fails is tried again a second later from the same place: a full disk that has room again
//! goes on where it stopped.

mod close;
mod counters;
mod item;
pub mod storage;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use close::{Completion, complete, tidy};
pub use counters::RecordCounters;
pub(super) use counters::add;
pub(super) use item::{Closing, Item, Reporter};

use self::item::Next;
use self::storage::Storage;
use crate::plane::background;

/// A buffer takes so much of its recording's sound, in every format: disks stall for ten seconds,
/// and nothing is lost.
pub const PENDING: Duration = Duration::from_secs(16);

/// A buffer takes at least so many octets.
pub const PENDING_BYTES_MIN: usize = 128 << 10;

/// A buffer takes at most so many octets: [`PENDING`] of 16 channels of 48 kHz, and some.
pub const PENDING_BYTES_MAX: usize = 24 << 20;

/// All buffers of a recorder together take so many octets; beyond, all disks count as slow.
pub const PENDING_BYTES_ALL_MAX: u64 = 4 << 30;

/// Octets of a journal that wait to be written; lines beyond are lost, counted, and said to be lost
/// in the sidecar that a crash makes of the journal. Any other sidecar has all of them.
pub const JOURNAL_PENDING_MAX: usize = 256 << 10;

/// Most writer threads.
pub const WRITERS_MAX: usize = 16;

/// Most writers that wait for one disk, and most that open files.
pub const WRITERS_PER_DISK: usize = 2;
const OPENERS: usize = 8;

/// What failed is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// When what was written is to outlive a failure of power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the system thinks fit.
    Never,
    /// When a recording is complete.
    #[default]
    OnCompletion,
    /// Every so often, and when a recording is complete.
    Every(Duration),
}

/// What writers wait for: at most so many wait for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// A file is not open yet: nobody knows on which disk it is.
    Open,
    /// Writes to a disk.
    Write(u64),
    /// Reads a whole file of a disk again and gives it its name, which takes long.
    Close(u64),
}

impl Lane {
    fn most(self) -> usize {
        match self {
            Self::Open => OPENERS,
            Self::Write(_) => WRITERS_PER_DISK,
            Self::Close(_) => 1,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<(Lane, Arc<Item>)>,
    later: Vec<(Instant, Arc<Item>)>,
    busy: Vec<Lane>,
    writers: usize,
    idle: usize,
    over: bool,
}

impl Queue {
    /// Index of the first one whose lane is free.
    fn claimable(&self) -> Option<usize> {
        let waiting = |lane| self.busy.iter().filter(|busy| **busy == lane).count();
        let mut ready = self.ready.iter();
        ready.position(|(lane, _)| waiting(*lane) < lane.most())
    }

    /// The first one whose lane is free.
    fn claim(&mut self) -> Option<(Lane, Arc<Item>)> {
        let (lane, item) = self.ready.remove(self.claimable()?)?;
        self.busy.push(lane);
        Some((lane, item))
    }

    /// Those whose time has come.
    fn wake(&mut self, now: Instant) {
        let due = self.later.extract_if(.., |(at, _)| *at <= now);
        self.ready.extend(due.map(|(_, item)| (item.lane(), item)));
    }
}

/// The writer threads of a recorder.
#[derive(Debug)]
pub(super) struct Writers {
    queue: Mutex<Queue>,
    wake: Condvar,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) sync: SyncPolicy,
    pub(super) counters: Arc<RecordCounters>,
    /// Octets that wait in all buffers, and how many may.
    pending: AtomicU64,
    pending_max: u64,
}

impl Writers {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        sync: SyncPolicy,
        counters: Arc<RecordCounters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            wake: Condvar::new(),
            storage,
            sync,
            counters,
            pending: AtomicU64::new(0),
            pending_max: PENDING_BYTES_ALL_MAX,
        })
    }

    /// Octets that all buffers together may still take.
    pub(super) fn room(&self) -> usize {
        let pending = self.pending.load(Ordering::Relaxed);
        usize::try_from(self.pending_max.saturating_sub(pending)).unwrap_or(usize::MAX)
    }

    /// So many octets wait from now on.
    fn waits(&self, bytes: usize) {
        self.pending.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many octets wait no more.
    fn waited(&self, bytes: u64) {
        self.pending.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// An item has something to write, and is in no queue.
    fn push(self: &Arc<Self>, item: Arc<Item>) {
        let mut queue = self.lock();
        queue.ready.push_back((item.lane(), item));
        self.call_writer(&mut queue);
    }

    /// Wakes a writer, or starts one more if all are busy, if one is of any use.
    fn call_writer(self: &Arc<Self>, queue: &mut Queue) {
        if queue.claimable().is_none() {
            return;
        }
        if queue.idle > 0 {
            self.wake.notify_one();
            return;
        }
        if queue.writers >= WRITERS_MAX {
            return;
        }
        let writers = Arc::clone(self);
        if spawn("record-write".into(), move || writers.run()).is_ok() {
            queue.writers += 1;
        }
    }

    /// A writer's life.
    fn run(self: Arc<Self>) {
        while let Some((lane, item)) = self.next() {
            let next = item.work(&self);
            let mut queue = self.lock();
            if let Some(at) = queue.busy.iter().position(|busy| *busy == lane) {
                queue.busy.swap_remove(at);
            }
            match next {
                Next::Idle => {}
                Next::Again => queue.ready.push_back((item.lane(), item)),
                Next::Retry => queue.later.push((Instant::now() + RETRY, item)),
            }
        }
    }

    fn next(self: &Arc<Self>) -> Option<(Lane, Arc<Item>)> {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            queue.wake(now);
            if let Some(claimed) = queue.claim() {
                // What else there is must not wait for this one.
                self.call_writer(&mut queue);
                return Some(claimed);
            }
            if queue.over && queue.ready.is_empty() && queue.later.is_empty() {
                queue.writers -= 1;
                return None;
            }
            let first = queue.later.iter().map(|(at, _)| *at).min();
            let wait = first.map_or(RETRY, |at| at.saturating_duration_since(now));
            queue.idle += 1;
            let waited = self.wake.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle -= 1;
        }
    }

    /// Writers end when nothing is left to write.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.wake.notify_all();
    }
}

/// Starts a thread that lets media go first.
pub(super) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name);
    let behind_media = move || {
        // Where the system refuses, it goes on as it is.
        let _refused = background::step_back();
        body();
    };
    thread.spawn(behind_media).map(drop)
}

/// Whether it is no use to try again.
pub(super) fn is_final(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::AlreadyExists
            | K::CrossesDevices
            | K::InvalidData
            | K::InvalidFilename
            | K::InvalidInput
            | K::IsADirectory
            | K::NotADirectory
            | K::NotFound
            | K::PermissionDenied
            | K::ReadOnlyFilesystem
            | K::TooManyLinks
            | K::Unsupported
    )
}

/// A mutex whose owner panicked holds what it held: counters and buffers, all of them whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
