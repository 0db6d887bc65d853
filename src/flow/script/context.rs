//! What is known of a file while it is read: its applets, what leads where, and its mistakes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::ScriptError;
use super::{Applet, AppletIx};
use crate::flow::demo;
use crate::switch::prompts::Source;

/// Most mistakes of a file that are told.
pub const ERRORS_MAX: usize = 100;
/// Most characters of a value that a message quotes.
const QUOTED_MAX: usize = 60;
/// Most characters by which a name differs from one that a message takes it for.
const LIKE_MAX: usize = 2;
/// Most names that a message lists.
const LISTED_MAX: usize = 30;

/// What all tables of a file share.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    /// Where prompts are looked for, in this order.
    pub(super) directories: &'a [PathBuf],
    /// All applets of the flow.
    pub(super) names: BTreeMap<&'a str, AppletIx>,
    pub(super) errors: RefCell<Vec<ScriptError>>,
    pub(super) edges: RefCell<Vec<Edge>>,
    /// Applets that others are made of, behind those with a name.
    pub(super) added: RefCell<Vec<Applet>>,
    /// What became of prompts so far: decoding takes time.
    pub(super) sounds: RefCell<BTreeMap<String, Result<Source, String>>>,
    /// Mistakes beyond [`ERRORS_MAX`].
    pub(super) untold: Cell<usize>,
}

/// That one applet leads to another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: AppletIx,
    pub(super) to: AppletIx,
    /// The field that says so.
    pub(super) field: String,
    /// Where it does, in the text.
    pub(super) offset: usize,
}

impl<'a> Context<'a> {
    /// Nothing is known yet.
    pub(super) fn new(file: &'a str, text: &'a str, directories: &'a [PathBuf]) -> Self {
        Self {
            file,
            text,
            directories,
            names: BTreeMap::new(),
            errors: Vec::new().into(),
            edges: Vec::new().into(),
            added: Vec::new().into(),
            sounds: BTreeMap::new().into(),
            untold: 0.into(),
        }
    }
}

impl Context<'_> {
    /// Line and character of an offset of the text, from 1.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let begins = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[begins..].chars().count() + 1)
    }

    /// A mistake at an offset of the text.
    pub(super) fn error(&self, offset: usize, at: &str, why: impl fmt::Display) -> ScriptError {
        let (line, column) = self.place(offset);
        ScriptError {
            file: self.file.to_owned(),
            line,
            column,
            at: at.to_owned(),
            why: why.to_string(),
        }
    }

    /// Notes a mistake.
    pub(super) fn fail(&self, offset: usize, at: &str, why: impl fmt::Display) {
        if self.errors.borrow().len() >= ERRORS_MAX {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        let error = self.error(offset, at, why);
        self.errors.borrow_mut().push(error);
    }

    /// Adds an applet that no name leads to.
    pub(super) fn add(&self, applet: Applet) -> AppletIx {
        let mut added = self.added.borrow_mut();
        added.push(applet);
        self.names.len() + added.len() - 1
    }

    /// A sound that can be played, or why it cannot.
    pub(super) fn sound(&self, name: &str) -> Result<Source, String> {
        if let Some(known) = self.sounds.borrow().get(name) {
            return known.clone();
        }
        let found = self.find_sound(name);
        let mut sounds = self.sounds.borrow_mut();
        sounds.insert(name.to_owned(), found.clone());
        found
    }

    fn find_sound(&self, name: &str) -> Result<Source, String> {
        if let Some(name) = name.strip_prefix(demo::PREFIX) {
            return demo::sound(name).ok_or_else(|| {
                let like = or_which(name, demo::sound_names());
                format!("there is no built-in sound {}{like}", quoted(name))
            });
        }
        if name.is_empty() || name.contains('\0') {
            return Err(format!("{} is no sound", quoted(name)));
        }
        let source = match name.contains("://") {
            true => Source::Url(name.to_owned()),
            false => {
                // The first that is there; else messages speak of the flow's own directory.
                let is_there = |root: &&PathBuf| root.join(name).exists();
                let found = self.directories.iter().find(is_there);
                let root = found.or_else(|| self.directories.first());
                Source::File(match root.filter(|root| root.is_absolute()) {
                    Some(root) => root.join(name),
                    // Whoever plays it has its own directories, and may be elsewhere.
                    None => PathBuf::from(name),
                })
            }
        };
        let checked = source.check(self.directories);
        checked.map_err(|error| error.to_string())?;
        Ok(source)
    }
}

/// What a message says after a name that is unknown: the one that is most like it, or all.
pub(super) fn or_which<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let distance = |other: &&str| strsim::damerau_levenshtein(name, other);
    let near = known.clone().min_by_key(distance);
    match near.filter(|near| distance(near) <= LIKE_MAX.min(near.len() / 2)) {
        Some(near) => format!(", did you mean '{near}'?"),
        None => {
            let all: Vec<&str> = known.take(LISTED_MAX + 1).collect();
            match all.len() {
                0 => String::new(),
                1..=LISTED_MAX => format!(", there are {}", all.join(", ")),
                _ => format!(", there are {} and others", all[..LISTED_MAX].join(", ")),
            }
        }
    }
}

/// A value as a message shows it.
pub(super) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(QUOTED_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("'{}'", shown.escape_debug())
}
