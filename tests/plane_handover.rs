//! Calls that are handed from worker to worker while their parties talk.
#![allow(clippy::cast_possible_truncation, reason = "small test numbers")]

mod plane_support;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crosspoint::engine::{AbsorbError, CallKey, Change, EndReason, PortHandle, StreamIx, Timers};
use crosspoint::plane::driver::{Driver, DriverCounters, FlowId, OpenError, Polled, Sink};
use crosspoint::plane::sockets::SocketDriver;
use crosspoint::plane::worker::{
    Absorption, Command, HANDOVER_PATIENCE, Refusal, Report, Reports, SubmitError, WorkerConfig,
    WorkerHandle,
};
use plane_support::*;

fn no_timers() -> Timers {
    Timers::default()
}

fn submit(
    from: &WorkerHandle,
    given: u32,
    into: &WorkerHandle,
    key: CallKey,
    first: u16,
) -> Result<(), SubmitError> {
    WorkerHandle::submit_handover(from, plane_support::key(given), into, |call| Absorption {
        key,
        from: call,
        first: StreamIx(first),
        legs: first,
        changes: vec![Change::Block(StreamIx(first), false)],
    })?;
    from.wake();
    into.wake();
    Ok(())
}

fn surrendered(reports: &mut Reports) -> (CallKey, bool) {
    match next(reports) {
        Report::Surrendered { key, remains } => {
            assert_eq!(remains.call.is_some(), !remains.sockets.is_empty());
            (key, remains.call.is_none())
        }
        other => panic!("{other:?}"),
    }
}

fn absorbed(reports: &mut Reports) {
    match next(reports) {
        Report::Absorbed { remains, .. } => {
            assert_eq!(remains.call.expect("the shell").streams(), 0);
        }
        other => panic!("{other:?}"),
    }
}

/// Sends a packet every other millisecond: what is sent while a worker stands still for half a
/// second still fits into a socket's buffer.
fn chatter(from: &UdpSocket, to: SocketAddr, ssrc: u32, numbers: std::ops::Range<u16>) {
    let start = Instant::now();
    for (n, seq) in numbers.enumerate() {
        let due = start + Duration::from_millis(2) * n as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        from.send_to(&rtp(ssrc, seq), to).unwrap();
    }
}

#[test]
fn nothing_is_lost_between_two_workers() {
    let workers = [0, 1].map(|_| start(8, 64));
    let [(first, mut first_reports), (second, mut second_reports)] = workers;
    let (stays, insert) = Pair::on(V4, key(0), no_timers());
    first.submit(insert).unwrap();
    let goes: Vec<Pair> = (0..6)
        .map(|n| {
            let (pair, insert) = Pair::on(V4, key(n), no_timers());
            // The last two are moved within one worker.
            let worker = if n < 4 { &second } else { &first };
            let insert = match (n, insert) {
                (4.., Command::Insert { sockets, .. }) => {
                    let addresses = [&pair.a, &pair.b].map(|p| p.local_addr().unwrap());
                    let key = key(n);
                    let call = two_party_call(key, addresses[0], addresses[1], no_timers());
                    Command::Insert { key, call, sockets }
                }
                (_, insert) => insert,
            };
            worker.submit(insert).unwrap();
            pair.relays(1, 3);
            pair
        })
        .collect();
    stays.relays(1, 3);
    // Long enough that the ports are pinned when the calls move.
    std::thread::sleep(Duration::from_millis(1_200));
    for pair in goes.iter().chain([&stays]) {
        pair.relays(4, 3);
    }
    const COUNT: u16 = 600;
    std::thread::scope(|scope| {
        for pair in goes.iter().chain([&stays]) {
            scope.spawn(|| chatter(&pair.a, pair.at_a, 1, 7..7 + COUNT));
            scope.spawn(|| {
                for seq in 7..7 + COUNT {
                    let (packet, from) = receive(&pair.b);
                    let received = u16::from_be_bytes([packet[2], packet[3]]);
                    assert_eq!((received, from), (seq, pair.at_b));
                    assert_eq!(packet, rtp(1, seq));
                }
            });
        }
        for n in 0..6_u32 {
            std::thread::sleep(Duration::from_millis(100));
            let from = if n < 4 { &second } else { &first };
            submit(from, n, &first, key(0), 2 + 2 * n as u16).unwrap();
            let reports = if n < 4 {
                &mut second_reports
            } else {
                &mut first_reports
            };
            assert_eq!(surrendered(reports), (key(n), true));
            absorbed(&mut first_reports);
        }
    });
    // The other way is open as well, from the same addresses, and the counters went along.
    for pair in goes.iter().chain([&stays]) {
        pair.relays_from(7 + COUNT, 7, 5);
    }
    let ticket = 7;
    first
        .submit(Command::Remove {
            key: key(0),
            ticket,
        })
        .unwrap();
    let Report::Removed {
        report: Some(report),
        remains: Some(remains),
        ..
    } = next(&mut first_reports)
    else {
        panic!("removed");
    };
    assert_eq!(report.streams.len(), 14);
    for stream in report.streams.iter().step_by(2) {
        assert_eq!(stream.rtp_in.packets, 6 + u64::from(COUNT) + 5);
        assert!(stream.latched_by_sdp);
    }
    assert_eq!(remains.sockets.len(), 14);
}

