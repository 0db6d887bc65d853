//! RTP packets, validated once and edited in place (RFC 3550 §5.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |           synchronization source (SSRC) identifier            |
//! |            contributing source (CSRC) identifiers             |
//! |                             ....                              |
//! |      defined by profile       |    length (32-bit words)      |  if X
//! |                       header extension                        |
//! ```

use thiserror::Error;

use super::seq::{RtpTimestamp, SequenceNumber};

/// Bytes of the fixed header.
pub const FIXED_HEADER_LEN: usize = 12;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION_2: u8 = 0b1000_0000;
const PADDING_BIT: u8 = 0b0010_0000;
const EXTENSION_BIT: u8 = 0b0001_0000;
const CSRC_COUNT_MASK: u8 = 0b0000_1111;
const MARKER_BIT: u8 = 0b1000_0000;
const PT_MASK: u8 = 0b0111_1111;

/// Which rule of RFC 3550 §5.1 a datagram broke.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtpError {
    /// Shorter than the fixed header.
    #[error("{len} bytes are less than an RTP header")]
    Short {
        /// The datagram's length.
        len: usize,
    },
    /// The version is not 2.
    #[error("RTP version is not 2")]
    Version,
    /// The CSRC list runs past the end.
    #[error("CSRC list of {count} runs past the end")]
    CsrcPastEnd {
        /// The CSRC count, 0–15.
        count: u8,
    },
    /// The header extension starts or runs past the end.
    #[error("header extension at {at} runs past the end")]
    ExtensionPastEnd {
        /// Offset of the extension's first byte.
        at: usize,
    },
    /// The padding count is zero or larger than the payload.
    #[error("padding of {len} bytes does not fit")]
    Padding {
        /// The last byte of the datagram.
        len: u8,
    },
}

/// A valid packet's header, decoded. Offsets are inside the datagram they were parsed from:
/// 12 ≤ `payload_start` ≤ `payload_end` ≤ its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The marker bit.
    pub marker: bool,
    /// Payload type, 0–127.
    pub pt: u8,
    /// Sequence number.
    pub seq: SequenceNumber,
    /// Timestamp.
    pub timestamp: RtpTimestamp,
    /// Synchronization source.
    pub ssrc: u32,
    /// First byte of the payload: after CSRCs and header extension.
    pub payload_start: usize,
    /// One past the last byte of the payload: padding excluded.
    pub payload_end: usize,
}

impl RtpHeader {
    /// Checks all lengths of a datagram.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, see [`RtpError`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, RtpError> {
        let Some(fixed) = bytes.first_chunk::<FIXED_HEADER_LEN>() else {
            return Err(RtpError::Short { len: bytes.len() });
        };
        let [flags, type_byte, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if flags & VERSION_MASK != VERSION_2 {
            return Err(RtpError::Version);
        }
        let (payload_start, payload_end) = if flags == VERSION_2 {
            (FIXED_HEADER_LEN, bytes.len())
        } else {
            payload_range(bytes, flags)?
        };
        Ok(Self {
            marker: type_byte & MARKER_BIT != 0,
            pt: type_byte & PT_MASK,
            seq: SequenceNumber(u16::from_be_bytes([s0, s1])),
            timestamp: RtpTimestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload_start,
            payload_end,
        })
    }

    /// Bytes of payload, padding excluded.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_end - self.payload_start
    }
}

/// Start and end of the payload where CSRCs, an extension or padding are present.
fn payload_range(bytes: &[u8], flags: u8) -> Result<(usize, usize), RtpError> {
    let count = flags & CSRC_COUNT_MASK;
    let mut start = FIXED_HEADER_LEN + 4 * usize::from(count);
    if bytes.len() < start {
        return Err(RtpError::CsrcPastEnd { count });
    }
    if flags & EXTENSION_BIT != 0 {
        let at = start;
        let head = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
        let Some(&[_, _, high, low]) = head else {
            return Err(RtpError::ExtensionPastEnd { at });
        };
        start = at + 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        if bytes.len() < start {
            return Err(RtpError::ExtensionPastEnd { at });
        }
    }
    if flags & PADDING_BIT == 0 {
        return Ok((start, bytes.len()));
    }
    let len = bytes.last().copied().unwrap_or(0);
    if len == 0 || usize::from(len) > bytes.len() - start {
        return Err(RtpError::Padding { len });
    }
    Ok((start, bytes.len() - usize::from(len)))
}

