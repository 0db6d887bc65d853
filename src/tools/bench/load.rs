//! Calls under load: what the measurements with media have in common.

use std::cell::RefCell;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::generator::{Generator, Paced, Parties, Plan, Traffic};
use super::process::{self, Division, Subject, Switch, Usage};
use super::{calls, rounded, shown};
use crate::audio::codec::CodecKind;
use crate::tools::ng_client::{NgClient, Request, accepted};

/// Requests in flight while calls are set up; not measured here.
pub(super) const SETUP_LANES: usize = 32;

/// Beyond this the generator itself was too late for its latencies to be believed.
const LAG_MAX_US: f64 = 5_000.0;

/// Beyond this share of a core, processes that are neither switch nor generator disturb a run.
const OTHERS_MAX_PCT: f64 = 15.0;

/// What the parties of all calls speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Languages {
    /// PCMU, which is relayed.
    Same,
    /// The callers PCMU, the callees this.
    Different(CodecKind),
}

/// How many calls, of whom, for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) calls: u32,
    pub(super) languages: Languages,
    pub(super) parties: &'a Parties,
    pub(super) plan: Plan,
    pub(super) recording: Option<Recording<'a>>,
}

/// How all calls are recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recording<'a> {
    pub(super) dir: &'a Path,
    /// What the offer says of it, in ng's words.
    pub(super) keys: &'a [(&'static str, String)],
}

/// Where a party sends, and under which payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outlet {
    pub(super) to: SocketAddrV4,
    pub(super) payload_type: u8,
}

/// What was seen from outside while the traffic flowed.
#[derive(Debug)]
pub(super) struct Seen<T> {
    pub(super) traffic: T,
    pub(super) paced: Paced,
    /// Inside the window.
    pub(super) used: Usage,
    rss_kb: Rss,
    confined: Option<bool>,
    /// What `/metrics` said before the traffic and after it.
    pub(super) metrics: [Option<String>; 2],
    /// What the switch used while all calls ended, in nanoseconds.
    ending_ns: Option<u64>,
    units: u32,
}

/// Resident memory of the switch in kB.
#[derive(Clone, Copy, Debug)]
struct Rss {
    idle: Option<u64>,
    set_up: Option<u64>,
    loaded: Option<u64>,
}

/// What is set up in a switch before packets flow.
pub(super) trait Scene {
    /// A small one, before anything is measured: what is created once must not be billed to the
    /// thousand.
    fn rehearse(&self, client: &mut NgClient) -> Result<()>;

    /// Returns where each party has to send.
    fn set_up(&self, client: &mut NgClient) -> Result<Vec<Outlet>>;

    /// The same where there is no switch.
    fn directly(&self) -> Vec<Outlet>;

    /// Ends all calls.
    fn tear_down(&self, client: &mut NgClient) -> Result<()>;
}

/// Calls of two, with their names and when they lived.
pub(super) struct Calls<'a> {
    load: Load<'a>,
    names: Names,
    offered: RefCell<Vec<Option<Moment>>>,
    deleted: RefCell<Vec<Option<Moment>>>,
}

/// Something happened between a request and its reply.
#[derive(Clone, Copy, Debug)]
struct Moment {
    after: Instant,
    before: Instant,
}

impl Moment {
    /// A request took so long until now.
    fn of(took: Duration) -> Self {
        let before = Instant::now();
        Self {
            after: before.checked_sub(took).unwrap_or(before),
            before,
        }
    }
}

impl<'a> Calls<'a> {
    pub(super) fn new(load: Load<'a>) -> Self {
        let count = load.calls as usize;
        Self {
            load,
            names: Names::new(load.calls),
            offered: RefCell::new(vec![None; count]),
            deleted: RefCell::new(vec![None; count]),
        }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The least and the most time from offer to end that a call can have had, seen from outside.
    pub(super) fn lived(&self, call: usize) -> Option<[Duration; 2]> {
        let offered = (*self.offered.borrow().get(call)?)?;
        let deleted = (*self.deleted.borrow().get(call)?)?;
        let least = deleted.after.saturating_duration_since(offered.before);
        let most = deleted.before.saturating_duration_since(offered.after);
        Some([least, most])
    }
}

impl Scene for Calls<'_> {
    fn rehearse(&self, client: &mut NgClient) -> Result<()> {
        let one = Names::new(1);
        self.load.set_up(client, &one, |_, _| ())?;
        each_call(client, &one, calls::delete)
    }

