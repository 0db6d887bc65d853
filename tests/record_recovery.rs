//! What a crash left is closed at the next start, checked and told; whatever else lies there is not
//! touched.

mod recorder_support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crosspoint::record::config::{Format, Layout};
use crosspoint::record::event::{RecordingEventKind, StopReason};
use crosspoint::record::file::read::RecordingReader;
use crosspoint::record::journal;
use crosspoint::record::recorder::{RecordError, Recorder, RecorderConfig};
use crosspoint::record::sidecar::{Sidecar, verify};
use recorder_support::slow::SlowDisk;
use recorder_support::{Folder, Rig, config, wait, wav};

const SECOND: Duration = Duration::from_secs(1);

const PART: &str = ".a.wav.part";
const JOURNAL: &str = ".a.wav.journal";
const SIDECAR_PART: &str = ".a.wav.json.part";

fn length(path: &Path) -> Duration {
    let file = File::open(path).expect("a file");
    RecordingReader::open(file)
        .expect("a recording")
        .info()
        .length()
}

/// By somebody else's player.
fn assert_opens(file: &Path) {
    let mut player = std::process::Command::new("ffprobe");
    let output = player.args(["-v", "error"]).arg(file).output();
    let output = output.expect("ffprobe: apt-get install -y ffmpeg");
    let said = String::from_utf8_lossy(&output.stderr);
    let opens = output.status.success() && said.is_empty();
    assert!(opens, "{}: {said}", file.display());
}

/// What a recording in progress has on the disk, as a crash would leave it.
fn left_by_a_crash() -> Folder {
    let (source, folder) = (Folder::new(), Folder::new());
    let rig = Rig::new(&source.0);
    let _line = rig.spoken(wav("a.wav"), SECOND).expect("it begins");
    // Header, and 800 ms of sound.
    wait("it is written", || {
        fs::metadata(source.0.join(PART)).is_ok_and(|part| part.len() > 24_000)
    });
    for name in [PART, JOURNAL] {
        fs::copy(source.0.join(name), folder.0.join(name)).expect("copied");
    }
    folder
}

/// What its journal tells.
fn journaled(folder: &Folder) -> Sidecar {
    let text = fs::read(folder.0.join(JOURNAL)).expect("a journal");
    journal::read(&text).expect("it begins").sidecar
}

/// Why it could not be closed.
fn failure(rig: &mut Rig) -> String {
    match rig.next_event().kind {
        RecordingEventKind::Failed { error } => error.into(),
        other => panic!("{other:?}"),
    }
}

/// It is complete, with its sidecar, and nothing else is there.
fn assert_whole(folder: &Folder, name: &str) -> Sidecar {
    assert_eq!(folder.files(), [name.to_owned(), format!("{name}.json")]);
    let report = verify(&folder.0.join(name)).expect("readable");
    assert!(report.is_verified(), "{:?}", report.problems);
    report.sidecar.expect("verified")
}

#[test]
fn what_a_crash_left_is_closed_and_told_to_who_asks_first() {
    let folder = left_by_a_crash();
    // What was being noted when it crashed.
    let journal = folder.0.join(JOURNAL);
    let mut text = fs::read(&journal).expect("it");
    text.extend_from_slice(b"{\"note\":\"sp");
    fs::write(&journal, text).expect("written");
    let mut rig = Rig::new(&folder.0);
    let event = rig.next_event();
    assert_eq!((&*event.path, &*event.call_id), ("a.wav", "call"));
    let RecordingEventKind::Completed {
        reason,
        length: told,
        ..
    } = event.kind
    else {
        panic!("{event:?}");
    };
    assert_eq!(reason, StopReason::Recovered);
    assert_eq!(told, length(&folder.0.join("a.wav")));
    let report = verify(&folder.0.join("a.wav")).expect("readable");
    assert!(report.is_verified(), "{:?}", report.problems);
    assert_eq!(folder.files(), ["a.wav", "a.wav.json"]);
    assert_eq!(rig.recorder.counters().recovered.load(Ordering::Relaxed), 1);
}

