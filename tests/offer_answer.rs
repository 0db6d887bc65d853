//! Whole offer/answer negotiations through the real switch, by random histories: offers and
//! answers from either side, holds, rejected and added lines, T.38 and back, branches that come
//! and go, several answers to one offer. Whatever the history, the promises below hold.

#[path = "offer_answer/agent.rs"]
mod agent;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent::{Agent, Kind, LINES_MAX, Line, RETRANSMITTED, direction, meaning};
use crosspoint::engine::{Privacy, Timers};
use crosspoint::plane::worker::{WorkerConfig, WorkerHandle};
use crosspoint::switch::prompts::PromptsConfig;
use crosspoint::switch::{
    MediaGate, Negotiation, Options, Participants, Site, SiteConfig, Switch, SwitchConfig,
    SwitchError, WorkerPort,
};
use fastrand::Rng;
use proptest::prelude::*;
use tokio::runtime::Runtime;

/// Addresses that no other test binds, so that the count of ports is ours alone.
const INTERFACES: [&str; 2] = [
    "near/127.0.0.61!203.0.113.61",
    "far/127.0.0.62!203.0.113.62",
];
const PORTS: (u16, u16) = (45_000, 45_999);
const BRANCHES: usize = 3;

fn house() -> &'static (Runtime, Arc<Switch>) {
    static HOUSE: OnceLock<(Runtime, Arc<Switch>)> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let site = Site::new(SiteConfig {
            interfaces: &INTERFACES.map(str::to_owned),
            ports: PORTS,
            quarantine: Duration::ZERO,
            tos: 0,
            socket_buffer: None,
        })
        .expect("loopback ports");
        let worker = WorkerConfig {
            index: 0,
            cpu: None,
            calls_max: 8,
            queue_len: 1024,
        };
        let (handle, reports) = WorkerHandle::start(worker).expect("a worker");
        let config = SwitchConfig {
            max_calls: 8,
            timers: Timers::default(),
            privacy: Privacy::Transparent,
            prompts: PromptsConfig::default(),
        };
        let switch = Switch::new(config, site, vec![WorkerPort::new(handle, reports)]);
        runtime.spawn(Arc::clone(&switch).pump(0));
        (runtime, switch)
    })
}

/// A call: agent 0 calls, the others are branches.
struct History {
    id: String,
    agents: Vec<Option<Agent>>,
    /// The latest offer from one agent to another.
    offers: HashMap<(usize, usize), Vec<Line>>,
    kinds: Vec<Kind>,
    masked: bool,
    alive: bool,
    random: Rng,
}

impl History {
    fn new(seed: u64, masked: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let caller = Agent::new("caller", 0, &mut random);
        let mut agents = vec![Some(Agent {
            tags: vec!["tag-caller".into()],
            ..caller
        })];
        for ix in 1..=BRANCHES {
            agents.push(Some(Agent::new(&format!("branch{ix}"), ix, &mut random)));
        }
        Self {
            id: format!("history-{seed:x}-{:x}", fastrand::u64(..)),
            agents,
            offers: HashMap::new(),
            kinds: vec![Kind::Audio],
            masked,
            alive: false,
            random,
        }
    }

    fn step(&mut self, seed: u64) {
        self.random = Rng::with_seed(seed);
        let branch = 1 + self.random.usize(0..BRANCHES);
        if self.agents[branch].is_none() {
            return;
        }
        match self.random.u8(0..20) {
            0..8 => self.offer(0, branch),
            8..11 => self.offer(branch, 0),
            11..16 => self.answer(0, branch),
            16 => self.answer(branch, 0),
            17 => self.gate(branch),
            18 => self.delete_branch(branch),
            // It holds for the whole call once said.
            19 if self.random.u8(0..4) == 0 => self.masked = true,
            _ => self.kinds_grow(),
        }
    }

    fn kinds_grow(&mut self) {
        if self.kinds.len() < LINES_MAX {
            self.kinds.push(if self.random.bool() {
                Kind::Audio
            } else {
                Kind::Video
            });
        }
    }

