//! What a party alone is told by an application: it leaves, hears itself or a tone, presses keys by
//! signalling.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test signals are computed within range"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::tone::TonePlan;
use crosspoint::engine::{GatherEnd, GatherRules};
use crosspoint::switch::prompts::Source;
use crosspoint::switch::{
    Gather, IdleChoice, Negotiation, Options, Participants, Playback, Switch, SwitchError,
};
use crosspoint::wire::event::Digit;
use support::party::{Party, target};
use support::ports::Ports;
use support::{audio, inside, rtp, wait_until};

const A: Participants<'_> = Participants::Tag("tag-a");
const STRANGER: Participants<'_> = Participants::Tag("tag-x");
const FORMATS: &str = "0 101";
const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\r\n";

/// A party of 600 Hz alone in a call, and where it sends.
fn alone() -> (Ports, Arc<Switch>, Party, SocketAddr) {
    let mut ports = Ports::reserve(40);
    let switch = inside::switch(&mut ports, 1);
    let party = Party::new("127.0.0.1", 600.0);
    let sdp = inside::sdp(party.address().port(), FORMATS, EVENTS);
    let told = switch.publish(&Negotiation {
        call_id: "c",
        from_tag: "tag-a",
        to_tag: None,
        via_branch: None,
        sdp: sdp.as_bytes(),
        options: Options::default(),
    });
    let to = target(&told.expect("a call").sdp);
    (ports, switch, party, to)
}

/// Two parties that hear each other, and where each sends.
fn two() -> (Ports, Arc<Switch>, [Party; 2], [SocketAddr; 2]) {
    let mut ports = Ports::reserve(40);
    let switch = inside::switch(&mut ports, 1);
    let parties = [600.0, 1_000.0].map(|hz| Party::new("127.0.0.1", hz));
    let sdps = parties
        .each_ref()
        .map(|party| inside::sdp(party.address().port(), FORMATS, EVENTS));
    let to_b = inside::say(&switch, ("c", "tag-a"), None, &sdps[0]);
    let to_a = inside::say(&switch, ("c", "tag-a"), Some("tag-b"), &sdps[1]);
    (ports, switch, parties, [target(&to_a), target(&to_b)])
}

