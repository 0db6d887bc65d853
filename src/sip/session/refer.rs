//! Transfers: the answer to a REFER, and what is told of it by NOTIFY (RFC 3515).

use std::time::Duration;

use rsipstack::dialog::dialog::TransactionHandle;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::platform::CancellationToken;
use rsipstack::sip::headers::ContentType;
use rsipstack::sip::{Header, StatusCode};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::OFFER_REPLY_MAX;
use crate::sip::cause::Cause;
use crate::sip::transfer::Decision;

/// Transfers that one leg may ask for, one after another; more are declined.
pub(in crate::sip) const TRANSFERS_MAX: u32 = 32;
/// Longest that a transfer is told of.
const TRANSFER_MAX: Duration = Duration::from_secs(300);
/// Longest that the end of a leg waits for the answer to what is told last.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

/// A transfer that was asked for.
pub(super) struct Transfer {
    task: JoinHandle<Option<()>>,
    /// The leg has ended: only what is known already is told.
    hurry: CancellationToken,
}

impl Transfer {
    /// Answers the REFER with this CSeq as its owner decides; `first`: it is the leg's first.
    pub(super) fn begin(
        dialog: InviteDialog,
        handle: TransactionHandle,
        cseq: u32,
        first: bool,
        patience: Duration,
        decided: oneshot::Receiver<Decision>,
    ) -> Self {
        let hurry = CancellationToken::new();
        let event = match first {
            true => "refer".to_owned(),
            // Section 2.4.6.
            false => format!("refer;id={cseq}"),
        };
        let told = Told {
            dialog,
            event,
            until: Instant::now() + TRANSFER_MAX,
            hurry: hurry.clone(),
        };
        let gone = told.dialog.cancel_token().clone();
        let task = tokio::spawn(gone.run_until_cancelled_owned(async move {
            let decision = tokio::select! {
                biased;
                decision = timeout(OFFER_REPLY_MAX.min(patience), decided) => decision,
                () = told.hurry.cancelled() => return say(&handle, StatusCode::Decline).await,
            };
            match decision {
                Ok(Ok(Ok(progress))) => {
                    say(&handle, StatusCode::Accepted).await;
                    told.tell(progress).await;
                }
                Ok(Ok(Err(cause))) => {
                    say(&handle, StatusCode::from(super::refusal(cause).0)).await;
                }
                // Dropped, or too late.
                Ok(Err(_)) | Err(_) => say(&handle, StatusCode::Decline).await,
            }
        }));
        Self { task, hurry }
    }

    /// Whether it goes on.
    pub(super) fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// The leg has ended: what was told by now goes out before its BYE.
    pub(super) async fn finish(mut self) {
        self.hurry.cancel();
        if timeout(LAST_WORD_MAX, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Sends the final response; returns when it is gone: the stack closes the handle then.
async fn say(handle: &TransactionHandle, status: StatusCode) {
    while handle.reply(status.clone()).await.is_ok() {}
}

/// To whom, and under which name.
struct Told {
    dialog: InviteDialog,
    event: String,
    until: Instant,
    hurry: CancellationToken,
}

impl Told {
    async fn tell(self, mut progress: watch::Receiver<Cause>) {
        loop {
            let Cause(code) = *progress.borrow_and_update();
            let is_over = code >= 200;
            let state = match is_over {
                true => "terminated;reason=noresource".to_owned(),
                false => format!("active;expires={}", self.left().as_secs()),
            };
            if !self.notify(code, state).await || is_over {
                return;
            }
            let next = async {
                tokio::select! {
                    biased;
                    changed = progress.changed() => changed.map_err(|_| Some(Cause(500))),
                    () = self.hurry.cancelled() => Err(None),
                }
            };
            let last = match timeout_at(self.until, next).await {
                Ok(Ok(())) => continue,
                Ok(Err(None)) => return,
                Ok(Err(Some(Cause(failed)))) => (failed, "noresource"),
                Err(_) => (408, "timeout"),
            };
            let (code, reason) = last;
            self.notify(code, format!("terminated;reason={reason}"))
                .await;
            return;
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether the other end took it.
    async fn notify(&self, code: u16, state: String) -> bool {
        let status = StatusCode::from(code);
        let headers = vec![
            Header::Event(self.event.clone().into()),
            Header::SubscriptionState(state.into()),
            Header::ContentType(ContentType::new("message/sipfrag;version=2.0")),
        ];
        let line = format!("SIP/2.0 {code} {}\r\n", status.text());
        let sent = self.dialog.notify(Some(headers), Some(line.into_bytes()));
        match sent.await {
            Ok(Some(response)) => response.status_code.code() < 300,
            // The dialog has ended.
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(%error, "a NOTIFY was not answered");
                false
            }
        }
    }
}
