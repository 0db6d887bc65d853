//! Legs that hear each other: one sum per frame, and for each listener that sum without itself.

mod pair;
#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "test data is built from small counts"
)]
mod tests;

use smallvec::SmallVec;

pub(in crate::engine) use self::pair::Pair;

use super::api::{BridgeConfig, Edge, Member};
use super::common::{COMMONS_MAX, Common};
use super::mouth::{FRAME_SAMPLES_MAX, Mouth};
use super::players::{Layers, Players};
use crate::audio::mix::{self, Gain};
use crate::audio::resample::Resampler;
use crate::engine::api::StreamIx;
use crate::engine::time::Micros;

/// A talker keeps its place among the loudest until another is louder by this factor (3 dB), so
/// that two equally loud ones do not take turns.
const KEEP_PLACE: (u32, u32) = (7, 5);

/// Loudness follows a talker with this time constant, in frames, when it falls.
const DECAY_FRAMES: u32 = 16;

/// Sources that are added at once.
const AT_ONCE: usize = 8;

/// A bridge at work.
#[derive(Debug)]
pub(in crate::engine) struct Bridge {
    pub(in crate::engine) seats: Vec<Seat>,
    loudest: u8,
    pub(in crate::engine) next_at: Micros,
    rate_hz: u32,
    frame_ms: u32,
    /// All talkers that are mixed, at unity or their member gain.
    sum: Vec<i32>,
    /// The same for one listener with exceptions.
    own_sum: Vec<i32>,
    /// Every seat's own samples of this frame, one after the other.
    pcm: Vec<i16>,
    /// A seat's samples before their rate is converted.
    raw: Vec<i16>,
    /// Seats that are mixed.
    heard: Vec<usize>,
    /// What silent listeners hear, at the bridge's rate: of this frame if `is_mixed`, else of the
    /// last one that anybody heard.
    common_pcm: Vec<i16>,
    is_mixed: bool,
    commons: SmallVec<[Box<Common>; 1]>,
    /// Whether packets pass as they are.
    pub(in crate::engine) pair: Pair,
    /// They do not before this moment.
    pub(in crate::engine) mixes_until: Micros,
    /// What everybody is played who listens: one more talker, whom nobody mutes.
    pub(in crate::engine) players: Players,
    /// What they play in this frame, if there is anything.
    played: bool,
    played_pcm: Vec<i16>,
    layers: Layers,
}

/// One who is heard.
#[derive(Clone, Copy, Debug)]
enum Voice {
    /// The seat, with the gain with which it is heard.
    Seat(usize, Gain),
    /// The players.
    Played,
}

/// A member with what it takes to hear and be heard.
#[derive(Debug)]
pub(in crate::engine) struct Seat {
    pub(in crate::engine) member: Member,
    /// From its ear's rate to the bridge's.
    inward: Option<(u32, Box<Resampler>)>,
    /// From the bridge's rate to its mouth's.
    outward: Option<(u32, Box<Resampler>)>,
    loudness: u32,
    /// It said something in this frame.
    spoke: bool,
    /// What it said is in the sum.
    heard: bool,
    /// It was in the sum one frame ago.
    was_heard: bool,
    /// Other seats and how loud it hears them, where that is not their member gain.
    exceptions: Vec<(usize, Gain)>,
    /// Some other seat hears it by exception.
    excepted: bool,
}

impl Bridge {
    pub(in crate::engine) fn new(next_at: Micros) -> Self {
        Self {
            seats: Vec::new(),
            loudest: 0,
            next_at,
            rate_hz: 8_000,
            frame_ms: 20,
            sum: Vec::new(),
            own_sum: Vec::new(),
            pcm: Vec::new(),
            raw: Vec::new(),
            heard: Vec::new(),
            common_pcm: Vec::new(),
            is_mixed: false,
            commons: SmallVec::new(),
            pair: Pair::default(),
            mixes_until: Micros::ZERO,
            players: Players::new(),
            played: false,
            played_pcm: Vec::new(),
            layers: Layers::default(),
        }
    }

