//! Packets that wait for their turn, in order.

use std::collections::VecDeque;

/// Most packets that wait.
pub const PACKETS_MAX: usize = 200;

/// Most payload bytes that wait.
pub const BYTES_MAX: usize = 64 * 1024;

/// Longest payload that is taken.
pub const PAYLOAD_LEN_MAX: usize = 4_096;

/// A packet that waits.
#[derive(Debug)]
pub(super) struct Packet {
    /// Extended sequence number: order of sending, without wraps, without restarts.
    pub(super) key: i64,
    /// Where its first sample belongs, in output samples of the stream.
    pub(super) media: i64,
    /// Payload type.
    pub(super) pt: u8,
    /// The first of another source.
    pub(super) fresh: bool,
    /// Payload; its memory is used again.
    pub(super) payload: Vec<u8>,
}

/// What became of a packet that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It waits; so many older ones had to go to make room.
    Kept { evicted: u32 },
    /// It is there already.
    Duplicate,
    /// Its payload is longer than [`PAYLOAD_LEN_MAX`].
    TooLong,
}

/// Packets in order of their keys. Allocates until it has seen its fullest, then never again.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    packets: VecDeque<Packet>,
    /// Memory of packets that left.
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffer {
    /// Puts a packet at its place; the oldest go if there are too many.
    pub(super) fn insert(
        &mut self,
        key: i64,
        media: i64,
        (pt, fresh): (u8, bool),
        payload: &[u8],
    ) -> Stored {
        if payload.len() > PAYLOAD_LEN_MAX {
            return Stored::TooLong;
        }
        // Nearly always the newest: look from that end.
        let newer = self
            .packets
            .iter()
            .rev()
            .take_while(|p| p.key > key)
            .count();
        let mut at = self.packets.len() - newer;
        if at > 0 && self.packets[at - 1].key == key {
            return Stored::Duplicate;
        }
        let mut evicted = 0;
        while self.packets.len() >= PACKETS_MAX || self.bytes + payload.len() > BYTES_MAX {
            let Some(oldest) = self.pop() else { break };
            self.recycle(oldest);
            at = at.saturating_sub(1);
            evicted += 1;
        }
        let mut memory = self.spare.pop().unwrap_or_default();
        memory.clear();
        memory.extend_from_slice(payload);
        self.bytes += payload.len();
        let packet = Packet {
            key,
            media,
            pt,
            fresh,
            payload: memory,
        };
        self.packets.insert(at, packet);
        Stored::Kept { evicted }
    }

    /// The oldest.
    pub(super) fn front(&self) -> Option<&Packet> {
        self.packets.front()
    }

    /// Takes the oldest out; hand it to [`Buffer::recycle`] afterwards.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.payload.len();
        Some(packet)
    }

    /// Keeps a packet's memory for the next.
    pub(super) fn recycle(&mut self, packet: Packet) {
        if self.spare.len() < PACKETS_MAX {
            self.spare.push(packet.payload);
        }
    }

    /// Packets that wait.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holds_as_many_packets_and_bytes_as_it_says_and_no_more() {
        let mut buffer = Buffer::default();
        for key in 0..PACKETS_MAX as i64 {
            assert_eq!(
                buffer.insert(key, 0, (0, false), &[1]),
                Stored::Kept { evicted: 0 }
            );
        }
        assert_eq!(
            buffer.insert(999, 0, (0, false), &[1]),
            Stored::Kept { evicted: 1 }
        );
        assert_eq!((buffer.len(), buffer.bytes()), (PACKETS_MAX, PACKETS_MAX));
        assert_eq!(buffer.front().map(|p| p.key), Some(1));

        let mut buffer = Buffer::default();
        let payload = [0; PAYLOAD_LEN_MAX + 1];
        assert_eq!(buffer.insert(0, 0, (0, false), &payload), Stored::TooLong);
        for key in 0..(BYTES_MAX / PAYLOAD_LEN_MAX) as i64 {
            let kept = buffer.insert(key, 0, (0, false), &payload[1..]);
            assert_eq!(kept, Stored::Kept { evicted: 0 });
        }
        assert_eq!(buffer.bytes(), BYTES_MAX);
        assert_eq!(
            buffer.insert(999, 0, (0, false), &[1]),
            Stored::Kept { evicted: 1 }
        );
    }

    proptest! {
        #[test]
        fn gives_back_in_order_what_it_was_given(
            keys in proptest::collection::vec(0i64..300, 0..400),
        ) {
            let mut buffer = Buffer::default();
            let mut expected = std::collections::BTreeSet::new();
            for &key in &keys {
                let payload = key.to_be_bytes();
                match buffer.insert(key, key * 160, (0, false), &payload) {
                    Stored::Kept { evicted } => {
                        for _ in 0..evicted {
                            expected.pop_first();
                        }
                        prop_assert!(expected.insert(key));
                    }
                    other => {
                        prop_assert_eq!(other, Stored::Duplicate);
                        prop_assert!(expected.contains(&key));
                    }
                }
                prop_assert!(buffer.len() <= PACKETS_MAX && buffer.bytes() <= BYTES_MAX);
            }
            while let Some(packet) = buffer.pop() {
                prop_assert_eq!(Some(packet.key), expected.pop_first());
                prop_assert_eq!(&packet.payload[..], &packet.key.to_be_bytes()[..]);
                buffer.recycle(packet);
            }
            prop_assert!(expected.is_empty());
            prop_assert_eq!(buffer.bytes(), 0);
        }
    }
}
