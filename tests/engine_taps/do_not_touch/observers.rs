//! What observers do in one of the two runs: listen, ask, record.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::engine_support::tapes;
use super::*;

/// What observers do.
#[derive(Clone, Debug)]
pub(super) enum Observed {
    Tap(u16, u16, u8),
    Untap(u16),
    Garbage(u16, Vec<u8>),
    Rtp(u16, u8),
    Rtcp(u16, Vec<u32>),
    Receives(u16, bool),
    Away(u16, bool),
    Masked(u16, bool),
    Query,
    Digits(u16, bool, bool),
    Close(u16),
    /// Begins a recording with a tape for so many tracks; whether a key ends it.
    Record(u32, usize, bool),
    Track(u32, u8, Option<(u16, Side)>),
    StopRecord(u32),
    Read(u32),
    /// Nobody reads it any more.
    Abandon(u32),
}

pub(super) fn observed() -> impl Strategy<Value = Observed> {
    let ear = PARTIES..PARTIES + LISTENERS;
    let party = 0..PARTIES;
    let bytes = proptest::collection::vec(any::<u8>(), 0..60);
    let words = proptest::collection::vec(any::<u32>(), 1..8);
    let from = (
        0..PARTIES + LISTENERS,
        prop_oneof![Just(Side::In), Just(Side::Out)],
    );
    let id = 0..RECORDERS_MAX as u32 + 1;
    prop_oneof![
        6 => (party, ear.clone(), 0u8..4).prop_map(|(from, to, how)| Observed::Tap(from, to, how)),
        1 => ear.clone().prop_map(Observed::Untap),
        2 => (ear.clone(), bytes).prop_map(|(ix, bytes)| Observed::Garbage(ix, bytes)),
        2 => (ear.clone(), any::<u8>()).prop_map(|(ix, count)| Observed::Rtp(ix, count)),
        1 => (ear.clone(), words).prop_map(|(ix, words)| Observed::Rtcp(ix, words)),
        1 => (ear.clone(), any::<bool>()).prop_map(|(ix, on)| Observed::Receives(ix, on)),
        1 => (ear.clone(), any::<bool>()).prop_map(|(ix, on)| Observed::Away(ix, on)),
        1 => (ear.clone(), any::<bool>()).prop_map(|(ix, on)| Observed::Masked(ix, on)),
        1 => Just(Observed::Query),
        4 => (0..PARTIES + LISTENERS, any::<bool>(), any::<bool>())
            .prop_map(|(ix, events, tones)| Observed::Digits(ix, events, tones)),
        1 => ear.prop_map(Observed::Close),
        3 => (id.clone(), 1..=TRACKS_MAX, any::<bool>())
            .prop_map(|(id, tracks, finish)| Observed::Record(id, tracks, finish)),
        9 => (id.clone(), 0..TRACKS_MAX as u8 + 1, proptest::option::weighted(0.9, from))
            .prop_map(|(id, track, from)| Observed::Track(id, track, from)),
        1 => id.clone().prop_map(Observed::StopRecord),
        1 => id.clone().prop_map(Observed::Read),
        1 => id.prop_map(Observed::Abandon),
    ]
}

impl Run {
    /// What an observer does may be refused; that it was done is nobody else's business.
    pub(super) fn observe(&mut self, observed: Observed) {
        let change = match observed {
            Observed::Tap(from, to, how) => Change::Tap(Box::new(Tap {
                from: StreamIx(from),
                to: StreamIx(to),
                types: types(how),
            })),
            Observed::Untap(ix) => Change::Untap(StreamIx(ix)),
            Observed::Digits(ix, telephone_events, in_band) => {
                let config = DigitsConfig {
                    telephone_events,
                    in_band,
                };
                Change::Digits(StreamIx(ix), Some(config))
            }
            Observed::Garbage(ix, bytes) => return self.receive(ix, Component::Rtp, bytes),
            Observed::Rtp(ix, count) => {
                for n in 0..u16::from(count) {
                    let packet = rtp(0, n, u32::from(n) * 160, 5_000, &[n as u8; 160]);
                    self.receive(ix, Component::Rtp, packet);
                }
                return;
            }
            Observed::Rtcp(ix, words) => {
                return self.receive(ix, Component::Rtcp, rtcp(1, 201, &words));
            }
            Observed::Receives(ix, receives) => Change::Direction {
                stream: StreamIx(ix),
                sends: true,
                receives,
            },
            Observed::Away(ix, away) => {
                let here = remote(StreamIx(ix));
                let rtp = here.rtp.filter(|_| !away);
                Change::Remote(StreamIx(ix), Remote { rtp, ..here })
            }
            Observed::Masked(ix, masked) => {
                let privacy = match masked {
                    true => Privacy::Masked,
                    false => Privacy::Transparent,
                };
                Change::Privacy(StreamIx(ix), privacy)
            }
            Observed::Query => {
                let _ = self.call.report(self.now);
                return;
            }
            Observed::Close(ix) => Change::Close(StreamIx(ix)),
            Observed::Record(id, tracks, finish) => {
                let (writer, reader) = tape(tracks, self.start);
                self.tapes.readers.insert(id, reader);
                let finish = [Keys::NONE, Keys::ALL][usize::from(finish)];
                tapes::begin(id, finish, writer)
            }
            Observed::Track(id, track, from) => {
                let from = from.map(|(ix, side)| (StreamIx(ix), side));
                tapes::on_track(id, track, from)
            }
            Observed::StopRecord(id) => Change::StopRecord(RecorderId(id)),
            Observed::Read(id) => return self.tapes.read(id),
            Observed::Abandon(id) => return drop(self.tapes.readers.remove(&id)),
        };
        let _refused = self.try_change(change);
    }

    pub(super) fn read_all(&mut self) {
        let ids: Vec<u32> = self.tapes.readers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.tapes.read(id));
    }
}

/// What is read of recordings.
#[derive(Default)]
pub(super) struct Tapes {
    readers: BTreeMap<u32, TapeReader>,
    pub(super) packets: usize,
}

impl Tapes {
    fn read(&mut self, id: u32) {
        let read = self.readers.get_mut(&id).map(tapes::read);
        let read = read.into_iter().flatten();
        let packets = read.filter(|read| matches!(read, tapes::Read::Packet(_)));
        self.packets += packets.count();
    }
}
