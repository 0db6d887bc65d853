//! The codecs of ng: what is written is what is read, as another implementation reads it, and
//! hostile input costs nothing.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crosspoint::control::ng::request::Request;
use crosspoint::control::ng::split_datagram;
use crosspoint::wire::bencode::{self, BencodeError, Scanner};
use crosspoint::wire::ng::{self, Encoding, Value};
use proptest::collection::vec;
use proptest::prelude::*;

/// Values that both encodings can carry, or with `bytes` any that bencode can.
fn values(bytes: bool) -> impl Strategy<Value = Value<'static>> {
    let string = move || {
        let text = any::<String>().prop_map(String::into_bytes).boxed();
        let any = vec(any::<u8>(), 0..40).boxed();
        if bytes { any } else { text }
    };
    let leaf = prop_oneof![
        string().prop_map(Value::from),
        any::<i64>().prop_map(Value::Int),
    ];
    leaf.prop_recursive(6, 60, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::List),
            vec((string().prop_map(Cow::Owned), inner), 0..8).prop_map(Value::Dict),
        ]
    })
}

/// The same in the model of another implementation; `None` for what that cannot hold.
fn theirs(value: &Value<'_>) -> Option<bt_bencode::Value> {
    Some(match value {
        Value::Str(bytes) => {
            bt_bencode::Value::ByteStr(bt_bencode::ByteString::from(bytes.to_vec()))
        }
        // They keep apart what has a sign and what has none.
        Value::Int(n) => match u64::try_from(*n) {
            Ok(n) => bt_bencode::Value::from(n),
            Err(_) => bt_bencode::Value::from(*n),
        },
        Value::List(list) => {
            bt_bencode::Value::List(list.iter().map(theirs).collect::<Option<_>>()?)
        }
        Value::Dict(entries) => {
            let mut dict = std::collections::BTreeMap::new();
            for (key, value) in entries {
                let key = bt_bencode::ByteString::from(key.to_vec());
                if dict.insert(key, theirs(value)?).is_some() {
                    return None;
                }
            }
            bt_bencode::Value::Dict(dict)
        }
    })
}

fn bencoded(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    bencode::encode(value, &mut out);
    out
}

proptest! {
    #[test]
    fn bencode_reads_what_it_wrote(value in values(true), rest in vec(any::<u8>(), 0..10)) {
        let mut bytes = bencoded(&value);
        let len = bytes.len();
        bytes.extend(rest);
        prop_assert_eq!(Scanner::default().advance(&bytes), Ok(Some(len)));
        prop_assert_eq!(bencode::decode(&bytes), Ok((value, len)));
    }

    #[test]
    fn json_reads_what_it_wrote(value in values(false)) {
        let mut bytes = Vec::new();
        value.encode(Encoding::Json, &mut bytes);
        prop_assert_eq!(ng::decode_json(&bytes), Ok(value));
    }

    #[test]
    fn serde_json_reads_what_json_wrote(value in values(false)) {
        let mut bytes = Vec::new();
        value.encode(Encoding::Json, &mut bytes);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    }

    #[test]
    fn another_decoder_reads_what_we_wrote(value in values(true)) {
        if let Some(theirs) = theirs(&value) {
            let read: bt_bencode::Value = bt_bencode::from_slice(&bencoded(&value)).unwrap();
            prop_assert_eq!(read, theirs);
        }
    }

    #[test]
    fn we_read_what_another_encoder_wrote(value in values(true)) {
        if let Some(expected) = theirs(&value) {
            let bytes = bt_bencode::to_vec(&expected).unwrap();
            let (read, used) = bencode::decode(&bytes).unwrap();
            prop_assert_eq!(used, bytes.len());
            prop_assert_eq!(theirs(&read), Some(expected));
        }
    }

    /// Where they accept a broken message as a whole, so do we, and with the same meaning.
    #[test]
    fn we_are_no_stricter_than_another_decoder(
        value in values(true),
        flips in vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
    ) {
        let mut bytes = bencoded(&value);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Ok(expected) = bt_bencode::from_slice::<bt_bencode::Value>(&bytes)
            && let Ok((read, used)) = decode_unless_beyond(&bytes)
        {
            prop_assert_eq!(used, bytes.len());
            if let Some(read) = theirs(&read) {
                prop_assert_eq!(read, expected);
            }
        }
    }

    /// However a stream is cut, the scanner finds the end that the decoder finds.
    #[test]
    fn scanner_and_decoder_agree(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..60),
            "[dlie0-9:x-]{0,60}".prop_map(String::into_bytes),
        ],
        cuts in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut scanner = Scanner::default();
        let mut found = Ok(None);
        for cut in cuts {
            found = scanner.advance(&bytes[..cut]);
            if found != Ok(None) {
                break;
            }
        }
        let expected = match bencode::decode(&bytes) {
            Ok((_, used)) => Ok(Some(used)),
            Err(error) if error.is_incomplete() => Ok(None),
            Err(error) => Err(error),
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_payload_panics(payload in vec(any::<u8>(), 0..200)) {
        let _ = Request::decode(&payload);
    }

    #[test]
    fn no_string_of_flags_panics(flags in r"([a-z]{1,3}|[-\[\]= ]|codec|strip|direction){0,60}") {
        let value = Value::dict().with("command", "ping").with("rtpp-flags", flags.as_str());
        prop_assert!(Request::from_value(value).is_ok());
    }

    /// A request means the same in both encodings.
    #[test]
    fn both_encodings_make_one_request(
        entries in vec(
            (
                prop_oneof![
                    Just("flags"), Just("replace"), Just("direction"), Just("codec"),
                    Just("TOS"), Just("via-branch"), Just("ICE"), Just("rtpp-flags"),
                    Just("received-from"), Just("label"), Just("frob"),
                ],
                values(false),
            ),
            0..12,
        ),
    ) {
        let mut value = Value::dict().with("command", "ping");
        for (key, entry) in entries {
            value.push(key.as_bytes(), entry);
        }
        let [mut bencode, mut json] = [Vec::new(), Vec::new()];
        value.encode(Encoding::Bencode, &mut bencode);
        value.encode(Encoding::Json, &mut json);
        prop_assert_eq!(Request::decode(&bencode).1, Request::decode(&json).1);
    }
}

