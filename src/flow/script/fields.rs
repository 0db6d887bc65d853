//! Takes a table of TOML apart, field by field. Every mistake is noted with its line, and reading
//! goes on, so that all of a file are told at once.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::context::{Context, Edge, or_which, quoted};
use super::{AppletIx, Next, Prompt};
use crate::engine::SEQUENCE_MAX;
use crate::wire::event::Digit;

/// Longest time that may be set anywhere, in seconds: a day.
pub const SECONDS_MAX: u64 = 86_400;
/// Longest text that may be set anywhere, in octets.
pub const TEXT_LEN_MAX: usize = 2_048;
/// Most sounds of one prompt.
pub const PROMPT_SOUNDS_MAX: usize = SEQUENCE_MAX;
/// What ends a call where the name of an applet is expected.
pub(super) const HANG_UP: &str = "hangup";

/// A value with its place in the text.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// A table, of which fields are taken; what was not asked for at the end is unknown.
#[derive(Debug)]
pub(super) struct Fields<'a, 'i> {
    pub(super) context: &'a Context<'a>,
    /// Its name, as `applet.menu`; empty: the whole file.
    pub(super) at: String,
    /// Where it begins in the text.
    pub(super) offset: usize,
    /// The applet it belongs to.
    pub(super) applet: AppletIx,
    table: &'a DeTable<'i>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(super) fn new(
        context: &'a Context<'a>,
        at: String,
        offset: usize,
        applet: AppletIx,
        table: &'a DeTable<'i>,
    ) -> Self {
        Self {
            context,
            at,
            offset,
            applet,
            table,
            asked: RefCell::default(),
        }
    }

    /// The full name of a field.
    pub(super) fn path(&self, key: &str) -> String {
        match self.at.as_str() {
            "" => key.to_owned(),
            at => format!("{at}.{key}"),
        }
    }

    /// Notes that a value makes no sense.
    pub(super) fn fail(&self, key: &str, value: &Value<'_>, why: impl fmt::Display) {
        let path = self.path(key);
        self.context.fail(value.span().start, &path, why);
    }

    /// Notes that the table as a whole makes no sense.
    pub(super) fn fail_whole(&self, why: impl fmt::Display) {
        self.context.fail(self.offset, &self.at, why);
    }

    /// A field, if it is there.
    pub(super) fn take(&self, key: &'static str) -> Option<&'a Value<'i>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table.get(key)
    }

    /// Notes that a field must be there.
    pub(super) fn missing(&self, key: &str) {
        self.fail_whole(format_args!("{key} is missing"));
    }

