//! `bench rooms`: conferences, and hold music for many.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::generator::{Parties, Plan};
use super::load::{self, Names, Outlet, SETUP_LANES, Scene, Stage};
use super::process::{Division, Subject};
use super::report::{Bar, Row};
use super::voices::{MUSIC_PEAK, Outcome, Rooms, Voices, swelling};
use super::{Common, Experiment, Peer, RoomsArgs, calls, percentiles, rounded, shown};
use crate::plane::limits::OpenFiles;
use crate::tools::ng_client::{NgClient, Request, accepted};
use crate::tools::wav;

/// The tone of the prompt, which is no participant's.
const MUSIC_HZ: u32 = 3_150;

/// How often a second is repeated in the file.
const MUSIC_S: usize = 10;

/// Beyond this share of a core the generator may be what is measured.
const GENERATOR_PCT_MAX: f64 = 85.0;

/// What is shown, where it stands in a run's result, and what is asked of it.
fn rows(args: &RoomsArgs) -> Vec<Row> {
    let per_core = match (args.music, args.room, args.loudest) {
        (true, ..) => Some(2_000.0),
        (_, 3, None) => Some(1_000.0),
        (_, 500, Some(4)) => Some(500.0),
        _ => None,
    };
    let participants = Row::new("participants per core", "/participants_per_core", "", 0);
    let mut rows = vec![
        Row::new("packets missing", "/missing", "", 0).bar(Bar::Zero),
        Row::new("sequence gaps", "/gaps", "", 0).bar(Bar::Zero),
        Row::new("frames left out", "/skipped", "", 0).bar(Bar::Zero),
        Row::new("duplicated", "/duplicate", "", 0).bar(Bar::Zero),
        Row::new("reordered", "/reordered", "", 0).bar(Bar::Zero),
        Row::new("misrouted", "/misrouted", "", 0).bar(Bar::Zero),
        Row::new("malformed", "/malformed", "", 0).bar(Bar::Zero),
        Row::new("RTP clock broken", "/discontinuous", "", 0).bar(Bar::Zero),
        Row::new("voices not heard", "/unheard", "", 0).bar(Bar::Zero),
        Row::new("who hear themselves", "/echoes", "", 0).bar(Bar::Zero),
        Row::new("voices listened for", "/expected", "", 0),
        Row::new("CPU per participant", "/us_per_participant_s", "us/s", 0),
        Row::new("share of a core", "/switch_core_pct", "%", 1),
        match per_core {
            Some(least) => participants.bar(Bar::AtLeast(least)),
            None => participants,
        },
        Row::new("CPU per packet sent", "/switch_us_per_packet", "us", 2),
        Row::new("lateness p99.9, at most", "/late_p99_9_us", "us", 0),
        Row::new("jitter p99", "/jitter_us/p99", "us", 0),
        Row::new("memory per participant", "/rss_kb_per_call", "kB", 1),
        Row::new("memory in all", "/rss_loaded_kb", "kB", 0),
        Row::new("generator's share of a core", "/generator_core_pct", "%", 1),
        Row::new("generator lag max", "/generator_lag_max_us", "us", 0),
    ];
    if args.music {
        rows.push(Row::new("times the file was decoded", "/decodes", "", 0).bar(Bar::AtMost(1.0)));
    }
    rows
}

