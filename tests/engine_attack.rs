//! Hostile packets: before, during and after latching; spoofed, broken and oversized ones.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::net::SocketAddr;

use crosspoint::engine::*;
use engine_support::*;

/// A stream of well-formed packets from elsewhere, as a sprayer sends it.
fn spray(world: &mut World, ix: StreamIx, from: SocketAddr, packets: u16) -> Vec<Sent> {
    let mut injected = Vec::new();
    for n in 0..packets {
        let packet = rtp(0, n, u32::from(n) * 160, 0x0bad_0bad, &[0x66; 160]);
        injected.extend(world.receive(ix, Component::Rtp, from, &packet));
        world.wait(20);
    }
    injected
}

#[test]
fn with_an_honest_sdp_nothing_is_injected_and_nothing_bleeds() {
    let attacker = addr("203.0.113.66:4000");
    let mut world = World::two_party(Privacy::Transparent);
    assert!(spray(&mut world, A, attacker, 100).is_empty(), "before");
    for n in 0..100 {
        for sent in world.talk(B, 2, n, 1) {
            assert_eq!(sent.unwrap().to, home(A), "bled before A spoke");
        }
        assert!(spray(&mut world, A, attacker, 1).is_empty(), "during");
        world.talk(A, 1, n, 1)[0].as_ref().unwrap();
    }
    assert!(spray(&mut world, A, attacker, 100).is_empty(), "after");
    let report = world.stream(A);
    assert_eq!(report.rejected, 300);
    assert_eq!(report.drops[DropReason::LatchRejected as usize], 300);
    assert_eq!((report.rtp_in.packets, report.sources.len()), (100, 1));
    let about = |kind: &EventKind| *kind == EventKind::LatchRejected(attacker);
    assert!(
        world.events().iter().filter(|kind| about(kind)).count() <= 2,
        "one per window"
    );
}

#[test]
fn same_ip_other_port_cannot_take_a_settled_stream() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 1);
    assert!(spray(&mut world, A, addr("192.0.2.10:4002"), 200).is_empty());
    assert_eq!(world.stream(A).latched, Some(home(A)));
}

#[test]
fn with_a_private_sdp_nothing_is_injected_after_the_window() {
    let (nat, attacker) = (addr("198.51.100.7:6000"), addr("203.0.113.66:4000"));
    let mut world = World::two_party(Privacy::Transparent);
    let private = Remote {
        rtp: Some(addr("10.0.0.1:4000")),
        rtcp: Some(addr("10.0.0.1:4001")),
        learn: Learn {
            anyone: true,
            ..learn()
        },
        mux: false,
    };
    world.apply(Change::Remote(A, private));
    for n in 0..20u16 {
        let packet = rtp(0, n, u32::from(n) * 160, 1, &[0; 160]);
        let out = world.receive(A, Component::Rtp, nat, &packet);
        assert_eq!(out.is_ok(), n >= 7, "packet {n}: {out:?}");
        let attack = rtp(0, n, 0, 2, &[0x66; 160]);
        assert!(world.receive(A, Component::Rtp, attacker, &attack).is_err());
        let back = world.talk(B, 2, n, 1).remove(0).unwrap();
        let target = if n >= 7 { nat } else { addr("10.0.0.1:4000") };
        assert_eq!(back.to, target, "nothing is sent to a candidate");
    }
    assert!(spray(&mut world, A, attacker, 200).is_empty());
    world.wait(5_000);
    assert!(
        spray(&mut world, A, attacker, 200).is_empty(),
        "silence opens nothing"
    );
    assert_eq!(world.stream(A).latched, Some(nat));
    let pinned = world
        .pins()
        .iter()
        .any(|(pinned, _)| *pinned == port(A, Component::Rtp));
    assert!(!pinned, "the SDP's address must be able to win");
}

#[test]
fn a_spoofed_goodbye_ends_nothing_and_moves_nothing() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 5);
    world.talk(B, 2, 0, 5);
    let bye = [rtcp(0, 201, &[1]), rtcp(1, 203, &[1])].concat();
    for component in [Component::Rtp, Component::Rtcp] {
        let out = world.receive(A, component, addr("203.0.113.66:4001"), &bye);
        assert_eq!(out, Err(DropReason::LatchRejected));
    }
    let rtcp_only = world.receive(A, Component::Rtcp, addr("192.0.2.10:5001"), &bye);
    assert!(rtcp_only.is_ok(), "the party's own address may");
    assert!(world.talk(A, 1, 5, 1)[0].is_ok());
    assert!(world.talk(B, 2, 5, 1)[0].is_ok());
    assert_eq!(world.stream(A).latched, Some(home(A)));
    assert_eq!(
        world
            .events()
            .iter()
            .filter(|kind| **kind == EventKind::Bye)
            .count(),
        1
    );
}

#[test]
fn rtcp_from_elsewhere_never_becomes_the_target() {
    let mut world = World::two_party(Privacy::Transparent);
    let rr = rtcp(0, 201, &[1]);
    for _ in 0..50 {
        let out = world.receive(A, Component::Rtcp, addr("203.0.113.66:4001"), &rr);
        assert_eq!(out, Err(DropReason::LatchRejected));
    }
    world.talk(B, 2, 0, 1);
    assert_eq!(world.rtcp(B, &rr).unwrap().to, rtcp_home(A));
}

