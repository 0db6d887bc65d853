//! `crosspoint calls`: what became of calls, from the records that a switch keeps.

mod show;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde::Serialize;

use super::print;
use super::text::clean;
use crate::flow::records::StoreError;
use crate::flow::records::read::{CallRecord, Filter, LegRecord, Moment, Reader};

/// What comes after the options in the help.
const HELP: &str = "\
  crosspoint calls --since 2h --status no-answer
  crosspoint calls --number 98450 --json
  crosspoint calls 5f2f0c0e7bd94c7f9a1d3c5b7e9f1a2b

All times are UTC. The records can be read while a switch writes them.";

/// `crosspoint calls`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CallsArgs {
    /// Show this one call with its legs, by its SID or that of a leg [default: list the latest]
    #[arg(value_name = "SID", conflicts_with_all = ["limit", "since", "status", "number"])]
    sid: Option<String>,
    /// The records: call-records of the switch
    #[arg(
        long,
        env = "CROSSPOINT_CALL_RECORDS",
        default_value = crate::flow::records::FILE,
        value_name = "FILE"
    )]
    call_records: PathBuf,
    /// List at most so many
    #[arg(long, default_value_t = 20, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Only those that began then or later: how long ago (90s, 2h, 3days), or a date with or
    /// without a time (2026-11-24, "2026-11-24 08:30:00")
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Moment>,
    /// Only those with this status
    #[arg(long, value_parser = ["ringing", "in-progress", "completed", "busy", "no-answer",
                                "failed", "canceled"])]
    status: Option<String>,
    /// Only those to or from a number that has this in it
    #[arg(long, value_name = "PART")]
    number: Option<String>,
    /// A JSON object for each call, on a line
    #[arg(long)]
    json: bool,
}

/// A call with its legs.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    call: &'a CallRecord,
    legs: &'a [LegRecord],
}

/// Runs it.
///
/// # Errors
/// If there are no records, they cannot be read, or there is no such call.
pub fn run(args: &CallsArgs) -> Result<()> {
    let reader = Reader::open(&args.call_records).map_err(whole)?;
    match &args.sid {
        Some(sid) => {
            let Some((call, legs)) = reader.call(sid).map_err(whole)? else {
                bail!("no call has the SID {}", clean(sid));
            };
            let whole = Whole {
                call: &call,
                legs: &legs,
            };
            match args.json {
                true => print(&line(&whole)?),
                false => print(&show::whole(&call, &legs)),
            }
        }
        None => {
            let calls = reader.list(&filter(args)).map_err(whole)?;
            match args.json {
                true => print(&calls.iter().map(line).collect::<Result<String>>()?),
                false => print(&show::list(&calls)),
            }
        }
    }
}

/// These errors say their causes themselves; printed as a chain they would say them again.
fn whole(error: StoreError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

fn filter(args: &CallsArgs) -> Filter {
    Filter {
        limit: args.limit,
        since: args.since,
        status: args.status.clone(),
        number: args.number.clone(),
    }
}

fn line(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
}

/// How long ago, or since when.
fn since(text: &str) -> Result<Moment, String> {
    let at = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => date(text),
    };
    let after = at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let ms = after.and_then(|after| i64::try_from(after.as_millis()).ok());
    ms.map(Moment)
        .ok_or_else(|| "is neither how long ago nor a date".to_owned())
}

fn date(text: &str) -> Option<SystemTime> {
    let midnight = format!("{text} 00:00:00");
    let read = humantime::parse_rfc3339_weak(text);
    read.or_else(|_| humantime::parse_rfc3339_weak(&midnight))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ago_or_dates() {
        assert_eq!(since("1970-01-02").unwrap(), Moment(86_400_000));
        assert_eq!(since("1970-01-01 00:00:01").unwrap(), Moment(1_000));
        assert_eq!(since("1970-01-01T00:01:00Z").unwrap(), Moment(60_000));
        let (hour, now) = (since("1h").unwrap().0, since("0s").unwrap().0);
        assert!(
            (3_600_000..3_610_000).contains(&(now - hour)),
            "{hour} {now}"
        );
        assert_eq!(since("100years").unwrap(), Moment(0));
        for wrong in ["yesterday", "", "2026-13-01", "-5", "1e99years"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
