//! A call in which everything happens that makes a recording difficult: who says what and when,
//! as packets with the times at which they come.

use std::f64::consts::TAU;

use super::{Arrival, Network, OPUS, PCMA, PCMU, Talker};

/// Of the caller and the callee: a tone that lasts. No harmonic of one is near the other, and none
/// fits into a packet, so that noise of coding is not on their lines.
pub const TONE_HZ: [f64; 2] = [701.3, 1_893.7];

/// Amplitudes.
pub const TONE: f64 = 7_000.0;
pub const MARKER: f64 = 9_000.0;

/// Of the caller and the callee: the tone of the pulses that are a marker.
pub const MARKER_HZ: [f64; 2] = [1_250.0, 2_600.0];

/// Where the middle of a marker's pulses is, in seconds from its own: a lost packet, and what a
/// codec makes of the next ones, spoil some of them, and no two have the same distance but few.
pub const PULSES_S: [f64; 8] = [-0.2, -0.15, -0.11, -0.04, 0.02, 0.09, 0.14, 0.2];

/// Seconds from a pulse's beginning to its middle.
pub const PULSE_HALF_S: f64 = 0.02;

/// No party is silent so near to a marker's middle, in seconds.
const NEAR_S: f64 = 0.25;

/// What is said beside packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// The callee is there.
    Answer,
    /// A party holds the other one, or goes on.
    Hold(usize, bool),
    /// The callee has another codec from now on.
    Reoffer,
}

/// What happens at a moment.
#[derive(Clone, Copy)]
pub enum Happening<'a> {
    Turn(Turn),
    Packet(usize, &'a [u8]),
}

/// How a call is.
pub struct Shape {
    pub length_s: f64,
    /// Seconds between two markers.
    pub every_s: f64,
    /// Most that a packet is under way longer than the fastest, in seconds.
    pub jitter_s: f64,
    /// The caller speaks before it is answered; otherwise it has nowhere to send to.
    pub early: bool,
}

/// The call.
pub struct Plan {
    pub length_s: f64,
    /// By party, in order of their coming.
    pub arrivals: [Vec<Arrival>; 2],
    /// In order.
    pub turns: Vec<(f64, Turn)>,
    /// By party: the middle of its markers that are heard as a whole.
    pub markers: [Vec<f64>; 2],
}

/// The shape of a pulse, so many seconds from its middle: Hann's.
pub fn pulse(from_s: f64) -> f64 {
    match from_s.abs() < PULSE_HALF_S {
        true => (from_s / PULSE_HALF_S * TAU / 4.0).cos().powi(2),
        false => 0.0,
    }
}

/// What a party says at a moment.
fn said(party: usize, every_s: f64) -> impl Fn(f64) -> f64 {
    move |t| {
        let from = (t + every_s / 2.0).rem_euclid(every_s) - every_s / 2.0;
        let tone = TONE * (TAU * TONE_HZ[party] * t).sin();
        let pulses = PULSES_S.iter().map(|middle| pulse(from - middle));
        match pulses.fold(0.0, f64::max) {
            shape if shape > 0.0 => tone + MARKER * shape * (TAU * MARKER_HZ[party] * from).cos(),
            _ => tone,
        }
    }
}

/// A party that is silent now and then, with and without the bit that says so, but not near a
/// marker; and when it spoke.
struct Voice {
    talker: Talker,
    party: usize,
    every_s: f64,
    spoken: Vec<(f64, f64)>,
    spurts: u32,
}

impl Voice {
    fn new(party: usize, shape: &Shape) -> Self {
        let (pt, ppm) = [(PCMU, -100.0), (PCMA, 100.0)][party];
        let network = Network {
            delay_s: 0.0,
            jitter_s: shape.jitter_s,
            loss: 0.05,
        };
        let mut talker = Talker::new(pt, ppm, network, 7 + party as u64);
        talker.ssrc = 100 + party as u32;
        Self {
            talker,
            party,
            every_s: shape.every_s,
            spoken: Vec::new(),
            spurts: 0,
        }
    }

