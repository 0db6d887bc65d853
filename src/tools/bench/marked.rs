//! The traffic of `bench relay`, whose payload arrives as it was sent, and an exact audit of it.
//!
//! The payload carries the run, the stream, a sequence number that never wraps and the send time,
//! so that nothing has to be estimated:
//!
//! ```text
//! RTP header (12) | "XPBN" | run u32 | stream u32 | sequence u32 | sent u64 (Unix ns) | 0xD5 …
//! ```

mod kept;

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::generator::{PACKET_BYTES_MAX, RTP_HEADER_BYTES, Sender, Traffic, unix_ns};
use super::heard::Numbers;
use crate::plane::probe;
pub(crate) use kept::Sent;

/// Bytes of G.711 in a packet interval, and ticks of its clock.
const PAYLOAD_BYTES: usize = 160;

const PACKET_BYTES: usize = RTP_HEADER_BYTES + PAYLOAD_BYTES;
const MAGIC: &[u8; 4] = b"XPBN";
const MARK_BYTES: usize = 24;

/// Ticks of the RTP clock in a packet.
const TICKS: u32 = 160;

/// What a run found. Only packets sent inside the window are counted.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Packets that arrived (each counted once).
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
    /// From send call to the receiving socket, in nanoseconds.
    pub(crate) latency_ns: Histogram<u64>,
    /// Packets without a kernel time (timed in user space instead).
    pub(crate) unstamped: u64,
}

/// What is known of a stream at its listener.
#[derive(Clone, Debug, Default)]
struct Audit {
    /// First number that counts; everything below is warm-up ([`u32::MAX`] during it).
    from: u32,
    /// Those since `from`.
    seen: Numbers,
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
        let timestamp0 = mark
            .rtp_timestamp
            .wrapping_sub(mark.sequence.wrapping_mul(TICKS));
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
        if self.seen.is_first(number.into()) {
            self.arrived += 1;
        } else {
            self.duplicate += 1;
        }
    }
}

/// Packets that carry their number, and what became of them.
#[derive(Debug)]
pub(crate) struct Marked {
    addresses: Vec<SocketAddrV4>,
    destinations: Vec<SocketAddrV4>,
    senders: Vec<Sender>,
    audits: Vec<Audit>,
    /// By each party until the window closed.
    sent: Vec<u32>,
    run: u32,
    misrouted: u64,
    foreign: u64,
    unstamped: u64,
    counting: bool,
    latency_ns: Histogram<u64>,
}

impl Marked {
    /// Party `i` at `addresses[i]` sends to `destinations[i]`.
    pub(crate) fn new(addresses: &[SocketAddrV4], destinations: &[SocketAddrV4]) -> Result<Self> {
        // The seed is fixed, so that every run and every subject sees the same load.
        let mut random = fastrand::Rng::with_seed(0x7870_6d61_726b_6564);
        let silent = Audit {
            from: u32::MAX,
            ..Audit::default()
        };
        Ok(Self {
            addresses: addresses.to_vec(),
            destinations: destinations.to_vec(),
            senders: destinations
                .iter()
                .map(|_| Sender::new(0, TICKS, &mut random))
                .collect(),
            audits: vec![silent; destinations.len()],
            sent: Vec::new(),
            run: fastrand::u32(..),
            misrouted: 0,
            foreign: 0,
            unstamped: 0,
            counting: false,
            latency_ns: super::histogram()?,
        })
    }

    /// What the audit found.
    pub(crate) fn outcome(&self) -> Outcome {
        let sum = |count: fn(&Audit) -> u64| self.audits.iter().map(count).sum();
        Outcome {
            arrived: sum(|a| a.arrived),
            duplicate: sum(|a| a.duplicate),
            reordered: sum(|a| a.reordered),
            misrouted: self.misrouted,
            discontinuous: sum(|a| a.discontinuous),
            foreign: self.foreign,
            latency_ns: self.latency_ns.clone(),
            unstamped: self.unstamped,
        }
    }

    /// What was sent, to be looked for in recordings.
    pub(crate) fn sent(&self) -> Sent {
        Sent {
            run: self.run,
            packets: self.sent.clone(),
        }
    }

    /// A packet of `stream` belongs to the other party of its call, and comes from where that party
    /// sends to (symmetric RTP): the switch's port for it, or without a switch the first party
    /// itself.
    fn is_rightly_routed(&self, party: usize, stream: usize, from: SocketAddr) -> bool {
        let direct = self.destinations[stream] == self.addresses[party];
        let expected = if direct {
            self.addresses[stream]
        } else {
            self.destinations[party]
        };
        party == stream ^ 1 && from == SocketAddr::V4(expected)
    }
}

impl Traffic for Marked {
    fn write(&mut self, party: usize, number: u32, packet: &mut [u8; PACKET_BYTES_MAX]) -> usize {
        let written = write_packet(&self.senders[party], number, self.run, party, unix_ns());
        packet[..PACKET_BYTES].copy_from_slice(&written);
        PACKET_BYTES
    }

    fn open(&mut self, sent: &[u32]) {
        for (audit, sent) in self.audits.iter_mut().zip(sent) {
            audit.from = *sent;
        }
        self.counting = true;
    }

