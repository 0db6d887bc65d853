//! What RFC 4733 settles, and what a network may do to it.

use crosspoint::engine::{EventPacket, EventReceiver};

use super::sender::*;

/// The presses of one phone, after its packets went through `network`.
fn through(phone: &Phone, network: impl Fn(&Packet) -> bool) -> Vec<Told> {
    let packets: Vec<Packet> = phone.packets().into_iter().filter(network).collect();
    hear(&packets)
}

fn is_end_of(packet: &Packet, press: usize) -> bool {
    packet.of == Of::Press(press) && packet.end
}

/// The place of the last packet in the longest press.
fn last_of_a_press(phone: &Phone) -> usize {
    let packets = phone.packets();
    packets.iter().map(|packet| packet.nth).max().unwrap()
}

/// A packet with this payload, of a clock of 8 kHz.
fn event_packet(payload: &[u8]) -> EventPacket<'_> {
    EventPacket {
        ssrc: 1,
        seq: 1,
        timestamp: 1,
        marker: true,
        clock_hz: 8_000,
        payload,
    }
}

/// All was told: which keys, from when to when, to the microsecond.
fn assert_exact(phone: &Phone) {
    let told = hear(&phone.packets());
    assert_eq!(keys(&told), phone.keys());
    for (told, pressed) in told.iter().zip(&phone.pressed) {
        assert_eq!(told.began_us, pressed.at_us, "{told:?}");
        assert_eq!(told.duration_us, Some(pressed.hold_ms * 1_000), "{told:?}");
        assert!(
            told.told_us <= pressed.at_us + 20_000,
            "told late: {told:?}"
        );
    }
}

#[test]
fn sixteen_keys_are_told_as_they_begin_with_their_durations() {
    let phone = Phone::new(PLAIN).dial("0123456789*#ABCD");
    assert_exact(&phone);
    assert!(hear(&phone.packets()).iter().all(|told| told.volume == 10));
}

#[test]
fn clocks_of_8_16_and_48_khz() {
    for clock_hz in [8_000, 16_000, 48_000] {
        assert_exact(&Phone::new(Style { clock_hz, ..PLAIN }).dial("1123"));
    }
}

#[test]
fn flash_and_other_events_are_told_as_such() {
    let mut phone = Phone::new(PLAIN).dial("1!2");
    phone.press_code('?', crosspoint::wire::event::EventCode(36), 100);
    assert_exact(&phone);
}

#[test]
fn update_intervals_of_10_to_60_ms() {
    for interval_ms in [10, 30, 50, 60] {
        let phone = Phone::new(Style {
            interval_ms,
            ..PLAIN
        })
        .dial("5516");
        let told = hear(&phone.packets());
        assert_eq!(keys(&told), "5516", "{interval_ms} ms");
    }
}

#[test]
fn one_two_or_all_three_ends_are_lost() {
    for audio in [Audio::Stops, Audio::RunsBeside, Audio::None] {
        let phone = Phone::new(Style { audio, ..PLAIN }).dial("1125");
        for lost in 1..=3 {
            let first_end = 4;
            let told = through(&phone, |packet| {
                !(packet.end && packet.nth < first_end + lost)
            });
            assert_eq!(keys(&told), "1125", "{lost} lost");
            for (told, pressed) in told.iter().zip(&phone.pressed) {
                let error_us = told.duration_us.unwrap().abs_diff(pressed.hold_ms * 1_000);
                assert!(error_us <= 20_000, "{lost} lost: {told:?}");
            }
        }
    }
}

#[test]
fn without_any_end_the_last_press_ends_by_silence() {
    let phone = Phone::new(Style {
        audio: Audio::None,
        ..PLAIN
    })
    .dial("7");
    let told = through(&phone, |packet| !packet.end);
    assert_eq!(keys(&told), "7");
    assert_eq!(told[0].duration_us, Some(80_000));
}

#[test]
fn without_any_end_audio_ends_the_press() {
    let mut phone = Phone::new(PLAIN);
    phone.press('7', 100);
    phone.pause(20);
    let told = through(&phone, |packet| !packet.end);
    assert_eq!(keys(&told), "7");
    phone.press('7', 100);
    assert_eq!(keys(&through(&phone, |packet| !packet.end)), "77");
}

