//! Recordings asked of the whole process by ng, and the files that come of them: fetched over HTTP
//! and searched for the tones that the parties said.

#![allow(
    clippy::cast_possible_truncation,
    reason = "test signals are far inside every range"
)]

#[path = "ng_recording/room.rs"]
mod room;
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crosspoint::audio::codec::CodecKind;
use serde_json::{Value, json};
use support::audio::{self, wav};
use support::ng::Ng;
use support::party::{Call, Party, answer, offer, target};
use support::phone::{Phone, goertzel};
use support::switch::{Switch, scratch};
use support::{every_20_ms, wait_until};

/// Hz of the parties of [`Call::new`].
const A_HZ: f64 = 600.0;
const B_HZ: f64 = 1_000.0;

/// A switch with a directory of recordings.
struct Desk {
    switch: Switch,
    ng: Ng,
    home: PathBuf,
}

impl Desk {
    fn new(arguments: &[&str]) -> Self {
        let home = scratch("recordings");
        let shown = home.to_str().expect("UTF-8");
        let own = ["--recording-dir", shown, "--recording-pattern", "{call}"];
        let arguments = [&own[..], arguments].concat();
        let switch = Switch::start_with("127.0.0.1", 64, &arguments);
        let ng = switch.client();
        Self { switch, ng, home }
    }

    fn start(&mut self, id: &str, keys: Value) -> Value {
        self.ng.request(&request("start recording", id, keys))
    }

    fn error(&mut self, verb: &str, id: &str, keys: Value) -> String {
        let reply = self.ng.request(&request(verb, id, keys));
        assert_eq!(reply["result"], "error", "{reply}");
        reply["error-reason"].as_str().expect("a reason").to_owned()
    }

    fn ok(&mut self, verb: &str, id: &str, keys: Value) -> Value {
        self.ng.ok(&request(verb, id, keys))
    }

    /// What `query` says of recordings.
    fn states(&mut self, id: &str) -> Vec<Value> {
        let reply = self.ok("query", id, json!({}));
        let files = reply["recording"]["files"].as_array();
        files.cloned().unwrap_or_default()
    }

    /// The sound of a recording that is complete, by channel.
    fn channels(&self, path: &str) -> Vec<Vec<i16>> {
        wait_until("the recording is complete", || {
            self.sidecar(path).is_some() && self.home.join(path).exists()
        });
        let (status, file) = self.switch.http("GET", &format!("/recordings/{path}"));
        assert_eq!(status, 200);
        audio::channels(&file)
    }

    fn sidecar(&self, path: &str) -> Option<Value> {
        let asked = format!("/recordings/{path}?sidecar");
        let (status, text) = self.switch.http("GET", &asked);
        (status == 200).then(|| serde_json::from_slice(&text).expect("JSON"))
    }

    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.home, &self.home, &mut files);
        files
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn walk(home: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a directory").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => walk(home, &path, files),
            false => {
                let inside = path.strip_prefix(home).expect("inside");
                files.push(inside.to_string_lossy().into_owned());
            }
        }
    }
}

fn request(verb: &str, id: &str, keys: Value) -> Value {
    let mut request = json!({"command": verb, "call-id": id});
    for (key, value) in keys.as_object().expect("keys") {
        request[key.as_str()] = value.clone();
    }
    request
}

/// How many windows of 50 ms are a tone of `hz`. A party whose clock stood still while it asked the
/// switch for something is brought back to the time, up to 3 % slower or faster, for a while.
fn windows(sound: &[i16], hz: f64) -> usize {
    const STEP_HZ: f64 = 10.0;
    // Rounded up: a tone of 618 Hz is not found at 610.
    let steps = (hz * 0.03 / STEP_HZ).ceil() as i32;
    let is_tone = |window: &&[i16]| {
        let mut near = (-steps..=steps).map(|step| hz + f64::from(step) * STEP_HZ);
        near.any(|hz| goertzel(window, hz, 8_000) > 0.75)
    };
    sound.chunks_exact(400).filter(is_tone).count()
}