    /// Speaks and is silent in turn.
    fn until(&mut self, until_s: f64) {
        while self.talker.now_s < until_s - 1e-6 {
            self.spurts += 1;
            self.talker.marker = self.spurts.is_multiple_of(2);
            self.speak((self.talker.now_s + 1.2 + f64::from(self.spurts % 5) * 0.3).min(until_s));
            let pause_s = 0.2 + f64::from(self.spurts % 3) * 0.1;
            let since_marker_s = self.talker.now_s % self.every_s;
            let fits = NEAR_S..self.every_s - NEAR_S - pause_s;
            if fits.contains(&since_marker_s) && self.talker.now_s + pause_s < until_s {
                self.talker.pass(pause_s);
            }
        }
    }

    fn speak(&mut self, until_s: f64) {
        let from_s = self.talker.now_s;
        self.talker.say(until_s, said(self.party, self.every_s));
        match self.spoken.last_mut() {
            Some(last) if last.1 == from_s => last.1 = self.talker.now_s,
            _ => self.spoken.push((from_s, self.talker.now_s)),
        }
    }

    fn silent_until(&mut self, until_s: f64) {
        self.talker.pass((until_s - self.talker.now_s).max(0.0));
    }

    /// The markers that are heard: it spoke all the time, and nobody held it.
    fn markers(&self, length_s: f64, holds: &[(usize, f64, f64)]) -> Vec<f64> {
        let is_heard = |at: &f64| {
            let (from, until) = (at - NEAR_S, at + NEAR_S);
            let mut spoken = self.spoken.iter();
            let mut holds = holds.iter().filter(|hold| hold.0 != self.party);
            spoken.any(|piece| piece.0 <= from && piece.1 >= until)
                // Signalling takes its time, too.
                && !holds.any(|hold| hold.1 - NEAR_S < until && from < hold.2 + NEAR_S)
        };
        let count = ((length_s - 0.5) / self.every_s) as u32;
        let all = (1..=count).map(|n| f64::from(n) * self.every_s);
        all.filter(is_heard).collect()
    }
}

impl Plan {
    pub fn new(shape: &Shape) -> Self {
        let length_s = shape.length_s;
        let unit = length_s / 30.0;
        let (late_s, reoffer_s) = (8.0_f64.min(length_s / 8.0), 10.1 * unit);
        let holds = [
            (0, 5.0 * unit, 6.3 * unit),
            (1, 14.0 * unit, 15.7 * unit),
            (0, 20.0 * unit, 21.4 * unit),
        ];
        let mut voices = [0, 1].map(|party| Voice::new(party, shape));
        let [a, b] = &mut voices;
        a.silent_until(if shape.early { 0.0 } else { late_s });
        a.until(holds[0].1);
        a.silent_until(holds[0].2);
        // In the second one it goes on to speak, and nobody may hear it.
        a.until(holds[2].1);
        // In the third one its clock stands.
        a.talker.stop(holds[2].2 - a.talker.now_s);
        a.until(length_s);
        b.silent_until(late_s);
        b.until(reoffer_s);
        b.talker.codec(OPUS);
        b.until(holds[1].1);
        b.silent_until(holds[1].2);
        b.until(length_s);
        let mut turns = vec![(late_s, Turn::Answer), (reoffer_s, Turn::Reoffer)];
        for (party, from, until) in holds {
            let [begins, ends] = [true, false].map(|held| Turn::Hold(party, held));
            turns.extend([(from, begins), (until, ends)]);
        }
        turns.sort_by(|a, b| a.0.total_cmp(&b.0));
        let markers = voices
            .each_ref()
            .map(|voice| voice.markers(length_s, &holds));
        let arrivals = voices.map(|voice| {
            let mut sent = voice.talker.sent;
            sent.retain(|packet| packet.at_s < length_s);
            sent.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
            sent
        });
        Self {
            length_s,
            arrivals,
            turns,
            markers,
        }
    }

    /// Packets and turns in the order of their coming.
    pub fn happenings(&self) -> Vec<(f64, Happening<'_>)> {
        let turns = self.turns.iter();
        let turns = turns.map(|(at_s, turn)| (*at_s, Happening::Turn(*turn)));
        let packets = self.arrivals.iter().enumerate().flat_map(|(party, all)| {
            let packets = all.iter();
            packets.map(move |one| (one.at_s, Happening::Packet(party, &one.rtp[..])))
        });
        let mut all: Vec<_> = turns.chain(packets).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }
}
