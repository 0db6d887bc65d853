//! `crosspoint dtmf` says which keys are in recordings, live samples and captures.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test files are far inside every range"
)]

#[path = "dtmf_tool/captures.rs"]
mod captures;
#[path = "dtmf_tool/files.rs"]
mod files;
#[path = "dtmf_tool/made.rs"]
mod made;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crosspoint");

/// A file of this test; the name must be used once.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dtmf_tool-{name}"));
    std::fs::write(&path, bytes).expect("a place for test files");
    path
}

/// Runs it over a file.
fn over(name: &str, bytes: &[u8], options: &[&str]) -> Output {
    let path = file(name, bytes);
    let output = Command::new(PROGRAM)
        .arg("dtmf")
        .args(options)
        .arg(&path)
        .output();
    std::fs::remove_file(path).expect("it was written");
    output.expect("the program starts")
}

/// What it printed, which must have worked.
fn lines(output: &Output) -> Vec<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(ToOwned::to_owned).collect()
}

/// What it complained of, which must have been all.
fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn keys(lines: &[String]) -> String {
    let keys = lines.iter().filter_map(|line| line.split(' ').next());
    keys.collect()
}

/// The five fields of a line: key, start, end and report in milliseconds, source.
fn fields(line: &str) -> (String, [i64; 3], String) {
    let (fields, place) = placed(line);
    assert_eq!(place, None, "{line:?}");
    fields
}

/// The five fields of a line, and the sixth where there is one: channel or stream.
fn placed(line: &str) -> ((String, [i64; 3], String), Option<&str>) {
    let mut fields: Vec<&str> = line.split(' ').collect();
    let place = (fields.len() > 5).then(|| fields.remove(5));
    let &[key, start, end, report, source] = &fields[..] else {
        panic!("{line:?} has not five fields");
    };
    let ms = |text: &str| text.parse().expect("milliseconds");
    let fields = (key.into(), [ms(start), ms(end), ms(report)], source.into());
    (fields, place)
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).expect("JSON")
}

/// It runs with a pipe to its standard input, and is stopped with its test.
struct Running(Child);

impl Running {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("dtmf").args(options).arg("-");
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(piped.spawn().expect("the program starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_line_is_there_while_the_sound_still_runs() {
    let mut running = Running::start(&[]);
    let mut input = running.0.stdin.take().unwrap();
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    for key in ['4', '2'] {
        input
            .write_all(&made::raw(&made::dialled(8_000, &key.to_string())))
            .unwrap();
        input.flush().unwrap();
        // The input stays open: without a flush this would wait for ever.
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(fields(line.trim()).0, key.to_string());
    }
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut running = Running::start(&[]);
    let mut input = running.0.stdin.take().unwrap();
    drop(running.0.stdout.take());
    let pcm = made::raw(&made::dialled(8_000, "1"));
    // It ends at its first line; what is written after that goes nowhere.
    let end = Instant::now() + Duration::from_secs(20);
    while input.write_all(&pcm).is_ok() {
        assert!(Instant::now() < end, "it goes on without a reader");
    }
    let mut errors = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!(errors, "");
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn wrong_options_are_refused() {
    for (options, expected) in [
        (&["--frame-ms", "0"][..], "0 is not in 1..=1000"),
        (&["--frame-ms", "1001"], "1001 is not in 1..=1000"),
        (&["--pt", "128/8000"], "no payload type"),
        (&["--pt", "101/0"], "no clock rate"),
        (&["--audio-pt", "96/8000"], "say its codec"),
        (&["--audio-pt", "96/8000/mp3"], "no codec is called mp3"),
    ] {
        let output = Command::new(PROGRAM)
            .arg("dtmf")
            .args(options)
            .arg("x")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {errors}");
        assert!(errors.contains(expected), "{options:?}: {errors}");
    }
}