    fn offer(&mut self, from: usize, to: usize) {
        let known = |h: &Self, ix: usize| h.agents[ix].as_ref().is_some_and(|a| !a.tags.is_empty());
        if !known(self, from) || (from != 0 && !self.alive) {
            return;
        }
        let random = &mut self.random;
        let before = self.agents[from].clone().expect("an open branch");
        let mut agent = before;
        let lines: Vec<Line> = (0..self.kinds.len())
            .map(|ix| {
                let fax = ix == 0 && random.u8(0..6) == 0;
                let kind = if fax { Kind::Fax } else { self.kinds[ix] };
                let before = agent.numbers[ix].clone();
                let formats = agent.formats(ix, kind, random);
                let rejected = random.u8(0..8) == 0;
                if rejected {
                    agent.numbers[ix] = before; // what is not there means nothing
                }
                Line {
                    kind,
                    rejected,
                    zero: random.u8(0..10) == 0,
                    direction: direction(random),
                    formats,
                }
            })
            .collect();
        let other = self.agents[to].as_ref().expect("an open branch");
        let branch = agent.branch.clone().or_else(|| other.branch.clone());
        let sdp = agent.sdp(&lines);
        let n = Negotiation {
            call_id: &self.id,
            from_tag: &agent.tags[0],
            to_tag: other.tags.last().map(String::as_str),
            via_branch: branch.as_deref(),
            sdp: sdp.as_bytes(),
            options: self.options(),
        };
        match house().1.offer(&n) {
            Ok(done) => {
                self.alive = true;
                self.agents[from] = Some(agent);
                self.told(from, to, &done.sdp, &lines, &[]);
                self.offers.insert((from, to), lines);
            }
            Err(SwitchError::TooManyStreams { .. }) => {}
            Err(error) => panic!("offer: {error}"),
        }
    }

    fn answer(&mut self, from: usize, to: usize) {
        let Some(offered) = self.offers.get(&(from, to)).cloned() else {
            return;
        };
        let random = &mut self.random;
        let mut agent = self.agents[to].clone().expect("an open branch");
        if agent.tags.is_empty() || (agent.tags.len() < 3 && random.u8(0..8) == 0 && to != 0) {
            agent.tags.push(format!("tag-{to}-{}", agent.tags.len()));
        }
        let lines: Vec<Line> = offered
            .iter()
            .enumerate()
            .map(|(ix, line)| {
                let mut formats: Vec<(u8, String)> = Vec::new();
                if line.rejected {
                    return line.clone();
                }
                let before = agent.numbers[ix].clone();
                let rejected = random.u8(0..8) == 0;
                for (_, meaning) in &line.formats {
                    if random.u8(0..3) == 0 && !formats.is_empty() {
                        continue;
                    }
                    // As it was told, or by another number it knows for it.
                    let mut known: Vec<u8> = agent.numbers[ix]
                        .iter()
                        .filter(|(_, m)| *m == meaning)
                        .map(|(pt, _)| *pt)
                        .collect();
                    known.sort_unstable();
                    let favourite = agent.favourites[12 + formats.len() % 4];
                    let unused = !agent.numbers[ix].contains_key(&favourite);
                    let pt = if random.u8(0..4) == 0 && unused && ix != RETRANSMITTED {
                        agent.numbers[ix].insert(favourite, meaning.clone());
                        favourite
                    } else {
                        known[random.usize(0..known.len())]
                    };
                    formats.push((pt, meaning.clone()));
                }
                if rejected {
                    agent.numbers[ix] = before;
                }
                Line {
                    kind: line.kind,
                    rejected,
                    zero: random.u8(0..12) == 0,
                    direction: direction(random),
                    formats,
                }
            })
            .collect();
        let caller = self.agents[from].as_ref().expect("an open branch");
        let branch = agent.branch.clone().or_else(|| caller.branch.clone());
        let sdp = agent.sdp(&lines);
        let n = Negotiation {
            call_id: &self.id,
            from_tag: &caller.tags[0],
            to_tag: agent.tags.last().map(String::as_str),
            via_branch: branch.as_deref(),
            sdp: sdp.as_bytes(),
            options: self.options(),
        };
        let done = house().1.answer(&n).expect("an answer to its offer");
        self.agents[to] = Some(agent);
        self.told(to, from, &done.sdp, &lines, &offered);
        self.joined(from, to, &offered, &lines);
    }

    fn gate(&mut self, branch: usize) {
        let agent = self.agents[branch].as_ref().expect("an open branch");
        let who = match agent.tags.first() {
            Some(tag) if self.random.bool() => Participants::Tag(tag),
            _ => Participants::All,
        };
        let on = self.random.bool();
        let gate = match self.random.bool() {
            true => MediaGate::Block(on),
            false => MediaGate::Silence(on),
        };
        let done = house().1.gate_media(&self.id, who, gate);
        assert_eq!(done.is_ok(), self.alive, "{done:?}");
    }

