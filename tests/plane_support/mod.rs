//! What the plane's tests share: parties with real sockets, calls between them, a worker.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "a module of several test crates")]
#![allow(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crosspoint::engine::{
    Call, CallConfig, CallKey, Change, Component, Learn, LearnPace, LegIx, Payload, PayloadType,
    Privacy, Remote, StreamConfig, StreamIx, Timers, Via,
};
use crosspoint::plane::worker::{Command, Placed, Report, Reports, WorkerConfig, WorkerHandle};

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub fn key(slot: u32) -> CallKey {
    CallKey {
        slot,
        generation: 1,
    }
}

/// A non-blocking socket as the worker wants it: bound by number, for Linux takes a port that it
/// chose itself away again when the socket is disconnected.
pub fn media_socket(ip: IpAddr) -> UdpSocket {
    let free = || UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
    let socket = (0..100).find_map(|_| UdpSocket::bind(free()).ok()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A party's socket; reads block up to [`PATIENCE`].
pub fn party_socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A PCMU packet of 20 ms.
pub fn rtp(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([seq as u8; 160]);
    packet
}

/// A call of two parties whose streams hear each other.
pub struct Pair {
    pub a: UdpSocket,
    pub b: UdpSocket,
    /// Where `a` and `b` send to.
    pub at_a: SocketAddr,
    pub at_b: SocketAddr,
}

pub fn remote(rtp: SocketAddr) -> Remote {
    let learn = Learn {
        pace: LearnPace::Heuristic,
        likely: None,
        anyone: false,
        handover: false,
        asymmetric: false,
    };
    Remote {
        rtp: Some(rtp),
        rtcp: None,
        mux: true,
        learn,
    }
}

pub fn two_party_call(key: CallKey, a: SocketAddr, b: SocketAddr, timers: Timers) -> Box<Call> {
    // One epoch for all, so that calls can be merged.
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    let epoch = *EPOCH;
    let now = Instant::now();
    let config = CallConfig {
        key,
        seed: 1,
        timers,
    };
    let mut call = Call::since(config, epoch, now);
    let pcmu = PayloadType {
        pt: 0,
        out: 0,
        clock_hz: 8000,
        silence: Some(0xFF),
        event: false,
        via: Via::Relay,
    };
    for (ix, peer) in [a, b].into_iter().enumerate() {
        let ix = ix as u16;
        let stream = StreamConfig {
            leg: LegIx(ix),
            media: 0,
            payload: Payload::Rtp,
            privacy: Privacy::Transparent,
            own_rtcp: false,
        };
        call.apply(now, Change::AddStream(stream)).unwrap();
        call.apply(now, Change::Remote(StreamIx(ix), remote(peer)))
            .unwrap();
        call.apply(
            now,
            Change::PayloadTypes(StreamIx(ix), [pcmu].into_iter().collect()),
        )
        .unwrap();
        let both = Change::Direction {
            stream: StreamIx(ix),
            sends: true,
            receives: true,
        };
        call.apply(now, both).unwrap();
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let link = Change::Link {
            from: StreamIx(from),
            to: Some(StreamIx(to)),
        };
        call.apply(now, link).unwrap();
    }
    Box::new(call)
}

impl Pair {
    /// Parties on `ip`, and their call with its sockets as an insertion.
    pub fn on(ip: IpAddr, key: CallKey, timers: Timers) -> (Self, Command) {
        let (a, b) = (party_socket(ip), party_socket(ip));
        let (ours_a, ours_b) = (media_socket(ip), media_socket(ip));
        let pair = Self {
            at_a: ours_a.local_addr().unwrap(),
            at_b: ours_b.local_addr().unwrap(),
            a,
            b,
        };
        let (addr_a, addr_b) = (pair.a.local_addr().unwrap(), pair.b.local_addr().unwrap());
        let call = two_party_call(key, addr_a, addr_b, timers);
        let sockets: Vec<Placed> = vec![
            (StreamIx(0), Component::Rtp, ours_a),
            (StreamIx(1), Component::Rtp, ours_b),
        ];
        (pair, Command::Insert { key, call, sockets })
    }

    /// Sends `count` packets each way, and requires that each arrives before the next is sent.
    pub fn relays(&self, first_seq: u16, count: u16) {
        self.relays_from(first_seq, first_seq, count);
    }

    /// The same with sequence numbers of their own for `a` and `b`.
    pub fn relays_from(&self, seq_a: u16, seq_b: u16, count: u16) {
        for n in 0..count {
            let (from_a, from_b) = (rtp(1, seq_a + n), rtp(2, seq_b + n));
            self.a.send_to(&from_a, self.at_a).unwrap();
            assert_eq!(receive(&self.b), (from_a, self.at_b), "to b, packet {n}");
            self.b.send_to(&from_b, self.at_b).unwrap();
            assert_eq!(receive(&self.a), (from_b, self.at_a), "to a, packet {n}");
        }
    }
}

pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = socket
        .recv_from(&mut buffer)
        .expect("a packet should have arrived");
    (buffer[..len].to_vec(), from)
}

pub fn start(calls_max: u32, queue_len: usize) -> (WorkerHandle, Reports) {
    let config = WorkerConfig {
        index: 0,
        cpu: None,
        calls_max,
        queue_len,
    };
    WorkerHandle::start(config).unwrap()
}

pub fn next(reports: &mut Reports) -> Report {
    reports
        .next_within(PATIENCE)
        .expect("a report should have come")
}

/// Waits until `holds`, or fails.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
