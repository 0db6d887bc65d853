//! What the parties of a call may learn of each other.

use super::{Desk, Plan};
use crate::engine::{Change, Privacy};
use crate::switch::dialogue::Dialogue;
use crate::switch::party::LegMedia;
use crate::switch::request::Options;

/// What parties may learn of each other: as the call was told last.
pub(super) fn settle_privacy(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    options: &Options,
) -> Privacy {
    draft.privacy = options.privacy.or(draft.privacy);
    let privacy = draft.privacy.unwrap_or(desk.privacy);
    let listeners = draft.listeners.iter_mut();
    let listeners = listeners.filter(|listener| listener.privacy.is_none());
    let listeners = listeners.map(|listener| &mut listener.party);
    let parties = draft.parties.iter_mut().chain(listeners);
    for party in parties.filter(|p| !p.closed) {
        for line in &mut party.medias {
            // Also what is not in use now: it may come back, and must not tell more than the rest.
            settle(line, plan, privacy);
            if let Some(other) = line.other.as_deref_mut() {
                settle(other, plan, privacy);
            }
        }
    }
    privacy
}

/// Two calls are one: where one of them was masked, all of it is.
pub(in crate::switch) fn unite_privacy(draft: &mut Dialogue, both: [Privacy; 2]) -> Vec<Change> {
    let mut plan = Plan::default();
    if both[0] != both[1] {
        draft.privacy = Some(Privacy::Masked);
        let parties = draft.parties.iter_mut().filter(|party| !party.closed);
        for line in parties.flat_map(|party| &mut party.medias) {
            settle(line, &mut plan, Privacy::Masked);
            if let Some(other) = line.other.as_deref_mut() {
                settle(other, &mut plan, Privacy::Masked);
            }
        }
    }
    plan.changes
}

fn settle(line: &mut LegMedia, plan: &mut Plan, privacy: Privacy) {
    if line.privacy != privacy {
        line.privacy = privacy;
        plan.changes
            .extend(line.stream.map(|s| Change::Privacy(s, privacy)));
    }
}
