//! Requests that come in: which dialog they are for, and what is done with those that are for none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::Dialog;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::platform::CancellationToken;
use rsipstack::sip::prelude::ToTypedHeader;
use rsipstack::sip::{Header, HeadersExt, Method, Request, StatusCode, Version};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::key::TransactionRole;
use rsipstack::transaction::transaction::Transaction;

use super::admission::source;
use super::cause::Cause;
use super::leg::Incoming;
use super::message;
use super::session::{self, Called, Dialogue, Reliable, Session, SessionTimer};
use super::shared::{Core, Seen, lock};
use super::sound::{self, FIELD_MAX};

/// What is said to wait to those that are too many (503), in seconds.
pub(super) const RETRY_AFTER: &str = "2";
/// How often and how long a request waits for a dialog that is just being made.
const MAKING: (u32, Duration) = (25, Duration::from_millis(10));

/// What a request is refused with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) headers: Vec<Header>,
}

impl Refusal {
    pub(super) const fn bare(code: u16) -> Self {
        Self::of(code, Vec::new())
    }

    pub(super) const fn of(code: u16, headers: Vec<Header>) -> Self {
        Self { code, headers }
    }

    fn busy(core: &Core) -> Self {
        core.counters.refused_busy();
        Self::of(503, vec![Header::RetryAfter(RETRY_AFTER.into())])
    }
}

/// Takes requests until the endpoint is stopped.
pub(super) async fn take_all(
    core: Arc<Core>,
    mut requests: TransactionReceiver,
    stop: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = requests.recv() => request,
        };
        let Some(tx) = request else { return };
        // Transactions do not end by themselves where the endpoint has.
        let taken = take(core.clone(), tx);
        tokio::spawn(stop.clone().run_until_cancelled_owned(taken));
    }
}

async fn take(core: Arc<Core>, mut tx: Transaction) {
    let outcome = match sound::is_within_dialog(&tx.original) {
        Err(refusal) => {
            core.counters.malformed();
            Err(refusal)
        }
        Ok(true) => within_dialog(&core, &mut tx).await,
        Ok(false) => out_of_dialog(&core, &mut tx).await,
    };
    if let Err(Refusal { code, headers }) = outcome {
        // Responses repeat the version of their request.
        tx.original.version = Version::V2;
        // An error is a connection that is gone.
        let _gone = tx.reply_with(StatusCode::from(code), headers, None).await;
    }
    if tx.original.method == Method::Invite {
        drain(&core, tx).await;
    }
}

/// Repeats final responses, and takes their ACK.
async fn drain(core: &Core, mut tx: Transaction) {
    let over = async { while tx.receive().await.is_some() {} };
    let _timed_out = tokio::time::timeout(core.patience(), over).await;
}

async fn within_dialog(core: &Arc<Core>, tx: &mut Transaction) -> Result<(), Refusal> {
    let Some(mut dialog) = dialog_of(core, tx).await else {
        return Err(Refusal::bare(481));
    };
    let state = dialog.state();
    match tx.original.method {
        Method::PRack => return acknowledge(core, &dialog, tx).await,
        Method::Bye if state.can_cancel() && dialog.role() == TransactionRole::Server => {
            // The stack leaves the INVITE without an answer (RFC 3261 section 15.1.2).
            let _ended = dialog.reject(Some(StatusCode::RequestTerminated), None);
            return Err(Refusal::bare(200));
        }
        Method::Bye | Method::Ack | Method::Cancel => {}
        Method::Options if !state.is_confirmed() => {
            return Err(Refusal::of(200, message::capabilities()));
        }
        // The stack leaves these without an answer before the ACK of the INVITE.
        Method::Invite | Method::Update if !state.is_confirmed() => {
            return Err(Refusal::bare(491));
        }
        _ if !state.is_confirmed() => return Err(Refusal::bare(481)),
        _ => {}
    }
    if let Err(error) = dialog.handle(tx).await {
        tracing::debug!(%error, "a request within a dialog");
    }
    // Requests older than the latest one (RFC 3261 section 12.2.2).
    match tx.last_response.is_none() && tx.original.method != Method::Ack {
        true => Err(Refusal::bare(500)),
        false => Ok(()),
    }
}

async fn acknowledge(core: &Core, dialog: &InviteDialog, tx: &Transaction) -> Result<(), Refusal> {
    let reliable = core
        .reliable
        .get(&dialog.id().to_string())
        .map(|r| r.clone());
    let Some((rseq, cseq, Method::Invite)) = tx.original.rack_value() else {
        return Err(Refusal::bare(400));
    };
    match reliable.is_some_and(|r| r.acknowledge(rseq, cseq)) {
        true => Err(Refusal::bare(200)),
        false => Err(Refusal::bare(481)),
    }
}

/// The dialog of a request. One that we just dialled is entered by the stack a moment after the
/// 2xx was acknowledged, so that a quick BYE may be there before it.
async fn dialog_of(core: &Core, tx: &Transaction) -> Option<InviteDialog> {
    let id = DialogId::try_from(tx).ok()?;
    let (times, pause) = MAKING;
    for attempt in 0.. {
        match core.dialogs.get_dialog(&id) {
            Some(Dialog::Invite(dialog)) => return Some(dialog),
            Some(_) => return None,
            None if attempt < times && core.dialled.contains_key(&id.call_id) => {
                tokio::time::sleep(pause).await;
            }
            // Once more, should it have been made between the two looks.
            None => break,
        }
    }
    match core.dialogs.get_dialog(&id) {
        Some(Dialog::Invite(dialog)) => Some(dialog),
        _ => None,
    }
}

