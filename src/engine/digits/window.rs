//! Packets in order: a short window that waits for one that was overtaken.

use crate::audio::codec::CodecConfig;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Most packets that wait for one before them: each costs a packet time of delay after a loss.
pub const REORDER_PACKETS_MAX: usize = 2;

/// Longest payload that waits, in octets: 20 ms of L16 at 48 kHz. A longer one is not heard.
pub const REORDER_PAYLOAD_LEN_MAX: usize = 1_920;

/// A sequence number further away begins anew.
const NEAR: u16 = 100;

/// The number that is heard next, and packets behind it that wait.
pub(super) struct Window {
    next: Option<SequenceNumber>,
    waiting: [Slot; REORDER_PACKETS_MAX + 1],
}

/// A packet that waits, or room for one.
#[derive(Default)]
pub(super) struct Slot {
    seq: Option<SequenceNumber>,
    since_us: u64,
    pub(super) timestamp: RtpTimestamp,
    pub(super) codec: Option<CodecConfig>,
    pub(super) payload: Vec<u8>,
}

impl Window {
    /// Allocates all it will ever need.
    pub(super) fn new() -> Self {
        let room = |_| Slot {
            payload: Vec::with_capacity(REORDER_PAYLOAD_LEN_MAX),
            ..Slot::default()
        };
        Self {
            next: None,
            waiting: std::array::from_fn(room),
        }
    }

    /// Whether a number belongs to the sequence that is heard.
    pub(super) fn is_near(&self, seq: SequenceNumber) -> bool {
        self.next
            .is_none_or(|next| seq.ahead_of(next).unsigned_abs() <= NEAR)
    }

    /// Whether it is the next one, which is then heard at once.
    pub(super) fn is_next(&mut self, seq: SequenceNumber) -> bool {
        let is_next = self.next.is_none_or(|next| next == seq);
        if is_next {
            self.next = Some(seq.next());
        }
        is_next
    }

    /// Keeps a packet until its turn; one that came before, or too late, goes.
    pub(super) fn keep(
        &mut self,
        now_us: u64,
        seq: SequenceNumber,
        timestamp: RtpTimestamp,
        codec: Option<CodecConfig>,
        payload: &[u8],
    ) {
        let late = self.next.is_some_and(|next| next.is_after(seq));
        if late || self.waiting.iter().any(|slot| slot.seq == Some(seq)) {
            return;
        }
        let Some(slot) = self.waiting.iter_mut().find(|slot| slot.seq.is_none()) else {
            return;
        };
        let fits = payload.len() <= REORDER_PAYLOAD_LEN_MAX;
        slot.payload.clear();
        if fits {
            slot.payload.extend_from_slice(payload);
        }
        (slot.seq, slot.since_us, slot.timestamp) = (Some(seq), now_us, timestamp);
        slot.codec = codec.filter(|_| fits);
    }

    /// The next packet that has its turn, and how many are lost before it; with `all`, or where too
    /// many wait, the first one of those that wait. Its room is [given back](Self::give_back).
    pub(super) fn next_waiting(&mut self, all: bool) -> Option<(u16, Slot)> {
        let next = self.next?;
        let ahead = |slot: &Slot| slot.seq.map(|seq| seq.ahead_of(next).max(0).unsigned_abs());
        let waiting = self.waiting.iter().filter(|slot| slot.seq.is_some());
        let full = waiting.count() > REORDER_PACKETS_MAX;
        let waiting = self.waiting.iter_mut().filter(|slot| slot.seq.is_some());
        let first = waiting.min_by_key(|slot| ahead(slot))?;
        let lost = ahead(first)?;
        if lost > 0 && !all && !full {
            return None;
        }
        self.next = first.seq.map(SequenceNumber::next);
        Some((lost, std::mem::take(first)))
    }

    /// Takes the room of a packet back.
    pub(super) fn give_back(&mut self, slot: Slot) {
        let empty = |slot: &&mut Slot| slot.seq.is_none() && slot.payload.capacity() == 0;
        if let Some(place) = self.waiting.iter_mut().find(empty) {
            *place = Slot { seq: None, ..slot };
        }
    }

    /// Since when the packet waits that came first.
    pub(super) fn waits_since_us(&self) -> Option<u64> {
        let waiting = self.waiting.iter().filter(|slot| slot.seq.is_some());
        waiting.map(|slot| slot.since_us).min()
    }

    /// Another sequence begins.
    pub(super) fn clear(&mut self) {
        self.next = None;
        self.waiting.iter_mut().for_each(|slot| slot.seq = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in the order in which they are heard, with the losses before them.
    fn heard(window: &mut Window, seq: u16) -> Vec<(u16, u16)> {
        let mut order = Vec::new();
        let number = SequenceNumber(seq);
        if window.is_next(number) {
            order.push((0, seq));
        } else {
            let timestamp = RtpTimestamp(u32::from(seq));
            window.keep(u64::from(seq), number, timestamp, None, &[1; 20]);
        }
        order.extend(drain(window, false));
        order
    }

    fn drain(window: &mut Window, all: bool) -> Vec<(u16, u16)> {
        let mut order = Vec::new();
        while let Some((lost, slot)) = window.next_waiting(all) {
            order.push((lost, u16::try_from(slot.timestamp.0).unwrap()));
            assert!(slot.payload.capacity() >= REORDER_PAYLOAD_LEN_MAX);
            window.give_back(slot);
        }
        order
    }

    #[test]
    fn packets_are_put_in_order_and_losses_counted() {
        let mut window = Window::new();
        assert_eq!(heard(&mut window, 10), [(0, 10)]);
        assert_eq!(heard(&mut window, 12), []);
        assert_eq!(window.waits_since_us(), Some(12));
        assert_eq!(heard(&mut window, 11), [(0, 11), (0, 12)]);
        assert_eq!(heard(&mut window, 12), []); // a copy
        assert_eq!(
            (window.waits_since_us(), heard(&mut window, 9)),
            (None, vec![])
        );
        // 13 and 14 are lost: as many wait as may, and one more lets them go.
        assert_eq!([heard(&mut window, 16), heard(&mut window, 15)], [[], []]);
        assert_eq!(heard(&mut window, 18), [(2, 15), (0, 16)]);
        assert_eq!(drain(&mut window, true), [(1, 18)]);
        assert!(window.is_near(SequenceNumber(119)) && !window.is_near(SequenceNumber(120)));
        window.clear();
        assert_eq!(heard(&mut window, 60_000), [(0, 60_000)]);
    }

    #[test]
    fn a_payload_that_is_too_long_does_not_wait_as_audio() {
        let mut window = Window::new();
        assert!(window.is_next(SequenceNumber(1)));
        let codec = CodecConfig::new(crate::audio::codec::CodecKind::Pcmu);
        for (seq, len) in [
            (3, REORDER_PAYLOAD_LEN_MAX),
            (4, REORDER_PAYLOAD_LEN_MAX + 1),
        ] {
            let seq = SequenceNumber(seq);
            window.keep(0, seq, RtpTimestamp(0), Some(codec), &vec![0; len]);
        }
        let heard: Vec<_> = std::iter::from_fn(|| window.next_waiting(true)).collect();
        let codecs: Vec<_> = heard.iter().map(|(_, slot)| slot.codec.is_some()).collect();
        assert_eq!(codecs, [true, false]);
    }
}
