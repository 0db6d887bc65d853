//! The keys that one listener is sent, one after the other.
//!
//! Where the listener accepts telephone-events, time drives the keys: the call asks for a packet
//! whenever [`Dialer::due`] says. Else its frames do, sample by sample: [`Dialer::sound`] puts the
//! tones into the place of its audio. Which of the two is settled when the first key goes down, and
//! stays until nothing is left to do.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::EventType;
use super::dial::{DIGITS_MAX, DialId, DialReport, DialStep, KEY_MS, SendDigits};
use super::sender::{PressPacket, PressSender};
use crate::audio::tone::KeyTone;
use crate::engine::api::StreamIx;
use crate::engine::time::{Micros, micros};
use crate::wire::event::EventCode;
use crate::wire::seq::RtpTimestamp;

/// A key that is held by hand comes up by itself after this long.
const HELD_US_MAX: u64 = *KEY_MS.end() * 1_000;

/// A tone that stands for a key that was held is at least so long, and the silence behind it: what
/// every receiver takes for a key and for its end (ITU-T Q.24 has 40 ms for each). The silence also
/// hides what is left of the talker's own tone.
pub(in crate::engine) const HELD_TONE_US_MIN: u64 = 60_000;
const HELD_PAUSE_US: u64 = 60_000;

/// Most pieces that may wait, of commands and of keys that are held by hand each: every step may
/// bring a pause, every command its end.
const QUEUE_MAX: usize = 3 * DIGITS_MAX;

/// The keys of one listener.
#[derive(Debug, Default)]
pub(in crate::engine) struct Dialer {
    queue: VecDeque<Piece>,
    hand: Hand,
    /// Frames drive it, and not time.
    by_frames: bool,
    rate_hz: u32,
    /// When the piece before was over.
    mark: Micros,
    /// Keys of the command at work that came up.
    pressed: u16,
    ended: SmallVec<[DialReport; 1]>,
}

/// What waits.
#[derive(Debug)]
enum Piece {
    Key(Key),
    /// Nothing is heard.
    Pause(u64),
    /// What is heard otherwise is heard.
    Wait(u64),
    /// A command is carried out.
    End(DialId),
    /// Between two commands; the talk goes on.
    Gap(u64),
}

#[derive(Clone, Copy)]
struct Key {
    code: EventCode,
    volume: u8,
    /// `None`: it is down.
    duration_us: Option<u64>,
    /// It is held by hand.
    held: Option<Held>,
    /// The command at work counts it when it comes up.
    counts: bool,
}

/// Who holds a key down, and since when.
#[derive(Clone, Copy, Debug)]
struct Held {
    by: StreamIx,
    since: Micros,
}

/// Does not say which key: logs do not hold what people dial.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let duration_us = &self.duration_us;
        let mut key = f.debug_struct("Key");
        key.field("duration_us", duration_us)
            .finish_non_exhaustive()
    }
}

/// What is being done.
#[derive(Debug, Default)]
enum Hand {
    #[default]
    Rests,
    /// A key is down, or its last packet is repeated.
    Tells(Telling),
    Sounds(Key, KeyTone),
    /// Until then; whether nothing is heard meanwhile.
    Waits(Micros, bool),
    /// The same in samples.
    Counts(u64, bool),
}

/// A press as telephone-events.
#[derive(Debug)]
struct Telling {
    key: Key,
    sender: PressSender,
    kind: EventType,
    began: Micros,
    due: Micros,
    /// Of its first packet, once that is sent.
    timestamp: Option<RtpTimestamp>,
}

/// A packet to send, and where its press stands in the listener's stream.
pub(in crate::engine) struct Due<'a> {
    pub(in crate::engine) packet: PressPacket,
    pub(in crate::engine) pt: u8,
    pub(in crate::engine) timestamp: &'a mut Option<RtpTimestamp>,
}

impl Dialer {
    /// Whether nothing is left to do.
    pub(in crate::engine) fn is_idle(&self) -> bool {
        matches!(self.hand, Hand::Rests) && self.queue.is_empty()
    }

    /// Whether frames have to be made for it.
    pub(in crate::engine) fn needs_frames(&self) -> bool {
        self.by_frames && !self.is_idle()
    }

