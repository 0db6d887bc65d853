//! Whole calls in virtual time: relay, hold, fork, RTCP, statistics and timers.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::time::Duration;

use crosspoint::engine::*;
use crosspoint::wire::rtcp::{Compound, PacketType};
use engine_support::*;

fn pcmu() -> PayloadType {
    PayloadType {
        pt: 0,
        out: 0,
        clock_hz: 8_000,
        silence: Some(0xff),
        event: false,
        via: Via::Relay,
    }
}

fn event(pt: u8, out: u8) -> PayloadType {
    PayloadType {
        pt,
        out,
        clock_hz: 8_000,
        silence: None,
        event: true,
        via: Via::Relay,
    }
}

#[test]
fn two_parties_hear_each_other_unchanged() {
    let mut world = World::two_party(Privacy::Transparent);
    for n in 0..500u16 {
        let payload = [n as u8; 160];
        let packet = rtp(
            0,
            n.wrapping_add(65_300),
            u32::from(n) * 160,
            0xaaaa,
            &payload,
        );
        let sent = world.rtp(A, &packet).unwrap();
        assert_eq!(sent.bytes, packet, "packet {n}");
        assert_eq!((sent.port, sent.to), (port(B, Component::Rtp), home(B)));
        assert!(
            world
                .rtp(B, &rtp(8, n, u32::from(n) * 160, 0xbbbb, &payload))
                .is_ok()
        );
        world.wait(20);
    }
    let report = world.stream(A);
    assert_eq!((report.rtp_in.packets, report.rtp_out.packets), (500, 500));
    assert_eq!(report.rtp_in.bytes, 500 * 172);
    assert_eq!(
        (report.latched, report.latched_by_sdp),
        (Some(home(A)), true)
    );
    assert_eq!(
        (report.pt, report.ssrc_changes, report.pt_changes),
        (Some(0), 0, 0)
    );
    assert_eq!((report.sources.len(), report.sources[0].lost), (1, 0));
    let kinds = world.events();
    assert_eq!(kinds.len(), 4, "latched and first packet, twice: {kinds:?}");
}

#[test]
fn statistics_agree_with_what_the_network_did() {
    for seed in 0..20 {
        let mut world = World::two_party(Privacy::Transparent);
        let mut network = Network::new(seed, 5, 3, 60);
        let mut arrivals: Vec<(u64, u16)> = (0..1_000u16)
            .flat_map(|n| {
                network
                    .arrivals(u64::from(n) * 20)
                    .into_iter()
                    .map(move |at| (at, n))
            })
            .collect();
        arrivals.sort();
        let mut at = 0;
        for &(ms, n) in &arrivals {
            world.wait(ms - at);
            at = ms;
            world
                .rtp(A, &rtp(0, n, u32::from(n) * 160, 1, &[0; 160]))
                .unwrap();
        }
        let mut seen: Vec<u16> = arrivals.iter().map(|&(_, n)| n).collect();
        seen.sort_unstable();
        let (first, last) = (seen[0], seen[seen.len() - 1]);
        seen.dedup();
        let source = world.stream(A).sources[0];
        assert_eq!(source.packets, arrivals.len() as u64, "seed {seed}");
        assert_eq!(
            source.duplicate,
            (arrivals.len() - seen.len()) as u64,
            "seed {seed}"
        );
        let lost = u64::from(last - first) + 1 - seen.len() as u64;
        assert_eq!(source.lost, lost, "seed {seed}");
        assert!(
            source.jitter_ms > 5.0 && source.jitter_ms < 60.0,
            "seed {seed}: {source:?}"
        );
        assert_eq!(source.late, 0, "seed {seed}: jitter stays under 100 ms");
    }
}

