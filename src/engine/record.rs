//! What is recorded of a call: copies of packets, with the moment they came or went, on a tape.
//!
//! A tape is a bounded ring without a lock between the worker that has the call and the thread
//! that records it. The worker's end copies and goes on: it never waits, allocates or decodes.
//! What does not fit is counted, and told to the reader when there is room again. All times on a
//! tape are since its origin, which both ends know.
//!
//! A tape never says which key was pressed: telephone-events lie on it without their payload, and
//! a press as its times alone.

use std::time::{Duration, Instant};

use super::time::micros;
use crate::audio::codec::CodecKind;

/// Most recordings of one call at a time; one more is refused.
pub const RECORDERS_MAX: usize = 8;

/// Most tracks of one recording: parties heard, or what parties are sent.
pub const TRACKS_MAX: usize = 16;

/// Most tracks that one side of a stream is recorded on; one more is refused.
pub const TRACKS_OF_STREAM_MAX: usize = RECORDERS_MAX;

/// Octets of a tape for each track: 1.3 s of G.711 in packets of 20 ms.
pub const TAPE_BYTES_PER_TRACK: usize = 16 << 10;

/// Octets of an entry before its packet.
const HEADER_LEN: usize = 24;

/// Octets of what says how much was lost.
const LOST_LEN: usize = HEADER_LEN + size_of::<u32>();

/// Room that is always left for the end, and what was lost before it.
const END_ROOM: usize = LOST_LEN + HEADER_LEN;

/// Room that packets and presses leave for one key that ends the recording.
const FINISH_ROOM: usize = END_ROOM + LOST_LEN + HEADER_LEN;

/// Of an RTP packet's first octet (RFC 3550 §5.1).
const PADDING_BIT: u8 = 0b0010_0000;

/// Longest packet on a tape; a longer one is counted as lost.
pub const TAPED_LEN_MAX: usize = 2_048;

/// A recording's name in its call, given by the switch and not used twice in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecorderId(pub u32);

/// Whether what a party says is recorded, or what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What it sends, as far as it may: what is blocked or held by its SDP is not recorded, what
    /// is silenced is silence, and what is masked is said to be so ([`Taped::veiled`]).
    In,
    /// What it is sent, to the octet: relayed, mixed, played.
    Out,
}

/// Index of a track of a recording, below [`TRACKS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackIx(pub u8);

/// What a payload type means on a track, for whoever decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackType {
    /// Payload type, 0–127.
    pub pt: u8,
    /// What it carries.
    pub kind: TrackKind,
}

/// What packets of a payload type carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackKind {
    /// Sound that can be decoded.
    Sound(CodecKind),
    /// Comfort noise (RFC 3389) in this clock.
    Noise {
        /// RTP clock rate in Hz.
        clock_hz: u32,
    },
    /// Sound, or anything else, that cannot be decoded; it lasts by its clock.
    Opaque {
        /// RTP clock rate in Hz.
        clock_hz: u32,
    },
}

/// What is on a tape.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A packet of a track.
    Packet(Taped<'a>),
    /// A key of a track's party went down (`None`), or came up after so long.
    Press {
        /// When it went down: when the sound, or the first packet's share of the event, began,
        /// which is earlier than entries before this one; or when it was known to have come up.
        at: Duration,
        /// Whose.
        track: TrackIx,
        /// How long it was down.
        lasted: Option<Duration>,
    },
    /// A party pressed the key that ends the recording.
    Finish {
        /// When it went down, as of [`Entry::Press`].
        at: Duration,
        /// Whose key.
        track: TrackIx,
    },
    /// Packets that did not fit, from the first to the last of them.
    Lost {
        /// When the first came.
        from: Duration,
        /// When the last came.
        until: Duration,
        /// How many.
        packets: u32,
    },
    /// Nothing more comes: the recording was stopped in the engine, or its call ended, then.
    End {
        /// When.
        at: Duration,
    },
}

/// A packet on a tape.
#[derive(Debug, PartialEq, Eq)]
pub struct Taped<'a> {
    /// When it came, or went.
    pub at: Duration,
    /// On which track.
    pub track: TrackIx,
    /// A telephone-event: time in which the party's audio is not sent. Its payload is not here.
    pub event: bool,
    /// Keys are to be taken out of this sound before anybody hears it.
    pub veiled: bool,
    /// The party was made silent: time passes, nothing is heard.
    pub silenced: bool,
    /// RTP: the whole packet, or its header alone, with its extension and without the padding bit,
    /// where `event` or `silenced`.
    pub rtp: &'a mut [u8],
}

