//! A telephone that sends its keys as RFC 4733 says, and as senders in the field do instead.

use std::collections::HashMap;

use crosspoint::engine::{EventEdge, EventPacket, EventReceiver};
use crosspoint::wire::event::{Digit, EventCode, TelephoneEvent};

/// Which packets of a press have the marker bit.
#[derive(Clone, Copy, PartialEq)]
pub enum Marks {
    First,
    Never,
    Always,
}

/// What the sender does with its audio while a key is down.
#[derive(Clone, Copy, PartialEq)]
pub enum Audio {
    Stops,
    RunsBeside,
    /// It has none: silence suppression.
    None,
}

/// The timestamp of a press's packets.
#[derive(Clone, Copy, PartialEq)]
pub enum Stamps {
    /// Its beginning, as it should be.
    Start,
    /// One interval more in each packet.
    EachPacket,
    /// As [`Stamps::EachPacket`], with durations of one interval each.
    EachPacketFlat,
    /// One interval more in each repeated end.
    EachEnd,
    /// The instant at which a repeated end is sent.
    EndsAreNow,
    /// That of the first press, for ever.
    Still,
}

/// What becomes of durations above 65,535 ticks.
#[derive(Clone, Copy, PartialEq)]
pub enum Long {
    Segments,
    Saturates,
    Wraps,
}

#[derive(Clone, Copy)]
pub struct Style {
    pub clock_hz: u32,
    pub interval_ms: u64,
    pub marks: Marks,
    pub audio: Audio,
    pub stamps: Stamps,
    pub long: Long,
    pub ends: u64,
    /// All ends at once.
    pub burst: bool,
    /// Before the updates, a packet of no duration.
    pub zero_first: bool,
    pub updates: bool,
    /// Four zero octets before each event.
    pub shifted: bool,
}

pub const PLAIN: Style = Style {
    clock_hz: 8_000,
    interval_ms: 20,
    marks: Marks::First,
    audio: Audio::Stops,
    stamps: Stamps::Start,
    long: Long::Segments,
    ends: 3,
    burst: false,
    zero_first: false,
    updates: true,
    shifted: false,
};

/// Packets of this press, or audio.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Of {
    Press(usize),
    Audio,
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub at_us: u64,
    pub of: Of,
    /// Which of its press, from 0.
    pub nth: usize,
    pub end: bool,
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub clock_hz: u32,
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressed {
    pub key: char,
    pub at_us: u64,
    pub hold_ms: u64,
}

/// The telephone. Presses follow each other in time; [`Phone::packets`] numbers what was sent.
pub struct Phone {
    pub style: Style,
    pub ssrc: u32,
    pub first_seq: u16,
    /// Timestamp at time 0.
    pub offset: u32,
    pub now_us: u64,
    pub pressed: Vec<Pressed>,
    sent: Vec<Packet>,
    still: Option<u32>,
}

impl Phone {
    pub fn new(style: Style) -> Self {
        Self {
            style,
            ssrc: 0x5eed,
            first_seq: 1_000,
            offset: 160_000,
            now_us: 1_000_000,
            pressed: Vec::new(),
            sent: Vec::new(),
            still: None,
        }
    }

    /// Presses these keys for 100 ms each, with 100 ms between them.
    pub fn dial(mut self, keys: &str) -> Self {
        for key in keys.chars() {
            self.pause(100);
            self.press(key, 100);
        }
        self.pause(100);
        self
    }

    fn ticks(&self, us: u64) -> u32 {
        (us * u64::from(self.style.clock_hz) / 1_000_000) as u32
    }

    fn stamp(&self, at_us: u64) -> u32 {
        self.offset.wrapping_add(self.ticks(at_us))
    }

    /// Audio, or nothing, for so long.
    pub fn pause(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1_000;
        if self.style.audio != Audio::None {
            self.audio(self.now_us, end_us);
        }
        self.now_us = end_us;
    }

