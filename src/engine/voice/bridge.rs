//! Legs that hear each other: one sum per frame, and for each listener that sum without itself.

use super::api::{BridgeConfig, Edge, Member};
use super::mouth::FRAME_SAMPLES_MAX;
use crate::audio::mix::{self, Gain};
use crate::audio::resample::Resampler;
use crate::engine::api::StreamIx;
use crate::engine::time::Micros;

/// A talker keeps its place among the loudest until another is louder by this factor (3 dB), so
/// that two equally loud ones do not take turns.
const KEEP_PLACE: (u32, u32) = (7, 5);

/// Loudness follows a talker with this time constant, in frames, when it falls.
const DECAY_FRAMES: u32 = 16;

/// A bridge at work.
#[derive(Debug)]
pub(in crate::engine) struct Bridge {
    pub(in crate::engine) seats: Vec<Seat>,
    edges: Vec<Edge>,
    loudest: u8,
    pub(in crate::engine) next_at: Micros,
    rate_hz: u32,
    frame_ms: u32,
    /// All talkers that are mixed, at unity or their member gain.
    sum: Vec<i32>,
    /// Every seat's own samples of this frame, one after the other.
    pcm: Vec<i16>,
    /// Seats in order of loudness, kept for its memory.
    order: Vec<usize>,
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
    /// Its settings by exception.
    has_edges: bool,
}

impl Bridge {
    pub(in crate::engine) fn new(next_at: Micros) -> Self {
        Self {
            seats: Vec::new(),
            edges: Vec::new(),
            loudest: 0,
            next_at,
            rate_hz: 8_000,
            frame_ms: 20,
            sum: Vec::new(),
            pcm: Vec::new(),
            order: Vec::new(),
        }
    }

    /// Takes new settings; members that stay keep their state.
    pub(in crate::engine) fn configure(&mut self, config: BridgeConfig) {
        let mut old = std::mem::take(&mut self.seats);
        for member in config.members {
            let known = old.iter().position(|s| s.member.stream == member.stream);
            let mut seat = known.map_or_else(|| Seat::new(member), |ix| old.swap_remove(ix));
            seat.member = member;
            seat.has_edges = config
                .edges
                .iter()
                .any(|edge| edge.listener == member.stream);
            self.seats.push(seat);
        }
        self.edges = config.edges;
        self.loudest = config.loudest;
    }

    /// Sets rate and frame length, and makes room for a frame of everybody.
    pub(in crate::engine) fn shape(&mut self, rate_hz: u32, frame_ms: u32) {
        (self.rate_hz, self.frame_ms) = (rate_hz, frame_ms);
        let n = self.frame_samples();
        self.sum.resize(n, 0);
        self.pcm.resize(n * self.seats.len(), 0);
        self.order.reserve(self.seats.len());
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
        let Some(seat) = self.seats.get_mut(ix) else {
            return;
        };
        let own = &mut self.pcm[n * ix..n * (ix + 1)];
        if rate_hz == bridge_hz {
            seat.spoke = pull(own);
        } else {
            let mut raw = [0_i16; FRAME_SAMPLES_MAX];
            let raw = &mut raw[..samples_in.min(FRAME_SAMPLES_MAX)];
            seat.spoke = pull(raw);
            seat.spoke &= convert(&mut seat.inward, rate_hz, bridge_hz, raw, own);
        }
        seat.was_heard = seat.heard;
        seat.heard = seat.spoke && seat.member.talks;
        seat.follow(own);
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
        self.choose();
        let n = self.frame_samples();
        mix::silence(&mut self.sum);
        for (ix, seat) in self.seats.iter().enumerate().filter(|(_, s)| s.heard) {
            let own = &self.pcm[n * ix..n * (ix + 1)];
            if seat.member.gain == Gain::UNITY {
                mix::add(&mut self.sum, own);
            } else {
                mix::add_gain(&mut self.sum, own, seat.member.gain);
            }
        }
    }

    /// Only the loudest stay heard, with a bonus for those who were.
    fn choose(&mut self) {
        let most = usize::from(self.loudest);
        let talkers = self.seats.iter().filter(|seat| seat.heard).count();
        if most == 0 || talkers <= most {
            return;
        }
        self.order.clear();
        self.order
            .extend((0..self.seats.len()).filter(|&ix| self.seats[ix].heard));
        let seats = &self.seats;
        self.order
            .sort_unstable_by_key(|&ix| std::cmp::Reverse(seats[ix].rank()));
        for &ix in &self.order[most..] {
            self.seats[ix].heard = false;
        }
    }

    /// Whether what this seat hears is what every silent listener hears.
    pub(in crate::engine) fn hears_common(&self, ix: usize) -> bool {
        let seat = &self.seats[ix];
        !seat.heard && !seat.has_edges
    }

    /// Whether anybody is heard by this seat.
    pub(in crate::engine) fn hears_any(&self, ix: usize) -> bool {
        let seat = &self.seats[ix];
        let common = self
            .seats
            .iter()
            .enumerate()
            .any(|(other, s)| s.heard && other != ix);
        common || seat.has_edges
    }

    /// What a seat hears, at the bridge's rate: the sum without itself, with its exceptions.
    pub(in crate::engine) fn mix_for(&self, ix: usize, out: &mut [i16]) {
        let n = self.frame_samples();
        let seat = &self.seats[ix];
        if seat.has_edges {
            return self.mix_by_edges(ix, out);
        }
        let own = &self.pcm[n * ix..n * (ix + 1)];
        match (seat.heard, seat.member.gain == Gain::UNITY) {
            (false, _) => mix::all(&self.sum, out),
            (true, true) => mix::minus(&self.sum, own, out),
            (true, false) => mix::minus_gain(&self.sum, own, seat.member.gain, out),
        }
    }

    fn mix_by_edges(&self, ix: usize, out: &mut [i16]) {
        let n = self.frame_samples();
        let listener = self.seats[ix].member.stream;
        let mut sum = [0_i32; FRAME_SAMPLES_MAX];
        let sum = &mut sum[..n.min(FRAME_SAMPLES_MAX)];
        for (other, seat) in self
            .seats
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != ix)
        {
            let gain = self.gain(listener, seat);
            if gain != Gain::MUTE {
                mix::add_gain(sum, &self.pcm[n * other..n * (other + 1)], gain);
            }
        }
        mix::all(sum, out);
    }

    /// How loud a listener hears a seat in this frame.
    fn gain(&self, listener: StreamIx, seat: &Seat) -> Gain {
        let edge = self
            .edges
            .iter()
            .find(|edge| edge.listener == listener && edge.talker == seat.member.stream);
        match edge {
            Some(edge) if seat.spoke => edge.gain,
            None if seat.heard => seat.member.gain,
            _ => Gain::MUTE,
        }
    }

    /// Whether some exception lets a seat be heard that does not talk to all.
    pub(in crate::engine) fn has_edge_from(&self, talker: StreamIx) -> bool {
        self.edges.iter().any(|edge| edge.talker == talker)
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
            has_edges: false,
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
        let total: u64 = pcm.iter().map(|s| u64::from(s.unsigned_abs())).sum();
        let mean = u32::try_from(total / pcm.len().max(1) as u64).unwrap_or(u32::MAX);
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
