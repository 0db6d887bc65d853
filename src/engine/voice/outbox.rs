//! Packets that a call made, or copied, and that wait to be sent; their memory is used again and
//! again.

use std::net::SocketAddr;
use std::ops::Range;

use crate::engine::api::PortHandle;
use crate::engine::egress::Outgoing;
use crate::wire::rtp::RtpPacket;

/// Bytes of an RTP header without CSRC and extension (RFC 3550 §5.1).
const HEADER_LEN: usize = 12;

/// Version 2, no padding, no extension, no CSRC.
const FIRST_OCTET: u8 = 0b1000_0000;

const MARKER: u8 = 0b1000_0000;

/// Bytes that may wait before a copy for a listener is dropped: 16 packets of video, which is what
/// a port is read in one go, for each of its listeners.
pub const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Made and not yet sent.
#[derive(Debug, Default)]
pub(in crate::engine) struct Outbox {
    bytes: Vec<u8>,
    packets: Vec<Waiting>,
    next: usize,
}

/// One packet that waits.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Waiting {
    pub(in crate::engine) port: PortHandle,
    pub(in crate::engine) to: SocketAddr,
    pub(in crate::engine) range: Range<usize>,
}

impl Outbox {
    /// Writes a packet. O(its length); allocates only while it grows beyond what it ever was.
    pub(in crate::engine) fn push(
        &mut self,
        port: PortHandle,
        to: SocketAddr,
        pt: u8,
        numbers: &Outgoing,
        payload: &[u8],
    ) {
        let start = self.bytes.len();
        let second = pt | if numbers.marker { MARKER } else { 0 };
        self.bytes.extend_from_slice(&[FIRST_OCTET, second]);
        self.bytes.extend_from_slice(&numbers.seq.0.to_be_bytes());
        self.bytes
            .extend_from_slice(&numbers.timestamp.0.to_be_bytes());
        self.bytes.extend_from_slice(&numbers.ssrc.to_be_bytes());
        self.bytes.extend_from_slice(payload);
        self.packets.push(Waiting {
            port,
            to,
            range: start..self.bytes.len(),
        });
    }

    /// Copies a packet; `edit` may change the copy and says where in it the packet begins. Returns
    /// the length of what will be sent; `None`: [`WAITING_BYTES_MAX`] wait already. O(its length);
    /// allocates like [`Outbox::push`].
    pub(in crate::engine) fn copy(
        &mut self,
        port: PortHandle,
        to: SocketAddr,
        packet: &RtpPacket<'_>,
        edit: impl FnOnce(RtpPacket<'_>) -> usize,
    ) -> Option<usize> {
        let start = self.bytes.len();
        let end = start + packet.len();
        if end > WAITING_BYTES_MAX {
            return None;
        }
        self.bytes.extend_from_slice(packet.bytes());
        let copy = RtpPacket::parse(&mut self.bytes[start..]);
        let start = start + edit(copy.expect("a copy of a valid packet is valid"));
        self.packets.push(Waiting {
            port,
            to,
            range: start..end,
        });
        Some(end - start)
    }

    /// The packet that was put in last.
    pub(in crate::engine) fn latest(&self) -> &[u8] {
        let latest = self.packets.last();
        latest.map_or(&[], |packet| self.bytes(packet.range.clone()))
    }

    /// Length of a packet with such a payload.
    pub(in crate::engine) fn packet_len(payload_len: usize) -> usize {
        HEADER_LEN + payload_len
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The next to send. The bytes of all stay until `None` was returned.
    pub(in crate::engine) fn pop(&mut self) -> Option<Waiting> {
        let packet = self.packets.get(self.next).cloned();
        match packet {
            Some(_) => self.next += 1,
            None => {
                self.bytes.clear();
                self.packets.clear();
                self.next = 0;
            }
        }
        packet
    }

    pub(in crate::engine) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or(&[])
    }
}
