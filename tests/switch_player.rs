//! What an application does without ng: it pushes samples, and chooses what is heard in silence.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test signals are computed within range"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::g711::linear_to_ulaw;
use crosspoint::audio::mix::Gain;
use crosspoint::engine::{ChangeError, Layer, PushError, SEQUENCE_MAX};
use crosspoint::switch::prompts::Source;
use crosspoint::switch::{IdleChoice, Participants, Playback, Pushing, Switch, SwitchError};
use support::party::Party;
use support::ports::Ports;
use support::rtp::Packet;
use support::{inside, wait_until};

const A: Participants<'_> = Participants::Tag("tag-a");

/// A call of two parties.
struct Call {
    _ports: Ports,
    switch: Arc<Switch>,
    a: Party,
    b: Party,
}

impl Call {
    /// Both accept these payload types.
    fn of(formats: &str) -> Self {
        let mut ports = Ports::reserve(40);
        let switch = inside::switch(&mut ports, 1);
        let [a, b] = [Party::new("127.0.0.1", 0.0), Party::new("127.0.0.1", 0.0)];
        for (party, to_tag) in [(&a, None), (&b, Some("tag-b"))] {
            let sdp = inside::sdp(party.address().port(), formats, "");
            inside::say(&switch, ("c", "tag-a"), to_tag, &sdp);
        }
        Self {
            _ports: ports,
            switch,
            a,
            b,
        }
    }
}

fn pushing(rate_hz: u32) -> Pushing {
    Pushing {
        rate_hz,
        ahead: Duration::from_secs(1),
        gain: Gain::UNITY,
        layer: Layer::Alone,
    }
}

/// Waits until a party has heard so many packets.
fn heard(party: &Party, count: usize) -> Vec<Packet> {
    let mut all = Vec::new();
    wait_until("packets", || {
        all.extend(party.heard());
        all.len() >= count
    });
    for pair in all.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_samples_are_heard_as_pushed_and_then_the_idle_sound() {
    for (formats, has_noise) in [("0 13", true), ("0", false)] {
        let call = Call::of(formats);
        let noise = IdleChoice::Noise { level: 60 };
        call.switch.set_idle("c", A, noise).expect("a party");
        let mut pusher = call.switch.push("c", A, &pushing(8_000)).expect("a party");
        let samples: Vec<i16> = (0..1_600).map(|n| n * 11 - 8_000).collect();
        assert_eq!(pusher.push(&samples), 1_600);
        pusher.finish();
        let packets = heard(&call.a, 12);
        let first = packets.iter().position(|p| p.payload[0] != 0xff);
        let first = first.expect("more than the silence before the first sample");
        let speech = &packets[first..first + 10];
        let payload: Vec<u8> = speech.iter().flat_map(|p| p.payload.clone()).collect();
        let expected: Vec<u8> = samples.iter().map(|s| linear_to_ulaw(*s)).collect();
        assert!(payload == expected, "after {first} silent packets");
        let after = &packets[first + 10];
        match has_noise {
            true => assert_eq!((after.pt, &after.payload[..]), (13, &[60][..])),
            false => assert_eq!((after.pt, after.payload.len()), (0, 160)),
        }
        let nothing = IdleChoice::Nothing;
        call.switch.set_idle("c", A, nothing).expect("a party");
        std::thread::sleep(Duration::from_millis(100));
        call.a.heard();
        std::thread::sleep(Duration::from_millis(400));
        assert!(call.a.heard().is_empty());
        assert!(
            call.b.heard().is_empty(),
            "the other party hears none of it"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let call = Call::of("0");
    let push = |who, rate_hz| call.switch.push("c", who, &pushing(rate_hz)).err();
    assert!(matches!(
        push(Participants::All, 8_000),
        Some(SwitchError::NotOne)
    ));
    let rate = push(A, 44_100);
    assert!(matches!(
        rate,
        Some(SwitchError::Push(PushError::Rate(44_100)))
    ));
    let unknown = push(Participants::Tag("tag-x"), 8_000);
    assert!(matches!(unknown, Some(SwitchError::UnknownTag)));
    let loud = IdleChoice::Noise { level: 128 };
    let refused = call.switch.set_idle("c", A, loud).err();
    let expected = ChangeError::NoiseLevel(128);
    assert!(matches!(refused, Some(SwitchError::Media(e)) if e == expected));
    for count in [0, SEQUENCE_MAX + 1] {
        let silence = Source::Bytes(Arc::from(&b"no sound"[..]));
        let playback = Playback::of(vec![silence; count]);
        let refused = call.switch.play("c", A, &playback).await.err();
        let expected = ChangeError::Sequence(count);
        assert!(matches!(refused, Some(SwitchError::Media(e)) if e == expected));
    }
}
