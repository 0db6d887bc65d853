//! Telephone-events that cannot get to a listener as they are: counted in another clock, pressed
//! anew for members of a mix, or turned into tones.

use super::*;
use crate::engine::digits::{EventEdge, EventPacket, EventReceiver, EventType, Rescaled};
use crate::engine::voice::BridgeIx;
use crate::wire::event::EventCode;
use crate::wire::rtp::RtpPacket;

/// A party's telephone-events that are pressed anew for others.
#[derive(Debug, Default)]
pub(in crate::engine) struct Repressing {
    receiver: EventReceiver,
    /// For whom which of its keys are down: one that was overtaken comes and goes beside another.
    down: Vec<Down>,
    /// Who hears its latest key, and how many there were before it.
    heard_by: Vec<StreamIx>,
    presses: u32,
    /// What its latest packet told.
    edges: Vec<EventEdge>,
}

/// A key that is down for a listener: which press of the party, and which key.
#[derive(Clone, Copy, Debug)]
struct Down {
    to: StreamIx,
    press: u32,
    code: EventCode,
}

impl Repressing {
    /// Its call has become part of another one.
    pub(super) fn renumber(&mut self, further: impl Fn(StreamIx) -> StreamIx) {
        self.down
            .iter_mut()
            .for_each(|down| down.to = further(down.to));
    }
}

/// Other clocks.
impl Call {
    /// Counts a telephone-event in another clock, in place, and finds where it stands.
    pub(super) fn rescale(
        &mut self,
        to: StreamIx,
        packet: &mut RtpPacket<'_>,
        clocks_hz: [u32; 2],
    ) -> Option<Rescaled> {
        let header = *packet.header();
        let keys = self.streams[usize::from(to.0)].keys.get_or_insert_default();
        let name = (header.ssrc, header.timestamp);
        keys.rescaler.rescale(name, clocks_hz, packet.payload_mut())
    }

    /// The listener's numbers for a packet of such an event, by those of the packet itself.
    pub(super) fn place(scaled: Rescaled, header: RtpTimestamp, numbers: Outgoing) -> Outgoing {
        let behind = header.0.wrapping_sub(scaled.first.0);
        let began = RtpTimestamp(numbers.timestamp.0.wrapping_sub(behind));
        Outgoing {
            timestamp: began.plus(scaled.offset_ticks),
            ..numbers
        }
    }
}

/// Pressed anew.
impl Call {
    /// A telephone-event packet whose keys are pressed anew for whoever hears its party.
    #[cold]
    pub(super) fn repress(
        &mut self,
        now: Micros,
        ix: StreamIx,
        packet: &RtpPacket<'_>,
        clock_hz: u32,
    ) {
        let header = packet.header();
        let event = EventPacket {
            ssrc: header.ssrc,
            seq: header.seq.0,
            timestamp: header.timestamp.0,
            marker: header.marker,
            clock_hz,
            payload: packet.payload(),
        };
        let stream = &mut self.streams[usize::from(ix.0)];
        let Repressing {
            receiver, edges, ..
        } = &mut **stream.represses.get_or_insert_default();
        receiver.packet(now.0, &event, &mut |edge| edges.push(edge));
        self.press_edges(now, ix);
    }

    /// Other media of such a party: what had no end has ended.
    #[cold]
    pub(super) fn repress_media(&mut self, now: Micros, ix: StreamIx, packet: &RtpPacket<'_>) {
        let header = packet.header();
        if let Some(represses) = &mut self.streams[usize::from(ix.0)].represses {
            let Repressing {
                receiver, edges, ..
            } = &mut **represses;
            let (seq, at) = (header.seq.0, header.timestamp.0);
            receiver.media(now.0, header.ssrc, seq, at, &mut |edge| edges.push(edge));
            self.press_edges(now, ix);
        }
    }

    /// When a press whose packets have stopped has ended.
    pub(super) fn next_repressed(stream: &Stream) -> Micros {
        let receiver = stream.represses.as_ref().map(|all| &all.receiver);
        let next = receiver.and_then(EventReceiver::next_timeout_us);
        next.map_or(Micros::NEVER, Micros)
    }

