//! A disk that stalls while a worker relays and records calls of real sockets: what it does to
//! packets is nothing, and what it does to recordings is told to the sample.

mod plane_support;
mod recorder_support;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crosspoint::engine::{Change, Keys, RecorderId, Side, StreamIx, Timers, TrackIx, tape};
use crosspoint::plane::worker::{Command, WorkerHandle};
use crosspoint::record::event::RecordingEventKind;
use crosspoint::record::recorder::{Recorder, RecorderConfig, Recording};
use crosspoint::record::sidecar::verify;
use crosspoint::record::span::SpanKind;
use plane_support::{Pair, V4, key, rtp, start};
use recorder_support::slow::SlowDisk;
use recorder_support::{Folder, Rig, wav};

const CALLS: u32 = 8;
const FRAME: Duration = Duration::from_millis(20);

/// One way of a call: what is sent at one end, and what comes out at the other.
struct Way {
    from: UdpSocket,
    to: std::net::SocketAddr,
    heard: JoinHandle<Heard>,
    ssrc: u32,
}

/// What a party heard.
struct Heard {
    packets: u32,
    /// Each is the next one, to the octet.
    in_order: bool,
    /// When each came.
    at: Vec<Instant>,
}

fn listen(at: UdpSocket, ssrc: u32, over: Arc<AtomicBool>) -> JoinHandle<Heard> {
    at.set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a socket");
    std::thread::spawn(move || {
        let mut heard = Heard {
            packets: 0,
            in_order: true,
            at: Vec::new(),
        };
        let mut buffer = [0; 2_048];
        // What was sent last comes within the timeout.
        while let Some(len) = match at.recv(&mut buffer) {
            Ok(len) => Some(len),
            Err(_) if over.load(Ordering::Relaxed) => None,
            Err(_) => Some(0),
        } {
            if len > 0 {
                let seq = u16::try_from(heard.packets).expect("few");
                heard.in_order &= buffer[..len] == rtp(ssrc, seq);
                heard.packets += 1;
                heard.at.push(Instant::now());
            }
        }
        heard
    })
}

/// Calls that a worker relays and a recorder records.
struct Calls {
    worker: WorkerHandle,
    recordings: Vec<Recording>,
    ways: Vec<Way>,
    over: Arc<AtomicBool>,
    sent: Vec<Instant>,
}

impl Calls {
    fn new(recorder: &Recorder) -> Self {
        let (worker, _reports) = start(CALLS, 64);
        let over = Arc::<AtomicBool>::default();
        let (mut recordings, mut ways) = (Vec::new(), Vec::new());
        for call in 0..CALLS {
            let (pair, insert) = Pair::on(V4, key(call), Timers::default());
            worker.submit(insert).expect("room");
            let (writer, reader) = tape(2, Instant::now());
            let id = RecorderId(1);
            let track = |track: u8| Change::RecordTrack {
                recorder: id,
                track: TrackIx(track),
                from: Some((StreamIx(track.into()), Side::In)),
            };
            let begin = Change::Record {
                recorder: id,
                tape: Box::new(writer),
                finish: Keys::NONE,
            };
            let command = Command::Change {
                key: key(call),
                changes: vec![begin, track(0), track(1)],
                sockets: Vec::new(),
            };
            worker.submit(command).expect("room");
            let recording = recorder.begin(wav(&format!("{call}.wav")), reader);
            recordings.push(recording.expect("it begins"));
            for (from, to, ssrc) in [(&pair.a, pair.at_a, 1), (&pair.b, pair.at_b, 2)] {
                let at = if ssrc == 1 { &pair.b } else { &pair.a };
                let at = at.try_clone().expect("a socket");
                ways.push(Way {
                    from: from.try_clone().expect("a socket"),
                    to,
                    heard: listen(at, ssrc, Arc::clone(&over)),
                    ssrc,
                });
            }
        }
        Self {
            worker,
            recordings,
            ways,
            over,
            sent: Vec::new(),
        }
    }

    /// All parties speak for so long; the worker's longest turn meanwhile.
    fn speak(&mut self, time: Duration) -> Duration {
        let counters = self.worker.counters();
        counters.turn_us_max.take();
        let begun = Instant::now();
        for frame in 0.. {
            let at = FRAME * frame;
            if at >= time {
                break;
            }
            std::thread::sleep(at.saturating_sub(begun.elapsed()));
            let seq = u16::try_from(self.sent.len()).expect("few");
            self.sent.push(Instant::now());
            for way in &self.ways {
                let packet = rtp(way.ssrc, seq);
                way.from.send_to(&packet, way.to).expect("sent");
            }
        }
        Duration::from_micros(counters.turn_us_max.take())
    }

