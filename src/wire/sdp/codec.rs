//! Codecs as SDP names them: a payload type with its `rtpmap`, `fmtp` and `rtcp-fb`.

use std::borrow::Cow;

/// One payload type of an `m=` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// The payload type, 0–127.
    pub pt: u8,
    /// Encoding name as the sender spells it; empty for a dynamic type without `rtpmap`.
    pub name: Cow<'static, str>,
    /// RTP clock rate in Hz; 0 only where the name is empty. It is the *RTP* clock: 8000 for G.722.
    pub clock_hz: u32,
    /// Audio channels, at least 1.
    pub channels: u8,
    /// Format parameters, without the payload type; several `fmtp` lines are joined by `;`.
    pub fmtp: Option<String>,
    /// `rtcp-fb` values of this payload type (RFC 4585), without the payload type.
    pub feedback: Vec<String>,
}

/// What a relay must know of an encoding besides its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Comfort noise (RFC 3389).
    ComfortNoise,
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// telephone-event (RFC 4733).
    TelephoneEvent,
    /// Any other.
    Other,
}

impl Codec {
    /// What RFC 3551 table 4 and 5 say of `pt`, or a codec without a name.
    pub fn of_static(pt: u8) -> Self {
        let known = STATIC.iter().find(|known| known.0 == pt);
        let (name, clock_hz, channels) = known.map_or(("", 0, 1), |k| (k.1, k.2, k.3));
        let name = Cow::Borrowed(name);
        Self {
            pt,
            name,
            clock_hz,
            channels,
            fmtp: None,
            feedback: Vec::new(),
        }
    }

    /// Takes over `<encoding name>/<clock rate>[/<channels>]` (RFC 8866 section 6.6); a value
    /// without a name changes nothing, one without a clock gets 8000 Hz unless the type has one.
    pub(super) fn set_rtpmap(&mut self, value: &str) {
        let mut fields = value.trim().split('/');
        let name = fields.next().unwrap_or_default().trim();
        if name.is_empty() {
            return;
        }
        let clock_hz = fields.next().and_then(number).filter(|clock| *clock > 0);
        let channels = fields
            .next()
            .and_then(number)
            .and_then(|count| u8::try_from(count).ok());
        let default_hz = if self.clock_hz > 0 {
            self.clock_hz
        } else {
            8000
        };
        self.name = intern(name);
        self.clock_hz = clock_hz.unwrap_or(default_hz);
        self.channels = channels.unwrap_or(1).max(1);
    }

    /// Same encoding name (case-insensitive), clock and channels; a codec without a name equals
    /// none.
    pub fn same_encoding(&self, other: &Self) -> bool {
        !self.name.is_empty()
            && self.clock_hz == other.clock_hz
            && self.channels == other.channels
            && self.name.eq_ignore_ascii_case(&other.name)
    }

    /// [`Codec::same_encoding`], and those format parameters agree that choose another bit stream:
    /// H.264 profile and packetization mode (RFC 6184 section 8.2.2), VP9 and AV1 profile, AMR
    /// octet alignment (RFC 4867), G.722.1 bit rate (RFC 5577). A parameter that is not there has
    /// its default.
    pub fn same_as(&self, other: &Self) -> bool {
        self.same_encoding(other)
            && DECISIVE.iter().all(|(name, parameter, default, length)| {
                !self.name.eq_ignore_ascii_case(name) || {
                    let ours = self.parameter(parameter).unwrap_or(default);
                    let theirs = other.parameter(parameter).unwrap_or(default);
                    let cut = |text: &str| text.chars().take(*length).collect::<String>();
                    cut(ours).eq_ignore_ascii_case(&cut(theirs))
                }
            })
    }

    /// The value of `name=value` in the format parameters.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let fmtp = self.fmtp.as_deref()?;
        fmtp.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The payload type a retransmission format repeats (`apt`, RFC 4588 section 8.6).
    pub(super) fn repeats(&self) -> Option<u8> {
        self.name
            .eq_ignore_ascii_case("rtx")
            .then(|| self.parameter("apt"))??
            .parse()
            .ok()
    }

    /// What a relay must know of it.
    pub fn encoding(&self) -> Encoding {
        let is = |name: &str| self.name.eq_ignore_ascii_case(name);
        match () {
            () if is("PCMU") => Encoding::Pcmu,
            () if is("PCMA") => Encoding::Pcma,
            () if is("telephone-event") => Encoding::TelephoneEvent,
            () if is("CN") => Encoding::ComfortNoise,
            () => Encoding::Other,
        }
    }

