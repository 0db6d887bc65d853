//! Carries out ng requests on the switch; the doors (UDP, TCP, HTTP, WebSocket) only frame them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use super::cookie::{COOKIE_LEN_MAX, CookieCache, CookieLimits, CookieStats, Seen};
use super::request::{AddressFamily, Command, Request};
use super::{
    block_dtmf, connect, error, join_datagram, moh, ok, play_dtmf, recording, reply, split_datagram,
};
use crate::engine::LearnPace;
use crate::switch::prompts::Source;
use crate::switch::{
    CodecPolicy, Family, MediaGate, Mux, Negotiation, Options, Participants, Playback,
    RtcpAttributeStyle, Switch, SwitchError, why,
};
use crate::wire::bencode;
use crate::wire::ng::{Encoding, Value, decode_json};

/// Calls a `list` names when the request says no `limit`.
const LIST_DEFAULT: i64 = 32;

/// Longest reply over UDP: what an IPv4 datagram carries.
pub const DATAGRAM_REPLY_MAX: usize = 65_507;

/// Of that, what a `cli` reply needs besides its text: cookie, keys, the line that says how many
/// calls were left out.
const CLI_REPLY_FRAME: usize = COOKIE_LEN_MAX + 256;

/// Notices that wait for a TCP client that is slow to take them; the oldest go first.
pub const NOTICES_MAX: usize = 256;

/// Deletes that may wait for their delay at a time; one more is refused.
pub const DELAYED_DELETES_MAX: usize = 1 << 17;

/// The ng protocol on top of a switch.
#[derive(Debug)]
pub struct NgService {
    switch: Arc<Switch>,
    cookies: Mutex<CookieCache>,
    delete_delay: Duration,
    delayed: Mutex<HashMap<Scope, Delayed>>,
    delayed_serial: AtomicU64,
    /// Requests carried out, of all doors.
    pub requests: AtomicU64,
    /// Requests answered with an error.
    pub errors: AtomicU64,
    /// Repeated requests answered from the cookie cache.
    pub replays: AtomicU64,
    /// Datagrams without a cookie, or too many at a time.
    pub dropped: AtomicU64,
    /// Replies too large for a datagram, which were cut to their result.
    pub oversize_replies: AtomicU64,
    /// Presses of keys that were sent to a log destination, and those that could not be.
    pub digits_logged: AtomicU64,
    /// See [`NgService::digits_logged`].
    pub digits_unlogged: AtomicU64,
    /// Notices that a TCP client was too slow to take.
    pub notices_lost: AtomicU64,
    notices: broadcast::Sender<Arc<[u8]>>,
}

/// What a delayed delete is about: the call, or the branch that To-tag or branch name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scope {
    call_id: String,
    to_tag: Option<String>,
    branch: Option<String>,
}

/// A delete that waits. Its task takes the entry out before it begins to delete, so that an abort
/// never hits a delete half-way.
#[derive(Debug)]
struct Delayed {
    serial: u64,
    task: AbortHandle,
}

