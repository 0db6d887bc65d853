//! Bencode, the encoding ng clients speak over UDP: BitTorrent's (BEP 3), read liberally.
//!
//! Liberal means: dictionary keys in any order and repeated, leading zeros in integers and
//! lengths, `-0`. Strict means: every key is a string, every key has a value, an integer fits
//! `i64`. Each input is bounded by [`BENCODE_DEPTH_MAX`], [`BENCODE_ITEMS_MAX`] and
//! [`BENCODE_STRING_MAX`], so decoding costs time and memory in proportion to the input at most.

use std::borrow::Cow;
use std::io::Write;

use thiserror::Error;

use super::ng::Value;

/// Most lists and dictionaries inside each other; the outermost one counts.
pub const BENCODE_DEPTH_MAX: usize = 32;

/// Most strings, integers, lists, dictionaries and keys of one message, all counted alike.
pub const BENCODE_ITEMS_MAX: usize = 4096;

/// Longest string in bytes. More than a datagram holds, because audio clips travel over TCP.
pub const BENCODE_STRING_MAX: usize = 1 << 20;

/// Most digits of an integer or a length: those of `i64::MIN`, and room for a leading zero.
pub const BENCODE_DIGITS_MAX: usize = 20;

/// Why bytes are not bencode, and at which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BencodeError {
    /// The input ends inside a value that is well-formed so far.
    #[error("input ends at {at} inside a value")]
    Incomplete {
        /// The input's length.
        at: usize,
    },
    /// No value can begin with this byte.
    #[error("no value begins with the byte at {at}")]
    Unexpected {
        /// Offset of the byte.
        at: usize,
    },
    /// Not an integer, or one that does not fit `i64`.
    #[error("bad integer at {at}")]
    Integer {
        /// Offset of the `i`.
        at: usize,
    },
    /// A string's length is not a number, or above [`BENCODE_STRING_MAX`].
    #[error("bad string length at {at}")]
    Length {
        /// Offset of the length's first digit.
        at: usize,
    },
    /// A dictionary key is not a string.
    #[error("the dictionary key at {at} is not a string")]
    Key {
        /// Offset of the key.
        at: usize,
    },
    /// A dictionary ends after a key.
    #[error("the dictionary that ends at {at} lacks a value")]
    ValueMissing {
        /// Offset of the `e`.
        at: usize,
    },
    /// More than [`BENCODE_DEPTH_MAX`] containers inside each other.
    #[error("nested too deeply at {at}")]
    TooDeep {
        /// Offset of the container that is one too many.
        at: usize,
    },
    /// More than [`BENCODE_ITEMS_MAX`] items.
    #[error("too many items at {at}")]
    TooMany {
        /// Offset of the item that is one too many.
        at: usize,
    },
}

impl BencodeError {
    /// More input may still make a value of it: a stream waits, a datagram is refused.
    pub fn is_incomplete(self) -> bool {
        matches!(self, Self::Incomplete { .. })
    }
}

/// Reads one value from the front of `bytes`, and tells how many bytes it took.
///
/// Strings borrow from `bytes`. What follows the value is not looked at.
///
/// # Errors
///
/// See [`BencodeError`].
pub fn decode(bytes: &[u8]) -> Result<(Value<'_>, usize), BencodeError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        items: 0,
    };
    let (token, at) = reader.next()?;
    let value = reader.value(token, at, 0)?;
    Ok((value, reader.at))
}

/// Appends `value` to `out`, dictionaries in their own order.
pub fn encode(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Str(bytes) => encode_str(bytes, out),
        Value::Int(n) => write!(out, "i{n}e").expect("writing to a Vec cannot fail"),
        Value::List(list) => {
            out.push(b'l');
            for item in list {
                encode(item, out);
            }
            out.push(b'e');
        }
        Value::Dict(entries) => {
            out.push(b'd');
            for (key, item) in entries {
                encode_str(key, out);
                encode(item, out);
            }
            out.push(b'e');
        }
    }
}

fn encode_str(bytes: &[u8], out: &mut Vec<u8>) {
    write!(out, "{}:", bytes.len()).expect("writing to a Vec cannot fail");
    out.extend_from_slice(bytes);
}

