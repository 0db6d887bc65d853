//! One player: its sounds one after another, round after round, with its loudness and its limits.

use std::time::Duration;

use smallvec::SmallVec;

use super::play::{Item, Layer, Listener, Play, PlayId, PlayReport};
use super::source::{Source, samples};
use crate::audio::mix::{Gain, gain};

/// How long a player is held: what a key that is suspected takes to be known as one, and a packet.
const HOLD: Duration = Duration::from_millis(40);

/// A player that was held is not held again for so long: what sounds like a key for ever and is
/// none must not stop it.
const HOLD_REST: Duration = Duration::from_secs(1);

/// Nobody misses a moment where nothing of what is played is above this: −50 dBov.
const PAUSE_PEAK: u16 = 104;

/// A player is late, once, where it has had no pause for so long.
const PAUSE_AWAITED: Duration = Duration::from_millis(500);

/// A player for a listener whose frames are at `rate_hz`.
#[derive(Debug)]
pub(in crate::engine) struct Player {
    pub(in crate::engine) id: PlayId,
    listener: Listener,
    pub(in crate::engine) layer: Layer,
    gain: Gain,
    rate_hz: u32,
    tracks: SmallVec<[Track; 1]>,
    /// The one that plays.
    at: usize,
    /// Rounds of all tracks that are left after this one; `None`: no end.
    rounds_left: Option<u32>,
    /// Samples that may still be played.
    samples_left: u64,
    /// Frames that were really sent.
    frames: u32,
    /// It was heard in the frame that is being made.
    sounded: bool,
    /// Samples of silence before it goes on.
    held: u64,
    /// Samples until it may be held again.
    rests: u64,
    /// Samples since it began or had a pause.
    talks: u64,
    /// It was late in the middle of something.
    was_late: bool,
}

/// One sound of the sequence.
#[derive(Debug)]
struct Track {
    source: Source,
    /// Samples that it may play, and still may in this round.
    limit: u64,
    samples_left: u64,
}

impl Player {
    /// Its listener is behind so many streams and bridges from now on.
    pub(in crate::engine) fn renumber(&mut self, streams: u16, bridges: u8) {
        self.listener = self.listener.after(streams, bridges);
    }

    /// `None` if the rate of a sound is none that we convert.
    pub(in crate::engine) fn new(play: Play, rate_hz: u32) -> Option<Self> {
        let mut times = play.times;
        let only = play.sounds.len() == 1;
        let mut tracks: SmallVec<[Track; 1]> = SmallVec::with_capacity(play.sounds.len());
        for mut item in play.sounds {
            if only && item.limit.is_none() && item.times == Some(1) {
                // Rounds of one clip: it goes on in the middle of a conversion.
                item.times = times.replace(1);
            }
            tracks.push(Track::new(item, rate_hz)?);
        }
        tracks.first_mut()?.rewind(play.start);
        Some(Self {
            id: play.id,
            listener: play.listener,
            layer: play.layer,
            gain: play.gain,
            rate_hz,
            tracks,
            at: 0,
            rounds_left: times.map(|times| times.saturating_sub(1)),
            samples_left: play.limit.map_or(u64::MAX, |limit| samples(limit, rate_hz)),
            frames: 0,
            sounded: false,
            held: 0,
            rests: 0,
            talks: 0,
            was_late: false,
        })
    }

    /// Goes on at another rate, after its listener changed it. `false` if that cannot be.
    pub(in crate::engine) fn set_rate(&mut self, rate_hz: u32) -> bool {
        if rate_hz == self.rate_hz {
            return true;
        }
        let from_hz = std::mem::replace(&mut self.rate_hz, rate_hz);
        let limits = self
            .tracks
            .iter_mut()
            .flat_map(|track| [&mut track.limit, &mut track.samples_left]);
        for left in limits.chain([&mut self.samples_left]) {
            if *left != u64::MAX {
                *left = left.saturating_mul(u64::from(rate_hz)) / u64::from(from_hz.max(1));
            }
        }
        self.tracks
            .iter_mut()
            .all(|track| track.source.set_rate(rate_hz))
    }

    /// Is silent for 40 ms, and goes on where it was; not if it was so within the last second.
    pub(in crate::engine) fn hold(&mut self) {
        if self.rests == 0 {
            self.held = samples(HOLD, self.rate_hz);
            self.rests = self.held + samples(HOLD_REST, self.rate_hz);
        }
    }

