//! Every seed of every fuzz target runs with the ordinary tests: as it is, cut short, and damaged.
//! `CROSSPOINT_TEST_DAMAGE=TARGET:SECONDS` damages those of one target for so long, with all checks
//! that a build for debugging has; `make soak` does more, with coverage.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crosspoint::fuzzing;

type Target = fn(&[u8]);

/// A target of `fuzz/` without its line here fails the test as soon as it has seeds.
const TARGETS: &[(&str, Target)] = &[
    ("bencode", fuzzing::bencode),
    ("mp3", fuzzing::mp3),
    ("ng_json", fuzzing::ng_json),
    ("ogg_opus", fuzzing::ogg_opus),
    ("opus_payload", fuzzing::opus_payload),
    ("playout", fuzzing::playout),
    ("recording", fuzzing::recording),
    ("rtcp", fuzzing::rtcp),
    ("rtp", fuzzing::rtp),
    ("sdp", fuzzing::sdp),
    ("sip", fuzzing::sip),
    ("telephone_event", fuzzing::telephone_event),
    ("wav", fuzzing::wav),
];

#[test]
fn every_seed_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz");
    for folder in fs::read_dir(&root).expect("testdata/fuzz is there") {
        let folder = folder.expect("a readable folder");
        if !folder.path().is_dir() {
            continue;
        }
        let name = folder.file_name().into_string().expect("a plain name");
        let (_, target) = TARGETS
            .iter()
            .find(|(target, _)| *target == name)
            .unwrap_or_else(|| panic!("{name} has seeds, but no function in this test"));
        let mut seeds = 0;
        for seed in fs::read_dir(folder.path()).expect("a folder of seeds") {
            let seed = seed.expect("a readable seed").path();
            println!("{}", seed.display());
            target(&fs::read(&seed).expect("a readable seed"));
            seeds += 1;
        }
        assert!(seeds > 0, "{name} has no seeds");
    }
}

/// The seeds of a target.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("testdata/fuzz").join(name);
    let seeds = fs::read_dir(folder).expect("a folder of seeds");
    let read = |seed: std::io::Result<fs::DirEntry>| {
        let path = seed.expect("a readable seed").path();
        fs::read(path).expect("a readable seed")
    };
    seeds.map(read).collect()
}

#[test]
fn every_seed_passes_cut_short() {
    for (name, target) in TARGETS {
        for bytes in seeds(name) {
            for cut in 0..bytes.len().min(2048) {
                target(&bytes[..cut]);
            }
        }
    }
}

/// Changes some octets, leaves some out, doubles some, or takes some of another seed; their
/// beginnings, where lengths and kinds are, more often than what follows.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    const EXTREMES: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_fffe, u32::MAX];
    for _ in 0..random.usize(1..=6) {
        let reach = match random.bool() {
            true => bytes.len().min(64),
            false => bytes.len(),
        };
        let at = random.usize(0..=reach);
        let until = (at + random.usize(0..32)).min(bytes.len());
        match random.u8(..7) {
            0 => bytes[at..until]
                .iter_mut()
                .for_each(|octet| *octet = random.u8(..)),
            1 => bytes[at..until]
                .iter_mut()
                .take(1)
                .for_each(|octet| *octet ^= 1 << random.u8(..8)),
            2 => drop(bytes.drain(at..until)),
            3 => bytes.extend_from_within(at..until),
            4 => bytes.truncate(at),
            5 => {
                let extreme = random.choice(EXTREMES).unwrap_or_default().to_le_bytes();
                let octets = bytes[at..until].iter_mut().zip(extreme);
                octets.for_each(|(octet, extreme)| *octet = extreme);
            }
            _ => {
                let from = random.usize(0..=other.len());
                let to = (from + random.usize(0..256)).min(other.len());
                bytes.splice(at..until, other[from..to].iter().copied());
            }
        }
    }
}

/// Damages seeds of a target while it is `told` to; how many.
fn damaged(name: &str, target: Target, mut told: impl FnMut(u64) -> bool) -> u64 {
    let seed = fastrand::u64(..);
    println!("{name}: random numbers from {seed}");
    let (mut random, seeds) = (fastrand::Rng::with_seed(seed), seeds(name));
    let mut count = 0;
    while told(count) {
        let mut bytes = random.choice(&seeds).expect("seeds").clone();
        let other = random.choice(&seeds).expect("seeds").clone();
        damage(&mut bytes, &other, &mut random);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}"));
            fs::write(&file, &bytes).expect("room");
            println!("{}", file.display());
            resume_unwind(panic);
        }
        count += 1;
    }
    count
}

#[test]
fn every_seed_passes_damaged() {
    const COUNT: u64 = 100;
    let Ok(told) = std::env::var("CROSSPOINT_TEST_DAMAGE") else {
        for (name, target) in TARGETS {
            damaged(name, *target, |count| count < COUNT);
        }
        return;
    };
    let (name, seconds) = told.split_once(':').expect("TARGET:SECONDS");
    let seconds = Duration::from_secs(seconds.parse().expect("seconds"));
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let begun = Instant::now();
    let (_, target) = target.expect("a target");
    let count = damaged(name, *target, |_| begun.elapsed() < seconds);
    println!("{name}: {count} passed");
}