    /// Takes new settings; members that stay keep their state. O(members² + members × edges), at a
    /// command.
    pub(in crate::engine) fn configure(&mut self, config: BridgeConfig) {
        let mut old = std::mem::take(&mut self.seats);
        for member in config.members {
            let known = old.iter().position(|s| s.member.stream == member.stream);
            let mut seat = known.map_or_else(|| Seat::new(member), |ix| old.swap_remove(ix));
            seat.member = member;
            seat.exceptions.clear();
            seat.excepted = false;
            self.seats.push(seat);
        }
        for edge in &config.edges {
            self.except(edge);
        }
        self.loudest = config.loudest;
    }

    /// Notes an exception between two members; of several for one pair the first counts.
    fn except(&mut self, edge: &Edge) {
        let place = |stream: StreamIx| self.seats.iter().position(|s| s.member.stream == stream);
        let (Some(listener), Some(talker)) = (place(edge.listener), place(edge.talker)) else {
            return;
        };
        let exceptions = &mut self.seats[listener].exceptions;
        if listener != talker && !exceptions.iter().any(|(other, _)| *other == talker) {
            exceptions.push((talker, edge.gain));
            self.seats[talker].excepted = true;
        }
    }

    /// The streams of the call count from `by` on from now on, and its bridges from `bridges`.
    pub(in crate::engine) fn renumber(&mut self, by: u16, bridges: u8) {
        self.players.renumber(by, bridges);
        for seat in &mut self.seats {
            seat.member.stream = seat.member.stream.after(by);
        }
    }

    /// Sets rate and frame length, and makes room for a frame of everybody.
    pub(in crate::engine) fn shape(&mut self, rate_hz: u32, frame_ms: u32) {
        (self.rate_hz, self.frame_ms) = (rate_hz, frame_ms);
        let n = self.frame_samples();
        self.sum.resize(n, 0);
        self.own_sum.resize(n, 0);
        self.pcm.resize(n * self.seats.len(), 0);
        self.common_pcm.resize(n, 0);
        self.heard.clear();
        self.heard.reserve(self.seats.len());
        self.players.set_rate(rate_hz);
    }

    pub(in crate::engine) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    pub(in crate::engine) fn period_us(&self) -> u64 {
        u64::from(self.frame_ms) * 1_000
    }

    pub(in crate::engine) fn frame_ms(&self) -> u32 {
        self.frame_ms
    }

    pub(in crate::engine) fn frame_samples(&self) -> usize {
        (self.rate_hz / 1_000 * self.frame_ms) as usize
    }

    /// Takes one seat's frame: `pull` writes samples at the given rate and says whether there was
    /// something. `rate_hz` is the rate of its ear.
    pub(in crate::engine) fn take(
        &mut self,
        ix: usize,
        rate_hz: u32,
        pull: impl FnOnce(&mut [i16]) -> bool,
    ) {
        let n = self.frame_samples();
        let bridge_hz = self.rate_hz;
        let samples_in = (rate_hz / 1_000 * self.frame_ms) as usize;
        let is_ranked = self.loudest != 0;
        let Some(seat) = self.seats.get_mut(ix) else {
            return;
        };
        let own = &mut self.pcm[n * ix..n * (ix + 1)];
        if rate_hz == bridge_hz {
            seat.spoke = pull(own);
        } else {
            self.raw.resize(samples_in.min(FRAME_SAMPLES_MAX), 0);
            seat.spoke = pull(&mut self.raw);
            seat.spoke &= convert(&mut seat.inward, rate_hz, bridge_hz, &self.raw, own);
        }
        seat.was_heard = seat.heard;
        seat.heard = seat.spoke && seat.member.talks;
        if is_ranked {
            seat.follow(own);
        }
    }

    /// Who hears a member, besides itself.
    pub(in crate::engine) fn hearers_of(&self, talker: StreamIx, found: &mut Vec<StreamIx>) {
        let Some(ix) = self.seats.iter().position(|s| s.member.stream == talker) else {
            return;
        };
        let member = self.seats[ix].member;
        let usual = member.talks && member.gain != Gain::MUTE;
        for seat in self.seats.iter().filter(|seat| seat.member.listens) {
            let mut exceptions = seat.exceptions.iter();
            let except = exceptions.find(|(other, _)| *other == ix);
            let hears = except.map_or(usual, |(_, gain)| *gain != Gain::MUTE);
            if hears && seat.member.stream != talker {
                found.push(seat.member.stream);
            }
        }
    }

