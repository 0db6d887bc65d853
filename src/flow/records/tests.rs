use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};

use super::read::{CallRecord, Filter, LegRecord, Reader};
use super::*;
use crate::flow::script::{CallbackEvents, StatusCallback};
use crate::sip::{Cause, EndedBy};

mod outbox;
mod trouble;

/// 2026-11-24 08:00:00 UTC.
const START: i64 = 1_795_507_200_000;

/// A folder of its own, gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("call-records-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("calls.sqlite")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// A store, and the time it sees.
struct Scene {
    folder: Folder,
    now: Arc<AtomicI64>,
    options: Options,
    store: Option<Store>,
}

impl Scene {
    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let now = Arc::new(AtomicI64::new(START));
        let seen = Arc::clone(&now);
        let mut options = Options {
            clock: Clock::new(move || seen.load(Ordering::Relaxed)),
            ..Options::default()
        };
        change(&mut options);
        let folder = Folder::new();
        let store = Some(Store::open(&folder.path(), options.clone()).unwrap());
        Self {
            folder,
            now,
            options,
            store,
        }
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn start(&self, call: &str, callback: Option<&StatusCallback>) {
        self.store().call_started(&CallStarted {
            call,
            from: "+919800000001",
            to: "1000",
            flow: "demo",
            callback,
        });
        self.leg(call, &format!("{call}-in"), true, "1000");
    }

    fn leg(&self, call: &str, leg: &str, inbound: bool, to: &str) {
        let from = "+919800000001";
        self.store().leg_started(&LegStarted {
            call,
            leg,
            inbound,
            from,
            to,
            instead_of: None,
        });
    }

    fn end_leg(&self, call: &str, leg: &str, cause: u16, by: EndedBy, quality: Option<&Quality>) {
        let cause = Cause(cause);
        self.store()
            .leg_ended(call, leg, Ending { cause, by }, quality);
    }

    fn end(&self, call: &str, cause: u16, answered: bool) {
        let by = EndedBy::Party;
        self.end_leg(call, &format!("{call}-in"), cause, by, None);
        let cause = Cause(cause);
        self.store().call_ended(&CallEnded {
            call,
            ending: Ending { cause, by },
            answered,
            digits: 0,
            recordings: &[],
        });
    }

    fn reader(&self) -> Reader {
        self.store().flush();
        Reader::open(&self.folder.path()).unwrap()
    }

    fn call(&self, sid: &str) -> (CallRecord, Vec<LegRecord>) {
        self.reader().call(sid).unwrap().expect("a call")
    }

    fn sids(&self) -> Vec<String> {
        let calls = self.reader().list(&everything()).unwrap();
        calls.into_iter().map(|call| call.sid).collect()
    }

    fn count(&self, counter: fn(&Counters) -> &AtomicU64) -> u64 {
        counter(self.store().counters()).load(Ordering::Relaxed)
    }
}

fn everything() -> Filter {
    Filter {
        limit: 1_000,
        since: None,
        status: None,
        number: None,
    }
}