#[test]
fn what_is_not_taken_in_comes_back_whole() {
    let ((first, mut first_reports), (second, mut second_reports)) = (start(4, 16), start(4, 16));
    let (pair, insert) = Pair::on(V4, key(1), no_timers());
    first.submit(insert).unwrap();
    let refused = |reports: &mut Reports| match next(reports) {
        Report::Refused {
            refusal, remains, ..
        } => (refusal, remains.call.is_some(), remains.sockets.len()),
        other => panic!("{other:?}"),
    };
    // Nobody there to be handed over.
    submit(&second, 3, &first, key(1), 2).unwrap();
    assert_eq!(surrendered(&mut second_reports), (key(3), true));
    let why = refused(&mut first_reports);
    assert!(matches!(why, (Refusal::NotHandedOver, false, 0)), "{why:?}");
    // Nobody there to take it.
    let (_lost, insert) = Pair::on(V4, key(2), no_timers());
    second.submit(insert).unwrap();
    submit(&second, 2, &first, key(3), 2).unwrap();
    assert_eq!(surrendered(&mut second_reports), (key(2), true));
    let why = refused(&mut first_reports);
    assert!(matches!(why, (Refusal::UnknownCall, true, 2)), "{why:?}");
    // Another place than was expected.
    let (_lost, insert) = Pair::on(V4, key(2), no_timers());
    second.submit(insert).unwrap();
    submit(&second, 2, &first, key(1), 5).unwrap();
    surrendered(&mut second_reports);
    let why = refused(&mut first_reports);
    let place = AbsorbError::Place(StreamIx(2));
    assert!(
        matches!(why, (Refusal::Absorb(at), true, 2) if at == place),
        "{why:?}"
    );
    pair.relays(1, 5);
    // A call that a timer has ended takes nobody in.
    let soon = Timers {
        limit: Some(Duration::from_millis(50)),
        ..no_timers()
    };
    let (_short, insert) = Pair::on(V4, key(0), soon);
    first.submit(insert).unwrap();
    let ended = next(&mut first_reports);
    assert!(
        matches!(
            ended,
            Report::Ended {
                reason: EndReason::Limit,
                ..
            }
        ),
        "{ended:?}"
    );
    let (_lost, insert) = Pair::on(V4, key(2), no_timers());
    second.submit(insert).unwrap();
    submit(&second, 2, &first, key(0), 2).unwrap();
    surrendered(&mut second_reports);
    let why = refused(&mut first_reports);
    assert!(
        matches!(why, (Refusal::Absorb(AbsorbError::Ended), true, 2)),
        "{why:?}"
    );
    pair.relays(6, 5);
}

/// While it is held the worker stands still, and when told to it dies.
#[derive(Default)]
struct Gate {
    held: Mutex<()>,
    stands: AtomicBool,
    dies: AtomicBool,
}

impl Gate {
    /// Holds it; from here on the worker does nothing.
    fn hold(&self, worker: &WorkerHandle) -> MutexGuard<'_, ()> {
        let held = self.held.lock().unwrap();
        worker.wake(); // out of the wait it may be in, to the gate
        eventually("it stands", || self.stands.load(Ordering::Relaxed));
        held
    }
}

/// The socket driver behind a gate.
struct Gated(SocketDriver, Arc<Gate>);

impl Driver for Gated {
    fn open(&mut self, flow: FlowId, socket: UdpSocket) -> Result<PortHandle, OpenError> {
        self.0.open(flow, socket)
    }
    fn close(&mut self, port: PortHandle) -> Option<UdpSocket> {
        self.0.close(port)
    }
    fn pin(&mut self, port: PortHandle, peer: Option<SocketAddr>) {
        self.0.pin(port, peer);
    }
    fn send(&mut self, port: PortHandle, to: SocketAddr, packet: &[u8]) {
        self.0.send(port, to, packet);
    }
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let gate = &self.1;
        if gate.held.try_lock().is_err() {
            gate.stands.store(true, Ordering::Relaxed);
            drop(gate.held.lock());
        }
        assert!(!gate.dies.load(Ordering::Relaxed), "as a defect would");
        self.0.wait(timeout)
    }
    fn serve<S: Sink>(&mut self, sink: &mut S) -> Polled {
        self.0.serve(sink)
    }
    fn counters(&self) -> DriverCounters {
        self.0.counters()
    }
}