/// Finds where a value ends in a stream that arrives in pieces (ng over TCP), without building it.
///
/// It goes on where it stopped, so a message that trickles in byte by byte costs no more than
/// one that comes at once. It accepts exactly what [`decode`] accepts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    at: usize,
    items: usize,
    depth: usize,
    /// Bit `n`: the container at depth `n + 1` is a dictionary.
    dicts: u32,
    /// Bit `n`: the dictionary at depth `n + 1` waits for a value, not for a key.
    values: u32,
}

const _: () = assert!(BENCODE_DEPTH_MAX <= u32::BITS as usize, "one bit per level");

impl Scanner {
    /// Reads on. `bytes` is all of the stream since the value began: what the previous call was
    /// given, and what has arrived since. `Some` is the value's length; `None` asks for more.
    ///
    /// # Errors
    ///
    /// Any [`BencodeError`] but [`BencodeError::Incomplete`].
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, BencodeError> {
        loop {
            let at = self.at;
            let (token, next) = match token(bytes, at) {
                Err(BencodeError::Incomplete { .. }) => return Ok(None),
                other => other?,
            };
            self.step(token, at)?;
            self.at = next;
            if self.depth == 0 {
                return Ok(Some(next));
            }
        }
    }

    /// Accounts for one token; the order of the checks is [`Reader`]'s.
    fn step(&mut self, token: Token<'_>, at: usize) -> Result<(), BencodeError> {
        if !matches!(token, Token::End) {
            count(&mut self.items, at)?;
        }
        let bit = 1_u32 << self.depth.saturating_sub(1);
        let in_dict = self.depth > 0 && self.dicts & bit != 0;
        let wants_value = self.values & bit != 0;
        if matches!(token, Token::End) {
            return match (self.depth, in_dict && wants_value) {
                (0, _) => Err(BencodeError::Unexpected { at }),
                (_, true) => Err(BencodeError::ValueMissing { at }),
                (_, false) => {
                    self.depth -= 1;
                    Ok(())
                }
            };
        }
        if in_dict {
            if !wants_value && !matches!(token, Token::Str(_)) {
                return Err(BencodeError::Key { at });
            }
            self.values ^= bit;
        }
        if matches!(token, Token::List | Token::Dict) {
            if self.depth == BENCODE_DEPTH_MAX {
                return Err(BencodeError::TooDeep { at });
            }
            let bit = 1_u32 << self.depth;
            self.depth += 1;
            self.values &= !bit;
            self.dicts &= !bit;
            if matches!(token, Token::Dict) {
                self.dicts |= bit;
            }
        }
        Ok(())
    }
}

/// The recursive half of [`decode`]; no deeper than [`BENCODE_DEPTH_MAX`].
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
}

impl<'a> Reader<'a> {
    /// The next token and its offset.
    fn next(&mut self) -> Result<(Token<'a>, usize), BencodeError> {
        let at = self.at;
        let (token, next) = token(self.bytes, at)?;
        if !matches!(token, Token::End) {
            count(&mut self.items, at)?;
        }
        self.at = next;
        Ok((token, at))
    }

    /// The value that begins with `token`, inside `depth` containers.
    fn value(
        &mut self,
        token: Token<'a>,
        at: usize,
        depth: usize,
    ) -> Result<Value<'a>, BencodeError> {
        match token {
            Token::Str(bytes) => Ok(Value::Str(Cow::Borrowed(bytes))),
            Token::Int(n) => Ok(Value::Int(n)),
            Token::End => Err(BencodeError::Unexpected { at }),
            _ if depth == BENCODE_DEPTH_MAX => Err(BencodeError::TooDeep { at }),
            Token::List => self.list(depth + 1),
            Token::Dict => self.dict(depth + 1),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Token::End, _) => return Ok(Value::List(list)),
                (token, at) => list.push(self.value(token, at, depth)?),
            }
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        let mut entries = Vec::new();
        loop {
            let key = match self.next()? {
                (Token::End, _) => return Ok(Value::Dict(entries)),
                (Token::Str(key), _) => key,
                (_, at) => return Err(BencodeError::Key { at }),
            };
            let value = match self.next()? {
                (Token::End, at) => return Err(BencodeError::ValueMissing { at }),
                (token, at) => self.value(token, at, depth)?,
            };
            entries.push((Cow::Borrowed(key), value));
        }
    }
}

#[derive(Clone, Copy)]
enum Token<'a> {
    Str(&'a [u8]),
    Int(i64),
    List,
    Dict,
    End,
}