    /// Nobody pulled this seat: it is silent.
    pub(in crate::engine) fn skip(&mut self, ix: usize) {
        if let Some(seat) = self.seats.get_mut(ix) {
            (seat.spoke, seat.heard, seat.was_heard) = (false, false, false);
            seat.loudness -= seat.loudness / DECAY_FRAMES;
        }
    }

    /// After everybody was taken: who is mixed, and their sum.
    pub(in crate::engine) fn sum_up(&mut self) {
        self.is_mixed = false;
        self.commons.iter_mut().for_each(|common| common.begin());
        self.play();
        self.choose();
        let n = self.frame_samples();
        let at = |ix: usize| &self.pcm[n * ix..n * (ix + 1)];
        let is_plain = |ix: &&usize| self.seats[**ix].member.gain == Gain::UNITY;
        mix::silence(&mut self.sum);
        let mut plain = self.heard.iter().filter(is_plain);
        loop {
            let group: SmallVec<[&[i16]; AT_ONCE]> =
                plain.by_ref().take(AT_ONCE).map(|ix| at(*ix)).collect();
            if group.is_empty() {
                break;
            }
            mix::add_all(&mut self.sum, &group);
        }
        for &ix in self.heard.iter().filter(|ix| !is_plain(ix)) {
            mix::add_gain(&mut self.sum, at(ix), self.seats[ix].member.gain);
        }
        if self.played {
            mix::add(&mut self.sum, &self.played_pcm);
        }
    }

    /// What is played in this frame, and what it leaves of the talkers.
    fn play(&mut self) {
        self.played = false;
        if self.players.are_at_rest() {
            return;
        }
        let n = self.frame_samples();
        self.played_pcm.resize(n, 0);
        let replaced = self.players.replace();
        let ramp = self.players.duck(self.rate_hz);
        for (seat, own) in self.seats.iter_mut().zip(self.pcm.chunks_mut(n.max(1))) {
            if replaced {
                (seat.spoke, seat.heard) = (false, false);
            } else if seat.spoke {
                // The same to all, before anybody is taken out of the sum again.
                ramp.clone().apply(own);
            }
        }
        let (pcm, layers) = (&mut self.played_pcm, &mut self.layers);
        self.played = self.players.lay_over(pcm, false, layers);
    }

    /// Only the loudest stay heard, with a bonus for those who were.
    fn choose(&mut self) {
        let seats = &mut self.seats;
        self.heard.clear();
        self.heard
            .extend((0..seats.len()).filter(|&ix| seats[ix].heard));
        let most = usize::from(self.loudest);
        if most == 0 || self.heard.len() <= most {
            return;
        }
        let rank = |ix: &usize| std::cmp::Reverse(seats[*ix].rank());
        self.heard.select_nth_unstable_by_key(most, rank);
        for ix in self.heard.drain(most..) {
            seats[ix].heard = false;
        }
    }

    /// Whether what this seat hears is what every silent listener hears.
    pub(in crate::engine) fn hears_common(&self, ix: usize) -> bool {
        let seat = &self.seats[ix];
        !seat.heard && seat.exceptions.is_empty()
    }

    /// Whether anybody is heard by this seat.
    pub(in crate::engine) fn hears_any(&self, ix: usize) -> bool {
        self.sources(ix).0 > 0
    }

    /// How many a seat hears, and one of them. O(its exceptions).
    fn sources(&self, ix: usize) -> (usize, Option<Voice>) {
        let seat = &self.seats[ix];
        let of = |other: usize| Voice::Seat(other, self.seats[other].member.gain);
        let played = self.played.then_some(Voice::Played);
        if seat.exceptions.is_empty() {
            let others = self.heard.len() - usize::from(seat.heard);
            let first = self.heard.iter().find(|other| **other != ix);
            let first = played.or_else(|| first.map(|other| of(*other)));
            return (others + usize::from(self.played), first);
        }
        let is_excepted =
            |other: usize| other == ix || seat.exceptions.iter().any(|(by, _)| *by == other);
        let plainly = self.heard.iter().filter(|other| !is_excepted(**other));
        let by_exception = seat
            .exceptions
            .iter()
            .filter(|(other, gain)| self.seats[*other].spoke && *gain != Gain::MUTE);
        let by_exception = by_exception.map(|(other, gain)| Voice::Seat(*other, *gain));
        let plainly = plainly.map(|other| of(*other));
        let mut all = played.into_iter().chain(plainly).chain(by_exception);
        let first = all.next();
        (all.count() + usize::from(first.is_some()), first)
    }

