//! The thread that owns the database, and the queue by which it learns what to do.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use tokio::sync::{Notify, oneshot};

use super::event::Event;
use super::outbox::{Due, Outbox, Outcome};
use super::read::last_agent;
use super::schema::{close, mark_alive};
use super::{Counters, Options};

/// Most events that wait to be written. As many again may be with the thread that writes them.
pub const QUEUE_MAX: usize = 65_536;

/// Most questions that wait for an answer.
pub const READS_MAX: usize = 256;

/// Most calls that are deleted in one transaction.
pub const SWEEP_MAX: u32 = 500;

/// Most events that are written in one transaction.
const BATCH_MAX: usize = 4_096;

/// How long more events are waited for when there is one.
const GATHER: Duration = Duration::from_millis(25);

/// From one attempt to write to the next, after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// From one transaction that deletes to the next.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// How often what is too old is deleted, and it is noted that the switch lives, if calls are open.
const ROUND: Duration = Duration::from_secs(10);

/// Something to be written.
#[derive(Debug)]
enum Write {
    Event(Event),
    Settled(i64, Outcome),
    /// Tells when all before is on disk.
    Flush(mpsc::Sender<()>),
}

/// Something to be looked up.
#[derive(Debug)]
pub(crate) enum Question {
    /// Which callbacks are to be sent now.
    Due(oneshot::Sender<Due>),
    /// See [`Ledger::last_agent`](crate::flow::run::ledger::Ledger::last_agent).
    LastAgent {
        caller: String,
        agents: Vec<String>,
        reply: oneshot::Sender<Option<String>>,
    },
}

#[derive(Debug, Default)]
struct Waiting {
    writes: VecDeque<Write>,
    reads: VecDeque<Question>,
    closed: bool,
    /// It was said that events are lost, and none was taken since.
    full: bool,
}

/// What waits for the thread. Its lock is held for no longer than it takes to push or take.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    counters: Arc<Counters>,
}

impl Inbox {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            counters,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing between lock and unlock can panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event, unless [`QUEUE_MAX`] wait.
    pub(super) fn tell(&self, event: Event) {
        let mut waiting = self.waiting();
        if waiting.writes.len() >= QUEUE_MAX {
            let said = std::mem::replace(&mut waiting.full, true);
            drop(waiting);
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if !said {
                tracing::warn!(
                    waiting = QUEUE_MAX,
                    "call records are lost: the disk is too slow"
                );
            }
            return;
        }
        waiting.writes.push_back(Write::Event(event));
        drop(waiting);
        self.filled.notify_one();
    }

    /// What became of a request; there are never more than those in flight.
    pub(crate) fn settled(&self, id: i64, outcome: Outcome) {
        self.waiting().writes.push_back(Write::Settled(id, outcome));
        self.filled.notify_one();
    }

