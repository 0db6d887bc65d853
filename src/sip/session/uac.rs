//! A call that we make, until it is answered.

use std::collections::VecDeque;
use std::time::Duration;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::{DialogState, TerminatedReason};
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::sip::{Header, Response, Uri};
use rsipstack::transport::SipAddr;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::talk::Talk;
use super::{Dialogue, Session, SessionTimer, unfitting};
use crate::sip::cause::Cause;
use crate::sip::leg::{Command, Ending, LegEvent};
use crate::sip::message;
use crate::sip::route::{Plan, Target};
use crate::sip::transfer::Stage;

/// Redirections (3xx) that one call follows.
pub(in crate::sip) const REDIRECTS_MAX: usize = 5;
/// Addresses that one call tries.
pub(in crate::sip) const TARGETS_MAX: usize = 16;
/// Longest that a connection to the next hop may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What the stack's task of an INVITE comes back with.
type Invited = rsipstack::Result<(DialogId, Option<Response>)>;

/// One INVITE under way.
struct Attempt {
    call: Dialogue,
    invite: JoinHandle<Invited>,
    /// Where it went.
    to: SipAddr,
    /// The stack takes requests within this dialog only after the INVITE's task has ended.
    _dialling: crate::sip::shared::Dialling,
}

/// How the way to an answer ended.
struct Unanswered {
    ending: Ending,
    open: Option<Box<Attempt>>,
}

impl From<Ending> for Unanswered {
    fn from(ending: Ending) -> Self {
        Self { ending, open: None }
    }
}

/// What became of one attempt.
enum Outcome {
    Answered(Response),
    Refused(Response),
    /// The stack could not bring it to an end.
    Broken,
}

/// Carries a call of ours from the INVITE to its end.
pub(in crate::sip) async fn dial(mut session: Session, plan: Plan) {
    let core = session.core.clone();
    let (ending, call) = match ring(&mut session, plan).await {
        Ok(mut talk) => {
            let ending = talk.run(&mut session).await;
            (ending, talk.call)
        }
        Err(Unanswered { ending, open }) => {
            session.end(ending);
            if let Some(attempt) = open {
                attempt.abandon(&core, ending).await;
            }
            return;
        }
    };
    session.end(ending);
    call.finish(&core, ending).await;
}

async fn ring(session: &mut Session, plan: Plan) -> Result<Talk, Unanswered> {
    let over = Instant::now() + plan.call.ring_timeout;
    let mut targets: VecDeque<Target> = plan.targets.iter().take(TARGETS_MAX).cloned().collect();
    let mut tried: Vec<Uri> = Vec::new();
    let mut redirects = 0;
    let mut ending = Ending::by_nobody(Cause(480));
    let mut heard = Heard::default();
    while let Some(target) = targets.pop_front() {
        if tried.contains(&target.uri) || tried.len() == TARGETS_MAX {
            continue;
        }
        tried.push(target.uri.clone());
        let mut attempt = match attempt(session, &plan, &target, over).await {
            Ok(attempt) => attempt,
            Err(_) if target.sent_by.is_some() => continue,
            Err(failed) => {
                ending = failed;
                continue;
            }
        };
        match wait(session, &mut attempt, &mut heard, over).await {
            Err(ending) => {
                let open = Some(Box::new(attempt));
                return Err(Unanswered { ending, open });
            }
            Ok(Outcome::Answered(response)) => {
                return answered(session, attempt, &plan, &response);
            }
            Ok(Outcome::Refused(response)) => {
                let code = response.status_code.code();
                ending = match code {
                    408 => Ending::by_nobody(Cause::TIMEOUT),
                    code => Ending::by_party(Cause(code)),
                };
                if (300..=302).contains(&code) && redirects < REDIRECTS_MAX {
                    redirects += 1;
                    let to = &attempt.to;
                    targets.extend(session.core.redirected(&response, &target, to));
                } else if !is_worth_another(code) {
                    return Err(ending.into());
                }
            }
            Ok(Outcome::Broken) => ending = Ending::by_nobody(Cause(503)),
        }
    }
    Err(ending.into())
}

/// Whether another address of the same party may still do: not where the party itself refused.
const fn is_worth_another(code: u16) -> bool {
    matches!(code, 300..=399 | 404 | 408 | 410 | 430 | 480 | 481 | 500..=599)
}

async fn attempt(
    session: &Session,
    plan: &Plan,
    target: &Target,
    over: Instant,
) -> Result<Attempt, Ending> {
    let core = &session.core;
    let limit = CONNECT_MAX.min(over.saturating_duration_since(Instant::now()));
    let found = timeout(limit, core.reach(target)).await;
    let Ok(Some(destination)) = found else {
        return Err(Ending::by_nobody(Cause(503)));
    };
    if core.is_guarded(target, &destination) {
        tracing::info!(to = %target.uri, "a redirection is not followed");
        return Err(Ending::by_nobody(Cause(403)));
    }
    if let Ok(address) = destination.get_socketaddr() {
        session.far.set(address.ip(), target.flow.is_some());
    }
    let to = destination.clone();
    let call_id = rsipstack::transaction::make_uuid_v4();
    let dialling = core.dialling(call_id.clone());
    let option = InviteOption {
        caller_display_name: plan.display(),
        caller: core.caller(&plan.call.from, target.domain.clone(), &destination),
        callee: target.uri.clone(),
        contact: core.contact(&plan.call.from, &destination),
        destination: Some(destination),
        offer: Some(plan.call.sdp.clone()),
        credential: target.credential.clone(),
        headers: Some(headers(plan)),
        call_id: Some(call_id),
        ..InviteOption::default()
    };
    let (sender, states) = core.dialogs.new_dialog_state_channel();
    let (dialog, invite) = core
        .dialogs
        .do_invite_async(option, sender)
        .map_err(|error| {
            tracing::debug!(%error, to = %target.uri, "an INVITE could not be made");
            Ending::by_nobody(Cause(503))
        })?;
    core.counters.dialled();
    Ok(Attempt {
        call: Dialogue::new(dialog, states),
        invite,
        to,
        _dialling: dialling,
    })
}