/// We hold integers within `i64`, they hold those up to `u64::MAX`.
fn decode_unless_beyond(bytes: &[u8]) -> Result<(Value<'_>, usize), ()> {
    match bencode::decode(bytes) {
        Err(BencodeError::Integer { .. }) => Err(()),
        result => Ok(result.unwrap_or_else(|error| {
            panic!("{error} in {}", bytes.escape_ascii());
        })),
    }
}

/// The messages of `testdata/ng`, by the name of their file.
fn messages() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ng");
    let mut messages: Vec<_> = fs::read_dir(folder)
        .expect("testdata/ng is there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "ng"))
        .map(|path| {
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("a readable file"))
        })
        .collect();
    messages.sort();
    assert!(messages.len() >= 10, "testdata/ng has its messages");
    messages
}

#[test]
fn messages_of_clients_are_understood_without_a_warning() {
    for (name, message) in messages() {
        let (_, payload) = split_datagram(&message).expect("a cookie");
        let request = Request::decode(payload).1;
        let request = request.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(request.warning(), None, "{name}");
        assert!(
            name.ends_with(&request.command.name().replace(' ', "-")),
            "{name}"
        );
    }
}

#[test]
fn bit_flips_do_no_harm() {
    let mut flipped = 0;
    for (_, message) in messages() {
        let step = (message.len() * 8 / 300).max(1);
        for bit in (0..message.len() * 8).step_by(step) {
            let mut broken = message.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            if let Some((_, payload)) = split_datagram(&broken) {
                let _ = Request::decode(payload);
            }
            flipped += 1;
        }
    }
    assert!(flipped > 300 * 9);
}

#[test]
fn hostile_payloads_are_refused_at_once() {
    let deep = |byte: u8| vec![byte; 100_000];
    let payloads: Vec<Vec<u8>> = vec![
        [b"d1:a".to_vec(), deep(b'l')].concat(),
        [b"d1:a".to_vec(), deep(b'd')].concat(),
        b"d1:a".repeat(15_000),
        [b"{\"a\":".to_vec(), deep(b'[')].concat(),
        b"{\"a\":".repeat(12_000),
        [b"{".to_vec(), deep(b' ')].concat(),
        [b"d".to_vec(), b"0:0:".repeat(16_000), b"e".to_vec()].concat(),
        [b"d1:al".to_vec(), b"i0e".repeat(20_000), b"ee".to_vec()].concat(),
        [b"{\"a\":[".to_vec(), b"0,".repeat(30_000), b"0]}".to_vec()].concat(),
        [b"d".to_vec(), deep(b'9')].concat(),
        [b"d1:ai".to_vec(), deep(b'0'), b"ee".to_vec()].concat(),
        [b"{\"a\":".to_vec(), deep(b'9'), b"}".to_vec()].concat(),
        b"d18446744073709551616:ae".to_vec(),
        b"d9223372036854775807:ae".to_vec(),
        b"d4294967295:ae".to_vec(),
        b"d-1:ae".to_vec(),
        [
            b"d".to_vec(),
            (0..60_000_u32)
                .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
                .collect(),
        ]
        .concat(),
        deep(b'x'),
    ];
    let start = Instant::now();
    for payload in &payloads {
        assert!(
            Request::decode(payload).1.is_err(),
            "{}",
            payload[..20.min(payload.len())].escape_ascii()
        );
    }
    // All of them take a few milliseconds; one that was quadratic would take minutes.
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_request_of_the_largest_size_is_read_at_once() {
    let list = vec![Value::from("frob-nicate-frob"); 4000];
    let value = Value::dict().with("command", "ping").with("flags", list);
    let bytes = bencoded(&value);
    assert!(bytes.len() > 65_000);
    let start = Instant::now();
    assert_eq!(
        Request::decode(&bytes).1.unwrap().unknown(),
        ["frob-nicate-frob"]
    );
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_trickling_stream_costs_no_more_than_its_length() {
    let value = Value::dict().with("flags", vec![Value::from("x"); 4000]);
    let bytes = bencoded(&value);
    let start = Instant::now();
    let mut scanner = Scanner::default();
    for cut in 0..bytes.len() {
        assert_eq!(scanner.advance(&bytes[..cut]), Ok(None));
    }
    assert_eq!(scanner.advance(&bytes), Ok(Some(bytes.len())));
    assert!(start.elapsed() < Duration::from_secs(1));
}
