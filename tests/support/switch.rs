//! The switch under test as a child process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ng::Ng;
use super::ports::Ports;

/// Most calls need four ports; no test has more than 128 calls at a time.
const MEDIA_PORTS: u16 = 512;

#[derive(Debug)]
pub struct Switch {
    child: Child,
    log: PathBuf,
    pub ng: SocketAddr,
    pub http: SocketAddr,
    /// First and last media port.
    pub media: (u16, u16),
    _ports: Ports,
}

/// Whether the tests run against rtpengine, to prove that they are fair.
pub fn peer_is_rtpengine() -> bool {
    match std::env::var("CROSSPOINT_TEST_PEER").as_deref() {
        Ok("rtpengine") => true,
        Ok("crosspoint" | "") | Err(_) => false,
        Ok(other) => panic!("CROSSPOINT_TEST_PEER={other}: crosspoint or rtpengine?"),
    }
}

impl Switch {
    /// What it says of a call at `/calls/ID/why`, with the head of the answer.
    pub fn why(&self, id: &str) -> String {
        let mut stream = TcpStream::connect(self.http).expect("the HTTP port");
        let head =
            format!("GET /calls/{id}/why HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        stream
            .write_all(format!("{head}\r\n").as_bytes())
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Asks over HTTP: the status, and the body of the answer.
    pub fn http(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.http).expect("the HTTP port");
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let status = answer
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok());
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.expect("an end of the head") + 4);
        (status.expect("a status"), body)
    }

    /// On 127.0.0.1, with plenty of media ports.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1", MEDIA_PORTS)
    }

    /// With media on `ip` and exactly this many media ports.
    pub fn start_on(ip: &str, media_ports: u16) -> Self {
        Self::start_with(ip, media_ports, &[])
    }

    /// With further arguments, which only we understand.
    pub fn start_with(ip: &str, media_ports: u16, arguments: &[&str]) -> Self {
        let mut ports = Ports::reserve(media_ports + 4);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (ng, http) = (local(ports.next()), local(ports.next()));
        let media = ports.next_range(media_ports);
        let directory = scratch("switch");
        let log = directory.join("switch.log");
        let mut command = command(ip, ng, http, media);
        let output = File::create(&log).expect("a scratch file");
        if !peer_is_rtpengine() && !arguments.contains(&"--sip-listen") {
            command.args(["--sip-listen", "off"]);
        }
        command.args(arguments);
        // Whatever it drops (a core, were it to crash) goes with the scratch directory.
        command
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut switch = Self {
            child,
            log,
            ng,
            http,
            media,
            _ports: ports,
        };
        switch.wait_ready();
        switch
    }

    pub fn client(&self) -> Ng {
        Ng::new(self.ng)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the process has ended, whatever its tests saw.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("our child") {
            panic!("the switch ended: {status}\n{}", self.log_tail());
        }
    }

    fn wait_ready(&mut self) {
        let mut client = self.client();
        let end = Instant::now() + super::PATIENCE;
        loop {
            self.assert_alive();
            let cookie = client.cookie();
            client.send_raw(format!("{cookie} d7:command4:pinge").as_bytes());
            if client
                .reply_to(&cookie, Duration::from_millis(50))
                .is_some()
            {
                return;
            }
            assert!(
                Instant::now() < end,
                "the switch does not start:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- last words of the switch ---\n{}", self.log_tail());
        }
        if let Some(directory) = self.log.parent() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

fn command(ip: &str, ng: SocketAddr, http: SocketAddr, media: (u16, u16)) -> Command {
    if peer_is_rtpengine() {
        let mut command = Command::new("rtpengine");
        command.args([
            "--config-file=none",
            "--table=-1",
            "--foreground",
            "--log-stderr",
        ]);
        command.args(["--log-level=4", "--delete-delay=0", "--num-threads=2"]);
        command
            .arg(format!("--interface={ip}"))
            .arg(format!("--listen-ng={ng}"));
        command
            .arg(format!("--port-min={}", media.0))
            .arg(format!("--port-max={}", media.1));
        return command;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_crosspoint"));
    command
        .arg("serve")
        .args(["--ng", &ng.to_string(), "--http", &http.to_string()]);
    command.args(["--interface", &format!("default/{ip}")]);
    command.args(["--ports", &format!("{}-{}", media.0, media.1)]);
    command
}

/// A new empty directory; its owner removes it.
pub fn scratch(purpose: &str) -> PathBuf {
    let name = format!(
        "crosspoint-{purpose}-{}-{:08x}",
        std::process::id(),
        fastrand::u32(..)
    );
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).expect("a scratch directory");
    path
}
