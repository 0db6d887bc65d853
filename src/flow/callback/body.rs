//! What a callback says, by the names that the platform's API has.

use serde::Serialize;
use serde_json::Value;

use crate::flow::records::outbox::Tell;
use crate::flow::records::read::{CallRecord, LegRecord, Moment, Times};

/// Most legs that the last callback of a call tells of.
pub(crate) const LEGS_TOLD_MAX: usize = 64;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    event_type: &'static str,
    call_sid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    leg_sid: Option<&'a str>,
    direction: &'a str,
    from: &'a str,
    to: &'a str,
    status: &'a str,
    date_created: String,
    date_updated: String,
    start_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    ring_duration: i64,
    conversation_duration: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording_url: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    recordings: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    legs: Vec<Leg<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Leg<'a> {
    leg_sid: &'a str,
    number: &'a str,
    status: &'a str,
    on_call_duration: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_by: Option<&'static str>,
}

/// The body of a callback: about a leg, or, without one, about the call.
pub(crate) fn body(
    call: &CallRecord,
    legs: &[LegRecord],
    leg: Option<i64>,
    tell: Tell,
    now: i64,
    json: bool,
) -> String {
    let leg = leg.and_then(|id| legs.iter().find(|leg| leg.id == id));
    let body = match leg {
        Some(leg) => of_leg(call, leg, tell, now),
        None => of_call(call, legs, tell, now),
    };
    let value = serde_json::to_value(body).unwrap_or_default();
    if json {
        return value.to_string();
    }
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    flatten(&mut form, String::new(), &value);
    form.finish()
}

fn of_leg<'a>(call: &'a CallRecord, leg: &'a LegRecord, tell: Tell, now: i64) -> Body<'a> {
    let mut body = common(call, &leg.times, tell, now);
    body.leg_sid = Some(&leg.sid);
    body.direction = &leg.direction;
    body.from = &leg.from;
    body.to = &leg.to;
    body.status = &leg.status;
    body.cause_code = leg.cause;
    body.disconnected_by = leg.ended_by.as_deref().map(|by| disconnected_by(by, leg));
    body
}

fn of_call<'a>(call: &'a CallRecord, legs: &'a [LegRecord], tell: Tell, now: i64) -> Body<'a> {
    let mut body = common(call, &call.times, tell, now);
    body.recording_url = call.recordings.first().map(String::as_str);
    body.recordings = &call.recordings;
    body.legs = legs.iter().take(LEGS_TOLD_MAX).map(told).collect();
    body
}

fn common<'a>(call: &'a CallRecord, times: &Times, tell: Tell, now: i64) -> Body<'a> {
    Body {
        event_type: tell.label(),
        call_sid: &call.sid,
        leg_sid: None,
        direction: &call.direction,
        from: &call.from,
        to: &call.to,
        status: &call.status,
        date_created: call.times.started.seconds(),
        date_updated: Moment(now).seconds(),
        start_time: times.started.seconds(),
        end_time: times.ended.map(Moment::seconds),
        ring_duration: times.ring_ms / 1_000,
        conversation_duration: times.talk_ms / 1_000,
        cause_code: call.cause,
        disconnected_by: call.ended_by.as_deref().map(|by| match by {
            "caller" => "Caller",
            "switch" => "System",
            _ => "NA",
        }),
        recording_url: None,
        recordings: &[],
        legs: Vec::new(),
    }
}

fn told(leg: &LegRecord) -> Leg<'_> {
    let inbound = leg.direction == "inbound";
    Leg {
        leg_sid: &leg.sid,
        number: if inbound { &leg.from } else { &leg.to },
        status: &leg.status,
        on_call_duration: leg.times.talk_ms / 1_000,
        cause_code: leg.cause,
        disconnected_by: leg.ended_by.as_deref().map(|by| disconnected_by(by, leg)),
    }
}

fn disconnected_by(by: &str, leg: &LegRecord) -> &'static str {
    match (by, leg.direction.as_str()) {
        ("party", "inbound") => "Caller",
        ("party", _) => "Callee",
        ("switch", _) => "System",
        _ => "NA",
    }
}

/// As forms write what has parts: `Legs[0][Status]`.
fn flatten(form: &mut url::form_urlencoded::Serializer<'_, String>, name: String, value: &Value) {
    let part = |key: &str| match name.is_empty() {
        true => key.to_owned(),
        false => format!("{name}[{key}]"),
    };
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                flatten(form, part(key), value);
            }
        }
        Value::Array(items) => {
            for (ix, value) in items.iter().enumerate() {
                flatten(form, part(&ix.to_string()), value);
            }
        }
        Value::String(text) => drop(form.append_pair(&name, text)),
        other => drop(form.append_pair(&name, &other.to_string())),
    }
}
