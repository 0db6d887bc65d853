//! A real softphone: baresip calls, presses keys and is called, and both ways are heard.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::json;

use super::support::key_tones;
use super::*;

/// A password of no secret.
const PASSWORD: &str = "not-secret";

/// Takes the message of whoever presses 2.
const FLOW: &str = r#"
numbers = ["400"]
start = "menu"

[applet.menu]
applet = "menu"
prompt = "a.wav"
timeout = 5
on-timeout = "b"
on-invalid = "b"
[applet.menu.keys]
2 = "leave"

[applet.leave]
applet = "voicemail"
prompt = "b.wav"
silence = 10
max-seconds = 2

[applet.b]
applet = "hangup"
"#;

/// A baresip that says a file of ours for ever, and what it is told by.
struct Softphone {
    child: Child,
    home: PathBuf,
    control: TcpStream,
}

impl Softphone {
    /// With this account, saying this sound at 8 kHz.
    fn start(ports: &mut Ports, account: &str, voice: &[i16]) -> Self {
        let home = scratch("baresip");
        // It listens for TLS at the port behind that of SIP.
        let sip = ports.next_range(2).0;
        let (control, media) = (ports.next(), ports.next_range(8));
        let path = |name: &str| home.join(name).to_str().expect("UTF-8").to_owned();
        let config = format!(
            "poll_method epoll\n\
             sip_listen 127.0.0.1:{sip}\n\
             audio_source aufile,{}\n\
             audio_player aubridge,null\n\
             audio_alert aubridge,null\n\
             ausrc_srate 8000\nauplay_srate 8000\n\
             ausrc_channels 1\nauplay_channels 1\n\
             rtp_ports {}-{}\n\
             module_path /usr/lib/baresip/modules\n\
             module g711.so\nmodule aufile.so\nmodule aubridge.so\nmodule sndfile.so\n\
             module_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen 127.0.0.1:{control}\n\
             snd_path {}\n",
            path("say.wav"),
            media.0,
            media.1,
            path("")
        );
        std::fs::write(home.join("config"), config).expect("a scratch file");
        std::fs::write(home.join("accounts"), account).expect("a scratch file");
        std::fs::write(home.join("contacts"), "").expect("a scratch file");
        std::fs::write(home.join("say.wav"), audio::wav_of(voice)).expect("a scratch file");
        let log = std::fs::File::create(home.join("log")).expect("a scratch file");
        let child = Command::new("baresip")
            .args(["-4", "-f", &path("")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("baresip ({error}); this test needs: apt-get install -y baresip-core")
            });
        let mut stream = None;
        wait_until("baresip is there", || {
            stream = TcpStream::connect(("127.0.0.1", control)).ok();
            stream.is_some()
        });
        let control = stream.expect("just connected");
        control
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a socket");
        Self {
            child,
            home,
            control,
        }
    }

    /// Commands it, as a netstring of JSON.
    fn command(&mut self, command: &str, parameter: &str) {
        let text = json!({"command": command, "params": parameter}).to_string();
        let sent = write!(self.control, "{}:{text},", text.len());
        sent.expect("baresip listens");
    }

    /// Waits until it tells of this event.
    fn await_event(&mut self, event: &str) {
        let mut told = Vec::new();
        let end = Instant::now() + support::PATIENCE;
        while !String::from_utf8_lossy(&told).contains(event) {
            assert!(Instant::now() < end, "no {event}\n{}", self.log());
            let mut piece = [0; 4096];
            let len = self.control.read(&mut piece).unwrap_or(0);
            told.extend(&piece[..len]);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Ends it; what it heard.
    fn finish(mut self) -> Vec<i16> {
        self.command("quit", "");
        wait_until("baresip ends", || {
            self.child.try_wait().is_ok_and(|ended| ended.is_some())
        });
        let files = std::fs::read_dir(&self.home).expect("its home").flatten();
        let heard = files
            .map(|file| file.path())
            .find(|path| path.to_string_lossy().ends_with("dec.wav"));
        let heard = heard.unwrap_or_else(|| panic!("it heard nothing\n{}", self.log()));
        let file = std::fs::read(heard).expect("what it heard");
        audio::channels(&file).remove(0)
    }
}

impl Drop for Softphone {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        let _gone = std::fs::remove_dir_all(&self.home);
    }
}

/// What it says for twenty seconds.
fn voice() -> Vec<i16> {
    audio::sine(CALLER_HZ.into(), 20_000)
}

/// Leaves a message of two seconds; both ways are heard.
fn leaves_a_message(said: &[i16], presses: Option<&str>) {
    let mut stage = Stage::set(&[("menu", FLOW)], 0, 1);
    let account = "<sip:alice@127.0.0.1>;regint=0;audio_codecs=PCMU/8000/1\n";
    let mut phone = Softphone::start(&mut stage.ports, account, said);
    phone.command("dial", &format!("sip:400@127.0.0.1:{}", stage.sip));
    phone.await_event("CALL_ESTABLISHED");
    if let Some(keys) = presses {
        std::thread::sleep(Duration::from_millis(600));
        phone.command("sndcode", keys);
    }
    phone.await_event("CALL_CLOSED");
    let heard = phone.finish();
    assert!(seconds_of(&heard, PROMPT_A_HZ) > 0.2, "the menu");
    let prompt = seconds_of(&heard, PROMPT_B_HZ);
    assert!((1.1..1.3).contains(&prompt), "{prompt} s of the prompt");
    let calls = stage.finish(1);
    assert_eq!(calls[0]["from"], "alice");
    let message = &stage.recording(&calls[0])[0];
    let spoken = seconds_of(message, CALLER_HZ);
    assert!(spoken > 1.8, "{spoken} s of the message");
}

#[test]
fn a_softphone_presses_a_key_and_leaves_a_message() {
    leaves_a_message(&voice(), Some("2"));
}

#[test]
fn a_softphone_presses_a_key_in_its_voice() {
    let hz = key_tones::hz_of_char('2');
    let key = |n| key_tones::sample(hz, 5_000.0, 8_000.0, n);
    let pressed = [
        vec![0; 8 * 1_500],
        (0..800).map(key).collect(),
        vec![0; 8 * 400],
        voice(),
    ];
    leaves_a_message(&pressed.concat(), None);
}

#[test]
fn a_softphone_registers_and_is_called() {
    let flow = r#"
        numbers = ["200"]
        start = "anna"
        [applet.anna]
        applet = "connect"
        to = "anna"
    "#;
    let config = format!("[[sip.user]]\nname = \"anna\"\npassword = \"{PASSWORD}\"\n");
    let mut stage = Stage::configured(&config, &[("anna", flow)], 0, 1);
    let account = format!(
        "<sip:anna@127.0.0.1:{}>;auth_user=anna;auth_pass={PASSWORD};regint=60;\
         answermode=auto;audio_codecs=PCMU/8000/1\n",
        stage.sip
    );
    let mut phone = Softphone::start(&mut stage.ports, &account, &voice());
    // It may have told so before we listened.
    wait_until("baresip is registered", || phone.log().contains("200 OK"));
    let caller = stage.caller("caller", 1, "200", callee_voice(SHORT));
    let at_caller = caller.finish().remove(0);
    phone.await_event("CALL_CLOSED");
    let heard = seconds_of(&phone.finish(), CALLEE_HZ);
    assert!(heard > 0.9, "the softphone heard {heard} s of the caller");
    let heard = packets_of(&at_caller, CALLER_HZ);
    assert!(heard > 50, "the caller heard {heard} packets of it");
    let calls = stage.finish(1);
    assert_eq!(outcome(&stage.callees(&calls[0])[0]).0, "completed");
}
