//! What is asked of our receiver.

use super::Subject;
use super::corpus::{Corpus, Label};
use super::score::{Score, Tally, percent, quantile};
use super::talk_off::Kind;

/// Bursts that must be detected, exactly once: of all, of each class, and with all limits at once.
const DETECTED: f64 = 99.5;
const DETECTED_IN_CLASS: f64 = 97.0;
const DETECTED_IN_CORNER: f64 = 95.0;

/// Bursts that must not be a digit.
const REJECTED: f64 = 99.9;

/// Report after the start with packets of 20 ms, for 95 of 100 presses.
const LATE_MS: f64 = 50.0;

/// Start and end, for 95 of 100 presses.
const OFF_MS: f64 = 10.0;

/// False digits per hour of speech.
const FALSE_PER_HOUR: f64 = 0.10;

/// The bars that a score misses, each in words.
pub(super) fn missed(corpus: &Corpus, score: &Score) -> Vec<String> {
    let mut missed = Vec::new();
    let mut least = |name: &str, tally: &Tally, label: Label, bar: f64| {
        let value = percent(tally.right(label), tally.events);
        if value < bar {
            missed.push(format!("{name}: {value:.2} %, {bar} % wanted"));
        }
    };
    let detect = score.total(corpus, Label::Detect);
    least(
        "all that must be detected",
        &detect,
        Label::Detect,
        DETECTED,
    );
    least(
        "all that must not",
        &score.total(corpus, Label::Reject),
        Label::Reject,
        REJECTED,
    );
    for (class, tally) in corpus.classes.iter().zip(&score.classes) {
        if class.label == Label::Detect {
            let bar = if class.name.starts_with("corner") {
                DETECTED_IN_CORNER
            } else {
                DETECTED_IN_CLASS
            };
            // In the part of the corpus that tests use, one burst is more than the bar leaves.
            if tally.events - tally.right(class.label) > 1 {
                least(class.name, tally, class.label, bar);
            }
        }
    }
    for (name, values, bar) in [
        (
            "report with packets of 20 ms",
            &detect.late_by_frames_ms,
            LATE_MS,
        ),
        ("start", &detect.start_off_ms, OFF_MS),
        ("end", &detect.end_off_ms, OFF_MS),
    ] {
        let p95 = quantile(values, 0.95).unwrap_or(f64::INFINITY);
        if p95 > bar {
            missed.push(format!("{name}: off by {p95:.1} ms, {bar} wanted"));
        }
    }
    let judged = corpus.classes.iter().zip(&score.classes);
    for (class, tally) in judged.filter(|(class, _)| class.label == Label::Detect) {
        // Splits and merges are not allowed at all.
        let broken = match class.name {
            "interruption" => tally.twice,
            "pause" => tally.missed,
            _ => 0,
        };
        if broken > 0 {
            missed.push(format!("{}: {broken} of {}", class.name, tally.events));
        }
    }
    missed
}

/// The bars that compare, and those of speech: the first subject is ours.
pub(super) fn missed_beside(corpus: &Corpus, subjects: &[Subject]) -> Vec<String> {
    let mut missed = Vec::new();
    let [ours, peers @ ..] = subjects else {
        return missed;
    };
    for peer in peers.iter().filter(|peer| peer.name == "spandsp") {
        for (n, class) in corpus.classes.iter().enumerate() {
            let right = |subject: &Subject| {
                let tally = &subject.score.classes[n];
                percent(tally.right(class.label), tally.events)
            };
            let (own, other) = (right(ours), right(peer));
            if class.label != Label::Grey && own < other {
                missed.push(format!(
                    "{}: {own:.2} %, {} has {other:.2} %",
                    class.name, peer.name
                ));
            }
        }
    }
    let speech = ours.talk.iter().filter(|count| count.kind == Kind::Speech);
    let (digits, hours) = speech.fold((0, 0.0), |(digits, hours), count| {
        (digits + count.digits.len(), hours + count.active_hours)
    });
    if super::sound::float(digits) > FALSE_PER_HOUR * hours {
        missed.push(format!("{digits} digits in {hours:.1} hours of speech"));
    }
    missed
}
