//! What a listener gets.

use std::time::Duration;

use super::*;

const PCMU: PayloadType = PayloadType {
    pt: 0,
    out: 0,
    clock_hz: 8_000,
    silence: Some(0xff),
    event: false,
    via: Via::Relay,
};

/// A call of two, and one who listens to the first of them.
fn tapped(privacy: Privacy) -> (World, StreamIx) {
    let mut world = World::two_party(Privacy::Transparent);
    let said = [PCMU, kind(8, 8, Via::Relay), kind(101, 101, Via::Relay)];
    let types = said.into_iter().collect();
    world.apply(Change::PayloadTypes(A, types));
    let ear = listener(&mut world, privacy);
    world.apply(tap(A, ear, &[PCMU]));
    (world, ear)
}

fn copies(world: &World, ear: StreamIx) -> Vec<Sent> {
    let received = world.received(ear);
    received.into_iter().map(|(_, sent)| sent).collect()
}

#[test]
fn a_transparent_copy_is_what_was_sent() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let out = world.talk(A, 77, 500, 10);
    world.talk(B, 88, 900, 10);
    let copies = copies(&world, ear);
    assert_eq!(copies.len(), 10, "of one party and not of the other");
    for (copy, sent) in copies.iter().zip(out) {
        assert_eq!(copy.bytes, sent.expect("relayed").bytes);
        assert_eq!(copy.to, home(ear));
    }
    assert_eq!(world.stream(ear).rtp_out.packets, 10);
    assert_eq!(world.stream(ear).hears, Some(A));
}

#[test]
fn a_masked_copy_hides_who_is_listened_to() {
    let (mut world, ear) = tapped(Privacy::Masked);
    let mut packet = rtp(0, 7, 1_000, 77, &[1, 2, 3]);
    packet[0] |= 0x11; // an extension and one CSRC
    packet.splice(12..12, [0, 0, 0, 99, 0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
    let relayed = world.rtp(A, &packet).expect("relayed");
    assert_eq!(relayed.bytes, packet);
    let copy = copies(&world, ear).remove(0);
    assert_eq!((copy.bytes.len(), copy.bytes[0]), (15, 0x80));
    assert_eq!(&copy.bytes[12..], [1, 2, 3]);
    assert_ne!((copy.ssrc(), copy.seq(), copy.timestamp()), (77, 7, 1_000));
}

#[test]
fn a_listener_has_its_own_numbers_and_hears_only_what_it_accepted() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    world.apply(tap(
        A,
        ear,
        &[kind(0, 96, Via::Relay), kind(101, 97, Via::Relay)],
    ));
    for (n, pt) in [0, 0, 8, 101, 13, 0].into_iter().enumerate() {
        let packet = rtp(pt, n as u16, n as u32 * 160, 77, &[0x55; 160]);
        assert!(world.rtp(A, &packet).is_ok());
        world.wait(20);
    }
    let heard = copies(&world, ear);
    let heard: Vec<_> = heard
        .iter()
        .map(|copy| (copy.pt(), copy.seq(), copy.timestamp(), copy.marker()))
        .collect();
    let expected = [
        (96, 0, 0, false),
        (96, 1, 160, false),
        (97, 2, 480, true),
        (96, 3, 800, true),
    ];
    assert_eq!(heard, expected);
}

#[test]
fn gates_of_the_speaker_hold_for_its_listeners_and_those_of_others_do_not() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let hold = |stream, sends, receives| Change::Direction {
        stream,
        sends,
        receives,
    };
    let packet = |n: u16| rtp(0, n, u32::from(n) * 160, 77, &[0x12; 160]);
    let changes = [
        (Change::Block(A, true), None),
        (Change::Block(A, false), Some(0x12)),
        (Change::Silence(A, true), Some(0xff)),
        (Change::Silence(A, false), Some(0x12)),
        (hold(A, false, true), None),
        (hold(A, true, true), Some(0x12)),
        // The other party does not want to hear it, is not there, or hears somebody else.
        (hold(B, true, false), Some(0x12)),
        (hold(B, true, true), Some(0x12)),
        (link(A, None), Some(0x12)),
        // The listener itself does not want to hear.
        (hold(ear, true, false), None),
        (hold(ear, true, true), Some(0x12)),
    ];
    let mut seqs = Vec::new();
    for (n, (change, expected)) in changes.into_iter().enumerate() {
        let name = format!("{change:?}");
        world.apply(change);
        world.heard.clear();
        let _ = world.rtp(A, &packet(n as u16));
        world.wait(20);
        let copies = copies(&world, ear);
        let payload = copies.first().map(|copy| copy.bytes[12]);
        assert_eq!(payload, expected, "{name}");
        seqs.extend(copies.iter().map(Sent::seq));
    }
    // The first packets were not sent, so that the stream begins with the first that was.
    let first = seqs[0];
    let expected: Vec<u16> = (first..).take(seqs.len()).collect();
    assert_eq!(seqs, expected, "no gaps");
}