    /// Everything that was not asked for is a mistake.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if !asked.contains(&name) {
                let like = or_which(name, asked.iter().copied());
                let why = format!("unknown field {}{like}", quoted(name));
                self.context.fail(key.span().start, &self.at, why);
            }
        }
    }

    fn wrong(&self, key: &str, value: &Value<'_>, wanted: &str) {
        let is = value.get_ref().type_str();
        self.fail(key, value, format_args!("expected {wanted}, found {is}"));
    }

    /// A string, with where it stands.
    pub(super) fn string(&self, key: &'static str) -> Option<(&'a str, &'a Value<'i>)> {
        let value = self.take(key)?;
        Some((self.text_of(key, value)?, value))
    }

    /// A string of at most [`TEXT_LEN_MAX`].
    fn text_of(&self, key: &str, value: &'a Value<'i>) -> Option<&'a str> {
        match value.get_ref() {
            DeValue::String(text) if text.len() <= TEXT_LEN_MAX => Some(text),
            DeValue::String(_) => {
                let why = format!("longer than {TEXT_LEN_MAX} bytes");
                self.fail(key, value, why);
                None
            }
            _ => {
                self.wrong(key, value, "a string");
                None
            }
        }
    }

    /// A string that must be there.
    pub(super) fn required(&self, key: &'static str) -> Option<(&'a str, &'a Value<'i>)> {
        if !self.table.contains_key(key) {
            self.missing(key);
        }
        self.string(key)
    }

    /// One string, or a list of 1 to `most` of them; nothing if it is not there.
    pub(super) fn strings(
        &self,
        key: &'static str,
        most: usize,
    ) -> Option<Vec<(&'a str, &'a Value<'i>)>> {
        let value = self.take(key)?;
        Some(self.strings_of(key, value, most))
    }

    /// The same, of a value.
    pub(super) fn strings_of(
        &self,
        key: &str,
        value: &'a Value<'i>,
        most: usize,
    ) -> Vec<(&'a str, &'a Value<'i>)> {
        let list: Vec<&'a Value<'i>> = match value.get_ref() {
            DeValue::String(_) => vec![value],
            DeValue::Array(list) => list.iter().collect(),
            _ => {
                self.wrong(key, value, "a string or a list of strings");
                return Vec::new();
            }
        };
        if list.is_empty() || list.len() > most {
            let why = format!("has {} entries, 1 to {most} are possible", list.len());
            self.fail(key, value, why);
            return Vec::new();
        }
        let each = |value: &'a Value<'i>| Some((self.text_of(key, value)?, value));
        list.into_iter().filter_map(each).collect()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        match self.take(key).map(|value| (value, value.get_ref())) {
            None => default,
            Some((_, DeValue::Boolean(flag))) => *flag,
            Some((value, _)) => {
                self.wrong(key, value, "true or false");
                default
            }
        }
    }

    /// A whole number; the lowest that is possible where it is wrong.
    pub(super) fn number<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + TryFrom<i64> + fmt::Display,
    {
        let value = self.take(key)?;
        let lowest = *range.start();
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong(key, value, "a whole number");
            return Some(lowest);
        };
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
        let parsed = parsed.and_then(|number| T::try_from(number).ok());
        match parsed.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let (from, to) = (range.start(), range.end());
                let why = format!(
                    "{} is not {from} to {to}",
                    number.as_str().get(..20).unwrap_or(number.as_str())
                );
                self.fail(key, value, why);
                Some(lowest)
            }
        }
    }

    /// A time in seconds, whole or not.
    pub(super) fn seconds(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Duration {
        self.seconds_if(key, range)
            .unwrap_or_else(|| Duration::from_secs(default))
    }

    /// The same, if it is there.
    pub(super) fn seconds_if(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Duration> {
        let value = self.take(key)?;
        let (from, to) = (
            Duration::from_secs(*range.start()),
            Duration::from_secs(*range.end()),
        );
        let seconds = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            _ => {
                self.wrong(key, value, "a number of seconds");
                return Some(from);
            }
        };
        let seconds = seconds.filter(|seconds| (from..=to).contains(seconds));
        if seconds.is_none() {
            let (from, to) = (from.as_secs(), to.as_secs());
            self.fail(key, value, format_args!("not {from} to {to} seconds"));
        }
        seconds.or(Some(from))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let (text, value) = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let why = format!("{} is none of {}", quoted(text), words.join(", "));
            self.fail(key, value, why);
        }
        found.map(|(_, it)| *it)
    }

    /// An `http` or `https` URL that must be there.
    pub(super) fn url(&self, key: &'static str) -> Option<url::Url> {
        let (text, value) = self.required(key)?;
        let url = url::Url::parse(text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        if url.is_none() {
            let why = format!("{} is no http or https URL", quoted(text));
            self.fail(key, value, why);
        }
        url
    }

    /// A key of a telephone; `""` is none.
    pub(super) fn key(&self, key: &'static str, default: Option<char>) -> Option<Digit> {
        let Some((text, value)) = self.string(key) else {
            return default.and_then(Digit::from_char);
        };
        let digit = one_key(text);
        if digit.is_none() && !text.is_empty() {
            self.fail(key, value, format_args!("{} is no key", quoted(text)));
        }
        digit
    }

    /// Where it goes on.
    pub(super) fn next(&self, key: &'static str) -> Next {
        let value = self.take(key)?;
        self.next_of(key, value)
    }

    /// The same, of a value under `field`.
    pub(super) fn next_of(&self, field: &str, value: &Value<'_>) -> Next {
        let DeValue::String(name) = value.get_ref() else {
            self.wrong(field, value, "the name of an applet");
            return None;
        };
        let to = self.context.names.get(&**name).copied();
        match to {
            Some(to) => self.context.edges.borrow_mut().push(Edge {
                from: self.applet,
                to,
                field: field.to_owned(),
                offset: value.span().start,
            }),
            None if name == HANG_UP => {}
            None => {
                let like = or_which(name, self.context.names.keys().copied());
                let why = format!("there is no applet {}{like}", quoted(name));
                self.fail(field, value, why);
            }
        }
        to
    }

    /// What is played: 1 to [`PROMPT_SOUNDS_MAX`] sounds.
    pub(super) fn prompt(&self, key: &'static str) -> Option<Prompt> {
        let sounds = self.strings(key, PROMPT_SOUNDS_MAX)?;
        let each = |(name, value): (&str, &Value<'_>)| {
            let found = self.context.sound(name);
            let note = |why: String| self.fail(key, value, why);
            found.map_err(note).ok()
        };
        Some(sounds.into_iter().filter_map(each).collect())
    }

    /// The same, where there must be one.
    pub(super) fn prompt_required(&self, key: &'static str) -> Prompt {
        if !self.table.contains_key(key) {
            self.missing(key);
        }
        self.prompt(key).unwrap_or_default()
    }

    /// A table within this one.
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let span = value.span();
                let first = table.keys().map(|key| key.span().start).min();
                // A table that dots made stands nowhere itself.
                let offset = if span.is_empty() {
                    first.unwrap_or(self.offset)
                } else {
                    span.start
                };
                Some(Self::new(
                    self.context,
                    self.path(key),
                    offset,
                    self.applet,
                    table,
                ))
            }
            _ => {
                self.wrong(key, value, "a table");
                None
            }
        }
    }

    /// All fields, whatever they are called, in the order of the file. At most `most`.
    pub(super) fn all(&self, most: usize) -> Vec<(&'a str, &'a Value<'i>)> {
        if self.table.len() > most {
            let why = format!(
                "has {} entries, at most {most} are possible",
                self.table.len()
            );
            self.fail_whole(why);
            return Vec::new();
        }
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_by_key(|(key, _)| key.span().start);
        let name = |(key, value): (&'a Spanned<DeString<'i>>, _)| {
            let name: &'a str = key.get_ref();
            (name, value)
        };
        all.into_iter().map(name).collect()
    }
}

/// The key that a text is the name of.
pub(super) fn one_key(text: &str) -> Option<Digit> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(key), None) => Digit::from_char(key),
        _ => None,
    }
}
