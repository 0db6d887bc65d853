//! A directory of flows, a TOML file each, which is read anew when it changes.
//!
//! At start everything must be right. Later a file that is wrong keeps the flow that it was before,
//! and a call that runs keeps the flow it began with. Two files never share a number.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::numbers::Numbers;
use super::run::Flows;
use super::script::{Flow, ScriptError, numbers_of, parse};
use files::Stamp;

pub use files::FILES_MAX;

/// How often [`FlowFolder::watch`] looks for changes.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a file that is wrong is read again although it did not change: a prompt that it lacked
/// may be there.
pub const RETRY_EVERY: Duration = Duration::from_secs(10);

/// A directory of flows. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct FlowFolder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// Where prompts are looked for.
    prompts: Vec<PathBuf>,
    numbers: RwLock<Arc<Numbers>>,
    read: Mutex<Read>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Read {
    files: BTreeMap<String, File>,
    /// Why the directory itself could not be read; empty: it could.
    unreadable: String,
    retried: Option<Instant>,
}

/// A file by its name.
#[derive(Clone, Debug)]
struct File {
    stamp: Stamp,
    /// What it was when it was right; none: it never was.
    good: Option<Arc<Good>>,
    /// What is wrong with it now.
    errors: Vec<ScriptError>,
    /// The numbers that it names although it is wrong.
    wrong_numbers: Vec<(String, Place)>,
    /// It was read at the latest look.
    is_fresh: bool,
}

#[derive(Debug)]
struct Good {
    flow: Arc<Flow>,
    warnings: Vec<ScriptError>,
    /// Of the flow.
    numbers: Vec<(String, Place)>,
}

/// Line and character.
type Place = (usize, usize);

/// Which file has a number, and where.
type Owners<'a> = BTreeMap<&'a str, (&'a str, Place)>;

impl FlowFolder {
    /// Reads all `*.toml` of a directory, but not of those in it; names that begin with a dot are
    /// left out. Prompts are looked for in the directory itself, then in `prompt_directories`.
    ///
    /// Reads and decodes the files of prompts, so it blocks.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn open(
        directory: &Path,
        prompt_directories: &[PathBuf],
    ) -> Result<Self, Vec<ScriptError>> {
        let unreadable = |error| vec![ScriptError::of_file(directory.display(), error)];
        let own = prompt_directory(directory).map_err(unreadable)?;
        let prompts: Vec<PathBuf> = [own].iter().chain(prompt_directories).cloned().collect();
        let mut read = Read::default();
        let files = read.look(directory, &prompts, true).map_err(unreadable)?;
        let files = files.unwrap_or_default();
        let errors = mistakes(&files);
        if !errors.is_empty() {
            return Err(errors);
        }
        read.files = files;
        let shared = Shared {
            directory: directory.to_owned(),
            prompts,
            numbers: RwLock::new(Arc::new(read.numbers())),
            read: Mutex::new(read),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The flows by their numbers, as they are now.
    #[must_use]
    pub fn numbers(&self) -> Arc<Numbers> {
        let numbers = self.shared.numbers.read();
        Arc::clone(&numbers.unwrap_or_else(PoisonError::into_inner))
    }

    /// What is odd about the flows as they are now, but no mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<ScriptError> {
        let read = self.shared.read();
        let good = read.files.values().filter_map(|file| file.good.as_ref());
        let mut odd: Vec<_> = good.flat_map(|good| good.warnings.clone()).collect();
        if self.numbers().is_empty() {
            let why = match read.files.is_empty() {
                true => "there is no flow (*.toml) in it: every call is refused with 404",
                false => "none of its flows has numbers: every call is refused with 404",
            };
            odd.push(ScriptError::of_file(self.shared.directory.display(), why));
        }
        odd
    }

    /// What is wrong with files that were changed since, and keep their former flows.
    #[must_use]
    pub fn errors(&self) -> Vec<ScriptError> {
        self.shared.read().errors().cloned().collect()
    }

    /// Looks for changes, and reads what has changed; whether anything has. What is wrong is said
    /// in the log, once.
    ///
    /// It blocks: a directory without changes costs a look at each file.
    pub fn reload(&self) -> bool {
        let shared = &self.shared;
        let mut read = shared.read();
        let retry = read.is_retry_due();
        match read.look(&shared.directory, &shared.prompts, retry) {
            Ok(changed) => {
                if !std::mem::take(&mut read.unreadable).is_empty() {
                    tracing::info!(directory = %shared.directory.display(), "flows again readable");
                }
                let Some(mut files) = changed else {
                    return false;
                };
                read.settle(&mut files);
                read.tell(&files);
                read.files = files;
                let numbers = Arc::new(read.numbers());
                let place = shared.numbers.write();
                *place.unwrap_or_else(PoisonError::into_inner) = numbers;
                true
            }
            Err(error) => {
                let error = error.to_string();
                if read.unreadable != error {
                    let directory = shared.directory.display();
                    tracing::warn!(%directory, %error, "flows not read, the former ones stay");
                    read.unreadable = error;
                }
                false
            }
        }
    }

    /// [`Self::reload`] every [`LOOK_EVERY`], for ever.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let folder = self.clone();
            let looked = tokio::task::spawn_blocking(move || folder.reload());
            if looked.await.is_err() {
                tracing::error!("a look at the flows failed inside the switch");
            }
        }
    }
}

