//! What senders do instead of the rules, each seen in the field: exactly the keys that were
//! pressed are told. Every case dials equal keys next to each other and different ones.

use super::sender::*;

const KEYS: &str = "11235589#*0";

fn assert_keys(style: Style) {
    let phone = Phone::new(style).dial(KEYS);
    let told = hear(&phone.packets());
    assert_eq!(keys(&told), KEYS);
    for (told, pressed) in told.iter().zip(&phone.pressed) {
        let error_us = told.duration_us.unwrap().abs_diff(pressed.hold_ms * 1_000);
        assert!(error_us <= 20_000, "{told:?}");
    }
}

/// As [`assert_keys`], with and without audio, and with any one packet of each press lost.
fn assert_keys_with_any_packet_lost(style: Style) {
    for audio in [Audio::Stops, Audio::RunsBeside, Audio::None] {
        let style = Style { audio, ..style };
        assert_keys(style);
        let phone = Phone::new(style).dial(KEYS);
        for lost in 0..8 {
            let mut packets = phone.packets();
            packets.retain(|packet| packet.of == Of::Audio || packet.nth != lost);
            assert_eq!(keys(&hear(&packets)), KEYS, "packet {lost} lost");
        }
    }
}

#[test]
fn repeated_ends_have_new_timestamps() {
    assert_keys_with_any_packet_lost(Style {
        stamps: Stamps::EachEnd,
        ..PLAIN
    });
}

#[test]
fn repeated_ends_have_the_timestamp_of_their_sending() {
    assert_keys_with_any_packet_lost(Style {
        stamps: Stamps::EndsAreNow,
        ..PLAIN
    });
}

#[test]
fn the_timestamp_steps_with_each_packet() {
    assert_keys_with_any_packet_lost(Style {
        stamps: Stamps::EachPacket,
        ..PLAIN
    });
}

#[test]
fn the_timestamp_steps_with_each_packet_and_the_duration_does_not() {
    let phone = Phone::new(Style {
        stamps: Stamps::EachPacketFlat,
        ..PLAIN
    })
    .dial(KEYS);
    let told = hear(&phone.packets());
    assert_eq!(keys(&told), KEYS);
    for told in told {
        assert_eq!(told.duration_us, Some(100_000));
    }
}

#[test]
fn the_timestamp_never_advances_between_keys() {
    assert_keys(Style {
        stamps: Stamps::Still,
        ..PLAIN
    });
    // And every end is lost.
    let phone = Phone::new(Style {
        stamps: Stamps::Still,
        ..PLAIN
    })
    .dial(KEYS);
    let mut packets = phone.packets();
    packets.retain(|packet| !packet.end);
    assert_eq!(keys(&hear(&packets)), KEYS);
}

#[test]
fn no_packet_has_the_marker() {
    assert_keys_with_any_packet_lost(Style {
        marks: Marks::Never,
        ..PLAIN
    });
}

#[test]
fn every_packet_has_the_marker() {
    assert_keys_with_any_packet_lost(Style {
        marks: Marks::Always,
        ..PLAIN
    });
}

#[test]
fn the_first_packet_has_no_duration() {
    assert_keys_with_any_packet_lost(Style {
        zero_first: true,
        ..PLAIN
    });
}

#[test]
fn only_ends_are_sent() {
    for audio in [Audio::Stops, Audio::None] {
        assert_keys(Style {
            updates: false,
            audio,
            ..PLAIN
        });
        assert_keys(Style {
            updates: false,
            audio,
            ends: 1,
            ..PLAIN
        });
    }
}

#[test]
fn one_end_is_sent() {
    assert_keys_with_any_packet_lost(Style { ends: 1, ..PLAIN });
}

#[test]
fn no_end_is_sent() {
    assert_keys(Style { ends: 0, ..PLAIN });
}

#[test]
fn five_ends_are_sent() {
    assert_keys_with_any_packet_lost(Style { ends: 5, ..PLAIN });
}

#[test]
fn all_ends_are_sent_at_once() {
    assert_keys(Style {
        burst: true,
        ..PLAIN
    });
}

#[test]
fn audio_of_the_same_instants_runs_beside() {
    assert_keys_with_any_packet_lost(Style {
        audio: Audio::RunsBeside,
        ..PLAIN
    });
}

