//! The players of one listener, laid over, beside or in the place of what it hears otherwise.

use std::sync::LazyLock;

use smallvec::SmallVec;

use super::play::{Layer, PLAYERS_MAX, PlayEnd, PlayId, PlayReport};
use super::player::Player;
use crate::audio::mix::{self, Gain, GainRamp};

/// How much lower what lies under a player is, in dB.
const DUCK_DB: f32 = -12.0;

static DUCKED: LazyLock<Gain> = LazyLock::new(|| Gain::from_db(DUCK_DB));

/// How long ducking takes.
const DUCK_RAMP_MS: u32 = 10;

/// Memory in which what is played is laid over each other.
#[derive(Debug, Default)]
pub(in crate::engine) struct Layers {
    played: Vec<i16>,
    sum: Vec<i32>,
}

/// What one leg or bridge is played.
#[derive(Debug)]
pub(in crate::engine) struct Players {
    list: SmallVec<[Box<Player>; 1]>,
    duck: GainRamp,
    ducked: bool,
    /// Players that ended and have not been told of.
    ended: SmallVec<[Ended; 1]>,
}

/// How a player ended.
#[derive(Debug)]
struct Ended {
    report: PlayReport,
    end: PlayEnd,
    /// It was heard in the frame that is being made.
    sounded: bool,
}

impl Players {
    /// What they play to is in another call from now on, behind so many streams and bridges.
    pub(in crate::engine) fn renumber(&mut self, streams: u16, bridges: u8) {
        for player in &mut self.list {
            player.renumber(streams, bridges);
        }
        for ended in &mut self.ended {
            ended.report.listener = ended.report.listener.after(streams, bridges);
        }
    }

    pub(in crate::engine) fn new() -> Self {
        Self {
            list: SmallVec::new(),
            duck: GainRamp::new(Gain::UNITY),
            ducked: false,
            ended: SmallVec::new(),
        }
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them takes the place of what is heard otherwise.
    pub(in crate::engine) fn replace(&self) -> bool {
        self.list.iter().any(|player| player.layer == Layer::Alone)
    }

    /// Whether nothing is played, and what is heard otherwise passes as it is.
    pub(in crate::engine) fn are_at_rest(&self) -> bool {
        self.list.is_empty() && !self.ducked && self.duck.is_settled()
    }

    /// Whether there is room for a player of this name.
    pub(in crate::engine) fn have_room(&self, id: PlayId) -> bool {
        let others = self.list.iter().filter(|player| player.id != id);
        others.count() < PLAYERS_MAX
    }

    /// Starts a player; one of the same name ends.
    pub(in crate::engine) fn start(&mut self, player: Player) {
        self.stop(Some(player.id), PlayEnd::Interrupted);
        self.list.push(Box::new(player));
    }

    /// Stops one player, or all.
    pub(in crate::engine) fn stop(&mut self, id: Option<PlayId>, end: PlayEnd) {
        self.keep(end, |player| id.is_some_and(|id| player.id != id));
    }

    /// Holds the player of this name back for a moment.
    pub(in crate::engine) fn hold(&mut self, id: PlayId) {
        let named = self.list.iter_mut().filter(|player| player.id == id);
        named.for_each(|player| player.hold());
    }

    /// Whether the player of this name may be a moment late.
    pub(in crate::engine) fn may_be_late(&mut self, id: PlayId) -> bool {
        let named = self.list.iter_mut().find(|player| player.id == id);
        named.is_some_and(|player| player.may_be_late())
    }

    /// Goes on at another rate; a sound that cannot be converted to it ends.
    pub(in crate::engine) fn set_rate(&mut self, rate_hz: u32) {
        self.keep(PlayEnd::Failed, |player| player.set_rate(rate_hz));
    }

    fn keep(&mut self, end: PlayEnd, mut stays: impl FnMut(&mut Player) -> bool) {
        let ended = &mut self.ended;
        self.list.retain(|player| {
            let stays = stays(player);
            if !stays {
                ended.push(Ended {
                    report: player.report(),
                    end,
                    sounded: false,
                });
            }
            stays
        });
    }

    /// How loud what is heard otherwise is in this frame: once per frame, before
    /// [`lay_over`](Self::lay_over).
    pub(in crate::engine) fn duck(&mut self, rate_hz: u32) -> &GainRamp {
        let ducked = self.list.iter().any(|player| player.layer == Layer::Over);
        let gain = match ducked {
            true => *DUCKED,
            false => Gain::UNITY,
        };
        if std::mem::replace(&mut self.ducked, ducked) != ducked {
            self.duck.start(gain, DUCK_RAMP_MS * rate_hz / 1_000);
        }
        &self.duck
    }

    /// Lays what is played over (or in the place of) `pcm`, one frame of what is heard otherwise
    /// if `speaks`. Returns whether there is anything to hear.
    pub(in crate::engine) fn lay_over(
        &mut self,
        pcm: &mut [i16],
        speaks: bool,
        memory: &mut Layers,
    ) -> bool {
        if !speaks {
            pcm.fill(0);
        }
        self.duck.apply(pcm);
        match &mut self.list[..] {
            [] => speaks,
            [only] if only.layer == Layer::Alone => {
                let filled = only.fill(pcm);
                pcm[filled..].fill(0);
                self.end_those_over(|player| player.is_over() || filled < pcm.len());
                filled > 0
            }
            _ => self.mix(pcm, speaks, memory),
        }
    }

    fn mix(&mut self, pcm: &mut [i16], speaks: bool, memory: &mut Layers) -> bool {
        let (n, replaced) = (pcm.len(), self.replace());
        memory.played.resize(n, 0);
        memory.sum.resize(n, 0);
        let (played, sum) = (&mut memory.played[..], &mut memory.sum[..]);
        mix::silence(sum);
        if !replaced {
            mix::add(sum, pcm);
        }
        let mut audible = speaks && !replaced;
        self.end_those_over(|player| {
            let filled = player.fill(played);
            mix::add(sum, &played[..filled]);
            audible |= filled > 0;
            filled < n || player.is_over()
        });
        mix::all(sum, pcm);
        audible
    }

    fn end_those_over(&mut self, mut is_over: impl FnMut(&mut Player) -> bool) {
        let ended = &mut self.ended;
        self.list.retain(|player| {
            let over = is_over(player);
            if over {
                let sounded = player.take_sounded();
                ended.push(Ended {
                    report: player.report(),
                    end: PlayEnd::Completed,
                    sounded,
                });
            }
            !over
        });
    }

    /// The frame just made was really sent.
    pub(in crate::engine) fn sent(&mut self) {
        for player in &mut self.list {
            player.sent();
        }
        for ended in &mut self.ended {
            let heard = std::mem::take(&mut ended.sounded);
            ended.report.frames = ended.report.frames.saturating_add(u32::from(heard));
        }
    }

    /// A player that ended and was not told of yet.
    pub(in crate::engine) fn next_ended(&mut self) -> Option<(PlayReport, PlayEnd)> {
        let next = (!self.ended.is_empty()).then(|| self.ended.remove(0))?;
        Some((next.report, next.end))
    }

    /// Those that play, in the order in which they began.
    pub(in crate::engine) fn reports(&self) -> impl Iterator<Item = PlayReport> {
        self.list.iter().map(|player| player.report())
    }
}
