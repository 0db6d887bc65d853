//! ng's verbs of listening, `subscribe request`, `subscribe answer` and `unsubscribe`; and what
//! `query` says of listeners.

use std::borrow::Cow;

use super::ok;
use super::reply::{tag_dict, tag_of};
use super::request::Request;
use super::service::{NgService, Refused, options, participants, text};
use crate::switch::{
    Listener, Participants, Snapshot, Subscribe, Subscribed, SubscribedMedia, SubscribedParty,
};
use crate::wire::ng::Value;

impl NgService {
    pub(super) fn subscribe_request(
        &self,
        r: &mut Request<'_>,
        call_id: &str,
    ) -> Result<Value<'static>, Refused> {
        let flags = (r.flags.siprec, r.flags.inactive);
        let mut options = plain_options(r);
        options.label = text(r.set_label.as_ref()).map(Cow::into_owned);
        let (tag, label) = (text(r.from_tag.as_ref()), text(r.label.as_ref()));
        let tags = from_tags(r)?;
        let sources = if r.flags.all || tags.is_empty() {
            vec![participants(r, tag.as_deref(), label.as_deref())?]
        } else {
            tags.iter().map(|tag| Participants::Tag(tag)).collect()
        };
        let to_tag = text(r.to_tag.as_ref());
        let done = self.switch().subscribe(&Subscribe {
            call_id,
            sources,
            to_tag: to_tag.as_deref(),
            siprec: flags.0,
            inactive: flags.1,
            options,
        })?;
        Ok(offered(done, flags.0))
    }

    pub(super) fn subscribe_answer(
        &self,
        r: &mut Request<'_>,
        call_id: &str,
    ) -> Result<Value<'static>, Refused> {
        let transcodes = r.flags.allow_transcoding;
        let options = plain_options(r);
        let tag = text(r.to_tag.as_ref()).unwrap_or_default();
        let answer = (r.sdp.as_deref().unwrap_or_default(), transcodes);
        let switch = self.switch();
        let warnings = switch.subscribe_answer(call_id, &tag, answer, &options)?;
        Ok(with_warnings(ok(), &warnings))
    }

    pub(super) fn unsubscribe(
        &self,
        r: &Request<'_>,
        call_id: &str,
    ) -> Result<Value<'static>, Refused> {
        let tag = text(r.to_tag.as_ref()).unwrap_or_default();
        self.switch().unsubscribe(call_id, &tag)?;
        Ok(ok())
    }
}

/// The options of an offer, without the flags that mean something in these verbs only, and with a
/// note of what has no effect here.
fn plain_options(r: &mut Request<'_>) -> crate::switch::Options {
    r.flags.siprec = false;
    r.flags.inactive = false;
    r.flags.allow_transcoding = false;
    let options = options(r);
    let without_effect = [
        (!options.codecs.is_empty(), "codec"),
        (options.ptime.is_some(), "ptime"),
        (options.ptime_reverse.is_some(), "ptime-reverse"),
        (options.early_policy.is_some(), "early-media-policy"),
        (options.echo.is_some(), "media-echo"),
        (options.detects, "detect-DTMF"),
        (options.digits_to.is_some(), "dtmf-log-dest"),
    ];
    for (_, name) in without_effect.iter().filter(|(asked, _)| *asked) {
        r.ignore(name);
    }
    options
}

/// The tags of a list, as text.
fn from_tags(r: &Request<'_>) -> Result<Vec<String>, Refused> {
    let tags = r.from_tags.iter().map(|tag| {
        let text = std::str::from_utf8(tag);
        let text = text.map_err(|_| Refused::Text("from-tags is not UTF-8".into()));
        text.map(str::to_owned)
    });
    tags.collect()
}

fn offered(done: Subscribed, siprec: bool) -> Value<'static> {
    let tags = done.sources.iter().map(|p| Value::from(p.tag.clone()));
    let tags: Vec<Value<'static>> = tags.collect();
    let mut reply = ok().with("sdp", done.sdp);
    if let [only] = done.sources.as_slice() {
        reply = reply.with("from-tag", only.tag.clone());
    }
    let medias = done.sources.iter().map(|p| tag_medias(p, siprec)).collect();
    reply = reply
        .with("from-tags", Value::List(tags))
        .with("to-tag", done.to_tag)
        .with("tag-medias", Value::List(medias));
    if siprec {
        let mut labels = Value::dict();
        for party in &done.sources {
            for media in &party.medias {
                let about = mode(media).with("tag", party.tag.clone());
                labels.push(media.line.to_string().into_bytes(), about);
            }
        }
        reply = reply.with("media-labels", labels);
    }
    with_warnings(reply, &done.warnings)
}

fn tag_medias(party: &SubscribedParty, siprec: bool) -> Value<'static> {
    let medias = party.medias.iter().map(|media| match siprec {
        true => mode(media).with("label", media.line.to_string()),
        false => mode(media),
    });
    let mut out = Value::dict().with("tag", party.tag.clone());
    if let Some(label) = &party.label {
        out = out.with("label", label.clone());
    }
    out.with("medias", Value::List(medias.collect()))
}

/// A line as its party has it; its number counts from one.
fn mode(media: &SubscribedMedia) -> Value<'static> {
    let index = i64::try_from(media.index).unwrap_or(i64::MAX - 1) + 1;
    Value::dict()
        .with("index", index)
        .with("type", media.kind.clone())
        .with("mode", media.direction.as_str())
}

fn with_warnings(reply: Value<'static>, warnings: &[String]) -> Value<'static> {
    match warnings {
        [] => reply,
        warnings => reply.with("warning", warnings.join("; ")),
    }
}

fn pub_sub(tag: String) -> Value<'static> {
    Value::dict().with("tag", tag).with("type", "pub/sub")
}

/// Those who listen to a party, as `query` lists its subscribers.
pub(super) fn listeners_to(s: &Snapshot, party: usize) -> impl Iterator<Item = Value<'static>> {
    let hears = move |listener: &&Listener| listener.sources().contains(&party);
    let listeners = s.listeners.iter().filter(hears);
    listeners.map(|listener| pub_sub(listener.party.tag().to_owned()))
}

/// Adds the listeners to the tags of `query`.
pub(super) fn query(s: &Snapshot, only: &[&str], tags: &mut Value<'static>) {
    for listener in &s.listeners {
        let party = &listener.party;
        if !only.is_empty() && !only.iter().any(|tag| party.has_tag(tag)) {
            continue;
        }
        let sources = listener.sources();
        let sources = sources.into_iter().map(|source| pub_sub(tag_of(s, source)));
        let body = tag_dict(s, party, sources.collect(), Vec::new());
        tags.push(party.tag().to_owned().into_bytes(), body);
    }
}
