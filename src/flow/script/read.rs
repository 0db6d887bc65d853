//! From the text of a file to a flow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::context::{Context, or_which, quoted};
use super::error::ScriptError;
use super::fields::{Fields, HANG_UP, Value};
use super::{
    APPLETS_MAX, Applet, CallbackEvents, Flow, StatusCallback, Step, Transfers, applets, graph,
};

/// Longest file of a flow, in octets.
pub const SCRIPT_BYTES_MAX: usize = 256 << 10;
/// Longest name of a flow, an applet or a queue, in octets.
pub const NAME_LEN_MAX: usize = 64;
/// Most numbers of a flow.
pub const NUMBERS_MAX: usize = 1_000;
/// Longest number, in octets.
pub const NUMBER_LEN_MAX: usize = 64;
/// What leads to a flow if a number that was called leads to none.
pub const ANY_NUMBER: &str = "*";

/// A flow, and what else its file says.
#[derive(Debug)]
pub struct Parsed {
    /// The flow.
    pub flow: Flow,
    /// What is odd about it, but no mistake: applets that no call can come to.
    pub warnings: Vec<ScriptError>,
    /// Line and character of each of [`Flow::numbers`].
    pub number_places: Vec<(usize, usize)>,
}

/// Reads the flow `name` from the text of a file, of which messages speak as `file`. Prompts are
/// files below one of `directories`: a relative path is looked for in each of them in turn, the
/// first of which is the flow's own.
///
/// Reads and decodes the files of prompts, so it blocks.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file; at most
/// [`ERRORS_MAX`](super::ERRORS_MAX), and how many more there are.
pub fn parse(
    name: &str,
    file: &str,
    text: &str,
    directories: &[PathBuf],
) -> Result<Parsed, Vec<ScriptError>> {
    if !is_name(name) {
        let why = format!("{} is no name of a flow: {NAME_RULE}", quoted(name));
        return Err(vec![ScriptError::of_file(file, why)]);
    }
    if text.len() > SCRIPT_BYTES_MAX {
        let why = format!("larger than {SCRIPT_BYTES_MAX} bytes");
        return Err(vec![ScriptError::of_file(file, why)]);
    }
    let mut context = Context::new(file, text, directories);
    let (document, mistakes) = DeTable::parse_recoverable(text);
    for mistake in &mistakes {
        let offset = mistake.span().map_or(text.len(), |span| span.start);
        context.fail(offset, "", mistake.message());
    }
    if !mistakes.is_empty() {
        return Err(told(&context));
    }
    let document = document.into_inner();
    context.names = names(&document);
    match flow(name, &context, &document) {
        Some(parsed) if context.errors.borrow().is_empty() => Ok(parsed),
        _ => Err(told(&context)),
    }
}

/// The numbers of a flow with the line and character of each, as far as they can be read, whatever
/// is wrong with the rest of the text.
pub(in crate::flow) fn numbers_of(text: &str) -> Vec<(String, (usize, usize))> {
    if text.len() > SCRIPT_BYTES_MAX {
        return Vec::new();
    }
    let context = Context::new("", text, &[]);
    let (document, _mistakes) = DeTable::parse_recoverable(text);
    let document = document.into_inner();
    let (numbers, places) = numbers(&Fields::new(&context, String::new(), 0, 0, &document));
    numbers.into_iter().zip(places).collect()
}

/// Whether a flow, an applet or a queue may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(is_fine)
}

/// What [`is_name`] asks for.
pub(super) const NAME_RULE: &str = "1 to 64 letters, digits, '-' and '_'";

/// Whether this may be the number of a flow, or that of a caller.
pub(super) fn is_number(number: &str) -> bool {
    let is_fine = number.bytes().all(|c| c.is_ascii_graphic());
    is_fine && (1..=NUMBER_LEN_MAX).contains(&number.len())
}

/// All mistakes in the order of the file.
fn told(context: &Context<'_>) -> Vec<ScriptError> {
    let mut errors = context.errors.take();
    errors.sort_by_key(|error| (error.line, error.column));
    let untold = context.untold.get();
    if untold > 0 {
        let why = format!("{untold} more mistakes");
        errors.push(ScriptError::of_file(context.file, why));
    }
    errors
}

/// The applets of a document in the order of the file, by their names.
fn names<'a>(document: &'a DeTable<'_>) -> BTreeMap<&'a str, usize> {
    let Some(DeValue::Table(applets)) = document.get("applet").map(|value| value.get_ref()) else {
        return BTreeMap::new();
    };
    let mut keys: Vec<_> = applets.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    let names = keys.into_iter().map(|key| &**key.get_ref());
    names.enumerate().map(|(ix, name)| (name, ix)).collect()
}

fn flow(name: &str, context: &Context<'_>, document: &DeTable<'_>) -> Option<Parsed> {
    let root = Fields::new(context, String::new(), 0, 0, document);
    let (numbers, number_places) = numbers(&root);
    let start = start(&root);
    let callback = root
        .table("status-callback")
        .and_then(|table| callback(&table));
    let transfer = root.word("transfer", &TRANSFERS).unwrap_or_default();
    let (mut applets, offsets): (Vec<Applet>, Vec<usize>) = applets(&root).into_iter().unzip();
    root.finish();
    playbacks(context, &applets, &offsets);
    applets.append(&mut context.added.borrow_mut());
    graph::refuse_circles(context, &applets);
    if !context.errors.borrow().is_empty() {
        return None;
    }
    let start = start?;
    let warnings = graph::unreachable(context, &applets, &offsets, start);
    let flow = Flow {
        name: name.to_owned(),
        numbers,
        start,
        applets,
        callback,
        transfer,
    };
    Some(Parsed {
        flow,
        warnings,
        number_places,
    })
}

