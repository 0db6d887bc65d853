//! A two-party call through a running switch, whose audio one can listen to afterwards.
//!
//! Both parties say what is in their WAV file as PCMU, one packet per 20 ms; what each hears is
//! written to a WAV file again, placed by RTP timestamp, with silence where a packet was lost. The
//! verdict compares samples: a party heard the other when its audio correlates with what the other
//! said, and not with what it said itself. At the end both may press keys.

mod ear;
mod keys;
mod likeness;
mod show;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use self::ear::Ear;
use self::keys::{EVENT_PT, Keys, Outcome};
use super::ng_client::{NgClient, Request, accepted};
use super::{bench, print, wav};
use crate::audio::g711;
use crate::plane::probe;

/// Samples of a packet: 20 ms.
const FRAME: usize = 160;

const TICK: Duration = Duration::from_millis(20);

/// How long stragglers are waited for.
const DRAIN: Duration = Duration::from_millis(300);

/// How often the switch is asked for its own view.
const QUERY_EVERY: Duration = Duration::from_millis(500);

/// Tries to find a free pair of ports.
const PORT_TRIES_MAX: u32 = 64;

/// `crosspoint call`.
#[derive(Clone, Debug, clap::Args)]
pub struct CallArgs {
    /// The switch's ng address
    #[arg(long, default_value = "127.0.0.1:2223", value_name = "ADDR")]
    pub ng: SocketAddr,
    /// What the caller says: a WAV file, 8 kHz, mono, 16 bit
    #[arg(long, value_name = "WAV")]
    pub caller: PathBuf,
    /// What the callee says
    #[arg(long, value_name = "WAV")]
    pub callee: PathBuf,
    /// Folder for caller-hears.wav and callee-hears.wav
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub out: PathBuf,
    /// Local address of both parties, which the switch must be able to reach
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub bind: Ipv4Addr,
    /// Keys that both press at the end: the caller as telephone-events, the callee as tones
    #[arg(long, value_name = "KEYS", value_parser = keys::parse)]
    pub keys: Option<Keys>,
    /// Have the switch record the call, the caller on the left
    #[arg(long)]
    pub record: bool,
    /// Also write the final table to this file
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}

/// Makes the call: progress on standard error, the final table on standard output.
///
/// # Errors
/// When a file does not fit, the switch refuses the call, or one party did not hear the other.
pub fn run(args: &CallArgs) -> Result<()> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let said = [wav::read(&args.caller)?, wav::read(&args.callee)?];
    let frames = said
        .iter()
        .map(|s| s.len().div_ceil(FRAME))
        .max()
        .unwrap_or(0);
    ensure!(frames > 0, "both files are empty");
    let mut caller = Party::new(args.bind, &said[0], frames)?;
    let mut callee = Party::new(args.bind, &said[1], frames)?;
    let log = keys::Log::open(args.bind)?;
    let (mut offer_keys, mut frames) = (None, frames);
    if let Some(keys) = &args.keys {
        offer_keys = Some(log.address()?);
        frames += keys.frames();
        caller.press(keys, true);
        callee.press(keys, false);
    }

    let mut client = NgClient::connect(args.ng)?;
    let call_id = format!("call-{:x}-{:x}", std::process::id(), fastrand::u32(..));
    let asked = Instant::now();
    let listened = |request| bench::with_keys(request, offer_keys);
    let reply = client.request(listened(bench::offer(&call_id, caller.address)))?;
    callee.to = bench::media_address(accepted(&reply).context("offer")?)?;
    let reply = client.request(listened(bench::answer(&call_id, callee.address)))?;
    caller.to = bench::media_address(accepted(&reply).context("answer")?)?;
    let set_up = asked.elapsed();
    eprintln!(
        "call {call_id} is up after {:.1} ms: caller {} - switch {} | {} - callee {}",
        set_up.as_secs_f64() * 1e3,
        caller.address,
        caller.to,
        callee.to,
        callee.address,
    );
    let recorded = match args.record {
        true => record(&mut client, &call_id),
        false => Ok(()),
    };

    let mut parties = [caller, callee];
    let talked = converse(&mut parties, frames, args.ng, &call_id);
    let last_query = client.request(bench::query(&call_id));
    // Whatever happened, the call must not stay.
    let deleted = client.request(bench::delete(&call_id));
    talked?;
    recorded?;
    let seen = SwitchView::of(accepted(&last_query?).context("query")?);
    accepted(&deleted?).context("delete")?;

    let (mut verdicts, hears) = (Vec::new(), ["caller-hears.wav", "callee-hears.wav"]);
    for (listener, file) in hears.iter().enumerate() {
        let (hearer, speaker) = (&parties[listener], &parties[1 - listener]);
        wav::write(&args.out.join(file), hearer.ear.samples())?;
        verdicts.push(likeness::Verdict::new(hearer, speaker));
    }
    let outcome = args.keys.as_ref().map(|keys| pressed(keys, &parties, &log));
    let outcome = outcome.transpose()?;
    let table = show::table(&parties, &verdicts, outcome.as_ref(), &seen, set_up);
    print(&table)?;
    if let Some(path) = &args.table {
        write_file(path, &table)?;
    }
    ensure!(
        verdicts.iter().all(likeness::Verdict::heard),
        "a party did not hear the other"
    );
    outcome.map_or(Ok(()), |outcome| outcome.check())
}

