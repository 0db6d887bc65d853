//! A recorder is killed at any moment: every file is there, opens in ffprobe and sox, and holds all
//! but the last half second. `CROSSPOINT_TEST_KILLS` says how often it is killed.
//!
//! The half second is measured by the killed process' own monotonic clock, by which it stamps
//! packets as well. It writes that clock to a file every millisecond: until the last of these it
//! was alive, and packets that had come half a second before are in the file.

mod recorder_support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crosspoint::record::config::{Format, Layout, PauseMode};
use crosspoint::record::event::RecordingEventKind;
use crosspoint::record::file::read::RecordingReader;
use crosspoint::record::journal;
use crosspoint::record::sidecar::verify;
use recorder_support::{Folder, Line, Rig, config, wait};

/// Most sound that a crash takes.
const LOST_MAX: Duration = Duration::from_millis(500);

/// Kills where nobody says how many.
const KILLS: u32 = 10;

/// Sound is looked for in pieces of this length.
const PIECE: Duration = Duration::from_millis(60);

/// Where some recordings are paused, and go on.
const PAUSE: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(800)];

const FOLDER: &str = "CROSSPOINT_CRASH_FOLDER";
const CLOCK: &str = "CROSSPOINT_CRASH_CLOCK";
const KILLS_VARIABLE: &str = "CROSSPOINT_TEST_KILLS";

const OPUS: Format = Format::Opus {
    bitrate_bps: 24_000,
};

/// All formats, with one channel, two and more.
const ALL: [(&str, Format, Layout); 12] = [
    ("wav", Format::Wav, Layout::Mono),
    ("wav", Format::Wav, Layout::Stereo),
    ("wav", Format::Wav, Layout::PerTrack(16)),
    ("wav", Format::WavAlaw, Layout::Mono),
    ("wav", Format::WavAlaw, Layout::Stereo),
    ("wav", Format::WavAlaw, Layout::PerTrack(3)),
    ("wav", Format::WavUlaw, Layout::Mono),
    ("wav", Format::WavUlaw, Layout::PerTrack(3)),
    ("opus", OPUS, Layout::Mono),
    ("opus", OPUS, Layout::Stereo),
    ("opus", OPUS, Layout::PerTrack(3)),
    ("opus", Format::OpusCopy, Layout::Mono),
];

/// Microseconds.
fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("short")
}

/// Somebody who speaks for a while, and perhaps pauses.
struct Talk {
    line: Line,
    until: Instant,
    pauses: bool,
    turns: usize,
}

impl Talk {
    /// Tells nothing but what its metadata say: when it began, and what its pause leaves.
    fn begin(rig: &Rig, base: Instant, count: usize) -> Self {
        let (ending, format, layout) = ALL[count % ALL.len()];
        let path = format!("{}/{count}.{ending}", count % 7);
        let mut config = config(&path, format, layout);
        // Each format is met with each of them, for 3 and 12 have 3 in common: chosen by the round.
        let pause = (count + count / ALL.len()) % 3;
        if pause == 2 {
            config.pause = PauseMode::Skip;
        }
        let kind = ["whole", "silence", "skip"][pause];
        let line = rig
            .begin_at(config, |origin| {
                let origin_us = us(origin.duration_since(base));
                format!("{origin_us} {kind}")
            })
            .expect("it begins");
        Self {
            until: line.origin + Duration::from_millis(fastrand::u64(300..2_500)),
            line,
            pauses: pause > 0,
            turns: 0,
        }
    }

    fn speak(&mut self) {
        self.line.speak_until_now();
        let Some(turn) = PAUSE.get(self.turns).filter(|_| self.pauses) else {
            return;
        };
        let at = self.line.origin + *turn;
        if Instant::now() < at {
            return;
        }
        match self.turns {
            0 => self.line.recording.pause(at),
            _ => self.line.recording.resume(at),
        }
        self.turns += 1;
    }
}

