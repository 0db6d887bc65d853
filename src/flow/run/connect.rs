//! The applets `connect` and `sticky`: parties that ring one after another or at once, and the
//! first that answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::callee::{Callee, EVENTS_MAX, Hearer};
use super::live::{Branch, CALLER, Live};
use super::sdp::Audio;
use super::talk::Talk;
use super::target::is_local;
use super::{Over, policy};
use crate::flow::script::{Connect, Early, Next, PARALLEL_MAX, Prompt, Sticky};
use crate::sip::{Cause, Ending, LegEvent, LegStatus, Outgoing};
use crate::switch::{Participants, RecordLayout, RecordRequest};

/// Name of what `connect` records.
const RECORDING: &str = "conversation";

/// Why nobody is reached where nobody says why.
const UNREACHED: Cause = Cause(500);
/// Nobody answered in time (RFC 3261 section 21.4.18).
const UNANSWERED: Cause = Cause(480);

/// The user part of a From that names nobody (RFC 3323 section 4.1.1.3).
const ANONYMOUS: &str = "anonymous";

/// Names a call in SIP.
const CALL_SID: &str = "X-Exotel-CallSid";
/// Names one of its legs.
const LEG_SID: &str = "X-Exotel-LegSid";

/// How others are to be called.
pub(super) struct Ring<'a> {
    pub(super) early: Early,
    /// The caller hears something of its own meanwhile.
    pub(super) has_music: bool,
    pub(super) timeout: Duration,
    pub(super) caller_id: Option<&'a str>,
    pub(super) whisper: Option<&'a Prompt>,
}

/// What became of those who rang.
pub(super) enum Rang {
    Answered(Box<Talk>),
    /// Why not, as the last of them said.
    Nobody(Cause),
}

pub(super) async fn connect(live: &Arc<Live>, connect: &Connect) -> Result<Next, Over> {
    let targets: Vec<String> = connect.to.iter().map(|to| filled(live, to)).collect();
    call_all(live, &targets, connect).await
}

/// The applet `sticky`: a `connect` to the agent with whom this caller talked last.
pub(super) async fn sticky(live: &Arc<Live>, sticky: &Sticky) -> Result<Next, Over> {
    // Callers that do not say who they are would have the agents of each other.
    if live.from.is_empty() || live.from.eq_ignore_ascii_case(ANONYMOUS) {
        return Ok(sticky.none);
    }
    let agents: Vec<String> = sticky.agents.iter().map(|to| filled(live, to)).collect();
    match live.desk.ledger.last_agent(&live.from, agents).await {
        Some(agent) => call_all(live, &[agent], &sticky.call).await,
        None => Ok(sticky.none),
    }
}

/// Calls these as `connect` says.
async fn call_all(live: &Arc<Live>, targets: &[String], connect: &Connect) -> Result<Next, Over> {
    if let Some(music) = &connect.music {
        live.answer().await?;
        live.play_on(music, Duration::ZERO).await?;
    }
    let ring = Ring {
        early: connect.early,
        has_music: connect.music.is_some(),
        timeout: connect.ring_timeout,
        caller_id: connect.caller_id.as_deref(),
        whisper: connect.whisper.as_ref(),
    };
    let most = if connect.parallel { PARALLEL_MAX } else { 1 };
    let mut last = UNREACHED;
    for group in targets.chunks(most) {
        match ring_all(live, group, &ring).await? {
            Rang::Answered(talk) => {
                if connect.record {
                    record(live).await;
                }
                talk.until_over(live, connect.time_limit, None).await;
                let _none = live
                    .switch()
                    .stop_recording(&live.sid, Some(RECORDING), false);
                return Ok(connect.answered);
            }
            Rang::Nobody(cause) => last = cause,
        }
    }
    live.hush().await;
    let next = match last.status(false) {
        LegStatus::Busy => connect.busy,
        LegStatus::NoAnswer => connect.no_answer,
        _ => connect.failed,
    };
    // A flow that goes on nowhere refuses as the called did.
    match next {
        None if !live.is_answered() => Err(Over(match last {
            Cause::TIMEOUT => UNANSWERED,
            other => other,
        })),
        next => Ok(next),
    }
}

/// What stands for the call's own in a target.
pub(super) fn filled(live: &Live, to: &str) -> String {
    to.replace("{caller}", &live.from)
        .replace("{called}", &live.to)
        .replace("{digits}", &live.digits())
}

async fn record(live: &Live) {
    let request = RecordRequest {
        name: RECORDING,
        layout: RecordLayout::Stereo,
        left: Some(Participants::Tag(CALLER)),
        ..RecordRequest::default()
    };
    match live.switch().start_recording(&live.sid, &request).await {
        Ok(started) => live.recorded(RECORDING, &started.path),
        Err(error) => live.warn("not recorded", &error),
    }
}

