//! A voice: a party that says its tone in real time and keeps what it hears, in a thread of its
//! own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crosspoint::audio::g711::{alaw_to_ulaw_octet, ulaw_to_alaw_octet};

use super::until;
use crate::support::party::Party;
use crate::support::rtp::{Packet, pcmu};
use crate::support::{PTIME, audio};

/// Packets in which a sound is looked for: 100 ms.
const WINDOW: usize = 5;
/// Share of a window that has to be a tone to be that tone.
const CLEAR: f32 = 0.8;
/// Packets of a key, and those that repeat its end.
const KEY_PACKETS: (u16, u16) = (5, 2);
/// Level below which is silence, in dB of full scale.
const SILENCE_DB: f32 = -55.0;

pub(crate) struct Voice {
    pub(crate) address: SocketAddr,
    pub(crate) hz: f32,
    is_alaw: bool,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
    sdp_version: Mutex<u32>,
}

#[derive(Default)]
struct Shared {
    to: Option<SocketAddr>,
    is_mute: bool,
    is_over: bool,
    /// Codes of keys to press.
    keys: VecDeque<u8>,
    /// Tones of what it says first, packet by packet.
    opening: VecDeque<f32>,
    heard: Vec<(Instant, Packet)>,
    /// Where it came from.
    sources: Vec<SocketAddr>,
}

impl Voice {
    /// One of G.711 µ-law.
    pub(crate) fn new(hz: f32) -> Self {
        Self::of(hz, false)
    }

    /// One of G.711 A-law; what it hears is kept as µ-law.
    pub(crate) fn of_alaw(hz: f32) -> Self {
        Self::of(hz, true)
    }

