//! A party without telephone-event and one with, on a running switch that was asked to convert
//! between them: each key is heard once on the other side, in the other side's way.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test clocks are far inside every range"
)]

mod support;

use std::time::Duration;

use crosspoint::audio::codec::CodecKind;
use crosspoint::wire::event::EventCode;
use serde_json::{Value, json};
use support::keys::{self, Call, packets_of, press, tones, with, without_events};
use support::ng::Ng;
use support::party::{answer, offer};
use support::phone::{Heard, Phone};
use support::switch::Switch;
use support::{every_20_ms, key_tones};

fn phone(kind: CodecKind) -> Phone {
    let pt = if kind == CodecKind::Pcmu { 0 } else { 8 };
    Phone::new(kind, pt, 0.0)
}

/// Its SDP, with telephone-event or without.
fn sdp(phone: &Phone, events: bool) -> String {
    let sdp = phone.sdp();
    match events {
        true => sdp,
        false => without_events(&sdp),
    }
}

fn sdps(phones: [&Phone; 2], events: [bool; 2]) -> [String; 2] {
    [0, 1].map(|n| sdp(phones[n], events[n]))
}

fn call(ng: &mut Ng, phones: [Phone; 2], events: [bool; 2], more: &Value) -> Call {
    let sdps = sdps(phones.each_ref(), events);
    Call::new(ng, phones, sdps, more)
}

/// As [`every_20_ms`], to the end of the last packet.
fn ticks(count: u32, tick: impl FnMut(u32)) {
    every_20_ms(count, tick);
    std::thread::sleep(Duration::from_millis(20));
}

impl Call {
    fn offer_again(&mut self, ng: &mut Ng, events: [bool; 2], more: &Value) {
        let sdps = sdps([&self.a, &self.b], events);
        self.renegotiate(ng, sdps, more);
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
        let hz = key_tones::hz_of_char(key);
        let mut said = 0;
        ticks(ms / 20 + 20, |_| {
            let lasts = 8 * ms as usize;
            let pcm: Vec<i16> = (said..said + 160)
                .map(|n| {
                    if n < lasts {
                        key_tones::sample(hz, 5_000.0, 8_000.0, n)
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
        let key = (code, self.b.party.timestamp);
        ticks(packets_of(packets), |n| {
            press(&mut self.b, self.b_to, key, n, packets);
            self.a.speak(self.a_to);
            self.a.listen();
            self.b.listen();
        });
    }
}

/// Keys that were told as events, with their durations in milliseconds.
fn events(heard: &Heard) -> Vec<(char, u64)> {
    let key = |code| EventCode(code).digit().expect("a key").as_char();
    let found = keys::events(heard, 8_000).into_iter();
    found.map(|(code, ms)| (key(code), ms)).collect()
}

fn pressed(found: &[(char, u64)]) -> String {
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
    let mut call = call(&mut ng, phones, [false, true], &transcode());
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
    assert_eq!(pressed(&told), "155#D");
    // A busy machine sends in jerks, and the playout buffer evens them out by whole pitch periods;
    // engine_convert has the lengths in virtual time, to within 20 ms.
    for ((_, ms), pressed) in told.iter().zip([60, 100, 40, 240, 160]) {
        assert!(ms.abs_diff(pressed) <= 40, "{ms} of {pressed} ms");
    }
    assert_eq!(tones(&b), []);
    b.assert_one_clock("B");
    assert_eq!(pressed(&tones(&a)), "2#2");
    assert!(a.packets.iter().all(|(_, packet)| packet.pt == 0));
    a.assert_one_clock("A");
}

#[test]
fn an_answerer_without_events_is_converted_for_the_offerer() {
    let switch = Switch::start();
    let mut ng = switch.client();
    // B is A in the helpers: the one who presses tones answers here.
    let phones = [phone(CodecKind::Pcma), phone(CodecKind::Pcmu)];
    let mut call = call(&mut ng, phones, [true, false], &transcode());
    std::mem::swap(&mut call.a, &mut call.b);
    std::mem::swap(&mut call.a_to, &mut call.b_to);
    call.rest(30);
    call.tone_of_a('7', 120);
    call.event_of_b(9, 8);
    call.rest(25);
    let (heard, told) = (call.a.take(), call.b.take());
    assert_eq!(pressed(&events(&told)), "7");
    assert_eq!(tones(&told), []);
    assert_eq!(pressed(&tones(&heard)), "9");
    assert_eq!(events(&heard), []);
}

#[test]
fn a_command_comes_before_conversion_and_a_new_offer_ends_it() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [phone(CodecKind::Pcmu), phone(CodecKind::Pcmu)];
    let mut call = call(&mut ng, phones, [false, true], &transcode());
    call.rest(20);
    let block = |command: &str, more: Value| {
        let request = json!({"command": command, "call-id": call.id, "from-tag": "tag-a"});
        with(request, &more)
    };
    let [drop, unblock] = [
        block("block DTMF", json!({"DTMF-security": "drop"})),
        block("unblock DTMF", json!({})),
    ];
    ng.ok(&drop);
    call.offer_again(&mut ng, [false, true], &transcode());
    call.tone_of_a('3', 100);
    let heard = call.b.take();
    assert_eq!((events(&heard), tones(&heard)), (vec![], vec![]));
    ng.ok(&unblock);
    call.tone_of_a('4', 100);
    let heard = call.b.take();
    assert_eq!((&*pressed(&events(&heard)), tones(&heard)), ("4", vec![]));
    // From now on A has telephone-event itself: what sounds in its audio is not for keys.
    call.offer_again(&mut ng, [true, true], &transcode());
    call.rest(40);
    call.b.take();
    call.tone_of_a('5', 100);
    let heard = call.b.take();
    assert_eq!((events(&heard), &*pressed(&tones(&heard))), (vec![], "5"));
    call.offer_again(&mut ng, [false, true], &transcode());
    call.rest(5);
    call.tone_of_a('6', 100);
    let heard = call.b.take();
    assert_eq!((&*pressed(&events(&heard)), tones(&heard)), ("6", vec![]));
}

#[test]
fn conversion_is_a_mode_of_dtmf_security() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let phones = [phone(CodecKind::Pcmu), phone(CodecKind::Pcma)];
    let more = json!({"DTMF-security": "DTMF"});
    let mut call = call(&mut ng, phones, [true, true], &more);
    call.rest(20);
    call.tone_of_a('8', 100);
    let heard = call.b.take();
    assert_eq!((&*pressed(&events(&heard)), tones(&heard)), ("8", vec![]));
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
    let offer = offer("convert-g729", "tag-a", &g729(&a, false));
    ng.ok(&with(offer, &transcode()));
    let reply = ng.ok(&answer("convert-g729", "tag-a", "tag-b", &g729(&b, true)));
    let warning = reply["warning"].as_str().expect("a warning");
    assert!(warning.contains("cannot be decoded"), "{warning}");
}
