//! Switches under test: starting them confined to one CPU, and what they use, from `/proc`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::plane::probe;
use crate::tools::ng_client::NgClient;

/// Media ports of a switch under test: 10,000 two-leg calls of an RTP and an RTCP port each.
const PORTS: (u16, u16) = (20_000, 59_999);

/// How long a switch may take until it answers its first ping.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How long one ping is waited for meanwhile.
const PING_PATIENCE: Duration = Duration::from_millis(200);

/// How long its metrics are waited for.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);

/// The generator's SCHED_FIFO priority, so that it is never what is measured.
const GENERATOR_PRIORITY: i32 = 20;

/// The switch goes before all ordinary processes, but not under SCHED_FIFO unless asked for: that
/// class is held to 95 % of a core, and a switch near its ceiling would be measured with 50 ms
/// pauses.
const SWITCH_NICENESS: &str = "-20";

/// The switch's SCHED_FIFO priority where that is asked for: below the generator's.
const SWITCH_PRIORITY: &str = "10";

/// Who does the work being measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// This program's `serve`, or another executable that understands the same arguments.
    Own(PathBuf),
    /// Debian's rtpengine, forwarding in user space.
    Rtpengine,
    /// A switch that is already running; its process id, if known, gives CPU and memory.
    Existing {
        /// Its ng address.
        ng: SocketAddr,
        /// Its process id.
        pid: Option<u32>,
    },
    /// No switch: the parties send to each other. What the generator itself costs and adds.
    Direct,
}

impl Subject {
    /// Its name in tables and results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Own(_) => "crosspoint",
            Self::Rtpengine => "rtpengine",
            Self::Existing { .. } => "existing",
            Self::Direct => "direct",
        }
    }

    /// What it says about its version, in one line.
    pub(crate) fn version(&self) -> Option<String> {
        let program = match self {
            Self::Own(path) => path.clone(),
            Self::Rtpengine => find_program("rtpengine")?,
            Self::Existing { .. } | Self::Direct => return None,
        };
        let output = Command::new(program).arg("--version").output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&said)
            .lines()
            .next()?
            .trim()
            .to_owned();
        (!line.is_empty()).then_some(line)
    }
}

/// The full path of an installed program.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let usual = ["/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(usual);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

/// How the machine is divided between generator and switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Division {
    /// The generator's CPU.
    pub(crate) generator: usize,
    /// The switch's CPU; the same one on a machine that has no second.
    pub(crate) switch: usize,
    /// Both run before ordinary processes.
    pub(crate) realtime: bool,
    /// The switch runs under SCHED_FIFO.
    pub(crate) switch_fifo: bool,
}

impl Division {
    /// The last CPU to the switch, the one before to the generator, and priority over everything
    /// else where it is permitted and `want_realtime`; with `want_fifo` no other process can take
    /// the switch's CPU, or it is an error. Applies the generator's half to the calling thread.
    pub(crate) fn apply(want_realtime: bool, want_fifo: bool) -> Result<Self> {
        let cpus = probe::allowed_cpus();
        let switch = *cpus.last().context("no CPU to run on")?;
        let generator = cpus[cpus.len().saturating_sub(2)];
        probe::stay_on_cpu(generator).context("cannot pin the generator")?;
        // Both halves or none: what disturbs the switch must not spare the generator.
        let realtime = want_realtime
            && generator != switch
            && find_program("chrt").is_some()
            && probe::become_realtime(GENERATOR_PRIORITY).is_ok();
        ensure!(
            realtime || !want_fifo,
            "SCHED_FIFO needs two CPUs, chrt, and the right to raise priorities"
        );
        Ok(Self {
            generator,
            switch,
            realtime,
            switch_fifo: want_fifo,
        })
    }

