//! Legs that are decoded, mixed and played to, in virtual time.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::g711;
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use engine_support::*;
use proptest::prelude::*;

const C: StreamIx = StreamIx(2);

const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

/// How long an ear takes at most to be heard in these undisturbed worlds.
const SETTLE_FRAMES: usize = 25;

fn codec(kind: CodecKind) -> CodecConfig {
    CodecConfig::new(kind)
}

fn pt_of(kind: CodecKind) -> u8 {
    match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        CodecKind::G722 => 9,
        CodecKind::L16 { .. } => 96,
        CodecKind::Opus => 111,
    }
}

fn voice(kind: CodecKind, ptime_ms: u8) -> Box<Voice> {
    let (pt, codec) = (pt_of(kind), codec(kind));
    voice_of(pt, codec, ptime_ms)
}

fn passes(kind: CodecKind, out: CodecKind, via: Via) -> Change {
    let known = PayloadType {
        pt: pt_of(kind),
        out: pt_of(out),
        clock_hz: kind.clock_hz(),
        silence: None,
        event: false,
        via,
    };
    let digits = PayloadType {
        pt: 101,
        out: 100,
        clock_hz: 8_000,
        silence: None,
        event: true,
        via: Via::Relay,
    };
    Change::PayloadTypes(A, [known, digits].into_iter().collect())
}

/// Two parties, of which A speaks one codec and B another.
fn recoded(a: CodecKind, b: CodecKind) -> World {
    let mut world = World::two_party(Privacy::Transparent);
    world.apply(Change::Voice(A, voice(a, 20)));
    world.apply(Change::Voice(B, voice(b, 20)));
    world.apply(passes(a, b, Via::Decode));
    world
}

/// One 20 ms packet of a constant.
fn constant(kind: CodecKind, value: i16, n: u32, ssrc: u32) -> Vec<u8> {
    let payload: Vec<u8> = match kind {
        CodecKind::Pcmu => vec![g711::linear_to_ulaw(value); 160],
        CodecKind::Pcma => vec![g711::linear_to_alaw(value); 160],
        _ => value.to_be_bytes().repeat(160),
    };
    rtp(pt_of(kind), n as u16, n.wrapping_mul(160), ssrc, &payload)
}

fn l16(sent: &Sent) -> Vec<i16> {
    let octets = sent.bytes[12..].chunks_exact(2);
    octets.map(|o| i16::from_be_bytes([o[0], o[1]])).collect()
}

