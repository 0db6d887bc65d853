//! Senders with clocks of their own, a network between, and a recorder's track: all in virtual
//! time.
//!
//! What is said is a function of true time, in seconds. A sender samples it by its own clock; so
//! what a recording holds at `t` must be what was said at `t`, less the delay of the network and
//! of the codec.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shared by test programs that each use a part; test data is far inside every range"
)]

pub mod heard;
pub mod plan;

use std::f64::consts::TAU;
use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::opus::OpusConfig;
use crosspoint::engine::{Taped, TrackIx, TrackKind, TrackType};
use crosspoint::record::span::{Span, SpanKind};
use crosspoint::record::track::{SETTLE, Track};

pub const PCMU: u8 = 0;
pub const PCMA: u8 = 8;
pub const G722: u8 = 9;
pub const NOISE: u8 = 13;
pub const L16: u8 = 96;
pub const OPUS: u8 = 111;
pub const OTHER: u8 = 120;

/// Seconds between two markers, and half of the time in which one is looked for.
pub const MARKER_S: f64 = 10.0;
const AROUND_S: f64 = 0.03;

/// Packets are of 20 ms.
pub const FRAME_S: f64 = 0.02;

pub fn types() -> Vec<TrackType> {
    let sound = |pt, kind| TrackType {
        pt,
        kind: TrackKind::Sound(kind),
    };
    let other = |pt, kind| TrackType { pt, kind };
    vec![
        sound(PCMU, CodecKind::Pcmu),
        sound(PCMA, CodecKind::Pcma),
        sound(G722, CodecKind::G722),
        sound(L16, kind_of(L16)),
        sound(OPUS, CodecKind::Opus),
        other(NOISE, TrackKind::Noise { clock_hz: 8_000 }),
        other(OTHER, TrackKind::Opaque { clock_hz: 8_000 }),
    ]
}

/// Short pulses of 1 kHz, one each [`MARKER_S`], the first at so many seconds.
pub fn markers(t: f64) -> f64 {
    let from = (t + MARKER_S / 2.0).rem_euclid(MARKER_S) - MARKER_S / 2.0;
    if from.abs() > 0.012 {
        return 0.0;
    }
    20_000.0 * (-(from / 0.003).powi(2)).exp() * (TAU * 1_000.0 * from).cos()
}

pub fn tone(hz: f64) -> impl Fn(f64) -> f64 {
    move |t| 8_000.0 * (TAU * hz * t).sin()
}

/// How packets travel.
#[derive(Clone)]
pub struct Network {
    pub delay_s: f64,
    pub jitter_s: f64,
    pub loss: f64,
}

pub const CLEAN: Network = Network {
    delay_s: 0.0,
    jitter_s: 0.0,
    loss: 0.0,
};

pub const ROUGH: Network = Network {
    delay_s: 0.0,
    jitter_s: 0.08,
    loss: 0.05,
};

/// One packet as it comes.
#[derive(Clone)]
pub struct Arrival {
    pub at_s: f64,
    pub rtp: Vec<u8>,
    pub event: bool,
    pub silenced: bool,
    pub veiled: bool,
}

impl Arrival {
    pub fn give(&self, track: &mut Track) {
        let mut rtp = self.rtp.clone();
        track.packet(Taped {
            at: Duration::from_micros((self.at_s * 1e6).round() as u64),
            track: TrackIx(0),
            event: self.event,
            veiled: self.veiled,
            silenced: self.silenced,
            rtp: &mut rtp,
        });
    }
}

/// A sender. Its fields may be changed while it talks.
pub struct Talker {
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub ppm: f64,
    pub marker: bool,
    pub veiled: bool,
    pub silenced: bool,
    pub network: Network,
    pt: u8,
    kind: CodecKind,
    encoder: Encoder,
    random: fastrand::Rng,
    /// True time of its next sample.
    pub now_s: f64,
    pub sent: Vec<Arrival>,
}

impl Talker {
    pub fn new(pt: u8, ppm: f64, network: Network, seed: u64) -> Self {
        Self {
            ssrc: 1,
            seq: 65_000,
            timestamp: u32::MAX - 400_000,
            ppm,
            marker: false,
            veiled: false,
            silenced: false,
            network,
            pt,
            kind: kind_of(pt),
            encoder: encoder(kind_of(pt)),
            random: fastrand::Rng::with_seed(seed),
            now_s: 0.0,
            sent: Vec::new(),
        }
    }

    /// Another codec from now on, with timestamps of its clock.
    pub fn codec(&mut self, pt: u8) {
        (self.pt, self.kind) = (pt, kind_of(pt));
        self.encoder = encoder(self.kind);
    }

    fn speed(&self) -> f64 {
        1.0 + self.ppm * 1e-6
    }

