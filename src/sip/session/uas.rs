//! A call that came in, until it is answered.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, Request};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::reliable::{Reliable, Repeat};
use super::talk::Talk;
use super::{Dialogue, RINGING_MAX, Session, SessionTimer, ended, sdp_type, unfitting};
use crate::sip::cause::Cause;
use crate::sip::leg::{Command, Ending, LegError};
use crate::sip::message;

/// Proxies give up a call of which they hear nothing for three minutes (RFC 3261 section
/// 13.3.1.1), so the last response is said again every minute.
const REMINDER: Duration = Duration::from_secs(60);

/// Said when the owner has it.
type Done = oneshot::Sender<Result<(), LegError>>;

/// A call that came in.
pub(in crate::sip) struct Called {
    pub(in crate::sip) call: Dialogue,
    pub(in crate::sip) invite: Request,
    pub(in crate::sip) reliable: Option<Arc<Reliable>>,
    pub(in crate::sip) timer: Option<SessionTimer>,
}

/// Carries it from the INVITE to its end.
pub(in crate::sip) async fn serve(mut session: Session, called: Called) {
    called.call.reach(&called.invite);
    let mut ringing = Ringing {
        called,
        ring: None,
        repeat: None,
        queued: None,
        answer: None,
    };
    let (ending, call) = match ringing.until_answered(&mut session).await {
        Err(ending) => (ending, ringing.called.call),
        Ok(local) => {
            let called = ringing.called;
            let has_offer = matches!(message::sdp(&called.invite), Ok(Some(_)));
            let awaited = (!has_offer).then(|| message::cseq(&called.invite));
            let mut talk = Talk::new(called.call, local, called.timer)
                .with_peer(&called.invite)
                .awaiting(awaited.flatten());
            let ending = talk.run(&mut session).await;
            (ending, talk.call)
        }
    };
    let core = session.core.clone();
    session.end(ending);
    call.finish(&core, ending).await;
}

struct Ringing {
    called: Called,
    /// What was said last, to remind with: its SDP, and when next.
    ring: Option<(Option<Vec<u8>>, Instant)>,
    /// The reliable one that was not acknowledged yet.
    repeat: Option<Repeat>,
    /// What is to be said after it.
    queued: Option<Option<Vec<u8>>>,
    /// The answer, which waits for it.
    answer: Option<(Vec<u8>, Done)>,
}

impl Ringing {
    /// Returns the SDP it was answered with.
    async fn until_answered(&mut self, session: &mut Session) -> Result<Vec<u8>, Ending> {
        let over = Instant::now() + RINGING_MAX;
        let stop = session.core.stop.clone();
        loop {
            if let Some(local) = self.answered(session) {
                return Ok(local);
            }
            let reliable = self.called.reliable.clone();
            let again = self.repeat.as_ref().map(|r| r.next);
            let remind = self.ring.as_ref().map(|(_, at)| *at);
            tokio::select! {
                biased;
                state = self.called.call.states.recv() => match state {
                    Some(state) => ended(&self.called.call, &state)?,
                    None => return Err(Ending::by_nobody(Cause::TIMEOUT)),
                },
                Some(command) = session.commands.recv() => self.on_command(session, command)?,
                () = session.events.closed() => return Err(Ending::by_us(Cause(480))),
                () = stop.cancelled() => return Err(Ending::by_us(Cause(503))),
                () = async {
                    match reliable {
                        Some(reliable) => reliable.acknowledged.notified().await,
                        None => pending().await,
                    }
                } => self.on_acknowledged(session),
                () = wait(again) => self.on_unacknowledged()?,
                () = wait(remind), if self.repeat.is_none() => self.remind(session),
                () = sleep_until(over) => return Err(Ending::by_nobody(Cause(480))),
            }
        }
    }

    fn on_command(&mut self, session: &Session, command: Command) -> Result<(), Ending> {
        match command {
            Command::Ring(sdp, done) => {
                self.ring(session, sdp);
                let _gone = done.send(Ok(()));
            }
            Command::Answer(sdp, done) => self.answer = Some((sdp, done)),
            Command::HangUp(cause, done) => {
                let _gone = done.send(());
                return Err(Ending::by_us(super::refusal(cause)));
            }
            other => unfitting(other),
        }
        Ok(())
    }

    fn ring(&mut self, session: &Session, sdp: Option<Vec<u8>>) {
        let mut headers = vec![message::allow()];
        if sdp.is_some() {
            headers.push(sdp_type());
        }
        if let Some(reliable) = &self.called.reliable {
            let Some(more) = reliable.next() else {
                self.queued = Some(sdp);
                return;
            };
            headers.extend(more);
            let t1 = session.core.config.t1;
            self.repeat = Some(Repeat::new(headers.clone(), sdp.clone(), t1));
        }
        self.say(headers, sdp.clone());
        self.ring = Some((sdp, Instant::now() + REMINDER));
    }

    fn say(&self, headers: Vec<Header>, sdp: Option<Vec<u8>>) {
        // An error is a transaction that has ended, which the states tell as well.
        let _ended = self.called.call.dialog.ringing(Some(headers), sdp);
    }

    fn remind(&mut self, session: &Session) {
        if let Some((sdp, _)) = self.ring.take() {
            self.ring(session, sdp);
        }
    }

    fn on_acknowledged(&mut self, session: &Session) {
        self.repeat = None;
        if let Some(sdp) = self.queued.take() {
            self.ring(session, sdp);
        }
    }

    fn on_unacknowledged(&mut self) -> Result<(), Ending> {
        let Some(repeat) = &mut self.repeat else {
            return Ok(());
        };
        if !repeat.again() {
            // RFC 3262 section 3: a caller that requires this and does not do it.
            return Err(Ending::by_nobody(Cause(504)));
        }
        let (headers, sdp) = (repeat.headers.clone(), repeat.body.clone());
        self.say(headers, sdp);
        Ok(())
    }

    /// Sends the 200 that is wanted, unless a reliable response is before it.
    fn answered(&mut self, session: &Session) -> Option<Vec<u8>> {
        let is_open = |r: &Arc<Reliable>| r.is_open();
        if self.called.reliable.as_ref().is_some_and(is_open) {
            return None;
        }
        let (sdp, done) = self.answer.take()?;
        let mut headers = vec![sdp_type(), message::allow(), message::supported()];
        headers.extend(self.called.timer.iter().flat_map(SessionTimer::answer));
        let dialog = &self.called.call.dialog;
        let sent = dialog.accept(Some(headers), Some(sdp.clone()));
        if sent.is_err() || dialog.state().is_terminated() {
            // Cancelled: the state that says so is the next one.
            let _gone = done.send(Err(LegError::Ended));
            return None;
        }
        session.core.counters.answered();
        self.called.timer = self.called.timer.map(SessionTimer::again);
        let _gone = done.send(Ok(()));
        Some(sdp)
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}
