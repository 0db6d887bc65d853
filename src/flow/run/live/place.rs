//! The two places of a call: who sits there, and how another one comes to sit there.

use std::collections::HashMap;

use tokio::sync::{mpsc, watch};

use super::media::{Branch, Peer, Said};
use super::{CALLER, Live, State};
use crate::flow::run::ledger::Quality;
use crate::flow::run::quality;
use crate::flow::run::sdp::Audio;
use crate::flow::run::seat::{Command, Side};
use crate::flow::run::transfer::TRANSFERS_MAX;
use crate::sip::{Cause, EndedBy, Ending, Leg, LegId};
use crate::switch::{Echo, Participants};

/// The caller's place, which another one may have taken.
#[derive(Clone, Debug)]
pub(in crate::flow::run) struct Seat {
    leg: Leg,
    sid: String,
    /// It is another call of this very switch.
    is_own: bool,
    /// What was received of those who sat there before.
    before: Quality,
    /// It was told that its leg has ended.
    is_over: bool,
}

impl Seat {
    pub(in crate::flow::run) fn new(leg: Leg, sid: String, is_own: bool) -> Self {
        Self {
            leg,
            sid,
            is_own,
            before: Quality::default(),
            is_over: false,
        }
    }

    pub(super) fn said(&self) -> Said {
        Said {
            is_local: self.is_own,
            far: self.leg.far(),
        }
    }
}

impl State {
    pub(super) fn of(seat: Seat) -> Self {
        Self {
            seat,
            transfers: 0,
            is_moving: false,
            answered: false,
            rings: false,
            hears: false,
            is_ringback: false,
            caller: None,
            told: String::new(),
            peer: None,
            digits: String::new(),
            digits_count: 0,
            mask: None,
            shown: None,
            recordings: Vec::new(),
        }
    }
}

/// A party as it is in its call.
#[derive(Debug)]
pub(in crate::flow::run) struct Party {
    pub(in crate::flow::run) leg: Leg,
    pub(in crate::flow::run) is_local: bool,
    pub(in crate::flow::run) inbound: bool,
    pub(in crate::flow::run) from: String,
    pub(in crate::flow::run) to: String,
}

impl Live {
    /// The leg in the caller's place, and its SID.
    pub(in crate::flow::run) fn caller(&self) -> (Leg, String) {
        let state = self.state();
        (state.seat.leg.clone(), state.seat.sid.clone())
    }

    /// Which leg that is.
    pub(in crate::flow::run) fn caller_id(&self) -> LegId {
        self.state().seat.leg.id()
    }

    /// The leg in the caller's place has ended; nothing if that was told before.
    pub(in crate::flow::run) fn end_caller(&self, ending: Ending, received: Option<Quality>) {
        let (sid, before) = {
            let seat = &mut self.state().seat;
            if std::mem::replace(&mut seat.is_over, true) {
                return;
            }
            (seat.sid.clone(), seat.before)
        };
        let received = received.map(|all| all.since(before));
        let ledger = &self.desk.ledger;
        ledger.leg_ended(&self.sid, &sid, ending, received.as_ref());
    }

    /// What was received of the caller's place until now.
    pub(in crate::flow::run) async fn received_so_far(&self) -> Option<Quality> {
        let snapshot = self.switch().query(&self.sid).await.ok()?;
        let received: HashMap<String, Quality> = quality::of_all(&snapshot);
        received.get(CALLER).copied()
    }

    /// Counts a transfer; `false`: there were [`TRANSFERS_MAX`].
    pub(in crate::flow::run) fn count_transfer(&self) -> bool {
        let mut state = self.state();
        let is_one_more = state.transfers < TRANSFERS_MAX;
        state.transfers += u32::from(is_one_more);
        is_one_more
    }

    /// One of its parties is on its way into another call, or none is; what was true before.
    pub(in crate::flow::run) fn set_moving(&self, is_moving: bool) -> bool {
        std::mem::replace(&mut self.state().is_moving, is_moving)
    }

    /// A conversation begins, whose task hears these commands, or ends.
    pub(in crate::flow::run) fn talks(&self, commands: Option<mpsc::Sender<Command>>) {
        self.talk.send_replace(commands);
    }

    pub(in crate::flow::run) fn is_talking(&self) -> bool {
        let talk = self.talk.borrow();
        talk.as_ref().is_some_and(|commands| !commands.is_closed())
    }

