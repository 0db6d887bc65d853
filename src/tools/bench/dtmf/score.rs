//! Which reports of a receiver belong to which burst, and what that comes to per class.

use super::corpus::{Class, Corpus, Event, Label};
use crate::wire::event::Digit;

/// A digit that a receiver declared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) digit: Digit,
    /// Position of the recording, in ms, that had been fed when it was declared.
    pub(super) at_ms: f64,
    /// Start and end as the receiver says, in ms; `None`: it does not.
    pub(super) span_ms: Option<(f64, f64)>,
}

/// Nobody declares a digit earlier than this after its start; reports until then belong to the
/// burst before.
const SOONEST_MS: f64 = 8.0;

/// Milliseconds of a packet, as a switch feeds them.
const FRAME_MS: f64 = 20.0;

/// How one receiver did in one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) events: usize,
    /// Reported exactly once, and nothing else.
    pub(super) once: usize,
    /// Reported more than once.
    pub(super) twice: usize,
    pub(super) missed: usize,
    /// Events with a digit that they are not.
    pub(super) wrong: usize,
    /// Events without any report.
    pub(super) silent: usize,
    /// Report minus start, in ms, fed by the millisecond.
    pub(super) late_ms: Vec<f64>,
    /// The same, fed by packets of 20 ms.
    pub(super) late_by_frames_ms: Vec<f64>,
    /// Distance of start and end from the truth, in ms.
    pub(super) start_off_ms: Vec<f64>,
    pub(super) end_off_ms: Vec<f64>,
    /// The same where a codec or a loss moved them: only of a class by itself.
    pub(super) start_moved_ms: Vec<f64>,
    pub(super) end_moved_ms: Vec<f64>,
}

impl Tally {
    /// Events that were treated as their label wants.
    pub(super) fn right(&self, label: Label) -> usize {
        match label {
            Label::Detect | Label::Grey => self.once,
            Label::Reject => self.silent,
        }
    }

    /// Any of its digits were reported, part of all.
    pub(super) fn accepted(&self) -> f64 {
        percent(self.events - self.missed, self.events)
    }

    fn add(&mut self, event: &Event, reports: &[Report], class: &Class) {
        let is_right = |r: &&Report| Some(r.digit) == event.digit;
        let right = reports.iter().filter(is_right).count();
        self.events += 1;
        self.once += usize::from(right == 1 && reports.len() == 1);
        self.twice += usize::from(right > 1);
        self.missed += usize::from(right == 0);
        self.wrong += usize::from(right < reports.len());
        self.silent += usize::from(reports.is_empty());
        let Some(first) = reports.iter().find(is_right) else {
            return;
        };
        let (start, end) = (event.start / 8.0, event.end / 8.0);
        let span = first.span_ms.filter(|_| right == 1);
        let off = span.map(|span| ((span.0 - start).abs(), (span.1 - end).abs()));
        if !class.timed {
            self.start_moved_ms.extend(off.map(|(start, _)| start));
            self.end_moved_ms.extend(off.map(|(_, end)| end));
            return;
        }
        self.start_off_ms.extend(off.map(|(start, _)| start));
        self.end_off_ms.extend(off.map(|(_, end)| end));
        self.late_ms.push(first.at_ms - start);
        let frames = (first.at_ms / FRAME_MS).ceil() * FRAME_MS;
        self.late_by_frames_ms.push(frames - start);
    }

    /// Joins the figures of another class.
    pub(super) fn join(&mut self, other: &Self) {
        self.events += other.events;
        self.once += other.once;
        self.twice += other.twice;
        self.missed += other.missed;
        self.wrong += other.wrong;
        self.silent += other.silent;
        self.late_ms.extend(&other.late_ms);
        self.late_by_frames_ms.extend(&other.late_by_frames_ms);
        self.start_off_ms.extend(&other.start_off_ms);
        self.end_off_ms.extend(&other.end_off_ms);
    }
}

/// One receiver's figures.
#[derive(Clone, Debug)]
pub(super) struct Score {
    /// By class, as in [`Corpus::classes`].
    pub(super) classes: Vec<Tally>,
}

