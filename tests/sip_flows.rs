//! `crosspoint serve` answers the phone: SIPp calls numbers whose flows are TOML files, SIPp is
//! called by them, and what is proven is what each party heard, was told by SIP, and what the call
//! records say of it afterwards.

#[path = "sip_flows/applets.rs"]
mod applets;
#[path = "sip_flows/baresip.rs"]
mod baresip;
#[path = "sip_flows/connects.rs"]
mod connects;
#[path = "interop/ears.rs"]
mod ears;
#[path = "sip_flows/heard.rs"]
mod heard;
#[path = "sip_flows/live.rs"]
mod live;
#[path = "sip_flows/privacy.rs"]
mod privacy;
#[path = "sip_flows/sessions.rs"]
mod sessions;
#[path = "sip_flows/signals.rs"]
mod signals;
#[path = "interop/sipp.rs"]
mod sipp;
mod support;
#[path = "sip_flows/transfers.rs"]
mod transfers;
#[path = "sip_flows/truth.rs"]
mod truth;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use sipp::{Plan, Sipp};
use support::ports::Ports;
use support::rtp::{self, Packet, Script};
use support::switch::{Switch, scratch};
use support::{audio, wait_until};

const CALLER_HZ: f32 = 600.0;
const CALLEE_HZ: f32 = 1000.0;
/// What flows say: a file of each beside them, `a.wav` and `b.wav`.
const PROMPT_A_HZ: f32 = 750.0;
const PROMPT_B_HZ: f32 = 1400.0;
/// And what menus say, `menu.wav`.
const MENU_HZ: f32 = 450.0;
/// Length of each in packets.
const PROMPT: usize = 60;
/// What music is made of, `note0.wav` and so on: a place of it is known by its tone.
const NOTES_HZ: [f32; 8] = [
    900.0, 1_050.0, 1_200.0, 1_350.0, 1_500.0, 1_650.0, 1_800.0, 1_950.0,
];
/// Length of each in packets.
const NOTE: usize = 20;

/// Packets of the tones of parties: 1.2 s.
const SHORT: u32 = 60;

/// How much longer than its voice a caller stays.
const SLACK: Duration = Duration::from_millis(800);

/// A missing tool fails the test: an interoperability test that did not run proves nothing.
fn missing(tool: &str, error: &dyn Display) -> ! {
    panic!("{tool} cannot be used ({error}); this test needs: apt-get install -y sip-tester")
}

/// A switch with flows, and ports for the SIPps of one test.
struct Stage {
    // In the order they are to be dropped.
    switch: Switch,
    ports: Ports,
    sip: u16,
    callees: Vec<u16>,
    home: PathBuf,
}

impl Stage {
    /// With these flows by name, room for so many callees, and for so many calls of each party.
    /// `@0@`, `@1@` … in a flow are the ports of the callees.
    fn set(flows: &[(&str, &str)], callees: usize, calls: u16) -> Self {
        Self::configured("", flows, callees, calls)
    }

