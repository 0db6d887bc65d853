//! Keys that the others are not to get, by command: for a call, or for some of its parties.
//!
//! The engine keeps a mask with the stream it is about, whoever that talks with: it survives
//! re-offers, connect, merge and hold. Parties that come later are masked by what was said of the
//! whole call.

use std::sync::Arc;
use std::time::Instant;

use super::dialing::hearers_of;
use super::dialogue::Dialogue;
use super::negotiate::{Plan, is_partly_opaque, listeners, wake};
use super::party::{LegMedia, Party};
use super::request::Participants;
use super::{Switch, SwitchError};
use crate::engine::{Change, Mask, MaskMode, Payload};

impl Switch {
    /// Masks the keys that the selected parties press, towards everybody; `None`: no more. Returns
    /// what the client should know.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], a selection that fits nobody, or an overloaded worker.
    pub fn mask(
        &self,
        call_id: &str,
        who: Participants<'_>,
        mask: Option<Mask>,
    ) -> Result<Vec<String>, SwitchError> {
        self.with_call(call_id, |call| {
            let mut draft = call.dialogue.clone();
            if matches!(who, Participants::All) {
                draft.mask = mask.clone().map(Arc::new);
            }
            for party in draft.select(who)? {
                draft.parties[party].mask = mask.clone().map(Arc::new);
            }
            let (changes, warnings) = changes(&mut draft, true);
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            let what = match mask {
                Some(_) => "block DTMF",
                None => "unblock DTMF",
            };
            call.note_with(Instant::now(), what, "", None, warnings.clone());
            Ok(warnings)
        })
    }
}

/// Who is masked may have another codec, line or listener by a draft: what the engine is told of
/// it, with all else that changes, so that no key passes before. Returns what the client should
/// know.
pub(super) fn follow(draft: &mut Dialogue, told: &mut Vec<Change>) -> Vec<String> {
    if draft.parties.iter().all(|party| party.mask.is_none()) {
        return Vec::new();
    }
    let (changes, warnings) = changes(draft, false);
    told.extend(changes);
    warnings
}

/// What the engine is told of all masks; `ends`: and of who has none.
fn changes(draft: &mut Dialogue, ends: bool) -> (Vec<Change>, Vec<String>) {
    let mut plan = Plan::default();
    let open = |party: &&mut Party| !party.closed;
    if draft.parties.iter().any(asks) {
        // What is heard of them is made, so their listeners must be known, too.
        let woken = draft.parties.iter_mut().filter(open).flat_map(wake);
        plan.changes.extend(woken);
        listeners::refresh(draft, &mut plan);
    }
    for (ix, party) in draft.open_parties() {
        if party.mask.is_none() && !ends {
            continue;
        }
        let lines = party.medias.iter().enumerate();
        for (n, line) in lines.filter(|(_, line)| is_audio(line)) {
            let in_band = asks(party) && is_decoded(draft, ix, n);
            if asks(party) && (!in_band || is_partly_opaque(line)) {
                let tag = party.tag();
                plan.warnings.push(format!(
                    "tones of {tag} media {n} are not masked, or not in every codec: it, or who \
                     hears it, has one that cannot be decoded"
                ));
            }
            let commanded = party.mask.as_deref().map(|mask| Mask {
                in_band,
                ..mask.clone()
            });
            // What was negotiated counts again once nothing is commanded any more.
            let negotiated = || line.converts.then(|| Mask::of(MaskMode::Convert));
            let mask = commanded.or_else(negotiated).map(Box::new);
            let stream = line.stream.into_iter();
            plan.changes
                .extend(stream.map(|ix| Change::Mask(ix, mask.clone())));
        }
    }
    (plan.changes, plan.warnings)
}

/// Whether tones of a party are to be masked.
fn asks(party: &Party) -> bool {
    party.mask.as_ref().is_some_and(|mask| mask.in_band)
}

/// Whether what a line's party says can be heard without the tones in it: it is decoded, and made
/// anew for the one who hears it.
fn is_decoded(talk: &Dialogue, party: usize, n: usize) -> bool {
    let line = &talk.parties[party].medias[n];
    let mut hearers = Vec::new();
    hearers_of(talk, party, n, line.stream, &mut hearers);
    let lines = talk.open_parties().flat_map(|(_, party)| &party.medias);
    let mut heard = lines.filter(|line| line.stream.is_some_and(|ix| hearers.contains(&ix)));
    line.voiced && heard.all(|line| line.voiced && line.speaks.is_some())
}

fn is_audio(line: &LegMedia) -> bool {
    line.stream.is_some() && line.payload == Payload::Rtp && *line.kind == *"audio"
}
