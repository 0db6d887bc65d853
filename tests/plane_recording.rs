//! A worker records what passes it, and says when its call went.

mod plane_support;

use std::time::Instant;

use crosspoint::engine::{Change, Entry, Keys, RecorderId, Side, StreamIx, Timers, TrackIx, tape};
use crosspoint::plane::worker::{Command, Report};
use plane_support::*;

#[test]
fn a_call_that_is_removed_ends_its_recordings_at_that_moment() {
    let (worker, mut reports) = start(1, 8);
    let (pair, insert) = Pair::on(V4, key(0), Timers::default());
    worker.submit(insert).unwrap();
    let recorder = RecorderId(1);
    let origin = Instant::now();
    let (writer, mut reader) = tape(2, origin);
    let begin = Change::Record {
        recorder,
        tape: Box::new(writer),
        finish: Keys::NONE,
    };
    let track = |track: u8, side| Change::RecordTrack {
        recorder,
        track: TrackIx(track),
        from: Some((StreamIx(0), side)),
    };
    worker
        .submit(Command::Change {
            key: key(0),
            changes: vec![begin, track(0, Side::In), track(1, Side::Out)],
            sockets: Vec::new(),
        })
        .unwrap();
    pair.relays(100, 20);
    // Nothing happens for a while, which is in the recording all the same.
    std::thread::sleep(std::time::Duration::from_millis(150));
    let before = origin.elapsed();
    worker
        .submit(Command::Remove {
            key: key(0),
            ticket: 1,
        })
        .unwrap();
    let removed = next(&mut reports);
    let after = origin.elapsed();
    assert!(matches!(removed, Report::Removed { ticket: 1, .. }));
    let (mut packets, mut ended) = ([0; 2], None);
    while let Some(entry) = reader.next() {
        match entry {
            Entry::Packet(taped) => packets[usize::from(taped.track.0)] += 1,
            Entry::End { at } => ended = Some(at),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(packets, [20, 20]);
    let ended = ended.expect("the end is told");
    // Times on a tape are whole microseconds.
    let micro = std::time::Duration::from_micros(2);
    assert!(
        (before.saturating_sub(micro)..=after).contains(&ended),
        "{before:?} {ended:?}"
    );
    assert!(reader.is_over());
}
