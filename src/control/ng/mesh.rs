//! Conferences: `publish` for parties that come alone, `mesh` for who hears whom.
//!
//! ```text
//! {"command":"publish","call-id":"room1","from-tag":"anna","sdp":"v=0 …"}
//! {"command":"mesh","calls":["room1"],"flags":["bidirectional"],
//!  "tags":[{"from":"anna","to":["bob","eve"]},{"from":"bob","to":["eve"]}]}
//! ```
//!
//! Who is in `to` hears `from`. Without `to`, all other parties of the call do. Ours, not
//! rtpengine's: the flag `all` (everybody hears everybody), `gain` of an entry in dB, and
//! `loudest`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::ok;
use super::request::{CALL_ID_MAX, Request, TAG_MAX};
use super::service::{NgService, Refused, options, text};
use crate::audio::mix::Gain;
use crate::switch::{MeshRequest, MeshTalker, Negotiation};
use crate::wire::ng::Value;

/// Gain of an entry of `tags` in dB; what is lower is `off`.
pub const GAIN_DB: std::ops::RangeInclusive<f32> = -60.0..=18.0;

/// Random bytes of a call-id or tag that a client left out.
const NAME_WORDS: usize = 4;

/// What only `mesh` has, as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshKeys<'a> {
    /// `calls`: one call-id.
    pub calls: Option<Value<'a>>,
    /// `tags`: who is heard by whom.
    pub tags: Option<Value<'a>>,
    /// `loudest`: how many are mixed at most.
    pub loudest: Option<Value<'a>>,
    /// `bidirectional`: whom one hears hears one, too.
    pub bidirectional: bool,
    /// `unsubscribe`: they hear them no more.
    pub unsubscribe: bool,
}

impl NgService {
    /// Answers the offer of a party that comes alone.
    pub(super) fn publish(
        &self,
        r: &mut Request<'_>,
        call_id: &str,
    ) -> Result<Value<'static>, Refused> {
        let options = options(r);
        let or_random = |known: Option<Cow<'_, str>>| match known {
            Some(known) if !known.is_empty() => known.into_owned(),
            _ => random_name(),
        };
        let call_id = or_random(Some(call_id.into()));
        let from_tag = or_random(text(r.from_tag.as_ref()));
        let done = self.switch().publish(&Negotiation {
            call_id: &call_id,
            from_tag: &from_tag,
            to_tag: None,
            via_branch: None,
            sdp: r.sdp.as_deref().unwrap_or_default(),
            options,
        })?;
        let reply = ok()
            .with("call-id", call_id)
            .with("from-tag", from_tag)
            .with("sdp", done.sdp);
        Ok(match done.warnings.is_empty() {
            true => reply,
            false => reply.with("warning", done.warnings.join("; ")),
        })
    }

    /// Lets parties of a call hear each other.
    pub(super) fn mesh(&self, r: &mut Request<'_>) -> Result<Value<'static>, Refused> {
        let keys = std::mem::take(&mut r.mesh);
        let call_id = one_call(r.call_id.as_deref(), keys.calls.as_ref())?;
        let mut heard = Vec::new();
        for entry in items(keys.tags.as_ref()) {
            heard.push(talker(r, entry)?);
        }
        if heard.is_empty() && !r.flags.all && keys.loudest.is_none() {
            return Err(Refused::Text("mesh: no tags are given".into()));
        }
        let request = MeshRequest {
            heard,
            all: r.flags.all,
            both_ways: keys.bidirectional,
            ends: keys.unsubscribe,
            loudest: keys.loudest.as_ref().map(loudest).transpose()?,
        };
        self.switch().mesh(&call_id, &request)?;
        Ok(ok())
    }
}