fn headers(plan: &Plan) -> Vec<Header> {
    let hops = plan.call.max_forwards.unwrap_or(message::MAX_FORWARDS);
    let mut headers = vec![
        Header::MaxForwards(u32::from(hops).into()),
        message::allow(),
        message::accept(),
    ];
    headers.extend(plan.headers.iter().cloned());
    headers
}

/// What the owner was told already.
#[derive(Default)]
struct Heard {
    rings: bool,
    early: Option<Vec<u8>>,
}

impl Heard {
    fn provisional(&mut self, session: &Session, response: &Response) -> Result<(), Ending> {
        match message::sdp(response) {
            Ok(Some(sdp)) if self.early.as_ref() != Some(&sdp) => {
                self.early = Some(sdp.clone());
                session.tell(LegEvent::Progress(sdp))
            }
            Ok(Some(_)) => Ok(()),
            // A body that is no SDP is no early media.
            Ok(None) | Err(_) if self.rings || response.status_code.code() == 199 => Ok(()),
            Ok(None) | Err(_) => {
                self.rings = true;
                session.tell(LegEvent::Ringing)
            }
        }
    }
}

async fn wait(
    session: &mut Session,
    attempt: &mut Attempt,
    heard: &mut Heard,
    over: Instant,
) -> Result<Outcome, Ending> {
    let stop = session.core.stop.clone();
    loop {
        tokio::select! {
            // Responses before the final one.
            biased;
            Some(state) = attempt.call.states.recv() => match state {
                DialogState::Early(dialog, response) => {
                    if !dialog.remote_tag.is_empty() {
                        session.enter(dialog, Stage::Rings);
                    }
                    heard.provisional(session, &response)?;
                }
                DialogState::Terminated(_, TerminatedReason::UasBye) => {
                    attempt.call.hung_up = true;
                }
                _ => {}
            },
            invited = &mut attempt.invite => return Ok(outcome(invited)),
            Some(command) = session.commands.recv() => match command {
                Command::HangUp(cause, done) => {
                    let _gone = done.send(());
                    return Err(Ending::by_us(abandoned(cause)));
                }
                other => unfitting(other),
            },
            () = session.events.closed() => return Err(Ending::by_us(Cause::CANCELLED)),
            () = stop.cancelled() => return Err(Ending::by_us(Cause(503))),
            () = sleep_until(over) => return Err(Ending::by_nobody(Cause::TIMEOUT)),
        }
    }
}

fn outcome(invited: Result<Invited, tokio::task::JoinError>) -> Outcome {
    match invited {
        Ok(Ok((_, Some(response)))) if response.status_code.code() == 200 => {
            Outcome::Answered(response)
        }
        Ok(Ok((_, Some(response)))) => Outcome::Refused(response),
        Ok(Ok((_, None))) => Outcome::Broken,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an INVITE failed");
            Outcome::Broken
        }
        Err(error) => {
            tracing::error!(%error, "the task of an INVITE ended by itself");
            Outcome::Broken
        }
    }
}

fn answered(
    session: &Session,
    attempt: Attempt,
    plan: &Plan,
    response: &Response,
) -> Result<Talk, Unanswered> {
    let Ok(Some(sdp)) = message::sdp(response) else {
        // A 2xx without an answer: the session cannot begin, and is ended by BYE.
        return Err(Unanswered {
            ending: Ending::by_nobody(Cause(488)),
            open: Some(Box::new(attempt)),
        });
    };
    session
        .tell(LegEvent::Answered(sdp))
        .map_err(Unanswered::from)?;
    session.core.counters.answered();
    if attempt.call.hung_up {
        session
            .core
            .dialogs
            .remove_dialog(&attempt.call.dialog.id());
        return Err(Ending::by_party(Cause::HANG_UP).into());
    }
    let timer = SessionTimer::agreed(response);
    let call = attempt.call;
    call.reach(response);
    Ok(Talk::new(call, plan.call.sdp.clone(), timer).with_peer(response))
}

/// What an ordinary hang-up is before the answer.
fn abandoned(cause: Cause) -> Cause {
    match cause {
        Cause::HANG_UP => Cause::CANCELLED,
        other => other,
    }
}

impl Attempt {
    /// Cancels it; should it be answered meanwhile, the stack ends that by BYE.
    async fn abandon(mut self, core: &crate::sip::shared::Core, ending: Ending) {
        if self.call.dialog.state().can_cancel() {
            let dialog = self.call.dialog.clone();
            let cancel = async move {
                if let Err(error) = dialog.cancel().await {
                    tracing::debug!(%error, "a CANCEL was not answered");
                }
            };
            tokio::spawn(core.stop.clone().run_until_cancelled_owned(cancel));
            let answered = core.stop.run_until_cancelled(&mut self.invite);
            if !matches!(timeout(core.patience(), answered).await, Ok(Some(_))) {
                self.invite.abort();
            }
        }
        self.call.finish(core, ending).await;
    }
}