fn gated(queue_len: usize) -> (WorkerHandle, Reports, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let config = WorkerConfig {
        index: 0,
        cpu: None,
        calls_max: 4,
        queue_len,
    };
    let behind = gate.clone();
    let started = WorkerHandle::start_with(config, move |wake| {
        Ok(Gated(SocketDriver::new(wake)?, behind))
    });
    let (worker, reports) = started.unwrap();
    (worker, reports, gate)
}

#[test]
fn a_full_queue_on_either_side_refuses_both() {
    let (free, mut reports) = start(4, 16);
    let (stuck, mut stuck_reports, gate) = gated(2);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    free.submit(insert).unwrap();
    let (other, insert) = Pair::on(V4, key(0), no_timers());
    stuck.submit(insert).unwrap();
    other.relays(1, 2);
    let held = gate.hold(&stuck);
    let query = |ticket| Command::Query {
        key: key(0),
        ticket,
    };
    stuck.submit(query(1)).unwrap();
    stuck.submit(query(2)).unwrap();
    let full = |result| matches!(result, Err(SubmitError::Full(_)));
    assert!(full(submit(&stuck, 0, &free, key(0), 2)));
    assert!(full(submit(&free, 0, &stuck, key(0), 2)));
    assert!(full(submit(&stuck, 0, &stuck, key(1), 2)));
    drop(held);
    for _ in 0..2 {
        assert!(matches!(next(&mut stuck_reports), Report::Query { .. }));
    }
    pair.relays(1, 5);
    other.relays(3, 5);
    assert!(reports.next().is_none() && stuck_reports.next().is_none());
}

#[test]
fn a_worker_that_waits_for_a_call_goes_on_with_its_packets() {
    let (free, mut reports) = start(4, 16);
    let (stuck, mut stuck_reports, gate) = gated(8);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    free.submit(insert).unwrap();
    let (other, insert) = Pair::on(V4, key(0), no_timers());
    stuck.submit(insert).unwrap();
    other.relays(1, 2);
    let held = gate.hold(&stuck);
    submit(&stuck, 0, &free, key(0), 2).unwrap();
    free.submit(Command::Query {
        key: key(0),
        ticket: 9,
    })
    .unwrap();
    pair.relays(1, 50);
    assert!(reports.next().is_none(), "commands stay in order");
    drop(held);
    assert_eq!(surrendered(&mut stuck_reports), (key(0), true));
    absorbed(&mut reports);
    let Report::Query {
        report: Some(report),
        ..
    } = next(&mut reports)
    else {
        panic!("a report");
    };
    assert_eq!(report.streams.len(), 4);
    other.relays(3, 5);
}

#[test]
fn a_worker_that_dies_before_it_hands_over_is_not_waited_for() {
    let (free, mut reports) = start(4, 16);
    let (dies, _reports, gate) = gated(8);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    free.submit(insert).unwrap();
    let (_other, insert) = Pair::on(V4, key(0), no_timers());
    dies.submit(insert).unwrap();
    {
        let _held = gate.hold(&dies);
        submit(&dies, 0, &free, key(0), 2).unwrap();
        gate.dies.store(true, Ordering::Relaxed);
    }
    let begun = Instant::now();
    pair.relays(1, 20);
    let report = reports.next_within(2 * HANDOVER_PATIENCE);
    let waited = begun.elapsed();
    let refused = matches!(
        report,
        Some(Report::Refused {
            refusal: Refusal::NotHandedOver,
            ..
        })
    );
    assert!(refused, "{report:?}");
    assert!(waited < 2 * HANDOVER_PATIENCE, "{waited:?}");
    pair.relays(21, 5);
}

#[test]
fn workers_that_hand_over_to_each_other_do_not_wait_for_ever() {
    const CALLS: u32 = 40;
    let workers = [0, 1].map(|_| start(2 * CALLS, 4 * CALLS as usize));
    let [(first, mut first_reports), (second, mut second_reports)] = workers;
    for worker in [&first, &second] {
        for n in 0..CALLS {
            let (_pair, insert) = Pair::on(V4, key(n), no_timers());
            worker.submit(insert).unwrap();
        }
    }
    // Even calls go one way, odd ones the other.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (2..CALLS).step_by(2) {
                submit(&first, n, &second, key(0), n as u16).unwrap();
            }
        });
        scope.spawn(|| {
            for n in (3..CALLS).step_by(2) {
                submit(&second, n, &first, key(1), n as u16 - 1).unwrap();
            }
        });
    });
    for reports in [&mut first_reports, &mut second_reports] {
        for _ in 0..CALLS - 2 {
            match next(reports) {
                Report::Surrendered { remains, .. } => assert!(remains.call.is_none()),
                Report::Absorbed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