    /// The call has ended, or its media has: whatever were said to the switch would make it anew.
    pub(in crate::flow::run) fn is_over(&self) -> bool {
        self.commands.is_closed() || !self.switch().has_call(&self.sid)
    }

    /// To wait for the end of the conversation.
    pub(in crate::flow::run) fn talk(&self) -> watch::Receiver<Option<mpsc::Sender<Command>>> {
        self.talk.subscribe()
    }

    /// Tells the task that watches a party; `false`: there is none.
    pub(in crate::flow::run) fn command(&self, side: Side, command: Command) -> bool {
        let commands = match side {
            Side::Caller => Some(self.commands.clone()),
            Side::Callee => self.talk.borrow().clone(),
        };
        commands.is_some_and(|commands| commands.try_send(command).is_ok())
    }

    /// Where the leg of this SID sits; `None`: nowhere, or it only rings, or the call is over.
    pub(in crate::flow::run) fn side_of(&self, sid: &str) -> Option<Side> {
        if self.is_over() {
            return None;
        }
        let is_talking = self.is_talking();
        let state = self.state();
        let is_peer = |peer: &Peer| peer.branch.leg == sid;
        if state.seat.sid == sid {
            return state.answered.then_some(Side::Caller);
        }
        let sits = is_talking && state.peer.as_ref().is_some_and(is_peer);
        sits.then_some(Side::Callee)
    }

    /// SID of the leg that sits there.
    pub(in crate::flow::run) fn sid_at(&self, side: Side) -> Option<String> {
        let state = self.state();
        match side {
            Side::Caller => Some(state.seat.sid.clone()),
            Side::Callee => state.peer.as_ref().map(|peer| peer.branch.leg.clone()),
        }
    }

    /// Who sits there.
    pub(in crate::flow::run) fn party(&self, side: Side) -> Option<Party> {
        let state = self.state();
        match side {
            Side::Caller => Some(Party {
                leg: state.seat.leg.clone(),
                is_local: state.seat.is_own,
                inbound: true,
                from: self.from.clone(),
                to: self.to.clone(),
            }),
            Side::Callee => {
                let branch = &state.peer.as_ref()?.branch;
                Some(Party {
                    leg: branch.sip.get()?.clone(),
                    is_local: branch.is_local,
                    inbound: false,
                    from: branch.from.clone(),
                    to: branch.to.clone(),
                })
            }
        }
    }

    /// What somebody is offered who is to sit there.
    pub(in crate::flow::run) fn offer_place(
        &self,
        side: Side,
        branch: &Branch,
    ) -> Result<String, Cause> {
        match side {
            Side::Callee => {
                let offer = self.offer_to(branch, None);
                offer.map_err(|error| self.refusal(&error))
            }
            Side::Caller => {
                let told = Audio::of(self.state().told.as_bytes()).ok_or(Cause(488))?;
                Ok(told.offer_anew())
            }
        }
    }

    /// What whoever sits there is offered to talk in this call again.
    pub(in crate::flow::run) fn offer_again(&self, side: Side) -> Result<String, Cause> {
        let peer = self.state().peer.clone();
        match (side, peer) {
            (Side::Caller, Some(_)) => {
                let told = Audio::of(self.state().told.as_bytes()).ok_or(Cause(488))?;
                Ok(told.offer_anew())
            }
            (Side::Callee, Some(peer)) => self.offer_place(side, &peer.branch),
            (_, None) => Err(Cause(481)),
        }
    }

    /// It answers [`Self::offer_again`].
    pub(in crate::flow::run) fn takes_again(
        &self,
        side: Side,
        told: String,
        sdp: &[u8],
    ) -> Result<(), Cause> {
        let peer = self.state().peer.clone().ok_or(Cause(481))?;
        match side {
            Side::Caller => self.caller_answers(sdp),
            Side::Callee => {
                let audio = Audio::of(sdp).ok_or(Cause(488))?;
                self.joined(&peer.branch, audio, told);
                self.join(None)?;
            }
        }
        Ok(())
    }

    /// Whoever is called sees this number of the caller.
    pub(in crate::flow::run) fn shows(&self, number: &str) {
        self.state().shown = Some(number.to_owned());
    }

    /// What number of the caller it saw with whom the caller talks or talked last.
    pub(in crate::flow::run) fn shown(&self) -> Option<String> {
        self.state().shown.clone()
    }

