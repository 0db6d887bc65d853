//! What is yet to be told by HTTP: rows that outlive the process, in order for each call.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::read::{CallRecord, legs_of};
use super::{Counters, Options, SWEEP_MAX};
use crate::flow::callback::body::body;
use crate::flow::callback::{FAILING_HOST_MAX, IN_FLIGHT_MAX, PER_HOST_MAX, Retry};
use crate::flow::script::{CallbackEvents, StatusCallback};
use crate::record::vault::CALLBACK_LEN_MAX;
use crate::seldom::Seldom;

/// What is told of a leg or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Ringing,
    Answered,
    Terminal,
}

impl Tell {
    /// Its bit in `callback_events`.
    const fn bit(self) -> i64 {
        match self {
            Self::Ringing => 1,
            Self::Answered => 2,
            Self::Terminal => 4,
        }
    }

    pub(super) fn mask(events: CallbackEvents) -> i64 {
        let wanted = [
            (events.ringing, Self::Ringing),
            (events.answered, Self::Answered),
            (events.terminal, Self::Terminal),
        ];
        let bits = wanted.iter().filter(|(wanted, _)| *wanted);
        bits.map(|(_, tell)| tell.bit()).sum()
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Terminal => "terminal",
        }
    }
}

/// A request that is to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Told with it, so that one that comes twice is known.
    pub(crate) id: i64,
    pub(crate) host: String,
    pub(crate) url: String,
    pub(crate) json: bool,
    pub(crate) body: String,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, and another time it may be.
    Failed,
    /// It never will be.
    Refused,
}

/// What is due, and when the next one is, in milliseconds since 1970.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) now: Vec<Delivery>,
    pub(crate) next_ms: Option<i64>,
}

/// Changes that count once they are on disk.
#[derive(Debug, Default)]
struct Change {
    queued: u64,
    removed: u64,
    refused: u64,
    delivered: u64,
    failed: u64,
    retried: u64,
    given_up: u64,
    settled: Vec<(i64, Outcome)>,
}

/// The store's side of the outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Rows on disk.
    len: u64,
    max: u64,
    retry: Retry,
    /// Requests that are being made, with their hosts.
    in_flight: HashMap<i64, String>,
    /// Hosts of which the last request failed.
    failing: HashSet<String>,
    /// Hosts of which the log was told that callbacks to them are given up.
    warned: Seldom<String>,
    change: Change,
    counters: Arc<Counters>,
}

impl Outbox {
    pub(super) fn new(options: &Options, counters: Arc<Counters>) -> Self {
        Self {
            len: 0,
            max: options.outbox_max,
            retry: options.retry,
            in_flight: HashMap::new(),
            failing: HashSet::new(),
            warned: Seldom::default(),
            change: Change::default(),
            counters,
        }
    }

    /// Learns what an earlier process left.
    pub(super) fn load(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let len: i64 = db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        self.len = len.unsigned_abs();
        Ok(())
    }

    /// Whether a flow's callback can be kept at all.
    pub(super) fn takes(&mut self, callback: &StatusCallback) -> bool {
        let url = &callback.url;
        let takes = url.as_str().len() <= CALLBACK_LEN_MAX && url.has_host();
        if !takes {
            self.change.refused += 1;
        }
        takes
    }

