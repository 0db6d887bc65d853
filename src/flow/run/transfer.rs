//! Transfers: a party that wants another one to take its place (REFER), and calls that say whose
//! place they take (INVITE with Replaces).
//!
//! Whoever takes a place is offered what belongs to it, or is answered for it, and the other party
//! notices nothing but another voice. A blind transfer dials the target for the place of whoever
//! asks. An attended one takes whoever stays of the first call into the second call, where it sits
//! down in the place of whoever asked.

mod attended;
mod replaces;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::callee::{Callee, EVENTS_MAX, Hearer};
use super::connect::headers;
use super::ledger::LegStarted;
use super::live::{Branch, Live, Party};
use super::seat::{Command, Newcomer, Side};
use super::target::{LOCAL, LOCAL_HOPS_MAX, is_local};
use crate::flow::script::{ANY_NUMBER, Transfers};
use crate::sip::{Cause, Ending, Leg, LegEvent, Outgoing, TransferAsked, TransferProgress};
use attended::Moving;
pub(super) use replaces::take_place;

/// Most transfers of one call, those that failed counted; more are declined (603).
pub const TRANSFERS_MAX: u32 = 16;

/// How long the target of a transfer may ring.
const RING_MAX: Duration = Duration::from_secs(60);

/// A transfer that was accepted.
pub(super) type Transfer = BoxFuture<'static, Outcome>;

/// What came of it.
pub(super) enum Outcome {
    /// Somebody is in the caller's place.
    Caller(Box<Newcomer>),
    /// Somebody is in the callee's place.
    Callee(Box<Callee>, mpsc::Receiver<(usize, LegEvent)>),
    /// Whoever stays is in another call: this one is over.
    Moved,
    /// Nothing: all is as it was.
    Failed,
}

/// Waits for the end of a transfer, if there is one.
pub(super) async fn over(transfer: &mut Option<Transfer>) -> Outcome {
    match transfer {
        Some(transfer) => transfer.await,
        None => std::future::pending().await,
    }
}

/// What a party asks for, if it may.
enum Asked {
    /// To have this target called.
    Blind(String),
    /// To be left out between its two calls: the other one, and its leg there.
    Attended(Arc<Live>, String, Moving),
}

/// Begins what the party at `side` asks for; `None`: it may not, and was told so.
pub(super) fn begin(live: &Arc<Live>, side: Side, asked: TransferAsked) -> Option<Transfer> {
    match allowed(live, side, &asked) {
        Err(Cause(code)) => {
            tracing::info!(call_id = %live.sid, code, "a transfer is declined");
            asked.reply.decline(Cause(code));
            None
        }
        Ok(what) => {
            let (live, progress) = (Arc::clone(live), asked.reply.accept());
            Some(match what {
                Asked::Blind(to) => blind(live, side, to, progress).boxed(),
                Asked::Attended(other, leg, moving) => async move {
                    let _moving = moving;
                    attended::attended(live, side, (other, leg), progress).await
                }
                .boxed(),
            })
        }
    }
}

/// # Errors
/// What it is declined with.
fn allowed(live: &Arc<Live>, side: Side, asked: &TransferAsked) -> Result<Asked, Cause> {
    let declined = Cause(603);
    let leg = live.party(side).filter(|_| live.is_talking());
    let leg = leg.ok_or(declined)?.leg;
    may_transfer(live, &leg)?;
    let what = match &asked.replaces {
        None => Asked::Blind(target(live, &leg, &asked.to)?),
        Some(replaces) => {
            let found = live.desk.agent.find_replaced(replaces);
            let place = found.and_then(|leg| live.desk.places.find(leg));
            let (other, sid) = place.ok_or(Cause(481))?;
            if Arc::ptr_eq(&other, live) {
                return Err(declined);
            }
            other.side_of(&sid).ok_or(Cause(481))?;
            may_transfer(&other, &leg)?;
            if leads_to(live, side.other(), &other) {
                return Err(declined);
            }
            let moving = Moving::begin(live).ok_or(Cause(491))?;
            if !other.count_transfer() {
                return Err(declined);
            }
            Asked::Attended(other, sid, moving)
        }
    };
    match live.count_transfer() {
        true => Ok(what),
        false => Err(declined),
    }
}

