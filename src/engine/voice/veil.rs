//! What a party says, a little later, and without the keys in it.
//!
//! A tone is known to be one only after some of it was heard. So what comes out of an ear waits in
//! a line, a look-back long, while [`Wary`] hears it: what anybody could take for a key is taken
//! out before its first sample leaves. Wary is more nervous than a detector, and a key is only
//! said to be one when [`Detector`] says so: until then silence stands in its place, and
//! afterwards what the mask wants there.
//!
//! The line grows by silence, once, when masking begins. When it ends, what waits is played out a
//! little faster, by whole pitch periods, until nothing waits.

use smallvec::SmallVec;

use crate::audio::dtmf::{Detector, Heard, RateError, Wary};
use crate::audio::stretch::{PeriodFinder, leave_out};
use crate::engine::digits::MaskMode;
use crate::wire::event::Digit;

use super::put::{Put, Sound};

mod lost;
mod span;
#[cfg(test)]
mod tests;

use span::{LOOKS, SPANS_MAX, Span, Spans, distance, join};

/// Fading out and in, in milliseconds.
const RAMP_MS: usize = 4;

/// Suspicions closer than this are one.
const JOIN_MS: usize = 10;

/// A telephone-event that has not ended lasts until this long after its latest packet.
const EVENT_MS: usize = 60;

/// What waits is cut off after this long, where the sound allows no better way.
const LEAVE_MS_MAX: usize = 1_000;

/// A key that was down when masking ended is masked until it is up, but no longer than this.
const HOLD_MS_MAX: usize = 10_000;

/// What remains of a line when it goes is left out in one place where it is shorter than the
/// shortest pitch period and a half, in microseconds.
const SHORTEST_US: usize = 4_000;

/// A key that goes on after less than this was interrupted: no press begins so soon after another
/// (30 ms, ITU-T Q.24).
const PAUSE_MS: usize = 25;

/// Where a loss was concealed at a key's end, its end waits so long behind the loss for the key to
/// go on: what a detector takes to say so.
const SURE_MS: usize = 60;

/// Frames with concealed losses that are remembered.
const MADE_UP_MAX: usize = 8;

/// A key at random is one of the first ten: 0 to 9.
const RANDOM_DIGITS: usize = 10;

/// What becomes of a key whose press is told to who hears it in the place of its tone.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Pressed {
    /// Its first sample would have been heard now. The level is that of both tones, in dBm0.
    Down { digit: Digit, level_dbm0: f32 },
    /// It is still down.
    Held,
    /// It is up, or will be, after so long.
    Up { duration_us: u64 },
}

/// A packet of a telephone-event.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Said {
    /// What its packets have in common: SSRC and timestamp.
    pub(in crate::engine) id: (u32, u32),
    /// How long it lasts so far.
    pub(in crate::engine) duration_us: u64,
    /// That is its whole duration.
    pub(in crate::engine) ended: bool,
}

/// A telephone-event's place in the line.
#[derive(Clone, Copy, Debug)]
struct Event {
    id: (u32, u32),
    start: u64,
    /// Samples that its first packet came before its place.
    waited: u64,
}

/// Whether a key is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tell {
    /// To nobody.
    Never,
    /// When its first sample leaves, at this level.
    Later(f32),
    /// It was, and its end will be.
    Told,
}

/// What a veil hides, and how.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Cover {
    pub(in crate::engine) mode: MaskMode,
    pub(in crate::engine) look_back_ms: u16,
    /// What is random comes of this.
    pub(in crate::engine) seed: u64,
}

impl Cover {
    /// What makes room for a look-back, and hides nothing in particular.
    pub(in crate::engine) fn nothing(look_back_ms: u16) -> Self {
        Self {
            mode: MaskMode::Absorb,
            look_back_ms,
            seed: 0,
        }
    }

    /// Whether those who only listen do not hear it either: nobody could press it for them.
    pub(in crate::engine) fn hides_from_all(&self) -> bool {
        self.mode != MaskMode::Convert
    }
}

