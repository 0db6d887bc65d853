//! A recording's buffer, and what a writer does with it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::close::complete;
use super::storage::{Paths, StoredFile};
use super::{JOURNAL_PENDING_MAX, Lane, SyncPolicy, Writers, add, is_final, lock};
use crate::record::event::{RecordingEvent, RecordingEventKind};
use crate::record::file::Patch;
use crate::record::journal;
use crate::record::session::{DiskState, Output};
use crate::record::sidecar::{Note, Sidecar};

/// Octets of memory that a buffer keeps when it is empty.
const KEPT_LEN: usize = 64 << 10;

/// Says what happens to one recording.
#[derive(Clone, Debug)]
pub(in crate::record) struct Reporter {
    pub(in crate::record) events: broadcast::Sender<RecordingEvent>,
    pub(in crate::record) call_id: Box<str>,
    pub(in crate::record) path: Box<str>,
}

impl Reporter {
    pub(in crate::record) fn tell(&self, kind: RecordingEventKind) {
        let event = RecordingEvent {
            call_id: self.call_id.clone(),
            path: self.path.clone(),
            kind,
        };
        // Nobody may be listening.
        let _heard = self.events.send(event);
    }
}

/// How a recording is closed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::record) enum Closing {
    /// It gets its name and this sidecar.
    Keep(Box<Sidecar>),
    /// It goes.
    Discard,
}

/// What a writer does with an item next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, until it is pushed again.
    Idle,
    /// The same at once, behind others.
    Again,
    /// The same a little later.
    Retry,
}

/// One recording, as the disk sees it.
#[derive(Debug)]
pub(in crate::record) struct Item {
    paths: Paths,
    reporter: Reporter,
    /// Octets that wait at most.
    capacity: usize,
    buffer: Mutex<Buffer>,
    opened: Condvar,
    /// Belongs to the writer that has claimed it.
    work: Mutex<Work>,
}

/// What waits.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    patch: Option<Patch>,
    journal: Vec<u8>,
    /// Lines that did not fit into the journal since the last ones that did.
    notes_lost: u64,
    closing: Option<Closing>,
    /// Octets that a writer has taken and not written yet.
    writing: usize,
    error: Option<Box<str>>,
    queued: bool,
    lane: Option<Lane>,
    /// Whoever begins it waits for this.
    open: Option<Result<(), io::Error>>,
    awaited: bool,
    over: bool,
}

/// What is being written.
#[derive(Debug, Default)]
struct Work {
    files: Option<(Box<dyn StoredFile>, Box<dyn StoredFile>)>,
    bytes: Vec<u8>,
    bytes_at: u64,
    patch: Option<Patch>,
    journal: Vec<u8>,
    journal_at: u64,
    /// The journal's first line is written.
    has_begun: bool,
    synced: Option<Instant>,
    closing: Option<Closing>,
    sealed: Option<super::close::Sealed>,
}

impl Item {
    /// A recording that will be here; nothing is opened before something is [given](Self::give).
    pub(in crate::record) fn new(paths: Paths, reporter: Reporter, capacity: usize) -> Arc<Self> {
        let buffer = Buffer {
            awaited: true,
            ..Buffer::default()
        };
        Arc::new(Self {
            paths,
            reporter,
            capacity,
            buffer: Mutex::new(buffer),
            opened: Condvar::new(),
            work: Mutex::default(),
        })
    }

    pub(in crate::record) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Room and trouble.
    pub(in crate::record) fn state(&self, writers: &Writers) -> DiskState {
        let buffer = lock(&self.buffer);
        let used = buffer.bytes.len() + buffer.writing;
        DiskState {
            room: self.capacity.saturating_sub(used).min(writers.room()),
            capacity: self.capacity,
            error: buffer.error.clone(),
        }
    }

    /// It is closed, thrown away or given up.
    pub(in crate::record) fn is_over(&self) -> bool {
        lock(&self.buffer).over
    }

    pub(super) fn lane(&self) -> Lane {
        lock(&self.buffer).lane.unwrap_or(Lane::Open)
    }

    /// Takes what a session gives out. It has looked at the room there is.
    pub(in crate::record) fn give(
        self: &Arc<Self>,
        output: Output,
        closing: Option<Closing>,
        writers: &Arc<Writers>,
    ) {
        let mut buffer = lock(&self.buffer);
        if buffer.over {
            return;
        }
        buffer.bytes.extend_from_slice(&output.bytes);
        writers.waits(output.bytes.len());
        if output.patch.is_some() {
            buffer.patch = output.patch;
        }
        let lost = buffer.note(&output.journal);
        add(&writers.counters.journal_lost, lost);
        if closing.is_some() {
            buffer.closing = closing;
        }
        let queued = std::mem::replace(&mut buffer.queued, true);
        drop(buffer);
        if !queued {
            writers.push(Arc::clone(self));
        }
    }

