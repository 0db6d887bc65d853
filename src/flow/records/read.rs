//! Calls as they are read back: by `crosspoint calls`, and for what callbacks say.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, Row, ToSql, params};
use serde::{Serialize, Serializer};

use super::StoreError;
use super::schema::{VERSION, version};

/// Last moment that dates with four digits have, in milliseconds since 1970.
const YEAR_9999_MS: i64 = 253_402_300_799_999;

/// Calls of a caller among which its last agent is looked for.
pub const STICKY_CALLS_MAX: u32 = 100;

/// How long a lock is waited for.
const BUSY_MAX: Duration = Duration::from_secs(2);

/// A moment in milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// As a time of the system; what dates of four digits do not have becomes the nearest they do.
    #[must_use]
    pub fn time(self) -> SystemTime {
        let ms = self.0.clamp(0, YEAR_9999_MS).unsigned_abs();
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    /// `2026-11-24 08:31:02` in UTC.
    #[must_use]
    pub fn seconds(self) -> String {
        let text = humantime::format_rfc3339_seconds(self.time()).to_string();
        text.trim_end_matches('Z').replace('T', " ")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_millis(self.time()))
    }
}

/// When a call or leg was what, and for how long.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Times {
    /// It began to be.
    pub started: Moment,
    /// It rang.
    pub rang: Option<Moment>,
    /// It was answered.
    pub answered: Option<Moment>,
    /// It was over.
    pub ended: Option<Moment>,
    /// How long it rang.
    pub ring_ms: i64,
    /// From answer to end.
    pub talk_ms: i64,
}

/// A call.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct CallRecord {
    #[serde(skip)]
    pub(super) id: i64,
    /// Its SID.
    pub sid: String,
    /// Name of its flow.
    pub flow: String,
    /// `inbound`.
    pub direction: String,
    /// Who called.
    pub from: String,
    /// What was called.
    pub to: String,
    /// See [`LegStatus`](crate::sip::LegStatus).
    pub status: String,
    /// Why it ended: a SIP status code, 200 when it was hung up.
    pub cause: Option<i64>,
    /// `caller`, `switch`, `network` or `crash`.
    pub ended_by: Option<String>,
    /// When, and how long.
    #[serde(flatten)]
    pub times: Times,
    /// How many keys were gathered.
    pub digits: i64,
    /// Paths of what was recorded.
    pub recordings: Vec<String>,
}

/// A leg of a call.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct LegRecord {
    #[serde(skip)]
    pub(crate) id: i64,
    /// Its SID.
    pub sid: String,
    /// `inbound` or `outbound-dial`.
    pub direction: String,
    /// Who called.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// As of a call.
    pub status: String,
    /// As of a call.
    pub cause: Option<i64>,
    /// `party`, `switch`, `network` or `crash`.
    pub ended_by: Option<String>,
    /// When, and how long.
    #[serde(flatten)]
    pub times: Times,
    /// RTP packets received; this and the next ones are `None` where it had no media.
    pub received: Option<i64>,
    /// RTP packets lost.
    pub lost: Option<i64>,
    /// Interarrival jitter in microseconds.
    pub jitter_us: Option<i64>,
    /// Estimated mean opinion score, 1 to 5.
    pub mos: Option<f64>,
    /// It was answered for more than two seconds, and nothing was received of it.
    pub silent: bool,
    /// SID of the leg whose place it took, or was to take, by a transfer.
    pub instead_of: Option<String>,
}

/// Columns that calls and legs have in common, as [`CallRecord`] and [`LegRecord`] read them.
const COMMON: &str = "id, sid, direction, caller, called, status, cause, ended_by, started_at,
                      rang_at, answered_at, ended_at, ring_ms, talk_ms";

impl Times {
    /// From the ninth column on.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let moment =
            |at: usize| -> rusqlite::Result<_> { Ok(row.get::<_, Option<i64>>(at)?.map(Moment)) };
        Ok(Self {
            started: Moment(row.get(8)?),
            rang: moment(9)?,
            answered: moment(10)?,
            ended: moment(11)?,
            ring_ms: row.get(12)?,
            talk_ms: row.get(13)?,
        })
    }
}

impl CallRecord {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            sid: row.get(1)?,
            direction: row.get(2)?,
            from: row.get(3)?,
            to: row.get(4)?,
            status: row.get(5)?,
            cause: row.get(6)?,
            ended_by: row.get(7)?,
            times: Times::read(row)?,
            flow: row.get(14)?,
            digits: row.get(15)?,
            recordings: Vec::new(),
        })
    }

    /// Those that a condition lets through, the newest first.
    fn find(
        db: &Connection,
        condition: &str,
        values: &[&dyn ToSql],
        limit: u32,
    ) -> rusqlite::Result<Vec<Self>> {
        let sql = format!(
            "SELECT {COMMON}, flow, digits FROM calls WHERE {condition}
             ORDER BY started_at DESC, id DESC LIMIT {limit}"
        );
        let mut found = db.prepare_cached(&sql)?;
        let rows = found.query_map(values, Self::read)?;
        let mut calls = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        for call in &mut calls {
            let sql = "SELECT path FROM recordings WHERE call = ?1 ORDER BY rowid";
            let mut paths = db.prepare_cached(sql)?;
            let paths = paths.query_map([call.id], |row| row.get(0))?;
            call.recordings = paths.collect::<rusqlite::Result<_>>()?;
        }
        Ok(calls)
    }

    pub(super) fn by_id(db: &Connection, id: i64) -> rusqlite::Result<Option<Self>> {
        Ok(Self::find(db, "id = ?1", &[&id], 1)?.pop())
    }
}

