//! What a party speaks, as the engine wants it told, and the ways from one party's codecs to
//! another's.

use smallvec::SmallVec;

use crate::audio::codec::{CodecConfig, CodecKind};
use crate::audio::opus::{BITRATES, Fmtp, OpusConfig};
use crate::engine::{
    CLOCK_HZ_MAX, Change, Companding, DECODERS_MAX, EventType, Heard, Idle, PAYLOAD_TYPES_MAX,
    PTIME_MS, Payload, PayloadType, PlayoutBounds, Spoken, Via, Voice,
};
use crate::switch::party::{LegMedia, Party};
use crate::wire::sdp::{Codec, CodecSpec, Encoding, PtEntry};

/// What a party may send.
pub(super) type Types = SmallVec<[PayloadType; 4]>;

/// Milliseconds per packet where nobody says.
const PTIME_DEFAULT_MS: u16 = 20;

/// Clock of comfort noise under its static number (RFC 3389 section 4).
const NOISE_HZ: u32 = 8_000;

/// Rates of the audio inside Opus and G.722: telephone quality, and wideband.
const AUDIO_HZ: [u32; 2] = [8_000, 16_000];

/// The codec of an SDP as we can decode and encode it.
pub(in crate::switch) fn kind_of(codec: &Codec) -> Option<CodecKind> {
    kind(&codec.name, codec.clock_hz, codec.channels)
}

/// As [`kind_of`].
pub(super) fn kind(name: &str, clock_hz: u32, channels: u8) -> Option<CodecKind> {
    let built = |kind: &CodecKind| *kind != CodecKind::Opus || cfg!(feature = "opus");
    CodecKind::from_sdp(name, clock_hz, channels).filter(built)
}

/// Whether it carries more than telephone quality.
pub(super) fn is_wide(codec: &Codec) -> bool {
    kind_of(codec).is_some_and(|kind| kind.pcm_hz() > AUDIO_HZ[0])
}

/// Whether any of them does, or none is known.
pub(super) fn are_wide(codecs: &[&Codec]) -> bool {
    let mut known = codecs
        .iter()
        .filter(|codec| kind_of(codec).is_some())
        .peekable();
    known.peek().is_none() || known.any(|codec| is_wide(codec))
}

/// A codec as we offer it ourselves.
pub(super) fn describe(kind: CodecKind, pt: u8, fmtp: Option<&str>, wide: bool) -> Codec {
    let (name, channels) = match kind {
        CodecKind::Pcmu => ("PCMU", 1),
        CodecKind::Pcma => ("PCMA", 1),
        CodecKind::G722 => ("G722", 1),
        CodecKind::L16 { channels, .. } => ("L16", channels),
        CodecKind::Opus => ("opus", 2),
    };
    let own = (kind == CodecKind::Opus).then(|| OpusConfig::at(audio_hz(wide)).fmtp().to_string());
    // A command's text becomes one line of SDP, and nothing else.
    let told = fmtp.map(|text| text.chars().filter(|c| !c.is_control()).collect());
    Codec {
        pt,
        name: name.into(),
        clock_hz: kind.clock_hz(),
        channels,
        fmtp: told.or(own).filter(|text: &String| !text.is_empty()),
        feedback: Vec::new(),
    }
}

fn audio_hz(wide: bool) -> u32 {
    AUDIO_HZ[usize::from(wide)]
}

/// A party, with what it accepts and what we send it when we make its audio.
pub(super) struct Side<'a> {
    codecs: Vec<&'a Codec>,
    preferred: Option<&'a Codec>,
    /// The other side carries more than telephone quality.
    wide: bool,
    options: &'a [String],
    ptime: Option<u16>,
    own_ptime: Option<u16>,
}

impl<'a> Side<'a> {
    /// A party that accepts `codecs`, in their order; `preferred` comes before them.
    pub(super) fn new(codecs: Vec<&'a Codec>, preferred: Option<&'a Codec>, wide: bool) -> Self {
        Self {
            codecs,
            preferred,
            wide,
            options: &[],
            ptime: None,
            own_ptime: None,
        }
    }

    /// Codecs as a command writes them, with a bit rate or a packet time of their own.
    pub(super) fn with_options(mut self, options: &'a [String]) -> Self {
        self.options = options;
        self
    }