    fn of(hz: f32, is_alaw: bool) -> Self {
        let party = Party::new("127.0.0.1", hz);
        let address = party.address();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let in_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || live(party, is_alaw, &in_thread));
        Self {
            address,
            hz,
            is_alaw,
            shared,
            thread: Some(thread),
            sdp_version: Mutex::new(0),
        }
    }

    /// An SDP of its codec and telephone-events.
    pub(crate) fn sdp(&self) -> Vec<u8> {
        self.sdp_with("sendrecv")
    }

    /// The same with this direction.
    pub(crate) fn sdp_with(&self, direction: &str) -> Vec<u8> {
        let mut version = self.sdp_version.lock().expect("a voice");
        *version += 1;
        let port = self.address.port();
        let (pt, name) = match self.is_alaw {
            true => (8, "PCMA"),
            false => (0, "PCMU"),
        };
        let text = format!(
            "v=0\r\no=secret-{port} 4711 {version} IN IP4 127.0.0.1\r\ns=secret\r\n\
             c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {pt} 101\r\n\
             a=rtpmap:{pt} {name}/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=fmtp:101 0-15\r\na={direction}\r\n"
        );
        text.into_bytes()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("a voice")
    }

    /// From now on it speaks to whom this SDP is of.
    pub(crate) fn speaks_to(&self, sdp: &str) {
        self.shared().to = Some(crate::support::party::target(sdp));
    }

    /// It begins to speak with these tones, of one packet each.
    pub(crate) fn opens_with(&self, tones: impl IntoIterator<Item = f32>) {
        self.shared().opening = tones.into_iter().collect();
    }

    /// It says nothing, or speaks again.
    pub(crate) fn mute(&self, is_mute: bool) {
        self.shared().is_mute = is_mute;
    }

    /// Presses a key (RFC 4733).
    pub(crate) fn presses(&self, code: u8) {
        self.shared().keys.push_back(code);
    }

    /// Waits until 100 ms on end were this tone.
    pub(crate) async fn hears(&self, hz: f32) {
        let what = format!("{} Hz hears {hz} Hz", self.hz);
        until(&what, || self.share_now(hz) > CLEAR).await;
    }

    /// Waits until 100 ms on end were silence, in packets.
    pub(crate) async fn hears_silence(&self) {
        let what = format!("{} Hz hears silence", self.hz);
        until(&what, || {
            let window = self.window();
            window.len() == 160 * WINDOW && is_silence(&window) && !self.is_silent_for(PTIME * 4)
        })
        .await;
    }

    /// How much of the last 100 ms was this tone.
    pub(crate) fn share_now(&self, hz: f32) -> f32 {
        let window = self.window();
        match window.len() == 160 * WINDOW {
            true => audio::share_of_tone(&window, hz),
            false => 0.0,
        }
    }

    fn window(&self) -> Vec<u8> {
        let shared = self.shared();
        let sound = shared.heard.iter().rev().filter(|(_, p)| p.pt == 0);
        let mut last: Vec<Packet> = sound.take(WINDOW).map(|(_, p)| p.clone()).collect();
        last.reverse();
        pcmu(&last)
    }

    /// How many packets it has heard so far: a place to look from.
    pub(crate) fn mark(&self) -> usize {
        self.shared().heard.len()
    }

    /// What it has heard from there on.
    pub(crate) fn since(&self, mark: usize) -> Vec<(Instant, Packet)> {
        self.shared().heard[mark..].to_vec()
    }

    /// What it has heard from there on, as sound.
    pub(crate) fn sound_since(&self, mark: usize) -> Vec<u8> {
        let packets: Vec<Packet> = self.since(mark).into_iter().map(|(_, p)| p).collect();
        pcmu(&packets)
    }

    /// What it hears in the next so many packets.
    pub(crate) async fn next(&self, packets: usize) -> Vec<u8> {
        let mark = self.mark();
        until("packets", || self.mark() >= mark + packets).await;
        self.sound_since(mark)
    }

    /// Windows of 100 ms since there in which this tone is heard, of all of them.
    pub(crate) fn windows_of(&self, mark: usize, hz: f32) -> (usize, usize) {
        let sound = self.sound_since(mark);
        let windows = sound.chunks_exact(800);
        let all = windows.len();
        let with = windows.filter(|w| audio::share_of_tone(w, hz) > 0.1);
        (with.count(), all)
    }

    /// Packets since there that are this tone.
    pub(crate) fn packets_of(&self, mark: usize, hz: f32) -> usize {
        let heard = self.since(mark).into_iter().filter(|(_, p)| p.pt == 0);
        let shares = heard.map(|(_, packet)| audio::goertzel(&packet.payload, hz));
        shares.filter(|share| *share > CLEAR).count()
    }

    /// Whether no packet came for so long.
    pub(crate) fn is_silent_for(&self, span: Duration) -> bool {
        let last = self.shared().heard.last().map(|(at, _)| *at);
        last.is_none_or(|at| at.elapsed() >= span)
    }

    /// Fails unless all that it heard is one stream: one source, one number after the other, and
    /// timestamps that keep step with the wall.
    #[track_caller]
    pub(crate) fn heard_one_stream(&self) {
        let heard = self.since(0);
        let (Some((_, first)), Some((_, last))) = (heard.first(), heard.last()) else {
            panic!("{} Hz heard nothing", self.hz);
        };
        for (_, packet) in &heard {
            assert_eq!(packet.ssrc, first.ssrc, "{} Hz: one source", self.hz);
        }
        let packets: Vec<Packet> = heard.iter().map(|(_, p)| p.clone()).collect();
        let gaps = crate::support::rtp::gaps(&packets);
        assert_eq!(gaps, (0, true), "{} Hz: numbers", self.hz);
        let ticks = last.timestamp.wrapping_sub(first.timestamp);
        let media = Duration::from_micros(u64::from(ticks) * 125);
        let wall = heard[heard.len() - 1].0 - heard[0].0;
        let apart = media.abs_diff(wall);
        assert!(
            apart < Duration::from_millis(200),
            "{} Hz: {media:?} of media in {wall:?}",
            self.hz
        );
    }

    /// The longest time without a packet from there on.
    pub(crate) fn longest_gap(&self, mark: usize) -> Duration {
        let heard = self.since(mark);
        let gaps = heard.windows(2).map(|pair| pair[1].0 - pair[0].0);
        gaps.max().unwrap_or_default()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            shared.is_over = true;
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Whether µ-law is silence.
pub(crate) fn is_silence(sound: &[u8]) -> bool {
    let energy: f64 = sound
        .iter()
        .map(|byte| f64::from(audio::ulaw_decode(*byte)) / 32_768.0)
        .map(|sample| sample * sample)
        .sum();
    let mean = energy / sound.len().max(1) as f64;
    10.0 * mean.max(1e-12).log10() < f64::from(SILENCE_DB)
}

fn live(mut party: Party, is_alaw: bool, shared: &Mutex<Shared>) {
    party.rtp.set_nonblocking(false).expect("a socket");
    let (start, own_hz) = (Instant::now(), party.hz);
    let mut key: Option<(u8, u32, u16)> = None;
    for tick in 1.. {
        listen(&party, is_alaw, start + PTIME * tick, shared);
        let (to, is_mute, hz) = {
            let mut shared = shared.lock().expect("a voice");
            if shared.is_over {
                return;
            }
            if key.is_none() && shared.to.is_some() {
                let code = shared.keys.pop_front();
                key = code.map(|code| (code, party.timestamp, 0));
            }
            let speaks = shared.to.is_some() && !shared.is_mute && key.is_none();
            let opening = shared.opening.front().copied().filter(|_| speaks);
            if opening.is_some() {
                shared.opening.pop_front();
            }
            let hz = opening.unwrap_or(own_hz);
            (shared.to, shared.is_mute, hz)
        };
        let Some(to) = to else { continue };
        party.hz = hz;
        match &mut key {
            Some(press) => {
                if say_key(&mut party, to, press) {
                    key = None;
                }
            }
            None if is_mute => party.timestamp = party.timestamp.wrapping_add(160),
            None if is_alaw => {
                let sound = audio::tone(party.hz, party.timestamp);
                let sound = sound.into_iter().map(ulaw_to_alaw_octet).collect();
                party.send(to, 8, sound);
                party.timestamp = party.timestamp.wrapping_add(160);
            }
            None => party.speak(to),
        }
    }
}

/// Takes what comes until then.
fn listen(party: &Party, is_alaw: bool, until: Instant, shared: &Mutex<Shared>) {
    let mut room = [0; 2_048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        party.rtp.set_read_timeout(Some(left)).expect("a socket");
        let Ok((octets, from)) = party.rtp.recv_from(&mut room) else {
            continue;
        };
        let now = Instant::now();
        if let Some(mut packet) = Packet::read(&room[..octets]) {
            if is_alaw && packet.pt == 8 {
                let octets = packet.payload.iter();
                packet.payload = octets.map(|octet| alaw_to_ulaw_octet(*octet)).collect();
                packet.pt = 0;
            }
            let mut shared = shared.lock().expect("a voice");
            shared.heard.push((now, packet));
            if !shared.sources.contains(&from) {
                shared.sources.push(from);
            }
        }
    }
}

/// One packet of a press; whether it was the last.
fn say_key(party: &mut Party, to: SocketAddr, press: &mut (u8, u32, u16)) -> bool {
    let (packets, repeats) = KEY_PACKETS;
    let (code, began, said) = press;
    *said += 1;
    let end = if *said >= packets { 0x80 } else { 0 };
    let [high, low] = (160 * (*said).min(packets)).to_be_bytes();
    let pt = party.event_pt;
    party.timestamp = *began;
    party.send(to, pt, vec![*code, end | 10, high, low]);
    party.timestamp = began.wrapping_add(160 * u32::from(*said));
    *said >= packets + repeats
}