    /// Hangs up; how long each packet took at most, by the phase in which it was sent.
    fn end(self, phases: &[usize]) -> Vec<Duration> {
        // All that was sent is over by then.
        std::thread::sleep(3 * FRAME);
        let now = Instant::now();
        for recording in &self.recordings {
            recording.stop(now, false);
        }
        self.over.store(true, Ordering::Relaxed);
        let mut worst = vec![Duration::ZERO; phases.len()];
        for way in self.ways {
            let heard = way.heard.join().expect("no panic");
            let sent = self.sent.len();
            assert_eq!(heard.packets as usize, sent, "packets were lost");
            assert!(heard.in_order, "packets were changed");
            for (index, (sent, came)) in self.sent.iter().zip(&heard.at).enumerate() {
                let phase = phases.partition_point(|end| *end <= index);
                worst[phase] = worst[phase].max(came.duration_since(*sent));
            }
        }
        self.worker.stop();
        worst
    }
}

/// Speaks, stalls the disk so long, and speaks on; what each recording's sidecar says then, and
/// which events were told.
fn with_stall(stall: Duration) -> (Folder, Vec<(String, Duration, Duration)>) {
    const STEADY: Duration = Duration::from_secs(4);
    let folder = Folder::new();
    let disk = SlowDisk::default();
    let config = RecorderConfig::new(folder.0.clone());
    let recorder = Recorder::start_on(config, Arc::new(disk.clone())).expect("a recorder");
    let events = recorder.events();
    let mut rig = Rig { recorder, events };
    let mut calls = Calls::new(&rig.recorder);
    let mut phases = Vec::new();
    let mut turns = Vec::new();
    for (time, stalls) in [(STEADY, false), (stall, true), (STEADY, false)] {
        disk.stall(stalls);
        turns.push(calls.speak(time));
        phases.push(calls.sent.len());
    }
    let sent = calls.sent.len();
    let worst = calls.end(&phases);
    for (phase, (turn, packet)) in ["steady", "stalled", "after"]
        .iter()
        .zip(turns.iter().zip(&worst))
    {
        println!("{phase}: longest turn {turn:?}, slowest packet {packet:?}");
    }
    let counters = rig.recorder.counters();
    let stalled_ms = u128::from(counters.stall_max_ms.load(Ordering::Relaxed));
    let (mut lost, mut complete) = (Vec::new(), 0);
    while complete < CALLS {
        let event = rig.next_event();
        match event.kind {
            RecordingEventKind::Lost { from, until, .. } => {
                lost.push((event.path.into(), from, until));
            }
            RecordingEventKind::Completed { .. } => complete += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(stalled_ms >= stall.as_millis() * 9 / 10, "{stalled_ms}");
    for call in 0..CALLS {
        let report = verify(&folder.0.join(format!("{call}.wav"))).expect("readable");
        assert!(report.is_verified(), "{:?}", report.problems);
        let sidecar = report.sidecar.expect("verified");
        // The recorder heard all of it, whatever the disk did.
        for track in &sidecar.tracks {
            let stats = &track.stats;
            assert_eq!((stats.packets, stats.lost), (sent as u64, 0), "{call}");
        }
        let kinds = sidecar.spans.iter().map(|span| span.kind);
        assert!(kinds.clone().all(|kind| kind != SpanKind::Overrun));
        let unwritten = sidecar.spans.iter();
        let unwritten = unwritten.filter(|span| span.kind == SpanKind::Unwritten);
        let told: Vec<_> = unwritten.map(|s| (s.from_us, s.until_us)).collect();
        let path = format!("{call}.wav");
        let events = lost.iter().filter(|(of, ..)| *of == path);
        let us = |time: &Duration| u64::try_from(time.as_micros()).expect("short");
        let events: Vec<_> = events
            .map(|(_, from, until)| (us(from), us(until)))
            .collect();
        assert_eq!(told, events, "{call}");
    }
    (folder, lost)
}

#[test]
fn a_stall_of_ten_seconds_delays_no_packet_and_loses_nothing() {
    let (_folder, lost) = with_stall(Duration::from_secs(10));
    assert_eq!(lost, []);
}

#[test]
#[ignore = "takes 30 s"]
fn a_longer_stall_delays_no_packet_and_what_it_costs_is_told() {
    let (_folder, lost) = with_stall(Duration::from_secs(21));
    assert_eq!(lost.len(), CALLS as usize);
    for (path, from, until) in lost {
        // 4 s, and a buffer of 15 s; then until the disk goes on.
        assert!((18..20).contains(&from.as_secs()), "{path}: {from:?}");
        assert!((24..27).contains(&until.as_secs()), "{path}: {until:?}");
    }
}