    /// Waits until the file is open, or cannot be; `None`: the disk takes its time, and the
    /// recording has begun all the same.
    pub(in crate::record) fn wait_open(&self, time: Duration) -> Option<io::Result<()>> {
        let buffer = lock(&self.buffer);
        let waited = self
            .opened
            .wait_timeout_while(buffer, time, |buffer| buffer.open.is_none());
        let mut buffer = waited.unwrap_or_else(PoisonError::into_inner).0;
        buffer.awaited = false;
        buffer.open.take()
    }

    /// A writer's turn.
    pub(super) fn work(&self, writers: &Writers) -> Next {
        let mut work = lock(&self.work);
        let result = self.try_work(&mut work, writers);
        let mut buffer = lock(&self.buffer);
        buffer.writing = work.bytes.len();
        match result {
            Ok(Next::Idle) if buffer.over || !buffer.waits() => {
                buffer.queued = false;
                Next::Idle
            }
            Ok(Next::Idle) => Next::Again,
            Ok(next) => next,
            Err(error) => {
                add(&writers.counters.write_errors, 1);
                let unopened = work.files.is_none() && buffer.lane.is_none();
                let gives_up = is_final(&error) && (unopened || work.closing.is_some());
                if gives_up || (unopened && buffer.awaited) {
                    writers.waited(work.bytes.len() as u64);
                    work.bytes = Vec::new();
                    self.give_up(&mut buffer, error, writers);
                    return Next::Idle;
                }
                if buffer.error.is_none() {
                    let path = &*self.reporter.path;
                    tracing::warn!(path, %error, "a recording cannot be written, trying again");
                }
                buffer.error = Some(error.to_string().into());
                Next::Retry
            }
        }
    }

    fn try_work(&self, work: &mut Work, writers: &Writers) -> io::Result<Next> {
        if work.files.is_none() && work.closing.is_none() {
            self.open(work, writers)?;
            // Writing is another lane.
            return Ok(Next::Again);
        }
        if work.is_idle() {
            self.take(work);
        }
        let begun = Instant::now();
        let written = work.write(writers);
        writers.counters.stalled(begun.elapsed());
        written?;
        lock(&self.buffer).error = None;
        if work.closing.is_none() {
            return self.take_closing(work);
        }
        self.close(work, writers)?;
        Ok(Next::Idle)
    }

    fn open(&self, work: &mut Work, writers: &Writers) -> io::Result<()> {
        let storage = &writers.storage;
        for taken in [&self.paths.file, &self.paths.sidecar] {
            if storage.exists(taken)? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        storage.create_dirs(&self.paths.root, &self.paths.file)?;
        // The journal first: a file without one was not left by a crash of ours.
        let journal = storage.create(&self.paths.journal)?;
        let file = storage.create(&self.paths.part).inspect_err(|_| {
            let _removed = storage.remove(&self.paths.journal);
        })?;
        let mut buffer = lock(&self.buffer);
        buffer.lane = Some(Lane::Write(file.disk()));
        buffer.open = Some(Ok(()));
        drop(buffer);
        self.opened.notify_all();
        work.files = Some((file, journal));
        self.reporter.tell(RecordingEventKind::Started);
        Ok(())
    }

    /// Takes what waits.
    fn take(&self, work: &mut Work) {
        let mut buffer = lock(&self.buffer);
        // Both keep their memory.
        std::mem::swap(&mut buffer.bytes, &mut work.bytes);
        std::mem::swap(&mut buffer.journal, &mut work.journal);
        work.patch = buffer.patch.take();
        buffer.writing = work.bytes.len();
    }

    /// Once all is written, it is closed by whoever has time for that.
    fn take_closing(&self, work: &mut Work) -> io::Result<Next> {
        let mut buffer = lock(&self.buffer);
        if !buffer.bytes.is_empty() || buffer.patch.is_some() || !buffer.journal.is_empty() {
            return Ok(Next::Again);
        }
        work.closing = buffer.closing.take();
        if work.closing.is_none() {
            return Ok(Next::Idle);
        }
        if let Some(Lane::Write(disk)) = buffer.lane {
            buffer.lane = Some(Lane::Close(disk));
        }
        Ok(Next::Again)
    }

    fn close(&self, work: &mut Work, writers: &Writers) -> io::Result<()> {
        let counters = &writers.counters;
        let storage = &*writers.storage;
        let event = match &work.closing {
            None => return Ok(()),
            Some(Closing::Discard) => {
                storage.remove(&self.paths.part)?;
                storage.remove(&self.paths.journal)?;
                add(&counters.discarded, 1);
                RecordingEventKind::Discarded
            }
            Some(Closing::Keep(sidecar)) => {
                let sync = writers.sync != SyncPolicy::Never;
                if let Some((file, _)) = &work.files
                    && sync
                {
                    file.sync()?;
                }
                let (sealed, paths) = (&mut work.sealed, &self.paths);
                let completion = complete(storage, paths, sidecar, sealed, sync)?;
                add(&counters.completed, 1);
                completion.into_event()
            }
        };
        work.files = None;
        let mut buffer = lock(&self.buffer);
        buffer.over = true;
        counters.ended();
        drop(buffer);
        self.reporter.tell(event);
        Ok(())
    }

    /// What there is stays where it is.
    fn give_up(&self, buffer: &mut Buffer, error: io::Error, writers: &Writers) {
        buffer.over = true;
        let bytes = std::mem::take(&mut buffer.bytes);
        writers.waited(bytes.len() as u64);
        writers.counters.ended();
        add(&writers.counters.failed, 1);
        if buffer.awaited && buffer.open.is_none() {
            buffer.open = Some(Err(error));
            self.opened.notify_all();
            return;
        }
        let path = &*self.reporter.path;
        tracing::error!(path, %error, "a recording is given up; what there is stays");
        let error = error.to_string().into();
        self.reporter.tell(RecordingEventKind::Failed { error });
    }
}

impl Buffer {
    /// Keeps lines for the journal as far as they fit, and says there how many did not. Octets that
    /// are lost.
    fn note(&mut self, lines: &[u8]) -> u64 {
        let mut told = Vec::new();
        if self.notes_lost > 0 {
            let notes = self.notes_lost;
            journal::append(&Note::Lost { notes }, &mut told);
        }
        let fits = self.journal.len() + told.len() + lines.len() <= JOURNAL_PENDING_MAX;
        if !fits {
            self.notes_lost += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            return lines.len() as u64;
        }
        self.journal.append(&mut told);
        self.journal.extend_from_slice(lines);
        self.notes_lost = 0;
        0
    }