    /// Sound, and not something that goes with it: neither telephone-event nor comfort noise.
    pub fn is_sound(&self) -> bool {
        !matches!(
            self.encoding(),
            Encoding::TelephoneEvent | Encoding::ComfortNoise
        )
    }

    /// Whether `wanted`, written `name[/clock[/channels]]` or as a payload type, means this codec.
    /// What follows the channels is not looked at, and an empty field leaves it open.
    pub fn is_named(&self, wanted: &str) -> bool {
        if let Ok(pt) = wanted.trim().parse::<u8>() {
            return pt == self.pt;
        }
        let mut fields = wanted.split('/');
        let fits = |field: Option<&str>, own: u32| {
            field.is_none_or(|text| text.trim().is_empty() || number(text) == Some(own))
        };
        fields
            .next()
            .is_some_and(|name| self.name.eq_ignore_ascii_case(name.trim()))
            && fits(fields.next(), self.clock_hz)
            && fits(fields.next(), self.channels.into())
    }
}

/// A codec as commands write it:
/// `name[/clock[/channels[/bitrate[/ptime[/fmtp[/options]]]]]]`. Fields may be empty; what cannot
/// be read counts as empty, and options are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodecSpec<'a> {
    /// Encoding name, as it is spelled.
    pub name: &'a str,
    /// RTP clock rate in Hz.
    pub clock_hz: Option<u32>,
    /// Audio channels.
    pub channels: Option<u8>,
    /// Bit rate in bit/s.
    pub bitrate_bps: Option<u32>,
    /// Milliseconds per packet.
    pub ptime_ms: Option<u16>,
    /// Format parameters.
    pub fmtp: Option<&'a str>,
}

impl<'a> CodecSpec<'a> {
    /// Reads it.
    pub fn parse(text: &'a str) -> Self {
        let mut fields = text.split('/').map(str::trim);
        let mut next = || fields.next().filter(|field| !field.is_empty());
        Self {
            name: next().unwrap_or_default(),
            clock_hz: next().and_then(number),
            channels: next().and_then(|text| text.parse().ok()),
            bitrate_bps: next().and_then(number),
            ptime_ms: next().and_then(|text| text.parse().ok()),
            fmtp: next(),
        }
    }
}

/// Which codecs of an `m=` line are sent on. Names are written `name[/clock[/channels]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CodecFilter {
    /// All of them.
    #[default]
    All,
    /// All but these.
    Drop(Vec<String>),
    /// Only these.
    Keep(Vec<String>),
}

impl CodecFilter {
    /// The filter as it counts for a media with `codecs`: one that lets none of them pass lets all
    /// of them pass, since a line without formats cannot be written.
    pub fn for_media(&self, codecs: &[Codec]) -> &Self {
        const ALL: &CodecFilter = &CodecFilter::All;
        if codecs.iter().any(|codec| self.passes(codec)) {
            self
        } else {
            ALL
        }
    }

    /// Whether `codec` passes.
    pub fn passes(&self, codec: &Codec) -> bool {
        match self {
            Self::All => true,
            Self::Drop(names) => !names.iter().any(|name| codec.is_named(name)),
            Self::Keep(names) => names.iter().any(|name| codec.is_named(name)),
        }
    }
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

/// Saves an allocation for the names that nearly every call uses.
fn intern(name: &str) -> Cow<'static, str> {
    const COMMON: [&str; 20] = [
        "PCMU",
        "PCMA",
        "telephone-event",
        "opus",
        "G722",
        "G729",
        "CN",
        "GSM",
        "iLBC",
        "AMR",
        "AMR-WB",
        "EVS",
        "speex",
        "G723",
        "L16",
        "H264",
        "VP8",
        "VP9",
        "rtx",
        "red",
    ];
    COMMON.iter().find(|common| **common == name).map_or_else(
        || Cow::Owned(name.to_owned()),
        |common| Cow::Borrowed(*common),
    )
}

/// Name, parameter, its default, and how many characters of it decide (the last two hex digits of
/// an H.264 profile-level-id are the level, which may differ).
const DECISIVE: [(&str, &str, &str, usize); 7] = [
    ("H264", "profile-level-id", "420010", 4),
    ("H264", "packetization-mode", "0", 2),
    ("VP9", "profile-id", "0", 2),
    ("AV1", "profile", "0", 2),
    ("AMR", "octet-align", "0", 2),
    ("AMR-WB", "octet-align", "0", 2),
    ("G7221", "bitrate", "", 8),
];