#[test]
fn four_zero_octets_before_the_event() {
    assert_keys_with_any_packet_lost(Style {
        shifted: true,
        ..PLAIN
    });
}

#[test]
fn zero_octets_behind_the_event() {
    let mut phone = Phone::new(PLAIN).dial(KEYS);
    for packet in phone.sent() {
        if packet.of != Of::Audio {
            packet.payload.extend([0; 4]);
        }
    }
    assert_eq!(keys(&hear(&phone.packets())), KEYS);
}

#[test]
fn two_updates_then_silence_until_the_end() {
    let mut phone = Phone::new(Style {
        audio: Audio::None,
        ..PLAIN
    });
    phone.press('1', 1_696);
    phone.pause(500);
    phone.press('2', 100);
    let mut packets = phone.packets();
    packets.retain(|packet| packet.of != Of::Press(0) || packet.nth < 2 || packet.end);
    assert_eq!(keys(&hear(&packets)), "12");
}

#[test]
fn a_hole_in_the_middle_of_a_press() {
    for hole_ms in [100, 200, 400, 900] {
        let mut phone = Phone::new(PLAIN);
        phone.press('1', 2_000);
        phone.pause(100);
        phone.press('1', 100);
        phone.pause(100);
        let mut packets = phone.packets();
        let hole = 1_500_000..1_500_000 + hole_ms * 1_000;
        packets.retain(|packet| !hole.contains(&packet.at_us));
        assert_eq!(keys(&hear(&packets)), "11", "{hole_ms} ms");
    }
}

/// A press of ten seconds and a short one of the same key; how long the first was, as was told.
fn long_press_us(long: Long, clock_hz: u32) -> u64 {
    let mut phone = Phone::new(Style {
        long,
        clock_hz,
        ..PLAIN
    });
    phone.press('1', 10_000);
    phone.pause(100);
    phone.press('1', 100);
    phone.pause(100);
    let told = hear(&phone.packets());
    assert_eq!(keys(&told), "11");
    told[0].duration_us.unwrap()
}

#[test]
fn the_duration_saturates() {
    for clock_hz in [8_000, 48_000] {
        let duration_us = long_press_us(Long::Saturates, clock_hz);
        assert!(duration_us.abs_diff(10_000_000) <= 20_000, "{duration_us}");
    }
}

#[test]
fn the_duration_wraps() {
    for clock_hz in [8_000, 48_000] {
        assert_eq!(long_press_us(Long::Wraps, clock_hz), 10_000_000);
    }
}

#[test]
fn an_8_khz_event_clock_beside_48_khz_audio() {
    let mut phone = Phone::new(PLAIN).dial(KEYS);
    for packet in phone.sent() {
        if packet.of == Of::Audio {
            packet.timestamp = packet.timestamp.wrapping_mul(6);
        }
    }
    assert_eq!(keys(&hear(&phone.packets())), KEYS);
}

#[test]
fn durations_that_were_not_rescaled_between_clocks() {
    // 48 kHz ticks on an 8 kHz clock are six times too long; and the other way.
    for (multiply, divide) in [(6, 1), (1, 6), (2, 1), (1, 2)] {
        let mut phone = Phone::new(PLAIN).dial(KEYS);
        for packet in phone.sent() {
            if let [_, _, high, low] = &mut packet.payload[..] {
                let ticks = u16::from_be_bytes([*high, *low]) * multiply / divide;
                [*high, *low] = ticks.to_be_bytes();
            }
        }
        assert_eq!(keys(&hear(&phone.packets())), KEYS, "{multiply}/{divide}");
    }
}

#[test]
fn the_payload_type_and_clock_change_by_another_offer() {
    // Between presses, with the timestamps of the new clock.
    let mut phone = Phone::new(PLAIN).dial("11");
    phone.style.clock_hz = 48_000;
    let mut phone = phone.dial("12");
    assert_eq!(keys(&hear(&phone.packets())), "1112");
    // Within a press: another type, the same timestamps.
    let half_us = phone.pressed[1].at_us + 50_000;
    for packet in phone.sent() {
        if packet.at_us > half_us && packet.clock_hz == 8_000 {
            packet.marker = false;
        }
    }
    assert_eq!(keys(&hear(&phone.packets())), "1112");
}