/// Ids are part of paths here.
fn call(ng: &mut Ng) -> Call {
    let mut call = Call::new(ng);
    call.connect();
    call
}

/// Both speak for so many packets of 20 ms, and hear all of each other.
fn talk(call: &mut Call, count: u32) {
    call.quiet();
    let (at_a, at_b) = call.talk(count);
    assert_eq!(
        (at_a.len(), at_b.len()),
        (count as usize, count as usize),
        "undisturbed"
    );
}

#[test]
fn a_call_is_recorded_left_and_right() {
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    let keys = json!({"recording-layout": "stereo", "metadata": "ticket=7"});
    let reply = desk.start(&call.id, keys);
    assert_eq!(reply["result"], "ok", "{reply}");
    let path = reply["recording-file"].as_str().expect("a path").to_owned();
    assert_eq!(path, format!("{}.wav", call.id));
    talk(&mut call, 50);
    let states = desk.states(&call.id);
    assert_eq!(states.len(), 1);
    assert_eq!(
        (&states[0]["state"], &states[0]["legs"]),
        (&json!("recording"), &json!(["tag-a", "tag-b"]))
    );
    let told = desk.ok("query", &call.id, json!({}));
    assert_eq!(told["metadata"], "ticket=7");
    // In progress it is listed, and not to be had.
    let (status, list) = desk.switch.http("GET", "/recordings");
    let list: Value = serde_json::from_slice(&list).expect("JSON");
    assert_eq!(
        (status, &list["recordings"][0]["state"]),
        (200, &json!("recording"))
    );
    assert_eq!(
        desk.switch.http("GET", &format!("/recordings/{path}")).0,
        409
    );
    assert_eq!(
        desk.switch.http("DELETE", &format!("/recordings/{path}")).0,
        409
    );
    desk.ok("stop recording", &call.id, json!({}));
    talk(&mut call, 10);
    let channels = desk.channels(&path);
    assert_eq!(channels.len(), 2);
    let [left, right] = [&channels[0], &channels[1]];
    assert!(windows(left, A_HZ) >= 16, "{}", windows(left, A_HZ));
    assert!(windows(right, B_HZ) >= 16, "{}", windows(right, B_HZ));
    assert_eq!((windows(left, B_HZ), windows(right, A_HZ)), (0, 0));
    let sidecar = desk.sidecar(&path).expect("a sidecar");
    assert_eq!(
        (&sidecar["metadata"], &sidecar["call_id"]),
        (&json!("ticket=7"), &json!(call.id))
    );
    let (_, list) = desk.switch.http("GET", "/recordings?prefix=call-");
    let list: Value = serde_json::from_slice(&list).expect("JSON");
    assert_eq!(list["recordings"][0]["state"], "complete", "{list}");
    assert_eq!(
        desk.switch.http("DELETE", &format!("/recordings/{path}")).0,
        200
    );
    assert_eq!(desk.files(), Vec::<String>::new());
    call.delete(&mut desk.ng);
}

#[test]
fn a_second_start_changes_nothing_and_ends_a_pause() {
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    let first = desk.ok("start recording", &call.id, json!({}));
    let again = desk.ok(
        "start recording",
        &call.id,
        json!({"recording-layout": "stereo"}),
    );
    assert_eq!(first["recording-file"], again["recording-file"]);
    talk(&mut call, 25);
    desk.ok("pause recording", &call.id, json!({}));
    assert_eq!(desk.states(&call.id)[0]["state"], "paused");
    talk(&mut call, 50);
    desk.ok("start recording", &call.id, json!({}));
    assert_eq!(desk.states(&call.id)[0]["state"], "recording");
    talk(&mut call, 25);
    desk.ok("stop recording", &call.id, json!({"flags": ["pause"]}));
    assert_eq!(
        desk.states(&call.id)[0]["state"],
        "paused",
        "as Kamailio pauses"
    );
    // The call's end ends it.
    call.delete(&mut desk.ng);
    let path = first["recording-file"].as_str().expect("a path");
    let channels = desk.channels(path);
    assert_eq!(channels.len(), 1, "mono, as it was asked for first");
    let both = channels[0].chunks_exact(400);
    let heard = |w: &[i16]| [A_HZ, B_HZ].map(|hz| goertzel(w, hz, 8_000) > 0.3);
    let heard: Vec<[bool; 2]> = both.map(heard).collect();
    let talked = heard.iter().filter(|both| **both == [true, true]).count();
    let silent = heard.iter().filter(|both| **both == [false, false]).count();
    assert!((15..=22).contains(&talked), "{talked} of 20 windows");
    assert!(silent >= 17, "{silent} of 20 windows of the pause");
    assert_eq!(desk.files().len(), 2, "one file and its sidecar");
}