/// What is said of a packet on a tape; see [`Taped`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) event: bool,
    pub(super) veiled: bool,
    pub(super) silenced: bool,
}

impl Marks {
    /// Whether the packet is on the tape without its payload.
    pub(super) fn is_bare(self) -> bool {
        self.event || self.silenced
    }

    fn bits(self) -> u8 {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        bit(self.event, EVENT) | bit(self.veiled, VEILED) | bit(self.silenced, SILENCED)
    }
}

/// Makes a tape for so many tracks, 1 to [`TRACKS_MAX`]; more or fewer are taken as the nearest.
#[must_use]
pub fn tape(tracks: usize, origin: Instant) -> (TapeWriter, TapeReader) {
    let tracks = tracks.clamp(1, TRACKS_MAX);
    let (writer, reader) = rtrb::RingBuffer::new(tracks * TAPE_BYTES_PER_TRACK);
    let writer = TapeWriter {
        ring: writer,
        origin,
        lost: None,
    };
    let reader = TapeReader {
        ring: reader,
        origin,
        packet: Box::new([0; TAPED_LEN_MAX]),
        over: false,
    };
    (writer, reader)
}

/// What an entry is, as it lies in the ring.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Packet = 0,
    Press = 1,
    Finish = 2,
    Lost = 3,
    End = 4,
}

const EVENT: u8 = 1;
const VEILED: u8 = 2;
const SILENCED: u8 = 4;

/// What did not fit.
#[derive(Clone, Copy, Debug)]
struct Lost {
    from_us: u64,
    until_us: u64,
    packets: u32,
}

/// The worker's end.
#[derive(Debug)]
pub struct TapeWriter {
    ring: rtrb::Producer<u8>,
    origin: Instant,
    lost: Option<Lost>,
}

impl TapeWriter {
    /// When its time begins.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Nobody reads it any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Copies a packet; the header alone where `event` or `silenced`, whatever `rtp` is.
    /// `header_len` is the length of the RTP header with its extension.
    pub fn packet(&mut self, taped: &Taped<'_>, header_len: usize) {
        let marks = Marks {
            event: taped.event,
            veiled: taped.veiled,
            silenced: taped.silenced,
        };
        let len = if marks.is_bare() {
            header_len
        } else {
            taped.rtp.len()
        };
        let rtp = taped.rtp.get(..len).unwrap_or(&*taped.rtp);
        self.copy(taped.at, taped.track, marks, rtp);
    }

    /// As [`Self::packet`], of a packet, or of its header where nothing else is to be copied.
    pub(super) fn copy(&mut self, at: Duration, track: TrackIx, marks: Marks, rtp: &[u8]) {
        let header = header(Tag::Packet, track, marks.bits(), at, 0);
        if rtp.len() > TAPED_LEN_MAX || !self.write(header, rtp, FINISH_ROOM) {
            self.lose(at);
        }
    }

    /// A key went down (`None`) or came up. Not told where there is no room.
    pub fn press(&mut self, at: Duration, track: TrackIx, lasted: Option<Duration>) {
        let lasted = lasted.map_or(u64::MAX, micros);
        self.write(header(Tag::Press, track, 0, at, lasted), &[], FINISH_ROOM);
    }

    /// The party pressed the key that ends the recording. There is always room for one; `false`:
    /// one is there that nobody has read.
    pub fn finish(&mut self, at: Duration, track: TrackIx) -> bool {
        self.write(header(Tag::Finish, track, 0, at, 0), &[], END_ROOM)
    }

    /// Says that nothing more comes, and when that was; there is always room for it. Dropping the
    /// tape says so too, but not when.
    pub fn end(mut self, at: Duration) {
        self.write(header(Tag::End, TrackIx(0), 0, at, 0), &[], 0);
    }

    fn lose(&mut self, at: Duration) {
        let now_us = micros(at);
        let lost = self.lost.get_or_insert(Lost {
            from_us: now_us,
            until_us: now_us,
            packets: 0,
        });
        lost.until_us = now_us;
        lost.packets = lost.packets.saturating_add(1);
    }

