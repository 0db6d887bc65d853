//! A call that is taken into another one: nothing changes for its parties, nor for those who were
//! there before.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::time::{Duration, Instant};

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::mix::Gain;
use crosspoint::audio::tone::TonePlan;
use crosspoint::engine::*;
use engine_support::*;
use proptest::prelude::*;

const L16: CodecKind = CodecKind::L16 {
    rate_hz: 8_000,
    channels: 1,
};

/// Streams of one side: 0 and 1 are relayed to each other, 4 is a second source for 0; 2 and 3 are
/// recoded to each other, or sit in a bridge.
const STREAMS: u16 = 5;

/// Something that happens to a side.
#[derive(Clone, Copy, Debug)]
enum Step {
    Talk(u8),
    Pause(u16),
    NewSsrc(u16),
    Hold(u16, bool),
    Choose(Option<u16>),
    Play(u16),
    Stop(u16),
    Bridge(bool),
    Silence(u16, bool),
}

impl Step {
    /// Whether timers run in it: commands and new numbers of a sender leave them alone, and what
    /// is due at that instant stays due.
    fn takes_time(self) -> bool {
        matches!(self, Self::Talk(_) | Self::Pause(_))
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stream = || 0..STREAMS;
    let step = prop_oneof![
        3 => (1u8..30).prop_map(Step::Talk),
        1 => (0u16..400).prop_map(Step::Pause),
        1 => stream().prop_map(Step::NewSsrc),
        1 => (stream(), any::<bool>()).prop_map(|(ix, on)| Step::Hold(ix, on)),
        1 => prop_oneof![Just(None), Just(Some(1)), Just(Some(4))].prop_map(Step::Choose),
        1 => stream().prop_map(Step::Play),
        1 => stream().prop_map(Step::Stop),
        1 => any::<bool>().prop_map(Step::Bridge),
        1 => (stream(), any::<bool>()).prop_map(|(ix, on)| Step::Silence(ix, on)),
    ];
    proptest::collection::vec(step, 1..14)
}

/// The parties of one call, and where in which call they are now.
#[derive(Clone)]
struct Side {
    first: u16,
    bridge: u8,
    senders: Vec<(u32, u16, u32)>,
}

impl Side {
    /// A call in which everybody has been heard.
    fn new(start: Instant, seed: u32) -> (World, Self) {
        let mut world = World::at(start, Timers::default());
        for n in 0..STREAMS {
            let ix = world.add(n, Payload::Rtp, Privacy::Transparent);
            world.apply(Change::Remote(ix, remote(ix)));
            let (pt, kind) = codec(n);
            let codec = CodecConfig::new(kind);
            let voice = voice_of(pt, codec, 20);
            world.apply(Change::Voice(ix, voice));
            let recoded = [2, 3].contains(&n);
            let kind = PayloadType {
                pt,
                out: if recoded { 96 - pt } else { pt },
                clock_hz: 8_000,
                silence: None,
                event: false,
                via: if recoded { Via::Decode } else { Via::Relay },
            };
            world.apply(Change::PayloadTypes(ix, [kind].into_iter().collect()));
        }
        let links = [(0, 1), (1, 0), (2, 3), (3, 2), (4, 0)];
        for (from, to) in links.map(|(from, to)| (StreamIx(from), StreamIx(to))) {
            world.apply(Change::Link { from, to: Some(to) });
        }
        let sender = |n: u16| (seed + u32::from(n), n * 9_999, u32::from(n) * 77_777);
        let mut side = Self {
            first: 0,
            bridge: 0,
            senders: (0..STREAMS).map(sender).collect(),
        };
        side.step(&mut world, Step::Choose(Some(1)));
        side.step(&mut world, Step::Talk(10));
        side.step(&mut world, Step::Play(4));
        side.step(&mut world, Step::Talk(3));
        (world, side)
    }

    fn ix(&self, n: u16) -> StreamIx {
        StreamIx(self.first + n)
    }

