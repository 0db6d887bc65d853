//! A caller and its ringing branches: early media, the choice, and the winner's first syllable.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::sync::Arc;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::g711;
use crosspoint::audio::progress::Progress;
use crosspoint::audio::tone::{ToneGenerator, ToneKind, TonePlan};
use crosspoint::engine::*;
use engine_support::*;

const C: StreamIx = StreamIx(2);
const D: StreamIx = StreamIx(3);

const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

fn pt_of(kind: CodecKind) -> u8 {
    match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        CodecKind::G722 => 9,
        CodecKind::L16 { .. } => 96,
        CodecKind::Opus => 111,
    }
}

fn voice(kind: CodecKind) -> Box<Voice> {
    let (pt, codec) = (pt_of(kind), CodecConfig::new(kind));
    voice_of(pt, codec, 20)
}

fn passes(ix: StreamIx, kind: CodecKind, out: CodecKind, via: Via) -> Change {
    let known = PayloadType {
        pt: pt_of(kind),
        out: pt_of(out),
        clock_hz: kind.clock_hz(),
        silence: None,
        event: false,
        via,
    };
    Change::PayloadTypes(ix, [known].into_iter().collect())
}

fn choose(world: &mut World, source: StreamIx) {
    world.apply(Change::Source {
        listener: A,
        source: Some(source),
    });
}

fn policy(world: &mut World, policy: EarlyMedia) {
    world.apply(Change::EarlyMedia {
        listener: A,
        policy,
    });
}

fn ringback() -> EarlyMedia {
    EarlyMedia::Ringback(TonePlan::parse("400").unwrap())
}

/// A caller (A) and `branches` that are linked to it, all of one codec.
fn fork_of(kind: CodecKind, branches: u16) -> World {
    let mut world = World::new(Timers::default());
    for n in 0..=branches {
        let ix = world.add(n, Payload::Rtp, Privacy::Masked);
        world.apply(Change::Remote(ix, remote(ix)));
        world.apply(Change::Voice(ix, voice(kind)));
        if n > 0 {
            world.apply(Change::Link {
                from: ix,
                to: Some(A),
            });
            world.apply(passes(ix, kind, kind, Via::Relay));
        }
    }
    world
}

/// A caller (A) and three branches.
fn fork(early: EarlyMedia) -> World {
    let mut world = fork_of(L16, 3);
    policy(&mut world, early);
    world
}

fn packet(kind: CodecKind, pcm: &[i16], n: u32, ssrc: u32) -> Vec<u8> {
    let payload: Vec<u8> = match kind {
        CodecKind::Pcmu => pcm.iter().map(|s| g711::linear_to_ulaw(*s)).collect(),
        CodecKind::Pcma => pcm.iter().map(|s| g711::linear_to_alaw(*s)).collect(),
        _ => pcm.iter().flat_map(|s| s.to_be_bytes()).collect(),
    };
    rtp(pt_of(kind), n as u16, n.wrapping_mul(160), ssrc, &payload)
}

/// One 20 ms packet of a constant.
fn constant(value: i16, n: u32, ssrc: u32) -> Vec<u8> {
    packet(L16, &[value; 160], n, ssrc)
}

fn l16(sent: &Sent) -> Vec<i16> {
    let octets = sent.bytes[12..].chunks_exact(2);
    octets.map(|o| i16::from_be_bytes([o[0], o[1]])).collect()
}

fn samples(sent: &Sent) -> Vec<i16> {
    let octets = &sent.bytes[12..];
    match sent.pt() {
        0 => octets.iter().map(|o| g711::ulaw_to_linear(*o)).collect(),
        8 => octets.iter().map(|o| g711::alaw_to_linear(*o)).collect(),
        _ => l16(sent),
    }
}