#[test]
fn strangers_and_stragglers_are_not_copied() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    world.talk(A, 77, 500, 3);
    let stranger = addr("203.0.113.5:9000");
    for n in 503..520 {
        let packet = rtp(0, n, 0, 66, &[0; 160]);
        let _ = world.receive(A, Component::Rtp, stranger, &packet);
    }
    let _ = world.rtp(A, &rtp(0, 40_000, 0, 77, &[0; 160]));
    assert_eq!(copies(&world, ear).len(), 3);
}

#[test]
fn nobody_hears_a_listener_and_it_keeps_no_call_alive() {
    let timers = Timers {
        silence: Some(Duration::from_secs(2)),
        ..Timers::default()
    };
    let (mut world, ear) = tapped(Privacy::Transparent);
    world.apply(Change::Timers(timers));
    world.talk(A, 77, 1, 5);
    world.heard.clear();
    let said = world.talk(ear, 99, 1, 50);
    assert!(said.iter().all(|said| *said == Err(DropReason::NoSink)));
    world.apply(Change::Untap(ear));
    world.talk(ear, 99, 51, 50);
    assert!(world.heard.is_empty());
    let ended = |output: &Output| matches!(output, Output::Ended(EndReason::Silence));
    assert!(world.outputs.iter().any(ended), "{:?}", world.outputs);
}

#[test]
fn rtcp_towards_a_listener_is_ours_and_that_of_others_is_not_its_business() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    world.talk(A, 77, 1, 400);
    world
        .rtcp(A, &rtcp(0, 200, &[77, 1, 2, 3, 4, 5]))
        .expect("relayed");
    let to_ear = |sent: &Sent| sent.port == port(ear, Component::Rtcp);
    let sent = world.transmitted();
    assert!(
        !sent
            .iter()
            .any(|sent| sent.port == port(B, Component::Rtcp))
    );
    let reports: Vec<&Sent> = sent.iter().filter(|sent| to_ear(sent)).collect();
    assert!((1..=3).contains(&reports.len()), "{}", reports.len());
    for report in reports {
        assert_eq!((report.bytes[1], be32(&report.bytes, 4)), (200, 77));
    }
    let refused = world.rtcp(ear, &rtcp(1, 201, &[5, 77, 0, 1, 0, 0, 0]));
    assert_eq!(refused, Err(DropReason::NoSink));
}

#[test]
fn a_listener_that_turns_to_another_party_hears_one_stream() {
    for privacy in [Privacy::Transparent, Privacy::Masked] {
        let (mut world, ear) = tapped(privacy);
        world.talk(A, 77, 500, 10);
        world.apply(tap(B, ear, &[PCMU]));
        world.talk(A, 77, 510, 3);
        world.talk(B, 88, 1, 10);
        let copies = copies(&world, ear);
        assert_eq!(copies.len(), 20);
        for pair in copies.windows(2) {
            assert_eq!(pair[1].seq(), pair[0].seq().wrapping_add(1));
            assert_eq!(pair[1].ssrc(), pair[0].ssrc());
        }
        let switch = copies[10].timestamp().wrapping_sub(copies[9].timestamp());
        assert_eq!((switch, copies[10].marker()), (160 * 4, true));
    }
}

