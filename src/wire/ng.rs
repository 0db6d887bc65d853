//! What ng messages are made of: strings, integers, lists and dictionaries, in bencode or JSON.
//!
//! Bencode is in [`bencode`]; JSON is here, brought to the same shape:
//! `true` and `false` become 1 and 0, `null` is as if it were not there, and a number with a
//! fraction loses it (some clients have no integers and write `200.0`).

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::Write;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::bencode::{self, BENCODE_DEPTH_MAX, BENCODE_ITEMS_MAX};

/// Most arrays and objects inside each other; the outermost one counts.
pub const JSON_DEPTH_MAX: usize = BENCODE_DEPTH_MAX;

/// Most strings, numbers, arrays, objects and keys of one document, all counted alike.
pub const JSON_ITEMS_MAX: usize = BENCODE_ITEMS_MAX;

/// A value of an ng message; its strings borrow from the message where they can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Bytes, in JSON always UTF-8.
    Str(Cow<'a, [u8]>),
    /// A signed integer.
    Int(i64),
    /// Values in order.
    List(Vec<Self>),
    /// Keys and values in the order of the message. A key may be there twice: the last one wins.
    Dict(Vec<(Cow<'a, [u8]>, Self)>),
}

impl<'a> Value<'a> {
    /// An empty dictionary, to be filled by [`Value::with`].
    pub fn dict() -> Self {
        Self::Dict(Vec::new())
    }

    /// The dictionary with one more entry.
    ///
    /// # Panics
    ///
    /// If this is not a dictionary.
    #[must_use]
    pub fn with(mut self, key: &'a str, value: impl Into<Self>) -> Self {
        self.push(Cow::Borrowed(key.as_bytes()), value);
        self
    }

    /// Appends an entry to a dictionary.
    ///
    /// # Panics
    ///
    /// If this is not a dictionary.
    pub fn push(&mut self, key: impl Into<Cow<'a, [u8]>>, value: impl Into<Self>) {
        match self {
            Self::Dict(entries) => entries.push((key.into(), value.into())),
            _ => panic!("only dictionaries have entries"),
        }
    }

    /// The last entry of a dictionary under exactly this key. Linear in the entries.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .rev()
            .find(|(name, _)| name.as_ref() == key.as_bytes())
            .map(|(_, value)| value)
    }

    /// The entries of a dictionary; none of anything else.
    pub fn entries(&self) -> &[(Cow<'a, [u8]>, Self)] {
        match self {
            Self::Dict(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// A string's bytes.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A string that is UTF-8.
    pub fn str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// An integer, or a string that spells one in decimal, with an optional sign.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => self.str()?.trim().parse().ok(),
        }
    }

    /// Appends the value to `out`. In JSON, bytes that are not UTF-8 become U+FFFD.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) {
        match encoding {
            Encoding::Bencode => bencode::encode(self, out),
            Encoding::Json => encode_json(self, out),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(Cow::Borrowed(text.as_bytes()))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Str(Cow::Borrowed(bytes))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Str(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Str(Cow::Owned(bytes))
    }
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<u32> for Value<'_> {
    fn from(n: u32) -> Self {
        Self::Int(i64::from(n))
    }
}

/// Counters above `i64::MAX` stop there.
impl From<u64> for Value<'_> {
    fn from(n: u64) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl<'a> From<Vec<Self>> for Value<'a> {
    fn from(list: Vec<Self>) -> Self {
        Value::<'a>::List(list)
    }
}

/// How a message is written; a reply is written as its request was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// BEP 3; also for replies to what is neither.
    #[default]
    Bencode,
    /// RFC 8259.
    Json,
}

impl Encoding {
    /// Tells the encoding of a message by its first byte, `d` or `{`.
    pub fn detect(payload: &[u8]) -> Option<Self> {
        match payload.first() {
            Some(b'd') => Some(Self::Bencode),
            Some(b'{') => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why a text is not a JSON document we take, and where: both count from 1, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind} at line {line} column {column}")]
pub struct JsonError {
    /// Which rule it breaks.
    pub kind: JsonErrorKind,
    /// Line of the offending byte.
    pub line: usize,
    /// Column of the offending byte.
    pub column: usize,
}

/// Which rule a JSON document breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// It is not JSON, or it has something after the value.
    #[error("not JSON")]
    Malformed,
    /// A number outside of `i64`.
    #[error("number out of range")]
    Number,
    /// The document is `null`.
    #[error("no value")]
    Null,
    /// More than [`JSON_DEPTH_MAX`] containers inside each other.
    #[error("nested too deeply")]
    TooDeep,
    /// More than [`JSON_ITEMS_MAX`] items.
    #[error("too many items")]
    TooMany,
}

/// Reads a JSON document. Strings without escapes borrow from `bytes`.
///
/// # Errors
///
/// See [`JsonErrorKind`].
pub fn decode_json(bytes: &[u8]) -> Result<Value<'_>, JsonError> {
    let limits = Limits::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = ValueSeed {
        limits: &limits,
        depth: 0,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value))
    .map_err(|error| JsonError {
        kind: limits.broken.get().unwrap_or(JsonErrorKind::Malformed),
        line: error.line(),
        column: error.column(),
    })?;
    value.ok_or(JsonError {
        kind: JsonErrorKind::Null,
        line: 1,
        column: 1,
    })
}

/// Appends `value` to `out` as JSON without white space; bytes that are not UTF-8 become U+FFFD.
pub fn encode_json(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Str(bytes) => encode_json_str(bytes, out),
        Value::Int(n) => write!(out, "{n}").expect("writing to a Vec cannot fail"),
        Value::List(list) => {
            out.push(b'[');
            for (n, item) in list.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                encode_json(item, out);
            }
            out.push(b']');
        }
        Value::Dict(entries) => {
            out.push(b'{');
            for (n, (key, item)) in entries.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                encode_json_str(key, out);
                out.push(b':');
                encode_json(item, out);
            }
            out.push(b'}');
        }
    }
}

