//! The traffic of `bench transcode`: real sound in real codecs, and an audit of what a switch made
//! of it.
//!
//! Nothing of a payload survives a change of codec, so the audit goes by what every phone goes by:
//! sequence numbers, timestamps and times of arrival. Packets are counted twice over: by their
//! numbers (a gap is a packet that left the switch and never came, or one that was dropped after
//! it was numbered) and by the clock (a switch that is behind sends fewer than it gets, with no
//! gap to see). The sound of a few streams is decoded and recognised.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::generator::{
    PACKET_BYTES_MAX, PACKET_INTERVAL, RTP_HEADER_BYTES, Sender, Traffic, nanos, unix_ns,
};
use super::load::Outlet;
use super::sound::{self, Ear, LOOP_FRAMES};
use crate::audio::codec::{CodecKind, Decoder};
use crate::plane::probe;
use crate::wire::rtp::RtpHeader;
use crate::wire::seq::RtpTimestamp;

/// A packet that comes out this much later than the constant pace asks is missing: it is more than
/// the jitter buffer of a phone usually forgives.
const GRACE: Duration = Duration::from_millis(60);

/// A timestamp that is less than this many frames ahead has left them out.
const SKIP_FRAMES_MAX: u64 = 500;

/// Calls whose sound is listened to, in both directions.
const SAMPLED_CALLS: usize = 4;

/// Packets kept of each of their streams: a second for the decoder to settle, a second to judge.
const KEPT_PACKETS: usize = 2 * LOOP_FRAMES;

/// One of the two languages.
#[derive(Debug)]
struct Codec {
    kind: CodecKind,
    /// Of the RTP clock in a packet.
    ticks: u32,
    payloads: Vec<Vec<u8>>,
    /// For the length of payloads; decodes nothing.
    decoder: Decoder,
}

impl Codec {
    fn new(kind: CodecKind) -> Result<Self> {
        Ok(Self {
            kind,
            ticks: ticks(kind),
            payloads: sound::payloads(kind)?,
            decoder: sound::decoder(kind)?,
        })
    }

    /// Whether this can be 20 ms of sound.
    fn is_frame(&self, payload: &[u8]) -> bool {
        let frame = self.decoder.pcm_hz() as usize / LOOP_FRAMES;
        self.decoder.samples(payload) == Ok(frame)
    }
}

/// Of the RTP clock in a packet.
fn ticks(kind: CodecKind) -> u32 {
    kind.clock_hz() * u32::try_from(PACKET_INTERVAL.as_millis()).unwrap_or(20) / 1_000
}

/// When the window opened and closed, in nanoseconds of Unix time.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    opened: Option<u64>,
    closed: Option<u64>,
}

/// Where an arrival lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    Before,
    Within,
    /// Within [`GRACE`] after the window.
    Soon,
    Late,
}

impl Window {
    fn place(&self, at_ns: u64) -> When {
        if self.opened.is_none_or(|opened| at_ns < opened) {
            return When::Before;
        }
        match self.closed {
            Some(closed) if at_ns >= closed.saturating_add(nanos(GRACE)) => When::Late,
            Some(closed) if at_ns >= closed => When::Soon,
            _ => When::Within,
        }
    }
}

/// What the header of a packet of the right codec says, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived<'p> {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    at_ns: u64,
    payload: &'p [u8],
}

/// A kept packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    number: u64,
    at_ns: u64,
    payload: Vec<u8>,
}

/// What one party hears.
#[derive(Clone, Debug, Default)]
struct Listener {
    ssrc: Option<u32>,
    /// The highest sequence number, extended so that it neither wraps nor falls below zero.
    highest: u64,
    /// The first number that counts.
    from: Option<u64>,
    /// One bit per number since `from`.
    seen: Vec<u64>,
    /// Different numbers since `from`.
    distinct: u64,
    /// Arrived inside the window.
    within: u64,
    /// Arrived inside the window or [`GRACE`] after it.
    in_time: u64,
    gaps: u64,
    duplicate: u64,
    reordered: u64,
    discontinuous: u64,
    skipped: u64,
    malformed: u64,
    octets: u64,
    /// The timestamp that number 0 would have.
    origin: Option<u32>,
    /// Arrival and timestamp of the packet before.
    before: Option<(u64, u32)>,
    keeps: bool,
    kept: Vec<Kept>,
}

