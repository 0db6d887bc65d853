//! What is played, to whom, and how it ended; and what is heard while nothing is.

use super::Call;
use crate::audio::comfort::LEVEL_MAX;
use crate::engine::api::*;
use crate::engine::gather::GATHER_PROMPT;
use crate::engine::time::Micros;
use crate::engine::voice::{
    Bridge, BridgeIx, Idle, Listener, Play, PlayEnd, PlayId, PlayReport, Player, Players,
    SEQUENCE_MAX,
};

impl Call {
    /// Starts to play. A refusal is told of as an event, too: whoever sees the call's timeline
    /// later is to find it there.
    pub(super) fn play(&mut self, now: Micros, play: Play) -> Result<(), ChangeError> {
        let (id, listener) = (play.id, play.listener);
        let started = self.start_play(now, play);
        let kind = match started {
            Ok(()) => EventKind::PlayStarted(id, listener),
            Err(_) => EventKind::PlayFailed(not_begun(id, listener)),
        };
        self.tell_ended(now, listener);
        if let Some(stream) = self.stream_of(listener) {
            self.log.push(now, stream, kind);
        }
        started
    }

    fn start_play(&mut self, now: Micros, play: Play) -> Result<(), ChangeError> {
        let listener = play.listener;
        if !(1..=SEQUENCE_MAX).contains(&play.sounds.len()) {
            return Err(ChangeError::Sequence(play.sounds.len()));
        }
        let rate_hz = match listener {
            Listener::Leg(ix) => {
                let voice = self.voice_of(ix)?;
                let spoken = voice.config.speaks.ok_or(ChangeError::Codec(ix))?;
                spoken.codec.pcm_hz()
            }
            Listener::Bridge(ix) => {
                // Where nothing was mixed until now, there is no rate yet.
                self.mix_pair(now, ix);
                let bridge = self.bridge_at(ix);
                bridge.ok_or(ChangeError::UnknownBridge(ix))?.rate_hz()
            }
        };
        let refused = ChangeError::Play(listener);
        if self
            .players_of(listener)
            .is_some_and(|players| !players.have_room(play.id))
        {
            return Err(refused);
        }
        let player = Player::new(play, rate_hz).ok_or(refused)?;
        if let Listener::Leg(ix) = listener {
            self.mix_pair_of(now, ix);
            self.open_mouth(now, ix)?;
        }
        self.players_of(listener).ok_or(refused)?.start(player);
        Ok(())
    }

    /// Stops one player, or all.
    pub(super) fn stop_play(
        &mut self,
        now: Micros,
        listener: Listener,
        id: Option<PlayId>,
    ) -> Result<(), ChangeError> {
        match listener {
            Listener::Leg(ix) => {
                self.open_stream(ix)?;
            }
            Listener::Bridge(ix) => {
                self.bridge_at(ix).ok_or(ChangeError::UnknownBridge(ix))?;
            }
        }
        if let Some(players) = self.players_of(listener) {
            players.stop(id, PlayEnd::Interrupted);
            self.tell_ended(now, listener);
        }
        Ok(())
    }

    /// The listener goes.
    pub(super) fn stop_all(&mut self, now: Micros, listener: Listener) {
        if let Some(players) = self.players_of(listener) {
            players.stop(None, PlayEnd::Interrupted);
            self.tell_ended(now, listener);
        }
    }

    /// What a party is sent while there is nothing to hear.
    pub(super) fn set_idle(
        &mut self,
        now: Micros,
        ix: StreamIx,
        idle: Idle,
    ) -> Result<(), ChangeError> {
        check_idle(idle)?;
        let voice = self.voice_of(ix)?;
        voice.config.idle = idle;
        if let Some(mouth) = &mut voice.mouth {
            mouth.idle.set(idle);
        }
        if let Some(bridge) = voice.bridge {
            self.settle_pair(now, bridge);
        }
        Ok(())
    }

    /// Logs players that have ended.
    pub(super) fn tell_ended(&mut self, now: Micros, listener: Listener) {
        let Some(stream) = self.stream_of(listener) else {
            return;
        };
        while let Some((report, end)) = self.players_of(listener).and_then(Players::next_ended) {
            let kind = match end {
                PlayEnd::Completed => EventKind::PlayCompleted(report),
                PlayEnd::Interrupted => EventKind::PlayInterrupted(report),
                PlayEnd::Failed => EventKind::PlayFailed(report),
            };
            self.log.push(now, stream, kind);
            if report.id == GATHER_PROMPT && listener == stream.into() {
                self.gather_prompt_ended(now, stream);
            }
        }
    }

    /// What bridges are played.
    pub(super) fn played_to_bridges(&self) -> Vec<PlayReport> {
        let bridges = self.bridges.iter().flatten();
        bridges
            .flat_map(|bridge| bridge.players.reports())
            .collect()
    }

    fn bridge_at(&self, ix: BridgeIx) -> Option<&Bridge> {
        self.bridges.get(usize::from(ix.0))?.as_deref()
    }

    fn players_of(&mut self, listener: Listener) -> Option<&mut Players> {
        match listener {
            Listener::Leg(ix) => {
                let stream = self.streams.get_mut(usize::from(ix.0))?;
                let mouth = stream.voice.as_deref_mut()?.mouth.as_deref_mut()?;
                Some(&mut mouth.players)
            }
            Listener::Bridge(ix) => {
                let bridge = self.bridges.get_mut(usize::from(ix.0))?;
                Some(&mut bridge.as_deref_mut()?.players)
            }
        }
    }

    /// The stream under which events of a listener are told: of a bridge, its first member's.
    fn stream_of(&self, listener: Listener) -> Option<StreamIx> {
        match listener {
            Listener::Leg(ix) => Some(ix).filter(|ix| usize::from(ix.0) < self.streams.len()),
            Listener::Bridge(ix) => {
                let seat = self.bridge_at(ix)?.seats.first()?;
                Some(seat.member.stream)
            }
        }
    }
}

/// The report of a player that never began.
fn not_begun(id: PlayId, listener: Listener) -> PlayReport {
    PlayReport {
        id,
        listener,
        item: 0,
        position: std::time::Duration::ZERO,
        frames: 0,
        missing: 0,
    }
}

pub(super) fn check_idle(idle: Idle) -> Result<(), ChangeError> {
    let (pt, level) = match idle {
        Idle::Nothing | Idle::Silence => return Ok(()),
        Idle::Noise { level } => (0, level),
        Idle::ComfortNoise { pt, level } => (pt, level),
    };
    match () {
        () if pt > 127 => Err(ChangeError::PayloadType(pt)),
        () if level > LEVEL_MAX => Err(ChangeError::NoiseLevel(level)),
        () => Ok(()),
    }
}
