//! Offers within a call (RFC 3261 section 14, RFC 3311): theirs and ours.

use std::time::Duration;

use rsipstack::dialog::dialog::TransactionHandle;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{Header, HeadersExt, Request, Response, StatusCode};
use rsipstack::transaction::key::TransactionRole;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::talk::{Asked, Note};
use super::{Dialogue, OFFER_REPLY_MAX, SessionTimer, sdp_type};
use crate::sip::cause::Cause;
use crate::sip::leg::{LegError, OfferMade};
use crate::sip::message;

/// Attempts of an offer that meets one of the other end (491).
const GLARE_ATTEMPTS_MAX: u32 = 3;

/// The other end knows nothing of the call any more (RFC 3261 section 12.2.1.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost(pub(super) Cause);

impl Dialogue {
    /// The other end is where this message says (a target refresh, RFC 3261 section 12.2).
    pub(super) fn follow(&self, message: &impl HeadersExt) {
        follow(&self.dialog, message::contact(message));
    }

    /// The same of the message that made the dialog: the stack has its Contact, but would escape
    /// once more what is escaped in it.
    pub(super) fn reach(&self, message: &impl HeadersExt) {
        let contact = message.contact_header();
        if contact.is_ok_and(|c| c.value().contains('%')) {
            self.follow(message);
        }
    }
}

/// The stack keeps the first Contact of a dialog; later ones are set here.
fn follow(dialog: &InviteDialog, contact: Option<rsipstack::sip::Uri>) {
    use rsipstack::dialog::dialog::Dialog;
    if let Some(uri) = contact {
        Dialog::Invite(dialog.clone()).set_remote_target(uri, None);
    }
}

/// Hands an offer of the other end to the owner, and brings back what it says.
pub(super) fn reply(
    request: &Request,
    sdp: Option<Vec<u8>>,
    handle: TransactionHandle,
    dialog: InviteDialog,
    timer: Option<SessionTimer>,
    noted: mpsc::Sender<Note>,
) -> OfferMade {
    let (reply, answer) = oneshot::channel();
    let contact = message::contact(request);
    tokio::spawn(async move {
        let local: Result<Vec<u8>, Cause> = match timeout(OFFER_REPLY_MAX, answer).await {
            Ok(Ok(answer)) => answer,
            // Dropped, or too late.
            Ok(Err(_)) | Err(_) => Err(Cause(500)),
        };
        let (status, headers, body) = match &local {
            Ok(sdp) => {
                let mut headers = timer.map(|t| t.answer()).unwrap_or_default();
                headers.extend([sdp_type(), message::allow()]);
                (StatusCode::OK, Some(headers), Some(sdp.clone()))
            }
            Err(Cause(code @ 400..=699)) => (StatusCode::from(*code), None, None),
            Err(_) => (StatusCode::NotAcceptableHere, None, None),
        };
        if local.is_ok() {
            follow(&dialog, contact);
        }
        // Before the response: the next offer may be there as soon as that one is.
        let _over = noted.send(Note::Replied { local: local.ok() }).await;
        // An error is a transaction that has ended meanwhile.
        let _ended = handle.respond(status, headers, body).await;
    });
    OfferMade { sdp, reply }
}

/// Offers by re-INVITE; `done` hears the answer.
pub(super) fn make(
    dialog: &InviteDialog,
    sdp: Vec<u8>,
    mut headers: Vec<Header>,
    done: Option<Asked>,
    noted: mpsc::Sender<Note>,
) {
    let dialog = dialog.clone();
    headers.extend([sdp_type(), message::allow()]);
    let gone = dialog.cancel_token().clone();
    tokio::spawn(gone.run_until_cancelled_owned(async move {
        let response = offered(&dialog, &headers, &sdp).await;
        let local = is_success(&response).then_some(sdp);
        note(&dialog, &response, local, &noted).await;
        if let Some(done) = done {
            let _gone = done.send(response.and_then(answer));
        }
    }));
}

/// Refreshes the session by an UPDATE without an offer.
pub(super) fn refresh(dialog: &InviteDialog, headers: Vec<Header>, noted: mpsc::Sender<Note>) {
    let dialog = dialog.clone();
    let gone = dialog.cancel_token().clone();
    tokio::spawn(gone.run_until_cancelled_owned(async move {
        let sent = dialog.update(Some(headers), None).await;
        let response = sent.map_err(|e| LegError::Stack(e.to_string()));
        let response = response.and_then(|r| r.ok_or(LegError::Ended));
        note(&dialog, &response, None, &noted).await;
    }));
}

async fn offered(
    dialog: &InviteDialog,
    headers: &[Header],
    sdp: &[u8],
) -> Result<Response, LegError> {
    let mut attempt = 1;
    loop {
        let sent = dialog
            .reinvite(Some(headers.to_vec()), Some(sdp.to_vec()))
            .await;
        let response = sent
            .map_err(|e| LegError::Stack(e.to_string()))?
            .ok_or(LegError::Ended)?;
        if response.status_code != StatusCode::RequestPending || attempt == GLARE_ATTEMPTS_MAX {
            return Ok(response);
        }
        attempt += 1;
        tokio::time::sleep(back_off(dialog.role())).await;
    }
}

/// How long whoever met another offer waits (RFC 3261 section 14.1): the one that called 2.1–4 s,
/// the other 0–2 s, both in steps of 10 ms.
fn back_off(role: TransactionRole) -> Duration {
    let steps = match role {
        TransactionRole::Client => 210..=400,
        TransactionRole::Server => 0..=200,
    };
    Duration::from_millis(10 * fastrand::u64(steps))
}

fn is_success(response: &Result<Response, LegError>) -> bool {
    matches!(response, Ok(r) if (200..300).contains(&r.status_code.code()))
}

fn answer(response: Response) -> Result<Vec<u8>, LegError> {
    match response.status_code.code() {
        // One that brings none brings nothing to answer with either.
        200..300 => Ok(message::sdp(&response).ok().flatten().unwrap_or_default()),
        code => Err(LegError::Refused(code)),
    }
}

async fn note(
    dialog: &InviteDialog,
    response: &Result<Response, LegError>,
    local: Option<Vec<u8>>,
    noted: &mpsc::Sender<Note>,
) {
    let mut timer = None;
    let mut lost = None;
    match response {
        Ok(r) if (200..300).contains(&r.status_code.code()) => {
            follow(dialog, message::contact(r));
            timer = SessionTimer::agreed(r);
        }
        Ok(r) if [408, 481].contains(&r.status_code.code()) => {
            lost = Some(Lost(Cause(r.status_code.code())));
        }
        _ => {}
    }
    let _over = noted.send(Note::Offered { local, timer, lost }).await;
}
