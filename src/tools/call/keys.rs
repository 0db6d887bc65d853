//! Keys at the end of a call: the caller presses them as telephone-events, the callee as tones, and
//! each must be heard once: by the other party, and by the switch, which tells a socket of ours.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::FRAME;
use crate::audio::dtmf::{Detector, Heard};
use crate::audio::tone::KeyTone;
use crate::tools::bench::{CALLEE, CALLER};
use crate::wire::event::{Digit, EventCode, TelephoneEvent};

/// The number of telephone-event in both SDPs.
pub(super) const EVENT_PT: u8 = 101;

/// Most keys of a call.
const KEYS_MAX: usize = 32;

/// Frames of silence before the first key,
const LEAD_FRAMES: usize = 10;
/// of a key that is down,
const DOWN_FRAMES: usize = 5;
/// and of a key with the pause behind it.
const KEY_FRAMES: usize = 10;

/// Frames in which the end of an event is told again (RFC 4733 section 2.5.1.4).
const ENDS: usize = 3;

/// Level of the tones, and of what the events say.
const LEVEL_DBM0: f32 = -10.0;

/// Longest datagram that the switch tells of a press.
const NOTICE_MAX: usize = 4_096;

/// Which keys are pressed.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Digit>);

/// Reads `12*#`.
pub(super) fn parse(text: &str) -> Result<Keys, String> {
    let keys: Option<Vec<Digit>> = text.chars().map(Digit::from_char).collect();
    let keys = keys.ok_or_else(|| format!("{text:?} are not keys, which are 0-9 * # A-D"))?;
    match keys.len() {
        1..=KEYS_MAX => Ok(Keys(keys)),
        len => Err(format!("{len} keys are not 1 to {KEYS_MAX}")),
    }
}

impl Keys {
    /// Frames that pressing takes.
    pub(super) fn frames(&self) -> usize {
        LEAD_FRAMES + KEY_FRAMES * self.0.len()
    }

    /// All of it as tones.
    pub(super) fn tones(&self) -> Vec<i16> {
        let mut sound = vec![0; self.frames() * FRAME];
        for (at, digit) in self.0.iter().enumerate() {
            let from = (LEAD_FRAMES + at * KEY_FRAMES) * FRAME;
            let len = DOWN_FRAMES * FRAME;
            let tone = KeyTone::new(*digit, LEVEL_DBM0, 8_000, Some(len as u64));
            if let Some(mut tone) = tone {
                tone.fill(&mut sound[from..from + len]);
            }
        }
        sound
    }

    /// What is sent in the place of frame `frame` of the audio: a telephone-event, and how many
    /// frames ago it began.
    pub(super) fn event(&self, frame: usize) -> Option<(TelephoneEvent, usize)> {
        let since = frame.checked_sub(LEAD_FRAMES)?;
        let (digit, ago) = (self.0.get(since / KEY_FRAMES)?, since % KEY_FRAMES);
        let told = (ago + 1).min(DOWN_FRAMES);
        (ago < DOWN_FRAMES + ENDS - 1).then(|| {
            let event = TelephoneEvent {
                code: digit.code(),
                end: ago + 1 >= DOWN_FRAMES,
                volume: 10,
                duration: u16::try_from(told * FRAME).unwrap_or(u16::MAX),
            };
            (event, ago)
        })
    }
}

impl std::fmt::Display for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|digit| write!(f, "{digit}"))
    }
}

/// The keys in what was heard.
pub(super) fn in_sound(samples: &[i16]) -> Result<String> {
    let mut keys = String::new();
    let mut detector = Detector::new(8_000)?;
    let mut tell = |heard| {
        if let Heard::Began(tone) = heard {
            keys.push(tone.digit.as_char());
        }
    };
    detector.feed(samples, &mut tell);
    detector.feed(&[0; 8 * FRAME], &mut tell);
    Ok(keys)
}

/// The keys of events.
pub(super) fn of_codes(codes: impl Iterator<Item = u8>) -> String {
    let key = |code| EventCode(code).digit().map_or('?', Digit::as_char);
    codes.map(key).collect()
}

/// Where the switch tells of presses.
#[derive(Debug)]
pub(super) struct Log(UdpSocket);

impl Log {
    pub(super) fn open(ip: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// What was told so far: keys of the caller and of the callee.
    pub(super) fn told(&self) -> Result<[String; 2]> {
        let mut notices = Vec::new();
        let mut buffer = [0; NOTICE_MAX];
        while let Ok(len) = self.0.recv(&mut buffer) {
            notices.push(serde_json::from_slice::<Value>(&buffer[..len])?);
        }
        let of = |tag: &str| {
            let of_party = notices.iter().filter(|told| told["source_tag"] == tag);
            of_codes(of_party.map(|told| {
                let code = told["event"].as_u64().and_then(|code| code.try_into().ok());
                code.unwrap_or(u8::MAX)
            }))
        };
        Ok([CALLER, CALLEE].map(of))
    }
}

/// What became of the keys.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) pressed: String,
    /// What the switch told: keys of the caller, and of the callee.
    pub(super) told: [String; 2],
    /// What the caller heard of the callee's, and the callee of the caller's.
    pub(super) heard: [String; 2],
}

impl Outcome {
    /// # Errors
    /// When a key was not told or heard, or more than once.
    pub(super) fn check(&self) -> Result<()> {
        let mut all = self.told.iter().chain(&self.heard);
        ensure!(
            all.all(|keys| *keys == self.pressed),
            "a key was not heard exactly once"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_within_limits() {
        assert_eq!(parse("12*#D").unwrap().to_string(), "12*#D");
        assert!(parse(&"1".repeat(KEYS_MAX)).is_ok());
        for wrong in [String::new(), "1".repeat(KEYS_MAX + 1), "12x".into()] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tones_are_the_keys() {
        let keys = parse("159#").unwrap();
        assert_eq!(keys.tones().len(), keys.frames() * FRAME);
        assert_eq!(in_sound(&keys.tones()).unwrap(), "159#");
    }

    #[test]
    fn events_grow_end_three_times_and_leave_a_pause() {
        let keys = parse("5#").unwrap();
        let events: Vec<_> = (0..keys.frames()).map(|frame| keys.event(frame)).collect();
        assert!(events[..LEAD_FRAMES].iter().all(Option::is_none));
        for (key, code) in events[LEAD_FRAMES..].chunks(KEY_FRAMES).zip([5, 11]) {
            let told: Vec<_> = key.iter().flatten().collect();
            assert_eq!(told.len(), DOWN_FRAMES + ENDS - 1);
            assert!(told.iter().all(|(event, _)| event.code.0 == code));
            assert_eq!(told.iter().filter(|(event, _)| event.end).count(), ENDS);
            let durations: Vec<_> = told.iter().map(|(event, _)| event.duration).collect();
            assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        }
        assert_eq!(keys.event(keys.frames()), None);
    }

    #[test]
    fn one_press_too_many_is_an_error() {
        let mut outcome = Outcome {
            pressed: "1".into(),
            told: ["1".into(), "1".into()],
            heard: ["1".into(), "1".into()],
        };
        assert!(outcome.check().is_ok());
        outcome.heard[1].push('1');
        assert!(outcome.check().is_err());
    }
}
