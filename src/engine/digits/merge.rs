//! One press that is heard both ways is one press.
//!
//! A gateway that turns tones into telephone-events needs some time to know a tone, so that the
//! first of it stays in the audio, and often the last of it, too. Such a residue and the event are
//! the same press: it is told when the first of them is heard. Who sends telephone-events sends one
//! for every press, so tones beside an event, or up to [`RESIDUE_US`] around it, never count by
//! themselves; an event counts by itself unless a tone was heard that no event has claimed yet.
//! What one source alone says is never joined: two presses 40 ms apart are two.

use std::collections::VecDeque;
use std::time::Duration;

use super::{DigitSource, Press};
use crate::wire::event::EventCode;

/// An event and a tone of one key with no more between them are one press.
pub const RESIDUE_US: u64 = 100_000;

/// The same for an event of which only the arrival is known: as much later than its tone may the
/// network bring it.
pub const RESIDUE_LATE_US: u64 = 400_000;

/// The end of a tone is told so much later where its party may send an event for it still, so that
/// the duration told is that of the whole press.
pub const CLAIM_US: u64 = 100_000;

/// Presses of one party that may be told at once; after those one every [`PRESS_EVERY_US`]. More
/// are no presses: nobody has that many fingers.
pub const PRESSES_AT_ONCE_MAX: u32 = 64;

/// See [`PRESSES_AT_ONCE_MAX`]. The fastest dialling that standards know takes 65 ms a digit.
pub const PRESS_EVERY_US: u64 = 40_000;

/// Presses that are remembered for what belongs to them: those that began last.
const PRESSES_KEPT: usize = 8;

/// Something to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) enum Told {
    Began(Press),
    Ended(Press),
    /// What is heard may become a key.
    Suspected,
}

/// A press as one source begins to hear it.
pub(in crate::engine) struct Sound {
    pub(in crate::engine) code: EventCode,
    pub(in crate::engine) source: DigitSource,
    pub(in crate::engine) began_us: u64,
    /// The same as its source dates it, which names it when it ends.
    pub(in crate::engine) said_us: u64,
    /// `began_us` is by the sender's clock, and not by when it arrived.
    pub(in crate::engine) is_exact: bool,
    pub(in crate::engine) level: Option<i8>,
    pub(in crate::engine) confidence: u8,
}

/// The end of a press as one source hears it.
pub(in crate::engine) struct End {
    pub(in crate::engine) code: EventCode,
    pub(in crate::engine) source: DigitSource,
    /// As at its beginning; `None`: of that key the latest.
    pub(in crate::engine) said_us: Option<u64>,
    /// By the source's dates.
    pub(in crate::engine) ended_us: u64,
    /// So long an event may still claim a tone.
    pub(in crate::engine) claim_us: u64,
}

/// What both sources said, as one.
pub(in crate::engine) struct Merge {
    records: [Option<Record>; PRESSES_KEPT],
    next: u32,
    told: VecDeque<Told>,
    /// When all presses that were told would be over, were each [`PRESS_EVERY_US`] long.
    busy_until_us: u64,
    /// Presses that were too many, and not yet counted elsewhere.
    ignored: u32,
}

/// Whether a source has heard a press.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Unheard,
    Lasts,
    Over,
}

#[derive(Clone, Copy)]
struct Record {
    number: u32,
    code: EventCode,
    source: DigitSource,
    level: Option<i8>,
    confidence: u8,
    began_us: u64,
    ended_us: u64,
    /// When its event began, as its receiver said, and what to add to that source's dates.
    said_us: u64,
    shift_us: i64,
    event: By,
    tone: By,
    /// Its tone has ended, which is told then, unless an event claims it before.
    tell_at_us: Option<u64>,
    told: bool,
}

/// Does not say which keys.
impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut merge = f.debug_struct("Merge");
        merge.field("next", &self.next).finish_non_exhaustive()
    }
}