async fn out_of_dialog(core: &Arc<Core>, tx: &mut Transaction) -> Result<(), Refusal> {
    match tx.original.method {
        Method::Invite => invite(core, tx).await,
        Method::Options if core.is_draining.load(Ordering::Relaxed) => Err(Refusal::busy(core)),
        Method::Options => Err(Refusal::of(200, message::capabilities())),
        Method::Register => register(core, tx),
        Method::Bye | Method::Info | Method::Update | Method::PRack => Err(Refusal::bare(481)),
        Method::Ack => Ok(()),
        _ => Err(Refusal::of(405, vec![message::allow_outside()])),
    }
}

fn register(core: &Core, tx: &Transaction) -> Result<(), Refusal> {
    let gone = || Refusal::bare(500);
    let source = source(tx).ok_or_else(gone)?;
    let user = core.user_of(&tx.original, source.ip())?;
    let to = tx.original.to_header().ok().and_then(|t| t.typed().ok());
    if to.map(|t| message::user(&t.uri)).as_ref() != Some(&user) {
        core.counters.refused_unknown();
        return Err(Refusal::bare(403));
    }
    let connection = tx.connection.as_ref().ok_or_else(gone)?;
    let flow = connection.get_remote_addr().cloned().ok_or_else(gone)?;
    let now = Instant::now();
    let bound = lock(&core.registrar).register(now, &user, &tx.original, &flow)?;
    Err(Refusal::of(200, bound))
}

async fn invite(core: &Arc<Core>, tx: &mut Transaction) -> Result<(), Refusal> {
    let seen = core.see(&tx.original).ok_or_else(|| Refusal::bare(482))?;
    let (mut dialog, id) = let_in(core, tx, seen)?;
    if let Err(error) = dialog.handle(tx).await {
        tracing::debug!(%error, "an INVITE");
    }
    core.reliable.remove(&id);
    Ok(())
}

/// Lets a call in, and starts its leg.
fn let_in(
    core: &Arc<Core>,
    tx: &Transaction,
    seen: Seen,
) -> Result<(InviteDialog, String), Refusal> {
    let request = &tx.original;
    let source = source(tx).ok_or_else(|| Refusal::bare(500))?;
    let is_draining = core.is_draining.load(Ordering::Relaxed);
    if is_draining {
        return Err(Refusal::busy(core));
    }
    if !message::accepts_sdp(request) {
        return Err(Refusal::bare(406));
    }
    let max_forwards = match message::max_forwards(request) {
        Ok(0) => return Err(Refusal::bare(483)),
        Ok(hops) => hops,
        Err(()) => return Err(Refusal::bare(400)),
    };
    let is_reliable = message::requires_reliable(request).map_err(|h| Refusal::of(420, h))?;
    let sdp = message::sdp(request).map_err(|h| Refusal::of(415, h))?;
    let timer = SessionTimer::asked(request, core.config.session_min)
        .map_err(|min| Refusal::of(422, vec![Header::MinSE(min.to_string().into())]))?;
    let is_own = core.is_own(tx, source);
    let by = match is_own {
        true => None,
        false => core.caller_of(request, source)?,
    };
    let replaces = core
        .replaced_by(request)
        .map_err(|Cause(code)| Refusal::bare(code))?;
    let slot = core.slot().ok_or_else(|| Refusal::busy(core))?;
    let room = core
        .incoming
        .try_reserve()
        .map_err(|_| Refusal::busy(core))?;
    let to = message::user(&request.uri);
    let (sender, states) = core.dialogs.new_dialog_state_channel();
    let connection = tx.connection.as_ref().ok_or_else(|| Refusal::bare(500))?;
    let contact = match (is_own, connection.get_remote_addr()) {
        (true, Some(ourselves)) => core.contact(&to, ourselves),
        _ => core.contact(&to, connection.get_addr()),
    };
    let layer = &core.dialogs;
    let dialog = layer
        .get_or_create_server_invite(tx, sender, None, Some(contact))
        .map_err(|_| Refusal::bare(400))?;
    let id = dialog.id().to_string();
    let reliable = is_reliable.then(|| {
        let cseq = message::cseq(request).unwrap_or_default();
        Arc::new(Reliable::new(cseq, fastrand::u32(1..)))
    });
    if let Some(reliable) = &reliable {
        core.reliable.insert(id.clone(), reliable.clone());
    }
    let (session, leg, events) = Session::new(core.clone(), Some((slot, seen)));
    let is_user = by.is_some() && !core.is_trunk(source.ip());
    leg.far.set(source.ip(), is_user);
    let from = request.from_header().ok().and_then(|f| f.typed().ok());
    room.send(Incoming {
        sip_call_id: dialog.id().call_id,
        to,
        from: from
            .as_ref()
            .map(|f| message::user(&f.uri))
            .unwrap_or_default(),
        display: from.and_then(|f| f.display_name),
        by,
        is_own,
        source,
        max_forwards,
        headers: passed(core, request),
        sdp,
        replaces,
        leg,
        events,
    });
    match is_own {
        true => core.counters.inner(),
        false => core.counters.let_in(),
    }
    tokio::spawn(session::serve(
        session,
        Called {
            call: Dialogue::new(dialog.clone(), states),
            invite: request.clone(),
            reliable,
            timer,
        },
    ));
    Ok((dialog, id))
}

/// Headers that flows are to see.
fn passed(core: &Core, request: &Request) -> Vec<(String, String)> {
    let names = core.config.pass_headers.iter();
    let found = names.filter_map(|name| {
        let value = request.header_value(name)?;
        (value.len() <= FIELD_MAX).then(|| (name.clone(), value))
    });
    found.collect()
}
