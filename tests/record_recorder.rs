//! Recordings begin, end and get their names; what cannot be is refused, and disturbs nobody.

mod recorder_support;

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crosspoint::record::config::{Format, Layout, METADATA_MAX};
use crosspoint::record::event::{RecordingEventKind, StopReason};
use crosspoint::record::file::read::RecordingReader;
use crosspoint::record::recorder::{PATH_LEN_MAX, RecordError, Recorder, RecorderConfig};
use crosspoint::record::sidecar::verify;
use recorder_support::{Folder, Rig, config, wait, wav};

const SECOND: Duration = Duration::from_secs(1);

fn length(path: &Path) -> Duration {
    let file = File::open(path).expect("a file");
    RecordingReader::open(file)
        .expect("a recording")
        .info()
        .length()
}

fn is_busy(result: Result<recorder_support::Line, RecordError>) -> bool {
    matches!(result, Err(RecordError::Busy(_)))
}

#[test]
fn each_format_is_completed_and_verified() {
    let folder = Folder::new();
    let mut rig = Rig::new(&folder.0);
    let opus = Format::Opus {
        bitrate_bps: 24_000,
    };
    let all = [
        ("a/b/stereo.wav", Format::Wav, Layout::Stereo),
        ("mono.wav", Format::WavAlaw, Layout::Mono),
        ("four.wav", Format::WavUlaw, Layout::PerTrack(4)),
        ("stereo.opus", opus, Layout::Stereo),
        ("copy.opus", Format::OpusCopy, Layout::Mono),
    ];
    for (path, format, layout) in all {
        let mut config = config(path, format, layout);
        config.length_max = Some(SECOND);
        let _line = rig.spoken(config, SECOND).expect("it begins");
        let event = rig.next_event();
        assert_eq!((&*event.path, &*event.call_id), (path, "call"));
        let RecordingEventKind::Completed {
            reason,
            length: told,
            bytes,
            chain,
            ..
        } = event.kind
        else {
            panic!("{event:?}");
        };
        assert_eq!((reason, told), (StopReason::LengthMax, SECOND), "{path}");
        let file = folder.0.join(path);
        assert_eq!(length(&file), SECOND, "{path}");
        assert_eq!(bytes, fs::metadata(&file).expect("a file").len());
        let report = verify(&file).expect("readable");
        assert!(report.is_verified(), "{path}: {:?}", report.problems);
        assert_eq!(report.chain.expect("verified").to_string(), *chain);
        let sidecar = report.sidecar.expect("verified");
        assert_eq!(sidecar.tracks[0].stats.packets, 50, "{path}");
    }
    let hidden = folder
        .files()
        .into_iter()
        .find(|file| file.contains("/.") || file.starts_with('.'));
    assert_eq!(hidden, None);
    assert_eq!(rig.recorder.counters().live.load(Ordering::Relaxed), 0);
}

#[test]
fn a_name_is_used_once() {
    let folder = Folder::new();
    let mut rig = Rig::new(&folder.0);
    let line = rig.spoken(wav("a.wav"), SECOND).expect("it begins");
    assert!(is_busy(rig.begin(wav("a.wav"))));
    line.recording.stop(line.origin + SECOND, false);
    assert!(matches!(
        rig.next_event().kind,
        RecordingEventKind::Completed { .. }
    ));
    let before = fs::read(folder.0.join("a.wav")).expect("it");
    let mut again = None;
    wait("the name is known to be taken on the disk", || {
        again = Some(rig.begin(wav("a.wav")));
        !matches!(again, Some(Err(RecordError::Busy(_))))
    });
    let Some(Err(RecordError::File { error, .. })) = again else {
        panic!("it was written over");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.0.join("a.wav")).expect("it"), before);
    assert_eq!(folder.files(), ["a.wav", "a.wav.json"]);
}

#[test]
fn what_is_discarded_is_gone() {
    let folder = Folder::new();
    let mut rig = Rig::new(&folder.0);
    let line = rig.spoken(wav("a.wav"), SECOND).expect("it begins");
    line.recording.stop(Instant::now(), true);
    assert_eq!(rig.next_event().kind, RecordingEventKind::Discarded);
    assert_eq!(folder.files(), Vec::<String>::new());
    wait("its name is free", || !is_busy(rig.begin(wav("a.wav"))));
}

#[test]
fn it_ends_with_its_call() {
    let folder = Folder::new();
    let mut rig = Rig::new(&folder.0);
    let line = rig.spoken(wav("a.wav"), SECOND).expect("it begins");
    let at = line.origin.elapsed();
    let _recording = line.hang_up(at);
    let RecordingEventKind::Completed { reason, length, .. } = rig.next_event().kind else {
        panic!("not complete");
    };
    assert_eq!(reason, StopReason::CallEnded);
    assert!(length.abs_diff(at) < Duration::from_millis(1), "{length:?}");
}