impl Merge {
    pub(in crate::engine) fn new() -> Self {
        Self {
            records: [None; PRESSES_KEPT],
            next: 0,
            told: VecDeque::with_capacity(2 * PRESSES_KEPT + 1),
            busy_until_us: 0,
            ignored: 0,
        }
    }

    /// What is to be told next.
    pub(in crate::engine) fn next_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// A source begins to hear a key.
    pub(in crate::engine) fn began(&mut self, now_us: u64, sound: &Sound) {
        let by_event = sound.source == DigitSource::TelephoneEvent;
        let known = match by_event {
            true => self.unclaimed(sound),
            false => self.claiming(sound),
        };
        let Some(record) = known.and_then(|at| self.records[at].as_mut()) else {
            return self.add(now_us, sound);
        };
        if by_event {
            record.event = By::Lasts;
            record.tell_at_us = None;
            record.confidence = record.confidence.max(sound.confidence);
            (record.said_us, record.shift_us) = (sound.said_us, sound.shift_us());
        } else {
            record.tone = By::Lasts;
        }
    }

    /// What is heard may become a key.
    pub(in crate::engine) fn suspect(&mut self) {
        self.told.push_back(Told::Suspected);
    }

    /// A source hears it no more.
    pub(in crate::engine) fn ended(&mut self, now_us: u64, end: &End) {
        let source = end.source;
        // An event that was overtaken comes and goes while another of the same key may be open.
        let lasts = |record: &Record| {
            let is_this = end.said_us.is_none_or(|said_us| said_us == record.said_us);
            record.code == end.code && *record.by(source) == By::Lasts && is_this
        };
        let Some(at) = self.latest(lasts) else {
            return;
        };
        let Some(record) = &mut self.records[at] else {
            return;
        };
        *record.by_mut(source) = By::Over;
        if source == DigitSource::InBand && record.event != By::Unheard {
            return; // the event says how long it was
        }
        if !record.told {
            let shift_us = match source {
                DigitSource::TelephoneEvent => record.shift_us,
                DigitSource::InBand => 0,
            };
            let ended_us = end.ended_us.saturating_add_signed(shift_us);
            record.ended_us = ended_us.max(record.began_us);
        }
        if source == DigitSource::InBand && end.claim_us > 0 {
            record.tell_at_us = Some(now_us.saturating_add(end.claim_us));
        } else {
            self.finish(now_us, at);
        }
    }

    /// When [`Merge::timeout`] is due.
    pub(in crate::engine) fn next_timeout_us(&self) -> Option<u64> {
        let records = self.records.iter().flatten();
        records.filter_map(|record| record.tell_at_us).min()
    }

    /// Tells the ends of tones that no event has claimed.
    pub(in crate::engine) fn timeout(&mut self, now_us: u64) {
        self.finish_where(now_us, |record| {
            record.tell_at_us.is_some_and(|at| at <= now_us)
        });
    }

    /// Nothing is heard any more: whatever lasts has ended.
    pub(in crate::engine) fn close(&mut self, now_us: u64) {
        self.leave(now_us, DigitSource::InBand);
        self.leave(now_us, DigitSource::TelephoneEvent);
        self.finish_where(now_us, |_| true);
    }

    /// Nothing is heard of one source any more: what it alone hears has ended.
    pub(in crate::engine) fn silence(&mut self, now_us: u64, source: DigitSource) {
        self.leave(now_us, source);
        let has_ended = |record: &Record| !record.lasts() && record.tell_at_us.is_none();
        self.finish_where(now_us, has_ended);
    }

    fn leave(&mut self, now_us: u64, source: DigitSource) {
        for record in self.records.iter_mut().flatten() {
            if *record.by(source) == By::Lasts {
                *record.by_mut(source) = By::Over;
                if !record.told && !record.lasts() {
                    record.ended_us = now_us.max(record.began_us);
                }
            }
        }
    }

