//! Somebody who is called: a task that dials, tells what becomes of it, and hangs up when nobody
//! wants it any more.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::ledger::{LegStarted, Quality};
use super::live::{Branch, Live};
use super::quality;
use super::seat::{Newcomer, Placed};
use super::target::Target;
use crate::sip::{Cause, EndedBy, Ending, Leg, LegError, LegEvent, LegEvents, Outgoing};
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
    stop: Option<oneshot::Sender<Stop>>,
}

/// What ends the task of a callee.
#[derive(Debug)]
enum Stop {
    HangUp(Cause),
    /// Its leg goes elsewhere; `stays`: in this very call.
    GiveUp {
        to: oneshot::Sender<LegEvents>,
        stays: bool,
    },
}

impl Callee {
    /// Hangs it up with a cause of its own.
    pub(super) fn hang_up(mut self, cause: Cause) {
        self.stop(Stop::HangUp(cause));
    }

    /// Gives its leg away, if it was dialled and has not ended: in another call it ends here, and
    /// where it `stays` in this one it goes on.
    pub(super) fn give_up(&mut self, to: oneshot::Sender<LegEvents>, stays: bool) {
        self.stop(Stop::GiveUp { to, stays });
    }

    fn stop(&mut self, stop: Stop) {
        if let Some(stopped) = self.stop.take() {
            // It may have ended already.
            let _ended = stopped.send(stop);
        }
    }

    /// Takes its media out of the call.
    pub(super) async fn leave(&self, live: &Live) {
        leave(live, &self.branch.leg, &self.received).await;
    }

    /// Calls `call.to`, maybe `instead_of` another leg.
    pub(super) fn dial(
        live: &Arc<Live>,
        branch: Branch,
        call: Outgoing,
        instead_of: Option<&str>,
        heard: Hearer,
    ) -> Self {
        let told = String::from_utf8_lossy(&call.sdp).into_owned();
        live.desk.ledger.leg_started(&LegStarted {
            call: &live.sid,
            leg: &branch.leg,
            inbound: false,
            from: &call.from,
            to: &call.to,
            instead_of,
        });
        let (callee, task, stopped) = Self::new(live, branch, told, heard);
        tokio::spawn(task.run(call, stopped));
        callee
    }

    /// Somebody who talks already.
    pub(super) fn adopt(live: &Arc<Live>, newcomer: Newcomer, heard: Hearer) -> Self {
        // The task tells how it ends.
        let (branch, events) = newcomer.watched();
        let leg = branch.sip.get().cloned();
        let (callee, task, stopped) = Self::new(live, branch, String::new(), heard);
        if let Some(leg) = leg {
            tokio::spawn(task.watch(leg, events, stopped));
        }
        callee
    }

    fn new(
        live: &Arc<Live>,
        branch: Branch,
        told: String,
        heard: Hearer,
    ) -> (Self, Task, oneshot::Receiver<Stop>) {
        let (stop, stopped) = oneshot::channel();
        let received: Arc<OnceLock<Quality>> = Arc::default();
        let task = Task {
            live: Arc::clone(live),
            branch: branch.clone(),
            heard,
            received: Arc::clone(&received),
            ending: Ending {
                cause: Cause::CANCELLED,
                by: EndedBy::Us,
            },
            stays: false,
        };
        let callee = Self {
            branch,
            told,
            received,
            stop: Some(stop),
        };
        (callee, task, stopped)
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
    branch: Branch,
    heard: Hearer,
    received: Arc<OnceLock<Quality>>,
    ending: Ending,
    /// The leg goes on in another place of this call.
    stays: bool,
}

/// Whatever ends the task: its media is gone, and the leg is told of as ended.
impl Drop for Task {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let (live, leg) = (Arc::clone(&self.live), self.branch.leg.clone());
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
    async fn run(mut self, mut call: Outgoing, mut stopped: oneshot::Receiver<Stop>) {
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
            stop = &mut stopped => {
                if let Ok(Stop::HangUp(cause)) = stop {
                    self.ending.cause = cause;
                }
                return;
            }
        };
        let (leg, events) = match dialled {
            Ok(dialled) => dialled,
            Err(error) => {
                let leg = &self.branch.leg;
                tracing::info!(call_id = %self.live.sid, %leg, %error, "not dialled");
                return self.fail(refusal(&error)).await;
            }
        };
        // It is dialled once.
        let _first = self.branch.sip.set(leg.clone());
        self.watch(leg, events, stopped).await;
    }

    /// Tells what becomes of it, until it is over or goes elsewhere.
    async fn watch(
        mut self,
        leg: Leg,
        mut events: LegEvents,
        mut stopped: oneshot::Receiver<Stop>,
    ) {
        let _counted = self.live.desk.stop.subscribe();
        let _placed = Placed::new(&self.live, leg.id(), &self.branch.leg);
        let mut wanted = true;
        loop {
            tokio::select! {
                biased;
                stop = &mut stopped, if wanted => {
                    wanted = false;
                    let cause = match stop {
                        Ok(Stop::GiveUp { to, stays }) => return self.give_up(events, to, stays),
                        Ok(Stop::HangUp(cause)) => cause,
                        Err(_dropped) => Cause::HANG_UP,
                    };
                    leg.hang_up(cause).await;
                }
                event = events.next() => match event {
                    None => return,
                    Some(event) => {
                        if let Some(far) = leg.far() {
                            // Who answers first is the one: others are not heard.
                            let _known = self.branch.far.set(far);
                        }
                        self.tell(event, wanted).await;
                    }
                },
            }
        }
    }

    fn give_up(mut self, events: LegEvents, to: oneshot::Sender<LegEvents>, stays: bool) {
        self.ending.cause = Cause::HANG_UP;
        // Whom nobody takes is hung up.
        self.stays = to.send(events).is_ok() && stays;
    }

    /// It was never dialled.
    async fn fail(&mut self, cause: Cause) {
        let by = EndedBy::Nobody;
        self.tell(LegEvent::Ended(Ending { cause, by }), true).await;
    }

    async fn tell(&mut self, event: LegEvent, wanted: bool) {
        let ledger = &self.live.desk.ledger;
        let (call, leg) = (&self.live.sid, &self.branch.leg);
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