/// The stream a party receives is one stream: one SSRC, numbers without gap, a clock that keeps
/// step with the wall within `slack_ms`.
#[track_caller]
fn assert_one_clock(received: &[(u64, Sent)], clock_hz: u64, slack_ms: i64) {
    for pair in received.windows(2) {
        let [(_, before), (_, after)] = pair else {
            unreachable!()
        };
        assert_eq!(after.ssrc(), before.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
    }
    let Some(((start_ms, first), (end_ms, last))) = received.first().zip(received.last()) else {
        return;
    };
    let ticks = i64::from(last.timestamp().wrapping_sub(first.timestamp()) as i32);
    let media_ms = ticks * 1_000 / clock_hz as i64;
    let wall_ms = (end_ms - start_ms) as i64;
    assert!(
        (media_ms - wall_ms).abs() <= slack_ms,
        "{media_ms} ms of media in {wall_ms} ms"
    );
}

#[test]
fn the_two_laws_meet_without_a_buffer() {
    let mut world = World::two_party(Privacy::Transparent);
    world.apply(passes(
        CodecKind::Pcmu,
        CodecKind::Pcma,
        Via::Companding(Companding::UlawToAlaw),
    ));
    let payload: Vec<u8> = (0..=255).collect();
    world.hear(A, &rtp(0, 7, 160, 9, &payload));
    let (ms, sent) = world.received(B).pop().expect("relayed at once");
    assert_eq!((ms, sent.pt(), sent.seq()), (0, 8, 7));
    for (mu, a) in payload.iter().zip(&sent.bytes[12..]) {
        let step = i32::from(g711::ulaw_to_linear(*mu)) - i32::from(g711::alaw_to_linear(*a));
        assert!(step.abs() <= 1_024, "{mu} became {a}");
    }
}

#[test]
fn a_leg_of_another_codec_hears_the_same_samples_on_its_own_clock() {
    let mut world = recoded(CodecKind::Pcmu, L16);
    for n in 0..100 {
        world.hear(A, &constant(CodecKind::Pcmu, 5_000, n, 1));
        world.wait(20);
    }
    let received = world.received(B);
    assert!(received.len() > 85, "{}", received.len());
    assert_one_clock(&received, 8_000, 40);
    let expected = g711::ulaw_to_linear(g711::linear_to_ulaw(5_000));
    for (_, sent) in &received[SETTLE_FRAMES..] {
        assert_eq!(sent.pt(), 96);
        assert_eq!(l16(sent), vec![expected; 160]);
    }
    assert!(received[0].1.marker(), "speech begins");
}

#[test]
fn digits_pass_between_recoded_frames_with_one_timestamp_each() {
    let mut world = recoded(CodecKind::Pcmu, L16);
    for n in 0..50 {
        world.hear(A, &constant(CodecKind::Pcmu, 900, n, 1));
        world.wait(20);
    }
    for n in 50..60u16 {
        let end = u8::from(n >= 57) << 7;
        let duration = (u16::from(n < 57) * (n - 49) + 8 * u16::from(n >= 57)) * 160;
        let payload = [5, end | 10, (duration >> 8) as u8, duration as u8];
        world.hear(A, &rtp(101, n, 50 * 160, 1, &payload));
        world.wait(20);
    }
    for n in 60..100 {
        world.hear(A, &constant(CodecKind::Pcmu, 900, n, 1));
        world.wait(20);
    }
    let received = world.received(B);
    assert_one_clock(&received, 8_000, 60);
    let digits: Vec<_> = received.iter().filter(|(_, s)| s.pt() == 100).collect();
    assert_eq!(digits.len(), 10);
    let timestamp = digits[0].1.timestamp();
    assert!(digits.iter().all(|(_, s)| s.timestamp() == timestamp));
    let (from, until) = (digits[0].0, digits[9].0);
    let audio_within = received
        .iter()
        .filter(|(ms, s)| s.pt() == 96 && (from + 1..until).contains(ms));
    assert_eq!(audio_within.count(), 0, "no audio beside an event");
    assert!(received.last().unwrap().1.pt() == 96, "audio comes back");
}

fn clip(samples: usize, value: i16) -> Arc<Clip> {
    Arc::new(Clip::new(vec![value; samples], 8_000).unwrap())
}

fn play(listener: StreamIx, sound: Sound) -> Play {
    Play::new(PlayId(1), listener, [sound])
}

/// Two parties of one codec whose packets pass as they are.
fn relayed() -> World {
    let mut world = World::two_party(Privacy::Transparent);
    for ix in [A, B] {
        world.apply(Change::Voice(ix, voice(L16, 20)));
    }
    world.apply(passes(L16, L16, Via::Relay));
    world
}

#[test]
fn a_prompt_takes_the_place_of_what_is_relayed_and_gives_it_back() {
    let mut world = relayed();
    for n in 0..150 {
        if n == 50 {
            world.apply(Change::Play(Box::new(play(
                B,
                Sound::Clip(clip(8_000, 77)),
            ))));
        }
        world.hear(A, &constant(L16, 1_000, n, 1));
        world.wait(20);
    }
    let received = world.received(B);
    assert_one_clock(&received, 8_000, 40);
    let values: Vec<i16> = received.iter().map(|(_, s)| l16(s)[80]).collect();
    assert_eq!(
        values.iter().filter(|v| **v == 77).count(),
        50,
        "one second"
    );
    assert!(values[..50].iter().all(|v| *v == 1_000));
    assert!(values[102..].iter().all(|v| *v == 1_000));
    assert!(
        values.len() >= 149,
        "the listener lost {} frames",
        150 - values.len()
    );
    assert!(world.events().iter().any(|event| matches!(
        event,
        EventKind::PlayCompleted(PlayReport { frames: 50, .. })
    )));
}

#[test]
fn a_prompt_of_whole_frames_ends_with_its_last_one() {
    let mut world = relayed();
    world.apply(Change::Play(Box::new(play(
        B,
        Sound::Clip(clip(8_000, 77)),
    ))));
    world.wait(2_000);
    let received = world.received(B);
    assert_eq!(received.len(), 50);
    assert!(received.iter().all(|(_, s)| l16(s) == vec![77; 160]));
    assert_eq!(world.stream(B).playing, []);
}

#[test]
fn a_prompt_is_stopped_with_its_position() {
    let mut world = relayed();
    world.apply(Change::Play(Box::new(Play {
        times: None,
        start: Duration::from_millis(300),
        ..play(B, Sound::Clip(clip(8_000, 77)))
    })));
    world.wait(1_000);
    world.apply(Change::StopPlay {
        listener: B.into(),
        id: None,
    });
    world.wait(1_000);
    let events = world.events();
    let stopped = events.iter().find_map(|event| match event {
        EventKind::PlayInterrupted(report) => Some(*report),
        _ => None,
    });
    let stopped = stopped.expect("the end is told");
    assert_eq!(stopped.frames as usize, world.received(B).len());
    let expected = Duration::from_millis((300 + 20 * u64::from(stopped.frames)) % 1_000);
    assert_eq!(stopped.position, expected);
    assert!((50..=52).contains(&stopped.frames), "{}", stopped.frames);
}

#[test]
fn an_overlay_ducks_what_it_lies_over() {
    let mut world = relayed();
    for n in 0..150 {
        if n == 50 {
            world.apply(Change::Play(Box::new(Play {
                layer: Layer::Over,
                ..play(B, Sound::Clip(clip(8_000, 100)))
            })));
        }
        world.hear(A, &constant(L16, 8_000, n, 1));
        world.wait(20);
    }
    let received = world.received(B);
    assert_one_clock(&received, 8_000, 60);
    let ducked = received.iter().filter(|(_, s)| {
        let value = l16(s)[159];
        (2_050..2_200).contains(&value) // 8000 at -12 dB, and 100
    });
    assert!(ducked.count() > 20);
    assert!(received[130..].iter().all(|(_, s)| l16(s)[0] == 8_000));
}

/// A bridge of parties that speak `kind`, linked to nobody.
fn room(parties: u16, kind: CodecKind, config: impl Fn(u16) -> Member) -> (World, BridgeConfig) {
    let mut world = World::new(Timers::default());
    for n in 0..parties {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        world.apply(Change::Voice(ix, voice(kind, 20)));
        let known = PayloadType {
            pt: pt_of(kind),
            out: pt_of(kind),
            clock_hz: kind.clock_hz(),
            silence: None,
            event: false,
            via: Via::Relay,
        };
        world.apply(Change::PayloadTypes(ix, [known].into_iter().collect()));
    }
    let config = BridgeConfig {
        members: (0..parties).map(config).collect(),
        edges: Vec::new(),
        loudest: 0,
    };
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config.clone())));
    (world, config)
}

