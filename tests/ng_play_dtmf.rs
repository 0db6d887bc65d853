//! Keys that are pressed by ng, and keys of parties that have no common way to tell of them, asked
//! of the whole process. What a phone received is judged by the crate's own receivers, whose
//! verdicts other tests compare with independent ones.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test clocks are far inside every range"
)]

mod support;

use std::net::SocketAddr;

use crosspoint::audio::codec::CodecKind;
use crosspoint::audio::dtmf::{Detector, Heard as Tone};
use crosspoint::engine::{DIGITS_MAX, EventEdge, EventPacket, EventReceiver};
use serde_json::{Value, json};
use support::every_20_ms;
use support::ng::Ng;
use support::party::{answer, offer, target};
use support::phone::{Heard, Phone};
use support::switch::Switch;

/// Two phones on a switch, each with telephone-events or without.
struct Call {
    id: String,
    a: Phone,
    b: Phone,
    a_to: SocketAddr,
    b_to: SocketAddr,
    told: [String; 2],
}

fn phone(kind: CodecKind, hz: f64) -> Phone {
    let pt = match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        _ => 96,
    };
    Phone::new(kind, pt, hz)
}

/// Its SDP, with events of this clock or without.
fn sdp(phone: &Phone, event_hz: Option<u32>) -> String {
    let sdp = phone.sdp();
    match event_hz {
        Some(hz) => sdp.replace("telephone-event/8000", &format!("telephone-event/{hz}")),
        None => {
            let kept = sdp.lines().filter(|line| !line.contains(":101 "));
            let lines = kept.map(|line| format!("{}\r\n", line.trim_end_matches(" 101")));
            lines.collect()
        }
    }
}

impl Call {
    fn new(ng: &mut Ng, [a, b]: [Phone; 2], events: [Option<u32>; 2], more: &Value) -> Self {
        let id = format!("keys-{:016x}", fastrand::u64(..));
        let mut request = offer(&id, "tag-a", &sdp(&a, events[0]));
        let more = more.as_object().expect("keys").clone();
        request.as_object_mut().expect("keys").extend(more);
        let told_b = sdp_of(&ng.ok(&request));
        let told_a = sdp_of(&ng.ok(&answer(&id, "tag-a", "tag-b", &sdp(&b, events[1]))));
        Self {
            id,
            a_to: target(&told_a),
            b_to: target(&told_b),
            a,
            b,
            told: [told_a, told_b],
        }
    }

    /// Both speak for `count` packets of 20 ms; what B heard.
    fn talk(&mut self, count: u32) -> Heard {
        every_20_ms(count, |_| {
            self.a.speak(self.a_to);
            self.b.speak(self.b_to);
            self.a.listen();
            self.b.listen();
        });
        self.a.take();
        self.b.take()
    }

    fn play(&self, more: &Value) -> Value {
        let mut request = json!({"command": "play DTMF", "call-id": self.id, "from-tag": "tag-a"});
        let more = more.as_object().expect("keys").clone();
        request.as_object_mut().expect("keys").extend(more);
        request
    }

    /// A presses a key for so many packets, as telephone-events; what B heard.
    fn press(&mut self, code: u8, packets: u32) -> Heard {
        let began = self.a.party.timestamp;
        every_20_ms(packets + 2, |n| {
            let told = 160 * (n + 1).min(packets) as u16;
            let end = if n + 1 >= packets { 0x80 } else { 0 };
            let [high, low] = told.to_be_bytes();
            self.a.party.timestamp = began;
            self.a
                .party
                .send(self.a_to, 101, vec![code, end | 10, high, low]);
            self.b.speak(self.b_to);
            self.b.listen();
        });
        self.a.party.timestamp = began.wrapping_add((packets + 2) * 160);
        self.b.take()
    }
}

fn sdp_of(reply: &Value) -> String {
    reply["sdp"].as_str().expect("an SDP").to_owned()
}

