//! What a caller hears of a flow, and when: whispers, music, prompts that a key stops, and what is
//! heard while an application takes its time.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::ears::{Departure, Heard};
use super::support::key_tones;
use super::*;

/// A packet of ours in microseconds.
const PACKET_US: u64 = 20_000;

/// A tone this far below those of the tests, which are at -12 dB, is not there.
const SILENT_DB: f32 = -62.0;

/// Whether the packet carries this tone.
fn carries(heard: &Heard, hz: f32) -> bool {
    heard.packet.pt == 0 && audio::goertzel(&heard.packet.payload, hz) > 0.5
}

/// When such a tone was heard first, and when last.
fn span(heard: &[Heard], hz: f32) -> Option<[u64; 2]> {
    let mut with = heard.iter().filter(|heard| carries(heard, hz));
    let first = with.next()?;
    Some([first.at_us, with.next_back().unwrap_or(first).at_us])
}

/// The highest level of a tone in windows of 100 ms.
fn level_db(heard: &[Heard], hz: f32) -> f32 {
    let sound: Vec<u8> = heard
        .iter()
        .filter(|heard| heard.packet.pt == 0)
        .flat_map(|heard| heard.packet.payload.clone())
        .collect();
    let levels = sound.chunks_exact(800).map(|w| audio::level_db(w, hz));
    levels.fold(-120.0, f32::max)
}

#[test]
fn a_whisper_is_for_the_callee_alone() {
    let flow = r#"
        numbers = ["200"]
        start = "bob"
        [applet.bob]
        applet = "connect"
        to = "sip:bob@127.0.0.1:@0@"
        hold-music = "b.wav"
        whisper = "a.wav"
    "#;
    let mut stage = Stage::set(&[("bob", flow)], 1, 1);
    let callee = stage.callee(0, "callee", 1, callee_voice(200));
    let talk = Duration::from_millis(2_800);
    let caller = stage.caller_with("caller", 1, "200", caller_voice(140), talk, 0);
    let at_caller = caller.finish_stamped().remove(0);
    let at_callee = callee.finish_stamped().remove(0);
    let whispered = at_callee.iter().filter(|h| carries(h, PROMPT_A_HZ)).count();
    assert!(
        (PROMPT - 2..=PROMPT + 1).contains(&whispered),
        "{whispered}"
    );
    let [begins, ends] = span(&at_callee, PROMPT_A_HZ).expect("a whisper");
    // The caller hears its music, and nothing of the whisper.
    let [music, music_ends] = span(&at_caller, PROMPT_B_HZ).expect("music");
    assert!(music < begins && music_ends + 5 * PACKET_US > ends);
    let meanwhile = |heard: &&Heard| (begins..=ends).contains(&heard.at_us);
    let meanwhile: Vec<Heard> = at_caller.iter().filter(meanwhile).cloned().collect();
    assert!(meanwhile.len() > PROMPT - 5, "{} packets", meanwhile.len());
    let trace = level_db(&meanwhile, PROMPT_A_HZ);
    assert!(trace < SILENT_DB, "{trace} dB of the whisper at the caller");
    // Only behind it they hear each other.
    for (heard, hz) in [(&at_caller, CALLEE_HZ), (&at_callee, CALLER_HZ)] {
        let [from, _] = span(heard, hz).expect("the other one");
        assert!(from > ends, "{} us before the end of it", ends - from);
    }
    stage.finish(1);
}

#[test]
fn music_goes_on_at_its_place_after_an_announcement() {
    let music: Vec<String> = (0..NOTES_HZ.len())
        .map(|note| format!("\"note{note}.wav\""))
        .collect();
    let flow = format!(
        "numbers = [\"200\"]\nstart = \"line\"\n[applet.line]\napplet = \"queue\"\n\
         name = \"line\"\nagents = [\"sip:agent@127.0.0.1:@0@\"]\nmusic = [{}]\n\
         announce = \"a.wav\"\nannounce-every = 1\n",
        music.join(", ")
    );
    let mut stage = Stage::set(&[("line", &flow)], 1, 1);
    let agent = stage.callee(0, "ringing-callee", 1, hush());
    let talk = Duration::from_millis(5_200);
    let caller = stage.caller_with("caller", 1, "200", caller_voice(250), talk, 0);
    let heard = caller.finish().remove(0);
    agent.finish();
    assert_eq!(rtp::gaps(&heard), (0, true));
    let what = |packet: &Packet| {
        let tones = NOTES_HZ.into_iter().chain([PROMPT_A_HZ]);
        let level = |(ix, hz)| (ix, audio::goertzel(&packet.payload, hz));
        let mut clear = tones
            .enumerate()
            .map(level)
            .filter(|(_, share)| *share > 0.5);
        clear.next().map(|(ix, _)| ix)
    };
    let heard: Vec<usize> = heard.iter().filter_map(what).collect();
    let runs: Vec<(usize, usize)> = heard
        .chunk_by(|a, b| a == b)
        .map(|r| (r[0], r.len()))
        .collect();
    let announced = NOTES_HZ.len();
    let split: Vec<_> = runs.windows(3).filter(|w| w[1].0 == announced).collect();
    assert!(split.len() >= 2, "two announcements: {runs:?}");
    for around in split {
        let [before, announcement, after] = around else {
            unreachable!("three")
        };
        assert!(
            (PROMPT - 2..=PROMPT + 1).contains(&announcement.1),
            "{runs:?}"
        );
        let whole = before.1 + after.1;
        let goes_on = before.0 == after.0 && (NOTE - 2..=NOTE).contains(&whole);
        // Between two notes it goes on with the next.
        let at_its_end = (before.0 + 1) % announced == after.0;
        assert!(goes_on || at_its_end, "{runs:?}");
    }
    stage.finish(1);
}

