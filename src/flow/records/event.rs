//! What calls and legs tell, and how it is written.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::outbox::{Outbox, Tell};
use crate::flow::run::ledger::{CallEnded, CallStarted, LegStarted, Quality};
use crate::flow::script::StatusCallback;
use crate::sip::{EndedBy, Ending, LegStatus};

/// Longest text that is kept of what others say (SIDs, numbers, names, paths), in octets.
pub const TEXT_MAX: usize = 512;

/// Most recordings that are kept of a call.
pub const RECORDINGS_MAX: usize = 64;

/// A leg that was answered for longer than this, and of which nothing was received, was silent.
const SILENT_AFTER_MS: i64 = 2_000;

/// Something that happened, with its time.
#[derive(Debug)]
pub(super) struct Event {
    at_ms: i64,
    /// SID.
    call: Box<str>,
    what: What,
}

#[derive(Debug)]
enum What {
    CallStarted {
        caller: Box<str>,
        called: Box<str>,
        flow: Box<str>,
        callback: Option<Box<StatusCallback>>,
    },
    LegStarted {
        leg: Box<str>,
        inbound: bool,
        caller: Box<str>,
        called: Box<str>,
        instead_of: Option<Box<str>>,
    },
    Ringing(Box<str>),
    Answered(Box<str>),
    LegEnded(Box<str>, Ending, Option<Quality>),
    CallEnded {
        ending: Ending,
        answered: bool,
        digits: u32,
        recordings: Vec<Box<str>>,
    },
}

/// What was said, cut where it is too long.
fn kept(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(TEXT_MAX)].into()
}

impl Event {
    pub(super) fn call_started(at_ms: i64, call: &CallStarted<'_>) -> Self {
        let what = What::CallStarted {
            caller: kept(call.from),
            called: kept(call.to),
            flow: kept(call.flow),
            callback: call.callback.cloned().map(Box::new),
        };
        Self::of(at_ms, call.call, what)
    }

    pub(super) fn leg_started(at_ms: i64, leg: &LegStarted<'_>) -> Self {
        let what = What::LegStarted {
            leg: kept(leg.leg),
            inbound: leg.inbound,
            caller: kept(leg.from),
            called: kept(leg.to),
            instead_of: leg.instead_of.map(kept),
        };
        Self::of(at_ms, leg.call, what)
    }

    pub(super) fn ringing(at_ms: i64, call: &str, leg: &str) -> Self {
        Self::of(at_ms, call, What::Ringing(kept(leg)))
    }

    pub(super) fn answered(at_ms: i64, call: &str, leg: &str) -> Self {
        Self::of(at_ms, call, What::Answered(kept(leg)))
    }

    pub(super) fn leg_ended(
        at_ms: i64,
        (call, leg): (&str, &str),
        ending: Ending,
        quality: Option<&Quality>,
    ) -> Self {
        let what = What::LegEnded(kept(leg), ending, quality.copied());
        Self::of(at_ms, call, what)
    }

    pub(super) fn call_ended(at_ms: i64, call: &CallEnded<'_>) -> Self {
        let recordings = call.recordings.iter().take(RECORDINGS_MAX);
        let what = What::CallEnded {
            ending: call.ending,
            answered: call.answered,
            digits: call.digits,
            recordings: recordings.map(|path| kept(path)).collect(),
        };
        Self::of(at_ms, call.call, what)
    }

    fn of(at_ms: i64, call: &str, what: What) -> Self {
        Self {
            at_ms,
            call: kept(call),
            what,
        }
    }

