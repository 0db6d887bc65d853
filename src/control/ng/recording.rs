//! `start recording`, `stop recording`, `pause recording`, and what offers and answers say of it.
//!
//! What the reference has no key for begins with `recording-` and is ours.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::flags::Name;
use super::request::{Command, FILE_NAME_MAX, Request, TAG_MAX};
use super::service::Refused;
use super::{Value, moh, ok};
use crate::engine::{Keys, TRACKS_MAX};
use crate::record::config::{Format, PauseMode};
use crate::record::vault::pattern::{PATTERN_MAX, Pattern};
use crate::switch::prompts::Source;
use crate::switch::{
    FinishKeys, LegSides, Participants, Playback, RECORDING_NAME_MAX, RecordLayout, RecordPath,
    RecordRequest, Recorded, Switch, SwitchError,
};

/// Bits per second and channel of Opus where nobody says.
const BITRATE_BPS: u32 = 24_000;

/// Longest `recording-length-max` and `recording-silence-max` in seconds: a week.
const SECONDS_MAX: u32 = 604_800;

/// Keys of a request about recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingKeys {
    /// `record-call`.
    pub record: Option<bool>,
    /// `recording-id`: the recording's name in its call.
    pub name: Option<String>,
    /// `recording-file`.
    pub file: Option<String>,
    /// `recording-dir`.
    pub directory: Option<String>,
    /// `recording-pattern`.
    pub pattern: Option<String>,
    /// `metadata`.
    pub metadata: Option<String>,
    /// `recording-format`.
    pub format: Option<Format>,
    /// `recording-bitrate` of Opus in bits per second and channel.
    pub bitrate_bps: Option<u32>,
    /// `recording-rate` in Hz.
    pub rate_hz: Option<u32>,
    /// `recording-layout`.
    pub layout: Option<RecordLayout>,
    /// `recording-left`: tag of who is on the left channel.
    pub left: Option<String>,
    /// `recording-leg`: tags of those who are recorded.
    pub legs: Option<Vec<String>>,
    /// `recording-side`.
    pub sides: Option<LegSides>,
    /// `recording-pause`: what pauses leave.
    pub pause_mode: Option<PauseMode>,
    /// `recording-beep`.
    pub beep: bool,
    /// `recording-early-media`.
    pub early_media: bool,
    /// `recording-length-max` in seconds.
    pub length_max_s: Option<u32>,
    /// `recording-silence-max` in seconds.
    pub silence_max_s: Option<u32>,
    /// `recording-finish`.
    pub finish: Option<Keys>,
    /// `recording-trim`.
    pub trim: bool,
    /// `recording-announcement` with the name of a file.
    pub announcement: Option<String>,
    /// The flag `recording-announcement`: `file` or `blob` is it.
    pub announces: bool,
    /// `recording-account`.
    pub account: Option<String>,
    /// `pause`, as a key or a flag.
    pub pause: bool,
    /// The flag `discard-recording`.
    pub discard: bool,
    /// The flag `exclude-recording`.
    pub exclude: bool,
    /// Some of the keys that are about how to record are there.
    said: bool,
}

impl RecordingKeys {
    /// Reads a key; `false` if it, or its value, is of no effect.
    pub(super) fn read(&mut self, key: &[u8], value: &Value<'_>) -> bool {
        let Some(key) = Name::new(key) else {
            return false;
        };
        if key.bytes() == b"record-call" {
            return put(&mut self.record, on_or_off(value));
        }
        self.said = true;
        match key.bytes() {
            b"metadata" => put(&mut self.metadata, text(value, usize::MAX)),
            b"recording-account" => put(&mut self.account, text(value, TAG_MAX)),
            b"recording-announcement" => match on_or_off(value) {
                Some(on) => {
                    self.announces = on;
                    true
                }
                None => put(&mut self.announcement, text(value, FILE_NAME_MAX)),
            },
            b"recording-beep" => flag(&mut self.beep, value),
            b"recording-bitrate" => put(&mut self.bitrate_bps, number(value)),
            b"recording-dir" => put(&mut self.directory, text(value, FILE_NAME_MAX)),
            b"recording-early-media" => flag(&mut self.early_media, value),
            b"recording-file" => put(&mut self.file, text(value, FILE_NAME_MAX)),
            b"recording-finish" => put(&mut self.finish, value.str().and_then(Keys::from_text)),
            b"recording-format" => put(&mut self.format, format_of(value)),
            b"recording-id" => put(&mut self.name, text(value, RECORDING_NAME_MAX)),
            b"recording-layout" => put(&mut self.layout, layout_of(value)),
            b"recording-left" => put(&mut self.left, text(value, TAG_MAX)),
            b"recording-leg" => put(&mut self.legs, tags(value)),
            b"recording-length-max" => put(&mut self.length_max_s, seconds(value)),
            b"recording-pattern" => put(&mut self.pattern, text(value, PATTERN_MAX + 1)),
            b"recording-pause" => put(&mut self.pause_mode, pause_mode_of(value)),
            b"recording-rate" => put(&mut self.rate_hz, number(value)),
            b"recording-side" => put(&mut self.sides, sides_of(value)),
            b"recording-silence-max" => put(&mut self.silence_max_s, seconds(value)),
            b"recording-trim" => flag(&mut self.trim, value),
            _ => false,
        }
    }