#[test]
fn record_call_records_from_the_offer_on() {
    let mut desk = Desk::new(&[]);
    let (mut a, mut b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1_000.0),
    );
    let id = format!("call-{:016x}", fastrand::u64(..));
    let mut first = offer(&id, "a", &a.sdp());
    first["record-call"] = json!("yes");
    first["recording-layout"] = json!("stereo");
    let told = desk.ng.ok(&first);
    assert_eq!(told.get("warning"), None, "{told}");
    let b_to = target(told["sdp"].as_str().expect("an SDP"));
    assert_eq!(desk.states(&id).len(), 1, "begun before anybody answered");
    std::thread::sleep(Duration::from_millis(500));
    let told = desk.ng.ok(&answer(&id, "a", "b", &b.sdp()));
    let a_to = target(told["sdp"].as_str().expect("an SDP"));
    every_20_ms(50, |_| {
        a.speak(a_to);
        b.speak(b_to);
    });
    // Another codec in the middle of it.
    let mut c = Phone::new(CodecKind::Pcma, 8, 1_400.0);
    c.party = b;
    let told = desk.ng.ok(&{
        let mut again = offer(&id, "b", &c.sdp());
        again["to-tag"] = json!("a");
        again
    });
    let sdp = told["sdp"].as_str().expect("an SDP");
    assert!(sdp.contains("RTP/AVP 8"), "{sdp}");
    let mut d = Phone::new(CodecKind::Pcma, 8, 1_800.0);
    d.party = a;
    desk.ng.ok(&answer(&id, "b", "a", &d.sdp()));
    every_20_ms(50, |_| {
        d.speak(a_to);
        c.speak(b_to);
    });
    let mut stop = request("delete", &id, json!({}));
    stop["from-tag"] = json!("a");
    desk.ng.ok(&stop);
    let channels = desk.channels(&format!("{id}.wav"));
    let first = |channel: usize| {
        let windows = channels[channel].chunks_exact(400);
        windows
            .take_while(|w| w.iter().all(|s| s.abs() < 64))
            .count()
    };
    assert!(first(0) >= 8 && first(1) >= 8, "silence while it rang");
    for (channel, own, other) in [
        (0, [600.0, 1_800.0], 1_000.0),
        (1, [1_000.0, 1_400.0], 600.0),
    ] {
        for hz in own {
            let found = windows(&channels[channel], hz);
            assert!(found >= 15, "{hz} Hz on channel {channel}: {found} windows");
        }
        assert_eq!(windows(&channels[channel], other), 0);
    }
}

#[test]
fn a_leg_is_recorded_with_what_it_hears() {
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    let keys = json!({
        "recording-leg": "tag-b", "recording-side": "both", "recording-layout": "stereo",
        "recording-id": "agent", "recording-pattern": "{account}/{leg}", "recording-account": "x/y",
    });
    let reply = desk.ok("start recording", &call.id, keys);
    assert_eq!(reply["recording-file"], "x_y/tag-b.wav");
    let whole = desk.ok("start recording", &call.id, json!({}));
    talk(&mut call, 30);
    desk.ok("stop recording", &call.id, json!({"recording-id": "agent"}));
    assert_eq!(desk.states(&call.id).len(), 1, "the other goes on");
    talk(&mut call, 10);
    let channels = desk.channels("x_y/tag-b.wav");
    assert!(windows(&channels[0], B_HZ) >= 8, "what it says is left");
    assert!(windows(&channels[1], A_HZ) >= 8, "what it hears is right");
    assert_eq!(
        (windows(&channels[0], A_HZ), windows(&channels[1], B_HZ)),
        (0, 0)
    );
    // All that is recorded is thrown away with the call.
    let keys = json!({"from-tag": "tag-a", "flags": ["discard-recording"]});
    desk.ok("delete", &call.id, keys);
    let thrown = whole["recording-file"].as_str().expect("a path").to_owned();
    wait_until("the other one is thrown away", || {
        desk.files().iter().all(|file| !file.contains(&thrown))
    });
}

