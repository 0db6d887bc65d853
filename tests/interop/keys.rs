//! Keys through Kamailio: its script names who is told of presses, and whether the other party
//! gets them. A caller presses two keys as tones, and then others as telephone-events: as SIPp
//! makes them, or as a telephone once did, in captures that come with SIPp.
//!
//! Kamailio 5.6 cannot listen to presses itself, so the script names a socket of the test.

use std::f64::consts::TAU;
use std::net::UdpSocket;

use serde_json::Value;

use super::support::audio;
use super::support::rtp::{self, Packet, Script};
use super::{CALLEE_HZ, CALLER_HZ, Stage, callee_voice};

/// Keys in the audio of `caller.pcap`.
const TONES: &str = "5A";

/// Their codes.
const TONE_CODES: [u8; 2] = [5, 12];

/// Row and column frequencies (ITU-T Q.23), and the keys where they cross.
const ROWS_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const PAD: [&str; 4] = ["123A", "456B", "789C", "*0#D"];

/// Where presses are told.
struct Log(UdpSocket);

impl Log {
    fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
        socket.set_nonblocking(true).expect("a socket");
        Self(socket)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }

    /// All that has been told.
    fn take(&self, into: &mut Vec<Value>) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.0.recv(&mut buffer) {
            into.push(serde_json::from_slice(&buffer[..len]).expect("JSON"));
        }
    }
}

/// A call by this scenario to this user; what the callee heard, and what was told.
fn call(scenario: &str, user: &str) -> (Vec<Packet>, Vec<Value>) {
    let mut stage = Stage::set(1);
    let log = Log::open();
    let callee = stage.callee(0, "callee", 1, callee_voice(600));
    let user = format!("{user}-{}", log.port());
    let caller = stage.caller(scenario, 1, &user, voice());
    let at_caller = caller.finish().remove(0);
    assert_eq!(rtp::digits(&at_caller), [], "keys only go one way");
    let share = audio::share_of_tone(&rtp::pcmu(&at_caller), CALLEE_HZ);
    assert!(share > 0.9, "only {share:.2} at the caller is the callee");
    let at_callee = callee.finish().remove(0);
    let mut told = Vec::new();
    log.take(&mut told);
    stage.assert_clean();
    (at_callee, told)
}

/// A voice of 600 Hz, the keys of [`TONES`], and the voice again.
fn voice() -> Script {
    let mut script = Script::new(0xCA11).tone(CALLER_HZ, 15);
    for key in TONES.chars() {
        script = script.sound(&tones(key)).sound(&[0xFF; 5 * 160]);
    }
    script.tone(CALLER_HZ, 15)
}

/// 100 ms of a key, each of its tones at -13 dBm0.
fn tones(key: char) -> Vec<u8> {
    let place = PAD.iter().enumerate();
    let mut place = place.filter_map(|(row, keys)| Some((row, keys.find(key)?)));
    let (row, column) = place.next().expect("a key");
    let sample = |n: u32| {
        let turn = TAU * f64::from(n) / 8_000.0;
        let wave = |hz: f32| (turn * f64::from(hz)).sin();
        let both = wave(ROWS_HZ[row]) + wave(COLUMNS_HZ[column]);
        #[allow(clippy::cast_possible_truncation, reason = "twice 5000 at most")]
        let sample = (5_000.0 * both) as i16;
        audio::ulaw_encode(sample)
    };
    (0..800).map(sample).collect()
}

/// How many packets carry a row and a column frequency of any key.
fn with_tones(heard: &[Packet]) -> usize {
    let carries = |packet: &&Packet| {
        let loud = |hz: &f32| audio::level_db(&packet.payload, *hz) > -35.0;
        packet.pt == 0 && ROWS_HZ.iter().any(loud) && COLUMNS_HZ.iter().any(loud)
    };
    heard.iter().filter(carries).count()
}

/// Every press was told once, in its order, and with the names it belongs to.
fn assert_told(told: &[Value], events: &[u8]) {
    let codes: Vec<u64> = told
        .iter()
        .filter_map(|one| one["event"].as_u64())
        .collect();
    let pressed = TONE_CODES.iter().chain(events).copied().map(u64::from);
    assert_eq!(codes, pressed.collect::<Vec<_>>(), "{told:#?}");
    for one in told {
        assert_eq!(
            (&one["type"], &one["source_ip"]),
            (&"DTMF".into(), &"127.0.0.1".into())
        );
        let tag = one["source_tag"].as_str().expect("a tag");
        assert!(tag.starts_with("caller-"), "{one}");
        let ms = one["duration"].as_u64().expect("a duration");
        assert!((80..=300).contains(&ms), "{one}");
    }
    let ids: Vec<_> = told.iter().map(|one| &one["callid"]).collect();
    assert!(
        ids.iter().all(|id| *id == ids[0] && id.is_string()),
        "{ids:?}"
    );
}

#[test]
fn key_presses_are_told_once_to_whom_kamailio_names() {
    const EVENTS: [u8; 6] = [1, 9, 0, 10, 11, 15];
    let (heard, told) = call("keys-caller", "tell");
    assert_told(&told, &EVENTS);
    let codes: Vec<u8> = rtp::digits(&heard).iter().map(|digit| digit.code).collect();
    assert_eq!(codes, EVENTS, "the callee gets the events");
    let tones = with_tones(&heard);
    assert!(
        (8..=12).contains(&tones),
        "the callee hears 2 keys in {tones} packets"
    );
}

#[test]
fn kamailio_hides_keys_from_the_callee_and_they_are_still_told() {
    let (heard, told) = call("phone-caller", "hide");
    assert_told(&told, &[3, 8, 0, 10, 11]);
    assert_eq!(rtp::digits(&heard), [], "the callee gets no events");
    assert_eq!(with_tones(&heard), 0, "the callee hears no tones");
    let voiced = |packet: &&Packet| audio::level_db(&packet.payload, CALLER_HZ) > -20.0;
    let voiced = heard.iter().filter(voiced).count();
    // Recoded frames share the first and last packets, and the end of the voice is faded out.
    assert!(
        (30..=38).contains(&voiced),
        "of 30 packets of the voice {voiced} were heard"
    );
}