#[test]
fn a_stream_has_eight_listeners_and_not_nine() {
    let mut world = World::two_party(Privacy::Transparent);
    let ears: Vec<StreamIx> = (0..=TAPS_MAX)
        .map(|_| listener(&mut world, Privacy::Transparent))
        .collect();
    for ear in &ears[..TAPS_MAX] {
        world.apply(tap(A, *ear, &[PCMU]));
    }
    let one_more = || tap(A, ears[TAPS_MAX], &[PCMU]);
    let refused = world.call.apply(world.now, one_more());
    assert_eq!(refused, Err(ChangeError::TooManyTaps(A)));
    world.apply(tap(A, ears[0], &[PCMU])); // the same again is none more
    world.talk(A, 77, 1, 2);
    let heard = |world: &World, ear: StreamIx| copies(world, ear).len();
    assert!(ears[..TAPS_MAX].iter().all(|ear| heard(&world, *ear) == 2));
    world.apply(Change::Close(ears[0]));
    world.apply(one_more());
    world.talk(A, 77, 3, 2);
    assert_eq!(
        (heard(&world, ears[0]), heard(&world, ears[TAPS_MAX])),
        (2, 2)
    );
}

#[test]
fn what_cannot_listen_is_refused() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let fax = world.add(9, Payload::Opaque, Privacy::Transparent);
    let other = listener(&mut world, Privacy::Transparent);
    let speaker = listener(&mut world, Privacy::Transparent);
    world.apply(link(speaker, Some(A)));
    let heard = listener(&mut world, Privacy::Transparent);
    world.apply(link(B, Some(heard)));
    let mut refuses = |change: Change, error| {
        assert_eq!(world.call.apply(world.now, change), Err(error));
    };
    for (from, to) in [
        (A, A),
        (A, B),
        (A, fax),
        (fax, other),
        (ear, other),
        (A, speaker),
    ] {
        refuses(tap(from, to, &[PCMU]), ChangeError::Tap(to, from));
    }
    refuses(tap(A, heard, &[PCMU]), ChangeError::Tap(heard, A));
    refuses(Change::Untap(A), ChangeError::Tap(A, A));
    refuses(link(ear, Some(A)), ChangeError::Listens(ear));
    refuses(link(B, Some(ear)), ChangeError::Listens(ear));
    let nobody = StreamIx(40);
    refuses(tap(A, nobody, &[PCMU]), ChangeError::UnknownStream(nobody));
    refuses(
        tap(nobody, other, &[PCMU]),
        ChangeError::UnknownStream(nobody),
    );
    let many = vec![PCMU; PAYLOAD_TYPES_MAX + 1];
    refuses(tap(A, other, &many), ChangeError::TooManyPayloadTypes);
    let bridge = BridgeConfig {
        members: vec![Member {
            stream: ear,
            talks: true,
            listens: true,
            gain: crosspoint::audio::mix::Gain::UNITY,
        }],
        ..BridgeConfig::default()
    };
    world.apply(Change::Voice(
        ear,
        voice(&[(0, CodecKind::Pcmu)], (0, CodecKind::Pcmu)),
    ));
    let refused = world
        .call
        .apply(world.now, Change::Bridge(BridgeIx(0), Box::new(bridge)));
    assert_eq!(refused, Err(ChangeError::Listens(ear)));
}

#[test]
fn who_is_gone_is_not_listened_to_and_does_not_listen() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    world.talk(A, 77, 1, 2);
    world.apply(Change::Close(A));
    assert_eq!(world.stream(ear).hears, None);
    world.apply(tap(B, ear, &[PCMU]));
    world.talk(B, 88, 1, 2);
    world.apply(Change::Close(ear));
    world.talk(B, 88, 3, 2);
    assert_eq!(copies(&world, ear).len(), 4);
}

