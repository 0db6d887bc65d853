//! The vocabulary of ng: names of keys and flags, in any spelling, and what we do about each.
//!
//! A name is compared in lower case with hyphens for spaces and underscores, so `call-id`,
//! `call-ID` and `call id` are one. The tables are sorted by that form; a test keeps them so.

use std::borrow::Cow;

use crate::engine::{LearnPace, Privacy};
use crate::switch::Echo;
use crate::wire::ng::Value;

use super::recording;
use super::request::Request;

/// Longest name of a key or a flag in bytes; a longer one is unknown.
pub const NAME_LEN_MAX: usize = 64;

/// Most brackets inside each other in `rtpp-flags`.
pub const RTPP_DEPTH_MAX: usize = 4;

/// Most words in `rtpp-flags`, those in brackets included; the rest is not read.
pub const RTPP_WORDS_MAX: usize = 1024;

/// A name in the form in which names are compared.
pub(super) struct Name {
    bytes: [u8; NAME_LEN_MAX],
    len: usize,
}

impl Name {
    /// `None` if it is too long to be one of ours.
    pub(super) fn new(spelled: &[u8]) -> Option<Self> {
        let mut bytes = [0; NAME_LEN_MAX];
        let canonical = bytes.get_mut(..spelled.len())?;
        for (to, from) in canonical.iter_mut().zip(spelled) {
            *to = match from {
                b' ' | b'_' => b'-',
                other => other.to_ascii_lowercase(),
            };
        }
        Some(Self {
            bytes,
            len: spelled.len(),
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The entry of a table that is sorted by its first column.
    pub(super) fn find<T: Copy>(&self, table: &[(&str, T)]) -> Option<T> {
        let at = table
            .binary_search_by(|(name, _)| name.as_bytes().cmp(self.bytes()))
            .ok()?;
        Some(table[at].1)
    }
}

/// What a key of a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Address,
    AddressFamily,
    All,
    Blob,
    Blob64,
    CallId,
    Calls,
    Code,
    Codec,
    CodecAccept,
    CodecExcept,
    CodecMask,
    CodecOffer,
    CodecSet,
    CodecStrip,
    CodecTranscode,
    Command,
    DeleteDelay,
    Direction,
    DtmfDelay,
    DtmfLogDest,
    DtmfSecurity,
    DtmfSecurityTrigger,
    DtmfSecurityTriggerEnd,
    Duration,
    EarlyMediaPolicy,
    EndpointLearning,
    File,
    Flags,
    Frequency,
    FromInterface,
    FromTag,
    FromTags,
    GenerateRtcp,
    Ice,
    /// Known, and without effect here.
    Ignored,
    /// Known, and without effect here, which is what `off`, `no` and the like ask for.
    IgnoredUnlessOff,
    Interface,
    Label,
    Limit,
    Loudest,
    MediaAddress,
    MediaEcho,
    Moh,
    /// Known, and asks for what is the case anyway, or for nothing.
    NoOp,
    Pause,
    Privacy,
    Ptime,
    PtimeReverse,
    ReceivedFrom,
    /// Any of [`RecordingKeys`](super::recording::RecordingKeys), which reads them by their names.
    Recording,
    RepeatDuration,
    RepeatTimes,
    Replace,
    RtcpMux,
    RtppFlags,
    Sdp,
    SetLabel,
    SipCode,
    SipMessageType,
    StartPos,
    Supports,
    Tags,
    ToCallId,
    ToInterface,
    ToLabel,
    ToTag,
    Tos,
    TransportProtocol,
    Trigger,
    TriggerEnd,
    TriggerEndDigits,
    TriggerEndTime,
    ViaBranch,
    Volume,
}

impl Key {
    /// The meaning of a key's name. `codec-strip=X` of `rtpp-flags` is a key by its prefix.
    pub(super) fn find(name: &Name) -> Option<Self> {
        name.find(KEYS).or_else(|| {
            let trimmed = name
                .bytes()
                .strip_suffix(b"-")
                .unwrap_or_else(|| name.bytes());
            PREFIXES
                .iter()
                .find(|(prefix, _)| prefix.strip_suffix('-').map(str::as_bytes) == Some(trimmed))
                .map(|(_, key)| *key)
        })
    }

    /// The meaning of a flag that begins like a key, and where in the flag its value begins.
    pub(super) fn of_prefixed_flag(name: &Name) -> Option<(Self, usize)> {
        PREFIXES
            .iter()
            .find(|(prefix, _)| {
                name.bytes()
                    .strip_prefix(prefix.as_bytes())
                    .is_some_and(|rest| !rest.is_empty())
            })
            .map(|(prefix, key)| (*key, prefix.len()))
    }
}

/// Every key of a request, nested ones aside.
const KEYS: &[(&str, Key)] = &[
    ("address", Key::Address),
    ("address-family", Key::AddressFamily),
    ("alias-key", Key::IgnoredUnlessOff),
    ("all", Key::All),
    ("audio-player", Key::IgnoredUnlessOff),
    ("blob", Key::Blob),
    ("blob64", Key::Blob64),
    ("body", Key::Ignored),
    ("bundle", Key::Ignored),
    ("call-id", Key::CallId),
    ("callid", Key::CallId),
    ("calls", Key::Calls),
    ("code", Key::Code),
    ("codec", Key::Codec),
    ("command", Key::Command),
    ("db-id", Key::Ignored),
    ("delay-buffer", Key::DtmfDelay),
    ("delete-delay", Key::DeleteDelay),
    ("digit", Key::Code),
    ("direction", Key::Direction),
    ("drop-traffic", Key::Ignored),
    ("dtls", Key::IgnoredUnlessOff),
    ("dtls-fingerprint", Key::Ignored),
    ("dtls-reverse", Key::IgnoredUnlessOff),
    ("dtmf-delay", Key::DtmfDelay),
    ("dtmf-log-dest", Key::DtmfLogDest),
    ("dtmf-security", Key::DtmfSecurity),
    ("dtmf-security-trigger", Key::DtmfSecurityTrigger),
    ("dtmf-security-trigger-end", Key::DtmfSecurityTriggerEnd),
    ("duration", Key::Duration),
    ("early-media-policy", Key::EarlyMediaPolicy),
    ("endpoint-learning", Key::EndpointLearning),
    ("extmap", Key::Ignored),
    ("file", Key::File),
    ("flags", Key::Flags),
    ("frequency", Key::Frequency),
    ("from-interface", Key::FromInterface),
    ("from-label", Key::Label),
    ("from-tag", Key::FromTag),
    ("from-tags", Key::FromTags),
    ("generate-rtcp", Key::GenerateRtcp),
    ("ice", Key::Ice),
    ("ice-lite", Key::IgnoredUnlessOff),
    ("inbound-peer", Key::Ignored),
    ("instance", Key::Ignored),
    ("interface", Key::Interface),
    ("label", Key::Label),
    ("limit", Key::Limit),
    ("loudest", Key::Loudest),
    ("media", Key::Ignored),
    ("media-address", Key::MediaAddress),
    ("media-echo", Key::MediaEcho),
    ("metadata", Key::Recording),
    ("moh", Key::Moh),
    ("osrtp", Key::IgnoredUnlessOff),
    ("outbound-peer", Key::Ignored),
    ("passthrough", Key::NoOp),
    ("pause", Key::Pause),
    ("peer", Key::Ignored),
    ("privacy", Key::Privacy),
    ("ptime", Key::Ptime),
    ("ptime-reverse", Key::PtimeReverse),
    ("received-from", Key::ReceivedFrom),
    ("record-call", Key::Recording),
    ("recording-account", Key::Recording),
    ("recording-announcement", Key::Recording),
    ("recording-beep", Key::Recording),
    ("recording-bitrate", Key::Recording),
    ("recording-dir", Key::Recording),
    ("recording-early-media", Key::Recording),
    ("recording-file", Key::Recording),
    ("recording-finish", Key::Recording),
    ("recording-format", Key::Recording),
    ("recording-id", Key::Recording),
    ("recording-layout", Key::Recording),
    ("recording-left", Key::Recording),
    ("recording-leg", Key::Recording),
    ("recording-length-max", Key::Recording),
    ("recording-media-slot-answer", Key::Ignored),
    ("recording-media-slot-offer", Key::Ignored),
    ("recording-media-slots", Key::Ignored),
    ("recording-pattern", Key::Recording),
    ("recording-pause", Key::Recording),
    ("recording-rate", Key::Recording),
    ("recording-side", Key::Recording),
    ("recording-silence-max", Key::Recording),
    ("recording-trim", Key::Recording),
    ("repacketize", Key::NoOp),
    ("repeat-duration", Key::RepeatDuration),
    ("repeat-times", Key::RepeatTimes),
    ("replace", Key::Replace),
    ("rtcp-mux", Key::RtcpMux),
    ("rtpp-flags", Key::RtppFlags),
    ("sdes", Key::IgnoredUnlessOff),
    ("sdp", Key::Sdp),
    ("sdp-attr", Key::Ignored),
    ("sdp-media-remove", Key::Ignored),
    ("set-label", Key::SetLabel),
    ("sip-code", Key::SipCode),
    ("sip-message-type", Key::SipMessageType),
    ("source-call-id", Key::Ignored),
    ("source-tag", Key::Ignored),
    ("start-pos", Key::StartPos),
    ("supports", Key::Supports),
    ("t.38", Key::IgnoredUnlessOff),
    ("t38", Key::IgnoredUnlessOff),
    ("t38-version", Key::Ignored),
    ("tags", Key::Tags),
    ("template", Key::Ignored),
    ("to-call-id", Key::ToCallId),
    ("to-interface", Key::ToInterface),
    ("to-label", Key::ToLabel),
    ("to-tag", Key::ToTag),
    ("tos", Key::Tos),
    ("transcode", Key::CodecTranscode),
    ("transport-protocol", Key::TransportProtocol),
    ("trigger", Key::Trigger),
    ("trigger-end", Key::TriggerEnd),
    ("trigger-end-digits", Key::TriggerEndDigits),
    ("trigger-end-time", Key::TriggerEndTime),
    ("via-branch", Key::ViaBranch),
    ("volume", Key::Volume),
    ("vsc-pause-rec", Key::Ignored),
    ("vsc-pause-resume-rec", Key::Ignored),
    ("vsc-start-pause-resume-rec", Key::Ignored),
    ("vsc-start-rec", Key::Ignored),
    ("vsc-start-stop-rec", Key::Ignored),
    ("vsc-stop-rec", Key::Ignored),
    ("xmlrpc-callback", Key::Ignored),
];

/// Flags whose rest is the value of a key, a longer prefix before a shorter one.
const PREFIXES: &[(&str, Key)] = &[
    ("bundle-", Key::Ignored),
    ("codec-accept-", Key::CodecAccept),
    ("codec-consume-", Key::CodecMask),
    ("codec-except-", Key::CodecExcept),
    ("codec-ignore-", Key::CodecStrip),
    ("codec-mask-", Key::CodecMask),
    ("codec-offer-", Key::CodecOffer),
    ("codec-set-", Key::CodecSet),
    ("codec-strip-", Key::CodecStrip),
    ("codec-transcode-", Key::CodecTranscode),
    ("codec-", Key::Ignored),
    ("early-media-policy-", Key::EarlyMediaPolicy),
    ("endpoint-learning-", Key::EndpointLearning),
    ("from-tags-", Key::FromTags),
    ("osrtp-", Key::IgnoredUnlessOff),
    ("replace-", Key::Replace),
    ("rtcp-mux-", Key::RtcpMux),
    ("sdes-", Key::IgnoredUnlessOff),
    ("sdp-attr-", Key::Ignored),
    ("t.38-", Key::IgnoredUnlessOff),
    ("t38-", Key::IgnoredUnlessOff),
    ("transcode-", Key::CodecTranscode),
];

/// Notes in a request what a flag or a value says.
pub(super) type Setter = fn(&mut Request<'_>);

/// What a flag means.
#[derive(Clone, Copy)]
pub(super) enum Flag {
    /// It sets something.
    Set(Setter),
    /// Known, and without effect here.
    Ignored,
    /// Known, and asks for what is the case anyway, or for nothing.
    NoOp,
}

impl Flag {
    pub(super) fn find(name: &Name) -> Option<Self> {
        name.find(FLAGS)
    }
}

/// Every flag without a prefix.
const FLAGS: &[(&str, Flag)] = &[
    ("all", Flag::Set(|r| r.flags.all = true)),
    ("allow-asymmetric-codecs", Flag::Ignored),
    ("allow-no-codec-media", Flag::Ignored),
    (
        "allow-transcoding",
        Flag::Set(|r| r.flags.allow_transcoding = true),
    ),
    (
        "always-transcode",
        Flag::Set(|r| r.flags.always_transcode = true),
    ),
    ("asymmetric", Flag::Set(|r| r.flags.asymmetric = true)),
    ("asymmetric-codecs", Flag::Ignored),
    ("audio-player", Flag::Ignored),
    (
        "bidirectional",
        Flag::Set(|r| r.mesh_flag("bidirectional", |mesh| mesh.bidirectional = true)),
    ),
    ("block-dtmf", Flag::Set(|r| r.flags.block_dtmf = true)),
    ("block-egress", Flag::Ignored),
    ("block-short", Flag::Ignored),
    ("debug", Flag::NoOp),
    ("detect-dtmf", Flag::Set(|r| r.flags.detect_dtmf = true)),
    ("directional", Flag::Set(|r| r.flags.directional = true)),
    (
        "discard-recording",
        Flag::Set(|r| r.recording.discard = true),
    ),
    ("early-media", Flag::Set(|r| r.flags.early_media = true)),
    ("egress", Flag::Ignored),
    (
        "exclude-recording",
        Flag::Set(|r| r.recording.exclude = true),
    ),
    ("fast", Flag::Set(|r| r.flags.fast = true)),
    ("fatal", Flag::Set(|r| r.flags.fatal = true)),
    (
        "force-transcoding",
        Flag::Set(|r| r.flags.force_transcoding = true),
    ),
    ("fragment", Flag::Ignored),
    (
        "full-rtcp-attribute",
        Flag::Set(|r| r.flags.full_rtcp_attribute = true),
    ),
    ("generate-mid", Flag::Ignored),
    ("generate-rtcp", Flag::Set(|r| r.generate_rtcp = Some(true))),
    ("ice-reject", Flag::Ignored),
    ("inactive", Flag::Set(|r| r.flags.inactive = true)),
    // Keys can always be pressed.
    ("inject-dtmf", Flag::NoOp),
    ("loop-protect", Flag::Ignored),
    ("masked", Flag::Set(|r| r.privacy = Some(Privacy::Masked))),
    (
        "media-handover",
        Flag::Set(|r| r.flags.media_handover = true),
    ),
    ("mirror-rtcp", Flag::Ignored),
    ("mix", Flag::Ignored),
    ("nat-wait", Flag::Ignored),
    ("new-branch", Flag::Ignored),
    ("no-codec-renegotiation", Flag::Ignored),
    ("no-jitter-buffer", Flag::NoOp),
    ("no-passthrough", Flag::NoOp),
    ("no-player", Flag::NoOp),
    (
        "no-port-latching",
        Flag::Set(|r| r.port_latching = Some(false)),
    ),
    ("no-redis-update", Flag::NoOp),
    (
        "no-rtcp-attribute",
        Flag::Set(|r| r.flags.no_rtcp_attribute = true),
    ),
    ("no-tls-id", Flag::NoOp),
    (
        "original-sendrecv",
        Flag::Set(|r| r.flags.original_sendrecv = true),
    ),
    ("pad-crypto", Flag::Ignored),
    ("passthrough", Flag::NoOp),
    ("pause", Flag::Set(recording::pause_flag)),
    ("pierce-nat", Flag::Ignored),
    ("port-latching", Flag::Set(|r| r.port_latching = Some(true))),
    ("provisional", Flag::Set(|r| r.flags.provisional = true)),
    (
        "record-call",
        Flag::Set(|r| r.recording.record = Some(true)),
    ),
    (
        "recording-announcement",
        Flag::Set(|r| r.recording.announces = true),
    ),
    ("recording-beep", Flag::Set(|r| r.recording.beep = true)),
    (
        "recording-early-media",
        Flag::Set(|r| r.recording.early_media = true),
    ),
    ("recording-trim", Flag::Set(|r| r.recording.trim = true)),
    ("recording-vsc", Flag::Ignored),
    ("recrypt", Flag::Ignored),
    // An answer begins with what needs no transcoding.
    ("reorder-codecs", Flag::NoOp),
    ("reset", Flag::Set(|r| r.flags.reset = true)),
    ("reuse-codecs", Flag::Ignored),
    ("single-codec", Flag::Set(|r| r.flags.single_codec = true)),
    (
        "sip-source-address",
        Flag::Set(|r| r.flags.sip_source_address = true),
    ),
    ("siprec", Flag::Set(|r| r.flags.siprec = true)),
    ("skip-recording-db", Flag::NoOp),
    ("static-codecs", Flag::Ignored),
    ("strict-source", Flag::Set(|r| r.flags.strict_source = true)),
    ("strip-extmap", Flag::Ignored),
    ("symmetric", Flag::Set(|r| r.flags.asymmetric = false)),
    ("symmetric-codecs", Flag::NoOp),
    ("to-tag", Flag::Set(|r| r.flags.to_tag = true)),
    (
        "transparent",
        Flag::Set(|r| r.privacy = Some(Privacy::Transparent)),
    ),
    ("trickle-ice", Flag::Ignored),
    ("trust-address", Flag::Set(|r| r.flags.trust_address = true)),
    ("unidirectional", Flag::Ignored),
    (
        "unsubscribe",
        Flag::Set(|r| r.mesh_flag("unsubscribe", |mesh| mesh.unsubscribe = true)),
    ),
    ("webrtc", Flag::Ignored),
];

/// Values of `replace` that we carry out.
pub(super) const REPLACE: &[(&str, Setter)] = &[
    ("origin", |r| r.replace.origin = true),
    ("sdp-version", |r| r.replace.sdp_version = true),
    ("sess-version", |r| r.replace.sdp_version = true),
    ("session-connection", |r| {
        r.replace.session_connection = true
    }),
    ("session-name", |r| r.replace.session_name = true),
    ("username", |r| r.replace.username = true),
    ("zero-address", |r| r.replace.zero_address = true),
];

/// Values of `rtcp-mux`.
pub(super) const RTCP_MUX: &[(&str, Setter)] = &[
    ("accept", |r| r.rtcp_mux.accept = true),
    ("demux", |r| r.rtcp_mux.demux = true),
    ("offer", |r| r.rtcp_mux.offer = true),
    ("reject", |r| r.rtcp_mux.reject = true),
    ("require", |r| r.rtcp_mux.require = true),
];

/// Values of `media-echo`.
pub(super) const MEDIA_ECHO: &[(&str, Echo)] = &[
    ("backward", Echo::Backward),
    ("backwards", Echo::Backward),
    ("blackhole", Echo::Blackhole),
    ("both", Echo::Both),
    ("forward", Echo::Forward),
    ("sinkhole", Echo::Blackhole),
];

/// Values of `endpoint-learning`.
pub(super) const LEARNING: &[(&str, LearnPace)] = &[
    ("delayed", LearnPace::Delayed),
    ("heuristic", LearnPace::Heuristic),
    ("immediate", LearnPace::Immediate),
    ("off", LearnPace::Off),
];

/// Lists of the `codec` dictionary.
pub(super) const CODEC_LISTS: &[(&str, Key)] = &[
    ("accept", Key::CodecAccept),
    ("consume", Key::CodecMask),
    ("except", Key::CodecExcept),
    ("ignore", Key::CodecStrip),
    ("mask", Key::CodecMask),
    ("offer", Key::CodecOffer),
    ("set", Key::CodecSet),
    ("strip", Key::CodecStrip),
    ("transcode", Key::CodecTranscode),
];

/// Transports that may be written as a flag, as the scripts of Kamailio do.
pub(super) const TRANSPORTS: &[(&str, ())] = &[
    ("rtp/avp", ()),
    ("rtp/avpf", ()),
    ("rtp/savp", ()),
    ("rtp/savpf", ()),
    ("udp/tls/rtp/savp", ()),
    ("udp/tls/rtp/savpf", ()),
    ("udptl", ()),
];

/// Words for no.
pub(super) const OFF: &[(&str, ())] = &[
    ("0", ()),
    ("default", ()),
    ("disable", ()),
    ("disabled", ()),
    ("false", ()),
    ("no", ()),
    ("none", ()),
    ("off", ()),
];

/// Words for yes.
pub(super) const ON: &[(&str, ())] = &[
    ("1", ()),
    ("enable", ()),
    ("enabled", ()),
    ("on", ()),
    ("true", ()),
    ("yes", ()),
];

/// One word of an `rtpp-flags` string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// A flag.
    Flag(Cow<'a, [u8]>),
    /// `key=value`, or `key=[a list]`, or `key=[a=dictionary]`.
    Pair(Cow<'a, [u8]>, Value<'a>),
}

/// Reads the words of an `rtpp-flags` string, one by one. Never fails: what it cannot make sense
/// of comes out as a flag that nobody knows. Past its limits it ends, and
/// [`RtppFlags::truncated`] tells.
#[derive(Debug)]
pub(super) struct RtppFlags<'a> {
    text: Cow<'a, [u8]>,
    at: usize,
    words: usize,
    truncated: bool,
}

impl<'a> RtppFlags<'a> {
    pub(super) fn new(text: Cow<'a, [u8]>) -> Self {
        Self {
            text,
            at: 0,
            words: 0,
            truncated: false,
        }
    }

    /// Whether [`RTPP_DEPTH_MAX`] or [`RTPP_WORDS_MAX`] cut it short.
    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    /// The next word inside `depth` brackets; `None` at their end, which it steps over.
    fn word(&mut self, depth: usize) -> Option<Word<'a>> {
        loop {
            match self.peek()? {
                b']' if depth > 0 => {
                    self.at += 1;
                    return None;
                }
                byte if byte.is_ascii_whitespace() || byte == b']' => self.at += 1,
                _ => break,
            }
        }
        if self.words == RTPP_WORDS_MAX {
            self.cut();
            return None;
        }
        self.words += 1;
        let name = self.take_until(|byte| byte.is_ascii_whitespace() || b"=[]".contains(&byte));
        match self.peek() {
            Some(b'=') => self.at += 1,
            Some(b'[') => {}
            _ => return Some(Word::Flag(name)),
        }
        let value = match self.peek() {
            Some(b'[') => self.bracket(depth + 1)?,
            _ => Value::Str(
                self.take_until(|byte| byte.is_ascii_whitespace() || (depth > 0 && byte == b']')),
            ),
        };
        Some(Word::Pair(name, value))
    }

    /// A list, or a dictionary if there is a pair among its words.
    fn bracket(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth > RTPP_DEPTH_MAX {
            self.cut();
            return None;
        }
        self.at += 1;
        let (mut list, mut entries) = (Vec::new(), Vec::new());
        while let Some(word) = self.word(depth) {
            match word {
                Word::Flag(name) => list.push(Value::Str(name)),
                Word::Pair(name, value) => entries.push((name, value)),
            }
        }
        if entries.is_empty() {
            return Some(Value::List(list));
        }
        let bare = list.into_iter().filter_map(|item| match item {
            Value::Str(name) => Some((name, Value::List(Vec::new()))),
            _ => None,
        });
        entries.extend(bare);
        Some(Value::Dict(entries))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take_until(&mut self, ends: impl Fn(u8) -> bool) -> Cow<'a, [u8]> {
        let start = self.at;
        let rest = &self.text[start..];
        self.at += rest
            .iter()
            .position(|byte| ends(*byte))
            .unwrap_or(rest.len());
        slice(&self.text, start, self.at)
    }

    fn cut(&mut self) {
        self.truncated = true;
        self.at = self.text.len();
    }
}

impl<'a> Iterator for RtppFlags<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.word(0)
    }
}

