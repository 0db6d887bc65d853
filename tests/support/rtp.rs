//! RTP as the tests write and read it, telephone-events, and pcap files for SIPp to play.

use std::time::Duration;

use super::audio;

/// One RTP packet without CSRC, extension or padding (RFC 3550 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub marker: bool,
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
}

impl Packet {
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.pt | u8::from(self.marker) << 7];
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// `None` for anything that is not the plain RTP we send.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, payload) = bytes.split_first_chunk::<12>()?;
        (head[0] == 0x80).then(|| Self {
            marker: head[1] & 0x80 != 0,
            pt: head[1] & 0x7F,
            seq: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: payload.to_vec(),
        })
    }
}

/// The audio (payload type 0) among `packets`, concatenated as it came.
pub fn pcmu(packets: &[Packet]) -> Vec<u8> {
    packets
        .iter()
        .filter(|p| p.pt == 0)
        .flat_map(|p| p.payload.clone())
        .collect()
}

/// Writes one side of a conversation in advance: tones and digits on one timeline.
#[derive(Clone, Debug)]
pub struct Script {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    packets: Vec<(Duration, Packet)>,
}

/// Length of one digit: 8 packets that grow, then the end packet three times (RFC 4733, 2.5.1.4).
const EVENT_UPDATES: u32 = 8;

impl Script {
    pub fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            seq: 1000,
            timestamp: 16_000,
            packets: Vec::new(),
        }
    }

    /// `count` packets of a sine.
    pub fn tone(mut self, hz: f32, count: u32) -> Self {
        for number in 0..count {
            let payload = audio::tone(hz, self.timestamp);
            self.push(number == 0, 0, self.timestamp, payload);
            self.timestamp += 160;
        }
        self
    }

    /// This sound, in µ-law and whole packets.
    pub fn sound(mut self, octets: &[u8]) -> Self {
        for (number, payload) in octets.chunks_exact(160).enumerate() {
            self.push(number == 0, 0, self.timestamp, payload.to_vec());
            self.timestamp += 160;
        }
        self
    }

    /// Telephone-events of these codes, each followed by two packets of silence.
    pub fn digits(mut self, pt: u8, codes: &[u8]) -> Self {
        for &code in codes {
            let start = self.timestamp;
            for update in 1..=EVENT_UPDATES + 2 {
                let end = update >= EVENT_UPDATES;
                let length = (update.min(EVENT_UPDATES) * 160) as u16;
                let mut payload = vec![code, 10 | u8::from(end) << 7];
                payload.extend(length.to_be_bytes());
                self.push(update == 1, pt, start, payload);
                self.timestamp += 160;
            }
            for _ in 0..2 {
                self.push(false, 0, self.timestamp, vec![0xFF; 160]);
                self.timestamp += 160;
            }
        }
        self
    }

    /// Who speaks.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Its packets, and when each leaves.
    pub fn packets(&self) -> &[(Duration, Packet)] {
        &self.packets
    }

    /// How long playing it takes.
    pub fn length(&self) -> Duration {
        super::PTIME * self.packets.len() as u32
    }

    fn push(&mut self, marker: bool, pt: u8, timestamp: u32, payload: Vec<u8>) {
        let at = super::PTIME * self.packets.len() as u32;
        let packet = Packet {
            marker,
            pt,
            seq: self.seq,
            timestamp,
            ssrc: self.ssrc,
            payload,
        };
        self.packets.push((at, packet));
        self.seq = self.seq.wrapping_add(1);
    }

    /// As a pcap file of Ethernet frames, the form SIPp's `play_pcap_audio` reads.
    pub fn pcap(&self) -> Vec<u8> {
        let mut file = Vec::new();
        // Magic, version 2.4, zone, accuracy, snap length, link type Ethernet.
        for word in [0xA1B2_C3D4, 0x0004_0002, 0, 0, 65_535, 1u32] {
            file.extend(word.to_le_bytes());
        }
        for (at, packet) in &self.packets {
            let frame = ethernet(&packet.write());
            let length = frame.len() as u32;
            // The clock starts at one second: SIPp takes a zero time for "not set".
            for word in [1 + at.as_secs() as u32, at.subsec_micros(), length, length] {
                file.extend(word.to_le_bytes());
            }
            file.extend(frame);
        }
        file
    }
}

/// Ethernet + IPv4 + UDP around a payload. The player replaces addresses, ports and checksums.
fn ethernet(payload: &[u8]) -> Vec<u8> {
    let udp_length = payload.len() as u16 + 8;
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend((udp_length + 20).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    frame.extend(4000u16.to_be_bytes());
    frame.extend(4002u16.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// What a listener heard as telephone-events: one per event timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digit {
    pub code: u8,
    pub pt: u8,
    /// Packets with the end bit.
    pub ends: usize,
    /// Duration in the last packet, in timestamp units.
    pub duration: u16,
}

/// The digits among `packets`, in the order heard. Everything that is not PT 0 counts as an event.
pub fn digits(packets: &[Packet]) -> Vec<Digit> {
    let mut found: Vec<(u32, Digit)> = Vec::new();
    for packet in packets.iter().filter(|p| p.pt != 0 && p.payload.len() == 4) {
        let [code, flags, high, low] = packet.payload[..] else {
            continue;
        };
        if found
            .last()
            .is_none_or(|(start, _)| *start != packet.timestamp)
        {
            let digit = Digit {
                code,
                pt: packet.pt,
                ends: 0,
                duration: 0,
            };
            found.push((packet.timestamp, digit));
        }
        let (_, digit) = found.last_mut().expect("one was just pushed");
        assert_eq!(
            (digit.code, digit.pt),
            (code, packet.pt),
            "two events at one timestamp"
        );
        digit.ends += usize::from(flags & 0x80 != 0);
        digit.duration = u16::from_be_bytes([high, low]);
    }
    found.into_iter().map(|(_, digit)| digit).collect()
}

/// Packets missing between the first and the last, and whether numbers only ever grow.
pub fn gaps(packets: &[Packet]) -> (usize, bool) {
    let steps = packets.windows(2).map(|p| p[1].seq.wrapping_sub(p[0].seq));
    let missing = steps
        .clone()
        .filter(|s| (2..0x8000).contains(s))
        .map(|s| usize::from(s) - 1);
    (
        missing.sum(),
        steps.clone().all(|step| (1..0x8000).contains(&step)),
    )
}