    fn audio(&mut self, from_us: u64, to_us: u64) {
        let mut at_us = from_us + 20_000;
        while at_us <= to_us {
            self.push(at_us, Of::Audio, 0, self.stamp(at_us - 20_000), Vec::new());
            at_us += 20_000;
        }
    }

    fn push(&mut self, at_us: u64, of: Of, nth: usize, timestamp: u32, payload: Vec<u8>) {
        self.sent.push(Packet {
            at_us,
            of,
            nth,
            end: payload.get(1).is_some_and(|second| second & 0x80 != 0),
            ssrc: self.ssrc,
            seq: 0,
            timestamp,
            marker: false,
            clock_hz: self.style.clock_hz,
            payload,
        });
    }

    pub fn press(&mut self, key: char, hold_ms: u64) {
        let code = match key {
            '!' => EventCode::FLASH,
            key => Digit::from_char(key).expect("a key").code(),
        };
        self.press_code(key, code, hold_ms);
    }

    /// Holds a key. Its repeated ends go out while the next pause runs.
    pub fn press_code(&mut self, key: char, code: EventCode, hold_ms: u64) {
        let style = self.style;
        let start_us = self.now_us;
        let number = self.pressed.len();
        self.pressed.push(Pressed {
            key,
            at_us: start_us,
            hold_ms,
        });
        let first = self.sent.len();
        let mut start = self.stamp(start_us);
        if style.stamps == Stamps::Still {
            start = *self.still.get_or_insert(start);
        }
        let step = self.ticks(style.interval_ms * 1_000);
        let total_us = hold_ms * 1_000;
        let mut due: Vec<(u64, u32, bool)> = Vec::new();
        if style.zero_first {
            due.push((0, 0, false));
        }
        let mut after_us = style.interval_ms * 1_000;
        while style.updates && after_us < total_us {
            due.push((after_us, self.ticks(after_us), false));
            after_us += style.interval_ms * 1_000;
        }
        for n in 0..style.ends {
            let again_us = if style.burst {
                0
            } else {
                n * style.interval_ms * 1_000
            };
            due.push((total_us + again_us, self.ticks(total_us), true));
        }
        let mut base = 0;
        for (nth, (after_us, told, end)) in due.into_iter().enumerate() {
            let mut duration = told - base;
            while duration > 0xffff && style.long == Long::Segments {
                for _ in 0..3 {
                    let payload = self.payload(code, 0xffff, false);
                    let at_us = start_us + after_us;
                    self.push(
                        at_us,
                        Of::Press(number),
                        nth,
                        start.wrapping_add(base),
                        payload,
                    );
                }
                base += 0xffff;
                duration -= 0xffff;
            }
            let duration = match style.long {
                Long::Wraps => duration as u16,
                _ => u16::try_from(duration).unwrap_or(u16::MAX),
            };
            let nth_step = step.wrapping_mul(nth as u32);
            let ends_before = nth as u64 - (self.updates_of(hold_ms)).min(nth as u64);
            let (timestamp, duration) = match style.stamps {
                Stamps::Start | Stamps::Still => (start.wrapping_add(base), duration),
                Stamps::EachPacket => (start.wrapping_add(nth_step), duration),
                Stamps::EachPacketFlat => (start.wrapping_add(nth_step), step as u16),
                Stamps::EachEnd => (start.wrapping_add(step * ends_before as u32), duration),
                Stamps::EndsAreNow if ends_before > 0 => {
                    (self.stamp(start_us + after_us), duration)
                }
                Stamps::EndsAreNow => (start, duration),
            };
            let payload = self.payload(code, duration, end);
            self.push(
                start_us + after_us,
                Of::Press(number),
                nth,
                timestamp,
                payload,
            );
        }
        for (nth, packet) in self.sent[first..].iter_mut().enumerate() {
            packet.marker = match style.marks {
                Marks::First => nth == 0,
                Marks::Never => false,
                Marks::Always => true,
            };
            packet.nth = nth;
        }
        self.now_us = start_us + total_us;
        if style.audio == Audio::RunsBeside {
            self.audio(start_us, self.now_us);
        }
    }

