//! Recordings in virtual time: tapes, and what is read of them.

use std::time::Duration;

use crosspoint::engine::*;

use super::World;

/// An entry of a tape, with times in milliseconds since its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Packet(Copied),
    Press(u64, u8, Option<u64>),
    Finish(u64, u8),
    Lost(u64, u64, u32),
    End(u64),
}

/// A packet on a tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub at_ms: u64,
    pub track: u8,
    pub event: bool,
    pub veiled: bool,
    pub silenced: bool,
    pub rtp: Vec<u8>,
}

pub fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// All that waits on a tape.
pub fn read(tape: &mut TapeReader) -> Vec<Read> {
    let mut all = Vec::new();
    while let Some(entry) = tape.next() {
        all.push(match entry {
            Entry::Packet(taped) => Read::Packet(Copied {
                at_ms: ms(taped.at),
                track: taped.track.0,
                event: taped.event,
                veiled: taped.veiled,
                silenced: taped.silenced,
                rtp: taped.rtp.to_vec(),
            }),
            Entry::Press { at, track, lasted } => Read::Press(ms(at), track.0, lasted.map(ms)),
            Entry::Finish { at, track } => Read::Finish(ms(at), track.0),
            Entry::Lost {
                from,
                until,
                packets,
            } => Read::Lost(ms(from), ms(until), packets),
            Entry::End { at } => Read::End(ms(at)),
        });
    }
    all
}

/// The packets of one track among what was read.
pub fn packets(all: &[Read], track: u8) -> Vec<Copied> {
    let packets = all.iter().filter_map(|read| match read {
        Read::Packet(copied) if copied.track == track => Some(copied.clone()),
        _ => None,
    });
    packets.collect()
}

pub fn begin(id: u32, finish: Keys, tape: TapeWriter) -> Change {
    Change::Record {
        recorder: RecorderId(id),
        tape: Box::new(tape),
        finish,
    }
}

pub fn on_track(id: u32, track: u8, from: Option<(StreamIx, Side)>) -> Change {
    Change::RecordTrack {
        recorder: RecorderId(id),
        track: TrackIx(track),
        from,
    }
}

/// Records these from now on, each on a track of its own; times are since the world's beginning.
pub fn record(world: &mut World, id: u32, tracks: &[(StreamIx, Side)]) -> TapeReader {
    record_until(world, id, tracks, Keys::NONE)
}

/// The same until a key is pressed.
pub fn record_until(
    world: &mut World,
    id: u32,
    tracks: &[(StreamIx, Side)],
    finish: Keys,
) -> TapeReader {
    let (writer, reader) = tape(TRACKS_MAX, world.start);
    world.apply(begin(id, finish, writer));
    for (track, from) in (0..).zip(tracks) {
        world.apply(on_track(id, track, Some(*from)));
    }
    reader
}
