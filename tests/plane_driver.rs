//! The socket driver against real sockets: nothing is muted, starved, or let in.

mod plane_support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint::engine::{Component, DropReason, PortHandle, StreamIx, Verdict};
use crosspoint::plane::driver::{Driver, FlowId, Sink};
use crosspoint::plane::notify::Notify;
use crosspoint::plane::sockets::{DATAGRAM_MAX, SocketDriver, TURN_PACKETS_MAX};
use plane_support::{V4, eventually, key, media_socket, party_socket, receive};

/// Forwards everything from one port to one address, and remembers what it saw.
#[derive(Default)]
struct Recorder {
    forward: Option<(PortHandle, SocketAddr)>,
    seen: Vec<(StreamIx, SocketAddr, usize)>,
}

impl Sink for Recorder {
    fn expect(&self, _: FlowId) {}

    fn packet(&mut self, flow: FlowId, from: SocketAddr, _: Instant, packet: &mut [u8]) -> Verdict {
        self.seen.push((flow.stream, from, packet.len()));
        match self.forward {
            Some((port, to)) => {
                let end = u16::try_from(packet.len()).unwrap();
                Verdict::Forward {
                    port,
                    to,
                    start: 0,
                    end,
                }
            }
            None => Verdict::Drop(DropReason::NoSink),
        }
    }
}

fn driver() -> SocketDriver {
    SocketDriver::new(Arc::new(Notify::new().unwrap())).unwrap()
}

fn flow(stream: u16) -> FlowId {
    FlowId {
        call: key(0),
        stream: StreamIx(stream),
        component: Component::Rtp,
    }
}

/// An open port, where it is, and a party's socket.
fn port(driver: &mut SocketDriver, stream: u16) -> (PortHandle, SocketAddr, UdpSocket) {
    let socket = media_socket(V4);
    let addr = socket.local_addr().unwrap();
    (
        driver.open(flow(stream), socket).unwrap(),
        addr,
        party_socket(V4),
    )
}

fn poll(driver: &mut SocketDriver, sink: &mut Recorder) -> u32 {
    turn(driver, Duration::from_millis(100), sink)
}

fn turn(driver: &mut SocketDriver, patience: Duration, sink: &mut impl Sink) -> u32 {
    driver.wait(Some(patience)).unwrap();
    driver.serve(sink).packets
}

fn poll_until_idle(driver: &mut SocketDriver, sink: &mut Recorder) {
    let mut idle = 0;
    while idle < 2 {
        let packets = turn(driver, Duration::ZERO, sink);
        idle = if packets == 0 { idle + 1 } else { 0 };
    }
}

#[test]
fn a_burst_that_overflows_the_queue_mutes_nothing() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (_, addr, party) = port(&mut driver, 0);
    for round in 0..3 {
        for _ in 0..20_000 {
            party.send_to(&[0; 172], addr).unwrap();
        }
        poll_until_idle(&mut driver, &mut sink);
        assert!(
            sink.seen.len() > 100,
            "round {round}: the queue held {}",
            sink.seen.len()
        );
        sink.seen.clear();
        party.send_to(&[1; 20], addr).unwrap();
        poll_until_idle(&mut driver, &mut sink);
        assert_eq!(
            sink.seen,
            [(StreamIx(0), party.local_addr().unwrap(), 20)],
            "round {round}"
        );
        sink.seen.clear();
    }
    assert!(driver.counters().bursts > 0);
}

#[test]
fn what_waited_before_the_port_was_opened_is_received() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (socket, party) = (media_socket(V4), party_socket(V4));
    party
        .send_to(&[7; 30], socket.local_addr().unwrap())
        .unwrap();
    driver.open(flow(0), socket).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    assert_eq!(sink.seen.len(), 1);
}