#[test]
fn paths_lead_nowhere_else() {
    let folder = Folder::new();
    let inside = folder.0.join("inside");
    let rig = Rig::new(&inside);
    let long = "x".repeat(241);
    let longest = format!("{}/a.wav", "x/".repeat(PATH_LEN_MAX / 2));
    let bad = [
        "",
        "/",
        "/etc/a.wav",
        "..",
        "../a.wav",
        "a/../../b.wav",
        "a/./b.wav",
        "a//b.wav",
        "a/",
        ".a.wav",
        ".hidden/a.wav",
        "a\0.wav",
        "a\nb.wav",
        "a\\b.wav",
        "a.wav.json",
        "a.part",
        "a.journal",
        &long,
        &longest,
    ];
    for path in bad {
        let result = rig.begin(wav(path));
        assert!(matches!(result, Err(RecordError::Path { .. })), "{path:?}");
    }
    assert_eq!(folder.files(), Vec::<String>::new());
    let longest = "x".repeat(240);
    assert!(rig.begin(wav(&longest)).is_ok());
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new();
    let rig = Rig::new(&folder.0);
    let mut long = wav("a.wav");
    long.metadata = "x".repeat(METADATA_MAX + 1).into();
    assert!(matches!(rig.begin(long), Err(RecordError::Config(_))));
    let mut rate = wav("a.wav");
    rate.rate_hz = 44_100;
    assert!(matches!(rig.begin(rate), Err(RecordError::Config(_))));
    let in_a_file = folder.0.join("file");
    fs::write(&in_a_file, []).expect("written");
    assert!(matches!(
        rig.begin(wav("file/a.wav")),
        Err(RecordError::File { .. })
    ));
    for dir in [in_a_file.join("below"), in_a_file, "/proc/nowhere".into()] {
        let result = Recorder::start(RecorderConfig::new(dir));
        assert!(matches!(result, Err(RecordError::File { .. })));
    }
    let mut longest = wav("a.wav");
    longest.metadata = "x".repeat(METADATA_MAX).into();
    assert!(rig.begin(longest).is_ok());
}

#[test]
fn no_more_recordings_than_the_limit() {
    let folder = Folder::new();
    let mut recorder = RecorderConfig::new(folder.0.clone());
    recorder.recordings_max = 2;
    let mut rig = Rig::with(recorder);
    let first = rig.spoken(wav("1.wav"), SECOND).expect("it begins");
    let _second = rig.begin(wav("2.wav")).expect("it begins");
    let third = rig.begin(wav("3.wav"));
    assert!(matches!(third, Err(RecordError::TooMany(2))));
    assert_eq!(rig.recorder.counters().refused.load(Ordering::Relaxed), 1);
    first.recording.stop(first.origin + SECOND, false);
    assert_eq!(&*rig.next_event().path, "1.wav");
    wait("there is room", || rig.begin(wav("3.wav")).is_ok());
}

#[test]
fn a_shutdown_closes_all_of_them() {
    let folder = Folder::new();
    let mut recorder = RecorderConfig::new(folder.0.clone());
    recorder.threads = 3;
    let rig = Rig::with(recorder);
    let lines: Vec<_> = (0..20)
        .map(|ix| {
            rig.spoken(wav(&format!("{ix}.wav")), SECOND)
                .expect("it begins")
        })
        .collect();
    assert!(rig.recorder.shutdown(Duration::from_secs(10)));
    assert!(matches!(rig.begin(wav("more.wav")), Err(RecordError::Over)));
    for ix in 0..20 {
        let file = folder.0.join(format!("{ix}.wav"));
        assert!(verify(&file).expect("readable").is_verified());
        assert!(length(&file) >= SECOND);
    }
    assert_eq!(folder.files().len(), 40);
    drop(lines);
}

/// Two switches may share a directory.
#[test]
fn nobody_closes_what_another_one_is_writing() {
    let folder = Folder::new();
    let mut rig = Rig::new(&folder.0);
    let line = rig.spoken(wav("a.wav"), SECOND).expect("it begins");
    let mut other = Rig::new(&folder.0);
    let taken = other.begin(wav("a.wav"));
    assert!(matches!(taken, Err(RecordError::File { .. })));
    let theirs = other.spoken(wav("b.wav"), SECOND).expect("it begins");
    theirs.recording.stop(theirs.origin + SECOND, false);
    assert_eq!(&*other.next_event().path, "b.wav");
    line.recording.stop(line.origin + SECOND, false);
    let event = rig.next_event();
    assert!(
        matches!(event.kind, RecordingEventKind::Completed { .. }),
        "{event:?}"
    );
    assert_eq!(
        other.recorder.counters().recovered.load(Ordering::Relaxed),
        0
    );
}
