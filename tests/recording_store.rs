//! Complete recordings are brought into an S3 store, whatever the line does: the object is whole
//! and verified, or the failure is told and the local copy stays.

#[path = "recording_store/server.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crosspoint::record::event::{RecordingEvent, RecordingEventKind, StopReason};
use crosspoint::record::vault::{Key, PART_LEN, Store, UPLOADS_MAX, Vault, VaultConfig};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;

use server::{BUCKET, Fault, Line};

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a recording of so many octets, a server, and what the vault says.
struct Scene {
    root: PathBuf,
    line: Line,
    told: broadcast::Receiver<RecordingEvent>,
    teller: broadcast::Sender<RecordingEvent>,
}

const PATH: &str = "2026-11-23/call-1.wav";

impl Scene {
    fn of(name: &str, len: usize) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{name}"));
        let _not_there = fs::remove_dir_all(&root);
        let line = Line::to_a_server_in(&root.join("server"));
        let (teller, told) = broadcast::channel(64);
        let scene = Self {
            root,
            line,
            told,
            teller,
        };
        scene.record(len);
        scene
    }

    fn dir(&self) -> PathBuf {
        self.root.join("recordings")
    }

    fn file(&self) -> PathBuf {
        self.dir().join(PATH)
    }

    fn record(&self, len: usize) {
        self.record_as(PATH, len);
    }

    fn record_as(&self, path: &str, len: usize) {
        let file = self.dir().join(path);
        let mut random = fastrand::Rng::with_seed(len as u64);
        let octets: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
        let sum = Sha256::digest(&octets);
        let sum: String = sum.iter().map(|octet| format!("{octet:02x}")).collect();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, octets).unwrap();
        let sidecar = json!({"call_id": "call-1", "sha256": sum, "chain": "c4a1"}).to_string();
        fs::write(file.with_extension("wav.json"), sidecar).unwrap();
    }

    fn config(&self) -> VaultConfig {
        let store = Store::open(&format!("s3://{BUCKET}/kept"), &self.line.options());
        VaultConfig {
            store: Some(store.unwrap()),
            key: None,
            callback: None,
            keep: false,
            retention: None,
        }
    }

    fn vault(&self, config: VaultConfig) -> Vault {
        let vault = Vault::start(self.dir(), config, self.teller.clone());
        vault.unwrap()
    }

    fn object(&self, name: &str) -> PathBuf {
        self.root
            .join("server")
            .join(BUCKET)
            .join("kept")
            .join(name)
    }

    fn next(&mut self) -> RecordingEventKind {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.told.try_recv() {
                // Of others, and what we said ourselves.
                Ok(event) if &*event.path != PATH => {}
                Ok(event) if matches!(event.kind, RecordingEventKind::Completed { .. }) => {}
                Ok(event) => {
                    assert_eq!(&*event.call_id, "call-1");
                    return event.kind;
                }
                Err(_) => assert!(Instant::now() < end, "the vault says nothing"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Says that a recording is complete, as recorders do.
    fn complete(&self, path: &str) {
        let kind = RecordingEventKind::Completed {
            reason: StopReason::Commanded,
            length: Duration::from_secs(1),
            bytes: 0,
            sha256: "".into(),
            chain: "".into(),
        };
        let event = RecordingEvent {
            call_id: "call-1".into(),
            path: path.into(),
            kind,
        };
        self.teller.send(event).unwrap();
    }

    fn is_available(&mut self) {
        let url = format!("s3://{BUCKET}/kept/{PATH}").into();
        assert_eq!(self.next(), RecordingEventKind::Available { url });
    }
}

/// Two parts and a bit.
const LARGE: usize = (2 << 23) + 1_000;
const _: () = assert!(PART_LEN == 1 << 23);

#[test]
fn a_recording_is_brought_away_and_its_copy_deleted() {
    for (name, len) in [("small", 10_000), ("large", LARGE)] {
        let mut scene = Scene::of(name, len);
        let before = fs::read(scene.file()).unwrap();
        let vault = scene.vault(scene.config());
        scene.is_available();
        assert!(fs::read(scene.object(PATH)).unwrap() == before, "{name}");
        let sidecar = scene.object(&format!("{PATH}.json"));
        assert!(fs::read_to_string(sidecar).unwrap().contains("call-1"));
        assert!(!scene.file().exists() && !scene.file().with_extension("wav.json").exists());
        assert_eq!(vault.counters().stored.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn an_upload_that_is_cut_goes_on_with_the_part_that_failed() {
    let mut scene = Scene::of("cut", LARGE);
    let before = fs::read(scene.file()).unwrap();
    // More often than one attempt repeats a request: a second attempt must go on.
    scene.line.fail([Fault::Cut(100_000); 6]);
    let _vault = scene.vault(scene.config());
    scene.is_available();
    assert_eq!(scene.line.faults_left(), 0);
    assert!(fs::read(scene.object(PATH)).unwrap() == before);
    let parts = scene.line.parts.load(Ordering::Relaxed);
    assert_eq!(parts, 3, "no part is brought twice");
    assert!(!scene.file().exists());
}

#[test]
fn a_server_that_fails_is_asked_again_until_it_does_not() {
    let mut scene = Scene::of("500", 50_000);
    scene.line.fail([Fault::Error500; 12]);
    let vault = scene.vault(scene.config());
    while scene.line.faults_left() > 0 {
        assert!(scene.file().exists(), "the copy stays until it is verified");
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.is_available();
    assert!(scene.object(PATH).exists() && !scene.file().exists());
    assert!(vault.counters().failed.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_is_read_back_damaged_is_not_taken_for_the_recording() {
    let mut scene = Scene::of("damage", 50_000);
    let before = fs::read(scene.file()).unwrap();
    // The first GET finds nothing and is answered 404, whose last octet does not matter.
    scene.line.fail([Fault::Damage, Fault::Damage]);
    let vault = scene.vault(scene.config());
    scene.is_available();
    assert_eq!(vault.counters().failed.load(Ordering::Relaxed), 1);
    assert!(fs::read(scene.object(PATH)).unwrap() == before);
}

#[test]
fn another_object_of_the_name_is_left_alone_and_the_failure_told() {
    let mut scene = Scene::of("taken", 10_000);
    let taken = scene.object(PATH);
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    fs::write(&taken, "somebody else's").unwrap();
    let _vault = scene.vault(scene.config());
    let RecordingEventKind::Failed { error } = scene.next() else {
        panic!("nothing can be available");
    };
    assert!(error.contains("something else of this name"), "{error}");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "somebody else's");
    assert!(scene.file().exists());
}

#[test]
fn those_that_cannot_be_stored_hold_up_no_other() {
    let mut scene = Scene::of("stuck", 10_000);
    let stuck: Vec<String> = (0..2 * UPLOADS_MAX)
        .map(|at| format!("a{at}.wav"))
        .collect();
    let vault = scene.vault(scene.config());
    scene.is_available();
    for path in &stuck {
        scene.record_as(path, 1_000);
        fs::write(scene.object(path), "somebody else's").unwrap();
        scene.complete(path);
    }
    let failed = || vault.counters().failed.load(Ordering::Relaxed);
    let end = Instant::now() + PATIENCE;
    while failed() < stuck.len() as u64 {
        assert!(Instant::now() < end, "only {} were tried", failed());
        std::thread::sleep(Duration::from_millis(10));
    }
    scene.record(20_000);
    fs::remove_file(scene.object(PATH)).unwrap();
    fs::remove_file(scene.object(&format!("{PATH}.json"))).unwrap();
    scene.complete(PATH);
    scene.is_available();
}

#[test]
fn a_directory_is_a_store_too() {
    let mut scene = Scene::of("directory", LARGE);
    let before = fs::read(scene.file()).unwrap();
    let url = format!("file://{}", scene.root.join("kept").display());
    let config = VaultConfig {
        store: Some(Store::open(&url, &[]).unwrap()),
        ..scene.config()
    };
    let _vault = scene.vault(config);
    let url = format!("{url}/{PATH}").into();
    assert_eq!(scene.next(), RecordingEventKind::Available { url });
    assert!(fs::read(scene.root.join("kept").join(PATH)).unwrap() == before);
    assert!(!scene.file().exists());
}

#[test]
fn what_a_crash_left_is_found_at_the_start() {
    let mut scene = Scene::of("found", 10_000);
    let _vault = scene.vault(scene.config());
    scene.is_available();
    assert!(scene.object(PATH).exists());
}

#[test]
fn a_sealed_recording_is_read_by_its_recipient_alone() {
    let mut scene = Scene::of("sealed", 100_000);
    let before = fs::read(scene.file()).unwrap();
    let identity = age::x25519::Identity::generate();
    let key = Key::from_text(&format!("# ours\n\n{}\n", identity.to_public())).unwrap();
    let config = VaultConfig {
        store: None,
        key: Some(key),
        ..scene.config()
    };
    let _vault = scene.vault(config);
    let url = format!("{PATH}.age").into();
    assert_eq!(scene.next(), RecordingEventKind::Available { url });
    assert!(!scene.file().exists(), "what is not sealed does not stay");
    let sealed = fs::read(scene.dir().join(format!("{PATH}.age"))).unwrap();
    assert!(age::decrypt(&identity, &sealed).unwrap() == before);
    let stranger = age::x25519::Identity::generate();
    assert!(age::decrypt(&stranger, &sealed).is_err());
}

#[test]
fn keys_that_are_none_are_refused_and_not_shown() {
    let private = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQSQQQQQQ";
    for (text, said) in [("", "0 recipients"), (private, "line 1")] {
        let error = Key::from_text(text).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("QQQ"), "{error}");
    }
    let one = age::x25519::Identity::generate().to_public().to_string();
    let keys = |count: usize| vec![one.as_str(); count].join("\n");
    assert!(Key::from_text(&keys(32)).is_ok());
    assert!(Key::from_text(&keys(33)).is_err());
}

#[test]
fn who_wants_to_know_is_told_over_http_until_it_has_heard() {
    let mut scene = Scene::of("callback", 10_000);
    let (address, requests) = callback_server(1);
    let config = VaultConfig {
        store: None,
        callback: Some(format!("http://{address}/recorded")),
        ..scene.config()
    };
    let _vault = scene.vault(config);
    let url = PATH.into();
    assert_eq!(scene.next(), RecordingEventKind::Available { url });
    for _ in 0..2 {
        let body: serde_json::Value = requests.recv_timeout(PATIENCE).unwrap();
        assert_eq!(body["event"], "recording_available");
        assert_eq!(body["call_id"], "call-1");
        assert_eq!(body["recording"], PATH);
        assert_eq!(body["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(body["chain"], "c4a1");
    }
    assert!(scene.file().exists());
}

#[test]
fn what_is_too_old_is_deleted_and_nothing_else() {
    let scene = Scene::of("old", 1_000);
    let other = scene.dir().join("notes.json");
    fs::write(&other, "{}").unwrap();
    let new = scene.dir().join("new.wav.json");
    let sidecar = scene.file().with_extension("wav.json");
    fs::copy(&sidecar, &new).unwrap();
    let day = Duration::from_secs(86_400);
    for old in [&sidecar, &other] {
        let file = fs::File::options().write(true).open(old).unwrap();
        file.set_modified(std::time::SystemTime::now() - 31 * day)
            .unwrap();
    }
    let config = VaultConfig {
        store: None,
        retention: Some(30 * day),
        ..scene.config()
    };
    let vault = scene.vault(config);
    let end = Instant::now() + PATIENCE;
    while vault.counters().expired.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end, "it is not deleted");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!scene.file().exists() && !sidecar.exists());
    assert!(other.exists() && new.exists());
}

#[test]
fn what_is_too_old_stays_until_it_is_stored() {
    let mut scene = Scene::of("old-unstored", 1_000);
    let before = fs::read(scene.file()).unwrap();
    let day = Duration::from_secs(86_400);
    let sidecar = scene.file().with_extension("wav.json");
    let file = fs::File::options().write(true).open(&sidecar).unwrap();
    file.set_modified(std::time::SystemTime::now() - 31 * day)
        .unwrap();
    scene.line.fail([Fault::Error500; 4]);
    let config = VaultConfig {
        retention: Some(30 * day),
        ..scene.config()
    };
    let vault = scene.vault(config);
    scene.is_available();
    assert!(fs::read(scene.object(PATH)).unwrap() == before);
    assert_eq!(vault.counters().expired.load(Ordering::Relaxed), 0);
}

/// Takes callbacks; the first `failing` are answered with 503.
fn callback_server(
    failing: usize,
) -> (
    std::net::SocketAddr,
    std::sync::mpsc::Receiver<serde_json::Value>,
) {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = BufReader::new(stream);
            let mut length = 0;
            for line in (&mut stream).lines().map_while(Result::ok) {
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = if at < failing { "503 No" } else { "204 Yes" };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
            let _gone = stream.get_mut().write_all(answer.as_bytes());
            send.send(serde_json::from_slice(&body).unwrap()).unwrap();
        }
    });
    (address, requests)
}
