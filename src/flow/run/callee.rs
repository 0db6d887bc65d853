//! Somebody who is called: a task that dials, tells what becomes of it, and hangs up when nobody
//! wants it any more.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::ledger::{LegStarted, Quality};
use super::live::{Branch, Live};
use super::quality;
use super::target::Target;
use crate::sip::{Cause, EndedBy, Ending, LegError, LegEvent, Outgoing};
use crate::switch::SwitchError;

/// Events of all callees of a call that wait to be looked at.
pub(super) const EVENTS_MAX: usize = 256;

/// Somebody who is called. Dropping it hangs it up.
#[derive(Debug)]
pub(super) struct Callee {
    pub(super) branch: Branch,
    /// What it was offered.
    pub(super) told: String,
    /// What was received of it, once that is over.
    received: Arc<OnceLock<Quality>>,
    stop: Option<oneshot::Sender<Cause>>,
}

impl Callee {
    /// Hangs it up with a cause of its own.
    pub(super) fn hang_up(mut self, cause: Cause) {
        if let Some(stop) = self.stop.take() {
            // It may have ended already.
            let _ended = stop.send(cause);
        }
    }

    /// Takes its media out of the call.
    pub(super) async fn leave(&self, live: &Live) {
        leave(live, &self.branch.leg, &self.received).await;
    }

    /// Calls `call.to`.
    pub(super) fn dial(live: &Arc<Live>, branch: Branch, call: Outgoing, heard: Hearer) -> Self {
        let (stop, stopped) = oneshot::channel();
        let received: Arc<OnceLock<Quality>> = Arc::default();
        let task = Task {
            live: Arc::clone(live),
            leg: branch.leg.clone(),
            far: Arc::clone(&branch.far),
            heard,
            received: Arc::clone(&received),
            ending: Ending {
                cause: Cause::CANCELLED,
                by: EndedBy::Us,
            },
        };
        let told = String::from_utf8_lossy(&call.sdp).into_owned();
        live.desk.ledger.leg_started(&LegStarted {
            call: &live.sid,
            leg: &branch.leg,
            inbound: false,
            from: &call.from,
            to: &call.to,
        });
        tokio::spawn(task.run(call, stopped));
        Self {
            branch,
            told,
            received,
            stop: Some(stop),
        }
    }
}

/// Who is told what becomes of a callee, and as which of several.
#[derive(Debug)]
pub(super) struct Hearer {
    pub(super) ix: usize,
    pub(super) events: mpsc::Sender<(usize, LegEvent)>,
}

/// Takes a party's media out of its call; whether it went with the whole call.
async fn leave(live: &Live, leg: &str, received: &OnceLock<Quality>) -> bool {
    match live.desk.switch.leave(&live.sid, leg).await {
        Ok(Some(report)) => {
            let _told_before = received.set(quality::of(&report));
            false
        }
        Err(SwitchError::UnknownCall) => true,
        // It may have left before.
        Ok(None) | Err(_) => false,
    }
}

struct Task {
    live: Arc<Live>,
    leg: String,
    far: Arc<OnceLock<IpAddr>>,
    heard: Hearer,
    received: Arc<OnceLock<Quality>>,
    ending: Ending,
}

/// Whatever ends the task: its media is gone, and the leg is told of as ended.
impl Drop for Task {
    fn drop(&mut self) {
        let (live, leg) = (Arc::clone(&self.live), std::mem::take(&mut self.leg));
        let (received, ending) = (Arc::clone(&self.received), self.ending);
        // The runner's shutdown waits for it, too.
        let counted = live.desk.stop.subscribe();
        tokio::spawn(async move {
            let with_all = leave(&live, &leg, &received).await;
            if with_all
                && received.get().is_none()
                && let Some(quality) = live.received_of(&leg).await
            {
                let _first = received.set(quality);
            }
            let ledger = &live.desk.ledger;
            ledger.leg_ended(&live.sid, &leg, ending, received.get());
            drop(counted);
        });
    }
}

impl Task {
    async fn run(mut self, mut call: Outgoing, mut stopped: oneshot::Receiver<Cause>) {
        // As in `drop`.
        let _counted = self.live.desk.stop.subscribe();
        let agent = Arc::clone(&self.live.desk.agent);
        match Target::of(&call.to, self.live.hops, agent.listens()) {
            Ok(Target { to, hops }) => {
                (call.to, call.max_forwards) = (to, Some(hops));
            }
            Err(cause) => return self.fail(cause).await,
        }
        let dialled = tokio::select! {
            dialled = agent.dial(call) => dialled,
            cause = &mut stopped => {
                self.ending.cause = cause.unwrap_or(Cause::CANCELLED);
                return;
            }
        };
        let (leg, mut events) = match dialled {
            Ok(dialled) => dialled,
            Err(error) => {
                tracing::info!(call_id = %self.live.sid, leg = %self.leg, %error, "not dialled");
                return self.fail(refusal(&error)).await;
            }
        };
        let mut wanted = true;
        loop {
            tokio::select! {
                biased;
                cause = &mut stopped, if wanted => {
                    wanted = false;
                    leg.hang_up(cause.unwrap_or(Cause::HANG_UP)).await;
                }
                event = events.next() => match event {
                    None => return,
                    Some(event) => {
                        if let Some(far) = leg.far() {
                            // Who answers first is the one: others are not heard.
                            let _known = self.far.set(far);
                        }
                        self.tell(event, wanted).await;
                    }
                },
            }
        }
    }

    /// It was never dialled.
    async fn fail(&mut self, cause: Cause) {
        let by = EndedBy::Nobody;
        self.tell(LegEvent::Ended(Ending { cause, by }), true).await;
    }

    async fn tell(&mut self, event: LegEvent, wanted: bool) {
        let ledger = &self.live.desk.ledger;
        let (call, leg) = (&self.live.sid, &self.leg);
        match &event {
            LegEvent::Ringing | LegEvent::Progress(_) => ledger.ringing(call, leg),
            LegEvent::Ended(ending) => self.ending = *ending,
            // Only the first that answers is taken: that is decided where all are waited for.
            LegEvent::Answered(_)
            | LegEvent::Offer(_)
            | LegEvent::Digit(..)
            | LegEvent::Transfer(_) => {}
        }
        if wanted {
            // Nobody may be listening any more.
            let _unheard = self.heard.events.send((self.heard.ix, event)).await;
        }
    }
}

/// What nobody could be dialled by is to a call.
fn refusal(error: &LegError) -> Cause {
    match error {
        LegError::Refused(code) => Cause(*code),
        LegError::Nowhere(_) => Cause(404),
        _ => Cause(503),
    }
}
