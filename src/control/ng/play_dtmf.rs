//! `play DTMF`: a key, pressed as if a party did.

use std::time::Duration;

use smallvec::smallvec;

use super::request::Request;
use super::service::{Refused, participants, text};
use super::{Value, ok};
use crate::engine::{DialId, DialStep, KEY_VOLUME, KEY_VOLUME_MAX};
use crate::switch::{Dialing, Switch};
use crate::wire::event::{Digit, EventCode};

/// How long a key is down where the request does not say, and at least and at most, in
/// milliseconds.
const DURATION_MS: (i64, i64, i64) = (250, 100, 5_000);

/// The same of the pause behind it.
const PAUSE_MS: (i64, i64, i64) = (100, 100, 5_000);

/// What the request says of a key.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyPress {
    /// `code` or `digit`; `None`: none of the sixteen.
    pub code: Option<Digit>,
    /// `duration` in milliseconds.
    pub duration_ms: Option<i64>,
    /// `pause` in milliseconds.
    pub pause_ms: Option<i64>,
    /// `volume` in dBm0; one above 0 is negated.
    pub volume: Option<i64>,
}

/// Does not say which key: logs do not hold what people dial.
impl std::fmt::Debug for KeyPress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPress")
            .field("duration_ms", &self.duration_ms)
            .finish_non_exhaustive()
    }
}

/// Reads a key: its character, its code as a number, or that number in text. Text of one character
/// is that character, so that `"5"` and 5 are the same.
pub(super) fn read_code(value: &Value<'_>) -> Option<Digit> {
    let mut chars = value.str().unwrap_or_default().chars();
    let code = match (value, chars.next(), chars.next()) {
        (Value::Str(_), Some(only), None) => return Digit::from_char(only),
        _ => value.int()?,
    };
    EventCode(u8::try_from(code).ok()?).digit()
}

/// Carries it out and words the reply.
pub(super) fn play_dtmf(
    switch: &Switch,
    r: &Request<'_>,
    call_id: &str,
) -> Result<Value<'static>, Refused> {
    let (tag, label) = (text(r.from_tag.as_ref()), text(r.label.as_ref()));
    let who = participants(r, tag.as_deref(), label.as_deref())?;
    let digit = r.key_press.code;
    let digit = digit.ok_or_else(|| Refused::Text("Out of range 'code' specified".into()))?;
    let span = |ms: Option<i64>, (usual, least, most): (i64, i64, i64)| {
        let ms = ms.unwrap_or(usual).clamp(least, most);
        Duration::from_millis(ms.unsigned_abs())
    };
    let volume = r.key_press.volume.map(i64::unsigned_abs);
    let volume = volume.map_or(KEY_VOLUME, |volume| {
        u8::try_from(volume).map_or(KEY_VOLUME_MAX, |volume| volume.min(KEY_VOLUME_MAX))
    });
    let dialing = Dialing {
        id: DialId(0),
        steps: smallvec![DialStep::Key {
            code: digit.code(),
            duration: span(r.key_press.duration_ms, DURATION_MS),
        }],
        pause: span(r.key_press.pause_ms, PAUSE_MS),
        volume,
    };
    switch.press_keys(call_id, who, &dialing)?;
    Ok(ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ng::request::Command;

    fn asked(json: &str) -> (KeyPress, Vec<String>) {
        let message = format!(r#"{{"command":"play DTMF","call-id":"c",{json}}}"#);
        let (_, request) = Request::decode(message.as_bytes());
        let request = request.expect("a request");
        assert_eq!(request.command, Command::PlayDtmf);
        (request.key_press, request.ignored().to_vec())
    }

    #[test]
    fn a_key_is_a_character_a_number_or_a_number_in_text() {
        let key = |json: &str| asked(json).0.code.map(Digit::as_char);
        for (json, expected) in [
            (r#""code":"5""#, Some('5')),
            (r#""digit":"5""#, Some('5')),
            (r#""code":5"#, Some('5')),
            (r#""code":10"#, Some('*')),
            (r#""code":"11""#, Some('#')),
            (r##""code":"#""##, Some('#')),
            (r#""code":"d""#, Some('D')),
            (r#""code":15"#, Some('D')),
            (r#""code":16"#, None),
            (r#""code":-1"#, None),
            (r#""code":"16""#, None),
            (r#""code":"x""#, None),
            (r#""code":"""#, None),
            (r#""code":999999999999"#, None),
        ] {
            assert_eq!(key(json), expected, "{json}");
        }
    }

    #[test]
    fn times_and_volume_are_read() {
        let (press, ignored) = asked(r#""code":1,"duration":"200","pause":60,"volume":-12"#);
        assert_eq!(press.duration_ms, Some(200));
        assert_eq!((press.pause_ms, press.volume), (Some(60), Some(-12)));
        assert!(ignored.is_empty());
        assert!(!format!("{press:?}").contains('1'));
        let (_, ignored) = asked(r#""code":[],"duration":"long""#);
        assert_eq!(ignored, ["code", "duration"]);
    }
}