    fn step(&mut self, world: &mut World, step: Step) {
        match step {
            Step::Talk(frames) => (0..frames).for_each(|_| self.frame(world)),
            Step::Pause(ms) => world.wait(u64::from(ms)),
            Step::NewSsrc(n) => {
                let (ssrc, seq, timestamp) = &mut self.senders[usize::from(n)];
                (*ssrc, *seq, *timestamp) = (*ssrc + 1_000, seq.wrapping_add(500), 5);
            }
            Step::Hold(n, held) => world.apply(Change::Direction {
                stream: self.ix(n),
                sends: !held,
                receives: !held,
            }),
            Step::Choose(source) => world.apply(Change::Source {
                listener: self.ix(0),
                source: source.map(|n| self.ix(n)),
            }),
            Step::Play(n) => {
                let tone = Sound::Tone(TonePlan::parse("440/100/50").expect("a plan"));
                world.apply(Change::Play(Box::new(Play {
                    times: None,
                    limit: Some(Duration::from_millis(450)),
                    layer: [Layer::Alone, Layer::Over][usize::from(n == 1)],
                    ..Play::new(PlayId(3), self.ix(n), [tone])
                })));
            }
            Step::Stop(n) => world.apply(Change::StopPlay {
                listener: self.ix(n).into(),
                id: None,
            }),
            Step::Bridge(on) => self.bridge(world, on),
            Step::Silence(n, on) => world.apply(Change::Block(self.ix(n), on)),
        }
    }

    fn bridge(&self, world: &mut World, on: bool) {
        let member = |n: u16| Member {
            stream: self.ix(n),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        };
        let members = if on {
            vec![member(2), member(3), member(4)]
        } else {
            Vec::new()
        };
        let config = BridgeConfig {
            members,
            edges: Vec::new(),
            loudest: 0,
        };
        world.apply(Change::Bridge(BridgeIx(self.bridge), Box::new(config)));
    }

    /// 20 ms in which everybody says something.
    fn frame(&mut self, world: &mut World) {
        for n in 0..STREAMS {
            let (pt, kind) = codec(n);
            let (ssrc, seq, timestamp) = self.senders[usize::from(n)];
            let octet = (seq as u8).wrapping_mul(37);
            let payload = vec![octet; if kind == L16 { 320 } else { 160 }];
            let packet = rtp(pt, seq, timestamp, ssrc, &payload);
            self.hear(world, n, &packet);
            self.senders[usize::from(n)] = (ssrc, seq.wrapping_add(1), timestamp.wrapping_add(160));
        }
        world.wait(20);
    }

    fn hear(&self, world: &mut World, n: u16, packet: &[u8]) {
        let mut bytes = packet.to_vec();
        let from = home(StreamIx(n));
        let call = &mut world.call;
        let verdict = call.handle_packet(world.now, self.ix(n), Component::Rtp, from, &mut bytes);
        if let Verdict::Forward {
            port,
            to,
            start,
            end,
        } = verdict
        {
            let bytes = bytes[usize::from(start)..usize::from(end)].to_vec();
            world.heard.push((world.ms(), Sent { port, to, bytes }));
        }
        world.drain();
    }

    /// All that its parties received: when, where and what.
    fn received(&self, world: &World) -> Vec<Vec<(u64, std::net::SocketAddr, Vec<u8>)>> {
        let of = |n: u16| world.received(self.ix(n)).into_iter();
        let plain = |(ms, sent): (u64, Sent)| (ms, sent.to, sent.bytes);
        (0..STREAMS).map(|n| of(n).map(plain).collect()).collect()
    }

    /// What is reported of its streams, but for the names that moved.
    fn reports(&self, world: &World) -> Vec<String> {
        let report = world.call.report(world.now);
        let own = report.streams.into_iter().skip(usize::from(self.first));
        let nameless = |mut stream: StreamReport| {
            stream.leg = LegIx(0);
            stream.hears = stream.hears.map(|ix| StreamIx(ix.0 - self.first));
            for player in &mut stream.playing {
                player.listener = match player.listener {
                    Listener::Leg(ix) => StreamIx(ix.0 - self.first).into(),
                    bridge @ Listener::Bridge(_) => bridge,
                };
            }
            format!("{stream:?}")
        };
        own.take(usize::from(STREAMS)).map(nameless).collect()
    }

