//! The task of a leg: everything that happens to it goes through here, one thing after another.
//!
//! A leg is a dialog of the stack, its owner's commands and the events for its owner. Until it is
//! answered [`uas`] or [`uac`] has it; then [`talk`]. Whatever ends it, its owner is told at
//! once, and the dialog is brought to its end after that.

mod offer;
mod refer;
mod reliable;
mod talk;
mod timer;
mod uac;
mod uas;

use std::sync::Arc;
use std::time::Duration;

use refer::Transfer;
pub(super) use reliable::Reliable;
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, TerminatedReason};
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::ContentType;
use rsipstack::sip::{Header, StatusCode};
use rsipstack::transaction::key::TransactionRole;
pub(super) use timer::{Refresher, SessionTimer};
use tokio::sync::mpsc;
pub(super) use uac::{TARGETS_MAX, dial};
pub(super) use uas::{Called, serve};

use super::cause::{Cause, EndedBy};
use super::leg::{Command, Ending, Far, LEG_EVENTS_MAX, Leg, LegError, LegEvent, LegEvents, LegId};
use super::shared::{Core, Entered, Seen, Slot};
use super::transfer::Stage;

/// Commands that wait; whoever gives more waits with them.
const COMMANDS_MAX: usize = 16;
/// Longest that the owner may take to answer an offer within a call; then 500.
pub(super) const OFFER_REPLY_MAX: Duration = Duration::from_secs(10);
/// Longest that a call that came in may ring; then 480.
pub(super) const RINGING_MAX: Duration = Duration::from_secs(600);

/// What a leg's task and its owner share.
#[derive(Debug)]
pub(super) struct Session {
    core: Arc<Core>,
    id: LegId,
    /// Where its messages come from.
    far: Far,
    /// It may be replaced.
    entered: Option<Entered>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<LegEvent>,
    /// Room for the last event, so that it always fits.
    last: Option<mpsc::OwnedPermit<LegEvent>>,
    /// Of a call that came in; given back when the leg ends.
    _slot: Option<(Slot, Seen)>,
}

impl Session {
    pub(super) fn new(core: Arc<Core>, slot: Option<(Slot, Seen)>) -> (Self, Leg, LegEvents) {
        let (to_leg, commands) = mpsc::channel(COMMANDS_MAX);
        let (events, from_leg) = mpsc::channel(LEG_EVENTS_MAX + 1);
        let last = events.clone().try_reserve_owned().ok();
        let id = core.leg_id();
        let far = Far::default();
        let session = Self {
            core,
            id,
            far: far.clone(),
            entered: None,
            commands,
            events,
            last,
            _slot: slot,
        };
        (
            session,
            Leg {
                id,
                far,
                commands: to_leg,
            },
            LegEvents { events: from_leg },
        )
    }

    /// It may be replaced by whoever knows this dialog.
    fn enter(&mut self, dialog: DialogId, stage: Stage) {
        // The one before first: it may be the same.
        self.entered = None;
        self.entered = Some(self.core.enter(dialog, self.id, stage));
    }

    /// Tells the owner.
    ///
    /// # Errors
    /// How the leg ends where the owner takes no events.
    fn tell(&self, event: LegEvent) -> Result<(), Ending> {
        use mpsc::error::TrySendError::{Closed, Full};
        self.events.try_send(event).map_err(|error| match error {
            Full(_) => {
                self.core.counters.events_lost();
                tracing::warn!(
                    max = LEG_EVENTS_MAX,
                    "events of a leg are not taken: it is ended"
                );
                Ending::by_us(Cause(500))
            }
            Closed(_) => Ending::by_us(Cause::HANG_UP),
        })
    }

    /// Tells the owner that it is over; nothing more is done for it then. The dialog may still have
    /// a way to its own end.
    fn end(mut self, ending: Ending) {
        if let Some(room) = self.last.take() {
            room.send(LegEvent::Ended(ending));
        }
    }
}

impl Drop for Session {
    /// The last event comes also from a leg whose task was broken off.
    fn drop(&mut self) {
        if let Some(room) = self.last.take() {
            room.send(LegEvent::Ended(Ending::by_nobody(Cause(500))));
        }
    }
}

impl Ending {
    pub(super) const fn by_us(cause: Cause) -> Self {
        Self {
            cause,
            by: EndedBy::Us,
        }
    }

    pub(super) const fn by_party(cause: Cause) -> Self {
        Self {
            cause,
            by: EndedBy::Party,
        }
    }

    pub(super) const fn by_nobody(cause: Cause) -> Self {
        Self {
            cause,
            by: EndedBy::Nobody,
        }
    }
}

