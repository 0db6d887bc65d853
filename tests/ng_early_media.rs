//! Early media of several branches, as ng commands it.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use support::ng::Ng;
use support::party::{Party, answer, offer, target};
use support::switch::Switch;
use support::{audio, every_20_ms, rtp, wait_until};

/// Offers a branch, lets it answer provisionally; returns where it sends.
fn early(ng: &mut Ng, (a, branch): (&mut Party, &mut Party), nr: usize) -> SocketAddr {
    let mut request = offer("early", "tag-a", &a.sdp());
    request["via-branch"] = json!(format!("z{nr}"));
    request["early-media-policy"] = json!("first");
    let to = target(ng.ok(&request)["sdp"].as_str().expect("an SDP"));
    let mut request = answer("early", "tag-a", &format!("tag-{nr}"), &branch.sdp());
    request["via-branch"] = json!(format!("z{nr}"));
    request["flags"] = json!(["trust-address", "provisional"]);
    ng.ok(&request);
    to
}

/// The caller speaks and is heard by `winner`, and hears nobody else.
fn assert_talks(a: &mut Party, a_to: SocketAddr, winner: &mut Party, to: SocketAddr) {
    let (mut at_a, mut at_winner) = (Vec::new(), Vec::new());
    every_20_ms(50, |_| {
        a.speak(a_to);
        winner.speak(to);
        at_a.extend(a.heard());
        at_winner.extend(winner.heard());
    });
    for (heard, hz) in [(at_a, winner.hz), (at_winner, a.hz)] {
        assert!(heard.len() >= 40, "{} packets of {hz} Hz", heard.len());
        let share = audio::share_of_tone(&rtp::pcmu(&heard), hz);
        assert!(share > 0.95, "only {share:.2} of it is {hz} Hz");
    }
}

#[test]
fn a_provisional_answer_that_comes_late_takes_nothing_from_the_winner() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    let mut loser = Party::new("127.0.0.1", 1000.0);
    let mut winner = Party::new("127.0.0.1", 1500.0);
    let loser_to = early(&mut ng, (&mut a, &mut loser), 0);
    let to = early(&mut ng, (&mut a, &mut winner), 1);
    let mut done = answer("early", "tag-a", "tag-1", &winner.sdp());
    done["via-branch"] = json!("z1");
    let a_to = target(ng.ok(&done)["sdp"].as_str().expect("an SDP"));
    assert_talks(&mut a, a_to, &mut winner, to);
    // The loser's 183 crossed the winner's 200, and it speaks on.
    for late in [0, 1] {
        let mut request = answer("early", "tag-a", &format!("tag-{late}"), &loser.sdp());
        request["via-branch"] = json!(format!("z{late}"));
        request["flags"] = json!(["trust-address", "provisional"]);
        if late == 1 {
            request["sdp"] = json!(winner.sdp());
        }
        ng.ok(&request);
        loser.speak(loser_to);
        assert_talks(&mut a, a_to, &mut winner, to);
    }
    assert_eq!(loser.heard(), [], "the loser hears nothing");

    // Who is called only now may ring, and be chosen.
    let mut next = Party::new("127.0.0.1", 2000.0);
    let next_to = early(&mut ng, (&mut a, &mut next), 2);
    let mut heard = Vec::new();
    wait_until("the next one is heard", || {
        next.speak(next_to);
        std::thread::sleep(support::PTIME);
        heard.extend(a.heard());
        heard.len() >= 30
    });
    // The first of them may still be the winner's.
    let share = audio::share_of_tone(&rtp::pcmu(&heard[10..]), next.hz);
    assert!(share > 0.95, "only {share:.2} of it is the next one");
    let mut done = answer("early", "tag-a", "tag-2", &next.sdp());
    done["via-branch"] = json!("z2");
    ng.ok(&done);
    assert_talks(&mut a, a_to, &mut next, next_to);
}

#[test]
fn a_further_provisional_answer_does_not_change_who_is_heard() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    let mut first = Party::new("127.0.0.1", 1000.0);
    let mut second = Party::new("127.0.0.1", 1500.0);
    let first_to = early(&mut ng, (&mut a, &mut first), 0);
    let mut heard = Vec::new();
    wait_until("the first branch is heard", || {
        first.speak(first_to);
        std::thread::sleep(support::PTIME);
        heard.extend(a.heard());
        heard.len() >= 10
    });
    let second_to = early(&mut ng, (&mut a, &mut second), 1);
    every_20_ms(60, |tick| {
        // The second speaks just before the first each time, and answers once more.
        second.speak(second_to);
        first.speak(first_to);
        if tick == 30 {
            early(&mut ng, (&mut a, &mut second), 1);
        }
        heard.extend(a.heard());
    });
    wait_until("what was sent arrives", || {
        heard.extend(a.heard());
        heard.len() >= 65
    });
    let share = audio::share_of_tone(&rtp::pcmu(&heard), 1000.0);
    assert!(share > 0.95, "only {share:.2} of it is the first branch");
    assert_eq!(rtp::gaps(&heard), (0, true));
}

#[test]
fn a_further_provisional_answer_does_not_hear_the_caller() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let mut a = Party::new("127.0.0.1", 600.0);
    let mut first = Party::new("127.0.0.1", 1000.0);
    let mut second = Party::new("127.0.0.1", 1500.0);
    let first_to = early(&mut ng, (&mut a, &mut first), 0);
    let mut request = answer("early", "tag-a", "tag-0", &first.sdp());
    request["via-branch"] = json!("z0");
    request["flags"] = json!(["trust-address", "provisional"]);
    let a_to = target(ng.ok(&request)["sdp"].as_str().expect("an SDP"));
    assert_talks(&mut a, a_to, &mut first, first_to);
    let second_to = early(&mut ng, (&mut a, &mut second), 1);
    assert_talks(&mut a, a_to, &mut first, first_to);
    assert_eq!(second.heard(), [], "nobody listens to it");
    // Now it is the first.
    ng.ok(&json!({
        "command": "delete", "call-id": "early", "from-tag": "tag-a", "via-branch": "z0",
    }));
    std::thread::sleep(Duration::from_secs(1));
    assert_talks(&mut a, a_to, &mut second, second_to);
}
