//! Keys that are pressed by ng, and keys of parties that have no common way to tell of them, asked
//! of the whole process.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test clocks are far inside every range"
)]

mod support;

use crosspoint::audio::codec::CodecKind;
use crosspoint::engine::DIGITS_MAX;
use serde_json::{Value, json};
use support::every_20_ms;
use support::keys::{Call, events, packets_of, press, tones, with, without_events};
use support::ng::Ng;
use support::party::{answer, offer};
use support::phone::{Heard, Phone};
use support::switch::Switch;

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
        None => without_events(&sdp),
    }
}

/// Two phones with telephone-events or without; B is of this codec, A of µ-law.
fn call_with(ng: &mut Ng, kind: CodecKind, events: [Option<u32>; 2], more: &Value) -> Call {
    let phones = [phone(CodecKind::Pcmu, 600.0), phone(kind, 1_000.0)];
    let sdps = [0, 1].map(|n| sdp(&phones[n], events[n]));
    Call::new(ng, phones, sdps, more)
}

/// The same, both of µ-law.
fn call(ng: &mut Ng, events: [Option<u32>; 2], more: &Value) -> Call {
    call_with(ng, CodecKind::Pcmu, events, more)
}

impl Call {
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
        let request = json!({"command": "play DTMF", "call-id": self.id, "from-tag": "tag-a"});
        with(request, more)
    }

    /// A presses a key for so many packets, as telephone-events; what B heard.
    fn press(&mut self, code: u8, packets: u32) -> Heard {
        let key = (code, self.a.party.timestamp);
        every_20_ms(packets_of(packets), |n| {
            press(&mut self.a, self.a_to, key, n, packets);
            self.b.speak(self.b_to);
            self.b.listen();
        });
        self.b.take()
    }
}

/// The one key that a detector finds, whose length is within these bounds in milliseconds.
fn assert_one_tone(heard: &Heard, key: char, ms: std::ops::RangeInclusive<u64>) {
    let found = tones(heard);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == key && ms.contains(&found[0].1), "{found:?}");
}

#[test]
fn a_key_is_pressed_as_if_a_party_did() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = call(
        &mut ng,
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
    let mut call = call(&mut ng, [Some(8_000); 2], &json!({}));
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
    let mut call = call(&mut ng, [None; 2], &json!({}));
    let mut heard = call.talk(30);
    ng.ok(&call.play(&json!({"code": "9", "duration": 120})));
    let pressed = call.talk(40);
    assert_one_tone(&pressed, '9', 110..=130);
    heard.packets.extend(pressed.packets);
    heard.assert_one_clock("B");
}

#[test]
fn refusals_have_the_words_of_the_protocol() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let call = call(&mut ng, [Some(8_000); 2], &json!({}));
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
    let mut call = call(&mut ng, [Some(8_000); 2], &json!({}));
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
    let call = call(&mut ng, [Some(8_000); 2], &json!({}));
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
    let more = json!({"codec": {"transcode": ["telephone-event"]}});
    let mut call = call(&mut ng, [Some(8_000), None], &more);
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
    assert_one_tone(&Heard { pcm, ..heard }, '6', 150..=200);
}

#[test]
fn an_answerer_is_offered_events_that_the_offerer_has_not() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let more = json!({"codec": {"transcode": ["telephone-event"]}});
    let mut call = call(&mut ng, [None, Some(8_000)], &more);
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
    let more = json!({"codec": {"mask": ["pcmu"], "transcode": ["opus"]}});
    let mut call = call_with(&mut ng, CodecKind::Opus, [Some(8_000), Some(48_000)], &more);
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