    /// Whether nothing but our events is sent now.
    pub(in crate::engine) fn hushes(&self) -> bool {
        matches!(self.hand, Hand::Tells(_) | Hand::Waits(_, true))
    }

    /// From idleness: frames drive it, or time.
    pub(in crate::engine) fn begin(&mut self, now: Micros, by_frames: bool) {
        (self.by_frames, self.mark) = (by_frames, now);
    }

    /// Whether a command's steps still fit. Keys that are held by hand take no command's place.
    pub(in crate::engine) fn has_room(&self, steps: usize) -> bool {
        let waiting = self.queue.iter().filter(|piece| piece.is_step());
        waiting.count() + steps <= DIGITS_MAX
    }

    /// Puts a command's keys behind those that wait.
    pub(in crate::engine) fn push(&mut self, digits: &SendDigits) {
        let pause_us = micros(digits.pause);
        let last_key = digits.steps.iter().rposition(DialStep::is_key);
        for (at, step) in digits.steps.iter().enumerate() {
            match *step {
                DialStep::Wait(span) => self.queue.push_back(Piece::Wait(micros(span))),
                DialStep::Key { code, duration } => {
                    self.queue.push_back(Piece::Key(Key {
                        code,
                        volume: digits.volume,
                        duration_us: Some(micros(duration)),
                        held: None,
                        counts: true,
                    }));
                    // Between keys it is quiet; behind the last one the talk goes on.
                    if last_key != Some(at) {
                        self.queue.push_back(Piece::Pause(pause_us));
                    }
                }
            }
        }
        self.queue.push_back(Piece::End(digits.id));
        self.queue.push_back(Piece::Gap(pause_us));
    }

    /// A party's key goes down until [`Self::release`]; `false`: too many wait.
    pub(in crate::engine) fn hold(
        &mut self,
        now: Micros,
        by: StreamIx,
        code: EventCode,
        volume: u8,
    ) -> bool {
        if self.queue.len() + 2 > QUEUE_MAX {
            return false;
        }
        self.queue.push_back(Piece::Key(Key {
            code,
            volume,
            duration_us: None,
            held: Some(Held { by, since: now }),
            counts: false,
        }));
        self.queue.push_back(Piece::Pause(HELD_PAUSE_US));
        true
    }

    /// The key that a party holds comes up, after so long if that is known better than by `now`;
    /// of several the one of this code, if one is given.
    pub(in crate::engine) fn release(
        &mut self,
        now: Micros,
        (by, code): (StreamIx, Option<EventCode>),
        duration_us: Option<u64>,
    ) {
        let down_us = |key: &Key| {
            let since_us = key.held.map_or(0, |held| now.since(held.since));
            duration_us.unwrap_or(since_us).min(HELD_US_MAX)
        };
        let is_down = |key: &Key| {
            let this = code.is_none_or(|code| code == key.code);
            this && key.duration_us.is_none() && key.held.is_some_and(|held| held.by == by)
        };
        match &mut self.hand {
            Hand::Tells(telling) if is_down(&telling.key) => {
                let us = down_us(&telling.key);
                telling.key.duration_us = Some(us);
                telling.sender.release(us);
                return;
            }
            Hand::Sounds(key, tone) if is_down(key) => {
                let us = down_us(key);
                key.duration_us = Some(us);
                tone.release(samples(us.max(HELD_TONE_US_MIN), self.rate_hz));
                return;
            }
            _ => {}
        }
        let waiting = self.queue.iter_mut().find_map(|piece| match piece {
            Piece::Key(key) if is_down(key) => Some(key),
            _ => None,
        });
        if let Some(key) = waiting {
            key.duration_us = Some(down_us(key));
        }
    }

    /// Its call has become part of another one.
    pub(in crate::engine) fn renumber(&mut self, further: impl Fn(StreamIx) -> StreamIx) {
        let hand = match &mut self.hand {
            Hand::Tells(telling) => Some(&mut telling.key),
            Hand::Sounds(key, _) => Some(key),
            _ => None,
        };
        let waiting = self.queue.iter_mut().filter_map(|piece| match piece {
            Piece::Key(key) => Some(key),
            _ => None,
        });
        let held = hand.into_iter().chain(waiting);
        for held in held.filter_map(|key| key.held.as_mut()) {
            held.by = further(held.by);
        }
    }

