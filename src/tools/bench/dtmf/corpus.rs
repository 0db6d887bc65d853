//! All signals of the measurement in one recording: classes of streams of bursts, each burst with
//! what a receiver must make of it.
//!
//! Everything follows from [`SEED`] and the names of the classes, so that a class keeps its
//! signals when another one is added.

use anyhow::Result;
use fastrand::Rng;

use super::line::Line;
use super::sound::{Burst, Press};
use super::{detect, reject, sweep};
use crate::wire::event::Digit;

/// What the whole corpus follows from.
pub(super) const SEED: u64 = 0x51a7_d16e;

/// What a receiver must make of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Its digit, exactly once.
    Detect,
    /// Nothing.
    Reject,
    /// The clauses leave it open; counted, never judged.
    Grey,
}

/// Signals of one kind.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) label: Label,
    /// Which text demands it.
    pub(super) clause: &'static str,
    /// Where on its sweep; `None`: not part of one.
    pub(super) point: Option<f64>,
    /// Positions reported can be compared with those generated.
    pub(super) timed: bool,
}

/// One burst of the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event {
    /// Place of its class in [`Corpus::classes`].
    pub(super) class: usize,
    /// `None`: not a key.
    pub(super) digit: Option<Digit>,
    /// In samples of the recording.
    pub(super) start: f64,
    pub(super) end: f64,
}

/// The recording and what is in it, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Corpus {
    pub(super) classes: Vec<Class>,
    pub(super) events: Vec<Event>,
    pub(super) pcm: Vec<i16>,
}

/// Which part of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it, sweeps included.
    Full,
    /// One stream in so many of each class, at least one, without sweeps.
    #[cfg_attr(not(test), allow(dead_code, reason = "the corpus of the tests"))]
    OneIn(usize),
}

impl Corpus {
    /// Computes it; in full a matter of seconds.
    ///
    /// # Errors
    /// When a codec cannot be made.
    pub(super) fn generate(extent: Extent) -> Result<Self> {
        let mut corpus = Self::default();
        detect::add(&mut corpus, extent)?;
        reject::add(&mut corpus, extent)?;
        if extent == Extent::Full {
            sweep::add(&mut corpus)?;
        }
        Ok(corpus)
    }

    /// Opens a class; streams are then added to it.
    pub(super) fn class(&mut self, class: Class, extent: Extent) -> Maker<'_> {
        // FNV-1a: any function of the name would do.
        let named = class.name.bytes().fold(SEED, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let point = class.point.map_or(0, f64::to_bits);
        self.classes.push(class);
        Maker {
            class: self.classes.len() - 1,
            torn: None,
            rng: Rng::with_seed(named ^ point.rotate_left(17)),
            streams: 0,
            every: match extent {
                Extent::Full => 1,
                Extent::OneIn(every) => every,
            },
            corpus: self,
        }
    }

    /// How many events have this label.
    pub(super) fn count(&self, label: Label) -> usize {
        let labels = self.events.iter().map(|e| self.classes[e.class].label);
        labels.filter(|l| *l == label).count()
    }
}

/// The shortest signal that must be detected (Q.24).
const WHOLE_MIN_MS: f64 = 40.0;

/// A class being filled.
pub(super) struct Maker<'a> {
    corpus: &'a mut Corpus,
    class: usize,
    /// The class of what lost packets made shorter than any recommendation demands.
    torn: Option<usize>,
    pub(super) rng: Rng,
    streams: usize,
    every: usize,
}

impl Maker<'_> {
    /// Bursts of which lost packets leave less than 40 ms in one piece are not judged from here on.
    pub(super) fn spare_torn(&mut self) {
        let class = Class {
            label: Label::Grey,
            ..self.corpus.classes[self.class].clone()
        };
        self.corpus.classes.push(class);
        self.torn = Some(self.corpus.classes.len() - 1);
    }

    /// Adds a stream of these bursts.
    pub(super) fn stream(&mut self, line: &Line, bursts: &[Burst]) -> Result<()> {
        let wanted = self.streams.is_multiple_of(self.every);
        self.streams += 1;
        // A seed of its own, so that a stream is the same in each extent.
        let mut rng = Rng::with_seed(self.rng.u64(..));
        if !wanted {
            return Ok(());
        }
        let carried = line.carry(bursts, &mut rng)?;
        let before = super::sound::float(self.corpus.pcm.len());
        let events = bursts.iter().zip(&carried.spans).map(|(burst, span)| {
            let torn = self.torn.filter(|_| carried.whole_ms(*span) < WHOLE_MIN_MS);
            Event {
                class: torn.unwrap_or(self.class),
                digit: burst.digit,
                start: before + span.0,
                end: before + span.1,
            }
        });
        self.corpus.events.extend(events);
        self.corpus.pcm.extend_from_slice(&carried.pcm);
        Ok(())
    }

    /// A stream of all sixteen keys in random order.
    pub(super) fn all_keys(&mut self, line: &Line, press: &Press) -> Result<()> {
        let mut keys = Digit::ALL;
        self.rng.shuffle(&mut keys);
        let bursts: Vec<_> = keys.iter().map(|key| press.of(*key)).collect();
        self.stream(line, &bursts)
    }

    /// A stream of one key, pressed sixteen times.
    pub(super) fn one_key(&mut self, line: &Line, press: &Press) -> Result<()> {
        let key = Digit::ALL[self.streams % 16];
        self.stream(line, &vec![press.of(key); 16])
    }

    /// A quiet line: digital silence, or noise of -65 dBm0.
    pub(super) fn quiet(&mut self) -> Line {
        if self.rng.bool() {
            Line::clean()
        } else {
            Line::noisy(-65.0)
        }
    }
}