    /// Writes it, and what is to be told of it; `false`: its call or leg is not known, or was over.
    pub(super) fn write(&self, db: &Connection, outbox: &mut Outbox) -> rusqlite::Result<bool> {
        match &self.what {
            What::CallStarted {
                caller,
                called,
                flow,
                callback,
            } => {
                let parties = [caller, called, flow].map(|it| &**it);
                self.start_call(db, outbox, parties, callback.as_deref())
            }
            What::LegStarted {
                leg,
                inbound,
                caller,
                called,
                instead_of,
            } => self.start_leg(db, leg, *inbound, [caller, called], instead_of.as_deref()),
            What::Ringing(leg) => self.ring(db, outbox, leg),
            What::Answered(leg) => self.answer(db, outbox, leg),
            What::LegEnded(leg, ending, quality) => {
                self.end_leg(db, outbox, leg, *ending, quality.as_ref())
            }
            What::CallEnded {
                ending,
                answered,
                digits,
                recordings,
            } => {
                let status = ending.cause.status(*answered);
                self.end_call(db, outbox, *ending, status, *digits, recordings)
            }
        }
    }

    fn start_call(
        &self,
        db: &Connection,
        outbox: &mut Outbox,
        [caller, called, flow]: [&str; 3],
        callback: Option<&StatusCallback>,
    ) -> rusqlite::Result<bool> {
        let callback = callback.filter(|it| outbox.takes(it));
        let sql = "INSERT INTO calls (sid, flow, direction, caller, called, status, started_at,
                   callback_url, callback_events, callback_json)
                   VALUES (?1, ?2, 'inbound', ?3, ?4, 'ringing', ?5, ?6, ?7, ?8)";
        db.prepare_cached(sql)?.execute(params![
            self.call,
            flow,
            caller,
            called,
            self.at_ms,
            callback.map(|it| it.url.as_str()),
            callback.map_or(0, |it| Tell::mask(it.events)),
            callback.is_some_and(|it| it.json),
        ])?;
        Ok(true)
    }

    fn start_leg(
        &self,
        db: &Connection,
        leg: &str,
        inbound: bool,
        [caller, called]: [&str; 2],
        instead_of: Option<&str>,
    ) -> rusqlite::Result<bool> {
        // A caller's own SIDs may come again after a while: the latest call is meant.
        let sql = "INSERT INTO legs (call, sid, direction, caller, called, status, started_at,
                   instead_of)
                   SELECT max(id), ?2, ?3, ?4, ?5, 'ringing', ?6, ?7 FROM calls WHERE sid = ?1
                   HAVING max(id) IS NOT NULL";
        let direction = if inbound { "inbound" } else { "outbound-dial" };
        let values = params![
            self.call, leg, direction, caller, called, self.at_ms, instead_of
        ];
        Ok(db.prepare_cached(sql)?.execute(values)? > 0)
    }

    fn ring(&self, db: &Connection, outbox: &mut Outbox, leg: &str) -> rusqlite::Result<bool> {
        let Some(leg) = Leg::find(db, &self.call, leg)? else {
            return Ok(false);
        };
        if leg.rang || leg.answered_at.is_some() || leg.ended {
            // Told again by each provisional response.
            return Ok(true);
        }
        self.mark(db, &leg, "SET rang_at = ?1")?;
        outbox.tell(db, leg.call, Tell::Ringing, Some(leg.id), self.at_ms)?;
        Ok(true)
    }

    fn answer(&self, db: &Connection, outbox: &mut Outbox, leg: &str) -> rusqlite::Result<bool> {
        let Some(leg) = Leg::find(db, &self.call, leg)? else {
            return Ok(false);
        };
        if leg.answered_at.is_some() || leg.ended {
            return Ok(false);
        }
        self.mark(db, &leg, "SET answered_at = ?1, status = 'in-progress'")?;
        outbox.tell(db, leg.call, Tell::Answered, Some(leg.id), self.at_ms)?;
        Ok(true)
    }

    /// Changes a leg, and with the first caller's leg its call.
    fn mark(&self, db: &Connection, leg: &Leg, change: &str) -> rusqlite::Result<()> {
        let sql = format!("UPDATE legs {change} WHERE id = ?2");
        db.prepare_cached(&sql)?.execute([self.at_ms, leg.id])?;
        if leg.is_callers {
            let sql = format!("UPDATE calls {change} WHERE id = ?2 AND ended_at IS NULL");
            db.prepare_cached(&sql)?.execute([self.at_ms, leg.call])?;
        }
        Ok(())
    }

    fn end_leg(
        &self,
        db: &Connection,
        outbox: &mut Outbox,
        leg: &str,
        ending: Ending,
        quality: Option<&Quality>,
    ) -> rusqlite::Result<bool> {
        let Some(leg) = Leg::find(db, &self.call, leg)?.filter(|leg| !leg.ended) else {
            return Ok(false);
        };
        let answered_ms = leg.answered_at.map_or(0, |at| self.at_ms - at);
        let silent = answered_ms > SILENT_AFTER_MS && quality.is_some_and(|it| it.received == 0);
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let sql = "UPDATE legs SET status = ?1, cause = ?2, ended_by = ?3, ended_at = ?4,
                   received = ?5, lost = ?6, jitter_us = ?7, mos = ?8, silent = ?9 WHERE id = ?10";
        db.prepare_cached(sql)?.execute(params![
            ending.cause.status(leg.answered_at.is_some()).label(),
            ending.cause.0,
            ended_by(ending.by, "party"),
            self.at_ms,
            quality.map(|it| count(it.received)),
            quality.map(|it| count(it.lost)),
            quality.map(|it| it.jitter_us),
            quality.and_then(|it| it.mos).map(f64::from),
            silent,
            leg.id,
        ])?;
        outbox.tell(db, leg.call, Tell::Terminal, Some(leg.id), self.at_ms)?;
        Ok(true)
    }

    fn end_call(
        &self,
        db: &Connection,
        outbox: &mut Outbox,
        ending: Ending,
        status: LegStatus,
        digits: u32,
        recordings: &[Box<str>],
    ) -> rusqlite::Result<bool> {
        let sql = "SELECT id FROM calls WHERE sid = ?1 AND ended_at IS NULL
                   ORDER BY id DESC LIMIT 1";
        let found = db
            .prepare_cached(sql)?
            .query_row([&self.call], |row| row.get(0));
        let Some(call): Option<i64> = found.optional()? else {
            return Ok(false);
        };
        let sql = "UPDATE calls SET status = ?1, cause = ?2, ended_by = ?3, ended_at = ?4,
                   digits = ?5 WHERE id = ?6";
        db.prepare_cached(sql)?.execute(params![
            status.label(),
            ending.cause.0,
            ended_by(ending.by, "caller"),
            self.at_ms,
            digits,
            call,
        ])?;
        for path in recordings {
            let sql = "INSERT INTO recordings (call, path) VALUES (?1, ?2)";
            db.prepare_cached(sql)?.execute(params![call, path])?;
        }
        outbox.tell(db, call, Tell::Terminal, None, self.at_ms)?;
        Ok(true)
    }
}

