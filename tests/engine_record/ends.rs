//! How recordings end, and what becomes of them when calls and streams do.

use super::*;

#[test]
fn a_stopped_recording_says_when_and_takes_nothing_more() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    let mut other = record(&mut world, 2, &[(A, Side::In)]);
    world.talk(A, 77, 500, 2);
    world.apply(Change::StopRecord(RecorderId(1)));
    world.talk(A, 77, 502, 2);
    let all = read(&mut tape);
    assert_eq!((all.len(), all.last()), (3, Some(&Read::End(40))));
    assert!(tape.is_over());
    assert_eq!(packets(&read(&mut other), 0).len(), 4);
    let again = world
        .call
        .apply(world.now, Change::StopRecord(RecorderId(1)));
    assert_eq!(again, Err(ChangeError::UnknownRecorder(RecorderId(1))));
}

#[test]
fn a_timer_and_the_owner_end_recordings_with_the_call() {
    let mut world = pair(Privacy::Transparent);
    let limit = Some(Duration::from_millis(700));
    world.apply(Change::Timers(Timers {
        limit,
        ..Timers::default()
    }));
    let mut tape = record(&mut world, 1, &[(A, Side::In), (B, Side::Out)]);
    world.talk(A, 77, 500, 2);
    world.wait(2_000);
    assert_eq!(read(&mut tape).last(), Some(&Read::End(700)));
    world.apply(Change::StopRecord(RecorderId(1)));

    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    world.talk(A, 77, 500, 2);
    world
        .call
        .end_recordings(world.now + Duration::from_millis(60));
    assert_eq!(read(&mut tape).last(), Some(&Read::End(100)));

    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    world.talk(A, 77, 500, 2);
    drop(world);
    assert!(!tape.is_over(), "what waits is still read");
    assert_eq!(read(&mut tape).len(), 2, "and it does not say when");
    assert!(tape.is_over());
}

#[test]
fn tracks_of_a_closed_stream_fall_silent_and_others_go_on() {
    let mut world = parties(3, Privacy::Masked);
    world.apply(link(A, Some(B)));
    world.apply(link(C, Some(B)));
    let tracks = [(A, Side::In), (B, Side::Out), (A, Side::Out), (C, Side::In)];
    let mut tape = record(&mut world, 1, &tracks);
    world.talk(A, 77, 500, 3);
    world.apply(Change::Close(A));
    for n in 0..3 {
        let _refused = world.hear(A, &speech(A, n));
        let _floor_is_kept = world.hear(C, &speech(C, n));
        world.wait(20);
    }
    let all = read(&mut tape);
    let counts = [0, 1, 2, 3].map(|track| packets(&all, track).len());
    assert_eq!(counts, [3, 3 + (world.received(B).len()), 0, 3]);
    // A track that fell silent can be somebody else's.
    world.apply(on_track(1, 0, Some((B, Side::In))));
    let _no_sink = world.hear(B, &speech(B, 1));
    assert_eq!(packets(&read(&mut tape), 0).len(), 1);
}

#[test]
fn another_stream_takes_a_track_over() {
    let mut world = pair(Privacy::Transparent);
    let mut tape = record(&mut world, 1, &[(A, Side::In)]);
    let mut both = |world: &mut World, n: u16| {
        for ix in [A, B] {
            let _relayed = world.hear(ix, &speech(ix, n));
        }
        rtps(&packets(&read(&mut tape), 0))
    };
    assert_eq!(both(&mut world, 1), [speech(A, 1)]);
    world.apply(on_track(1, 0, Some((B, Side::In))));
    assert_eq!(both(&mut world, 2), [speech(B, 2)]);
    world.apply(on_track(1, 0, Some((B, Side::In))));
    assert_eq!(both(&mut world, 3), [speech(B, 3)], "said twice is once");
    world.apply(on_track(1, 0, Some((B, Side::Out))));
    assert_eq!(both(&mut world, 4), [speech(A, 4)]);
    world.apply(on_track(1, 0, None));
    assert!(both(&mut world, 5).is_empty());
}

