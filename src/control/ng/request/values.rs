//! What a value of a key means: names, numbers, addresses and lists.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::audio::tone::{ToneKind, TonePlan};
use crate::engine::{EarlyMedia, LearnPace, Privacy, SEQUENCE_MAX};
use crate::switch::Echo;
use crate::wire::ng::Value;

use super::super::flags::{self, Name};
use super::{
    AddressFamily, FILE_NAME_MAX, FROM_TAGS_MAX, INTERFACE_NAME_MAX, RequestError, SipMessageType,
    TAG_MAX,
};

/// Stores a value that makes sense; otherwise leaves what is there, and tells.
pub(super) fn put<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let makes_sense = value.is_some();
    if makes_sense {
        *slot = value;
    }
    makes_sense
}

/// Stores an identifier. An empty one is as good as none.
pub(super) fn identifier<'a>(
    slot: &mut Option<Cow<'a, [u8]>>,
    value: Value<'a>,
    key: &'static str,
    max: usize,
) -> Result<bool, RequestError> {
    let bytes = match value {
        Value::Str(bytes) => bytes,
        // A client that takes digits for a number means the digits.
        Value::Int(n) => Cow::Owned(n.to_string().into_bytes()),
        Value::List(_) | Value::Dict(_) => return Ok(false),
    };
    if bytes.len() > max {
        return Err(RequestError::TooLong { key, max });
    }
    *slot = (!bytes.is_empty()).then_some(bytes);
    Ok(true)
}

/// Adds tags to a list; `false` if any did not fit or is none.
pub(super) fn from_tags<'a>(
    tags: &mut Vec<Cow<'a, [u8]>>,
    value: Value<'a>,
) -> Result<bool, RequestError> {
    let mut all = true;
    for item in each(value) {
        let mut tag = None;
        identifier(&mut tag, item, "from-tags", TAG_MAX)?;
        match tag.filter(|_| tags.len() < FROM_TAGS_MAX) {
            Some(tag) => tags.push(tag),
            None => all = false,
        }
    }
    Ok(all)
}

/// The items of a list, or the value itself.
pub(super) fn each<'a>(value: Value<'a>) -> impl Iterator<Item = Value<'a>> {
    let (one, many) = match value {
        Value::List(list) => (None, list),
        other => (Some(other), Vec::new()),
    };
    one.into_iter().chain(many)
}

pub(super) fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Str(bytes) => bytes.is_empty(),
        Value::Int(_) => false,
        Value::List(list) => list.is_empty(),
        Value::Dict(entries) => entries.is_empty(),
    }
}

/// One name of a file, or a list of them.
pub(super) fn files(value: Value<'_>) -> Option<Vec<Cow<'_, str>>> {
    let names = match value {
        Value::List(names) => names,
        one => vec![one],
    };
    let whole = (1..=SEQUENCE_MAX).contains(&names.len());
    let good = |name: &Cow<'_, str>| (1..=FILE_NAME_MAX).contains(&name.len());
    let names = names.into_iter().map(|name| text(name).filter(good));
    names.collect::<Option<Vec<_>>>().filter(|_| whole)
}

pub(super) fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Str(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Value::Str(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        Value::Int(n) => Some(Cow::Owned(n.to_string())),
        Value::List(_) | Value::Dict(_) => None,
    }
}

pub(super) fn name_of(value: &Value<'_>) -> Option<Name> {
    match value {
        Value::Int(n) => Name::new(n.to_string().as_bytes()),
        other => Name::new(other.bytes()?),
    }
}

pub(in crate::control::ng) fn on_or_off(value: Value<'_>) -> Option<bool> {
    let name = name_of(&value)?;
    match (name.find(flags::ON), name.find(flags::OFF)) {
        (Some(()), _) => Some(true),
        (_, Some(())) => Some(false),
        _ => None,
    }
}

/// Every item says no, or there is none.
pub(super) fn is_off(value: Value<'_>) -> bool {
    each(value).all(|item| {
        is_empty(&item) || name_of(&item).is_some_and(|name| name.find(flags::OFF).is_some())
    })
}

pub(super) fn number<T: TryFrom<i64>>(value: &Value<'_>) -> Option<T> {
    T::try_from(value.int()?).ok()
}

pub(super) fn positive(value: &Value<'_>) -> Option<u16> {
    number(value).filter(|n| *n > 0)
}

pub(super) fn interface(value: Value<'_>) -> Option<Cow<'_, str>> {
    text(value).filter(|name| (1..=INTERFACE_NAME_MAX).contains(&name.len()))
}

/// An address as `192.0.2.1`, `[2001:db8::1]`, `IP4 192.0.2.1` or `["IP4", "192.0.2.1"]`.
pub(super) fn ip(value: &Value<'_>) -> Option<IpAddr> {
    let text = match value {
        Value::List(list) => list.last()?.str()?,
        other => other.str()?,
    };
    let text = text.split_ascii_whitespace().next_back()?;
    let text = text.trim_start_matches('[').trim_end_matches(']');
    text.parse().ok()
}

pub(super) fn address_family(value: Value<'_>) -> Option<AddressFamily> {
    match name_of(&value)?.bytes() {
        b"ip4" => Some(AddressFamily::Ip4),
        b"ip6" => Some(AddressFamily::Ip6),
        _ => None,
    }
}

pub(super) fn privacy(value: Value<'_>) -> Option<Privacy> {
    match name_of(&value)?.bytes() {
        b"masked" => Some(Privacy::Masked),
        b"transparent" => Some(Privacy::Transparent),
        _ => None,
    }
}

pub(super) fn media_echo(value: Value<'_>) -> Option<Echo> {
    let name = name_of(&value)?;
    let off = || name.find(flags::OFF).map(|()| Echo::Off);
    name.find(flags::MEDIA_ECHO).or_else(off)
}

pub(super) fn learning(value: Value<'_>) -> Option<LearnPace> {
    name_of(&value)?.find(flags::LEARNING)
}

/// `first`, `latest`, `mix`, or `ringback`, with a tone plan or a country behind a `=` or `-`.
pub(super) fn early_media(value: &Value<'_>) -> Option<EarlyMedia> {
    let text = value.str()?.trim().to_ascii_lowercase();
    match text.as_str() {
        "first" => Some(EarlyMedia::First),
        "latest" => Some(EarlyMedia::Latest),
        "mix" => Some(EarlyMedia::Mix),
        "ringback" => TonePlan::parse("ringback").ok().map(EarlyMedia::Ringback),
        other => {
            let plan = other
                .strip_prefix("ringback")?
                .strip_prefix(['=', '-', ':'])?;
            let country = || TonePlan::named(plan, ToneKind::Ringback);
            let plan = country().or_else(|| TonePlan::parse(plan).ok())?;
            Some(EarlyMedia::Ringback(plan))
        }
    }
}

/// Base64 (RFC 4648 section 4 or 5), with or without padding and line breaks; `None` if it is not.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut held, mut bits) = (0_u32, 0);
    let mut rest = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    for byte in rest.by_ref() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => return None,
        };
        held = (held << 6 | u32::from(six)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xFF) as u8);
        }
    }
    // What is left over of the last octet must be padding: a sixth of one is none.
    (bits < 6 && rest.all(|byte| *byte == b'=')).then_some(out)
}

pub(super) fn sip_message_type(value: Value<'_>) -> Option<SipMessageType> {
    match name_of(&value)?.bytes() {
        b"request" | b"sip-request" => Some(SipMessageType::Request),
        b"reply" | b"sip-reply" => Some(SipMessageType::Reply),
        _ => None,
    }
}
