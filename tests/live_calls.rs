//! Calls that live, seen from outside: `GET /calls` and `crosspoint top --once` of a switch that a
//! proxy controls by ng.

mod support;

use std::process::{Command, Output};

use crosspoint::control::live::view::{List, Whole};
use crosspoint::control::live::{FILTER_MAX, LIST_DEFAULT, LIST_MAX};
use serde::de::DeserializeOwned;
use support::ng::Ng;
use support::party::{Call, Party, offer};
use support::switch::Switch;

fn get<T: DeserializeOwned>(switch: &Switch, path: &str) -> T {
    let (status, body) = switch.http("GET", path);
    let text = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

fn top(switch: &Switch, arguments: &[&str]) -> Output {
    let http = switch.http.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_crosspoint"));
    command.args(["top", "--http", &http]).args(arguments);
    command.output().expect("our binary")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Calls that only ring: an offer each.
fn ring(ng: &mut Ng, calls: usize) {
    let mut party = Party::new("127.0.0.1", 440.0);
    let sdp = party.sdp();
    for n in 0..calls {
        ng.ok(&offer(&format!("ring-{n:04}"), "ann", &sdp));
    }
}

#[test]
fn a_call_of_a_proxy_is_listed_with_its_parties_and_their_quality() {
    let switch = Switch::start();
    let mut ng = switch.client();
    let none = printed(&top(&switch, &["--once"]));
    assert!(none.contains("no calls"), "{none}");
    let mut call = Call::new(&mut ng);
    call.connect();
    call.talk(30);
    ring(&mut ng, 1);
    let list: List = get(&switch, "/calls?sort=oldest");
    assert_eq!(
        (list.matched, list.totals.calls, list.totals.created),
        (2, 2, 2)
    );
    assert!(list.totals.packets_in >= 60 && list.totals.ports_used > 0);
    let (talks, rings) = (&list.calls[0], &list.calls[1]);
    assert_eq!((&*talks.status, talks.legs), ("in-progress", 2));
    assert_eq!((&*rings.status, &*rings.sid), ("ringing", "ring-0000"));
    let whole: Whole = get(&switch, &format!("/calls/{}", talks.sid));
    assert_eq!(whole.parties.len(), 2);
    for party in &whole.parties {
        let media = party.media.as_ref().expect("media");
        assert_eq!((&*media.codec, media.lost), ("PCMU/8000", 0), "{party:?}");
        assert!(
            media.received >= 30 && media.mos.is_some_and(|mos| mos > 4.0),
            "{party:?}"
        );
    }
    let table = printed(&top(&switch, &["--once", "--filter", "RINGING"]));
    assert!(
        table.contains("ring-0000") && !table.contains("in-progress"),
        "{table}"
    );
    assert_eq!(switch.http("GET", "/calls/nobody").0, 404);
}

#[test]
fn an_answer_has_as_many_calls_as_asked_for_and_never_more_than_its_limit() {
    let calls = u16::try_from(LIST_MAX).expect("few");
    let switch = Switch::start_on("127.0.0.1", 4 * (calls + 8));
    let mut ng = switch.client();
    ring(&mut ng, LIST_MAX);
    let shown = |query: &str| {
        let list: List = get(&switch, &format!("/calls{query}"));
        (list.matched, list.calls.len())
    };
    assert_eq!(shown(""), (LIST_MAX, LIST_DEFAULT));
    assert_eq!(shown(&format!("?limit={LIST_MAX}")), (LIST_MAX, LIST_MAX));
    let mut party = Party::new("127.0.0.1", 440.0);
    ng.ok(&offer("one-more", "ann", &party.sdp()));
    assert_eq!(shown("?limit=100000"), (LIST_MAX + 1, LIST_MAX));
    assert_eq!(
        shown(&format!("?limit=9&offset={LIST_MAX}")),
        (LIST_MAX + 1, 1)
    );
    assert_eq!(
        shown("?limit=9&offset=18446744073709551615"),
        (LIST_MAX + 1, 0)
    );
    assert_eq!(shown("?filter=ONE-more"), (1, 1));
    let table = printed(&top(&switch, &["--once"]));
    assert!(table.trim_end().ends_with("and 1 more"), "{table}");
    assert!(table.contains("one-more"), "the newest come first");
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let switch = Switch::start();
    let status = |query: &str| switch.http("GET", &format!("/calls?{query}")).0;
    assert_eq!(status(&format!("filter={}", "x".repeat(FILTER_MAX))), 200);
    assert_eq!(
        status(&format!("filter={}", "x".repeat(FILTER_MAX + 1))),
        400
    );
    assert_eq!(status("sort=age"), 400);
    assert_eq!(status("limit=-1"), 400);
    assert_eq!(status("colour=red"), 400);
    assert_eq!(switch.http("POST", "/calls").0, 405);
    let long = top(
        &switch,
        &["--once", "--filter", &"x".repeat(FILTER_MAX + 1)],
    );
    let said = String::from_utf8_lossy(&long.stderr).into_owned();
    assert!(
        !long.status.success() && said.contains("longer than 64 octets"),
        "{said}"
    );
}

#[test]
fn without_a_terminal_or_a_switch_top_says_what_to_do() {
    let switch = Switch::start();
    let no_terminal = top(&switch, &[]);
    let said = String::from_utf8_lossy(&no_terminal.stderr).into_owned();
    assert!(!no_terminal.status.success() && no_terminal.stdout.is_empty());
    assert!(
        said.contains("needs a terminal") && said.contains("--once"),
        "{said}"
    );
    let http = switch.http;
    drop(switch);
    let mut command = Command::new(env!("CARGO_BIN_EXE_crosspoint"));
    let away = command
        .args(["top", "--once", "--http", &http.to_string()])
        .output();
    let away = away.expect("our binary");
    let said = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(!away.status.success(), "{away:?}");
    assert!(
        said.contains(&format!("is a switch listening on http://{http}?")),
        "{said}"
    );
}
