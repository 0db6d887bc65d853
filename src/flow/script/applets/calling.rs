//! Applets that call others.

use std::time::Duration;

use super::super::context::quoted;
use super::super::fields::{Fields, SECONDS_MAX};
use super::super::read::{NAME_RULE, is_name};
use super::super::{Applet, Connect, Early, Next, PARALLEL_MAX, Queue, Step, Sticky};
use super::{KEY_SECONDS_MAX, number};
use crate::sip::{Cause, Outgoing};

/// Most parties of one `connect`, all that ring one after another counted.
pub const TARGETS_MAX: usize = 100;
/// Most agents of one `queue` or `sticky`.
pub const QUEUE_AGENTS_MAX: usize = 1_000;
/// Most callers that wait in one `queue`.
pub const QUEUE_SIZE_MAX: usize = 10_000;
/// Priorities are from minus this to this.
pub const PRIORITY_MAX: i32 = 1_000;
/// Longest ringing, in seconds.
const RING_TIMEOUT_MAX: u64 = 600;
/// Ringing of `connect`, in seconds.
const RING_TIMEOUT: u64 = 30;
/// Conversations of `connect`, in seconds.
const TIME_LIMIT: u64 = 14_400;
/// Longest address, in octets.
const ADDRESS_MAX: usize = 256;
/// A number on this very switch.
const LOCAL: &str = "local:";

/// What stands for the call's own data in an address.
const PLACES: [&str; 3] = ["{caller}", "{called}", "{digits}"];

pub(super) fn connect(fields: &Fields<'_, '_>) -> Connect {
    let parallel = fields.word("ring", &[("parallel", true), ("sequential", false)]);
    let parallel = parallel.unwrap_or(true);
    let to = targets(fields, "to", TARGETS_MAX);
    if let Some(value) = fields
        .take("to")
        .filter(|_| parallel && to.len() > PARALLEL_MAX)
    {
        let why = format!(
            "{} ring at once, at most {PARALLEL_MAX} are possible",
            to.len()
        );
        fields.fail("to", value, why);
    }
    called(fields, to, parallel)
}

/// What `connect` and `sticky` have in common.
fn called(fields: &Fields<'_, '_>, to: Vec<String>, parallel: bool) -> Connect {
    Connect {
        to,
        parallel,
        ring_timeout: fields.seconds("ring-timeout", 1..=RING_TIMEOUT_MAX, RING_TIMEOUT),
        early: early(fields),
        music: fields.prompt("hold-music"),
        whisper: fields.prompt("whisper"),
        time_limit: fields.seconds("time-limit", 1..=SECONDS_MAX, TIME_LIMIT),
        caller_id: number(fields, "caller-id", false),
        record: fields.flag("record", false),
        answered: fields.next("answered"),
        busy: fields.next("busy"),
        no_answer: fields.next("no-answer"),
        failed: fields.next("failed"),
    }
}

pub(super) fn sticky(fields: &Fields<'_, '_>) -> Sticky {
    Sticky {
        agents: targets(fields, "agents", QUEUE_AGENTS_MAX),
        call: called(fields, Vec::new(), true),
        none: fields.next("none"),
    }
}

fn early(fields: &Fields<'_, '_>) -> Early {
    let words = [
        ("ringback", Early::Ringback),
        ("first", Early::First),
        ("latest", Early::Latest),
        ("mix", Early::Mix),
    ];
    fields.word("early-media", &words).unwrap_or_default()
}

/// One party, and whatever becomes of it becomes of the call: who is busy makes the call busy.
pub(super) fn forward(fields: &Fields<'_, '_>) -> Connect {
    let outcome = |name: &str, code: u16| {
        let step = Step::Hangup {
            cause: Some(Cause(code)),
        };
        // As it stands in the log.
        let name = format!("{}.{name}", fields.at.trim_start_matches("applet."));
        Some(fields.context.add(Applet { name, step }))
    };
    Connect {
        to: targets(fields, "to", 1),
        parallel: true,
        ring_timeout: fields.seconds("ring-timeout", 1..=RING_TIMEOUT_MAX, RING_TIMEOUT),
        early: early(fields),
        music: None,
        whisper: None,
        time_limit: fields.seconds("time-limit", 1..=SECONDS_MAX, TIME_LIMIT),
        caller_id: number(fields, "caller-id", false),
        record: false,
        answered: None,
        busy: outcome("busy", 486),
        no_answer: outcome("no-answer", 480),
        failed: outcome("failed", 503),
    }
}

