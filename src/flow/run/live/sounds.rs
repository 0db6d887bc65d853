//! What a caller hears of us.

use std::time::Duration;

use super::super::Over;
use super::super::caller::sound;
use super::{CALLER, Live};
use crate::audio::tone::TonePlan;
use crate::engine::PlayReport;
use crate::flow::script::Prompt;
use crate::sip::Cause;
use crate::switch::{IdleChoice, Participants, Playback, SwitchError};

/// What is played begins with the next frame, and is told of to the frame.
const FRAME: Duration = Duration::from_millis(20);

impl Live {
    /// Begins a tone for a party.
    pub(in crate::flow::run) fn tone_to(&self, tag: &str, tone: &str, limit: Option<Duration>) {
        let who = Participants::Tag(tag);
        match TonePlan::parse(tone) {
            Ok(plan) => {
                if let Err(error) = self.switch().play_tone(&self.sid, who, &plan, limit) {
                    self.warn("no tone", &error);
                }
            }
            Err(error) => tracing::warn!(call_id = %self.sid, %error, "no tone"),
        }
    }

    /// Plays a ringing tone to the caller, if it hears anything and none is played yet.
    pub(in crate::flow::run) fn ringback(&self) {
        let begins = {
            let mut state = self.state();
            state.hears && !std::mem::replace(&mut state.is_ringback, true)
        };
        if begins {
            sound(self, "ringback", None);
        }
    }

    /// Ends the ringing tone, if there is one.
    pub(in crate::flow::run) async fn end_ringback(&self) {
        if self.state().is_ringback {
            self.hush().await;
        }
    }

    /// The caller's one clock runs on whatever is played to it, or not.
    pub(super) fn keep_clock(&self) {
        let who = Participants::Tag(CALLER);
        let set = self.switch().set_idle(&self.sid, who, IdleChoice::Silence);
        if let Err(error) = set {
            self.warn("no silence between sounds", &error);
        }
    }

    /// The caller is sent silence from now on, until it is sent something else: its clock runs on
    /// once something was made for it, but not after what was only passed on.
    pub(in crate::flow::run) fn fill(&self) {
        if self.hears() {
            sound(self, "silence", Some(FRAME));
        }
    }

    /// Whom the caller talked with has left, and another one is called for it.
    pub(in crate::flow::run) fn waits(&self) {
        self.parted();
        if !self.state().is_ringback {
            self.fill();
        }
    }

    /// Plays something to the caller; how long one round of it takes. What cannot be played is
    /// passed over, and said in the log.
    pub(in crate::flow::run) async fn play(&self, playback: &Playback) -> Result<Duration, Over> {
        self.state().is_ringback = false;
        self.play_to(CALLER, playback).await
    }

    /// As [`Self::play`], to any party.
    pub(in crate::flow::run) async fn play_to(
        &self,
        tag: &str,
        playback: &Playback,
    ) -> Result<Duration, Over> {
        if playback.sounds.is_empty() {
            return Ok(Duration::ZERO);
        }
        let who = Participants::Tag(tag);
        match self.switch().play(&self.sid, who, playback).await {
            Ok(round) => Ok(round),
            Err(SwitchError::UnknownCall) => Err(Over(Cause(500))),
            Err(error) => {
                tracing::warn!(call_id = %self.sid, %error, "not played");
                Ok(Duration::ZERO)
            }
        }
    }

    /// Plays a prompt to the caller, to its end.
    pub(in crate::flow::run) async fn say(&self, prompt: &Prompt) -> Result<(), Over> {
        let round = self.play(&Playback::of(prompt.iter().cloned())).await?;
        if !round.is_zero() {
            tokio::time::sleep(round.saturating_add(FRAME)).await;
        }
        Ok(())
    }

    /// Plays a prompt so many times, or for so long.
    pub(in crate::flow::run) async fn repeat(
        &self,
        prompt: &Prompt,
        times: u32,
        limit: Option<Duration>,
    ) -> Result<(), Over> {
        let playback = Playback {
            times: Some(times.max(1)),
            limit,
            ..Playback::of(prompt.iter().cloned())
        };
        let round = self.play(&playback).await?;
        let whole = round.saturating_mul(times.max(1));
        let whole = whole.min(limit.unwrap_or(Duration::MAX));
        if !whole.is_zero() {
            tokio::time::sleep(whole.saturating_add(FRAME)).await;
        }
        Ok(())
    }

    /// Plays something to the caller over and over, until [`Self::hush`].
    pub(in crate::flow::run) async fn play_on(
        &self,
        prompt: &Prompt,
        start: Duration,
    ) -> Result<(), Over> {
        let playback = Playback {
            times: Some(u32::MAX),
            start,
            ..Playback::of(prompt.iter().cloned())
        };
        self.play(&playback).await.map(|_| ())
    }

    /// Stops what is played to the caller.
    pub(in crate::flow::run) async fn hush(&self) {
        self.interrupt().await;
    }

    /// The same; where it was, if anything was played.
    pub(in crate::flow::run) async fn interrupt(&self) -> Option<PlayReport> {
        self.state().is_ringback = false;
        let who = Participants::Tag(CALLER);
        let stopped = self.switch().interrupt_playing(&self.sid, who).await;
        stopped.ok()
    }
}
