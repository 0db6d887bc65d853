//! `crosspoint recording` as people meet it: what it says of recordings, of what is none, and of
//! what was changed, and its exit status.

mod recorder_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crosspoint::record::event::RecordingEventKind;
use recorder_support::{Folder, Rig, wait, wav};

/// Sound of a recording here.
const LENGTH: Duration = Duration::from_secs(1);

/// What the tool says, on standard output and standard error together.
struct Told {
    ok: bool,
    text: String,
}

fn tool(arguments: &[&str]) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .arg("recording")
        .args(arguments)
        .output()
        .expect("the tool");
    let text = [output.stdout, output.stderr].concat();
    Told {
        ok: output.status.success(),
        text: String::from_utf8(text).expect("UTF-8"),
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A complete recording of two parties, and the chain's head that was told of it.
fn recorded(folder: &Folder) -> (PathBuf, String) {
    let mut rig = Rig::new(&folder.0);
    let line = rig.spoken(wav("call.wav"), LENGTH).expect("it begins");
    line.recording.stop(line.origin + LENGTH, false);
    match rig.next_event().kind {
        RecordingEventKind::Completed { chain, .. } => (folder.0.join("call.wav"), chain.into()),
        other => panic!("{other:?}"),
    }
}

fn change(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_recording_is_shown_drawn_and_verified() {
    let folder = Folder::new();
    let (file, chain) = recorded(&folder);
    let png = folder.0.join("call.png");
    let told = tool(&["show", shown(&file), "--plot", shown(&png)]);
    assert!(told.ok, "{}", told.text);
    for line in [
        "length    0:01.000\n",
        "format    wav, 8000 Hz, 2 channels\n",
        "call      call\n",
        "ended     by command\n",
        &format!("checks    ok, chain {chain}\n"),
        "\ntrack 0 on the left channel: leg-0\n          50 packets of PCMU/8000, 0 lost",
        "\ntrack 1 on the right channel: leg-1\n",
    ] {
        assert!(told.text.contains(line), "{line:?} in {}", told.text);
    }
    let picture = fs::read(&png).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG"));
    assert_eq!(picture[16..20], 1_600_u32.to_be_bytes());
    let told = tool(&["verify", shown(&file), "--chain", &chain.to_uppercase()]);
    let ok = format!("{}: ok, chain {chain}\n", file.display());
    assert_eq!((told.ok, told.text), (true, ok));
    let told = tool(&["verify", shown(&file), "--chain", &"0".repeat(64)]);
    assert!(!told.ok && told.text.contains("its chain is not the one that was told"));
    let told = tool(&["repair", shown(&file)]);
    let whole = format!("{}: whole already, 0:01.000\n", file.display());
    assert_eq!((told.ok, told.text), (true, whole));
}

#[test]
fn what_was_changed_is_said_and_where() {
    type Damage = fn(&Path, &Path);
    let damages: [(Damage, &str); 6] = [
        (
            |file, _| change(file, 10_000),
            "segment 0 (bytes 80 to 32080, 0.0 s to 1.0 s) was changed\n",
        ),
        (
            |file, _| change(file, 30),
            "the header (bytes 0 to 80) was changed\n",
        ),
        (|_, sidecar| change(sidecar, 40), "the sidecar"),
        (
            |_, sidecar| fs::write(sidecar, "{").expect("written"),
            "the sidecar is not in its form: EOF",
        ),
        (
            |_, sidecar| fs::remove_file(sidecar).expect("removed"),
            "there is no sidecar ",
        ),
        (
            |file, _| {
                fs::write(file, [fs::read(file).expect("it"), b"x".to_vec()].concat())
                    .expect("written")
            },
            "bytes behind the last segment, from 32080\n",
        ),
    ];
    for (damage, said) in damages {
        let folder = Folder::new();
        let (file, _) = recorded(&folder);
        damage(&file, &folder.0.join("call.wav.json"));
        let told = tool(&["verify", shown(&file)]);
        assert!(
            !told.ok && told.text.contains(said),
            "{said}: {}",
            told.text
        );
        assert!(told.text.ends_with("the recording is not verified\n"));
        let told = tool(&["show", shown(&file)]);
        assert!(told.ok, "what can be shown is: {}", told.text);
        assert!(!told.text.contains("checks    ok"), "{}", told.text);
        assert!(told.text.contains(said.trim_end()), "{said}: {}", told.text);
    }
}

#[test]
fn what_is_no_recording_is_told_apart() {
    let folder = Folder::new();
    let (file, _) = recorded(&folder);
    let at = |name: &str| folder.0.join(name);
    fs::create_dir(at("folder.wav")).expect("a folder");
    fs::write(
        at("text.wav"),
        "not a sound, but a text of some length, as people write them\n",
    )
    .expect("written");
    fs::write(at("empty.wav"), "").expect("written");
    fs::write(at("call.wav.age"), "age-encryption.org/v1\n-> X25519 …").expect("written");
    for (name, verbs, said) in [
        (
            "nowhere.wav",
            &["show", "verify", "repair"][..],
            "No such file or directory",
        ),
        ("folder.wav", &["show", "verify", "repair"], "not a file"),
        ("text.wav", &["show", "repair"], "neither WAV nor Ogg Opus"),
        ("empty.wav", &["show"], "neither WAV nor Ogg Opus"),
        ("empty.wav", &["repair"], "ends before its sound begins"),
        (
            "call.wav.age",
            &["show", "verify", "repair"],
            "sealed; whoever has the private key",
        ),
        (
            "call.wav.json",
            &["show", "verify", "repair"],
            "a sidecar; name its recording",
        ),
    ] {
        for verb in verbs {
            let told = tool(&[verb, shown(&at(name))]);
            let named = told.text.contains(&at(name).display().to_string());
            assert!(
                !told.ok && named && told.text.contains(said),
                "{verb} {name}: {}",
                told.text
            );
        }
    }
    // One that cannot be read does not hide the others.
    let told = tool(&["verify", shown(&at("nowhere.wav")), shown(&file)]);
    assert!(
        !told.ok && told.text.contains("call.wav: ok, chain "),
        "{}",
        told.text
    );
    assert!(
        told.text.contains("1 of 2 recordings are not verified"),
        "{}",
        told.text
    );
    // A picture where none can be.
    let told = tool(&["show", shown(&file), "--plot", shown(&at("no/where.png"))]);
    assert!(
        !told.ok && told.text.contains("no/where.png"),
        "{}",
        told.text
    );
}

#[test]
fn what_a_crash_left_is_closed_by_hand() {
    let (source, folder) = (Folder::new(), Folder::new());
    let rig = Rig::new(&source.0);
    let _line = rig.spoken(wav("call.wav"), LENGTH).expect("it begins");
    let part = source.0.join(".call.wav.part");
    wait("it is written", || {
        fs::metadata(&part).is_ok_and(|part| part.len() > 24_000)
    });
    // While a switch writes it nobody else does.
    let told = tool(&["repair", shown(&part)]);
    assert!(
        !told.ok && told.text.contains("it is being recorded"),
        "{}",
        told.text
    );
    let told = tool(&["show", shown(&part)]);
    assert!(
        told.ok
            && told
                .text
                .contains("checks    none yet: it is being recorded")
    );
    for name in [".call.wav.part", ".call.wav.journal"] {
        fs::copy(source.0.join(name), folder.0.join(name)).expect("copied");
    }
    let told = tool(&["repair", shown(&folder.0.join(".call.wav.part"))]);
    let file = folder.0.join("call.wav");
    assert!(
        told.ok && told.text.contains(": closed, 0:0"),
        "{}",
        told.text
    );
    assert!(
        told.text.contains(&format!("it is {} now", file.display())),
        "{}",
        told.text
    );
    assert_eq!(folder.files(), ["call.wav", "call.wav.json"]);
    let told = tool(&["show", shown(&file)]);
    assert!(
        told.text.contains("ended     by a crash; closed later"),
        "{}",
        told.text
    );
    assert!(tool(&["verify", shown(&file)]).ok);
    // One without a journal is made whole where it is.
    let torn = folder.0.join("torn.wav");
    let bytes = fs::read(&file).expect("it");
    fs::write(&torn, &bytes[..10_001]).expect("written");
    let told = tool(&["repair", shown(&torn)]);
    assert!(
        told.ok && told.text.contains("closed, 0:00.310; 1 byte"),
        "{}",
        told.text
    );
    assert!(
        tool(&["show", shown(&torn)])
            .text
            .contains("length    0:00.310\n")
    );
}