    /// Its call is taken into `world`.
    fn move_into(&mut self, world: &mut World, mut from: World) {
        from.drain();
        let first = StreamIx(world.call.streams() as u16);
        let absorbed = world.call.absorb(world.now, &mut from.call, first, first.0);
        absorbed.expect("room for both");
        (self.first, self.bridge) = (first.0, 1);
        for n in 0..STREAMS {
            for component in [Component::Rtp, Component::Rtcp] {
                let ix = self.ix(n);
                world
                    .call
                    .set_port(ix, component, port(ix, component))
                    .expect("a stream");
            }
        }
        world.drain();
    }
}

fn codec(n: u16) -> (u8, CodecKind) {
    if n == 3 {
        (96, L16)
    } else {
        (0, CodecKind::Pcmu)
    }
}

/// Two calls go on as one, and each party hears bit by bit what it would have heard alone.
fn assert_nothing_changes(before: &[Vec<Step>; 2], after: &[(usize, Vec<Step>)]) {
    let start = Instant::now();
    let [mut alone, mut merged] = [0, 1].map(|_| [Side::new(start, 10), Side::new(start, 20)]);
    for run in [&mut alone, &mut merged] {
        for ((world, side), steps) in run.iter_mut().zip(before) {
            steps.iter().for_each(|step| side.step(world, *step));
            // A bridge of ours, so that those of the other call move.
            side.step(world, Step::Bridge(true));
        }
        let until = run.iter().map(|(world, _)| world.now).max().expect("two");
        for (world, _) in &mut *run {
            let ms = (until - world.now).as_millis() as u64;
            world.wait(ms);
        }
    }
    let [(mut world, mut ours), (other, mut theirs)] = merged;
    let was_heard = theirs.received(&other).concat().len();
    theirs.move_into(&mut world, other);
    assert_eq!(world.call.streams(), 2 * usize::from(STREAMS));
    for (which, steps) in after {
        for step in steps {
            let now = world.now;
            [&mut ours, &mut theirs][*which].step(&mut world, *step);
            let passed = (world.now - now).as_millis() as u64;
            for (ix, (world, side)) in alone.iter_mut().enumerate() {
                if ix == *which {
                    side.step(world, *step);
                } else if step.takes_time() {
                    world.wait(passed);
                }
            }
        }
    }
    let [(own_world, own), (other_world, other)] = &alone;
    assert_eq!(ours.received(&world), own.received(own_world));
    assert_eq!(ours.reports(&world), own.reports(own_world));
    assert_eq!(theirs.reports(&world), other.reports(other_world));
    let heard = theirs.received(&world);
    let expected = other.received(other_world);
    let total: usize = heard.iter().map(Vec::len).sum();
    assert_eq!(total, expected.concat().len() - was_heard);
    for (heard, expected) in heard.iter().zip(&expected) {
        assert!(expected.ends_with(heard));
    }
}

/// The first frame of a tone is due at the instant of its command, and leaves when timers run next:
/// nothing that the other side does at that instant runs them, a wait of no length does.
#[test]
fn a_frame_that_is_due_at_once_leaves_when_timers_run() {
    let before = [vec![Step::Talk(1)], vec![Step::Talk(1)]];
    for then in [Step::NewSsrc(0), Step::Silence(0, false), Step::Pause(0)] {
        assert_nothing_changes(&before, &[(0, vec![Step::Play(0)]), (1, vec![then])]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_clock_per_leg_when_two_calls_become_one(
        before in [steps(), steps()],
        after in proptest::collection::vec((0usize..2, steps()), 1..4),
    ) {
        assert_nothing_changes(&before, &after);
    }
}

#[test]
fn a_pin_is_set_again_on_the_new_port_and_a_latch_holds() {
    let start = Instant::now();
    let (mut world, _) = Side::new(start, 10);
    let (mut from, mut moved) = Side::new(start, 20);
    moved.step(&mut from, Step::Talk(100));
    world.wait(from.ms() - world.ms());
    assert!(from.pins().iter().any(|(_, peer)| peer.is_some()));
    world.pins();
    moved.move_into(&mut world, from);
    let pins = world.pins();
    let ours = port(StreamIx(STREAMS), Component::Rtp);
    assert!(pins.contains(&(ours, Some(home(A)))), "{pins:?}");
    let stranger = addr("198.51.100.7:7000");
    let packet = rtp(0, 1, 1, 1, &[0; 160]);
    let verdict = world.receive(StreamIx(STREAMS), Component::Rtp, stranger, &packet);
    assert_eq!(verdict, Err(DropReason::LatchRejected));
}

#[test]
fn limits_are_checked_before_anything_moves() {
    let start = Instant::now();
    let full = |streams: usize, bridges: u8| {
        let mut world = World::at(start, Timers::default());
        for n in 0..streams {
            world.add(n as u16, Payload::Rtp, Privacy::Masked);
        }
        if let Some(ix) = bridges.checked_sub(1) {
            let codec = CodecConfig::new(CodecKind::Pcmu);
            let voice = voice_of(0, codec, 20);
            world.apply(Change::Voice(A, voice));
            let member = Member {
                stream: A,
                talks: true,
                listens: true,
                gain: Gain::UNITY,
            };
            let config = BridgeConfig {
                members: vec![member],
                edges: Vec::new(),
                loudest: 0,
            };
            world.apply(Change::Bridge(BridgeIx(ix), Box::new(config)));
        }
        world
    };
    let absorb = |a: &mut World, b: &mut World, first: usize| {
        let before = (a.call.streams(), b.call.streams());
        let first = StreamIx(first as u16);
        let result = a.call.absorb(a.now, &mut b.call, first, first.0);
        if result.is_err() {
            assert_eq!((a.call.streams(), b.call.streams()), before);
        }
        result
    };
    let (mut a, mut b) = (full(STREAMS_MAX - 2, 0), full(3, 0));
    let result = absorb(&mut a, &mut b, STREAMS_MAX - 2);
    assert_eq!(result, Err(AbsorbError::TooManyStreams));
    let result = absorb(&mut a, &mut full(2, 0), STREAMS_MAX - 2);
    assert_eq!(result, Ok(()));
    let most = BRIDGES_MAX as u8;
    let (mut a, mut b) = (full(1, most - 1), full(1, 2));
    assert_eq!(absorb(&mut a, &mut b, 1), Err(AbsorbError::TooManyBridges));
    assert_eq!(absorb(&mut a, &mut full(1, 1), 1), Ok(()));
    let wrong = absorb(&mut full(2, 0), &mut full(1, 0), 1);
    assert_eq!(wrong, Err(AbsorbError::Place(StreamIx(2))));
    let mut later = World::at(start + Duration::from_secs(1), Timers::default());
    assert_eq!(
        absorb(&mut full(1, 0), &mut later, 1),
        Err(AbsorbError::Epoch)
    );
}

#[test]
fn the_timers_are_those_of_the_call_that_stays() {
    let start = Instant::now();
    let limit = |limit_s| Timers {
        limit: Some(Duration::from_secs(limit_s)),
        ..Timers::default()
    };
    let config = |timers| CallConfig {
        key: CallKey {
            slot: 1,
            generation: 1,
        },
        seed: 7,
        timers,
    };
    // Created one second after its epoch: it lives ten seconds from there.
    let born = start + Duration::from_secs(1);
    let mut stays = Call::since(config(limit(10)), start, born);
    let mut goes = Call::since(config(limit(3)), start, start);
    assert_eq!(stays.report(born).created, born);
    assert_eq!(stays.absorb(born, &mut goes, StreamIx(0), 0), Ok(()));
    let end = start + Duration::from_secs(11);
    assert_eq!(stays.poll_timeout(), Some(end));
    stays.handle_timeout(end);
    let ended = std::iter::from_fn(|| stays.poll_output()).collect::<Vec<_>>();
    assert!(
        matches!(ended[..], [Output::Ended(EndReason::Limit)]),
        "{ended:?}"
    );
    let mut late = Call::since(config(limit(3)), start, start);
    let refused = stays.absorb(end, &mut late, StreamIx(0), 0);
    assert_eq!(refused, Err(AbsorbError::Ended));
}