    /// Whether it may be a moment late now: before its first sample and in a pause, as nobody hears
    /// that; and once without one, if none comes.
    pub(in crate::engine) fn may_be_late(&mut self) -> bool {
        let waited = self.talks >= samples(PAUSE_AWAITED, self.rate_hz);
        self.talks == 0 || waited && !std::mem::replace(&mut self.was_late, true)
    }

    /// Writes the next samples and returns how many there were; fewer than asked: it has ended.
    pub(in crate::engine) fn fill(&mut self, out: &mut [i16]) -> usize {
        self.rests = self.rests.saturating_sub(out.len() as u64);
        let held = usize::try_from(self.held).map_or(out.len(), |held| held.min(out.len()));
        let (silent, out) = out.split_at_mut(held);
        silent.fill(0);
        self.held -= held as u64;
        if out.is_empty() {
            self.talks = 0;
            return held;
        }
        let filled = self.sound(out);
        let loudest = out[..filled].iter().map(|sample| sample.unsigned_abs());
        self.talks = match loudest.max() {
            Some(peak) if peak > PAUSE_PEAK => self.talks.saturating_add(filled as u64),
            _ => 0,
        };
        held + filled
    }

    fn sound(&mut self, out: &mut [i16]) -> usize {
        let most = usize::try_from(self.samples_left).unwrap_or(usize::MAX);
        let wanted = out.len().min(most);
        let (mut filled, mut empty) = (0, 0);
        while filled < wanted {
            let written = self.tracks[self.at].fill(&mut out[filled..wanted]);
            filled += written;
            // A round in which no track has a sample is the last: more would be as empty.
            empty = if written > 0 { 0 } else { empty + 1 };
            if filled < wanted && (empty > self.tracks.len() || !self.advance()) {
                break;
            }
        }
        gain(&mut out[..filled], self.gain);
        self.samples_left = self.samples_left.saturating_sub(filled as u64);
        self.sounded = filled > 0;
        filled
    }

    /// On to the next track, or to the next round.
    fn advance(&mut self) -> bool {
        if self.at + 1 < self.tracks.len() {
            self.at += 1;
            return true;
        }
        match &mut self.rounds_left {
            Some(0) => return false,
            Some(rounds) => *rounds -= 1,
            None => {}
        }
        self.at = 0;
        for track in &mut self.tracks {
            track.rewind(Duration::ZERO);
        }
        true
    }

    /// Nothing is left to play: a sound of whole frames ends with its last one, and not with a
    /// silent one after it.
    pub(in crate::engine) fn is_over(&self) -> bool {
        let played = || self.tracks[self.at..].iter().all(Track::is_over);
        self.samples_left == 0 || (self.rounds_left == Some(0) && played())
    }

    /// Whether it was heard in the frame that is being made; says so once.
    pub(in crate::engine) fn take_sounded(&mut self) -> bool {
        std::mem::take(&mut self.sounded)
    }

    /// The frame that is being made was really sent.
    pub(in crate::engine) fn sent(&mut self) {
        self.frames = self.frames.saturating_add(u32::from(self.take_sounded()));
    }

    pub(in crate::engine) fn report(&self) -> PlayReport {
        let missing = self.tracks.iter().map(|track| track.source.missing());
        PlayReport {
            id: self.id,
            listener: self.listener,
            item: u16::try_from(self.at).unwrap_or(u16::MAX),
            position: self.tracks[self.at].source.position(),
            frames: self.frames,
            missing: missing.fold(0, u32::saturating_add),
        }
    }
}

impl Track {
    fn new(item: Item, rate_hz: u32) -> Option<Self> {
        let limit = item.limit.map_or(u64::MAX, |limit| samples(limit, rate_hz));
        Some(Self {
            source: Source::new(item.sound, item.times, rate_hz)?,
            limit,
            samples_left: limit,
        })
    }

    fn rewind(&mut self, start: Duration) {
        self.samples_left = self.limit;
        self.source.rewind(start);
    }

    fn fill(&mut self, out: &mut [i16]) -> usize {
        let most = usize::try_from(self.samples_left).unwrap_or(usize::MAX);
        let wanted = out.len().min(most);
        let filled = self.source.fill(&mut out[..wanted]);
        self.samples_left = self.samples_left.saturating_sub(filled as u64);
        filled
    }

