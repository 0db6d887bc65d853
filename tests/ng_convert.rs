//! A party without telephone-event and one with, on a running switch that was asked to convert
//! between them: each key is heard once on the other side, in the other side's way.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test clocks are far inside every range"
)]

mod support;

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

use crosspoint::audio::codec::CodecKind;
use crosspoint::audio::dtmf::{Detector, Heard as Tone};
use crosspoint::engine::{EventEdge, EventPacket, EventReceiver};
use serde_json::{Value, json};
use support::every_20_ms;
use support::ng::Ng;
use support::party::{answer, offer, target};
use support::phone::{Heard, Phone};
use support::switch::Switch;

const LOW_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: &str = "123A456B789C*0#D";

fn phone(kind: CodecKind) -> Phone {
    let pt = if kind == CodecKind::Pcmu { 0 } else { 8 };
    Phone::new(kind, pt, 0.0)
}

/// Its SDP, with telephone-event or without.
fn sdp(phone: &Phone, events: bool) -> String {
    let sdp = phone.sdp();
    if events {
        return sdp;
    }
    let kept = sdp.lines().filter(|line| !line.contains(":101 "));
    let lines = kept.map(|line| format!("{}\r\n", line.trim_end_matches(" 101")));
    lines.collect()
}

/// As [`every_20_ms`], to the end of the last packet.
fn ticks(count: u32, tick: impl FnMut(u32)) {
    every_20_ms(count, tick);
    std::thread::sleep(Duration::from_millis(20));
}

struct Call {
    id: String,
    a: Phone,
    b: Phone,
    a_to: SocketAddr,
    b_to: SocketAddr,
    told: [String; 2],
}

fn sdp_of(reply: &Value) -> String {
    reply["sdp"].as_str().expect("an SDP").to_owned()
}

impl Call {
    fn new(ng: &mut Ng, [a, b]: [Phone; 2], events: [bool; 2], more: &Value) -> Self {
        let id = format!("convert-{:016x}", fastrand::u64(..));
        let told = negotiate(ng, &id, [&a, &b], events, more);
        Self {
            id,
            a_to: target(&told[0]),
            b_to: target(&told[1]),
            a,
            b,
            told,
        }
    }

    fn renegotiate(&mut self, ng: &mut Ng, events: [bool; 2], more: &Value) {
        self.told = negotiate(ng, &self.id, [&self.a, &self.b], events, more);
    }

    /// Both are quiet for so many packets.
    fn rest(&mut self, count: u32) {
        ticks(count, |_| {
            self.a.speak(self.a_to);
            self.b.speak(self.b_to);
            self.a.listen();
            self.b.listen();
        });
    }

    /// A presses a key as a tone of `ms`, and both are quiet after it.
    fn tone_of_a(&mut self, key: char, ms: u32) {
        let place = KEYS.find(key).expect("a key");
        let hz = [LOW_HZ[place / 4], HIGH_HZ[place % 4]];
        let mut said = 0;
        ticks(ms / 20 + 20, |_| {
            let pcm: Vec<i16> = (said..said + 160)
                .map(|n| {
                    let at = f64::from(n) / 8_000.0;
                    let tones: f64 = hz.iter().map(|hz| (TAU * hz * at).sin()).sum();
                    if n < 8 * ms {
                        (5_000.0 * tones) as i16
                    } else {
                        0
                    }
                })
                .collect();
            said += 160;
            let mut payload = vec![0; 160];
            let len = self.a.encoder.encode(&pcm, &mut payload).expect("a frame");
            payload.truncate(len);
            self.a.party.send(self.a_to, self.a.pt, payload);
            self.a.party.timestamp = self.a.party.timestamp.wrapping_add(160);
            self.b.speak(self.b_to);
            self.a.listen();
            self.b.listen();
        });
    }