/// A menu whose `2` says `b`, and that says `menu` for 3.6 s.
const MENU: &str = r#"
numbers = ["400"]
start = "menu"

[applet.menu]
applet = "menu"
prompt = ["menu.wav", "menu.wav", "menu.wav"]
keys = { 2 = "b" }

[applet.b]
applet = "greeting"
prompt = "b.wav"
"#;

/// Silence before the key, in packets.
const BEFORE: usize = 25;

/// How long after the key's first packet left the prompt's last one came.
fn stops_in(key: impl Fn(Script) -> Script) {
    in_time(|| {
        let mut stage = Stage::set(&[("menu", MENU)], 0, 1);
        let mut caller = stage.caller("quiet-caller", 1, "400", caller_voice(400));
        let quiet = |packets| [0xFF; 160].repeat(packets);
        let voice = key(Script::new(0xCA11).sound(&quiet(BEFORE))).sound(&quiet(25));
        let departures: Vec<Departure> = caller.speak(&voice).finish();
        caller.succeeds();
        let heard = caller.finish_stamped().remove(0);
        stage.finish(1);
        let pressed = departures[BEFORE].at_us;
        let [_, last] = span(&heard, MENU_HZ).expect("a prompt");
        let late = departures.iter().map(|d| d.late).max();
        let mut wrong = Vec::new();
        if !(pressed - 3 * PACKET_US..pressed + 40_000).contains(&last) {
            wrong.push(format!("the key at {pressed}, the prompt until {last}"));
        }
        if span(&heard, PROMPT_B_HZ).is_none() {
            wrong.push("the key leads nowhere".to_owned());
        }
        (wrong, late.expect("it spoke"))
    });
}

#[test]
fn a_key_stops_a_prompt() {
    stops_in(|voice| voice.digits(101, &[2]));
}

#[test]
fn a_key_in_the_voice_stops_a_prompt() {
    let hz = key_tones::hz_of_char('2');
    let pressed: Vec<u8> = (0..800)
        .map(|n| audio::ulaw_encode(key_tones::sample(hz, 5_000.0, 8_000.0, n)))
        .collect();
    stops_in(|voice| voice.sound(&pressed));
}

/// An application that answers once, after so long.
fn application(after: Duration) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut request = [0; 4_096];
        let _length = stream.read(&mut request).expect("a request");
        std::thread::sleep(after);
        let answer = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).expect("it is heard");
    });
    (port, answers)
}

/// Behind a conversation, whose packets were only relayed.
#[test]
fn no_gap_is_heard_while_an_application_takes_its_time() {
    in_time(|| {
        let (port, application) = application(Duration::from_millis(2_500));
        let flow = format!(
            "numbers = [\"200\"]\nstart = \"hello\"\n\
             [applet.hello]\napplet = \"greeting\"\nprompt = \"a.wav\"\nnext = \"bob\"\n\
             [applet.bob]\napplet = \"connect\"\nto = \"sip:bob@127.0.0.1:@0@\"\n\
             answered = \"ask\"\n\
             [applet.ask]\napplet = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\n\
             next = \"bye\"\n\
             [applet.bye]\napplet = \"greeting\"\nprompt = \"b.wav\"\n"
        );
        let mut stage = Stage::set(&[("ask", &flow)], 1, 1);
        let callee = stage.callee_with(0, "hangs-up-callee", 1, callee_voice(100), 500);
        let mut caller = stage.caller("quiet-caller", 1, "200", caller_voice(1_000));
        let late = caller.speak(&caller_voice(250)).late();
        caller.succeeds();
        callee.finish();
        application.join().expect("it was asked");
        let heard = caller.finish_stamped().remove(0);
        stage.finish(1);
        let [_, talked] = span(&heard, CALLEE_HZ).expect("a conversation");
        let [said, _] = span(&heard, PROMPT_B_HZ).expect("a prompt");
        let meanwhile: Vec<&Heard> = heard
            .iter()
            .filter(|heard| (talked..=said).contains(&heard.at_us))
            .collect();
        let came = meanwhile.windows(2).map(|two| two[1].at_us - two[0].at_us);
        let counted = meanwhile.windows(2).map(|two| {
            two[1]
                .packet
                .timestamp
                .wrapping_sub(two[0].packet.timestamp)
        });
        let (came, counted) = (came.max().unwrap_or(0), counted.max().unwrap_or(0));
        let mut wrong = Vec::new();
        if said - talked < 2_500_000 || came > 40_000 || counted > 320 {
            wrong.push(format!(
                "{came} us and {counted} ticks between two packets of {}",
                meanwhile.len()
            ));
        }
        (wrong, late)
    });
}