    fn is_over(&self) -> bool {
        self.samples_left == 0 || self.source.is_over()
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::audio::clip::Clip;
    use crate::engine::api::StreamIx;
    use crate::engine::voice::play::Sound;

    fn clip(samples: usize, value: i16) -> Sound {
        Sound::Clip(Arc::new(Clip::new(vec![value; samples], 8_000).unwrap()))
    }

    fn play<const N: usize>(sounds: [Sound; N]) -> Play {
        Play::new(PlayId(1), StreamIx(0), sounds)
    }

    /// Frames until it ends, with how many samples of the last one it filled.
    fn drained(player: &mut Player, frame: usize) -> Vec<i16> {
        let mut all = Vec::new();
        for _ in 0..10_000 {
            let mut pcm = vec![0; frame];
            let filled = player.fill(&mut pcm);
            all.extend_from_slice(&pcm[..filled]);
            if filled < frame || player.is_over() {
                return all;
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn sounds_follow_each_other_to_the_sample() {
        let mut sequence = play([clip(33, 1), clip(1, 2), clip(500, 3)]);
        sequence.sounds[0].times = Some(3);
        sequence.sounds[2].limit = Some(Duration::from_micros(5_000));
        sequence.times = Some(2);
        sequence.start = Duration::from_micros(1_000);
        let mut player = Player::new(sequence, 8_000).unwrap();
        let all = drained(&mut player, 80);
        let round = |first: usize| [vec![1; first], vec![2], vec![3; 40]].concat();
        assert_eq!(all, [round(91), round(99)].concat());
        assert_eq!(player.report().item, 2);
    }

    #[test]
    fn a_joint_of_different_rates_has_no_gap() {
        let wide = Sound::Clip(Arc::new(Clip::new(vec![500; 4_801], 48_000).unwrap()));
        let mut player = Player::new(play([clip(803, 500), wide, clip(7, 500)]), 24_000).unwrap();
        let all = drained(&mut player, 480);
        assert_eq!(all.len(), 803 * 3 + 2_400 + 21);
        // Each joint bends what lies next to it, as every beginning and end does.
        let joints = [0, 803 * 3, 803 * 3 + 2_400, all.len()];
        let inside = |n: usize| joints.iter().all(|joint| n.abs_diff(*joint) > 96);
        let steady = (0..all.len()).filter(|n| inside(*n)).map(|n| all[n]);
        assert!(steady.into_iter().all(|value| (498..=502).contains(&value)));
    }

    #[test]
    fn a_player_may_be_late_in_its_pauses_and_once_without_one() {
        let peak = PAUSE_PEAK as i16;
        let loud = samples(PAUSE_AWAITED, 8_000) as usize;
        let sounds = [clip(loud, peak + 1), clip(160, -peak), clip(8_000, 9)];
        let mut player = Player::new(play(sounds), 8_000).unwrap();
        let frame = |player: &mut Player| player.fill(&mut [0; 160]);
        assert!(player.may_be_late() && player.may_be_late(), "it begins");
        for _ in 1..loud / 160 {
            frame(&mut player);
            assert!(!player.may_be_late());
        }
        frame(&mut player);
        assert!(player.may_be_late(), "it has waited long enough");
        assert!(!player.may_be_late(), "but once");
        frame(&mut player);
        assert!(player.may_be_late() && player.may_be_late(), "a pause");
    }

    #[test]
    fn a_sequence_without_a_sample_ends_though_it_has_no_end() {
        let mut sequence = play([clip(100, 1), clip(100, 2)]);
        for item in &mut sequence.sounds {
            item.limit = Some(Duration::ZERO);
        }
        sequence.times = None;
        let mut player = Player::new(sequence, 8_000).unwrap();
        assert_eq!(player.fill(&mut [0; 160]), 0);
        assert!(Player::new(play([]), 8_000).is_none());
    }

    #[test]
    fn limits_and_positions_survive_a_change_of_rate() {
        let mut sequence = play([clip(800, 9), clip(8_000, 9)]);
        sequence.limit = Some(Duration::from_millis(500));
        let mut player = Player::new(sequence, 8_000).unwrap();
        player.fill(&mut [0; 1_600]);
        assert!(player.set_rate(16_000));
        let report = player.report();
        assert_eq!((report.item, report.position.as_millis()), (1, 100));
        assert_eq!(drained(&mut player, 320).len(), 16_000 * 3 / 10);
        assert!(!player.set_rate(11_025));
    }
}