impl Listener {
    /// Counts one arrival. `jitter_ns` takes by how much the time since the packet before differs
    /// from what their timestamps say (the D of RFC 3550 section 6.4.1).
    fn hear(
        &mut self,
        packet: &Arrived<'_>,
        when: When,
        codec: (CodecKind, u32),
        jitter_ns: &mut Histogram<u64>,
    ) {
        let newcomer = self.ssrc != Some(packet.ssrc);
        if newcomer {
            self.start_over(packet, when);
        }
        let number = self.extend(packet.seq);
        // The number before the first packet of a source was never sent.
        let highest = if newcomer { number - 1 } else { self.highest };
        self.highest = highest.max(number);
        if when == When::Before {
            self.before = Some((packet.at_ns, packet.timestamp));
            self.origin = Some(origin(packet, number, codec.1));
            return;
        }
        let from = *self.from.get_or_insert(highest + 1);
        // Before it there are stragglers of the warm-up.
        let Some(index) = number.checked_sub(from) else {
            return;
        };
        if !self.is_first(index) {
            self.duplicate += 1;
            return;
        }
        self.distinct += 1;
        self.in_time += u64::from(when <= When::Soon);
        self.reordered += u64::from(number < highest);
        if when == When::Within {
            self.within += 1;
            self.octets += packet.payload.len() as u64;
            self.check_clock(packet, number, codec, jitter_ns);
            self.keep(packet, number);
        }
    }

    /// Another source has numbers of its own.
    fn start_over(&mut self, packet: &Arrived<'_>, when: When) {
        self.gaps += self.open_gaps();
        // A switch that changes its source in the middle makes every phone start over.
        self.discontinuous += u64::from(self.ssrc.is_some() && when == When::Within);
        self.ssrc = Some(packet.ssrc);
        self.highest = (1 << 32) + u64::from(packet.seq);
        self.from = None;
        self.seen.clear();
        self.distinct = 0;
        self.origin = None;
        self.before = None;
        self.kept.clear();
    }

    /// The number with these low 16 bits that is nearest to the highest.
    fn extend(&self, seq: u16) -> u64 {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let low = self.highest as u16;
        let ahead = i64::from(seq.wrapping_sub(low).cast_signed());
        self.highest.saturating_add_signed(ahead)
    }

    fn is_first(&mut self, index: u64) -> bool {
        let word = usize::try_from(index / 64).unwrap_or(usize::MAX);
        let bit = 1_u64 << (index % 64);
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }

    fn check_clock(
        &mut self,
        packet: &Arrived<'_>,
        number: u64,
        codec: (CodecKind, u32),
        jitter_ns: &mut Histogram<u64>,
    ) {
        let origin = Some(origin(packet, number, codec.1));
        if let Some((now, before)) = origin.zip(self.origin)
            && now != before
        {
            self.discontinuous += 1;
            let ahead = RtpTimestamp(now).ahead_of(RtpTimestamp(before));
            let frames = u64::try_from(ahead).unwrap_or(0) / u64::from(codec.1);
            // A leap is another beginning, not sound left out.
            self.skipped += if frames < SKIP_FRAMES_MAX { frames } else { 0 };
        }
        self.origin = origin;
        if let Some((at_ns, timestamp)) = self.before {
            let ticks = RtpTimestamp(packet.timestamp).ahead_of(RtpTimestamp(timestamp));
            let meant_ns = i64::from(ticks) * 1_000_000_000 / i64::from(codec.0.clock_hz());
            let took_ns = packet.at_ns.cast_signed() - at_ns.cast_signed();
            jitter_ns.saturating_record(took_ns.abs_diff(meant_ns).max(1));
        }
        self.before = Some((packet.at_ns, packet.timestamp));
    }

    fn keep(&mut self, packet: &Arrived<'_>, number: u64) {
        if self.keeps && self.kept.len() < KEPT_PACKETS {
            self.kept.push(Kept {
                number,
                at_ns: packet.at_ns,
                payload: packet.payload.to_vec(),
            });
        }
    }

