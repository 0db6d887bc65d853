//! `crosspoint ctl recordings`: what a switch recorded, over its HTTP port.

use std::fs::OpenOptions;
use std::io::{Write as _, copy};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use ureq::Agent;
use ureq::http::Response;

use crate::record::vault::pattern::check;
use crate::record::vault::shelf::{LIST_MAX, Listing, Shelved};
use crate::tools::print;

/// How long the switch may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest list that is read: so many of the longest paths and call ids.
const LISTING_MAX: u64 = 16 << 20;

/// Where the switch is, and what to do.
#[derive(Debug, Args)]
pub(super) struct RecordingsArgs {
    /// The switch's HTTP address
    #[arg(
        long,
        env = "CROSSPOINT_HTTP",
        default_value = "127.0.0.1:8080",
        value_name = "ADDR:PORT"
    )]
    http: SocketAddr,
    /// Its token, if it has one
    #[arg(
        long,
        env = "CROSSPOINT_HTTP_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    http_token: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Path, state, octets, seconds and beginning of each, a line each
    List {
        /// Only those whose path begins so
        #[arg(default_value = "")]
        prefix: String,
        /// Only so many
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
    /// Copy one to here
    Fetch {
        /// Its path
        path: String,
        /// The file to write, which must not be there [default: its name]
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// What the recording holds, as JSON, instead of its sound
        #[arg(long)]
        sidecar: bool,
    },
    /// Delete one and its sidecar
    Delete {
        /// Its path
        path: String,
    },
}

/// Asks, and prints or writes the answer.
pub(super) fn run(args: &RecordingsArgs) -> Result<()> {
    let door = Door::new(args);
    match &args.verb {
        Verb::List { prefix, limit } => door.list(prefix, *limit),
        Verb::Fetch {
            path,
            output,
            sidecar,
        } => door.fetch(path, output.clone(), *sidecar),
        Verb::Delete { path } => door.delete(path),
    }
}

struct Door {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Door {
    fn new(args: &RecordingsArgs) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .build();
        let token = args.http_token.clone();
        Self {
            agent: config.into(),
            url: format!("http://{}/recordings", args.http),
            token: token.filter(|token| !token.trim().is_empty()),
        }
    }

    fn list(&self, prefix: &str, limit: usize) -> Result<()> {
        let mut left = limit;
        let mut after: Option<String> = None;
        while left > 0 {
            let asked = left.min(LIST_MAX);
            let mut request = self.agent.get(&self.url).query("prefix", prefix);
            request = request.query("limit", asked.to_string());
            if let Some(after) = &after {
                request = request.query("after", after);
            }
            let mut answer = self.answered(self.told(request).call())?;
            let text = answer
                .body_mut()
                .with_config()
                .limit(LISTING_MAX)
                .read_to_vec()?;
            let listing: Listing = serde_json::from_slice(&text).context("no list")?;
            let lines: String = listing.recordings.iter().map(line).collect();
            print(&lines)?;
            left -= listing.recordings.len().min(left);
            let last = listing.recordings.last().map(|last| last.path.clone());
            if !listing.more || last.is_none() {
                break;
            }
            after = last;
        }
        Ok(())
    }

    fn fetch(&self, path: &str, output: Option<PathBuf>, sidecar: bool) -> Result<()> {
        check(path)?;
        let request = self.agent.get(format!("{}/{path}", self.url));
        let request = match sidecar {
            true => request.query("sidecar", "1"),
            false => request,
        };
        let mut answer = self.answered(self.told(request).call())?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let ending = if sidecar { ".json" } else { "" };
        let output = output.unwrap_or_else(|| PathBuf::from(format!("{name}{ending}")));
        let shown = output.display();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&output);
        let mut file = file.with_context(|| format!("cannot write {shown}"))?;
        let copied = copy(&mut answer.body_mut().as_reader(), &mut file);
        let written = copied.and_then(|_| file.flush());
        written.with_context(|| format!("{shown} is not whole"))
    }

    fn delete(&self, path: &str) -> Result<()> {
        check(path)?;
        let request = self.agent.delete(format!("{}/{path}", self.url));
        self.answered(self.told(request).call()).map(drop)
    }

    fn told<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn answered(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Response<ureq::Body>> {
        let ask = || format!("is a switch listening on {}?", self.url);
        let mut answer = answer.with_context(ask)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let why = answer
            .body_mut()
            .with_config()
            .limit(4_096)
            .read_to_string();
        bail!("{}: {}", answer.status(), why.unwrap_or_default().trim())
    }
}

fn line(recording: &Shelved) -> String {
    let state = format!("{:?}", recording.state).to_ascii_lowercase();
    let length = recording
        .length_s
        .map_or_else(|| "-".to_owned(), |s| format!("{s:.3}"));
    let started = recording.started.as_deref().unwrap_or("-");
    format!(
        "{}\t{state}\t{}\t{length}\t{started}\n",
        recording.path, recording.bytes
    )
}