    fn set_up(&self, client: &mut NgClient) -> Result<Vec<Outlet>> {
        let mut offered = self.offered.borrow_mut();
        let note = |call: usize, took| offered[call] = Some(Moment::of(took));
        self.load.set_up(client, &self.names, note)
    }

    fn directly(&self) -> Vec<Outlet> {
        self.load.directly()
    }

    fn tear_down(&self, client: &mut NgClient) -> Result<()> {
        let mut deleted = self.deleted.borrow_mut();
        each_call_noting(client, &self.names, calls::delete, |call, took| {
            deleted[call] = Some(Moment::of(took));
        })
    }
}

impl Load<'_> {
    /// One run of one subject, from its start to its end.
    pub(super) fn run<T: Traffic>(
        &self,
        subject: &Subject,
        division: &Division,
        traffic: impl FnOnce(&[SocketAddrV4], &[Outlet]) -> Result<T>,
    ) -> Result<Seen<T>> {
        let scene = Calls::new(*self);
        self.stage().run(&scene, subject, division, traffic)
    }

    pub(super) fn stage(&self) -> Stage<'_> {
        Stage {
            parties: self.parties,
            plan: self.plan,
            units: self.calls,
            recordings: self.recording.map(|recording| recording.dir),
        }
    }

    /// Without a switch everybody sends to the other party of the call.
    fn directly(&self) -> Vec<Outlet> {
        let parties = 0..2 * self.calls as usize;
        parties
            .map(|i| Outlet {
                to: self.parties.address(i ^ 1),
                payload_type: 0,
            })
            .collect()
    }

    /// Sets up all calls; returns where each party has to send. `offered` is told of each call
    /// how long its offer took until now.
    fn set_up(
        &self,
        client: &mut NgClient,
        names: &Names,
        mut offered: impl FnMut(usize, Duration),
    ) -> Result<Vec<Outlet>> {
        let mut outlets: Vec<Option<Outlet>> = vec![None; 2 * names.count];
        let mut fresh = 0..names.count;
        let mut at: Vec<Option<(usize, bool)>> = vec![None; SETUP_LANES];
        client.lanes(SETUP_LANES, |lane, reply| {
            if let (Some((call, answering)), Some((reply, took))) = (at[lane], reply) {
                let outlet = self.outlet(accepted(reply)?, answering)?;
                // The offer's reply is what the callee will see, so it says where the callee sends.
                outlets[2 * call + usize::from(!answering)] = Some(outlet);
                if !answering {
                    offered(call, took);
                    at[lane] = Some((call, true));
                    return Ok(Some(self.answer(names, call, outlet.payload_type)));
                }
            }
            at[lane] = fresh.next().map(|call| (call, false));
            Ok(at[lane].map(|(call, _)| self.offer(names, call)))
        })?;
        outlets
            .into_iter()
            .collect::<Option<_>>()
            .context("a call was left half set up")
    }

    fn offer(&self, names: &Names, call: usize) -> Vec<u8> {
        let (call_id, at) = (names.call_id(call), self.parties.address(2 * call));
        let offer = match self.languages {
            Languages::Same => calls::offer(&call_id, at),
            Languages::Different(codec) => calls::offer_for(&call_id, at, codec),
        };
        match self.recording {
            Some(recording) => calls::recorded(offer, recording.keys),
            None => offer,
        }
        .encode()
    }

    fn answer(&self, names: &Names, call: usize, payload_type: u8) -> Vec<u8> {
        let (call_id, at) = (names.call_id(call), self.parties.address(2 * call + 1));
        match self.languages {
            Languages::Same => calls::answer(&call_id, at),
            Languages::Different(kind) => calls::answer_with(&call_id, at, (payload_type, kind)),
        }
        .encode()
    }

    /// What the reply to an offer tells the callee, or that to an answer the caller.
    fn outlet(&self, reply: &Value, answering: bool) -> Result<Outlet> {
        let payload_type = match self.languages {
            Languages::Same => 0,
            Languages::Different(codec) => {
                let expected = if answering { CodecKind::Pcmu } else { codec };
                calls::only_payload_type(reply, expected)?
            }
        };
        Ok(Outlet {
            to: calls::media_address(reply)?,
            payload_type,
        })
    }
}

