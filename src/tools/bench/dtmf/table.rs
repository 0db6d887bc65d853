//! The figures as Markdown tables and as raw results.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Subject;
use super::corpus::{Corpus, Label};
use super::score::{Tally, percent, quantile};
use super::talk_off::{Count, Kind};

/// A table and the marker of its place.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// All tables, in the order of the document.
pub(super) fn all(corpus: &Corpus, subjects: &[Subject]) -> Vec<Table> {
    let table = |name, text| Table { name, text };
    let mut tables = vec![
        table("detect", by_class(corpus, subjects, Label::Detect)),
        table("reject", by_class(corpus, subjects, Label::Reject)),
        table("points", operating_points(corpus, subjects)),
        table("times", times(corpus, subjects)),
    ];
    if subjects.iter().any(|subject| !subject.talk.is_empty()) {
        tables.push(table("talk-off", talk_off(subjects)));
    }
    tables
}

/// A Markdown table: its head, and rows of as many cells.
fn markdown(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = vec!["---".to_owned(); head.len()];
    let mut out = line(head) + &line(&rule);
    rows.iter().for_each(|row| out += &line(row));
    out
}

/// A head: these cells, then the subjects; ours stands out.
fn head(first: &[&str], subjects: &[Subject]) -> Vec<String> {
    let own = |n: usize, name: &str| match n {
        0 => format!("**{name}**"),
        _ => name.to_owned(),
    };
    let first = first.iter().map(ToString::to_string);
    let names = subjects.iter().enumerate().map(|(n, s)| own(n, &s.name));
    first.chain(names).collect()
}

fn by_class(corpus: &Corpus, subjects: &[Subject], label: Label) -> String {
    let mut rows = Vec::new();
    for (n, class) in corpus.classes.iter().enumerate() {
        if class.label != label {
            continue;
        }
        let tallies: Vec<_> = subjects.iter().map(|s| &s.score.classes[n]).collect();
        let mut row = vec![class.name.to_owned(), class.clause.to_owned()];
        row.push(tallies[0].events.to_string());
        row.extend(tallies.iter().map(|tally| cell(tally, label)));
        rows.push(row);
    }
    let totals: Vec<_> = subjects
        .iter()
        .map(|s| s.score.total(corpus, label))
        .collect();
    let mut row = vec![
        "**all**".to_owned(),
        String::new(),
        totals[0].events.to_string(),
    ];
    row.extend(totals.iter().map(|total| cell(total, label)));
    rows.push(row);
    markdown(&head(&["class", "by", "bursts"], subjects), &rows)
}

/// Right ones in per cent; in brackets what was told twice.
fn cell(tally: &Tally, label: Label) -> String {
    let mut text = rounded_down(percent(tally.right(label), tally.events));
    if tally.twice > 0 && label == Label::Detect {
        let _ = write!(text, " ({:.1})", percent(tally.twice, tally.events));
    }
    text
}

/// 100 is only what is 100.
fn rounded_down(percent: f64) -> String {
    let text = format!("{:.2}", (percent * 100.0).floor() / 100.0);
    match text.strip_suffix(".00") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Part of the events at which a limit is said to lie, in per cent.
const ACCEPTED: f64 = 95.0;
const REJECTED: f64 = 1.0;

/// A sweep as one subject did: the points in order, and the tally at each.
type Points<'a> = Vec<(f64, &'a Tally)>;

fn points<'a>(corpus: &Corpus, subject: &'a Subject, name: &str) -> Points<'a> {
    let classes = corpus.classes.iter().zip(&subject.score.classes);
    classes
        .filter(|(class, _)| class.name == name)
        .filter_map(|(class, tally)| Some((class.point?, tally)))
        .collect()
}

/// The last of a run of points, from the first, at which something holds.
fn run_of<'a>(
    points: impl IntoIterator<Item = &'a (f64, &'a Tally)>,
    holds: impl Fn(&Tally) -> bool,
) -> Option<f64> {
    let run = points.into_iter().take_while(|(_, tally)| holds(tally));
    run.last().map(|(point, _)| *point)
}

fn shown(point: Option<f64>) -> String {
    point.map_or_else(|| "none".to_owned(), |point| format!("{point}"))
}

fn is_accepted(tally: &Tally) -> bool {
    tally.accepted() >= ACCEPTED
}

fn is_rejected(tally: &Tally) -> bool {
    tally.accepted() <= REJECTED
}

/// How a sweep is summed up.
#[derive(Clone, Copy)]
enum Reading {
    /// The furthest point accepted from the first on.
    Furthest,
    /// Points grow easier: the first accepted to the end / the last of those rejected from the
    /// beginning.
    Both,
    /// Deviations in tenths: the last accepted / the first from which all are rejected.
    Tenths,
    /// Told twice, in per cent, at each.
    Twice,
    /// Exactly once, in per cent, at each.
    Once,
}