#[test]
fn the_start_is_lost_up_to_the_last_end() {
    let phone = Phone::new(PLAIN).dial("1138");
    let last = last_of_a_press(&phone);
    for lost in 0..=last {
        let told = through(&phone, |packet| {
            packet.of == Of::Audio || packet.nth >= lost
        });
        assert_eq!(keys(&told), "1138", "{lost} lost");
        for (told, pressed) in told.iter().zip(&phone.pressed) {
            let error_us = told.began_us.abs_diff(pressed.at_us);
            // Ends that come again tell no newer duration.
            assert!(error_us <= 40_000, "{lost} lost: {told:?}");
            assert_eq!(told.duration_us, Some(100_000), "{lost} lost");
        }
    }
}

#[test]
fn any_single_packet_is_enough() {
    let phone = Phone::new(PLAIN).dial("22");
    let last = last_of_a_press(&phone);
    for only in 0..=last {
        let told = through(&phone, |packet| {
            packet.of == Of::Audio || packet.nth == only
        });
        assert_eq!(keys(&told), "22", "only packet {only}");
    }
}

#[test]
fn packets_that_come_twice() {
    let phone = Phone::new(PLAIN).dial("1123");
    let packets = phone.packets();
    let twice: Vec<_> = packets
        .iter()
        .flat_map(|p| [p.clone(), p.clone()])
        .collect();
    assert_eq!(keys(&hear(&twice)), "1123");
    // All of them once more, half a second later.
    let mut again = packets.clone();
    again.extend(packets.iter().map(|packet| Packet {
        at_us: packet.at_us + 500_000,
        ..packet.clone()
    }));
    again.sort_by_key(|packet| packet.at_us);
    assert_eq!(keys(&hear(&again)), "1123");
}

#[test]
fn packets_that_overtake_each_other() {
    let phone = Phone::new(PLAIN).dial("1123");
    let mut swapped = phone.packets();
    for pair in swapped.chunks_exact_mut(2) {
        let at_us = pair[1].at_us;
        pair.swap(0, 1);
        pair[0].at_us = at_us;
        pair[1].at_us = at_us;
    }
    assert_eq!(keys(&hear(&swapped)), "1123");
    // Each press backwards, its ends first.
    let mut backwards = phone.packets();
    for press in 0..4 {
        let of = |p: &Packet| p.of == Of::Press(press);
        let from = backwards.iter().position(of).unwrap();
        let to = backwards.iter().rposition(of).unwrap();
        let last_us = backwards[to].at_us;
        backwards[from..=to].reverse();
        for packet in &mut backwards[from..=to] {
            packet.at_us = last_us;
        }
    }
    let told = hear(&backwards);
    assert_eq!(keys(&told), "1123");
}

#[test]
fn a_press_known_only_by_a_packet_that_the_next_press_overtook() {
    let mut phone = Phone::new(Style {
        audio: Audio::None,
        ..PLAIN
    });
    phone.press('1', 100);
    phone.pause(60);
    phone.press('2', 100);
    let packets = phone.packets();
    let late = packets.iter().rfind(|p| is_end_of(p, 0)).unwrap().clone();
    let mut heard: Vec<_> = packets
        .iter()
        .filter(|p| p.of == Of::Press(1))
        .cloned()
        .collect();
    heard.insert(
        1,
        Packet {
            at_us: heard[0].at_us,
            ..late
        },
    );
    let told = hear(&heard);
    // In the order in which they could be known; the times say which was first.
    assert_eq!(keys(&told), "21");
    assert!(told[1].began_us < told[0].began_us);
    assert_eq!(told[0].duration_us, Some(100_000));
}

#[test]
fn late_reports_of_a_finished_press_never_open_it_again() {
    let phone = Phone::new(Style {
        audio: Audio::None,
        ..PLAIN
    })
    .dial("9");
    let mut packets = phone.packets();
    let update = packets[1].clone();
    for after_us in [300_000, 1_000_000, 3_000_000] {
        let end_us = phone.now_us;
        packets.push(Packet {
            at_us: end_us + after_us,
            ..update.clone()
        });
    }
    assert_eq!(keys(&hear(&packets)), "9");
}

