//! Calls whose parties speak different codecs, and prompts, asked of the whole process by ng.
//!
//! Every voice is a tone, found again by Goertzel in what the other party received and decoded.
//! Phones code with the crate's own codecs, whose bits other tests compare with the standards'.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test clocks are far inside every range"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crosspoint::audio::codec::{CodecKind, Encoder};
use serde_json::{Value, json};
use support::audio::{base64, wav};
use support::every_20_ms;
use support::ng::Ng;
use support::party::{answer, offer, target};
use support::phone::{Heard, Phone, config};
use support::rtp::{self, Packet};
use support::switch::{Switch, scratch};

/// Two phones on a switch.
struct Call {
    id: String,
    a: Phone,
    b: Phone,
    a_to: SocketAddr,
    b_to: SocketAddr,
    /// What each was told.
    told: [String; 2],
}

impl Call {
    fn new(ng: &mut Ng, a: Phone, b: Phone, more: &Value) -> Self {
        let id = format!("voice-{:016x}", fastrand::u64(..));
        let mut request = offer(&id, "tag-a", &a.sdp());
        let more = more.as_object().expect("keys").clone();
        request.as_object_mut().expect("keys").extend(more);
        let told_b = sdp_of(&ng.ok(&request));
        let told_a = sdp_of(&ng.ok(&answer(&id, "tag-a", "tag-b", &b.sdp())));
        Self {
            id,
            a_to: target(&told_a),
            b_to: target(&told_b),
            a,
            b,
            told: [told_a, told_b],
        }
    }

    /// Both speak for `count` packets of 20 ms.
    fn talk(&mut self, count: u32) -> (Heard, Heard) {
        every_20_ms(count, |_| {
            self.a.speak(self.a_to);
            self.b.speak(self.b_to);
            self.a.listen();
            self.b.listen();
        });
        (self.a.take(), self.b.take())
    }

    /// Both hear each other's tone, each in its own codec, on one clock.
    #[track_caller]
    fn assert_talks(&mut self) {
        self.talk(15); // until decoders run
        let (at_a, at_b) = self.talk(100);
        at_a.assert_one_clock("A");
        at_b.assert_one_clock("B");
        at_a.assert_tone(self.b.hz, "A");
        at_b.assert_tone(self.a.hz, "B");
        assert!(at_a.packets.len() > 90 && at_b.packets.len() > 90);
    }

    fn media(&self, command: &str, tag: &str) -> Value {
        json!({"command": command, "call-id": self.id, "from-tag": tag})
    }
}

fn sdp_of(reply: &Value) -> String {
    reply["sdp"].as_str().expect("an SDP").to_owned()
}

/// The formats of an SDP's audio line.
fn formats(sdp: &str) -> Vec<&str> {
    let line = sdp.lines().find(|line| line.starts_with("m=audio"));
    line.expect("an audio line").split(' ').skip(3).collect()
}

#[test]
fn the_laws_of_g711_meet_packet_by_packet() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = (
        Phone::new(CodecKind::Pcmu, 0, 600.0),
        Phone::new(CodecKind::Pcma, 8, 1_000.0),
    );
    let more = json!({"codec": {"mask": ["pcmu"], "transcode": ["PCMA"]}});
    let mut call = Call::new(&mut ng, a, b, &more);
    assert_eq!(formats(&call.told[1]), ["8", "101"], "{}", call.told[1]);
    assert_eq!(formats(&call.told[0]), ["0", "101"], "{}", call.told[0]);
    call.assert_talks();
    let (at_a, at_b) = call.talk(50);
    // Nothing is buffered, so nothing is lost and nothing is made.
    assert!(
        (49..=51).contains(&at_a.packets.len()),
        "{}",
        at_a.packets.len()
    );
    assert!(
        (49..=51).contains(&at_b.packets.len()),
        "{}",
        at_b.packets.len()
    );
}