/// The token at `at`, and the offset after it.
fn token(bytes: &[u8], at: usize) -> Result<(Token<'_>, usize), BencodeError> {
    match bytes.get(at) {
        None => Err(BencodeError::Incomplete { at: bytes.len() }),
        Some(b'l') => Ok((Token::List, at + 1)),
        Some(b'd') => Ok((Token::Dict, at + 1)),
        Some(b'e') => Ok((Token::End, at + 1)),
        Some(b'i') => integer(bytes, at),
        Some(b'0'..=b'9') => string(bytes, at),
        Some(_) => Err(BencodeError::Unexpected { at }),
    }
}

fn integer(bytes: &[u8], at: usize) -> Result<(Token<'_>, usize), BencodeError> {
    let negative = bytes.get(at + 1) == Some(&b'-');
    let start = at + 1 + usize::from(negative);
    let (digits, end) = digits(bytes, start, b'e', BencodeError::Integer { at })?;
    // Gathered below zero, where i64 reaches one further.
    let minus = digits
        .iter()
        .try_fold(0_i64, |n, digit| {
            n.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))
        })
        .ok_or(BencodeError::Integer { at })?;
    let n = if negative {
        Some(minus)
    } else {
        minus.checked_neg()
    };
    Ok((Token::Int(n.ok_or(BencodeError::Integer { at })?), end))
}

fn string(bytes: &[u8], at: usize) -> Result<(Token<'_>, usize), BencodeError> {
    let (digits, start) = digits(bytes, at, b':', BencodeError::Length { at })?;
    let len = digits
        .iter()
        .try_fold(0_usize, |n, digit| {
            n.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
        })
        .filter(|len| *len <= BENCODE_STRING_MAX)
        .ok_or(BencodeError::Length { at })?;
    match bytes.get(start..).and_then(|rest| rest.get(..len)) {
        Some(string) => Ok((Token::Str(string), start + len)),
        None => Err(BencodeError::Incomplete { at: bytes.len() }),
    }
}

