//! Packets that wait for their moment, in the order in which they were sent.

use std::collections::VecDeque;

use crate::audio::codec::CodecKind;

/// Most packets that wait: more than two seconds of the shortest there are (2.5 ms). One more is
/// lost.
pub const WAITING_MAX: usize = 1_024;

/// Most octets of payload that wait.
pub const WAITING_BYTES_MAX: usize = 256 << 10;

/// What a packet is for the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    Sound(CodecKind),
    /// Comfort noise for this clock in Hz.
    Noise(u32),
    /// Nobody can decode it.
    Opaque,
    /// Time that passes in silence: the party was silenced.
    Silence,
    /// A sequence number, and nothing else: an event, a keep-alive.
    Nothing,
}

/// A packet that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Order of sending, without wraps and restarts.
    pub(super) key: i64,
    /// Counts the sources: no packets are missing between two of them.
    pub(super) source: u32,
    /// Counts the relations between media time and the recording's.
    pub(super) relation: u32,
    /// Media time in samples of the recording; see [`Source::position`](super::source::Source).
    pub(super) media: f64,
    /// When it came, in seconds.
    pub(super) at_s: f64,
    pub(super) what: What,
    pub(super) veiled: bool,
    pub(super) payload: Vec<u8>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    packets: VecDeque<Waiting>,
    /// Memory of payloads that are gone.
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

impl Queue {
    /// Puts a packet where it belongs, with its payload; `false` if it is there already, or
    /// there is no room.
    pub(super) fn insert(&mut self, mut packet: Waiting, payload: &[u8]) -> bool {
        // Nearly always the newest: look from that end.
        let newer = self.packets.iter().rev();
        let newer = newer.take_while(|other| other.key > packet.key).count();
        let at = self.packets.len() - newer;
        let is_there = at > 0 && self.packets[at - 1].key == packet.key;
        let full =
            self.packets.len() >= WAITING_MAX || self.bytes + payload.len() > WAITING_BYTES_MAX;
        if is_there || full {
            return false;
        }
        packet.payload = self.spare.pop().unwrap_or_default();
        packet.payload.clear();
        packet.payload.extend_from_slice(payload);
        self.bytes += payload.len();
        self.packets.insert(at, packet);
        true
    }

    pub(super) fn front(&self) -> Option<&Waiting> {
        self.packets.front()
    }

    /// Takes the oldest out; hand it to [`recycle`](Self::recycle) afterwards.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.payload.len();
        Some(packet)
    }

    pub(super) fn recycle(&mut self, packet: Waiting) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(packet.payload);
        }
    }

    /// What waits has its final position: media times become those of the recording.
    pub(super) fn shift(&mut self, relation: u32, by: f64) {
        for packet in self.packets.iter_mut().rev() {
            if packet.relation == relation {
                packet.media += by;
            }
        }
    }
}

/// Payloads whose memory is kept: what usually waits.
const SPARE_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(key: i64) -> Waiting {
        Waiting {
            key,
            source: 0,
            relation: 0,
            media: 0.0,
            at_s: 0.0,
            what: What::Nothing,
            veiled: false,
            payload: Vec::new(),
        }
    }

    #[test]
    fn holds_so_many_packets_and_octets_and_none_twice() {
        let mut queue = Queue::default();
        for key in 0..WAITING_MAX as i64 {
            assert!(queue.insert(packet(key), &[1]));
            assert!(!queue.insert(packet(key), &[1]), "twice");
        }
        assert!(!queue.insert(packet(9_999), &[1]));
        let oldest = queue.pop().unwrap();
        queue.recycle(oldest);
        assert!(queue.insert(packet(9_999), &[1]));

        let mut queue = Queue::default();
        let payload = vec![0; 2_048];
        for key in 0..(WAITING_BYTES_MAX / payload.len()) as i64 {
            assert!(queue.insert(packet(key), &payload));
        }
        assert!(!queue.insert(packet(9_999), &payload[..1]));
    }

    #[test]
    fn gives_back_in_the_order_of_sending() {
        let mut queue = Queue::default();
        let mut random = fastrand::Rng::with_seed(3);
        let mut keys: Vec<i64> = (0..200).collect();
        random.shuffle(&mut keys);
        for key in keys {
            assert!(queue.insert(packet(key), &key.to_be_bytes()));
        }
        for key in 0..200_i64 {
            assert_eq!(queue.front().map(|p| p.key), Some(key));
            let packet = queue.pop().unwrap();
            assert_eq!(packet.payload, key.to_be_bytes());
            queue.recycle(packet);
        }
        assert_eq!(queue.bytes, 0);
        assert!(queue.spare.len() <= SPARE_MAX);
    }
}
