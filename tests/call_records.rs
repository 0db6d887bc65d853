//! `crosspoint calls` beside the process that writes the records; and a disk that is full.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crosspoint::flow::records::{Options, Store};
use crosspoint::flow::run::ledger::{CallEnded, CallStarted, Ledger as _, LegStarted, Quality};
use crosspoint::sip::{Cause, EndedBy, Ending};

const SID: &str = "0123456789abcdef0123456789abcdef";

/// A folder of its own, gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = root.join(format!("records-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn calls(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crosspoint"));
        command.arg("calls").args(args).current_dir(&self.0);
        command.output().unwrap()
    }

    /// What it prints.
    fn listed(&self, args: &[&str]) -> String {
        let output = self.calls(args);
        let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "{args:?}: {err}");
        String::from_utf8(out).unwrap()
    }

    /// What it says when it fails.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.calls(args);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn store(path: &Path) -> Store {
    Store::open(path, Options::default()).unwrap()
}

fn start(store: &Store, call: &str, from: &str) {
    let to = "1000";
    store.call_started(&CallStarted {
        call,
        from,
        to,
        flow: "demo",
        callback: None,
    });
    let leg = format!("{call}-in");
    store.leg_started(&LegStarted {
        call,
        leg: &leg,
        inbound: true,
        from,
        to,
        instead_of: None,
    });
}

fn end(store: &Store, call: &str, code: u16, answered: bool) {
    let leg = format!("{call}-in");
    if answered {
        store.answered(call, &leg);
    }
    let ending = Ending {
        cause: Cause(code),
        by: EndedBy::Party,
    };
    let quality = Quality {
        received: 2_985,
        lost: 15,
        jitter_us: 1_250,
        mos: Some(4.32),
    };
    store.leg_ended(call, &leg, ending, answered.then_some(&quality));
    store.call_ended(&CallEnded {
        call,
        ending,
        answered,
        digits: 4,
        recordings: &["2026-11-24/x.wav".to_owned()],
    });
}

#[test]
fn calls_are_listed_while_they_are_written() {
    let folder = Folder::new();
    let text = folder.refused(&[]);
    assert!(
        text.contains("calls.sqlite: there is no such file"),
        "{text}"
    );

    let text = folder.refused(&["--call-records", "."]);
    assert_eq!(
        text,
        "crosspoint: .: is a folder, and not the file of call records\n"
    );
    std::fs::write(
        folder.0.join("text"),
        "no database, but rather long ".repeat(9),
    )
    .unwrap();
    let text = folder.refused(&["--call-records", "text"]);
    assert_eq!(text, "crosspoint: text: is not a database\n", "said once");
    for (path, why) in [
        (folder.0.join("no/calls.sqlite"), "there is no folder "),
        (folder.0.clone(), "is a folder"),
    ] {
        let error = Store::open(&path, Options::default())
            .unwrap_err()
            .to_string();
        let named = error.starts_with(&format!("{}: {why}", path.display()));
        assert!(named && !error.contains(".lock"), "{error}");
    }

    let store = store(&folder.0.join("calls.sqlite"));
    assert_eq!(folder.listed(&[]), "no calls\n");
    start(&store, SID, "+919845000001");
    end(&store, SID, 200, true);
    start(&store, "short", "\u{1b}[31m and a name that is long");
    end(&store, "short", 486, false);
    store.flush();

    let text = folder.listed(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("started (UTC)   status"), "{text}");
    assert!(
        lines[1].contains("busy") && lines[1].contains("?[31m and a …"),
        "{text}"
    );
    let sid = lines[2].rsplit(' ').next();
    assert_eq!(sid, Some(SID));
    assert!(lines[2].contains("completed") && lines[2].contains("+919845000001  1000 "));
    assert!(
        lines.iter().all(|line| line.chars().count() <= 100),
        "{text}"
    );

    let sids = |args: &[&str]| {
        let text = folder.listed(args);
        let sid = |line: &str| {
            let call: serde_json::Value = serde_json::from_str(line).unwrap();
            call["sid"].as_str().unwrap().to_owned()
        };
        text.lines().map(sid).collect::<Vec<_>>()
    };
    assert_eq!(sids(&["--json"]), ["short", SID]);
    assert_eq!(sids(&["--json", "--limit", "1"]), ["short"]);
    assert_eq!(sids(&["--json", "--status", "completed"]), [SID]);
    assert_eq!(sids(&["--json", "--number", "9845"]), [SID]);
    assert_eq!(sids(&["--json", "--since", "1h"]).len(), 2);
    assert!(sids(&["--json", "--since", "9999-01-01"]).is_empty());

    let text = folder.listed(&[SID]);
    for part in [
        "status     completed, 200 by caller\n",
        "digits     4 gathered\n",
        "recording  2026-11-24/x.wav\n",
        &format!("leg        {SID}-in\n"),
        "  media    2985 packets, 15 lost (0.5 %), jitter 1.2 ms, MOS 4.32\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    let call: serde_json::Value = serde_json::from_str(&folder.listed(&[SID, "--json"])).unwrap();
    assert_eq!(
        call["legs"][0]["mos"]
            .as_f64()
            .map(|mos| (mos * 100.0).round()),
        Some(432.0)
    );
    assert!(call["started"].as_str().unwrap().ends_with('Z'), "{call}");

    assert!(
        folder
            .refused(&["nobody"])
            .contains("no call has the SID nobody")
    );
    assert!(
        folder
            .refused(&["--status", "ringing!"])
            .contains("possible values")
    );
    assert!(
        folder
            .refused(&["--since", "soon"])
            .contains("neither how long ago nor a date")
    );
    std::fs::write(folder.0.join("other"), "this is no database").unwrap();
    let text = folder.refused(&["--call-records", "other"]);
    assert!(text.contains("other: is not a database"), "{text}");
}

const SMALL: &str = "CROSSPOINT_TEST_SMALL_DISK";

/// A tmpfs of 2 MiB, in a namespace of its own: this test runs once more where it may mount one,
/// and is `Some` there.
fn small(test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(SMALL) {
        mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], Path::new(&path));
        return Some(path.into());
    }
    let folder = Folder::new();
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]);
    again.arg(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]);
    let status = again.env(SMALL, &folder.0).status().expect("unshare(1)");
    assert!(status.success(), "{test}: {status}");
    None
}