/// Whether the party at `side` is, through calls of this very switch, in `other`: joined there it
/// would talk with itself.
fn leads_to(live: &Arc<Live>, side: Side, other: &Arc<Live>) -> bool {
    let mut party = live.party(side);
    for _ in 0..=LOCAL_HOPS_MAX {
        let end = party.and_then(|party| live.desk.agent.other_end(party.leg.id()));
        let Some((next, sid)) = end.and_then(|end| live.desk.places.find(end)) else {
            return false;
        };
        if Arc::ptr_eq(&next, other) {
            return true;
        }
        party = next.side_of(&sid).and_then(|side| next.party(side.other()));
    }
    true
}

/// # Errors
/// 403: the flow does not let this one.
fn may_transfer(live: &Live, leg: &Leg) -> Result<(), Cause> {
    let may = match live.flow.transfer {
        Transfers::Users => leg.is_user(),
        Transfers::All => true,
        Transfers::Nobody => false,
    };
    may.then_some(()).ok_or(Cause(403))
}

/// Whom to call for an address that a party gave: a number that a flow names, a user, and, for
/// users, whatever else the flows take. Trunks are called by flows alone.
///
/// # Errors
/// 403: an address elsewhere, 404: nobody.
fn target(live: &Live, leg: &Leg, to: &str) -> Result<String, Cause> {
    if to.contains(['@', ':']) {
        return Err(Cause(403));
    }
    let flow = live.desk.flows.find(to);
    let is_named = flow
        .as_ref()
        .is_some_and(|flow| flow.numbers.iter().any(|n| n == to && n != ANY_NUMBER));
    match flow {
        Some(_) if is_named => Ok(format!("{LOCAL}{to}")),
        _ if live.desk.agent.has_user(to) => Ok(to.to_owned()),
        Some(_) if leg.is_user() => Ok(format!("{LOCAL}{to}")),
        _ => Err(Cause(404)),
    }
}

/// A cause as it is told to whoever asked: nothing of a failure is a success.
const fn failure(cause: Cause) -> Cause {
    match cause.0 {
        300..=699 => cause,
        _ => Cause::CANCELLED,
    }
}

async fn blind(live: Arc<Live>, side: Side, to: String, progress: TransferProgress) -> Outcome {
    match call_for(&live, side, &to, &progress).await {
        Ok(outcome) => {
            progress.tell(Cause::HANG_UP);
            outcome
        }
        Err(cause) => {
            tracing::info!(call_id = %live.sid, cause = cause.0, "a transfer failed");
            progress.tell(failure(cause));
            Outcome::Failed
        }
    }
}

/// Calls somebody for a place, and has it sit down there.
///
/// # Errors
/// Why it does not.
async fn call_for(
    live: &Arc<Live>,
    side: Side,
    to: &str,
    progress: &TransferProgress,
) -> Result<Outcome, Cause> {
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let before = live.sid_at(side);
    let callee = dial(live, side, to, sender)?;
    let mut talk = live.talk();
    let until = Instant::now() + RING_MAX;
    let sdp = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(until) => {
                callee.hang_up(Cause::TIMEOUT);
                break Err(Cause(480));
            }
            // Whoever was to stay is gone, or the conversation was only for so long.
            _over = talk.wait_for(Option::is_none), if side == Side::Caller => {
                callee.hang_up(Cause::CANCELLED);
                break Err(Cause::CANCELLED);
            }
        };
        match event.map(|(_, event)| event) {
            Some(LegEvent::Ringing | LegEvent::Progress(_)) => {
                progress.tell(Cause(180));
                live.ringback_across(side);
            }
            Some(LegEvent::Answered(sdp)) => break Ok((callee, sdp)),
            Some(LegEvent::Ended(Ending { cause, .. })) => break Err(cause),
            None => break Err(Cause(500)),
            Some(LegEvent::Offer(offer)) => {
                // Not before it has answered.
                let _gone = offer.reply.send(Err(Cause(488)));
            }
            // Dropped: declined.
            Some(LegEvent::Digit(..) | LegEvent::Transfer(_)) => {}
        }
    };
    live.hush_across(side).await;
    let (callee, sdp) = sdp?;
    live.desk.ledger.answered(&live.sid, &callee.branch.leg);
    let now = live.sid_at(side);
    if now.is_some() && now != before {
        // Another one was faster.
        return Err(Cause(481));
    }
    match side {
        Side::Callee => {
            let (branch, told) = (&callee.branch, &callee.told);
            live.sit_by_answer(side, branch, told, &sdp).await?;
            Ok(Outcome::Callee(Box::new(callee), events))
        }
        Side::Caller => as_caller(live, callee, &sdp).await,
    }
}