#[test]
fn hold_and_unhold_leave_no_gap() {
    let mut world = World::two_party(Privacy::Transparent);
    let before = world.talk(A, 1, 100, 10);
    assert!(before.iter().all(Result::is_ok));
    world.apply(Change::Direction {
        stream: B,
        sends: false,
        receives: false,
    });
    assert!(
        world
            .talk(A, 1, 110, 50)
            .iter()
            .all(|out| *out == Err(DropReason::Held))
    );
    assert_eq!(
        world.rtp(B, &rtp(0, 1, 1, 2, &[0; 20])),
        Err(DropReason::Held)
    );
    world.apply(Change::Direction {
        stream: B,
        sends: true,
        receives: true,
    });
    let after: Vec<_> = world
        .talk(A, 1, 160, 3)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        after.iter().map(Sent::seq).collect::<Vec<_>>(),
        [110, 111, 112]
    );
    assert_eq!(
        after[0].timestamp(),
        160 * 160,
        "the clock went on meanwhile"
    );
    assert!(after[0].marker() && !after[1].marker());
}

#[test]
fn hold_by_zero_address_sends_nothing_and_keeps_the_latch() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 2);
    world.talk(B, 2, 0, 2);
    world.apply(Change::Remote(
        B,
        Remote {
            rtp: None,
            rtcp: None,
            ..remote(B)
        },
    ));
    assert_eq!(world.talk(A, 1, 2, 1), [Err(DropReason::NoTarget)]);
    assert!(
        world.talk(B, 2, 2, 1)[0].is_ok(),
        "its music on hold still passes"
    );
    world.apply(Change::Remote(B, remote(B)));
    assert_eq!(world.talk(A, 1, 3, 1)[0].as_ref().map(Sent::seq), Ok(2));
}

#[test]
fn ssrc_restart_goes_on_in_one_stream() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 100, 10);
    let out: Vec<_> = world
        .talk(A, 2, 40_000, 10)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(out.iter().all(|sent| sent.ssrc() == 1));
    assert_eq!((out[0].seq(), out[0].timestamp()), (110, 110 * 160));
    assert!(out[0].marker());
    assert_eq!(world.stream(A).ssrc_changes, 1);
    // The same SSRC starts new numbers: one packet is not believed, the next goes on.
    let out = world.talk(A, 2, 9, 3);
    assert_eq!(out[0], Err(DropReason::NotHeard));
    assert_eq!(out[1].as_ref().map(Sent::seq), Ok(120));
    assert_eq!(out[2].as_ref().map(Sent::seq), Ok(121));
}

#[test]
fn a_fork_lets_one_branch_speak_at_a_time() {
    let mut world = World::two_party(Privacy::Transparent);
    let c = world.add(2, Payload::Rtp, Privacy::Transparent);
    world.apply(Change::Remote(c, remote(c)));
    world.apply(Change::Link {
        from: c,
        to: Some(A),
    });
    assert!(world.talk(B, 2, 0, 5).iter().all(Result::is_ok));
    assert!(
        world
            .talk(c, 3, 700, 5)
            .iter()
            .all(|out| *out == Err(DropReason::NotHeard))
    );
    world.wait(1_000);
    let out = world.talk(c, 3, 705, 2);
    assert_eq!(
        out[0].as_ref().map(|sent| (sent.seq(), sent.ssrc())),
        Ok((5, 2))
    );
    world.apply(Change::Source {
        listener: A,
        source: Some(B),
    });
    assert_eq!(world.talk(c, 3, 707, 1), [Err(DropReason::NotHeard)]);
    assert_eq!(world.talk(B, 2, 5, 1)[0].as_ref().map(Sent::seq), Ok(7));
    world.apply(Change::Close(c));
    assert_eq!(world.talk(c, 3, 708, 1), [Err(DropReason::Closed)]);
    let switches = [EventKind::SourceChanged(c), EventKind::SourceChanged(B)];
    let seen = world
        .events()
        .into_iter()
        .filter(|kind| switches.contains(kind))
        .count();
    assert_eq!(seen, 2);
}