    /// Says it until a true time.
    pub fn say(&mut self, until_s: f64, said: impl Fn(f64) -> f64) {
        let mut octets = [0; 1_500];
        while self.now_s < until_s - 1e-6 {
            let rate = f64::from(self.encoder.pcm_hz()) * self.speed();
            let len = (f64::from(self.encoder.pcm_hz()) * FRAME_S) as usize;
            let at = |n: usize| self.now_s + n as f64 / rate;
            let pcm: Vec<i16> = (0..len).map(|n| said(at(n)).round() as i16).collect();
            if self.kind == CodecKind::Pcmu && pcm.iter().all(|sample| *sample == 0) {
                self.send(self.pt, &[0xff; 160], false);
            } else {
                let count = self.encoder.encode(&pcm, &mut octets).unwrap();
                self.send(self.pt, &octets[..count], false);
            }
            self.pass(FRAME_S);
        }
    }

    /// A packet now; the clock does not go on.
    pub fn send(&mut self, pt: u8, payload: &[u8], event: bool) {
        let mut rtp = vec![0x80, pt | u8::from(std::mem::take(&mut self.marker)) << 7];
        rtp.extend(self.seq.to_be_bytes());
        rtp.extend(self.timestamp.to_be_bytes());
        rtp.extend(self.ssrc.to_be_bytes());
        if !event && !self.silenced {
            rtp.extend(payload);
        }
        self.seq = self.seq.wrapping_add(1);
        let late_s = self.network.jitter_s * self.random.f64();
        let arrival = Arrival {
            at_s: self.now_s + self.network.delay_s + late_s,
            rtp,
            event,
            silenced: self.silenced,
            veiled: self.veiled,
        };
        if self.random.f64() >= self.network.loss {
            self.sent.push(arrival);
        }
    }

    /// So much of its own time passes.
    pub fn pass(&mut self, own_s: f64) {
        let ticks = (own_s * f64::from(self.kind.clock_hz())).round();
        self.timestamp = self.timestamp.wrapping_add(ticks as u32);
        self.now_s += ticks / f64::from(self.kind.clock_hz()) / self.speed();
    }

    /// So much of its own time passes, and timestamps stand.
    pub fn stop(&mut self, own_s: f64) {
        let before = self.timestamp;
        self.pass(own_s);
        self.timestamp = before;
    }
}

fn kind_of(pt: u8) -> CodecKind {
    match pt {
        PCMA => CodecKind::Pcma,
        G722 => CodecKind::G722,
        OPUS => CodecKind::Opus,
        L16 => CodecKind::L16 {
            rate_hz: 8_000,
            channels: 1,
        },
        _ => CodecKind::Pcmu,
    }
}

fn config(kind: CodecKind, rate_hz: u32) -> CodecConfig {
    CodecConfig {
        kind,
        opus: OpusConfig::at(rate_hz),
        g722_hz: rate_hz.min(16_000),
    }
}

fn encoder(kind: CodecKind) -> Encoder {
    Encoder::new(&config(kind, 48_000)).unwrap()
}

/// Seconds by which what comes out of a codec, for recordings of a rate, is later than what went
/// in.
pub fn codec_delay_s(pt: u8, rate_hz: u32) -> f64 {
    let (mut encoder, kind) = (encoder(kind_of(pt)), kind_of(pt));
    let mut decoder = Decoder::new(&config(kind, rate_hz)).unwrap();
    let rate = encoder.pcm_hz();
    let len = rate as usize / 50;
    let (mut out, mut octets) = (Vec::new(), [0; 1_500]);
    for frame in 0..50 {
        let at = |n: usize| 9.5 + (frame * len + n) as f64 / f64::from(rate);
        let pcm: Vec<i16> = (0..len).map(|n| markers(at(n)).round() as i16).collect();
        let count = encoder.encode(&pcm, &mut octets).unwrap();
        let mut pcm = vec![0; decoder.samples(&octets[..count]).unwrap()];
        decoder.decode(&octets[..count], &mut pcm).unwrap();
        out.extend(pcm);
    }
    centre(&out, decoder.pcm_hz(), 0.5) - 0.5
}

/// What became of packets.
pub struct Recorded {
    pub rate_hz: u32,
    pub pcm: Vec<i16>,
    pub spans: Vec<Span>,
    pub track: Track,
}

/// Records what was sent for so many seconds: a poll each 40 ms, as the recorder does.
pub fn record(rate_hz: u32, length_s: f64, sent: Vec<Arrival>) -> Recorded {
    record_with(rate_hz, length_s, sent, |_, _| {})
}