    /// What they ask for.
    fn request(&self, announcement: Option<Playback>) -> Result<RecordRequest<'_>, SwitchError> {
        let legs = self.legs.as_ref().map(|legs| {
            let sides = self.sides.unwrap_or_default();
            let legs = legs.iter();
            Recorded::Legs(legs.map(|tag| (Participants::Tag(tag), sides)).collect())
        });
        let path = match (&self.file, &self.pattern) {
            (Some(file), _) => RecordPath::File(file),
            (None, Some(pattern)) => RecordPath::Pattern(Pattern::parse(pattern)?),
            (None, None) => RecordPath::Usual,
        };
        let bitrate = |bitrate_bps| Format::Opus { bitrate_bps };
        let format = match (self.format, self.bitrate_bps) {
            (Some(Format::Opus { .. }), Some(bps)) => Some(bitrate(bps)),
            (format, _) => format,
        };
        let seconds = |s: u32| Duration::from_secs(s.into());
        Ok(RecordRequest {
            name: self.name.as_deref().unwrap_or_default(),
            what: legs.unwrap_or_default(),
            layout: self.layout.unwrap_or_default(),
            left: self.left.as_deref().map(Participants::Tag),
            format,
            rate_hz: self.rate_hz,
            path,
            directory: self.directory.as_deref(),
            account: self.account.as_deref(),
            metadata: self.metadata.as_deref().unwrap_or_default(),
            pause: self.pause_mode.unwrap_or_default(),
            beep: self.beep,
            early_media: self.early_media,
            length_max: self.length_max_s.map(seconds),
            silence_max: self.silence_max_s.map(seconds),
            finish: FinishKeys(self.finish.unwrap_or(Keys::NONE)),
            trim: self.trim,
            announcement,
        })
    }
}

/// What is to be heard as the recording begins.
fn announcement(r: &mut Request<'_>) -> Option<Playback> {
    let keys = &r.recording;
    let source = match (&keys.announcement, &r.files, &r.blob) {
        (Some(file), _, _) => moh::source_of(file),
        (None, Some(files), _) if keys.announces => moh::source_of(files.first()?),
        (None, None, Some(blob)) if keys.announces => Source::Bytes(blob.as_ref().into()),
        _ => {
            if keys.announces {
                r.ignore("recording-announcement");
            }
            return None;
        }
    };
    Some(Playback::of([source]))
}

/// `start recording`.
pub(super) async fn start(
    switch: &Arc<Switch>,
    r: &mut Request<'_>,
    call_id: &str,
) -> Result<Value<'static>, Refused> {
    let announcement = announcement(r);
    let started = switch
        .start_recording(call_id, &r.recording.request(announcement)?)
        .await?;
    let reply = ok().with("recording-file", started.path.into_string());
    Ok(warned(reply, &started.warnings))
}

/// `stop recording`; with `pause` it is `pause recording`.
pub(super) fn stop(
    switch: &Switch,
    r: &Request<'_>,
    call_id: &str,
) -> Result<Value<'static>, Refused> {
    let name = r.recording.name.as_deref();
    if r.recording.pause {
        return pause(switch, r, call_id);
    }
    switch.stop_recording(call_id, name, r.recording.discard)?;
    Ok(ok())
}

/// `pause recording`; `start recording` goes on.
pub(super) fn pause(
    switch: &Switch,
    r: &Request<'_>,
    call_id: &str,
) -> Result<Value<'static>, Refused> {
    switch.pause_recording(call_id, r.recording.name.as_deref())?;
    Ok(ok())
}

