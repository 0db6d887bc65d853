//! Which callback goes when, without a network.

use rusqlite::Connection;

use super::*;
use crate::flow::callback::body::LEGS_TOLD_MAX;
use crate::flow::callback::{FAILING_HOST_MAX, IN_FLIGHT_MAX, PER_HOST_MAX};
use crate::flow::records::outbox::{Due, Outbox, Outcome};

/// A database that only the test writes.
struct Desk {
    _folder: Folder,
    db: Connection,
    outbox: Outbox,
    counters: Arc<Counters>,
}

impl Desk {
    fn new(options: &Options) -> Self {
        let folder = Folder::new();
        let counters = Arc::new(Counters::default());
        let mut outbox = Outbox::new(options, Arc::clone(&counters));
        let (db, _) = schema::open(&folder.path(), options, &mut outbox).unwrap();
        Self {
            _folder: folder,
            db,
            outbox,
            counters,
        }
    }

    /// A call whose caller's leg rings, is answered and ends, so many of these.
    fn call(&mut self, sid: &str, url: &str, events: usize) {
        let callback = callback(url);
        let [call, from, to, flow] = [sid, "1", "2", "f"];
        let callback = Some(&callback);
        let events = &[
            Event::ringing(START, sid, "leg"),
            Event::answered(START, sid, "leg"),
        ][..events];
        let start = Event::call_started(
            START,
            &CallStarted {
                call,
                from,
                to,
                flow,
                callback,
            },
        );
        let leg = Event::leg_started(
            START,
            &LegStarted {
                call,
                leg: "leg",
                inbound: true,
                from,
                to,
                instead_of: None,
            },
        );
        for event in [&start, &leg].into_iter().chain(events) {
            assert!(event.write(&self.db, &mut self.outbox).unwrap());
        }
        self.outbox.committed();
    }

    fn due(&mut self, now: i64) -> Due {
        self.outbox.due(&self.db, now).unwrap()
    }

    /// Call and event of what is due.
    fn told(&mut self, now: i64) -> Vec<(i64, String)> {
        let due = self.due(now).now.into_iter();
        let told = due.map(|it| {
            let body: serde_json::Value = serde_json::from_str(&it.body).unwrap();
            let (sid, event) = (&body["CallSid"], &body["EventType"]);
            (
                it.id,
                format!("{} {}", sid.as_str().unwrap(), event.as_str().unwrap()),
            )
        });
        told.collect()
    }

    fn settle(&mut self, id: i64, outcome: Outcome, now: i64) {
        self.outbox.settle(&self.db, id, outcome, now).unwrap();
        self.outbox.committed();
    }

    /// Gives up what is too old; how many were given up until now.
    fn expire(&mut self, now: i64) -> u64 {
        self.outbox.expire(&self.db, now).unwrap();
        self.outbox.committed();
        self.count(|it| &it.callbacks_given_up)
    }

    fn count(&self, counter: fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Ordering::Relaxed)
    }
}

const URL: &str = "http://one.test/told";

#[test]
fn a_calls_callbacks_go_one_after_another_and_calls_do_not_wait_for_each_other() {
    let mut desk = Desk::new(&Options::default());
    desk.call("a", URL, 2);
    desk.call("b", URL, 2);
    let first = desk.told(START);
    assert_eq!(first[0].1, "a ringing");
    assert_eq!(first[1].1, "b ringing");
    assert_eq!(first.len(), 2);
    assert_eq!(desk.told(START), [], "they are on their way");
    desk.settle(first[0].0, Outcome::Failed, START);
    desk.settle(first[1].0, Outcome::Delivered, START);
    let then = desk.told(START);
    assert_eq!(then.len(), 1, "{then:?}");
    assert_eq!(then[0].1, "b answered");
    assert_eq!(desk.due(START).next_ms, Some(START + 1_000));
    // The first event of a is sent again before its second one.
    let again = desk.told(START + 1_000);
    assert_eq!(again, [(first[0].0, "a ringing".to_owned())]);
    desk.settle(again[0].0, Outcome::Refused, START + 1_000);
    let last = desk.told(START + 1_000);
    assert_eq!(last[0].1, "a answered");
    for id in [then[0].0, last[0].0] {
        desk.settle(id, Outcome::Delivered, START + 1_000);
    }
    assert_eq!(desk.due(START + 9_000), Due::default());
    assert_eq!(desk.count(|it| &it.callbacks_queued), 4);
    assert_eq!(desk.count(|it| &it.callbacks_delivered), 3);
    assert_eq!(desk.count(|it| &it.callbacks_failed), 2);
    assert_eq!(desk.count(|it| &it.callbacks_given_up), 1);
    assert_eq!(desk.count(|it| &it.callbacks_waiting), 0);
}