/// The same, with something to be done to the track at each poll.
pub fn record_with(
    rate_hz: u32,
    length_s: f64,
    mut sent: Vec<Arrival>,
    mut at_poll: impl FnMut(f64, &mut Track),
) -> Recorded {
    sent.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let mut track = Track::new(rate_hz);
    track.set_types(&types());
    let (mut pcm, mut spans) = (Vec::new(), Vec::new());
    let mut sent = sent.into_iter().peekable();
    let total = (length_s * f64::from(rate_hz)).round() as usize;
    let mut poll = 0;
    while pcm.len() < total {
        poll += 1;
        let now_s = f64::from(poll) * 0.04;
        at_poll(now_s, &mut track);
        while let Some(arrival) = sent.next_if(|arrival| arrival.at_s <= now_s) {
            arrival.give(&mut track);
        }
        let final_s = now_s - SETTLE.as_secs_f64();
        let until = (final_s.max(0.0) * f64::from(rate_hz)).round() as usize;
        let mut out = vec![0x5555; until.min(total).saturating_sub(pcm.len())];
        track.read(&mut out, &mut spans);
        pcm.extend(out);
    }
    Recorded {
        rate_hz,
        pcm,
        spans,
        track,
    }
}

impl Recorded {
    /// Seconds by which markers are later than they should be by a network's delay, with the time
    /// of each; those that were harmed by a loss are left out.
    pub fn marker_errors(&self, delay_s: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let length_s = self.pcm.len() as f64 / f64::from(self.rate_hz);
        let mut errors = Vec::new();
        let mut at = MARKER_S;
        while at < length_s - 1.0 {
            let here = at + delay_s(at);
            let harmed = |span: &Span| {
                let from = span.from.as_secs_f64() - AROUND_S;
                (from..span.until.as_secs_f64() + AROUND_S).contains(&here)
            };
            if !self.spans.iter().any(harmed) {
                errors.push((at, centre(&self.pcm, self.rate_hz, here) - here));
            }
            at += MARKER_S;
        }
        errors
    }

    /// Largest error of a marker in seconds, less a delay; at least so many must be found.
    pub fn worst_marker(&self, delay_s: f64, least: usize) -> f64 {
        let errors = self.marker_errors(|_| delay_s);
        assert!(errors.len() >= least, "{} markers of {least}", errors.len());
        let off = errors.iter().map(|(_, error)| error.abs());
        off.fold(0.0, f64::max)
    }

    /// Seconds of a kind in a stretch.
    pub fn seconds_of(&self, kind: SpanKind, from_s: f64, until_s: f64) -> f64 {
        let part = |span: &Span| {
            let from = span.from.as_secs_f64().max(from_s);
            (span.until.as_secs_f64().min(until_s) - from).max(0.0)
        };
        let spans = self.spans.iter().filter(|span| span.kind == kind);
        spans.map(part).sum()
    }

    pub fn piece(&self, from_s: f64, until_s: f64) -> &[i16] {
        let at = |s: f64| (s * f64::from(self.rate_hz)).round() as usize;
        &self.pcm[at(from_s)..at(until_s)]
    }
}

/// Where the energy around a time lies; infinite if there is none.
pub fn centre(pcm: &[i16], rate_hz: u32, at_s: f64) -> f64 {
    let rate = f64::from(rate_hz);
    let from = ((at_s - AROUND_S) * rate).round() as usize;
    let until = ((at_s + AROUND_S) * rate).round() as usize;
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (n, sample) in pcm[from..until.min(pcm.len())].iter().enumerate() {
        let energy = f64::from(*sample).powi(2);
        sum += energy;
        weighted += energy * n as f64;
    }
    match sum > 1e6 {
        true => (from as f64 + weighted / sum) / rate,
        false => f64::INFINITY,
    }
}

pub fn rms(pcm: &[i16]) -> f64 {
    let sum: f64 = pcm.iter().map(|x| f64::from(*x).powi(2)).sum();
    (sum / pcm.len() as f64).sqrt()
}

/// Distortion and noise against a tone, in dB: all that a notch at the tone lets pass, of the
/// quality that AES17 has for it (1.2 to 3).
pub fn noise_db(pcm: &[i16], rate_hz: u32, hz: f64) -> f64 {
    let omega = TAU * hz / f64::from(rate_hz);
    let (alpha, cos) = (omega.sin() / (2.0 * 3.0), omega.cos());
    let (mut x1, mut x2, mut y1, mut y2) = (0.0, 0.0, 0.0, 0.0);
    let settling = rate_hz as usize / 5;
    let mut rest = 0.0;
    for (n, sample) in pcm.iter().enumerate() {
        let x = f64::from(*sample);
        let y = (x - 2.0 * cos * x1 + x2 + 2.0 * cos * y1 - (1.0 - alpha) * y2) / (1.0 + alpha);
        (x2, x1, y2, y1) = (x1, x, y1, y);
        if n >= settling {
            rest += y * y;
        }
    }
    let rest = (rest / (pcm.len() - settling) as f64).sqrt();
    20.0 * (rest / rms(pcm)).log10()
}
