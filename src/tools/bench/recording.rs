//! `bench recording`: calls that are recorded, and the same calls when they are not.

mod kept;
mod libopus;
mod rows;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::kept::Kept;
use self::rows::rows;
use super::generator::{PACKET_INTERVAL, Parties, Plan};
use super::load::{self, Calls, Languages, Load, Outlet, Recording, Scene, Seen};
use super::marked::Marked;
use super::process::{Division, Subject};
use super::rooms::lateness_us;
use super::spoken::Spoken;
use super::{Common, Experiment, Peer, percentiles, rounded, shown};
use crate::audio::codec::CodecKind;
use crate::tools::ng_client::NgClient;

/// Bits per second and channel of Opus recordings.
const OPUS_BPS: u32 = 24_000;

/// `crosspoint bench recording`.
#[derive(Clone, Debug, clap::Args)]
pub struct RecordingArgs {
    /// What is recorded, and how
    #[arg(long, value_enum, default_value_t = Recorded::Relay)]
    pub load: Recorded,
    /// Two-party calls at the same time, 50 packet/s in each direction [default: relay 500,
    /// opus 50, frames 60]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=9900))]
    pub calls: Option<u32>,
    /// Both parties on one channel, added up; WAV of relayed calls is stereo
    #[arg(long)]
    pub mono: bool,
    /// Sampling rate of the files in Hz; WAV of relayed calls is at 8,000
    #[arg(long, default_value_t = 8_000, value_parser = rate)]
    pub rate: u32,
    /// Seconds that are measured in each run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub secs: u64,
    /// Seconds of traffic before that
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub warm: u64,
    /// Where the switches record: a directory is made there for each run, and removed after it
    /// [default: the directory of temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The rest.
    #[command(flatten)]
    pub common: Common,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Recorded {
    /// Relayed calls, as WAV; rtpengine with its pcap method
    Relay,
    /// Relayed calls, as Ogg Opus; beside libopus alone
    Opus,
    /// Calls between PCMU and G.722, as WAV: is the mixing of frames delayed?
    Frames,
}

impl RecordingArgs {
    /// In ng's words.
    fn layout(&self) -> &'static str {
        if self.mono { "mono" } else { "stereo" }
    }
}

impl Recorded {
    fn usual_calls(self) -> u32 {
        match self {
            Self::Relay => 500,
            Self::Opus => 50,
            Self::Frames => 60,
        }
    }

    fn format(self) -> &'static str {
        match self {
            Self::Relay | Self::Frames => "wav",
            Self::Opus => "opus",
        }
    }

    fn languages(self) -> Languages {
        match self {
            Self::Relay | Self::Opus => Languages::Same,
            Self::Frames => Languages::Different(CodecKind::G722),
        }
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok();
    let known = crate::record::config::RECORDING_RATES_HZ;
    rate.filter(|rate| known.contains(rate))
        .ok_or_else(|| format!("one of {known:?}"))
}

