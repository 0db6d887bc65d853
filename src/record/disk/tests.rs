use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::broadcast::{self, Receiver};

use super::storage::{Files, Paths, StoredFile};
use super::*;
use crate::record::config::{Format, Layout, PauseMode, RecordingConfig};
use crate::record::event::{RecordingEvent, RecordingEventKind, StopReason};
use crate::record::session::Output;
use crate::record::sidecar::{Chain, Note, Sidecar, verify};

/// A disk in trouble, over a real one. Trouble is with files whose name has this in it.
#[derive(Debug)]
struct Trouble {
    name: &'static str,
    stalls: AtomicBool,
    stalled: AtomicUsize,
    /// Octets that fit, in all.
    room: AtomicU64,
}

#[derive(Debug, Clone)]
struct Troubled(Arc<Trouble>);

#[derive(Debug)]
struct TroubledFile {
    file: Box<dyn StoredFile>,
    trouble: Option<Arc<Trouble>>,
    disk: u64,
}

impl Troubled {
    fn new(name: &'static str) -> Self {
        Self(Arc::new(Trouble {
            name,
            stalls: AtomicBool::new(false),
            stalled: AtomicUsize::new(0),
            room: AtomicU64::new(u64::MAX),
        }))
    }

    fn stall(&self, stalls: bool) {
        self.0.stalls.store(stalls, Ordering::SeqCst);
    }

    fn wait_stalled(&self, files: usize) {
        wait("writers wait", || {
            self.0.stalled.load(Ordering::SeqCst) >= files
        });
    }
}