fn member(n: u16) -> Member {
    Member {
        stream: StreamIx(n),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    }
}

/// Everybody says a constant for two seconds; what each heard last.
fn levels(world: &mut World, values: &[i16]) -> Vec<Option<i16>> {
    for n in 0..100 {
        for (party, value) in values.iter().enumerate() {
            let packet = constant(L16, *value, n, party as u32 + 1);
            world.hear(StreamIx(party as u16), &packet);
        }
        world.wait(20);
    }
    let streams = (0..values.len()).map(|n| StreamIx(n as u16));
    streams
        .map(|ix| {
            let received = world.received(ix);
            assert_one_clock(&received, 8_000, 40);
            received.last().map(|(_, sent)| l16(sent)[159])
        })
        .collect()
}

#[test]
fn everybody_hears_the_exact_sum_of_the_others() {
    let values = [100, 2_000, -350, 4_001, -7];
    let (mut world, _) = room(5, L16, member);
    let total: i16 = values.iter().sum();
    let expected: Vec<_> = values.iter().map(|own| Some(total - own)).collect();
    assert_eq!(levels(&mut world, &values), expected);
}

#[test]
fn loud_sums_are_limited_once_after_the_own_part_is_taken_out() {
    let values = [30_000, 30_000, -29_000];
    let (mut world, _) = room(3, L16, member);
    let heard = levels(&mut world, &values);
    assert_eq!(
        heard[0],
        Some(1_000),
        "no trace of the limit that two would need"
    );
    assert_eq!(heard[1], Some(1_000));
    assert!(heard[2].unwrap() > 30_000, "60,000 bent, not wrapped");
}