/// Measures and prints.
pub(super) fn run(args: &RecordingArgs) -> Result<()> {
    let what = args.load;
    let mut common = args.common.clone();
    if what != Recorded::Relay {
        // It has no recordings of sound that were mixed as they are written.
        common.peer = Peer::None;
    }
    let subjects = super::subjects(&common)?;
    ensure!(
        subjects
            .iter()
            .all(|s| matches!(s, Subject::Own(_) | Subject::Rtpengine)),
        "only a switch that is started here can be told where to record"
    );
    ensure!(
        what != Recorded::Relay || (args.rate == 8_000 && !args.mono),
        "WAV of relayed calls is compared octet by octet, in stereo at 8000 Hz"
    );
    let calls = args.calls.unwrap_or_else(|| what.usual_calls());
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let experiment = Experiment {
        kind: "recording",
        title: format!(
            "recording: {calls} {}, {} packet/s, {} {} at {} Hz, {} s measured, median of {} \
             runs (min-max)",
            match what {
                Recorded::Relay | Recorded::Opus => "relayed calls",
                Recorded::Frames => "calls from PCMU to G.722",
            },
            u128::from(calls) * 2_000 / PACKET_INTERVAL.as_millis(),
            args.layout(),
            match what {
                Recorded::Relay | Recorded::Frames => "WAV",
                Recorded::Opus => "Ogg Opus",
            },
            args.rate,
            args.secs,
            common.runs,
        ),
        rows: &rows(what),
        parameters: json!({
            "load": format!("{what:?}").to_lowercase(), "calls": calls, "rate": args.rate,
            "layout": args.layout(),
            "secs": args.secs, "warm": args.warm, "runs": common.runs,
            "disk": file_system(&dir),
        }),
        // Each recording takes a file and its journal, as another call would.
        calls_max: 2 * calls,
    };
    let mut parties = None;
    experiment.run(&common, &subjects, |subject, division| {
        // The same sockets in every run, opened once there may be that many.
        let parties = match &mut parties {
            Some(open) => open,
            none => none.insert(Parties::open(2 * calls as usize)?),
        };
        let pass = Pass {
            args,
            calls,
            parties,
        };
        pass.both(&dir, subject, division)
    })
}

/// The kind of file system a directory is on, as `/proc/mounts` has it.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let over = mounts.filter(|(at, _)| dir.starts_with(at));
    over.max_by_key(|(at, _)| at.len())
        .map(|(_, kind)| kind.to_owned())
}

/// The same load with and without recording.
struct Pass<'a> {
    args: &'a RecordingArgs,
    calls: u32,
    parties: &'a Parties,
}

