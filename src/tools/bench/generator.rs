//! The load itself: thousands of paced RTP streams from one thread.
//!
//! Every party has its own socket, as real phones do. All streams send one packet per 20 ms, in a
//! fixed shuffled order spread evenly over the interval at [`SLOT`] granularity. What the packets
//! say and how arrivals are judged is up to the [`Traffic`].

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use crate::plane::probe::{self, Poll};

/// Time between two packets of one stream.
pub(crate) const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// Longest packet sent, and longest that is received whole: one of any codec fits.
pub(crate) const PACKET_BYTES_MAX: usize = 1_500;

/// Octets of the RTP header that is sent (RFC 3550 section 5.1), without CSRCs.
pub(crate) const RTP_HEADER_BYTES: usize = 12;

/// The generator wakes this often and sends what is due since.
const SLOT: Duration = Duration::from_micros(250);

/// Most packets sent before the sockets are looked at again, should the generator be late.
const BURST_MAX: u64 = 1_024;

/// How long stragglers are waited for after the last packet.
const DRAIN: Duration = Duration::from_millis(500);

/// Parties per loopback address, on even ports from [`FIRST_PORT`].
const PARTIES_PER_ADDRESS: usize = 16_000;

/// First local port of a party.
const FIRST_PORT: u16 = 20_000;

/// The parties' sockets; party `2 * call` is the caller, the odd ones are callees.
#[derive(Debug)]
pub(crate) struct Parties {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddrV4>,
}

impl Parties {
    /// Opens `count` sockets on loopback addresses nothing else uses.
    pub(crate) fn open(count: usize) -> Result<Self> {
        // Another generator on this machine may hold the first blocks of addresses.
        for block in 1..=16 {
            match Self::open_in(block, count) {
                Ok(parties) => return Ok(parties),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(e).with_context(|| format!("cannot open {count} sockets")),
            }
        }
        bail!("all loopback addresses of the generator are in use")
    }

    fn open_in(block: u8, count: usize) -> io::Result<Self> {
        let mut parties = Self {
            sockets: Vec::new(),
            addresses: Vec::new(),
        };
        for party in 0..count {
            let host = u8::try_from(1 + party / PARTIES_PER_ADDRESS).map_err(io::Error::other)?;
            let port =
                u16::try_from(2 * (party % PARTIES_PER_ADDRESS)).map_err(io::Error::other)?;
            let address = SocketAddrV4::new(Ipv4Addr::new(127, 0, block, host), FIRST_PORT + port);
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            probe::stamp_arrivals(&socket)?;
            parties.sockets.push(socket);
            parties.addresses.push(address);
        }
        Ok(parties)
    }

    /// Where the parties listen and send from, in order.
    pub(crate) fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    /// Where party `i` listens and sends from.
    pub(crate) fn address(&self, i: usize) -> SocketAddrV4 {
        self.addresses[i]
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Traffic before anything is counted.
    pub(crate) warm: Duration,
    /// Traffic that counts.
    pub(crate) window: Duration,
}

/// What the pacing of a run did. Only what was sent inside the window is counted.
#[derive(Debug)]
pub(crate) struct Paced {
    /// Real length of the window.
    pub(crate) window: Duration,
    /// Packets sent.
    pub(crate) sent: u64,
    /// The kernel refused to send; the packet counts as sent.
    pub(crate) send_errors: u64,
    /// How late packets left the generator, in nanoseconds beyond their slot.
    pub(crate) lag_ns: Histogram<u64>,
}

/// The packets of all streams, and the audit of what arrives. A stream has the index of the party
/// that sends it.
pub(crate) trait Traffic {
    /// Writes packet `number` (counted from 0) of the stream of `party`; returns its length.
    fn write(&mut self, party: usize, number: u32, packet: &mut [u8; PACKET_BYTES_MAX]) -> usize;

    /// The window opens: what is sent from now on counts. `sent[i]` packets of stream `i` are out.
    fn open(&mut self, sent: &[u32]);

    /// The window closes. Stragglers are still heard for a while.
    fn close(&mut self, sent: &[u32]);

    /// `party` received `packet`.
    fn hear(&mut self, party: usize, packet: &[u8], arrival: &probe::Arrival);
}

/// What is constant in the RTP headers of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    pub(crate) first_seq: u16,
    pub(crate) first_timestamp: u32,
    /// Of the RTP clock in [`PACKET_INTERVAL`].
    pub(crate) ticks: u32,
}

impl Sender {
    /// With random numbers to begin with, as RFC 3550 section 5.1 asks.
    pub(crate) fn new(payload_type: u8, ticks: u32, random: &mut fastrand::Rng) -> Self {
        Self {
            payload_type,
            ssrc: random.u32(..),
            first_seq: random.u16(..),
            first_timestamp: random.u32(..),
            ticks,
        }
    }