#[test]
fn a_whisper_reaches_one_and_a_muted_leg_nobody() {
    let (mut world, mut config) = room(3, L16, member);
    config.members[2].talks = false;
    config.edges = vec![Edge {
        listener: B,
        talker: C,
        gain: Gain::UNITY,
    }];
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config.clone())));
    let heard = levels(&mut world, &[1, 20, 300]);
    assert_eq!(heard, [Some(20), Some(301), Some(21)]);
    config.edges.clear();
    config.members[1].listens = false;
    let (mut world, _) = room(3, L16, member);
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
    assert_eq!(
        levels(&mut world, &[1, 20, 300]),
        [Some(20), None, Some(21)]
    );
}

#[test]
fn only_the_loudest_are_mixed() {
    let (mut world, mut config) = room(6, L16, member);
    config.loudest = 2;
    world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
    let heard = levels(&mut world, &[10, 400, 20, 900, 30, 40]);
    assert_eq!(
        heard,
        [1_300, 900, 1_300, 400, 1_300, 1_300].map(Some),
        "400 and 900 are loudest"
    );
}

#[test]
fn a_leg_joins_and_leaves_without_a_gap_for_the_others() {
    let (mut world, config) = room(3, L16, member);
    let without = BridgeConfig {
        members: config.members[..2].to_vec(),
        ..config.clone()
    };
    let mut n = 0;
    for phase in [&config, &without, &config] {
        world.apply(Change::Bridge(BridgeIx(0), Box::new(phase.clone())));
        for _ in 0..60 {
            for party in 0..3u16 {
                world.hear(
                    StreamIx(party),
                    &constant(L16, 100, n, u32::from(party) + 1),
                );
            }
            n += 1;
            world.wait(20);
        }
    }
    for ix in [A, B] {
        let received = world.received(ix);
        assert_one_clock(&received, 8_000, 40);
        let gaps = received.windows(2).filter(|w| w[1].0 - w[0].0 > 20);
        let gaps: Vec<_> = gaps.map(|w| (w[0].0, w[1].0)).collect();
        assert_eq!(gaps, [], "frames every 20 ms");
    }
}

#[test]
fn a_stalled_worker_does_not_flood_its_listeners() {
    let (mut world, _) = room(2, L16, member);
    levels(&mut world, &[5, 6]);
    let before = world.received(A).len();
    world.now += Duration::from_secs(10);
    world.call.handle_timeout(world.now);
    world.drain();
    let made_up = world.received(A).len() - before;
    assert!(made_up <= 1 + CATCH_UP_FRAMES_MAX as usize, "{made_up}");
    assert!(world.call.poll_timeout().unwrap() > world.now);
}

