//! `trigger` and what belongs to it, of `block DTMF`, offers and answers: keys of the party itself
//! that begin and end masking.
//!
//! What is wrong with one of these keys refuses the request: a mask that never begins would be
//! found out when the keys have been heard.

use std::time::Duration;

use super::Value;
use super::block_dtmf::Security;
use super::flags::Key;
use super::request::RequestError;
use crate::engine::{MaskMode, TriggerError, TriggerKeys, Triggers};

/// What a request says of triggers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MaskTriggers {
    /// `trigger`.
    pub start: Option<TriggerKeys>,
    /// `trigger-end`.
    pub end: Option<TriggerKeys>,
    /// `trigger-end-time` in milliseconds.
    pub end_ms: Option<u64>,
    /// `trigger-end-digits`.
    pub end_count: Option<u16>,
    /// `DTMF-security-trigger`: the mode that `trigger` begins.
    pub begins: Option<Security>,
    /// `DTMF-security-trigger-end`: the mode once it has ended.
    pub ends: Option<Security>,
}

/// What of a trigger cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerRefused {
    /// Its keys, time or count.
    #[error(transparent)]
    Value(#[from] TriggerError),
    /// Its text is no number, or it is beyond any.
    #[error("not a whole number in range")]
    Number,
    /// No mode has this name.
    #[error("no such mode: off, drop, silence, tone, random, zero and DTMF are")]
    Mode,
}