    /// The press of a tone that an event belongs to: the one that began nearest to it.
    fn unclaimed(&self, sound: &Sound) -> Option<usize> {
        let reach_us = match sound.is_exact {
            true => RESIDUE_US,
            false => RESIDUE_LATE_US,
        };
        let fits = |record: &Record| {
            let since = sound.began_us.saturating_sub(record.ended_us);
            let near = record.tone == By::Lasts || since <= reach_us;
            // The last of a tone comes as much later as the event lasts, which is not known yet.
            let begun = record.began_us <= sound.began_us.saturating_add(RESIDUE_LATE_US);
            record.code == sound.code && record.event == By::Unheard && near && begun
        };
        let records = self.records.iter().enumerate();
        let fitting = records.filter_map(|(at, record)| Some((at, record.filter(fits)?)));
        let nearest = fitting.min_by_key(|(_, record)| record.began_us.abs_diff(sound.began_us));
        nearest.map(|(at, _)| at)
    }

    /// The press of an event whose residue a tone is.
    fn claiming(&self, sound: &Sound) -> Option<usize> {
        self.latest(|record| {
            let since = sound.began_us.saturating_sub(record.ended_us);
            let near = record.event == By::Lasts || since <= RESIDUE_US;
            record.code == sound.code && record.event != By::Unheard && near
        })
    }

    /// Presses that were too many to be told, since this was last asked.
    pub(in crate::engine) fn take_ignored(&mut self) -> u32 {
        std::mem::take(&mut self.ignored)
    }

    /// Whether one more press is told.
    fn may_add(&mut self, now_us: u64) -> bool {
        let ahead_us = u64::from(PRESSES_AT_ONCE_MAX - 1) * PRESS_EVERY_US;
        let busy_until_us = self.busy_until_us.max(now_us);
        let may = busy_until_us - now_us <= ahead_us;
        match may {
            true => self.busy_until_us = busy_until_us.saturating_add(PRESS_EVERY_US),
            false => self.ignored = self.ignored.saturating_add(1),
        }
        may
    }

    /// A new press.
    fn add(&mut self, now_us: u64, sound: &Sound) {
        if !self.may_add(now_us) {
            return;
        }
        // What came before it is told before it.
        self.finish_where(now_us, |record| record.tell_at_us.is_some());
        let by = |source| match sound.source == source {
            true => By::Lasts,
            false => By::Unheard,
        };
        let record = Record {
            number: self.next,
            code: sound.code,
            source: sound.source,
            level: sound.level,
            confidence: sound.confidence,
            began_us: sound.began_us.min(now_us),
            ended_us: sound.began_us.min(now_us),
            said_us: sound.said_us,
            shift_us: sound.shift_us(),
            event: by(DigitSource::TelephoneEvent),
            tone: by(DigitSource::InBand),
            tell_at_us: None,
            told: false,
        };
        self.next = self.next.wrapping_add(1);
        let at = self.place();
        self.finish(now_us, at);
        self.records[at] = Some(record);
        self.told.push_back(Told::Began(record.press(now_us)));
    }

    /// An empty place, or that of the press that is the longest over, or began first.
    fn place(&self) -> usize {
        let key = |record: &Record| (!record.told, record.number);
        let places = self.records.iter().enumerate();
        let oldest = places.min_by_key(|(_, record)| record.as_ref().map(key));
        oldest.map_or(0, |(at, _)| at)
    }

    fn latest(&self, fits: impl Fn(&Record) -> bool) -> Option<usize> {
        let records = self.records.iter().enumerate();
        let fitting = records.filter_map(|(at, record)| Some((at, record.filter(&fits)?)));
        let latest = fitting.max_by_key(|(_, record)| record.number);
        latest.map(|(at, _)| at)
    }

