//! Calls as people read them, in lines of at most 100 columns.

use std::fmt::Write as _;

use crate::flow::records::read::{CallRecord, LegRecord, Moment};
use crate::tools::text::{self, cut};

/// Columns of numbers.
const NUMBER: usize = 13;
/// Columns of a SID.
const SID: usize = 32;

/// `1:02:03`, or `2:03`.
fn length(ms: i64) -> String {
    text::length(u64::try_from(ms / 1_000).unwrap_or(0))
}

/// Without the year.
fn short(at: Moment) -> String {
    at.seconds().chars().skip(5).collect()
}

/// A line for each.
pub(super) fn list(calls: &[CallRecord]) -> String {
    if calls.is_empty() {
        return "no calls\n".to_owned();
    }
    let row = |[started, status, talk, from, to, sid]: [&str; 6]| {
        let text =
            format!("{started:14}  {status:11}  {talk:>7}  {from:NUMBER$}  {to:NUMBER$}  {sid}");
        text.trim_end().to_owned() + "\n"
    };
    let mut text = row(["started (UTC)", "status", "talk", "from", "to", "SID"]);
    for call in calls {
        let talk = call.times.answered.and(call.times.ended);
        let talk = talk.map_or_else(String::new, |_| length(call.times.talk_ms));
        text += &row([
            &short(call.times.started),
            &cut(&call.status, 11),
            &talk,
            &cut(&call.from, NUMBER),
            &cut(&call.to, NUMBER),
            &cut(&call.sid, SID),
        ]);
    }
    text
}

/// All that is known of a call.
pub(super) fn whole(call: &CallRecord, legs: &[LegRecord]) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:10} {}", cut(value, 89));
    };
    say("call", &call.sid);
    say(
        "status",
        &ending(&call.status, call.cause, call.ended_by.as_deref()),
    );
    say("from", &call.from);
    say("to", &call.to);
    say("flow", &call.flow);
    let times = [
        ("started", Some(call.times.started)),
        ("answered", call.times.answered),
        ("ended", call.times.ended),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            say(name, &format!("{} UTC", at.seconds()));
        }
    }
    if call.times.ended.is_some() {
        say(
            "ring, talk",
            &lengths(call.times.ring_ms, call.times.talk_ms),
        );
    }
    if call.digits > 0 {
        say("digits", &format!("{} gathered", call.digits));
    }
    for path in &call.recordings {
        say("recording", path);
    }
    for leg in legs {
        text += &of_leg(leg);
    }
    text
}

fn lengths(ring_ms: i64, talk_ms: i64) -> String {
    let seconds = |ms: i64| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
    format!("{}, {}", seconds(ring_ms), seconds(talk_ms))
}

/// `busy, 486 by party`.
fn ending(status: &str, cause: Option<i64>, by: Option<&str>) -> String {
    let mut text = status.to_owned();
    if let Some(by) = by {
        let cause = cause.map(|cause| format!("{cause} "));
        let _ = write!(text, ", {}by {by}", cause.unwrap_or_default());
    }
    text
}

fn of_leg(leg: &LegRecord) -> String {
    let (arrow, party) = match leg.direction.as_str() {
        "inbound" => ("from", &leg.from),
        _ => ("to", &leg.to),
    };
    let mut text = format!("\nleg        {}\n", cut(&leg.sid, 89));
    let status = ending(&leg.status, leg.cause, leg.ended_by.as_deref());
    let _ = writeln!(text, "  {arrow:8} {}", cut(party, 89));
    let _ = writeln!(text, "  status   {}", cut(&status, 89));
    if let Some(sid) = &leg.instead_of {
        let _ = writeln!(text, "  instead  {}", cut(sid, 89));
    }
    let _ = writeln!(text, "  started  {} UTC", leg.times.started.seconds());
    if leg.times.ended.is_some() {
        let lengths = lengths(leg.times.ring_ms, leg.times.talk_ms);
        let _ = writeln!(text, "  ring, talk {lengths}");
    }
    if let Some(quality) = quality(leg) {
        let _ = writeln!(text, "  media    {quality}");
    }
    text
}

/// What was received of a leg, if it had media.
fn quality(leg: &LegRecord) -> Option<String> {
    let received = leg.received?;
    let lost = leg.lost.unwrap_or(0);
    if leg.silent {
        return Some("nothing received: answered, but silent".to_owned());
    }
    let sent = received.saturating_add(lost).max(1);
    let share = lost.saturating_mul(1_000) / sent;
    let mut text = format!(
        "{received} packets, {lost} lost ({}.{} %)",
        share / 10,
        share % 10
    );
    if let Some(us) = leg.jitter_us {
        let _ = write!(text, ", jitter {}.{} ms", us / 1_000, us % 1_000 / 100);
    }
    if let Some(mos) = leg.mos {
        let _ = write!(text, ", MOS {mos:.2}");
    }
    Some(text)
}