#[test]
fn a_flooded_port_does_not_starve_another() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (_, flooded, party) = port(&mut driver, 0);
    let (_, quiet, _) = port(&mut driver, 1);
    let count = |sink: &Recorder, stream| sink.seen.iter().filter(|s| s.0.0 == stream).count();
    for _ in 0..200 {
        party.send_to(&[0; 172], flooded).unwrap();
    }
    let mut served = 0;
    for share in [1, 2, 4, 8, TURN_PACKETS_MAX, TURN_PACKETS_MAX] {
        party.send_to(&[0; 172], quiet).unwrap();
        let before = count(&sink, 1);
        poll(&mut driver, &mut sink);
        served += usize::from(share);
        assert_eq!(
            count(&sink, 0),
            served,
            "the flood's share doubles up to its limit"
        );
        assert_eq!(
            count(&sink, 1),
            before + 1,
            "the quiet port is served in every turn"
        );
    }
    poll_until_idle(&mut driver, &mut sink);
    assert_eq!(count(&sink, 0), 200);
    // After the flood the port is a quiet one again.
    for _ in 0..3 {
        party.send_to(&[0; 172], flooded).unwrap();
    }
    assert_eq!(poll(&mut driver, &mut sink), 1);
}

#[test]
fn packets_queued_by_others_before_pinning_keep_their_true_source() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (handle, addr, party) = port(&mut driver, 0);
    let attacker = party_socket(V4);
    let (party_addr, attacker_addr) = (party.local_addr().unwrap(), attacker.local_addr().unwrap());
    attacker.send_to(&[1; 50], addr).unwrap();
    party.send_to(&[2; 60], addr).unwrap();
    attacker.send_to(&[1; 50], addr).unwrap();
    driver.pin(handle, Some(party_addr));
    attacker.send_to(&[1; 50], addr).unwrap(); // now refused by the kernel
    party.send_to(&[2; 61], addr).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    let sources: Vec<_> = sink.seen.iter().map(|s| (s.1, s.2)).collect();
    assert_eq!(
        sources,
        [
            (attacker_addr, 50),
            (party_addr, 60),
            (attacker_addr, 50),
            (party_addr, 61)
        ]
    );
}

#[test]
fn an_unpinned_port_hears_anybody_again_at_its_old_address() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (handle, addr, party) = port(&mut driver, 0);
    let other = party_socket(V4);
    driver.pin(handle, Some(party.local_addr().unwrap()));
    other.send_to(&[0; 12], addr).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    assert!(sink.seen.is_empty());
    driver.pin(handle, None);
    other.send_to(&[0; 12], addr).unwrap();
    party.send_to(&[0; 12], addr).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    assert_eq!(sink.seen.len(), 2);
    // A pinned port may still be told to send elsewhere, and moves its pin.
    driver.pin(handle, Some(party.local_addr().unwrap()));
    driver.send(handle, other.local_addr().unwrap(), b"to other");
    assert_eq!(receive(&other), (b"to other".to_vec(), addr));
    driver.pin(handle, Some(other.local_addr().unwrap()));
    driver.send(handle, other.local_addr().unwrap(), b"pinned");
    assert_eq!(receive(&other), (b"pinned".to_vec(), addr));
    assert_eq!(driver.counters().pin_errors, 0);
}

#[test]
fn an_impossible_pin_leaves_the_port_working() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (handle, addr, party) = port(&mut driver, 0);
    driver.pin(handle, Some("[::1]:5000".parse().unwrap()));
    assert_eq!(driver.counters().pin_errors, 1);
    party.send_to(&[0; 12], addr).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    assert_eq!(sink.seen.len(), 1);
    driver.send(handle, party.local_addr().unwrap(), b"still");
    assert_eq!(receive(&party).0, b"still");
}

