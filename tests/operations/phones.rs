//! The same of what answers the phone: what is counted of its calls, and what becomes of them at
//! the end.

#[allow(
    dead_code,
    reason = "each test file uses what it needs of a shared support module"
)]
#[path = "../call_callbacks/server.rs"]
mod server;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::ng::Ng;
use super::support::switch::scratch;
use super::support::{PATIENCE, wait_until};
use super::{PROGRAM, Place, Running, refusal};
use server::{Answer, Application};

/// A switch with a directory of flows, and its log.
struct Answering {
    running: Running,
    place: Place,
    home: PathBuf,
}

impl Answering {
    /// With these flows by name.
    fn start(flows: &[(&str, &str)]) -> Self {
        Self::configured("", flows)
    }

    /// With a file of settings.
    fn configured(settings: &str, flows: &[(&str, &str)]) -> Self {
        let (place, home) = (Place::reserve(64), scratch("phones"));
        let log = std::fs::File::create(home.join("log")).expect("a scratch file");
        let mut command = command(&place, &home, flows);
        std::fs::write(home.join("settings.toml"), settings).expect("a scratch file");
        command.args(["--drain-timeout", "1", "--config", "settings.toml"]);
        let child = command.stderr(log).spawn();
        let mut running = Running(child.expect("our binary"));
        let mut ng = Ng::new(place.ng);
        wait_until("the switch answers", || {
            assert_eq!(running.ended(), None, "it ended instead: {}", log_of(&home));
            ng.answers_ping()
        });
        Self {
            running,
            place,
            home,
        }
    }

    fn log(&self) -> String {
        log_of(&self.home)
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.place.http).expect("the HTTP port");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let line = answer.lines().find_map(|line| {
            let (metric, value) = line.split_once(' ')?;
            (metric == format!("crosspoint_{name}")).then_some(value)
        });
        line.and_then(|value| value.parse().ok())
    }

    /// Calls a number.
    fn call(&self, number: &str) -> Call {
        self.call_with(number, "", SDP)
    }

    /// Calls a number, with further headers and a body.
    fn call_with(&self, number: &str, headers: &str, sdp: &str) -> Call {
        let call = Call::new(self.place.sip, number);
        call.invite(headers, sdp);
        call
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.home);
    }
}

fn log_of(home: &Path) -> String {
    std::fs::read_to_string(home.join("log")).unwrap_or_default()
}

/// `crosspoint serve` with these flows, not started yet.
fn command(place: &Place, home: &Path, flows: &[(&str, &str)]) -> Command {
    let folder = home.join("flows");
    std::fs::create_dir_all(&folder).expect("a scratch directory");
    for (name, text) in flows {
        std::fs::write(folder.join(format!("{name}.toml")), text).expect("a scratch file");
    }
    let mut command = Command::new(PROGRAM);
    // Behind the flags that switch SIP off.
    command.arg("serve").args(&place.arguments()[2..]);
    command.args(["--sip-listen", &format!("udp:{}", place.sip)]);
    command.arg("--flow-dir").arg(folder);
    command.arg("--call-records").arg(home.join("calls.sqlite"));
    command.current_dir(home).stdin(Stdio::null());
    command
}

/// A plain offer.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 8\r\n";

/// A phone that calls once.
struct Call {
    socket: UdpSocket,
    number: String,
    there: SocketAddr,
}

impl Call {
    fn new(there: SocketAddr, number: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.connect(there).expect("loopback");
        Self {
            socket,
            number: number.to_owned(),
            there,
        }
    }

