//! A sender, a network given packet by packet, and the playout buffer, in virtual time.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::opus;
use crosspoint::engine::Micros;
use crosspoint::engine::playout::{PacketInfo, Playout, PlayoutConfig, Voice};
use crosspoint::wire::seq::{RtpTimestamp, SequenceNumber};

const PT: u8 = 96;
const PTIME_US: u64 = 20_000;
/// How often the receiver reports (RFC 3550 section 6.2: five seconds), and how long a report is on
/// its way.
const REPORT_US: u64 = 5_000_000;
const REPORT_WAY_US: u64 = 50_000;
/// So many packets are sent at the end and not waited for.
const TAIL: usize = 10;
/// More than any payload here.
const PAYLOAD_LEN_MAX: usize = 1_500;

/// Sends speech through a network into a playout buffer.
///
/// The first line of the output is JSON, with `positions`: for each pull, which sample of the input
/// was to be played next. The samples follow it.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    codec: Codec,
    /// For each packet its transit in microseconds, or `-` if it is lost, separated by commas.
    transits: String,
    /// Whether Opus carries each frame a second time.
    #[arg(long, value_enum, default_value_t = Fec::Reports)]
    fec: Fec,
    /// Who fills what is missing.
    #[arg(long, value_enum, default_value_t = Filler::Ours)]
    filler: Filler,
    /// What Opus may spend, 0 to 10, if not what the switch's encoders do.
    #[arg(long)]
    complexity: Option<u8>,
    /// A fixed playout delay in milliseconds.
    #[arg(long)]
    fixed_ms: Option<u16>,
    /// The sender's clock is slower by this.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    ppm: f64,
    /// When the first pull takes place, in microseconds.
    #[arg(long, default_value_t = 7_000)]
    phase_us: u64,
    /// Counters leave out what happened before this sample of the input was played.
    #[arg(long, default_value_t = 0)]
    from: i64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Codec {
    G711,
    G722,
    Opus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fec {
    Off,
    /// Always, as if five per cent were lost, and at complexity 10: with less, libopus 1.3 finds no
    /// room for it at 24 kbit/s.
    On,
    /// By the loss that the receiver reports.
    Reports,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Filler {
    /// The switch's concealment, or the codec's.
    Ours,
    /// Nobody: silence.
    Silence,
}

impl Codec {
    pub(crate) fn config(self) -> CodecConfig {
        CodecConfig::new(match self {
            Self::G711 => CodecKind::Pcmu,
            Self::G722 => CodecKind::G722,
            Self::Opus => CodecKind::Opus,
        })
    }
}

/// A decoder that may have been told to leave gaps.
struct Ear(Decoder, Filler);

impl Voice for Ear {
    fn pcm_hz(&self) -> u32 {
        self.0.pcm_hz()
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        self.0.samples(payload).ok()
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Option<usize> {
        self.0.decode(payload, out).ok()
    }

    fn conceals(&self) -> bool {
        self.1 == Filler::Silence || Voice::conceals(&self.0)
    }

    fn conceal(&mut self, out: &mut [i16]) -> bool {
        if self.1 == Filler::Silence {
            out.fill(0);
            return true;
        }
        Voice::conceal(&mut self.0, out)
    }

    fn decode_fec(&mut self, next_payload: &[u8], out: &mut [i16]) -> bool {
        self.1 == Filler::Ours && self.0.decode_fec(next_payload, out)
    }

    fn mends_before(&self, next_payload: &[u8]) -> bool {
        self.1 == Filler::Ours && self.0.mends_before(next_payload)
    }

    fn follows(&self) -> Option<usize> {
        self.0.follows().filter(|_| self.1 == Filler::Ours)
    }

    fn follow(&mut self, played: &[i16]) {
        self.0.follow(played);
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// The sending party: encodes a packet when its time has come, and reads reports.
struct Sender<'a> {
    pcm: &'a [i16],
    encoder: Encoder,
    fec: Fec,
    frame: usize,
    clock_ticks: u32,
    period_us: f64,
    transits: Vec<Option<u64>>,
    next: usize,
    /// Arrival, number and payload, latest first.
    on_the_way: Vec<(u64, usize, Vec<u8>)>,
    reported: usize,
    redundant: Vec<bool>,
    octets: usize,
}

impl Sender<'_> {
    fn sent_at_us(&self, n: usize) -> u64 {
        micros(n as f64 * self.period_us)
    }

    /// Sends what is due.
    fn send_until(&mut self, now_us: u64) -> Result<()> {
        while self.next < self.transits.len() && self.sent_at_us(self.next) <= now_us {
            let n = self.next;
            self.read_reports(n);
            let mut payload = vec![0; PAYLOAD_LEN_MAX];
            let pcm = &self.pcm[n * self.frame..(n + 1) * self.frame];
            let len = self.encoder.encode(pcm, &mut payload)?;
            payload.truncate(len);
            self.octets += len;
            self.redundant
                .push(self.fec != Fec::Off && opus::has_fec(&payload));
            if let Some(transit_us) = self.transits[n] {
                let at = self.sent_at_us(n) + transit_us;
                let place = self.on_the_way.partition_point(|other| other.0 > at);
                self.on_the_way.insert(place, (at, n, payload));
            }
            self.next += 1;
        }
        Ok(())
    }

    /// The loss of the interval before the latest report, as the switch reads it: in 256ths.
    fn read_reports(&mut self, n: usize) {
        let interval = usize::try_from(REPORT_US / PTIME_US).unwrap_or(usize::MAX);
        let way = usize::try_from(REPORT_WAY_US.div_ceil(PTIME_US)).unwrap_or(0);
        let until = self.reported + interval;
        if self.fec != Fec::Reports || n < until + way {
            return;
        }
        let missing = self.transits[self.reported..until]
            .iter()
            .filter(|transit| transit.is_none())
            .count();
        let fraction = missing * 256 / interval;
        self.encoder
            .set_loss(u16::try_from(fraction * 125 / 32).unwrap_or(1_000));
        self.reported = until;
    }
}

/// What is heard, behind what is reported as JSON.
pub(crate) fn run(arguments: &Arguments, pcm: &[i16]) -> Result<(serde_json::Value, Vec<i16>)> {
    let mut config = arguments.codec.config();
    config.opus.complexity = match (arguments.complexity, arguments.fec) {
        (Some(complexity), _) => complexity,
        (None, Fec::On) => 10,
        (None, _) => config.opus.complexity,
    };
    let pcm_hz = config.pcm_hz();
    let frame = pcm_hz as usize / 50;
    let transits: Vec<Option<u64>> = arguments
        .transits
        .split(',')
        .map(|text| match text {
            "-" => Ok(None),
            us => us.parse().map(Some).context("no transit"),
        })
        .collect::<Result<_>>()?;
    if pcm.len() < transits.len() * frame {
        bail!("more packets than sound");
    }
    let mut encoder = Encoder::new(&config)?;
    if arguments.fec == Fec::On {
        encoder.set_loss(50);
    }
    let fastest_us = transits.iter().flatten().copied().min().unwrap_or(0);
    let mut sender = Sender {
        pcm,
        encoder,
        fec: arguments.fec,
        frame,
        clock_ticks: config.kind.clock_hz() / 50,
        period_us: PTIME_US as f64 * (1.0 + arguments.ppm / 1e6),
        transits,
        next: 0,
        on_the_way: Vec::new(),
        reported: 0,
        redundant: Vec::new(),
        octets: 0,
    };
    let mut playout = Playout::new(PlayoutConfig {
        fixed_ms: arguments.fixed_ms,
        pcm_hz,
        ..PlayoutConfig::default()
    })?;
    let ear = Ear(Decoder::new(&config)?, arguments.filler);
    playout.set_decoder(PT, config.kind.clock_hz(), ear)?;

    let (mut out, mut positions, mut at_start) = (Vec::new(), Vec::new(), None);
    let (mut origin, mut delay_us, mut pulls) = (None, 0.0, 0);
    // The last packets may be lost, and then nothing comes after them.
    let end = i64::try_from(sender.transits.len().saturating_sub(TAIL) * frame)?;
    let mut now_us = arguments.phase_us;
    loop {
        sender.send_until(now_us)?;
        while let Some((at, n, payload)) = sender.on_the_way.pop_if(|next| next.0 <= now_us) {
            let info = PacketInfo {
                ssrc: 1,
                seq: SequenceNumber(n as u16),
                timestamp: RtpTimestamp(n as u32 * sender.clock_ticks),
                pt: PT,
                marker: n == 0,
            };
            playout.insert(Micros(at), &info, &payload);
            // The playout's line of media begins with the first packet's arrival.
            let media = i64::try_from(at * u64::from(pcm_hz) / 1_000_000)?;
            origin.get_or_insert(media - i64::try_from(n * frame)?);
        }
        let position = match (playout.position(), origin) {
            (Some(position), Some(origin)) => position - origin,
            _ => 0,
        };
        if position >= end || sender.on_the_way.is_empty() && sender.next == sender.transits.len() {
            break;
        }
        if position >= arguments.from {
            at_start.get_or_insert_with(|| (playout.stats(), sender.next));
            let sent_us = position as f64 / frame as f64 * sender.period_us;
            delay_us += now_us as f64 - sent_us - fastest_us as f64;
            pulls += 1;
        }
        positions.push(position);
        let mut piece = vec![0; frame];
        playout.pull(Micros(now_us), &mut piece);
        out.extend(piece);
        now_us += PTIME_US;
    }
    let (before, first) = at_start.unwrap_or_default();
    let after = playout.stats();
    let packets = (sender.next - first).max(1) as f64;
    let late = |s: crosspoint::engine::playout::PlayoutStats| s.late + s.waited + s.discarded;
    let redundant = sender.redundant[first..].iter().filter(|r| **r).count();
    let per_second: Vec<usize> = sender
        .redundant
        .chunks(50)
        .map(|second| second.iter().filter(|r| **r).count())
        .collect();
    let report = serde_json::json!({
        "positions": positions,
        "frame": frame,
        "delay_ms": delay_us / f64::from(pulls.max(1)) / 1e3,
        "late_percent": 100.0 * (late(after) - late(before)) as f64 / packets,
        "concealed_percent":
            100.0 * (after.concealed_ms - before.concealed_ms) as f64 / (20.0 * packets),
        "restored_percent": 100.0 * (after.restored - before.restored) as f64 / packets,
        "redundant_percent": 100.0 * redundant as f64 / packets,
        "redundant_per_second": per_second,
        "kbit_per_s": sender.octets as f64 * 8.0 / (20.0 * sender.next as f64),
        "stretches": after.stretches - before.stretches,
    });
    Ok((report, out))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of this program are small and positive"
)]
fn micros(us: f64) -> u64 {
    us as u64
}