/// Measures and prints.
pub(super) fn run(args: &RoomsArgs) -> Result<()> {
    // There is no other switch with rooms to compare with.
    let common = Common {
        peer: Peer::None,
        ..args.common.clone()
    };
    let subjects = super::subjects(&common)?;
    ensure!(
        !subjects.contains(&Subject::Rtpengine),
        "rtpengine mixes no rooms"
    );
    OpenFiles::raise()?
        .require(args.parties.div_ceil(2).into())
        .with_context(|| {
            let parties = args.parties;
            format!("{parties} participants take as many files in the switch as half as many calls")
        })?;
    let music = args.music.then(Music::write).transpose()?;
    let rooms = Rooms {
        parties: args.parties,
        room: args.room,
        loudest: args.loudest,
        music_hz: music.as_ref().map(|_| MUSIC_HZ),
    };
    let what = match (args.music, args.loudest) {
        (true, _) => "one prompt played to all".to_owned(),
        (false, Some(loudest)) => format!("the {loudest} loudest heard"),
        (false, None) => "all heard".to_owned(),
    };
    let experiment = Experiment {
        kind: "rooms",
        title: format!(
            "rooms: {} participants in rooms of {}, {what}, {} s measured, median of {} runs \
             (min-max)",
            args.parties, args.room, args.seconds, args.common.runs,
        ),
        rows: &rows(args),
        parameters: json!({
            "parties": args.parties, "room": args.room, "loudest": args.loudest,
            "music": args.music, "secs": args.seconds, "warm": args.warm,
            "runs": args.common.runs,
        }),
        // Two participants need as many files as a call of two.
        calls_max: args.parties.div_ceil(2),
    };
    let mut parties = None;
    experiment.run(&common, &subjects, |subject, division| {
        // The same sockets in every run, opened once there may be that many.
        let parties = match &mut parties {
            Some(open) => open,
            none => none.insert(Parties::open(args.parties as usize)?),
        };
        measure(args, rooms, music.as_ref(), (subject, division), parties)
    })
}

/// One run, from its start to its end.
fn measure(
    args: &RoomsArgs,
    rooms: Rooms,
    music: Option<&Music>,
    (subject, division): (&Subject, &Division),
    parties: &Parties,
) -> Result<Value> {
    let scene = Conference {
        rooms,
        names: Names::new(rooms.count()),
        parties,
        music: music.map(|music| music.0.as_path()),
    };
    let stage = Stage {
        parties,
        plan: Plan {
            warm: Duration::from_secs(args.warm),
            window: Duration::from_secs(args.seconds),
        },
        units: args.parties,
        recordings: None,
    };
    let sources = |to: &[SocketAddrV4]| match subject {
        Subject::Direct => (0..args.parties).map(|party| scene.before(party)).collect(),
        _ => to.to_vec(),
    };
    let seen = stage.run(&scene, subject, division, |to, _| {
        Voices::new(rooms, sources(to))
    })?;
    let outcome = seen.traffic.outcome()?;
    let [before, after] = &seen.metrics;
    let late = lateness_us(before.as_deref(), after.as_deref(), 0.999);
    let decodes = after.as_deref().and_then(decodes);
    let mut result = load::merge(describe(&outcome, &rooms), seen.costs(outcome.arrived));
    let core_pct = result["switch_core_pct"].as_f64().filter(|pct| *pct > 0.0);
    let parties = f64::from(args.parties);
    result["participants_per_core"] = json!(core_pct.map(|pct| rounded(parties * 100.0 / pct)));
    result["us_per_participant_s"] = json!(core_pct.map(|pct| rounded(pct * 1e4 / parties)));
    result["late_p99_9_us"] = json!(late);
    result["decodes"] = json!(decodes);
    result["brief"] = json!(brief(&result));
    Ok(result)
}

fn describe(outcome: &Outcome, rooms: &Rooms) -> Value {
    json!({
        "participants": rooms.parties,
        "arrived": outcome.arrived,
        "missing": outcome.missing,
        "gaps": outcome.gaps,
        "skipped": outcome.skipped,
        "duplicate": outcome.duplicate,
        "reordered": outcome.reordered,
        "misrouted": outcome.misrouted,
        "malformed": outcome.malformed,
        "discontinuous": outcome.discontinuous,
        "unstamped": outcome.unstamped,
        "jitter_us": percentiles(&outcome.jitter_ns),
        "listened_to": outcome.listened_to,
        "expected": outcome.expected,
        "unheard": outcome.unheard,
        "echoes": outcome.echoes,
    })
}

