//! Parties that press keys in their audio, or as telephone-events, and what others received of it.

use std::f32::consts::TAU;

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::dtmf::{Detector, Heard as Tone};
use crosspoint::engine::*;
use crosspoint::wire::event::Digit;

use crate::engine_support::{Sent, World, rtp};

pub(crate) const EVENT_PT: u8 = 101;
const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [u8; 16] = *b"123A456B789C*0#D";

/// Of each of the two tones of a key.
const AMPLITUDE: f32 = 5_000.0;

/// A tone is heard from this amplitude on: 26 dB below the one that was said.
const AUDIBLE: f32 = AMPLITUDE / 20.0;

/// Milliseconds in which a tone is looked for, and from one look to the next.
const LOOK_MS: usize = 5;

/// How a key is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// As a tone.
    Tone,
    /// As a telephone-event, in the place of audio.
    Event,
    /// As both at a time.
    Both,
    /// As a tone for so many milliseconds, and then as an event.
    Late(u16),
}

/// A press: when, for how long and how; in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Press {
    pub(crate) key: char,
    pub(crate) at_ms: f32,
    pub(crate) ms: f32,
    pub(crate) by: By,
}

/// Random presses, each `apart_ms` or more after the one before.
pub(crate) fn presses(
    seed: u64,
    count: usize,
    lengths_ms: std::ops::RangeInclusive<u32>,
) -> Vec<Press> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at_ms = 1_000.0;
    (0..count)
        .map(|_| {
            at_ms += random.f32().mul_add(500.0, 200.0);
            let ms = random.u32(lengths_ms.clone()) as f32;
            let press = Press {
                key: char::from(KEYS[random.usize(..16)]),
                at_ms,
                ms,
                by: By::Tone,
            };
            at_ms += ms;
            press
        })
        .collect()
}

/// Payload type, timestamp and payload of a packet.
type Said = (u8, u32, Vec<u8>);

/// A party's mouth and fingers.
pub(crate) struct Talker {
    ix: StreamIx,
    encoder: Encoder,
    pt: u8,
    clock_hz: u32,
    presses: Vec<Press>,
    random: fastrand::Rng,
    loss_percent: u8,
    /// Packets so far.
    said: u32,
    seq: u16,
}

pub(crate) fn pt_of(kind: CodecKind) -> u8 {
    match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        _ => 9,
    }
}

impl Talker {
    pub(crate) fn new(ix: StreamIx, kind: CodecKind, presses: Vec<Press>) -> Self {
        let config = CodecConfig::new(kind);
        Self {
            ix,
            encoder: Encoder::new(&config).expect("a codec"),
            pt: pt_of(kind),
            clock_hz: kind.clock_hz(),
            presses,
            random: fastrand::Rng::with_seed(u64::from(ix.0) + 5),
            loss_percent: 0,
            said: 0,
            seq: 0,
        }
    }

    pub(crate) fn losing(mut self, percent: u8) -> Self {
        self.loss_percent = percent;
        self
    }

    /// Says 20 ms: soft noise, and the keys that are down.
    pub(crate) fn say(&mut self, world: &mut World) {
        let per_ms = self.encoder.pcm_hz() as f32 / 1_000.0;
        let from_ms = self.said as f32 * 20.0;
        let mut pcm = vec![0_i16; (20.0 * per_ms) as usize];
        for (n, sample) in pcm.iter_mut().enumerate() {
            let at_ms = from_ms + n as f32 / per_ms;
            let noise = (self.random.f32() - 0.5) * 40.0;
            let sounds = |press: &&Press| {
                let ms = match press.by {
                    By::Event => 0.0,
                    By::Late(ms) => f32::from(ms),
                    By::Tone | By::Both => press.ms,
                };
                (press.at_ms..press.at_ms + ms).contains(&at_ms)
            };
            let down = self.presses.iter().filter(sounds);
            let tone: f32 = down.map(|press| tone(press, at_ms)).sum();
            *sample = (tone + noise) as i16;
        }
        let mut payload = vec![0; 400];
        let len = self.encoder.encode(&pcm, &mut payload).expect("a frame");
        let event = self.event(from_ms);
        let beside = matches!(event, None | Some((By::Both, _)));
        let audio = beside.then(|| {
            let clock = self.said * self.clock_hz / 50;
            (self.pt, clock, payload[..len].to_vec())
        });
        self.said += 1;
        for (pt, clock, payload) in event.map(|(_, event)| event).into_iter().chain(audio) {
            let packet = rtp(pt, self.seq, clock, 77, &payload);
            self.seq = self.seq.wrapping_add(1);
            if self.random.u8(..100) >= self.loss_percent {
                world.hear(self.ix, &packet);
            }
        }
    }

