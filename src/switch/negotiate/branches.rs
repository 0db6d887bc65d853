//! What becomes of an offerer's media when one of its branches goes.

use super::media::join;
use super::mux::set_mux;
use super::{Plan, settled_on};
use crate::engine::{Change, EarlyMedia};
use crate::switch::dialogue::{Agreement, Dialogue, Offer};

/// What an answer makes of its branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The offerer hears it and nobody else.
    Chosen,
    /// The offerer may hear it, by its early-media policy.
    Ringing,
    /// Another one was chosen already: its 183 crossed that one's 200. Or the offerer is to hear
    /// the first one, and another one rings with media already: that one hears the offerer.
    Lost,
}

/// What the answer to `offer` makes of its branch. A provisional one does not choose under an
/// early-media policy, and takes nothing from a branch that was chosen since the offer.
pub(super) fn standing(draft: &Dialogue, offer: &Offer, provisional: bool) -> Standing {
    let party = &draft.parties[offer.offerer];
    if !provisional || party.early.is_none() {
        return Standing::Chosen;
    }
    let chosen = |peer: &usize| {
        let mut agreements = draft.agreements.iter();
        agreements.any(|a| a.chosen && a.is_between(offer.offerer, *peer))
    };
    let agreed = |peer: &usize| {
        let mut agreements = draft.agreements.iter();
        *peer != offer.answerer && agreements.any(|a| a.is_between(offer.offerer, *peer))
    };
    match party.peer.filter(chosen) {
        Some(peer) if peer == offer.answerer => Standing::Chosen,
        Some(_) if offer.choices != party.choices => Standing::Lost,
        None if party.early == Some(EarlyMedia::First)
            && party.peer.is_some_and(|p| agreed(&p)) =>
        {
            Standing::Lost
        }
        _ => Standing::Ringing,
    }
}

/// A branch of `offerer` is gone: it talks with its peer of now, as they agreed; with a branch that
/// has not answered yet it may hear early media.
pub(in crate::switch) fn reroute(draft: &mut Dialogue, offerer: Option<usize>) -> Vec<Change> {
    let mut plan = Plan::default();
    if let Some(offerer) = offerer {
        let peer = draft.parties[offerer].peer;
        let agreed = peer.and_then(|peer| {
            let found = draft.agreements.iter();
            found.rev().find(|a| a.is_between(offerer, peer)).cloned()
        });
        match (agreed, peer) {
            (Some(agreed), _) => rejoin(draft, &mut plan, &agreed),
            (None, peer) => listen(draft, &mut plan, offerer, peer),
        }
    }
    plan.changes
}

/// Sets what two parties agreed on once more: payload types, directions and multiplexing of the
/// one that stays were those of the branch that is gone.
fn rejoin(draft: &mut Dialogue, plan: &mut Plan, agreed: &Agreement) {
    let offer = &agreed.offer;
    for (ix, answered) in agreed.answer.iter().enumerate() {
        let settled = settled_on(draft, offer, ix, answered, agreed.single);
        let standing = if agreed.chosen {
            Standing::Chosen
        } else {
            Standing::Ringing
        };
        join(draft, plan, offer, (ix, answered), &settled, standing);
        if let Some(&(offerer_mux, answerer_mux)) = agreed.mux.get(ix) {
            set_mux(draft, plan, offer.offerer, ix, offerer_mux);
            set_mux(draft, plan, offer.answerer, ix, answerer_mux);
        }
    }
}

/// Back to how it was before any answer.
fn listen(draft: &mut Dialogue, plan: &mut Plan, offerer: usize, peer: Option<usize>) {
    for ix in 0..draft.parties[offerer].medias.len() {
        let line = &mut draft.parties[offerer].medias[ix];
        let Some(stream) = line.stream else { continue };
        line.receives = true;
        let payload = line.payload;
        let other = peer
            .and_then(|p| draft.parties[p].medias.get(ix))
            .filter(|other| other.payload == payload)
            .and_then(|other| other.stream);
        plan.direct(stream, true, true);
        plan.changes.push(Change::Link {
            from: stream,
            to: other,
        });
        plan.changes.push(Change::Source {
            listener: stream,
            source: None,
        });
    }
}