/// A valid RTP packet that can be edited where it lies.
#[derive(Debug)]
pub struct RtpPacket<'a> {
    bytes: &'a mut [u8],
    header: RtpHeader,
}

impl<'a> RtpPacket<'a> {
    /// Validates a whole datagram.
    ///
    /// # Errors
    ///
    /// As [`RtpHeader::parse`].
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, RtpError> {
        let header = RtpHeader::parse(bytes)?;
        Ok(Self { bytes, header })
    }

    /// The header as it was received; edits do not change it.
    #[must_use]
    pub fn header(&self) -> &RtpHeader {
        &self.header
    }

    /// Bytes of the whole packet.
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a valid packet has at least twelve bytes"
    )]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole packet, as edited so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The payload, without padding.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header.payload_start..self.header.payload_end]
    }

    /// The payload, without padding.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.header.payload_start..self.header.payload_end]
    }

    /// Sets the payload type (its low seven bits) and leaves the marker alone.
    pub fn set_pt(&mut self, pt: u8) {
        self.bytes[1] = (self.bytes[1] & MARKER_BIT) | (pt & PT_MASK);
    }

    /// Sets or clears the marker bit.
    pub fn set_marker(&mut self, marker: bool) {
        let bit = if marker { MARKER_BIT } else { 0 };
        self.bytes[1] = (self.bytes[1] & PT_MASK) | bit;
    }

    /// Sets the sequence number.
    pub fn set_seq(&mut self, seq: SequenceNumber) {
        self.bytes[2..4].copy_from_slice(&seq.0.to_be_bytes());
    }

    /// Sets the timestamp.
    pub fn set_timestamp(&mut self, timestamp: RtpTimestamp) {
        self.bytes[4..8].copy_from_slice(&timestamp.0.to_be_bytes());
    }

    /// Sets the SSRC.
    pub fn set_ssrc(&mut self, ssrc: u32) {
        self.bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
    }

    /// Removes CSRCs and header extension: moves the fixed header right before the payload,
    /// overwrites what was removed with zeros, and returns the offset at which the packet now
    /// starts. Payload and padding stay where they are. Call it after all other edits: the
    /// setters write at the old place.
    pub fn strip(self) -> usize {
        let start = self.header.payload_start - FIXED_HEADER_LEN;
        if start > 0 {
            self.bytes.copy_within(..FIXED_HEADER_LEN, start);
            self.bytes[start] &= !(EXTENSION_BIT | CSRC_COUNT_MASK);
            self.bytes[..start].fill(0);
        } else {
            // An empty extension still has its four bytes, so here only flags can be left.
            self.bytes[0] &= !(EXTENSION_BIT | CSRC_COUNT_MASK);
        }
        start
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Builds a packet from its parts, the slow and obvious way.
    fn build(
        csrcs: &[u32],
        extension: Option<&[u8]>,
        payload: &[u8],
        padding: u8,
        fields: (bool, u8, u16, u32, u32),
    ) -> Vec<u8> {
        let (marker, pt, seq, timestamp, ssrc) = fields;
        let mut out = vec![0x80 | csrcs.len() as u8, u8::from(marker) << 7 | pt];
        out.extend(seq.to_be_bytes());
        out.extend(timestamp.to_be_bytes());
        out.extend(ssrc.to_be_bytes());
        csrcs.iter().for_each(|csrc| out.extend(csrc.to_be_bytes()));
        if let Some(extension) = extension {
            out[0] |= EXTENSION_BIT;
            out.extend([0xbe, 0xde]);
            out.extend(((extension.len() / 4) as u16).to_be_bytes());
            out.extend(extension);
        }
        out.extend(payload);
        if padding > 0 {
            out[0] |= PADDING_BIT;
            out.extend(std::iter::repeat_n(0, usize::from(padding) - 1));
            out.push(padding);
        }
        out
    }

    #[test]
    fn every_rule_has_its_error() {
        let plain = build(&[], None, b"abcd", 0, (true, 8, 1, 2, 3));
        assert!(RtpHeader::parse(&plain).is_ok());
        assert_eq!(
            RtpHeader::parse(&plain[..11]),
            Err(RtpError::Short { len: 11 })
        );
        assert!(
            RtpHeader::parse(&plain[..12]).is_ok(),
            "an empty payload is a keep-alive"
        );
        let mut version = plain.clone();
        version[0] = 0x40;
        assert_eq!(RtpHeader::parse(&version), Err(RtpError::Version));
        let csrc = build(&[1, 2], None, &[], 0, (false, 0, 0, 0, 0));
        assert!(RtpHeader::parse(&csrc).is_ok());
        assert_eq!(
            RtpHeader::parse(&csrc[..19]),
            Err(RtpError::CsrcPastEnd { count: 2 })
        );
        let extension = build(&[], Some(&[1, 2, 3, 4]), &[], 0, (false, 0, 0, 0, 0));
        assert!(RtpHeader::parse(&extension).is_ok());
        for len in 12..20 {
            let error = RtpHeader::parse(&extension[..len]);
            assert_eq!(error, Err(RtpError::ExtensionPastEnd { at: 12 }));
        }
        for (last, ok) in [(0, false), (1, true), (4, true), (5, false), (255, false)] {
            let mut padded = plain.clone();
            padded[0] |= PADDING_BIT;
            *padded.last_mut().unwrap() = last;
            assert_eq!(RtpHeader::parse(&padded).is_ok(), ok, "padding {last}");
        }
    }

    proptest! {
        #[test]
        fn parses_what_was_built_and_strips_to_a_rebuild(
            csrcs in proptest::collection::vec(any::<u32>(), 0..16),
            words in proptest::option::of(proptest::collection::vec(any::<[u8; 4]>(), 0..8)),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            padding: u8,
            fields: (bool, u8, u16, u32, u32),
            edits: (bool, u8, u16, u32, u32),
        ) {
            let fields = (fields.0, fields.1 & 0x7f, fields.2, fields.3, fields.4);
            let edits = (edits.0, edits.1 & 0x7f, edits.2, edits.3, edits.4);
            let extension = words.map(|words| words.concat());
            let mut bytes = build(&csrcs, extension.as_deref(), &payload, padding, fields);
            let expected = build(&[], None, &payload, padding, edits);
            let edited = build(&csrcs, extension.as_deref(), &payload, padding, edits);
            let mut packet = RtpPacket::parse(&mut bytes).unwrap();
            let header = *packet.header();
            prop_assert_eq!(
                (header.marker, header.pt, header.seq.0, header.timestamp.0, header.ssrc),
                fields
            );
            prop_assert_eq!(packet.payload(), &payload[..]);
            packet.set_marker(edits.0);
            packet.set_pt(edits.1);
            packet.set_seq(SequenceNumber(edits.2));
            packet.set_timestamp(RtpTimestamp(edits.3));
            packet.set_ssrc(edits.4);
            prop_assert_eq!(&*packet.bytes, &edited[..]);
            let start = packet.strip();
            prop_assert_eq!(&bytes[start..], &expected[..]);
            prop_assert!(bytes[..start].iter().all(|&byte| byte == 0));
        }

        #[test]
        fn agrees_with_rtp_rs(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..96),
            shape in any::<u8>(),
        ) {
            // Random bytes are hardly ever version 2; force it so that the deep rules are reached.
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | (shape & 0x3f);
            }
            let ours = RtpHeader::parse(&bytes);
            let Ok(theirs) = rtp_rs::RtpReader::new(&bytes) else {
                // rtp-rs wants one byte of payload or more before padding; we do not.
                if let Ok(header) = ours {
                    prop_assert!(shape & PADDING_BIT != 0 || header.payload_len() == 0);
                }
                return Ok(());
            };
            let Ok(ours) = ours else {
                // rtp-rs lets zero padding pass.
                prop_assert!(shape & PADDING_BIT != 0);
                return Ok(());
            };
            prop_assert_eq!(ours.pt, theirs.payload_type());
            prop_assert_eq!(ours.marker, theirs.mark());
            prop_assert_eq!(ours.seq.0, u16::from(theirs.sequence_number()));
            prop_assert_eq!(ours.timestamp.0, theirs.timestamp());
            prop_assert_eq!(ours.ssrc, theirs.ssrc());
            prop_assert_eq!(&bytes[ours.payload_start..ours.payload_end], theirs.payload());
        }
    }
}