    /// The packet of a telephone-event that is due.
    fn event(&self, from_ms: f32) -> Option<(By, Said)> {
        let tick = |ms: f32| (ms / 20.0).ceil() * 20.0;
        let began = |press: &Press| match press.by {
            By::Late(ms) => tick(press.at_ms + f32::from(ms)),
            By::Tone | By::Event | By::Both => tick(press.at_ms),
        };
        let ended = |press: &Press| tick(press.at_ms + press.ms);
        let mut events = self.presses.iter().filter(|press| press.by != By::Tone);
        let press = events.find(|press| (began(press)..ended(press)).contains(&from_ms))?;
        let began_ms = began(press);
        let per_ms = self.clock_hz as f32 / 1_000.0;
        let end = from_ms + 20.0 >= ended(press);
        let ticks = ((from_ms + 20.0 - began_ms) * per_ms) as u16;
        let code = Digit::from_char(press.key).expect("a key").code().0;
        let [high, low] = ticks.to_be_bytes();
        let payload = [code, u8::from(end) << 7 | 10, high, low];
        let began = (began_ms * per_ms) as u32;
        Some((press.by, (EVENT_PT, began, payload.to_vec())))
    }
}

/// One key at one moment.
fn tone(press: &Press, at_ms: f32) -> f32 {
    let place = KEYS.iter().position(|key| char::from(*key) == press.key);
    let place = place.expect("a key");
    let wave = |hz: f32| (TAU * hz * (at_ms - press.at_ms) / 1_000.0).sin();
    AMPLITUDE * (wave(LOW_HZ[place / 4]) + wave(HIGH_HZ[place % 4]))
}

/// All talk, 20 ms at a time.
pub(crate) fn talk(world: &mut World, talkers: &mut [Talker], packets: usize) {
    for _ in 0..packets {
        for talker in &mut *talkers {
            talker.say(world);
        }
        world.wait(20);
    }
}

/// What one party received, decoded where its timestamps say.
pub(crate) struct Received {
    pub(crate) sent: Vec<(u64, Sent)>,
    pub(crate) pcm: Vec<i16>,
    pcm_hz: u32,
    clock_hz: u32,
}

impl Received {
    pub(crate) fn of(world: &World, ix: StreamIx, kind: CodecKind) -> Self {
        let sent = world.received(ix);
        let mut decoder = Decoder::new(&CodecConfig::new(kind)).expect("a codec");
        let pcm_hz = decoder.pcm_hz();
        let first = sent.first().map_or(0, |(_, sent)| sent.timestamp());
        let (mut pcm, mut frame) = (Vec::new(), [0; 1_920]);
        for (_, packet) in sent.iter().filter(|(_, packet)| packet.pt() != EVENT_PT) {
            assert_eq!(packet.pt(), pt_of(kind));
            let at = packet.timestamp().wrapping_sub(first) as usize;
            let at = at * (pcm_hz / kind.clock_hz()) as usize;
            let len = decoder.decode(&packet.bytes[12..], &mut frame);
            let len = len.expect("a payload");
            pcm.resize(pcm.len().max(at + len), 0);
            pcm[at..at + len].copy_from_slice(&frame[..len]);
        }
        Self {
            sent,
            pcm,
            pcm_hz,
            clock_hz: kind.clock_hz(),
        }
    }

