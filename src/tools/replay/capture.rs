//! UDP datagrams out of capture files: pcap and pcapng, as far as RTP needs them.
//!
//! A capture is as hostile as the network it was taken from: every length is checked, every chain
//! of headers is bounded, and what cannot be understood is counted and skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Largest capture that is read.
pub(in crate::tools) const CAPTURE_BYTES_MAX: u64 = 1 << 30;

/// Longest frame of a capture; a larger length means that the file is broken.
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Interfaces of a pcapng section whose properties are remembered.
const INTERFACES_MAX: usize = 256;

/// VLAN tags before the network header.
const VLAN_TAGS_MAX: usize = 4;

/// Extension headers of IPv6 before UDP.
const EXTENSIONS_MAX: usize = 8;

const UDP: u8 = 17;

/// Why a file is no capture.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(in crate::tools) enum CaptureError {
    /// Neither of the two formats.
    #[error("neither pcap nor pcapng")]
    Format,
}

/// One UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tools) struct Datagram<'a> {
    /// When it was captured, in microseconds since 1970.
    pub(in crate::tools) at_us: u64,
    pub(in crate::tools) from: SocketAddr,
    pub(in crate::tools) to: SocketAddr,
    pub(in crate::tools) payload: &'a [u8],
}

/// Calls `each` for every UDP datagram. Returns how many frames held none (other protocols,
/// fragments, unknown links, cut short).
///
/// # Errors
///
/// When the file is no capture. One that is cut short is read as far as it goes.
pub(in crate::tools) fn datagrams<'a>(
    file: &'a [u8],
    mut each: impl FnMut(Datagram<'a>),
) -> Result<u64, CaptureError> {
    let mut skipped = 0;
    let mut frame = |link: u32, at_us: u64, frame: &'a [u8]| match udp(link, frame) {
        Some((from, to, payload)) => each(Datagram {
            at_us,
            from,
            to,
            payload,
        }),
        None => skipped += 1,
    };
    match file.first_chunk::<4>() {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(file, &mut frame),
        Some(magic) => pcap(*magic, file, &mut frame)?,
        None => return Err(CaptureError::Format),
    }
    Ok(skipped)
}

/// Numbers of a file in its byte order.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        })
    }

    fn len(self, bytes: &[u8], at: usize) -> Option<usize> {
        usize::try_from(self.u32(bytes, at)?).ok()
    }
}

type Frame<'a, 'f> = &'f mut dyn FnMut(u32, u64, &'a [u8]);

/// The classic format: a header of 24 octets, then frames with 16 each.
fn pcap<'a>(magic: [u8; 4], file: &'a [u8], frame: Frame<'a, '_>) -> Result<(), CaptureError> {
    let (order, per_second) = match magic {
        [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, 1_000_000),
        [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, 1_000_000),
        [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, 1_000_000_000),
        [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, 1_000_000_000),
        _ => return Err(CaptureError::Format),
    };
    // The upper bits of the link type say other things.
    let link = order.u32(file, 20).ok_or(CaptureError::Format)? & 0xffff;
    let mut rest = file.get(24..).unwrap_or_default();
    while let Some((head, body)) = rest.split_at_checked(16) {
        let (Some(seconds), Some(fraction), Some(len)) =
            (order.u32(head, 0), order.u32(head, 4), order.len(head, 8))
        else {
            break;
        };
        if len > FRAME_BYTES_MAX || len > body.len() {
            break;
        }
        let (bytes, after) = body.split_at(len);
        let at_us = u64::from(seconds) * 1_000_000 + u64::from(fraction) * 1_000_000 / per_second;
        frame(link, at_us, bytes);
        rest = after;
    }
    Ok(())
}

/// What an interface description says: link type and ticks per second.
type Interface = (u32, u64);

/// The newer format: blocks of type, length, body, length.
fn pcapng<'a>(mut rest: &'a [u8], frame: Frame<'a, '_>) {
    let mut order = Order::Little;
    let mut interfaces: Vec<Interface> = Vec::new();
    while rest.len() >= 12 {
        if rest.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            // A section says its byte order before anything else can be read.
            order = match rest.get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => Order::Big,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => Order::Little,
                _ => return,
            };
            interfaces.clear();
        }
        let (Some(kind), Some(len)) = (order.u32(rest, 0), order.len(rest, 4)) else {
            return;
        };
        if len < 12 || len % 4 != 0 || len > rest.len() {
            return;
        }
        let (block, after) = rest.split_at(len);
        let body = &block[8..len - 4];
        match kind {
            1 if interfaces.len() < INTERFACES_MAX => interfaces.extend(interface(order, body)),
            6 => drop(enhanced(order, body, &interfaces, frame)),
            _ => {}
        }
        rest = after;
    }
}

