//! The keys of one party: what listens, and what it says as one stream of presses.

use super::merge::{CLAIM_US, Merge, Sound, Told};
use super::{DigitSource, DigitsConfig, EventEdge, EventPacket, EventReceiver};
use crate::engine::time::Micros;

/// Listens to one party.
#[derive(Debug)]
pub(in crate::engine) struct Digits {
    config: DigitsConfig,
    receiver: EventReceiver,
    merge: Merge,
}

impl Digits {
    pub(in crate::engine) fn new(config: DigitsConfig) -> Self {
        Self {
            config,
            receiver: EventReceiver::new(),
            merge: Merge::new(),
        }
    }

    /// Listens to other things from now on; what is not listened to any more has ended.
    pub(in crate::engine) fn configure(&mut self, now: Micros, config: DigitsConfig) {
        if self.config != config {
            self.config = config;
            self.receiver = EventReceiver::new();
            self.merge.close(now.0);
        }
    }

    /// A telephone-event packet of the party.
    pub(in crate::engine) fn event(&mut self, now: Micros, packet: &EventPacket<'_>) {
        if !self.config.telephone_events {
            return;
        }
        let Self {
            receiver, merge, ..
        } = self;
        receiver.packet(now.0, packet, &mut |edge| take_edge(merge, now, edge));
    }

    /// Any other packet of the party.
    pub(in crate::engine) fn media(&mut self, now: Micros, media: &Media) {
        let Self {
            config,
            receiver,
            merge,
        } = self;
        if config.telephone_events {
            let Media {
                ssrc,
                seq,
                timestamp,
            } = *media;
            let mut tell = |edge| take_edge(merge, now, edge);
            receiver.media(now.0, ssrc, seq, timestamp, &mut tell);
        }
    }

    /// What is due by now.
    pub(in crate::engine) fn timeout(&mut self, now: Micros) {
        let Self {
            receiver, merge, ..
        } = self;
        receiver.timeout(now.0, &mut |edge| take_edge(merge, now, edge));
        merge.timeout(now.0);
    }

    /// When [`Digits::timeout`] is due.
    pub(in crate::engine) fn next_timeout(&self) -> Micros {
        let next = [
            self.receiver.next_timeout_us(),
            self.merge.next_timeout_us(),
        ];
        next.into_iter()
            .flatten()
            .min()
            .map_or(Micros::NEVER, Micros)
    }

    /// Nothing is heard any more.
    pub(in crate::engine) fn close(&mut self, now: Micros) {
        self.merge.close(now.0);
    }

    /// What is to be told next; each is given once.
    pub(in crate::engine) fn next_told(&mut self) -> Option<Told> {
        self.merge.next_told()
    }
}

/// What the header of a packet says that is no telephone-event.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Media {
    pub(in crate::engine) ssrc: u32,
    pub(in crate::engine) seq: u16,
    pub(in crate::engine) timestamp: u32,
}

/// What the receiver of telephone-events heard.
fn take_edge(merge: &mut Merge, now: Micros, edge: EventEdge) {
    match edge {
        EventEdge::Began {
            code,
            volume,
            began_us,
        } => merge.began(
            now.0,
            &Sound {
                code,
                source: DigitSource::TelephoneEvent,
                began_us,
                is_exact: false,
                level: level_of(volume),
                confidence: 100,
            },
        ),
        EventEdge::Ended {
            code,
            began_us,
            duration_us,
            ..
        } => {
            let ended_us = began_us.saturating_add(duration_us);
            merge.ended(now.0, DigitSource::TelephoneEvent, code, ended_us, CLAIM_US);
        }
    }
}

/// The level in dBm0 that an event's volume says; 0 is also what senders write that do not know
/// (RFC 4733 §2.3.4).
fn level_of(volume: u8) -> Option<i8> {
    let volume = i8::try_from(volume.min(63)).unwrap_or(0);
    (volume > 0).then_some(-volume)
}