#[test]
fn payload_types_are_translated_or_refused() {
    let mut world = World::two_party(Privacy::Transparent);
    world.apply(Change::PayloadTypes(
        A,
        [pcmu(), event(101, 96)].into_iter().collect(),
    ));
    let pt = |world: &mut World, pt: u8, seq: u16| {
        world
            .rtp(A, &rtp(pt, seq, 0, 1, &[1, 2, 3, 4]))
            .map(|sent| sent.pt())
    };
    assert_eq!(pt(&mut world, 0, 0), Ok(0));
    assert_eq!(pt(&mut world, 101, 1), Ok(96));
    assert_eq!(pt(&mut world, 13, 2), Ok(13), "static and not in the way");
    assert_eq!(pt(&mut world, 97, 3), Err(DropReason::UnknownPayloadType));
    let out = world.rtp(A, &rtp(0, 4, 0, 1, &[0; 4])).unwrap();
    assert_eq!(out.seq(), 3, "what was refused leaves no gap");
    assert_eq!(
        world.stream(A).pt_changes,
        0,
        "events and comfort noise are no change"
    );
    assert_eq!(world.stream(A).rtp_in.errors, 1);
    let mut taken = pcmu();
    (taken.pt, taken.out) = (96, 8);
    world.apply(Change::PayloadTypes(A, [taken].into_iter().collect()));
    assert_eq!(
        pt(&mut world, 8, 5),
        Err(DropReason::UnknownPayloadType),
        "8 means 96 there"
    );
}

#[test]
fn silence_and_block_keep_the_stream_whole() {
    let mut world = World::two_party(Privacy::Transparent);
    world.apply(Change::PayloadTypes(
        A,
        [pcmu(), event(101, 101)].into_iter().collect(),
    ));
    world.apply(Change::Silence(A, true));
    let out = world.rtp(A, &rtp(0, 0, 0, 1, &[1; 160])).unwrap();
    assert_eq!(out.bytes[12..], [0xff; 160]);
    let dtmf = rtp(101, 1, 160, 1, &[5, 0x8a, 0, 160]);
    assert_eq!(world.rtp(A, &dtmf), Err(DropReason::Blocked));
    let unknown = rtp(8, 2, 320, 1, &[1; 160]);
    assert_eq!(
        world.rtp(A, &unknown),
        Err(DropReason::Blocked),
        "no silence known"
    );
    world.apply(Change::Silence(A, false));
    world.apply(Change::Block(A, true));
    assert_eq!(
        world.rtp(A, &rtp(0, 3, 480, 1, &[1; 160])),
        Err(DropReason::Blocked)
    );
    world.apply(Change::Block(A, false));
    let out = world.rtp(A, &rtp(0, 4, 640, 1, &[1; 160])).unwrap();
    assert_eq!((out.seq(), out.timestamp(), out.bytes[12]), (1, 640, 1));
}

#[test]
fn rtcp_is_relayed_between_mux_and_its_own_port() {
    let mut world = World::two_party(Privacy::Transparent);
    world.apply(Change::Remote(
        B,
        Remote {
            mux: true,
            rtcp: None,
            ..remote(B)
        },
    ));
    world.talk(A, 0xa, 0, 3);
    world.talk(B, 0xb, 0, 3);
    let rr = rtcp(1, 201, &[0xa, 0xb, 0, 2, 0, 0, 0]);
    let sent = world.rtcp(A, &rr).unwrap();
    assert_eq!((sent.port, sent.to), (port(B, Component::Rtp), home(B)));
    assert_eq!(sent.bytes, rr, "identity is untouched");
    let sent = world.rtp(B, &rtcp(0, 201, &[0xb])).unwrap();
    assert_eq!(
        (sent.port, sent.to),
        (port(A, Component::Rtcp), rtcp_home(A))
    );
    assert_eq!(world.stream(B).rtcp_in.packets, 1);
    assert_eq!(world.stream(B).rtcp_out.packets, 1);
}

#[test]
fn relayed_reports_follow_the_renumbering() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 100, 10);
    world.talk(A, 2, 40_000, 10);
    let sr = rtcp(0, 200, &[2, 7, 8, 40_010 * 160, 20, 3_200]);
    let sent = world.rtcp(A, &sr).unwrap();
    assert_eq!(be32(&sent.bytes, 4), 1, "the SSRC that B knows");
    assert_eq!(
        be32(&sent.bytes, 16),
        120 * 160,
        "on the clock that B knows"
    );
    world.talk(B, 3, 0, 1);
    let rr = rtcp(1, 201, &[3, 1, 0, 119, 0, 0, 0]);
    let sent = world.rtcp(B, &rr).unwrap();
    assert_eq!((be32(&sent.bytes, 8), be32(&sent.bytes, 16)), (2, 40_009));
}

