//! A worker: one thread that owns calls and a driver, and shares nothing.
//!
//! The control side talks to it by two bounded queues. Commands go in by [`WorkerHandle::submit`],
//! which refuses at once when the queue is full. Reports come out by [`Reports`]. The worker never
//! waits for anybody: when nobody takes the reports it keeps those it owes and takes no further
//! commands, but goes on moving packets.
//!
//! Sockets are opened and closed, and calls are made and dropped, on the control side, for those
//! are the slow parts.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;

use super::counters::WorkerCounters;
use super::driver::Driver;
use super::notify::Notify;
use super::sockets::SocketDriver;
use super::sys;
use crate::engine::{
    AbsorbError, Call, CallKey, CallReport, Change, ChangeError, Component, EndReason, Event,
    StreamIx,
};

mod handover;
mod moving;
mod owed;
mod table;
mod turn;

pub use handover::{Absorption, Giver, HANDOVER_PATIENCE, Taker};
pub use owed::EVENTS_WAITING_MAX;
use turn::Turn;

/// Most calls of one worker (`slot` is below this).
pub const CALLS_MAX: u32 = 1 << 20;

/// Commands carried out between two looks at the packets. The dearest, an insertion, makes four
/// system calls of about a microsecond each.
pub const COMMANDS_PER_TURN: usize = 32;

/// How long a stopping worker offers reports that nobody takes.
pub const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// A socket with its place in the call.
pub type Placed = (StreamIx, Component, UdpSocket);

/// How a worker is set up.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Its number, for the thread's name.
    pub index: usize,
    /// The CPU it stays on, if any.
    pub cpu: Option<usize>,
    /// Slots in its table, at most [`CALLS_MAX`]. Their memory is taken at start.
    pub calls_max: u32,
    /// Places in each of the two queues, at least 1.
    pub queue_len: usize,
}

/// What the control side asks of a worker. Commands are carried out in order.
#[derive(Debug)]
pub enum Command {
    /// Takes a call in and opens its ports.
    Insert {
        /// Its name: the slot must be free.
        key: CallKey,
        /// The call, with its streams.
        call: Box<Call>,
        /// Bound sockets for its streams.
        sockets: Vec<Placed>,
    },
    /// Applies changes in order, then opens the sockets. A refused change ends the list: those
    /// before it hold, those after it and the sockets do not.
    Change {
        /// Of which call.
        key: CallKey,
        /// What to change.
        changes: Vec<Change>,
        /// More sockets; one whose place is taken replaces the old one.
        sockets: Vec<Placed>,
    },
    /// Asks for a [`Report::Query`].
    Query {
        /// Of which call.
        key: CallKey,
        /// Comes back with the answer.
        ticket: u64,
    },
    /// Takes a call out; answered by [`Report::Removed`].
    Remove {
        /// Which call.
        key: CallKey,
        /// Comes back with the answer.
        ticket: u64,
    },
    /// Takes a call out and hands it over, with its sockets; answered by [`Report::Surrendered`].
    Surrender {
        /// Which call.
        key: CallKey,
        /// To whom.
        to: Giver,
    },
    /// Takes a call that is handed over into another one; answered by [`Report::Absorbed`] or
    /// [`Report::Refused`].
    Absorb(Absorption),
}

