//! Kamailio as a child process, with its `rtpengine` module commanding the switch.

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::support::{switch, wait_until};

const CONFIG: &str = include_str!("../../testdata/kamailio/kamailio.cfg");

#[derive(Debug)]
pub(crate) struct Kamailio {
    child: Child,
    directory: PathBuf,
}

impl Kamailio {
    /// Listens on `sip`, commands the switch at port `ng`, and sends calls to `callees`.
    pub(crate) fn start(sip: u16, ng: u16, callees: [u16; 3]) -> Self {
        let directory = switch::scratch("kamailio");
        let modules = modules();
        let config = CONFIG
            .replace("@SIP@", &sip.to_string())
            .replace("@NG@", &ng.to_string())
            .replace("@CALLEE_A@", &callees[0].to_string())
            .replace("@CALLEE_B@", &callees[1].to_string())
            .replace("@CALLEE_C@", &callees[2].to_string())
            .replace("@MODULES@", modules.to_str().expect("a plain path"));
        std::fs::write(directory.join("kamailio.cfg"), config).expect("a scratch file");
        let log = File::create(directory.join("kamailio.log")).expect("a scratch file");
        let mut command = Command::new("kamailio");
        command.args([
            "-DD",
            "-E",
            "-m",
            "32",
            "-M",
            "4",
            "-f",
            "kamailio.cfg",
            "-w",
        ]);
        command
            .arg(&directory)
            .arg("-Y")
            .arg(&directory)
            .current_dir(&directory);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| super::missing("kamailio", &error));
        let mut kamailio = Self { child, directory };
        kamailio.wait_ready(sip);
        kamailio
    }

    /// What it logged: errors and worse.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.directory.join("kamailio.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Ready is when it answers a request.
    fn wait_ready(&mut self, port: u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
        let own = socket.local_addr().expect("bound").port();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a non-zero timeout");
        let mut buffer = [0; 2048];
        wait_until("kamailio answers OPTIONS", || {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!("kamailio ended: {status}\n{}", self.log());
            }
            let request = format!(
                "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{:x}\r\n\
                 From: <sip:test@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\n\
                 Call-ID: ready-{own}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 5\r\n\
                 Content-Length: 0\r\n\r\n",
                fastrand::u64(..)
            );
            let _ = socket.send_to(request.as_bytes(), ("127.0.0.1", port));
            socket
                .recv(&mut buffer)
                .is_ok_and(|n| buffer[..n].starts_with(b"SIP/2.0 200"))
        });
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // SIGTERM, so that the main process ends its children; std only knows SIGKILL.
        // A child that has ended was reaped by try_wait, and its number may be another's by now.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
        }
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- kamailio ---\n{}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Where the distribution put Kamailio's modules.
fn modules() -> PathBuf {
    let mut candidates = vec![PathBuf::from("/usr/lib64/kamailio/modules")];
    for library in ["/usr/lib", "/usr/local/lib"] {
        candidates.push(Path::new(library).join("kamailio/modules"));
        let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
        candidates.extend(entries.map(|entry| entry.path().join("kamailio/modules")));
    }
    let found = candidates
        .into_iter()
        .find(|path| path.join("rtpengine.so").exists());
    found.unwrap_or_else(|| super::missing("kamailio's rtpengine module", &"no rtpengine.so"))
}