/// Somebody who was called and has answered sits down in the caller's place.
async fn as_caller(live: &Arc<Live>, mut callee: Callee, sdp: &[u8]) -> Result<Outcome, Cause> {
    let (given, taken) = oneshot::channel();
    callee.give_up(given, true);
    let events = taken.await.map_err(|_gone| Cause(480))?;
    let newcomer = Newcomer::new(live, callee.branch.clone(), events);
    let branch = &newcomer.branch;
    if let Err(cause) = live.sit_by_answer(Side::Caller, branch, "", sdp).await {
        newcomer.ends(cause);
        return Err(cause);
    }
    Ok(Outcome::Caller(Box::new(newcomer)))
}

/// Dials somebody for a place.
fn dial(
    live: &Arc<Live>,
    side: Side,
    to: &str,
    events: mpsc::Sender<(usize, LegEvent)>,
) -> Result<Callee, Cause> {
    let mask = live.masked();
    // On behalf of whoever stays: the caller, as whoever asks saw it, or whom the caller knows by
    // the number that it called.
    let is_masked = mask.is_some();
    let (stays, known, is_hidden) = match side {
        Side::Callee => (live.shown().or(mask), &live.from, is_masked),
        Side::Caller => (mask, &live.to, true),
    };
    let from = stays.unwrap_or_else(|| known.clone());
    let is_named = !is_hidden && from == live.from;
    let branch = Branch::new(is_local(to), &from, to);
    let sdp = live.offer_place(side, &branch)?;
    let outgoing = Outgoing {
        to: to.to_owned(),
        from,
        display: live.display.clone().filter(|_| is_named),
        headers: headers(live, &branch.leg, is_hidden),
        sdp: sdp.into_bytes(),
        ring_timeout: RING_MAX,
        max_forwards: None,
    };
    let instead_of = live.sid_at(side);
    let heard = Hearer { ix: 0, events };
    let instead_of = instead_of.as_deref();
    Ok(Callee::dial(live, branch, outgoing, instead_of, heard))
}

/// # Errors
/// 481: that leg does not sit there any more.
fn still(live: &Live, place: Side, sid: &str) -> Result<(), Cause> {
    match live.side_of(sid) == Some(place) {
        true => Ok(()),
        false => Err(Cause(481)),
    }
}

/// Takes out of the switch what was made for somebody who does not come.
async fn leave(live: &Live, side: Side, branch: &Branch) {
    if live.is_over() {
        // Nobody else would end what was made after its end, if anything was.
        let _none = live.switch().delete(&live.sid, None, None, None).await;
    } else if side == Side::Callee {
        // Nothing may have been made yet.
        let _none = live.switch().leave(&live.sid, &branch.leg).await;
    }
}

/// A leg that comes from elsewhere sits in this call, and talks: it is written down, and whoever
/// watches that place is told.
///
/// # Errors
/// 481: nobody watches it any more, and the leg is hung up.
async fn hand_over(
    live: &Arc<Live>,
    side: Side,
    newcomer: Newcomer,
    party: &Party,
    instead_of: &str,
) -> Result<(), Cause> {
    let branch = newcomer.branch.clone();
    write_down(live, &branch, party, instead_of);
    if live.command(side, Command::Adopt(Box::new(newcomer))) {
        return Ok(());
    }
    leave(live, side, &branch).await;
    Err(Cause(481))
}

fn write_down(live: &Live, branch: &Branch, party: &Party, instead_of: &str) {
    let ledger = &live.desk.ledger;
    ledger.leg_started(&LegStarted {
        call: &live.sid,
        leg: &branch.leg,
        inbound: party.inbound,
        from: &party.from,
        to: &party.to,
        instead_of: Some(instead_of),
    });
    ledger.answered(&live.sid, &branch.leg);
}
