//! The caller while its call lives: what it asks for by signalling, and who takes its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::live::{CALLER, Live};
use super::seat::{Command, Inbox, Newcomer, Placed, Side};
use super::transfer::{self, Outcome, Transfer};
use crate::sip::{Cause, EndedBy, Ending, LegEvent, LegEvents, TransferAsked};
use crate::switch::Participants;

/// How long a leg that was given away may take to be at home elsewhere.
pub(super) const MOVE_MAX: Duration = Duration::from_secs(10);

/// Watches whoever is in the caller's place.
pub(super) struct Watch {
    /// `None`: given away.
    events: Option<LegEvents>,
    commands: tokio::sync::mpsc::Receiver<Command>,
    placed: Placed,
    transfer: Option<Transfer>,
    ended: Option<Ending>,
}

impl Watch {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self {
            events: Some(inbox.events),
            commands: inbox.commands,
            placed: inbox.placed,
            transfer: None,
            ended: None,
        }
    }

    /// Does what the caller asks for, until it is gone and nobody is to take its place.
    pub(super) async fn until_gone(&mut self, live: &Arc<Live>) -> Ending {
        loop {
            if let (Some(ending), None) = (self.ended, &self.transfer) {
                return ending;
            }
            tokio::select! {
                Some(command) = self.commands.recv() => match command {
                    Command::Adopt(newcomer) => self.adopt(live, *newcomer),
                    Command::Release { to, done } => self.release(to, done).await,
                },
                outcome = transfer::over(&mut self.transfer) => {
                    self.transfer = None;
                    match outcome {
                        Outcome::Caller(newcomer) => self.adopt(live, *newcomer),
                        Outcome::Moved => live.caller().0.hang_up(Cause::HANG_UP).await,
                        Outcome::Callee(..) | Outcome::Failed => {}
                    }
                }
                event = next(&mut self.events), if self.ended.is_none() => {
                    self.heard(live, event).await;
                }
            }
        }
    }

    /// The call is about to be over: nobody comes to sit here any more.
    pub(super) fn close(&mut self) {
        self.transfer = None;
        self.commands.close();
        // Whoever waits to sit down is hung up.
        while self.commands.try_recv().is_ok() {}
    }

    async fn heard(&mut self, live: &Arc<Live>, event: Option<LegEvent>) {
        match event {
            None => self.ended = Some(of_nobody()),
            Some(LegEvent::Ended(ending)) => {
                self.ended = Some(ending);
                if self.transfer.is_some() {
                    live.end_caller(ending, live.received_so_far().await);
                }
            }
            Some(LegEvent::Offer(offer)) => {
                let answer = live.caller_offers(offer.sdp.as_deref());
                // The one who asked is gone.
                let _gone = offer.reply.send(answer);
            }
            Some(LegEvent::Answered(sdp)) => live.caller_answers(&sdp),
            Some(LegEvent::Digit(key, _)) => {
                let who = Participants::Tag(CALLER);
                if let Err(error) = live.desk.switch.key_pressed(&live.sid, who, key) {
                    tracing::debug!(call_id = %live.sid, %error, "a key of no use");
                }
            }
            Some(LegEvent::Ringing | LegEvent::Progress(_)) => {}
            Some(LegEvent::Transfer(asked)) => self.transfer(live, asked),
        }
    }

    fn transfer(&mut self, live: &Arc<Live>, asked: TransferAsked) {
        match self.transfer {
            // One at a time.
            Some(_) => asked.reply.decline(Cause(491)),
            None => self.transfer = transfer::begin(live, Side::Caller, asked),
        }
    }

    /// Another one is in the caller's place; what is left of the one before is hung up.
    fn adopt(&mut self, live: &Arc<Live>, newcomer: Newcomer) {
        // What is told of its leg is told of the place from now on.
        let (branch, events) = newcomer.watched();
        self.placed = Placed::new(live, live.caller_id(), &branch.leg);
        self.events = Some(events);
        (self.transfer, self.ended) = (None, None);
    }

    async fn release(&mut self, to: oneshot::Sender<LegEvents>, done: oneshot::Receiver<()>) {
        let Some(events) = self.events.take() else {
            return;
        };
        if let Err(events) = to.send(events) {
            // Nobody waits for it any more.
            self.events = Some(events);
            return;
        }
        // However it went: this leg is not this call's any more.
        let _went = tokio::time::timeout(MOVE_MAX, done).await;
        self.transfer = None;
        self.ended = Some(Ending {
            cause: Cause::HANG_UP,
            by: EndedBy::Us,
        });
    }
}

async fn next(events: &mut Option<LegEvents>) -> Option<LegEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Of a leg whose task is gone without a word.
const fn of_nobody() -> Ending {
    Ending {
        cause: Cause(500),
        by: EndedBy::Nobody,
    }
}