impl Flows for FlowFolder {
    fn find(&self, number: &str) -> Option<Arc<Flow>> {
        self.numbers().find(number)
    }
}

/// Everything that is wrong with the flows of a directory, and everything that is odd, a line each;
/// and whether anything is wrong.
///
/// Blocks, as [`FlowFolder::open`] does.
#[must_use]
pub fn check(directory: &Path, prompt_directories: &[PathBuf]) -> (Vec<String>, bool) {
    match FlowFolder::open(directory, prompt_directories) {
        Ok(folder) => {
            let warnings = folder.warnings();
            let lines = warnings.iter().map(|odd| format!("{odd} (warning)"));
            (lines.collect(), false)
        }
        Err(errors) => (errors.iter().map(ToString::to_string).collect(), true),
    }
}

/// How flows of a directory name it in the paths of their prompts: absolute and without `..`, with
/// which nothing is played. Links stay, for they may be changed. It must be one of the
/// [`directories`](crate::switch::prompts::PromptsConfig::directories) of the switch's prompts.
///
/// # Errors
/// It has a `..`, and does not exist.
pub fn prompt_directory(directory: &Path) -> std::io::Result<PathBuf> {
    let has_parent = directory
        .components()
        .any(|part| part == Component::ParentDir);
    match has_parent {
        true => directory.canonicalize(),
        false => std::path::absolute(directory),
    }
}

impl Shared {
    /// A look that panicked left what it had read.
    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    fn is_retry_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self
            .retried
            .is_none_or(|at| now.duration_since(at) >= RETRY_EVERY);
        if due {
            self.retried = Some(now);
        }
        due
    }

    /// What is wrong with files now.
    fn errors(&self) -> impl Iterator<Item = &ScriptError> {
        self.files.values().flat_map(|file| &file.errors)
    }

    fn numbers(&self) -> Numbers {
        let good = self.files.values().filter_map(|file| file.good.as_ref());
        Numbers::of(good.map(|good| Arc::clone(&good.flow)))
    }

    /// Looks at all files, and reads those that have changed; with `retry`, or if any has changed,
    /// those that are wrong as well. All files as they are now, if anything has changed.
    fn look(
        &self,
        directory: &Path,
        prompts: &[PathBuf],
        retry: bool,
    ) -> std::io::Result<Option<BTreeMap<String, File>>> {
        let stamps = files::stamps(directory)?;
        let stamp_of = |name: &String| self.files.get(name).map(|file| &file.stamp);
        let is_same = |(name, stamp)| stamp_of(name) == Some(stamp);
        let changed = stamps.len() != self.files.len() || !stamps.iter().all(is_same);
        let again = retry && self.errors().next().is_some();
        if !changed && !again {
            return Ok(None);
        }
        let read = |(name, stamp): (String, Stamp)| {
            let known = self.files.get(&name);
            let unchanged = known.filter(|f| f.stamp == stamp && f.errors.is_empty());
            let file = match unchanged {
                Some(file) => File {
                    is_fresh: false,
                    ..file.clone()
                },
                None => read_file(directory, &name, stamp, prompts),
            };
            (name, file)
        };
        Ok(Some(stamps.into_iter().map(read).collect()))
    }

    /// Files that are wrong, or take a number that another has, go back to what they were.
    fn settle(&self, files: &mut BTreeMap<String, File>) {
        let fresh = files.iter().filter(|(_, file)| file.is_fresh);
        let mut fresh: BTreeSet<String> = fresh.map(|(name, _)| name.clone()).collect();
        let former = |name: &str| self.files.get(name).and_then(|file| file.good.clone());
        let broken: Vec<String> = fresh
            .iter()
            .filter(|n| files[*n].good.is_none())
            .cloned()
            .collect();
        for name in broken {
            fresh.remove(&name);
            if let Some(file) = files.get_mut(&name) {
                file.good = former(&name);
            }
        }
        // Each round takes a file back; what was before had no clash.
        while let Some((name, errors)) = clash(files, &fresh) {
            fresh.remove(&name);
            if let Some(file) = files.get_mut(&name) {
                file.good = former(&name);
                file.errors = errors;
            }
        }
    }

    /// Says what is wrong that was not before, and what is right again.
    fn tell(&self, files: &BTreeMap<String, File>) {
        for (name, file) in files {
            let before = self.files.get(name).map_or(&[][..], |file| &file.errors);
            for error in file.errors.iter().filter(|error| !before.contains(error)) {
                match file.good.is_some() {
                    true => tracing::warn!(%error, "a flow is wrong, its former version stays"),
                    false => tracing::warn!(%error, "a flow is wrong, and is left out"),
                }
            }
            if file.errors.is_empty() && !before.is_empty() {
                tracing::info!(file = %name, "a flow is right again");
            }
        }
    }
}