/// The line.
#[derive(Debug)]
pub(in crate::engine) struct Veil {
    per_ms: usize,
    wary: Wary,
    detector: Detector,
    finder: PeriodFinder,
    mode: MaskMode,
    random: fastrand::Rng,
    /// Samples that shall wait; 0: it is to go.
    target: usize,
    /// What waits, and how many samples came before it.
    line: Vec<i16>,
    front: u64,
    /// Of those, samples that Wary and Detector did not hear: what the line was filled with.
    unheard: u64,
    /// What waits is of use up to here: from then on there was nothing to hear.
    speaks_until: u64,
    /// The silence that went in last, between its fades.
    filled: (u64, u64),
    /// Samples still to be faded in, of what comes.
    fades_in: usize,
    /// The last sample that came; `None`: what its listeners heard last is not known.
    last: Option<i16>,
    /// What is to be hidden, in order and apart.
    spans: Spans,
    keys: SmallVec<[Key; SPANS_MAX]>,
    /// The latest telephone-event.
    said: Option<Event>,
    /// The latest frames in which a loss was concealed: where they begin and end.
    made_up: SmallVec<[(u64, u64); MADE_UP_MAX]>,
    /// Keys so far.
    presses: usize,
    put: Put,
    /// Samples since it was told to go.
    leaving: usize,
}

/// A key in the line.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// `None`: a telephone-event.
    digit: Option<Digit>,
    start: u64,
    /// `None`: it is still down.
    end: Option<u64>,
    put: Sound,
    tell: Tell,
    /// What is heard up to here says whether it goes on after its end.
    sure_at: u64,
}

impl Veil {
    /// A veil over sound whose `last` sample was heard already; `None`: it is not known.
    ///
    /// # Errors
    /// The rate is none at which keys are heard.
    pub(in crate::engine) fn new(
        rate_hz: u32,
        cover: &Cover,
        last: Option<i16>,
    ) -> Result<Self, RateError> {
        let per_ms = rate_hz as usize / 1_000;
        let mut veil = Self {
            per_ms,
            wary: Wary::new(rate_hz)?,
            detector: Detector::new(rate_hz)?,
            finder: PeriodFinder::new(rate_hz),
            mode: MaskMode::Absorb,
            random: fastrand::Rng::with_seed(cover.seed),
            target: 0,
            line: Vec::new(),
            front: 0,
            unheard: 0,
            speaks_until: 0,
            filled: (0, 0),
            fades_in: 0,
            last,
            spans: SmallVec::new(),
            keys: SmallVec::new(),
            said: None,
            made_up: SmallVec::new(),
            presses: 0,
            put: Put::new(rate_hz, RAMP_MS * per_ms),
            leaving: 0,
        };
        veil.set(cover);
        Ok(veil)
    }

    /// Hides in this way from now on. A look-back longer than before is taken at once.
    pub(in crate::engine) fn set(&mut self, cover: &Cover) {
        self.mode = cover.mode.clone();
        self.target = usize::from(cover.look_back_ms) * self.per_ms;
        self.leaving = 0;
        let most = self.target + super::FRAME_SAMPLES_MAX;
        self.line.reserve(most.saturating_sub(self.line.len()));
    }

    /// As a new one, after it had [gone](Self::is_gone) or was not used yet. Allocates nothing
    /// where the look-back is no longer than it was.
    pub(in crate::engine) fn resume(&mut self, cover: &Cover, last: Option<i16>) {
        self.spans.clear();
        self.keys.clear();
        self.made_up.clear();
        self.said = None;
        (self.filled, self.last) = ((0, 0), last);
        self.random = fastrand::Rng::with_seed(cover.seed);
        self.set(cover);
    }

    /// What comes next goes on from what its listeners heard elsewhere, with this sample: that
    /// fades out.
    pub(in crate::engine) fn go_on(&mut self, first: i16) {
        self.last = Some(first);
    }

    /// What its listeners hear from now on comes from elsewhere.
    pub(in crate::engine) fn lose_track(&mut self) {
        self.last = None;
    }

    /// Goes, once nothing waits and no key is down.
    pub(in crate::engine) fn leave(&mut self) {
        self.target = 0;
    }

    /// Whether it has gone: nothing waits, and nothing is hidden.
    pub(in crate::engine) fn is_gone(&self) -> bool {
        self.target == 0 && self.line.is_empty()
    }

    /// What waits is for nobody.
    pub(in crate::engine) fn forget(&mut self) {
        self.line.fill(0);
        self.speaks_until = self.front;
        self.fades_in = RAMP_MS * self.per_ms;
        self.last = None;
    }