/// What is shown of each sweep.
const READINGS: &[(&str, &str, Reading)] = &[
    (
        "tone length",
        "shortest found / longest not found, ms",
        Reading::Both,
    ),
    ("twist, high above low", "most, dB", Reading::Furthest),
    ("twist, low above high", "most, dB", Reading::Furthest),
    (
        "both tones off",
        "most accepted / rejected from, %",
        Reading::Tenths,
    ),
    (
        "low tone off",
        "most accepted / rejected from, %",
        Reading::Tenths,
    ),
    (
        "high tone off",
        "most accepted / rejected from, %",
        Reading::Tenths,
    ),
    ("level per tone", "weakest, dBm0", Reading::Furthest),
    ("white noise, 50 ms", "lowest SNR, dB", Reading::Furthest),
    ("white noise, 100 ms", "lowest SNR, dB", Reading::Furthest),
    ("pink noise, 50 ms", "lowest SNR, dB", Reading::Furthest),
    (
        "dial tone 350 + 440 Hz",
        "most above the digit, dB",
        Reading::Furthest,
    ),
    (
        "dial tone 425 Hz",
        "most above the digit, dB",
        Reading::Furthest,
    ),
    ("dropout", "told twice, %", Reading::Twice),
    ("pause", "each press told once, %", Reading::Once),
    (
        "lost packets, 100 ms",
        "each press told once, %",
        Reading::Once,
    ),
    (
        "lost packets, 100 ms, Opus",
        "each press told once, %",
        Reading::Once,
    ),
];

fn operating_points(corpus: &Corpus, subjects: &[Subject]) -> String {
    let mut rows = Vec::new();
    for (name, what, reading) in READINGS {
        let first = points(corpus, &subjects[0], name);
        let at: Vec<_> = first.iter().map(|(point, _)| format!("{point}")).collect();
        let what = match reading {
            Reading::Twice | Reading::Once => {
                let unit = if name.starts_with("lost") { "%" } else { "ms" };
                format!("{what}, at {} {unit}", at.join(" / "))
            }
            _ => (*what).to_owned(),
        };
        let mut row = vec![(*name).to_owned(), what];
        for subject in subjects {
            row.push(read(&points(corpus, subject, name), *reading));
        }
        rows.push(row);
    }
    markdown(&head(&["measure", "what"], subjects), &rows)
}

fn read(points: &Points<'_>, reading: Reading) -> String {
    let each = |figure: fn(&Tally) -> usize| {
        let cells: Vec<_> = points
            .iter()
            .map(|(_, tally)| format!("{:.0}", percent(figure(tally), tally.events)))
            .collect();
        cells.join(" / ")
    };
    match reading {
        Reading::Furthest => shown(run_of(points, is_accepted)),
        Reading::Both => {
            let shortest = run_of(points.iter().rev(), is_accepted);
            format!(
                "{} / {}",
                shown(shortest),
                shown(run_of(points, is_rejected))
            )
        }
        Reading::Tenths => {
            let tenth = |point: Option<f64>| shown(point.map(|p| p / 10.0));
            let from = run_of(points.iter().rev(), is_rejected);
            format!("{} / {}", tenth(run_of(points, is_accepted)), tenth(from))
        }
        Reading::Twice => each(|tally| tally.twice),
        Reading::Once => each(|tally| tally.once),
    }
}

fn times(corpus: &Corpus, subjects: &[Subject]) -> String {
    let totals: Vec<_> = subjects
        .iter()
        .map(|s| s.score.total(corpus, Label::Detect))
        .collect();
    let figure = |values: &[f64]| match quantile(values, 0.5).zip(quantile(values, 0.95)) {
        Some((p50, p95)) => {
            let most = quantile(values, 1.0).unwrap_or(p95);
            format!("{p50:.1} / {p95:.1} / {most:.1}")
        }
        None => "-".to_owned(),
    };
    let row = |what: &str, values: fn(&Tally) -> &[f64]| {
        let mut row = vec![what.to_owned()];
        row.extend(totals.iter().map(|total| figure(values(total))));
        row
    };
    let rows = [
        row("report after the start, fed by 1 ms", |t| &t.late_ms),
        row("report after the start, fed by 20 ms", |t| {
            &t.late_by_frames_ms
        }),
        row("start reported, off by", |t| &t.start_off_ms),
        row("end reported, off by", |t| &t.end_off_ms),
    ];
    let moved = MOVED.iter().flat_map(|name| {
        let class = corpus.classes.iter().position(|class| class.name == *name);
        let row = |what: &str, class: usize, values: fn(&Tally) -> &[f64]| {
            let mut row = vec![format!("{what} reported, {name}, off by")];
            let tallies = subjects.iter().map(|s| &s.score.classes[class]);
            row.extend(tallies.map(|tally| figure(values(tally))));
            row
        };
        let rows = class.map(|class| {
            let start = row("start", class, |t| &t.start_moved_ms);
            [start, row("end", class, |t| &t.end_moved_ms)]
        });
        rows.into_iter().flatten()
    });
    let rows: Vec<_> = rows.into_iter().chain(moved).collect();
    markdown(&head(&["ms, p50 / p95 / most"], subjects), &rows)
}