/// Has the call recorded, and says where.
fn record(client: &mut NgClient, call_id: &str) -> Result<()> {
    let request = Request::new("start recording").text("call-id", call_id);
    let reply = client.request(request.text("recording-layout", "stereo"))?;
    let reply = accepted(&reply).context("start recording")?;
    let file = reply["recording-file"].as_str().unwrap_or("without a file");
    eprintln!("recording {file}");
    Ok(())
}

/// What was heard of the keys.
fn pressed(keys: &Keys, [caller, callee]: &[Party; 2], log: &keys::Log) -> Result<Outcome> {
    Ok(Outcome {
        pressed: keys.to_string(),
        told: log.told()?,
        heard: [
            keys::in_sound(caller.ear.samples())?,
            keys::of_codes(callee.ear.events()),
        ],
    })
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One end of the call.
#[derive(Debug)]
struct Party {
    rtp: UdpSocket,
    /// Held open, so that the switch's reports do not come back as ICMP errors.
    _rtcp: UdpSocket,
    address: SocketAddrV4,
    to: SocketAddrV4,
    /// What it says, decoded again from what is sent, whole frames.
    said: Vec<i16>,
    /// When each frame was sent, Unix time in nanoseconds.
    sent_ns: Vec<u64>,
    /// What it presses as telephone-events, and the frame with which that begins.
    keys: Option<(Keys, usize)>,
    ssrc: u32,
    first_seq: u16,
    first_timestamp: u32,
    ear: Ear,
}

impl Party {
    fn new(ip: Ipv4Addr, speech: &[i16], frames: usize) -> Result<Self> {
        let (rtp, rtcp) = port_pair(ip)?;
        rtp.set_nonblocking(true)?;
        probe::stamp_arrivals(&rtp)?;
        let address = match rtp.local_addr()? {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(other) => return Err(anyhow!("{other} is not IPv4")),
        };
        let coded = |sample: &i16| g711::ulaw_to_linear(g711::linear_to_ulaw(*sample));
        let mut said: Vec<i16> = speech.iter().map(coded).collect();
        // The shorter one is silent until the other is done.
        said.resize(frames * FRAME, 0);
        Ok(Self {
            rtp,
            _rtcp: rtcp,
            address,
            to: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            said,
            sent_ns: Vec::with_capacity(frames),
            keys: None,
            ssrc: fastrand::u32(..),
            first_seq: fastrand::u16(..),
            first_timestamp: fastrand::u32(..),
            ear: Ear::new(frames * FRAME),
        })
    }

    /// Presses keys when all is said.
    fn press(&mut self, keys: &Keys, as_events: bool) {
        let from = self.said.len() / FRAME;
        if as_events {
            self.said.resize((from + keys.frames()) * FRAME, 0);
            self.keys = Some((keys.clone(), from));
        } else {
            let coded = |sample| g711::ulaw_to_linear(g711::linear_to_ulaw(sample));
            self.said.extend(keys.tones().into_iter().map(coded));
        }
        self.ear = Ear::new(self.said.len());
    }

    /// Sends the next frame (RFC 3550 section 5.1; payload type 0 is PCMU, RFC 3551).
    fn speak(&mut self) -> Result<()> {
        let frame = self.sent_ns.len();
        let samples = self
            .said
            .get(frame * FRAME..(frame + 1) * FRAME)
            .context("all is said")?;
        #[allow(clippy::cast_possible_truncation, reason = "RTP numbers wrap")]
        let (seq, timestamp) = (
            self.first_seq.wrapping_add(frame as u16),
            self.first_timestamp.wrapping_add((frame * FRAME) as u32),
        );
        let keys = self.keys.as_ref();
        let event = keys.and_then(|(keys, from)| keys.event(frame.checked_sub(*from)?));
        let (payload_type, ago) = event.map_or((0, 0), |(_, ago)| (EVENT_PT, ago));
        let begins = frame == 0 || event.is_some() && ago == 0;
        #[allow(clippy::cast_possible_truncation, reason = "a few frames")]
        let timestamp = timestamp.wrapping_sub((ago * FRAME) as u32);
        let mut packet = Vec::with_capacity(12 + FRAME);
        packet.extend_from_slice(&[0x80, u8::from(begins) << 7 | payload_type]);
        packet.extend_from_slice(&seq.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        match event {
            Some((event, _)) => packet.extend_from_slice(&event.to_bytes()),
            None => packet.extend(samples.iter().map(|sample| g711::linear_to_ulaw(*sample))),
        }
        self.sent_ns.push(unix_ns());
        // Refused (nobody listens there) shows as loss.
        let _ = self.rtp.send_to(&packet, self.to);
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        let mut packet = [0; 2048];
        while let Some(arrival) = probe::receive(&self.rtp, &mut packet)? {
            let now_ns = arrival.kernel_ns.unwrap_or_else(unix_ns);
            if arrival.from == SocketAddr::V4(self.to) {
                self.ear.hear(&packet[..arrival.length], now_ns);
            } else {
                self.ear.strangers += 1;
            }
        }
        Ok(())
    }
}

/// An even port for RTP and the next for RTCP (RFC 3550 section 11).
fn port_pair(ip: Ipv4Addr) -> Result<(UdpSocket, UdpSocket)> {
    for _ in 0..PORT_TRIES_MAX {
        let port = 2 * fastrand::u16(5_000..10_000);
        if let (Ok(rtp), Ok(rtcp)) = (UdpSocket::bind((ip, port)), UdpSocket::bind((ip, port + 1)))
        {
            return Ok((rtp, rtcp));
        }
    }
    Err(anyhow!("no free pair of ports on {ip}"))
}

/// Both talk, from the first frame to the last.
fn converse(parties: &mut [Party; 2], frames: usize, ng: SocketAddr, call_id: &str) -> Result<()> {
    let view = Mutex::new(SwitchView::default());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The switch is asked beside the media loop: a slow reply must not delay a packet.
        scope.spawn(|| watch(ng, call_id, &view, &over));
        let talked = talk(parties, frames, &view);
        over.store(true, Ordering::Relaxed);
        talked
    })
}