    /// Tells the ends of presses, the older ones first.
    fn finish_where(&mut self, now_us: u64, fits: impl Fn(&Record) -> bool) {
        let open = |record: &Record| !record.told && fits(record);
        while let Some(at) = self.oldest(open) {
            self.finish(now_us, at);
        }
    }

    fn oldest(&self, fits: impl Fn(&Record) -> bool) -> Option<usize> {
        let records = self.records.iter().enumerate();
        let fitting = records.filter_map(|(at, record)| Some((at, record.filter(&fits)?)));
        let oldest = fitting.min_by_key(|(_, record)| record.number);
        oldest.map(|(at, _)| at)
    }

    /// Tells the end of a press, once.
    fn finish(&mut self, now_us: u64, at: usize) {
        let Some(record) = self.records[at].as_mut().filter(|record| !record.told) else {
            return;
        };
        if record.lasts() && record.ended_us == record.began_us {
            record.ended_us = now_us.max(record.began_us);
        }
        record.told = true;
        record.tell_at_us = None;
        let duration = Duration::from_micros(record.ended_us - record.began_us);
        let press = record.press(now_us);
        self.told
            .push_back(Told::Ended(Press { duration, ..press }));
    }
}

impl Sound {
    /// What to add to the dates of its source.
    fn shift_us(&self) -> i64 {
        self.began_us.cast_signed() - self.said_us.cast_signed()
    }
}

impl Record {
    fn by(&self, source: DigitSource) -> &By {
        match source {
            DigitSource::TelephoneEvent => &self.event,
            DigitSource::InBand => &self.tone,
        }
    }

    fn by_mut(&mut self, source: DigitSource) -> &mut By {
        match source {
            DigitSource::TelephoneEvent => &mut self.event,
            DigitSource::InBand => &mut self.tone,
        }
    }

    fn lasts(&self) -> bool {
        self.event == By::Lasts || self.tone == By::Lasts
    }

