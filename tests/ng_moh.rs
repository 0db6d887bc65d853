//! Music on hold asked of the whole process by ng: begun by who holds, heard by the other party.
//!
//! Every voice is a tone, found again by Goertzel in what the other party received and decoded.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test signals and test clocks are far inside every range"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crosspoint::audio::codec::CodecKind;
use serde_json::{Value, json};
use support::audio::wav;
use support::every_20_ms;
use support::ng::Ng;
use support::party::{answer, offer, target};
use support::phone::{Heard, Phone};
use support::rtp::{self, Packet};
use support::switch::{Switch, scratch};

const MUSIC_HZ: f64 = 1_500.0;

/// What was sent has come after this long, on a busy machine too.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// A talks with B on a switch that has music.
struct Call {
    ng: Ng,
    id: String,
    a: Phone,
    b: Phone,
    a_to: SocketAddr,
    b_to: SocketAddr,
    /// All that B ever received.
    at_b: Vec<Packet>,
    prompts: PathBuf,
    switch: Switch,
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.prompts);
    }
}

impl Call {
    /// `moh` is A's; B speaks `kind`.
    fn new(kind: CodecKind, pt: u8, moh: [Option<Value>; 2]) -> Self {
        let prompts = scratch("prompts");
        std::fs::write(prompts.join("music.wav"), wav(MUSIC_HZ, 240)).expect("a scratch file");
        let shown = prompts.to_str().expect("UTF-8");
        let arguments = ["--prompt-dir", shown, "--prompt-private-urls", "true"];
        let switch = Switch::start_with("127.0.0.1", 64, &arguments);
        let mut ng = switch.client();
        let id = format!("moh-{:016x}", fastrand::u64(..));
        let a = Phone::new(CodecKind::Pcmu, 0, 600.0);
        let b = Phone::new(kind, pt, 1_000.0);
        let mut request = offer(&id, "a", &a.sdp());
        if kind != CodecKind::Pcmu {
            let name = kind.to_string();
            let name = name.split('/').next().expect("a name");
            request["codec"] = json!({"transcode": [name], "mask": ["PCMU"]});
        }
        let [of_a, of_b] = moh;
        put(&mut request, of_a);
        let told = ng.ok(&request);
        let b_to = target(told["sdp"].as_str().expect("an SDP"));
        let mut request = answer(&id, "a", "b", &b.sdp());
        put(&mut request, of_b);
        let told = ng.ok(&request);
        assert_eq!(told.get("warning"), None, "{told}");
        let a_to = target(told["sdp"].as_str().expect("an SDP"));
        Self {
            ng,
            id,
            a,
            b,
            a_to,
            b_to,
            at_b: Vec::new(),
            prompts,
            switch,
        }
    }

    /// A re-offers in this direction, B answers in that one; what each was told.
    fn offer(&mut self, direction: &str, answered: &str, moh: Option<Value>) -> [String; 2] {
        let sdp = format!("{}a={direction}\r\n", self.a.sdp());
        let mut request = offer(&self.id, "a", &sdp);
        request["to-tag"] = json!("b");
        put(&mut request, moh);
        let begun = Instant::now();
        let told_b = self.ng.ok(&request);
        assert!(
            begun.elapsed() < Duration::from_millis(800),
            "an offer waits for nothing"
        );
        let sdp = format!("{}a={answered}\r\n", self.b.sdp());
        let told_a = self.ng.ok(&answer(&self.id, "a", "b", &sdp));
        [told_b, told_a].map(|told| told["sdp"].as_str().expect("an SDP").to_owned())
    }

    /// Both speak for `count` packets of 20 ms; what they heard.
    fn talk(&mut self, count: u32) -> [Heard; 2] {
        every_20_ms(count, |_| {
            self.a.speak(self.a_to);
            self.b.speak(self.b_to);
            self.a.listen();
            self.b.listen();
        });
        std::thread::sleep(UNDER_WAY);
        let heard = [self.a.take(), self.b.take()];
        self.at_b
            .extend(heard[1].packets.iter().map(|(_, p)| p.clone()));
        heard
    }

