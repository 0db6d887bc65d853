//! Names of recordings: a pattern such as `{date}/{call}/{leg}` becomes a path in the directory of
//! recordings, whatever strangers wrote into what it is made of.
//!
//! A path has components of ASCII letters, digits and `-_.@+=~,`, none of which begins with a dot,
//! divided by `/`. So it can neither leave the directory nor meet a file of the recorder's own,
//! whose names begin with a dot.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest pattern in octets.
pub const PATTERN_MAX: usize = 512;

/// Longest text that stands for one placeholder in octets; what is longer is cut.
pub const VALUE_MAX: usize = 96;

/// Longest component of a path in octets, so that a file system takes it with what is put before
/// and behind it.
pub const COMPONENT_MAX: usize = 200;

/// Longest path in octets.
pub const PATH_MAX: usize = 1_024;

/// Most components of a path.
pub const COMPONENTS_MAX: usize = 16;

/// The pattern where none is set.
pub const DEFAULT_PATTERN: &str = "{date}/{call}-{time}";

/// Endings that stand for a format; the recording's own takes their place.
const EXTENSIONS: [&str; 3] = [".wav", ".opus", ".ogg"];

/// What stands for a value that is not known, or empty.
const NOTHING: &str = "_";

/// As far as four digits tell years.
pub(in crate::record) const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

/// Why a pattern or a path cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Longer than [`PATTERN_MAX`] or [`PATH_MAX`].
    #[error("{0} octets in a path of recordings: at most {1} are possible")]
    TooLong(usize, usize),
    /// A component is longer than [`COMPONENT_MAX`].
    #[error("'{0}…' in a path of recordings: at most {COMPONENT_MAX} octets between two /")]
    Component(String),
    /// More than [`COMPONENTS_MAX`] components.
    #[error("more than {COMPONENTS_MAX} directories in a path of recordings")]
    TooDeep,
    /// Between braces stands nothing we know.
    #[error(
        "unknown placeholder {{{0}}}: there are date, time, account, call, leg, tag, label, random"
    )]
    Unknown(String),
    /// A brace without its partner.
    #[error("a brace without its partner in '{0}'")]
    Brace(String),
    /// It begins or ends with `/`, or has nothing between two of them.
    #[error("'{0}' has an empty name between two /, or begins or ends with one")]
    Empty(String),
    /// A component begins with a dot: `..`, or a hidden file.
    #[error("'{0}' has a name that begins with a dot")]
    Dot(String),
    /// A character that paths of recordings do not have.
    #[error("{0:?} in a path of recordings: letters, digits and -_.@+=~, are possible")]
    Character(char),
}

/// What placeholders stand for. What a stranger says may be in any of the texts.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// When the recording begins: `{date}` as 2026-11-23 and `{time}` as 140507, both UTC.
    pub at: SystemTime,
    /// `{account}`
    pub account: Option<&'a str>,
    /// `{call}`: id of the call.
    pub call: &'a str,
    /// `{leg}`: label of the one leg, else its tag; of several legs `mix`.
    pub leg: &'a str,
    /// `{tag}` of the first leg.
    pub tag: &'a str,
    /// `{label}` of the first leg.
    pub label: Option<&'a str>,
    /// `{random}`: 16 hexadecimal digits.
    pub random: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Date,
    Time,
    Account,
    Call,
    Leg,
    Tag,
    Label,
    Random,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Value(Placeholder),
}

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::parse(DEFAULT_PATTERN).expect("a test reads it")
    }
}