/// A part of `text` that borrows if `text` does.
pub(super) fn slice<'a>(text: &Cow<'a, [u8]>, start: usize, end: usize) -> Cow<'a, [u8]> {
    match text {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[start..end]),
        Cow::Owned(bytes) => Cow::Owned(bytes[start..end].to_vec()),
    }
}

/// Undoes the escapes of `rtpp-flags` within codecs: `--` is `=`, `..` is a space.
pub(super) fn unescape(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains("--") || text.contains("..") {
        return Cow::Owned(text.replace("--", "=").replace("..", " "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_sorted<T>(table: &[(&str, T)]) {
        assert!(
            table.is_sorted_by(|a, b| a.0 < b.0),
            "sorted and without repetition"
        );
        for (name, _) in table {
            let canonical = Name::new(name.as_bytes()).expect("short enough");
            assert_eq!(
                canonical.bytes(),
                name.as_bytes(),
                "in the form names are compared in"
            );
        }
    }

    #[test]
    fn tables_are_sorted_and_canonical() {
        assert_sorted(KEYS);
        assert_sorted(FLAGS);
        assert_sorted(REPLACE);
        assert_sorted(RTCP_MUX);
        assert_sorted(LEARNING);
        assert_sorted(TRANSPORTS);
        assert_sorted(OFF);
        assert_sorted(ON);
    }

    #[test]
    fn no_prefix_hides_a_longer_one() {
        for (n, (prefix, _)) in PREFIXES.iter().enumerate() {
            assert!(prefix.ends_with('-'));
            assert!(
                PREFIXES[..n]
                    .iter()
                    .all(|(before, _)| !prefix.starts_with(before))
            );
        }
    }

    #[test]
    fn names_are_bounded() {
        assert!(Name::new(&[b'x'; NAME_LEN_MAX]).is_some());
        assert!(Name::new(&[b'x'; NAME_LEN_MAX + 1]).is_none());
    }

    fn words(text: &str) -> Vec<Word<'_>> {
        RtppFlags::new(Cow::Borrowed(text.as_bytes())).collect()
    }

    fn flag(name: &str) -> Word<'_> {
        Word::Flag(Cow::Borrowed(name.as_bytes()))
    }

    fn pair<'a>(name: &'a str, value: impl Into<Value<'a>>) -> Word<'a> {
        Word::Pair(Cow::Borrowed(name.as_bytes()), value.into())
    }

    #[test]
    fn rtpp_flags_are_words_pairs_lists_and_dictionaries() {
        assert_eq!(
            words(
                "trust-address  ICE=remove\tcodec=[strip=[PCMA G722] mask=all x] direction=[a b]"
            ),
            [
                flag("trust-address"),
                pair("ICE", "remove"),
                pair(
                    "codec",
                    Value::dict()
                        .with("strip", vec![Value::from("PCMA"), Value::from("G722")])
                        .with("mask", "all")
                        .with("x", Value::List(Vec::new()))
                ),
                pair("direction", vec![Value::from("a"), Value::from("b")]),
            ]
        );
        assert_eq!(
            words("transcode=[a]")[0],
            pair("transcode", vec![Value::from("a")])
        );
        assert_eq!(
            words("codec-strip-[a]")[0],
            pair("codec-strip-", vec![Value::from("a")])
        );
    }

    #[test]
    fn broken_rtpp_flags_still_end() {
        assert_eq!(
            words("] =x [a"),
            [pair("", "x"), pair("", vec![Value::from("a")])]
        );
        assert_eq!(
            words("a=[b=[c"),
            [pair("a", Value::dict().with("b", vec![Value::from("c")]))]
        );
        assert_eq!(words("a="), [pair("a", "")]);
        assert_eq!(words(" "), []);
    }

    fn truncated(text: &str) -> bool {
        let mut flags = RtppFlags::new(Cow::Borrowed(text.as_bytes()));
        while flags.next().is_some() {}
        flags.truncated()
    }

    #[test]
    fn rtpp_depth_is_bounded() {
        let nest = |depth: usize| "a=[".repeat(depth) + "x" + &"]".repeat(depth);
        assert!(!truncated(&nest(RTPP_DEPTH_MAX)));
        assert!(truncated(&nest(RTPP_DEPTH_MAX + 1)));
        assert!(truncated(&nest(100_000)));
    }

    #[test]
    fn rtpp_words_are_bounded() {
        assert!(!truncated(&"a ".repeat(RTPP_WORDS_MAX)));
        assert!(truncated(&"a ".repeat(RTPP_WORDS_MAX + 1)));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(
            unescape(Cow::Borrowed("opus/48000/2//a--1..b")),
            "opus/48000/2//a=1 b"
        );
    }
}