#[test]
fn an_answer_in_another_codec_than_offered_is_understood() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = (
        Phone::new(CodecKind::Pcma, 8, 600.0),
        Phone::new(CodecKind::G722, 9, 1_000.0),
    );
    let mut call = Call::new(&mut ng, a, b, &json!({}));
    assert_eq!(formats(&call.told[0]), ["8", "101"], "{}", call.told[0]);
    call.assert_talks();
}

#[test]
fn telephone_talks_with_wideband() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = (
        Phone::new(CodecKind::Pcmu, 0, 600.0),
        Phone::new(CodecKind::G722, 9, 1_000.0),
    );
    let mut call = Call::new(&mut ng, a, b, &json!({"codec": {"transcode": ["G722"]}}));
    assert_eq!(
        formats(&call.told[1]),
        ["0", "9", "101"],
        "{}",
        call.told[1]
    );
    assert_eq!(formats(&call.told[0]), ["0", "101"], "{}", call.told[0]);
    call.assert_talks();
    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    for tag in ["tag-a", "tag-b"] {
        let flags = query["tags"][tag]["medias"][0]["flags"].to_string();
        assert!(flags.contains("transcoding"), "{flags}");
    }
}

#[cfg(feature = "opus")]
#[test]
fn telephone_talks_with_opus_and_its_digits_pass() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = (
        Phone::new(CodecKind::Pcmu, 0, 600.0),
        Phone::new(CodecKind::Opus, 96, 1_000.0),
    );
    let more = json!({"flags": ["codec-mask-all", "codec-transcode-opus"]});
    let mut call = Call::new(&mut ng, a, b, &more);
    // Digits beside Opus have its clock (RFC 4733 §2.1); the telephone's own are offered as well.
    let told = &call.told[1];
    assert_eq!(formats(told), ["96", "97", "101"], "{told}");
    assert!(
        told.contains("a=rtpmap:97 telephone-event/48000\r\n"),
        "{told}"
    );
    assert!(
        call.told[1].contains("a=rtpmap:96 opus/48000/2\r\n"),
        "{}",
        call.told[1]
    );
    assert!(
        call.told[1].contains("a=fmtp:96 maxplaybackrate=8000"),
        "{}",
        call.told[1]
    );
    call.assert_talks();
    // A digit from each side, with its own clock kept.
    for update in 1..=10_u8 {
        let end = update >= 8;
        let [high, low] = (u16::from(update.min(8)) * 160).to_be_bytes();
        let payload = vec![5, 10 | u8::from(end) << 7, high, low];
        call.a.party.send(call.a_to, 101, payload.clone());
        call.b.party.send(call.b_to, 101, payload);
        std::thread::sleep(support::PTIME);
    }
    std::thread::sleep(Duration::from_millis(100));
    for phone in [&mut call.a, &mut call.b] {
        let heard = phone.take();
        let events: Vec<Packet> = heard.packets.into_iter().map(|(_, p)| p).collect();
        let events: Vec<Packet> = events.into_iter().filter(|p| p.pt == 101).collect();
        let digits = rtp::digits(&events);
        assert_eq!(digits.len(), 1, "{digits:?}");
        assert_eq!(
            (digits[0].code, digits[0].ends, digits[0].duration),
            (5, 3, 1_280)
        );
    }
    // And back to speech.
    call.assert_talks();
}

#[cfg(feature = "opus")]
#[test]
fn opus_calls_a_telephone() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = (
        Phone::new(CodecKind::Opus, 111, 600.0),
        Phone::new(CodecKind::Pcma, 8, 1_000.0),
    );
    let more = json!({"codec": {
        "mask": ["opus"], "transcode": ["PCMA", "G729"], "set": ["opus/48000/2/12000"],
    }});
    let mut request = offer("warned", "tag-a", &a.sdp());
    request["codec"] = more["codec"].clone();
    let reply = ng.ok(&request);
    let warning = reply["warning"].as_str().expect("a warning");
    assert!(warning.contains("cannot transcode to G729"), "{warning}");
    let mut call = Call::new(&mut ng, a, b, &more);
    assert_eq!(formats(&call.told[1]), ["8", "101"], "{}", call.told[1]);
    assert_eq!(formats(&call.told[0]), ["111", "101"], "{}", call.told[0]);
    call.assert_talks();
    // 12 kbit/s are 30 octets in 20 ms.
    let (at_a, _) = call.talk(50);
    let octets: usize = at_a.packets.iter().map(|(_, p)| p.payload.len()).sum();
    let mean = octets / at_a.packets.len();
    assert!((15..45).contains(&mean), "{mean} octets a packet");
}