#[test]
fn a_call_is_kept_with_its_legs() {
    let scene = Scene::new();
    scene.start("c1", None);
    scene.pass(1_000);
    scene.store().ringing("c1", "c1-in");
    scene.pass(2_000);
    scene.store().answered("c1", "c1-in");
    scene.leg("c1", "agent", false, "agent-2");
    scene.store().ringing("c1", "agent");
    scene.pass(4_000);
    // Told again by another 18x: it rang from the first one on.
    scene.store().ringing("c1", "agent");
    scene.store().answered("c1", "agent");
    let open = scene.call("c1").0;
    assert_eq!(
        (open.status.as_str(), open.times.talk_ms),
        ("in-progress", 0)
    );
    scene.pass(60_000);
    let quality = Quality {
        received: 3_000,
        lost: 12,
        jitter_us: 900,
        mos: Some(4.25),
    };
    scene.end_leg("c1", "agent", 200, EndedBy::Us, Some(&quality));
    scene.end_leg("c1", "c1-in", 200, EndedBy::Party, None);
    scene.store().call_ended(&CallEnded {
        call: "c1",
        ending: Ending {
            cause: Cause::HANG_UP,
            by: EndedBy::Party,
        },
        answered: true,
        digits: 7,
        recordings: &["2026-11-24/c1.wav".to_owned(), "vm.wav".to_owned()],
    });
    let (call, legs) = scene.call("c1");
    assert_eq!(
        (call.flow.as_str(), call.direction.as_str()),
        ("demo", "inbound")
    );
    assert_eq!(
        (call.from.as_str(), call.to.as_str()),
        ("+919800000001", "1000")
    );
    assert_eq!((call.status.as_str(), call.cause), ("completed", Some(200)));
    assert_eq!(call.ended_by.as_deref(), Some("caller"));
    assert_eq!((call.times.ring_ms, call.times.talk_ms), (2_000, 64_000));
    assert_eq!(call.times.started.0, START);
    assert_eq!(call.times.answered.unwrap().0, START + 3_000);
    assert_eq!(call.times.ended.unwrap().0, START + 67_000);
    assert_eq!(call.times.started.seconds(), "2026-11-24 08:00:00");
    assert_eq!((call.digits, call.recordings.len()), (7, 2));
    assert_eq!(call.recordings[0], "2026-11-24/c1.wav");
    let [caller, agent] = &legs[..] else {
        panic!("{legs:?}");
    };
    assert_eq!(
        (caller.direction.as_str(), caller.received),
        ("inbound", None)
    );
    assert_eq!(caller.ended_by.as_deref(), Some("party"));
    assert_eq!(
        (agent.direction.as_str(), agent.to.as_str()),
        ("outbound-dial", "agent-2")
    );
    assert_eq!((agent.times.ring_ms, agent.times.talk_ms), (4_000, 60_000));
    assert_eq!((agent.received, agent.lost), (Some(3_000), Some(12)));
    assert_eq!((agent.jitter_us, agent.mos), (Some(900), Some(4.25)));
    assert_eq!(agent.ended_by.as_deref(), Some("switch"));
    assert!(!agent.silent && !caller.silent);
    // By the SID of a leg its call is found, too.
    assert_eq!(scene.call("agent").0.sid, "c1");
    assert_eq!(scene.count(|it| &it.skipped), 0);
    assert_eq!(scene.count(|it| &it.written), 11);
}

#[test]
fn statuses_are_in_the_platforms_words() {
    let scene = Scene::new();
    let cases = [
        (200, true, "completed"),
        (486, false, "busy"),
        (603, false, "busy"),
        (408, false, "no-answer"),
        (487, false, "canceled"),
        (500, false, "failed"),
        (408, true, "completed"),
    ];
    for (ix, (cause, answered, _)) in cases.iter().enumerate() {
        let sid = format!("c{ix}");
        scene.start(&sid, None);
        if *answered {
            scene.store().answered(&sid, &format!("{sid}-in"));
        }
        scene.end(&sid, *cause, *answered);
    }
    scene.start("open", None);
    for (ix, (_, _, status)) in cases.iter().enumerate() {
        let (call, legs) = scene.call(&format!("c{ix}"));
        assert_eq!(
            (call.status.as_str(), legs[0].status.as_str()),
            (*status, *status)
        );
    }
    assert_eq!(scene.call("open").0.status, "ringing");
}

#[test]
fn a_leg_is_silent_when_nothing_came_for_more_than_two_seconds() {
    let scene = Scene::new();
    let none = Quality::default();
    let some = Quality {
        received: 1,
        ..none
    };
    let cases = [
        (2_000, Some(none), false),
        (2_001, Some(none), true),
        (2_001, Some(some), false),
        // Nothing is known of it.
        (2_001, None, false),
    ];
    for (ix, (ms, quality, _)) in cases.iter().enumerate() {
        let sid = format!("c{ix}");
        scene.start(&sid, None);
        scene.store().answered(&sid, &format!("{sid}-in"));
        scene.pass(*ms);
        scene.end_leg(
            &sid,
            &format!("{sid}-in"),
            200,
            EndedBy::Party,
            quality.as_ref(),
        );
    }
    for (ix, (_, _, silent)) in cases.iter().enumerate() {
        assert_eq!(
            scene.call(&format!("c{ix}")).1[0].silent,
            *silent,
            "case {ix}"
        );
    }
}

#[test]
fn what_is_told_twice_or_of_nobody_changes_nothing() {
    let scene = Scene::new();
    scene.start("c1", None);
    scene.store().answered("c1", "c1-in");
    scene.end("c1", 200, true);
    let before = scene.call("c1");
    scene.pass(5_000);
    scene.store().answered("c1", "c1-in");
    scene.end("c1", 486, false);
    scene.store().ringing("c1", "nobody");
    scene.leg("nobody", "leg", false, "x");
    assert_eq!(scene.call("c1"), before);
    assert_eq!(scene.count(|it| &it.skipped), 5);
}