    fn delete_branch(&mut self, branch: usize) {
        let others = (1..=BRANCHES).filter(|&ix| {
            ix != branch && self.agents[ix].is_some() && self.offers.contains_key(&(0, ix))
        });
        if !self.offers.contains_key(&(0, branch)) || others.count() == 0 {
            return;
        }
        let name = self.agents[branch].as_ref().and_then(|a| a.branch.clone());
        let (runtime, switch) = house();
        let deleted = switch.delete(&self.id, Some("tag-caller"), None, name.as_deref());
        let deleted = runtime.block_on(deleted).expect("a known branch");
        assert!(deleted.is_none(), "the call lives on");
        self.agents[branch] = None;
        self.offers.retain(|(a, b), _| *a != branch && *b != branch);
    }

    fn options(&self) -> Options {
        Options {
            interfaces: [Some("near".into()), Some("far".into())],
            privacy: self.masked.then_some(Privacy::Masked),
            replace_origin: true,
            ..Options::default()
        }
    }

    /// Everything that must be true of an SDP from `sender` as `receiver` is told it.
    fn told(&mut self, sender: usize, receiver: usize, sdp: &str, said: &[Line], offered: &[Line]) {
        let session = sdp_types::Session::parse(sdp.as_bytes());
        let session = session.unwrap_or_else(|e| panic!("{e}: {sdp}"));
        assert_strict(sdp);
        assert_eq!(session.medias.len(), said.len(), "every line, once: {sdp}");
        let near = if receiver == 0 { "61" } else { "62" };
        let ours = format!("203.0.113.{near}");
        if self.masked {
            let agent = self.agents[sender].as_ref().expect("it has spoken");
            for secret in [&agent.ip, &agent.secret] {
                assert!(!sdp.contains(secret.as_str()), "{secret} in {sdp}");
            }
        } else {
            let agent = self.agents[sender].as_ref().expect("it has spoken");
            assert!(!sdp.contains("candidate"), "{sdp}");
            let connections = session.connection.iter();
            let of_media = session.medias.iter().flat_map(|m| &m.connections);
            for c in connections.chain(of_media) {
                assert_ne!(c.connection_address, agent.ip, "{sdp}");
            }
        }
        let agent = self.agents[receiver].as_mut().expect("an open branch");
        for (ix, (media, line)) in session.medias.iter().zip(said).enumerate() {
            let kind = ["audio", "video", "image"][line.kind as usize];
            assert_eq!(media.media, kind, "in order: {sdp}");
            let rejected = line.rejected || offered.get(ix).is_some_and(|o| o.rejected);
            assert_eq!(media.port == 0, rejected, "line {ix} of {sdp}");
            if rejected {
                continue;
            }
            assert!(media.port % 2 == 0 && (PORTS.0..=PORTS.1).contains(&media.port));
            let place = agent.told.entry((ix, line.kind == Kind::Fax));
            let place = place.or_insert(media.port);
            if self.masked && ix == RETRANSMITTED {
                *place = media.port; // what was set up unread must be read now, on other ports
            }
            let first = *place;
            assert_eq!(first, media.port, "the port of line {ix} stays: {sdp}");
            let direction: Vec<&str> = ["sendrecv", "sendonly", "recvonly", "inactive"]
                .into_iter()
                .filter(|name| media.attributes.iter().any(|a| a.attribute == *name))
                .collect();
            assert_eq!(direction, [line.direction], "line {ix} of {sdp}");
            let own = media.connections.first().or(session.connection.as_ref());
            let address = &own.expect("a c= line").connection_address;
            let wanted = if line.zero { "0.0.0.0" } else { &ours };
            assert_eq!(address, wanted, "line {ix} of {sdp}");
            assert_numbers(agent, ix, media, line, sdp);
        }
        let ports = agent.told.values().collect::<HashSet<_>>();
        assert_eq!(ports.len(), agent.told.len(), "a port of its own each");
    }

