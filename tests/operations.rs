//! What happens to a switch besides calls: killed under load and started again, told to end, short
//! of files, disk, ports or programs. Whoever operates it is told what is wrong and what to do.

#[path = "operations/phones.rs"]
mod phones;
mod support;

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use support::ng::Ng;
use support::party::{Call, Party, offer};
use support::ports::{OneAtATime, Ports};
use support::switch::scratch;
use support::{PTIME, every_20_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crosspoint");

/// Ports of one switch, which outlive the process: it can be started on them again.
struct Place {
    ng: SocketAddr,
    http: SocketAddr,
    sip: SocketAddr,
    media: (u16, u16),
    _ports: Ports,
}

impl Place {
    /// With exactly this many media ports.
    fn reserve(media_ports: u16) -> Self {
        let mut ports = Ports::reserve(media_ports + 5);
        let mut local = || SocketAddr::from((Ipv4Addr::LOCALHOST, ports.next()));
        let (ng, http, sip) = (local(), local(), local());
        Self {
            ng,
            http,
            sip,
            media: ports.next_range(media_ports),
            _ports: ports,
        }
    }

    /// `crosspoint serve` here, not started yet.
    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").args(self.arguments());
        command
    }

    fn arguments(&self) -> [String; 8] {
        [
            "--sip-listen".into(),
            "off".into(),
            "--ng".into(),
            self.ng.to_string(),
            "--http".into(),
            self.http.to_string(),
            "--ports".into(),
            format!("{}-{}", self.media.0, self.media.1),
        ]
    }

    /// Starts and waits for its first pong.
    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command();
        let child = command.args(arguments).stdin(Stdio::null()).spawn();
        let mut running = Running(child.expect("our binary"));
        let mut ng = Ng::new(self.ng);
        wait_until("the switch answers", || {
            assert_eq!(running.ended(), None, "it ended instead");
            ng.answers_ping()
        });
        running
    }
}

/// A child process that does not outlive its test.
struct Running(Child);