    /// What a seat hears, at the bridge's rate: the sum without itself, with its exceptions. A
    /// single talker passes as it is, however loud.
    pub(in crate::engine) fn mix_for(&mut self, ix: usize, out: &mut [i16]) {
        let n = self.frame_samples();
        match self.sources(ix) {
            (1, Some(Voice::Seat(only, gain))) => {
                out.copy_from_slice(&self.pcm[n * only..n * (only + 1)]);
                return mix::gain(out, gain);
            }
            (1, Some(Voice::Played)) => return out.copy_from_slice(&self.played_pcm),
            _ => {}
        }
        let seat = &self.seats[ix];
        if !seat.exceptions.is_empty() {
            return self.mix_by_exceptions(ix, out);
        }
        let own = &self.pcm[n * ix..n * (ix + 1)];
        match (seat.heard, seat.member.gain == Gain::UNITY) {
            (false, _) => mix::all(&self.sum, out),
            (true, true) => mix::minus(&self.sum, own, out),
            (true, false) => mix::minus_gain(&self.sum, own, seat.member.gain, out),
        }
    }

    /// Takes out of the sum who is heard otherwise, and adds it as it is heard.
    fn mix_by_exceptions(&mut self, ix: usize, out: &mut [i16]) {
        let n = self.frame_samples();
        let at = |ix: usize| &self.pcm[n * ix..n * (ix + 1)];
        let seat = &self.seats[ix];
        self.own_sum.copy_from_slice(&self.sum);
        let excepted = seat.exceptions.iter().map(|(other, _)| *other);
        for other in excepted
            .chain([ix])
            .filter(|other| self.seats[*other].heard)
        {
            mix::take_gain(&mut self.own_sum, at(other), self.seats[other].member.gain);
        }
        for (other, gain) in &seat.exceptions {
            if self.seats[*other].spoke && *gain != Gain::MUTE {
                mix::add_gain(&mut self.own_sum, at(*other), *gain);
            }
        }
        mix::all(&self.own_sum, out);
    }

    /// Whether a seat's audio is of use: somebody may hear it.
    pub(in crate::engine) fn is_wanted(&self, ix: usize) -> bool {
        self.seats[ix].member.talks || self.seats[ix].excepted
    }

    /// A mouth that heard what all hear and now hears something else goes its own way.
    pub(in crate::engine) fn part(&mut self, ix: usize, mouth: &mut Mouth) {
        let Some(slot) = mouth.common.take() else {
            return;
        };
        if let Some(common) = self.commons.get_mut(usize::from(slot)) {
            common.part(mouth);
        }
        if mouth.rate_hz() == self.rate_hz {
            return;
        }
        // Its converter heard nothing of late; the last frame is more than it remembers.
        let seat = &mut self.seats[ix];
        self.raw.resize(FRAME_SAMPLES_MAX, 0);
        let (from_hz, to_hz) = (self.rate_hz, mouth.rate_hz());
        convert(
            &mut seat.outward,
            from_hz,
            to_hz,
            &self.common_pcm,
            &mut self.raw,
        );
    }

    /// A member leaves the bridge.
    pub(in crate::engine) fn dismiss(&mut self, stream: StreamIx, mouth: &mut Mouth) {
        if let Some(ix) = self.seats.iter().position(|s| s.member.stream == stream) {
            self.part(ix, mouth);
        }
        mouth.common = None;
    }