    /// B presses a key for so many packets, as telephone-events.
    fn event_of_b(&mut self, code: u8, packets: u32) {
        let began = self.b.party.timestamp;
        ticks(packets + 2, |n| {
            let told = 160 * (n + 1).min(packets) as u16;
            let end = if n + 1 >= packets { 0x80 } else { 0 };
            let [high, low] = told.to_be_bytes();
            self.b.party.timestamp = began;
            let payload = vec![code, end | 10, high, low];
            self.b.party.send(self.b_to, 101, payload);
            self.a.speak(self.a_to);
            self.a.listen();
            self.b.listen();
        });
        self.b.party.timestamp = began.wrapping_add((packets + 2) * 160);
    }
}

fn negotiate(
    ng: &mut Ng,
    id: &str,
    [a, b]: [&Phone; 2],
    events: [bool; 2],
    more: &Value,
) -> [String; 2] {
    let mut request = offer(id, "tag-a", &sdp(a, events[0]));
    let more = more.as_object().expect("keys").clone();
    request.as_object_mut().expect("keys").extend(more);
    let to_b = sdp_of(&ng.ok(&request));
    let to_a = sdp_of(&ng.ok(&answer(id, "tag-a", "tag-b", &sdp(b, events[1]))));
    [to_a, to_b]
}

