//! Order in the house: what reviewers should not have to look for. Reads the tree as text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Widest line of code and prose, in characters; rows of Markdown tables may be wider.
const WIDTH_MAX: usize = 100;

/// Folders that are not ours to judge: build results, and raw results of benchmarks.
const SKIPPED: [&str; 5] = [".git", "target", "out", "docs/benchmarks/runs", "testdata"];

/// A file of the tree: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|e| e == extension)
    }

    /// Programs and their settings, by extension or, for the few without one, by name.
    fn is_code(&self) -> bool {
        let named = ["Makefile", "Dockerfile", ".ci/run"];
        ["rs", "sh", "toml", "service"].iter().any(|e| self.is(e))
            || named.contains(&self.path.as_str())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry of a readable folder").path();
        let from_root = path
            .strip_prefix(root())
            .expect("below the root")
            .to_owned();
        let skipped = SKIPPED
            .iter()
            .any(|s| from_root == Path::new(s) || from_root.ends_with(s));
        match path.is_dir() {
            true if !skipped => walk(&path, found),
            false => found.push(path),
            true => {}
        }
    }
}

/// Text files of the tree, build results and test data left out.
fn files() -> Vec<File> {
    let mut paths = Vec::new();
    walk(root(), &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        let path = path
            .strip_prefix(root())
            .ok()?
            .to_string_lossy()
            .into_owned();
        Some(File { path, text })
    };
    let files: Vec<File> = paths.into_iter().filter_map(read).collect();
    assert!(
        files.iter().any(|f| f.path == "tests/tidy.rs"),
        "the walk finds this very file"
    );
    files
}

/// Fails with all complaints at once, each with its place.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn lines_are_not_too_wide() {
    let mut wide = Vec::new();
    for file in files().iter().filter(|f| f.is("rs") || f.is("md")) {
        for (line, number) in file.text.lines().zip(1..) {
            let width = line.chars().count();
            let is_row = line.trim_start_matches(['/', '!', ' ']).starts_with('|');
            if width > WIDTH_MAX && !is_row {
                wide.push(format!("{}:{number}: {width} characters", file.path));
            }
        }
    }
    none(&wide);
}

#[test]
fn nothing_is_left_over() {
    // In pieces, or this test would find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X "),
        concat!("db", "g!("),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("<<<", "<<<<"),
    ];
    let mut left = Vec::new();
    for file in files().iter().filter(|f| f.is_code() || f.is("md")) {
        for (line, number) in file.text.lines().zip(1..) {
            for word in words.iter().filter(|w| line.contains(**w)) {
                left.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    none(&left);
}

#[test]
fn lines_end_cleanly() {
    let mut untidy = Vec::new();
    for file in files().iter().filter(|f| f.is_code() || f.is("md")) {
        for (line, number) in file.text.lines().zip(1..) {
            if line.ends_with([' ', '\t', '\r']) {
                untidy.push(format!("{}:{number}: blanks at the end", file.path));
            }
        }
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
            untidy.push(format!("{}: not one line end at the end", file.path));
        }
    }
    none(&untidy);
}

/// System calls are the plane's, and so is whatever the compiler cannot check. The one exception is
/// the allocator that counts, in `tests/alloc/main.rs`: the language makes that trait's methods
/// such.
#[test]
fn what_the_compiler_cannot_check_stays_in_the_plane() {
    // In pieces, or this test would find itself.
    let word = concat!("un", "safe");
    let mut strays = Vec::new();
    let mut seen_in_plane = false;
    for file in files().iter().filter(|f| f.is("rs")) {
        let is_allowed = file.path.starts_with("src/plane/") || file.path == "tests/alloc/main.rs";
        for (line, number) in file.text.lines().zip(1..) {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(word) && is_allowed {
                seen_in_plane = true;
            } else if code.contains(word) {
                strays.push(format!(
                    "{}:{number}: {word} outside of src/plane",
                    file.path
                ));
            }
        }
    }
    assert!(seen_in_plane, "this test looks at the wrong files");
    none(&strays);
}

#[test]
fn test_data_says_where_it_comes_from() {
    let mut silent = Vec::new();
    for entry in fs::read_dir(root().join("testdata")).expect("test data") {
        let path = entry.expect("an entry").path();
        let note = fs::read_to_string(path.join("README.md")).unwrap_or_default();
        if path.is_dir() && note.trim().is_empty() {
            silent.push(format!("{}: no README.md with its source", path.display()));
        }
    }
    none(&silent);
}

/// Every crate of the manifest has its row, with the version of the lock file.
#[test]
fn dependencies_have_their_reason() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let (manifest, lock) = (read("Cargo.toml"), read("Cargo.lock"));
    let reasons = read("docs/dependencies.md");
    // Where there are several versions of a crate, ours says which it is.
    let ours = lock
        .split("[[package]]")
        .find(|it| it.contains("name = \"crosspoint\""));
    let ours = ours.expect("ours");
    let mut missing = Vec::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once(" = ")
        {
            let after = |text: &'_ str, entry: &str| {
                let rest = text.split_once(entry).map(|(_, rest)| rest);
                rest.and_then(|rest| Some(rest.split('"').next()?.to_owned()))
            };
            let one = || after(&lock, &format!("name = \"{name}\"\nversion = \""));
            let version = after(ours, &format!("\"{name} ")).or_else(one);
            let version = version.as_deref();
            let version = version.unwrap_or("?").split('+').next().unwrap_or("?");
            let row = format!("| `{name}` | {version} |");
            if !reasons.contains(&row) {
                missing.push(format!("docs/dependencies.md: no row {row}"));
            }
        }
    }
    none(&missing);
}

/// Words in backticks, outside of code blocks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split("```")
        .step_by(2)
        .flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// `some_test_name` in the architecture must be a test; so the promises stay proven.
#[test]
fn promised_tests_exist() {
    let files = files();
    let architecture = files
        .iter()
        .find(|f| f.path == "docs/architecture.md")
        .expect("it");
    let looks_like_a_test = |w: &&str| {
        w.matches('_').count() >= 3 && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let promised: BTreeSet<&str> = quoted(&architecture.text)
        .filter(looks_like_a_test)
        .filter(|w| !w.starts_with("crosspoint_"))
        .collect();
    assert!(
        promised.len() > 15,
        "the table of invariants names its tests"
    );
    let exists = |name: &str| {
        let head = format!("fn {name}(");
        files.iter().any(|f| f.is("rs") && f.text.contains(&head))
    };
    let lost: Vec<String> = promised
        .iter()
        .filter(|n| !exists(n))
        .map(|n| format!("no test {n}"))
        .collect();
    none(&lost);
}

/// Relative links of Markdown files lead to files, and to headings where they name one.
#[test]
fn links_lead_somewhere() {
    let files = files();
    let mut broken = Vec::new();
    for file in files.iter().filter(|f| f.is("md")) {
        let folder = Path::new(&file.path)
            .parent()
            .unwrap_or_else(|| Path::new(""));
        for link in file
            .text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => root().join(&file.path),
                path => root().join(folder).join(path),
            };
            let reached = match fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || headings(&text).any(|h| h == anchor),
                Err(_) => target.is_dir() && anchor.is_empty(),
            };
            if !reached {
                broken.push(format!("{}: {link}", file.path));
            }
        }
    }
    none(&broken);
}

/// Anchors of a Markdown text, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            title
                .chars()
                .filter(kept)
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}
