//! The RTP streams of a capture.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::capture::{self, CaptureError, Datagram};
use crate::wire::rtp::RtpHeader;

/// Streams that are kept apart; packets of further ones are left out.
const STREAMS_MAX: usize = 4_096;

/// Fewer packets are noise that looks like RTP.
const PACKETS_MIN: usize = 5;

/// One RTP packet as it came.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    /// In microseconds since 1970.
    pub(super) at_us: u64,
    pub(super) header: RtpHeader,
    pub(super) payload: &'a [u8],
}

/// Packets of one source, by time.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub(super) ssrc: u32,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) packets: Vec<Arrival<'a>>,
}

impl Stream<'_> {
    /// The payload types that occur, each once.
    pub(super) fn payload_types(&self) -> impl Iterator<Item = u8> {
        let mut seen = [false; 128];
        for packet in &self.packets {
            seen[usize::from(packet.header.pt & 0x7f)] = true;
        }
        (0..128).filter(move |&pt| seen[usize::from(pt)])
    }

    /// The one that most packets have.
    pub(super) fn main_pt(&self) -> u8 {
        let count = |pt: u8| self.packets.iter().filter(|p| p.header.pt == pt).count();
        self.payload_types()
            .max_by_key(|&pt| count(pt))
            .unwrap_or(0)
    }
}

/// Finds them, most packets first, and how many frames held no datagram.
///
/// # Errors
///
/// When the file is no capture.
pub(super) fn find(file: &[u8]) -> Result<(Vec<Stream<'_>>, u64), CaptureError> {
    let mut streams: Vec<Stream<'_>> = Vec::new();
    let mut known = HashMap::new();
    let skipped = capture::datagrams(file, |datagram| {
        let Some(arrival) = arrival(&datagram) else {
            return;
        };
        let key = (datagram.from, datagram.to, arrival.header.ssrc);
        let at = *known.entry(key).or_insert(streams.len());
        if at == streams.len() {
            if at >= STREAMS_MAX {
                known.remove(&key);
                return;
            }
            let (from, to, ssrc) = key;
            streams.push(Stream {
                ssrc,
                from,
                to,
                packets: Vec::new(),
            });
        }
        streams[at].packets.push(arrival);
    })?;
    streams.retain(|stream| stream.packets.len() >= PACKETS_MIN);
    for stream in &mut streams {
        // Captures of several interfaces are not always in order of time.
        stream.packets.sort_by_key(|packet| packet.at_us);
    }
    streams.sort_by_key(|stream| std::cmp::Reverse(stream.packets.len()));
    Ok((streams, skipped))
}

fn arrival<'a>(datagram: &Datagram<'a>) -> Option<Arrival<'a>> {
    // RTCP on the same port has packet types of which 192 to 223 are taken (RFC 5761 §4).
    if matches!(datagram.payload.get(1), Some(192..=223)) {
        return None;
    }
    let header = RtpHeader::parse(datagram.payload).ok()?;
    let payload = &datagram.payload[header.payload_start..header.payload_end];
    Some(Arrival {
        at_us: datagram.at_us,
        header,
        payload,
    })
}

/// A list of streams for people.
pub(super) fn table(streams: &[Stream<'_>]) -> String {
    let mut text = format!("{:<12} {:>9} {:>4}  from, to\n", "SSRC", "packets", "PT");
    for stream in streams {
        let (ssrc, packets) = (stream.ssrc, stream.packets.len());
        let (from, to, pt) = (stream.from, stream.to, stream.main_pt());
        text += &format!(
            "{:<12} {packets:>9} {pt:>4}  {from}, {to}\n",
            format!("{ssrc:#010x}")
        );
    }
    text
}
