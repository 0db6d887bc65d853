//! Two parties joined by command, without an offer and an answer between them.
//!
//! Each keeps what it agreed on with its last partner: codecs, numbers, direction, multiplexing.
//! What is new is only the way from the codecs of the one to those of the other.

use super::hold::end_holds_of;
use super::media::{convert, give_voice, is_recoded};
use super::voices::{Conversion, Side, Speech, Table, Types, are_wide, conversions};
use super::{Plan, settled_on};
use crate::engine::{Change, Payload, StreamIx};
use crate::switch::SwitchError;
use crate::switch::dialogue::{Agreement, Dialogue};
use crate::switch::party::LegMedia;
use crate::wire::sdp::Codec;

/// What two parties are told to do, and what the client should know of it.
pub(in crate::switch) struct Joined {
    pub(in crate::switch) changes: Vec<Change>,
    pub(in crate::switch) warnings: Vec<String>,
}

/// Joins two parties of a call, and unlinks from them whoever else they talked with. Lines go
/// together by kind, the first audio with the first audio; what has no partner is unlinked.
///
/// # Errors
/// [`SwitchError::ConnectToSelf`]; [`SwitchError::NothingToConnect`] where no line of the one has a
/// partner among those of the other.
pub(in crate::switch) fn connect(
    draft: &mut Dialogue,
    [p, q]: [usize; 2],
) -> Result<Joined, SwitchError> {
    if p == q {
        return Err(SwitchError::ConnectToSelf);
    }
    let pairs = pairs(draft, [p, q]);
    if pairs.is_empty() {
        return Err(SwitchError::NothingToConnect);
    }
    let mut plan = Plan::default();
    end_holds_of(draft, &mut plan, &[p, q]);
    part(draft, &mut plan, [p, q], &pairs);
    for pair in &pairs {
        join_line(draft, &mut plan, [p, q], *pair);
    }
    draft.parties[p].peer = Some(q);
    draft.parties[q].peer = Some(p);
    Ok(Joined {
        changes: plan.changes,
        warnings: plan.warnings,
    })
}

/// Which line of the one goes with which of the other: of one kind, in their order.
fn pairs(draft: &Dialogue, [p, q]: [usize; 2]) -> Vec<[usize; 2]> {
    let [own, others] = [p, q].map(|party| &draft.parties[party].medias);
    let alike = |a: &LegMedia, b: &LegMedia| {
        let there = a.stream.is_some() && b.stream.is_some();
        there && a.payload == b.payload && a.kind.eq_ignore_ascii_case(&b.kind)
    };
    let mut taken = vec![false; others.len()];
    let mut pairs = Vec::new();
    for (i, line) in own.iter().enumerate() {
        let free = |j: &usize| !taken[*j] && alike(line, &others[*j]);
        if let Some(j) = (0..others.len()).find(free) {
            taken[j] = true;
            pairs.push([i, j]);
        }
    }
    pairs
}

/// Nobody else talks with the two any more, and what of theirs has no partner with nobody.
fn part(draft: &mut Dialogue, plan: &mut Plan, joined: [usize; 2], pairs: &[[usize; 2]]) {
    for (ix, party) in draft.parties.iter_mut().enumerate() {
        let side = joined.iter().position(|party| *party == ix);
        let with_them = party.peer.is_some_and(|peer| joined.contains(&peer));
        if party.closed || !(side.is_some() || with_them) {
            continue;
        }
        if side.is_none() {
            party.peer = None;
        }
        let paired = |line: &usize| side.is_some_and(|s| pairs.iter().any(|p| p[s] == *line));
        for (line, media) in party.medias.iter().enumerate() {
            let own = media.stream.filter(|_| !paired(&line));
            let other = media.other.as_ref().and_then(|other| other.stream);
            for stream in own.into_iter().chain(other) {
                hear(plan, stream, None);
            }
        }
    }
}

/// Links a stream to another one and nobody else, or to none; both ways are needed for two to talk.
fn hear(plan: &mut Plan, stream: StreamIx, partner: Option<StreamIx>) {
    plan.changes.push(Change::Link {
        from: stream,
        to: partner,
    });
    plan.changes.push(Change::Source {
        listener: stream,
        source: partner,
    });
}

fn join_line(draft: &mut Dialogue, plan: &mut Plan, parties: [usize; 2], lines: [usize; 2]) {
    let at = [0, 1].map(|side| (parties[side], lines[side]));
    let [a, b] = at.map(|(party, ix)| draft.parties[party].medias[ix].stream);
    let (Some(a), Some(b)) = (a, b) else { return };
    let line = &draft.parties[parties[0]].medias[lines[0]];
    if line.payload == Payload::Rtp {
        let is_audio = line.kind.eq_ignore_ascii_case("audio");
        let ways = ways(&at.map(|at| Agreed::of(draft, at)));
        let asked = at.map(|(party, ix)| draft.parties[party].medias[ix].asks_conversion);
        let conversion = (is_audio && asked.contains(&true)).then(|| {
            let [a, b] = &ways;
            conversions([&a.1, &b.1])
        });
        let converted = conversion.is_some_and(|all| all.contains(&Conversion::Made));
        if ways.iter().any(|(types, _)| types.is_empty()) {
            plan.warn(format!(
                "media {}: no codec of one party can be brought to the other",
                lines[0]
            ));
        }
        let made = converted || ways.iter().any(|(types, _)| is_recoded(types));
        for ((party, ix), (types, voice)) in at.into_iter().zip(ways) {
            let own = &mut draft.parties[party].medias[ix];
            give_voice(own, plan, types, Some(voice).filter(|_| is_audio), made);
        }
        convert(draft, plan, at, conversion);
    }
    hear(plan, a, Some(b));
    hear(plan, b, Some(a));
}

