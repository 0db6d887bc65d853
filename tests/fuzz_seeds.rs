//! Every seed of every fuzz target runs with the ordinary tests.

use std::fs;
use std::path::Path;

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

#[test]
fn every_seed_passes_cut_short() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/fuzz")
            .join(name);
        for seed in fs::read_dir(folder).expect("a folder of seeds") {
            let bytes = fs::read(seed.expect("a readable seed").path()).expect("a readable seed");
            for cut in 0..bytes.len().min(2048) {
                target(&bytes[..cut]);
            }
        }
    }
}