    #[track_caller]
    fn assert_talks(&mut self) {
        self.talk(5);
        let [at_a, at_b] = self.talk(40);
        at_a.assert_tone(1_000.0, "A");
        at_b.assert_tone(600.0, "B");
    }

    #[track_caller]
    fn assert_music(&mut self) {
        self.talk(10);
        let [at_a, at_b] = self.talk(60);
        at_b.assert_tone(MUSIC_HZ, "B, held");
        assert_eq!(at_a.packets.len(), 0, "A hears nobody");
    }

    /// B received one stream from its first packet to its last.
    #[track_caller]
    fn assert_one_stream(&self) {
        let first = self.at_b[0].ssrc;
        assert!(self.at_b.iter().all(|p| p.ssrc == first));
        assert_eq!(rtp::gaps(&self.at_b), (0, true));
    }
}

fn put(request: &mut Value, moh: Option<Value>) {
    if let Some(moh) = moh {
        request["moh"] = moh;
    }
}

fn music() -> Option<Value> {
    Some(json!({"file": "music.wav"}))
}

fn direction(sdp: &str) -> &str {
    let names = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let attributes = || sdp.lines().filter_map(|line| line.strip_prefix("a="));
    let found = attributes().find(|attribute| names.contains(attribute));
    found.expect("a direction")
}

fn holds_and_resumes(kind: CodecKind, pt: u8) {
    let mut call = Call::new(kind, pt, [music(), None]);
    call.assert_talks();
    let [told_b, told_a] = call.offer("sendonly", "recvonly", None);
    assert_eq!(
        (direction(&told_b), direction(&told_a)),
        ("sendonly", "recvonly")
    );
    call.assert_music();
    // Held again, as a session timer does: the music goes on.
    call.offer("sendonly", "recvonly", None);
    let [_, at_b] = call.talk(40);
    at_b.assert_tone(MUSIC_HZ, "B, held once more");
    call.offer("sendrecv", "sendrecv", None);
    call.assert_talks();
    // And once more, from the cache.
    call.offer("sendonly", "recvonly", None);
    call.assert_music();
    call.offer("sendrecv", "sendrecv", None);
    call.assert_talks();
    call.assert_one_stream();
    call.switch.assert_alive();
}

#[test]
fn music_is_played_over_and_over_until_the_party_resumes() {
    holds_and_resumes(CodecKind::Pcmu, 0);
}

#[test]
fn music_is_played_in_the_listeners_codec() {
    holds_and_resumes(CodecKind::G722, 9);
}

#[test]
fn mode_and_connection_change_what_the_held_party_is_told() {
    let moh = json!({"file": "music.wav", "mode": "sendrecv", "connection": "zero"});
    let mut call = Call::new(CodecKind::Pcmu, 0, [Some(moh), None]);
    call.assert_talks();
    let [told_b, told_a] = call.offer("inactive", "sendrecv", None);
    assert_eq!(
        (direction(&told_b), direction(&told_a)),
        ("sendrecv", "inactive")
    );
    assert!(told_b.contains("c=IN IP4 0.0.0.0"), "{told_b}");
    assert!(!told_a.contains("0.0.0.0"), "{told_a}");
    call.assert_music();
    let [told_b, told_a] = call.offer("sendrecv", "sendrecv", None);
    assert_eq!(
        (direction(&told_b), direction(&told_a)),
        ("sendrecv", "sendrecv")
    );
    assert!(!told_b.contains("0.0.0.0"), "{told_b}");
    call.assert_talks();
    call.assert_one_stream();
}

#[test]
fn a_party_that_does_not_receive_is_not_played_to() {
    let mut call = Call::new(CodecKind::Pcmu, 0, [music(), None]);
    call.assert_talks();
    call.offer("inactive", "inactive", None);
    call.talk(10);
    let [at_a, at_b] = call.talk(40);
    assert_eq!((at_a.packets.len(), at_b.packets.len()), (0, 0));
    call.offer("sendrecv", "sendrecv", None);
    call.assert_talks();
}

