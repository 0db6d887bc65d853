use proptest::prelude::*;

use super::*;
use crate::audio::codec::{CodecConfig, CodecKind};
use crate::engine::voice::{Idle, Spoken};

const FRAME: usize = 160;

fn member(n: u16) -> Member {
    Member {
        stream: StreamIx(n),
        talks: true,
        listens: true,
        gain: Gain::UNITY,
    }
}

fn bridge(config: BridgeConfig) -> Bridge {
    let mut bridge = Bridge::new(Micros::ZERO);
    bridge.configure(config);
    bridge.shape(8_000, 20);
    bridge
}

fn plain(members: u16, loudest: u8) -> BridgeConfig {
    BridgeConfig {
        members: (0..members).map(member).collect(),
        edges: Vec::new(),
        loudest,
    }
}

/// One frame: what each seat said, or nothing.
fn hear(bridge: &mut Bridge, said: &[Option<Vec<i16>>]) {
    for (ix, said) in said.iter().enumerate() {
        match said.as_ref().filter(|_| bridge.is_wanted(ix)) {
            Some(said) => bridge.take(ix, 8_000, |pcm| {
                pcm.copy_from_slice(said);
                true
            }),
            None => bridge.skip(ix),
        }
    }
    bridge.sum_up();
}

fn level(value: i16) -> Option<Vec<i16>> {
    Some(vec![value; FRAME])
}

fn heard_by(bridge: &mut Bridge, ix: usize) -> Option<i16> {
    let mut out = [0; FRAME];
    let any = bridge.hears_any(ix);
    bridge.mix_for(ix, &mut out);
    assert!(any || out == [0; FRAME], "silence is told of");
    any.then_some(out[0])
}

#[test]
fn a_talker_keeps_its_place_until_another_is_clearly_louder() {
    let mut bridge = bridge(plain(3, 1));
    let mut says = |a: i16, b: i16| {
        hear(&mut bridge, &[level(a), level(b), None]);
        heard_by(&mut bridge, 2)
    };
    assert_eq!(says(1_000, 900), Some(1_000));
    for _ in 0..50 {
        assert_eq!(says(1_000, 1_300), Some(1_000), "2.3 dB louder");
        assert_eq!(says(1_000, 1_000), Some(1_000));
    }
    assert_eq!(says(1_000, 1_500), Some(1_500), "3.5 dB louder");
    for _ in 0..50 {
        assert_eq!(says(1_500, 1_500), Some(1_500));
    }
}

#[test]
fn who_falls_silent_gives_its_place_up_within_a_second() {
    let mut bridge = bridge(plain(3, 1));
    hear(&mut bridge, &[level(8_000), level(500), None]);
    assert_eq!(heard_by(&mut bridge, 2), Some(8_000));
    let frames = (1..50).find(|_| {
        hear(&mut bridge, &[level(0), level(500), None]);
        heard_by(&mut bridge, 2) == Some(500)
    });
    assert!(
        (10..50).contains(&frames.unwrap()),
        "after {frames:?} frames"
    );
}

#[test]
fn a_single_talker_passes_bit_exact_however_loud() {
    let mut bridge = bridge(plain(3, 0));
    hear(&mut bridge, &[level(i16::MIN), None, None]);
    assert_eq!(heard_by(&mut bridge, 1), Some(i16::MIN));
    assert_eq!(heard_by(&mut bridge, 0), None, "nobody else talks");
    hear(&mut bridge, &[level(i16::MAX), level(-3), None]);
    assert_eq!(heard_by(&mut bridge, 1), Some(i16::MAX), "without its own");
    let both = heard_by(&mut bridge, 2).unwrap();
    assert!(both < i16::MAX, "two are limited: {both}");
}

#[test]
fn exceptions_are_of_two_members_and_the_first_counts() {
    let mut config = plain(4, 0);
    config.members[0].talks = false;
    let edge = |listener, talker, gain| Edge {
        listener: StreamIx(listener),
        talker: StreamIx(talker),
        gain,
    };
    config.edges = vec![
        edge(1, 0, Gain::UNITY),
        edge(1, 0, Gain::MUTE),
        edge(2, 2, Gain::MAX),
        edge(2, 99, Gain::MAX),
        edge(3, 1, Gain::MUTE),
    ];
    let mut bridge = bridge(config);
    hear(
        &mut bridge,
        &[level(1), level(20), level(300), level(4_000)],
    );
    let heard: Vec<_> = (0..4).map(|ix| heard_by(&mut bridge, ix)).collect();
    assert_eq!(heard, [Some(4_320), Some(4_301), Some(4_020), Some(300)]);
    hear(&mut bridge, &[None, level(20), None, None]);
    let heard: Vec<_> = (0..4).map(|ix| heard_by(&mut bridge, ix)).collect();
    assert_eq!(heard, [Some(20), None, Some(20), None]);
}

fn mouth(kind: CodecKind) -> Mouth {
    let codec = CodecConfig::new(kind);
    let spoken = Spoken {
        pt: 96,
        codec,
        ptime_ms: 20,
    };
    Mouth::new(&spoken, Idle::Nothing, Micros::ZERO).unwrap()
}

