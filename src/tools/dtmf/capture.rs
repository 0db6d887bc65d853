//! Keys in a capture: telephone-events and tones of every RTP stream in it.
//!
//! What payload types mean is what the command line says, else what the SIP messages in the capture
//! say, else RFC 3551 and the look of the payloads. Streams are kept apart by addresses and SSRC;
//! but the telephone-events of one pair of addresses are one keypad, whose SSRC may change.

mod shape;
mod sound;

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};

use self::sound::Sound;
use super::line::{Line, Place, Printer};
use super::sdp::{Agreed, Meaning};
use super::{AudioPt, DtmfArgs, EventPt};
use crate::audio::codec::CodecKind;
use crate::engine::{DigitSource, EventEdge, EventPacket, EventReceiver, RESIDUE_US};
use crate::tools::replay::capture::{Datagram, datagrams};
use crate::wire::event::EventCode;
use crate::wire::rtp::RtpHeader;

/// Pairs of addresses that are kept apart; packets of further ones are left out.
const FLOWS_MAX: usize = 4_096;

/// Sources of one pair of addresses; packets of further ones are left out.
const SOURCES_MAX: usize = 256;

/// Fewer packets of a source are noise that looks like audio.
const AUDIO_PACKETS_MIN: usize = 5;

/// Most payload types that are said to be unknown.
const NOTES_MAX: usize = 16;

/// One RTP packet as it came.
struct Packet<'a> {
    at_us: u64,
    header: RtpHeader,
    payload: &'a [u8],
    meaning: Option<Meaning>,
}

/// All packets from one address to another.
struct Flow<'a> {
    from: SocketAddr,
    to: SocketAddr,
    packets: Vec<Packet<'a>>,
}

/// Whether a file begins as captures do.
pub(super) fn is_capture(magic: &[u8]) -> bool {
    let known = [0xa1b2_c3d4_u32, 0xa1b2_3c4d].map(|word| [word.to_be_bytes(), word.to_le_bytes()]);
    let start = magic.first_chunk::<4>();
    start.is_some_and(|start| known.as_flattened().contains(start) || *start == [10, 13, 13, 10])
}

/// Finds the presses of all streams and prints them in the order in which they were declared.
///
/// # Errors
/// When the capture has no RTP in it, or was cut before it could have.
pub(super) fn listen(file: &[u8], args: &DtmfArgs, printer: &mut Printer) -> Result<()> {
    let (mut flows, began_us) = find(file, args)?;
    if !is_whole(file) {
        eprintln!("crosspoint: the capture is cut short; what is there was read");
    }
    ensure!(!flows.is_empty(), "the capture holds no RTP stream");
    let mut lines = Vec::new();
    for flow in &mut flows {
        shape::recognise(flow);
        lines.extend(flow_lines(flow, began_us)?);
    }
    note_unknown(&flows);
    lines.sort_by_key(|(declared_us, _)| *declared_us);
    let mut places = lines.iter().filter_map(|(_, line)| line.stream);
    let first = places.next();
    if first.is_some_and(|first| places.any(|place| !place.is_beside(&first))) {
        printer.name_places();
    }
    for (_, line) in &lines {
        printer.print(line)?;
    }
    Ok(())
}

/// The flows of a capture, and when it began.
fn find<'a>(file: &'a [u8], args: &DtmfArgs) -> Result<(Vec<Flow<'a>>, u64)> {
    let mut agreed = Agreed::default();
    let mut flows: Vec<Flow<'a>> = Vec::new();
    let mut known = HashMap::new();
    let mut began_us = u64::MAX;
    let mut left_out = 0_u64;
    datagrams(file, |datagram| {
        began_us = began_us.min(datagram.at_us);
        let Some(packet) = rtp(&datagram) else {
            agreed.learn(datagram.at_us, datagram.payload);
            return;
        };
        let (from, to) = (datagram.from, datagram.to);
        if !known.contains_key(&(from, to)) && flows.len() >= FLOWS_MAX {
            left_out += 1;
            return;
        }
        let at = *known.entry((from, to)).or_insert(flows.len());
        if at == flows.len() {
            flows.push(Flow {
                from,
                to,
                packets: Vec::new(),
            });
        }
        flows[at].packets.push(packet);
    })?;
    if left_out > 0 {
        eprintln!("crosspoint: {left_out} packets beyond {FLOWS_MAX} streams were left out");
    }
    for flow in &mut flows {
        // Captures of several interfaces are not always in order of time.
        flow.packets.sort_by_key(|packet| packet.at_us);
        for packet in &mut flow.packets {
            let pt = packet.header.pt;
            packet.meaning = said(args, pt)
                .or_else(|| agreed.meaning(packet.at_us, flow.from, flow.to, pt))
                .or_else(|| by_rfc3551(pt));
        }
    }
    Ok((flows, began_us))
}