/// What payload types mean on a line of a party, in its own numbers. What comes first counts where
/// a number is there twice: what was agreed on, what was offered, all it ever named.
pub(in crate::switch) fn codecs_of(draft: &Dialogue, (party, ix): (usize, usize)) -> Vec<Codec> {
    let agreed = Agreed::of(draft, (party, ix));
    let offers = draft.offers.iter().rev().filter(|o| o.offerer == party);
    let offered = offers.filter_map(|offer| offer.lines.get(ix)).take(1);
    let offered = offered.flat_map(|line| &line.media.codecs);
    let numbers = &draft.parties[party].medias[ix].numbers;
    let all = agreed.sends().chain(offered).chain(numbers);
    all.cloned().collect()
}

/// What a party and the switch may send each other on one line, in the party's numbers.
struct Agreed {
    /// What it accepts, the best first.
    accepts: Vec<Codec>,
    /// What else it may send: numbers under which it was offered what it accepts.
    spare: Vec<Codec>,
    /// Milliseconds per packet by its own SDP.
    ptime: Option<u16>,
}

impl Agreed {
    /// By its latest agreement; before one, what it offered; else all it ever named.
    fn of(draft: &Dialogue, (party, ix): (usize, usize)) -> Self {
        let line = &draft.parties[party].medias[ix];
        let agreements = draft.agreements.iter().rev();
        let agreed = agreements
            .filter(|agreed| agreed.is_of(party))
            .find_map(|agreed| by_agreement(draft, agreed, (party, ix)));
        let offers = || draft.offers.iter().rev().filter(|o| o.offerer == party);
        let offered = || offers().find_map(|offer| offer.lines.get(ix).map(|line| &line.media));
        let (accepts, ptime) = agreed
            .or_else(|| offered().map(|media| (media.codecs.clone(), media.ptime)))
            .filter(|(codecs, _)| !codecs.is_empty())
            .unwrap_or_else(|| (line.numbers.clone(), None));
        let known = |pt: u8| accepts.iter().any(|codec| codec.pt == pt);
        let may_send = line.types.iter().filter(|kind| !known(kind.pt));
        let meant = |pt: u8| line.numbers.iter().find(|codec| codec.pt == pt).cloned();
        Self {
            spare: may_send.filter_map(|kind| meant(kind.pt)).collect(),
            accepts,
            ptime,
        }
    }

    fn sends(&self) -> impl Iterator<Item = &Codec> {
        self.accepts.iter().chain(&self.spare)
    }

    fn refs(&self) -> Vec<&Codec> {
        self.accepts.iter().collect()
    }

    /// The party as what is sent to it sees it.
    fn side(&self, other: &Self) -> Side<'_> {
        let wide = are_wide(&other.refs());
        Side::new(self.refs(), None, wide).with_ptime(None, self.ptime)
    }
}

/// What an agreement comes to for one of its two parties.
fn by_agreement(
    draft: &Dialogue,
    agreed: &Agreement,
    (party, ix): (usize, usize),
) -> Option<(Vec<Codec>, Option<u16>)> {
    let answered = agreed.answer.get(ix)?;
    if agreed.offer.answerer == party {
        return Some((answered.codecs.clone(), answered.ptime));
    }
    let offered = &agreed.offer.lines.get(ix)?.media;
    let settled = settled_on(draft, &agreed.offer, ix, answered, agreed.single);
    // What it wishes stands in its offer, not in the answer it was told.
    let own = |pt: u8| offered.codec(pt).cloned();
    let told: Vec<Codec> = settled.told.iter().filter_map(|c| own(c.pt)).collect();
    let codecs = if told.is_empty() {
        let types = settled.types[0].iter();
        types.filter_map(|kind| own(kind.pt)).collect()
    } else {
        told
    };
    Some((codecs, offered.ptime))
}

/// What each of two parties may send to the other, and what it speaks.
fn ways(agreed: &[Agreed; 2]) -> [(Types, Speech); 2] {
    let [a, b] = agreed;
    [(a, b), (b, a)].map(|(from, to)| {
        let listener = to.side(from);
        let mut table = Table::new(&listener, false).with_events();
        for codec in from.sends() {
            table.add(codec.pt, codec, None);
        }
        let types = table.finish();
        let meant = |pt: u8| from.sends().find(|codec| codec.pt == pt);
        let voice = from.side(to).voice(&types, meant);
        (types, voice)
    })
}