#[test]
fn packets_are_made_longer_where_it_was_asked() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let (a, b) = (
        Phone::new(CodecKind::Pcmu, 0, 600.0),
        Phone::new(CodecKind::Pcmu, 0, 1_000.0),
    );
    let mut call = Call::new(&mut ng, a, b, &json!({"ptime": 40}));
    assert!(call.told[1].contains("a=ptime:40\r\n"), "{}", call.told[1]);
    call.talk(15);
    let (at_a, at_b) = call.talk(100);
    at_a.assert_tone(1_000.0, "A");
    at_b.assert_tone(600.0, "B");
    at_b.assert_one_clock("B");
    assert!(at_b.packets.iter().all(|(_, p)| p.payload.len() == 320));
    assert!(
        (45..=52).contains(&at_b.packets.len()),
        "{}",
        at_b.packets.len()
    );
    assert!(at_a.packets.iter().all(|(_, p)| p.payload.len() == 160));
}

#[test]
fn a_call_changes_its_codecs_and_its_listeners_stay_on_their_clock() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = plain_call(&mut ng);
    let (before, _) = call.talk(10);
    for (kind, pt) in [
        (CodecKind::G722, 9),
        (CodecKind::Pcma, 8),
        (CodecKind::Pcmu, 0),
    ] {
        let mut request = offer(&call.id, "tag-a", &call.a.sdp());
        request["to-tag"] = json!("tag-b");
        if pt != 0 {
            request["codec"] = json!({"mask": ["all"], "transcode": [kind.to_string()]});
        }
        let told = sdp_of(&ng.ok(&request));
        assert_eq!(formats(&told), [&*pt.to_string(), "101"], "{told}");
        (call.b.kind, call.b.pt) = (kind, pt);
        call.b.encoder = Encoder::new(&config(kind)).expect("a known codec");
        let told = sdp_of(&ng.ok(&answer(&call.id, "tag-a", "tag-b", &call.b.sdp())));
        assert_eq!(formats(&told), ["0", "101"], "{told}");
        call.talk(15); // what was under way in the codec before
        call.assert_talks();
        let (after, _) = call.talk(10);
        assert_eq!(after.packets[0].1.ssrc, before.packets[0].1.ssrc);
    }
}

fn plain_call(ng: &mut Ng) -> Call {
    let (a, b) = (
        Phone::new(CodecKind::Pcmu, 0, 600.0),
        Phone::new(CodecKind::Pcmu, 0, 1_000.0),
    );
    let mut call = Call::new(ng, a, b, &json!({}));
    call.assert_talks();
    call
}

#[test]
fn one_party_hears_a_prompt_while_the_other_goes_on() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = plain_call(&mut ng);
    let mut play = call.media("play media", "tag-a");
    play["blob64"] = json!(base64(&wav(1_500.0, 2_000)));
    play["start-pos"] = json!(500);
    assert_eq!(ng.ok(&play)["duration"], 2_000);
    let (at_a, at_b) = call.talk(50);
    at_a.assert_tone(1_500.0, "A");
    at_a.assert_one_clock("A");
    at_b.assert_tone(600.0, "B");
    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    let playing = |tag: &str| query["tags"][tag]["medias"][0]["playing"].clone();
    let position = playing("tag-a")[0]["position"].as_i64().expect("a player");
    assert!((1_300..=1_800).contains(&position), "{position}");
    assert_eq!(playing("tag-b"), json!([]));
    let stopped = ng.ok(&call.media("stop media", "tag-a"));
    let stopped = stopped["last-frame-pos"].as_i64().expect("a position");
    assert!((position..=position + 300).contains(&stopped), "{stopped}");
    call.talk(5);
    let (at_a, at_b) = call.talk(50);
    at_a.assert_tone(1_000.0, "A again");
    at_a.assert_one_clock("A again");
    at_b.assert_tone(600.0, "B still");
    let reply = ng.request(&call.media("stop media", "tag-a"));
    assert_eq!(reply["error-reason"], "Not currently playing media");
    let metrics = metrics(&switch);
    for line in ["crosspoint_played_total 1", "crosspoint_prompts 1"] {
        assert!(metrics.lines().any(|l| l == line), "no {line} in {metrics}");
    }
}

