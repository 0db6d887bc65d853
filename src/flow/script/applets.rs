//! The applets, each from its table.

mod calling;
mod hours;

use std::collections::BTreeMap;

use super::context::{or_which, quoted};
use super::fields::{Fields, SECONDS_MAX, one_key};
use super::read::{NUMBER_LEN_MAX, is_number};
use super::{GatherStep, Http, Menu, Next, Step, Voicemail};
use crate::audio::tone::TonePlan;
use crate::engine::{GATHER_ATTEMPTS_MAX, GATHER_DIGITS_MAX, GATHER_WAIT_MAX};
use crate::sip::Cause;

pub use calling::{PRIORITY_MAX, QUEUE_AGENTS_MAX, QUEUE_SIZE_MAX, TARGETS_MAX};
pub use hours::{HOLIDAYS_MAX, SPANS_MAX};

/// Most seconds that a `greeting` rings before it answers.
pub const RING_SECONDS_MAX: u64 = 120;
/// Most times that `play` plays.
pub const TIMES_MAX: u32 = 1_000;
/// Most rings of a `missed-call`.
pub const RINGS_MAX: u32 = 20;
/// Most answers of an application that `http` tells apart.
pub const BRANCHES_MAX: usize = 256;
/// Longest that an application may take, in seconds.
const HTTP_SECONDS_MAX: u64 = 60;
/// Longest recording of a voicemail, in seconds.
const VOICEMAIL_SECONDS_MAX: u64 = 3_600;
/// Longest wait for a key, in seconds.
const KEY_SECONDS_MAX: u64 = GATHER_WAIT_MAX.as_secs();
/// Most attempts after the first.
#[allow(clippy::cast_possible_truncation, reason = "7")]
const RETRIES_MAX: u8 = GATHER_ATTEMPTS_MAX as u8 - 1;
#[allow(clippy::cast_possible_truncation, reason = "64")]
const DIGITS_MAX: u8 = GATHER_DIGITS_MAX as u8;
/// Keys of a telephone, and four more.
const KEYS: usize = 16;

/// What `applet` may be.
const NAMES: [&str; 19] = [
    "connect",
    "echo",
    "forward",
    "gather",
    "greeting",
    "hangup",
    "hours",
    "http",
    "mask",
    "menu",
    "missed-call",
    "play",
    "playback",
    "queue",
    "record",
    "sticky",
    "tone",
    "voicemail",
    RESERVED,
];
/// What will be an applet, and is none yet.
const RESERVED: &str = "stream";

/// What an applet does; nothing if that is not known.
pub(super) fn step(fields: &Fields<'_, '_>) -> Option<Step> {
    let (name, value) = fields.required("applet")?;
    let step = match name {
        "greeting" => greeting(fields),
        "menu" => Step::Menu(menu(fields)),
        "gather" => Step::Gather(gather(fields)),
        "connect" => Step::Connect(Box::new(calling::connect(fields))),
        "forward" => Step::Connect(Box::new(calling::forward(fields))),
        "queue" => Step::Queue(Box::new(calling::queue(fields))),
        "sticky" => Step::Sticky(Box::new(calling::sticky(fields))),
        "voicemail" => Step::Voicemail(voicemail(fields)),
        "hours" => Step::Hours(hours::hours(fields)),
        "record" => Step::Record {
            on: fields.flag("on", true),
            next: fields.next("next"),
        },
        "play" => play(fields),
        "tone" => tone(fields),
        "http" => Step::Http(Box::new(http(fields))),
        "echo" => Step::Echo {
            limit: fields.seconds("seconds", 1..=SECONDS_MAX, 60),
            next: fields.next("next"),
        },
        "playback" => Step::Playback {
            recording: fields
                .required("recording")
                .map_or_else(String::new, |(name, _)| name.to_owned()),
            next: fields.next("next"),
        },
        "missed-call" => Step::MissedCall {
            rings: fields.number("rings", 1..=RINGS_MAX).unwrap_or(2),
        },
        "mask" => Step::Mask {
            number: number(fields, "number", true).unwrap_or_default(),
            next: fields.next("next"),
        },
        "hangup" => hangup(fields),
        RESERVED => {
            let why = "'stream' is reserved, and not there yet";
            fields.fail("applet", value, why);
            return None;
        }
        _ => {
            let like = or_which(name, NAMES.into_iter().filter(|name| *name != RESERVED));
            let why = format!("there is no applet {}{like}", quoted(name));
            fields.fail("applet", value, why);
            return None;
        }
    };
    fields.finish();
    Some(step)
}

fn greeting(fields: &Fields<'_, '_>) -> Step {
    Step::Greeting {
        prompt: fields.prompt_required("prompt"),
        ring: fields.seconds("ring-seconds", 0..=RING_SECONDS_MAX, 0),
        next: fields.next("next"),
    }
}

fn menu(fields: &Fields<'_, '_>) -> Menu {
    Menu {
        prompt: fields.prompt_required("prompt"),
        retry: fields.prompt("retry-prompt"),
        keys: keys(fields),
        timeout: fields.seconds("timeout", 1..=KEY_SECONDS_MAX, 5),
        retries: fields.number("retries", 0..=RETRIES_MAX).unwrap_or(2),
        on_timeout: fields.next("on-timeout"),
        on_invalid: fields.next("on-invalid"),
    }
}