    pub(super) fn flush(&self, written: mpsc::Sender<()>) {
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.writes.push_back(Write::Flush(written));
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Takes a question, unless [`READS_MAX`] wait, or the store has ended.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut waiting = self.waiting();
        let taken = !waiting.closed && waiting.reads.len() < READS_MAX;
        if taken {
            waiting.reads.push_back(question);
        }
        drop(waiting);
        self.filled.notify_one();
        taken
    }

    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.filled.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// Waits for something to do, for at most so long; whether there is.
    fn wait(&self, at_most: Duration) -> bool {
        let is_idle = |it: &mut Waiting| !it.closed && it.writes.is_empty() && it.reads.is_empty();
        let waited = self
            .filled
            .wait_timeout_while(self.waiting(), at_most, is_idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !is_idle(&mut waiting)
    }

    /// Waits until it is closed, for at most so long.
    fn wait_closed(&self, at_most: Duration) {
        let open = |it: &mut Waiting| !it.closed;
        drop(
            self.filled
                .wait_timeout_while(self.waiting(), at_most, open),
        );
    }

    /// What is to be written next.
    fn writes(&self) -> Vec<Write> {
        let mut waiting = self.waiting();
        let count = waiting.writes.len().min(BATCH_MAX);
        waiting.full &= count == 0;
        waiting.writes.drain(..count).collect()
    }

    fn reads(&self) -> VecDeque<Question> {
        std::mem::take(&mut self.waiting().reads)
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Keeper {
    db: Connection,
    inbox: Arc<Inbox>,
    outbox: Outbox,
    /// Rings when there may be callbacks to send.
    bell: Arc<Notify>,
    options: Options,
    counters: Arc<Counters>,
    /// What was taken and is not on disk.
    batch: Vec<Write>,
    /// Errors that were logged since it last went well.
    said: Vec<ErrorCode>,
    round_at: i64,
}

impl Keeper {
    pub(super) fn new(
        db: Connection,
        inbox: Arc<Inbox>,
        outbox: Outbox,
        bell: Arc<Notify>,
        options: Options,
    ) -> Self {
        let counters = Arc::clone(&inbox.counters);
        db.set_prepared_statement_cache_capacity(64);
        Self {
            db,
            inbox,
            outbox,
            bell,
            options,
            counters,
            batch: Vec::new(),
            said: Vec::new(),
            round_at: 0,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let pause = if self.round_at == 0 {
                SWEEP_PAUSE
            } else {
                ROUND
            };
            if self.batch.is_empty() && self.inbox.wait(pause) && !self.inbox.is_closed() {
                std::thread::sleep(GATHER);
            }
            // Before the last look: what was told until then is written.
            let closed = self.inbox.is_closed();
            if self.batch.is_empty() {
                self.batch = self.inbox.writes();
            }
            let is_well = self.write_batch();
            self.answer();
            match is_well {
                true if closed && self.inbox.waiting().writes.is_empty() => break,
                true => {}
                false if closed => {
                    let lost = self.batch.len() + self.inbox.waiting().writes.len();
                    tracing::error!(lost, "call records are lost: the disk cannot be written");
                    break;
                }
                false => self.inbox.wait_closed(AGAIN),
            }
            self.round();
        }
        close(self.db);
    }

    /// Writes what was taken; `false`: it is to be tried again.
    fn write_batch(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let now = self.options.clock.now_ms();
        let (batch, outbox) = (&self.batch, &mut self.outbox);
        let written = within(&mut self.db, |change| {
            let mut skipped = 0;
            for write in batch {
                let known = match write {
                    Write::Event(event) => event.write(change, outbox),
                    Write::Settled(id, outcome) => {
                        outbox.settle(change, *id, *outcome, now).map(|()| true)
                    }
                    Write::Flush(_) => Ok(true),
                };
                match known {
                    Ok(known) => skipped += u64::from(!known),
                    Err(error) if is_of_the_event(&error) => {
                        tracing::warn!(%error, "a call record is refused");
                        skipped += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(skipped)
        });
        match written {
            Ok(skipped) => self.written(skipped),
            Err(error) => {
                self.outbox.rolled_back();
                self.failed(&error);
                return false;
            }
        }
        true
    }

    fn written(&mut self, skipped: u64) {
        let is_event = |it: &&Write| matches!(it, Write::Event(_));
        let events = self.batch.iter().filter(is_event).count() as u64;
        let counters = &self.counters;
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.skipped.fetch_add(skipped, Ordering::Relaxed);
        counters
            .written
            .fetch_add(events.saturating_sub(skipped), Ordering::Relaxed);
        self.well();
        if self.outbox.committed() {
            self.bell.notify_one();
        }
        for write in self.batch.drain(..) {
            if let Write::Flush(written) = write {
                // Whoever waited may be gone.
                let _gone = written.send(());
            }
        }
    }

    fn well(&mut self) {
        if !self.said.is_empty() {
            tracing::info!("call records are written again");
            self.said.clear();
        }
    }

    /// Counts an error; the first of its kind is logged.
    fn failed(&mut self, error: &rusqlite::Error) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let code = error.sqlite_error_code().unwrap_or(ErrorCode::Unknown);
        if !self.said.contains(&code) {
            self.said.push(code);
            let error = super::said(error);
            tracing::error!(error, "call records cannot be written; they wait");
        }
    }

    fn answer(&mut self) {
        for question in self.inbox.reads() {
            let answered = match question {
                Question::Due(reply) => self.tell_due(reply),
                Question::LastAgent {
                    caller,
                    agents,
                    reply,
                } => {
                    let found = last_agent(&self.db, &caller, &agents);
                    // Whoever asked may wait no longer.
                    found.map(|found| drop(reply.send(found)))
                }
            };
            if let Err(error) = answered {
                self.failed(&error);
            }
        }
    }

    fn tell_due(&mut self, reply: oneshot::Sender<Due>) -> rusqlite::Result<()> {
        let due = self.outbox.due(&self.db, self.options.clock.now_ms())?;
        if let Err(due) = reply.send(due) {
            self.outbox.take_back(&due);
        }
        Ok(())
    }

    /// Now and then: notes that the switch lives, and deletes what is too old.
    fn round(&mut self) {
        let now = self.options.clock.now_ms();
        let every = i64::try_from(ROUND.as_millis()).unwrap_or(i64::MAX);
        if (0..every).contains(&(now - self.round_at)) {
            return;
        }
        self.round_at = now;
        let keep = i64::try_from(self.options.keep.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(keep);
        let calls_max = i64::try_from(self.options.calls_max).unwrap_or(i64::MAX);
        let outbox = &mut self.outbox;
        let done = within(&mut self.db, |change| {
            let open = "SELECT EXISTS (SELECT 1 FROM calls WHERE ended_at IS NULL)";
            if change.query_row(open, [], |row| row.get(0))? {
                mark_alive(change, now)?;
            }
            outbox.expire(change, now)?;
            sweep(change, oldest, calls_max)
        });
        match done {
            Ok(expired) => {
                if self.outbox.committed() {
                    self.bell.notify_one();
                    self.round_at = 0;
                }
                self.counters
                    .expired
                    .fetch_add(expired as u64, Ordering::Relaxed);
                if expired >= SWEEP_MAX as usize {
                    // There may be more: again, after what was told meanwhile.
                    self.round_at = 0;
                }
            }
            Err(error) => {
                self.outbox.rolled_back();
                self.failed(&error);
            }
        }
    }
}

/// Does something in a transaction of its own.
fn within<T>(
    db: &mut Connection,
    what: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = what(&change)?;
    change.commit()?;
    Ok(done)
}

/// Deletes some of the calls that began before `oldest`, or are not among the `calls_max` latest;
/// how many. Their ids are without gaps, so that the number needs no counting.
fn sweep(change: &Transaction<'_>, oldest: i64, calls_max: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM calls WHERE id IN (
                   SELECT id FROM calls WHERE started_at < ?1 ORDER BY started_at LIMIT ?2)";
    let old = change
        .prepare_cached(sql)?
        .execute(params![oldest, SWEEP_MAX])?;
    let sql = "DELETE FROM calls WHERE id IN (
                   SELECT id FROM calls WHERE id <= (SELECT max(id) FROM calls) - ?1
                   ORDER BY id LIMIT ?2)";
    let left = i64::from(SWEEP_MAX) - i64::try_from(old).unwrap_or(0);
    let many = change.prepare_cached(sql)?.execute([calls_max, left])?;
    Ok(old + many)
}

/// Errors that this one event brings about, and that would come again with it.
fn is_of_the_event(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
        ),
        // Values that are not what they should be.
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_events_and_questions_wait_and_no_more() {
        let counters = Arc::new(Counters::default());
        let inbox = Inbox::new(Arc::clone(&counters));
        for _ in 0..QUEUE_MAX {
            inbox.tell(Event::ringing(0, "call", "leg"));
        }
        assert_eq!(counters.dropped.load(Ordering::Relaxed), 0);
        inbox.tell(Event::ringing(0, "call", "leg"));
        assert_eq!(counters.dropped.load(Ordering::Relaxed), 1);
        // What was taken makes room.
        assert_eq!(inbox.writes().len(), BATCH_MAX);
        inbox.tell(Event::ringing(0, "call", "leg"));
        assert_eq!(counters.dropped.load(Ordering::Relaxed), 1);

        for _ in 0..READS_MAX {
            assert!(inbox.ask(Question::Due(oneshot::channel().0)));
        }
        assert!(!inbox.ask(Question::Due(oneshot::channel().0)));
        inbox.reads();
        assert!(inbox.ask(Question::Due(oneshot::channel().0)));
        inbox.close();
        assert!(!inbox.ask(Question::Due(oneshot::channel().0)));
    }
}
