//! A second chance for descriptions that strict parsing refuses but whose meaning is plain.
//!
//! Seen in the field: blank lines, trailing blanks, two blanks between fields, a session version
//! that is no number, a Latin-1 session name, a second `s=`, `b=` without a number, an `m=` line
//! without formats once rejected. Each line stays on its line number, so that errors point at the
//! sender's text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with what can be mended mended; everything else as it is, for the parser to refuse.
pub(super) fn repair(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    // Some senders end lines with a bare CR; mixing both would make a CR ambiguous.
    let line_end = if text.contains('\n') { '\n' } else { '\r' };
    let mut mended = String::with_capacity(text.len() + 64);
    let mut seen = Seen::default();
    for line in text.split(line_end) {
        mended.push_str(&repair_line(line.trim(), &mut seen));
        mended.push_str("\r\n");
    }
    mended
}

/// Which lines that may appear only once were there, in the session or the current media.
#[derive(Default)]
struct Seen {
    keys: u32,
    in_media: bool,
}

impl Seen {
    /// Marks `key`; true if it was there before.
    fn again(&mut self, key: u8) -> bool {
        let bit = 1 << (key.wrapping_sub(b'a') & 31);
        let again = self.keys & bit != 0;
        self.keys |= bit;
        again
    }
}

/// A line that is dropped becomes an empty one, which the parser skips.
const DROPPED: Cow<'static, str> = Cow::Borrowed("");

fn repair_line<'a>(line: &'a str, seen: &mut Seen) -> Cow<'a, str> {
    let Some(value) = line
        .get(2..)
        .filter(|_| line.as_bytes().get(1) == Some(&b'='))
    else {
        return Cow::Borrowed(line);
    };
    match line.as_bytes().first().copied().unwrap_or_default() {
        b'm' => {
            *seen = Seen {
                keys: 0,
                in_media: true,
            };
            Cow::Owned(media_line(value))
        }
        b'o' if seen.again(b'o') => DROPPED,
        b'o' => Cow::Owned(origin_line(value)),
        b'c' if !seen.in_media && seen.again(b'c') => DROPPED,
        b'c' => Cow::Owned(format!("c={}", first_fields(value, 3))),
        key @ (b's' | b'i' | b'u') if seen.again(key) => DROPPED,
        // Scheduling and the key field (which RFC 8866 section 5.12 says to ignore) mean nothing
        // to a call that is being set up now.
        b'k' | b'r' | b'z' => DROPPED,
        b't' if !is_time(value) => DROPPED,
        b'b' if !is_bandwidth(value) => DROPPED,
        _ => Cow::Borrowed(line),
    }
}

fn first_fields(value: &str, count: usize) -> String {
    value
        .split_ascii_whitespace()
        .take(count)
        .collect::<Vec<_>>()
        .join(" ")
}

/// One blank between fields, and a format where a rejected line has none.
fn media_line(value: &str) -> String {
    let fields: Vec<&str> = value.split_ascii_whitespace().collect();
    let mut line = format!("m={}", fields.join(" "));
    if fields.get(1) == Some(&"0") {
        line.push_str(match fields.len() {
            2 => " RTP/AVP 0",
            3 => " 0",
            _ => "",
        });
    }
    line
}

/// Six fields, the version a number, the rest defaults.
fn origin_line(value: &str) -> String {
    const DEFAULTS: [&str; 6] = ["-", "0", "0", "IN", "IP4", "0.0.0.0"];
    let mut fields = value.split_ascii_whitespace();
    let mut line = String::from("o=");
    for (index, default) in DEFAULTS.into_iter().enumerate() {
        let field = fields.next().unwrap_or(default);
        let separator = if index == 0 { "" } else { " " };
        let _ = match index {
            2 => write!(line, "{separator}{}", version(field)),
            _ => write!(line, "{separator}{field}"),
        };
    }
    line
}

/// A version too large for 64 bits is the largest; one that is no number is 0.
fn version(field: &str) -> u64 {
    let digits = !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit());
    field.parse().unwrap_or(if digits { u64::MAX } else { 0 })
}

fn is_time(value: &str) -> bool {
    let mut fields = value.split_ascii_whitespace();
    let number = |field: Option<&str>| field.is_some_and(|text| text.parse::<u64>().is_ok());
    number(fields.next()) && number(fields.next()) && fields.next().is_none()
}

fn is_bandwidth(value: &str) -> bool {
    value
        .split_once(':')
        .is_some_and(|(_, number)| number.parse::<u64>().is_ok())
}