    /// Numbers between the first and the highest that never came, of the current source.
    fn open_gaps(&self) -> u64 {
        self.from
            .map_or(0, |from| (self.highest + 1).saturating_sub(from))
            .saturating_sub(self.distinct)
    }
}

/// The timestamp of number 0, going by this packet.
fn origin(packet: &Arrived<'_>, number: u64, ticks: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "RTP timestamps wrap")]
    let passed = number.wrapping_mul(u64::from(ticks)) as u32;
    packet.timestamp.wrapping_sub(passed)
}

/// The sending half: who speaks is always somewhere in the sound.
#[derive(Clone, Debug)]
struct Speaker {
    sender: Sender,
    /// The frame of the sound it starts with, so that not all say the same at once.
    first_frame: usize,
    sent_before: u32,
    sent_within: u32,
    /// A packet since the window opened, and when it was sent.
    anchor: Option<(u32, u64)>,
}

/// Sound in two codecs: even parties, the callers, speak and hear PCMU, odd ones the other.
#[derive(Debug)]
pub(crate) struct Spoken {
    codecs: [Codec; 2],
    speakers: Vec<Speaker>,
    listeners: Vec<Listener>,
    outlets: Vec<Outlet>,
    window: Window,
    misrouted: u64,
    unstamped: u64,
    jitter_ns: Histogram<u64>,
}

/// What a run found. Only what arrived inside the window is counted, unless said otherwise.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Packets, each counted once.
    pub(crate) arrived: u64,
    /// Sent inside the window, and no packet came out for them until [`GRACE`] after it.
    pub(crate) missing: u64,
    /// Sequence numbers that never came.
    pub(crate) gaps: u64,
    /// Sequence numbers that came again.
    pub(crate) duplicate: u64,
    /// Came after a higher sequence number.
    pub(crate) reordered: u64,
    /// Timestamps that are not in step with the sequence numbers, and changes of the source.
    pub(crate) discontinuous: u64,
    /// Frames for which no packet was sent: the timestamp went on without one.
    pub(crate) skipped: u64,
    /// Not RTP, of another payload type than negotiated, or not 20 ms of the codec.
    pub(crate) malformed: u64,
    /// From another address than the one this party sends to.
    pub(crate) misrouted: u64,
    /// Packets without a kernel time (timed in user space instead).
    pub(crate) unstamped: u64,
    /// Mean octets of a payload at callers and callees.
    pub(crate) octets: [f64; 2],
    /// Deviation of the time between two packets from what their timestamps say.
    pub(crate) jitter_ns: Histogram<u64>,
    /// Share of the sound in what callers and callees heard, the worst of those listened to; 0
    /// when one of them heard nothing for two seconds.
    pub(crate) likeness: [f64; 2],
    /// How long the sound was under way, in nanoseconds, of those listened to.
    pub(crate) delay_ns: Histogram<u64>,
}

impl Spoken {
    /// Party `i` sends to `outlets[i]`; the callees speak `kind`.
    pub(crate) fn new(kind: CodecKind, outlets: &[Outlet]) -> Result<Self> {
        let codecs = [Codec::new(CodecKind::Pcmu)?, Codec::new(kind)?];
        // The seed is fixed, so that every run and every subject sees the same load.
        let mut random = fastrand::Rng::with_seed(0x7870_7370_6f6b_656e);
        let speaker = |(party, outlet): (usize, &Outlet)| Speaker {
            sender: Sender::new(outlet.payload_type, codecs[party % 2].ticks, &mut random),
            first_frame: random.usize(..LOOP_FRAMES),
            sent_before: 0,
            sent_within: 0,
            anchor: None,
        };
        let speakers = outlets.iter().enumerate().map(speaker).collect();
        let calls = outlets.len() / 2;
        let mut listeners = vec![Listener::default(); outlets.len()];
        for call in (0..calls).step_by(calls.div_ceil(SAMPLED_CALLS).max(1)) {
            for listener in &mut listeners[2 * call..2 * call + 2] {
                listener.keeps = true;
            }
        }
        Ok(Self {
            codecs,
            speakers,
            listeners,
            outlets: outlets.to_vec(),
            window: Window::default(),
            misrouted: 0,
            unstamped: 0,
            jitter_ns: super::histogram()?,
        })
    }