    /// Counts anew who hears what is common; `common_of` says of a stream's mouth what it hears.
    pub(in crate::engine) fn recount(&mut self, common_of: impl Fn(StreamIx) -> Option<u8>) {
        let heard = self.seats.iter().map(|seat| common_of(seat.member.stream));
        let heard: Vec<_> = heard.flatten().collect();
        for (slot, common) in (0_u8..).zip(&mut self.commons) {
            common.set_listeners(heard.iter().filter(|of| **of == slot).count());
        }
    }

    /// This frame of what all hear, encoded for a mouth; `None`: it has to encode by itself.
    pub(in crate::engine) fn common_for(&mut self, mouth: &mut Mouth) -> Option<&[u8]> {
        if !std::mem::replace(&mut self.is_mixed, true) {
            let n = self.frame_samples();
            match *self.heard {
                [] if self.played => self.common_pcm.copy_from_slice(&self.played_pcm),
                [only] if !self.played => {
                    let own = &self.pcm[n * only..n * (only + 1)];
                    self.common_pcm.copy_from_slice(own);
                    mix::gain(&mut self.common_pcm, self.seats[only].member.gain);
                }
                _ => mix::all(&self.sum, &mut self.common_pcm),
            }
        }
        if mouth.common.is_none() {
            mouth.common = self.join(mouth);
        }
        let common = self.commons.get_mut(usize::from(mouth.common?))?;
        common.note_loss(mouth.loss());
        Some(common.payload(self.rate_hz, &self.common_pcm))
    }

    /// Finds or makes the place of a mouth's codec, and whether the mouth may have it now.
    fn join(&mut self, mouth: &mut Mouth) -> Option<u8> {
        let codec = mouth.codec();
        let known = self
            .commons
            .iter()
            .position(|common| common.codec() == codec);
        let slot = match known {
            Some(slot) => slot,
            None if self.commons.len() < COMMONS_MAX => {
                self.commons.push(Box::new(Common::new(codec).ok()?));
                self.commons.len() - 1
            }
            None => return None,
        };
        let samples = self.common_pcm.iter();
        let peak = samples.map(|s| s.unsigned_abs()).max().unwrap_or(0);
        let joins = self.commons[slot].join(mouth, peak);
        u8::try_from(slot).ok().filter(|_| joins)
    }
}

impl Seat {
    fn new(member: Member) -> Self {
        Self {
            member,
            inward: None,
            outward: None,
            loudness: 0,
            spoke: false,
            heard: false,
            was_heard: false,
            exceptions: Vec::new(),
            excepted: false,
        }
    }

    /// Its claim to be mixed.
    fn rank(&self) -> u32 {
        let (times, of) = if self.was_heard { KEEP_PLACE } else { (1, 1) };
        self.loudness.saturating_mul(times) / of
    }

    /// Follows its loudness: at once up, slowly down.
    fn follow(&mut self, pcm: &[i16]) {
        if !self.spoke {
            self.loudness -= self.loudness / DECAY_FRAMES;
            return;
        }
        // At most 2,880 times 2¹⁵.
        let total: u32 = pcm.iter().map(|s| u32::from(s.unsigned_abs())).sum();
        let mean = total / u32::try_from(pcm.len().max(1)).unwrap_or(u32::MAX);
        self.loudness = mean.max(self.loudness - self.loudness / DECAY_FRAMES);
    }

    /// Converts what it hears to its mouth's rate.
    pub(in crate::engine) fn outward(
        &mut self,
        from_hz: u32,
        to_hz: u32,
        mixed: &[i16],
        out: &mut [i16],
    ) -> bool {
        convert(&mut self.outward, from_hz, to_hz, mixed, out)
    }
}

/// Converts a frame with a converter that is made when the rates change.
pub(in crate::engine) fn convert(
    kept: &mut Option<(u32, Box<Resampler>)>,
    from_hz: u32,
    to_hz: u32,
    input: &[i16],
    out: &mut [i16],
) -> bool {
    let key = from_hz ^ to_hz.rotate_left(16);
    if kept.as_ref().is_none_or(|(known, _)| *known != key) {
        *kept = Resampler::new(from_hz, to_hz).map(|made| (key, Box::new(made)));
    }
    let Some((_, resampler)) = kept else {
        return false;
    };
    if resampler.output_len(input.len()) > out.len() {
        return false;
    }
    resampler.process(input, out);
    true
}
