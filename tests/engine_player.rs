//! What is played to legs and bridges: sequences, pushed samples, and what is heard while nothing
//! is, in virtual time.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use engine_support::*;
use proptest::prelude::*;

const C: StreamIx = StreamIx(2);
const ROOM: BridgeIx = BridgeIx(0);

const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

fn voice(codec: CodecConfig, pt: u8) -> Box<Voice> {
    voice_of(pt, codec, 20)
}

fn passes(ix: StreamIx, via: Via) -> Change {
    let known = PayloadType {
        pt: 96,
        out: 96,
        clock_hz: 8_000,
        silence: None,
        event: false,
        via,
    };
    Change::PayloadTypes(ix, [known].into_iter().collect())
}

/// Parties that speak L16, linked in pairs or not at all.
fn world(parties: u16) -> World {
    let mut world = World::new(Timers::default());
    for n in 0..parties {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        world.apply(Change::Voice(ix, voice(CodecConfig::new(L16), 96)));
        world.apply(passes(ix, Via::Relay));
    }
    world
}

fn link(world: &mut World, from: StreamIx, to: StreamIx) {
    world.apply(Change::Link { from, to: Some(to) });
}

fn room(parties: u16) -> World {
    let mut world = world(parties);
    world.apply(Change::Bridge(ROOM, Box::new(members(parties))));
    world
}

fn members(parties: u16) -> BridgeConfig {
    let member = |n| Member {
        stream: StreamIx(n),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    };
    BridgeConfig {
        members: (0..parties).map(member).collect(),
        ..BridgeConfig::default()
    }
}

fn clip(samples: usize, value: i16) -> Sound {
    Sound::Clip(Arc::new(Clip::new(vec![value; samples], 8_000).unwrap()))
}

fn begin(world: &mut World, play: Play) {
    world.apply(Change::Play(Box::new(play)));
}

fn refusal(world: &mut World, play: Play) -> Option<ChangeError> {
    world
        .call
        .apply(world.now, Change::Play(Box::new(play)))
        .err()
}

/// Everybody says a constant for so many frames; 0 says nothing.
fn talk(world: &mut World, first: u32, frames: u32, values: &[i16]) {
    for n in first..first + frames {
        for (party, value) in (0..).zip(values).filter(|(_, value)| **value != 0) {
            let payload = value.to_be_bytes().repeat(160);
            let packet = rtp(96, n as u16, n * 160, u32::from(party) + 1, &payload);
            world.hear(StreamIx(party), &packet);
        }
        world.wait(20);
    }
}

fn l16(sent: &Sent) -> Vec<i16> {
    let octets = sent.bytes[12..].chunks_exact(2);
    octets.map(|o| i16::from_be_bytes([o[0], o[1]])).collect()
}

/// The last sample a party heard.
fn last(world: &World, ix: StreamIx) -> i16 {
    let (_, sent) = world.received(ix).pop().expect("something was heard");
    l16(&sent)[159]
}

