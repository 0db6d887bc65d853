//! The keys of one party: what listens, and what it says as one stream of presses.

use super::hearing::{Audio, Hearing, ToneEdge};
use super::merge::{CLAIM_US, End, Merge, Sound, Told};
use super::{DigitSource, DigitsConfig, EventEdge, EventPacket, EventReceiver};
use crate::engine::gather::Beat;
use crate::engine::time::Micros;

/// An event that its sender's clock dates this much before or after its arrival is not dated by it.
const DATED_US_MAX: u64 = 1_000_000;

/// Listens to one party.
#[derive(Debug)]
pub(in crate::engine) struct Digits {
    config: DigitsConfig,
    receiver: EventReceiver,
    hearing: Option<Box<Hearing>>,
    merge: Merge,
    /// The party has a payload type for events, so that one may follow its tone.
    has_events: bool,
}

impl Digits {
    pub(in crate::engine) fn new(config: DigitsConfig) -> Self {
        Self {
            config,
            receiver: EventReceiver::new(),
            hearing: config.in_band.then(|| Box::new(Hearing::new())),
            merge: Merge::new(),
            has_events: false,
        }
    }

    /// Listens to other things from now on; what is not listened to any more has ended.
    pub(in crate::engine) fn configure(&mut self, now: Micros, config: DigitsConfig) {
        if self.config == config {
            return;
        }
        if self.config.telephone_events && !config.telephone_events {
            self.receiver = EventReceiver::new();
            self.merge.silence(now.0, DigitSource::TelephoneEvent);
        }
        if !config.in_band {
            self.hearing = None;
            self.merge.silence(now.0, DigitSource::InBand);
        } else if self.hearing.is_none() {
            self.hearing = Some(Box::new(Hearing::new()));
        }
        self.config = config;
    }

    /// Whether what may become a key is told of before it is one.
    pub(in crate::engine) fn set_wary(&mut self, wary: bool) {
        if let Some(hearing) = &mut self.hearing {
            hearing.set_wary(wary);
        }
    }

    /// When its audio comes, if that is heard.
    pub(in crate::engine) fn beat(&self) -> Option<Beat> {
        self.hearing.as_ref().and_then(|hearing| hearing.beat())
    }

    /// Whether audio is decoded.
    pub(in crate::engine) fn hears_tones(&self) -> bool {
        self.hearing.is_some()
    }

    /// A telephone-event packet of the party.
    pub(in crate::engine) fn event(&mut self, now: Micros, packet: &EventPacket<'_>) {
        self.has_events = true;
        let audio = Audio {
            ssrc: packet.ssrc,
            seq: packet.seq,
            timestamp: packet.timestamp,
            codec: None,
            payload: &[],
        };
        self.hear(now, &audio);
        if !self.config.telephone_events {
            return;
        }
        let dated_us = self
            .hearing
            .as_ref()
            .and_then(|hearing| hearing.time_of(packet.ssrc, packet.timestamp, packet.clock_hz));
        let merge = &mut self.merge;
        let mut tell = |edge| take_event(merge, now, edge, dated_us);
        self.receiver.packet(now.0, packet, &mut tell);
    }

    /// Any other packet of the party; whether it has a payload type for events.
    pub(in crate::engine) fn media(&mut self, now: Micros, audio: &Audio<'_>, has_events: bool) {
        self.has_events = has_events;
        if self.config.telephone_events {
            let merge = &mut self.merge;
            let mut tell = |edge| take_event(merge, now, edge, None);
            let (ssrc, seq, timestamp) = (audio.ssrc, audio.seq, audio.timestamp);
            self.receiver.media(now.0, ssrc, seq, timestamp, &mut tell);
        }
        self.hear(now, audio);
    }

    fn hear(&mut self, now: Micros, audio: &Audio<'_>) {
        let claim_us = self.claim_us();
        let merge = &mut self.merge;
        if let Some(hearing) = &mut self.hearing {
            let mut tell = |edge| take_tone(merge, now, edge, claim_us);
            hearing.packet(now.0, audio, &mut tell);
        }
    }

