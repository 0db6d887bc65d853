//! Which codecs an offer is sent on with, and how what a party says gets to the other: as it is,
//! from one law of G.711 to the other, or decoded and encoded anew.

use smallvec::SmallVec;

use super::voices::{self, Conversion, Side, Speech, Types, kind_of};
use crate::audio::codec::CodecKind;
use crate::switch::dialogue::{Offer, SentOn};
use crate::switch::request::CodecPolicy;
use crate::wire::sdp::{
    Codec, CodecFilter, CodecSpec, Encoding, Media, PtEntry, PtMap, SDP_FORMATS_MAX, numbers_for,
    pt_maps, unused_number,
};

/// What an answer settles on one line.
pub(super) struct Settled {
    /// What the offerer is told, in its numbering; empty: the answer's own, renumbered.
    pub(super) told: Vec<Codec>,
    /// How the answer is renumbered for the offerer.
    pub(super) pts: PtMap,
    /// What the offerer and the answerer may send.
    pub(super) types: [Types; 2],
    /// What they speak, where it is audio that is read.
    pub(super) voices: Option<[Speech; 2]>,
    /// What becomes of keys in what they say, where that was asked for.
    pub(super) conversion: Option<[Conversion; 2]>,
}

/// What becomes of a codec of an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is sent on.
    Passes,
    /// It is not, but the offerer may use it.
    Masked,
    /// As if it had not been there.
    Stripped,
}

/// Decides which codecs of an audio line are sent on, which are added, and how they are numbered
/// for a party to whom numbers mean what `known` says.
pub(super) fn send_on(
    media: &Media,
    policy: &CodecPolicy,
    known: &[Codec],
    ix: usize,
    warnings: &mut Vec<String>,
) -> (PtMap, SentOn) {
    let mut fates: Vec<Fate> = media.codecs.iter().map(|c| fate(c, policy)).collect();
    let added = additions(media, &fates, policy, ix, warnings);
    if added.iter().any(Codec::is_sound) {
        // What is sent on may be sent back, and then has to be made from an added codec.
        for (codec, fate) in media.codecs.iter().zip(&mut fates) {
            if codec.is_sound() && kind_of(codec).is_none() {
                *fate = Fate::Stripped;
            }
        }
    }
    let mut list = ordered(media, &fates, added, policy);
    let had_sound = media.codecs.iter().any(Codec::is_sound);
    if list.is_empty() || (had_sound && !list.iter().any(|(codec, _)| codec.is_sound())) {
        fates.fill(Fate::Passes);
        list = ordered(media, &fates, Vec::new(), policy);
    }
    let codecs: Vec<Codec> = list.iter().map(|(codec, _)| codec.clone()).collect();
    let sent = numbers_for(&codecs, known);
    let mut on = SentOn::default();
    for (codec, is_added) in list {
        let pt = sent.get(codec.pt);
        if is_added {
            on.added |= 1 << pt;
        } else {
            on.passing |= 1 << codec.pt;
        }
        on.told.push(Codec { pt, ..codec });
    }
    on.converts = is_named(&policy.transcode);
    on.events = policy.force || is_named(&policy.transcode) || is_named(&policy.accept);
    for (codec, fate) in media.codecs.iter().zip(&fates) {
        let accepted = has_all(&policy.accept) || is_listed(&policy.accept, codec);
        let usable = *fate == Fate::Masked || (accepted && *fate == Fate::Passes);
        if usable && kind_of(codec).is_some() {
            on.spare |= 1 << codec.pt;
        }
    }
    (sent, on)
}