fn talk(parties: &mut [Party; 2], frames: usize, view: &Mutex<SwitchView>) -> Result<()> {
    let mut progress = show::Progress::new(std::io::stderr().is_terminal());
    let start = Instant::now();
    // The parties take turns every 10 ms, as independent phones would not tick together.
    for half in 0..2 * frames {
        let due = start + TICK / 2 * u32::try_from(half).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        parties[half % 2].speak()?;
        for party in &mut *parties {
            party.listen()?;
        }
        let seen = view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        progress.show(start.elapsed(), parties, &seen);
    }
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
        for party in &mut *parties {
            party.listen()?;
        }
    }
    progress.last(
        start.elapsed(),
        parties,
        &view.lock().unwrap_or_else(PoisonError::into_inner),
    );
    Ok(())
}

fn watch(ng: SocketAddr, call_id: &str, view: &Mutex<SwitchView>, over: &AtomicBool) {
    // Errors are not the call's: the final query reports them.
    let Ok(mut client) = NgClient::connect(ng) else {
        return;
    };
    while !over.load(Ordering::Relaxed) {
        if let Ok(reply) = client.request(bench::query(call_id)) {
            *view.lock().unwrap_or_else(PoisonError::into_inner) = SwitchView::of(&reply);
        }
        std::thread::sleep(QUERY_EVERY);
    }
}