/// What is told is these keys, also if every end is lost.
fn assert_with_and_without_ends(phone: &mut Phone, told: &str) {
    assert_eq!(keys(&hear(&phone.packets())), told);
    phone.sent().retain(|packet| !packet.end);
    assert_eq!(keys(&hear(&phone.packets())), told);
}

#[test]
fn the_source_changes_between_presses() {
    for audio in [Audio::Stops, Audio::None] {
        let mut phone = Phone::new(Style { audio, ..PLAIN }).dial("11");
        phone.ssrc = 0xface;
        phone.offset = 77;
        let mut phone = phone.dial("12");
        assert_with_and_without_ends(&mut phone, "1112");
    }
}

/// A press that another source goes on with after 60 ms; `change` says how that looks.
fn assert_source_may_change(change: impl Fn(&mut Packet)) {
    let mut phone = Phone::new(PLAIN).dial("11");
    let pressed = phone.pressed[0];
    for packet in phone.sent() {
        if packet.at_us > pressed.at_us + 60_000 {
            packet.ssrc = 0xface;
            change(packet);
        }
    }
    let told = hear(&phone.packets());
    assert_eq!(keys(&told), "11");
    assert_eq!(told[0].duration_us, Some(100_000));
}

#[test]
fn the_source_changes_within_a_press_and_nothing_else() {
    assert_source_may_change(|_| ());
}

#[test]
fn the_source_changes_within_a_press_with_other_timestamps() {
    assert_source_may_change(|packet| packet.timestamp ^= 0x5a5a_0000);
}

#[test]
fn the_source_changes_within_a_press_and_counts_it_anew() {
    assert_source_may_change(|packet| {
        packet.timestamp ^= 0x5a5a_0000;
        if let (Of::Press(0), [_, _, high, low]) = (packet.of, &mut packet.payload[..]) {
            let ticks = u16::from_be_bytes([*high, *low]) - 480;
            [*high, *low] = ticks.to_be_bytes();
        }
    });
}

#[test]
fn late_packets_of_the_source_before_are_ignored() {
    let mut phone = Phone::new(PLAIN).dial("1");
    let pressed = phone.pressed[0];
    let late: Vec<Packet> = phone
        .packets()
        .into_iter()
        .filter(|p| p.of != Of::Audio)
        .collect();
    for packet in phone.sent() {
        if packet.at_us > pressed.at_us + 40_000 {
            packet.ssrc = 0xface;
            packet.timestamp ^= 0x5a5a_0000;
        }
    }
    let mut packets = phone.packets();
    packets.extend(late.into_iter().take(2).map(|packet| Packet {
        at_us: pressed.at_us + 85_000,
        ..packet
    }));
    packets.sort_by_key(|packet| packet.at_us);
    assert_eq!(keys(&hear(&packets)), "1");
}

#[test]
fn the_source_begins_anew_at_a_lower_timestamp() {
    let mut phone = Phone::new(PLAIN).dial("11");
    phone.offset = phone.offset.wrapping_sub(300_000);
    let mut phone = phone.dial("12");
    assert_with_and_without_ends(&mut phone, "1112");
}

#[test]
fn the_source_begins_anew_with_other_sequence_numbers() {
    for jump in [5_000_u16, 30_000, 40_000, 60_000] {
        let phone = Phone::new(PLAIN).dial("1112");
        let mut packets = phone.packets();
        let second = phone.pressed[1].at_us + phone.pressed[1].hold_ms * 1_000 + 60_000;
        for packet in packets.iter_mut().filter(|packet| packet.at_us > second) {
            packet.seq = packet.seq.wrapping_add(jump);
            packet.timestamp ^= 0x0123_4567;
        }
        let told = hear(&packets);
        assert_eq!(keys(&told), "1112", "by {jump}");
        assert!(
            told.iter().all(|told| told.duration_us == Some(100_000)),
            "by {jump}"
        );
    }
}

#[test]
fn two_sources_that_speak_at_once_tell_each_key_once() {
    let one = Phone::new(PLAIN).dial("1");
    let mut other = Phone::new(PLAIN);
    other.ssrc = 0xface;
    let other = other.dial("2");
    let mut packets = [one.packets(), other.packets()].concat();
    packets.sort_by_key(|packet| packet.at_us);
    assert_eq!(keys(&hear(&packets)), "12");
}