    /// Writes an entry, and before it what was lost; all or nothing. `room` is left behind it.
    fn write(&mut self, header: [u8; HEADER_LEN], packet: &[u8], room: usize) -> bool {
        let told = usize::from(self.lost.is_some()) * LOST_LEN;
        if self.ring.slots() < told + HEADER_LEN + packet.len() + room {
            return false;
        }
        if let Some(lost) = self.lost.take() {
            let from = Duration::from_micros(lost.from_us);
            let packets = lost.packets.to_be_bytes();
            let header = self::header(Tag::Lost, TrackIx(0), 0, from, lost.until_us);
            self.push(header, &packets);
        }
        self.push(header, packet);
        true
    }

    /// There is room for both.
    fn push(&mut self, mut header: [u8; HEADER_LEN], packet: &[u8]) {
        let len = u16::try_from(packet.len()).unwrap_or(0);
        header[4..6].copy_from_slice(&len.to_be_bytes());
        let _fits = self.ring.push_entire_slice(&header);
        let _fits = self.ring.push_entire_slice(packet);
    }
}

/// `tag, track, flags, 0, length (2), 0, 0, at (8), value (8)`.
fn header(tag: Tag, track: TrackIx, flags: u8, at: Duration, value: u64) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..3].copy_from_slice(&[tag as u8, track.0, flags]);
    header[8..16].copy_from_slice(&micros(at).to_be_bytes());
    header[16..].copy_from_slice(&value.to_be_bytes());
    header
}

/// The recorder's end.
#[derive(Debug)]
pub struct TapeReader {
    ring: rtrb::Consumer<u8>,
    origin: Instant,
    packet: Box<[u8; TAPED_LEN_MAX]>,
    over: bool,
}

impl TapeReader {
    /// When its time begins.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Octets that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ring.slots()
    }

    /// Nothing waits, and nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over || (self.ring.is_abandoned() && self.ring.is_empty())
    }

    /// The next entry, if there is one now.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator cannot lend what it gives"
    )]
    pub fn next(&mut self) -> Option<Entry<'_>> {
        let mut header = [0; HEADER_LEN];
        // A header is in the ring some moments before what belongs to it.
        let whole = {
            let chunk = self.ring.read_chunk(HEADER_LEN).ok()?;
            let (first, second) = chunk.as_slices();
            header[..first.len()].copy_from_slice(first);
            header[first.len()..].copy_from_slice(second);
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            HEADER_LEN + len.min(TAPED_LEN_MAX)
        };
        if self.ring.slots() < whole {
            return None;
        }
        let _is_there = self.ring.pop_entire_slice(&mut header);
        let rtp = &mut self.packet[..whole - HEADER_LEN];
        let _is_there = self.ring.pop_entire_slice(rtp);
        let word = |at: usize| {
            let octets = header[at..at + 8].try_into().unwrap_or_default();
            u64::from_be_bytes(octets)
        };
        let (at, value) = (Duration::from_micros(word(8)), word(16));
        let [tag, track, flags] = [header[0], header[1], header[2]];
        let track = TrackIx(track);
        let is_bare = tag == Tag::Packet as u8 && flags & (EVENT | SILENCED) != 0;
        if let Some(first) = rtp.first_mut().filter(|_| is_bare) {
            *first &= !PADDING_BIT;
        }
        Some(match tag {
            tag if tag == Tag::Packet as u8 => Entry::Packet(Taped {
                at,
                track,
                event: flags & EVENT != 0,
                veiled: flags & VEILED != 0,
                silenced: flags & SILENCED != 0,
                rtp,
            }),
            tag if tag == Tag::Press as u8 => Entry::Press {
                at,
                track,
                lasted: (value != u64::MAX).then(|| Duration::from_micros(value)),
            },
            tag if tag == Tag::Finish as u8 => Entry::Finish { at, track },
            tag if tag == Tag::Lost as u8 => Entry::Lost {
                from: at,
                until: Duration::from_micros(value),
                packets: (&*rtp).try_into().map_or(0, u32::from_be_bytes),
            },
            _ => {
                self.over = true;
                Entry::End { at }
            }
        })
    }
}

#[cfg(test)]
mod tests;