impl Pass<'_> {
    /// One run of one subject: first without recording, then with it.
    fn both(&self, dir: &Path, subject: &Subject, division: &Division) -> Result<Value> {
        let plain = self.once(None, subject, division)?;
        let dir = Folder::create(dir)?;
        let recorded = self.once(Some(&dir.0), subject, division)?;
        let mut result = json!({
            "confined_to_one_cpu": recorded["confined_to_one_cpu"],
            "plain": plain,
            "recorded": recorded,
        });
        self.compare(&mut result)?;
        result["brief"] = json!(brief(&result));
        Ok(result)
    }

    /// What only both together say.
    fn compare(&self, result: &mut Value) -> Result<()> {
        let figure = |pointer: &str| result.pointer(pointer).and_then(Value::as_f64);
        let cost = |pass: &str| figure(&format!("/{pass}/us_per_call_s"));
        let alone = cost("recorded")
            .zip(cost("plain"))
            .map(|(with, without)| with - without);
        let late = |pass: &str| figure(&format!("/{pass}/late_p99_9_us"));
        let later = late("recorded")
            .zip(late("plain"))
            .map(|(with, without)| with / without);
        #[allow(clippy::cast_precision_loss, reason = "seconds of a run")]
        let call_s = f64::from(self.calls) * (self.args.secs + self.args.warm) as f64;
        let written = figure("/recorded/kept/bytes").map(|bytes| bytes / 1e3 / call_s);
        result["recording_us_per_call_s"] = json!(alone.map(rounded));
        result["later"] = json!(later.map(rounded));
        result["written_kb_per_s"] = json!(written.map(rounded));
        if self.args.load == Recorded::Opus {
            let libopus = libopus::time_per_second(self.args)?.as_secs_f64();
            let per_core = alone.filter(|us| *us > 0.0).map(|us| 1e6 / us);
            result["libopus_us_per_call_s"] = json!(rounded(libopus * 1e6));
            result["libopus_per_core"] = json!(rounded(1.0 / libopus));
            result["recordings_per_core"] = json!(per_core.map(rounded));
            result["of_libopus_pct"] = json!(per_core.map(|n| rounded(n * libopus * 100.0)));
        }
        Ok(())
    }

    /// With a directory: recording into it.
    fn once(&self, dir: Option<&Path>, subject: &Subject, division: &Division) -> Result<Value> {
        let what = self.args.load;
        let mut keys = vec![
            ("recording-layout", self.args.layout().to_owned()),
            ("recording-format", what.format().to_owned()),
            ("recording-rate", self.args.rate.to_string()),
        ];
        if what == Recorded::Opus {
            keys.push(("recording-bitrate", OPUS_BPS.to_string()));
        }
        let load = Load {
            calls: self.calls,
            languages: what.languages(),
            parties: self.parties,
            plan: Plan {
                warm: Duration::from_secs(self.args.warm),
                window: Duration::from_secs(self.args.secs),
            },
            recording: dir.map(|dir| Recording { dir, keys: &keys }),
        };
        let scene = Closed {
            calls: Calls::new(load),
            subject,
            dir,
        };
        let mut result = match what {
            Recorded::Relay => {
                let traffic = |to: &[_], _: &[Outlet]| Marked::new(self.parties.addresses(), to);
                let seen = load.stage().run(&scene, subject, division, traffic)?;
                let kept = scene.kept(|dir, calls| match subject {
                    Subject::Rtpengine => kept::of_rtpengine(dir, calls, &seen.traffic.sent()),
                    _ => kept::of_ours(dir, calls, Some(&seen.traffic.sent())),
                });
                describe_relayed(&seen, kept?)
            }
            Recorded::Opus | Recorded::Frames => {
                let kind = match what.languages() {
                    Languages::Same => CodecKind::Pcmu,
                    Languages::Different(kind) => kind,
                };
                let traffic = |_: &[_], outlets: &[Outlet]| Spoken::new(kind, outlets);
                let seen = load.stage().run(&scene, subject, division, traffic)?;
                let kept = scene.kept(|dir, calls| kept::of_ours(dir, calls, None));
                describe_spoken(&seen, kept?)?
            }
        };
        let core = result["switch_core_pct"].as_f64().filter(|pct| *pct > 0.0);
        let calls = f64::from(self.calls);
        result["us_per_call_s"] = json!(core.map(|pct| rounded(pct * 1e4 / calls)));
        result["calls_per_core"] = json!(core.map(|pct| rounded(calls * 100.0 / pct)));
        Ok(result)
    }
}

fn describe_relayed(seen: &Seen<Marked>, kept: Option<Kept>) -> Value {
    let outcome = seen.traffic.outcome();
    let result = json!({
        "lost": seen.paced.sent - outcome.arrived,
        "duplicate": outcome.duplicate,
        "reordered": outcome.reordered,
        "latency_us": percentiles(&outcome.latency_ns),
        "kept": kept.map(|kept| kept.describe()),
    });
    load::merge(result, seen.costs(outcome.arrived))
}

fn describe_spoken(seen: &Seen<Spoken>, kept: Option<Kept>) -> Result<Value> {
    let outcome = seen.traffic.outcome()?;
    let [before, after] = &seen.metrics;
    let result = json!({
        "lost": outcome.missing + outcome.gaps + outcome.skipped,
        "duplicate": outcome.duplicate,
        "reordered": outcome.reordered,
        "jitter_us": percentiles(&outcome.jitter_ns),
        "late_p99_9_us": lateness_us(before.as_deref(), after.as_deref(), 0.999),
        "kept": kept.map(|kept| kept.describe()),
    });
    Ok(load::merge(result, seen.costs(outcome.arrived)))
}