/// Keys that were told as events, with their durations in milliseconds.
fn events(heard: &Heard, clock_hz: u32) -> Vec<(u8, u64)> {
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
        let now_us = (*at - start.unwrap()).as_micros() as u64;
        let (ssrc, seq, timestamp) = (packet.ssrc, packet.seq, packet.timestamp);
        if packet.pt == 101 {
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
fn tones(heard: &Heard) -> Vec<(char, u64)> {
    let mut detector = Detector::new(heard.rate).unwrap();
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

#[test]
fn a_key_is_pressed_as_if_a_party_did() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let mut call = Call::new(
        &mut ng,
        phones,
        [Some(8_000); 2],
        &json!({"flags": ["inject-DTMF"]}),
    );
    let mut heard = call.talk(30);
    for (key, code) in [
        (json!("5"), 5),
        (json!(11), 11),
        (json!("14"), 14),
        (json!("*"), 10),
    ] {
        let reply = ng.ok(&call.play(&json!({"code": key, "duration": 200})));
        assert!(reply.get("warning").is_none(), "{reply}");
        let pressed = call.talk(25);
        assert_eq!(events(&pressed, 8_000), [(code, 200)]);
        let told: Vec<_> = pressed
            .packets
            .iter()
            .filter(|(_, p)| p.pt == 101)
            .collect();
        assert_eq!(told.len(), 12);
        assert_eq!(
            told.iter()
                .filter(|(_, p)| p.payload[1] & 0x80 != 0)
                .count(),
            3
        );
        assert!(told.iter().all(|(_, p)| p.payload[1] & 0x3f == 8));
        let first = pressed
            .packets
            .iter()
            .position(|(_, p)| p.pt == 101)
            .unwrap();
        let inside = &pressed.packets[first..first + 12];
        assert!(inside.iter().all(|(_, p)| p.pt == 101), "no audio inside");
        heard.packets.extend(pressed.packets);
    }
    heard.assert_one_clock("B");
    // Shorter and longer than may be; louder than can be.
    for (asked, told) in [(1, 100), (99_999, 5_000)] {
        ng.ok(&call.play(&json!({"digit": 1, "duration": asked, "volume": 12})));
        let pressed = call.talk(told as u32 / 20 + 12);
        assert_eq!(events(&pressed, 8_000), [(1, told)]);
    }
}

#[test]
fn keys_are_pressed_while_a_party_is_silent() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let mut call = Call::new(&mut ng, phones, [Some(8_000); 2], &json!({}));
    every_20_ms(10, |_| call.b.speak(call.b_to));
    ng.ok(&call.play(&json!({"code": "7"})));
    every_20_ms(30, |_| {
        call.b.speak(call.b_to);
        call.b.listen();
    });
    assert_eq!(events(&call.b.take(), 8_000), [(7, 250)]);
}

#[test]
fn a_party_without_events_hears_tones() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let mut call = Call::new(&mut ng, phones, [None; 2], &json!({}));
    let mut heard = call.talk(30);
    ng.ok(&call.play(&json!({"code": "9", "duration": 120})));
    let pressed = call.talk(40);
    let found = tones(&pressed);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == '9' && (110..=130).contains(&found[0].1),
        "{found:?}"
    );
    heard.packets.extend(pressed.packets);
    heard.assert_one_clock("B");
}

#[test]
fn refusals_have_the_words_of_the_protocol() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let call = Call::new(&mut ng, phones, [Some(8_000); 2], &json!({}));
    let mut reason = |more: Value| {
        let reply = ng.request(&call.play(&more));
        assert_eq!(reply["result"], "error", "{reply}");
        reply["error-reason"].as_str().expect("a reason").to_owned()
    };
    let range = "Out of range 'code' specified";
    assert_eq!(reason(json!({"code": 16})), range);
    assert_eq!(reason(json!({"code": "x"})), range);
    assert_eq!(reason(json!({})), range);
    assert_eq!(
        reason(json!({"code": 1, "call-id": "none"})),
        "Unknown call-id"
    );
    let unknown = "From-tag given, but no such tag exists";
    assert_eq!(reason(json!({"code": 1, "from-tag": "nobody"})), unknown);
    // Nothing that we could make, and no events.
    let g729 = |phone: &Phone| sdp(phone, None).replace("RTP/AVP 0", "RTP/AVP 18");
    let g729 = |phone: &Phone| g729(phone).replace("rtpmap:0 PCMU", "rtpmap:18 G729");
    ng.ok(&offer("keys-g729", "tag-x", &g729(&call.a)));
    ng.ok(&answer("keys-g729", "tag-x", "tag-y", &g729(&call.b)));
    let press = json!({"command": "play DTMF", "call-id": "keys-g729", "from-tag": "tag-x",
        "code": 1});
    let reply = ng.request(&press);
    let none = "There is no sink media capable of DTMF playback";
    assert_eq!(reply["error-reason"], none, "{reply}");
    // Somebody was offered the call and has not answered: nobody hears it.
    ng.ok(&offer("keys-rings", "tag-x", &sdp(&call.a, Some(8_000))));
    let press = json!({"command": "play DTMF", "call-id": "keys-rings", "from-tag": "tag-x",
        "code": 1});
    assert_eq!(ng.request(&press)["error-reason"], none);
    ng.ok(&answer(
        "keys-rings",
        "tag-x",
        "tag-y",
        &sdp(&call.b, Some(8_000)),
    ));
    ng.ok(&press);
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let mut call = Call::new(&mut ng, phones, [Some(8_000); 2], &json!({}));
    let press = call.play(&json!({"code": 1, "duration": 2_000}));
    (0..DIGITS_MAX).for_each(|_| drop(ng.ok(&press)));
    let full = "Too many keys wait to be pressed (at most 128 for one listener)";
    assert_eq!(ng.request(&press)["error-reason"], full);
    // The first is over: there is room for one.
    assert_eq!(events(&call.talk(110), 8_000)[0], (1, 2_000));
    ng.ok(&press);
    assert_eq!(ng.request(&press)["error-reason"], full);
}

