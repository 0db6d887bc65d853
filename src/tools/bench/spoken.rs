//! The traffic of `bench transcode`: real sound in real codecs, and an audit of what a switch made
//! of it.
//!
//! Nothing of a payload survives a change of codec, so the audit goes by what every phone goes by:
//! sequence numbers, timestamps and times of arrival (see [`super::heard`]). The sound of a few
//! streams is decoded and recognised.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::generator::{
    PACKET_BYTES_MAX, PACKET_INTERVAL, RTP_HEADER_BYTES, Sender, Traffic, nanos, unix_ns,
};
use super::heard::{Arrived, Listener, When, Window, consecutive};
use super::load::Outlet;
use super::sound::{self, Ear, LOOP_FRAMES};
use crate::audio::codec::{CodecKind, Decoder};
use crate::plane::probe;
use crate::wire::rtp::RtpHeader;

/// Calls whose sound is listened to, in both directions.
const SAMPLED_CALLS: usize = 4;

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