fn metrics(switch: &Switch) -> String {
    let mut door = TcpStream::connect(switch.http).expect("the HTTP door");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    door.write_all(request).expect("a request");
    let mut text = String::new();
    door.read_to_string(&mut text).expect("a reply");
    text
}

#[test]
fn a_prompt_is_repeated_as_often_or_as_long_as_asked() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut call = plain_call(&mut ng);
    let file = base64(&wav(1_500.0, 200));
    for (more, frames) in [
        (json!({}), 10),
        (json!({"repeat-times": 3}), 30),
        (json!({"repeat-duration": 500}), 25),
        (json!({"repeat-times": 2, "repeat-duration": 60_000}), 20),
    ] {
        std::thread::sleep(Duration::from_millis(200)); // what is under way
        call.a.take();
        let mut play = call.media("play media", "tag-a");
        play["blob64"] = json!(file);
        let keys = play.as_object_mut().expect("keys");
        keys.extend(more.as_object().expect("keys").clone());
        assert_eq!(ng.ok(&play)["duration"], 200);
        // Only A is silent: all it hears is the prompt.
        every_20_ms(50, |_| {
            call.a.speak(call.a_to);
            call.a.listen();
        });
        let heard = call.a.take();
        assert_eq!(heard.packets.len(), frames, "{more}");
        assert_eq!(
            rtp::gaps(
                &heard
                    .packets
                    .iter()
                    .map(|(_, p)| p.clone())
                    .collect::<Vec<_>>()
            )
            .0,
            0
        );
    }
}