/// An interface description block: the link type, and the option `if_tsresol`.
fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    let link = u32::from(order.u16(body, 0)?);
    let mut per_second = 1_000_000;
    let mut options = body.get(8..).unwrap_or_default();
    while let (Some(code), Some(len)) = (order.u16(options, 0), order.u16(options, 2)) {
        let value = options.get(4..4 + usize::from(len));
        if let (9, Some(&[resolution])) = (code, value) {
            let exponent = u32::from(resolution & 0x7f);
            let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
            per_second = base.checked_pow(exponent)?;
        }
        options = options
            .get(4 + usize::from(len).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Some((link, per_second))
}

/// An enhanced packet block.
fn enhanced<'a>(
    order: Order,
    body: &'a [u8],
    interfaces: &[Interface],
    frame: Frame<'a, '_>,
) -> Option<()> {
    let &(link, per_second) = interfaces.get(order.len(body, 0)?)?;
    let ticks = u64::from(order.u32(body, 4)?) << 32 | u64::from(order.u32(body, 8)?);
    let bytes = body.get(20..)?.get(..order.len(body, 12)?)?;
    let at_us = u128::from(ticks) * 1_000_000 / u128::from(per_second);
    frame(link, u64::try_from(at_us).ok()?, bytes);
    Some(())
}

/// Addresses and payload of the UDP datagram in a frame.
fn udp(link: u32, frame: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8])> {
    let (from, to, segment) = network(packet(link, frame)?)?;
    let big = Order::Big;
    let len = usize::from(big.u16(segment, 4)?);
    let payload = segment.get(8..len)?;
    let from = SocketAddr::new(from, big.u16(segment, 0)?);
    let to = SocketAddr::new(to, big.u16(segment, 2)?);
    Some((from, to, payload))
}

/// The IP packet in a frame of this link type.
fn packet(link: u32, frame: &[u8]) -> Option<&[u8]> {
    match link {
        // BSD loopback: four octets of protocol family.
        0 | 108 => frame.get(4..),
        1 => ethernet(frame, 12),
        12 | 14 | 101 | 228 | 229 => Some(frame),
        // Linux cooked, versions 1 and 2.
        113 => ethernet(frame, 14),
        276 => {
            let is_ip = matches!(Order::Big.u16(frame, 0)?, 0x0800 | 0x86dd);
            is_ip.then(|| frame.get(20..))?
        }
        _ => None,
    }
}

/// What follows the type field at `at`, and VLAN tags if there are any.
fn ethernet(frame: &[u8], mut at: usize) -> Option<&[u8]> {
    for _ in 0..=VLAN_TAGS_MAX {
        match Order::Big.u16(frame, at)? {
            0x0800 | 0x86dd => return frame.get(at + 2..),
            0x8100 | 0x88a8 | 0x9100 => at += 4,
            _ => return None,
        }
    }
    None
}

/// Addresses and UDP segment of an IP packet. Fragments are nothing.
fn network(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let total = usize::from(Order::Big.u16(packet, 2)?);
            let fragment = Order::Big.u16(packet, 6)? & 0x3fff != 0;
            if fragment || *packet.get(9)? != UDP || header < 20 {
                return None;
            }
            let from: [u8; 4] = *packet.get(12..)?.first_chunk()?;
            let to: [u8; 4] = *packet.get(16..)?.first_chunk()?;
            // Segmentation offload leaves a total length of 0.
            let total = if total == 0 { packet.len() } else { total };
            let segment = packet.get(header..total.min(packet.len()))?;
            Some((
                Ipv4Addr::from(from).into(),
                Ipv4Addr::from(to).into(),
                segment,
            ))
        }
        6 => {
            let from: [u8; 16] = *packet.get(8..)?.first_chunk()?;
            let to: [u8; 16] = *packet.get(24..)?.first_chunk()?;
            let segment = after_extensions(*packet.get(6)?, packet.get(40..)?)?;
            Some((
                Ipv6Addr::from(from).into(),
                Ipv6Addr::from(to).into(),
                segment,
            ))
        }
        _ => None,
    }
}