    fn invite(&self, headers: &str, sdp: &str) {
        let own = self.socket.local_addr().expect("bound");
        let (number, there) = (&self.number, self.there);
        let invite = format!(
            "INVITE sip:{number}@{there} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{own}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:200@{own}>;tag=1\r\nTo: <sip:{number}@{there}>\r\n\
             Call-ID: {own}\r\nCSeq: 1 INVITE\r\nContact: <sip:200@{own}>\r\n{headers}\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.socket.send(invite.as_bytes()).expect("it goes out");
    }

    /// The next status that is not 100.
    fn status(&self) -> u16 {
        let mut room = [0; 4_096];
        loop {
            let octets = self.socket.recv(&mut room).expect("a response in time");
            let text = String::from_utf8_lossy(&room[..octets]);
            let code = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
            match code.and_then(|code| code.parse().ok()) {
                Some(100) | None => {}
                Some(code) => return code,
            }
        }
    }
}

#[test]
fn what_becomes_of_calls_and_callbacks_is_counted() {
    let application = Application::start();
    let failures = [500, 500, 404].map(Answer::Status);
    application.answer(failures);
    let flow = format!(
        "numbers = [\"1000\"]\nstart = \"a\"\n[applet.a]\napplet = \"hangup\"\ncause = 486\n\
         [status-callback]\nurl = \"{}\"\nevents = [\"terminal\"]\n",
        application.url("/")
    );
    let switch = Answering::start(&[("busy", &flow)]);
    assert_eq!(switch.call("1000").status(), 486);
    // The caller's leg and the call; the first of them fails twice, over three seconds.
    let waiting = "status_callbacks_waiting";
    wait_until("both wait", || switch.metric(waiting) == Some(2));
    wait_until("none waits", || switch.metric(waiting) == Some(0));
    let counted = [
        ("sip_let_in_total", 1),
        // Call and leg, begun and ended.
        ("call_records_written_total", 4),
        ("call_records_lost_total", 0),
        ("call_records_refused_total", 0),
        ("call_record_write_errors_total", 0),
        ("status_callbacks_queued_total", 2),
        ("status_callbacks_refused_total", 0),
        ("status_callback_failures_total", 3),
        ("status_callbacks_retried_total", 2),
        ("status_callbacks_given_up_total", 1),
        ("status_callbacks_delivered_total", 1),
    ];
    for (name, count) in counted {
        assert_eq!(switch.metric(name), Some(count), "{name}");
    }
    // The log has a line of each, and not of each attempt.
    let log = switch.log();
    for said in ["it answers 500", "status callback given up"] {
        assert_eq!(log.matches(said).count(), 1, "{said}: {log}");
    }
    assert_eq!(log.matches("callbacks are not taken").count(), 1, "{log}");
}

#[test]
fn a_callback_host_that_refuses_connections_is_said_once() {
    let refused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", refused.local_addr().expect("bound"));
    drop(refused);
    let callback = format!("[status-callback]\nurl = \"{host}/\"\n");
    let busy = flow("1000", "\"hangup\"\ncause = 486\n") + &callback;
    let switch = Answering::start(&[("busy", &busy)]);
    assert_eq!(switch.call("1000").status(), 486);
    let failures = "status_callback_failures_total";
    wait_until("it was tried twice", || switch.metric(failures) >= Some(2));
    let log = switch.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&host)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("refused"),
        "{lines:?}"
    );
}

/// A flow of this number.
fn flow(number: &str, applet: &str) -> String {
    format!("numbers = [\"{number}\"]\nstart = \"a\"\n[applet.a]\napplet = {applet}\n")
}

/// By SIGTERM and after its timeout, or by SIGINT at once.
#[test]
fn calls_that_ring_when_it_ends_are_refused_with_503() {
    let rings = flow("1000", "\"missed-call\"\nrings = 20");
    for signal in ["-TERM", "-INT"] {
        let mut switch = Answering::start(&[("rings", &rings)]);
        let call = switch.call("1000");
        assert_eq!(call.status(), 180);
        let pid = switch.running.0.id().to_string();
        let told = Command::new("kill").args([signal, &pid]).status();
        assert!(told.expect("kill(1)").success());
        assert_eq!(call.status(), 503, "{signal}");
        assert!(switch.running.wait_ended().success());
    }
}