    /// Keys that were told as telephone-events, with their durations in milliseconds.
    pub(crate) fn events(&self) -> Vec<(char, f32)> {
        let mut receiver = EventReceiver::new();
        let mut found = Vec::new();
        let mut tell = |edge: EventEdge| {
            if let EventEdge::Ended {
                code, duration_us, ..
            } = edge
            {
                let key = code.digit().expect("a key").as_char();
                found.push((key, duration_us as f32 / 1_000.0));
            }
        };
        for (at_ms, packet) in &self.sent {
            let (now_us, ssrc, seq) = (at_ms * 1_000, packet.ssrc(), packet.seq());
            if packet.pt() == EVENT_PT {
                let event = EventPacket {
                    ssrc,
                    seq,
                    timestamp: packet.timestamp(),
                    marker: packet.marker(),
                    clock_hz: self.clock_hz,
                    payload: &packet.bytes[12..],
                };
                receiver.packet(now_us, &event, &mut tell);
            } else {
                receiver.media(now_us, ssrc, seq, packet.timestamp(), &mut tell);
            }
        }
        receiver.timeout(u64::MAX, &mut tell);
        found
    }

    /// Keys that a detector finds in the audio, with their lengths in milliseconds.
    pub(crate) fn tones(&self) -> Vec<(char, f32)> {
        let mut detector = Detector::new(self.pcm_hz).expect("a rate");
        let mut found = Vec::new();
        let per_ms = self.pcm_hz as f32 / 1_000.0;
        let mut tell = |tone: Tone| {
            if let Tone::Ended(tone) = tone {
                let ms = (tone.end - tone.start) as f32 / per_ms;
                found.push((tone.digit.as_char(), ms));
            }
        };
        detector.feed(&self.pcm, &mut tell);
        detector.feed(&vec![0; self.pcm_hz as usize], &mut tell);
        found
    }

    /// The longest time in milliseconds in which a low and a high tone of keys are heard together.
    pub(crate) fn leaks_ms(&self) -> usize {
        let look = self.pcm_hz as usize * LOOK_MS / 1_000;
        let (mut longest, mut lasts) = (0, 0);
        for window in self.pcm.chunks_exact(look) {
            let loudest = |group: [f32; 4]| {
                let heard = group.map(|hz| amplitude(window, hz, self.pcm_hz));
                heard.into_iter().fold(0.0, f32::max)
            };
            let audible = loudest(LOW_HZ).min(loudest(HIGH_HZ)) > AUDIBLE;
            lasts = if audible { lasts + LOOK_MS } else { 0 };
            longest = longest.max(lasts);
        }
        longest
    }

    /// One SSRC, numbers without a gap, timestamps that never go back.
    pub(crate) fn assert_one_clock(&self) {
        for pair in self.sent.windows(2) {
            let [(_, before), (_, after)] = pair else {
                unreachable!()
            };
            assert_eq!(before.ssrc(), after.ssrc());
            assert_eq!(after.seq(), before.seq().wrapping_add(1));
            let step = after.timestamp().wrapping_sub(before.timestamp());
            assert!(step < 4 * self.clock_hz, "a step of {step}");
        }
    }
}

/// The amplitude of a frequency in a window (Goertzel).
fn amplitude(window: &[i16], hz: f32, pcm_hz: u32) -> f32 {
    let coefficient = 2.0 * (TAU * hz / pcm_hz as f32).cos();
    let (one, two) = window.iter().fold((0.0_f32, 0.0_f32), |(one, two), s| {
        (f32::from(*s) + coefficient * one - two, one)
    });
    let power = one * one + two * two - coefficient * one * two;
    2.0 * power.max(0.0).sqrt() / window.len() as f32
}

/// Whether just these keys were found, each as long as it was pressed to within `by_ms`.
pub(crate) fn assert_keys(found: &[(char, f32)], pressed: &[Press], by_ms: f32, what: &str) {
    let keys = |found: &[(char, f32)]| found.iter().map(|(key, _)| *key).collect::<String>();
    let wanted: String = pressed.iter().map(|press| press.key).collect();
    assert_eq!(keys(found), wanted, "{what}");
    for ((_, ms), press) in found.iter().zip(pressed) {
        assert!(
            (ms - press.ms).abs() <= by_ms,
            "{what}: {ms} ms of {press:?}"
        );
    }
}
