//! The load generator: what a packet, a call and a setup cost in a switch, measured against its
//! peer in the same run.
//!
//! Absolute figures move from machine to machine and from minute to minute. So every run of the
//! switch is followed by one of the peer (rtpengine, where it is installed) under the same load on
//! the same CPU, medians are compared, and raw results can be kept ([`Common::json`]). The method
//! is described in `docs/benchmarks/README.md`.

mod calls;
mod dtmf;
mod generator;
mod heard;
mod load;
mod marked;
mod process;
mod recording;
mod relay;
mod report;
mod rooms;
mod setup;
mod sound;
mod spoken;
mod transcode;
mod voices;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

pub(in crate::tools) use self::calls::{
    CALLEE, CALLER, answer, delete, media_address, offer, query, with_keys,
};
use self::process::{Division, Subject, find_program};
pub(in crate::tools) use self::report::align;
use self::report::{Report, Row};
use super::print;
use crate::plane::limits::OpenFiles;

/// `crosspoint bench`: what to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// The measurement.
    #[command(subcommand)]
    pub what: BenchCommand,
}

/// The measurements.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Forwarding: loss, latency, CPU per packet and memory per call under paced two-way RTP
    Relay(RelayArgs),
    /// Call setup: offer + answer + delete per second, one and many in flight
    Setup(SetupArgs),
    /// Transcoding: CPU per packet, order on the wire, jitter and sound of PCMU against a codec
    Transcode(TranscodeArgs),
    /// Keys in the voice band: found, told twice, missed, and heard in speech
    Dtmf(dtmf::DtmfArgs),
    /// Rooms: CPU and memory per participant of conferences, order on the wire, who is heard
    Rooms(RoomsArgs),
    /// Recorded calls: CPU per recording and what is lost, beside the same calls not recorded
    Recording(recording::RecordingArgs),
}

/// What all measurements can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Runs per switch, alternating; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub runs: u32,
    /// Measure a switch that is already running, at this ng address, instead of starting one
    #[arg(long, value_name = "ADDR")]
    pub ng: Option<SocketAddr>,
    /// Process id of that switch, for its CPU time and memory
    #[arg(long, requires = "ng")]
    pub pid: Option<u32>,
    /// Executable to start as the switch [default: this program]
    #[arg(long, value_name = "PROGRAM", conflicts_with = "ng")]
    pub switch: Option<PathBuf>,
    /// What to compare with, in the same run
    #[arg(long, value_enum, default_value_t = Peer::Auto)]
    pub peer: Peer,
    /// Measure only one: the peer alone, or the generator with nothing in between
    #[arg(long, value_enum, conflicts_with_all = ["ng", "switch"])]
    pub only: Option<Only>,
    /// Also write raw results of every run to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Do not raise priorities, even where permitted
    #[arg(long)]
    pub no_realtime: bool,
    /// Run the switches under SCHED_FIFO, so that a busy machine does not disturb them; not for
    /// loads beyond 90 % of a core, where the kernel makes that class pause
    #[arg(long, conflicts_with_all = ["no_realtime", "ng"])]
    pub switch_fifo: bool,
    /// Fail (exit status 1) when a bar is missed
    #[arg(long)]
    pub check: bool,
}

/// The switch to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// rtpengine when it is installed
    Auto,
    /// rtpengine, or an error when it is not installed
    Rtpengine,
    /// Nothing: no ratios
    None,
}

/// A single subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// rtpengine
    Rtpengine,
    /// The parties send to each other: the generator's own latency and its limits
    Direct,
}

/// `crosspoint bench relay`.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayArgs {
    /// Two-party calls at the same time, 50 packet/s in each direction
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=9900))]
    pub calls: u32,
    /// Seconds that are measured in each run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub secs: u64,
    /// Seconds of traffic before that
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub warm: u64,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// `crosspoint bench setup`.
#[derive(Clone, Debug, clap::Args)]
pub struct SetupArgs {
    /// Calls set up and deleted in each run
    #[arg(
        long,
        default_value_t = 5000,
        value_parser = clap::value_parser!(u32).range(64..=1_000_000)
    )]
    pub calls: u32,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// `crosspoint bench transcode`.
