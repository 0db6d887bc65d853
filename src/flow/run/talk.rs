//! A conversation of the caller with somebody who answered, or with whoever takes that one's place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::Over;
use super::callee::{Callee, EVENTS_MAX, Hearer};
use super::connect::Ring;
use super::live::Live;
use super::presence::MOVE_MAX;
use super::sdp::Audio;
use super::seat::{COMMANDS_MAX, Command, Newcomer, Side};
use super::transfer::{self, Outcome, Transfer};
use super::waiting::Claim;
use crate::flow::script::Prompt;
use crate::sip::{Cause, LegEvent, LegEvents};
use crate::switch::{Echo, Playback};

/// Somebody who answered.
pub(super) struct Talk {
    pub(super) callee: Callee,
    pub(super) ix: usize,
    pub(super) events: mpsc::Receiver<(usize, LegEvent)>,
}

impl Talk {
    /// Whispers, joins the two, and answers the caller; `false`: it cannot be.
    pub(super) async fn begin(
        &mut self,
        live: &Live,
        sdp: &[u8],
        ring: &Ring<'_>,
    ) -> Result<bool, Over> {
        let Some(audio) = Audio::of(sdp) else {
            return Ok(false);
        };
        // From here on what either of them offers is answered.
        let told = self.callee.told.clone();
        live.joined(&self.callee.branch, audio, told);
        live.shows(&self.callee.branch.from);
        let stays = match ring.whisper {
            Some(whisper) => self.whisper(live, whisper, ring).await?,
            None => true,
        };
        if !stays || !self.join(live, Echo::Off) {
            live.parted();
            return Ok(false);
        }
        live.hush().await;
        live.answer().await?;
        Ok(true)
    }

    /// Links the two, or each of them with nobody; whether that is done.
    fn join(&self, live: &Live, echo: Echo) -> bool {
        let joined = live.join(Some(echo));
        joined
            .inspect_err(|cause| tracing::warn!(call_id = %live.sid, cause = cause.0, "not joined"))
            .is_ok()
    }

    /// Plays to the callee what the caller does not hear; `false`: it did not stay for it.
    async fn whisper(
        &mut self,
        live: &Live,
        whisper: &Prompt,
        ring: &Ring<'_>,
    ) -> Result<bool, Over> {
        if !self.join(live, Echo::Blackhole) {
            return Ok(false);
        }
        if !ring.has_music {
            live.ringback();
        }
        let playback = Playback::of(whisper.iter().cloned());
        let length = live.play_to(&self.callee.branch.leg, &playback).await?;
        let end = Instant::now() + length;
        loop {
            let event = tokio::select! {
                () = sleep_until(end) => return Ok(true),
                event = self.events.recv() => event,
            };
            // What it wants to be transferred for is not there yet: declined.
            if let Heard::Gone = self.heard(live, event) {
                return Ok(false);
            }
        }
    }

    /// Answers what the callee offers.
    fn heard(&self, live: &Live, event: Option<(usize, LegEvent)>) -> Heard {
        let branch = &self.callee.branch;
        match event {
            None => return Heard::Gone,
            // Of those who lost there may be more to hear.
            Some((ix, _)) if ix != self.ix => {}
            Some((_, LegEvent::Ended(_))) => return Heard::Gone,
            Some((_, LegEvent::Offer(offer))) => {
                let answer = live.peer_offers(branch, offer.sdp.as_deref());
                let _gone = offer.reply.send(answer);
            }
            Some((_, LegEvent::Answered(sdp))) => live.peer_answers(branch, &sdp),
            Some((_, LegEvent::Transfer(asked))) => return Heard::Transfer(asked),
            Some(_) => {}
        }
        Heard::Nothing
    }

    /// The conversation, until the callee hangs up or for so long. An agent that was claimed is
    /// free once another one has its place.
    pub(super) async fn until_over(
        mut self,
        live: &Arc<Live>,
        limit: Duration,
        mut claim: Option<Claim>,
    ) {
        let (sender, mut commands) = mpsc::channel(COMMANDS_MAX);
        live.talks(Some(sender));
        let end = Instant::now() + limit;
        let mut transfer: Option<Transfer> = None;
        let mut is_gone = false;
        while !is_gone || transfer.is_some() {
            tokio::select! {
                () = sleep_until(end) => break,
                Some(command) = commands.recv() => match command {
                    Command::Adopt(newcomer) => {
                        transfer = None;
                        let (callee, events) = adopted(live, *newcomer);
                        self.follow(live, callee, events).await;
                        (claim, is_gone) = (None, false);
                    }
                    Command::Release { to, done } => is_gone |= self.release(to, done).await,
                },
                outcome = transfer::over(&mut transfer) => {
                    transfer = None;
                    if let Outcome::Callee(callee, events) = outcome {
                        self.follow(live, *callee, events).await;
                        (claim, is_gone) = (None, false);
                    }
                }
                event = self.events.recv(), if !is_gone => match self.heard(live, event) {
                    Heard::Nothing => {}
                    Heard::Gone => {
                        is_gone = true;
                        if transfer.is_some() {
                            live.waits();
                        }
                    }
                    Heard::Transfer(asked) if transfer.is_some() => {
                        // One at a time.
                        asked.reply.decline(Cause(491));
                    }
                    Heard::Transfer(asked) => {
                        transfer = transfer::begin(live, Side::Callee, asked);
                    }
                },
            }
        }
        live.talks(None);
        drop((transfer, claim));
        live.parted();
        // The caller goes on alone, and does not wait for the other's BYE.
        self.callee.leave(live).await;
        live.fill();
        self.callee.hang_up(Cause::HANG_UP);
    }

    /// Somebody else sits here, and is joined already; the one before is hung up.
    async fn follow(
        &mut self,
        live: &Live,
        callee: Callee,
        events: mpsc::Receiver<(usize, LegEvent)>,
    ) {
        let before = std::mem::replace(&mut self.callee, callee);
        (self.events, self.ix) = (events, 0);
        before.leave(live).await;
        before.hang_up(Cause::HANG_UP);
    }

    /// Gives the callee's leg away; whether it is gone without being elsewhere.
    async fn release(
        &mut self,
        to: oneshot::Sender<LegEvents>,
        done: oneshot::Receiver<()>,
    ) -> bool {
        self.callee.give_up(to, false);
        match timeout(MOVE_MAX, done).await {
            // The call ends with its caller, who is hung up.
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(_)) | Err(_) => true,
        }
    }
}

/// What a callee said.
enum Heard {
    Nothing,
    Gone,
    Transfer(crate::sip::TransferAsked),
}

/// Somebody who came from elsewhere, as one who was called.
fn adopted(live: &Arc<Live>, newcomer: Newcomer) -> (Callee, mpsc::Receiver<(usize, LegEvent)>) {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let heard = Hearer {
        ix: 0,
        events: sender,
    };
    (Callee::adopt(live, newcomer, heard), events)
}