/// The codecs that are sent on, with whether they were added, in the order asked for.
fn ordered(
    media: &Media,
    fates: &[Fate],
    added: Vec<Codec>,
    policy: &CodecPolicy,
) -> Vec<(Codec, bool)> {
    let passing = media.codecs.iter().zip(fates);
    let passing = passing.filter(|(_, fate)| **fate == Fate::Passes);
    let mut list: Vec<(Codec, bool)> = passing.map(|(codec, _)| (codec.clone(), false)).collect();
    let last_sound = list.iter().rposition(|(codec, _)| codec.is_sound());
    let at = last_sound.map_or(0, |last| last + 1);
    list.splice(at..at, added.into_iter().map(|codec| (codec, true)));
    // Without `all`, what is in `transcode` and was offered anyway stays where it was.
    let restored = has_all(&policy.strip) || has_all(&policy.mask);
    let place = |codec: &Codec| {
        let at = |names: &[String]| names.iter().position(|name| codec.is_named(name));
        let restored_at = || at(&policy.transcode).filter(|_| restored);
        at(&policy.offer)
            .or_else(|| restored_at().map(|at| policy.offer.len() + at))
            .unwrap_or(usize::MAX)
    };
    list.sort_by_key(|(codec, _)| place(codec));
    list
}

fn fate(codec: &Codec, policy: &CodecPolicy) -> Fate {
    let spared = is_listed(&policy.except, codec) || is_listed(&policy.offer, codec);
    let restored = is_listed(&policy.transcode, codec);
    // `full` is `all` that also `transcode` does not undo.
    let swept = |names: &[String]| {
        let is = |word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word));
        is("full") || (is("all") && !restored)
    };
    let masked = swept(&policy.mask) && codec.is_sound();
    match () {
        () if spared => Fate::Passes,
        () if is_listed(&policy.strip, codec) || swept(&policy.strip) => Fate::Stripped,
        () if is_listed(&policy.mask, codec) || masked => match kind_of(codec) {
            Some(_) => Fate::Masked,
            None => Fate::Stripped,
        },
        () => Fate::Passes,
    }
}

fn is_listed(names: &[String], codec: &Codec) -> bool {
    names.iter().any(|name| codec.is_named(name))
}

/// Whether telephone-events are among them.
fn is_named(names: &[String]) -> bool {
    let is_event = |name: &String| CodecSpec::parse(name).name.eq_ignore_ascii_case(EVENT_NAME);
    has_all(names) || names.iter().any(is_event)
}

fn has_all(names: &[String]) -> bool {
    let is_all = |name: &String| ["all", "full", "any"].contains(&&*name.to_ascii_lowercase());
    names.iter().any(is_all)
}

/// The codecs to add, under numbers that the offer does not use.
fn additions(
    media: &Media,
    fates: &[Fate],
    policy: &CodecPolicy,
    ix: usize,
    warnings: &mut Vec<String>,
) -> Vec<Codec> {
    let mut added: Vec<Codec> = Vec::new();
    let before = warnings.len();
    let mut warn = |name: &str, why: &str| {
        if warnings.len() - before < WARNINGS_MAX {
            let name = printable(name);
            warnings.push(format!("media {ix}: cannot transcode to {name}: {why}"));
        }
    };
    let mut used = media.codecs.iter().fold(0, |used, c| used | 1_u128 << c.pt);
    let fated = || media.codecs.iter().zip(fates);
    let usable = || fated().filter(|(_, fate)| **fate != Fate::Stripped);
    for wanted in &policy.transcode {
        let passes =
            |(codec, fate): (&Codec, &Fate)| *fate == Fate::Passes && codec.is_named(wanted);
        if usable().any(passes) || added.iter().any(|codec| codec.is_named(wanted)) {
            continue;
        }
        let spec = CodecSpec::parse(wanted);
        if spec.name.eq_ignore_ascii_case(EVENT_NAME) {
            let spec = (
                spec.clock_hz.unwrap_or(8_000),
                spec.fmtp.unwrap_or(EVENT_FMTP),
            );
            added.extend(added_event(media, spec, &mut used, added.len()));
            continue;
        }
        let Some(kind) = kind_of_spec(&spec) else {
            warn(spec.name, "no codec of this switch");
            continue;
        };
        if !usable().any(|(codec, _)| kind_of(codec).is_some()) {
            warn(spec.name, "nothing offered can be decoded");
            continue;
        }
        let usual = usual_number(kind).filter(|pt| used & (1 << pt) == 0);
        let free = usual.or_else(|| unused_number(used));
        let Some(pt) = free.filter(|_| media.codecs.len() + added.len() < SDP_FORMATS_MAX) else {
            warn(spec.name, "the line has no room for it");
            continue;
        };
        used |= 1 << pt;
        let wide = usable().any(|(codec, _)| voices::is_wide(codec));
        added.push(voices::describe(kind, pt, spec.fmtp, wide));
    }
    let passes = |(codec, fate): (&Codec, &Fate)| *fate == Fate::Passes && is_event(codec);
    if fated().any(passes) {
        // Events have the clock of the audio beside them (RFC 4733 section 2.1).
        let clocks: SmallVec<[u32; 4]> = added.iter().map(|codec| codec.clock_hz).collect();
        for clock_hz in clocks {
            let is_there = |codec: &Codec| is_event(codec) && codec.clock_hz == clock_hz;
            if !media.codecs.iter().chain(&added).any(is_there) {
                let spec = (clock_hz, EVENT_FMTP);
                added.extend(added_event(media, spec, &mut used, added.len()));
            }
        }
    }
    added
}