    fn press(&self, now_us: u64) -> Press {
        Press {
            number: self.number,
            code: self.code,
            source: self.source,
            level: self.level,
            confidence: self.confidence,
            began_before: Duration::from_micros(now_us.saturating_sub(self.began_us)),
            duration: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: DigitSource = DigitSource::TelephoneEvent;
    const TONE: DigitSource = DigitSource::InBand;
    const MS: u64 = 1_000;

    struct Heard(Merge);

    impl Heard {
        fn new() -> Self {
            Self(Merge::new())
        }

        fn began(&mut self, now_ms: u64, source: DigitSource, code: u8, at_ms: u64) -> &mut Self {
            let sound = Sound {
                code: EventCode(code),
                source,
                began_us: at_ms * MS,
                said_us: at_ms * MS,
                is_exact: false,
                level: None,
                confidence: 90,
            };
            self.0.timeout(now_ms * MS);
            self.0.began(now_ms * MS, &sound);
            self
        }

        fn ended(&mut self, now_ms: u64, source: DigitSource, code: u8, at_ms: u64) -> &mut Self {
            self.ended_of(now_ms, source, code, None, at_ms)
        }

        /// The end of the press that began at `began_ms`.
        fn ended_of(
            &mut self,
            now_ms: u64,
            source: DigitSource,
            code: u8,
            began_ms: Option<u64>,
            at_ms: u64,
        ) -> &mut Self {
            self.0.timeout(now_ms * MS);
            let end = End {
                code: EventCode(code),
                source,
                said_us: began_ms.map(|ms| ms * MS),
                ended_us: at_ms * MS,
                claim_us: CLAIM_US,
            };
            self.0.ended(now_ms * MS, &end);
            self
        }

        /// Number, key and duration in ms of all ends so far; every one had one beginning.
        fn presses(&mut self, now_ms: u64) -> Vec<(u32, u8, u128, DigitSource)> {
            self.0.timeout(now_ms * MS);
            let (mut open, mut all) = (Vec::new(), Vec::new());
            while let Some(told) = self.0.next_told() {
                match told {
                    Told::Began(press) => open.push(press.number),
                    Told::Suspected => panic!("nobody suspects"),
                    Told::Ended(press) => {
                        assert_eq!(open.iter().filter(|n| **n == press.number).count(), 1);
                        open.retain(|number| *number != press.number);
                        let ms = press.duration.as_millis();
                        all.push((press.number, press.code.0, ms, press.source));
                    }
                }
            }
            assert!(open.is_empty(), "{} presses never end", open.len());
            all
        }
    }

    #[test]
    fn a_residual_tone_and_its_event_are_one_press() {
        // The tone first: the gateway needed 50 ms.
        let mut heard = Heard::new();
        heard.began(40, TONE, 5, 0).ended(80, TONE, 5, 50);
        heard.began(60, EVENT, 5, 60).ended(200, EVENT, 5, 180);
        assert_eq!(heard.presses(1_000), [(0, 5, 180, TONE)]);
        // The event first, then the first of the tone, then the last.
        let mut heard = Heard::new();
        heard.began(10, EVENT, 5, 0).began(45, TONE, 5, 5);
        heard.ended(60, TONE, 5, 30).ended(160, EVENT, 5, 150);
        heard.began(280, TONE, 5, 250).ended(320, TONE, 5, 300);
        assert_eq!(heard.presses(1_000), [(0, 5, 150, EVENT)]);
        // A tone after that is another press.
        heard.began(400, TONE, 5, 351).ended(440, TONE, 5, 420);
        assert_eq!(heard.presses(1_000), [(1, 5, 69, TONE)]);
    }

    #[test]
    fn an_event_may_be_late() {
        let mut heard = Heard::new();
        heard.began(40, TONE, 5, 0).ended(90, TONE, 5, 60);
        heard.began(460, EVENT, 5, 460).ended(560, EVENT, 5, 540);
        assert_eq!(heard.presses(1_000), [(0, 5, 60, TONE)]);
        let mut heard = Heard::new();
        heard.began(40, TONE, 5, 0).ended(90, TONE, 5, 60);
        heard.began(461, EVENT, 5, 461).ended(560, EVENT, 5, 541);
        assert_eq!(heard.presses(1_000).len(), 2);
    }

    #[test]
    fn what_one_source_hears_twice_are_two_presses() {
        for source in [EVENT, TONE] {
            let mut heard = Heard::new();
            heard.began(20, source, 5, 0).ended(60, source, 5, 40);
            heard.began(100, source, 5, 80).ended(150, source, 5, 130);
            let expected = [(0, 5, 40, source), (1, 5, 50, source)];
            assert_eq!(heard.presses(1_000), expected);
        }
        // Both hear both, the events late.
        let mut heard = Heard::new();
        heard.began(30, TONE, 5, 0).ended(60, TONE, 5, 40);
        heard.began(110, TONE, 5, 80).began(120, EVENT, 5, 120);
        heard.ended(150, TONE, 5, 120).ended(170, EVENT, 5, 160);
        heard.began(200, EVENT, 5, 200).ended(240, EVENT, 5, 240);
        assert_eq!(heard.presses(1_000).len(), 2);
        // Both hear both, the events first.
        let mut heard = Heard::new();
        for from in [0, 80] {
            heard.began(from + 5, EVENT, 5, from);
            heard.began(from + 35, TONE, 5, from);
            heard.ended(from + 45, EVENT, 5, from + 40);
            heard.ended(from + 60, TONE, 5, from + 40);
        }
        assert_eq!(heard.presses(1_000).len(), 2);
    }

    #[test]
    fn a_press_that_was_overtaken_ends_alone() {
        // The second press of a key lasts when the first comes, beginning and end at once.
        let mut heard = Heard::new();
        heard.began(210, EVENT, 5, 200).began(240, EVENT, 5, 180);
        heard.ended_of(240, EVENT, 5, Some(180), 240);
        heard.ended_of(400, EVENT, 5, Some(200), 390);
        let expected = [(1, 5, 60, EVENT), (0, 5, 190, EVENT)];
        assert_eq!(heard.presses(1_000), expected);
        // Both are said to have begun at the same time: what ends first came last.
        let mut heard = Heard::new();
        heard.began(210, EVENT, 5, 200).began(240, EVENT, 5, 200);
        heard.ended_of(240, EVENT, 5, Some(200), 240);
        heard.ended_of(400, EVENT, 5, Some(200), 390);
        let expected = [(1, 5, 40, EVENT), (0, 5, 190, EVENT)];
        assert_eq!(heard.presses(1_000), expected);
    }

    #[test]
    fn other_keys_and_other_events_are_their_own() {
        let mut heard = Heard::new();
        heard.began(40, TONE, 5, 0).began(50, EVENT, 6, 45);
        heard.ended(90, TONE, 5, 60).ended(120, EVENT, 6, 110);
        heard.began(200, EVENT, 36, 200).ended(300, EVENT, 36, 290);
        let codes = heard.presses(1_000).into_iter().map(|(_, code, ..)| code);
        let mut codes: Vec<_> = codes.collect();
        codes.sort_unstable();
        assert_eq!(codes, [5, 6, 36]);
    }

    #[test]
    fn whatever_lasts_ends_when_nothing_is_heard_any_more() {
        let mut heard = Heard::new();
        for key in 0..12 {
            heard.began(u64::from(key) * 10 + 5, EVENT, key, u64::from(key) * 10);
        }
        heard.began(200, TONE, 13, 160);
        heard.0.close(300 * MS);
        let presses = heard.presses(300);
        let mut numbers: Vec<_> = presses.iter().map(|(number, ..)| *number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..13).collect::<Vec<_>>());
        assert_eq!(presses.last(), Some(&(12, 13, 140, TONE)));
        heard.0.close(400 * MS);
        assert!(heard.presses(400).is_empty());
    }

    #[test]
    fn presses_are_as_many_as_fingers_can_press() {
        let mut heard = Heard::new();
        let press = |heard: &mut Heard, ms: u64| {
            let key = u8::try_from(ms % 16).unwrap();
            heard.began(ms, EVENT, key, ms).ended(ms, EVENT, key, ms);
        };
        for ms in 0..u64::from(PRESSES_AT_ONCE_MAX) {
            press(&mut heard, 1_000);
            assert_eq!(heard.0.take_ignored(), 0, "{ms}");
        }
        press(&mut heard, 1_000);
        assert_eq!(heard.0.take_ignored(), 1);
        assert_eq!(heard.presses(1_000).len(), 64);
        // One more in each 40 ms.
        press(&mut heard, 1_039);
        assert_eq!(heard.0.take_ignored(), 1);
        (1_040..2_040).for_each(|ms| press(&mut heard, ms));
        let numbers: Vec<_> = heard.presses(2_040).iter().map(|p| p.0).collect();
        assert_eq!(numbers, (64..89).collect::<Vec<_>>());
        assert_eq!(heard.0.take_ignored(), 975);
    }

    #[test]
    fn a_tone_that_no_event_claims_is_told_in_time() {
        let mut heard = Heard::new();
        heard.began(40, TONE, 5, 0).ended(90, TONE, 5, 60);
        assert_eq!(heard.0.next_timeout_us(), Some(190 * MS));
        heard.0.timeout(189 * MS);
        assert!(matches!(heard.0.next_told(), Some(Told::Began(_))));
        assert_eq!(heard.0.next_told(), None);
        heard.0.timeout(190 * MS);
        assert!(matches!(heard.0.next_told(), Some(Told::Ended(_))));
        assert_eq!(heard.0.next_timeout_us(), None);
        assert!(format!("{:?}", heard.0).starts_with("Merge { next: 1"));
    }
}
