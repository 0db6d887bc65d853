use std::os::unix::fs::symlink;

use super::*;

/// A directory of its own, which goes with the test.
struct Shelf(PathBuf);

impl Shelf {
    fn new() -> Self {
        let name = format!(
            "crosspoint-shelf-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let whole = self.0.join(path);
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        fs::write(whole, bytes).unwrap();
    }

    fn complete(&self, path: &str) {
        self.put(path, b"sound");
        let sidecar = r#"{"version":1,"call_id":"c","started":"2026-11-23T14:05:07Z",
            "length_us":1500000,"chain":"00"}"#;
        self.put(&sidecar_of(path), sidecar.as_bytes());
    }

    fn paths(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let listing = list(&self.0, prefix, after, limit).unwrap();
        let paths = listing.recordings.into_iter().map(|r| r.path);
        (paths.collect(), listing.more)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(shelf: &Shelf, path: &str, sidecar: bool) -> Result<String, String> {
    let (file, len) = open(&shelf.0, path, sidecar).map_err(|error| error.to_string())?;
    let text = io::read_to_string(file).unwrap();
    assert_eq!(text.len() as u64, len);
    Ok(text)
}

#[test]
fn a_list_says_what_there_is() {
    let shelf = Shelf::new();
    shelf.complete("d/b.wav");
    shelf.put("d/.c.wav.part", b"soun");
    shelf.put("d/.c.wav.journal", b"{}");
    shelf.put("a.wav", b"x");
    shelf.put("broken.wav", b"x");
    shelf.put("broken.wav.json", b"{");
    let listing = list(&shelf.0, "", None, 10).unwrap();
    let of = |path: &str| listing.recordings.iter().find(|r| r.path == path).unwrap();
    assert_eq!(listing.recordings.len(), 4);
    assert_eq!(
        *of("d/b.wav"),
        Shelved {
            path: "d/b.wav".into(),
            state: ShelfState::Complete,
            bytes: 5,
            started: Some("2026-11-23T14:05:07Z".into()),
            length_s: Some(1.5),
            call_id: Some("c".into()),
        }
    );
    assert_eq!(
        (of("d/c.wav").state, of("d/c.wav").bytes),
        (ShelfState::Recording, 4)
    );
    assert_eq!(of("a.wav").state, ShelfState::Unknown);
    assert_eq!(of("broken.wav").state, ShelfState::Unknown);
    let nowhere = list(&shelf.0.join("nowhere"), "", None, 10).unwrap();
    assert_eq!(nowhere, Listing::default());
}

#[test]
fn a_list_is_in_order_and_goes_on() {
    let shelf = Shelf::new();
    let all = [
        "a-b.wav",
        "a.wav",
        "a/1.wav",
        "a/2.wav",
        "b/c/3.wav",
        "b/d.wav",
        "c.wav",
    ];
    all.iter().for_each(|path| shelf.complete(path));
    let all: Vec<String> = all.iter().map(|&path| path.to_owned()).collect();
    assert_eq!(shelf.paths("", None, 7), (all.clone(), false));
    assert_eq!(shelf.paths("", None, 6), (all[..6].to_vec(), true));
    assert_eq!(shelf.paths("", None, 0), (vec![], true));
    for step in 1..=3 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (some, more) = shelf.paths("", after.as_deref(), step);
            after = some.last().cloned();
            found.extend(some);
            if !more {
                break;
            }
        }
        assert_eq!(found, all, "{step} at a time");
    }
    assert_eq!(shelf.paths("b/", None, 9).0, all[4..6]);
    assert_eq!(shelf.paths("b/c/3", None, 9).0, all[4..5]);
    assert_eq!(shelf.paths("a/", Some("a/1.wav"), 9).0, all[3..4]);
    assert_eq!(shelf.paths("x", None, 9), (vec![], false));
}

#[test]
fn recordings_are_fetched_and_deleted() {
    let shelf = Shelf::new();
    shelf.complete("d/b.wav");
    assert_eq!(read(&shelf, "d/b.wav", false).unwrap(), "sound");
    assert!(read(&shelf, "d/b.wav", true).unwrap().contains("length_us"));
    shelf.put("d/.c.wav.part", b"soun");
    assert_eq!(
        read(&shelf, "d/c.wav", false).unwrap_err(),
        "'d/c.wav' is being recorded"
    );
    let error = delete(&shelf.0, "d/c.wav").unwrap_err().to_string();
    assert_eq!(error, "'d/c.wav' is being recorded");
    delete(&shelf.0, "d/b.wav").unwrap();
    assert!(!shelf.0.join("d/b.wav").exists() && !shelf.0.join("d/b.wav.json").exists());
    assert_eq!(
        delete(&shelf.0, "d/b.wav").unwrap_err().to_string(),
        "no recording 'd/b.wav'"
    );
    assert!(shelf.0.join("d/.c.wav.part").exists());
}

#[test]
fn nothing_outside_is_read_or_deleted() {
    let shelf = Shelf::new();
    let outside = Shelf::new();
    outside.put("secret.wav", b"secret");
    outside.put("secret.wav.json", b"secret");
    symlink(outside.0.join("secret.wav"), shelf.0.join("link.wav")).unwrap();
    symlink(&outside.0, shelf.0.join("folder")).unwrap();
    symlink(
        outside.0.join("secret.wav.json"),
        shelf.0.join("own.wav.json"),
    )
    .unwrap();
    shelf.put("own.wav", b"own");
    let up = format!(
        "../{}/secret.wav",
        outside.0.file_name().unwrap().to_str().unwrap()
    );
    let absolute = outside.0.join("secret.wav");
    let absolute = absolute.to_str().unwrap();
    for path in [
        up.as_str(),
        absolute,
        "link.wav",
        "folder/secret.wav",
        "folder",
        "a/../../x",
        "..",
        ".",
        "",
        ".own.wav.part",
        "own.wav/",
        "own.wav\0",
    ] {
        assert!(open(&shelf.0, path, false).is_err(), "{path:?}");
        assert!(open(&shelf.0, path, true).is_err(), "{path:?}");
        assert!(delete(&shelf.0, path).is_err(), "{path:?}");
    }
    assert!(
        open(&shelf.0, "own.wav", true).is_err(),
        "its sidecar is a link"
    );
    assert_eq!(
        shelf.paths("", None, 10),
        (vec!["own.wav".to_owned()], false)
    );
    assert_eq!(fs::read(absolute).unwrap(), b"secret");
    assert!(shelf.0.join("link.wav").is_symlink());
}