    pub(super) fn repress_due(&mut self, now: Micros, ix: usize) {
        let stream = &mut self.streams[ix];
        if Self::next_repressed(stream) > now {
            return;
        }
        if let Some(represses) = &mut stream.represses {
            let Repressing {
                receiver, edges, ..
            } = &mut **represses;
            receiver.timeout(now.0, &mut |edge| edges.push(edge));
            let ix = stream.ix;
            self.press_edges(now, ix);
        }
    }

    /// The party goes: its keys come up.
    pub(super) fn end_repressing(&mut self, now: Micros, ix: StreamIx) {
        let stream = self.streams.get_mut(usize::from(ix.0));
        let represses = stream.and_then(|stream| stream.represses.take());
        for Down { to, code, .. } in represses.into_iter().flat_map(|represses| represses.down) {
            self.key_up(now, (ix, to), Some(code), None);
        }
    }

    fn press_edges(&mut self, now: Micros, ix: StreamIx) {
        let Some(mut represses) = self.streams[usize::from(ix.0)].represses.take() else {
            return;
        };
        let mut edges = std::mem::take(&mut represses.edges);
        for edge in edges.drain(..) {
            match edge {
                EventEdge::Began { code, .. } if self.presses_inband(ix, code) => {}
                EventEdge::Began { code, volume, .. } => {
                    let volume = i8::try_from(volume).ok().filter(|volume| *volume > 0);
                    let level = volume.map(|volume| -volume);
                    let Repressing {
                        down,
                        heard_by,
                        presses,
                        ..
                    } = &mut *represses;
                    self.listeners_of(ix, heard_by);
                    heard_by.retain(|to| self.key_down(now, (ix, *to), code, level));
                    let press = *presses;
                    down.extend(heard_by.iter().map(|&to| Down { to, press, code }));
                    *presses = press.wrapping_add(1);
                }
                EventEdge::Ended {
                    code, duration_us, ..
                } => {
                    let down = &mut represses.down;
                    // What was overtaken comes and goes at once, while another one may last.
                    let latest = down.iter().rfind(|down| down.code == code);
                    let latest = latest.map(|down| down.press);
                    let ended = down.extract_if(.., |down| Some(down.press) == latest);
                    for Down { to, .. } in ended {
                        self.key_up(now, (ix, to), Some(code), Some(duration_us));
                    }
                }
            }
        }
        represses.edges = edges;
        self.streams[usize::from(ix.0)].represses = Some(represses);
        self.keys_at = self.next_key();
        self.schedule_frames();
        self.outputs = true;
    }

    /// Who hears the keys of a party: the one it is linked to, or the members of its bridge that
    /// hear it. In a mix of more than two only those who accept them as events: a room is not to
    /// hear tones.
    pub(super) fn listeners_of(&self, ix: StreamIx, found: &mut Vec<StreamIx>) {
        found.clear();
        let stream = &self.streams[usize::from(ix.0)];
        if stream.flags.listens {
            return found.push(ix); // what it hears is pressed for itself
        }
        let bridge = stream.voice.as_ref().and_then(|voice| voice.bridge);
        match bridge {
            None => found.extend(stream.to),
            Some(BridgeIx(slot)) => {
                if let Some(Some(bridge)) = self.bridges.get(usize::from(slot)) {
                    bridge.hearers_of(ix, found);
                    let few = bridge.seats.len() == 2;
                    let accepts = |to: &StreamIx| self.event_kind(*to).is_some();
                    found.retain(|to| few || accepts(to));
                }
            }
        }
    }

    /// The telephone-event type that a party accepts: as was told, or else what it may send.
    pub(super) fn event_kind(&self, to: StreamIx) -> Option<EventType> {
        let stream = &self.streams[usize::from(to.0)];
        match &stream.keys {
            Some(keys) if keys.is_told => keys.kind,
            _ => stream.types.event_kind(),
        }
    }
}
