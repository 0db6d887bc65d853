//! A real disk without room, and with room again: a small tmpfs, in a namespace of its own that
//! `unshare` makes for each test.

mod recorder_support;
mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crosspoint::record::event::RecordingEventKind;
use crosspoint::record::sidecar::verify;
use crosspoint::record::span::SpanKind;
use recorder_support::{Folder, Line, Rig, wav};
use serde_json::json;
use support::ng::Ng;
use support::party::Call;
use support::switch::Switch;
use support::wait_until;

const SMALL: &str = "CROSSPOINT_TEST_SMALL_DISK";

/// A tmpfs of 2 MiB. Runs this test once more where it may mount one, and is `Some` there.
fn small(test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(SMALL) {
        let path = PathBuf::from(path);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        let status = mount.arg(&path).status().expect("mount(8)");
        assert!(status.success(), "mount: {status}");
        return Some(path);
    }
    let folder = Folder::new();
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]);
    again.arg(std::env::current_exe().expect("this test"));
    again.args(["--exact", test, "--include-ignored", "--nocapture"]);
    let status = again.env(SMALL, &folder.0).status().expect("unshare(1)");
    assert!(status.success(), "{test}: {status}");
    None
}

/// Takes all room there is.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    while file.write_all(&[1; 512]).is_ok() {}
}

fn speak_until(line: &mut Line, end: Duration) {
    while line.origin.elapsed() < end {
        line.speak_until_now();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "takes 25 s"]
fn a_full_disk_leaves_silence_and_the_recording_goes_on() {
    let Some(dir) = small("a_full_disk_leaves_silence_and_the_recording_goes_on") else {
        return;
    };
    let dir = &dir;
    let mut rig = Rig::new(dir);
    let mut line = rig.begin(wav("a.wav")).expect("it begins");
    speak_until(&mut line, Duration::from_secs(1));
    fill(&dir.join("filler"));
    speak_until(&mut line, Duration::from_secs(20));
    fs::remove_file(dir.join("filler")).expect("it is there");
    speak_until(&mut line, Duration::from_secs(24));
    let end = line.origin + Duration::from_secs(24);
    line.recording.stop(end, false);
    let lost = rig.next_event().kind;
    let RecordingEventKind::Lost { from, until, error } = lost else {
        panic!("{lost:?}");
    };
    assert!(error.contains("No space left"), "{error}");
    // A buffer of 16 s after the disk was full.
    assert!((15..18).contains(&from.as_secs()), "{from:?}");
    assert!((19..23).contains(&until.as_secs()), "{until:?}");
    let completed = rig.next_event().kind;
    let RecordingEventKind::Completed { length, .. } = completed else {
        panic!("{completed:?}");
    };
    assert_eq!(length, Duration::from_secs(24));
    let report = verify(&dir.join("a.wav")).expect("readable");
    assert!(report.is_verified(), "{:?}", report.problems);
    let spans = report.sidecar.expect("verified").spans;
    let unwritten = spans.iter().filter(|span| span.kind == SpanKind::Unwritten);
    assert_eq!(unwritten.count(), 1);
    let counters = rig.recorder.counters();
    let samples = (until - from).as_millis() * 8;
    let lost = u128::from(counters.samples_lost.load(Ordering::Relaxed));
    assert!(lost.abs_diff(samples) <= 16, "{lost}");
    assert!(counters.write_errors.load(Ordering::Relaxed) > 0);
}

/// A switch that records on this disk.
fn start(dir: &Path) -> Switch {
    let dir = dir.to_str().expect("UTF-8");
    let arguments = ["--recording-dir", dir, "--recording-pattern", "{call}"];
    Switch::start_with("127.0.0.1", 64, &arguments)
}

fn sidecar(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".json");
    path.into()
}

fn record(ng: &mut Ng, call: &Call, format: &str) -> String {
    let reply = ng.ok(&json!({
        "command": "start recording", "call-id": call.id,
        "recording-layout": "stereo", "recording-format": format,
    }));
    reply["recording-file"].as_str().expect("a path").to_owned()
}

/// The file is whole, with its sidecar; which spans it has for want of room.
fn whole(file: &Path) -> usize {
    wait_until("the recording is complete", || {
        file.exists() && sidecar(file).exists()
    });
    let report = verify(file).expect("readable");
    assert!(report.is_verified(), "{:?}", report.problems);
    let opened = Command::new("ffprobe")
        .args(["-v", "error"])
        .arg(file)
        .output();
    let opened = opened.expect("ffprobe: apt-get install -y ffmpeg");
    assert!(opened.status.success(), "{opened:?}");
    let spans = report.sidecar.expect("verified").spans;
    let unwritten = spans.iter().filter(|span| span.kind == SpanKind::Unwritten);
    unwritten.count()
}

/// The whole switch: calls that are recorded hear everything while the disk is full. What is killed
/// then is closed by a switch that starts while it is full, as soon as there is room.
#[test]
fn a_switch_on_a_full_disk_relays_and_closes_what_it_recorded() {
    let Some(dir) = small("a_switch_on_a_full_disk_relays_and_closes_what_it_recorded") else {
        return;
    };
    let filler = dir.join("filler");
    let mut switch = start(&dir);
    let mut ng = switch.client();
    let mut calls: Vec<Call> = (0..2).map(|_| Call::new(&mut ng)).collect();
    calls.iter_mut().for_each(Call::connect);
    let formats = ["wav", "opus"];
    let begun = |ng: &mut Ng, calls: &[Call]| -> Vec<PathBuf> {
        let both = calls.iter().zip(formats);
        let path = |(call, format)| dir.join(record(ng, call, format));
        both.map(path).collect()
    };
    let files = begun(&mut ng, &calls);
    for room in [true, false, true] {
        match room {
            false => fill(&filler),
            true => drop(fs::remove_file(&filler)),
        }
        for call in &mut calls {
            call.assert_works(if room { "with room" } else { "on a full disk" });
        }
    }
    for call in &calls {
        ng.ok(&json!({"command": "stop recording", "call-id": call.id}));
    }
    for file in &files {
        assert_eq!(whole(file), 0, "it had room in time");
        fs::remove_file(file).expect("it is there");
        fs::remove_file(sidecar(file)).expect("it is there");
    }

    let files = begun(&mut ng, &calls);
    calls
        .iter_mut()
        .for_each(|call| call.assert_works("at first"));
    fill(&filler);
    calls
        .iter_mut()
        .for_each(|call| call.assert_works("on a full disk"));
    switch.assert_alive();
    // Killed without a warning.
    drop(switch);
    let hidden = |file: &PathBuf| {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("ours");
        file.with_file_name(format!(".{name}.part"))
    };
    for file in &files {
        assert!(hidden(file).exists() && !file.exists());
    }
    let mut switch = start(&dir);
    let failed = || {
        let (_, text) = switch.http("GET", "/metrics");
        String::from_utf8_lossy(&text).contains("outcome=\"failed\"} 2")
    };
    wait_until("it is told that they cannot be closed", failed);
    assert!(files.iter().all(|file| !file.exists()));
    let mut ng = switch.client();
    let mut call = Call::new(&mut ng);
    call.connect();
    call.assert_works("beside a full disk");
    fs::remove_file(&filler).expect("it is there");
    for file in &files {
        whole(file);
    }
    switch.assert_alive();
}