#[test]
fn bad_input_is_refused_and_the_call_goes_on() {
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    let id = call.id.clone();
    let error = desk.error("stop recording", &id, json!({}));
    assert_eq!(error, "Call is not being recorded");
    let error = desk.error("pause recording", &id, json!({}));
    assert_eq!(error, "Call is not being recorded");
    let error = desk.error("start recording", "nobody", json!({}));
    assert_eq!(error, "Unknown call-id");
    let error = desk.error(
        "start recording",
        &id,
        json!({"metadata": "m".repeat(10_000)}),
    );
    assert_eq!(
        error,
        "Cannot record: metadata of 10000 octets: at most 4096"
    );
    for keys in [
        json!({"recording-file": "../escaped"}),
        json!({"recording-file": "/tmp/escaped"}),
        json!({"recording-file": "a/../../escaped"}),
        json!({"recording-file": ".hidden"}),
        json!({"recording-dir": "/tmp", "recording-file": "escaped"}),
        json!({"recording-dir": "../x"}),
        json!({"recording-dir": "a//b"}),
        json!({"recording-pattern": "../{call}"}),
        json!({"recording-pattern": "{call}\u{0}"}),
        json!({"recording-pattern": "{nothing}"}),
    ] {
        let error = desk.error("start recording", &id, keys.clone());
        assert!(error.starts_with("Cannot record: "), "{keys}: {error}");
        talk(&mut call, 1);
    }
    let error = desk.error("start recording", &id, json!({"recording-rate": 44_100}));
    assert!(error.contains("44100"), "{error}");
    // Only what comes as Opus can be stored as it came.
    for leg in [json!({}), json!({"recording-leg": "tag-a"})] {
        let mut keys = leg;
        keys["recording-format"] = json!("opus-copy");
        let error = desk.error("start recording", &id, keys);
        assert_eq!(
            error,
            "Cannot record: only a single Opus leg can be stored as it came"
        );
    }
    // A directory that cannot be: there is a file.
    std::fs::write(desk.home.join("taken"), "").expect("a file");
    let error = desk.error("start recording", &id, json!({"recording-dir": "taken"}));
    let file = desk.home.join("taken").join(format!("{id}.wav"));
    let wanted = format!(
        "Cannot record: {} cannot be written: Not a dir",
        file.display()
    );
    assert!(error.starts_with(&wanted), "{error}");
    talk(&mut call, 5);
    std::fs::remove_file(desk.home.join("taken")).expect("removed");
    let error = desk.error("start recording", &id, json!({"recording-leg": "nobody"}));
    assert_eq!(error, "From-tag given, but no such tag exists");
    assert_eq!(desk.files(), Vec::<String>::new(), "nothing was begun");
    assert!(desk.states(&id).is_empty());
    // What is right after all that works.
    desk.ok(
        "start recording",
        &id,
        json!({"metadata": "m".repeat(4_096)}),
    );
    talk(&mut call, 5);
    desk.ok(
        "stop recording",
        &id,
        json!({"flags": ["discard-recording"]}),
    );
    wait_until("nothing is left", || desk.files().is_empty());
    desk.switch.assert_alive();
}