#[test]
fn a_sid_that_comes_again_is_another_call() {
    let scene = Scene::new();
    scene.start("same", None);
    scene.end("same", 486, false);
    scene.pass(1_000);
    scene.start("same", None);
    scene.store().answered("same", "same-in");
    scene.end("same", 200, true);
    let calls = scene.reader().list(&everything()).unwrap();
    let statuses: Vec<_> = calls.iter().map(|call| call.status.as_str()).collect();
    assert_eq!(statuses, ["completed", "busy"]);
    assert_eq!(scene.call("same").1.len(), 1);
}

#[test]
fn lists_are_filtered() {
    let scene = Scene::new();
    scene.start("old", None);
    scene.end("old", 486, false);
    scene.pass(60_000);
    scene.start("new", None);
    assert_eq!(scene.sids(), ["new", "old"]);
    let reader = scene.reader();
    let sids = |change: fn(&mut Filter)| {
        let mut filter = everything();
        change(&mut filter);
        let found = reader.list(&filter).unwrap();
        found.into_iter().map(|call| call.sid).collect::<Vec<_>>()
    };
    assert_eq!(sids(|it| it.limit = 1), ["new"]);
    assert_eq!(sids(|it| it.status = Some("busy".into())), ["old"]);
    assert_eq!(sids(|it| it.since = Some(read::Moment(START + 1))), ["new"]);
    assert_eq!(sids(|it| it.since = Some(read::Moment(START))).len(), 2);
    assert_eq!(sids(|it| it.number = Some("98000".into())).len(), 2);
    assert!(sids(|it| it.number = Some("'; --%".into())).is_empty());
}

#[test]
fn long_texts_are_cut_between_characters() {
    let scene = Scene::new();
    // 511 octets, and then a character of two.
    let long = format!("{}é and more", "x".repeat(TEXT_MAX - 1));
    let recordings = vec!["r".to_owned(); RECORDINGS_MAX + 1];
    scene.store().call_started(&CallStarted {
        call: "c1",
        from: &long,
        to: &"y".repeat(TEXT_MAX),
        flow: "f",
        callback: None,
    });
    scene.store().call_ended(&CallEnded {
        call: "c1",
        ending: Ending {
            cause: Cause::HANG_UP,
            by: EndedBy::Nobody,
        },
        answered: false,
        digits: 0,
        recordings: &recordings,
    });
    let call = scene.call("c1").0;
    assert_eq!(call.from, "x".repeat(TEXT_MAX - 1));
    assert_eq!(call.to.len(), TEXT_MAX);
    assert_eq!(call.recordings.len(), RECORDINGS_MAX);
}

#[test]
fn calls_are_kept_for_so_long_and_so_many() {
    const DAY: i64 = 24 * 3_600 * 1_000;
    let scene = Scene::with(|it| it.calls_max = 3);
    scene.start("a", None);
    scene.pass(DAY);
    scene.start("b", None);
    scene.end("b", 200, false);
    // To the millisecond thirty days: it stays.
    scene.pass(29 * DAY);
    scene.start("c", None);
    wait_for(|| scene.sids(), &["c", "b", "a"]);
    scene.pass(11_000);
    scene.start("d", None);
    wait_for(|| scene.sids(), &["d", "c", "b"]);
    assert_eq!(scene.count(|it| &it.expired), 1);
    // Three are kept, the fourth drives out the oldest.
    scene.pass(11_000);
    scene.start("e", None);
    wait_for(|| scene.sids(), &["e", "d", "c"]);
    let reader = scene.reader();
    assert!(reader.call("b").unwrap().is_none());
    assert!(
        reader.call("b-in").unwrap().is_none(),
        "its legs go with it"
    );
}

#[test]
fn many_old_calls_go_in_small_steps() {
    let scene = Scene::new();
    let count = u64::from(SWEEP_MAX) * 2 + 1;
    for ix in 0..count {
        scene.start(&format!("c{ix}"), None);
    }
    scene.store().flush();
    scene.pass(31 * 24 * 3_600 * 1_000);
    scene.start("new", None);
    wait_for(|| scene.sids(), &["new"]);
    assert_eq!(scene.count(|it| &it.expired), count);
}