#[test]
fn a_recording_that_nobody_reads_is_dropped_without_a_word() {
    let mut world = pair(Privacy::Transparent);
    let tracks = [(A, Side::In), (B, Side::Out)];
    let gone = record(&mut world, 1, &tracks);
    let mut stays = record(&mut world, 2, &tracks);
    world.talk(A, 77, 500, 2);
    drop(gone);
    world.talk(A, 77, 502, 2);
    assert_eq!(read(&mut stays).len(), 8);
    // Commands that were on their way do no harm, nor good.
    world.apply(on_track(1, 0, Some((B, Side::In))));
    world.apply(on_track(1, 5, None));
    // Its place can be taken, and in the end its name is forgotten.
    let others: Vec<_> = (3..10).map(|id| record(&mut world, id, &[])).collect();
    assert_eq!(others.len() + 1, RECORDERS_MAX);
    let late = world
        .call
        .apply(world.now, Change::StopRecord(RecorderId(1)));
    assert_eq!(late, Err(ChangeError::UnknownRecorder(RecorderId(1))));
    drop(others);
    world.talk(A, 77, 504, 2);
    world.apply(Change::StopRecord(RecorderId(3)));
    assert_eq!(read(&mut stays).len(), 4);
}

#[test]
fn recordings_go_on_when_two_calls_become_one() {
    let start = std::time::Instant::now();
    let two = |id: u32, base: u16| {
        let mut world = World::at(start, Timers::default());
        for ix in [A, B] {
            world.add(base + ix.0, Payload::Rtp, Privacy::Transparent);
            world.apply(Change::Remote(ix, remote(ix)));
            world.apply(types(ix, &[0, EVENT_PT]));
        }
        world.apply(link(A, Some(B)));
        let tape = record(&mut world, id, &[(A, Side::In), (B, Side::Out)]);
        world.talk(A, 77, 500, 3);
        (world, tape)
    };
    let ((mut world, mut ours), (mut other, mut theirs)) = (two(1, 0), two(2, 0));
    for tape in [&mut ours, &mut theirs] {
        assert_eq!(read(tape).len(), 6);
    }
    let now = world.now;
    world
        .call
        .absorb(now, &mut other.call, C, 2)
        .expect("room for both");
    drop(other);
    for ix in [C, StreamIx(3)] {
        let port = port(ix, Component::Rtp);
        world.call.set_port(ix, Component::Rtp, port).unwrap();
    }
    let packet = rtp(0, 503, 503 * 160, 77, &[0xff; 160]);
    let mut bytes = packet.clone();
    let verdict = world
        .call
        .handle_packet(now, C, Component::Rtp, home(A), &mut bytes);
    assert!(matches!(verdict, Verdict::Forward { .. }));
    let all = read(&mut theirs);
    assert_eq!(rtps(&packets(&all, 0)), [&packet[..]]);
    assert_eq!(rtps(&packets(&all, 1)), [bytes]);
    let of_ours = read(&mut ours);
    assert_eq!(of_ours, []);
    world.apply(on_track(2, 0, Some((A, Side::In))));
    world.talk(A, 77, 503, 1);
    assert_eq!([&mut ours, &mut theirs].map(|t| read(t).len()), [2, 1]);
    world.apply(Change::StopRecord(RecorderId(2)));
    assert_eq!(read(&mut theirs), [Read::End(80)]);
}

#[test]
fn a_merge_beyond_the_limit_or_of_one_name_is_refused() {
    let start = std::time::Instant::now();
    let with = |ids: std::ops::Range<u32>| {
        let mut world = World::at(start, Timers::default());
        world.add(0, Payload::Rtp, Privacy::Transparent);
        let tapes: Vec<_> = ids
            .map(|id| record(&mut world, id, &[(A, Side::In)]))
            .collect();
        (world, tapes)
    };
    let merge = |(ours, _): &mut (World, Vec<TapeReader>), theirs: &mut World| {
        ours.call.absorb(ours.now, &mut theirs.call, B, 1)
    };
    let most = RECORDERS_MAX as u32;
    let (mut a, mut b) = (with(0..5), with(5..most + 1));
    let too_many = Err(AbsorbError::TooManyRecorders);
    assert_eq!(merge(&mut a, &mut b.0), too_many);
    assert_eq!((a.0.call.streams(), b.0.call.streams()), (1, 1));
    assert_eq!(merge(&mut a, &mut with(4..5).0), too_many, "one name twice");
    // One that nobody reads takes no place.
    b.1.pop();
    assert_eq!(merge(&mut a, &mut b.0), Ok(()));
    let full =
        a.0.call
            .apply(a.0.now, begin(most + 1, Keys::NONE, tape(1, start).0));
    assert_eq!(full, Err(ChangeError::TooManyRecorders));
    a.0.apply(Change::StopRecord(RecorderId(7)));
    drop(record(&mut a.0, most + 1, &[(B, Side::In)]));
}