    /// Samples that wait.
    pub(in crate::engine) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// A packet of a telephone-event. It stands behind the audio that came before it, of which so
    /// much was not passed yet.
    pub(in crate::engine) fn key_event(&mut self, said: &Said, waits_us: u64) {
        let waits = self.samples(waits_us);
        let known = self.said.filter(|event| event.id == said.id);
        let event = known.unwrap_or_else(|| Event {
            id: said.id,
            start: self.end() + waits,
            waited: waits,
        });
        self.said = Some(event);
        let more = (EVENT_MS * self.per_ms) as u64;
        let longest = self.end() + event.waited + more;
        let lasts = self.samples(said.duration_us) + if said.ended { 0 } else { more };
        let end = (event.start + lasts).min(longest);
        let same = |key: &&mut Key| key.digit.is_none() && key.start == event.start;
        if let Some(key) = self.keys.iter_mut().rev().find(same) {
            key.end = Some(end);
        } else if end > self.front {
            let put = self.substitute(0.0);
            self.note(Key {
                digit: None,
                start: event.start,
                end: Some(end),
                put,
                tell: Tell::Never,
                sure_at: 0,
            });
        }
    }

    /// Of the frame that comes next, some was not heard: it was lost, or is not there yet.
    pub(in crate::engine) fn make_up(&mut self, samples: usize) {
        self.fill_up();
        if self.made_up.len() == MADE_UP_MAX {
            self.made_up.remove(0);
        }
        let start = self.end();
        self.made_up.push((start, start + samples as u64));
    }

    /// Takes a frame in and gives the one whose time has come. `speaks`: there is something to hear
    /// in what comes; returns whether there is in what goes.
    pub(in crate::engine) fn pass(&mut self, pcm: &mut [i16], speaks: bool) -> bool {
        if !speaks {
            pcm.fill(0);
        }
        self.fill_up();
        self.hear(pcm);
        self.last = pcm.last().copied().or(self.last);
        self.fade_in(pcm);
        self.line.extend_from_slice(pcm);
        if speaks {
            self.speaks_until = self.end();
        }
        self.shorten(pcm.len());
        pcm.copy_from_slice(&self.line[..pcm.len()]);
        let (from, to) = (self.front, self.front + pcm.len() as u64);
        let filled = self.filled.0 <= from && to <= self.filled.1;
        let speaks = from < self.speaks_until && !filled;
        let hides = self.cover_up(pcm);
        self.line.drain(..pcm.len());
        self.front += pcm.len() as u64;
        speaks || hides
    }

    /// What has become of keys since the latest frame, and forgets those that have passed.
    pub(in crate::engine) fn tell(&mut self, tell: &mut impl FnMut(Pressed)) {
        let (front, heard) = (self.front, self.end());
        let (per_ms, gone) = (self.per_ms, self.is_gone());
        for key in &mut self.keys {
            if let (Tell::Later(level_dbm0), Some(digit)) = (key.tell, key.digit)
                && key.start < front
            {
                key.tell = Tell::Told;
                tell(Pressed::Down { digit, level_dbm0 });
            }
            if key.tell == Tell::Told {
                let end = key.end.filter(|_| heard >= key.sure_at);
                let Some(end) = end.or_else(|| gone.then_some(front)) else {
                    tell(Pressed::Held);
                    continue;
                };
                key.tell = Tell::Never;
                let samples = end.saturating_sub(key.start);
                let duration_us = samples * 1_000 / per_ms.max(1) as u64;
                tell(Pressed::Up { duration_us });
            }
        }
        self.forget_passed();
    }

    fn samples(&self, us: u64) -> u64 {
        us.saturating_mul(self.per_ms as u64) / 1_000
    }

    /// One past the newest sample.
    fn end(&self) -> u64 {
        self.front + self.line.len() as u64
    }

    /// Silence goes in where less waits than shall: after a fade, before one. What cannot be faded
    /// out is left to its listeners, who miss a packet: all of it is silence that is not sent.
    fn fill_up(&mut self) {
        let missing = self.target.saturating_sub(self.line.len());
        if missing == 0 {
            return;
        }
        // Where little is missing, the fade begins in what waits.
        let ramp = RAMP_MS * self.per_ms;
        let added = self.last.map_or(0, |_| ramp.min(missing));
        let waiting = self.line.len();
        let own = waiting.min(ramp - added);
        let tail = self.line[waiting - own..].iter_mut();
        for (at, sample) in tail.enumerate() {
            *sample = scaled(*sample, own + added - 1 - at, own + added);
        }
        let last = self.last.unwrap_or(0);
        for at in 0..added {
            self.line.push(scaled(last, added - 1 - at, own + added));
        }
        let silent = self.end();
        self.line.resize(waiting + missing, 0);
        self.filled = (silent, self.end());
        if added > 0 {
            self.speaks_until = self.speaks_until.max(silent);
        }
        self.unheard += missing as u64;
        self.fades_in = RAMP_MS * self.per_ms;
    }