/// What a worker says.
#[derive(Debug)]
pub enum Report {
    /// The call as it stands; `None` if there is no such call.
    Query {
        /// Of the command.
        ticket: u64,
        /// The call.
        report: Option<Box<CallReport>>,
    },
    /// The call is gone from the worker; all `None` if there was no such call.
    Removed {
        /// Of the command.
        ticket: u64,
        /// Its last state.
        report: Option<Box<CallReport>>,
        /// What is left of it, to be dropped here.
        remains: Option<Remains>,
    },
    /// Sockets that streams closed by a change no longer need.
    Closed {
        /// Of which call.
        key: CallKey,
        /// The sockets, to be dropped here.
        sockets: Vec<UdpSocket>,
    },
    /// A timer ended the call; it stays silent until it is removed.
    Ended {
        /// Which call.
        key: CallKey,
        /// Which timer.
        reason: EndReason,
    },
    /// Something happened in the call that others wait for.
    Event {
        /// In which call.
        key: CallKey,
        /// What.
        event: Event,
    },
    /// A defect of ours hit this call. It stays silent until it is removed; all others go on.
    Broken {
        /// Which call.
        key: CallKey,
    },
    /// The call is gone from this worker.
    Surrendered {
        /// Which call.
        key: CallKey,
        /// What could not be handed over, to be dropped here.
        remains: Remains,
    },
    /// A call was taken into this one.
    Absorbed {
        /// Which one took it in.
        key: CallKey,
        /// The emptied call, to be dropped here.
        remains: Remains,
    },
    /// An insertion, a change or an absorption was refused.
    Refused {
        /// Of which call.
        key: CallKey,
        /// Why.
        refusal: Refusal,
        /// What was handed in and not used.
        remains: Remains,
    },
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another call has the slot.
    #[error("the slot is taken")]
    SlotTaken,
    /// The worker has no such slot.
    #[error("the worker has {0} slots")]
    SlotTooHigh(u32),
    /// No call has that slot and generation.
    #[error("no such call")]
    UnknownCall,
    /// The call did not take a change.
    #[error("change {index}: {source}")]
    Change {
        /// Its place in the list, from 0.
        index: usize,
        /// Why.
        #[source]
        source: ChangeError,
    },
    /// The call has no stream for a socket.
    #[error("socket without a stream: {0}")]
    Port(#[source] ChangeError),
    /// The driver could not open a socket.
    #[error("the driver refused a socket: {0}")]
    Open(#[source] io::Error),
    /// Nobody handed the call over.
    #[error("the call to be taken in did not come")]
    NotHandedOver,
    /// The call did not take the other one in.
    #[error("taking a call in: {0}")]
    Absorb(#[source] AbsorbError),
    /// A defect of ours had hit the call before.
    #[error("the call is broken")]
    Broken,
}

/// What is left of a call or a command; freeing it is slow, so that is done on the control side.
#[derive(Debug, Default)]
pub struct Remains {
    /// The call.
    pub call: Option<Box<Call>>,
    /// Sockets, still bound.
    pub sockets: Vec<UdpSocket>,
}

/// A command that was not taken, given back.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full: the worker is behind. Refuse the caller, or try again later.
    #[error("the worker's command queue is full")]
    Full(Command),
    /// The worker has stopped.
    #[error("the worker has stopped")]
    Stopped(Command),
}

/// The control side's end of a worker. Dropping it stops the worker.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: Mutex<rtrb::Producer<Command>>,
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

/// What both threads hold.
#[derive(Clone, Debug)]
struct Shared {
    wake: Arc<Notify>,
    reports_ready: Arc<Notify>,
    stopping: Arc<AtomicBool>,
    counters: Arc<WorkerCounters>,
}

/// What a worker has said and nobody has read yet. [`Reports::into_async`] for async code.
///
/// The descriptor is readable when there may be something: [`Reports::clear`] first, then
/// [`Reports::next`] until `None`.
#[derive(Debug)]
pub struct Reports {
    queue: rtrb::Consumer<Report>,
    ready: Arc<Notify>,
}

/// [`Reports`] for a tokio task.
#[derive(Debug)]
pub struct AsyncReports {
    queue: rtrb::Consumer<Report>,
    ready: AsyncFd<Arc<Notify>>,
}

impl WorkerHandle {
    /// Starts a worker on plain sockets.
    ///
    /// # Errors
    /// Out of files, threads or memory; or the CPU does not exist.
    pub fn start(config: WorkerConfig) -> io::Result<(Self, Reports)> {
        Self::start_with(config, SocketDriver::new)
    }

    /// Starts a worker on a driver, which is given the wake-up call it must return from waiting
    /// for.
    ///
    /// # Errors
    /// As [`WorkerHandle::start`], and what making the driver can fail with.
    pub fn start_with<D, F>(config: WorkerConfig, driver: F) -> io::Result<(Self, Reports)>
    where
        D: Driver + Send + 'static,
        F: FnOnce(Arc<Notify>) -> io::Result<D>,
    {
        if config.calls_max > CALLS_MAX || config.queue_len == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let shared = Shared {
            wake: Arc::new(Notify::new()?),
            reports_ready: Arc::new(Notify::new()?),
            stopping: Arc::new(AtomicBool::new(false)),
            counters: Arc::new(WorkerCounters::default()),
        };
        let driver = driver(shared.wake.clone())?;
        let (commands, commands_out) = rtrb::RingBuffer::new(config.queue_len);
        let (reports_in, queue) = rtrb::RingBuffer::new(config.queue_len);
        let turn = Turn::new(config, driver, shared.clone(), commands_out, reports_in);
        let (pinned, is_pinned) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("media-{}", config.index))
            .spawn(move || {
                let result = config.cpu.map_or(Ok(()), sys::stay_on_cpu);
                let failed = result.is_err();
                let _ = pinned.send(result);
                if !failed {
                    turn.run();
                }
            })?;
        is_pinned
            .recv()
            .unwrap_or_else(|e| Err(io::Error::other(e)))?;
        let reports = Reports {
            queue,
            ready: shared.reports_ready.clone(),
        };
        Ok((
            Self {
                commands: Mutex::new(commands),
                shared,
                thread: Some(thread),
            },
            reports,
        ))
    }

    /// Hands a command over and wakes the worker; never waits for it.
    ///
    /// # Errors
    /// The queue is full, or the worker is gone; the command comes back.
    pub fn submit(&self, command: Command) -> Result<(), SubmitError> {
        self.enqueue(command)?;
        self.wake();
        Ok(())
    }

    /// Hands a command over without waking the worker: for many commands and one [`Self::wake`].
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn enqueue(&self, command: Command) -> Result<(), SubmitError> {
        let mut commands = self.queue();
        if commands.is_abandoned() || self.shared.stopping.load(Ordering::Relaxed) {
            return Err(SubmitError::Stopped(command));
        }
        if let Err(rtrb::PushError::Full(command)) = commands.push(command) {
            self.shared.counters.submit.refused.increment();
            return Err(SubmitError::Full(command));
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, rtrb::Producer<Command>> {
        // A producer is whole after any panic: rtrb publishes a value in one store.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the worker look at its commands.
    pub fn wake(&self) {
        self.shared.wake.notify();
    }

    /// What the worker counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.shared.counters
    }

    /// Lets the worker carry out the commands it was given, then ends its thread and waits for it.
    /// Calls that are left are dropped. Takes up to [`STOP_PATIENCE`] if reports are not read.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake.notify();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a media worker had died of a panic");
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.join();
    }
}

impl Reports {
    /// The oldest unread report.
    #[allow(
        clippy::should_implement_trait,
        reason = "None is not the end, only the end for now"
    )]
    pub fn next(&mut self) -> Option<Report> {
        self.queue.pop().ok()
    }