#[test]
fn a_party_without_music_of_its_own_reflects_that_of_the_other() {
    let mut call = Call::new(CodecKind::Pcmu, 0, [None, music()]);
    call.assert_talks();
    // Not asked for.
    call.offer("sendonly", "recvonly", None);
    call.talk(10);
    let [_, at_b] = call.talk(40);
    assert!(at_b.share(MUSIC_HZ) < 0.1);
    call.offer("sendrecv", "sendrecv", None);
    call.offer("sendonly", "recvonly", Some(json!({"mode": "reflect"})));
    call.assert_music();
    call.offer("sendrecv", "sendrecv", None);
    call.assert_talks();
}

#[test]
fn music_that_is_not_there_leaves_the_call_as_it_is() {
    let nothing = json!({"file": "nothing.wav"});
    let mut call = Call::new(CodecKind::Pcmu, 0, [Some(nothing), None]);
    call.assert_talks();
    let [told_b, _] = call.offer("sendonly", "recvonly", None);
    assert_eq!(direction(&told_b), "sendonly");
    // What A itself sends is heard in the place of the music.
    call.talk(10);
    let [_, at_b] = call.talk(40);
    at_b.assert_tone(600.0, "B");
    let why = call
        .ng
        .ok(&json!({"command": "cli", "body": format!("why {}", call.id)}));
    let why = why["response"].as_str().expect("text");
    assert!(why.contains("no music on hold"), "{why}");
    call.offer("sendrecv", "sendrecv", None);
    call.assert_talks();
}

#[test]
fn music_that_comes_after_the_hold_is_over_is_not_played() {
    let web = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/music.wav", web.local_addr().expect("bound"));
    let mut call = Call::new(CodecKind::Pcmu, 0, [Some(json!({"file": url})), None]);
    call.assert_talks();
    call.offer("sendonly", "recvonly", None);
    let (mut door, _) = web.accept().expect("the switch");
    call.talk(20);
    call.offer("sendrecv", "sendrecv", None);
    let mut request = [0; 1_024];
    let _ = door.read(&mut request).expect("a request");
    let body = wav(MUSIC_HZ, 2_000);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {}\r\n\
         Cache-Control: max-age=60\r\nConnection: close\r\n\r\n",
        body.len()
    );
    door.write_all(head.as_bytes()).expect("the switch");
    door.write_all(&body).expect("the switch");
    drop(door);
    call.talk(20);
    call.assert_talks();
    // It is there now: the next hold has it at once.
    call.offer("sendonly", "recvonly", None);
    call.assert_music();
}

#[test]
fn prompts_connects_and_holds_end_each_other() {
    let mut call = Call::new(CodecKind::Pcmu, 0, [music(), None]);
    std::fs::write(call.prompts.join("prompt.wav"), wav(2_000.0, 600)).expect("a scratch file");
    call.assert_talks();
    call.offer("sendonly", "recvonly", None);
    call.assert_music();
    let play = json!({
        "command": "play media", "call-id": call.id, "from-tag": "b", "file": "prompt.wav",
    });
    call.ng.ok(&play);
    let [_, at_b] = call.talk(28);
    at_b.assert_tone(2_000.0, "B hears the prompt");
    // Held once more by a party that resumes and holds again.
    call.offer("sendrecv", "sendrecv", None);
    call.offer("sendonly", "recvonly", None);
    call.assert_music();
    let connect = json!({
        "command": "connect", "call-id": call.id, "from-tag": "a", "to-tag": "b", "flags": [],
    });
    call.ng.ok(&connect);
    call.talk(10);
    let [_, at_b] = call.talk(40);
    at_b.assert_tone(600.0, "B hears A");
    call.assert_one_stream();
}

#[test]
fn a_call_that_begins_on_hold_has_music_from_its_answer_on() {
    let mut call = Call::new(CodecKind::Pcmu, 0, [None, None]);
    let id = format!("{}-held", call.id);
    let sdp = format!("{}a=sendonly\r\n", call.a.sdp());
    let mut request = offer(&id, "a", &sdp);
    put(&mut request, music());
    let told = call.ng.ok(&request);
    call.b_to = target(told["sdp"].as_str().expect("an SDP"));
    let sdp = format!("{}a=recvonly\r\n", call.b.sdp());
    let told = call.ng.ok(&answer(&id, "a", "b", &sdp));
    call.a_to = target(told["sdp"].as_str().expect("an SDP"));
    call.assert_music();
}