    fn fade_in(&mut self, pcm: &mut [i16]) {
        let ramp = RAMP_MS * self.per_ms;
        // Silence needs no fade: what comes behind it does.
        let silent = pcm.iter().take_while(|sample| **sample == 0).count();
        let silent = if self.fades_in == ramp { silent } else { 0 };
        for sample in pcm[silent..].iter_mut().take(self.fades_in) {
            *sample = scaled(*sample, ramp - self.fades_in, ramp);
            self.fades_in -= 1;
        }
    }

    fn hear(&mut self, pcm: &[i16]) {
        let by = self.unheard;
        let gap = (JOIN_MS * self.per_ms) as u64;
        let spans = &mut self.spans;
        self.wary.feed(pcm, &mut |span| {
            let span = Span {
                start: span.start + by,
                end: span.end + by,
                looks: 1,
            };
            join(spans, span, gap);
        });
        self.suspect_losses();
        let mut heard = SmallVec::<[Heard; 4]>::new();
        self.detector.feed(pcm, &mut |edge| heard.push(edge));
        for edge in heard {
            match edge {
                Heard::Began(tone) if self.goes_on(tone.digit, tone.start + by) => {}
                Heard::Began(tone) => {
                    let key = Key {
                        digit: Some(tone.digit),
                        start: tone.start + by,
                        end: None,
                        put: self.substitute(tone.level_dbm0),
                        tell: match self.mode {
                            MaskMode::Convert => Tell::Later(tone.level_dbm0),
                            _ => Tell::Never,
                        },
                        sure_at: 0,
                    };
                    self.note(key);
                }
                Heard::Ended(tone) => {
                    let sure_at = self.sure_at(tone.end + by);
                    let down = |key: &&mut Key| key.digit.is_some() && key.end.is_none();
                    if let Some(key) = self.keys.iter_mut().rev().find(down) {
                        (key.end, key.sure_at) = (Some(tone.end + by), sure_at);
                    }
                }
            }
        }
    }

    /// Whether a tone is the rest of the latest key, which a loss cut in two; then that goes on.
    fn goes_on(&mut self, digit: Digit, start: u64) -> bool {
        let pause = (PAUSE_MS * self.per_ms) as u64;
        let Some(key) = self.keys.last_mut().filter(|key| key.digit == Some(digit)) else {
            return false;
        };
        let Some(end) = key.end else { return false };
        let lost = self.made_up.iter().map(|(from, to)| {
            let (from, to) = ((*from).max(end), (*to).min(start));
            to.saturating_sub(from)
        });
        let goes_on = start.saturating_sub(end) <= lost.sum::<u64>() + pause;
        if goes_on && key.tell != Tell::Never {
            key.end = None;
        }
        goes_on && key.tell != Tell::Never
    }

    /// Up to where has to be heard whether a key goes on after its end.
    fn sure_at(&self, end: u64) -> u64 {
        let near = (PAUSE_MS * self.per_ms) as u64;
        let lost = self.made_up.iter();
        let lost = lost.filter(|(from, to)| *from <= end + near && end <= to + near);
        let last = lost
            .map(|(_, to)| to + (SURE_MS * self.per_ms) as u64)
            .max();
        last.unwrap_or(end)
    }

    /// What is heard in the place of the next press.
    fn substitute(&mut self, level_dbm0: f32) -> Sound {
        self.presses = self.presses.wrapping_add(1);
        match &self.mode {
            MaskMode::Tone { hz, level } => {
                let hz = hz.get((self.presses - 1) % hz.len().max(1));
                Sound::tone(hz.copied().unwrap_or(0), f32::from(*level))
            }
            MaskMode::RandomDigit => {
                Sound::key(Digit::ALL[self.random.usize(..RANDOM_DIGITS)], level_dbm0)
            }
            MaskMode::ZeroDigit => Sound::key(Digit::ALL[0], level_dbm0),
            _ => Sound::default(),
        }
    }

