//! A switch with a user agent and a runner, as `serve` puts them together, and people with voices
//! who call and are called.

#![allow(
    dead_code,
    reason = "each test file uses what it needs of a shared support module"
)]

mod book;
mod people;
mod voice;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crosspoint::engine::{Privacy, Timers};
use crosspoint::flow::run::{Flows, Runner};
use crosspoint::flow::script::{ANY_NUMBER, Applet, Connect, Early, Flow, Prompt, Step, Transfers};
use crosspoint::plane::worker::{WorkerConfig, WorkerHandle};
use crosspoint::record::recorder::RecorderConfig;
use crosspoint::sip::{Transport, UserAgent};
use crosspoint::switch::prompts::{PromptsConfig, Source};
use crosspoint::switch::{
    Recorders, RecordingDefaults, Site, SiteConfig, Switch, SwitchConfig, WorkerPort,
};

pub(crate) use book::{Book, Told};
pub(crate) use people::{Callee, Caller};
pub(crate) use voice::Voice;

use crate::sip_support::{address, agent_of, nothing_is_left};
use crate::support::ports::Ports;
use crate::support::switch::scratch;
use crate::support::{PATIENCE, audio};

/// Most calls at a time.
const CALLS_MAX: u32 = 16;
/// Media ports: eight parties of a call, four calls at a time.
const MEDIA_PORTS: u16 = 120;

/// Where a call ends.
pub(crate) const END: Option<usize> = None;

/// What is heard where a [`connected`] goes on: answered, busy, no answer, failed.
pub(crate) const BRANCHES_HZ: [f32; 4] = [1_300.0, 1_400.0, 1_500.0, 1_600.0];

/// Everything that carries calls.
pub(crate) struct House {
    pub(crate) switch: Arc<Switch>,
    pub(crate) agent: Arc<UserAgent>,
    pub(crate) runner: Runner,
    pub(crate) book: Arc<Book>,
    pub(crate) address: SocketAddr,
    /// Where recordings are.
    pub(crate) recordings: PathBuf,
    flows: Arc<Mutex<HashMap<String, Arc<Flow>>>>,
    /// Who may transfer calls of flows that come from now on.
    pub(crate) transfer: Mutex<Transfers>,
    _ports: Ports,
}

impl House {
    /// One in which this flow has the number 1000.
    pub(crate) async fn with(steps: impl IntoIterator<Item = Step>) -> Self {
        let house = Self::new("").await;
        house.flow("1000", steps);
        house
    }

    /// One without flows; `sip` are settings of its user agent.
    pub(crate) async fn new(sip: &str) -> Self {
        let mut ports = Ports::reserve(MEDIA_PORTS);
        let recordings = scratch("flows");
        let switch = switch(&mut ports, recordings.clone());
        let (agent, mut calls) = agent_of(sip, CALLS_MAX as usize).await;
        let flows: Arc<Mutex<HashMap<String, Arc<Flow>>>> = Arc::default();
        let found = Arc::clone(&flows);
        let find = move |number: &str| {
            let flows = found.lock().expect("flows");
            let any = || flows.get(ANY_NUMBER);
            flows.get(number).or_else(any).cloned()
        };
        let book = Arc::new(Book::default());
        let (shared, ledger) = (Arc::clone(&switch), Arc::clone(&book));
        let runner = Runner::new(shared, Arc::clone(&agent), find, ledger);
        let taking = runner.clone();
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                taking.take(call);
            }
        });
        let address = address(&agent, Transport::Udp);
        Self {
            switch,
            agent,
            runner,
            book,
            address,
            recordings,
            flows,
            transfer: Mutex::default(),
            _ports: ports,
        }
    }

    /// From now on the number leads to these applets, from the first of them.
    pub(crate) fn flow(&self, number: &str, steps: impl IntoIterator<Item = Step>) {
        let applets = steps.into_iter().zip(0..).map(|(step, ix)| Applet {
            name: format!("applet-{ix}"),
            step,
        });
        let flow = Flow {
            name: format!("flow-{number}"),
            numbers: vec![number.to_owned()],
            start: 0,
            applets: applets.collect(),
            callback: None,
            transfer: *self.transfer.lock().expect("a word"),
        };
        let mut flows = self.flows.lock().expect("flows");
        flows.insert(number.to_owned(), Arc::new(flow));
    }

    /// Path of the only recording of the first call that has ended.
    pub(crate) async fn recorded(&self) -> String {
        let ended = || {
            self.book.all().into_iter().find_map(|told| match told {
                Told::CallEnded { recordings, .. } if !recordings.is_empty() => Some(recordings),
                _ => None,
            })
        };
        until("a call with a recording has ended", || ended().is_some()).await;
        ended().expect("it has ended").remove(0)
    }

    /// Samples of a recording of one channel.
    pub(crate) fn samples_of(&self, path: &str) -> Vec<i16> {
        let file = std::fs::read(self.recordings.join(path)).expect("a recording");
        let (channels, samples) = wav(&file);
        assert_eq!(channels, 1);
        samples
    }

    /// From now on these numbers lead where others say.
    pub(crate) fn flows_of(&self, others: &impl Flows, numbers: &[&str]) {
        let mut flows = self.flows.lock().expect("flows");
        for number in numbers {
            let flow = others.find(number).expect("a number with a flow");
            flows.insert((*number).to_owned(), flow);
        }
    }

    /// Samples of both channels of a recording, once it is a file.
    pub(crate) fn channels_of(&self, path: &str) -> [Vec<i16>; 2] {
        let file = std::fs::read(self.recordings.join(path)).expect("a recording");
        let (channels, samples) = wav(&file);
        assert_eq!(channels, 2);
        let channel = |n| samples.iter().skip(n).step_by(2).copied().collect();
        [channel(0), channel(1)]
    }

    /// Fails unless all calls end by themselves, and leave nothing behind: no dialog, no call of
    /// the switch, no port, and nothing that the book has no end of.
    pub(crate) async fn leave_empty(self) {
        nothing_is_left(&self.agent).await;
        let ports = || {
            let usage = self.switch.site().usage().into_iter();
            usage.map(|usage| usage.used).sum::<usize>()
        };
        until("no call and no port is taken", || {
            self.switch.calls() == 0 && ports() == 0
        })
        .await;
        assert!(self.runner.shutdown(PATIENCE).await, "tasks of calls");
        self.book.is_closed();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // It may be another test's business by now.
        let _gone = std::fs::remove_dir_all(&self.recordings);
        if std::thread::panicking() {
            eprintln!("--- the book ---\n{:#?}", self.book.all());
        }
    }
}