#[test]
fn what_cannot_be_closed_is_kept_and_told() {
    type Damage = fn(&Folder);
    let damages: [(Damage, &str); 4] = [
        (
            |folder| {
                let part = folder.0.join(PART);
                fs::write(
                    part,
                    b"no header of ours, nor anybody's: far from it, this is text",
                )
                .expect("written");
            },
            "not a recording",
        ),
        (
            |folder| {
                let journal = folder.0.join(JOURNAL);
                fs::write(journal, b"{}\n").expect("written");
            },
            "journal does not begin",
        ),
        (
            |folder| {
                fs::write(folder.0.join("a.wav"), b"mine").expect("written");
            },
            "exists",
        ),
        (
            |folder| {
                fs::write(folder.0.join("a.wav.json"), b"mine").expect("written");
            },
            "exists",
        ),
    ];
    for (damage, said) in damages {
        let folder = left_by_a_crash();
        damage(&folder);
        let part = fs::read(folder.0.join(PART)).expect("it");
        for _ in 0..2 {
            let mut rig = Rig::new(&folder.0);
            let event = rig.next_event();
            let RecordingEventKind::Failed { error } = event.kind else {
                panic!("{event:?}");
            };
            assert!(error.contains(said), "{error}");
        }
        let kept = fs::read(folder.0.join(PART)).expect("it is kept");
        assert!(kept.len() >= part.len().min(100));
        assert!(folder.0.join(JOURNAL).exists());
    }
}

#[test]
fn a_journal_without_a_recording_goes() {
    let folder = left_by_a_crash();
    fs::remove_file(folder.0.join(PART)).expect("it is there");
    fs::write(folder.0.join("a.wav"), b"done").expect("written");
    let _rig = Rig::new(&folder.0);
    wait("it goes", || folder.files() == ["a.wav"]);
}

/// At any step of giving a complete recording its names.
#[test]
fn a_crash_between_names_leaves_one_recording() {
    type Step = fn(&Folder);
    let [file, sidecar] = ["a.wav", "a.wav.json"];
    fn has(folder: &Folder, from: &str, to: &str) {
        fs::hard_link(folder.0.join(from), folder.0.join(to)).expect("linked");
    }
    fn lacks(folder: &Folder, name: &str) {
        fs::remove_file(folder.0.join(name)).expect("it is there");
    }
    let steps: [Step; 5] = [
        |folder| {
            lacks(folder, "a.wav");
            lacks(folder, "a.wav.json");
        },
        |folder| lacks(folder, "a.wav"),
        |_| {},
        |folder| lacks(folder, PART),
        |folder| {
            lacks(folder, PART);
            lacks(folder, SIDECAR_PART);
        },
    ];
    let complete = left_by_a_crash();
    let journal = fs::read(complete.0.join(JOURNAL)).expect("it");
    let mut rig = Rig::new(&complete.0);
    rig.next_event();
    for (step, change) in steps.into_iter().enumerate() {
        let folder = Folder::new();
        for name in [file, sidecar] {
            fs::copy(complete.0.join(name), folder.0.join(name)).expect("copied");
        }
        fs::write(folder.0.join(JOURNAL), &journal).expect("written");
        has(&folder, file, PART);
        has(&folder, sidecar, SIDECAR_PART);
        change(&folder);
        let mut rig = Rig::new(&folder.0);
        let event = rig.next_event();
        let RecordingEventKind::Completed { chain, .. } = event.kind else {
            panic!("step {step}: {event:?}");
        };
        assert_eq!((&*event.path, &*event.call_id), (file, "call"));
        assert_whole(&folder, file);
        let report = verify(&folder.0.join(file)).expect("readable");
        assert_eq!(report.chain.expect("verified").to_string(), *chain);
    }
}