/// Says what was not listened to because nothing says what it is: keys may be in it.
fn note_unknown(flows: &[Flow<'_>]) {
    let mut noted = 0;
    for flow in flows {
        let mut counts = [0_usize; 128];
        for packet in flow
            .packets
            .iter()
            .filter(|packet| packet.meaning.is_none())
        {
            if let Some(count) = counts.get_mut(usize::from(packet.header.pt)) {
                *count += 1;
            }
        }
        for (pt, count) in counts.iter().enumerate() {
            if *count >= AUDIO_PACKETS_MIN && noted < NOTES_MAX {
                noted += 1;
                eprintln!(
                    "crosspoint: not heard, for nothing says what it is: payload type {pt} of \
                     {}>{}, {count} packets; --pt or --audio-pt can",
                    flow.from, flow.to
                );
            }
        }
    }
}

fn rtp<'a>(datagram: &Datagram<'a>) -> Option<Packet<'a>> {
    // RTCP on the same port has packet types of which 192 to 223 are taken (RFC 5761 §4).
    if matches!(datagram.payload.get(1), Some(192..=223)) {
        return None;
    }
    let header = RtpHeader::parse(datagram.payload).ok()?;
    Some(Packet {
        at_us: datagram.at_us,
        payload: datagram
            .payload
            .get(header.payload_start..header.payload_end)?,
        header,
        meaning: None,
    })
}

/// What the command line says.
fn said(args: &DtmfArgs, pt: u8) -> Option<Meaning> {
    let event = |said: &&EventPt| said.pt == pt;
    let audio = |said: &&AudioPt| said.pt == pt;
    let event = args
        .pt
        .iter()
        .find(event)
        .map(|said| Meaning::Event(said.clock_hz));
    event.or_else(|| {
        args.audio_pt
            .iter()
            .find(audio)
            .map(|said| Meaning::Audio(said.codec))
    })
}

fn by_rfc3551(pt: u8) -> Option<Meaning> {
    Some(match pt {
        0 => Meaning::Audio(CodecKind::Pcmu),
        8 => Meaning::Audio(CodecKind::Pcma),
        9 => Meaning::Audio(CodecKind::G722),
        1..=34 | 64..=95 => Meaning::Other,
        _ => return None,
    })
}

/// The presses of one flow, each with when it was declared in the capture.
fn flow_lines(flow: &Flow<'_>, capture_us: u64) -> Result<Vec<(u64, Line)>> {
    let Some(first) = flow.packets.first() else {
        return Ok(Vec::new());
    };
    let began_us = first.at_us;
    let place = |ssrc| Place {
        ssrc,
        from: flow.from,
        to: flow.to,
        offset_us: began_us.saturating_sub(capture_us),
    };
    let mut lines = events(flow, began_us, place);
    let mut tones = Vec::new();
    for ssrc in sources(flow) {
        let packets: Vec<&Packet<'_>> = flow
            .packets
            .iter()
            .filter(|packet| packet.header.ssrc == ssrc)
            .collect();
        if packets.len() >= AUDIO_PACKETS_MIN {
            let heard = Sound::new(began_us).hear(&packets)?;
            tones.extend(heard.map(|line| Line {
                stream: Some(place(ssrc)),
                ..line
            }));
        }
    }
    for tone in tones {
        match lines.iter_mut().find(|line| is_same_press(line, &tone)) {
            Some(line) => join(line, &tone),
            None => lines.push(tone),
        }
    }
    let declared = |line: Line| (began_us.saturating_add(line.report_us), line);
    Ok(lines.into_iter().map(declared).collect())
}

/// Tones of the same key beside a telephone-event, or just before or after it, are what a gateway
/// left of the press that it sends as an event.
fn is_same_press(line: &Line, tone: &Line) -> bool {
    line.source == DigitSource::TelephoneEvent
        && line.code == tone.code
        && tone.start_us <= line.end_us.saturating_add(RESIDUE_US)
        && line.start_us <= tone.end_us.saturating_add(RESIDUE_US)
}

/// The press was known by its first sign.
fn join(line: &mut Line, tone: &Line) {
    line.also_in_band = true;
    line.start_us = line.start_us.min(tone.start_us);
    line.report_us = line.report_us.min(tone.report_us);
}