#[test]
fn two_same_keys_back_to_back() {
    for marks in [Marks::First, Marks::Never, Marks::Always] {
        let style = Style {
            burst: true,
            audio: Audio::None,
            marks,
            ..PLAIN
        };
        let mut phone = Phone::new(style);
        for _ in 0..3 {
            phone.press('5', 60);
        }
        assert_eq!(keys(&hear(&phone.packets())), "555");
        // Of the first, every end is lost.
        assert_eq!(
            keys(&through(&phone, |packet| !is_end_of(packet, 0))),
            "555"
        );
    }
}

#[test]
fn a_long_press_is_one_press_of_many_segments() {
    for (clock_hz, hold_ms) in [(8_000, 20_000), (16_000, 9_000), (48_000, 7_000)] {
        let mut phone = Phone::new(Style { clock_hz, ..PLAIN });
        phone.press('5', hold_ms);
        phone.pause(100);
        phone.press('5', 100);
        phone.pause(100);
        assert_exact(&phone);
    }
}

#[test]
fn a_long_press_whose_segment_ends_are_lost() {
    let mut phone = Phone::new(Style {
        clock_hz: 48_000,
        ..PLAIN
    });
    phone.press('5', 5_000);
    phone.pause(100);
    let told = through(&phone, |packet| {
        packet.payload.get(2..4) != Some(&[0xff, 0xff])
    });
    assert_eq!(keys(&told), "5");
    assert_eq!(told[0].duration_us, Some(5_000_000));
}

#[test]
fn segments_that_end_at_a_whole_number_of_packets() {
    // 65,440 ticks are 409 packets of 20 ms; then a segment begins, with its timestamp moved so.
    let mut phone = Phone::new(Style {
        long: Long::Wraps,
        ..PLAIN
    });
    phone.press('5', 10_000);
    for packet in phone.sent().iter_mut() {
        let told_ms = packet.at_us.saturating_sub(1_000_000) / 1_000;
        let told = (told_ms.min(10_000) * 8) as u32;
        if told > 65_440 {
            packet.timestamp += 65_440;
            let rest = (told - 65_440) as u16;
            packet.payload[2..4].copy_from_slice(&rest.to_be_bytes());
        }
    }
    let told = hear(&phone.packets());
    assert_eq!(keys(&told), "5");
    assert_eq!(told[0].duration_us, Some(10_000_000));
}

#[test]
fn sequence_numbers_wrap_within_a_press() {
    for first_seq in 65_520..=65_535 {
        let mut phone = Phone::new(PLAIN);
        phone.first_seq = first_seq;
        assert_exact(&phone.dial("112"));
    }
}

#[test]
fn timestamps_wrap_within_a_press() {
    for before in [0, 1, 200, 799, 800, 2_400, 3_000] {
        let mut phone = Phone::new(PLAIN);
        // The first press begins 100 ms after the first second.
        phone.offset = 0_u32.wrapping_sub(8_800 + before);
        assert_exact(&phone.dial("1123"));
    }
}

#[test]
fn several_events_in_one_packet() {
    let event = |code, duration: u16, end: u8| {
        let [high, low] = duration.to_be_bytes();
        [code, end << 7 | 10, high, low]
    };
    let mut phone = Phone::new(PLAIN);
    phone.press('1', 100);
    let base = phone.packets()[0].clone();
    let packet = |n: u64, timestamp: u32, events: &[[u8; 4]]| Packet {
        at_us: base.at_us + n * 50_000,
        seq: base.seq + n as u16,
        timestamp: base.timestamp + timestamp,
        payload: events.concat(),
        ..base.clone()
    };
    let packets = [
        packet(0, 0, &[event(1, 400, 1), event(1, 400, 1)]),
        packet(
            1,
            0,
            &[event(1, 400, 1), event(1, 400, 1), event(2, 400, 0)],
        ),
        packet(
            2,
            0,
            &[
                event(1, 400, 0),
                event(1, 400, 1),
                event(2, 800, 1),
                event(3, 80, 0),
            ],
        ),
        packet(3, 800, &[event(2, 800, 1), event(3, 480, 1)]),
        packet(4, 1_600, &[event(3, 480, 1)]),
    ];
    let told = hear(&packets);
    assert_eq!(keys(&told), "1123");
    let durations: Vec<_> = told.iter().map(|told| told.duration_us.unwrap()).collect();
    assert_eq!(durations, [50_000, 50_000, 100_000, 60_000]);
    // Any one of them lost.
    for lost in 0..packets.len() {
        let mut rest = packets.to_vec();
        rest.remove(lost);
        assert_eq!(keys(&hear(&rest)), "1123", "packet {lost} lost");
    }
}

