//! The load itself: thousands of paced RTP streams from one thread, and an exact audit of what
//! comes back.
//!
//! Every party has its own socket, as real phones do. All streams send one packet per 20 ms, in a
//! fixed shuffled order spread evenly over the interval at [`SLOT`] granularity. The payload
//! carries the run, the stream, a sequence number that never wraps and the send time, so that
//! nothing has to be estimated:
//!
//! ```text
//! RTP header (12) | "XPBN" | run u32 | stream u32 | sequence u32 | sent u64 (Unix ns) | 0xD5 …
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use crate::plane::probe::{self, Poll};

/// Time between two packets of one stream.
pub(crate) const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes of G.711 in [`PACKET_INTERVAL`].
const PAYLOAD_BYTES: usize = 160;

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

const RTP_HEADER_BYTES: usize = 12;
const PACKET_BYTES: usize = RTP_HEADER_BYTES + PAYLOAD_BYTES;
const MAGIC: &[u8; 4] = b"XPBN";
const MARK_BYTES: usize = 24;

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

/// What a run found. Only packets sent inside the window are counted.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Real length of the window.
    pub(crate) window: Duration,
    /// Packets sent.
    pub(crate) sent: u64,
    /// Of these, those that arrived (each counted once).
    pub(crate) arrived: u64,
    /// Arrived a second time.
    pub(crate) duplicate: u64,
    /// Arrived after one with a higher number.
    pub(crate) reordered: u64,
    /// Arrived at another party, or from a port that is not the one this party's SDP named.
    pub(crate) misrouted: u64,
    /// Arrived with RTP numbers or timestamps that do not continue the stream.
    pub(crate) discontinuous: u64,
    /// Datagrams that are none of ours.
    pub(crate) foreign: u64,
    /// The kernel refused to send.
    pub(crate) send_errors: u64,
    /// From send call to the receiving socket, in nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// How late packets left the generator, in nanoseconds beyond their slot.
    pub(crate) lag_ns: Histogram<u64>,
    /// Packets without a kernel time (timed in user space instead).
    pub(crate) unstamped: u64,
}

/// The sending half of a stream; its index is the party it belongs to.
#[derive(Clone, Debug)]
struct Stream {
    to: SocketAddrV4,
    ssrc: u32,
    first_seq: u16,
    first_timestamp: u32,
    sent: u32,
}

/// What is known of a stream at its listener.
#[derive(Clone, Debug, Default)]
struct Audit {
    /// First number that counts; everything below is warm-up ([`u32::MAX`] during it).
    from: u32,
    /// One bit per number since `from`.
    seen: Vec<u64>,
    arrived: u64,
    duplicate: u64,
    reordered: u64,
    highest: Option<u32>,
    /// RTP sequence and timestamp of packet 0, as the listener sees them.
    origin: Option<(u16, u32)>,
    discontinuous: u64,
}

/// What the payload and header of an arrived packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    stream: u32,
    sequence: u32,
    sent_ns: u64,
    rtp_seq: u16,
    rtp_timestamp: u32,
}

impl Audit {
    /// Counts one arrival of a packet that reached the right listener.
    fn hear(&mut self, mark: &Mark) {
        #[allow(clippy::cast_possible_truncation, reason = "RTP sequence numbers wrap")]
        let seq0 = mark.rtp_seq.wrapping_sub(mark.sequence as u16);
        let step = u32::try_from(PAYLOAD_BYTES).unwrap_or(u32::MAX);
        let timestamp0 = mark
            .rtp_timestamp
            .wrapping_sub(mark.sequence.wrapping_mul(step));
        if *self.origin.get_or_insert((seq0, timestamp0)) != (seq0, timestamp0) {
            self.discontinuous += 1;
            self.origin = Some((seq0, timestamp0));
        }
        if self.highest.is_some_and(|highest| mark.sequence < highest) {
            self.reordered += u64::from(mark.sequence >= self.from);
        }
        self.highest = self.highest.max(Some(mark.sequence));
        let Some(number) = mark.sequence.checked_sub(self.from) else {
            return;
        };
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.arrived += 1;
        } else {
            self.duplicate += 1;
        }
    }
}