    /// Somebody takes a place, with its answer to [`Self::offer_place`]; on an error all is as it
    /// was.
    pub(in crate::flow::run) async fn sit_by_answer(
        &self,
        side: Side,
        branch: &Branch,
        told: &str,
        sdp: &[u8],
    ) -> Result<(), Cause> {
        let audio = Audio::of(sdp).ok_or(Cause(488))?;
        match side {
            Side::Caller => self.sit_as_caller(branch, sdp).await,
            Side::Callee => self.sit_as_callee(branch, audio, told),
        }
    }

    /// Somebody takes a place with an offer of its own; the answer to it.
    pub(in crate::flow::run) async fn sit_by_offer(
        &self,
        side: Side,
        branch: &Branch,
        sdp: &[u8],
    ) -> Result<Vec<u8>, Cause> {
        match side {
            Side::Caller => {
                self.sit_as_caller(branch, sdp).await?;
                Ok(self.state().told.clone().into_bytes())
            }
            Side::Callee => {
                let audio = Audio::of(sdp).ok_or(Cause(488))?;
                // The way to it is made by an offer of ours, and then follows its own.
                self.offer_place(side, branch)?;
                let before = self.state().peer.clone();
                self.sit_as_callee(branch, audio, "")?;
                let answer = self.peer_offers(branch, Some(sdp));
                answer.inspect_err(|_| self.sit_again(before))
            }
        }
    }

    async fn sit_as_caller(&self, branch: &Branch, sdp: &[u8]) -> Result<(), Cause> {
        let gone = Cause(481);
        let leg = branch.sip.get().ok_or(gone)?.clone();
        let replaced = self.sid_at(Side::Caller);
        let received = self.received_so_far().await.unwrap_or_default();
        // Meanwhile the call may have ended, or another one may have come.
        if self.is_over() || self.sid_at(Side::Caller) != replaced {
            return Err(gone);
        }
        let mut seat = Seat::new(leg, branch.leg.clone(), branch.is_local);
        seat.before = received;
        let before = {
            let state = self.state();
            (state.seat.clone(), state.caller.clone(), state.told.clone())
        };
        let seated = self.publish_as(sdp, seat.said());
        let over = Ending {
            cause: Cause::HANG_UP,
            by: EndedBy::Us,
        };
        match seated {
            Ok(()) => {
                // Whoever sat there until now.
                self.end_caller(over, Some(received));
                self.state().seat = seat;
                if let Err(cause) = self.rejoin() {
                    tracing::warn!(call_id = %self.sid, cause = cause.0, "not joined");
                }
                Ok(())
            }
            Err(cause) => {
                let (seat, audio, told) = before;
                if let Some(audio) = audio {
                    // It was taken once.
                    let _taken = self.publish_as(audio.offer().as_bytes(), seat.said());
                }
                self.state().told = told;
                Err(cause)
            }
        }
    }

    fn sit_as_callee(&self, branch: &Branch, audio: Audio, told: &str) -> Result<(), Cause> {
        let before = self.state().peer.clone();
        self.joined(branch, audio, told.to_owned());
        let joined = self.join(Some(Echo::Off));
        joined.inspect_err(|_| self.sit_again(before))
    }

    /// Whom the caller talked with is the one it talks with after all.
    fn sit_again(&self, peer: Option<Peer>) {
        let is_there = peer.is_some();
        self.state().peer = peer;
        if is_there && let Err(cause) = self.join(Some(Echo::Off)) {
            tracing::warn!(call_id = %self.sid, cause = cause.0, "not joined again");
        }
    }

    /// Lets whoever is not at `side` hear that somebody rings.
    pub(in crate::flow::run) fn ringback_across(&self, side: Side) {
        match side {
            Side::Callee => self.ringback(),
            Side::Caller => {
                if let Some(tag) = self.sid_at(Side::Callee) {
                    self.tone_to(&tag, "ringback", None);
                }
            }
        }
    }

    /// Ends that.
    pub(in crate::flow::run) async fn hush_across(&self, side: Side) {
        match side {
            Side::Callee => self.end_ringback().await,
            Side::Caller => {
                if let Some(tag) = self.sid_at(Side::Callee) {
                    let who = Participants::Tag(&tag);
                    // Nothing may have been played.
                    let _none = self.switch().interrupt_playing(&self.sid, who).await;
                }
            }
        }
    }
}