#[test]
fn payloads_that_are_no_event_are_counted_and_tell_nothing() {
    let mut receiver = EventReceiver::new();
    for payload in [&[][..], &[1], &[1, 10], &[1, 10, 0]] {
        receiver.packet(0, &event_packet(payload), &mut |edge| panic!("{edge:?}"));
    }
    assert_eq!(receiver.malformed(), 4);
    assert!(!receiver.is_down());
}

#[test]
fn no_clock_is_too_slow_or_too_fast_to_count() {
    let mut receiver = EventReceiver::new();
    // Segments of a press that lasts for centuries, of which a payload type of another clock tells.
    let packet = |segment: u32, clock_hz| EventPacket {
        seq: (segment & 0xffff) as u16,
        timestamp: segment.wrapping_mul(0xffff),
        clock_hz,
        ..event_packet(&[5, 10, 0xff, 0xff])
    };
    let mut edges = Vec::new();
    for segment in 0..70_000 {
        receiver.packet(1, &packet(segment, 1), &mut |edge| edges.push(edge));
    }
    for segment in 70_000..70_003 {
        receiver.packet(1, &packet(segment, u32::MAX), &mut |edge| edges.push(edge));
    }
    assert_eq!(edges.len(), 1, "it is one press");
    receiver.timeout(u64::MAX, &mut |edge| edges.push(edge));
    assert_eq!(edges.len(), 2);
}

#[test]
fn what_is_read_of_one_packet_is_bounded() {
    use crosspoint::engine::{EVENTS_PER_PACKET_MAX, EventEdge};
    for (events, expected) in [
        (EVENTS_PER_PACKET_MAX, EVENTS_PER_PACKET_MAX),
        (EVENTS_PER_PACKET_MAX + 1, EVENTS_PER_PACKET_MAX),
    ] {
        let mut began = 0;
        let payload = [1, 0x8a, 1, 0x90].repeat(events);
        EventReceiver::new().packet(0, &event_packet(&payload), &mut |edge| {
            began += usize::from(matches!(edge, EventEdge::Began { .. }));
        });
        assert_eq!(began, expected);
    }
}

#[test]
fn debug_output_does_not_say_which_key() {
    let mut receiver = EventReceiver::new();
    let packet = event_packet(&[7, 10, 0, 160]);
    let mut text = format!("{packet:?}");
    receiver.packet(20_000, &packet, &mut |edge| text += &format!("{edge:?}"));
    receiver.timeout(u64::MAX, &mut |edge| text += &format!("{edge:?}"));
    text += &format!("{receiver:?}");
    assert!(text.contains("Ended"), "{text}");
    assert!(!text.contains('7'), "{text}");
}

/// The duration falls by all it can while the timestamp leaps as far as it can.
#[test]
fn timestamps_half_a_turn_apart_are_no_trouble() {
    for (leap, durations) in [
        (i32::MAX.cast_unsigned(), [u16::MAX, 0]),
        (i32::MIN.cast_unsigned(), [0, u16::MAX]),
        (1 << 31, [u16::MAX, 0]),
    ] {
        let mut receiver = EventReceiver::new();
        let mut told = 0;
        for (seq, duration) in (0..).zip(durations) {
            let [high, low] = duration.to_be_bytes();
            let packet = EventPacket {
                ssrc: 1,
                seq,
                timestamp: leap.wrapping_mul(seq.into()),
                marker: false,
                clock_hz: 8_000,
                payload: &[5, 10, high, low],
            };
            receiver.packet(u64::from(seq) * 20_000, &packet, &mut |_| told += 1);
        }
        receiver.timeout(10_000_000, &mut |_| told += 1);
        assert_eq!(told % 2, 0, "what began has ended");
    }
}