/// telephone-events towards an answerer whose offerer has none: its tones are what they are made
/// of.
fn added_event(
    media: &Media,
    (clock_hz, fmtp): (u32, &str),
    used: &mut u128,
    added: usize,
) -> Option<Codec> {
    let usual = Some(EVENT_PT).filter(|pt| *used & (1 << pt) == 0);
    let pt = usual.or_else(|| unused_number(*used))?;
    let room = media.codecs.len() + added < SDP_FORMATS_MAX;
    room.then(|| {
        *used |= 1 << pt;
        Codec {
            pt,
            name: EVENT_NAME.into(),
            clock_hz,
            channels: 1,
            // A command's text becomes one line of SDP, and nothing else.
            fmtp: Some(fmtp.chars().filter(|c| !c.is_control()).collect()),
            feedback: Vec::new(),
        }
    })
}

/// The codec that a command names, with what it leaves open as usual.
fn kind_of_spec(spec: &CodecSpec<'_>) -> Option<CodecKind> {
    let is = |name: &str| spec.name.eq_ignore_ascii_case(name);
    let (clock_hz, channels) = match () {
        () if is("opus") => (48_000, 2),
        () if is("L16") => (16_000, 1),
        () => (8_000, 1),
    };
    voices::kind(
        spec.name,
        spec.clock_hz.unwrap_or(clock_hz),
        spec.channels.unwrap_or(channels),
    )
}

/// RFC 3551 table 4.
fn usual_number(kind: CodecKind) -> Option<u8> {
    match kind {
        CodecKind::Pcmu => Some(0),
        CodecKind::Pcma => Some(8),
        CodecKind::G722 => Some(9),
        CodecKind::L16 { .. } | CodecKind::Opus => None,
    }
}

/// A name from a command, for a warning.
fn printable(name: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.chars().take(NAME_SHOWN_MAX).map(shown).collect()
}

const EVENT_NAME: &str = "telephone-event";

/// The number that nearly everybody has for telephone-events.
const EVENT_PT: u8 = 101;

/// The sixteen keys (RFC 4733 section 2.4.1).
const EVENT_FMTP: &str = "0-15";

/// Most warnings of codecs that cannot be added to a line.
const WARNINGS_MAX: usize = 4;

/// Longest name of a codec in a warning, in characters.
const NAME_SHOWN_MAX: usize = 32;

/// Which codecs are sent on of a line that is not audio we read.
pub(super) fn filter(policy: &CodecPolicy) -> CodecFilter {
    let is_all = |name: &String| ["all", "full"].contains(&&*name.to_ascii_lowercase());
    let lists = || policy.strip.iter().chain(&policy.mask);
    let spared = || policy.except.iter().chain(&policy.offer);
    if lists().next().is_none() {
        CodecFilter::All
    } else if lists().any(is_all) {
        CodecFilter::Keep(spared().chain(&policy.transcode).cloned().collect())
    } else {
        let is_spared = |name: &&String| spared().any(|other| other.eq_ignore_ascii_case(name));
        CodecFilter::Drop(lists().filter(|name| !is_spared(name)).cloned().collect())
    }
}