#[test]
fn a_directory_without_flows_is_warned_of() {
    let switch = Answering::start(&[]);
    let warned = |log: &str| log.matches("there is no flow (*.toml) in it").count();
    assert_eq!(warned(&switch.log()), 1, "{}", switch.log());
    assert_eq!(switch.call("1000").status(), 404);
    let mut check = command(&switch.place, &switch.home, &[]);
    let output = check.arg("--check").output().expect("our binary");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && warned(&said) == 1, "{output:?}");
}

#[test]
fn a_wrong_flow_is_told_once() {
    let (place, home) = (Place::reserve(8), scratch("wrong"));
    let said = refusal(&mut command(&place, &home, &[("a", "start = 1")]));
    assert_eq!(
        said.matches("start: expected a string").count(),
        1,
        "{said}"
    );
    assert!(!said.contains("former"), "there is none: {said}");
    let _gone = std::fs::remove_dir_all(home);
}

/// How many lines of a log have all of these.
fn lines_with(log: &str, parts: &[&str]) -> usize {
    let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
    log.lines().filter(has_all).count()
}

#[test]
fn who_is_shut_out_is_said_once() {
    let settings = "[sip]\ncalls-per-second = 20\nlock-out-after = 3\n\
                    [[sip.user]]\nname = \"anna\"\npassword = \"s3cret\"\n";
    let busy = flow("1000", "\"hangup\"\ncause = 486\n");
    let switch = Answering::configured(settings, &[("busy", &busy)]);
    // No digest at all is as wrong as another's.
    let guess = "Authorization: Digest nonsense\r\n";
    let guesses = (0..6).map(|_| switch.call_with("1000", guess, SDP).status());
    let guesses: Vec<u16> = guesses.collect();
    assert_eq!(guesses, [401, 401, 401, 403, 403, 403]);
    let said = [
        "WARN",
        "wrong digests: locked out",
        "127.0.0.1",
        "seconds=300",
    ];
    assert_eq!(lines_with(&switch.log(), &said), 1, "{}", switch.log());

    // Who shows no digest goes on calling.
    let calls: Vec<Call> = (0..60).map(|_| switch.call("1000")).collect();
    let codes: Vec<u16> = calls.iter().map(Call::status).collect();
    assert!(codes.contains(&486) && codes.contains(&503), "{codes:?}");
    let said = ["WARN", "more calls by SIP than calls-per-second"];
    assert_eq!(lines_with(&switch.log(), &said), 1, "{}", switch.log());
}

#[test]
fn offers_of_nonsense_fill_no_log() {
    let greets = flow("1000", "\"greeting\"\nprompt = \"builtin:welcome\"\n");
    let switch = Answering::start(&[("greets", &greets)]);
    for _ in 0..10 {
        let call = switch.call_with("1000", "", &SDP.replace("m=audio", "m=audio audio"));
        assert_eq!(call.status(), 488);
    }
    let said = ["WARN", "media refused", "line 6: Media port is malformed"];
    assert_eq!(lines_with(&switch.log(), &said), 1, "{}", switch.log());
}

/// The echo ends with the media, and would go on to silence.
#[test]
fn nothing_is_said_to_a_call_whose_media_has_ended() {
    let echo = flow("1000", "\"echo\"\n");
    let switch = Answering::configured("setup-timeout = 1\n", &[("echo", &echo)]);
    let call = switch.call("1000");
    assert_eq!(call.status(), 200);
    wait_until("its media is gone", || switch.metric("calls") == Some(0));
    wait_until("it is over", || switch.metric("sip_calls") == Some(0));
    assert_eq!(lines_with(&switch.log(), &["WARN"]), 0, "{}", switch.log());
}

#[test]
fn an_address_that_is_none_is_refused_with_its_line() {
    let greets = flow("1000", "\"greeting\"\nprompt = \"builtin:welcome\"\n");
    let switch = Answering::start(&[("greets", &greets)]);
    let sdp = SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 999.1.1.1");
    assert_eq!(switch.call_with("1000", "", &sdp).status(), 488);
    let said = ["WARN", "line 4: the address of c= is neither"];
    assert_eq!(lines_with(&switch.log(), &said), 1, "{}", switch.log());
}
