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