impl Pattern {
    /// Reads a pattern. An ending `.wav`, `.opus` or `.ogg` may be left out.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATTERN_MAX {
            return Err(PathError::TooLong(text.len(), PATTERN_MAX));
        }
        let mut parts = Vec::new();
        let mut rest = without_extension(text);
        while !rest.is_empty() {
            let brace = rest.find(['{', '}']).unwrap_or(rest.len());
            let (literal, behind) = rest.split_at(brace);
            if !literal.is_empty() {
                parts.push(Part::Text(literal.into()));
            }
            rest = behind;
            if let Some(named) = rest.strip_prefix('{') {
                let end = named.find(['{', '}']);
                let end = end.filter(|end| named[*end..].starts_with('}'));
                let end = end.ok_or_else(|| PathError::Brace(shown(text)))?;
                parts.push(Part::Value(placeholder(&named[..end])?));
                rest = &named[end + 1..];
            } else if !rest.is_empty() {
                return Err(PathError::Brace(shown(text)));
            }
        }
        let pattern = Self { parts };
        // With any values it is as safe as with these.
        match check(&pattern.filled(|_| NOTHING.to_owned())) {
            Ok(()) => Ok(pattern),
            Err(PathError::Dot(_)) => Err(PathError::Dot(shown(text))),
            Err(PathError::Empty(_)) => Err(PathError::Empty(shown(text))),
            Err(other) => Err(other),
        }
    }

    /// The path for these values, with this ending (without a dot).
    ///
    /// # Errors
    /// [`PathError::Component`] or [`PathError::TooLong`] where the values make it too long.
    pub fn expand(&self, names: &Names<'_>, extension: &str) -> Result<String, PathError> {
        let mut path = self.filled(|placeholder| match placeholder {
            Placeholder::Date => date_and_time(names.at).0,
            Placeholder::Time => date_and_time(names.at).1,
            Placeholder::Account => safe(names.account.unwrap_or_default()),
            Placeholder::Call => safe(names.call),
            Placeholder::Leg => safe(names.leg),
            Placeholder::Tag => safe(names.tag),
            Placeholder::Label => safe(names.label.unwrap_or_default()),
            Placeholder::Random => format!("{:016x}", names.random),
        });
        path.push('.');
        path.push_str(&safe(extension));
        check(&path)?;
        Ok(path)
    }

    fn filled(&self, value: impl Fn(Placeholder) -> String) -> String {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Value(placeholder) => path.push_str(&value(*placeholder)),
            }
        }
        path
    }
}

/// Whether this is a path that recordings may have.
///
/// # Errors
/// [`PathError`] says why not.
pub fn check(path: &str) -> Result<(), PathError> {
    if path.len() > PATH_MAX {
        return Err(PathError::TooLong(path.len(), PATH_MAX));
    }
    if path.split('/').count() > COMPONENTS_MAX {
        return Err(PathError::TooDeep);
    }
    for component in path.split('/') {
        if component.is_empty() {
            return Err(PathError::Empty(shown(path)));
        }
        if component.starts_with('.') {
            return Err(PathError::Dot(shown(path)));
        }
        if let Some(other) = component.chars().find(|c| !is_plain(*c)) {
            return Err(PathError::Character(other));
        }
        if component.len() > COMPONENT_MAX {
            return Err(PathError::Component(shown(component)));
        }
    }
    Ok(())
}

/// The `count`th path of a name that is taken: `a/b.wav`, `a/b-2.wav`, `a/b-3.wav` …
///
/// # Errors
/// [`PathError`] where there is no room for the number.
pub fn numbered(path: &str, count: u32) -> Result<String, PathError> {
    if count < 2 {
        return Ok(path.to_owned());
    }
    let base = without_extension(path);
    let numbered = format!("{base}-{count}{}", &path[base.len()..]);
    check(&numbered)?;
    Ok(numbered)
}

/// A path with this ending, in the place of another format's.
#[must_use]
pub fn with_extension(path: &str, extension: &str) -> String {
    format!("{}.{extension}", without_extension(path))
}

/// A text as a part of a path: of at most [`VALUE_MAX`] octets, never empty.
fn safe(value: &str) -> String {
    let plain = |c: char| if is_plain(c) { c } else { '_' };
    let mut out: String = value.chars().map(plain).take(VALUE_MAX).collect();
    let dots = out.len() - out.trim_start_matches('.').len();
    out.replace_range(..dots, &NOTHING.repeat(dots));
    if out.is_empty() {
        out.push_str(NOTHING);
    }
    out
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.@+=~,".contains(c)
}

fn placeholder(name: &str) -> Result<Placeholder, PathError> {
    Ok(match name {
        "date" => Placeholder::Date,
        "time" => Placeholder::Time,
        "account" => Placeholder::Account,
        "call" => Placeholder::Call,
        "leg" => Placeholder::Leg,
        "tag" => Placeholder::Tag,
        "label" => Placeholder::Label,
        "random" => Placeholder::Random,
        other => return Err(PathError::Unknown(shown(other))),
    })
}

fn without_extension(path: &str) -> &str {
    let ends = |extension: &&str| {
        let at = path.len().checked_sub(extension.len())?;
        let end = path.get(at..)?;
        end.eq_ignore_ascii_case(extension).then_some(&path[..at])
    };
    EXTENSIONS.iter().find_map(ends).unwrap_or(path)
}

/// A stranger's text in an error: as long as one reads, on one line.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(LONGEST).map(plain).collect()
}

/// `2026-11-23` and `140507`, UTC. A time before 1970 is taken as 1970.
fn date_and_time(at: SystemTime) -> (String, String) {
    let at = at.clamp(UNIX_EPOCH, UNIX_EPOCH + YEAR_9999);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let digits = time.chars().filter(char::is_ascii_digit);
    (date.to_owned(), digits.collect())
}

#[cfg(test)]
mod tests;