/// The generator of one run.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    parties: &'a Parties,
    poll: Poll,
    ready: Vec<usize>,
    streams: Vec<Stream>,
    audits: Vec<Audit>,
    order: Vec<u32>,
    run: u32,
    misrouted: u64,
    foreign: u64,
    send_errors: u64,
    unstamped: u64,
    counting: bool,
    latency_ns: Histogram<u64>,
    lag_ns: Histogram<u64>,
}

impl<'a> Generator<'a> {
    /// A generator whose party `i` sends to `destinations[i]`.
    pub(crate) fn new(parties: &'a Parties, destinations: &[SocketAddrV4]) -> Result<Self> {
        let poll = Poll::new()?;
        for (i, socket) in parties.sockets.iter().enumerate() {
            poll.add(socket, i)?;
            // What an earlier run left in the queues is not ours.
            while probe::receive(socket, &mut [0; 64])?.is_some() {}
        }
        // The seed is fixed, so that every run and every subject sees the same load.
        let mut random = fastrand::Rng::with_seed(0x7870_6265_6e63_6821);
        let streams: Vec<_> = destinations
            .iter()
            .map(|to| Stream {
                to: *to,
                ssrc: random.u32(..),
                first_seq: random.u16(..),
                first_timestamp: random.u32(..),
                sent: 0,
            })
            .collect();
        let mut order: Vec<u32> = (0..).take(streams.len()).collect();
        random.shuffle(&mut order);
        let audits = vec![
            Audit {
                from: u32::MAX,
                ..Audit::default()
            };
            streams.len()
        ];
        Ok(Self {
            parties,
            poll,
            ready: Vec::with_capacity(probe::READY_MAX),
            streams,
            audits,
            order,
            run: fastrand::u32(..),
            misrouted: 0,
            foreign: 0,
            send_errors: 0,
            unstamped: 0,
            counting: false,
            latency_ns: super::histogram()?,
            lag_ns: super::histogram()?,
        })
    }

