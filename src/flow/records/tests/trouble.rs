//! Databases that cannot be used, crashes, and disks without room.

use super::*;

#[test]
fn what_a_crash_left_open_is_closed_and_told() {
    let scene = Scene::new();
    // Nobody listens there: what is queued stays.
    let callback = callback("http://127.0.0.1:9/told");
    scene.start("done", None);
    scene.end("done", 200, false);
    scene.start("open", Some(&callback));
    scene.store().answered("open", "open-in");
    scene.leg("open", "agent", false, "agent-1");
    // It is noted every ten seconds that the switch lives.
    scene.pass(25_000);
    scene.store().ringing("open", "agent");
    scene.store().flush();
    scene.store().flush();
    // As the disk is when the process dies now.
    let crashed = Folder::new();
    for ending in ["", "-wal"] {
        let named = |folder: &Folder| folder.0.join(format!("calls.sqlite{ending}"));
        fs::copy(named(&scene.folder), named(&crashed)).unwrap();
    }
    let queued = scene.count(|it| &it.callbacks_queued);
    scene.pass(3_600_000);
    let store = Store::open(&crashed.path(), scene.options.clone()).unwrap();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&store.counters().crashed), 1);
    // Of the two legs, and of the call.
    assert_eq!(count(&store.counters().callbacks_queued), 3);
    assert_eq!(count(&store.counters().callbacks_waiting), queued + 3);
    let reader = Reader::open(&crashed.path()).unwrap();
    let (call, legs) = reader.call("open").unwrap().unwrap();
    assert_eq!((call.status.as_str(), call.cause), ("failed", None));
    assert_eq!(call.ended_by.as_deref(), Some("crash"));
    // When it was last known to live, not now.
    assert_eq!(call.times.ended.unwrap().0, START + 25_000);
    assert_eq!(call.times.talk_ms, 25_000);
    for leg in legs {
        assert_eq!(
            (leg.status.as_str(), leg.ended_by.as_deref()),
            ("failed", Some("crash"))
        );
    }
    assert_eq!(
        reader.call("done").unwrap().unwrap().0.ended_by.as_deref(),
        Some("caller")
    );
    drop(store);
    // Once is enough.
    let store = Store::open(&crashed.path(), scene.options.clone()).unwrap();
    assert_eq!(count(&store.counters().crashed), 0);
    assert_eq!(count(&store.counters().callbacks_waiting), queued + 3);
}

fn refusal(path: &Path, options: Options) -> String {
    let text = Store::open(path, options).unwrap_err().to_string();
    let name = path.display().to_string();
    assert!(text.starts_with(&name), "{text}");
    text[name.len()..].to_owned()
}

#[test]
fn databases_that_cannot_be_used_are_refused_at_once() {
    let folder = Folder::new();
    let path = folder.path();
    let usual = Options::default;

    let text = refusal(&folder.0.join("none/calls.sqlite"), usual());
    assert!(text.contains("there is no folder"), "{text}");
    // A file where there should be a folder, and the other way round.
    fs::create_dir(folder.0.join("folder")).unwrap();
    let text = refusal(&folder.0.join("folder"), usual());
    assert!(text.contains("is a folder"), "{text}");

    fs::write(&path, "this is no database, but long enough".repeat(100)).unwrap();
    let text = refusal(&path, usual());
    assert!(text.contains("is not a database"), "{text}");

    fs::remove_file(&path).unwrap();
    let text = refusal(
        &path,
        Options {
            pages_max: Some(4),
            ..usual()
        },
    );
    assert!(text.contains("the disk is full"), "{text}");

    // An empty file is a new database.
    fs::write(&path, "").unwrap();
    let store = Store::open(&path, usual()).unwrap();
    let text = refusal(&path, usual());
    assert!(text.contains("another switch"), "{text}");
    for ix in 0..2_000 {
        store.leg_started(&LegStarted {
            call: "x",
            leg: "x",
            inbound: true,
            from: "x",
            to: "x",
            instead_of: None,
        });
        let sid = format!("c{ix}");
        let (from, to, flow) = ("+919800000001", "1000", "demo");
        store.call_started(&CallStarted {
            call: &sid,
            from,
            to,
            flow,
            callback: None,
        });
    }
    drop(store);
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let text = refusal(&path, usual());
    assert!(text.contains("is damaged"), "{text}");
    // All pages behind the first, in the middle.
    let mut damaged = whole.clone();
    damaged[4_096 * 3..4_096 * 12].fill(0xa5);
    fs::write(&path, damaged).unwrap();
    let text = refusal(&path, usual());
    assert!(text.contains("is damaged"), "{text}");

    fs::write(&path, &whole).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
    drop(db);
    let text = refusal(&path, usual());
    assert!(
        text.contains("written by a newer crosspoint (version 3"),
        "{text}"
    );
    let text = Reader::open(&path).unwrap_err().to_string();
    assert!(text.contains("newer crosspoint"), "{text}");
    let text = Reader::open(&folder.0.join("none"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("no such file"), "{text}");
    fs::write(folder.0.join("empty"), "").unwrap();
    let text = Reader::open(&folder.0.join("empty"))
        .unwrap_err()
        .to_string();
    assert!(text.contains("no call records"), "{text}");
}

/// The largest size stands for a full disk: SQLite meets both in the same place. What waits is
/// written when there is room again.
#[test]
fn a_full_database_is_waited_for() {
    let scene = Scene::with(|it| it.pages_max = Some(60));
    let long = "9".repeat(TEXT_MAX);
    let mut told = 0;
    while scene.count(|it| &it.failed) == 0 {
        let sid = format!("c{told}");
        scene.store().call_started(&CallStarted {
            call: &sid,
            from: &long,
            to: &long,
            flow: "demo",
            callback: None,
        });
        told += 1;
        assert!(told < 10_000, "it is never full");
        std::thread::sleep(Duration::from_millis(1));
    }
    let written = scene.count(|it| &it.written);
    assert!(written < told, "{written} of {told}");
    // Old calls go, and with them comes room.
    scene.pass(31 * 24 * 3_600 * 1_000);
    scene.start("late", None);
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while scene.count(|it| &it.written) < told + 2 {
        assert!(std::time::Instant::now() < end, "it does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(scene.count(|it| &it.dropped), 0);
    assert_eq!(scene.call("late").1.len(), 1);
}

#[test]
fn records_can_be_read_when_nobody_has_them_open() {
    let mut scene = Scene::new();
    scene.start("c1", None);
    drop(scene.store.take());
    let reader = Reader::open(&scene.folder.path()).unwrap();
    assert_eq!(reader.call("c1").unwrap().unwrap().1.len(), 1);
}
