//! What parties of SIPp hear: sockets at the very ports that their SDP names, with the kernel's
//! time of every arrival; and voices that speak from there, packet by packet in time.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crosspoint::plane::probe;

use super::support::rtp::{Packet, Script};

/// SIPp numbers the calls from 1 and steps the media port of each by four; it binds the first
/// ports itself, so its scenarios add eight.
const PORT_STEP: u16 = 4;
const PORT_OFFSET: u16 = 8;

/// Ports a SIPp needs for `calls` calls.
pub(crate) fn media_ports(calls: u16) -> u16 {
    calls * PORT_STEP + PORT_OFFSET + PORT_STEP
}

/// Microseconds of Unix time: the clock of arrivals, of departures and of SIPp's log.
pub(crate) fn unix_us(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH);
    let us = since.expect("after 1970").as_micros();
    u64::try_from(us).expect("before the year 500,000")
}

/// A packet, and when it reached the socket.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at_us: u64,
    pub(crate) packet: Packet,
}

/// The sockets at a SIPp's media ports, and the thread that empties them.
#[derive(Debug)]
pub(crate) struct Ears {
    sockets: Arc<Mutex<Vec<Ear>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The two of a call, and what has arrived there.
#[derive(Debug)]
struct Ear {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    heard: Vec<Heard>,
    /// Everything, RTCP as well, as it came.
    datagrams: Vec<Vec<u8>>,
}

impl Ears {
    pub(crate) fn open(media_port: u16, calls: u16) -> Self {
        let bound = |port| {
            let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a reserved port");
            probe::stamp_arrivals(&socket).expect("a kernel that stamps");
            socket
        };
        let ear = |call| {
            let port = media_port + PORT_OFFSET + call * PORT_STEP;
            Ear {
                rtp: bound(port),
                rtcp: bound(port + 1),
                heard: Vec::new(),
                datagrams: Vec::new(),
            }
        };
        let sockets = Arc::new(Mutex::new((0..calls).map(ear).collect()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&sockets), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || listen(&shared, &stopped)));
        Self {
            sockets,
            stop,
            thread,
        }
    }

    /// What has arrived at each call so far.
    pub(crate) fn heard(&self) -> Vec<Vec<Heard>> {
        self.each(|ear| ear.heard.clone())
    }

    /// The same as it came, with RTCP.
    pub(crate) fn datagrams(&self) -> Vec<Vec<Vec<u8>>> {
        self.each(|ear| ear.datagrams.clone())
    }

    fn each<T>(&self, what: impl Fn(&Ear) -> T) -> Vec<T> {
        let mut ears = self.sockets.lock().expect("no thread panics");
        drain(&mut ears);
        ears.iter().map(what).collect()
    }

    pub(crate) fn close(&mut self) -> Vec<Vec<Heard>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("closed once");
        thread.join().expect("a thread that does not panic");
        self.heard()
    }

    /// Where a call's RTP and RTCP come from.
    pub(crate) fn mouths(&self, call: usize) -> [UdpSocket; 2] {
        let ears = self.sockets.lock().expect("no thread panics");
        [&ears[call].rtp, &ears[call].rtcp].map(|socket| socket.try_clone().expect("a socket"))
    }
}

/// Empties all sockets ten times a second, until told to stop: a queue holds five seconds of
/// G.711.
fn listen(ears: &Mutex<Vec<Ear>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        drain(&mut ears.lock().expect("no thread panics"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn drain(ears: &mut [Ear]) {
    let mut buffer = [0; 2_048];
    for ear in ears {
        while let Some(arrival) = probe::receive(&ear.rtp, &mut buffer).expect("a socket") {
            let bytes = &buffer[..arrival.length];
            let at_us = arrival.kernel_ns.expect("it is stamped") / 1_000;
            let packet = Packet::read(bytes);
            ear.heard
                .extend(packet.map(|packet| Heard { at_us, packet }));
            ear.datagrams.push(bytes.to_vec());
        }
        while let Some(arrival) = probe::receive(&ear.rtcp, &mut buffer).expect("a socket") {
            ear.datagrams.push(buffer[..arrival.length].to_vec());
        }
    }
}

/// Somebody who speaks.
#[derive(Debug)]
pub(crate) struct Voice(JoinHandle<Vec<Departure>>);

/// When a packet left, and by how much too late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    pub(crate) at_us: u64,
    pub(crate) late: Duration,
}

impl Voice {
    /// Speaks from this socket to there, from now on.
    pub(crate) fn speak(mouth: UdpSocket, to: SocketAddr, voice: &Script) -> Self {
        let packets = voice.packets().to_vec();
        Self(std::thread::spawn(move || {
            let begun = Instant::now();
            let send = |(at, packet): &(Duration, Packet)| {
                let due = begun + *at;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let departure = Departure {
                    at_us: unix_us(SystemTime::now()),
                    late: due.elapsed(),
                };
                // An ICMP error of an earlier packet surfaces here; the next one goes out again.
                let _sent = mouth.send_to(&packet.write(), to);
                departure
            };
            packets.iter().map(send).collect()
        }))
    }

    /// Waits for its end: the departures, in order.
    pub(crate) fn finish(self) -> Vec<Departure> {
        self.0.join().expect("it spoke")
    }

    /// The same: by how much the latest packet was too late.
    pub(crate) fn late(self) -> Duration {
        let departures = self.finish().into_iter();
        departures.map(|d| d.late).max().unwrap_or_default()
    }
}