fn sources(flow: &Flow<'_>) -> Vec<u32> {
    let mut sources: Vec<u32> = Vec::new();
    for packet in &flow.packets {
        let ssrc = packet.header.ssrc;
        if sources.len() < SOURCES_MAX && !sources.contains(&ssrc) {
            sources.push(ssrc);
        }
    }
    sources
}

/// What the telephone-events of a flow tell.
fn events(flow: &Flow<'_>, began_us: u64, place: impl Fn(u32) -> Place) -> Vec<Line> {
    let mut receiver = EventReceiver::new();
    let mut pressed = Pressed::default();
    for packet in &flow.packets {
        let now_us = packet.at_us;
        while let Some(due_us) = receiver
            .next_timeout_us()
            .filter(|due_us| *due_us <= now_us)
        {
            receiver.timeout(due_us, &mut |edge| pressed.take(due_us, edge));
        }
        pressed.ssrc = packet.header.ssrc;
        let header = &packet.header;
        let (ssrc, seq, timestamp) = (header.ssrc, header.seq.0, header.timestamp.0);
        let mut tell = |edge| pressed.take(now_us, edge);
        if let Some(Meaning::Event(clock_hz)) = packet.meaning {
            let event = EventPacket {
                ssrc,
                seq,
                timestamp,
                marker: header.marker,
                clock_hz,
                payload: packet.payload,
            };
            receiver.packet(now_us, &event, &mut tell);
        } else {
            receiver.media(now_us, ssrc, seq, timestamp, &mut tell);
        }
    }
    if let Some(due_us) = receiver.next_timeout_us() {
        receiver.timeout(due_us, &mut |edge| pressed.take(due_us, edge));
    }
    let us = |at_us: u64| at_us.saturating_sub(began_us);
    let lines = pressed.ended.iter().map(|press| Line {
        code: press.code,
        source: DigitSource::TelephoneEvent,
        start_us: us(press.began_us),
        end_us: us(press.ended_us),
        report_us: us(press.told_us),
        level_dbm0: (press.volume > 0).then(|| -f32::from(press.volume)),
        twist_db: None,
        confidence: 100,
        channel: None,
        stream: Some(place(press.ssrc)),
        also_in_band: false,
    });
    lines.collect()
}

/// Presses of a receiver while they last, and after.
#[derive(Default)]
struct Pressed {
    /// Of the packet that is being received.
    ssrc: u32,
    open: Vec<Press>,
    ended: Vec<Press>,
}

struct Press {
    code: EventCode,
    volume: u8,
    ssrc: u32,
    began_us: u64,
    ended_us: u64,
    told_us: u64,
}

impl Pressed {
    fn take(&mut self, now_us: u64, edge: EventEdge) {
        match edge {
            EventEdge::Began {
                code,
                volume,
                began_us,
            } => self.open.push(Press {
                code,
                volume,
                ssrc: self.ssrc,
                began_us,
                ended_us: began_us,
                told_us: now_us,
            }),
            EventEdge::Ended {
                code,
                volume,
                began_us,
                duration_us,
            } => {
                let is_this = |press: &Press| press.code == code && press.began_us == began_us;
                if let Some(at) = self.open.iter().rposition(is_this) {
                    let mut press = self.open.remove(at);
                    press.volume = volume;
                    press.ended_us = began_us.saturating_add(duration_us);
                    self.ended.push(press);
                }
            }
        }
    }
}

/// Whether the file ends where a frame or block does.
fn is_whole(file: &[u8]) -> bool {
    let is_pcapng = file.starts_with(&[10, 13, 13, 10]);
    // pcapng has one byte order per section; that of the first is taken for all.
    let is_big = if is_pcapng {
        file.get(8..12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d])
    } else {
        file.first() == Some(&0xa1)
    };
    let word = |at: usize| {
        let bytes = *file.get(at..)?.first_chunk()?;
        let word = if is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        };
        usize::try_from(word).ok()
    };
    let mut at = if is_pcapng { 0 } else { 24 };
    while at < file.len() {
        let next = if is_pcapng {
            word(at + 4)
                .filter(|len| *len >= 12)
                .map(|len| len.next_multiple_of(4))
        } else {
            word(at + 8).map(|len| len.saturating_add(16))
        };
        match next.and_then(|len| at.checked_add(len)) {
            Some(next) => at = next,
            None => return false,
        }
    }
    at == file.len()
}