    /// Queues what is to be told of a leg, or of the call.
    pub(super) fn tell(
        &mut self,
        db: &Connection,
        call: i64,
        tell: Tell,
        leg: Option<i64>,
        now: i64,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT callback_url, callback_json FROM calls
                   WHERE id = ?1 AND callback_url IS NOT NULL AND callback_events & ?2 <> 0";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let mut wanted = db.prepare_cached(sql)?;
        let wanted = wanted.query_row([call, tell.bit()], read).optional()?;
        let Some((url, json)): Option<(String, bool)> = wanted else {
            return Ok(());
        };
        if self.len + self.change.queued >= self.max + self.change.removed {
            self.change.refused += 1;
            return Ok(());
        }
        let Some(of) = CallRecord::by_id(db, call)? else {
            return Ok(());
        };
        let body = body(&of, &legs_of(db, call)?, leg, tell, now, json);
        let sql = "INSERT INTO outbox (call, host, url, json, body, created_at, next_at, head)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6,
                   NOT EXISTS (SELECT 1 FROM outbox WHERE call = ?1))";
        let values = params![call, host_of(&url), url, json, body, now];
        db.prepare_cached(sql)?.execute(values)?;
        self.change.queued += 1;
        Ok(())
    }

    /// Writes what became of a request: the next one of its call may go, or it goes again later.
    pub(super) fn settle(
        &mut self,
        db: &Connection,
        id: i64,
        outcome: Outcome,
        now: i64,
    ) -> rusqlite::Result<()> {
        self.change.settled.push((id, outcome));
        let sql = "SELECT call, attempts, created_at, host FROM outbox WHERE id = ?1";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found = db.prepare_cached(sql)?.query_row([id], read).optional()?;
        let Some((call, attempts, created, host)): Option<(i64, u32, i64, String)> = found else {
            return Ok(());
        };
        let attempts = attempts.saturating_add(1);
        match outcome {
            Outcome::Delivered => self.change.delivered += 1,
            Outcome::Failed => {
                self.change.failed += 1;
                if let Some(next) = self.retry.next_ms(attempts, created, now) {
                    let sql = "UPDATE outbox SET attempts = ?1, next_at = ?2 WHERE id = ?3";
                    db.prepare_cached(sql)?
                        .execute(params![attempts, next, id])?;
                    self.change.retried += 1;
                    return Ok(());
                }
                self.change.given_up += 1;
            }
            Outcome::Refused => {
                self.change.failed += 1;
                self.change.given_up += 1;
            }
        }
        if outcome != Outcome::Delivered
            && let Some(more) = self.warned.ask(host.clone(), Instant::now())
        {
            tracing::warn!(%host, attempts, more, "status callback given up");
        }
        self.remove(db, id, call)
    }

    /// Takes a row away; the next one of its call may go.
    fn remove(&mut self, db: &Connection, id: i64, call: i64) -> rusqlite::Result<()> {
        db.prepare_cached("DELETE FROM outbox WHERE id = ?1")?
            .execute([id])?;
        self.change.removed += 1;
        let sql = "UPDATE outbox SET head = 1
                   WHERE id = (SELECT min(id) FROM outbox WHERE call = ?1)";
        db.prepare_cached(sql)?.execute([call])?;
        Ok(())
    }

    /// Gives up some of those that wait for too long; where many do, not each of them is tried.
    pub(super) fn expire(&mut self, db: &Connection, now: i64) -> rusqlite::Result<()> {
        let oldest = self.retry.oldest_ms(now);
        let sql = "SELECT id, call, created_at FROM outbox ORDER BY id LIMIT ?1";
        let mut found = db.prepare_cached(sql)?;
        let rows = found.query_map([SWEEP_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<(i64, i64, i64)>>>()?;
        let old = |(id, _, created): &&(i64, i64, i64)| {
            *created < oldest && !self.in_flight.contains_key(id)
        };
        let old: Vec<_> = rows.iter().filter(old).collect();
        for (id, call, _) in &old {
            self.remove(db, *id, *call)?;
        }
        if !old.is_empty() {
            tracing::warn!(count = old.len(), "status callbacks given up: too old");
            self.change.given_up += old.len() as u64;
        }
        Ok(())
    }

    /// The transaction is on disk; whether there is something new to be looked at.
    pub(super) fn committed(&mut self) -> bool {
        let change = std::mem::take(&mut self.change);
        self.len = (self.len + change.queued).saturating_sub(change.removed);
        for (id, outcome) in &change.settled {
            match (self.in_flight.remove(id), outcome) {
                (Some(host), Outcome::Failed) => drop(self.failing.insert(host)),
                (Some(host), _) => drop(self.failing.remove(&host)),
                (None, _) => {}
            }
        }
        let counters = &self.counters;
        let counts = [
            (&counters.callbacks_queued, change.queued),
            (&counters.callbacks_refused, change.refused),
            (&counters.callbacks_delivered, change.delivered),
            (&counters.callbacks_failed, change.failed),
            (&counters.callbacks_retried, change.retried),
            (&counters.callbacks_given_up, change.given_up),
        ];
        for (counter, n) in counts {
            counter.fetch_add(n, Ordering::Relaxed);
        }
        counters
            .callbacks_waiting
            .store(self.len, Ordering::Relaxed);
        change.queued > 0 || change.removed > 0 || !change.settled.is_empty()
    }

    /// The transaction came to nothing.
    pub(super) fn rolled_back(&mut self) {
        self.change = Change::default();
    }

    /// What may be sent now: the first of each call, few at a time to each host.
    pub(super) fn due(&mut self, db: &Connection, now: i64) -> rusqlite::Result<Due> {
        let mut due = Due::default();
        let found = self.find_due(db, now, &mut due);
        if found.is_err() {
            self.take_back(&due);
        }
        found.map(|()| due)
    }

    fn find_due(&mut self, db: &Connection, now: i64, due: &mut Due) -> rusqlite::Result<()> {
        let mut host = String::new();
        while let Some(next) = next_host(db, &host)? {
            host = next;
            let busy = self.in_flight.values().filter(|it| **it == host).count();
            let most = match self.failing.contains(&host) {
                true => FAILING_HOST_MAX,
                false => PER_HOST_MAX,
            };
            let room = most.saturating_sub(busy);
            let room = room.min(IN_FLIGHT_MAX - self.in_flight.len().min(IN_FLIGHT_MAX));
            if room > 0 {
                self.due_at(db, &host, (busy, room), now, due)?;
            }
        }
        Ok(())
    }

    fn due_at(
        &mut self,
        db: &Connection,
        host: &str,
        (busy, room): (usize, usize),
        now: i64,
        due: &mut Due,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT id, host, url, json, body, next_at FROM outbox
                   WHERE head = 1 AND host = ?1 ORDER BY next_at LIMIT ?2";
        let mut found = db.prepare_cached(sql)?;
        let looked_at = i64::try_from(busy + room + 1).unwrap_or(i64::MAX);
        let mut rows = found.query(params![host, looked_at])?;
        let mut taken = 0;
        while let Some(row) = rows.next()? {
            let (id, next_at): (i64, i64) = (row.get(0)?, row.get(5)?);
            if self.in_flight.contains_key(&id) {
                continue;
            }
            if taken == room {
                // When one of them is done, it is looked again.
                break;
            }
            if next_at > now {
                due.next_ms = Some(due.next_ms.map_or(next_at, |at| at.min(next_at)));
                break;
            }
            taken += 1;
            self.in_flight.insert(id, host.to_owned());
            due.now.push(Delivery {
                id,
                host: row.get(1)?,
                url: row.get(2)?,
                json: row.get(3)?,
                body: row.get(4)?,
            });
        }
        Ok(())
    }

    /// Requests that were handed out to nobody.
    pub(super) fn take_back(&mut self, due: &Due) {
        for delivery in &due.now {
            self.in_flight.remove(&delivery.id);
        }
    }
}

/// Hosts are few: one for each URL of a flow. Each is found by a step down the index.
fn next_host(db: &Connection, after: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT host FROM outbox WHERE head = 1 AND host > ?1 ORDER BY host LIMIT 1";
    db.prepare_cached(sql)?
        .query_row([after], |row| row.get(0))
        .optional()
}

/// Scheme, host and port of a URL.
fn host_of(url: &str) -> String {
    let parsed = url::Url::parse(url);
    parsed.map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}