/// Who sends and for how long; `units` of something are set up (calls, participants).
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage<'a> {
    pub(super) parties: &'a Parties,
    pub(super) plan: Plan,
    pub(super) units: u32,
    /// Where the switch may record.
    pub(super) recordings: Option<&'a Path>,
}

impl Stage<'_> {
    /// One run of one subject, from its start to its end.
    pub(super) fn run<T: Traffic>(
        &self,
        scene: &impl Scene,
        subject: &Subject,
        division: &Division,
        traffic: impl FnOnce(&[SocketAddrV4], &[Outlet]) -> Result<T>,
    ) -> Result<Seen<T>> {
        let switch = Switch::start(subject, division, self.recordings)?;
        let pid = switch.as_ref().and_then(|s| s.pid);
        let mut client = switch
            .as_ref()
            .map(|s| NgClient::connect(s.ng))
            .transpose()?;
        if let Some(client) = &mut client {
            scene.rehearse(client)?;
        }
        let idle = pid.and_then(process::rss_kb);
        let outlets = match &mut client {
            Some(client) => scene.set_up(client)?,
            None => scene.directly(),
        };
        let set_up = pid.and_then(process::rss_kb);
        let to: Vec<_> = outlets.iter().map(|outlet| outlet.to).collect();
        let metrics = || switch.as_ref().and_then(Switch::metrics);
        let before = metrics();
        let mut usage = Vec::with_capacity(2);
        let generator = Generator::new(self.parties, &to, traffic(&to, &outlets)?)?;
        let (paced, traffic) = generator.run(self.plan, || usage.push(Usage::now(pid)))?;
        // After the load: a switch that touches memory only when media flows must not look smaller.
        let loaded = pid.and_then(process::rss_kb);
        let confined = switch
            .as_ref()
            .and_then(|s| s.is_confined_to(division.switch));
        let metrics = [before, metrics()];
        let ending = Usage::now(pid);
        if let Some(client) = &mut client {
            scene.tear_down(client)?;
        }
        let ending_ns = Usage::now(pid).since(&ending).switch_ns;
        ensure!(paced.sent > 0 && usage.len() == 2, "nothing was sent");
        Ok(Seen {
            traffic,
            paced,
            used: usage[1].since(&usage[0]),
            rss_kb: Rss {
                idle,
                set_up,
                loaded,
            },
            confined,
            metrics,
            ending_ns,
            units: self.units,
        })
    }
}

impl<T> Seen<T> {
    /// What the switch, the machine and the generator used, `packets` having come out of the
    /// switch, for a run's result.
    #[allow(
        clippy::cast_precision_loss,
        reason = "nanoseconds of a run are far below 2^52"
    )]
    pub(super) fn costs(&self, packets: u64) -> Value {
        let mut result = costs(&self.paced, &self.used, packets);
        let Rss {
            idle,
            set_up,
            loaded,
        } = self.rss_kb;
        let per_call = |rss: Option<u64>| {
            Some(rounded(
                rss?.saturating_sub(idle?) as f64 / f64::from(self.units),
            ))
        };
        let ending_us = |ns: u64| rounded(ns as f64 / 1e3 / f64::from(self.units));
        result["ending_us_per_call"] = json!(self.ending_ns.map(ending_us));
        result["rss_kb_per_call"] = json!(per_call(loaded));
        result["rss_kb_per_call_before_media"] = json!(per_call(set_up));
        result["rss_idle_kb"] = json!(idle);
        result["rss_loaded_kb"] = json!(loaded);
        result["confined_to_one_cpu"] = json!(self.confined);
        result
    }
}

/// See [`Seen::costs`].
#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds of a run are far below 2^52"
)]
fn costs(paced: &Paced, used: &Usage, packets: u64) -> Value {
    let float = |ns: Option<u64>| ns.map(|ns| ns as f64);
    let window_ns = paced.window.as_nanos() as f64;
    let packets = packets.max(1) as f64;
    let per_packet = |ns: Option<f64>| ns.map(|ns| rounded(ns / 1e3 / packets));
    let of_core = |ns: Option<f64>| ns.map(|ns| rounded(100.0 * ns / window_ns));
    let switch = float(used.switch_ns);
    let machine = float(used.machine_ns.map(|m| m.0));
    let generator = float(used.generator_ns);
    let others = machine
        .zip(generator)
        .map(|(m, g)| (m - g - switch.unwrap_or(0.0)).max(0.0));
    let lag_max_us = paced.lag_ns.max() as f64 / 1e3;
    json!({
        "window_s": rounded(paced.window.as_secs_f64()),
        "sent": paced.sent,
        "send_errors": paced.send_errors,
        "switch_us_per_packet": per_packet(switch),
        "switch_core_pct": of_core(switch),
        "machine_us_per_packet": per_packet(machine),
        "generator_us_per_packet": per_packet(generator),
        "generator_core_pct": of_core(generator),
        "generator_lag_max_us": rounded(lag_max_us),
        "generator_lag_p99_us": rounded(paced.lag_ns.value_at_quantile(0.99) as f64 / 1e3),
        "generator_was_late": lag_max_us > LAG_MAX_US,
        "others_core_pct": of_core(others),
        "stolen_pct": of_core(float(used.machine_ns.map(|m| m.1))),
    })
}