    /// Milliseconds per packet by command, and as the party itself has it.
    pub(super) fn with_ptime(mut self, told: Option<u16>, own: Option<u16>) -> Self {
        (self.ptime, self.own_ptime) = (told, own);
        self
    }

    /// Whether it accepts this number.
    pub(super) fn accepts(&self, pt: u8) -> bool {
        self.codecs.iter().any(|codec| codec.pt == pt)
    }

    fn config(&self, codec: &Codec) -> Option<CodecConfig> {
        let kind = kind_of(codec)?;
        let wishes = Fmtp::parse(codec.fmtp.as_deref().unwrap_or_default());
        let mut opus = OpusConfig::for_peer(audio_hz(self.wide), &wishes);
        if let Some(bitrate_bps) = self.option(codec).and_then(|option| option.bitrate_bps) {
            let most = wishes.max_average_bitrate_bps.unwrap_or(BITRATES[1]);
            opus.bitrate_bps = bitrate_bps.clamp(BITRATES[0], most.max(BITRATES[0]));
        }
        Some(CodecConfig {
            kind,
            opus,
            g722_hz: audio_hz(self.wide),
        })
    }

    fn option(&self, codec: &Codec) -> Option<CodecSpec<'a>> {
        let named = self.options.iter().find(|option| codec.is_named(option))?;
        Some(CodecSpec::parse(named))
    }

    /// What it is sent: the first codec that we can encode.
    pub(super) fn speaks(&self) -> Option<Spoken> {
        let preferred = self.preferred.iter().chain(&self.codecs);
        preferred.copied().find_map(|codec| {
            let config = self.config(codec)?;
            Some(Spoken {
                pt: codec.pt,
                codec: config,
                ptime_ms: self.ptime_ms(codec, config.kind),
            })
        })
    }

    fn ptime_ms(&self, codec: &Codec, kind: CodecKind) -> u8 {
        let wishes = Fmtp::parse(codec.fmtp.as_deref().unwrap_or_default());
        let option = || self.option(codec).and_then(|option| option.ptime_ms);
        let wanted = self.ptime.or_else(option).or(self.own_ptime);
        let opus = (kind == CodecKind::Opus).then_some(wishes);
        let wanted = wanted.or_else(|| opus?.ptime_ms.map(u16::from));
        let most = opus
            .and_then(|wishes| wishes.maxptime_ms)
            .map_or(u16::MAX, u16::from);
        let ms = wanted.unwrap_or(PTIME_DEFAULT_MS).min(most);
        packet_ms(ms, kind)
    }

    /// What the engine is told of it, where `types` is what it may send, and `codec` what it means
    /// by a number.
    pub(super) fn voice<'c>(
        &self,
        types: &[PayloadType],
        codec: impl Fn(u8) -> Option<&'c Codec>,
    ) -> Speech {
        // What has to be decoded comes first, as decoders are few.
        let decoded = types.iter().filter(|kind| kind.via == Via::Decode);
        let others = types.iter().filter(|kind| kind.via != Via::Decode);
        let heard = decoded.chain(others);
        let heard = heard.filter_map(|kind| self.heard(kind.pt, codec(kind.pt)?));
        self.voice_of(heard.take(DECODERS_MAX).collect())
    }

    /// What the engine is told of it, where it may send all it accepts.
    pub(super) fn voice_of_all(&self) -> Speech {
        let heard = self.codecs.iter();
        let heard = heard.filter_map(|codec| self.heard(codec.pt, codec));
        self.voice_of(heard.take(DECODERS_MAX).collect())
    }

    fn heard(&self, pt: u8, codec: &Codec) -> Option<Heard> {
        let codec = self.config(codec)?;
        Some(Heard { pt, codec })
    }

    fn voice_of(&self, hears: SmallVec<[Heard; 2]>) -> Speech {
        let voice = Voice {
            hears,
            speaks: self.speaks(),
            playout: PlayoutBounds::default(),
            idle: Idle::Nothing,
        };
        let noise = voice.speaks.and_then(|spoken| self.noise(&spoken));
        let clock_hz = voice.speaks.map(|spoken| spoken.codec.kind.clock_hz());
        Speech {
            event: self.event(clock_hz),
            voice,
            noise,
        }
    }

    /// The telephone-event type that it accepts: that of the clock of what it is sent, if it has
    /// one (RFC 4733 section 2.1), else its first.
    fn event(&self, clock_hz: Option<u32>) -> Option<EventType> {
        let is_event = |codec: &&&Codec| codec.encoding() == Encoding::TelephoneEvent;
        let events = || self.codecs.iter().filter(is_event);
        let same = events().find(|codec| Some(codec.clock_hz) == clock_hz);
        let codec = same.or_else(|| events().next())?;
        let relayed = relay(codec.pt, codec.pt, codec);
        Some(EventType {
            pt: codec.pt,
            clock_hz: relayed.clock_hz,
        })
    }

    /// Under which number it accepts comfort noise, at the clock of what it is sent: between two
    /// clocks a timestamp would mean two things (RFC 3389 section 4).
    fn noise(&self, spoken: &Spoken) -> Option<u8> {
        let clock_hz = spoken.codec.kind.clock_hz();
        let mut noises = self
            .codecs
            .iter()
            .filter(|codec| codec.encoding() == Encoding::ComfortNoise);
        // The static number needs no rtpmap, which would say its clock.
        let fits = |codec: &&&Codec| match codec.clock_hz {
            0 => clock_hz == NOISE_HZ,
            own => own == clock_hz,
        };
        noises.find(fits).map(|codec| codec.pt)
    }
}

