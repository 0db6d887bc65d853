//! `crosspoint ctl`: asks or commands a running switch over its ng port, and fetches its
//! recordings over HTTP.

mod recordings;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::ng_client::{NgClient, Request, accepted};
use super::print;

/// Where the switch is, and what to do.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// The switch's ng address
    #[arg(
        long,
        env = "CROSSPOINT_NG",
        default_value = "127.0.0.1:2223",
        value_name = "ADDR:PORT"
    )]
    ng: SocketAddr,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ids of all calls, a line each
    List,
    /// Everything known of a call, as JSON
    Query {
        /// Its id
        call: String,
    },
    /// A call's timeline, and why its audio is one-way
    Why {
        /// Its id
        call: String,
    },
    /// End a call
    Kill {
        /// Its id
        call: String,
    },
    /// Statistics, as JSON
    Stats,
    /// What was recorded: list, fetch, delete
    Recordings(recordings::RecordingsArgs),
}

/// Asks, prints the answer.
///
/// # Errors
/// When the switch does not answer or refuses.
pub fn run(args: &CtlArgs) -> Result<()> {
    let line = match &args.verb {
        Verb::List => "list".to_owned(),
        Verb::Query { call } => format!("query {call}"),
        Verb::Why { call } => format!("why {call}"),
        Verb::Kill { call } => format!("kill {call}"),
        Verb::Stats => "stats".to_owned(),
        Verb::Recordings(args) => return recordings::run(args),
    };
    let mut client = NgClient::connect(args.ng)?;
    let reply = client
        .request(Request::new("cli").text("body", &line))
        .with_context(|| format!("is a switch listening on {}?", args.ng))?;
    let text = accepted(&reply)?["response"]
        .as_str()
        .context("a reply without a response")?;
    if let Some(reason) = text.strip_prefix("error: ") {
        bail!("{reason}");
    }
    print(&format!("{}\n", pretty(text)))
}

/// JSON is shown with line breaks, anything else as it is.
fn pretty(text: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_object() => format!("{value:#}"),
        _ => text.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn only_objects_are_reformatted() {
        assert_eq!(pretty("{\"a\":1}"), "{\n  \"a\": 1\n}");
        assert_eq!(pretty("12\n"), "12");
    }
}
