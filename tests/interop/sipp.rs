//! SIPp callers and callees. SIPp sends the media (`play_pcap_audio`); what it would hear arrives
//! at sockets of ours, bound to the very ports its SDP names.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::support::party;
use super::support::rtp::{Packet, Script};

/// SIPp numbers the calls from 1 and steps the media port of each by four; it binds the first
/// ports itself, so its scenarios add eight.
const PORT_STEP: u16 = 4;
const PORT_OFFSET: u16 = 8;

/// A SIPp process does not run longer than this, whatever happens.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Ports a SIPp needs for `calls` calls.
pub(crate) fn media_ports(calls: u16) -> u16 {
    calls * PORT_STEP + PORT_OFFSET + PORT_STEP
}

/// How one SIPp runs.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// File in `testdata/sipp`, without its ending.
    pub(crate) scenario: &'a str,
    pub(crate) calls: u16,
    pub(crate) calls_per_second: u16,
    /// Where it calls; `None` for one that is called.
    pub(crate) proxy: Option<u16>,
    pub(crate) sip_port: u16,
    /// First of [`media_ports`].
    pub(crate) media_port: u16,
    /// User it calls.
    pub(crate) user: &'a str,
    /// How long a caller talks.
    pub(crate) talk: Duration,
    /// What a scenario's `@STATUS@` is.
    pub(crate) status: u16,
    /// Voices by file name, without `.pcap`.
    pub(crate) voices: &'a [(&'a str, Script)],
}

#[derive(Debug)]
pub(crate) struct Sipp {
    child: Child,
    directory: PathBuf,
    scenario: String,
    sip_port: u16,
    ears: Ears,
}

impl Sipp {
    pub(crate) fn start(plan: &Plan<'_>) -> Self {
        let directory = super::support::switch::scratch(plan.scenario);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sipp");
        let scenario = std::fs::read_to_string(source.join(format!("{}.xml", plan.scenario)))
            .unwrap_or_else(|error| panic!("scenario {}: {error}", plan.scenario))
            .replace("@USER@", plan.user)
            .replace("@TALK_MS@", &plan.talk.as_millis().to_string())
            .replace("@STATUS@", &plan.status.to_string());
        std::fs::write(directory.join("scenario.xml"), scenario).expect("a scratch file");
        for (name, voice) in plan.voices {
            let path = directory.join(format!("{name}.pcap"));
            std::fs::write(path, voice.pcap()).expect("a scratch file");
        }
        let ears = Ears::open(plan.media_port, plan.calls);
        let child = spawn(plan, &directory);
        let scenario = plan.scenario.to_owned();
        let mut sipp = Self {
            child,
            directory,
            scenario,
            sip_port: plan.sip_port,
            ears,
        };
        if plan.proxy.is_none() {
            sipp.wait_listening(plan.sip_port);
        }
        sipp
    }

    /// Waits for its end and returns what each of its calls heard, by port; panics with its
    /// errors if a call failed.
    pub(crate) fn finish(mut self) -> Vec<Vec<Packet>> {
        let status = self.wait();
        let heard = self.ears.close();
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.scenario,
            self.report()
        );
        heard
    }

    pub(crate) fn sip_port(&self) -> u16 {
        self.sip_port
    }

    /// What each of its calls heard so far, by port: all that has arrived when this is called.
    pub(crate) fn heard(&self) -> Vec<Vec<Packet>> {
        self.ears.heard()
    }

    /// Every SIP message it sent and received.
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(self.directory.join("messages.log")).unwrap_or_default()
    }

    /// Waits for its end without looking at the result.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + TIMEOUT + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} hangs\n{}",
                self.scenario,
                self.report()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIPp binds its port before it handles calls: bound means listening. The kernel is asked, for
    /// a trial bind would take the port just when SIPp wants it, and SIPp gives up at once.
    fn wait_listening(&mut self, port: u16) {
        super::support::wait_until("SIPp listens", || {
            let ended = self.child.try_wait().expect("our child");
            assert!(ended.is_none(), "{}: {ended:?}", self.scenario);
            is_bound(port)
        });
    }

    fn report(&self) -> String {
        let read = |name: &str| {
            let text = std::fs::read(self.directory.join(name)).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(6000)..];
            format!(
                "--- {name} of {} ---\n{}\n",
                self.scenario,
                String::from_utf8_lossy(tail)
            )
        };
        ["errors.log", "screen.log", "messages.log"]
            .map(read)
            .concat()
    }
}