    fn waits(&self) -> bool {
        let nothing = self.bytes.is_empty() && self.journal.is_empty();
        !nothing || self.patch.is_some() || self.closing.is_some()
    }
}

impl Work {
    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.patch.is_none() && self.journal.is_empty()
    }

    /// Writes all it has, in order. After an error it goes on where that was.
    fn write(&mut self, writers: &Writers) -> io::Result<()> {
        let Some((file, journal)) = &self.files else {
            return Ok(());
        };
        // The first line speaks of no octets, and says whose those are that follow.
        if !self.has_begun {
            let line = self.journal.split_inclusive(|byte| *byte == b'\n').next();
            let len = line.map_or(0, <[u8]>::len);
            append(&**journal, &mut self.journal, len, &mut self.journal_at)?;
            self.has_begun = len > 0;
        }
        let (before, len) = (self.bytes_at, self.bytes.len());
        let written = append(&**file, &mut self.bytes, len, &mut self.bytes_at);
        let done = self.bytes_at - before;
        add(&writers.counters.bytes, done);
        writers.waited(done);
        written?;
        // What a stall took is given back.
        self.bytes.shrink_to(KEPT_LEN);
        if let Some(patch) = &self.patch {
            write_all(&**file, &patch.bytes, patch.offset)?;
            self.patch = None;
        }
        let len = self.journal.len();
        append(&**journal, &mut self.journal, len, &mut self.journal_at)?;
        if let SyncPolicy::Every(time) = writers.sync {
            let now = Instant::now();
            let since = *self.synced.get_or_insert(now);
            if now.duration_since(since) >= time {
                file.sync()?;
                journal.sync()?;
                self.synced = Some(now);
            }
        }
        Ok(())
    }
}

/// Writes and removes so many octets from the front; those that are written are gone even after an
/// error.
fn append(file: &dyn StoredFile, bytes: &mut Vec<u8>, len: usize, at: &mut u64) -> io::Result<()> {
    let mut done = 0;
    let result = loop {
        if done == len {
            break Ok(());
        }
        match write_some(file, &bytes[done..len], *at + done as u64) {
            Ok(len) => done += len,
            Err(error) => break Err(error),
        }
    };
    bytes.drain(..done);
    *at += done as u64;
    result
}

fn write_all(file: &dyn StoredFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = write_some(file, bytes, at)?;
        bytes = &bytes[len..];
        at += len as u64;
    }
    Ok(())
}

fn write_some(file: &dyn StoredFile, bytes: &[u8], at: u64) -> io::Result<usize> {
    loop {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => return Ok(len.min(bytes.len())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