/// Everything that is wrong with files none of which was right before: also which numbers they
/// share, whatever else is wrong with them.
fn mistakes(files: &BTreeMap<String, File>) -> Vec<ScriptError> {
    let mut owners = Owners::new();
    let mut all = Vec::new();
    for (name, file) in files {
        let mut wrong = file.errors.clone();
        let good = file.good.as_ref().map(|good| &good.numbers);
        let numbers = good.unwrap_or(&file.wrong_numbers);
        wrong.extend(shared(&mut owners, name, file, numbers));
        // What is about the file as a whole comes last.
        wrong.sort_by_key(|error| (error.line == 0, error.line, error.column));
        all.append(&mut wrong);
    }
    all
}

/// A changed file that takes numbers of another one, and what is to be said of it.
fn clash(
    files: &BTreeMap<String, File>,
    fresh: &BTreeSet<String>,
) -> Option<(String, Vec<ScriptError>)> {
    let mut owners = Owners::new();
    // Those that stay as they are come first: the number is theirs.
    let (new, old): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| fresh.contains(*name));
    for (name, file) in old.into_iter().chain(new) {
        let Some(good) = &file.good else { continue };
        let errors = shared(&mut owners, name, file, &good.numbers);
        if !errors.is_empty() && fresh.contains(name) {
            return Some((name.clone(), errors));
        }
    }
    None
}

/// Enters the numbers of a file; what is to be said of those that another one has.
fn shared<'a>(
    owners: &mut Owners<'a>,
    name: &'a str,
    file: &File,
    numbers: &'a [(String, Place)],
) -> Vec<ScriptError> {
    let mut errors = Vec::new();
    for (number, place) in numbers {
        match owners.get(number.as_str()) {
            Some((other, (line, column))) => errors.push(ScriptError {
                file: file.stamp.shown(),
                line: place.0,
                column: place.1,
                at: "numbers".to_owned(),
                why: format!("'{number}' is that of {other}:{line}:{column} as well"),
            }),
            None => {
                owners.insert(number, (name, *place));
            }
        }
    }
    errors
}

fn read_file(directory: &Path, name: &str, stamp: Stamp, prompts: &[PathBuf]) -> File {
    let shown = stamp.shown();
    let mut file = File {
        stamp,
        good: None,
        errors: Vec::new(),
        wrong_numbers: Vec::new(),
        is_fresh: true,
    };
    let text = match files::text(&directory.join(name)) {
        Ok(text) => text,
        Err(why) => {
            file.errors.push(ScriptError::of_file(&shown, why));
            return file;
        }
    };
    let flow = name.trim_end_matches(files::EXTENSION);
    match parse(flow, &shown, &text, prompts) {
        Ok(parsed) => {
            let numbers = parsed.flow.numbers.iter().cloned();
            file.good = Some(Arc::new(Good {
                numbers: numbers.zip(parsed.number_places).collect(),
                flow: Arc::new(parsed.flow),
                warnings: parsed.warnings,
            }));
        }
        Err(errors) => (file.errors, file.wrong_numbers) = (errors, numbers_of(&text)),
    }
    file
}

#[cfg(test)]
mod tests;