/// Compares a line's offer with its answer. `known` is what numbers mean to the offerer.
pub(super) fn settle(
    offer: &Offer,
    ix: usize,
    answered: &Media,
    known: &[Codec],
    single: bool,
) -> Settled {
    let line = &offer.lines[ix];
    let Some(on) = &line.codecs else {
        let maps = pt_maps(&line.media, &line.sent, &offer.filter, answered, known);
        return Settled {
            told: Vec::new(),
            pts: maps.answer,
            types: [&maps.to_answerer, &maps.to_offerer].map(|entries| relayed(entries)),
            voices: None,
            conversion: None,
        };
    };
    let mut passing = line.media.without_text();
    passing
        .codecs
        .retain(|codec| on.passing & (1 << codec.pt) != 0);
    let maps = pt_maps(&passing, &line.sent, &CodecFilter::All, answered, known);
    let pairs: Pairs = maps.to_answerer.iter().map(|e| (e.from, e.to)).collect();
    let told = told_to_offerer(&line.media, on, answered, &pairs, &maps.answer, single);
    let talk = Talk {
        offer,
        line: &line.media,
        on,
        sent: &line.sent,
        answered,
        pairs,
        told,
    };
    let [a, b] = talk.sides();
    let types = [talk.ways_of_offerer(&b), talk.ways_of_answerer(&a)];
    let voices = [
        a.voice(&types[0], |pt| talk.line.codec(pt)),
        b.voice(&types[1], |pt| talk.answered_under(pt)),
    ];
    drop((a, b));
    let conversion = on.converts.then(|| voices::conversions(voices.each_ref()));
    Settled {
        told: talk.told,
        pts: maps.answer,
        types,
        voices: Some(voices),
        conversion,
    }
}

/// Offered and answered number of the same codec.
type Pairs = SmallVec<[(u8, u8); 8]>;

/// What passes as it is.
fn relayed(entries: &[PtEntry]) -> Types {
    entries.iter().map(voices::relayed).collect()
}

/// The codecs of the answer that the offerer offered, then those that it may use whatever the
/// answerer chose, or must use as the answerer chose none.
fn told_to_offerer(
    offered: &Media,
    on: &SentOn,
    answered: &Media,
    pairs: &Pairs,
    renumbered: &PtMap,
    single: bool,
) -> Vec<Codec> {
    let paired = |codec: &&Codec| pairs.iter().any(|(_, answered)| *answered == codec.pt);
    let mut told: Vec<Codec> = answered
        .codecs
        .iter()
        .filter(paired)
        .map(|codec| Codec {
            pt: renumbered.get(codec.pt),
            ..codec.clone()
        })
        .collect();
    if answered.codecs.iter().any(|codec| kind_of(codec).is_some()) {
        let wide = answered.codecs.iter().any(voices::is_wide);
        add_own(&mut told, offered, on.spare, wide);
        if !told.iter().any(Codec::is_sound) {
            add_own(&mut told, offered, on.passing, wide);
        }
    }
    if !told.iter().any(Codec::is_sound) {
        // Nothing works: let the offerer see why, without the events that only we offered.
        let ours = |codec: &Codec| is_event(codec) && !paired(&codec);
        let slips = answered.codecs.iter().any(ours);
        told.retain(|_| slips);
        if slips && told.is_empty() {
            // A line has to name something.
            told.extend(offered.codecs.first().cloned());
        }
        return told;
    }
    let made = on.events && answered.codecs.iter().any(|codec| kind_of(codec).is_some());
    if made || answered.codecs.iter().any(is_event) {
        // Its keys will be counted in the answerer's clock, or sound in what it hears.
        let clock_hz = told
            .iter()
            .find(|codec| codec.is_sound())
            .map(|c| c.clock_hz);
        let fits = |codec: &&Codec| is_event(codec) && Some(codec.clock_hz) == clock_hz;
        let events = || offered.codecs.iter().filter(|codec| is_event(codec));
        let own = events().find(fits).or_else(|| events().next());
        let known = told.iter().any(|codec| fits(&codec));
        let none = !told.iter().any(is_event);
        told.extend(own.filter(|own| none || (!known && fits(own))).cloned());
    }
    if single {
        let first = told
            .iter()
            .find(|codec| codec.is_sound())
            .map(|codec| codec.pt);
        told.retain(|codec| !codec.is_sound() || Some(codec.pt) == first);
    }
    told
}

