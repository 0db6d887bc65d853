//! A switch that works for a long time: calls of every kind come and go, and nothing piles up.
//!
//! Ignored by ordinary runs; `make soak` runs it, for `CROSSPOINT_TEST_SOAK_S` seconds.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::audio::{base64, wav};
use support::party::{Call, Party, answer, offer, target};
use support::switch::Switch;

/// Seconds when nobody says.
const SOAK_S: u64 = 120;

/// Memory may grow by so much between the first and the last third of the time, in kB: replies
/// that are kept for retransmitting clients, and pages the allocator has not given back.
const GROWTH_KB_MAX: u64 = 8 * 1_024;

#[test]
#[ignore = "takes minutes: make soak"]
fn calls_come_and_go_and_nothing_is_left() {
    let seconds = std::env::var("CROSSPOINT_TEST_SOAK_S").map_or(SOAK_S, |text| {
        text.parse().expect("CROSSPOINT_TEST_SOAK_S: seconds")
    });
    let mut switch = Switch::start();
    let mut ng = switch.client();
    let (began, whole) = (Instant::now(), Duration::from_secs(seconds));
    let (mut rounds, mut sizes, mut files) = (0_u64, Vec::new(), Vec::new());
    while began.elapsed() < whole {
        let steady = relayed(&mut ng);
        for codec in ["PCMA", "G722", "opus"] {
            recoded(&mut ng, codec);
        }
        forked(&mut ng);
        junk(&mut ng, rounds);
        steady.delete(&mut ng);
        rounds += 1;
        sizes.push(resident_kb(&switch));
        files.push(open_files(&switch));
        switch.assert_alive();
    }
    support::wait_until("no call is left", || ng.calls().is_empty());
    let third = sizes.len() / 3;
    let early = sizes[..third].iter().max().expect("some rounds");
    let late = sizes[2 * third..].iter().max().expect("some rounds");
    println!("{rounds} rounds; resident {early} kB early, {late} kB late");
    assert!(late.saturating_sub(*early) <= GROWTH_KB_MAX, "{sizes:?} kB");
    support::wait_until("every file is closed that was opened", || {
        open_files(&switch) <= files[0]
    });
}

/// A plain call, which hears both tones, a prompt, and both tones again.
fn relayed(ng: &mut support::ng::Ng) -> Call {
    let mut call = Call::new(ng);
    call.connect();
    call.assert_works("at first");
    let mut play = json!({"command": "play media", "call-id": call.id, "from-tag": "tag-a"});
    play["blob64"] = json!(base64(&wav(1_500.0, 2_000)));
    ng.ok(&play);
    call.talk(25);
    play["command"] = json!("stop media");
    ng.request(&play);
    call.talk(25);
    call
}

/// A call whose callee is offered `codec` alone, and says so.
fn recoded(ng: &mut support::ng::Ng, codec: &str) {
    let (mut a, b) = (
        Party::new("127.0.0.1", 600.0),
        Party::new("127.0.0.1", 1_000.0),
    );
    let id = format!("soak-{:016x}", fastrand::u64(..));
    let mut request = offer(&id, "a", &a.sdp());
    request["codec"] = json!({"mask": ["all"], "transcode": [codec]});
    let offered = ng.ok(&request);
    let offered = offered["sdp"].as_str().expect("an SDP");
    let at = b.address();
    // The callee takes what it was offered.
    let taken: String = offered
        .lines()
        .filter(|line| line.starts_with("m=") || line.starts_with("a=rtpmap"))
        .map(|line| match line.strip_prefix("m=audio ") {
            Some(rest) => {
                let formats = rest.split_once(' ').expect("a media line").1;
                format!("m=audio {} {formats}\r\n", at.port())
            }
            None => format!("{line}\r\n"),
        })
        .collect();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n{taken}",
        at.ip()
    );
    let answered = ng.ok(&answer(&id, "a", "b", &sdp));
    let to = target(answered["sdp"].as_str().expect("an SDP"));
    let mut heard = 0;
    support::every_20_ms(50, |_| {
        a.speak(to);
        heard += b.datagrams().len();
    });
    assert!(heard > 20, "only {heard} packets of {codec}");
    ng.ok(&json!({"command": "delete", "call-id": id, "from-tag": "a"}));
}

/// A caller with three branches, of which one answers.
fn forked(ng: &mut support::ng::Ng) {
    let mut caller = Party::new("127.0.0.1", 600.0);
    let id = format!("soak-{:016x}", fastrand::u64(..));
    let sdp = caller.sdp();
    for branch in ["z1", "z2", "z3"] {
        let mut request = offer(&id, "a", &sdp);
        request["via-branch"] = json!(branch);
        request["early-media-policy"] = json!("mix");
        ng.ok(&request);
    }
    let mut callee = Party::new("127.0.0.1", 1_000.0);
    let mut request = answer(&id, "a", "b", &callee.sdp());
    request["via-branch"] = json!("z2");
    ng.ok(&request);
    ng.ok(&json!({"command": "delete", "call-id": id, "from-tag": "a"}));
}

/// What does not belong there.
fn junk(ng: &mut support::ng::Ng, round: u64) {
    let mut rng = fastrand::Rng::with_seed(round);
    for length in [0, 1, 40, 1_400] {
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        bytes.splice(..0, *b"junk d");
        ng.send_raw(&bytes);
    }
    let id = format!("soak-{round}");
    ng.request(&offer(&id, "a", "v=0\r\nm=audio 1 RTP/AVP"));
    ng.request(&json!({"command": "delete", "call-id": id}));
}

fn resident_kb(switch: &Switch) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", switch.pid()));
    let status = status.expect("our child");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().next());
    kb.and_then(|kb| kb.parse().ok()).expect("kB")
}

fn open_files(switch: &Switch) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", switch.pid()));
    folder.expect("our child").count()
}