fn mount(args: &[&str], path: &Path) {
    let status = Command::new("mount").args(args).arg(path).status();
    assert!(status.expect("mount(8)").success(), "mount {args:?}");
}

const DIES: &str = "CROSSPOINT_TEST_DIES";

#[test]
fn what_was_told_outlives_a_killed_process() {
    let name = "what_was_told_outlives_a_killed_process";
    if let Some(path) = std::env::var_os(DIES) {
        let store = store(Path::new(&path));
        start(&store, "over", "1");
        end(&store, "over", 200, true);
        start(&store, SID, "2");
        store.flush();
        println!("told");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let folder = Folder::new();
    let path = folder.0.join("calls.sqlite");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", name, "--nocapture"])
        .env(DIES, &path);
    let mut child = again.stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = said
        .map_while(Result::ok)
        .any(|line| line.ends_with("told"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told, "it said nothing");

    let text = folder.listed(&["--json", "--status", "ringing"]);
    assert!(text.contains(SID), "it is read as it was left: {text}");
    let store = store(&path);
    assert_eq!(store.counters().crashed.load(Relaxed), 1);
    let text = folder.listed(&[SID]);
    assert!(text.contains("status     failed, by crash\n"), "{text}");
    assert!(
        folder
            .listed(&["over"])
            .contains("status     completed, 200 by caller\n")
    );
}

/// Takes all room there is.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
}

#[test]
fn a_disk_that_is_full_or_cannot_be_written_is_told_and_waited_for() {
    let name = "a_disk_that_is_full_or_cannot_be_written_is_told_and_waited_for";
    let Some(folder) = small(name) else {
        return;
    };
    let path = folder.join("calls.sqlite");
    let store = store(&path);
    start(&store, "before", "1");
    store.flush();
    fill(&folder.join("rest"));
    let mut told = 2;
    while store.counters().failed.load(Relaxed) == 0 {
        start(&store, &format!("c{told}"), &"9".repeat(200));
        told += 2;
        assert!(told < 20_000, "it is never full");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::remove_file(folder.join("rest")).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while store.counters().written.load(Relaxed) < told {
        assert!(std::time::Instant::now() < end, "{:?}", store.counters());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(store.counters().dropped.load(Relaxed), 0);
    drop(store);

    fill(&folder.join("rest"));
    let full = Store::open(&path, Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        full.contains("the disk is full") || full.contains("the disk fails"),
        "{full}"
    );
    std::fs::remove_file(folder.join("rest")).unwrap();
    mount(&["-o", "remount,ro"], &folder);
    let error = Store::open(&path, Options::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    // Calls can be listed there all the same: nobody writes them.
    let reader = crosspoint::flow::records::read::Reader::open(&path).unwrap();
    assert!(reader.call("before").unwrap().is_some());
}