impl Running {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("our child")
    }

    /// std only knows SIGKILL.
    fn terminate(&self) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(status.expect("kill(1)").success());
    }

    fn wait_ended(&mut self) -> ExitStatus {
        wait_until("it ended", || self.ended().is_some());
        self.ended().expect("just seen")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs to its end; fails unless it refused, without a panic and in few lines.
fn refusal(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("our binary");
    let said = String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn crosspoint(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}

/// The same with at most this many open files.
fn with_open_files(max: u32, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -n {max} && exec \"$0\" \"$@\"");
    limited.args(["-c", &script]).arg(command.get_program());
    limited.args(command.get_args());
    limited
}

#[test]
fn killed_under_load_it_starts_again_at_once_on_the_same_ports() {
    let _turn = OneAtATime::wait();
    // Room for two calls: those after the restart get ports of those before.
    let place = Place::reserve(8);
    let at_once = ["--port-quarantine", "0"];
    let mut first = place.start(&at_once);
    let mut ng = Ng::new(place.ng);
    let mut old = [Call::new(&mut ng), Call::new(&mut ng)];
    for call in &mut old {
        call.connect();
    }
    // Held open over its death: the listener must not mind connections of the past.
    let _held = TcpStream::connect(place.http).expect("the HTTP port");
    every_20_ms(25, |_| old.iter_mut().for_each(speak));
    first.0.kill().expect("our child");
    // Its parties know nothing of that and go on.
    old.iter_mut().for_each(speak);
    first.wait_ended();

    let mut second = place.start(&at_once);
    let mut ng = Ng::new(place.ng);
    assert!(ng.calls().is_empty(), "calls do not survive, as promised");
    let mut new = Call::new(&mut ng);
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    wait_until("the new call's parties hear each other", || {
        old.iter_mut().for_each(speak);
        speak(&mut new);
        std::thread::sleep(PTIME);
        at_a.extend(new.a.heard());
        at_b.extend(new.b.heard());
        !at_a.is_empty() && !at_b.is_empty()
    });
    every_20_ms(50, |_| {
        old.iter_mut().for_each(speak);
        speak(&mut new);
    });
    new.quiet_or(|a, b| {
        at_a.extend(a.iter().cloned());
        at_b.extend(b.iter().cloned());
    });
    let foreign = at_a.iter().filter(|p| p.ssrc != new.b.ssrc).count()
        + at_b.iter().filter(|p| p.ssrc != new.a.ssrc).count();
    assert_eq!(foreign, 0, "packets of calls before the crash were heard");
    new.assert_works("after the restart");
    assert_eq!(second.ended(), None);
}

fn speak(call: &mut Call) {
    call.a.speak(call.a_to);
    call.b.speak(call.b_to);
}

#[test]
fn told_to_end_it_takes_no_calls_and_waits_for_those_it_has() {
    let place = Place::reserve(64);
    let mut switch = place.start(&[]);
    let mut ng = Ng::new(place.ng);
    let mut call = Call::new(&mut ng);
    call.connect();
    switch.terminate();
    let mut caller = Party::new("127.0.0.1", 600.0);
    let (sdp, mut tried) = (caller.sdp(), 0);
    let mut refused = serde_json::Value::Null;
    wait_until("new calls are refused", || {
        tried += 1;
        let id = format!("late-{tried}");
        refused = ng.request(&offer(&id, "tag-a", &sdp));
        let is_refused = refused["result"] != "ok";
        if !is_refused {
            ng.ok(&serde_json::json!({"command": "delete", "call-id": id, "from-tag": "tag-a"}));
        }
        is_refused
    });
    assert_eq!(refused["result"], "load limit", "proxies try another one");
    call.assert_works("while draining");
    assert_eq!(switch.ended(), None, "a call is left");
    call.delete(&mut ng);
    assert!(switch.wait_ended().success());
}

#[test]
fn draining_ends_after_its_timeout() {
    let place = Place::reserve(64);
    let mut switch = place.start(&["--drain-timeout", "1"]);
    let mut ng = Ng::new(place.ng);
    let mut call = Call::new(&mut ng);
    call.connect();
    let told = Instant::now();
    switch.terminate();
    assert!(switch.wait_ended().success());
    assert!(told.elapsed() >= Duration::from_secs(1), "it did not wait");
}

/// /dev/full is a disk with no room.
#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    let full = || File::options().write(true).open("/dev/full").expect("it");
    let place = Place::reserve(8);
    let _switch = place.start(&[]);
    let ng = place.ng.to_string();
    for arguments in [&["ctl", "--ng", &ng, "stats"][..], &["serve", "--check"]] {
        let said = refusal(crosspoint(arguments).stdout(full()));
        assert!(said.contains("standard output"), "{said}");
        assert!(said.contains("No space left"), "{said}");
    }
    // Where the error cannot be told either, the exit status remains.
    let mut unheard = crosspoint(&["ctl", "--ng", &ng, "stats"]);
    let status = unheard.stdout(full()).stderr(full()).status();
    assert_eq!(status.expect("our binary").code(), Some(1));
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let place = Place::reserve(64);
    let mut command = place.command();
    command.args(["--log", "trace"]);
    let full = File::options().write(true).open("/dev/full").expect("it");
    let mut switch = Running(command.stderr(full).spawn().expect("our binary"));
    let mut ng = Ng::new(place.ng);
    wait_until("the switch answers", || {
        assert_eq!(switch.ended(), None, "it ended instead");
        ng.answers_ping()
    });
    let mut call = Call::new(&mut ng);
    call.connect();
    call.assert_works("without a log");
    call.delete(&mut ng);
    switch.terminate();
    assert!(switch.wait_ended().success());
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let place = Place::reserve(8);
    let _switch = place.start(&[]);
    let mut ctl = crosspoint(&["ctl", "--ng", &place.ng.to_string(), "stats"]);
    let child = ctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("our binary");
    drop(child.stdout.take());
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(said, "");
    assert!(child.wait().expect("our child").success());
}