/// The one call whose parties are meshed.
fn one_call(call_id: Option<&[u8]>, calls: Option<&Value<'_>>) -> Result<String, Refused> {
    let mut named: Vec<String> = Vec::new();
    let own = call_id.map(|id| String::from_utf8_lossy(id).into_owned());
    let listed = items(calls).map(|call| name(call, CALL_ID_MAX, "Empty/missing call-id"));
    for call in own.map(Ok).into_iter().chain(listed) {
        let call = call?;
        if !named.contains(&call) {
            named.push(call);
        }
    }
    match named.len() {
        0 => Err(Refused::Text("No call-id in message".into())),
        1 => Ok(named.remove(0)),
        n => Err(Refused::Text(format!(
            "mesh: only parties of one call can hear each other, and {n} calls are named"
        ))),
    }
}

/// One entry of `tags`.
fn talker(r: &mut Request<'_>, entry: &Value<'_>) -> Result<MeshTalker, Refused> {
    const NO_FROM: &str = "Empty/missing from-tag";
    let Value::Dict(keys) = entry else {
        return Err(Refused::Text(NO_FROM.into()));
    };
    let (mut from, mut to, mut gain) = (None, None, None);
    for (key, value) in keys {
        match key.to_ascii_lowercase().as_slice() {
            b"from" | b"from-tag" => from = Some(name(value, TAG_MAX, NO_FROM)?),
            b"to" | b"to-tag" | b"to-tags" => {
                let tags = items(Some(value));
                let tags = tags.map(|tag| name(tag, TAG_MAX, "Empty/missing to-tag"));
                to = Some(tags.collect::<Result<Vec<String>, Refused>>()?);
            }
            b"gain" => gain = Some(gain_of(value)?),
            other => r.ignore(&format!("tags.{}", String::from_utf8_lossy(other))),
        }
    }
    Ok(MeshTalker {
        from: from.ok_or_else(|| Refused::Text(NO_FROM.into()))?,
        to,
        gain,
    })
}

/// The items of a list, or the value itself.
fn items<'v, 'a>(value: Option<&'v Value<'a>>) -> impl Iterator<Item = &'v Value<'a>> {
    let (list, one) = match value {
        Some(Value::List(list)) => (list.as_slice(), None),
        one => (&[][..], one),
    };
    list.iter().chain(one)
}

/// A tag or call-id; `missing` is the complaint.
fn name(value: &Value<'_>, max: usize, missing: &str) -> Result<String, Refused> {
    let text = match value {
        // A client that takes digits for a number means the digits.
        Value::Int(n) => Some(n.to_string()),
        other => other.str().map(str::to_owned),
    };
    let text = text.filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Refused::Text(missing.to_owned()))?;
    match text.len() <= max {
        true => Ok(text),
        false => Err(Refused::Text(format!("A name is longer than {max} bytes"))),
    }
}

fn gain_of(value: &Value<'_>) -> Result<Gain, Refused> {
    let text = match value {
        Value::Int(n) => Cow::Owned(n.to_string()),
        other => Cow::Borrowed(other.str().unwrap_or_default()),
    };
    if ["off", "mute"]
        .iter()
        .any(|off| text.eq_ignore_ascii_case(off))
    {
        return Ok(Gain::MUTE);
    }
    let text = text.trim_end_matches("dB").trim();
    let db = text.parse().ok().filter(|db: &f32| GAIN_DB.contains(db));
    db.map(Gain::from_db).ok_or_else(|| {
        let (least, most) = (GAIN_DB.start(), GAIN_DB.end());
        Refused::Text(format!("mesh: gain is {least} to {most} dB, or off"))
    })
}

fn loudest(value: &Value<'_>) -> Result<u8, Refused> {
    let n = value.int().and_then(|n| u8::try_from(n).ok());
    n.ok_or_else(|| Refused::Text("mesh: loudest is 0 (all) to 255".into()))
}