fn switch(ports: &mut Ports, recordings: PathBuf) -> Arc<Switch> {
    let site = Site::new(SiteConfig {
        interfaces: &["a/127.0.0.1".to_owned()],
        ports: ports.next_range(MEDIA_PORTS),
        quarantine: Duration::ZERO,
        tos: 0,
        socket_buffer: None,
    });
    let worker = WorkerConfig {
        index: 0,
        cpu: None,
        calls_max: CALLS_MAX,
        queue_len: 256,
    };
    let (handle, reports) = WorkerHandle::start(worker).expect("a worker");
    let recorders = Recorders::on_first_use(RecorderConfig::new(recordings));
    let config = SwitchConfig {
        max_calls: CALLS_MAX as usize,
        timers: Timers::default(),
        privacy: Privacy::Masked,
        prompts: PromptsConfig::default(),
        recording: RecordingDefaults {
            recorders,
            ..RecordingDefaults::default()
        },
    };
    let workers = vec![WorkerPort::new(handle, reports)];
    let switch = Switch::new(config, site.expect("loopback ports"), workers);
    tokio::spawn(Arc::clone(&switch).pump(0));
    switch
}

/// Waits for what other tasks do.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, holds).await;
    assert!(held.is_ok(), "still not so after {PATIENCE:?}: {what}");
}

/// A connect of these, with everything else as it is without a word; its branches lead to the
/// applets 1 to 4: answered, busy, no answer, failed.
pub(crate) fn connect(to: &[String]) -> Connect {
    Connect {
        to: to.to_vec(),
        parallel: true,
        ring_timeout: Duration::from_secs(10),
        early: Early::Ringback,
        music: None,
        whisper: None,
        time_limit: Duration::from_secs(60),
        caller_id: None,
        record: false,
        answered: Some(1),
        busy: Some(2),
        no_answer: Some(3),
        failed: Some(4),
    }
}

/// A connect, and a greeting of a tone of its own on each of its branches: [`BRANCHES_HZ`].
pub(crate) fn connected(connect: Connect) -> Vec<Step> {
    let branches = BRANCHES_HZ.map(|hz| greeting(hz.into(), 10_000, END));
    let first = std::iter::once(Step::Connect(Box::new(connect)));
    first.chain(branches).collect()
}

/// Answers, and plays a tone.
pub(crate) fn greeting(hz: f64, ms: usize, next: Option<usize>) -> Step {
    Step::Greeting {
        prompt: prompt(hz, ms),
        ring: Duration::ZERO,
        next,
    }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A prompt of one tone.
pub(crate) fn prompt(hz: f64, ms: usize) -> Prompt {
    vec![sound(hz, ms)]
}

/// A sound of one tone.
pub(crate) fn sound(hz: f64, ms: usize) -> Source {
    Source::Bytes(audio::wav(hz, ms).into())
}

/// Channels and samples of a WAV file of 16 bits.
fn wav(file: &[u8]) -> (u16, Vec<i16>) {
    assert_eq!((&file[..4], &file[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    let (mut at, mut channels) = (12, 0);
    while let Some(head) = file.get(at..at + 8) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body = &file[at + 8..(at + 8 + length).min(file.len())];
        match &head[..4] {
            b"fmt " => channels = u16::from_le_bytes([body[2], body[3]]),
            b"data" => {
                let pairs = body.chunks_exact(2);
                let samples = pairs.map(|two| i16::from_le_bytes([two[0], two[1]]));
                return (channels, samples.collect());
            }
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    panic!("no samples in the file");
}

/// How much of the sound in samples of 8 kHz is this tone.
pub(crate) fn tone_in(samples: &[i16], hz: f32) -> f32 {
    let sound: Vec<u8> = samples.iter().map(|s| audio::ulaw_encode(*s)).collect();
    audio::share_of_tone(&sound, hz)
}

/// How much of one packet of µ-law is this tone.
pub(crate) fn tone_share(packet: &[u8], hz: f32) -> f32 {
    let pcm: Vec<i16> = packet
        .iter()
        .map(|byte| audio::ulaw_decode(*byte))
        .collect();
    crate::support::phone::goertzel(&pcm, hz.into(), 8_000) as f32
}