#[test]
fn a_refused_change_leaves_the_call_as_it_was() {
    let mut world = World::two_party(Privacy::Transparent);
    let twice = BridgeConfig {
        members: vec![member(0), member(0)],
        ..BridgeConfig::default()
    };
    let refused = world.call.apply(
        world.now,
        Change::Bridge(BridgeIx(0), Box::new(twice.clone())),
    );
    assert_eq!(refused, Err(ChangeError::Codec(A)), "it speaks nothing yet");
    world.apply(Change::Voice(A, voice(L16, 20)));
    let refused = world
        .call
        .apply(world.now, Change::Bridge(BridgeIx(0), Box::new(twice)));
    assert_eq!(refused, Err(ChangeError::Bridged(A)));
    let odd = world
        .call
        .apply(world.now, Change::Voice(B, voice(L16, 15)));
    assert_eq!(odd, Err(ChangeError::Ptime(15)));
    for ptime in [1, 70] {
        let odd = world
            .call
            .apply(world.now, Change::Voice(B, voice(L16, ptime)));
        assert_eq!(odd, Err(ChangeError::Ptime(ptime)));
    }
    world.apply(Change::Voice(B, voice(L16, 10)));
    for n in 0..PLAYERS_MAX as u32 {
        let mut tone = play(B, Sound::Clip(clip(8_000, 1)));
        tone.id = PlayId(n);
        world.apply(Change::Play(Box::new(tone)));
    }
    let mut more = play(B, Sound::Clip(clip(8_000, 1)));
    more.id = PlayId(99);
    let refused = world.call.apply(world.now, Change::Play(Box::new(more)));
    assert_eq!(refused, Err(ChangeError::Play(B.into())));
}

/// A speaks 8 kHz and 16 kHz, packet by packet in turn.
fn both_rates(world: &mut World, second: Via) {
    let wide = CodecKind::L16 {
        rate_hz: 16_000,
        channels: 1,
    };
    let mut speech = voice(CodecKind::Pcmu, 20);
    let codec = codec(wide);
    speech.hears.push(Heard { pt: 97, codec });
    world.apply(Change::Voice(A, speech));
    let known = |pt, out, via| PayloadType {
        pt,
        out,
        clock_hz: 8_000,
        silence: None,
        event: false,
        via,
    };
    let types = [known(0, 96, Via::Decode), known(97, 97, second)];
    world.apply(Change::PayloadTypes(A, types.into_iter().collect()));
}

#[test]
fn changing_rates_with_every_packet_makes_no_ear_for_each() {
    let mut world = recoded(CodecKind::Pcmu, L16);
    both_rates(&mut world, Via::Decode);
    let mut longest = 0;
    for n in 0..200_u32 {
        let packet = match n % 2 {
            0 => constant(CodecKind::Pcmu, 900, n, 1),
            _ => rtp(97, n as u16, n * 160, 1, &[0; 640]),
        };
        world.hear(A, &packet);
        // An ear made for each packet would have received that one alone.
        let received = world.stream(A).playout.map_or(0, |stats| stats.received);
        longest = longest.max(received);
        world.wait(20);
    }
    let least = EAR_LIFE_US_MIN / 40_000;
    assert!(longest >= least, "an ear lived for {longest} packets");
}

