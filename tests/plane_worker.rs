//! A worker with the real engine and real sockets on loopback.

mod plane_support;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crosspoint::engine::{
    Call, CallConfig, CallKey, Change, Component, EndReason, PortHandle, StreamIx, Timers,
};
use crosspoint::plane::driver::{Driver, DriverCounters, FlowId, OpenError, Polled, Sink};
use crosspoint::plane::interface::{Family, Interfaces, OpenPortsError, SocketOptions};
use crosspoint::plane::ports::PortRange;
use crosspoint::plane::sockets::SocketDriver;
use crosspoint::plane::worker::{
    Command, Refusal, Report, SubmitError, WorkerConfig, WorkerHandle,
};
use plane_support::*;

fn no_timers() -> Timers {
    Timers::default()
}

#[test]
fn relays_both_ways_and_reports() {
    let (worker, mut reports) = start(8, 64);
    let (pair, insert) = Pair::on(V4, key(3), no_timers());
    worker.submit(insert).unwrap();
    pair.relays(100, 50);
    worker
        .submit(Command::Query {
            key: key(3),
            ticket: 7,
        })
        .unwrap();
    let Report::Query {
        ticket: 7,
        report: Some(report),
    } = next(&mut reports)
    else {
        panic!()
    };
    assert_eq!(report.streams[0].rtp_in.packets, 50);
    assert_eq!(report.streams[1].rtp_out.packets, 50);
    worker
        .submit(Command::Remove {
            key: key(3),
            ticket: 8,
        })
        .unwrap();
    let Report::Removed {
        ticket: 8,
        report: Some(_),
        remains: Some(remains),
    } = next(&mut reports)
    else {
        panic!()
    };
    assert_eq!(remains.sockets.len(), 2);
    assert!(remains.call.is_some());
    let counters = worker.counters().clone();
    eventually("all counted", || {
        counters.packets_out.get() == 100 && counters.calls.get() == 0
    });
    assert_eq!(counters.bytes_in.get(), 100 * 172);
    assert!(counters.wakes.get() > 0);
    worker.stop();
}

#[test]
fn relays_over_ipv6() {
    let (worker, _reports) = start(1, 8);
    let (pair, insert) = Pair::on(IpAddr::V6(Ipv6Addr::LOCALHOST), key(0), no_timers());
    worker.submit(insert).unwrap();
    pair.relays(1, 20);
}

#[test]
fn goes_on_relaying_when_the_engine_pins_the_ports() {
    let (worker, _reports) = start(1, 8);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    worker.submit(insert).unwrap();
    // Longer than the engine waits before it pins; then an outsider is refused by the kernel.
    let until = Instant::now() + Duration::from_millis(3500);
    let mut seq = 1;
    while Instant::now() < until {
        pair.relays(seq, 1);
        seq += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let counters = worker.counters();
    let before = counters.packets_in.get();
    let outsider = party_socket(V4);
    outsider.connect(pair.at_a).unwrap();
    outsider.send(&rtp(9, 1)).unwrap();
    let refused = outsider.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    pair.relays(seq, 50);
    eventually("counted", || counters.packets_in.get() == before + 100);
    assert_eq!(counters.pin_errors.get(), 0);
}

/// Whether nothing waits in the socket on this IPv4 port: the kernel's own table says so, however
/// busy the machine is.
fn is_drained(port: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{:04X}", port.port());
    let mut queues = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let address = fields.nth(1)?;
        let queues = fields.nth(2)?;
        address.ends_with(&local).then_some(queues)
    });
    queues.all(|queue| queue.ends_with(":00000000"))
}

