//! One party's signalling: a dialog that was begun by them or by us.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::cause::{Cause, EndedBy};
use super::shared::lock;
use super::transfer::TransferAsked;
use crate::wire::event::Digit;

/// Events of a leg that wait to be taken; a leg whose owner takes none is ended.
pub const LEG_EVENTS_MAX: usize = 32;

/// Somebody calls.
#[derive(Debug)]
pub struct Incoming {
    /// SIP Call-ID of the INVITE.
    pub sip_call_id: String,
    /// What was called: the user part of the request URI.
    pub to: String,
    /// Who calls: the user part of From.
    pub from: String,
    /// The display name of From, if there is one.
    pub display: Option<String>,
    /// Name of the trunk or the user that it came by; `None`: a stranger (only where that is
    /// allowed).
    pub by: Option<String>,
    /// We ourselves call: it is the other end of an [`Outgoing`] of the same endpoint.
    pub is_own: bool,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// How many hops may follow, 1–255 (Max-Forwards): whoever passes the call on gives
    /// [`Outgoing::max_forwards`] one less.
    pub max_forwards: u8,
    /// Headers that are configured to be passed on, name and value.
    pub headers: Vec<(String, String)>,
    /// The offer; `None`: the offer is to be in our 2xx (RFC 3261 section 13.2.1).
    pub sdp: Option<Vec<u8>>,
    /// The leg that it takes the place of (RFC 3891), should it be answered: that one is to be hung
    /// up then. Whoever names it knows both of its tags.
    pub replaces: Option<LegId>,
    /// To act on it.
    pub leg: Leg,
    /// What becomes of it.
    pub events: LegEvents,
}

/// Whom to call, and as whom.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// A user of ours by name, `NAME@TRUNK` for a number over a trunk, or a `sip:`/`sips:` URI.
    pub to: String,
    /// User part of From.
    pub from: String,
    /// Display name of From.
    pub display: Option<String>,
    /// Headers to add, name and value; Max-Forwards is 70 unless it is among them.
    pub headers: Vec<(String, String)>,
    /// The offer.
    pub sdp: Vec<u8>,
    /// How long it may ring before it is cancelled.
    pub ring_timeout: Duration,
    /// How many hops may follow [default: 70]; a call with 0 is not made (483).
    pub max_forwards: Option<u8>,
}