    /// The header of packet `number`.
    pub(crate) fn header(&self, number: u32) -> [u8; RTP_HEADER_BYTES] {
        #[allow(clippy::cast_possible_truncation, reason = "RTP sequence numbers wrap")]
        let seq = self.first_seq.wrapping_add(number as u16);
        let timestamp = self
            .first_timestamp
            .wrapping_add(number.wrapping_mul(self.ticks));
        let mut header = [0; RTP_HEADER_BYTES];
        // Version 2; marker at the start of speech (RFC 3551 section 4.1).
        header[0] = 0x80;
        header[1] = self.payload_type | if number == 0 { 0x80 } else { 0 };
        header[2..4].copy_from_slice(&seq.to_be_bytes());
        header[4..8].copy_from_slice(&timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        header
    }
}

/// The generator of one run.
#[derive(Debug)]
pub(crate) struct Generator<'a, T> {
    parties: &'a Parties,
    destinations: &'a [SocketAddrV4],
    traffic: T,
    poll: Poll,
    ready: Vec<usize>,
    /// Packets sent, by stream.
    sent: Vec<u32>,
    order: Vec<u32>,
    send_errors: u64,
    counting: bool,
    lag_ns: Histogram<u64>,
}

impl<'a, T: Traffic> Generator<'a, T> {
    /// A generator whose party `i` sends to `destinations[i]`.
    pub(crate) fn new(
        parties: &'a Parties,
        destinations: &'a [SocketAddrV4],
        traffic: T,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        for (i, socket) in parties.sockets.iter().take(destinations.len()).enumerate() {
            poll.add(socket, i)?;
            // What an earlier run left in the queues is not ours.
            while probe::receive(socket, &mut [0; 64])?.is_some() {}
        }
        let mut order: Vec<u32> = (0..).take(destinations.len()).collect();
        // The seed is fixed, so that every run and every subject sees the same load.
        fastrand::Rng::with_seed(0x7870_6265_6e63_6821).shuffle(&mut order);
        Ok(Self {
            parties,
            destinations,
            traffic,
            poll,
            ready: Vec::with_capacity(probe::READY_MAX),
            sent: vec![0; destinations.len()],
            order,
            send_errors: 0,
            counting: false,
            lag_ns: super::histogram()?,
        })
    }

    /// Runs the plan. `at_edge` is called when the window opens and when it closes.
    pub(crate) fn run(mut self, plan: Plan, mut at_edge: impl FnMut()) -> Result<(Paced, T)> {
        let gap_ns = PACKET_INTERVAL.as_nanos() / self.sent.len().max(1) as u128;
        let start = Instant::now();
        self.paced(start, plan.warm, gap_ns)?;
        at_edge();
        self.traffic.open(&self.sent);
        let (sent_before, errors_before) = (self.sent_in_all(), self.send_errors);
        self.counting = true;
        let opened = Instant::now();
        self.paced(start, opened.duration_since(start) + plan.window, gap_ns)?;
        let window = opened.elapsed();
        at_edge();
        self.traffic.close(&self.sent);
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            self.receive_all()?;
            std::thread::sleep(SLOT);
        }
        let paced = Paced {
            window,
            sent: self.sent_in_all() - sent_before,
            send_errors: self.send_errors - errors_before,
            lag_ns: self.lag_ns,
        };
        Ok((paced, self.traffic))
    }

    fn sent_in_all(&self) -> u64 {
        self.sent.iter().map(|n| u64::from(*n)).sum()
    }

    /// Sends and receives until `until` after `start`. The whole schedule hangs on `start`: a late
    /// wake-up is made up for, never passed on.
    fn paced(&mut self, start: Instant, until: Duration, gap_ns: u128) -> Result<()> {
        let mut sent = self.sent_in_all();
        let mut wake = start.elapsed();
        loop {
            let now = start.elapsed();
            if now >= until {
                return Ok(());
            }
            let due = u64::try_from(now.as_nanos() / gap_ns.max(1)).unwrap_or(u64::MAX);
            if self.counting && due > sent {
                let late = u64::try_from(u128::from(due - sent) * gap_ns).unwrap_or(u64::MAX);
                self.lag_ns
                    .saturating_record(late.saturating_sub(nanos(SLOT)).max(1));
            }
            for _ in 0..(due.saturating_sub(sent)).min(BURST_MAX) {
                let position = usize::try_from(sent).unwrap_or(usize::MAX) % self.order.len();
                self.send(self.order[position] as usize);
                sent += 1;
            }
            self.receive_all()?;
            wake = (wake + SLOT).max(start.elapsed().saturating_sub(SLOT));
            if let Some(rest) = wake.checked_sub(start.elapsed()) {
                std::thread::sleep(rest);
            }
        }
    }

    fn send(&mut self, party: usize) {
        let mut packet = [0; PACKET_BYTES_MAX];
        let length = self.traffic.write(party, self.sent[party], &mut packet);
        let to = self.destinations[party];
        let sent = self.parties.sockets[party].send_to(&packet[..length], to);
        self.send_errors += u64::from(sent.is_err());
        self.sent[party] += 1;
    }

    /// Takes one datagram of every socket that has some: rarely is there a second, and the queue
    /// is level-triggered, so it is not forgotten. Packets that arrive meanwhile wait for the next
    /// slot; their time was taken by the kernel. Asking until nothing is left would spin as long
    /// as the switch is sending.
    fn receive_all(&mut self) -> Result<()> {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            self.ready.clear();
            self.ready.extend(self.poll.wait(Duration::ZERO)?);
            for i in 0..self.ready.len() {
                let party = self.ready[i];
                if let Some(arrival) = probe::receive(&self.parties.sockets[party], &mut packet)? {
                    self.traffic
                        .hear(party, &packet[..arrival.length], &arrival);
                }
            }
            if self.ready.len() < probe::READY_MAX {
                return Ok(());
            }
        }
    }
}

/// A length of time in nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of SO_TIMESTAMPNS.
pub(crate) fn unix_ns() -> u64 {
    nanos(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