impl LegRecord {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            sid: row.get(1)?,
            direction: row.get(2)?,
            from: row.get(3)?,
            to: row.get(4)?,
            status: row.get(5)?,
            cause: row.get(6)?,
            ended_by: row.get(7)?,
            times: Times::read(row)?,
            received: row.get(14)?,
            lost: row.get(15)?,
            jitter_us: row.get(16)?,
            mos: row.get(17)?,
            silent: row.get(18)?,
            instead_of: row.get(19)?,
        })
    }
}

/// Legs of a call, in the order in which they began.
pub(super) fn legs_of(db: &Connection, call: i64) -> rusqlite::Result<Vec<LegRecord>> {
    // A database that no switch of this version has opened yet can be read, too.
    let instead_of = match version(db)? {
        ..2 => "NULL",
        _ => "instead_of",
    };
    let sql = format!(
        "SELECT {COMMON}, received, lost, jitter_us, mos, silent, {instead_of} FROM legs
         WHERE call = ?1 ORDER BY id"
    );
    let mut found = db.prepare_cached(&sql)?;
    let rows = found.query_map([call], LegRecord::read)?;
    rows.collect()
}

/// With whom of these agents the caller talked last: the target of the leg that was answered last,
/// among its last [`STICKY_CALLS_MAX`] calls that are completed. Who took the caller's own place is
/// none it talked with.
pub(super) fn last_agent(
    db: &Connection,
    caller: &str,
    agents: &[String],
) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT legs.called FROM
               (SELECT id FROM calls WHERE caller = ?1 AND status = 'completed'
                ORDER BY id DESC LIMIT ?2) AS latest
               JOIN legs ON legs.call = latest.id
               WHERE legs.direction = 'outbound-dial' AND legs.answered_at IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM legs AS callers WHERE callers.call = legs.call
                   AND callers.sid = legs.instead_of AND callers.direction = 'inbound')
               ORDER BY latest.id DESC, legs.answered_at DESC, legs.id DESC";
    let mut found = db.prepare_cached(sql)?;
    let mut rows = found.query(params![caller, STICKY_CALLS_MAX])?;
    while let Some(row) = rows.next()? {
        let called: String = row.get(0)?;
        if agents.contains(&called) {
            return Ok(Some(called));
        }
    }
    Ok(None)
}

/// Which calls are listed.
#[derive(Clone, Debug)]
pub struct Filter {
    /// At most so many.
    pub limit: u32,
    /// That started then or later.
    pub since: Option<Moment>,
    /// With this status.
    pub status: Option<String>,
    /// To or from a number that has this in it.
    pub number: Option<String>,
}

/// Reads the records, also while a switch writes them.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the database, and changes nothing in it.
    ///
    /// # Errors
    /// If it is not there, cannot be read, or is none of ours.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if path.is_dir() {
            return Err(StoreError::IsFolder(path.to_owned()));
        }
        if !path.is_file() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let failed = |source| StoreError::open(path, source);
        let (db, found) = Self::readable(path).map_err(failed)?;
        if !(1..=VERSION).contains(&found) {
            let path = path.to_owned();
            return Err(match found {
                0 => StoreError::Foreign(path),
                found => StoreError::Newer { path, found },
            });
        }
        Ok(Self {
            db,
            path: path.to_owned(),
        })
    }

    fn readable(path: &Path) -> rusqlite::Result<(Connection, i64)> {
        let opened = |name: &Path, more| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(name, flags | more)?;
            db.busy_timeout(BUSY_MAX)?;
            let version = version(&db)?;
            Ok((db, version))
        };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        match opened(path, OpenFlags::empty()) {
            // Who may not write beside it can read it all the same, as long as nobody has it open:
            // then there is no log.
            Err(error) if !Path::new(&log).exists() => match still(path) {
                Some(uri) => opened(Path::new(&uri), OpenFlags::SQLITE_OPEN_URI),
                None => Err(error),
            },
            other => other,
        }
    }

    /// Lists calls, the newest first, without their legs.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<CallRecord>, StoreError> {
        let since = filter.since.map_or(0, |it| it.0);
        let status = filter.status.as_deref();
        let condition = "started_at >= ?1 AND (?2 IS NULL OR status = ?2)
                         AND (?3 IS NULL OR instr(caller, ?3) OR instr(called, ?3))";
        let values: [&dyn ToSql; 3] = [&since, &status, &filter.number];
        let found = CallRecord::find(&self.db, condition, &values, filter.limit);
        found.map_err(|source| StoreError::open(&self.path, source))
    }

    /// The latest call of this SID, or that has a leg of this SID, and its legs.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn call(&self, sid: &str) -> Result<Option<(CallRecord, Vec<LegRecord>)>, StoreError> {
        let condition = "id IN (SELECT id FROM calls WHERE sid = ?1
                         UNION SELECT call FROM legs WHERE sid = ?1)";
        let read = || {
            let found = CallRecord::find(&self.db, condition, &[&sid], 1)?.pop();
            found
                .map(|call| Ok((legs_of(&self.db, call.id)?, call)))
                .transpose()
        };
        let found: rusqlite::Result<Option<_>> = read();
        let found = found.map_err(|source| StoreError::open(&self.path, source))?;
        Ok(found.map(|(legs, call)| (call, legs)))
    }
}

/// The name of a database that nobody changes (<https://www.sqlite.org/uri.html>).
fn still(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let mut url = url::Url::from_file_path(path).ok()?;
    url.set_query(Some("immutable=1"));
    Some(url.into())
}