/// Recordings of all formats that begin and end all the time, until this process is killed.
#[test]
#[ignore = "it is run by the other test, which kills it"]
fn records_until_it_is_killed() {
    let (Ok(folder), Ok(clock)) = (std::env::var(FOLDER), std::env::var(CLOCK)) else {
        return;
    };
    let base = Instant::now();
    let rig = Rig::new(Path::new(&folder));
    let clock = File::create(clock).expect("a file");
    let worst = File::options()
        .write(true)
        .open(std::env::var(CLOCK).expect("known"));
    let worst = worst.expect("just made");
    std::thread::spawn(move || {
        loop {
            let now = us(base.elapsed()).to_le_bytes();
            clock.write_all_at(&now, 0).expect("room");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    println!("recording");
    let (mut talks, mut longest, mut before): (Vec<Talk>, _, _) = (Vec::new(), 0, Instant::now());
    // Not always the same ones are old.
    let first = fastrand::usize(..ALL.len());
    for count in 0.. {
        if count % 15 == 0 {
            talks.push(Talk::begin(&rig, base, first + count / 15));
        }
        talks.iter_mut().for_each(Talk::speak);
        let over = talks.extract_if(.., |talk| talk.until <= Instant::now());
        over.for_each(|talk| talk.line.stop());
        // How late packets were handed over at most.
        longest = longest.max(us(before.elapsed()));
        worst.write_all_at(&longest.to_le_bytes(), 8).expect("room");
        before = Instant::now();
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(folder: &Folder, clock: &Path) -> Child {
    let program = std::env::current_exe().expect("this test");
    let mut command = Command::new(program);
    command.args([
        "--exact",
        "records_until_it_is_killed",
        "--ignored",
        "--nocapture",
    ]);
    command.env(FOLDER, &folder.0).env(CLOCK, clock);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("this test");
    let output = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(output).lines();
    let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("recording")));
    assert!(ready.is_some(), "it ended");
    child
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// Recordings in progress at a kill, those half a second old or older.
    killed: usize,
    /// Files that crashes left, and that were closed.
    recovered: usize,
    /// The most that one of them had lost.
    worst: Duration,
    /// Files that players opened.
    ffprobe: usize,
    sox: usize,
}

/// Whether a program runs with this file and says nothing against it.
fn opens(player: &mut Command, file: &Path) {
    let output = player.output();
    let output = output.unwrap_or_else(|error| {
        let player = player.get_program().display();
        panic!("{player} ({error}): apt-get install -y ffmpeg sox")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", file.display());
    let complains = ["FAIL", "WARN", "rror"]
        .iter()
        .any(|word| said.contains(word));
    assert!(!complains, "{}: {said}", file.display());
}

impl Found {
    /// Players open it, as its name says it is: sox knows no Opus on most machines.
    fn play(&mut self, file: &Path) {
        opens(
            Command::new("ffprobe").args(["-v", "error"]).arg(file),
            file,
        );
        self.ffprobe += 1;
        if file.to_string_lossy().contains(".wav") {
            let mut sox = Command::new("sox");
            sox.args(["-t", "wav"]).arg(file).args(["-n", "stat"]);
            opens(&mut sox, file);
            self.sox += 1;
        }
    }

    /// A recording in progress when the process was last seen alive, `alive_us` by its clock.
    fn in_progress(&mut self, paths: &Hidden, alive_us: u64, is_prompt: bool) {
        let text = fs::read(&paths.journal).expect("a journal");
        let Some(journal) = journal::read(&text) else {
            return;
        };
        let (origin_us, kind) = journal.sidecar.metadata.split_once(' ').expect("ours");
        let origin_us: u64 = origin_us.parse().expect("ours");
        let lasted = Duration::from_micros(alive_us.saturating_sub(origin_us));
        if lasted < LOST_MAX || journal.ended {
            return;
        }
        let [pause, resume] = PAUSE.map(|turn| turn.min(lasted));
        let expected = match kind {
            "skip" => lasted - (resume - pause),
            _ => lasted,
        };
        let (length, silent) = heard(&paths.part);
        let lost = expected.saturating_sub(length);
        let name = paths.part.display();
        assert!(lost <= LOST_MAX, "{name}: {lost:?} of {lasted:?} lost");
        self.killed += 1;
        self.worst = self.worst.max(lost);
        if is_prompt {
            let paused = |at: &Duration| {
                let begins = (at.saturating_sub(PIECE)..*at + 2 * PIECE).contains(&pause);
                let lasts = (pause..resume + PIECE).contains(at);
                match kind {
                    "silence" => begins || lasts,
                    "skip" => begins,
                    _ => false,
                }
            };
            let silent: Vec<_> = silent.iter().filter(|at| !paused(at)).collect();
            assert!(silent.is_empty(), "{name}: silent at {silent:?} ({kind})");
        }
        if length > Duration::ZERO {
            self.play(&paths.part);
        }
    }
}

/// How long a file is, and where a piece of its first channel is silent. The codec and the first
/// packet need a moment at its beginning.
fn heard(path: &Path) -> (Duration, Vec<Duration>) {
    let reader = RecordingReader::open(File::open(path).expect("a file"));
    let mut reader = reader.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let info = reader.info();
    let channels = usize::from(info.channels);
    let len = usize::try_from(us(PIECE) * u64::from(info.rate_hz) / 1_000_000).expect("short");
    let (mut silent, mut piece) = (Vec::new(), vec![0; len * channels]);
    for at in (0..).map(|count| PIECE * count) {
        let mut filled = 0;
        while filled < piece.len() {
            match reader.read(&mut piece[filled..]).expect("readable") {
                0 => break,
                count => filled += count,
            }
        }
        if filled < piece.len() {
            break;
        }
        let first = piece.iter().step_by(channels);
        if at > 2 * PIECE && first.map(|sample| sample.unsigned_abs()).max() < Some(1_000) {
            silent.push(at);
        }
    }
    (info.length(), silent)
}

/// What lies there of a recording in progress.
struct Hidden {
    part: PathBuf,
    journal: PathBuf,
}

fn hidden(folder: &Folder) -> Vec<Hidden> {
    let in_progress = |name: String| {
        let journal = folder.0.join(name);
        let file = journal.file_name()?.to_str()?.strip_suffix(".journal")?;
        let part = journal.with_file_name(format!("{file}.part"));
        // Killed just after it had its name, or before it had begun.
        part.exists().then_some(Hidden { part, journal })
    };
    folder.files().into_iter().filter_map(in_progress).collect()
}

fn kill_once(found: &mut Found) {
    let (folder, beside) = (Folder::new(), Folder::new());
    let clock = beside.0.join("clock");
    let mut child = start(&folder, &clock);
    std::thread::sleep(Duration::from_micros(fastrand::u64(300_000..3_000_000)));
    child.kill().expect("our child");
    child.wait().expect("our child");
    let clock = fs::read(clock).expect("it");
    let [alive_us, late_us] = [0, 8].map(|at| {
        let octets = clock[at..at + 8].try_into().expect("eight");
        u64::from_le_bytes(octets)
    });
    // What the machine kept it from handing over is nobody's loss.
    let is_prompt = late_us < us(Duration::from_millis(100));
    for paths in hidden(&folder) {
        found.in_progress(&paths, alive_us, is_prompt);
    }

    let count = |folder: &Folder| {
        let files = folder.files();
        files
            .iter()
            .filter(|name| name.ends_with(".journal"))
            .count()
    };
    let left = count(&folder);
    let mut rig = Rig::new(&folder.0);
    for _ in 0..left {
        let event = rig.next_event();
        match event.kind {
            RecordingEventKind::Completed { .. } => found.recovered += 1,
            RecordingEventKind::Failed { error } => {
                assert!(error.contains("before its sound began"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let is_hidden = |file: &String| {
        let name = file.rsplit('/').next();
        name.is_some_and(|name| name.starts_with('.'))
    };
    wait("all are closed", || !folder.files().iter().any(is_hidden));
    let files = folder.files();
    for name in files.iter().filter(|name| !name.ends_with(".json")) {
        let file = folder.0.join(name);
        let report = verify(&file).expect("readable");
        assert!(report.is_verified(), "{name}: {:?}", report.problems);
        let sidecar = report.sidecar.expect("verified");
        let told = Duration::from_micros(sidecar.length_us);
        let (is, _) = heard(&file);
        assert!(
            told.abs_diff(is) < Duration::from_millis(1),
            "{name}: {told:?}, not {is:?}"
        );
        found.play(&file);
    }
}

#[test]
fn a_crash_at_any_moment_leaves_whole_files_with_all_but_the_last_half_second() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| {
        text.parse().expect("CROSSPOINT_TEST_KILLS: a number")
    });
    let mut found = Found::default();
    for _ in 0..kills {
        kill_once(&mut found);
    }
    println!("{kills} kills: {found:?}");
    assert!(found.killed > 0 && found.recovered >= found.killed);
}