/// Keys that were told as events, with their durations in milliseconds.
fn events(heard: &Heard) -> Vec<(char, u64)> {
    let mut receiver = EventReceiver::new();
    let mut found = Vec::new();
    let mut tell = |edge: EventEdge| {
        if let EventEdge::Ended {
            code, duration_us, ..
        } = edge
        {
            let key = code.digit().expect("a key").as_char();
            found.push((key, duration_us / 1_000));
        }
    };
    let start = heard.packets.first().map(|(at, _)| *at);
    for (at, packet) in &heard.packets {
        let now_us = (*at - start.expect("a packet")).as_micros() as u64;
        let (ssrc, seq, timestamp) = (packet.ssrc, packet.seq, packet.timestamp);
        if packet.pt == 101 {
            let event = EventPacket {
                ssrc,
                seq,
                timestamp,
                marker: packet.marker,
                clock_hz: 8_000,
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
fn tones(heard: &Heard) -> Vec<(char, u64)> {
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

fn keys(found: &[(char, u64)]) -> String {
    found.iter().map(|(key, _)| *key).collect()
}

fn transcode() -> Value {
    json!({"codec": {"transcode": ["telephone-event"]}})
}

#[test]
fn each_side_hears_keys_once_in_its_own_way() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [phone(CodecKind::Pcmu), phone(CodecKind::Pcmu)];
    let mut call = Call::new(&mut ng, phones, [false, true], &transcode());
    assert!(call.told[1].contains("telephone-event/8000"));
    assert!(!call.told[0].contains("telephone-event"));
    call.rest(30);
    for (key, ms) in [('1', 60), ('5', 100), ('5', 40), ('#', 240), ('D', 160)] {
        call.tone_of_a(key, ms);
    }
    for (code, packets) in [(2, 4), (11, 10), (2, 5)] {
        call.event_of_b(code, packets);
        call.rest(20);
    }
    let (a, b) = (call.a.take(), call.b.take());
    let told = events(&b);
    assert_eq!(keys(&told), "155#D");
    // A busy machine sends in jerks, and the playout buffer evens them out by whole pitch periods;
    // engine_convert has the lengths in virtual time, to within 20 ms.
    for ((_, ms), pressed) in told.iter().zip([60, 100, 40, 240, 160]) {
        assert!(ms.abs_diff(pressed) <= 40, "{ms} of {pressed} ms");
    }
    assert_eq!(tones(&b), []);
    b.assert_one_clock("B");
    assert_eq!(keys(&tones(&a)), "2#2");
    assert!(a.packets.iter().all(|(_, packet)| packet.pt == 0));
    a.assert_one_clock("A");
}

#[test]
fn an_answerer_without_events_is_converted_for_the_offerer() {
    let switch = Switch::start();
    let mut ng = switch.client();
    // B is A in the helpers: the one who presses tones answers here.
    let phones = [phone(CodecKind::Pcma), phone(CodecKind::Pcmu)];
    let mut call = Call::new(&mut ng, phones, [true, false], &transcode());
    std::mem::swap(&mut call.a, &mut call.b);
    std::mem::swap(&mut call.a_to, &mut call.b_to);
    call.rest(30);
    call.tone_of_a('7', 120);
    call.event_of_b(9, 8);
    call.rest(25);
    let (pressed, told) = (call.a.take(), call.b.take());
    assert_eq!(keys(&events(&told)), "7");
    assert_eq!(tones(&told), []);
    assert_eq!(keys(&tones(&pressed)), "9");
    assert_eq!(events(&pressed), []);
}

#[test]
fn a_command_comes_before_conversion_and_a_new_offer_ends_it() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [phone(CodecKind::Pcmu), phone(CodecKind::Pcmu)];
    let mut call = Call::new(&mut ng, phones, [false, true], &transcode());
    call.rest(20);
    let block = |command: &str, more: Value| {
        let mut request = json!({"command": command, "call-id": call.id, "from-tag": "tag-a"});
        let more = more.as_object().expect("keys").clone();
        request.as_object_mut().expect("keys").extend(more);
        request
    };
    let [drop, unblock] = [
        block("block DTMF", json!({"DTMF-security": "drop"})),
        block("unblock DTMF", json!({})),
    ];
    ng.ok(&drop);
    call.renegotiate(&mut ng, [false, true], &transcode());
    call.tone_of_a('3', 100);
    let heard = call.b.take();
    assert_eq!((events(&heard), tones(&heard)), (vec![], vec![]));
    ng.ok(&unblock);
    call.tone_of_a('4', 100);
    let heard = call.b.take();
    assert_eq!((&*keys(&events(&heard)), tones(&heard)), ("4", vec![]));
    // From now on A has telephone-event itself: what sounds in its audio is not for keys.
    call.renegotiate(&mut ng, [true, true], &transcode());
    call.rest(40);
    call.b.take();
    call.tone_of_a('5', 100);
    let heard = call.b.take();
    assert_eq!((events(&heard), &*keys(&tones(&heard))), (vec![], "5"));
    call.renegotiate(&mut ng, [false, true], &transcode());
    call.rest(5);
    call.tone_of_a('6', 100);
    let heard = call.b.take();
    assert_eq!((&*keys(&events(&heard)), tones(&heard)), ("6", vec![]));
}

#[test]
fn conversion_is_a_mode_of_dtmf_security() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [phone(CodecKind::Pcmu), phone(CodecKind::Pcma)];
    let more = json!({"DTMF-security": "DTMF"});
    let mut call = Call::new(&mut ng, phones, [true, true], &more);
    call.rest(20);
    call.tone_of_a('8', 100);
    let heard = call.b.take();
    assert_eq!((&*keys(&events(&heard)), tones(&heard)), ("8", vec![]));
}

#[test]
fn what_cannot_be_decoded_is_told() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let [a, b] = [phone(CodecKind::Pcmu), phone(CodecKind::Pcmu)];
    let g729 = |phone: &Phone, events| {
        let sdp = sdp(phone, events).replace("RTP/AVP 0", "RTP/AVP 18");
        sdp.replace("rtpmap:0 PCMU", "rtpmap:18 G729")
    };
    let mut request = offer("convert-g729", "tag-a", &g729(&a, false));
    let more = transcode().as_object().expect("keys").clone();
    request.as_object_mut().expect("keys").extend(more);
    ng.ok(&request);
    let reply = ng.ok(&answer("convert-g729", "tag-a", "tag-b", &g729(&b, true)));
    let warning = reply["warning"].as_str().expect("a warning");
    assert!(warning.contains("cannot be decoded"), "{warning}");
}