    /// What the audit found.
    pub(crate) fn outcome(&self) -> Result<Outcome> {
        let sum = |count: fn(&Listener) -> u64| self.listeners.iter().map(count).sum();
        let missing = self.listeners.iter().enumerate().map(|(party, listener)| {
            let sent = u64::from(self.speakers[party ^ 1].sent_within);
            sent.saturating_sub(listener.in_time)
        });
        let mut delay_ns = super::histogram()?;
        Ok(Outcome {
            arrived: sum(|l| l.within),
            missing: missing.sum(),
            gaps: sum(|l| l.gaps + l.open_gaps()),
            duplicate: sum(|l| l.duplicate),
            reordered: sum(|l| l.reordered),
            discontinuous: sum(|l| l.discontinuous),
            skipped: sum(|l| l.skipped),
            malformed: sum(|l| l.malformed),
            misrouted: self.misrouted,
            unstamped: self.unstamped,
            octets: [0, 1].map(|role| self.octets(role)),
            jitter_ns: self.jitter_ns.clone(),
            likeness: [
                self.listen(0, &mut delay_ns)?,
                self.listen(1, &mut delay_ns)?,
            ],
            delay_ns,
        })
    }

    /// Mean payload at the callers (0) or the callees (1).
    #[allow(
        clippy::cast_precision_loss,
        reason = "octets of a run are far below 2^52"
    )]
    fn octets(&self, role: usize) -> f64 {
        let listeners = self.listeners.iter().skip(role).step_by(2);
        let (octets, packets) = listeners.fold((0, 0), |(octets, packets), listener| {
            (octets + listener.octets, packets + listener.within)
        });
        octets as f64 / packets.max(1) as f64
    }

    /// The worst that the sampled callers (0) or callees (1) heard.
    fn listen(&self, role: usize, delay_ns: &mut Histogram<u64>) -> Result<f64> {
        let ear = Ear::new(self.codecs[role].kind)?;
        let mut worst: f64 = 1.0;
        let sampled = self.listeners.iter().enumerate().skip(role).step_by(2);
        for (party, listener) in sampled.filter(|(_, listener)| listener.keeps) {
            let Some((packets, start_ns)) = consecutive(&listener.kept) else {
                return Ok(0.0);
            };
            let Some(heard) = ear.listen(&packets)? else {
                return Ok(0.0);
            };
            worst = worst.min(heard.share);
            if let Some(delay) = self.speakers[party ^ 1].delay(heard.place, start_ns) {
                delay_ns.saturating_record(nanos(delay).max(1));
            }
        }
        Ok(worst)
    }
}

/// The kept packets in the order of their numbers, missing ones `None`, and when the one arrived
/// with which the last second starts. `None` when that or a second is missing.
fn consecutive(kept: &[Kept]) -> Option<(Vec<Option<&[u8]>>, u64)> {
    let first = kept.iter().map(|packet| packet.number).min()?;
    let mut packets: Vec<Option<&[u8]>> = vec![None; KEPT_PACKETS];
    let mut start_ns = None;
    for packet in kept {
        let index = usize::try_from(packet.number - first).ok()?;
        // The last ones have none when others are missing.
        if let Some(place) = packets.get_mut(index) {
            *place = Some(&packet.payload);
        }
        if index == KEPT_PACKETS - LOOP_FRAMES {
            start_ns = Some(packet.at_ns);
        }
    }
    Some((packets, start_ns?))
}

impl Speaker {
    /// How long the sound was under way that is at `place` and was heard from `at_ns` on, up to a
    /// second.
    fn delay(&self, place: Duration, at_ns: u64) -> Option<Duration> {
        const SECOND_NS: i128 = 1_000_000_000;
        /// Times and places are exact to 0.05 ms; what seems to come before it was sent, comes at
        /// once.
        const EARLY_NS: i128 = 1_000_000;
        let (number, sent_ns) = self.anchor?;
        let anchored = sound::place_of(number as usize + self.first_frame);
        let since = i128::from(at_ns) - i128::from(sent_ns);
        let passed = i128::from(nanos(place)) - i128::from(nanos(anchored));
        let delay = (since - passed).rem_euclid(SECOND_NS);
        let delay = if delay > SECOND_NS - EARLY_NS {
            0
        } else {
            delay
        };
        Some(Duration::from_nanos(u64::try_from(delay).ok()?))
    }
}