/// Speaks until it has heard so many packets; the sound of those.
fn speaks_and_hears(party: &mut Party, to: SocketAddr, count: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    wait_until("packets", || {
        party.speak(to);
        std::thread::sleep(support::PTIME);
        heard.extend(party.heard());
        heard.len() >= count
    });
    rtp::pcmu(&heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_hears_itself_until_it_does_not() {
    let (_ports, switch, mut party, to) = alone();
    switch.echo("c", A, true).expect("an echo");
    let heard = speaks_and_hears(&mut party, to, 20);
    assert!(audio::share_of_tone(&heard, 600.0) > 0.9);
    switch.echo("c", A, false).expect("no echo");
    std::thread::sleep(Duration::from_millis(100));
    party.heard();
    for _ in 0..10 {
        party.speak(to);
        std::thread::sleep(support::PTIME);
    }
    assert!(party.heard().is_empty(), "nobody is heard");
    for (call, who) in [("d", A), ("c", STRANGER)] {
        assert!(switch.echo(call, who, true).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tone_is_heard_for_so_long_and_in_the_place_of_others() {
    let (_ports, switch, mut party, to) = alone();
    let idle = IdleChoice::Silence;
    switch.set_idle("c", A, idle).expect("silence");
    let sound = Source::Bytes(audio::wav(1_700.0, 5_000).into());
    let playback = Playback::of([sound]);
    switch.play("c", A, &playback).await.expect("a sound");
    let heard = speaks_and_hears(&mut party, to, 10);
    assert!(audio::share_of_tone(&heard, 1_700.0) > 0.8);
    let tone = TonePlan::parse("1000").expect("a tone");
    let limit = Some(Duration::from_millis(500));
    switch.play_tone("c", A, &tone, limit).expect("a tone");
    let heard = speaks_and_hears(&mut party, to, 50);
    let windows = heard.chunks_exact(800);
    let with = windows
        .filter(|w| audio::share_of_tone(w, 1_000.0) > 0.5)
        .count();
    assert!((4..=6).contains(&with), "{with} windows of 100 ms");
    assert!(
        audio::share_of_tone(&heard[4_800..], 1_700.0) < 0.01,
        "it does not come back"
    );
    for (call, who) in [("d", A), ("c", STRANGER)] {
        assert!(switch.play_tone(call, who, &tone, None).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_by_signalling_is_gathered_as_if_it_was_heard() {
    let (_ports, switch, _party, _to) = alone();
    let rules = GatherRules {
        digits_max: 2,
        first_digit: Duration::from_secs(10),
        ..GatherRules::default()
    };
    let wanted = Gather {
        prompts: vec![Vec::new()],
        ..Gather::of(rules, [])
    };
    let gathering = switch.gather("c", A, &wanted).await.expect("a gathering");
    for key in ['4', '2'] {
        let key = Digit::from_char(key).expect("a key");
        switch.key_pressed("c", A, key).expect("a key");
    }
    let gathered = gathering.result().await;
    assert_eq!(gathered.end, GatherEnd::DigitsMax);
    assert_eq!(gathered.digits.to_string(), "42");
    for (call, who) in [("d", A), ("c", STRANGER)] {
        let key = Digit::from_char('1').expect("a key");
        assert!(switch.key_pressed(call, who, key).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_leaves_with_its_counts_and_the_call_lives_on() {
    let (_ports, switch, [mut a, mut b], [a_to, b_to]) = two();
    for _ in 0..30 {
        a.speak(a_to);
        b.speak(b_to);
        std::thread::sleep(support::PTIME);
    }
    assert!(!a.heard().is_empty() && !b.heard().is_empty());
    let ports = || switch.site().usage().iter().map(|u| u.used).sum::<usize>();
    let before = ports();
    let report = switch.leave("c", "tag-b").await.expect("it leaves");
    let report = report.expect("what was counted");
    assert_eq!(report.sources.len(), 1);
    let source = report.sources[0];
    assert_eq!((source.ssrc, source.packets, source.lost), (b.ssrc, 30, 0));
    wait_until("its ports are free", || ports() == before / 2);
    assert_eq!(switch.calls(), 1, "the other one is there");
    std::thread::sleep(Duration::from_millis(100));
    a.heard();
    b.speak(b_to);
    std::thread::sleep(Duration::from_millis(100));
    assert!(a.heard().is_empty(), "who has left is not heard");
    // It can be played to.
    let sound = Source::Bytes(audio::wav(1_700.0, 1_000).into());
    let playback = Playback::of([sound]);
    switch.play("c", A, &playback).await.expect("a sound");
    let heard = speaks_and_hears(&mut a, a_to, 20);
    assert!(audio::share_of_tone(&heard, 1_700.0) > 0.8);
    let again = switch.leave("c", "tag-b").await;
    assert!(matches!(again, Err(SwitchError::UnknownTag)), "{again:?}");
    let nowhere = switch.leave("d", "tag-a").await;
    assert!(
        matches!(nowhere, Err(SwitchError::UnknownCall)),
        "{nowhere:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_sound_of_several_was_is_told_when_it_is_interrupted() {
    let (_ports, switch, mut party, to) = alone();
    let sounds = [1_000.0, 1_700.0].map(|hz| Source::Bytes(audio::wav(hz, 400).into()));
    let playback = Playback {
        times: Some(100),
        ..Playback::of(sounds)
    };
    switch.play("c", A, &playback).await.expect("sounds");
    // One whole sound, and half of the other.
    let heard = speaks_and_hears(&mut party, to, 30);
    let stopped = switch.interrupt_playing("c", A).await.expect("a sound");
    let heard_ms = u128::try_from(heard.len() / 8).expect("few");
    assert_eq!(stopped.item, 1);
    let at_ms = 400 + stopped.position.as_millis();
    assert!(
        (heard_ms - 20..heard_ms + 100).contains(&at_ms),
        "{at_ms} of {heard_ms}"
    );
    let over = switch.interrupt_playing("c", A).await;
    assert!(matches!(over, Err(SwitchError::NotPlaying)), "{over:?}");
}
