//! A leg that was answered.

use std::time::Duration;

use rsipstack::dialog::dialog::{DialogState, TransactionHandle};
use rsipstack::sip::{Header, HeadersExt, Method, Request, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::offer::{self, Lost};
use super::refer::{TRANSFERS_MAX, Transfer};
use super::{Dialogue, Refresher, Session, SessionTimer, ended, unfitting};
use crate::sip::cause::Cause;
use crate::sip::leg::{Command, Ending, LegError, LegEvent};
use crate::sip::message;
use crate::sip::transfer::{Stage, TransferReply};

/// What tasks of a leg tell it that wait for others.
const NOTES_MAX: usize = 8;

/// Who asked for an offer of ours.
pub(super) type Asked = oneshot::Sender<Result<Vec<u8>, LegError>>;

/// An answered leg.
pub(super) struct Talk {
    pub(super) call: Dialogue,
    timer: Option<SessionTimer>,
    session_min: Duration,
    /// The other end understands UPDATE.
    updates: bool,
    /// What we said last of ourselves, to say it again in a refresh.
    local: Vec<u8>,
    /// The INVITE, by CSeq, whose ACK will bring the answer.
    awaited: Option<u32>,
    /// An offer of ours, or a refresh, has no answer yet.
    is_offering: bool,
    /// An offer of theirs has no answer yet.
    is_answering: bool,
    /// An offer of ours that came before the ACK did.
    postponed: Option<(Vec<u8>, Asked)>,
    /// Transfers that they asked for.
    transfers: u32,
    notes: mpsc::Receiver<Note>,
    noted: mpsc::Sender<Note>,
}

/// What became of an offer.
#[derive(Debug)]
pub(super) enum Note {
    /// Ours: what we are now, where that changed; and how long the session is now.
    Offered {
        local: Option<Vec<u8>>,
        timer: Option<SessionTimer>,
        lost: Option<Lost>,
    },
    /// Theirs.
    Replied { local: Option<Vec<u8>> },
}

impl Talk {
    pub(super) fn new(call: Dialogue, local: Vec<u8>, timer: Option<SessionTimer>) -> Self {
        let (noted, notes) = mpsc::channel(NOTES_MAX);
        Self {
            call,
            timer,
            session_min: Duration::ZERO,
            updates: false,
            local,
            awaited: None,
            is_offering: false,
            is_answering: false,
            postponed: None,
            transfers: 0,
            notes,
            noted,
        }
    }

    /// What the other end says of itself in its INVITE or its 2xx.
    pub(super) fn with_peer(mut self, message: &impl HeadersExt) -> Self {
        self.updates = message::allows(message, Method::Update);
        self
    }

    /// The answer comes with the ACK of the INVITE of this CSeq.
    pub(super) fn awaiting(mut self, cseq: Option<u32>) -> Self {
        self.awaited = cseq;
        self
    }

    /// Until it is over.
    pub(super) async fn run(&mut self, session: &mut Session) -> Ending {
        let stop = session.core.stop.clone();
        self.session_min = session.core.config.session_min;
        session.enter(self.call.dialog.id(), Stage::Answered);
        loop {
            let due = self.timer.as_ref().map(SessionTimer::due);
            let step = tokio::select! {
                // What happened is looked at before what is wanted next, and what became of an
                // offer before the next one.
                biased;
                Some(note) = self.notes.recv() => self.on_note(note),
                state = self.call.states.recv() => match state {
                    Some(state) => self.on_state(session, state).await,
                    None => Err(Ending::by_nobody(Cause::TIMEOUT)),
                },
                Some(command) = session.commands.recv() => self.on_command(command),
                () = session.events.closed() => Err(Ending::by_us(Cause::HANG_UP)),
                () = stop.cancelled() => Err(Ending::by_us(Cause(503))),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.on_due()
                }
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    async fn on_state(&mut self, session: &Session, state: DialogState) -> Result<(), Ending> {
        ended(&self.call, &state)?;
        match state {
            DialogState::Confirmed(..) => self.on_confirmed(session),
            DialogState::Updated(_, request, handle) => {
                self.on_offer(session, request, handle).await
            }
            DialogState::Info(_, request, handle) => {
                let digit = message::digit(&request);
                let (status, headers) = match &digit {
                    Ok(_) => (StatusCode::OK, None),
                    Err(types) => (StatusCode::UnsupportedMediaType, Some(types.clone())),
                };
                respond(&handle, status, headers).await;
                match digit {
                    Ok(Some((digit, length))) => session.tell(LegEvent::Digit(digit, length)),
                    _ => Ok(()),
                }
            }
            DialogState::Options(_, _, handle) => {
                respond(&handle, StatusCode::OK, Some(message::capabilities())).await;
                Ok(())
            }
            DialogState::Refer(_, request, handle) => {
                self.on_refer(session, &request, handle).await
            }
            DialogState::Message(_, _, handle)
            | DialogState::Notify(_, _, handle)
            | DialogState::Publish(_, _, handle) => {
                let allow = Some(vec![message::allow()]);
                respond(&handle, StatusCode::MethodNotAllowed, allow).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_confirmed(&mut self, session: &Session) -> Result<(), Ending> {
        if let Some((sdp, done)) = self.postponed.take() {
            self.offer(sdp, done);
        }
        let Some(cseq) = self.awaited else {
            return Ok(());
        };
        let Some(ack) = self.call.dialog.last_remote_ack() else {
            return Ok(());
        };
        if message::cseq(&ack) != Some(cseq) {
            return Ok(());
        }
        self.awaited = None;
        match message::sdp(&ack) {
            Ok(Some(sdp)) => session.tell(LegEvent::Answered(sdp)),
            // It asked for an offer and left it unanswered.
            Ok(None) | Err(_) => Err(Ending::by_nobody(Cause(488))),
        }
    }

    async fn on_offer(
        &mut self,
        session: &Session,
        request: Request,
        handle: TransactionHandle,
    ) -> Result<(), Ending> {
        let timer = match SessionTimer::asked(&request, self.session_min) {
            Ok(timer) => timer,
            Err(min) => {
                let min = Some(vec![Header::MinSE(min.to_string().into())]);
                respond(&handle, StatusCode::SessionIntervalTooSmall, min).await;
                return Ok(());
            }
        };
        let sdp = match message::sdp(&request) {
            Ok(sdp) => sdp,
            Err(accept) => {
                respond(&handle, StatusCode::UnsupportedMediaType, Some(accept)).await;
                return Ok(());
            }
        };
        if sdp.is_none() && request.method == Method::Update {
            self.timer = timer;
            self.call.follow(&request);
            let headers = timer.map(|t| t.answer());
            respond(&handle, StatusCode::OK, headers).await;
            return Ok(());
        }
        if self.is_offering {
            respond(&handle, StatusCode::RequestPending, None).await;
            return Ok(());
        }
        if self.is_answering {
            let wait = Some(vec![Header::RetryAfter("1".into())]);
            respond(&handle, StatusCode::ServerInternalError, wait).await;
            return Ok(());
        }
        self.is_answering = true;
        self.timer = timer;
        if sdp.is_none() {
            self.awaited = message::cseq(&request);
        }
        let dialog = self.call.dialog.clone();
        let made = offer::reply(&request, sdp, handle, dialog, timer, self.noted.clone());
        session.tell(LegEvent::Offer(made))
    }

    async fn on_refer(
        &mut self,
        session: &Session,
        request: &Request,
        handle: TransactionHandle,
    ) -> Result<(), Ending> {
        let core = &session.core;
        let (reply, decided) = TransferReply::new();
        let asked = match core.asked(request, &self.call.dialog, reply) {
            _ if self.call.transfer.as_ref().is_some_and(Transfer::is_open) => Err(Cause(491)),
            _ if self.transfers == TRANSFERS_MAX => Err(Cause(603)),
            asked => asked,
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(Cause(code)) => {
                respond(&handle, StatusCode::from(code), None).await;
                return Ok(());
            }
        };
        self.transfers += 1;
        self.call.transfer = Some(Transfer::begin(
            self.call.dialog.clone(),
            handle,
            message::cseq(request).unwrap_or_default(),
            self.transfers == 1,
            core.config.t1 * 32,
            decided,
        ));
        session.tell(LegEvent::Transfer(asked))
    }

    fn on_note(&mut self, note: Note) -> Result<(), Ending> {
        match note {
            Note::Offered { local, timer, lost } => {
                self.is_offering = false;
                if let Some(Lost(cause)) = lost {
                    return Err(Ending::by_nobody(cause));
                }
                self.keep(local);
                if timer.is_some() {
                    self.timer = timer;
                }
            }
            Note::Replied { local } => {
                self.is_answering = false;
                if local.is_none() {
                    self.awaited = None;
                }
                self.keep(local);
            }
        }
        Ok(())
    }

    fn keep(&mut self, local: Option<Vec<u8>>) {
        if let Some(local) = local {
            self.local = local;
        }
    }

    fn on_command(&mut self, command: Command) -> Result<(), Ending> {
        match command {
            Command::HangUp(cause, done) => {
                let _gone = done.send(());
                return Err(Ending::by_us(cause));
            }
            Command::Reoffer(sdp, done) => {
                if self.is_offering || self.is_answering || self.postponed.is_some() {
                    let _gone = done.send(Err(LegError::Refused(491)));
                } else if self.call.dialog.state().is_confirmed() {
                    self.offer(sdp, done);
                } else {
                    self.postponed = Some((sdp, done));
                }
            }
            other => unfitting(other),
        }
        Ok(())
    }

    fn offer(&mut self, sdp: Vec<u8>, done: Asked) {
        self.is_offering = true;
        let timer = self.timer.map(|t| t.request()).unwrap_or_default();
        offer::make(
            &self.call.dialog,
            sdp,
            timer,
            Some(done),
            self.noted.clone(),
        );
    }

    /// The session timer is due.
    fn on_due(&mut self) -> Result<(), Ending> {
        let Some(timer) = self.timer else {
            return Ok(());
        };
        if timer.refresher() == Refresher::Them {
            return Err(Ending::by_nobody(Cause::TIMEOUT));
        }
        // The next one is counted from here; what the other end agrees to comes with its 2xx.
        self.timer = Some(timer.again());
        if self.is_offering || self.is_answering {
            return Ok(());
        }
        self.is_offering = true;
        let dialog = &self.call.dialog;
        match self.updates {
            true => offer::refresh(dialog, timer.request(), self.noted.clone()),
            false => {
                let sdp = self.local.clone();
                offer::make(dialog, sdp, timer.request(), None, self.noted.clone());
            }
        }
        Ok(())
    }
}

async fn respond(handle: &TransactionHandle, status: StatusCode, headers: Option<Vec<Header>>) {
    // An error is a transaction that has ended meanwhile.
    let _ended = handle.respond(status, headers, None).await;
}