    /// `program` with its arguments, confined to the switch's half.
    fn command(&self, program: &Path) -> Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if let Some(taskset) = find_program("taskset") {
            words.extend([taskset.into(), "-c".into(), self.switch.to_string().into()]);
        }
        if let (Some(chrt), true) = (find_program("chrt"), self.switch_fifo) {
            words.extend([chrt.into(), "-f".into(), SWITCH_PRIORITY.into()]);
        } else if let (Some(chrt), Some(nice)) = (find_program("chrt"), find_program("nice")) {
            // Children inherit the generator's own class otherwise.
            words.extend([chrt.into(), "-o".into(), "0".into()]);
            if self.realtime {
                words.extend([nice.into(), "-n".into(), SWITCH_NICENESS.into()]);
            }
        }
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// A switch that answers, for as long as this lives (one that was started here is killed then).
#[derive(Debug)]
pub(crate) struct Switch {
    /// Its ng address.
    pub(crate) ng: SocketAddr,
    /// Its process, where known.
    pub(crate) pid: Option<u32>,
    /// Its HTTP address, where we chose it.
    http: Option<SocketAddr>,
    child: Option<Child>,
}

impl Switch {
    /// Starts `subject` (unless it runs already) and waits for its first pong. What it records
    /// goes to `recordings`; without that it cannot record. `None` for [`Subject::Direct`].
    pub(crate) fn start(
        subject: &Subject,
        division: &Division,
        recordings: Option<&Path>,
    ) -> Result<Option<Self>> {
        let mut switch = match subject {
            Subject::Direct => return Ok(None),
            Subject::Existing { ng, pid } => Self {
                ng: *ng,
                pid: *pid,
                http: None,
                child: None,
            },
            Subject::Own(program) => {
                let ng = free_udp_port()?;
                let mut command = division.command(program);
                let http = free_tcp_port()?;
                command
                    .arg("serve")
                    .args(["--ng", &ng.to_string(), "--http", &http.to_string()])
                    // Environment variables, as other versions may not know the arguments.
                    .env("CROSSPOINT_SIP_LISTEN", "off")
                    .env("CROSSPOINT_PROMPT_DIR", std::env::temp_dir())
                    .env(
                        "CROSSPOINT_RECORDING_DIR",
                        recordings.unwrap_or_else(|| Path::new("")),
                    );
                command.args(["--interface", "default/127.0.0.1", "--workers", "1"]);
                command.args(["--ports", &format!("{}-{}", PORTS.0, PORTS.1)]);
                let mut switch = Self::spawn(command, ng, subject)?;
                switch.http = Some(http);
                switch
            }
            Subject::Rtpengine => {
                let program = find_program("rtpengine").context("rtpengine is not installed")?;
                let ng = free_udp_port()?;
                let mut command = division.command(&program);
                command.args(["--config-file=none", "--table=-1", "--interface=127.0.0.1"]);
                command.arg(format!("--listen-ng={ng}"));
                command.args(["--foreground", "--log-stderr", "--log-level=3"]);
                command.args([
                    "--num-threads=1",
                    "--media-num-threads=1",
                    "--delete-delay=0",
                ]);
                command.arg(format!("--port-min={}", PORTS.0));
                command.arg(format!("--port-max={}", PORTS.1));
                if let Some(dir) = recordings {
                    command.arg("--recording-method=pcap");
                    command.arg("--recording-dir").arg(dir);
                }
                Self::spawn(command, ng, subject)?
            }
        };
        switch.wait_until_it_answers(subject)?;
        Ok(Some(switch))
    }

    fn spawn(mut command: Command, ng: SocketAddr, subject: &Subject) -> Result<Self> {
        let log = fs::File::create(log_path(subject)).context("no log file for the switch")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self {
            ng,
            pid: Some(child.id()),
            http: None,
            child: Some(child),
        })
    }