fn is_event(codec: &Codec) -> bool {
    codec.encoding() == Encoding::TelephoneEvent
}

/// Adds codecs of the offerer that we can decode and encode, behind the last sound.
fn add_own(told: &mut Vec<Codec>, offered: &Media, which: u128, wide: bool) {
    for codec in &offered.codecs {
        let known = told.iter().any(|before| before.pt == codec.pt);
        let Some(kind) = kind_of(codec).filter(|_| which & (1 << codec.pt) != 0 && !known) else {
            continue;
        };
        let last = told.iter().rposition(Codec::is_sound);
        let described = voices::describe(kind, codec.pt, None, wide);
        let own = Codec {
            name: codec.name.clone(),
            channels: codec.channels,
            ..described
        };
        told.insert(last.map_or(0, |last| last + 1), own);
    }
}

/// An offer and its answer on one line of audio.
struct Talk<'a> {
    offer: &'a Offer,
    line: &'a Media,
    on: &'a SentOn,
    sent: &'a PtMap,
    answered: &'a Media,
    pairs: Pairs,
    told: Vec<Codec>,
}

impl Talk<'_> {
    /// The offerer and the answerer, with what they accept, what they wish, and what we send them.
    fn sides(&self) -> [Side<'_>; 2] {
        let policy = &self.offer.policy;
        // What the offerer wishes stands in its offer, not in the answer it is told.
        let by_offer = |codec: &Codec| self.line.codec(codec.pt);
        let mut a: Vec<&Codec> = self.told.iter().filter_map(by_offer).collect();
        if a.is_empty() {
            let paired = |pt: u8| self.line.codec(pt);
            a = self
                .pairs
                .iter()
                .filter_map(|(pt, _)| paired(*pt))
                .collect();
        }
        let b: Vec<&Codec> = self.answered.codecs.iter().collect();
        let first = a.iter().find(|codec| codec.is_sound());
        let partner = first.and_then(|first| self.answered_as(first.pt));
        let (to_a, to_b) = (&self.offer.ptime_reverse, &self.offer.ptime);
        let wide = [&a, &b].map(|codecs| voices::are_wide(codecs));
        [
            Side::new(a, None, wide[1])
                .with_options(&policy.set)
                .with_ptime(*to_a, self.line.ptime),
            Side::new(b, partner, wide[0])
                .with_options(&policy.transcode)
                .with_ptime(*to_b, self.answered.ptime),
        ]
    }

    fn answered_as(&self, offered: u8) -> Option<&Codec> {
        let pair = self.pairs.iter().find(|(pt, _)| *pt == offered)?;
        self.answered.codec(pair.1)
    }

    /// What the answerer means by a number: its own, or as it was offered.
    fn answered_under(&self, pt: u8) -> Option<&Codec> {
        let offered = || self.on.told.iter().find(|told| told.pt == pt);
        self.answered.codec(pt).or_else(offered)
    }

    fn offered_as(&self, answered: u8) -> Option<&Codec> {
        let pair = self.pairs.iter().find(|(_, pt)| *pt == answered)?;
        self.line.codec(pair.0)
    }

    fn ways_of_offerer(&self, to: &Side<'_>) -> Types {
        let recode = self.offer.policy.force || self.offer.ptime.is_some();
        let mut table = voices::Table::new(to, recode).with_events();
        for codec in self.told.iter().filter_map(|told| self.line.codec(told.pt)) {
            table.add(codec.pt, codec, self.answered_as(codec.pt));
        }
        if self.told.is_empty() {
            for codec in self.pairs.iter().filter_map(|(pt, _)| self.line.codec(*pt)) {
                table.add(codec.pt, codec, self.answered_as(codec.pt));
            }
        }
        table.finish()
    }

    fn ways_of_answerer(&self, to: &Side<'_>) -> Types {
        let recode = self.offer.policy.force || self.offer.ptime_reverse.is_some();
        let mut table = voices::Table::new(to, recode).with_events();
        let partner = |codec: &Codec| self.offered_as(codec.pt).filter(|own| to.accepts(own.pt));
        for codec in &self.answered.codecs {
            table.add(codec.pt, codec, partner(codec));
        }
        // It may also use the numbers under which it was offered what it accepted.
        for told in &self.on.told {
            if self.answered.codec(told.pt).is_some() {
                continue; // there it means what the answer says
            }
            let offered = |pt: u8| self.sent.get(pt) == told.pt;
            let paired = self.pairs.iter().find(|(pt, _)| offered(*pt));
            let same = match paired {
                Some((_, answered)) => self.answered.codec(*answered),
                None if self.on.added & (1 << told.pt) == 0 => None,
                None => self
                    .answered
                    .codecs
                    .iter()
                    .find(|codec| codec.same_as(told)),
            };
            if let Some(same) = same {
                table.add(told.pt, same, partner(same));
            }
        }
        table.finish()
    }
}