/// One SSRC, numbers without a gap, and a clock that moved by 8 ticks per millisecond.
#[track_caller]
fn assert_one_clock(received: &[(u64, Sent)]) {
    for pair in received.windows(2) {
        let [(before_ms, before), (after_ms, after)] = pair else {
            unreachable!()
        };
        assert_eq!(after.ssrc(), before.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let ticks = after.timestamp().wrapping_sub(before.timestamp());
        assert_eq!(u64::from(ticks), (after_ms - before_ms) * 8);
    }
}

fn ends(world: &World) -> Vec<(&'static str, PlayReport)> {
    let told = |event| match event {
        EventKind::PlayCompleted(report) => Some(("completed", report)),
        EventKind::PlayInterrupted(report) => Some(("interrupted", report)),
        EventKind::PlayFailed(report) => Some(("failed", report)),
        _ => None,
    };
    world.events().into_iter().filter_map(told).collect()
}

#[test]
fn an_announcement_to_a_bridge_is_all_that_is_heard_and_then_nothing_of_it() {
    let mut world = room(3);
    talk(&mut world, 0, 60, &[100, 2_000, 0]);
    begin(&mut world, Play::new(PlayId(7), ROOM, [clip(8_000, 55)]));
    talk(&mut world, 60, 25, &[100, 2_000, 0]);
    assert_eq!([A, B, C].map(|ix| last(&world, ix)), [55; 3]);
    let playing = world.call.report(world.now).playing;
    assert_eq!(playing.len(), 1);
    assert_eq!(
        (playing[0].id, playing[0].listener),
        (PlayId(7), ROOM.into())
    );
    talk(&mut world, 85, 40, &[100, 2_000, 0]);
    assert_eq!([A, B, C].map(|ix| last(&world, ix)), [2_000, 100, 2_100]);
    for ix in [A, B, C] {
        let received = world.received(ix);
        assert_one_clock(&received);
        let heard = received.iter().filter(|(_, sent)| l16(sent) == [55; 160]);
        assert_eq!(heard.count(), 50, "one second, whole frames");
    }
    let ends = ends(&world);
    assert_eq!(ends.len(), 1);
    let (how, report) = ends[0];
    assert_eq!((how, report.frames, report.item), ("completed", 50, 0));
    assert!(
        world
            .events()
            .contains(&EventKind::PlayStarted(PlayId(7), ROOM.into()))
    );
    assert_eq!(world.call.report(world.now).playing, []);
}

#[test]
fn music_beside_talkers_is_one_more_talker_whom_everybody_hears() {
    let mut world = room(3);
    let music = Play {
        times: None,
        layer: Layer::Beside,
        gain: Gain::from_db(-6.0),
        ..Play::new(PlayId(1), ROOM, [clip(8_000, 8_000)])
    };
    begin(&mut world, music);
    talk(&mut world, 0, 60, &[100, 2_000, 0]);
    let level = last(&world, C) - 2_100;
    assert!(
        (4_000..4_020).contains(&level),
        "{level} is 6 dB below 8,000"
    );
    let expected = [level + 2_000, level + 100, level + 2_100];
    assert_eq!([A, B, C].map(|ix| last(&world, ix)), expected);
}

#[test]
fn what_lies_over_talkers_lowers_them_and_nobody_hears_himself() {
    let mut world = room(3);
    talk(&mut world, 0, 60, &[8_000, 0, 0]);
    let over = Play {
        layer: Layer::Over,
        ..Play::new(PlayId(1), ROOM, [clip(8_000, 100)])
    };
    begin(&mut world, over);
    talk(&mut world, 60, 30, &[8_000, 0, 0]);
    assert_eq!(last(&world, A), 100, "not a trace of its own voice");
    let ducked = last(&world, B);
    assert!((2_050..2_200).contains(&ducked), "{ducked}");
    assert_eq!(last(&world, C), ducked);
    talk(&mut world, 90, 40, &[8_000, 0, 0]);
    assert_eq!(last(&world, B), 8_000, "as loud as before");
    assert_one_clock(&world.received(B));
}

#[test]
fn all_who_hear_only_what_is_played_share_one_encoder() {
    let mut world = world(5);
    for n in 0..5 {
        let codec = CodecConfig::new(CodecKind::G722);
        world.apply(Change::Voice(StreamIx(n), voice(codec, 9)));
    }
    world.apply(Change::Bridge(ROOM, Box::new(members(5))));
    let noise: Vec<i16> = (0..16_000).map(|n| (n * 7_919 % 9_001) as i16).collect();
    let noise = Sound::Clip(Arc::new(Clip::new(noise, 16_000).unwrap()));
    begin(&mut world, Play::new(PlayId(1), ROOM, [noise]));
    world.wait(2_000);
    let payloads = |ix| -> Vec<Vec<u8>> {
        let received = world.received(ix).into_iter();
        received
            .map(|(_, sent)| sent.bytes[12..].to_vec())
            .collect()
    };
    let first = payloads(A);
    assert_eq!(first.len(), 50);
    for n in 1..5 {
        assert_eq!(payloads(StreamIx(n)), first);
    }
}

#[test]
fn bridges_have_the_limits_of_legs() {
    let mut world = room(2);
    let play = |id: usize, to: Listener, sounds: usize| {
        let sounds = (0..sounds).map(|_| clip(8_000, 1));
        Play::new(PlayId(id as u32), to, sounds)
    };
    for n in 0..PLAYERS_MAX {
        begin(&mut world, play(n, ROOM.into(), 1));
    }
    let more = refusal(&mut world, play(99, ROOM.into(), 1));
    assert_eq!(more, Some(ChangeError::Play(ROOM.into())));
    begin(&mut world, play(0, ROOM.into(), SEQUENCE_MAX));
    assert_eq!(world.call.report(world.now).playing.len(), PLAYERS_MAX);
    for count in [0, SEQUENCE_MAX + 1] {
        let refused = refusal(&mut world, play(0, ROOM.into(), count));
        assert_eq!(refused, Some(ChangeError::Sequence(count)));
    }
    let nowhere = BridgeIx(BRIDGES_MAX as u8 - 1);
    let refused = refusal(&mut world, play(0, nowhere.into(), 1));
    assert_eq!(refused, Some(ChangeError::UnknownBridge(nowhere)));
    let odd = Sound::Clip(Arc::new(Clip::new(vec![1; 99], 11_025).unwrap()));
    let refused = refusal(&mut world, Play::new(PlayId(0), A, [odd]));
    assert_eq!(refused, Some(ChangeError::Play(A.into())));
    let failed = ends(&world).into_iter().filter(|(how, _)| *how == "failed");
    assert_eq!(failed.count(), 4, "of bridges and legs that there are");
    assert_eq!(
        world.call.report(world.now).playing.len(),
        PLAYERS_MAX,
        "a refusal leaves what plays"
    );
    world.apply(Change::Bridge(ROOM, Box::default()));
    let stopped = ends(&world).into_iter();
    let stopped = stopped.filter(|(how, _)| *how == "interrupted");
    assert_eq!(stopped.count(), 1 + PLAYERS_MAX, "with the bridge they end");
}

#[test]
fn a_sequence_is_stopped_where_it_stands() {
    let mut world = world(1);
    let mut sequence = Play::new(
        PlayId(1),
        A,
        [clip(1_000, 1), clip(2_404, 2), clip(8_000, 3)],
    );
    sequence.sounds[0].times = Some(2);
    sequence.sounds[1].limit = Some(Duration::from_millis(300));
    begin(&mut world, sequence);
    world.wait(1_010);
    world.apply(Change::StopPlay {
        listener: A.into(),
        id: Some(PlayId(1)),
    });
    let heard: Vec<i16> = world.received(A).iter().flat_map(|(_, s)| l16(s)).collect();
    let expected = [vec![1; 2_000], vec![2; 2_400], vec![3; heard.len() - 4_400]];
    assert_eq!(heard, expected.concat());
    let (how, report) = ends(&world)[0];
    let position = Duration::from_micros((heard.len() as u64 - 4_400) * 125);
    assert_eq!(
        (how, report.item, report.position),
        ("interrupted", 2, position)
    );
    assert_eq!(report.frames as usize * 160, heard.len());
}

#[test]
fn frames_that_a_held_leg_is_not_sent_are_not_counted() {
    let mut world = world(1);
    begin(&mut world, Play::new(PlayId(1), A, [clip(8_000, 9)]));
    world.wait(310);
    let hold = |receives| Change::Direction {
        stream: A,
        sends: true,
        receives,
    };
    world.apply(hold(false));
    world.wait(200);
    world.apply(hold(true));
    world.wait(1_000);
    let (how, report) = ends(&world)[0];
    assert_eq!((how, report.frames), ("completed", 40));
    let received = world.received(A);
    assert_eq!(received.len(), 40);
    assert_one_clock(&received);
}

proptest! {
    /// Whatever is pushed, and however unevenly: what is heard is what was pushed, with silence
    /// where it was late, in one stream without a gap.
    #[test]
    fn what_is_heard_is_what_was_pushed(
        chunks in prop::collection::vec(0_usize..600, 1..60),
        to_bridge: bool,
    ) {
        let mut world = if to_bridge { room(2) } else { world(2) };
        let (mut pusher, samples) = pushed(8_000, PUSH_AHEAD_MIN).unwrap();
        let to = if to_bridge { Listener::from(ROOM) } else { Listener::from(A) };
        // The first frame is due at once.
        pusher.push(&[9; 160]);
        begin(&mut world, Play::new(PlayId(1), to, [Sound::Pushed(samples)]));
        world.wait(10);
        let (mut ring, mut expected) = (VecDeque::<i16>::new(), vec![9; 160]);
        let (mut late, mut dropped, mut value) = (0, 0, 10_i16);
        for chunk in &chunks {
            let chunk: Vec<i16> = (0..*chunk).map(|n| value.wrapping_add(n as i16)).collect();
            value = value.wrapping_mul(31).wrapping_add(7);
            let taken = pusher.push(&chunk);
            dropped += chunk.len() - taken;
            ring.extend(&chunk[..taken]);
            prop_assert!(ring.len() <= 480);
            world.wait(20);
            let heard = ring.len().min(160);
            expected.extend(ring.drain(..heard));
            expected.resize(expected.len() + 160 - heard, 0);
            late += 160 - heard;
        }
        prop_assert_eq!(pusher.overrun_samples(), dropped as u64);
        prop_assert_eq!(pusher.underrun_samples(), late as u64);
        pusher.finish();
        expected.extend(ring);
        expected.resize(expected.len().next_multiple_of(160), 0);
        world.wait(200);
        let received = world.received(A);
        assert_one_clock(&received);
        let heard: Vec<i16> = received.iter().flat_map(|(_, sent)| l16(sent)).collect();
        prop_assert_eq!(heard, expected);
        let ends = ends(&world);
        prop_assert_eq!(ends.len(), 1);
        let (how, report) = ends[0];
        prop_assert_eq!((how, report.missing), ("completed", late as u32));
        prop_assert_eq!(report.frames as usize, received.len());
    }
}

#[test]
fn a_pusher_is_told_that_its_player_was_stopped() {
    let mut world = world(1);
    let (pusher, samples) = pushed(48_000, PUSH_AHEAD_MAX).unwrap();
    begin(
        &mut world,
        Play::new(PlayId(1), A, [Sound::Pushed(samples)]),
    );
    world.wait(100);
    assert!(!pusher.is_over());
    world.apply(Change::StopPlay {
        listener: A.into(),
        id: None,
    });
    assert!(pusher.is_over());
    assert_eq!(
        pusher.underrun_samples(),
        0,
        "silence before the first is none"
    );
}

/// Two in a bridge, of which A hears comfort noise.
fn quiet_room() -> World {
    let mut world = room(2);
    world.apply(Change::Idle(A, Idle::ComfortNoise { pt: 13, level: 60 }));
    world
}

#[test]
fn silence_is_described_to_who_accepts_that() {
    let mut world = quiet_room();
    world.wait(990);
    let noise = world.received(A);
    assert_eq!(world.received(B), [], "nothing was asked for");
    let at: Vec<u64> = noise.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(at, [0, 320, 640, 960]);
    for (_, sent) in &noise {
        assert_eq!((sent.pt(), sent.marker()), (13, false));
        assert_eq!(sent.bytes[12..], [60]);
    }
    let level = Idle::ComfortNoise { pt: 13, level: 45 };
    world.apply(Change::Idle(A, level));
    world.wait(100);
    world.apply(Change::Idle(A, level));
    world.wait(100);
    let noise = world.received(A);
    assert_eq!(noise.len(), 5, "told once");
    assert_eq!(noise[4].1.bytes[12..], [45]);
    talk(&mut world, 0, 50, &[0, 700]);
    let received = world.received(A);
    assert_one_clock(&received);
    let speech: Vec<_> = received.iter().filter(|(_, s)| s.pt() == 96).collect();
    assert!(speech[0].1.marker(), "speech begins");
    assert!(speech[1..].iter().all(|(_, sent)| !sent.marker()));
    assert_eq!(l16(&speech[20].1), [700; 160]);
    world.wait(3_000);
    let received = world.received(A);
    let after = received.iter().rev().take_while(|(_, s)| s.pt() == 13);
    let after = after.count();
    assert!((5..=7).contains(&after), "and silence again: {after}");
    assert_one_clock(&received);
}

#[test]
fn a_leg_alone_hears_its_idle_sound_between_prompts_and_packets_when_they_come() {
    for (idle, all) in [
        (Idle::Silence, true),
        (Idle::Noise { level: 50 }, true),
        (Idle::ComfortNoise { pt: 13, level: 50 }, false),
        (Idle::Nothing, false),
    ] {
        let mut world = world(2);
        link(&mut world, B, A);
        world.apply(Change::Idle(A, idle));
        world.wait(500);
        assert_eq!(world.received(A), [], "before anything was made for it");
        begin(&mut world, Play::new(PlayId(1), A, [clip(1_600, 4_000)]));
        world.wait(1_190);
        let received = world.received(A);
        assert_one_clock(&received);
        let count = match idle {
            Idle::Nothing => 10,
            Idle::ComfortNoise { .. } => 10 + 4,
            Idle::Silence | Idle::Noise { .. } => 60,
        };
        assert_eq!(received.len(), count, "{idle:?}");
        let loudest = received[10..]
            .iter()
            .filter(|_| all)
            .flat_map(|(_, s)| l16(s));
        let loudest = loudest.map(i16::unsigned_abs).max().unwrap_or(0);
        // White noise at −50 dBov: its root mean square is 104, its peak √3 times that.
        match idle {
            Idle::Noise { .. } => assert!((150..=182).contains(&loudest), "{loudest}"),
            _ => assert_eq!(loudest, 0),
        }
        talk(&mut world, 0, 20, &[0, 300]);
        let received = world.received(A);
        let relayed = received
            .iter()
            .filter(|(_, s)| s.pt() == 96 && l16(s)[0] == 300);
        assert_eq!(
            relayed.count(),
            20,
            "{idle:?}: relayed again from the first"
        );
        for pair in received.windows(2) {
            assert_eq!(pair[1].1.seq(), pair[0].1.seq().wrapping_add(1));
        }
    }
}

#[test]
fn a_listener_without_comfort_noise_hears_what_its_peer_described() {
    let mut world = world(2);
    link(&mut world, A, B);
    let noise = PayloadType {
        pt: 13,
        out: 96,
        clock_hz: 8_000,
        silence: None,
        event: false,
        via: Via::Decode,
    };
    let speech = PayloadType { pt: 96, ..noise };
    world.apply(Change::PayloadTypes(
        A,
        [speech, noise].into_iter().collect(),
    ));
    talk(&mut world, 0, 50, &[1_000]);
    for n in 50..150_u32 {
        // The peer falls silent: it describes its noise now and then, and sends nothing else.
        if (n - 50) % 10 == 0 {
            let number = 50 + (n - 50) / 10;
            world.hear(A, &rtp(13, number as u16, n * 160, 1, &[40]));
        }
        world.wait(20);
    }
    let received = world.received(B);
    assert_one_clock(&received);
    let late: Vec<i16> = received[100..].iter().flat_map(|(_, s)| l16(s)).collect();
    assert!(received.len() > 140, "{}", received.len());
    assert!(received.iter().all(|(_, s)| s.pt() == 96));
    let power: f64 = late.iter().map(|s| f64::from(*s).powi(2)).sum();
    let level = 20.0 * ((power / late.len() as f64).sqrt() / 32_768.0).log10();
    assert!((-42.0..-38.0).contains(&level), "{level} dBov");
}

#[test]
fn levels_and_numbers_of_noise_are_bounded() {
    let mut world = world(1);
    for (idle, expected) in [
        (Idle::Noise { level: 127 }, Ok(())),
        (
            Idle::Noise { level: 128 },
            Err(ChangeError::NoiseLevel(128)),
        ),
        (
            Idle::ComfortNoise {
                pt: 127,
                level: 127,
            },
            Ok(()),
        ),
        (
            Idle::ComfortNoise { pt: 128, level: 0 },
            Err(ChangeError::PayloadType(128)),
        ),
    ] {
        assert_eq!(world.call.apply(world.now, Change::Idle(A, idle)), expected);
        let mut voice = voice(CodecConfig::new(L16), 96);
        voice.idle = idle;
        let applied = world.call.apply(world.now, Change::Voice(A, voice));
        assert_eq!(applied, expected);
    }
}

#[cfg(feature = "opus")]
#[test]
fn what_opus_does_not_transmit_is_time_and_no_packet() {
    let mut world = world(1);
    let mut codec = CodecConfig::new(CodecKind::Opus);
    codec.opus.dtx = true;
    world.apply(Change::Voice(A, voice(codec, 111)));
    world.apply(Change::Idle(A, Idle::Silence));
    let tone: Vec<i16> = (0..8_000_i32)
        .map(|n| ((f64::from(n) * 0.3).sin() * 9_000.0) as i16)
        .collect();
    let tone = Sound::Clip(Arc::new(Clip::new(tone, 8_000).unwrap()));
    begin(&mut world, Play::new(PlayId(1), A, [tone]));
    world.wait(5_000);
    let received = world.received(A);
    let silent: Vec<_> = received.iter().filter(|(ms, _)| *ms > 2_000).collect();
    assert!(
        (1..=20).contains(&silent.len()),
        "{} of 150 frames",
        silent.len()
    );
    for (_, sent) in &received {
        assert!(
            sent.bytes.len() > 12 + 2,
            "frames of one or two octets stay here"
        );
    }
    for pair in received.windows(2) {
        let [(before_ms, before), (after_ms, after)] = pair else {
            unreachable!()
        };
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let ticks = after.timestamp().wrapping_sub(before.timestamp());
        assert_eq!(u64::from(ticks), (after_ms - before_ms) * 48);
        assert_eq!(
            after.marker(),
            after_ms - before_ms > 20,
            "marked after a gap"
        );
    }
}