/// Walks the extension headers of IPv6 (RFC 8200 §4) to UDP.
fn after_extensions(mut next: u8, mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..=EXTENSIONS_MAX {
        match next {
            UDP => return Some(rest),
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                let &[following, units, ..] = rest else {
                    return None;
                };
                next = following;
                rest = rest.get((usize::from(units) + 1) * 8..)?;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An Ethernet frame with one VLAN tag, IPv4 and UDP, without checksums.
    pub(in super::super) fn ethernet_frame(to_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([0x81, 0, 0, 5, 8, 0]);
        frame.extend(ipv4(to_port, payload));
        frame
    }

    fn segment(to_port: u16, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len() + 8).unwrap();
        let head = [4_000_u16, to_port, len, 0].map(u16::to_be_bytes).concat();
        [&head, payload].concat()
    }

    fn ipv4(to_port: u16, payload: &[u8]) -> Vec<u8> {
        let segment = segment(to_port, payload);
        let total = u16::try_from(segment.len() + 20).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, UDP, 0, 0];
        packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend(segment);
        packet
    }

    fn ipv6(to_port: u16, payload: &[u8]) -> Vec<u8> {
        let segment = segment(to_port, payload);
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
        packet.extend([1; 32]);
        packet.extend([UDP, 0, 1, 4, 0, 0, 0, 0]);
        packet.extend(segment);
        packet
    }

    pub(in super::super) fn pcap_file(frames: &[(u64, Vec<u8>)], link: u32) -> Vec<u8> {
        let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
        file.extend(link.to_le_bytes());
        for (at_us, frame) in frames {
            let len = u32::try_from(frame.len()).unwrap();
            let seconds = u32::try_from(at_us / 1_000_000).unwrap();
            let fraction = u32::try_from(at_us % 1_000_000).unwrap();
            for word in [seconds, fraction, len, len] {
                file.extend(word.to_le_bytes());
            }
            file.extend(frame);
        }
        file
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = u32::try_from(body.len() + 12).unwrap().to_be_bytes();
        [&kind.to_be_bytes()[..], &len, &body, &len].concat()
    }

    /// Big-endian, in nanoseconds.
    fn pcapng_file(frames: &[(u64, Vec<u8>)], link: u16) -> Vec<u8> {
        let section = [
            0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
        ];
        let mut file = block(0x0a0d_0d0a, &section);
        let [high, low] = link.to_be_bytes();
        file.extend(block(
            1,
            &[high, low, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0],
        ));
        for (at_us, frame) in frames {
            let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
            let body = [
                &[0; 4],
                &(at_us * 1_000).to_be_bytes()[..],
                &len,
                &len,
                frame,
            ]
            .concat();
            file.extend(block(6, &body));
        }
        file
    }

    fn read(file: &[u8]) -> Vec<(u64, u16, Vec<u8>)> {
        let mut found = Vec::new();
        let each = |d: Datagram<'_>| found.push((d.at_us, d.to.port(), d.payload.to_vec()));
        datagrams(file, each).unwrap();
        found
    }

    #[test]
    fn reads_every_format_and_link_it_knows() {
        let at_us = 1_700_000_000_123_456;
        let expected = vec![(at_us, 5_004, b"hello".to_vec())];
        let v4 = ipv4(5_004, b"hello");
        let cooked = [&[0; 14][..], &[8, 0], &v4].concat();
        let cooked2 = [&[8, 0][..], &[0; 18], &v4].concat();
        let frames = [
            (1, ethernet_frame(5_004, b"hello")),
            (101, v4.clone()),
            (101, ipv6(5_004, b"hello")),
            (113, cooked),
            (276, cooked2),
            (0, [&[2, 0, 0, 0][..], &v4].concat()),
        ];
        for (link, frame) in frames {
            let frames = [(at_us, frame)];
            assert_eq!(
                read(&pcap_file(&frames, link.into())),
                expected,
                "link {link}"
            );
            assert_eq!(read(&pcapng_file(&frames, link)), expected, "link {link}");
        }
        assert_eq!(datagrams(b"RIFF....", |_| ()), Err(CaptureError::Format));
        assert_eq!(datagrams(b"", |_| ()), Err(CaptureError::Format));
    }

    #[test]
    fn fragments_and_other_protocols_are_counted_and_skipped() {
        let mut fragment = ipv4(1, b"x");
        fragment[6] = 0x20;
        let mut tcp = ipv4(1, b"x");
        tcp[9] = 6;
        let mut tags = vec![2; 12];
        tags.extend([0x81, 0, 0, 5].repeat(VLAN_TAGS_MAX + 1));
        tags.extend([8, 0]);
        tags.extend(ipv4(1, b"x"));
        let skipped = |link, frame: Vec<u8>| datagrams(&pcap_file(&[(0, frame)], link), |_| ());
        assert_eq!(skipped(101, fragment), Ok(1));
        assert_eq!(skipped(101, tcp), Ok(1));
        assert_eq!(skipped(1, tags), Ok(1));
        assert_eq!(skipped(147, ipv4(1, b"x")), Ok(1));
    }

    proptest! {
        #[test]
        fn a_damaged_capture_never_panics(
            cut in 0_usize..400,
            at in 0_usize..400,
            octet: u8,
            ng: bool,
        ) {
            let frames: Vec<_> = (0..3)
                .map(|n| (n, ethernet_frame(9, b"abcdefgh")))
                .chain([(7, [&[2; 12], &[0x86, 0xdd][..], &ipv6(1, b"zz")].concat())])
                .collect();
            let mut file = if ng { pcapng_file(&frames, 1) } else { pcap_file(&frames, 1) };
            if let Some(slot) = file.get_mut(at) {
                *slot = octet;
            }
            file.truncate(file.len().saturating_sub(cut));
            let _ = datagrams(&file, |_| ());
        }
    }
}