#[test]
fn mixing_relayed_and_decoded_types_makes_no_encoder_for_each() {
    let mut world = recoded(CodecKind::Pcmu, L16);
    both_rates(&mut world, Via::Relay);
    for n in 0..200_u32 {
        let packet = match n % 2 {
            0 => constant(CodecKind::Pcmu, 900, n, 1),
            _ => rtp(97, n as u16, n * 160, 1, &[0; 640]),
        };
        world.hear(A, &packet);
        world.wait(20);
    }
    let received = world.received(B);
    assert_one_clock(&received, 8_000, 200);
    let relayed = received.iter().filter(|(_, sent)| sent.pt() == 97).count();
    assert_eq!(
        relayed, 0,
        "it stays decoded while there is something to decode"
    );
    world.wait(RECODE_REST_US / 1_000);
    for n in 200..250_u32 {
        world.hear(A, &rtp(97, n as u16, n * 160, 1, &[0; 640]));
        world.wait(20);
    }
    let (_, last) = world.received(B).pop().unwrap();
    assert_eq!(last.pt(), 97, "and is relayed again afterwards");
}

#[test]
fn who_accepts_nothing_we_can_make_is_sent_nothing_we_make() {
    let mut world = relayed();
    world.apply(Change::Play(Box::new(play(
        B,
        Sound::Clip(clip(80_000, 77)),
    ))));
    world.wait(500);
    let mut mute = voice(L16, 20);
    mute.speaks = None;
    world.apply(Change::Voice(B, mute));
    let before = world.received(B).len();
    world.wait(1_000);
    assert_eq!(world.received(B).len(), before);
    let stopped = |event: &EventKind| matches!(event, EventKind::PlayInterrupted(_));
    assert!(world.events().iter().any(stopped));
}

/// What may happen to a listener.
#[derive(Clone, Debug)]
enum Step {
    Talk(u8),
    Silence(u16),
    Play { overlay: bool, ms: u16 },
    Stop,
    Bridge(bool),
    Hold(bool),
    Recode(bool),
    NewSsrc,
    Speak(u8, u8),
    PlayAll(u8, u16),
    Sequence(u16),
    Push(u16),
    Idle(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..30).prop_map(Step::Talk),
        1 => (1u16..900).prop_map(Step::Silence),
        2 => (any::<bool>(), 1u16..900).prop_map(|(overlay, ms)| Step::Play { overlay, ms }),
        1 => Just(Step::Stop),
        2 => any::<bool>().prop_map(Step::Bridge),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => any::<bool>().prop_map(Step::Recode),
        1 => Just(Step::NewSsrc),
        1 => (0u8..3, 1u8..=6).prop_map(|(kind, tens)| Step::Speak(kind, tens * 10)),
        1 => (0u8..3, 1u16..900).prop_map(|(layer, ms)| Step::PlayAll(layer, ms)),
        1 => (1u16..300).prop_map(Step::Sequence),
        1 => (1u16..4_000).prop_map(Step::Push),
        1 => (0u8..4).prop_map(Step::Idle),
    ]
}