#[test]
fn all_parties_hear_a_file_and_bad_ones_are_refused() {
    let directory: PathBuf = scratch("prompts");
    let file = directory.join("prompt.wav");
    std::fs::write(&file, wav(1_500.0, 2_000)).expect("a scratch file");
    std::fs::write(directory.join("noise.wav"), b"not a sound at all").expect("a scratch file");
    let shown = directory.to_str().expect("a name");
    let switch = Switch::start_with("127.0.0.1", 64, &["--prompt-dir", shown]);
    let mut ng = switch.client();
    let mut call = plain_call(&mut ng);
    let mut play = json!({"command": "play media", "call-id": call.id, "flags": ["all"]});
    play["file"] = json!("prompt.wav");
    ng.ok(&play);
    call.talk(2);
    let (at_a, at_b) = call.talk(50);
    at_a.assert_tone(1_500.0, "A");
    at_b.assert_tone(1_500.0, "B");
    std::fs::write(directory.join("short.wav"), wav(900.0, 100)).expect("a scratch file");
    play["file"] = json!(["short.wav", "prompt.wav", "short.wav"]);
    assert_eq!(ng.ok(&play)["duration"], 2_200, "one after another");
    call.talk(10);
    let query = ng.ok(&json!({"command": "query", "call-id": call.id}));
    let playing = &query["tags"]["tag-a"]["medias"][0]["playing"][0];
    assert_eq!(playing["item"], 1, "{playing}");

    let mut reason = |change: &dyn Fn(&mut Value)| {
        let mut play = call.media("play media", "tag-a");
        change(&mut play);
        let reply = ng.request(&play);
        assert_eq!(reply["result"], "error", "{reply}");
        reply["error-reason"].as_str().expect("a reason").to_owned()
    };
    let missing = reason(&|play| play["file"] = json!("missing.wav"));
    assert!(missing.contains("missing.wav: No such file"), "{missing}");
    let outside = reason(&|play| play["file"] = json!("/etc/passwd"));
    assert!(
        outside.contains("not below a prompt directory"),
        "{outside}"
    );
    let noise = reason(&|play| play["file"] = json!("noise.wav"));
    assert!(noise.contains("noise.wav"), "{noise}");
    let nothing = reason(&|_| {});
    assert!(nothing.contains("file, blob or blob64"), "{nothing}");
    let nobody = reason(&|play| {
        play["file"] = json!("prompt.wav");
        play["from-tag"] = json!("tag-x");
    });
    assert_eq!(nobody, "From-tag given, but no such tag exists");
    let unselected = reason(&|play| {
        play.as_object_mut().expect("keys").remove("from-tag");
        play["file"] = json!("prompt.wav");
    });
    assert_eq!(unselected, "No participant party specified");

    // A party that speaks nothing we can encode.
    let g729 = call
        .a
        .sdp()
        .replace("AVP 0 101", "AVP 18")
        .replace("a=rtpmap:0 PCMU/8000\r\n", "");
    ng.ok(&offer("g729", "tag-a", &g729));
    ng.ok(&answer("g729", "tag-a", "tag-b", &g729));
    let play = json!({
        "command": "play media", "call-id": "g729", "from-tag": "tag-a", "file": "prompt.wav",
    });
    let reply = ng.request(&play);
    let reason = reply["error-reason"].as_str().expect("a reason");
    assert!(reason.contains("a codec that can be encoded"), "{reason}");
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn the_caller_hears_ringback_until_the_call_is_answered() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Phone::new(CodecKind::Pcmu, 0, 600.0);
    let mut b = Phone::new(CodecKind::Pcmu, 0, 1_000.0);
    let mut request = offer("ringing", "tag-a", &a.sdp());
    request["early-media-policy"] = json!("ringback=440");
    let b_to = target(&sdp_of(&ng.ok(&request)));
    // An early answer, whose own tones are not heard.
    let mut early = answer("ringing", "tag-a", "tag-b", &b.sdp());
    early["sip-code"] = json!(183);
    ng.ok(&early);
    every_20_ms(75, |_| {
        b.speak(b_to);
        a.listen();
    });
    let heard = a.take();
    heard.assert_tone(440.0, "A");
    heard.assert_one_clock("A");
    let mut done = answer("ringing", "tag-a", "tag-b", &b.sdp());
    done["sip-code"] = json!(200);
    let a_to = target(&sdp_of(&ng.ok(&done)));
    let mut call = Call {
        id: "ringing".into(),
        a,
        b,
        a_to,
        b_to,
        told: Default::default(),
    };
    call.assert_talks();
}

#[test]
fn the_caller_hears_all_branches_together_while_they_ring() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Phone::new(CodecKind::Pcma, 8, 600.0);
    let mut branches = [
        Phone::new(CodecKind::Pcma, 8, 1_000.0),
        Phone::new(CodecKind::G722, 9, 1_400.0),
    ];
    let mut to = Vec::new();
    for (n, branch) in branches.iter_mut().enumerate() {
        let mut request = offer("mixed", "tag-a", &a.sdp());
        request["via-branch"] = json!(format!("z{n}"));
        request["early-media-policy"] = json!("mix");
        request["codec"] = json!({"transcode": ["G722"]});
        to.push(target(&sdp_of(&ng.ok(&request))));
        let mut early = answer("mixed", "tag-a", &format!("tag-{n}"), &branch.sdp());
        early["via-branch"] = json!(format!("z{n}"));
        early["sip-code"] = json!(183);
        ng.ok(&early);
    }
    every_20_ms(100, |_| {
        for (branch, to) in branches.iter_mut().zip(&to) {
            branch.speak(*to);
        }
        a.listen();
    });
    let heard = a.take();
    heard.assert_one_clock("A");
    let shares = [heard.share(1_000.0), heard.share(1_400.0)];
    assert!(
        shares.iter().all(|share| (0.3..0.7).contains(share)),
        "{shares:?}"
    );
}
