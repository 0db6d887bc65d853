//! The database: opened, brought to this version, and cleared of what a crash left open.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::outbox::{Outbox, Tell};
use super::{Options, StoreError, folder_of};

/// `user_version` of what this program writes.
pub(super) const VERSION: i64 = 2;

/// Databases up to so many octets are checked whole when they are opened; larger ones would keep
/// the switch from starting for long.
const CHECKED_MAX: u64 = 64 << 20;

/// How long a lock is waited for; readers hold none that writing needs.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// Octets that the write-ahead log is cut back to.
const LOG_MAX: i64 = 64 << 20;

/// Version 1. Times are milliseconds since 1970 in UTC.
const TABLES: &str = "
CREATE TABLE calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sid TEXT NOT NULL,
    flow TEXT NOT NULL,
    direction TEXT NOT NULL,
    caller TEXT NOT NULL,
    called TEXT NOT NULL,
    status TEXT NOT NULL,
    cause INTEGER,
    ended_by TEXT,
    started_at INTEGER NOT NULL,
    rang_at INTEGER,
    answered_at INTEGER,
    ended_at INTEGER,
    ring_ms INTEGER AS (max(0, coalesce(coalesce(answered_at, ended_at) - rang_at, 0))),
    talk_ms INTEGER AS (max(0, coalesce(ended_at - answered_at, 0))),
    digits INTEGER NOT NULL DEFAULT 0,
    callback_url TEXT,
    callback_events INTEGER NOT NULL DEFAULT 0,
    callback_json INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX calls_sid ON calls (sid);
CREATE INDEX calls_started ON calls (started_at);
CREATE INDEX calls_caller ON calls (caller);
CREATE INDEX calls_open ON calls (id) WHERE ended_at IS NULL;

CREATE TABLE legs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    call INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    sid TEXT NOT NULL,
    direction TEXT NOT NULL,
    caller TEXT NOT NULL,
    called TEXT NOT NULL,
    status TEXT NOT NULL,
    cause INTEGER,
    ended_by TEXT,
    started_at INTEGER NOT NULL,
    rang_at INTEGER,
    answered_at INTEGER,
    ended_at INTEGER,
    ring_ms INTEGER AS (max(0, coalesce(coalesce(answered_at, ended_at) - rang_at, 0))),
    talk_ms INTEGER AS (max(0, coalesce(ended_at - answered_at, 0))),
    received INTEGER,
    lost INTEGER,
    jitter_us INTEGER,
    mos REAL,
    silent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX legs_call ON legs (call);
CREATE INDEX legs_sid ON legs (sid);
CREATE INDEX legs_open ON legs (id) WHERE ended_at IS NULL;

CREATE TABLE recordings (
    call INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    path TEXT NOT NULL
) STRICT;
CREATE INDEX recordings_call ON recordings (call);

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    call INTEGER NOT NULL,
    host TEXT NOT NULL,
    url TEXT NOT NULL,
    json INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL,
    head INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_call ON outbox (call, id);
CREATE INDEX outbox_due ON outbox (host, next_at) WHERE head = 1;

CREATE TABLE alive (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at INTEGER NOT NULL
) STRICT;
";

/// Version 2: transfers.
const TRANSFERS: &str = "ALTER TABLE legs ADD COLUMN instead_of TEXT;";

/// Takes the lock that keeps a second switch from this database. It is a file of its own: closing
/// another handle of the database would give up SQLite's locks (POSIX `fcntl`).
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    if path.is_dir() {
        return Err(StoreError::IsFolder(path.to_owned()));
    }
    if !folder_of(path).is_dir() {
        return Err(StoreError::NoFolder(path.to_owned()));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| StoreError::Lock {
        path: path.to_owned(),
        source,
    };
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens the database for writing, and closes the calls that were open when the last switch died;
/// how many those are.
pub(super) fn open(
    path: &Path,
    options: &Options,
    outbox: &mut Outbox,
) -> Result<(Connection, usize), StoreError> {
    let opened = prepare(path, options);
    let (mut db, version) = opened.map_err(|source| StoreError::open(path, source))?;
    if version > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
        });
    }
    let closed = begin(&mut db, version, options, outbox);
    let closed = closed.map_err(|source| StoreError::open(path, source))?;
    Ok((db, closed))
}

fn prepare(path: &Path, options: &Options) -> rusqlite::Result<(Connection, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_MAX)?;
    if std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_MAX) {
        whole(&db)?;
    }
    let version = version(&db)?;
    if version <= VERSION {
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "journal_size_limit", LOG_MAX)?;
        if let Some(pages) = options.pages_max {
            db.pragma_update(None, "max_page_count", pages)?;
        }
    }
    Ok((db, version))
}

pub(super) fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn whole(db: &Connection) -> rusqlite::Result<()> {
    let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match said.as_str() {
        "ok" => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(said),
        )),
    }
}

/// One transaction that writes in any case: where nothing can be written, this is the moment to
/// learn it.
fn begin(
    db: &mut Connection,
    version: i64,
    options: &Options,
    outbox: &mut Outbox,
) -> rusqlite::Result<usize> {
    let now = options.clock.now_ms();
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version < 1 {
        change.execute_batch(TABLES)?;
    }
    if version < 2 {
        change.execute_batch(TRANSFERS)?;
    }
    change.pragma_update(None, "user_version", VERSION)?;
    outbox.load(&change)?;
    let alive = "SELECT coalesce(max(at), 0) FROM alive";
    let died: i64 = change.query_row(alive, [], |row| row.get(0))?;
    let closed = close_open(&change, outbox, died, now)?;
    mark_alive(&change, now)?;
    change.commit()?;
    Ok(closed)
}

/// Notes that the switch lives, so that after a crash it is known until when it did.
pub(super) fn mark_alive(db: &Connection, now: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO alive VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = ?1";
    db.prepare_cached(sql)?.execute([now])?;
    Ok(())
}

/// Closes what a crash left open: it ended when the switch was last known to live.
fn close_open(
    change: &Transaction<'_>,
    outbox: &mut Outbox,
    died: i64,
    now: i64,
) -> rusqlite::Result<usize> {
    let open = |table| -> rusqlite::Result<Vec<(i64, i64)>> {
        let call = if table == "legs" { "call" } else { "id" };
        let sql = format!("SELECT id, {call} FROM {table} WHERE ended_at IS NULL ORDER BY id");
        let mut found = change.prepare(&sql)?;
        let rows = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let close = |table, id| {
        let sql = format!(
            "UPDATE {table} SET status = 'failed', ended_by = 'crash', ended_at =
             max(?1, started_at, coalesce(rang_at, 0), coalesce(answered_at, 0)) WHERE id = ?2"
        );
        change.prepare_cached(&sql)?.execute(params![died, id])
    };
    for (leg, call) in open("legs")? {
        close("legs", leg)?;
        outbox.tell(change, call, Tell::Terminal, Some(leg), now)?;
    }
    let calls = open("calls")?;
    for (call, _) in &calls {
        close("calls", *call)?;
        outbox.tell(change, *call, Tell::Terminal, None, now)?;
    }
    Ok(calls.len())
}

/// Closes the database; what the log holds goes into it.
pub(super) fn close(db: Connection) {
    if let Err((_, error)) = db.close() {
        tracing::warn!(%error, "call records were not closed");
    }
}