/// The stream a party receives is one stream: one SSRC, numbers without gap, a clock that keeps
/// step with the wall within `slack_ms`.
#[track_caller]
fn assert_one_clock(received: &[(u64, Sent)], slack_ms: i64) {
    for pair in received.windows(2) {
        let [(_, before), (_, after)] = pair else {
            unreachable!()
        };
        assert_eq!(after.ssrc(), before.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let ticks = after.timestamp().wrapping_sub(before.timestamp()) as i32;
        assert!(ticks > 0, "the clock moved by {ticks}");
    }
    let Some(((start_ms, first), (end_ms, last))) = received.first().zip(received.last()) else {
        return;
    };
    let ticks = i64::from(last.timestamp().wrapping_sub(first.timestamp()) as i32);
    let wall_ms = (end_ms - start_ms) as i64;
    assert!(
        (ticks / 8 - wall_ms).abs() <= slack_ms,
        "{} ms of media in {wall_ms} ms",
        ticks / 8
    );
}

/// Branch 1 speaks from the start, 2 from one second, 3 from two seconds on; what A heard at the
/// end of each second.
fn early(world: &mut World) -> [Option<i16>; 3] {
    let mut heard = [None; 3];
    for (second, heard) in (0..3u16).zip(&mut heard) {
        for n in 0..50 {
            for branch in 1..=second + 1 {
                let number = u32::from(second) * 50 + n;
                let packet = constant(100 * branch as i16, number, branch.into());
                world.hear(StreamIx(branch), &packet);
            }
            world.wait(20);
        }
        *heard = world.received(A).last().map(|(_, sent)| l16(sent)[159]);
    }
    assert_one_clock(&world.received(A), 60);
    heard
}

#[test]
fn a_caller_hears_its_branches_by_policy() {
    assert_eq!(early(&mut fork(EarlyMedia::First)), [100; 3].map(Some));
    assert_eq!(
        early(&mut fork(EarlyMedia::Latest)),
        [100, 200, 300].map(Some)
    );
    let [one, two, three] = early(&mut fork(EarlyMedia::Mix)).map(Option::unwrap);
    assert_eq!(one, 100);
    assert!((208..=216).contains(&two), "300 at -3 dB, {two}");
    assert!((420..=430).contains(&three), "600 at -3 dB, {three}");
}

#[test]
fn ringback_sounds_until_a_branch_is_chosen_and_losers_are_never_heard() {
    let mut world = fork(ringback());
    early(&mut world);
    let ringing = world.received(A);
    assert!(ringing.len() >= 149, "a frame every 20 ms");
    assert!(ringing[2..].iter().all(|(_, s)| peak(s) > 1_000), "a tone");
    choose(&mut world, C);
    for n in 150..200 {
        all_say(&mut world, &[100, 200, 300], n);
    }
    let received = world.received(A);
    assert_one_clock(&received, 60);
    let answered = &received[ringing.len()..];
    assert!(
        answered.iter().all(|(_, s)| l16(s) == [200; 160]),
        "the winner alone"
    );
    assert!(answered.len() >= 49, "{}", answered.len());
}

fn peak(sent: &Sent) -> i16 {
    let loudest = samples(sent).iter().map(|s| s.unsigned_abs()).max();
    loudest.unwrap_or(0) as i16
}

/// Every branch says its constant for 20 ms.
fn all_say(world: &mut World, values: &[i16], n: u32) {
    for (branch, value) in (1..).zip(values) {
        world.hear(StreamIx(branch), &constant(*value, n, branch.into()));
    }
    world.wait(20);
}

/// All say their constants for a second; the different last samples of the frames that A heard in
/// its last 100 ms.
fn second(world: &mut World, values: &[i16], n: &mut u32) -> Vec<i16> {
    for _ in 0..50 {
        all_say(world, values, *n);
        *n += 1;
    }
    let since = world.ms() - 100;
    let received = world.received(A);
    let late = received.iter().filter(|(ms, _)| *ms > since);
    let mut late: Vec<i16> = late.map(|(_, sent)| l16(sent)[159]).collect();
    assert!(late.len() >= 4, "{} frames", late.len());
    late.dedup();
    late
}

#[test]
fn policies_switch_in_mid_ring() {
    let values = [1_000, 2_000, 4_000];
    let mut world = fork(ringback());
    let mut n = 0;
    second(&mut world, &values, &mut n);
    let tone = world.received(A);
    assert!(tone[2..].iter().all(|(_, s)| l16(s)[0] != l16(s)[5]));
    policy(&mut world, EarlyMedia::First);
    assert_eq!(second(&mut world, &values, &mut n), [1_000]);
    policy(&mut world, EarlyMedia::Mix);
    let mixed = second(&mut world, &values, &mut n);
    assert!(
        mixed.iter().all(|v| (4_900..5_000).contains(v)),
        "{mixed:?}"
    );
    policy(&mut world, EarlyMedia::Latest);
    assert_eq!(second(&mut world, &values, &mut n), [1_000]);
    policy(&mut world, ringback());
    let tone = second(&mut world, &values, &mut n);
    assert!(tone.iter().all(|v| !values.contains(v)), "{tone:?}");
    policy(&mut world, EarlyMedia::First);
    assert_eq!(second(&mut world, &values, &mut n), [1_000]);
    policy(&mut world, EarlyMedia::First);
    choose(&mut world, D);
    assert_eq!(second(&mut world, &values, &mut n), [4_000]);
    let received = world.received(A);
    assert_one_clock(&received, 100);
    let longest = received.windows(2).map(|w| w[1].0 - w[0].0).max();
    assert!(
        longest <= Some(80),
        "no gap but where an ear starts: {longest:?} ms"
    );
}

#[test]
fn sound_comes_before_silence() {
    let mut world = fork(EarlyMedia::First);
    let mut n = 0;
    assert_eq!(second(&mut world, &[0, 2_000], &mut n), [2_000]);
    assert_eq!(second(&mut world, &[1_000, 2_000], &mut n), [2_000]);
    assert_eq!(world.stream(A).hears, Some(C));
    // A pause is not yet silence; two seconds of it are.
    assert_eq!(second(&mut world, &[1_000, 0], &mut n), [0]);
    for _ in 0..3 {
        second(&mut world, &[1_000, 0], &mut n);
    }
    assert_eq!(second(&mut world, &[1_000, 0], &mut n), [1_000]);

    let mut world = fork(EarlyMedia::Latest);
    let mut n = 0;
    assert_eq!(second(&mut world, &[1_000], &mut n), [1_000]);
    assert_eq!(second(&mut world, &[1_000, 0], &mut n), [1_000]);
    assert_eq!(second(&mut world, &[1_000, 2_000], &mut n), [2_000]);
    assert_eq!(second(&mut world, &[1_000, 2_000, 0], &mut n), [2_000]);
    assert_eq!(second(&mut world, &[1_000, 2_000, 30], &mut n), [2_000]);
    assert_eq!(second(&mut world, &[1_000, 2_000, 3_000], &mut n), [3_000]);
}

#[test]
fn a_mix_leaves_silent_branches_out() {
    let mut world = fork(EarlyMedia::Mix);
    let mut n = 0;
    let alone = second(&mut world, &[1_000, 0, 20], &mut n);
    assert_eq!(alone, [1_000], "as loud as if it were alone");
    let two = second(&mut world, &[1_000, 2_000, 20], &mut n);
    assert!(two.iter().all(|v| (2_100..2_140).contains(v)), "{two:?}");
}

/// One branch's early media.
struct Line {
    tone: Option<ToneGenerator>,
    random: fastrand::Rng,
}

impl Line {
    fn tone(kind: ToneKind) -> Self {
        let plan = TonePlan::named("de", kind).unwrap();
        Self {
            tone: ToneGenerator::new(plan, 8_000),
            random: fastrand::Rng::with_seed(1),
        }
    }

    fn music() -> Self {
        Self {
            tone: None,
            random: fastrand::Rng::with_seed(1),
        }
    }

    fn packet(&mut self, kind: CodecKind, n: u32, ssrc: u32) -> Vec<u8> {
        let mut pcm = [0; 160];
        match &mut self.tone {
            Some(tone) => tone.fill(&mut pcm),
            None => {
                let step = f32::from(20 + 9 * self.random.u8(..10)) / 1_000.0;
                for (at, sample) in (0_u8..).zip(&mut pcm) {
                    *sample = (4_000.0 * (f32::from(at) * step * 6.0).sin()) as i16;
                }
            }
        }
        packet(kind, &pcm, n, ssrc)
    }
}

#[test]
fn each_branch_tells_what_it_carries() {
    for kind in [CodecKind::Pcmu, CodecKind::Pcma, L16] {
        let mut world = fork_of(kind, 6);
        policy(&mut world, ringback());
        let mut lines = [
            Line::tone(ToneKind::Ringback),
            Line::tone(ToneKind::Busy),
            Line::tone(ToneKind::Congestion),
            Line::music(),
        ];
        for n in 0..400 {
            for (branch, line) in (1..).zip(&mut lines) {
                // One packet of fifty is lost.
                let packet = line.packet(kind, n, branch.into());
                if n % 50 != u32::from(branch) {
                    world.hear(StreamIx(branch), &packet);
                }
            }
            world.hear(StreamIx(5), &packet(kind, &[0; 160], n, 5));
            world.wait(20);
        }
        let progress: Vec<_> = (1..=6)
            .map(|ix| world.stream(StreamIx(ix)).progress)
            .collect();
        let expected = [
            Progress::RingingTone,
            Progress::BusyTone,
            Progress::CongestionTone,
            Progress::SpeechOrMusic,
            Progress::Silence,
        ];
        assert_eq!(progress[..5], expected.map(Some), "{kind:?}");
        assert_eq!(progress[5], None, "nothing ever came");
        for verdict in expected {
            let told = world.events().contains(&EventKind::Progress(verdict));
            assert!(told, "{verdict:?}");
        }
        choose(&mut world, D);
        assert_eq!(world.stream(D).progress, Some(Progress::CongestionTone));
    }
}

#[test]
fn packets_of_a_plain_relay_are_not_listened_to() {
    let mut world = World::two_party(Privacy::Transparent);
    world.talk(B, 1, 0, 100);
    assert_eq!(world.stream(B).progress, None);
    assert_eq!(world.stream(A).hears, Some(B));
}

#[test]
fn the_branch_that_is_audible_is_logged_and_reported() {
    let mut world = fork(EarlyMedia::First);
    let mut n = 0;
    second(&mut world, &[0, 2_000], &mut n);
    choose(&mut world, D);
    second(&mut world, &[0, 2_000, 3_000], &mut n);
    let switches = world.events().into_iter().filter_map(|event| match event {
        EventKind::SourceChanged(ix) => Some(ix),
        _ => None,
    });
    assert_eq!(switches.collect::<Vec<_>>(), [B, C, D]);
}

/// Speech with a pitch of 200 Hz; each period is louder than the one before by [`STEP`], so that
/// one sees which of them are missing.
struct Marker {
    period: i16,
}

const STEP: i16 = 30;

impl Marker {
    fn say(&mut self) -> [i16; 160] {
        std::array::from_fn(|at| {
            let phase = (at % 40) as f32 / 40.0 * std::f32::consts::TAU;
            self.period += i16::from(at % 40 == 0);
            (f32::from(500 + STEP * self.period) * phase.sin()) as i16
        })
    }
}

/// The loudest sample of each 10 ms.
fn peaks(received: &[(u64, Sent)]) -> Vec<i16> {
    let all: Vec<i16> = received.iter().flat_map(|(_, s)| samples(s)).collect();
    let loudest = |piece: &[i16]| piece.iter().copied().max();
    all.chunks(80).filter_map(loudest).collect()
}

/// C begins to speak 100 ms before it is chosen; B sends `other` all the time.
fn first_syllable(kind: CodecKind, early: EarlyMedia, via: Via) {
    let case = format!("{kind:?} {early:?} {via:?}");
    let mut world = fork_of(kind, 3);
    world.apply(passes(C, kind, kind, via));
    policy(&mut world, early);
    let mut marker = Marker { period: 0 };
    // A step of G.711 is up to a sixteenth of the sample.
    let coarse = |peak: i16| if kind == L16 { 0 } else { peak / 16 };
    let (mut chosen_ms, mut start) = (0, 0);
    let mut relayed_from = None;
    for n in 0..250 {
        if n == 55 {
            (chosen_ms, start) = (world.ms(), world.received(A).len());
            choose(&mut world, C);
        }
        world.hear(B, &packet(kind, &[-900; 160], n, 1));
        world.wait(3);
        let speech = if n < 50 { [0; 160] } else { marker.say() };
        let verdict = world.hear(C, &packet(kind, &speech, n, 2));
        let relayed = matches!(verdict, Verdict::Forward { .. });
        if n > 55 && relayed && relayed_from.is_none() {
            relayed_from = Some(n);
        }
        world.wait(17);
    }
    let received = world.received(A);
    assert_one_clock(&received, 60);
    let answered = &received[start..];
    assert!(answered[0].0 - chosen_ms <= 20, "{case}: at once");
    let peaks = peaks(answered);
    // At most one packet from before the first sound; the first period may be blended away.
    let onset = peaks.iter().position(|peak| *peak > 400).unwrap();
    assert!(onset <= 3, "{case}: waits for {onset} pieces of 10 ms");
    let peaks = &peaks[onset..];
    assert!(
        peaks[0] <= 500 + 4 * STEP,
        "{case}: begins with {}",
        peaks[0]
    );
    for pair in peaks.windows(2) {
        let step = pair[1] - pair[0];
        let most = 7 * STEP + coarse(pair[0]);
        assert!(step <= most, "{case}: {} after {}", pair[1], pair[0]);
    }
    if via == Via::Relay {
        let until = relayed_from.expect("it is relayed again");
        assert!(until <= 55 + 50, "{case}: relayed from {until} on");
    }
    let last = *peaks.last().unwrap();
    let said = 500 + STEP * marker.period;
    let most = if via == Via::Relay { 8 } else { 24 };
    assert!(
        said - last <= most * STEP + coarse(said),
        "{case}: no lasting delay, {last} of {said}"
    );
    let longest = answered.windows(2).map(|w| w[1].0 - w[0].0).max();
    assert!(
        longest <= Some(40),
        "{case}: {longest:?} ms without a frame"
    );
}

#[test]
fn the_first_syllable_of_the_winner_is_heard_from_its_first_frame_on() {
    for kind in [L16, CodecKind::Pcmu, CodecKind::Pcma] {
        first_syllable(kind, ringback(), Via::Relay);
        first_syllable(kind, EarlyMedia::First, Via::Relay);
        first_syllable(kind, ringback(), Via::Decode);
    }
}

#[test]
fn a_winner_that_was_in_the_mix_goes_on_without_a_missing_word() {
    let mut world = fork(EarlyMedia::Mix);
    let mut marker = Marker { period: 0 };
    let mut chosen_ms = 0;
    let mut forwarded = 0;
    for n in 0..250 {
        if n == 55 {
            choose(&mut world, C);
            chosen_ms = world.ms();
        }
        world.hear(B, &constant(0, n, 1));
        world.wait(3);
        let speech = if n < 20 { [0; 160] } else { marker.say() };
        let verdict = world.hear(C, &packet(L16, &speech, n, 2));
        forwarded += u32::from(matches!(verdict, Verdict::Forward { .. }));
        world.wait(17);
    }
    let received = world.received(A);
    assert_one_clock(&received, 60);
    let start = received
        .iter()
        .position(|(ms, _)| *ms + 200 >= chosen_ms)
        .unwrap();
    let peaks = peaks(&received[start..]);
    for pair in peaks.windows(2) {
        let step = pair[1] - pair[0];
        assert!(step <= 7 * STEP, "{} after {}", pair[1], pair[0]);
    }
    assert!(forwarded > 140, "relayed again: {forwarded}");
}

/// What A hears before the choice costs it at most one frame at the choice.
#[test]
fn the_change_to_the_winner_costs_at_most_one_frame() {
    let clip = Clip::new(vec![700; 80_000], 8_000).unwrap();
    let clip = Arc::new(clip);
    for early in [
        ringback(),
        EarlyMedia::First,
        EarlyMedia::Latest,
        EarlyMedia::Mix,
    ] {
        for (played, phase) in [(false, 0), (false, 7), (false, 19), (true, 5)] {
            let mut world = fork(early.clone());
            if played {
                world.apply(Change::Play(Box::new(Play {
                    times: None,
                    ..Play::new(PlayId(4), A, [Sound::Clip(Arc::clone(&clip))])
                })));
            }
            for n in 0..100 {
                world.hear(B, &constant(300, n, 1));
                world.wait(phase);
                if n == 50 {
                    choose(&mut world, C);
                    world.apply(Change::StopPlay {
                        listener: A.into(),
                        id: None,
                    });
                }
                // It sends silence until it answers.
                world.hear(C, &constant(if n < 50 { 0 } else { 2_000 }, n, 2));
                world.wait(20 - phase);
            }
            let received = world.received(A);
            assert_one_clock(&received, 60);
            let late = received.iter().filter(|(ms, _)| *ms >= 500);
            let late: Vec<_> = late.cloned().collect();
            let longest = late.windows(2).map(|w| w[1].0 - w[0].0).max();
            assert!(
                longest <= Some(40),
                "{early:?} {played} {phase}: {longest:?} ms"
            );
            let whole = late.iter().filter(|(_, s)| l16(s) == [2_000; 160]);
            let whole = whole.count();
            assert!(
                whole >= 48,
                "{early:?} {played} {phase}: {whole} of 50 frames"
            );
        }
    }
}

/// A packet on its way.
struct Flying {
    at_ms: u64,
    ix: StreamIx,
    bytes: Vec<u8>,
}

/// One fork in which everything is random: codecs, routes, policies and their changes, jitter,
/// loss, copies, reordering, the winner and when it is chosen. Losers say what is negative, the
/// winner what is positive: not one negative sample may arrive after the choice.
fn no_loser_after_the_choice(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let kind = [L16, CodecKind::Pcmu, CodecKind::Pcma][random.usize(..3)];
    let branches = random.u16(2..=4);
    let mut world = fork_of(kind, branches);
    for n in 1..=branches {
        let via = [Via::Relay, Via::Decode][random.usize(..2)];
        world.apply(passes(StreamIx(n), kind, kind, via));
    }
    let loss = random.u32(..8);
    let jitter_ms = [0, 10, 60, 150][random.usize(..4)];
    let mut network = Network::new(seed, loss, 3, jitter_ms);
    let winner = StreamIx(random.u16(1..=branches));
    let choice_ms = random.u64(40..500);
    let phases: Vec<u64> = (0..=branches).map(|_| random.u64(..20)).collect();
    let (mut flying, mut chosen) = (Vec::<Flying>::new(), None);
    for ms in 0..choice_ms + 300 {
        if random.u32(..120) == 0 || ms == 0 {
            let early = match random.u8(..4) {
                0 => ringback(),
                1 => EarlyMedia::First,
                2 => EarlyMedia::Latest,
                _ => EarlyMedia::Mix,
            };
            policy(&mut world, early);
        }
        if ms == choice_ms {
            choose(&mut world, winner);
            chosen = Some(world.heard.len());
        }
        for n in 1..=branches {
            if ms % 20 != phases[usize::from(n)] {
                continue;
            }
            let ix = StreamIx(n);
            let value = if ix == winner { 8_000 } else { -8_000 };
            let pcm = [value; 160];
            let bytes = packet(kind, &pcm, (ms / 20) as u32 + 1, n.into());
            for at_ms in network.arrivals(ms) {
                let bytes = bytes.clone();
                flying.push(Flying { at_ms, ix, bytes });
            }
        }
        let mut at = 0;
        while at < flying.len() {
            if flying[at].at_ms <= ms {
                let Flying { ix, bytes, .. } = flying.swap_remove(at);
                world.hear(ix, &bytes);
            } else {
                at += 1;
            }
        }
        world.wait(1);
    }
    let after = &world.heard[chosen.unwrap()..];
    let after: Vec<_> = after
        .iter()
        .filter(|(_, s)| s.port == port(A, Component::Rtp))
        .collect();
    for (at_ms, sent) in &after {
        let least = samples(sent).into_iter().min().unwrap_or(0);
        assert!(
            least >= 0,
            "seed {seed}: {least} at {at_ms}, chosen at {choice_ms} ms"
        );
    }
    let heard = after.iter().any(|(_, sent)| peak(sent) > 7_000);
    assert!(heard, "seed {seed}: the winner is heard");
    let numbers = world.received(A);
    for pair in numbers.windows(2) {
        let ((_, before), (_, after)) = (&pair[0], &pair[1]);
        assert_eq!(after.ssrc(), before.ssrc(), "seed {seed}");
    }
    let mut seqs: Vec<u16> = numbers.iter().map(|(_, sent)| sent.seq()).collect();
    let first = seqs.first().copied().unwrap_or(0);
    seqs.iter_mut()
        .for_each(|seq| *seq = seq.wrapping_sub(first).wrapping_add(1_000));
    seqs.sort_unstable();
    let copies = seqs.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(
        copies <= 30,
        "seed {seed}: copies are the network's alone, {copies}"
    );
}

#[test]
fn no_packet_of_a_loser_after_the_winner() {
    (0..1_000).for_each(no_loser_after_the_choice);
}

#[test]
fn a_caller_may_have_thirty_two_branches() {
    for early in [EarlyMedia::First, EarlyMedia::Mix] {
        let mut world = fork_of(L16, 32);
        policy(&mut world, early);
        let mut n = 0;
        let mut values = [0; 32];
        values[31] = 1_500;
        assert_eq!(second(&mut world, &values, &mut n), [1_500]);
        choose(&mut world, StreamIx(7));
        values[6] = 600;
        assert_eq!(second(&mut world, &values, &mut n), [600]);
    }
}