fn brief(result: &Value) -> String {
    let [plain, recorded] = [&result["plain"], &result["recorded"]];
    let kept = &recorded["kept"];
    let busy = match plain["others_core_pct"].as_f64() > recorded["others_core_pct"].as_f64() {
        true => plain,
        false => recorded,
    };
    format!(
        "{} recordings, lost {} of {}, {} not in the files, {} us/s per call ({} without), p99 {} \
         us ({} without){}",
        kept["files"],
        recorded["lost"],
        recorded["sent"],
        kept["packets_missing"],
        shown(&recorded["us_per_call_s"], 0),
        shown(&plain["us_per_call_s"], 0),
        shown(&recorded["latency_us"]["p99"], 0),
        shown(&plain["latency_us"]["p99"], 0),
        load::doubts(busy),
    )
}

/// Calls that have ended when their recordings are closed.
struct Closed<'a> {
    calls: Calls<'a>,
    subject: &'a Subject,
    /// Where they are recorded, if they are.
    dir: Option<&'a Path>,
}

impl Closed<'_> {
    fn kept(&self, look: impl FnOnce(&Path, &Calls<'_>) -> Result<Kept>) -> Result<Option<Kept>> {
        self.dir.map(|dir| look(dir, &self.calls)).transpose()
    }
}

impl Scene for Closed<'_> {
    fn rehearse(&self, client: &mut NgClient) -> Result<()> {
        self.calls.rehearse(client)
    }

    fn set_up(&self, client: &mut NgClient) -> Result<Vec<Outlet>> {
        self.calls.set_up(client)
    }

    fn directly(&self) -> Vec<Outlet> {
        self.calls.directly()
    }

    fn tear_down(&self, client: &mut NgClient) -> Result<()> {
        self.calls.tear_down(client)?;
        let Some(dir) = self.dir else {
            return Ok(());
        };
        // What each of them writes last of a call; the rehearsed one is there, too.
        let last = match self.subject {
            Subject::Rtpengine => "txt",
            _ => "json",
        };
        kept::wait_for(dir, last, self.calls.names().count() + 1)
    }
}

/// A directory for the recordings of a run, for as long as this lives.
struct Folder(PathBuf);

impl Folder {
    fn create(within: &Path) -> Result<Self> {
        let id = std::process::id();
        let path = within.join(format!("crosspoint-bench-{id}-{:x}", fastrand::u32(..)));
        let folder = Self(path);
        std::fs::create_dir_all(&folder.0)
            .with_context(|| format!("cannot make {}", folder.0.display()))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::report;
    use super::*;

    #[test]
    fn every_row_points_at_something() {
        let kept = Kept {
            missing: Some(0),
            slid: Some(0),
            ..Kept::default()
        };
        let mut pass = load::merge(
            json!({"lost": 0, "kept": kept.describe(), "late_p99_9_us": 250.0}),
            load::tests::seen(()).costs(8),
        );
        let mut ns = crate::tools::bench::histogram().unwrap();
        ns.record(5_000).unwrap();
        pass["latency_us"] = percentiles(&ns);
        pass["jitter_us"] = percentiles(&ns);
        pass["us_per_call_s"] = json!(9.0);
        pass["calls_per_core"] = json!(1.0);
        let mut result = json!({"plain": pass.clone(), "recorded": pass});
        result["plain"]["us_per_call_s"] = json!(4.0);
        let parties = Parties::open(2).unwrap();
        for load in ["relay", "opus", "frames"] {
            use clap::Parser as _;
            let line = ["x", "--load", load];
            let args = Cli::try_parse_from(line).unwrap().recording;
            let pass = Pass {
                args: &args,
                calls: 1,
                parties: &parties,
            };
            pass.compare(&mut result).unwrap();
            assert_eq!(result["recording_us_per_call_s"], 5.0);
            report::assert_every_row_points_at_a_number(&rows(args.load), &result);
        }
    }

    #[test]
    fn rates_are_those_of_recordings() {
        assert_eq!(rate("16000"), Ok(16_000));
        assert!(rate("44100").is_err() && rate("x").is_err());
        assert_eq!(file_system(Path::new("/proc")).as_deref(), Some("proc"));
    }

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        recording: RecordingArgs,
    }
}