    /// Nothing more is pressed; a key that is down comes up.
    pub(in crate::engine) fn stop(&mut self, now: Micros) {
        for piece in std::mem::take(&mut self.queue) {
            if let Piece::End(id) = piece {
                self.report(id, false);
            }
        }
        // What ends early is of a command that was told of, and of none that comes after it.
        match &mut self.hand {
            Hand::Tells(telling) => {
                telling.key.counts = false;
                telling.sender.cut(now.since(telling.began));
            }
            Hand::Sounds(key, tone) => {
                key.counts = false;
                tone.cut();
            }
            _ => self.hand = Hand::Rests,
        }
    }

    /// It can be sent nothing any more.
    pub(in crate::engine) fn abandon(&mut self, now: Micros) {
        self.stop(now);
        self.hand = Hand::Rests;
    }

    fn report(&mut self, id: DialId, completed: bool) {
        self.ended.push(DialReport {
            id,
            keys: std::mem::take(&mut self.pressed),
            completed,
        });
    }

    /// A command that ended and was not told of yet.
    pub(in crate::engine) fn next_ended(&mut self) -> Option<DialReport> {
        (!self.ended.is_empty()).then(|| self.ended.remove(0))
    }

    fn came_up(&mut self, key: Key) {
        self.pressed = self.pressed.saturating_add(u16::from(key.counts));
    }
}

/// Driven by time.
impl Dialer {
    /// When [`Self::tick`] wants to be called.
    pub(in crate::engine) fn due(&self) -> Micros {
        match &self.hand {
            _ if self.by_frames => Micros::NEVER,
            Hand::Tells(telling) => telling.due,
            Hand::Waits(until, _) => *until,
            _ if self.queue.is_empty() => Micros::NEVER,
            _ => self.mark,
        }
    }

    /// What is due now. `kind` is what the listener accepts; packets are `interval_us` apart.
    pub(in crate::engine) fn tick(
        &mut self,
        now: Micros,
        kind: Option<EventType>,
        interval_us: u64,
    ) -> Option<Due<'_>> {
        if self.due() > now {
            return None;
        }
        if let Hand::Waits(until, _) = self.hand {
            (self.mark, self.hand) = (until, Hand::Rests);
        }
        while matches!(self.hand, Hand::Rests) {
            match self.queue.pop_front()? {
                Piece::End(id) => self.report(id, true),
                Piece::Pause(us) => self.wait(now, us, true),
                Piece::Wait(us) | Piece::Gap(us) => self.wait(now, us, false),
                Piece::Key(key) => match kind {
                    Some(kind) => self.tell(now, key, kind),
                    None => self.queue.push_front(Piece::Key(key)),
                },
            }
            if kind.is_none() && matches!(self.queue.front(), Some(Piece::Key(_))) {
                self.abandon(now); // it accepts no events any more
                return None;
            }
        }
        self.packet(now, interval_us)
    }

    fn wait(&mut self, now: Micros, us: u64, hushes: bool) {
        let until = self.mark.plus(us);
        match until > now {
            true => self.hand = Hand::Waits(until, hushes),
            false => self.mark = until,
        }
    }

    fn tell(&mut self, now: Micros, key: Key, kind: EventType) {
        let (code, volume) = (key.code, key.volume);
        self.hand = Hand::Tells(Telling {
            key,
            sender: PressSender::new(code, volume, kind.clock_hz, key.duration_us),
            kind,
            began: now,
            due: now,
            timestamp: None,
        });
    }

    fn packet(&mut self, now: Micros, interval_us: u64) -> Option<Due<'_>> {
        if let Hand::Tells(telling) = &self.hand
            && telling.sender.is_over()
        {
            let whole_us = telling.key.duration_us.unwrap_or(0);
            let (key, began) = (telling.key, telling.began);
            (self.mark, self.hand) = (began.plus(whole_us), Hand::Rests);
            self.came_up(key);
            return None;
        }
        let Hand::Tells(telling) = &mut self.hand else {
            return None;
        };
        if telling.due > now {
            return None;
        }
        if now.since(telling.began) >= HELD_US_MAX {
            telling.sender.release(HELD_US_MAX);
            telling.key.duration_us.get_or_insert(HELD_US_MAX);
        }
        // What a stalled worker left out is not made up for: packets stay an interval apart.
        let late = now.since(telling.due) >= interval_us;
        let at = if late { now } else { telling.due };
        telling.due = at.plus(interval_us);
        let packet = telling.sender.next(at.since(telling.began) + interval_us)?;
        Some(Due {
            packet,
            pt: telling.kind.pt,
            timestamp: &mut telling.timestamp,
        })
    }
}

