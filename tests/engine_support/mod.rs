//! A call in virtual time, and a seeded bad network in front of it.
#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    unreachable_pub,
    missing_docs,
    reason = "shared by test programs that each use a part; test data is built from small counts"
)]

pub mod rooms;
pub mod tapes;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crosspoint::audio::codec::CodecConfig;
use crosspoint::engine::*;

pub const A: StreamIx = StreamIx(0);
pub const B: StreamIx = StreamIx(1);

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The RTP address in the SDP of stream `ix`.
pub fn home(ix: StreamIx) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + ix.0 as u8], 4_000))
}

pub fn rtcp_home(ix: StreamIx) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + ix.0 as u8], 4_001))
}

pub fn port(ix: StreamIx, component: Component) -> PortHandle {
    PortHandle(u32::from(ix.0) * 2 + component as u32)
}

pub fn learn() -> Learn {
    Learn {
        pace: LearnPace::Heuristic,
        likely: None,
        anyone: false,
        handover: false,
        asymmetric: false,
    }
}

pub fn remote(ix: StreamIx) -> Remote {
    Remote {
        rtp: Some(home(ix)),
        rtcp: Some(rtcp_home(ix)),
        mux: false,
        learn: learn(),
    }
}

/// A voice that hears and speaks one codec under one number.
pub fn voice_of(pt: u8, codec: CodecConfig, ptime_ms: u8) -> Box<Voice> {
    Box::new(Voice {
        hears: [Heard { pt, codec }].into_iter().collect(),
        speaks: Some(Spoken {
            pt,
            codec,
            ptime_ms,
        }),
        playout: PlayoutBounds::default(),
        idle: Idle::Nothing,
    })
}

/// So many masked parties with this voice, who may send these types, linked to nobody.
pub fn parties(count: u16, voice: &Voice, types: &[PayloadType]) -> World {
    let mut world = World::new(Timers::default());
    for n in 0..count {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        world.apply(Change::Voice(ix, Box::new(voice.clone())));
        let types = types.iter().copied().collect();
        world.apply(Change::PayloadTypes(ix, types));
    }
    world
}

pub fn rtp(pt: u8, seq: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, pt];
    out.extend(seq.to_be_bytes());
    out.extend(timestamp.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend(payload);
    out
}

pub fn rtcp(count: u8, kind: u8, words: &[u32]) -> Vec<u8> {
    let mut out = vec![0x80 | count, kind];
    out.extend((words.len() as u16).to_be_bytes());
    words.iter().for_each(|word| out.extend(word.to_be_bytes()));
    out
}

pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A datagram that left the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub port: PortHandle,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Sent {
    pub fn seq(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    pub fn timestamp(&self) -> u32 {
        be32(&self.bytes, 4)
    }

    pub fn ssrc(&self) -> u32 {
        be32(&self.bytes, 8)
    }

    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    pub fn pt(&self) -> u8 {
        self.bytes[1] & 0x7f
    }
}

/// A call and its clock.
pub struct World {
    pub call: Call,
    pub start: Instant,
    pub now: Instant,
    pub outputs: Vec<Output>,
    /// All RTP that left, in order, with the time in milliseconds since the start: what was
    /// relayed by [`World::hear`] and what the call made.
    pub heard: Vec<(u64, Sent)>,
}

impl World {
    pub fn new(timers: Timers) -> Self {
        Self::at(Instant::now(), timers)
    }

    /// With a clock that begins at `now`: worlds of one instant can become one.
    pub fn at(now: Instant, timers: Timers) -> Self {
        let key = CallKey {
            slot: 1,
            generation: 1,
        };
        let call = Call::new(
            CallConfig {
                key,
                seed: 42,
                timers,
            },
            now,
        );
        Self {
            call,
            start: now,
            now,
            outputs: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Two audio streams that hear each other.
    pub fn two_party(privacy: Privacy) -> Self {
        let mut world = Self::new(Timers::default());
        for ix in [A, B] {
            world.add(ix.0, Payload::Rtp, privacy);
            world.apply(Change::Remote(ix, remote(ix)));
        }
        world.apply(Change::Link {
            from: A,
            to: Some(B),
        });
        world.apply(Change::Link {
            from: B,
            to: Some(A),
        });
        world
    }

    pub fn add(&mut self, leg: u16, payload: Payload, privacy: Privacy) -> StreamIx {
        let ix = StreamIx(self.call.streams() as u16);
        let leg = LegIx(leg);
        self.apply(Change::AddStream(StreamConfig {
            leg,
            media: 0,
            payload,
            privacy,
            own_rtcp: false,
        }));
        for component in [Component::Rtp, Component::Rtcp] {
            self.call
                .set_port(ix, component, port(ix, component))
                .unwrap();
        }
        ix
    }

    pub fn apply(&mut self, change: Change) {
        self.call.apply(self.now, change).unwrap();
        self.drain();
    }

    pub fn wait(&mut self, ms: u64) {
        self.wait_until(self.now + Duration::from_millis(ms));
    }

    /// Timers run up to a moment that is not over yet.
    pub fn wait_until(&mut self, until: Instant) {
        let until = until.max(self.now);
        while let Some(at) = self.call.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
            assert!(
                self.call.poll_timeout().is_none_or(|next| next > at),
                "timers must progress"
            );
        }
        self.now = until;
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            if let Output::Media { port, to, bytes } = output {
                let bytes = self.call.media(bytes).to_vec();
                self.heard.push((self.ms(), Sent { port, to, bytes }));
            } else {
                self.outputs.push(output);
            }
        }
        assert!(!self.call.has_output());
    }

    /// Hands a datagram in; what leaves, or why nothing does.
    pub fn receive(
        &mut self,
        ix: StreamIx,
        component: Component,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<Sent, DropReason> {
        let mut bytes = bytes.to_vec();
        let verdict = self
            .call
            .handle_packet(self.now, ix, component, from, &mut bytes);
        self.drain();
        match verdict {
            Verdict::Drop(reason) => Err(reason),
            Verdict::Taken => panic!("taken to be decoded: World::hear is for such calls"),
            Verdict::Forward {
                port,
                to,
                start,
                end,
            } => {
                let bytes = bytes[usize::from(start)..usize::from(end)].to_vec();
                Ok(Sent { port, to, bytes })
            }
        }
    }

    pub fn ms(&self) -> u64 {
        (self.now - self.start).as_millis() as u64
    }

    /// Hands RTP in, whatever becomes of it; what leaves is in [`World::heard`].
    pub fn hear(&mut self, ix: StreamIx, bytes: &[u8]) -> Verdict {
        let mut bytes = bytes.to_vec();
        let verdict = self
            .call
            .handle_packet(self.now, ix, Component::Rtp, home(ix), &mut bytes);
        if let Verdict::Forward {
            port,
            to,
            start,
            end,
        } = verdict
        {
            let bytes = bytes[usize::from(start)..usize::from(end)].to_vec();
            self.heard.push((self.ms(), Sent { port, to, bytes }));
        }
        self.drain();
        verdict
    }

    /// What the party on `ix` has received so far.
    pub fn received(&self, ix: StreamIx) -> Vec<(u64, Sent)> {
        let at = port(ix, Component::Rtp);
        let to_it = self.heard.iter().filter(|(_, sent)| sent.port == at);
        to_it.cloned().collect()
    }

    pub fn rtp(&mut self, ix: StreamIx, bytes: &[u8]) -> Result<Sent, DropReason> {
        self.receive(ix, Component::Rtp, home(ix), bytes)
    }

    pub fn rtcp(&mut self, ix: StreamIx, bytes: &[u8]) -> Result<Sent, DropReason> {
        self.receive(ix, Component::Rtcp, rtcp_home(ix), bytes)
    }

    /// `count` PCMU packets 20 ms apart from number `first` on; what each became.
    pub fn talk(
        &mut self,
        ix: StreamIx,
        ssrc: u32,
        first: u16,
        count: u16,
    ) -> Vec<Result<Sent, DropReason>> {
        let mut out = Vec::new();
        for n in 0..count {
            let seq = first.wrapping_add(n);
            let packet = rtp(0, seq, u32::from(seq).wrapping_mul(160), ssrc, &[0xff; 160]);
            out.push(self.rtp(ix, &packet));
            self.wait(20);
        }
        out
    }

    pub fn stream(&self, ix: StreamIx) -> StreamReport {
        self.call
            .report(self.now)
            .streams
            .swap_remove(usize::from(ix.0))
    }

    pub fn events(&self) -> Vec<EventKind> {
        self.call
            .report(self.now)
            .events
            .iter()
            .map(|event| event.kind)
            .collect()
    }

    pub fn pins(&mut self) -> Vec<(PortHandle, Option<SocketAddr>)> {
        let outputs = std::mem::take(&mut self.outputs);
        let pin = |output| match output {
            Output::Pin { port, peer } => Some((port, peer)),
            Output::Transmit { .. }
            | Output::Media { .. }
            | Output::Event(_)
            | Output::Ended(_) => None,
        };
        outputs.into_iter().filter_map(pin).collect()
    }

    pub fn transmitted(&mut self) -> Vec<Sent> {
        let outputs = std::mem::take(&mut self.outputs);
        let sent = |output| match output {
            Output::Transmit { port, to, packet } => Some(Sent {
                port,
                to,
                bytes: packet.to_vec(),
            }),
            Output::Pin { .. } | Output::Media { .. } | Output::Event(_) | Output::Ended(_) => None,
        };
        outputs.into_iter().filter_map(sent).collect()
    }
}

/// A network that loses, delays, reorders and copies datagrams, all from one seed.
#[derive(Debug)]
pub struct Network {
    pub random: fastrand::Rng,
    pub loss_percent: u32,
    pub copy_percent: u32,
    pub jitter_ms: u64,
}

impl Network {
    pub fn new(seed: u64, loss_percent: u32, copy_percent: u32, jitter_ms: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            loss_percent,
            copy_percent,
            jitter_ms,
        }
    }

    /// When copies of a datagram that was sent at `at_ms` arrive: none, one or two times.
    pub fn arrivals(&mut self, at_ms: u64) -> Vec<u64> {
        if self.random.u32(..100) < self.loss_percent {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.random.u32(..100) < self.copy_percent);
        (0..copies)
            .map(|_| at_ms + 5 + self.random.u64(..=self.jitter_ms))
            .collect()
    }
}