/// The thread does it soon.
fn wait_for(see: impl Fn() -> Vec<String>, expected: &[&str]) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while see() != expected {
        assert!(std::time::Instant::now() < end, "{:?}", see());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Of a call that is handed on: who takes whose place is kept, and the call's times are the
/// first caller's.
#[test]
fn who_takes_the_place_of_another_is_kept() {
    let scene = Scene::new();
    scene.start("c1", None);
    scene.store().answered("c1", "c1-in");
    let instead = |leg: &str, inbound: bool, instead_of: &str| {
        scene.pass(1_000);
        scene.store().leg_started(&LegStarted {
            call: "c1",
            leg,
            inbound,
            from: "a",
            to: "b",
            instead_of: Some(instead_of),
        });
        scene.store().ringing("c1", leg);
        scene.store().answered("c1", leg);
    };
    instead("other", true, "c1-in");
    instead("third", false, "other");
    scene.pass(1_000);
    scene.end("c1", 200, true);
    let (call, legs) = scene.call("c1");
    assert_eq!(call.times.answered, Some(read::Moment(START)));
    assert_eq!((call.times.rang, call.times.talk_ms), (None, 3_000));
    let told: Vec<_> = legs.iter().map(|leg| leg.instead_of.as_deref()).collect();
    assert_eq!(told, [None, Some("c1-in"), Some("other")]);
}

#[test]
fn a_database_of_the_version_before_is_read_and_brought_up_to_date() {
    let mut scene = Scene::new();
    scene.start("c1", None);
    scene.end("c1", 200, true);
    scene.store = None;
    let path = scene.folder.path();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("ALTER TABLE legs DROP COLUMN instead_of; PRAGMA user_version = 1;")
        .unwrap();
    drop(db);
    let legs = || {
        let reader = Reader::open(&path).unwrap();
        reader.call("c1").unwrap().expect("a call").1
    };
    assert_eq!(legs()[0].instead_of, None);
    drop(Store::open(&path, scene.options.clone()).unwrap());
    assert_eq!(legs().len(), 1);
    let db = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);
    db.prepare("SELECT instead_of FROM legs").unwrap();
}

/// A call of [`Scene`]'s caller that is answered, and that rings and joins these.
fn with_agents(scene: &Scene, sid: &str, answered: &[&str], rang: &[&str]) {
    scene.start(sid, None);
    scene.store().answered(sid, &format!("{sid}-in"));
    for agent in rang.iter().chain(answered) {
        scene.leg(sid, agent, false, agent);
        scene.store().ringing(sid, agent);
    }
    for agent in answered {
        scene.pass(10);
        scene.store().answered(sid, agent);
    }
}

#[tokio::test]
async fn the_last_agent_of_a_caller_is_known() {
    const CALLER: &str = "+919800000001";
    let scene = Scene::new();
    let last = async |caller: &str, agents: &[&str]| {
        let agents = agents.iter().map(|&agent| agent.to_owned()).collect();
        scene.store().last_agent(caller, agents).await
    };
    let all = ["asha", "ben", "cara"];
    assert_eq!(last(CALLER, &all).await, None);
    with_agents(&scene, "c1", &["asha", "ben"], &["cara"]);
    assert_eq!(last(CALLER, &all).await, None, "not over yet");
    scene.end("c1", 200, true);
    assert_eq!(last(CALLER, &all).await.as_deref(), Some("ben"));
    // A call that reached nobody changes nothing, and another caller's is another's.
    with_agents(&scene, "c2", &[], &["cara"]);
    scene.end("c2", 200, true);
    assert_eq!(last(CALLER, &all).await.as_deref(), Some("ben"));
    assert_eq!(last("+919800000002", &all).await, None);
    with_agents(&scene, "c3", &["cara"], &[]);
    scene.end("c3", 200, true);
    assert_eq!(last(CALLER, &all).await.as_deref(), Some("cara"));
    // Others than those who are asked for do not count.
    assert_eq!(last(CALLER, &["asha", "ben"]).await.as_deref(), Some("ben"));
    assert_eq!(last(CALLER, &["dora"]).await, None);
}

#[tokio::test]
async fn so_many_calls_are_looked_at_for_the_last_agent_and_no_more() {
    const CALLER: &str = "+919800000001";
    let scene = Scene::new();
    let last = async || scene.store().last_agent(CALLER, vec!["asha".into()]).await;
    with_agents(&scene, "first", &["asha"], &[]);
    scene.end("first", 200, true);
    let with_ben = |n: u32| {
        let sid = format!("c{n}");
        with_agents(&scene, &sid, &["ben"], &[]);
        scene.end(&sid, 200, true);
    };
    (1..read::STICKY_CALLS_MAX).for_each(with_ben);
    scene.store().flush();
    assert_eq!(last().await.as_deref(), Some("asha"));
    with_ben(read::STICKY_CALLS_MAX);
    scene.store().flush();
    assert_eq!(last().await, None);
}

fn callback(url: &str) -> StatusCallback {
    StatusCallback {
        url: url.parse().unwrap(),
        events: CallbackEvents {
            ringing: true,
            answered: true,
            terminal: true,
        },
        json: true,
    }
}