/// Classes in which a loss or a codec moves where a key is heard.
const MOVED: [&str; 4] = ["loss", "G.722 loss", "Opus", "Opus loss"];

fn talk_off<'s>(subjects: &'s [Subject]) -> String {
    // Those that are too slow for the recordings come last.
    let listened = subjects.iter().take_while(|s| !s.talk.is_empty()).count();
    let (subjects, mut rows) = (&subjects[..listened], Vec::new());
    for (kind, name) in [(Kind::Speech, "speech"), (Kind::Music, "music")] {
        let all = subjects.iter().flat_map(|subject| &subject.talk);
        let mut speeds: Vec<_> = all.filter(|c| c.kind == kind).map(|c| c.speed()).collect();
        speeds.sort_unstable();
        speeds.dedup();
        let of = |subject: &'s Subject, speed: Option<&str>| {
            let counts = subject.talk.iter().filter(|c| c.kind == kind);
            counts
                .filter(|c| speed.is_none_or(|s| c.speed() == s))
                .collect::<Vec<_>>()
        };
        let row = |name: String, speed| {
            let counts: Vec<_> = subjects.iter().map(|s| of(s, speed)).collect();
            talk_row(&name, &counts)
        };
        let each = speeds
            .iter()
            .map(|s| row(format!("{name} at {s} of its speed"), Some(*s)));
        rows.extend(each);
        if !speeds.is_empty() {
            rows.push(row(format!("**{name}, all**"), None));
        }
    }
    markdown(&head(&["recordings", "active hours"], subjects), &rows)
}

/// False digits, and per active hour.
fn talk_row(name: &str, counts: &[Vec<&Count>]) -> Vec<String> {
    let hours: f64 = counts[0].iter().map(|count| count.active_hours).sum();
    let mut row = vec![name.to_owned(), format!("{hours:.2}")];
    for of_subject in counts {
        let digits: usize = of_subject.iter().map(|count| count.digits.len()).sum();
        let per_hour = super::sound::float(digits) / hours;
        row.push(format!("{digits} ({per_hour:.2}/h)"));
    }
    row
}

/// Replaces the tables of a document, each between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
///
/// # Errors
/// When the document lacks a marker.
pub(super) fn write_into(path: &Path, tables: &[Table], heading: &str) -> Result<()> {
    let name = path.display();
    let mut text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    for table in tables {
        text = replaced(&text, table, heading)
            .with_context(|| format!("{name} has no place for {}", table.name))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {name}"))
}

fn replaced(text: &str, table: &Table, heading: &str) -> Option<String> {
    let begin = format!("<!-- {}: begin -->\n", table.name);
    let end = format!("<!-- {}: end -->", table.name);
    let from = text.find(&begin)? + begin.len();
    let to = from + text[from..].find(&end)?;
    Some(format!(
        "{}{heading}\n\n{}{}",
        &text[..from],
        table.text,
        &text[to..]
    ))
}

/// Everything by class, for the raw results.
pub(super) fn raw(corpus: &Corpus, subjects: &[Subject]) -> Value {
    let class = |(class, tally): (&super::corpus::Class, &Tally)| {
        json!({
            "class": class.name,
            "label": format!("{:?}", class.label).to_lowercase(),
            "point": class.point,
            "bursts": tally.events,
            "once": tally.once,
            "twice": tally.twice,
            "missed": tally.missed,
            "wrong": tally.wrong,
            "silent": tally.silent,
            "late_ms_p95": quantile(&tally.late_ms, 0.95),
            "late_by_frames_ms_p95": quantile(&tally.late_by_frames_ms, 0.95),
            "start_off_ms_p95": quantile(&tally.start_off_ms, 0.95),
            "end_off_ms_p95": quantile(&tally.end_off_ms, 0.95),
        })
    };
    let talk = |count: &Count| {
        let at_ms: Vec<_> = count
            .digits
            .iter()
            .map(|digit| digit.at_ms.round())
            .collect();
        json!({"recording": count.name, "active_hours": count.active_hours, "false_at_ms": at_ms})
    };
    let subject = |subject: &Subject| {
        let classes = corpus.classes.iter().zip(&subject.score.classes);
        json!({
            "name": subject.name,
            "classes": classes.map(class).collect::<Vec<_>>(),
            "talk": subject.talk.iter().map(talk).collect::<Vec<_>>(),
        })
    };
    subjects.iter().map(subject).collect()
}