#[test]
fn round_trip_time_of_relayed_reports_is_that_of_the_listener() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 1);
    world.talk(B, 2, 0, 1);
    world
        .rtcp(A, &rtcp(0, 200, &[1, 0x1234_5678, 0x9abc_def0, 0, 1, 160]))
        .unwrap();
    world.wait(530);
    // B held the report for half a second.
    world
        .rtcp(B, &rtcp(1, 201, &[2, 1, 0, 0, 0, 0x5678_9abc, 0x8000]))
        .unwrap();
    assert_eq!(world.stream(B).rtt, Some(Duration::from_millis(30)));
    assert_eq!(world.stream(A).rtt, None);
    world
        .rtcp(B, &rtcp(1, 201, &[2, 1, 0, 0, 0, 0x5678_9abc, u32::MAX]))
        .unwrap();
    assert_eq!(
        world.stream(B).rtt,
        Some(Duration::from_millis(30)),
        "impossible delays are not"
    );
}

#[test]
fn masked_legs_get_our_own_reports() {
    let mut world = World::two_party(Privacy::Masked);
    for n in 0..1_000u16 {
        world
            .rtp(A, &rtp(0, n, u32::from(n) * 160, 1, &[0; 160]))
            .unwrap();
        world.wait(20);
        if n == 500 {
            let sr = rtcp(0, 200, &[1, 5, 6, 0, 1, 160]);
            assert_eq!(world.rtcp(A, &sr), Err(DropReason::RtcpTerminated));
        }
    }
    let sent = world.transmitted();
    let to_b: Vec<_> = sent.iter().filter(|sent| sent.to == rtcp_home(B)).collect();
    let to_a: Vec<_> = sent.iter().filter(|sent| sent.to == rtcp_home(A)).collect();
    assert!(
        (2..=8).contains(&to_b.len()) && (2..=8).contains(&to_a.len()),
        "every 2.5 to 7.5 s"
    );
    let mut bytes = to_b.last().unwrap().bytes.clone();
    let compound = Compound::parse(&mut bytes).unwrap();
    let sr = compound.packets().next().unwrap();
    assert_eq!(sr.kind(), PacketType::SenderReport);
    assert_eq!(sr.ssrc(), world.stream(B).ssrc_out);
    assert_eq!(sr.report_blocks().count(), 0, "B never spoke");
    let mut bytes = to_a.last().unwrap().bytes.clone();
    let compound = Compound::parse(&mut bytes).unwrap();
    let block = compound
        .packets()
        .next()
        .unwrap()
        .report_blocks()
        .next()
        .unwrap();
    assert_eq!((block.ssrc, block.fraction_lost), (1, 0));
    assert_ne!(
        block.last_sr, 0,
        "A's sender report was heard although it ended here"
    );
    let own = to_b.last().unwrap();
    let middle = be32(&own.bytes, 8) << 16 | be32(&own.bytes, 12) >> 16;
    let ssrc = world.stream(B).ssrc_out.unwrap();
    let rr = rtcp(1, 201, &[9, ssrc, 0, 0, 0, middle, 0]);
    assert_eq!(world.rtcp(B, &rr), Err(DropReason::RtcpTerminated));
    assert!(world.stream(B).rtt.is_some());
}

#[test]
fn opaque_streams_pass_untouched_and_only_from_their_source() {
    let mut world = World::new(Timers::default());
    for ix in [A, B] {
        world.add(ix.0, Payload::Opaque, Privacy::Transparent);
        world.apply(Change::Remote(ix, remote(ix)));
    }
    world.apply(Change::Link {
        from: A,
        to: Some(B),
    });
    let udptl = [0, 1, 2, 3, 4];
    assert_eq!(world.rtp(A, &udptl).unwrap().bytes, udptl);
    let stranger = addr("203.0.113.1:9");
    let refused = world.receive(A, Component::Rtp, stranger, &udptl);
    assert_eq!(refused, Err(DropReason::LatchRejected));
}

