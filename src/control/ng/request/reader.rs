//! Fills a request key by key, from its dictionary and from strings of flags.

use std::borrow::Cow;

use crate::wire::ng::Value;

use super::super::dtmf_log::destination;
use super::super::flags::{self, Flag, Key, Name, RtppFlags, Word};
use super::super::{moh, play_dtmf};
use super::values::{
    address_family, base64, each, early_media, files, from_tags, identifier, interface, ip,
    is_empty, is_off, learning, media_echo, name_of, number, on_or_off, positive, privacy, put,
    sip_message_type, text,
};
use super::{
    CALL_ID_MAX, CODEC_NAME_MAX, CODECS_MAX, Command, DELETE_DELAY_MAX_S, Request, RequestError,
    TAG_MAX,
};

/// Fills a request, key by key.
pub(super) struct Reader<'a> {
    pub(super) request: Request<'a>,
    /// Inside a string of flags, which cannot hold another one.
    pub(super) rtpp: bool,
}

impl<'a> Reader<'a> {
    /// One key with its value, from the message or from `rtpp-flags`.
    pub(super) fn pair(
        &mut self,
        name: Cow<'a, [u8]>,
        value: Value<'a>,
    ) -> Result<(), RequestError> {
        let key = Name::new(&name).and_then(|name| Key::find(&name));
        match key {
            None => self.request.unknown.add(&name),
            // The message has these; a string of flags has no business with them.
            Some(Key::Command | Key::Sdp | Key::RtppFlags) if self.rtpp => {
                self.request.unknown.add(&name);
            }
            Some(Key::Flags) => self.flags(&name, value)?,
            Some(Key::RtppFlags) => self.rtpp_flags(&name, value)?,
            Some(Key::Codec) => self.codec(&name, value),
            Some(key) => {
                if !self.set(key, &name, value)? {
                    self.request.ignored.add(&name);
                }
            }
        }
        Ok(())
    }