/// Who ended it, where `party` is the one whose leg it is.
fn ended_by(by: EndedBy, party: &'static str) -> &'static str {
    match by {
        EndedBy::Party => party,
        EndedBy::Us => "switch",
        EndedBy::Nobody => "network",
    }
}

/// What is known of a leg.
struct Leg {
    id: i64,
    call: i64,
    /// It is the one that the call began with.
    is_callers: bool,
    rang: bool,
    answered_at: Option<i64>,
    ended: bool,
}

impl Leg {
    fn find(db: &Connection, call: &str, leg: &str) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT legs.id, call, legs.direction = 'inbound' AND legs.instead_of IS NULL,
                   legs.rang_at IS NOT NULL,
                   legs.answered_at, legs.ended_at IS NOT NULL
                   FROM legs JOIN calls ON calls.id = call
                   WHERE legs.sid = ?2 AND calls.sid = ?1 ORDER BY legs.id DESC LIMIT 1";
        let read = |row: &Row<'_>| {
            Ok(Self {
                id: row.get(0)?,
                call: row.get(1)?,
                is_callers: row.get(2)?,
                rang: row.get(3)?,
                answered_at: row.get(4)?,
                ended: row.get(5)?,
            })
        };
        db.prepare_cached(sql)?
            .query_row([call, leg], read)
            .optional()
    }
}
