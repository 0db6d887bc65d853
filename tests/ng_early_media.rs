//! Early media of several branches, as ng commands it.

mod support;

use std::net::SocketAddr;

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