    /// Carries out a key; `false` if it, or its value, is of no effect here.
    fn set(&mut self, key: Key, name: &[u8], value: Value<'a>) -> Result<bool, RequestError> {
        let request = &mut self.request;
        Ok(match key {
            Key::CallId => identifier(&mut request.call_id, value, "call-id", CALL_ID_MAX)?,
            Key::FromTag => identifier(&mut request.from_tag, value, "from-tag", TAG_MAX)?,
            Key::FromTags => from_tags(&mut request.from_tags, value)?,
            Key::MediaEcho => put(&mut request.media_echo, media_echo(value)),
            Key::ToTag => identifier(&mut request.to_tag, value, "to-tag", TAG_MAX)?,
            Key::ToCallId => identifier(&mut request.to_call_id, value, "to-call-id", CALL_ID_MAX)?,
            Key::ViaBranch => identifier(&mut request.via_branch, value, "via-branch", TAG_MAX)?,
            Key::SetLabel => identifier(&mut request.set_label, value, "set-label", TAG_MAX)?,
            Key::Label => identifier(&mut request.label, value, "label", TAG_MAX)?,
            Key::ToLabel => identifier(&mut request.to_label, value, "to-label", TAG_MAX)?,
            Key::Sdp => identifier(&mut request.sdp, value, "sdp", usize::MAX)?,
            Key::ReceivedFrom => is_empty(&value) || put(&mut request.received_from, ip(&value)),
            Key::MediaAddress => put(&mut request.media_address, ip(&value)),
            Key::Address => put(&mut request.address, ip(&value)),
            Key::AddressFamily => put(&mut request.address_family, address_family(value)),
            Key::TransportProtocol => put(&mut request.transport_protocol, text(value)),
            Key::Direction => self.direction(value),
            Key::FromInterface => put(&mut request.from_interface, interface(value)),
            Key::ToInterface => put(&mut request.to_interface, interface(value)),
            Key::Interface => {
                let interface = interface(value);
                put(&mut request.to_interface, interface.clone())
                    && put(&mut request.from_interface, interface)
            }
            Key::Ptime => put(&mut request.ptime_ms, positive(&value)),
            Key::PtimeReverse => put(&mut request.ptime_reverse_ms, positive(&value)),
            Key::Tos => put(&mut request.tos, number(&value)),
            Key::SipCode => put(
                &mut request.sip_code,
                number(&value).filter(|code| (100..700).contains(code)),
            ),
            Key::DeleteDelay => put(
                &mut request.delete_delay_s,
                number(&value).map(|delay_s: u32| delay_s.min(DELETE_DELAY_MAX_S)),
            ),
            Key::Limit => put(&mut request.limit, value.int()),
            Key::GenerateRtcp => put(&mut request.generate_rtcp, on_or_off(value)),
            Key::Privacy => put(&mut request.privacy, privacy(value)),
            Key::SipMessageType => put(&mut request.sip_message_type, sip_message_type(value)),
            Key::EndpointLearning => put(&mut request.endpoint_learning, learning(value)),
            Key::All => self.all(value),
            Key::Supports => self.supports(value),
            Key::Ice => self.each(name, value, |request, item| match item.bytes() {
                b"remove" => {
                    request.ice_remove = true;
                    true
                }
                _ => item.find(flags::OFF).is_some(),
            }),
            Key::Replace => self.each(name, value, |request, item| {
                item.find(flags::REPLACE).map(|set| set(request)).is_some()
            }),
            Key::RtcpMux => self.each(name, value, |request, item| {
                item.find(flags::RTCP_MUX).map(|set| set(request)).is_some()
            }),
            Key::CodecStrip
            | Key::CodecExcept
            | Key::CodecOffer
            | Key::CodecAccept
            | Key::CodecMask
            | Key::CodecTranscode
            | Key::CodecSet => self.codecs(key, value),
            Key::EarlyMediaPolicy => put(&mut request.early_media_policy, early_media(&value)),
            Key::File => put(&mut request.files, files(value)),
            Key::Blob => {
                let blob = match value {
                    Value::Str(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
                    _ => None,
                };
                put(&mut request.blob, blob)
            }
            Key::Blob64 => {
                let blob = value
                    .bytes()
                    .and_then(base64)
                    .filter(|bytes| !bytes.is_empty());
                put(&mut request.blob, blob.map(Cow::Owned))
            }
            Key::RepeatTimes => put(&mut request.repeat_times, number(&value)),
            Key::RepeatDuration => put(&mut request.repeat_duration_ms, number(&value)),
            Key::StartPos => put(&mut request.start_pos_ms, number(&value)),
            Key::DtmfSecurity => request.mask.security(&value),
            Key::DtmfSecurityTrigger
            | Key::DtmfSecurityTriggerEnd
            | Key::Trigger
            | Key::TriggerEnd
            | Key::TriggerEndDigits
            | Key::TriggerEndTime => request.mask.triggers.read(key, &value)?,
            Key::DtmfDelay => request.mask.delay(&value),
            Key::Frequency => request.mask.frequency(&value),
            Key::DtmfLogDest if is_empty(&value) => true,
            Key::DtmfLogDest => {
                let to = value.str().and_then(destination);
                request.dtmf_log_dest = Some(to.ok_or(RequestError::LogDestination)?);
                true
            }
            Key::Moh => moh::read(request, &value),
            Key::Calls | Key::Tags | Key::Loudest if request.command != Command::Mesh => false,
            Key::Calls => put(&mut request.mesh.calls, Some(value)),
            Key::Tags => put(&mut request.mesh.tags, Some(value)),
            Key::Loudest => put(&mut request.mesh.loudest, Some(value)),
            Key::Volume if request.command != Command::PlayDtmf => {
                put(&mut request.mask.volume, number(&value))
            }
            Key::Recording => request.recording.read(name, &value),
            Key::Pause
                if matches!(
                    request.command,
                    Command::StopRecording | Command::PauseRecording
                ) =>
            {
                let pause = on_or_off(value);
                request.recording.pause = pause.unwrap_or(request.recording.pause);
                pause.is_some()
            }
            Key::Code | Key::Duration | Key::Pause if request.command != Command::PlayDtmf => false,
            Key::Code => {
                request.key_press.code = play_dtmf::read_code(&value);
                matches!(value, Value::Str(_) | Value::Int(_))
            }
            Key::Duration => put(&mut request.key_press.duration_ms, value.int()),
            Key::Pause => put(&mut request.key_press.pause_ms, value.int()),
            Key::Volume => put(&mut request.key_press.volume, value.int()),
            Key::NoOp | Key::Command => true,
            Key::IgnoredUnlessOff => is_off(value),
            Key::Ignored | Key::Flags | Key::RtppFlags | Key::Codec => false,
        })
    }

    /// One or two names: towards the sender, towards the other party. Repeated in a string of
    /// flags, each is the next one.
    fn direction(&mut self, value: Value<'a>) -> bool {
        let repeated = self.rtpp && matches!(value, Value::Str(_));
        let request = &mut self.request;
        if repeated && request.from_interface.is_some() {
            return put(&mut request.to_interface, interface(value));
        }
        let mut names = each(value);
        let from = names
            .next()
            .map(|name| put(&mut request.from_interface, interface(name)));
        let to = names
            .next()
            .map(|name| put(&mut request.to_interface, interface(name)));
        from.unwrap_or(true) && to.unwrap_or(true) && names.next().is_none()
    }

    fn all(&mut self, value: Value<'a>) -> bool {
        let all = match name_of(&value) {
            Some(name) if name.bytes() == b"all" => Some(true),
            _ => on_or_off(value),
        };
        all.map(|all| self.request.flags.all = all).is_some()
    }

    /// Whatever else a client supports takes nothing from us.
    fn supports(&mut self, value: Value<'a>) -> bool {
        self.request.supports_load_limit = each(value)
            .any(|item| name_of(&item).is_some_and(|name| name.bytes() == b"load-limit"));
        true
    }

    /// Carries out each value of a key, and notes those without effect as `key=value`.
    fn each(
        &mut self,
        key: &[u8],
        value: Value<'a>,
        set: impl Fn(&mut Request<'a>, &Name) -> bool,
    ) -> bool {
        for item in each(value) {
            let honoured = name_of(&item).is_some_and(|name| set(&mut self.request, &name));
            if !honoured {
                self.ignore_value(key, &item);
            }
        }
        true
    }

    fn ignore_value(&mut self, key: &[u8], item: &Value<'_>) {
        let value = item.bytes().unwrap_or(b"?");
        self.request.ignored.add(&[key, b"=", value].concat());
    }

    /// The dictionary of codec lists.
    fn codec(&mut self, name: &[u8], value: Value<'a>) {
        let Value::Dict(lists) = value else {
            if !is_empty(&value) {
                self.request.ignored.add(name);
            }
            return;
        };
        for (list, codecs) in lists {
            let key = Name::new(&list).and_then(|name| name.find(flags::CODEC_LISTS));
            if key.is_none() && is_empty(&codecs) {
                continue;
            }
            if !key.is_some_and(|key| self.codecs(key, codecs)) {
                self.request
                    .ignored
                    .add(&[b"codec-", list.as_ref()].concat());
            }
        }
    }

    /// Adds codecs to a list; `false` if any did not fit or is not text.
    fn codecs(&mut self, key: Key, value: Value<'a>) -> bool {
        let codecs = &mut self.request.codecs;
        let list = match key {
            Key::CodecAccept => &mut codecs.accept,
            Key::CodecExcept => &mut codecs.except,
            Key::CodecMask => &mut codecs.mask,
            Key::CodecOffer => &mut codecs.offer,
            Key::CodecSet => &mut codecs.set,
            Key::CodecTranscode => &mut codecs.transcode,
            _ => &mut codecs.strip,
        };
        let mut all = true;
        for item in each(value) {
            match text(item).filter(|codec| codec.len() <= CODEC_NAME_MAX) {
                Some(codec) if list.len() < CODECS_MAX => {
                    let has_options = matches!(key, Key::CodecSet | Key::CodecTranscode);
                    list.push(if self.rtpp || has_options {
                        flags::unescape(codec)
                    } else {
                        codec
                    });
                }
                _ => all = false,
            }
        }
        all
    }

    /// A list of flags; a single string is read like `rtpp-flags`.
    fn flags(&mut self, name: &[u8], value: Value<'a>) -> Result<(), RequestError> {
        match value {
            Value::Str(_) if !self.rtpp => self.rtpp_flags(name, value),
            value => each(value).try_for_each(|item| match item {
                Value::Str(word) => self.flag(word),
                _ => {
                    self.request.ignored.add(name);
                    Ok(())
                }
            }),
        }
    }

    fn rtpp_flags(&mut self, name: &[u8], value: Value<'a>) -> Result<(), RequestError> {
        let Value::Str(text) = value else {
            self.request.ignored.add(name);
            return Ok(());
        };
        let mut words = RtppFlags::new(text);
        self.rtpp = true;
        for word in words.by_ref() {
            match word {
                Word::Flag(word) => self.flag(word)?,
                Word::Pair(name, value) => self.pair(name, value)?,
            }
        }
        self.rtpp = false;
        if words.truncated() {
            self.request.ignored.add(b"the rest of rtpp-flags");
        }
        Ok(())
    }

    fn flag(&mut self, word: Cow<'a, [u8]>) -> Result<(), RequestError> {
        let Some(name) = Name::new(&word) else {
            self.request.unknown.add(&word);
            return Ok(());
        };
        if let Some(flag) = Flag::find(&name) {
            match flag {
                Flag::Set(set) => set(&mut self.request),
                Flag::Ignored => self.request.ignored.add(&word),
                Flag::NoOp => {}
            }
        } else if let Some((key, at)) = Key::of_prefixed_flag(&name) {
            let value = Value::Str(flags::slice(&word, at, word.len()));
            if !self.set(key, &word[..at - 1], value)? {
                self.request.ignored.add(&word);
            }
        } else if name.find(flags::TRANSPORTS).is_some() {
            self.request.transport_protocol = text(Value::Str(word));
        } else if !word.is_empty() {
            self.request.unknown.add(&word);
        }
        Ok(())
    }
}