    fn close(&mut self, sent: &[u32]) {
        self.sent = sent.to_vec();
    }

    fn hear(&mut self, party: usize, packet: &[u8], arrival: &probe::Arrival) {
        let mark =
            read_packet(packet, self.run).filter(|mark| (mark.stream as usize) < self.audits.len());
        let Some(mark) = mark else {
            self.foreign += 1;
            return;
        };
        let stream = mark.stream as usize;
        if !self.is_rightly_routed(party, stream, arrival.from) {
            self.misrouted += 1;
            return;
        }
        let audit = &mut self.audits[stream];
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
}

fn write_packet(
    sender: &Sender,
    number: u32,
    run: u32,
    party: usize,
    now_ns: u64,
) -> [u8; PACKET_BYTES] {
    let mut packet = [0xD5; PACKET_BYTES];
    packet[..RTP_HEADER_BYTES].copy_from_slice(&sender.header(number));
    packet[12..16].copy_from_slice(MAGIC);
    packet[16..20].copy_from_slice(&run.to_be_bytes());
    packet[20..24].copy_from_slice(&u32::try_from(party).unwrap_or(u32::MAX).to_be_bytes());
    packet[24..28].copy_from_slice(&number.to_be_bytes());
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::generator::{Generator, Paced, Parties, Plan};
    use super::*;

    const SENDER: Sender = Sender {
        payload_type: 0,
        ssrc: 7,
        first_seq: 65_530,
        first_timestamp: u32::MAX - 200,
        ticks: TICKS,
    };

    fn mark_of(number: u32) -> Mark {
        read_packet(&write_packet(&SENDER, number, 3, 5, 11), 3).unwrap()
    }

    fn run(
        parties: &Parties,
        to: &[SocketAddrV4],
        plan: Plan,
        at_edge: impl FnMut(),
    ) -> (Paced, Outcome) {
        let marked = Marked::new(parties.addresses(), to).unwrap();
        let generator = Generator::new(parties, to, marked).unwrap();
        let (paced, marked) = generator.run(plan, at_edge).unwrap();
        (paced, marked.outcome())
    }

    #[test]
    fn packets_read_back() {
        let mark = mark_of(6);
        let at = Mark {
            stream: 5,
            sequence: 6,
            sent_ns: 11,
            rtp_seq: 0,
            rtp_timestamp: 759,
        };
        assert_eq!(mark, at);
        let packet = write_packet(&SENDER, 0, 3, 5, 11);
        assert_eq!(read_packet(&packet, 4), None);
        assert_eq!(read_packet(&packet[..PACKET_BYTES - 1], 3), None);
        assert_eq!(read_packet(&[], 3), None);
    }

    #[test]
    fn the_audit_is_exact() {
        let mut audit = Audit {
            from: 10,
            ..Audit::default()
        };
        // 9 is warm-up; 12 lost; 14 twice; 15 and 16 swapped; across the wrap of the RTP number.
        for sequence in [9, 10, 11, 13, 14, 14, 16, 15, 100] {
            audit.hear(&mark_of(sequence));
        }
        assert_eq!(audit.arrived, 7);
        assert_eq!(audit.duplicate, 1);
        assert_eq!(audit.reordered, 1);
        assert_eq!(audit.discontinuous, 0);
    }

    #[test]
    fn a_broken_clock_is_noticed() {
        let mut audit = Audit::default();
        audit.hear(&mark_of(1));
        let mut jumped = mark_of(2);
        jumped.rtp_timestamp += 1;
        audit.hear(&jumped);
        let mut jumped_seq = mark_of(3);
        jumped_seq.rtp_timestamp += 1;
        jumped_seq.rtp_seq += 1;
        audit.hear(&jumped_seq);
        assert_eq!(audit.discontinuous, 2);
    }

    #[test]
    fn parties_that_talk_directly_lose_nothing_and_strangers_are_told_apart() {
        let parties = Parties::open(4).unwrap();
        let to: Vec<_> = (0..4).map(|i| parties.address(i ^ 1)).collect();
        let plan = Plan {
            warm: Duration::from_millis(100),
            window: Duration::from_millis(400),
        };
        let mut edges = 0;
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (paced, outcome) = run(&parties, &to, plan, || {
            edges += 1;
            stranger.send_to(b"noise", parties.address(2)).unwrap();
        });
        assert_eq!(edges, 2);
        // 4 streams of 50 packets a second.
        assert!((76..=84).contains(&paced.sent), "{} sent", paced.sent);
        assert_eq!(outcome.arrived, paced.sent);
        assert_eq!(outcome.latency_ns.len(), paced.sent);
        assert_eq!(
            (outcome.duplicate, outcome.reordered, outcome.misrouted),
            (0, 0, 0)
        );
        assert_eq!(
            (outcome.foreign, outcome.unstamped, paced.send_errors),
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
        let (paced, outcome) = run(&parties, &to, plan, || ());
        assert_eq!(outcome.arrived, 0);
        assert_eq!(outcome.misrouted, paced.sent);
    }
}
