//! Attended transfers: who stays of one call takes the place of whoever asked in another one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::{Outcome, failure, hand_over, leave, still};
use crate::flow::run::live::{Branch, Live};
use crate::flow::run::sdp::Audio;
use crate::flow::run::seat::{Command, Newcomer, Side};
use crate::sip::{Cause, Leg, LegError, LegEvents, TransferProgress};

/// How long a task may take to give its leg away.
const RELEASE_MAX: Duration = Duration::from_secs(5);
/// How often a party that offers anew at the same moment (491) is offered again.
const OFFERS_MAX: u32 = 4;
/// How long is waited before that (RFC 3261 section 14.1: 2.1 to 4 s for who made the call).
const OFFER_AGAIN: Duration = Duration::from_millis(2_100);

/// A party of this call is on its way into another one: of one call only one at a time, for each
/// would wait until the other has given its leg away. Dropping it ends that.
pub(super) struct Moving(Arc<Live>);

impl Moving {
    /// `None`: another one is.
    pub(super) fn begin(live: &Arc<Live>) -> Option<Self> {
        (!live.set_moving(true)).then(|| Self(Arc::clone(live)))
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.set_moving(false);
    }
}

pub(super) async fn attended(
    live: Arc<Live>,
    side: Side,
    place: (Arc<Live>, String),
    progress: TransferProgress,
) -> Outcome {
    match move_over(&live, side.other(), place, &progress).await {
        Ok(()) => Outcome::Moved,
        Err(cause) => {
            tracing::info!(call_id = %live.sid, cause = cause.0, "a transfer failed");
            progress.tell(failure(cause));
            Outcome::Failed
        }
    }
}

/// Takes the party at `side` of one call into the place of a leg of another one.
///
/// # Errors
/// Why it stays where it is.
async fn move_over(
    live: &Arc<Live>,
    side: Side,
    (other, replaced): (Arc<Live>, String),
    progress: &TransferProgress,
) -> Result<(), Cause> {
    let gone = Cause(481);
    let party = live.party(side).ok_or(gone)?;
    let place = other.side_of(&replaced).ok_or(gone)?;
    let branch = Branch::new(party.is_local, &party.from, &party.to).with(&party.leg);
    let told = other.offer_place(place, &branch)?;
    let joined = async {
        let sdp = reoffer(&party.leg, &told).await?;
        let released = async {
            // Meanwhile that call may have ended, or another one may have come.
            still(&other, place, &replaced)?;
            Audio::of(&sdp).ok_or(Cause(488))?;
            release(live, side).await
        };
        let (events, home) = match released.await {
            Ok(released) => released,
            Err(cause) => {
                bring_back(live, side, &party.leg).await;
                return Err(cause);
            }
        };
        still(&other, place, &replaced)?;
        other.sit_by_answer(place, &branch, &told, &sdp).await?;
        Ok((events, home))
    };
    let (events, home) = match joined.await {
        Ok(joined) => joined,
        Err(cause) => {
            leave(&other, place, &branch).await;
            return Err(cause);
        }
    };
    let newcomer = Newcomer::new(&other, branch, events);
    hand_over(&other, place, newcomer, &party, &replaced).await?;
    progress.tell(Cause::HANG_UP);
    // An error: the call that it came from has ended meanwhile.
    let _ended = home.send(());
    Ok(())
}

/// Offers whoever was to go its own call again.
async fn bring_back(live: &Live, side: Side, leg: &Leg) {
    let back = async {
        let told = live.offer_again(side)?;
        let sdp = reoffer(leg, &told).await?;
        live.takes_again(side, told, &sdp)
    };
    if let Err(cause) = back.await {
        tracing::warn!(call_id = %live.sid, cause = cause.0, "not back in its call");
    }
}

/// Offers anew, and again to a party that does so at the same moment.
async fn reoffer(leg: &Leg, sdp: &str) -> Result<Vec<u8>, Cause> {
    for _ in 1..OFFERS_MAX {
        match leg.reoffer(sdp.as_bytes()).await {
            Err(LegError::Refused(491)) => sleep(OFFER_AGAIN).await,
            other => return other.map_err(refused),
        }
    }
    leg.reoffer(sdp.as_bytes()).await.map_err(refused)
}

fn refused(error: LegError) -> Cause {
    match error {
        LegError::Refused(code) => Cause(code),
        _ => Cause(480),
    }
}

/// Has the task of a leg give it away; it is told by the sender when the leg is at home elsewhere.
async fn release(live: &Live, side: Side) -> Result<(LegEvents, oneshot::Sender<()>), Cause> {
    let gone = Cause(480);
    let ((to, events), (home, done)) = (oneshot::channel(), oneshot::channel());
    if !live.command(side, Command::Release { to, done }) {
        return Err(gone);
    }
    match timeout(RELEASE_MAX, events).await {
        Ok(Ok(events)) => Ok((events, home)),
        Ok(Err(_)) | Err(_) => Err(gone),
    }
}