/// 64 hexadecimal digits.
fn random_name() -> String {
    (0..NAME_WORDS).fold(String::new(), |mut name, _| {
        let _infallible = write!(name, "{:016x}", fastrand::u64(..));
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ng::decode_json;

    fn refused<T: std::fmt::Debug>(result: Result<T, Refused>) -> String {
        match result.unwrap_err() {
            Refused::Text(text) => text,
            Refused::Switch(error) => error.to_string(),
        }
    }

    #[test]
    fn calls_are_one_call() {
        let calls = |json: &'static str| decode_json(json.as_bytes()).unwrap();
        let one = |id: Option<&str>, list: &'static str| {
            let list = calls(list);
            one_call(id.map(str::as_bytes), Some(&list))
        };
        assert_eq!(one(None, r#"["a"]"#).unwrap(), "a");
        assert_eq!(one(Some("a"), r#"["a","a"]"#).unwrap(), "a");
        assert_eq!(one(None, r#""a""#).unwrap(), "a");
        assert!(refused(one(Some("b"), r#"["a"]"#)).contains("2 calls are named"));
        assert_eq!(refused(one_call(None, None)), "No call-id in message");
        assert_eq!(refused(one(None, r#"[""]"#)), "Empty/missing call-id");
    }

    #[test]
    fn entries_name_who_is_heard() {
        let read = |json: &str| {
            let message = format!(r#"{{"command":"mesh","tags":[{json}]}}"#);
            let (_, request) = Request::decode(message.as_bytes());
            let mut request = request.unwrap();
            let tags = request.mesh.tags.take().unwrap();
            let entry = items(Some(&tags)).next().unwrap();
            let ignored = request.ignored().len();
            talker(&mut request, entry).map(|talker| (talker, request.ignored().len() - ignored))
        };
        let (entry, _) = read(r#"{"from":"a","to":["b",7],"gain":"-3.5 dB"}"#).unwrap();
        assert_eq!(entry.to, Some(vec!["b".to_owned(), "7".to_owned()]));
        assert_eq!(
            (entry.from.as_str(), entry.gain),
            ("a", Some(Gain::from_db(-3.5)))
        );
        let (entry, ignored) = read(r#"{"from":"a","colour":"red"}"#).unwrap();
        assert_eq!((entry.to, ignored), (None, 1));
        for missing in [
            "{}",
            r#"{"from":""}"#,
            r#"{"from":["a"]}"#,
            r#""a""#,
            r#"{"to":["b"]}"#,
        ] {
            assert_eq!(
                refused(read(missing)),
                "Empty/missing from-tag",
                "{missing}"
            );
        }
        assert_eq!(
            refused(read(r#"{"from":"a","to":[""]}"#)),
            "Empty/missing to-tag"
        );
        for (len, fits) in [(TAG_MAX, true), (TAG_MAX + 1, false)] {
            let long = "x".repeat(len);
            assert_eq!(read(&format!(r#"{{"from":"{long}"}}"#)).is_ok(), fits);
        }
    }

    #[test]
    fn gains_and_counts_have_their_ranges() {
        let gain = |json: &str| gain_of(&decode_json(json.as_bytes()).unwrap()).ok();
        assert_eq!(gain("0"), Some(Gain::UNITY));
        assert_eq!(gain("\"off\""), Some(Gain::MUTE));
        assert!(gain("18").is_some() && gain("\"-60\"").is_some());
        for wrong in ["19", "-61", "\"\"", "\"NaN\"", "\"loud\"", "[1]"] {
            assert_eq!(gain(wrong), None, "{wrong}");
        }
        let count = |json: &str| loudest(&decode_json(json.as_bytes()).unwrap()).ok();
        assert_eq!(
            [count("0"), count("255"), count("256"), count("-1")],
            [Some(0), Some(255), None, None]
        );
    }

    #[test]
    fn names_are_made_up_in_64_digits() {
        let names = [random_name(), random_name()];
        assert!(names.iter().all(|name| name.len() == 64));
        assert_ne!(names[0], names[1]);
    }
}