    /// The same with a file of settings.
    fn configured(config: &str, flows: &[(&str, &str)], callees: usize, calls: u16) -> Self {
        let parties = u16::try_from(callees).expect("few") + 2;
        let mut ports = Ports::reserve(parties * (sipp::media_ports(calls) + 4) + 16);
        let sip = ports.next();
        let callees: Vec<u16> = (0..callees).map(|_| ports.next()).collect();
        let home = scratch("flows");
        let folder = home.join("flows");
        std::fs::create_dir(&folder).expect("a scratch directory");
        for (name, hz) in [("a", PROMPT_A_HZ), ("b", PROMPT_B_HZ), ("menu", MENU_HZ)] {
            let wav = audio::wav(f64::from(hz), PROMPT * 20);
            std::fs::write(folder.join(format!("{name}.wav")), wav).expect("a scratch file");
        }
        for (ix, hz) in NOTES_HZ.into_iter().enumerate() {
            let wav = audio::wav(f64::from(hz), NOTE * 20);
            std::fs::write(folder.join(format!("note{ix}.wav")), wav).expect("a scratch file");
        }
        for (name, flow) in flows {
            let mut flow = (*flow).to_owned();
            for (ix, port) in callees.iter().enumerate() {
                flow = flow.replace(&format!("@{ix}@"), &port.to_string());
            }
            std::fs::write(folder.join(format!("{name}.toml")), flow).expect("a scratch file");
        }
        std::fs::write(home.join("settings.toml"), config).expect("a scratch file");
        let path = |name: &str| home.join(name).to_str().expect("UTF-8").to_owned();
        let arguments = [
            "--config".to_owned(),
            path("settings.toml"),
            "--sip-listen".to_owned(),
            format!("udp:127.0.0.1:{sip}"),
            "--flow-dir".to_owned(),
            path("flows"),
            "--call-records".to_owned(),
            path("calls.sqlite"),
            "--recording-dir".to_owned(),
            path("recordings"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let switch = Switch::start_with("127.0.0.1", 512, &arguments);
        Self {
            switch,
            ports,
            sip,
            callees,
            home,
        }
    }

    /// Somebody who is called.
    fn callee(&mut self, number: usize, scenario: &str, calls: u16, voice: Script) -> Sipp {
        self.callee_with(number, scenario, calls, voice, 0)
    }

    /// `told`: what the scenario's `@STATUS@` is, and its `@TALK_MS@`.
    fn callee_with(
        &mut self,
        number: usize,
        scenario: &str,
        calls: u16,
        voice: Script,
        told: u16,
    ) -> Sipp {
        let media_port = self.ports.next_range(sipp::media_ports(calls)).0;
        Sipp::start(&Plan {
            scenario,
            calls,
            calls_per_second: 0,
            proxy: None,
            sip_port: self.callees[number],
            media_port,
            user: "",
            talk: Duration::from_millis(told.into()),
            status: told,
            voices: &[("callee", voice.clone()), ("early", voice)],
        })
    }

    /// Somebody who calls, and stays a little longer than its voice.
    fn caller(&mut self, scenario: &str, calls: u16, user: &str, voice: Script) -> Sipp {
        let talk = voice.length() + SLACK;
        self.caller_with(scenario, calls, user, voice, talk, 0)
    }

    /// Somebody who is refused with this status.
    fn refused(&mut self, user: &str, status: u16) -> Sipp {
        self.caller_with("refused-caller", 1, user, hush(), Duration::ZERO, status)
    }

    fn caller_with(
        &mut self,
        scenario: &str,
        calls: u16,
        user: &str,
        voice: Script,
        talk: Duration,
        status: u16,
    ) -> Sipp {
        let media_port = self.ports.next_range(sipp::media_ports(calls)).0;
        Sipp::start(&Plan {
            scenario,
            calls,
            calls_per_second: 20,
            proxy: Some(self.sip),
            sip_port: self.ports.next(),
            media_port,
            user,
            talk,
            status,
            voices: &[
                ("caller", voice),
                ("caller-hold", Script::new(0xCA11).tone(800.0, SHORT)),
            ],
        })
    }

    /// The switch lives, and has neither a call nor a dialog left; what was written down of
    /// `calls` calls, the oldest first.
    fn finish(&mut self, calls: usize) -> Vec<Value> {
        self.switch.assert_alive();
        let mut ng = self.switch.client();
        wait_until("no call is left on the switch", || ng.calls().is_empty());
        let mut records = Vec::new();
        wait_until("all calls are written down as over", || {
            records = self.records();
            let is_over = |call: &Value| !call["ended"].is_null();
            records.len() == calls && records.iter().all(is_over)
        });
        records
    }

    /// What `crosspoint calls` says, the oldest call first.
    fn records(&self) -> Vec<Value> {
        let mut calls = self.ask(&["--limit", "1000"]);
        calls.reverse();
        calls
    }

    /// The legs of a call but the caller's, in order.
    fn callees(&self, call: &Value) -> Vec<Value> {
        let call = self.ask(&[call["sid"].as_str().expect("a SID")]).remove(0);
        let legs = call["legs"].as_array().expect("legs").iter();
        let dialled = legs.filter(|leg| leg["direction"] == "outbound-dial");
        dialled.cloned().collect()
    }

    fn ask(&self, arguments: &[&str]) -> Vec<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_crosspoint"))
            .args(["calls", "--json", "--call-records"])
            .arg(self.home.join("calls.sqlite"))
            .args(arguments)
            .output()
            .expect("our binary");
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        let values = lines.lines().map(serde_json::from_str);
        values.collect::<Result<_, _>>().expect("JSON lines")
    }
}

/// What was recorded of a call.
impl Stage {
    /// The samples of each channel.
    fn recording(&self, call: &Value) -> Vec<Vec<i16>> {
        let recordings = call["recordings"].as_array().expect("recordings");
        let path = recordings[0].as_str().expect("a path");
        let path = self.home.join("recordings").join(path);
        wait_until("the recording has its name", || path.exists());
        let file = std::fs::read(&path);
        audio::channels(&file.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.home);
    }
}

fn caller_voice(packets: u32) -> Script {
    Script::new(0xCA11).tone(CALLER_HZ, packets)
}

fn callee_voice(packets: u32) -> Script {
    Script::new(0xCA11EE).tone(CALLEE_HZ, packets)
}

/// A voice that says nothing that counts.
fn hush() -> Script {
    caller_voice(1)
}

/// For how many packets the loudest of the tones that may be heard is this one.
fn packets_of(heard: &[Packet], hz: f32) -> usize {
    let is_it = |packet: &&Packet| {
        packet.pt == 0 && audio::share_of_tone(&[&*packet.payload; 5].concat(), hz) > 0.5
    };
    heard.iter().filter(is_it).count()
}

/// For how many seconds of a recording this tone is the loudest.
fn seconds_of(samples: &[i16], hz: f32) -> f32 {
    let is_it = |window: &&[i16]| {
        let octets: Vec<u8> = window.iter().map(|s| audio::ulaw_encode(*s)).collect();
        audio::share_of_tone(&octets.repeat(5), hz) > 0.5
    };
    samples.chunks_exact(160).filter(is_it).count() as f32 * 0.02
}

/// Heard this tone for about so many packets; where exactly a player or a mixer begins and ends is
/// proven elsewhere.
fn assert_hears(who: &str, heard: &[Packet], hz: f32, packets: usize) {
    let count = packets_of(heard, hz);
    assert!(
        (packets * 9 / 10..=packets + 3).contains(&count),
        "{who} heard {hz} Hz for {count} packets of {packets}, in {} packets",
        heard.len()
    );
    let (gaps, in_order) = rtp::gaps(heard);
    assert!(
        gaps == 0 && in_order,
        "{who}: {gaps} gaps, in order: {in_order}"
    );
}

/// Status of a call or a leg, its cause by SIP, and who hung up.
fn outcome(record: &Value) -> (&str, u64, &str) {
    (
        record["status"].as_str().unwrap_or("?"),
        record["cause"].as_u64().unwrap_or(0),
        record["ended_by"].as_str().unwrap_or("?"),
    )
}

/// A test that is not run in time measures itself.
const LATE_MAX: Duration = Duration::from_millis(3);

/// So often it is tried to be in time.
const TRIES: usize = 3;

/// How often it is looked whether a thread runs when it wants to: SIPp's players do not say so.
const LOOK: Duration = Duration::from_millis(2);

/// Measures: what is wrong, and by how much the test itself spoke too late. If something is wrong
/// and a busy machine did not let it speak in time, it is another time that counts.
fn in_time(mut measure: impl FnMut() -> (Vec<String>, Duration)) {
    for tries in 1..=TRIES {
        let over = AtomicBool::new(false);
        let ((wrong, spoken), looked) = std::thread::scope(|scope| {
            let looks = [(); 2].map(|()| scope.spawn(|| lateness(&over)));
            let ends = Ends(&over);
            let measured = measure();
            drop(ends);
            (measured, looks.map(|look| look.join().expect("it looks")))
        });
        if wrong.is_empty() {
            return;
        }
        let late = looked.into_iter().fold(spoken, Duration::max);
        let told = format!("{late:?} late: {}", wrong.join("\n"));
        assert!(tries < TRIES && late >= LATE_MAX, "{told}");
        println!("{told}\nonce more");
    }
}

/// Ends the looking, after a panic as well.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// By how much a thread that wants to run every [`LOOK`] was too late at the worst.
fn lateness(over: &AtomicBool) -> Duration {
    let mut late = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let due = Instant::now() + LOOK;
        std::thread::sleep(LOOK);
        late = late.max(due.elapsed());
    }
    late
}