fn take(world: &mut World, step: &Step, seq: &mut u32, ssrc: &mut u32) {
    match *step {
        Step::Talk(packets) => {
            for _ in 0..packets {
                for ix in [A, B] {
                    let own = *ssrc + u32::from(ix.0) * 1_000;
                    world.hear(ix, &constant(L16, 300, *seq, own));
                }
                *seq = seq.wrapping_add(1);
                world.wait(20);
            }
        }
        Step::Silence(ms) => world.wait(u64::from(ms)),
        Step::Play { overlay, ms } => {
            let sound = Sound::Clip(clip(usize::from(ms) * 8, 55));
            let order = Play {
                layer: if overlay { Layer::Over } else { Layer::Alone },
                ..play(B, sound)
            };
            world.apply(Change::Play(Box::new(order)));
        }
        Step::PlayAll(layer, ms) => {
            let sound = Sound::Clip(clip(usize::from(ms) * 8, 44));
            let order = Play {
                layer: [Layer::Alone, Layer::Over, Layer::Beside][usize::from(layer)],
                ..Play::new(PlayId(2), BridgeIx(0), [sound])
            };
            // Where there is no bridge the command is refused, and nothing has changed.
            let _ = world.call.apply(world.now, Change::Play(Box::new(order)));
        }
        Step::Sequence(samples) => {
            let sounds = [1, 2, 3].map(|n| Sound::Clip(clip(usize::from(samples) * n, 33)));
            let order = Play::new(PlayId(3), B, sounds);
            world.apply(Change::Play(Box::new(order)));
        }
        Step::Push(samples) => {
            let (mut pusher, heard) = pushed(16_000, Duration::from_secs(1)).unwrap();
            pusher.push(&vec![22; usize::from(samples)]);
            let order = Play::new(PlayId(4), B, [Sound::Pushed(heard)]);
            world.apply(Change::Play(Box::new(order)));
        }
        Step::Idle(kind) => {
            let noise = Idle::ComfortNoise { pt: 13, level: 60 };
            let kinds = [
                Idle::Nothing,
                Idle::Silence,
                Idle::Noise { level: 60 },
                noise,
            ];
            world.apply(Change::Idle(B, kinds[usize::from(kind)]));
        }
        Step::Stop => world.apply(Change::StopPlay {
            listener: B.into(),
            id: None,
        }),
        Step::Bridge(on) => {
            let members = if on {
                vec![member(0), member(1)]
            } else {
                vec![]
            };
            let config = BridgeConfig {
                members,
                ..BridgeConfig::default()
            };
            world.apply(Change::Bridge(BridgeIx(0), Box::new(config)));
        }
        Step::Hold(on) => world.apply(Change::Direction {
            stream: B,
            sends: true,
            receives: !on,
        }),
        Step::Recode(on) => {
            let via = if on { Via::Decode } else { Via::Relay };
            world.apply(passes(L16, L16, via));
        }
        Step::NewSsrc => {
            *ssrc += 1;
            *seq = seq.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        }
        Step::Speak(kind, ptime_ms) => {
            let kind = [L16, CodecKind::Pcmu, CodecKind::Pcma][usize::from(kind)];
            let mut changed = voice(L16, ptime_ms);
            changed.speaks = Some(Spoken {
                pt: pt_of(kind),
                codec: codec(kind),
                ptime_ms,
            });
            world.apply(Change::Voice(B, changed));
        }
    }
}

#[test]
fn a_bridge_in_which_nobody_was_heard_leaves_no_gap_in_the_numbers() {
    let mut world = relayed();
    let (mut seq, mut ssrc) = (1, 5);
    for step in [
        Step::Talk(1),
        Step::Bridge(true),
        Step::Talk(1),
        Step::Bridge(false),
        Step::Talk(2),
    ] {
        take(&mut world, &step, &mut seq, &mut ssrc);
    }
    let received = world.received(B);
    assert!(received.len() >= 3, "{}", received.len());
    assert_one_clock(&received, 8_000, 40);
}

proptest! {
    /// One clock per leg: relay, mix, play, hold and codec changes in any order leave the listener
    /// one stream: one SSRC, every number once and in order, and a clock that never runs back and
    /// never ahead of the wall by more than what was sent at one moment.
    #[test]
    fn one_clock_per_leg_whatever_is_commanded(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = relayed();
        let (mut seq, mut ssrc) = (1_u32, 5_u32);
        for step in &steps {
            take(&mut world, step, &mut seq, &mut ssrc);
        }
        let received = world.received(B);
        for pair in received.windows(2) {
            let ((before_ms, before), (after_ms, after)) = (&pair[0], &pair[1]);
            prop_assert_eq!(after.ssrc(), before.ssrc());
            prop_assert_eq!(after.seq(), before.seq().wrapping_add(1));
            let ticks = i64::from(after.timestamp().wrapping_sub(before.timestamp()) as i32);
            let wall_ms = (after_ms - before_ms) as i64;
            prop_assert!(ticks > 0, "the clock moved by {} in {} ms", ticks, wall_ms);
            prop_assert!(ticks / 8 <= wall_ms + 120, "{} ms of media in {} ms", ticks / 8, wall_ms);
        }
    }
}