impl NgService {
    /// A service; `delete_delay` holds for deletes that name none.
    pub fn new(switch: Arc<Switch>, delete_delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            switch,
            cookies: Mutex::new(CookieCache::new(Instant::now(), CookieLimits::default())),
            delete_delay,
            delayed: Mutex::default(),
            delayed_serial: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            replays: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            oversize_replies: AtomicU64::new(0),
            digits_logged: AtomicU64::new(0),
            digits_unlogged: AtomicU64::new(0),
            notices_lost: AtomicU64::new(0),
            notices: broadcast::Sender::new(NOTICES_MAX),
        })
    }

    /// Tells every connection of the TCP door something that it did not ask for.
    pub(super) fn notify(&self, notice: Arc<[u8]>) {
        let _nobody_is_connected = self.notices.send(notice);
    }

    /// What a connection is told from now on besides its replies.
    pub(super) fn notices(&self) -> broadcast::Receiver<Arc<[u8]>> {
        self.notices.subscribe()
    }

    /// The switch behind it.
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// How full the cookie cache is.
    pub fn cookie_stats(&self) -> CookieStats {
        self.cookies().stats()
    }

    /// Answers `COOKIE SP payload`; a repeated cookie gets the bytes of the first reply.
    ///
    /// `None`: nothing is to be sent (no cookie, or its first copy is still being carried out and
    /// will be answered).
    ///
    /// Carried out to its end even if nobody awaits the reply any more: a connection that breaks
    /// must not leave a call half removed.
    pub async fn message(self: &Arc<Self>, message: &[u8]) -> Option<Arc<[u8]>> {
        let (service, message) = (Arc::clone(self), Box::<[u8]>::from(message));
        to_its_end(async move { service.answer(&message, usize::MAX).await })
            .await
            .flatten()
    }

    /// As [`Self::message`] for the UDP door: the reply fits a datagram, and the caller sees to it
    /// that the future is not dropped.
    pub async fn datagram(self: &Arc<Self>, message: &[u8]) -> Option<Arc<[u8]>> {
        self.answer(message, DATAGRAM_REPLY_MAX).await
    }

    async fn answer(self: &Arc<Self>, message: &[u8], len_max: usize) -> Option<Arc<[u8]>> {
        let Some((cookie, payload)) = split_datagram(message) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let seen = self.cookies().begin(Instant::now(), cookie);
        match seen {
            Seen::Fresh => {}
            Seen::Pending => return None,
            Seen::Replay(reply) => {
                self.replays.fetch_add(1, Ordering::Relaxed);
                // The first copy may have come over TCP.
                return Some(self.fitting(reply, cookie, payload, len_max));
            }
        }
        let (encoding, value) = self.carry_out(payload, len_max).await;
        let reply = join_datagram(cookie, encoding, &value).into();
        let reply = self.fitting(reply, cookie, payload, len_max);
        self.cookies().finish(cookie, Arc::clone(&reply));
        Some(reply)
    }

    /// The reply, or in its place what of it can be said in `len_max` bytes.
    fn fitting(
        &self,
        reply: Arc<[u8]>,
        cookie: &[u8],
        payload: &[u8],
        len_max: usize,
    ) -> Arc<[u8]> {
        if reply.len() <= len_max {
            return reply;
        }
        self.oversize_replies.fetch_add(1, Ordering::Relaxed);
        let (encoding, request) = Request::decode(payload);
        let short = match request {
            // The call is gone; an error would have the client believe that it is not.
            Ok(r) if r.command == Command::Delete => {
                ok().with("warning", "reply too large for a datagram")
            }
            _ => error("Reply too large for a datagram"),
        };
        join_datagram(cookie, encoding, &short).into()
    }

    /// Answers a payload that comes without a cookie, over a transport that loses nothing.
    ///
    /// Carried out to its end, as by [`Self::message`].
    pub async fn plain(self: &Arc<Self>, payload: &[u8]) -> Vec<u8> {
        let (service, payload) = (Arc::clone(self), Box::<[u8]>::from(payload));
        let work = async move {
            let (encoding, value) = service.carry_out(&payload, usize::MAX).await;
            let mut out = Vec::new();
            value.encode(encoding, &mut out);
            out
        };
        to_its_end(work).await.unwrap_or_default()
    }

    /// Carries out a line of the `cli`: `list`, `query CALL`, `why CALL`, `kill CALL`, `stats`.
    ///
    /// Carried out to its end, as by [`Self::message`].
    pub async fn cli(self: &Arc<Self>, line: &str) -> String {
        let (service, line) = (Arc::clone(self), line.to_owned());
        to_its_end(async move { service.command_line(&line, usize::MAX).await })
            .await
            .unwrap_or_default()
    }

    async fn command_line(self: &Arc<Self>, line: &str, len_max: usize) -> String {
        let line = line.trim();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let call = rest.trim();
        let json = |value: Value<'_>| {
            let mut out = Vec::new();
            value.encode(Encoding::Json, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        let result = match verb {
            "list" => Ok(lines(&self.switch.list(usize::MAX), len_max)),
            "stats" | "statistics" => Ok(json(reply::statistics(&self.switch))),
            "query" => self
                .switch
                .query(call)
                .await
                .map(|s| json(reply::query(&s, &[]))),
            "why" => self.switch.query(call).await.map(|s| why::explain(&s)),
            "kill" => self
                .switch
                .delete(call, None, None, None)
                .await
                .map(|_| "deleted".to_owned()),
            _ => Ok("commands: list | query CALL | why CALL | kill CALL | stats".to_owned()),
        };
        result.unwrap_or_else(|e| format!("error: {e}"))
    }

    async fn carry_out(
        self: &Arc<Self>,
        payload: &[u8],
        len_max: usize,
    ) -> (Encoding, Value<'static>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (encoding, request) = Request::decode(payload);
        let value = match request {
            Ok(mut request) => match self.dispatch(&mut request, payload, len_max).await {
                Ok(value) => match request.warning() {
                    Some(text) => warned(value, text),
                    None => value,
                },
                Err(refused) => refusal(&request, &refused),
            },
            Err(refused) => error(refused.to_string()),
        };
        if value.get("result").and_then(Value::str) == Some("error") {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        (encoding, value)
    }

    async fn dispatch(
        self: &Arc<Self>,
        r: &mut Request<'_>,
        payload: &[u8],
        len_max: usize,
    ) -> Result<Value<'static>, Refused> {
        refuse_other_charsets(r)?;
        let call_id = text(r.call_id.as_ref()).unwrap_or_default().into_owned();
        match r.command {
            Command::Ping => Ok(Value::dict().with("result", "pong")),
            Command::Offer | Command::Answer => {
                let reply = self.negotiate(r, &call_id)?;
                Ok(recording::negotiated(&self.switch, r, &call_id, reply).await)
            }
            Command::Publish => {
                let reply = self.publish(r, &call_id)?;
                let named = reply.get("call-id").and_then(Value::str);
                let call_id = named.unwrap_or(&call_id).to_owned();
                Ok(recording::negotiated(&self.switch, r, &call_id, reply).await)
            }
            Command::StartRecording => recording::start(&self.switch, r, &call_id).await,
            Command::StopRecording => recording::stop(&self.switch, r, &call_id),
            Command::PauseRecording => recording::pause(&self.switch, r, &call_id),
            Command::Mesh => self.mesh(r),
            Command::Delete => self.delete(r, &call_id).await,
            Command::Query => {
                let snapshot = self.switch.query(&call_id).await?;
                let tags = [text(r.from_tag.as_ref()), text(r.to_tag.as_ref())];
                let only: Vec<&str> = tags.iter().flatten().map(Cow::as_ref).collect();
                Ok(reply::query(&snapshot, &only))
            }
            Command::List => {
                let limit = usize::try_from(r.limit.unwrap_or(LIST_DEFAULT))
                    .map_err(|_| Refused::Text("invalid limit, must be >= 0".into()))?;
                let ids = self
                    .switch
                    .list(limit)
                    .into_iter()
                    .map(|id| Value::from(id.into_string()));
                Ok(ok().with("calls", Value::List(ids.collect())))
            }
            Command::Statistics => Ok(reply::statistics(&self.switch)),
            Command::BlockMedia => self.gate(r, &call_id, MediaGate::Block(true)),
            Command::UnblockMedia => self.gate(r, &call_id, MediaGate::Block(false)),
            Command::SilenceMedia => self.gate(r, &call_id, MediaGate::Silence(true)),
            Command::UnsilenceMedia => self.gate(r, &call_id, MediaGate::Silence(false)),
            Command::BlockDtmf => block_dtmf::block(&self.switch, r, &call_id, true),
            Command::UnblockDtmf => block_dtmf::block(&self.switch, r, &call_id, false),
            Command::PlayMedia => self.play(r, &call_id).await,
            Command::StopMedia => {
                let (tag, label) = (text(r.from_tag.as_ref()), text(r.label.as_ref()));
                let who = participants(r, tag.as_deref(), label.as_deref())?;
                let stopped = self.switch.stop_playing(&call_id, who).await?;
                Ok(ok().with("last-frame-pos", millis(stopped)))
            }
            Command::PlayDtmf => play_dtmf::play_dtmf(&self.switch, r, &call_id),
            Command::Connect => connect::connect(&self.switch, r, &call_id),
            Command::SubscribeRequest => self.subscribe_request(r, &call_id),
            Command::SubscribeAnswer => self.subscribe_answer(r, &call_id),
            Command::Unsubscribe => self.unsubscribe(r, &call_id),
            Command::Cli => {
                let body = body_of(payload);
                let room = len_max.saturating_sub(CLI_REPLY_FRAME);
                Ok(ok().with("response", self.command_line(&body, room).await))
            }
            other => Err(Refused::Text(format!("Not supported: {}", other.name()))),
        }
    }

    fn negotiate(&self, r: &mut Request<'_>, call_id: &str) -> Result<Value<'static>, Refused> {
        block_dtmf::check(r)?;
        let options = options(r);
        let from_tag = text(r.from_tag.as_ref()).unwrap_or_default();
        let to_tag = text(r.to_tag.as_ref());
        let via_branch = text(r.via_branch.as_ref());
        let negotiation = Negotiation {
            call_id,
            from_tag: &from_tag,
            to_tag: to_tag.as_deref(),
            via_branch: via_branch.as_deref(),
            sdp: r.sdp.as_deref().unwrap_or_default(),
            options,
        };
        let (mut done, tag) = if r.command == Command::Offer {
            (self.switch.offer(&negotiation)?, Some(&from_tag))
        } else {
            (self.switch.answer(&negotiation)?, to_tag.as_ref())
        };
        let tag = tag.map(|tag| &**tag);
        let said = block_dtmf::negotiated(&self.switch, r, call_id, tag)?;
        // An offer is not known to be decoded before it is answered.
        let answered = r.command == Command::Answer;
        for warning in said.into_iter().filter(|_| answered) {
            if !done.warnings.contains(&warning) {
                done.warnings.push(warning);
            }
        }
        let reply = ok().with("sdp", done.sdp);
        Ok(if done.warnings.is_empty() {
            reply
        } else {
            reply.with("warning", done.warnings.join("; "))
        })
    }

    async fn delete(
        self: &Arc<Self>,
        r: &Request<'_>,
        call_id: &str,
    ) -> Result<Value<'static>, Refused> {
        let from_tag = text(r.from_tag.as_ref()).map(Cow::into_owned);
        let to_tag = text(r.to_tag.as_ref())
            .filter(|_| r.flags.to_tag)
            .map(Cow::into_owned);
        let branch = text(r.via_branch.as_ref()).map(Cow::into_owned);
        let delay = r
            .delete_delay_s
            .map_or(self.delete_delay, |s| Duration::from_secs(u64::from(s)));
        self.switch.discard_at_end(call_id, r.recording.discard);
        let outcome = if delay.is_zero() {
            self.switch
                .delete(
                    call_id,
                    from_tag.as_deref(),
                    to_tag.as_deref(),
                    branch.as_deref(),
                )
                .await
        } else {
            self.delete_later(call_id, delay, [from_tag, to_tag, branch])
                .await
        };
        if !matches!(outcome, Ok(Some(_))) {
            self.switch.discard_at_end(call_id, false);
        }
        match outcome {
            Ok(Some(snapshot)) if !r.flags.fast => Ok(reply::query(&snapshot, &[])),
            Ok(_) => Ok(ok()),
            Err(SwitchError::UnknownCall) if !r.flags.fatal => {
                Ok(ok().with("warning", "Call-ID not found or tags didn't match"))
            }
            Err(SwitchError::UnknownCall) => Err(Refused::Text(
                "Call-ID not found or tags didn't match".into(),
            )),
            Err(other) => Err(other.into()),
        }
    }

    async fn delete_later(
        self: &Arc<Self>,
        call_id: &str,
        delay: Duration,
        [from_tag, to_tag, branch]: [Option<String>; 3],
    ) -> Result<Option<crate::switch::Snapshot>, SwitchError> {
        let snapshot = self.switch.query(call_id).await?;
        let known = |tag: &str| snapshot.parties.iter().any(|p| !p.closed && p.has_tag(tag));
        if from_tag
            .as_deref()
            .is_some_and(|tag| !tag.is_empty() && !known(tag))
        {
            return Err(SwitchError::UnknownCall);
        }
        let scope = Scope {
            call_id: call_id.to_owned(),
            to_tag,
            branch,
        };
        let mut delayed = self.delayed();
        if !delayed.contains_key(&scope) && delayed.len() >= DELAYED_DELETES_MAX {
            return Err(SwitchError::Overloaded);
        }
        let serial = self.delayed_serial.fetch_add(1, Ordering::Relaxed);
        let (service, about, signal) = (Arc::clone(self), scope.clone(), snapshot.last_signal);
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            service
                .delete_now_due(&about, serial, from_tag.as_deref(), signal)
                .await;
        })
        .abort_handle();
        if let Some(earlier) = delayed.insert(scope, Delayed { serial, task }) {
            earlier.task.abort();
        }
        drop(delayed);
        Ok(Some(snapshot))
    }

    async fn delete_now_due(
        &self,
        about: &Scope,
        serial: u64,
        from_tag: Option<&str>,
        signal: SystemTime,
    ) {
        {
            let mut delayed = self.delayed();
            if delayed.get(about).is_none_or(|d| d.serial != serial) {
                return;
            }
            delayed.remove(about);
        }
        // A call that was signalled again meanwhile (a late re-offer) lives on.
        let current = self.switch.query(&about.call_id).await;
        if current.is_ok_and(|s| s.last_signal == signal) {
            let (to_tag, branch) = (about.to_tag.as_deref(), about.branch.as_deref());
            let deleted = self.switch.delete(&about.call_id, from_tag, to_tag, branch);
            let _gone_already = deleted.await;
        }
    }

    fn delayed(&self) -> MutexGuard<'_, HashMap<Scope, Delayed>> {
        // Single insertions and removals: a panicking holder leaves nothing half done.
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn play(&self, r: &Request<'_>, call_id: &str) -> Result<Value<'static>, Refused> {
        let playback = match (&r.files, &r.blob) {
            (Some(files), _) => Playback::of(files.iter().map(|file| moh::source_of(file))),
            (None, Some(blob)) => Playback::of([Source::Bytes(blob.as_ref().into())]),
            (None, None) => {
                return Err(Refused::Text(
                    "No media to play: file, blob or blob64 is needed".into(),
                ));
            }
        };
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let playback = Playback {
            times: r.repeat_times.map(|times| times.max(1)),
            limit: r.repeat_duration_ms.filter(|limit| *limit > 0).map(ms),
            start: ms(r.start_pos_ms.unwrap_or(0)),
            ..playback
        };
        let (tag, label) = (text(r.from_tag.as_ref()), text(r.label.as_ref()));
        let who = participants(r, tag.as_deref(), label.as_deref())?;
        let duration = self.switch.play(call_id, who, &playback).await?;
        Ok(ok().with("duration", millis(duration)))
    }

    fn gate(
        &self,
        r: &Request<'_>,
        call_id: &str,
        gate: MediaGate,
    ) -> Result<Value<'static>, Refused> {
        let (tag, label) = (text(r.from_tag.as_ref()), text(r.label.as_ref()));
        let who = if r.flags.directional {
            participants(r, tag.as_deref(), label.as_deref())?
        } else {
            Participants::All
        };
        self.switch.gate_media(call_id, who, gate)?;
        Ok(ok())
    }

    fn cookies(&self) -> MutexGuard<'_, CookieCache> {
        // The cache is valid after every step, so a panicking holder leaves nothing half done.
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a media command is about.
pub(super) fn participants<'a>(
    r: &Request<'_>,
    tag: Option<&'a str>,
    label: Option<&'a str>,
) -> Result<Participants<'a>, Refused> {
    match (tag, r.address, label) {
        _ if r.flags.all => Ok(Participants::All),
        (Some(tag), _, _) => Ok(Participants::Tag(tag)),
        (None, Some(ip), _) => Ok(Participants::Address(ip)),
        (None, None, Some(label)) => Ok(Participants::Label(label)),
        _ => Err(Refused::Text("No participant party specified".into())),
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Why a request was refused.
#[derive(Debug)]
pub(super) enum Refused {
    Switch(SwitchError),
    Text(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(error) => error.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<SwitchError> for Refused {
    fn from(error: SwitchError) -> Self {
        Self::Switch(error)
    }
}

fn refusal(r: &Request<'_>, refused: &Refused) -> Value<'static> {
    match refused {
        Refused::Switch(e) if e.is_load_limit() && r.supports_load_limit => Value::dict()
            .with("result", "load limit")
            .with("message", e.to_string()),
        other => error(other.to_string()),
    }
}

pub(super) fn warned(value: Value<'static>, text: String) -> Value<'static> {
    let text = match value.get("warning").and_then(Value::str) {
        Some(earlier) => format!("{earlier}; {text}"),
        None => text,
    };
    match value {
        Value::Dict(mut entries) => {
            entries.retain(|(key, _)| key.as_ref() != b"warning");
            Value::Dict(entries).with("warning", text)
        }
        other => other,
    }
}

/// The `body` of a `cli` request, which no other verb has.
fn body_of(payload: &[u8]) -> String {
    let value = match Encoding::detect(payload) {
        Some(Encoding::Bencode) => bencode::decode(payload).ok().map(|(value, _)| value),
        Some(Encoding::Json) => decode_json(payload).ok(),
        None => None,
    };
    let body = value
        .as_ref()
        .and_then(|v| v.get("body"))
        .and_then(Value::str);
    body.unwrap_or("help").to_owned()
}

/// Runs work as a task of its own, which goes on when the caller's future is dropped; `None` if
/// it panicked.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    tokio::spawn(work).await.ok()
}

/// A line per call as far as they fit into `len_max` bytes of JSON, and how many did not.
fn lines(ids: &[Box<str>], len_max: usize) -> String {
    let mut out = String::new();
    let mut room = len_max;
    for (n, id) in ids.iter().enumerate() {
        // A line break is two bytes in JSON, so is a quoted character; a control character six.
        let cost: usize = 2 + id
            .bytes()
            .map(|b| match b {
                0..0x20 | 0x7f => 6,
                b'"' | b'\\' | b'/' => 2,
                _ => 1,
            })
            .sum::<usize>();
        if cost > room {
            let more = ids.len() - n;
            let _infallible = write!(out, "… and {more} more (ask over TCP or HTTP for all)");
            return out;
        }
        room -= cost;
        out.push_str(id);
        out.push('\n');
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// Identifiers are bytes in ng and text inside: two that differ must not become one.
fn refuse_other_charsets(r: &Request<'_>) -> Result<(), Refused> {
    let identifiers = [
        ("call-id", &r.call_id),
        ("from-tag", &r.from_tag),
        ("to-tag", &r.to_tag),
        ("to-call-id", &r.to_call_id),
        ("via-branch", &r.via_branch),
        ("label", &r.label),
        ("set-label", &r.set_label),
    ];
    for (key, bytes) in identifiers {
        let bytes = bytes.as_deref().unwrap_or_default();
        if std::str::from_utf8(bytes).is_err() {
            return Err(Refused::Text(format!("{key} is not UTF-8")));
        }
    }
    Ok(())
}

/// An identifier as text; [`refuse_other_charsets`] saw to it that nothing is replaced.
pub(super) fn text<'a>(bytes: Option<&'a Cow<'_, [u8]>>) -> Option<Cow<'a, str>> {
    bytes.map(|b| String::from_utf8_lossy(b))
}

pub(super) fn options(r: &mut Request<'_>) -> Options {
    let f = r.flags;
    if r.transport_protocol.is_some() && !offers_transport(r) {
        r.ignore("transport-protocol");
    }
    let without_effect = [
        (r.port_latching == Some(false), "no-port-latching"),
        (f.reset, "reset"),
        (f.siprec, "siprec"),
        (f.inactive, "inactive"),
        (f.allow_transcoding, "allow-transcoding"),
        (r.to_label.is_some(), "to-label"),
        (r.replace.username, "replace-username"),
        (r.replace.session_name, "replace-session-name"),
        (r.replace.sdp_version, "replace-sdp-version"),
        (r.replace.zero_address, "replace-zero-address"),
    ];
    for (_, name) in without_effect.iter().filter(|(asked, _)| *asked) {
        r.ignore(name);
    }
    let owned = |name: &Option<Cow<'_, str>>| name.as_ref().map(|n| n.to_string());
    Options {
        interfaces: [owned(&r.from_interface), owned(&r.to_interface)],
        family: r.address_family.map(|f| match f {
            AddressFamily::Ip4 => Family::Ip4,
            AddressFamily::Ip6 => Family::Ip6,
        }),
        media_address: r.media_address,
        received_from: r.received_from.filter(|ip: &IpAddr| !ip.is_unspecified()),
        sip_source_address: f.sip_source_address && !f.trust_address,
        privacy: r.privacy,
        learn_pace: r.endpoint_learning.map(|pace: LearnPace| pace),
        handover: f.media_handover,
        asymmetric: f.asymmetric,
        own_ports: false,
        early_media: f.early_media,
        own_rtcp: r.generate_rtcp,
        mux: Mux {
            offer: r.rtcp_mux.offer || r.rtcp_mux.require,
            demux: r.rtcp_mux.demux,
            accept: r.rtcp_mux.accept,
            reject: r.rtcp_mux.reject,
        },
        replace_origin: r.replace.origin,
        rtcp_attribute: match () {
            () if f.no_rtcp_attribute => RtcpAttributeStyle::Omit,
            () if f.full_rtcp_attribute => RtcpAttributeStyle::Full,
            () => RtcpAttributeStyle::Port,
        },
        ptime: r.ptime_ms,
        ptime_reverse: r.ptime_reverse_ms,
        codecs: codec_policy(r),
        early_policy: r.early_media_policy.clone(),
        provisional: f.provisional || r.sip_code.is_some_and(|code| (100..200).contains(&code)),
        label: text(r.set_label.as_ref().or(r.label.as_ref())).map(Cow::into_owned),
        tos: r.tos,
        music: r.moh.clone(),
        detects: f.detect_dtmf,
        unrecorded: r.recording.exclude,
        digits_to: r.dtmf_log_dest,
        echo: r.media_echo,
    }
}

fn codec_policy(r: &Request<'_>) -> CodecPolicy {
    let owned = |names: &[Cow<'_, str>]| names.iter().map(|name| name.to_string()).collect();
    let mut accept: Vec<String> = owned(&r.codecs.accept);
    if r.flags.always_transcode {
        accept.push("all".to_owned());
    }
    CodecPolicy {
        strip: owned(&r.codecs.strip),
        mask: owned(&r.codecs.mask),
        except: owned(&r.codecs.except),
        offer: owned(&r.codecs.offer),
        accept,
        transcode: owned(&r.codecs.transcode),
        set: owned(&r.codecs.set),
        force: r.flags.force_transcoding,
        single: r.flags.single_codec,
    }
}

/// Whether the transport asked for is the one the SDP has already, so that nothing is converted.
fn offers_transport(r: &Request<'_>) -> bool {
    let (Some(wanted), Some(sdp)) = (r.transport_protocol.as_deref(), r.sdp.as_deref()) else {
        return true;
    };
    let wanted = wanted.as_bytes();
    sdp.split(|b| *b == b'\n')
        .filter(|line| line.starts_with(b"m=audio"))
        .all(|line| {
            line.split(|b| *b == b' ')
                .nth(2)
                .is_some_and(|t| t.eq_ignore_ascii_case(wanted))
        })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_many_calls_did_not_fit() {
        let ids: Vec<Box<str>> = (0..4).map(|n| format!("call{n}").into()).collect();
        assert_eq!(lines(&ids, usize::MAX), "call0\ncall1\ncall2\ncall3");
        assert_eq!(lines(&ids, 28), "call0\ncall1\ncall2\ncall3");
        let cut = lines(&ids, 27);
        assert!(
            cut.starts_with("call0\ncall1\ncall2\n… and 1 more"),
            "{cut}"
        );
        assert!(lines(&ids, 0).starts_with("… and 4 more"));
        assert_eq!(lines(&[], 0), "");
    }

    /// A service over a switch with one worker, for the doors.
    pub(in crate::control::ng) fn service() -> Arc<NgService> {
        let site = crate::switch::Site::new(crate::switch::SiteConfig {
            interfaces: &["a/127.0.0.1".to_owned()],
            ports: (41_000, 41_099),
            quarantine: Duration::ZERO,
            tos: 0,
            socket_buffer: None,
        });
        let worker = crate::plane::worker::WorkerConfig {
            index: 0,
            cpu: None,
            calls_max: 1,
            queue_len: 8,
        };
        let (handle, reports) = crate::plane::worker::WorkerHandle::start(worker).unwrap();
        let port = crate::switch::WorkerPort::new(handle, reports);
        let config = crate::switch::SwitchConfig {
            max_calls: 1,
            timers: crate::engine::Timers::default(),
            privacy: crate::engine::Privacy::Transparent,
            prompts: crate::switch::prompts::PromptsConfig::default(),
            recording: crate::switch::RecordingDefaults::default(),
        };
        let switch = Switch::new(config, site.expect("loopback ports"), vec![port]);
        NgService::new(switch, Duration::ZERO)
    }

    #[test]
    fn what_no_datagram_carries_is_said_in_short() {
        let service = service();
        let fit = |len: usize, payload: &[u8]| {
            let reply: Arc<[u8]> = vec![b'x'; len].into();
            let fitted = service.fitting(reply, b"c1", payload, DATAGRAM_REPLY_MAX);
            String::from_utf8(fitted.to_vec()).unwrap()
        };
        let delete = br#"{"command":"delete","call-id":"a","from-tag":"b"}"#;
        let query = br#"{"command":"query","call-id":"a"}"#;
        assert_eq!(fit(DATAGRAM_REPLY_MAX, query).len(), DATAGRAM_REPLY_MAX);
        assert_eq!(
            fit(DATAGRAM_REPLY_MAX + 1, query),
            r#"c1 {"result":"error","error-reason":"Reply too large for a datagram"}"#
        );
        assert_eq!(
            fit(DATAGRAM_REPLY_MAX + 1, delete),
            r#"c1 {"result":"ok","warning":"reply too large for a datagram"}"#
        );
        assert_eq!(service.oversize_replies.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn identifiers_are_utf8() {
        let service = service();
        let query = |id: &[u8]| [b"c d7:call-id2:".as_slice(), id, b"7:command5:querye"].concat();
        let reply = service.datagram(&query(b"\xff\xfe")).await.unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(reply.contains("call-id is not UTF-8"), "{reply}");
    }

    #[tokio::test]
    async fn work_goes_on_without_its_caller() {
        let (begun, on_begin) = tokio::sync::oneshot::channel();
        let (done, on_done) = tokio::sync::oneshot::channel();
        let caller = tokio::spawn(to_its_end(async move {
            let _ = begun.send(());
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = done.send(());
        }));
        on_begin.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        on_done.await.unwrap();
    }
}