/// Whether some process has this UDP port of 127.0.0.1: see proc_net_udp(5), where addresses are
/// words of the machine's byte order, and ports are not.
fn is_bound(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/udp").expect("the kernel's table");
    let ip = u32::from_ne_bytes([127, 0, 0, 1]);
    let local = format!("{ip:08X}:{port:04X}");
    let of_row = |row: &str| row.split_whitespace().nth(1) == Some(&local);
    table.lines().skip(1).any(of_row)
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(plan: &Plan<'_>, directory: &Path) -> Child {
    let screen = File::create(directory.join("screen.log")).expect("a scratch file");
    let mut command = Command::new("sipp");
    if let Some(proxy) = plan.proxy {
        command.arg(format!("127.0.0.1:{proxy}"));
        command.args(["-r", &plan.calls_per_second.to_string()]);
    }
    command.args([
        "-sf",
        "scenario.xml",
        "-nostdin",
        "-i",
        "127.0.0.1",
        "-mi",
        "127.0.0.1",
    ]);
    command.args([
        "-p",
        &plan.sip_port.to_string(),
        "-mp",
        &plan.media_port.to_string(),
    ]);
    command.args([
        "-m",
        &plan.calls.to_string(),
        "-timeout",
        &format!("{}s", TIMEOUT.as_secs()),
    ]);
    command.args(["-timeout_error", "-trace_err", "-error_file", "errors.log"]);
    command.args([
        "-trace_msg",
        "-message_file",
        "messages.log",
        "-max_socket",
        "1000",
    ]);
    command
        .current_dir(directory)
        .env("TERM", "dumb")
        .stdin(Stdio::null());
    command
        .stdout(screen.try_clone().expect("a file"))
        .stderr(screen);
    command
        .spawn()
        .unwrap_or_else(|error| super::missing("sipp", &error))
}

/// The sockets at a SIPp's media ports, and the thread that empties them.
#[derive(Debug)]
struct Ears {
    sockets: Arc<Mutex<Vec<Ear>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One of them, and what has arrived there.
#[derive(Debug)]
struct Ear {
    socket: UdpSocket,
    heard: Vec<Packet>,
}

impl Ears {
    fn open(media_port: u16, calls: u16) -> Self {
        let ear = |call| {
            let port = media_port + PORT_OFFSET + call * PORT_STEP;
            let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a reserved port");
            socket.set_nonblocking(true).expect("a socket");
            let heard = Vec::new();
            Ear { socket, heard }
        };
        let sockets = Arc::new(Mutex::new((0..calls).map(ear).collect()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&sockets), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || listen(&shared, &stopped)));
        Self {
            sockets,
            stop,
            thread,
        }
    }

    fn heard(&self) -> Vec<Vec<Packet>> {
        let mut ears = self.sockets.lock().expect("no thread panics");
        drain(&mut ears);
        ears.iter().map(|ear| ear.heard.clone()).collect()
    }

    fn close(&mut self) -> Vec<Vec<Packet>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("closed once");
        thread.join().expect("a thread that does not panic");
        self.heard()
    }
}

/// Empties all sockets ten times a second, until told to stop: a queue holds five seconds of
/// G.711.
fn listen(ears: &Mutex<Vec<Ear>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        drain(&mut ears.lock().expect("no thread panics"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn drain(ears: &mut [Ear]) {
    for ear in ears {
        let datagrams = party::drain(&ear.socket).into_iter();
        ear.heard
            .extend(datagrams.filter_map(|(_, bytes)| Packet::read(&bytes)));
    }
}
