//! Keys between two phones on a switch. What a phone received is judged by the crate's own
//! receivers, whose verdicts other tests compare with independent ones.

use std::net::SocketAddr;

use crosspoint::audio::dtmf::{Detector, Heard as Tone};
use crosspoint::engine::{EventEdge, EventPacket, EventReceiver};
use serde_json::Value;

use super::ng::Ng;
use super::party::{answer, offer, target};
use super::phone::{Heard, Phone};

/// The payload type of telephone-events in a phone's SDP.
pub const EVENT_PT: u8 = 101;

/// Two phones on a switch: A has offered, B has answered.
pub struct Call {
    pub id: String,
    pub a: Phone,
    pub b: Phone,
    /// Where each sends.
    pub a_to: SocketAddr,
    pub b_to: SocketAddr,
    /// What each was told.
    pub told: [String; 2],
}

impl Call {
    /// A call with these SDPs; `more` is in the offer, too.
    pub fn new(ng: &mut Ng, [a, b]: [Phone; 2], sdps: [String; 2], more: &Value) -> Self {
        let id = format!("keys-{:016x}", fastrand::u64(..));
        let told = negotiate(ng, &id, sdps, more);
        Self {
            id,
            a_to: target(&told[0]),
            b_to: target(&told[1]),
            a,
            b,
            told,
        }
    }

    pub fn renegotiate(&mut self, ng: &mut Ng, sdps: [String; 2], more: &Value) {
        self.told = negotiate(ng, &self.id, sdps, more);
    }
}

fn negotiate(ng: &mut Ng, id: &str, [a, b]: [String; 2], more: &Value) -> [String; 2] {
    let to_b = sdp_of(&ng.ok(&with(offer(id, "tag-a", &a), more)));
    let to_a = sdp_of(&ng.ok(&answer(id, "tag-a", "tag-b", &b)));
    [to_a, to_b]
}

/// A request with more keys.
pub fn with(mut request: Value, more: &Value) -> Value {
    let more = more.as_object().expect("keys").clone();
    request.as_object_mut().expect("keys").extend(more);
    request
}

pub fn sdp_of(reply: &Value) -> String {
    reply["sdp"].as_str().expect("an SDP").to_owned()
}

/// An SDP without its telephone-events.
pub fn without_events(sdp: &str) -> String {
    let kept = sdp.lines().filter(|line| !line.contains(":101 "));
    let lines = kept.map(|line| format!("{}\r\n", line.trim_end_matches(" 101")));
    lines.collect()
}

/// Packet `n` of [`packets_of`] so many of a press that began at this timestamp, as a
/// telephone-event of 8 kHz. The phone's clock is behind the press afterwards.
pub fn press(phone: &mut Phone, to: SocketAddr, (code, began): (u8, u32), n: u32, packets: u32) {
    let told = 160 * (n + 1).min(packets) as u16;
    let end = if n + 1 >= packets { 0x80 } else { 0 };
    let [high, low] = told.to_be_bytes();
    phone.party.timestamp = began;
    let payload = vec![code, end | 10, high, low];
    phone.party.send(to, EVENT_PT, payload);
    phone.party.timestamp = began.wrapping_add((n + 1) * 160);
}

/// All packets of a press whose duration takes so many: the last of them comes three times.
pub fn packets_of(packets: u32) -> u32 {
    packets + 2
}

/// Keys that were told as events, with their durations in milliseconds.
pub fn events(heard: &Heard, clock_hz: u32) -> Vec<(u8, u64)> {
    let mut receiver = EventReceiver::new();
    let mut found = Vec::new();
    let mut tell = |edge: EventEdge| {
        if let EventEdge::Ended {
            code, duration_us, ..
        } = edge
        {
            found.push((code.0, duration_us / 1_000));
        }
    };
    let start = heard.packets.first().map(|(at, _)| *at);
    for (at, packet) in &heard.packets {
        let now_us = (*at - start.expect("a packet")).as_micros() as u64;
        let (ssrc, seq, timestamp) = (packet.ssrc, packet.seq, packet.timestamp);
        if packet.pt == EVENT_PT {
            let event = EventPacket {
                ssrc,
                seq,
                timestamp,
                marker: packet.marker,
                clock_hz,
                payload: &packet.payload,
            };
            receiver.packet(now_us, &event, &mut tell);
        } else {
            receiver.media(now_us, ssrc, seq, timestamp, &mut tell);
        }
    }
    receiver.timeout(u64::MAX, &mut tell);
    found
}

/// Keys that a detector finds in the audio, with their lengths in milliseconds.
pub fn tones(heard: &Heard) -> Vec<(char, u64)> {
    let mut detector = Detector::new(heard.rate).expect("a rate");
    let mut found = Vec::new();
    let rate = u64::from(heard.rate);
    let mut tell = |tone: Tone| {
        if let Tone::Ended(tone) = tone {
            let ms = (tone.end - tone.start) * 1_000 / rate;
            found.push((tone.digit.as_char(), ms));
        }
    };
    detector.feed(&heard.pcm, &mut tell);
    detector.feed(&vec![0; heard.rate as usize], &mut tell);
    found
}