#[test]
fn another_codec_is_made_for_a_listener_out_of_its_own_ear() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let l16 = CodecKind::L16 {
        rate_hz: 16_000,
        channels: 1,
    };
    world.apply(Change::Voice(
        ear,
        voice(&[(0, CodecKind::Pcmu)], (96, l16)),
    ));
    let types = [kind(0, 96, Via::Decode), kind(101, 97, Via::Relay)];
    world.apply(tap(A, ear, &types));
    let mut loud = [0; 160];
    crosspoint::audio::g711::encode_ulaw(&[8_000; 160], &mut loud);
    for n in 0..100 {
        let packet = rtp(0, n, u32::from(n) * 160, 77, &loud);
        world
            .rtp(A, &packet)
            .expect("relayed to whom it talks with");
        world.wait(20);
    }
    let heard = copies(&world, ear);
    assert!((95..=101).contains(&heard.len()), "{} frames", heard.len());
    for pair in heard.windows(2) {
        assert_eq!(pair[1].seq(), pair[0].seq().wrapping_add(1));
        assert_eq!(pair[1].timestamp(), pair[0].timestamp().wrapping_add(320));
    }
    let last = &heard[90].bytes;
    assert_eq!((last.len(), last[1] & 0x7f), (12 + 640, 96));
    let sample = i16::from_be_bytes([last[300], last[301]]);
    assert!((7_000..9_000).contains(&sample), "{sample}");
    assert!(world.stream(A).playout.is_none(), "its own ear is not used");
    // Relayed again, on the same stream.
    world.apply(tap(A, ear, &[kind(0, 0, Via::Relay)]));
    world.talk(A, 77, 100, 60);
    let heard = copies(&world, ear);
    let relayed = heard.iter().filter(|sent| sent.pt() == 0).count();
    assert!(relayed > 30, "{relayed}");
    assert!(
        heard
            .windows(2)
            .all(|pair| pair[1].seq() == pair[0].seq().wrapping_add(1))
    );
    assert!(heard.iter().all(|sent| sent.ssrc() == heard[0].ssrc()));
}

#[test]
fn companding_is_for_the_copy_alone() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let alaw = kind(0, 8, Via::Companding(Companding::UlawToAlaw));
    world.apply(tap(A, ear, &[alaw]));
    let relayed = world
        .rtp(A, &rtp(0, 1, 1, 77, &[0xff; 4]))
        .expect("relayed");
    assert_eq!(&relayed.bytes[12..], [0xff; 4]);
    let copy = copies(&world, ear).remove(0);
    assert_eq!((copy.pt(), &copy.bytes[12..]), (8, &[0xd5; 4][..]));
}

#[test]
fn copies_that_nobody_fetches_are_bounded_and_counted() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let len = 1_024;
    let fit = WAITING_BYTES_MAX / len;
    for n in 0..=fit {
        let mut packet = rtp(0, n as u16, n as u32 * 160, 77, &vec![0; len - 12]);
        let verdict = world
            .call
            .handle_packet(world.now, A, Component::Rtp, home(A), &mut packet);
        assert!(matches!(verdict, Verdict::Forward { .. }));
    }
    let out = world.stream(ear).rtp_out;
    assert_eq!((out.packets, out.errors), (fit as u64, 1));
    world.drain();
    world.talk(A, 77, fit as u16 + 1, 1);
    let copies = copies(&world, ear);
    assert_eq!(copies.len(), fit + 1);
    let last = &copies[fit - 1..];
    assert_eq!(
        last[1].seq(),
        last[0].seq() + 2,
        "the listener sees the loss"
    );
}