/// rtpengine 10.5 loses a stream for ever when one burst fills its socket's queue.
#[test]
fn a_burst_of_20000_packets_into_one_port_mutes_nothing() {
    let (worker, _reports) = start(1, 8);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    worker.submit(insert).unwrap();
    pair.relays(1, 5);
    let attacker = party_socket(V4);
    for _ in 0..20_000 {
        attacker.send_to(&rtp(9, 1), pair.at_a).unwrap();
    }
    eventually("the burst has been read", || is_drained(pair.at_a));
    pair.relays(6, 100);
    // The same by the party itself, whose packets are relayed: b's own queue may overflow.
    for seq in 0..20_000u16 {
        pair.a
            .send_to(&rtp(1, 200u16.wrapping_add(seq)), pair.at_a)
            .unwrap();
    }
    eventually("the burst has been relayed", || is_drained(pair.at_a));
    pair.b.set_nonblocking(true).unwrap();
    while pair.b.recv(&mut [0; 2048]).is_ok() {}
    pair.b.set_nonblocking(false).unwrap();
    pair.relays_from(20_200, 106, 100);
}

#[test]
fn a_party_that_refuses_packets_does_not_stop_its_leg() {
    let (worker, _reports) = start(1, 8);
    let (mut pair, insert) = Pair::on(V4, key(0), no_timers());
    worker.submit(insert).unwrap();
    pair.relays(1, 3);
    let addr = pair.b.local_addr().unwrap();
    pair.b = party_socket(V4); // closes b
    for seq in 4..200 {
        pair.a.send_to(&rtp(1, seq), pair.at_a).unwrap();
    }
    let counters = worker.counters();
    eventually("b's packets were sent into the void", || {
        counters.packets_out.get() >= 202
    });
    pair.b = UdpSocket::bind(addr).unwrap();
    pair.b.set_read_timeout(Some(PATIENCE)).unwrap();
    pair.relays(200, 50);
}

