//! Calls that come in for the place of another one (RFC 3891).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{hand_over, leave, may_transfer, still};
use crate::flow::run::Desk;
use crate::flow::run::live::{Branch, Live, Party};
use crate::flow::run::seat::{Newcomer, Side};
use crate::sip::{Cause, Incoming, LegEvent, LegEvents, LegId};

/// How long the ACK may take that brings an answer (64 T1).
const ACK_MAX: Duration = Duration::from_secs(32);

/// A call that came in takes the place of a leg, or is refused.
pub(in crate::flow::run) async fn take_place(
    desk: Arc<Desk>,
    call: Incoming,
    replaced: LegId,
    mut stop: watch::Receiver<bool>,
) {
    let leg = call.leg.clone();
    let party = Party {
        leg: call.leg,
        is_local: call.is_own,
        inbound: true,
        from: call.from,
        to: call.to,
    };
    // A leg is hung up when they are dropped: not before it is said why.
    let mut events = Some(call.events);
    let refusal = tokio::select! {
        biased;
        _stopped = stop.wait_for(|stop| *stop) => Cause(503),
        taken = sit_down(&desk, party, call.sdp, &mut events, replaced) => match taken {
            Ok(()) => return,
            Err(cause) => cause,
        },
    };
    tracing::info!(code = refusal.0, "a call takes the place of no other");
    leg.hang_up(refusal).await;
}

async fn sit_down(
    desk: &Desk,
    party: Party,
    sdp: Option<Vec<u8>>,
    events: &mut Option<LegEvents>,
    replaced: LegId,
) -> Result<(), Cause> {
    let gone = Cause(481);
    let (live, sid) = desk.places.find(replaced).ok_or(gone)?;
    let side = live.side_of(&sid).ok_or(gone)?;
    may_transfer(&live, &party.leg)?;
    if !live.count_transfer() {
        return Err(Cause(603));
    }
    let branch = Branch::new(party.is_local, &party.from, &party.to).with(&party.leg);
    let place = (side, sid.as_str());
    let seated = seat(&live, place, &branch, sdp.as_deref(), events.as_mut());
    if let Err(cause) = seated.await {
        leave(&live, side, &branch).await;
        return Err(cause);
    }
    let events = events.take().ok_or(Cause(500))?;
    let newcomer = Newcomer::new(&live, branch, events);
    hand_over(&live, side, newcomer, &party, &sid).await
}

/// Answers a call that takes a place.
async fn seat(
    live: &Live,
    (side, replaced): (Side, &str),
    branch: &Branch,
    sdp: Option<&[u8]>,
    events: Option<&mut LegEvents>,
) -> Result<(), Cause> {
    let events = events.ok_or(Cause(500))?;
    let leg = branch.sip.get().ok_or(Cause(500))?;
    let ended = |_| Cause::CANCELLED;
    if let Some(sdp) = sdp {
        let told = live.sit_by_offer(side, branch, sdp).await?;
        // Who cancels just now has taken the place, and left: its events tell.
        let _cancelled = leg.answer(&told).await;
        return Ok(());
    }
    let told = live.offer_place(side, branch)?;
    leg.answer(told.as_bytes()).await.map_err(ended)?;
    let answer = async {
        while let Some(event) = events.next().await {
            if let LegEvent::Answered(sdp) = event {
                return Some(sdp);
            }
        }
        None
    };
    let answer = timeout(ACK_MAX, answer).await.ok().flatten();
    let sdp = answer.ok_or(Cause::TIMEOUT)?;
    // Meanwhile the call may have ended, or another one may have come.
    still(live, side, replaced)?;
    live.sit_by_answer(side, branch, &told, &sdp).await
}