#[test]
fn icmp_errors_are_counted_and_lose_no_later_packet() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (handle, addr, party) = port(&mut driver, 0);
    let party_addr = party.local_addr().unwrap();
    driver.pin(handle, Some(party_addr));
    drop(party);
    for _ in 0..50 {
        driver.send(handle, party_addr, b"nobody there");
        poll_until_idle(&mut driver, &mut sink);
    }
    assert!(driver.counters().icmp_errors > 0);
    // An error is pending now; the first packet after the party came back must arrive all the same.
    driver.send(handle, party_addr, b"nobody there");
    let party = UdpSocket::bind(party_addr).unwrap();
    party
        .set_read_timeout(Some(plane_support::PATIENCE))
        .unwrap();
    driver.send(handle, party_addr, b"back");
    assert_eq!(receive(&party).0, b"back");
    party.send_to(&[0; 40], addr).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    assert_eq!(sink.seen, [(StreamIx(0), party_addr, 40)]);
}

#[test]
fn datagrams_at_the_limit_pass_and_longer_ones_are_counted() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (_, addr, party) = port(&mut driver, 0);
    party.send_to(&[0; DATAGRAM_MAX], addr).unwrap();
    party.send_to(&[0; DATAGRAM_MAX + 1], addr).unwrap();
    party.send_to(&[], addr).unwrap();
    poll_until_idle(&mut driver, &mut sink);
    let lengths: Vec<_> = sink.seen.iter().map(|s| s.2).collect();
    assert_eq!(lengths, [DATAGRAM_MAX, 0]);
    assert_eq!(driver.counters().oversize, 1);
}

#[test]
fn a_closed_port_is_silent_and_its_handle_dead() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (old, addr, party) = port(&mut driver, 0);
    party.send_to(&[0; 12], addr).unwrap();
    let socket = driver.close(old).unwrap();
    assert!(driver.close(old).is_none());
    assert_eq!(poll(&mut driver, &mut sink), 0);
    assert!(sink.seen.is_empty());
    assert_eq!(socket.local_addr().unwrap(), addr);
    // Its place is taken by another port: the old handle must not reach that one.
    let (new, ..) = port(&mut driver, 1);
    assert_ne!(old, new);
    driver.send(old, party.local_addr().unwrap(), b"stale");
    assert_eq!(driver.counters().send_closed, 1);
    assert_eq!(driver.counters().packets_out, 0);
}

#[test]
fn a_verdict_outside_the_packet_sends_nothing() {
    struct Wild(PortHandle, SocketAddr);
    impl Sink for Wild {
        fn expect(&self, _: FlowId) {}
        fn packet(&mut self, _: FlowId, _: SocketAddr, _: Instant, _: &mut [u8]) -> Verdict {
            Verdict::Forward {
                port: self.0,
                to: self.1,
                start: 4,
                end: 999,
            }
        }
    }
    let mut driver = driver();
    let (handle, addr, party) = port(&mut driver, 0);
    party.send_to(&[0; 12], addr).unwrap();
    let mut sink = Wild(handle, party.local_addr().unwrap());
    turn(&mut driver, Duration::from_millis(100), &mut sink);
    assert_eq!(
        (driver.counters().send_errors, driver.counters().packets_out),
        (1, 0)
    );
}

#[test]
fn a_notification_ends_the_wait() {
    let notify = Arc::new(Notify::new().unwrap());
    let mut driver = SocketDriver::new(notify.clone()).unwrap();
    for _ in 0..3 {
        notify.notify();
        let start = Instant::now();
        let patience = Duration::from_secs(60);
        assert_eq!(turn(&mut driver, patience, &mut Recorder::default()), 0);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn forwards_as_the_sink_says_under_load() {
    let (mut driver, mut sink) = (driver(), Recorder::default());
    let (_, addr, party) = port(&mut driver, 0);
    let (out, _, listener) = port(&mut driver, 1);
    sink.forward = Some((out, listener.local_addr().unwrap()));
    let mut sent = 0u64;
    for _ in 0..100 {
        for _ in 0..20 {
            party.send_to(&[0; 172], addr).unwrap();
            sent += 1;
        }
        poll_until_idle(&mut driver, &mut sink);
        for _ in 0..20 {
            receive(&listener);
        }
    }
    eventually("all forwarded", || driver.counters().packets_out == sent);
    assert_eq!(driver.counters().bytes_out, sent * 172);
    assert_eq!(driver.counters().packets_in, sent);
}