#[test]
fn what_had_no_sound_yet_is_told_and_goes() {
    let header_len = journaled(&left_by_a_crash()).header_len;
    for len in [0, 1, header_len - 1] {
        let folder = left_by_a_crash();
        let part = File::options().write(true).open(folder.0.join(PART));
        part.expect("it").set_len(len).expect("shorter");
        let mut rig = Rig::new(&folder.0);
        let event = rig.next_event();
        assert_eq!((&*event.path, &*event.call_id), ("a.wav", "call"));
        let RecordingEventKind::Failed { error } = event.kind else {
            panic!("{event:?}");
        };
        assert!(error.contains("before its sound began"), "{error}");
        assert_eq!(folder.files(), Vec::<String>::new());
        assert_eq!(rig.recorder.counters().failed.load(Ordering::Relaxed), 1);
    }
    // A journal alone.
    let folder = left_by_a_crash();
    fs::remove_file(folder.0.join(PART)).expect("it is there");
    let mut rig = Rig::new(&folder.0);
    assert!(failure(&mut rig).contains("before its sound began"));
    assert_eq!(folder.files(), Vec::<String>::new());
}

/// A header is a recording of no length: what was paused or pressed is in its sidecar.
#[test]
fn a_header_alone_is_closed() {
    let opus = Format::Opus {
        bitrate_bps: 24_000,
    };
    for (format, layout) in [
        (Format::Wav, Layout::Stereo),
        (opus, Layout::Mono),
        (opus, Layout::PerTrack(3)),
        (Format::OpusCopy, Layout::Mono),
    ] {
        let folder = Folder::new();
        {
            let source = Folder::new();
            let rig = Rig::new(&source.0);
            let _line = rig.begin(config("a.wav", format, layout));
            wait("it is begun", || {
                fs::metadata(source.0.join(JOURNAL)).is_ok_and(|file| file.len() > 0)
            });
            wait("it is begun", || {
                fs::metadata(source.0.join(PART)).is_ok_and(|file| file.len() > 0)
            });
            for name in [PART, JOURNAL] {
                fs::copy(source.0.join(name), folder.0.join(name)).expect("copied");
            }
        }
        let part = File::options().write(true).open(folder.0.join(PART));
        let header_len = journaled(&folder).header_len;
        part.expect("it").set_len(header_len).expect("shorter");
        let mut rig = Rig::new(&folder.0);
        let event = rig.next_event();
        let RecordingEventKind::Completed { length: told, .. } = event.kind else {
            panic!("{event:?}");
        };
        let sidecar = assert_whole(&folder, "a.wav");
        assert_eq!((told, sidecar.length_us), (Duration::ZERO, 0));
        assert_eq!(length(&folder.0.join("a.wav")), Duration::ZERO);
        assert_opens(&folder.0.join("a.wav"));
    }
}