/// What an offer or an answer that was carried out says of recording. It stays carried out
/// whatever becomes of the recording: what does is said by a warning.
pub(super) async fn negotiated(
    switch: &Arc<Switch>,
    r: &mut Request<'_>,
    call_id: &str,
    reply: Value<'static>,
) -> Value<'static> {
    let why = match r.recording.record {
        None => {
            if r.recording.said {
                r.ignore("recording keys without record-call");
            }
            return reply;
        }
        Some(true) => match start(switch, r, call_id).await {
            Ok(started) => match started.get("warning").and_then(Value::str) {
                None => return reply,
                Some(why) => why.to_owned(),
            },
            Err(refused) => refused.to_string(),
        },
        Some(false) => match switch.stop_recording(call_id, None, r.recording.discard) {
            Ok(_) | Err(SwitchError::NotRecording) => return reply,
            Err(error) => error.to_string(),
        },
    };
    warned(reply, &[format!("record-call: {why}")])
}

fn warned(reply: Value<'static>, warnings: &[String]) -> Value<'static> {
    match warnings.is_empty() {
        true => reply,
        false => super::service::warned(reply, warnings.join("; ")),
    }
}

/// What a flag of these names says.
pub(super) fn pause_flag(r: &mut Request<'_>) {
    match r.command {
        Command::StopRecording | Command::PauseRecording => r.recording.pause = true,
        _ => r.ignore("pause"),
    }
}

fn put<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let makes_sense = value.is_some();
    *slot = value.or_else(|| slot.take());
    makes_sense
}

fn flag(slot: &mut bool, value: &Value<'_>) -> bool {
    let on = on_or_off(value);
    *slot = on.unwrap_or(*slot);
    on.is_some()
}

fn on_or_off(value: &Value<'_>) -> Option<bool> {
    super::request::on_or_off(value.clone())
}

/// Metadata beyond its limit is refused where the recording begins, with its length.
fn text(value: &Value<'_>, max: usize) -> Option<String> {
    let text = match value {
        Value::Int(n) => Cow::Owned(n.to_string()),
        other => Cow::Borrowed(other.str()?),
    };
    let fits = (1..=max).contains(&text.len());
    fits.then(|| text.into_owned())
}

fn number(value: &Value<'_>) -> Option<u32> {
    u32::try_from(value.int()?).ok()
}

fn seconds(value: &Value<'_>) -> Option<u32> {
    number(value).filter(|s| (1..=SECONDS_MAX).contains(s))
}

/// One tag or a list, at most [`TRACKS_MAX`].
fn tags(value: &Value<'_>) -> Option<Vec<String>> {
    let one = std::slice::from_ref(value);
    let list = match value {
        Value::List(list) => list.as_slice(),
        _ => one,
    };
    let within = (1..=TRACKS_MAX).contains(&list.len());
    let tags = list.iter().map(|tag| text(tag, TAG_MAX));
    tags.collect::<Option<Vec<_>>>().filter(|_| within)
}

fn word<'a>(value: &'a Value<'_>) -> Option<Cow<'a, str>> {
    value.str().map(|text| text.to_ascii_lowercase().into())
}

fn format_of(value: &Value<'_>) -> Option<Format> {
    parse_format(&word(value)?)
}

/// A format by its name.
pub(in crate::control) fn parse_format(name: &str) -> Option<Format> {
    Some(match name {
        "wav" | "wav-pcm" => Format::Wav,
        "wav-alaw" | "wav-pcma" => Format::WavAlaw,
        "wav-ulaw" | "wav-pcmu" => Format::WavUlaw,
        "opus" | "ogg" => Format::Opus {
            bitrate_bps: BITRATE_BPS,
        },
        "opus-copy" => Format::OpusCopy,
        _ => return None,
    })
}

/// `mono`, `stereo`, `legs`, or `legs` with a number of channels behind a `=`, `-` or `:`.
fn layout_of(value: &Value<'_>) -> Option<RecordLayout> {
    let word = word(value)?;
    Some(match &*word {
        "mono" | "mixed" => RecordLayout::Mono,
        "stereo" => RecordLayout::Stereo,
        "legs" => RecordLayout::PerLeg(None),
        other => {
            let kept = other.strip_prefix("legs")?.strip_prefix(['=', '-', ':'])?;
            let kept: u8 = kept.parse().ok()?;
            let within = (1..=TRACKS_MAX).contains(&usize::from(kept));
            RecordLayout::PerLeg(within.then_some(kept)?.into())
        }
    })
}

fn sides_of(value: &Value<'_>) -> Option<LegSides> {
    Some(match &*word(value)? {
        "in" => LegSides::In,
        "out" => LegSides::Out,
        "both" => LegSides::Both,
        _ => return None,
    })
}

fn pause_mode_of(value: &Value<'_>) -> Option<PauseMode> {
    Some(match &*word(value)? {
        "silence" => PauseMode::Silence,
        "skip" => PauseMode::Skip,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