impl Storage for Troubled {
    fn create_dirs(&self, root: &Path, path: &Path) -> io::Result<()> {
        Files.create_dirs(root, path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let file = Files.create(path)?;
        let is_in_trouble = path.to_string_lossy().contains(self.0.name);
        Ok(Box::new(TroubledFile {
            disk: file.disk() + u64::from(is_in_trouble),
            trouble: is_in_trouble.then(|| Arc::clone(&self.0)),
            file,
        }))
    }

    fn write(&self, path: &Path, text: &[u8], sync: bool) -> io::Result<()> {
        Files.write(path, text, sync)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Files.open(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Files.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Files.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Files.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Files.sync_dir(path)
    }
}

impl StoredFile for TroubledFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let Some(trouble) = &self.trouble else {
            return self.file.write_at(bytes, offset);
        };
        if trouble.stalls.load(Ordering::SeqCst) {
            trouble.stalled.fetch_add(1, Ordering::SeqCst);
            while trouble.stalls.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            trouble.stalled.fetch_sub(1, Ordering::SeqCst);
        }
        let room = trouble.room.load(Ordering::SeqCst);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Never all of it.
        let written = self.file.write_at(&bytes[..fits.min(1_001)], offset)?;
        if room != u64::MAX {
            trouble.room.fetch_sub(written as u64, Ordering::SeqCst);
        }
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn disk(&self) -> u64 {
        self.disk
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Writers on a disk, and their folder.
struct Rig {
    dir: PathBuf,
    writers: Arc<Writers>,
    events: broadcast::Sender<RecordingEvent>,
    told: Receiver<RecordingEvent>,
}

impl Rig {
    fn new(storage: impl Storage + 'static) -> Self {
        let name = format!("crosspoint-disk-{:016x}", fastrand::u64(..));
        let counters = Arc::new(RecordCounters::default());
        let (events, told) = broadcast::channel(1_000);
        Self {
            dir: std::env::temp_dir().join(name),
            writers: Writers::new(Arc::new(storage), SyncPolicy::default(), counters),
            events,
            told,
        }
    }

    fn item(&self, path: &str, capacity: usize) -> Arc<Item> {
        let reporter = Reporter {
            events: self.events.clone(),
            call_id: "call".into(),
            path: path.into(),
        };
        add(&self.writers.counters.live, 1);
        let paths = Paths::new(self.dir.clone(), self.dir.join(path));
        Item::new(paths, reporter, capacity)
    }

    fn give(&self, item: &Arc<Item>, bytes: &[u8]) {
        let output = Output {
            bytes: bytes.to_vec(),
            journal: b"line\n".to_vec(),
            ..Output::default()
        };
        item.give(output, None, &self.writers);
    }

    fn close(&self, item: &Arc<Item>, closing: Closing) {
        item.give(Output::default(), Some(closing), &self.writers);
    }

    fn next_event(&mut self) -> RecordingEventKind {
        let mut event = None;
        wait("an event", || {
            event = self.told.try_recv().ok();
            event.is_some()
        });
        event.expect("just seen").kind
    }

    fn part(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join(format!(".{name}.part"))).unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).expect("the folder").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.writers.end();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The sidecar of a file without a header.
fn sidecar(path: &str, file: &[u8]) -> Box<Sidecar> {
    let config = RecordingConfig {
        call_id: "call".into(),
        path: path.into(),
        format: Format::Wav,
        rate_hz: 8_000,
        layout: Layout::Mono,
        tracks: Vec::new(),
        pause: PauseMode::Silence,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "".into(),
    };
    let mut sidecar = Sidecar::new(&config, "2026-01-01T00:00:00.000Z", 0);
    let mut chain = Chain::new(0);
    chain.push(file);
    sidecar.segments.extend(chain.cut(1_000_000));
    let reason = StopReason::Commanded;
    let length_us = 1_000_000;
    sidecar.note(Note::End { reason, length_us });
    Box::new(sidecar)
}

#[test]
fn what_is_given_is_written_and_gets_its_name() {
    let mut rig = Rig::new(Files);
    let item = rig.item("a.wav", 1_000_000);
    rig.give(&item, b"0123");
    assert!(matches!(
        item.wait_open(Duration::from_secs(5)),
        Some(Ok(()))
    ));
    assert_eq!(rig.next_event(), RecordingEventKind::Started);
    rig.give(&item, b"4567");
    wait("it is written", || rig.part("a.wav") == b"01234567");
    assert_eq!(rig.names(), [".a.wav.journal", ".a.wav.part"]);
    rig.close(&item, Closing::Keep(sidecar("a.wav", b"01234567")));
    let RecordingEventKind::Completed { bytes, chain, .. } = rig.next_event() else {
        panic!("not complete");
    };
    assert_eq!(bytes, 8);
    assert!(item.is_over());
    assert_eq!(rig.names(), ["a.wav", "a.wav.json"]);
    let report = verify(&rig.dir.join("a.wav")).expect("readable");
    assert!(report.is_verified(), "{:?}", report.problems);
    assert_eq!(report.chain.expect("verified").to_string(), *chain);
}

#[test]
fn what_is_discarded_leaves_nothing() {
    let mut rig = Rig::new(Files);
    let item = rig.item("a.wav", 1_000_000);
    rig.give(&item, b"0123");
    rig.close(&item, Closing::Discard);
    assert_eq!(rig.next_event(), RecordingEventKind::Started);
    assert_eq!(rig.next_event(), RecordingEventKind::Discarded);
    assert_eq!(rig.names(), Vec::<String>::new());
}

#[test]
fn no_file_is_written_over() {
    let mut rig = Rig::new(Files);
    fs::create_dir_all(&rig.dir).expect("a folder");
    for taken in ["a.wav", "a.wav.json"] {
        let taken = rig.dir.join(taken);
        fs::write(&taken, b"mine").expect("written");
        let item = rig.item("a.wav", 1_000_000);
        rig.give(&item, b"0123");
        let error = item.wait_open(Duration::from_secs(5)).expect("at once");
        assert_eq!(
            error.expect_err("taken").kind(),
            io::ErrorKind::AlreadyExists
        );
        fs::remove_file(&taken).expect("it is there");
        assert_eq!(rig.names(), Vec::<String>::new());
    }
    // It comes while the recording is in progress.
    let item = rig.item("a.wav", 1_000_000);
    rig.give(&item, b"0123");
    assert_eq!(rig.next_event(), RecordingEventKind::Started);
    fs::write(rig.dir.join("a.wav"), b"mine").expect("written");
    rig.close(&item, Closing::Keep(sidecar("a.wav", b"0123")));
    assert!(matches!(
        rig.next_event(),
        RecordingEventKind::Failed { .. }
    ));
    assert_eq!(fs::read(rig.dir.join("a.wav")).expect("it"), b"mine");
    assert_eq!(rig.part("a.wav"), b"0123");
}

#[test]
fn a_disk_that_does_not_hold_what_was_written_is_found_out() {
    let mut rig = Rig::new(Files);
    let item = rig.item("a.wav", 1_000_000);
    rig.give(&item, b"0123");
    rig.close(&item, Closing::Keep(sidecar("a.wav", b"0124")));
    assert_eq!(rig.next_event(), RecordingEventKind::Started);
    let RecordingEventKind::Failed { error } = rig.next_event() else {
        panic!("not found out");
    };
    assert!(error.contains("bytes 0 to 4"), "{error}");
    assert_eq!(rig.part("a.wav"), b"0123");
}

#[test]
fn a_full_disk_goes_on_from_the_octet_where_it_stopped() {
    let disk = Troubled::new("part");
    let mut rig = Rig::new(disk.clone());
    let item = rig.item("a.wav", 1_000_000);
    let all: Vec<u8> = (0..50_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    disk.0.room.store(20_123, Ordering::SeqCst);
    rig.give(&item, &all[..30_000]);
    wait("it is full", || item.state(&rig.writers).error.is_some());
    assert_eq!(item.state(&rig.writers).room, 1_000_000 - (30_000 - 20_123));
    rig.give(&item, &all[30_000..]);
    disk.0.room.store(u64::MAX, Ordering::SeqCst);
    rig.close(&item, Closing::Keep(sidecar("a.wav", &all)));
    assert_eq!(rig.next_event(), RecordingEventKind::Started);
    assert!(matches!(
        rig.next_event(),
        RecordingEventKind::Completed { .. }
    ));
    assert!(fs::read(rig.dir.join("a.wav")).expect("it") == all);
    assert!(rig.writers.counters.write_errors.load(Ordering::Relaxed) > 0);
    assert_eq!(rig.writers.counters.bytes.load(Ordering::Relaxed), 50_000);
}

/// Octets that wait are counted until they are written or given up, and at the limit of all there
/// is no room for one.
#[test]
fn all_buffers_together_are_bounded() {
    let disk = Troubled::new("a.wav");
    let mut rig = Rig::new(disk.clone());
    Arc::get_mut(&mut rig.writers)
        .expect("no writer yet")
        .pending_max = 10;
    let [first, other] = ["a.wav", "b.wav"].map(|name| rig.item(name, 1_000));
    disk.0.room.store(2, Ordering::SeqCst);
    rig.give(&first, b"012345678");
    let room = |item: &Arc<Item>| item.state(&rig.writers).room;
    wait("it is full", || first.state(&rig.writers).error.is_some());
    // The journal's first line comes first, and takes all.
    assert_eq!([room(&first), room(&other)], [1, 1]);
    rig.give(&first, b"9");
    assert_eq!([room(&first), room(&other)], [0, 0]);
    disk.0.room.store(u64::MAX, Ordering::SeqCst);
    wait("it is written", || room(&other) == 10);
    fs::write(rig.dir.join("b.wav"), b"mine").expect("written");
    rig.give(&other, b"0123");
    wait("it is given up", || other.is_over());
    assert_eq!(room(&first), 10);
}

/// More recordings on the dead disk than there are writers.
#[test]
fn a_dead_disk_stops_no_recording_on_another() {
    let disk = Troubled::new("dead");
    let mut rig = Rig::new(disk.clone());
    let all: Vec<_> = (0..2 * WRITERS_MAX)
        .map(|ix| rig.item(&format!("dead-{ix}.wav"), 1_000_000))
        .collect();
    for item in &all {
        rig.give(item, b"0");
        assert!(matches!(
            item.wait_open(Duration::from_secs(5)),
            Some(Ok(()))
        ));
    }
    disk.stall(true);
    all.iter().for_each(|item| rig.give(item, b"1"));
    disk.wait_stalled(WRITERS_PER_DISK);
    for ix in 0..20 {
        let name = format!("live-{ix}.wav");
        let item = rig.item(&name, 1_000_000);
        rig.give(&item, b"0123");
        rig.close(&item, Closing::Keep(sidecar(&name, b"0123")));
        wait("it is complete", || item.is_over());
        assert!(rig.dir.join(&name).exists());
    }
    assert_eq!(disk.0.stalled.load(Ordering::SeqCst), WRITERS_PER_DISK);
    disk.stall(false);
    for item in &all {
        rig.close(item, Closing::Discard);
        wait("the dead one lives", || item.is_over());
    }
    while !matches!(rig.next_event(), RecordingEventKind::Discarded) {}
}

/// Counted, and told in the journal as soon as there is room.
#[test]
fn a_journal_that_does_not_fit_is_counted_and_told() {
    let disk = Troubled::new("a.wav");
    let rig = Rig::new(disk.clone());
    let item = rig.item("a.wav", 1_000_000);
    let journal = || fs::read(rig.dir.join(".a.wav.journal")).unwrap_or_default();
    rig.give(&item, b"0");
    wait("it is written", || journal() == b"line\n");
    disk.stall(true);
    rig.give(&item, b"1");
    disk.wait_stalled(1);
    let lost = || rig.writers.counters.journal_lost.load(Ordering::Relaxed);
    let note = |len| {
        let output = Output {
            journal: vec![b'\n'; len],
            ..Output::default()
        };
        item.give(output, None, &rig.writers);
    };
    for (len, expected) in [(JOURNAL_PENDING_MAX, 0), (1, 1), (2, 3)] {
        note(len);
        assert_eq!(lost(), expected);
    }
    disk.stall(false);
    let before = 2 * b"line\n".len() + JOURNAL_PENDING_MAX;
    wait("it is written", || journal().len() == before);
    note(1);
    let told = b"{\"note\":\"lost\",\"notes\":3}\n\n";
    wait("it is told", || journal().len() == before + told.len());
    assert_eq!(journal()[before..], *told);
    assert_eq!(lost(), 3);
}

/// Killed while the disk was full, after any number of octets: there is no file without a journal
/// that says whose it is.
#[test]
fn a_journal_begins_before_its_file() {
    const BEGIN: &[u8] = b"begin\n";
    for room in 0..20 {
        let disk = Troubled::new("a.wav");
        disk.0.room.store(room, Ordering::SeqCst);
        let rig = Rig::new(disk.clone());
        let item = rig.item("a.wav", 1_000_000);
        let output = Output {
            bytes: b"0123".to_vec(),
            journal: [BEGIN, b"behind it\n"].concat(),
            ..Output::default()
        };
        item.give(output, None, &rig.writers);
        let errors = || rig.writers.counters.write_errors.load(Ordering::Relaxed);
        wait("it is full", || errors() > 0);
        let journal = fs::read(rig.dir.join(".a.wav.journal")).expect("a journal");
        let (room, part) = (usize::try_from(room).expect("small"), rig.part("a.wav"));
        assert_eq!(journal.len() + part.len(), room);
        assert!(part.is_empty() || journal.starts_with(BEGIN));
        assert!(journal.len() <= BEGIN.len() || part == b"0123");
    }
}

mod with_a_session;