/// For a line of progress: what speaks against trusting a run.
pub(super) fn doubts(result: &Value) -> String {
    let mut line = format!(
        ", other processes {} %",
        shown(&result["others_core_pct"], 0)
    );
    if result["generator_was_late"] == true {
        line += " (the generator was late: latencies are too high)";
    }
    if result["others_core_pct"]
        .as_f64()
        .is_some_and(|pct| pct > OTHERS_MAX_PCT)
    {
        line += " (the machine was busy with something else: do not trust this run)";
    }
    line
}

/// Adds the figures of `more` to those of `result`.
pub(super) fn merge(mut result: Value, more: Value) -> Value {
    if let (Value::Object(into), Value::Object(more)) = (&mut result, more) {
        into.extend(more);
    }
    result
}

/// The call ids of one run.
pub(super) struct Names {
    prefix: String,
    count: usize,
}

impl Names {
    pub(super) fn new(calls: u32) -> Self {
        let prefix = format!("bench-{:x}-{:x}", std::process::id(), fastrand::u32(..));
        Self {
            prefix,
            count: calls as usize,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn call_id(&self, call: usize) -> String {
        format!("{}-{call}", self.prefix)
    }
}

/// Sends a request for every call; all must be accepted.
pub(super) fn each_call(
    client: &mut NgClient,
    names: &Names,
    request: impl Fn(&str) -> Request,
) -> Result<()> {
    each_call_noting(client, names, request, |_, _| ())
}

/// The same; `note` is told of each call how long its request took until now.
fn each_call_noting(
    client: &mut NgClient,
    names: &Names,
    request: impl Fn(&str) -> Request,
    mut note: impl FnMut(usize, Duration),
) -> Result<()> {
    let mut fresh = 0..names.count;
    let mut at = vec![0; SETUP_LANES];
    client.lanes(SETUP_LANES, |lane, reply| {
        if let Some((reply, took)) = reply {
            accepted(reply)?;
            note(at[lane], took);
        }
        let Some(call) = fresh.next() else {
            return Ok(None);
        };
        at[lane] = call;
        Ok(Some(request(&names.call_id(call)).encode()))
    })?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a run of two seconds with ten packets might have cost.
    pub(in crate::tools::bench) fn seen<T>(traffic: T) -> Seen<T> {
        let mut lag_ns = crate::tools::bench::histogram().unwrap();
        lag_ns.record(5_000).unwrap();
        Seen {
            traffic,
            paced: Paced {
                window: Duration::from_secs(2),
                sent: 10,
                send_errors: 6,
                lag_ns,
            },
            used: Usage {
                switch_ns: Some(16_000),
                generator_ns: Some(32_000),
                machine_ns: Some((64_000, 16_000)),
            },
            rss_kb: Rss {
                idle: Some(100),
                set_up: Some(110),
                loaded: Some(130),
            },
            confined: Some(true),
            metrics: [None, None],
            ending_ns: Some(50_000),
            units: 10,
        }
    }

    #[test]
    fn costs_are_those_of_the_packets_that_came_out() {
        let result = seen(()).costs(8);
        assert_eq!(result["switch_us_per_packet"], 2.0);
        assert_eq!(result["switch_core_pct"], 0.001);
        assert_eq!(result["rss_kb_per_call"], 3.0);
        assert_eq!(result["ending_us_per_call"], 5.0);
        assert_eq!(result["rss_kb_per_call_before_media"], 1.0);
        assert!(doubts(&result).ends_with(" 0 %"));
        let busy = json!({"others_core_pct": 15.1, "generator_was_late": true});
        assert!(doubts(&busy).contains("late") && doubts(&busy).contains("busy"));
    }
}
