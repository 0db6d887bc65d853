//! Prompts and keys without ng: an application asks, real workers play, listen and decide.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test signals are computed within range"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use crosspoint::engine::{GATHER_ATTEMPTS_MAX, GatherEnd, GatherError, GatherRules, Keys};
use crosspoint::switch::prompts::Source;
use crosspoint::switch::{Gather, Participants, Switch, SwitchError, Track};
use support::party::Party;
use support::ports::Ports;
use support::rtp::Packet;
use support::{audio, inside, wait_until};

const A: Participants<'_> = Participants::Tag("tag-a");

/// A call of two parties.
struct Call {
    _ports: Ports,
    switch: Arc<Switch>,
    a: Party,
    b: Party,
}

impl Call {
    fn new() -> Self {
        let mut ports = Ports::reserve(40);
        let switch = inside::switch(&mut ports, 2);
        let [a, b] = [Party::new("127.0.0.1", 0.0), Party::new("127.0.0.1", 0.0)];
        let call = Self {
            _ports: ports,
            switch,
            a,
            b,
        };
        call.say("c", ["tag-a", "tag-b"], &call.a, None);
        call.say("c", ["tag-a", "tag-b"], &call.b, Some("tag-b"));
        call
    }

    /// An offer or an answer of a party; where its media is to go.
    fn say(&self, call_id: &str, tags: [&str; 2], party: &Party, to_tag: Option<&str>) -> u16 {
        let events = "a=rtpmap:101 telephone-event/8000\r\n";
        let sdp = inside::sdp(party.address().port(), "0 101", events);
        let sdp = inside::say(&self.switch, (call_id, tags[0]), to_tag, &sdp);
        let port = sdp
            .split("m=audio ")
            .nth(1)
            .and_then(|m| m.split(' ').next());
        port.and_then(|port| port.parse().ok()).expect("a port")
    }
}

/// One second of a tone at −9 dB, and then another.
fn tone(hz: f64) -> Track {
    Source::Bytes(audio::wav(hz, 1_000).into()).into()
}

fn four() -> GatherRules {
    GatherRules {
        digits_max: 4,
        first_digit: Duration::from_millis(300),
        inter_digit: Duration::from_millis(500),
        finish: Keys::from_text("#").expect("keys"),
        ..GatherRules::default()
    }
}

/// Presses keys as telephone-events, 60 ms each, in real time.
fn press(party: &mut Party, port: u16, keys: &[u8]) {
    let to = ([127, 0, 0, 1], port).into();
    for key in keys {
        for n in 1..=5_u16 {
            let end = u8::from(n > 3) << 7;
            let [high, low] = (n.min(4) * 160).to_be_bytes();
            party.send(to, 101, vec![*key, end | 10, high, low]);
            std::thread::sleep(Duration::from_millis(20));
        }
        party.timestamp = party.timestamp.wrapping_add(800);
    }
}