    /// What its `/metrics` says; `None` where there is none.
    pub(crate) fn metrics(&self) -> Option<String> {
        let mut door = TcpStream::connect_timeout(&self.http?, HTTP_PATIENCE).ok()?;
        door.set_read_timeout(Some(HTTP_PATIENCE)).ok()?;
        // By address, as other hosts' pages are not answered.
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.http?
        );
        door.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        door.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn wait_until_it_answers(&mut self, subject: &Subject) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        let mut client = NgClient::connect(self.ng)?;
        loop {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().transpose()) {
                let log = fs::read_to_string(log_path(subject)).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(8).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                bail!(
                    "{} ended with {}:\n{}",
                    subject.name(),
                    status?,
                    tail.join("\n")
                );
            }
            if client.is_answered(PING_PATIENCE)? {
                return Ok(());
            }
            let patience = format!("{} does not answer at {}", subject.name(), self.ng);
            ensure!(Instant::now() < deadline, patience);
        }
    }

    /// Whether every thread is confined to `cpu`; `None` when that cannot be read.
    pub(crate) fn is_confined_to(&self, cpu: usize) -> Option<bool> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid?)).ok()?;
        let mut lists = tasks.flatten().filter_map(|task| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            Some(
                status
                    .lines()
                    .find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?
                    .trim()
                    .to_owned(),
            )
        });
        Some(lists.all(|list| list == cpu.to_string()))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn log_path(subject: &Subject) -> PathBuf {
    let name = format!(
        "crosspoint-bench-{}-{}.log",
        std::process::id(),
        subject.name()
    );
    std::env::temp_dir().join(name)
}

fn free_udp_port() -> Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .context("no free UDP port")?
        .local_addr()?)
}

fn free_tcp_port() -> Result<SocketAddr> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free TCP port")?;
    Ok(SocketAddr::new(
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        bound.local_addr()?.port(),
    ))
}

/// CPU time of all threads of a process since their start, in nanoseconds, from the scheduler's
/// own accounts (`schedstat`), which do not sample.
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_task = |path: PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat"))
            .ok()?
            .split(' ')
            .next()?
            .parse()
            .ok()
    };
    Some(
        tasks
            .flatten()
            .filter_map(|task| of_task(task.path()))
            .sum(),
    )
}

/// Resident memory of a process in kB.
pub(crate) fn rss_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Time all CPUs were busy, and time the hypervisor took from them, since boot, in nanoseconds.
/// Sampled by the kernel's tick: good to a few percent over seconds.
pub(crate) fn machine_ns() -> Option<(u64, u64)> {
    const TICK_NS: u64 = 10_000_000;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let &[user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields.as_slice() else {
        return None;
    };
    Some((
        (user + nice + system + irq + softirq) * TICK_NS,
        steal * TICK_NS,
    ))
}

/// CPU time used up to a moment, or between two; `None` where it cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The switch's, in nanoseconds.
    pub(crate) switch_ns: Option<u64>,
    /// This process's.
    pub(crate) generator_ns: Option<u64>,
    /// See [`machine_ns`].
    pub(crate) machine_ns: Option<(u64, u64)>,
}

impl Usage {
    /// Up to now, of the switch with this process id.
    pub(crate) fn now(pid: Option<u32>) -> Self {
        Self {
            switch_ns: pid.and_then(cpu_ns),
            generator_ns: cpu_ns(std::process::id()),
            machine_ns: machine_ns(),
        }
    }

    /// What was used between `earlier` and this.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let between = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let machine = self.machine_ns.zip(earlier.machine_ns);
        Self {
            switch_ns: between(self.switch_ns, earlier.switch_ns),
            generator_ns: between(self.generator_ns, earlier.generator_ns),
            machine_ns: machine.map(|(now, then)| {
                let (busy, stolen) = (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1));
                (busy, stolen)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_can_be_measured() {
        let pid = std::process::id();
        let before = cpu_ns(pid).unwrap();
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(20) {}
        assert!(cpu_ns(pid).unwrap() > before);
        assert!(rss_kb(pid).unwrap() > 100);
        assert!(machine_ns().unwrap().0 > 0);
        assert_eq!(cpu_ns(u32::MAX), None);
    }

    #[test]
    fn a_switch_that_dies_at_once_is_told_with_its_last_words() {
        let division = Division {
            generator: 0,
            switch: 0,
            realtime: false,
            switch_fifo: false,
        };
        let subject = Subject::Own("/bin/false".into());
        let error = Switch::start(&subject, &division, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("crosspoint ended with"), "{error}");
    }
}
