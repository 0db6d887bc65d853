//! How the payload types of two parties translate (RFC 3264 section 6.1).
//!
//! Each party numbers the codecs it wants to *receive*. A party should send with the other's
//! numbers, but a relay hides them: the offerer only ever meets its own numbers, in the answer we
//! send it and in packets; the answerer meets its own, and may use either those or the offered
//! ones, as both kinds are in the field.

use smallvec::SmallVec;

use super::codec::{Codec, CodecFilter, Encoding};
use super::description::Media;

/// Renumbers payload types; one that is not listed stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PtMap(SmallVec<[(u8, u8); 8]>);

impl PtMap {
    /// `pt` becomes `to`, also if it became something else before. What stays is not kept.
    pub fn insert(&mut self, pt: u8, to: u8) {
        self.0.retain(|entry| entry.0 != pt);
        if pt != to {
            self.0.push((pt, to));
        }
    }

    /// What `pt` becomes.
    pub fn get(&self, pt: u8) -> u8 {
        self.0
            .iter()
            .find(|entry| entry.0 == pt)
            .map_or(pt, |entry| entry.1)
    }

    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The other way round; the inverse where no two payload types become the same.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().map(|(from, to)| (*to, *from)).collect())
    }
}

impl FromIterator<(u8, u8)> for PtMap {
    fn from_iter<I: IntoIterator<Item = (u8, u8)>>(pairs: I) -> Self {
        let mut map = Self::default();
        pairs.into_iter().for_each(|(pt, to)| map.insert(pt, to));
        map
    }
}

/// A payload type that may be sent, and what the listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtEntry {
    /// As it arrives.
    pub from: u8,
    /// As it leaves.
    pub to: u8,
    /// RTP clock rate in Hz; 0 if neither party named the codec.
    pub clock_hz: u32,
    /// What it is.
    pub encoding: Encoding,
}

/// How the payload types of an offerer and an answerer translate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PtMaps {
    /// What the offerer may send, by its own numbers; each `from` once, in the answer's order.
    pub to_answerer: SmallVec<[PtEntry; 4]>,
    /// What the answerer may send, by its own numbers and then by those offered to it; each `from`
    /// once.
    pub to_offerer: SmallVec<[PtEntry; 4]>,
    /// The renumbering of the answer before the offerer sees it. No two formats become one.
    pub answer: PtMap,
}

/// Compares `offer` with the `answer` to it. `sent` and `filter` are how the offer was sent on to
/// the answerer: renumbered, and with which codecs.
///
/// A codec of the answer is matched with the first offered one that is the same
/// ([`Codec::same_as`]) and has the same number, else that is the same, else that has the same
/// encoding only. What the answer lists and the offer did not is in neither direction's list, and
/// gets a number the offerer does not use otherwise. Where a number means one codec to the
/// answerer and another one as offered, it is the answerer's.
///
/// `known` is what numbers mean to the offerer already, besides those of `offer`: no codec gets one
/// of them that means another one.
pub fn pt_maps(
    offer: &Media,
    sent: &PtMap,
    filter: &CodecFilter,
    answer: &Media,
    known: &[Codec],
) -> PtMaps {
    let pairs = pairs(offer, sent, filter.for_media(&offer.codecs), answer);
    let entry = |from: u8, to: u8, pair: &Pair<'_>| PtEntry {
        from,
        to,
        clock_hz: pair.named().clock_hz,
        encoding: pair.named().encoding(),
    };
    let mut maps = PtMaps {
        answer: renumbering(offer, answer, &pairs, known),
        ..PtMaps::default()
    };
    for pair in &pairs {
        maps.to_answerer
            .push(entry(pair.offered.pt, pair.answered.pt, pair));
        maps.to_offerer
            .push(entry(pair.answered.pt, pair.offered.pt, pair));
    }
    for pair in &pairs {
        let as_offered = sent.get(pair.offered.pt);
        // A number the answerer lists is its own, also for a codec that has no partner.
        let taken = answer.codec(as_offered).is_some()
            || maps.to_offerer.iter().any(|entry| entry.from == as_offered);
        if !taken {
            maps.to_offerer
                .push(entry(as_offered, pair.offered.pt, pair));
        }
    }
    maps
}

/// A codec of the offer and the one of the answer that is the same.
#[derive(Clone, Copy)]
struct Pair<'a> {
    offered: &'a Codec,
    answered: &'a Codec,
}

impl<'a> Pair<'a> {
    /// The side that has an `rtpmap`.
    fn named(&self) -> &'a Codec {
        if self.answered.name.is_empty() {
            self.offered
        } else {
            self.answered
        }
    }
}

type Pairs<'a> = SmallVec<[Pair<'a>; 8]>;

/// Each codec is in at most one pair. Retransmissions come second: they are the same if what they
/// repeat is.
fn pairs<'a>(offer: &'a Media, sent: &PtMap, filter: &CodecFilter, answer: &'a Media) -> Pairs<'a> {
    let mut pairs = Pairs::new();
    for repeating in [false, true] {
        for answered in &answer.codecs {
            if answered.repeats().is_some() != repeating {
                continue;
            }
            let is_free = |codec: &&Codec| {
                filter.passes(codec) && !pairs.iter().any(|pair| pair.offered.pt == codec.pt)
            };
            let rank = |codec: &'a Codec| rank(codec, sent, answered, &pairs).map(|r| (r, codec));
            // The first of the best rank.
            let best = offer
                .codecs
                .iter()
                .filter(is_free)
                .filter_map(rank)
                .min_by_key(|(r, _)| *r);
            if let Some((_, offered)) = best {
                pairs.push(Pair { offered, answered });
            }
        }
    }
    pairs
}