/// The digits from `start` up to the byte `end`, and the offset after that byte; `error` if there
/// are none, too many, or something else between.
fn digits(
    bytes: &[u8],
    start: usize,
    end: u8,
    error: BencodeError,
) -> Result<(&[u8], usize), BencodeError> {
    let rest = bytes.get(start..).unwrap_or_default();
    let count = rest
        .iter()
        .take(BENCODE_DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count > BENCODE_DIGITS_MAX {
        return Err(error);
    }
    match rest.get(count) {
        None => Err(BencodeError::Incomplete { at: bytes.len() }),
        Some(byte) if *byte == end && count > 0 => Ok((&rest[..count], start + count + 1)),
        Some(_) => Err(error),
    }
}

fn count(items: &mut usize, at: usize) -> Result<(), BencodeError> {
    if *items == BENCODE_ITEMS_MAX {
        return Err(BencodeError::TooMany { at });
    }
    *items += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(bytes: &[u8]) -> Result<i64, BencodeError> {
        decode(bytes).map(|(value, _)| value.int().expect("an integer"))
    }

    #[test]
    fn reads_the_ping_of_the_protocol() {
        let (value, used) = decode(b"d7:command4:pinge\n").unwrap();
        assert_eq!(value, Value::dict().with("command", "ping"));
        assert_eq!(used, 17);
    }

    #[test]
    fn strings_borrow_from_the_input() {
        let input = b"l3:abce".to_vec();
        let (Value::List(list), _) = decode(&input).unwrap() else {
            panic!("a list")
        };
        assert!(matches!(&list[0], Value::Str(Cow::Borrowed(b"abc"))));
    }

    #[test]
    fn integers_are_read_liberally_within_i64() {
        assert_eq!(int(b"i0e"), Ok(0));
        assert_eq!(int(b"i-0e"), Ok(0));
        assert_eq!(int(b"i007e"), Ok(7));
        assert_eq!(int(b"i-12e"), Ok(-12));
        assert_eq!(int(b"i9223372036854775807e"), Ok(i64::MAX));
        assert_eq!(int(b"i-9223372036854775808e"), Ok(i64::MIN));
        let bad = Err(BencodeError::Integer { at: 0 });
        assert_eq!(int(b"i9223372036854775808e"), bad);
        assert_eq!(int(b"i-9223372036854775809e"), bad);
        assert_eq!(int(b"ie"), bad);
        assert_eq!(int(b"i-e"), bad);
        assert_eq!(int(b"i--1e"), bad);
        assert_eq!(int(b"i+1e"), bad);
        assert_eq!(int(b"i1.5e"), bad);
    }

    #[test]
    fn digits_are_bounded() {
        assert_eq!(int(format!("i{:020}e", 7).as_bytes()), Ok(7));
        let bad = Err(BencodeError::Integer { at: 0 });
        assert_eq!(int(format!("i{:021}e", 7).as_bytes()), bad);
        assert!(decode(format!("{:020}:a", 1).as_bytes()).is_ok());
        let bad = Err(BencodeError::Length { at: 0 });
        assert_eq!(decode(format!("{:021}:a", 1).as_bytes()), bad);
    }

    #[test]
    fn string_lengths_are_checked_before_they_are_used() {
        let bad = Err(BencodeError::Length { at: 0 });
        assert_eq!(decode(b"-1:a"), Err(BencodeError::Unexpected { at: 0 }));
        assert_eq!(decode(b"1e:a"), bad);
        assert_eq!(decode(b"99999999999999999999:a"), bad);
        assert_eq!(decode(b"18446744073709551615:a"), bad);
        let mut input = format!("{BENCODE_STRING_MAX}:").into_bytes();
        input.resize(input.len() + BENCODE_STRING_MAX, b'x');
        assert!(decode(&input).is_ok());
        let long = format!("{}:", BENCODE_STRING_MAX + 1);
        assert_eq!(decode(long.as_bytes()), bad);
    }

    #[test]
    fn dictionaries_need_string_keys_with_values() {
        assert_eq!(decode(b"di1ei2ee"), Err(BencodeError::Key { at: 1 }));
        assert_eq!(decode(b"d1:ae"), Err(BencodeError::ValueMissing { at: 4 }));
        assert_eq!(decode(b"e"), Err(BencodeError::Unexpected { at: 0 }));
        assert_eq!(decode(b"x"), Err(BencodeError::Unexpected { at: 0 }));
        let (value, _) = decode(b"d1:b1:x1:a1:y1:b1:ze").unwrap();
        assert_eq!(
            value.get("b").and_then(Value::str),
            Some("z"),
            "the last one wins"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |depth: usize| {
            let mut input = vec![b'l'; depth];
            input.resize(2 * depth, b'e');
            input
        };
        assert!(decode(&nest(BENCODE_DEPTH_MAX)).is_ok());
        let too_deep = BencodeError::TooDeep {
            at: BENCODE_DEPTH_MAX,
        };
        assert_eq!(decode(&nest(BENCODE_DEPTH_MAX + 1)), Err(too_deep));
        assert_eq!(decode(&nest(100_000)), Err(too_deep));
        assert_eq!(Scanner::default().advance(&nest(100_000)), Err(too_deep));
    }

    #[test]
    fn items_are_bounded() {
        let list = |items: usize| {
            let mut input = vec![b'l'];
            for _ in 0..items {
                input.extend_from_slice(b"0:");
            }
            input.push(b'e');
            input
        };
        assert!(decode(&list(BENCODE_ITEMS_MAX - 1)).is_ok());
        let at = 1 + 2 * (BENCODE_ITEMS_MAX - 1);
        assert_eq!(
            decode(&list(BENCODE_ITEMS_MAX)),
            Err(BencodeError::TooMany { at })
        );
    }

    #[test]
    fn every_prefix_is_incomplete_and_not_malformed() {
        let input = b"d4:listli-5ed1:k2:vvee7:command4:pinge";
        for cut in 0..input.len() {
            let error = decode(&input[..cut]).unwrap_err();
            assert_eq!(error, BencodeError::Incomplete { at: cut });
        }
    }

    #[test]
    fn scanner_finds_the_end_of_a_trickling_message() {
        let input = b"d4:listli-5ed1:k2:vvee7:command4:pinge";
        let mut stream = input.to_vec();
        stream.extend_from_slice(b"next d7:command");
        let mut scanner = Scanner::default();
        for cut in 0..input.len() {
            assert_eq!(scanner.advance(&stream[..cut]), Ok(None));
        }
        assert_eq!(scanner.advance(&stream), Ok(Some(input.len())));
    }
}
