//! Behind a mask neither party learns anything of the other: not by SIP, nor in its SDP, in RTP or
//! in RTCP.

use super::*;

/// What the mask shows.
const MASK: &str = "18001234";

const FLOW: &str = r#"
numbers = ["200"]
start = "hide"

[applet.hide]
applet = "mask"
number = "18001234"
next = "bob"

[applet.bob]
applet = "connect"
to = "sip:bob@127.0.0.1:@0@"
"#;

/// A time of day that a party tells by RTCP: its own, and not now.
fn ntp(ssrc: u32) -> u64 {
    0x1122_3344_5566_7788 ^ u64::from(ssrc) << 16
}

/// A sender report and a source description (RFC 3550 sections 6.4.1 and 6.5) that tell a lot.
fn report(ssrc: u32, name: &str) -> Vec<u8> {
    let mut bytes = vec![0x80, 200, 0, 6];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(ntp(ssrc).to_be_bytes());
    for word in [16_000_u32, 0x00AB_CDEF, 0x0FED_CBA9] {
        bytes.extend(word.to_be_bytes());
    }
    let host = name.to_lowercase();
    let items = [
        (1, format!("{host}@{host}.example.org")),
        (2, name.to_owned()),
        (3, format!("mail@{host}.example.org")),
        (4, "+41790001122".to_owned()),
        (5, format!("Place of {name}")),
        (6, format!("Tool of {name}")),
        (7, format!("Note of {name}")),
    ];
    let mut chunk = ssrc.to_be_bytes().to_vec();
    for (kind, text) in items {
        chunk.extend([kind, u8::try_from(text.len()).expect("short")]);
        chunk.extend(text.bytes());
    }
    chunk.resize(chunk.len() / 4 * 4 + 4, 0);
    let words = u16::try_from(chunk.len() / 4).expect("short");
    bytes.extend([0x81, 202]);
    bytes.extend(words.to_be_bytes());
    bytes.extend(chunk);
    bytes
}

/// What a party is known by.
struct Secrets {
    /// Case does not matter.
    texts: Vec<String>,
    bytes: Vec<Vec<u8>>,
    voice: Script,
}

impl Secrets {
    /// Of a party of this name, whose tags begin so.
    fn of(party: &Sipp, name: &str, tag: &str, number: &str, voice: &Script) -> Self {
        let told = party.messages();
        // Its own SDP alone has a name of its session.
        let (_, own) = told.split_once("\ns=Session").expect("its SDP");
        let line = own.lines().find(|line| line.starts_with("m=audio "));
        let port = line.and_then(|line| line.split(' ').nth(1));
        let texts = [
            name,
            tag,
            number,
            &format!("127.0.0.1:{}", party.sip_port()),
            &format!("m=audio {} ", port.expect("a port")),
            "41790001122",
        ];
        Self {
            texts: texts.into_iter().map(str::to_lowercase).collect(),
            bytes: vec![
                voice.ssrc().to_be_bytes().to_vec(),
                ntp(voice.ssrc()).to_be_bytes().to_vec(),
                ntp(voice.ssrc()).to_be_bytes()[2..6].to_vec(),
                0x0FED_CBA9_u32.to_be_bytes().to_vec(),
            ],
            voice: voice.clone(),
        }
    }

    /// None of them is in what the other one was told: SIP, and every datagram of media.
    fn assert_kept(&self, who: &str, told: &str, datagrams: &[Vec<u8>]) {
        let told = told.to_lowercase();
        for secret in &self.texts {
            assert!(!told.contains(secret), "{who} is told {secret}:\n{told}");
        }
        for datagram in datagrams {
            let shown = String::from_utf8_lossy(datagram).to_lowercase();
            for secret in &self.texts {
                assert!(
                    !shown.contains(secret),
                    "{who} gets {secret}: {datagram:02x?}"
                );
            }
            for secret in &self.bytes {
                let found = datagram.windows(secret.len()).any(|w| w == secret);
                assert!(!found, "{who} gets {secret:02x?}: {datagram:02x?}");
            }
            let Some(packet) = Packet::read(datagram) else {
                continue;
            };
            let same = |own: &Packet| (own.seq, own.timestamp) == (packet.seq, packet.timestamp);
            let numbers = self.voice.packets().iter().any(|(_, own)| same(own));
            assert!(!numbers, "{who} gets numbers of the other one: {packet:?}");
        }
    }
}

/// The messages that a party received.
fn received(party: &Sipp) -> String {
    let told = party.told().into_iter().filter(|told| !told.sent);
    told.map(|told| told.text).collect()
}

#[test]
fn behind_a_mask_neither_party_learns_anything_of_the_other() {
    let mut stage = Stage::set(&[("bob", FLOW)], 1, 1);
    // Those that their SDP names.
    let voices = [
        Script::new(0x7A11_C0DE).tone(CALLER_HZ, 420),
        Script::new(0x5EED_B0B5).tone(CALLEE_HZ, 420),
    ];
    let mut callee = stage.callee(0, "private-callee", 1, hush());
    // Reports come at the latest 7.5 s apart.
    let talk = Duration::from_millis(8_400);
    let mut caller = stage.caller_with("private-caller", 1, "200", hush(), talk, 0);
    let speaking = [caller.speak(&voices[0]), callee.speak(&voices[1])];
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        caller.report_by_rtcp(&report(voices[0].ssrc(), "Carla"));
        callee.report_by_rtcp(&report(voices[1].ssrc(), "Charles"));
    }
    for voice in speaking {
        let _departures = voice.finish();
    }
    caller.succeeds();
    callee.succeeds();
    let carla = Secrets::of(&caller, "Carla", "caller-", "41791234567", &voices[0]);
    let charles = Secrets::of(&callee, "Charles", "callee-", "41797654321", &voices[1]);
    let told = received(&callee);
    assert!(told.contains(MASK), "{told}");
    let call_id = |told: &str| {
        let mut lines = told.lines();
        let found = lines.find_map(|line| line.strip_prefix("Call-ID: "));
        found.expect("a Call-ID").to_owned()
    };
    assert_ne!(call_id(&received(&caller)), call_id(&told));
    for (who, party, secrets, hz) in [
        ("the callee", callee, carla, CALLER_HZ),
        ("the caller", caller, charles, CALLEE_HZ),
    ] {
        let datagrams = party.datagrams().remove(0);
        let rtcp = datagrams
            .iter()
            .filter(|d| (200..205).contains(&d[1]))
            .count();
        secrets.assert_kept(who, &received(&party), &datagrams);
        assert!(rtcp > 0, "{who} gets reports");
        let heard = party.finish().remove(0);
        assert!(packets_of(&heard, hz) > 300, "{who}");
    }
    stage.finish(1);
}
