//! A call while it lives: who calls, its media on the switch, and what it came to so far.

mod media;
mod place;
mod sounds;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::ledger::{CallEnded, Quality};
use super::sdp::Audio;
use super::seat::{COMMANDS_MAX, Command, Inbox};
use super::{Desk, Over, quality};
use crate::flow::script::Flow;
use crate::sip::{Cause, Ending, Incoming};
use crate::switch::{Snapshot, Switch, SwitchError};
pub(super) use media::Branch;
use media::Peer;
pub(super) use place::{Party, Seat};

/// The caller's tag on the switch.
pub(crate) const CALLER: &str = "caller";
/// How long it may take until the media of a call that has ended is gone.
const DELETE_MAX: Duration = Duration::from_secs(5);
/// How long a caller that was answered with our offer may take to send its answer.
const ACK_MAX: Duration = Duration::from_secs(32);
/// How often it is looked for.
const ACK_LOOK: Duration = Duration::from_millis(20);

/// A call.
pub(super) struct Live {
    pub(super) desk: Arc<Desk>,
    pub(super) flow: Arc<Flow>,
    pub(super) sid: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) display: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    /// How many calls in a row may still be made on its behalf.
    pub(super) hops: u8,
    offer: Option<Vec<u8>>,
    /// What the task that watches the caller is told.
    commands: mpsc::Sender<Command>,
    /// The same of the conversation, while there is one.
    talk: watch::Sender<Option<mpsc::Sender<Command>>>,
    /// What was received of each party that was there at the end, by tag; `None` before.
    received: watch::Sender<Option<HashMap<String, Quality>>>,
    state: Mutex<State>,
}

/// What it came to so far.
#[derive(Debug)]
struct State {
    seat: Seat,
    /// Transfers that were accepted.
    transfers: u32,
    /// One of its parties is on its way into another call.
    is_moving: bool,
    answered: bool,
    /// The caller was told that it rings.
    rings: bool,
    /// The caller was told our SDP.
    hears: bool,
    /// A ringing tone is played to the caller.
    is_ringback: bool,
    /// The caller's audio, once it is known.
    caller: Option<Audio>,
    /// What the caller is told.
    told: String,
    /// Whom it talks with.
    peer: Option<Peer>,
    digits: String,
    digits_count: u32,
    mask: Option<String>,
    /// The number that the one saw who answered last.
    shown: Option<String>,
    /// Name and path of what was recorded.
    recordings: Vec<(String, String)>,
}

/// 32 hexadecimal digits that no other call or leg has.
pub(super) fn fresh_sid() -> String {
    format!("{:032x}", fastrand::u128(..))
}

