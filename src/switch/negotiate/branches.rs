//! What becomes of an offerer's media when one of its branches goes.

use crate::engine::Change;
use crate::switch::call::Dialogue;

/// A branch of `offerer` is gone: routes its media to the party it talks with now.
pub(in crate::switch) fn reroute(draft: &Dialogue, offerer: Option<usize>) -> Vec<Change> {
    let mut changes = Vec::new();
    let Some(offerer) = offerer else {
        return changes;
    };
    let peer = draft.parties[offerer].peer;
    for (ix, line) in draft.parties[offerer].medias.iter().enumerate() {
        let Some(stream) = line.stream else { continue };
        let other = peer
            .and_then(|p| draft.parties[p].medias.get(ix))
            .and_then(|m| m.stream);
        let answered = peer.is_some_and(|p| draft.parties[p].has_sdp);
        changes.push(Change::Link {
            from: stream,
            to: other,
        });
        let source = other.filter(|_| answered);
        changes.push(Change::Source {
            listener: stream,
            source,
        });
    }
    changes
}