fn brief(result: &Value) -> String {
    let generator = match result["generator_core_pct"].as_f64() {
        Some(pct) if pct > GENERATOR_PCT_MAX => {
            " (the generator is near its own limit: use fewer participants or another machine)"
        }
        _ => "",
    };
    format!(
        "{} in, {} out, {} missing, {} of {} voices not heard, {} % of a core, {} participants \
         per core, p99.9 {} us late{generator}{}",
        result["sent"],
        result["arrived"],
        result["missing"],
        result["unheard"],
        result["expected"],
        shown(&result["switch_core_pct"], 0),
        shown(&result["participants_per_core"], 0),
        shown(&result["late_p99_9_us"], 0),
        load::doubts(result),
    )
}

/// Rooms in a switch.
struct Conference<'a> {
    rooms: Rooms,
    names: Names,
    parties: &'a Parties,
    music: Option<&'a Path>,
}

impl Conference<'_> {
    /// Whom a party hears where there is no switch: the one before it in its room.
    fn before(&self, party: u32) -> SocketAddrV4 {
        let (room, place) = self.rooms.seat(party);
        let size = self.rooms.size(room);
        let before = room * self.rooms.room + (place + size - 1) % size;
        self.parties.address(before as usize)
    }

    /// What joins the parties of a room.
    fn open(&self, call_id: &str) -> Request {
        match self.music {
            Some(file) => calls::play_all(call_id, &file.to_string_lossy()),
            None => calls::mesh_all(call_id, self.rooms.loudest),
        }
    }

    fn publish(&self, names: &Names, party: u32) -> Vec<u8> {
        let (room, place) = self.rooms.seat(party);
        let (call_id, tag) = (names.call_id(room as usize), format!("p{place}"));
        calls::publish(&call_id, &tag, self.parties.address(party as usize)).encode()
    }

    /// Publishes the first `count` parties, then opens their rooms.
    fn fill(&self, client: &mut NgClient, names: &Names, count: u32) -> Result<Vec<Outlet>> {
        let mut outlets: Vec<Option<Outlet>> = vec![None; count as usize];
        let mut fresh = 0..count;
        let mut at: Vec<Option<u32>> = vec![None; SETUP_LANES];
        client.lanes(SETUP_LANES, |lane, reply| {
            if let (Some(party), Some((reply, _))) = (at[lane], reply) {
                outlets[party as usize] = Some(Outlet {
                    to: calls::media_address(accepted(reply)?)?,
                    payload_type: 0,
                });
            }
            at[lane] = fresh.next();
            Ok(at[lane].map(|party| self.publish(names, party)))
        })?;
        load::each_call(client, names, |call_id| self.open(call_id))?;
        let outlets: Option<Vec<Outlet>> = outlets.into_iter().collect();
        outlets.context("a participant was left without an answer")
    }
}

impl Scene for Conference<'_> {
    fn rehearse(&self, client: &mut NgClient) -> Result<()> {
        let one = Names::new(1);
        self.fill(client, &one, self.rooms.size(0).min(3))?;
        load::each_call(client, &one, calls::delete_all)
    }

    fn set_up(&self, client: &mut NgClient) -> Result<Vec<Outlet>> {
        self.fill(client, &self.names, self.rooms.parties)
    }

    fn directly(&self) -> Vec<Outlet> {
        let after = |party: u32| {
            let (room, place) = self.rooms.seat(party);
            let next = room * self.rooms.room + (place + 1) % self.rooms.size(room);
            Outlet {
                to: self.parties.address(next as usize),
                payload_type: 0,
            }
        };
        (0..self.rooms.parties).map(after).collect()
    }

    fn tear_down(&self, client: &mut NgClient) -> Result<()> {
        load::each_call(client, &self.names, calls::delete_all)
    }
}

/// The file that is played, for as long as this lives.
struct Music(PathBuf);

impl Music {
    fn write() -> Result<Self> {
        let name = format!("crosspoint-bench-{}-hold.wav", std::process::id());
        let music = Self(std::env::temp_dir().join(name));
        wav::write(&music.0, &swelling(MUSIC_HZ, MUSIC_PEAK).repeat(MUSIC_S))?;
        Ok(music)
    }
}