fn encode_json_str(bytes: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(bytes);
    serde_json::to_writer(out, text.as_ref()).expect("a string into a Vec cannot fail");
}

/// What one document has used up, and the limit it broke: serde's errors carry only text.
#[derive(Default)]
struct Limits {
    items: Cell<usize>,
    broken: Cell<Option<JsonErrorKind>>,
}

impl Limits {
    fn count<E: de::Error>(&self) -> Result<(), E> {
        if self.items.get() == JSON_ITEMS_MAX {
            return Err(self.breaks(JsonErrorKind::TooMany));
        }
        self.items.set(self.items.get() + 1);
        Ok(())
    }

    fn breaks<E: de::Error>(&self, kind: JsonErrorKind) -> E {
        self.broken.set(Some(kind));
        E::custom(kind)
    }
}

/// Reads one value inside `depth` containers; `None` is `null`.
#[derive(Clone, Copy)]
struct ValueSeed<'l> {
    limits: &'l Limits,
    depth: usize,
}

impl ValueSeed<'_> {
    /// The seed of what is inside one more container.
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        self.limits.count()?;
        if self.depth == JSON_DEPTH_MAX {
            return Err(self.limits.breaks(JsonErrorKind::TooDeep));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn int<'a, E: de::Error>(self, n: Option<i64>) -> Result<Option<Value<'a>>, E> {
        self.limits.count()?;
        match n {
            Some(n) => Ok(Some(Value::Int(n))),
            None => Err(self.limits.breaks(JsonErrorKind::Number)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Option<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        self.int(Some(i64::from(on)))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
        self.int(Some(n))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
        self.int(i64::try_from(n).ok())
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Self::Value, E> {
        self.int(truncate(n))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.limits.count()?;
        Ok(Some(Value::from(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.limits.count()?;
        Ok(Some(Value::from(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            list.extend(item);
        }
        Ok(Some(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(KeySeed(self.limits))? {
            if let Some(value) = map.next_value_seed(inner)? {
                entries.push((key, value));
            }
        }
        Ok(Some(Value::Dict(entries)))
    }
}

/// Reads a key, borrowed if it has no escapes.
struct KeySeed<'l>(&'l Limits);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.0.count()?;
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.0.count()?;
        Ok(Cow::Owned(text.as_bytes().to_vec()))
    }
}

/// Towards zero; `None` where `i64` does not reach.
fn truncate(n: f64) -> Option<i64> {
    // 2^63 is exact as a double, and the first value that does not fit.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked before"
    )]
    (-LIMIT..LIMIT).contains(&n).then_some(n as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> JsonErrorKind {
        decode_json(text.as_bytes()).unwrap_err().kind
    }

    #[test]
    fn json_takes_the_shape_of_bencode() {
        let text = br#" {"s":"x\n","n":-5,"yes":true,"no":false,"nil":null,"l":[1,null,"2"]} "#;
        let expected = Value::dict()
            .with("s", "x\n")
            .with("n", -5_i64)
            .with("yes", 1_i64)
            .with("no", 0_i64)
            .with("l", vec![Value::Int(1), Value::from("2")]);
        assert_eq!(decode_json(text), Ok(expected));
    }

    #[test]
    fn json_strings_borrow_unless_escaped() {
        let Value::List(list) = decode_json(br#"["abc","a\tc"]"#).unwrap() else {
            panic!("a list")
        };
        assert!(matches!(&list[0], Value::Str(Cow::Borrowed(b"abc"))));
        assert!(matches!(&list[1], Value::Str(Cow::Owned(_))));
    }

    #[test]
    fn json_numbers_become_integers_or_are_refused() {
        let int = |text: &str| decode_json(text.as_bytes()).map(|value| value.int());
        assert_eq!(int("200.0"), Ok(Some(200)));
        assert_eq!(int("-1.9"), Ok(Some(-1)));
        assert_eq!(int("9223372036854775807"), Ok(Some(i64::MAX)));
        assert_eq!(int("-9223372036854775808"), Ok(Some(i64::MIN)));
        assert_eq!(kind("9223372036854775808"), JsonErrorKind::Number);
        assert_eq!(kind("1e30"), JsonErrorKind::Number);
        assert_eq!(kind("1e999"), JsonErrorKind::Malformed);
        assert_eq!(kind("null"), JsonErrorKind::Null);
    }

    #[test]
    fn json_errors_say_where() {
        let error = decode_json(b"{\"a\":\n x}").unwrap_err();
        assert_eq!((error.kind, error.line), (JsonErrorKind::Malformed, 2));
        assert_eq!(kind("{}x"), JsonErrorKind::Malformed);
        assert_eq!(kind("{\"a\""), JsonErrorKind::Malformed);
        assert_eq!(kind("\"\u{1}\""), JsonErrorKind::Malformed);
        assert_eq!(
            decode_json(b"\"\xff\"").unwrap_err().kind,
            JsonErrorKind::Malformed
        );
    }

    #[test]
    fn json_depth_is_bounded() {
        let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(decode_json(nest(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(kind(&nest(JSON_DEPTH_MAX + 1)), JsonErrorKind::TooDeep);
        assert_eq!(kind(&nest(100_000)), JsonErrorKind::TooDeep);
    }

    #[test]
    fn json_items_are_bounded() {
        let list = |items: usize| format!("[{}]", vec!["1"; items].join(","));
        assert!(decode_json(list(JSON_ITEMS_MAX - 1).as_bytes()).is_ok());
        assert_eq!(kind(&list(JSON_ITEMS_MAX)), JsonErrorKind::TooMany);
    }

    #[test]
    fn integers_may_be_spelled_as_strings() {
        assert_eq!(Value::from("200").int(), Some(200));
        assert_eq!(Value::from(" -3 ").int(), Some(-3));
        assert_eq!(Value::from("x").int(), None);
        assert_eq!(Value::List(Vec::new()).int(), None);
    }

    #[test]
    fn replies_are_written_in_the_order_they_are_built() {
        let reply = Value::dict()
            .with("result", "ok")
            .with("created", 12_u32)
            .with("tags", vec![Value::from("a\"b")]);
        let mut out = Vec::new();
        reply.encode(Encoding::Bencode, &mut out);
        assert_eq!(out, b"d6:result2:ok7:createdi12e4:tagsl3:a\"bee");
        out.clear();
        reply.encode(Encoding::Json, &mut out);
        assert_eq!(out, br#"{"result":"ok","created":12,"tags":["a\"b"]}"#);
    }

    #[test]
    fn bytes_that_are_not_utf8_do_not_break_json() {
        let mut out = Vec::new();
        Value::from(&b"a\xffb"[..]).encode(Encoding::Json, &mut out);
        assert_eq!(out, "\"a\u{fffd}b\"".as_bytes());
    }

    #[test]
    fn the_first_byte_tells_the_encoding() {
        assert_eq!(Encoding::detect(b"de"), Some(Encoding::Bencode));
        assert_eq!(Encoding::detect(b"{}"), Some(Encoding::Json));
        assert_eq!(Encoding::detect(b"le"), None);
        assert_eq!(Encoding::detect(b""), None);
    }
}