#[derive(Clone, Debug, clap::Args)]
pub struct TranscodeArgs {
    /// What the callees speak; the callers speak PCMU
    #[arg(long, value_enum)]
    pub codec: CalleeCodec,
    /// Two-party calls at the same time, 50 packet/s in each direction [default: pcma 200,
    /// g722 120, opus 40]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=9900))]
    pub calls: Option<u32>,
    /// Search the most calls whose packets all leave, in order, with a p99 jitter below 20 ms,
    /// starting with --calls
    #[arg(long)]
    pub find: bool,
    /// Seconds that are measured in each run; the first two of them are listened to
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub secs: u64,
    /// Seconds of traffic before that
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub warm: u64,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// `crosspoint bench rooms`.
#[derive(Clone, Debug, clap::Args)]
pub struct RoomsArgs {
    /// Participants in all, each sending 50 packet/s of PCMU
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(2..=15_000))]
    pub parties: u32,
    /// Participants of a room; the last one may have fewer
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub room: u32,
    /// Mix only so many, the loudest of each room
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub loudest: Option<u8>,
    /// Nobody hears anybody, but one prompt is played to all
    #[arg(long, conflicts_with = "loudest")]
    pub music: bool,
    /// Seconds that are measured in each run; the first two of them are listened to
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub seconds: u64,
    /// Seconds of traffic before that
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub warm: u64,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// A codec that is not PCMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CalleeCodec {
    /// G.711 A-law
    Pcma,
    /// G.722 at 64 kbit/s
    G722,
    /// Opus
    Opus,
}

/// Measures and prints: progress on standard error, the table on standard output.
///
/// # Errors
/// When a switch cannot be started or refuses a call, when sockets run out, and with
/// [`Common::check`] when a bar is missed.
pub fn run(args: &BenchArgs) -> Result<()> {
    // Its own thread: pinning and priority must not outlive the measurement.
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| match &args.what {
            BenchCommand::Relay(relay) => relay::run(relay),
            BenchCommand::Setup(setup) => setup::run(setup),
            BenchCommand::Transcode(transcode) => transcode::run(transcode),
            BenchCommand::Rooms(rooms) => rooms::run(rooms),
            BenchCommand::Dtmf(dtmf) => dtmf::run(dtmf),
            BenchCommand::Recording(recording) => recording::run(recording),
        });
        measuring
            .join()
            .map_err(|_| anyhow::anyhow!("the measuring thread panicked"))?
    })
}

/// Who takes part, the one being judged first.
fn subjects(common: &Common) -> Result<Vec<Subject>> {
    let first = match (common.only, common.ng, &common.switch) {
        (Some(Only::Rtpengine), ..) => return Ok(vec![Subject::Rtpengine]),
        (Some(Only::Direct), ..) => return Ok(vec![Subject::Direct]),
        (None, Some(ng), _) => Subject::Existing {
            ng,
            pid: common.pid,
        },
        (None, None, Some(program)) => Subject::Own(program.clone()),
        (None, None, None) => {
            Subject::Own(std::env::current_exe().context("where is this program?")?)
        }
    };
    let installed = find_program("rtpengine").is_some();
    let with_peer = match common.peer {
        Peer::None => false,
        Peer::Auto => installed,
        Peer::Rtpengine => {
            ensure!(
                installed,
                "rtpengine is not installed (scripts/setup.sh bench installs it)"
            );
            true
        }
    };
    if common.peer == Peer::Auto && !installed {
        eprintln!("rtpengine is not installed: no comparison (scripts/setup.sh bench installs it)");
    }
    Ok(if with_peer {
        vec![first, Subject::Rtpengine]
    } else {
        vec![first]
    })
}

/// One of the measurements: what makes it different from the other.
struct Experiment<'a> {
    /// Its name in raw results.
    kind: &'static str,
    /// First line of the table.
    title: String,
    /// Lines of the table.
    rows: &'a [Row],
    /// What it was told, for the raw results.
    parameters: Value,
    /// Most calls at a time, which decides how many files must be open.
    calls_max: u32,
}

impl Experiment<'_> {
    /// Measures all subjects, prints the table, keeps the raw results, and judges.
    fn run(
        &self,
        common: &Common,
        subjects: &[Subject],
        measure: impl FnMut(&Subject, &Division) -> Result<Value>,
    ) -> Result<()> {
        // The switch inherits the limit and needs more files than the generator does.
        OpenFiles::raise()?.require(self.calls_max.into())?;
        // Opened before anything is measured: a bad path must not cost minutes.
        let raw = common.json.as_deref().map(RawResults::create).transpose()?;
        let division = Division::apply(!common.no_realtime, common.switch_fifo)?;
        let results = alternate(common.runs, subjects, &division, measure)?;
        let report = Report::new(self.title.clone(), self.rows, subjects, &results);
        print(&format!("{report}\n"))?;
        if let Some(raw) = raw {
            raw.write(&self.document(subjects, &division, &results, &report))?;
        }
        let missed = report.missed();
        ensure!(
            !common.check || missed.is_empty(),
            "bars missed: {}",
            missed.join(", ")
        );
        Ok(())
    }

    /// Everything a reader needs to judge the figures later.
    fn document(
        &self,
        subjects: &[Subject],
        division: &Division,
        results: &[Vec<Value>],
        report: &Report,
    ) -> Value {
        let who: Vec<Value> = subjects
            .iter()
            .zip(results)
            .map(|(s, runs)| json!({"name": s.name(), "version": s.version(), "runs": runs}))
            .collect();
        json!({
            "bench": self.kind,
            "program": concat!("crosspoint ", env!("CARGO_PKG_VERSION")),
            "taken_unix_s": std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            "machine": machine(),
            "parameters": self.parameters,
            "raised_priority": division.realtime,
            "switch_fifo": division.switch_fifo,
            "cpus_shared": division.generator == division.switch,
            "subjects": who,
            "summary": report.summary(),
        })
    }
}

