//! Limits of recordings: at each, and one past it.

use super::*;

fn refused(world: &mut World, change: Change) -> Option<ChangeError> {
    world.call.apply(world.now, change).err()
}

#[test]
fn so_many_recordings_of_a_call_and_each_with_its_own_name() {
    let mut world = pair(Privacy::Transparent);
    let most = RECORDERS_MAX as u32;
    let tapes: Vec<_> = (0..most)
        .map(|id| record(&mut world, id, &[(A, Side::In)]))
        .collect();
    let (writer, mut reader) = tape(1, world.start);
    let again = begin(most, Keys::NONE, writer);
    assert_eq!(
        refused(&mut world, again),
        Some(ChangeError::TooManyRecorders)
    );
    assert!(reader.is_over() && reader.next().is_none());
    world.talk(A, 77, 500, 1);
    for mut tape in tapes {
        assert_eq!(read(&mut tape).len(), 1);
    }
    let mut world = pair(Privacy::Transparent);
    let _tape = record(&mut world, 1, &[]);
    let (writer, _reader) = tape(1, world.start);
    let same = begin(1, Keys::NONE, writer);
    assert_eq!(
        refused(&mut world, same),
        Some(ChangeError::TooManyRecorders)
    );
}

#[test]
fn so_many_tracks_of_a_recording_and_of_one_side_of_a_stream() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[]);
    let last = TRACKS_MAX as u8 - 1;
    world.apply(on_track(1, last, Some((A, Side::In))));
    let unknown = Some(ChangeError::UnknownRecorder(RecorderId(1)));
    for from in [Some((A, Side::In)), None] {
        let beyond = on_track(1, last + 1, from);
        assert_eq!(refused(&mut world, beyond), unknown);
    }
    let most = TRACKS_OF_STREAM_MAX as u8;
    for track in 0..most - 1 {
        world.apply(on_track(1, track, Some((A, Side::In))));
    }
    let full = Some(ChangeError::Record(A));
    let beyond = on_track(1, most, Some((A, Side::In)));
    assert_eq!(refused(&mut world, beyond), full);
    world.apply(on_track(1, 0, Some((A, Side::In)))); // it is there already
    world.apply(on_track(1, most, Some((A, Side::Out)))); // the other side has its own
    world.talk(A, 77, 500, 1);
    assert_eq!(read(&mut tape).len(), usize::from(most));
    world.apply(on_track(1, 0, None));
    world.apply(on_track(1, most, Some((A, Side::In))));
}

#[test]
fn what_does_not_exist_or_cannot_be_recorded_is_refused() {
    let mut world = pair(Privacy::Transparent);
    let opaque = world.add(2, Payload::Opaque, Privacy::Transparent);
    let _tape = record(&mut world, 1, &[]);
    let said = |ix| Some((ix, Side::In));
    let errors = [
        (
            on_track(2, 0, said(A)),
            ChangeError::UnknownRecorder(RecorderId(2)),
        ),
        (
            Change::StopRecord(RecorderId(2)),
            ChangeError::UnknownRecorder(RecorderId(2)),
        ),
        (on_track(1, 0, said(opaque)), ChangeError::Record(opaque)),
        (
            on_track(1, 0, said(StreamIx(9))),
            ChangeError::UnknownStream(StreamIx(9)),
        ),
    ];
    for (change, error) in errors {
        assert_eq!(refused(&mut world, change), Some(error));
    }
    world.apply(Change::Close(B));
    let closed = on_track(1, 0, Some((B, Side::Out)));
    assert_eq!(
        refused(&mut world, closed),
        Some(ChangeError::StreamClosed(B))
    );
}

/// What a call sends, with a recording that nobody empties, or without.
fn sent(recorded: bool) -> (Vec<(u64, Sent)>, Option<TapeReader>) {
    let mut world = pair(Privacy::Masked);
    let tape = recorded.then(|| {
        let (writer, reader) = tape(1, world.start);
        world.apply(begin(1, Keys::from_text("#").unwrap(), writer));
        for (track, from) in [(A, Side::In), (B, Side::Out)].into_iter().enumerate() {
            world.apply(on_track(1, track as u8, Some(from)));
        }
        reader
    });
    for n in 0..200 {
        let _relayed = world.hear(A, &speech(A, n));
        world.wait(20);
    }
    if recorded {
        world.apply(Change::StopRecord(RecorderId(1)));
    }
    (world.heard, tape)
}

#[test]
fn a_full_tape_loses_what_does_not_fit_and_nothing_else_changes() {
    let (alone, _) = sent(false);
    let (recorded, tape) = sent(true);
    let mut tape = tape.unwrap();
    assert_eq!((recorded.len(), &recorded), (200, &alone));
    let all = read(&mut tape);
    let Some(Read::Lost(from, until, lost)) = all.iter().rev().nth(1) else {
        panic!("what was lost is told at the end: {:?}", all.last());
    };
    assert_eq!(all.len() - 2 + *lost as usize, 400);
    assert_eq!(
        (*from, *until),
        ((400 - u64::from(*lost)) / 2 * 20, 199 * 20)
    );
}
