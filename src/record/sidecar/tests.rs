use std::fs;
use std::path::PathBuf;

use super::*;
use crate::record::config::{Layout, PauseMode};

/// A sidecar of a file of so many octets, with segments of 1,000 behind a header of 44.
pub(super) fn of(file: &[u8]) -> Sidecar {
    let config = RecordingConfig {
        call_id: "a call".into(),
        path: "dir/a.wav".into(),
        format: Format::Wav,
        rate_hz: 8_000,
        layout: Layout::Mono,
        tracks: Vec::new(),
        pause: PauseMode::Skip,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "\"chain\": \"\",\n \u{fc}".into(),
    };
    let mut sidecar = Sidecar::new(&config, "2026-01-01T00:00:00.000Z", 44);
    let mut chain = Chain::new(44);
    for (index, piece) in (1..).zip(file[44..].chunks(1_000)) {
        chain.push(piece);
        let segment = chain.cut(index * 62_500).expect("not empty");
        sidecar.note(Note::Segment(segment));
    }
    sidecar.note(Note::Stats {
        track: 3,
        stats: StatsInfo {
            drift_ppm: 0.1,
            ..StatsInfo::default()
        },
    });
    sidecar.sha256 = Sum::of(file);
    sidecar.bytes = file.len() as u64;
    sidecar
}