/// Killed while the disk was full, at any octet of a file or its journal: in every format it is a
/// recording that players open, or had none of its sound.
#[test]
fn a_full_disk_at_any_octet_leaves_a_recording() {
    /// So many octets of a file fit, and of its journal, as its name says.
    fn room(path: &Path) -> u64 {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("ours");
        let mut rooms = name.trim_start_matches('.').split(['-', '.']);
        let index = if name.ends_with(".journal") { 1 } else { 0 };
        let room = rooms.nth(index).expect("ours");
        room.parse().expect("a number")
    }
    let opus = Format::Opus {
        bitrate_bps: 24_000,
    };
    let formats = [
        ("wav", Format::Wav, Layout::Stereo),
        ("wav", Format::WavAlaw, Layout::Mono),
        ("wav", Format::WavUlaw, Layout::PerTrack(3)),
        ("opus", opus, Layout::Mono),
        ("opus", opus, Layout::PerTrack(3)),
        ("opus", Format::OpusCopy, Layout::Mono),
    ];
    let (source, folder) = (Folder::new(), Folder::new());
    let disk = Arc::new(SlowDisk::with_room(room));
    let recorder = RecorderConfig::new(source.0.clone());
    let recorder = Recorder::start_on(recorder, disk).expect("a recorder");
    let events = recorder.events();
    let rig = Rig { recorder, events };
    let mut lines = Vec::new();
    let mut names = Vec::new();
    for (ending, format, layout) in formats {
        for turn in 0..6 {
            // Few octets of sound are as likely as many; some files have all the room.
            let part = match turn {
                0 => 100_000,
                _ => 2_u64.pow(fastrand::u32(4..14)) + fastrand::u64(..16),
            };
            let journal = match turn {
                1 => fastrand::u64(..1_500),
                _ => 100_000,
            };
            let name = format!("{part}-{journal}-{}.{ending}", names.len());
            let line = rig.spoken(config(&name, format, layout), SECOND);
            lines.push(line.expect("it begins"));
            names.push(name);
        }
    }
    let is_full = |name: &String| name.starts_with("100000-100000");
    wait("half a second is written where there is room", || {
        let mut full = names.iter().filter(|name| is_full(name));
        full.all(|name| {
            let part = fs::metadata(source.0.join(format!(".{name}.part")));
            part.is_ok_and(|part| part.len() > 2_000)
        })
    });
    for name in source.files() {
        fs::copy(source.0.join(&name), folder.0.join(&name)).expect("copied");
    }
    let mut rig = Rig::new(&folder.0);
    let mut empty = 0;
    for _ in &names {
        let event = rig.next_event();
        match event.kind {
            RecordingEventKind::Completed { length, .. } => {
                let file = folder.0.join(&*event.path);
                assert!(verify(&file).expect("readable").is_verified(), "{file:?}");
                let full = is_full(&event.path.into());
                assert!(!full || length > Duration::ZERO, "{file:?}");
                assert_opens(&file);
            }
            RecordingEventKind::Failed { error } => {
                assert!(error.contains("before its sound began"), "{error}");
                empty += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(folder.files().len(), 2 * (names.len() - empty));
    assert!(empty < names.len() / 2, "{empty}");
}

/// The slow disk lost lines: also that of a segment.
#[test]
fn notes_that_were_lost_are_counted_in_the_sidecar() {
    let folder = left_by_a_crash();
    let part = fs::read(folder.0.join(PART)).expect("it");
    let header = usize::try_from(journaled(&folder).header_len).expect("short");
    let mut chain = crosspoint::record::sidecar::Chain::new(header as u64);
    let mut lines = Vec::new();
    for (index, until) in [4_000, 8_000, 12_000].into_iter().enumerate() {
        let from = [0, 4_000, 8_000][index];
        chain.push(&part[header + from..header + until]);
        let segment = chain.cut(until as u64 / 32 * 1_000).expect("octets");
        let note = match index {
            1 => crosspoint::record::sidecar::Note::Lost { notes: 3 },
            _ => crosspoint::record::sidecar::Note::Segment(segment),
        };
        journal::append(&note, &mut lines);
    }
    let mut text = fs::read(folder.0.join(JOURNAL)).expect("it");
    text.extend(lines);
    fs::write(folder.0.join(JOURNAL), &text).expect("written");
    let mut rig = Rig::new(&folder.0);
    let event = rig.next_event();
    assert!(
        matches!(event.kind, RecordingEventKind::Completed { .. }),
        "{event:?}"
    );
    let sidecar = assert_whole(&folder, "a.wav");
    assert_eq!((sidecar.notes_lost, sidecar.segments.len()), (3, 3));
}

/// Whatever stands in a journal, each recording beside one is closed or told.
#[test]
fn hostile_journals_are_survived() {
    const COUNT: usize = 60;
    const EXTREMES: [&str; 5] = ["0", "1", "4294967296", "9223372036854775808", MOST];
    const MOST: &str = "18446744073709551615";
    let left = left_by_a_crash();
    let part = fs::read(left.0.join(PART)).expect("it");
    let mut text = fs::read_to_string(left.0.join(JOURNAL)).expect("it");
    let zeros = "0".repeat(64);
    for (from, until) in [("80", MOST), (MOST, "80"), (MOST, MOST), ("0", "0")] {
        text += &format!(
            "{{\"note\":\"segment\",\"from\":{from},\"until\":{until},\"until_us\":{MOST},\
             \"chain\":\"{zeros}\"}}\n{{\"note\":\"lost\",\"notes\":{MOST}}}\n"
        );
    }
    let folder = Folder::new();
    for n in 0..COUNT {
        // Numbers are exchanged for others, or octets for any.
        let mut damaged = String::new();
        for piece in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
            let digits = piece.trim_end_matches(|c: char| !c.is_ascii_digit());
            match digits.is_empty() || fastrand::u8(..8) > 0 {
                true => damaged += piece,
                false => {
                    damaged += fastrand::choice(EXTREMES).expect("some");
                    damaged += &piece[digits.len()..];
                }
            }
        }
        let mut damaged = damaged.into_bytes();
        if n % 3 == 0 {
            let at = fastrand::usize(..damaged.len());
            damaged[at] = fastrand::u8(..);
        }
        fs::write(folder.0.join(format!(".{n}.wav.part")), &part).expect("written");
        fs::write(folder.0.join(format!(".{n}.wav.journal")), damaged).expect("written");
    }
    let mut rig = Rig::new(&folder.0);
    for _ in 0..COUNT {
        let event = rig.next_event();
        let left = folder.0.join(format!(".{}.part", event.path)).exists();
        match event.kind {
            RecordingEventKind::Completed { .. } => assert!(!left, "{}", event.path),
            RecordingEventKind::Failed { .. } => assert!(left, "{}", event.path),
            other => panic!("{other:?}"),
        }
    }
}

/// Whoever can write to the directory does not make the switch write, or read, elsewhere.
#[test]
fn links_lead_nowhere() {
    let outside = Folder::new();
    let victim = outside.0.join("victim");
    for hidden in [PART, JOURNAL] {
        let folder = left_by_a_crash();
        let left = fs::read(folder.0.join(hidden)).expect("it");
        fs::write(&victim, &left).expect("written");
        fs::remove_file(folder.0.join(hidden)).expect("it is there");
        symlink(&victim, folder.0.join(hidden)).expect("linked");
        let before = folder.files();
        let mut rig = Rig::new(&folder.0);
        match hidden {
            PART => assert!(failure(&mut rig).contains("link")),
            // What is no file is not looked at.
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
        assert!(fs::read(&victim).expect("it") == left);
        assert_eq!(folder.files(), before);
    }
    let folder = left_by_a_crash();
    fs::write(&victim, b"mine").expect("written");
    symlink(&victim, folder.0.join(SIDECAR_PART)).expect("linked");
    let mut rig = Rig::new(&folder.0);
    rig.next_event();
    assert_whole(&folder, "a.wav");
    assert_eq!(fs::read(&victim).expect("it"), b"mine");

    let folder = Folder::new();
    let rig = Rig::new(&folder.0);
    symlink(&outside.0, folder.0.join("out")).expect("linked");
    symlink(outside.0.join("new"), folder.0.join(".b.wav.part")).expect("linked");
    for path in ["out/a.wav", "out/below/a.wav", "b.wav"] {
        let result = rig.begin(wav(path));
        assert!(matches!(result, Err(RecordError::File { .. })), "{path}");
    }
    assert_eq!(outside.files(), ["victim"]);
    assert!(rig.begin(wav("below/below/a.wav")).is_ok());
}

/// The program, told to repair this file; what it said.
fn repairs(file: &Path) -> Result<String, String> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .args(["recording", "repair"])
        .arg(file)
        .output()
        .expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[test]
fn a_person_closes_one_as_a_start_does() {
    let folder = left_by_a_crash();
    let said = repairs(&folder.0.join(PART)).expect("closed");
    assert!(said.contains("a.wav.json"), "{said}");
    let sidecar = assert_whole(&folder, "a.wav");
    assert_eq!(sidecar.reason, StopReason::Recovered);

    // Without its journal nobody knows what it is: it is closed, and keeps its name.
    let folder = left_by_a_crash();
    fs::remove_file(folder.0.join(JOURNAL)).expect("it is there");
    let said = repairs(&folder.0.join(PART)).expect("closed");
    assert!(said.contains("no journal"), "{said}");
    assert_eq!(folder.files(), [PART]);
    assert!(length(&folder.0.join(PART)) >= Duration::from_millis(500));

    // What is being recorded is left alone.
    let folder = Folder::new();
    let rig = Rig::new(&folder.0);
    let _line = rig.begin(wav("a.wav")).expect("it begins");
    let said = repairs(&folder.0.join(PART)).expect_err("it is busy");
    assert!(said.contains("being recorded"), "{said}");
    fs::remove_file(folder.0.join(JOURNAL)).expect("it is there");
    let said = repairs(&folder.0.join(PART)).expect_err("it is busy");
    assert!(said.contains("being recorded"), "{said}");
}