/// What a party speaks, and under which number it accepts comfort noise beside it.
#[derive(Clone)]
pub(super) struct Speech {
    pub(super) voice: Voice,
    pub(super) noise: Option<u8>,
    /// The telephone-event type that it accepts.
    pub(super) event: Option<EventType>,
}

/// What becomes of keys that sound in what a party says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    /// They pass.
    Needless,
    /// They are told as telephone-events.
    Made,
    /// They would be, if what is said could be decoded.
    Impossible,
}

/// What becomes of the keys of two parties where conversion was asked for: one has no
/// telephone-event, the other one has.
pub(super) fn conversions([a, b]: [&Speech; 2]) -> [Conversion; 2] {
    [(a, b), (b, a)].map(|(from, to)| {
        let needed = from.event.is_none() && to.event.is_some();
        let can = !from.voice.hears.is_empty() && to.voice.speaks.is_some();
        match (needed, can) {
            (false, _) => Conversion::Needless,
            (true, true) => Conversion::Made,
            (true, false) => Conversion::Impossible,
        }
    })
}

/// Tells the engine what a party speaks and hears, where it does not know: it has to before the
/// party is played to, mixed or forked.
pub(in crate::switch) fn wake(party: &mut Party) -> impl Iterator<Item = Change> {
    let audio = |line: &&mut LegMedia| line.payload == Payload::Rtp && *line.kind == *"audio";
    let quiet = party.medias.iter_mut().filter(|line| !line.voiced);
    quiet.filter(audio).filter_map(|line| {
        let voice = voice_of_line(line);
        line.voiced = voice.speaks.is_some() || !voice.hears.is_empty();
        let stream = line.stream.filter(|_| line.voiced)?;
        Some(Change::Voice(stream, Box::new(voice)))
    })
}

fn voice_of_line(line: &LegMedia) -> Voice {
    let wide = |spoken: Spoken| spoken.codec.pcm_hz() > AUDIO_HZ[0];
    let wide = line.speaks.is_none_or(wide);
    let side = Side::new(line.numbers.iter().collect(), None, wide);
    Voice {
        speaks: line.speaks,
        idle: line.idle.for_party(line.noise),
        ..side.voice_of_all().voice
    }
}

/// Whether a party may send its peer sound that we cannot decode.
pub(in crate::switch) fn is_partly_opaque(line: &LegMedia) -> bool {
    let hears = voice_of_line(line).hears;
    let is_noise = |pt: u8| {
        let mut numbers = line.numbers.iter();
        numbers.any(|codec| codec.pt == pt && codec.encoding() == Encoding::ComfortNoise)
    };
    let mut sounds = line
        .types
        .iter()
        .filter(|kind| !kind.event && !is_noise(kind.pt));
    sounds.any(|kind| hears.iter().all(|heard| heard.pt != kind.pt))
}