#[test]
fn a_name_that_is_taken_gets_a_number_or_is_refused() {
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    let mut paths = Vec::new();
    for _ in 0..3 {
        let reply = desk.ok(
            "start recording",
            &call.id,
            json!({"recording-pattern": "same"}),
        );
        let path = reply["recording-file"].as_str().expect("a path").to_owned();
        talk(&mut call, 5);
        desk.ok("stop recording", &call.id, json!({}));
        desk.channels(&path);
        paths.push(path);
    }
    assert_eq!(paths, ["same.wav", "same-2.wav", "same-3.wav"]);
    let error = desk.error(
        "start recording",
        &call.id,
        json!({"recording-file": "same"}),
    );
    assert_eq!(error, "Cannot record: 'same.wav' exists");
    // In progress it is taken, too.
    let of = |id: &str, pattern: &str| json!({"recording-id": id, "recording-pattern": pattern});
    let first = desk.ok("start recording", &call.id, of("1", "busy"));
    let second = desk.ok("start recording", &call.id, of("2", "busy"));
    let both = [&first["recording-file"], &second["recording-file"]];
    assert_eq!(both, ["busy.wav", "busy-2.wav"]);
    talk(&mut call, 5);
}

#[test]
fn a_call_has_so_many_recordings() {
    const MOST: usize = crosspoint::engine::RECORDERS_MAX;
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    for n in 0..MOST {
        desk.ok(
            "start recording",
            &call.id,
            json!({"recording-id": n.to_string()}),
        );
    }
    let error = desk.error("start recording", &call.id, json!({"recording-id": "more"}));
    assert_eq!(
        error,
        format!("Too many recordings of one call (at most {MOST})")
    );
    desk.ok("stop recording", &call.id, json!({"recording-id": "0"}));
    desk.ok("start recording", &call.id, json!({"recording-id": "more"}));
    talk(&mut call, 10);
    desk.ok("stop recording", &call.id, json!({}));
    assert!(desk.states(&call.id).is_empty());
}

#[test]
fn who_may_not_ask_for_files() {
    let desk = Desk::new(&["--http-token", "0123456789abcdef"]);
    for path in ["/recordings", "/recordings/a.wav"] {
        assert_eq!(desk.switch.http("GET", path).0, 401, "{path}");
        assert_eq!(desk.switch.http("DELETE", "/recordings/a.wav").0, 401);
    }
    let desk = Desk::new(&[]);
    std::fs::write(desk.home.with_extension("wav"), b"secret").expect("a neighbour");
    let name = desk
        .home
        .file_name()
        .expect("a name")
        .to_str()
        .expect("UTF-8");
    for path in [
        format!("../{name}.wav"),
        format!("%2e%2e/{name}.wav"),
        format!("..%2f{name}.wav"),
        format!("a/..%2f..%2f{name}.wav"),
        format!("%2f{}.wav", desk.home.to_str().expect("UTF-8")),
        format!("/{}.wav", desk.home.to_str().expect("UTF-8")),
        ".a.wav.part".to_owned(),
        "a%00b".to_owned(),
        "a.wav".to_owned(),
    ] {
        for method in ["GET", "DELETE"] {
            let (status, body) = desk.switch.http(method, &format!("/recordings/{path}"));
            assert!([400, 404].contains(&status), "{method} {path}: {status}");
            assert!(!body.windows(6).any(|w| w == b"secret"));
        }
    }
    assert!(desk.home.with_extension("wav").exists());
    let _ = std::fs::remove_file(desk.home.with_extension("wav"));
}