impl Drop for Music {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How often a prompt was loaded and decoded.
fn decodes(metrics: &str) -> Option<u64> {
    let name = "crosspoint_prompt_requests_total{outcome=\"miss\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// The upper bound of the bucket in which this share of frames lies, between two readings, in
/// microseconds. `None`: nobody said, or it lies beyond all bounds.
pub(super) fn lateness_us(before: Option<&str>, after: Option<&str>, share: f64) -> Option<f64> {
    let before = before.map(buckets).unwrap_or_default();
    let new: Vec<(f64, u64)> = buckets(after?)
        .into_iter()
        .enumerate()
        .map(|(at, (bound, count))| (bound, count - before.get(at).map_or(0, |b| b.1.min(count))))
        .collect();
    let all = new.last()?.1;
    #[allow(
        clippy::cast_precision_loss,
        reason = "frames of a run are far below 2^52"
    )]
    let reached = |count: u64| count as f64 >= share * all as f64;
    let bucket = new
        .iter()
        .find(|(_, count)| reached(*count))
        .filter(|_| all > 0)?;
    Some(bucket.0 * 1e6).filter(|us| us.is_finite() && *us < 1e9)
}

/// Upper bounds in seconds and cumulative counts.
fn buckets(metrics: &str) -> Vec<(f64, u64)> {
    let name = "crosspoint_frame_lateness_seconds_bucket{le=\"";
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let bucket = |line: &str| {
        let (bound, count) = line.split_once("\"} ")?;
        let bound = if bound == "+Inf" {
            f64::INFINITY
        } else {
            bound.parse().ok()?
        };
        Some((bound, count.trim().parse().ok()?))
    };
    lines.filter_map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report;
    use super::*;

    const METRICS: &str = "# TYPE x histogram\n\
        crosspoint_frame_lateness_seconds_bucket{le=\"0.001\"} 10\n\
        crosspoint_frame_lateness_seconds_bucket{le=\"0.01\"} 1009\n\
        crosspoint_frame_lateness_seconds_bucket{le=\"+Inf\"} 1010\n\
        crosspoint_prompt_requests_total{outcome=\"hit\"} 7\n\
        crosspoint_prompt_requests_total{outcome=\"miss\"} 1\n";

    #[test]
    fn metrics_are_read() {
        let empty = METRICS.replace("1009", "10").replace("1010", "10");
        let late = |share| lateness_us(Some(&empty), Some(METRICS), share);
        assert_eq!(late(0.999).map(f64::round), Some(10_000.0));
        assert_eq!(late(1.0), None, "beyond all bounds");
        assert_eq!(
            lateness_us(None, Some(METRICS), 0.001).map(f64::round),
            Some(1_000.0)
        );
        assert_eq!(
            lateness_us(Some(METRICS), Some(METRICS), 0.5),
            None,
            "no frames"
        );
        assert_eq!(lateness_us(None, None, 0.5), None);
        assert_eq!(decodes(METRICS), Some(1));
    }

    #[test]
    fn every_row_points_at_something() {
        let mut ns = crate::tools::bench::histogram().unwrap();
        ns.record(5_000).unwrap();
        let outcome = Outcome {
            arrived: 8,
            missing: 0,
            gaps: 0,
            duplicate: 0,
            reordered: 0,
            discontinuous: 0,
            skipped: 0,
            malformed: 0,
            misrouted: 0,
            unstamped: 0,
            jitter_ns: ns,
            listened_to: 1,
            expected: 2,
            unheard: 0,
            echoes: 0,
        };
        let rooms = Rooms {
            parties: 3,
            room: 3,
            loudest: None,
            music_hz: None,
        };
        let seen = load::tests::seen(());
        let mut result = load::merge(describe(&outcome, &rooms), seen.costs(8));
        for figure in [
            "participants_per_core",
            "us_per_participant_s",
            "late_p99_9_us",
            "decodes",
        ] {
            result[figure] = json!(1);
        }
        use clap::Parser as _;
        for line in ["x --music", "x --room 500 --loudest 4 --parties 500", "x"] {
            let args = Cli::try_parse_from(line.split(' ')).unwrap().rooms;
            report::assert_every_row_points_at_a_number(&rows(&args), &result);
        }
    }

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        rooms: RoomsArgs,
    }
}