/// The packet time we make where `ms` is asked for: tens, and of Opus only its frames
/// (RFC 6716 section 2.1.4).
fn packet_ms(ms: u16, kind: CodecKind) -> u8 {
    let ms = u8::try_from(ms / 10 * 10).unwrap_or(u8::MAX);
    let ms = ms.clamp(*PTIME_MS.start(), *PTIME_MS.end());
    match (kind, ms) {
        (CodecKind::Opus, 30) => 20,
        (CodecKind::Opus, 50) => 40,
        _ => ms,
    }
}

/// The ways of all that one party may send to another.
pub(super) struct Table<'a> {
    to: &'a Side<'a>,
    speaks: Option<Spoken>,
    recode: bool,
    types: Types,
    decoders: usize,
    noises: SmallVec<[u8; 1]>,
    converts: bool,
}

impl<'a> Table<'a> {
    /// Towards `to`; with `recode`, whatever can be decoded is.
    pub(super) fn new(to: &'a Side<'a>, recode: bool) -> Self {
        Self {
            to,
            speaks: to.speaks(),
            recode,
            types: Types::new(),
            decoders: 0,
            noises: SmallVec::new(),
            converts: false,
        }
    }

    /// Telephone-events of another clock are counted in the listener's, and who accepts none hears
    /// tones.
    pub(super) fn with_events(mut self) -> Self {
        self.converts = true;
        self
    }

    /// `codec` may come under `pt`; `partner` is what the listener calls it. A number that is
    /// there already stays as it is, and what cannot be brought to the listener is left out.
    pub(super) fn add(&mut self, pt: u8, codec: &Codec, partner: Option<&Codec>) {
        let known = self.types.iter().any(|before| before.pt == pt);
        let Some((out, via)) = self.way(codec, partner).filter(|_| !known) else {
            return;
        };
        if via == Via::Decode {
            if self.decoders == DECODERS_MAX {
                return;
            }
            self.decoders += 1;
        }
        if codec.encoding() == Encoding::ComfortNoise {
            self.noises.push(pt);
        }
        // Where only one of the two names it, that is what it is.
        let named = partner.filter(|_| codec.name.is_empty()).unwrap_or(codec);
        let kind = relay(pt, out, named);
        self.types.push(PayloadType { via, ..kind });
    }

    fn way(&self, codec: &Codec, partner: Option<&Codec>) -> Option<(u8, Via)> {
        let mut accepted = self.to.codecs.iter().copied();
        let same = partner.or_else(|| accepted.find(|other| other.same_as(codec)));
        let relay = same.map(|same| (same.pt, Via::Relay));
        if self.converts && codec.encoding() == Encoding::TelephoneEvent {
            return relay.or_else(|| self.way_of_events());
        }
        match (kind_of(codec), self.speaks, relay) {
            (Some(_), Some(_), Some(_)) if !self.recode => relay,
            (Some(from), Some(spoken), _) => {
                let via = match companding(from, spoken.codec.kind) {
                    Some(companding) if !self.recode => Via::Companding(companding),
                    _ => Via::Decode,
                };
                Some((spoken.pt, via))
            }
            _ => relay,
        }
    }

    /// How telephone-events get to a listener who does not accept them as they are.
    fn way_of_events(&self) -> Option<(u8, Via)> {
        let spoken = self.speaks?;
        let clock_hz = spoken.codec.kind.clock_hz();
        Some(match self.to.event(Some(clock_hz)) {
            Some(EventType { pt, clock_hz }) => (pt, Via::Rescaled { to_hz: clock_hz }),
            None => (spoken.pt, Via::Tones),
        })
    }

    /// The table as the engine takes it.
    pub(super) fn finish(mut self) -> Types {
        let sound = |kind: &&PayloadType| !kind.event && !self.noises.contains(&kind.pt);
        let first = self.types.iter().find(sound).copied();
        if let Some(first) = first.filter(|kind| kind.via == Via::Decode) {
            // Between frames of our own, noise of theirs would be of another stream.
            let noises = std::mem::take(&mut self.noises);
            let types = self.types.iter_mut();
            for kind in types.filter(|kind| noises.contains(&kind.pt)) {
                (kind.out, kind.via) = (first.out, Via::Decode);
            }
        }
        self.types.truncate(PAYLOAD_TYPES_MAX);
        self.types
    }
}