#[test]
fn a_copy_goes_to_the_listener_where_it_is_and_to_no_candidate() {
    let mut world = World::two_party(Privacy::Transparent);
    let ear = world.add(2, Payload::Rtp, Privacy::Transparent);
    world.apply(tap(A, ear, &[PCMU]));
    world.talk(A, 77, 1, 2);
    assert!(copies(&world, ear).is_empty(), "nobody said where it is");
    let hold = Remote {
        rtp: None,
        ..remote(ear)
    };
    world.apply(Change::Remote(ear, hold));
    world.talk(A, 77, 3, 2);
    assert!(copies(&world, ear).is_empty());
    world.apply(Change::Remote(ear, remote(ear)));
    let stranger = addr("203.0.113.9:5");
    for n in 0..20 {
        let _ = world.receive(ear, Component::Rtp, stranger, &rtp(0, n, 0, 5, &[0; 160]));
    }
    world.talk(A, 77, 5, 2);
    let sent = copies(&world, ear);
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|sent| sent.to == home(ear)));
}

/// A press of A in six packets at 8 kHz, the last three its end, between speech.
fn press(world: &mut World) {
    for n in 0..40_u16 {
        let clock = u32::from(n) * 160;
        let packet = match n {
            10..16 => {
                let end = u8::from(n >= 13) << 7;
                let [high, low] = (160 * (n - 9).min(4)).to_be_bytes();
                rtp(101, n, 1_600, 77, &[5, end | 10, high, low])
            }
            _ => rtp(0, n, clock, 77, &[0xff; 160]),
        };
        let _taken_or_not = world.rtp(A, &packet);
        world.wait(20);
    }
}

#[test]
fn a_listener_hears_events_in_its_own_clock() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    let to_hz = 48_000;
    world.apply(tap(
        A,
        ear,
        &[
            kind(0, 0, Via::Relay),
            kind(101, 97, Via::Rescaled { to_hz }),
        ],
    ));
    press(&mut world);
    let heard = copies(&world, ear);
    assert!(heard.windows(2).all(|two| two[1].seq() == two[0].seq() + 1));
    let events: Vec<_> = heard.iter().filter(|copy| copy.pt() == 97).collect();
    let ticks = events
        .iter()
        .map(|copy| u16::from_be_bytes([copy.bytes[14], copy.bytes[15]]));
    let expected = [960, 1_920, 2_880, 3_840, 3_840, 3_840];
    assert_eq!(ticks.collect::<Vec<u16>>(), expected);
    assert!(events.iter().all(|copy| copy.timestamp() == 1_600));
}

#[test]
fn a_listener_without_events_hears_tones() {
    let (mut world, ear) = tapped(Privacy::Transparent);
    world.apply(Change::Voice(
        ear,
        voice(&[(0, CodecKind::Pcmu)], (0, CodecKind::Pcmu)),
    ));
    world.apply(tap(
        A,
        ear,
        &[kind(0, 0, Via::Relay), kind(101, 0, Via::Tones)],
    ));
    let refused = SendDigits {
        id: DialId(0),
        to: ear,
        steps: DialStep::parse("1", std::time::Duration::from_millis(100)).unwrap(),
        pause: std::time::Duration::from_millis(100),
        volume: 8,
    };
    let refused = Change::SendDigits(Box::new(refused));
    let error = world.call.apply(world.now, refused);
    assert_eq!(error, Err(ChangeError::Undialable(ear)));
    press(&mut world);
    world.wait(400);
    let heard = copies(&world, ear);
    assert!(heard.windows(2).all(|two| two[1].seq() == two[0].seq() + 1));
    assert!(heard.iter().all(|copy| copy.pt() == 0));
    let mut detector = crosspoint::audio::dtmf::Detector::new(8_000).unwrap();
    let mut keys = String::new();
    for copy in &heard {
        let octets = copy.bytes[12..].iter();
        let pcm: Vec<i16> = octets
            .map(|octet| crosspoint::audio::g711::ulaw_to_linear(*octet))
            .collect();
        detector.feed(&pcm, &mut |tone| {
            if let crosspoint::audio::dtmf::Heard::Began(tone) = tone {
                keys.push(tone.digit.as_char());
            }
        });
    }
    assert_eq!(keys, "5");
    // Who stops listening in the middle of a key is sent nothing more of it.
    world.apply(Change::Untap(ear));
    world.heard.clear();
    world.wait(500);
    assert!(copies(&world, ear).is_empty());
}
