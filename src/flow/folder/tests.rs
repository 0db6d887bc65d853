//! Directories of flows that change.

use std::path::{Path, PathBuf};

use super::files::ENTRIES_MAX;
use super::*;
use crate::flow::script::SCRIPT_BYTES_MAX;

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("flows-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn open(&self) -> FlowFolder {
        FlowFolder::open(&self.0, &[]).unwrap()
    }

    /// What is wrong, without the directory.
    fn wrong(&self) -> Vec<String> {
        shown(&self.0, &FlowFolder::open(&self.0, &[]).unwrap_err())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn shown(directory: &Path, errors: &[ScriptError]) -> Vec<String> {
    let directory = format!("{}/", directory.display());
    let each = |error: &ScriptError| error.to_string().replace(&directory, "");
    errors.iter().map(each).collect()
}

/// A flow of these numbers, which hangs up with a cause.
fn flow(numbers: &[&str], cause: u16) -> String {
    format!(
        "numbers = {numbers:?}\nstart = \"a\"\n[applet.a]\napplet = \"hangup\"\ncause = {cause}\n"
    )
}

/// Name and cause of the flow of a number.
fn found(folder: &FlowFolder, number: &str) -> Option<(String, u16)> {
    use crate::flow::script::Step;
    let flow = folder.find(number)?;
    match &flow.applets[0].step {
        Step::Hangup { cause } => Some((flow.name.clone(), cause.unwrap().0)),
        other => panic!("{other:?}"),
    }
}

fn is(name: &str, cause: u16) -> Option<(String, u16)> {
    Some((name.to_owned(), cause))
}

#[test]
fn a_number_leads_to_its_flow_and_any_other_to_that_of_any() {
    let files = Folder::new();
    files.write("one.toml", flow(&["1000", "+91"], 486));
    files.write(".hidden.toml", "no flow");
    files.write("notes.txt", "no flow");
    std::fs::create_dir(files.0.join("folder.toml")).unwrap();
    let folder = files.open();
    assert_eq!(found(&folder, "1000"), is("one", 486));
    assert_eq!(found(&folder, "+91"), is("one", 486));
    assert_eq!(found(&folder, "100"), None);
    files.write("any.toml", flow(&["*"], 404));
    assert!(folder.reload());
    assert_eq!(found(&folder, "100"), is("any", 404));
    assert_eq!(found(&folder, "1000"), is("one", 486));
}

#[test]
fn everything_must_be_right_at_start() {
    let files = Folder::new();
    files.write("a.toml", flow(&["1", "2"], 486));
    files.write("b.toml", flow(&["3", "2"], 486));
    files.write("c d.toml", flow(&["4"], 486));
    files.write("e.toml", "numbers = [\"3\", \"5\"]\nstart = ");
    files.write("f.toml", [0xff, 0xfe]);
    let wrong = files.wrong();
    assert_eq!(
        wrong[0],
        "b.toml:1:17: numbers: '2' is that of a.toml:1:17 as well"
    );
    assert!(
        wrong[1].starts_with("c d.toml: 'c d' is no name of a flow"),
        "{wrong:?}"
    );
    assert_eq!(
        wrong[2], "e.toml:1:12: numbers: '3' is that of b.toml:1:12 as well",
        "whatever else is wrong with it"
    );
    assert!(wrong[3].starts_with("e.toml:2:9: "), "{wrong:?}");
    assert!(
        wrong.last().unwrap().starts_with("f.toml: invalid utf-8"),
        "{wrong:?}"
    );
    let (lines, is_wrong) = check(&files.0, &[]);
    assert!(is_wrong && lines.len() == wrong.len());

    let missing = FlowFolder::open(&files.0.join("gone"), &[]).unwrap_err();
    assert!(
        missing[0].to_string().contains("No such file"),
        "{missing:?}"
    );
}

#[test]
fn prompts_are_below_an_absolute_directory() {
    let here = std::env::current_dir().unwrap();
    let clips = here.join("testdata/clips");
    assert_eq!(
        prompt_directory(Path::new("testdata/clips")).unwrap(),
        clips
    );
    let canonical = clips.canonicalize().unwrap();
    assert_eq!(
        prompt_directory(Path::new("src/../testdata/clips")).unwrap(),
        canonical
    );
}

#[test]
fn what_is_odd_is_no_mistake() {
    let files = Folder::new();
    let odd = flow(&["1"], 486) + "[applet.b]\napplet = \"echo\"\n";
    files.write("a.toml", odd);
    assert_eq!(
        shown(&files.0, &files.open().warnings()),
        ["a.toml:6:1: applet.b: nothing leads to it"]
    );
    let (lines, is_wrong) = check(&files.0, &[]);
    assert!(
        !is_wrong && lines[0].ends_with("nothing leads to it (warning)"),
        "{lines:?}"
    );
    let (text, nowhere) = (flow(&["1"], 486), Folder::new());
    nowhere.write("a.toml", text.split_once('\n').unwrap().1);
    let odd = nowhere.open().warnings();
    assert!(odd[0].to_string().contains("none of its flows has numbers"));
}

#[test]
fn a_changed_flow_is_for_new_calls_and_a_wrong_one_for_none() {
    let files = Folder::new();
    files.write("a.toml", flow(&["1"], 486));
    let folder = files.open();
    let running = folder.find("1").unwrap();
    assert!(!folder.reload(), "nothing has changed");

    files.write("a.toml", flow(&["1", "2"], 404));
    assert!(folder.reload());
    assert_eq!(found(&folder, "1"), is("a", 404));
    assert_eq!(found(&folder, "2"), is("a", 404));
    assert_eq!(running.numbers, ["1"], "what runs keeps its own");

    files.write("a.toml", "numbers = [\"3\"]");
    assert!(folder.reload());
    assert_eq!(found(&folder, "2"), is("a", 404));
    assert_eq!(found(&folder, "3"), None);
    assert_eq!(folder.errors().len(), 2, "{:?}", folder.errors());

    files.write("a.toml", flow(&["3"], 603));
    assert!(folder.reload());
    assert_eq!(
        (found(&folder, "2"), found(&folder, "3")),
        (None, is("a", 603))
    );
    assert!(folder.errors().is_empty());

    std::fs::remove_file(files.0.join("a.toml")).unwrap();
    assert!(folder.reload());
    assert_eq!(found(&folder, "3"), None);
}

#[test]
fn a_number_stays_with_the_flow_that_has_it() {
    let files = Folder::new();
    files.write("a.toml", flow(&["1"], 486));
    files.write("b.toml", flow(&["2"], 404));
    let folder = files.open();

    files.write("a.toml", flow(&["1", "2"], 603));
    assert!(folder.reload());
    assert_eq!(found(&folder, "1"), is("a", 486), "as it was");
    assert_eq!(found(&folder, "2"), is("b", 404));
    assert_eq!(
        shown(&files.0, &folder.errors()),
        ["a.toml:1:17: numbers: '2' is that of b.toml:1:12 as well"]
    );

    // The other one lets it go: the wrong one is looked at again, although it did not change.
    files.write("b.toml", flow(&["3"], 404));
    assert!(folder.reload());
    assert_eq!(found(&folder, "1"), is("a", 603));
    assert_eq!(found(&folder, "2"), is("a", 603));
    assert_eq!(found(&folder, "3"), is("b", 404));

    // Both at once swap theirs.
    files.write("a.toml", flow(&["3"], 486));
    files.write("b.toml", flow(&["1", "2"], 404));
    assert!(folder.reload());
    assert_eq!(found(&folder, "3"), is("a", 486));
    assert_eq!(found(&folder, "1"), is("b", 404));
    assert!(folder.errors().is_empty());

    // One that is wrong keeps its number, so the other one cannot take it.
    files.write("a.toml", "start = 1");
    files.write("b.toml", flow(&["1", "3"], 603));
    assert!(folder.reload());
    assert_eq!(found(&folder, "3"), is("a", 486));
    assert_eq!(found(&folder, "2"), is("b", 404));
}

#[test]
fn a_prompt_that_was_missing_may_come() {
    let files = Folder::new();
    files.write("a.toml", flow(&["1"], 486));
    let folder = files.open();
    let text = "numbers = [\"1\"]\nstart = \"a\"\n\
                [applet.a]\napplet = \"greeting\"\nprompt = \"hi.mp3\"\n";
    files.write("a.toml", text);
    assert!(folder.reload());
    assert_eq!(folder.errors().len(), 1);
    let tone = include_bytes!("../../../testdata/clips/tone-8000-mono.mp3");
    files.write("hi.mp3", tone);
    folder.shared.read().retried = None;
    assert!(folder.reload());
    assert!(folder.errors().is_empty());
    assert_eq!(folder.find("1").unwrap().applets[0].name, "a");
    assert!(!folder.reload());
}

#[test]
fn a_directory_that_is_gone_takes_no_flow_with_it() {
    let files = Folder::new();
    files.write("a.toml", flow(&["1"], 486));
    let folder = files.open();
    let elsewhere = files.0.with_extension("moved");
    std::fs::rename(&files.0, &elsewhere).unwrap();
    assert!(!folder.reload());
    assert_eq!(found(&folder, "1"), is("a", 486));
    std::fs::rename(&elsewhere, &files.0).unwrap();
    folder.reload();
    assert_eq!(found(&folder, "1"), is("a", 486));
}

#[test]
fn directories_have_limits() {
    let files = Folder::new();
    for n in 0..FILES_MAX {
        files.write(&format!("f{n}.toml"), flow(&[&n.to_string()], 486));
    }
    let folder = files.open();
    assert_eq!(folder.numbers().len(), FILES_MAX);
    files.write("one-more.toml", flow(&["x"], 486));
    assert!(files.wrong()[0].ends_with("more than 1000 flows"));
    assert!(!folder.reload());
    assert_eq!(folder.numbers().len(), FILES_MAX);

    // Whatever else is in it is looked at, too.
    let crowded = Folder::new();
    for n in 0..ENTRIES_MAX {
        crowded.write(&n.to_string(), "");
    }
    crowded.open();
    crowded.write("one-more", "");
    assert!(crowded.wrong()[0].ends_with("more than 100000 entries"));

    let small = Folder::new();
    let text = flow(&["1"], 486);
    let padded = |bytes: usize| format!("{text}#{}", " ".repeat(bytes - text.len() - 1));
    small.write("a.toml", padded(SCRIPT_BYTES_MAX));
    small.open();
    small.write("a.toml", padded(SCRIPT_BYTES_MAX + 1));
    assert_eq!(small.wrong(), ["a.toml: larger than 262144 bytes"]);
}

#[tokio::test]
async fn a_change_is_seen_within_seconds() {
    let files = Folder::new();
    files.write("a.toml", flow(&["1"], 486));
    let folder = files.open();
    let watching = tokio::spawn(folder.clone().watch());
    files.write("a.toml", flow(&["1"], 404));
    let changed = async {
        while found(&folder, "1") != is("a", 404) {
            tokio::time::sleep(LOOK_EVERY / 20).await;
        }
    };
    tokio::time::timeout(LOOK_EVERY * 20, changed)
        .await
        .unwrap();
    watching.abort();
}