fn companding(from: CodecKind, to: CodecKind) -> Option<Companding> {
    match (from, to) {
        (CodecKind::Pcmu, CodecKind::Pcma) => Some(Companding::UlawToAlaw),
        (CodecKind::Pcma, CodecKind::Pcmu) => Some(Companding::AlawToUlaw),
        _ => None,
    }
}

/// A payload type that passes as it is.
pub(super) fn relay(pt: u8, out: u8, codec: &Codec) -> PayloadType {
    relayed(&PtEntry {
        from: pt,
        to: out,
        clock_hz: codec.clock_hz,
        encoding: codec.encoding(),
    })
}

/// As [`relay`].
pub(super) fn relayed(entry: &PtEntry) -> PayloadType {
    PayloadType {
        pt: entry.from,
        out: entry.to,
        // A type without rtpmap has no known clock; audio's usual one does the least harm.
        clock_hz: match entry.clock_hz {
            0 => 8_000,
            clock_hz => clock_hz.min(CLOCK_HZ_MAX),
        },
        silence: match entry.encoding {
            Encoding::Pcmu => Some(0xFF),
            Encoding::Pcma => Some(0xD5),
            _ => None,
        },
        event: entry.encoding == Encoding::TelephoneEvent,
        via: Via::Relay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_times_are_tens_that_the_codec_has() {
        let made = |ms, kind| packet_ms(ms, kind);
        let pcmu = [0, 5, 10, 19, 20, 30, 60, 61, 70, 500, 65_535];
        let pcmu = pcmu.map(|ms| made(ms, CodecKind::Pcmu));
        assert_eq!(pcmu, [10, 10, 10, 10, 20, 30, 60, 60, 60, 60, 60]);
        let opus = [10, 20, 30, 40, 50, 60].map(|ms| made(ms, CodecKind::Opus));
        assert_eq!(opus, [10, 20, 20, 40, 40, 60]);
    }

    #[test]
    fn what_a_command_says_of_a_codec_stays_on_its_line() {
        let codec = describe(CodecKind::Opus, 96, Some("a=1\r\nm=video"), true);
        assert_eq!(codec.fmtp.as_deref(), Some("a=1m=video"));
        let codec = describe(CodecKind::Pcmu, 0, Some("\r\n"), true);
        assert_eq!(codec.fmtp, None);
    }

    #[test]
    fn g722_beside_a_telephone_is_coded_at_its_rate() {
        let codec = describe(CodecKind::G722, 9, None, true);
        for (wide, pcm_hz) in [(false, 8_000), (true, 16_000)] {
            let side = Side::new(vec![&codec], None, wide);
            let spoken = side.speaks().expect("G.722");
            let heard = side.voice_of_all().voice.hears;
            assert_eq!((spoken.pt, spoken.codec.pcm_hz()), (9, pcm_hz));
            assert_eq!(heard[0].codec, spoken.codec);
            assert_eq!(spoken.codec.kind.clock_hz(), 8_000);
        }
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_follows_its_peer_and_the_command() {
        let mut codec = describe(CodecKind::Opus, 96, Some("maxaveragebitrate=20000"), true);
        let options = ["PCMU".to_owned(), "opus/48000/2/24000/40".to_owned()];
        let side = |codec: &Codec, wide| {
            let side = Side::new(vec![codec], None, wide).with_options(&options);
            side.speaks().expect("Opus")
        };
        let spoken = side(&codec, false);
        assert_eq!((spoken.pt, spoken.ptime_ms), (96, 40));
        assert_eq!(
            (spoken.codec.opus.pcm_hz, spoken.codec.opus.bitrate_bps),
            (8_000, 20_000)
        );
        codec.fmtp = Some("maxptime=30".to_owned());
        let spoken = side(&codec, true);
        assert_eq!(
            (spoken.codec.opus.pcm_hz, spoken.codec.opus.bitrate_bps),
            (16_000, 24_000)
        );
        assert_eq!((spoken.ptime_ms, spoken.codec.opus.fec), (20, false));
    }
}
