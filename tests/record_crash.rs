//! A recorder is killed at any moment: every file is there, opens, and holds all but the last half
//! second. `CROSSPOINT_KILLS` says how often it is killed; then ffprobe must open them too.

mod recorder_support;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crosspoint::record::config::{Format, Layout};
use crosspoint::record::file::read::RecordingReader;
use crosspoint::record::journal;
use crosspoint::record::sidecar::verify;
use recorder_support::{Folder, Line, Rig, config, wait};

/// Most sound that a crash takes.
const LOST_MAX: Duration = Duration::from_millis(500);

const FOLDER: &str = "CROSSPOINT_CRASH_FOLDER";
const KILLS: &str = "CROSSPOINT_KILLS";

/// Recordings of all formats that begin and end all the time, until this process is killed.
#[test]
#[ignore = "it is run by the other test, which kills it"]
fn records_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let rig = Rig::new(Path::new(&folder));
    let opus = Format::Opus {
        bitrate_bps: 24_000,
    };
    let all = [
        ("wav", Format::Wav, Layout::Stereo),
        ("wav", Format::WavAlaw, Layout::Mono),
        ("wav", Format::WavUlaw, Layout::PerTrack(3)),
        ("opus", opus, Layout::Stereo),
        ("opus", Format::OpusCopy, Layout::Mono),
    ];
    let mut lines: Vec<(Instant, Line)> = Vec::new();
    println!("recording");
    for count in 0.. {
        if count % 10 == 0 {
            let (ending, format, layout) = all[count / 10 % all.len()];
            let path = format!("{}/{count}.{ending}", count % 7);
            let line = rig.begin(config(&path, format, layout)).expect("it begins");
            let until = line.origin + Duration::from_millis(fastrand::u64(300..3_000));
            lines.push((until, line));
        }
        lines
            .iter_mut()
            .for_each(|(_, line)| line.speak_until_now());
        let over = lines.extract_if(.., |(until, _)| *until <= Instant::now());
        over.for_each(|(_, line)| line.stop());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(folder: &Folder) -> Child {
    let program = std::env::current_exe().expect("this test");
    let mut command = Command::new(program);
    command.args([
        "--exact",
        "records_until_it_is_killed",
        "--ignored",
        "--nocapture",
    ]);
    command.env(FOLDER, &folder.0).stdout(Stdio::piped());
    let mut child = command.spawn().expect("this test");
    let output = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(output).lines();
    let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("recording")));
    assert!(ready.is_some(), "it ended");
    child
}

/// How late this machine wakes who sleeps, while it is asked: what it does to a test it does to
/// who is tested.
struct Lateness {
    over: Arc<AtomicBool>,
    worst_us: Arc<AtomicU64>,
}

impl Lateness {
    fn watch() -> Self {
        let (over, worst_us) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop, worst) = (Arc::clone(&over), Arc::clone(&worst_us));
        std::thread::spawn(move || {
            let step = Duration::from_millis(5);
            while !stop.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(step);
                let late = before.elapsed().saturating_sub(step).as_micros();
                worst.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { over, worst_us }
    }

    fn worst(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }
}

/// What a player sees of a file that a crash left.
fn length(path: &Path) -> Duration {
    let file = File::open(path).expect("a file");
    let reader = RecordingReader::open(file);
    let reader = reader.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = reader.info().length();
    // Of a file without any sound ffprobe says that it ends.
    if std::env::var_os(KILLS).is_some() && length > Duration::ZERO {
        let mut player = Command::new("ffprobe");
        let output = player.args(["-v", "error"]).arg(path).output();
        let output = output.expect("ffprobe");
        let said = String::from_utf8_lossy(&output.stderr);
        let place = path.display();
        assert!(
            output.status.success() && said.is_empty(),
            "{place}: {said}"
        );
    }
    length
}

fn kill_once() -> (usize, Duration) {
    let folder = Folder::new();
    let mut child = start(&folder);
    let lateness = Lateness::watch();
    std::thread::sleep(Duration::from_micros(fastrand::u64(300_000..3_000_000)));
    child.kill().expect("our child");
    let killed = SystemTime::now();
    child.wait().expect("our child");
    let allowed = LOST_MAX + lateness.worst();

    let (mut open, mut worst) = (0, Duration::ZERO);
    for name in folder.files() {
        let Some((dir, name)) = name.rsplit_once("/.") else {
            continue;
        };
        let Some(name) = name.strip_suffix(".journal") else {
            continue;
        };
        let dir = folder.0.join(dir);
        let text = std::fs::read(dir.join(format!(".{name}.journal"))).expect("a journal");
        let part = dir.join(format!(".{name}.part"));
        let Some(journal) = journal::read(&text) else {
            continue;
        };
        let started = humantime::parse_rfc3339(&journal.sidecar.started).expect("a time");
        let lasted = killed.duration_since(started).unwrap_or_default();
        // Those that had begun before the last half second, and had not ended.
        if lasted < allowed || journal.ended {
            continue;
        }
        let lost = lasted.saturating_sub(length(&part));
        assert!(lost <= allowed, "{name}: {lost:?} of {lasted:?} lost");
        (open, worst) = (open + 1, worst.max(lost));
    }

    let _rig = Rig::new(&folder.0);
    let hidden = |file: &String| {
        file.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with('.'))
    };
    wait("all are closed", || !folder.files().iter().any(hidden));
    for name in folder
        .files()
        .iter()
        .filter(|name| !name.ends_with(".json"))
    {
        let report = verify(&folder.0.join(name)).expect("readable");
        assert!(report.is_verified(), "{name}: {:?}", report.problems);
        let sidecar = report.sidecar.expect("verified");
        let told = Duration::from_micros(sidecar.length_us);
        let is = length(&folder.0.join(name));
        assert!(
            told.abs_diff(is) < Duration::from_millis(1),
            "{name}: {told:?}, not {is:?}"
        );
    }
    (open, worst)
}

#[test]
fn a_crash_at_any_moment_leaves_whole_files_with_all_but_the_last_half_second() {
    let kills = std::env::var(KILLS)
        .ok()
        .and_then(|kills| kills.parse().ok());
    let (mut open, mut worst) = (0, Duration::ZERO);
    for _ in 0..kills.unwrap_or(6) {
        let (more, lost) = kill_once();
        (open, worst) = (open + more, worst.max(lost));
    }
    println!("{open} recordings in progress were killed; {worst:?} lost at most");
    assert!(open > 0);
}