/// Driven by frames.
impl Dialer {
    /// Puts what the listener hears of its keys into one frame. Returns whether anything of the
    /// frame is theirs.
    pub(in crate::engine) fn sound(&mut self, pcm: &mut [i16], rate_hz: u32) -> bool {
        if !self.by_frames {
            return false;
        }
        self.set_rate(rate_hz);
        let (mut at, mut covers) = (0, false);
        while at < pcm.len() {
            let rest = &mut pcm[at..];
            match &mut self.hand {
                Hand::Sounds(key, tone) => {
                    if tone.played() >= samples(HELD_US_MAX, rate_hz) {
                        tone.release(0);
                    }
                    let count = tone.fill(rest);
                    covers |= count > 0;
                    if count < rest.len() {
                        let key = *key;
                        self.hand = Hand::Rests;
                        self.came_up(key);
                    }
                    at += count;
                }
                Hand::Counts(left, hushes) => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if *hushes {
                        rest[..count].fill(0);
                        covers |= count > 0;
                    }
                    *left -= count as u64;
                    if *left == 0 {
                        self.hand = Hand::Rests;
                    }
                    at += count;
                }
                _ => {
                    if !self.next_sound() {
                        break;
                    }
                }
            }
        }
        self.finish();
        covers
    }

    /// What ends with the frame has ended, and is not still there in the next one.
    fn finish(&mut self) {
        while matches!(self.hand, Hand::Rests)
            && let Some(&Piece::End(id)) = self.queue.front()
        {
            self.queue.pop_front();
            self.report(id, true);
        }
    }

    /// The next piece; `false`: there is none.
    fn next_sound(&mut self) -> bool {
        match self.queue.pop_front() {
            None => {
                self.hand = Hand::Rests;
                return false;
            }
            Some(Piece::End(id)) => self.report(id, true),
            Some(Piece::Pause(us)) => self.hand = Hand::Counts(samples(us, self.rate_hz), true),
            Some(Piece::Wait(us) | Piece::Gap(us)) => {
                self.hand = Hand::Counts(samples(us, self.rate_hz), false);
            }
            Some(Piece::Key(key)) => self.strike(key),
        }
        true
    }

    /// A key that has no tone is passed over.
    fn strike(&mut self, key: Key) {
        let least_us = if key.held.is_some() {
            HELD_TONE_US_MIN
        } else {
            0
        };
        let len = key
            .duration_us
            .map(|us| samples(us.max(least_us), self.rate_hz));
        let level = -f32::from(key.volume);
        let digit = key.code.digit();
        match digit.and_then(|digit| KeyTone::new(digit, level, self.rate_hz, len)) {
            Some(tone) => self.hand = Hand::Sounds(key, tone),
            None => self.hand = Hand::Rests,
        }
    }

    fn set_rate(&mut self, rate_hz: u32) {
        let from_hz = std::mem::replace(&mut self.rate_hz, rate_hz);
        if from_hz == rate_hz {
            return;
        }
        match &mut self.hand {
            Hand::Sounds(_, tone) => tone.set_rate(rate_hz),
            Hand::Counts(left, _) => {
                *left = *left * u64::from(rate_hz) / u64::from(from_hz.max(1));
            }
            _ => {}
        }
    }
}

impl Piece {
    /// Whether it is one of a command's steps.
    fn is_step(&self) -> bool {
        match self {
            Self::Key(key) => key.held.is_none(),
            Self::Wait(_) => true,
            Self::Pause(_) | Self::End(_) | Self::Gap(_) => false,
        }
    }
}

fn samples(span_us: u64, rate_hz: u32) -> u64 {
    span_us * u64::from(rate_hz) / 1_000_000
}

#[cfg(test)]
mod tests;