    /// Packets before the first end.
    fn updates_of(&self, hold_ms: u64) -> u64 {
        let updates = if self.style.updates {
            hold_ms.saturating_sub(1) / self.style.interval_ms
        } else {
            0
        };
        updates + u64::from(self.style.zero_first)
    }

    fn payload(&self, code: EventCode, duration: u16, end: bool) -> Vec<u8> {
        let event = TelephoneEvent {
            code,
            end,
            volume: 10,
            duration,
        };
        let mut payload = if self.style.shifted {
            vec![0; 4]
        } else {
            Vec::new()
        };
        payload.extend(event.to_bytes());
        payload
    }

    /// Everything in the order it was sent, numbered per source.
    pub fn packets(&self) -> Vec<Packet> {
        let mut packets = self.sent.clone();
        packets.sort_by_key(|packet| packet.at_us);
        let mut next: HashMap<u32, u16> = HashMap::new();
        for packet in &mut packets {
            let seq = next.entry(packet.ssrc).or_insert(self.first_seq);
            packet.seq = *seq;
            *seq = seq.wrapping_add(1);
        }
        packets
    }

    pub fn sent(&mut self) -> &mut Vec<Packet> {
        &mut self.sent
    }

    pub fn keys(&self) -> String {
        self.pressed.iter().map(|pressed| pressed.key).collect()
    }
}

/// What a receiver told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    pub key: char,
    pub volume: u8,
    pub began_us: u64,
    pub told_us: u64,
    pub duration_us: Option<u64>,
}

/// Gives the packets, in this order and at their times, to a receiver that is woken for time-outs.
pub fn hear(packets: &[Packet]) -> Vec<Told> {
    let mut receiver = EventReceiver::new();
    let mut told: Vec<Told> = Vec::new();
    for packet in packets {
        while let Some(due_us) = receiver
            .next_timeout_us()
            .filter(|due| *due <= packet.at_us)
        {
            receiver.timeout(due_us, &mut |edge| note(&mut told, due_us, edge));
        }
        let now_us = packet.at_us;
        let mut tell = |edge| note(&mut told, now_us, edge);
        match packet.of {
            Of::Audio => {
                receiver.media(now_us, packet.ssrc, packet.seq, packet.timestamp, &mut tell);
            }
            Of::Press(_) => {
                let event = EventPacket {
                    ssrc: packet.ssrc,
                    seq: packet.seq,
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    clock_hz: packet.clock_hz,
                    payload: &packet.payload,
                };
                receiver.packet(now_us, &event, &mut tell);
            }
        }
    }
    while let Some(due_us) = receiver.next_timeout_us() {
        receiver.timeout(due_us, &mut |edge| note(&mut told, due_us, edge));
    }
    assert!(
        told.iter().all(|told| told.duration_us.is_some()),
        "a press did not end: {told:?}"
    );
    told
}

fn note(told: &mut Vec<Told>, now_us: u64, edge: EventEdge) {
    let key_of = |code: EventCode| match code.digit() {
        Some(digit) => digit.as_char(),
        None if code == EventCode::FLASH => '!',
        None => '?',
    };
    match edge {
        EventEdge::Began {
            code,
            volume,
            began_us,
        } => told.push(Told {
            key: key_of(code),
            volume,
            began_us,
            told_us: now_us,
            duration_us: None,
        }),
        EventEdge::Ended {
            code,
            began_us,
            duration_us,
            ..
        } => {
            let open = told.iter_mut().rev().find(|told| {
                told.duration_us.is_none() && told.key == key_of(code) && told.began_us == began_us
            });
            let open = open.expect("what ends has begun");
            open.duration_us = Some(duration_us);
        }
    }
}

pub fn keys(told: &[Told]) -> String {
    told.iter().map(|told| told.key).collect()
}