impl MaskTriggers {
    /// Reads one of its keys.
    pub(super) fn read(&mut self, key: Key, value: &Value<'_>) -> Result<bool, RequestError> {
        let refused = |key| move |why| RequestError::Trigger { key, why };
        match key {
            Key::Trigger => self.start = Some(keys(value).map_err(refused("trigger"))?),
            Key::TriggerEnd => self.end = Some(keys(value).map_err(refused("trigger-end"))?),
            Key::TriggerEndTime => {
                let ms = number(value).map_err(refused("trigger-end-time"))?;
                self.end_ms = Some(ms);
                self.check(refused("trigger-end-time"))?;
            }
            Key::TriggerEndDigits => {
                let count = number(value).map_err(refused("trigger-end-digits"))?;
                self.end_count = Some(count);
                self.check(refused("trigger-end-digits"))?;
            }
            Key::DtmfSecurityTrigger => {
                self.begins = Some(mode(value).map_err(refused("DTMF-security-trigger"))?);
            }
            Key::DtmfSecurityTriggerEnd => {
                self.ends = Some(mode(value).map_err(refused("DTMF-security-trigger-end"))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(
        &self,
        refused: impl FnOnce(TriggerRefused) -> RequestError,
    ) -> Result<(), RequestError> {
        let triggers = self.triggers(0, [MaskMode::Pass, MaskMode::Pass], |_| MaskMode::Pass);
        let checked = triggers.map_or(Ok(()), |triggers| triggers.check());
        checked.map_err(|why| refused(why.into()))
    }

    /// Whether anything triggers.
    pub(super) fn is_set(&self) -> bool {
        self.start.is_some() || self.has_end()
    }

    fn has_end(&self) -> bool {
        self.end.is_some() || self.end_ms.is_some() || self.end_count.is_some()
    }

    /// Whether what a trigger begins has a mode of its own.
    pub(super) fn begins_other(&self) -> bool {
        self.start.is_some() && self.begins.is_some()
    }

    /// Whether any mode is said.
    pub(super) fn says_mode(&self) -> bool {
        self.begins.is_some() || self.ends.is_some()
    }

    /// What is said of a trigger that there is not.
    pub(super) fn unused(&self) -> Option<&'static str> {
        let says = |mode: Option<Security>| mode.is_some_and(|mode| mode != Security::Off);
        match () {
            () if says(self.begins) && self.start.is_none() => {
                Some("DTMF-security-trigger without trigger")
            }
            () if says(self.ends) && !self.has_end() => {
                Some("DTMF-security-trigger-end without trigger-end, -time or -digits")
            }
            () => None,
        }
    }

    /// As the engine takes them. `before` is what stands for a press until it begins, `plain` what
    /// `DTMF-security` says, and `of` what any mode means.
    pub(super) fn triggers(
        &self,
        id: u64,
        [before, plain]: [MaskMode; 2],
        of: impl Fn(Security) -> MaskMode,
    ) -> Option<Triggers> {
        let begins = self.begins.filter(|_| self.start.is_some());
        self.is_set().then(|| Triggers {
            id,
            start: self.start.clone(),
            mode: begins.map_or(plain, &of),
            end: self.end.clone(),
            end_time: self.end_ms.map(Duration::from_millis),
            end_count: self.end_count,
            after: self.ends.map_or(before, &of),
        })
    }
}

fn keys(value: &Value<'_>) -> Result<TriggerKeys, TriggerRefused> {
    let keys = match value {
        Value::Int(number) => TriggerKeys::parse(&number.to_string()),
        // What is no text has no key either.
        _ => TriggerKeys::parse(value.str().unwrap_or_default()),
    };
    Ok(keys?)
}

fn number<T: TryFrom<i64>>(value: &Value<'_>) -> Result<T, TriggerRefused> {
    let number = value.int().and_then(|number| T::try_from(number).ok());
    number.ok_or(TriggerRefused::Number)
}

fn mode(value: &Value<'_>) -> Result<Security, TriggerRefused> {
    Security::read(value).ok_or(TriggerRefused::Mode)
}

#[cfg(test)]
mod tests {
    use super::super::request::Request;
    use super::*;
    use crate::engine::{Mask, TRIGGER_KEYS_MAX};

    fn asked(json: &str) -> Result<Option<Mask>, String> {
        let message = format!(r#"{{"command":"block DTMF","call-id":"c",{json}}}"#);
        let (_, request) = Request::decode(message.as_bytes());
        let request = request.map_err(|error| error.to_string())?;
        assert!(request.ignored().is_empty(), "{:?}", request.ignored());
        Ok(request.mask.mask(7))
    }

    fn mask(json: &str) -> Mask {
        asked(json).expect("a request").expect("a mask")
    }

    #[test]
    fn modes_before_meanwhile_and_after_are_told_apart() {
        use MaskMode::{Absorb, Pass, Silence, ZeroDigit};
        for (json, modes, in_band) in [
            (r#""trigger":"*1""#, [Pass, Absorb, Pass], false),
            (
                r#""trigger":"*1","DTMF-security":"silence""#,
                [Pass, Silence, Pass],
                true,
            ),
            (
                r#""trigger":11,"DTMF-security":"zero","DTMF-security-trigger":"drop""#,
                [ZeroDigit, Absorb, ZeroDigit],
                true,
            ),
            (
                r#""trigger":"1","DTMF-security-trigger":"drop","trigger-end":"2",
                   "DTMF-security-trigger-end":"zero""#,
                [Pass, Absorb, ZeroDigit],
                true,
            ),
            (r##""trigger-end":"#""##, [Pass, Absorb, Pass], false),
        ] {
            let mask = mask(json);
            let triggers = mask.triggers.expect("triggers");
            assert_eq!([mask.mode, triggers.mode, triggers.after], modes, "{json}");
            assert_eq!(mask.in_band, in_band, "{json}");
            assert_eq!(triggers.id, 7);
        }
    }

    #[test]
    fn ends_are_read() {
        let json = r#""trigger":"1","trigger-end-time":"2500","trigger-end-digits":16"#;
        let triggers = mask(json).triggers.expect("triggers");
        assert_eq!(triggers.end_time, Some(Duration::from_millis(2_500)));
        assert_eq!((triggers.end, triggers.end_count), (None, Some(16)));
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_where() {
        let longest = "5".repeat(TRIGGER_KEYS_MAX);
        assert!(asked(&format!(r#""trigger":"{longest}""#)).is_ok());
        let refused = |json: &str| asked(json).expect_err(json);
        let long = refused(&format!(r#""trigger":"{longest}5""#));
        assert_eq!(long, "trigger: more than 32 digits");
        assert_eq!(refused(r#""trigger":"""#), "trigger: no digits");
        assert_eq!(
            refused(r#""trigger-end":"12x""#),
            "trigger-end: character 2 is no key: 0-9, *, # and A-D are"
        );
        assert_eq!(
            refused(r#""trigger-end-digits":1001"#),
            "trigger-end-digits: 1001 digits: 1 to 1000 are possible"
        );
        assert_eq!(
            refused(r#""trigger-end-time":-1"#),
            "trigger-end-time: not a whole number in range"
        );
        assert_eq!(
            refused(r#""trigger-end-time":86400001"#),
            "trigger-end-time: 86400001 ms: 1 ms to a day are possible"
        );
        // What it names are modes.
        let mode = refused(r#""DTMF-security-trigger":"loud""#);
        let modes = mode.strip_prefix("DTMF-security-trigger: no such mode: ");
        let modes = modes.and_then(|modes| modes.strip_suffix(" are"));
        let modes = modes.expect("a list").replace(" and ", ", ");
        for mode in modes.split(", ") {
            assert!(Security::read(&mode.into()).is_some(), "{mode}");
        }
        assert_eq!(modes.split(", ").count(), 7);
    }
}
