//! Keys that the others are not to get, by command: for a call, or for some of its parties.
//!
//! The engine keeps a mask with the stream it is about, whoever that talks with: it survives
//! re-offers, connect, merge and hold. Parties that come later are not masked.

use std::sync::Arc;
use std::time::Instant;

use super::dialogue::Dialogue;
use super::negotiate::{is_partly_opaque, wake};
use super::party::{LegMedia, Party};
use super::request::Participants;
use super::{Switch, SwitchError};
use crate::engine::{Change, Mask, Payload};

/// Said where tones cannot be masked.
const NOT_DECODED: &str = "tones are not masked: a codec of the call cannot be decoded";

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

    /// After an offer or answer: who is masked may have another codec or line now. Returns what the
    /// client should know.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], or an overloaded worker.
    pub fn renew_masks(&self, call_id: &str) -> Result<Vec<String>, SwitchError> {
        self.with_call(call_id, |call| {
            if call
                .dialogue
                .parties
                .iter()
                .all(|party| party.mask.is_none())
            {
                return Ok(Vec::new());
            }
            let mut draft = call.dialogue.clone();
            let (changes, warnings) = changes(&mut draft, false);
            self.submit_change(call, changes, Vec::new())?;
            call.dialogue = draft;
            Ok(warnings)
        })
    }
}

/// What the engine is told of all masks; `ends`: and of who has none.
fn changes(draft: &mut Dialogue, ends: bool) -> (Vec<Change>, Vec<String>) {
    let mut changes = Vec::new();
    let open = |party: &&mut Party| !party.closed;
    let asked = |party: &Party| party.mask.as_ref().is_some_and(|mask| mask.in_band);
    if draft.parties.iter().any(asked) {
        // What is heard of them is made, so their listeners must be known, too.
        changes.extend(draft.parties.iter_mut().filter(open).flat_map(wake));
    }
    let lines = draft.open_parties().flat_map(|(_, party)| &party.medias);
    let decoded = lines.filter(|line| is_audio(line)).all(|line| line.voiced);
    let mut refused = false;
    for (_, party) in draft.open_parties() {
        let mask = party.mask.as_deref().map(|mask| Mask {
            in_band: mask.in_band && decoded,
            ..mask.clone()
        });
        if mask.is_none() && !ends {
            continue;
        }
        let audio = || party.medias.iter().filter(|line| is_audio(line));
        refused |= asked(party) && (!decoded || audio().any(is_partly_opaque));
        let streams = audio().filter_map(|line| line.stream);
        changes.extend(streams.map(|ix| Change::Mask(ix, mask.clone().map(Box::new))));
    }
    let warnings = refused.then(|| NOT_DECODED.to_owned());
    (changes, warnings.into_iter().collect())
}

fn is_audio(line: &LegMedia) -> bool {
    line.stream.is_some() && line.payload == Payload::Rtp && *line.kind == *"audio"
}