impl Outgoing {
    /// Whether this can be [`Self::to`] as a URI; only a call shows whether anybody is there.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub fn check_uri(uri: &str) -> Result<(), String> {
        match rsipstack::sip::Uri::try_from(uri) {
            Ok(uri) if uri.host().to_string().is_empty() => Err("no host".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What becomes of a leg.
#[derive(Debug)]
pub enum LegEvent {
    /// The other end rings (180, or another 18x without SDP). Only of legs that we dialled.
    Ringing,
    /// 18x with SDP: there may be early media. Only of legs that we dialled.
    Progress(Vec<u8>),
    /// It was answered, with this SDP: of a leg that we dialled by its 2xx; of one that called, or
    /// asked anew, without an offer by its ACK.
    Answered(Vec<u8>),
    /// It offers anew (re-INVITE or UPDATE): hold, other codecs, another address.
    Offer(OfferMade),
    /// A key by INFO, and how long it was pressed.
    Digit(Digit, Duration),
    /// It wants to be transferred (REFER).
    Transfer(TransferAsked),
    /// It is over. Always the last event, and always comes.
    Ended(Ending),
}

/// An offer within a call, to be answered.
#[derive(Debug)]
pub struct OfferMade {
    /// The offer; `None`: we are asked for one.
    pub sdp: Option<Vec<u8>>,
    /// The answer, or why there is none (488).
    pub reply: oneshot::Sender<Result<Vec<u8>, Cause>>,
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// Who ended it.
    pub by: EndedBy,
}

/// Why a leg could not be told something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegError {
    /// It has ended, or has gone on meanwhile: a cancelled call cannot be answered.
    #[error("the leg has ended")]
    Ended,
    /// The other end refused, with this status code.
    #[error("refused with {0}")]
    Refused(u16),
    /// There is nowhere to send it: an unknown user, trunk or address.
    #[error("{0}")]
    Nowhere(String),
    /// The stack's own words.
    #[error("{0}")]
    Stack(String),
}

/// What becomes of one leg. Dropping it hangs the leg up.
#[derive(Debug)]
pub struct LegEvents {
    pub(super) events: mpsc::Receiver<LegEvent>,
}

impl LegEvents {
    /// The next event; `None` after [`LegEvent::Ended`].
    pub async fn next(&mut self) -> Option<LegEvent> {
        self.events.recv().await
    }
}

/// A leg among all that one [`UserAgent`](super::UserAgent) has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub(super) u64);

/// Where the messages of a leg come from, and whether a user of ours is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Far(Arc<Mutex<Option<(IpAddr, bool)>>>);

impl Far {
    pub(super) fn set(&self, ip: IpAddr, is_user: bool) {
        *lock(&self.0) = Some((ip, is_user));
    }
}

/// A leg to act on; cheap to clone. Dropping it does nothing: the leg hangs on its [`LegEvents`].
#[derive(Clone, Debug)]
pub struct Leg {
    pub(super) id: LegId,
    pub(super) far: Far,
    pub(super) commands: mpsc::Sender<Command>,
}

/// What a leg's owner wants of it.
#[derive(Debug)]
pub(super) enum Command {
    Ring(Option<Vec<u8>>, oneshot::Sender<Result<(), LegError>>),
    Answer(Vec<u8>, oneshot::Sender<Result<(), LegError>>),
    HangUp(Cause, oneshot::Sender<()>),
    Reoffer(Vec<u8>, oneshot::Sender<Result<Vec<u8>, LegError>>),
}

impl Leg {
    /// Which leg it is.
    #[must_use]
    pub const fn id(&self) -> LegId {
        self.id
    }

    /// Where its messages come from, which is where its media may come from as well, whatever its
    /// SDP says: of one that called where its INVITE came from, of one that we dialled where ours
    /// went to. `None`: nobody was reached yet.
    #[must_use]
    pub fn far(&self) -> Option<IpAddr> {
        lock(&self.far.0).map(|(ip, _)| ip)
    }

    /// Whether a user of ours is at the other end: one that called with its digest, or whose phone
    /// is registered and was called. Not one who is elsewhere and was reached by a redirection.
    #[must_use]
    pub fn is_user(&self) -> bool {
        lock(&self.far.0).is_some_and(|(_, is_user)| is_user)
    }

    /// Tells the caller that it rings: 180, or 183 with this SDP. Only of calls that came in; may
    /// be said again.
    ///
    /// # Errors
    /// [`LegError::Ended`], also of a leg that was answered or that we dialled.
    pub async fn ring(&self, sdp: Option<&[u8]>) -> Result<(), LegError> {
        self.ask(|done| Command::Ring(sdp.map(<[u8]>::to_vec), done))
            .await
    }

    /// Answers: 200 with this SDP. Only of calls that came in.
    ///
    /// # Errors
    /// [`LegError::Ended`]: it was cancelled before, is answered already, or we dialled it.
    pub async fn answer(&self, sdp: &[u8]) -> Result<(), LegError> {
        self.ask(|done| Command::Answer(sdp.to_vec(), done)).await
    }

    /// Ends it, whatever its state: rejects a call that came in and was not answered (with 603
    /// where the cause is no failure), cancels one of ours that was not, sends BYE in one that was.
    /// Nothing if it has ended. Returns at once; [`LegEvent::Ended`] follows.
    pub async fn hang_up(&self, cause: Cause) {
        let (done, heard) = oneshot::channel();
        if self
            .commands
            .send(Command::HangUp(cause, done))
            .await
            .is_ok()
        {
            // An error is a leg that has ended meanwhile, which is what was wanted.
            let _ended = heard.await;
        }
    }

    /// Offers anew (re-INVITE); returns the answer.
    ///
    /// # Errors
    /// [`LegError::Refused`] leaves all as it was; with 491 both ends offered at a time.
    pub async fn reoffer(&self, sdp: &[u8]) -> Result<Vec<u8>, LegError> {
        self.ask(|done| Command::Reoffer(sdp.to_vec(), done)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, LegError>>) -> Command,
    ) -> Result<T, LegError> {
        let (done, answer) = oneshot::channel();
        let sent = self.commands.send(command(done)).await;
        sent.map_err(|_| LegError::Ended)?;
        answer.await.unwrap_or(Err(LegError::Ended))
    }
}