/// Calls all of them at once; the first that answers is joined with the caller.
pub(super) async fn ring_all(
    live: &Arc<Live>,
    targets: &[String],
    ring: &Ring<'_>,
) -> Result<Rang, Over> {
    live.introduce().await?;
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let mut callees: Vec<Option<Callee>> = Vec::with_capacity(targets.len());
    let mut last = UNREACHED;
    for (ix, to) in targets.iter().enumerate() {
        callees.push(call(live, to, ix, ring, &sender));
    }
    drop(sender);
    let end = Instant::now() + ring.timeout;
    // Whose early media the caller hears.
    let mut early = None;
    while callees.iter().any(Option::is_some) {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(end) => {
                hang_up_all(callees, Cause::TIMEOUT);
                return Ok(Rang::Nobody(UNANSWERED));
            }
        };
        let Some((ix, event)) = event else { break };
        let Some(callee) = callees.get(ix).and_then(Option::as_ref) else {
            continue;
        };
        match event {
            LegEvent::Ringing => ringing(live, ring, early.is_some()).await?,
            LegEvent::Progress(sdp) => match progress(live, callee, &sdp, ring).await? {
                true => early = early.or(Some(ix)),
                false => ringing(live, ring, early.is_some()).await?,
            },
            LegEvent::Answered(sdp) => {
                let Some(winner) = callees[ix].take() else {
                    continue;
                };
                live.desk.ledger.answered(&live.sid, &winner.branch.leg);
                // Who has lost is told so before anything else is done.
                hang_up_all(callees, Cause::CANCELLED);
                let mut talk = Talk {
                    callee: winner,
                    ix,
                    events,
                };
                return Ok(match talk.begin(live, &sdp, ring).await? {
                    true => Rang::Answered(Box::new(talk)),
                    false => Rang::Nobody(UNREACHED),
                });
            }
            LegEvent::Ended(Ending { cause, .. }) => {
                last = cause;
                callees[ix] = None;
                early = early.filter(|early| *early != ix);
            }
            LegEvent::Offer(offer) => {
                // Not before it has answered.
                let _gone = offer.reply.send(Err(Cause(488)));
            }
            LegEvent::Digit(..) => {}
            // Dropped: declined.
            LegEvent::Transfer(_) => {}
        }
    }
    hang_up_all(callees, Cause::CANCELLED);
    Ok(Rang::Nobody(last))
}

fn hang_up_all(callees: Vec<Option<Callee>>, cause: Cause) {
    for callee in callees.into_iter().flatten() {
        callee.hang_up(cause);
    }
}

fn call(
    live: &Arc<Live>,
    to: &str,
    ix: usize,
    ring: &Ring<'_>,
    events: &mpsc::Sender<(usize, LegEvent)>,
) -> Option<Callee> {
    let mask = live.masked();
    let from = ring.caller_id.map(str::to_owned).or_else(|| mask.clone());
    let from = from.unwrap_or_else(|| live.from.clone());
    let branch = Branch::new(is_local(to), &from, to);
    let sdp = match live.offer_to(&branch, Some(policy(ring.early))) {
        Ok(sdp) => sdp,
        Err(error) => {
            live.warn("nothing to offer", &error);
            return None;
        }
    };
    let headers = headers(live, &branch.leg, mask.is_some());
    let display = live.display.clone().filter(|_| mask.is_none());
    let outgoing = Outgoing {
        to: to.to_owned(),
        from,
        display: display.filter(|_| ring.caller_id.is_none()),
        headers,
        sdp: sdp.into_bytes(),
        ring_timeout: ring.timeout,
        max_forwards: None,
    };
    let heard = Hearer {
        ix,
        events: events.clone(),
    };
    Some(Callee::dial(live, branch, outgoing, None, heard))
}

/// What a callee is told beside its offer: what the caller's INVITE had, unless that is masked, and
/// the SIDs of the call, unless it has one from where it came from, and of the leg.
pub(super) fn headers(live: &Live, leg: &str, is_masked: bool) -> Vec<(String, String)> {
    let mut headers = match is_masked {
        true => Vec::new(),
        false => live.headers.clone(),
    };
    let is = |known: &'static str| move |(name, _): &(String, _)| name.eq_ignore_ascii_case(known);
    headers.retain(|header| !is(LEG_SID)(header));
    if !headers.iter().any(is(CALL_SID)) {
        headers.push((CALL_SID.to_owned(), live.sid.clone()));
    }
    headers.push((LEG_SID.to_owned(), leg.to_owned()));
    headers
}

/// Somebody rings: the caller hears that, if nothing else.
async fn ringing(live: &Live, ring: &Ring<'_>, has_early: bool) -> Result<(), Over> {
    live.ring(false).await?;
    if !ring.has_music && !has_early {
        live.ringback();
    }
    Ok(())
}

/// Somebody may have early media; whether it has.
async fn progress(live: &Live, callee: &Callee, sdp: &[u8], ring: &Ring<'_>) -> Result<bool, Over> {
    let audio = Audio::of(sdp).filter(|_| ring.early != Early::Ringback && !ring.has_music);
    let Some(audio) = audio else {
        return Ok(false);
    };
    if let Err(error) = live.take_answer(&callee.branch, &audio, true, None) {
        live.warn("no early media", &error);
        return Ok(false);
    }
    live.ring(true).await?;
    live.end_ringback().await;
    Ok(true)
}