#[test]
fn two_hundred_calls_do_not_mix() {
    let (worker, mut reports) = start(256, 512);
    let pairs: Vec<Pair> = (0..200)
        .map(|slot| {
            let (pair, insert) = Pair::on(V4, key(slot), no_timers());
            worker.submit(insert).unwrap();
            pair
        })
        .collect();
    for round in 0..5 {
        for (n, pair) in (0u32..).zip(&pairs) {
            pair.a.send_to(&rtp(n, round), pair.at_a).unwrap();
            pair.b.send_to(&rtp(1000 + n, round), pair.at_b).unwrap();
        }
        for (n, pair) in (0u32..).zip(&pairs) {
            assert_eq!(receive(&pair.b), (rtp(n, round), pair.at_b));
            assert_eq!(receive(&pair.a), (rtp(1000 + n, round), pair.at_a));
        }
    }
    for slot in 0..200 {
        worker
            .submit(Command::Remove {
                key: key(slot),
                ticket: u64::from(slot),
            })
            .unwrap();
    }
    for slot in 0..200 {
        match next(&mut reports) {
            Report::Removed {
                ticket,
                remains: Some(_),
                ..
            } => assert_eq!(ticket, slot),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_timer_ends_a_call_close_to_its_time() {
    let (worker, mut reports) = start(4, 8);
    let limit = Duration::from_millis(300);
    let timers = Timers {
        limit: Some(limit),
        ..Timers::default()
    };
    let start = Instant::now();
    let (_pair, insert) = Pair::on(V4, key(2), timers);
    worker.submit(insert).unwrap();
    let Report::Ended {
        key: ended,
        reason: EndReason::Limit,
    } = next(&mut reports)
    else {
        panic!()
    };
    assert_eq!(ended, key(2));
    assert!(start.elapsed() >= limit);
    assert!(
        start.elapsed() < limit + Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn closing_a_stream_gives_its_sockets_back() {
    let (worker, mut reports) = start(4, 8);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    worker.submit(insert).unwrap();
    pair.relays(1, 3);
    let changes = vec![Change::Close(StreamIx(1))];
    worker
        .submit(Command::Change {
            key: key(0),
            changes,
            sockets: vec![],
        })
        .unwrap();
    let Report::Closed { sockets, .. } = next(&mut reports) else {
        panic!()
    };
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].local_addr().unwrap(), pair.at_b);
}

#[test]
fn a_change_brings_a_new_socket_in_place_of_the_old_one() {
    let (worker, mut reports) = start(4, 8);
    let (mut pair, insert) = Pair::on(V4, key(0), no_timers());
    worker.submit(insert).unwrap();
    pair.relays(1, 3);
    let socket = media_socket(V4);
    let old = std::mem::replace(&mut pair.at_b, socket.local_addr().unwrap());
    let sockets = vec![(StreamIx(1), Component::Rtp, socket)];
    worker
        .submit(Command::Change {
            key: key(0),
            changes: vec![],
            sockets,
        })
        .unwrap();
    let Report::Closed { sockets, .. } = next(&mut reports) else {
        panic!()
    };
    assert_eq!(sockets[0].local_addr().unwrap(), old);
    pair.relays(4, 10);
}

#[test]
fn refusals_give_everything_back() {
    let (worker, mut reports) = start(2, 16);
    let mut refused = |command| {
        worker.submit(command).unwrap();
        match next(&mut reports) {
            Report::Refused {
                refusal, remains, ..
            } => (refusal, remains.call.is_some(), remains.sockets.len()),
            other => panic!("{other:?}"),
        }
    };
    let (pair, insert) = Pair::on(V4, key(1), no_timers());
    worker.submit(insert).unwrap();
    let (_other, insert) = Pair::on(
        V4,
        CallKey {
            slot: 1,
            generation: 2,
        },
        no_timers(),
    );
    assert!(matches!(refused(insert), (Refusal::SlotTaken, true, 2)));
    let (_other, insert) = Pair::on(V4, key(2), no_timers());
    assert!(matches!(
        refused(insert),
        (Refusal::SlotTooHigh(2), true, 2)
    ));
    let change = |key, changes, stream| Command::Change {
        key,
        changes,
        sockets: vec![(StreamIx(stream), Component::Rtcp, media_socket(V4))],
    };
    let stale = CallKey {
        slot: 1,
        generation: 0,
    };
    assert!(matches!(
        refused(change(stale, vec![], 0)),
        (Refusal::UnknownCall, false, 1)
    ));
    assert!(matches!(
        refused(change(key(1), vec![], 9)),
        (Refusal::Port(_), false, 1)
    ));
    let changes = vec![
        Change::Block(StreamIx(0), false),
        Change::Block(StreamIx(9), true),
    ];
    let answer = refused(change(key(1), changes, 0));
    assert!(
        matches!(answer, (Refusal::Change { index: 1, .. }, false, 1)),
        "{answer:?}"
    );
    // A call without the streams its sockets are for is refused whole.
    let call = Box::new(Call::new(
        CallConfig {
            key: key(0),
            seed: 0,
            timers: no_timers(),
        },
        Instant::now(),
    ));
    let sockets = vec![(StreamIx(0), Component::Rtp, media_socket(V4))];
    let insert = Command::Insert {
        key: key(0),
        call,
        sockets,
    };
    assert!(matches!(refused(insert), (Refusal::Port(_), true, 1)));
    // Nobody else was hurt.
    pair.relays(1, 5);
}

#[test]
fn unknown_calls_are_answered_as_such() {
    let (worker, mut reports) = start(2, 16);
    worker
        .submit(Command::Query {
            key: key(0),
            ticket: 1,
        })
        .unwrap();
    worker
        .submit(Command::Remove {
            key: key(99),
            ticket: 2,
        })
        .unwrap();
    assert!(matches!(
        next(&mut reports),
        Report::Query {
            ticket: 1,
            report: None
        }
    ));
    assert!(matches!(
        next(&mut reports),
        Report::Removed {
            ticket: 2,
            report: None,
            remains: None
        }
    ));
}

/// The socket driver behind a gate: while the gate is held, the worker stands still.
struct Gated(SocketDriver, Arc<Mutex<()>>);

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
        drop(self.1.lock().unwrap());
        self.0.wait(timeout)
    }

    fn serve<S: Sink>(&mut self, sink: &mut S) -> Polled {
        self.0.serve(sink)
    }
    fn counters(&self) -> DriverCounters {
        self.0.counters()
    }
}

#[test]
fn a_full_command_queue_refuses_at_once_and_recovers() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let config = WorkerConfig {
        index: 0,
        cpu: None,
        calls_max: 1,
        queue_len: 4,
    };
    let behind = gate.clone();
    let (worker, mut reports) = WorkerHandle::start_with(config, move |wake| {
        Ok(Gated(SocketDriver::new(wake)?, behind))
    })
    .unwrap();
    let query = |ticket| Command::Query {
        key: key(0),
        ticket,
    };
    for ticket in 0..4 {
        worker.submit(query(ticket)).unwrap();
    }
    let refused = worker.submit(query(4));
    assert!(matches!(
        refused,
        Err(SubmitError::Full(Command::Query { ticket: 4, .. }))
    ));
    assert_eq!(worker.counters().submit.refused.get(), 1);
    drop(held);
    for expected in 0..4 {
        assert!(matches!(next(&mut reports), Report::Query { ticket, .. } if ticket == expected));
    }
    worker.submit(query(5)).unwrap();
    assert!(matches!(
        next(&mut reports),
        Report::Query { ticket: 5, .. }
    ));
}

