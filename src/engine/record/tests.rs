use super::*;

const MS: Duration = Duration::from_millis(1);

fn rtp(fill: u8, len: usize) -> Vec<u8> {
    let mut rtp = vec![fill; len];
    rtp[0] = 0x80;
    rtp
}

fn taped(at: Duration, rtp: &mut [u8]) -> Taped<'_> {
    Taped {
        at,
        track: TrackIx(3),
        event: false,
        veiled: true,
        silenced: false,
        rtp,
    }
}

#[test]
fn what_is_written_is_read_in_order() {
    let (mut writer, mut reader) = tape(1, Instant::now());
    assert_eq!(reader.next(), None);
    let mut packet = rtp(7, 172);
    writer.packet(&taped(20 * MS, &mut packet), 12);
    writer.press(25 * MS, TrackIx(1), None);
    writer.press(125 * MS, TrackIx(1), Some(100 * MS));
    assert!(writer.finish(126 * MS, TrackIx(2)));
    writer.end(130 * MS);
    assert_eq!(
        reader.next(),
        Some(Entry::Packet(taped(20 * MS, &mut rtp(7, 172))))
    );
    let (track, at) = (TrackIx(1), 25 * MS);
    let lasted = None;
    assert_eq!(reader.next(), Some(Entry::Press { at, track, lasted }));
    let (at, lasted) = (125 * MS, Some(100 * MS));
    assert_eq!(reader.next(), Some(Entry::Press { at, track, lasted }));
    let (at, track) = (126 * MS, TrackIx(2));
    assert_eq!(reader.next(), Some(Entry::Finish { at, track }));
    assert!(!reader.is_over());
    assert_eq!(reader.next(), Some(Entry::End { at: 130 * MS }));
    assert!(reader.is_over());
}

#[test]
fn events_and_silence_have_no_payload() {
    for (event, silenced) in [(true, false), (false, true)] {
        let (mut writer, mut reader) = tape(1, Instant::now());
        let mut packet = rtp(9, 172);
        let bare = Taped {
            event,
            silenced,
            ..taped(MS, &mut packet)
        };
        writer.packet(&bare, 12);
        let Some(Entry::Packet(read)) = reader.next() else {
            panic!("a packet");
        };
        assert_eq!((read.event, read.silenced), (event, silenced));
        assert_eq!(read.rtp, rtp(9, 12));
    }
}

#[test]
fn a_full_tape_loses_and_says_so_when_there_is_room() {
    let (mut writer, mut reader) = tape(1, Instant::now());
    let fits = TAPE_BYTES_PER_TRACK / (HEADER_LEN + 172);
    let mut packet = rtp(1, 172);
    for at in 0..fits + 3 {
        let at = u32::try_from(at).unwrap() * MS;
        writer.packet(&taped(at, &mut packet), 12);
    }
    for _ in 0..fits {
        assert!(matches!(reader.next(), Some(Entry::Packet(_))));
    }
    assert_eq!(reader.next(), None, "what was lost is told with the next");
    writer.press(MS, TrackIx(0), None);
    let from = u32::try_from(fits).unwrap() * MS;
    let until = from + 2 * MS;
    let lost = Entry::Lost {
        from,
        until,
        packets: 3,
    };
    assert_eq!(reader.next(), Some(lost));
    assert!(matches!(reader.next(), Some(Entry::Press { .. })));
}

#[test]
fn packets_at_the_limit_fit_and_longer_ones_are_lost() {
    let (mut writer, mut reader) = tape(1, Instant::now());
    let mut packet = rtp(1, TAPED_LEN_MAX);
    writer.packet(&taped(MS, &mut packet), 12);
    writer.packet(&taped(MS, &mut rtp(1, TAPED_LEN_MAX + 1)), 12);
    assert!(matches!(reader.next(), Some(Entry::Packet(read)) if read.rtp.len() == TAPED_LEN_MAX));
    assert_eq!(reader.next(), None);
    drop(writer);
    assert!(reader.is_over());
}

#[test]
fn a_full_tape_has_room_for_one_finish_and_for_the_end() {
    for lost in [0, 1] {
        let (mut writer, mut reader) = tape(1, Instant::now());
        // Filled to the octet, as far as packets go.
        let room = TAPE_BYTES_PER_TRACK - FINISH_ROOM;
        let parts = room / TAPED_LEN_MAX;
        for part in 0..=parts {
            let filled = part * TAPED_LEN_MAX;
            let len = TAPED_LEN_MAX.min(room - filled) - HEADER_LEN;
            writer.packet(&taped(MS, &mut rtp(1, len)), 12);
        }
        assert_eq!(reader.waiting(), room);
        for _ in 0..lost {
            writer.packet(&taped(2 * MS, &mut rtp(1, 12)), 12);
        }
        writer.press(3 * MS, TrackIx(0), None);
        assert!(writer.finish(4 * MS, TrackIx(0)));
        while writer.finish(5 * MS, TrackIx(0)) {}
        writer.packet(&taped(6 * MS, &mut rtp(1, 12)), 12);
        writer.end(7 * MS);
        let mut told = Vec::new();
        while let Some(entry) = reader.next() {
            told.push(match entry {
                Entry::Packet(_) => "packet",
                Entry::Press { .. } => "press",
                Entry::Finish { .. } => "finish",
                Entry::Lost { .. } => "lost",
                Entry::End { .. } => "end",
            });
        }
        told.dedup();
        let expected = ["packet", "lost", "finish", "lost", "end"];
        match lost {
            0 => assert_eq!(told, ["packet", "finish", "lost", "end"]),
            _ => assert_eq!(told, expected),
        }
        assert!(reader.is_over());
    }
}

#[test]
fn a_header_alone_says_nothing_of_padding() {
    let (mut writer, mut reader) = tape(1, Instant::now());
    let mut packet = rtp(4, 16);
    packet[0] = 0xb0;
    for event in [true, false] {
        let taped = Taped {
            event,
            ..taped(MS, &mut packet)
        };
        writer.packet(&taped, 12);
        let Some(Entry::Packet(read)) = reader.next() else {
            panic!("a packet");
        };
        let first = if event { 0x90 } else { 0xb0 };
        assert_eq!(read.rtp[0], first);
    }
}