impl Traffic for Spoken {
    fn write(&mut self, party: usize, number: u32, packet: &mut [u8; PACKET_BYTES_MAX]) -> usize {
        let speaker = &mut self.speakers[party];
        let codec = &self.codecs[party % 2];
        let payload = &codec.payloads[(number as usize + speaker.first_frame) % LOOP_FRAMES];
        let length = RTP_HEADER_BYTES + payload.len();
        packet[..RTP_HEADER_BYTES].copy_from_slice(&speaker.sender.header(number));
        packet[RTP_HEADER_BYTES..length].copy_from_slice(payload);
        if self.window.opened.is_some() && speaker.anchor.is_none() {
            speaker.anchor = Some((number, unix_ns()));
        }
        length
    }

    fn open(&mut self, sent: &[u32]) {
        for (speaker, sent) in self.speakers.iter_mut().zip(sent) {
            speaker.sent_before = *sent;
        }
        self.window.opened = Some(unix_ns());
    }

    fn close(&mut self, sent: &[u32]) {
        for (speaker, sent) in self.speakers.iter_mut().zip(sent) {
            speaker.sent_within = sent - speaker.sent_before;
        }
        self.window.closed = Some(unix_ns());
    }

    fn hear(&mut self, party: usize, packet: &[u8], arrival: &probe::Arrival) {
        let at_ns = arrival.kernel_ns.unwrap_or_else(|| {
            self.unstamped += 1;
            unix_ns()
        });
        let when = self.window.place(at_ns);
        let outlet = self.outlets[party];
        if arrival.from != SocketAddr::V4(outlet.to) {
            self.misrouted += u64::from(when != When::Before);
            return;
        }
        let codec = &self.codecs[party % 2];
        let listener = &mut self.listeners[party];
        let Some(arrived) = read(packet, at_ns, outlet.payload_type, codec) else {
            listener.malformed += u64::from(when != When::Before);
            return;
        };
        listener.hear(
            &arrived,
            when,
            (codec.kind, codec.ticks),
            &mut self.jitter_ns,
        );
    }
}