impl Live {
    pub(super) fn new(desk: Arc<Desk>, flow: Arc<Flow>, call: Incoming) -> (Arc<Self>, Inbox) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let leg = call.leg;
        let live = Self {
            desk,
            flow,
            sid: fresh_sid(),
            from: call.from,
            to: call.to,
            display: call.display,
            headers: call.headers,
            hops: call.max_forwards,
            offer: call.sdp,
            commands,
            talk: watch::Sender::new(None),
            received: watch::Sender::new(None),
            state: Mutex::new(State::of(Seat::new(leg, fresh_sid(), call.is_own))),
        };
        let live = Arc::new(live);
        let inbox = Inbox::new(&live, call.events, inbox);
        (live, inbox)
    }

    /// Every step under the lock leaves it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn switch(&self) -> &Arc<Switch> {
        &self.desk.switch
    }

    /// Says in the log what could not be done. Of a call whose media has just ended there is
    /// nothing to say: it is hung up as soon as that is seen.
    pub(super) fn warn(&self, what: &str, error: &SwitchError) {
        match error {
            SwitchError::UnknownCall => tracing::debug!(call_id = %self.sid, %error, "{what}"),
            _ => tracing::warn!(call_id = %self.sid, %error, "{what}"),
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.state().answered
    }

    /// Whether the caller has our SDP, and hears what is played to it.
    pub(super) fn hears(&self) -> bool {
        self.state().hears
    }

    /// Answers the caller, if that is not done yet.
    pub(super) async fn answer(&self) -> Result<(), Over> {
        self.publish_once()?;
        let told = {
            let mut state = self.state();
            if std::mem::replace(&mut state.answered, true) {
                return Ok(());
            }
            state.hears = true;
            state.told.clone()
        };
        let ended = |_| Over(Cause::CANCELLED);
        let (leg, sid) = self.caller();
        leg.answer(told.as_bytes()).await.map_err(ended)?;
        self.desk.ledger.answered(&self.sid, &sid);
        if self.offer.is_none() {
            self.await_answer().await?;
        }
        self.keep_clock();
        Ok(())
    }

    /// Where our 2xx has the offer, the ACK has the answer.
    async fn await_answer(&self) -> Result<(), Over> {
        let looks = ACK_MAX.as_millis() / ACK_LOOK.as_millis();
        for _ in 0..looks {
            if self.state().caller.is_some() {
                return Ok(());
            }
            tokio::time::sleep(ACK_LOOK).await;
        }
        Err(Over(Cause::TIMEOUT))
    }

    /// Tells the caller, once, that somebody rings, and with `sound` our SDP, by which it hears it.
    pub(super) async fn ring(&self, sound: bool) -> Result<(), Over> {
        if sound {
            self.publish_once()?;
        }
        let (told, is_first) = {
            let mut state = self.state();
            let is_first = !std::mem::replace(&mut state.rings, true);
            let is_new = is_first || (sound && !state.hears);
            if state.answered || !is_new {
                return Ok(());
            }
            state.hears |= sound && self.offer.is_some();
            (state.hears.then(|| state.told.clone()), is_first)
        };
        let sdp = told.as_ref().map(String::as_bytes);
        let (leg, leg_sid) = self.caller();
        if is_first {
            self.desk.ledger.ringing(&self.sid, &leg_sid);
        }
        let ended = |_| Over(Cause::CANCELLED);
        leg.ring(sdp).await.map_err(ended)?;
        if sdp.is_some() {
            self.keep_clock();
        }
        Ok(())
    }

    /// Keys that were gathered.
    pub(super) fn pressed(&self, keys: &str, kept: bool) {
        let mut state = self.state();
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        state.digits_count = state.digits_count.saturating_add(count);
        if kept {
            keys.clone_into(&mut state.digits);
        }
    }

    pub(super) fn digits(&self) -> String {
        self.state().digits.clone()
    }

    /// Whoever is called from now on sees this number.
    pub(super) fn mask(&self, number: &str) {
        self.state().mask = Some(number.to_owned());
    }

    pub(super) fn masked(&self) -> Option<String> {
        self.state().mask.clone()
    }

    pub(super) fn recorded(&self, name: &str, path: &str) {
        let recordings = &mut self.state().recordings;
        recordings.retain(|(known, _)| known != name);
        recordings.push((name.to_owned(), path.to_owned()));
    }

    /// There was nothing to record.
    pub(super) fn unrecorded(&self, name: &str) {
        self.state().recordings.retain(|(known, _)| known != name);
    }

    pub(super) fn recording(&self, name: &str) -> Option<String> {
        let state = self.state();
        let found = state.recordings.iter().find(|(known, _)| known == name);
        found.map(|(_, path)| path.clone())
    }

    /// What was received of a party of a call that is gone.
    pub(super) async fn received_of(&self, leg: &str) -> Option<Quality> {
        let mut received = self.received.subscribe();
        let told = received.wait_for(Option::is_some);
        let told = tokio::time::timeout(DELETE_MAX, told).await.ok()?.ok()?;
        told.as_ref()?.get(leg).copied()
    }

    /// The call is over; how its media stood at the end, if it had any.
    pub(super) fn end(&self, ending: Ending, media: Option<&Snapshot>) {
        let received = media.map(quality::of_all).unwrap_or_default();
        self.end_caller(ending, received.get(CALLER).copied());
        let ledger = &self.desk.ledger;
        self.received.send_replace(Some(received));
        let (answered, digits, recordings) = {
            let state = self.state();
            let paths = state.recordings.iter().map(|(_, path)| path.clone());
            (
                state.answered,
                state.digits_count,
                paths.collect::<Vec<_>>(),
            )
        };
        ledger.call_ended(&CallEnded {
            call: &self.sid,
            ending,
            answered,
            digits,
            recordings: &recordings,
        });
    }
}