fn span(track: u8, from_us: u64, until_us: u64) -> SpanInfo {
    SpanInfo {
        track: Some(track),
        kind: SpanKind::Lost,
        from_us,
        until_us,
        skipped_us: 0,
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("crosspoint-sidecar-{:016x}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn recording(&self) -> PathBuf {
        self.0.join("a.wav")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_chain_is_as_it_is_described() {
    let file: Vec<u8> = (0..2_544_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    let sidecar = of(&file);
    let links = [44..1_044, 1_044..2_044, 2_044..2_544];
    let mut head = Sum::of(b"crosspoint recording 1");
    for (segment, range) in sidecar.segments.iter().zip(links) {
        let sum = Sum::of(&file[range.clone()]);
        let text = [head, sum].map(|sum| sum.0).concat();
        head = Sum::of(&text);
        assert_eq!(segment.chain, head);
        assert_eq!(
            (segment.from, segment.until),
            (range.start as u64, range.end as u64)
        );
    }
    let (text, chain) = sidecar.write();
    let tail = format!(",\n  \"chain\": \"{chain}\"\n}}\n");
    let body = text.strip_suffix(&tail).expect("the tail");
    let expected = [head, Sum::of(body.as_bytes())].map(|sum| sum.0).concat();
    assert_eq!(chain, Sum::of(&expected));
    let read: Sidecar = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read, sidecar);
}

#[test]
fn a_sum_is_read_as_it_is_written() {
    let sum = Sum::of(b"");
    let text = sum.to_string();
    assert_eq!(&text[..16], "e3b0c44298fc1c14");
    assert_eq!(Sum::parse(&text), Some(sum));
    assert_eq!(Sum::parse(&text.to_uppercase()), None);
    assert_eq!(Sum::parse(&text[1..]), None);
    assert_eq!(Sum::parse(&format!("{text}0")), None);
}

/// Random places, all of the ends, and every octet of the tail.
#[test]
fn each_changed_byte_shows() {
    let folder = Folder::new();
    let mut random = fastrand::Rng::with_seed(4);
    let file: Vec<u8> = (0..20_044).map(|_| random.u8(..)).collect();
    let path = folder.recording();
    let beside = sidecar_path(&path);
    let (text, chain) = of(&file).write();
    fs::write(&path, &file).expect("written");
    fs::write(&beside, &text).expect("written");
    let report = verify(&path).expect("readable");
    assert!(report.is_verified(), "{:?}", report.problems);
    assert_eq!(report.chain, Some(chain));

    let mut change = |bytes: &[u8], place: usize| {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1 << random.u8(0..8);
        changed
    };
    let places = |len: usize| {
        let mut random = fastrand::Rng::with_seed(len as u64);
        let anywhere: Vec<usize> = (0..400).map(|_| random.usize(..len)).collect();
        anywhere
            .into_iter()
            .chain([0, 43, 44, 1_043, 1_044])
            .chain(len - 100..len)
    };
    for place in places(file.len()) {
        fs::write(&path, change(&file, place)).expect("written");
        let report = verify(&path).expect("readable");
        let [problem] = &report.problems[..] else {
            panic!("{place}: {:?}", report.problems);
        };
        match problem {
            Problem::Header { until: 44 } => assert!(place < 44),
            Problem::Segment { from, until, .. } => {
                assert!((*from..*until).contains(&(place as u64)));
            }
            other => panic!("{place}: {other}"),
        }
        assert_eq!(report.chain, None);
    }
    fs::write(&path, &file).expect("written");
    for place in places(text.len()) {
        fs::write(&beside, change(text.as_bytes(), place)).expect("written");
        let report = verify(&path).expect("readable");
        assert!(!report.is_verified(), "octet {place} of the sidecar");
        assert_eq!(report.chain, None);
    }
}

#[test]
fn what_is_missing_or_too_much_shows() {
    let folder = Folder::new();
    let file = vec![7; 5_044];
    let path = folder.recording();
    assert!(verify(&path).is_err(), "there is no file");
    fs::write(&path, &file).expect("written");
    let report = verify(&path).expect("readable");
    assert_eq!(report.problems, [Problem::Missing(sidecar_path(&path))]);
    assert!(!report.was_checked());
    fs::write(sidecar_path(&path), of(&file).write().0).expect("written");
    for (len, segment) in [(0, 0), (44, 0), (1_043, 0), (4_044, 4), (5_043, 4)] {
        fs::write(&path, &file[..len]).expect("written");
        let problems = verify(&path).expect("readable").problems;
        let short = Problem::Length {
            expected: 5_044,
            is: len as u64,
        };
        assert!(problems.contains(&short), "{problems:?}");
        let first = problems.iter().find_map(|problem| match problem {
            Problem::Segment { index, .. } => Some(*index),
            _ => None,
        });
        assert_eq!(first, Some(segment), "{len}");
    }
    fs::write(&path, [&file[..], b"x"].concat()).expect("written");
    let problems = verify(&path).expect("readable").problems;
    assert!(
        problems.contains(&Problem::Behind { from: 5_044 }),
        "{problems:?}"
    );
}

#[test]
fn a_hostile_sidecar_is_survived() {
    let folder = Folder::new();
    let file = vec![7; 5_044];
    let path = folder.recording();
    fs::write(&path, &file).expect("written");
    let hostile: [fn(&mut Sidecar); 5] = [
        |sidecar| sidecar.header_len = u64::MAX,
        |sidecar| sidecar.segments[1].until = 0,
        |sidecar| sidecar.segments[1].until = u64::MAX,
        |sidecar| sidecar.segments[0].from = u64::MAX,
        |sidecar| sidecar.segments.clear(),
    ];
    for change in hostile {
        let mut sidecar = of(&file);
        change(&mut sidecar);
        fs::write(sidecar_path(&path), sidecar.write().0).expect("written");
        assert!(!verify(&path).expect("readable").is_verified());
    }
    for text in ["", "{", "[]", "\u{0}", &"[".repeat(100_000)] {
        fs::write(sidecar_path(&path), text).expect("written");
        let problems = verify(&path).expect("readable").problems;
        assert!(matches!(problems[..], [Problem::Form(_)]), "{problems:?}");
    }
}

#[test]
fn spans_that_touch_are_one_and_their_number_is_bounded() {
    let mut sidecar = of(&[0; 44]);
    sidecar.note(Note::Span(span(0, 0, 20_000)));
    sidecar.note(Note::Span(span(1, 0, 20_000)));
    sidecar.note(Note::Span(span(0, 20_001, 40_000)));
    assert_eq!(sidecar.spans, [span(0, 0, 40_000), span(1, 0, 20_000)]);
    for index in 2..SPANS_MAX as u64 {
        let from_us = index * 1_000_000;
        sidecar.note(Note::Span(span(0, from_us, from_us + 1_000)));
    }
    assert_eq!((sidecar.spans.len(), sidecar.spans_dropped), (SPANS_MAX, 0));
    sidecar.note(Note::Span(span(7, 0, 1_000)));
    assert_eq!((sidecar.spans.len(), sidecar.spans_dropped), (SPANS_MAX, 1));

    for _ in 0..=PRESSES_MAX {
        sidecar.note(Note::Press(PressInfo {
            track: 0,
            from_us: 1,
            until_us: None,
        }));
    }
    assert_eq!(
        (sidecar.presses.len(), sidecar.presses_dropped),
        (PRESSES_MAX, 1)
    );
}

#[test]
fn nothing_lies_behind_the_end() {
    let mut sidecar = of(&[0; 44]);
    sidecar.note(Note::Span(span(0, 0, 20_000)));
    sidecar.note(Note::Span(span(0, 50_000, 80_000)));
    sidecar.note(Note::Span(span(0, 90_000, 95_000)));
    sidecar.length_us = 60_000;
    sidecar.clip();
    assert_eq!(sidecar.spans, [span(0, 0, 20_000), span(0, 50_000, 60_000)]);
}

#[test]
fn a_clock_that_does_not_drift_has_no_sign() {
    let stats = TrackStats {
        drift_ppm: -0.0,
        ..TrackStats::default()
    };
    let text = serde_json::to_string(&StatsInfo::from(&stats)).expect("JSON");
    assert!(text.contains(r#""drift_ppm":0.0"#), "{text}");
}