/// Waits until a party is played something; the packets.
fn hears(party: &Party) -> Vec<Packet> {
    let mut heard = Vec::new();
    wait_until("the prompt", || {
        heard.extend(party.heard());
        heard.len() >= 5
    });
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stops_the_prompt_and_the_result_comes_back() {
    let mut call = Call::new();
    let port = call.say("c", ["tag-a", "tag-b"], &call.b, Some("tag-b"));
    let wanted = Gather::of(four(), [tone(400.0)]);
    let gathering = call
        .switch
        .gather("c", A, &wanted)
        .await
        .expect("it begins");
    let first = hears(&call.a);
    let payloads = first[..5].iter().flat_map(|packet| packet.payload.clone());
    let share = audio::share_of_tone(&payloads.collect::<Vec<_>>(), 400.0);
    assert!(share > 0.9, "{share}");
    press(&mut call.a, port, &[1, 10, 5]);
    // 300 ms since the first key: of a second's prompt much was not sent.
    let rest = call.a.heard();
    assert!(
        first.len() + rest.len() < 35,
        "{}",
        first.len() + rest.len()
    );
    press(&mut call.a, port, &[11]);
    let gathered = gathering.result().await;
    assert_eq!(gathered.end, GatherEnd::FinishKey);
    assert_eq!(gathered.digits.to_string(), "1*5");
    assert_eq!(gathered.attempts, 1);
    let (begun, first) = (gathered.prompt_ended_ms, gathered.first_digit_ms);
    assert!(begun >= first && first.is_some(), "{gathered:?}");
    let why = crosspoint::switch::why::explain(&call.switch.query("c").await.expect("a call"));
    assert!(
        why.contains("gathered 3 keys") && why.contains("finish-key"),
        "{why}"
    );
    assert!(!why.contains("1*5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told() {
    let call = Call::new();
    let begin =
        async |wanted: &Gather| call.switch.gather("c", A, wanted).await.expect("it begins");
    // Two attempts without a key.
    let mut twice = Gather::of(four(), []);
    twice.prompts = vec![Vec::new(), Vec::new()];
    let gathered = begin(&twice).await.result().await;
    assert_eq!(gathered.end, GatherEnd::FirstDigitTimeout);
    assert_eq!((gathered.attempts, gathered.prompt_ended_ms), (2, None));
    assert!((600..900).contains(&gathered.lasted_ms), "{gathered:?}");
    // By another one, by name, and by nobody's name.
    let long = Gather::of(four(), [tone(400.0), tone(500.0)]);
    let (first, second) = (begin(&long).await, begin(&long).await);
    assert_eq!(first.result().await.end, GatherEnd::Cancelled);
    let other = crosspoint::engine::GatherId(0);
    call.switch
        .cancel_gather("c", A, Some(other))
        .expect("nothing");
    call.switch
        .cancel_gather("c", A, Some(second.id()))
        .expect("it ends");
    assert_eq!(second.result().await.end, GatherEnd::Cancelled);
    let third = begin(&long).await;
    let everybody = call.switch.cancel_gather("c", Participants::All, None);
    everybody.expect("it ends");
    assert_eq!(third.result().await.end, GatherEnd::Cancelled);
    // With its call.
    let last = begin(&long).await;
    let deleted = call
        .switch
        .delete("c", Some("tag-a"), Some("tag-b"), None)
        .await;
    assert!(deleted.expect("deleted").is_some());
    assert_eq!(last.result().await.end, GatherEnd::Gone);
    let gone = call.switch.gather("c", A, &long).await.map(|_| ());
    assert!(matches!(gone, Err(SwitchError::UnknownCall)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_that_become_one_cancel_what_the_second_gathers() {
    let call = Call::new();
    let [c, d] = [Party::new("127.0.0.1", 0.0), Party::new("127.0.0.1", 0.0)];
    call.say("d", ["tag-c", "tag-d"], &c, None);
    call.say("d", ["tag-c", "tag-d"], &d, Some("tag-d"));
    let long = Gather::of(four(), [tone(400.0)]);
    let who = Participants::Tag("tag-c");
    let gathering = call
        .switch
        .gather("d", who, &long)
        .await
        .expect("it begins");
    hears(&c);
    let joined = call.switch.connect(&crosspoint::switch::Connection {
        call_id: "c",
        from_tag: "tag-a",
        to_call_id: Some("d"),
        to_tag: "tag-c",
    });
    joined.expect("joined");
    assert_eq!(gathering.result().await.end, GatherEnd::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_ahead_counts_where_it_was_asked_for() {
    let mut call = Call::new();
    let port = call.say("c", ["tag-a", "tag-b"], &call.b, Some("tag-b"));
    call.switch
        .set_type_ahead("c", A, true)
        .expect("keys are kept");
    press(&mut call.a, port, &[4, 2, 11]);
    let rules = GatherRules {
        type_ahead: true,
        ..four()
    };
    let wanted = Gather::of(rules, [tone(400.0)]);
    let gathering = call
        .switch
        .gather("c", A, &wanted)
        .await
        .expect("it begins");
    let gathered = gathering.result().await;
    assert_eq!(gathered.digits.to_string(), "42");
    assert_eq!(gathered.prompt_ended_ms, None, "no prompt was needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused() {
    let call = Call::new();
    let ask = async |who, wanted: &Gather| {
        let begun = call.switch.gather("c", who, wanted).await;
        begun.map(|_| ()).expect_err("refused")
    };
    let none = Gather::of(four(), []);
    let attempts = |error| matches!(error, SwitchError::Gather(GatherError::Attempts(_)));
    assert!(attempts(ask(A, &none).await));
    let many = Gather {
        prompts: vec![Vec::new(); GATHER_ATTEMPTS_MAX + 1],
        ..none
    };
    assert!(attempts(ask(A, &many).await));
    let good = Gather::of(four(), [tone(400.0)]);
    assert!(matches!(
        ask(Participants::All, &good).await,
        SwitchError::NotOneToGather
    ));
    let nobody = ask(Participants::Tag("tag-x"), &good).await;
    assert!(matches!(nobody, SwitchError::UnknownTag), "{nobody}");
    let missing = Gather::of(four(), [Track::from(Source::File("no-such-file".into()))]);
    assert!(matches!(ask(A, &missing).await, SwitchError::Prompt(_)));
}