    /// Runs the plan. `at_edge` is called when the window opens and when it closes.
    pub(crate) fn run(mut self, plan: Plan, mut at_edge: impl FnMut()) -> Result<Outcome> {
        let gap_ns = PACKET_INTERVAL.as_nanos() / self.streams.len().max(1) as u128;
        let start = Instant::now();
        self.traffic(start, plan.warm, gap_ns, 0)?;
        at_edge();
        for (audit, stream) in self.audits.iter_mut().zip(&self.streams) {
            audit.from = stream.sent;
        }
        let sent_before = self.sent();
        self.counting = true;
        let opened = Instant::now();
        self.traffic(
            start,
            opened.duration_since(start) + plan.window,
            gap_ns,
            sent_before,
        )?;
        let window = opened.elapsed();
        at_edge();
        let sent = self.sent() - sent_before;
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            self.receive_all()?;
            std::thread::sleep(SLOT);
        }
        Ok(self.outcome(window, sent))
    }

    fn sent(&self) -> u64 {
        self.streams.iter().map(|s| u64::from(s.sent)).sum()
    }

    /// Sends and receives until `until` after `start`. The whole schedule hangs on `start`: a late
    /// wake-up is made up for, never passed on.
    fn traffic(&mut self, start: Instant, until: Duration, gap_ns: u128, sent: u64) -> Result<()> {
        let mut sent = sent;
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
        let stream = &mut self.streams[party];
        let packet = write_packet(stream, self.run, party, unix_ns());
        let sent = self.parties.sockets[party].send_to(&packet, stream.to);
        self.send_errors += u64::from(sent.is_err());
        stream.sent += 1;
    }

    /// Takes one datagram of every socket that has some: rarely is there a second, and the queue
    /// is level-triggered, so it is not forgotten. Packets that arrive meanwhile wait for the next
    /// slot; their time was taken by the kernel. Asking until nothing is left would spin as long
    /// as the switch is sending.
    fn receive_all(&mut self) -> Result<()> {
        let mut packet = [0; 2 * PACKET_BYTES];
        loop {
            self.ready.clear();
            self.ready.extend(self.poll.wait(Duration::ZERO)?);
            for i in 0..self.ready.len() {
                let party = self.ready[i];
                if let Some(arrival) = probe::receive(&self.parties.sockets[party], &mut packet)? {
                    self.hear(party, &packet[..arrival.length], &arrival);
                }
            }
            if self.ready.len() < probe::READY_MAX {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, party: usize, packet: &[u8], arrival: &probe::Arrival) {
        let Some(mark) = read_packet(packet, self.run) else {
            self.foreign += 1;
            return;
        };
        let Some(audit) = self.audits.get_mut(mark.stream as usize) else {
            self.foreign += 1;
            return;
        };
        if !is_rightly_routed(
            &self.streams,
            party,
            mark.stream as usize,
            self.parties,
            arrival.from,
        ) {
            self.misrouted += 1;
            return;
        }
        audit.hear(&mark);
        if self.counting && mark.sequence >= audit.from {
            let now = arrival.kernel_ns.unwrap_or_else(|| {
                self.unstamped += 1;
                unix_ns()
            });
            self.latency_ns
                .saturating_record(now.saturating_sub(mark.sent_ns).max(1));
        }
    }

    fn outcome(self, window: Duration, sent: u64) -> Outcome {
        let sum = |count: fn(&Audit) -> u64| self.audits.iter().map(count).sum();
        Outcome {
            window,
            sent,
            arrived: sum(|a| a.arrived),
            duplicate: sum(|a| a.duplicate),
            reordered: sum(|a| a.reordered),
            misrouted: self.misrouted,
            discontinuous: sum(|a| a.discontinuous),
            foreign: self.foreign,
            send_errors: self.send_errors,
            latency_ns: self.latency_ns,
            lag_ns: self.lag_ns,
            unstamped: self.unstamped,
        }
    }
}

/// A packet of `stream` belongs to the other party of its call, and comes from where that party
/// sends to (symmetric RTP): the switch's port for it, or without a switch the first party itself.
fn is_rightly_routed(
    streams: &[Stream],
    party: usize,
    stream: usize,
    parties: &Parties,
    from: SocketAddr,
) -> bool {
    let direct = streams[stream].to == parties.address(party);
    let expected = if direct {
        parties.address(stream)
    } else {
        streams[party].to
    };
    party == stream ^ 1 && from == SocketAddr::V4(expected)
}

fn write_packet(stream: &Stream, run: u32, party: usize, now_ns: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0xD5; PACKET_BYTES];
    #[allow(clippy::cast_possible_truncation, reason = "RTP sequence numbers wrap")]
    let seq = stream.first_seq.wrapping_add(stream.sent as u16);
    let step = u32::try_from(PAYLOAD_BYTES).unwrap_or(u32::MAX);
    let timestamp = stream
        .first_timestamp
        .wrapping_add(stream.sent.wrapping_mul(step));
    // Version 2; marker at the start of speech (RFC 3551 section 4.1); payload type 0.
    packet[0] = 0x80;
    packet[1] = if stream.sent == 0 { 0x80 } else { 0 };
    packet[2..4].copy_from_slice(&seq.to_be_bytes());
    packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    packet[8..12].copy_from_slice(&stream.ssrc.to_be_bytes());
    packet[12..16].copy_from_slice(MAGIC);
    packet[16..20].copy_from_slice(&run.to_be_bytes());
    packet[20..24].copy_from_slice(&u32::try_from(party).unwrap_or(u32::MAX).to_be_bytes());
    packet[24..28].copy_from_slice(&stream.sent.to_be_bytes());
    packet[28..36].copy_from_slice(&now_ns.to_be_bytes());
    packet
}