#[test]
fn nothing_is_pressed_for_who_is_on_hold() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let call = Call::new(&mut ng, phones, [Some(8_000); 2], &json!({}));
    let press = call.play(&json!({"code": 1}));
    let none = "There is no sink media capable of DTMF playback";
    let [a, b] = [&call.a, &call.b].map(|phone| sdp(phone, Some(8_000)));
    for (direction, refusal) in [("sendonly", Some(none)), ("sendrecv", None)] {
        let mut hold = offer(&call.id, "tag-b", &format!("{b}a={direction}\r\n"));
        hold["to-tag"] = json!("tag-a");
        let before = ng.request(&press);
        ng.ok(&hold);
        // What is only asked for changes nothing.
        assert_eq!(ng.request(&press)["error-reason"], before["error-reason"]);
        ng.ok(&answer(&call.id, "tag-b", "tag-a", &a));
        let reply = ng.request(&press);
        assert_eq!(reply["error-reason"].as_str(), refusal, "{reply}");
    }
}

#[test]
fn events_sound_for_an_answerer_that_has_none() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let more = json!({"codec": {"transcode": ["telephone-event"]}});
    let mut call = Call::new(&mut ng, phones, [Some(8_000), None], &more);
    assert!(
        call.told[0].contains("telephone-event/8000"),
        "{}",
        call.told[0]
    );
    let mut heard = call.talk(30);
    let pressed = call.press(6, 8);
    let after = call.talk(20);
    let mut pcm = pressed.pcm.clone();
    pcm.extend(&after.pcm);
    heard
        .packets
        .extend(pressed.packets.into_iter().chain(after.packets));
    heard.assert_one_clock("B");
    assert!(heard.packets.iter().all(|(_, packet)| packet.pt == 0));
    let found = tones(&Heard { pcm, ..heard });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == '6' && (150..=200).contains(&found[0].1),
        "{found:?}"
    );
}

#[test]
fn an_answerer_is_offered_events_that_the_offerer_has_not() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [
        phone(CodecKind::Pcmu, 600.0),
        phone(CodecKind::Pcmu, 1_000.0),
    ];
    let more = json!({"codec": {"transcode": ["telephone-event"]}});
    let mut call = Call::new(&mut ng, phones, [None, Some(8_000)], &more);
    assert!(
        call.told[1].contains("a=rtpmap:101 telephone-event/8000"),
        "{}",
        call.told[1]
    );
    assert!(
        !call.told[0].contains("telephone-event"),
        "{}",
        call.told[0]
    );
    // A key for the offerer sounds, one for the answerer is told.
    call.talk(20);
    ng.ok(&call.play(&json!({"code": 3})));
    assert_eq!(events(&call.talk(30), 8_000), [(3, 250)]);
    let back = json!({"code": 4, "from-tag": "tag-b"});
    ng.ok(&call.play(&back));
    every_20_ms(30, |_| {
        call.a.speak(call.a_to);
        call.b.speak(call.b_to);
        call.a.listen();
    });
    let found = tones(&call.a.take());
    assert!(matches!(found[..], [('4', _)]), "{found:?}");
}

#[cfg(feature = "opus")]
#[test]
fn events_are_counted_in_the_clock_of_each_side() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let opus = CodecKind::Opus;
    let phones = [phone(CodecKind::Pcmu, 600.0), phone(opus, 1_000.0)];
    let more = json!({"codec": {"mask": ["pcmu"], "transcode": ["opus"]}});
    let mut call = Call::new(&mut ng, phones, [Some(8_000), Some(48_000)], &more);
    assert!(
        call.told[1].contains("telephone-event/48000"),
        "{}",
        call.told[1]
    );
    call.talk(30);
    // B's own numbers: its events are 101 at 48 kHz.
    let mut pressed = call.press(2, 8);
    pressed.packets.extend(call.talk(20).packets);
    assert_eq!(events(&pressed, 48_000), [(2, 160)]);
    pressed.assert_one_clock("B");
    ng.ok(&call.play(&json!({"code": 8, "duration": 200})));
    assert_eq!(events(&call.talk(30), 48_000), [(8, 200)]);
}