#[test]
fn raw_results_that_cannot_be_kept_are_told_before_measuring() {
    let folder = scratch("no-results");
    let path = folder.join("no/such/folder.json");
    let path = path.to_str().expect("a plain path");
    let began = Instant::now();
    let said = refusal(&mut crosspoint(&[
        "bench", "setup", "--peer", "none", "--json", path,
    ]));
    assert!(
        said.contains("cannot write") && said.contains(path),
        "{said}"
    );
    assert!(!said.contains("run 1/"), "it measured first: {said}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn too_few_open_files_are_told_with_what_is_needed() {
    let place = Place::reserve(8);
    let said = refusal(&mut with_open_files(300, &place.command()));
    assert!(said.contains("need 516 open files"), "{said}");
    assert!(
        said.contains("300") && said.contains("LimitNOFILE="),
        "{said}"
    );
    // The generator asks for the switch it is going to start.
    let bench = crosspoint(&["bench", "relay", "--peer", "none", "--calls", "1000"]);
    let said = refusal(&mut with_open_files(1024, &bench));
    assert!(said.contains("1000 calls need 4512 open files"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::reserve(8);
    let ng = UdpSocket::bind(place.ng).expect("a reserved port");
    let said = refusal(&mut place.command());
    assert!(
        said.contains(&format!("cannot listen on {} for ng:", place.ng)),
        "{said}"
    );
    assert!(said.contains("in use"), "{said}");
    drop(ng);
    let _http = TcpListener::bind(place.http).expect("a reserved port");
    let said = refusal(&mut place.command());
    assert!(
        said.contains(&format!("cannot listen on {} for http:", place.http)),
        "{said}"
    );
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let folder = scratch("settings");
    let missing = folder.join("missing.toml");
    // Root may read any file, but nobody can read a folder as one.
    for path in [&missing, &folder] {
        let path = path.to_str().expect("a plain path");
        let said = refusal(&mut crosspoint(&["serve", "--config", path]));
        assert!(said.contains(&format!("cannot read {path}: ")), "{said}");
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_missing_peer_is_named_with_what_installs_it() {
    let said =
        refusal(crosspoint(&["bench", "relay", "--peer", "rtpengine"]).env("PATH", "/nonexistent"));
    // Debian's is in /usr/bin, which is not searched then.
    assert!(said.contains("rtpengine is not installed"), "{said}");
    assert!(said.contains("scripts/setup.sh bench"), "{said}");
}

/// A machine with nothing but the shell's own tools: neither Debian's packages nor its installer.
#[test]
fn the_demo_on_a_bare_machine_names_what_it_needs() {
    let folder = scratch("bare");
    let output = bare(&folder, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("please install") && said.contains(" sox"),
        "{said}"
    );
    let _ = std::fs::remove_dir_all(folder);
}

/// What is there under another distribution's package name is not asked for.
#[test]
fn what_is_installed_by_other_means_is_not_asked_for() {
    let folder = scratch("other");
    let output = bare(&folder, &["sox"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let wanted = said.split("packages:").nth(1).unwrap_or_default();
    assert!(!wanted.split_whitespace().any(|w| w == "sox"), "{said}");
    let _ = std::fs::remove_dir_all(folder);
}

/// `scripts/setup.sh demo` where only the shell's tools are found, and stand-ins for `programs`.
fn bare(folder: &Path, programs: &[&str]) -> Output {
    for tool in ["sh", "dirname", "id", "sort", "tr", "mktemp", "rm"] {
        symlink(which(tool), folder.join(tool)).expect("a scratch folder");
    }
    for program in programs {
        symlink(which("true"), folder.join(program)).expect("a scratch folder");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh");
    let mut command = Command::new(which("sh"));
    command.arg(script).arg("demo").env("PATH", folder);
    command.output().expect("a shell")
}

fn which(tool: &str) -> PathBuf {
    let folders = ["/bin", "/usr/bin"].map(PathBuf::from);
    let mut paths = folders.iter().map(|folder| folder.join(tool));
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no {tool}"))
}
