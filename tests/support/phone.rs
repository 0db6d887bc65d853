//! A phone of one codec: it says a tone, and what it hears is decoded and searched for tones.
//!
//! It codes with the crate's own codecs, whose bits other tests compare with the standards'.

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::time::Instant;

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::opus::OpusConfig;

use super::party::Party;
use super::rtp::{self, Packet};

/// A party of one codec.
pub struct Phone {
    pub party: Party,
    pub kind: CodecKind,
    pub pt: u8,
    pub encoder: Encoder,
    /// Samples its voice has said.
    pub said: usize,
    pub hz: f64,
    pub ptime: Option<u16>,
    pub heard: Vec<(Instant, Packet)>,
}

impl Phone {
    pub fn new(kind: CodecKind, pt: u8, hz: f64) -> Self {
        Self {
            party: Party::new("127.0.0.1", 0.0),
            kind,
            pt,
            encoder: Encoder::new(&config(kind)).expect("a known codec"),
            said: 0,
            hz,
            ptime: None,
            heard: Vec::new(),
        }
    }

    pub fn sdp(&self) -> String {
        let port = self.party.address().port();
        let (pt, kind) = (self.pt, self.kind);
        let ptime = self
            .ptime
            .map_or_else(String::new, |ms| format!("a=ptime:{ms}\r\n"));
        format!(
            "v=0\r\no=- 4711 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {pt} 101\r\na=rtpmap:{pt} {kind}\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n{ptime}"
        )
    }

    /// 20 ms of its tone.
    pub fn speak(&mut self, to: SocketAddr) {
        let rate = config(self.kind).pcm_hz() as usize;
        let mut pcm = vec![0_i16; rate / 50];
        for sample in &mut pcm {
            let phase = TAU * self.hz * self.said as f64 / rate as f64;
            *sample = (8_000.0 * phase.sin()) as i16;
            self.said += 1;
        }
        let mut payload = vec![0; 1_500];
        let len = self.encoder.encode(&pcm, &mut payload).expect("a frame");
        payload.truncate(len);
        self.party.send(to, self.pt, payload);
        let ticks = self.kind.clock_hz() / 50;
        self.party.timestamp = self.party.timestamp.wrapping_add(ticks);
    }

    pub fn listen(&mut self) {
        let now = Instant::now();
        self.heard
            .extend(self.party.heard().into_iter().map(|packet| (now, packet)));
    }

    /// What it heard so far, packets of its own codec decoded.
    pub fn take(&mut self) -> Heard {
        self.listen();
        let packets = std::mem::take(&mut self.heard);
        let mut decoder = Decoder::new(&config(self.kind)).expect("a known codec");
        let (mut pcm, mut frame) = (Vec::new(), [0; 5_760]);
        for (_, packet) in packets.iter().filter(|(_, p)| p.pt == self.pt) {
            let n = decoder
                .decode(&packet.payload, &mut frame)
                .expect("a payload");
            pcm.extend_from_slice(&frame[..n]);
        }
        Heard {
            packets,
            pcm,
            rate: config(self.kind).pcm_hz(),
            clock_hz: self.kind.clock_hz(),
            pt: self.pt,
        }
    }
}

/// Opus as a phone runs it: wideband.
pub fn config(kind: CodecKind) -> CodecConfig {
    CodecConfig {
        opus: OpusConfig::at(16_000),
        ..CodecConfig::new(kind)
    }
}

/// What a phone heard.
pub struct Heard {
    pub packets: Vec<(Instant, Packet)>,
    pub pcm: Vec<i16>,
    pub rate: u32,
    pub clock_hz: u32,
    pub pt: u8,
}

impl Heard {
    /// How much of the sound after the first 300 ms is at `hz`.
    pub fn share(&self, hz: f64) -> f64 {
        let settled = self
            .pcm
            .get(self.rate as usize * 3 / 10..)
            .unwrap_or_default();
        let shares: Vec<f64> = settled
            .chunks_exact(self.rate as usize / 10)
            .map(|window| goertzel(window, hz, self.rate))
            .collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    #[track_caller]
    pub fn assert_tone(&self, hz: f64, who: &str) {
        let share = self.share(hz);
        assert!(
            share > 0.85,
            "{who}: only {share:.2} of {} samples is {hz} Hz",
            self.pcm.len()
        );
    }

    /// One SSRC, one number after the other, nothing but what was negotiated, and a clock that
    /// keeps step with the wall.
    #[track_caller]
    pub fn assert_one_clock(&self, who: &str) {
        let packets: Vec<Packet> = self.packets.iter().map(|(_, p)| p.clone()).collect();
        let first = packets
            .first()
            .unwrap_or_else(|| panic!("{who} heard nothing"));
        for packet in &packets {
            assert_eq!(packet.ssrc, first.ssrc, "{who}: one source");
            assert!(
                [self.pt, 101].contains(&packet.pt),
                "{who}: type {}",
                packet.pt
            );
        }
        assert_eq!(rtp::gaps(&packets), (0, true), "{who}: numbers");
        let (start, end) = (&self.packets[0], &self.packets[self.packets.len() - 1]);
        let ticks = end.1.timestamp.wrapping_sub(start.1.timestamp);
        let media_ms = f64::from(ticks) * 1e3 / f64::from(self.clock_hz);
        let wall_ms = (end.0 - start.0).as_secs_f64() * 1e3;
        assert!(
            (media_ms - wall_ms).abs() < 120.0,
            "{who}: {media_ms:.0} ms of media in {wall_ms:.0} ms"
        );
    }
}

pub fn goertzel(window: &[i16], hz: f64, rate: u32) -> f64 {
    let coefficient = 2.0 * (TAU * hz / f64::from(rate)).cos();
    let (mut one, mut two, mut energy) = (0.0, 0.0, 0.0);
    for &sample in window {
        let sample = f64::from(sample);
        energy += sample * sample;
        (one, two) = (sample + coefficient * one - two, one);
    }
    let power = one * one + two * two - coefficient * one * two;
    if energy < 1.0 {
        0.0
    } else {
        2.0 * power / (energy * window.len() as f64)
    }
}
