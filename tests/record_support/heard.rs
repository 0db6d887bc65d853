//! What a recording of a [`Plan`]'s call holds.

use std::f64::consts::TAU;
use std::io::{Read, Seek};

use crosspoint::record::file::read::RecordingReader;

use super::plan::{MARKER, MARKER_HZ, PULSE_HALF_S, PULSES_S, Plan, TONE, TONE_HZ, pulse};

/// Tones are looked for in stretches of so many seconds.
const WINDOW_S: f64 = 2.0;

/// Markers are looked for so far from their places, at so small steps, in seconds.
const AWAY_S: f64 = 0.04;
const STEP_S: f64 = 0.000_5;

/// Of a marker some may be lost, but not all.
const MARKER_SHARE_MIN: f64 = 0.3;

/// What is looked for in sound.
struct Shape(Vec<(f64, f64)>);

impl Shape {
    /// What turns as `angle` says, with this weight, from one sample to another; both by seconds.
    fn new(
        (from, until): (f64, f64),
        rate_hz: f64,
        angle: impl Fn(f64) -> f64,
        weight: impl Fn(f64) -> f64,
    ) -> Self {
        let times = (0..(until - from) as u32).map(|n| (from + f64::from(n)) / rate_hz);
        let sum: f64 = times.clone().map(&weight).sum();
        let turns = times.map(|s| {
            let (weight, (sin, cos)) = (2.0 * weight(s) / sum, angle(s).sin_cos());
            (weight * cos, weight * sin)
        });
        Self(turns.collect())
    }

    /// The amplitude with which it begins here.
    fn level(&self, pcm: &[f64]) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (sample, (cos, sin)) in pcm.iter().zip(&self.0) {
            re += sample * cos;
            im += sample * sin;
        }
        f64::hypot(re, im)
    }
}

/// The sound of a recording.
pub struct Heard {
    rate_hz: f64,
    channels: Vec<Vec<f64>>,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// By channel: the loudest that the other party is on it, in dB of how loud that is on its
    /// own.
    pub crosstalk_db: [f64; 2],
    /// By how much the recording is longer than the time that it lasted.
    pub longer_ms: f64,
    /// By channel: markers that were to be found.
    pub markers: [usize; 2],
    /// By channel: how far one was from its place at most; infinite if there was none.
    pub marker_off_ms: [f64; 2],
}

impl Heard {
    pub fn read(file: impl Read + Seek) -> Self {
        let mut reader = RecordingReader::open(file).expect("a recording");
        let info = reader.info();
        let count = usize::from(info.channels);
        let mut channels = vec![Vec::new(); count];
        let mut piece = [0; 9_600];
        loop {
            let len = reader.read(&mut piece).expect("readable");
            if len == 0 {
                break;
            }
            for frame in piece[..len].chunks_exact(count) {
                for (channel, sample) in channels.iter_mut().zip(frame) {
                    channel.push(f64::from(*sample));
                }
            }
        }
        Self {
            rate_hz: f64::from(info.rate_hz),
            channels,
        }
    }

    pub fn length_s(&self) -> f64 {
        self.channels[0].len() as f64 / self.rate_hz
    }

    /// The loudest that a party's tone is on a channel.
    fn loudest(&self, channel: usize, party: usize) -> f64 {
        let len = (WINDOW_S * self.rate_hz).round();
        let hann = |s: f64| 1.0 - (TAU * s / WINDOW_S).cos();
        let turn = TAU * TONE_HZ[party];
        let shape = Shape::new((0.0, len), self.rate_hz, |s| turn * s, hann);
        let windows = self.channels[channel].chunks_exact(len as usize);
        windows.map(|pcm| shape.level(pcm)).fold(0.0, f64::max)
    }

    /// By how much a party's markers are later than they should be, in seconds; infinite where
    /// there is none.
    fn markers(&self, party: usize, at_s: impl Iterator<Item = f64>) -> Vec<f64> {
        let half = (PULSE_HALF_S * self.rate_hz).round();
        let turn = TAU * MARKER_HZ[party];
        let shape = Shape::new((-half, half), self.rate_hz, |s| turn * s, pulse);
        let level = |at_s: f64| {
            let from = (at_s * self.rate_hz - half).round().max(0.0) as usize;
            shape.level(self.channels[party].get(from..).unwrap_or_default())
        };
        let steps = (AWAY_S / STEP_S) as i32;
        let error = |at_s: f64| {
            let fits = (-steps..=steps).map(|step| {
                let late_s = f64::from(step) * STEP_S;
                let levels = PULSES_S.iter().map(|pulse| level(at_s + late_s + pulse));
                (late_s, levels.sum::<f64>() / PULSES_S.len() as f64)
            });
            let best = fits.max_by(|a, b| a.1.total_cmp(&b.1)).expect("steps");
            // Of its own shape a window sees three quarters.
            match best.1 > MARKER_SHARE_MIN * 0.75 * MARKER {
                true => best.0,
                false => f64::INFINITY,
            }
        };
        at_s.map(error).collect()
    }

    /// Holds it against the call. The recording began `early_s` before the call did, and lasted
    /// `lasted_s`. Each party is on the channel of its number.
    pub fn measure(&self, plan: &Plan, early_s: f64, lasted_s: f64) -> Measured {
        assert_eq!(self.channels.len(), 2);
        let crosstalk_db = [(0, 1), (1, 0)].map(|(channel, other)| {
            let own = self.loudest(other, other);
            assert!(own > 0.6 * TONE, "{own} of party {other}");
            20.0 * (self.loudest(channel, other) / own).log10()
        });
        let marker_off_ms = [0, 1].map(|party| {
            let places = &plan.markers[party];
            let errors = self.markers(party, places.iter().map(|at_s| at_s + early_s));
            for (at_s, error_s) in places.iter().zip(&errors) {
                if error_s.abs() > 0.008 {
                    println!("party {party}: {at_s} s is late by {error_s} s");
                }
            }
            1e3 * errors.into_iter().map(f64::abs).fold(0.0, f64::max)
        });
        Measured {
            crosstalk_db,
            longer_ms: (self.length_s() - lasted_s) * 1e3,
            markers: plan.markers.each_ref().map(Vec::len),
            marker_off_ms,
        }
    }
}

impl Measured {
    /// Whether it is what recordings are to show; at least so many markers are heard of each party.
    pub fn is_true(&self, markers: usize) -> bool {
        self.crosstalk_db.iter().all(|db| *db < -60.0)
            && self.longer_ms.abs() <= 20.0
            && self.markers.iter().all(|count| *count >= markers)
            && self.marker_off_ms.iter().all(|ms| *ms <= 10.0)
    }

    #[track_caller]
    pub fn assert(&self, markers: usize) {
        println!("{self:?}");
        assert!(self.is_true(markers), "{self:?}, of {markers} markers");
    }
}