    /// Makes the descriptor unreadable until the next report.
    pub fn clear(&self) {
        self.ready.clear();
    }

    /// Blocks until there is a report or `timeout` has passed. For threads and tests.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Report> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(report) = self.next() {
                return Some(report);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.ready.wait(left);
        }
    }
}

impl Reports {
    /// Waits with tokio from now on. Call it inside a runtime with I/O enabled.
    ///
    /// # Errors
    /// The runtime could not register the descriptor.
    pub fn into_async(self) -> io::Result<AsyncReports> {
        // SAFETY: the registration owns a share of the eventfd, which therefore stays open, and is
        // the same descriptor, until the registration is gone.
        let ready = unsafe { AsyncFd::register(self.ready) }?;
        Ok(AsyncReports {
            queue: self.queue,
            ready,
        })
    }
}

impl AsyncReports {
    /// The next report; waits for it. `None` when the worker has ended and all is read. Cancelling
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Report> {
        loop {
            if let Ok(report) = self.queue.pop() {
                return Some(report);
            }
            if self.queue.is_abandoned() {
                // What it said between the look above and its end.
                return self.queue.pop().ok();
            }
            // The runtime can fail only while it shuts down.
            let mut guard = self.ready.readable().await.ok()?;
            // Cleared before the next look: a report after it notifies again.
            self.ready.get_ref().clear();
            guard.clear_ready();
        }
    }
}

impl AsFd for Reports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl AsRawFd for Reports {
    fn as_raw_fd(&self) -> RawFd {
        self.ready.as_raw_fd()
    }
}
