//! The command line: parses arguments and starts.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use crosspoint::control::config::{Config, Settings};
use crosspoint::control::serve;
use crosspoint::flow::folder;
use crosspoint::plane::limits::refuse_huge_pages;
use crosspoint::tools::{bench, call, calls, ctl, dtmf, print, recording, replay, top};

/// The control side makes and drops many small things per command; measured by
/// `crosspoint bench setup`, CPU per call fell with it from 0.6 to 0.4 of rtpengine's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "crosspoint", version, about = "A SIP/RTP media-plane switch")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switch
    Serve {
        /// Settings in TOML; a flag or environment variable beats it
        #[arg(long, env = "CROSSPOINT_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Check the settings, say "ok" and stop
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Ask or command a running switch
    Ctl(ctl::CtlArgs),
    /// What became of calls that flows carried: a list, or one with its legs
    Calls(calls::CallsArgs),
    /// The calls that live, shown as they change
    Top(top::TopArgs),
    /// Carry a two-party call through a running switch
    Call(call::CallArgs),
    /// Measure this machine: relay and setup, beside rtpengine where it is installed
    Bench(bench::BenchArgs),
    /// Which keys were pressed in a recording, live samples or a capture
    Dtmf(dtmf::DtmfArgs),
    /// What a recording holds, whether it is what was recorded, and how to close a damaged one
    Recording(recording::RecordingArgs),
    /// Play a captured RTP stream as the switch would: what was heard, and what was lost
    Replay(replay::ReplayArgs),
}

fn main() -> ExitCode {
    refuse_huge_pages();
    let outcome = match Cli::parse().command {
        Command::Serve {
            config,
            check,
            settings,
        } => start(config, check, *settings),
        Command::Ctl(args) => ctl::run(&args),
        Command::Calls(args) => calls::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Dtmf(args) => dtmf::run(&args),
        Command::Recording(args) => recording::run(&args),
        Command::Replay(args) => replay::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this cannot be said, the exit status remains.
            let _ = writeln!(std::io::stderr(), "crosspoint: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(file: Option<PathBuf>, check: bool, settings: Settings) -> anyhow::Result<()> {
    refuse_unknown_variables()?;
    let file = file
        .map(|path| Settings::read(&path))
        .transpose()
        .map_err(whole)?
        .unwrap_or_default();
    let config: Config = settings.over(file).resolve().map_err(whole)?;
    if check {
        if let Some(flows) = &config.phones.flows {
            check_flows(flows, &config.phones.prompts)?;
        }
        return print("ok\n");
    }
    serve::start_log(&config).map_err(anyhow::Error::msg)?;
    serve::run(&config).map_err(whole)
}

/// Says what is wrong or odd with flows, a line each.
fn check_flows(flows: &Path, prompts: &[PathBuf]) -> anyhow::Result<()> {
    let (lines, is_wrong) = folder::check(flows, prompts);
    for line in &lines {
        print(&format!("{line}\n"))?;
    }
    if is_wrong {
        anyhow::bail!("flow-dir: {} cannot be used as they are", flows.display());
    }
    Ok(())
}

/// The settings' and the switch's errors say their causes themselves; printed as a chain they
/// would say them again.
fn whole(error: impl std::error::Error) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

/// A misspelt variable would leave its setting at the default without a word.
fn refuse_unknown_variables() -> anyhow::Result<()> {
    let command = Cli::command();
    let known: Vec<&OsStr> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_env)
        .collect();
    let unknown: Vec<String> = std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| !known.contains(&name.as_os_str()))
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("CROSSPOINT_") && !name.starts_with("CROSSPOINT_TEST_"))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    anyhow::bail!(
        "unknown environment variable {} (`crosspoint serve --help` lists them)",
        unknown.join(", ")
    )
}