#[test]
fn a_callback_is_given_up_after_a_day() {
    const HOUR: i64 = 3_600_000;
    let mut desk = Desk::new(&Options::default());
    desk.call("a", URL, 2);
    let mut now = START;
    let mut attempts = 0;
    let mut pauses = Vec::new();
    let mut due = desk.due(now);
    while due.now[0].body.contains(r#""EventType":"ringing""#) {
        attempts += 1;
        desk.settle(due.now[0].id, Outcome::Failed, now);
        due = desk.due(now);
        if let Some(next) = due.next_ms {
            pauses.push((next - now) / 1_000);
            now = next;
            due = desk.due(now);
        }
    }
    assert_eq!(pauses[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert!(pauses[11..].iter().all(|pause| *pause == 300));
    // 511 s in doublings, and then each 300 s of the rest of the day.
    assert_eq!(attempts, 10 + (24 * 3_600 - 511) / 300);
    assert!(now > START + 23 * HOUR && now <= START + 24 * HOUR);
    assert_eq!(desk.count(|it| &it.callbacks_given_up), 1);
    // The next one of the call is as old: it has one attempt.
    assert_eq!(due.now.len(), 1);
    desk.settle(due.now[0].id, Outcome::Failed, now + 300_000);
    assert_eq!(desk.count(|it| &it.callbacks_given_up), 2);
    assert_eq!(desk.due(now + 300_000), Due::default());
}

#[test]
fn a_host_has_so_many_requests_at_a_time_and_all_of_them_so_many() {
    let mut desk = Desk::new(&Options::default());
    for ix in 0..=PER_HOST_MAX {
        desk.call(&format!("a{ix}"), URL, 1);
    }
    let first = desk.due(START);
    assert_eq!((first.now.len(), first.next_ms), (PER_HOST_MAX, None));
    // Others have room, also where the first does not answer.
    let hosts = IN_FLIGHT_MAX / PER_HOST_MAX;
    for host in 1..hosts {
        for ix in 0..PER_HOST_MAX {
            desk.call(
                &format!("b{host}-{ix}"),
                &format!("http://h{host}.test/"),
                1,
            );
        }
    }
    assert_eq!(desk.due(START).now.len(), IN_FLIGHT_MAX - PER_HOST_MAX);
    desk.call("z", "http://z.test/", 1);
    assert_eq!(desk.due(START).now, [], "one more than at a time");
    desk.settle(first.now[0].id, Outcome::Delivered, START);
    assert_eq!(desk.due(START).now.len(), 1);
}

#[test]
fn a_host_that_fails_has_fewer_until_it_takes_one() {
    let mut desk = Desk::new(&Options::default());
    for ix in 0..40 {
        desk.call(&format!("a{ix}"), URL, 1);
    }
    let first = desk.due(START).now;
    for delivery in &first {
        desk.settle(delivery.id, Outcome::Failed, START);
    }
    let few = desk.due(START).now;
    assert_eq!((first.len(), few.len()), (PER_HOST_MAX, FAILING_HOST_MAX));
    assert_eq!(desk.due(START).now, []);
    desk.settle(few[0].id, Outcome::Delivered, START);
    assert_eq!(desk.due(START).now.len(), PER_HOST_MAX - 1);
}

#[test]
fn what_is_older_than_a_day_is_given_up_untried() {
    let mut desk = Desk::new(&Options::default());
    for ix in 0..SWEEP_MAX {
        desk.call(&format!("a{ix}"), URL, 1);
    }
    desk.call("b", URL, 2);
    let sent = desk.due(START).now.len();
    let day = 24 * 3_600_000;
    assert_eq!(desk.expire(START + day), 0);
    // What is on its way is not touched; and so many are looked at in one step.
    let first = u64::from(SWEEP_MAX) - sent as u64;
    assert_eq!(desk.expire(START + day + 1), first);
    assert_eq!(desk.expire(START + day + 1), first + 2);
    assert_eq!(desk.count(|it| &it.callbacks_waiting), sent as u64);
    assert_eq!(desk.expire(START + day + 1), first + 2);
}

#[test]
fn so_many_callbacks_wait_and_no_more() {
    let options = Options {
        outbox_max: 3,
        ..Options::default()
    };
    let mut desk = Desk::new(&options);
    desk.call("a", URL, 2);
    desk.call("b", URL, 1);
    assert_eq!(desk.count(|it| &it.callbacks_refused), 0);
    desk.call("c", URL, 1);
    assert_eq!(desk.count(|it| &it.callbacks_refused), 1);
    assert_eq!(desk.count(|it| &it.callbacks_waiting), 3);
    let id = desk.due(START).now[0].id;
    desk.settle(id, Outcome::Delivered, START);
    desk.call("d", URL, 1);
    assert_eq!(desk.count(|it| &it.callbacks_refused), 1);
    // What cannot be asked for is not queued: no host, or too long.
    desk.call("e", "mailto:me@one.test", 2);
    let long = |octets: usize| format!("http://one.test/{}", "x".repeat(octets - 16));
    desk.call("f", &long(2_049), 2);
    assert_eq!(desk.count(|it| &it.callbacks_refused), 3);
    desk.settle(id + 1, Outcome::Delivered, START);
    desk.call("g", &long(2_048), 1);
    assert_eq!(desk.count(|it| &it.callbacks_refused), 3);
}

#[test]
fn what_a_failed_transaction_queued_does_not_count() {
    let mut desk = Desk::new(&Options::default());
    desk.call("a", URL, 1);
    let id = desk.due(START).now[0].id;
    desk.outbox
        .settle(&desk.db, id, Outcome::Failed, START)
        .unwrap();
    desk.outbox.rolled_back();
    assert_eq!(desk.count(|it| &it.callbacks_failed), 0);
    // It is on its way still: nobody sends it twice.
    assert_eq!(desk.due(START + 5_000).now, []);
    desk.settle(id, Outcome::Failed, START);
    assert_eq!(desk.due(START + 5_000).now.len(), 1);
}

#[test]
fn a_call_tells_of_so_many_legs_and_no_more() {
    for (legs, told) in [
        (LEGS_TOLD_MAX, LEGS_TOLD_MAX),
        (LEGS_TOLD_MAX + 1, LEGS_TOLD_MAX),
    ] {
        let mut desk = Desk::new(&Options::default());
        desk.call("a", URL, 0);
        for n in 1..legs {
            let leg = LegStarted {
                call: "a",
                leg: &n.to_string(),
                inbound: false,
                from: "1",
                to: "2",
                instead_of: None,
            };
            let begun = Event::leg_started(START, &leg);
            assert!(begun.write(&desk.db, &mut desk.outbox).unwrap());
        }
        let over = CallEnded {
            call: "a",
            ending: Ending {
                cause: Cause(480),
                by: EndedBy::Nobody,
            },
            answered: false,
            digits: 0,
            recordings: &[],
        };
        let over = Event::call_ended(START, &over);
        assert!(over.write(&desk.db, &mut desk.outbox).unwrap());
        desk.outbox.committed();
        let due = desk.due(START).now;
        let body: serde_json::Value = serde_json::from_str(&due[0].body).unwrap();
        assert_eq!(
            body["Legs"].as_array().map(Vec::len),
            Some(told),
            "of {legs}"
        );
    }
}