#[test]
fn as_many_codecs_are_shared_as_there_are_places() {
    let mut bridge = bridge(plain(2, 0));
    hear(&mut bridge, &[level(100), None]);
    let channels = [1, 2].into_iter();
    let rates = [8_000, 16_000, 24_000, 48_000];
    let linear =
        channels.flat_map(|channels| rates.map(|rate_hz| CodecKind::L16 { rate_hz, channels }));
    let kinds: Vec<_> = [CodecKind::Pcmu].into_iter().chain(linear).collect();
    assert_eq!(kinds.len(), COMMONS_MAX + 1);
    let shared = kinds
        .iter()
        .map(|kind| bridge.common_for(&mut mouth(*kind)).is_some());
    let shared: Vec<_> = shared.collect();
    assert_eq!(shared[..COMMONS_MAX], [true; COMMONS_MAX]);
    assert!(!shared[COMMONS_MAX], "one more encodes by itself");
    assert!(bridge.common_for(&mut mouth(CodecKind::Pcmu)).is_some());
}

#[test]
fn who_has_talked_waits_for_a_quiet_frame_but_not_for_ever() {
    for (loud, frames) in [(128, 1), (129, 200), (6_000, 1_200), (i16::MIN, 1_600)] {
        let mut bridge = bridge(plain(2, 0));
        let (mut first, mut back) = (mouth(CodecKind::G722), mouth(CodecKind::G722));
        back.encode(&[9_000; 320], &mut [0; 160]);
        let mut waits = || {
            hear(&mut bridge, &[level(loud), None]);
            assert!(bridge.common_for(&mut first).is_some());
            bridge.common_for(&mut back).is_none()
        };
        let waited = (1..2_000).take_while(|_| waits()).count();
        assert_eq!(waited + 1, frames, "at {loud}");
    }
}

/// One frame of a bridge whose settings may just have changed.
#[derive(Clone, Debug)]
struct Step {
    members: Vec<(bool, Member)>,
    edges: Vec<Edge>,
    said: Vec<Option<Vec<i16>>>,
}

const STREAMS: u16 = 6;

fn step() -> impl Strategy<Value = Step> {
    let gain = || prop_oneof![Just(0.0), Just(f32::NEG_INFINITY), -30.0..18.0_f32];
    let member = |n| {
        (any::<bool>(), any::<bool>(), gain()).prop_map(move |(present, talks, db)| {
            let (stream, gain) = (StreamIx(n), Gain::from_db(db));
            let listens = true;
            (
                present,
                Member {
                    stream,
                    talks,
                    listens,
                    gain,
                },
            )
        })
    };
    let members: Vec<_> = (0..STREAMS).map(member).collect();
    let edge = (0..STREAMS, 0..STREAMS, gain()).prop_map(|(listener, talker, db)| Edge {
        listener: StreamIx(listener),
        talker: StreamIx(talker),
        gain: Gain::from_db(db),
    });
    let said = prop::option::weighted(0.7, prop::collection::vec(any::<i16>(), FRAME));
    (
        members,
        prop::collection::vec(edge, 0..6),
        prop::collection::vec(said, usize::from(STREAMS)),
    )
        .prop_map(|(members, edges, said)| Step {
            members,
            edges,
            said,
        })
}

/// What a listener hears, from the definition: everybody else, each once, at its gain.
fn reference(config: &BridgeConfig, said: &[Option<Vec<i16>>], listener: usize) -> Vec<i16> {
    let me = config.members[listener].stream;
    let mut sum = [0_i32; FRAME];
    let mut sources = Vec::new();
    for (member, said) in config.members.iter().zip(said) {
        let edge = |e: &&Edge| e.listener == me && e.talker == member.stream;
        let gain = match config.edges.iter().find(edge) {
            Some(edge) => Some(edge.gain).filter(|gain| *gain != Gain::MUTE),
            None => member.talks.then_some(member.gain),
        };
        if let (Some(gain), Some(said)) = (gain, said)
            && member.stream != me
        {
            mix::add_gain(&mut sum, said, gain);
            sources.push((said.clone(), gain));
        }
    }
    let mut out = sum.map(mix::soft).to_vec();
    if let [(only, gain)] = &mut sources[..] {
        mix::gain(only, *gain);
        out.clone_from(only);
    }
    out
}

proptest! {
    #[test]
    fn mix_minus_is_exact(steps in prop::collection::vec(step(), 1..8)) {
        let mut bridge = Bridge::new(Micros::ZERO);
        for step in steps {
            let present = step.members.iter().filter(|(present, _)| *present);
            let config = BridgeConfig {
                members: present.map(|(_, member)| *member).collect(),
                edges: step.edges.clone(),
                loudest: 0,
            };
            let of = |m: &Member| step.said[usize::from(m.stream.0)].clone();
            let said: Vec<_> = config.members.iter().map(of).collect();
            bridge.configure(config.clone());
            bridge.shape(8_000, 20);
            hear(&mut bridge, &said);
            for ix in 0..config.members.len() {
                let mut out = vec![0; FRAME];
                bridge.mix_for(ix, &mut out);
                prop_assert_eq!(&out, &reference(&config, &said, ix), "seat {}", ix);
                prop_assert!(bridge.hears_any(ix) || out.iter().all(|s| *s == 0));
            }
        }
    }
}
