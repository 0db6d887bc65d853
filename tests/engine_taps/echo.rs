//! A party that hears itself.

use super::*;

/// A hears itself, B hears nobody.
fn echo(privacy: Privacy) -> World {
    let mut world = World::two_party(privacy);
    world.apply(link(A, Some(A)));
    world.apply(link(B, None));
    world
}

fn echoed(outcomes: Vec<Result<Sent, DropReason>>) -> Vec<Sent> {
    outcomes.into_iter().map(|sent| sent.unwrap()).collect()
}

#[test]
fn what_a_party_says_comes_back_as_another_source() {
    for privacy in [Privacy::Transparent, Privacy::Masked] {
        let mut world = echo(privacy);
        let sent = echoed(world.talk(A, 77, 500, 100));
        assert!(sent.iter().all(|sent| sent.to == home(A)));
        assert!(sent.iter().all(|sent| sent.ssrc() != 77));
        for pair in sent.windows(2) {
            assert_eq!(pair[1].ssrc(), pair[0].ssrc());
            assert_eq!(pair[1].seq(), pair[0].seq().wrapping_add(1));
            assert_eq!(pair[1].timestamp(), pair[0].timestamp().wrapping_add(160));
        }
        let b = world.talk(B, 88, 1, 5);
        assert!(b.iter().all(|b| *b == Err(DropReason::NoSink)));
    }
}

#[test]
fn an_echo_goes_on_where_the_other_party_stopped_and_back() {
    let mut world = World::two_party(Privacy::Transparent);
    let mut heard = echoed(world.talk(B, 88, 1, 10));
    world.apply(link(A, Some(A)));
    world.apply(link(B, None));
    heard.extend(echoed(world.talk(A, 77, 900, 10)));
    world.apply(link(A, Some(B)));
    world.apply(link(B, Some(A)));
    heard.extend(echoed(world.talk(B, 88, 11, 10)));
    assert_eq!(heard.len(), 30);
    for pair in heard.windows(2) {
        assert_eq!(pair[1].seq(), pair[0].seq().wrapping_add(1));
        assert_eq!(pair[1].ssrc(), 88);
        let step = pair[1].timestamp().wrapping_sub(pair[0].timestamp());
        assert_eq!(step, 160, "the clock goes on");
    }
    let source = |kind: &EventKind| match kind {
        EventKind::SourceChanged(source) => Some(*source),
        _ => None,
    };
    let sources: Vec<StreamIx> = world.events().iter().filter_map(source).collect();
    assert_eq!(sources, [A, B]);
}

#[test]
fn two_echoes_do_not_feed_each_other() {
    let mut world = echo(Privacy::Transparent);
    let sent = echoed(world.talk(A, 77, 1, 3));
    for packet in &sent {
        let back = world.rtp(A, &packet.bytes);
        assert_eq!(back, Err(DropReason::NotHeard));
    }
    let sent = world.talk(A, 78, 1, 3);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

#[test]
fn only_the_party_itself_is_echoed_and_only_to_itself() {
    let mut world = echo(Privacy::Transparent);
    world.talk(A, 77, 1, 3);
    let stranger = addr("203.0.113.9:5");
    for n in 4..30 {
        let stranger = world.receive(A, Component::Rtp, stranger, &rtp(0, n, 0, 5, &[0; 160]));
        assert!(stranger.is_err());
    }
    let held = Change::Direction {
        stream: A,
        sends: true,
        receives: false,
    };
    world.apply(held);
    let packet = rtp(0, 4, 480, 77, &[0; 160]);
    assert_eq!(world.rtp(A, &packet), Err(DropReason::Held));
}

#[test]
fn gates_hold_for_an_echo() {
    let mut world = echo(Privacy::Transparent);
    let packet = |n: u16| rtp(0, n, u32::from(n) * 160, 77, &[0x12; 160]);
    world.apply(Change::PayloadTypes(
        A,
        [kind(0, 0, Via::Relay)].into_iter().collect(),
    ));
    let first = world.rtp(A, &packet(1)).unwrap();
    world.apply(Change::Block(A, true));
    assert_eq!(world.rtp(A, &packet(2)), Err(DropReason::Blocked));
    world.apply(Change::Block(A, false));
    world.apply(Change::Silence(A, true));
    let silent = world.rtp(A, &packet(3)).unwrap();
    assert_eq!(&silent.bytes[12..], [0xff; 160]);
    assert_eq!(silent.seq(), first.seq().wrapping_add(1), "no gap");
}

#[test]
fn rtcp_of_an_echo_is_ours_and_ends_here() {
    let mut world = echo(Privacy::Transparent);
    let sent = echoed(world.talk(A, 77, 1, 400));
    let own = rtcp(0, 200, &[77, 1, 2, 3, 4, 5]);
    assert_eq!(world.rtcp(A, &own), Err(DropReason::RtcpTerminated));
    let reports: Vec<Sent> = world
        .transmitted()
        .into_iter()
        .filter(|sent| sent.port == port(A, Component::Rtcp))
        .collect();
    assert!(!reports.is_empty());
    for report in &reports {
        assert_eq!(be32(&report.bytes, 4), sent[0].ssrc());
    }
    world.apply(link(A, Some(B)));
    world.talk(A, 77, 401, 600);
    assert!(world.transmitted().is_empty(), "relayed as before");
}

#[test]
fn a_prompt_over_an_echo_is_one_stream_with_it() {
    let mut world = echo(Privacy::Transparent);
    let pcmu = CodecKind::Pcmu;
    world.apply(Change::Voice(A, voice(&[(0, pcmu)], (0, pcmu))));
    let mut n = 0;
    let mut say = |world: &mut World, count: u16| {
        for _ in 0..count {
            n += 1;
            world.hear(A, &rtp(0, n, u32::from(n) * 160, 77, &[0x12; 160]));
            world.wait(20);
        }
    };
    say(&mut world, 10);
    let tone = crosspoint::audio::tone::TonePlan::parse("ringback").unwrap();
    world.apply(Change::Play(Box::new(Play {
        times: None,
        ..Play::new(PlayId(1), A, [Sound::Tone(tone)])
    })));
    say(&mut world, 20);
    world.apply(Change::StopPlay {
        listener: A.into(),
        id: None,
    });
    say(&mut world, 40);
    let heard = world.received(A);
    assert!(heard.len() > 60, "{}", heard.len());
    for pair in heard.windows(2) {
        assert_eq!(pair[1].1.seq(), pair[0].1.seq().wrapping_add(1));
        assert_eq!(pair[1].1.ssrc(), pair[0].1.ssrc());
    }
    assert_eq!(&heard.last().unwrap().1.bytes[12..], [0x12; 160]);
}
