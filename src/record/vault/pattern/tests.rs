use std::path::{Component, Path};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// 2026-11-23 14:05:07 UTC.
const AT_S: u64 = 1_795_442_707;

fn names(call: &str) -> Names<'_> {
    Names {
        at: UNIX_EPOCH + Duration::from_secs(AT_S),
        account: Some("acme"),
        call,
        leg: "mix",
        tag: "tag-a",
        label: Some("alice"),
        random: 0x0123_4567_89AB_CDEF,
    }
}

fn expand(pattern: &str, call: &str) -> Result<String, PathError> {
    Pattern::parse(pattern)?.expand(&names(call), "wav")
}

#[test]
fn placeholders_stand_for_what_is_known() {
    assert_eq!(
        expand("{date}/{account}/{call}/{leg}.wav", "c1").unwrap(),
        "2026-11-23/acme/c1/mix.wav"
    );
    assert_eq!(
        expand("{time}_{tag}-{label},{random}", "c1").unwrap(),
        "140507_tag-a-alice,0123456789abcdef.wav"
    );
    assert_eq!(expand("x.OPUS", "c1").unwrap(), "x.wav", "the format's own");
    assert_eq!(Pattern::default().parts.len(), 5);
    let nobody = Names {
        account: None,
        label: None,
        ..names("")
    };
    let pattern = Pattern::parse("{account}/{label}/{call}").unwrap();
    assert_eq!(pattern.expand(&nobody, "opus").unwrap(), "_/_/_.opus");
}

#[test]
fn days_and_times_are_utc() {
    let date = |s: u64| date_and_time(UNIX_EPOCH + Duration::from_secs(s));
    assert_eq!(date(0), ("1970-01-01".to_owned(), "000000".to_owned()));
    assert_eq!(date(4_102_444_799).0, "2099-12-31");
    assert_eq!(date(4_102_444_799).1, "235959");
    assert_eq!(date(253_402_300_799).0, "9999-12-31");
    assert_eq!(date(253_402_300_800).0, "9999-12-31");
}

#[test]
fn nothing_leaves_the_directory() {
    for (call, path) in [
        ("../../etc/passwd", "___.._etc_passwd.wav"),
        ("..", "__.wav"),
        (".hidden", "_hidden.wav"),
        ("a/b\\c\0d\ne", "a_b_c_d_e.wav"),
        ("/abs", "_abs.wav"),
        ("ü", "_.wav"),
    ] {
        assert_eq!(expand("{call}", call).unwrap(), path);
    }
    for (pattern, part) in [
        ("../{call}", "begins with a dot"),
        ("a/../b", "begins with a dot"),
        (".{call}", "begins with a dot"),
        ("/tmp/{call}", "empty name"),
        ("a//b", "empty name"),
        ("a/", "empty name"),
        ("", "empty name"),
        (".wav", "empty name"),
        ("a\0b", "'\\0'"),
        ("a b", "' '"),
        ("a\\b", "'\\\\'"),
    ] {
        let error = expand(pattern, "c").unwrap_err().to_string();
        assert!(error.contains(part), "{pattern:?}: {error}");
    }
}

#[test]
fn unknown_placeholders_are_named() {
    let error = |pattern: &str| Pattern::parse(pattern).unwrap_err().to_string();
    assert!(error("{call}/{secret}").starts_with("unknown placeholder {secret}"));
    for pattern in ["{call", "call}", "{{call}}", "{", "}", "a{b{c}"] {
        assert!(error(pattern).starts_with("a brace without"), "{pattern}");
    }
}

#[test]
fn lengths_are_bounded_at_their_limits() {
    let pattern = |len: usize| Pattern::parse("a/".repeat(len).trim_end_matches('/'));
    assert!(pattern(COMPONENTS_MAX).is_ok());
    assert_eq!(pattern(COMPONENTS_MAX + 1), Err(PathError::TooDeep));
    let of = |len: usize| check(&"a".repeat(len));
    assert!(of(COMPONENT_MAX).is_ok());
    assert!(matches!(
        of(COMPONENT_MAX + 1),
        Err(PathError::Component(_))
    ));
    let slashed = |len: usize| {
        let mut path = format!("{}/", "a".repeat(99)).repeat(PATH_MAX / 100 + 1);
        path.truncate(len);
        check(&path)
    };
    assert!(slashed(PATH_MAX).is_ok());
    assert!(matches!(slashed(PATH_MAX + 1), Err(PathError::TooLong(..))));
    let long = "{call}".repeat(100);
    assert!(Pattern::parse(&long[..PATTERN_MAX - PATTERN_MAX % 6]).is_ok());
    assert!(matches!(
        Pattern::parse(&long),
        Err(PathError::TooLong(600, PATTERN_MAX))
    ));
    let call = "c".repeat(10_000);
    let path = expand("{call}", &call).unwrap();
    assert_eq!(path.len(), VALUE_MAX + ".wav".len());
    assert!(expand("{call}{call}", &call).is_ok());
    assert!(matches!(
        expand("{call}{call}{call}", &call),
        Err(PathError::Component(_))
    ));
}

#[test]
fn a_taken_name_gets_a_number() {
    assert_eq!(numbered("a/b.wav", 1).unwrap(), "a/b.wav");
    assert_eq!(numbered("a/b.wav", 2).unwrap(), "a/b-2.wav");
    assert_eq!(numbered("a/b.opus", 99).unwrap(), "a/b-99.opus");
    let full = format!("{}.wav", "a".repeat(COMPONENT_MAX - 4));
    assert!(check(&full).is_ok());
    assert!(numbered(&full, 2).is_err());
}

proptest! {
    #[test]
    fn no_value_and_no_pattern_escapes(
        pattern in "([a-z./{}\\\\]|\\{(call|leg|tag|label|account)\\}){0,12}|.{0,40}",
        values in proptest::collection::vec(".{0,30}|(\\.|/|\\.\\./){0,20}", 5),
        random: u64,
        seconds in 0..20_000_000_000_u64,
    ) {
        let Ok(pattern) = Pattern::parse(&pattern) else { return Ok(()) };
        let names = Names {
            at: UNIX_EPOCH + Duration::from_secs(seconds),
            account: Some(&values[0]),
            call: &values[1],
            leg: &values[2],
            tag: &values[3],
            label: Some(&values[4]),
            random,
        };
        let Ok(path) = pattern.expand(&names, "wav") else { return Ok(()) };
        prop_assert!(path.ends_with(".wav") && check(&path).is_ok(), "{}", path);
        let whole = Path::new(&path);
        prop_assert!(whole.is_relative());
        prop_assert!(whole.components().all(|c| matches!(c, Component::Normal(_))), "{}", path);
        prop_assert!(!path.split('/').any(|name| name.starts_with('.')), "{}", path);
        prop_assert!(path.bytes().all(|b| b.is_ascii_graphic()), "{}", path);
        let taken = numbered(&path, 2);
        prop_assert!(taken.is_err() || taken.is_ok_and(|taken| taken != path));
    }
}
