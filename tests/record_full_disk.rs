//! A real disk without room, and with room again.

mod recorder_support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crosspoint::record::event::RecordingEventKind;
use crosspoint::record::sidecar::verify;
use crosspoint::record::span::SpanKind;
use recorder_support::{Folder, Line, Rig, wav};

/// A tmpfs of 2 MiB, until it is dropped.
struct Small(Folder);

impl Small {
    fn new() -> Self {
        let folder = Folder::new();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(&folder.0);
        assert!(mount.status().expect("mount(8)").success(), "are you root?");
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
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
#[ignore = "takes 25 s, and mounts a tmpfs: as root"]
fn a_full_disk_leaves_silence_and_the_recording_goes_on() {
    let disk = Small::new();
    let dir = &disk.0.0;
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