/// What the switch itself says of the call.
#[derive(Clone, Debug, Default, PartialEq)]
struct SwitchView {
    /// The caller's and the callee's side.
    sides: [SideView; 2],
}

/// What the switch says of the packets one party sent to it, and of those it sent there.
#[derive(Clone, Debug, Default, PartialEq)]
struct SideView {
    received: Option<u64>,
    sent: Option<u64>,
    lost: Option<i64>,
    jitter_ms: Option<f64>,
}

impl SwitchView {
    /// Reads a reply to `query`; what it does not say stays unknown.
    fn of(reply: &Value) -> Self {
        Self {
            sides: [bench::CALLER, bench::CALLEE].map(|tag| SideView::of(reply, tag)),
        }
    }
}

impl SideView {
    fn of(reply: &Value, tag: &str) -> Self {
        let media = &reply["tags"][tag]["medias"][0];
        let stream = &media["streams"][0];
        // Newer switches list sources per media, older ones name one per stream.
        let ssrc = [
            &media["ingress SSRCs"][0]["SSRC"],
            &media["ingress SSRCs"][0],
            &stream["SSRC"],
        ]
        .into_iter()
        .find_map(Value::as_u64);
        let source = ssrc.map_or(&Value::Null, |ssrc| &reply["SSRC"][ssrc.to_string()]);
        let jitter = [&source["jitter"], &source["average MOS"]["jitter"]];
        Self {
            received: stream["stats"]["packets"].as_u64(),
            sent: stream["stats_out"]["packets"].as_u64(),
            lost: source["cumulative loss"].as_i64(),
            jitter_ms: jitter.into_iter().find_map(Value::as_f64),
        }
    }
}

fn unix_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_switchs_view_is_read_by_tag() {
        let side = |packets: u64, ssrc: u64| {
            let stream = json!({"stats": {"packets": packets}, "SSRC": ssrc});
            json!({"medias": [{"streams": [stream]}]})
        };
        let reply = json!({
            "tags": {"caller": side(10, 7), "callee": side(20, 8)},
            "SSRC": {"8": {"cumulative loss": 3, "average MOS": {"jitter": 2}}},
        });
        let view = SwitchView::of(&reply);
        assert_eq!(view.sides[0].received, Some(10));
        assert_eq!((view.sides[0].lost, view.sides[0].jitter_ms), (None, None));
        let callee = SideView {
            received: Some(20),
            sent: None,
            lost: Some(3),
            jitter_ms: Some(2.0),
        };
        assert_eq!(view.sides[1], callee);
        assert_eq!(
            SwitchView::of(&json!({"result": "ok"})),
            SwitchView::default()
        );
    }

    #[test]
    fn two_parties_without_a_switch_hear_each_other_exactly() {
        // One second of two different tones, and each sends straight to the other.
        let tone = |hz: f64| -> Vec<i16> {
            (0..8_000)
                .map(|n| likeness::tests::tone_sample(hz, n))
                .collect()
        };
        let (a, b) = (tone(440.0), tone(1_210.0));
        let mut caller = Party::new(Ipv4Addr::LOCALHOST, &a, 50).unwrap();
        let mut callee = Party::new(Ipv4Addr::LOCALHOST, &b, 50).unwrap();
        (caller.to, callee.to) = (callee.address, caller.address);
        let mut parties = [caller, callee];
        talk(&mut parties, 50, &Mutex::default()).unwrap();
        for listener in 0..2 {
            let (hearer, speaker) = (&parties[listener], &parties[1 - listener]);
            assert_eq!(hearer.ear.samples(), speaker.said);
            assert_eq!((hearer.ear.packets, hearer.ear.lost()), (50, 0));
            assert!(likeness::Verdict::new(hearer, speaker).heard());
        }
    }
}