/// Where raw results go.
struct RawResults<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> RawResults<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn write(mut self, document: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(document)? + "\n";
        let path = self.path.display();
        self.file
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot write {path}"))?;
        eprintln!("raw results in {path}");
        Ok(())
    }
}

/// Runs every subject `runs` times, taking turns, and returns each one's results in order.
fn alternate(
    runs: u32,
    subjects: &[Subject],
    division: &Division,
    mut measure: impl FnMut(&Subject, &Division) -> Result<Value>,
) -> Result<Vec<Vec<Value>>> {
    let priority = match (division.realtime, division.switch_fifo) {
        (_, true) => "SCHED_FIFO",
        (true, false) => "raised",
        (false, false) => "ordinary",
    };
    eprintln!(
        "generator on CPU {}, switch on CPU {}, {priority} priority",
        division.generator, division.switch,
    );
    if division.generator == division.switch {
        eprintln!("only one CPU: generator and switch disturb each other, do not trust latencies");
    }
    let mut results = vec![Vec::new(); subjects.len()];
    for run in 1..=runs {
        for (subject, into) in subjects.iter().zip(&mut results) {
            eprint!("run {run}/{runs} {:<10} ", subject.name());
            let result = measure(subject, division)
                .with_context(|| format!("measuring {}", subject.name()))?;
            let free = match result["confined_to_one_cpu"] {
                Value::Bool(false) => " (the switch is NOT confined to one CPU)",
                _ => "",
            };
            eprintln!("{}{free}", result["brief"].as_str().unwrap_or_default());
            into.push(result);
        }
    }
    Ok(results)
}

/// CPU model, cores, kernel.
fn machine() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cores = cpuinfo.matches("processor\t:").count().max(cores);
    // Only the version: what a distributor or a host appends says nothing about the machine.
    let version = kernel.split('-').next().unwrap_or_default().trim();
    json!({"cpu": model, "cores": cores, "kernel": version})
}

/// An empty histogram of nanoseconds up to a minute, three significant digits.
pub(in crate::tools) fn histogram() -> Result<Histogram<u64>> {
    const LONGEST_NS: u64 = 60_000_000_000;
    Histogram::new_with_bounds(1, LONGEST_NS, 3).context("histogram bounds")
}

/// The usual percentiles in microseconds.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds below a minute")]
fn percentiles(ns: &Histogram<u64>) -> Value {
    let us = |quantile: f64| rounded(ns.value_at_quantile(quantile) as f64 / 1e3);
    json!({
        "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "p99_9": us(0.999), "max": us(1.0),
        "mean": rounded(ns.mean() / 1e3),
    })
}

/// A figure of a result for a line of progress; `-` when it is not known.
fn shown(value: &Value, decimals: usize) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".to_owned(), |number| format!("{number:.decimals$}"))
}

/// Rounds to three decimals, for results people read.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[test]
    fn arguments_are_bounded() {
        use clap::Parser as _;
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("x relay --calls 9900 --runs 1 --secs 3600").is_ok());
        assert!(parse("x relay --calls 9901").is_err());
        assert!(parse("x relay --runs 0").is_err());
        assert!(parse("x setup --pid 1").is_err(), "a pid needs an address");
        assert!(parse("x setup --ng 127.0.0.1:2223 --only direct").is_err());
        assert!(parse("x transcode --codec opus --calls 9900 --find").is_ok());
        assert!(parse("x transcode --codec pcmu").is_err());
        assert!(parse("x relay --switch-fifo").is_ok());
        assert!(parse("x recording --rate 16000 --load opus").is_ok());
        assert!(parse("x recording --rate 44100").is_err());
        assert!(parse("x relay --switch-fifo --no-realtime").is_err());
        assert!(parse("x transcode --codec g722 --calls 9901").is_err());
        assert!(parse("x transcode --codec g722 --secs 2").is_err());
        let Ok(Cli {
            bench: BenchArgs {
                what: BenchCommand::Relay(relay),
            },
        }) = parse("x relay")
        else {
            panic!("defaults are refused");
        };
        assert_eq!(
            (relay.calls, relay.secs, relay.warm, relay.common.runs),
            (1000, 5, 2, 3)
        );
    }
}
