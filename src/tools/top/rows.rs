//! Calls, legs and totals as texts. All that others said is made harmless here.

use super::app::Rates;
use crate::control::live::view::{Leg, List, Media, Row, Totals};
use crate::tools::text::{clean, cut, length};

/// What stands over the columns of a list.
pub(super) const CALLS: [&str; 7] = ["AGE", "STATUS", "FROM", "TO", "FLOW", "LEGS", "CALL"];

/// What stands over the columns of legs.
pub(super) const LEGS: [&str; 10] = [
    "LEG", "STATUS", "TALK", "CODEC", "PACKETS", "LOST", "JITTER", "MOS", "QUIET", "SID",
];

/// A call, in the columns of [`CALLS`].
pub(super) fn of_call(row: &Row) -> [String; 7] {
    let flow = match (row.flow.as_str(), row.applet.as_str()) {
        ("", _) => "(ng)".to_owned(),
        (flow, "") => flow.to_owned(),
        (flow, applet) => format!("{flow}/{applet}"),
    };
    let texts = [
        length(row.age_ms / 1_000),
        row.status.clone(),
        row.from.clone(),
        row.to.clone(),
        flow,
        row.legs.to_string(),
        row.sid.clone(),
    ];
    texts.map(|text| clean(&text))
}

/// A leg, in the columns of [`LEGS`].
pub(super) fn of_leg(leg: &Leg) -> [String; 10] {
    let arrow = match leg.direction.as_str() {
        "inbound" => "\u{2190} ",
        "outbound-dial" => "\u{2192} ",
        _ => "",
    };
    let cause = leg
        .cause
        .map_or_else(String::new, |cause| format!(" {cause}"));
    let talk = leg
        .talk_ms
        .map_or_else(String::new, |ms| length(ms / 1_000));
    let media = |text: fn(&Media) -> String| leg.media.as_ref().map_or_else(String::new, text);
    let texts = [
        format!("{arrow}{}", leg.number),
        format!("{}{cause}", leg.status),
        talk,
        media(|it| it.codec.clone()),
        media(|it| it.received.to_string()),
        media(lost),
        media(jitter),
        media(|it| it.mos.map_or_else(String::new, |mos| format!("{mos:.2}"))),
        media(quiet),
        leg.sid.clone(),
    ];
    texts.map(|text| clean(&text))
}

/// `12 (0.4 %)`, or `0`.
fn lost(media: &Media) -> String {
    let expected = media.received.saturating_add(media.lost);
    let share = media.lost.saturating_mul(1_000) / expected.max(1);
    match media.lost {
        0 => "0".to_owned(),
        lost => format!("{lost} ({}.{} %)", share / 10, share % 10),
    }
}

fn jitter(media: &Media) -> String {
    let us = media.jitter_us;
    match media.received {
        0 => String::new(),
        _ => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
    }
}

/// How long nothing came, where that is longer than packets are apart.
fn quiet(media: &Media) -> String {
    match media.quiet_ms {
        None => "silent".to_owned(),
        Some(0..1_000) => String::new(),
        Some(ms) => length(ms / 1_000),
    }
}

/// What a switch does, in three lines.
pub(super) fn totals(address: &str, t: &Totals, rates: Option<&Rates>) -> [String; 3] {
    let rate = |pick: fn(&Rates) -> f64, digits: usize| match rates {
        Some(rates) => format!("{:.digits$}/s", pick(rates)),
        None => "-/s".to_owned(),
    };
    let draining = if t.draining { "  draining" } else { "" };
    let up = length(t.uptime_ms / 1_000);
    [
        format!(
            "crosspoint {address}  up {up}  calls {} of {}  new {}{draining}",
            t.calls,
            t.calls_max,
            rate(|r| r.created, 1)
        ),
        format!(
            "ended: completed {}  busy {}  no-answer {}  failed {}  canceled {}",
            t.completed, t.busy, t.no_answer, t.failed, t.canceled
        ),
        format!(
            "ports {} used, {} free  packets in {}  out {}  dropped {}",
            t.ports_used,
            t.ports_free,
            rate(|r| r.packets_in, 0),
            rate(|r| r.packets_out, 0),
            rate(|r| r.packets_dropped, 0)
        ),
    ]
}

/// One table of all of it, without a terminal's help.
pub(super) fn plain(list: &List) -> String {
    let t = &list.totals;
    let mut text = format!(
        "calls {} of {}, created {}, completed {}, busy {}, no-answer {}, failed {}, canceled {}\n",
        t.calls, t.calls_max, t.created, t.completed, t.busy, t.no_answer, t.failed, t.canceled
    );
    text += &format!(
        "ports {} used, {} free; packets {} in, {} out, {} dropped\n\n",
        t.ports_used, t.ports_free, t.packets_in, t.packets_out, t.packets_dropped
    );
    let mut line = |[age, status, from, to, flow, legs, sid]: [String; 7]| {
        let (from, to, flow) = (cut(&from, 16), cut(&to, 16), cut(&flow, 20));
        let line =
            format!("{age:>8}  {status:11}  {from:16}  {to:16}  {flow:20}  {legs:>4}  {sid}");
        text += line.trim_end();
        text += "\n";
    };
    line(CALLS.map(str::to_owned));
    list.calls.iter().map(of_call).for_each(&mut line);
    let left = list.matched.saturating_sub(list.calls.len());
    match (list.calls.is_empty(), left) {
        (true, _) => text += "no calls\n",
        (false, 0) => {}
        (false, left) => text += &format!("and {left} more\n"),
    }
    text
}
