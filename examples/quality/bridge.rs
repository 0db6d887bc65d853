//! A call of parties that hear each other, of whom one speaks: decode, playout, mix, encode.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::{
    BridgeConfig, BridgeIx, Call, CallConfig, CallKey, Change, Component, Heard, Idle, Learn,
    LearnPace, LegIx, Member, Output, Payload, PayloadType, PlayoutBounds, PortHandle, Privacy,
    Remote, Spoken, StreamConfig, StreamIx, Timers, Via, Voice,
};

const PTIME: Duration = Duration::from_millis(20);
const HEADER_LEN: usize = 12;

/// Lets one party of a bridge speak, over a network without fault, and gives what the last hears.
///
/// The first line of the output is JSON, with the time in milliseconds between the arrival of a
/// packet and the departure of the one that carries its sound. The samples follow it.
#[derive(Args, Debug)]
pub(crate) struct Bridge {
    /// What all parties speak.
    codec: Law,
    /// How many they are. 0 and 1: no call, but encoded and decoded once, or twice in a row, as a
    /// bridge does.
    parties: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Law {
    Pcmu,
    Pcma,
    G722,
}

impl Law {
    fn kind(self) -> (u8, CodecKind) {
        match self {
            Self::Pcmu => (0, CodecKind::Pcmu),
            Self::Pcma => (8, CodecKind::Pcma),
            Self::G722 => (9, CodecKind::G722),
        }
    }
}

impl Bridge {
    pub(crate) fn run(&self, pcm: &[i16]) -> Result<(serde_json::Value, Vec<i16>)> {
        let (pt, kind) = self.codec.kind();
        let config = CodecConfig::new(kind);
        if self.parties < 2 {
            let mut out = coded(config, pcm)?;
            if self.parties == 1 {
                out = coded(config, &out)?;
            }
            return Ok((serde_json::json!({ "first_ms": 0 }), out));
        }
        let mut encoder = Encoder::new(&config)?;
        let mut decoder = Decoder::new(&config)?;
        let frame = config.pcm_hz() as usize / 50;
        let mut room = Room::new(self.parties, pt, config)?;
        for (n, pcm) in pcm.chunks_exact(frame).enumerate() {
            let mut payload = vec![0; 2 * frame];
            let len = encoder.encode(pcm, &mut payload)?;
            room.say(pt, n as u32, &payload[..len]);
        }
        room.wait(Duration::from_secs(1));
        let (first_ms, _) = room.heard.first().context("nothing was heard")?;
        let mut out = Vec::new();
        for (_, payload) in &room.heard {
            append(&mut decoder, payload, &mut out)?;
        }
        Ok((serde_json::json!({ "first_ms": first_ms }), out))
    }
}

/// What a codec makes of samples.
fn coded(config: CodecConfig, pcm: &[i16]) -> Result<Vec<i16>> {
    let mut encoder = Encoder::new(&config)?;
    let mut decoder = Decoder::new(&config)?;
    let frame = config.pcm_hz() as usize / 50;
    let (mut payload, mut out) = (vec![0; 2 * frame], Vec::new());
    for pcm in pcm.chunks_exact(frame) {
        let len = encoder.encode(pcm, &mut payload)?;
        append(&mut decoder, &payload[..len], &mut out)?;
    }
    Ok(out)
}

fn append(decoder: &mut Decoder, payload: &[u8], out: &mut Vec<i16>) -> Result<()> {
    let start = out.len();
    out.resize(start + decoder.samples(payload)?, 0);
    decoder.decode(payload, &mut out[start..])?;
    Ok(())
}

/// A call in virtual time.
struct Room {
    call: Call,
    start: Instant,
    now: Instant,
    listener: PortHandle,
    /// What the last party is sent, with milliseconds since the start.
    heard: Vec<(u64, Vec<u8>)>,
}

impl Room {
    fn new(parties: u16, pt: u8, codec: CodecConfig) -> Result<Self> {
        ensure!(parties >= 2, "a bridge has at least two parties");
        let start = Instant::now();
        let key = CallKey {
            slot: 1,
            generation: 1,
        };
        let config = CallConfig {
            key,
            seed: 1,
            timers: Timers::default(),
        };
        let mut room = Self {
            call: Call::new(config, start),
            start,
            now: start,
            listener: PortHandle(u32::from(parties - 1)),
            heard: Vec::new(),
        };
        for n in 0..parties {
            room.enter(n, pt, codec)?;
        }
        let member = |n| Member {
            stream: StreamIx(n),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        };
        let bridge = BridgeConfig {
            members: (0..parties).map(member).collect(),
            // Two who may both be heard would be relayed; only one of them talks.
            loudest: u8::from(parties == 2),
            ..BridgeConfig::default()
        };
        room.apply(Change::Bridge(BridgeIx(0), Box::new(bridge)))?;
        Ok(room)
    }

    fn enter(&mut self, n: u16, pt: u8, codec: CodecConfig) -> Result<()> {
        let ix = StreamIx(n);
        self.apply(Change::AddStream(StreamConfig {
            leg: LegIx(n),
            media: 0,
            payload: Payload::Rtp,
            privacy: Privacy::Masked,
            own_rtcp: false,
        }))?;
        let port = PortHandle(u32::from(n));
        self.call
            .set_port(ix, Component::Rtp, port)
            .ok()
            .context("no port")?;
        self.apply(Change::Remote(ix, remote(n)))?;
        self.apply(Change::Voice(
            ix,
            Box::new(Voice {
                hears: [Heard { pt, codec }].into_iter().collect(),
                speaks: Some(Spoken {
                    pt,
                    codec,
                    ptime_ms: 20,
                }),
                playout: PlayoutBounds::default(),
                idle: Idle::Nothing,
            }),
        ))?;
        let known = PayloadType {
            pt,
            out: pt,
            clock_hz: codec.kind.clock_hz(),
            silence: None,
            event: false,
            via: Via::Relay,
        };
        self.apply(Change::PayloadTypes(ix, [known].into_iter().collect()))
    }

    fn apply(&mut self, change: Change) -> Result<()> {
        self.call.apply(self.now, change)?;
        self.drain();
        Ok(())
    }

    /// The first party says packet `n`, and its time passes.
    fn say(&mut self, pt: u8, n: u32, payload: &[u8]) {
        let mut packet = vec![0x80, pt];
        packet.extend((n as u16).to_be_bytes());
        packet.extend((n * 160).to_be_bytes());
        packet.extend(1_u32.to_be_bytes());
        packet.extend(payload);
        let from = address(0);
        self.call
            .handle_packet(self.now, StreamIx(0), Component::Rtp, from, &mut packet);
        self.drain();
        self.wait(PTIME);
    }

    fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.call.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            if let Output::Media { port, bytes, .. } = output
                && port == self.listener
            {
                let payload = self.call.media(bytes).get(HEADER_LEN..).unwrap_or(&[]);
                let ms = (self.now - self.start).as_millis();
                self.heard
                    .push((u64::try_from(ms).unwrap_or(0), payload.to_vec()));
            }
        }
    }
}

fn address(party: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + party as u8], 4_000))
}

fn remote(party: u16) -> Remote {
    Remote {
        rtp: Some(address(party)),
        rtcp: None,
        mux: true,
        learn: Learn {
            pace: LearnPace::Off,
            likely: None,
            anyone: false,
            handover: false,
            asymmetric: false,
        },
    }
}