#[test]
fn unread_reports_stop_commands_but_no_packets_and_none_is_lost() {
    let (worker, mut reports) = start(4, 2);
    let (pair, insert) = Pair::on(V4, key(0), no_timers());
    worker.submit(insert).unwrap();
    let mut asked = 0;
    // The reports fill up, then the commands: at last both queues and the one owed are full.
    let until = Instant::now() + PATIENCE;
    let mut refused_since: Option<Instant> = None;
    while refused_since.is_none_or(|since| since.elapsed() < Duration::from_millis(100)) {
        assert!(Instant::now() < until);
        match worker.submit(Command::Query {
            key: key(0),
            ticket: asked,
        }) {
            Ok(()) => (asked, refused_since) = (asked + 1, None),
            Err(SubmitError::Full(_)) => {
                refused_since.get_or_insert_with(Instant::now);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        asked <= 2 + 2 + 1,
        "{asked} commands were taken without a reader"
    );
    pair.relays(1, 50);
    for expected in 0..asked {
        assert!(matches!(next(&mut reports), Report::Query { ticket, .. } if ticket == expected));
    }
    assert!(worker.counters().reports_stuck.get() > 0);
}

#[test]
fn stopping_carries_out_what_was_submitted_and_refuses_more() {
    let (worker, mut reports) = start(4, 64);
    for ticket in 0..50 {
        worker
            .submit(Command::Query {
                key: key(0),
                ticket,
            })
            .unwrap();
    }
    worker.stop();
    for expected in 0..50 {
        assert!(matches!(reports.next(), Some(Report::Query { ticket, .. }) if ticket == expected));
    }
    assert!(reports.next().is_none());
}

#[test]
fn stopping_does_not_wait_for_ever_for_a_reader() {
    let (worker, _reports) = start(4, 2);
    for ticket in 0..2 {
        worker
            .submit(Command::Query {
                key: key(0),
                ticket,
            })
            .unwrap();
    }
    eventually("two answered", || worker.counters().commands.get() == 2);
    worker
        .submit(Command::Query {
            key: key(0),
            ticket: 2,
        })
        .unwrap();
    let start = Instant::now();
    worker.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn reports_wake_an_async_reader_and_end_with_the_worker() {
    let (worker, reports) = start(4, 64);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut reports = reports.into_async().unwrap();
        for ticket in 0..100 {
            worker
                .submit(Command::Query {
                    key: key(0),
                    ticket,
                })
                .unwrap();
            let report = tokio::time::timeout(PATIENCE, reports.next())
                .await
                .unwrap();
            assert!(matches!(report, Some(Report::Query { ticket: t, .. }) if t == ticket));
        }
        worker
            .submit(Command::Query {
                key: key(0),
                ticket: 100,
            })
            .unwrap();
        let stopping = std::thread::spawn(move || worker.stop());
        let report = tokio::time::timeout(PATIENCE, reports.next())
            .await
            .unwrap();
        assert!(matches!(report, Some(Report::Query { ticket: 100, .. })));
        let end = tokio::time::timeout(PATIENCE, reports.next())
            .await
            .unwrap();
        assert!(end.is_none());
        stopping.join().unwrap();
    });
}

#[test]
fn a_worker_on_a_cpu_that_does_not_exist_is_an_error() {
    for cpu in [100_000, 1023] {
        let config = WorkerConfig {
            index: 0,
            cpu: Some(cpu),
            calls_max: 1,
            queue_len: 1,
        };
        assert!(WorkerHandle::start(config).is_err());
    }
    let config = WorkerConfig {
        index: 0,
        cpu: Some(0),
        calls_max: 1,
        queue_len: 1,
    };
    assert!(WorkerHandle::start(config).is_ok());
}

/// The next call on a port hears nothing of what the last one's party still sends.
#[test]
fn stale_packets_do_not_cross_into_the_next_call() {
    let quarantine = Duration::from_millis(200);
    let range = PortRange::new(41_000, 41_003).unwrap();
    let specs = vec!["lo/127.0.0.1".parse().unwrap()];
    let interfaces = Interfaces::new(specs, range, quarantine, 5).unwrap();
    let interface = interfaces.find(Some("lo"), Family::V4).unwrap();
    let (worker, mut reports) = start(2, 16);
    let options = SocketOptions::default();
    let mut leases = Vec::new();
    let mut call = |generation| {
        let key = CallKey {
            slot: 0,
            generation,
        };
        let opened: Vec<_> = (0..2)
            .map(|_| interface.open_pair(&options, Instant::now()))
            .collect::<Result<_, OpenPortsError>>()?;
        // Each call's parties on a host of their own: on the same one, a port of it that speaks
        // first may well be the party behind a NAT.
        let host = IpAddr::from([127, 0, 0, u8::try_from(generation).unwrap()]);
        let (a, b) = (party_socket(host), party_socket(host));
        let addrs = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let call = two_party_call(key, addrs.0, addrs.1, no_timers());
        let pair = Pair {
            a,
            b,
            at_a: opened[0].lease.local(),
            at_b: opened[1].lease.local(),
        };
        let mut sockets = Vec::new();
        for (ix, mut ports) in (0..).zip(opened) {
            sockets.push((StreamIx(ix), Component::Rtp, ports.rtp));
            sockets.push((StreamIx(ix), Component::Rtcp, ports.rtcp.unwrap()));
            ports.lease.tell();
            leases.push(ports.lease);
        }
        worker
            .submit(Command::Insert { key, call, sockets })
            .unwrap();
        Ok::<_, OpenPortsError>((pair, std::mem::take(&mut leases)))
    };
    let (first, leases) = call(1).unwrap();
    first.relays(1, 5);
    worker
        .submit(Command::Remove {
            key: CallKey {
                slot: 0,
                generation: 1,
            },
            ticket: 1,
        })
        .unwrap();
    let Report::Removed {
        remains: Some(remains),
        ..
    } = next(&mut reports)
    else {
        panic!()
    };
    first.a.send_to(&rtp(1, 6), first.at_a).unwrap(); // queued in a socket nobody reads any more
    drop(remains);
    drop(leases);
    assert!(call(2).is_err(), "ports must rest first");
    std::thread::sleep(quarantine);
    let (second, _leases) = call(2).unwrap();
    // The old party goes on, to the port where it knew the call.
    for seq in 7..50 {
        first.a.send_to(&rtp(1, seq), first.at_a).unwrap();
    }
    second.relays(1, 20);
    for party in [&second.a, &second.b] {
        party.set_nonblocking(true).unwrap();
        assert!(party.recv(&mut [0; 2048]).is_err(), "nothing else arrived");
    }
}
