//! Applications are told of calls by HTTP: whole, signed, in order for each call, whatever they or
//! the line do, and over restarts.

#[path = "call_callbacks/server.rs"]
mod server;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crosspoint::flow::callback::{ANSWER_MAX, Retry, Secret};
use crosspoint::flow::records::{Counters, Options, Store};
use crosspoint::flow::run::ledger::{CallEnded, CallStarted, Ledger as _, LegStarted};
use crosspoint::flow::script::{CallbackEvents, StatusCallback};
use crosspoint::sip::{Cause, EndedBy, Ending};

use server::{Answer, Application};

/// A database of its own, gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = root.join(format!("callbacks-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A store with pauses of 50 ms and more between attempts of two seconds at most.
    fn store(&self) -> Store {
        let options = Options {
            secret: Some(Secret::new("not a secret")),
            retry: Retry {
                first: Duration::from_millis(50),
                attempt: Duration::from_secs(2),
                ..Retry::default()
            },
            ..Options::default()
        };
        Store::open(&self.0.join("calls.sqlite"), options).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn to(url: url::Url, json: bool) -> StatusCallback {
    let events = CallbackEvents {
        ringing: true,
        answered: true,
        terminal: true,
    };
    StatusCallback { url, events, json }
}

const HANG_UP: Ending = Ending {
    cause: Cause::HANG_UP,
    by: EndedBy::Party,
};

fn start(store: &Store, call: &str, callback: &StatusCallback) {
    let (from, to) = ("+919800000001", "1000");
    let leg = format!("{call}-in");
    store.call_started(&CallStarted {
        call,
        from,
        to,
        flow: "demo",
        callback: Some(callback),
    });
    store.leg_started(&LegStarted {
        call,
        leg: &leg,
        inbound: true,
        from,
        to,
        instead_of: None,
    });
    store.ringing(call, &leg);
}

fn finish(store: &Store, call: &str) {
    let leg = format!("{call}-in");
    store.answered(call, &leg);
    store.leg_ended(call, &leg, HANG_UP, None);
    store.call_ended(&CallEnded {
        call,
        ending: HANG_UP,
        answered: true,
        digits: 0,
        recordings: &["a b.wav".to_owned()],
    });
}

/// What is told of such a call, in order.
fn expected(call: &str) -> [String; 4] {
    let leg = |event: &str| format!("{call} {call}-in {event}");
    let whole = format!("{call} * terminal");
    [leg("ringing"), leg("answered"), leg("terminal"), whole]
}

fn wait_for(store: &Store, counter: fn(&Counters) -> &AtomicU64, count: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    let now = || counter(store.counters()).load(Ordering::Relaxed);
    while now() < count {
        assert!(
            Instant::now() < end,
            "{} of {count}: {:?}",
            now(),
            store.counters()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(now(), count);
}

#[test]
fn an_application_is_told_in_order_whatever_fails() {
    let (folder, application) = (Folder::new(), Application::start());
    let store = folder.store();
    let faults = [
        Answer::Status(500),
        Answer::Cut,
        Answer::Hang,
        Answer::Status(429),
        Answer::Status(200),
        Answer::Status(503),
        Answer::Redirect(307, application.address.port()),
        Answer::Status(204),
        Answer::Status(408),
        Answer::Status(425),
    ];
    application.answer(faults);
    start(&store, "c1", &to(application.url("/told?a=1"), false));
    finish(&store, "c1");
    wait_for(&store, |it| &it.callbacks_delivered, 4);
    let told = application.told();
    let taken: Vec<String> = told
        .iter()
        .filter(|it| matches!(it.answer, Answer::Status(200 | 204)))
        .map(server::Request::what)
        .collect();
    assert_eq!(taken, expected("c1"));
    // Nothing was sent before what comes before it was taken, and each had the same number.
    let mut whats: Vec<_> = told.iter().map(|it| (it.what(), it.id.clone())).collect();
    assert_eq!(whats.len(), faults.len() + 2);
    whats.dedup();
    assert_eq!(whats.len(), 4, "{whats:?}");
    assert!(told.iter().all(|it| it.path == "/told?a=1"));
    wait_for(&store, |it| &it.callbacks_failed, 8);
    wait_for(&store, |it| &it.callbacks_waiting, 0);
    assert_eq!(
        store.counters().callbacks_given_up.load(Ordering::Relaxed),
        0
    );

    let last = told.last().unwrap();
    assert_eq!(last.kind, "application/x-www-form-urlencoded");
    let fields = [
        ("Status", "completed"),
        ("From", "+919800000001"),
        ("To", "1000"),
        ("Direction", "inbound"),
        ("CauseCode", "200"),
        ("DisconnectedBy", "Caller"),
        ("RecordingUrl", "a b.wav"),
        ("Recordings[0]", "a b.wav"),
        ("Legs[0][Status]", "completed"),
        ("Legs[0][LegSid]", "c1-in"),
        ("Legs[0][OnCallDuration]", "0"),
    ];
    for (name, value) in fields {
        assert_eq!(
            last.field(name).as_deref(),
            Some(value),
            "{name} of {}",
            last.body
        );
    }
}

#[test]
fn a_signature_holds_for_its_body_and_time() {
    let (folder, application) = (Folder::new(), Application::start());
    let store = folder.store();
    start(&store, "c1", &to(application.url("/"), true));
    let told = &application.wait(1)[0];
    assert_eq!(told.kind, "application/json");
    let body: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(body["CallSid"], "c1");
    assert_eq!(body["EventType"], "ringing");
    assert_eq!(body["ConversationDuration"], 0);
    let signature = told.signature.as_deref().unwrap();
    let (time, _) = signature
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let time: i64 = time.parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    assert!(
        (now - 60..=now).contains(&time),
        "{time} is not about {now}"
    );
    let secret = Secret::new("not a secret");
    assert_eq!(secret.sign(time, told.body.as_bytes()), signature);
    assert_ne!(secret.sign(time + 1, told.body.as_bytes()), signature);
    assert_ne!(
        Secret::new("another").sign(time, told.body.as_bytes()),
        signature
    );
}

#[test]
fn what_is_refused_is_given_up_and_the_next_one_goes() {
    let (folder, application) = (Folder::new(), Application::start());
    let elsewhere = Application::start();
    let store = folder.store();
    let away = Answer::Redirect(302, elsewhere.address.port());
    application.answer([Answer::Status(404), away, Answer::Status(410)]);
    start(&store, "c1", &to(application.url("/"), false));
    finish(&store, "c1");
    wait_for(&store, |it| &it.callbacks_delivered, 2);
    wait_for(&store, |it| &it.callbacks_given_up, 2);
    let told = application.told();
    let told: Vec<String> = told.iter().map(server::Request::what).collect();
    let [ringing, answered, ended, whole] = expected("c1");
    assert_eq!(told, [ringing, answered.clone(), answered, ended, whole]);
    assert!(elsewhere.told().is_empty(), "a redirect was followed");
}

#[test]
fn what_was_not_taken_is_sent_after_a_restart() {
    let (folder, application) = (Folder::new(), Application::start());
    application.answer([Answer::Status(500); 3]);
    let store = folder.store();
    start(&store, "c1", &to(application.url("/"), false));
    wait_for(&store, |it| &it.callbacks_failed, 3);
    drop(store);
    let before = application.told().len();
    application.answer([Answer::Hang]);
    let store = folder.store();
    // One is on its way when this one ends, too.
    application.wait(before + 1);
    drop(store);
    let store = folder.store();
    wait_for(&store, |it| &it.callbacks_delivered, 3);
    let told = application.told();
    let taken = told.iter().filter(|it| it.answer == Answer::Status(200));
    let taken: Vec<String> = taken.map(server::Request::what).collect();
    // The call was open when its first switch ended: that is told once, behind what had waited.
    let [ringing, _, ended, whole] = expected("c1");
    assert_eq!(taken, [ringing, ended, whole]);
    assert_eq!(
        told.last().unwrap().field("Status").as_deref(),
        Some("failed")
    );
    let first: Vec<&str> = told
        .iter()
        .map(|it| it.id.as_str())
        .take(before + 2)
        .collect();
    assert_eq!(
        first,
        vec!["1"; before + 2],
        "it has the same number after a restart"
    );
}

#[test]
fn calls_wait_neither_for_each_other_nor_for_a_host_that_is_silent() {
    let (folder, application) = (Folder::new(), Application::start());
    let silent = Application::start();
    silent.answer([Answer::Hang; 1_000]);
    let store = folder.store();
    for ix in 0..200 {
        start(&store, &format!("s{ix}"), &to(silent.url("/"), false));
    }
    silent.wait(1);
    let callback = to(application.url("/"), false);
    for ix in 0..50 {
        start(&store, &format!("c{ix}"), &callback);
        finish(&store, &format!("c{ix}"));
    }
    wait_for(&store, |it| &it.callbacks_delivered, 200);
    let told = application.told();
    for ix in 0..50 {
        let call = format!("c{ix}");
        let of_it = told.iter().map(server::Request::what);
        let of_it: Vec<String> = of_it
            .filter(|it| it.starts_with(&format!("{call} ")))
            .collect();
        assert_eq!(of_it, expected(&call));
    }
    // Dropping the store waits for none of them.
    let began = Instant::now();
    drop(store);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn long_answers_are_not_read() {
    const LONG: usize = 256 << 20;
    let (folder, application) = (Folder::new(), Application::start());
    application.answer([Answer::Long(LONG)]);
    let store = folder.store();
    start(&store, "c1", &to(application.url("/"), false));
    finish(&store, "c1");
    wait_for(&store, |it| &it.callbacks_delivered, 4);
    // What sockets and we took, and then the connection was closed.
    let sent = application.sent();
    assert!((ANSWER_MAX..LONG / 4).contains(&sent), "{sent}");
    assert_eq!(application.told().len(), 4);
}