    fn note(&mut self, key: Key) {
        if self.keys.len() == SPANS_MAX {
            self.keys.remove(0);
        }
        self.keys.push(key);
    }

    /// Where more waits than shall, a pitch period is taken out at the front, if nothing is hidden
    /// there that must not be blended into what is heard.
    fn shorten(&mut self, frame: usize) {
        let excess = self.line.len().saturating_sub(frame + self.target);
        if excess == 0 {
            return;
        }
        self.leaving += frame;
        let ms = self.leaving / self.per_ms;
        let is_down = self.spans.last().is_some_and(|span| span.end >= self.end())
            || self.events().any(|event| event.end >= self.end());
        if is_down && ms < HOLD_MS_MAX {
            return;
        }
        let urgent = ms >= LEAVE_MS_MAX;
        let splices = excess < SHORTEST_US * self.per_ms / 1_000;
        let period = if splices {
            Some(excess)
        } else if urgent {
            Some(excess.min(self.line.len() / 2))
        } else {
            self.finder.find(&self.line, excess, true)
        };
        let Some(period) = period else { return };
        let touched = if splices { self.line.len() } else { 2 * period };
        let window = (self.front, self.front + touched as u64);
        let ramp = (RAMP_MS * self.per_ms) as u64;
        let hidden = |span: &Span| span.start < window.1 && window.0 < span.end + ramp;
        let any_hidden = self.spans.iter().any(hidden) || self.events().any(|span| hidden(&span));
        if ms < HOLD_MS_MAX && any_hidden {
            return;
        }
        if !splices {
            leave_out(&mut self.line, period);
        } else if !self.finder.splice(&mut self.line, period, urgent) {
            return;
        }
        self.line.drain(..period);
        self.front += period as u64;
    }

    /// Hides what is to be hidden of the frame that goes; whether something stands in its place.
    fn cover_up(&mut self, pcm: &mut [i16]) -> bool {
        let ramp = (RAMP_MS * self.per_ms) as u64;
        let (from, to) = (self.front, self.front + pcm.len() as u64);
        let touches =
            |span: &Span| span.looks >= LOOKS && span.start < to && from < span.end + ramp;
        let spans = self.spans.iter().copied().chain(self.events());
        let spans: SmallVec<[Span; 2 * SPANS_MAX]> = spans.filter(touches).collect();
        if spans.is_empty() && self.put.is_silent() {
            return false;
        }
        let mut sounds = false;
        for (at, sample) in (from..).zip(pcm) {
            let away = spans.iter().map(|span| distance(at, *span, ramp)).min();
            let away = away.unwrap_or(ramp).min(ramp);
            *sample = scaled(*sample, index(away), index(ramp));
            let hidden = away == 0;
            let key = self.keys.iter().rev().find(|key| hidden && key.lasts(at));
            self.put.turn(key.map(|key| key.put));
            if !self.put.is_silent() {
                *sample = sample.saturating_add(self.put.next());
                sounds = true;
            }
        }
        sounds
    }

    /// Where telephone-events are hidden.
    fn events(&self) -> impl Iterator<Item = Span> + '_ {
        let said = self.keys.iter().filter(|key| key.digit.is_none());
        said.map(|key| Span {
            start: key.start,
            end: key.end.unwrap_or(key.start),
            looks: LOOKS,
        })
    }

    fn forget_passed(&mut self) {
        let ramp = (RAMP_MS * self.per_ms) as u64;
        let front = self.front;
        self.spans.retain(|span| front < span.end + ramp);
        self.keys
            .retain(|key| key.tell == Tell::Told || key.end.is_none_or(|end| front < end + ramp));
    }
}

impl Key {
    fn lasts(&self, at: u64) -> bool {
        self.start <= at && self.end.is_none_or(|end| at < end)
    }
}

/// `sample × part / whole`.
fn scaled(sample: i16, part: usize, whole: usize) -> i16 {
    let (part, whole) = (i32::try_from(part), i32::try_from(whole.max(1)));
    let scaled = i32::from(sample) * part.unwrap_or(0) / whole.unwrap_or(1);
    i16::try_from(scaled).unwrap_or(sample)
}

fn index(samples: u64) -> usize {
    usize::try_from(samples).unwrap_or(usize::MAX)
}