/// How well two codecs match, 0 best; `None` if not at all.
fn rank(offered: &Codec, sent: &PtMap, answered: &Codec, pairs: &[Pair<'_>]) -> Option<u8> {
    let same_number = sent.get(offered.pt) == answered.pt;
    if let Some(repeated) = answered.repeats() {
        let partner = pairs
            .iter()
            .find(|pair| pair.answered.pt == repeated)?
            .offered
            .pt;
        return (offered.same_encoding(answered) && offered.repeats() == Some(partner))
            .then_some(0);
    }
    // A dynamic number without rtpmap can only mean what was offered under it.
    let unnamed = same_number && (offered.name.is_empty() || answered.name.is_empty());
    match (offered.same_as(answered), offered.same_encoding(answered)) {
        (true, _) if same_number => Some(0),
        (true, _) => Some(1),
        (false, true) if same_number => Some(2),
        (false, true) => Some(3),
        (false, false) => unnamed.then_some(4),
    }
}

/// The answer's numbers as the offerer may see them.
fn renumbering(offer: &Media, answer: &Media, pairs: &[Pair<'_>], known: &[Codec]) -> PtMap {
    let mut map = PtMap::default();
    // Everything offered counts as used: a codec that was not answered must not seem to be.
    let mut used = bits(&offer.codecs);
    let mut avoid = bits(known);
    if (used | avoid).count_ones() as usize + answer.codecs.len() > PT_COUNT {
        avoid = 0;
    }
    for codec in &answer.codecs {
        let partner = pairs.iter().find(|pair| pair.answered.pt == codec.pt);
        let same_before = |before: &&Codec| codec.same_as(before) && used & bit(before.pt) == 0;
        let number = match partner {
            Some(pair) => pair.offered.pt,
            None => match known.iter().find(same_before) {
                Some(before) if codec.repeats().is_none() => before.pt,
                _ if (used | avoid) & bit(codec.pt) == 0 => codec.pt,
                _ => free_number(used | avoid),
            },
        };
        used |= bit(number);
        map.insert(codec.pt, number);
    }
    map
}

/// How `offered` is renumbered for a party to whom numbers already mean what `known` says, so that
/// none changes its meaning (RFC 3264 section 8.3.2). No two codecs get the same number.
///
/// A codec that is known keeps the number it has there; a new one keeps its own, unless that means
/// something else. Where 128 numbers are not enough, the past is forgotten.
pub fn numbers_for(offered: &[Codec], known: &[Codec]) -> PtMap {
    let mut map = PtMap::default();
    let avoid = bits(known);
    if (avoid | bits(offered)).count_ones() as usize + offered.len() > PT_COUNT {
        return map;
    }
    // What is new and free keeps its number; nobody else gets it.
    let own = bits(offered) & !avoid;
    let mut used = 0_u128;
    for repeating in [false, true] {
        for codec in offered {
            if codec.repeats().is_some() != repeating {
                continue;
            }
            let repeated = codec.repeats().map(|pt| map.get(pt));
            let rank = |before: &&Codec| {
                let same = match repeated {
                    Some(pt) => codec.same_encoding(before) && before.repeats() == Some(pt),
                    None => means_same(codec, before),
                };
                let free = used & bit(before.pt) == 0;
                (same && free).then(|| match () {
                    () if before.pt == codec.pt => 0,
                    () if before.fmtp == codec.fmtp => 1,
                    () => 2,
                })
            };
            let best = known
                .iter()
                .filter_map(|before| Some((rank(&before)?, before.pt)))
                .min();
            let number = match best {
                Some((_, pt)) => pt,
                None if (used | avoid) & bit(codec.pt) == 0 => codec.pt,
                None => free_number(used | avoid | own),
            };
            used |= bit(number);
            map.insert(codec.pt, number);
        }
    }
    map
}

/// The same codec, or two numbers of which nobody said what they mean.
fn means_same(a: &Codec, b: &Codec) -> bool {
    a.same_as(b) || (a.pt == b.pt && a.name.is_empty() && b.name.is_empty())
}

fn bits(codecs: &[Codec]) -> u128 {
    codecs.iter().fold(0, |bits, codec| bits | bit(codec.pt))
}

/// Payload types there are (RFC 3550 section 5.1: seven bits).
const PT_COUNT: usize = 128;

fn bit(pt: u8) -> u128 {
    1 << (pt & 127)
}

/// A payload type whose bit is not set in `used`, as [`numbers_for`] would choose it; `None` if
/// there is none.
pub fn unused_number(used: u128) -> Option<u8> {
    (used != u128::MAX).then(|| free_number(used))
}

/// Dynamic numbers first, then unassigned ones, those that look like RTCP when multiplexed
/// (RFC 5761 section 4) last. The callers see to it that there is one.
fn free_number(used: u128) -> u8 {
    let mut candidates = (96..=127).chain(35..=63).chain(0..=34).chain(64..=95);
    candidates.find(|pt| used & bit(*pt) == 0).unwrap_or(127)
}