#[test]
fn what_cannot_be_written_is_said() {
    let blocked = scratch("blocked");
    let file = blocked.join("file");
    std::fs::write(&file, b"").expect("a scratch file");
    let inside = file.join("recordings");
    let inside = inside.to_str().expect("UTF-8");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_crosspoint"))
        .args(["serve", "--ng", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(["--recording-dir", inside, "--sip-listen", "off"])
        .output()
        .expect("the switch");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains(inside), "{told}");
    // One that nobody asked for is missed when it is to be used.
    let switch = Switch::start_with("127.0.0.1", 64, &["--recording-dir", ""]);
    let mut ng = switch.client();
    let mut call = call(&mut ng);
    let reply = ng.request(&request("start recording", &call.id, json!({})));
    assert_eq!(
        reply["error-reason"], "recording is switched off",
        "{reply}"
    );
    let mut offer = offer(&call.id, "tag-a", &call.a.sdp());
    (offer["to-tag"], offer["record-call"]) = (json!("tag-b"), json!("yes"));
    let reply = ng.ok(&offer);
    assert_eq!(reply["warning"], "record-call: recording is switched off");
    assert!(reply["sdp"].is_string());
    talk(&mut call, 5);
    assert_eq!(switch.http("GET", "/recordings").0, 404);
    let _ = std::fs::remove_dir_all(blocked);
}

#[test]
fn an_announcement_and_a_beep_are_heard() {
    let prompts = scratch("prompts");
    std::fs::write(prompts.join("told.wav"), wav(1_500.0, 400)).expect("a scratch file");
    let shown = prompts.to_str().expect("UTF-8").to_owned();
    let mut desk = Desk::new(&["--prompt-dir", &shown]);
    let mut call = call(&mut desk.ng);
    let keys = json!({"recording-announcement": "told.wav"});
    desk.ok("start recording", &call.id, keys);
    let (at_a, at_b) = call.talk(40);
    for (who, heard) in [("a", at_a), ("b", at_b)] {
        let share = support::audio::share_of_tone(&support::rtp::pcmu(&heard), 1_500.0);
        assert!(share > 0.2, "{who} hears the announcement: {share}");
    }
    let beep = json!({"recording-id": "two", "flags": ["recording-beep"]});
    desk.ok("start recording", &call.id, beep);
    let (at_a, _) = call.talk(20);
    let heard = support::rtp::pcmu(&at_a);
    let share = support::audio::share_of_tone(&heard, 1_000.0);
    assert!(share > 0.3, "{share}");
    let gone = json!({"recording-id": "three", "recording-announcement": "nowhere.wav"});
    let reply = desk.ok("start recording", &call.id, gone);
    let warning = reply["warning"].as_str().expect("a warning");
    assert!(
        warning.starts_with("announcement: Cannot play: "),
        "{warning}"
    );
    let _ = std::fs::remove_dir_all(prompts);
}

#[test]
fn a_fork_is_recorded_with_whom_it_chose() {
    let mut desk = Desk::new(&[]);
    let party = |hz| Party::new("127.0.0.1", hz);
    let (mut a, mut lost, mut won) = (party(600.0), party(1_000.0), party(1_400.0));
    let id = format!("call-{:016x}", fastrand::u64(..));
    let mut ports = Vec::new();
    for branch in ["b1", "b2"] {
        let mut ring = offer(&id, "a", &a.sdp());
        ring["via-branch"] = json!(branch);
        ring["flags"] = json!(["trust-address", "early-media"]);
        let told = desk.ng.ok(&ring);
        ports.push(target(told["sdp"].as_str().expect("an SDP")));
    }
    let legs = json!({"recording-layout": "legs-4"});
    let path = desk.ok("start recording", &id, legs)["recording-file"].clone();
    let mut early = json!({"recording-layout": "legs-4", "recording-id": "early"});
    early["recording-early-media"] = json!("yes");
    let early = desk.ok("start recording", &id, early)["recording-file"].clone();
    every_20_ms(50, |_| {
        lost.speak(ports[0]);
        won.speak(ports[1]);
    });
    let spoke = Instant::now();
    // A source has to prove itself by its first packets, which are not recorded.
    const PROOF: i64 = 7;
    wait_until("what was said before the answer has come", || {
        let told = desk.ok("query", &id, json!({}));
        told["totals"]["RTP"]["packets"].as_i64() >= Some(2 * (50 - PROOF))
    });
    let mut chosen = answer(&id, "a", "b2", &won.sdp());
    chosen["via-branch"] = json!("b2");
    let told = desk.ng.ok(&chosen);
    let a_to = target(told["sdp"].as_str().expect("an SDP"));
    // Meanwhile their clocks went on.
    let frames = spoke.elapsed().as_millis() / 20;
    for party in [&mut lost, &mut won] {
        party.timestamp = party.timestamp.wrapping_add(160 * frames as u32);
    }
    every_20_ms(50, |_| {
        a.speak(a_to);
        lost.speak(ports[0]);
        won.speak(ports[1]);
    });
    let mut end = request("delete", &id, json!({}));
    end["from-tag"] = json!("a");
    desk.ng.ok(&end);
    let found = |path: &Value| {
        let channels = desk.channels(path.as_str().expect("a path"));
        assert_eq!(channels.len(), 4);
        [600.0, 1_000.0, 1_400.0].map(|hz| {
            let of_all = channels.iter().map(|channel| windows(channel, hz));
            of_all.sum::<usize>()
        })
    };
    // What the recordings say of themselves if something is missing.
    let told = |path: &Value| {
        let told = desk.sidecar(path.as_str().expect("a path"));
        let told = told.expect("a sidecar");
        format!("{} {}", told["tracks"], told["spans"])
    };
    let [caller, loser, winner] = found(&path);
    let all = told(&path);
    assert!(
        caller >= 15 && loser == 0,
        "{caller} {loser} {winner}: {all}"
    );
    assert!(
        (15..=21).contains(&winner),
        "only from the answer on: {winner} of 20: {all}"
    );
    let [caller, loser, winner] = found(&early);
    let all = told(&early);
    assert!(
        caller >= 15 && (10..=21).contains(&loser),
        "{caller} {loser} {winner}: {all}"
    );
    assert!(
        winner >= 30,
        "from its first packet on: {winner} of 40: {all}"
    );
}

/// A room is a call: the recording of the call is that of the room, whoever is in it.
#[test]
fn a_room_is_recorded_while_guests_come_and_go() {
    let mut desk = Desk::new(&[]);
    let id = format!("room-{:016x}", fastrand::u64(..));
    let voices = [600.0, 1_000.0, 1_400.0];
    let mut guests: Vec<(Party, std::net::SocketAddr)> = Vec::new();
    let enter = |desk: &mut Desk, n: usize| {
        let mut party = Party::new("127.0.0.1", voices[n] as f32);
        let keys = json!({"from-tag": format!("tag-{n}"), "sdp": party.sdp()});
        let told = desk.ok("publish", &id, keys);
        let to = target(told["sdp"].as_str().expect("an SDP"));
        let all = 0..=n;
        let others = |own: usize| all.clone().filter(move |other| *other != own);
        let heard = all.clone().map(|own| {
            let to: Vec<String> = others(own).map(|other| format!("tag-{other}")).collect();
            json!({"from": format!("tag-{own}"), "to": to})
        });
        let mesh = json!({"command": "mesh", "calls": [id], "tags": heard.collect::<Vec<_>>()});
        desk.ng.ok(&mesh);
        (party, to)
    };
    for n in 0..2 {
        let guest = enter(&mut desk, n);
        guests.push(guest);
    }
    let path = desk.ok(
        "start recording",
        &id,
        json!({"recording-layout": "legs-4"}),
    );
    every_20_ms(50, |_| {
        guests.iter_mut().for_each(|(party, to)| party.speak(*to));
    });
    let guest = enter(&mut desk, 2);
    guests.push(guest);
    let states = desk.states(&id);
    assert_eq!(states[0]["legs"], json!(["tag-0", "tag-1", "tag-2"]));
    every_20_ms(50, |_| {
        guests.iter_mut().for_each(|(party, to)| party.speak(*to));
    });
    desk.ok("delete", &id, json!({"from-tag": "tag-0"}));
    let (_, rest) = guests.split_at_mut(1);
    every_20_ms(25, |_| {
        rest.iter_mut().for_each(|(party, to)| party.speak(*to));
    });
    desk.ok("stop recording", &id, json!({}));
    let channels = desk.channels(path["recording-file"].as_str().expect("a path"));
    for (channel, (hz, least)) in voices.into_iter().zip([30, 40, 20]).enumerate() {
        let found = windows(&channels[channel], hz);
        assert!(
            found >= least,
            "{hz} Hz on channel {channel}: {found} windows"
        );
        let others = voices.iter().filter(|other| **other != hz);
        for other in others {
            assert_eq!(
                windows(&channels[channel], *other),
                0,
                "{other} on {channel}"
            );
        }
    }
}

#[test]
fn recordings_of_two_calls_go_on_when_they_become_one() {
    let mut desk = Desk::new(&[]);
    let mut first = call(&mut desk.ng);
    let sdp = |party: &mut Party| party.sdp();
    let (c, d) = (
        Party::new("127.0.0.1", 1_400.0),
        Party::new("127.0.0.1", 1_800.0),
    );
    let mut second = Call {
        id: format!("call-{:016x}", fastrand::u64(..)),
        a: c,
        b: d,
        a_to: first.a_to,
        b_to: first.b_to,
    };
    let told = desk.ng.ok(&offer(&second.id, "tag-c", &sdp(&mut second.a)));
    second.b_to = target(told["sdp"].as_str().expect("an SDP"));
    let told = desk
        .ng
        .ok(&answer(&second.id, "tag-c", "tag-d", &sdp(&mut second.b)));
    second.a_to = target(told["sdp"].as_str().expect("an SDP"));
    second.connect();
    let legs = json!({"recording-layout": "legs-4"});
    let one = desk.ok("start recording", &first.id, legs.clone())["recording-file"].clone();
    let two = desk.ok("start recording", &second.id, legs)["recording-file"].clone();
    talk(&mut first, 20);
    let joined = json!({"from-tag": "tag-a", "to-tag": "tag-c", "to-call-id": second.id});
    desk.ok("connect", &first.id, joined);
    let states = desk.states(&second.id);
    assert_eq!(states.len(), 2, "one call, by either id");
    let (a_to, c_to) = (first.a_to, second.a_to);
    every_20_ms(50, |_| {
        first.a.speak(a_to);
        second.a.speak(c_to);
    });
    desk.ok("stop recording", &first.id, json!({}));
    for path in [one, two] {
        let channels = desk.channels(path.as_str().expect("a path"));
        for hz in [600.0, 1_400.0] {
            let of_all = channels.iter().map(|channel| windows(channel, hz));
            let most = of_all.max().expect("channels");
            assert!(most >= 15, "{hz} Hz: {most} of 20 windows in {path}");
        }
    }
    let end = json!({"from-tag": "tag-a"});
    desk.ok("delete", &first.id, end);
}

#[test]
fn files_are_listed_fetched_and_deleted_on_the_command_line() {
    let mut desk = Desk::new(&[]);
    let mut call = call(&mut desk.ng);
    let reply = desk.ok("start recording", &call.id, json!({"recording-dir": "a/b"}));
    let path = reply["recording-file"].as_str().expect("a path").to_owned();
    assert_eq!(path, format!("a/b/{}.wav", call.id));
    talk(&mut call, 10);
    desk.ok("stop recording", &call.id, json!({}));
    desk.channels(&path);
    let http = desk.switch.http.to_string();
    let ctl = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_crosspoint"))
            .args(["ctl", "recordings", "--http", &http])
            .args(arguments)
            .output()
            .expect("the tool");
        let told = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (
            output.status.success(),
            told(output.stdout),
            told(output.stderr),
        )
    };
    let (listed, lines, _) = ctl(&["list", "a/"]);
    assert!(
        listed && lines.starts_with(&format!("{path}\tcomplete\t")),
        "{lines}"
    );
    assert_eq!(ctl(&["list", "x"]).1, "");
    let here = scratch("fetched");
    let copy = here.join("copy.wav");
    let copy = copy.to_str().expect("UTF-8");
    assert!(ctl(&["fetch", &path, "--output", copy]).0);
    let fetched = std::fs::read(copy).expect("the copy");
    assert_eq!(
        fetched,
        desk.switch.http("GET", &format!("/recordings/{path}")).1
    );
    let (again, _, why) = ctl(&["fetch", &path, "--output", copy]);
    assert!(!again && why.contains("cannot write"), "{why}");
    assert!(!ctl(&["fetch", "../x.wav"]).0 && !ctl(&["delete", "../x.wav"]).0);
    assert!(ctl(&["delete", &path]).0);
    let (gone, _, why) = ctl(&["delete", &path]);
    assert!(
        !gone && why.contains("404") && why.contains("no recording"),
        "{why}"
    );
    let _ = std::fs::remove_dir_all(here);
}