#[test]
fn masked_legs_leak_nothing() {
    let mut world = World::two_party(Privacy::Masked);
    let (ssrc, csrc, secret) = (0x5ec2_e701u32, 0x5ec2_e702u32, b"SECRETEXTENSION!");
    let mut packet = rtp(0, 0, 0, ssrc, &[]);
    packet[0] |= 0x12;
    packet.extend(csrc.to_be_bytes());
    packet.extend(csrc.to_be_bytes());
    packet.extend([0xbe, 0xde, 0, 4]);
    packet.extend(secret);
    packet.extend([0x55; 160]);
    let mut previous: Option<Sent> = None;
    for n in 0..400u16 {
        packet[2..4].copy_from_slice(&n.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(n) * 160).to_be_bytes());
        let sent = world.rtp(A, &packet).unwrap();
        assert_eq!(sent.bytes.len(), 172);
        assert_eq!(sent.bytes[0], 0x80);
        assert_eq!(sent.bytes[12..], [0x55; 160]);
        if let Some(previous) = &previous {
            assert_eq!(sent.seq(), previous.seq().wrapping_add(1));
            assert_eq!(sent.timestamp(), previous.timestamp().wrapping_add(160));
            assert_eq!(sent.ssrc(), previous.ssrc());
        }
        let mut outgoing = world.transmitted();
        outgoing.retain(|own| own.to == rtcp_home(B));
        outgoing.push(sent.clone());
        for sent in &outgoing {
            let holds = |needle: &[u8]| {
                sent.bytes
                    .windows(needle.len())
                    .any(|window| window == needle)
            };
            assert!(!holds(&ssrc.to_be_bytes()) && !holds(&csrc.to_be_bytes()));
            assert!(!holds(&secret[..4]), "extension");
            assert!(!holds(&[192, 0, 2, 10]), "address");
        }
        previous = Some(sent);
        world.wait(20);
        let sdes = [rtcp(0, 201, &[ssrc]), rtcp(1, 202, &[ssrc, 0x0102_6161, 0])].concat();
        assert_eq!(world.rtcp(A, &sdes), Err(DropReason::RtcpTerminated));
    }
    assert_ne!(
        previous.unwrap().seq(),
        399,
        "the numbers are not the party's"
    );
}

#[test]
fn truncated_and_oversized_datagrams_are_refused() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 1);
    let mut whole = rtp(0, 1, 160, 1, &[0; 8]);
    whole[0] |= 0x31;
    for len in 0..whole.len() {
        assert!(world.rtp(A, &whole[..len]).is_err(), "{len} bytes");
    }
    let compound = rtcp(1, 200, &[0; 12]);
    for len in 2..compound.len() {
        assert_eq!(
            world.rtcp(A, &compound[..len]),
            Err(DropReason::MalformedRtcp),
            "{len} bytes"
        );
    }
    let mut limit = rtp(0, 1, 160, 1, &[0; DATAGRAM_LEN_MAX - 12]);
    assert!(world.rtp(A, &limit).is_ok());
    limit.push(0);
    assert_eq!(world.rtp(A, &limit), Err(DropReason::Oversize));
    assert_eq!(
        world.rtp(A, b"\0\x01garbage!!!!"),
        Err(DropReason::NotMedia)
    );
    let nobody = world.receive(StreamIx(77), Component::Rtp, home(A), &limit);
    assert_eq!(nobody, Err(DropReason::Closed));
}

#[test]
fn random_datagrams_never_panic_and_never_pass_from_strangers() {
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::two_party(Privacy::Masked);
    world.talk(A, 1, 0, 1);
    for n in 0..20_000 {
        let mut bytes: Vec<u8> = (0..random.usize(0..120)).map(|_| random.u8(..)).collect();
        if let [first, second, ..] = &mut bytes[..] {
            *first = 0x80 | *first & 0x3f;
            if random.bool() {
                *second = random.u8(198..210);
            }
        }
        let component = if random.bool() {
            Component::Rtp
        } else {
            Component::Rtcp
        };
        let ours = random.bool();
        let from = if ours {
            home(A)
        } else {
            addr("203.0.113.66:4000")
        };
        let out = world.receive(A, component, from, &bytes);
        assert!(ours || out.is_err(), "seed {seed}, packet {n}");
        world.wait(random.u64(0..50));
    }
}

#[test]
fn ports_are_pinned_a_second_after_latching_and_freed_by_a_new_sdp() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(A, 1, 0, 49);
    world.wait(19);
    assert!(world.pins().is_empty());
    world.wait(2);
    let pinned = (port(A, Component::Rtp), Some(home(A)));
    assert_eq!(world.pins(), [pinned]);
    world.apply(Change::Remote(A, remote(A)));
    assert!(world.pins().is_empty(), "the same SDP changes nothing");
    let moved = Remote {
        rtp: Some(addr("192.0.2.99:7000")),
        ..remote(A)
    };
    world.apply(Change::Remote(A, moved));
    assert_eq!(world.pins(), [(port(A, Component::Rtp), None)]);
    let handover = Remote {
        learn: Learn {
            handover: true,
            ..learn()
        },
        ..remote(A)
    };
    world.apply(Change::Remote(A, handover));
    world.talk(A, 1, 49, 100);
    assert!(
        world.pins().is_empty(),
        "another source must be able to take over"
    );
}