/// A dialog of the stack, with what it tells.
pub(super) struct Dialogue {
    pub(super) dialog: InviteDialog,
    pub(super) states: DialogStateReceiver,
    /// The other end hung up before anybody looked.
    pub(super) hung_up: bool,
    /// The latest transfer that the other end asked for.
    transfer: Option<Transfer>,
}

impl Dialogue {
    pub(super) const fn new(dialog: InviteDialog, states: DialogStateReceiver) -> Self {
        Self {
            dialog,
            states,
            hung_up: false,
            transfer: None,
        }
    }

    /// Why it ended, as the stack says.
    fn ending(&self, reason: &TerminatedReason) -> Ending {
        let we_called = self.dialog.role() == TransactionRole::Client;
        match reason {
            TerminatedReason::UacBye if we_called => Ending::by_us(Cause::HANG_UP),
            TerminatedReason::UasBye if !we_called => Ending::by_us(Cause::HANG_UP),
            TerminatedReason::UacBye | TerminatedReason::UasBye => Ending::by_party(Cause::HANG_UP),
            TerminatedReason::UacCancel if we_called => Ending::by_us(Cause::CANCELLED),
            TerminatedReason::UacCancel => Ending::by_party(Cause::CANCELLED),
            TerminatedReason::Timeout => Ending::by_nobody(Cause::TIMEOUT),
            // A BYE before the answer: a leg that we refuse has ended before its dialog has.
            TerminatedReason::UasDecline if !we_called => Ending::by_party(Cause::CANCELLED),
            TerminatedReason::UacOther(code)
            | TerminatedReason::UasOther(code)
            | TerminatedReason::ProxyError(code) => Ending::by_party(Cause(code.code())),
            TerminatedReason::UacBusy | TerminatedReason::UasBusy => Ending::by_party(Cause(486)),
            TerminatedReason::UasDecline => Ending::by_party(Cause(603)),
            TerminatedReason::ProxyAuthRequired => Ending::by_party(Cause(407)),
        }
    }

    /// Brings the dialog of a leg that has ended to its end, and forgets it.
    async fn finish(mut self, core: &Core, ending: Ending) {
        tokio::select! {
            biased;
            // Nothing goes out any more, and nothing comes in.
            () = core.stop.cancelled() => {}
            () = self.settle(core, ending) => {}
        }
        core.dialogs.remove_dialog(&self.dialog.id());
    }

    async fn settle(&mut self, core: &Core, ending: Ending) {
        if let Some(transfer) = self.transfer.take() {
            transfer.finish().await;
        }
        if self.dialog.state().can_cancel() && self.dialog.role() == TransactionRole::Server {
            let code = StatusCode::from(refusal(ending.cause).0);
            // An error is a transaction that has ended by itself.
            let _ended = self.dialog.reject(Some(code), None);
        }
        if self.dialog.state().waiting_ack() {
            self.until_acknowledged(core).await;
        }
        if self.dialog.state().is_confirmed() {
            let reason = match ending.cause {
                Cause::HANG_UP => None,
                Cause(code) => Some(vec![Header::Reason(format!("SIP;cause={code}").into())]),
            };
            if let Err(error) = self.dialog.bye_with_headers(reason).await {
                tracing::debug!(%error, "a BYE was not answered");
            }
        }
    }

    /// A callee's BYE waits for the ACK, or for the transaction's end (RFC 3261 section 15).
    async fn until_acknowledged(&mut self, core: &Core) {
        let over = async {
            while let Some(state) = self.states.recv().await {
                if state.is_confirmed() || state.is_terminated() {
                    return;
                }
            }
        };
        let _timed_out = tokio::time::timeout(core.patience(), over).await;
    }
}

/// The code that refuses a call: causes that are no failure are turned into 603 Decline.
fn refusal(cause: Cause) -> Cause {
    match cause.0 {
        300..=699 if cause != Cause::CANCELLED => cause,
        _ => Cause(603),
    }
}

/// For a body of SDP.
pub(super) fn sdp_type() -> Header {
    Header::ContentType(ContentType::new("application/sdp"))
}

/// Whether a state is the end, and how it came about.
fn ended(call: &Dialogue, state: &DialogState) -> Result<(), Ending> {
    match state {
        DialogState::Terminated(_, reason) => Err(call.ending(reason)),
        _ => Ok(()),
    }
}

/// Answers commands that do not fit the state of a leg.
fn unfitting(command: Command) {
    match command {
        Command::Ring(_, done) | Command::Answer(_, done) => {
            let _gone = done.send(Err(LegError::Ended));
        }
        Command::Reoffer(_, done) => {
            let _gone = done.send(Err(LegError::Ended));
        }
        Command::HangUp(_, done) => {
            let _gone = done.send(());
        }
    }
}