impl Score {
    /// Reports in the order of their positions.
    pub(super) fn of(corpus: &Corpus, reports: &[Report]) -> Self {
        let mut classes = vec![Tally::default(); corpus.classes.len()];
        for (event, reports) in by_event(corpus, reports) {
            classes[event.class].add(event, reports, &corpus.classes[event.class]);
        }
        Self { classes }
    }

    /// All classes of a label together.
    pub(super) fn total(&self, corpus: &Corpus, label: Label) -> Tally {
        let mut total = Tally::default();
        for (class, tally) in corpus.classes.iter().zip(&self.classes) {
            if class.label == label {
                total.join(tally);
            }
        }
        total
    }
}

/// Each event with the reports that belong to it; what came before all belongs to none.
pub(super) fn by_event<'a>(
    corpus: &'a Corpus,
    reports: &'a [Report],
) -> impl Iterator<Item = (&'a Event, &'a [Report])> {
    let first_of = |event: Option<&Event>| match event {
        Some(event) => {
            let from_ms = event.start / 8.0 + SOONEST_MS;
            reports.partition_point(|r| r.at_ms < from_ms)
        }
        None => reports.len(),
    };
    corpus.events.iter().enumerate().map(move |(n, event)| {
        let range = first_of(Some(event))..first_of(corpus.events.get(n + 1));
        (event, &reports[range])
    })
}

/// Whether an event was treated as its label wants.
pub(super) fn is_right(label: Label, event: &Event, reports: &[Report]) -> bool {
    match label {
        Label::Reject => reports.is_empty(),
        _ => matches!(reports, [only] if Some(only.digit) == event.digit),
    }
}

/// Part of a whole, in per cent; of nothing: all.
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 100.0,
        _ => 100.0 * super::sound::float(part) / super::sound::float(whole),
    }
}

/// The value that this part of the values does not exceed; `None` without values.
pub(super) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place among the values"
    )]
    let at = (super::sound::float(sorted.len()) * part).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(label: Label) -> Corpus {
        let class = Class {
            name: "some",
            label,
            clause: "",
            point: None,
            timed: true,
        };
        let event = |start_ms: f64, code: usize| Event {
            class: 0,
            digit: Some(Digit::ALL[code]),
            start: 8.0 * start_ms,
            end: 8.0 * (start_ms + 50.0),
        };
        Corpus {
            classes: vec![class],
            events: vec![
                event(100.0, 1),
                event(180.0, 2),
                event(260.0, 2),
                event(340.0, 3),
            ],
            pcm: Vec::new(),
        }
    }

    fn report(at_ms: f64, code: usize) -> Report {
        Report {
            digit: Digit::ALL[code],
            at_ms,
            span_ms: Some((at_ms - 35.0, at_ms + 20.0)),
        }
    }

    #[test]
    fn each_burst_gets_its_reports() {
        let reports = [
            report(40.0, 9),
            report(135.0, 1),
            report(187.0, 1),
            report(214.0, 2),
            report(345.0, 2),
            report(375.0, 4),
        ];
        let score = Score::of(&corpus(Label::Detect), &reports);
        let tally = &score.classes[0];
        assert_eq!(tally.events, 4);
        // The first was told twice, the last as another; what came before all is not counted.
        assert_eq!((tally.once, tally.twice), (2, 1));
        assert_eq!((tally.missed, tally.wrong), (1, 1));
        assert_eq!(tally.late_ms, [35.0, 34.0, 85.0]);
        assert_eq!(tally.late_by_frames_ms, [40.0, 40.0, 100.0]);
        assert_eq!(tally.start_off_ms, [1.0, 50.0]);
        assert_eq!(tally.right(Label::Detect), 2);
    }

    #[test]
    fn nothing_may_be_heard_where_nothing_is() {
        let label = Label::Reject;
        let score = |reports: &[Report]| Score::of(&corpus(label), reports).classes[0].clone();
        assert_eq!(score(&[]).right(label), 4);
        // Whichever digit it is.
        assert_eq!(score(&[report(130.0, 1)]).right(label), 3);
        assert_eq!(score(&[report(130.0, 7)]).right(label), 3);
        assert_eq!(score(&[report(130.0, 1), report(131.0, 7)]).right(label), 3);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.95), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