fn numbers(root: &Fields<'_, '_>) -> (Vec<String>, Vec<(usize, usize)>) {
    let given = root.strings("numbers", NUMBERS_MAX).unwrap_or_default();
    let mut numbers: Vec<String> = Vec::with_capacity(given.len());
    let mut places = Vec::with_capacity(given.len());
    for (number, value) in given {
        if !is_number(number) {
            root.fail(
                "numbers",
                value,
                format_args!("{} is no number", quoted(number)),
            );
        } else if numbers.iter().any(|other| other == number) {
            root.fail(
                "numbers",
                value,
                format_args!("{} is there twice", quoted(number)),
            );
        } else {
            numbers.push(number.to_owned());
            places.push(root.context.place(value.span().start));
        }
    }
    (numbers, places)
}

fn start(root: &Fields<'_, '_>) -> Option<usize> {
    let (name, value) = root.required("start")?;
    let names = &root.context.names;
    let start = names.get(name).copied();
    if start.is_none() {
        let like = or_which(name, names.keys().copied());
        let why = format!("there is no applet {}{like}", quoted(name));
        root.fail("start", value, why);
    }
    start
}

fn callback(fields: &Fields<'_, '_>) -> Option<StatusCallback> {
    let url = fields.url("url");
    let events = fields.strings("events", EVENTS.len());
    let format = fields.word("format", &[("form", false), ("json", true)]);
    fields.finish();
    let mut chosen = CallbackEvents {
        ringing: events.is_none(),
        answered: events.is_none(),
        terminal: events.is_none(),
    };
    for (event, value) in events.into_iter().flatten() {
        match event {
            "ringing" => chosen.ringing = true,
            "answered" => chosen.answered = true,
            "terminal" => chosen.terminal = true,
            _ => {
                let like = or_which(event, EVENTS.into_iter());
                let why = format!("{} is no event{like}", quoted(event));
                fields.fail("events", value, why);
            }
        }
    }
    Some(StatusCallback {
        url: url?,
        events: chosen,
        json: format.unwrap_or(false),
    })
}

/// Who may transfer calls.
const TRANSFERS: [(&str, Transfers); 3] = [
    ("users", Transfers::Users),
    ("all", Transfers::All),
    ("none", Transfers::Nobody),
];

/// What a status callback may be for.
const EVENTS: [&str; 3] = ["ringing", "answered", "terminal"];

/// All applets, each with where its table begins.
fn applets(root: &Fields<'_, '_>) -> Vec<(Applet, usize)> {
    let Some(tables) = root.table("applet") else {
        root.missing("[applet.NAME]");
        return Vec::new();
    };
    let all = tables.all(APPLETS_MAX);
    let each = |(ix, (name, value)): (usize, (&str, &Value<'_>))| {
        let (step, offset) = match value.get_ref() {
            DeValue::Table(table) => {
                let offset = table_offset(value.span(), table);
                let fields = Fields::new(root.context, tables.path(name), offset, ix, table);
                check_name(name, &fields);
                (applets::step(&fields), offset)
            }
            _ => {
                tables.fail(name, value, "is no table: [applet.NAME] begins one");
                (None, value.span().start)
            }
        };
        let applet = Applet {
            name: name.to_owned(),
            // After a mistake, so that what leads here is looked at nevertheless.
            step: step.unwrap_or(Step::Hangup { cause: None }),
        };
        (applet, offset)
    };
    all.into_iter().enumerate().map(each).collect()
}

fn check_name(name: &str, fields: &Fields<'_, '_>) {
    if !is_name(name) {
        let why = format!("{} is no name of an applet: {NAME_RULE}", quoted(name));
        fields.fail_whole(why);
    } else if name == HANG_UP {
        fields.fail_whole("this name is taken: it hangs up wherever an applet is named");
    }
}

/// Where a table begins; one that only dots made begins with its first field.
pub(super) fn table_offset(span: std::ops::Range<usize>, table: &DeTable<'_>) -> usize {
    let first = table.keys().map(|key| key.span().start).min();
    match first {
        Some(first) if span.is_empty() => first,
        _ => span.start,
    }
}

/// What is played back must be a voicemail's.
fn playbacks(context: &Context<'_>, applets: &[Applet], offsets: &[usize]) {
    for (applet, offset) in applets.iter().zip(offsets) {
        let Step::Playback { recording, .. } = &applet.step else {
            continue;
        };
        let of = context.names.get(recording.as_str());
        let of = of.and_then(|ix| applets.get(*ix)).map(|it| &it.step);
        if !matches!(of, Some(Step::Voicemail(_))) {
            let at = format!("applet.{}.recording", applet.name);
            let why = format!("there is no voicemail {}", quoted(recording));
            context.fail(*offset, &at, why);
        }
    }
}