    /// How long a tone waits for an event of the same press.
    fn claim_us(&self) -> u64 {
        match self.config.telephone_events && self.has_events {
            true => CLAIM_US,
            false => 0,
        }
    }

    /// What is due by now.
    pub(in crate::engine) fn timeout(&mut self, now: Micros) {
        let claim_us = self.claim_us();
        let merge = &mut self.merge;
        let mut tell = |edge| take_event(merge, now, edge, None);
        self.receiver.timeout(now.0, &mut tell);
        if let Some(hearing) = &mut self.hearing {
            let mut tell = |edge| take_tone(merge, now, edge, claim_us);
            hearing.timeout(now.0, &mut tell);
        }
        self.merge.timeout(now.0);
    }

    /// When [`Digits::timeout`] is due.
    pub(in crate::engine) fn next_timeout(&self) -> Micros {
        let hearing = self.hearing.as_ref();
        let next = [
            self.receiver.next_timeout_us(),
            hearing.and_then(|hearing| hearing.next_timeout_us()),
            self.merge.next_timeout_us(),
        ];
        let next = next.into_iter().flatten().min();
        next.map_or(Micros::NEVER, Micros)
    }

    /// Nothing is heard any more.
    pub(in crate::engine) fn close(&mut self, now: Micros) {
        self.merge.close(now.0);
    }

    /// Presses that were too many to be told, since this was last asked.
    pub(in crate::engine) fn take_ignored(&mut self) -> u32 {
        self.merge.take_ignored()
    }

    /// What is to be told next; each is given once.
    pub(in crate::engine) fn next_told(&mut self) -> Option<Told> {
        self.merge.next_told()
    }
}

/// What the receiver of telephone-events heard; `dated_us`: when the event began by its sender's
/// clock, where that is known.
fn take_event(merge: &mut Merge, now: Micros, edge: EventEdge, dated_us: Option<u64>) {
    let source = DigitSource::TelephoneEvent;
    match edge {
        EventEdge::Began {
            code,
            volume,
            began_us,
        } => {
            let dated_us = dated_us.filter(|at| at.abs_diff(began_us) <= DATED_US_MAX);
            let sound = Sound {
                code,
                source,
                began_us: dated_us.unwrap_or(began_us),
                said_us: began_us,
                is_exact: dated_us.is_some(),
                level: level_of(volume),
                confidence: 100,
            };
            merge.began(now.0, &sound);
        }
        EventEdge::Ended {
            code,
            began_us,
            duration_us,
            ..
        } => {
            let end = End {
                code,
                source,
                said_us: Some(began_us),
                ended_us: began_us.saturating_add(duration_us),
                claim_us: 0,
            };
            merge.ended(now.0, &end);
        }
    }
}

/// What was heard in the audio.
fn take_tone(merge: &mut Merge, now: Micros, edge: ToneEdge, claim_us: u64) {
    let source = DigitSource::InBand;
    match edge {
        ToneEdge::Began {
            code,
            began_us,
            level_dbm0,
            confidence,
        } => {
            let sound = Sound {
                code,
                source,
                began_us,
                said_us: began_us,
                is_exact: true,
                level: Some(whole(level_dbm0)),
                confidence,
            };
            merge.began(now.0, &sound);
        }
        ToneEdge::Suspected => merge.suspect(),
        ToneEdge::Ended { code, ended_us } => {
            let end = End {
                code,
                source,
                said_us: None,
                ended_us,
                claim_us,
            };
            merge.ended(now.0, &end);
        }
    }
}

/// The level in dBm0 that an event's volume says; 0 is also what senders write that do not know
/// (RFC 4733 §2.3.4).
fn level_of(volume: u8) -> Option<i8> {
    let volume = i8::try_from(volume.min(63)).unwrap_or(0);
    (volume > 0).then_some(-volume)
}

/// A level in whole dB.
#[allow(clippy::cast_possible_truncation, reason = "clamped before")]
fn whole(level_dbm0: f32) -> i8 {
    level_dbm0.round().clamp(-63.0, 3.0) as i8
}