fn keys(fields: &Fields<'_, '_>) -> BTreeMap<char, Next> {
    let mut keys = BTreeMap::new();
    let Some(table) = fields.table("keys") else {
        fields.missing("keys");
        return keys;
    };
    for (name, value) in table.all(KEYS) {
        let Some(key) = one_key(name) else {
            table.fail(name, value, format_args!("{} is no key", quoted(name)));
            continue;
        };
        let next = table.next_of(name, value);
        if keys.insert(key.as_char(), next).is_some() {
            table.fail(
                name,
                value,
                format_args!("the key {} is there twice", quoted(name)),
            );
        }
    }
    if keys.is_empty() {
        table.fail_whole("there is no key");
    }
    keys
}

fn gather(fields: &Fields<'_, '_>) -> GatherStep {
    let digits_max = fields.number("digits", 1..=DIGITS_MAX);
    if digits_max.is_none() {
        fields.missing("digits");
    }
    let digits_max = digits_max.unwrap_or(DIGITS_MAX);
    GatherStep {
        prompt: fields.prompt_required("prompt"),
        retry: fields.prompt("retry-prompt"),
        digits_max,
        digits_min: fields.number("digits-min", 1..=digits_max).unwrap_or(1),
        finish: fields.key("finish-key", Some('#')),
        timeout: fields.seconds("timeout", 1..=KEY_SECONDS_MAX, 5),
        key_timeout: fields.seconds("key-timeout", 1..=KEY_SECONDS_MAX, 3),
        retries: fields.number("retries", 0..=RETRIES_MAX).unwrap_or(2),
        type_ahead: fields.flag("type-ahead", true),
        next: fields.next("next"),
        on_timeout: fields.next("on-timeout"),
        on_invalid: fields.next("on-invalid"),
    }
}

fn voicemail(fields: &Fields<'_, '_>) -> Voicemail {
    Voicemail {
        prompt: fields.prompt_required("prompt"),
        beep: fields.flag("beep", true),
        max: fields.seconds("max-seconds", 1..=VOICEMAIL_SECONDS_MAX, 120),
        silence: fields.seconds("silence", 1..=VOICEMAIL_SECONDS_MAX, 5),
        finish: fields.key("finish-key", Some('#')),
        next: fields.next("next"),
    }
}

fn play(fields: &Fields<'_, '_>) -> Step {
    Step::Play {
        prompt: fields.prompt_required("prompt"),
        times: fields.number("times", 1..=TIMES_MAX).unwrap_or(1),
        limit: fields.seconds_if("seconds", 1..=SECONDS_MAX),
        next: fields.next("next"),
    }
}

fn tone(fields: &Fields<'_, '_>) -> Step {
    let tone = fields.required("tone").map(|(tone, value)| {
        if let Err(error) = TonePlan::parse(tone) {
            let why = format!("{} is no tone: {error}", quoted(tone));
            fields.fail("tone", value, why);
        }
        tone.to_owned()
    });
    let limit = fields.seconds_if("seconds", 1..=SECONDS_MAX);
    if limit.is_none() {
        fields.missing("seconds");
    }
    Step::Tone {
        tone: tone.unwrap_or_default(),
        limit: limit.unwrap_or_default(),
        next: fields.next("next"),
    }
}

fn http(fields: &Fields<'_, '_>) -> Http {
    // What it stands for is never used: a mistake was noted.
    let nowhere = || url::Url::parse("http://localhost").expect("it is a URL");
    let field = fields.string("field");
    Http {
        url: fields.url("url").unwrap_or_else(nowhere),
        post: fields
            .word("method", &[("POST", true), ("GET", false)])
            .unwrap_or(true),
        timeout: fields.seconds("timeout", 1..=HTTP_SECONDS_MAX, 5),
        filler: fields.prompt("filler"),
        field: field.map_or("next", |(field, _)| field).to_owned(),
        branch: branches(fields),
        next: fields.next("next"),
        on_timeout: fields.next("on-timeout"),
        on_error: fields.next("on-error"),
    }
}

fn branches(fields: &Fields<'_, '_>) -> BTreeMap<String, Next> {
    let Some(table) = fields.table("branch") else {
        return BTreeMap::new();
    };
    let all = table.all(BRANCHES_MAX).into_iter();
    all.map(|(answer, value)| (answer.to_owned(), table.next_of(answer, value)))
        .collect()
}

fn hangup(fields: &Fields<'_, '_>) -> Step {
    let cause = fields.number("cause", 200..=699);
    if let Some((code @ 201..=399, value)) = cause.zip(fields.take("cause")) {
        fields.fail(
            "cause",
            value,
            format_args!("{code} ends no call: 200 or 400 to 699 do"),
        );
    }
    Step::Hangup {
        cause: cause.map(Cause),
    }
}

/// A number that others are to see.
fn number(fields: &Fields<'_, '_>, key: &'static str, must: bool) -> Option<String> {
    let (text, value) = match must {
        true => fields.required(key)?,
        false => fields.string(key)?,
    };
    if !is_number(text) {
        let why = format!(
            "{} is no number: 1 to {NUMBER_LEN_MAX} characters, no blanks",
            quoted(text)
        );
        fields.fail(key, value, why);
    }
    Some(text.to_owned())
}