    /// What the worker was told is what the two agreed on.
    fn joined(&self, offerer: usize, answerer: usize, offered: &[Line], answered: &[Line]) {
        let (runtime, switch) = house();
        let snapshot = runtime.block_on(switch.query(&self.id)).expect("a call");
        let mut ports = HashSet::new();
        for party in snapshot.parties.iter().filter(|p| !p.closed) {
            for line in party.medias.iter().filter(|m| m.stream.is_some()) {
                assert!(ports.insert(line.local), "two lines at {}", line.local);
                let aside = line.other.iter().map(|other| other.privacy);
                let privacies = aside.chain([line.privacy]);
                let masked = privacies.map(|privacy| privacy == Privacy::Masked);
                assert!(masked.into_iter().all(|masked| masked == self.masked));
            }
        }
        for (ix, (a, b)) in offered.iter().zip(answered).enumerate() {
            for (who, said) in [(offerer, a), (answerer, b)] {
                let agent = self.agents[who].as_ref().expect("an open branch");
                let tag = agent.tags.last().expect("it spoke");
                let party = snapshot.parties.iter().find(|p| p.has_tag(tag));
                let line = &party.expect("the party").medias[ix];
                let Some(report) = snapshot.stream(line) else {
                    continue; // rejected from the start
                };
                let open = !a.rejected && !b.rejected;
                let now = (report.sends, report.receives);
                let wanted = (open && said.sends(), open && said.receives());
                assert_eq!(now, wanted, "line {ix} of {tag}");
                if open {
                    let ip = line.remote_address().map(|at| at.ip().to_string());
                    let wanted = (!said.zero).then(|| agent.ip.clone());
                    assert_eq!(ip, wanted, "line {ix} of {tag}");
                }
                if let Some(other) = line.other.as_deref().and_then(|o| snapshot.stream(o)) {
                    assert!(!other.sends && !other.receives, "what was before is over");
                }
            }
        }
    }

    fn end(self) {
        let (runtime, switch) = house();
        if self.alive {
            let deleted = switch.delete(&self.id, None, None, None);
            assert!(runtime.block_on(deleted).expect("a call").is_some());
        }
        let used = || switch.site().usage().iter().map(|u| u.used).sum::<usize>();
        assert_eq!(used(), 0, "every port came back");
        assert_eq!(switch.calls(), 0);
        let refused = &switch.counters().refused_by_worker;
        assert_eq!(refused.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

/// All formats that were said are there, each under one number that never means anything else.
fn assert_numbers(agent: &mut Agent, ix: usize, media: &sdp_types::Media, line: &Line, sdp: &str) {
    if line.kind == Kind::Fax {
        return;
    }
    let value = |name: &str, pt: &str| {
        let attributes = media.attributes.iter().filter(|a| a.attribute == name);
        let mut values = attributes.filter_map(|a| a.value.as_deref()?.split_once(' '));
        values.find(|(n, _)| *n == pt).map(|(_, value)| value)
    };
    let mut seen = Vec::new();
    for pt in media.fmt.split(' ') {
        let name = value("rtpmap", pt).unwrap_or_else(|| panic!("rtpmap of {pt} in {sdp}"));
        let meaning = meaning(name, value("fmtp", pt).unwrap_or_default());
        let number: u8 = pt.parse().expect("a payload type");
        let before = agent.numbers[ix].insert(number, meaning.clone());
        if ix != RETRANSMITTED {
            let before = before.as_ref().unwrap_or(&meaning);
            assert_eq!(*before, meaning, "{number} of line {ix} in {sdp}");
        }
        seen.push(meaning);
    }
    let said: Vec<_> = line.formats.iter().map(|(_, m)| m.clone()).collect();
    assert_eq!(seen, said, "line {ix} of {sdp}");
}

/// RFC 8866 section 9: session lines, then each media's, in this order; lines end in CRLF.
fn assert_strict(sdp: &str) {
    assert!(sdp.ends_with("\r\n") && !sdp.replace("\r\n", "").contains(['\r', '\n']));
    let (mut order, mut at) = ("vosiuepcbta", 0);
    for line in sdp.lines() {
        let (key, rest) = line.split_at(1);
        assert!(rest.starts_with('=') && rest.len() > 1, "{line:?} in {sdp}");
        if key == "m" {
            (order, at) = ("micba", 0);
        }
        let place = order
            .find(key)
            .unwrap_or_else(|| panic!("{line:?} in {sdp}"));
        assert!(place >= at, "{line:?} comes too late in {sdp}");
        at = place;
    }
}

/// One history at a time: the count of ports at its end is of the whole switch.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn play(seed: u64, masked: bool, steps: &[u64]) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // What a failed case left behind must not fail the smaller ones after it.
    let (runtime, switch) = house();
    for id in switch.list(usize::MAX) {
        let _gone_already = runtime.block_on(switch.delete(&id, None, None, None));
    }
    let mut history = History::new(seed, masked);
    for step in steps {
        history.step(*step);
    }
    history.end();
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_keeps_the_promises(
        seed in any::<u64>(),
        masked in any::<bool>(),
        steps in prop::collection::vec(any::<u64>(), 1..40),
    ) {
        play(seed, masked, &steps);
    }
}
