//! Multiplexing of RTCP with RTP (RFC 5761), agreed with each party for itself.

use super::Plan;
use crate::engine::Change;
use crate::switch::call::Dialogue;

/// Whether RTCP is multiplexed with a party is known once the offer is answered.
pub(super) fn set_mux(draft: &mut Dialogue, plan: &mut Plan, party: usize, ix: usize, mux: bool) {
    let Some(line) = draft.parties[party].medias.get_mut(ix) else {
        return;
    };
    if let (Some(stream), Some(remote)) = (line.stream, line.remote.as_mut())
        && remote.mux != mux
    {
        remote.mux = mux;
        plan.changes.push(Change::Remote(stream, *remote));
    }
}
