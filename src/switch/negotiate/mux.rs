//! Multiplexing of RTCP with RTP (RFC 5761), agreed with each party for itself.

use super::Plan;
use crate::engine::Change;
use crate::switch::dialogue::{Dialogue, Offer};
use crate::switch::request::Mux;
use crate::wire::sdp::Media;

/// Whether an answer settles on multiplexing with the offerer, and with the answerer. What the
/// offer's command said holds for its answer too.
pub(super) fn agreed_mux(offer: &Offer, ix: usize, answered: &Media, told: Mux) -> (bool, bool) {
    let line = &offer.lines[ix];
    let rejected = answered.rejected() || line.media.rejected();
    let rule = offer.mux.and_then(told);
    let with_offerer = !rejected && rule.accepted(line.media.rtcp_mux, answered.rtcp_mux);
    (with_offerer, line.mux && answered.rtcp_mux)
}

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