/// `None` when it is not what was negotiated.
fn read<'p>(packet: &'p [u8], at_ns: u64, payload_type: u8, codec: &Codec) -> Option<Arrived<'p>> {
    let header = RtpHeader::parse(packet).ok()?;
    let payload = packet.get(header.payload_start..header.payload_end)?;
    (header.pt == payload_type && codec.is_frame(payload)).then_some(Arrived {
        ssrc: header.ssrc,
        seq: header.seq.0,
        timestamp: header.timestamp.0,
        at_ns,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::super::generator::{Generator, Parties, Plan};
    use super::*;

    const MS: u64 = 1_000_000;

    /// An audit of PCMU that counts from the first packet, whose number is `first`.
    struct Bench {
        listener: Listener,
        jitter_ns: Histogram<u64>,
        first: u16,
    }

    impl Bench {
        fn new(first: u16) -> Self {
            let jitter_ns = crate::tools::bench::histogram().unwrap();
            let listener = Listener::default();
            Self {
                listener,
                jitter_ns,
                first,
            }
        }

        /// The packet `n` after the first one arrives, late by so many milliseconds.
        fn hear(&mut self, n: u16, late_ms: u64, when: When) {
            self.hear_with(n, late_ms, when, 0, 7);
        }

        fn hear_with(&mut self, n: u16, late_ms: u64, when: When, ticks: u32, ssrc: u32) {
            let packet = Arrived {
                ssrc,
                seq: self.first.wrapping_add(n),
                timestamp: (u32::MAX - 1_000).wrapping_add(160 * u32::from(n) + ticks),
                at_ns: (1_000 + 20 * u64::from(n) + late_ms) * MS,
                payload: &[0xFF; 160],
            };
            let codec = (CodecKind::Pcmu, 160);
            self.listener
                .hear(&packet, when, codec, &mut self.jitter_ns);
        }

        fn gaps(&self) -> u64 {
            self.listener.gaps + self.listener.open_gaps()
        }
    }

    #[test]
    fn gaps_repetitions_and_disorder_are_told_apart() {
        let mut bench = Bench::new(65_530);
        // Warm-up ends with 2, of which 1 comes too late; 4 is lost; 6 comes twice; 9 before 8;
        // the numbers wrap meanwhile.
        for n in [0, 2] {
            bench.hear(n, 0, When::Before);
        }
        for n in [1, 3, 5, 6, 6, 7, 9, 8, 10] {
            bench.hear(n, 0, When::Within);
        }
        let listener = &bench.listener;
        assert_eq!(listener.within, 7);
        assert_eq!((listener.duplicate, listener.reordered), (1, 1));
        assert_eq!(bench.gaps(), 1);
        assert_eq!(listener.discontinuous, 0);
    }

    #[test]
    fn a_gap_at_the_edge_of_the_window_counts() {
        let mut bench = Bench::new(10);
        bench.hear(0, 0, When::Before);
        bench.hear(2, 0, When::Within);
        assert_eq!(bench.gaps(), 1);
    }

    #[test]
    fn stragglers_fill_gaps_but_are_not_in_time() {
        let mut bench = Bench::new(0);
        bench.hear(0, 0, When::Within);
        bench.hear(2, 0, When::Within);
        assert_eq!(bench.gaps(), 1);
        bench.hear(3, 0, When::Soon);
        bench.hear(1, 0, When::Late);
        assert_eq!(bench.gaps(), 0);
        assert_eq!((bench.listener.within, bench.listener.in_time), (2, 3));
        assert_eq!(bench.listener.reordered, 1);
    }

    #[test]
    fn timestamps_must_follow_the_numbers() {
        let mut bench = Bench::new(0);
        bench.hear(0, 0, When::Within);
        bench.hear(1, 0, When::Within);
        bench.hear_with(2, 0, When::Within, 1, 7);
        bench.hear_with(3, 0, When::Within, 1, 7);
        assert_eq!(bench.listener.discontinuous, 1);
        bench.hear(4, 0, When::Within);
        assert_eq!(bench.listener.discontinuous, 2);
        assert_eq!(bench.listener.skipped, 0);
        // Two frames left out, none of which had a number.
        bench.hear_with(5, 40, When::Within, 320, 7);
        bench.hear_with(6, 40, When::Within, 320, 7);
        assert_eq!(bench.listener.discontinuous, 3);
        assert_eq!(bench.listener.skipped, 2);
        let leap = 320 + 160 * u32::try_from(SKIP_FRAMES_MAX).unwrap();
        bench.hear_with(7, 40, When::Within, leap, 7);
        assert_eq!(bench.listener.skipped, 2);
        bench.hear_with(8, 40, When::Within, leap + 160 * 499, 7);
        assert_eq!(bench.listener.skipped, 501);
    }

    #[test]
    fn another_source_is_a_break_and_what_was_lost_before_stays_lost() {
        let mut bench = Bench::new(0);
        for n in [0, 1, 3] {
            bench.hear(n, 0, When::Within);
        }
        bench.hear_with(40_000, 0, When::Within, 0, 8);
        bench.hear_with(40_001, 0, When::Within, 0, 8);
        assert_eq!(bench.gaps(), 1);
        assert_eq!(
            (bench.listener.within, bench.listener.discontinuous),
            (5, 1)
        );
    }

    #[test]
    fn jitter_is_the_deviation_from_the_timestamps() {
        let mut bench = Bench::new(0);
        for (n, late_ms) in [(0, 0), (1, 0), (2, 30), (3, 10)] {
            bench.hear(n, late_ms, When::Within);
        }
        let mut found: Vec<u64> = bench
            .jitter_ns
            .iter_recorded()
            .map(|v| v.value_iterated_to())
            .collect();
        found.iter_mut().for_each(|ns| *ns = (*ns + MS / 2) / MS);
        assert_eq!(found, [0, 20, 30]);
    }

    #[test]
    fn the_window_has_a_time_of_grace() {
        let window = Window {
            opened: Some(100 * MS),
            closed: Some(200 * MS),
        };
        assert_eq!(Window::default().place(1), When::Before);
        assert_eq!(window.place(100 * MS - 1), When::Before);
        assert_eq!(window.place(100 * MS), When::Within);
        assert_eq!(window.place(200 * MS), When::Soon);
        assert_eq!(window.place(260 * MS - 1), When::Soon);
        assert_eq!(window.place(260 * MS), When::Late);
    }

    #[test]
    fn what_was_not_negotiated_is_malformed() {
        let codec = Codec::new(CodecKind::G722).unwrap();
        let sender = Sender::new(9, codec.ticks, &mut fastrand::Rng::with_seed(1));
        let mut packet = [&sender.header(1)[..], &codec.payloads[0]].concat();
        assert!(read(&packet, 0, 9, &codec).is_some());
        assert!(read(&packet, 0, 8, &codec).is_none());
        assert!(read(&packet[..171], 0, 9, &codec).is_none());
        packet[0] = 0;
        assert!(read(&packet, 0, 9, &codec).is_none());
        let opus = Codec::new(CodecKind::Opus).unwrap();
        assert_eq!((opus.ticks, codec.ticks), (960, 160));
        // Configuration 9, mono, code 1: two frames of 20 ms (RFC 6716 section 3.1).
        assert!(opus.payloads.iter().all(|payload| opus.is_frame(payload)));
        assert!(!opus.is_frame(&[0b0100_1001, 0, 0]));
        assert!(!opus.is_frame(&[]));
    }

    fn talk(kind: CodecKind, window_ms: u64) -> (u64, Outcome) {
        let parties = Parties::open(4).unwrap();
        // With no switch in between, PCMU on both sides is heard as it was sent.
        let to: Vec<_> = (0..4).map(|i| parties.address(i ^ 1)).collect();
        let pt_of = |i| {
            if i % 2 == 1 && kind == CodecKind::Opus {
                96
            } else {
                0
            }
        };
        let outlets: Vec<_> = (0..4)
            .map(|i| Outlet {
                to: to[i],
                payload_type: pt_of(i),
            })
            .collect();
        let spoken = Spoken::new(kind, &outlets).unwrap();
        let plan = Plan {
            warm: Duration::from_millis(100),
            window: Duration::from_millis(window_ms),
        };
        let generator = Generator::new(&parties, &to, spoken).unwrap();
        let (paced, spoken) = generator.run(plan, || ()).unwrap();
        (paced.sent, spoken.outcome().unwrap())
    }

    #[test]
    fn parties_that_speak_the_same_hear_each_other_at_once() {
        let (sent, outcome) = talk(CodecKind::Pcmu, 2_300);
        assert!(
            outcome.arrived.abs_diff(sent) <= 4,
            "{sent} {}",
            outcome.arrived
        );
        assert_eq!(
            (outcome.missing, outcome.gaps, outcome.reordered),
            (0, 0, 0)
        );
        assert_eq!(
            (outcome.discontinuous, outcome.malformed, outcome.misrouted),
            (0, 0, 0)
        );
        assert_eq!(outcome.octets, [160.0, 160.0]);
        assert!(
            outcome.likeness.iter().all(|share| *share > 0.99),
            "{:?}",
            outcome.likeness
        );
        assert_eq!(outcome.delay_ns.len(), 4);
        // Generous: the machine may be busy.
        assert!(
            outcome.delay_ns.value_at_quantile(0.5) < 20 * MS,
            "{:?}",
            outcome.delay_ns.max()
        );
    }

    #[test]
    fn parties_that_speak_differently_need_a_switch() {
        let (sent, outcome) = talk(CodecKind::Opus, 200);
        assert_eq!((outcome.arrived, outcome.missing), (0, sent));
        assert!(outcome.malformed >= sent);
        assert_eq!(outcome.likeness, [0.0, 0.0]);
    }
}