/// What the two may send before there is an answer, and what they speak: the offerer may be sent
/// what it offered, the answerer nothing yet.
pub(super) fn before_answer(
    offer: &Offer,
    line: &Media,
    sent: &PtMap,
    on: &SentOn,
) -> [(Types, Speech); 2] {
    let usable = on.passing | on.spare;
    let is_usable = |codec: &&Codec| usable & (1 << codec.pt) != 0;
    let a: Vec<&Codec> = line.codecs.iter().filter(is_usable).collect();
    let b: Vec<&Codec> = on.told.iter().collect();
    let wide = [&a, &b].map(|codecs| voices::are_wide(codecs));
    let a = Side::new(a, None, wide[1])
        .with_options(&offer.policy.set)
        .with_ptime(offer.ptime_reverse, line.ptime);
    let b = Side::new(b, None, wide[0]);
    let recode = offer.policy.force || offer.ptime_reverse.is_some();
    let mut from_b = voices::Table::new(&a, recode).with_events();
    for told in &on.told {
        let own = line
            .codecs
            .iter()
            .find(|codec| on.passing & (1 << codec.pt) != 0 && sent.get(codec.pt) == told.pt);
        from_b.add(told.pt, told, own);
    }
    let from_b = from_b.finish();
    let passing = line
        .codecs
        .iter()
        .filter(|codec| on.passing & (1 << codec.pt) != 0);
    let from_a: Types = passing
        .map(|codec| voices::relay(codec.pt, sent.get(codec.pt), codec))
        .collect();
    let voice_of_a = a.voice_of_all();
    let mut voice_of_b = b.voice(&from_b, |pt| on.told.iter().find(|told| told.pt == pt));
    (voice_of_b.voice.speaks, voice_of_b.noise) = (None, None);
    voice_of_b.event = None;
    [(from_a, voice_of_a), (from_b, voice_of_b)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sdp::Description;

    fn media(formats: &str) -> Media {
        let text = format!(
            "v=0\r\nm=audio 4000 RTP/AVP {formats}\r\na=rtpmap:96 opus/48000/2\r\n\
             a=rtpmap:101 telephone-event/8000\r\n"
        );
        let description = Description::parse(text.as_bytes()).expect("a description");
        description.medias()[0].clone()
    }

    /// `list=name,name …` as a policy.
    fn policy(text: &str) -> CodecPolicy {
        let mut policy = CodecPolicy::default();
        for (list, names) in text.split_whitespace().filter_map(|w| w.split_once('=')) {
            let list = match list {
                "strip" => &mut policy.strip,
                "mask" => &mut policy.mask,
                "except" => &mut policy.except,
                "offer" => &mut policy.offer,
                "accept" => &mut policy.accept,
                "transcode" => &mut policy.transcode,
                other => panic!("{other}"),
            };
            list.extend(names.split(',').map(str::to_owned));
        }
        policy
    }

    fn numbers(set: u128) -> Vec<u8> {
        (0..128).filter(|pt| set & (1 << pt) != 0).collect()
    }

    #[cfg(feature = "opus")]
    #[test]
    fn dictionaries_mean_what_they_mean_to_rtpengine() {
        let all: &[u8] = &[0, 8, 9, 96, 18, 101];
        let cases: [(&str, &[u8], &[u8], usize); 17] = [
            ("", all, &[], 0),
            ("strip=pcma", &[0, 9, 96, 18, 101], &[], 0),
            ("strip=18,PCMU/16000", &[0, 8, 9, 96, 101], &[], 0),
            ("strip=all except=PCMA,telephone-event", &[8, 101], &[], 0),
            ("strip=all offer=PCMA,PCMU", &[8, 0], &[], 0),
            ("offer=G722,opus", &[9, 96, 0, 8, 18, 101], &[], 0),
            ("mask=opus/48000/2,G729", &[0, 8, 9, 101], &[96], 0),
            ("mask=all transcode=PCMA", &[8, 101], &[0, 9, 96], 0),
            ("mask=full transcode=PCMA", &[97, 101], &[0, 8, 9, 96], 0),
            ("strip=PCMA transcode=PCMA", &[0, 9, 96, 97, 101], &[], 0),
            // What cannot be decoded is not sent on beside what is added; events have its clock.
            ("transcode=L16/16000", &[0, 8, 9, 96, 97, 98, 101], &[], 0),
            (
                "transcode=L16,L16/16000,l16",
                &[0, 8, 9, 96, 97, 98, 101],
                &[],
                0,
            ),
            ("transcode=G729,opus", all, &[], 0),
            ("transcode=iLBC,opus/16000", all, &[], 2),
            // Nothing would be left.
            ("strip=all", all, &[], 0),
            ("mask=all", all, &[], 0),
            ("accept=all", all, &[0, 8, 9, 96], 0),
        ];
        for (text, told, spare, warned) in cases {
            let mut warnings = Vec::new();
            let media = media("0 8 9 96 18 101");
            let (_, on) = send_on(&media, &policy(text), &[], 0, &mut warnings);
            let pts: Vec<u8> = on.told.iter().map(|codec| codec.pt).collect();
            assert_eq!(pts, told, "{text}");
            assert_eq!(numbers(on.spare), spare, "{text}");
            assert_eq!(warnings.len(), warned, "{text}: {warnings:?}");
        }
    }

    #[test]
    fn nothing_is_added_that_could_not_be_made() {
        let mut warnings = Vec::new();
        let wanted = policy("transcode=PCMU");
        let (_, on) = send_on(&media("18 101"), &wanted, &[], 3, &mut warnings);
        assert_eq!(on.told.len(), 2);
        assert_eq!(
            warnings,
            ["media 3: cannot transcode to PCMU: nothing offered can be decoded"]
        );
        let strip = policy("strip=PCMU transcode=PCMA");
        let (_, on) = send_on(&media("0 101"), &strip, &[], 3, &mut warnings);
        assert_eq!(numbers(on.passing), [0, 101], "the only codec is spared");
    }

    #[test]
    fn warnings_and_the_names_in_them_are_bounded() {
        for (names, warned) in [
            (WARNINGS_MAX, WARNINGS_MAX),
            (WARNINGS_MAX + 1, WARNINGS_MAX),
        ] {
            let names = (0..names).map(|n| format!("x{n}\r\n{}", "y".repeat(100)));
            let transcode = CodecPolicy {
                transcode: names.collect(),
                ..CodecPolicy::default()
            };
            let mut warnings = Vec::new();
            send_on(&media("0"), &transcode, &[], 0, &mut warnings);
            assert_eq!(warnings.len(), warned);
            let long = |text: &String| text.len() > 90 || text.contains('\n');
            assert!(!warnings.iter().any(long), "{warnings:?}");
        }
    }

    #[test]
    fn formats_are_added_up_to_the_limit() {
        let full = |count: usize| {
            let others = (0..count - 1).map(|n| format!(" {}", 35 + n));
            media(&format!("0{}", others.collect::<String>()))
        };
        for (count, added) in [(SDP_FORMATS_MAX - 1, 1), (SDP_FORMATS_MAX, 0)] {
            let mut warnings = Vec::new();
            let wanted = policy("transcode=PCMA");
            let (_, on) = send_on(&full(count), &wanted, &[], 0, &mut warnings);
            assert_eq!(numbers(on.added).len(), added, "{count}");
            assert_eq!(warnings.len(), 1 - added, "{warnings:?}");
        }
    }
}
