//! SIPp callers and callees. SIPp sends the media (`play_pcap_audio`); what it would hear arrives
//! at sockets of ours: see [`ears`].

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::ears::{Ears, Heard, Voice, unix_us};
use super::support::party;
use super::support::rtp::{Packet, Script};

pub(crate) use super::ears::media_ports;

/// A SIPp process does not run longer than this, whatever happens.
const TIMEOUT: Duration = Duration::from_secs(90);

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
    pub(crate) fn finish(self) -> Vec<Vec<Packet>> {
        let heard = self.finish_stamped().into_iter();
        heard.map(packets).collect()
    }

    /// The same with the times of arrival.
    pub(crate) fn finish_stamped(mut self) -> Vec<Vec<Heard>> {
        self.succeeds();
        self.ears.close()
    }

    /// Waits for its end, and panics with its errors if a call failed.
    pub(crate) fn succeeds(&mut self) {
        let status = self.wait();
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.scenario,
            self.report()
        );
    }

    pub(crate) fn sip_port(&self) -> u16 {
        self.sip_port
    }

    /// What each of its calls heard so far, by port: all that has arrived when this is called.
    pub(crate) fn heard(&self) -> Vec<Vec<Packet>> {
        self.ears.heard().into_iter().map(packets).collect()
    }

    /// The same with the times of arrival.
    pub(crate) fn heard_stamped(&self) -> Vec<Vec<Heard>> {
        self.ears.heard()
    }

    /// Every datagram that came to its media ports, RTCP as well, by call.
    pub(crate) fn datagrams(&self) -> Vec<Vec<Vec<u8>>> {
        self.ears.datagrams()
    }

    /// Waits for an SDP, and speaks in its first call as that wants it.
    pub(crate) fn speak(&self, voice: &Script) -> Voice {
        let [rtp, _] = self.ears.mouths(0);
        Voice::speak(rtp, self.peer(), voice)
    }

    /// Sends this to where its first call's RTCP goes.
    pub(crate) fn report_by_rtcp(&self, bytes: &[u8]) {
        let [_, rtcp] = self.ears.mouths(0);
        let mut to = self.peer();
        to.set_port(to.port() + 1);
        rtcp.send_to(bytes, to).expect("it is sent");
    }

    /// Where the first SDP that it received wants its audio.
    pub(crate) fn peer(&self) -> SocketAddr {
        let mut found = None;
        super::support::wait_until("an SDP has come", || {
            let mut told = self.told().into_iter();
            found = told.find(|told| !told.sent && told.text.contains("\nm=audio "));
            found.is_some()
        });
        party::target(&found.expect("just found").text)
    }

    /// Every SIP message it sent and received.
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(self.directory.join("messages.log")).unwrap_or_default()
    }

    /// The same one by one.
    pub(crate) fn told(&self) -> Vec<Told> {
        let log = self.messages();
        let messages = log.split(TOLD).skip(1);
        messages.filter_map(Told::read).collect()
    }

    /// When it sent, or received, the first message that begins so.
    pub(crate) fn when(&self, sent: bool, start: &str, method: &str) -> u64 {
        let of = format!(" {method}\r\n");
        let is_it = |told: &Told| {
            let cseq = told
                .text
                .split_inclusive('\n')
                .find(|line| line.starts_with("CSeq:"));
            told.sent == sent
                && told.text.starts_with(start)
                && cseq.is_some_and(|line| line.ends_with(&of))
        };
        let told = self.told();
        let found = told.iter().find(|told| is_it(told));
        let found = found.unwrap_or_else(|| panic!("no {start} of {method}\n{}", self.report()));
        found.at_us
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

/// What stands before each message in SIPp's log; then a date and a time of day, what it is and how
/// long, and the message behind an empty line.
const TOLD: &str = "----------------------------------------------- ";

/// A SIP message that was sent or received.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// In microseconds of Unix time, when SIPp wrote it down.
    pub(crate) at_us: u64,
    pub(crate) sent: bool,
    pub(crate) text: String,
}

impl Told {
    fn read(entry: &str) -> Option<Self> {
        let (head, rest) = entry.split_once('\n')?;
        let at = humantime::parse_rfc3339_weak(head.trim()).ok()?;
        let (what, text) = rest.split_once("\n\n")?;
        Some(Self {
            at_us: unix_us(at),
            sent: what.contains("sent"),
            text: text.to_owned(),
        })
    }
}

fn packets(heard: Vec<Heard>) -> Vec<Packet> {
    heard.into_iter().map(|heard| heard.packet).collect()
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
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command
        .stdout(screen.try_clone().expect("a file"))
        .stderr(screen);
    command
        .spawn()
        .unwrap_or_else(|error| super::missing("sipp", &error))
}