/// Static payload types: RFC 3551 tables 4 and 5.
const STATIC: [(u8, &str, u32, u8); 24] = [
    (0, "PCMU", 8000, 1),
    (3, "GSM", 8000, 1),
    (4, "G723", 8000, 1),
    (5, "DVI4", 8000, 1),
    (6, "DVI4", 16_000, 1),
    (7, "LPC", 8000, 1),
    (8, "PCMA", 8000, 1),
    (9, "G722", 8000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (12, "QCELP", 8000, 1),
    (13, "CN", 8000, 1),
    (14, "MPA", 90_000, 1),
    (15, "G728", 8000, 1),
    (16, "DVI4", 11_025, 1),
    (17, "DVI4", 22_050, 1),
    (18, "G729", 8000, 1),
    (25, "CelB", 90_000, 1),
    (26, "JPEG", 90_000, 1),
    (28, "nv", 90_000, 1),
    (31, "H261", 90_000, 1),
    (32, "MPV", 90_000, 1),
    (33, "MP2T", 90_000, 1),
    (34, "H263", 90_000, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(pt: u8, rtpmap: &str, fmtp: &str) -> Codec {
        let mut codec = Codec::of_static(pt);
        codec.set_rtpmap(rtpmap);
        codec.fmtp = (!fmtp.is_empty()).then(|| fmtp.to_owned());
        codec
    }

    #[test]
    fn same_codec_ignores_case_and_number_but_not_clock_or_channels() {
        assert!(codec(0, "pcmu/8000", "").same_as(&codec(96, "PCMU/8000/1", "")));
        assert!(!codec(96, "opus/48000/2", "").same_as(&codec(96, "opus/48000", "")));
        let wide = codec(101, "telephone-event/48000", "");
        assert!(!wide.same_as(&codec(101, "telephone-event/8000", "")));
        assert!(
            !Codec::of_static(96).same_as(&Codec::of_static(96)),
            "no name, no codec"
        );
    }

    #[test]
    fn h264_level_may_differ_but_profile_and_mode_may_not() {
        let offered = codec(
            97,
            "H264/90000",
            "profile-level-id=42e01f;packetization-mode=1",
        );
        let level = codec(
            99,
            "H264/90000",
            "packetization-mode=1; profile-level-id=42E028",
        );
        let mode = codec(99, "H264/90000", "profile-level-id=42e01f");
        let profile = codec(
            99,
            "H264/90000",
            "profile-level-id=640c1f;packetization-mode=1",
        );
        assert!(offered.same_as(&level));
        assert!(!offered.same_as(&mode));
        assert!(!offered.same_as(&profile));
        assert!(offered.same_encoding(&profile));
    }

    #[test]
    fn commands_write_codecs_with_options_behind() {
        let spec = CodecSpec::parse("opus/48000/2/16000/40/useinbandfec=1/compression_level=2");
        assert_eq!(
            (spec.name, spec.clock_hz, spec.channels),
            ("opus", Some(48_000), Some(2))
        );
        assert_eq!((spec.bitrate_bps, spec.ptime_ms), (Some(16_000), Some(40)));
        assert_eq!(spec.fmtp, Some("useinbandfec=1"));
        let spec = CodecSpec::parse("iLBC/8000/1///mode=30");
        assert_eq!(
            (spec.bitrate_bps, spec.ptime_ms, spec.fmtp),
            (None, None, Some("mode=30"))
        );
        assert_eq!(CodecSpec::parse("").name, "");
        let wild = CodecSpec::parse("x/99999999999/300/-1/70000");
        assert_eq!(
            wild,
            CodecSpec {
                name: "x",
                ..CodecSpec::default()
            }
        );
        let pcma = Codec::of_static(8);
        assert!(pcma.is_named("8") && !pcma.is_named("0") && pcma.is_named("pcma//1/64000"));
    }

    #[test]
    fn filter_names_may_say_clock_and_channels() {
        let opus = codec(96, "opus/48000/2", "");
        assert!(opus.is_named("OPUS") && opus.is_named("opus/48000/2"));
        assert!(!opus.is_named("opus/16000") && !opus.is_named("opus/48000/1"));
        assert!(!CodecFilter::Drop(vec!["opus".into()]).passes(&opus));
        assert!(CodecFilter::Keep(vec!["PCMU".into(), "opus".into()]).passes(&opus));
    }
}
