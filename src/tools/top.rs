//! `crosspoint top`: the calls of a running switch, shown as they change.
//!
//! | part | what it does |
//! |---|---|
//! | `ask` | asks the switch, in a thread of its own, and says what was seen |
//! | `app` | what is shown and selected; what keys do |
//! | `rows` | calls, legs and totals as texts |
//! | `draw` | one picture of all of it |
//! | `screen` | the terminal: takes it, reads keys, gives it back whatever happens |
//!
//! The switch sorts and filters, and tells no more calls than fit three screens. So a picture costs
//! the same with ten calls and with ten thousand.

mod app;
mod ask;
mod draw;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal as _, stdin, stdout};

use anyhow::{Result, bail};

use super::door::HttpArgs;
use super::print;
use crate::control::live::{FILTER_MAX, LIST_MAX, Sort};
use app::App;
use ask::{Asker, Wish};

/// What comes after the options in the help.
const HELP: &str = "\
Keys: up, down, PgUp, PgDn select a call, Enter shows its legs, Esc leads back; s sorts by something
else, / filters, p pauses, q quits.

  crosspoint top
  crosspoint top --once --filter ringing";

/// `crosspoint top`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct TopArgs {
    #[command(flatten)]
    http: HttpArgs,
    /// Print the calls of this moment as a table, and end
    #[arg(long)]
    once: bool,
    /// Only calls with this in their SID, numbers, flow, applet or status
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT",
          value_parser = filter)]
    filter: String,
    /// Which calls come first
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
}

/// Shows the calls until the user has seen enough.
///
/// # Errors
/// If standard output is no terminal and one table is not what was asked for; with one table, if
/// the switch does not answer.
pub fn run(args: &TopArgs) -> Result<()> {
    let wish = Wish {
        filter: args.filter.clone(),
        sort: args.sort,
        limit: LIST_MAX,
        ..Wish::default()
    };
    let asker = Asker::new(&args.http);
    if args.once {
        return print(&rows::plain(&asker.ask(&wish)?.list));
    }
    if !stdout().is_terminal() || !stdin().is_terminal() {
        bail!("top needs a terminal; `crosspoint top --once` prints one table");
    }
    screen::show(asker, App::new(args.http.http.to_string(), wish))
}

fn filter(text: &str) -> Result<String, String> {
    match text.len() {
        0..=FILTER_MAX => Ok(text.to_owned()),
        _ => Err(format!("is longer than {FILTER_MAX} octets")),
    }
}
