//! Sound, WAV files and captures, made by this test alone.

use std::f64::consts::TAU;

use crosspoint::audio::g711::{linear_to_alaw, linear_to_ulaw};

const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const PAD: &str = "123A456B789C*0#D";

/// One key for so long.
pub(super) fn tone(rate_hz: u32, key: char, ms: u32) -> Vec<i16> {
    let at = PAD.find(key).expect("a key");
    let (low, high) = (LOW[at / 4], HIGH[at % 4]);
    let sample = |n: u32| {
        let t = f64::from(n) / f64::from(rate_hz) * TAU;
        ((low * t).sin() + (high * t).sin()) * 5_000.0
    };
    (0..rate_hz * ms / 1_000)
        .map(|n| sample(n) as i16)
        .collect()
}

pub(super) fn silence(rate_hz: u32, ms: u32) -> Vec<i16> {
    vec![0; (rate_hz * ms / 1_000) as usize]
}

/// Each key 100 ms long after 100 ms of silence, and 100 ms at the end.
pub(super) fn dialled(rate_hz: u32, text: &str) -> Vec<i16> {
    let mut pcm = silence(rate_hz, 100);
    for pressed in text.chars() {
        pcm.extend(tone(rate_hz, pressed, 100));
        pcm.extend(silence(rate_hz, 100));
    }
    pcm
}

pub(super) fn raw(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// One sample in a format: tag and bits.
pub(super) fn encoded(sample: i16, tag: u16, bits: u16) -> Vec<u8> {
    match (tag, bits) {
        (1, 8) => vec![((i32::from(sample) >> 8) + 128) as u8],
        (1, 16) => sample.to_le_bytes().to_vec(),
        (1, 24) => (i32::from(sample) << 8).to_le_bytes()[..3].to_vec(),
        (1, 32) => (i32::from(sample) << 16).to_le_bytes().to_vec(),
        (3, 32) => (f32::from(sample) / 32_768.0).to_le_bytes().to_vec(),
        (6, 8) => vec![linear_to_alaw(sample)],
        (7, 8) => vec![linear_to_ulaw(sample)],
        _ => panic!("no such format"),
    }
}

/// A WAV file of channels that are equally long.
pub(super) fn wav(rate_hz: u32, tag: u16, bits: u16, channels: &[&[i16]]) -> Vec<u8> {
    let mut data = Vec::new();
    for n in 0..channels[0].len() {
        for channel in channels {
            data.extend(encoded(channel[n], tag, bits));
        }
    }
    let count = channels.len() as u16;
    let block = count * bits / 8;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + 11 + data.len() as u32 + 1).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([tag.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend(
        [
            rate_hz.to_le_bytes(),
            (rate_hz * u32::from(block)).to_le_bytes(),
        ]
        .concat(),
    );
    file.extend([block.to_le_bytes(), bits.to_le_bytes()].concat());
    // Somebody's remark, of an odd length.
    file.extend(b"LIST\x03\0\0\0abc\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// A telephone-event.
pub(super) fn event(code: u8, end: bool, duration: u16) -> Vec<u8> {
    let [high, low] = duration.to_be_bytes();
    vec![code, u8::from(end) << 7 | 10, high, low]
}

#[derive(Clone)]
pub(super) struct Rtp {
    pub(super) at_ms: u64,
    pub(super) ssrc: u32,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) pt: u8,
    pub(super) payload: Vec<u8>,
}

impl Rtp {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, u8::from(self.marker) << 7 | self.pt];
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Packets with one key of 100 ms as telephone-events, beginning at `at_ms`.
pub(super) fn press(at_ms: u64, seq: u16, pt: u8, code: u8, clock_hz: u32) -> Vec<Rtp> {
    let per_ms = clock_hz / 1_000;
    let packet = |n: u64| {
        let held_ms = (20 * (n + 1)).min(100);
        Rtp {
            at_ms: at_ms + 20 * (n + 1),
            ssrc: 7,
            seq: seq.wrapping_add(n as u16),
            timestamp: at_ms as u32 * per_ms,
            marker: n == 0,
            pt,
            payload: event(code, n >= 4, (held_ms as u32 * per_ms) as u16),
        }
    };
    (0..7).map(packet).collect()
}

/// Packets of 20 ms with sound in an encoding of one octet per sample at 8 kHz.
pub(super) fn spoken(at_ms: u64, seq: u16, pt: u8, pcm: &[i16], octet: fn(i16) -> u8) -> Vec<Rtp> {
    let packet = |(n, frame): (usize, &[i16])| Rtp {
        at_ms: at_ms + 20 * (n as u64 + 1),
        ssrc: 7,
        seq: seq.wrapping_add(n as u16),
        timestamp: at_ms as u32 * 8 + n as u32 * 160,
        marker: n == 0,
        pt,
        payload: frame.iter().map(|sample| octet(*sample)).collect(),
    };
    pcm.chunks(160).enumerate().map(packet).collect()
}

/// A datagram from 192.0.2.1 to 192.0.2.2.
pub(super) fn datagram(from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((len + 28).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    for half in [from_port, to_port, len + 8, 0] {
        packet.extend(half.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// A capture of raw IP packets, the classic format.
pub(super) fn pcap(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0]);
    for (at_ms, packet) in packets {
        let at_ms = at_ms + 1_700_000_000_000;
        let len = packet.len() as u32;
        for word in [
            (at_ms / 1_000) as u32,
            (at_ms % 1_000) as u32 * 1_000,
            len,
            len,
        ] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The same as pcapng.
pub(super) fn pcapng(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, &body, &len].concat()
    };
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let mut file = block(0x0a0d_0d0a, &section);
    file.extend(block(1, &[101, 0, 0, 0, 0, 0, 4, 0]));
    for (at_ms, packet) in packets {
        let at_us = (at_ms + 1_700_000_000_000) * 1_000;
        let len = packet.len() as u32;
        let mut body = Vec::new();
        for word in [0, (at_us >> 32) as u32, at_us as u32, len, len] {
            body.extend(word.to_le_bytes());
        }
        body.extend(packet);
        file.extend(block(6, &body));
    }
    file
}

/// RTP packets from port 4000 to port 5000, by time.
pub(super) fn stream(packets: &[Rtp]) -> Vec<(u64, Vec<u8>)> {
    let frame = |rtp: &Rtp| (rtp.at_ms, datagram(4_000, 5_000, &rtp.bytes()));
    let mut frames: Vec<_> = packets.iter().map(frame).collect();
    frames.sort_by_key(|(at_ms, _)| *at_ms);
    frames
}