#[test]
fn timers_end_a_call_once() {
    let seconds = |n| Some(Duration::from_secs(n));
    let ends = |timers: Timers, talk_ms: u64| {
        let mut world = World::two_party(Privacy::Transparent);
        world.apply(Change::Timers(timers));
        for n in 0..talk_ms / 20 {
            let _ = world.rtp(A, &rtp(0, n as u16, 0, 1, &[0; 20]));
            world.wait(20);
        }
        world.wait(60_000);
        let ended = |output: &Output| match output {
            Output::Ended(reason) => Some(*reason),
            Output::Transmit { .. }
            | Output::Media { .. }
            | Output::Pin { .. }
            | Output::Event(_) => None,
        };
        let reasons: Vec<_> = world.outputs.iter().filter_map(ended).collect();
        if !reasons.is_empty() {
            assert_eq!(world.rtp(A, &rtp(0, 1, 0, 1, &[])), Err(DropReason::Closed));
        }
        reasons
    };
    let setup = Timers {
        setup: seconds(3),
        ..Timers::default()
    };
    assert_eq!(ends(setup, 0), [EndReason::Setup]);
    assert_eq!(ends(setup, 100), []);
    let silence = Timers {
        silence: seconds(3),
        ..Timers::default()
    };
    assert_eq!(
        ends(silence, 0),
        [],
        "silence counts from the first packet on"
    );
    assert_eq!(ends(silence, 10_000), [EndReason::Silence]);
    let limit = Timers {
        limit: seconds(5),
        ..silence
    };
    assert_eq!(ends(limit, 20_000), [EndReason::Limit]);
}

#[test]
fn a_stream_that_stops_is_reported_once_per_stop() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 10);
    world.wait(10_000);
    world.talk(A, 1, 10, 200);
    world.wait(10_000);
    let stalls = world
        .events()
        .into_iter()
        .filter(|kind| *kind == EventKind::Stalled)
        .count();
    assert_eq!(stalls, 2);
}

#[test]
fn limits_of_changes_are_refused_with_their_reason() {
    let mut world = World::two_party(Privacy::Transparent);
    let types = |n: usize| Change::PayloadTypes(A, std::iter::repeat_n(pcmu(), n).collect());
    assert_eq!(
        world.call.apply(world.now, types(PAYLOAD_TYPES_MAX)),
        Ok(())
    );
    let refused = world.call.apply(world.now, types(PAYLOAD_TYPES_MAX + 1));
    assert_eq!(refused, Err(ChangeError::TooManyPayloadTypes));
    let bad = |pt: PayloadType| Change::PayloadTypes(A, [pt].into_iter().collect());
    for pt in [
        PayloadType { pt: 128, ..pcmu() },
        PayloadType { out: 128, ..pcmu() },
        PayloadType {
            clock_hz: 0,
            ..pcmu()
        },
        PayloadType {
            clock_hz: CLOCK_HZ_MAX + 1,
            ..pcmu()
        },
    ] {
        let refused = world.call.apply(world.now, bad(pt));
        assert_eq!(refused, Err(ChangeError::PayloadType(pt.pt)));
    }
    let fax = world.add(2, Payload::Opaque, Privacy::Transparent);
    let itself = Change::Link {
        from: fax,
        to: Some(fax),
    };
    assert_eq!(
        world.call.apply(world.now, itself),
        Err(ChangeError::LinkToSelf(fax))
    );
    let nobody = Change::Block(StreamIx(9), true);
    assert_eq!(
        world.call.apply(world.now, nobody),
        Err(ChangeError::UnknownStream(StreamIx(9)))
    );
    let config = StreamConfig {
        leg: LegIx(0),
        media: 0,
        payload: Payload::Rtp,
        privacy: Privacy::Masked,
        own_rtcp: false,
    };
    for _ in 3..STREAMS_MAX {
        assert_eq!(
            world
                .call
                .apply(world.now, Change::AddStream(config.clone())),
            Ok(())
        );
    }
    let refused = world.call.apply(world.now, Change::AddStream(config));
    assert_eq!(refused, Err(ChangeError::TooManyStreams));
}