pub(super) fn queue(fields: &Fields<'_, '_>) -> Queue {
    let name = fields.required("name").map(|(name, value)| {
        if !is_name(name) {
            let why = format!("{} is no name of a queue: {NAME_RULE}", quoted(name));
            fields.fail("name", value, why);
        }
        name.to_owned()
    });
    Queue {
        name: name.unwrap_or_default(),
        agents: targets(fields, "agents", QUEUE_AGENTS_MAX),
        music: fields.prompt_required("music"),
        announce: fields.prompt("announce"),
        announce_every: fields.seconds("announce-every", 1..=SECONDS_MAX, 30),
        priority: fields
            .number("priority", -PRIORITY_MAX..=PRIORITY_MAX)
            .unwrap_or(0),
        // The key that leaves it is waited for so long at most.
        max_wait: fields.seconds("max-wait", 1..=KEY_SECONDS_MAX, 600),
        max_size: fields
            .number("max-size", 1..=QUEUE_SIZE)
            .map_or(100, usize::from),
        leave_key: fields.key("leave-key", None),
        ring_timeout: fields.seconds("ring-timeout", 1..=RING_TIMEOUT_MAX, 20),
        wrap_up: wrap_up(fields),
        answered: fields.next("answered"),
        on_leave: leave(fields),
        on_timeout: fields.next("on-timeout"),
        on_full: fields.next("on-full"),
    }
}

/// [`QUEUE_SIZE_MAX`] as numbers are read.
#[allow(clippy::cast_possible_truncation, reason = "10,000")]
const QUEUE_SIZE: u16 = QUEUE_SIZE_MAX as u16;

fn wrap_up(fields: &Fields<'_, '_>) -> Duration {
    fields.seconds("wrap-up", 0..=SECONDS_MAX, 5)
}

/// Where the key leads that leaves a queue.
fn leave(fields: &Fields<'_, '_>) -> Next {
    let value = fields.take("on-leave")?;
    if fields.take("leave-key").is_none() {
        fields.fail(
            "on-leave",
            value,
            "no key leads there: leave-key is missing",
        );
    }
    fields.next_of("on-leave", value)
}

/// Parties to call, of which there must be one.
fn targets(fields: &Fields<'_, '_>, key: &'static str, most: usize) -> Vec<String> {
    let Some(given) = fields.strings(key, most) else {
        fields.missing(key);
        return Vec::new();
    };
    let mut targets: Vec<String> = Vec::with_capacity(given.len());
    for (target, value) in given {
        if let Err(why) = check_target(target) {
            fields.fail(key, value, format_args!("{} {why}", quoted(target)));
        } else if targets.iter().any(|other| other == target) {
            fields.fail(
                key,
                value,
                format_args!("{} is there twice", quoted(target)),
            );
        }
        targets.push(target.to_owned());
    }
    targets
}

/// Whether somebody can be called so; whether there is such a user or trunk only the call shows.
fn check_target(target: &str) -> Result<(), String> {
    let mut plain = target.to_owned();
    for place in PLACES {
        plain = plain.replace(place, "0");
    }
    if plain.contains(['{', '}']) {
        return Err(format!("has another place than {}", PLACES.join(", ")));
    }
    let is_graphic = plain.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if plain.is_empty() || plain.len() > ADDRESS_MAX || !is_graphic {
        return Err("can not be called".to_owned());
    }
    if plain.strip_prefix(LOCAL).is_some_and(str::is_empty) {
        return Err("lacks the number".to_owned());
    }
    if plain.starts_with("sip:") || plain.starts_with("sips:") {
        return Outgoing::check_uri(&plain).map_err(|why| format!("is no SIP URI: {why}"));
    }
    match plain.rsplit_once('@') {
        Some((number, trunk)) if number.is_empty() || trunk.is_empty() => {
            Err("is no NUMBER@TRUNK".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_be_called() {
        for fine in [
            "anna",
            "0041791234567@trunk",
            "{digits}@trunk",
            "sip:ben@192.0.2.7:5070;transport=tcp",
            "local:1001",
            "local:{digits}",
        ] {
            assert_eq!(check_target(fine), Ok(()), "{fine}");
        }
        let longest = "a".repeat(ADDRESS_MAX);
        assert_eq!(check_target(&longest), Ok(()));
        for wrong in [
            "",
            "local:",
            "@trunk",
            "1@",
            "a b",
            "a\r\nVia: x",
            "{digit}",
            "sip:",
            &format!("{longest}a"),
        ] {
            assert!(check_target(wrong).is_err(), "{wrong}");
        }
    }
}
