//! `crosspoint ctl recordings`: what a switch recorded, over its HTTP port.

use std::fs::OpenOptions;
use std::io::{Write as _, copy};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::record::vault::pattern::check;
use crate::record::vault::shelf::{LIST_MAX, Listing, Shelved};
use crate::tools::door::{Door, HttpArgs};
use crate::tools::print;

/// How long the switch may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest list that is read: so many of the longest paths and call ids.
const LISTING_MAX: u64 = 16 << 20;

/// Where the switch is, and what to do.
#[derive(Debug, Args)]
pub(super) struct RecordingsArgs {
    #[command(flatten)]
    http: HttpArgs,
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
    let shelf = Shelf(Door::new(&args.http, PATIENCE));
    match &args.verb {
        Verb::List { prefix, limit } => shelf.list(prefix, *limit),
        Verb::Fetch {
            path,
            output,
            sidecar,
        } => shelf.fetch(path, output.clone(), *sidecar),
        Verb::Delete { path } => shelf.delete(path),
    }
}

struct Shelf(Door);

impl Shelf {
    fn list(&self, prefix: &str, limit: usize) -> Result<()> {
        let mut left = limit;
        let mut after: Option<String> = None;
        while left > 0 {
            let asked = left.min(LIST_MAX);
            let mut request = self.0.get("/recordings").query("prefix", prefix);
            request = request.query("limit", asked.to_string());
            if let Some(after) = &after {
                request = request.query("after", after);
            }
            let listing: Listing = self.0.ask_json(request, LISTING_MAX)?;
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
        let request = self.0.get(&format!("/recordings/{path}"));
        let request = match sidecar {
            true => request.query("sidecar", "1"),
            false => request,
        };
        let mut answer = self.0.ask(request)?;
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
        let request = self.0.delete(&format!("/recordings/{path}"));
        self.0.ask(request).map(drop)
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