/// Reads one of our packets of this run; `None` for anything else, or a payload that was cut.
fn read_packet(packet: &[u8], run: u32) -> Option<Mark> {
    if packet.len() != PACKET_BYTES || packet[0] != 0x80 || packet[1] & 0x7F != 0 {
        return None;
    }
    let mark = &packet[RTP_HEADER_BYTES..RTP_HEADER_BYTES + MARK_BYTES];
    let word = |at: usize| Some(u32::from_be_bytes(mark.get(at..at + 4)?.try_into().ok()?));
    if mark[..4] != *MAGIC || word(4)? != run {
        return None;
    }
    Some(Mark {
        stream: word(8)?,
        sequence: word(12)?,
        sent_ns: u64::from(word(16)?) << 32 | u64::from(word(20)?),
        rtp_seq: u16::from_be_bytes([packet[2], packet[3]]),
        rtp_timestamp: u32::from_be_bytes(packet[4..8].try_into().ok()?),
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of SO_TIMESTAMPNS.
fn unix_ns() -> u64 {
    nanos(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        let to = "127.0.0.1:9".parse().unwrap();
        Stream {
            to,
            ssrc: 7,
            first_seq: 65_530,
            first_timestamp: u32::MAX - 200,
            sent: 0,
        }
    }

    fn mark_of(stream: &mut Stream, sent: u32) -> Mark {
        stream.sent = sent;
        read_packet(&write_packet(stream, 3, 5, 11), 3).unwrap()
    }

    #[test]
    fn packets_read_back() {
        let mark = mark_of(&mut stream(), 6);
        let at = Mark {
            stream: 5,
            sequence: 6,
            sent_ns: 11,
            rtp_seq: 0,
            rtp_timestamp: 759,
        };
        assert_eq!(mark, at);
        let packet = write_packet(&stream(), 3, 5, 11);
        assert_eq!(read_packet(&packet, 4), None);
        assert_eq!(read_packet(&packet[..PACKET_BYTES - 1], 3), None);
        assert_eq!(read_packet(&[], 3), None);
    }

    #[test]
    fn the_audit_is_exact() {
        let mut stream = stream();
        let mut audit = Audit {
            from: 10,
            ..Audit::default()
        };
        // 9 is warm-up; 12 lost; 14 twice; 15 and 16 swapped; across the wrap of the RTP number.
        for sequence in [9, 10, 11, 13, 14, 14, 16, 15, 100] {
            audit.hear(&mark_of(&mut stream, sequence));
        }
        assert_eq!(audit.arrived, 7);
        assert_eq!(audit.duplicate, 1);
        assert_eq!(audit.reordered, 1);
        assert_eq!(audit.discontinuous, 0);
    }

    #[test]
    fn a_broken_clock_is_noticed() {
        let mut stream = stream();
        let mut audit = Audit::default();
        audit.hear(&mark_of(&mut stream, 1));
        let mut jumped = mark_of(&mut stream, 2);
        jumped.rtp_timestamp += 1;
        audit.hear(&jumped);
        let mut jumped_seq = mark_of(&mut stream, 3);
        jumped_seq.rtp_timestamp += 1;
        jumped_seq.rtp_seq += 1;
        audit.hear(&jumped_seq);
        assert_eq!(audit.discontinuous, 2);
    }

    #[test]
    fn parties_that_talk_directly_lose_nothing_and_strangers_are_told_apart() {
        let parties = Parties::open(4).unwrap();
        let to: Vec<_> = (0..4).map(|i| parties.address(i ^ 1)).collect();
        let generator = Generator::new(&parties, &to).unwrap();
        let plan = Plan {
            warm: Duration::from_millis(100),
            window: Duration::from_millis(400),
        };
        let mut edges = 0;
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let outcome = generator
            .run(plan, || {
                edges += 1;
                stranger.send_to(b"noise", parties.address(2)).unwrap();
            })
            .unwrap();
        assert_eq!(edges, 2);
        // 4 streams of 50 packets a second.
        assert!((76..=84).contains(&outcome.sent), "{} sent", outcome.sent);
        assert_eq!(outcome.arrived, outcome.sent);
        assert_eq!(outcome.latency_ns.len(), outcome.sent);
        assert_eq!(
            (outcome.duplicate, outcome.reordered, outcome.misrouted),
            (0, 0, 0)
        );
        assert_eq!(
            (outcome.foreign, outcome.unstamped, outcome.send_errors),
            (2, 0, 0)
        );
    }

    #[test]
    fn a_packet_at_the_wrong_party_is_misrouted() {
        let parties = Parties::open(4).unwrap();
        // Everybody sends to the caller of the other call.
        let to: Vec<_> = (0..4)
            .map(|i| parties.address(if i < 2 { 2 } else { 0 }))
            .collect();
        let plan = Plan {
            warm: Duration::ZERO,
            window: Duration::from_millis(200),
        };
        let outcome = Generator::new(&parties, &to)
            .unwrap()
            .run(plan, || ())
            .unwrap();
        assert_eq!(outcome.arrived, 0);
        assert_eq!(outcome.misrouted, outcome.sent);
    }
}
